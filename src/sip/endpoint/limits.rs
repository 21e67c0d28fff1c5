//! How much an endpoint takes from strangers (threats B1, B4, B8), and what it has counted.

/// The `[limits]` of the configuration; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New INVITEs a second from one source IP; more are answered 503 without a transaction.
    pub invites_per_source: u32,
    /// Calls that may ring at once (kept by the user of the endpoint).
    pub ringing: u32,
    /// Server transactions without final response; more are answered 503 with Retry-After.
    pub unanswered: u32,
    /// Dialogs that may live at once, beyond twice `call.max` (kept by the user of the endpoint).
    pub dialogs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { invites_per_source: 20, ringing: 4, unanswered: 1024, dialogs: 512 }
    }
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { invites_per_source: 0, ringing: 0, unanswered: 0, dialogs: 0 };
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages received that could be read.
    pub received: u64,
    /// Messages sent, with retransmissions.
    pub sent: u64,
    /// Messages sent again because a timer fired or a retransmission came.
    pub retransmitted: u64,
    /// Datagrams or stream messages that were no SIP message.
    pub malformed: u64,
    /// Requests and responses that a limit turned away, or that matched nothing.
    pub dropped: u64,
}
