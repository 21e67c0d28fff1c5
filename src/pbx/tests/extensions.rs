//! 600 to 605 as a phone meets them.

use super::*;
use crate::media::command::{AudioSink, AudioSource, Builtin, Route};

fn alice() -> Phone {
    Phone::new("alice", "192.0.2.7:5060")
}

/// Calls `number` and gives back the INVITE that was let in.
fn call(lab: &mut Lab, phone: &mut Phone, number: &str) -> Request {
    let invite = phone.invite(&format!("sip:{number}@pbx.example"));
    phone.ask(lab, invite)
}

fn opened(lab: &Lab) -> (MediaId, AudioSource) {
    match lab.media.first() {
        Some((media, MediaCommand::Open { route: Route::Local { source, sink: AudioSink::None }, .. })) => {
            (*media, source.clone())
        }
        other => panic!("no session was opened: {other:?}"),
    }
}

/// Threats D3: whatever the profile that the caller's keys came with.
#[test]
fn a_refresh_of_an_encrypted_echo_leaves_it_encrypted() {
    let key = "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";
    for profile in ["RTP/AVP", "RTP/SAVP"] {
        let (mut lab, mut alice) = (Lab::new(), alice());
        let mut invite = alice.invite("sip:600@pbx.example");
        invite.body = format!("{}{key}", OFFER.replace("RTP/AVP", profile)).into();
        invite.headers.push(HeaderName::SUPPORTED, "timer");
        invite.headers.push(HeaderName::SESSION_EXPIRES, "120;refresher=uas");
        let invite = alice.ask(&mut lab, invite);
        let ok = lab.response(&alice);
        let answer = body(&ok.body);
        let (_, ours) = answer.split_once("AES_CM_128_HMAC_SHA1_80 inline:").expect("a key of the PBX");
        let ours = ours.lines().next().expect("a key");
        alice.ack(&mut lab, &invite, &ok);
        lab.advance(Duration::from_secs(61));
        let refresh = body(&lab.request(&alice).body);
        assert!(refresh.contains(&format!("m=audio 10000 {profile} ")), "{refresh}");
        assert!(refresh.contains(ours), "{refresh}");
    }
}

#[test]
fn echo_answers_opens_an_echo_and_closes_it_after_the_bye() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "600");
    let ok = lab.response(&alice);
    assert_eq!(ok.status.code(), 200);
    assert_eq!(ok.headers.get(&HeaderName::CONTACT), Some("<sip:600@192.0.2.1:5060>"));
    let answer = body(&ok.body);
    assert!(answer.contains("m=audio 10000 RTP/AVP 0 101\r\n"), "{answer}");
    assert!(answer.contains("c=IN IP4 192.0.2.1\r\n"), "{answer}");
    let (media, source) = opened(&lab);
    assert_eq!(source, AudioSource::Echo);

    let mut dialog = alice.ack(&mut lab, &invite, &ok);
    assert_eq!(lab.states(), [("ringing".to_owned(), None), ("answered".to_owned(), None)]);
    let bye = alice.inside(&mut dialog, Method::Bye);
    lab.send(alice.addr, &bye.encode());
    assert_eq!(lab.response(&alice).status.code(), 200);
    assert_eq!(lab.media.last(), Some(&(media, MediaCommand::Close)));
    assert_eq!(lab.states(), [("ended".to_owned(), None)]);
    lab.assert_quiet();
}

#[test]
fn an_invite_without_offer_is_answered_with_one() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let mut invite = alice.invite("sip:600@pbx.example");
    invite.body.clear();
    invite.headers.remove(&HeaderName::CONTENT_TYPE);
    let invite = alice.ask(&mut lab, invite);
    let ok = lab.response(&alice);
    assert!(body(&ok.body).contains("PCMU/8000"));
    assert!(lab.media.is_empty());

    let dialog = crate::sip::dialog::Dialog::uac(&invite, &ok).expect("a dialog");
    let mut ack = dialog.ack_for(&invite).expect("an ACK");
    alice.stamp(&mut ack);
    ack.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
    let offered = crate::sdp::Sdp::parse(&ok.body).expect("SDP");
    let refused = offered.media.iter().skip(1).map(|_| "m=video 0 RTP/AVP 0\r\n").collect::<String>();
    ack.body = format!("{OFFER}{refused}").into();
    lab.send(alice.addr, &ack.encode());
    assert_eq!(opened(&lab).1, AudioSource::Echo);
}

#[test]
fn the_peer_holds_and_resumes() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "600");
    let ok = lab.response(&alice);
    let mut dialog = alice.ack(&mut lab, &invite, &ok);
    for (direction, answered) in [("sendonly", "recvonly"), ("sendrecv", "sendrecv")] {
        let mut change = alice.inside(&mut dialog, Method::Invite);
        change.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
        change.body = format!("{OFFER}a={direction}\r\n").into();
        lab.send(alice.addr, &change.encode());
        let ok = lab.response(&alice);
        assert!(body(&ok.body).contains(&format!("a={answered}\r\n")), "{}", body(&ok.body));
        let mut ack = dialog.ack_for(&change).expect("an ACK");
        alice.stamp(&mut ack);
        lab.send(alice.addr, &ack.encode());
        assert!(matches!(lab.media.last(), Some((_, MediaCommand::SetPlan(_)))));
    }
}

#[test]
fn the_announcement_ends_the_call_after_its_last_word() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "601");
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &invite, &ok);
    let (media, source) = opened(&lab);
    assert_eq!(source, AudioSource::Builtin(Builtin::Announcement));

    lab.media(media, MediaEvent::SourceEnded);
    let bye = lab.request(&alice);
    assert_eq!(bye.method, Method::Bye);
    alice.answer(&mut lab, &bye, 200, "");
    lab.assert_quiet();
}

#[test]
fn music_goes_on() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    call(&mut lab, &mut alice, "602");
    assert_eq!(opened(&lab).1, AudioSource::Builtin(Builtin::Music));
}

#[test]
fn busy_is_486_and_takes_no_sockets() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "603");
    let busy = lab.response(&alice);
    assert_eq!(busy.status.code(), 486);
    alice.ack_failure(&mut lab, &invite, &busy);
    assert_eq!(lab.states(), [("ringing".to_owned(), None), ("refused".to_owned(), Some(486))]);
    assert_eq!(lab.leased, 0);
    lab.assert_quiet();
}

#[test]
fn no_answer_rings_until_the_caller_gives_up() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "604");
    assert_eq!(lab.response(&alice).status.code(), 180);
    lab.advance(Duration::from_secs(170));
    // Told again each minute, lest a proxy on the way gives up (RFC 3261 §13.3.1.1).
    assert_eq!([lab.response(&alice), lab.response(&alice)].map(|response| response.status.code()), [180, 180]);
    alice.cancel(&mut lab, &invite);
    let codes = [lab.response(&alice), lab.response(&alice)].map(|response| response.status.code());
    assert_eq!(codes, [200, 487]);
    assert_eq!(lab.states().last(), Some(&("refused".to_owned(), Some(487))));
}

#[test]
fn digits_come_back_after_a_hash_or_three_seconds() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "605");
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &invite, &ok);
    let (media, _) = opened(&lab);
    let press = |lab: &mut Lab, digits: &str| {
        for digit in digits.chars() {
            lab.media(media, MediaEvent::Digit { digit, duration: Duration::from_millis(100) });
        }
    };
    let sent = |lab: &Lab| match lab.media.last() {
        Some((_, MediaCommand::SendDtmf { digits, .. })) => Some(digits.clone()),
        _ => None,
    };
    press(&mut lab, "12*");
    lab.advance(Duration::from_millis(2999));
    assert_eq!(sent(&lab), None);
    press(&mut lab, "#");
    assert_eq!(sent(&lab).as_deref(), Some("12*"));
    press(&mut lab, "7");
    lab.advance(Duration::from_secs(3));
    assert_eq!(sent(&lab).as_deref(), Some("7"));
}

#[test]
fn without_a_common_codec_or_sockets_the_call_is_refused() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let mut invite = alice.invite("sip:600@pbx.example");
    invite.body = OFFER.replace("RTP/AVP 0 101", "RTP/AVP 3").into();
    let invite = alice.ask(&mut lab, invite);
    let refused = lab.response(&alice);
    assert_eq!(refused.status.code(), 488);
    alice.ack_failure(&mut lab, &invite, &refused);

    lab.no_leases = true;
    let mut bob = Phone::new("bob", "192.0.2.8:5060");
    let invite = call(&mut lab, &mut bob, "600");
    let refused = lab.response(&bob);
    assert_eq!(refused.status.code(), 503);
    bob.ack_failure(&mut lab, &invite, &refused);
    lab.assert_quiet();
}

#[test]
fn a_session_that_hears_nothing_any_more_is_hung_up() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "600");
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &invite, &ok);
    lab.media(opened(&lab).0, MediaEvent::RtpLost);
    assert_eq!(lab.request(&alice).method, Method::Bye);
}

#[test]
fn an_ack_without_the_answer_it_owes_ends_the_call() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let mut invite = alice.invite("sip:600@pbx.example");
    invite.body.clear();
    invite.headers.remove(&HeaderName::CONTENT_TYPE);
    let invite = alice.ask(&mut lab, invite);
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &invite, &ok);
    let bye = lab.request(&alice);
    assert_eq!(bye.method, Method::Bye);
    alice.answer(&mut lab, &bye, 200, "");
    lab.assert_quiet();
}

#[test]
fn a_change_without_offer_that_is_never_answered_does_not_stand_in_the_way_of_the_next() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = call(&mut lab, &mut alice, "600");
    let ok = lab.response(&alice);
    let mut dialog = alice.ack(&mut lab, &invite, &ok);
    let change = alice.inside(&mut dialog, Method::Invite);
    lab.send(alice.addr, &change.encode());
    assert_eq!(lab.response(&alice).status.code(), 200);
    let mut ack = dialog.ack_for(&change).expect("an ACK");
    alice.stamp(&mut ack);
    lab.send(alice.addr, &ack.encode());
    let mut change = alice.inside(&mut dialog, Method::Invite);
    change.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
    change.body = OFFER.into();
    lab.send(alice.addr, &change.encode());
    assert_eq!(lab.response(&alice).status.code(), 200);
}
