//! Changes of an established session (RFC 3261 §14): the peer's re-INVITE and ours, glare, and what ends the call.

use super::answered::{Patience, Resend};
use super::calls::Cx;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::{Call, CallEvent, EndCause, OfferId, SDP, State, WrongState, timer, to_tag};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{Route, TxnError, TxnId};
use crate::sip::message::{CSeq, HeaderName, Method, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};

/// The longest pause that a peer may ask for with 500 (§14.2).
const MOST_PAUSE: u64 = 10;

/// A change in progress, by re-INVITE, UPDATE or PRACK; one at a time in each dialog (§14; RFC 3311 §5).
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The peer's waits for our owner's answer; `before` is the remote target that a refusal leaves in force.
    Theirs { id: OfferId, txn: TxnId, request: Box<Request>, late: bool, before: Uri },
    /// Our 2xx to the peer's re-INVITE waits for its ACK.
    Accepted { resend: Box<Resend>, late: bool },
    /// Ours waits for the way to the peer.
    Queued,
    /// Ours waits for its final response.
    Ours { txn: TxnId, request: Box<Request>, route: Route, challenges: u8 },
}

impl Change {
    fn is_ours(&self, wanted: TxnId) -> bool {
        matches!(self, Self::Ours { txn, .. } if *txn == wanted)
    }

    fn is_theirs(&self, wanted: OfferId) -> bool {
        matches!(self, Self::Theirs { id, .. } if *id == wanted)
    }
}

impl Call {
    pub(super) fn handle_change(&mut self, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, before: Uri) {
        self.presume_ack(cx);
        let body = sdp_of(&request.headers, &request.body);
        if let Some(body) = body {
            self.take_offer(cx, txn, request, body, before);
            return;
        }
        let id = self.next_offer();
        let State::Established(session) = &mut self.state else { return };
        let local = cx.core.endpoint.route_back(&session.leg.flow).local;
        session.leg.change = Change::Theirs { id, txn, request: Box::new(request), late: true, before };
        cx.emit(CallEvent::OfferWanted { id, local });
    }

    /// A later change says that the peer has our 2xx, though its ACK has not come.
    fn presume_ack(&mut self, cx: &mut Cx<'_, '_>) {
        if let State::Answered(_) = &self.state {
            self.establish(cx, None);
        }
        if let State::Established(session) = &mut self.state
            && matches!(session.leg.change, Change::Accepted { .. })
        {
            session.leg.change = Change::None;
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
        let tag = super::from_tag(&request);
        if request.method != Method::Invite {
            self.grant_update(now, cx, txn, &request, &tag, Some(body));
            cx.emit(CallEvent::ChangeDone);
            return Ok(());
        }
        let Some(flow) = self.leg(&tag).map(|leg| leg.flow) else { return Err(self.wrong_state()) };
        let local = cx.core.endpoint.route_back(&flow).local;
        let contact = self.contact(cx.core.endpoint, local, flow.protocol);
        let mut response = self.respond_to(&request, StatusCode::OK, &contact);
        self.describe(&mut response);
        response.headers.set(HeaderName::CONTENT_TYPE, SDP);
        response.body = body;
        let rules = self.rules;
        if let Some(leg) = self.leg_mut(&tag) {
            leg.grant(now, &rules, &request, &mut response);
        }
        cx.core.endpoint.respond(now, txn, response.clone());
        let seq = request.headers.cseq().map_or(0, |cseq| cseq.seq);
        let resend = Box::new(Resend::new(now, txn, seq, response));
        if let Some(leg) = self.leg_mut(&tag) {
            leg.change = Change::Accepted { resend, late };
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
        if let Some(leg) = self.leg_mut(&super::from_tag(&request)) {
            leg.dialog.restore_target(before);
        }
        cx.respond(now, txn, &request, code, self);
        Ok(())
    }

    fn take_change(&mut self, wanted: OfferId) -> Option<(TxnId, Request, bool, Uri)> {
        let leg = self.legs_mut().find(|leg| leg.change.is_theirs(wanted))?;
        match std::mem::replace(&mut leg.change, Change::None) {
            Change::Theirs { txn, request, late, before, .. } => Some((txn, *request, late, before)),
            Change::None | Change::Accepted { .. } | Change::Queued | Change::Ours { .. } => None,
        }
    }

    /// Our own change: a re-INVITE, before the call is up an UPDATE (RFC 3311 §5.1).
    pub(super) fn send_change(&mut self, now: Instant, cx: &mut Cx<'_, '_>, body: Vec<u8>) -> Result<(), WrongState> {
        let rules = self.rules;
        let method = match &self.state {
            State::Established(_) => Method::Invite,
            State::Calling(_) | State::Incoming(_) => Method::Update,
            State::Routing { .. } | State::Offering { .. } | State::Answered(_) | State::Closing => {
                return Err(self.wrong_state());
            }
        };
        let may = |leg: &&mut Leg| {
            let early = method == Method::Update;
            matches!(leg.change, Change::None)
                && (!early || (leg.exchanged && leg.peer.update && leg.unacknowledged.is_none()))
        };
        let mut legs = self.legs_mut().filter(may);
        let (Some(leg), None) = (legs.next(), legs.next()) else {
            drop(legs);
            return Err(self.wrong_state());
        };
        let mut request = leg.dialog.request(method.clone());
        request.headers.set(HeaderName::CONTENT_TYPE, SDP);
        request.body = body;
        timer::ask(&rules, leg.timer.as_ref(), &mut request);
        leg.change = Change::Queued;
        let ready = leg.path(now, cx, request);
        drop(legs);
        if let Some((request, route)) = ready {
            self.dispatch(now, cx, request, &route);
        }
        Ok(())
    }

    /// Our change has left.
    pub(super) fn change_is_out(&mut self, txn: TxnId, request: Request, route: Route) {
        let tag = to_tag(&request.headers);
        if let Some(leg) = self.leg_mut(&tag) {
            leg.change = Change::Ours { txn, request: Box::new(request), route, challenges: 0 };
        }
    }

    /// Whether this transaction is a change of ours.
    pub(super) fn is_change(&mut self, txn: TxnId) -> bool {
        self.legs_mut().any(|leg| leg.change.is_ours(txn))
    }

    /// A 2xx to a re-INVITE that we have acknowledged before: the same ACK again.
    pub(super) fn acknowledge_again(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response) {
        let State::Established(session) = &mut self.state else { return };
        let ack = response.headers.cseq().ok().and_then(|cseq| session.leg.ack_of(cseq.seq));
        if let Some((ack, route)) = ack.and_then(|ack| session.leg.path(now, cx, ack)) {
            self.dispatch(now, cx, ack, &route);
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
            self.acknowledge_change_progress(now, cx, &response);
            return;
        }
        let Some(leg) = self.legs_mut().find(|leg| leg.change.is_ours(txn)) else { return };
        let Change::Ours { mut request, route, challenges, .. } = std::mem::replace(&mut leg.change, Change::None)
        else {
            return;
        };
        if response.status.is_success() {
            let tag = leg.remote_tag().to_owned();
            self.change_accepted(now, cx, &tag, &request, &response);
            return;
        }
        cx.forget(txn);
        let tag = leg.remote_tag().to_owned();
        match response.status.code() {
            401 | 407 if self.authorize(cx, &mut request, &response, flow.peer, challenges).is_ok() => {
                self.take_next_seq(&mut request);
                let txn = cx.request(now, &request, &route);
                if let Some(leg) = self.leg_mut(&tag) {
                    leg.change = Change::Ours { txn, request, route, challenges: challenges + 1 };
                }
            }
            // §12.2.1.2: the peer does not know this call, or is not there any more.
            408 | 481 if matches!(self.state, State::Established(_)) => {
                let cause = EndCause::Rejected { response: Box::new(response), flow };
                self.break_off(now, cx, EndedBy::Remote, cause);
            }
            491 => {
                let owner = self.invite.is_some() || self.last_seq > 0;
                let (base, steps) = if owner { (2100, 190) } else { (0, 200) };
                let wait = Duration::from_millis(base + 10 * cx.core.rng.below(steps + 1));
                cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: Some(wait) });
            }
            // RFC 4028 §7.3: the same again with a longer interval.
            422 => {
                let again = self.raise_interval(&response).then_some(Duration::from_millis(10));
                cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: again });
            }
            // §14.2: the peer had a change of its own under way.
            500 => cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: pause_of(&response) }),
            _ => cx.emit(CallEvent::OfferRefused { status: response.status, retry_after: None }),
        }
    }

    /// The peer agrees: a re-INVITE is acknowledged, its answer is for the owner.
    fn change_accepted(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        tag: &str,
        request: &Request,
        response: &Response,
    ) {
        let Some(leg) = self.leg_mut(tag) else { return };
        leg.dialog.refresh_target(response);
        leg.note_abilities(&response.headers);
        leg.take_timer(now, response);
        let id = leg.id;
        let early = !matches!(self.state, State::Established(_));
        if let Some(body) = sdp_of(&response.headers, &response.body) {
            cx.emit(CallEvent::Answer { leg: id, body, early });
        }
        if request.method != Method::Invite {
            return;
        }
        let State::Established(session) = &mut self.state else { return };
        session.leg.ack = session.leg.dialog.ack_for(request).ok();
        let ack = session.leg.ack.clone();
        if let Some((ack, route)) = ack.and_then(|ack| session.leg.path(now, cx, ack)) {
            self.dispatch(now, cx, ack, &route);
        }
    }

    /// A reliable provisional response to our re-INVITE wants its PRACK too.
    fn acknowledge_change_progress(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response) {
        match self.take_state() {
            State::Established(mut session) => {
                self.acknowledge_progress(now, cx, &mut session.leg, response);
                self.state = State::Established(session);
            }
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Closing) => self.state = state,
        }
    }

    fn raise_interval(&mut self, response: &Response) -> bool {
        match self.take_state() {
            State::Established(mut session) => {
                let raised = self.take_min_se(Some(&mut session.leg), response);
                self.state = State::Established(session);
                raised
            }
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Closing) => {
                self.state = state;
                self.take_min_se(None, response)
            }
        }
    }

    /// Our change found no final response. Silence ends the call (§12.2.1.2); a broken connection may be replaced.
    pub(super) fn handle_change_failed(&mut self, now: Instant, cx: &mut Cx<'_, '_>, failed: TxnId, error: TxnError) {
        let Some(leg) = self.legs_mut().find(|leg| leg.change.is_ours(failed)) else { return };
        let Change::Ours { route, .. } = std::mem::replace(&mut leg.change, Change::None) else { return };
        match error {
            TxnError::Timeout if matches!(self.state, State::Established(_)) => self.silence(now, cx, &route, error),
            TxnError::Timeout | TxnError::Transport(_) => {
                cx.emit(CallEvent::OfferRefused { status: error.status(), retry_after: None });
            }
        }
    }

    /// The peer of a call that is up does not answer any more.
    pub(super) fn silence(&mut self, now: Instant, cx: &mut Cx<'_, '_>, route: &Route, error: TxnError) {
        let peer = route.targets.first().map_or(route.local, |target| target.addr);
        let cause = EndCause::Unreachable { peer, protocol: route.protocol(), error };
        self.break_off(now, cx, EndedBy::Fault, cause);
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
        if let State::Established(session) = &mut self.state
            && let Change::Accepted { resend, .. } = &mut session.leg.change
            && resend.handle_timeout(now, cx) == Patience::Over
        {
            self.break_off(now, cx, EndedBy::Fault, EndCause::NoAck);
            return;
        }
        self.handle_session_timer(now, cx);
    }

    /// After a challenge inside the dialog its next CSeq is the request's: others may have gone out since.
    pub(super) fn take_next_seq(&mut self, request: &mut Request) {
        let (tag, Ok(cseq)) = (to_tag(&request.headers), request.headers.cseq()) else { return };
        let leg = match self.leg_mut(&tag) {
            Some(leg) => leg,
            // The call is over, a request of it is not.
            None => match self.strays.iter_mut().find(|leg| leg.remote_tag() == tag) {
                Some(leg) => leg,
                None => return,
            },
        };
        let _ = leg.dialog.request(Method::Invite);
        let cseq = CSeq { seq: leg.dialog.local_seq(), method: cseq.method };
        request.headers.set(HeaderName::CSEQ, cseq.to_string());
    }
}

/// What Retry-After asks for, if it is no longer than the rule allows.
fn pause_of(response: &Response) -> Option<Duration> {
    let text = response.headers.get(&HeaderName::RETRY_AFTER)?;
    let digits: String = text.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|seconds| *seconds <= MOST_PAUSE).map(Duration::from_secs)
}
