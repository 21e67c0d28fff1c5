use super::*;
use std::sync::atomic::AtomicBool;

fn nothing() -> Release {
    Box::new(|| ())
}

#[test]
fn a_microphone_gives_what_the_card_gave_as_one_channel() {
    let (mut callback, mut microphone, counters) = capture(48_000, 2, nothing());
    callback.handle(&[100_i16, 300, -100, -100, 7, 8]);
    assert_eq!(microphone.available(), Some(3));
    let mut out = [9; 5];
    assert_eq!(microphone.read(&mut out), 3);
    assert_eq!(out, [200, -100, 7, 9, 9]);
    assert_eq!((counters.calls(), counters.samples(), counters.lost(), counters.largest()), (1, 3, 0, 0));
}

#[test]
fn a_microphone_that_nobody_reads_keeps_200_ms_and_counts_the_rest() {
    let (mut callback, microphone, counters) = capture(8000, 1, nothing());
    (0..30).for_each(|_| callback.handle(&[1.0_f32; 80]));
    assert_eq!(microphone.available(), Some(1600));
    assert_eq!(counters.lost(), 800);
}

#[test]
fn a_loudspeaker_plays_on_two_channels_and_silence_on_the_others_and_for_what_is_missing() {
    let (mut callback, mut speaker, counters) = playback(48_000, 3, nothing());
    let mut out = [9_i16; 9];
    callback.handle(&mut out);
    assert_eq!((out, counters.lost()), ([0; 9], 0), "nothing is missing before sound has begun");
    speaker.write(&[5, -6]);
    callback.handle(&mut out);
    assert_eq!((out, counters.lost()), ([5, 5, 0, -6, -6, 0, 0, 0, 0], 1));
}

#[test]
fn a_loudspeaker_wants_one_call_of_the_card_and_some_and_no_more() {
    let (mut callback, mut speaker, _) = playback(48_000, 1, nothing());
    callback.handle(&mut [0_i16; 480]); // it fills its own buffer first
    callback.handle(&mut [0_i16; 240]);
    let target = 240 + 48 * (SPARE_MS + 10);
    assert_eq!(speaker.wanted(), Some(target));
    speaker.write(&[1; 480]);
    assert_eq!(speaker.wanted(), Some(target - 480));
    // A card that takes more at once than it was asked to gets a longer ring.
    callback.handle(&mut [0_i16; 1024]);
    assert_eq!(speaker.wanted(), Some(1024 + 48 * (SPARE_MS + 10)));
    speaker.write(&vec![1; 48_000]);
    assert_eq!(speaker.wanted(), Some(0));
}

#[test]
fn every_form_of_a_sample_keeps_sound_and_silence() {
    fn check<S: Sample + PartialEq + std::fmt::Debug>(exact: i16) {
        assert_eq!(S::from_i16(0), S::SILENCE);
        assert_eq!(S::SILENCE.to_i16(), 0);
        for sample in [i16::MIN, -12_800, -256, 256, 512, 25_600, i16::MAX] {
            let back = S::from_i16(sample).to_i16();
            assert!((i32::from(back) - i32::from(sample)).abs() < i32::from(exact), "{sample}: {back}");
        }
    }
    check::<i8>(256);
    check::<u8>(256);
    check::<i16>(1);
    check::<u16>(1);
    check::<i32>(1);
    check::<u32>(1);
    check::<f32>(1);
    check::<f64>(1);
    assert_eq!((2.0_f32.to_i16(), (-2.0_f32).to_i16(), f32::NAN.to_i16()), (i16::MAX, i16::MIN, 0));
}

#[test]
fn letting_go_of_an_end_is_told_once() {
    let told = Arc::new(AtomicBool::new(false));
    let flag = told.clone();
    let (_callback, microphone, _) = capture(8000, 1, Box::new(move || assert!(!flag.swap(true, Ordering::Relaxed))));
    assert!(!told.load(Ordering::Relaxed));
    drop(microphone);
    assert!(told.load(Ordering::Relaxed));
}
