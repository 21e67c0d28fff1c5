//! Media: everything between an RTP packet and a block of samples (RFC 3550), without a socket or a clock.

pub mod codec;
mod jitter;
pub mod playout;
pub mod resample;
mod similarity;
pub mod tones;
