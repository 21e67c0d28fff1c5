//! Calls that have moved (RFC 3261 §8.1.3.4).

use super::*;

fn dialled(phone: &mut Phone) -> Request {
    phone.dial("sip:bob@192.0.2.2");
    assert!(matches!(phone.event(), Event::CallOutgoing { .. }));
    phone.request(Method::Invite)
}

fn moved(request: &Request, contacts: &[&str]) -> Response {
    let mut response = reply(request, 302, "m");
    for contact in contacts {
        response.headers.push(HeaderName::CONTACT, *contact);
    }
    response
}

fn header<'a>(request: &'a Request, name: &HeaderName) -> Option<&'a str> {
    request.headers.get(name)
}

#[test]
fn a_call_follows_to_the_contacts_in_their_order() {
    let mut phone = Phone::new(UaConfig::default());
    let first = dialled(&mut phone);
    phone.receive(moved(&first, &["<sip:bob@192.0.2.3>;q=0.5", "<sip:desk@192.0.2.4:5070>;q=0.9"]));
    phone.request(Method::Ack);
    let (to, Message::Request(second)) = phone.sent.pop_front().expect("another INVITE") else { panic!("a request") };
    assert_eq!((to, second.uri.to_string().as_str()), (addr("192.0.2.4:5070"), "sip:desk@192.0.2.4:5070"));
    for name in [HeaderName::CALL_ID, HeaderName::FROM, HeaderName::TO] {
        assert_eq!(header(&second, &name), header(&first, &name), "{name}");
    }
    assert_eq!(header(&second, &HeaderName::CSEQ), Some("2 INVITE"));
    phone.receive(reply(&second, 486, "d"));
    phone.request(Method::Ack);
    let third = phone.request(Method::Invite);
    assert_eq!(third.uri.to_string(), "sip:bob@192.0.2.3");
    phone.receive(with_sdp(reply(&third, 200, "b"), OFFER));
    phone.request(Method::Ack);
    assert!(matches!(phone.event(), Event::CallAnswered { .. }));
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it is up");
    let bye = phone.request(Method::Bye);
    phone.receive(reply(&bye, 200, ""));
    phone.assert_quiet();
}

#[test]
fn a_loop_of_redirections_ends() {
    let mut phone = Phone::new(UaConfig::default());
    let mut request = dialled(&mut phone);
    for hop in 0..6 {
        phone.receive(moved(&request, &[&format!("<sip:b{hop}@192.0.2.3>"), "<sip:bob@192.0.2.2>"]));
        phone.request(Method::Ack);
        if hop < 5 {
            request = phone.request(Method::Invite);
        }
    }
    phone.silent();
    assert_eq!(phone.ended().1, Some(302));
    phone.assert_quiet();
}

#[test]
fn who_declines_everywhere_is_not_looked_for_elsewhere() {
    let mut phone = Phone::new(UaConfig::default());
    let first = dialled(&mut phone);
    phone.receive(moved(&first, &["<sip:b@192.0.2.3>", "<sip:c@192.0.2.3>"]));
    phone.request(Method::Ack);
    let second = phone.request(Method::Invite);
    phone.receive(reply(&second, 603, "d"));
    phone.request(Method::Ack);
    phone.silent();
    assert_eq!(phone.ended().1, Some(603));
    phone.assert_quiet();
}

#[test]
fn early_sound_of_the_first_place_gives_way_to_that_of_the_next() {
    let mut phone = Phone::new(UaConfig::default());
    let first = dialled(&mut phone);
    phone.receive(with_sdp(reply(&first, 183, "b"), OFFER));
    assert!(matches!(phone.media.pop(), Some(MediaCommand::Open { .. })));
    phone.receive(moved(&first, &["<sip:c@192.0.2.3>"]));
    phone.request(Method::Ack);
    let second = phone.request(Method::Invite);
    phone.receive(with_sdp(reply(&second, 183, "c"), &OFFER.replace("4000", "6000")));
    let Some(MediaCommand::SetPlan(plan)) = phone.media.pop() else { panic!("the same session goes on") };
    assert!(format!("{plan:?}").contains("192.0.2.2:6000"));
    phone.command(Command::HangUp { call: CallHandle(1) }).expect("it rings");
    let cancel = phone.request(Method::Cancel);
    phone.receive(reply(&cancel, 200, "c"));
    phone.receive(reply(&second, 487, "c"));
    phone.request(Method::Ack);
    phone.assert_quiet();
}

#[test]
fn our_password_is_not_shown_where_a_redirection_leads() {
    let uri = |text: &str| text.parse().expect("a URI");
    let mut account = AccountConfig::new("work", uri("sip:1001@192.0.2.2"), uri("sip:192.0.2.2"));
    account.register = false;
    account.credentials = Some(account::Credentials {
        user: "1001".into(),
        password: crate::secret::Secret::new("geheim".into()),
        realm: None,
    });
    let mut phone = Phone::new(UaConfig { accounts: vec![account], ..UaConfig::default() });
    phone.dial("600");
    let first = phone.request(Method::Invite);
    phone.receive(moved(&first, &["<sip:600@198.51.100.66>"]));
    phone.request(Method::Ack);
    let second = phone.request(Method::Invite);
    let mut challenge = reply(&second, 401, "x");
    challenge.headers.push(HeaderName::WWW_AUTHENTICATE, "Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"");
    phone.receive_from("198.51.100.66:5060", challenge);
    phone.request(Method::Ack);
    phone.silent();
    assert_eq!(phone.ended().1, Some(401));
    phone.assert_quiet();
}
