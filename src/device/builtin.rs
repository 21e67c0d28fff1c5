//! Sounds that come with the program (`src/assets`, and a tune made here).

use super::wav::Sound;
use crate::media::command::Builtin;
use std::sync::{Arc, Mutex, Weak};

static SPEECH: &[u8] = include_bytes!("../assets/speech.wav");
static ANNOUNCEMENT: &[u8] = include_bytes!("../assets/announcement.wav");

/// One copy serves all calls, and is given up with the last of them.
static KEPT: [Mutex<Weak<Sound>>; 3] = [const { Mutex::new(Weak::new()) }; 3];

/// The sound `which`, in memory.
pub fn sound(which: Builtin) -> Arc<Sound> {
    let place = match which {
        Builtin::Speech => 0,
        Builtin::Announcement => 1,
        Builtin::Music => 2,
    };
    let make = || {
        let parse = |bytes| Sound::parse(bytes).expect("our own files are sound, a test says so");
        Arc::new(match which {
            Builtin::Speech => parse(SPEECH),
            Builtin::Announcement => parse(ANNOUNCEMENT),
            Builtin::Music => music(),
        })
    };
    let Ok(mut kept) = KEPT[place].lock() else { return make() };
    kept.upgrade().unwrap_or_else(|| {
        let sound = make();
        *kept = Arc::downgrade(&sound);
        sound
    })
}

/// The first eight bars of Beethoven's "Ode to Joy" (1824, free of any right), to be repeated.
fn music() -> Sound {
    const RATE: u32 = 16_000;
    const BEAT: f64 = 0.42; // seconds
    // Semitones above A4, and beats.
    const E: i32 = 7;
    const F: i32 = 8;
    const G: i32 = 10;
    const D: i32 = 5;
    const C: i32 = 3;
    #[rustfmt::skip]
    const BARS: [(i32, f64); 30] = [
        (E, 1.0), (E, 1.0), (F, 1.0), (G, 1.0), (G, 1.0), (F, 1.0), (E, 1.0), (D, 1.0), (C, 1.0), (C, 1.0), (D, 1.0),
        (E, 1.0), (E, 1.5), (D, 0.5), (D, 2.0), (E, 1.0), (E, 1.0), (F, 1.0), (G, 1.0), (G, 1.0), (F, 1.0), (E, 1.0),
        (D, 1.0), (C, 1.0), (C, 1.0), (D, 1.0), (E, 1.0), (D, 1.5), (C, 0.5), (C, 2.0),
    ];
    let mut samples = Vec::new();
    for (note, beats) in BARS {
        let hz = 440.0 * 2_f64.powf(f64::from(note) / 12.0);
        let length = (beats * BEAT * f64::from(RATE)) as u32;
        samples.extend((0..length).map(|n| {
            let time = f64::from(n) / f64::from(RATE);
            let left = f64::from(length - n) / f64::from(RATE);
            // Struck and fading, without a click at either end.
            let envelope = (time / 0.01).min(1.0) * (left / 0.03).min(1.0) * (-2.0 * time).exp();
            let wave = |harmonic: f64| (std::f64::consts::TAU * hz * harmonic * time).sin();
            (9_000.0 * envelope * (wave(1.0) + 0.3 * wave(2.0) + 0.1 * wave(3.0))) as i16
        }));
    }
    Sound { rate: RATE, samples }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tones::{amplitude_at, level_db};

    #[test]
    fn the_built_in_sounds_are_there_and_loud_enough() {
        for (which, seconds) in [(Builtin::Speech, 10..12), (Builtin::Announcement, 3..5), (Builtin::Music, 10..16)] {
            let sound = sound(which);
            assert!(seconds.contains(&(sound.samples.len() / sound.rate as usize)), "{which:?}");
            let level = level_db(&sound.samples);
            assert!((-26.0..-10.0).contains(&level), "{which:?} has {level} dBFS");
        }
    }

    #[test]
    fn calls_share_a_sound_and_the_last_one_frees_it() {
        let (first, second) = (sound(Builtin::Announcement), sound(Builtin::Announcement));
        assert!(Arc::ptr_eq(&first, &second));
        let watch = Arc::downgrade(&first);
        drop((first, second));
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn the_tune_begins_on_an_e() {
        let sound = sound(Builtin::Music);
        let note = &sound.samples[..4_800];
        assert!(amplitude_at(659.26, sound.rate, note) > 5.0 * amplitude_at(698.46, sound.rate, note));
    }
}
