//! Client transactions: requests, CANCEL and ACK out, responses in (RFC 3261 §8.1, §9.1, §17.1).

use super::{Endpoint, EndpointEvent, Route, Target, TxnError, TxnId};
use crate::engine::{Family, Flow, FlowVia, Protocol, StreamFault, TlsFault};
use crate::id::ConnId;
use crate::sip::message::{CSeq, HeaderName, Method, Request, Response, StatusCode, Via};
use crate::sip::transaction::client_invite::ClientInvite;
use crate::sip::transaction::client_non_invite::ClientNonInvite;
use crate::sip::transaction::{Action, Outbox, key};
use crate::sip::transport::via;
use crate::time::Instant;
use std::net::SocketAddr;

/// Above this, a request that was to go by datagram goes over a stream, lest it be fragmented (§18.1.1).
const MAX_DATAGRAM: usize = 1300;
/// Peers remembered that take no streams.
const MAX_STREAMLESS: usize = 1024;

/// One of our requests and what became of it.
#[derive(Debug)]
pub(super) struct Client {
    machine: Machine,
    key: String,
    flow: Flow,
    /// What `Action::Send` sends: the request, and after a failed INVITE its ACK.
    wire: Vec<u8>,
    /// What goes out by datagram after all when the stream for a large request cannot be opened (§18.1.1).
    datagram: Option<Box<(Request, Flow)>>,
}

#[derive(Debug)]
enum Machine {
    /// The request is kept for its CANCEL and ACK, until it is answered.
    Invite {
        machine: ClientInvite,
        request: Option<Box<Request>>,
        cancel: Option<TxnId>,
    },
    Other(ClientNonInvite),
}

impl Machine {
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite { machine, .. } => machine.poll_timeout(),
            Self::Other(machine) => machine.poll_timeout(),
        }
    }
}

impl Endpoint {
    /// Starts a client transaction: puts a Via on top of `request` and sends it. Not for ACK and CANCEL.
    pub fn request(&mut self, now: Instant, mut request: Request, route: &Route) -> TxnId {
        let id = TxnId(self.fresh());
        let branch = self.rng.branch();
        if leaks(&request, route) {
            let error = TxnError::Transport(StreamFault::Tls(TlsFault::ClearRefused));
            self.event(EndpointEvent::Failed { txn: id, error });
            return id;
        }
        via::push(&mut request, route.protocol(), route.local, &branch);
        let flow = self.flow_for(now, route);
        let wire = request.encode();
        if flow.protocol == Protocol::Udp && wire.len() > MAX_DATAGRAM && self.may_stream(flow.peer) {
            let target = Target { protocol: Protocol::Tcp, addr: flow.peer };
            let stream = self.connect(now, target, flow.local, None);
            let datagram = Some(Box::new((request.clone(), flow)));
            request.headers.pop_front(&HeaderName::VIA);
            let local = self.advertised(Protocol::Tcp, flow.local);
            via::push(&mut request, Protocol::Tcp, local, &branch);
            let wire = request.encode();
            self.start(now, id, request, &branch, stream, wire, datagram);
        } else {
            self.start(now, id, request, &branch, flow, wire, None);
        }
        id
    }

    /// Streams are tried where we could take one ourselves, and only with peers that have not refused one.
    fn may_stream(&self, peer: SocketAddr) -> bool {
        let family = Family::of(peer.ip());
        let listening = self
            .listeners
            .iter()
            .any(|bound| bound.protocol == Protocol::Tcp && Family::of(bound.local.ip()) == family);
        listening && !self.streamless.contains(&peer)
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a transaction, put together in one place")]
    fn start(
        &mut self,
        now: Instant,
        id: TxnId,
        request: Request,
        branch: &str,
        flow: Flow,
        wire: Vec<u8>,
        datagram: Option<Box<(Request, Flow)>>,
    ) {
        let mut actions = std::mem::take(&mut self.actions);
        let reliable = flow.protocol.is_reliable();
        let key = key::client(branch, &request.method);
        let machine = if request.method == Method::Invite {
            let machine = ClientInvite::new(now, &self.timers, reliable, &mut actions);
            let request = Some(Box::new(Request { body: Vec::new(), ..request }));
            Machine::Invite { machine, request, cancel: None }
        } else {
            Machine::Other(ClientNonInvite::new(now, &self.timers, reliable, &mut actions))
        };
        self.client_keys.insert(key.clone(), id);
        self.clients.insert(id, Client { machine, key, flow, wire, datagram });
        self.settle_client(id, actions, None);
    }

    /// Sends the ACK for a 2xx, once per call (§13.2.2.4).
    pub fn send_ack(&mut self, now: Instant, mut ack: Request, route: &Route) {
        let branch = self.rng.branch();
        if leaks(&ack, route) {
            return;
        }
        via::push(&mut ack, route.protocol(), route.local, &branch);
        let flow = self.flow_for(now, route);
        self.transmit(ack.encode(), flow);
    }

    /// Cancels an INVITE: the CANCEL leaves once a provisional response has come (§9.1), never after a final one.
    /// The INVITE fails by timeout if no final response follows within 64·T1.
    pub fn cancel(&mut self, now: Instant, invite: TxnId) -> TxnId {
        let id = TxnId(self.fresh());
        let wanted = match self.clients.get_mut(&invite).map(|client| &mut client.machine) {
            Some(Machine::Invite { machine, cancel: cancel @ None, .. })
                if machine.is_calling() || machine.is_proceeding() =>
            {
                *cancel = Some(id);
                true
            }
            Some(Machine::Invite { .. } | Machine::Other(_)) | None => false,
        };
        if wanted {
            self.send_cancel(now, invite);
        } else {
            self.event(EndpointEvent::Terminated { txn: id });
        }
        id
    }

    /// Sends the CANCEL that was asked for, if its time has come.
    fn send_cancel(&mut self, now: Instant, invite: TxnId) {
        let Some(client) = self.clients.get_mut(&invite) else { return };
        let flow = client.flow;
        let Machine::Invite { machine, request: Some(request), cancel: Some(id) } = &mut client.machine else { return };
        // A second provisional response must not start a second CANCEL.
        if !machine.is_proceeding() || self.clients_cancelling.contains(&invite) {
            return;
        }
        machine.handle_cancel(now, &self.timers);
        let Some((cancel, branch)) = follow_up(request, Method::Cancel, None) else { return };
        let id = *id;
        let timeout = machine.poll_timeout();
        self.deadlines.set(invite, timeout);
        self.clients_cancelling.insert(invite);
        let wire = cancel.encode();
        self.start(now, id, cancel, &branch, flow, wire, None);
    }

    pub(super) fn handle_response(&mut self, now: Instant, response: Response, via: &Via, flow: Flow) {
        let id = match (via.branch(), response.headers.cseq()) {
            (Some(branch), Ok(cseq)) => self.client_keys.get(&key::client(branch, &cseq.method)).copied(),
            (Some(_) | None, Ok(_) | Err(_)) => None,
        };
        // More than one Via means that it was meant for somebody else (§8.1.3.3).
        let ours = response.headers.get_all(&HeaderName::VIA).nth(1).is_none();
        let Some((id, client)) = id.filter(|_| ours).and_then(|id| Some((id, self.clients.get_mut(&id)?))) else {
            self.counters.dropped += 1;
            return;
        };
        client.datagram = None;
        let mut actions = std::mem::take(&mut self.actions);
        let status = response.status;
        match &mut client.machine {
            Machine::Invite { machine, request, .. } => {
                machine.handle_response(now, &self.timers, status, &mut actions);
                if actions.first() == Some(&Action::Ack)
                    && let Some(invite) = request.take()
                    && let Some((ack, _)) = follow_up(&invite, Method::Ack, response.headers.get(&HeaderName::TO))
                {
                    client.wire = ack.encode();
                } else if status.is_success() {
                    (*request, client.wire) = (None, Vec::new());
                }
            }
            Machine::Other(machine) => {
                machine.handle_response(now, &self.timers, status, &mut actions);
                if status.is_final() {
                    client.wire = Vec::new();
                }
            }
        }
        self.settle_client(id, actions, Some((response, flow)));
        if status.is_provisional() {
            self.send_cancel(now, id);
        }
    }

    pub(super) fn client_timeout(&mut self, now: Instant, id: TxnId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        match &mut client.machine {
            Machine::Invite { machine, .. } => machine.handle_timeout(now, &mut actions),
            Machine::Other(machine) => machine.handle_timeout(now, &self.timers, &mut actions),
        }
        self.counters.retransmitted += u64::from(actions.contains(&Action::Send));
        self.settle_client(id, actions, None);
    }

    /// A connection is gone: tells every request that still waited for its final response there (§8.1.3.1).
    pub(super) fn fail_clients(&mut self, now: Instant, conn: ConnId, fault: StreamFault) {
        let on_it = |client: &Client| client.flow.via == FlowVia::Conn(conn);
        let ids: Vec<TxnId> = self.clients.iter().filter(|(_, client)| on_it(client)).map(|(id, _)| *id).collect();
        for id in ids {
            if !self.fall_back(now, id) {
                self.fail_client(id, fault);
            }
        }
    }

    /// Sends a large request by datagram after all (§18.1.1), under the same branch.
    fn fall_back(&mut self, now: Instant, id: TxnId) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let Some((request, flow)) = client.datagram.take().map(|datagram| *datagram) else { return false };
        let Some(branch) = request.headers.via().ok().and_then(|via| via.branch().map(str::to_owned)) else {
            return false;
        };
        let cancel = match &client.machine {
            Machine::Invite { cancel, .. } => *cancel,
            Machine::Other(_) => None,
        };
        if self.streamless.len() >= MAX_STREAMLESS {
            self.streamless.pop_first();
        }
        self.streamless.insert(flow.peer);
        let wire = request.encode();
        self.start(now, id, request, &branch, flow, wire, None);
        if let Some(Client { machine: Machine::Invite { cancel: wanted, .. }, .. }) = self.clients.get_mut(&id) {
            *wanted = cancel;
        }
        true
    }

    fn fail_client(&mut self, id: TxnId, fault: StreamFault) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let failed = match &mut client.machine {
            Machine::Invite { machine, .. } => machine.handle_transport_error(),
            Machine::Other(machine) => machine.handle_transport_error(),
        };
        if failed {
            self.forget_client(id);
            self.event(EndpointEvent::Failed { txn: id, error: TxnError::Transport(fault) });
        }
    }

    fn settle_client(&mut self, id: TxnId, mut actions: Outbox, mut response: Option<(Response, Flow)>) {
        let (mut told, mut sent) = (false, true);
        for action in actions.drain(..) {
            match action {
                Action::Send | Action::Ack => {
                    let Some(client) = self.clients.get_mut(&id) else { continue };
                    let flow = client.flow;
                    // Over a stream nothing is sent twice.
                    let wire = match flow.protocol.is_reliable() {
                        true => std::mem::take(&mut client.wire),
                        false => client.wire.clone(),
                    };
                    sent = self.transmit(wire, flow);
                }
                Action::Deliver => match response.take() {
                    Some((response, _)) if response.status == StatusCode::TRYING => {}
                    Some((response, flow)) => self.event(EndpointEvent::Response { txn: id, response, flow }),
                    None => {}
                },
                Action::TimedOut => {
                    told = true;
                    self.event(EndpointEvent::Failed { txn: id, error: TxnError::Timeout });
                }
                Action::Ended => {
                    self.forget_client(id);
                    if !told {
                        self.event(EndpointEvent::Terminated { txn: id });
                    }
                }
                Action::Trying => {}
            }
        }
        self.actions = actions;
        if let Some(client) = self.clients.get(&id) {
            self.deadlines.set(id, client.machine.poll_timeout());
            if !sent {
                let gone = matches!(client.flow.via, FlowVia::Conn(conn) if self.connections.get(conn).is_none());
                self.fail_client(id, if gone { StreamFault::Reset } else { StreamFault::Overflow });
            }
        }
    }

    fn forget_client(&mut self, id: TxnId) {
        if let Some(client) = self.clients.remove(&id) {
            self.client_keys.remove(&client.key);
            self.clients_cancelling.remove(&id);
            self.deadlines.set(id, None);
        }
    }
}

/// Whether a request that has to stay secure on its whole way (RFC 5630 §3.1.3) would leave in clear.
fn leaks(request: &Request, route: &Route) -> bool {
    let secure = request.uri.is_sips()
        || request.headers.get(&HeaderName::ROUTE).is_some_and(|hop| hop.to_ascii_lowercase().contains("<sips:"));
    secure && !route.protocol().is_secure()
}

/// The CANCEL of an INVITE (§9.1), or the ACK of its failure with the To of the response (§17.1.1.3): same Request-URI,
/// top Via, From, Call-ID, CSeq number and Route. Gives the branch too.
fn follow_up(invite: &Request, method: Method, to: Option<&str>) -> Option<(Request, String)> {
    let headers = &invite.headers;
    let branch = headers.via().ok()?.branch()?.to_owned();
    let cseq = CSeq { seq: headers.cseq().ok()?.seq, method: method.clone() };
    let is_ack = method == Method::Ack;
    let mut request = Request::new(method, invite.uri.clone());
    request.headers.push(HeaderName::VIA, headers.get(&HeaderName::VIA)?);
    request.headers.push(HeaderName::MAX_FORWARDS, "70");
    for route in headers.get_all(&HeaderName::ROUTE) {
        request.headers.push(HeaderName::ROUTE, route);
    }
    request.headers.push(HeaderName::FROM, headers.get(&HeaderName::FROM)?);
    request.headers.push(HeaderName::TO, to.or_else(|| headers.get(&HeaderName::TO))?);
    request.headers.push(HeaderName::CALL_ID, headers.get(&HeaderName::CALL_ID)?);
    request.headers.push(HeaderName::CSEQ, cseq.to_string());
    // An ACK cannot be challenged, so it shows what its INVITE showed (§22.1).
    for name in [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION] {
        for value in headers.get_all(&name).filter(|_| is_ack) {
            request.headers.push(name.clone(), value);
        }
    }
    Some((request, branch))
}
