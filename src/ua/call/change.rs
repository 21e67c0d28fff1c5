//! Changes of an established session (RFC 3261 §14): the peer's re-INVITE and ours, glare, and what ends the call.

use super::answered::{Patience, Resend};
use super::calls::Cx;
use super::outgoing::sdp_of;
use super::{ALLOW, Call, CallEvent, EndCause, OfferId, SDP, State, WrongState, reachable};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{Route, TxnError, TxnId};
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};

/// The longest pause that a peer may ask for with 500 (§14.2).
const MOST_PAUSE: u64 = 10;

/// A re-INVITE in progress; one at a time (§14).
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The peer's waits for our owner's answer; `before` is the remote target that a refusal leaves in force.
    Theirs { id: OfferId, txn: TxnId, request: Box<Request>, late: bool, before: Uri },
    /// Our 2xx to the peer's waits for its ACK.
    Accepted { resend: Box<Resend>, late: bool },
    /// Ours waits for the way to the peer.
    Queued,
    /// Ours waits for its final response.
    Ours { txn: TxnId, request: Box<Request>, route: Route, challenges: u8 },
}

impl Call {
    pub(super) fn handle_change(&mut self, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, before: Uri) {
        self.presume_ack(cx);
        let id = self.next_offer();
        let State::Established(session) = &mut self.state else { return };
        let local = cx.core.endpoint.route_back(&session.leg.flow).local;
        let body = sdp_of(&request.headers, &request.body);
        session.change = Change::Theirs { id, txn, request: Box::new(request), late: body.is_none(), before };
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
        let contact = reachable(cx.core.endpoint, self.contact_user.as_deref(), local, flow.protocol);
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
            Change::Theirs { id, txn, request, late, before } if id == wanted => Some((txn, *request, late, before)),
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
            // §14.2: the peer had a change of its own under way.
            500 => cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: pause_of(&response) }),
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
    pub(super) fn break_off(&mut self, now: Instant, cx: &mut Cx<'_, '_>, by: EndedBy, cause: EndCause) {
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

    /// After a challenge inside the dialog the raised CSeq is the dialog's own.
    pub(super) fn take_over_seq(&mut self, request: &Request) {
        let State::Established(session) = &mut self.state else { return };
        let Ok(cseq) = request.headers.cseq() else { return };
        while session.leg.dialog.local_seq() < cseq.seq {
            let _ = session.leg.dialog.request(Method::Invite);
        }
    }
}

/// What Retry-After asks for, if it is no longer than the rule allows.
fn pause_of(response: &Response) -> Option<Duration> {
    let text = response.headers.get(&HeaderName::RETRY_AFTER)?;
    let digits: String = text.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|seconds| *seconds <= MOST_PAUSE).map(Duration::from_secs)
}
