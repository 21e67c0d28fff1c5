//! The decoded sound of a [`Playout`](super::Playout): a little of what was played and all that waits.

/// Decoded sound: played, for looking back at, then still to be played.
pub(super) struct Sound {
    pub(super) pcm: Box<[i16]>,
    /// First sample that was not pulled yet.
    pub(super) at: usize,
    /// End of the decoded sound.
    pub(super) end: usize,
    /// Samples kept before `at`.
    history: usize,
}

impl Sound {
    /// An empty buffer for sound at `rate` samples a second.
    pub(super) fn new(rate: usize) -> Self {
        let history = rate * HISTORY_MS / 1000;
        Self { pcm: vec![0; history + rate * FUTURE_MS / 1000].into(), at: history, end: history, history }
    }

    /// Samples of 10 ms.
    pub(super) fn block(&self) -> usize {
        self.history * 10 / HISTORY_MS
    }

    /// Samples of the longest packet that is accepted.
    pub(super) fn longest_packet(&self) -> usize {
        self.history * PACKET_MS / HISTORY_MS
    }

    /// Samples that wait to be pulled.
    pub(super) fn ready(&self) -> usize {
        self.end - self.at
    }

    /// Where the next sound goes; the caller moves `end`.
    pub(super) fn room(&mut self) -> &mut [i16] {
        &mut self.pcm[self.end..]
    }

    /// Takes the next `out.len()` samples, which must be ready.
    pub(super) fn pull(&mut self, out: &mut [i16]) {
        out.copy_from_slice(&self.pcm[self.at..self.at + out.len()]);
        self.at += out.len();
        // Move back only now and then: what was played stays as history.
        if self.at >= self.history + self.block() * 4 {
            let from = self.at - self.history;
            self.pcm.copy_within(from..self.end, 0);
            self.end -= from;
            self.at = self.history;
        }
    }
}

/// Played sound that is kept for looking back at.
const HISTORY_MS: usize = 40;
/// The longest packet that is accepted.
const PACKET_MS: usize = 160;
/// Room after the history: blocks before moving back, a remainder, a packet and what expanding adds.
const FUTURE_MS: usize = 60 + 10 + PACKET_MS + 30;
