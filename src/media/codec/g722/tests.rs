//! The reference figures were made with the Python package `G722` 1.2 (libg722, derived from the public-domain CMU code).

use super::*;

/// One second that visits five levels: a ramp of voice-like pitch and noise.
fn sound() -> Vec<i16> {
    let mut state = 1_u32;
    (0..16_000)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 16) as i32 - 32_768;
            let ramp = i * 37 % 800 - 400;
            let level = i / 1600 % 5;
            saturate(ramp * 10 * level + ((noise * level) >> 4)) as i16
        })
        .collect()
}

fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn encode(pcm: &[i16]) -> Vec<u8> {
    let mut out = vec![0; pcm.len() / 2];
    let mut encoder = G722Encoder::default();
    for (frame, place) in pcm.chunks(320).zip(out.chunks_mut(160)) {
        assert_eq!(encoder.encode(frame, place), Ok(frame.len() / 2));
    }
    out
}

fn decode(payload: &[u8]) -> Vec<i16> {
    let mut out = vec![0; payload.len() * 2];
    let mut decoder = G722Decoder::default();
    for (frame, place) in payload.chunks(160).zip(out.chunks_mut(320)) {
        assert_eq!(decoder.decode(frame, place), Ok(frame.len() * 2));
    }
    out
}

fn snr_db(reference: &[i16], heard: &[i16]) -> f64 {
    let power = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>();
    let signal = power(&mut reference.iter().map(|&x| f64::from(x)));
    let noise = power(&mut reference.iter().zip(heard).map(|(&x, &y)| f64::from(x) - f64::from(y)));
    10.0 * (signal / noise).log10()
}

#[test]
fn a_second_of_sound_encodes_bit_for_bit_as_the_reference_does() {
    let payload = encode(&sound());
    let expected = [
        0x79, 0x38, 0xa8, 0x2c, 0x6a, 0xb6, 0x5b, 0xef, 0x78, 0xf7, 0x7a, 0x7a, 0x7f, 0x79, 0x7c, 0x7b, 0xff, 0xfd,
        0xfd, 0xfc, 0xfd, 0xfd, 0x7d, 0xfd, 0xff, 0xd7, 0xdf, 0xd7, 0xd7, 0xd7, 0xd7, 0xd7,
    ];
    assert_eq!(payload[4000..4016], expected[..16]);
    assert_eq!(fnv(payload), 0xea36_16ec_0b71_d4dc);
}

#[test]
fn its_payload_decodes_bit_for_bit_as_the_reference_does() {
    let pcm = decode(&encode(&sound()));
    assert_eq!(pcm[8000..8006], [14_875, -10_499, -17_008, -12_228, -4980, -2055]);
    assert_eq!(fnv(pcm.iter().flat_map(|x| x.to_le_bytes())), 0xf41a_c0ad_c7ca_c479);
}

#[test]
fn octets_that_no_encoder_sends_decode_as_the_reference_does() {
    let mut state = 9_u32;
    let garbage: Vec<u8> = (0..2000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    let pcm = decode(&garbage);
    assert_eq!(pcm[3994..], [-16_776, -728, 10_331, 15_094, -1949, -17_066]);
    assert_eq!(fnv(pcm.iter().flat_map(|x| x.to_le_bytes())), 0x970c_a16e_1380_f03f);
}

#[test]
fn tones_of_both_bands_come_through_with_the_snr_of_the_standard() {
    // 22 samples: the delay of both filters.
    for (hz, least) in [(300.0_f64, 38.0), (1000.0, 38.0), (2500.0, 34.0), (6000.0, 15.0)] {
        let tone: Vec<i16> = (0..16_000)
            .map(|i| ((f64::from(i) * hz * std::f64::consts::TAU / 16_000.0).sin() * 9000.0) as i16)
            .collect();
        let heard = decode(&encode(&tone));
        let snr = snr_db(&tone[1000..15_000], &heard[1022..15_022]);
        assert!(snr > least, "{hz} Hz: {snr:.1} dB");
    }
}

#[test]
fn an_odd_number_of_samples_is_refused() {
    let mut encoder = G722Encoder::default();
    assert_eq!(encoder.encode(&[0; 3], &mut [0; 9]), Err(CodecError::FrameSize { samples: 3 }));
    assert_eq!(encoder.encode(&[0; 4], &mut [0; 1]), Err(CodecError::OutputTooSmall { needed: 2, given: 1 }));
}
