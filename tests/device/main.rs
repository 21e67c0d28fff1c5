//! The real binary with real sound systems: a PulseAudio daemon of our own with null sinks, ALSA's null device, no card at all.
//!
//! The daemon has a runtime folder of its own, listens on a socket there, and is ended by its process id.

#![cfg(feature = "audio")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test picks one case of many, runs in real time where it must, and shows what it measured"
)]

mod bellwire;
mod cards;
mod peer;
mod pulse;
mod room;
mod sound;

/// Tests that judge sound run alone, the others beside each other: an unpaced device takes all the processor time that it gets.
static QUIET: std::sync::RwLock<()> = std::sync::RwLock::new(());

/// Held by a test that judges sound: no other test of this program runs meanwhile.
fn alone() -> std::sync::RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Held by any other test.
fn among_others() -> std::sync::RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}
