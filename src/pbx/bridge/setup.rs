//! A bridge before it is up: every contact of the callee is called, the first to answer gets the caller.

use super::refusal::{better, refusal};
use super::up::{Change, Up};
use super::{Bridge, Invitation, Side, State};
use crate::id::CallHandle;
use crate::pbx::session::{Desk, Fate, SessionId};
use crate::sdp::{MediaEncryption, Negotiator, Sdp, Wish, plan::Direction, remote_of, rewrite_addresses};
use crate::sip::endpoint::TlsWish;
use crate::sip::message::StatusCode;
use crate::ua::call::{Call, CallCommand, CallEvent, Dial, NextHop, OfferId};

/// The callee rings, or is about to.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) session: SessionId,
    pub(super) invitation: Invitation,
    /// The caller's offer, to be answered.
    pub(super) offer: Option<(OfferId, Given)>,
    pub(super) forks: Vec<Side>,
    /// The fork that has answered while the caller's sockets were not there yet.
    pub(super) winner: Option<Side>,
    /// The best refusal so far.
    pub(super) refusal: Option<StatusCode>,
    /// A change of the early session on its way.
    pub(super) change: Change,
}

/// Whether the caller's INVITE brought its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Offer,
    Nothing,
}

impl Bridge {
    /// The caller before the call is up.
    pub(super) fn handle_caller(&mut self, desk: &mut Desk<'_, '_>, event: CallEvent) -> Fate {
        match event {
            CallEvent::Offer { id, body, .. } if self.caller.received.is_some() => {
                self.pass_early_offer(desk, self.caller.call, id, &body);
                Fate::Lives
            }
            CallEvent::Answer { body, .. } => {
                if let Ok(answer) = Sdp::parse(&body) {
                    self.pass_early_answer(desk, self.caller.call, &answer);
                }
                Fate::Lives
            }
            CallEvent::OfferRefused { status, .. } => self.early_offer_refused(desk, self.caller.call, status),
            CallEvent::Offer { id, body, local, .. } => {
                let offer = match Sdp::parse(&body) {
                    Ok(offer) => offer,
                    Err(error) => return self.refuse_caller(desk, error.status()),
                };
                if let Err(error) = remote_of(&offer) {
                    return self.refuse_caller(desk, error.status());
                }
                self.caller.received = Some(offer);
                self.invite(desk, id, Given::Offer, local.ip());
                Fate::Lives
            }
            CallEvent::OfferWanted { id, local } => {
                self.invite(desk, id, Given::Nothing, local.ip());
                Fate::Lives
            }
            CallEvent::Ended(ending) => {
                self.end_setup(desk, ending.cause.status());
                Fate::Over
            }
            CallEvent::Routed { .. }
            | CallEvent::Declined
            | CallEvent::Moved { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::Established { .. }
            | CallEvent::OfferWithdrawn { .. }
            | CallEvent::OfferDue
            | CallEvent::EarlyEnded { .. }
            | CallEvent::Digit { .. }
            | CallEvent::ChangeDone
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => Fate::Lives,
        }
    }

    /// Calls every contact of the callee, each along the flow that it registered on.
    fn invite(&mut self, desk: &mut Desk<'_, '_>, id: OfferId, given: Given, local: std::net::IpAddr) {
        desk.seats.ask(self.caller.call, local, None, desk.out);
        let State::Setup(setup) = &mut self.state else { return };
        setup.offer = Some((id, given));
        for binding in std::mem::take(&mut setup.invitation.bindings) {
            let invitation = &setup.invitation;
            let dial = Dial {
                target: binding.contact,
                to: Some(invitation.to.clone()),
                from: invitation.from.clone(),
                contact_user: Some(invitation.caller.clone()),
                next_hop: NextHop::Route(desk.core.endpoint.route_back(&binding.flow)),
                transport: None,
                tls: TlsWish::default(),
                login: None,
                max_forwards: invitation.max_forwards,
                user_agent: desk.config.user_agent.clone(),
                answer_timeout: Some(desk.config.answer_timeout),
                redirects: 0,
                headers: Vec::new(),
                rules: desk.config.rules,
            };
            let call = desk.dial(setup.session, dial);
            setup.forks.push(Side::new(call));
        }
    }

    /// One contact of the callee before the call is up.
    pub(super) fn handle_fork(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        match event {
            CallEvent::Routed { local, .. } => {
                desk.seats.ask(call, local.ip(), Some(self.caller.call), desk.out);
                self.offer_to(desk, call);
                Fate::Lives
            }
            CallEvent::Ringing { status, .. } => {
                self.pass_ringing(desk, call, status);
                Fate::Lives
            }
            CallEvent::Answer { body, .. } => {
                let Ok(sdp) = Sdp::parse(&body) else { return Fate::Lives };
                if !self.pass_early_answer(desk, call, &sdp)
                    && let State::Setup(setup) = &mut self.state
                    && let Some(fork) = setup.fork(call)
                {
                    fork.received = Some(sdp);
                }
                Fate::Lives
            }
            CallEvent::Established { .. } => self.answered(desk, call),
            CallEvent::Ended(ending) => {
                let status = refusal(&ending.cause);
                setup.forks.retain(|fork| fork.call != call);
                let gone = setup.winner.take_if(|winner| winner.call == call).is_some();
                desk.leave(call);
                setup.refusal = Some(setup.refusal.map_or(status, |other| better(other, status)));
                if setup.forks.is_empty() && (setup.winner.is_none() || gone) {
                    let code = setup.refusal.map_or(480, StatusCode::code);
                    return self.refuse_caller(desk, code);
                }
                Fate::Lives
            }
            CallEvent::Offer { id, body, .. } if setup.winner.is_none() => {
                self.pass_early_offer(desk, call, id, &body);
                Fate::Lives
            }
            CallEvent::OfferRefused { status, .. } => self.early_offer_refused(desk, call, status),
            CallEvent::Offer { id, .. } | CallEvent::OfferWanted { id, .. } => {
                // It has answered and changes its mind already: once the call is up.
                desk.tell(call, CallCommand::Refuse { id, status: StatusCode::REQUEST_PENDING });
                Fate::Lives
            }
            CallEvent::OfferWithdrawn { .. }
            | CallEvent::OfferDue
            | CallEvent::Declined
            | CallEvent::EarlyEnded { .. }
            | CallEvent::Digit { .. }
            | CallEvent::Moved { .. }
            | CallEvent::ChangeDone
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => Fate::Lives,
        }
    }

    /// Sends a fork its INVITE, when its sockets are there.
    pub(super) fn offer_to(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle) {
        let State::Setup(setup) = &mut self.state else { return };
        let (Some(lease), Some(fork)) = (desk.seats.lease(call), setup.fork(call)) else { return };
        let offer = match &self.caller.received {
            Some(offer) => rewrite_addresses(offer, lease.rtp_addr, lease.rtcp_addr),
            // The caller wants our offer: the callee gets all we know, its answer becomes that offer.
            None => {
                let capabilities = &desk.config.capabilities;
                let encryption = MediaEncryption::Off;
                let wish = Wish { capabilities, lease, direction: Direction::SendRecv, latch: true, encryption };
                match Negotiator::new(desk.core.rng.u32().into(), "-").offer(&wish) {
                    Ok(offer) => offer,
                    Err(_) => return,
                }
            }
        };
        let body = offer.encode();
        fork.sent = Some(offer);
        desk.tell(call, CallCommand::Offer { body });
    }

    /// A fork has answered: the others are cancelled.
    fn answered(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle) -> Fate {
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        let Some(at) = setup.forks.iter().position(|fork| fork.call == call) else { return Fate::Lives };
        let winner = setup.forks.swap_remove(at);
        for loser in std::mem::take(&mut setup.forks) {
            desk.drop_call(loser.call);
        }
        setup.winner = Some(winner);
        self.connect(desk)
    }

    /// Answers the caller, once its sockets are there and a fork has won.
    pub(super) fn connect(&mut self, desk: &mut Desk<'_, '_>) -> Fate {
        let Some(lease) = desk.seats.lease(self.caller.call) else { return Fate::Lives };
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        let (Some((id, given)), Some(callee)) = (setup.offer, setup.winner.take()) else { return Fate::Lives };
        let Some(answer) = callee.received.as_ref().filter(|answer| remote_of(answer).is_ok()) else {
            desk.drop_call(callee.call);
            return self.refuse_caller(desk, 488);
        };
        let body = rewrite_addresses(answer, lease.rtp_addr, lease.rtcp_addr);
        // What the caller was answered reliably holds until it is told of another one by a change of its own.
        let early = desk.calls.get(self.caller.call).is_some_and(Call::has_early_answer);
        let early = self.caller.sent.take().filter(|_| early);
        let differs =
            early.as_ref().is_some_and(|early| (&early.media, &early.connection) != (&body.media, &body.connection));
        if !desk.tell(self.caller.call, CallCommand::Answer { id, body: body.encode() }) {
            desk.drop_call(callee.call);
            return Fate::Lives; // the caller has just gone: its end is on the way
        }
        let owed = differs.then(|| answer.clone());
        self.caller.sent = early.or(Some(body));
        self.state = State::Up(Box::new(Up { callee, change: Change::None, established: false, owed }));
        if given == Given::Offer {
            self.relay(desk);
        }
        Fate::Lives
    }

    pub(super) fn refuse_caller(&mut self, desk: &mut Desk<'_, '_>, code: u16) -> Fate {
        let status = StatusCode::new(code).unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE);
        desk.tell(self.caller.call, CallCommand::Reject { status });
        self.end_setup(desk, Some(status));
        Fate::Over
    }

    /// The call never came up.
    pub(super) fn end_setup(&mut self, desk: &mut Desk<'_, '_>, status: Option<StatusCode>) {
        if let State::Setup(setup) = &mut self.state {
            for fork in setup.forks.drain(..).chain(setup.winner.take()) {
                desk.drop_call(fork.call);
            }
        }
        desk.drop_call(self.caller.call);
        desk.report(&self.from, &self.to, "refused", status);
    }
}

impl Setup {
    fn fork(&mut self, call: CallHandle) -> Option<&mut Side> {
        self.forks.iter_mut().find(|fork| fork.call == call)
    }
}
