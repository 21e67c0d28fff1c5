//! Devices whose crystals are a little fast or slow, and what becomes of the delay.

use super::*;
use crate::media::codec::CODECS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A card's own idea of time.
#[derive(Clone)]
struct Crystal {
    now: Arc<AtomicU64>,
    /// Samples per second, as it says.
    nominal: u32,
    /// Samples per second of true time.
    rate: f64,
}

impl Crystal {
    fn new(now: &Arc<AtomicU64>, nominal: u32, ppm: f64) -> Self {
        Self { now: now.clone(), nominal, rate: f64::from(nominal) * (1.0 + ppm / 1e6) }
    }

    /// What it moves at once: 5 ms.
    fn period(&self) -> u64 {
        u64::from(self.nominal / 200)
    }

    /// Samples that the card has moved until now, in whole periods.
    fn moved(&self) -> u64 {
        let ns = self.now.load(Ordering::Relaxed);
        (ns as f64 / 1e9 * self.rate) as u64 / self.period() * self.period()
    }

    /// When sample `n` was moved, seconds.
    fn at(&self, n: u64) -> f64 {
        n as f64 / self.rate
    }
}

/// Hears a beep of 50 ms every second of true time, and else a faint noise.
struct Mouth {
    crystal: Crystal,
    taken: u64,
}

impl SoundSource for Mouth {
    fn rate(&self) -> u32 {
        self.crystal.nominal
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        let given = out.len().min((self.crystal.moved() - self.taken) as usize);
        for place in &mut out[..given] {
            let time = self.crystal.at(self.taken);
            let beep = (time * 500.0 * std::f64::consts::TAU).sin() * 12_000.0;
            *place = if time.fract() < 0.05 { beep as i16 } else { (self.taken % 3) as i16 };
            self.taken += 1;
        }
        given
    }

    fn available(&self) -> Option<usize> {
        Some((self.crystal.moved() - self.taken) as usize)
    }
}

/// Tells when it plays the beginning of a beep, and how much was missing.
struct Ear {
    crystal: Crystal,
    ring: VecDeque<i16>,
    played: std::cell::Cell<u64>,
    quiet: u64,
    told: Sender<Played>,
    written: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Played {
    Beep(f64),
    Missing(u64),
}

impl SoundSink for Ear {
    fn rate(&self) -> u32 {
        self.crystal.nominal
    }

    fn write(&mut self, pcm: &[i16]) {
        self.play();
        self.ring.extend(pcm);
        self.written += pcm.len() as u64;
    }

    fn wanted(&self) -> Option<usize> {
        // What the card has taken since the last write is gone from the ring already.
        let gone = (self.crystal.moved() - self.played.get()) as usize;
        let target = self.crystal.nominal as usize / 1000 * 20;
        Some(target.saturating_sub(self.ring.len().saturating_sub(gone)))
    }
}

impl Ear {
    fn play(&mut self) {
        let moved = self.crystal.moved();
        while self.played.get() < moved {
            let Some(sample) = self.ring.pop_front() else {
                if self.written > 0 {
                    self.told.send(Played::Missing(moved - self.played.get())).ok();
                }
                self.played.set(moved);
                return;
            };
            let n = self.played.get();
            self.played.set(n + 1);
            if sample.unsigned_abs() < 4_000 {
                self.quiet += 1;
            } else {
                if self.quiet > u64::from(self.crystal.nominal) / 2 {
                    self.told.send(Played::Beep(self.crystal.at(n))).ok();
                }
                self.quiet = 0;
            }
        }
    }
}

/// Mouth-to-ear delays, one a second, ms, and missing samples, of a call through two cards of `rate` that are off by so many ppm.
fn delays((codec_name, pt): (&str, u8), rate: u32, (mouth, ear): (f64, f64), minutes: u64) -> (Vec<f64>, u64) {
    let mut net = Net::new(2);
    let codecs = [codec(codec_name, pt)];
    let device = || local(AudioSource::Device("default".into()));
    net.open(1, plan(1, 2, &codecs), device());
    net.open(2, plan(2, 1, &codecs), local(AudioSource::Silence));
    let clock = Arc::new(AtomicU64::new(net.now.as_nanos()));
    let mouth = Crystal::new(&clock, rate, mouth);
    let taken = mouth.moved();
    let ear = Crystal::new(&clock, rate, ear);
    let played = std::cell::Cell::new(ear.moved());
    let (told, plays) = channel();
    let now = net.now;
    net.set_of(1).attach(now, MediaId(1), Some(Box::new(Mouth { crystal: mouth, taken })), None);
    let ear = Ear { crystal: ear, ring: VecDeque::new(), played, quiet: u64::from(rate), told, written: 0 };
    net.set_of(2).attach(now, MediaId(2), None, Some(Box::new(ear)));
    let end = net.now + Duration::from_secs(60 * minutes);
    while net.now < end {
        net.run(Duration::from_micros(2500));
        clock.store(net.now.as_nanos(), Ordering::Relaxed);
        net.sent.clear();
        net.events.clear();
    }
    let (mut delays, mut missing) = (vec![], 0);
    for play in plays.try_iter() {
        match play {
            Played::Beep(at) => delays.push(at.fract() * 1000.0),
            Played::Missing(samples) => missing += samples,
        }
    }
    (delays, missing)
}

/// 400 ppm apart, ten minutes make 240 ms: all of it must be taken up without the delay growing or sound running out.
#[test]
fn cards_that_are_200_ppm_fast_and_slow_do_not_make_the_delay_grow_in_ten_minutes() {
    for (mouth, ear) in [(200.0, -200.0), (-200.0, 200.0)] {
        let (delays, missing) = delays(("pcmu", 0), 8_000, (mouth, ear), 10);
        assert!(delays.len() > 590, "{mouth}: {} beeps of 600 were heard", delays.len());
        let mean = |delays: &[f64]| delays.iter().sum::<f64>() / delays.len() as f64;
        let (first, last) = (mean(&delays[30..90]), mean(&delays[delays.len() - 60..]));
        assert!((last - first).abs() < 12.0, "{mouth}: {first:.1} ms in the first minute, {last:.1} ms in the last");
        let most = delays[10..].iter().fold(0.0_f64, |most, delay| most.max(*delay));
        assert!(most < 100.0, "{mouth}: {most:.1} ms");
        assert!(missing < 400, "{mouth}: {missing} samples were missing");
    }
}

/// What sound cards, packets and buffers add up to on a network that takes half a millisecond.
#[test]
fn the_delay_from_mouth_to_ear_is_that_of_a_frame_a_packet_and_two_rings() {
    for (name, pt) in [("pcmu", 0), ("g722", 9), ("opus", 96)] {
        if CODECS.iter().all(|codec| codec.name != name) {
            continue; // Opus is a feature
        }
        let (delays, missing) = delays((name, pt), 48_000, (0.0, 0.0), 1);
        let mut sorted = delays[5..].to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        println!("{name}: median {median:.1} ms, {missing} samples missing");
        assert!((20.0..90.0).contains(&median), "{name}: {median:.1} ms");
        assert!(missing < 960, "{name}: {missing} samples were missing");
    }
}
