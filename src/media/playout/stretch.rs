//! Changing the tempo of speech without changing its pitch: one period more or one less, joined by overlap-add (WSOLA).

use super::sound::Sound;
use crate::media::similarity;

/// Drops up to `most` samples of the sound that waits: a period where it is periodic (its neighbours correlate by
/// `resemblance` or more), any piece where it is silent.
///
/// Returns the number dropped, `None` if nothing can be dropped without being heard.
pub(super) fn accelerate(sound: &mut Sound, rate: usize, most: usize, resemblance: f32) -> Option<usize> {
    let waiting = &sound.pcm[sound.at..sound.end];
    let silent = similarity::power(waiting) < SILENCE;
    let lag = if silent {
        Some(most.min(waiting.len() / 2)).filter(|&lag| lag >= rate / 1000)
    } else {
        // Only what may be dropped is looked at: there is often too little to spare for any period.
        similarity::pitch_after(&waiting[..waiting.len().min(2 * most)], rate)
            .filter(|pitch| pitch.correlation >= resemblance && pitch.lag <= most)
            .map(|pitch| pitch.lag)
    }?;
    for i in 0..lag {
        let at = sound.at + i;
        sound.pcm[at] = blend(sound.pcm[at], sound.pcm[at + lag], i, lag);
    }
    sound.pcm.copy_within(sound.at + 2 * lag..sound.end, sound.at + lag);
    sound.end -= lag;
    Some(lag)
}

/// Plays one period of the waiting sound twice and returns the samples gained.
pub(super) fn expand(sound: &mut Sound, rate: usize) -> Option<usize> {
    let waiting = &sound.pcm[sound.at..sound.end];
    let lag = if similarity::power(waiting) < SILENCE {
        Some((rate / 100).min(waiting.len() / 2))
    } else {
        similarity::pitch_after(waiting, rate).filter(|pitch| pitch.correlation >= PERIODIC).map(|pitch| pitch.lag)
    }?;
    let after = sound.end + lag;
    if lag == 0 || after > sound.pcm.len() {
        return None;
    }
    // a b c … becomes a, then b fading into a, then b c …: every join is between neighbours.
    sound.pcm.copy_within(sound.at + lag..sound.end, sound.at + 2 * lag);
    for i in 0..lag {
        let first = sound.pcm[sound.at + i];
        let second = sound.pcm[sound.at + 2 * lag + i];
        sound.pcm[sound.at + lag + i] = blend(second, first, i, lag);
    }
    sound.end = after;
    Some(lag)
}

/// From `old` to `new` in `length` steps.
fn blend(old: i16, new: i16, step: usize, length: usize) -> i16 {
    let (old, new) = (i32::from(old), i32::from(new));
    (old + (new - old) * (step as i32 + 1) / (length as i32 + 1)) as i16
}

/// Correlation from which a period may be doubled or dropped.
pub(super) const PERIODIC: f32 = 0.9;
/// Mean square below which sound counts as silence: about -55 dB of full scale.
const SILENCE: f32 = 3_500.0;
