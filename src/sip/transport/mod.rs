//! SIP transports (RFC 3261 §18): routes, stream connections and their framing.

pub mod route;
