//! [`Call`]: one INVITE usage (RFC 3261 §13 to §15), the same for the softphone and for each leg of the PBX.
//!
//! ```text
//!  dial ─▶ Routing ─Routed─▶ Offering ─Offer─▶ Calling ──2xx──▶ Established ─┬─ BYE ─▶ Closing ─▶ gone
//!             ▲                                 │ │                 ▲        │
//!             └────────── next target ──────────┘ └─ 3xx-6xx ─▶ …   │ ACK    └─ re-INVITE: Change
//!  incoming ───▶ Incoming ──── Answer ────▶ Answered (2xx again and again) ──▶ hung up before the ACK: BYE after it
//! ```
//!
//! Session descriptions pass through as bodies: a received offer is [`CallEvent::Offer`], its answer
//! [`CallCommand::Answer`]. Who owns the call wires a negotiator to them, or another call (the PBX bridge).
//! A call in `Closing` is over for its owner and only minds its open transactions.

mod answered;
mod api;
mod calls;
mod change;
mod forks;
mod incoming;
mod info;
mod leg;
mod outgoing;
mod reason;
mod redirect;
mod reliable;
mod replace;
mod rules;
mod session;
#[cfg(test)]
mod tests;
mod timer;
mod transfer;
mod update;

pub use api::{
    Accept, CallCommand, CallEvent, Dial, EndCause, Ending, LegId, NextHop, OfferId, ReferNews, Referral, WrongState,
};
pub use calls::{Calls, Core};
pub use info::{DTMF, DTMF_RELAY};
pub(crate) use outgoing::secure_hop;
pub use reason::Reason;
pub use replace::Replaced;
pub(crate) use rules::lists;
pub use rules::{LEAST_MIN_SE, Reliable, Rules};
pub(crate) use timer::refusal as interval_refusal;

use crate::api::EndedBy;
use crate::engine::{Flow, Protocol, StreamFault};
use crate::id::AccountId;
use crate::sip::endpoint::{Endpoint, Route, RouteError, RouteId, TxnError, TxnId};
use crate::sip::message::{HeaderName, Headers, Method, NameAddr, Request, Response, Scheme, StatusCode, Uri};
use crate::time::{Instant, earliest};
use answered::Answered;
use calls::Cx;
use incoming::Incoming;
use leg::Leg;
use outgoing::{Calling, LastWord, Phase, Sent};
use redirect::Redirects;
use session::{Bye, Session};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use transfer::Transfers;

/// The methods that a call understands; also what Allow says.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER, NOTIFY";
/// The type of the bodies that a call carries.
pub const SDP: &str = "application/sdp";

/// One INVITE usage.
#[derive(Debug)]
pub struct Call {
    call_id: String,
    local_tag: String,
    user_agent: String,
    contact_user: Option<String>,
    login: Option<AccountId>,
    stay_on_flow: bool,
    rules: Rules,
    /// It began with a `sips:` URI: our Contact is one too (RFC 5630 §3.1.3).
    sips: bool,
    /// Servers that may challenge us with our own realm: those that the account's INVITE went to or came from.
    trusted: Vec<SocketAddr>,
    next_offer: u32,
    next_leg: u32,
    /// CSeq of our last INVITE outside a dialog.
    last_seq: u32,
    /// How often a longer session interval was asked of us.
    intervals: u8,
    redirects: Redirects,
    state: State,
    /// Our INVITE while its transaction lives: later 2xx of other forks are acknowledged and ended with it.
    invite: Option<Sent>,
    /// Requests of ours inside dialogs, by transaction.
    byes: BTreeMap<TxnId, Bye>,
    /// Dialogs that have ended, or never were wanted, kept to acknowledge repeated 2xx.
    strays: Vec<Leg>,
    transfers: Transfers,
    /// What our BYE says (RFC 3326).
    reason: Option<String>,
    /// What the peer's BYE, CANCEL or refusal says.
    peer_reason: Option<Reason>,
    /// Who its server says the peer is (RFC 3325, RFC 5876), as the last message named it.
    identity: Option<NameAddr>,
}

#[derive(Debug)]
enum State {
    /// Outgoing: the way to the next hop is asked for.
    Routing { dial: Box<Dial>, route: RouteId, since: Instant },
    /// Outgoing: the owner makes its offer.
    Offering { dial: Box<Dial>, route: Route, since: Instant },
    /// Outgoing: the INVITE is out.
    Calling(Box<Calling>),
    /// Incoming: the INVITE waits for our final response.
    Incoming(Box<Incoming>),
    /// Incoming: our 2xx waits for its ACK.
    Answered(Box<Answered>),
    /// Both sides talk.
    Established(Box<Session>),
    /// Over for the owner; transactions remain.
    Closing,
}

impl Call {
    /// The state in a word: `calling`, `ringing`, `incoming`, `talking` or `ending`.
    pub fn state(&self) -> &'static str {
        match &self.state {
            State::Routing { .. } | State::Offering { .. } => "calling",
            State::Calling(calling) if calling.early.is_empty() => "calling",
            State::Calling(_) => "ringing",
            State::Incoming(_) => "incoming",
            State::Answered(answered) if answered.is_leaving() => "ending",
            State::Answered(_) | State::Established(_) => "talking",
            State::Closing => "ending",
        }
    }

    /// True once the owner has been told that it is over.
    pub fn is_over(&self) -> bool {
        match &self.state {
            State::Closing => true,
            State::Answered(answered) => answered.is_leaving(),
            State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Established(_) => false,
        }
    }

    /// True when it is over and nobody owes us an answer; only repetitions may still come.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Closing)
            && self.invite.as_ref().is_none_or(|invite| invite.phase == Phase::Answered)
            && self.byes.is_empty()
            && self.strays.iter().all(Leg::is_idle)
    }

    /// True when nobody on the way to the next server can read what is signalled.
    pub fn is_secure(&self) -> bool {
        let protocol = match &self.state {
            State::Offering { route, .. } => Some(route.protocol()),
            State::Calling(_) => self.invite.as_ref().map(|invite| invite.route.protocol()),
            State::Incoming(incoming) => Some(incoming.leg.flow.protocol),
            State::Answered(answered) => Some(answered.leg.flow.protocol),
            State::Established(session) => Some(session.leg.flow.protocol),
            State::Routing { .. } | State::Closing => None,
        };
        protocol.is_some_and(Protocol::is_secure)
    }

    /// Our tag in all its dialogs.
    pub fn local_tag(&self) -> &str {
        &self.local_tag
    }

    /// The Call-ID header.
    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    fn is_gone(&self) -> bool {
        matches!(self.state, State::Closing)
            && self.invite.is_none()
            && self.byes.is_empty()
            && self.strays.iter().all(Leg::is_idle)
            && self.transfers.is_idle()
    }

    /// Who the peer is now, as far as its server is believed (RFC 3325, RFC 5876): only where the account's own server
    /// stands between us.
    pub fn identity(&self) -> Option<&NameAddr> {
        self.identity.as_ref().filter(|_| self.login.is_some())
    }

    /// Takes what a message says of the peer: P-Asserted-Identity, or a From that is not the one that was `known` (RFC 4916).
    fn note_identity(&mut self, headers: &Headers, known: Option<&Uri>) {
        let asserted =
            headers.addresses(&HeaderName::P_ASSERTED_IDENTITY).ok().and_then(|list| list.into_iter().next());
        let changed = || headers.from().ok().filter(|from| known.is_some_and(|known| !from.uri.same_as(known)));
        if let Some(who) = asserted.or_else(changed) {
            self.identity = Some(NameAddr { params: crate::sip::message::Params::new(), ..who });
        }
    }

    fn next_offer(&mut self) -> OfferId {
        self.next_offer = self.next_offer.wrapping_add(1);
        OfferId(self.next_offer)
    }

    fn next_leg(&mut self) -> LegId {
        let leg = LegId(self.next_leg);
        self.next_leg = self.next_leg.wrapping_add(1);
        leg
    }

    fn take_state(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Closing)
    }

    /// Our Contact at `local`.
    fn contact(&self, endpoint: &Endpoint, local: SocketAddr, protocol: Protocol) -> NameAddr {
        let contact = reachable(endpoint, self.contact_user.as_deref(), local, protocol);
        if self.sips { secured(contact) } else { contact }
    }

    fn wrong_state(&self) -> WrongState {
        WrongState { state: self.state() }
    }

    fn handle_routed(&mut self, now: Instant, cx: &mut Cx<'_, '_>, id: RouteId, result: Result<Route, RouteError>) {
        let asked = matches!(&self.state, State::Routing { route, .. } if *route == id);
        if asked {
            self.handle_first_route(now, cx, result);
            return;
        }
        let mut strays = std::mem::take(&mut self.strays);
        let mut parcels = Vec::new();
        for leg in strays.iter_mut().chain(self.legs_mut()) {
            if leg.is_asking(id) {
                let moved;
                (parcels, moved) = leg.handle_routed(cx, result);
                if let Some(local) = moved {
                    cx.emit(CallEvent::Moved { local });
                }
                break;
            }
        }
        self.strays = strays;
        for (request, route) in parcels {
            self.dispatch(now, cx, request, &route);
        }
    }

    fn handle_request(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, flow: Flow) {
        // Our tag is the same in all dialogs of a call: the peer's tells the forks apart (§12.2.2).
        let tag = from_tag(&request);
        match &self.state {
            State::Established(session) if session.leg.remote_tag() == tag => {
                self.handle_in_session(now, cx, txn, request, flow);
            }
            State::Answered(answered) if answered.leg.remote_tag() == tag => {
                self.handle_in_session(now, cx, txn, request, flow);
            }
            State::Incoming(incoming) if incoming.leg.remote_tag() == tag => {
                self.handle_in_ringing(now, cx, txn, request, flow);
            }
            State::Calling(calling) if calling.early.contains_key(&tag) => {
                self.handle_in_early(now, cx, txn, request, flow);
            }
            State::Established(_)
            | State::Answered(_)
            | State::Incoming(_)
            | State::Calling(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Closing => {
                if request.method == Method::Notify && self.transfers.watches(&tag) {
                    return self.handle_late_notify(now, cx, txn, &request, flow);
                }
                // In a dialog that we are leaving, or never wanted: its BYE may cross ours (RFC 5407 §3.2).
                let known = self.strays.iter().any(|leg| leg.remote_tag() == tag);
                let code = if known && request.method == Method::Bye { StatusCode::OK } else { status(481) };
                cx.respond(now, txn, &request, code, self);
            }
        }
    }

    fn handle_response(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, response: Response, flow: Flow) {
        if self.invite.as_ref().is_some_and(|invite| invite.txn == txn) {
            self.handle_invite_response(now, cx, response, flow);
        } else if self.byes.contains_key(&txn) {
            self.handle_bye_response(now, cx, txn, &response, flow);
        } else if self.is_change(txn) {
            self.handle_change_response(now, cx, txn, response, flow);
        } else if let State::Established(_) = &self.state {
            self.acknowledge_again(now, cx, &response);
        } else if response.status.is_success() {
            self.acknowledge_stray(now, cx, &response);
        }
    }

    fn handle_failed(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, error: TxnError) {
        if self.invite.as_ref().is_some_and(|invite| invite.txn == txn) {
            self.handle_invite_failed(now, cx, error);
        } else if let Some(asked) = self.byes.remove(&txn) {
            self.handle_unanswered(now, cx, &asked, error);
        } else {
            self.handle_change_failed(now, cx, txn, error);
        }
    }

    fn handle_terminated(&mut self, txn: TxnId) {
        if self.invite.as_ref().is_some_and(|invite| invite.txn == txn) {
            self.invite = None;
        }
        self.byes.remove(&txn);
    }

    fn handle_command(&mut self, now: Instant, cx: &mut Cx<'_, '_>, command: CallCommand) -> Result<(), WrongState> {
        match command {
            CallCommand::Offer { body } => match &self.state {
                State::Offering { .. } => {
                    self.send_invite(now, cx, body, LastWord::Yes);
                    Ok(())
                }
                State::Established(_) | State::Calling(_) | State::Incoming(_) => self.send_change(now, cx, body),
                State::Routing { .. } | State::Answered(_) | State::Closing => Err(self.wrong_state()),
            },
            CallCommand::Move => match &mut self.state {
                State::Established(session) => {
                    session.leg.ask_anew(now, cx);
                    Ok(())
                }
                State::Routing { .. }
                | State::Offering { .. }
                | State::Calling(_)
                | State::Incoming(_)
                | State::Answered(_)
                | State::Closing => Err(self.wrong_state()),
            },
            CallCommand::TryOffer { body } => match &self.state {
                State::Offering { .. } => {
                    self.send_invite(now, cx, body, LastWord::No);
                    Ok(())
                }
                State::Established(_)
                | State::Routing { .. }
                | State::Calling(_)
                | State::Incoming(_)
                | State::Answered(_)
                | State::Closing => Err(self.wrong_state()),
            },
            CallCommand::Progress { status, body } => self.send_progress(now, cx, status, body),
            CallCommand::Answer { id, body } => self.send_answer(now, cx, id, body),
            CallCommand::Refuse { id, status } => self.refuse_offer(now, cx, id, status),
            CallCommand::Reject { status } => self.reject(now, cx, status),
            CallCommand::HangUp => self.hang_up(now, cx),
            CallCommand::Info { kind, body } => self.send_info(now, cx, &kind, body),
            CallCommand::Redirect { headers } => self.redirect(now, cx, headers),
            CallCommand::Leave { reason } => {
                self.reason = Some(reason);
                self.hang_up(now, cx)
            }
            CallCommand::Refer { to, by } => self.send_refer(now, cx, &to, &by),
            CallCommand::TakeRefer => self.take_refer(now, cx),
            CallCommand::RefuseRefer { status } => self.refuse_refer(now, cx, status),
            CallCommand::ReferStatus { status } => {
                self.tell_referrer(now, cx, status);
                Ok(())
            }
        }
    }

    fn hang_up(&mut self, now: Instant, cx: &mut Cx<'_, '_>) -> Result<(), WrongState> {
        if self.is_over() {
            return Err(self.wrong_state());
        }
        match self.take_state() {
            State::Routing { .. } | State::Offering { .. } => {
                self.end(cx, EndedBy::Local, EndCause::Cancelled);
            }
            State::Calling(_) => {
                self.cancel_invite(now, cx);
                self.end(cx, EndedBy::Local, EndCause::Cancelled);
            }
            State::Incoming(incoming) => {
                self.refuse_invite(now, cx, &incoming, status(480));
                self.end(cx, EndedBy::Local, EndCause::Refused(status(480)));
            }
            // §15: no BYE before the ACK has come.
            State::Answered(mut answered) => {
                answered.leave();
                self.state = State::Answered(answered);
                cx.emit(CallEvent::Ended(Ending { by: EndedBy::Local, cause: EndCause::HungUp, reason: None }));
            }
            State::Established(session) => {
                self.leave_session(now, cx, *session);
                self.end(cx, EndedBy::Local, EndCause::HungUp);
            }
            State::Closing => {}
        }
        Ok(())
    }

    /// The headers that every request of a call gets besides those of its dialog.
    fn decorate(&self, request: &mut Request, contact: Option<&NameAddr>) {
        if let Some(contact) = contact {
            request.headers.set(HeaderName::CONTACT, contact.to_string());
        }
        if matches!(request.method, Method::Invite | Method::Update) {
            request.headers.set(HeaderName::ALLOW, ALLOW);
            request.headers.set(HeaderName::SUPPORTED, self.rules.supported());
        }
        request.headers.set(HeaderName::USER_AGENT, self.user_agent.clone());
    }

    /// What we can, in a response that makes or keeps a dialog.
    fn describe(&self, response: &mut Response) {
        response.headers.set(HeaderName::ALLOW, ALLOW);
        response.headers.set(HeaderName::SUPPORTED, self.rules.supported());
    }

    /// Tells the owner; what is left are open transactions.
    fn end(&mut self, cx: &mut Cx<'_, '_>, by: EndedBy, cause: EndCause) {
        self.state = State::Closing;
        let reason = self.peer_reason.take();
        cx.emit(CallEvent::Ended(Ending { by, cause, reason }));
    }

    fn handle_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        self.handle_transfer_timeout(now, cx);
        match &self.state {
            State::Routing { .. } | State::Offering { .. } | State::Calling(_) => {
                if let Some((after, true)) = self.answer_deadline().map(|(at, after)| (after, at <= now)) {
                    if let State::Calling(_) = self.take_state() {
                        self.cancel_invite(now, cx);
                    }
                    self.end(cx, EndedBy::Local, EndCause::NoAnswer { after });
                }
            }
            State::Incoming(_) => self.handle_ring_timeout(now, cx),
            State::Answered(_) => self.handle_ack_timeout(now, cx),
            State::Established(_) => self.handle_change_timeout(now, cx),
            State::Closing => {}
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Routing { .. } | State::Offering { .. } | State::Calling(_) => {
                self.answer_deadline().map(|(at, _)| at)
            }
            State::Incoming(incoming) => incoming.deadline(),
            State::Answered(answered) => Some(answered.resend.deadline()),
            State::Established(session) => session.deadline(),
            State::Closing => None,
        };
        earliest(own, self.transfers.deadline())
    }
}

/// A status that is written as a number in this program.
pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::new(code).expect("a literal in 100..=699")
}

/// The tag of whoever sent a request; RFC 2543 peers have none.
fn from_tag(request: &Request) -> String {
    request.headers.from().ok().and_then(|from| from.tag().map(str::to_owned)).unwrap_or_default()
}

/// The tag of whoever gets a request, or sends a response.
fn to_tag(headers: &Headers) -> String {
    headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}

/// The Contact under which a dialog reaches us at `local`.
pub(crate) fn contact(user: Option<&str>, local: SocketAddr, protocol: Protocol) -> NameAddr {
    let uri = Uri::sip(user, crate::sip::message::Host::Ip(local.ip())).with_port(local.port());
    NameAddr::new(match protocol {
        Protocol::Udp => uri,
        Protocol::Tcp | Protocol::Tls => uri.with_param("transport", protocol.param()),
    })
}

/// The Contact of a dialog at `local`: what a registrar has told counts more than what we see ourselves.
pub(crate) fn reachable(endpoint: &Endpoint, user: Option<&str>, local: SocketAddr, protocol: Protocol) -> NameAddr {
    match user.and_then(|user| endpoint.reach(user)?.gruu.clone()) {
        Some(gruu) => NameAddr::new(gruu),
        None => contact(user, endpoint.seen_as(user, protocol, local), protocol),
    }
}

/// The same address as a `sips:` URI, whose transport is TLS without saying so (RFC 5630 §3.1.2).
fn secured(mut contact: NameAddr) -> NameAddr {
    contact.uri.scheme = Scheme::Sips;
    contact.uri.params.remove("transport");
    contact
}

/// The status for a stream fault or silence, for owners that need a fact.
pub(crate) const fn fault_name(fault: StreamFault) -> &'static str {
    match fault {
        StreamFault::Refused => "refused",
        StreamFault::Timeout => "timeout",
        StreamFault::Unreachable => "unreachable",
        StreamFault::Reset => "reset",
        StreamFault::Overflow => "overflow",
        StreamFault::Tls(_) => "tls",
    }
}
