//! Calls that come to us.

use super::*;

fn phone() -> Phone {
    Phone::new(UaConfig::default())
}

const CALL: CallHandle = CallHandle(1);

/// A call from bob that we answered; gives back our 200.
fn answered(phone: &mut Phone) -> Response {
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    assert!(matches!(phone.event(), Event::CallIncoming { .. }));
    phone.command(Command::Answer { call: CALL, audio: None }).expect("it rings");
    phone.response(200)
}

#[test]
fn a_call_rings_is_answered_and_ended_by_the_caller() {
    let mut phone = phone();
    let ok = answered(&mut phone);
    assert!(String::from_utf8_lossy(&ok.body).contains("m=audio 20002 RTP/AVP 0 101"));
    assert!(matches!(phone.media.first(), Some(MediaCommand::Open { .. })));
    phone.receive(inside(Method::Ack, 1, &ok));
    assert!(matches!(phone.event(), Event::CallAnswered { audio: Some(_), .. }));
    phone.receive(inside(Method::Bye, 2, &ok));
    phone.response(200);
    assert_eq!(phone.ended(), (EndedBy::Remote, None, None));
    phone.assert_quiet();
}

#[test]
fn our_2xx_goes_out_again_until_the_ack() {
    let mut phone = phone();
    let ok = answered(&mut phone);
    phone.run(ms(3600)); // 0.5, 1.5, 3.5 s
    for _ in 0..3 {
        assert_eq!(phone.response(200), ok);
    }
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.run(Duration::from_secs(40));
    phone.silent();
    phone.command(Command::HangUp { call: CALL }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn without_an_ack_the_call_ends_after_32_seconds() {
    let mut phone = phone();
    answered(&mut phone);
    phone.run(Duration::from_millis(31_900));
    assert_eq!(phone.ua.snapshot().calls.len(), 1);
    phone.sent.clear();
    phone.run(ms(200));
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 481, ""));
    let (by, _, failure) = phone.ended();
    assert_eq!((by, failure.map(|f| f.slug)), (EndedBy::Fault, Some("call.broken".into())));
    phone.assert_quiet();
}

#[test]
fn hanging_up_before_the_ack_sends_bye_after_it() {
    let mut phone = phone();
    let ok = answered(&mut phone);
    phone.command(Command::HangUp { call: CALL }).expect("it is answered");
    phone.silent();
    assert_eq!(phone.ended(), (EndedBy::Local, None, None));
    phone.receive(inside(Method::Ack, 1, &ok));
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn the_caller_gives_up() {
    let mut phone = phone();
    let invite = invite("1", Some(OFFER));
    phone.receive(invite.clone());
    phone.response(180);
    let mut cancel = invite.clone();
    cancel.method = Method::Cancel;
    cancel.headers.set(HeaderName::CSEQ, "1 CANCEL");
    cancel.body.clear();
    cancel.headers.remove(&HeaderName::CONTENT_TYPE);
    phone.receive(cancel);
    let codes: Vec<_> = phone
        .sent
        .drain(..)
        .map(|(_, message)| match message {
            Message::Response(response) => response.status.code(),
            Message::Request(request) => panic!("{request:?}"),
        })
        .collect();
    assert_eq!(codes, [200, 487]);
    let (by, code, failure) = phone.ended();
    assert_eq!((by, code, failure.map(|f| f.slug)), (EndedBy::Remote, Some(487), Some("call.cancelled".into())));
    let mut ack = invite;
    ack.method = Method::Ack;
    ack.headers.set(HeaderName::CSEQ, "1 ACK");
    phone.receive(ack);
    phone.assert_quiet();
}

#[test]
fn an_offer_without_common_codec_is_refused_before_it_rings() {
    let mut phone = phone();
    phone.receive(invite("1", Some(&OFFER.replace("RTP/AVP 0 101", "RTP/AVP 18"))));
    phone.response(488);
    assert!(!phone.events.iter().any(|event| matches!(event, Event::CallIncoming { .. })));
    phone.assert_quiet();
}

#[test]
fn a_late_offer_is_made_in_the_2xx_and_answered_by_the_ack() {
    let mut phone = phone();
    phone.receive(invite("1", None));
    phone.response(180);
    phone.command(Command::Answer { call: CALL, audio: None }).expect("it rings");
    let ok = phone.response(200);
    assert!(String::from_utf8_lossy(&ok.body).contains("m=audio 20002"));
    assert!(phone.media.is_empty());
    let mut ack = inside(Method::Ack, 1, &ok);
    ack.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    ack.body = OFFER.as_bytes().to_vec();
    phone.receive(ack);
    assert!(matches!(phone.media.first(), Some(MediaCommand::Open { .. })));
    phone.receive(inside(Method::Bye, 2, &ok));
    phone.response(200);
    phone.assert_quiet();
}

#[test]
fn an_ack_without_the_answer_that_is_due_ends_the_call() {
    let mut phone = phone();
    phone.receive(invite("1", None));
    phone.response(180);
    phone.command(Command::Answer { call: CALL, audio: None }).expect("it rings");
    let ok = phone.response(200);
    phone.receive(inside(Method::Ack, 1, &ok));
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    let (_, _, failure) = phone.ended();
    assert_eq!(failure.map(|f| f.slug), Some("media.no-common-codec".into()));
    phone.assert_quiet();
}

#[test]
fn what_we_do_not_take_is_refused_as_the_rfc_says() {
    let changed = |change: fn(&mut Request)| {
        let mut request = invite("1", Some(OFFER));
        change(&mut request);
        request
    };
    let other = |request: &mut Request, method: Method| {
        request.headers.set(HeaderName::CSEQ, format!("1 {method}"));
        request.method = method;
        request.body.clear();
        request.headers.remove(&HeaderName::CONTENT_TYPE);
    };
    for (code, header, request) in [
        (405, Some((HeaderName::ALLOW, call::ALLOW)), changed(|_| {})),
        (501, Some((HeaderName::ALLOW, call::ALLOW)), changed(|_| {})),
        (481, None, changed(|_| {})),
        (416, None, changed(|r| r.uri = "http://example.org".parse().expect("a URI"))),
        (420, Some((HeaderName::UNSUPPORTED, "path")), changed(|r| r.headers.push(HeaderName::REQUIRE, "path"))),
        (
            415,
            Some((HeaderName::ACCEPT, "application/sdp, multipart/mixed")),
            changed(|r| r.headers.set(HeaderName::CONTENT_TYPE, "text/plain")),
        ),
        (400, None, changed(|r| r.body = b"nonsense".to_vec())),
    ] {
        let mut request = request;
        match code {
            405 => other(&mut request, Method::Message),
            501 => other(&mut request, Method::Other("NEWMETHOD".into())),
            481 => other(&mut request, Method::Bye),
            _ => {}
        }
        let mut phone = phone();
        phone.receive(request);
        let refusal = phone.response(code);
        if let Some((name, value)) = header {
            assert_eq!(refusal.headers.tokens(&name).join(", "), value, "{code}");
        }
        assert!(!phone.events.iter().any(|event| matches!(event, Event::CallIncoming { .. })), "{code}");
    }
}

#[test]
fn a_merged_request_is_refused_and_the_first_one_rings_on() {
    let mut phone = phone();
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.receive(invite("2", Some(OFFER)));
    phone.response(482);
    assert_eq!(phone.ua.snapshot().calls.len(), 1);
    phone.command(Command::Reject { call: CALL, code: None }).expect("it rings");
    phone.response(486);
    assert_eq!(phone.ended(), (EndedBy::Local, Some(486), None));
    phone.assert_quiet();
}

#[test]
fn a_call_answers_itself_after_the_delay() {
    let mut config = UaConfig::default();
    config.call.auto_answer = Some(ms(2000));
    let mut phone = Phone::new(config.clone());
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.run(ms(1900));
    phone.silent();
    phone.run(ms(200));
    phone.response(200);
    config.call.auto_answer = Some(Duration::ZERO);
    let mut phone = Phone::new(config);
    phone.receive(invite("1", Some(OFFER)));
    let ok = phone.response(200);
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.receive(inside(Method::Bye, 2, &ok));
    phone.response(200);
    phone.assert_quiet();
}

#[test]
fn nobody_here_answers_within_the_ring_timeout() {
    let mut phone = phone();
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.run(Duration::from_secs(61));
    phone.response(480);
    let (_, _, failure) = phone.ended();
    assert_eq!(failure.map(|f| f.slug), Some("call.no-answer".into()));
    phone.sent.clear();
    phone.assert_quiet();
}

#[test]
fn beyond_the_limits_callers_hear_busy_and_with_do_not_disturb_unavailable() {
    let mut config = UaConfig::default();
    config.call.max = 1;
    let mut phone = Phone::new(config);
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    let mut second = invite("2", Some(OFFER));
    second.headers.set(HeaderName::CALL_ID, "another");
    phone.receive(second.clone());
    phone.response(486);
    let mut config = UaConfig::default();
    config.call.do_not_disturb = true;
    let mut phone = Phone::new(config);
    phone.receive(second);
    phone.response(480);
    assert!(phone.events.is_empty());
}

#[test]
fn missing_ports_are_our_fault_not_busy() {
    let mut phone = phone();
    phone.no_lease = true;
    phone.receive(invite("1", Some(OFFER)));
    phone.response(500);
    phone.assert_quiet();
}

#[test]
fn options_are_answered_with_what_we_can() {
    let mut phone = phone();
    let mut options = invite("1", None);
    options.method = Method::Options;
    options.headers.set(HeaderName::CSEQ, "1 OPTIONS");
    phone.receive(options);
    let ok = phone.response(200);
    assert_eq!(ok.headers.tokens(&HeaderName::ALLOW).join(", "), call::ALLOW);
    assert_eq!(ok.headers.get(&HeaderName::ACCEPT), Some("application/sdp"));
    phone.assert_quiet();
}

#[test]
fn a_request_that_has_used_up_its_hops_has_arrived_all_the_same() {
    let mut phone = phone();
    let mut request = invite("1", Some(OFFER));
    request.headers.set(HeaderName::MAX_FORWARDS, "0");
    phone.receive(request);
    phone.response(180);
}
