//! A bridge whose both sides have answered: changes of one side are passed to the other, until one hangs up.

use super::refusal::passable;
use super::{Bridge, Side, State};
use crate::id::CallHandle;
use crate::media::command::Route;
use crate::pbx::session::{Desk, Fate};
use crate::sdp::{Sdp, plan::Direction, relay_plan, remote_of, rewrite_addresses};
use crate::sip::message::StatusCode;
use crate::ua::call::{CallCommand, CallEvent, OfferId};

/// The call with the callee's side.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) callee: Side,
    pub(super) change: Change,
    /// The caller's ACK has come.
    pub(super) established: bool,
}

/// A re-INVITE that is being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
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

impl Bridge {
    /// Both calls are answered, though the caller's ACK may be on its way.
    pub(super) fn handle_up(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, event: CallEvent) -> Fate {
        let State::Up(up) = &mut self.state else { return Fate::Lives };
        let Up { callee, change, established } = &mut **up;
        let from_caller = call == self.caller.call;
        let (near, far) = if from_caller { (&mut self.caller, callee) } else { (callee, &mut self.caller) };
        match event {
            // The ACK owed us the answer to the callee's offer (RFC 3261 §13.2.2.4).
            CallEvent::Established { .. } if from_caller && near.received.is_none() => {
                self.stop(desk);
                return Fate::Over;
            }
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
            // The session as it stands, said again, refreshes it.
            CallEvent::OfferDue => {
                if let (Change::None, Some(sent)) = (*change, &near.sent) {
                    let body = sent.encode();
                    desk.tell(call, CallCommand::Offer { body });
                }
            }
            CallEvent::Routed { .. }
            | CallEvent::Declined
            | CallEvent::Ringing { .. }
            | CallEvent::EarlyEnded { .. }
            | CallEvent::ChangeDone
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => {}
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
    pub(super) fn relay(&self, desk: &mut Desk<'_, '_>) {
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
