//! Registrations against a scripted registrar and against the PBX: digest, lifetimes, failures, losses.

use crate::calls::{answered, ended, incoming, phone, ringing_call};
use crate::kit::network::Link;
use crate::kit::script::{Heard, Server};
use crate::kit::{NodeId, World};
use bellwire::api::{Command, Event};
use bellwire::id::AccountId;
use bellwire::pbx::{PbxConfig, PbxUser};
use bellwire::secret::Secret;
use bellwire::sip::auth::{Credentials, Fields};
use bellwire::sip::message::{Contacts, HeaderName, Message, Method, Request, StatusCode};
use bellwire::time::Duration;
use bellwire::ua::{AccountConfig, UaConfig};
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

const SERVER: &str = "10.0.0.100";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A phone of `user` at the server `host` with `password`.
pub fn account(user: &str, host: &str, password: &str) -> UaConfig {
    let uri = |text: String| text.parse().expect("a URI");
    let mut account = AccountConfig::new("work", uri(format!("sip:{user}@{host}")), uri(format!("sip:{host}")));
    let password = Secret::new(password.to_owned());
    account.credentials = Some(Credentials { user: user.to_owned(), password, realm: None });
    account.audio = phone().default_audio;
    UaConfig { accounts: vec![account], ..phone() }
}

/// A PBX for these users; the password of each is `NAME-secret`.
pub fn users(names: &[&str]) -> PbxConfig {
    let realm = "pbx.example";
    let user = |name: &&str| PbxUser::new(name, realm, &Secret::new(format!("{name}-secret")));
    PbxConfig { realm: realm.to_owned(), users: names.iter().map(user).collect(), ..PbxConfig::default() }
}

pub fn registered(event: &Event) -> bool {
    matches!(event, Event::Registered { .. })
}

pub fn failed(event: &Event) -> bool {
    matches!(event, Event::RegistrationFailed { .. })
}

fn alone() -> (World, NodeId, Server) {
    let mut world = World::new(1);
    let registrar = Server::new(&mut world, "registrar", SERVER);
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", SERVER, "open sesame"));
    (world, alice, registrar)
}

/// The digest of RFC 7616 §3.4.1 with qop=auth, written down once more, apart from the program's own.
fn digest(algorithm: &str, credentials: &Fields, method: &str, password: &str) -> String {
    fn hash<D: Digest>(text: &str) -> String {
        D::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
    let h = |text: String| match algorithm {
        "MD5" => hash::<Md5>(&text),
        "SHA-256" => hash::<Sha256>(&text),
        "SHA-512-256" => hash::<Sha512_256>(&text),
        other => panic!("{other} is not asked for here"),
    };
    let field = |name| credentials.get(name).unwrap_or_else(|| panic!("no {name} in {credentials:?}"));
    let ha1 = h(format!("{}:{}:{password}", field("username"), field("realm")));
    let ha2 = h(format!("{method}:{}", field("uri")));
    h(format!("{ha1}:{}:{}:{}:auth:{ha2}", field("nonce"), field("nc"), field("cnonce")))
}

fn credentials(request: &Request, name: HeaderName) -> Fields {
    let value = request.headers.get(&name).unwrap_or_else(|| panic!("no {name:?} in {request:?}"));
    Fields::parse(value).expect("credentials that can be read")
}

#[test]
fn every_algorithm_gives_the_digest_of_the_rfc_and_the_nonce_count_grows() {
    for algorithm in ["MD5", "SHA-256", "SHA-512-256"] {
        let (mut world, alice, registrar) = alone();
        let challenge = |nonce: &str, more: &str| {
            format!(
                "Digest realm=\"Büro, \\\"A\\\"\", nonce=\"{nonce}\", opaque=\"op\", qop=\"auth,auth-int\", algorithm={algorithm}{more}"
            )
        };
        let check = |heard: &Heard, nonce: &str, count: &str| {
            let fields = credentials(&heard.request, HeaderName::AUTHORIZATION);
            assert_eq!(fields.get("response"), Some(&*digest(algorithm, &fields, "REGISTER", "open sesame")));
            assert_eq!((fields.get("nonce"), fields.get("nc")), (Some(nonce), Some(count)), "{algorithm}");
            assert_eq!((fields.get("algorithm"), fields.get("opaque")), (Some(algorithm), Some("op")));
            assert_eq!(fields.get("uri"), Some("sip:10.0.0.100"));
            fields.get("cnonce").expect("a cnonce").to_owned()
        };

        let first = registrar.request(&mut world, Method::Register);
        assert!(!first.request.headers.has(&HeaderName::AUTHORIZATION), "nobody asked yet");
        registrar.reply(&mut world, &first, 401, &[(HeaderName::WWW_AUTHENTICATE, &challenge("n1", ""))]);
        let second = registrar.request(&mut world, Method::Register);
        check(&second, "n1", "00000001");
        let seq = |heard: &Heard| heard.request.headers.cseq().expect("CSeq").seq;
        assert_eq!(seq(&second), seq(&first) + 1);
        assert_eq!(first.request.headers.call_id().ok(), second.request.headers.call_id().ok());
        registrar.accept(&mut world, &second, 100);
        world.run_until(alice, registered);

        // The nonce goes on being used, each time with the next count, in hexadecimal.
        for count in 2..=11_u32 {
            let refresh = registrar.request(&mut world, Method::Register);
            check(&refresh, "n1", &format!("{count:08x}"));
            registrar.accept(&mut world, &refresh, 100);
        }
        // Stale: the same password for the new nonce, at once, and the count begins again.
        let refresh = registrar.request(&mut world, Method::Register);
        registrar.reply(&mut world, &refresh, 401, &[(HeaderName::WWW_AUTHENTICATE, &challenge("n2", ", stale=TRUE"))]);
        let again = registrar.request(&mut world, Method::Register);
        check(&again, "n2", "00000001");
        registrar.accept(&mut world, &again, 100);
        world.run_for(secs(1));
        assert!(!world.events(alice).into_iter().any(failed), "{:?}", world.events(alice));
        world.assert_quiet();
    }
}

#[test]
fn of_several_challenges_the_strongest_known_one_is_answered_once() {
    let (mut world, alice, registrar) = alone();
    let first = registrar.request(&mut world, Method::Register);
    registrar.reply(
        &mut world,
        &first,
        401,
        &[
            (HeaderName::WWW_AUTHENTICATE, "Basic realm=\"pbx\""),
            (HeaderName::WWW_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"md5\", qop=\"auth\", algorithm=MD5"),
            (HeaderName::WWW_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"sha\", qop=\"auth\", algorithm=SHA-256"),
            (HeaderName::WWW_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"new\", qop=\"auth\", algorithm=SHA3-999"),
        ],
    );
    let second = registrar.request(&mut world, Method::Register);
    let fields = credentials(&second.request, HeaderName::AUTHORIZATION);
    assert_eq!((fields.get("algorithm"), fields.get("nonce")), (Some("SHA-256"), Some("sha")));
    assert_eq!(second.request.headers.get_all(&HeaderName::AUTHORIZATION).count(), 1);
    registrar.accept(&mut world, &second, 600);
    world.run_until(alice, registered);
}

#[test]
fn a_registrar_and_a_proxy_that_both_ask_both_get_an_answer() {
    let (mut world, alice, registrar) = alone();
    let first = registrar.request(&mut world, Method::Register);
    registrar.reply(
        &mut world,
        &first,
        407,
        &[(HeaderName::PROXY_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"p\", qop=\"auth\", algorithm=MD5")],
    );
    let second = registrar.request(&mut world, Method::Register);
    assert_eq!(credentials(&second.request, HeaderName::PROXY_AUTHORIZATION).get("nonce"), Some("p"));
    registrar.reply(
        &mut world,
        &second,
        401,
        &[(HeaderName::WWW_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"s\", qop=\"auth\", algorithm=MD5")],
    );
    let third = registrar.request(&mut world, Method::Register);
    assert_eq!(credentials(&third.request, HeaderName::AUTHORIZATION).get("nonce"), Some("s"));
    let proxy = credentials(&third.request, HeaderName::PROXY_AUTHORIZATION);
    assert_eq!(proxy.get("nonce"), Some("p"), "the proxy is still on the way");
    registrar.accept(&mut world, &third, 600);
    world.run_until(alice, registered);
}

#[test]
fn only_a_stranger_realm_or_an_unknown_algorithm_ends_the_attempt_without_a_password_shown() {
    for header in
        ["Digest realm=\"pbx\", nonce=\"n\", algorithm=SHA3-999", "Basic realm=\"pbx\"", "Bearer realm=\"pbx\""]
    {
        let (mut world, alice, registrar) = alone();
        let first = registrar.request(&mut world, Method::Register);
        registrar.reply(&mut world, &first, 401, &[(HeaderName::WWW_AUTHENTICATE, header)]);
        let Event::RegistrationFailed { failure, retry_s: None, .. } = world.run_until(alice, failed) else { panic!() };
        assert_eq!(failure.slug, "auth.unsupported", "{header}");
        registrar.silence(&mut world, secs(3600));
    }
}

#[test]
fn a_wrong_password_is_tried_once_and_never_again_by_itself() {
    let mut world = World::new(2);
    let pbx = world.pbx("pbx", &[SERVER], users(&["alice"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", SERVER, "wrong"));
    let Event::RegistrationFailed { failure, retry_s: None, .. } = world.run_until(alice, failed) else { panic!() };
    assert_eq!(failure.slug, "auth.wrong-password");
    let tried = |world: &World| {
        let sent = world.ladder.iter().filter(|arrow| arrow.from == "alice");
        let all: Vec<_> = sent.filter(|arrow| arrow.text.contains("Authorization: Digest")).collect();
        all.iter().map(|arrow| arrow.text.clone()).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(tried(&world), 1);
    world.run_for(secs(4 * 3600));
    assert_eq!(tried(&world), 1, "the password has not become right meanwhile");
    // A command tries again, once.
    world.command(alice, Command::Register { account: None }).unwrap();
    world.run_until(alice, failed);
    world.run_for(secs(3600));
    assert_eq!(tried(&world), 2);
    assert_eq!(world.pbx_of(pbx).bindings(), 0);
    world.assert_quiet();
}

#[test]
fn a_phone_stays_registered_for_a_day_though_each_nonce_ends_after_five_minutes() {
    let mut world = World::new(10);
    let pbx = world.pbx("pbx", &[SERVER], users(&["alice"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", SERVER, "alice-secret"));
    world.run_until(alice, registered);
    world.run_for(secs(24 * 3600));
    assert_eq!(world.pbx_of(pbx).bindings(), 1);
    assert!(!world.events(alice).into_iter().any(failed), "{:?}", world.events(alice));
    assert!(world.ladder.iter().any(|arrow| arrow.text.contains("stale=true")), "no nonce ever went stale");
    world.command(alice, Command::Stop).unwrap();
    world.run_until(alice, |event| matches!(event, Event::Stopped));
    world.assert_quiet();
}

#[test]
fn a_server_that_calls_every_nonce_stale_is_given_up() {
    let (mut world, alice, registrar) = alone();
    let mut asked = 0;
    let end = world.now + secs(60);
    while world.now < end {
        world.run_for(Duration::from_millis(100));
        for heard in registrar.requests(&mut world) {
            asked += 1;
            let header = format!("Digest realm=\"r\", nonce=\"n{asked}\", stale=true, algorithm=MD5, qop=\"auth\"");
            registrar.reply(&mut world, &heard, 401, &[(HeaderName::WWW_AUTHENTICATE, &header)]);
        }
    }
    assert!((2..=6).contains(&asked), "{asked} requests");
    assert!(world.events(alice).into_iter().any(failed));
}

#[test]
fn an_interval_too_brief_is_raised_and_kept() {
    let (mut world, alice, registrar) = alone();
    let first = registrar.request(&mut world, Method::Register);
    assert_eq!(first.request.headers.expires(), Some(600));
    registrar.reply(&mut world, &first, 423, &[(HeaderName::MIN_EXPIRES, "7200")]);
    let second = registrar.request(&mut world, Method::Register);
    assert_eq!(second.request.headers.expires(), Some(7200));
    registrar.accept(&mut world, &second, 7200);
    assert!(matches!(world.run_until(alice, registered), Event::Registered { expires: 7200, .. }));
    world.run_for(secs(5000));
    let refresh = {
        world.run_for(secs(7200 - 5000));
        registrar.requests(&mut world)
    };
    assert_eq!(refresh.first().map(|heard| heard.request.headers.expires()), Some(Some(7200)), "no second 423 needed");
}

#[test]
fn the_pbx_raises_a_brief_interval_too() {
    let mut world = World::new(3);
    world.pbx("pbx", &[SERVER], users(&["alice"]));
    let mut config = account("alice", SERVER, "alice-secret");
    config.accounts[0].expires = secs(10);
    let alice = world.ua("alice", &["10.0.0.1"], config);
    assert!(matches!(world.run_until(alice, registered), Event::Registered { expires: 60, .. }));
}

#[test]
fn a_refresh_comes_between_80_and_90_percent_of_what_was_granted_not_of_what_was_asked() {
    for granted in [60_u32, 130, 3600] {
        let (mut world, alice, registrar) = alone();
        let mut heard = registrar.request(&mut world, Method::Register);
        for round in 0..5 {
            let at = world.now;
            registrar.accept(&mut world, &heard, granted);
            let event = world.run_until(alice, registered);
            assert!(
                matches!(event, Event::Registered { expires, refreshed, .. } if expires == granted && refreshed == (round > 0))
            );
            let next = registrar.patient_request(&mut world, secs(granted.into()));
            let share = next.at.since(at).as_secs_f64() / f64::from(granted);
            assert!((0.8..=0.91).contains(&share), "refreshed at {share} of {granted} s");
            heard = next;
        }
        assert!(world.events(alice).iter().all(|event| !matches!(event, Event::Unregistered { .. })));
    }
}

#[test]
fn the_expires_header_counts_where_the_contact_has_none_and_foreign_contacts_are_not_ours() {
    let (mut world, alice, registrar) = alone();
    let heard = registrar.request(&mut world, Method::Register);
    let ours = heard.request.headers.contact().expect("a contact").uri.to_string();
    registrar.reply(
        &mut world,
        &heard,
        200,
        &[
            (HeaderName::CONTACT, "<sip:alice@10.9.9.9>;expires=17"),
            (HeaderName::CONTACT, &format!("<{ours}>")),
            (HeaderName::EXPIRES, "321"),
        ],
    );
    assert!(matches!(world.run_until(alice, registered), Event::Registered { expires: 321, .. }));
}

/// What the registrar says each time, and after how long the phone tries again.
fn waits(code: u16, headers: &[(HeaderName, &str)], rounds: usize) -> Vec<f64> {
    let (mut world, alice, registrar) = alone();
    let mut waits = Vec::new();
    let mut heard = registrar.request(&mut world, Method::Register);
    for _ in 0..rounds {
        let at = world.now;
        registrar.reply(&mut world, &heard, code, headers);
        let Event::RegistrationFailed { retry_s: Some(told), .. } = world.run_until(alice, failed) else { panic!() };
        heard = registrar.patient_request(&mut world, secs(4000));
        let waited = heard.at.since(at).as_secs_f64();
        assert!((waited - f64::from(told)).abs() < 2.0, "told {told} s, waited {waited}");
        waits.push(waited);
    }
    waits
}

#[test]
fn server_failures_are_met_with_longer_and_longer_pauses() {
    for code in [408, 480, 500, 502, 503, 504, 600, 603] {
        let waits = waits(code, &[], 8);
        for (n, wait) in waits.iter().enumerate() {
            let upper = (30.0 * 2_f64.powi(n as i32)).min(1800.0);
            assert!((upper * 0.49..=upper * 1.01).contains(wait), "{code}: try {n} after {wait} s of {upper}");
        }
    }
    let waits = waits(503, &[(HeaderName::RETRY_AFTER, "777")], 3);
    assert!(waits.iter().all(|wait| (776.0..=779.0).contains(wait)), "{waits:?}");
}

#[test]
fn no_answer_of_a_server_makes_a_phone_hammer_it() {
    let codes = [
        300, 301, 302, 305, 380, 400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416, 420, 421, 423,
        480, 482, 483, 484, 486, 488, 491, 493, 494, 500, 501, 502, 503, 504, 505, 513, 600, 603, 604, 606,
    ];
    for code in codes {
        let (mut world, alice, registrar) = alone();
        let end = world.now + secs(300);
        let mut requests = 0;
        while world.now < end {
            world.run_for(secs(1));
            for heard in registrar.requests(&mut world) {
                requests += 1;
                registrar.reply(
                    &mut world,
                    &heard,
                    code,
                    &[(HeaderName::WWW_AUTHENTICATE, "Digest realm=\"r\", nonce=\"n\", algorithm=MD5, qop=\"auth\"")],
                );
            }
        }
        assert!(requests <= 8, "{code}: {requests} requests in 5 min");
        assert!(world.events(alice).into_iter().any(failed), "{code}: the user is told");
        world.assert_quiet();
    }
}

#[test]
fn only_our_own_binding_is_taken_back() {
    let mut world = World::new(5);
    let pbx = world.pbx("pbx", &[SERVER], users(&["alice", "bob"]));
    let desk = world.ua("desk", &["10.0.0.1"], account("alice", SERVER, "alice-secret"));
    let mobile = world.ua("mobile", &["10.0.0.2"], account("alice", SERVER, "alice-secret"));
    let bob = world.ua("bob", &["10.0.0.3"], account("bob", SERVER, "bob-secret"));
    for phone in [desk, mobile, bob] {
        world.run_until(phone, registered);
    }
    assert_eq!(world.pbx_of(pbx).bindings(), 3);
    world.command(desk, Command::Unregister { account: None }).unwrap();
    world.run_until(desk, |event| matches!(event, Event::Unregistered { account: AccountId(0) }));
    assert_eq!(world.pbx_of(pbx).bindings(), 2);
    let last = world.ladder.iter().rfind(|arrow| arrow.from == "desk").expect("its REGISTER");
    let Ok(Message::Request(request)) = Message::parse(last.text.as_bytes()) else { panic!("{}", last.text) };
    assert!(matches!(request.headers.contacts(), Ok(Contacts::List(list)) if list.len() == 1), "never `*`");

    let call = world.dial(bob, "sip:alice@10.0.0.100");
    incoming(&mut world, mobile);
    world.run_for(secs(5));
    assert!(!world.events(desk).into_iter().any(ringing_call), "it has left");
    world.command(bob, Command::HangUp { call }).unwrap();
    // Registered again when told so.
    world.command(desk, Command::Register { account: Some(AccountId(0)) }).unwrap();
    world.run_until(desk, registered);
    assert_eq!(world.pbx_of(pbx).bindings(), 3);
    for phone in [desk, mobile, bob] {
        world.command(phone, Command::Stop).unwrap();
        world.run_until(phone, |event| matches!(event, Event::Stopped));
    }
    assert_eq!(world.pbx_of(pbx).bindings(), 0);
    world.assert_quiet();
}

#[test]
fn a_stop_before_the_first_answer_leaves_no_binding_behind() {
    let mut world = World::new(6);
    let pbx = world.pbx("pbx", &[SERVER], users(&["alice"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", SERVER, "alice-secret"));
    world.link(pbx, alice, Link::default().latency_ms(200));
    world.run_for(Duration::from_millis(650)); // the second REGISTER is on its way, or has just come
    world.command(alice, Command::Stop).unwrap();
    world.run_until(alice, |event| matches!(event, Event::Stopped));
    world.run_for(secs(5));
    assert_eq!(world.pbx_of(pbx).bindings(), 0);
    world.assert_quiet();
}

#[test]
fn a_registrar_that_comes_back_is_found_again() {
    // Outage in seconds, and how long after its end the registration may take (RFC 5626 §4.5: 30 s doubled, up to 1800 s).
    for (outage, most) in [(10_u64, 700_u64), (120, 700), (1800, 1900), (4 * 3600, 1900)] {
        let mut world = World::new(7);
        let pbx = world.pbx("pbx", &[SERVER], users(&["alice"]));
        let alice = world.ua("alice", &["10.0.0.1"], account("alice", SERVER, "alice-secret"));
        world.run_until(alice, registered);
        world.link(pbx, alice, Link::default().cut());
        world.run_for(secs(outage));
        // The server was not only away, it has also forgotten everything.
        world.restart_pbx(pbx, users(&["alice"]));
        world.link(pbx, alice, Link::default());
        let back = world.now;
        while world.pbx_of(pbx).bindings() == 0 && world.now.since(back) <= secs(most) {
            world.run_for(secs(1));
        }
        let took = world.now.since(back).as_secs();
        assert!(took <= most, "{outage} s away: registered again {took} s after its return");
        if outage > 700 {
            let events = world.events(alice);
            assert!(
                events.iter().any(|event| matches!(event, Event::Unregistered { .. })),
                "it was told that it is gone"
            );
            assert!(events.into_iter().any(failed));
        }
    }
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let mut world = World::new(8);
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", "pbx.example", "alice-secret"));
    let Event::RegistrationFailed { failure, .. } = world.run_until(alice, failed) else { panic!() };
    assert_eq!(failure.slug, "net.dns", "the name is not known yet");
    let pbx = world.pbx("pbx.example", &[SERVER], users(&["alice"]));
    let back = world.now;
    world.run_until(alice, registered);
    assert!(world.now.since(back) < secs(90));
    assert_eq!(world.pbx_of(pbx).bindings(), 1);
}

#[test]
fn a_hundred_phones_do_not_come_back_all_at_once() {
    let mut world = World::new(9);
    let names: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let pbx = world.pbx("pbx", &[SERVER], users(&names));
    let phones: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let ip = format!("10.0.1.{n}");
            world.ua(name, &[&ip], account(name, SERVER, &format!("{name}-secret")))
        })
        .collect();
    world.run_for(secs(5));
    assert_eq!(world.pbx_of(pbx).bindings(), 100);
    for phone in &phones {
        world.link(pbx, *phone, Link::default().cut());
    }
    world.run_for(secs(900));
    for phone in &phones {
        world.link(pbx, *phone, Link::default());
    }
    let back = world.now;
    let before = world.ladder.len();
    world.run_for(secs(600));
    assert_eq!(world.pbx_of(pbx).bindings(), 100);
    let mut seconds = std::collections::BTreeMap::<u64, std::collections::BTreeSet<String>>::new();
    for arrow in world.ladder[before..].iter().filter(|arrow| arrow.from == "pbx" && arrow.line.contains("200")) {
        seconds.entry(arrow.at.since(back).as_secs()).or_default().insert(arrow.to.to_string());
    }
    let most = seconds.values().map(std::collections::BTreeSet::len).max().unwrap_or(0);
    assert!(most <= 10, "{most} phones in one second: {seconds:?}");
}

#[test]
fn nobody_but_the_own_server_ever_sees_a_digest() {
    let mut world = World::new(11);
    world.pbx("pbx", &[SERVER], users(&["alice"]));
    let eve = Server::new(&mut world, "eve", "10.66.6.6");
    let mut config = account("alice", SERVER, "alice-secret");
    config.accept_any = true;
    let alice = world.ua("alice", &["10.0.0.1"], config);
    world.run_until(alice, registered);
    for realm in ["pbx.example", "eve"] {
        for (code, name) in [(401, HeaderName::WWW_AUTHENTICATE), (407, HeaderName::PROXY_AUTHENTICATE)] {
            let challenge = format!("Digest realm=\"{realm}\", nonce=\"n\", qop=\"auth\", algorithm=MD5");
            // A call to eve that she challenges.
            world.dial(alice, "sip:eve@10.66.6.6");
            let invite = eve.request(&mut world, Method::Invite);
            eve.reply(&mut world, &invite, code, &[(name.clone(), &challenge)]);
            world.run_until(alice, ended);
            // One that she takes, and whose BYE she challenges.
            let call = world.dial(alice, "sip:eve@10.66.6.6");
            let invite = loop {
                let (from, text) = world.hear(eve.0);
                if let Ok(Message::Request(request)) = Message::parse(text.as_bytes())
                    && request.method == Method::Invite
                {
                    break Heard { at: world.now, from, request };
                }
            };
            let status = StatusCode::OK;
            let mut ok = bellwire::sip::message::Response::to(&invite.request, status, Some("e"));
            ok.headers.push(HeaderName::CONTACT, "<sip:eve@10.66.6.6>");
            ok.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
            ok.body = crate::kit::hand::sdp("10.66.6.6", 4000, "0", "sendrecv", 1).into();
            eve.send(&mut world, &invite, &ok);
            world.run_until(alice, answered);
            world.command(alice, Command::HangUp { call }).unwrap();
            world.run_until(alice, ended);
            for _ in 0..3 {
                world.run_for(secs(1));
                while let Some((from, text)) = world.hear_now(eve.0) {
                    let Ok(Message::Request(request)) = Message::parse(text.as_bytes()) else { continue };
                    if request.method == Method::Bye {
                        let heard = Heard { at: world.now, from, request };
                        eve.reply(&mut world, &heard, code, &[(name.clone(), &challenge)]);
                    }
                }
            }
            // And a question.
            world.command(alice, Command::Ping { target: "sip:10.66.6.6".into() }).unwrap();
            let question = eve.request(&mut world, Method::Options);
            eve.reply(&mut world, &question, code, &[(name.clone(), &challenge)]);
            world.run_for(secs(40));
            world.taken(eve.0);
        }
    }
    let to_eve = world.ladder.iter().filter(|arrow| arrow.to.ip().to_string() == "10.66.6.6");
    let mut seen = 0;
    for arrow in to_eve {
        seen += 1;
        assert!(!arrow.text.contains("uthorization:"), "{}", arrow.text);
    }
    assert!(seen >= 4 * 5, "only {seen} messages went to her");
    world.assert_quiet();
}

#[test]
fn a_network_that_is_away_ends_no_call_and_a_bye_gets_through_afterwards() {
    let mut world = World::new(12);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let bob = world.ua("bob", &["10.0.0.2"], phone());
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(secs(5));
    for outage in [1, 10, 29, 31, 50] {
        world.link(alice, bob, Link::default().cut());
        world.run_for(secs(outage));
        world.link(alice, bob, Link::default());
        let mut waited = 0;
        loop {
            world.run_for(Duration::from_millis(500));
            waited += 500;
            let clean = |node| world.heard(node).snr_db(440.0, 0.4) > 20.0;
            if clean(alice) && clean(bob) {
                break;
            }
            assert!(waited < 30_000, "after {outage} s of nothing the sound never came back");
        }
        println!("{outage} s away: clean again after {waited} ms");
        // After 30 s of silence both sides only send RTCP (threats C3), so it takes a report to wake them up.
        let most = if outage < 30 { 1500 } else { 8000 };
        assert!(waited <= most, "{outage} s away: clean again after {waited} ms");
        world.run_for(secs(3));
    }
    assert!(!world.arrows().iter().any(|arrow| arrow.contains("BYE")));
    // Hung up while the network is away for five seconds: the other end hears of it all the same.
    world.link(alice, bob, Link::default().cut());
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_for(secs(5));
    world.link(alice, bob, Link::default());
    let back = world.now;
    world.run_until(bob, ended);
    assert!(world.now.since(back) <= secs(4), "{:?}", world.now.since(back));
    world.assert_quiet();
}
