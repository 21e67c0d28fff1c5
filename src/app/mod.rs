//! The client of the engines: arguments, config, console and JSON.

pub mod args;
mod clock;
pub mod config;
mod console;
pub mod escape;
pub mod exit;
mod info;
mod init;
mod input;
pub mod json;
mod log;
mod pbx;
pub mod run;
mod session;
mod setup;
pub mod status;
pub mod texts;
pub mod trace;
mod try_it;
pub mod verdict;
pub mod writer;
