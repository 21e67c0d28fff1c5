//! Two phones call each other directly.

use crate::kit::network::Link;
use crate::kit::{NodeId, World};
use bellwire::api::{AudioRoute, Command, EndedBy, Event};
use bellwire::media::command::{AudioSink, AudioSource};
use bellwire::time::Duration;
use bellwire::ua::{AudioConfig, UaConfig};

/// A phone with a microphone and an ear.
pub fn phone() -> UaConfig {
    let mut config = UaConfig::default();
    config.default_audio.route = ears();
    config
}

pub fn ears() -> AudioRoute {
    AudioRoute { source: AudioSource::Device("default".into()), sink: AudioSink::Device("default".into()) }
}

pub fn with_codecs(names: &[&str]) -> UaConfig {
    let mut config = phone();
    config.default_audio = AudioConfig { route: ears(), ..AudioConfig::default() };
    config.default_audio.capabilities.codecs =
        names.iter().map(|name| bellwire::media::codec::by_name(name).expect("a built-in codec")).collect();
    config
}

/// A phone that costs next to nothing: silence in these codecs, and nobody listens.
pub fn silent_phone(codecs: &[&str]) -> UaConfig {
    let mut config = with_codecs(codecs);
    config.default_audio.route = AudioRoute { source: AudioSource::Silence, sink: AudioSink::None };
    config
}

pub fn two_phones(seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let bob = world.ua("bob", &["10.0.0.2"], phone());
    (world, alice, bob)
}

pub fn ringing_call(event: &Event) -> bool {
    matches!(event, Event::CallIncoming { .. })
}

pub fn answered(event: &Event) -> bool {
    matches!(event, Event::CallAnswered { .. })
}

pub fn ended(event: &Event) -> bool {
    matches!(event, Event::CallEnded { .. })
}

pub fn incoming(world: &mut World, node: NodeId) -> bellwire::id::CallHandle {
    match world.run_until(node, ringing_call) {
        Event::CallIncoming { call, .. } => call,
        other => panic!("{other:?} is no incoming call"),
    }
}

#[test]
fn a_call_is_placed_answered_heard_both_ways_and_hung_up() {
    let (mut world, alice, bob) = two_phones(1);
    world.link(alice, bob, Link::default().latency_ms(20).jitter_ms(5));
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);

    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.run_until(alice, |event| matches!(event, Event::CallRinging { code: 180, .. }));
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(Duration::from_secs(6));

    assert!(world.heard(bob).snr_db(440.0, 2.0) > 25.0, "{}", world.heard(bob).snr_db(440.0, 2.0));
    assert!(world.heard(alice).snr_db(1000.0, 2.0) > 25.0);

    world.command(alice, Command::HangUp { call }).unwrap();
    let end = world.run_until(bob, ended);
    assert!(matches!(end, Event::CallEnded { by: EndedBy::Remote, failure: None, .. }), "{end:?}");
    let end = world.run_until(alice, ended);
    let Event::CallEnded { by: EndedBy::Local, stats: Some(stats), .. } = end else { panic!("{end:?}") };
    assert!(stats.received > 250 && stats.lost == 0, "{stats:?}");
    world.assert_quiet();
    assert_eq!(
        world.arrows(),
        ["alice INVITE", "bob 180", "bob 200", "alice ACK", "alice BYE", "bob 200"],
        "no message more and none less"
    );
}

#[test]
fn every_codec_carries_a_tone() {
    for (codec, rate) in [("pcmu", 8000), ("pcma", 8000), ("g722", 16_000), ("opus", 48_000)] {
        let mut world = World::new(2);
        let alice = world.ua("alice", &["10.0.0.1"], with_codecs(&[codec]));
        let bob = world.ua("bob", &["10.0.0.2"], phone());
        world.dial(alice, "sip:bob@10.0.0.2");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        let Event::CallAnswered { audio: Some(audio), .. } = world.run_until(alice, answered) else { panic!() };
        assert_eq!((audio.codec.as_str(), audio.rate), (codec, rate));
        world.run_for(Duration::from_secs(4));
        assert!(world.heard(bob).snr_db(440.0, 2.0) > 20.0, "{codec}: {}", world.heard(bob).snr_db(440.0, 2.0));
        world.command(bob, Command::HangUp { call: theirs }).unwrap();
        world.run_until(alice, ended);
        world.assert_quiet();
    }
}

#[test]
fn a_refused_call_ends_with_the_status_of_the_callee() {
    let (mut world, alice, bob) = two_phones(3);
    world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Reject { call: theirs, code: Some(603) }).unwrap();
    let end = world.run_until(alice, ended);
    assert!(matches!(end, Event::CallEnded { code: Some(603), by: EndedBy::Remote, .. }), "{end:?}");
    world.assert_quiet();
}

#[test]
fn a_cancelled_call_stops_ringing() {
    let (mut world, alice, bob) = two_phones(4);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    incoming(&mut world, bob);
    world.run_until(alice, |event| matches!(event, Event::CallRinging { .. }));
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.run_until(alice, ended);
    world.assert_quiet();
    assert!(world.arrows().contains(&"alice CANCEL".to_owned()));
    assert!(world.arrows().contains(&"bob 487".to_owned()));
}

#[test]
fn a_call_survives_thirty_percent_loss_of_everything() {
    let (mut world, alice, bob) = two_phones(5);
    world.link(alice, bob, Link::default().latency_ms(30).jitter_ms(20).loss(0.3).duplicate(0.05));
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(Duration::from_secs(5));
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.run_until(alice, ended);
    world.assert_quiet();
}

#[test]
fn no_common_codec_is_refused_with_488_and_says_what_was_offered() {
    let mut world = World::new(6);
    let alice = world.ua("alice", &["10.0.0.1"], with_codecs(&["pcma"]));
    let bob = world.ua("bob", &["10.0.0.2"], with_codecs(&["g722"]));
    world.dial(alice, "sip:bob@10.0.0.2");
    let end = world.run_until(alice, ended);
    let Event::CallEnded { code: Some(488), failure: Some(failure), .. } = end else { panic!("{end:?}") };
    assert_eq!(failure.slug, "media.no-common-codec");
    assert!(world.events(bob).iter().all(|event| !ringing_call(event)), "nobody is rung for nothing");
    world.assert_quiet();
}

#[test]
fn one_and_three_media_sets_give_the_same_ladder_and_the_same_sound() {
    let run = |sets| {
        let mut world = World::new(7);
        let alice = world.ua_with_sets("alice", &["10.0.0.1"], phone(), sets);
        let bob = world.ua_with_sets("bob", &["10.0.0.2"], phone(), sets);
        for _ in 0..3 {
            let call = world.dial(alice, "sip:bob@10.0.0.2");
            let theirs = incoming(&mut world, bob);
            world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
            world.run_until(alice, answered);
            world.run_for(Duration::from_secs(3));
            world.command(alice, Command::HangUp { call }).unwrap();
            world.run_until(bob, ended);
        }
        world.assert_quiet();
        let sound = world.all_heard(bob).iter().map(|heard| heard.snr_db(440.0, 1.0) > 25.0).collect::<Vec<_>>();
        (world.arrows(), sound)
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn the_same_seed_gives_the_same_run_to_the_byte() {
    let run = |seed| {
        let (mut world, alice, bob) = two_phones(seed);
        world.link(alice, bob, Link::default().latency_ms(5).jitter_ms(40).loss(0.1));
        world.dial(alice, "sip:bob@10.0.0.2");
        let theirs = incoming(&mut world, bob);
        world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_for(Duration::from_secs(3));
        let texts = world.ladder.iter().map(|arrow| (arrow.at, arrow.text.clone())).collect::<Vec<_>>();
        (texts, world.heard(bob).samples())
    };
    assert_eq!(run(8), run(8));
    assert_ne!(run(8), run(9));
}
