//! Another network in the middle of everything (threats E3, E10): registered again at once, and calls go on.

use crate::calls::{answered, ended, incoming, phone};
use crate::kit::{NodeId, World};
use crate::registration::{account, failed, registered, users};
use bellwire::api::{Command, Event};
use bellwire::engine::Protocol;
use bellwire::id::CallHandle;
use bellwire::sdp::MediaEncryption;
use bellwire::time::Duration;
use bellwire::ua::UaConfig;

const PBX: &str = "10.0.0.100";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn user(name: &str, transport: Protocol) -> UaConfig {
    let mut config = account(name, PBX, &format!("{name}-secret"));
    config.accounts[0].transport = Some(transport);
    config
}

/// A call between two phones without a server.
fn direct(seed: u64, config: &UaConfig) -> (World, NodeId, NodeId, CallHandle, CallHandle) {
    let mut world = World::new(seed);
    let alice = world.ua_on_any("alice", &["10.0.0.1"], config.clone());
    let bob = world.ua_on_any("bob", &["10.0.0.2"], config.clone());
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_until(bob, answered);
    (world, alice, bob, call, theirs)
}

#[track_caller]
fn hear_each_other(world: &World, alice: NodeId, bob: NodeId) {
    let (there, here) = (world.heard(bob).snr_db(440.0, 1.0), world.heard(alice).snr_db(1000.0, 1.0));
    assert!(there > 25.0 && here > 25.0, "{there} and {here} dB");
}

#[test]
fn a_call_moves_to_the_new_address_within_three_seconds() {
    let mut guarded = phone();
    guarded.default_audio.encryption = MediaEncryption::Required;
    guarded.default_audio.keys_in_clear = true;
    for (seed, config) in [(1, phone()), (2, guarded)] {
        let (mut world, alice, bob, call, theirs) = direct(seed, &config);
        world.run_for(secs(2));
        hear_each_other(&world, alice, bob);
        let call_id = |text: &str| text.lines().find(|line| line.starts_with("Call-ID")).map(str::to_owned);
        let first = world.ladder.iter().find(|arrow| arrow.line.starts_with("INVITE")).and_then(|a| call_id(&a.text));
        world.readdress(alice, &["10.0.7.7"]);
        world.run_for(secs(3));
        hear_each_other(&world, alice, bob);
        let moved = world.ladder.iter().rev().find(|arrow| arrow.line.starts_with("INVITE")).expect("a re-INVITE");
        assert_eq!(call_id(&moved.text), first, "the same call");
        let contact = moved.text.contains("Contact: <sip:10.0.7.7:5060");
        assert!(moved.text.contains("c=IN IP4 10.0.7.7") && contact, "{}", moved.text);
        assert!(!moved.text.contains("10.0.0.1"), "nothing of the old address is left: {}", moved.text);
        // Who was called moves as well.
        world.readdress(bob, &["10.0.8.8"]);
        world.run_for(secs(3));
        hear_each_other(&world, alice, bob);
        assert!(!world.events(alice).into_iter().any(ended) && !world.events(bob).into_iter().any(ended));
        let (by, call, other) = if seed == 1 { (alice, call, bob) } else { (bob, theirs, alice) };
        world.command(by, Command::HangUp { call }).unwrap();
        world.run_until(other, ended);
        world.assert_quiet();
    }
}

#[test]
fn a_phone_without_any_network_for_a_while_takes_its_call_up_again() {
    let (mut world, alice, bob, call, _) = direct(3, &phone());
    world.run_for(secs(1));
    world.readdress(alice, &[]);
    world.run_for(secs(20));
    world.readdress(alice, &["10.0.9.9"]);
    world.run_for(secs(3));
    hear_each_other(&world, alice, bob);
    // There and back again, faster than an answer comes.
    world.readdress(alice, &["10.0.9.10"]);
    world.readdress(alice, &["10.0.9.11"]);
    world.readdress(alice, &["10.0.9.9"]);
    world.run_for(secs(5));
    hear_each_other(&world, alice, bob);
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.assert_quiet();
}

#[test]
fn a_registered_phone_is_registered_from_its_new_address_at_once_and_its_call_goes_on() {
    for (seed, transport) in [(1, Protocol::Udp), (2, Protocol::Tcp)] {
        let mut world = World::new(seed);
        let pbx = world.pbx("pbx", &[PBX], users(&["alice", "bob"]));
        let alice = world.ua_on_any("alice", &["10.0.0.1"], user("alice", transport));
        let bob = world.ua_on_any("bob", &["10.0.0.2"], user("bob", transport));
        for node in [alice, bob] {
            world.run_until(node, registered);
        }
        world.microphone(alice, 440.0);
        world.microphone(bob, 1000.0);
        let call = world.dial(alice, "sip:bob@10.0.0.100");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(alice, answered);
        world.run_for(secs(2));
        let before = world.now;
        world.readdress(alice, &["10.0.7.7"]);
        let event = world.run_until(alice, registered);
        assert!(matches!(&event, Event::Registered { contact, .. } if contact.contains("10.0.7.7")), "{event:?}");
        assert!(world.now - before < secs(2), "{transport:?}: {:?}", world.now - before);
        world.run_for(secs(3));
        hear_each_other(&world, alice, bob);
        world.command(alice, Command::HangUp { call }).unwrap();
        world.run_until(bob, ended);
        // And it is called there.
        world.run_for(secs(1));
        let call = world.dial(bob, "sip:alice@10.0.0.100");
        let theirs = incoming(&mut world, alice);
        world.command(alice, Command::Reject { call: theirs, code: None }).unwrap();
        world.run_until(bob, |event| matches!(event, Event::CallEnded { call: over, .. } if *over == call));
        let _ = pbx;
    }
}

/// Threats E10.
#[test]
fn a_phone_that_has_slept_registers_within_five_seconds_of_waking() {
    for (seed, transport) in [(1, Protocol::Udp), (2, Protocol::Tcp)] {
        let mut world = World::new(seed);
        let _pbx = world.pbx("pbx", &[PBX], users(&["alice"]));
        let alice = world.ua_on_any("alice", &["10.0.0.1"], user("alice", transport));
        world.run_until(alice, registered);
        // The connection dies without a word meanwhile.
        world.stall_streams(alice);
        let before = world.now;
        world.wake_up(alice);
        world.run_until(alice, registered);
        if world.now - before >= secs(5) {
            world.fail("late")
        }
    }
}

#[test]
fn a_network_that_comes_back_ends_the_wait_for_the_next_try() {
    let mut world = World::new(1);
    let alice = world.ua_on_any("alice", &["10.0.0.1"], user("alice", Protocol::Udp));
    world.run_until(alice, failed);
    let _pbx = world.pbx("pbx", &[PBX], users(&["alice"]));
    let before = world.now;
    world.readdress(alice, &["10.0.0.1", "172.16.0.3"]);
    world.run_until(alice, registered);
    assert!(world.now - before < secs(2));
    // What does not concern it leaves it alone.
    let sent = world.ladder.len();
    world.readdress(alice, &["10.0.0.1"]);
    world.run_for(secs(5));
    assert_eq!(world.ladder.len(), sent);
}
