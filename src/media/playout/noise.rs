//! Comfort noise (RFC 3389): what is heard while the sender pauses, made from the level and the spectrum that it told.
//!
//! ```text
//!  white noise ─▶ gain ─▶ all-pole lattice of the reflection coefficients ─▶ 8000 Hz ─▶ rate of the sound
//! ```

/// The noise of one pause; its parameters may be renewed while it lasts.
#[derive(Debug, Clone)]
pub(super) struct ComfortNoise {
    /// Samples of sound for each one of noise.
    factor: usize,
    reflection: [f32; MAX_ORDER],
    order: usize,
    /// What the lattice remembers.
    state: [f32; MAX_ORDER],
    /// Amplitude of the white noise: now, and where it is going.
    gain: f32,
    target: f32,
    /// Noise on both sides of the current sample, and its place between them.
    before: f32,
    after: f32,
    phase: usize,
    random: u32,
}

impl ComfortNoise {
    /// Noise for sound at `rate` samples a second, silent before the first parameters.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            factor: (rate / NOISE_RATE).max(1) as usize,
            reflection: [0.0; MAX_ORDER],
            order: 0,
            state: [0.0; MAX_ORDER],
            gain: 0.0,
            target: 0.0,
            before: 0.0,
            after: 0.0,
            phase: 0,
            random: 0x2545_F491,
        }
    }

    /// Takes the payload of a CN packet; false if it holds nothing. Noise louder than any room's is made no louder
    /// than a loud room's: who sends it means no good.
    pub(super) fn handle_payload(&mut self, payload: &[u8]) -> bool {
        let Some((&level, coefficients)) = payload.split_first() else { return false };
        let level = f32::from(level & 0x7F).max(LOUDEST);
        self.order = coefficients.len().min(MAX_ORDER);
        let mut power = 1.0;
        for (place, &index) in self.reflection.iter_mut().zip(coefficients) {
            // §3.2: uniform in 254 steps around 127, in Q15.
            let k = (258.0 * (f32::from(index) - 127.0) / 32_768.0).clamp(-STABLE, STABLE);
            *place = k;
            power *= 1.0 - k * k;
        }
        // A uniform distribution from -1 to 1 has the power of a third; the lattice adds the rest.
        self.target = FULL_SCALE * 10.0_f32.powf(-level / 20.0) * (3.0 * power).sqrt();
        if self.gain == 0.0 {
            self.gain = self.target;
        }
        true
    }

    /// Fills `out` with noise.
    pub(super) fn fill(&mut self, out: &mut [i16]) {
        for sample in out {
            if self.phase == 0 {
                self.before = self.after;
                self.after = self.next();
            }
            let part = self.phase as f32 / self.factor as f32;
            *sample = (self.before + (self.after - self.before) * part) as i16;
            self.phase = (self.phase + 1) % self.factor;
        }
    }

    fn next(&mut self) -> f32 {
        self.gain += (self.target - self.gain) / SMOOTHING;
        // Xorshift: the ear needs no better noise.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let mut forward = (self.random as i32 as f32) / (i32::MAX as f32) * self.gain;
        for i in (0..self.order).rev() {
            let (k, delayed) = (self.reflection[i], self.state[i]);
            forward -= k * delayed;
            if let Some(place) = self.state.get_mut(i + 1) {
                *place = delayed + k * forward;
            }
        }
        self.state[0] = forward;
        forward
    }
}

/// Static payload type 13 counts at this clock.
const NOISE_RATE: u32 = 8000;
/// Coefficients beyond these change nothing that can be heard.
const MAX_ORDER: usize = 12;
/// The largest reflection coefficient: the filter must come to rest.
const STABLE: f32 = 0.97;
/// -dBov of the loudest noise that is made.
const LOUDEST: f32 = 30.0;
const FULL_SCALE: f32 = 32_768.0;
/// Samples over which the level follows (32 ms).
const SMOOTHING: f32 = 256.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn second(rate: u32, payload: &[u8]) -> Vec<i16> {
        let mut noise = ComfortNoise::new(rate);
        assert!(noise.handle_payload(payload));
        let mut pcm = vec![0; rate as usize];
        noise.fill(&mut pcm);
        pcm
    }

    fn dbov(pcm: &[i16]) -> f64 {
        let power = pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len() as f64;
        10.0 * (power / 32_768.0_f64.powi(2)).log10()
    }

    /// Correlation of neighbours: towards 1 for low tones, towards -1 for high ones.
    fn neighbours(pcm: &[i16]) -> f64 {
        let product: f64 = pcm.windows(2).map(|w| f64::from(w[0]) * f64::from(w[1])).sum();
        product / pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>()
    }

    #[test]
    fn the_level_is_that_of_the_payload() {
        for level in [35, 45, 60] {
            let heard = dbov(&second(8000, &[level]));
            assert!((heard + f64::from(level)).abs() < 0.5, "{level}: {heard}");
        }
    }

    #[test]
    fn the_spectrum_follows_the_first_coefficient() {
        // Negative coefficients stand for sound whose neighbours are alike.
        let (low, white, high) = (second(8000, &[40, 40]), second(8000, &[40]), second(8000, &[40, 214]));
        assert!(neighbours(&low) > 0.6 && neighbours(&white).abs() < 0.05 && neighbours(&high) < -0.6);
        for pcm in [low, high] {
            assert!((dbov(&pcm) + 40.0).abs() < 1.5, "{}", dbov(&pcm));
        }
    }

    #[test]
    fn wide_band_sound_gets_the_same_noise_between_its_samples() {
        let heard = dbov(&second(16_000, &[40]));
        assert!((heard + 41.5).abs() < 1.0, "{heard}");
    }

    #[test]
    fn no_payload_makes_it_loud_or_unstable() {
        for first in [0, 3, 0x80, 0xFF] {
            for coefficient in [0, 1, 127, 254, 255] {
                let mut payload = vec![coefficient; 40];
                payload[0] = first;
                let pcm = second(8000, &payload);
                assert!(dbov(&pcm[4000..]) < -25.0, "{first} {coefficient}: {}", dbov(&pcm));
            }
        }
        assert!(!ComfortNoise::new(8000).handle_payload(&[]));
    }
}
