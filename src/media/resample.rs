//! Converting between a device's sample rate and a codec's, over rubato (the only importer).
//!
//! Sound goes in and out in pieces of any length; inside it moves in chunks of 2.5 ms. The filter spans 64 samples
//! of the lower rate, so it delays by 32 of them: 4 ms at 8 kHz, 0.7 ms at 48 kHz.

use crate::time::Duration;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, SincInterpolationParameters, SincInterpolationType, WindowFunction};

/// A stream of mono samples at one rate, turned into the same sound at another rate. Processing does not allocate.
pub struct Resampler {
    from: u32,
    to: u32,
    /// `None` when both rates are equal.
    inner: Option<Inner>,
}

struct Inner {
    rubato: Async<f32>,
    /// The chunk being filled, and how far.
    chunk: Box<[f32]>,
    filled: usize,
    output: Box<[f32]>,
}

/// Why there is no resampler between two rates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResampleError {
    /// One of the rates is outside 8 to 192 kHz.
    #[error("cannot convert from {from} Hz to {to} Hz: both must be from 8000 to 192000")]
    Rate {
        /// Samples per second in.
        from: u32,
        /// Samples per second out.
        to: u32,
    },
    /// The library refused.
    #[error("cannot convert from {from} Hz to {to} Hz: {reason}")]
    Library {
        /// Samples per second in.
        from: u32,
        /// Samples per second out.
        to: u32,
        /// The library's words.
        reason: String,
    },
}

impl Resampler {
    /// Makes a resampler; both rates must be from 8000 to 192000.
    pub fn new(from: u32, to: u32) -> Result<Self, ResampleError> {
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return Err(ResampleError::Rate { from, to });
        }
        let inner = if from == to { None } else { Some(Inner::new(from, to)?) };
        Ok(Self { from, to, inner })
    }

    /// Samples per second in.
    pub fn from_rate(&self) -> u32 {
        self.from
    }

    /// Samples per second out.
    pub fn to_rate(&self) -> u32 {
        self.to
    }

    /// How much later a sound comes out than it went in.
    pub fn delay(&self) -> Duration {
        match self.inner {
            None => Duration::ZERO,
            Some(_) => Duration::from_secs(1) * FILTER / 2 / self.from.min(self.to),
        }
    }

    /// The most samples that [`Self::process`] can write for `input` samples.
    pub fn most_output(&self, input: usize) -> usize {
        let chunks = |inner: &Inner| (input / inner.chunk.len() + 1) * inner.output.len();
        self.inner.as_ref().map_or(input, chunks)
    }

    /// The least samples that [`Self::process`] writes for `input` samples now: those of whole chunks.
    pub fn least_output(&self, input: usize) -> usize {
        let Some(inner) = &self.inner else { return input };
        let whole = (inner.filled + input) / inner.chunk.len() * inner.chunk.len();
        let made = whole as u64 * u64::from(self.to) / u64::from(self.from);
        // The library is up to three samples early or late.
        (made as usize).saturating_sub(3)
    }

    /// Takes all of `input`, writes what is ready to the start of `output` and returns its length.
    ///
    /// `output` should have [`Self::most_output`] places; what does not fit is lost.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        match &mut self.inner {
            None => {
                let length = input.len().min(output.len());
                output[..length].copy_from_slice(&input[..length]);
                length
            }
            Some(inner) => inner.process(input, output),
        }
    }
}

impl Inner {
    fn new(from: u32, to: u32) -> Result<Self, ResampleError> {
        let ratio = f64::from(to) / f64::from(from);
        let length = (f64::from(FILTER) / ratio.min(1.0)).ceil() as usize;
        // Output samples fall on `phases` places between two input samples. If the filter is tabulated at exactly
        // these, looking up the nearest one is no approximation and half the work of interpolating.
        let phases = (to / gcd(from, to)) as usize;
        let (table, interpolation) = if phases <= MOST_PHASES {
            (phases.max(2), SincInterpolationType::Nearest)
        } else {
            (128, SincInterpolationType::Linear)
        };
        let parameters = SincInterpolationParameters::new(length.next_multiple_of(8), WindowFunction::Blackman)
            .oversampling_factor(table)
            .interpolation(interpolation);
        let chunk = (from / 400) as usize;
        let rubato = Async::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input)
            .map_err(|error| ResampleError::Library { from, to, reason: error.to_string() })?;
        let most = rubato::Resampler::output_frames_max(&rubato);
        Ok(Self { rubato, chunk: vec![0.0; chunk].into(), filled: 0, output: vec![0.0; most].into() })
    }

    fn process(&mut self, mut input: &[i16], output: &mut [i16]) -> usize {
        let mut written = 0;
        while !input.is_empty() {
            let take = (self.chunk.len() - self.filled).min(input.len());
            let (now, later) = input.split_at(take);
            for (place, sample) in self.chunk[self.filled..].iter_mut().zip(now) {
                *place = f32::from(*sample);
            }
            self.filled += take;
            input = later;
            if self.filled == self.chunk.len() {
                self.filled = 0;
                let made = self.convert_chunk();
                for (place, sample) in output[written..].iter_mut().zip(&self.output[..made]) {
                    *place = sample.round_ties_even() as i16; // a cast from f32 saturates
                }
                written = (written + made).min(output.len());
            }
        }
        written
    }

    /// Converts the full chunk into `self.output`; returns the number of samples made.
    fn convert_chunk(&mut self) -> usize {
        let (frames, places) = (self.chunk.len(), self.output.len());
        let (Ok(input), Ok(mut output)) =
            (InterleavedSlice::new(&self.chunk, 1, frames), InterleavedSlice::new_mut(&mut self.output, 1, places))
        else {
            return 0; // only for lengths that do not match, and these do
        };
        match rubato::Resampler::process_into_buffer(&mut self.rubato, &input, &mut output, None) {
            Ok((_, made)) => made,
            Err(_) => 0, // only for buffers that are too small, and these are not
        }
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Enough for every pair of usual rates: 11025 to 48000 Hz needs 640.
const MOST_PHASES: usize = 640;
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Length of the filter in samples of the lower rate.
const FILTER: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: u32, samples: usize) -> Vec<i16> {
        let step = hz * std::f64::consts::TAU / f64::from(rate);
        (0..samples).map(|i| ((i as f64 * step).sin() * 12_000.0).round() as i16).collect()
    }

    fn convert(from: u32, to: u32, input: &[i16], piece: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(from, to).expect("legal rates");
        let mut output = Vec::new();
        for piece in input.chunks(piece) {
            let mut place = vec![0; resampler.most_output(piece.len())];
            let written = resampler.process(piece, &mut place);
            output.extend_from_slice(&place[..written]);
        }
        output
    }

    /// Ratio of a fitted sine of `hz` to everything else, in dB, and its amplitude.
    fn fit(pcm: &[i16], hz: f64, rate: u32) -> (f64, f64) {
        let step = hz * std::f64::consts::TAU / f64::from(rate);
        let (mut s, mut c) = (0.0, 0.0);
        for (i, &x) in pcm.iter().enumerate() {
            s += f64::from(x) * (i as f64 * step).sin();
            c += f64::from(x) * (i as f64 * step).cos();
        }
        let (s, c) = (2.0 * s / pcm.len() as f64, 2.0 * c / pcm.len() as f64);
        let noise: f64 = pcm
            .iter()
            .enumerate()
            .map(|(i, &x)| (f64::from(x) - s * (i as f64 * step).sin() - c * (i as f64 * step).cos()).powi(2))
            .sum::<f64>()
            / pcm.len() as f64;
        let signal = (s * s + c * c) / 2.0;
        (10.0 * (signal / noise).log10(), (s * s + c * c).sqrt())
    }

    #[test]
    fn what_will_be_made_at_least_is_made_and_hardly_more() {
        for (from, to) in [(48_000, 8_000), (44_100, 8_000), (44_100, 48_000), (8_000, 11_025), (16_000, 16_000)] {
            let mut resampler = Resampler::new(from, to).expect("legal rates");
            let input = vec![100; 1000];
            let mut output = vec![0; 10_000];
            for length in (1..1000).cycle().take(3000) {
                let least = resampler.least_output(length);
                let made = resampler.process(&input[..length], &mut output);
                assert!((least..=least + 6).contains(&made), "{from} to {to}: {least} promised, {made} made");
            }
        }
    }

    #[test]
    fn a_tone_survives_every_usual_pair_of_rates() {
        for (from, to) in [
            (8_000, 48_000),
            (48_000, 8_000),
            (16_000, 48_000),
            (48_000, 16_000),
            (44_100, 48_000),
            (48_000, 44_100),
            (44_100, 8_000),
            (11_025, 16_000),
            (192_000, 8_000),
            (8_000, 192_000),
            (47_999, 16_000),
        ] {
            let heard = convert(from, to, &tone(1000.0, from, from as usize), 480);
            let second = to as usize;
            let middle = &heard[second / 10..second / 10 + second / 2];
            let (snr, amplitude) = fit(middle, 1000.0, to);
            assert!(snr > 60.0, "{from} to {to}: {snr:.1} dB");
            assert!((amplitude - 12_000.0).abs() < 120.0, "{from} to {to}: {amplitude:.0}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_taken_out_and_what_it_can_is_kept() {
        let kept = convert(48_000, 8_000, &tone(3400.0, 48_000, 48_000), 480);
        let (_, amplitude) = fit(&kept[1000..5000], 3400.0, 8_000);
        assert!(amplitude > 12_000.0 * 0.7, "{amplitude:.0}");
        let gone = convert(48_000, 8_000, &tone(5000.0, 48_000, 48_000), 480);
        let loudest = gone[1000..].iter().map(|x| x.unsigned_abs()).max();
        assert!(loudest < Some(30), "{loudest:?}");
    }

    #[test]
    fn pieces_of_any_length_give_the_same_sound_as_one() {
        let input = tone(700.0, 44_100, 44_100);
        let whole = convert(44_100, 16_000, &input, input.len());
        for piece in [1, 24, 441, 1000] {
            assert_eq!(convert(44_100, 16_000, &input, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn not_a_sample_is_gained_or_lost_in_the_long_run() {
        for (from, to) in [(44_100, 48_000), (48_000, 8_000), (11_025, 16_000)] {
            let mut resampler = Resampler::new(from, to).expect("legal rates");
            let piece = vec![0; from as usize];
            let mut place = vec![0; resampler.most_output(piece.len())];
            let written: usize = (0..20).map(|_| resampler.process(&piece, &mut place)).sum();
            // Up to one chunk waits inside.
            let missing = 20 * to as i64 - written as i64;
            let chunk = i64::from(to / 400) + 1 + i64::from(FILTER);
            assert!((-1..=chunk).contains(&missing), "{from} to {to}: {missing}");
        }
    }

    #[test]
    fn equal_rates_pass_through_at_once() {
        let mut resampler = Resampler::new(8000, 8000).expect("legal rates");
        let mut place = [0; 3];
        assert_eq!((resampler.process(&[1, 2, 3], &mut place), place), (3, [1, 2, 3]));
        assert_eq!(resampler.delay(), Duration::ZERO);
    }

    #[test]
    fn rates_outside_the_range_are_refused() {
        assert_eq!(Resampler::new(7999, 8000).err(), Some(ResampleError::Rate { from: 7999, to: 8000 }));
        assert_eq!(Resampler::new(8000, 192_001).err(), Some(ResampleError::Rate { from: 8000, to: 192_001 }));
    }

    #[test]
    fn the_delay_is_what_it_says() {
        let mut input = vec![0; 4800];
        input[2400] = 20_000;
        let heard = convert(48_000, 8_000, &input, 480);
        let peak = heard.iter().enumerate().max_by_key(|(_, x)| x.unsigned_abs()).map(|(i, _)| i as i64);
        let delay = Resampler::new(48_000, 8_000).expect("legal rates").delay();
        let expected = 400 + (delay.as_secs_f64() * 8000.0).round() as i64;
        assert!(peak.is_some_and(|peak| (peak - expected).abs() <= 1), "{peak:?} {expected}");
    }
}
