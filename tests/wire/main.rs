//! Messages on the wire against what they must mean.

mod fuzz;
mod gaps;
mod generate;
mod oracle;
mod properties;
mod sdp;
mod smuggling;
mod torture;
