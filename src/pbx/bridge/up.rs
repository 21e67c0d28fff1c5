//! A bridge whose both sides have answered: changes of one side are passed to the other, until one hangs up.

use super::refusal::passable;
use super::{Bridge, Side, State};
use crate::id::CallHandle;
use crate::media::command::Route;
use crate::pbx::session::{Desk, Fate};
use crate::sdp::{Sdp, plan::Direction, relay_plan, remote_of, rewrite_addresses};
use crate::sip::message::StatusCode;
use crate::ua::call::{CallCommand, CallEvent, DTMF_RELAY, OfferId};

/// The call with the callee's side.
#[derive(Debug)]
pub(super) struct Up {
    pub(super) callee: Side,
    pub(super) change: Change,
    /// The caller's ACK has come.
    pub(super) established: bool,
    /// The callee's last word, where the caller was told an earlier one reliably: by a re-INVITE, once the call is up.
    pub(super) owed: Option<Sdp>,
}

/// A change that is being passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// From this call; its offer waits for the answer of the other side. What the other side was sent before, and what
    /// this one had sent, hold again if nothing comes of it.
    Offered {
        from: CallHandle,
        id: OfferId,
        sent: Option<Sdp>,
        received: Option<Sdp>,
    },
    /// As before, but its sender has cancelled it: once the other side has answered, it is told what held before.
    Withdrawn {
        from: CallHandle,
        sent: Option<Sdp>,
        received: Option<Sdp>,
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
        let Up { callee, change, established, owed } = &mut **up;
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
                    if let Some(owed) = owed.take()
                        && pass_on(desk, &owed.encode(), near, change).is_ok()
                    {
                        *change = Change::Told { to: call };
                    }
                }
            }
            CallEvent::Ended(ending) => {
                let other = far.call;
                desk.leave(call);
                desk.drop_call(other);
                desk.report(&self.from, &self.to, "ended", ending.cause.status());
                return Fate::Over;
            }
            CallEvent::Offer { id, body, .. } => {
                let sent = far.sent.clone();
                match pass_on(desk, &body, far, change) {
                    Ok(offer) => {
                        let received = near.received.replace(offer);
                        *change = Change::Offered { from: call, id, sent, received };
                    }
                    Err(code) => {
                        let status = StatusCode::new(code).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
                        desk.tell(call, CallCommand::Refuse { id, status });
                    }
                }
            }
            CallEvent::OfferWithdrawn { id: gone } => {
                *change = match std::mem::replace(change, Change::None) {
                    Change::Offered { from, id, sent, received } if from == call && id == gone => {
                        Change::Withdrawn { from, sent, received }
                    }
                    other
                    @ (Change::None | Change::Offered { .. } | Change::Withdrawn { .. } | Change::Told { .. }) => other,
                };
            }
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
                self.handle_answer(desk, call, answer);
            }
            CallEvent::OfferRefused { status, .. } => match std::mem::replace(change, Change::None) {
                Change::Offered { from, id, sent, received } if from != call => {
                    // Both sides are where they were.
                    (near.sent, far.received) = (sent, received);
                    desk.tell(from, CallCommand::Refuse { id, status: passable(status) });
                }
                Change::Withdrawn { from, sent, received } if from != call => {
                    (near.sent, far.received) = (sent, received)
                }
                Change::None | Change::Offered { .. } | Change::Withdrawn { .. } | Change::Told { .. } => {}
            },
            // The session as it stands, said again, refreshes it.
            CallEvent::OfferDue => {
                if let (Change::None, Some(sent)) = (&*change, &near.sent) {
                    let body = sent.encode();
                    desk.tell(call, CallCommand::Offer { body });
                }
            }
            CallEvent::Digit { digit, duration } => {
                let body = format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis()).into_bytes();
                desk.tell(far.call, CallCommand::Info { kind: DTMF_RELAY.to_owned(), body });
            }
            CallEvent::Routed { .. }
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Declined
            | CallEvent::Moved { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::EarlyEnded { .. }
            | CallEvent::ChangeDone
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => {}
        }
        Fate::Lives
    }

    /// An answer came from `call`: to the offer that we passed on, or to one that we made.
    fn handle_answer(&mut self, desk: &mut Desk<'_, '_>, call: CallHandle, answer: Sdp) {
        let State::Up(up) = &mut self.state else { return };
        let Up { callee, change, .. } = &mut **up;
        let (near, far) =
            if call == self.caller.call { (&mut self.caller, callee) } else { (callee, &mut self.caller) };
        near.received = Some(answer.clone());
        match std::mem::replace(change, Change::None) {
            Change::Offered { from, id, .. } if from != call => {
                if let Some(lease) = desk.seats.lease(from) {
                    let answer = rewrite_addresses(&answer, lease.rtp_addr, lease.rtcp_addr);
                    let body = answer.encode();
                    far.sent = Some(answer);
                    desk.tell(from, CallCommand::Answer { id, body });
                }
            }
            // Too late: what held before is said again.
            Change::Withdrawn { from, sent, received } if from != call => {
                far.received.clone_from(&received);
                if let Some(before) = received
                    && pass_on(desk, &before.encode(), near, &Change::None).is_ok()
                {
                    *change = Change::Told { to: call };
                } else {
                    near.sent = sent;
                }
            }
            Change::Told { to } if to == call => {}
            // The answer to our own offer (an INVITE without one): the other side hears of a hold or a resume.
            other @ (Change::None | Change::Offered { .. } | Change::Withdrawn { .. } | Change::Told { .. }) => {
                *change = other;
                if direction(&answer) != far.sent.as_ref().and_then(direction)
                    && pass_on(desk, &answer.encode(), far, change).is_ok()
                {
                    *change = Change::Told { to: far.call };
                }
            }
        }
        self.relay(desk);
    }

    /// Sets both media sessions to what was agreed.
    pub(super) fn relay(&self, desk: &mut Desk<'_, '_>) {
        if let State::Up(up) = &self.state {
            relay(desk, &self.caller, &up.callee);
        }
    }
}

/// Sets the media sessions of two sides to what was said to each and by each.
pub(super) fn relay(desk: &mut Desk<'_, '_>, one: &Side, two: &Side) {
    for (side, other) in [(one, two), (two, one)] {
        let (Some(sent), Some(received)) = (&side.sent, &side.received) else { continue };
        let Some(lease) = desk.seats.lease(side.call) else { continue };
        if let Ok(plan) = relay_plan(sent, received, lease, true) {
            let peer = desk.seats.media(other.call);
            desk.seats.run(side.call, plan, Route::Relay { peer }, &desk.config.media, desk.out);
        }
    }
}

/// Passes a changed description to the other side as our own offer; gives it back as read.
pub(super) fn pass_on(desk: &mut Desk<'_, '_>, body: &[u8], far: &mut Side, change: &Change) -> Result<Sdp, u16> {
    if *change != Change::None {
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
