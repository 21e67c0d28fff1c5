//! What goes through the PBX: an extension or a bridge, and what both use to act.

use super::bridge::Bridge;
use super::config::PbxConfig;
use super::extension::ExtensionCall;
use super::seats::Seats;
use crate::api::Event;
use crate::engine::{Lease, NoLease, Output};
use crate::id::CallHandle;
use crate::media::command::MediaEvent;
use crate::sip::message::StatusCode;
use crate::time::Instant;
use crate::ua::call::{CallCommand, CallEvent, Calls, Core, Dial};
use std::collections::{BTreeMap, VecDeque};

/// Names a session of the PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) u32);

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It does.
    Lives,
    /// All its calls are over or told to end; it can be forgotten.
    Over,
}

/// What a session may use while it handles an input.
pub(super) struct Desk<'a, 'b> {
    pub(super) now: Instant,
    pub(super) config: &'a PbxConfig,
    pub(super) calls: &'a mut Calls,
    pub(super) core: &'a mut Core<'b>,
    pub(super) seats: &'a mut Seats,
    pub(super) owners: &'a mut BTreeMap<CallHandle, SessionId>,
    pub(super) out: &'a mut VecDeque<Output>,
}

impl Desk<'_, '_> {
    /// Tells a call something; false when it is in no state for it.
    pub(super) fn tell(&mut self, call: CallHandle, command: CallCommand) -> bool {
        self.calls.command(self.now, self.core, call, command).is_ok()
    }

    /// Places a call for `session`.
    pub(super) fn dial(&mut self, session: SessionId, dial: Dial) -> CallHandle {
        let call = self.calls.dial(self.now, self.core, dial);
        self.owners.insert(call, session);
        call
    }

    /// Ends a call, whatever its state, and its media.
    pub(super) fn drop_call(&mut self, call: CallHandle) {
        self.tell(call, CallCommand::HangUp);
        self.leave(call);
    }

    /// A call has ended by itself.
    pub(super) fn leave(&mut self, call: CallHandle) {
        self.owners.remove(&call);
        self.seats.leave(call, self.out);
    }

    /// Tells the clients of the PBX.
    pub(super) fn report(&mut self, from: &str, to: &str, state: &str, code: Option<StatusCode>) {
        self.out.push_back(Output::Event(Event::PbxCall {
            from: from.to_owned(),
            to: to.to_owned(),
            state: state.to_owned(),
            code: code.map(StatusCode::code),
        }));
    }
}

/// One call through the PBX.
#[derive(Debug)]
pub(super) enum Session {
    /// With the PBX itself.
    Extension(Box<ExtensionCall>),
    /// Between two users.
    Bridge(Box<Bridge>),
}

impl Session {
    pub(super) fn handle_call(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        match self {
            Self::Extension(extension) => extension.handle_call(desk, event),
            Self::Bridge(bridge) => bridge.handle_call(desk, call, event),
        }
    }

    pub(super) fn handle_lease(
        &mut self,
        desk: &mut Desk<'_, '_>,
        call: CallHandle,
        answer: Result<Lease, NoLease>,
    ) -> Fate {
        match self {
            Self::Extension(extension) => extension.handle_lease(desk, answer),
            Self::Bridge(bridge) => bridge.handle_lease(desk, call, answer),
        }
    }

    pub(super) fn handle_media(&mut self, desk: &mut Desk<'_, '_>, event: &MediaEvent) -> Fate {
        match self {
            Self::Extension(extension) => extension.handle_media(desk, event),
            Self::Bridge(bridge) => bridge.handle_media(desk, event),
        }
    }

    pub(super) fn handle_timeout(&mut self, desk: &mut Desk<'_, '_>) {
        match self {
            Self::Extension(extension) => extension.handle_timeout(desk),
            Self::Bridge(_) => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Extension(extension) => extension.poll_timeout(),
            Self::Bridge(_) => None,
        }
    }

    /// Ends it from our side.
    pub(super) fn stop(&mut self, desk: &mut Desk<'_, '_>) {
        match self {
            Self::Extension(extension) => extension.stop(desk),
            Self::Bridge(bridge) => bridge.stop(desk),
        }
    }
}
