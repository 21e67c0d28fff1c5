//! The media side of every leg: its sockets (lease) and its media session, by call.

use crate::engine::{Lease, NoLease, Output};
use crate::id::{CallHandle, MediaId, RequestId};
use crate::media::command::{MediaCommand, MediaEvent, MediaSettings, Route};
use crate::sdp::plan::MediaPlan;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: BTreeMap<CallHandle, Seat>,
    asked: BTreeMap<RequestId, CallHandle>,
    /// Sessions that were told to close; their sockets come back with `Closed`.
    closing: BTreeMap<MediaId, Lease>,
    next_request: u64,
    next_media: u64,
}

#[derive(Debug)]
struct Seat {
    media: MediaId,
    lease: Option<Lease>,
    /// Its sockets belong to the same media set as those of all seats with this number.
    group: RequestId,
    open: bool,
}

impl Seats {
    /// Asks for sockets at `local`, once per call; in the media set of `beside`, which its packets are relayed to.
    pub(super) fn ask(
        &mut self,
        call: CallHandle,
        local: IpAddr,
        beside: Option<CallHandle>,
        out: &mut VecDeque<Output>,
    ) {
        if self.asked.values().any(|asker| *asker == call) || self.lease(call).is_some() {
            return;
        }
        self.media(call);
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.asked.insert(id, call);
        let other = beside.and_then(|call| self.seats.get(&call)).map(|seat| seat.group);
        let group = other.unwrap_or(id);
        if let Some(seat) = self.seats.get_mut(&call) {
            seat.group = group;
        }
        out.push_back(Output::Lease { id, local, group });
    }

    /// The sockets are there, or not; gives back whose they are. Nobody's are released.
    pub(super) fn handle_lease(
        &mut self,
        id: RequestId,
        answer: Result<Lease, NoLease>,
        out: &mut VecDeque<Output>,
    ) -> Option<(CallHandle, Result<Lease, NoLease>)> {
        let call = self.asked.remove(&id);
        let seat = call.and_then(|call| self.seats.get_mut(&call));
        match (call, seat, answer) {
            (Some(call), Some(seat), Ok(lease)) => {
                seat.lease = Some(lease);
                Some((call, Ok(lease)))
            }
            (Some(call), Some(_), Err(error)) => Some((call, Err(error))),
            (_, _, Ok(lease)) => {
                out.push_back(Output::Release(lease));
                None
            }
            (_, _, Err(_)) => None,
        }
    }

    pub(super) fn lease(&self, call: CallHandle) -> Option<Lease> {
        self.seats.get(&call).and_then(|seat| seat.lease)
    }

    /// The media session of a call, open or not.
    pub(super) fn media(&mut self, call: CallHandle) -> MediaId {
        let next = &mut self.next_media;
        self.seats
            .entry(call)
            .or_insert_with(|| {
                *next += 1;
                Seat { media: MediaId(*next), lease: None, group: RequestId(0), open: false }
            })
            .media
    }

    /// Opens the session, or gives an open one its new plan.
    pub(super) fn run(
        &mut self,
        call: CallHandle,
        plan: MediaPlan,
        route: Route,
        settings: &MediaSettings,
        out: &mut VecDeque<Output>,
    ) {
        let Some(seat) = self.seats.get_mut(&call) else { return };
        let command = if seat.open {
            MediaCommand::SetPlan(plan)
        } else {
            MediaCommand::Open { plan, route, settings: settings.clone() }
        };
        seat.open = true;
        out.push_back(Output::Media(seat.media, command));
    }

    /// Tells the open session of a call something.
    pub(super) fn tell(&self, call: CallHandle, command: MediaCommand, out: &mut VecDeque<Output>) {
        if let Some(seat) = self.seats.get(&call).filter(|seat| seat.open) {
            out.push_back(Output::Media(seat.media, command));
        }
    }

    /// The call needs no media any more.
    pub(super) fn leave(&mut self, call: CallHandle, out: &mut VecDeque<Output>) {
        self.asked.retain(|_, asker| *asker != call);
        let Some(seat) = self.seats.remove(&call) else { return };
        match seat.lease {
            Some(lease) if seat.open => {
                out.push_back(Output::Media(seat.media, MediaCommand::Close));
                self.closing.insert(seat.media, lease);
            }
            Some(lease) => out.push_back(Output::Release(lease)),
            None => {}
        }
    }

    /// Something happened in a session; gives back whose it is.
    pub(super) fn handle_media(
        &mut self,
        media: MediaId,
        event: &MediaEvent,
        out: &mut VecDeque<Output>,
    ) -> Option<CallHandle> {
        if matches!(event, MediaEvent::Closed(_)) {
            if let Some(lease) = self.closing.remove(&media) {
                out.push_back(Output::Release(lease));
            }
            return None;
        }
        self.seats.iter().find(|(_, seat)| seat.media == media).map(|(call, _)| *call)
    }

    /// True when no socket is held.
    pub(super) fn is_quiet(&self) -> bool {
        self.seats.is_empty() && self.closing.is_empty()
    }
}
