//! Judging recorded sound.

use std::f64::consts::TAU;
use std::path::Path;

pub(crate) const RATE: usize = 48_000;

/// A sine as bytes for a pipe.
pub(crate) fn tone(hz: f64, amplitude: f64, seconds: f64) -> Vec<u8> {
    let sample = |n: usize| (amplitude * (TAU * hz * n as f64 / RATE as f64).sin()) as i16;
    (0..(seconds * RATE as f64) as usize).flat_map(|n| sample(n).to_le_bytes()).collect()
}

/// Samples of a raw recording.
pub(crate) fn samples(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).expect("it was recorded");
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// RMS.
pub(crate) fn rms(sound: &[i16]) -> f64 {
    (sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / sound.len().max(1) as f64).sqrt()
}

/// Amplitude of one frequency.
pub(crate) fn amplitude(hz: f64, sound: &[i16]) -> f64 {
    let step = TAU * hz / RATE as f64;
    let (mut s, mut c) = (0.0, 0.0);
    for (n, x) in sound.iter().enumerate() {
        s += f64::from(*x) * (n as f64 * step).sin();
        c += f64::from(*x) * (n as f64 * step).cos();
    }
    2.0 * (s * s + c * c).sqrt() / sound.len().max(1) as f64
}

/// What a recorded tone is like.
#[derive(Debug)]
pub(crate) struct Tone {
    /// Its frequency, Hz.
    pub(crate) hz: f64,
    /// How long it lasted, s.
    pub(crate) seconds: f64,
    /// The share of 5 ms pieces between its beginning and its end that are much softer than the rest.
    pub(crate) gaps: f64,
    /// RMS of the loud pieces.
    pub(crate) level: f64,
}

/// Finds a tone near `hz` in a recording.
pub(crate) fn judge(sound: &[i16], hz: f64) -> Option<Tone> {
    let pieces: Vec<f64> = sound.chunks(RATE / 200).map(rms).collect();
    let loudest = pieces.iter().fold(0.0_f64, |most, level| most.max(*level));
    let loud = |level: &f64| *level > loudest / 4.0;
    let (first, last) = (pieces.iter().position(loud)?, pieces.iter().rposition(loud)?);
    let within = &pieces[first..=last];
    let soft = within.iter().filter(|level| !loud(level)).count();
    let mut levels: Vec<f64> = within.iter().copied().filter(|level| loud(level)).collect();
    levels.sort_by(f64::total_cmp);
    // Frequency: the strongest of the candidates, half a second at a time, the median of all.
    let sound = &sound[first * RATE / 200..((last + 1) * RATE / 200).min(sound.len())];
    let mut found: Vec<f64> = sound
        .chunks_exact(RATE / 2)
        .map(|piece| {
            let candidates = (-40..=40).map(|n| hz + f64::from(n) * 0.5);
            let strength = |hz: &f64| amplitude(*hz, piece);
            candidates.max_by(|a, b| strength(a).total_cmp(&strength(b))).unwrap_or(0.0)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    Some(Tone {
        hz: *found.get(found.len() / 2)?,
        seconds: within.len() as f64 / 200.0,
        gaps: soft as f64 / within.len() as f64,
        level: levels[levels.len() / 2],
    })
}

#[test]
fn a_tone_with_a_hole_is_judged_rightly() {
    let bytes = tone(1000.0, 8000.0, 2.0);
    let mut sound: Vec<i16> = bytes.chunks_exact(2).map(|p| i16::from_le_bytes([p[0], p[1]])).collect();
    sound[30_000..32_400].fill(0);
    let judged = judge(&sound, 995.0).expect("there is a tone");
    assert!((judged.hz - 1000.0).abs() < 1.0, "{judged:?}");
    assert!((judged.gaps - 0.025).abs() < 0.006, "{judged:?}");
    assert!((judged.level - 5657.0).abs() < 60.0, "{judged:?}");
    assert!(judge(&[0; 4800], 1000.0).is_none_or(|judged| judged.level == 0.0));
}

/// The program's own speech at 48 kHz, as bytes for a pipe.
pub(crate) fn speech() -> Vec<u8> {
    let mut reader =
        hound::WavReader::open(concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/speech.wav")).expect("a file");
    let times = RATE / reader.spec().sample_rate as usize;
    let samples: Vec<i16> = reader.samples::<i16>().map(|sample| sample.expect("a sample")).collect();
    samples.iter().flat_map(|sample| std::iter::repeat_n(*sample, times)).flat_map(i16::to_le_bytes).collect()
}

/// By how much the second sound is later than the first, ms, and how much alike they are then: the medians over all half
/// seconds in which something is said. Each has a delay of its own, as a jitter buffer may change it between two words.
pub(crate) fn delay(said: &[i16], heard: &[i16]) -> Option<(f64, f64)> {
    const PIECE: usize = RATE / 2;
    const MOST: usize = RATE / 4;
    let pieces = said.chunks_exact(PIECE).enumerate().map(|(n, piece)| (n * PIECE, piece));
    let loudest = pieces.clone().map(|(_, piece)| rms(piece)).fold(0.0, f64::max);
    let likeness = |said: &[i16], heard: &[i16], step: usize| {
        let (mut dot, mut a, mut b) = (0.0, 1.0, 1.0);
        for (x, y) in said.iter().zip(heard).step_by(step) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            dot += x * y;
            a += x * x;
            b += y * y;
        }
        dot / (a * b).sqrt()
    };
    let found = pieces.filter(|(_, piece)| rms(piece) > loudest / 4.0).filter_map(|(at, piece)| {
        let heard = heard.get(at..at + MOST + PIECE)?;
        let best = |lags: &mut dyn Iterator<Item = usize>, step: usize| {
            lags.map(|lag| (likeness(piece, &heard[lag..lag + PIECE], step), lag)).max_by(|a, b| a.0.total_cmp(&b.0))
        };
        let (_, rough) = best(&mut (0..MOST).step_by(4), 13)?;
        let (likeness, lag) = best(&mut (rough.saturating_sub(8)..(rough + 8).min(MOST)), 3)?;
        Some((lag as f64 * 1000.0 / RATE as f64, likeness))
    });
    let (mut delays, mut alike): (Vec<f64>, Vec<f64>) = found.unzip();
    delays.sort_by(f64::total_cmp);
    alike.sort_by(f64::total_cmp);
    (delays.len() >= 6).then(|| (delays[delays.len() / 2], alike[alike.len() / 2]))
}

#[test]
fn the_delay_of_speech_is_found_and_other_speech_is_not_like_it() {
    let bytes = speech();
    let said: Vec<i16> = bytes.chunks_exact(2).map(|p| i16::from_le_bytes([p[0], p[1]])).collect();
    let late: Vec<i16> = std::iter::repeat_n(0, 4800).chain(said.iter().copied()).collect();
    let (delay_ms, likeness) = delay(&said, &late).expect("there is speech");
    assert!((delay_ms - 100.0).abs() < 0.1 && likeness > 0.99, "{delay_ms} {likeness}");
    let other: Vec<i16> = late.iter().rev().copied().collect();
    let (_, likeness) = delay(&said, &other).expect("there is speech");
    assert!(likeness < 0.6, "{likeness}");
}
