//! Bellwire: a SIP softphone whose core does no IO.
//!
//! ```text
//!  app/      args · console · JSON                          clients of Command and Event
//!  driver/   mio loop · sockets · resolver · writer         the only code that touches OS and clock
//!  device/   sound cards · WAV files
//!  ═════════════════════════ sans-IO line ═════════════════════════
//!  ua/       Ua: accounts, registrations, calls             pbx/  Pbx: registrar, dial plan, bridge
//!  media/    MediaSet: RTP, RTCP, jitter buffer, codecs
//!  sdp/      Sdp, Negotiator (offer/answer)
//!  sip/      Endpoint: framing, transactions; Dialog, auth, message
//! ```
//!
//! Dependencies only point down. Everything below the line is plain `&mut self` code that receives bytes,
//! commands and the current time, and leaves its outputs in a queue; see [`engine`] for the verbs.

#![cfg_attr(
    test,
    allow(
        clippy::wildcard_enum_match_arm,
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "a test picks one case of many, shows what it measured, and the driver's tests have peers on threads"
    )
)]

pub mod api;
pub mod app;
pub mod device;
pub mod driver;
pub mod engine;
#[doc(hidden)]
pub mod fuzz;
pub mod id;
pub mod manual;
pub mod media;
pub mod pbx;
pub mod rng;
pub mod sdp;
pub mod secret;
pub mod sip;
pub mod time;
pub mod ua;
