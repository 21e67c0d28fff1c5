//! What is heard where nothing was received: substitutes for what got lost, the noise of a pause, silence.

use super::{Playout, Pulled, State};
use crate::media::jitter::Queued;

impl Playout {
    /// Notes a packet of the same stream without sound (RFC 4733 events), so that it does not count as lost.
    pub fn insert_other(&mut self, seq: u16) {
        let Some(seq) = self.buffer.note_other(seq) else { return };
        self.note_other(seq);
    }

    /// Takes the payload of a CN packet (RFC 3389): its noise fills the pause that follows it.
    pub fn insert_noise(&mut self, seq: u16, payload: &[u8]) {
        let Some(seq) = self.buffer.note_other(seq) else { return };
        self.note_other(seq);
        let is_over = matches!(self.state, State::Playing { next_seq, .. } if seq + 1 < next_seq);
        if !is_over && self.noise.handle_payload(payload) {
            self.noise_since.get_or_insert(seq);
            self.noise_renewed = match self.state {
                State::Playing { concealed, .. } => concealed,
                State::Waiting => 0,
            };
        }
    }

    fn note_other(&mut self, seq: i64) {
        match &mut self.state {
            State::Playing { next_seq, .. } if *next_seq == seq => *next_seq += 1,
            State::Playing { .. } | State::Waiting => {
                self.others = match self.others {
                    Some((first, last)) if seq == last + 1 => Some((first, seq)),
                    Some(_) | None => Some((seq, seq)),
                };
            }
        }
    }

    /// Makes up the `missing` samples right before `next`, with the redundancy in it if there is any.
    pub(super) fn conceal_before(&mut self, next: Queued, missing: usize) -> Pulled {
        let payload = self.buffer.payload(&next);
        self.decoder.conceal(Some(payload), &mut self.sound.room()[..missing]);
        self.stats.concealed += missing as u64;
        self.concealed(missing)
    }

    /// Makes up a block while nothing is known about what comes; fades into silence.
    pub(super) fn starve(&mut self, wanted: usize) -> Pulled {
        let State::Playing { next_seq, concealed, .. } = self.state else { return self.silence(wanted) };
        let unheard = self.nanos(concealed.saturating_sub(self.noise_renewed));
        let concealed = self.nanos(concealed);
        // All that was sent before the pause has been played, or given up.
        let pauses = self.noise_since.is_some_and(|since| since <= next_seq || concealed >= CONCEAL_MOST);
        if pauses && unheard < COMFORT_MOST {
            self.noise.fill(&mut self.sound.room()[..wanted]);
            self.concealed(wanted);
            return Pulled::Silence;
        }
        if concealed >= CONCEAL_MOST {
            let room = &mut self.sound.room()[..wanted];
            if self.decoder.has_comfort_noise() && concealed < COMFORT_MOST {
                self.decoder.conceal(None, room);
            } else {
                room.fill(0);
            }
            self.concealed(wanted);
            return Pulled::Silence;
        }
        self.decoder.conceal(None, &mut self.sound.room()[..wanted]);
        self.stats.concealed += wanted as u64;
        self.concealed(wanted)
    }

    pub(super) fn concealed(&mut self, samples: usize) -> Pulled {
        self.sound.end += samples;
        match &mut self.state {
            State::Playing { concealed, .. } => *concealed = concealed.saturating_add(samples),
            State::Waiting => {}
        }
        Pulled::Concealed
    }

    pub(super) fn silence(&mut self, wanted: usize) -> Pulled {
        self.sound.room()[..wanted].fill(0);
        self.sound.end += wanted;
        Pulled::Silence
    }
}

/// Made-up sound fades out by then; after it there is silence.
const CONCEAL_MOST: i64 = 100_000_000;
/// A pause with comfort noise ends here at the latest: a call on hold need not be computed.
const COMFORT_MOST: i64 = 30_000_000_000;
