//! Calls between two users: what one side does reaches the other.

use super::*;
use crate::media::command::Route;
use crate::sip::dialog::Dialog;

const ANSWER: &str = "v=0\r\no=- 9 1 IN IP4 192.0.2.8\r\ns=-\r\nc=IN IP4 192.0.2.8\r\nt=0 0\r\n\
    m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// Alice and bob, both registered.
fn world() -> (Lab, Phone, Phone) {
    world_with(|_| {})
}

fn world_with(change: impl FnOnce(&mut PbxConfig)) -> (Lab, Phone, Phone) {
    let mut lab = Lab::with(change);
    let mut phones = [Phone::new("alice", "192.0.2.7:5060"), Phone::new("bob", "192.0.2.8:5060")];
    for phone in &mut phones {
        assert_eq!(phone.registers(&mut lab, 3600).status.code(), 200);
    }
    let [alice, bob] = phones;
    lab.events.clear();
    (lab, alice, bob)
}

/// Alice calls bob; her INVITE and the one that reached bob.
fn call(lab: &mut Lab, alice: &mut Phone, bob: &Phone) -> (Request, Request) {
    let invite = alice.invite("sip:bob@pbx.example");
    let sent = alice.ask(lab, invite);
    let received = lab.request(bob);
    assert_eq!(received.method, Method::Invite);
    (sent, received)
}

/// Alice calls bob and bob answers; the dialogs of both with the PBX.
fn talk(lab: &mut Lab, alice: &mut Phone, bob: &Phone) -> (Dialog, Dialog) {
    let (sent, received) = call(lab, alice, bob);
    bob.answer(lab, &received, 200, ANSWER);
    assert_eq!(lab.request(bob).method, Method::Ack);
    let ok = lab.response(alice);
    assert_eq!(ok.status.code(), 200);
    let callers = alice.ack(lab, &sent, &ok);
    let contact = bob.contact().parse().expect("a contact");
    let callees = Dialog::uas(&received, "bob-tag".to_owned(), contact).expect("a dialog");
    (callers, callees)
}

fn change(phone: &mut Phone, dialog: &mut Dialog, body: &str) -> Request {
    let mut request = phone.inside(dialog, Method::Invite);
    request.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
    request.body = body.into();
    request
}

fn ack(lab: &mut Lab, phone: &mut Phone, dialog: &Dialog, change: &Request) {
    let mut ack = dialog.ack_for(change).expect("an ACK");
    phone.stamp(&mut ack);
    lab.send(phone.addr, &ack.encode());
}

#[test]
fn a_call_rings_is_answered_and_relayed_and_the_callee_hangs_up() {
    let (mut lab, mut alice, mut bob) = world();
    let (sent, received) = call(&mut lab, &mut alice, &bob);
    assert_eq!(received.uri.to_string(), "sip:bob@192.0.2.8:5060");
    assert_eq!(received.headers.max_forwards(), Ok(Some(69)));
    let from = received.headers.from().expect("From");
    assert_eq!((from.display.as_deref(), from.uri.to_string()), (Some("alice"), "sip:alice@pbx.example".to_owned()));
    assert_ne!(received.headers.call_id(), sent.headers.call_id());
    assert!(!received.headers.has(&HeaderName::AUTHORIZATION));
    let offer = body(&received.body);
    assert!(offer.contains("c=IN IP4 192.0.2.1\r\n") && offer.contains("m=audio 10002 RTP/AVP 0 101\r\n"), "{offer}");

    bob.answer(&mut lab, &received, 180, "");
    assert_eq!(lab.response(&alice).status.code(), 180);
    bob.answer(&mut lab, &received, 200, ANSWER);
    assert_eq!(lab.request(&bob).method, Method::Ack);
    let ok = lab.response(&alice);
    let answer = body(&ok.body);
    assert!(answer.contains("c=IN IP4 192.0.2.1\r\n") && answer.contains("m=audio 10000 RTP/AVP 0\r\n"), "{answer}");
    alice.ack(&mut lab, &sent, &ok);
    assert_eq!(lab.states(), [("ringing".to_owned(), None), ("answered".to_owned(), None)]);

    let opened = lab.media.iter().map(|(media, command)| {
        let MediaCommand::Open { plan, route: Route::Relay { peer }, .. } = command else {
            panic!("not opened as a relay: {command:?}")
        };
        (*media, *peer, plan.transports.first().map(|transport| transport.remote))
    });
    let opened = opened.collect::<Vec<_>>();
    let [(a, to_b, from_a), (b, to_a, from_b)] = opened.as_slice() else { panic!("{opened:?}") };
    assert_eq!((a, b), (to_a, to_b));
    let signalled = |rtp: &str, rtcp: &str| {
        Some(crate::sdp::plan::Remote::Signalled { rtp: addr(rtp), rtcp: addr(rtcp), latch: true })
    };
    assert_eq!(*from_a, signalled("192.0.2.7:4000", "192.0.2.7:4001"));
    assert_eq!(*from_b, signalled("192.0.2.8:6000", "192.0.2.8:6001"));

    let contact = bob.contact().parse().expect("a contact");
    let mut dialog = Dialog::uas(&received, "bob-tag".to_owned(), contact).expect("a dialog");
    let bye = bob.inside(&mut dialog, Method::Bye);
    lab.send(bob.addr, &bye.encode());
    assert_eq!(lab.response(&bob).status.code(), 200);
    let bye = lab.request(&alice);
    assert_eq!(bye.method, Method::Bye);
    alice.answer(&mut lab, &bye, 200, "");
    assert_eq!(lab.states(), [("ended".to_owned(), None)]);
    lab.assert_quiet();
}

#[test]
fn the_caller_hangs_up_and_the_callee_hears_it() {
    let (mut lab, mut alice, bob) = world();
    let (mut callers, _) = talk(&mut lab, &mut alice, &bob);
    let bye = alice.inside(&mut callers, Method::Bye);
    lab.send(alice.addr, &bye.encode());
    assert_eq!(lab.response(&alice).status.code(), 200);
    let bye = lab.request(&bob);
    assert_eq!(bye.method, Method::Bye);
    bob.answer(&mut lab, &bye, 200, "");
    lab.assert_quiet();
}

#[test]
fn a_cancelled_call_stops_ringing() {
    let (mut lab, mut alice, bob) = world();
    let (sent, received) = call(&mut lab, &mut alice, &bob);
    bob.answer(&mut lab, &received, 180, "");
    assert_eq!(lab.response(&alice).status.code(), 180);
    alice.cancel(&mut lab, &sent);
    assert_eq!(lab.response(&alice).status.code(), 200);
    let terminated = lab.response(&alice);
    assert_eq!(terminated.status.code(), 487);
    alice.ack_failure(&mut lab, &sent, &terminated);

    let cancel = lab.request(&bob);
    assert_eq!(cancel.method, Method::Cancel);
    bob.answer(&mut lab, &cancel, 200, "");
    bob.answer(&mut lab, &received, 487, "");
    assert_eq!(lab.request(&bob).method, Method::Ack);
    assert_eq!(lab.states().last(), Some(&("refused".to_owned(), Some(487))));
    lab.assert_quiet();
}

#[test]
fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut lab, mut alice, bob) = world();
    let (sent, received) = call(&mut lab, &mut alice, &bob);
    bob.answer(&mut lab, &received, 180, "");
    alice.cancel(&mut lab, &sent);
    assert_eq!(lab.request(&bob).method, Method::Cancel);
    bob.answer(&mut lab, &received, 200, ANSWER);
    assert_eq!(lab.request(&bob).method, Method::Ack);
    let bye = lab.request(&bob);
    assert_eq!(bye.method, Method::Bye);
    bob.answer(&mut lab, &bye, 200, "");
    assert!(lab.media.is_empty());
}

#[test]
fn refusals_cross_as_they_are_and_troubles_as_480() {
    for (theirs, told) in [(486, 486), (603, 603), (488, 488), (480, 480), (302, 480), (401, 480), (503, 480)] {
        let (mut lab, mut alice, bob) = world();
        let (sent, received) = call(&mut lab, &mut alice, &bob);
        bob.answer(&mut lab, &received, theirs, "");
        assert_eq!(lab.request(&bob).method, Method::Ack);
        let refused = lab.response(&alice);
        assert_eq!(refused.status.code(), told, "for {theirs}");
        alice.ack_failure(&mut lab, &sent, &refused);
        assert_eq!(lab.states().last(), Some(&("refused".to_owned(), Some(told))));
        lab.assert_quiet();
    }
}

#[test]
fn a_callee_who_does_not_answer_is_cancelled_after_the_answer_time() {
    let (mut lab, mut alice, bob) = world_with(|config| config.answer_timeout = Duration::from_secs(30));
    let (sent, received) = call(&mut lab, &mut alice, &bob);
    bob.answer(&mut lab, &received, 180, "");
    lab.response(&alice);
    lab.advance(Duration::from_secs(29));
    assert_eq!(lab.next(&alice), None);
    lab.advance(Duration::from_secs(1));
    let refused = lab.response(&alice);
    assert_eq!(refused.status.code(), 480);
    alice.ack_failure(&mut lab, &sent, &refused);
    let cancel = lab.request(&bob);
    assert_eq!(cancel.method, Method::Cancel);
    bob.answer(&mut lab, &cancel, 200, "");
    bob.answer(&mut lab, &received, 487, "");
    lab.assert_quiet();
}

#[test]
fn a_callee_who_has_vanished_is_480_after_timer_b() {
    let (mut lab, mut alice, bob) = world();
    let (sent, _) = call(&mut lab, &mut alice, &bob);
    lab.advance(Duration::from_secs(33));
    let refused = lab.response(&alice);
    assert_eq!(refused.status.code(), 480);
    alice.ack_failure(&mut lab, &sent, &refused);
    lab.assert_quiet();
}

#[test]
fn all_phones_of_a_user_ring_and_the_first_answer_wins() {
    let (mut lab, mut alice, bob) = world();
    let mut desk = Phone::new("bob", "192.0.2.9:5060");
    desk.registers(&mut lab, 3600);
    let (sent, on_mobile) = call(&mut lab, &mut alice, &bob);
    let on_desk = lab.request(&desk);
    for (phone, invite) in [(&bob, &on_mobile), (&desk, &on_desk)] {
        phone.answer(&mut lab, invite, 180, "");
        assert_eq!(lab.response(&alice).status.code(), 180);
    }
    desk.answer(&mut lab, &on_desk, 200, ANSWER);
    assert_eq!(lab.request(&desk).method, Method::Ack);
    let cancel = lab.request(&bob);
    assert_eq!(cancel.method, Method::Cancel);
    bob.answer(&mut lab, &cancel, 200, "");
    bob.answer(&mut lab, &on_mobile, 487, "");
    let ok = lab.response(&alice);
    assert_eq!(ok.status.code(), 200);
    alice.ack(&mut lab, &sent, &ok);
    assert_eq!((lab.leased, lab.released), (3, 1));
    assert_eq!(lab.pbx.sessions(), 1);
}

#[test]
fn one_busy_phone_does_not_end_the_ringing_of_the_other() {
    let (mut lab, mut alice, bob) = world();
    let mut desk = Phone::new("bob", "192.0.2.9:5060");
    desk.registers(&mut lab, 3600);
    let (_, on_mobile) = call(&mut lab, &mut alice, &bob);
    let on_desk = lab.request(&desk);
    bob.answer(&mut lab, &on_mobile, 486, "");
    assert_eq!(lab.next(&alice), None);
    desk.answer(&mut lab, &on_desk, 480, "");
    assert_eq!(lab.response(&alice).status.code(), 486);
}

#[test]
fn a_hold_crosses_and_its_answer_comes_back() {
    let (mut lab, mut alice, bob) = world();
    let (mut callers, _) = talk(&mut lab, &mut alice, &bob);
    let hold = change(&mut alice, &mut callers, &format!("{OFFER}a=sendonly\r\n"));
    lab.send(alice.addr, &hold.encode());
    let passed = lab.request(&bob);
    assert_eq!(passed.method, Method::Invite);
    let offer = body(&passed.body);
    assert!(offer.contains("a=sendonly\r\n") && offer.contains("m=audio 10002 "), "{offer}");
    assert_eq!(lab.next(&alice), None, "the answer waits for the other side");

    bob.answer(&mut lab, &passed, 200, &format!("{ANSWER}a=recvonly\r\n"));
    assert_eq!(lab.request(&bob).method, Method::Ack);
    let ok = lab.response(&alice);
    let answer = body(&ok.body);
    assert!(ok.status.code() == 200 && answer.contains("a=recvonly\r\n") && answer.contains("m=audio 10000 "));
    ack(&mut lab, &mut alice, &callers, &hold);
    let directions = lab.media.iter().rev().take(2).map(|(_, command)| {
        let MediaCommand::SetPlan(plan) = command else { panic!("{command:?}") };
        plan.streams.first().map(|stream| stream.direction)
    });
    use crate::sdp::plan::Direction::{RecvOnly, SendOnly};
    assert_eq!(directions.collect::<Vec<_>>(), [Some(SendOnly), Some(RecvOnly)]);
}

#[test]
fn a_refused_change_leaves_everything_as_it_was() {
    let (mut lab, mut alice, mut bob) = world();
    let (_, mut callees) = talk(&mut lab, &mut alice, &bob);
    let before = lab.media.len();
    let wish = change(&mut bob, &mut callees, &ANSWER.replace("6000", "6002"));
    lab.send(bob.addr, &wish.encode());
    let passed = lab.request(&alice);
    alice.answer(&mut lab, &passed, 488, "");
    assert_eq!(lab.request(&alice).method, Method::Ack);
    let refused = lab.response(&bob);
    assert_eq!(refused.status.code(), 488);
    bob.ack_failure(&mut lab, &wish, &refused);
    assert_eq!(lab.media.len(), before);

    // The next change passes.
    let wish = change(&mut bob, &mut callees, &ANSWER.replace("6000", "6004"));
    lab.send(bob.addr, &wish.encode());
    let passed = lab.request(&alice);
    alice.answer(&mut lab, &passed, 200, OFFER);
    assert_eq!(lab.request(&alice).method, Method::Ack);
    assert_eq!(lab.response(&bob).status.code(), 200);
    assert_eq!(lab.media.len(), before + 2);
}

#[test]
fn changes_of_both_sides_at_once_are_491() {
    let (mut lab, mut alice, mut bob) = world();
    let (mut callers, mut callees) = talk(&mut lab, &mut alice, &bob);
    let first = change(&mut alice, &mut callers, OFFER);
    let second = change(&mut bob, &mut callees, ANSWER);
    lab.send(alice.addr, &first.encode());
    lab.send(bob.addr, &second.encode());
    let passed = lab.request(&bob);
    let collided = lab.response(&bob);
    assert_eq!(collided.status.code(), 491);
    bob.ack_failure(&mut lab, &second, &collided);
    bob.answer(&mut lab, &passed, 491, "");
    assert_eq!(lab.request(&bob).method, Method::Ack);
    assert_eq!(lab.response(&alice).status.code(), 491);
}

#[test]
fn an_invite_without_offer_gets_the_callees_answer_as_offer() {
    let (mut lab, mut alice, bob) = world();
    let mut invite = alice.invite("sip:bob@pbx.example");
    invite.body.clear();
    invite.headers.remove(&HeaderName::CONTENT_TYPE);
    let sent = alice.ask(&mut lab, invite);
    let received = lab.request(&bob);
    assert!(body(&received.body).contains("m=audio 10002 RTP/AVP"));
    bob.answer(&mut lab, &received, 200, ANSWER);
    let ok = lab.response(&alice);
    assert!(body(&ok.body).contains("m=audio 10000 RTP/AVP 0\r\n"));
    assert!(lab.media.is_empty());

    let dialog = Dialog::uac(&sent, &ok).expect("a dialog");
    let mut ack = dialog.ack_for(&sent).expect("an ACK");
    alice.stamp(&mut ack);
    ack.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
    ack.body = OFFER.replace("0 101", "0").into();
    lab.send(alice.addr, &ack.encode());
    assert_eq!(lab.media.len(), 2);
    assert_eq!(lab.request(&bob).method, Method::Ack);
    assert_eq!(lab.next(&bob), None);
}

#[test]
fn codecs_that_we_do_not_know_pass() {
    let (mut lab, mut alice, bob) = world();
    let mut invite = alice.invite("sip:bob@pbx.example");
    invite.body =
        OFFER.replace("RTP/AVP 0 101", "RTP/AVP 98").replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:98 EVS/16000").into();
    alice.ask(&mut lab, invite);
    let received = lab.request(&bob);
    let offer = body(&received.body);
    assert!(offer.contains("m=audio 10002 RTP/AVP 98\r\n") && offer.contains("a=rtpmap:98 EVS/16000\r\n"), "{offer}");
}

#[test]
fn a_broken_offer_never_reaches_the_callee() {
    for (offer, told) in [("v=0\r\nnonsense\r\n", 400), (&OFFER.replace("RTP/AVP", "UDP/TLS/RTP/SAVP"), 488)] {
        let (mut lab, mut alice, bob) = world();
        let mut invite = alice.invite("sip:bob@pbx.example");
        invite.body = offer.into();
        let sent = alice.ask(&mut lab, invite);
        let refused = lab.response(&alice);
        assert_eq!(refused.status.code(), told);
        alice.ack_failure(&mut lab, &sent, &refused);
        assert_eq!(lab.next(&bob), None);
        lab.assert_quiet();
    }
}

#[test]
fn stop_cancels_what_rings_and_ends_what_talks() {
    let (mut lab, mut alice, bob) = world();
    talk(&mut lab, &mut alice, &bob);
    lab.pbx.handle_command(lab.now, Command::Stop).expect("it can always stop");
    lab.drain();
    for phone in [&alice, &bob] {
        let bye = lab.request(phone);
        assert_eq!(bye.method, Method::Bye);
        phone.answer(&mut lab, &bye, 200, "");
    }
    lab.assert_quiet();
    assert_eq!(lab.events.last(), Some(&Event::Stopped));
}

#[test]
fn phones_behind_nat_are_reached_along_their_flows() {
    let (mut lab, mut alice, mut bob) =
        (Lab::new(), Phone::new("alice", "192.0.2.7:5060"), Phone::new("bob", "192.0.2.8:5060"));
    // What the PBX sees are the addresses that the routers gave.
    let outside = [addr("203.0.113.1:40007"), addr("203.0.113.2:40008")];
    let (private_alice, private_bob) = ("<sip:alice@10.0.0.7>", "<sip:bob@10.0.0.8>");
    let sends = |lab: &mut Lab, phone: &mut Phone, from: SocketAddr, mut request: Request, contact: &str| {
        phone.addr = from;
        if request.headers.has(&HeaderName::CONTACT) {
            request.headers.set(HeaderName::CONTACT, contact);
        }
        phone.ask(lab, request)
    };
    let register = bob.register(3600);
    sends(&mut lab, &mut bob, outside[1], register, private_bob);
    assert_eq!(lab.response(&bob).status.code(), 200);
    let invite = alice.invite("sip:bob@pbx.example");
    let sent = sends(&mut lab, &mut alice, outside[0], invite, private_alice);
    let received = lab.request(&bob);
    assert_eq!(received.uri.to_string(), "sip:bob@10.0.0.8");
    bob.answer(&mut lab, &received, 200, ANSWER);
    assert_eq!(lab.request(&bob).method, Method::Ack);
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &sent, &ok);

    let contact = private_bob.parse().expect("a contact");
    let mut dialog = Dialog::uas(&received, "bob-tag".to_owned(), contact).expect("a dialog");
    let bye = bob.inside(&mut dialog, Method::Bye);
    lab.send(bob.addr, &bye.encode());
    assert_eq!(lab.response(&bob).status.code(), 200);
    let bye = lab.request(&alice);
    assert_eq!((bye.method, bye.uri.to_string()), (Method::Bye, "sip:alice@10.0.0.7".to_owned()));
}

#[test]
fn a_caller_whose_ack_lacks_the_answer_it_owes_ends_the_call() {
    let (mut lab, mut alice, bob) = world();
    let mut invite = alice.invite("sip:bob@pbx.example");
    invite.body.clear();
    invite.headers.remove(&HeaderName::CONTENT_TYPE);
    let sent = alice.ask(&mut lab, invite);
    let received = lab.request(&bob);
    bob.answer(&mut lab, &received, 200, ANSWER);
    let ok = lab.response(&alice);
    assert_eq!(lab.request(&bob).method, Method::Ack);
    alice.ack(&mut lab, &sent, &ok);
    for phone in [&alice, &bob] {
        let bye = lab.request(phone);
        assert_eq!(bye.method, Method::Bye);
        phone.answer(&mut lab, &bye, 200, "");
    }
    lab.assert_quiet();
}

#[test]
fn a_fault_of_ours_in_a_bridge_ends_both_its_legs_and_no_other_call() {
    let (mut lab, mut alice, bob) = world();
    talk(&mut lab, &mut alice, &bob);
    let now = lab.now;
    let call = *lab.pbx.owners.keys().next().expect("a call");
    lab.pbx.with_session(now, call, |_, _| panic!("planted"));
    lab.pbx.settle(now);
    lab.drain();
    for phone in [&mut alice, &mut { bob }] {
        let bye = lab.request(phone);
        assert_eq!(bye.method, Method::Bye);
        phone.answer(&mut lab, &bye, 200, "");
    }
    lab.assert_quiet();
}
