//! RFC 3261 §12 as dialogues.

use super::*;
use crate::sip::message::Message;

const INVITE: &str = "INVITE sip:bob@pbx.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1\r\n\
    Record-Route: <sip:p2.example;lr>, <sip:p1.example;lr>\r\n\
    Max-Forwards: 70\r\nFrom: Alice <sip:alice@pbx.example>;tag=a1\r\nTo: <sip:bob@pbx.example>\r\n\
    Call-ID: c1@192.0.2.7\r\nCSeq: 5 INVITE\r\nContact: <sip:alice@192.0.2.7:5060>\r\nContent-Length: 0\r\n\r\n";

fn request(text: &str) -> Request {
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?}"),
    }
}

fn ok(invite: &Request, routes: &[&str], contact: Option<&str>) -> Response {
    let mut response = Response::to(invite, StatusCode::OK, Some("b1"));
    response.headers.remove(&HeaderName::RECORD_ROUTE);
    for route in routes {
        response.headers.push(HeaderName::RECORD_ROUTE, *route);
    }
    if let Some(contact) = contact {
        response.headers.push(HeaderName::CONTACT, contact);
    }
    response
}

fn routes(request: &Request) -> Vec<&str> {
    request.headers.get_all(&HeaderName::ROUTE).collect()
}

fn names(request: &Request) -> Vec<&str> {
    request.headers.iter().map(|(name, _)| name.as_str()).collect()
}

fn me() -> NameAddr {
    "<sip:bob@192.0.2.1:5060>".parse().expect("a contact")
}

#[test]
fn the_caller_reverses_the_record_routes_and_sends_to_the_contact() {
    let invite = request(INVITE);
    let response = ok(&invite, &["<sip:p1.example;lr>", "<sip:p2.example;lr>"], Some("<sip:bob@192.0.2.9>"));
    let mut dialog = Dialog::uac(&invite, &response).expect("a dialog");
    assert_eq!(dialog.route_uri().to_string(), "sip:p2.example;lr");

    let bye = dialog.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:bob@192.0.2.9");
    assert_eq!(routes(&bye), ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]);
    assert_eq!(bye.headers.get(&HeaderName::CSEQ), Some("6 BYE"));
    assert_eq!(bye.headers.from().expect("From").tag(), Some("a1"));
    assert_eq!(bye.headers.to().expect("To").tag(), Some("b1"));
    assert_eq!(bye.headers.get(&HeaderName::MAX_FORWARDS), Some("70"));
    assert_eq!(names(&bye), ["Route", "Route", "Max-Forwards", "From", "To", "Call-ID", "CSeq"]);
}

#[test]
fn the_callee_keeps_the_record_routes_in_order() {
    let invite = request(INVITE);
    let mut dialog = Dialog::uas(&invite, "b1".to_owned(), me()).expect("a dialog");
    let bye = dialog.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:alice@192.0.2.7:5060");
    assert_eq!(routes(&bye), ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]);
    assert_eq!(bye.headers.get(&HeaderName::CSEQ), Some("1 BYE"));
    assert_eq!(bye.headers.from().expect("From").tag(), Some("b1"));
    assert_eq!(bye.headers.to().expect("To").tag(), Some("a1"));
}

#[test]
fn a_strict_router_goes_into_the_request_line_and_the_target_last() {
    let invite = request(INVITE);
    let response = ok(
        &invite,
        &["<sip:p1.example;lr>", "<sip:strict.example;method=BYE>"],
        Some("<sip:bob@192.0.2.9;transport=udp>"),
    );
    let mut dialog = Dialog::uac(&invite, &response).expect("a dialog");
    let bye = dialog.request(Method::Bye);
    assert_eq!(bye.uri.to_string(), "sip:strict.example");
    assert_eq!(routes(&bye), ["<sip:p1.example;lr>", "<sip:bob@192.0.2.9;transport=udp>"]);
}

#[test]
fn the_ack_of_a_2xx_has_the_number_and_the_credentials_of_the_invite() {
    let mut invite = request(INVITE);
    invite.headers.push(HeaderName::AUTHORIZATION, "Digest username=\"alice\"");
    let mut dialog = Dialog::uac(&invite, &ok(&invite, &[], Some("<sip:bob@192.0.2.9>"))).expect("a dialog");
    let _ = dialog.request(Method::Options);
    let ack = dialog.ack_for(&invite).expect("an ACK");
    assert_eq!(ack.headers.get(&HeaderName::CSEQ), Some("5 ACK"));
    assert_eq!(ack.headers.get(&HeaderName::AUTHORIZATION), Some("Digest username=\"alice\""));
    assert_eq!(dialog.request(Method::Bye).headers.get(&HeaderName::CSEQ), Some("7 BYE"));
}

#[test]
fn the_cseq_of_the_peer_must_rise() {
    let mut dialog = Dialog::uas(&request(INVITE), "b1".to_owned(), me()).expect("a dialog");
    let info =
        |seq: u32| request(&INVITE.replace("INVITE sip", "INFO sip").replace("5 INVITE", &format!("{seq} INFO")));
    assert_eq!(dialog.accept(&info(9)), Ok(()));
    let late = dialog.accept(&info(7)).expect_err("lower");
    assert_eq!(late, DialogError::OutOfOrder { got: 7, last: 9 });
    assert_eq!(late.status().code(), 500);
    assert!(dialog.accept(&info(9)).is_err());
    assert_eq!(dialog.accept(&info(10)), Ok(()));
}

#[test]
fn a_re_invite_moves_the_target_and_an_info_does_not() {
    let mut dialog = Dialog::uas(&request(INVITE), "b1".to_owned(), me()).expect("a dialog");
    let moved = INVITE.replace("Contact: <sip:alice@192.0.2.7:5060>", "Contact: <sip:alice@198.51.100.3>");
    let info = moved.replace("INVITE sip", "INFO sip").replace("5 INVITE", "6 INFO");
    dialog.accept(&request(&info)).expect("in order");
    assert_eq!(dialog.target().to_string(), "sip:alice@192.0.2.7:5060");
    dialog.accept(&request(&moved.replace("5 INVITE", "7 INVITE"))).expect("in order");
    assert_eq!(dialog.target().to_string(), "sip:alice@198.51.100.3");
}

#[test]
fn the_2xx_replaces_the_route_set_of_the_early_dialog() {
    let invite = request(INVITE);
    let ringing = ok(&invite, &["<sip:old.example;lr>"], None);
    let mut dialog = Dialog::uac(&invite, &ringing).expect("a dialog");
    assert_eq!(dialog.target().to_string(), "sip:bob@pbx.example");
    dialog.confirm(&ok(&invite, &["<sip:new.example;lr>"], Some("<sip:bob@192.0.2.9>"))).expect("readable");
    assert_eq!(dialog.route_uri().to_string(), "sip:new.example;lr");
    assert_eq!(dialog.target().to_string(), "sip:bob@192.0.2.9");
}

#[test]
fn an_absent_tag_of_an_old_peer_is_empty_and_stays_away() {
    let invite = request(&INVITE.replace(";tag=a1", ""));
    let mut dialog = Dialog::uas(&invite, "b1".to_owned(), me()).expect("a dialog");
    assert_eq!(dialog.id().remote_tag, "");
    assert_eq!(dialog.request(Method::Bye).headers.to().expect("To").tag(), None);
}

#[test]
fn an_invite_without_contact_is_answered_400() {
    let invite = request(&INVITE.replace("Contact: <sip:alice@192.0.2.7:5060>\r\n", ""));
    let error = Dialog::uas(&invite, "b1".to_owned(), me()).expect_err("no target");
    assert_eq!((error.clone(), error.status().code()), (DialogError::NoContact, 400));
}

#[test]
fn both_sides_name_the_dialog_alike() {
    let invite = request(INVITE);
    let response = ok(&invite, &[], Some("<sip:bob@192.0.2.9>"));
    let (uac, uas) = (Dialog::uac(&invite, &response), Dialog::uas(&invite, "b1".to_owned(), me()));
    let (mut uac, mut uas) = (uac.expect("a dialog"), uas.expect("a dialog"));
    assert_eq!(DialogId::of_response(&response).as_ref(), Some(uac.id()));
    assert_eq!(DialogId::of_request(&uac.request(Method::Bye)).as_ref(), Some(uas.id()));
    assert_eq!(DialogId::of_request(&uas.request(Method::Bye)).as_ref(), Some(uac.id()));
}
