mod scripts;
mod table;

use super::*;
use crate::media::codec;

const PTIME_MS: u64 = 20;

/// A PCMU stream of a 400 Hz tone into a [`Playout`] that is pulled every 10 ms, 4 ms after the grid of the packets.
struct Call {
    playout: Playout,
    encoder: Box<dyn codec::Encoder>,
    heard: Vec<i16>,
    pulls: Vec<Pulled>,
    now_ms: u64,
}

impl Call {
    fn new(name: &str) -> Self {
        let spec = codec::by_name(name).expect("the codec is in the table");
        Self {
            playout: Playout::new(spec, "", &JitterSettings::default()).expect("its decoder can be made"),
            encoder: (spec.encoder)(&codec::EncoderSettings::default()).expect("its encoder can be made"),
            heard: Vec::new(),
            pulls: Vec::new(),
            now_ms: 1000,
        }
    }

    /// Packet `n` of the stream, arriving now.
    fn packet(&mut self, n: u64) -> Inserted {
        self.packet_at(n, n * PTIME_MS)
    }

    /// Packet `n`, sent `sent_ms` after the start of the stream.
    fn packet_at(&mut self, n: u64, sent_ms: u64) -> Inserted {
        let (rate, clock) = (self.playout.spec.sample_rate as usize, self.playout.spec.clock_rate as u64);
        let length = rate * PTIME_MS as usize / 1000;
        let first = sent_ms as usize * rate / 1000;
        let tone: Vec<i16> = (first..first + length)
            .map(|i| ((i as f64 * 400.0 * std::f64::consts::TAU / rate as f64).sin() * 8000.0) as i16)
            .collect();
        let mut payload = [0; 1500];
        let length = self.encoder.encode(&tone, &mut payload).expect("20 ms is a legal frame");
        let time = (sent_ms * clock / 1000) as u32;
        self.playout.insert(at(self.now_ms), n as u16, time, false, &payload[..length])
    }

    fn pull(&mut self) -> Pulled {
        let mut block = vec![0; self.playout.sample_rate() as usize / 100];
        let pulled = self.playout.pull(at(self.now_ms + 4), &mut block);
        self.heard.extend_from_slice(&block);
        self.pulls.push(pulled);
        self.now_ms += 10;
        pulled
    }

    /// 20 ms with packet `n` arriving at its beginning.
    fn turn(&mut self, n: u64) -> [Pulled; 2] {
        self.packet(n);
        [self.pull(), self.pull()]
    }
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

const DECODED: [Pulled; 2] = [Pulled::Decoded; 2];
const CONCEALED: [Pulled; 2] = [Pulled::Concealed; 2];
const SILENCE: [Pulled; 2] = [Pulled::Silence; 2];

#[test]
fn a_clean_stream_is_played_at_the_first_pull_after_each_arrival() {
    let mut call = Call::new("pcmu");
    assert_eq!(call.pull(), Pulled::Silence);
    for n in 0..500 {
        assert_eq!(call.turn(n), DECODED, "packet {n}");
    }
    let stats = call.playout.stats();
    assert_eq!((stats.played, stats.lost, stats.late, stats.concealed_ms), (500, 0, 0, 0));
    assert_eq!((stats.expanded_ms, stats.accelerated_ms), (0, 0));
    assert!(stats.delay <= Duration::from_millis(15), "{:?}", stats.delay);
}

#[test]
fn a_lost_packet_is_concealed_and_costs_no_delay() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    let before = call.playout.delay();
    assert_eq!([call.pull(), call.pull()], CONCEALED);
    assert_eq!(call.turn(51), DECODED);
    let stats = call.playout.stats();
    assert_eq!((stats.lost, stats.late, stats.concealed_ms), (1, 0, 20));
    assert_eq!(call.playout.delay(), before);
    // The tone goes on through the gap: no sample is far from its neighbours.
    let steepest = call.heard[8000..].windows(2).map(|w| (i32::from(w[0]) - i32::from(w[1])).abs()).max();
    assert!(steepest < Some(3200), "{steepest:?}"); // the tone itself reaches 2500
}

#[test]
fn a_pause_of_the_sender_is_silence_and_not_loss() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    for _ in 0..10 {
        call.pull();
    }
    assert_eq!([call.pull(), call.pull()], SILENCE);
    for turn in 0..50 {
        assert_eq!(call.packet_at(50 + turn, (50 + turn) * PTIME_MS + 120), Inserted::Queued);
        assert_eq!([call.pull(), call.pull()], DECODED);
    }
    let stats = call.playout.stats();
    assert_eq!((stats.lost, stats.late, stats.concealed_ms), (0, 0, 100));
}

#[test]
fn a_sender_whose_clock_stands_still_in_pauses_gains_no_delay_by_them() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    for _ in 0..100 {
        call.pull();
    }
    let payload = [0xff; 160];
    for n in 50..100 {
        let marker = n == 50;
        assert_eq!(call.playout.insert(at(call.now_ms), n, u32::from(n) * 160, marker, &payload), Inserted::Queued);
        assert_eq!([call.pull(), call.pull()], DECODED);
    }
    let stats = call.playout.stats();
    assert!(stats.delay < Duration::from_millis(20), "{stats:?}");
    assert_eq!((stats.expanded_ms, stats.lost, stats.target), (0, 0, Duration::from_millis(2)));
}

#[test]
fn packets_that_come_all_at_once_after_a_stall_are_all_played_and_the_delay_goes_back() {
    let mut call = Call::new("pcmu");
    for n in 0..100 {
        call.turn(n);
    }
    for _ in 0..20 {
        call.pull();
    }
    for n in 100..110 {
        assert_eq!(call.packet(n), Inserted::Queued);
    }
    let mut worst = Duration::ZERO;
    for n in 110..600 {
        assert_eq!(call.turn(n), DECODED, "packet {n}");
        worst = worst.max(call.playout.delay());
    }
    let stats = call.playout.stats();
    assert_eq!((stats.lost, stats.late), (0, 0));
    assert!(worst > Duration::from_millis(190), "{worst:?}");
    assert!(stats.accelerated_ms > 150, "{stats:?}");
}

#[test]
fn events_in_between_do_not_count_as_lost() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    for n in 50..60 {
        call.playout.insert_other(n);
        call.pull();
        call.pull();
    }
    for n in 60..100 {
        assert_eq!(call.turn(n), DECODED, "packet {n}");
    }
    assert_eq!(call.playout.stats().lost, 0);
}

#[test]
fn a_long_event_does_not_make_the_stream_jump() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    for n in 50..350 {
        call.playout.insert_other(n);
        call.pull();
        call.pull();
    }
    assert_eq!(call.turn(350), DECODED);
    assert_eq!((call.playout.stats().lost, call.playout.stats().resynchronized), (0, 0));
}

#[test]
fn no_sequence_of_packets_and_pulls_panics_or_exceeds_the_bounds() {
    let mut rng = crate::rng::Rng::new([5; 32]);
    for name in ["pcmu", "g722"] {
        let spec = codec::by_name(name).expect("the codec is in the table");
        let settings = JitterSettings { max: Duration::from_millis(500), ..JitterSettings::default() };
        let mut playout = Playout::new(spec, "", &settings).expect("in the table");
        let mut block = vec![0; spec.sample_rate as usize / 100];
        let (mut seq, mut time, mut now) = (0_u16, 0_u32, Instant::ZERO);
        for _ in 0..30_000 {
            match rng.below(100) {
                0..35 => {
                    (seq, time) = (seq.wrapping_add(1), time.wrapping_add(160));
                    playout.insert(now, seq, time, false, &[0x55; 160]);
                }
                35..40 => {
                    let (back, length) = (rng.below(40) as u16, rng.below(1600) as usize);
                    playout.insert(now, seq.wrapping_sub(back), rng.u32(), true, &vec![0x33; length]);
                }
                40..42 => {
                    playout.insert(now, rng.u32() as u16, rng.u32(), true, &[0x33; 160]);
                }
                42 => (seq, time) = (rng.u32() as u16, rng.u32()),
                43 => playout.insert_other(seq.wrapping_add(rng.below(300) as u16)),
                44 if rng.below(20) == 0 => playout.reset(),
                44 if rng.below(20) == 0 => now += Duration::from_millis(rng.below(100_000)),
                _ => {
                    playout.pull(now, &mut block);
                    now += Duration::from_millis(10);
                }
            }
            assert!(playout.stats().queued < 256);
            assert!(playout.buffer.span() <= Duration::from_millis(500), "{:?}", playout.buffer.span());
        }
        let stats = playout.stats();
        assert!(stats.played > 3000 && stats.overflow > 0 && stats.resynchronized > 10, "{stats:?}");
    }
}

#[test]
fn the_next_packet_is_due_its_wanted_delay_after_the_fastest_could_come() {
    let mut call = Call::new("pcmu");
    assert_eq!(call.playout.next_due(), None);
    for n in 0..100 {
        call.turn(n);
    }
    assert_eq!(call.playout.next_due(), Some(at(call.now_ms + 2)));
}

#[test]
fn a_jump_of_both_counters_is_followed_within_two_packets() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    call.turn(40_000);
    assert_eq!(call.turn(40_001), DECODED);
    assert_eq!(call.playout.stats().resynchronized, 1);
}

#[test]
fn a_new_source_starts_after_reset_without_a_wait() {
    let mut call = Call::new("g722");
    for n in 0..50 {
        call.turn(n);
    }
    call.playout.reset();
    assert_eq!(call.turn(7), DECODED);
    assert_eq!(call.playout.stats().malformed, 0);
}

#[test]
fn an_empty_or_oversized_payload_is_refused() {
    let mut call = Call::new("pcmu");
    assert_eq!(call.playout.insert(at(0), 1, 0, false, &[]), Inserted::Malformed);
    assert_eq!(call.playout.insert(at(0), 1, 0, false, &[0; 1281]), Inserted::Malformed);
    assert_eq!(call.playout.insert(at(0), 1, 0, false, &[0; 1280]), Inserted::Queued);
}

#[cfg(feature = "opus")]
#[test]
fn a_pause_in_an_opus_stream_with_dtx_is_filled_with_comfort_noise() {
    let spec = codec::by_name("opus").expect("the feature is on");
    let mut playout = Playout::new(spec, "", &JitterSettings::default()).expect("in the table");
    let opus = codec::OpusSettings { dtx: true, ..codec::OpusSettings::default() };
    let settings = codec::EncoderSettings { opus, ..codec::EncoderSettings::default() };
    let mut encoder = (spec.encoder)(&settings).expect("in the table");
    let (mut state, mut payload, mut block) = (1_u32, [0; 1500], [0; 480]);
    let (mut unsent, mut quiet, mut kinds) = (0, 0, Vec::new());
    for n in 0..250_u64 {
        let background: Vec<i16> = (0..960)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as i16 - 128
            })
            .collect();
        let length = encoder.encode(&background, &mut payload).expect("a legal frame");
        if length > 0 {
            playout.insert(at(n * 20), n as u16, n as u32 * 960, false, &payload[..length]);
        } else {
            unsent += 1;
        }
        for half in 0..2 {
            kinds.push(playout.pull(at(n * 20 + half * 10 + 4), &mut block));
            quiet += usize::from(n > 50 && crate::media::similarity::power(&block) < 100.0);
        }
    }
    assert!(unsent > 100, "{unsent} of 250 frames were not sent");
    assert!(kinds.iter().filter(|kind| **kind == Pulled::Silence).count() > 100, "{kinds:?}");
    assert!(quiet < 20, "{quiet} of 400 blocks are silent");
}

/// A CN packet (RFC 3389) of so many -dBov.
fn comfort(call: &mut Call, n: u64, level: u8) {
    call.playout.insert_noise(n as u16, &[level]);
}

fn level(pcm: &[i16]) -> f64 {
    let power = pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64;
    10.0 * (power.max(1e-3) / 32_768.0_f64.powi(2)).log10()
}

#[test]
fn the_pause_after_comfort_noise_is_filled_with_it_until_sound_comes_again() {
    for name in ["pcmu", "g722"] {
        let mut call = Call::new(name);
        for n in 0..50 {
            call.turn(n);
        }
        comfort(&mut call, 50, 50);
        let rate = call.playout.sample_rate() as usize;
        let before = call.heard.len();
        for _ in 0..200 {
            call.pull();
        }
        let pause = &call.heard[before + rate / 10..];
        assert!((level(pause) + 50.0).abs() < 2.5, "{name}: {}", level(pause));
        assert!(call.pulls[110..].iter().all(|pulled| *pulled == Pulled::Silence), "{name}: nothing was lost");
        // Quieter after an update, and gone with the next talk spurt.
        comfort(&mut call, 51, 70);
        let before = call.heard.len();
        for _ in 0..50 {
            call.pull();
        }
        assert!(level(&call.heard[before + rate / 10..]) < -65.0, "{name}");
        for n in 52..60 {
            call.packet_at(n, n * PTIME_MS + 2500);
            call.pull();
            call.pull();
        }
        assert_eq!(call.pulls.last(), Some(&Pulled::Decoded), "{name}");
        assert_eq!(call.playout.stats().lost, 0, "{name}");
    }
}

#[test]
fn noise_that_is_renewed_lasts_as_long_as_the_pause_and_else_half_a_minute() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    for update in 0..6 {
        comfort(&mut call, 50 + update, 50);
        for _ in 0..1000 {
            call.pull();
        }
    }
    let late = |call: &Call| level(&call.heard[call.heard.len() - 8000..]);
    assert!((late(&call) + 50.0).abs() < 2.0, "{}", late(&call));
    for _ in 0..2200 {
        call.pull();
    }
    assert!(late(&call) < -90.0, "{}", late(&call));
}

#[test]
fn a_packet_lost_before_the_pause_is_concealed_and_the_noise_follows() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    // Packet 50 is lost; its pause is announced all the same.
    comfort(&mut call, 51, 50);
    let before = call.pulls.len();
    for _ in 0..100 {
        call.pull();
    }
    let pulls = &call.pulls[before..];
    assert!(pulls.contains(&Pulled::Concealed));
    assert_eq!(pulls.last(), Some(&Pulled::Silence));
    let end = &call.heard[call.heard.len() - 4000..];
    assert!((level(end) + 50.0).abs() < 2.0, "{}", level(end));
}

#[test]
fn events_that_come_while_sound_is_queued_are_no_loss() {
    let mut call = Call::new("pcmu");
    for n in 0..50 {
        call.turn(n);
    }
    // Two packets of sound and four of an event come at once, then sound again.
    call.packet(50);
    call.packet(51);
    for n in 52..56 {
        call.playout.insert_other(n);
    }
    for _ in 0..12 {
        call.pull();
    }
    for n in 56..80 {
        call.turn(n);
    }
    assert_eq!(call.playout.stats().lost, 0);
}
