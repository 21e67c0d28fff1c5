//! Attended transfers and calls that are taken over (RFC 3891, RFC 5589 §7).

use crate::calls::{answered, ended, incoming, phone};
use crate::kit::peer::*;
use crate::kit::{NodeId, World};
use bellwire::api::{Command, CommandError, Event, TransferState};
use bellwire::id::CallHandle;
use bellwire::time::Duration;
use bellwire::ua::{TransferPolicy, UaConfig};

fn policy(policy: TransferPolicy) -> UaConfig {
    let mut config = phone();
    config.call.transfer_policy = policy;
    config
}

/// Three phones: alice talks to bob and to carol. Gives her two calls and the ones that they have.
fn three(seed: u64) -> (World, [NodeId; 3], [CallHandle; 4]) {
    let mut world = World::new(seed);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let bob = world.ua("bob", &["10.0.0.2"], policy(TransferPolicy::Allow));
    let carol = world.ua("carol", &["10.0.0.3"], phone());
    let mut calls = Vec::new();
    for (node, target) in [(bob, "sip:bob@10.0.0.2"), (carol, "sip:carol@10.0.0.3")] {
        let ours = world.dial(alice, target);
        let theirs = incoming(&mut world, node);
        world.command(node, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(alice, answered);
        calls.extend([ours, theirs]);
    }
    (world, [alice, bob, carol], [calls[0], calls[2], calls[1], calls[3]])
}

#[test]
fn two_calls_are_joined_and_the_one_in_the_middle_leaves() {
    let (mut world, [alice, bob, carol], [to_bob, to_carol, at_bob, at_carol]) = three(31);
    world.microphone(bob, 1000.0);
    world.command(alice, Command::TransferTo { call: to_bob, to: to_carol }).unwrap();
    // Carol's phone does not ring again: the call that she has goes on with bob.
    let replaced = world.run_until(carol, |event| matches!(event, Event::CallReplaced { .. }));
    let Event::CallReplaced { call, new_call, .. } = replaced else { unreachable!() };
    assert_eq!(call, at_carol);
    world.run_for(Duration::from_secs(1));
    let done = |event: &&Event| matches!(event, Event::Transfer { state: TransferState::Done, .. });
    assert_eq!(world.events(alice).into_iter().filter(done).count(), 1);
    let over = |event: &&Event| matches!(event, Event::CallEnded { failure: None, .. });
    assert_eq!(world.events(alice).into_iter().filter(over).count(), 2, "both of alice's calls are over");
    let end = world.run_until(bob, ended);
    assert!(matches!(end, Event::CallEnded { call, failure: None, .. } if call == at_bob), "{end:?}");
    assert_eq!(world.events(carol).into_iter().filter(|event| matches!(event, Event::CallIncoming { .. })).count(), 1);
    let bye = world.sent(carol, "BYE");
    assert_eq!(header(bye[0], "Reason"), "SIP;cause=200;text=\"Replaced by another call\"");
    world.run_for(Duration::from_secs(5));
    world.command(carol, Command::HangUp { call: new_call }).unwrap();
    world.run_until(bob, ended);
    world.assert_quiet();
}

#[test]
fn a_refer_with_replaces_swaps_the_tags_and_escapes_them() {
    let mut config = phone();
    config.call.hold_others = false;
    let (mut scene, call, _) = Scene::answered(config);
    let mut second = scene.world.dial(scene.alice, "sip:carol@10.0.0.9");
    let invite = scene.hear("INVITE");
    scene.say(&ok(&invite, "c"));
    scene.hear("ACK");
    let same = scene.world.command(scene.alice, Command::TransferTo { call, to: call });
    assert!(matches!(same, Err(CommandError::NoSuchCall(_))), "{same:?}");
    scene.world.command(scene.alice, Command::TransferTo { call, to: second }).unwrap();
    let change = scene.hear("INVITE");
    scene.say(&reply(&change, "488 Not Acceptable Here", "", "", ""));
    scene.hear("ACK");
    // One that cannot be held is handed over all the same.
    let refer = scene.hear("REFER");
    let tag = header(&invite, "From").split("tag=").nth(1).expect("ours").to_owned();
    let id = header(&invite, "Call-ID").to_owned();
    let wanted = format!("<sip:bob@10.0.0.9:5060?Replaces={id}%3Bto-tag%3Dc%3Bfrom-tag%3D{tag}>");
    assert_eq!(header(&refer, "Refer-To"), wanted);
    // Refused: both calls stay.
    scene.say(&reply(&refer, "603 Decline", "", "", ""));
    scene.world.run_until(scene.alice, |event| matches!(event, Event::Transfer { state: TransferState::Failed, .. }));
    for _ in 0..2 {
        scene.hang_up(second);
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        scene.ended();
        second = call;
    }
    scene.world.assert_quiet();
}

/// An INVITE of a third party that names a dialog.
fn replacing(id: &str, replaces: &str) -> String {
    let text = invite(id, &sdp("10.0.0.9", 4100)).replace("tag=bob", "tag=dave");
    text.replacen("CSeq:", &format!("Require: replaces\r\nReplaces: {replaces}\r\nCSeq:"), 1)
}

/// What names bob's dialog to alice.
fn names(dialog: &Dialog) -> String {
    let tag = |value: &str| value.split("tag=").nth(1).expect("a tag").to_owned();
    format!("{};to-tag={};from-tag={}", dialog.call_id, tag(&dialog.to), tag(&dialog.from))
}

#[test]
fn a_call_that_is_up_is_taken_over_by_who_knows_its_tags() {
    let (mut scene, call, bob) = Scene::called(phone());
    scene.say(&replacing("r", &names(&bob)));
    let answer = scene.hear("200");
    let dave = Dialog::of_caller(&answer);
    let bye = scene.hear("BYE");
    assert!(header(&bye, "Reason").starts_with("SIP;cause=200"), "{bye}");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    let ack = dave.ack(1, "");
    scene.say(&ack);
    assert!(matches!(scene.ended(), Event::CallEnded { call: over, failure: None, .. } if over == call));
    scene.world.run_for(Duration::from_secs(1));
    assert!(scene.world.packets(scene.bob, 4100).len() > 40, "the sound goes to the new one");
    assert_eq!(scene.count(|event| matches!(event, Event::CallIncoming { .. })), 1);
    let second = CallHandle(call.0 + 1);
    scene.finish(second);
}

#[test]
fn a_call_that_rings_at_the_far_end_is_picked_up_by_another_phone() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
    scene.world.run_until(scene.alice, |event| matches!(event, Event::CallRinging { .. }));
    let bob = Dialog::of_callee(&invite, "b");
    scene.say(&replacing("p", &format!("{};early-only", names(&bob))));
    let answer = scene.hear("200");
    let cancel = scene.hear("CANCEL");
    scene.say(&reply(&cancel, "200 OK", "", "", ""));
    scene.say(&reply(&invite, "487 Request Terminated", "b", "", ""));
    scene.hear("ACK");
    let dave = Dialog::of_caller(&answer);
    let ack = dave.ack(1, "");
    scene.say(&ack);
    assert!(matches!(scene.ended(), Event::CallEnded { call: over, failure: None, .. } if over == call));
    scene.world.run_until(scene.alice, |event| matches!(event, Event::CallAnswered { .. }));
    scene.finish(CallHandle(call.0 + 1));
}

#[test]
fn a_replaces_that_fits_no_call_of_ours_is_refused_and_nothing_rings() {
    let (mut scene, call, bob) = Scene::called(phone());
    let right = names(&bob);
    let swapped = {
        let tag = |value: &str| value.split("tag=").nth(1).expect("a tag").to_owned();
        format!("{};to-tag={};from-tag={}", bob.call_id, tag(&bob.from), tag(&bob.to))
    };
    for (n, (what, replaces, status)) in [
        ("another call", "x@y;to-tag=1;from-tag=2".to_owned(), "481"),
        ("the tags the wrong way round", swapped, "481"),
        ("a wrong tag of the peer", right.replace("from-tag=bob", "from-tag=eve"), "481"),
        ("only while it rings", format!("{right};early-only"), "486"),
        ("no tags", "x@y".to_owned(), "400"),
        ("two at once", format!("{right}\r\nReplaces: {right}"), "400"),
    ]
    .into_iter()
    .enumerate()
    {
        let invite = replacing(&format!("w{n}"), &replaces);
        scene.say(&invite);
        let refusal = scene.hear(status);
        let tag = header(&refusal, "To").split("tag=").nth(1).unwrap_or_default().to_owned();
        let ack = invite.replacen("INVITE ", "ACK ", 1).replace("CSeq: 1 INVITE", "CSeq: 1 ACK");
        let ack = ack.replace("To: <sip:alice@10.0.0.1>", &format!("To: <sip:alice@10.0.0.1>;tag={tag}"));
        scene.say(&ack);
        assert!(scene.hear_for(Duration::from_millis(600)).is_empty(), "{what}");
    }
    assert_eq!(scene.count(|event| matches!(event, Event::CallIncoming { .. } | Event::CallReplaced { .. })), 1);
    scene.finish(call);
}

#[test]
fn a_call_that_rings_here_or_must_not_be_touched_stays_what_it_is() {
    // It rings here: only its caller may do something about it.
    let mut scene = Scene::new(phone());
    let call = scene.ring(&invite("in", &sdp("10.0.0.9", BOB_RTP)));
    let ringing = scene.world.sent(scene.alice, "SIP/2.0").last().map(|text| Dialog::of_caller(text)).expect("the 180");
    scene.say(&replacing("early", &names(&ringing)));
    scene.hear("481");
    scene.world.command(scene.alice, Command::Reject { call, code: None }).expect("it still rings");
    scene.hear("486");
    // The policy forbids it.
    let (mut scene, call, bob) = Scene::called(policy(TransferPolicy::Deny));
    scene.say(&replacing("denied", &names(&bob)));
    scene.hear("603");
    scene.finish(call);
}

#[test]
fn who_is_muted_or_on_hold_stays_so_in_the_call_that_takes_over() {
    for hold in [false, true] {
        let (mut scene, call, bob) = Scene::called(phone());
        if hold {
            scene.world.command(scene.alice, Command::Hold { call }).unwrap();
            let change = scene.hear("INVITE");
            let answer = format!("{}a=recvonly\r\n", later(&sdp("10.0.0.9", BOB_RTP)));
            scene.say(&reply(&change, "200 OK", "", CONTACT, &answer));
            scene.hear("ACK");
        } else {
            scene.world.command(scene.alice, Command::Mute { call, on: true }).unwrap();
        }
        scene.say(&replacing("m", &names(&bob)));
        let answer = scene.hear("200");
        assert_eq!(body(&answer).contains("a=sendonly\r\n"), hold, "{answer}");
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        let dave = Dialog::of_caller(&answer);
        let ack = dave.ack(1, "");
        scene.say(&ack);
        scene.world.run_for(Duration::from_secs(2));
        let packets = scene.world.packets(scene.bob, 4100);
        let silent = |bytes: &Vec<u8>| bytes[12..].iter().all(|byte| matches!(byte, 0xff | 0x7f));
        assert!(packets.len() > 50 && packets.iter().all(|(_, bytes)| silent(bytes)), "{}", packets.len());
        let second = CallHandle(call.0 + 1);
        let held = |event: &Event| matches!(event, Event::CallChanged { call, held: true, .. } if *call == second);
        assert_eq!(scene.count(held), usize::from(hold));
        scene.finish(second);
    }
}

#[test]
fn only_an_invite_can_take_the_place_of_a_call() {
    let (mut scene, call, bob) = Scene::called(phone());
    scene.say(&replacing("o", &names(&bob)).replace("INVITE", "OPTIONS"));
    scene.hear("400");
    scene.finish(call);
}
