//! Which dialog a request belongs to (RFC 3261 §12.2.2), and races at its edges (RFC 5407).

use super::*;

fn dialled(phone: &mut Phone) -> Request {
    phone.dial("sip:bob@192.0.2.2");
    phone.request(Method::Invite)
}

fn state(phone: &Phone) -> String {
    phone.ua.snapshot().calls[0].state.clone()
}

fn rung(phone: &mut Phone) -> Response {
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.command(Command::Answer { call: CallHandle(1), audio: None }).expect("it rings");
    phone.response(200)
}

fn end(phone: &mut Phone) {
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn the_bye_of_a_fork_that_lost_does_not_end_the_call() {
    let mut phone = Phone::new(UaConfig::default());
    let invite = dialled(&mut phone);
    for tag in ["b", "c"] {
        phone.receive(with_sdp(reply(&invite, 200, tag), OFFER));
        phone.request(Method::Ack);
    }
    let bye = phone.request(Method::Bye);
    assert!(bye.headers.get(&HeaderName::TO).is_some_and(|to| to.ends_with("tag=c")));
    // Its own BYE crosses ours.
    phone.receive(callee(Method::Bye, 1, &invite, "c"));
    phone.response(200);
    phone.receive(reply(&bye, 481, ""));
    assert_eq!(state(&phone), "talking");
    phone.receive(callee(Method::Bye, 2, &invite, "nobody"));
    phone.response(481);
    assert_eq!(state(&phone), "talking");
    end(&mut phone);
}

#[test]
fn a_request_under_another_tag_of_the_peer_finds_no_dialog() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = rung(&mut phone);
    let foreign = |method: Method, seq| {
        let mut request = inside(method, seq, &ok);
        request.headers.set(HeaderName::FROM, "\"Bob\" <sip:bob@192.0.2.2>;tag=guessed");
        request
    };
    // Its ACK is none: our 2xx goes out again.
    phone.receive(foreign(Method::Ack, 1));
    phone.run(ms(500));
    phone.response(200);
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.receive(foreign(Method::Bye, 2));
    phone.response(481);
    assert_eq!(state(&phone), "talking");
    end(&mut phone);
}

#[test]
fn byes_that_cross_are_both_accepted() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = rung(&mut phone);
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(inside(Method::Bye, 2, &ok));
    phone.response(200);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn a_change_before_the_ack_says_that_our_2xx_has_arrived() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = rung(&mut phone);
    let mut change = inside(Method::Invite, 2, &ok);
    change.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    change.body = OFFER.replace("4000", "4400").into_bytes();
    phone.receive(change);
    phone.response(200);
    assert_eq!(state(&phone), "talking");
    phone.receive(inside(Method::Ack, 2, &ok));
    // The first ACK comes at last; nothing is repeated any more.
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.run(ms(5000));
    phone.silent();
    end(&mut phone);
}

#[test]
fn a_change_before_the_answer_to_our_offer_has_to_wait() {
    let mut phone = Phone::new(UaConfig::default());
    phone.receive(invite("1", None));
    phone.response(180);
    phone.command(Command::Answer { call: CallHandle(1), audio: None }).expect("it rings");
    let ok = phone.response(200);
    let mut change = inside(Method::Invite, 2, &ok);
    change.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    change.body = OFFER.as_bytes().to_vec();
    phone.receive(change);
    phone.response(491);
    let mut ack = inside(Method::Ack, 1, &ok);
    ack.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    ack.body = OFFER.as_bytes().to_vec();
    phone.receive(ack);
    assert_eq!(state(&phone), "talking");
    end(&mut phone);
}

#[test]
fn an_offer_before_the_answer_to_the_first_is_500_and_moves_no_remote_target() {
    let mut phone = Phone::new(UaConfig::default());
    phone.receive(invite("1", Some(OFFER)));
    let ringing = phone.response(180);
    for (seq, method, code) in [(2, Method::Update, 500), (3, Method::Invite, 500)] {
        let mut request = inside(method, seq, &ringing);
        request.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
        request.body = OFFER.as_bytes().to_vec();
        request.headers.set(HeaderName::CONTACT, "<sip:bob@198.51.100.66>");
        phone.receive(request);
        let seconds = phone.response(code).headers.seconds(&HeaderName::RETRY_AFTER);
        assert_eq!(seconds.is_some_and(|seconds| seconds <= 10), code == 500, "{code}");
    }
    phone.command(Command::Answer { call: CallHandle(1), audio: None }).expect("it rings");
    let ok = phone.response(200);
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it is up");
    let bye = phone.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), format!("sip:bob@{THERE}"));
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn an_offer_whose_type_was_forgotten_is_read_as_what_it_is() {
    let mut phone = Phone::new(UaConfig::default());
    let mut request = invite("1", Some(OFFER));
    request.headers.remove(&HeaderName::CONTENT_TYPE);
    phone.receive(request);
    phone.response(180);
    phone.command(Command::Answer { call: CallHandle(1), audio: None }).expect("it rings");
    let ok = phone.response(200);
    assert!(String::from_utf8_lossy(&ok.body).contains("RTP/AVP 0 101"), "an answer, no offer of ours");
    phone.receive(inside(Method::Ack, 1, &ok));
    end(&mut phone);
}

#[test]
fn a_refused_change_leaves_the_remote_target_where_it_was() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = rung(&mut phone);
    phone.receive(inside(Method::Ack, 1, &ok));
    let mut change = inside(Method::Invite, 2, &ok);
    change.headers.set(HeaderName::CONTACT, "<sip:bob@198.51.100.66>");
    change.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    change.body = OFFER.replace("RTP/AVP 0 101", "RTP/AVP 18").into_bytes();
    phone.receive(change);
    phone.response(488);
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it is up");
    let bye = phone.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), format!("sip:bob@{THERE}"));
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn the_caller_is_told_every_minute_that_it_still_rings() {
    let mut config = UaConfig::default();
    config.call.ring_timeout = Duration::from_secs(150);
    let mut phone = Phone::new(config);
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.run(Duration::from_secs(59));
    phone.silent();
    phone.run(Duration::from_secs(2));
    phone.response(180);
    phone.run(Duration::from_secs(60));
    phone.response(180);
    phone.run(Duration::from_secs(30));
    phone.response(480);
}
