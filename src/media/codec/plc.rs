//! Concealment of lost sound for codecs that have none of their own, in the manner of G.711 Appendix I.
//!
//! ```text
//!  … sound …│ last period repeated, level 1 │ fading to 0 until 60 ms │ silence
//!           └ join smoothed                  └ at the next real sound: cross-fade back
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
        }
    }

    /// Takes freshly decoded sound, blends its beginning with the substitute if one was playing, and remembers it.
    pub fn handle_decoded(&mut self, pcm: &mut [i16]) {
        if self.concealed > 0 {
            // The longer the gap, the less the substitute resembles what comes, so the blend gets longer too.
            let blend_ms = if self.concealed * 1000 <= 10 * self.rate { 5 } else { 10 };
            let blend = (self.rate * blend_ms / 1000).min(pcm.len());
            for (i, sample) in pcm[..blend].iter_mut().enumerate() {
                let substitute = i32::from(self.next_substitute());
                let real = i32::from(*sample);
                *sample = (substitute + (real - substitute) * (i as i32 + 1) / (blend as i32 + 1)) as i16;
            }
            self.concealed = 0;
        }
        self.remember(pcm);
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
const HOLD_MS: usize = 10;
const FADE_END_MS: usize = 60;

#[cfg(test)]
mod tests;
