//! The INVITE server transaction (RFC 3261 §17.2.1, figure 7; RFC 6026 §7.1, §8.5, §8.7).
//!
//! ```text
//!             INVITE came
//!                 │             100 after 200 ms unless the user answers first
//!            Proceeding ── 2xx ──▶ Accepted ─ L ─────────────▶ Terminated
//!      INVITE: 1xx again│             INVITE absorbed, ACK handed on, 2xx of the user sent
//!                300–699│
//!                       ▼
//!   G, INVITE: again  Completed ─ H: no ACK ─────────────────▶ Terminated
//!                    ACK │
//!                       ▼
//!                   Confirmed ─ I ───────────────────────────▶ Terminated
//! ```

use super::{Action, Outbox, Timers, sooner};
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};

/// How long the user may think before `100 Trying` leaves (§17.2.1).
pub(crate) const TRYING_AFTER: Duration = Duration::from_millis(200);

/// One INVITE sent to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerInvite {
    state: State,
    reliable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The user has it; `trying_at` until any response left.
    Proceeding {
        trying_at: Option<Instant>,
    },
    /// Refused: timer G sends the refusal again, timer H gives up waiting for the ACK.
    Completed {
        resend_at: Option<Instant>,
        interval: Duration,
        give_up_at: Instant,
    },
    /// The ACK came: its copies are absorbed until timer I.
    Confirmed {
        until: Instant,
    },
    /// Answered by 2xx, which the user repeats: copies of the INVITE are absorbed until timer L.
    Accepted {
        until: Instant,
    },
    Terminated,
}

impl ServerInvite {
    pub(crate) fn new(now: Instant, reliable: bool) -> Self {
        Self { state: State::Proceeding { trying_at: Some(now + TRYING_AFTER) }, reliable }
    }

    /// True until a final response has been sent.
    pub(crate) fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// True when a copy of the INVITE is answered by the latest response.
    pub(crate) fn needs_response(&self) -> bool {
        matches!(self.state, State::Proceeding { .. } | State::Completed { .. })
    }

    /// The INVITE came again.
    pub(crate) fn handle_request(&self, out: &mut Outbox) {
        match self.state {
            State::Proceeding { trying_at: None } | State::Completed { .. } => out.push(Action::Send),
            State::Proceeding { trying_at: Some(_) }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated => {}
        }
    }

    /// An ACK with the branch of the INVITE came.
    pub(crate) fn handle_ack(&mut self, now: Instant, timers: &Timers, out: &mut Outbox) {
        self.state = match self.state {
            State::Completed { .. } if self.reliable => {
                out.push(Action::Ended);
                State::Terminated
            }
            State::Completed { .. } => State::Confirmed { until: now + timers.t4 },
            State::Accepted { until } => {
                out.push(Action::Deliver);
                State::Accepted { until }
            }
            unchanged @ (State::Proceeding { .. } | State::Confirmed { .. } | State::Terminated) => unchanged,
        };
    }

    /// The user answers; nothing is sent when the answer comes too late.
    pub(crate) fn respond(&mut self, now: Instant, timers: &Timers, status: StatusCode, out: &mut Outbox) {
        self.state = match self.state {
            State::Proceeding { .. } if status.is_provisional() => {
                out.push(Action::Send);
                State::Proceeding { trying_at: None }
            }
            State::Proceeding { .. } if status.is_success() => {
                out.push(Action::Send);
                State::Accepted { until: now + timers.timeout() }
            }
            State::Proceeding { .. } => {
                out.push(Action::Send);
                let resend_at = (!self.reliable).then(|| now + timers.t1);
                State::Completed { resend_at, interval: timers.t1, give_up_at: now + timers.timeout() }
            }
            State::Accepted { until } => {
                if status.is_success() {
                    out.push(Action::Send);
                }
                State::Accepted { until }
            }
            unchanged @ (State::Completed { .. } | State::Confirmed { .. } | State::Terminated) => unchanged,
        };
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, timers: &Timers, out: &mut Outbox) {
        self.state = match self.state {
            State::Proceeding { trying_at: Some(at) } if at <= now => {
                out.push(Action::Trying);
                State::Proceeding { trying_at: None }
            }
            State::Completed { give_up_at: until, .. } | State::Confirmed { until } | State::Accepted { until }
                if until <= now =>
            {
                out.push(Action::Ended);
                State::Terminated
            }
            State::Completed { resend_at: Some(at), interval, give_up_at } if at <= now => {
                out.push(Action::Send);
                let interval = timers.t2.min(interval.saturating_mul(2));
                State::Completed { resend_at: Some(now + interval), interval, give_up_at }
            }
            unchanged @ (State::Proceeding { .. }
            | State::Completed { .. }
            | State::Confirmed { .. }
            | State::Accepted { .. }
            | State::Terminated) => unchanged,
        };
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Proceeding { trying_at } => trying_at,
            State::Completed { resend_at, give_up_at, .. } => Some(sooner(resend_at, give_up_at)),
            State::Confirmed { until } | State::Accepted { until } => Some(until),
            State::Terminated => None,
        }
    }
}

#[cfg(test)]
mod tests;
