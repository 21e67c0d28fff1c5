//! Tones: a sine of any frequency, the call-progress tones, and the level of one frequency in a sound (Goertzel).

use std::f64::consts::TAU;

/// Level of [`Tone::hz`] and [`Tone::progress`] in full-scale samples: -12 dBFS, loud enough to hear and far from clipping.
pub const AMPLITUDE: f64 = 32_768.0 * 0.251_188_643;

/// A tone of one or two frequencies, steady or in a cadence. Filling does not allocate.
#[derive(Debug, Clone)]
pub struct Tone {
    oscillators: [Oscillator; 2],
    /// Samples of sound and of silence in turn; all 0: steady.
    cadence: [u32; 4],
    /// Place in the cadence.
    step: usize,
    /// Samples left in this step.
    left: u32,
}

/// What the network tells a caller by sound (ITU-T E.180, here with the European 425 Hz).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The line is ready.
    Dial,
    /// The callee's phone rings.
    Ringback,
    /// The callee is busy.
    Busy,
    /// The call cannot be completed.
    Congestion,
}

impl Tone {
    /// A steady sine of `hz` at -12 dBFS, for sound of `rate` samples a second.
    pub fn hz(hz: f64, rate: u32) -> Self {
        Self::new([hz, 0.0], AMPLITUDE, [0; 4], rate)
    }

    /// A call-progress tone at -12 dBFS.
    pub fn progress(progress: Progress, rate: u32) -> Self {
        let cadence = match progress {
            Progress::Dial => [0; 4],
            Progress::Ringback => [1000, 4000, 0, 0],
            Progress::Busy => [500, 500, 0, 0],
            Progress::Congestion => [250, 250, 0, 0],
        };
        Self::new([425.0, 0.0], AMPLITUDE, cadence, rate)
    }

    /// The two-frequency tone of a DTMF key (ITU-T Q.23); `None` for a character that is no key.
    pub fn dtmf(key: char, rate: u32) -> Option<Self> {
        const ROWS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
        let (row, column) =
            ROWS.iter().enumerate().find_map(|(row, keys)| Some((row, keys.find(key.to_ascii_uppercase())?)))?;
        let pair = [[697.0, 770.0, 852.0, 941.0][row], [1209.0, 1336.0, 1477.0, 1633.0][column]];
        Some(Self::new(pair, AMPLITUDE / 2.0, [0; 4], rate))
    }

    fn new(hz: [f64; 2], amplitude: f64, cadence_ms: [u32; 4], rate: u32) -> Self {
        let cadence = cadence_ms.map(|ms| (u64::from(ms) * u64::from(rate) / 1000) as u32);
        Self { oscillators: hz.map(|hz| Oscillator::new(hz, amplitude, rate)), cadence, step: 0, left: cadence[0] }
    }

    /// Fills `pcm` with what comes next.
    pub fn fill(&mut self, pcm: &mut [i16]) {
        for sample in pcm {
            let value: f64 = self.oscillators.iter_mut().map(Oscillator::next).sum();
            *sample = if self.sounds() { value.round() as i16 } else { 0 };
        }
    }

    /// Counts one sample of the cadence; true while it is a sounding one.
    fn sounds(&mut self) -> bool {
        if self.cadence == [0; 4] {
            return true;
        }
        while self.left == 0 {
            self.step = (self.step + 1) % self.cadence.len();
            self.left = self.cadence[self.step];
        }
        self.left -= 1;
        self.step.is_multiple_of(2)
    }
}

/// A sine whose phase is kept in turns, so that rounding cannot pile up.
#[derive(Debug, Clone)]
struct Oscillator {
    phase: f64,
    step: f64,
    amplitude: f64,
}

impl Oscillator {
    fn new(hz: f64, amplitude: f64, rate: u32) -> Self {
        Self { phase: 0.0, step: hz / f64::from(rate.max(1)), amplitude }
    }

    fn next(&mut self) -> f64 {
        let value = (self.phase * TAU).sin() * self.amplitude;
        self.phase = (self.phase + self.step).fract();
        value
    }
}

/// Returns the amplitude of frequency `hz` in `pcm`, in sample units (Goertzel's algorithm).
pub fn amplitude_at(hz: f64, rate: u32, pcm: &[i16]) -> f64 {
    let coefficient = 2.0 * (TAU * hz / f64::from(rate.max(1))).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for &sample in pcm {
        (last, before) = (f64::from(sample) + coefficient * last - before, last);
    }
    let power = (last * last + before * before - coefficient * last * before).max(0.0);
    2.0 * power.sqrt() / pcm.len().max(1) as f64
}

/// Returns how far `hz` stands above everything else in `pcm`, in dB.
pub fn snr_db(hz: f64, rate: u32, pcm: &[i16]) -> f64 {
    let total = pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len().max(1) as f64;
    let tone = amplitude_at(hz, rate, pcm).powi(2) / 2.0;
    10.0 * (tone / (total - tone).max(1e-9)).log10()
}

/// Returns the level of `pcm` in dB of a full-scale square wave; -96 for silence.
pub fn level_db(pcm: &[i16]) -> f64 {
    let power = pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len().max(1) as f64;
    (10.0 * (power / 32_768.0_f64.powi(2)).log10()).max(-96.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(mut tone: Tone, samples: usize) -> Vec<i16> {
        let mut pcm = vec![0; samples];
        for piece in pcm.chunks_mut(77) {
            tone.fill(piece);
        }
        pcm
    }

    #[test]
    fn a_sine_is_pure_and_12_db_below_full_scale() {
        let pcm = heard(Tone::hz(440.0, 8000), 8000);
        assert!(snr_db(440.0, 8000, &pcm) > 70.0, "{}", snr_db(440.0, 8000, &pcm));
        assert!((amplitude_at(440.0, 8000, &pcm) - AMPLITUDE).abs() < 5.0);
        assert!(amplitude_at(1000.0, 8000, &pcm) < 5.0);
        assert!((level_db(&pcm) - (-15.05)).abs() < 0.05, "{}", level_db(&pcm)); // a sine's power is 3 dB less
    }

    #[test]
    fn busy_is_half_a_second_of_sound_and_half_of_silence() {
        let pcm = heard(Tone::progress(Progress::Busy, 8000), 16_000);
        let sounding: Vec<bool> = pcm.chunks(4000).map(|half| level_db(half) > -20.0).collect();
        assert_eq!(sounding, [true, false, true, false]);
        assert_eq!(pcm[4000..8000], [0; 4000]);
    }

    #[test]
    fn ringback_repeats_every_five_seconds() {
        let pcm = heard(Tone::progress(Progress::Ringback, 8000), 80_000);
        let seconds: Vec<bool> = pcm.chunks(8000).map(|second| level_db(second) > -20.0).collect();
        assert_eq!(seconds, [true, false, false, false, false, true, false, false, false, false]);
    }

    #[test]
    fn each_dtmf_key_is_its_two_frequencies() {
        let pcm = heard(Tone::dtmf('6', 8000).expect("6 is a key"), 8000);
        for (hz, expected) in [(770.0, true), (1477.0, true), (697.0, false), (1209.0, false), (941.0, false)] {
            assert_eq!(amplitude_at(hz, 8000, &pcm) > AMPLITUDE / 3.0, expected, "{hz}");
        }
        assert!(Tone::dtmf('d', 8000).is_some());
        assert!(Tone::dtmf('x', 8000).is_none());
    }

    #[test]
    fn silence_has_a_level_and_no_tone() {
        assert_eq!((level_db(&[0; 80]), level_db(&[])), (-96.0, -96.0));
        assert_eq!(amplitude_at(440.0, 8000, &[]), 0.0);
    }
}
