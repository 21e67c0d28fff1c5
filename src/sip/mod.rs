//! SIP without IO: messages, transports' framing, transactions, dialogs, digest authentication.

pub mod auth;
pub mod dialog;
pub mod endpoint;
pub mod message;
pub mod transaction;
pub mod transport;
