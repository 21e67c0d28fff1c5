//! The real binary, run as a user would: its output, texts and exit codes.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test picks one case of many, fails loudly, and runs in real time where it must"
)]

mod calls;
mod configs;
mod docs;
mod echo;
mod kit;
mod listening;
mod output;
mod peer;
mod policies;
mod servers;
mod signals;
mod terminal;
mod tls;
mod transfers;
