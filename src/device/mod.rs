//! Sound devices and files: what plays and captures at the edge.

pub mod builtin;
pub mod clip;
pub mod record;
pub mod wav;
