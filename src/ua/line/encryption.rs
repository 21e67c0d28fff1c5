//! Whether the sound of a line is encrypted, and who could listen all the same (threats D3, D4).

use super::{Line, OfferError};
use crate::api::AudibleTo;
use crate::sdp::plan::{Protection, Suite};
use crate::sdp::{MediaEncryption, NegotiationError};

/// Who can read what is signalled, and with it the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ua) enum Signalling {
    Clear,
    Secure,
}

impl Line {
    /// The way that signalling takes from now on.
    pub(in crate::ua) fn set_signalling(&mut self, signalling: Signalling) {
        self.signalling = signalling;
    }

    /// Whether a refusal of our next offer leaves another one to make: with SRTP as its only profile.
    pub(in crate::ua) fn may_insist(&self) -> bool {
        self.encryption() == Ok(MediaEncryption::Preferred) && !self.insists
    }

    /// From now on only SRTP is offered.
    pub(in crate::ua) fn insist(&mut self) {
        self.insists = true;
        self.forks.clear();
        self.roll_back();
    }

    /// What the account wants, as far as keys may be sent here.
    pub(super) fn encryption(&self) -> Result<MediaEncryption, OfferError> {
        let may = self.signalling == Signalling::Secure || self.audio.keys_in_clear;
        match (self.audio.encryption, may) {
            (MediaEncryption::Required, false) => Err(OfferError::KeysInClear),
            (MediaEncryption::Off, _) | (MediaEncryption::Preferred, false) => Ok(MediaEncryption::Off),
            (wanted @ (MediaEncryption::Preferred | MediaEncryption::Required), true) => Ok(wanted),
        }
    }

    pub(super) fn offered_encryption(&self) -> Result<MediaEncryption, OfferError> {
        Ok(match self.encryption()? {
            MediaEncryption::Preferred if self.insists => MediaEncryption::Required,
            encryption @ (MediaEncryption::Off | MediaEncryption::Preferred | MediaEncryption::Required) => encryption,
        })
    }

    /// A peer that insists on encryption is refused for the sake of its keys, not because we would not.
    pub(super) fn judged(&self, error: NegotiationError) -> OfferError {
        let insists = matches!(error, NegotiationError::EncryptionOff { .. });
        if insists && self.audio.encryption != MediaEncryption::Off {
            return OfferError::KeysInClear;
        }
        error.into()
    }

    /// How sound is encrypted.
    pub(in crate::ua) fn suite(&self) -> Option<Suite> {
        match &self.plan.as_ref()?.transports.first()?.protection {
            Protection::None => None,
            Protection::Sdes(keys) => Some(keys.suite),
        }
    }

    /// Who could listen besides the two ends.
    pub(in crate::ua) fn audible_to(&self) -> AudibleTo {
        match (self.suite(), self.signalling) {
            (None, _) => AudibleTo::Anyone,
            (Some(_), Signalling::Clear) => AudibleTo::Signalling,
            (Some(_), Signalling::Secure) => AudibleTo::Server,
        }
    }
}
