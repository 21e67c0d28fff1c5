//! Keeping the way to us open: keep-alives along the flow of the binding (RFC 5626 §4.4), and a new one when it breaks.

use super::super::account::AccountConfig;
use super::super::call::Core;
use super::{Registration, State};
use crate::engine::{FlowVia, NetworkChange, Protocol};
use crate::id::ConnId;
use crate::rng::Rng;
use crate::sip::message::NameAddr;
use crate::time::{Duration, Instant};
use std::net::IpAddr;

/// Keep-alives along a datagram flow, ms (NATs forget a mapping after 30 s; RFC 5626 §4.4.2 with 80 % of it as least).
const KEEP_DATAGRAMS: (u64, u64) = (24_000, 29_000);
/// Keep-alives along a connection, ms (RFC 5626 §4.4.1).
const KEEP_STREAM: (u64, u64) = (95_000, 120_000);
/// The first keep-alive along a connection, ms.
const KEEP_FIRST: (u64, u64) = (1_000, 3_000);
/// The pause before a registration whose connection broke is made again, ms: not all phones at the same moment.
const RECONNECT: (u64, u64) = (500, 4_000);

impl Registration {
    /// The connection that the registrar reaches us by is gone: a new one, and with it a new registration.
    pub(in crate::ua) fn handle_disconnected(&mut self, now: Instant, core: &mut Core<'_>, conn: ConnId) {
        let ours = self.binding.as_ref().is_some_and(|binding| binding.flow.via == FlowVia::Conn(conn));
        if let (true, State::Registered { refresh_at }) = (ours, &mut self.state) {
            *refresh_at = (*refresh_at).min(now + spread(core.rng, RECONNECT));
        }
    }

    /// The host has other addresses, or has slept. Whoever was reached along what is gone registers anew at once, and so does
    /// whoever waits to try again.
    pub(in crate::ua) fn handle_network_change(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        change: &NetworkChange,
    ) {
        let gone = |ip: IpAddr| change.resumed || !change.addresses.contains(&ip.to_canonical());
        let lost = match &self.state {
            State::Registered { .. } => self.binding.as_ref().is_some_and(|binding| gone(binding.flow.local.ip())),
            // Its answer would go to where we are not any more.
            State::Registering { route, .. } => gone(route.local.ip()),
            State::Backoff { .. } => true,
            State::Idle | State::Routing { .. } | State::Unregistering { .. } | State::Stopped => false,
        };
        if !lost {
            return;
        }
        if let Some(binding) = &self.binding
            && gone(binding.flow.local.ip())
        {
            self.reached.stale = Some(NameAddr::new(binding.contact.uri.clone()));
        }
        self.failures = 0;
        self.state = State::Idle;
        self.start(now, core, config);
    }

    /// Sends a keep-alive if it is time for one.
    pub(super) fn keep_flow(&mut self, now: Instant, core: &mut Core<'_>) {
        if let Some(binding) = self.binding.as_mut().filter(|binding| binding.keep_at <= now) {
            core.endpoint.keep_alive(now, &binding.flow);
            binding.keep_at = now + keep_after(core.rng, binding.flow.protocol, binding.flow_timer);
        }
    }
}

fn spread(rng: &mut Rng, (least, most): (u64, u64)) -> Duration {
    Duration::from_millis(least + rng.below(most - least + 1))
}

/// The pause before the first keep-alive of a flow: on a connection it soon tells whether the server answers them at all,
/// which it must have done once before its silence means anything.
pub(super) fn keep_first(rng: &mut Rng, protocol: Protocol) -> Duration {
    match protocol {
        Protocol::Udp => keep_after(rng, protocol, None),
        Protocol::Tcp | Protocol::Tls => spread(rng, KEEP_FIRST),
    }
}

/// The pause before the next keep-alive.
pub(super) fn keep_after(rng: &mut Rng, protocol: Protocol, flow_timer: Option<Duration>) -> Duration {
    if let Some(timer) = flow_timer {
        // RFC 5626 §4.4: between 80 and 100 % of what the server wants.
        return timer.mul_f64(0.8 + 0.2 * rng.unit());
    }
    spread(
        rng,
        match protocol {
            Protocol::Udp => KEEP_DATAGRAMS,
            Protocol::Tcp | Protocol::Tls => KEEP_STREAM,
        },
    )
}
