//! Calls over bad networks: every share of loss up to 60 %, every interleaving of CANCEL and answer.

use crate::calls::{answered, ended, incoming, silent_phone};
use crate::kit::network::Link;
use crate::kit::peer::*;
use crate::kit::{NodeId, World};
use bellwire::api::{Command, Event};
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn two_phones(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let alice = world.ua("alice", &["10.0.0.1"], silent_phone(&["pcmu"]));
    let bob = world.ua("bob", &["10.0.0.2"], silent_phone(&["pcmu"]));
    (world, alice, bob)
}

#[test]
fn calls_are_set_up_and_ended_at_every_loss_up_to_sixty_percent() {
    for percent in [0_u32, 5, 10, 20, 30, 40, 50, 60] {
        let mut up = 0;
        for seed in 0..20 {
            let (mut world, alice, bob) = two_phones(1000 * u64::from(percent) + seed);
            world.link(
                alice,
                bob,
                Link::default().latency_ms(30).jitter_ms(40).loss(f64::from(percent) / 100.0).duplicate(0.1),
            );
            let call = world.dial(alice, "sip:bob@10.0.0.2");
            world.run_for(secs(40));
            let ringing = world.events(bob).iter().find_map(|event| match event {
                Event::CallIncoming { call, .. } => Some(*call),
                _ => None,
            });
            if let Some(theirs) = ringing {
                let _ = world.command(bob, Command::Answer { call: theirs, audio: None });
            }
            world.run_for(secs(40));
            let is_up = world.events(alice).into_iter().any(answered);
            up += u32::from(is_up);
            let _ = world.command(alice, Command::HangUp { call });
            // Whatever was lost: both know the end when the timers have run out.
            world.run_for(secs(110));
            if let Some(theirs) = ringing {
                let _ = world.command(bob, Command::HangUp { call: theirs });
            }
            world.run_for(secs(70));
            assert!(world.events(alice).into_iter().any(ended), "seed {seed} at {percent} %");
            assert_eq!(
                world.events(bob).into_iter().filter(|event| ended(event)).count(),
                usize::from(ringing.is_some())
            );
            world.assert_quiet();
        }
        // Seven INVITEs and as many 200s leave at most (p²)^7-like odds against us.
        let wanted = match percent {
            0..=20 => 20,
            30..=40 => 19,
            _ => 12,
        };
        assert!(up >= wanted, "{up} of 20 calls came up at {percent} % loss");
    }
}

/// What the callee does, in every order that time allows: 180, 200 or 486, around alice's hang-up.
#[test]
fn every_interleaving_of_cancel_and_answer_ends_without_a_ghost() {
    for final_status in ["200 OK", "486 Busy Here", "487 Request Terminated", ""] {
        for provisional in ["", "100 Trying", "180 Ringing"] {
            for hang_up_ms in [0, 10, 20, 30, 40, 50, 60] {
                for answer_ms in [0, 10, 20, 30, 40, 50, 60] {
                    let (mut scene, call, invite) = Scene::dialled(silent_phone(&["pcmu"]));
                    scene.world.link(scene.alice, scene.bob, Link::default().latency_ms(15));
                    if !provisional.is_empty() {
                        scene.say(&reply(
                            &invite,
                            provisional,
                            if provisional == "100 Trying" { "" } else { "b" },
                            CONTACT,
                            "",
                        ));
                    }
                    let (mut bye, mut acks, mut up) = (false, 0, false);
                    for ms in (0..=70).step_by(10) {
                        if ms == hang_up_ms {
                            let _ = scene.world.command(scene.alice, Command::HangUp { call });
                        }
                        if ms == answer_ms && final_status == "200 OK" {
                            scene.say(&ok(&invite, "b"));
                        } else if ms == answer_ms && !final_status.is_empty() {
                            scene.say(&reply(&invite, final_status, "b", "", ""));
                        }
                        scene.world.run_for(Duration::from_millis(10));
                    }
                    // Bob plays by the rules from here on.
                    let mut finals = 0;
                    for _ in 0..200 {
                        while let Some((_, text)) = scene.world.hear_now(scene.bob) {
                            match word(&text).as_str() {
                                "CANCEL" => {
                                    scene.say(&reply(&text, "200 OK", "b", "", ""));
                                    if final_status.is_empty() && finals == 0 {
                                        finals += 1;
                                        scene.say(&reply(&invite, "487 Request Terminated", "b", "", ""));
                                    }
                                }
                                "ACK" => acks += 1,
                                "BYE" => {
                                    bye = true;
                                    scene.say(&reply(&text, "200 OK", "", "", ""));
                                }
                                "INVITE" => {}
                                other => panic!("{other}"),
                            }
                        }
                        scene.world.run_for(Duration::from_millis(200));
                    }
                    up |= scene.count(answered) > 0;
                    let what =
                        format!("{provisional:?}, {final_status:?} at {answer_ms} ms, hang-up at {hang_up_ms} ms");
                    assert_eq!(scene.count(ended), 1, "{what}");
                    match final_status {
                        "200 OK" => assert!(acks >= 1 && bye, "{what}: ACK and BYE"),
                        "" => assert!(!up && !bye, "{what}"),
                        _ => assert!(acks >= 1 && !up && !bye, "{what}"),
                    }
                    scene.world.run_for(secs(40));
                    scene.world.assert_quiet();
                }
            }
        }
    }
}

#[test]
fn both_hang_up_at_once_over_a_bad_network_and_both_are_done() {
    for seed in 0..50 {
        let (mut world, alice, bob) = two_phones(seed);
        world.link(alice, bob, Link::default().latency_ms(30).jitter_ms(60).loss(0.3).duplicate(0.2));
        let call = world.dial(alice, "sip:bob@10.0.0.2");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).expect("it rings");
        world.run_until(alice, answered);
        world.run_until(bob, answered);
        world.command(alice, Command::HangUp { call }).expect("it is up");
        let _ = world.command(bob, Command::HangUp { call: theirs });
        world.run_for(secs(70));
        for node in [alice, bob] {
            assert_eq!(world.events(node).into_iter().filter(|event| ended(event)).count(), 1, "seed {seed}");
        }
        world.assert_quiet();
    }
}
