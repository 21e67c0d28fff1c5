//! Calls and registrations in the simulated world: virtual clock, seeded network.
