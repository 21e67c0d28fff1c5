//! The client of the engines: arguments, config, console and JSON.

pub mod config;
pub mod escape;
pub mod exit;
