//! Calls that we place (RFC 3261 §13.2): forks, challenges, cancelling, the next server.

use super::calls::Cx;
use super::leg::Leg;
use super::reason::Reason;
use super::redirect::Redirects;
use super::transfer::Transfers;
use super::{Call, CallEvent, Dial, EndCause, NextHop, Reliable, SDP, State, timer};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{Route, RouteError, TlsWish, TxnError, TxnId, Wish};
use crate::sip::message::{CSeq, HeaderName, Method, NameAddr, Request, Response, Scheme, Uri};
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Challenges of one request that we answer; the digest client stops earlier when our answer was refused.
pub(super) const MAX_CHALLENGES: u8 = 3;

/// How often a call is placed again with a longer session interval.
const MAX_INTERVALS: u8 = 3;

/// A request of ours with its transaction.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) txn: TxnId,
    pub(super) request: Request,
    pub(super) route: Route,
    pub(super) challenges: u8,
    pub(super) phase: Phase,
}

/// Whether an INVITE of ours has its final response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    /// A 2xx came; other forks may still send theirs.
    Answered,
}

/// Our INVITE is out and has no final response.
#[derive(Debug)]
pub(super) struct Calling {
    pub(super) dial: Box<Dial>,
    pub(super) since: Instant,
    /// Early dialogs by the peer's tag.
    pub(super) early: BTreeMap<String, Leg>,
    pub(super) last_word: LastWord,
}

/// Whether the offer is the only one that the owner has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastWord {
    Yes,
    No,
}

impl Call {
    /// Places a call: asks for the way first.
    pub(super) fn dial(now: Instant, cx: &mut Cx<'_, '_>, dial: Dial) -> Self {
        let mut call = Self {
            call_id: cx.core.rng.token(128),
            local_tag: cx.core.rng.tag(),
            user_agent: dial.user_agent.clone(),
            contact_user: dial.contact_user.clone(),
            login: dial.login,
            stay_on_flow: matches!(dial.next_hop, NextHop::Route(_)),
            rules: dial.rules,
            sips: false,
            trusted: Vec::new(),
            next_offer: 0,
            next_leg: 0,
            last_seq: 0,
            intervals: 0,
            redirects: Redirects::new(&dial),
            state: State::Closing,
            invite: None,
            byes: BTreeMap::new(),
            strays: Vec::new(),
            transfers: Transfers::default(),
            reason: None,
            peer_reason: None,
            identity: None,
        };
        call.ask_way(now, cx, Box::new(dial), now);
        call
    }

    /// Asks for the way to the next hop of an INVITE, if it is not given.
    pub(super) fn ask_way(&mut self, now: Instant, cx: &mut Cx<'_, '_>, dial: Box<Dial>, since: Instant) {
        self.sips = dial.target.is_sips();
        let (mut asked, transport) = match &dial.next_hop {
            // A URI that names its transport is taken at its word.
            NextHop::Target => (dial.target.clone(), dial.transport.filter(|_| dial.target.transport().is_none())),
            NextHop::Server(uri) | NextHop::Proxy(uri) => (uri.clone(), dial.transport),
            NextHop::Routes(routes) => match routes.first() {
                Some(first) => (first.uri.clone(), dial.transport.filter(|_| first.uri.transport().is_none())),
                None => (dial.target.clone(), dial.transport),
            },
            NextHop::Route(route) => {
                let route = route.clone();
                return self.take_route(cx, dial, route, since);
            }
        };
        if self.sips {
            asked = secure_hop(asked);
        }
        // The account's own name is for its own server.
        let name = dial.tls.name.clone().filter(|_| !matches!(dial.next_hop, NextHop::Target));
        let wish = Wish { transport, tls: TlsWish { name, ..dial.tls.clone() } };
        let route = cx.route(now, &asked, wish);
        self.state = State::Routing { dial, route, since };
    }

    /// When nobody has answered, and how long that is.
    pub(super) fn answer_deadline(&self) -> Option<(Instant, Duration)> {
        let (dial, since) = match &self.state {
            State::Routing { dial, since, .. } | State::Offering { dial, since, .. } => (dial, *since),
            State::Calling(calling) => (&calling.dial, calling.since),
            State::Incoming(_) | State::Answered(_) | State::Established(_) | State::Closing => return None,
        };
        dial.answer_timeout.map(|after| (since + after, after))
    }

    pub(super) fn handle_first_route(&mut self, now: Instant, cx: &mut Cx<'_, '_>, result: Result<Route, RouteError>) {
        let State::Routing { dial, since, .. } = self.take_state() else { return };
        match result {
            Ok(route) => self.take_route(cx, dial, route, since),
            Err(_) if self.has_contacts() && self.place_anew(now, cx, dial, since) => {}
            Err(error) => self.end(cx, EndedBy::Fault, EndCause::NoRoute(error)),
        }
    }

    fn take_route(&mut self, cx: &mut Cx<'_, '_>, dial: Box<Dial>, route: Route, since: Instant) {
        let Some(peer) = route.targets.first().map(|target| target.addr) else {
            let error = RouteError::Unsupported(Box::new(dial.target));
            self.end(cx, EndedBy::Fault, EndCause::NoRoute(error));
            return;
        };
        cx.emit(CallEvent::Routed { local: route.local, peer, protocol: route.protocol() });
        self.state = State::Offering { dial, route, since };
    }

    /// The owner's offer: the INVITE goes out.
    pub(super) fn send_invite(&mut self, now: Instant, cx: &mut Cx<'_, '_>, body: Vec<u8>, last_word: LastWord) {
        let State::Offering { dial, route, since } = self.take_state() else { return };
        self.last_seq = self.last_seq.saturating_add(1);
        let seq = self.last_seq;
        let mut request = Request::new(Method::Invite, dial.target.clone());
        let headers = &mut request.headers;
        if let NextHop::Proxy(proxy) = &dial.next_hop {
            let mut hop = if self.sips { secure_hop(proxy.clone()) } else { proxy.clone() };
            hop.params.set("lr", None);
            headers.push(HeaderName::ROUTE, NameAddr::new(hop).to_string());
        }
        if let NextHop::Routes(routes) = &dial.next_hop {
            for hop in routes {
                headers.push(HeaderName::ROUTE, hop.to_string());
            }
        }
        let to = dial.to.clone().unwrap_or_else(|| NameAddr::new(dial.target.clone()));
        headers.push(HeaderName::MAX_FORWARDS, dial.max_forwards.to_string());
        headers.push(HeaderName::FROM, dial.from.clone().with_param("tag", self.local_tag.as_str()).to_string());
        headers.push(HeaderName::TO, to.to_string());
        headers.push(HeaderName::CALL_ID, self.call_id.clone());
        headers.push(HeaderName::CSEQ, CSeq { seq, method: Method::Invite }.to_string());
        let contact = self.contact(cx.core.endpoint, route.local, route.protocol());
        self.decorate(&mut request, Some(&contact));
        if self.rules.reliable == Reliable::Required {
            request.headers.push(HeaderName::REQUIRE, "100rel");
        }
        timer::ask(&self.rules, None, &mut request);
        for (name, value) in &dial.headers {
            request.headers.push(name.clone(), value.as_str());
        }
        request.headers.set(HeaderName::CONTENT_TYPE, SDP);
        request.body = body;
        if self.login.is_some()
            && let Some(server) = route.targets.first()
        {
            self.trusted.push(server.addr);
        }
        if let Some(login) = self.login.and_then(|account| cx.core.logins.get_mut(&account)) {
            login.preemptive(&mut request);
        }
        let txn = cx.request(now, &request, &route);
        self.invite = Some(Sent { txn, request, route, challenges: 0, phase: Phase::Waiting });
        self.state = State::Calling(Box::new(Calling { dial, since, early: BTreeMap::new(), last_word }));
    }

    pub(super) fn cancel_invite(&self, now: Instant, cx: &mut Cx<'_, '_>) {
        if let Some(invite) = &self.invite {
            cx.cancel(now, invite.txn);
        }
    }

    pub(super) fn handle_invite_response(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: Response, flow: Flow) {
        if response.status.is_provisional() {
            self.handle_progress(now, cx, &response, flow);
        } else if response.status.is_success() {
            self.handle_success(now, cx, response, flow);
        } else {
            self.handle_refusal(now, cx, response, flow);
        }
    }

    fn handle_refusal(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: Response, flow: Flow) {
        let Some(invite) = self.invite.take() else { return };
        cx.forget(invite.txn);
        let State::Calling(_) = &self.state else { return };
        match response.status.code() {
            401 | 407 => self.answer_invite_challenge(now, cx, invite, response, flow),
            488 | 606 if self.ask_again(cx, &invite) => {}
            422 if self.intervals < MAX_INTERVALS && self.take_min_se(None, &response) => {
                self.call_again(now, cx, invite)
            }
            503 if self.try_next(now, cx, &invite) => self.invite = None,
            // A callee who declines everywhere is not to be found elsewhere (§21.6).
            code => {
                self.note_redirection(&response);
                if code < 600 && self.try_contact(now, cx) {
                    return;
                }
                self.end_rejected(cx, response, flow);
            }
        }
    }

    /// The callee does not like what we offer, and the owner has something else.
    fn ask_again(&mut self, cx: &mut Cx<'_, '_>, invite: &Sent) -> bool {
        match self.take_state() {
            State::Calling(calling) if calling.last_word == LastWord::No => {
                let Calling { dial, since, .. } = *calling;
                self.state = State::Offering { dial, route: invite.route.clone(), since };
                cx.emit(CallEvent::Declined);
                true
            }
            state @ (State::Calling(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Incoming(_)
            | State::Answered(_)
            | State::Established(_)
            | State::Closing) => {
                self.state = state;
                false
            }
        }
    }

    /// The same INVITE with a longer session interval (RFC 4028 §7.3).
    fn call_again(&mut self, now: Instant, cx: &mut Cx<'_, '_>, mut invite: Sent) {
        self.intervals += 1;
        timer::ask(&self.rules, None, &mut invite.request);
        raise_cseq(&mut invite.request);
        self.last_seq = invite.request.headers.cseq().map_or(self.last_seq, |cseq| cseq.seq);
        let txn = cx.request(now, &invite.request, &invite.route);
        self.invite = Some(Sent { txn, ..invite });
        if let State::Calling(calling) = &mut self.state {
            calling.early.clear();
        }
    }

    fn end_rejected(&mut self, cx: &mut Cx<'_, '_>, response: Response, flow: Flow) {
        self.peer_reason = Reason::of(&response.headers);
        let cause = EndCause::Rejected { response: Box::new(response), flow };
        self.end(cx, EndedBy::Remote, cause);
    }

    fn answer_invite_challenge(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        mut invite: Sent,
        response: Response,
        flow: Flow,
    ) {
        match self.authorize(cx, &mut invite.request, &response, flow.peer, invite.challenges) {
            Ok(()) => {
                self.last_seq = invite.request.headers.cseq().map_or(self.last_seq, |cseq| cseq.seq);
                let txn = cx.request(now, &invite.request, &invite.route);
                self.invite = Some(Sent { txn, challenges: invite.challenges + 1, ..invite });
                if let State::Calling(calling) = &mut self.state {
                    calling.early.clear();
                }
            }
            Err(_) if self.try_contact(now, cx) => {}
            Err(error) => {
                self.end(cx, EndedBy::Remote, EndCause::Login { error, response: Box::new(response), flow });
            }
        }
    }

    /// Adds credentials and the next CSeq, if the challenge may be answered at all.
    pub(super) fn authorize(
        &self,
        cx: &mut Cx<'_, '_>,
        request: &mut Request,
        response: &Response,
        from: SocketAddr,
        challenges: u8,
    ) -> Result<(), crate::ua::login::LoginError> {
        use crate::ua::login::LoginError;
        let Some(login) = self.login.and_then(|account| cx.core.logins.get_mut(&account)) else {
            return Err(LoginError::NoCredentials);
        };
        if !self.trusted.contains(&from) || challenges >= MAX_CHALLENGES {
            return Err(LoginError::Stranger { address: from });
        }
        login.answer(cx.core.rng, response, request)?;
        raise_cseq(request);
        Ok(())
    }

    pub(super) fn handle_invite_failed(&mut self, now: Instant, cx: &mut Cx<'_, '_>, error: TxnError) {
        let Some(invite) = self.invite.take() else { return };
        cx.forget(invite.txn);
        let silent = matches!(&self.state, State::Calling(calling) if calling.early.is_empty());
        if !matches!(self.state, State::Calling(_))
            || (silent && self.try_next(now, cx, &invite))
            || self.try_contact(now, cx)
        {
            return;
        }
        let (peer, protocol) = invite
            .route
            .targets
            .first()
            .map_or_else(|| (invite.route.local, invite.route.protocol()), |target| (target.addr, target.protocol));
        self.end(cx, EndedBy::Fault, EndCause::Unreachable { peer, protocol, error });
    }

    /// Goes on with the next address of the server (RFC 3263 §4.3): the way, Contact and SDP are made anew.
    fn try_next(&mut self, now: Instant, cx: &mut Cx<'_, '_>, invite: &Sent) -> bool {
        let Some(route) = cx.next_target(now, &invite.route) else { return false };
        match self.take_state() {
            State::Calling(calling) => {
                self.state = State::Routing { dial: calling.dial, route, since: calling.since };
                true
            }
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Incoming(_)
            | State::Answered(_)
            | State::Established(_)
            | State::Closing) => {
                self.state = state;
                false
            }
        }
    }
}

/// The next hop of a request for a `sips:` URI: reached over TLS, whatever it says itself (RFC 5630 §3.1.3).
pub(crate) fn secure_hop(mut hop: Uri) -> Uri {
    hop.scheme = Scheme::Sips;
    hop.params.remove("transport");
    hop
}

/// The SDP of a message, if its body is one.
pub(super) fn sdp_of(headers: &crate::sip::message::Headers, body: &[u8]) -> Option<Vec<u8>> {
    if let Some(parts) = crate::sip::message::parts(headers, body) {
        return parts.into_iter().find(|part| part.kind == SDP && !part.body.is_empty()).map(|part| part.body);
    }
    // A body whose type was forgotten is what bodies of INVITEs are, if it looks like it.
    let is_sdp = match headers.content_type() {
        Some(kind) => kind.eq_ignore_ascii_case(SDP),
        None => body.starts_with(b"v="),
    };
    (is_sdp && !body.is_empty()).then(|| body.to_vec())
}

/// The same request once more needs a higher CSeq (§22.2).
pub(crate) fn raise_cseq(request: &mut Request) {
    if let Ok(CSeq { seq, method }) = request.headers.cseq() {
        request.headers.set(HeaderName::CSEQ, CSeq { seq: seq.saturating_add(1), method }.to_string());
    }
}
