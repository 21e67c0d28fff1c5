//! UPDATE (RFC 3311): a new offer, a new target or a sign of life, in early and confirmed dialogs.

use super::calls::Cx;
use super::change::Change;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::timer;
use super::{Call, CallEvent, State, status};
use crate::engine::Flow;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Method, Request, StatusCode, Uri};
use crate::time::Instant;
use crate::ua::screen;

/// Who made the offer that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nobody,
    We,
    They,
}

impl Call {
    /// How an UPDATE has to wait (§5.2): 491 while our offer is open, 500 while its sender's is, or an UPDATE of it.
    fn update_refusal(&self, leg: &Leg, offers: bool) -> Option<StatusCode> {
        let open = match &leg.change {
            Change::Theirs { request, .. } if request.method == Method::Update => return Some(status(500)),
            Change::Theirs { .. } => Open::They,
            Change::Ours { .. } | Change::Queued | Change::Accepted { late: true, .. } => Open::We,
            Change::None | Change::Accepted { late: false, .. } if leg.exchanged => Open::Nobody,
            Change::None | Change::Accepted { late: false, .. } => match &self.state {
                State::Incoming(incoming) if !incoming.offered => Open::They,
                State::Incoming(_)
                | State::Answered(_)
                | State::Calling(_)
                | State::Established(_)
                | State::Routing { .. }
                | State::Offering { .. }
                | State::Closing => Open::We,
            },
        };
        match open {
            _ if !offers => None,
            Open::Nobody => None,
            Open::We => Some(status(491)),
            Open::They => Some(status(500)),
        }
    }

    /// An UPDATE came.
    pub(super) fn handle_update(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
    ) {
        let tag = super::from_tag(&request);
        let body = sdp_of(&request.headers, &request.body);
        let busy = match self.leg(&tag) {
            Some(leg) => self.update_refusal(leg, body.is_some()),
            None => Some(status(481)),
        };
        if let Some(code) = busy {
            cx.respond(now, txn, &request, code, self);
            return;
        }
        let screened = screen::body_and_extensions(&request, &self.rules);
        let refused = screened.err().or_else(|| timer::refusal(&self.rules, &request));
        if let Some(refusal) = refused {
            cx.refuse(now, txn, &request, &refusal, self);
            return;
        }
        let Some(leg) = self.leg_mut(&tag) else { return };
        let before = leg.dialog.target().clone();
        if let Err(error) = leg.dialog.accept(&request) {
            cx.respond(now, txn, &request, error.status(), self);
            return;
        }
        leg.flow = flow;
        leg.note_abilities(&request.headers);
        match body {
            Some(body) => self.take_offer(cx, txn, request, body, before),
            None => self.grant_update(now, cx, txn, &request, &tag, None),
        }
    }

    /// The peer's offer waits for the owner's answer; `before` is the remote target that a refusal leaves in force.
    pub(super) fn take_offer(&mut self, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, body: Vec<u8>, before: Uri) {
        let id = self.next_offer();
        let tag = super::from_tag(&request);
        let Some(leg) = self.leg_mut(&tag) else { return };
        let local = cx.core.endpoint.route_back(&leg.flow).local;
        let on = leg.id;
        leg.change = Change::Theirs { id, txn, request: Box::new(request), late: false, before };
        cx.emit(CallEvent::Offer { id, body, local, leg: on });
    }

    /// 200 to an UPDATE or a PRACK, with the answer to its offer.
    pub(super) fn grant_update(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: &Request,
        tag: &str,
        answer: Option<Vec<u8>>,
    ) {
        let Some(flow) = self.leg(tag).map(|leg| leg.flow) else { return };
        let local = cx.core.endpoint.route_back(&flow).local;
        let contact = self.contact(cx.core.endpoint, local, flow.protocol);
        let mut response = self.respond_to(request, StatusCode::OK, &contact);
        self.describe(&mut response);
        if let Some(body) = answer {
            response.headers.set(HeaderName::CONTENT_TYPE, super::SDP);
            response.body = body;
        }
        let rules = self.rules;
        if request.method == Method::Update
            && let Some(leg) = self.leg_mut(tag)
        {
            leg.grant(now, &rules, request, &mut response);
        }
        cx.core.endpoint.respond(now, txn, response);
        cx.forget(txn);
    }

    /// The live dialog with the peer of this tag.
    pub(super) fn leg(&self, tag: &str) -> Option<&Leg> {
        let leg = match &self.state {
            State::Established(session) => &session.leg,
            State::Answered(answered) => &answered.leg,
            State::Incoming(incoming) => &incoming.leg,
            State::Calling(calling) => return calling.early.get(tag),
            State::Routing { .. } | State::Offering { .. } | State::Closing => return None,
        };
        (leg.remote_tag() == tag).then_some(leg)
    }

    pub(super) fn leg_mut(&mut self, tag: &str) -> Option<&mut Leg> {
        self.legs_mut().find(|leg| leg.remote_tag() == tag)
    }

    /// The live dialogs: several only while our INVITE has no final response.
    pub(super) fn legs_mut(&mut self) -> Box<dyn Iterator<Item = &mut Leg> + '_> {
        match &mut self.state {
            State::Established(session) => Box::new(std::iter::once(&mut session.leg)),
            State::Answered(answered) => Box::new(std::iter::once(&mut answered.leg)),
            State::Incoming(incoming) => Box::new(std::iter::once(&mut incoming.leg)),
            State::Calling(calling) => Box::new(calling.early.values_mut()),
            State::Routing { .. } | State::Offering { .. } | State::Closing => Box::new(std::iter::empty()),
        }
    }
}
