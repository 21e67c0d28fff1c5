//! The tone that a caller hears while the callee's phone rings: ours, until sound really comes (RFC 3960 §3.2).

use super::super::tones::{Progress, Tone};
use super::Stream;
use crate::time::{Duration, Instant};

/// Without a packet for so long the tone sounds (again).
const SILENCE: Duration = Duration::from_secs(1);
/// 10 ms at 48 kHz.
const MOST_BLOCK: usize = 480;

/// Ringback in place of what is not heard.
pub(super) struct Ringback {
    tone: Tone,
    rate: u32,
    /// When the peer's sound was heard last.
    heard: Option<Instant>,
    block: [i16; MOST_BLOCK],
}

impl Ringback {
    fn new(rate: u32) -> Self {
        Self { tone: Tone::progress(Progress::Ringback, rate), rate, heard: None, block: [0; MOST_BLOCK] }
    }

    /// The peer's sound came.
    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// The next samples of the tone, unless the peer is heard.
    pub(super) fn next(&mut self, now: Instant, rate: u32, samples: usize) -> Option<&[i16]> {
        if self.heard.is_some_and(|at| now.since(at) < SILENCE) {
            return None;
        }
        if self.rate != rate {
            (self.tone, self.rate) = (Tone::progress(Progress::Ringback, rate), rate);
        }
        let block = self.block.get_mut(..samples)?;
        self.tone.fill(block);
        Some(block)
    }
}

impl Stream {
    /// Begins or ends the tone.
    pub(super) fn set_ringback(&mut self, on: bool) {
        if on != self.ringback.is_some() {
            self.ringback = on.then(|| Ringback::new(self.incoming.playout.sample_rate()));
        }
    }
}
