//! SDP (RFC 8866) and offer/answer (RFC 3264).
//!
//! ```text
//!  bytes ─ read ─▶ Sdp ─ Negotiator (offer, answer, versions, payload types) ─▶ MediaPlan ─▶ media
//!  bytes ◀ encode ─┘  └─ relay (a bridge: addresses rewritten, formats kept) ──▶ MediaPlan
//! ```
//!
//! Only the module `read` ([`Sdp::parse`]) knows the crate sdp-rs.

mod capabilities;
pub mod crypto;
mod error;
mod format;
mod negotiator;
pub mod plan;
mod read;
mod relay;
mod session;

pub use capabilities::{Capabilities, MediaEncryption, Wish};
pub use error::{NegotiationError, SdpError};
pub use format::Format;
pub use negotiator::Negotiator;
pub use relay::{RemoteMedia, relay_plan, remote_of, rewrite_addresses};
pub use session::{Attribute, Connection, Host, Media, Origin, Sdp};
