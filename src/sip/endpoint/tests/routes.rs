//! Names, local addresses and failover.

use super::*;
use crate::engine::{NoRoute, Record, RecordData, ResolveError};

fn wildcard() -> Lab {
    let mut lab = Lab::new();
    lab.endpoint.sockets = vec![
        BoundSocket { socket: SocketId(1), local: addr("0.0.0.0:5060") },
        BoundSocket { socket: SocketId(2), local: addr("[::]:5060") },
    ];
    lab
}

fn question(outputs: &[EndpointOutput]) -> RequestId {
    match outputs {
        [EndpointOutput::Resolve { id, .. } | EndpointOutput::LocalAddress { id, .. }] => *id,
        other => panic!("{other:?} is not one question"),
    }
}

fn records(ips: &[&str], ttl: u32) -> Vec<Record> {
    ips.iter().map(|ip| Record { data: RecordData::Addr(ip.parse().expect("an address")), ttl }).collect()
}

fn routed(lab: &mut Lab) -> Route {
    match lab.outputs().remove(0) {
        EndpointOutput::Event(EndpointEvent::Routed { result, .. }) => result.expect("a route"),
        other => panic!("{other:?} is no route"),
    }
}

#[test]
fn an_address_on_a_socket_bound_to_one_address_needs_no_question() {
    let mut lab = Lab::new();
    let route = lab.route("sip:bob@192.0.2.9");
    assert_eq!(route.local, addr(US));
    assert_eq!(route.targets, [Target { protocol: Protocol::Udp, addr: addr("192.0.2.9:5060") }]);
}

#[test]
fn a_wildcard_socket_asks_for_the_local_address() {
    let mut lab = wildcard();
    lab.endpoint.route(lab.now, &uri("sip:bob@[2001:db8::9]:5070"), None);
    let outputs = lab.outputs();
    assert_eq!(short(&outputs[0]), "local address towards [2001:db8::9]:5070");
    lab.endpoint.handle_local_address(lab.now, question(&outputs), Ok("2001:db8::1".parse().expect("an address")));
    let route = routed(&mut lab);
    assert_eq!(route.local, addr("[2001:db8::1]:5060"));
    assert_eq!(route.flow.map(|flow| flow.via), Some(FlowVia::Socket(SocketId(2))));
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let via = lab.sent_request().headers.via().expect("a Via").to_string();
    assert!(via.starts_with("SIP/2.0/UDP [2001:db8::1]:5060;rport;branch="), "{via}");
}

#[test]
fn a_name_is_asked_for_once_and_remembered_as_long_as_it_may_be() {
    let mut lab = Lab::new();
    lab.endpoint.route(lab.now, &uri("sip:example.org"), None);
    lab.endpoint.route(lab.now, &uri("sip:example.org:5070"), None);
    let outputs = lab.outputs();
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["resolve example.org"]);
    lab.endpoint.handle_resolved(lab.now, question(&outputs), Ok(records(&["192.0.2.9", "192.0.2.10"], 60)));
    assert_eq!(lab.told(), ["routed from 192.0.2.1:5060", "routed from 192.0.2.1:5060"]);
    lab.advance(59_999);
    lab.endpoint.route(lab.now, &uri("sip:example.org"), None);
    assert_eq!(lab.told(), ["routed from 192.0.2.1:5060"]);
    lab.advance(60_000);
    lab.endpoint.route(lab.now, &uri("sip:example.org"), None);
    assert_eq!(lab.told(), ["resolve example.org"]);
}

#[test]
fn a_name_without_address_says_so() {
    let mut lab = Lab::new();
    lab.endpoint.route(lab.now, &uri("sip:nowhere.invalid"), None);
    let id = question(&lab.outputs());
    lab.endpoint.handle_resolved(lab.now, id, Err(ResolveError::NotFound));
    assert_eq!(lab.told(), ["not routed: nowhere.invalid: the name does not exist"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn failing_over_goes_down_the_list_with_a_via_of_its_own() {
    let mut lab = wildcard();
    lab.endpoint.route(lab.now, &uri("sip:example.org"), None);
    let id = question(&lab.outputs());
    lab.endpoint.handle_resolved(lab.now, id, Ok(records(&["192.0.2.9", "2001:db8::9"], 0)));
    let id = question(&lab.outputs());
    lab.endpoint.handle_local_address(lab.now, id, Ok("192.0.2.1".parse().expect("an address")));
    let first = routed(&mut lab);
    assert!(lab.endpoint.next_target(lab.now, &first).is_some());
    let id = question(&lab.outputs());
    lab.endpoint.handle_local_address(lab.now, id, Ok("2001:db8::1".parse().expect("an address")));
    let second = routed(&mut lab);
    assert_eq!(second.local, addr("[2001:db8::1]:5060"));
    assert!(lab.endpoint.next_target(lab.now, &second).is_none());
    lab.endpoint.request(lab.now, outgoing(Method::Options), &second);
    let via = lab.sent_request().headers.via().expect("a Via").to_string();
    assert!(via.starts_with("SIP/2.0/UDP [2001:db8::1]:5060;"), "{via}");
}

#[test]
fn a_target_without_route_or_socket_is_passed_over() {
    let mut lab = wildcard();
    lab.endpoint.route(lab.now, &uri("sip:example.org"), None);
    let id = question(&lab.outputs());
    lab.endpoint.handle_resolved(lab.now, id, Ok(records(&["2001:db8::9", "192.0.2.9"], 0)));
    let id = question(&lab.outputs());
    lab.endpoint.handle_local_address(lab.now, id, Err(NoRoute));
    let id = question(&lab.outputs());
    lab.endpoint.handle_local_address(lab.now, id, Err(NoRoute));
    assert_eq!(lab.told(), ["not routed: no route to 192.0.2.9:5060"]);
    let mut lab = Lab::new();
    lab.endpoint.route(lab.now, &uri("sip:[2001:db8::9]"), None);
    assert_eq!(lab.told(), ["not routed: no local socket can reach [2001:db8::9]:5060"]);
}

#[test]
fn what_we_do_not_speak_is_refused() {
    let mut lab = Lab::new();
    for target in ["sips:bob@192.0.2.9;transport=udp", "tel:+15551234", "sip:bob@192.0.2.9;transport=sctp"] {
        lab.endpoint.route(lab.now, &uri(target), None);
        let told = lab.told();
        assert!(told[0].starts_with("not routed: "), "{told:?}");
    }
}
