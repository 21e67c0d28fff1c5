//! The SIP endpoint: bytes to messages to transactions to events, and back.
