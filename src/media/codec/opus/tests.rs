use super::*;
use crate::media::codec::OpusSettings;

fn settings(fmtp: &str, opus: OpusSettings) -> EncoderSettings {
    EncoderSettings { fmtp: fmtp.to_owned(), opus, ..EncoderSettings::default() }
}

/// 20 ms frame `n` of a chord whose notes change, so that neighbouring frames differ.
fn frame(n: usize) -> Vec<i16> {
    let hz = 200.0 + 40.0 * (n % 7) as f64;
    (n * 960..(n + 1) * 960)
        .map(|i| {
            let t = i as f64 * std::f64::consts::TAU / 48_000.0;
            ((t * hz).sin() * 6000.0 + (t * hz * 3.01).sin() * 3000.0) as i16
        })
        .collect()
}

fn error_power(a: &[i16], b: &[i16]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>() / a.len() as f64
}

#[test]
fn fmtp_of_rfc_7587_is_understood_in_any_case_and_spacing() {
    let fmtp = Fmtp::parse("MaxPlaybackRate=16000; stereo=1;maxaveragebitrate=20000; useinbandfec=1;usedtx=1;x;cbr=1");
    assert_eq!(
        fmtp,
        Fmtp {
            max_average_bitrate: Some(20_000),
            max_playback_rate: 16_000,
            use_inband_fec: true,
            use_dtx: true,
            constant_bitrate: true,
        }
    );
    assert_eq!(fmtp.bandwidth(), Bandwidth::Wideband);
    let defaults = Fmtp::parse("maxplaybackrate=9999999999;maxaveragebitrate=5");
    assert_eq!((defaults.max_playback_rate, defaults.max_average_bitrate), (48_000, None));
}

#[test]
fn the_encoder_obeys_the_peer_where_it_is_stricter() {
    let mut encoder = OpusEncoder::new(&settings("maxaveragebitrate=16000", OpusSettings::default())).expect("made");
    assert_eq!(encoder.inner.get_bitrate().ok(), Some(Bitrate::Bits(16_000)));
    assert_eq!(encoder.inner.get_inband_fec().ok(), Some(false)); // the peer did not ask for it
    let mut encoder = OpusEncoder::new(&settings("useinbandfec=1", OpusSettings::default())).expect("made");
    assert_eq!(encoder.inner.get_bitrate().ok(), Some(Bitrate::Bits(32_000)));
    assert_eq!(encoder.inner.get_inband_fec().ok(), Some(true));
    assert_eq!(encoder.inner.get_complexity().ok(), Some(5));
    assert_eq!(encoder.inner.get_dtx().ok(), Some(false));
}

#[test]
fn expected_loss_follows_the_reports_unless_it_is_configured() {
    let mut encoder = OpusEncoder::new(&settings("", OpusSettings::default())).expect("made");
    assert_eq!(encoder.inner.get_packet_loss_perc().ok(), Some(5));
    encoder.set_expected_loss(0.125);
    assert_eq!(encoder.inner.get_packet_loss_perc().ok(), Some(13));
    encoder.set_expected_loss(0.0);
    assert_eq!(encoder.inner.get_packet_loss_perc().ok(), Some(1));
    let fixed = OpusSettings { expected_loss: Some(0.2), ..OpusSettings::default() };
    let mut encoder = OpusEncoder::new(&settings("", fixed)).expect("made");
    encoder.set_expected_loss(0.0);
    assert_eq!(encoder.inner.get_packet_loss_perc().ok(), Some(20));
}

#[test]
fn silence_under_dtx_mostly_sends_nothing() {
    let dtx = OpusSettings { dtx: true, ..OpusSettings::default() };
    let mut encoder = OpusEncoder::new(&settings("", dtx)).expect("made");
    let sent = (0..100).filter(|_| encoder.encode(&[0; 960], &mut [0; 1276]) != Ok(0)).count();
    assert!((1..30).contains(&sent), "{sent} of 100 frames were sent");
}

#[test]
fn redundancy_in_the_next_packet_restores_a_lost_frame_better_than_guessing() {
    let fec = OpusSettings { bitrate: 24_000, expected_loss: Some(0.2), ..OpusSettings::default() };
    let mut encoder = OpusEncoder::new(&settings("useinbandfec=1;maxplaybackrate=16000", fec)).expect("made");
    let packets: Vec<Vec<u8>> = (0..40)
        .map(|n| {
            let mut payload = [0; 1276];
            let length = encoder.encode(&frame(n), &mut payload).expect("a legal frame");
            payload[..length].to_vec()
        })
        .collect();
    let share = packets.iter().filter(|packet| has_lbrr(packet) == Some(true)).count();
    assert!(share > 30, "{share} of 40 packets carry redundancy");
    let (mut whole, mut redundant, mut guessing) =
        ((SPEC.decoder)("").expect("made"), (SPEC.decoder)("").expect("made"), (SPEC.decoder)("").expect("made"));
    let (mut with_fec, mut without) = (0.0, 0.0);
    for n in 0..39 {
        let (mut truth, mut fec, mut plc) = ([0; 960], [0; 960], [0; 960]);
        whole.decode(&packets[n], &mut truth).expect("own packet");
        if n % 5 == 4 {
            redundant.conceal(Some(&packets[n + 1]), &mut fec);
            guessing.conceal(None, &mut plc);
            with_fec += error_power(&truth, &fec);
            without += error_power(&truth, &plc);
        } else {
            redundant.decode(&packets[n], &mut fec).expect("own packet");
            guessing.decode(&packets[n], &mut plc).expect("own packet");
        }
    }
    assert!(with_fec < without / 2.0, "with {with_fec:.0}, without {without:.0}");
}

#[test]
fn packets_without_redundancy_are_told_from_those_with_it() {
    let none = OpusSettings { fec: false, ..OpusSettings::default() };
    let mut encoder = OpusEncoder::new(&settings("useinbandfec=1", none)).expect("made");
    for n in 0..20 {
        let mut payload = [0; 1276];
        let length = encoder.encode(&frame(n), &mut payload).expect("a legal frame");
        assert_eq!(has_lbrr(&payload[..length]), Some(false), "frame {n}");
    }
    // TOC of SILK wide band, 20 ms, one frame; then voice activity and the flag.
    assert_eq!(has_lbrr(&[0x48, 0x40]), Some(true));
    assert_eq!(has_lbrr(&[0x48, 0xbf]), Some(false));
    assert_eq!(has_lbrr(&[0x58, 0x10]), Some(true)); // 60 ms: three activity flags first
    assert_eq!(has_lbrr(&[0x4c, 0x10]), Some(true)); // stereo: activity and flag of the side channel follow
    assert_eq!(has_lbrr(&[0x4a, 100, 0x40]), Some(true)); // two frames of different length
    assert_eq!((has_lbrr(&[0xfc, 0xff]), has_lbrr(&[0x48]), has_lbrr(&[])), (Some(false), None, None));
}

#[test]
fn a_stereo_packet_decodes_to_mono() {
    let mut stereo = ::opus::Encoder::new(RATE, Channels::Stereo, Application::Audio).expect("made");
    let left_only: Vec<i16> = frame(0).iter().flat_map(|&x| [x, 0]).collect();
    let mut payload = [0; 1276];
    let length = stereo.encode(&left_only, &mut payload).expect("encoded");
    let mut decoder = (SPEC.decoder)("").expect("made");
    assert_eq!(decoder.decode(&payload[..length], &mut [0; 960]), Ok(960));
}
