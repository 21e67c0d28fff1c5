//! The client transaction of all methods but INVITE (RFC 3261 §17.1.2, figure 6).
//!
//! ```text
//!            request sent
//!                 │          E: send again, doubling up to T2
//!              Trying ─────────── F: no answer ─────────▶ Terminated
//!            1xx │  │ 200–699
//!                ▼  └────────────────┐
//!           Proceeding               ▼
//!   E: again, each T2 ── 200–699 ─▶ Completed ─── K ────▶ Terminated
//!                └─────────────── F: no answer ─────────▶ Terminated
//! ```

use super::{Action, Outbox, Timers, sooner};
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};

/// One request sent by us, other than INVITE and ACK.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientNonInvite {
    state: State,
    reliable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sent, nothing heard: timer E retransmits, timer F gives up.
    Trying {
        resend_at: Option<Instant>,
        interval: Duration,
        give_up_at: Instant,
    },
    /// A provisional response came: still retransmitting, every T2.
    Proceeding {
        resend_at: Option<Instant>,
        give_up_at: Instant,
    },
    /// A final response came: its copies are absorbed until timer K.
    Completed {
        until: Instant,
    },
    Terminated,
}

impl ClientNonInvite {
    pub(crate) fn new(now: Instant, timers: &Timers, reliable: bool, out: &mut Outbox) -> Self {
        out.push(Action::Send);
        let resend_at = (!reliable).then(|| now + timers.t1);
        let give_up_at = now + timers.timeout();
        Self { state: State::Trying { resend_at, interval: timers.t1, give_up_at }, reliable }
    }

    pub(crate) fn handle_response(&mut self, now: Instant, timers: &Timers, status: StatusCode, out: &mut Outbox) {
        self.state = match self.state {
            State::Trying { resend_at, give_up_at, .. } | State::Proceeding { resend_at, give_up_at }
                if status.is_provisional() =>
            {
                out.push(Action::Deliver);
                State::Proceeding { resend_at, give_up_at }
            }
            State::Trying { .. } | State::Proceeding { .. } => {
                out.push(Action::Deliver);
                if self.reliable {
                    out.push(Action::Ended);
                    State::Terminated
                } else {
                    State::Completed { until: now + timers.t4 }
                }
            }
            State::Completed { until } => State::Completed { until },
            State::Terminated => State::Terminated,
        };
    }

    /// The connection broke; true when the user must be told.
    pub(crate) fn handle_transport_error(&mut self) -> bool {
        match self.state {
            State::Trying { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                true
            }
            State::Completed { .. } | State::Terminated => false,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, timers: &Timers, out: &mut Outbox) {
        self.state = match self.state {
            State::Trying { give_up_at, .. } | State::Proceeding { give_up_at, .. } if give_up_at <= now => {
                out.extend([Action::TimedOut, Action::Ended]);
                State::Terminated
            }
            State::Trying { resend_at: Some(at), interval, give_up_at } if at <= now => {
                out.push(Action::Send);
                let interval = timers.t2.min(interval.saturating_mul(2));
                State::Trying { resend_at: Some(now + interval), interval, give_up_at }
            }
            State::Proceeding { resend_at: Some(at), give_up_at } if at <= now => {
                out.push(Action::Send);
                State::Proceeding { resend_at: Some(now + timers.t2), give_up_at }
            }
            State::Completed { until } if until <= now => {
                out.push(Action::Ended);
                State::Terminated
            }
            unchanged @ (State::Trying { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Terminated) => unchanged,
        };
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Trying { resend_at, give_up_at, .. } | State::Proceeding { resend_at, give_up_at } => {
                Some(sooner(resend_at, give_up_at))
            }
            State::Completed { until } => Some(until),
            State::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests;
