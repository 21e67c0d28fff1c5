//! The INVITE client transaction (RFC 3261 §17.1.1, figure 5; RFC 6026 §7.2, §8.4).
//!
//! ```text
//!             INVITE sent
//!                 │            A: send again, doubling
//!              Calling ────────── B: no answer ──────────▶ Terminated
//!            1xx │  │ │ 300–699: ACK
//!                ▼  │ └────────────────────▶ Completed ─ D ─▶ Terminated
//!         Proceeding│ 2xx                      ▲ │ 300–699: ACK again
//!                │  └──────────▶ Accepted ─ M ─┼─┼──────────▶ Terminated
//!                │  2xx            ▲ │ 2xx: handed on
//!                └─────────────────┘           │
//!                   300–699: ACK ──────────────┘
//! ```

use super::{Action, Outbox, Timers, sooner};
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};

/// One INVITE sent by us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientInvite {
    state: State,
    reliable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sent, nothing heard: timer A retransmits, timer B gives up.
    Calling {
        resend_at: Option<Instant>,
        interval: Duration,
        give_up_at: Instant,
    },
    /// A provisional response came; waits as long as its user does, or 64·T1 after a CANCEL (§9.1).
    Proceeding {
        give_up_at: Option<Instant>,
    },
    /// A failure came and was acknowledged: its copies are acknowledged until timer D.
    Completed {
        until: Instant,
    },
    /// A 2xx came: its copies and those of other forks go to the user until timer M.
    Accepted {
        until: Instant,
    },
    Terminated,
}

impl ClientInvite {
    pub(crate) fn new(now: Instant, timers: &Timers, reliable: bool, out: &mut Outbox) -> Self {
        out.push(Action::Send);
        let resend_at = (!reliable).then(|| now + timers.t1);
        let give_up_at = now + timers.timeout();
        Self { state: State::Calling { resend_at, interval: timers.t1, give_up_at }, reliable }
    }

    /// Over a stream the INVITE may wait for its connection; false once a response came.
    pub(crate) fn is_calling(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// True between the first provisional and the final response: the time for a CANCEL.
    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) fn handle_response(&mut self, now: Instant, timers: &Timers, status: StatusCode, out: &mut Outbox) {
        self.state = match self.state {
            State::Calling { .. } if status.is_provisional() => {
                out.push(Action::Deliver);
                State::Proceeding { give_up_at: None }
            }
            State::Proceeding { give_up_at } if status.is_provisional() => {
                out.push(Action::Deliver);
                State::Proceeding { give_up_at }
            }
            State::Calling { .. } | State::Proceeding { .. } if status.is_success() => {
                out.push(Action::Deliver);
                State::Accepted { until: now + timers.timeout() }
            }
            State::Calling { .. } | State::Proceeding { .. } => {
                out.extend([Action::Ack, Action::Deliver]);
                if self.reliable {
                    out.push(Action::Ended);
                    State::Terminated
                } else {
                    State::Completed { until: now + timers.d() }
                }
            }
            State::Completed { until } => {
                if status.is_final() && !status.is_success() {
                    out.push(Action::Ack);
                }
                State::Completed { until }
            }
            State::Accepted { until } => {
                if status.is_success() {
                    out.push(Action::Deliver);
                }
                State::Accepted { until }
            }
            State::Terminated => State::Terminated,
        };
    }

    /// The CANCEL has been sent: an answer must come within 64·T1 (§9.1).
    pub(crate) fn handle_cancel(&mut self, now: Instant, timers: &Timers) {
        if let State::Proceeding { give_up_at: None } = self.state {
            self.state = State::Proceeding { give_up_at: Some(now + timers.timeout()) };
        }
    }

    /// The connection broke; true when the user must be told.
    pub(crate) fn handle_transport_error(&mut self) -> bool {
        match self.state {
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = State::Terminated;
                true
            }
            State::Completed { .. } | State::Accepted { .. } | State::Terminated => false,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.state = match self.state {
            State::Calling { give_up_at, .. } | State::Proceeding { give_up_at: Some(give_up_at) }
                if give_up_at <= now =>
            {
                out.extend([Action::TimedOut, Action::Ended]);
                State::Terminated
            }
            State::Calling { resend_at: Some(at), interval, give_up_at } if at <= now => {
                out.push(Action::Send);
                let interval = interval.saturating_mul(2);
                State::Calling { resend_at: Some(now + interval), interval, give_up_at }
            }
            State::Completed { until } | State::Accepted { until } if until <= now => {
                out.push(Action::Ended);
                State::Terminated
            }
            unchanged @ (State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. }
            | State::Terminated) => unchanged,
        };
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Calling { resend_at, give_up_at, .. } => Some(sooner(resend_at, give_up_at)),
            State::Proceeding { give_up_at } => give_up_at,
            State::Completed { until } | State::Accepted { until } => Some(until),
            State::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests;
