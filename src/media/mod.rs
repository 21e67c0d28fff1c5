//! Media without IO: RTP, RTCP, jitter buffer, codecs; an engine of its own (seam 1).

pub mod codec;
pub mod command;
mod jitter;
pub mod playout;
pub mod resample;
pub mod set;
mod similarity;
pub mod tones;
