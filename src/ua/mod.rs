//! The softphone: accounts, registrations and calls on one [`crate::sip`] endpoint.
//!
//! ```text
//!   Command ──▶ Ua ──▶ Calls (SIP of each call) ──▶ Endpoint ──▶ Output
//!                │        │ CallEvent
//!                │        ▼
//!                ├──▶ Line (negotiators, sockets, figures) ──▶ MediaCommand
//!                └──▶ Registration (one for each account)
//! ```

pub mod account;
pub mod call;
mod caller;
mod changes;
mod commands;
mod digits;
pub(crate) mod failure;
mod forward;
mod line;
pub mod login;
mod network;
mod progress;
mod registration;
mod requests;
pub mod screen;
mod sound;
mod target;
#[cfg(test)]
mod tests;
mod transfer;

pub use account::{AccountConfig, AudioConfig, CallConfig, Reliable, Rules, TransferPolicy, UaConfig};
pub use digits::DtmfMode;
pub use forward::Forward;

use crate::api::{AccountState, CallSummary, Command, CommandError, Event, Reply, Snapshot};
use crate::engine::{
    BoundListener, BoundSocket, Engine, Lease, NetworkChange, NoLease, NoRoute, Output, Record, ResolveError,
    StreamEvent,
};
use crate::id::{AccountId, CallHandle, ConnId, MediaId, RequestId, SocketId};
use crate::media::command::MediaEvent;
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointEvent, EndpointOutput, RouteId, TxnId};
use crate::time::{Duration, Instant, earliest};
use call::{Calls, Core};
use line::Line;
use login::Login;
use progress::call_of;
use registration::Registration;
use requests::Ping;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use transfer::Moves;

/// How long [`Command::Stop`] waits for peers and registrars.
const PATIENCE: Duration = Duration::from_millis(1900);

/// A softphone engine.
#[derive(Debug)]
pub struct Ua {
    config: UaConfig,
    rng: Rng,
    endpoint: Endpoint,
    calls: Calls,
    lines: BTreeMap<CallHandle, Line>,
    registrations: BTreeMap<AccountId, Registration>,
    logins: BTreeMap<AccountId, Login>,
    pings: Vec<Ping>,
    moves: Moves,
    next_request: u64,
    life: Life,
    out: VecDeque<Output>,
}

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Stopping { until: Instant },
    Stopped,
}

impl Ua {
    /// A softphone on sockets that the driver has bound; registers its accounts at once.
    pub fn new(
        now: Instant,
        config: UaConfig,
        sockets: Vec<BoundSocket>,
        listeners: Vec<BoundListener>,
        seed: [u8; 32],
    ) -> Self {
        let mut rng = Rng::new(seed);
        let endpoint = Endpoint::new(now, rng.fork(), sockets, listeners, config.limits);
        let mut ua = Self {
            endpoint,
            calls: Calls::new(),
            lines: BTreeMap::new(),
            registrations: BTreeMap::new(),
            logins: BTreeMap::new(),
            pings: Vec::new(),
            moves: Moves::default(),
            next_request: 0,
            life: Life::Running,
            out: VecDeque::new(),
            config,
            rng,
        };
        for (id, account) in (0..).map(AccountId).zip(&ua.config.accounts) {
            if let Some(credentials) = &account.credentials {
                ua.logins.insert(id, Login::new(credentials.clone()));
            }
            ua.registrations.insert(id, Registration::new(id, account, ua.config.instance.clone(), &mut ua.rng));
        }
        let registering: Vec<_> =
            (0..).map(AccountId).zip(&ua.config.accounts).filter(|(_, a)| a.register).map(|(id, _)| id).collect();
        for id in registering {
            ua.register(now, id);
        }
        ua.settle(now);
        ua
    }

    /// True when no call, transaction, lease or question is left; standing registrations do not count.
    pub fn is_quiet(&self) -> bool {
        self.endpoint.is_quiet()
            && self.calls.is_empty()
            && self.lines.is_empty()
            && self.pings.is_empty()
            && self.moves.is_idle()
            && self.registrations.values().all(Registration::is_quiet)
    }

    /// Full state for a client that joins late.
    pub fn snapshot(&self) -> Snapshot {
        let account = |(id, account): (AccountId, &AccountConfig)| AccountState {
            account: id,
            name: account.name.clone(),
            aor: account.aor.to_string(),
            registered: self.registrations.get(&id).is_some_and(Registration::is_registered),
            transport: self.registrations.get(&id).and_then(Registration::transport).map(|t| t.param().to_owned()),
        };
        let call = |(call, line): (&CallHandle, &Line)| CallSummary {
            call: *call,
            peer: line.about.peer.clone().unwrap_or_default(),
            state: line.state(self.calls.get(*call).is_some_and(|call| call.state() == "ringing")).to_owned(),
            incoming: line.incoming,
            identity: line.identity.clone(),
            srtp: line.suite().map(|suite| suite.name().to_owned()),
            audible_to: Some(line.audible_to()),
            transport: line.transport.map(|transport| transport.param().to_owned()),
        };
        Snapshot {
            accounts: (0..).map(AccountId).zip(&self.config.accounts).map(account).collect(),
            calls: self.lines.iter().map(call).collect(),
        }
    }

    /// The endpoint, for its counters.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn account(&self, id: AccountId) -> Option<&AccountConfig> {
        self.config.accounts.get(usize::try_from(id.0).ok()?)
    }

    /// Runs `act` on the calls with what they may use.
    fn with_calls<R>(&mut self, act: impl FnOnce(&mut Calls, &mut Core<'_>) -> R) -> R {
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut self.logins };
        act(&mut self.calls, &mut core)
    }

    /// Runs `act` on a registration with what it may use; its events go out.
    fn with_registration(
        &mut self,
        id: AccountId,
        act: impl FnOnce(&mut Registration, &mut Core<'_>, &AccountConfig, &str, &mut VecDeque<Event>),
    ) {
        let Some(config) = usize::try_from(id.0).ok().and_then(|at| self.config.accounts.get(at)) else { return };
        let Some(registration) = self.registrations.get_mut(&id) else { return };
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut self.logins };
        let mut events = VecDeque::new();
        act(registration, &mut core, config, &self.config.user_agent, &mut events);
        self.out.extend(events.into_iter().map(Output::Event));
    }

    fn register(&mut self, now: Instant, id: AccountId) {
        self.with_registration(id, |registration, core, config, _, _| registration.start(now, core, config));
    }

    fn unregister(&mut self, now: Instant, id: AccountId) {
        self.with_registration(id, |registration, core, config, agent, _| {
            registration.stop(now, core, config, agent);
        });
    }

    fn emit(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn fresh_request(&mut self) -> RequestId {
        self.next_request = self.next_request.wrapping_add(1);
        RequestId(self.next_request)
    }

    /// Works off what the endpoint and the calls have to say; every input ends here.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some((call, event)) = self.calls.poll_event() {
                self.guarded(now, call, |ua| ua.handle_call_event(now, call, event));
                continue;
            }
            match self.endpoint.poll_output() {
                Some(EndpointOutput::Event(event)) => self.handle_endpoint_event(now, event),
                Some(other) => self.out.extend(output(other)),
                None => break,
            }
        }
        self.check_stopped(now);
    }

    fn handle_endpoint_event(&mut self, now: Instant, event: EndpointEvent) {
        let Some(event) = self.with_calls(|calls, core| calls.handle_event(now, core, event)) else { return };
        match event {
            EndpointEvent::Request { txn, request, flow } => self.handle_request(now, txn, request, flow),
            EndpointEvent::Response { txn, response, flow } => match self.registration_of_txn(txn) {
                Some(id) => self.with_registration(id, |registration, core, config, agent, out| {
                    registration.handle_response(now, core, config, agent, &response, flow, out);
                }),
                None => self.handle_pong(now, txn, &response),
            },
            EndpointEvent::Failed { txn, error } => match self.registration_of_txn(txn) {
                Some(id) => self.with_registration(id, |registration, core, config, _, out| {
                    registration.handle_failed(now, core, config, error, out);
                }),
                None => self.handle_ping_failed(now, txn, error),
            },
            EndpointEvent::Routed { id, result } => match self.registration_of_route(id) {
                Some(account) => self.with_registration(account, |registration, core, config, agent, out| {
                    registration.handle_routed(now, core, config, agent, result, out);
                }),
                None => self.handle_ping_routed(now, id, result),
            },
            EndpointEvent::Disconnected { conn } => {
                for id in self.registrations.keys().copied().collect::<Vec<_>>() {
                    self.with_registration(id, |registration, core, _, _, _| {
                        registration.handle_disconnected(now, core, conn);
                    });
                }
            }
            // An ACK for a call that is gone, a CANCEL for one that was refused, the end of somebody's transaction.
            EndpointEvent::Ack { .. } | EndpointEvent::Cancelled { .. } | EndpointEvent::Terminated { .. } => {}
        }
    }

    /// Runs what concerns one call. Should it panic, that call is ended and the phone goes on.
    fn guarded(&mut self, now: Instant, call: CallHandle, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err()
            && let Some(line) = self.lines.get(&call)
        {
            let failure = line.about.fault();
            self.give_up(now, call, failure);
        }
    }

    fn registration_of_txn(&self, txn: TxnId) -> Option<AccountId> {
        self.registrations.iter().find(|(_, registration)| registration.owns_txn(txn)).map(|(id, _)| *id)
    }

    fn registration_of_route(&self, route: RouteId) -> Option<AccountId> {
        self.registrations.iter().find(|(_, registration)| registration.owns_route(route)).map(|(id, _)| *id)
    }

    /// Hangs up everything and unregisters; `Stopped` follows when all is quiet, or after two seconds.
    fn stop(&mut self, now: Instant) {
        if self.life != Life::Running {
            return;
        }
        self.life = Life::Stopping { until: now + PATIENCE };
        self.drop_questions(now);
        let live: Vec<_> = self.lines.iter().filter(|(_, line)| line.is_live()).map(|(call, _)| *call).collect();
        for call in live {
            self.hang_up(now, call);
        }
        for id in self.registrations.keys().copied().collect::<Vec<_>>() {
            self.unregister(now, id);
        }
    }

    fn check_stopped(&mut self, now: Instant) {
        let Life::Stopping { until } = self.life else { return };
        let idle = self.lines.is_empty()
            && self.calls.iter().all(|(_, call)| call.is_settled())
            && self.registrations.values().all(Registration::is_quiet);
        if idle || until <= now {
            for call in self.lines.keys().copied().collect::<Vec<_>>() {
                self.finish_line(call);
            }
            self.life = Life::Stopped;
            self.emit(Event::Stopped);
        }
    }
}

impl Engine for Ua {
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
        self.take_lease(now, id, answer);
        self.settle(now);
    }

    fn handle_media(&mut self, now: Instant, media: MediaId, event: MediaEvent) {
        if let Some(call) = call_of(media) {
            self.guarded(now, call, |ua| ua.take_media(now, call, event));
        }
        self.settle(now);
    }

    fn handle_command(&mut self, now: Instant, command: Command) -> Result<Reply, CommandError> {
        let reply = self.command(now, command);
        self.settle(now);
        reply
    }

    fn handle_network_change(&mut self, now: Instant, change: &NetworkChange) {
        self.network_changed(now, change);
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.with_calls(|calls, core| calls.handle_timeout(now, core));
        for id in self.registrations.keys().copied().collect::<Vec<_>>() {
            self.with_registration(id, |registration, core, config, _, out| {
                registration.handle_timeout(now, core, config, out);
            });
        }
        self.handle_line_timeouts(now);
        self.handle_move_timeouts(now);
        self.settle(now);
    }

    fn poll_output(&mut self) -> Output {
        if let Some(output) = self.out.pop_front() {
            return output;
        }
        let stopping = match self.life {
            Life::Stopping { until } => Some(until),
            Life::Running | Life::Stopped => None,
        };
        let machines = [self.endpoint.poll_timeout(), self.calls.poll_timeout(), stopping, self.moves.deadline()];
        let lines = self.lines.values().map(Line::deadline);
        let registrations = self.registrations.values().map(Registration::poll_timeout);
        Output::Timeout(machines.into_iter().chain(lines).chain(registrations).fold(None, earliest))
    }
}

fn output(output: EndpointOutput) -> Option<Output> {
    match output {
        EndpointOutput::Transmit(transmit) => Some(Output::Transmit(transmit)),
        EndpointOutput::Connect { conn, protocol, peer, secure } => {
            Some(Output::Connect { conn, protocol, peer, secure })
        }
        EndpointOutput::Close(conn) => Some(Output::Close(conn)),
        EndpointOutput::Resolve { id, query } => Some(Output::Resolve { id, query }),
        EndpointOutput::LocalAddress { id, peer } => Some(Output::LocalAddress { id, peer }),
        EndpointOutput::Event(_) => None,
    }
}
