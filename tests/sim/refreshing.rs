//! Session timers (RFC 4028): who refreshes, how, and what happens when nobody does.

use crate::calls::{answered, ended, incoming, phone, silent_phone};
use crate::kit::World;
use crate::kit::peer::*;
use bellwire::api::{Command, EndedBy, Event};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn asking_for(seconds: u32) -> UaConfig {
    let mut config = phone();
    config.call.media_timeout = None;
    config.call.rules.session_expires = seconds;
    config
}

/// Alice has called; bob's 200 says this.
fn called(config: UaConfig, more: &str) -> (Scene, bellwire::id::CallHandle, Dialog) {
    let (mut scene, call, invite) = Scene::dialled(config);
    let more = format!("{CONTACT}{more}");
    scene.say(&reply(&invite, "200 OK", "b", &more, &sdp("10.0.0.9", BOB_RTP)));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    let dialog = Dialog::of_callee(&invite, "b");
    (scene, call, dialog)
}

/// The time until bob hears this.
fn wait(scene: &mut Scene, wanted: &str) -> (u64, String) {
    let start = scene.world.now;
    for _ in 0..8000 {
        scene.world.run_for(Duration::from_millis(500));
        if let Some((_, text)) = scene.world.hear_now(scene.bob) {
            assert_eq!(word(&text), wanted, "{text}");
            return ((scene.world.now - start).as_secs(), text);
        }
    }
    panic!("bob never heard {wanted}");
}

#[test]
fn we_refresh_at_half_the_interval_by_update_where_the_peer_takes_it() {
    let allow = "Allow: INVITE, ACK, BYE, UPDATE\r\n";
    let (mut scene, call, _) = called(asking_for(120), &format!("{allow}Session-Expires: 120;refresher=uac\r\n"));
    for _ in 0..3 {
        let (after, update) = wait(&mut scene, "UPDATE");
        assert!((59..=61).contains(&after), "{after}");
        assert_eq!(header(&update, "Session-Expires"), "120;refresher=uac");
        assert!(header(&update, "Supported").contains("timer") && body(&update).is_empty(), "{update}");
        scene.say(&reply(&update, "200 OK", "", &format!("{CONTACT}Session-Expires: 120;refresher=uac\r\n"), ""));
    }
    assert_eq!(scene.count(|event| matches!(event, Event::CallChanged { .. })), 0, "a refresh is no news");
    scene.finish(call);
}

#[test]
fn we_refresh_by_re_invite_with_the_same_version_where_the_peer_knows_no_update() {
    for allow in ["Allow: INVITE, ACK, BYE\r\n", ""] {
        let (mut scene, call, _) = called(asking_for(90), &format!("{allow}Session-Expires: 90;refresher=uac\r\n"));
        for _ in 0..2 {
            let (after, invite) = wait(&mut scene, "INVITE");
            assert!((44..=46).contains(&after), "{after}");
            assert!(body(&invite).contains("o=- ") && body(&invite).split(' ').nth(2) == Some("1"), "{invite}");
            let more = format!("{CONTACT}Session-Expires: 90;refresher=uac\r\n");
            scene.say(&reply(&invite, "200 OK", "", &more, &sdp("10.0.0.9", BOB_RTP)));
            scene.hear("ACK");
        }
        assert_eq!(scene.count(|event| matches!(event, Event::CallChanged { .. })), 0, "a refresh is no news");
        scene.finish(call);
    }
}

#[test]
fn a_peer_that_says_it_can_update_and_cannot_gets_a_re_invite() {
    let (mut scene, call, _) =
        called(asking_for(120), "Allow: INVITE, UPDATE\r\nSession-Expires: 120;refresher=uac\r\n");
    let (_, update) = wait(&mut scene, "UPDATE");
    scene.say(&reply(&update, "405 Method Not Allowed", "", "", ""));
    let (_, invite) = wait(&mut scene, "INVITE");
    scene.say(&reply(&invite, "200 OK", "", &format!("{CONTACT}Session-Expires: 120\r\n"), &sdp("10.0.0.9", BOB_RTP)));
    scene.hear("ACK");
    scene.finish(call);
}

#[test]
fn a_peer_that_was_to_refresh_and_does_not_gets_bye_before_the_end() {
    for (interval, end) in [(120, 88), (90, 60), (1800, 1768)] {
        let (mut scene, _, _) = called(asking_for(1800), &format!("Session-Expires: {interval};refresher=uas\r\n"));
        let (after, bye) = wait(&mut scene, "BYE");
        assert!((end - 1..=end + 1).contains(&after), "{interval}: {after}");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        let Event::CallEnded { by: EndedBy::Fault, failure: Some(failure), .. } = scene.ended() else { panic!() };
        assert_eq!(failure.slug, "call.session-expired");
        scene.world.assert_quiet();
    }
}

#[test]
fn a_refresh_of_the_peers_counts_by_update_and_by_re_invite() {
    let (mut scene, call, mut dialog) = called(asking_for(1800), "Session-Expires: 120;refresher=uas\r\n");
    let more = "Supported: timer\r\nSession-Expires: 120;refresher=uac\r\n";
    for round in 0..6 {
        scene.world.run_for(secs(60));
        let (method, offer) =
            if round % 2 == 0 { ("UPDATE", String::new()) } else { ("INVITE", sdp("10.0.0.9", BOB_RTP)) };
        let request = dialog.request(method, more, &offer);
        scene.say(&request);
        let ok = scene.hear("200");
        assert_eq!(header(&ok, "Session-Expires"), "120;refresher=uac");
        assert_eq!(header(&ok, "Require"), "timer");
        if method == "INVITE" {
            let ack = dialog.ack(dialog.seq, "");
            scene.say(&ack);
        }
    }
    assert_eq!(scene.count(ended), 0);
    scene.finish(call);
}

#[test]
fn without_a_timer_in_the_200_the_call_is_never_asked() {
    let (mut scene, call, _) = called(asking_for(90), "");
    assert!(scene.hear_for(secs(600)).is_empty());
    scene.finish(call);
}

#[test]
fn a_timer_that_nobody_asked_for_is_honoured_and_its_refreshes_are_ours() {
    // As some desk phones do: no Require, no refresher.
    let (mut scene, call, _) = called(asking_for(0), "Session-Expires: 180\r\n");
    let (after, _) = wait(&mut scene, "INVITE");
    assert!((89..=91).contains(&after), "{after}");
    scene.world.command(scene.alice, Command::HangUp { call }).unwrap();
    scene.world.run_for(secs(1));
    scene.ended();
}

#[test]
fn a_422_raises_the_interval_and_the_call_is_placed_again() {
    let (mut scene, call, first) = Scene::dialled(asking_for(90));
    assert_eq!(header(&first, "Session-Expires"), "90");
    scene.say(&reply(&first, "422 Session Interval Too Small", "b", "Min-SE: 300\r\n", ""));
    scene.hear("ACK");
    let second = scene.hear("INVITE");
    assert_eq!((header(&second, "Session-Expires"), header(&second, "Min-SE")), ("300", "300"));
    assert_eq!(header(&second, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(header(&second, "CSeq"), "2 INVITE");
    scene.say(&reply(
        &second,
        "200 OK",
        "b",
        &format!("{CONTACT}Session-Expires: 300;refresher=uas\r\n"),
        &sdp("10.0.0.9", BOB_RTP),
    ));
    scene.hear("ACK");
    scene.finish(call);
    // A server that is never content, or asks for nothing, ends the call.
    for steps in [&["100", "200", "300", "400"][..], &["90"][..], &[][..]] {
        let (mut scene, _, mut invite) = Scene::dialled(asking_for(90));
        for (n, least) in steps.iter().enumerate() {
            scene.say(&reply(&invite, "422 Session Interval Too Small", "b", &format!("Min-SE: {least}\r\n"), ""));
            scene.hear("ACK");
            if n + 1 < steps.len() {
                invite = scene.hear("INVITE");
            }
        }
        if steps.is_empty() {
            scene.say(&reply(&invite, "422 Session Interval Too Small", "b", "", ""));
            scene.hear("ACK");
        }
        let Event::CallEnded { code: Some(422), .. } = scene.ended() else { panic!() };
        scene.world.assert_quiet();
    }
}

#[test]
fn as_the_callee_we_grant_what_is_asked_and_refuse_what_is_too_short() {
    let ask = |more: &str| invite("in", &sdp("10.0.0.9", BOB_RTP)).replace(CONTACT, &format!("{CONTACT}{more}"));
    for (more, granted, require) in [
        ("Supported: timer\r\nSession-Expires: 600\r\n", "600;refresher=uac", "timer"),
        ("Supported: timer\r\nx: 600;refresher=uas\r\n", "600;refresher=uas", ""),
        ("Supported: timer\r\nSession-Expires: 600;refresher=uac\r\nMin-SE: 200\r\n", "600;refresher=uac", "timer"),
        ("Session-Expires: 600\r\n", "600;refresher=uas", ""),
        // We may shorten it, but not below their limit.
        ("Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n", "3600;refresher=uac", "timer"),
        ("Supported: timer\r\n", "1800;refresher=uas", ""),
        ("", "1800;refresher=uas", ""),
    ] {
        let mut scene = Scene::new(phone());
        let call = scene.ring(&ask(more));
        scene.answer(call);
        let ok = scene.hear("200");
        assert_eq!((header(&ok, "Session-Expires"), header(&ok, "Require")), (granted, require), "{more}");
        let ack = Dialog::of_caller(&ok).ack(1, "");
        scene.say(&ack);
        scene.world.run_until(scene.alice, answered);
        scene.finish(call);
    }
    let mut scene = Scene::new(phone());
    scene.say(&ask("Supported: timer\r\nSession-Expires: 30\r\n"));
    assert_eq!(header(&scene.hear("422"), "Min-SE"), "90");
    // Who cannot make it longer is not sent away for it.
    let mut scene = Scene::new(phone());
    let call = scene.ring(&ask("Session-Expires: 30\r\n"));
    scene.answer(call);
    assert_eq!(header(&scene.hear("200"), "Session-Expires"), "90;refresher=uas");
}

#[test]
fn a_refresh_that_fails_is_tried_again_and_in_the_end_the_call_is_over() {
    let (mut scene, _, _) = called(asking_for(180), "Allow: UPDATE\r\nSession-Expires: 180;refresher=uac\r\n");
    let (_, first) = wait(&mut scene, "UPDATE");
    scene.say(&reply(&first, "503 Service Unavailable", "", "", ""));
    let (after, second) = wait(&mut scene, "UPDATE");
    assert!((9..=11).contains(&after), "{after}");
    scene.say(&reply(&second, "422 Session Interval Too Small", "", "Min-SE: 240\r\n", ""));
    let (_, third) = wait(&mut scene, "UPDATE");
    assert_eq!((header(&third, "Session-Expires"), header(&third, "Min-SE")), ("240;refresher=uac", "240"));
    scene.say(&reply(&third, "481 Call/Transaction Does Not Exist", "", "", ""));
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "481 Call/Transaction Does Not Exist", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
    // Nobody there.
    let (mut scene, _, _) = called(asking_for(180), "Allow: UPDATE\r\nSession-Expires: 180;refresher=uac\r\n");
    wait(&mut scene, "UPDATE");
    let Event::CallEnded { by: EndedBy::Fault, .. } = scene.ended() else { panic!() };
    scene.world.assert_quiet();
}

#[test]
fn a_hold_in_a_timed_call_keeps_the_roles_and_refreshes() {
    let (mut scene, call, _) = called(asking_for(120), "Session-Expires: 120;refresher=uas\r\n");
    scene.world.run_for(secs(60));
    scene.world.command(scene.alice, Command::Hold { call }).unwrap();
    let invite = scene.hear("INVITE");
    assert_eq!(header(&invite, "Session-Expires"), "120;refresher=uas");
    let more = format!("{CONTACT}Session-Expires: 120;refresher=uas\r\n");
    scene.say(&reply(&invite, "200 OK", "", &more, &(later(&sdp("10.0.0.9", BOB_RTP)) + "a=recvonly\r\n")));
    scene.hear("ACK");
    let (after, bye) = wait(&mut scene, "BYE");
    assert!((87..=89).contains(&after), "{after}");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn two_phones_keep_a_call_for_hours_and_a_dead_one_ends_it() {
    let mut world = World::new(11);
    let mut config = silent_phone(&["pcmu"]);
    config.call.media_timeout = None;
    config.call.rules.session_expires = 90;
    let alice = world.ua("alice", &["10.0.0.1"], config.clone());
    let bob = world.ua("bob", &["10.0.0.2"], config);
    world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(secs(900));
    let updates = world.arrows().iter().filter(|arrow| arrow.as_str() == "alice UPDATE").count();
    assert!((19..=20).contains(&updates), "{updates}");
    assert!(!world.events(alice).into_iter().any(ended));
    world.kill(bob);
    let start = world.now;
    let Event::CallEnded { by: EndedBy::Fault, .. } = world.run_until(alice, ended) else { panic!() };
    assert!(world.now - start < secs(90));
    world.assert_quiet();
}
