//! The PBX in the world: many phones, bridges, extensions, its door and its limits.

use crate::calls::{answered, ended, incoming, ringing_call, with_codecs};
use crate::kit::hand::{Hand, sdp};
use crate::kit::network::Link;
use crate::kit::{NodeId, World};
use crate::registration::{account, failed, registered, users};
use bellwire::api::{Command, EndedBy, Event};
use bellwire::id::CallHandle;
use bellwire::pbx::PbxConfig;
use bellwire::sip::message::{Method, Request, Response};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;
use std::collections::BTreeSet;

const PBX: &str = "10.0.0.100";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn user(name: &str, codecs: &[&str]) -> UaConfig {
    let mut config = account(name, PBX, &format!("{name}-secret"));
    config.accounts[0].audio = with_codecs(codecs).default_audio;
    config
}

/// Its calls go on beside each other.
fn beside(mut config: UaConfig) -> UaConfig {
    config.call.hold_others = false;
    config
}

struct Office {
    world: World,
    pbx: NodeId,
    alice: NodeId,
    bob: NodeId,
}

fn office_with(seed: u64, change: impl FnOnce(&mut PbxConfig), alice: &[&str], bob: &[&str]) -> Office {
    let mut world = World::new(seed);
    let mut config = users(&["alice", "bob", "carol", "dave"]);
    change(&mut config);
    let pbx = world.pbx("pbx", &[PBX], config);
    let alice = world.ua("alice", &["10.0.0.1"], user("alice", alice));
    let bob = world.ua("bob", &["10.0.0.2"], user("bob", bob));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    world.microphone(alice, 440.0);
    world.microphone(bob, 1000.0);
    Office { world, pbx, alice, bob }
}

fn office(seed: u64) -> Office {
    office_with(seed, |_| {}, &["pcmu"], &["pcmu"])
}

impl Office {
    fn talk(&mut self) -> (CallHandle, CallHandle) {
        let world = &mut self.world;
        let call = world.dial(self.alice, "sip:bob@10.0.0.100");
        let theirs = incoming(world, self.bob);
        world.command(self.bob, Command::Answer { call: theirs, audio: None }).unwrap();
        world.run_until(self.alice, answered);
        world.run_until(self.bob, answered);
        world.run_for(secs(4));
        (call, theirs)
    }

    /// How alice's call to `number` ends.
    fn outcome(&mut self, number: &str) -> Event {
        self.world.dial(self.alice, &format!("sip:{number}@10.0.0.100"));
        self.world.run_until(self.alice, ended)
    }

    fn quiet(&mut self) {
        self.world.assert_quiet();
        assert_eq!(self.world.pbx_of(self.pbx).sessions(), 0);
    }
}

#[track_caller]
fn hears(world: &World, node: NodeId, hz: f64) {
    let snr = world.heard(node).snr_db(hz, 2.0);
    assert!(snr > 25.0, "{hz} Hz is {snr} dB above the rest");
}

fn code(event: &Event) -> (Option<u16>, Option<String>) {
    match event {
        Event::CallEnded { code, failure, .. } => (*code, failure.as_ref().map(|failure| failure.slug.clone())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fifty_phones_register_and_twenty_five_calls_run_at_once_with_good_sound() {
    let mut world = World::new(1);
    let names: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    let pbx = world.pbx("pbx", &[PBX], users(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let phones: Vec<NodeId> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let node = world.ua(name, &[&format!("10.0.1.{n}")], user(name, &["pcmu"]));
            world.link(pbx, node, Link::default().latency_ms(5 + n as u64 % 7).jitter_ms(n as u64 % 5));
            world.microphone(node, 300.0 + 20.0 * n as f64);
            node
        })
        .collect();
    world.run_for(secs(5));
    assert_eq!(world.pbx_of(pbx).bindings(), 50);
    let pairs: Vec<_> = phones.chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let calls: Vec<_> =
        pairs.iter().enumerate().map(|(n, (a, _))| world.dial(*a, &format!("sip:u{}@10.0.0.100", 2 * n + 1))).collect();
    for (_, callee) in &pairs {
        let call = incoming(&mut world, *callee);
        world.command(*callee, Command::Answer { call, audio: None }).unwrap();
    }
    for (caller, _) in &pairs {
        world.run_until(*caller, answered);
    }
    assert_eq!(world.pbx_of(pbx).sessions(), 25);
    world.run_for(secs(6));
    for (n, (caller, callee)) in pairs.iter().enumerate() {
        hears(&world, *callee, 300.0 + 40.0 * n as f64);
        hears(&world, *caller, 320.0 + 40.0 * n as f64);
    }
    for (n, (caller, callee)) in pairs.iter().enumerate() {
        if n % 2 == 0 {
            world.command(*caller, Command::HangUp { call: calls[n] }).unwrap();
        } else {
            let theirs = world.events(*callee).into_iter().find_map(|event| match event {
                Event::CallIncoming { call, .. } => Some(*call),
                _ => None,
            });
            world.command(*callee, Command::HangUp { call: theirs.unwrap() }).unwrap();
        }
    }
    for (caller, callee) in &pairs {
        for node in [caller, callee] {
            let end = world.run_until(*node, ended);
            let Event::CallEnded { failure: None, stats: Some(stats), .. } = end else { panic!("{end:?}") };
            assert!(stats.received > 150 && stats.lost == 0, "{stats:?}");
        }
    }
    assert_eq!(world.pbx_of(pbx).sessions(), 0);
    for phone in phones {
        world.command(phone, Command::Stop).unwrap();
    }
    world.assert_quiet();
    assert_eq!(world.pbx_of(pbx).bindings(), 0);
}

#[test]
fn one_and_three_media_sets_give_the_same_ladder_and_the_same_sound() {
    let run = |sets| {
        let mut world = World::new(9);
        let names: Vec<String> = (0..8).map(|n| format!("u{n}")).collect();
        let config = users(&names.iter().map(String::as_str).collect::<Vec<_>>());
        world.pbx_with_sets("pbx", &[PBX], config, sets);
        let phones: Vec<NodeId> = (0..8)
            .map(|n| world.ua(&names[n], &[&format!("10.0.1.{n}")], beside(user(&names[n], &["pcmu"]))))
            .collect();
        for phone in &phones {
            world.run_until(*phone, registered);
        }
        let pairs: Vec<_> = phones.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let mut calls = Vec::new();
        for (n, (caller, callee)) in pairs.iter().enumerate() {
            world.microphone(*caller, 440.0);
            world.microphone(*callee, 1000.0);
            calls.push(world.dial(*caller, &format!("sip:u{}@10.0.0.100", 2 * n + 1)));
            let theirs = incoming(&mut world, *callee);
            world.command(*callee, Command::Answer { call: theirs, audio: None }).unwrap();
            world.run_until(*caller, answered);
        }
        // An echo call beside them.
        let echo = world.dial(phones[0], "sip:600@10.0.0.100");
        world.run_until(phones[0], answered);
        world.run_for(secs(4));
        for (caller, callee) in &pairs {
            hears(&world, *callee, 440.0);
            assert!(world.all_heard(*caller)[0].snr_db(1000.0, 2.0) > 25.0);
        }
        hears(&world, phones[0], 440.0);
        for ((caller, callee), call) in pairs.iter().zip(calls) {
            world.command(*caller, Command::HangUp { call }).unwrap();
            world.run_until(*callee, ended);
        }
        world.command(phones[0], Command::HangUp { call: echo }).unwrap();
        world.assert_quiet();
        world.arrows()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_bridged_call_carries_sound_both_ways_in_every_codec_unchanged() {
    for (seed, codec) in (2..).zip(["pcmu", "pcma", "g722", "opus"]) {
        let mut office = office_with(seed, |_| {}, &[codec], &["opus", "g722", "pcma", "pcmu"]);
        let (call, _) = office.talk();
        hears(&office.world, office.bob, 440.0);
        hears(&office.world, office.alice, 1000.0);
        let used = office.world.events(office.bob).into_iter().find_map(|event| match event {
            Event::CallAnswered { audio: Some(audio), .. } => Some(audio.codec.clone()),
            _ => None,
        });
        assert_eq!(used.as_deref(), Some(codec));
        office.world.command(office.alice, Command::HangUp { call }).unwrap();
        office.world.run_until(office.bob, ended);
        office.quiet();
    }
}

#[test]
fn a_caller_who_gives_up_stops_the_ringing() {
    let mut office = office(10);
    let call = office.world.dial(office.alice, "sip:bob@10.0.0.100");
    incoming(&mut office.world, office.bob);
    office.world.run_until(office.alice, |event| matches!(event, Event::CallRinging { .. }));
    office.world.command(office.alice, Command::HangUp { call }).unwrap();
    let end = office.world.run_until(office.bob, ended);
    assert!(matches!(end, Event::CallEnded { by: EndedBy::Remote, .. }), "{end:?}");
    office.world.run_until(office.alice, ended);
    office.quiet();
}

#[test]
fn busy_declined_unanswered_and_unreachable_callees_are_told_apart() {
    let mut office = office_with(11, |config| config.answer_timeout = secs(20), &["pcmu"], &["pcmu"]);
    for (answer, told, slug) in [(486, 486, "call.busy"), (603, 603, "call.declined"), (480, 480, "call.unavailable")] {
        office.world.dial(office.alice, "sip:bob@10.0.0.100");
        let call = incoming(&mut office.world, office.bob);
        office.world.command(office.bob, Command::Reject { call, code: Some(answer) }).unwrap();
        let end = office.world.run_until(office.alice, ended);
        assert_eq!(code(&end), (Some(told), Some(slug.to_owned())));
    }
    // Nobody answers: the PBX gives up in its time and stops the ringing.
    let start = office.world.now;
    office.world.dial(office.alice, "sip:bob@10.0.0.100");
    incoming(&mut office.world, office.bob);
    let end = office.world.run_until(office.alice, ended);
    assert_eq!(code(&end).0, Some(480));
    assert!((19..=22).contains(&office.world.now.since(start).as_secs()));
    office.world.run_until(office.bob, ended);
    // A user who is not registered, one who is nobody, and the number of nobody.
    assert_eq!(code(&office.outcome("carol")), (Some(480), Some("call.unavailable".to_owned())));
    assert_eq!(code(&office.outcome("nobody")), (Some(404), Some("call.not-found".to_owned())));
    assert_eq!(code(&office.outcome("699")), (Some(404), Some("call.not-found".to_owned())));
    office.quiet();
}

#[test]
fn a_callee_without_the_callers_codec_is_told_as_488() {
    let mut office = office_with(12, |_| {}, &["pcma"], &["g722"]);
    let end = office.outcome("bob");
    assert_eq!(code(&end), (Some(488), Some("media.no-common-codec".to_owned())));
    assert!(!office.world.events(office.bob).into_iter().any(ringing_call));
    office.quiet();
}

#[test]
fn both_hang_up_in_the_same_moment() {
    for seed in 13..23 {
        let mut office = office(seed);
        let latency = Link::default().latency_ms(seed).jitter_ms(seed % 4 * 10).loss(if seed > 18 { 0.2 } else { 0.0 });
        office.world.link(office.pbx, office.alice, latency);
        office.world.link(office.pbx, office.bob, latency);
        let (call, theirs) = office.talk();
        office.world.command(office.alice, Command::HangUp { call }).unwrap();
        office.world.command(office.bob, Command::HangUp { call: theirs }).unwrap();
        for node in [office.alice, office.bob] {
            let end = office.world.run_until(node, ended);
            assert!(matches!(end, Event::CallEnded { by: EndedBy::Local, failure: None, .. }), "{end:?}");
        }
        office.quiet();
    }
}

#[test]
fn whoever_vanishes_the_other_is_let_go() {
    for caller_vanishes in [true, false] {
        let mut office = office(24);
        office.talk();
        let (gone, stays) = if caller_vanishes { (office.alice, office.bob) } else { (office.bob, office.alice) };
        office.world.kill(gone);
        let at = office.world.now;
        let end = office.world.run_until(stays, ended);
        assert!(office.world.now.since(at) <= secs(70), "after {:?}", office.world.now.since(at));
        assert!(matches!(end, Event::CallEnded { .. }), "{end:?}");
        office.quiet();
    }
}

#[test]
fn a_callee_who_vanishes_while_it_rings_ends_the_call_in_time() {
    let mut office = office_with(25, |config| config.answer_timeout = secs(30), &["pcmu"], &["pcmu"]);
    office.world.dial(office.alice, "sip:bob@10.0.0.100");
    incoming(&mut office.world, office.bob);
    office.world.kill(office.bob);
    let at = office.world.now;
    let end = office.world.run_until(office.alice, ended);
    assert_eq!(code(&end).0, Some(480));
    assert!(office.world.now.since(at) <= secs(31));
    office.world.run_for(secs(64)); // its CANCEL and its INVITE run into nothing
    office.quiet();
}

#[test]
fn digits_go_through_the_bridge_in_both_directions() {
    let mut office = office(26);
    let (call, theirs) = office.talk();
    office.world.command(office.alice, Command::Dtmf { call, digits: "0123456789*#".into() }).unwrap();
    office.world.run_until(office.alice, |event| matches!(event, Event::DtmfSent { .. }));
    office.world.command(office.bob, Command::Dtmf { call: theirs, digits: "42#".into() }).unwrap();
    office.world.run_until(office.bob, |event| matches!(event, Event::DtmfSent { .. }));
    office.world.run_for(secs(1));
    let digits = |node| -> String {
        let events = office.world.events(node).into_iter();
        events
            .filter_map(|event| if let Event::DtmfReceived { digit, .. } = event { Some(*digit) } else { None })
            .collect()
    };
    assert_eq!(digits(office.bob), "0123456789*#");
    assert_eq!(digits(office.alice), "42#");
    office.world.command(office.alice, Command::HangUp { call }).unwrap();
    office.world.run_until(office.bob, ended);
    office.quiet();
}

/// The direction of a description.
fn direction(message: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(message).into_owned();
    ["sendonly", "recvonly", "inactive", "sendrecv"]
        .into_iter()
        .find(|word| text.contains(&format!("a={word}")))
        .unwrap_or("sendrecv")
}

fn ok(hand: &Hand, world: &mut World) -> Response {
    loop {
        let response = hand.response(world);
        match response.status.code() {
            180..=199 => {}
            200 => return response,
            other => world.fail(&format!("{other} instead of 200")),
        }
    }
}

#[test]
fn a_hold_goes_through_the_bridge_and_back_again() {
    let mut office = office(27);
    let world = &mut office.world;
    let mut carol = Hand::new(world, "carol", "10.0.0.3", PBX, "carol-secret");
    carol.register(world);
    let offer = sdp("10.0.0.3", 4000, "0 101", "sendrecv", 1);
    let invite = carol.invite(world, "bob", Some(&offer));
    let theirs = incoming(world, office.bob);
    world.command(office.bob, Command::Answer { call: theirs, audio: None }).unwrap();
    let answer = ok(&carol, world);
    let mut dialog = carol.acknowledge(world, &invite, &answer, None);
    world.run_until(office.bob, answered);
    for (version, (word, reply, held)) in (2..).zip([
        ("sendonly", "recvonly", true),
        ("sendrecv", "sendrecv", false),
        ("inactive", "inactive", true),
        ("sendrecv", "sendrecv", false),
    ]) {
        let offer = sdp("10.0.0.3", 4000, "0 101", word, version);
        let change = carol.inside(world, &mut dialog, Method::Invite, Some(&offer));
        let response = ok(&carol, world);
        assert_eq!(direction(&response.body), reply, "to {word}");
        carol.acknowledge(world, &change, &response, None);
        let event = world.run_until(office.bob, |event| matches!(event, Event::CallChanged { .. }));
        assert!(matches!(event, Event::CallChanged { held_by_peer, .. } if held_by_peer == held), "{word}: {event:?}");
        world.run_for(secs(1));
    }
    carol.inside(world, &mut dialog, Method::Bye, None);
    assert_eq!(ok(&carol, world).status.code(), 200);
    world.run_until(office.bob, ended);
    office.quiet();
}

#[test]
fn an_invite_without_offer_gets_the_callees_and_its_answer_comes_with_the_ack() {
    let mut office = office(28);
    let world = &mut office.world;
    let mut carol = Hand::new(world, "carol", "10.0.0.3", PBX, "carol-secret");
    carol.register(world);
    let invite = carol.invite(world, "bob", None);
    let theirs = incoming(world, office.bob);
    world.command(office.bob, Command::Answer { call: theirs, audio: None }).unwrap();
    let response = ok(&carol, world);
    let offer = String::from_utf8(response.body.clone()).expect("text");
    assert!(offer.contains("c=IN IP4 10.0.0.100") && offer.contains("m=audio "), "{offer}");
    let mut dialog = carol.acknowledge(world, &invite, &response, Some(&sdp("10.0.0.3", 4000, "0", "sendrecv", 1)));
    world.run_until(office.bob, answered);
    world.run_for(secs(2));
    let sound = world.taken(carol.node()).into_iter().filter(|(_, to, _)| to.port() == 4000).count();
    assert!(sound > 80, "{sound} packets of bob's reached carol");
    carol.inside(world, &mut dialog, Method::Bye, None);
    world.run_until(office.bob, ended);
    office.quiet();
}

#[test]
fn the_extensions_do_what_their_numbers_promise() {
    let mut office = office(30);
    // 600: one's own voice; 602: music that does not end.
    for (number, hz) in [("600", 440.0), ("602", 440.0)] {
        let call = office.world.dial(office.alice, &format!("sip:{number}@10.0.0.100"));
        office.world.run_until(office.alice, answered);
        office.world.run_for(secs(20));
        hears(&office.world, office.alice, hz);
        office.world.command(office.alice, Command::HangUp { call }).unwrap();
        office.world.run_until(office.alice, ended);
    }
    // 601: says its piece and hangs up.
    office.world.dial(office.alice, "sip:601@10.0.0.100");
    office.world.run_until(office.alice, answered);
    let end = office.world.run_until(office.alice, ended);
    assert!(matches!(end, Event::CallEnded { by: EndedBy::Remote, failure: None, .. }), "{end:?}");
    // 603: busy. 604: rings until we give up.
    assert_eq!(code(&office.outcome("603")), (Some(486), Some("call.busy".to_owned())));
    let call = office.world.dial(office.alice, "sip:604@10.0.0.100");
    office.world.run_until(office.alice, |event| matches!(event, Event::CallRinging { code: 180, .. }));
    office.world.run_for(secs(60));
    assert!(
        !office
            .world
            .events(office.alice)
            .into_iter()
            .skip_while(|event| !matches!(event, Event::CallOutgoing { call: c, .. } if *c == call))
            .any(ended)
    );
    office.world.command(office.alice, Command::HangUp { call }).unwrap();
    office.world.run_until(office.alice, ended);
    // 605: the digits come back, after `#` and after a pause.
    let call = office.world.dial(office.alice, "sip:605@10.0.0.100");
    office.world.run_until(office.alice, answered);
    office.world.command(office.alice, Command::Dtmf { call, digits: "1234#".into() }).unwrap();
    office.world.run_for(secs(5));
    office.world.command(office.alice, Command::Dtmf { call, digits: "98".into() }).unwrap();
    office.world.run_for(secs(8));
    let digits: String = office
        .world
        .events(office.alice)
        .into_iter()
        .filter_map(|event| if let Event::DtmfReceived { digit, .. } = event { Some(*digit) } else { None })
        .collect();
    assert_eq!(digits, "123498");
    office.world.command(office.alice, Command::HangUp { call }).unwrap();
    office.world.run_until(office.alice, ended);
    office.quiet();
}

/// What of a message may differ from one sending to the next.
fn without_chance(text: &str, user: &str) -> String {
    let lines = text.replace(user, "NAME");
    let keep = |line: &&str| !line.starts_with("Via:") && !line.starts_with("Call-ID:") && !line.starts_with("From:");
    let blank = |line: &str| {
        let mut line = line.to_owned();
        for word in ["nonce=\"", ";tag="] {
            if let Some(at) = line.find(word) {
                let start = at + word.len();
                let end = line[start..].find(['"', ';', '>']).map_or(line.len(), |end| start + end);
                line.replace_range(start..end, "*");
            }
        }
        line
    };
    lines.lines().filter(keep).map(blank).collect::<Vec<_>>().join("\n")
}

#[test]
fn known_and_unknown_users_get_the_same_answers_to_everything() {
    let mut world = World::new(31);
    world.pbx("pbx", &[PBX], users(&["alice", "bob"]));
    for method in [Method::Register, Method::Invite, Method::Options, Method::Message, Method::Subscribe] {
        for wrong_password in [false, true] {
            let mut seen = BTreeSet::new();
            for (user, ip) in [("alice", "10.0.3.1"), ("zelda", "10.0.3.2")] {
                let mut eve = Hand::new(&mut world, user, ip, PBX, "guess");
                let target = if method == Method::Register { user } else { "bob" };
                let request = eve.request(method.clone(), target);
                if wrong_password {
                    eve.ask(&mut world, request);
                } else {
                    eve.send(&mut world, request);
                }
                let (_, text) = world.hear(eve.node());
                assert!(text.starts_with("SIP/2.0 401"), "{text}");
                seen.insert(without_chance(&text, user));
                world.kill(eve.node());
                world.rename_away(eve.node());
                world.run_for(secs(61)); // the guard forgets
            }
            assert_eq!(seen.len(), 1, "{method}: {seen:#?}");
        }
    }
}

#[test]
fn a_guesser_is_heard_five_times_a_minute_and_the_owner_comes_in_meanwhile() {
    let mut world = World::new(32);
    let pbx = world.pbx("pbx", &[PBX], users(&["alice"]));
    let mut answers = 0;
    for n in 0..60 {
        let mut eve = Hand::new(&mut world, "alice", "10.66.6.6", PBX, &format!("guess{n}"));
        let request = eve.request(Method::Register, "alice");
        eve.send(&mut world, request.clone());
        world.run_for(Duration::from_millis(100));
        let heard = world.taken(eve.node());
        let challenged = heard.iter().any(|(_, _, bytes)| bytes.starts_with(b"SIP/2.0 401"));
        assert!(challenged, "an attempt without password is challenged: {n}");
        eve.guess(&mut world, request, &heard);
        world.run_for(Duration::from_millis(400));
        answers += usize::from(!world.taken(eve.node()).is_empty());
        world.kill(eve.node());
        world.rename_away(eve.node());
    }
    assert!((1..=5).contains(&answers), "{answers} of 60 guesses in 30 s were answered");
    let alice = world.ua("alice-phone", &["10.0.0.1"], account("alice", PBX, "alice-secret"));
    let start = world.now;
    world.run_until(alice, registered);
    assert!(world.now.since(start) < secs(1));
    assert_eq!(world.pbx_of(pbx).bindings(), 1);
}

#[test]
fn one_call_more_than_there_are_places_is_503_and_the_others_go_on() {
    let mut office = office_with(33, |config| config.max_calls = 1, &["pcmu"], &["pcmu"]);
    let (call, _) = office.talk();
    let carol = office.world.ua("carol", &["10.0.0.3"], user("carol", &["pcmu"]));
    office.world.run_until(carol, registered);
    office.world.dial(carol, "sip:600@10.0.0.100");
    let end = office.world.run_until(carol, ended);
    assert_eq!(code(&end), (Some(503), Some("net.unavailable".to_owned())));
    office.world.run_for(secs(2));
    hears(&office.world, office.bob, 440.0);
    office.world.command(office.alice, Command::HangUp { call }).unwrap();
    office.world.run_until(office.bob, ended);
    office.world.dial(carol, "sip:600@10.0.0.100");
    office.world.run_until(carol, answered);
}

#[test]
fn a_flood_costs_no_more_than_it_brings_and_calls_go_on() {
    for method in [Method::Register, Method::Invite, Method::Options] {
        let mut office = office(34);
        let (call, _) = office.talk();
        let mut eve = Hand::new(&mut office.world, "mallory", "10.66.6.6", PBX, "x");
        let requests: Vec<Request> = (0..500).map(|_| eve.request(method.clone(), "bob")).collect();
        let mut sent = 0;
        for request in requests {
            sent += request.encode().len();
            eve.send(&mut office.world, request);
            office.world.run_for(Duration::from_millis(1));
        }
        office.world.run_for(secs(40)); // nothing of it is ever repeated
        let taken: usize = office.world.taken(eve.node()).iter().map(|(_, _, bytes)| bytes.len()).sum();
        assert!(taken <= 2 * sent, "{method}: {taken} bytes for {sent}");
        hears(&office.world, office.bob, 440.0);
        hears(&office.world, office.alice, 1000.0);
        let stats = |node| {
            office.world.events(node).into_iter().rev().find_map(|event| match event {
                Event::Stats { audio, .. } => Some(audio.clone()),
                _ => None,
            })
        };
        let figures = stats(office.bob).expect("figures");
        assert_eq!((figures.lost, figures.concealed_ms), (0, 0), "{figures:?}");
        assert_eq!(office.world.pbx_of(office.pbx).sessions(), 1);
        assert!(!office.world.events(office.bob).into_iter().any(failed));
        office.world.command(office.alice, Command::HangUp { call }).unwrap();
        office.world.run_until(office.bob, ended);
        office.quiet();
    }
}
