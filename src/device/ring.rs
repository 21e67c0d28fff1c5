//! The rings between a sound card's callback and the loop.
//!
//! ```text
//!  card ─▶ Capture::handle ─ring, 200 ms─▶ Microphone ─▶ session
//!  session ─▶ Loudspeaker ─ring, kept short─▶ Playback::handle ─▶ card
//! ```
//!
//! [`Capture::handle`] and [`Playback::handle`] run on the sound system's thread: they copy, convert to or from one channel of
//! 16 bits and bump counters. They do not allocate, lock, call the system, log or wake anybody (a test counts allocations).

use crate::media::set::{SoundSink, SoundSource};
use rtrb::chunks::ChunkError;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A sample as sound cards have it.
pub trait Sample: Copy {
    /// Silence.
    const SILENCE: Self;
    /// The sample in 16 bits.
    fn to_i16(self) -> i16;
    /// The sample of 16 bits in this form.
    fn from_i16(sample: i16) -> Self;
}

/// What a stream has done; shared by its callback, its session's end and the thread that watches over it.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls of the callback.
    calls: AtomicU64,
    /// Samples (of one channel) that went through the callback.
    samples: AtomicU64,
    /// Samples that did not fit into the ring, or were not there when the card wanted them.
    lost: AtomicU64,
    /// The most samples (of one channel) in one call: never trust what was asked for.
    largest: AtomicUsize,
}

impl Counters {
    /// Calls of the callback so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Samples of one channel that went through the callback.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Samples that were dropped for want of room (capture) or made up as silence (playback, once sound has begun).
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The most samples of one channel that the card gave or wanted at once, but for the first time.
    pub fn largest(&self) -> usize {
        self.largest.load(Ordering::Relaxed)
    }

    fn count(&self, samples: usize) {
        self.samples.fetch_add(samples as u64, Ordering::Relaxed);
        // The first call fills all of the card's own buffer, which is more than it moves from then on.
        if self.calls.fetch_add(1, Ordering::Relaxed) > 0 {
            self.largest.fetch_max(samples, Ordering::Relaxed);
        }
    }
}

/// Called when the session lets go of its end.
pub type Release = Box<dyn FnOnce() + Send>;

/// The callback's end of a microphone.
#[derive(Debug)]
pub struct Capture {
    ring: Producer<i16>,
    channels: usize,
    counters: Arc<Counters>,
}

/// The session's end of a microphone.
pub struct Microphone {
    rate: u32,
    ring: Consumer<i16>,
    release: Option<Release>,
}

/// Makes both ends for a card that gives `channels` interleaved channels at `rate`.
pub fn capture(rate: u32, channels: usize, release: Release) -> (Capture, Microphone, Arc<Counters>) {
    let (producer, ring) = RingBuffer::new(rate as usize / 1000 * CAPTURE_MS);
    let counters = Arc::new(Counters::default());
    let callback = Capture { ring: producer, channels: channels.max(1), counters: counters.clone() };
    (callback, Microphone { rate, ring, release: Some(release) }, counters)
}

impl Capture {
    /// Takes interleaved sound of the card; what does not fit into the ring is dropped and counted.
    pub fn handle<S: Sample>(&mut self, data: &[S]) {
        let frames = data.len() / self.channels;
        self.counters.count(frames);
        let room = self.ring.slots().min(frames);
        let channels = self.channels as i32;
        let mixed = data.chunks_exact(self.channels).map(|frame| {
            let sum: i32 = frame.iter().map(|sample| i32::from(sample.to_i16())).sum();
            (sum / channels) as i16 // a mean of 16-bit numbers is one
        });
        let written = match self.ring.write_chunk_uninit(room) {
            Ok(chunk) => chunk.fill_from_iter(mixed),
            Err(ChunkError::TooFewSlots(_)) => 0, // the room only grows meanwhile
        };
        if written < frames {
            self.counters.lost.fetch_add((frames - written) as u64, Ordering::Relaxed);
        }
    }
}

impl SoundSource for Microphone {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        self.ring.pop_partial_slice(out).0.len()
    }

    fn available(&self) -> Option<usize> {
        Some(self.ring.slots())
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl std::fmt::Debug for Microphone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Microphone({} Hz)", self.rate)
    }
}

/// The callback's end of a loudspeaker.
#[derive(Debug)]
pub struct Playback {
    ring: Consumer<i16>,
    channels: usize,
    begun: bool,
    counters: Arc<Counters>,
}

/// The session's end of a loudspeaker.
pub struct Loudspeaker {
    rate: u32,
    ring: Producer<i16>,
    capacity: usize,
    counters: Arc<Counters>,
    release: Option<Release>,
}

/// Makes both ends for a card that takes `channels` interleaved channels at `rate`.
pub fn playback(rate: u32, channels: usize, release: Release) -> (Playback, Loudspeaker, Arc<Counters>) {
    let capacity = rate as usize / 1000 * PLAYBACK_MS;
    let (producer, ring) = RingBuffer::new(capacity);
    let counters = Arc::new(Counters::default());
    let callback = Playback { ring, channels: channels.max(1), begun: false, counters: counters.clone() };
    let speaker = Loudspeaker { rate, ring: producer, capacity, counters: counters.clone(), release: Some(release) };
    (callback, speaker, counters)
}

impl Playback {
    /// Fills what the card wants: the sound on the first two channels, silence on the others and where there is no sound.
    pub fn handle<S: Sample>(&mut self, out: &mut [S]) {
        let frames = out.len() / self.channels;
        self.counters.count(frames);
        let there = self.ring.slots().min(frames);
        let mut places = out.chunks_exact_mut(self.channels);
        if let Ok(chunk) = self.ring.read_chunk(there) {
            let (first, second) = chunk.as_slices();
            for (sample, frame) in first.iter().chain(second).zip(&mut places) {
                let (sound, rest) = frame.split_at_mut(frame.len().min(2));
                sound.fill(S::from_i16(*sample));
                rest.fill(S::SILENCE);
            }
            chunk.commit_all();
            self.begun |= there > 0;
        }
        for frame in places {
            frame.fill(S::SILENCE);
        }
        if self.begun && there < frames {
            self.counters.lost.fetch_add((frames - there) as u64, Ordering::Relaxed);
        }
    }
}

impl SoundSink for Loudspeaker {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn write(&mut self, pcm: &[i16]) {
        // What does not fit is sound that the card did not want in time.
        let _ = self.ring.push_partial_slice(pcm);
    }

    /// The ring is to hold what the card wants at once and what it may want until it is looked at again; sound comes in blocks
    /// of 10 ms.
    fn wanted(&self) -> Option<usize> {
        let block = self.rate as usize / 100;
        let spare = self.rate as usize / 1000 * SPARE_MS;
        let target = (self.counters.largest() + spare + block).min(self.capacity);
        Some(target.saturating_sub(self.capacity - self.ring.slots()))
    }
}

impl Drop for Loudspeaker {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl std::fmt::Debug for Loudspeaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Loudspeaker({} Hz)", self.rate)
    }
}

/// `$scale` shifts the sample to 16 bits.
macro_rules! integers {
    ($($type:ty: $middle:expr, $shift:expr;)*) => { $(
        impl Sample for $type {
            const SILENCE: Self = $middle;
            fn to_i16(self) -> i16 {
                const WIDE: u32 = <$type>::BITS;
                let centred = (self as i64) - ($middle as i64);
                (if WIDE < 16 { centred << $shift } else { centred >> $shift }) as i16
            }
            fn from_i16(sample: i16) -> Self {
                const WIDE: u32 = <$type>::BITS;
                let sample = i64::from(sample);
                ((if WIDE < 16 { sample >> $shift } else { sample << $shift }) + ($middle as i64)) as $type
            }
        }
    )* };
}

integers! {
    i8: 0, 8;
    u8: 0x80, 8;
    i16: 0, 0;
    u16: 0x8000, 0;
    i32: 0, 16;
    u32: 0x8000_0000_u32, 16;
}

macro_rules! floats {
    ($($type:ty)*) => { $(
        impl Sample for $type {
            const SILENCE: Self = 0.0;
            fn to_i16(self) -> i16 {
                (self * 32_768.0).round() as i16 // `as` saturates, and makes 0 of NaN
            }
            fn from_i16(sample: i16) -> Self {
                Self::from(sample) / 32_768.0
            }
        }
    )* };
}

floats! { f32 f64 }

/// How much a microphone's ring holds; the session throws old sound away long before.
const CAPTURE_MS: usize = 200;
/// How much a loudspeaker's ring can hold; how much it does hold is the target above.
const PLAYBACK_MS: usize = 200;
/// What the ring of a loudspeaker holds beyond one call of the card: the steps in which the loop looks at it, and being late.
const SPARE_MS: usize = 5;

#[cfg(test)]
mod tests;
