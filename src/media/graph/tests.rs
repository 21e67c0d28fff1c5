use super::*;
use std::sync::{Arc, Mutex};

/// A card at 8 kHz: what it has heard and not given, what it was given to play, and what it lacks.
#[derive(Clone, Default)]
struct Card(Arc<Mutex<Sides>>);

#[derive(Default)]
struct Sides {
    heard: VecDeque<i16>,
    played: Vec<i16>,
    lacks: usize,
}

impl SoundSource for Card {
    fn rate(&self) -> u32 {
        8000
    }
    fn read(&mut self, out: &mut [i16]) -> usize {
        let mut sides = self.0.lock().unwrap();
        let given = sides.heard.len().min(out.len());
        for (place, sample) in out.iter_mut().zip(sides.heard.drain(..given)) {
            *place = sample;
        }
        given
    }
    fn available(&self) -> Option<usize> {
        Some(self.0.lock().unwrap().heard.len())
    }
}

impl SoundSink for Card {
    fn rate(&self) -> u32 {
        8000
    }
    fn write(&mut self, pcm: &[i16]) {
        let mut sides = self.0.lock().unwrap();
        sides.lacks = sides.lacks.saturating_sub(pcm.len());
        sides.played.extend(pcm);
    }
    fn wanted(&self) -> Option<usize> {
        Some(self.0.lock().unwrap().lacks)
    }
}

impl Card {
    fn hear(&self, samples: std::ops::Range<i16>) {
        self.0.lock().unwrap().heard.extend(samples);
    }
    fn lack(&self, samples: usize) {
        self.0.lock().unwrap().lacks += samples;
    }
    fn played(&self) -> Vec<i16> {
        std::mem::take(&mut self.0.lock().unwrap().played)
    }
}

fn read(splitter: &mut Splitter, seat: Seat, most: usize) -> Vec<i16> {
    let mut out = vec![0; most];
    let given = splitter.read(seat, &mut out);
    out.truncate(given);
    out
}

#[test]
fn every_session_hears_all_that_is_said_while_it_is_there() {
    let card = Card::default();
    let mut splitter = Splitter::new(Box::new(card.clone()));
    let first = splitter.join();
    card.hear(0..100);
    assert_eq!(splitter.available(first), 100);
    assert_eq!(read(&mut splitter, first, 60), (0..60).collect::<Vec<_>>());
    let second = splitter.join();
    card.hear(100..300);
    assert_eq!(splitter.available(second), 240, "what nobody has fetched yet is for both");
    assert_eq!(read(&mut splitter, second, 1000), (60..300).collect::<Vec<_>>());
    assert_eq!(read(&mut splitter, first, 1000), (60..300).collect::<Vec<_>>());
    // One of them fetches nothing for long: it loses the oldest, the other one nothing.
    for start in (0..4000).step_by(100) {
        card.hear(start..start + 100);
        assert_eq!(read(&mut splitter, first, 1000), (start..start + 100).collect::<Vec<_>>());
    }
    assert_eq!(read(&mut splitter, second, 5000), (2400..4000).collect::<Vec<_>>());
    card.hear(0..10);
    splitter.available(first);
    splitter.leave(second);
    card.hear(10..20);
    assert_eq!(splitter.available(first), 20);
    assert_eq!(read(&mut splitter, first, 1000), (0..20).collect::<Vec<_>>(), "alone again, nothing is lost");
}

#[test]
fn one_session_is_played_as_it_is() {
    let card = Card::default();
    let mut mixer = Mixer::new(Box::new(card.clone()));
    let only = mixer.join();
    card.lack(200);
    assert_eq!(mixer.wanted(only), Some(200));
    mixer.write(only, &[7; 80]);
    assert_eq!(card.played(), [7; 80]);
    assert_eq!(mixer.wanted(only), Some(120));
}

#[test]
fn several_sessions_are_added_up_and_what_is_too_loud_is_cut() {
    let card = Card::default();
    let mut mixer = Mixer::new(Box::new(card.clone()));
    let (a, b) = (mixer.join(), mixer.join());
    card.lack(400);
    mixer.write(a, &[1; 80]);
    assert_eq!(card.played(), [1; 80], "b has not spoken yet");
    mixer.write(b, &[20_000; 80]);
    assert!(card.played().is_empty(), "a is waited for");
    assert_eq!((mixer.wanted(a), mixer.wanted(b)), (Some(320), Some(240)));
    mixer.write(a, &[20_000; 40]);
    assert_eq!(card.played(), [i16::MAX; 40]);
    mixer.write(a, &[-3; 40]);
    assert_eq!(card.played(), [19_997; 40]);
}

#[test]
fn a_session_that_falls_silent_or_leaves_holds_nobody_up() {
    let card = Card::default();
    let mut mixer = Mixer::new(Box::new(card.clone()));
    let (a, b) = (mixer.join(), mixer.join());
    mixer.write(a, &[1; 80]);
    mixer.write(b, &[2; 80]);
    mixer.write(a, &[1; 80]);
    assert_eq!(card.played().len(), 160);
    // b is held: a is a block ahead, then it goes on alone.
    mixer.write(a, &[5; 80]);
    mixer.write(a, &[5; 80]);
    let played = card.played();
    assert!(played.len() >= 80 && played.ends_with(&[5; 80]), "{} samples", played.len());
    mixer.write(a, &[6; 80]);
    assert_eq!(card.played().len() + played.len(), 240, "nothing was lost");
    // b is back, and leaves while a waits for it.
    mixer.write(b, &[3; 10]);
    card.played();
    mixer.write(a, &[4; 80]);
    let before = card.played().len();
    mixer.leave(b);
    assert_eq!(before + card.played().len(), 80);
    assert_eq!(mixer.join(), b, "its seat is free");
}

#[test]
fn what_nobody_plays_is_bounded() {
    let card = Card::default();
    let mut mixer = Mixer::new(Box::new(card));
    let (a, b) = (mixer.join(), mixer.join());
    mixer.write(b, &[1; 1]);
    mixer.write(a, &[1; 80]);
    for _ in 0..100 {
        mixer.write(a, &[1; 800]);
        mixer.write(b, &[1; 1]);
        assert!(mixer.seats.all().all(|voice| voice.queue.len() <= 1600));
    }
}
