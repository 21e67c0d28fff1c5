//! The two ends of a session's sound: a source and a sink at their own rates, brought to the codec's.

use super::super::resample::Resampler;
use super::super::set::{SoundSink, SoundSource};
use super::super::tones::Tone;
use crate::time::{Duration, Instant};

/// What a session sends.
#[expect(clippy::large_enum_variant, reason = "one for each session, and the largest is the usual one")]
pub(super) enum Feed {
    /// Nothing at all, not even silence.
    Nothing,
    /// Zeros.
    Silence,
    /// A sine of so many Hz.
    Tone(f64, Tone),
    /// What is heard.
    Echo,
    /// Zeros until the driver attaches the source that the route names.
    Awaited,
    /// An attached source.
    Attached(SourceEnd),
}

/// An attached source, its rate converter, and sound that is converted but not used yet.
pub(super) struct SourceEnd {
    source: Box<dyn SoundSource>,
    resampler: Option<Resampler>,
    raw: Vec<i16>,
    ready: Vec<i16>,
    /// A microphone: zeros mean that something is wrong.
    pub(super) device: bool,
    pub(super) ended: bool,
    /// Exact zeros in a row.
    zeros: u64,
    rate: u32,
}

impl SourceEnd {
    /// Joins `source` to a codec that samples at `rate`; without converter between the two there is silence.
    pub(super) fn new(source: Box<dyn SoundSource>, rate: u32, device: bool) -> Self {
        let from = source.rate();
        let resampler = if from == rate { None } else { Resampler::new(from, rate).ok() };
        let chunk = (from / 100).max(1) as usize;
        let most = resampler.as_ref().map_or(0, |resampler| resampler.most_output(chunk));
        let ended = from != rate && resampler.is_none();
        let mut ready = Vec::with_capacity(most + rate as usize / 10);
        if resampler.is_some() && source.available().is_some() {
            // A converter may be a few samples behind at the end of a frame: with these in hand no frame waits for them.
            ready.resize(6, 0);
        }
        Self { source, resampler, raw: vec![0; chunk], ready, device, ended, zeros: 0, rate }
    }

    /// The same source for another codec.
    pub(super) fn with_rate(self, rate: u32) -> Self {
        if rate == self.rate { self } else { Self::new(self.source, rate, self.device) }
    }

    /// Samples at the codec's rate that a paced source has ready; `None` if it is not paced.
    pub(super) fn available(&self) -> Option<usize> {
        let waiting = self.source.available()?;
        let converted = self.resampler.as_ref().map_or(waiting, |resampler| resampler.least_output(waiting));
        Some(self.ready.len() + converted)
    }

    /// Fills `out`; what the source does not give is silence. Returns true if the source ended just now.
    pub(super) fn read(&mut self, out: &mut [i16]) -> bool {
        let ended_before = self.ended;
        let paced = self.source.available().is_some();
        let given = if self.ended { 0 } else { self.read_some(out) };
        out[given..].fill(0);
        if given < out.len() && !paced {
            self.ended = true;
        }
        if self.device {
            // Silence that we make up for a gap says nothing about the microphone.
            let heard = &out[..given];
            match heard.iter().rposition(|&sample| sample != 0) {
                Some(last) => self.zeros = (given - 1 - last) as u64,
                None => self.zeros += given as u64,
            }
        }
        self.ended && !ended_before
    }

    /// How long a device has given nothing but exact zeros.
    pub(super) fn silent_for(&self) -> Duration {
        Duration::from_millis(self.zeros * 1000 / u64::from(self.rate.max(1)))
    }

    /// Throws away all but `keep` samples of what a device has waiting.
    pub(super) fn skip_to(&mut self, keep: usize) {
        // Counted once: what an unpaced device has waiting never gets less.
        let chunk = self.rate as usize / 100;
        for _ in 0..self.available().unwrap_or(0).saturating_sub(keep) / chunk.max(1) {
            if self.source.read(&mut self.raw) == 0 {
                return;
            }
        }
    }

    fn read_some(&mut self, out: &mut [i16]) -> usize {
        let Some(resampler) = &mut self.resampler else { return self.source.read(out).min(out.len()) };
        while self.ready.len() < out.len() {
            let read = self.source.read(&mut self.raw).min(self.raw.len());
            let old = self.ready.len();
            self.ready.resize(old + resampler.most_output(read), 0);
            let made = resampler.process(&self.raw[..read], &mut self.ready[old..]);
            self.ready.truncate(old + made);
            if read < self.raw.len() {
                break;
            }
        }
        let given = self.ready.len().min(out.len());
        out[..given].copy_from_slice(&self.ready[..given]);
        self.ready.drain(..given);
        given
    }
}

/// An attached sink with its rate converter.
pub(super) struct SinkEnd {
    sink: Box<dyn SoundSink>,
    resampler: Option<Resampler>,
    converted: Vec<i16>,
    rate: u32,
}

impl SinkEnd {
    /// Joins `sink` to sound of `rate`.
    pub(super) fn new(sink: Box<dyn SoundSink>, rate: u32) -> Self {
        let to = sink.rate();
        let resampler = Resampler::new(rate, to).ok();
        let most = resampler.as_ref().map_or(0, |resampler| resampler.most_output(rate as usize / 100));
        Self { sink, resampler, converted: vec![0; most], rate }
    }

    /// The same sink for sound of another rate.
    pub(super) fn with_rate(self, rate: u32) -> Self {
        if rate == self.rate { self } else { Self::new(self.sink, rate) }
    }

    /// Rate of the sound it takes.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Takes a block of 10 ms at most.
    pub(super) fn write(&mut self, pcm: &[i16]) {
        if self.sink.rate() == self.rate {
            self.sink.write(pcm);
        } else if let Some(resampler) = &mut self.resampler {
            let made = resampler.process(pcm, &mut self.converted);
            self.sink.write(&self.converted[..made]);
        }
    }

    /// Blocks of 10 ms that a paced sink lacks; `None` if it is not paced.
    pub(super) fn wanted_blocks(&self) -> Option<usize> {
        self.sink.wanted().map(|samples| samples / self.block())
    }

    /// When a paced sink that takes its sound evenly will lack another block.
    pub(super) fn wants_in(&self) -> Duration {
        let lacking = self.block() - self.sink.wanted().unwrap_or(0) % self.block();
        Duration::from_secs(1) * lacking as u32 / self.sink.rate().max(1)
    }

    fn block(&self) -> usize {
        (self.sink.rate() as usize / 100).max(1)
    }
}

/// The frame clock of a session fed by a device (seam 9): the device while it keeps time, else the timer.
///
/// Whatever a device claims to have, no more than one packet per packet time less 1 % is taken from it.
#[derive(Debug, Clone)]
pub(super) struct FrameClock {
    period: Duration,
    last: Instant,
    /// Time in which packets may be sent, at most one packet's.
    credit: Duration,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// `behind` is how far the device lags 1 % behind time, `fed` when it gave a frame last.
    Device { behind: i64, fed: Instant },
    /// The timer, with the frames in a row that the device had ready in time.
    Timer { due: Instant, good: u32 },
}

/// Whose frame is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    /// The device's.
    Device,
    /// The device has none: silence.
    Silence,
    /// Nobody's yet.
    Wait,
}

impl FrameClock {
    /// A clock whose first packet may be sent at `next`, when whatever paced the packets before would have sent one.
    pub(super) fn new(now: Instant, next: Instant, period: Duration) -> Self {
        let credit = period.saturating_sub(next.since(now));
        Self { period, last: now, credit, mode: Mode::Device { behind: 0, fed: now } }
    }

    /// How long it will say [`Tick::Wait`] at least, however much the device has.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        match self.mode {
            Mode::Device { .. } => self.period.saturating_sub(self.credit),
            Mode::Timer { due, .. } => due.since(now),
        }
    }

    /// Called again and again until it says [`Tick::Wait`]; `has_frame` says whether the device has a whole frame.
    pub(super) fn tick(&mut self, now: Instant, has_frame: bool) -> Tick {
        let passed = now.since(std::mem::replace(&mut self.last, now));
        // A quarter of a period may be saved up: the device is looked at on a grid, so its frame is seen late.
        self.credit = (self.credit + passed + passed / 100).min(self.period + self.period / 4);
        let period = self.period.as_nanos() as i64;
        match &mut self.mode {
            Mode::Device { behind, fed } => {
                let passed = passed.min(FOREVER).as_nanos() as i64;
                *behind = (*behind + passed - passed / 100).max(0);
                if has_frame && self.credit >= self.period {
                    self.credit = self.credit.saturating_sub(self.period);
                    *behind = (*behind - period).max(-period);
                    *fed = now;
                    return Tick::Device;
                }
                let vanished = !has_frame && now.since(*fed) >= self.period + VANISHED;
                let lags = *behind >= period + LAG;
                if !vanished && !lags {
                    return Tick::Wait;
                }
                self.mode = Mode::Timer { due: now, good: 0 };
                self.tick(now, has_frame)
            }
            Mode::Timer { due, good } => {
                if now < *due {
                    return Tick::Wait;
                }
                *due = if now.since(*due) > VANISHED { now } else { *due } + self.period;
                self.credit = Duration::ZERO;
                *good = if has_frame { *good + 1 } else { 0 };
                if *good >= GOOD {
                    self.mode = Mode::Device { behind: 0, fed: now };
                }
                if has_frame { Tick::Device } else { Tick::Silence }
            }
        }
    }
}

/// A device that gives nothing for so long after its frame was due is taken for gone.
const VANISHED: Duration = Duration::from_millis(60);
/// Time that a slow device may lose before the timer takes over, ns.
const LAG: i64 = 60_000_000;
/// Frames in time after which a device is trusted again.
const GOOD: u32 = 100;
const FOREVER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames sent in each second with a device that has a frame whenever `ready` says so.
    fn per_second(seconds: u64, mut ready: impl FnMut(u64) -> bool) -> (Vec<u32>, u32) {
        let start = Instant::ZERO + Duration::from_secs(1);
        let mut clock = FrameClock::new(start, start, Duration::from_millis(20));
        let (mut counts, mut silent) = (vec![0; seconds as usize], 0);
        for ms in (0..seconds * 1000).step_by(5) {
            let now = start + Duration::from_millis(ms);
            loop {
                match clock.tick(now, ready(ms)) {
                    Tick::Device => ready(u64::MAX),
                    Tick::Silence => {
                        silent += 1;
                        true
                    }
                    Tick::Wait => break,
                };
                counts[(ms / 1000) as usize] += 1;
            }
        }
        (counts, silent)
    }

    /// A device that has `rate` frames a second; `u64::MAX` takes one.
    fn device(rate: f64) -> impl FnMut(u64) -> bool {
        let mut taken = 0;
        move |ms| {
            if ms == u64::MAX {
                taken += 1;
                return true;
            }
            (ms as f64 / 1000.0 * rate) as u64 > taken
        }
    }

    #[test]
    fn an_unpaced_device_cannot_make_us_send_over_51_packets_a_second() {
        let (counts, silent) = per_second(10, |_| true);
        assert!(counts.iter().all(|count| (50..=51).contains(count)), "{counts:?}");
        assert_eq!(silent, 0);
    }

    #[test]
    fn a_device_within_one_percent_is_followed() {
        for rate in [49.6, 50.0, 50.4] {
            let (counts, silent) = per_second(20, device(rate));
            let mean = counts[1..].iter().sum::<u32>() as f64 / 19.0;
            assert!((mean - rate).abs() < 0.15, "{rate}: {mean}");
            assert_eq!(silent, 0, "{rate}");
        }
    }

    #[test]
    fn a_vanished_or_slow_device_is_replaced_by_the_timer_within_100_ms() {
        let (counts, silent) = per_second(5, |_| false);
        assert!(counts[0] >= 45 && counts[1..].iter().all(|&count| count == 50), "{counts:?}");
        assert_eq!(silent, counts.iter().sum::<u32>());
        let (counts, silent) = per_second(10, device(45.0));
        assert!(counts[3..].iter().all(|&count| count >= 49), "{counts:?}");
        assert!(silent > 20, "{silent}");
    }
}
