//! Phones behind NATs of every kind, and strangers who send into calls (threats C1, C2, C3).

use crate::calls::{answered, ended, incoming, phone};
use crate::kit::network::NatKind;
use crate::kit::script::Server;
use crate::kit::{NodeId, World};
use crate::registration::{account, registered, users};
use bellwire::api::{Command, Event};
use bellwire::id::CallHandle;
use bellwire::sip::message::{HeaderName, Message, Method};
use bellwire::time::Duration;
use std::net::SocketAddr;

const PBX: &str = "198.51.100.1";
const KINDS: [NatKind; 4] =
    [NatKind::FullCone, NatKind::AddressRestricted, NatKind::PortRestricted, NatKind::Symmetric];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A PBX and a phone of alice, behind a NAT.
fn behind(kind: NatKind, seed: u64) -> (World, NodeId, NodeId) {
    let mut world = World::new(seed);
    let pbx = world.pbx("pbx", &[PBX], users(&["alice", "bob"]));
    let alice = world.ua_behind("alice", "192.168.1.10", kind, "203.0.113.1", account("alice", PBX, "alice-secret"));
    world.run_until(alice, registered);
    (world, pbx, alice)
}

/// `callee` rings, answers, both talk; gives back the handles of both.
fn talk(world: &mut World, caller: NodeId, callee: NodeId, target: &str) -> (CallHandle, CallHandle) {
    let call = world.dial(caller, target);
    let theirs = incoming(world, callee);
    world.command(callee, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(caller, answered);
    world.run_until(callee, answered);
    world.run_for(secs(5));
    (call, theirs)
}

fn hang_up(world: &mut World, by: NodeId, call: CallHandle, other: NodeId) {
    world.command(by, Command::HangUp { call }).unwrap();
    world.run_until(by, ended);
    let end = world.run_until(other, ended);
    assert!(matches!(end, Event::CallEnded { failure: None, .. }), "{end:?}");
}

#[track_caller]
fn hears(world: &World, node: NodeId, hz: f64) {
    let snr = world.heard(node).snr_db(hz, 2.0);
    assert!(snr > 25.0, "{hz} Hz is {snr} dB above the rest");
}

#[test]
fn a_phone_behind_any_nat_registers_calls_and_is_called() {
    for (seed, kind) in (0..).zip(KINDS) {
        let (mut world, _, alice) = behind(kind, seed);
        let bob = world.ua("bob", &["198.51.100.20"], account("bob", PBX, "bob-secret"));
        world.run_until(bob, registered);
        let ok = world.ladder.iter().find(|arrow| arrow.from == "pbx" && arrow.line.contains("200")).expect("a 200");
        assert_eq!(ok.to.ip().to_string(), "203.0.113.1", "the answer goes to where the request came from");
        assert!(ok.text.contains("received=203.0.113.1"), "{}", ok.text);
        assert!(ok.text.contains(&format!("rport={}", ok.to.port())), "{}", ok.text);

        world.microphone(alice, 440.0);
        world.microphone(bob, 1000.0);
        let (call, _) = talk(&mut world, alice, bob, "sip:bob@198.51.100.1");
        hears(&world, bob, 440.0);
        hears(&world, alice, 1000.0);
        hang_up(&mut world, alice, call, bob);

        let (_, theirs) = talk(&mut world, bob, alice, "sip:alice@198.51.100.1");
        hears(&world, bob, 440.0);
        hears(&world, alice, 1000.0);
        hang_up(&mut world, alice, theirs, bob);

        // And ended by the side outside.
        let (_, theirs) = talk(&mut world, alice, bob, "sip:bob@198.51.100.1");
        hang_up(&mut world, bob, theirs, alice);
        world.assert_quiet();
    }
}

#[test]
fn two_phones_behind_different_nats_hear_each_other_through_the_pbx() {
    for (seed, (a, b)) in (100..).zip(KINDS.into_iter().flat_map(|a| KINDS.map(|b| (a, b)))) {
        let (mut world, _, alice) = behind(a, seed);
        let bob = world.ua_behind("bob", "192.168.1.10", b, "203.0.113.2", account("bob", PBX, "bob-secret"));
        world.run_until(bob, registered);
        world.microphone(alice, 440.0);
        world.microphone(bob, 1000.0);
        let (call, _) = talk(&mut world, alice, bob, "sip:bob@198.51.100.1");
        hears(&world, bob, 440.0);
        hears(&world, alice, 1000.0);
        hang_up(&mut world, alice, call, bob);
        world.assert_quiet();
    }
}

#[test]
fn a_phone_that_has_been_idle_for_long_is_still_reached_through_its_nat() {
    for (seed, kind) in (200..).zip(KINDS) {
        let (mut world, _, alice) = behind(kind, seed);
        world.nat_expiry(alice, secs(30));
        let bob = world.ua("bob", &["198.51.100.20"], account("bob", PBX, "bob-secret"));
        world.run_until(bob, registered);
        for minutes in [1, 7, 45] {
            world.run_for(secs(60 * minutes));
            let (call, _) = talk(&mut world, bob, alice, "sip:alice@198.51.100.1");
            hang_up(&mut world, bob, call, alice);
        }
        world.assert_quiet();
    }
}

#[test]
fn a_nat_that_forgets_its_mappings_costs_no_more_than_the_time_to_the_next_refresh() {
    let (mut world, pbx, alice) = behind(NatKind::PortRestricted, 7);
    let bob = world.ua("bob", &["198.51.100.20"], account("bob", PBX, "bob-secret"));
    world.run_until(bob, registered);
    world.run_for(secs(60));
    world.forget_mappings(alice);
    world.run_for(secs(600));
    assert_eq!(world.pbx_of(pbx).bindings(), 2);
    let (call, _) = talk(&mut world, bob, alice, "sip:alice@198.51.100.1");
    hang_up(&mut world, bob, call, alice);
    world.assert_quiet();
}

#[test]
fn a_call_straight_from_behind_a_nat_is_heard_both_ways_and_hung_up_by_either_side() {
    for (seed, kind) in (300..).zip(KINDS) {
        for callee_hangs_up in [false, true] {
            let mut world = World::new(seed);
            let alice = world.ua_behind("alice", "192.168.1.10", kind, "203.0.113.1", phone());
            let bob = world.ua("bob", &["198.51.100.20"], phone());
            world.microphone(alice, 440.0);
            world.microphone(bob, 1000.0);
            let (call, theirs) = talk(&mut world, alice, bob, "sip:bob@198.51.100.20");
            // The SDP names an address that cannot be reached: only what comes shows where it goes.
            let invite = world.ladder.iter().find(|arrow| arrow.line.starts_with("INVITE")).expect("an INVITE");
            assert!(invite.text.contains("c=IN IP4 192.168.1.10"), "{}", invite.text);
            hears(&world, bob, 440.0);
            hears(&world, alice, 1000.0);
            if callee_hangs_up {
                hang_up(&mut world, bob, theirs, alice);
            } else {
                hang_up(&mut world, alice, call, bob);
            }
            world.assert_quiet();
        }
    }
}

/// An RTP packet of the loudest PCMU square wave.
fn noise(ssrc: u32, seq: u16, timestamp: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..160).map(|n: u8| if n % 16 < 8 { 0x80 } else { 0x00 }));
    packet
}

/// The audio port of a description.
fn audio_port(text: &str) -> u16 {
    let line = text.lines().find(|line| line.starts_with("m=audio ")).expect("an m-line");
    line.split(' ').nth(1).and_then(|port| port.parse().ok()).expect("a port")
}

/// Alice and bob talk PCMU; gives back bob's RTP address and alice's.
fn victims(seed: u64) -> (World, NodeId, NodeId, SocketAddr, SocketAddr) {
    let mut world = World::new(seed);
    let alice = world.ua("alice", &["198.51.100.10"], crate::calls::with_codecs(&["pcmu"]));
    let bob = world.ua("bob", &["198.51.100.20"], crate::calls::with_codecs(&["pcmu"]));
    world.watch_media();
    talk(&mut world, alice, bob, "sip:bob@198.51.100.20");
    let port = |from: &str, line: &str| {
        let found = world.ladder.iter().find(|arrow| arrow.from == from && arrow.line.starts_with(line));
        audio_port(&found.expect("a description").text)
    };
    let alice_rtp = SocketAddr::new(addr("198.51.100.10:0").ip(), port("alice", "INVITE"));
    let bob_rtp = SocketAddr::new(addr("198.51.100.20:0").ip(), port("bob", "SIP/2.0 200"));
    (world, alice, bob, bob_rtp, alice_rtp)
}

#[test]
fn a_stranger_with_the_right_numbers_is_not_heard_and_gets_nothing() {
    for (seed, interval_us, exact) in
        [(1, 20_000, false), (2, 200, false), (3, 20_000, true), (4, 200, true)].into_iter()
    {
        let (mut world, alice, bob, bob_rtp, alice_rtp) = victims(seed);
        let eve = world.script("eve", "203.0.113.66");
        // The attacker has seen alice's last packet: same SSRC, the next numbers.
        let last = world.media_seen(alice_rtp, bob_rtp).expect("alice sends");
        let word = |at: usize| u32::from_be_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
        let (ssrc, seq, timestamp) = (word(8), u16::from_be_bytes([last[2], last[3]]), word(4));
        for n in 0..1000_u16 {
            let k = u32::from(n);
            let packet = match exact {
                true => noise(ssrc, seq.wrapping_add(n + 1), timestamp.wrapping_add(160 * (k + 1))),
                false => noise(0xdead_beef, n, 160 * k),
            };
            world.fire(eve, addr("203.0.113.66:40000"), bob_rtp, &packet);
            world.run_for(Duration::from_micros(interval_us));
        }
        world.run_for(secs(2));
        hears(&world, bob, 440.0);
        hears(&world, alice, 440.0);
        assert_eq!(world.taken(eve).len(), 0, "nothing of ours went to the stranger");
    }
}

#[test]
fn another_port_of_the_right_host_is_a_stranger_too() {
    let (mut world, _, bob, bob_rtp, alice_rtp) = victims(5);
    // Somebody else on alice's host: the packets leave from her address.
    let eve = world.script("eve", "203.0.113.66");
    for n in 0..500_u16 {
        let packet = noise(0xdead_beef, n, 160 * u32::from(n));
        world.fire(eve, SocketAddr::new(alice_rtp.ip(), alice_rtp.port() + 100), bob_rtp, &packet);
        world.run_for(Duration::from_millis(20));
    }
    hears(&world, bob, 440.0);
}

#[test]
fn a_stranger_who_comes_after_the_latch_is_not_heard() {
    let mut world = World::new(6);
    let alice = world.ua_behind("alice", "192.168.1.10", NatKind::PortRestricted, "203.0.113.1", phone());
    let bob = world.ua("bob", &["198.51.100.20"], crate::calls::with_codecs(&["pcmu"]));
    talk(&mut world, alice, bob, "sip:bob@198.51.100.20");
    hears(&world, bob, 440.0);
    let ok = world.ladder.iter().find(|arrow| arrow.from == "bob" && arrow.line.contains("200")).expect("a 200");
    let bob_rtp = SocketAddr::new(addr("198.51.100.20:0").ip(), audio_port(&ok.text));
    let eve = world.script("eve", "203.0.113.66");
    for n in 0..500_u16 {
        world.fire(eve, addr("203.0.113.66:40000"), bob_rtp, &noise(7, n, 160 * u32::from(n)));
        world.run_for(Duration::from_millis(20));
    }
    hears(&world, bob, 440.0);
    hears(&world, alice, 440.0);
    assert_eq!(world.taken(eve).len(), 0);
}

#[test]
fn a_sweep_over_all_ports_before_and_during_a_call_brings_nothing_back() {
    let mut world = World::new(7);
    let alice = world.ua("alice", &["198.51.100.10"], phone());
    let bob = world.ua("bob", &["198.51.100.20"], phone());
    let eve = world.script("eve", "203.0.113.66");
    let sweep = |world: &mut World, round: u16| {
        for port in (16_384..16_420).chain([5060]) {
            let to = SocketAddr::new(addr("198.51.100.20:0").ip(), port);
            world.fire(eve, addr("203.0.113.66:40000"), to, &noise(u32::from(port), round, 160 * u32::from(round)));
        }
        world.run_for(Duration::from_millis(100));
    };
    sweep(&mut world, 0);
    world.dial(alice, "sip:bob@198.51.100.20");
    let theirs = incoming(&mut world, bob);
    sweep(&mut world, 1);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    for round in 2..6 {
        sweep(&mut world, round);
    }
    world.run_for(secs(5));
    for round in 6..10 {
        sweep(&mut world, round);
    }
    assert_eq!(world.taken(eve).len(), 0);
    hears(&world, bob, 440.0);
}

#[test]
fn a_description_that_names_a_victim_costs_it_ten_seconds_of_sound_at_most() {
    let mut world = World::new(8);
    let bob = world.ua("bob", &["198.51.100.20"], crate::calls::with_codecs(&["pcmu"]));
    let victim = world.script("victim", "203.0.113.99");
    let eve = Server::new(&mut world, "eve", "203.0.113.66");
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 203.0.113.99\r\ns=-\r\nc=IN IP4 203.0.113.99\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\n";
    let invite = format!(
        "INVITE sip:bob@198.51.100.20 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bKvh;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:eve@203.0.113.66>;tag=eve\r\nTo: <sip:bob@198.51.100.20>\r\nCall-ID: hammer\r\n\
         CSeq: 1 INVITE\r\nContact: <sip:eve@203.0.113.66>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    world.say(eve.0, "198.51.100.20:5060", &invite);
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    let ok = loop {
        let (_, text) = world.hear(eve.0);
        if text.starts_with("SIP/2.0 200") {
            break text;
        }
    };
    let Ok(Message::Response(ok)) = Message::parse(ok.as_bytes()) else { panic!("{ok}") };
    let to = ok.headers.get(&HeaderName::TO).expect("To").to_owned();
    let contact = ok.headers.contact().expect("a contact").uri;
    let ack = format!(
        "ACK {contact} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bKva;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:eve@203.0.113.66>;tag=eve\r\nTo: {to}\r\nCall-ID: hammer\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    );
    world.say(eve.0, "198.51.100.20:5060", &ack);
    world.run_until(bob, answered);
    world.run_for(secs(12));
    let first = world.taken(victim).len();
    assert!(first <= 10 * 50 + 60, "{first} packets in the first 10 s");
    world.run_for(secs(60));
    let later = world.taken(victim).len();
    assert!(later <= 30, "{later} packets after that: keep-alives and RTCP only");
    let end = world.run_until(bob, ended);
    assert!(
        matches!(&end, Event::CallEnded { failure: Some(failure), .. } if failure.slug == "media.peer-gone"),
        "{end:?}"
    );
    let bye = loop {
        let (from, text) = world.hear(eve.0);
        if text.starts_with(Method::Bye.as_str()) {
            break (from, text);
        }
    };
    assert!(bye.1.starts_with("BYE sip:eve@203.0.113.66"), "{}", bye.1);
}
