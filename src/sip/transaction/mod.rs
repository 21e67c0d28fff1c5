//! SIP transactions (RFC 3261 §17, RFC 6026).

/// Names one transaction of an endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxnId(pub u64);
