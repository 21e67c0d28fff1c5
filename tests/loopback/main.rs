//! The real binary over real sockets: many calls at once on the loopback interface, streams and IPv6, ends that are
//! killed, floods, and a network namespace with two interfaces.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test picks one case of many, fails loudly, and runs in real time where it must"
)]

mod calls;
mod flood;
mod killing;
#[allow(dead_code, reason = "shared with the tests of the command line, which use more of it")]
#[path = "../cli/kit.rs"]
mod kit;
mod namespace;
#[allow(dead_code, reason = "shared with the tests against other programs, which use more of it")]
#[path = "../interop/sound.rs"]
mod sound;
