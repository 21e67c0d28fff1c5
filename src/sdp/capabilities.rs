//! What we can do with sound and what we want of one exchange.

use super::plan::{Direction, Suite};
use crate::engine::Lease;
use crate::media::codec::{CODECS, CodecSpec};
use crate::media::command::MediaSettings;
use crate::time::Duration;
use std::collections::BTreeMap;

/// What is offered and accepted for sound.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// Codecs in order of preference.
    pub codecs: Vec<&'static CodecSpec>,
    /// Whether digits are sent and understood as telephone-event (RFC 4733).
    pub dtmf: bool,
    /// Sound per packet that we like to receive, and send if the peer names nothing else.
    pub ptime: Duration,
    /// Our `a=fmtp` by codec name, in place of [`CodecSpec::recv_fmtp`].
    pub fmtp: BTreeMap<&'static str, String>,
    /// SRTP suites in order of preference; used where [`Wish::encryption`] says so.
    pub suites: Vec<Suite>,
}

/// Whether sound is encrypted by SRTP with keys in the descriptions (RFC 4568).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaEncryption {
    /// Clear RTP; a peer that insists is refused.
    Off,
    /// RTP/AVP with keys beside it: who understands them encrypts, who does not talks in the clear.
    Preferred,
    /// Nothing clear is offered, accepted, sent or heard.
    Required,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new(CODECS.iter().collect(), true, Duration::from_millis(20))
    }
}

impl Capabilities {
    /// The given codecs with the fmtp of their table rows.
    pub fn new(codecs: Vec<&'static CodecSpec>, dtmf: bool, ptime: Duration) -> Self {
        Self { codecs, dtmf, ptime, fmtp: BTreeMap::new(), suites: Suite::ALL.to_vec() }
    }

    /// Announces for Opus what `settings` ask for (RFC 7587 §6.1): redundancy if it is of use to us, and silence
    /// without packets if we do so ourselves.
    #[must_use]
    pub fn with_settings(mut self, settings: &MediaSettings) -> Self {
        let fec = u8::from(settings.opus_fec);
        let dtx = if settings.opus_dtx { ";usedtx=1" } else { "" };
        self.fmtp.insert("opus", format!("minptime=10;useinbandfec={fec}{dtx}"));
        self
    }

    /// What we announce as fmtp for `spec`; may be empty.
    pub fn fmtp_of(&self, spec: &CodecSpec) -> &str {
        self.fmtp.get(spec.name).map_or(spec.recv_fmtp, String::as_str)
    }
}

/// What we want of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Codecs and DTMF.
    pub capabilities: &'a Capabilities,
    /// The sockets whose addresses are announced.
    pub lease: Lease,
    /// Whether we want to send and to hear.
    pub direction: Direction,
    /// Whether RTP may latch to another source than the signalled one.
    pub latch: bool,
    /// Whether keys are offered and accepted; only a negotiator with [`with_keys`](super::Negotiator::with_keys) has any.
    pub encryption: MediaEncryption,
}
