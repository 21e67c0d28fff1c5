//! Requests that belong to no call (RFC 3261 §8.2): new calls, OPTIONS, strangers; and our own OPTIONS.

use super::Ua;
use super::call::{ALLOW, Accept, OfferId, SDP, status};
use super::caller;
use super::failure::{About, printable};
use super::forward::Why;
use super::line::{Line, Offer, Stage, millis};
use super::screen::{self, Refusal};
use super::{Life, registration};
use crate::api::{Event, PongInfo};
use crate::engine::Flow;
use crate::id::{AccountId, CallHandle};
use crate::sdp::Sdp;
use crate::sip::endpoint::{Route, RouteError, RouteId, TxnError, TxnId};
use crate::sip::message::{CSeq, HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};
use crate::time::Instant;

/// Refusals are repeated only while no more server transactions live: each costs memory and, over UDP, repetitions.
const MAX_KEPT_REFUSALS: usize = 64;

/// One OPTIONS of ours.
#[derive(Debug)]
pub(super) struct Ping {
    target: String,
    uri: Uri,
    from: NameAddr,
    about: About,
    /// Whose login answers a challenge; only where the account's own server is asked.
    login: Option<AccountId>,
    /// The way that the account's registrar wants.
    routes: Vec<NameAddr>,
    state: PingState,
}

#[derive(Debug)]
enum PingState {
    Routing(RouteId),
    Sent { txn: TxnId, route: Route, at: Instant, request: Box<Request> },
}

impl Ping {
    pub(super) const fn new(
        target: String,
        uri: Uri,
        from: NameAddr,
        about: About,
        login: Option<AccountId>,
        route: RouteId,
    ) -> Self {
        Self { target, uri, from, about, login, routes: Vec::new(), state: PingState::Routing(route) }
    }

    pub(super) fn with_routes(mut self, routes: Vec<NameAddr>) -> Self {
        self.routes = routes;
        self
    }

    fn is_sent_as(&self, wanted: TxnId) -> bool {
        matches!(&self.state, PingState::Sent { txn, .. } if *txn == wanted)
    }
}

impl Ua {
    pub(super) fn handle_request(&mut self, now: Instant, txn: TxnId, request: Request, flow: Flow) {
        let in_dialog = request.headers.to().is_ok_and(|to| to.tag().is_some());
        let judged = if in_dialog { Err(Refusal::new(status(481))) } else { self.screened(&request, &flow) };
        match (judged, &request.method) {
            (Err(refusal), _) => {
                self.tell_forwarded(&request, &refusal);
                self.refuse(now, txn, &request, &refusal);
            }
            (Ok(account), Method::Invite) => match self.named(&request, &flow) {
                Ok(replaced) => self.arrive(now, txn, request, flow, account, replaced),
                Err(code) => self.refuse(now, txn, &request, &Refusal::new(status(code))),
            },
            (Ok(_), _) => {
                let welcome = Refusal::new(StatusCode::OK)
                    .with(HeaderName::ALLOW, ALLOW)
                    .with(HeaderName::SUPPORTED, self.config.call.rules.supported())
                    .with(HeaderName::ACCEPT, screen::ACCEPTED)
                    .with(HeaderName::ACCEPT_ENCODING, "identity")
                    .with(HeaderName::ACCEPT_LANGUAGE, "en");
                self.refuse(now, txn, &request, &welcome);
            }
        }
    }

    /// The rules of the RFCs, then our own.
    fn screened(&self, request: &Request, flow: &Flow) -> Result<Option<AccountId>, Refusal> {
        let rules = &self.config.call.rules;
        screen::outside_dialog(request, rules)?;
        screen::stays_secure(request, flow.protocol)?;
        let account = self.admit(request, flow)?;
        if request.method == Method::Invite {
            screen::invite(request, rules)?;
        }
        Ok(account)
    }

    /// Whom a request is for, or why it is not taken: our own rules after those of the RFC.
    fn admit(&self, request: &Request, flow: &Flow) -> Result<Option<AccountId>, Refusal> {
        let account = self.account_of(&request.uri);
        let strangers = self.config.accept_any || !self.registrations.values().any(|r| r.is_registered());
        if !strangers && !self.registrations.values().any(|r| r.is_server(flow.peer.ip())) {
            return Err(Refusal::new(status(403)));
        }
        if request.method != Method::Invite {
            return Ok(account.unwrap_or(None));
        }
        let account = account.ok_or_else(|| Refusal::new(status(404)))?;
        // What takes the place of a call of ours makes no new one, and disturbs nobody.
        let replaces = request.headers.has(&HeaderName::REPLACES);
        if self.life != Life::Running {
            return Err(Refusal::new(status(480)));
        }
        if self.config.call.do_not_disturb && !replaces {
            return Err(Refusal::new(
                StatusCode::new(self.config.call.do_not_disturb_code).unwrap_or_else(|| status(480)),
            ));
        }
        if let Some(elsewhere) = self.forwarded(request, account, Why::Always).filter(|_| !replaces) {
            return Err(elsewhere);
        }
        let (max, limits) = (self.config.call.max, &self.config.limits);
        let ringing = self.lines.values().filter(|line| line.is_ringing_here()).count();
        let too_many = max != 0 && self.live_calls() >= max;
        if (too_many && !replaces) || (limits.ringing != 0 && ringing >= limits.ringing as usize) {
            return Err(self.forwarded(request, account, Why::Busy).unwrap_or_else(|| Refusal::new(status(486))));
        }
        let dialogs = max.saturating_mul(2).saturating_add(limits.dialogs as usize);
        if max != 0 && limits.dialogs != 0 && self.calls.len() >= dialogs {
            return Err(Refusal::new(status(503)).with(HeaderName::RETRY_AFTER, "10"));
        }
        Ok(account)
    }

    /// The account that a Request-URI names: by our Contact or by its address. `None`: nobody here;
    /// `Some(None)`: a direct call to a phone without accounts, or by its bare address.
    fn account_of(&self, uri: &Uri) -> Option<Option<AccountId>> {
        let Some(user) = uri.user_unescaped() else { return Some(None) };
        let by_contact = self.registrations.iter().find(|(_, r)| r.contact_user() == user).map(|(id, _)| *id);
        let by_name = || {
            let named = |account: &super::AccountConfig| account.aor.user_unescaped().as_deref() == Some(&user);
            (0..).map(AccountId).zip(&self.config.accounts).find(|(_, account)| named(account)).map(|(id, _)| id)
        };
        match by_contact.or_else(by_name) {
            Some(id) => Some(Some(id)),
            None if self.config.accounts.is_empty() || self.config.accept_any => Some(None),
            None => None,
        }
    }

    fn arrive(
        &mut self,
        now: Instant,
        txn: TxnId,
        request: Request,
        flow: Flow,
        account: Option<AccountId>,
        replaced: Option<CallHandle>,
    ) {
        let from = request.headers.from().ok();
        let uri = from.as_ref().map(|from| printable(&from.uri.to_string())).unwrap_or_default();
        let display = from.and_then(|from| from.display).map(|name| printable(&name));
        let to = printable(&request.uri.to_string());
        let registration = account.and_then(|id| self.registrations.get(&id));
        let trusted = registration.is_some_and(|registration| registration.is_server(flow.peer.ip()));
        let forward = self.forwarded(&request, account, Why::NoAnswer);
        let accept = Accept {
            contact_user: registration.map(|r| r.contact_user().to_owned()),
            login: account.filter(|_| trusted),
            user_agent: self.config.user_agent.clone(),
            ring_timeout: Some(self.config.call.ring_timeout).filter(|_| forward.is_none()),
            stay_on_flow: is_behind_nat(&request, &flow),
            rules: self.config.call.rules,
        };
        let caller = Box::new(caller::info(&request, trusted));
        let opens = self.answers_itself(&request, account, &flow);
        let config = account.and_then(|id| self.account(id));
        let about = About {
            peer: Some(display.clone().unwrap_or_else(|| uri.clone())),
            ..config.map(registration::about).unwrap_or_default()
        };
        let audio = config.map_or_else(|| self.config.default_audio.clone(), |config| config.audio.clone());
        let stage = Stage::Arriving { offer: Offer { id: OfferId(0), body: None }, from: uri, display, to };
        let copy = request.clone();
        match self.with_calls(|calls, core| calls.incoming(now, core, txn, request, flow, accept)) {
            Ok(call) => {
                let mut line = Line::new(now, &mut self.rng, stage, audio, about);
                line.transport = Some(flow.protocol);
                line.account = account;
                line.forward = forward.map(|forward| (forward, now + self.config.call.ring_timeout));
                (line.caller, line.opens) = (caller, opens);
                self.lines.insert(call, line);
                if let Some(old) = replaced {
                    self.take_over(call, old);
                }
            }
            Err(code) => self.refuse(now, txn, &copy, &Refusal::new(code)),
        }
    }

    /// Answers a request that starts nothing, and forgets it unless few are kept: a flood may neither fill our memory nor make us repeat
    /// answers to whomever it names as its source (§8.2.7; threats B1, B3, B4).
    fn refuse(&mut self, now: Instant, txn: TxnId, request: &Request, refusal: &Refusal) {
        let mut response = refusal.response(request, &self.endpoint.stateless_tag(request));
        response.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
        // What depends on the moment must not become another answer, or a ringing phone, for a copy of the request.
        let of_the_moment = request.method == Method::Invite && matches!(response.status.code(), 480 | 486 | 503);
        if of_the_moment && self.endpoint.server_transactions() <= MAX_KEPT_REFUSALS {
            self.endpoint.respond(now, txn, response);
        } else {
            self.endpoint.respond_statelessly(now, txn, response);
        }
    }

    pub(super) fn handle_ping_routed(&mut self, now: Instant, id: RouteId, result: Result<Route, RouteError>) {
        let asked = |ping: &Ping| matches!(ping.state, PingState::Routing(route) if route == id);
        let Some(at) = self.pings.iter().position(asked) else { return };
        let mut ping = self.pings.swap_remove(at);
        match result {
            Ok(route) => {
                let mut request = Request::new(Method::Options, ping.uri.clone());
                let headers = &mut request.headers;
                for hop in &ping.routes {
                    headers.push(HeaderName::ROUTE, hop.to_string());
                }
                headers.push(HeaderName::MAX_FORWARDS, "70");
                headers.push(HeaderName::FROM, ping.from.clone().with_param("tag", &*self.rng.tag()).to_string());
                headers.push(HeaderName::TO, NameAddr::new(ping.uri.clone()).to_string());
                headers.push(HeaderName::CALL_ID, self.rng.token(128));
                headers.push(HeaderName::CSEQ, CSeq { seq: 1, method: Method::Options }.to_string());
                headers.push(HeaderName::ACCEPT, SDP);
                headers.push(HeaderName::USER_AGENT, self.config.user_agent.clone());
                let txn = self.endpoint.request(now, request.clone(), &route);
                ping.state = PingState::Sent { txn, route, at: now, request: Box::new(request) };
                self.pings.push(ping);
            }
            Err(error) => {
                let failure = ping.about.no_route(&error);
                self.emit(Event::Pong { target: ping.target, result: Err(failure) });
            }
        }
    }

    pub(super) fn handle_pong(&mut self, now: Instant, txn: TxnId, response: &Response) {
        if response.status.is_provisional() {
            return;
        }
        let Some(at) = self.pings.iter().position(|ping| ping.is_sent_as(txn)) else { return };
        let mut ping = self.pings.swap_remove(at);
        let PingState::Sent { at, request, route, .. } = &mut ping.state else { return };
        let at = *at;
        let login = ping.login.filter(|_| matches!(response.status.code(), 401 | 407));
        if let Some(login) = login.and_then(|account| self.logins.get_mut(&account))
            && let Ok(cseq) = request.headers.cseq()
            && login.answer(&mut self.rng, response, request).is_ok()
        {
            request
                .headers
                .set(HeaderName::CSEQ, CSeq { seq: cseq.seq.saturating_add(1), method: Method::Options }.to_string());
            let txn = self.endpoint.request(now, Request::clone(request), route);
            ping.state = PingState::Sent { txn, route: route.clone(), at: now, request: request.clone() };
            self.pings.push(ping);
            return;
        }
        let headers = &response.headers;
        let server = headers.get(&HeaderName::SERVER).or_else(|| headers.get(&HeaderName::USER_AGENT)).map(printable);
        let codecs = Sdp::parse(&response.body).ok().map(|sdp| codecs_of(&sdp)).unwrap_or_default();
        let pong = PongInfo {
            code: response.status.code(),
            reason: printable(&response.reason),
            server,
            codecs,
            allow: headers.tokens(&HeaderName::ALLOW),
            transport: route.protocol().param().to_owned(),
            rtt_ms: millis(now.since(at)),
        };
        self.emit(Event::Pong { target: ping.target, result: Ok(pong) });
    }

    pub(super) fn handle_ping_failed(&mut self, now: Instant, txn: TxnId, error: TxnError) {
        let Some(at) = self.pings.iter().position(|ping| ping.is_sent_as(txn)) else { return };
        let mut ping = self.pings.swap_remove(at);
        let PingState::Sent { route, .. } = &ping.state else { return };
        if let Some(next) = self.endpoint.next_target(now, route) {
            ping.state = PingState::Routing(next);
            self.pings.push(ping);
            return;
        }
        let (peer, protocol) = route
            .targets
            .first()
            .map_or_else(|| (route.local, route.protocol()), |target| (target.addr, target.protocol));
        let failure = ping.about.unreachable(error, peer, protocol, &Method::Options);
        self.emit(Event::Pong { target: ping.target, result: Err(failure) });
    }
}

fn codecs_of(sdp: &Sdp) -> Vec<String> {
    let mut names: Vec<String> = sdp
        .media
        .iter()
        .flat_map(|media| media.attributes_named("rtpmap"))
        .filter_map(|map| map.split_ascii_whitespace().nth(1))
        .filter_map(|format| format.split('/').next())
        .map(|name| printable(&name.to_ascii_lowercase()))
        .collect();
    names.dedup();
    names
}

/// Whether the caller sits behind a NAT and called us without a proxy: its Via and its Contact name an address that its
/// request did not come from (RFC 3581), so that only the way back leads to it.
fn is_behind_nat(request: &Request, flow: &Flow) -> bool {
    let headers = &request.headers;
    let (Ok(vias), Ok(proxies), Ok(contact)) = (headers.vias(), headers.record_routes(), headers.contact()) else {
        return false;
    };
    let ([via], true) = (vias.as_slice(), proxies.is_empty()) else { return false };
    let named = via.host.ip();
    named.is_some_and(|ip| ip != flow.peer.ip().to_canonical())
        && contact.uri.host.as_ref().and_then(|host| host.ip()) == named
}
