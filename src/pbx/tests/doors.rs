//! Who comes in, and what those who do not come in are told (threats B2, B4, B10, B11, C13, C14).

use super::*;

fn alice() -> Phone {
    Phone::new("alice", "192.0.2.7:5060")
}

/// Each method with what its owner is told about bob, who is not registered.
const METHODS: [(Method, u16); 10] = [
    (Method::Register, 200),
    (Method::Invite, 480),
    (Method::Options, 200),
    (Method::Message, 405),
    (Method::Subscribe, 405),
    (Method::Publish, 405),
    (Method::Refer, 405),
    (Method::Info, 405),
    (Method::Notify, 481),
    (Method::Bye, 481),
];

/// A request of alice for bob, or for the PBX if it is a REGISTER.
fn some(phone: &mut Phone, method: &Method) -> Request {
    let target = if *method == Method::Register { "sip:pbx.example" } else { "sip:bob@pbx.example" };
    phone.new_request(method.clone(), target)
}

#[test]
fn ten_methods_meet_the_same_door() {
    for (method, expected) in METHODS {
        // no credentials
        let (mut lab, mut phone) = (Lab::new(), alice());
        let request = some(&mut phone, &method);
        lab.send(phone.addr, &request.encode());
        let challenge = lab.response(&phone);
        assert_eq!(challenge.status.code(), 401, "{method}");

        // a wrong password
        let mut guesser = Phone::with_password("alice", "192.0.2.7:5060", "guess");
        let wrong = guesser.again(request.clone(), &challenge);
        lab.send(phone.addr, &wrong.encode());
        assert_eq!(lab.response(&phone).status.code(), 401, "{method}");

        // another user's name
        let mut bob = Phone::new("bob", "192.0.2.7:5060");
        let forged = bob.again(request.clone(), &challenge);
        lab.send(phone.addr, &forged.encode());
        assert_eq!(lab.response(&phone).status.code(), 403, "{method}");

        // the right one
        let request = some(&mut phone, &method);
        phone.ask(&mut lab, request);
        assert_eq!(lab.response(&phone).status.code(), expected, "{method}");
    }
}

#[test]
fn a_question_to_the_pbx_itself_needs_no_name() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let options = alice.new_request(Method::Options, "sip:192.0.2.1");
    lab.send(alice.addr, &options.encode());
    let ok = lab.response(&alice);
    assert_eq!(ok.status.code(), 200);
    assert_eq!(ok.headers.tokens(&HeaderName::ALLOW).join(", "), ALLOWED);
}

#[test]
fn a_stranger_gets_one_short_answer_and_nothing_is_kept() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = alice.invite("sip:600@pbx.example").encode();
    for _ in 0..3 {
        lab.send(alice.addr, &invite);
        assert_eq!(lab.response(&alice).status.code(), 401);
    }
    assert!(lab.pbx.is_quiet());
    lab.advance(Duration::from_secs(64));
    assert_eq!(lab.next(&alice), None);
    lab.send(alice.addr, &invite);
    let challenge = lab.response(&alice);
    assert!(challenge.encode().len() <= 2 * invite.len(), "{} for {}", challenge.encode().len(), invite.len());
}

#[test]
fn known_and_unknown_users_are_answered_alike() {
    let mut answers = Vec::new();
    for user in ["alice", "malon"] {
        let mut lab = Lab::new();
        let mut phone = Phone::with_password(user, "192.0.2.7:5060", "guess");
        let request = phone.register(600);
        let sent = phone.ask(&mut lab, request);
        assert!(sent.headers.has(&HeaderName::AUTHORIZATION));
        let refusal = lab.response(&phone);
        answers.push((refusal.encode().len(), refusal.status, refusal.reason.clone()));
        assert!(!body(&refusal.encode()).contains("stale"));
    }
    assert_eq!(answers.first(), answers.last());
}

#[test]
fn the_sixth_guess_is_not_answered_and_the_owner_elsewhere_comes_in() {
    let mut lab = Lab::new();
    let mut answered = 0;
    for guess in 0..20 {
        let mut eve = Phone::with_password("alice", "198.51.100.9:5060", &format!("guess{guess}"));
        eve.seq = 10 * guess;
        eve.rng = Rng::new([guess as u8 + 1; 32]);
        let request = eve.register(600);
        eve.ask(&mut lab, request);
        answered += usize::from(lab.next(&eve).is_some());
        lab.advance(Duration::from_secs(1));
    }
    assert_eq!(answered, 5);
    let ok = alice().registers(&mut lab, 600);
    assert_eq!(ok.status.code(), 200);
    lab.advance(Duration::from_secs(60));
    let mut home = Phone::new("alice", "198.51.100.9:5060");
    assert_eq!(home.registers(&mut lab, 600).status.code(), 200);
}

#[test]
fn nothing_leads_out_of_the_pbx() {
    for target in [
        "sip:600@other.example",
        "sip:+15551234@198.51.100.1",
        "sip:600@pbx.example;maddr=198.51.100.1",
        "sip:600@[::ffff:198.51.100.1]",
        "sip:600@0.0.0.0",
        "sip:600@pbx.example:5060;maddr=0.0.0.0;transport=tcp",
    ] {
        let (mut lab, mut alice) = (Lab::new(), alice());
        let invite = alice.invite(target);
        alice.ask(&mut lab, invite);
        assert_eq!(lab.response(&alice).status.code(), 403, "{target}");
        assert_eq!(lab.inbox.len(), 1, "{target}");
    }
    let (mut lab, mut alice) = (Lab::new(), alice());
    let mut invite = alice.invite("sip:600@pbx.example");
    invite.headers.push(HeaderName::ROUTE, "<sip:198.51.100.1;lr>");
    alice.ask(&mut lab, invite);
    assert_eq!(lab.response(&alice).status.code(), 403);
}

#[test]
fn unknown_users_are_404_absent_ones_480_and_the_last_hop_483() {
    let expected = [("sip:dave@pbx.example", 404), ("sip:bob@pbx.example", 480), ("sip:pbx.example", 404)];
    for (target, code) in expected {
        let (mut lab, mut alice) = (Lab::new(), alice());
        let invite = alice.invite(target);
        alice.ask(&mut lab, invite);
        assert_eq!(lab.response(&alice).status.code(), code, "{target}");
    }
    let (mut lab, mut alice) = (Lab::new(), alice());
    let mut invite = alice.invite("sip:bob@pbx.example");
    invite.headers.set(HeaderName::MAX_FORWARDS, "0");
    alice.ask(&mut lab, invite);
    assert_eq!(lab.response(&alice).status.code(), 483);
}

#[test]
fn one_call_too_many_is_503_with_retry_after() {
    let mut lab = Lab::with(|config| config.max_calls = 1);
    let (mut alice, mut bob) = (alice(), Phone::new("bob", "192.0.2.8:5060"));
    let invite = alice.invite("sip:600@pbx.example");
    alice.ask(&mut lab, invite);
    assert_eq!(lab.response(&alice).status.code(), 200);
    let invite = bob.invite("sip:600@pbx.example");
    bob.ask(&mut lab, invite);
    let full = lab.response(&bob);
    assert_eq!((full.status.code(), full.headers.get(&HeaderName::RETRY_AFTER)), (503, Some("5")));
}

#[test]
fn stop_hangs_up_and_says_when_all_is_over() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let invite = alice.invite("sip:600@pbx.example");
    let invite = alice.ask(&mut lab, invite);
    let ok = lab.response(&alice);
    alice.ack(&mut lab, &invite, &ok);
    lab.pbx.handle_command(lab.now, Command::Stop).expect("it can always stop");
    lab.drain();
    assert!(!lab.events.contains(&Event::Stopped));
    let bye = lab.request(&alice);
    assert_eq!(bye.method, Method::Bye);
    alice.answer(&mut lab, &bye, 200, "");
    lab.advance(Duration::from_secs(40));
    assert_eq!(lab.events.last(), Some(&Event::Stopped));
}
