//! Trying a device out (`bellwire devices test`): the same stream and ring as in a call, without the call.

use super::find::Patience;
use super::{DeviceError, Message, Open, microphone, speaker};
use crate::media::set::{SoundSink, SoundSource};
use crate::media::tones::{Tone, level_db};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant as Wall};

/// What a trial found.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The device.
    pub name: String,
    /// Its samples per second.
    pub rate: u32,
    /// The most samples that it moved at once, after the first time.
    pub period: usize,
    /// Samples that moved.
    pub samples: u64,
    /// Samples that did not fit or were not there in time.
    pub lost: u64,
    /// Of a microphone: RMS level of all of it, dBFS; `None` for digital silence.
    pub level_db: Option<f64>,
    /// Of a microphone: the largest sample.
    pub peak: u16,
}

/// Listens to a microphone and tells its level, dBFS, ten times a second.
///
/// # Errors
/// [`DeviceError`] when it cannot be opened, or fails meanwhile.
pub fn listen(name: &str, duration: Duration, mut level: impl FnMut(f64)) -> Result<Heard, DeviceError> {
    let (sender, faults) = channel();
    let (open, mut microphone) = microphone(name, Patience::default(), &sender)?;
    let rate = microphone.rate();
    let mut block = vec![0; rate as usize / 10];
    let (mut peak, mut squares, mut count) = (0_u16, 0.0, 0_u64);
    let mut next = Wall::now();
    let end = next + duration;
    while Wall::now() < end {
        std::thread::sleep(STEP);
        no_fault(&faults, &open)?;
        // A device that keeps no time always has more; ten times a second is enough.
        if Wall::now() >= next && microphone.available().is_some_and(|there| there >= block.len()) {
            next = (next + TENTH).max(Wall::now().checked_sub(TENTH).unwrap_or(next));
            microphone.read(&mut block);
            peak = block.iter().fold(peak, |peak, sample| peak.max(sample.unsigned_abs()));
            squares += block.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>();
            count += block.len() as u64;
            level(level_db(&block));
        }
    }
    let power = squares / count.max(1) as f64 / 32_768.0_f64.powi(2);
    Ok(Heard { level_db: (peak > 0).then(|| 10.0 * power.log10()), peak, ..found(&open, rate) })
}

/// Plays a tone on a loudspeaker.
///
/// # Errors
/// [`DeviceError`] when it cannot be opened, or fails meanwhile.
pub fn play(name: &str, duration: Duration) -> Result<Heard, DeviceError> {
    let (sender, faults) = channel();
    let (open, mut speaker) = speaker(name, Patience::default(), &sender)?;
    let rate = speaker.rate();
    let mut tone = Tone::hz(440.0, rate);
    let mut block = vec![0; rate as usize / 100];
    let end = Wall::now() + duration;
    while Wall::now() < end {
        while speaker.wanted().is_some_and(|wanted| wanted >= block.len()) {
            tone.fill(&mut block);
            speaker.write(&block);
        }
        std::thread::sleep(STEP);
        no_fault(&faults, &open)?;
    }
    Ok(found(&open, rate))
}

fn no_fault(faults: &Receiver<Message>, open: &Open) -> Result<(), DeviceError> {
    match faults.try_recv() {
        Ok(Message::Fault(cause)) => {
            Err(DeviceError { slug: "audio.device-lost", cause: format!("{}: {cause}", open.name()) })
        }
        Ok(Message::Released) | Err(_) => Ok(()),
    }
}

fn found(open: &Open, rate: u32) -> Heard {
    let counters = open.counters();
    Heard {
        name: open.name().to_owned(),
        rate,
        period: counters.largest(),
        samples: counters.samples(),
        lost: counters.lost(),
        level_db: None,
        peak: 0,
    }
}

const TENTH: Duration = Duration::from_millis(100);
/// Shorter than a block, so that neither ring runs full or empty.
const STEP: Duration = Duration::from_millis(2);
