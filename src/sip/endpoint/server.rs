//! Server transactions: requests in, responses out (RFC 3261 §8.2, §9.2, §17.2).

use super::{Endpoint, EndpointEvent, Target, TxnId};
use crate::engine::{Flow, FlowVia};
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode, Via};
use crate::sip::transaction::server_invite::ServerInvite;
use crate::sip::transaction::server_non_invite::ServerNonInvite;
use crate::sip::transaction::{Action, Outbox, key};
use crate::sip::transport::via;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Bytes that answered transactions may hold, oldest dropped first (threats B8).
const FINISHED_BYTES: usize = 32 * 1024 * 1024;
/// What an entry costs beside its strings.
const ENTRY_BYTES: usize = 512;

/// One request to us and what we said to it.
#[derive(Debug)]
pub(super) struct Server {
    machine: Machine,
    key: String,
    merged: Option<String>,
    flow: Flow,
    /// Where the response goes when the connection is gone (§18.2.2).
    fallback: SocketAddr,
    /// The latest response; for an INVITE at first the 100 that leaves after 200 ms.
    last: Vec<u8>,
}

#[derive(Debug)]
enum Machine {
    Invite(ServerInvite),
    Other(ServerNonInvite),
}

impl Machine {
    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Invite(machine) => machine.poll_timeout(),
            Self::Other(machine) => machine.poll_timeout(),
        }
    }

    fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.is_proceeding(),
            Self::Other(machine) => machine.is_unanswered(),
        }
    }
}

/// Answered transactions by age, with the bytes they hold.
#[derive(Debug, Default)]
pub(super) struct Finished {
    sizes: BTreeMap<TxnId, usize>,
    total: usize,
}

impl Finished {
    fn insert(&mut self, id: TxnId, size: usize) {
        self.remove(id);
        self.sizes.insert(id, size);
        self.total += size;
    }

    fn remove(&mut self, id: TxnId) {
        if let Some(size) = self.sizes.remove(&id) {
            self.total -= size;
        }
    }

    fn over_budget(&self) -> Option<TxnId> {
        (self.total > FINISHED_BYTES).then(|| self.sizes.first_key_value().map(|(id, _)| *id)).flatten()
    }
}

impl Endpoint {
    pub(super) fn handle_request(&mut self, now: Instant, mut request: Request, mut via: Via, mut flow: Flow) {
        let source = flow.peer;
        via::stamp(&mut request, &mut via, source);
        if !flow.protocol.is_reliable() {
            flow.peer = via::reply_to(&via, source);
        }
        let invite = matches!(request.method, Method::Invite | Method::Ack);
        let method = if invite { &Method::Invite } else { &request.method };
        let Some(key) = key::server(&request, &via, method) else {
            self.counters.dropped += 1;
            return;
        };
        if let Some(id) = self.server_keys.get(&key).copied() {
            self.handle_copy(now, id, request, flow);
            return;
        }
        match request.method {
            Method::Ack => self.event(EndpointEvent::Ack { request, flow }),
            Method::Cancel => self.handle_cancel(now, request, &via, key, flow),
            Method::Invite
            | Method::Bye
            | Method::Register
            | Method::Options
            | Method::Info
            | Method::Update
            | Method::Prack
            | Method::Message
            | Method::Notify
            | Method::Subscribe
            | Method::Refer
            | Method::Publish
            | Method::Other(_) => {
                let merged = key::merged(&request);
                if let Some(status) = self.refusal(now, &request, merged.as_deref(), flow) {
                    self.counters.dropped += 1;
                    self.reply_statelessly(&request, status, flow);
                    return;
                }
                let id = self.accept(now, &request, &via, key, merged, flow);
                self.event(EndpointEvent::Request { txn: id, request, flow });
            }
        }
    }

    /// A copy of a request, or the ACK of an INVITE, that has its transaction.
    fn handle_copy(&mut self, now: Instant, id: TxnId, request: Request, flow: Flow) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        match &mut server.machine {
            Machine::Invite(machine) if request.method == Method::Ack => {
                machine.handle_ack(now, &self.timers, &mut actions);
            }
            Machine::Invite(machine) => machine.handle_request(&mut actions),
            Machine::Other(machine) => machine.handle_request(&mut actions),
        }
        self.counters.retransmitted += u64::from(actions.contains(&Action::Send));
        if actions.contains(&Action::Deliver) {
            self.event(EndpointEvent::Ack { request, flow });
        }
        self.settle_server(now, id, actions);
    }

    /// §9.2: the CANCEL has a transaction of its own, and is answered here.
    fn handle_cancel(&mut self, now: Instant, request: Request, via: &Via, key: String, flow: Flow) {
        let invite = key::server(&request, via, &Method::Invite).and_then(|key| self.server_keys.get(&key).copied());
        let Some((invite, server)) = invite.and_then(|id| Some((id, self.servers.get(&id)?))) else {
            self.reply_statelessly(&request, StatusCode::CALL_DOES_NOT_EXIST, flow);
            return;
        };
        let ringing = server.machine.is_unanswered();
        let tag = match to_tag(&server.last) {
            Some(tag) => tag,
            None => self.stateless_tag(&request),
        };
        let id = self.accept(now, &request, via, key, None, flow);
        self.respond(now, id, Response::to(&request, StatusCode::OK, Some(&tag)));
        if ringing {
            self.event(EndpointEvent::Cancelled { txn: invite, headers: request.headers });
        }
    }

    /// Why a new request gets no transaction.
    fn refusal(&mut self, now: Instant, request: &Request, merged: Option<&str>, flow: Flow) -> Option<StatusCode> {
        // Requests inside a dialog pass: they are what ends the load.
        let merged = merged?;
        if self.merged.contains_key(merged) {
            return Some(StatusCode::LOOP_DETECTED);
        }
        let limits = self.limits;
        if limits.unanswered > 0 && self.unanswered >= limits.unanswered {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        let invite = request.method == Method::Invite;
        if invite && !self.admission.admit(now, flow.peer.ip(), limits.invites_per_source) {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        None
    }

    fn accept(
        &mut self,
        now: Instant,
        request: &Request,
        via: &Via,
        key: String,
        merged: Option<String>,
        flow: Flow,
    ) -> TxnId {
        let id = TxnId(self.fresh());
        let reliable = flow.protocol.is_reliable();
        let (machine, last) = if request.method == Method::Invite {
            let trying = Response::to(request, StatusCode::TRYING, None).encode();
            (Machine::Invite(ServerInvite::new(now, reliable)), trying)
        } else {
            (Machine::Other(ServerNonInvite::new(now, &self.timers, reliable)), Vec::new())
        };
        let fallback = SocketAddr::new(flow.peer.ip(), via.port.unwrap_or_else(|| flow.protocol.default_port()));
        self.unanswered = self.unanswered.saturating_add(1);
        self.deadlines.set(id, machine.poll_timeout());
        self.server_keys.insert(key.clone(), id);
        if let Some(merged) = &merged {
            self.merged.insert(merged.clone(), id);
        }
        self.servers.insert(id, Server { machine, key, merged, flow, fallback, last });
        id
    }

    /// Sends a response to a request; the caller repeats a 2xx to INVITE by calling again (§13.3.1.4). A transaction that
    /// has ended, or has its final response already, ignores it.
    pub fn respond(&mut self, now: Instant, txn: TxnId, response: Response) {
        let Some(server) = self.servers.get_mut(&txn) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        let before = server.machine.is_unanswered();
        match &mut server.machine {
            Machine::Invite(machine) => machine.respond(now, &self.timers, response.status, &mut actions),
            Machine::Other(machine) => machine.respond(now, &self.timers, response.status, &mut actions),
        }
        if actions.contains(&Action::Send) {
            server.last = response.encode();
            // An answered question is no grant: anybody may ask (threats B6).
            let granted = response.status.is_success()
                && response.headers.cseq().is_ok_and(|cseq| !matches!(cseq.method, Method::Options | Method::Cancel));
            if let (FlowVia::Conn(conn), true) = (server.flow.via, granted) {
                self.connections.trust(conn);
            }
        }
        if before && !server.machine.is_unanswered() {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.settle_server(now, txn, actions);
    }

    /// Sends a final response once and forgets the transaction (§8.2.7): for challenges to strangers, which must cost
    /// nothing and never be repeated to a forged address (threats B2, B4).
    pub fn respond_statelessly(&mut self, now: Instant, txn: TxnId, response: Response) {
        let Some(server) = self.servers.get(&txn) else { return };
        let (flow, fallback) = (server.flow, server.fallback);
        self.send_response(now, txn, response.encode(), flow, fallback);
        self.forget_server(txn);
    }

    /// Leaves a request unanswered for ever and forgets its transaction: for guessers of passwords (threats B10).
    pub fn ignore(&mut self, txn: TxnId) {
        self.counters.dropped += 1;
        self.forget_server(txn);
    }

    pub(super) fn server_timeout(&mut self, now: Instant, id: TxnId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let mut actions = std::mem::take(&mut self.actions);
        match &mut server.machine {
            Machine::Invite(machine) => machine.handle_timeout(now, &self.timers, &mut actions),
            Machine::Other(machine) => machine.handle_timeout(now, &mut actions),
        }
        self.counters.retransmitted += u64::from(actions.contains(&Action::Send));
        self.settle_server(now, id, actions);
    }

    fn settle_server(&mut self, now: Instant, id: TxnId, mut actions: Outbox) {
        for action in actions.drain(..) {
            match action {
                Action::Send | Action::Trying => {
                    let Some(server) = self.servers.get(&id) else { continue };
                    let (bytes, flow, fallback) = (server.last.clone(), server.flow, server.fallback);
                    self.send_response(now, id, bytes, flow, fallback);
                }
                Action::Ended => {
                    self.forget_server(id);
                    self.event(EndpointEvent::Terminated { txn: id });
                }
                Action::Ack | Action::Deliver | Action::TimedOut => {}
            }
        }
        self.actions = actions;
        let Some(server) = self.servers.get_mut(&id) else { return };
        self.deadlines.set(id, server.machine.poll_timeout());
        if !server.machine.is_unanswered() {
            if let Machine::Invite(machine) = &server.machine
                && !machine.needs_response()
            {
                server.last = Vec::new(); // a 2xx is repeated by its call, an acknowledged failure by nobody
            }
            server.last.shrink_to_fit();
            self.finished.insert(id, server.last.len() + server.key.len() + ENTRY_BYTES);
            while let Some(oldest) = self.finished.over_budget() {
                self.forget_server(oldest);
                self.event(EndpointEvent::Terminated { txn: oldest });
            }
        }
    }

    /// Sends along the flow of the request, or over a new connection when that one is gone (§18.2.2).
    fn send_response(&mut self, now: Instant, id: TxnId, bytes: Vec<u8>, flow: Flow, fallback: SocketAddr) {
        let flow = match flow.via {
            FlowVia::Conn(conn) if self.connections.get(conn).is_none() => {
                // Whom a new secure one should lead to nobody could tell, and in clear it must not go.
                if flow.protocol.is_secure() {
                    self.counters.dropped += 1;
                    return;
                }
                let target = Target { protocol: flow.protocol, addr: fallback };
                let flow = self.connect(now, target, flow.local, None);
                if let Some(server) = self.servers.get_mut(&id) {
                    server.flow = flow;
                }
                flow
            }
            FlowVia::Conn(_) | FlowVia::Socket(_) => flow,
        };
        self.transmit(bytes, flow);
    }

    fn forget_server(&mut self, id: TxnId) {
        let Some(server) = self.servers.remove(&id) else { return };
        self.server_keys.remove(&server.key);
        if let Some(merged) = &server.merged {
            self.merged.remove(merged);
        }
        if server.machine.is_unanswered() {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        self.finished.remove(id);
        self.deadlines.set(id, None);
    }

    /// Answers without a transaction (§8.2.7): the same request gets the same To tag each time.
    pub(super) fn reply_statelessly(&mut self, request: &Request, status: StatusCode, flow: Flow) {
        self.reply_with_reason(request, status, None, flow);
    }

    pub(super) fn reply_with_reason(
        &mut self,
        request: &Request,
        status: StatusCode,
        reason: Option<String>,
        flow: Flow,
    ) {
        if request.method == Method::Ack {
            return;
        }
        let tag = self.stateless_tag(request);
        let mut response = Response::to(request, status, Some(&tag));
        if let Some(reason) = reason {
            response.reason = reason;
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers.push(HeaderName::RETRY_AFTER, "2");
        }
        self.transmit(response.encode(), flow);
    }

    /// The To tag for a stateless response: the same for each copy of a request (§8.2.7), and not to be guessed.
    pub fn stateless_tag(&self, request: &Request) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.tag_key.hash(&mut hasher);
        for name in [HeaderName::VIA, HeaderName::FROM, HeaderName::CALL_ID] {
            request.headers.get(&name).hash(&mut hasher);
        }
        format!("{:016x}", hasher.finish())
    }
}

/// The To tag of a response that we encoded ourselves.
fn to_tag(wire: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(wire);
    let to = text.lines().find_map(|line| line.strip_prefix("To: "))?;
    to.parse::<crate::sip::message::NameAddr>().ok()?.tag().map(str::to_owned)
}
