//! Concealment of lost sound for codecs that have none of their own, in the manner of G.711 Appendix I.
//!
//! ```text
//!  … sound …│ last period repeated, level 1 │ fading to 0 until 60 ms │ silence
//!           └ join smoothed                  └ at the next real sound: found in phase, cross-faded
//! ```

use crate::media::similarity::{self, Pitch};

/// Remembers what was decoded and continues it when something is missing.
pub struct Concealer {
    rate: usize,
    /// The last [`HISTORY_MS`] of sound given out, oldest first.
    history: Box<[i16]>,
    /// The period that is being repeated; its capacity never changes.
    cycle: Vec<i16>,
    /// Place in `cycle` of the next sample.
    phase: usize,
    /// Samples made up since the last real one.
    concealed: usize,
    /// What the first made-up samples must be raised by to join the last real one.
    step: i32,
    /// Room for the substitute that overlaps with the next real sound.
    tail: Box<[i16]>,
}

impl Concealer {
    /// Makes a concealer for sound at `rate` samples a second.
    pub fn new(rate: u32) -> Self {
        let rate = rate as usize;
        Self {
            rate,
            history: vec![0; rate * HISTORY_MS / 1000].into(),
            cycle: Vec::with_capacity(rate * HISTORY_MS / 1000),
            phase: 0,
            concealed: 0,
            step: 0,
            tail: vec![0; rate * (SHIFT_MS + WINDOW_MS) / 1000].into(),
        }
    }

    /// Takes the first `decoded` samples of `pcm` as freshly decoded sound and remembers them.
    ///
    /// After a gap they are joined to the substitute where both are in phase, which may lengthen or shorten them by
    /// up to 5 ms (within the room of `pcm`). Returns their number then.
    pub fn handle_decoded(&mut self, pcm: &mut [i16], decoded: usize) -> usize {
        let length = if self.concealed > 0 { self.rejoin(pcm, decoded) } else { decoded };
        self.concealed = 0;
        self.remember(&pcm[..length]);
        length
    }

    /// Fills `pcm` with the continuation of what was heard last.
    pub fn conceal(&mut self, pcm: &mut [i16]) {
        if self.concealed == 0 {
            self.begin();
        }
        for sample in pcm.iter_mut() {
            *sample = self.next_substitute();
        }
        self.remember(pcm);
    }

    fn begin(&mut self) {
        let Pitch { lag, .. } = similarity::pitch_before(&self.history, self.rate);
        let end = self.history.len();
        self.cycle.clear();
        self.cycle.extend_from_slice(&self.history[end - lag..]);
        // The cycle's end must lead into its own beginning: blend its last quarter with the period before.
        let quarter = lag / 4;
        for i in 0..quarter {
            let at = lag - quarter + i;
            let (this, before) = (i32::from(self.cycle[at]), i32::from(self.history[end - 2 * lag + at]));
            self.cycle[at] = (this + (before - this) * (i as i32 + 1) / (quarter as i32 + 1)) as i16;
        }
        self.step = i32::from(self.history[end - 1]) - i32::from(self.history[end - 1 - lag]);
        self.phase = 0;
    }

    fn rejoin(&mut self, pcm: &mut [i16], decoded: usize) -> usize {
        let mut tail = std::mem::take(&mut self.tail);
        for sample in tail.iter_mut() {
            *sample = self.next_substitute();
        }
        let shift = self.best_shift(&tail, &pcm[..decoded], pcm.len() - decoded);
        // The substitute plays on before a later start; an earlier start cuts the sound's beginning.
        let (lead, cut) = (shift.max(0).unsigned_abs(), shift.min(0).unsigned_abs());
        pcm.copy_within(cut..decoded, lead);
        pcm[..lead].copy_from_slice(&tail[..lead]);
        let length = lead + decoded - cut;
        let blend = (self.rate * BLEND_MS / 1000).min(length - lead);
        for (i, (real, substitute)) in pcm[lead..lead + blend].iter_mut().zip(&tail[lead..]).enumerate() {
            let (from, to) = (i32::from(*substitute), i32::from(*real));
            *real = (from + (to - from) * (i as i32 + 1) / (blend as i32 + 1)) as i16;
        }
        self.tail = tail;
        length
    }

    /// By how much the start of `real` must be moved to fall in phase with `tail`; 0 if nothing fits.
    fn best_shift(&self, tail: &[i16], real: &[i16], room: usize) -> isize {
        let window = self.rate * WINDOW_MS / 1000;
        let most = (self.rate * SHIFT_MS / 1000).min(self.cycle.len() / 2).min(real.len() / 2);
        let (mut best, mut best_score) = (0, LEAST_RESEMBLANCE);
        for shift in 0..=most {
            let cost = MOVING_COST * shift as f32 / (most + 1) as f32;
            let (later, earlier) = (&tail[shift..], &real[shift..]);
            let score = similarity::correlation(later, real, window, 1) - cost;
            if score > best_score && shift <= room {
                (best, best_score) = (shift as isize, score);
            }
            let score = similarity::correlation(tail, earlier, window, 1) - cost;
            if score > best_score {
                (best, best_score) = (-(shift as isize), score);
            }
        }
        best
    }

    fn next_substitute(&mut self) -> i16 {
        let raw = self.cycle.get(self.phase).copied().unwrap_or(0);
        self.phase = if self.phase + 1 < self.cycle.len() { self.phase + 1 } else { 0 };
        let join = (self.rate * JOIN_MS / 1000).saturating_sub(self.concealed) as i32;
        let joined = i32::from(raw) + self.step * join / (self.rate * JOIN_MS / 1000) as i32;
        let (hold, end) = (self.rate * HOLD_MS / 1000, self.rate * FADE_END_MS / 1000);
        let left = end.saturating_sub(self.concealed.max(hold)) as i32;
        self.concealed = self.concealed.saturating_add(1);
        (joined * left / (end - hold) as i32).clamp(-32_768, 32_767) as i16
    }

    fn remember(&mut self, pcm: &[i16]) {
        let keep = self.history.len();
        let new = &pcm[pcm.len().saturating_sub(keep)..];
        self.history.copy_within(new.len().., 0);
        self.history[keep - new.len()..].copy_from_slice(new);
    }
}

const HISTORY_MS: usize = 50;
const JOIN_MS: usize = 2;
const BLEND_MS: usize = 5;
/// Farthest that the next real sound is moved to meet the substitute in phase.
const SHIFT_MS: usize = 5;
/// Length over which they are compared.
const WINDOW_MS: usize = 10;
const LEAST_RESEMBLANCE: f32 = 0.3;
/// What the farthest move must gain in resemblance.
const MOVING_COST: f32 = 0.05;
const HOLD_MS: usize = 10;
const FADE_END_MS: usize = 60;

#[cfg(test)]
mod tests;
