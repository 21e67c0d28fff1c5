//! Peers that misbehave, vanish or never come.

use super::*;

fn packet(turn: u32, ssrc: u32, payload: &[u8]) -> RtpPacket<'_> {
    RtpPacket {
        payload_type: 0,
        marker: false,
        seq: turn as u16,
        timestamp: turn * 160,
        ssrc,
        extension: None,
        payload,
    }
}

/// A tone of 1000 Hz in packets of PCMU.
fn tone_payloads(count: usize) -> Vec<Vec<u8>> {
    let mut tone = tones::Tone::hz(1000.0, 8000);
    let spec = crate::media::codec::CODECS.iter().find(|spec| spec.name == "pcmu").expect("always there");
    let mut encoder = (spec.encoder)(&crate::media::codec::EncoderSettings::default()).expect("always made");
    let encode = |_| {
        let (mut pcm, mut payload) = ([0; 160], vec![0; 160]);
        tone.fill(&mut pcm);
        encoder.encode(&pcm, &mut payload).expect("a frame");
        payload
    };
    (0..count).map(encode).collect()
}

#[test]
fn a_strangers_packets_reach_neither_the_speaker_nor_get_ours() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Silence));
    let tape = net.listen(1, 8000);
    let silence = [0xFF; 160];
    let loud = tone_payloads(1)[0].clone();
    for turn in 0..500 {
        net.rtp(1, rtp_of(2), &packet(turn, 5, &silence));
        for stranger in ["10.0.0.7:4000", "10.0.0.2:4002", "10.0.0.2:4001"] {
            net.rtp(1, stranger.parse().expect("an address"), &packet(turn + 1, 5, &loud));
        }
        net.run(ms(20));
    }
    assert!(heard(&tape).iter().all(|&sample| sample == 0));
    assert!(net.sent.iter().all(|(_, to, _)| to.to == rtp_of(2) || to.to == rtcp_of(2)));
    assert_eq!(net.stats(1).refused, 1500);
}

#[test]
fn latching_follows_a_peer_behind_nat_and_sends_there() {
    let mut net = Net::new(1);
    let mut plan = plan(1, 9, &pcmu());
    plan.transports[0].remote = Remote::Signalled { rtp: rtp_of(9), rtcp: rtcp_of(9), latch: true };
    net.open(1, plan, local(AudioSource::Echo));
    let nat: SocketAddr = "10.0.0.8:6000".parse().expect("an address");
    for (turn, payload) in tone_payloads(100).iter().enumerate() {
        net.rtp(1, nat, &packet(turn as u32, 5, payload));
        net.run(ms(20));
    }
    assert_eq!(net.stats(1).received, 96, "the fifth packet is the first one heard");
    let to: Vec<_> = net.sent.iter().rev().take(50).map(|(_, to, _)| to.to).collect();
    assert!(to.iter().all(|&to| to == nat || to == rtcp_of(9)), "{to:?}");
}

#[test]
fn a_peer_that_never_sends_is_told_after_5_s_and_sent_to_for_10_s() {
    let mut net = Net::new(1);
    let settings = MediaSettings { media_timeout: Some(ms(8000)), ..MediaSettings::default() };
    let start = net.now;
    net.command(1, MediaCommand::Open { plan: plan(1, 9, &pcmu()), route: local(AudioSource::Silence), settings });
    net.run(ms(60_000));
    let told: Vec<_> = net
        .events
        .iter()
        .filter(|(_, _, event)| !matches!(event, MediaEvent::Stats(_)))
        .map(|(at, _, event)| (at.since(start).as_millis(), event.clone()))
        .collect();
    assert_eq!(told, [(5000, MediaEvent::NoIncomingAudio), (8000, MediaEvent::RtpLost)]);
    let (sound, kept): (Vec<_>, Vec<_>) = net.rtp_from(1).into_iter().partition(|packet| packet.5 > 0);
    assert!(sound.iter().all(|packet| packet.0.since(start) < ms(10_000)));
    assert!((3..=4).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn a_stream_that_may_not_come_is_not_missed() {
    let mut net = Net::new(1);
    let settings = MediaSettings { media_timeout: Some(ms(8000)), ..MediaSettings::default() };
    let mut plan = plan(1, 9, &pcmu());
    plan.streams[0].direction = Direction::SendOnly;
    net.command(1, MediaCommand::Open { plan, route: local(AudioSource::Silence), settings });
    net.run(ms(20_000));
    assert_eq!(net.told(1), Vec::<&MediaEvent>::new());
}

#[test]
fn a_peer_that_vanishes_is_told_once_and_again_after_it_came_back() {
    let mut net = Net::new(1);
    let settings = MediaSettings { media_timeout: Some(ms(3000)), ..MediaSettings::default() };
    net.command(1, MediaCommand::Open { plan: plan(1, 9, &pcmu()), route: local(AudioSource::Silence), settings });
    for round in 0..2 {
        for turn in 0..10 {
            net.rtp(1, rtp_of(9), &packet(round * 500 + turn, 5, &[0xFF; 160]));
            net.run(ms(20));
        }
        net.run(ms(10_000));
    }
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket, &MediaEvent::RtpLost, &MediaEvent::RtpLost]);
}

#[test]
fn a_peer_that_is_silent_but_reports_is_not_gone() {
    let mut net = Net::new(1);
    let settings = MediaSettings { media_timeout: Some(ms(20_000)), ..MediaSettings::default() };
    net.command(1, MediaCommand::Open { plan: plan(1, 9, &pcmu()), route: local(AudioSource::Silence), settings });
    net.rtp(1, rtp_of(9), &packet(0, 5, &[0xFF; 160]));
    for _ in 0..12 {
        net.inject(rtcp_of(9), rtcp_of(1), vec![0x80, 201, 0, 1, 0, 0, 0, 5]);
        net.run(ms(5000));
    }
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket]);
    net.run(ms(21_000));
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket, &MediaEvent::RtpLost]);
}

#[test]
fn a_peer_that_pauses_with_comfort_noise_is_heard_as_noise() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Silence));
    let tape = net.listen(1, 8000);
    for (turn, payload) in (0..50).zip(&tone_payloads(50)) {
        net.rtp(1, rtp_of(9), &packet(turn, 5, payload));
        net.run(ms(20));
    }
    // -50 dBov, then nothing for two seconds.
    net.rtp(1, rtp_of(9), &RtpPacket { payload_type: 13, ..packet(50, 5, &[50]) });
    net.run(ms(200));
    heard(&tape);
    net.run(ms(2000));
    let pause = heard(&tape);
    let power = pause.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pause.len() as f64;
    assert!((10.0 * (power / 32_768.0_f64.powi(2)).log10() + 50.0).abs() < 2.0, "{power}");
    assert_eq!(net.stats(1).lost, 0);
}

/// A peer that changes from PCMU to Opus within its stream: the clock of its timestamps changes with it (RFC 7160).
#[test]
fn jitter_is_told_at_the_clock_of_the_codec_in_use() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &[codec("pcmu", 0), codec("opus", 96)]), local(AudioSource::Silence));
    let spec = crate::media::codec::by_name("opus").expect("built in");
    let mut encoder = (spec.encoder)(&crate::media::codec::EncoderSettings::default()).expect("always made");
    for turn in 0..200 {
        let mut payload = vec![0; 200];
        let sent = if turn < 50 {
            packet(turn, 5, &[0xFF; 160])
        } else {
            let length = encoder.encode(&[0; 960], &mut payload).expect("a frame");
            payload.truncate(length);
            RtpPacket { payload_type: 96, timestamp: 8000 + turn * 960, ..packet(turn, 5, &payload) }
        };
        net.rtp(1, rtp_of(9), &sent);
        net.run(ms(20));
    }
    assert!(net.stats(1).jitter_ms < 1.0, "{}", net.stats(1).jitter_ms);
}

/// Sound of 1000 Hz comes with the headers of `packets`; returns the recording.
fn hear(packets: impl Iterator<Item = RtpPacket<'static>>) -> (Vec<i16>, MediaStats) {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Silence));
    let tape = net.listen(1, 8000);
    for (packet, payload) in packets.zip(&tone_payloads(400)) {
        net.rtp(1, rtp_of(9), &RtpPacket { payload, ..packet });
        net.run(ms(20));
    }
    (heard(&tape), net.stats(1))
}

#[test]
fn numbers_and_timestamps_wrap_unheard() {
    let packets = (0..200_u32).map(|turn| {
        let packet = packet(turn, 5, &[]);
        let (seq, timestamp) = (packet.seq.wrapping_sub(100), packet.timestamp.wrapping_sub(80 * 160));
        RtpPacket { seq, timestamp, ..packet }
    });
    let (pcm, stats) = hear(packets);
    assert!(tones::snr_db(1000.0, 8000, &pcm[4000..30_000]) > 33.0);
    assert_eq!((stats.received, stats.lost, stats.concealed_ms), (200, 0, 0));
}

/// Threats A6: sound is back within 200 ms after a jump of half the timestamp space, or another SSRC.
#[test]
fn after_a_jump_or_a_new_ssrc_the_sound_is_back_within_200_ms() {
    for (ssrc, seq, timestamp) in [(5, 0, 1 << 31), (5, 20_000, 77_777), (6, 40_000, 123)] {
        let packets = (0..200_u32).map(move |turn| {
            let packet = packet(turn, 5, &[]);
            let jumped = RtpPacket {
                ssrc,
                seq: packet.seq.wrapping_add(seq),
                timestamp: packet.timestamp.wrapping_add(timestamp),
                ..packet
            };
            if turn < 100 { packet } else { jumped }
        });
        let (pcm, stats) = hear(packets);
        let after = &pcm[16_000 + 1600..31_000];
        assert!(tones::snr_db(1000.0, 8000, after) > 30.0, "{ssrc} {seq}: {}", tones::snr_db(1000.0, 8000, after));
        assert!(stats.received >= 199, "{}", stats.received);
        assert_eq!(stats.lost, 0);
    }
}

#[test]
fn a_peer_may_change_to_another_agreed_codec() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &[codec("pcmu", 0), codec("g722", 9)]), local(AudioSource::Silence));
    let tape = net.listen(1, 16_000);
    for turn in 0..100 {
        let packet = RtpPacket { payload_type: if turn < 50 { 0 } else { 9 }, ..packet(turn, 5, &[0xFF; 160]) };
        net.rtp(1, rtp_of(9), &packet);
        net.run(ms(20));
    }
    let samples = heard(&tape).len() as i64;
    assert!((samples - 32_000).abs() < 1000, "{samples}");
    let stats = net.stats(1);
    assert_eq!((stats.received, stats.lost, stats.refused), (100, 0, 0));
    assert!(stats.concealed_ms <= 60, "{}", stats.concealed_ms);
}

#[test]
fn forged_digits_and_goodbyes_of_strangers_do_nothing() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Silence));
    for turn in 0..100 {
        net.rtp(1, rtp_of(2), &packet(turn, 5, &[0xFF; 160]));
        let event = RtpPacket { payload_type: 101, timestamp: turn * 160 + 7, ..packet(turn, 5, &[1, 0x8A, 3, 32]) };
        net.rtp(1, rtp_of(7), &event);
        net.rtp(1, rtp_of(2), &RtpPacket { ssrc: turn + 1000, seq: 3, ..event });
        net.inject(rtcp_of(7), rtcp_of(1), vec![0x80, 201, 0, 1, 0, 0, 0, 5, 0x81, 203, 0, 1, 0, 0, 0, 5]);
        net.inject(rtcp_of(2), rtcp_of(1), vec![0x80, 201, 0, 1, 0, 0, 0, 9, 0x81, 203, 0, 1, 0, 0, 0, 9]);
        net.run(ms(20));
    }
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket]);
    let stats = net.stats(1);
    assert_eq!((stats.received, stats.lost), (100, 0));
}

/// A device that gives and takes all that it is asked for, at once.
struct Unpaced(Option<Sender<Vec<i16>>>);

impl SoundSource for Unpaced {
    fn rate(&self) -> u32 {
        48_000
    }
    fn read(&mut self, out: &mut [i16]) -> usize {
        out.fill(0);
        out.len()
    }
    fn available(&self) -> Option<usize> {
        Some(48_000)
    }
}

impl SoundSink for Unpaced {
    fn rate(&self) -> u32 {
        48_000
    }
    fn write(&mut self, pcm: &[i16]) {
        if let Some(tape) = &self.0 {
            tape.send(pcm.to_vec()).ok();
        }
    }
    fn wanted(&self) -> Option<usize> {
        Some(48_000)
    }
}

#[test]
fn an_unpaced_microphone_cannot_make_us_send_over_51_packets_a_second_and_its_zeros_are_told() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Device("default".into())));
    let now = net.now;
    net.set_of(1).attach(now, MediaId(1), Some(Box::new(Unpaced(None))), None);
    net.run(ms(9_900));
    assert_eq!(net.told(1), [&MediaEvent::NoIncomingAudio, &MediaEvent::SilentMicrophone]);
    let packets = net.rtp_from(1);
    for first in &packets {
        let second = packets.iter().filter(|packet| packet.0 >= first.0 && packet.0.since(first.0) < ms(1000)).count();
        assert!(second <= 51, "{second}");
    }
    assert!(packets.len() >= 485, "{}", packets.len());
}

#[test]
fn an_unpaced_speaker_does_not_drain_the_jitter_buffer() {
    let mut net = Net::new(2);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Tone(440.0)));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    let (sender, tape) = channel();
    let now = net.now;
    net.set_of(2).attach(now, MediaId(2), None, Some(Box::new(Unpaced(Some(sender)))));
    net.run(ms(5000));
    let samples = heard(&tape).len();
    assert!((48_000 * 5..48_000 * 52 / 10).contains(&samples), "{samples}");
}

#[test]
fn a_codec_that_is_not_built_in_is_told_and_nothing_is_sent() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &[codec("speex", 97)]), local(AudioSource::Silence));
    net.run(ms(1000));
    assert!(matches!(net.told(1)[..], [MediaEvent::DeviceFailed { .. }]));
    assert!(net.sent.is_empty());
}

/// RFC 3550 §8.2, and a peer that is nothing but a mirror.
#[test]
fn our_own_ssrc_in_a_peers_packets_makes_us_take_another_one_once() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Tone(440.0)));
    let tape = net.listen(1, 8000);
    let mut seen = 0;
    for _ in 0..150 {
        net.run(ms(20));
        let ours: Vec<_> =
            net.sent[seen..].iter().filter(|(_, to, _)| to.socket.0 == 2).map(|sent| sent.2.clone()).collect();
        seen = net.sent.len();
        ours.into_iter().for_each(|bytes| net.inject(rtp_of(9), rtp_of(1), bytes));
    }
    let mut ssrcs: Vec<u32> =
        net.sent.iter().filter_map(|(_, _, bytes)| RtpPacket::parse(bytes).ok()).map(|packet| packet.ssrc).collect();
    ssrcs.dedup();
    assert_eq!(ssrcs.len(), 2);
    assert!(
        net.sent.iter().any(|(_, _, bytes)| is_rtcp(bytes) && bytes.ends_with(&ssrcs[0].to_be_bytes())),
        "a goodbye"
    );
    assert!(tones::snr_db(440.0, 8000, &heard(&tape)[8000..20_000]) > 30.0, "the mirror is heard");
}

#[test]
fn a_route_that_names_the_same_sink_keeps_it() {
    let mut net = Net::new(2);
    let route = |source| Route::Local { source, sink: AudioSink::File("x.wav".into()) };
    net.open(1, plan(1, 2, &pcmu()), route(AudioSource::Silence));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Tone(440.0)));
    let tape = net.listen(1, 8000);
    net.run(ms(500));
    net.command(1, MediaCommand::Route(route(AudioSource::Tone(300.0))));
    net.run(ms(500));
    assert!(heard(&tape).len() >= 7600);
    net.command(1, MediaCommand::Route(local(AudioSource::Tone(300.0))));
    net.run(ms(500));
    assert_eq!(heard(&tape).len(), 0);
    let packets = net.rtp_from(1);
    // The first packets may come closer: the ticks of sending join those of playing once the peer is heard.
    assert!(packets.windows(2).skip(3).all(|pair| pair[1].0.since(pair[0].0) == ms(20)), "no hole, no haste");
    assert!(packets.windows(2).all(|pair| pair[1].0.since(pair[0].0) <= ms(20)), "no hole");
}
