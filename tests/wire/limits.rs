//! Numbers beyond what they count, nesting without end, lists without end and lengths that lie, at whole engines.

use bellwire::api::{Command, Event};
use bellwire::app::config::{Loaded, Overrides, Source};
use bellwire::engine::StreamEvent;
use bellwire::fuzz::town::Town;
use bellwire::pbx::{PbxConfig, PbxUser};
use bellwire::rng::Rng;
use bellwire::secret::Secret;
use bellwire::sip::auth::{Credentials, DigestClient};
use bellwire::sip::message::{HeaderName, Message, Request, Response};
use bellwire::time::Duration;
use bellwire::ua::UaConfig;
use std::net::SocketAddr;

const US: &str = "192.0.2.1:5060";
const PEER: &str = "192.0.2.2:5060";

fn peer() -> SocketAddr {
    PEER.parse().expect("an address")
}

/// A request with these lines in place of, or besides, the plain ones.
fn wire(method: &str, lines: &str) -> Vec<u8> {
    let has = |name: &str| lines.lines().any(|line| line.starts_with(&format!("{name}:")));
    let plain = [
        ("Via", "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKlimit".to_owned()),
        ("Max-Forwards", "70".to_owned()),
        ("From", "<sip:p@192.0.2.2>;tag=p".to_owned()),
        ("To", "<sip:bob@192.0.2.1>".to_owned()),
        ("Call-ID", "limit".to_owned()),
        ("CSeq", format!("1 {method}")),
        ("Contact", "<sip:p@192.0.2.2>".to_owned()),
    ];
    let plain: String =
        plain.iter().filter(|(name, _)| !has(name)).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} sip:bob@192.0.2.1 SIP/2.0\r\n{plain}{lines}\r\n").into_bytes()
}

fn phone() -> Town {
    let mut town = Town::default();
    town.ua(US, UaConfig::default());
    town
}

fn codes(town: &mut Town) -> Vec<u16> {
    let sent = std::mem::take(&mut town.outside);
    let code = |bytes: &[u8]| String::from_utf8_lossy(bytes).split(' ').nth(1).and_then(|code| code.parse().ok());
    sent.iter().filter_map(|transmit| code(&transmit.bytes)).filter(|code| *code != 100).collect()
}

/// What an idle phone answers to one request.
fn asked(method: &str, lines: &str) -> Vec<u16> {
    let mut town = phone();
    town.datagram(0, peer(), &wire(method, lines));
    let codes = codes(&mut town);
    town.assert_comes_to_rest();
    codes
}

#[test]
fn numbers_that_do_not_fit_are_400_and_the_largest_that_do_are_taken() {
    for (line, code) in [
        ("CSeq: 2147483647 OPTIONS", 200),
        ("CSeq: 2147483648 OPTIONS", 400),
        ("CSeq: 4294967296 OPTIONS", 400),
        ("CSeq: 99999999999999999999999 OPTIONS", 400),
        ("CSeq: -1 OPTIONS", 400),
        ("Max-Forwards: 255", 200),
        ("Max-Forwards: 256", 400),
        ("Max-Forwards: 4294967296", 400),
        ("Max-Forwards: -1", 400),
        ("Content-Length: 4294967296", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Content-Length: 99999999999999999999999999999999", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 1", 400),
        ("Expires: 4294967295", 200),
        ("Session-Expires: 99999999999999999999", 200),
        ("RAck: 99999999999 99999999999 INVITE", 200),
        ("Timestamp: 1e999999", 200),
        ("Retry-After: 99999999999999999999", 200),
    ] {
        assert_eq!(asked("OPTIONS", &format!("{line}\r\n")), [code], "{line}");
    }
}

#[test]
fn a_via_with_a_number_that_does_not_fit_sends_nothing_astray() {
    for via in [
        "SIP/2.0/UDP 192.0.2.2:65536;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2:0;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2:99999999999;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2;rport=99999;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2;ttl=999;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2;maddr=255.255.255.255;branch=z9hG4bKv",
        "SIP/2.0/UDP 192.0.2.2;received=203.0.113.9;branch=z9hG4bKv",
        "SIP/2.0/UDP 203.0.113.9:53;branch=z9hG4bKv",
    ] {
        let mut town = phone();
        town.datagram(0, peer(), &wire("OPTIONS", &format!("Via: {via}\r\n")));
        assert!(town.outside.len() <= 1, "{via}");
        for transmit in &town.outside {
            assert_eq!(transmit.flow.peer.ip(), peer().ip(), "{via} makes us send to a third party");
        }
        town.assert_comes_to_rest();
    }
}

#[test]
fn lists_and_values_without_end_are_refused_and_the_next_request_is_served() {
    let route = "Record-Route: <sip:p.example.com;lr>\r\n";
    for (what, lines, code) in [
        ("Record-Route lines", route.repeat(1_500), 400),
        ("Record-Routes on one line", format!("Record-Route: {}<sip:a;lr>\r\n", "<sip:a;lr>,".repeat(600)), 400),
        ("Vias", "Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n".repeat(1_500), 400),
        ("unknown headers", "X: y\r\n".repeat(9_000), 400),
        ("one value", format!("Subject: {}\r\n", "x".repeat(60_000)), 400),
        ("one name", format!("{}: y\r\n", "X".repeat(60_000)), 400),
        ("folds", format!("Subject: a\r\n{}", " b\r\n".repeat(12_000)), 400),
        ("parameters", format!("Contact: <sip:a@h{}>\r\n", ";a=b".repeat(2_000)), 200),
        ("quotes", format!("Subject: {}\r\n", "\"".repeat(8_000)), 200),
        ("opened brackets", format!("Contact: {}\r\n", "<".repeat(8_000)), 400),
        ("opened comments", format!("Subject: {}\r\n", "(".repeat(8_000)), 200),
        ("backslashes", format!("Subject: \"{}\r\n", "\\".repeat(8_000)), 200),
        ("escapes", format!("Contact: <sip:{}@h>\r\n", "%41".repeat(2_000)), 200),
    ] {
        let mut town = phone();
        town.datagram(0, peer(), &wire("OPTIONS", &lines));
        assert_eq!(codes(&mut town), [code], "{what}");
        let sent: usize = town.outside.iter().map(|transmit| transmit.bytes.len()).sum();
        assert!(sent <= 1_500, "{what}: {sent} bytes come back");
        town.datagram(
            0,
            peer(),
            &wire("OPTIONS", "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKnext\r\nCall-ID: next\r\n"),
        );
        assert_eq!(codes(&mut town), [200], "after {what}");
    }
}

/// The parts of parts are nobody's to unpack here: no depth of them costs anything.
#[test]
fn nested_bodies_are_415_at_any_depth() {
    let mut body = "v=0\r\n".to_owned();
    for depth in 0..500 {
        body = format!(
            "--b{depth}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n{body}--b{depth}--\r\n",
            depth + 1
        );
    }
    let lines = format!("Content-Type: multipart/mixed;boundary=b499\r\nContent-Length: {}\r\n", body.len());
    let mut bytes = wire("INVITE", &lines);
    bytes.extend_from_slice(body.as_bytes());
    let mut town = phone();
    town.datagram(0, peer(), &bytes);
    assert_eq!(codes(&mut town), [415]);
    town.assert_comes_to_rest();
}

#[test]
fn a_config_nested_without_end_is_a_finding() {
    for text in [
        format!("a = {}", "[".repeat(20_000)),
        format!("a = {}", "{a=".repeat(20_000)),
        format!("[{}]\n", vec!["a"; 20_000].join(".")),
        format!("{} = 1\n", vec!["a"; 20_000].join(".")),
        format!("a = {}{}", "[".repeat(2_000), "]".repeat(2_000)),
        "[[a]]\n".repeat(20_000),
    ] {
        let start: String = text.chars().take(20).collect();
        let source = Source { file: "c.toml".into(), text, dir: "/".into(), exposed: false };
        let loaded = Loaded::read(vec![source], &Overrides::default());
        assert!(loaded.config.is_none() && !loaded.findings.is_empty(), "{start}");
        assert!(!loaded.render(false).is_empty(), "{start}");
    }
}

#[test]
fn of_very_many_findings_the_first_hundred_are_shown_and_the_rest_counted() {
    let text: String = (0..3_000).map(|n| format!("nothing_{n} = 1\n")).collect();
    let source = Source { file: "c.toml".into(), text, dir: "/".into(), exposed: false };
    let loaded = Loaded::read(vec![source], &Overrides::default());
    assert_eq!(loaded.findings.len(), 3_000);
    let shown = loaded.render(false);
    assert_eq!(shown.matches("--> c.toml:").count(), 100);
    assert!(shown.contains("… and 2900 more\n"), "{}", &shown[shown.len() - 200..]);
}

/// A PBX and somebody who may register there.
struct Registrar {
    town: Town,
    digest: DigestClient,
    rng: Rng,
    count: u32,
}

impl Registrar {
    fn new() -> Self {
        let secret = || Secret::new("a good password".to_owned());
        let user = PbxUser::new("bob", "example.com", &secret());
        let mut town = Town::default();
        let config = PbxConfig { realm: "example.com".into(), users: vec![user], ..PbxConfig::default() };
        town.pbx(US, config);
        let credentials = Credentials { user: "bob".to_owned(), password: secret(), realm: None };
        Self { town, digest: DigestClient::new(credentials), rng: Rng::new([1; 32]), count: 0 }
    }

    fn send(&mut self, request: &Request) -> Response {
        self.town.datagram(0, peer(), &request.encode());
        match self.town.take_outside().pop() {
            Some(Message::Response(response)) => response,
            other => panic!("{other:?} is no answer"),
        }
    }

    /// Registers with these lines, after the challenge.
    fn register(&mut self, lines: &str) -> Response {
        self.count += 1;
        let count = self.count;
        let own = format!(
            "Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKr{count}\r\nCall-ID: r{count}\r\nCSeq: {count} REGISTER\r\n\
             From: <sip:bob@192.0.2.1>;tag=p\r\n{lines}"
        );
        let Ok(Message::Request(mut request)) = Message::parse(&wire("REGISTER", &own)) else { panic!("{lines}") };
        let challenge = self.send(&request);
        assert_eq!(challenge.status.code(), 401, "{lines}");
        self.digest.authorize(&mut self.rng, &challenge, &mut request).expect("a challenge for us");
        request.headers.set(HeaderName::VIA, format!("SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKr{count}b"));
        self.send(&request)
    }
}

#[test]
fn lifetimes_beyond_any_number_are_cut_to_what_the_registrar_gives() {
    let mut registrar = Registrar::new();
    for lines in [
        "Expires: 4294967295\r\n",
        "Expires: 4294967296\r\n",
        "Expires: 99999999999999999999999999\r\n",
        "Contact: <sip:p@192.0.2.2>;expires=99999999999999999999999999\r\n",
        "Contact: <sip:p@192.0.2.2>;expires=-1\r\n",
        "Contact: <sip:p@192.0.2.2>;q=9999999999\r\n",
    ] {
        let response = registrar.register(lines);
        let granted = response.headers.get(&HeaderName::CONTACT).map(str::to_owned).unwrap_or_default();
        let seconds = granted.split("expires=").nth(1).and_then(|rest| rest.parse::<u64>().ok());
        let code = response.status.code();
        assert!(
            code == 400 || (code == 200 && seconds.is_some_and(|s| (60..=3600).contains(&s))),
            "{lines}: {code} {granted}"
        );
    }
}

#[test]
fn one_user_may_not_fill_the_registrar() {
    let mut registrar = Registrar::new();
    let mut refused = 0;
    for n in 0..40 {
        let response = registrar.register(&format!("Contact: <sip:p{n}@192.0.2.2>\r\n"));
        refused += u32::from(!response.status.is_success());
    }
    let bellwire::fuzz::town::Host::Pbx(pbx) = &registrar.town.nodes[0].host else { panic!("a PBX") };
    assert!(pbx.bindings() <= 10, "{} contacts of one user", pbx.bindings());
    assert!(refused > 0 || pbx.bindings() <= 10);
    let many: String = (0..60).map(|n| format!("Contact: <sip:m{n}@192.0.2.2>\r\n")).collect();
    assert!(!registrar.register(&many).status.is_success(), "sixty at once");
}

/// What a stream brings behind a length that lies is no second message.
#[test]
fn a_content_length_that_lies_on_a_stream_ends_in_silence_or_400_and_the_connection_goes() {
    let body = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\n";
    for (length, first) in [("5", 415), ("0", 200), ("-1", 400), ("65537", 413), ("4294967301", 413)] {
        let mut town = phone();
        let conn = town.accept(0, 1, peer());
        let lines = format!("Content-Type: text/x\r\nContent-Length: {length}\r\n");
        let bytes = [&wire("OPTIONS", &lines)[..], body.as_bytes()].concat();
        town.stream(0, conn, StreamEvent::Data(&bytes));
        assert_eq!(codes(&mut town).first(), Some(&first), "{length}");
        // Whoever hides a request in the rest of a body gets no further than the line it stands in.
        town.advance(Duration::from_secs(11));
        let bellwire::fuzz::town::Host::Ua(ua) = &town.nodes[0].host else { panic!("a phone") };
        assert_eq!(ua.endpoint().connections(), 0, "{length}: the connection is closed");
        town.assert_comes_to_rest();
    }
}

/// Threats B8: calls that nobody acknowledges and calls that nobody answers are bounded, and all go in the end.
#[test]
fn unfinished_calls_are_bounded_and_end_by_themselves() {
    let mut town = phone();
    for n in 0..3_000_u32 {
        let lines = format!("Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKu{n}\r\nCall-ID: u{n}\r\n");
        let source = SocketAddr::from(([198, 51, 100, (n % 250) as u8], 5060));
        town.datagram(0, source, &wire("INVITE", &lines));
        assert!(town.nodes[0].leases <= 4, "{} calls hold sockets", town.nodes[0].leases);
    }
    let rang = town.nodes[0].events.iter().filter(|event| matches!(event, Event::CallIncoming { .. })).count();
    assert_eq!(rang, 4, "as many as may ring");
    let busy = codes(&mut town).iter().filter(|code| **code == 486).count();
    assert!(busy >= 2_900, "{busy} were told so");
    town.advance(Duration::from_secs(61 + 37));
    assert_eq!(town.nodes[0].host.states(), [""; 0], "nothing rings for ever");
    assert!(town.nodes[0].host.is_quiet());
    assert!(town.command(0, Command::Snapshot).is_ok());
}
