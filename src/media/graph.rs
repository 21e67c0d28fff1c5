//! One sound card, many sessions: what the microphone hears goes to each, and the loudspeaker plays their sum. No IO, no clock.
//!
//! ```text
//!  microphone ─▶ Splitter ─┬─▶ session        session ─┐
//!                          └─▶ session        session ─┴─▶ Mixer ─▶ loudspeaker
//! ```
//!
//! With one session both hand the sound straight on. They work at the card's rate; sessions convert to their codec's.

use super::set::{SoundSink, SoundSource};
use std::collections::VecDeque;

/// Names a session at a [`Splitter`] or [`Mixer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat(usize);

/// Seats that are taken and left; a place is used again.
#[derive(Debug)]
struct Seats<T>(Vec<Option<T>>);

impl<T> Seats<T> {
    fn take(&mut self, value: T) -> Seat {
        let place = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        match self.0.get_mut(place) {
            Some(free) => *free = Some(value),
            None => self.0.push(Some(value)),
        }
        Seat(place)
    }

    fn leave(&mut self, seat: Seat) {
        if let Some(place) = self.0.get_mut(seat.0) {
            *place = None;
        }
    }

    fn get_mut(&mut self, seat: Seat) -> Option<&mut T> {
        self.0.get_mut(seat.0)?.as_mut()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// Gives each of its seats all that a microphone hears.
pub struct Splitter {
    microphone: Box<dyn SoundSource>,
    seats: Seats<VecDeque<i16>>,
    block: Vec<i16>,
}

impl Splitter {
    /// Takes over a microphone.
    pub fn new(microphone: Box<dyn SoundSource>) -> Self {
        let block = vec![0; (microphone.rate() / 100).max(1) as usize];
        Self { microphone, seats: Seats(Vec::new()), block }
    }

    /// Samples per second; constant.
    pub fn rate(&self) -> u32 {
        self.microphone.rate()
    }

    /// A seat for another session, which hears what is said from now on.
    pub fn join(&mut self) -> Seat {
        let most = self.most();
        self.seats.take(VecDeque::with_capacity(most))
    }

    /// The session has gone.
    pub fn leave(&mut self, seat: Seat) {
        self.seats.leave(seat);
    }

    /// Samples that wait for this seat.
    pub fn available(&mut self, seat: Seat) -> usize {
        if self.seats.count() > 1 {
            self.split();
        }
        let waiting = self.seats.get_mut(seat).map_or(0, |queue| queue.len());
        if self.seats.count() > 1 { waiting } else { waiting + self.microphone.available().unwrap_or(0) }
    }

    /// Fills `out` from the start and returns the samples given; fewer than asked for are a gap.
    pub fn read(&mut self, seat: Seat, out: &mut [i16]) -> usize {
        let alone = self.seats.count() == 1;
        if !alone {
            self.split();
        }
        let Some(queue) = self.seats.get_mut(seat) else { return 0 };
        let given = queue.len().min(out.len());
        for (place, sample) in out.iter_mut().zip(queue.drain(..given)) {
            *place = sample;
        }
        if alone { given + self.microphone.read(&mut out[given..]) } else { given }
    }

    /// Shares out what the microphone has now; a session that does not read loses the oldest.
    fn split(&mut self) {
        let most = self.most();
        // Counted once: what an unpaced device has waiting never gets less.
        let mut left = self.microphone.available().unwrap_or(0).min(most);
        while left > 0 {
            let wanted = left.min(self.block.len());
            let read = self.microphone.read(&mut self.block[..wanted]);
            if read == 0 {
                return;
            }
            left -= read;
            for queue in self.seats.all() {
                let excess = (queue.len() + read).saturating_sub(most);
                queue.drain(..excess.min(queue.len()));
                queue.extend(&self.block[..read]);
            }
        }
    }

    fn most(&self) -> usize {
        self.microphone.rate() as usize / 1000 * MOST_MS
    }
}

/// Plays the sum of what its seats are given.
pub struct Mixer {
    loudspeaker: Box<dyn SoundSink>,
    seats: Seats<Voice>,
    sum: Vec<i16>,
}

/// What a session has given and the others have not matched yet.
#[derive(Debug)]
struct Voice {
    queue: VecDeque<i16>,
    /// False from the start, and once it is far behind the others, until it gives sound again: nobody waits for it then.
    speaks: bool,
}

impl Mixer {
    /// Takes over a loudspeaker.
    pub fn new(loudspeaker: Box<dyn SoundSink>) -> Self {
        let sum = vec![0; (loudspeaker.rate() / 100).max(1) as usize];
        Self { loudspeaker, seats: Seats(Vec::new()), sum }
    }

    /// Samples per second; constant.
    pub fn rate(&self) -> u32 {
        self.loudspeaker.rate()
    }

    /// A seat for another session.
    pub fn join(&mut self) -> Seat {
        let queue = VecDeque::with_capacity(self.rate() as usize / 1000 * MOST_MS);
        self.seats.take(Voice { queue, speaks: false })
    }

    /// The session has gone; nobody waits for its sound.
    pub fn leave(&mut self, seat: Seat) {
        self.seats.leave(seat);
        self.mix();
    }

    /// Samples that the loudspeaker lacks and this seat has not given yet; `None` if it takes any amount.
    pub fn wanted(&self, seat: Seat) -> Option<usize> {
        let given = self.seats.0.get(seat.0).and_then(Option::as_ref).map_or(0, |voice| voice.queue.len());
        Some(self.loudspeaker.wanted()?.saturating_sub(given))
    }

    /// Takes all of `pcm`.
    pub fn write(&mut self, seat: Seat, pcm: &[i16]) {
        let most = self.rate() as usize / 1000 * MOST_MS;
        let Some(voice) = self.seats.get_mut(seat) else { return };
        voice.speaks = true;
        let room = most.saturating_sub(voice.queue.len()).min(pcm.len());
        voice.queue.extend(&pcm[..room]);
        self.mix();
    }

    /// Plays as far as all who speak have given sound.
    fn mix(&mut self) {
        let ahead = self.seats.all().map(|voice| voice.queue.len()).max().unwrap_or(0);
        let patience = self.sum.len() * PATIENCE_BLOCKS;
        for voice in self.seats.all().filter(|voice| voice.queue.is_empty() && ahead > patience) {
            voice.speaks = false;
        }
        loop {
            let speaking = self.seats.all().filter(|voice| voice.speaks);
            let ready = speaking.map(|voice| voice.queue.len()).min().unwrap_or(0).min(self.sum.len());
            if ready == 0 {
                return;
            }
            let sum = &mut self.sum[..ready];
            sum.fill(0);
            for voice in self.seats.all().filter(|voice| voice.speaks) {
                for (total, sample) in sum.iter_mut().zip(voice.queue.drain(..ready)) {
                    *total = total.saturating_add(sample);
                }
            }
            self.loudspeaker.write(sum);
        }
    }
}

impl std::fmt::Debug for Splitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Splitter({} Hz, {} sessions)", self.rate(), self.seats.count())
    }
}

impl std::fmt::Debug for Mixer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mixer({} Hz, {} sessions)", self.rate(), self.seats.count())
    }
}

/// The most sound that is kept for a session, or of one.
const MOST_MS: usize = 200;
/// A session that is so many blocks of 10 ms behind the others is not waited for.
const PATIENCE_BLOCKS: usize = 1;

#[cfg(test)]
mod tests;
