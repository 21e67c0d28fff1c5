//! The way to a URI: name, targets, our own address (RFC 3261 §8.1.2, RFC 3263 §4).
//!
//! ```text
//!   URI ─▶ name ── Resolve ─▶ targets ── LocalAddress of the first, if it is in clear ─▶ Routed
//!     └─ address ───────────────▲ │  └── secure: its connection is opened and verified ───▲
//!                               └─┘ no route, no connection, not who it should be: the next one
//! ```
//!
//! A secure connection is up before anything is made for it, so that Via and Contact name the port that it has, and no
//! word of a request leaves for somebody whose certificate is not the right one.

use super::{Endpoint, EndpointEvent, EndpointOutput, Route, RouteError, RouteId, Target};
use crate::engine::{
    Family, Flow, FlowVia, NoRoute, PeerCertificate, Protocol, Query, QueryKind, Record, ResolveError, StreamFault,
    TlsPolicy,
};
use crate::id::{ConnId, RequestId};
use crate::sip::message::{Host, Scheme, Uri};
use crate::sip::transport::route::{TlsWish, Wish};
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// A route whose name is being resolved.
#[derive(Debug)]
pub(super) struct Waiting {
    id: RouteId,
    protocol: Protocol,
    port: u16,
    tls: Option<TlsPolicy>,
}

/// A route whose local address is asked for, or whose connection is being opened.
#[derive(Debug)]
pub(super) struct Locating {
    id: RouteId,
    targets: Vec<Target>,
    tls: Option<TlsPolicy>,
}

impl Endpoint {
    /// Asks for the way to `uri` (over the transport of `wish`, else what the URI says, else UDP; always over TLS where either
    /// asks for it); [`EndpointEvent::Routed`] answers.
    pub fn route(&mut self, now: Instant, uri: &Uri, wish: impl Into<Wish>) -> RouteId {
        let id = RouteId(self.fresh());
        let wish = wish.into();
        let Some((protocol, host)) = wanted(uri, wish.transport) else {
            self.routed(id, Err(RouteError::Unsupported(Box::new(uri.clone()))));
            return id;
        };
        let port = uri.port.unwrap_or_else(|| protocol.default_port());
        let tls = uri.host.as_ref().filter(|_| protocol.is_secure()).map(|host| policy(host, wish.tls));
        match host {
            Host::Ip(ip) => {
                let targets = vec![Target { protocol, addr: SocketAddr::new(ip, port) }];
                self.locate(now, Locating { id, targets, tls });
            }
            Host::Name(name) => {
                if let Some(known) = self.resolver.known(now, &name) {
                    let targets = targets(known, protocol, port);
                    self.locate(now, Locating { id, targets, tls });
                    return id;
                }
                let question = RequestId(self.fresh());
                if self.resolver.wait(question, &name, Waiting { id, protocol, port, tls }) {
                    let query = Query { name, kind: QueryKind::Addr };
                    self.out.push_back(EndpointOutput::Resolve { id: question, query });
                }
            }
        }
        id
    }

    /// Asks for the route to the next target of `route` after the first one failed; `None` when there is none left.
    pub fn next_target(&mut self, now: Instant, route: &Route) -> Option<RouteId> {
        let targets = route.targets.get(1..).filter(|rest| !rest.is_empty())?.to_vec();
        let id = RouteId(self.fresh());
        self.locate(now, Locating { id, targets, tls: route.tls.clone() });
        Some(id)
    }

    /// The route back along a flow that a request or response came in on (a registration's, a call's).
    pub fn route_back(&self, flow: &Flow) -> Route {
        let target = Target { protocol: flow.protocol, addr: flow.peer };
        let local = match flow.protocol {
            Protocol::Udp => flow.local,
            Protocol::Tcp | Protocol::Tls => self.advertised(flow.protocol, flow.local),
        };
        Route { targets: vec![target], local, flow: Some(*flow), tls: self.tls_of(flow) }
    }

    /// Whom the secure connection of a flow was opened for; `None` for others, and when it is gone.
    pub fn tls_of(&self, flow: &Flow) -> Option<TlsPolicy> {
        match flow.via {
            FlowVia::Conn(conn) => self.connections.get(conn)?.tls.clone(),
            FlowVia::Socket(_) => None,
        }
    }

    /// The answer to [`EndpointOutput::Resolve`].
    pub fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        let (records, error) = match answer {
            Ok(records) => (records, ResolveError::NotFound),
            Err(error) => (Vec::new(), error),
        };
        let Some((name, addresses, waiting)) = self.resolver.answer(now, id, &records) else { return };
        for Waiting { id, protocol, port, tls } in waiting {
            if addresses.is_empty() {
                self.routed(id, Err(RouteError::Resolve { name: name.clone(), error }));
            } else {
                self.locate(now, Locating { id, targets: targets(&addresses, protocol, port), tls });
            }
        }
    }

    /// The answer to [`EndpointOutput::LocalAddress`].
    pub fn handle_local_address(&mut self, now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        let Some(mut locating) = self.locating.remove(&id) else { return };
        let Some(target) = locating.targets.first().copied() else { return };
        match answer {
            Ok(ip) => self.finish(locating, ip),
            Err(NoRoute) if locating.targets.len() > 1 => {
                locating.targets.remove(0);
                self.locate(now, locating);
            }
            Err(NoRoute) => self.routed(locating.id, Err(RouteError::NoRoute(target.addr))),
        }
    }

    /// Finds out which of our addresses reaches the first target that we have a socket for; opens its connection if it is
    /// a secure one.
    fn locate(&mut self, now: Instant, mut locating: Locating) {
        let Some(first) = locating.targets.first().copied() else { return };
        let Some(usable) = locating.targets.iter().position(|target| self.can_reach(target)) else {
            self.routed(locating.id, Err(RouteError::NoSocket(first.addr)));
            return;
        };
        locating.targets.drain(..usable);
        let Some(target) = locating.targets.first().copied() else { return };
        if target.protocol.is_secure() {
            self.secure(now, locating, target);
            return;
        }
        if let Some(ip) = self.certain_local(&target) {
            self.finish(locating, ip);
            return;
        }
        let question = RequestId(self.fresh());
        self.locating.insert(question, locating);
        self.out.push_back(EndpointOutput::LocalAddress { id: question, peer: target.addr });
    }

    /// Takes the connection to a secure target that there is for the same name, or waits for a new one.
    fn secure(&mut self, now: Instant, locating: Locating, target: Target) {
        let conn = self.connection_to(now, target, locating.tls.clone());
        match self.flow_of(conn) {
            Some(flow) => self.finish_secure(locating, flow),
            None => self.opening.entry(conn).or_default().push(locating),
        }
    }

    fn finish_secure(&mut self, locating: Locating, flow: Flow) {
        let Locating { id, targets, tls } = locating;
        let local = self.advertised(flow.protocol, flow.local);
        self.routed(id, Ok(Route { targets, local, flow: Some(flow), tls }));
    }

    /// A connection is up: whoever waited for it has a way now.
    pub(super) fn opened(&mut self, conn: ConnId, flow: Flow) {
        for locating in self.opening.remove(&conn).unwrap_or_default() {
            self.finish_secure(locating, flow);
        }
    }

    /// A connection did not come up: whoever waited for it goes on to the next target.
    pub(super) fn not_opened(
        &mut self,
        now: Instant,
        conn: ConnId,
        fault: StreamFault,
        certificate: Option<&PeerCertificate>,
    ) {
        for mut locating in self.opening.remove(&conn).unwrap_or_default() {
            let Some(target) = locating.targets.first().copied() else { continue };
            locating.targets.remove(0);
            if locating.targets.is_empty() {
                let certificate = certificate.cloned().map(Box::new);
                self.routed(locating.id, Err(RouteError::Connect { target, fault, certificate }));
            } else {
                self.locate(now, locating);
            }
        }
    }

    /// Streams need no socket of ours, but one of the same family says that the family is in use at all.
    fn can_reach(&self, target: &Target) -> bool {
        let family = Family::of(target.addr.ip());
        let mut locals = self.sockets.iter().map(|bound| bound.local).filter(|_| target.protocol == Protocol::Udp);
        target.protocol.is_reliable() || locals.any(|local| Family::of(local.ip()) == family)
    }

    /// Our address towards a target in clear when there is no choice: one bound socket, or a connection that is up.
    fn certain_local(&self, target: &Target) -> Option<IpAddr> {
        let family = Family::of(target.addr.ip());
        match target.protocol {
            Protocol::Udp => {
                let mut same = self.sockets.iter().filter(|bound| Family::of(bound.local.ip()) == family);
                let only = same.next().filter(|_| same.next().is_none())?;
                Some(only.local.ip()).filter(|ip| !ip.is_unspecified())
            }
            Protocol::Tcp | Protocol::Tls => {
                let conn = self.connections.find(target.protocol, target.addr, None)?;
                self.flow_of(conn).map(|flow| flow.local.ip())
            }
        }
    }

    fn finish(&mut self, locating: Locating, ip: IpAddr) {
        let Locating { id, targets, tls } = locating;
        let Some(target) = targets.first().copied() else { return };
        let (local, flow) = match target.protocol {
            Protocol::Udp => match self.datagram_flow(target.addr, ip) {
                Some(flow) => (flow.local, Some(flow)),
                None => return self.routed(id, Err(RouteError::NoSocket(target.addr))),
            },
            Protocol::Tcp | Protocol::Tls => {
                let conn = self.connections.find(target.protocol, target.addr, tls.as_ref());
                let local = SocketAddr::new(ip, target.protocol.default_port());
                (self.advertised(target.protocol, local), conn.and_then(|conn| self.flow_of(conn)))
            }
        };
        self.routed(id, Ok(Route { targets, local, flow, tls }));
    }

    /// The flow of datagrams to `peer` from the socket bound to `ip`, else from one bound to every address.
    fn datagram_flow(&self, peer: SocketAddr, ip: IpAddr) -> Option<Flow> {
        let family = Family::of(peer.ip());
        let same = || self.sockets.iter().filter(|bound| Family::of(bound.local.ip()) == family);
        let bound = same()
            .find(|bound| bound.local.ip() == ip)
            .or_else(|| same().find(|bound| bound.local.ip().is_unspecified()))
            .or_else(|| same().next())?;
        let ip = if bound.local.ip().is_unspecified() { ip } else { bound.local.ip() };
        let local = SocketAddr::new(ip, bound.local.port());
        Some(Flow { protocol: Protocol::Udp, local, peer, via: FlowVia::Socket(bound.socket) })
    }

    /// The address that a peer can reach us at over a stream: that of a listener, else in clear that of a datagram socket,
    /// else `local`, our end of the connection, which is the only way back then.
    pub(super) fn advertised(&self, protocol: Protocol, local: SocketAddr) -> SocketAddr {
        let ip = local.ip();
        let reachable = |local: &SocketAddr| {
            Family::of(local.ip()) == Family::of(ip) && (local.ip() == ip || local.ip().is_unspecified())
        };
        let listeners = self.listeners.iter().filter(|bound| bound.protocol == protocol).map(|bound| bound.local);
        let sockets = self.sockets.iter().filter(|_| !protocol.is_secure()).map(|bound| bound.local);
        SocketAddr::new(ip, listeners.chain(sockets).find(reachable).unwrap_or(local).port())
    }

    /// The flow that a request on `route` takes, opening a connection if need be.
    pub(super) fn flow_for(&mut self, now: Instant, route: &Route) -> Flow {
        let peer = route.targets.first().map_or(route.local, |target| target.addr);
        let protocol = route.protocol();
        match (route.flow, protocol) {
            (Some(flow), Protocol::Udp) => flow,
            (Some(Flow { via: FlowVia::Conn(conn), .. }), Protocol::Tcp | Protocol::Tls)
                if self.connections.get(conn).is_some() =>
            {
                let opening = Flow { protocol, local: route.local, peer, via: FlowVia::Conn(conn) };
                self.flow_of(conn).unwrap_or(opening)
            }
            // One that the peer opened, and closed: there is nobody whom a new one could be verified to lead to.
            (Some(flow), Protocol::Tls) if route.tls.is_none() => flow,
            (Some(_) | None, Protocol::Tcp | Protocol::Tls) => {
                self.connect(now, Target { protocol, addr: peer }, route.local, route.tls.clone())
            }
            (None, Protocol::Udp) => self.datagram_flow(peer, route.local.ip()).unwrap_or_else(|| Flow {
                protocol: Protocol::Udp,
                local: route.local,
                peer,
                via: FlowVia::Socket(self.sockets.first().map_or(crate::id::SocketId(0), |bound| bound.socket)),
            }),
        }
    }

    fn routed(&mut self, id: RouteId, result: Result<Route, RouteError>) {
        self.event(EndpointEvent::Routed { id, result });
    }
}

/// Transport and host that a URI asks for; `None` when we do not speak them. What has to be secure stays so, whatever else is
/// wished (RFC 3261 §26.2.2, RFC 5630 §3): `sips:` with `transport=tcp` means TLS over TCP.
fn wanted(uri: &Uri, transport: Option<Protocol>) -> Option<(Protocol, Host)> {
    let named = match uri.transport() {
        None => None,
        Some(name) => {
            let known = [Protocol::Udp, Protocol::Tcp, Protocol::Tls];
            Some(known.into_iter().find(|protocol| name.eq_ignore_ascii_case(protocol.param()))?)
        }
    };
    let protocol = match (&uri.scheme, named) {
        (Scheme::Sips, Some(Protocol::Udp)) => return None,
        (Scheme::Sips, _) | (Scheme::Sip, Some(Protocol::Tls)) => Protocol::Tls,
        (Scheme::Sip, _) => transport.or(named).unwrap_or(Protocol::Udp),
        (Scheme::Tel | Scheme::Other(_), _) => return None,
    };
    let host = match uri.params.get("maddr") {
        Some(maddr) => maddr.parse().map_or_else(|_| Host::Name(maddr.to_ascii_lowercase()), Host::Ip),
        None => uri.host.clone()?,
    };
    Some((protocol, host))
}

/// Whom a secure connection for a URI with this host must lead to (RFC 5922 §4).
fn policy(host: &Host, wish: TlsWish) -> TlsPolicy {
    let domain = wish.name.unwrap_or_else(|| match host {
        Host::Name(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ip(ip) => ip.to_string(),
    });
    TlsPolicy { domain, settings: wish.settings }
}

fn targets(addresses: &[IpAddr], protocol: Protocol, port: u16) -> Vec<Target> {
    addresses.iter().map(|ip| Target { protocol, addr: SocketAddr::new(*ip, port) }).collect()
}
