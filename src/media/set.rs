//! The media engine: all sessions of one loop and the sockets leased to them (seam 1). No SIP, no SDP text, no IO.
//!
//! ```text
//!  handle_packet ─▶ socket → session ─▶ source rules ─▶ Playout ─▶ sink
//!  handle_command ─▶ session                              source ─▶ encoder ─▶ poll_transmit
//!  handle_timeout ─▶ sessions that are due (all on one grid of 2.5 ms, so that calls share wake-ups)
//! ```

use super::command::{MediaCommand, MediaEvent, MediaSettings, MediaStats, Route};
use super::outbox::Outbox;
use super::session::{Handled, MediaSession, Turn};
use crate::id::{MediaId, SetId, SocketId};
use crate::rng::Rng;
use crate::sdp::plan::MediaPlan;
use crate::time::{Epoch, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where the driver sends a datagram of [`MediaSet::poll_transmit`], and from which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// One of the sockets leased to the set.
    pub socket: SocketId,
    /// The peer's address.
    pub to: SocketAddr,
    /// DSCP for the IP header, 0..=63.
    pub dscp: u8,
}

/// Sound for a session to send: a file, a generated sound, or the reading end of a device's ring.
pub trait SoundSource: Send {
    /// Samples per second; constant.
    fn rate(&self) -> u32;
    /// Fills `out` from the start and returns the samples given. Fewer than asked for means the end, but for a paced source a gap.
    fn read(&mut self, out: &mut [i16]) -> usize;
    /// Samples waiting in the ring of a device, which is then the clock of sending; `None` for a source that gives any amount at any time.
    fn available(&self) -> Option<usize> {
        None
    }
}

/// What takes the sound that a session hears: a file, or the writing end of a device's ring.
pub trait SoundSink: Send {
    /// Samples per second; constant.
    fn rate(&self) -> u32;
    /// Takes all of `pcm`; what does not fit is dropped and counted by the sink.
    fn write(&mut self, pcm: &[i16]);
    /// Samples that the ring of a device lacks to its fill target, which is then the clock of playing; `None` for a sink that
    /// takes any amount at any time.
    fn wanted(&self) -> Option<usize> {
        None
    }
}

/// All media sessions of one loop.
pub struct MediaSet {
    id: SetId,
    rng: Rng,
    epoch: Epoch,
    sessions: Vec<Option<MediaSession>>,
    /// When each place of `sessions` is due: a short array is faster to look through than a tree is to keep, and allocates nothing.
    deadlines: Vec<Option<Instant>>,
    by_id: BTreeMap<MediaId, usize>,
    by_socket: BTreeMap<SocketId, usize>,
    outbox: Outbox,
    events: VecDeque<(MediaId, MediaEvent)>,
    /// Last figures of the sessions that a panic has ended, until they are closed.
    broken: BTreeMap<MediaId, MediaStats>,
    /// Datagrams for sockets that belong to no session.
    strays: u64,
}

impl MediaSet {
    /// An empty set. `epoch` ties sender reports to wall-clock time.
    pub fn new(id: SetId, rng: Rng, epoch: Epoch) -> Self {
        Self {
            id,
            rng,
            epoch,
            sessions: Vec::new(),
            deadlines: Vec::new(),
            by_id: BTreeMap::new(),
            by_socket: BTreeMap::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            broken: BTreeMap::new(),
            strays: 0,
        }
    }

    /// Its number, as in the leases it owns.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// A datagram arrived on a leased socket. `payload` may be changed in place.
    pub fn handle_packet(&mut self, now: Instant, socket: SocketId, source: SocketAddr, payload: &mut [u8]) {
        let Some(&place) = self.by_socket.get(&socket) else {
            self.strays += 1;
            return;
        };
        let handled = self.with(now, place, |session, turn| session.handle_packet(turn, socket, source, payload));
        let Some(Handled::Relay { peer, rtcp }) = handled else { return };
        if let Some(other) = self.by_id.get(&peer).and_then(|&place| self.sessions.get_mut(place)?.as_mut())
            && let Some(to) = other.relay_to(rtcp, payload.len())
        {
            self.outbox.push(to, |buf| {
                buf.get_mut(..payload.len())?.copy_from_slice(payload);
                Some(payload.len())
            });
        }
    }

    /// A signalling engine wants something of a session; commands for sessions that are not open are ignored.
    pub fn handle_command(&mut self, now: Instant, media: MediaId, command: MediaCommand) {
        let place = self.by_id.get(&media).copied();
        match (command, place) {
            (MediaCommand::Open { plan, route, settings }, None) => self.open(now, media, &plan, route, settings),
            (MediaCommand::Open { plan, route, settings: _ }, Some(place)) => {
                self.with(now, place, |session, turn| {
                    session.set_route(turn, route);
                    session.set_plan(turn, &plan);
                });
                self.index_sockets(place);
            }
            (MediaCommand::Close, None) => {
                if let Some(stats) = self.broken.remove(&media) {
                    self.events.push_back((media, MediaEvent::Closed(Box::new(stats))));
                }
            }
            (_, None) => {}
            (MediaCommand::SetPlan(plan), Some(place)) => {
                self.with(now, place, |session, turn| session.set_plan(turn, &plan));
                self.index_sockets(place);
            }
            (MediaCommand::Route(route), Some(place)) => {
                self.with(now, place, |session, turn| session.set_route(turn, route));
            }
            (MediaCommand::Ringback(on), Some(place)) => {
                self.with(now, place, |session, _| session.set_ringback(on));
            }
            (MediaCommand::Mute(muted), Some(place)) => {
                self.with(now, place, |session, _| session.set_muted(muted));
            }
            (MediaCommand::SendDtmf { digits, duration }, Some(place)) => {
                self.with(now, place, |session, _| session.send_dtmf(now, &digits, duration));
            }
            (MediaCommand::Close, Some(place)) => {
                self.with(now, place, |session, turn| session.close(turn));
                if let Some(stats) = self.broken.remove(&media) {
                    self.events.push_back((media, MediaEvent::Closed(Box::new(stats))));
                }
                self.remove(media, place);
            }
        }
    }

    /// Hands a session the source or sink that its route names (file, built-in sound, device), opened by the driver.
    ///
    /// `None` leaves that side as it is. Until this is called the session sends silence and drops what it hears.
    pub fn attach(
        &mut self,
        now: Instant,
        media: MediaId,
        source: Option<Box<dyn SoundSource>>,
        sink: Option<Box<dyn SoundSink>>,
    ) {
        if let Some(&place) = self.by_id.get(&media) {
            self.with(now, place, |session, turn| session.attach(turn.now, source, sink));
        }
    }

    /// The instant of [`Self::poll_timeout`] has come (calling it early is harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        for place in 0..self.deadlines.len() {
            if self.deadlines[place].is_some_and(|at| at <= now) {
                self.with(now, place, |session, turn| session.handle_timeout(turn));
            }
        }
    }

    /// Adds the RTP sockets whose packets should be handed over before [`Self::handle_timeout`] at `now`.
    ///
    /// A session with sound of its own needs its packets only when it plays: whoever knows when each packet arrived (and says so in
    /// [`Self::handle_packet`]) may leave them in the socket until then, and is not woken for each.
    pub fn due_sockets(&self, now: Instant, sockets: &mut Vec<SocketId>) {
        for (deadline, session) in self.deadlines.iter().zip(&self.sessions) {
            if deadline.is_some_and(|at| at <= now)
                && let Some(session) = session
                && session.plays()
                && let Some([rtp, _]) = session.sockets()
            {
                sockets.push(rtp);
            }
        }
    }

    /// The RTP socket of a session, and whether its packets may wait for [`Self::due_sockets`]; those of a relay may not.
    pub fn reading(&self, media: MediaId) -> Option<(SocketId, bool)> {
        let session = self.sessions.get(*self.by_id.get(&media)?)?.as_ref()?;
        Some((session.sockets()?[0], session.plays()))
    }

    /// When [`Self::handle_timeout`] should be called next; `None`: nothing to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Writes the next datagram to send into `buf` (1500 bytes suffice) and returns its length and destination.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<(usize, Destination)> {
        self.outbox.pop(buf)
    }

    /// The next thing to tell the engine that owns the session.
    pub fn poll_event(&mut self) -> Option<(MediaId, MediaEvent)> {
        self.events.pop_front()
    }

    /// Figures of a session up to `now`.
    pub fn stats(&self, now: Instant, media: MediaId) -> Option<MediaStats> {
        let place = *self.by_id.get(&media)?;
        self.sessions.get(place)?.as_ref().map(|session| session.stats(now))
    }

    /// True when no session is open and nothing waits to be fetched.
    pub fn is_quiet(&self) -> bool {
        self.by_id.is_empty() && self.broken.is_empty() && self.events.is_empty() && self.outbox.is_empty()
    }

    fn open(&mut self, now: Instant, media: MediaId, plan: &MediaPlan, route: Route, settings: MediaSettings) {
        let place = self.sessions.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sessions.push(None);
            self.deadlines.push(None);
            self.sessions.len() - 1
        });
        let mut turn =
            Turn { now, rng: &mut self.rng, epoch: self.epoch, outbox: &mut self.outbox, events: &mut self.events };
        let made = catch_unwind(AssertUnwindSafe(|| MediaSession::new(&mut turn, media, plan, route, settings)));
        let Ok(session) = made else { return self.tell_broken(media, MediaStats::default()) };
        self.deadlines[place] = Some(session.poll_timeout());
        self.sessions[place] = Some(session);
        self.by_id.insert(media, place);
        self.index_sockets(place);
    }

    fn remove(&mut self, media: MediaId, place: usize) {
        self.by_id.remove(&media);
        self.by_socket.retain(|_, owner| *owner != place);
        self.sessions[place] = None;
        self.deadlines[place] = None;
    }

    /// Works on one session and notes when it is due next. A panic ends this session and no other.
    fn with<T>(
        &mut self,
        now: Instant,
        place: usize,
        work: impl FnOnce(&mut MediaSession, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let session = self.sessions.get_mut(place)?.as_mut()?;
        let before = self.outbox.len();
        let mut turn =
            Turn { now, rng: &mut self.rng, epoch: self.epoch, outbox: &mut self.outbox, events: &mut self.events };
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let result = work(session, &mut turn);
            // The one place where sound turns into SRTP: nothing of a session gets past it.
            session.seal(turn.outbox, before);
            (result, session.poll_timeout())
        }));
        if let Ok((result, due)) = worked {
            self.deadlines[place] = Some(due);
            return Some(result);
        }
        self.outbox.rework(before, |_, _| None); // it may not have come to protecting them
        let stats = catch_unwind(AssertUnwindSafe(|| session.stats(now))).unwrap_or_default();
        let media = session.media();
        self.remove(media, place);
        self.tell_broken(media, stats);
        None
    }

    fn tell_broken(&mut self, media: MediaId, stats: MediaStats) {
        self.broken.insert(media, stats);
        self.events.push_back((media, MediaEvent::Broken));
    }

    fn index_sockets(&mut self, place: usize) {
        self.by_socket.retain(|_, owner| *owner != place);
        let sockets = self.sessions.get(place).and_then(|session| session.as_ref()?.sockets());
        for socket in sockets.into_iter().flatten() {
            self.by_socket.insert(socket, place);
        }
    }
}

#[cfg(test)]
mod tests;
