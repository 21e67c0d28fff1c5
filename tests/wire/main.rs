//! Messages on the wire against what they must mean.

mod fuzz;
mod sdp;
mod torture;
