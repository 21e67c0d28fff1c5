//! Nothing that runs per packet or per block of sound may allocate once it is warm (architecture: seam 7).
//!
//! The global allocator of this binary counts, per thread, so that tests may run side by side.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a test in real time that shows what it measured")]
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]

use bellwire::device::ring::{capture, playback};
use bellwire::media::codec::{CODECS, EncoderSettings};
use bellwire::media::playout::{JitterSettings, Playout, Pulled};
use bellwire::media::resample::Resampler;
use bellwire::media::set::{SoundSink, SoundSource};
use bellwire::media::srtp::Srtp;
use bellwire::media::tones::{Progress, Tone};
use bellwire::rng::Rng;
use bellwire::sdp::plan::{MasterKey, SdesKeys, Suite};
use bellwire::time::{Duration, Instant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[path = "alloc/sessions.rs"]
mod sessions;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // Fails only while a thread ends, when nobody counts any more.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as promised by our caller.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as promised by our caller.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and returns how often it allocated on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))), 1);
    assert_eq!(allocations(|| ()), 0);
}

/// A stream with loss, reordering and jitter from encoder to loudspeaker.
#[test]
fn a_stream_on_a_bad_network_allocates_nothing_once_it_runs() {
    for spec in CODECS {
        let fmtp = "useinbandfec=1".to_owned();
        let mut encoder =
            (spec.encoder)(&EncoderSettings { fmtp, ..EncoderSettings::default() }).expect("in the table");
        let mut playout = Playout::new(spec, spec.recv_fmtp, &JitterSettings::default()).expect("in the table");
        let mut tone = Tone::hz(300.0, spec.sample_rate);
        let mut rng = Rng::new([3; 32]);
        let mut frame = vec![0; spec.sample_rate as usize / 50];
        let mut block = vec![0; spec.sample_rate as usize / 100];
        let mut payload = [0; 1500];
        // Packets on their way: arrival, sequence number, length, bytes.
        let mut network = vec![(u64::MAX, 0_u16, 0_usize, [0_u8; 1500]); 32];
        let mut concealed = 0;
        let mut run = |turns: std::ops::Range<u64>| {
            for turn in turns {
                tone.fill(&mut frame);
                let length = encoder.encode(&frame, &mut payload).expect("20 ms is a legal frame");
                if rng.below(20) > 0
                    && let Some(place) = network.iter_mut().find(|place| place.0 == u64::MAX)
                {
                    *place = (turn * 20 + rng.below(60), turn as u16, length, payload);
                }
                for half in 0..2 {
                    let ms = turn * 20 + half * 10;
                    let now = Instant::ZERO + Duration::from_millis(1000 + ms);
                    for place in network.iter_mut().filter(|place| place.0 <= ms) {
                        let time = (u32::from(place.1)).wrapping_mul(spec.clock_rate / 50);
                        playout.insert(now, place.1, time, false, &place.3[..place.2]);
                        place.0 = u64::MAX;
                    }
                    if playout.pull(now, &mut block) == Pulled::Concealed {
                        concealed += 1;
                    }
                }
            }
        };
        run(0..100);
        assert_eq!(allocations(|| run(100..600)), 0, "{}", spec.name);
        assert!(concealed > 20, "{}: {concealed} blocks were concealed", spec.name);
    }
}

#[test]
fn resampling_allocates_nothing() {
    for (from, to) in [(8_000, 48_000), (48_000, 8_000), (44_100, 16_000)] {
        let mut resampler = Resampler::new(from, to).expect("legal rates");
        let input = vec![100; 441];
        let mut output = vec![0; resampler.most_output(input.len())];
        let count = allocations(|| {
            for _ in 0..100 {
                resampler.process(&input, &mut output);
            }
        });
        assert_eq!(count, 0, "{from} to {to}");
    }
}

#[test]
fn tones_allocate_nothing() {
    let mut tone = Tone::progress(Progress::Busy, 8000);
    let mut block = [0; 80];
    assert_eq!(allocations(|| (0..200).for_each(|_| tone.fill(&mut block))), 0);
}

/// Every suite, both ways, RTP and RTCP, with forged and repeated packets among the good ones.
#[test]
fn protecting_and_opening_packets_allocates_nothing() {
    for suite in Suite::ALL {
        let mut rng = Rng::new([4; 32]);
        let [send, receive] = [0; 2].map(|_| MasterKey::random(suite, &mut rng));
        let keys = SdesKeys { suite, send: send.clone(), receive: receive.clone(), mki: None };
        let mut near = Srtp::new(&keys);
        let mut far = Srtp::new(&SdesKeys { send: receive, receive: send, ..keys });
        let now = Instant::ZERO;
        let (mut packet, mut report) = ([0x55; 400], [0x55; 400]);
        let mut run = |seqs: std::ops::Range<u16>| {
            for seq in seqs {
                packet[..2].copy_from_slice(&[0x80, 0]);
                packet[2..4].copy_from_slice(&seq.to_be_bytes());
                let length = near.protect_rtp(&mut packet, 172).expect("it fits");
                let mut copy = packet;
                packet[length - 1] ^= 1;
                assert!(far.unprotect_rtp(now, &mut packet[..length]).is_err());
                packet[length - 1] ^= 1;
                assert!(far.unprotect_rtp(now, &mut packet[..length]).is_ok());
                assert!(far.unprotect_rtp(now, &mut copy[..length]).is_err());
                report[..2].copy_from_slice(&[0x81, 200]);
                let length = near.protect_rtcp(&mut report, 60).expect("it fits");
                assert!(far.unprotect_rtcp(now, &mut report[..length]).is_ok());
            }
        };
        run(0..10);
        assert_eq!(allocations(|| run(10..1000)), 0, "{}", suite.name());
    }
}

/// The callbacks of sound cards, with a ring that runs full, one that runs empty, and the sessions' ends meanwhile.
#[test]
fn the_callbacks_of_a_sound_card_allocate_nothing() {
    let (mut from_card, mut microphone, _) = capture(48_000, 2, Box::new(|| ()));
    let (mut to_card, mut speaker, counters) = playback(48_000, 6, Box::new(|| ()));
    let (floats, mut shorts, mut block) = (vec![0.1_f32; 960], vec![0_i16; 6 * 480], vec![0_i16; 480]);
    let count = allocations(|| {
        for turn in 0..100 {
            from_card.handle(&floats);
            to_card.handle(&mut shorts);
            if turn % 3 == 0 {
                assert!(microphone.available().is_some_and(|there| there >= 480));
                microphone.read(&mut block);
                speaker.write(&block);
                assert!(speaker.wanted().is_some());
            }
        }
    });
    assert_eq!(count, 0);
    assert!(counters.lost() > 0 && counters.calls() == 100);
}

#[cfg(feature = "audio")]
#[path = "device/pulse.rs"]
#[allow(dead_code, reason = "nothing is recorded or played here")]
mod pulse;

/// The same on the sound system's own thread: a null sink of a PulseAudio daemon of our own, for one second.
#[cfg(feature = "audio")]
mod real {
    use super::*;
    use bellwire::device::audio::Direction;
    use bellwire::device::audio::find::{Patience, device};
    use cpal::traits::{DeviceTrait, StreamTrait};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn the_callbacks_of_a_real_stream_allocate_nothing() {
        const INSIDE: &str = "BELLWIRE_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            return inside();
        }
        // Which daemon is used is a matter of the environment, which is best left alone in a process with threads.
        let Some(pulse) = pulse::Pulse::start("callbacks of a real stream", &["room"]) else { return };
        let mut again = std::process::Command::new(std::env::current_exe().expect("it runs"));
        again.args(["real::the_callbacks_of_a_real_stream_allocate_nothing", "--exact", "--nocapture"]);
        let output = again.envs(pulse.environment()).env(INSIDE, "1").output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn inside() {
        let (allocated, calls) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let count = |callback: &mut dyn FnMut(), allocated: &AtomicU64, calls: &AtomicU64| {
            allocated.fetch_add(allocations(callback), Ordering::Relaxed);
            calls.fetch_add(1, Ordering::Relaxed);
        };
        let found = device("room", Direction::Playback, Patience::default()).expect("the null sink");
        let (mut to_card, mut speaker, played) = playback(found.config.sample_rate, 1, Box::new(|| ()));
        let (sum, number) = (allocated.clone(), calls.clone());
        let fill = move |out: &mut [i16], _: &_| count(&mut || to_card.handle(out), &sum, &number);
        let out = found.device.build_output_stream(found.config, fill, |_| (), None).expect("it opens");
        out.play().expect("it starts");
        let found = device("room.monitor", Direction::Capture, Patience::default()).expect("its monitor");
        let (mut from_card, mut microphone, taken) = capture(found.config.sample_rate, 1, Box::new(|| ()));
        let (sum, number) = (allocated.clone(), calls.clone());
        let take = move |data: &[i16], _: &_| count(&mut || from_card.handle(data), &sum, &number);
        let input = found.device.build_input_stream(found.config, take, |_| (), None).expect("it opens");
        input.play().expect("it starts");
        let mut block = vec![77; 480];
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(5));
            microphone.read(&mut block);
            if speaker.wanted().is_some_and(|wanted| wanted >= 480) {
                speaker.write(&block);
            }
        }
        assert!(played.samples() > 24_000 && taken.samples() > 24_000, "{played:?} {taken:?}");
        assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?}");
        assert_eq!(allocated.load(Ordering::Relaxed), 0, "in {calls:?} calls");
    }
}
