//! Tests of the measurements themselves: what is good passes, and each fault that they are there for is seen.

mod sound;

use sound::{Band, Sound, align, measure_tone, speech};
use std::path::Path;

const SPEECH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/speech.wav");

fn reference() -> Sound {
    Sound::read(Path::new(SPEECH), 0).expect("the speech asset is a WAV file")
}

/// G.711 μ-law and back (ITU-T G.711 with 14-bit input), one companding step.
fn companded(sound: &Sound) -> Sound {
    let samples = sound
        .samples
        .iter()
        .map(|s| {
            let x = (s * 8159.0).abs().min(8158.0) + 33.0;
            let step = 2f64.powf(x.log2().floor() - 4.0);
            let level = (x / step).floor() * step + step / 2.0;
            (level - 33.0) / 8159.0 * s.signum()
        })
        .collect();
    Sound { rate: sound.rate, samples }
}

/// White noise from a fixed seed, ±`level`.
fn noise(level: f64, length: usize) -> Vec<f64> {
    let mut state = 0x2545_f491_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) * level
        })
        .collect()
}

fn with_noise(sound: &Sound, level: f64) -> Sound {
    let samples = sound.samples.iter().zip(noise(level, sound.samples.len())).map(|(a, b)| a + b).collect();
    Sound { rate: sound.rate, samples }
}

#[test]
fn a_clean_tone_has_its_frequency_no_gap_and_little_noise() {
    for (hz, rate) in [(440.0, 8000), (1000.0, 16_000), (1004.3, 48_000)] {
        let tone = measure_tone(&Sound::tone(hz, 3.0, rate).padded(0.5, 0.5)).expect("a tone");
        assert!((tone.hz - hz).abs() < 0.1, "{tone:?}");
        assert!(tone.snr_db > 60.0, "{tone:?}");
        assert!(tone.gaps == 0.0 && (tone.seconds - 2.8).abs() < 0.02, "{tone:?}");
    }
}

#[test]
fn a_companded_tone_keeps_more_than_35_db() {
    let tone = measure_tone(&companded(&Sound::tone(1000.0, 3.0, 8000))).expect("a tone");
    assert!(tone.snr_db > 35.0 && tone.snr_db < 45.0, "{tone:?}");
}

#[test]
fn a_tone_in_noise_is_measured_as_noisy() {
    // Sine 0.05 (power), noise 0.1²/3: 11.8 dB.
    let tone = measure_tone(&with_noise(&Sound::tone(1000.0, 3.0, 8000), 0.1)).expect("a tone");
    assert!((tone.snr_db - 11.8).abs() < 0.5, "{tone:?}");
}

#[test]
fn a_lost_packet_every_second_is_two_percent_of_gaps_and_bad_snr() {
    let mut sound = Sound::tone(1000.0, 5.0, 8000);
    for (n, s) in sound.samples.iter_mut().enumerate() {
        if n % 8000 >= 4000 && n % 8000 < 4160 {
            *s = 0.0;
        }
    }
    let tone = measure_tone(&sound).expect("a tone");
    assert!((tone.gaps - 0.02).abs() < 0.004, "{tone:?}");
}

#[test]
fn a_phase_jump_in_each_packet_fails_the_snr() {
    let mut sound = Sound::tone(1000.0, 3.0, 8000);
    for (n, s) in sound.samples.iter_mut().enumerate() {
        let phase = (n / 160) as f64 * 1.1;
        *s = 0.316 * (std::f64::consts::TAU * 1000.0 * n as f64 / 8000.0 + phase).sin();
    }
    let tone = measure_tone(&sound).expect("a tone");
    assert!(tone.snr_db < 25.0, "{tone:?}");
}

#[test]
fn noise_and_silence_are_no_tone() {
    let rustle = Sound { rate: 8000, samples: noise(0.3, 24_000) };
    assert!(measure_tone(&rustle).expect("loud").snr_db < 0.0);
    let silence = Sound { rate: 8000, samples: vec![0.0; 24_000] };
    assert_eq!(measure_tone(&silence).map(|t| t.hz), Err("silence".to_owned()));
}

#[test]
fn a_written_sound_reads_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tone.wav");
    Sound::tone(440.0, 1.0, 8000).write(&file).expect("written");
    let back = Sound::read(&file, 0).expect("read");
    assert!(back.rate == 8000 && back.samples.len() == 8000 && (back.level_db() + 13.0).abs() < 0.1);
    assert!(Sound::read(&file, 1).is_err(), "it has one channel");
}

#[test]
fn speech_is_found_where_it_begins() {
    let heard = reference().padded(1.37, 0.5).resampled(8000);
    let at = align(&reference(), &heard).expect("found");
    assert!((at.lag - 1.37).abs() < 0.001, "{at:?}");
    assert!(at.correlation > 0.95, "{at:?}");
}

#[test]
fn speech_that_lost_its_first_half_second_is_found_before_the_start() {
    let heard = reference().cut(0.5, 10.0);
    let at = align(&reference(), &heard).expect("found");
    assert!((at.lag + 0.5).abs() < 0.001, "{at:?}");
}

#[test]
fn speech_with_a_packet_slipped_in_the_middle_is_still_found() {
    let clean = reference();
    let heard =
        Sound { rate: 16_000, samples: [&clean.samples[..90_000], &[0.0; 320], &clean.samples[90_000..]].concat() };
    let at = align(&clean, &heard).expect("found");
    assert!(at.correlation > 0.95 && (at.lag.abs() < 0.001 || (at.lag - 0.02).abs() < 0.001), "{at:?}");
}

#[test]
fn half_the_amplitude_is_six_decibels() {
    let half = reference().scaled(-6.0);
    assert!((half.level_db() - reference().level_db() + 6.0).abs() < 0.01);
}

#[test]
fn resampling_down_and_up_keeps_a_tone_and_removes_what_does_not_fit() {
    let there = measure_tone(&Sound::tone(3000.0, 2.0, 48_000).resampled(8000).resampled(48_000)).expect("a tone");
    assert!((there.hz - 3000.0).abs() < 0.1 && there.snr_db > 50.0, "{there:?}");
    assert!(Sound::tone(5000.0, 2.0, 16_000).resampled(8000).level_db() < -60.0);
}

#[test]
fn companded_speech_scores_over_four_and_scrambled_noisy_or_silent_speech_does_not_pass() {
    let clean = reference();
    let (best, _) = speech(&clean, &clean.padded(0.3, 0.3), Band::Narrow).expect("scored");
    assert!(best > 4.4, "{best}");
    let (g711, _) = speech(&clean, &companded(&clean.resampled(8000)), Band::Narrow).expect("scored");
    assert!(g711 > 3.9 && g711 < best, "{g711}");
    let (noisy, _) = speech(&clean, &with_noise(&clean, 0.05), Band::Narrow).expect("scored");
    assert!(noisy < 3.0, "{noisy}");
    let (wide, _) = speech(&clean, &clean, Band::Wide).expect("scored");
    let (rough, _) = speech(&clean, &with_noise(&clean, 0.02), Band::Wide).expect("scored");
    assert!(wide > 4.5 && rough < 3.8, "{wide} {rough}");

    let mut scrambled = clean.clone();
    scrambled.samples = clean.samples.chunks(1600).rev().flatten().copied().collect();
    assert!(speech(&clean, &scrambled, Band::Narrow).is_err());
    let silent = Sound { rate: 8000, samples: vec![0.0; 88_000] };
    assert!(speech(&clean, &silent, Band::Narrow).is_err());
}

#[test]
fn every_tenth_packet_lost_fails_the_speech() {
    let clean = reference();
    let mut lossy = companded(&clean.resampled(8000));
    for (n, s) in lossy.samples.iter_mut().enumerate() {
        if (n / 160) % 10 == 7 {
            *s = 0.0;
        }
    }
    let (mos, _) = speech(&clean, &lossy, Band::Narrow).expect("scored");
    assert!(mos < 3.5, "{mos}");
}
