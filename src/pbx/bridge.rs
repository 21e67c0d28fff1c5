//! A call between two users: two `Call`s with their offers and answers wired crosswise, RTP relayed undecoded.
//!
//! ```text
//!  caller ─ INVITE ─▶ Setup: one fork per contact of the callee ─ 2xx of one ─▶ Up ─ BYE of either ─▶ over
//!    ▲ 180, 4xx-6xx ◀──┘    caller gone, or all refused ─▶ over                 │ re-INVITE: offer to the other
//!    └──────────────────────────────────────────────────────────────────────────┘ side, its answer back
//! ```

mod refusal;

use super::registrar::Binding;
use super::session::{Desk, Fate, SessionId};
use crate::engine::{Lease, NoLease};
use crate::id::CallHandle;
use crate::media::command::{MediaEvent, Route};
use crate::sdp::{Negotiator, Sdp, Wish, plan::Direction, relay_plan, remote_of, rewrite_addresses};
use crate::sip::message::{NameAddr, StatusCode};
use crate::ua::call::{CallCommand, CallEvent, Dial, NextHop, OfferId};
use refusal::{better, passable, refusal};

#[derive(Debug)]
pub(super) struct Bridge {
    from: String,
    to: String,
    caller: Side,
    state: State,
}

/// One leg with the descriptions that passed on it.
#[derive(Debug)]
struct Side {
    call: CallHandle,
    /// What its peer was sent last.
    sent: Option<Sdp>,
    /// What its peer sent last.
    received: Option<Sdp>,
}

#[derive(Debug)]
enum State {
    /// The callee rings, or is about to.
    Setup(Box<Setup>),
    /// The callee has answered.
    Up(Box<Up>),
}

/// The call with the callee's side.
#[derive(Debug)]
struct Up {
    callee: Side,
    change: Change,
    /// The caller's ACK has come.
    established: bool,
}

#[derive(Debug)]
struct Setup {
    session: SessionId,
    invitation: Invitation,
    /// The caller's offer, to be answered.
    offer: Option<(OfferId, Given)>,
    forks: Vec<Side>,
    /// The fork that has answered while the caller's sockets were not there yet.
    winner: Option<Side>,
    /// The best refusal so far.
    refusal: Option<StatusCode>,
}

/// Whether the caller's INVITE brought its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Offer,
    Nothing,
}

/// A re-INVITE that is being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// From this call; its offer waits for the answer of the other side.
    Offered {
        from: CallHandle,
        id: OfferId,
    },
    /// The other side is told of a change that needs no answer back.
    Told {
        to: CallHandle,
    },
}

/// Whom to call, in whose name.
#[derive(Debug, Clone)]
pub(super) struct Invitation {
    pub(super) from: NameAddr,
    pub(super) to: NameAddr,
    pub(super) caller: String,
    pub(super) callee: String,
    pub(super) max_forwards: u8,
    pub(super) bindings: Vec<Binding>,
}

impl Side {
    const fn new(call: CallHandle) -> Self {
        Self { call, sent: None, received: None }
    }
}

impl Bridge {
    pub(super) fn new(desk: &mut Desk<'_, '_>, session: SessionId, call: CallHandle, invitation: Invitation) -> Self {
        desk.report(&invitation.caller, &invitation.callee, "ringing", None);
        Self {
            from: invitation.caller.clone(),
            to: invitation.callee.clone(),
            caller: Side::new(call),
            state: State::Setup(Box::new(Setup {
                session,
                invitation,
                offer: None,
                forks: Vec::new(),
                winner: None,
                refusal: None,
            })),
        }
    }

    pub(super) fn handle_call(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        match &mut self.state {
            State::Setup(_) if call == self.caller.call => self.handle_caller(desk, event),
            State::Setup(_) => self.handle_fork(desk, call, event),
            State::Up(_) => self.handle_up(desk, call, event),
        }
    }

    /// The caller before the call is up.
    fn handle_caller(&mut self, desk: &mut Desk<'_, '_>, event: CallEvent) -> Fate {
        match event {
            CallEvent::Offer { id, body, local } => {
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
            | CallEvent::Answer { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::Established { .. }
            | CallEvent::OfferRefused { .. }
            | CallEvent::ChangeDone => Fate::Lives,
        }
    }

    /// Calls every contact of the callee, each along the flow that it registered on.
    fn invite(&mut self, desk: &mut Desk<'_, '_>, id: OfferId, given: Given, local: std::net::IpAddr) {
        desk.seats.ask(self.caller.call, local, desk.out);
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
                login: None,
                max_forwards: invitation.max_forwards,
                user_agent: desk.config.user_agent.clone(),
                answer_timeout: Some(desk.config.answer_timeout),
            };
            let call = desk.dial(setup.session, dial);
            setup.forks.push(Side::new(call));
        }
    }

    /// One contact of the callee before the call is up.
    fn handle_fork(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        match event {
            CallEvent::Routed { local, .. } => {
                desk.seats.ask(call, local.ip(), desk.out);
                self.offer_to(desk, call);
                Fate::Lives
            }
            CallEvent::Ringing { .. } => {
                desk.tell(self.caller.call, CallCommand::Progress { status: StatusCode::RINGING, body: None });
                Fate::Lives
            }
            CallEvent::Answer { body, .. } => {
                // Of an early one only its last word counts: sound flows when the call is up.
                if let (Ok(sdp), Some(fork)) = (Sdp::parse(&body), setup.fork(call)) {
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
            CallEvent::Offer { id, .. } | CallEvent::OfferWanted { id, .. } => {
                // It has answered and changes its mind already: once the call is up.
                desk.tell(call, CallCommand::Refuse { id, status: StatusCode::REQUEST_PENDING });
                Fate::Lives
            }
            CallEvent::OfferRefused { .. } | CallEvent::ChangeDone => Fate::Lives,
        }
    }

    /// Sends a fork its INVITE, when its sockets are there.
    fn offer_to(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle) {
        let State::Setup(setup) = &mut self.state else { return };
        let (Some(lease), Some(fork)) = (desk.seats.lease(call), setup.fork(call)) else { return };
        let offer = match &self.caller.received {
            Some(offer) => rewrite_addresses(offer, lease.rtp_addr, lease.rtcp_addr),
            // The caller wants our offer: the callee gets all we know, its answer becomes that offer.
            None => {
                let capabilities = &desk.config.capabilities;
                let wish = Wish { capabilities, lease, direction: Direction::SendRecv, latch: true };
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
    fn connect(&mut self, desk: &mut Desk<'_, '_>) -> Fate {
        let Some(lease) = desk.seats.lease(self.caller.call) else { return Fate::Lives };
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        let (Some((id, given)), Some(callee)) = (setup.offer, setup.winner.take()) else { return Fate::Lives };
        let Some(answer) = callee.received.as_ref().filter(|answer| remote_of(answer).is_ok()) else {
            desk.drop_call(callee.call);
            return self.refuse_caller(desk, 488);
        };
        let body = rewrite_addresses(answer, lease.rtp_addr, lease.rtcp_addr);
        if !desk.tell(self.caller.call, CallCommand::Answer { id, body: body.encode() }) {
            desk.drop_call(callee.call);
            return Fate::Lives; // the caller has just gone: its end is on the way
        }
        self.caller.sent = Some(body);
        self.state = State::Up(Box::new(Up { callee, change: Change::None, established: false }));
        if given == Given::Offer {
            self.relay(desk);
        }
        Fate::Lives
    }

    /// Both calls are answered, though the caller's ACK may be on its way.
    fn handle_up(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        let State::Up(up) = &mut self.state else { return Fate::Lives };
        let Up { callee, change, established } = &mut **up;
        let from_caller = call == self.caller.call;
        let (near, far) = if from_caller { (&mut self.caller, callee) } else { (callee, &mut self.caller) };
        match event {
            CallEvent::Established { .. } => {
                if from_caller && !std::mem::replace(established, true) {
                    desk.report(&self.from, &self.to, "answered", None);
                }
            }
            CallEvent::Ended(ending) => {
                let other = far.call;
                desk.leave(call);
                desk.drop_call(other);
                desk.report(&self.from, &self.to, "ended", ending.cause.status());
                return Fate::Over;
            }
            CallEvent::Offer { id, body, .. } => match pass_on(desk, &body, far, *change) {
                Ok(offer) => {
                    near.received = Some(offer);
                    *change = Change::Offered { from: call, id };
                }
                Err(code) => {
                    let status = StatusCode::new(code).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
                    desk.tell(call, CallCommand::Refuse { id, status });
                }
            },
            // The session as it stands is our offer.
            CallEvent::OfferWanted { id, .. } => {
                let command = match &near.sent {
                    Some(sent) => CallCommand::Answer { id, body: sent.encode() },
                    None => CallCommand::Refuse { id, status: StatusCode::NOT_ACCEPTABLE_HERE },
                };
                desk.tell(call, command);
            }
            CallEvent::Answer { body, .. } => {
                let Ok(answer) = Sdp::parse(&body) else { return Fate::Lives };
                near.received = Some(answer);
                self.handle_answer(desk, call);
            }
            CallEvent::OfferRefused { status, .. } => {
                if let Change::Offered { from, id } = *change
                    && from != call
                {
                    desk.tell(from, CallCommand::Refuse { id, status: passable(status) });
                }
                *change = Change::None;
            }
            CallEvent::Routed { .. } | CallEvent::Ringing { .. } | CallEvent::ChangeDone => {}
        }
        Fate::Lives
    }

    /// An answer came from `call`: to the offer that we passed on, or to one that we made.
    fn handle_answer(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle) {
        let State::Up(up) = &mut self.state else { return };
        let Up { callee, change, .. } = &mut **up;
        let (near, far) = if call == self.caller.call { (&self.caller, callee) } else { (&*callee, &mut self.caller) };
        match *change {
            Change::Offered { from, id } if from != call => {
                *change = Change::None;
                if let (Some(lease), Some(answer)) = (desk.seats.lease(from), &near.received) {
                    let answer = rewrite_addresses(answer, lease.rtp_addr, lease.rtcp_addr);
                    let body = answer.encode();
                    far.sent = Some(answer);
                    desk.tell(from, CallCommand::Answer { id, body });
                }
            }
            Change::Told { to } if to == call => *change = Change::None,
            // The answer to our own offer (an INVITE without one): the other side hears of a hold or a resume.
            Change::None | Change::Offered { .. } | Change::Told { .. } => {
                if let Some(answer) = near.received.clone()
                    && direction(&answer) != far.sent.as_ref().and_then(direction)
                    && pass_on(desk, &answer.encode(), far, *change).is_ok()
                {
                    *change = Change::Told { to: far.call };
                }
            }
        }
        self.relay(desk);
    }

    /// Sets both media sessions to what was agreed.
    fn relay(&self, desk: &mut Desk<'_, '_>) {
        let State::Up(up) = &self.state else { return };
        let callee = &up.callee;
        for (side, other) in [(&self.caller, callee), (callee, &self.caller)] {
            let (Some(sent), Some(received)) = (&side.sent, &side.received) else { continue };
            let Some(lease) = desk.seats.lease(side.call) else { continue };
            if let Ok(plan) = relay_plan(sent, received, lease, true) {
                let peer = desk.seats.media(other.call);
                desk.seats.run(side.call, plan, Route::Relay { peer }, &desk.config.media, desk.out);
            }
        }
    }

    pub(super) fn handle_lease(
        &mut self,
        desk: &mut Desk<'_, '_>,
        call: CallHandle,
        answer: Result<Lease, NoLease>,
    ) -> Fate {
        let from_caller = call == self.caller.call;
        match answer {
            Ok(_) if from_caller => self.connect(desk),
            Ok(_) => {
                self.offer_to(desk, call);
                Fate::Lives
            }
            Err(NoLease) if from_caller => self.refuse_caller(desk, 503),
            Err(NoLease) => {
                desk.tell(call, CallCommand::HangUp); // its end comes as an event
                Fate::Lives
            }
        }
    }

    pub(super) fn handle_media(&mut self, desk: &mut Desk<'_, '_>, event: &MediaEvent) -> Fate {
        if matches!(event, MediaEvent::RtpLost) {
            self.stop(desk);
            return Fate::Over;
        }
        Fate::Lives
    }

    /// Ends everything from our side.
    pub(super) fn stop(&mut self, desk: &mut Desk<'_, '_>) {
        match &self.state {
            State::Setup(_) => self.end_setup(desk, Some(StatusCode::TEMPORARILY_UNAVAILABLE)),
            State::Up(up) => {
                desk.drop_call(up.callee.call);
                desk.drop_call(self.caller.call);
                desk.report(&self.from, &self.to, "ended", None);
            }
        }
    }

    fn refuse_caller(&mut self, desk: &mut Desk<'_, '_>, code: u16) -> Fate {
        let status = StatusCode::new(code).unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE);
        desk.tell(self.caller.call, CallCommand::Reject { status });
        self.end_setup(desk, Some(status));
        Fate::Over
    }

    /// The call never came up.
    fn end_setup(&mut self, desk: &mut Desk<'_, '_>, status: Option<StatusCode>) {
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

/// Passes a changed description to the other side as our re-INVITE; gives it back as read.
fn pass_on(desk: &mut Desk<'_, '_>, body: &[u8], far: &mut Side, change: Change) -> Result<Sdp, u16> {
    if change != Change::None {
        return Err(491);
    }
    let offer = Sdp::parse(body).map_err(|error| error.status())?;
    remote_of(&offer).map_err(|error| error.status())?;
    let lease = desk.seats.lease(far.call).ok_or(500_u16)?;
    let passed = rewrite_addresses(&offer, lease.rtp_addr, lease.rtcp_addr);
    // Its own re-INVITE or its ACK is under way: the two have collided here.
    if !desk.tell(far.call, CallCommand::Offer { body: passed.encode() }) {
        return Err(491);
    }
    far.sent = Some(passed);
    Ok(offer)
}

fn direction(sdp: &Sdp) -> Option<Direction> {
    remote_of(sdp).ok().map(|remote| remote.direction)
}
