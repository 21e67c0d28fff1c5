//! What a call asks for and grants beyond RFC 3261.

use crate::sip::message::{HeaderName, Headers};

/// Provisional responses that are acknowledged (RFC 3262).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliable {
    /// Neither asked for nor granted: who requires them is refused (420).
    Off,
    /// Granted to whoever asks, and used by ourselves for descriptions in provisional responses.
    #[default]
    Supported,
    /// Asked of everybody: who cannot is refused (421), or refuses us (420).
    Required,
}

/// Extensions of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Reliable provisional responses.
    pub reliable: Reliable,
    /// The session interval that we ask for (RFC 4028), seconds; 0 asks for none.
    pub session_expires: u32,
    /// Calls may be taken over by Replaces (RFC 3891).
    pub replaces: bool,
    /// The least session interval that we take, seconds, at least 90.
    pub min_se: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { reliable: Reliable::default(), session_expires: 1800, replaces: true, min_se: LEAST_MIN_SE }
    }
}

/// The least Min-SE there is (RFC 4028 §5).
pub const LEAST_MIN_SE: u32 = 90;

impl Rules {
    /// The option tags that we understand: the value of Supported.
    pub const fn supported(&self) -> &'static str {
        match (self.reliable, self.replaces) {
            (Reliable::Off, false) => "timer, 199",
            (Reliable::Off, true) => "timer, 199, replaces",
            (Reliable::Supported | Reliable::Required, false) => "timer, 199, 100rel",
            (Reliable::Supported | Reliable::Required, true) => "timer, 199, 100rel, replaces",
        }
    }

    /// Whether a peer may require this option tag.
    pub fn knows(&self, tag: &str) -> bool {
        self.supported().split(", ").any(|known| known.eq_ignore_ascii_case(tag))
    }
}

/// Whether a list header holds `token`.
pub(crate) fn lists(headers: &Headers, name: &HeaderName, token: &str) -> bool {
    headers.tokens(name).iter().any(|own| own.eq_ignore_ascii_case(token))
}
