//! What loss and jitter cost: one table of exact figures, so that every change of the buffer shows what it does.

use super::at;
use crate::media::codec;
use crate::media::playout::{JitterSettings, Playout, Pulled};
use crate::rng::Rng;

/// Speech as far as the buffer can tell: a voiced sound of 125 Hz for 600 ms in every second, then faint noise.
/// Integers only, so that it is the same everywhere.
fn speech(sample: u64, noise: &mut u32) -> i16 {
    *noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let hiss = (*noise >> 26) as i32 - 32;
    if sample % 8000 >= 4800 {
        return hiss as i16;
    }
    let phase = (sample % 64) as i32;
    let triangle = (phase - 32).abs() - 16; // -16..=16
    let harmonic = ((phase * 3 % 64) - 32).abs() - 16;
    (triangle * 300 + harmonic * 150 + hiss) as i16
}

/// Thirty seconds through a network that loses `loss` percent and delays by a bell curve of `sigma` ms.
/// Returns the playout delay in the middle of all blocks (ms over the fastest packet), and concealed and silent time in %.
fn run(loss: u64, sigma: u64, seed: u8) -> (u64, f64) {
    let spec = codec::by_name("pcmu").expect("always built");
    let mut playout = Playout::new(spec, "", &JitterSettings::default()).expect("in the table");
    let mut encoder = (spec.encoder)(&codec::EncoderSettings::default()).expect("in the table");
    let (mut rng, mut noise) = (Rng::new([seed; 32]), 1);
    let mut arrivals: Vec<(u64, u64, Vec<u8>)> = Vec::new();
    for packet in 0..PACKETS {
        let frame: Vec<i16> = (packet * 160..packet * 160 + 160).map(|i| speech(i, &mut noise)).collect();
        let mut payload = vec![0; 160];
        encoder.encode(&frame, &mut payload).expect("a legal frame");
        // The sum of twelve uniform numbers is close to a bell curve of width 1 around 6; no packet is faster than 3 sigma.
        let bell: u64 = (0..12).map(|_| rng.below(1000)).sum();
        let delay_us = (bell * sigma).saturating_sub(3000 * sigma);
        if rng.below(100) >= loss {
            arrivals.push((packet * 20_000 + delay_us, packet, payload));
        }
    }
    arrivals.sort();
    let mut arrivals = arrivals.into_iter().peekable();
    let (mut delays, mut bad, mut block) = (Vec::new(), 0, [0; 80]);
    for tick in 0..PACKETS * 2 {
        let now_us = tick * 10_000 + 4_000;
        while let Some((us, packet, payload)) = arrivals.next_if(|arrival| arrival.0 <= now_us) {
            let arrived = crate::time::Instant::from_nanos((1_000_000 + us) * 1000);
            playout.insert(arrived, packet as u16, packet as u32 * 160, false, &payload);
        }
        let pulled = playout.pull(at(1000 + tick * 10 + 4), &mut block);
        if tick >= WARM {
            delays.push(playout.delay().as_millis() as u64);
            bad += u64::from(pulled != Pulled::Decoded);
        }
    }
    delays.sort_unstable();
    (delays[delays.len() / 2], bad as f64 * 100.0 / delays.len() as f64)
}

const PACKETS: u64 = 1500;
/// Blocks left out of the figures: the first second.
const WARM: u64 = 100;

#[test]
fn delay_and_concealment_by_loss_and_jitter_are_as_recorded() {
    let mut table = String::from("loss % |  jitter 0 ms |  jitter 5 ms | jitter 20 ms | jitter 60 ms\n");
    for loss in [0, 1, 5, 10, 20] {
        let cells = [0, 5, 20, 60].map(|sigma| {
            let (delay, concealed) = run(loss, sigma, 7);
            format!("{delay:4} ms {concealed:4.1} %")
        });
        table += &format!("{loss:6} | {}\n", cells.join(" | "));
    }
    assert_eq!(table, RECORDED, "\n{table}");
}

/// Delay over the fastest packet (the bell curve's middle is 3 sigma above it) and time not played from packets.
const RECORDED: &str = "\
loss % |  jitter 0 ms |  jitter 5 ms | jitter 20 ms | jitter 60 ms
     0 |    4 ms  0.0 % |   36 ms  0.0 % |  121 ms  0.0 % |  335 ms  0.3 %
     1 |    5 ms  1.2 % |   37 ms  1.2 % |  115 ms  1.3 % |  328 ms  1.5 %
     5 |   11 ms  5.1 % |   34 ms  5.1 % |  117 ms  5.1 % |  305 ms  5.4 %
    10 |   10 ms  9.8 % |   34 ms  9.7 % |  115 ms  9.7 % |  308 ms 10.0 %
    20 |    6 ms 20.3 % |   39 ms 20.2 % |  114 ms 20.2 % |  328 ms 20.6 %
";
