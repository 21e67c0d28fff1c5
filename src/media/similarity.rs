//! Finding where a piece of sound resembles itself: the pitch search that concealment and time-stretching share.

/// The best self-resemblance found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pitch {
    /// Distance in samples.
    pub(crate) lag: usize,
    /// Normalized correlation at that distance, -1 to 1.
    pub(crate) correlation: f32,
}

/// Finds the distance at which the end of `past` resembles what came before it. `past` must hold 50 ms at `rate`.
pub(crate) fn pitch_before(past: &[i16], rate: usize) -> Pitch {
    let (shortest, longest) = lags(rate);
    let template = (rate * TEMPLATE_MS / 1000).min(past.len().saturating_sub(longest));
    let longest = longest.min(past.len() - template).min(past.len() / 2);
    let at = past.len() - template;
    search(rate, shortest, longest, |lag, stride| correlation(&past[at - lag..], &past[at..], template, stride))
}

/// Finds the distance at which `sound` from `at` on resembles itself, later by `lag` samples, with both pieces `lag` long.
///
/// Only distances for which both fit into `sound` are tried; `None` if not even the shortest one fits.
pub(crate) fn pitch_after(sound: &[i16], rate: usize) -> Option<Pitch> {
    let (shortest, longest) = lags(rate);
    let longest = longest.min(sound.len() / 2);
    (shortest <= longest)
        .then(|| search(rate, shortest, longest, |lag, stride| correlation(sound, &sound[lag..], lag, stride)))
}

/// Normalized correlation of the first `length` samples of both, looking at every `stride`th only.
pub(crate) fn correlation(a: &[i16], b: &[i16], length: usize, stride: usize) -> f32 {
    let (mut ab, mut aa, mut bb) = (0.0_f32, 1.0_f32, 1.0_f32);
    for (a, b) in a.iter().zip(b).take(length).step_by(stride) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    ab / (aa * bb).sqrt()
}

/// Mean square of `pcm`.
pub(crate) fn power(pcm: &[i16]) -> f32 {
    let sum: f32 = pcm.iter().map(|&x| f32::from(x) * f32::from(x)).sum();
    sum / pcm.len().max(1) as f32
}

/// Coarse search at about 8 kHz, then every sample around the best.
fn search(rate: usize, shortest: usize, longest: usize, score: impl Fn(usize, usize) -> f32) -> Pitch {
    let stride = (rate / 8000).max(1);
    let best = |range: &mut dyn Iterator<Item = usize>, stride| {
        let mut best = Pitch { lag: shortest, correlation: -1.0 };
        for lag in range {
            let correlation = score(lag, stride);
            if correlation > best.correlation {
                best = Pitch { lag, correlation };
            }
        }
        best
    };
    let coarse = best(&mut (shortest..=longest).step_by(stride), stride);
    if stride == 1 {
        return coarse;
    }
    let around = coarse.lag.saturating_sub(stride).max(shortest)..=(coarse.lag + stride).min(longest);
    best(&mut around.into_iter(), 1)
}

fn lags(rate: usize) -> (usize, usize) {
    (rate / 300, rate * 15 / 1000) // 300 Hz to 66 Hz
}

const TEMPLATE_MS: usize = 10;
