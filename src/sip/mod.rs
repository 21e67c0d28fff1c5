//! SIP without IO: messages, transports' framing, transactions, dialogs, digest authentication.

pub mod message;
