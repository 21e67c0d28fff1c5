//! Reliable provisional responses (RFC 3262) from both sides: order, copies, loss, offers and answers in them.

use crate::calls::{answered, ended, incoming, phone};
use crate::kit::World;
use crate::kit::network::Link;
use crate::kit::peer::*;
use bellwire::api::{Command, Event};
use bellwire::time::Duration;
use bellwire::ua::{Reliable, UaConfig};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with(reliable: Reliable) -> UaConfig {
    let mut config = phone();
    config.call.rules.reliable = reliable;
    config
}

fn rel(rseq: u32) -> String {
    format!("{CONTACT}Require: 100rel\r\nRSeq: {rseq}\r\n")
}

/// An INVITE of bob's with these headers.
fn asking(more: &str, body: &str) -> String {
    invite("in", body).replace(CONTACT, &format!("{CONTACT}{more}"))
}

fn ringing(event: &Event) -> bool {
    matches!(event, Event::CallRinging { .. })
}

#[test]
fn our_invites_say_what_the_config_says() {
    for (reliable, supported, required) in
        [(Reliable::Off, false, false), (Reliable::Supported, true, false), (Reliable::Required, true, true)]
    {
        let (mut scene, call, invite) = Scene::dialled(with(reliable));
        assert_eq!(header(&invite, "Supported").contains("100rel"), supported, "{invite}");
        assert_eq!(header(&invite, "Require") == "100rel", required, "{invite}");
        scene.say(&ok(&invite, "b"));
        scene.hear("ACK");
        scene.finish(call);
    }
}

#[test]
fn each_reliable_response_gets_one_prack_in_order_and_copies_get_none() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "180 Ringing", "b", &rel(700), ""));
    let prack = scene.hear("PRACK");
    assert_eq!(header(&prack, "RAck"), "700 1 INVITE");
    assert!(header(&prack, "To").ends_with(";tag=b") && header(&prack, "CSeq") == "2 PRACK", "{prack}");
    scene.say(&reply(&prack, "200 OK", "", "", ""));
    // A copy, one that comes too early, one of before.
    for rseq in [700, 702, 699] {
        scene.say(&reply(&invite, "180 Ringing", "b", &rel(rseq), ""));
        scene.silent();
    }
    scene.say(&reply(&invite, "183 Session Progress", "b", &rel(701), ""));
    let prack = scene.hear("PRACK");
    assert_eq!(header(&prack, "RAck"), "701 1 INVITE");
    scene.say(&reply(&prack, "200 OK", "", "", ""));
    assert_eq!(scene.count(ringing), 2);
    // One without RSeq is an ordinary one.
    scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
    scene.silent();
    scene.say(&ok(&invite, "b"));
    let ack = scene.hear("ACK");
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    scene.finish(call);
}

#[test]
fn several_early_dialogs_count_each_for_itself() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    for (tag, rseq) in [("b", 10), ("c", 5000), ("d", 10), ("c", 5001), ("b", 11)] {
        scene.say(&reply(&invite, "180 Ringing", tag, &rel(rseq), ""));
        let prack = scene.hear("PRACK");
        assert_eq!(header(&prack, "RAck"), format!("{rseq} 1 INVITE"));
        assert!(header(&prack, "To").ends_with(&format!(";tag={tag}")));
        scene.say(&reply(&prack, "200 OK", "", "", ""));
    }
    scene.say(&ok(&invite, "c"));
    scene.hear("ACK");
    scene.finish(call);
}

#[test]
fn an_answer_in_a_reliable_response_is_heard_and_holds_when_the_200_brings_none() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "183 Session Progress", "b", &rel(1), &sdp("10.0.0.9", BOB_RTP)));
    let prack = scene.hear("PRACK");
    scene.say(&reply(&prack, "200 OK", "", "", ""));
    let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 600.0);
    scene.stream(&mut sound, secs(2));
    assert!(scene.world.heard(scene.alice).snr_db(600.0, 1.0) > 25.0);
    assert!(scene.world.packets(scene.bob, BOB_RTP).is_empty(), "nothing of ours before the answer");
    // The early session is changed: another port, by UPDATE.
    let mut dialog = Dialog::of_callee(&invite, "b");
    let update = dialog.request("UPDATE", "", &later(&sdp("10.0.0.9", 4100)));
    scene.say(&update);
    assert!(body(&scene.hear("200")).contains("m=audio "));
    let mut sound = Stream::new(4100, rtp_of(&invite), 700.0);
    sound.ssrc = 0xc0c;
    scene.stream(&mut sound, secs(3));
    assert!(scene.world.heard(scene.alice).snr_db(700.0, 1.0) > 25.0);
    assert!(scene.world.packets(scene.bob, 4100).is_empty(), "nothing of ours before the answer");
    scene.say(&reply(&invite, "200 OK", "b", CONTACT, ""));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, 4100).len() > 45);
    scene.finish(call);
}

#[test]
fn a_prack_that_is_lost_or_refused_does_not_harm_the_call() {
    for refusal in ["481 Call/Transaction Does Not Exist", "500 Server Internal Error", ""] {
        let (mut scene, call, invite) = Scene::dialled(phone());
        scene.say(&reply(&invite, "180 Ringing", "b", &rel(1), ""));
        let prack = scene.hear("PRACK");
        if refusal.is_empty() {
            // Repeated like any request, and given up like one.
            let heard = scene.hear_for(secs(40));
            assert_eq!(heard, vec!["PRACK"; 10]);
        } else {
            scene.say(&reply(&prack, refusal, "", "", ""));
        }
        scene.say(&ok(&invite, "b"));
        scene.hear("ACK");
        scene.finish(call);
    }
}

#[test]
fn who_requires_reliable_responses_gets_them_repeated_until_the_prack() {
    let mut scene = Scene::new(phone());
    scene.say(&asking("Require: 100rel\r\nSupported: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP)));
    let call = incoming(&mut scene.world, scene.alice);
    let first = scene.hear("180");
    assert_eq!(header(&first, "Require"), "100rel");
    let rseq: u32 = header(&first, "RSeq").parse().expect("a number");
    assert!((1..0x8000_0000).contains(&rseq));
    // T1, doubled each time.
    let start = scene.world.now;
    for after in [500, 1500, 3500, 7500] {
        let again = scene.hear("180");
        assert_eq!(header(&again, "RSeq"), rseq.to_string());
        let passed = (scene.world.now - start).as_millis();
        assert!(passed.abs_diff(after) <= 20, "{passed} ms instead of {after}");
    }
    let mut dialog = Dialog::of_caller(&first);
    for (rack, status) in [
        (format!("{} 1 INVITE", rseq + 1), "481"),
        (format!("{rseq} 2 INVITE"), "481"),
        ("nonsense".to_owned(), "400"),
        (format!("{rseq} 1 INVITE"), "200"),
        // Acknowledged already.
        (format!("{rseq} 1 INVITE"), "481"),
    ] {
        let prack = dialog.request("PRACK", &format!("RAck: {rack}\r\n"), "");
        scene.say(&prack);
        scene.hear(status);
    }
    assert!(scene.hear_for(secs(20)).is_empty(), "no copy after the PRACK");
    scene.answer(call);
    let answer = scene.hear("200");
    assert!(body(&answer).contains("m=audio "));
    let ack = dialog.ack(1, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, answered);
    scene.finish(call);
}

#[test]
fn a_reliable_response_that_is_never_acknowledged_refuses_the_call_after_32_seconds() {
    let mut scene = Scene::new(phone());
    let request = asking("Require: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP));
    scene.say(&request);
    let heard = scene.hear_for(Duration::from_millis(33_000));
    assert_eq!(heard.iter().filter(|word| *word == "180").count(), 7, "{heard:?}");
    assert_eq!(heard[7], "504", "{heard:?}");
    scene.say(&request.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK"));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_call_that_is_answered_before_the_prack_takes_the_late_one() {
    let mut scene = Scene::new(phone());
    scene.say(&asking("Require: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP)));
    let call = incoming(&mut scene.world, scene.alice);
    let ringing = scene.hear("180");
    scene.answer(call);
    scene.hear("200");
    let mut dialog = Dialog::of_caller(&ringing);
    let prack = dialog.request("PRACK", &format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq")), "");
    scene.say(&prack);
    scene.hear("200");
    let ack = dialog.ack(1, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, answered);
    assert!(scene.hear_for(secs(5)).is_empty());
    scene.finish(call);
}

#[test]
fn an_invite_without_offer_gets_it_in_the_reliable_response_and_answers_in_the_prack() {
    for early in [true, false] {
        let mut scene = Scene::new(phone());
        scene.say(&asking("Require: 100rel\r\n", ""));
        let call = incoming(&mut scene.world, scene.alice);
        let ringing = scene.hear("180");
        assert!(body(&ringing).contains("m=audio "), "{ringing}");
        let mut dialog = Dialog::of_caller(&ringing);
        let rack = format!("RAck: {} 1 INVITE\r\n", header(&ringing, "RSeq"));
        if !early {
            // The user is faster: the 200 waits for the PRACK, since an offer is open.
            scene.answer(call);
            assert!(scene.hear_for(Duration::from_millis(400)).is_empty());
        }
        let prack = dialog.request("PRACK", &rack, &sdp("10.0.0.9", BOB_RTP));
        scene.say(&prack);
        let done = scene.hear("200");
        assert!(header(&done, "CSeq").ends_with("PRACK"), "{done}");
        if early {
            scene.world.run_for(secs(2));
            assert!(scene.world.packets(scene.bob, BOB_RTP).is_empty(), "nothing of ours before the answer");
            // One offer more before the answer, in an UPDATE.
            let update = dialog.request("UPDATE", "", &later(&sdp("10.0.0.9", BOB_RTP)));
            scene.say(&update);
            assert!(body(&scene.hear("200")).contains("m=audio "));
            scene.answer(call);
        }
        let answer = scene.hear("200");
        assert!(header(&answer, "CSeq").ends_with("INVITE") && body(&answer).is_empty(), "{answer}");
        let ack = dialog.ack(1, "");
        scene.say(&ack);
        scene.world.run_until(scene.alice, answered);
        scene.world.run_for(secs(1));
        assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 45);
        scene.finish(call);
    }
}

#[test]
fn a_caller_that_goes_away_is_answered_though_a_prack_is_owed() {
    let mut scene = Scene::new(phone());
    let request = asking("Require: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP));
    scene.say(&request);
    incoming(&mut scene.world, scene.alice);
    scene.hear("180");
    let head = request.split("Contact:").next().expect("a head").replace("INVITE", "CANCEL");
    scene.say(&(head + "Content-Length: 0\r\n\r\n"));
    scene.hear("200");
    scene.hear("487");
    scene.say(&request.replace("INVITE sip", "ACK sip").replace("1 INVITE", "1 ACK"));
    scene.ended();
    assert!(scene.hear_for(secs(40)).is_empty());
    scene.world.assert_quiet();
}

#[test]
fn off_refuses_who_requires_and_required_refuses_who_cannot() {
    let mut scene = Scene::new(with(Reliable::Off));
    scene.say(&asking("Require: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP)));
    assert_eq!(header(&scene.hear("420"), "Unsupported"), "100rel");
    let mut scene = Scene::new(with(Reliable::Required));
    scene.say(&asking("", &sdp("10.0.0.9", BOB_RTP)));
    assert_eq!(header(&scene.hear("421"), "Require"), "100rel");
    scene.say(
        &asking("Supported: 100rel\r\n", &sdp("10.0.0.9", BOB_RTP)).replace("in@", "in2@").replace("bKin", "bKin2"),
    );
    assert_eq!(header(&scene.hear("180"), "Require"), "100rel");
}

#[test]
fn two_phones_that_require_it_ring_and_talk_through_loss() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let alice = world.ua("alice", &["10.0.0.1"], with(Reliable::Required));
        let bob = world.ua("bob", &["10.0.0.2"], with(Reliable::Required));
        world.link(alice, bob, Link::default().latency_ms(20).jitter_ms(30).loss(0.2));
        let call = world.dial(alice, "sip:bob@10.0.0.2");
        let theirs = incoming(&mut world, bob);
        world.run_for(secs(3));
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(alice, answered);
        world.run_until(bob, answered);
        let pracks = world.arrows().iter().filter(|arrow| arrow.as_str() == "alice PRACK").count();
        assert_eq!(pracks, 1, "seed {seed}: {:?}", world.arrows());
        world.command(alice, Command::HangUp { call }).unwrap();
        world.run_until(bob, ended);
        world.assert_quiet();
    }
}
