//! Messages on the wire against what they must mean.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test picks one case of many, and runs in real time where it must"
)]

mod answers;
mod differences;
mod gaps;
mod generate;
mod limits;
mod oracle;
mod properties;
mod rows;
mod rtp;
mod sdp;
mod smuggling;
mod torture;
