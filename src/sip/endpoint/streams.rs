//! Stream connections of an endpoint: what arrives on them and what becomes of their transactions (RFC 3261 §18).

use super::{Endpoint, EndpointEvent, EndpointOutput};
use crate::engine::{
    Flow, FlowVia, PeerCertificate, Protocol, StreamEvent, StreamFault, TlsFault, TlsInfo, TlsPolicy, Transmit,
};
use crate::id::ConnId;
use crate::sip::message::{HeaderName, Message, StatusCode};
use crate::sip::transport::connections::State;
use crate::sip::transport::framer::{Frame, FrameError};
use crate::sip::transport::route::Target;
use crate::time::Instant;
use std::net::SocketAddr;

impl Endpoint {
    /// Something happened on a stream connection.
    pub fn handle_stream(&mut self, now: Instant, conn: ConnId, event: StreamEvent<'_>) {
        match event {
            StreamEvent::Accepted { listener, local, peer } => {
                let bound = self.listeners.iter().find(|bound| bound.listener == listener);
                let protocol = bound.map_or(Protocol::Tcp, |bound| bound.protocol);
                for evicted in self.connections.accept(now, conn, protocol, local, peer) {
                    self.close(now, evicted, StreamFault::Timeout);
                }
            }
            StreamEvent::Handshaking => self.connections.reached(conn),
            StreamEvent::Connected { local, tls } => self.connected(now, conn, local, tls),
            StreamEvent::Data(bytes) => self.handle_data(now, conn, bytes),
            StreamEvent::Writable => {}
            StreamEvent::Closed => self.lose(now, conn, StreamFault::Reset, None),
            StreamEvent::Failed(fault) => self.lose(now, conn, fault, None),
            StreamEvent::Untrusted { fault, certificate } => {
                self.lose(now, conn, StreamFault::Tls(fault), certificate.as_deref());
            }
        }
    }

    fn connected(&mut self, now: Instant, conn: ConnId, local: SocketAddr, tls: Option<TlsInfo>) {
        // A driver that forgets the handshake must not make us speak in clear.
        if tls.is_none() && self.connections.get(conn).is_some_and(|connection| connection.protocol.is_secure()) {
            self.close(now, conn, StreamFault::Tls(TlsFault::ClearRefused));
            return;
        }
        let waiting = self.connections.connected(now, conn, local);
        let Some(flow) = self.flow_of(conn) else { return };
        self.opened(conn, flow);
        for bytes in waiting {
            self.out.push_back(EndpointOutput::Transmit(Transmit { bytes, flow }));
        }
    }

    /// The flow of a connection that is up.
    pub(super) fn flow_of(&self, conn: ConnId) -> Option<Flow> {
        let connection = self.connections.get(conn)?;
        match connection.state {
            State::Open { local } => {
                Some(Flow { protocol: connection.protocol, local, peer: connection.peer, via: FlowVia::Conn(conn) })
            }
            State::Opening { .. } => None,
        }
    }

    fn handle_data(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let Some(flow) = self.flow_of(conn) else { return };
        let Some(connection) = self.connections.get_mut(conn) else { return };
        connection.framer.push(bytes);
        let (mut messages, mut pings) = (0, 0);
        // A message may close its own connection, so it is looked up each time.
        while let Some(connection) = self.connections.get_mut(conn) {
            match connection.framer.poll() {
                Ok(Some(Frame::Message(bytes))) => {
                    messages += 1;
                    self.handle_wire(now, flow, &bytes);
                }
                Ok(Some(Frame::Ping)) => {
                    pings += 1;
                    let pong = Transmit { bytes: b"\r\n".to_vec(), flow };
                    self.out.push_back(EndpointOutput::Transmit(pong));
                }
                Ok(None) => break,
                Err(error) => {
                    self.counters.malformed += 1;
                    self.refuse_frame(&error, flow);
                    self.close(now, conn, StreamFault::Reset);
                    return;
                }
            }
        }
        self.connections.fed(now, conn, messages, pings);
    }

    /// Answers the head of a message that could not be cut out, if it is a request's (threats A2, A3).
    fn refuse_frame(&mut self, error: &FrameError, flow: Flow) {
        let (head, status, reason) = match error {
            FrameError::EndlessHead => return,
            FrameError::BadLength(head) => {
                (head, StatusCode::BAD_REQUEST, "Bad Request - Content-Length is missing or wrong")
            }
            FrameError::HugeBody(head) => (head, StatusCode::REQUEST_ENTITY_TOO_LARGE, "Request Entity Too Large"),
        };
        let request = match Message::parse(head) {
            Ok(Message::Request(request)) => request,
            Ok(Message::Response(_)) => return,
            Err(error) => match error.partial {
                Some(request) => *request,
                None => return,
            },
        };
        if request.headers.has(&HeaderName::VIA) {
            self.reply_with_reason(&request, status, Some(reason.to_owned()), flow);
        }
    }

    /// Gives up the connection of a flow that does not answer, so that the next request opens another (§8.1.3.1 with
    /// RFC 5626 §4.4); nothing happens to datagram sockets.
    pub fn drop_flow(&mut self, now: Instant, flow: &Flow) {
        if let FlowVia::Conn(conn) = flow.via {
            self.close(now, conn, StreamFault::Timeout);
        }
    }

    /// Closes a connection from our side.
    pub(super) fn close(&mut self, now: Instant, conn: ConnId, fault: StreamFault) {
        if self.connections.get(conn).is_some() {
            self.out.push_back(EndpointOutput::Close(conn));
            self.lose(now, conn, fault, None);
        }
    }

    fn lose(&mut self, now: Instant, conn: ConnId, fault: StreamFault, certificate: Option<&PeerCertificate>) {
        if let Some(connection) = self.connections.remove(conn) {
            self.not_opened(now, conn, fault, certificate);
            self.fail_clients(now, conn, fault);
            if matches!(connection.state, State::Open { .. }) {
                self.event(EndpointEvent::Disconnected { conn });
            }
        }
    }

    /// Keeps NATs and firewalls along `flow` open (RFC 5626 §3.5.1, §4.4.1): two line ends. A peer that has answered
    /// one before and leaves this one unanswered for 10 s on a stream has lost the connection, and so have we.
    pub fn keep_alive(&mut self, now: Instant, flow: &Flow) {
        if let FlowVia::Conn(conn) = flow.via {
            if self.flow_of(conn).is_none() {
                return;
            }
            self.connections.ping(now, conn);
        }
        self.out.push_back(EndpointOutput::Transmit(Transmit { bytes: b"\r\n\r\n".to_vec(), flow: *flow }));
    }

    /// The connection to `target` that there is for the same name, or a new one that is asked for here.
    pub(super) fn connection_to(&mut self, now: Instant, target: Target, tls: Option<TlsPolicy>) -> ConnId {
        let Target { protocol, addr: peer } = target;
        if let Some(conn) = self.connections.find(protocol, peer, tls.as_ref()) {
            return conn;
        }
        let conn = self.connections.open(now, protocol, peer, tls.clone());
        self.out.push_back(EndpointOutput::Connect { conn, protocol, peer, secure: tls });
        conn
    }

    /// The flow to `target`: over a connection that exists, else over a new one.
    pub(super) fn connect(&mut self, now: Instant, target: Target, local: SocketAddr, tls: Option<TlsPolicy>) -> Flow {
        let conn = self.connection_to(now, target, tls);
        let Target { protocol, addr: peer } = target;
        self.flow_of(conn).unwrap_or(Flow { protocol, local, peer, via: FlowVia::Conn(conn) })
    }
}
