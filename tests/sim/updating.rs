//! UPDATE (RFC 3311): before and after the answer, from both sides.

use crate::calls::phone;
use crate::kit::peer::*;
use bellwire::api::{Command, Event};
use bellwire::time::Duration;

fn changed(event: &Event) -> bool {
    matches!(event, Event::CallChanged { .. })
}

fn offer(version: u32, direction: &str) -> String {
    sdp("10.0.0.9", BOB_RTP).replace("o=- 1 1 ", &format!("o=- 1 {version} ")) + &format!("a={direction}\r\n")
}

fn sent(scene: &mut Scene, port: u16) -> usize {
    scene.world.packets(scene.bob, port);
    scene.world.run_for(Duration::from_secs(1));
    scene.world.packets(scene.bob, port).len()
}

#[test]
fn an_update_with_an_offer_is_answered_at_once_and_needs_no_ack() {
    for called in [true, false] {
        let (mut scene, call, mut dialog) = if called { Scene::called(phone()) } else { Scene::answered(phone()) };
        let update = dialog.request("UPDATE", "", &offer(2, "sendonly"));
        scene.say(&update);
        let ok = scene.hear("200");
        assert!(body(&ok).contains("a=recvonly\r\n") && header(&ok, "Contact").contains("10.0.0.1"), "{ok}");
        assert!(header(&ok, "Allow").contains("UPDATE"));
        scene.world.run_until(scene.alice, |event| matches!(event, Event::CallChanged { held_by_peer: true, .. }));
        assert!(sent(&mut scene, BOB_RTP) <= 1);
        let update = dialog.request("UPDATE", "", &offer(3, "sendrecv"));
        scene.say(&update);
        assert!(body(&scene.hear("200")).contains("a=sendrecv\r\n"));
        scene.world.run_until(scene.alice, changed);
        assert!(sent(&mut scene, BOB_RTP) > 45);
        scene.finish(call);
    }
}

#[test]
fn an_update_without_an_offer_only_moves_the_target() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let mobile = scene.world.script("mobile", "10.0.0.8");
    let update = dialog.request("UPDATE", "Contact: <sip:bob@10.0.0.8:5060>\r\n", "");
    scene.say(&update);
    let ok = scene.hear("200");
    assert_eq!(body(&ok), "");
    assert_eq!(scene.count(changed), 0);
    scene.hang_up(call);
    let (_, bye) = scene.world.hear(mobile);
    assert!(bye.starts_with("BYE sip:bob@10.0.0.8:5060 "), "{bye}");
    scene.world.say(mobile, ALICE, &reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn an_update_that_cannot_be_taken_is_refused_and_moves_nothing() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let contact = "Contact: <sip:bob@10.0.0.8:5060>\r\n";
    let g729 = offer(2, "sendrecv").replace("0 101", "18").replace("0 PCMU", "18 G729");
    for (more, body, status) in [
        (contact.to_owned(), g729.as_str(), "488"),
        (format!("{contact}Require: teleport\r\n"), "", "420"),
        (format!("{contact}Supported: timer\r\nSession-Expires: 60\r\n"), "", "422"),
    ] {
        let update = dialog.request("UPDATE", &more, body);
        scene.say(&update);
        let answer = scene.hear(status);
        match status {
            "420" => assert_eq!(header(&answer, "Unsupported"), "teleport"),
            "422" => assert_eq!(header(&answer, "Min-SE"), "90"),
            _ => {}
        }
    }
    assert!(sent(&mut scene, BOB_RTP) > 45);
    // The target is where it was.
    scene.finish(call);
}

#[test]
fn an_update_waits_for_our_change_and_a_second_one_for_the_first() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    scene.world.command(scene.alice, Command::Hold { call }).unwrap();
    let ours = scene.hear("INVITE");
    let update = dialog.request("UPDATE", "", &offer(2, "sendrecv"));
    scene.say(&update);
    scene.hear("491");
    // One without an offer collides with nothing.
    let update = dialog.request("UPDATE", "", "");
    scene.say(&update);
    scene.hear("200");
    scene.say(&reply(&ours, "200 OK", "", CONTACT, &offer(2, "recvonly")));
    scene.hear("ACK");
    // A re-INVITE of bob's that has our answer but no ACK: an UPDATE may follow.
    let theirs = dialog.request("INVITE", "", &offer(3, "recvonly"));
    scene.say(&theirs);
    scene.hear("200");
    let invite = dialog.seq;
    let update = dialog.request("UPDATE", "", &offer(4, "recvonly"));
    scene.say(&update);
    scene.hear("200");
    let ack = dialog.ack(invite, "");
    scene.say(&ack);
    scene.silent();
    // Without an offer in it, ours is open until the ACK.
    let theirs = dialog.request("INVITE", "", "");
    scene.say(&theirs);
    scene.hear("200");
    let invite = dialog.seq;
    let update = dialog.request("UPDATE", "", &offer(5, "recvonly"));
    scene.say(&update);
    scene.hear("491");
    let ack = dialog.ack(invite, &offer(5, "recvonly"));
    scene.say(&ack);
    scene.silent();
    scene.finish(call);
}

#[test]
fn an_update_while_it_rings_has_to_wait_for_the_answer_to_the_invite() {
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("in", &sdp("10.0.0.9", BOB_RTP)));
    let ringing =
        scene.world.ladder.iter().rev().find(|arrow| arrow.line.contains("180")).expect("it rings").text.clone();
    let mut dialog = Dialog::of_caller(&ringing);
    let update = dialog.request("UPDATE", "", &offer(2, "sendrecv"));
    scene.say(&update);
    let wait = scene.hear("500");
    assert!(header(&wait, "Retry-After").parse::<u32>().is_ok_and(|seconds| seconds <= 10));
    let update = dialog.request("UPDATE", "", "");
    scene.say(&update);
    scene.hear("200");
    scene.answer(call);
    scene.hear("200");
    // Before the ACK, but after the answer.
    let update = dialog.request("UPDATE", "", &offer(2, "sendrecv"));
    scene.say(&update);
    let (_, answer) = scene.world.hear(scene.bob);
    assert!(matches!(word(&answer).as_str(), "200" | "500" | "491"), "{answer}");
    let ack = dialog.ack(1, "");
    scene.say(&ack);
    scene.world.run_for(Duration::from_secs(1));
    while scene.world.hear_now(scene.bob).is_some() {}
    scene.finish(call);
}

#[test]
fn a_callee_that_has_not_answered_our_offer_cannot_update_it() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
    let mut dialog = Dialog::of_callee(&invite, "b");
    let update = dialog.request("UPDATE", "", &offer(1, "sendrecv"));
    scene.say(&update);
    scene.hear("491");
    let update = dialog.request("UPDATE", "", "");
    scene.say(&update);
    scene.hear("200");
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.finish(call);
}

#[test]
fn updates_out_of_order_of_strangers_or_for_no_call_do_nothing() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    dialog.seq = 9;
    let update = dialog.request("UPDATE", "", "");
    scene.say(&update);
    scene.hear("200");
    let late = dialog.with_seq("UPDATE", 5, "", &offer(2, "inactive"));
    scene.say(&late);
    scene.hear("500");
    let mut wrong = dialog.clone();
    wrong.to = wrong.to.replace(";tag=", ";tag=x");
    let stray = wrong.request("UPDATE", "", &offer(2, "inactive"));
    scene.say(&stray.replace("z9hG4bK", "z9hG4bKx"));
    scene.hear("481");
    assert!(sent(&mut scene, BOB_RTP) > 45);
    scene.finish(call);
}
