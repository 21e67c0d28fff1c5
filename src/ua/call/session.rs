//! An established call (RFC 3261 §12.2, §15): what comes inside its dialog, and its end.

use super::calls::Cx;
use super::change::Change;
use super::leg::Leg;
use super::outgoing::{MAX_CHALLENGES, sdp_of};
use super::reason::Reason;
use super::timer::{self, Timer};
use super::{Call, CallEvent, EndCause, OfferId, State, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{Route, TxnError, TxnId};
use crate::sip::message::{Method, Request, Response, StatusCode};
use crate::time::{Instant, earliest};
use crate::ua::screen;

/// A confirmed dialog.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) leg: Leg,
}

/// A BYE on its way.
#[derive(Debug)]
pub(super) struct Bye {
    pub(super) request: Request,
    pub(super) route: Route,
    pub(super) tries: u8,
}

/// How a method that a dialog of ours never takes is refused; `None` for those that are handled.
pub(super) fn refusal_of(method: &Method) -> Option<StatusCode> {
    match method {
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Update
        | Method::Info
        | Method::Prack => None,
        Method::Notify => Some(status(481)),
        // Threats C6: only a call that is up may be transferred.
        Method::Refer => Some(status(403)),
        Method::Register | Method::Message | Method::Subscribe | Method::Publish => Some(status(405)),
        Method::Other(_) => Some(status(501)),
    }
}

impl Session {
    /// A session whose first offer has its answer.
    pub(super) const fn new(mut leg: Leg) -> Self {
        leg.exchanged = true;
        Self { leg }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let acknowledged = match &self.leg.change {
            Change::Accepted { resend, .. } => Some(resend.deadline()),
            Change::None | Change::Theirs { .. } | Change::Queued | Change::Ours { .. } => None,
        };
        earliest(acknowledged, self.leg.timer.as_ref().and_then(Timer::deadline))
    }

    pub(super) fn handle_ack(&mut self, cx: &mut Cx<'_, '_>, ack: &Request) {
        if let Change::Accepted { resend, late } = &self.leg.change
            && resend.is_acknowledged_by(ack)
        {
            if let Some(body) = sdp_of(&ack.headers, &ack.body).filter(|_| *late) {
                cx.emit(CallEvent::Answer { leg: self.leg.id, body, early: false });
            }
            self.leg.change = Change::None;
            cx.emit(CallEvent::ChangeDone);
        }
    }

    /// The peer cancelled its re-INVITE; gives back the request to answer by 487.
    pub(super) fn cancel_change(&mut self, cancelled: TxnId) -> Option<(OfferId, Request)> {
        match std::mem::replace(&mut self.leg.change, Change::None) {
            Change::Theirs { id, txn, request, before, .. } if txn == cancelled => {
                self.leg.dialog.restore_target(before);
                Some((id, *request))
            }
            change @ (Change::None
            | Change::Theirs { .. }
            | Change::Accepted { .. }
            | Change::Queued
            | Change::Ours { .. }) => {
                self.leg.change = change;
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
        if !leg.takes_from(pinned, &flow) {
            cx.respond(now, txn, &request, status(403), self);
            return;
        }
        // A change that cannot be taken now must not move the remote target either.
        let busy = match (&self.state, &request.method) {
            (State::Established(session), Method::Invite) => match &session.leg.change {
                // Whoever changes what our 2xx said has got it: the ACK is late or lost (RFC 5407 §3.1).
                Change::None | Change::Accepted { late: false, .. } => None,
                Change::Ours { .. } | Change::Queued | Change::Accepted { late: true, .. } => Some(status(491)),
                Change::Theirs { .. } => Some(status(500)),
            },
            (State::Answered(answered), Method::Invite) if answered.is_leaving() => Some(status(500)),
            // The answer to our own offer has not come yet.
            (State::Answered(answered), Method::Invite) if answered.is_late() => Some(status(491)),
            (_, Method::Invite) | (State::Established(_), Method::Refer | Method::Notify | Method::Info) => None,
            (_, method) => refusal_of(method),
        };
        if let Some(code) = busy {
            cx.respond(now, txn, &request, code, self);
            return;
        }
        if request.method == Method::Update {
            self.handle_update(now, cx, txn, request, flow);
            return;
        }
        if request.method == Method::Invite
            && let Some(refusal) = screen::body_and_extensions(&request, &self.rules)
                .err()
                .or_else(|| timer::refusal(&self.rules, &request))
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
        leg.note_abilities(&request.headers);
        let known = leg.dialog.remote().uri.clone();
        if matches!(request.method, Method::Invite | Method::Update) {
            self.note_identity(&request.headers, Some(&known));
        }
        match request.method {
            Method::Bye => {
                self.peer_reason = Reason::of(&request.headers);
                cx.respond(now, txn, &request, StatusCode::OK, self);
                self.handle_bye(now, cx);
            }
            Method::Invite => self.handle_change(cx, txn, request, before),
            Method::Refer => self.handle_refer(now, cx, txn, request, flow),
            Method::Notify => self.handle_notify(now, cx, txn, &request),
            Method::Prack => self.handle_prack(now, cx, txn, request),
            Method::Info => self.handle_info(now, cx, txn, &request),
            _ => cx.respond(now, txn, &request, StatusCode::OK, self),
        }
    }

    fn handle_bye(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let told = self.is_over();
        self.end_transfers(now, cx, false);
        match self.take_state() {
            State::Established(session) => {
                let leg = session.leg;
                if let Change::Theirs { txn, request, .. } = &leg.change {
                    cx.respond(now, *txn, request, status(487), self);
                }
                self.strays.push(leave(leg));
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

    /// BYE, and a final response to a change that waits.
    pub(super) fn leave_session(&mut self, now: Instant, cx: &mut Cx<'_, '_>, session: Session) {
        self.end_transfers(now, cx, true);
        if let Change::Theirs { txn, request, .. } = &session.leg.change {
            cx.respond(now, *txn, request, status(487), self);
        }
        self.send_bye(now, cx, leave(session.leg));
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
            self.take_next_seq(&mut bye.request);
            self.renumber_refer(&bye.request);
            let txn = cx.request(now, &bye.request, &bye.route);
            self.byes.insert(txn, Bye { tries: bye.tries + 1, ..bye });
            return;
        }
        if bye.request.method == Method::Update {
            self.handle_refresh_response(now, cx, response, flow);
            return;
        }
        self.handle_usage_response(now, cx, &bye.request, response, flow);
    }

    /// A request of ours inside a dialog found no answer: only a refresh means the call itself.
    pub(super) fn handle_unanswered(&mut self, now: Instant, cx: &mut Cx<'_, '_>, asked: &Bye, error: TxnError) {
        match (&asked.request.method, error) {
            (Method::Update, TxnError::Timeout) => self.silence(now, cx, &asked.route, error),
            (Method::Update, TxnError::Transport(_)) => self.refresh_later(now),
            (_, error) => self.handle_usage_failed(cx, &asked.request, error),
        }
    }
}

/// The leg of a session that ends; should its change be accepted after all, it must be acknowledged.
fn leave(mut leg: Leg) -> Leg {
    match std::mem::replace(&mut leg.change, Change::None) {
        Change::Ours { request, .. } if request.method == Method::Invite => leg.ack = leg.dialog.ack_for(&request).ok(),
        Change::None | Change::Theirs { .. } | Change::Accepted { .. } | Change::Queued | Change::Ours { .. } => {}
    }
    leg
}
