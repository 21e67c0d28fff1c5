//! The server transaction of all methods but INVITE (RFC 3261 §17.2.2, figure 8; RFC 4320).
//!
//! ```text
//!            request came
//!                 │   copies absorbed
//!              Trying ──────────── no answer in 64·T1 ──▶ Terminated   (never 408: RFC 4320 §4.2)
//!            1xx │  │ 200–699
//!                ▼  └───────────────┐
//!           Proceeding              ▼
//!   copies: 1xx again ─ 200–699 ─▶ Completed ─── J ─────▶ Terminated
//!                                   copies: the response again
//! ```

use super::{Action, Outbox, Timers};
use crate::sip::message::StatusCode;
use crate::time::Instant;

/// One request sent to us, other than INVITE and ACK.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerNonInvite {
    state: State,
    reliable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The user has it; an answer after 64·T1 would find nobody waiting (RFC 4320 §4.2).
    Trying {
        give_up_at: Instant,
    },
    /// A provisional response was sent.
    Proceeding {
        give_up_at: Instant,
    },
    /// Answered: copies of the request get the response again until timer J.
    Completed {
        until: Instant,
    },
    Terminated,
}

impl ServerNonInvite {
    pub(crate) fn new(now: Instant, timers: &Timers, reliable: bool) -> Self {
        Self { state: State::Trying { give_up_at: now + timers.timeout() }, reliable }
    }

    /// True until a final response has been sent.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Trying { .. } | State::Proceeding { .. })
    }

    /// The request came again.
    pub(crate) fn handle_request(&self, out: &mut Outbox) {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } => out.push(Action::Send),
            State::Trying { .. } | State::Terminated => {}
        }
    }

    /// The user answers; a second final response is not sent.
    pub(crate) fn respond(&mut self, now: Instant, timers: &Timers, status: StatusCode, out: &mut Outbox) {
        self.state = match self.state {
            State::Trying { give_up_at } | State::Proceeding { give_up_at } if status.is_provisional() => {
                out.push(Action::Send);
                State::Proceeding { give_up_at }
            }
            State::Trying { .. } | State::Proceeding { .. } => {
                out.push(Action::Send);
                if self.reliable {
                    out.push(Action::Ended);
                    State::Terminated
                } else {
                    State::Completed { until: now + timers.timeout() }
                }
            }
            unchanged @ (State::Completed { .. } | State::Terminated) => unchanged,
        };
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.state = match self.state {
            State::Trying { give_up_at: until }
            | State::Proceeding { give_up_at: until }
            | State::Completed { until }
                if until <= now =>
            {
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
            State::Trying { give_up_at } | State::Proceeding { give_up_at } => Some(give_up_at),
            State::Completed { until } => Some(until),
            State::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests;
