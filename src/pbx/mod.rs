//! The mini PBX.

mod config;
mod guard;
mod plan;
mod registrar;

pub use config::{PbxConfig, PbxUser};
