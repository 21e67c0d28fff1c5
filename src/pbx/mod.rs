//! The mini PBX: registrar, dial plan, extensions and bridges on one [`crate::sip`] endpoint.
//!
//! ```text
//!  REGISTER ─▶ Door (digest, guard) ─▶ Registrar ─▶ bindings
//!  INVITE ───▶ Door ─▶ Domain (dial plan) ─┬─▶ ExtensionCall: one Call, a Negotiator, sound of our own
//!                                          └─▶ Bridge: two Calls crosswise, RTP relayed
//! ```

mod bridge;
mod config;
mod door;
mod extension;
mod guard;
mod plan;
mod registrar;
mod requests;
mod seats;
mod session;
#[cfg(test)]
mod tests;

pub use config::{PbxConfig, PbxUser};

use crate::api::{CallSummary, Command, CommandError, Event, Reply, Snapshot};
use crate::engine::{
    BoundListener, BoundSocket, Engine, Lease, NoLease, NoRoute, Output, Record, ResolveError, StreamEvent,
};
use crate::id::{CallHandle, ConnId, MediaId, RequestId, SocketId};
use crate::media::command::MediaEvent;
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointEvent, EndpointOutput};
use crate::sip::message::StatusCode;
use crate::time::{Deadlines, Instant, earliest};
use crate::ua::call::{CallCommand, CallEvent, Calls, Core};
use door::Door;
use plan::Domain;
use registrar::{Change, Registrar};
use seats::Seats;
use session::{Desk, Fate, Session, SessionId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A PBX engine.
#[derive(Debug)]
pub struct Pbx {
    config: PbxConfig,
    rng: Rng,
    endpoint: Endpoint,
    domain: Domain,
    door: Door,
    registrar: Registrar,
    calls: Calls,
    sessions: BTreeMap<SessionId, Session>,
    owners: BTreeMap<CallHandle, SessionId>,
    seats: Seats,
    deadlines: Deadlines<SessionId>,
    next_session: u32,
    stopping: Stopping,
    out: VecDeque<Output>,
}

/// How far [`Command::Stop`] has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    Ending,
    Done,
}

impl Pbx {
    /// A PBX on sockets that the driver has bound.
    pub fn new(
        now: Instant,
        config: PbxConfig,
        sockets: Vec<BoundSocket>,
        listeners: Vec<BoundListener>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = Rng::new(seed);
        let endpoint = Endpoint::new(now, rng.fork(), sockets, listeners, config.limits);
        let names = config.domains.iter().chain([&config.realm]).cloned();
        Self {
            domain: Domain::new(names, config.extensions),
            door: Door::new(&mut rng, &config),
            registrar: Registrar::new(config.min_expires, config.max_expires),
            calls: Calls::new(),
            sessions: BTreeMap::new(),
            owners: BTreeMap::new(),
            seats: Seats::default(),
            deadlines: Deadlines::new(),
            next_session: 0,
            stopping: Stopping::No,
            out: VecDeque::new(),
            config,
            rng,
            endpoint,
        }
    }

    /// True when no call, transaction or socket is left; registrations may stand.
    pub fn is_quiet(&self) -> bool {
        self.endpoint.is_quiet()
            && self.calls.is_empty()
            && self.sessions.is_empty()
            && self.seats.is_quiet()
            && self.out.is_empty()
    }

    /// How many contacts are registered.
    pub fn bindings(&self) -> usize {
        self.registrar.count()
    }

    /// How many calls go through it; a bridge is one.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Full state for a client that joins late: the legs of all calls.
    pub fn snapshot(&self) -> Snapshot {
        let calls = self.calls.iter().filter(|(handle, _)| self.owners.contains_key(handle));
        let summary = |(call, state): (CallHandle, &crate::ua::call::Call)| CallSummary {
            call,
            peer: state.call_id().to_owned(),
            state: state.state().to_owned(),
            incoming: state.state() == "incoming",
            identity: None,
            srtp: None,
            audible_to: None,
            transport: None,
        };
        Snapshot { accounts: Vec::new(), calls: calls.map(summary).collect() }
    }

    /// Handles what the input has caused, until nothing follows any more.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some((call, event)) = self.calls.poll_event() {
                self.handle_call(now, call, event);
            } else if let Some(output) = self.endpoint.poll_output() {
                match output {
                    EndpointOutput::Transmit(transmit) => self.out.push_back(Output::Transmit(transmit)),
                    EndpointOutput::Connect { conn, protocol, peer, secure } => {
                        self.out.push_back(Output::Connect { conn, protocol, peer, secure });
                    }
                    EndpointOutput::Close(conn) => self.out.push_back(Output::Close(conn)),
                    EndpointOutput::Resolve { id, query } => self.out.push_back(Output::Resolve { id, query }),
                    EndpointOutput::LocalAddress { id, peer } => {
                        self.out.push_back(Output::LocalAddress { id, peer });
                    }
                    EndpointOutput::Event(event) => self.handle_endpoint(now, event),
                }
            } else {
                break;
            }
        }
        if self.stopping == Stopping::Ending && self.sessions.is_empty() && self.calls.is_empty() {
            self.stopping = Stopping::Done;
            self.out.push_back(Output::Event(Event::Stopped));
        }
    }

    fn handle_endpoint(&mut self, now: Instant, event: EndpointEvent) {
        let mut logins = BTreeMap::new();
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut logins };
        match self.calls.handle_event(now, &mut core, event) {
            Some(EndpointEvent::Request { txn, request, flow }) => self.handle_request(now, txn, request, flow),
            Some(
                EndpointEvent::Ack { .. }
                | EndpointEvent::Cancelled { .. }
                | EndpointEvent::Response { .. }
                | EndpointEvent::Failed { .. }
                | EndpointEvent::Routed { .. }
                | EndpointEvent::Disconnected { .. }
                | EndpointEvent::Terminated { .. },
            )
            | None => {}
        }
    }

    fn handle_call(&mut self, now: Instant, call: CallHandle, event: CallEvent) {
        if matches!(event, CallEvent::Referred(_)) {
            let decline = CallCommand::RefuseRefer { status: StatusCode::DECLINE };
            self.at_desk(now, |desk| desk.tell(call, decline));
            return;
        }
        self.with_session(now, call, |session, desk| session.handle_call(desk, call, event));
    }

    /// Runs `act` on the session that owns `call`.
    fn with_session(
        &mut self,
        now: Instant,
        call: CallHandle,
        act: impl FnOnce(&mut Session, &mut Desk<'_, '_>) -> Fate,
    ) {
        if let Some(id) = self.owners.get(&call).copied() {
            self.with_session_id(now, id, act);
        }
    }

    /// Runs `act` on a session, which is out of the table meanwhile. Should it panic, this session is ended and no other.
    fn with_session_id(
        &mut self,
        now: Instant,
        id: SessionId,
        act: impl FnOnce(&mut Session, &mut Desk<'_, '_>) -> Fate,
    ) {
        let Some(mut session) = self.sessions.remove(&id) else { return };
        match catch_unwind(AssertUnwindSafe(|| self.at_desk(now, |desk| act(&mut session, desk)))) {
            Ok(Fate::Lives) => {
                self.deadlines.set(id, session.poll_timeout());
                self.sessions.insert(id, session);
            }
            Ok(Fate::Over) => self.deadlines.set(id, None),
            Err(_) => self.end_broken(now, id, session),
        }
    }

    /// Ends what is left of a session that a fault of ours has struck: as it would itself, and call by call what that leaves.
    fn end_broken(&mut self, now: Instant, id: SessionId, mut session: Session) {
        self.deadlines.set(id, None);
        let _ = catch_unwind(AssertUnwindSafe(|| self.at_desk(now, |desk| session.stop(desk))));
        let left: Vec<_> = self.owners.iter().filter(|(_, owner)| **owner == id).map(|(call, _)| *call).collect();
        for call in left {
            self.at_desk(now, |desk| desk.drop_call(call));
        }
    }

    fn at_desk<R>(&mut self, now: Instant, act: impl FnOnce(&mut Desk<'_, '_>) -> R) -> R {
        let mut logins = BTreeMap::new();
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut logins };
        act(&mut Desk {
            now,
            config: &self.config,
            calls: &mut self.calls,
            core: &mut core,
            seats: &mut self.seats,
            owners: &mut self.owners,
            out: &mut self.out,
        })
    }

    fn stop(&mut self, now: Instant) {
        if self.stopping == Stopping::No {
            self.stopping = Stopping::Ending;
        }
        for (id, mut session) in std::mem::take(&mut self.sessions) {
            self.deadlines.set(id, None);
            self.at_desk(now, |desk| session.stop(desk));
        }
    }

    fn report(&mut self, changes: Vec<Change>) {
        for Change { user, contact, expires } in changes {
            self.out.push_back(Output::Event(Event::PbxBinding { user, contact, expires }));
        }
    }
}

impl Engine for Pbx {
    fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    ) {
        self.endpoint.handle_datagram(now, socket, local, source, payload);
        self.settle(now);
    }

    fn handle_stream(&mut self, now: Instant, conn: ConnId, event: StreamEvent<'_>) {
        self.endpoint.handle_stream(now, conn, event);
        self.settle(now);
    }

    fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        self.endpoint.handle_resolved(now, id, answer);
        self.settle(now);
    }

    fn handle_local_address(&mut self, now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        self.endpoint.handle_local_address(now, id, answer);
        self.settle(now);
    }

    fn handle_lease(&mut self, now: Instant, id: RequestId, answer: Result<Lease, NoLease>) {
        if let Some((call, answer)) = self.seats.handle_lease(id, answer, &mut self.out) {
            self.with_session(now, call, |session, desk| session.handle_lease(desk, call, answer));
        }
        self.settle(now);
    }

    fn handle_media(&mut self, now: Instant, media: MediaId, event: MediaEvent) {
        if let Some(call) = self.seats.handle_media(media, &event, &mut self.out) {
            self.with_session(now, call, |session, desk| session.handle_media(desk, &event));
        }
        self.settle(now);
    }

    fn handle_command(&mut self, now: Instant, command: Command) -> Result<Reply, CommandError> {
        let reply = match command {
            Command::Snapshot => Reply::Snapshot(Box::new(self.snapshot())),
            Command::Stop => {
                self.stop(now);
                Reply::Ok
            }
            Command::HangUp { call } => {
                if !self.owners.contains_key(&call) {
                    return Err(CommandError::NoSuchCall(call));
                }
                self.with_session(now, call, |session, desk| {
                    session.stop(desk);
                    Fate::Over
                });
                Reply::Ok
            }
            Command::Dial { .. }
            | Command::Answer { .. }
            | Command::Reject { .. }
            | Command::Hold { .. }
            | Command::Codecs { .. }
            | Command::Resume { .. }
            | Command::Mute { .. }
            | Command::Dtmf { .. }
            | Command::Transfer { .. }
            | Command::TransferTo { .. }
            | Command::AcceptTransfer { .. }
            | Command::RejectTransfer { .. }
            | Command::Register { .. }
            | Command::Unregister { .. }
            | Command::Ping { .. } => return Err(CommandError::NotSupported),
        };
        self.settle(now);
        Ok(reply)
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        let mut logins = BTreeMap::new();
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut logins };
        self.calls.handle_timeout(now, &mut core);
        let changes = self.registrar.handle_timeout(now);
        self.report(changes);
        while let Some(id) = self.deadlines.pop_expired(now) {
            self.with_session_id(now, id, |session, desk| {
                session.handle_timeout(desk);
                Fate::Lives
            });
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let calls = earliest(self.calls.poll_timeout(), self.deadlines.next());
        let own = earliest(calls, self.registrar.poll_timeout());
        Output::Timeout(earliest(own, self.endpoint.poll_timeout()))
    }
}
