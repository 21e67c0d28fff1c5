//! Sound devices and files: what plays and captures at the edge.

#[cfg(feature = "audio")]
pub(crate) mod audio;
pub mod builtin;
pub mod clip;
pub mod record;
pub mod wav;
