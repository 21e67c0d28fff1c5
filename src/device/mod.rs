//! Sound devices and files: what plays and captures at the edge.

#![allow(clippy::disallowed_methods, reason = "devices and files have clocks and threads of their own")]

#[cfg(feature = "audio")]
pub mod audio;
pub mod builtin;
pub mod clip;
pub mod record;
pub mod ring;
pub mod shared;
pub mod wav;
