//! The client of the engines: arguments, config, console and JSON.

#![allow(clippy::disallowed_methods, reason = "above the core: the program shows and waits in real time")]

pub mod args;
mod clock;
mod commands;
pub mod config;
mod console;
mod devices;
pub mod escape;
pub mod exit;
mod info;
mod init;
mod input;
mod instance;
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
