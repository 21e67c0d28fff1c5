//! Calls that come to us (RFC 3261 §13.3): ringing, refusing, answering.

use super::answered::{Answered, Resend, Then};
use super::calls::Cx;
use super::change::Change;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::reason::Reason;
use super::redirect::Redirects;
use super::reliable::Provisionals;
use super::session::refusal_of;
use super::transfer::Transfers;
use super::{Accept, Call, CallEvent, EndCause, OfferId, SDP, State, WrongState, reachable, secured, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::dialog::Dialog;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Headers, Method, NameAddr, Request, Response, StatusCode};
use crate::time::{Duration, Instant, earliest};
use std::collections::BTreeMap;

/// A proxy on the way gives up after three minutes of silence (§13.3.1.1, §16.6 step 11).
const PROGRESS_AGAIN: Duration = Duration::from_secs(60);

/// An INVITE without final response.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) txn: TxnId,
    pub(super) request: Request,
    pub(super) leg: Leg,
    pub(super) contact: NameAddr,
    pub(super) offer: OfferId,
    /// No offer came: ours goes into the 2xx, and the ACK brings the answer; or into a reliable response, and the PRACK.
    pub(super) late: bool,
    /// Our offer went out in a reliable response.
    pub(super) offered: bool,
    pub(super) provisionals: Provisionals,
    refuse_at: Option<(Instant, Duration)>,
    /// What the caller was told last, and when it is told so again.
    pub(super) progress: Option<(Response, Instant)>,
}

impl Incoming {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let progress = earliest(self.progress.as_ref().map(|(_, at)| *at), self.provisionals.deadline());
        earliest(self.refuse_at.map(|(at, _)| at), progress)
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
        let mut contact = reachable(cx.core.endpoint, accept.contact_user.as_deref(), local, flow.protocol);
        let sips = request.uri.is_sips();
        if sips {
            contact = secured(contact);
        }
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
            rules: accept.rules,
            sips,
            next_offer: 0,
            next_leg: 0,
            last_seq: 0,
            intervals: 0,
            redirects: Redirects::none(),
            state: State::Closing,
            invite: None,
            byes: BTreeMap::new(),
            strays: Vec::new(),
            transfers: Transfers::default(),
            reason: None,
            peer_reason: None,
            identity: None,
        };
        let offer = call.next_offer();
        let mut leg = Leg::new(cx, call.next_leg(), dialog, flow, call.stay_on_flow);
        leg.note_abilities(&request.headers);
        let on = leg.id;
        let body = sdp_of(&request.headers, &request.body);
        let late = body.is_none();
        cx.emit(match body {
            Some(body) => CallEvent::Offer { id: offer, body, local, leg: on },
            None => CallEvent::OfferWanted { id: offer, local },
        });
        let refuse_at = accept.ring_timeout.map(|after| (now + after, after));
        call.state = State::Incoming(Box::new(Incoming {
            txn,
            request,
            leg,
            contact,
            offer,
            late,
            offered: false,
            provisionals: Provisionals::default(),
            refuse_at,
            progress: None,
        }));
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
        if self.is_reliable(incoming, body.is_some()) {
            self.send_reliably(now, cx, code, body);
            return Ok(());
        }
        let mut response = self.respond_to(&incoming.request, code, &incoming.contact);
        self.describe(&mut response);
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
            State::Incoming(mut incoming) if incoming.offer == id && incoming.provisionals.holds_session() => {
                incoming.provisionals.keep_answer(body);
                self.state = State::Incoming(incoming);
                Ok(())
            }
            State::Incoming(mut incoming) if incoming.offer == id => {
                let mut response = self.respond_to(&incoming.request, StatusCode::OK, &incoming.contact);
                self.describe(&mut response);
                // What was said reliably is not said again (RFC 6337 §3.1.1).
                if !incoming.leg.exchanged && !incoming.offered {
                    response.headers.set(HeaderName::CONTENT_TYPE, SDP);
                    response.body = body;
                }
                incoming.leg.grant(now, &self.rules, &incoming.request, &mut response);
                let late = incoming.late && !incoming.leg.exchanged;
                incoming.leg.exchanged |= !late;
                cx.core.endpoint.respond(now, incoming.txn, response.clone());
                let seq = incoming.request.headers.cseq().map_or(0, |cseq| cseq.seq);
                let resend = Resend::new(now, incoming.txn, seq, response);
                let answered = Answered { leg: incoming.leg, resend, late, then: Then::Talk };
                self.state = State::Answered(Box::new(answered));
                Ok(())
            }
            state @ (State::Incoming(_)
            | State::Established(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Answered(_)
            | State::Closing) => {
                self.state = state;
                self.accept_change(now, cx, id, body)
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
            State::Established(_)
            | State::Incoming(_)
            | State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Answered(_)
            | State::Closing => self.refuse_change(now, cx, id, code),
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

    /// Sends the caller elsewhere by 302 with these headers.
    pub(super) fn redirect(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        headers: Vec<(HeaderName, String)>,
    ) -> Result<(), WrongState> {
        let State::Incoming(incoming) = &self.state else { return Err(self.wrong_state()) };
        let mut response = self.respond_to(&incoming.request, StatusCode::MOVED_TEMPORARILY, &incoming.contact);
        for (name, value) in headers {
            response.headers.set(name, value);
        }
        let txn = incoming.txn;
        cx.core.endpoint.respond(now, txn, response);
        cx.forget(txn);
        self.end(cx, EndedBy::Local, EndCause::Refused(StatusCode::MOVED_TEMPORARILY));
        Ok(())
    }

    pub(super) fn refuse_invite(&self, now: Instant, cx: &mut Cx<'_, '_>, incoming: &Incoming, code: StatusCode) {
        if let Change::Theirs { txn, request, .. } = &incoming.leg.change {
            cx.respond(now, *txn, request, status(487), self);
        }
        let mut response = self.respond_to(&incoming.request, code, &incoming.contact);
        response.headers.remove(&HeaderName::CONTACT);
        cx.core.endpoint.respond(now, incoming.txn, response);
        cx.forget(incoming.txn);
    }

    /// The caller cancelled (§9.2); the endpoint has answered the CANCEL.
    pub(super) fn handle_cancelled(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, cancel: &Headers) {
        self.peer_reason = Reason::of(cancel);
        match self.take_state() {
            State::Incoming(incoming) if incoming.txn == txn => {
                self.refuse_invite(now, cx, &incoming, status(487));
                self.end(cx, EndedBy::Remote, EndCause::CallerGone);
            }
            State::Established(mut session) => {
                let refused = session.cancel_change(txn);
                self.state = State::Established(session);
                if let Some((id, request)) = refused {
                    cx.respond(now, txn, &request, status(487), self);
                    cx.emit(CallEvent::OfferWithdrawn { id });
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
            self.handle_prack_timeout(now, cx);
            return;
        };
        if let State::Incoming(incoming) = self.take_state() {
            self.refuse_invite(now, cx, &incoming, status(480));
            self.end(cx, EndedBy::Local, EndCause::NoAnswer { after });
        }
    }

    /// A request inside the early dialog of a ringing call: BYE and OPTIONS, PRACK and UPDATE; a second INVITE waits
    /// (§14.2).
    pub(super) fn handle_in_ringing(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
    ) {
        let pinned = self.login.is_some();
        let State::Incoming(incoming) = &mut self.state else { return };
        let code = if !incoming.leg.takes_from(pinned, &flow) {
            status(403)
        } else if request.method == Method::Update {
            return self.handle_update(now, cx, txn, request, flow);
        } else if request.method == Method::Invite {
            status(500)
        } else if let Some(code) = refusal_of(&request.method) {
            code
        } else if let Err(error) = incoming.leg.dialog.accept(&request) {
            error.status()
        } else if request.method == Method::Prack {
            return self.handle_prack(now, cx, txn, request);
        } else if request.method == Method::Info {
            return self.handle_info(now, cx, txn, &request);
        } else {
            StatusCode::OK
        };
        cx.respond(now, txn, &request, code, self);
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
