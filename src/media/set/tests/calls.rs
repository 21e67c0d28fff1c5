//! Two sessions that talk to each other.

use super::*;

#[test]
fn a_tone_crosses_a_clean_call_in_every_codec() {
    for (name, pt, least) in [("pcmu", 0, 33.0), ("pcma", 8, 33.0), ("g722", 9, 33.0), ("opus", 96, 20.0)] {
        if name == "opus" && !cfg!(feature = "opus") {
            continue;
        }
        let mut net = Net::new(2);
        net.open(1, plan(1, 2, &[codec(name, pt)]), local(AudioSource::Tone(440.0)));
        net.open(2, plan(2, 1, &[codec(name, pt)]), local(AudioSource::Silence));
        let tape = net.listen(2, 16_000);
        net.run(ms(3000));
        let pcm = heard(&tape);
        assert!((pcm.len() as i64 - 48_000).abs() < 800, "{name}: {}", pcm.len());
        let snr = tones::snr_db(440.0, 16_000, &pcm[16_000..40_000]);
        assert!(snr > least, "{name}: {snr:.1} dB");
        let stats = net.stats(2);
        assert_eq!((stats.lost, stats.late, stats.concealed_ms, stats.refused), (0, 0, 0, 0), "{name}");
        assert!(stats.received >= 149, "{name}: {}", stats.received);
    }
}

#[test]
fn packets_leave_every_20_ms_with_numbers_in_order_and_one_marker() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Silence));
    net.run(ms(2000));
    let packets = net.rtp_from(1);
    assert!((100..=101).contains(&packets.len()), "{}", packets.len());
    assert!(packets.iter().enumerate().all(|(n, packet)| packet.4 == (n == 0)));
    for pair in packets.windows(2) {
        assert_eq!(pair[1].0.since(pair[0].0), ms(20));
        assert_eq!(pair[1].1, pair[0].1.wrapping_add(1));
        assert_eq!(pair[1].2, pair[0].2.wrapping_add(160));
    }
}

/// Echo of a clean call: how long after its packet came in the same sound goes out, and the steps between packets, µs.
fn echo_delays(jitter_us: u64) -> (Vec<u64>, Vec<u64>) {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Echo));
    let mut rng = Rng::new([7; 32]);
    let (mut arrived, start) = (Vec::new(), net.now);
    for turn in 0..500_u64 {
        let at = start + ms(turn * 20) + Duration::from_micros(3300 + rng.below(jitter_us + 1));
        let wait = at.since(net.now);
        net.run(wait);
        // Each packet carries one sound only, so that its echo can be told.
        let payload = [0x80 + (turn % 100) as u8; 160];
        let packet = RtpPacket {
            payload_type: 0,
            marker: turn == 0,
            seq: turn as u16,
            timestamp: turn as u32 * 160,
            ssrc: 5,
            extension: None,
            payload: &payload,
        };
        net.rtp(1, rtp_of(9), &packet);
        arrived.push((net.now + net.delay, payload[0]));
    }
    net.run(ms(100));
    let out: Vec<_> = net.sent.iter().filter(|(_, to, bytes)| to.socket.0 == 2 && !is_rtcp(bytes)).collect();
    let delays = arrived[50..]
        .iter()
        .filter_map(|(at, value)| {
            let echo =
                out.iter().find(|(sent, _, bytes)| sent >= at && bytes[12..].iter().all(|byte| byte == value))?;
            Some(echo.0.since(*at).as_micros() as u64)
        })
        .collect();
    let steps = out.windows(2).skip(50).map(|pair| pair[1].0.since(pair[0].0).as_micros() as u64).collect();
    (delays, steps)
}

#[test]
fn the_echo_of_a_clean_call_comes_within_10_ms_and_evenly() {
    for jitter in [0, 300, 1500] {
        let (mut delays, mut steps) = echo_delays(jitter);
        assert!(delays.len() > 430, "{jitter}: {} of 450 packets came back whole", delays.len());
        delays.sort_unstable();
        let (median, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
        assert!(median <= 7_500 && p99 <= 10_000, "{jitter} µs jitter: median {median} µs, p99 {p99} µs");
        steps.iter_mut().for_each(|step| *step = step.abs_diff(20_000));
        steps.sort_unstable();
        assert_eq!(steps[steps.len() * 99 / 100], 0, "{jitter}: pacing");
    }
}

#[test]
fn digits_arrive_once_each_and_the_sender_is_told() {
    let mut net = Net::new(2);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Tone(300.0)));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.run(ms(500));
    net.command(1, MediaCommand::SendDtmf { digits: "1,2#".into(), duration: ms(100) });
    net.run(ms(3000));
    let digit = |digit| MediaEvent::Digit { digit, duration: ms(100) };
    assert_eq!(net.told(2), [&MediaEvent::FirstPacket, &digit('1'), &digit('2'), &digit('#')]);
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket, &MediaEvent::DtmfSent]);
    // The sequence has no gap: an event packet takes the place of sound.
    let packets = net.rtp_from(1);
    assert!(packets.windows(2).all(|pair| pair[1].1 == pair[0].1.wrapping_add(1)));
    assert_eq!(net.stats(2).lost, 0);
}

#[test]
fn digits_are_sent_without_a_source_and_nothing_after_them() {
    let mut net = Net::new(2);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::None));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.run(ms(500));
    assert!(net.rtp_from(1).is_empty());
    net.command(1, MediaCommand::SendDtmf { digits: "7*".into(), duration: ms(100) });
    net.run(ms(1000));
    let digit = |digit| MediaEvent::Digit { digit, duration: ms(100) };
    assert_eq!(net.told(2), [&MediaEvent::FirstPacket, &digit('7'), &digit('*')]);
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket, &MediaEvent::DtmfSent]);
    let before = net.rtp_from(1);
    net.run(ms(2000));
    assert_eq!(net.rtp_from(1).len(), before.len());
    net.command(1, MediaCommand::SendDtmf { digits: "1".into(), duration: ms(100) });
    net.run(ms(1000));
    let after = net.rtp_from(1).split_off(before.len());
    let (last, first) = (before.last().expect("some"), after.first().expect("some"));
    assert_eq!(first.1, last.1.wrapping_add(1));
    let passed = first.0.since(last.0).as_millis() as u32 * 8;
    assert!(first.2.wrapping_sub(last.2).abs_diff(passed) <= 160, "the stream's clock went on");
}

#[test]
fn digits_without_an_agreement_are_not_sent() {
    let mut net = Net::new(1);
    let mut plan = plan(1, 9, &pcmu());
    plan.streams[0].dtmf = None;
    net.open(1, plan, local(AudioSource::Silence));
    net.command(1, MediaCommand::SendDtmf { digits: "1".into(), duration: ms(100) });
    net.run(ms(500));
    assert!(net.rtp_from(1).iter().all(|packet| packet.3 == 0));
}

#[test]
fn a_held_stream_is_silent_but_for_keep_alives() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 9, &pcmu()), local(AudioSource::Silence));
    net.run(ms(1000));
    let mut held = plan(1, 9, &pcmu());
    held.streams[0].direction = Direction::Inactive;
    net.command(1, MediaCommand::SetPlan(held));
    let before = net.rtp_from(1);
    net.run(ms(40_000));
    let during = net.rtp_from(1).split_off(before.len());
    assert!((2..=3).contains(&during.len()), "{during:?}");
    assert!(during.iter().all(|packet| packet.5 == 0 && packet.3 >= 96 && packet.3 != 101), "{during:?}");
    let times: Vec<_> = before.last().into_iter().chain(&during).map(|packet| packet.0).collect();
    assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) <= ms(15_000)), "{times:?}");
}

#[test]
fn resuming_continues_the_numbers_and_lets_the_timestamp_catch_up() {
    let mut net = Net::new(2);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Silence));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.run(ms(1000));
    let mut held = plan(1, 2, &pcmu());
    held.streams[0].direction = Direction::RecvOnly;
    net.command(1, MediaCommand::SetPlan(held));
    net.run(ms(5000));
    let before = net.rtp_from(1);
    net.command(1, MediaCommand::SetPlan(plan(1, 2, &pcmu())));
    net.run(ms(1000));
    let after = net.rtp_from(1).split_off(before.len());
    let (last, first) = (before.last().expect("some"), after.first().expect("some"));
    assert_eq!(first.1, last.1.wrapping_add(1));
    assert!(first.4, "a talk spurt begins");
    let passed = first.0.since(last.0).as_millis() as u32 * 8;
    assert!(first.2.wrapping_sub(last.2).abs_diff(passed) <= 320, "{} {passed}", first.2.wrapping_sub(last.2));
    assert!(after.len() >= 49);
    assert_eq!(net.stats(2).lost, 0);
}

/// RFC 3711 §9.1: no key meets the same SSRC and number twice.
#[test]
fn a_new_key_of_ours_comes_with_a_new_ssrc_and_an_old_one_keeps_its_own() {
    use crate::sdp::plan::{MasterKey, SdesKeys, Suite};
    let keys = |send: u8| {
        let suite = Suite::AesCm128Sha1Tag80;
        let key = |seed| MasterKey::random(suite, &mut Rng::new([seed; 32]));
        Protection::Sdes(Box::new(SdesKeys { suite, send: key(send), receive: key(100), mki: None }))
    };
    let mut net = Net::new(1);
    let mut first = Vec::new();
    for (n, protection) in [keys(1), keys(1), keys(2), Protection::None, keys(2), keys(1)].into_iter().enumerate() {
        let mut next = plan(1, 9, &pcmu());
        next.transports[0].protection = protection;
        match n {
            0 => net.open(1, next, local(AudioSource::Silence)),
            _ => net.command(1, MediaCommand::SetPlan(next)),
        }
        let before = net.sent.len();
        net.run(ms(200));
        let packets = net.sent[before..].iter().filter(|(_, to, _)| to.socket.0 == 2);
        let packets: Vec<_> = packets.map(|(_, _, bytes)| RtpPacket::parse_opaque(bytes).expect("RTP")).collect();
        assert!(packets.len() >= 9 && packets.iter().all(|packet| packet.ssrc == packets[0].ssrc), "{n}");
        first.push((packets[0].ssrc, packets[0].seq));
    }
    let same: Vec<_> = first.windows(2).map(|pair| pair[0].0 == pair[1].0).collect();
    assert_eq!(same, [true, false, true, false, false]);
    // Whoever misses the first packets of an SSRC still knows its rollover counter.
    assert!(first.iter().all(|(_, seq)| *seq < 0x8000 + 100), "{first:?}");
}

#[test]
fn muting_sends_silence_at_the_same_pace() {
    let mut net = Net::new(2);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Tone(440.0)));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.command(1, MediaCommand::Mute(true));
    let tape = net.listen(2, 8000);
    net.run(ms(2000));
    assert!(heard(&tape).iter().all(|sample| sample.unsigned_abs() <= 8));
    assert!(net.rtp_from(1).len() >= 100);
    net.command(1, MediaCommand::Mute(false));
    net.run(ms(1000));
    assert!(tones::level_db(&heard(&tape)) > -20.0);
}

#[test]
fn a_relay_passes_packets_on_undecoded_both_ways() {
    // 1 calls 2 through the bridge of 3 (towards 1) and 4 (towards 2).
    let mut net = Net::new(1);
    net.open(3, plan(3, 1, &pcmu()), Route::Relay { peer: MediaId(4) });
    net.open(4, plan(4, 2, &pcmu()), Route::Relay { peer: MediaId(3) });
    net.open(1, plan(1, 3, &pcmu()), local(AudioSource::Tone(440.0)));
    net.open(2, plan(2, 4, &pcmu()), local(AudioSource::Tone(880.0)));
    let (one, two) = (net.listen(1, 8000), net.listen(2, 8000));
    net.run(ms(12_000));
    let (one, two) = (heard(&one), heard(&two));
    assert!(tones::snr_db(880.0, 8000, &one[8000..80_000]) > 30.0);
    assert!(tones::snr_db(440.0, 8000, &two[8000..80_000]) > 30.0);
    let came = |sender: u64| net.rtp_from(sender).len();
    assert!(came(3).abs_diff(came(2)) <= 1 && came(4).abs_diff(came(1)) <= 1);
    let told: Vec<_> = net.told(3).into_iter().cloned().collect();
    assert_eq!(told, [MediaEvent::FirstPacket]);
    let rtt = net.stats(1).rtt_ms;
    assert!(rtt.is_some_and(|rtt| (rtt - 2.0).abs() < 0.5), "RTCP went through too: {rtt:?}");
}

#[test]
fn reports_tell_round_trip_and_loss_and_a_bye_ends_them() {
    let mut net = Net::new(2);
    net.delay = ms(30);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Silence));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.run(ms(20_000));
    let stats = net.stats(1);
    assert!(stats.rtt_ms.is_some_and(|rtt| (rtt - 60.0).abs() < 1.0), "{:?}", stats.rtt_ms);
    assert_eq!(stats.remote_loss, Some(0.0));
    let reports: Vec<_> = net.sent.iter().filter(|(_, to, _)| to.socket.0 == 3).collect();
    assert!((4..=10).contains(&reports.len()), "{}", reports.len());
    assert!(reports.iter().all(|(_, to, bytes)| to.to == rtcp_of(2) && bytes[1] == 200));
    net.command(1, MediaCommand::Close);
    let (_, to, last) = net.sent.last().expect("a goodbye");
    assert_eq!((to.to, &last[last.len() - 8..last.len() - 4]), (rtcp_of(2), &[0x81, 203, 0, 1][..]));
    assert!(matches!(net.told(1).last(), Some(MediaEvent::Closed(stats)) if stats.sent > 990));
    net.command(2, MediaCommand::Close);
    net.run(ms(1000));
    net.drain();
    assert!(net.sets.iter().all(|set| set.is_quiet() && set.poll_timeout().is_none()));
}

#[test]
fn a_file_is_resampled_told_to_have_ended_and_followed_by_silence() {
    let mut net = Net::new(2);
    let file = AudioSource::File { path: "x.wav".into(), repeat: false };
    net.open(1, plan(1, 2, &pcmu()), local(file));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    let tape = net.listen(2, 8000);
    let mut clip = vec![0; 44_100];
    tones::Tone::hz(500.0, 44_100).fill(&mut clip);
    net.play(1, 44_100, clip);
    net.run(ms(3000));
    let pcm = heard(&tape);
    assert!(tones::snr_db(500.0, 8000, &pcm[2000..7000]) > 30.0);
    assert!(pcm[12_000..].iter().all(|sample| sample.unsigned_abs() <= 8));
    assert_eq!(net.told(1), [&MediaEvent::FirstPacket, &MediaEvent::SourceEnded]);
    assert!(net.rtp_from(1).len() >= 150);
}

#[test]
fn figures_come_every_second_with_levels_and_a_mos_once_there_is_enough() {
    let mut net = Net::new(2);
    let start = net.now;
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Tone(440.0)));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Silence));
    net.run(ms(4600));
    let figures: Vec<_> = net
        .events
        .iter()
        .filter_map(|(at, n, event)| match event {
            MediaEvent::Stats(stats) if *n == 1 => Some((at.since(start).as_millis(), stats.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(figures.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1000, 2000, 3000, 4000]);
    assert_eq!(figures[0].1.mos, None);
    let stats = &figures[3].1;
    assert!(stats.mos.is_some_and(|mos| mos > 4.3), "{:?}", stats.mos);
    assert!(stats.mic_db.is_some_and(|db| (db + 15.0).abs() < 0.3), "{:?}", stats.mic_db);
    assert!(stats.speaker_db.is_some_and(|db| db < -70.0), "{:?}", stats.speaker_db);
    assert_eq!((stats.codec.as_str(), stats.rate), ("pcmu", 8000));
}

/// Seam 1: how many loops carry the calls makes no difference to what is heard.
#[test]
fn one_set_and_three_sets_sound_the_same() {
    let sounds = |sets| {
        let mut net = Net::new(sets);
        for (n, peer, hz) in [(1, 2, 440.0), (2, 1, 550.0), (3, 4, 660.0), (4, 3, 770.0)] {
            net.open(n, plan(n, peer, &pcmu()), local(AudioSource::Tone(hz)));
        }
        let tapes: Vec<_> = (1..=4).map(|n| net.listen(n, 8000)).collect();
        net.run(ms(2000));
        tapes.iter().map(heard).collect::<Vec<_>>()
    };
    assert_eq!(sounds(1), sounds(3));
}

/// A source with a planted fault.
struct Faulty;

impl SoundSource for Faulty {
    fn rate(&self) -> u32 {
        8000
    }
    fn read(&mut self, _out: &mut [i16]) -> usize {
        panic!("planted")
    }
}

#[test]
fn a_fault_in_one_session_breaks_it_alone_and_it_can_still_be_closed() {
    let mut net = Net::new(1);
    net.open(1, plan(1, 2, &pcmu()), local(AudioSource::Tone(440.0)));
    net.open(2, plan(2, 1, &pcmu()), local(AudioSource::Tone(440.0)));
    net.run(ms(1000));
    let now = net.now;
    net.set_of(2).attach(now, MediaId(2), Some(Box::new(Faulty)), None);
    net.run(ms(1000));
    assert_eq!(net.told(2).last(), Some(&&MediaEvent::Broken));
    assert!(net.rtp_from(2).len() <= 51);
    assert!(net.rtp_from(1).len() >= 100, "the other session goes on");
    net.command(2, MediaCommand::Close);
    let Some(MediaEvent::Closed(stats)) = net.told(2).last() else { panic!("not closed: {:?}", net.told(2)) };
    assert!(stats.sent >= 49, "{stats:?}");
    net.command(1, MediaCommand::Close);
    net.drain();
    assert!(net.sets[0].is_quiet());
}
