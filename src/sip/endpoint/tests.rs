#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else comes out fails the test")]

use super::*;
use crate::engine::StreamEvent;
use crate::id::{ConnId, ListenerId};
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode, Uri};
use crate::time::Duration;

mod limits;
mod routes;
mod streams;
mod udp;

const US: &str = "192.0.2.1:5060";
const THEM: &str = "192.0.2.9:5070";

/// One endpoint, a clock, and what it put out.
struct Lab {
    endpoint: Endpoint,
    now: Instant,
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn uri(text: &str) -> Uri {
    text.parse().expect("a URI")
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn status(code: u16) -> StatusCode {
    StatusCode::new(code).expect("a status code")
}

impl Lab {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        let sockets = vec![BoundSocket { socket: SocketId(1), local: addr(US) }];
        let listener = BoundListener { listener: ListenerId(1), protocol: Protocol::Tcp, local: addr(US) };
        let endpoint = Endpoint::new(Instant::ZERO, Rng::new([3; 32]), sockets, vec![listener], limits);
        Self { endpoint, now: Instant::ZERO }
    }

    /// A message from them, lines separated by `\n`.
    fn receive(&mut self, text: &str) {
        self.receive_from(THEM, text);
    }

    fn receive_from(&mut self, source: &str, text: &str) {
        let wire = text.replace('\n', "\r\n");
        self.endpoint.handle_datagram(self.now, SocketId(1), addr(US), addr(source), wire.as_bytes());
    }

    /// Lets time pass up to `ms` after the start, waking the endpoint at each of its deadlines.
    fn advance(&mut self, to: u64) {
        let to = Instant::ZERO + ms(to);
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= to) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
        }
        self.now = to;
    }

    fn outputs(&mut self) -> Vec<EndpointOutput> {
        std::iter::from_fn(|| self.endpoint.poll_output()).collect()
    }

    /// What came out, in short: `> first line` for messages, the events by name.
    fn told(&mut self) -> Vec<String> {
        self.outputs().iter().map(short).collect()
    }

    /// The one message that came out.
    fn sent(&mut self) -> (Message, Flow) {
        let mut outputs = self.outputs();
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        match outputs.remove(0) {
            EndpointOutput::Transmit(transmit) => {
                (Message::parse(&transmit.bytes).expect("our own message"), transmit.flow)
            }
            other => panic!("{other:?} is no message"),
        }
    }

    fn sent_request(&mut self) -> Request {
        match self.sent().0 {
            Message::Request(request) => request,
            Message::Response(response) => panic!("{response:?} is no request"),
        }
    }

    /// The route to a URI with an address, which needs no question.
    fn route(&mut self, to: &str) -> Route {
        self.endpoint.route(self.now, &uri(to), None);
        match self.outputs().remove(0) {
            EndpointOutput::Event(EndpointEvent::Routed { result, .. }) => result.expect("a route"),
            other => panic!("{other:?} is no route"),
        }
    }

    /// The transaction of the request that came in.
    fn requested(&mut self) -> (TxnId, Request, Flow) {
        let mut outputs = self.outputs();
        assert_eq!(outputs.len(), 1, "{outputs:?}");
        match outputs.remove(0) {
            EndpointOutput::Event(EndpointEvent::Request { txn, request, flow }) => (txn, request, flow),
            other => panic!("{other:?} is no request"),
        }
    }
}

fn short(output: &EndpointOutput) -> String {
    match output {
        EndpointOutput::Transmit(transmit) => {
            let text = String::from_utf8_lossy(&transmit.bytes);
            format!("> {}", text.lines().next().unwrap_or_default())
        }
        EndpointOutput::Connect { peer, .. } => format!("connect {peer}"),
        EndpointOutput::Close(_) => "close".to_owned(),
        EndpointOutput::Resolve { query, .. } => format!("resolve {}", query.name),
        EndpointOutput::LocalAddress { peer, .. } => format!("local address towards {peer}"),
        EndpointOutput::Event(event) => match event {
            EndpointEvent::Request { request, .. } => format!("request {}", request.method),
            EndpointEvent::Ack { .. } => "ack".to_owned(),
            EndpointEvent::Cancelled { .. } => "cancelled".to_owned(),
            EndpointEvent::Response { response, .. } => format!("response {}", response.status),
            EndpointEvent::Failed { error, .. } => format!("failed: {error}"),
            EndpointEvent::Routed { result: Ok(route), .. } => format!("routed from {}", route.local),
            EndpointEvent::Routed { result: Err(error), .. } => format!("not routed: {error}"),
            EndpointEvent::Terminated { .. } => "terminated".to_owned(),
            EndpointEvent::Disconnected { .. } => "disconnected".to_owned(),
        },
    }
}

/// A request of ours, as a dialog or a registration makes it.
fn outgoing(method: Method) -> Request {
    let mut request = Request::new(method.clone(), uri("sip:bob@192.0.2.9:5070"));
    request.headers.push(HeaderName::MAX_FORWARDS, "70");
    request.headers.push(HeaderName::FROM, "<sip:alice@192.0.2.1>;tag=a1");
    request.headers.push(HeaderName::TO, "<sip:bob@192.0.2.9>");
    request.headers.push(HeaderName::CALL_ID, "call-1");
    request.headers.push(HeaderName::CSEQ, format!("1 {method}"));
    request
}

/// Their answer to a request of ours.
fn answer(request: &Request, code: u16) -> String {
    let wire = Response::to(request, status(code), Some("b1")).encode();
    String::from_utf8(wire).expect("text").replace("\r\n", "\n")
}

/// A request of theirs; `branch` without cookie, `to_tag` as `;tag=x` or empty.
fn incoming(method: &str, branch: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:alice@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.9:5071;rport;branch=z9hG4bK{branch}\n\
         Max-Forwards: 70\nFrom: <sip:bob@192.0.2.9>;tag=b1\nTo: <sip:alice@192.0.2.1>{to_tag}\n\
         Call-ID: call-2\nCSeq: 7 {method}\nContent-Length: 0\n\n"
    )
}

fn respond(lab: &mut Lab, txn: TxnId, request: &Request, code: u16) {
    lab.endpoint.respond(lab.now, txn, Response::to(request, status(code), Some("a1")));
}
