//! What a phone and a PBX answer to the torture messages over UDP, against `tests/data/torture/expected.tsv`.
//!
//! First in memory, one engine for each message and all of them after another with a call ringing and a call up; then
//! over real sockets. Where an answer goes is checked too: to the source's address and the sent-by's port (RFC 3261
//! §18.2.2), unless the top Via asks for `rport` (RFC 3581).

use crate::torture::{message, rows};
use bellwire::api::{Command, Event};
use bellwire::driver::{Bind, Driver, DriverConfig};
use bellwire::engine::Protocol;
use bellwire::fuzz::town::Town;
use bellwire::pbx::{Pbx, PbxConfig, PbxUser};
use bellwire::secret::Secret;
use bellwire::sip::endpoint::Limits;
use bellwire::sip::message::Via;
use bellwire::time::Duration;
use bellwire::ua::{CallConfig, Ua, UaConfig};
use std::net::{SocketAddr, UdpSocket};

const US: &str = "192.0.2.240:5060";
/// Where the messages come from: one port, so that an answer that ignores the Via is found out.
const SOURCE: &str = "192.0.2.241:40000";

/// Where an engine and a message's sender are: the messages of RFC 5118 are about IPv6, but one has its sound on IPv4.
fn places(name: &str) -> [&'static str; 2] {
    let is_v6 = name.starts_with("5118-") && !name.starts_with("5118-4.08-");
    if is_v6 { ["[2001:db8::f0]:5060", "[2001:db8::f1]:40000"] } else { [US, SOURCE] }
}

fn phone() -> UaConfig {
    let call = CallConfig { max: 0, ..CallConfig::default() };
    UaConfig { call, limits: Limits::NONE, ..UaConfig::default() }
}

fn pbx() -> PbxConfig {
    let user = PbxUser::new("alice", "example.com", &Secret::new("not alice".to_owned()));
    PbxConfig { realm: "example.com".to_owned(), users: vec![user], ..PbxConfig::default() }
}

/// The top Via that the bytes carry, read without the parser under test.
fn top_via(wire: &[u8]) -> Option<Via> {
    let text = String::from_utf8_lossy(wire).replace("\r\n ", " ").replace("\r\n\t", " ");
    let line = text.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim().to_ascii_lowercase();
        (name == "via" || name == "v").then(|| value.trim().to_owned())
    })?;
    let end = line.find(',').unwrap_or(line.len());
    line[..end].replace("SIP/9.0", "SIP/2.0").parse().ok()
}

/// The first answer but 100 to a message, and whether all answers went where they must.
fn answer(town: &mut Town, name: &str, source: &str) -> String {
    let wire = message(name);
    let source: SocketAddr = source.parse().expect("an address");
    town.outside.clear();
    town.datagram(0, source, &wire);
    town.advance(Duration::from_millis(300));
    let mut status = "none".to_owned();
    for transmit in std::mem::take(&mut town.outside) {
        // What is repeated for an earlier message is that one's.
        if id_of(&transmit.bytes) != id_of(&wire) {
            continue;
        }
        let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
        let code = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).expect("an answer").to_owned();
        let via = top_via(&wire).expect("an answered request has a Via");
        let port = if via.params.has("rport") { source.port() } else { via.port.unwrap_or(5060) };
        assert_eq!(transmit.flow.peer, SocketAddr::new(source.ip(), port), "{name}: the answer goes to the sent-by");
        let top = top_via(&transmit.bytes).expect("an answer has the Via of its request");
        assert_eq!(top.branch(), via.branch(), "{name}");
        if status == "none" && code != "100" {
            status = code;
        }
    }
    status
}

/// Whether `got` is what a column says; `|` divides alternatives.
fn fits(column: &str, got: &str) -> bool {
    column.split('|').any(|choice| choice == got)
}

#[track_caller]
fn compare(what: &str, got: Vec<(String, String, String)>) {
    let wrong: Vec<_> = got.iter().filter(|(_, expected, got)| !fits(expected, got)).collect();
    assert!(wrong.is_empty(), "{what} (message, expected, got): {wrong:#?}");
}

#[test]
fn an_idle_phone_answers_every_torture_message_as_the_table_says() {
    let got = rows().into_iter().map(|row| {
        let mut town = Town::default();
        let [us, source] = places(&row.name);
        town.ua(us, phone());
        let got = answer(&mut town, &row.name, source);
        town.assert_comes_to_rest();
        (row.name, row.phone, got)
    });
    compare("phone", got.collect());
}

#[test]
fn an_idle_pbx_answers_every_torture_message_as_the_table_says() {
    let got = rows().into_iter().map(|row| {
        let mut town = Town::default();
        let [us, source] = places(&row.name);
        town.pbx(us, pbx());
        let got = answer(&mut town, &row.name, source);
        town.assert_comes_to_rest();
        (row.name, row.pbx, got)
    });
    compare("PBX", got.collect());
}

/// Threats A1: the states of a phone besides idle, three rounds; the calls are none the worse.
#[test]
fn a_phone_that_rings_and_one_in_a_call_answer_the_same_and_go_on() {
    for talking in [false, true] {
        let mut town = Town::default();
        town.ua(US, phone());
        let peer = town.ua("192.0.2.242:5060", UaConfig::default());
        let dial = Command::Dial { target: "sip:bob@192.0.2.240".to_owned(), account: None, audio: None };
        town.command(peer, dial).expect("a call may be placed");
        let incoming = |event: &Event| if let Event::CallIncoming { call, .. } = event { Some(*call) } else { None };
        let call = town.nodes[0].events.iter().find_map(incoming).expect("it rings");
        if talking {
            town.command(0, Command::Answer { call, audio: None }).expect("it rings");
        }
        let before = town.nodes[peer].host.states();
        for round in 0..3 {
            let got = rows().into_iter().map(|row| {
                // A call that was taken may leave no place for another, and a message seen before is a copy or a loop.
                let plain = row.phone.clone();
                let busy = if ["180", "488"].contains(&&*plain) { format!("{plain}|486") } else { plain };
                let again = if round > 0 { format!("{busy}|482|none") } else { busy };
                let got = answer(&mut town, &row.name, SOURCE);
                (row.name, again, got)
            });
            compare(if talking { "in a call" } else { "ringing" }, got.collect());
        }
        assert_eq!(town.nodes[peer].host.states(), before, "the peer's call is as it was");
        if !talking {
            town.command(0, Command::Answer { call, audio: None }).expect("it still rings");
        }
        assert_eq!(town.nodes[peer].host.states(), ["talking"]);
        town.assert_comes_to_rest();
    }
}

/// The sockets of one host on the loopback network, an address of its own for this process, on every port that the
/// messages name as theirs.
struct Sockets(Vec<UdpSocket>);

impl Sockets {
    fn bind() -> Self {
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let mut ports: Vec<u16> =
            rows().iter().filter_map(|row| top_via(&message(&row.name))).map(|via| via.port.unwrap_or(5060)).collect();
        ports.sort_unstable();
        ports.dedup();
        let bind = |port| {
            let socket = UdpSocket::bind((std::net::Ipv4Addr::new(127, 77, high, low.max(1)), port));
            let socket = socket.unwrap_or_else(|error| panic!("port {port}: {error}"));
            socket.set_nonblocking(true).expect("Linux can");
            socket
        };
        Self(ports.into_iter().map(bind).collect())
    }

    /// Everything that has come.
    fn received(&self) -> Vec<Vec<u8>> {
        let mut buf = [0; 65_536];
        let mut all = Vec::new();
        for socket in &self.0 {
            while let Ok(length) = socket.recv(&mut buf) {
                all.push(buf[..length].to_vec());
            }
        }
        all
    }
}

#[test]
fn over_real_sockets_the_answers_are_the_same() {
    let mut driver = Driver::new(DriverConfig { rtp_ports: 0..=0, ..DriverConfig::default() }).expect("a driver");
    let bind = [Bind { protocol: Protocol::Udp, addr: "127.0.0.1:0".parse().expect("an address") }];
    let mut addresses = Vec::new();
    for is_pbx in [false, true] {
        let bound = driver.bind(&bind).expect("a free port");
        addresses.push(bound.sockets[0].local);
        let now = driver.now();
        let (sockets, listeners) = (bound.sockets.clone(), bound.listeners.clone());
        if is_pbx {
            driver.add_engine(Box::new(Pbx::new(now, pbx(), sockets, listeners, [1; 32])), &bound);
        } else {
            driver.add_engine(Box::new(Ua::new(now, phone(), sockets, listeners, [2; 32])), &bound);
        }
    }
    let commander = driver.client().commander();
    let running = std::thread::spawn(move || driver.run());
    let sockets = Sockets::bind();
    let mut wrong = Vec::new();
    for row in rows() {
        let wire = message(&row.name);
        for (to, column) in addresses.iter().zip([&row.phone, &row.pbx]) {
            sockets.0[0].send_to(&wire, to).expect("loopback takes it");
            // A probe behind it: once that is answered, nothing more comes of the message before it but a 100.
            let probe = format!(
                "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP probe.invalid;rport;branch=z9hG4bKprobe{0}\r\n\
                 From: <sip:p@h>;tag=p\r\nTo: <sip:{to}>\r\nCall-ID: probe-{0}\r\nCSeq: 1 OPTIONS\r\n\r\n",
                row.name
            );
            sockets.0[0].send_to(probe.as_bytes(), to).expect("loopback takes it");
            let mut got = None;
            let limit = std::time::Instant::now() + Duration::from_secs(10);
            'wait: while std::time::Instant::now() < limit {
                let mut probed = false;
                for bytes in sockets.received() {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let code = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).unwrap_or("?");
                    let id = id_of(&bytes);
                    if id == Some(format!("probe-{}", row.name)) {
                        probed = true;
                    } else if code != "100" && id == id_of(&wire) {
                        got.get_or_insert_with(|| code.to_owned());
                    }
                }
                if probed && column == "none" {
                    got.get_or_insert_with(|| "none".to_owned());
                }
                if got.is_some() {
                    break 'wait;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let got = got.unwrap_or_else(|| "none".to_owned());
            if !fits(column, &got) {
                wrong.push((row.name.clone(), to.to_string(), column.clone(), got));
            }
        }
    }
    commander.shut_down().expect("it runs");
    running.join().expect("it ends well").expect("it ran well");
    assert!(wrong.is_empty(), "message, to, expected, got: {wrong:#?}");
}

/// The Call-ID that the bytes carry, read without the parser under test.
fn id_of(wire: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(wire).replace("\r\n ", " ").replace("\r\n\t", " ");
    text.lines().skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim().to_ascii_lowercase();
        (name == "call-id" || name == "i").then(|| value.trim().to_owned())
    })
}
