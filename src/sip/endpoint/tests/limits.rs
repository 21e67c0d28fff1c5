//! What strangers cannot make us do.

use super::*;

fn invite(n: u32) -> String {
    incoming("INVITE", &format!("x{n}"), "").replace("call-2", &format!("call-x{n}"))
}

#[test]
fn a_source_may_send_20_invites_a_second_and_gets_503_beyond() {
    let mut lab = Lab::new();
    (0..22).for_each(|n| lab.receive(&invite(n)));
    let told = lab.told();
    assert_eq!(told.iter().filter(|line| *line == "request INVITE").count(), 20);
    assert_eq!(told.iter().filter(|line| *line == "> SIP/2.0 503 Service Unavailable").count(), 2);
    lab.receive_from("192.0.2.10:5060", &invite(100));
    assert_eq!(lab.told(), ["request INVITE"]);
}

#[test]
fn unanswered_requests_are_capped_but_requests_in_a_dialog_pass() {
    let mut lab = Lab::limited(Limits { unanswered: 2, ..Limits::NONE });
    (0..3).for_each(|n| lab.receive(&invite(n)));
    assert_eq!(lab.told(), ["request INVITE", "request INVITE", "> SIP/2.0 503 Service Unavailable"]);
    lab.receive(&incoming("BYE", "b", ";tag=a1"));
    let (txn, bye, _) = lab.requested();
    respond(&mut lab, txn, &bye, 200);
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK"]);
}

#[test]
fn ten_thousand_unacknowledged_invites_are_gone_after_64_t1() {
    let mut lab = Lab::limited(Limits::NONE);
    for n in 0..10_000 {
        lab.receive(&invite(n));
        let (txn, request, _) = lab.requested();
        respond(&mut lab, txn, &request, 486);
        lab.outputs();
    }
    assert_eq!(lab.endpoint.transactions(), 10_000);
    lab.advance(32_000);
    lab.outputs();
    assert!(lab.endpoint.is_quiet());
    assert_eq!(lab.endpoint.poll_timeout(), None);
}

#[test]
fn finished_transactions_give_way_oldest_first_beyond_their_bytes() {
    let mut lab = Lab::limited(Limits::NONE);
    for n in 0..1100 {
        lab.receive(&incoming("OPTIONS", &format!("x{n}"), "").replace("call-2", &format!("call-x{n}")));
        let (txn, request, _) = lab.requested();
        let mut response = Response::to(&request, status(200), Some("a1"));
        response.body = vec![b'x'; 32 * 1024];
        lab.endpoint.respond(lab.now, txn, response);
        lab.outputs();
    }
    let kept = lab.endpoint.transactions();
    assert!((900..1024).contains(&kept), "{kept}");
    lab.receive(&incoming("OPTIONS", "x1099", "").replace("call-2", "call-x1099"));
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK"]);
    lab.receive(&incoming("OPTIONS", "x0", "").replace("call-2", "call-x0"));
    assert_eq!(lab.told(), ["request OPTIONS"]);
}
