//! REGISTER by challenge: lifetimes, order, removal, caps.

use super::*;

fn alice() -> Phone {
    Phone::new("alice", "192.0.2.7:5060")
}

/// Sends a changed REGISTER of a phone that knows the nonce.
fn change(lab: &mut Lab, phone: &mut Phone, change: impl FnOnce(&mut Request)) -> Response {
    let mut request = phone.register(600);
    change(&mut request);
    phone.digest.preemptive(&mut request);
    lab.send(phone.addr, &request.encode());
    lab.response(phone)
}

fn contacts(response: &Response) -> Vec<&str> {
    response.headers.get_all(&HeaderName::CONTACT).collect()
}

#[test]
fn a_phone_registers_refreshes_and_leaves() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let ok = alice.registers(&mut lab, 600);
    assert_eq!((ok.status.code(), contacts(&ok)), (200, vec!["<sip:alice@192.0.2.7:5060>;expires=600"]));
    assert!(ok.headers.to().expect("To").tag().is_some());

    lab.advance(Duration::from_secs(100));
    let ok = change(&mut lab, &mut alice, |request| {
        request.headers.remove(&HeaderName::CONTACT);
    });
    assert_eq!(contacts(&ok), ["<sip:alice@192.0.2.7:5060>;expires=500"]);

    let gone = change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::EXPIRES, "0"));
    assert_eq!((gone.status.code(), contacts(&gone).len()), (200, 0));
    let expires = lab.events.iter().map(|event| {
        let Event::PbxBinding { expires, .. } = event else { panic!("{event:?}") };
        *expires
    });
    assert_eq!(expires.collect::<Vec<_>>(), [600, 0]);
    lab.assert_quiet();
}

#[test]
fn a_binding_ends_by_itself() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    alice.registers(&mut lab, 60);
    lab.advance(Duration::from_secs(59));
    assert_eq!(lab.pbx.bindings(), 1);
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.pbx.bindings(), 0);
    let contact = "sip:alice@192.0.2.7:5060".to_owned();
    assert_eq!(lab.events.last(), Some(&Event::PbxBinding { user: "alice".to_owned(), contact, expires: 0 }));
}

#[test]
fn lifetimes_have_a_minimum_and_a_maximum() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    let brief = alice.registers(&mut lab, 59);
    assert_eq!((brief.status.code(), brief.headers.get(&HeaderName::MIN_EXPIRES)), (423, Some("60")));
    assert_eq!(lab.pbx.bindings(), 0);
    let long = change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::EXPIRES, "99999"));
    assert_eq!(contacts(&long), ["<sip:alice@192.0.2.7:5060>;expires=3600"]);
    let own = change(&mut lab, &mut alice, |request| {
        request.headers.set(HeaderName::CONTACT, "<sip:alice@192.0.2.7:5060>;expires=90");
    });
    assert_eq!(contacts(&own), ["<sip:alice@192.0.2.7:5060>;expires=90"]);
}

#[test]
fn a_star_removes_all_contacts_and_only_with_expires_0() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    alice.registers(&mut lab, 600);
    change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::CONTACT, "<sip:alice@192.0.2.9>"));
    assert_eq!(lab.pbx.bindings(), 2);
    let bad = change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::CONTACT, "*"));
    assert_eq!((bad.status.code(), lab.pbx.bindings()), (400, 2));
    let ok = change(&mut lab, &mut alice, |request| {
        request.headers.set(HeaderName::CONTACT, "*");
        request.headers.set(HeaderName::EXPIRES, "0");
    });
    assert_eq!((ok.status.code(), lab.pbx.bindings()), (200, 0));
}

#[test]
fn an_older_request_of_the_same_phone_changes_nothing() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    alice.registers(&mut lab, 600);
    let fixed = |request: &mut Request, seq: u32| {
        request.headers.set(HeaderName::CALL_ID, "fixed");
        request.headers.set(HeaderName::CSEQ, format!("{seq} REGISTER"));
    };
    assert_eq!(change(&mut lab, &mut alice, |request| fixed(request, 10)).status.code(), 200);
    let late = change(&mut lab, &mut alice, |request| {
        fixed(request, 9);
        request.headers.set(HeaderName::EXPIRES, "0");
    });
    assert_eq!((late.status.code(), lab.pbx.bindings()), (500, 1));
}

#[test]
fn the_eleventh_contact_is_refused_and_none_is_lost() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    alice.registers(&mut lab, 600);
    for port in 1..=10 {
        let answer = change(&mut lab, &mut alice, |request| {
            request.headers.set(HeaderName::CONTACT, format!("<sip:alice@192.0.2.7:{port}>"));
        });
        assert_eq!(answer.status.code(), if port < 10 { 200 } else { 403 });
    }
    assert_eq!(lab.pbx.bindings(), 10);
}

#[test]
fn what_cannot_be_a_contact_or_is_required_is_refused() {
    let (mut lab, mut alice) = (Lab::new(), alice());
    alice.registers(&mut lab, 600);
    for contact in ["<tel:5551234>".to_owned(), format!("<sip:{}@192.0.2.7>", "a".repeat(600))] {
        let bad = change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::CONTACT, contact));
        assert_eq!(bad.status.code(), 400);
    }
    let bad = change(&mut lab, &mut alice, |request| request.headers.set(HeaderName::REQUIRE, "gruu"));
    assert_eq!((bad.status.code(), bad.headers.get(&HeaderName::UNSUPPORTED)), (420, Some("gruu")));
}
