//! An established call (RFC 3261 §12.2, §14, §15): changes either way, glare, the end.

use super::calls::Cx;
use super::incoming::{Patience, Resend};
use super::leg::Leg;
use super::outgoing::{MAX_CHALLENGES, sdp_of};
use super::{ALLOW, Call, CallEvent, EndCause, OfferId, SDP, State, WrongState, contact, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{Route, TxnError, TxnId};
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};
use crate::ua::screen;

/// A confirmed dialog.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) leg: Leg,
    pub(super) change: Change,
}

/// A BYE on its way.
#[derive(Debug)]
pub(super) struct Bye {
    pub(super) request: Request,
    pub(super) route: Route,
    pub(super) tries: u8,
}

/// A re-INVITE in progress; one at a time (§14).
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The peer's waits for our owner's answer; `before` is the remote target that a refusal leaves in force.
    Theirs { id: OfferId, txn: TxnId, request: Request, late: bool, before: Uri },
    /// Our 2xx to the peer's waits for its ACK.
    Accepted { resend: Box<Resend>, late: bool },
    /// Ours waits for the way to the peer.
    Queued,
    /// Ours waits for its final response.
    Ours { txn: TxnId, request: Box<Request>, route: Route, challenges: u8 },
}

/// How a method that a dialog of ours never takes is refused; `None` for those that are handled.
pub(super) fn refusal_of(method: &Method) -> Option<StatusCode> {
    match method {
        Method::Invite | Method::Ack | Method::Bye | Method::Cancel | Method::Options => None,
        Method::Notify => Some(status(481)),
        Method::Register
        | Method::Info
        | Method::Update
        | Method::Prack
        | Method::Message
        | Method::Subscribe
        | Method::Refer
        | Method::Publish => Some(status(405)),
        Method::Other(_) => Some(status(501)),
    }
}

impl Session {
    /// A session without a change under way.
    pub(super) const fn new(leg: Leg) -> Self {
        Self { leg, change: Change::None }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.change {
            Change::Accepted { resend, .. } => Some(resend.deadline()),
            Change::None | Change::Theirs { .. } | Change::Queued | Change::Ours { .. } => None,
        }
    }

    pub(super) fn handle_ack(&mut self, cx: &mut Cx<'_, '_>, ack: &Request) {
        if let Change::Accepted { resend, late } = &self.change
            && resend.is_acknowledged_by(ack)
        {
            if let Some(body) = sdp_of(&ack.headers, &ack.body).filter(|_| *late) {
                cx.emit(CallEvent::Answer { leg: self.leg.id, body, early: false });
            }
            self.change = Change::None;
            cx.emit(CallEvent::ChangeDone);
        }
    }

    /// The peer cancelled its re-INVITE; gives back the request to answer by 487.
    pub(super) fn cancel_change(&mut self, cancelled: TxnId) -> Option<Request> {
        match std::mem::replace(&mut self.change, Change::None) {
            Change::Theirs { txn, request, before, .. } if txn == cancelled => {
                self.leg.dialog.restore_target(before);
                Some(request)
            }
            change @ (Change::None
            | Change::Theirs { .. }
            | Change::Accepted { .. }
            | Change::Queued
            | Change::Ours { .. }) => {
                self.change = change;
                None
            }
        }
    }
}

impl Call {
    /// A request inside our confirmed (or answered) dialog.
    #[expect(clippy::wildcard_enum_match_arm, reason = "methods are an open set")]
    pub(super) fn handle_in_session(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
    ) {
        let pinned = self.login.is_some();
        let leg = match &mut self.state {
            State::Established(session) => &mut session.leg,
            State::Answered(answered) => &mut answered.leg,
            State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Closing => return,
        };
        // Threats C7: a call through the account's server only takes requests from there.
        if pinned && leg.flow.peer.ip() != flow.peer.ip() {
            cx.respond(now, txn, &request, status(403), self);
            return;
        }
        // A change that cannot be taken now must not move the remote target either.
        let busy = match (&self.state, &request.method) {
            (State::Established(session), Method::Invite) => match &session.change {
                // Whoever changes what our 2xx said has got it: the ACK is late or lost (RFC 5407 §3.1).
                Change::None | Change::Accepted { late: false, .. } => None,
                Change::Ours { .. } | Change::Queued | Change::Accepted { late: true, .. } => Some(status(491)),
                Change::Theirs { .. } => Some(status(500)),
            },
            (State::Answered(answered), Method::Invite) if answered.is_leaving() => Some(status(500)),
            // The answer to our own offer has not come yet.
            (State::Answered(answered), Method::Invite) if answered.is_late() => Some(status(491)),
            (_, Method::Invite) => None,
            (_, method) => refusal_of(method),
        };
        if let Some(code) = busy {
            cx.respond(now, txn, &request, code, self);
            return;
        }
        if request.method == Method::Invite
            && let Err(refusal) = screen::body_and_extensions(&request)
        {
            cx.refuse(now, txn, &request, &refusal, self);
            return;
        }
        let leg = match &mut self.state {
            State::Established(session) => &mut session.leg,
            State::Answered(answered) => &mut answered.leg,
            State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Closing => return,
        };
        let before = leg.dialog.target().clone();
        if let Err(error) = leg.dialog.accept(&request) {
            cx.respond(now, txn, &request, error.status(), self);
            return;
        }
        leg.flow = flow;
        match request.method {
            Method::Bye => {
                cx.respond(now, txn, &request, StatusCode::OK, self);
                self.handle_bye(now, cx);
            }
            Method::Invite => self.handle_change(cx, txn, request, before),
            _ => cx.respond(now, txn, &request, StatusCode::OK, self),
        }
    }

    fn handle_bye(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let told = self.is_over();
        match self.take_state() {
            State::Established(session) => {
                let Session { leg, change } = *session;
                if let Change::Theirs { txn, request, .. } = &change {
                    cx.respond(now, *txn, request, status(487), self);
                }
                self.strays.push(leave(leg, &change));
            }
            State::Answered(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Closing => {}
        }
        if !told {
            self.end(cx, EndedBy::Remote, EndCause::HungUp);
        }
    }

    fn handle_change(&mut self, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, before: Uri) {
        self.presume_ack(cx);
        let id = self.next_offer();
        let State::Established(session) = &mut self.state else { return };
        let local = cx.core.endpoint.route_back(&session.leg.flow).local;
        let body = sdp_of(&request.headers, &request.body);
        session.change = Change::Theirs { id, txn, request, late: body.is_none(), before };
        cx.emit(match body {
            Some(body) => CallEvent::Offer { id, body, local },
            None => CallEvent::OfferWanted { id, local },
        });
    }

    /// A later change says that the peer has our 2xx, though its ACK has not come.
    fn presume_ack(&mut self, cx: &mut Cx<'_, '_>) {
        if let State::Answered(_) = &self.state {
            self.establish(cx, None);
        }
        if let State::Established(session) = &mut self.state
            && matches!(session.change, Change::Accepted { .. })
        {
            session.change = Change::None;
            cx.emit(CallEvent::ChangeDone);
        }
    }

    pub(super) fn accept_change(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        wanted: OfferId,
        body: Vec<u8>,
    ) -> Result<(), WrongState> {
        let Some((txn, request, late, _)) = self.take_change(wanted) else { return Err(self.wrong_state()) };
        let State::Established(session) = &self.state else { return Err(self.wrong_state()) };
        let flow = session.leg.flow;
        let local = cx.core.endpoint.route_back(&flow).local;
        let contact = contact(self.contact_user.as_deref(), local, flow.protocol);
        let mut response = self.respond_to(&request, StatusCode::OK, &contact);
        response.headers.set(HeaderName::ALLOW, ALLOW);
        response.headers.set(HeaderName::CONTENT_TYPE, SDP);
        response.body = body;
        cx.core.endpoint.respond(now, txn, response.clone());
        let seq = request.headers.cseq().map_or(0, |cseq| cseq.seq);
        let resend = Box::new(Resend::new(now, txn, seq, response));
        if let State::Established(session) = &mut self.state {
            session.change = Change::Accepted { resend, late };
        }
        Ok(())
    }

    pub(super) fn refuse_change(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        wanted: OfferId,
        code: StatusCode,
    ) -> Result<(), WrongState> {
        let Some((txn, request, _, before)) = self.take_change(wanted) else { return Err(self.wrong_state()) };
        if let State::Established(session) = &mut self.state {
            session.leg.dialog.restore_target(before);
        }
        cx.respond(now, txn, &request, code, self);
        Ok(())
    }

    fn take_change(&mut self, wanted: OfferId) -> Option<(TxnId, Request, bool, Uri)> {
        let State::Established(session) = &mut self.state else { return None };
        match std::mem::replace(&mut session.change, Change::None) {
            Change::Theirs { id, txn, request, late, before } if id == wanted => Some((txn, request, late, before)),
            change @ (Change::None
            | Change::Theirs { .. }
            | Change::Accepted { .. }
            | Change::Queued
            | Change::Ours { .. }) => {
                session.change = change;
                None
            }
        }
    }

    /// Our own re-INVITE.
    pub(super) fn send_change(&mut self, now: Instant, cx: &mut Cx<'_, '_>, body: Vec<u8>) -> Result<(), WrongState> {
        match self.take_state() {
            State::Established(mut session) if matches!(session.change, Change::None) => {
                let mut request = session.leg.dialog.request(Method::Invite);
                request.headers.set(HeaderName::CONTENT_TYPE, SDP);
                request.body = body;
                session.change = Change::Queued;
                let ready = session.leg.path(now, cx, request);
                self.state = State::Established(session);
                if let Some((request, route)) = ready {
                    self.dispatch(now, cx, request, &route);
                }
                Ok(())
            }
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Established(_)
            | State::Closing) => {
                self.state = state;
                Err(self.wrong_state())
            }
        }
    }

    pub(super) fn change_is_out(&mut self, txn: TxnId, request: Request, route: Route) {
        if let State::Established(session) = &mut self.state {
            session.change = Change::Ours { txn, request: Box::new(request), route, challenges: 0 };
        }
    }

    pub(super) fn handle_change_response(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        response: Response,
        flow: Flow,
    ) {
        if response.status.is_provisional() {
            return;
        }
        let State::Established(session) = &mut self.state else { return };
        if response.status.is_success() {
            let acknowledged = match std::mem::replace(&mut session.change, Change::None) {
                Change::Ours { txn: ours, request, .. } if ours == txn => {
                    session.leg.dialog.refresh_target(&response);
                    session.leg.ack = session.leg.dialog.ack_for(&request).ok();
                    let leg = session.leg.id;
                    if let Some(body) = sdp_of(&response.headers, &response.body) {
                        cx.emit(CallEvent::Answer { leg, body, early: false });
                    }
                    session.leg.ack.clone()
                }
                // A repeated 2xx: the same ACK again.
                change @ (Change::None
                | Change::Theirs { .. }
                | Change::Accepted { .. }
                | Change::Queued
                | Change::Ours { .. }) => {
                    session.change = change;
                    response.headers.cseq().ok().and_then(|cseq| session.leg.ack_of(cseq.seq))
                }
            };
            if let Some((ack, route)) = acknowledged.and_then(|ack| session.leg.path(now, cx, ack)) {
                self.dispatch(now, cx, ack, &route);
            }
            return;
        }
        cx.forget(txn);
        let change = std::mem::replace(&mut session.change, Change::None);
        let Change::Ours { txn: ours, mut request, route, challenges } = change else {
            session.change = change;
            return;
        };
        if ours != txn {
            session.change = Change::Ours { txn: ours, request, route, challenges };
            return;
        }
        match response.status.code() {
            401 | 407 if self.authorize(cx, &mut request, &response, flow.peer, challenges).is_ok() => {
                self.take_over_seq(&request);
                let txn = cx.request(now, &request, &route);
                if let State::Established(session) = &mut self.state {
                    session.change = Change::Ours { txn, request, route, challenges: challenges + 1 };
                }
            }
            // §12.2.1.2: the peer does not know this call, or is not there any more.
            408 | 481 => {
                let cause = EndCause::Rejected { response: Box::new(response), flow };
                self.break_off(now, cx, EndedBy::Remote, cause);
            }
            491 => {
                let owner = self.invite.is_some() || self.last_seq > 0;
                let (base, steps) = if owner { (2100, 190) } else { (0, 200) };
                let wait = Duration::from_millis(base + 10 * cx.core.rng.below(steps + 1));
                cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: Some(wait) });
            }
            _ => cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: None }),
        }
    }

    /// Our change found no final response. Silence ends the call (§12.2.1.2); a broken connection may be replaced.
    pub(super) fn handle_change_failed(&mut self, now: Instant, cx: &mut Cx<'_, '_>, failed: TxnId, error: TxnError) {
        let State::Established(session) = &mut self.state else { return };
        let route = match &session.change {
            Change::Ours { txn, route, .. } if *txn == failed => route.clone(),
            Change::None | Change::Theirs { .. } | Change::Accepted { .. } | Change::Queued | Change::Ours { .. } => {
                return;
            }
        };
        session.change = Change::None;
        match error {
            TxnError::Timeout => {
                let peer = route.targets.first().map_or(route.local, |target| target.addr);
                let cause = EndCause::Unreachable { peer, protocol: route.protocol(), error };
                self.break_off(now, cx, EndedBy::Fault, cause);
            }
            TxnError::Transport(_) => cx.emit(CallEvent::OfferRefused { status: error.status(), retry_after: None }),
        }
    }

    /// Ends the session by BYE, for a reason of the network's.
    fn break_off(&mut self, now: Instant, cx: &mut Cx<'_, '_>, by: EndedBy, cause: EndCause) {
        match self.take_state() {
            State::Established(session) => {
                self.leave_session(now, cx, *session);
                self.end(cx, by, cause);
            }
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Closing) => self.state = state,
        }
    }

    pub(super) fn handle_change_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Established(session) = &mut self.state else { return };
        let Change::Accepted { resend, .. } = &mut session.change else { return };
        match resend.handle_timeout(now, cx) {
            Patience::Waiting => {}
            Patience::Over => {
                if let State::Established(session) = self.take_state() {
                    self.leave_session(now, cx, *session);
                    self.end(cx, EndedBy::Fault, EndCause::NoAck);
                }
            }
        }
    }

    /// BYE, and a final response to a change that waits.
    pub(super) fn leave_session(&mut self, now: Instant, cx: &mut Cx<'_, '_>, session: Session) {
        if let Change::Theirs { txn, request, .. } = &session.change {
            cx.respond(now, *txn, request, status(487), self);
        }
        self.send_bye(now, cx, leave(session.leg, &session.change));
    }

    /// Acknowledges a 2xx in a dialog that we have left, for the change that was under way then.
    pub(super) fn acknowledge_stray(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response) {
        let (Ok(cseq), Ok(to)) = (response.headers.cseq(), response.headers.to()) else { return };
        let tag = to.tag().unwrap_or_default();
        let Some(at) = self.strays.iter().position(|leg| leg.remote_tag() == tag) else { return };
        let mut leg = self.strays.swap_remove(at);
        if let Some(ack) = leg.ack_of(cseq.seq) {
            self.send_on(now, cx, &mut leg, ack);
        }
        self.strays.push(leg);
    }

    pub(super) fn send_bye(&mut self, now: Instant, cx: &mut Cx<'_, '_>, mut leg: Leg) {
        let bye = leg.dialog.request(Method::Bye);
        self.send_on(now, cx, &mut leg, bye);
        self.strays.push(leg);
    }

    pub(super) fn handle_bye_response(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        response: &Response,
        flow: Flow,
    ) {
        if response.status.is_provisional() {
            return;
        }
        cx.forget(txn);
        let Some(mut bye) = self.byes.remove(&txn) else { return };
        if matches!(response.status.code(), 401 | 407)
            && bye.tries < MAX_CHALLENGES
            && self.authorize(cx, &mut bye.request, response, flow.peer, bye.tries).is_ok()
        {
            let txn = cx.request(now, &bye.request, &bye.route);
            self.byes.insert(txn, Bye { tries: bye.tries + 1, ..bye });
        }
    }

    /// After a challenge inside the dialog the raised CSeq is the dialog's own.
    fn take_over_seq(&mut self, request: &Request) {
        let State::Established(session) = &mut self.state else { return };
        let Ok(cseq) = request.headers.cseq() else { return };
        while session.leg.dialog.local_seq() < cseq.seq {
            let _ = session.leg.dialog.request(Method::Invite);
        }
    }
}

/// The leg of a session that ends; should its change be accepted after all, it must be acknowledged.
fn leave(mut leg: Leg, change: &Change) -> Leg {
    if let Change::Ours { request, .. } = change {
        leg.ack = leg.dialog.ack_for(request).ok();
    }
    leg
}
