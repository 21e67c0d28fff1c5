//! Whether what was said was heard: likeness and level of two pieces of sound, as a pure function.

use super::status::count;

/// Rate at which sound is compared.
pub const RATE: u32 = 8000;
/// Least likeness.
const LIKENESS: f64 = 0.7;
/// How long it has to hold.
const SECONDS: usize = 3;
/// Most delay: what comes later is not heard as an echo of it.
const LATEST: usize = 2;
/// Most difference of level, dB.
const LEVEL: f64 = 6.0;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heard {
    /// Likeness of the best 3 s at their best lag, -1 to 1.
    pub likeness: f64,
    /// Delay from said to heard, ms.
    pub delay_ms: f64,
    /// Level of what was heard against what was said, dB.
    pub level_db: f64,
}

impl Heard {
    /// Whether that counts as heard, and if not, why.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn judge(&self) -> Result<(), String> {
        if self.likeness < LIKENESS {
            return Err(format!(
                "what came back resembles what was said by {:.2} only, not by {LIKENESS}",
                self.likeness
            ));
        }
        if self.level_db.abs() > LEVEL {
            return Err(format!("what came back differs by {:.1} dB in level, more than {LEVEL:.0} dB", self.level_db));
        }
        Ok(())
    }
}

/// Compares what was `said` with what was `heard`, both mono at 8 kHz and begun at the same instant.
///
/// # Errors
/// When there is too little of either, in words.
pub fn compare(said: &[i16], heard: &[i16]) -> Result<Heard, String> {
    let rate = RATE as usize;
    let window = SECONDS * rate;
    if said.len() < window {
        return Err("less than 3 s were said".into());
    }
    if heard.len() < window {
        return Err(format!("only {:.1} s were heard", count(heard.len() as u64) / f64::from(RATE)));
    }
    if energy(heard) / count(heard.len() as u64) < 100.0 {
        return Err("nothing but silence was heard".into());
    }
    // The delay may change during the call: each 3 s are looked for on their own. A rough look at an eighth of the rate
    // finds the lag, then a close one around it.
    const ROUGH: usize = 8;
    let (rough_said, rough_heard) = (thin(said, ROUGH), thin(heard, ROUGH));
    let sums = running(&rough_heard);
    let short = window / ROUGH;
    let mut found = Heard { likeness: -1.0, delay_ms: 0.0, level_db: 0.0 };
    let mut start = 0;
    while start + window <= said.len() {
        let a = &rough_said[start / ROUGH..start / ROUGH + short];
        let own = energy(a);
        let rough = |lag: usize| {
            let at = start / ROUGH + lag;
            let b = rough_heard.get(at..at + short)?;
            Some(dot(a, b) / (own * (sums[at + short] - sums[at])).sqrt().max(1.0))
        };
        let (lag, _) = best((0..LATEST * rate / ROUGH).map_while(|lag| Some((lag, rough(lag)?))));
        for lag in (lag * ROUGH).saturating_sub(2 * ROUGH)..lag * ROUGH + 2 * ROUGH {
            let Some(b) = heard.get(start + lag..start + lag + window) else { continue };
            let a = &said[start..start + window];
            let likeness = likeness(a, b);
            if likeness > found.likeness {
                found = Heard {
                    likeness,
                    delay_ms: count(lag as u64) * 1000.0 / f64::from(RATE),
                    level_db: 10.0 * (energy(b).max(1.0) / energy(a).max(1.0)).log10(),
                };
            }
        }
        start += rate / 4;
    }
    Ok(found)
}

fn thin(sound: &[i16], by: usize) -> Vec<i16> {
    let mean = |piece: &[i16]| {
        let sum: i32 = piece.iter().map(|s| i32::from(*s)).sum();
        i16::try_from(sum / i32::try_from(piece.len()).unwrap_or(1)).unwrap_or(0)
    };
    sound.chunks(by).map(mean).collect()
}

fn best(all: impl Iterator<Item = (usize, f64)>) -> (usize, f64) {
    all.fold((0, -1.0), |best, next| if next.1 > best.1 { next } else { best })
}

/// The energy of everything before each sample.
fn running(sound: &[i16]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = vec![0.0];
    for s in sound {
        sum += f64::from(*s) * f64::from(*s);
        sums.push(sum);
    }
    sums
}

fn dot(a: &[i16], b: &[i16]) -> f64 {
    let mut sum = 0;
    for (a, b) in a.iter().zip(b) {
        sum += i64::from(*a) * i64::from(*b);
    }
    exact(sum)
}

/// A sum of products of samples of minutes of sound is below 2^53.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn exact(sum: i64) -> f64 {
    sum as f64
}

fn likeness(a: &[i16], b: &[i16]) -> f64 {
    dot(a, b) / (energy(a) * energy(b)).sqrt().max(1.0)
}

fn energy(sound: &[i16]) -> f64 {
    dot(sound, sound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The built-in speech at 8 kHz.
    fn speech() -> Vec<i16> {
        let sound = crate::device::builtin::sound(crate::media::command::Builtin::Speech);
        sound.samples[..usize::try_from(sound.rate).unwrap() * 6]
            .chunks(usize::try_from(sound.rate / RATE).unwrap())
            .map(|c| c[0])
            .collect()
    }

    fn late(sound: &[i16], ms: usize) -> Vec<i16> {
        let mut out = vec![0; ms * 8];
        out.extend_from_slice(sound);
        out
    }

    fn verdict(heard: &[i16]) -> Result<Heard, String> {
        compare(&speech(), heard).and_then(|h| h.judge().map(|()| h))
    }

    #[test]
    fn a_clean_echo_is_heard_with_its_delay() {
        let heard = verdict(&late(&speech(), 87)).unwrap();
        assert!(heard.likeness > 0.999 && heard.level_db.abs() < 0.1, "{heard:?}");
        assert!((heard.delay_ms - 87.0).abs() < 0.2, "{heard:?}");
    }

    #[test]
    fn an_echo_with_noise_and_half_the_level_is_heard() {
        let mut rng = Rng::new([7; 32]);
        let noisy: Vec<i16> =
            late(&speech(), 300).iter().map(|s| s / 10 * 6 + i16::try_from(rng.below(400)).unwrap() - 200).collect();
        let heard = verdict(&noisy).unwrap();
        assert!((heard.level_db + 4.4).abs() < 0.5, "{heard:?}");
    }

    #[test]
    fn an_echo_whose_delay_changes_once_is_heard() {
        let sound = speech();
        let mut heard = late(&sound[..20_000], 60);
        heard.extend(vec![0; 8 * 140]);
        heard.extend_from_slice(&sound[20_000..]);
        let heard = verdict(&heard).unwrap();
        assert!((heard.delay_ms - 200.0).abs() < 1.0, "{heard:?}");
    }

    #[test]
    fn a_silent_echo_is_not_heard() {
        assert_eq!(verdict(&vec![0; 48_000]), Err("nothing but silence was heard".into()));
    }

    #[test]
    fn a_scrambled_echo_is_not_heard() {
        let mut rng = Rng::new([3; 32]);
        let mut pieces: Vec<Vec<i16>> = speech().chunks(160).map(<[i16]>::to_vec).collect();
        for n in (1..pieces.len()).rev() {
            let other = usize::try_from(rng.below(u64::try_from(n + 1).unwrap())).unwrap();
            pieces.swap(n, other);
        }
        assert!(verdict(&pieces.concat()).unwrap_err().contains("resembles"));
    }

    #[test]
    fn an_echo_three_seconds_late_is_not_heard() {
        assert!(verdict(&late(&speech(), 3000)).is_err());
    }

    #[test]
    fn a_one_way_call_is_not_heard() {
        assert_eq!(verdict(&[]), Err("only 0.0 s were heard".into()));
        let mut rng = Rng::new([9; 32]);
        let hum: Vec<i16> = (0..48_000).map(|_| i16::try_from(rng.below(600)).unwrap() - 300).collect();
        assert!(verdict(&hum).is_err());
    }

    #[test]
    fn an_echo_much_louder_or_softer_is_not_heard() {
        let soft: Vec<i16> = late(&speech(), 50).iter().map(|s| s / 4).collect();
        assert!(verdict(&soft).unwrap_err().contains("dB in level"));
    }
}
