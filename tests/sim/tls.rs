//! TLS in the world: who is on the other side, which connection is used again, and `sips:` (RFC 5922, RFC 5630).

use crate::calls::{answered, ended, incoming, phone};
use crate::kit::script::Server;
use crate::kit::{NodeId, World};
use crate::registration::{account, failed, registered, users};
use bellwire::api::{Command, Event, Failure};
use bellwire::engine::{Protocol, TlsFault};
use bellwire::pbx::PbxConfig;
use bellwire::sip::message::{HeaderName, Method};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;

const PBX: &str = "10.0.0.100";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn over_tls(user: &str, host: &str) -> UaConfig {
    let mut config = account(user, host, &format!("{user}-secret"));
    config.accounts[0].transport = Some(Protocol::Tls);
    config
}

/// A PBX for these users, under the names of these tests.
fn served(names: &[&str]) -> PbxConfig {
    let domains = ["pbx", "one.example", "two.example"].map(str::to_owned).to_vec();
    PbxConfig { domains, ..users(names) }
}

struct Office {
    world: World,
    pbx: NodeId,
    alice: NodeId,
    bob: NodeId,
}

/// A PBX with a certificate for its name, alice and bob registered over TLS.
fn office(seed: u64) -> Office {
    let mut world = World::new(seed);
    let pbx = world.pbx_with_tls("pbx", PBX, &["pbx"], served(&["alice", "bob", "carol"]));
    let alice = world.ua("alice", &["10.0.0.1"], over_tls("alice", "pbx"));
    let bob = world.ua("bob", &["10.0.0.2"], over_tls("bob", "pbx"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    Office { world, pbx, alice, bob }
}

impl Office {
    fn call(&mut self, target: &str) {
        let Self { world, alice, bob, .. } = self;
        let call = world.dial(*alice, target);
        let theirs = incoming(world, *bob);
        world.command(*bob, Command::Answer { call: theirs, audio: None }).unwrap();
        let Event::CallAnswered { transport, .. } = world.run_until(*alice, answered) else { panic!("answered") };
        assert_eq!(transport, "tls");
        world.run_for(secs(1));
        world.command(*alice, Command::HangUp { call }).unwrap();
        world.run_until(*alice, ended);
        world.run_until(*bob, ended);
    }

    fn clear(&self) -> Vec<&str> {
        let in_clear = |text: &&str| text.contains("SIP/2.0/UDP") || text.contains("SIP/2.0/TCP");
        self.world.ladder.iter().map(|arrow| arrow.text.as_str()).filter(in_clear).collect()
    }
}

fn refusal(world: &mut World, node: NodeId) -> Failure {
    match world.run_until(node, failed) {
        Event::RegistrationFailed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

fn call_failure(world: &mut World, node: NodeId, target: &str) -> Failure {
    world.dial(node, target);
    match world.run_until(node, ended) {
        Event::CallEnded { failure: Some(failure), .. } => failure,
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn one_verified_connection_carries_a_registration_and_all_its_calls() {
    let mut office = office(1);
    for _ in 0..3 {
        office.call("bob");
    }
    assert_eq!(office.clear(), Vec::<&str>::new());
    let opened: Vec<_> = office.world.connects.iter().map(|(who, to)| (who.as_str(), to.port())).collect();
    assert_eq!(opened, [("alice", 5061), ("bob", 5061)]);
    let registers = office.world.ladder.iter().filter(|arrow| arrow.line.starts_with("REGISTER"));
    for arrow in registers {
        assert!(arrow.text.contains(";transport=tls>") && arrow.text.contains("Via: SIP/2.0/TLS "), "{}", arrow.text);
    }
    office.world.assert_quiet();
}

#[test]
fn the_contact_names_the_port_of_the_connection_which_is_the_only_way_back() {
    let office = office(2);
    let first = office.world.ladder.iter().find(|arrow| arrow.line.starts_with("REGISTER")).unwrap();
    let contact = first.text.lines().find(|line| line.starts_with("Contact:")).unwrap();
    let via = first.text.lines().find(|line| line.starts_with("Via:")).unwrap();
    let port = via.split(':').nth(2).and_then(|rest| rest.split(';').next()).unwrap();
    assert!(port.parse::<u16>().unwrap() >= 40_000, "{via}");
    assert!(contact.contains(&format!("@10.0.0.1:{port};transport=tls")), "{contact} {via}");
}

#[test]
fn not_a_word_is_said_to_a_server_with_a_bad_certificate_and_each_fault_has_its_name() {
    for fault in [
        TlsFault::WrongName,
        TlsFault::Wildcard,
        TlsFault::NoName,
        TlsFault::Expired,
        TlsFault::NotYetValid,
        TlsFault::SelfSigned,
        TlsFault::UnknownAuthority,
        TlsFault::WrongPurpose,
        TlsFault::PinMismatch,
        TlsFault::BadCertificate,
        TlsFault::ClientCertificateWanted,
        TlsFault::NotTls,
        TlsFault::Version,
        TlsFault::Closed,
    ] {
        let mut world = World::new(3);
        let pbx = world.pbx_with_tls("pbx", PBX, &["pbx"], served(&["alice"]));
        world.certificate(pbx, Err(fault));
        let alice = world.ua("alice", &["10.0.0.1"], over_tls("alice", "pbx"));
        let failure = refusal(&mut world, alice);
        assert_eq!(failure.slug, fault.slug());
        assert_eq!(failure.facts.get("address").map(String::as_str), Some("10.0.0.100:5061"));
        assert!(world.ladder.is_empty(), "{fault:?}");
        // It is tried again later, and works once the certificate is right.
        world.certificate(pbx, Ok(&["pbx"]));
        world.run_until(alice, registered);
        world.assert_quiet();
    }
}

#[test]
fn a_connection_verified_for_one_name_is_never_used_for_another() {
    let mut world = World::new(4);
    let ip = PBX.parse().unwrap();
    let pbx = world.pbx_with_tls("pbx", PBX, &["one.example"], served(&["alice", "bob"]));
    world.name("one.example", Ok(vec![ip]));
    world.name("two.example", Ok(vec![ip]));
    let mut config = over_tls("alice", "one.example");
    config.accounts.extend(over_tls("bob", "two.example").accounts);
    let phone = world.ua("phone", &["10.0.0.1"], config);
    world.run_until(phone, registered);
    let failure = match world.events(phone).into_iter().find(|event| failed(event)) {
        Some(Event::RegistrationFailed { failure, .. }) => failure.clone(),
        _ => refusal(&mut world, phone),
    };
    assert_eq!(failure.slug, "tls.name-mismatch");
    assert!(world.ladder.iter().all(|arrow| !arrow.text.contains("two.example")));
    world.certificate(pbx, Ok(&["one.example", "two.example"]));
    world.run_until(phone, registered);
    assert_eq!(world.connects.len(), 3, "{:?}", world.connects);
}

#[test]
fn a_lost_connection_is_opened_and_verified_again() {
    let mut office = office(5);
    office.world.cut_streams(office.pbx);
    office.world.run_until(office.alice, registered);
    office.world.run_until(office.bob, registered);
    office.call("bob");
    assert_eq!(office.world.connects.len(), 4);
    // Once more, while a call is up: its BYE leaves over a new connection to whom it was begun with.
    let Office { world, alice, bob, pbx } = &mut office;
    let call = world.dial(*alice, "bob");
    let theirs = incoming(world, *bob);
    world.command(*bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(*alice, answered);
    world.cut_streams(*pbx);
    world.run_for(Duration::from_millis(10));
    world.command(*alice, Command::HangUp { call }).unwrap();
    world.run_until(*alice, ended);
    let byes: Vec<_> =
        world.ladder.iter().filter(|arrow| arrow.line.starts_with("BYE") && arrow.from == "alice").collect();
    assert!(byes.last().is_some_and(|bye| bye.text.contains("SIP/2.0/TLS") && bye.to.port() == 5061), "{byes:?}");
    world.run_for(secs(40));
    assert_eq!(office.clear(), Vec::<&str>::new());
}

#[test]
fn a_sips_call_goes_over_tls_whatever_the_account_says_and_shows_a_sips_contact() {
    let mut world = World::new(6);
    world.pbx_with_tls("pbx", PBX, &["pbx"], served(&["alice", "bob"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", "pbx", "alice-secret"));
    let bob = world.ua("bob", &["10.0.0.2"], over_tls("bob", "pbx"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    let before = world.ladder.len();
    let call = world.dial(alice, "sips:bob@pbx");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    let ours = || world.ladder[before..].iter().filter(|arrow| arrow.from == "alice");
    assert!(ours().count() >= 3 && ours().all(|arrow| !arrow.text.contains("SIP/2.0/UDP")));
    for invite in ours().filter(|arrow| arrow.line.starts_with("INVITE")) {
        assert!(invite.line.starts_with("INVITE sips:bob@pbx "), "{}", invite.line);
        assert!(invite.text.contains("Contact: <sips:") && !invite.text.contains("transport="), "{}", invite.text);
    }
    world.assert_quiet();
}

#[test]
fn a_sips_call_never_falls_back_to_clear() {
    let mut world = World::new(7);
    // A PBX that listens on UDP and TCP only, on every port that could be tried.
    world.pbx("pbx", &[PBX], served(&["alice"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", "pbx", "alice-secret"));
    world.run_until(alice, registered);
    let before = world.ladder.len();
    assert_eq!(call_failure(&mut world, alice, "sips:600@pbx").slug, "net.refused");
    assert_eq!(call_failure(&mut world, alice, "sips:600@10.0.0.100:5060").slug, "tls.not-tls");
    assert_eq!(call_failure(&mut world, alice, "sips:bob@10.0.0.100;transport=udp").slug, "net.refused");
    assert_eq!(world.ladder.len(), before, "not one message left");
    world.assert_quiet();
}

#[test]
fn a_sips_request_that_came_in_clear_is_refused() {
    let mut world = World::new(8);
    let server = Server::new(&mut world, "server", "10.0.0.9");
    let _bob = world.ua("bob", &["10.0.0.2"], phone());
    let invite = "INVITE sips:bob@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:a@10.0.0.9>;tag=1\r\nTo: <sips:bob@10.0.0.2>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
        Contact: <sips:a@10.0.0.9>\r\nContent-Length: 0\r\n\r\n";
    world.say(server.0, "10.0.0.2:5060", invite);
    let (_, answer) = world.hear(server.0);
    assert!(answer.starts_with("SIP/2.0 480 ") && answer.contains("Warning: 380 "), "{answer}");
}

#[test]
fn a_sips_call_reaches_no_phone_that_registered_in_clear() {
    let mut world = World::new(9);
    world.pbx_with_tls("pbx", PBX, &["pbx"], served(&["alice", "bob"]));
    let alice = world.ua("alice", &["10.0.0.1"], over_tls("alice", "pbx"));
    let bob = world.ua("bob", &["10.0.0.2"], account("bob", "pbx", "bob-secret"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    let failure = call_failure(&mut world, alice, "sips:bob@pbx");
    assert_eq!((failure.slug.as_str(), failure.code), ("call.unavailable", Some(480)));
    assert!(failure.facts.get("warning").is_some_and(|warning| warning.contains("SIPS Not Allowed")), "{failure:?}");
    // The plain address may take the clear way.
    world.dial(alice, "sip:bob@pbx");
    incoming(&mut world, bob);
}

#[test]
fn a_sips_call_is_not_led_to_an_address_in_clear_by_a_redirection() {
    let mut world = World::new(10);
    let server = Server::new(&mut world, "server", "10.0.0.9");
    world.serve_tls(server.0, &["server"]);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    world.dial(alice, "sips:bob@server");
    world.run_for(secs(1));
    let taken = world.taken(server.0);
    let text: String = taken.iter().map(|(_, _, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
    let bellwire::sip::message::Message::Request(invite) =
        bellwire::sip::message::Message::parse(text.as_bytes()).unwrap()
    else {
        panic!("{text}")
    };
    assert_eq!(invite.method, Method::Invite);
    let status = bellwire::sip::message::StatusCode::new(302).unwrap();
    let mut moved = bellwire::sip::message::Response::to(&invite, status, Some("srv"));
    moved.headers.push(HeaderName::CONTACT, "<sip:bob@10.0.0.9>");
    let conn = world.streams_of(server.0)[0];
    world.write_stream(server.0, conn, &moved.encode());
    let Event::CallEnded { code, .. } = world.run_until(alice, ended) else { panic!("ended") };
    assert_eq!(code, Some(302));
    assert!(world.hear_now(server.0).is_none(), "nothing came in clear");
    world.assert_quiet();
}

#[test]
fn a_call_over_tls_takes_no_request_in_clear() {
    let mut office = office(11);
    let Office { world, pbx, alice, bob } = &mut office;
    world.dial(*alice, "bob");
    let theirs = incoming(world, *bob);
    world.command(*bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(*alice, answered);
    world.run_for(secs(1));
    // Whoever has read the dialog somewhere knows how its BYE must look.
    let ok = world
        .ladder
        .iter()
        .find(|arrow| arrow.from == "bob" && arrow.text.contains("INVITE") && arrow.line.contains("200"));
    let ok = ok.expect("bob answered").text.clone();
    let header = |name: &str| ok.lines().find(|line| line.starts_with(name)).expect("a header").to_owned();
    let (from, to, call_id) = (header("From:"), header("To:"), header("Call-ID:"));
    for (seq, method) in [(90, "INFO"), (91, "BYE")] {
        let text = format!(
            "{method} sip:bob@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP {PBX}:5060;branch=z9hG4bKm{seq};rport\r\n{from}\r\n{to}\r\n\
             {call_id}\r\nCSeq: {seq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        world.say_bytes(*pbx, 5060, "10.0.0.2:5060".parse().unwrap(), text.into_bytes());
        world.run_for(secs(1));
    }
    let refused = world.ladder.iter().filter(|arrow| arrow.from == "bob" && arrow.line.contains("403")).count();
    assert_eq!(refused, 2);
    assert!(!world.events(*bob).iter().any(|event| ended(event)), "the call goes on");
    world.command(*bob, Command::HangUp { call: theirs }).unwrap();
    world.run_until(*alice, ended);
    world.run_for(secs(40));
    world.assert_quiet();
}
