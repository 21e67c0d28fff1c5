//! Established calls: changes by the peer, the end of the sound, stopping.

use super::*;

const CALL: CallHandle = CallHandle(1);

/// A call from bob that is up; gives back our 200.
fn talking(phone: &mut Phone) -> Response {
    phone.receive(invite("1", Some(OFFER)));
    phone.response(180);
    phone.command(Command::Answer { call: CALL, audio: None }).expect("it rings");
    let ok = phone.response(200);
    phone.receive(inside(Method::Ack, 1, &ok));
    phone.events.clear();
    phone.media.clear();
    ok
}

fn change(seq: u32, ok: &Response, sdp: &str) -> Request {
    let mut request = inside(Method::Invite, seq, ok);
    request.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    request.body = sdp.as_bytes().to_vec();
    request
}

fn end(phone: &mut Phone) {
    phone.sent.clear();
    phone.command(Command::HangUp { call: CALL }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn the_peer_holds_and_resumes() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = talking(&mut phone);
    let held = OFFER.replace("o=- 1 1", "o=- 1 2") + "a=sendonly\r\n";
    phone.receive(change(2, &ok, &held));
    let answer = phone.response(200);
    assert!(String::from_utf8_lossy(&answer.body).contains("a=recvonly"));
    phone.receive(inside(Method::Ack, 2, &ok));
    assert!(matches!(phone.event(), Event::CallChanged { held_by_peer: true, .. }));
    let Some(MediaCommand::SetPlan(plan)) = phone.media.pop() else { panic!("a new plan") };
    assert!(!plan.streams[0].direction.sends());

    phone.receive(change(3, &ok, &OFFER.replace("o=- 1 1", "o=- 1 3").replace("4000", "4010")));
    phone.response(200);
    phone.receive(inside(Method::Ack, 3, &ok));
    let Event::CallChanged { held_by_peer: false, audio: Some(audio), .. } = phone.event() else { panic!("resumed") };
    assert_eq!(audio.remote.as_deref(), Some("192.0.2.2:4010"));
    end(&mut phone);
}

#[test]
fn a_change_that_cannot_be_is_refused_and_the_call_goes_on() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = talking(&mut phone);
    phone.receive(change(2, &ok, &OFFER.replace("RTP/AVP 0 101", "RTP/AVP 18")));
    phone.response(488);
    assert!(phone.media.is_empty());
    assert_eq!(phone.ua.snapshot().calls[0].state, "talking");
    end(&mut phone);
}

#[test]
fn a_change_during_a_change_waits() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = talking(&mut phone);
    let mut late = change(2, &ok, OFFER);
    late.headers.remove(&HeaderName::CONTENT_TYPE);
    late.body.clear();
    phone.receive(late);
    phone.response(200);
    // The ACK owes us an answer.
    phone.receive(change(3, &ok, OFFER));
    phone.response(491);
    let mut ack = inside(Method::Ack, 2, &ok);
    ack.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    ack.body = OFFER.as_bytes().to_vec();
    phone.receive(ack);
    // The next one says that our 2xx has arrived, though its ACK has not.
    phone.receive(change(4, &ok, OFFER));
    phone.response(200);
    phone.receive(change(5, &ok, OFFER));
    phone.response(200);
    phone.receive(inside(Method::Ack, 5, &ok));
    phone.run(ms(5000));
    end(&mut phone);
}

#[test]
fn requests_out_of_order_or_unknown_do_no_harm() {
    let mut phone = Phone::new(UaConfig::default());
    let ok = talking(&mut phone);
    phone.receive(inside(Method::Options, 5, &ok));
    phone.response(200);
    phone.receive(inside(Method::Bye, 4, &ok));
    phone.response(500);
    for (seq, method, code) in [
        (6, Method::Update, 200),
        (7, Method::Info, 200),
        (8, Method::Refer, 400),
        (9, Method::Notify, 489),
        (10, Method::Other("FOO".into()), 501),
    ] {
        phone.receive(inside(method, seq, &ok));
        phone.response(code);
    }
    let mut stray = inside(Method::Bye, 11, &ok);
    stray.headers.set(HeaderName::TO, "<sip:alice@192.0.2.1>;tag=guessed");
    phone.receive(stray);
    phone.response(481);
    assert_eq!(phone.ua.snapshot().calls[0].state, "talking");
    end(&mut phone);
}

#[test]
fn a_peer_that_falls_silent_ends_the_call() {
    let mut phone = Phone::new(UaConfig::default());
    talking(&mut phone);
    phone.ua.handle_media(phone.now, MediaId(1), MediaEvent::RtpLost);
    phone.drain();
    phone.request(Method::Bye);
    let (by, _, failure) = phone.ended();
    assert_eq!((by, failure.map(|f| f.slug)), (EndedBy::Fault, Some("media.peer-gone".into())));
    phone.assert_quiet();
}

#[test]
fn digits_and_mute_reach_the_media_session() {
    let mut phone = Phone::new(UaConfig::default());
    talking(&mut phone);
    phone.command(Command::Dtmf { call: CALL, digits: "12#".into() }).expect("it is up");
    phone.command(Command::Mute { call: CALL, on: true }).expect("it is up");
    assert!(matches!(&phone.media[0], MediaCommand::SendDtmf { digits, .. } if digits == "12#"));
    assert_eq!(phone.media[1], MediaCommand::Mute(true));
    let bad = phone.command(Command::Dtmf { call: CALL, digits: "x".into() });
    assert_eq!(bad, Err(CommandError::BadDigit('x')));
    end(&mut phone);
}

#[test]
fn stopping_hangs_up_and_is_over_when_the_peers_have_answered() {
    let mut phone = Phone::new(UaConfig::default());
    talking(&mut phone);
    phone.command(Command::Stop).expect("always");
    let bye = phone.request(Method::Bye);
    assert!(!phone.events.contains(&Event::Stopped));
    phone.receive(reply(&bye, 200, ""));
    assert!(phone.events.contains(&Event::Stopped));
    phone.assert_quiet();
}

#[test]
fn stopping_takes_at_most_two_seconds_when_nobody_answers() {
    let mut phone = Phone::new(UaConfig::default());
    talking(&mut phone);
    phone.command(Command::Stop).expect("always");
    phone.run(ms(2000));
    assert_eq!(phone.events.iter().filter(|event| **event == Event::Stopped).count(), 1);
    phone.assert_quiet();
}

#[test]
fn a_ping_comes_back_or_says_why_not() {
    let mut phone = Phone::new(UaConfig::default());
    phone.command(Command::Ping { target: "192.0.2.2".into() }).expect("an address");
    let options = phone.request(Method::Options);
    phone.now += ms(40);
    let mut ok = reply(&options, 200, "b");
    ok.headers.push(HeaderName::ALLOW, "INVITE, BYE");
    ok.headers.push(HeaderName::SERVER, "Bob/1");
    phone.receive(with_sdp(ok, OFFER));
    let Event::Pong { result: Ok(pong), .. } = phone.event() else { panic!("an answer") };
    assert_eq!((pong.code, pong.rtt_ms, pong.server.as_deref()), (200, 40, Some("Bob/1")));
    assert_eq!(pong.codecs, ["pcmu", "telephone-event"]);
    assert_eq!(pong.allow, ["INVITE", "BYE"]);
    phone.command(Command::Ping { target: "192.0.2.2".into() }).expect("an address");
    phone.run(Duration::from_secs(33));
    let Event::Pong { result: Err(failure), .. } = phone.event() else { panic!("no answer") };
    assert_eq!(failure.slug, "net.timeout");
    phone.assert_quiet();
}

#[test]
fn a_fault_of_ours_in_a_call_ends_it_with_a_goodbye_and_the_phone_goes_on() {
    let mut phone = Phone::new(UaConfig::default());
    talking(&mut phone);
    let now = phone.now;
    phone.ua.with_calls(|calls, core| calls.plant_panic(now, core, CALL));
    phone.ua.settle(now);
    phone.drain();
    let bye = phone.request(Method::Bye);
    let Event::CallEnded { by: EndedBy::Fault, failure: Some(failure), .. } = phone.event() else { panic!("ended") };
    assert_eq!(failure.slug, "call.fault");
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();

    // A fault in what the phone does for a call that rings.
    phone.receive(invite("2", Some(OFFER)));
    phone.response(180);
    let second = CallHandle(2);
    phone.ua.guarded(now, second, |_| panic!("planted"));
    phone.ua.settle(now);
    phone.drain();
    phone.response(480);
    assert!(matches!(phone.event(), Event::CallIncoming { .. }));
    let Event::CallEnded { call, failure: Some(failure), .. } = phone.event() else { panic!("ended") };
    assert_eq!((call, failure.slug.as_str()), (second, "call.fault"));
}
