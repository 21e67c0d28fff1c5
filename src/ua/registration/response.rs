//! What the registrar says to a REGISTER (RFC 3261 §10.2.4 to §10.2.8), and what follows from it.

use super::super::account::AccountConfig;
use super::super::call::Core;
use super::keep::{keep_after, keep_first};
use super::{Binding, MAX_EXPIRES, Registration, State, about};
use crate::api::Event;
use crate::engine::Flow;
use crate::sip::endpoint::Route;
use crate::sip::message::{Contacts, HeaderName, Request, Response};
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

impl Registration {
    #[allow(clippy::too_many_arguments, reason = "an input, what it may use, and where its events go")]
    pub(in crate::ua) fn handle_response(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        user_agent: &str,
        response: &Response,
        flow: Flow,
        out: &mut VecDeque<Event>,
    ) {
        if response.status.is_provisional() {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Registering { mut request, route, challenges, .. } => match response.status.code() {
                200..=299 => self.accepted(now, core, config, &request, route, response, flow, out),
                401 | 407 => match self.answer(core, &mut request, response, flow, &route, challenges) {
                    Ok(()) => {
                        let txn = core.endpoint.request(now, (*request).clone(), &route);
                        self.state = State::Registering { txn, request, route, challenges: challenges + 1 };
                    }
                    Err(error) => self.give_up(about(config).login(&error, response), out),
                },
                423 => {
                    let least = response.headers.seconds(&HeaderName::MIN_EXPIRES).unwrap_or(0);
                    if least > self.expires && least <= MAX_EXPIRES {
                        self.expires = least;
                        let request = Box::new(self.request(core, config, user_agent, &route, least));
                        let txn = core.endpoint.request(now, (*request).clone(), &route);
                        self.state = State::Registering { txn, request, route, challenges };
                    } else {
                        self.give_up(about(config).refused_registration(response), out);
                    }
                }
                // RFC 5626 §11.6: our first hop does not keep flows. Then without.
                439 if self.reached.outbound => {
                    self.reached.outbound = false;
                    let request = Box::new(self.request(core, config, user_agent, &route, self.expires));
                    let txn = core.endpoint.request(now, (*request).clone(), &route);
                    self.state = State::Registering { txn, request, route, challenges };
                }
                // RFC 3263 §4.3: the next address of the server may do better.
                503 if core.endpoint.next_target(now, &route).is_some_and(|next| {
                    self.state = State::Routing { route: next };
                    true
                }) => {}
                408 | 480 | 500..=699 => {
                    let after = response.headers.seconds(&HeaderName::RETRY_AFTER);
                    self.back_off(now, core, about(config).refused_registration(response), after, out);
                }
                _ => self.give_up(about(config).refused_registration(response), out),
            },
            State::Unregistering { mut request, route, challenges, .. } => {
                let asked = matches!(response.status.code(), 401 | 407);
                let wanted = request.headers.expires() == Some(0);
                if response.status.is_success() && !wanted {
                    // The REGISTER that was on its way when we were told to stop.
                    let request = Box::new(self.request(core, config, user_agent, &route, 0));
                    let txn = core.endpoint.request(now, (*request).clone(), &route);
                    self.state = State::Unregistering { txn, request, route, challenges };
                } else if asked && self.answer(core, &mut request, response, flow, &route, challenges).is_ok() {
                    let txn = core.endpoint.request(now, (*request).clone(), &route);
                    self.state = State::Unregistering { txn, request, route, challenges: challenges + 1 };
                } else {
                    self.gone(out);
                }
            }
            state @ (State::Idle
            | State::Routing { .. }
            | State::Registered { .. }
            | State::Backoff { .. }
            | State::Stopped) => self.state = state,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an input, what it may use, and where its events go")]
    fn accepted(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        config: &AccountConfig,
        request: &Request,
        route: Route,
        response: &Response,
        flow: Flow,
        out: &mut VecDeque<Event>,
    ) {
        let Ok(Contacts::List(sent)) = request.headers.contacts() else { return };
        let Some(ours) = sent.into_iter().next() else { return };
        let listed = match response.headers.contacts() {
            // Ours by its random user part: a server behind a NAT may have put another address in it.
            Ok(Contacts::List(list)) => list.into_iter().find(|entry| entry.uri.user == ours.uri.user),
            Ok(Contacts::Star) | Err(_) => None,
        };
        let granted = listed
            .as_ref()
            .and_then(|entry| entry.params.get("expires"))
            .and_then(|seconds| seconds.parse().ok())
            .or_else(|| response.headers.expires())
            .unwrap_or(self.expires)
            .clamp(1, MAX_EXPIRES);
        // Refresh between 80 and 90 % of the lifetime: phones that started together drift apart.
        let lifetime = Duration::from_secs(u64::from(granted));
        let share = 0.8 + 0.1 * core.rng.unit();
        self.failures = 0;
        self.state = State::Registered { refresh_at: now + lifetime.mul_f64(share) };
        let known = self.binding.as_ref().is_some_and(|binding| binding.flow.via == flow.via);
        let flow_timer = super::reach::flow_timer(response);
        let keep_at = now
            + match (known, flow_timer) {
                (true, timer) => keep_after(core.rng, flow.protocol, timer),
                (false, _) => keep_first(core.rng, flow.protocol),
            };
        let wrong = self.learn(core, config, &route, &ours, listed.as_ref(), response);
        let contact = ours.clone();
        self.binding = Some(Binding { contact, route, expires_at: now + lifetime, flow, keep_at, flow_timer });
        if wrong {
            return self.start(now, core, config);
        }
        let refreshed = std::mem::replace(&mut self.reached.told, true);
        out.push_back(Event::Registered {
            account: self.account,
            contact: ours.uri.to_string(),
            expires: granted,
            transport: flow.protocol.param().to_owned(),
            refreshed,
        });
    }
}
