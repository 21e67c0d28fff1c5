//! The softphone: accounts, registrations and calls on one [`crate::sip`] endpoint.
