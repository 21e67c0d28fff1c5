//! Media without IO: RTP, RTCP, jitter buffer, codecs; an engine of its own (seam 1).

pub mod command;
