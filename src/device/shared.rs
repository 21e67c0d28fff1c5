//! Sound cards that several sessions use at once: who shares which, and the end of it that each session holds.
//!
//! A card is opened for the first session that names it and closed when the last lets go. The lock is only ever taken by
//! the loop that all sessions run on; the callbacks of a card know nothing of it.

use crate::media::graph::{Mixer, Seat, Splitter};
use crate::media::set::{SoundSink, SoundSource};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A session's end of a microphone.
pub struct SharedMicrophone {
    splitter: Arc<Mutex<Splitter>>,
    seat: Seat,
    rate: u32,
}

/// A session's end of a loudspeaker.
pub struct SharedLoudspeaker {
    mixer: Arc<Mutex<Mixer>>,
    seat: Seat,
    rate: u32,
}

/// A card that is open, as long as a session holds an end of it.
#[derive(Debug)]
pub enum Card {
    /// A microphone.
    Microphone(Weak<Mutex<Splitter>>),
    /// A loudspeaker.
    Loudspeaker(Weak<Mutex<Mixer>>),
}

/// An end for one session.
pub enum End {
    /// Of a microphone.
    Source(SharedMicrophone),
    /// Of a loudspeaker.
    Sink(SharedLoudspeaker),
}

/// A panic of one session in here leaves nothing half done that matters.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedMicrophone {
    /// The first end of a microphone.
    pub fn new(microphone: Box<dyn SoundSource>) -> Self {
        Self::join(Arc::new(Mutex::new(Splitter::new(microphone))))
    }

    /// What others can join by.
    pub fn card(&self) -> Card {
        Card::Microphone(Arc::downgrade(&self.splitter))
    }

    fn join(splitter: Arc<Mutex<Splitter>>) -> Self {
        let (seat, rate) = {
            let mut locked = lock(&splitter);
            (locked.join(), locked.rate())
        };
        Self { splitter, seat, rate }
    }
}

impl SharedLoudspeaker {
    /// The first end of a loudspeaker.
    pub fn new(loudspeaker: Box<dyn SoundSink>) -> Self {
        Self::join(Arc::new(Mutex::new(Mixer::new(loudspeaker))))
    }

    /// What others can join by.
    pub fn card(&self) -> Card {
        Card::Loudspeaker(Arc::downgrade(&self.mixer))
    }

    fn join(mixer: Arc<Mutex<Mixer>>) -> Self {
        let (seat, rate) = {
            let mut locked = lock(&mixer);
            (locked.join(), locked.rate())
        };
        Self { mixer, seat, rate }
    }
}

impl Card {
    /// Another end; `None` once the last one was let go of.
    pub fn join(&self) -> Option<End> {
        match self {
            Self::Microphone(splitter) => splitter.upgrade().map(|shared| End::Source(SharedMicrophone::join(shared))),
            Self::Loudspeaker(mixer) => mixer.upgrade().map(|shared| End::Sink(SharedLoudspeaker::join(shared))),
        }
    }
}

impl SoundSource for SharedMicrophone {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        lock(&self.splitter).read(self.seat, out)
    }

    fn available(&self) -> Option<usize> {
        Some(lock(&self.splitter).available(self.seat))
    }
}

impl SoundSink for SharedLoudspeaker {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn write(&mut self, pcm: &[i16]) {
        lock(&self.mixer).write(self.seat, pcm);
    }

    fn wanted(&self) -> Option<usize> {
        lock(&self.mixer).wanted(self.seat)
    }
}

impl Drop for SharedMicrophone {
    fn drop(&mut self) {
        lock(&self.splitter).leave(self.seat);
    }
}

impl Drop for SharedLoudspeaker {
    fn drop(&mut self) {
        lock(&self.mixer).leave(self.seat);
    }
}
