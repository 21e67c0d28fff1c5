//! Calls and registrations in the simulated world: virtual clock, seeded network.

#![allow(unreachable_pub, reason = "a test program has no outside")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test picks one case of many, fails loudly, and runs in real time where it must"
)]

mod bridging;
mod callee;
mod caller;
mod calls;
mod changing;
mod checklist;
mod detours;
mod digits;
mod early;
mod holding;
mod interfaces;
mod kit;
mod nat;
mod pbx;
mod policies;
mod reach;
mod refreshing;
mod registration;
mod reliable;
mod replacing;
mod roaming;
mod srtp;
mod storms;
mod sweep;
mod talking;
mod timers;
mod tls;
mod transfers;
mod updating;
