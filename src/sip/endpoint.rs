//! The endpoint: transports, transactions and routes behind one set of verbs, shared by the softphone and the PBX.
//!
//! ```text
//!   datagrams, stream bytes ──▶ framing ──▶ Message ──▶ transactions ──▶ EndpointEvent
//!   request, respond, cancel ──▶ Via, route ──▶ transactions ──▶ Transmit
//! ```

mod event;
mod limits;

pub use crate::sip::transaction::TxnId;
pub use crate::sip::transport::route::{Route, RouteError, RouteId, Target};
pub use event::{EndpointEvent, EndpointOutput, TxnError};
pub use limits::{Counters, Limits};

use crate::engine::{BoundListener, BoundSocket, Flow, NoRoute, Protocol, Record, ResolveError, StreamEvent};
use crate::id::{ConnId, RequestId, SocketId};
use crate::rng::Rng;
use crate::sip::message::{Request, Response, Uri};
use crate::time::Instant;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// The SIP core below the transaction user (RFC 3261 §17, §18).
#[derive(Debug)]
pub struct Endpoint {
    rng: Rng,
    sockets: Vec<BoundSocket>,
    listeners: Vec<BoundListener>,
    limits: Limits,
    counters: Counters,
    next_id: u64,
    out: VecDeque<EndpointOutput>,
}

impl Endpoint {
    /// An endpoint on sockets and listeners that the driver has bound.
    pub fn new(
        _now: Instant,
        rng: Rng,
        sockets: Vec<BoundSocket>,
        listeners: Vec<BoundListener>,
        limits: Limits,
    ) -> Self {
        Self { rng, sockets, listeners, limits, counters: Counters::default(), next_id: 0, out: VecDeque::new() }
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
        let _ = (now, socket, local, source, payload);
    }

    /// Something happened on a stream connection.
    pub fn handle_stream(&mut self, now: Instant, conn: ConnId, event: StreamEvent<'_>) {
        let _ = (now, conn, event);
    }

    /// The answer to [`EndpointOutput::Resolve`].
    pub fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        let _ = (now, id, answer);
    }

    /// The answer to [`EndpointOutput::LocalAddress`].
    pub fn handle_local_address(&mut self, now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        let _ = (now, id, answer);
    }

    /// The instant of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Asks for the way to `uri` (over `transport`, else what the URI says, else UDP); [`EndpointEvent::Routed`] answers.
    pub fn route(&mut self, now: Instant, uri: &Uri, transport: Option<Protocol>) -> RouteId {
        let _ = (now, uri, transport);
        RouteId(self.fresh())
    }

    /// Asks for the route to the next target of `route` after the first one failed; `None` when there is none left.
    pub fn next_target(&mut self, now: Instant, route: &Route) -> Option<RouteId> {
        let _ = (now, route);
        None
    }

    /// The route back along a flow that a request or response came in on (a registration's, a call's).
    pub fn route_back(&self, flow: &Flow) -> Route {
        let target = Target { protocol: flow.protocol, addr: flow.peer };
        Route { targets: vec![target], local: flow.local, flow: Some(*flow) }
    }

    /// Starts a client transaction: puts a Via on top of `request` and sends it. Not for ACK and CANCEL.
    pub fn request(&mut self, now: Instant, request: Request, route: &Route) -> TxnId {
        let _ = (now, request, route);
        TxnId(self.fresh())
    }

    /// Sends a response to a request; the caller repeats a 2xx to INVITE by calling again (§13.3.1.4). A transaction that
    /// has ended, or has its final response already, ignores it.
    pub fn respond(&mut self, now: Instant, txn: TxnId, response: Response) {
        let _ = (now, txn, response);
    }

    /// Sends a final response once and forgets the transaction (§8.2.7): for challenges to strangers, which must cost
    /// nothing and never be repeated to a forged address (threats B2, B4).
    pub fn respond_statelessly(&mut self, now: Instant, txn: TxnId, response: Response) {
        let _ = (now, txn, response);
    }

    /// Sends the ACK for a 2xx, once per call (§13.2.2.4).
    pub fn send_ack(&mut self, now: Instant, ack: Request, route: &Route) {
        let _ = (now, ack, route);
    }

    /// Cancels an INVITE: the CANCEL leaves once a provisional response has come (§9.1), never after a final one.
    /// The INVITE fails by timeout if no final response follows within 64·T1.
    pub fn cancel(&mut self, now: Instant, invite: TxnId) -> TxnId {
        let _ = (now, invite);
        TxnId(self.fresh())
    }

    /// The next thing to do; `None` when there is nothing more.
    pub fn poll_output(&mut self) -> Option<EndpointOutput> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// True when no transaction, question or half-open connection is left.
    pub fn is_quiet(&self) -> bool {
        self.out.is_empty()
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
}
