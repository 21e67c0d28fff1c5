//! The manual: pages that are read on their own, and whose examples the tests run.

/// From nothing to a call, step by step.
#[doc = include_str!("first-call.md")]
pub mod first_call {}

/// What can be done in a call: hold, several calls, and what else may happen in one.
#[doc = include_str!("calls.md")]
pub mod calls {}

/// Signalling that nobody on the way can read.
#[doc = include_str!("tls.md")]
pub mod tls {}

/// Every command and option.
#[doc = include_str!("commands.md")]
pub mod commands {}

/// What becomes of calls that come.
#[doc = include_str!("incoming.md")]
pub mod incoming {}

/// Handing calls over.
#[doc = include_str!("transfer.md")]
pub mod transfer {}

/// Every key of the config.
#[doc = include_str!("config.md")]
pub mod config {}

/// Encryption of sound, and who could listen all the same.
#[doc = include_str!("security.md")]
pub mod security {}
