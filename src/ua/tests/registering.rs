//! Registrations.

use super::*;
use crate::secret::Secret;

const REALM: &str = "Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5";

fn config() -> UaConfig {
    let uri = |text: &str| text.parse().expect("a URI");
    let mut account = AccountConfig::new("work", uri("sip:1001@192.0.2.2"), uri("sip:192.0.2.2"));
    account.credentials =
        Some(account::Credentials { user: "1001".into(), password: Secret::new("geheim".into()), realm: None });
    UaConfig { accounts: vec![account], ..UaConfig::default() }
}

fn challenge(request: &Request, header: &str) -> Response {
    let mut response = reply(request, 401, "r");
    response.headers.push(HeaderName::WWW_AUTHENTICATE, header);
    response
}

fn accept(request: &Request, expires: u32) -> Response {
    let mut response = reply(request, 200, "r");
    let contact = request.headers.contact().expect("our contact").uri;
    response.headers.push(HeaderName::CONTACT, format!("<{contact}>;expires={expires}"));
    response
}

fn registered(phone: &mut Phone) {
    let request = phone.request(Method::Register);
    phone.receive(accept(&request, 600));
    assert!(matches!(phone.event(), Event::Registered { expires: 600, refreshed: false, .. }));
}

#[test]
fn an_account_registers_with_digest_refreshes_and_unregisters() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    assert_eq!(first.uri.to_string(), "sip:192.0.2.2");
    assert_eq!(first.headers.get(&HeaderName::AUTHORIZATION), None);
    phone.receive(challenge(&first, REALM));
    let second = phone.request(Method::Register);
    let login = second.headers.get(&HeaderName::AUTHORIZATION).expect("credentials").to_owned();
    assert!(login.contains("username=\"1001\"") && login.contains("nc=00000001"), "{login}");
    assert_eq!(second.headers.get(&HeaderName::CSEQ), Some("2 REGISTER"));
    phone.receive(accept(&second, 120));
    assert!(matches!(phone.event(), Event::Registered { expires: 120, refreshed: false, .. }));
    assert!(phone.ua.snapshot().accounts[0].registered);

    phone.run(Duration::from_secs(95));
    phone.silent();
    phone.run(Duration::from_secs(14));
    let refresh = phone.request(Method::Register);
    phone.sent.clear(); // its repetitions
    assert!(refresh.headers.get(&HeaderName::AUTHORIZATION).is_some_and(|login| login.contains("nc=00000002")));
    phone.receive(accept(&refresh, 120));
    assert!(matches!(phone.event(), Event::Registered { refreshed: true, .. }));

    phone.command(Command::Stop).expect("always");
    let last = phone.request(Method::Register);
    assert_eq!(last.headers.expires(), Some(0));
    phone.receive(reply(&last, 200, "r"));
    assert!(matches!(phone.event(), Event::Unregistered { .. }));
    assert_eq!(phone.event(), Event::Stopped);
    phone.assert_quiet();
}

#[test]
fn a_wrong_password_is_tried_once_and_told() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    phone.receive(challenge(&first, REALM));
    let second = phone.request(Method::Register);
    phone.receive(challenge(&second, &REALM.replace("n1", "n2")));
    phone.silent();
    let Event::RegistrationFailed { failure, retry_s: None, .. } = phone.event() else { panic!("failed") };
    assert_eq!((failure.slug.as_str(), failure.code), ("auth.wrong-password", Some(401)));
    for (fact, value) in [("server", "192.0.2.2"), ("user", "1001"), ("realm", "pbx"), ("algorithm", "MD5")] {
        assert_eq!(failure.facts.get(fact).map(String::as_str), Some(value), "{fact}");
    }
    phone.run(Duration::from_secs(4000));
    phone.silent();
    phone.assert_quiet();
}

#[test]
fn a_challenge_without_a_password_is_told() {
    let mut config = config();
    config.accounts[0].credentials = None;
    let mut phone = Phone::new(config);
    let first = phone.request(Method::Register);
    phone.receive(challenge(&first, REALM));
    let Event::RegistrationFailed { failure, retry_s: None, .. } = phone.event() else { panic!("failed") };
    assert_eq!(failure.slug, "auth.no-password");
}

#[test]
fn a_stale_nonce_is_no_refusal() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    phone.receive(challenge(&first, REALM));
    let second = phone.request(Method::Register);
    phone.receive(challenge(&second, &(REALM.replace("n1", "n2") + ", stale=true")));
    let third = phone.request(Method::Register);
    phone.receive(accept(&third, 60));
    assert!(matches!(phone.event(), Event::Registered { .. }));
}

#[test]
fn an_interval_too_brief_is_raised() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    let mut brief = reply(&first, 423, "r");
    brief.headers.push(HeaderName::MIN_EXPIRES, "1800");
    phone.receive(brief);
    let second = phone.request(Method::Register);
    assert_eq!(second.headers.expires(), Some(1800));
    // The same once more would be a loop.
    let mut brief = reply(&second, 423, "r");
    brief.headers.push(HeaderName::MIN_EXPIRES, "1800");
    phone.receive(brief);
    phone.silent();
    let Event::RegistrationFailed { failure, .. } = phone.event() else { panic!("failed") };
    assert_eq!((failure.slug.as_str(), failure.code), ("register.failed", Some(423)));
}

#[test]
fn silence_is_met_with_longer_and_longer_pauses() {
    let mut phone = Phone::new(config());
    let mut waits = Vec::new();
    for _ in 0..4 {
        phone.run(Duration::from_millis(32_100));
        assert_eq!(phone.sent.len(), 11);
        phone.sent.clear();
        let Event::RegistrationFailed { failure, retry_s: Some(wait), .. } = phone.event() else { panic!("failed") };
        assert_eq!(failure.slug, "net.timeout");
        assert_eq!(failure.facts.get("requests").map(String::as_str), Some("11"));
        waits.push(u64::from(wait));
        phone.run(Duration::from_secs(u64::from(wait)) + ms(900));
    }
    for (wait, most) in waits.into_iter().zip([30, 60, 120, 240]) {
        assert!((most / 2..=most).contains(&wait), "{wait} of {most}");
    }
}

#[test]
fn retry_after_is_honoured() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    let mut busy = reply(&first, 503, "r");
    busy.headers.push(HeaderName::RETRY_AFTER, "300");
    phone.receive(busy);
    let Event::RegistrationFailed { failure, retry_s, .. } = phone.event() else { panic!("failed") };
    assert_eq!((failure.slug.as_str(), retry_s), ("net.unavailable", Some(300)));
}

#[test]
fn a_call_through_the_account_is_challenged_and_authorized() {
    let mut phone = Phone::new(config());
    registered(&mut phone);
    let call = phone.dial("600");
    let first = phone.request(Method::Invite);
    assert_eq!(first.uri.to_string(), "sip:600@192.0.2.2");
    let mut asked = reply(&first, 407, "r");
    asked.headers.push(HeaderName::PROXY_AUTHENTICATE, REALM);
    phone.receive(asked);
    phone.request(Method::Ack);
    let second = phone.request(Method::Invite);
    assert_eq!(second.headers.get(&HeaderName::CSEQ), Some("2 INVITE"));
    assert!(second.headers.get(&HeaderName::PROXY_AUTHORIZATION).is_some());
    phone.receive(with_sdp(reply(&second, 200, "b"), OFFER));
    phone.request(Method::Ack);
    phone.command(Command::HangUp { call }).expect("it is up");
    let bye = phone.request(Method::Bye);
    assert_eq!(bye.headers.get(&HeaderName::CSEQ), Some("3 BYE"));
    let mut asked = reply(&bye, 407, "");
    asked.headers.push(HeaderName::PROXY_AUTHENTICATE, REALM.replace("n1", "n3"));
    phone.receive(asked);
    let again = phone.request(Method::Bye);
    assert_eq!(again.headers.get(&HeaderName::CSEQ), Some("4 BYE"));
    assert!(again.headers.get(&HeaderName::PROXY_AUTHORIZATION).is_some());
    phone.receive(reply(&again, 200, ""));
    phone.ua.unregister(phone.now, AccountId(0));
    phone.ua.settle(phone.now);
    phone.drain();
    let last = phone.request(Method::Register);
    phone.receive(reply(&last, 200, "r"));
    phone.assert_quiet();
}

#[test]
fn once_registered_only_the_server_may_call() {
    let mut phone = Phone::new(config());
    registered(&mut phone);
    let mut call = invite("1", Some(OFFER));
    call.uri = "sip:1001@192.0.2.1".parse().expect("a URI");
    call.headers.set(HeaderName::VIA, "SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bKghost;rport");
    phone.receive_from("203.0.113.9:5060", call.clone());
    phone.response(403);
    assert!(phone.events.is_empty());
    call.headers.set(HeaderName::CALL_ID, "through-the-server");
    call.headers.set(HeaderName::VIA, format!("SIP/2.0/UDP {THERE};branch=z9hG4bKproxied;rport"));
    phone.receive(call);
    phone.response(180);
    assert!(matches!(phone.event(), Event::CallIncoming { account: Some(AccountId(0)), .. }));
}

#[test]
fn a_request_for_somebody_else_is_404() {
    let mut phone = Phone::new(config());
    registered(&mut phone);
    phone.receive(invite("1", Some(OFFER)));
    phone.response(404);
}

#[test]
fn the_lifetime_is_that_of_our_contact_even_if_the_server_put_another_address_in_it() {
    let mut phone = Phone::new(config());
    let request = phone.request(Method::Register);
    let ours = request.headers.contact().expect("our contact").uri;
    let user = ours.user.expect("a user part");
    let mut response = reply(&request, 200, "r");
    response.headers.push(HeaderName::CONTACT, "<sip:other@192.0.2.77>;expires=1800");
    response.headers.push(HeaderName::CONTACT, format!("<sip:{user}@203.0.113.9:40000>;expires=90"));
    response.headers.push(HeaderName::EXPIRES, "1800");
    phone.receive(response);
    assert!(matches!(phone.event(), Event::Registered { expires: 90, .. }));
}

#[test]
fn a_proxy_and_the_registrar_behind_it_may_ask_in_realms_of_their_own() {
    let mut phone = Phone::new(config());
    let first = phone.request(Method::Register);
    let mut asked = reply(&first, 407, "r");
    asked.headers.push(HeaderName::PROXY_AUTHENTICATE, "Digest realm=\"edge\", nonce=\"e1\", qop=\"auth\"");
    phone.receive(asked);
    let second = phone.request(Method::Register);
    phone.receive(challenge(&second, REALM));
    let third = phone.request(Method::Register);
    let shown = |name: &HeaderName| third.headers.get(name).map(str::to_owned).unwrap_or_default();
    assert!(shown(&HeaderName::AUTHORIZATION).contains("realm=\"pbx\""));
    assert!(shown(&HeaderName::PROXY_AUTHORIZATION).contains("realm=\"edge\""));
    phone.receive(accept(&third, 600));
    assert!(matches!(phone.event(), Event::Registered { .. }));
    // A call learns no further realm.
    phone.dial("600");
    let invite = phone.request(Method::Invite);
    let mut asked = reply(&invite, 407, "x");
    asked.headers.push(HeaderName::PROXY_AUTHENTICATE, "Digest realm=\"elsewhere\", nonce=\"x\", qop=\"auth\"");
    phone.receive(asked);
    phone.request(Method::Ack);
    phone.silent();
}

#[test]
fn the_next_address_of_the_server_is_tried_when_one_is_overloaded() {
    let mut config = config();
    config.accounts[0].register = false;
    config.accounts[0].registrar = "sip:pbx.example".parse().expect("a URI");
    let mut phone = Phone::new(config);
    phone.resolved = ["192.0.2.2", "192.0.2.3"].map(|ip| ip.parse().expect("an address")).to_vec();
    phone.command(Command::Register { account: None }).expect("there is one");
    let first = phone.request(Method::Register);
    phone.receive(reply(&first, 503, "r"));
    let (to, Message::Request(second)) = phone.sent.pop_front().expect("another") else { panic!("a request") };
    assert_eq!(to, addr("192.0.2.3:5060"));
    phone.receive_from("192.0.2.3:5060", accept(&second, 600));
    assert!(matches!(phone.event(), Event::Registered { .. }));
}
