//! Nothing that runs per packet or per block of sound may allocate once it is warm (architecture: seam 7).
//!
//! The global allocator of this binary counts, per thread, so that tests may run side by side.

#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; this one only counts and passes on")]

use bellwire::media::codec::{CODECS, EncoderSettings};
use bellwire::media::playout::{JitterSettings, Playout, Pulled};
use bellwire::media::resample::Resampler;
use bellwire::media::tones::{Progress, Tone};
use bellwire::rng::Rng;
use bellwire::time::{Duration, Instant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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
