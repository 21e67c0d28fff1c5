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
mod seats;
mod session;
#[cfg(test)]
mod tests;

pub use config::{PbxConfig, PbxUser};

use crate::api::{CallSummary, Command, CommandError, Event, Reply, Snapshot};
use crate::engine::{
    BoundListener, BoundSocket, Engine, Flow, Lease, NoLease, NoRoute, Output, Record, ResolveError, StreamEvent,
};
use crate::id::{CallHandle, ConnId, MediaId, RequestId, SocketId};
use crate::media::command::MediaEvent;
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointEvent, EndpointOutput, TxnId};
use crate::sip::message::{HeaderName, Method, NameAddr, Request, Response, StatusCode, Uri};
use crate::time::{Deadlines, Duration, Instant, earliest};
use crate::ua::call::{Accept, CallEvent, Calls, Core, SDP};
use crate::ua::screen;
use bridge::{Bridge, Invitation};
use door::{Door, Entry};
use extension::ExtensionCall;
use plan::{Destination, Domain};
use registrar::{Change, Registrar};
use seats::Seats;
use session::{Desk, Fate, Session, SessionId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

/// What the PBX allows outside a dialog.
const ALLOWED: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER";
/// 604 rings for so long at most, so that a caller who has vanished takes no place for ever.
const RING_LIMIT: Duration = Duration::from_secs(3600);
/// Hops that an INVITE without Max-Forwards may take.
const MAX_FORWARDS: u8 = 70;
/// When a caller who found all places taken may try again, seconds.
const RETRY_AFTER: &str = "5";

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
            door: Door::new(&mut rng, &config.realm, &config.users),
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
                    EndpointOutput::Connect { conn, protocol, peer } => {
                        self.out.push_back(Output::Connect { conn, protocol, peer });
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
                | EndpointEvent::Terminated { .. },
            )
            | None => {}
        }
    }

    /// A request outside any dialog.
    fn handle_request(&mut self, now: Instant, txn: TxnId, request: Request, flow: Flow) {
        let destination = self.domain.destination(&request.uri, flow.local);
        // A phone may ask whether we are there without a name; all else needs one (threats C13).
        if request.method == Method::Options && destination == Destination::Pbx {
            let response = self.response(&request, StatusCode::OK);
            self.endpoint.respond_statelessly(now, txn, capable(response));
            return;
        }
        match self.door.check(now, &mut self.rng, &request, &flow, &self.domain) {
            Entry::Silence => self.endpoint.ignore(txn),
            Entry::Refused(mut response) => {
                response.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
                self.endpoint.respond_statelessly(now, txn, *response);
            }
            Entry::User(user) => {
                if let Some(response) = self.admit(now, txn, &request, flow, &user, destination) {
                    self.endpoint.respond(now, txn, response);
                }
            }
        }
    }

    /// A request of a user: gives back its response, unless it has become a call.
    fn admit(
        &mut self,
        now: Instant,
        txn: TxnId,
        request: &Request,
        flow: Flow,
        user: &str,
        destination: Destination,
    ) -> Option<Response> {
        let domain = &self.domain;
        let routed_elsewhere = match request.headers.routes() {
            Ok(routes) => routes.iter().any(|route| !domain.serves(&route.uri, flow.local)),
            Err(_) => true,
        };
        if destination == Destination::Foreign || routed_elsewhere {
            return Some(self.response(request, StatusCode::FORBIDDEN));
        }
        match (&request.method, destination) {
            (Method::Register, _) => Some(self.register(now, request, flow, user)),
            (Method::Options, Destination::User(name)) if !self.door.knows(&name) => {
                Some(self.response(request, StatusCode::NOT_FOUND))
            }
            (Method::Options, _) => Some(capable(self.response(request, StatusCode::OK))),
            (Method::Invite, destination) => self.invite(now, txn, request, flow, user, destination),
            (Method::Bye | Method::Notify, _) => Some(self.response(request, StatusCode::CALL_DOES_NOT_EXIST)),
            (Method::Other(_), _) => Some(self.refused(request, StatusCode::NOT_IMPLEMENTED)),
            (
                Method::Ack
                | Method::Cancel
                | Method::Info
                | Method::Update
                | Method::Prack
                | Method::Message
                | Method::Subscribe
                | Method::Refer
                | Method::Publish,
                _,
            ) => Some(self.refused(request, StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    fn register(&mut self, now: Instant, request: &Request, flow: Flow, user: &str) -> Response {
        let required = request.headers.tokens(&HeaderName::REQUIRE);
        if !required.is_empty() {
            let mut response = self.response(request, StatusCode::BAD_EXTENSION);
            response.headers.set(HeaderName::UNSUPPORTED, required.join(", "));
            return response;
        }
        let (response, changes) = self.registrar.register(now, user, request, flow);
        self.report(changes);
        let mut tagged = Response::to(request, response.status, Some(&self.rng.tag()));
        for (name, value) in response.headers.iter().filter(|(name, _)| !tagged.headers.has(name)).collect::<Vec<_>>() {
            tagged.headers.push(name.clone(), value);
        }
        tagged.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
        tagged
    }

    fn invite(
        &mut self,
        now: Instant,
        txn: TxnId,
        request: &Request,
        flow: Flow,
        user: &str,
        destination: Destination,
    ) -> Option<Response> {
        if let Err(refusal) = screen::outside_dialog(request) {
            return Some(refusal.response(request, &self.rng.tag()));
        }
        let hops = match request.headers.max_forwards() {
            Ok(hops) => hops.unwrap_or(MAX_FORWARDS),
            Err(_) => return Some(self.response(request, StatusCode::BAD_REQUEST)),
        };
        let full = self.config.max_calls > 0 && self.sessions.len() >= self.config.max_calls;
        if full || self.stopping != Stopping::No {
            let mut response = self.response(request, StatusCode::SERVICE_UNAVAILABLE);
            response.headers.set(HeaderName::RETRY_AFTER, RETRY_AFTER);
            return Some(response);
        }
        let called = request.uri.user_unescaped().unwrap_or_default();
        let plan = match destination {
            Destination::Extension(extension) => Leads::Extension(extension),
            Destination::User(name) if self.door.knows(&name) => {
                let bindings = self.registrar.bindings(now, &name);
                if bindings.is_empty() {
                    return Some(self.response(request, StatusCode::TEMPORARILY_UNAVAILABLE));
                }
                Leads::User(self.invitation(request, user, name, hops, bindings))
            }
            Destination::User(_) | Destination::Pbx | Destination::Foreign => {
                return Some(self.response(request, StatusCode::NOT_FOUND));
            }
        };
        let accept = Accept {
            contact_user: Some(called.clone()),
            login: None,
            user_agent: self.config.user_agent.clone(),
            ring_timeout: Some(RING_LIMIT),
        };
        let mut logins = BTreeMap::new();
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut logins };
        let call = match self.calls.incoming(now, &mut core, txn, request.clone(), flow, accept) {
            Ok(call) => call,
            Err(status) => return Some(self.response(request, status)),
        };
        self.next_session = self.next_session.wrapping_add(1);
        let id = SessionId(self.next_session);
        self.owners.insert(call, id);
        let user = user.to_owned();
        let session = self.at_desk(now, |desk| match plan {
            Leads::Extension(extension) => {
                Session::Extension(Box::new(ExtensionCall::new(desk, extension, call, user, called)))
            }
            Leads::User(invitation) => Session::Bridge(Box::new(Bridge::new(desk, id, call, invitation))),
        });
        self.sessions.insert(id, session);
        None
    }

    /// The headers of the forks are made anew; only the display name of the caller is taken over (threats C12).
    fn invitation(
        &self,
        request: &Request,
        user: &str,
        callee: String,
        hops: u8,
        bindings: Vec<registrar::Binding>,
    ) -> Invitation {
        let from = request.headers.from().ok();
        let host = from.as_ref().and_then(|from| from.uri.host.clone());
        let host = host.unwrap_or_else(|| crate::sip::message::Host::Name(self.config.realm.clone()));
        let display = from.and_then(|from| from.display);
        let aor = |user: &Option<String>| Uri { user: user.clone(), ..Uri::sip(None, host.clone()) };
        let caller_user = request.headers.from().ok().and_then(|from| from.uri.user);
        let from = NameAddr::new(aor(&caller_user));
        Invitation {
            from: match display {
                Some(display) => from.with_display(display),
                None => from,
            },
            to: NameAddr::new(aor(&request.uri.user)),
            caller: user.to_owned(),
            callee,
            max_forwards: hops.saturating_sub(1),
            bindings,
        }
    }

    fn handle_call(&mut self, now: Instant, call: CallHandle, event: CallEvent) {
        self.with_session(now, call, |session, desk| session.handle_call(desk, call, event));
    }

    /// Runs `act` on the session that owns `call`. It is out of the table meanwhile.
    fn with_session(
        &mut self,
        now: Instant,
        call: CallHandle,
        act: impl FnOnce(&mut Session, &mut Desk<'_, '_>) -> Fate,
    ) {
        let Some(id) = self.owners.get(&call).copied() else { return };
        let Some(mut session) = self.sessions.remove(&id) else { return };
        match self.at_desk(now, |desk| act(&mut session, desk)) {
            Fate::Lives => {
                self.deadlines.set(id, session.poll_timeout());
                self.sessions.insert(id, session);
            }
            Fate::Over => self.deadlines.set(id, None),
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

    fn response(&mut self, request: &Request, status: StatusCode) -> Response {
        let mut response = Response::to(request, status, Some(&self.rng.tag()));
        response.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
        response
    }

    fn refused(&mut self, request: &Request, status: StatusCode) -> Response {
        let mut response = self.response(request, status);
        response.headers.set(HeaderName::ALLOW, ALLOWED);
        response
    }

    fn report(&mut self, changes: Vec<Change>) {
        for Change { user, contact, expires } in changes {
            self.out.push_back(Output::Event(Event::PbxBinding { user, contact, expires }));
        }
    }
}

/// Where an INVITE leads.
enum Leads {
    Extension(plan::Extension),
    User(Invitation),
}

/// Says what the PBX can do (§11.2).
fn capable(mut response: Response) -> Response {
    response.headers.set(HeaderName::ALLOW, ALLOWED);
    response.headers.set(HeaderName::ACCEPT, SDP);
    response
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
            | Command::Mute { .. }
            | Command::Dtmf { .. }
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
            if let Some(mut session) = self.sessions.remove(&id) {
                self.at_desk(now, |desk| session.handle_timeout(desk));
                self.deadlines.set(id, session.poll_timeout());
                self.sessions.insert(id, session);
            }
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
