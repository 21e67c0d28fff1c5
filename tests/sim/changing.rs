//! Other changes in the middle of a call: codecs, packet length, bodies of several parts, INFO.

use crate::calls::{answered, ended, incoming, phone, ringing_call, two_phones};
use crate::kit::peer::*;
use bellwire::api::{Command, CommandError, Event};
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn changed(event: &Event) -> bool {
    matches!(event, Event::CallChanged { .. })
}

/// Bob's description with PCMU and PCMA, in this version.
fn both(version: u32, formats: &str) -> String {
    format!(
        "v=0\r\no=- 1 {version} IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n\
         m=audio {BOB_RTP} RTP/AVP {formats}\r\n"
    )
}

#[test]
fn we_take_another_codec_and_the_sound_goes_on() {
    let (mut world, alice, bob) = two_phones(50);
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(secs(2));
    for (codecs, wanted) in [(vec!["pcma".to_owned()], "pcma"), (vec!["g722".to_owned(), "pcmu".into()], "g722")] {
        world.command(alice, Command::Codecs { call, codecs }).unwrap();
        for node in [alice, bob] {
            let event = world.run_until(node, changed);
            let Event::CallChanged { audio: Some(audio), .. } = event else { panic!() };
            assert_eq!(audio.codec, wanted);
        }
        world.run_for(secs(3));
        assert!(world.heard(bob).snr_db(440.0, 2.0) > 20.0, "{wanted}");
        assert!(world.heard(alice).snr_db(1000.0, 2.0) > 20.0, "{wanted}");
    }
    // The next one of those there are, after G.722: PCMU; and a hold keeps it.
    world.command(alice, Command::Codecs { call, codecs: Vec::new() }).unwrap();
    let Event::CallChanged { audio: Some(first), .. } = world.run_until(alice, changed) else { panic!() };
    assert_ne!(first.codec, "g722");
    world.command(alice, Command::Hold { call }).unwrap();
    let Event::CallChanged { audio: Some(held), .. } = world.run_until(alice, changed) else { panic!() };
    assert_eq!(held.codec, first.codec);
    let bad = world.command(alice, Command::Codecs { call, codecs: vec!["g729".into()] });
    assert_eq!(bad, Err(CommandError::BadCodec("g729".into())));
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.assert_quiet();
}

#[test]
fn a_codec_that_the_peer_does_not_want_leaves_the_old_one() {
    let (mut scene, call, _) = Scene::answered(phone());
    scene.world.command(scene.alice, Command::Codecs { call, codecs: vec!["g722".into()] }).unwrap();
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("RTP/AVP 9 ") && !body(&invite).contains("PCMU"), "{invite}");
    scene.say(&reply(&invite, "488 Not Acceptable Here", "", "", ""));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, |event| matches!(event, Event::CallChangeRefused { .. }));
    scene.world.packets(scene.bob, BOB_RTP);
    scene.world.run_for(secs(1));
    let packets = scene.world.packets(scene.bob, BOB_RTP);
    assert!(packets.len() > 45 && packets.iter().all(|(_, bytes)| bytes[1] & 0x7f == 0));
    // The next offer has all of them again.
    scene.world.command(scene.alice, Command::Hold { call }).unwrap();
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("PCMU") && body(&invite).contains("opus"), "{invite}");
    scene.say(&reply(&invite, "200 OK", "", CONTACT, &(later(&sdp("10.0.0.9", BOB_RTP)) + "a=recvonly\r\n")));
    scene.hear("ACK");
    scene.finish(call);
}

#[test]
fn the_peer_changes_codec_and_packet_length_and_back() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    for (version, (formats, ptime, kind, length)) in (2..).zip([
        ("0", "a=ptime:40\r\n", 0, 320),
        ("8 0", "a=ptime:60\r\n", 8, 480),
        ("8", "a=ptime:60\r\na=maxptime:30\r\n", 8, 240),
        ("0 8", "a=ptime:10\r\n", 0, 80),
        ("0", "", 0, 160),
    ]) {
        let text = dialog.request("INVITE", "", &(both(version, formats) + ptime));
        scene.say(&text);
        scene.hear("200");
        let ack = dialog.ack(dialog.seq, "");
        scene.say(&ack);
        scene.world.run_until(scene.alice, changed);
        scene.world.run_for(Duration::from_millis(100));
        scene.world.packets(scene.bob, BOB_RTP);
        scene.world.run_for(secs(1));
        let packets = scene.world.packets(scene.bob, BOB_RTP);
        let all = packets.iter().all(|(_, bytes)| (bytes[1] & 0x7f, bytes.len() - 12) == (kind, length));
        assert!(all, "{formats} {ptime}: {:?}", packets.first().map(|(_, bytes)| (bytes[1] & 0x7f, bytes.len() - 12)));
        let wanted = 8000 / length;
        assert!(packets.len().abs_diff(wanted) <= 2, "{} of {wanted}", packets.len());
    }
    scene.finish(call);
}

/// An INVITE of bob's whose body has these parts.
fn in_parts(parts: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (head, content) in parts {
        text += &format!("--frontier\r\n{head}\r\n\r\n{content}\r\n");
    }
    text += "--frontier--\r\n";
    invite("in", &text).replace("application/sdp\r\nContent-L", "multipart/mixed;boundary=frontier\r\nContent-L")
}

#[test]
fn a_description_is_found_among_the_parts_of_a_body() {
    let sdp = sdp("10.0.0.9", BOB_RTP);
    let isup = "Content-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional";
    for parts in [
        vec![("Content-Type: application/sdp", sdp.as_str()), (isup, "\u{1}\u{0}I")],
        vec![(isup, "\u{1}\u{0}I"), ("Content-Type: application/sdp\r\nContent-Disposition: session", sdp.as_str())],
    ] {
        let mut scene = Scene::new(phone());
        let call = scene.ring(&in_parts(&parts));
        scene.answer(call);
        let answer = scene.hear("200");
        assert!(body(&answer).contains("m=audio "));
        let ack = Dialog::of_caller(&answer).ack(1, "");
        scene.say(&ack);
        scene.world.run_until(scene.alice, answered);
        scene.world.run_for(secs(1));
        assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 45);
        scene.finish(call);
    }
}

#[test]
fn a_part_that_must_be_understood_and_is_not_refuses_the_call() {
    let sdp = sdp("10.0.0.9", BOB_RTP);
    for parts in [
        vec![("Content-Type: application/sdp", sdp.as_str()), ("Content-Type: application/ISUP", "\u{1}")],
        vec![
            ("Content-Type: application/sdp", sdp.as_str()),
            ("Content-Type: text/plain\r\nContent-Disposition: render;handling=required", "x"),
        ],
        vec![("Content-Type: text/plain", "x")],
    ] {
        let mut scene = Scene::new(phone());
        scene.say(&in_parts(&parts));
        let refusal = scene.hear("415");
        assert!(header(&refusal, "Accept").contains("application/sdp"), "{refusal}");
        assert_eq!(scene.count(ringing_call), 0);
    }
}

#[test]
fn an_answer_among_parts_is_an_answer() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    let body = format!(
        "--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x\r\nContent-Type: application/sdp\r\n\r\n{}--x--\r\n",
        sdp("10.0.0.9", BOB_RTP) + "\r\n"
    );
    let answer = reply(&invite, "200 OK", "b", CONTACT, &body).replace(
        "Content-Type: application/sdp\r\nContent-L",
        "Content-Type: multipart/mixed; boundary=x\r\nContent-L",
    );
    scene.say(&answer);
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 45);
    scene.finish(call);
}

#[test]
fn info_and_options_in_a_call_are_answered_and_digits_are_read() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let relay = "Content-Type: application/dtmf-relay\r\n";
    for (method, kind, content, status) in [
        ("INFO", "", "", "200"),
        ("INFO", relay, "Signal=5\r\nDuration=200\r\n", "200"),
        ("INFO", relay, "Signal= #\r\nDuration= 200\r\n", "200"),
        ("INFO", "Content-Type: application/dtmf\r\n", "9", "200"),
        ("INFO", relay, "nonsense", "400"),
        ("INFO", "Content-Type: application/media_control+xml\r\n", "<x/>", "415"),
        ("INFO", "Info-Package: nobody\r\nContent-Type: text/plain\r\n", "x", "469"),
        ("OPTIONS", "", "", "200"),
    ] {
        let text = dialog.request(method, kind, content).replace("Content-Type: application/sdp\r\n", "");
        scene.say(&text);
        let answer = scene.hear(status);
        match status {
            "415" => assert!(header(&answer, "Accept").contains("application/dtmf-relay")),
            "469" => assert_eq!(lines(&answer, "Recv-Info").len(), 1),
            _ if method == "OPTIONS" => assert!(header(&answer, "Allow").contains("INFO")),
            _ => {}
        }
    }
    let digits: Vec<char> = scene
        .world
        .events(scene.alice)
        .into_iter()
        .filter_map(|event| match event {
            Event::DtmfReceived { digit, .. } => Some(*digit),
            _ => None,
        })
        .collect();
    assert_eq!(digits, ['5', '#', '9']);
    // What only looks like ours ends nothing.
    let mut wrong = dialog.clone();
    wrong.to = wrong.to.replace(";tag=", ";tag=x");
    let stray = wrong.request("INFO", "", "");
    scene.say(&stray.replace("z9hG4bK", "z9hG4bKx"));
    scene.hear("481");
    scene.finish(call);
}
