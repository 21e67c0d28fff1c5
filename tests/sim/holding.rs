//! Hold and resume from us (RFC 3264 §8.4), several calls with one active, and what peers make of it.

use crate::calls::{answered, ended, incoming, phone, silent_phone, two_phones};
use crate::kit::World;
use crate::kit::network::Link;
use crate::kit::peer::*;
use bellwire::api::{Command, Event};
use bellwire::id::CallHandle;
use bellwire::sdp::plan::Direction;
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn changed(event: &Event) -> bool {
    matches!(event, Event::CallChanged { .. })
}

/// Whether the event says that we hold, and that they do.
fn holds(ours: bool, theirs: bool) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::CallChanged { held, held_by_peer, .. } if (*held, *held_by_peer) == (ours, theirs))
}

impl Scene {
    fn hold(&mut self, call: CallHandle) {
        self.world.command(self.alice, Command::Hold { call }).expect("it is up");
    }

    fn resume(&mut self, call: CallHandle) {
        self.world.command(self.alice, Command::Resume { call }).expect("it is up");
    }

    /// Bob answers a re-INVITE with this description, and alice acknowledges.
    fn agree(&mut self, invite: &str, body: &str) {
        self.say(&reply(invite, "200 OK", "", CONTACT, body));
        self.hear("ACK");
    }

    fn state(&self) -> String {
        self.world.ua_of(self.alice).snapshot().calls.first().map_or_else(String::new, |call| call.state.clone())
    }
}

fn directed(version: u32, direction: &str) -> String {
    sdp("10.0.0.9", BOB_RTP).replace("o=- 1 1 ", &format!("o=- 1 {version} ")) + &format!("a={direction}\r\n")
}

/// RTP payloads from alice to bob in the next so many seconds.
fn sent(scene: &mut Scene, seconds: u64) -> Vec<Vec<u8>> {
    scene.world.packets(scene.bob, BOB_RTP);
    scene.world.run_for(secs(seconds));
    scene.world.packets(scene.bob, BOB_RTP).into_iter().map(|(_, bytes)| bytes[12..].to_vec()).collect()
}

fn is_silence(payload: &[u8]) -> bool {
    payload.iter().all(|byte| matches!(byte, 0xff | 0x7f))
}

#[test]
fn we_hold_and_resume_and_the_peer_hears_silence_meanwhile() {
    for called in [true, false] {
        let (mut scene, call, dialog) = if called { Scene::called(phone()) } else { Scene::answered(phone()) };
        assert!(sent(&mut scene, 1).iter().any(|payload| !is_silence(payload)));
        scene.hold(call);
        let invite = scene.hear("INVITE");
        assert!(body(&invite).contains("a=sendonly\r\n"), "{invite}");
        assert_eq!(uri_of(header(&invite, "To")), uri_of(&dialog.from));
        scene.agree(&invite, &directed(2, "recvonly"));
        scene.world.run_until(scene.alice, holds(true, false));
        assert_eq!(scene.state(), "held");
        // What bob says is not heard; what he hears is silence, without a pause that would close a NAT.
        let quiet = sent(&mut scene, 5);
        assert!(quiet.len() > 240 && quiet.iter().all(|payload| is_silence(payload)), "{}", quiet.len());
        // Who never sends anything back may be a victim (threats C3): keep-alives are enough for it.
        let quiet = sent(&mut scene, 35);
        assert!(quiet.len() > 2 && quiet.iter().all(|payload| is_silence(payload)), "{}", quiet.len());
        let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 700.0);
        let before = scene.world.heard(scene.alice).samples().len();
        scene.stream(&mut sound, secs(2));
        let heard = scene.world.heard(scene.alice).samples();
        assert!(heard[before + 8000..].iter().all(|sample| sample.abs() < 50), "bob is heard on hold");

        scene.resume(call);
        let invite = scene.hear("INVITE");
        assert!(body(&invite).contains("a=sendrecv\r\n"), "{invite}");
        scene.agree(&invite, &directed(3, "sendrecv"));
        scene.world.run_until(scene.alice, holds(false, false));
        assert_eq!(scene.state(), "talking");
        assert!(sent(&mut scene, 1).iter().any(|payload| !is_silence(payload)));
        scene.stream(&mut sound, secs(3));
        assert!(scene.world.heard(scene.alice).snr_db(700.0, 2.0) > 25.0);
        scene.finish(call);
    }
}

#[test]
fn after_a_long_hold_both_sides_are_heard_again_at_once() {
    let (mut world, alice, bob) = two_phones(42);
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(secs(2));
    world.command(alice, Command::Hold { call }).unwrap();
    world.run_until(bob, holds(false, true));
    world.command(bob, Command::Hold { call: theirs }).unwrap();
    world.run_until(bob, holds(true, true));
    world.run_for(secs(400));
    world.command(bob, Command::Resume { call: theirs }).unwrap();
    world.run_until(bob, holds(false, true));
    world.command(alice, Command::Resume { call }).unwrap();
    world.run_until(bob, holds(false, false));
    world.run_for(secs(3));
    assert!(world.heard(bob).snr_db(440.0, 2.0) > 25.0);
    assert!(world.heard(alice).snr_db(1000.0, 2.0) > 25.0);
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.assert_quiet();
}

#[test]
fn versions_rise_by_one_with_each_hold_and_resume() {
    let (mut scene, call, _) = Scene::answered(phone());
    let mut versions = Vec::new();
    for n in 2..6 {
        if n % 2 == 0 {
            scene.hold(call)
        } else {
            scene.resume(call)
        }
        let invite = scene.hear("INVITE");
        let version = body(&invite).split(' ').nth(2).and_then(|word| word.parse::<u64>().ok()).expect("a version");
        versions.push(version);
        scene.agree(&invite, &directed(n, if n % 2 == 0 { "recvonly" } else { "sendrecv" }));
        scene.world.run_until(scene.alice, changed);
    }
    assert_eq!(versions, [2, 3, 4, 5]);
    scene.finish(call);
}

#[test]
fn who_is_held_and_holds_too_makes_it_inactive_and_each_side_resumes_alone() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    let theirs = dialog.request("INVITE", "", &directed(2, "sendonly"));
    scene.say(&theirs);
    assert!(body(&scene.hear("200")).contains("a=recvonly\r\n"));
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, holds(false, true));
    scene.hold(call);
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("a=inactive\r\n"), "{invite}");
    scene.agree(&invite, &directed(3, "inactive"));
    scene.world.run_until(scene.alice, holds(true, true));
    let kept = sent(&mut scene, 31);
    assert!((2..=3).contains(&kept.len()) && kept.iter().all(Vec::is_empty), "keep-alives only: {}", kept.len());
    // Bob resumes; alice still holds.
    let theirs = dialog.request("INVITE", "", &directed(4, "sendrecv"));
    scene.say(&theirs);
    assert!(body(&scene.hear("200")).contains("a=sendonly\r\n"));
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, holds(true, false));
    // Bob holds again, then alice resumes: he still holds her.
    let theirs = dialog.request("INVITE", "", &directed(5, "sendonly"));
    scene.say(&theirs);
    assert!(body(&scene.hear("200")).contains("a=inactive\r\n"));
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, holds(true, true));
    scene.resume(call);
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("a=sendrecv\r\n"), "{invite}");
    scene.agree(&invite, &directed(6, "sendonly"));
    scene.world.run_until(scene.alice, holds(false, true));
    assert!(sent(&mut scene, 3).len() <= 1);
    scene.finish(call);
}

#[test]
fn a_refused_hold_is_told_and_the_old_sound_goes_on() {
    for status in ["488 Not Acceptable Here", "403 Forbidden", "501 Not Implemented", "600 Busy Everywhere"] {
        let (mut scene, call, _) = Scene::answered(phone());
        scene.hold(call);
        let invite = scene.hear("INVITE");
        scene.say(&reply(&invite, status, "", "", ""));
        scene.hear("ACK");
        let told = scene.world.run_until(scene.alice, |event| matches!(event, Event::CallChangeRefused { .. }));
        let Event::CallChangeRefused { failure, .. } = told else { panic!() };
        assert_eq!((failure.slug.as_str(), failure.code), ("call.change-refused", status[..3].parse().ok()));
        assert_eq!((scene.state().as_str(), scene.count(changed)), ("talking", 0));
        assert!(sent(&mut scene, 1).iter().any(|payload| !is_silence(payload)));
        // It may be tried again, with the next version.
        scene.hold(call);
        let invite = scene.hear("INVITE");
        scene.agree(&invite, &directed(2, "recvonly"));
        scene.world.run_until(scene.alice, holds(true, false));
        scene.finish(call);
    }
}

#[test]
fn a_hold_that_the_peer_no_longer_knows_ends_the_call() {
    for status in ["481 Call/Transaction Does Not Exist", "408 Request Timeout"] {
        let (mut scene, call, _) = Scene::answered(phone());
        scene.hold(call);
        let invite = scene.hear("INVITE");
        scene.say(&reply(&invite, status, "", "", ""));
        scene.hear("ACK");
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "481 Call/Transaction Does Not Exist", "", "", ""));
        scene.ended();
        scene.world.assert_quiet();
    }
    let (mut scene, call, _) = Scene::answered(phone());
    scene.hold(call);
    let heard = scene.hear_for(secs(33));
    assert_eq!((heard[..7].to_vec(), heard[7].as_str()), (vec!["INVITE".to_owned(); 7], "BYE"));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_hold_that_collides_waits_as_the_rfc_says_and_comes_through() {
    for (called, shortest, longest) in [(true, 0, 2000), (false, 2100, 4000)] {
        let (mut scene, call, _) = if called { Scene::called(phone()) } else { Scene::answered(phone()) };
        scene.hold(call);
        let first = scene.hear("INVITE");
        scene.say(&reply(&first, "491 Request Pending", "", "", ""));
        scene.hear("ACK");
        let at = scene.world.now;
        let second = scene.hear("INVITE");
        let waited = scene.world.now - at;
        let slack = Duration::from_millis(10);
        assert!(waited + slack >= Duration::from_millis(shortest), "{waited:?}");
        assert!(waited <= Duration::from_millis(longest) + slack, "{waited:?}");
        // Busy with a change of its own, it names the time.
        scene.say(&reply(&second, "500 Server Internal Error", "", "Retry-After: 3\r\n", ""));
        scene.hear("ACK");
        let at = scene.world.now;
        let third = scene.hear("INVITE");
        assert!((scene.world.now - at) + slack >= secs(3));
        scene.agree(&third, &directed(2, "recvonly"));
        scene.world.run_until(scene.alice, holds(true, false));
        assert_eq!(scene.count(|event| matches!(event, Event::CallChangeRefused { .. })), 0);
        scene.finish(call);
    }
}

#[test]
fn a_peer_that_collides_for_ever_is_asked_ten_times() {
    let (mut scene, call, _) = Scene::called(phone());
    scene.hold(call);
    for _ in 0..10 {
        let invite = scene.hear("INVITE");
        scene.say(&reply(&invite, "491 Request Pending", "", "", ""));
        scene.hear("ACK");
    }
    scene.world.run_until(scene.alice, |event| matches!(event, Event::CallChangeRefused { .. }));
    assert!(scene.hear_for(secs(10)).is_empty());
    scene.finish(call);
}

#[test]
fn a_user_who_changes_his_mind_is_followed() {
    let (mut scene, call, _) = Scene::answered(phone());
    scene.hold(call);
    scene.resume(call);
    scene.hold(call);
    scene.resume(call);
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("a=sendonly\r\n"));
    scene.agree(&invite, &directed(2, "recvonly"));
    let invite = scene.hear("INVITE");
    assert!(body(&invite).contains("a=sendrecv\r\n"));
    scene.agree(&invite, &directed(3, "sendrecv"));
    scene.world.run_until(scene.alice, holds(false, false));
    scene.silent();
    scene.finish(call);
}

#[test]
fn a_change_of_the_peers_waits_for_ours_and_ours_for_its_ack() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    // Bob's is accepted, but not acknowledged yet.
    let theirs = dialog.request("INVITE", "", &directed(2, "sendrecv"));
    scene.say(&theirs);
    scene.hear("200");
    scene.hold(call);
    assert!(scene.hear_for(Duration::from_millis(300)).is_empty());
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    let ours = scene.hear("INVITE");
    // Ours is out: his gets 491.
    let theirs = dialog.request("INVITE", "", &directed(3, "sendrecv"));
    scene.say(&theirs);
    scene.hear("491");
    let ack = theirs.replace("INVITE", "ACK");
    scene.say(&ack);
    scene.agree(&ours, &directed(3, "recvonly"));
    scene.world.run_until(scene.alice, holds(true, false));
    scene.finish(call);
}

#[test]
fn an_offer_that_asks_for_ours_while_we_hold_gets_sendonly() {
    let (mut scene, call, mut dialog) = Scene::called(phone());
    scene.hold(call);
    let ours = scene.hear("INVITE");
    scene.agree(&ours, &directed(2, "recvonly"));
    scene.world.run_until(scene.alice, holds(true, false));
    let text = dialog.request("INVITE", "", "");
    scene.say(&text);
    let answer = scene.hear("200");
    assert!(body(&answer).contains("a=sendonly\r\n"), "{answer}");
    let ack = dialog.ack(dialog.seq, &directed(3, "recvonly"));
    scene.say(&ack);
    scene.world.run_until(scene.alice, holds(true, false));
    assert_eq!(scene.state(), "held");
    scene.finish(call);
}

#[test]
fn hanging_up_while_a_hold_is_under_way_leaves_nothing() {
    let (mut scene, call, _) = Scene::answered(phone());
    scene.hold(call);
    let invite = scene.hear("INVITE");
    scene.hang_up(call);
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    scene.say(&reply(&invite, "487 Request Terminated", "", "", ""));
    scene.hear("ACK");
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_peer_that_holds_us_without_a_packet_is_not_taken_for_gone() {
    let mut config = phone();
    config.call.media_timeout = Some(secs(20));
    let (mut scene, call, mut dialog) = Scene::called(config);
    let theirs = dialog.request("INVITE", "", &directed(2, "sendonly"));
    scene.say(&theirs);
    scene.hear("200");
    let ack = dialog.ack(dialog.seq, "");
    scene.say(&ack);
    scene.world.run_for(secs(300));
    assert_eq!(scene.count(ended), 0);
    scene.finish(call);
}

#[test]
fn a_second_call_waits_is_answered_and_the_calls_take_turns() {
    let (mut world, alice, bob) = two_phones(40);
    let carol = world.ua("carol", &["10.0.0.3"], phone());
    world.microphone(alice, 440.0);
    world.dial(bob, "sip:alice@10.0.0.1");
    let first = incoming(&mut world, alice);
    world.command(alice, Command::Answer { call: first, audio: None }).unwrap();
    world.run_until(bob, answered);
    world.dial(carol, "sip:alice@10.0.0.1");
    let second = incoming(&mut world, alice);
    world.run_for(secs(2));
    assert!(world.heard(bob).snr_db(440.0, 1.0) > 25.0, "the first call goes on while the second one rings");
    world.command(alice, Command::Answer { call: second, audio: None }).unwrap();
    world.run_until(bob, holds(false, true));
    world.run_until(carol, answered);
    world.run_for(secs(3));
    assert!(world.heard(carol).snr_db(440.0, 2.0) > 25.0);
    assert!(world.heard(bob).peak(1.0) < 50, "bob hears nothing on hold");
    let states = |world: &World| -> Vec<String> {
        world.ua_of(alice).snapshot().calls.iter().map(|call| call.state.clone()).collect()
    };
    assert_eq!(states(&world), ["held", "talking"]);
    world.command(alice, Command::Resume { call: first }).unwrap();
    world.run_until(carol, holds(false, true));
    world.run_until(bob, holds(false, false));
    world.run_for(secs(3));
    assert_eq!(states(&world), ["talking", "held"]);
    assert!(world.heard(bob).snr_db(440.0, 2.0) > 25.0);
    // A third one that we place holds the first.
    let dave = world.ua("dave", &["10.0.0.4"], phone());
    world.dial(alice, "sip:dave@10.0.0.4");
    let rings = incoming(&mut world, dave);
    world.command(dave, Command::Answer { call: rings, audio: None }).unwrap();
    world.run_for(secs(1));
    assert_eq!(states(&world), ["held", "held", "talking"]);
    world.command(alice, Command::Stop).unwrap();
    for node in [bob, carol, dave] {
        world.run_until(node, ended);
    }
    world.assert_quiet();
}

#[test]
fn calls_go_on_beside_each_other_when_the_config_says_so() {
    let mut config = phone();
    config.call.hold_others = false;
    let mut world = World::new(41);
    let alice = world.ua("alice", &["10.0.0.1"], config);
    for (name, ip) in [("bob", "10.0.0.2"), ("carol", "10.0.0.3")] {
        let node = world.ua(name, &[ip], phone());
        world.dial(node, "sip:alice@10.0.0.1");
        let call = incoming(&mut world, alice);
        world.command(alice, Command::Answer { call, audio: None }).unwrap();
        world.run_until(node, answered);
    }
    world.run_for(secs(1));
    assert!(world.ua_of(alice).snapshot().calls.iter().all(|call| call.state == "talking"));
    world.command(alice, Command::Stop).unwrap();
    world.assert_quiet();
}

#[test]
fn both_hold_at_once_and_agree_in_the_end_whatever_the_network_does() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let alice = world.ua("alice", &["10.0.0.1"], silent_phone(&["pcmu"]));
        let bob = world.ua("bob", &["10.0.0.2"], silent_phone(&["pcmu"]));
        let link = Link::default().latency_ms(1 + seed % 150).jitter_ms(seed % 40);
        world.link(alice, bob, link.loss(f64::from(u32::try_from(seed % 4).expect("small")) * 0.05));
        let call = world.dial(alice, "sip:bob@10.0.0.2");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(alice, answered);
        world.run_until(bob, answered);
        world.run_for(secs(1));
        world.command(alice, Command::Hold { call }).unwrap();
        world.run_for(Duration::from_millis(seed * 7 % 300));
        world.command(bob, Command::Hold { call: theirs }).unwrap();
        world.run_for(secs(25));
        let state = |world: &World, node| world.ua_of(node).snapshot().calls[0].state.clone();
        assert_eq!((state(&world, alice), state(&world, bob)), ("held".into(), "held".into()), "seed {seed}");
        let last = |world: &World, node| {
            let all = world.events(node).into_iter().filter(|event| changed(event)).cloned().collect::<Vec<_>>();
            all.last().cloned()
        };
        for node in [alice, bob] {
            let Some(Event::CallChanged { audio: Some(audio), held_by_peer, .. }) = last(&world, node) else {
                world.fail("no change was told")
            };
            assert_eq!((audio.direction, held_by_peer), (Direction::Inactive, true), "seed {seed}");
        }
        world.command(alice, Command::Resume { call }).unwrap();
        world.command(bob, Command::Resume { call: theirs }).unwrap();
        world.run_for(secs(25));
        for node in [alice, bob] {
            let Some(Event::CallChanged { audio: Some(audio), .. }) = last(&world, node) else {
                world.fail("no change was told")
            };
            assert_eq!(audio.direction, Direction::SendRecv, "seed {seed}");
        }
        world.command(alice, Command::HangUp { call }).unwrap();
        world.run_until(bob, ended);
        world.assert_quiet();
    }
}
