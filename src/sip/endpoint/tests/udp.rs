//! Transactions over datagrams, as dialogues.

use super::*;

#[test]
fn a_request_carries_our_via_with_rport_and_a_fresh_branch() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let (message, flow) = lab.sent();
    let via = message.headers().via().expect("a Via");
    assert_eq!(via.to_string().split(";branch=").next(), Some("SIP/2.0/UDP 192.0.2.1:5060;rport"));
    assert!(via.branch().is_some_and(|branch| branch.starts_with("z9hG4bK") && branch.len() == 31));
    assert_eq!((flow.local, flow.peer, flow.via), (addr(US), addr(THEM), FlowVia::Socket(SocketId(1))));
}

#[test]
fn an_options_is_repeated_until_answered_and_told_once() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let request = lab.sent_request();
    lab.advance(1499);
    assert_eq!(lab.told(), ["> OPTIONS sip:bob@192.0.2.9:5070 SIP/2.0"]);
    lab.receive(&answer(&request, 200));
    lab.receive(&answer(&request, 200));
    assert_eq!(lab.told(), ["response 200"]);
    lab.advance(10_000);
    assert_eq!(lab.told(), ["terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn nobody_answering_is_a_timeout_after_32_s() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    lab.advance(31_999);
    assert_eq!(lab.told().len(), 7);
    lab.advance(32_000);
    assert_eq!(lab.told(), ["failed: no answer in time"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn a_failed_invite_is_acknowledged_on_its_own_branch_with_the_to_tag_of_the_failure() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    let mut invite = outgoing(Method::Invite);
    invite.headers.push(HeaderName::ROUTE, "<sip:192.0.2.9:5070;lr>");
    invite.headers.push(HeaderName::PROXY_AUTHORIZATION, "Digest shown");
    lab.endpoint.request(lab.now, invite, &route);
    let invite = lab.sent_request();
    lab.receive(&answer(&invite, 100));
    assert_eq!(lab.told(), [""; 0]);
    lab.receive(&answer(&invite, 486));
    let mut outputs = lab.outputs();
    assert_eq!(short(&outputs[1]), "response 486");
    let EndpointOutput::Transmit(transmit) = outputs.remove(0) else { panic!("no ACK") };
    let ack = Message::parse(&transmit.bytes).expect("an ACK");
    assert_eq!(ack.headers().get(&HeaderName::VIA), invite.headers.get(&HeaderName::VIA));
    assert_eq!(ack.headers().get(&HeaderName::TO), Some("<sip:bob@192.0.2.9>;tag=b1"));
    assert_eq!(ack.headers().get(&HeaderName::CSEQ), Some("1 ACK"));
    assert_eq!(ack.headers().get(&HeaderName::ROUTE), Some("<sip:192.0.2.9:5070;lr>"));
    assert_eq!(ack.headers().get(&HeaderName::PROXY_AUTHORIZATION), Some("Digest shown"));
    assert_eq!(transmit.flow.peer, addr(THEM));
    lab.receive(&answer(&invite, 486));
    assert_eq!(lab.told(), ["> ACK sip:bob@192.0.2.9:5070 SIP/2.0"]);
    lab.advance(32_000);
    assert_eq!(lab.told(), ["terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn every_2xx_is_told_and_the_ack_gets_a_branch_of_its_own() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    let invite = lab.sent_request();
    lab.receive(&answer(&invite, 180));
    lab.receive(&answer(&invite, 200));
    lab.receive(&answer(&invite, 200).replace("tag=b1", "tag=fork"));
    assert_eq!(lab.told(), ["response 180", "response 200", "response 200"]);
    lab.endpoint.send_ack(lab.now, outgoing(Method::Ack), &route);
    let ack = lab.sent_request();
    assert_ne!(ack.headers.get(&HeaderName::VIA), invite.headers.get(&HeaderName::VIA));
    lab.advance(32_000);
    assert_eq!(lab.told(), ["terminated"]);
    lab.receive(&answer(&invite, 200));
    assert_eq!(lab.told(), [""; 0]);
}

#[test]
fn cancel_waits_for_a_provisional_response_and_is_sent_once() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    let txn = lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    let invite = lab.sent_request();
    lab.endpoint.cancel(lab.now, txn);
    assert_eq!(lab.told(), [""; 0]);
    lab.receive(&answer(&invite, 100));
    let cancel = lab.sent_request();
    assert_eq!((&cancel.method, &cancel.uri), (&Method::Cancel, &invite.uri));
    for name in [HeaderName::VIA, HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID] {
        assert_eq!(cancel.headers.get(&name), invite.headers.get(&name));
    }
    assert_eq!(cancel.headers.get(&HeaderName::CSEQ), Some("1 CANCEL"));
    lab.receive(&answer(&invite, 180));
    assert_eq!(lab.told(), ["response 180"]);
    lab.receive(&answer(&cancel, 200));
    lab.receive(&answer(&invite, 487));
    assert_eq!(lab.told(), ["response 200", "> ACK sip:bob@192.0.2.9:5070 SIP/2.0", "response 487"]);
    lab.advance(40_000);
    assert_eq!(lab.told(), ["terminated", "terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn cancel_after_the_final_response_sends_nothing() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    let txn = lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    let invite = lab.sent_request();
    lab.receive(&answer(&invite, 200));
    assert_eq!(lab.told(), ["response 200"]);
    lab.endpoint.cancel(lab.now, txn);
    assert_eq!(lab.told(), ["terminated"]);
}

#[test]
fn a_cancelled_invite_without_answer_fails_after_64_t1() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    let txn = lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    let invite = lab.sent_request();
    lab.receive(&answer(&invite, 180));
    lab.advance(1000);
    lab.told();
    lab.endpoint.cancel(lab.now, txn);
    let cancel = lab.sent_request();
    lab.receive(&answer(&cancel, 200));
    lab.told();
    lab.advance(32_999);
    assert_eq!(lab.told(), ["terminated"]);
    lab.advance(33_000);
    assert_eq!(lab.told(), ["failed: no answer in time"]);
}

#[test]
fn a_response_with_a_strange_branch_or_two_vias_is_dropped() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let request = lab.sent_request();
    lab.receive(&answer(&request, 200).replace("branch=z9hG4bK", "branch=z9hG4bKx"));
    lab.receive(&answer(&request, 200).replace("From:", "Via: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKq\nFrom:"));
    lab.receive(&answer(&request, 200).replace("1 OPTIONS", "1 INVITE"));
    assert_eq!(lab.told(), [""; 0]);
    assert_eq!(lab.endpoint.counters().dropped, 3);
}

#[test]
fn an_incoming_invite_is_told_once_and_trying_leaves_after_200_ms() {
    let mut lab = Lab::new();
    lab.receive(&incoming("INVITE", "1", ""));
    let (txn, invite, flow) = lab.requested();
    assert_eq!(
        invite.headers.get(&HeaderName::VIA),
        Some("SIP/2.0/UDP 10.0.0.9:5071;rport=5070;branch=z9hG4bK1;received=192.0.2.9")
    );
    assert_eq!(flow.peer, addr(THEM));
    lab.receive(&incoming("INVITE", "1", ""));
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(200);
    assert_eq!(lab.told(), ["> SIP/2.0 100 Trying"]);
    lab.receive(&incoming("INVITE", "1", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 100 Trying"]);
    respond(&mut lab, txn, &invite, 180);
    lab.receive(&incoming("INVITE", "1", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 180 Ringing", "> SIP/2.0 180 Ringing"]);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_which_nobody_is_told_of() {
    let mut lab = Lab::new();
    lab.receive(&incoming("INVITE", "1", ""));
    let (txn, invite, _) = lab.requested();
    respond(&mut lab, txn, &invite, 486);
    lab.advance(500);
    assert_eq!(lab.told(), ["> SIP/2.0 486 Busy Here", "> SIP/2.0 486 Busy Here"]);
    lab.receive(&incoming("ACK", "1", ";tag=a1"));
    lab.advance(5499);
    lab.receive(&incoming("ACK", "1", ";tag=a1"));
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(5500);
    assert_eq!(lab.told(), ["terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn the_ack_of_a_2xx_reaches_the_user_even_after_the_transaction_ended() {
    let mut lab = Lab::new();
    lab.receive(&incoming("INVITE", "1", ""));
    let (txn, invite, _) = lab.requested();
    respond(&mut lab, txn, &invite, 200);
    respond(&mut lab, txn, &invite, 200);
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK", "> SIP/2.0 200 OK"]);
    lab.receive(&incoming("INVITE", "1", ""));
    assert_eq!(lab.told(), [""; 0]);
    lab.receive(&incoming("ACK", "2", ";tag=a1"));
    assert_eq!(lab.told(), ["ack"]);
    lab.advance(32_000);
    assert_eq!(lab.told(), ["terminated"]);
    lab.receive(&incoming("ACK", "2", ";tag=a1"));
    assert_eq!(lab.told(), ["ack"]);
}

#[test]
fn cancel_is_answered_here_and_told_of_while_the_invite_has_no_final_response() {
    let mut lab = Lab::new();
    lab.receive(&incoming("INVITE", "1", ""));
    let (txn, invite, _) = lab.requested();
    respond(&mut lab, txn, &invite, 180);
    lab.told();
    lab.receive(&incoming("CANCEL", "1", ""));
    let outputs = lab.outputs();
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["> SIP/2.0 200 OK", "cancelled"]);
    let EndpointOutput::Transmit(transmit) = &outputs[0] else { panic!("no response") };
    let ok = Message::parse(&transmit.bytes).expect("a response");
    assert_eq!(ok.headers().to().expect("a To").tag(), Some("a1"));
    lab.receive(&incoming("CANCEL", "1", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK"]);
    respond(&mut lab, txn, &invite, 487);
    assert_eq!(lab.told(), ["> SIP/2.0 487 Request Terminated"]);
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing_and_one_without_invite_gets_481() {
    let mut lab = Lab::new();
    lab.receive(&incoming("CANCEL", "9", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 481 Call/Transaction Does Not Exist"]);
    lab.receive(&incoming("INVITE", "1", ""));
    let (txn, invite, _) = lab.requested();
    respond(&mut lab, txn, &invite, 200);
    lab.told();
    lab.receive(&incoming("CANCEL", "1", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK"]);
}

#[test]
fn the_same_request_over_another_path_is_a_loop() {
    let mut lab = Lab::new();
    lab.receive(&incoming("INVITE", "1", ""));
    lab.requested();
    lab.receive(&incoming("INVITE", "2", ""));
    assert_eq!(lab.told(), ["> SIP/2.0 482 Loop Detected"]);
    lab.receive(&incoming("BYE", "3", ";tag=a1").replace("CSeq: 7", "CSeq: 8"));
    lab.requested();
}

#[test]
fn a_request_of_rfc_2543_is_matched_without_a_branch() {
    let mut lab = Lab::new();
    let old = |method: &str, tag: &str| incoming(method, "1", tag).replace(";rport;branch=z9hG4bK1", "");
    lab.receive(&old("INVITE", ""));
    let (txn, invite, flow) = lab.requested();
    assert_eq!(flow.peer, addr("192.0.2.9:5071"));
    lab.receive(&old("INVITE", ""));
    assert_eq!(lab.told(), [""; 0]);
    respond(&mut lab, txn, &invite, 404);
    lab.receive(&old("ACK", ";tag=a1"));
    assert_eq!(lab.told(), ["> SIP/2.0 404 Not Found"]);
    lab.advance(6000);
    assert_eq!(lab.told(), ["terminated"]);
}

#[test]
fn a_stateless_challenge_leaves_nothing_behind() {
    let mut lab = Lab::new();
    lab.receive(&incoming("REGISTER", "1", ""));
    let (txn, request, _) = lab.requested();
    lab.endpoint.respond_statelessly(lab.now, txn, Response::to(&request, status(401), Some("a1")));
    assert_eq!(lab.told(), ["> SIP/2.0 401 Unauthorized"]);
    assert!(lab.endpoint.is_quiet());
    lab.receive(&incoming("REGISTER", "1", ""));
    lab.requested();
}

#[test]
fn a_request_nobody_answers_is_forgotten_without_408() {
    let mut lab = Lab::new();
    lab.receive(&incoming("OPTIONS", "1", ""));
    lab.requested();
    lab.advance(32_000);
    assert_eq!(lab.told(), ["terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn what_cannot_be_read_is_answered_only_when_it_is_a_request_with_enough_headers() {
    let mut lab = Lab::new();
    lab.receive(&incoming("OPTIONS", "1", "").replace("SIP/2.0\nVia", "SIP/7.0\nVia"));
    let (response, flow) = lab.sent();
    assert!(matches!(response, Message::Response(response) if response.status.code() == 505));
    assert_eq!(flow.peer, addr(THEM));
    lab.receive(&incoming("OPTIONS", "1", "").replace("CSeq: 7", "CSeq: x"));
    assert!(lab.told().first().is_none_or(|first| first.starts_with("> SIP/2.0 400")));
    lab.receive(&incoming("ACK", "1", "").replace("SIP/2.0\nVia", "SIP/7.0\nVia"));
    lab.receive("\n\n");
    lab.receive("no sip at all");
    assert_eq!(lab.told(), [""; 0]);
    assert!(lab.endpoint.is_quiet());
}
