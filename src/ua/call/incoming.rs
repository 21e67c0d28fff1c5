//! Calls that come to us (RFC 3261 §13.3): ringing, refusing, answering.

use super::answered::{Answered, Resend, Then};
use super::calls::Cx;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::redirect::Redirects;
use super::session::refusal_of;
use super::transfer::Transfers;
use super::{ALLOW, Accept, Call, CallEvent, EndCause, OfferId, SDP, State, WrongState, reachable, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::dialog::Dialog;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Method, NameAddr, Request, Response, StatusCode};
use crate::time::{Duration, Instant, earliest};
use std::collections::BTreeMap;

/// A proxy on the way gives up after three minutes of silence (§13.3.1.1, §16.6 step 11).
const PROGRESS_AGAIN: Duration = Duration::from_secs(60);

/// An INVITE without final response.
#[derive(Debug)]
pub(super) struct Incoming {
    txn: TxnId,
    request: Request,
    pub(super) leg: Leg,
    contact: NameAddr,
    offer: OfferId,
    /// No offer came: ours goes into the 2xx and the ACK brings the answer.
    late: bool,
    refuse_at: Option<(Instant, Duration)>,
    /// What the caller was told last, and when it is told so again.
    progress: Option<(Response, Instant)>,
}

impl Incoming {
    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.refuse_at.map(|(at, _)| at), self.progress.as_ref().map(|(_, at)| *at))
    }
}

impl Call {
    /// Takes an INVITE outside any dialog, or says how to refuse it. The owner hears of its offer as an event.
    pub(super) fn incoming(
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
        accept: Accept,
    ) -> Result<Self, StatusCode> {
        let local = cx.core.endpoint.route_back(&flow).local;
        let contact = reachable(cx.core.endpoint, accept.contact_user.as_deref(), local, flow.protocol);
        let local_tag = cx.core.rng.tag();
        let dialog = Dialog::uas(&request, local_tag.clone(), contact.clone()).map_err(|error| error.status())?;
        let mut call = Self {
            call_id: dialog.id().call_id.clone(),
            local_tag,
            user_agent: accept.user_agent,
            contact_user: accept.contact_user,
            trusted: if accept.login.is_some() { vec![flow.peer] } else { Vec::new() },
            login: accept.login,
            stay_on_flow: accept.stay_on_flow,
            next_offer: 0,
            next_leg: 0,
            last_seq: 0,
            redirects: Redirects::none(),
            state: State::Closing,
            invite: None,
            byes: BTreeMap::new(),
            strays: Vec::new(),
            transfers: Transfers::default(),
            reason: None,
        };
        let offer = call.next_offer();
        let leg = Leg::new(call.next_leg(), dialog, flow, call.stay_on_flow);
        let body = sdp_of(&request.headers, &request.body);
        let late = body.is_none();
        cx.emit(match body {
            Some(body) => CallEvent::Offer { id: offer, body, local },
            None => CallEvent::OfferWanted { id: offer, local },
        });
        let refuse_at = accept.ring_timeout.map(|after| (now + after, after));
        call.state =
            State::Incoming(Box::new(Incoming { txn, request, leg, contact, offer, late, refuse_at, progress: None }));
        Ok(call)
    }

    pub(super) fn send_progress(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        code: StatusCode,
        body: Option<Vec<u8>>,
    ) -> Result<(), WrongState> {
        let State::Incoming(incoming) = &self.state else { return Err(self.wrong_state()) };
        let mut response = self.respond_to(&incoming.request, code, &incoming.contact);
        if let Some(body) = body {
            response.headers.set(HeaderName::CONTENT_TYPE, SDP);
            response.body = body;
        }
        cx.core.endpoint.respond(now, incoming.txn, response.clone());
        if let State::Incoming(incoming) = &mut self.state {
            incoming.progress = Some((response, now + PROGRESS_AGAIN));
        }
        Ok(())
    }

    pub(super) fn send_answer(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        id: OfferId,
        body: Vec<u8>,
    ) -> Result<(), WrongState> {
        match self.take_state() {
            State::Incoming(incoming) if incoming.offer == id => {
                let mut response = self.respond_to(&incoming.request, StatusCode::OK, &incoming.contact);
                response.headers.set(HeaderName::ALLOW, ALLOW);
                response.headers.set(HeaderName::CONTENT_TYPE, SDP);
                response.body = body;
                cx.core.endpoint.respond(now, incoming.txn, response.clone());
                let seq = incoming.request.headers.cseq().map_or(0, |cseq| cseq.seq);
                let resend = Resend::new(now, incoming.txn, seq, response);
                let answered = Answered { leg: incoming.leg, resend, late: incoming.late, then: Then::Talk };
                self.state = State::Answered(Box::new(answered));
                Ok(())
            }
            State::Established(session) => {
                self.state = State::Established(session);
                self.accept_change(now, cx, id, body)
            }
            state @ (State::Incoming(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Answered(_)
            | State::Closing) => {
                self.state = state;
                Err(self.wrong_state())
            }
        }
    }

    pub(super) fn refuse_offer(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        id: OfferId,
        code: StatusCode,
    ) -> Result<(), WrongState> {
        match &self.state {
            State::Incoming(incoming) if incoming.offer == id => self.reject(now, cx, code),
            State::Established(_) => self.refuse_change(now, cx, id, code),
            State::Incoming(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Answered(_)
            | State::Closing => Err(self.wrong_state()),
        }
    }

    pub(super) fn reject(&mut self, now: Instant, cx: &mut Cx<'_, '_>, code: StatusCode) -> Result<(), WrongState> {
        let State::Incoming(_) = &self.state else { return Err(self.wrong_state()) };
        if let State::Incoming(incoming) = self.take_state() {
            self.refuse_invite(now, cx, &incoming, code);
            self.end(cx, EndedBy::Local, EndCause::Refused(code));
        }
        Ok(())
    }

    pub(super) fn refuse_invite(&self, now: Instant, cx: &mut Cx<'_, '_>, incoming: &Incoming, code: StatusCode) {
        let mut response = self.respond_to(&incoming.request, code, &incoming.contact);
        response.headers.remove(&HeaderName::CONTACT);
        cx.core.endpoint.respond(now, incoming.txn, response);
        cx.forget(incoming.txn);
    }

    /// The caller cancelled (§9.2); the endpoint has answered the CANCEL.
    pub(super) fn handle_cancelled(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId) {
        match self.take_state() {
            State::Incoming(incoming) if incoming.txn == txn => {
                self.refuse_invite(now, cx, &incoming, status(487));
                self.end(cx, EndedBy::Remote, EndCause::CallerGone);
            }
            State::Established(mut session) => {
                let refused = session.cancel_change(txn);
                self.state = State::Established(session);
                if let Some(request) = refused {
                    cx.respond(now, txn, &request, status(487), self);
                }
            }
            state @ (State::Incoming(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Answered(_)
            | State::Closing) => self.state = state,
        }
    }

    pub(super) fn handle_ring_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Incoming(incoming) = &mut self.state else { return };
        let Some((_, after)) = incoming.refuse_at.filter(|(at, _)| *at <= now) else {
            if let Some((response, at)) = incoming.progress.as_mut().filter(|(_, at)| *at <= now) {
                cx.core.endpoint.respond(now, incoming.txn, response.clone());
                *at = now + PROGRESS_AGAIN;
            }
            return;
        };
        if let State::Incoming(incoming) = self.take_state() {
            self.refuse_invite(now, cx, &incoming, status(480));
            self.end(cx, EndedBy::Local, EndCause::NoAnswer { after });
        }
    }

    /// A request inside the early dialog of a ringing call: only BYE from the caller and OPTIONS make sense there, a
    /// second INVITE waits (§14.2).
    pub(super) fn handle_in_ringing(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: &Request,
        flow: Flow,
    ) {
        let pinned = self.login.is_some();
        let State::Incoming(incoming) = &mut self.state else { return };
        let code = if pinned && incoming.leg.flow.peer.ip() != flow.peer.ip() {
            status(403) // threats C7
        } else if request.method == Method::Invite {
            status(500)
        } else if let Some(code) = refusal_of(&request.method) {
            code
        } else if let Err(error) = incoming.leg.dialog.accept(request) {
            error.status()
        } else {
            StatusCode::OK
        };
        cx.respond(now, txn, request, code, self);
        if request.method == Method::Bye
            && code == StatusCode::OK
            && let State::Incoming(incoming) = self.take_state()
        {
            self.refuse_invite(now, cx, &incoming, status(487));
            self.end(cx, EndedBy::Remote, EndCause::CallerGone);
        }
    }

    pub(super) fn respond_to(&self, request: &Request, code: StatusCode, contact: &NameAddr) -> Response {
        let mut response = Response::to(request, code, Some(&self.local_tag));
        response.headers.set(HeaderName::CONTACT, contact.to_string());
        response.headers.set(HeaderName::SERVER, self.user_agent.clone());
        response
    }
}
