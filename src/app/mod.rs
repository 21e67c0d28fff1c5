//! The client of the engines: arguments, config, console and JSON.

pub mod args;
pub mod config;
pub mod escape;
pub mod exit;
pub mod texts;
pub mod writer;
