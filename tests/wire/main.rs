//! Messages on the wire against what they must mean.
