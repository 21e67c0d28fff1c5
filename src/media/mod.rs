//! Media without IO: RTP, RTCP, jitter buffer, codecs; an engine of its own (seam 1).

pub mod codec;
pub mod command;
mod dtmf;
pub mod graph;
mod jitter;
mod outbox;
pub mod packet;
pub mod playout;
pub mod resample;
pub mod rtcp;
mod session;
pub mod set;
mod similarity;
pub mod srtp;
pub mod stats;
pub mod tones;
mod transport;
