//! Digits by INFO (RFC 6086), both ways, and beside those in the sound.

use crate::calls::{answered, incoming, phone};
use crate::kit::World;
use crate::kit::peer::*;
use bellwire::api::{Command, Event};
use bellwire::id::CallHandle;
use bellwire::time::Duration;
use bellwire::ua::{AccountConfig, DtmfMode, UaConfig};

/// An account at bob's that sends digits so.
fn account(mode: DtmfMode) -> UaConfig {
    let uri = |text: &str| text.parse().expect("a URI");
    let mut config = phone();
    let mut account = AccountConfig::new("work", uri("sip:alice@10.0.0.9"), uri("sip:10.0.0.9"));
    (account.register, account.dtmf) = (false, mode);
    account.audio = config.default_audio.clone();
    config.accounts.push(account);
    config
}

/// Alice talks to bob, whose description has telephone-event or not.
fn talking(config: UaConfig, events: bool) -> (Scene, CallHandle, Dialog) {
    let (mut scene, call, invite) = Scene::dialled(config);
    let full = sdp("10.0.0.9", BOB_RTP);
    let bare = full.replace(" 101\r\n", "\r\n").replace("a=rtpmap:101 telephone-event/8000\r\n", "");
    scene.say(&reply(&invite, "200 OK", "b", CONTACT, if events { &full } else { &bare }));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    (scene, call, Dialog::of_callee(&invite, "b"))
}

fn press(scene: &mut Scene, call: CallHandle, digits: &str) {
    scene.world.command(scene.alice, Command::Dtmf { call, digits: digits.into() }).expect("it is up");
}

#[test]
fn digits_go_by_info_one_after_the_other_where_the_far_end_takes_no_events() {
    let (mut scene, call, _) = talking(phone(), false);
    press(&mut scene, call, "1,#");
    let info = scene.hear("INFO");
    assert_eq!(
        (header(&info, "Content-Type"), body(&info)),
        ("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n")
    );
    assert!(scene.hear_for(Duration::from_millis(400)).is_empty(), "the next waits for the answer");
    let before = scene.world.now;
    scene.say(&reply(&info, "200 OK", "", "", ""));
    let info = scene.hear("INFO");
    assert!(scene.world.now.since(before) > Duration::from_millis(500), "a comma is half a second");
    assert_eq!(body(&info), "Signal=#\r\nDuration=160\r\n");
    scene.say(&reply(&info, "200 OK", "", "", ""));
    scene.world.run_until(scene.alice, |event| matches!(event, Event::DtmfSent { .. }));
    scene.finish(call);
}

#[test]
fn the_config_says_how_digits_go_whatever_the_far_end_takes() {
    let (mut scene, call, _) = talking(account(DtmfMode::Info), true);
    press(&mut scene, call, "5");
    let info = scene.hear("INFO");
    scene.say(&reply(&info, "200 OK", "", "", ""));
    scene.finish(call);
    for mode in [DtmfMode::Auto, DtmfMode::Rfc4733] {
        let (mut scene, call, _) = talking(account(mode), true);
        press(&mut scene, call, "5");
        scene.silent();
        let events =
            scene.world.packets(scene.bob, BOB_RTP).iter().filter(|(_, packet)| packet[1] & 0x7f == 101).count();
        assert!(events > 3, "{mode:?}: {events}");
        scene.finish(call);
    }
}

#[test]
fn a_far_end_that_knows_the_digit_alone_gets_it_so_and_one_that_refuses_is_told() {
    let (mut scene, call, _) = talking(phone(), false);
    press(&mut scene, call, "12");
    for (kind, text) in [
        ("application/dtmf-relay", "Signal=1\r\nDuration=160\r\n"),
        ("application/dtmf", "1\r\n"),
        ("application/dtmf", "2\r\n"),
    ] {
        let info = scene.hear("INFO");
        assert_eq!((header(&info, "Content-Type"), body(&info)), (kind, text));
        let status = if kind == "application/dtmf" { "200 OK" } else { "415 Unsupported Media Type" };
        scene.say(&reply(&info, status, "", "", ""));
    }
    scene.world.run_until(scene.alice, |event| matches!(event, Event::DtmfSent { .. }));
    press(&mut scene, call, "3");
    let info = scene.hear("INFO");
    scene.say(&reply(&info, "405 Method Not Allowed", "", "", ""));
    let warning = scene.world.run_until(scene.alice, |event| matches!(event, Event::MediaWarning { .. }));
    assert!(matches!(warning, Event::MediaWarning { failure, .. } if failure.slug == "dtmf.refused"));
    scene.silent();
    scene.finish(call);
}

#[test]
fn digits_that_come_by_info_are_told_once_and_what_is_no_digit_is_refused() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    let mut info = |kind: &str, text: &str| bob.request("INFO", "", text).replace("application/sdp", kind);
    let relay = "application/dtmf-relay";
    let copy = info(relay, "Signal=5\r\nDuration=200\r\n");
    for (text, status) in [
        (copy.clone(), "200"),
        (copy, "200"),
        (info("application/dtmf", "#"), "200"),
        (info(relay, "Signal=E\r\n"), "400"),
        (info("application/media_control+xml", "<x/>"), "415"),
        (info("x", ""), "200"),
        (info(relay, "Signal=1\r\n").replace("Content-Type", "Info-Package: magic\r\nContent-Type"), "469"),
    ] {
        scene.say(&text);
        let answer = scene.hear(status);
        if status == "415" {
            assert_eq!(lines(&answer, "Accept").len(), 1, "{answer}");
        }
    }
    let digits: Vec<_> = scene
        .world
        .events(scene.alice)
        .into_iter()
        .filter_map(|event| match event {
            Event::DtmfReceived { digit, duration_ms, .. } => Some((*digit, *duration_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(digits, [('5', 200), ('#', 160)]);
    // Outside a call nobody presses keys.
    let outside = bob.request("INFO", "", "Signal=9\r\n").replace("application/sdp", relay);
    scene.say(&outside.replace("Call-ID: ", "Call-ID: other"));
    scene.hear("481");
    scene.finish(call);
}

#[test]
fn two_phones_press_keys_by_info() {
    let mut world = World::new(51);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let mut deaf = phone();
    deaf.default_audio.capabilities.dtmf = false;
    let bob = world.ua("bob", &["10.0.0.2"], deaf);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let at_bob = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: at_bob, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.command(alice, Command::Dtmf { call, digits: "19*#A".into() }).unwrap();
    world.run_until(alice, |event| matches!(event, Event::DtmfSent { .. }));
    let digits: String = world
        .events(bob)
        .into_iter()
        .filter_map(|event| if let Event::DtmfReceived { digit, .. } = event { Some(*digit) } else { None })
        .collect();
    assert_eq!(digits, "19*#A");
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, crate::calls::ended);
    world.assert_quiet();
}
