//! Calls and registrations in the simulated world: virtual clock, seeded network.

mod calls;
mod kit;
mod sweep;
