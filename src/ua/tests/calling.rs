//! Calls that we place.

use super::*;

fn phone() -> Phone {
    Phone::new(UaConfig::default())
}

/// Dials and gives back the INVITE that went out.
fn dialled(phone: &mut Phone) -> (CallHandle, Request) {
    let call = phone.dial("sip:bob@192.0.2.2");
    assert!(matches!(phone.event(), Event::CallOutgoing { .. }));
    (call, phone.request(Method::Invite))
}

/// A call that bob answered with tag `b`.
fn answered(phone: &mut Phone) -> (CallHandle, Request, Response) {
    let (call, invite) = dialled(phone);
    let ok = with_sdp(reply(&invite, 200, "b"), OFFER);
    phone.receive(ok.clone());
    phone.request(Method::Ack);
    assert!(matches!(phone.event(), Event::CallAnswered { .. }));
    (call, invite, ok)
}

#[test]
fn a_call_is_placed_answered_and_ended_by_us() {
    let mut phone = phone();
    let (call, invite) = dialled(&mut phone);
    assert_eq!(invite.headers.get(&HeaderName::CONTENT_TYPE), Some("application/sdp"));
    assert!(String::from_utf8_lossy(&invite.body).contains("c=IN IP4 192.0.2.1"));
    phone.receive(reply(&invite, 100, ""));
    phone.receive(reply(&invite, 180, "b"));
    assert!(matches!(phone.event(), Event::CallRinging { code: 180, .. }));
    phone.receive(with_sdp(reply(&invite, 200, "b"), OFFER));
    let ack = phone.request(Method::Ack);
    assert_eq!(ack.headers.get(&HeaderName::CSEQ), Some("1 ACK"));
    assert_eq!(ack.uri.to_string(), format!("sip:bob@{THERE}"));
    let Event::CallAnswered { audio: Some(audio), .. } = phone.event() else { panic!("answered") };
    assert_eq!((audio.codec.as_str(), audio.remote.as_deref()), ("pcmu", Some("192.0.2.2:4000")));
    phone.command(Command::HangUp { call }).expect("it is up");
    let bye = phone.request(Method::Bye);
    assert_eq!(bye.headers.get(&HeaderName::CSEQ), Some("2 BYE"));
    phone.receive(reply(&bye, 200, ""));
    assert_eq!(phone.ended(), (EndedBy::Local, None, None));
    phone.assert_quiet();
}

#[test]
fn a_repeated_2xx_is_acknowledged_each_time() {
    let mut phone = phone();
    let (call, _, ok) = answered(&mut phone);
    for _ in 0..3 {
        phone.receive(ok.clone());
        phone.request(Method::Ack);
        phone.silent();
    }
    // Even after we hung up: the ACK may have been lost all the time.
    phone.command(Command::HangUp { call }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(ok);
    phone.request(Method::Ack);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn only_the_first_fork_to_answer_is_kept_and_each_has_its_own_answer() {
    let mut phone = phone();
    let (_, invite) = dialled(&mut phone);
    phone.receive(with_sdp(reply(&invite, 183, "b"), OFFER));
    phone.receive(with_sdp(reply(&invite, 183, "c"), &OFFER.replace("4000", "6000")));
    // Early sound of the first fork is heard, and nothing is sent before the answer.
    let Some(MediaCommand::Open { plan, .. }) = phone.media.pop() else { panic!("early media") };
    assert!(!plan.streams[0].direction.sends());
    phone.receive(with_sdp(reply(&invite, 200, "c"), &OFFER.replace("4000", "6000")));
    phone.request(Method::Ack);
    phone.events.clear();
    let Some(MediaCommand::SetPlan(plan)) = phone.media.pop() else { panic!("the plan of c") };
    assert!(plan.streams[0].direction.sends());
    assert!(format!("{plan:?}").contains("192.0.2.2:6000"));
    phone.receive(with_sdp(reply(&invite, 200, "b"), OFFER));
    let ack = phone.request(Method::Ack);
    assert!(ack.headers.get(&HeaderName::TO).is_some_and(|to| to.ends_with("tag=b")));
    let bye = phone.request(Method::Bye);
    assert!(bye.headers.get(&HeaderName::TO).is_some_and(|to| to.ends_with("tag=b")));
    phone.receive(reply(&bye, 200, ""));
    // The same again, because our ACK was lost: acknowledged, no second BYE.
    phone.receive(with_sdp(reply(&invite, 200, "b"), OFFER));
    phone.request(Method::Ack);
    phone.silent();
    assert_eq!(phone.ua.snapshot().calls.len(), 1);
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("c is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn an_early_answer_holds_when_the_2xx_brings_none() {
    let mut phone = phone();
    let (call, invite) = dialled(&mut phone);
    phone.receive(with_sdp(reply(&invite, 183, "b"), OFFER));
    phone.receive(reply(&invite, 200, "b"));
    phone.request(Method::Ack);
    assert!(matches!(phone.event(), Event::CallRinging { code: 183, .. }));
    assert!(matches!(phone.event(), Event::CallAnswered { audio: Some(_), .. }));
    phone.command(Command::HangUp { call }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 481, ""));
    phone.assert_quiet();
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut phone = phone();
    let (call, invite) = dialled(&mut phone);
    phone.command(Command::HangUp { call }).expect("it is calling");
    phone.silent();
    let (by, code, failure) = phone.ended();
    assert_eq!((by, code, failure.map(|f| f.slug)), (EndedBy::Local, None, Some("call.cancelled".into())));
    phone.receive(reply(&invite, 180, "b"));
    let cancel = phone.request(Method::Cancel);
    assert_eq!(cancel.headers.get(&HeaderName::VIA), invite.headers.get(&HeaderName::VIA));
    phone.receive(reply(&cancel, 200, "b"));
    phone.receive(reply(&invite, 487, "b"));
    phone.request(Method::Ack);
    phone.assert_quiet();
}

#[test]
fn a_2xx_that_crosses_our_cancel_is_acknowledged_and_ended() {
    let mut phone = phone();
    let (call, invite) = dialled(&mut phone);
    phone.receive(reply(&invite, 180, "b"));
    phone.command(Command::HangUp { call }).expect("it rings");
    let cancel = phone.request(Method::Cancel);
    phone.receive(with_sdp(reply(&invite, 200, "b"), OFFER));
    phone.request(Method::Ack);
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&cancel, 481, "b"));
    phone.receive(reply(&bye, 200, ""));
    assert!(phone.events.iter().all(|event| !matches!(event, Event::CallAnswered { .. })));
    phone.assert_quiet();
}

#[test]
fn final_responses_have_their_own_slug() {
    for (code, slug) in [
        (302, "call.failed"),
        (403, "auth.forbidden"),
        (404, "call.not-found"),
        (480, "call.unavailable"),
        (486, "call.busy"),
        (488, "media.no-common-codec"),
        (500, "call.failed"),
        (503, "net.unavailable"),
        (600, "call.busy"),
        (603, "call.declined"),
    ] {
        let mut phone = phone();
        let (_, invite) = dialled(&mut phone);
        phone.receive(reply(&invite, code, "b"));
        phone.request(Method::Ack);
        let (by, status, failure) = phone.ended();
        let failure = failure.expect("a reason");
        assert_eq!((by, status, failure.slug.as_str()), (EndedBy::Remote, Some(code), slug));
        assert_eq!(failure.facts.get("peer").map(String::as_str), Some("sip:bob@192.0.2.2"));
        phone.assert_quiet();
    }
}

#[test]
fn a_stranger_that_asks_for_a_password_gets_none() {
    let mut config = UaConfig::default();
    let uri = |text: &str| text.parse().expect("a URI");
    let mut account = AccountConfig::new("work", uri("sip:1001@192.0.2.9"), uri("sip:192.0.2.9"));
    account.register = false;
    account.credentials = Some(account::Credentials {
        user: "1001".into(),
        password: crate::secret::Secret::new("geheim".into()),
        realm: Some("asterisk".into()),
    });
    config.accounts.push(account);
    for code in [401, 407] {
        let mut phone = Phone::new(config.clone());
        let (_, invite) = dialled(&mut phone);
        let mut challenge = reply(&invite, code, "b");
        for name in [HeaderName::WWW_AUTHENTICATE, HeaderName::PROXY_AUTHENTICATE] {
            challenge.headers.push(name, "Digest realm=\"asterisk\", nonce=\"n\", qop=\"auth\", algorithm=MD5");
        }
        phone.receive(challenge);
        phone.request(Method::Ack);
        phone.silent();
        let (_, status, failure) = phone.ended();
        assert_eq!((status, failure.map(|f| f.slug)), (Some(code), Some("auth.no-password".into())));
        phone.assert_quiet();
    }
}

#[test]
fn nobody_answers_within_the_answer_timeout() {
    let mut config = UaConfig::default();
    config.call.answer_timeout = Duration::from_secs(20);
    let mut phone = Phone::new(config);
    let (_, invite) = dialled(&mut phone);
    phone.receive(reply(&invite, 180, "b"));
    phone.run(Duration::from_secs(21));
    let cancel = phone.request(Method::Cancel);
    phone.receive(reply(&cancel, 200, "b"));
    phone.receive(reply(&invite, 487, "b"));
    let (by, _, failure) = phone.ended();
    assert_eq!((by, failure.map(|f| f.slug)), (EndedBy::Local, Some("call.no-answer".into())));
    phone.assert_quiet();
}

#[test]
fn silence_ends_a_call_after_32_seconds() {
    let mut phone = phone();
    dialled(&mut phone);
    phone.run(Duration::from_secs(33));
    assert_eq!(phone.sent.len(), 6);
    let (by, code, failure) = phone.ended();
    let failure = failure.expect("a reason");
    assert_eq!((by, code, failure.slug.as_str()), (EndedBy::Fault, Some(408), "net.timeout"));
    assert_eq!(failure.facts.get("requests").map(String::as_str), Some("7"));
    assert_eq!(failure.facts.get("address").map(String::as_str), Some(THERE));
    phone.assert_quiet();
}

#[test]
fn an_unknown_host_and_missing_ports_end_a_call_at_once() {
    let mut phone = phone();
    phone.dial("sip:bob@nowhere.example");
    let (_, _, failure) = phone.ended();
    assert_eq!(failure.map(|f| f.slug), Some("net.dns".into()));
    phone.no_lease = true;
    phone.dial("sip:bob@192.0.2.2");
    phone.silent();
    let (_, _, failure) = phone.ended();
    assert_eq!(failure.map(|f| f.slug), Some("net.no-rtp-port".into()));
    phone.assert_quiet();
}

#[test]
fn an_answer_without_common_codec_is_acknowledged_and_ended() {
    let mut phone = phone();
    let (_, invite) = dialled(&mut phone);
    let foreign = OFFER.replace("RTP/AVP 0 101", "RTP/AVP 18").replace("0 PCMU", "18 G729");
    phone.receive(with_sdp(reply(&invite, 200, "b"), &foreign));
    phone.request(Method::Ack);
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    let (by, _, failure) = phone.ended();
    assert_eq!((by, failure.map(|f| f.slug)), (EndedBy::Fault, Some("media.no-common-codec".into())));
    phone.assert_quiet();
}

#[test]
fn the_callee_hangs_up() {
    let mut phone = phone();
    let (_, invite, _) = answered(&mut phone);
    phone.receive(callee(Method::Bye, 1, &invite, "b"));
    phone.response(200);
    assert_eq!(phone.ended(), (EndedBy::Remote, None, None));
    phone.assert_quiet();
}

#[test]
fn a_call_beyond_the_limit_is_refused_to_the_user() {
    let mut config = UaConfig::default();
    config.call.max = 1;
    let mut phone = Phone::new(config);
    let (call, _) = dialled(&mut phone);
    let second = phone.command(Command::Dial { target: "sip:c@192.0.2.2".into(), account: None, audio: None });
    assert_eq!(second, Err(CommandError::TooManyCalls { max: 1 }));
    phone.command(Command::HangUp { call }).expect("it is calling");
    phone.assert_quiet();
}
