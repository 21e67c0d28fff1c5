//! Calls to us from peers that break the rules.

use crate::calls::{answered, ended, phone, ringing_call};
use crate::kit::peer::*;
use bellwire::api::{Command, EndedBy, Event};
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn offer() -> String {
    sdp("10.0.0.9", BOB_RTP)
}

fn cancel(invite: &str) -> String {
    let head = invite.split("\r\n\r\n").next().expect("a head").replace("INVITE", "CANCEL");
    let kept = |line: &&str| !line.starts_with("Content-") && !line.starts_with("Contact");
    head.lines().filter(kept).collect::<Vec<_>>().join("\r\n") + "\r\nContent-Length: 0\r\n\r\n"
}

#[test]
fn a_cancel_after_our_200_is_answered_and_the_call_stays_up() {
    let mut scene = Scene::new(phone());
    let invite = invite("c", &offer());
    let call = scene.ring(&invite);
    scene.answer(call);
    let answer = scene.hear("200");
    scene.say(&cancel(&invite));
    let to_cancel = scene.hear("200");
    assert_eq!(header(&to_cancel, "CSeq"), "1 CANCEL");
    let ack = Dialog::of_caller(&answer).ack(1, "");
    scene.say(&ack);
    scene.world.run_for(secs(2));
    assert_eq!((scene.count(answered), scene.count(ended)), (1, 0));
    scene.finish(call);
}

#[test]
fn a_cancel_with_a_foreign_branch_or_before_its_invite_is_481_and_it_rings_on() {
    let mut scene = Scene::new(phone());
    let invite = invite("c", &offer());
    scene.say(&cancel(&invite));
    scene.hear("481");
    let call = scene.ring(&invite);
    for (from, to) in [("z9hG4bKc", "z9hG4bKd"), ("UDP 10.0.0.9:5060", "UDP 10.0.0.9:5061")] {
        scene.say(&cancel(&invite).replace(from, to));
        scene.world.run_for(Duration::from_millis(10));
        let heard = scene.hear_for(Duration::from_millis(10));
        assert!(heard == ["481"] || heard.is_empty(), "{heard:?}");
        assert_eq!(scene.count(ended), 0);
    }
    scene.say(&cancel(&invite));
    let mut heard = scene.hear_for(Duration::from_millis(100));
    heard.sort();
    assert_eq!(heard, ["200", "487"]);
    let Event::CallEnded { call: over, by: EndedBy::Remote, code: Some(487), .. } = scene.ended() else { panic!() };
    assert_eq!(over, call);
    scene.world.assert_quiet();
}

#[test]
fn our_200_is_repeated_until_its_own_ack_and_nothing_else_stops_it() {
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("c", &offer()));
    scene.answer(call);
    let answer = scene.hear("200");
    let dialog = Dialog::of_caller(&answer);
    let wrong_number = dialog.ack(2, "");
    let stranger = dialog.ack(1, "").replace(";tag=bob", ";tag=eve");
    scene.say(&wrong_number);
    scene.say(&stranger);
    scene.say(&invite("c", &offer()));
    assert_eq!(scene.hear_for(Duration::from_millis(3600)), ["200", "200", "200"], "after 0.5, 1.5 and 3.5 s");
    let right = dialog.ack(1, "");
    scene.say(&right);
    scene.silent();
    // The ACK comes once more; nobody minds.
    scene.say(&right);
    scene.silent();
    scene.finish(call);
}

#[test]
fn a_peer_that_never_acknowledges_is_left_after_32_seconds_and_the_user_is_told() {
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("c", &offer()));
    scene.answer(call);
    let heard = scene.hear_for(secs(33));
    assert_eq!(heard.iter().filter(|word| *word == "200").count(), 11, "{heard:?}");
    assert!(heard.contains(&"BYE".to_owned()), "{heard:?}");
    let Event::CallEnded { by: EndedBy::Fault, failure: Some(failure), .. } = scene.ended() else { panic!() };
    assert_eq!(failure.slug, "call.broken");
    scene.world.run_for(secs(40));
    scene.world.assert_quiet();
}

#[test]
fn a_caller_that_never_acknowledges_a_refusal_hears_it_for_32_seconds_and_no_longer() {
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("c", &offer()));
    scene.world.command(scene.alice, Command::Reject { call, code: None }).expect("it rings");
    let heard = scene.hear_for(secs(40));
    assert!(heard.iter().all(|word| word == "486") && heard.len() == 11, "{heard:?}");
    scene.silent();
    scene.world.assert_quiet();
}

#[test]
fn an_invite_is_heard_once_however_often_it_comes() {
    let mut scene = Scene::new(phone());
    let invite = invite("c", &offer());
    let call = scene.ring(&invite);
    for _ in 0..5 {
        scene.say(&invite);
        scene.hear("180");
    }
    // Over another path: a loop.
    scene.say(&invite.replace("z9hG4bKc", "z9hG4bKother"));
    scene.hear("482");
    assert_eq!(scene.count(ringing_call), 1);
    scene.answer(call);
    let answer = scene.hear("200");
    scene.say(&invite);
    let ack = Dialog::of_caller(&answer).ack(1, "");
    scene.say(&ack);
    scene.silent();
    scene.finish(call);
}

#[test]
fn a_late_offer_is_ours_in_the_200_and_the_ack_brings_the_answer_and_the_sound() {
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("late", ""));
    scene.answer(call);
    let answer = scene.hear("200");
    let to = rtp_of(&answer);
    let ack = Dialog::of_caller(&answer).ack(1, &offer());
    scene.say(&ack);
    let mut sound = Stream::new(BOB_RTP, to, 700.0);
    scene.stream(&mut sound, secs(3));
    assert!(scene.world.heard(scene.alice).snr_db(700.0, 2.0) > 25.0);
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 140);
    scene.finish(call);
}

#[test]
fn a_late_offer_without_a_usable_answer_ends_the_call() {
    let foreign = offer().replace("0 101", "18").replace("0 PCMU", "18 G729");
    for body in ["", "garbage", &foreign, &offer().replace("m=audio 4000", "m=audio 0")] {
        let mut scene = Scene::new(phone());
        let call = scene.ring(&invite("late", ""));
        scene.answer(call);
        let answer = scene.hear("200");
        let ack = Dialog::of_caller(&answer).ack(1, body);
        scene.say(&ack);
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        let Event::CallEnded { by: EndedBy::Fault, failure: Some(_), .. } = scene.ended() else { panic!("{body}") };
        scene.world.assert_quiet();
    }
}

#[test]
fn a_caller_that_hangs_up_before_the_answer_or_its_ack_is_let_go() {
    // BYE in the early dialog.
    let mut scene = Scene::new(phone());
    scene.say(&invite("c", &offer()));
    let ringing = scene.hear("180");
    let mut dialog = Dialog::of_caller(&ringing);
    scene.say(&dialog.request("BYE", "", ""));
    let mut heard = scene.hear_for(Duration::from_millis(100));
    heard.sort();
    assert_eq!(heard, ["200", "487"]);
    scene.ended();
    scene.world.assert_quiet();

    // BYE instead of the ACK.
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("c", &offer()));
    scene.answer(call);
    let answer = scene.hear("200");
    let mut dialog = Dialog::of_caller(&answer);
    scene.say(&dialog.request("BYE", "", ""));
    let bye = scene.hear("200");
    assert_eq!(header(&bye, "CSeq"), "2 BYE");
    scene.silent();
    let Event::CallEnded { by: EndedBy::Remote, .. } = scene.ended() else { panic!() };
    scene.world.assert_quiet();
}

#[test]
fn what_we_cannot_take_is_refused_in_the_order_of_the_rfc() {
    let mut scene = Scene::new(phone());
    let right = invite("c", &offer());
    for (n, (from, to, status, header_name, value)) in [
        ("INVITE", "REGISTER", "405", "Allow", bellwire::ua::call::ALLOW),
        ("INVITE", "FROBNICATE", "501", "", ""),
        ("INVITE sip:", "INVITE urn:", "416", "", ""),
        ("Contact:", "Require: 100rel, teleport\r\nContact:", "420", "Unsupported", "teleport"),
        ("application/sdp", "text/html", "415", "Accept", "application/sdp, multipart/mixed"),
        ("Content-Type", "Content-Encoding: gzip\r\nContent-Type", "415", "Accept-Encoding", "identity"),
        ("SIP/2.0\r\n", "SIP/3.0\r\n", "505", "", ""),
        ("To: <sip:alice@10.0.0.1>", "To: <sip:alice@10.0.0.1>;tag=gone", "481", "", ""),
        ("RTP/AVP 0 101", "RTP/AVP 18", "488", "", ""),
        ("m=audio 4000 RTP/AVP", "m=audio 4000 RTP/SAVP", "488", "", ""),
        ("CSeq: 1 INVITE", "CSeq: 1 BYE", "400", "", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("r{n}");
        let mut text =
            right.replace("z9hG4bKc", &format!("z9hG4bK{id}")).replace("c@10.0.0.9", &format!("{id}@10.0.0.9"));
        if from == "INVITE" {
            text = text.replace("INVITE", to);
        } else {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        // The length stays right.
        let size = body(&text).len();
        let stated = header(&text, "Content-Length").to_owned();
        text = text.replace(&format!("Content-Length: {stated}"), &format!("Content-Length: {size}"));
        scene.say(&text);
        let refusal = scene.hear(status);
        if !header_name.is_empty() {
            assert_eq!(header(&refusal, header_name), value, "{status}");
        }
        assert!(header(&refusal, "To").contains(";tag="), "{status} has a To tag");
        if word(&text) == "INVITE" && status != "400" && status != "505" {
            let ack = cancel(&text).replace("CANCEL", "ACK");
            scene.say(&ack);
        }
        scene.world.run_for(secs(40));
        while scene.world.hear_now(scene.bob).is_some() {}
    }
    assert_eq!(scene.count(ringing_call), 0, "nobody is rung for nothing");
    scene.world.assert_quiet();
}

#[test]
fn a_response_goes_to_the_source_with_rport_and_else_to_the_port_of_the_via() {
    for (via, port) in [
        ("10.0.0.9:5060;branch=z9hG4bKv;rport", 5070),
        ("192.168.7.7:5062;branch=z9hG4bKv;rport", 5070),
        ("192.168.7.7:5062;branch=z9hG4bKv", 5062),
        ("192.168.7.7;branch=z9hG4bKv", 5060),
        ("client.invalid:5080;branch=z9hG4bKv", 5080),
        ("10.0.0.9:5081;maddr=10.0.0.9;branch=z9hG4bKv", 5081),
    ] {
        let mut scene = Scene::new(phone());
        let text = invite("v", &offer()).replace("10.0.0.9:5060;branch=z9hG4bKv;rport", via);
        scene.world.say_bytes(
            scene.bob,
            5070,
            ALICE.parse().expect("an address"),
            text.replace("INVITE", "OPTIONS").into_bytes(),
        );
        scene.world.run_for(Duration::from_millis(10));
        let heard = scene.world.packets(scene.bob, port);
        assert_eq!(heard.len(), 1, "{via}");
        let text = String::from_utf8_lossy(&heard[0].1).into_owned();
        assert!(text.starts_with("SIP/2.0 200"), "{text}");
        let stamped = header(&text, "Via").to_owned();
        let foreign = !via.starts_with("10.0.0.9");
        assert_eq!(stamped.contains("received=10.0.0.9"), foreign || via.contains("rport"), "{stamped}");
        assert_eq!(stamped.contains("rport=5070"), via.contains("rport"), "{stamped}");
        scene.world.assert_quiet();
    }
}

#[test]
fn options_is_answered_idle_and_in_a_call_and_touches_nothing() {
    let mut scene = Scene::new(phone());
    let options = |id: &str| invite(id, "").replace("INVITE", "OPTIONS");
    scene.say(&options("o1"));
    let answer = scene.hear("200");
    assert_eq!(header(&answer, "Allow"), bellwire::ua::call::ALLOW);
    assert_eq!(header(&answer, "Accept"), "application/sdp, multipart/mixed");
    let (mut scene, call, mut dialog) = Scene::called(phone());
    scene.world.run_for(secs(2));
    scene.world.packets(scene.bob, BOB_RTP);
    for _ in 0..50 {
        scene.say(&dialog.request("OPTIONS", "", ""));
        scene.hear("200");
        scene.world.run_for(Duration::from_millis(100));
    }
    scene.say(&options("o2"));
    scene.hear("200");
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() >= 250, "the sound goes on");
    assert_eq!(scene.count(|event| matches!(event, Event::CallChanged { .. })), 0);
    scene.finish(call);
}

#[test]
fn a_flood_of_calls_rings_four_times_and_hears_busy_or_nothing() {
    let mut scene = Scene::new(phone());
    for n in 0..200 {
        scene.say(&invite(&format!("f{n}"), &offer()));
    }
    let heard = scene.hear_for(secs(1));
    let count = |status: &str| heard.iter().filter(|word| *word == status).count();
    assert_eq!(count("180"), 4, "{heard:?}");
    assert_eq!(scene.count(ringing_call), 4);
    assert!(count("486") + count("503") >= 15, "{heard:?}");
    // What rings is refused after the ring timeout; all is forgotten then.
    scene.world.run_for(secs(140));
    scene.world.assert_quiet();
}
