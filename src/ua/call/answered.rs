//! Our 2xx to an INVITE, repeated until its ACK comes (RFC 3261 §13.3.1.4).

use super::calls::Cx;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::session::Session;
use super::{Call, CallEvent, EndCause, State, from_tag};
use crate::api::EndedBy;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{Request, Response};
use crate::time::{Duration, Instant};

/// Round-trip estimate of RFC 3261 §17.1.1.1.
pub(super) const T1: Duration = Duration::from_millis(500);
/// The longest pause between repetitions.
const T2: Duration = Duration::from_secs(4);

/// Our 2xx has no ACK yet.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) leg: Leg,
    pub(super) resend: Resend,
    pub(super) late: bool,
    pub(super) then: Then,
}

/// What the ACK leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Talk,
    HangUp,
}

/// A 2xx to INVITE that is repeated until its ACK comes (§13.3.1.4), over streams too.
#[derive(Debug)]
pub(super) struct Resend {
    txn: TxnId,
    seq: u32,
    response: Response,
    next_at: Instant,
    interval: Duration,
    give_up_at: Instant,
}

/// What [`Resend::handle_timeout`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Waiting,
    Over,
}

impl Resend {
    pub(super) fn new(now: Instant, txn: TxnId, seq: u32, response: Response) -> Self {
        Self { txn, seq, response, next_at: now + T1, interval: T1, give_up_at: now + 64 * T1 }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next_at.min(self.give_up_at)
    }

    pub(super) fn is_acknowledged_by(&self, ack: &Request) -> bool {
        ack.headers.cseq().is_ok_and(|cseq| cseq.seq == self.seq)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) -> Patience {
        if self.give_up_at <= now {
            return Patience::Over;
        }
        if self.next_at <= now {
            cx.core.endpoint.respond(now, self.txn, self.response.clone());
            self.interval = (self.interval * 2).min(T2);
            self.next_at = now + self.interval;
        }
        Patience::Waiting
    }
}

impl Answered {
    pub(super) const fn is_leaving(&self) -> bool {
        matches!(self.then, Then::HangUp)
    }

    /// True when the ACK owes us an answer.
    pub(super) const fn is_late(&self) -> bool {
        self.late
    }

    pub(super) const fn leave(&mut self) {
        self.then = Then::HangUp;
    }
}

impl Call {
    /// The 2xx goes out again, or nobody acknowledged it for 64·T1: BYE, and the owner is told.
    pub(super) fn handle_ack_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Answered(answered) = &mut self.state else { return };
        match answered.resend.handle_timeout(now, cx) {
            Patience::Waiting => {}
            Patience::Over => self.leave_answered(now, cx, EndedBy::Fault, EndCause::NoAck),
        }
    }

    pub(super) fn leave_answered(&mut self, now: Instant, cx: &mut Cx<'_, '_>, by: EndedBy, cause: EndCause) {
        let told = self.is_over();
        if let State::Answered(answered) = self.take_state() {
            self.send_bye(now, cx, answered.leg);
            if !told {
                self.end(cx, by, cause);
            }
        }
    }

    pub(super) fn handle_ack(&mut self, now: Instant, cx: &mut Cx<'_, '_>, ack: &Request) {
        let tag = from_tag(ack);
        match &mut self.state {
            State::Answered(answered)
                if answered.leg.remote_tag() == tag && answered.resend.is_acknowledged_by(ack) =>
            {
                if answered.is_leaving() {
                    self.leave_answered(now, cx, EndedBy::Local, EndCause::HungUp);
                } else {
                    self.establish(cx, sdp_of(&ack.headers, &ack.body));
                }
            }
            State::Established(session) if session.leg.remote_tag() == tag => session.handle_ack(cx, ack),
            State::Answered(_)
            | State::Established(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Closing => {}
        }
    }

    /// The caller has our 2xx; `answer` is what its ACK said to an offer of ours.
    pub(super) fn establish(&mut self, cx: &mut Cx<'_, '_>, answer: Option<Vec<u8>>) {
        let answered = match self.take_state() {
            State::Answered(answered) => answered,
            state @ (State::Established(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Closing) => {
                self.state = state;
                return;
            }
        };
        let (leg, late) = (answered.leg, answered.late);
        let id = leg.id;
        self.state = State::Established(Box::new(Session::new(leg)));
        if let Some(body) = answer.filter(|_| late) {
            cx.emit(CallEvent::Answer { leg: id, body, early: false });
        }
        cx.emit(CallEvent::Established { leg: id });
    }
}
