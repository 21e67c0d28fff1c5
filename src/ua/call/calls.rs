//! The calls of one engine: which call a message belongs to, and what they all may use.

use super::{Accept, Call, CallCommand, CallEvent, Dial, EndCause, Ending, WrongState};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::id::{AccountId, CallHandle};
use crate::rng::Rng;
use crate::sip::endpoint::{Endpoint, EndpointEvent, Route, RouteId, TxnId, Wish};
use crate::sip::message::{HeaderName, Request, Response, StatusCode, Uri};
use crate::time::{Deadlines, Instant};
use crate::ua::login::Login;
use crate::ua::screen::Refusal;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an engine lends its calls while they handle an input.
#[derive(Debug)]
pub struct Core<'a> {
    /// Where messages come from and go to.
    pub endpoint: &'a mut Endpoint,
    /// Tags, Call-IDs and back-off.
    pub rng: &'a mut Rng,
    /// Credentials by account; empty for a PBX.
    pub logins: &'a mut BTreeMap<AccountId, Login>,
}

/// All calls of an engine. It takes the endpoint's events that belong to one and gives the others back.
#[derive(Debug, Default)]
pub struct Calls {
    calls: BTreeMap<CallHandle, Call>,
    links: Links,
    deadlines: Deadlines<CallHandle>,
    events: VecDeque<(CallHandle, CallEvent)>,
    next: u32,
}

/// Whose transaction, question or dialog something is. Our tag alone names a call in all its dialogs.
#[derive(Debug, Default)]
struct Links {
    txns: BTreeMap<TxnId, CallHandle>,
    routes: BTreeMap<RouteId, CallHandle>,
    tags: BTreeMap<(String, String), CallHandle>,
}

/// What one call may use.
#[derive(Debug)]
pub(super) struct Cx<'a, 'b> {
    pub(super) core: &'a mut Core<'b>,
    handle: CallHandle,
    links: &'a mut Links,
    events: &'a mut VecDeque<(CallHandle, CallEvent)>,
}

impl Cx<'_, '_> {
    pub(super) fn emit(&mut self, event: CallEvent) {
        self.events.push_back((self.handle, event));
    }

    pub(super) fn route(&mut self, now: Instant, uri: &Uri, wish: Wish) -> RouteId {
        let id = self.core.endpoint.route(now, uri, wish);
        self.links.routes.insert(id, self.handle);
        id
    }

    pub(super) fn next_target(&mut self, now: Instant, route: &Route) -> Option<RouteId> {
        let id = self.core.endpoint.next_target(now, route)?;
        self.links.routes.insert(id, self.handle);
        Some(id)
    }

    pub(super) fn request(&mut self, now: Instant, request: &Request, route: &Route) -> TxnId {
        let txn = self.core.endpoint.request(now, request.clone(), route);
        self.links.txns.insert(txn, self.handle);
        txn
    }

    pub(super) fn cancel(&mut self, now: Instant, invite: TxnId) {
        self.core.endpoint.cancel(now, invite);
    }

    /// Nothing more of this transaction matters.
    pub(super) fn forget(&mut self, txn: TxnId) {
        self.links.txns.remove(&txn);
    }

    /// Answers a request inside a dialog of `call`.
    pub(super) fn respond(&mut self, now: Instant, txn: TxnId, request: &Request, code: StatusCode, call: &Call) {
        let mut refusal = Refusal::new(code);
        match code.code() {
            405 => refusal = refusal.with(HeaderName::ALLOW, super::ALLOW),
            500 => {
                let seconds = self.core.rng.below(11).to_string();
                refusal = refusal.with(HeaderName::RETRY_AFTER, seconds);
            }
            200 if request.method == crate::sip::message::Method::Options => {
                refusal = refusal.with(HeaderName::ALLOW, super::ALLOW).with(HeaderName::ACCEPT, super::SDP);
            }
            _ => {}
        }
        self.refuse(now, txn, request, &refusal, call);
    }

    pub(super) fn refuse(&mut self, now: Instant, txn: TxnId, request: &Request, refusal: &Refusal, call: &Call) {
        let mut response: Response = refusal.response(request, &call.local_tag);
        response.headers.set(HeaderName::SERVER, call.user_agent.clone());
        self.core.endpoint.respond(now, txn, response);
        self.links.txns.remove(&txn);
    }
}

impl Calls {
    /// Calls whose handles count from 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Places a call; [`CallEvent::Routed`] asks for the offer.
    pub fn dial(&mut self, now: Instant, core: &mut Core<'_>, dial: Dial) -> CallHandle {
        let handle = self.fresh();
        let mut cx = Cx { core, handle, links: &mut self.links, events: &mut self.events };
        let call = Call::dial(now, &mut cx, dial);
        self.keep(handle, call);
        handle
    }

    /// Takes an INVITE that belongs to no dialog; its offer comes as an event. The owner has screened it.
    ///
    /// # Errors
    /// The status to refuse it with, when it can make no dialog.
    pub fn incoming(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
        accept: Accept,
    ) -> Result<CallHandle, StatusCode> {
        let handle = self.fresh();
        let mut cx = Cx { core, handle, links: &mut self.links, events: &mut self.events };
        let call = Call::incoming(now, &mut cx, txn, request, flow, accept)?;
        self.links.txns.insert(txn, handle);
        self.keep(handle, call);
        Ok(handle)
    }

    /// Tells a call something.
    ///
    /// # Errors
    /// When it makes no sense in the call's state, or there is no such call (`gone`).
    pub fn command(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        handle: CallHandle,
        command: CallCommand,
    ) -> Result<(), WrongState> {
        self.with(now, core, handle, |call, cx| call.handle_command(now, cx, command))
            .unwrap_or(Err(WrongState { state: "gone" }))
    }

    /// Gives an endpoint's event to the call that it belongs to; `Some` when it belongs to none.
    pub fn handle_event(&mut self, now: Instant, core: &mut Core<'_>, event: EndpointEvent) -> Option<EndpointEvent> {
        match event {
            EndpointEvent::Request { txn, request, flow } => match self.of_dialog(&request) {
                Some(handle) => {
                    self.links.txns.insert(txn, handle);
                    self.with(now, core, handle, |call, cx| call.handle_request(now, cx, txn, request, flow));
                    None
                }
                None => Some(EndpointEvent::Request { txn, request, flow }),
            },
            EndpointEvent::Ack { request, flow } => match self.of_dialog(&request) {
                Some(handle) => {
                    self.with(now, core, handle, |call, cx| call.handle_ack(now, cx, &request));
                    None
                }
                None => Some(EndpointEvent::Ack { request, flow }),
            },
            EndpointEvent::Cancelled { txn, headers } => {
                let Some(handle) = self.links.txns.get(&txn).copied() else {
                    return Some(EndpointEvent::Cancelled { txn, headers });
                };
                self.with(now, core, handle, |call, cx| call.handle_cancelled(now, cx, txn, &headers));
                None
            }
            EndpointEvent::Response { txn, response, flow } => {
                let Some(handle) = self.links.txns.get(&txn).copied() else {
                    return Some(EndpointEvent::Response { txn, response, flow });
                };
                self.with(now, core, handle, |call, cx| call.handle_response(now, cx, txn, response, flow));
                None
            }
            EndpointEvent::Failed { txn, error } => {
                let Some(handle) = self.links.txns.remove(&txn) else { return Some(event) };
                self.with(now, core, handle, |call, cx| call.handle_failed(now, cx, txn, error));
                None
            }
            EndpointEvent::Routed { id, result } => {
                let Some(handle) = self.links.routes.remove(&id) else {
                    return Some(EndpointEvent::Routed { id, result });
                };
                self.with(now, core, handle, |call, cx| call.handle_routed(now, cx, id, result));
                None
            }
            EndpointEvent::Disconnected { .. } => Some(event),
            EndpointEvent::Terminated { txn } => {
                let Some(handle) = self.links.txns.remove(&txn) else { return Some(event) };
                self.with(now, core, handle, |call, _| call.handle_terminated(txn));
                None
            }
        }
    }

    /// The earliest deadline of any call has come.
    pub fn handle_timeout(&mut self, now: Instant, core: &mut Core<'_>) {
        while let Some(handle) = self.deadlines.pop_expired(now) {
            self.with(now, core, handle, |call, cx| call.handle_timeout(now, cx));
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next event of any call.
    pub fn poll_event(&mut self) -> Option<(CallHandle, CallEvent)> {
        self.events.pop_front()
    }

    /// True when the end of this call is among the events that have not been fetched.
    pub fn is_ending(&self, handle: CallHandle) -> bool {
        self.events.iter().any(|(call, event)| *call == handle && matches!(event, CallEvent::Ended(_)))
    }

    /// The call `handle`, as long as anything of it is left.
    pub fn get(&self, handle: CallHandle) -> Option<&Call> {
        self.calls.get(&handle)
    }

    /// All calls with anything left, those that are over for their owner too.
    pub fn iter(&self) -> impl Iterator<Item = (CallHandle, &Call)> {
        self.calls.iter().map(|(handle, call)| (*handle, call))
    }

    /// How many dialogs and calls take up memory.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// True when nothing is left, not even an open transaction of a call that is over.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.events.is_empty()
    }

    /// Drops a call without a word to the network (after a panic in it).
    fn discard(&mut self, handle: CallHandle) {
        self.deadlines.set(handle, None);
        self.unlink(handle);
        self.calls.remove(&handle);
    }

    /// A fault of ours in one call.
    #[cfg(test)]
    pub(crate) fn plant_panic(&mut self, now: Instant, core: &mut Core<'_>, handle: CallHandle) {
        self.with(now, core, handle, |_, _| panic!("planted"));
    }

    fn fresh(&mut self) -> CallHandle {
        self.next = self.next.wrapping_add(1);
        CallHandle(self.next)
    }

    /// The call with this Call-ID and tag of ours.
    pub(super) fn of_tag(&self, call_id: &str, tag: &str) -> Option<(CallHandle, &Call)> {
        let handle = self.links.tags.get(&(call_id.to_owned(), tag.to_owned())).copied()?;
        Some((handle, self.calls.get(&handle)?))
    }

    fn of_dialog(&self, request: &Request) -> Option<CallHandle> {
        let tag = request.headers.to().ok()?.tag()?.to_owned();
        let call_id = request.headers.call_id().ok()?.to_owned();
        self.links.tags.get(&(call_id, tag)).copied()
    }

    /// Runs `act` on a call. Should it panic, the call is ended as far as it still can be, and no other notices.
    fn with<R>(
        &mut self,
        now: Instant,
        core: &mut Core<'_>,
        handle: CallHandle,
        act: impl FnOnce(&mut Call, &mut Cx<'_, '_>) -> R,
    ) -> Option<R> {
        let mut call = self.calls.remove(&handle)?;
        let mut cx = Cx { core, handle, links: &mut self.links, events: &mut self.events };
        let was_live = !call.is_over();
        let result = catch_unwind(AssertUnwindSafe(|| act(&mut call, &mut cx))).ok();
        if result.is_none() {
            self.end_broken(now, core, handle, call, was_live);
        } else {
            self.keep(handle, call);
        }
        result
    }

    /// A fault of ours has struck in this call: its peer is told goodbye if that much of it still works.
    fn end_broken(&mut self, now: Instant, core: &mut Core<'_>, handle: CallHandle, mut call: Call, was_live: bool) {
        let mut cx = Cx { core, handle, links: &mut self.links, events: &mut self.events };
        let told = catch_unwind(AssertUnwindSafe(|| call.handle_command(now, &mut cx, CallCommand::HangUp)));
        if was_live {
            self.events.retain(|(owner, _)| *owner != handle);
            let ending = Ending { by: EndedBy::Fault, cause: EndCause::Fault, reason: None };
            self.events.push_back((handle, CallEvent::Ended(ending)));
        }
        match told {
            Ok(Ok(())) => self.keep(handle, call),
            Ok(Err(_)) | Err(_) => self.discard(handle),
        }
    }

    fn keep(&mut self, handle: CallHandle, call: Call) {
        if call.is_gone() {
            self.deadlines.set(handle, None);
            self.unlink(handle);
            return;
        }
        self.deadlines.set(handle, call.poll_timeout());
        self.links.tags.entry((call.call_id.clone(), call.local_tag.clone())).or_insert(handle);
        self.calls.insert(handle, call);
    }

    fn unlink(&mut self, handle: CallHandle) {
        self.links.tags.retain(|_, owner| *owner != handle);
        self.links.txns.retain(|_, owner| *owner != handle);
        self.links.routes.retain(|_, owner| *owner != handle);
    }
}
