//! What the registrar tells about how we are reached: the address that it sees (RFC 3581), a GRUU (RFC 5627), the way of
//! our requests (Service-Route, RFC 3608), and whether it keeps our flow (RFC 5626).

use super::super::account::AccountConfig;
use super::super::call::{Core, contact};
use super::Registration;
use crate::engine::Protocol;
use crate::sip::endpoint::{Reach, Route};
use crate::sip::message::{HeaderName, NameAddr, Response};
use crate::time::Duration;
use std::net::SocketAddr;

/// Hops that a registrar may put before our requests.
const MAX_SERVICE_ROUTE: usize = 8;
/// How often in a row a Contact is put right: a NAT that changes its port with every packet is left alone.
const MAX_REWRITES: u8 = 2;
/// The least and the most that a Flow-Timer may ask for, seconds.
const FLOW_TIMER: (u32, u32) = (10, 3600);

/// What the last 200 told.
#[derive(Debug)]
pub(super) struct Reached {
    seen: Option<(Protocol, SocketAddr, SocketAddr)>,
    /// The Contact before this one, which the registrar should forget.
    pub(super) stale: Option<NameAddr>,
    rewrites: u8,
    pub(super) service_route: Vec<NameAddr>,
    /// A flow is asked for: the server has not refused it (439).
    pub(super) outbound: bool,
    /// The user was told that the account is registered.
    pub(super) told: bool,
}

impl Reached {
    pub(super) fn new(config: &AccountConfig) -> Self {
        Self { seen: None, stale: None, rewrites: 0, service_route: Vec::new(), outbound: config.outbound, told: false }
    }
}

impl Registration {
    /// The way of the account's requests, first hop first; empty: the registrar asks for none.
    pub(in crate::ua) fn service_route(&self) -> &[NameAddr] {
        &self.reached.service_route
    }

    /// Our Contact along `route`, with the parameters of a registration.
    pub(super) fn contact_for(&self, route: &Route) -> NameAddr {
        let (protocol, local) = (route.protocol(), route.local);
        let address = match self.reached.seen {
            Some((over, own, seen)) if (over, own) == (protocol, local) => seen,
            Some(_) | None => local,
        };
        let contact = contact(Some(&self.contact_user), address, protocol);
        let Some(instance) = &self.instance else { return contact };
        let contact = contact.with_param("+sip.instance", format!("<{instance}>").as_str());
        if self.reached.outbound { contact.with_param("reg-id", "1") } else { contact }
    }

    /// Option tags that we understand in a REGISTER.
    pub(super) fn supported(&self, gruu: bool) -> &'static str {
        match (&self.instance, gruu, self.reached.outbound) {
            (None, _, _) | (Some(_), false, false) => "path",
            (Some(_), true, false) => "path, gruu",
            (Some(_), false, true) => "path, outbound",
            (Some(_), true, true) => "path, gruu, outbound",
        }
    }

    /// Takes what a 2xx tells; true when our Contact was wrong and is to be registered anew at once.
    pub(super) fn learn(
        &mut self,
        core: &mut Core<'_>,
        config: &AccountConfig,
        route: &Route,
        ours: &NameAddr,
        listed: Option<&NameAddr>,
        response: &Response,
    ) -> bool {
        let routes = response.headers.addresses(&HeaderName::SERVICE_ROUTE).unwrap_or_default();
        self.reached.service_route = routes.into_iter().take(MAX_SERVICE_ROUTE).collect();
        let gruu = listed.filter(|_| config.gruu).and_then(|entry| entry.params.get("pub-gruu")?.parse().ok());
        let wrong = config.contact_rewrite && self.see(route, ours, response);
        core.endpoint.set_reach(&self.contact_user, Reach { seen: self.reached.seen, gruu });
        wrong
    }

    /// Compares the address that the server saw with the one in our Contact.
    fn see(&mut self, route: &Route, ours: &NameAddr, response: &Response) -> bool {
        let Ok(via) = response.headers.via() else { return false };
        // Without `received` the sent-by was right, but for its port (RFC 3581 §4).
        let ip = via.received().or_else(|| via.host.ip()).unwrap_or_else(|| route.local.ip());
        let port = via.rport().or(via.port).unwrap_or_else(|| route.local.port());
        let seen = SocketAddr::new(ip.to_canonical(), port);
        // Over a stream the port is that of our end of the connection: it tells nothing unless there is a NAT.
        let no_nat = seen.ip() == route.local.ip() && (route.protocol().is_reliable() || port == route.local.port());
        let announced = ours.uri.host.as_ref().and_then(|host| host.ip()).zip(ours.uri.port.or(Some(5060)));
        let wanted = if no_nat { route.local } else { seen };
        if announced == Some((wanted.ip(), wanted.port())) {
            self.reached.rewrites = 0;
            return false;
        }
        if self.reached.rewrites >= MAX_REWRITES || ip.is_unspecified() || port == 0 {
            return false;
        }
        self.reached.rewrites += 1;
        self.reached.seen = (!no_nat).then_some((route.protocol(), route.local, seen));
        let stale = NameAddr::new(ours.uri.clone());
        self.reached.stale = Some(stale);
        true
    }
}

/// The Flow-Timer of a server that keeps our flow, within reason (RFC 5626 §4.4).
pub(super) fn flow_timer(response: &Response) -> Option<Duration> {
    let seconds = response.headers.seconds(&HeaderName::FLOW_TIMER)?;
    let (least, most) = FLOW_TIMER;
    Some(Duration::from_secs(u64::from(seconds.clamp(least, most))))
}
