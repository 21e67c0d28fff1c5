//! The endpoint: transports, transactions and routes behind one set of verbs, shared by the softphone and the PBX.
//!
//! ```text
//!   datagrams, stream bytes ──▶ framing ──▶ Message ──▶ transactions ──▶ EndpointEvent
//!   request, respond, cancel ──▶ Via, route ──▶ transactions ──▶ Transmit
//! ```

mod admission;
mod client;
mod event;
mod limits;
mod reach;
mod routing;
mod server;
mod streams;

pub use crate::sip::transaction::{Timers, TxnId};
pub use crate::sip::transport::route::{Route, RouteError, RouteId, Target, TlsWish, Wish};
pub use event::{EndpointEvent, EndpointOutput, TxnError};
pub use limits::{Counters, Limits};
pub use reach::Reach;

use crate::engine::{BoundListener, BoundSocket, Flow, FlowVia, Protocol, Transmit};
use crate::id::{ConnId, RequestId, SocketId};
use crate::rng::Rng;
use crate::sip::message::Message;
use crate::sip::transaction::Outbox;
use crate::sip::transport::connections::{Connections, State};
use crate::sip::transport::resolve::Resolver;
use crate::time::{Deadlines, Instant, earliest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// The SIP core below the transaction user (RFC 3261 §17, §18).
#[derive(Debug)]
pub struct Endpoint {
    rng: Rng,
    /// Makes the To tags of stateless responses unpredictable.
    tag_key: u64,
    timers: Timers,
    limits: Limits,
    counters: Counters,
    sockets: Vec<BoundSocket>,
    listeners: Vec<BoundListener>,
    next_id: u64,

    clients: BTreeMap<TxnId, client::Client>,
    client_keys: BTreeMap<String, TxnId>,
    clients_cancelling: BTreeSet<TxnId>,
    servers: BTreeMap<TxnId, server::Server>,
    server_keys: BTreeMap<String, TxnId>,
    merged: BTreeMap<String, TxnId>,
    unanswered: u32,
    finished: server::Finished,
    deadlines: Deadlines<TxnId>,
    admission: admission::Admission,

    resolver: Resolver<routing::Waiting>,
    locating: BTreeMap<RequestId, routing::Locating>,
    connections: Connections,
    /// Routes that wait for a connection.
    opening: BTreeMap<ConnId, Vec<routing::Locating>>,
    /// Peers that refused a stream for a large request.
    streamless: BTreeSet<SocketAddr>,
    /// By the user part of a Contact of ours.
    reaches: BTreeMap<String, Reach>,

    /// Kept between inputs for its memory only.
    actions: Outbox,
    out: VecDeque<EndpointOutput>,
}

impl Endpoint {
    /// An endpoint on sockets and listeners that the driver has bound.
    pub fn new(
        _now: Instant,
        mut rng: Rng,
        sockets: Vec<BoundSocket>,
        listeners: Vec<BoundListener>,
        limits: Limits,
    ) -> Self {
        Self {
            tag_key: rng.u64(),
            rng,
            timers: Timers::default(),
            limits,
            counters: Counters::default(),
            sockets,
            listeners,
            next_id: 0,
            clients: BTreeMap::new(),
            client_keys: BTreeMap::new(),
            clients_cancelling: BTreeSet::new(),
            servers: BTreeMap::new(),
            server_keys: BTreeMap::new(),
            merged: BTreeMap::new(),
            unanswered: 0,
            finished: server::Finished::default(),
            deadlines: Deadlines::new(),
            admission: admission::Admission::default(),
            resolver: Resolver::default(),
            locating: BTreeMap::new(),
            connections: Connections::default(),
            opening: BTreeMap::new(),
            streamless: BTreeSet::new(),
            reaches: BTreeMap::new(),
            actions: Outbox::new(),
            out: VecDeque::new(),
        }
    }

    /// Replaces T1, T2 and T4 for transactions to come.
    #[must_use]
    pub fn with_timers(mut self, timers: Timers) -> Self {
        self.timers = timers;
        self
    }

    /// A datagram arrived on one of the sockets; `local` is the address it was sent to.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) {
        self.handle_wire(
            now,
            Flow { protocol: Protocol::Udp, local, peer: source, via: FlowVia::Socket(socket) },
            payload,
        );
    }

    fn handle_wire(&mut self, now: Instant, flow: Flow, wire: &[u8]) {
        // Keep-alives between messages (RFC 5626 §3.5.1, and NUL bytes of old phones) are no errors.
        if wire.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        match Message::parse(wire) {
            Ok(message) => {
                self.counters.received += 1;
                let Ok(via) = message.headers().via() else {
                    self.counters.malformed += 1;
                    return;
                };
                match message {
                    Message::Request(request) => self.handle_request(now, request, via, flow),
                    Message::Response(response) => self.handle_response(now, response, &via, flow),
                }
            }
            Err(error) => {
                self.counters.malformed += 1;
                let status = error.status();
                let reason = error.reason();
                if let (Some(status), Some(request)) = (status, error.partial) {
                    self.refuse_malformed(*request, status, reason, flow);
                }
            }
        }
    }

    fn refuse_malformed(
        &mut self,
        mut request: crate::sip::message::Request,
        status: crate::sip::message::StatusCode,
        reason: String,
        mut flow: Flow,
    ) {
        use crate::sip::transport::via;
        let Ok(mut top) = request.headers.via() else { return };
        via::stamp(&mut request, &mut top, flow.peer);
        if !flow.protocol.is_reliable() {
            flow.peer = via::reply_to(&top, flow.peer);
        }
        self.reply_with_reason(&request, status, Some(reason), flow);
    }

    /// The instant of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.deadlines.pop_expired(now) {
            if self.clients.contains_key(&id) {
                self.client_timeout(now, id);
            } else {
                self.server_timeout(now, id);
            }
        }
        while let Some(conn) = self.connections.pop_expired(now) {
            let fault = self.connections.expiry(conn);
            self.close(now, conn, fault);
        }
    }

    /// The next thing to do; `None` when there is nothing more.
    pub fn poll_output(&mut self) -> Option<EndpointOutput> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.deadlines.next(), self.connections.poll_timeout())
    }

    /// True when no transaction, question, half-open connection or output is left; open connections may stay.
    pub fn is_quiet(&self) -> bool {
        self.out.is_empty()
            && self.clients.is_empty()
            && self.servers.is_empty()
            && self.resolver.is_quiet()
            && self.locating.is_empty()
            && self.opening.is_empty()
            && self.connections.is_quiet()
    }

    /// Server transactions that live at the moment.
    pub fn server_transactions(&self) -> usize {
        self.servers.len()
    }

    /// How many transactions live, finished ones that still absorb copies among them.
    pub fn transactions(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// How many stream connections live or are being opened.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Totals since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The limits it was made with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The sockets and listeners it was made with.
    pub fn bound(&self) -> (&[BoundSocket], &[BoundListener]) {
        (&self.sockets, &self.listeners)
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn event(&mut self, event: EndpointEvent) {
        self.out.push_back(EndpointOutput::Event(event));
    }

    /// Sends a message, or keeps it until its connection is up; false when the connection is gone or full.
    fn transmit(&mut self, bytes: Vec<u8>, flow: Flow) -> bool {
        if let FlowVia::Conn(conn) = flow.via {
            match self.connections.get(conn).map(|connection| &connection.state) {
                Some(State::Open { .. }) => {}
                Some(State::Opening { .. }) => {
                    let kept = self.connections.wait(conn, bytes);
                    self.counters.sent += u64::from(kept);
                    return kept;
                }
                None => return false,
            }
        }
        self.counters.sent += 1;
        self.out.push_back(EndpointOutput::Transmit(Transmit { bytes, flow }));
        true
    }
}

#[cfg(test)]
mod tests;
