//! The zoo of certificates: the real driver against servers with every kind of bad one, over loopback.

use super::super::tests::{CALLER, at, driver, hear, hear_until, scribe};
use super::super::{Bind, Bound, Driver};
use super::*;
use crate::engine::{Flow, FlowVia, Output, Protocol, StreamFault, Transmit};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use tempfile::TempDir;

const DOMAIN: &str = "pbx.example.org";

/// A CA of the test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Shown {
    der: CertificateDer<'static>,
    key: KeyPair,
}

fn ca(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, "the test's server");
    params
}

impl Authority {
    fn sign(&self, params: &CertificateParams) -> Shown {
        let key = KeyPair::generate().expect("a key");
        Shown { der: params.signed_by(&key, &self.0).expect("signed").der().clone(), key }
    }
}

fn alone(params: &CertificateParams) -> Shown {
    let key = KeyPair::generate().expect("a key");
    Shown { der: params.self_signed(&key).expect("signed").der().clone(), key }
}

/// A place for the files of one test, and a CA in `ca.pem`.
struct Lab {
    dir: TempDir,
    ca: Authority,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: TempDir::new().expect("a folder"), ca: ca("The test's CA") };
        lab.file("ca.pem", &lab.ca.0.pem());
        lab
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings { ca: Some(self.dir.path().join("ca.pem")), ..TlsSettings::default() }
    }

    /// Certificate and key as files.
    fn identity(&self, shown: &Shown) -> (PathBuf, PathBuf) {
        let certificate = self.file("own.pem", &pem(&shown.der));
        (certificate, self.file("own-key.pem", &shown.key.serialize_pem()))
    }
}

fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn server_config(shown: &Shown) -> ServerConfig {
    server_with(shown, rustls::ALL_VERSIONS, None)
}

fn server_with(
    shown: &Shown,
    versions: &[&'static rustls::SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> ServerConfig {
    let key = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("a key");
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).expect("versions");
    let builder = match clients {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.0.der().clone()).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
        None => builder.with_no_client_auth(),
    };
    builder.with_single_cert(vec![shown.der.clone()], key).expect("a server")
}

/// A server that echoes what comes over each of `rounds` connections.
fn serve(config: ServerConfig, rounds: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("bound");
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for _ in 0..rounds {
            let Ok((socket, _)) = listener.accept() else { return };
            let Ok(session) = ServerConnection::new(config.clone()) else { return };
            echo(rustls::StreamOwned::new(session, socket));
        }
    });
    addr
}

fn echo(mut stream: rustls::StreamOwned<ServerConnection, TcpStream>) {
    let mut buffer = [0; 1024];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() || stream.flush().is_err() {
            return;
        }
    }
}

/// A server in clear that answers the first bytes with `answer` and closes.
fn speak(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let addr = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let Ok((mut socket, _)) = listener.accept() else { return };
        let _ = socket.read(&mut [0; 1024]);
        let _ = socket.write_all(answer);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = socket.read(&mut [0; 1024]);
    });
    addr
}

/// Connects to `peer` as `domain` and says hello; tells what came of it: `secured …` and the echo, or the fault.
fn try_out(settings: &TlsSettings, peer: SocketAddr, domain: &str) -> Vec<String> {
    let mut driver = driver();
    let id = driver.add_tls(settings).expect("settings");
    let (heard, mut driver) = connect(driver, id, peer, domain);
    let mut all = Vec::new();
    while !all
        .iter()
        .any(|heard: &String| ["untrusted", "failed", "data", "closed"].iter().any(|w| heard.starts_with(w)))
    {
        all.extend(hear(&mut driver, &heard, 1));
    }
    all.retain(|heard| heard != "handshaking" && heard != "writable");
    all
}

fn connect(mut driver: Driver, id: TlsId, peer: SocketAddr, domain: &str) -> (Receiver<String>, Driver) {
    let flow = Flow { protocol: Protocol::Tls, local: at("127.0.0.1:1"), peer, via: FlowVia::Conn(CALLER) };
    let (mut engine, heard) = scribe(move |outputs, heard| {
        if heard.starts_with("secured") {
            outputs.push_back(Output::Transmit(Transmit { bytes: b"hello".to_vec(), flow }));
        }
    });
    let secure = Some(TlsPolicy { domain: domain.into(), settings: id });
    engine.outputs.push_back(Output::Connect { conn: CALLER, protocol: Protocol::Tls, peer, secure });
    driver.add_engine(engine, &Bound::default());
    (heard, driver)
}

fn good(version: &str) -> Vec<String> {
    vec![format!("secured 7 from 127.0.0.1 by {version}"), "data hello".to_owned()]
}

fn bad(fault: TlsFault) -> Vec<String> {
    vec![format!("untrusted {fault:?}")]
}

#[test]
fn certificates_are_taken_and_refused_as_rfc_5922_and_rfc_5280_say() {
    let lab = Lab::new();
    let other = ca("Somebody else's CA");
    let twin = ca("The test's CA"); // the same name, another key
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut changed = params(&[DOMAIN]);
        change(&mut changed);
        lab.ca.sign(&changed)
    };
    let uri = |text: &str| vec![SanType::URI(text.try_into().expect("text"))];
    let day = rcgen::date_time_ymd;
    let plain = || params(&[DOMAIN]);
    let mut self_ca = plain();
    self_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut no_name = CertificateParams::default();
    no_name.distinguished_name.push(DnType::CommonName, DOMAIN);
    let mut mid_params = CertificateParams::default();
    mid_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    mid_params.distinguished_name.push(DnType::CommonName, "In between");
    let middle = CertifiedIssuer::signed_by(mid_params, KeyPair::generate().expect("a key"), &lab.ca.0).expect("a CA");
    let below = Shown { key: KeyPair::generate().expect("a key"), der: CertificateDer::from(Vec::new()) };
    let below = Shown { der: plain().signed_by(&below.key, &middle).expect("signed").der().clone(), ..below };
    let cases: Vec<(&str, Shown, &str, Result<(), TlsFault>)> = vec![
        ("its name as DNS name", lab.ca.sign(&plain()), DOMAIN, Ok(())),
        ("upper case on our side", lab.ca.sign(&plain()), "PBX.Example.org", Ok(())),
        ("its name in upper case", lab.ca.sign(&params(&["PBX.EXAMPLE.ORG"])), DOMAIN, Ok(())),
        ("one of many names", lab.ca.sign(&params(&["a.example.org", DOMAIN, "b.example.org"])), DOMAIN, Ok(())),
        ("a sip: URI", with(&|p| p.subject_alt_names = uri("sip:pbx.example.org")), DOMAIN, Ok(())),
        (
            "a sip: URI with user",
            with(&|p| p.subject_alt_names = uri("sip:bob@pbx.example.org")),
            DOMAIN,
            Err(TlsFault::WrongName),
        ),
        ("a sips: URI", with(&|p| p.subject_alt_names = uri("sips:pbx.example.org")), DOMAIN, Err(TlsFault::WrongName)),
        ("an address for an address", lab.ca.sign(&params(&["127.0.0.1"])), "127.0.0.1", Ok(())),
        ("another address", lab.ca.sign(&params(&["127.0.0.2"])), "127.0.0.1", Err(TlsFault::WrongName)),
        ("a name for an address", lab.ca.sign(&plain()), "127.0.0.1", Err(TlsFault::WrongName)),
        ("another name", lab.ca.sign(&params(&["other.example.org"])), DOMAIN, Err(TlsFault::WrongName)),
        (
            "the name that DNS gave (SRV target)",
            lab.ca.sign(&params(&["sip1.hoster.example"])),
            DOMAIN,
            Err(TlsFault::WrongName),
        ),
        ("a name that ends like ours", lab.ca.sign(&params(&["xpbx.example.org"])), DOMAIN, Err(TlsFault::WrongName)),
        ("the domain above", lab.ca.sign(&params(&["example.org"])), DOMAIN, Err(TlsFault::WrongName)),
        ("a wildcard", lab.ca.sign(&params(&["*.example.org"])), DOMAIN, Err(TlsFault::Wildcard)),
        ("only a common name", lab.ca.sign(&no_name), DOMAIN, Err(TlsFault::NoName)),
        (
            "expired",
            with(&|p| (p.not_before, p.not_after) = (day(2019, 1, 1), day(2020, 1, 1))),
            DOMAIN,
            Err(TlsFault::Expired),
        ),
        ("not yet valid", with(&|p| p.not_before = day(2090, 1, 1)), DOMAIN, Err(TlsFault::NotYetValid)),
        ("self-signed", alone(&plain()), DOMAIN, Err(TlsFault::SelfSigned)),
        ("self-signed as openssl does", alone(&self_ca), DOMAIN, Err(TlsFault::SelfSigned)),
        ("an unknown CA", other.sign(&plain()), DOMAIN, Err(TlsFault::UnknownAuthority)),
        ("a CA of the right name with another key", twin.sign(&plain()), DOMAIN, Err(TlsFault::UnknownAuthority)),
        ("a chain with a gap", below, DOMAIN, Err(TlsFault::UnknownAuthority)),
        (
            "for clients",
            with(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            DOMAIN,
            Err(TlsFault::WrongPurpose),
        ),
        ("for servers", with(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), DOMAIN, Ok(())),
    ];
    assert!(cases.len() >= 25);
    for (what, shown, domain, verdict) in cases {
        let heard = try_out(&lab.settings(), serve(server_config(&shown), 1), domain);
        match verdict {
            Ok(()) => assert_eq!(heard, good("TLS 1.3"), "{what}"),
            Err(fault) => {
                // A broken chain may be told as broken or as unknown.
                let broken = fault == TlsFault::UnknownAuthority && heard == bad(TlsFault::BadCertificate);
                assert!(heard == bad(fault) || broken, "{what}: {heard:?}");
            }
        }
    }
}

#[test]
fn wildcards_pins_and_self_signed_certificates_are_trusted_where_that_is_asked_for() {
    let lab = Lab::new();
    let stranger = ca("Somebody else's CA").sign(&params(&["other.example"]));
    let mut self_ca = params(&[DOMAIN]);
    self_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (own, old) = (alone(&self_ca), {
        let mut old = params(&[DOMAIN]);
        (old.not_before, old.not_after) = (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
        alone(&old)
    });
    let pin = |bytes: &[u8]| TlsSettings { pin: Some(Sha256::digest(bytes).into()), ..TlsSettings::default() };
    let key_info = certificate::Certificate::read(&stranger.der).expect("a certificate").key_info.to_vec();
    let own_file = |name: &str, shown: &Shown| TlsSettings {
        ca: Some(lab.file(name, &pem(&shown.der))),
        ..TlsSettings::default()
    };
    let wild = lab.ca.sign(&params(&["*.example.org"]));
    let allowed = TlsSettings { wildcards: true, ..lab.settings() };
    let cases: Vec<(&str, TlsSettings, &Shown, Result<(), TlsFault>)> = vec![
        ("a wildcard that is allowed", allowed, &wild, Ok(())),
        ("the pinned certificate, whatever its name", pin(&stranger.der), &stranger, Ok(())),
        ("the pinned key", pin(&key_info), &stranger, Ok(())),
        ("the pinned certificate, whatever its age", pin(&old.der), &old, Ok(())),
        ("another one than the pinned", pin(&own.der), &stranger, Err(TlsFault::PinMismatch)),
        ("the very certificate in tls_ca", own_file("own.pem", &own), &own, Ok(())),
        ("the very certificate, run out", own_file("old.pem", &old), &old, Err(TlsFault::Expired)),
    ];
    for (what, settings, shown, verdict) in cases {
        let heard = try_out(&settings, serve(server_config(shown), 1), DOMAIN);
        let expected = verdict.map_or_else(bad, |()| good("TLS 1.3"));
        assert_eq!(heard, expected, "{what}");
    }
}

#[test]
fn both_versions_of_tls_are_spoken_and_none_below() {
    let lab = Lab::new();
    let shown = lab.ca.sign(&params(&[DOMAIN]));
    for (version, name) in [(&rustls::version::TLS12, "TLS 1.2"), (&rustls::version::TLS13, "TLS 1.3")] {
        let server = server_with(&shown, &[version], None);
        assert_eq!(try_out(&lab.settings(), serve(server, 1), DOMAIN), good(name));
    }
    // A ServerHello of TLS 1.1 (§7.4.1.3 of RFC 4346): version 3.2, no session, a CBC suite.
    let mut hello = b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\xc0\x13\x00");
    let old = speak(Box::leak(hello.into_boxed_slice()));
    assert_eq!(try_out(&lab.settings(), old, DOMAIN), bad(TlsFault::Version));
    assert_eq!(try_out(&lab.settings(), speak(b"\x15\x03\x03\x00\x02\x02\x46"), DOMAIN), bad(TlsFault::Version));
}

#[test]
fn what_is_no_tls_or_ends_early_is_told_apart() {
    let lab = Lab::new();
    for (what, answer, fault) in [
        ("SIP in clear", &b"SIP/2.0 400 Bad Request\r\n\r\n"[..], TlsFault::NotTls),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsFault::NotTls),
        ("zeros", &[0; 600], TlsFault::NotTls),
        ("nothing", b"", TlsFault::Closed),
        ("half a record", b"\x16\x03\x03\x40\x00\x02", TlsFault::Closed),
        ("handshake failure", b"\x15\x03\x03\x00\x02\x02\x28", TlsFault::Handshake),
        ("unrecognised name", b"\x15\x03\x03\x00\x02\x02\x70", TlsFault::Refused),
    ] {
        assert_eq!(try_out(&lab.settings(), speak(answer), DOMAIN), bad(fault), "{what}");
    }
}

#[test]
fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let lab = Lab::new();
    let shown = lab.ca.sign(&params(&[DOMAIN]));
    let mine = lab.identity(&lab.ca.sign(&params(&["alice"])));
    let with_mine = TlsSettings { identity: Some(mine), ..lab.settings() };
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    for version in versions {
        let server = || server_with(&shown, &[version], Some(&lab.ca));
        let heard = try_out(&with_mine, serve(server(), 1), DOMAIN);
        assert_eq!(heard.last().map(String::as_str), Some("data hello"), "{version:?}");
        let heard = try_out(&lab.settings(), serve(server(), 1), DOMAIN);
        let last = heard.last().cloned().unwrap_or_default();
        let told = [TlsFault::ClientCertificateWanted, TlsFault::Handshake].map(|fault| format!("untrusted {fault:?}"));
        assert!(told.contains(&last), "{version:?}: {heard:?}");
    }
    let theirs = lab.identity(&ca("Nobody").sign(&params(&["mallory"])));
    let heard = try_out(
        &TlsSettings { identity: Some(theirs), ..lab.settings() },
        serve(server_with(&shown, rustls::ALL_VERSIONS, Some(&lab.ca)), 1),
        DOMAIN,
    );
    assert_eq!(heard.last(), bad(TlsFault::ClientCertificateRefused).last());
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let lab = Lab::new();
    let shown = lab.ca.sign(&params(&[DOMAIN]));
    let peer = serve(server_config(&shown), 2);
    let mut tls = Tls::new();
    let id = tls.add(&lab.settings()).expect("settings");
    let policy = TlsPolicy { domain: DOMAIN.into(), settings: id };
    let mut resumed = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(peer).expect("connected");
        let mut session = tls.client(&policy).expect("a session");
        let (mut queue, mut buffer) = (Vec::new(), [0; 64]);
        session.seal(b"hello", &mut queue);
        let length = loop {
            session.drain(&mut queue);
            socket.write_all(&std::mem::take(&mut queue)).expect("sent");
            match session.open(&mut buffer) {
                Ok(length) => break length,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            session.feed(&mut socket).expect("received");
            assert!(session.process().is_ok());
        };
        assert_eq!(&buffer[..length], b"hello");
        resumed.push(session.info().resumed);
    }
    assert_eq!(resumed, [false, true]);
}

#[test]
fn a_listener_serves_tls_and_throws_out_what_is_none() {
    let lab = Lab::new();
    let (certificate, key) = lab.identity(&lab.ca.sign(&params(&[DOMAIN])));
    let mut driver = driver();
    driver.serve_tls(&certificate, &key).expect("a certificate");
    let bound = driver.bind(&[Bind { protocol: Protocol::Tls, addr: at("127.0.0.1:0") }]).expect("bound");
    let peer = bound.listeners[0].local;
    let id = driver.add_tls(&lab.settings()).expect("settings");
    let (one, mut driver) = connect(driver, id, peer, DOMAIN);
    let (engine, two) = scribe(|_, _| ());
    driver.add_engine(engine, &bound);
    let mut heard = hear(&mut driver, &two, 3);
    assert_eq!(heard.remove(0), "accepted 80000000");
    assert_eq!(heard, ["secured 80000000 from 127.0.0.1 by TLS 1.3", "data hello"]);
    assert!(one.try_iter().any(|heard| heard.starts_with("secured 7")));
    // Garbage, and somebody who leaves in the middle of a hello.
    let mut garbage = TcpStream::connect(peer).expect("connected");
    garbage.write_all(b"OPTIONS sip:pbx SIP/2.0\r\n\r\n").expect("sent");
    let first = hear(&mut driver, &two, 1);
    assert_eq!(hear_until(&mut driver, &two, first, "untrusted"), "untrusted NotTls");
    let mut half = TcpStream::connect(peer).expect("connected");
    half.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
    drop(half);
    let first = hear(&mut driver, &two, 1);
    assert_eq!(hear_until(&mut driver, &two, first, "untrusted"), "untrusted Closed");
}

#[test]
fn a_connection_that_ends_in_the_middle_of_a_record_is_closed() {
    let lab = Lab::new();
    let shown = lab.ca.sign(&params(&[DOMAIN]));
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let peer = listener.local_addr().expect("bound");
    let config = Arc::new(server_config(&shown));
    std::thread::spawn(move || {
        let Ok((mut socket, _)) = listener.accept() else { return };
        let Ok(mut session) = ServerConnection::new(config) else { return };
        while session.is_handshaking() {
            if session.complete_io(&mut socket).is_err() {
                return;
            }
        }
        let mut sealed = Vec::new();
        let _ = session.writer().write_all(&[b'x'; 1000]);
        let _ = session.write_tls(&mut sealed);
        let _ = socket.write_all(&sealed[..sealed.len() / 2]);
        let _ = socket.shutdown(std::net::Shutdown::Both);
    });
    let heard = try_out(&lab.settings(), peer, DOMAIN);
    let last = heard.last().cloned().unwrap_or_default();
    assert!(last == "closed" || last == format!("failed {:?}", StreamFault::Reset), "{heard:?}");
}

#[test]
fn files_that_cannot_be_used_are_told_with_their_name() {
    let lab = Lab::new();
    let (certificate, key) = lab.identity(&lab.ca.sign(&params(&[DOMAIN])));
    let other = lab.file("other-key.pem", &KeyPair::generate().expect("a key").serialize_pem());
    let (missing, empty) = (lab.dir.path().join("missing.pem"), lab.file("empty.pem", "nothing\n"));
    let mut tls = Tls::new();
    let mut cause = |settings: TlsSettings| tls.add(&settings).expect_err("it cannot be used").cause;
    let with_ca = |file: &PathBuf| TlsSettings { ca: Some(file.clone()), ..TlsSettings::default() };
    assert_eq!(cause(with_ca(&missing)), "No such file or directory");
    assert_eq!(cause(with_ca(&empty)), "there is no certificate in it (PEM: `-----BEGIN …`)");
    let with_key = |key: &PathBuf| TlsSettings { identity: Some((certificate.clone(), key.clone())), ..lab.settings() };
    assert_eq!(cause(with_key(&other)), "the key does not belong to the certificate");
    assert_eq!(cause(with_key(&empty)), "there is no private key in it (PEM: `-----BEGIN …`)");
    assert!(tls.serve(&certificate, &key).is_ok() && tls.serve(&missing, &key).is_err());
}
