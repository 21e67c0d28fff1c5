//! A bridge whose callee rings: early sound passes, and changes of it (RFC 3960, RFC 3311), while there is one callee only.
//! Where several ring, the caller hears its own ringback: their sound would have to be chosen among.

use super::refusal::passable;
use super::setup::{Given, Setup};
use super::up::{Change, pass_on, relay};
use super::{Bridge, State};
use crate::id::CallHandle;
use crate::pbx::session::{Desk, Fate};
use crate::sdp::{Sdp, remote_of, rewrite_addresses};
use crate::sip::message::StatusCode;
use crate::ua::call::{Call, CallCommand, OfferId};

impl Bridge {
    /// A fork rings: the caller is told, with the description of its early sound if there is one.
    pub(super) fn pass_ringing(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, status: StatusCode) {
        let State::Setup(setup) = &mut self.state else { return };
        let caller = self.caller.call;
        let told = self.caller.sent.is_some();
        let early = setup.early(call).filter(|_| !told).and_then(|sdp| {
            let lease = desk.seats.lease(caller)?;
            Some(rewrite_addresses(sdp, lease.rtp_addr, lease.rtcp_addr))
        });
        let Some(early) = early else {
            // Where the first reliable response must hold an offer, one without it breaks the rules (RFC 3262 §5).
            let strict = desk.calls.get(caller).is_some_and(Call::is_strict);
            if !(strict && setup.is_late()) {
                desk.tell(caller, CallCommand::Progress { status: StatusCode::RINGING, body: None });
            }
            return;
        };
        if desk.tell(caller, CallCommand::Progress { status, body: Some(early.encode()) }) {
            self.caller.sent = Some(early);
            self.relay_early(desk);
        }
    }

    /// Sound passes both ways as far as the early descriptions say.
    fn relay_early(&self, desk: &mut Desk<'_, '_>) {
        let State::Setup(setup) = &self.state else { return };
        if let [fork] = setup.forks.as_slice() {
            relay(desk, &self.caller, fork);
        }
    }

    /// An offer before the call is up, from `call`: passed to the other side as an UPDATE, if both sides are so far.
    pub(super) fn pass_early_offer(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, id: OfferId, body: &[u8]) {
        let State::Setup(setup) = &mut self.state else { return };
        let passed = match setup.forks.as_mut_slice() {
            [fork] if self.caller.sent.is_some() => {
                let (near, far) =
                    if call == self.caller.call { (&mut self.caller, fork) } else { (fork, &mut self.caller) };
                let before = far.sent.clone();
                pass_on(desk, body, far, &setup.change).map(|offer| (before, near.received.replace(offer)))
            }
            _ => Err(491),
        };
        match passed {
            Ok((sent, received)) => setup.change = Change::Offered { from: call, id, sent, received },
            Err(code) => {
                let status = StatusCode::new(code).unwrap_or(StatusCode::REQUEST_PENDING);
                desk.tell(call, CallCommand::Refuse { id, status });
            }
        }
    }

    /// The answer to such an offer; false if none waits for one from this side.
    pub(super) fn pass_early_answer(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, answer: &Sdp) -> bool {
        let State::Setup(setup) = &mut self.state else { return false };
        let Change::Offered { from, id, .. } = &setup.change else { return false };
        let (from, id) = (*from, *id);
        if from == call {
            return false;
        }
        setup.change = Change::None;
        let [fork] = setup.forks.as_mut_slice() else { return true };
        let (near, far) = if call == self.caller.call { (&mut self.caller, fork) } else { (fork, &mut self.caller) };
        near.received = Some(answer.clone());
        if let Some(lease) = desk.seats.lease(from).filter(|_| remote_of(answer).is_ok()) {
            let answer = rewrite_addresses(answer, lease.rtp_addr, lease.rtcp_addr);
            let body = answer.encode();
            far.sent = Some(answer);
            desk.tell(from, CallCommand::Answer { id, body });
        }
        self.relay_early(desk);
        true
    }

    /// The other side would not: everything is as it was.
    pub(super) fn early_offer_refused(
        &mut self,
        desk: &mut Desk<'_, '_>,
        call: CallHandle,
        status: StatusCode,
    ) -> Fate {
        let State::Setup(setup) = &mut self.state else { return Fate::Lives };
        let change = std::mem::replace(&mut setup.change, Change::None);
        if let (Change::Offered { from, id, sent, received }, [fork]) = (change, setup.forks.as_mut_slice())
            && from != call
        {
            let (near, far) =
                if from == self.caller.call { (&mut self.caller, fork) } else { (fork, &mut self.caller) };
            (far.sent, near.received) = (sent, received);
            desk.tell(from, CallCommand::Refuse { id, status: passable(status) });
        }
        Fate::Lives
    }
}

impl Setup {
    /// The early description of the one callee that rings.
    fn early(&self, call: CallHandle) -> Option<&Sdp> {
        match self.forks.as_slice() {
            [fork] if fork.call == call && !self.is_late() => {
                fork.received.as_ref().filter(|sdp| remote_of(sdp).is_ok())
            }
            _ => None,
        }
    }

    fn is_late(&self) -> bool {
        matches!(self.offer, Some((_, Given::Nothing)))
    }
}
