//! Floods in virtual time: whoever sends more than we can serve costs little, is turned away, and harms nobody else
//! (threats B1 to B4, B6, B8).

use bellwire::api::{Command, Event};
use bellwire::engine::StreamEvent;
use bellwire::fuzz::town::{Host, Town};
use bellwire::pbx::{PbxConfig, PbxUser};
use bellwire::secret::Secret;
use bellwire::sip::message::{HeaderName, Message};
use bellwire::sip::transport::connections::{MAX_ACCEPTED, MAX_STRANGERS};
use bellwire::time::Duration;
use bellwire::ua::{CallConfig, UaConfig};
use std::net::SocketAddr;

/// Its name, and what runs it.
type Flood = (&'static str, fn() -> String);

/// Each gives a line of figures; it panics when somebody else is harmed.
pub(crate) const FLOODS: &[Flood] = &[
    ("flood of INVITEs", invites),
    ("flood of INVITEs that are answered and never acknowledged", unacknowledged),
    ("flood of OPTIONS", options),
    ("flood of REGISTERs", registers),
    ("flood of connections", connections),
];

const US: &str = "192.0.2.1:5060";
const PEER: &str = "192.0.2.2:5060";
const ALL: u32 = 100_000;
const PER_SECOND: u32 = 2_000;

fn source(n: u32) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, (n % 100) as u8], 5060))
}

fn request(method: &str, n: u32, more: &str) -> Vec<u8> {
    let from = source(n);
    format!(
        "{method} sip:bob@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKflood{n}\r\nMax-Forwards: 70\r\n\
         From: <sip:x{n}@{from}>;tag=f{n}\r\nTo: <sip:bob@192.0.2.1>\r\nCall-ID: flood-{n}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:x@{from}>\r\n{more}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// A phone and a peer in a call.
fn talking(config: UaConfig) -> Town {
    let mut town = Town::default();
    town.ua(US, config);
    town.ua(PEER, UaConfig::default());
    let dial = Command::Dial { target: "sip:bob@192.0.2.1".to_owned(), account: None, audio: None };
    town.command(1, dial).expect("a call may be placed");
    let incoming = |event: &Event| if let Event::CallIncoming { call, .. } = event { Some(*call) } else { None };
    if let Some(call) = town.nodes[0].events.iter().find_map(incoming)
        && town.nodes[1].host.states() != ["talking"]
    {
        town.command(0, Command::Answer { call, audio: None }).expect("it rings");
    }
    assert_eq!(town.nodes[1].host.states(), ["talking"]);
    town
}

/// Sends `all` requests and after each second of them a clean OPTIONS, which must be answered.
fn flood(
    town: &mut Town,
    all: u32,
    mut wire: impl FnMut(u32) -> Vec<u8>,
    mut look: impl FnMut(&Town),
) -> (usize, usize) {
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for n in 0..all {
        let bytes = wire(n);
        bytes_in += bytes.len();
        town.datagram(0, source(n), &bytes);
        if n % PER_SECOND == PER_SECOND - 1 {
            town.advance(Duration::from_secs(1));
            look(town);
            bytes_out += town.outside.iter().map(|transmit| transmit.bytes.len()).sum::<usize>();
            town.outside.clear();
            let clean: SocketAddr = "203.0.113.5:5060".parse().expect("an address");
            let probe = String::from_utf8(request("OPTIONS", n, "")).expect("text");
            let probe = probe.replace("flood", "probe").replace("198.51.100", "203.0.113");
            town.datagram(0, clean, probe.as_bytes());
            let answers = town.take_outside();
            // A PBX asks for a password first; that is an answer too.
            let good =
                |message: &Message| matches!(message, Message::Response(r) if [200, 401].contains(&r.status.code()));
            assert!(answers.iter().any(good), "the probe after {n} is answered: {answers:?}");
        }
        town.nodes.iter_mut().for_each(|node| node.events.clear());
        town.log.clear();
    }
    (bytes_in, bytes_out)
}

fn rest(mut town: Town) {
    town.advance(Duration::from_secs(37));
    assert_eq!(town.nodes[1].host.states(), ["talking"], "the call has outlived the flood");
    town.assert_comes_to_rest();
}

fn invites() -> String {
    let mut town = talking(UaConfig::default());
    let mut most = 0;
    let look = |town: &Town| {
        let ringing = town.nodes[0].host.states().iter().filter(|state| *state != "talking").count();
        most = most.max(ringing);
        assert!(ringing <= 4, "{ringing} calls ring");
    };
    let (bytes_in, bytes_out) = flood(&mut town, ALL, |n| request("INVITE", n, ""), look);
    rest(town);
    assert!(most > 0, "some rang");
    format!("{ALL} calls, at most {most} rang, {:.2} bytes out for one in", bytes_out as f64 / bytes_in as f64)
}

fn unacknowledged() -> String {
    let call = CallConfig { auto_answer: Some(Duration::ZERO), max: 4, ..CallConfig::default() };
    let mut town = talking(UaConfig { call, ..UaConfig::default() });
    let mut most = 0;
    let look = |town: &Town| {
        most = most.max(town.nodes[0].leases);
        assert!(town.nodes[0].leases <= 4, "{} calls hold sockets", town.nodes[0].leases);
    };
    flood(&mut town, ALL, |n| request("INVITE", n, ""), look);
    rest(town);
    format!("{ALL} calls, at most {most} answered at once")
}

fn options() -> String {
    let mut town = talking(UaConfig::default());
    let (bytes_in, bytes_out) = flood(&mut town, ALL, |n| request("OPTIONS", n, ""), |_| {});
    rest(town);
    format!("{ALL} questions, {:.2} bytes out for one in", bytes_out as f64 / bytes_in as f64)
}

fn registers() -> String {
    let mut town = Town::default();
    let user = PbxUser::new("bob", "example.com", &Secret::new("a good password".to_owned()));
    let config = PbxConfig {
        realm: "example.com".to_owned(),
        domains: vec!["192.0.2.1".to_owned()],
        users: vec![user],
        ..PbxConfig::default()
    };
    town.pbx(US, config);
    let (bytes_in, bytes_out) = flood(&mut town, ALL, |n| request("REGISTER", n, ""), |_| {});
    let ratio = bytes_out as f64 / bytes_in as f64;
    assert!(ratio <= 2.0, "{ratio} bytes out for one in");
    // Then with credentials that are wrong, for a nonce of ours.
    town.datagram(0, source(0), &request("REGISTER", ALL, ""));
    let answers = town.take_outside();
    let challenge = answers[0].headers().get(&HeaderName::WWW_AUTHENTICATE).expect("a challenge").to_owned();
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce").to_owned();
    let guess = |n: u32| {
        format!(
            "Authorization: Digest username=\"bob\", realm=\"example.com\", nonce=\"{nonce}\", uri=\"sip:bob@192.0.2.1\", \
             algorithm=MD5, qop=auth, nc={:08x}, cnonce=\"c\", response=\"{n:032x}\"\r\n",
            n + 1
        )
    };
    flood(&mut town, ALL / 5, |n| request("REGISTER", ALL + 1 + n, &guess(n)), |_| {});
    assert!(town.nodes[0].events.is_empty(), "nobody has come in");
    town.assert_comes_to_rest();
    format!("{ALL} strangers and {} guesses, {ratio:.2} bytes out for one in", ALL / 5)
}

/// Silent ones, ones that send a byte a second, and ones that ask something and stay.
fn connections() -> String {
    let mut town = talking(UaConfig::default());
    let mut most = 0;
    let mut seen = |town: &Town| {
        let Host::Ua(ua) = &town.nodes[0].host else { panic!("a phone") };
        most = most.max(ua.endpoint().connections());
    };
    let mut slot = 0;
    let mut accept = |town: &mut Town, n: u32| {
        slot += 1;
        town.accept(0, slot, SocketAddr::new(source(n).ip(), 1024 + (n % 60_000) as u16))
    };
    for n in 0..20_000 {
        let conn = accept(&mut town, n);
        match n % 3 {
            0 => {}
            1 => town.stream(0, conn, StreamEvent::Data(b"O")),
            _ => town.stream(0, conn, StreamEvent::Data(&request("OPTIONS", n, ""))),
        }
        if n % 100 == 0 {
            town.advance(Duration::from_secs(1));
            seen(&town);
            let conn = accept(&mut town, 99);
            town.outside.clear();
            let probe = String::from_utf8(request("OPTIONS", n, "")).expect("text").replace("flood", "probe");
            town.stream(0, conn, StreamEvent::Data(probe.as_bytes()));
            let answered = town.take_outside().iter().any(|message| matches!(message, Message::Response(_)));
            assert!(answered, "a new connection is served after {n}");
        }
        town.outside.clear();
        town.log.clear();
    }
    assert!(most <= MAX_STRANGERS + 1, "{most} connections at once, of at most {MAX_STRANGERS}");
    // What a connection has been granted keeps it, but not without end.
    let conn = accept(&mut town, 0);
    town.stream(0, conn, StreamEvent::Data(&vec![b'x'; 200_000]));
    assert!(most <= MAX_ACCEPTED, "{most}");
    rest(town);
    format!("20,000 connections, at most {most} at once")
}
