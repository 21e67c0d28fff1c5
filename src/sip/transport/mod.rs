//! SIP transports (RFC 3261 §18): Via, routes, stream connections and their framing.

pub mod connections;
pub mod framer;
pub(crate) mod resolve;
pub mod route;
pub(crate) mod via;
