//! Hosts with several addresses, both IP families, streams, and names with several addresses.

use crate::calls::{answered, ended, incoming, phone, ringing_call};
use crate::kit::network::Link;
use crate::kit::{Arrow, NodeId, World};
use crate::registration::{account, failed, registered, users};
use bellwire::api::{Command, Event};
use bellwire::engine::{Protocol, ResolveError};
use bellwire::id::CallHandle;
use bellwire::pbx::PbxConfig;
use bellwire::time::Duration;
use bellwire::ua::UaConfig;
use std::net::{IpAddr, SocketAddr};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn talk(world: &mut World, caller: NodeId, callee: NodeId, target: &str) -> (CallHandle, CallHandle) {
    let call = world.dial(caller, target);
    let theirs = incoming(world, callee);
    world.command(callee, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(caller, answered);
    world.run_until(callee, answered);
    world.run_for(secs(4));
    for node in [caller, callee] {
        let snr = world.heard(node).snr_db(440.0, 1.0);
        assert!(snr > 25.0, "{target}: {snr} dB");
    }
    (call, theirs)
}

fn hang_up(world: &mut World, by: NodeId, call: CallHandle, other: NodeId) {
    world.command(by, Command::HangUp { call }).unwrap();
    world.run_until(by, ended);
    world.run_until(other, ended);
}

/// The host of a URI or sent-by in a header line, brackets kept.
fn named<'a>(text: &'a str, header: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(header)).unwrap_or_else(|| panic!("no {header} in {text}"));
    let rest = line.rsplit_once('@').map_or_else(|| line.rsplit(' ').next().unwrap_or(""), |(_, host)| host);
    let rest = rest.trim_start_matches("<sip:");
    let end = if rest.starts_with('[') {
        rest.find(']').map_or(rest.len(), |at| at + 1)
    } else {
        rest.find([':', ';', '>']).unwrap_or(rest.len())
    };
    &rest[..end]
}

/// All three name our address towards the peer.
fn assert_addresses(arrow: &Arrow, own: &str) {
    let bracketed = if own.contains(':') { format!("[{own}]") } else { own.to_owned() };
    let text = &arrow.text;
    if !arrow.line.starts_with("SIP/2.0") {
        assert_eq!(named(text, "Via: "), bracketed, "{text}");
    }
    assert_eq!(named(text, "Contact: "), bracketed, "{text}");
    let family = if own.contains(':') { "IP6" } else { "IP4" };
    assert!(text.contains(&format!("\r\nc=IN {family} {own}\r\n")), "c= is not {own}: {text}");
}

fn sent<'a>(world: &'a World, from: &str, line: &str) -> &'a Arrow {
    let found = world.ladder.iter().rfind(|arrow| arrow.from == from && arrow.line.starts_with(line));
    found.unwrap_or_else(|| world.fail(&format!("{from} never sent {line}")))
}

#[test]
fn a_host_with_two_interfaces_names_the_one_that_leads_to_the_peer() {
    for any in [false, true] {
        let mut world = World::new(1);
        let own = ["10.0.0.1", "192.168.7.1"];
        let alice = match any {
            true => world.ua_on_any("alice", &own, phone()),
            false => world.ua("alice", &own, phone()),
        };
        for (name, peer, own) in [("bob", "10.0.0.2", "10.0.0.1"), ("carol", "192.168.7.2", "192.168.7.1")] {
            let node = world.ua(name, &[peer], phone());
            let (call, _) = talk(&mut world, alice, node, &format!("sip:{name}@{peer}"));
            assert_addresses(sent(&world, "alice", "INVITE"), own);
            hang_up(&mut world, alice, call, node);
            // Called, it answers from the address that was called, and names that.
            let (call, _) = talk(&mut world, node, alice, &format!("sip:alice@{own}"));
            assert_addresses(sent(&world, "alice", "SIP/2.0 200 OK"), own);
            hang_up(&mut world, node, call, alice);
        }
        world.assert_quiet();
    }
}

#[test]
fn a_call_to_the_other_address_of_a_host_is_answered_from_there() {
    let mut world = World::new(2);
    let bob = world.ua_on_any("bob", &["10.0.0.2", "10.0.0.3"], phone());
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let (_, theirs) = talk(&mut world, alice, bob, "sip:bob@10.0.0.3");
    assert_addresses(sent(&world, "bob", "SIP/2.0 200 OK"), "10.0.0.3");
    hang_up(&mut world, bob, theirs, alice);
    assert_eq!(named(&sent(&world, "bob", "BYE").text, "Via: "), "10.0.0.3");
    world.assert_quiet();
}

#[test]
fn a_registration_and_its_calls_name_the_interface_towards_the_server() {
    let mut world = World::new(3);
    let pbx = world.pbx("pbx", &["192.168.7.100"], users(&["alice", "bob"]));
    let alice =
        world.ua_on_any("alice", &["10.0.0.1", "192.168.7.1"], account("alice", "192.168.7.100", "alice-secret"));
    let bob = world.ua("bob", &["192.168.7.2"], account("bob", "192.168.7.100", "bob-secret"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    assert_eq!(named(&sent(&world, "alice", "REGISTER").text, "Contact: "), "192.168.7.1");
    let (call, _) = talk(&mut world, alice, bob, "sip:bob@192.168.7.100");
    assert_addresses(sent(&world, "alice", "INVITE"), "192.168.7.1");
    hang_up(&mut world, alice, call, bob);
    assert_eq!(world.pbx_of(pbx).bindings(), 2);
    world.assert_quiet();
}

#[test]
fn calls_run_over_ipv6_direct_by_name_and_through_the_pbx() {
    let mut world = World::new(4);
    let config = PbxConfig { domains: vec!["pbx6".to_owned()], ..users(&["alice", "bob"]) };
    world.pbx("pbx6", &["fd00::100"], config);
    let alice = world.ua_on_any("alice", &["fd00::1"], account("alice", "[fd00::100]", "alice-secret"));
    let bob = world.ua_on_any("bob", &["fd00::2"], account("bob", "pbx6", "bob-secret"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    let (call, _) = talk(&mut world, alice, bob, "sip:bob@[fd00::100]");
    assert_addresses(sent(&world, "alice", "INVITE"), "fd00::1");
    assert_addresses(sent(&world, "bob", "SIP/2.0 200 OK"), "fd00::2");
    hang_up(&mut world, alice, call, bob);

    let carol = world.ua("carol", &["fd00::3"], phone());
    let dave = world.ua("dave", &["fd00::4"], phone());
    let (call, _) = talk(&mut world, carol, dave, "sip:dave@[fd00::4]");
    hang_up(&mut world, dave, CallHandle(call.0), carol);
    let (call, _) = talk(&mut world, dave, carol, "sip:carol@carol;transport=tcp");
    assert_addresses(sent(&world, "dave", "INVITE"), "fd00::4");
    hang_up(&mut world, dave, call, carol);
    world.assert_quiet();
}

#[test]
fn a_host_of_both_families_speaks_to_each_peer_in_its_own() {
    let mut world = World::new(5);
    let alice = world.ua_on_any("alice", &["10.0.0.1", "fd00::1"], phone());
    let four = world.ua("four", &["10.0.0.2"], phone());
    let six = world.ua("six", &["fd00::2"], phone());
    for (node, target, own) in [(four, "sip:four", "10.0.0.1"), (six, "sip:six", "fd00::1")] {
        let (call, _) = talk(&mut world, alice, node, target);
        assert_addresses(sent(&world, "alice", "INVITE"), own);
        hang_up(&mut world, alice, call, node);
    }
    world.assert_quiet();
}

#[test]
fn the_first_address_of_a_name_is_dead_and_the_next_one_is_called_with_addresses_of_its_own() {
    // Over UDP silence is only known after 32 s; a stream that cannot be opened is known at once.
    for (transport, most) in [("", 40), (";transport=tcp", 12)] {
        for dead in ["10.0.0.77", "fd00::77", "192.168.7.77"] {
            let mut world = World::new(6);
            let alice = world.ua_on_any("alice", &["10.0.0.1", "192.168.7.1", "fd00::1"], phone());
            let bob = world.ua("bob", &["192.168.7.2"], phone());
            world.name("bob.example", Ok(vec![ip(dead), ip("192.168.7.2")]));
            let start = world.now;
            let call = world.dial(alice, &format!("sip:bob@bob.example{transport}"));
            let theirs = incoming(&mut world, bob);
            assert!(world.now.since(start) < secs(most), "{dead}{transport}: after {:?}", world.now.since(start));
            world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
            world.run_until(alice, answered);
            assert_addresses(sent(&world, "alice", "INVITE"), "192.168.7.1");
            world.run_for(secs(3));
            assert!(world.heard(bob).snr_db(440.0, 1.0) > 25.0);
            hang_up(&mut world, alice, call, bob);
            let calls = world.events(bob).into_iter().filter(|event| ringing_call(event)).count();
            assert_eq!(calls, 1);
            world.assert_quiet();
        }
    }
}

#[test]
fn a_registrar_whose_first_address_is_dead_is_registered_at_by_the_second() {
    let mut world = World::new(7);
    let pbx = world.pbx("pbx", &["10.0.0.100"], users(&["alice"]));
    world.name("pbx.example", Ok(vec![ip("10.0.0.99"), ip("10.0.0.100")]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", "pbx.example", "alice-secret"));
    world.run_until(alice, registered);
    assert!(!world.events(alice).into_iter().any(failed));
    assert_eq!(world.pbx_of(pbx).bindings(), 1);
    world.assert_quiet();
}

#[test]
fn all_addresses_dead_or_none_at_all_is_told_with_its_reason() {
    let mut world = World::new(8);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    world.name("dead.example", Ok(vec![ip("10.0.0.77"), ip("10.0.0.78")]));
    world.name("slow.example", Err(ResolveError::Timeout));
    world.name("six.example", Ok(vec![ip("fd00::9")]));
    for (target, slug, most) in [
        ("sip:x@dead.example", "net.timeout", 70),
        ("sip:x@dead.example;transport=tcp", "net.unreachable", 25),
        ("sip:x@nowhere.example", "net.dns", 5),
        ("sip:x@slow.example", "net.dns", 20),
        ("sip:x@six.example", "net.unreachable", 5),
    ] {
        let start = world.now;
        world.dial(alice, target);
        let Event::CallEnded { failure: Some(failure), .. } = world.run_until(alice, ended) else { panic!("{target}") };
        assert_eq!(failure.slug, slug, "{target}: {failure:?}");
        assert!(world.now.since(start) <= secs(most), "{target}: after {:?}", world.now.since(start));
    }
    world.assert_quiet();
}

fn over_tcp(user: &str) -> UaConfig {
    let mut config = account(user, "10.0.0.100", &format!("{user}-secret"));
    config.accounts[0].transport = Some(Protocol::Tcp);
    config
}

/// A PBX with alice and bob registered over TCP.
fn tcp_world(seed: u64) -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(seed);
    let pbx = world.pbx("pbx", &["10.0.0.100"], users(&["alice", "bob", "carol"]));
    let alice = world.ua("alice", &["10.0.0.1"], over_tcp("alice"));
    let bob = world.ua("bob", &["10.0.0.2"], over_tcp("bob"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    (world, pbx, alice, bob)
}

#[test]
fn one_connection_carries_a_registration_and_all_its_calls_both_ways() {
    let (mut world, _, alice, bob) = tcp_world(9);
    for _ in 0..5 {
        let (call, _) = talk(&mut world, alice, bob, "sip:bob@10.0.0.100");
        hang_up(&mut world, alice, call, bob);
        let (call, _) = talk(&mut world, bob, alice, "sip:alice@10.0.0.100");
        hang_up(&mut world, bob, call, alice);
    }
    let server = SocketAddr::new(ip("10.0.0.100"), 5060);
    assert_eq!(world.connects, [("alice".to_owned(), server), ("bob".to_owned(), server)]);
    assert!(world.ladder.iter().all(|arrow| !arrow.text.contains("SIP/2.0/UDP")));
    let copies = world.ladder.iter().filter(|arrow| arrow.line.starts_with("INVITE")).count();
    assert_eq!(copies, 20, "nothing is repeated over a stream");
    world.assert_quiet();
}

#[test]
fn direct_calls_share_one_connection_too() {
    let mut world = World::new(10);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let bob = world.ua("bob", &["10.0.0.2"], phone());
    for _ in 0..5 {
        let (call, theirs) = talk(&mut world, alice, bob, "sip:bob@10.0.0.2;transport=tcp");
        let _ = call;
        hang_up(&mut world, bob, theirs, alice);
    }
    assert_eq!(world.connects.len(), 1, "{:?}", world.connects);
    world.assert_quiet();
}

#[test]
fn a_call_outlives_its_connection_and_is_hung_up_over_a_new_one() {
    for by_caller in [true, false] {
        let (mut world, pbx, alice, bob) = tcp_world(11);
        let (call, theirs) = talk(&mut world, alice, bob, "sip:bob@10.0.0.100");
        world.cut_streams(alice);
        world.run_for(secs(8)); // the registration comes back, and sound goes on meanwhile
        assert!(!world.events(alice).into_iter().any(ended) && !world.events(bob).into_iter().any(ended));
        assert!(world.heard(bob).snr_db(440.0, 5.0) > 25.0);
        if by_caller {
            hang_up(&mut world, alice, call, bob);
        } else {
            hang_up(&mut world, bob, theirs, alice);
        }
        assert_eq!(world.pbx_of(pbx).bindings(), 2);
        world.assert_quiet();
    }
}

#[test]
fn connections_cut_at_random_leave_phones_that_can_be_called() {
    for seed in 20..40 {
        let (mut world, _, alice, bob) = tcp_world(seed);
        for round in 0..6 {
            world.run_for(Duration::from_millis(137 * (seed + round)));
            world.cut_streams(if round % 2 == 0 { alice } else { bob });
            let (caller, callee, target) =
                if round % 3 == 0 { (bob, alice, "sip:alice@10.0.0.100") } else { (alice, bob, "sip:bob@10.0.0.100") };
            if seed % 2 == 0 {
                let _ = world.command(caller, Command::Dial { target: target.into(), account: None, audio: None });
                world.run_for(Duration::from_millis(seed % 7));
                world.cut_streams(callee);
            }
            world.run_for(secs(6));
            for node in [alice, bob] {
                for call in calls(&world, node) {
                    let _ = world.command(node, Command::HangUp { call });
                }
            }
            world.run_for(secs(2));
        }
        world.run_for(secs(40));
        let before = world.events(bob).len();
        let call = world.dial(alice, "sip:bob@10.0.0.100");
        world.run_for(secs(3));
        let rings = world.events(bob)[before..].iter().any(|event| ringing_call(event));
        assert!(rings, "seed {seed}: bob is not reached 40 s after the last cut");
        world.command(alice, Command::HangUp { call }).unwrap();
        world.assert_quiet();
    }
}

/// Calls that a node has and that have not ended.
fn calls(world: &World, node: NodeId) -> std::collections::BTreeSet<CallHandle> {
    let mut live = std::collections::BTreeSet::new();
    for event in world.events(node) {
        match event {
            Event::CallOutgoing { call, .. } | Event::CallIncoming { call, .. } => drop(live.insert(*call)),
            Event::CallEnded { call, .. } => drop(live.remove(call)),
            _ => {}
        }
    }
    live
}

#[test]
fn a_registration_whose_connection_breaks_is_made_again_within_seconds() {
    let (mut world, pbx, alice, _) = tcp_world(12);
    world.run_for(secs(100));
    world.restart_pbx(pbx, users(&["alice", "bob", "carol"]));
    let back = world.now;
    while world.pbx_of(pbx).bindings() < 2 && world.now.since(back) < secs(60) {
        world.run_for(Duration::from_millis(100));
    }
    assert!(world.now.since(back) <= secs(5), "{:?}", world.now.since(back));
    assert!(!world.events(alice).into_iter().any(failed));
}

#[test]
fn a_connection_that_swallows_everything_is_found_out_by_its_keep_alive() {
    let (mut world, pbx, alice, bob) = tcp_world(13);
    world.run_for(secs(10));
    world.stall_streams(alice);
    let stalled = world.now;
    while world.connects.len() < 3 && world.now.since(stalled) < secs(600) {
        world.run_for(secs(1));
    }
    let took = world.now.since(stalled);
    assert!(took <= secs(120 + 10 + 5), "noticed after {took:?}");
    world.run_for(secs(5));
    assert_eq!(world.pbx_of(pbx).bindings(), 2);
    let (call, _) = talk(&mut world, bob, alice, "sip:alice@10.0.0.100");
    hang_up(&mut world, bob, call, alice);
}

#[test]
fn keep_alives_are_answered_and_keep_an_idle_connection_for_hours() {
    let (mut world, _, alice, bob) = tcp_world(14);
    world.run_for(secs(3 * 3600));
    assert_eq!(world.connects.len(), 2, "{:?}", world.connects);
    let (call, _) = talk(&mut world, bob, alice, "sip:alice@10.0.0.100");
    hang_up(&mut world, bob, call, alice);
}

#[test]
fn five_hundred_silent_and_slow_connections_shut_nobody_out() {
    let (mut world, pbx, alice, bob) = tcp_world(15);
    let server = SocketAddr::new(ip("10.0.0.100"), 5060);
    let mut held = Vec::new();
    for host in 0..50 {
        let eve = world.script(&format!("eve{host}"), &format!("10.66.0.{host}"));
        for n in 0..10 {
            let conn = world.open_stream(eve, server);
            held.push((eve, conn, n % 2 == 0));
        }
        world.run_for(Duration::from_millis(50));
    }
    assert!(world.streams(pbx) <= 64 + 2 + 1, "{} connections are kept", world.streams(pbx));
    for (letter, second) in "INVITE sip:600@10.0.0.100 SIP/2.0".chars().zip(0..) {
        let _ = second;
        for (eve, conn, slow) in &held {
            if *slow && world.is_open(*eve, *conn) {
                world.write_stream(*eve, *conn, letter.to_string().as_bytes());
            }
        }
        world.run_for(secs(1));
    }
    let open = held.iter().filter(|(eve, conn, _)| world.is_open(*eve, *conn)).count();
    assert_eq!(open, 0, "silent ones end after 32 s, slow ones 10 s after their first byte");

    // Again, and while they are there: phones that had a connection keep it, and a new one comes in.
    for (eve, _, _) in &held {
        world.open_stream(*eve, server);
    }
    world.run_for(Duration::from_millis(20));
    let carol = world.ua("carol", &["10.0.0.3"], over_tcp("carol"));
    let start = world.now;
    world.run_until(carol, registered);
    assert!(world.now.since(start) <= secs(1));
    let (call, _) = talk(&mut world, alice, bob, "sip:bob@10.0.0.100");
    hang_up(&mut world, alice, call, bob);
    let by_phones = world.connects.iter().filter(|(who, _)| !who.starts_with("eve")).count();
    assert_eq!(by_phones, 3, "alice, bob and carol, once each");
}

#[test]
fn a_large_request_goes_over_a_stream_and_falls_back_where_there_is_none() {
    for listens in [true, false] {
        let mut world = World::new(16);
        let mut config = account("alice", "10.0.0.2", "x");
        config.accounts[0].register = false;
        config.accounts[0].display_name = Some("A".repeat(1100));
        let alice = world.ua("alice", &["10.0.0.1"], config);
        let bob = world.ua("bob", &["10.0.0.2"], phone());
        world.link(alice, bob, Link::default().latency_ms(5));
        if !listens {
            world.close_listeners(bob);
        }
        for round in 0..2 {
            let (call, _) = talk(&mut world, alice, bob, "sip:bob@10.0.0.2");
            let invite = sent(&world, "alice", "INVITE");
            assert!(invite.text.len() > 1300);
            let via = if listens { "Via: SIP/2.0/TCP" } else { "Via: SIP/2.0/UDP" };
            assert!(invite.text.contains(via), "round {round}: {}", invite.text);
            hang_up(&mut world, alice, call, bob);
        }
        assert_eq!(world.connects.len(), usize::from(listens));
        world.assert_quiet();
    }
}
