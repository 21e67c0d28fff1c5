//! Plays a sound that is in memory.

use super::wav::Sound;
use crate::media::set::SoundSource;
use std::sync::Arc;

/// A [`SoundSource`] over a shared sound; many calls may play the same one.
#[derive(Debug)]
pub struct Clip {
    sound: Arc<Sound>,
    next: usize,
    repeat: bool,
}

impl Clip {
    /// Plays `sound` once, or again and again.
    pub fn new(sound: Arc<Sound>, repeat: bool) -> Self {
        Self { sound, next: 0, repeat }
    }
}

impl SoundSource for Clip {
    fn rate(&self) -> u32 {
        self.sound.rate
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        let samples = &self.sound.samples;
        let mut given = 0;
        while given < out.len() && !samples.is_empty() {
            if self.next >= samples.len() {
                if !self.repeat {
                    break;
                }
                self.next = 0;
            }
            let (rest, room) = (&samples[self.next..], &mut out[given..]);
            let count = rest.len().min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            self.next += count;
            given += count;
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(samples: &[i16], repeat: bool) -> Clip {
        Clip::new(Arc::new(Sound { rate: 8000, samples: samples.to_vec() }), repeat)
    }

    #[test]
    fn a_clip_ends_after_its_last_sample() {
        let mut clip = clip(&[1, 2, 3], false);
        let mut out = [9; 2];
        assert_eq!((clip.read(&mut out), out), (2, [1, 2]));
        assert_eq!((clip.read(&mut out), out[0]), (1, 3));
        assert_eq!(clip.read(&mut out), 0);
    }

    #[test]
    fn a_repeating_clip_never_ends_unless_it_is_empty() {
        let mut out = [0; 7];
        assert_eq!((clip(&[1, 2, 3], true).read(&mut out), out), (7, [1, 2, 3, 1, 2, 3, 1]));
        assert_eq!(clip(&[], true).read(&mut out), 0);
    }
}
