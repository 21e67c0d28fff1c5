//! What is heard before the answer (RFC 3960): ringback, early media of one or several callees, announcements.

use crate::calls::{answered, phone};
use crate::kit::peer::*;
use crate::kit::sound::Heard;
use bellwire::api::{AudioRoute, Command, Event};
use bellwire::media::command::{AudioSink, AudioSource};
use bellwire::time::Duration;

const RINGBACK: f64 = 425.0;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Whether the last seconds hold ringback: it sounds one second in five.
fn has_ringback(heard: &Heard, seconds: f64) -> bool {
    let all = heard.samples();
    let from = all.len().saturating_sub((seconds * f64::from(heard.rate)) as usize);
    let tenth = heard.rate as usize / 10;
    all[from..].chunks_exact(tenth).any(|piece| bellwire::media::tones::snr_db(RINGBACK, heard.rate, piece) > 20.0)
}

fn ringing(invite: &str, tag: &str) -> String {
    reply(invite, "180 Ringing", tag, CONTACT, "")
}

fn progress(invite: &str, tag: &str, port: u16) -> String {
    reply(invite, "183 Session Progress", tag, CONTACT, &sdp("10.0.0.9", port))
}

#[test]
fn ringback_sounds_until_sound_comes_and_after_it_has_ceased() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&ringing(&invite, "b"));
    scene.world.run_for(secs(6));
    assert!(has_ringback(&scene.world.heard(scene.alice), 5.5));
    // A description alone is no sound.
    scene.say(&progress(&invite, "b", BOB_RTP));
    scene.world.run_for(secs(6));
    assert!(has_ringback(&scene.world.heard(scene.alice), 5.5));
    let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 900.0);
    scene.stream(&mut sound, secs(7));
    assert!(scene.world.heard(scene.alice).snr_db(900.0, 5.0) > 25.0);
    // 180 after 183: the sound goes on.
    scene.say(&ringing(&invite, "b"));
    scene.stream(&mut sound, secs(6));
    assert!(scene.world.heard(scene.alice).snr_db(900.0, 5.0) > 25.0);
    // The announcement is over, and it rings on.
    scene.world.run_for(secs(8));
    assert!(has_ringback(&scene.world.heard(scene.alice), 6.5));
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.world.run_for(secs(6));
    assert!(!has_ringback(&scene.world.heard(scene.alice), 5.5), "it rings on after the answer");
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 280);
    assert_eq!(scene.count(|event| matches!(event, Event::CallRinging { .. })), 3);
    scene.finish(call);
}

#[test]
fn without_ringing_there_is_no_ringback() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&progress(&invite, "b", BOB_RTP));
    scene.world.run_for(secs(7));
    assert!(!has_ringback(&scene.world.heard(scene.alice), 6.5));
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.finish(call);
    // Nor into a recording.
    let mut scene = Scene::new(phone());
    let audio = AudioRoute { source: AudioSource::Silence, sink: AudioSink::File("x.wav".into()) };
    let dial = Command::Dial { target: "sip:bob@10.0.0.9".into(), account: None, audio: Some(audio) };
    scene.world.command(scene.alice, dial).unwrap();
    let invite = scene.hear("INVITE");
    scene.say(&ringing(&invite, "b"));
    scene.world.run_for(secs(7));
    assert!(scene.world.all_heard(scene.alice).is_empty());
    scene.say(&reply(&invite, "486 Busy Here", "b", "", ""));
    scene.hear("ACK");
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn an_announcement_is_heard_and_then_the_refusal_told() {
    for rings in [true, false] {
        let (mut scene, _, invite) = Scene::dialled(phone());
        if rings {
            scene.say(&ringing(&invite, "b"));
        }
        scene.say(&progress(&invite, "b", BOB_RTP));
        let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 900.0);
        scene.stream(&mut sound, secs(4));
        assert!(scene.world.heard(scene.alice).snr_db(900.0, 2.0) > 25.0);
        assert!(scene.world.packets(scene.bob, BOB_RTP).is_empty(), "nothing of ours before the answer");
        scene.say(&reply(&invite, "486 Busy Here", "b", "", ""));
        scene.hear("ACK");
        let Event::CallEnded { code: Some(486), failure: Some(failure), duration_ms: None, .. } = scene.ended() else {
            panic!()
        };
        assert_eq!(failure.slug, "call.busy");
        scene.world.assert_quiet();
    }
}

#[test]
fn of_several_callees_one_is_heard_and_after_its_199_the_next() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    for (tag, port) in [("b", 4000), ("c", 4200), ("d", 4400)] {
        scene.say(&progress(&invite, tag, port));
    }
    let to = rtp_of(&invite);
    let mut streams = [Stream::new(4000, to, 500.0), Stream::new(4200, to, 900.0), Stream::new(4400, to, 1300.0)];
    for (n, stream) in (1..).zip(&mut streams) {
        stream.ssrc = n;
    }
    let all = |scene: &mut Scene, streams: &mut [Stream]| {
        for _ in 0..200 {
            for stream in streams.iter_mut() {
                let packet = stream.packet();
                scene.world.say_bytes(scene.bob, stream.from, stream.to, packet);
            }
            scene.world.run_for(Duration::from_millis(20));
        }
    };
    all(&mut scene, &mut streams);
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 2.0) > 25.0, "the first one");
    // One that nobody listens to, one that never was, and the one that is heard.
    for tag in ["d", "x", "b"] {
        scene.say(&reply(&invite, "199 Early Dialog Terminated", tag, "", ""));
    }
    all(&mut scene, &mut streams);
    assert!(scene.world.heard(scene.alice).snr_db(900.0, 2.0) > 25.0, "the next one");
    scene.say(&reply(&invite, "199 Early Dialog Terminated", "c", "", ""));
    all(&mut scene, &mut streams);
    assert!(scene.world.heard(scene.alice).peak(2.0) < 50, "nobody is left");
    scene.say(&reply(&invite, "480 Temporarily Unavailable", "b", "", ""));
    scene.hear("ACK");
    let Event::CallEnded { code: Some(480), .. } = scene.ended() else { panic!() };
    let _ = call;
    scene.world.assert_quiet();
}

#[test]
fn whoever_answers_is_heard_whichever_rang_first() {
    // With a description in its 200, and with that of its early dialog.
    for repeated in [true, false] {
        let (mut scene, call, invite) = Scene::dialled(phone());
        for (tag, port) in [("b", 4000), ("c", 4200)] {
            scene.say(&progress(&invite, tag, port));
        }
        let body = if repeated { sdp("10.0.0.9", 4200) } else { String::new() };
        scene.say(&reply(&invite, "200 OK", "c", CONTACT, &body));
        scene.hear("ACK");
        // The other one answers too: acknowledged and ended.
        scene.say(&ok(&invite, "b"));
        scene.hear("ACK");
        let bye = scene.hear("BYE");
        assert!(header(&bye, "To").ends_with(";tag=b"));
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        scene.world.run_until(scene.alice, answered);
        let mut sound = Stream::new(4200, rtp_of(&invite), 900.0);
        scene.stream(&mut sound, secs(3));
        assert!(scene.world.heard(scene.alice).snr_db(900.0, 2.0) > 25.0);
        assert!(scene.world.packets(scene.bob, 4200).len() > 140);
        assert!(scene.world.packets(scene.bob, 4000).is_empty());
        scene.finish(call);
    }
}

#[test]
fn what_we_say_begins_with_the_answer() {
    let mut scene = Scene::new(phone());
    // The announcement of the test bed is four seconds long.
    let source = AudioSource::Builtin(bellwire::media::command::Builtin::Announcement);
    let audio = AudioRoute { source, sink: AudioSink::Device("default".into()) };
    let dial = Command::Dial { target: "sip:bob@10.0.0.9".into(), account: None, audio: Some(audio) };
    scene.world.command(scene.alice, dial).unwrap();
    let invite = scene.hear("INVITE");
    scene.say(&ringing(&invite, "b"));
    scene.say(&progress(&invite, "b", BOB_RTP));
    scene.world.run_for(secs(10));
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    let ended = scene.world.run_until(scene.alice, |event| matches!(event, Event::SourceEnded { .. }));
    let Event::SourceEnded { call } = ended else { panic!() };
    let loud = |packet: &[u8]| packet[12..].iter().any(|byte| !matches!(byte, 0xff | 0x7f));
    let said = scene.world.packets(scene.bob, BOB_RTP).iter().filter(|(_, packet)| loud(packet)).count();
    assert!((195..=202).contains(&said), "{said} packets of 4 s");
    scene.finish(call);
}
