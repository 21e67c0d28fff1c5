//! SIP transactions (RFC 3261 §17, RFC 6026): four machines of states and timers, and the keys that match messages to them.
//!
//! The machines hold no messages: they tell by `Action` what the endpoint shall send or hand on, and when they want
//! to be woken. Each file draws its figure of the RFC.

pub(crate) mod client_invite;
pub(crate) mod client_non_invite;
pub(crate) mod key;
pub(crate) mod server_invite;
pub(crate) mod server_non_invite;

use crate::time::{Duration, Instant};

/// Names one transaction of an endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);

/// The three times that all others derive from (§17.1.1.1, §17.1.2.1, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// Longest pause between retransmissions.
    pub t2: Duration,
    /// How long a message may stay in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl Timers {
    /// 64·T1: timers B, F, H, J, L and M, and the wait for a response to a cancelled INVITE (§9.1).
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D: at least 32 s over datagrams (§17.1.1.2).
    pub fn d(&self) -> Duration {
        self.timeout().max(Duration::from_secs(32))
    }
}

/// What a machine wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send the request, or the latest response, for the first time or again.
    Send,
    /// Send `100 Trying`.
    Trying,
    /// Acknowledge the final response.
    Ack,
    /// Hand the message to the user.
    Deliver,
    /// Tell the user that no final response came.
    TimedOut,
    /// Forget the transaction; always last.
    Ended,
}

/// Where machines put their actions, in order.
pub(crate) type Outbox = Vec<Action>;

/// The earlier of an optional and a certain deadline.
fn sooner(resend_at: Option<Instant>, end: Instant) -> Instant {
    resend_at.map_or(end, |at| at.min(end))
}
