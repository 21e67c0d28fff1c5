//! A call between two users: two `Call`s with their offers and answers wired crosswise, RTP relayed undecoded.
//!
//! ```text
//!  caller ─ INVITE ─▶ Setup: one fork per contact of the callee ─ 2xx of one ─▶ Up ─ BYE of either ─▶ over
//!    ▲ 180, 4xx-6xx ◀──┘    caller gone, or all refused ─▶ over                 │ re-INVITE: offer to the other
//!    └──────────────────────────────────────────────────────────────────────────┘ side, its answer back
//! ```

mod early;
mod refusal;
mod setup;
mod up;

use super::registrar::Binding;
use super::session::{Desk, Fate, SessionId};
use crate::engine::{Lease, NoLease};
use crate::id::CallHandle;
use crate::media::command::MediaEvent;
use crate::sdp::Sdp;
use crate::sip::message::{NameAddr, StatusCode};
use crate::ua::call::{CallCommand, CallEvent};
use setup::Setup;
use up::Up;

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
                change: up::Change::None,
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
        if matches!(event, MediaEvent::RtpLost | MediaEvent::Broken) {
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
}
