//! What was heard, measured: tones by a sine fit, speech by best-lag correlation and PESQ (ITU-T P.862, P.862.2).
//!
//! Nothing here uses the phone's own signal code: a fault there must not hide itself.

use std::f64::consts::{PI, TAU};
use std::path::Path;

/// One channel of sound, full scale ±1.
#[derive(Debug, Clone)]
pub(crate) struct Sound {
    /// Samples a second.
    pub(crate) rate: u32,
    /// The samples.
    pub(crate) samples: Vec<f64>,
}

/// A measured sine wave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tone {
    /// Frequency.
    pub(crate) hz: f64,
    /// Power of the fitted sine over the power of all the rest, in dB.
    pub(crate) snr_db: f64,
    /// Share of 5 ms pieces that lie 12 dB or more under the median level.
    pub(crate) gaps: f64,
    /// From its first to its last loud piece.
    pub(crate) seconds: f64,
}

/// Where the reference lies in what was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alignment {
    /// Start of the reference in the heard sound, in seconds.
    pub(crate) lag: f64,
    /// Correlation coefficient there.
    pub(crate) correlation: f64,
}

/// Which PESQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Band {
    /// P.862 with the MOS-LQO of P.862.1.
    Narrow,
    /// P.862.2.
    Wide,
}

/// Why a sound could not be measured, in words.
pub(crate) type Unmeasured = String;

impl Sound {
    /// Reads a 16-bit WAV file; of several channels the one that is asked for.
    pub(crate) fn read(path: &Path, channel: usize) -> Result<Self, Unmeasured> {
        let mut reader = hound::WavReader::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let spec = reader.spec();
        if spec.bits_per_sample != 16 || channel >= usize::from(spec.channels) {
            return Err(format!("{}: not 16-bit with channel {channel}", path.display()));
        }
        // A recording that was cut off mid-write keeps what was written.
        let all: Vec<i16> = reader.samples::<i16>().map_while(Result::ok).collect();
        let samples =
            all.iter().skip(channel).step_by(usize::from(spec.channels)).map(|&s| f64::from(s) / 32768.0).collect();
        Ok(Self { rate: spec.sample_rate, samples })
    }

    /// Writes a mono 16-bit WAV file.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Unmeasured> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let fail = |e: hound::Error| format!("{}: {e}", path.display());
        let mut writer = hound::WavWriter::create(path, spec).map_err(fail)?;
        for sample in self.pcm() {
            writer.write_sample(sample).map_err(fail)?;
        }
        writer.finalize().map_err(fail)
    }

    /// A sine wave of −10 dBFS.
    pub(crate) fn tone(hz: f64, seconds: f64, rate: u32) -> Self {
        let r = f64::from(rate);
        let samples = (0..(seconds * r) as usize).map(|n| 0.316 * (TAU * hz * n as f64 / r).sin()).collect();
        Self { rate, samples }
    }

    /// The same sound with this much silence before and behind it.
    pub(crate) fn padded(&self, before: f64, behind: f64) -> Self {
        let silence = |seconds: f64| vec![0.0; (seconds * f64::from(self.rate)) as usize];
        Self { rate: self.rate, samples: [silence(before), self.samples.clone(), silence(behind)].concat() }
    }

    /// The same sound, louder or softer by `db`.
    pub(crate) fn scaled(&self, db: f64) -> Self {
        let factor = 10f64.powf(db / 20.0);
        Self { rate: self.rate, samples: self.samples.iter().map(|s| s * factor).collect() }
    }

    /// Length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }

    /// Level over all, in dBFS (a full-scale sine has −3).
    pub(crate) fn level_db(&self) -> f64 {
        10.0 * (energy(&self.samples) / (self.samples.len().max(1) as f64)).max(1e-12).log10()
    }

    /// The same sound at another rate, by a windowed sinc of 16 zero crossings on each side.
    pub(crate) fn resampled(&self, rate: u32) -> Self {
        if rate == self.rate {
            return self.clone();
        }
        let (from, to) = (f64::from(self.rate), f64::from(rate));
        let cut = (to / from).min(1.0) * 0.96; // of the input's Nyquist frequency
        let reach = (16.0 / cut).ceil() as i64;
        let length = (self.samples.len() as f64 * to / from) as usize;
        // The distance between output and input samples takes few values: one table a phase.
        let phases = u64::from(rate) / gcd(u64::from(self.rate), u64::from(rate));
        let tables: Vec<Vec<f64>> = (0..phases)
            .map(|p| {
                let at = (p as f64 * from / to).fract();
                (-reach..=reach)
                    .map(|k| {
                        let x = k as f64 - at;
                        let window = 0.5 + 0.5 * (PI * x / (reach as f64 + 1.0)).cos();
                        cut * sinc(cut * x) * window
                    })
                    .collect()
            })
            .collect();
        let samples = (0..length)
            .map(|n| {
                let centre = (n as u64 * u64::from(self.rate) / u64::from(rate)) as i64;
                let table = &tables[(n as u64 % phases) as usize];
                let first = centre - reach;
                table
                    .iter()
                    .enumerate()
                    .filter_map(|(k, w)| {
                        usize::try_from(first + k as i64).ok().and_then(|i| self.samples.get(i)).map(|s| s * w)
                    })
                    .sum()
            })
            .collect();
        Self { rate, samples }
    }

    /// From `start` for `seconds`, with silence where there is nothing.
    pub(crate) fn cut(&self, start: f64, seconds: f64) -> Self {
        let r = f64::from(self.rate);
        let first = (start * r).round() as i64;
        let samples = (0..(seconds * r) as i64)
            .map(|n| usize::try_from(first + n).ok().and_then(|i| self.samples.get(i)).copied().unwrap_or(0.0))
            .collect();
        Self { rate: self.rate, samples }
    }

    fn pcm(&self) -> Vec<i16> {
        self.samples.iter().map(|s| (s * 32768.0).round().clamp(-32768.0, 32767.0) as i16).collect()
    }
}

/// Measures the one tone in `heard`. Its first and last 100 ms are left out: there it was faded or still buffered.
pub(crate) fn measure_tone(heard: &Sound) -> Result<Tone, Unmeasured> {
    let r = f64::from(heard.rate);
    let piece = (r * 0.005) as usize;
    let levels: Vec<f64> = heard.samples.chunks_exact(piece).map(|c| (energy(c) / piece as f64).sqrt()).collect();
    let loud = levels.iter().copied().fold(0.0, f64::max) * 0.25;
    if loud < 0.001 {
        return Err("silence".to_owned());
    }
    let first = levels.iter().position(|&l| l >= loud).unwrap_or(0) + 20;
    let last = levels.iter().rposition(|&l| l >= loud).unwrap_or(0).saturating_sub(20);
    if last < first + 100 {
        return Err(format!("only {:.2} s of sound", (last.saturating_sub(first)) as f64 * 0.005));
    }
    let span = &levels[first..last];
    let mut sorted = span.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quiet = sorted[sorted.len() / 2] * 0.25;
    let gaps = span.iter().filter(|&&l| l < quiet).count() as f64 / span.len() as f64;
    let sound = &heard.samples[first * piece..last * piece];

    let hz = frequency(sound, r);
    let (mut sine, mut rest) = (0.0, 0.0);
    for block in sound.chunks_exact((r * 0.05) as usize) {
        let fitted = sine_energy(block, hz, r);
        sine += fitted;
        rest += (energy(block) - fitted).max(0.0);
    }
    let snr_db = 10.0 * (sine / rest.max(1e-12)).log10();
    Ok(Tone { hz, snr_db, gaps, seconds: span.len() as f64 * 0.005 })
}

/// The strongest frequency: a coarse look at a quarter of a second in the middle, then a search over a second.
fn frequency(sound: &[f64], rate: f64) -> f64 {
    let middle = |seconds: f64| {
        let length = ((seconds * rate) as usize).min(sound.len());
        let start = (sound.len() - length) / 2;
        let size = length as f64;
        sound[start..start + length]
            .iter()
            .enumerate()
            .map(|(n, s)| s * (0.5 - 0.5 * (TAU * n as f64 / size).cos()))
            .collect::<Vec<_>>()
    };
    let short = middle(0.25);
    let coarse = (25..).map(|k| f64::from(k) * 4.0).take_while(|&hz| hz < (rate / 2.0).min(7500.0));
    let coarse = coarse.max_by(|&a, &b| goertzel(&short, a, rate).total_cmp(&goertzel(&short, b, rate))).unwrap_or(0.0);
    let long = middle(1.0);
    let (mut low, mut high) = (coarse - 4.0, coarse + 4.0);
    // One maximum within a Hann window's main lobe: thirds converge on it.
    while high - low > 0.01 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if goertzel(&long, a, rate) < goertzel(&long, b, rate) { low = a } else { high = b }
    }
    (low + high) / 2.0
}

/// Power at one frequency (Goertzel's recursion).
fn goertzel(samples: &[f64], hz: f64, rate: f64) -> f64 {
    let c = 2.0 * (TAU * hz / rate).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for s in samples {
        (a, b) = (s + c * a - b, a);
    }
    a * a + b * b - c * a * b
}

/// Energy of the best A·sin + B·cos at `hz` in `block` (least squares).
fn sine_energy(block: &[f64], hz: f64, rate: f64) -> f64 {
    let (mut ss, mut cc, mut sc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, x) in block.iter().enumerate() {
        let (s, c) = (TAU * hz * n as f64 / rate).sin_cos();
        ss += s * s;
        cc += c * c;
        sc += s * c;
        xs += x * s;
        xc += x * c;
    }
    let det = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / det, (xc * ss - xs * sc) / det);
    a * xs + b * xc
}

/// Finds `reference` in `heard`, which may begin up to a second before it or hold it anywhere later.
///
/// It is looked for in thirds, and the best of them counts: a jitter buffer that slips by a packet in one place must not hide the speech.
pub(crate) fn align(reference: &Sound, heard: &Sound) -> Result<Alignment, Unmeasured> {
    const COARSE: u32 = 1000;
    const FINE: u32 = 8000;
    let (r, h) = (reference.resampled(FINE), heard.resampled(FINE));
    if energy(&h.samples) < 1e-6 {
        return Err("silence".to_owned());
    }
    let (rc, hc) = (r.resampled(COARSE), h.resampled(COARSE));
    let best = |lags: &mut dyn Iterator<Item = i64>, a: &[f64], b: &[f64]| {
        lags.map(|lag| (lag, correlation(a, b, lag))).max_by(|x, y| x.1.abs().total_cmp(&y.1.abs())).unwrap_or((0, 0.0))
    };
    let third = rc.samples.len() / 3;
    let scale = (FINE / COARSE) as usize;
    let found = (0..3).map(|n| {
        let start = n * third;
        let lags = start as i64 - i64::from(COARSE)..=(hc.samples.len() as i64 - i64::from(COARSE)).max(start as i64);
        let (coarse, _) = best(&mut lags.into_iter(), &rc.samples[start..start + third], &hc.samples);
        let around = coarse * scale as i64;
        let (fine, correlation) =
            best(&mut (around - 24..=around + 24), &r.samples[start * scale..(start + third) * scale], &h.samples);
        Alignment { lag: (fine - (start * scale) as i64) as f64 / f64::from(FINE), correlation }
    });
    found
        .max_by(|x, y| x.correlation.abs().total_cmp(&y.correlation.abs()))
        .ok_or_else(|| "nothing to look for".to_owned())
}

/// Correlation coefficient of `a` with `b` from `lag` on; what lies outside of `b` counts as silence.
fn correlation(a: &[f64], b: &[f64], lag: i64) -> f64 {
    let skip = usize::try_from(-lag).unwrap_or(0);
    let from = usize::try_from(lag).unwrap_or(0);
    let pairs = a.iter().skip(skip).zip(b.iter().skip(from));
    let (mut ab, mut bb) = (0.0, 0.0);
    for (x, y) in pairs {
        ab += x * y;
        bb += y * y;
    }
    ab / (energy(a) * bb).sqrt().max(1e-12)
}

/// PESQ as MOS-LQO of the piece of `heard` that holds `reference`.
pub(crate) fn speech(reference: &Sound, heard: &Sound, band: Band) -> Result<(f64, Alignment), Unmeasured> {
    let at = align(reference, heard)?;
    if at.correlation.abs() < 0.7 {
        return Err(format!("speech not found (best correlation {:.2})", at.correlation));
    }
    let rate = match band {
        Band::Narrow => 8000,
        Band::Wide => 16_000,
    };
    let reference = reference.resampled(rate);
    let heard = heard.resampled(rate).cut(at.lag, reference.seconds());
    let (r, h) = (reference.pcm(), heard.pcm());
    let mos = match band {
        Band::Narrow => pesq::pesq_8k(&r, &h).map(|raw| f64::from(pesq::score::mos_lqo(f64::from(raw)))),
        Band::Wide => pesq::pesq_wb(&r, &h).map(f64::from),
    };
    mos.map(|mos| (mos, at)).map_err(|e| format!("PESQ: {e:?}"))
}

fn energy(samples: &[f64]) -> f64 {
    samples.iter().map(|s| s * s).sum()
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
