//! The seed sweep: random commands and network faults on three phones, or two and their PBX, thousands of times.
//!
//! Invariants: no panic, one final response a transaction at most, both ends agree whether a call is up once the network
//! has been whole for 64·T1, nothing is left at the end. `SEED=n` replays one seed; `SEEDS=n` sets how many run.

use crate::calls::{ended, phone, silent_phone};
use crate::kit::network::Link;
use crate::kit::{Arrow, NodeId, World};
use crate::registration::{account, users};
use bellwire::api::{Command, Event};
use bellwire::engine::Protocol;
use bellwire::id::CallHandle;
use bellwire::rng::Rng;
use bellwire::time::Duration;
use bellwire::ua::UaConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

const PHONES: [(&str, &str); 3] = [("alice", "10.0.0.1"), ("bob", "10.0.0.2"), ("carol", "10.0.0.3")];

type Fault = Box<dyn FnMut(&Arrow) -> bool>;

/// Calls of a node that have begun and not ended, and whether they were answered.
fn live(world: &World, node: NodeId) -> BTreeMap<CallHandle, bool> {
    let mut live = BTreeMap::new();
    for event in world.events(node) {
        match event {
            Event::CallOutgoing { call, .. } | Event::CallIncoming { call, .. } => {
                live.insert(*call, false);
            }
            Event::CallAnswered { call, .. } => {
                live.insert(*call, true);
            }
            Event::CallEnded { call, .. } => {
                live.remove(call);
            }
            _ => {}
        }
    }
    live
}

/// Sound is not what the sweep is about, and a codec costs more than all the rest of a call: most phones send silence in
/// G.711 to nobody's ear, at the real rate all the same. One in 40 has everything that a real phone has.
fn config(rng: &mut Rng) -> UaConfig {
    let mut config = match rng.below(40) {
        0 => phone(),
        1..=4 => silent_phone(&["g722", "pcma"]),
        5..=14 => silent_phone(&["pcma", "pcmu"]),
        _ => silent_phone(&["pcmu", "pcma"]),
    };
    manners(&mut config, rng);
    config
}

/// What one phone allows and another does not.
fn manners(config: &mut UaConfig, rng: &mut Rng) {
    use bellwire::ua::account::TransferPolicy;
    config.call.transfer_policy =
        [TransferPolicy::Allow, TransferPolicy::Allow, TransferPolicy::Ask, TransferPolicy::Deny]
            [rng.below(4) as usize];
    config.call.hold_others = rng.below(3) > 0;
}

fn dice(seed: u64) -> Rng {
    let mut bytes = [0x5e; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::new(bytes)
}

/// Three phones that call each other.
fn run(seed: u64, fault: Option<Fault>) {
    let mut rng = dice(seed);
    let mut world = World::new(seed);
    let nodes = PHONES.map(|(name, ip)| world.ua(name, &[ip], config(&mut rng)));
    world.drop_if = fault;
    for _ in 0..12 {
        let node = nodes[rng.below(3) as usize];
        let (name, ip) = PHONES[rng.below(3) as usize];
        let target = match rng.below(12) {
            0 => "sip:nobody@10.9.9.9".to_owned(),
            1 => format!("sip:{name}@{ip};transport=tcp"),
            _ => format!("sip:{name}@{ip}"),
        };
        act(&mut world, node, target, &mut rng);
        disturb(&mut world, &nodes, &mut rng);
    }
    calm(&mut world, &nodes);
    let up = nodes.map(|node| live(&world, node).values().filter(|answered| **answered).count());
    if up.iter().sum::<usize>() % 2 != 0 {
        world.fail(&format!("the ends do not agree which calls are up: {up:?}"));
    }
    end_all(&mut world, &nodes);
    one_final_response(&world);
    let caller = rng.below(3) as usize;
    let callee = (caller + 1 + rng.below(2) as usize) % 3;
    world.link(nodes[caller], nodes[callee], Link::default().latency_ms(20).loss(0.15));
    probe(&mut world, nodes[caller], nodes[callee], &format!("sip:probe@{}", PHONES[callee].1));
    world.drop_if = None;
    world.assert_quiet();
}

/// Two phones and the PBX that they are registered at.
fn run_office(seed: u64) {
    let mut rng = dice(seed);
    let mut world = World::new(seed);
    let pbx = world.pbx("pbx", &["10.0.0.100"], users(&["alice", "bob"]));
    let phones = [("alice", "10.0.0.1"), ("bob", "10.0.0.2")].map(|(name, ip)| {
        let mut phone = account(name, "10.0.0.100", &format!("{name}-secret"));
        let codecs: &[&str] = if rng.below(4) == 0 { &["g722", "pcma"] } else { &["pcmu", "pcma"] };
        phone.accounts[0].audio = silent_phone(codecs).default_audio;
        manners(&mut phone, &mut rng);
        if rng.below(4) == 0 {
            phone.accounts[0].transport = Some(Protocol::Tcp);
        }
        world.ua(name, &[ip], phone)
    });
    world.run_for(Duration::from_secs(2));
    for _ in 0..12 {
        let node = phones[rng.below(2) as usize];
        let number = ["alice", "bob", "alice", "bob", "600", "601", "602", "603", "604", "605", "nobody"]
            [rng.below(11) as usize];
        act(&mut world, node, number.to_owned(), &mut rng);
        disturb(&mut world, &[pbx, phones[0], phones[1]], &mut rng);
    }
    calm(&mut world, &[pbx, phones[0], phones[1]]);
    let calls = phones.map(|node| live(&world, node).len()).iter().sum::<usize>();
    let sessions = world.pbx_of(pbx).sessions();
    if !(sessions..=2 * sessions).contains(&calls) {
        world.fail(&format!("the phones hold {calls} calls, the PBX {sessions}"));
    }
    end_all(&mut world, &phones);
    if world.pbx_of(pbx).sessions() != 0 {
        world.fail("a call outlived its ends in the PBX");
    }
    one_final_response(&world);
    let caller = rng.below(2) as usize;
    world.link(pbx, phones[1 - caller], Link::default().latency_ms(20).loss(0.15));
    probe(&mut world, phones[caller], phones[1 - caller], ["alice", "bob"][1 - caller]);
    world.assert_quiet();
}

/// A random command: a call to `target`, or something done to a call that there is.
fn act(world: &mut World, node: NodeId, target: String, rng: &mut Rng) {
    let calls = live(world, node).into_keys().collect::<Vec<_>>();
    let call = calls.get(rng.below(calls.len().max(1) as u64) as usize).copied();
    let other = calls.get(rng.below(calls.len().max(1) as u64) as usize).copied();
    let command = match (rng.below(18), call) {
        (0..=3, _) | (_, None) => Command::Dial { target, account: None, audio: None },
        (4..=7, Some(call)) => Command::Answer { call, audio: None },
        (8, Some(call)) => Command::Reject { call, code: Some(486) },
        (9, Some(call)) => Command::Dtmf { call, digits: "12#".into() },
        (10, Some(call)) => Command::Hold { call },
        (11, Some(call)) => Command::Resume { call },
        (12, Some(call)) => Command::Transfer { call, target },
        (13, Some(call)) => Command::TransferTo { call, to: other.unwrap_or(call) },
        (14, Some(call)) => Command::AcceptTransfer { call },
        (15, Some(call)) => Command::RejectTransfer { call },
        (_, Some(call)) => Command::HangUp { call },
    };
    // Many of them make no sense in the state the call is in, and are refused.
    let _ = world.command(node, command);
}

/// Now and then a link gets other manners; some time passes.
fn disturb(world: &mut World, nodes: &[NodeId; 3], rng: &mut Rng) {
    if rng.below(3) == 0 {
        let (a, b) = (rng.below(3) as usize, rng.below(3) as usize);
        let link = Link::default()
            .latency_ms(rng.below(80))
            .jitter_ms(rng.below(150))
            .loss(rng.unit() * 0.4)
            .duplicate(rng.unit() * 0.2);
        world.link(nodes[a], nodes[b], if rng.below(8) == 0 { link.cut() } else { link });
    }
    world.run_for(Duration::from_millis([0, 1, 20, 200, 700, 3000][rng.below(6) as usize]));
}

/// The network is whole for longer than any transaction lasts.
fn calm(world: &mut World, nodes: &[NodeId; 3]) {
    for (a, b) in [(0, 1), (1, 2), (0, 2), (0, 0), (1, 1), (2, 2)] {
        world.link(nodes[a], nodes[b], Link::default());
    }
    world.run_for(Duration::from_secs(70));
}

/// Everybody hangs up; every call ends, and is told to have ended once.
fn end_all(world: &mut World, phones: &[NodeId]) {
    for &node in phones {
        for call in live(world, node).into_keys() {
            let _ = world.command(node, Command::HangUp { call });
        }
    }
    world.run_for(Duration::from_secs(40));
    for &node in phones {
        let mut over = BTreeSet::new();
        for event in world.events(node).into_iter().filter(|event| ended(event)) {
            let Event::CallEnded { call, .. } = event else { continue };
            if !over.insert(*call) {
                world.fail(&format!("{call} ended twice"));
            }
        }
        if let Some((call, _)) = live(world, node).first_key_value() {
            world.fail(&format!("{call} never ended"));
        }
    }
}

/// Whatever happened before, a new call over a link with some loss is set up, stays up and ends when it is told to.
fn probe(world: &mut World, caller: NodeId, callee: NodeId, target: &str) {
    let before = world.events(callee).len();
    let call = world.dial(caller, target);
    world.run_for(Duration::from_secs(15));
    let ringing = world.events(callee)[before..].iter().find_map(|event| match event {
        Event::CallIncoming { call, .. } => Some(*call),
        _ => None,
    });
    let Some(theirs) = ringing else { world.fail("the probe call did not arrive") };
    let _ = world.command(callee, Command::Answer { call: theirs, audio: None });
    world.run_for(Duration::from_secs(40));
    if live(world, caller).get(&call) != Some(&true) || live(world, callee).get(&theirs) != Some(&true) {
        world.fail("the probe call is not up 40 s after it was answered");
    }
    let _ = world.command(caller, Command::HangUp { call });
    world.run_for(Duration::from_secs(15));
    if live(world, callee).contains_key(&theirs) || live(world, caller).contains_key(&call) {
        world.fail("the probe call outlived its hang-up");
    }
}

/// A server transaction may repeat its final response, but never change it.
fn one_final_response(world: &World) {
    let mut finals: BTreeMap<(String, String), String> = BTreeMap::new();
    for arrow in world.ladder.iter().filter(|arrow| arrow.line.starts_with("SIP/2.0 ")) {
        let status = arrow.line.split(' ').nth(1).unwrap_or_default();
        if status.starts_with('1') {
            continue;
        }
        let header = |name: &str| {
            let line = arrow.text.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.unwrap_or_default().to_owned()
        };
        let key = (arrow.from.clone(), header("via:") + &header("cseq:"));
        if let Some(first) = finals.insert(key, status.to_owned())
            && first != status
        {
            world.fail(&format!("a transaction was answered {first} and then {status}: {}", arrow.text));
        }
    }
}

/// The first of the seeds below `count` that `run` fails with, found by two threads.
fn sweep(count: u64, run: &(dyn Fn(u64) + Sync)) -> Option<u64> {
    let (next, broken) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count.min(broken.load(Ordering::Relaxed)) {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
                        broken.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    Some(broken.into_inner()).filter(|seed| *seed != u64::MAX)
}

/// All seeds, or the one or as many as the environment says.
fn sweep_or_replay(usual: u64, run: &(dyn Fn(u64) + Sync)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("SEED") {
        return run(seed);
    }
    assert_eq!(sweep(number("SEEDS").unwrap_or(usual), run), None, "replay it with SEED=");
}

#[test]
fn no_seed_breaks_a_call() {
    sweep_or_replay(2000, &|seed| run(seed, None));
}

#[test]
fn no_seed_breaks_a_call_through_the_pbx() {
    sweep_or_replay(500, &run_office);
}

#[test]
fn a_planted_fault_is_found_within_200_seeds() {
    // What a phone does that forgets its ACK or its BYE, or whose retransmission timers are off.
    let without = |method: &'static str| move |arrow: &Arrow| arrow.line.starts_with(method);
    let once = || {
        let mut sent = BTreeSet::new();
        move |arrow: &Arrow| !sent.insert((arrow.from.clone(), arrow.text.clone()))
    };
    let found = [
        sweep(200, &|seed| run(seed, Some(Box::new(without("ACK "))))),
        sweep(200, &|seed| run(seed, Some(Box::new(without("BYE "))))),
        sweep(200, &|seed| run(seed, Some(Box::new(once())))),
    ];
    assert!(found.iter().all(Option::is_some), "a planted fault went unnoticed: {found:?}");
}
