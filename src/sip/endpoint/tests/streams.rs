//! Transactions over stream connections.

use super::*;
use crate::engine::StreamFault;

const TCP: &str = "sip:192.0.2.9:5070;transport=tcp";

impl Lab {
    fn accept(&mut self, n: u32, peer: &str) -> ConnId {
        let conn = ConnId { slot: ConnId::ACCEPTED + n, generation: 0 };
        let event = StreamEvent::Accepted { listener: ListenerId(1), local: addr(US), peer: addr(peer) };
        self.endpoint.handle_stream(self.now, conn, event);
        conn
    }

    fn data(&mut self, conn: ConnId, text: &str) {
        let wire = text.replace('\n', "\r\n");
        self.endpoint.handle_stream(self.now, conn, StreamEvent::Data(wire.as_bytes()));
    }

    /// The route over TCP, with its question answered.
    fn tcp_route(&mut self) -> Route {
        self.endpoint.route(self.now, &uri(TCP), None);
        match self.outputs().remove(0) {
            EndpointOutput::LocalAddress { id, .. } => {
                self.endpoint.handle_local_address(self.now, id, Ok(addr(US).ip()));
                self.tcp_routed()
            }
            EndpointOutput::Event(EndpointEvent::Routed { result, .. }) => result.expect("a route"),
            other => panic!("{other:?} is neither question nor route"),
        }
    }

    fn tcp_routed(&mut self) -> Route {
        match self.outputs().remove(0) {
            EndpointOutput::Event(EndpointEvent::Routed { result, .. }) => result.expect("a route"),
            other => panic!("{other:?} is no route"),
        }
    }

    fn connecting(&mut self) -> ConnId {
        match self.outputs().as_slice() {
            [EndpointOutput::Connect { conn, .. }] => *conn,
            other => panic!("{other:?} is not one connection"),
        }
    }

    fn connected(&mut self, conn: ConnId) {
        self.endpoint.handle_stream(
            self.now,
            conn,
            StreamEvent::Connected { local: addr("192.0.2.1:40000"), tls: None },
        );
    }
}

#[test]
fn requests_wait_for_their_connection_and_share_it() {
    let mut lab = Lab::new();
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let conn = lab.connecting();
    lab.endpoint.request(lab.now, outgoing(Method::Register), &route);
    lab.connected(conn);
    let line = |method| format!("> {method} sip:bob@192.0.2.9:5070 SIP/2.0");
    assert_eq!(lab.told(), [line("OPTIONS"), line("REGISTER")]);
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let (message, flow) = lab.sent();
    assert_eq!((flow.protocol, flow.via), (Protocol::Tcp, FlowVia::Conn(conn)));
    let via = message.headers().via().expect("a Via").to_string();
    assert!(via.starts_with("SIP/2.0/TCP 192.0.2.1:5060;rport;branch="), "{via}");
    lab.advance(31_999);
    assert_eq!(lab.told(), [""; 0]);
}

#[test]
fn a_response_over_the_connection_ends_the_transaction_at_once() {
    let mut lab = Lab::new();
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let conn = lab.connecting();
    lab.connected(conn);
    let request = lab.sent_request();
    lab.data(conn, &answer(&request, 200));
    assert_eq!(lab.told(), ["response 200", "terminated"]);
    assert!(lab.endpoint.is_quiet());
}

#[test]
fn a_refused_connection_fails_every_request_on_it() {
    let mut lab = Lab::new();
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Options), &route);
    let conn = lab.connecting();
    lab.endpoint.request(lab.now, outgoing(Method::Invite), &route);
    lab.endpoint.handle_stream(lab.now, conn, StreamEvent::Failed(StreamFault::Refused));
    assert_eq!(lab.told(), ["failed: the connection failed", "failed: the connection failed"]);
    assert!(lab.endpoint.is_quiet());
    assert_eq!(lab.endpoint.connections(), 0);
}

#[test]
fn a_request_over_an_accepted_connection_is_answered_there() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &incoming("OPTIONS", "1", ""));
    let (txn, request, flow) = lab.requested();
    assert_eq!((flow.via, flow.peer), (FlowVia::Conn(conn), addr("192.0.2.9:41000")));
    respond(&mut lab, txn, &request, 200);
    assert_eq!(lab.told(), ["> SIP/2.0 200 OK", "terminated"]);
}

#[test]
fn a_response_whose_connection_is_gone_goes_to_the_sent_by_over_a_new_one() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &incoming("INVITE", "1", ""));
    let (txn, invite, _) = lab.requested();
    lab.endpoint.handle_stream(lab.now, conn, StreamEvent::Closed);
    respond(&mut lab, txn, &invite, 180);
    let outputs = lab.outputs();
    assert_eq!(outputs.iter().map(short).collect::<Vec<_>>(), ["disconnected", "connect 192.0.2.9:5071"]);
    let EndpointOutput::Connect { conn, .. } = outputs[1] else { panic!("no connection") };
    lab.connected(conn);
    respond(&mut lab, txn, &invite, 486);
    assert_eq!(lab.told(), ["> SIP/2.0 180 Ringing", "> SIP/2.0 486 Busy Here"]);
}

#[test]
fn a_keep_alive_is_answered_by_one_line_end() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, "\n\n");
    let outputs = lab.outputs();
    assert!(matches!(outputs.as_slice(), [EndpointOutput::Transmit(pong)] if pong.bytes == b"\r\n"));
}

#[test]
fn a_keep_alive_of_ours_that_stays_unanswered_for_10_s_ends_the_connection() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    let flow = lab.endpoint.flow_of(conn).expect("it is up");
    for second in [0, 95] {
        lab.advance(second * 1000);
        lab.endpoint.keep_alive(lab.now, &flow);
        assert_eq!(lab.told().len(), 1, "two line ends leave");
        lab.data(conn, "\n");
        lab.data(conn, &incoming("ACK", "1", ""));
        lab.told();
    }
    lab.endpoint.keep_alive(lab.now, &flow);
    lab.told();
    lab.advance(95_000 + 9_999);
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(95_000 + 10_000);
    assert_eq!(lab.told(), ["close", "disconnected"]);
    lab.endpoint.keep_alive(lab.now, &flow);
    assert_eq!(lab.told(), [""; 0], "it is gone");
}

#[test]
fn the_answers_to_two_keep_alives_of_ours_are_no_keep_alive_of_the_peer() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &incoming("ACK", "1", ""));
    lab.told();
    let flow = lab.endpoint.flow_of(conn).expect("it is up");
    for second in [0, 100, 200] {
        lab.advance(second * 1000);
        lab.endpoint.keep_alive(lab.now, &flow);
        lab.told();
        lab.data(conn, "\n");
        assert_eq!(lab.told(), [""; 0]);
    }
    assert_eq!(lab.endpoint.connections(), 1);
}

#[test]
fn a_peer_that_never_answers_keep_alives_keeps_its_connection() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &incoming("ACK", "1", ""));
    lab.told();
    let flow = lab.endpoint.flow_of(conn).expect("it is up");
    for second in [0, 100, 200] {
        lab.advance(second * 1000);
        lab.endpoint.keep_alive(lab.now, &flow);
        lab.told();
        // Its own keep-alive is no answer to ours.
        lab.data(conn, "\n\n");
        lab.told();
        lab.advance(second * 1000 + 50_000);
        assert_eq!(lab.told(), [""; 0]);
    }
    assert_eq!(lab.endpoint.connections(), 1);
}

#[test]
fn a_wrong_length_is_answered_and_ends_the_connection() {
    for (length, code) in [("-1", "400"), ("x", "400"), ("1\nContent-Length: 0", "400"), ("4294967295", "413")] {
        let mut lab = Lab::new();
        let conn = lab.accept(1, "192.0.2.9:41000");
        lab.data(conn, &incoming("OPTIONS", "1", "").replace("Length: 0", &format!("Length: {length}")));
        let told = lab.told();
        assert_eq!(told.len(), 3, "{length}: {told:?}");
        assert!(told[0].starts_with(&format!("> SIP/2.0 {code}")), "{length}: {told:?}");
        assert_eq!(told[1], "close");
        assert_eq!(lab.endpoint.connections(), 0);
    }
}

#[test]
fn junk_without_a_line_end_is_given_up_after_8_kib() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &"x".repeat(8192));
    assert_eq!(lab.told(), [""; 0]);
    lab.data(conn, "x");
    assert_eq!(lab.told(), ["close", "disconnected"]);
}

#[test]
fn silent_and_slow_connections_are_closed_in_their_time() {
    let mut lab = Lab::new();
    lab.accept(1, "192.0.2.9:41000");
    lab.advance(31_999);
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(32_000);
    assert_eq!(lab.told(), ["close", "disconnected"]);

    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    for n in 0..=10 {
        lab.advance(n * 1000);
        lab.data(conn, "O");
    }
    assert_eq!(lab.told(), ["close", "disconnected"]);

    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.data(conn, &incoming("ACK", "1", ""));
    lab.told();
    lab.advance(899_999);
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(900_000);
    assert_eq!(lab.told(), ["close", "disconnected"]);
}

#[test]
fn a_stranger_too_many_costs_the_oldest_stranger_and_nobody_else() {
    let mut lab = Lab::new();
    let friend = lab.accept(0, "192.0.2.9:41000");
    lab.data(friend, &incoming("REGISTER", "1", ""));
    let (txn, request, _) = lab.requested();
    respond(&mut lab, txn, &request, 200);
    lab.told();
    for n in 1..=8 {
        lab.accept(n, &format!("192.0.2.9:{}", 42_000 + n));
    }
    assert_eq!(lab.told(), [""; 0]);
    lab.accept(9, "192.0.2.9:43000");
    assert_eq!(lab.told(), ["close", "disconnected"]);
    for n in 10..=65 {
        lab.accept(n, &format!("198.51.100.{n}:5060"));
    }
    assert_eq!(lab.told(), [""; 0]);
    lab.accept(66, "198.51.100.66:5060");
    assert_eq!(lab.told(), ["close", "disconnected"]);
    assert!(lab.endpoint.flow_of(friend).is_some());
    assert_eq!(lab.endpoint.connections(), 65);
}

#[test]
fn a_late_event_of_a_closed_connection_reaches_nobody() {
    let mut lab = Lab::new();
    let conn = lab.accept(1, "192.0.2.9:41000");
    lab.endpoint.handle_stream(lab.now, conn, StreamEvent::Closed);
    assert_eq!(lab.told(), ["disconnected"]);
    lab.data(conn, &incoming("OPTIONS", "1", ""));
    assert_eq!(lab.told(), [""; 0]);
}

fn large(method: Method) -> Request {
    let mut request = outgoing(method);
    request.body = vec![b'x'; 1200];
    request
}

#[test]
fn a_request_over_1300_bytes_goes_over_a_stream() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, large(Method::Invite), &route);
    let conn = lab.connecting();
    lab.connected(conn);
    let (message, flow) = lab.sent();
    assert_eq!(flow.via, FlowVia::Conn(conn));
    assert_eq!(message.headers().via().expect("a Via").transport, "TCP");
    assert!(message.headers().vias().is_ok_and(|vias| vias.len() == 1));
}

#[test]
fn a_large_request_falls_back_to_a_datagram_where_no_stream_is_taken_and_the_next_goes_there_at_once() {
    let mut lab = Lab::new();
    let route = lab.route("sip:192.0.2.9:5070");
    lab.endpoint.request(lab.now, large(Method::Invite), &route);
    let conn = lab.connecting();
    lab.endpoint.handle_stream(lab.now, conn, StreamEvent::Failed(StreamFault::Refused));
    let (message, flow) = lab.sent();
    assert_eq!(flow.via, FlowVia::Socket(SocketId(1)));
    assert_eq!(message.headers().via().expect("a Via").transport, "UDP");
    lab.advance(500);
    assert_eq!(lab.told(), ["> INVITE sip:bob@192.0.2.9:5070 SIP/2.0"]);
    let Message::Request(invite) = message else { panic!("no request") };
    lab.receive(&answer(&invite, 200));
    assert_eq!(lab.told(), ["response 200"]);
    lab.endpoint.request(lab.now, large(Method::Message), &route);
    assert_eq!(lab.sent().1.via, FlowVia::Socket(SocketId(1)));
}

#[test]
fn a_dropped_flow_is_replaced_by_the_next_request() {
    let mut lab = Lab::new();
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Register), &route);
    let conn = lab.connecting();
    lab.connected(conn);
    let (_, flow) = lab.sent();
    lab.endpoint.drop_flow(lab.now, &flow);
    assert_eq!(lab.told(), ["close", "failed: the connection failed", "disconnected"]);
    lab.endpoint.request(lab.now, outgoing(Method::Register), &route);
    assert_ne!(lab.connecting(), conn);
}

#[test]
fn a_connection_that_does_not_open_fails_its_requests_after_10_s() {
    let mut lab = Lab::new();
    let route = lab.tcp_route();
    lab.endpoint.request(lab.now, outgoing(Method::Register), &route);
    lab.connecting();
    lab.advance(9_999);
    assert_eq!(lab.told(), [""; 0]);
    lab.advance(10_000);
    assert_eq!(lab.told(), ["close", "failed: the connection failed"]);
    assert!(lab.endpoint.is_quiet());
}

/// Threats B6: whoever only asks stays a stranger.
#[test]
fn an_answered_question_makes_no_friend_of_a_stranger() {
    let mut lab = Lab::new();
    for n in 0..8 {
        let conn = lab.accept(n, &format!("192.0.2.9:{}", 41_000 + n));
        lab.data(conn, &incoming("OPTIONS", &n.to_string(), "").replace("call-2", &format!("call-{n}")));
        let (txn, request, _) = lab.requested();
        respond(&mut lab, txn, &request, 200);
        lab.told();
    }
    lab.accept(8, "192.0.2.9:42000");
    assert_eq!(lab.told(), ["close", "disconnected"]);
    assert_eq!(lab.endpoint.connections(), 8);
}

#[test]
fn granted_connections_are_bounded_and_the_one_least_lately_used_goes() {
    use crate::sip::transport::connections::MAX_ACCEPTED;
    let mut lab = Lab::new();
    let most = u32::try_from(MAX_ACCEPTED).expect("a small number");
    for n in 0..most {
        let conn = lab.accept(n, &format!("198.51.100.{}:{}", n % 250, 20_000 + n));
        lab.data(conn, &incoming("REGISTER", &n.to_string(), "").replace("call-2", &format!("call-{n}")));
        let (txn, request, _) = lab.requested();
        respond(&mut lab, txn, &request, 200);
        lab.told();
        lab.advance(u64::from(n) * 10);
    }
    let first = ConnId { slot: ConnId::ACCEPTED, generation: 0 };
    lab.data(first, "\n\n");
    lab.outputs();
    assert_eq!(lab.endpoint.connections(), MAX_ACCEPTED);
    lab.accept(most, "203.0.113.9:5060");
    assert_eq!(lab.told(), ["close", "disconnected"]);
    assert!(lab.endpoint.flow_of(first).is_some(), "it has just been used");
    assert_eq!(lab.endpoint.connections(), MAX_ACCEPTED);
}

const TLS: &str = "sip:pbx.example.org;transport=tls";

impl Lab {
    fn accept_tls(&mut self, n: u32, peer: &str) -> ConnId {
        let conn = ConnId { slot: ConnId::ACCEPTED + n, generation: 0 };
        let event = StreamEvent::Accepted { listener: ListenerId(2), local: addr(US), peer: addr(peer) };
        self.endpoint.handle_stream(self.now, conn, event);
        conn
    }

    fn closed(&mut self) -> Vec<ConnId> {
        let close = |output: &EndpointOutput| match output {
            EndpointOutput::Close(conn) => Some(*conn),
            _ => None,
        };
        self.outputs().iter().filter_map(close).collect()
    }
}

/// A lab with a TLS listener.
fn tls_lab() -> Lab {
    let listener = BoundListener { listener: ListenerId(2), protocol: Protocol::Tls, local: addr("192.0.2.1:5061") };
    let mut lab = Lab::new();
    lab.endpoint.listeners.push(listener);
    lab
}

#[test]
fn half_handshakes_have_ten_seconds_and_sixteen_places() {
    let mut lab = tls_lab();
    let conns: Vec<_> = (0..17).map(|n| lab.accept_tls(n, &format!("198.51.100.{}:4000", n + 1))).collect();
    assert_eq!(lab.closed(), [conns[0]], "the oldest gives way to the seventeenth");
    // One that is done with its handshake takes no place among them.
    let tls = Some(crate::engine::TlsInfo { version: "TLS 1.3", resumed: false });
    lab.endpoint.handle_stream(lab.now, conns[1], StreamEvent::Connected { local: addr(US), tls });
    lab.accept_tls(17, "198.51.100.99:4000");
    assert_eq!(lab.closed(), []);
    lab.advance(10_001);
    assert_eq!(lab.closed().len(), 16);
    assert_eq!(lab.endpoint.connections(), 1);
}

#[test]
fn nothing_is_read_before_the_handshake_is_done_and_none_is_done_without_tls() {
    let mut lab = tls_lab();
    let conn = lab.accept_tls(1, "198.51.100.1:4000");
    lab.data(conn, "OPTIONS sip:us SIP/2.0\n\n");
    assert!(lab.outputs().is_empty());
    lab.endpoint.handle_stream(lab.now, conn, StreamEvent::Connected { local: addr(US), tls: None });
    assert_eq!(lab.closed(), [conn]);
}

#[test]
fn a_secure_route_waits_for_its_connection_and_names_why_it_did_not_come_up() {
    let mut lab = Lab::new();
    lab.endpoint.route(lab.now, &uri(TLS), None);
    let EndpointOutput::Resolve { id, .. } = lab.outputs().remove(0) else { panic!("a question") };
    let record = |ip: &str| crate::engine::Record {
        data: crate::engine::RecordData::Addr(ip.parse().expect("an address")),
        ttl: 60,
    };
    lab.endpoint.handle_resolved(lab.now, id, Ok(vec![record("192.0.2.9"), record("192.0.2.10")]));
    let connect = |output: EndpointOutput| match output {
        EndpointOutput::Connect { conn, protocol: Protocol::Tls, peer, secure: Some(policy) } => {
            (conn, peer, policy.domain)
        }
        other => panic!("{other:?} is no secure connection"),
    };
    let (first, peer, domain) = connect(lab.outputs().remove(0));
    assert_eq!((peer, domain.as_str()), (addr("192.0.2.9:5061"), "pbx.example.org"));
    // The first address shows a bad certificate: the second one is tried, and never answers the handshake.
    let fault = crate::engine::TlsFault::Expired;
    lab.endpoint.handle_stream(lab.now, first, StreamEvent::Untrusted { fault, certificate: None });
    let (second, peer, _) = connect(lab.outputs().remove(0));
    assert_eq!(peer, addr("192.0.2.10:5061"));
    lab.endpoint.handle_stream(lab.now, second, StreamEvent::Handshaking);
    lab.advance(11_000);
    let result = lab.outputs().into_iter().find_map(|output| match output {
        EndpointOutput::Event(EndpointEvent::Routed { result, .. }) => Some(result),
        _ => None,
    });
    let Some(Err(RouteError::Connect { target, fault, .. })) = result else { panic!("{result:?}") };
    assert_eq!(target.addr, addr("192.0.2.10:5061"));
    assert_eq!(fault, StreamFault::Tls(crate::engine::TlsFault::Timeout));
    assert!(lab.endpoint.is_quiet());
}
