//! One account's registration (RFC 3261 §10.2): register, challenge, refresh, back-off (RFC 5626 §4.5), unregister.
//!
//! ```text
//!  Idle ─start─▶ Routing ─▶ Registering ──2xx──▶ Registered ─refresh─▶ Routing …
//!    ▲              │            │ 401, 423: again      │
//!    │              └── failure ─┴─▶ Backoff ─ time ────┤        failure that time does not mend ─▶ Stopped
//!    └───────────── 2xx or failure ◀── Unregistering ◀──┘ stop
//! ```

mod keep;
mod reach;
mod request;
mod response;

use super::account::AccountConfig;
use super::call::Core;
use super::failure::About;
use crate::api::Event;
use crate::engine::Flow;
use crate::id::AccountId;
use crate::rng::Rng;
use crate::sip::endpoint::{Route, RouteError, RouteId, TxnError, TxnId, Wish};
use crate::sip::message::{Method, NameAddr, Request};
use crate::time::{Duration, Instant};
use reach::Reached;
use std::collections::VecDeque;
use std::net::IpAddr;

/// RFC 5626 §4.5: base and most of the wait after failures.
const BASE: Duration = Duration::from_secs(30);
const MOST: Duration = Duration::from_secs(1800);
/// The longest lifetime that a 423 may push us to.
const MAX_EXPIRES: u32 = 86_400;
/// Challenges of one REGISTER that are answered.
const MAX_CHALLENGES: u8 = 3;

#[derive(Debug)]
pub(super) struct Registration {
    account: AccountId,
    call_id: String,
    tag: String,
    seq: u32,
    /// At least 64 random bits: nobody else can guess where we are reached (threats C4).
    contact_user: String,
    expires: u32,
    failures: u32,
    binding: Option<Binding>,
    state: State,
    /// The URN of the phone.
    instance: Option<String>,
    reached: Reached,
}

/// What the registrar holds for us.
#[derive(Debug, Clone)]
struct Binding {
    contact: NameAddr,
    route: Route,
    expires_at: Instant,
    /// The way that the registrar's answer came along, and when it is used next lest it close.
    flow: Flow,
    keep_at: Instant,
    /// How often the server wants a sign of life along the flow, if it says so (RFC 5626 §4.4).
    flow_timer: Option<Duration>,
}

#[derive(Debug)]
enum State {
    Idle,
    Routing {
        route: RouteId,
    },
    Registering {
        txn: TxnId,
        request: Box<Request>,
        route: Route,
        challenges: u8,
    },
    Registered {
        refresh_at: Instant,
    },
    Backoff {
        retry_at: Instant,
    },
    Unregistering {
        txn: TxnId,
        request: Box<Request>,
        route: Route,
        challenges: u8,
    },
    /// The server's last word was final (wrong password, forbidden): only a command starts it again.
    Stopped,
}

impl Registration {
    pub(super) fn new(account: AccountId, config: &AccountConfig, instance: Option<String>, rng: &mut Rng) -> Self {
        let expires = u32::try_from(config.expires.as_secs()).unwrap_or(MAX_EXPIRES).clamp(1, MAX_EXPIRES);
        Self {
            account,
            call_id: rng.token(128),
            tag: rng.tag(),
            seq: 0,
            contact_user: rng.token(80),
            expires,
            failures: 0,
            binding: None,
            state: State::Idle,
            instance,
            reached: Reached::new(config),
        }
    }

    /// The user part of our Contact.
    pub(super) fn contact_user(&self) -> &str {
        &self.contact_user
    }

    /// Whether a binding stands.
    pub(super) const fn is_registered(&self) -> bool {
        self.binding.is_some()
    }

    /// How the binding travels.
    pub(super) fn transport(&self) -> Option<crate::engine::Protocol> {
        self.binding.as_ref().map(|binding| binding.flow.protocol)
    }

    /// Whether `ip` is the server that holds our binding.
    pub(super) fn is_server(&self, ip: IpAddr) -> bool {
        self.binding.as_ref().is_some_and(|binding| binding.route.targets.iter().any(|target| target.addr.ip() == ip))
    }

    /// True when nothing is under way.
    pub(super) const fn is_quiet(&self) -> bool {
        matches!(self.state, State::Idle | State::Registered { .. } | State::Backoff { .. } | State::Stopped)
    }

    pub(super) fn owns_txn(&self, wanted: TxnId) -> bool {
        match &self.state {
            State::Registering { txn, .. } | State::Unregistering { txn, .. } => *txn == wanted,
            State::Idle | State::Routing { .. } | State::Registered { .. } | State::Backoff { .. } | State::Stopped => {
                false
            }
        }
    }

    pub(super) fn owns_route(&self, wanted: RouteId) -> bool {
        matches!(&self.state, State::Routing { route } if *route == wanted)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let next = match &self.state {
            State::Registered { refresh_at } => Some(*refresh_at),
            State::Backoff { retry_at } => Some(*retry_at),
            State::Idle
            | State::Routing { .. }
            | State::Registering { .. }
            | State::Unregistering { .. }
            | State::Stopped => None,
        };
        let binding = self.binding.as_ref().map(|binding| binding.expires_at.min(binding.keep_at));
        crate::time::earliest(next, binding)
    }

    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        out: &mut VecDeque<Event>,
    ) {
        if self.binding.as_ref().is_some_and(|binding| binding.expires_at <= now) {
            self.binding = None;
            self.reached.told = false;
            out.push_back(Event::Unregistered { account: self.account });
        }
        self.keep_flow(now, core);
        let due = match &self.state {
            State::Registered { refresh_at } => *refresh_at <= now,
            State::Backoff { retry_at } => *retry_at <= now,
            State::Idle
            | State::Routing { .. }
            | State::Registering { .. }
            | State::Unregistering { .. }
            | State::Stopped => false,
        };
        if due {
            self.start(now, core, config);
        }
    }

    /// Registers, or refreshes at once.
    pub(super) fn start(&mut self, now: Instant, core: &mut Core<'_>, config: &AccountConfig) {
        match self.state {
            State::Routing { .. } | State::Registering { .. } => {}
            State::Idle
            | State::Registered { .. }
            | State::Backoff { .. }
            | State::Unregistering { .. }
            | State::Stopped => {
                let hop = config.proxy.as_ref().unwrap_or(&config.registrar);
                let wish = Wish { transport: config.transport, tls: config.tls.clone() };
                let route = core.endpoint.route(now, hop, wish);
                self.state = State::Routing { route };
            }
        }
    }

    /// Takes the binding back; without one there is nothing to do.
    pub(super) fn stop(&mut self, now: Instant, core: &mut Core<'_>, config: &AccountConfig, user_agent: &str) {
        match (&self.state, &self.binding) {
            (State::Unregistering { .. }, _) => {}
            (_, Some(binding)) => {
                let route = binding.route.clone();
                let request = Box::new(self.request(core, config, user_agent, &route, 0));
                let txn = core.endpoint.request(now, (*request).clone(), &route);
                self.state = State::Unregistering { txn, request, route, challenges: 0 };
            }
            // A REGISTER on its way may still make a binding: it is taken back by what the server answers.
            (State::Registering { .. }, None) => {
                if let State::Registering { txn, request, route, challenges } =
                    std::mem::replace(&mut self.state, State::Idle)
                {
                    self.state = State::Unregistering { txn, request, route, challenges };
                }
            }
            (
                State::Idle | State::Routing { .. } | State::Registered { .. } | State::Backoff { .. } | State::Stopped,
                None,
            ) => {
                self.state = State::Idle;
            }
        }
    }

    pub(super) fn handle_routed(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        user_agent: &str,
        result: Result<Route, RouteError>,
        out: &mut VecDeque<Event>,
    ) {
        match result {
            Ok(route) => {
                let request = Box::new(self.request(core, config, user_agent, &route, self.expires));
                let txn = core.endpoint.request(now, (*request).clone(), &route);
                self.state = State::Registering { txn, request, route, challenges: 0 };
            }
            Err(error) => self.back_off(now, core, about(config).no_route(&error), None, out),
        }
    }

    pub(super) fn handle_failed(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        error: TxnError,
        out: &mut VecDeque<Event>,
    ) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Registering { route, .. } => {
                if let Some(next) = core.endpoint.next_target(now, &route) {
                    self.state = State::Routing { route: next };
                    return;
                }
                let failure = match route.targets.first() {
                    Some(target) => about(config).unreachable(error, target.addr, target.protocol, &Method::Register),
                    None => about(config).unreachable(error, route.local, route.protocol(), &Method::Register),
                };
                self.back_off(now, core, failure, None, out);
            }
            State::Unregistering { .. } => self.gone(out),
            state @ (State::Idle
            | State::Routing { .. }
            | State::Registered { .. }
            | State::Backoff { .. }
            | State::Stopped) => self.state = state,
        }
    }

    /// Tries again later, longer each time, and not all phones at once.
    fn back_off(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        failure: crate::api::Failure,
        retry_after: Option<u32>,
        out: &mut VecDeque<Event>,
    ) {
        let upper = BASE.saturating_mul(1 << self.failures.min(10)).min(MOST);
        let mut wait = upper.mul_f64(0.5 + 0.5 * core.rng.unit());
        if let Some(seconds) = retry_after {
            wait = wait.max(Duration::from_secs(u64::from(seconds)).min(MOST));
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Backoff { retry_at: now + wait };
        let retry_s = Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
        out.push_back(Event::RegistrationFailed { account: self.account, failure, retry_s });
    }

    fn give_up(&mut self, failure: crate::api::Failure, out: &mut VecDeque<Event>) {
        self.state = State::Stopped;
        out.push_back(Event::RegistrationFailed { account: self.account, failure, retry_s: None });
    }

    fn gone(&mut self, out: &mut VecDeque<Event>) {
        self.state = State::Idle;
        self.reached.told = false;
        if self.binding.take().is_some() {
            out.push_back(Event::Unregistered { account: self.account });
        }
    }
}

/// Whom the failures of an account are about.
pub(super) fn about(config: &AccountConfig) -> About {
    About {
        server: super::commands::host(&config.registrar),
        account: Some(config.name.clone()),
        user: config.aor.user_unescaped(),
        peer: None,
    }
}
