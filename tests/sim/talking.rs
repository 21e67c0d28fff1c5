//! What peers do to us in the middle of a call.

use crate::calls::{answered, ended, phone};
use crate::kit::World;
use crate::kit::peer::*;
use crate::kit::sound::PANICS;
use bellwire::api::{AudioRoute, Command, EndedBy, Event, Reply};
use bellwire::media::command::{AudioSink, AudioSource};
use bellwire::sdp::plan::Direction;
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn offer() -> String {
    sdp("10.0.0.9", BOB_RTP)
}

fn changed(event: &Event) -> bool {
    matches!(event, Event::CallChanged { .. })
}

/// A re-INVITE of bob's that alice takes; gives her answer.
fn change(scene: &mut Scene, dialog: &mut Dialog, body: &str) -> String {
    let text = dialog.request("INVITE", "", body);
    scene.say(&text);
    let answer = scene.hear("200");
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, changed);
    answer
}

/// RTP packets from alice to one port of bob's in the next so many seconds.
fn sent(scene: &mut Scene, port: u16, seconds: u64) -> usize {
    scene.world.packets(scene.bob, port);
    scene.world.run_for(secs(seconds));
    scene.world.packets(scene.bob, port).len()
}

#[test]
fn the_peer_holds_in_every_way_there_is_and_resumes() {
    let hold = |direction: &str| later(&offer()) + &format!("a={direction}\r\n");
    for (held, answer) in [
        (hold("sendonly"), Direction::RecvOnly),
        (hold("inactive"), Direction::Inactive),
        // As before RFC 3264.
        (later(&offer()).replace("c=IN IP4 10.0.0.9", "c=IN IP4 0.0.0.0"), Direction::SendRecv),
    ] {
        let (mut scene, call, mut dialog) = Scene::called(phone());
        assert!(sent(&mut scene, BOB_RTP, 2) > 90);
        let text = change(&mut scene, &mut dialog, &held);
        if answer != Direction::SendRecv {
            let wanted = if answer == Direction::RecvOnly { "a=recvonly" } else { "a=inactive" };
            assert!(body(&text).contains(wanted), "{text}");
        }
        let held_events = scene.count(|event| matches!(event, Event::CallChanged { held_by_peer: true, .. }));
        assert_eq!(held_events, 1, "{held}");
        assert!(sent(&mut scene, BOB_RTP, 4) <= 1, "no sound goes to a peer that holds");
        change(&mut scene, &mut dialog, &offer().replace("o=- 1 1 ", "o=- 1 3 "));
        assert!(sent(&mut scene, BOB_RTP, 2) > 90, "and it goes on");
        let mut sound = Stream::new(BOB_RTP, rtp_of(&text), 600.0);
        scene.stream(&mut sound, secs(3));
        assert!(scene.world.heard(scene.alice).snr_db(600.0, 2.0) > 25.0);
        scene.finish(call);
    }
}

#[test]
fn a_changed_address_takes_the_sound_along_both_ways() {
    let (mut scene, call, mut dialog) = Scene::answered(phone());
    let elsewhere = scene.world.script("elsewhere", "10.0.0.8");
    let moved = later(&sdp("10.0.0.8", 4400));
    let answer = change(&mut scene, &mut dialog, &moved);
    let mut sound = Stream::new(4400, rtp_of(&answer), 500.0);
    for _ in 0..150 {
        let packet = sound.packet();
        scene.world.say_bytes(elsewhere, sound.from, sound.to, packet);
        scene.world.run_for(Duration::from_millis(20));
    }
    assert!(scene.world.packets(elsewhere, 4400).len() > 140);
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 1.5) > 25.0);
    assert!(sent(&mut scene, BOB_RTP, 1) == 0, "the old address gets nothing more");
    scene.finish(call);
}

#[test]
fn another_codec_and_other_numbers_by_re_invite_are_taken_in_stride() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let pcma = later(&offer()).replace("0 101", "8 97").replace("0 PCMU", "8 PCMA").replace("101 tele", "97 tele");
    let answer = change(&mut scene, &mut dialog, &pcma);
    assert!(body(&answer).contains(" RTP/AVP 8 97\r\n"), "{answer}");
    scene.world.packets(scene.bob, BOB_RTP);
    scene.world.run_for(secs(1));
    let packets = scene.world.packets(scene.bob, BOB_RTP);
    assert!(packets.len() > 45 && packets.iter().all(|(_, bytes)| bytes[1] & 0x7f == 8));
    scene.finish(call);
}

#[test]
fn a_re_invite_without_offer_gets_ours_and_its_answer_in_the_ack() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let text = dialog.request("INVITE", "", "");
    scene.say(&text);
    let answer = scene.hear("200");
    assert!(body(&answer).contains("m=audio "), "{answer}");
    let ack = dialog.ack(dialog.seq, &later(&sdp("10.0.0.9", 4600)));
    scene.say(&ack);
    scene.world.run_until(scene.alice, changed);
    assert!(sent(&mut scene, 4600, 1) > 45);
    scene.finish(call);
}

#[test]
fn a_change_that_cannot_be_is_refused_and_the_old_sound_goes_on() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    for (body, status) in [
        (later(&offer()).replace("0 101", "18").replace("0 PCMU", "18 G729"), "488"),
        (later(&offer()).replace("RTP/AVP", "RTP/SAVP"), "488"),
        ("v=0\r\nthis is no description".to_owned(), "400"),
        (later(&offer()).replace("c=IN IP4 10.0.0.9", "c=IN IP9 x"), "488"),
        (later(&offer()).replace("m=audio 4000", "m=audio 99999"), "400"),
    ] {
        let text = dialog.request("INVITE", "", &body);
        scene.say(&text);
        let (_, refusal) = scene.world.hear(scene.bob);
        let code = word(&refusal);
        assert!(code == status || code == "488" || code == "400", "{code} for {body}");
        let ack = text.replace("INVITE", "ACK");
        scene.say(&ack);
        scene.world.run_for(secs(1));
        while scene.world.hear_now(scene.bob).is_some() {}
        assert!(sent(&mut scene, BOB_RTP, 1) > 45, "{body}");
    }
    assert_eq!((scene.count(changed), scene.count(ended)), (0, 0));
    // A good one is still taken.
    change(&mut scene, &mut dialog, &later(&sdp("10.0.0.9", 4700)));
    assert!(sent(&mut scene, 4700, 1) > 45);
    scene.finish(call);
}

#[test]
fn a_second_change_before_the_ack_of_the_first_shows_that_our_200_arrived() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let text = dialog.request("INVITE", "", &later(&sdp("10.0.0.9", 4800)));
    scene.say(&text);
    scene.hear("200");
    let first = dialog.seq;
    let text = dialog.request("INVITE", "", &sdp("10.0.0.9", 4900).replace("o=- 1 1 ", "o=- 1 3 "));
    scene.say(&text);
    scene.hear("200");
    let (late, ack) = (dialog.ack(first, ""), dialog.ack(dialog.seq, ""));
    scene.say(&ack);
    scene.say(&late);
    scene.silent();
    assert!(sent(&mut scene, 4900, 1) > 45);
    assert_eq!(sent(&mut scene, 4800, 1), 0);
    scene.finish(call);
}

#[test]
fn a_change_that_is_never_acknowledged_ends_the_call_after_32_seconds() {
    let (mut scene, _, mut dialog) = Scene::called(phone());
    let text = dialog.request("INVITE", "", &later(&offer()));
    scene.say(&text);
    let heard = scene.hear_for(Duration::from_millis(32_500));
    assert!(heard[..11].iter().all(|word| word == "200") && heard[11] == "BYE", "{heard:?}");
    let Event::CallEnded { by: EndedBy::Fault, failure: Some(_), .. } = scene.ended() else { panic!() };
    scene.world.run_for(secs(40));
    scene.world.assert_quiet();
}

#[test]
fn a_cancelled_change_is_answered_once_and_leaves_the_call_as_it_was() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let text = dialog.request("INVITE", "", &later(&offer()));
    scene.say(&text);
    scene.hear("200");
    let head = text.split("\r\n\r\n").next().expect("a head").replace("INVITE", "CANCEL");
    let kept = head.lines().filter(|line| !line.starts_with("Con")).collect::<Vec<_>>().join("\r\n");
    scene.say(&(kept + "\r\nContent-Length: 0\r\n\r\n"));
    let to_cancel = scene.hear("200");
    assert!(header(&to_cancel, "CSeq").ends_with("CANCEL"), "{to_cancel}");
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.silent();
    scene.finish(call);
}

#[test]
fn methods_that_we_do_not_have_are_refused_and_the_call_goes_on() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    for (method, status) in [
        ("INFO", "200"),
        ("REFER", "400"),
        ("MESSAGE", "405"),
        ("PRACK", "400"),
        ("SUBSCRIBE", "405"),
        ("NOTIFY", "489"),
        ("FROBNICATE", "501"),
        ("OPTIONS", "200"),
    ] {
        let text = dialog.request(method, "", "");
        scene.say(&text);
        let answer = scene.hear(status);
        if status == "405" {
            assert_eq!(header(&answer, "Allow"), bellwire::ua::call::ALLOW);
        }
    }
    assert!(sent(&mut scene, BOB_RTP, 1) > 45);
    scene.finish(call);
}

#[test]
fn only_the_right_tags_call_id_and_number_end_a_call() {
    for caller in [true, false] {
        let (mut scene, call, mut dialog) = if caller { Scene::called(phone()) } else { Scene::answered(phone()) };
        dialog.seq = dialog.seq.max(5);
        let options = dialog.request("OPTIONS", "", "");
        scene.say(&options);
        scene.hear("200");
        let bye = |change: &dyn Fn(&mut Dialog)| {
            let mut wrong = dialog.clone();
            change(&mut wrong);
            wrong.seq += 7;
            wrong.with_seq("BYE", wrong.seq, "", "").replace("z9hG4bK", &format!("z9hG4bK{}", wrong.from.len()))
        };
        for wrong in [
            bye(&|d| d.to = d.to.replace(";tag=", ";tag=x")),
            bye(&|d| d.from = d.from.replace(";tag=", ";tag=x")),
            bye(&|d| d.from = d.from.split(";tag=").next().expect("an address").to_owned()),
            bye(&|d| d.call_id = format!("x{}", d.call_id)),
            bye(&|d| (d.from, d.to) = (d.to.clone(), d.from.clone())),
        ] {
            scene.say(&wrong);
            scene.hear("481");
        }
        // An old BYE again, or one that is too late in the row.
        let old = dialog.with_seq("BYE", 2, "", "");
        scene.say(&old);
        scene.hear("500");
        assert_eq!(scene.count(ended), 0);
        assert!(sent(&mut scene, BOB_RTP, 1) > 45);
        scene.finish(call);
    }
}

#[test]
fn a_peer_that_falls_silent_ends_the_call_when_the_user_wants_that() {
    let mut config = phone();
    config.call.media_timeout = Some(secs(20));
    let (mut scene, _, _) = Scene::answered(config);
    let start = scene.world.now;
    let Event::CallEnded { by: EndedBy::Fault, failure: Some(failure), .. } = scene.ended() else { panic!() };
    assert_eq!(failure.slug, "media.peer-gone");
    let after = scene.world.now - start;
    assert!(after >= secs(19) && after <= secs(23), "{after:?}");
    let told = |event: &Event| matches!(event, Event::MediaWarning { failure, .. } if failure.slug == "media.no-incoming-audio");
    assert_eq!(scene.count(told), 1);
    scene.hear("BYE");
    scene.world.run_for(secs(40));
    scene.world.assert_quiet();

    let mut config = phone();
    config.call.media_timeout = None;
    let (mut scene, call, _) = Scene::answered(config);
    scene.world.run_for(secs(600));
    assert_eq!(scene.count(ended), 0);
    scene.finish(call);
}

#[test]
fn sound_of_strangers_is_not_heard_and_moves_nothing() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    let eve = scene.world.script("eve", "10.0.0.66");
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    let to = rtp_of(&invite);
    let (mut bob, mut stranger) = (Stream::new(BOB_RTP, to, 500.0), Stream::new(7000, to, 1500.0));
    stranger.ssrc = 0xeee;
    let mut other_port = Stream::new(BOB_RTP + 100, to, 2500.0);
    for n in 0..300 {
        let packet = bob.packet();
        scene.world.say_bytes(scene.bob, bob.from, to, packet);
        // From another host, from another port of the right host, and with the right SSRC.
        for _ in 0..2 {
            let packet = stranger.packet();
            scene.world.say_bytes(eve, stranger.from, to, packet);
        }
        if n % 3 == 0 {
            stranger.ssrc = bob.ssrc;
            let packet = other_port.packet();
            scene.world.say_bytes(scene.bob, other_port.from, to, packet);
        }
        scene.world.run_for(Duration::from_millis(20));
    }
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 3.0) > 25.0);
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 280);
    assert!(scene.world.packets(eve, 7000).is_empty());
    scene.finish(call);
}

#[test]
fn a_new_ssrc_of_the_peer_is_followed_and_its_sound_goes_on() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 500.0);
    scene.stream(&mut sound, secs(3));
    (sound.ssrc, sound.seq, sound.time) = (0x1234_5678, 17, 1_000_000);
    scene.stream(&mut sound, secs(3));
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 2.0) > 25.0);
    // A jump of the numbers under the same SSRC.
    (sound.seq, sound.time) = (sound.seq.wrapping_add(20_000), sound.time.wrapping_add(1 << 31));
    scene.stream(&mut sound, secs(3));
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 2.0) > 25.0);
    scene.finish(call);
}

#[test]
fn garbage_on_the_media_ports_harms_nothing() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    let to = rtp_of(&invite);
    let mut sound = Stream::new(BOB_RTP, to, 500.0);
    for n in 0..300_u32 {
        let packet = sound.packet();
        let rtcp = std::net::SocketAddr::new(to.ip(), to.port() + 1);
        let mut wrong = packet.clone();
        wrong.truncate(n as usize % packet.len());
        if let Some(first) = wrong.first_mut() {
            *first = n as u8;
        }
        scene.world.say_bytes(scene.bob, BOB_RTP, to, wrong.clone());
        scene.world.say_bytes(scene.bob, BOB_RTP + 1, rtcp, wrong);
        // A goodbye of somebody whom we do not know.
        scene.world.say_bytes(scene.bob, BOB_RTP + 1, rtcp, vec![0x81, 203, 0, 1, 9, 9, 9, n as u8]);
        let mut unknown = packet.clone();
        unknown[1] = 77;
        scene.world.say_bytes(scene.bob, BOB_RTP, to, unknown);
        scene.world.say_bytes(scene.bob, BOB_RTP, to, packet);
        scene.world.run_for(Duration::from_millis(20));
    }
    assert!(scene.world.heard(scene.alice).snr_db(500.0, 2.0) > 20.0);
    assert_eq!(scene.count(ended), 0);
    scene.finish(call);
}

#[test]
fn a_moved_contact_is_where_our_next_request_goes() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let mobile = scene.world.script("mobile", "10.0.0.8");
    let text = dialog.request("INVITE", "Contact: <sip:bob@10.0.0.8:5060>\r\n", &later(&offer()));
    scene.say(&text);
    scene.hear("200");
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, changed);
    scene.hang_up(call);
    let (_, bye) = scene.world.hear(mobile);
    assert!(bye.starts_with("BYE sip:bob@10.0.0.8:5060 "), "{bye}");
    scene.world.say(mobile, ALICE, &reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_fault_of_ours_in_the_sound_of_one_call_ends_that_call_and_no_other() {
    let mut world = World::new(14);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let mut ready = phone();
    ready.call.auto_answer = Some(Duration::ZERO);
    let bob = world.ua("bob", &["10.0.0.2"], ready);
    let good = world.dial(alice, "sip:bob@10.0.0.2");
    world.run_until(alice, answered);
    let source = AudioSource::File { path: PANICS.to_owned(), repeat: false };
    let audio = Some(AudioRoute { source, sink: AudioSink::None });
    let dial = Command::Dial { target: "sip:bob@10.0.0.2".to_owned(), account: None, audio };
    let Ok(Reply::Call(bad)) = world.command(alice, dial) else { panic!("no second call") };
    let Event::CallEnded { call, by: EndedBy::Fault, failure: Some(failure), stats: Some(stats), .. } =
        world.run_until(alice, ended)
    else {
        panic!("not ended by the fault")
    };
    assert_eq!((call, failure.slug.as_str()), (bad, "call.fault"));
    assert!(stats.sent > 10, "{stats:?}");
    // The peer of the bad call heard a BYE, and the good call goes on.
    assert!(matches!(world.run_until(bob, ended), Event::CallEnded { by: EndedBy::Remote, failure: None, .. }));
    let lost = world.heard(alice).samples().len();
    world.run_for(secs(3));
    assert!(world.heard(alice).samples().len() > lost + 46_000);
    world.command(alice, Command::HangUp { call: good }).expect("it is up");
    world.run_until(alice, ended);
    world.run_for(secs(40));
    world.assert_quiet();
}
