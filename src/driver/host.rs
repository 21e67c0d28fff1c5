//! One engine with its media set and the answers it still has to be given.

use super::io::Io;
use super::sound::Delivery;
use super::{ClientEvent, EngineId};
use crate::api::{Command, Event, Reply, Snapshot};
use crate::engine::{Engine, Lease, NoLease, NoRoute, Output, Record, ResolveError, StreamEvent, StreamFault};
use crate::id::{ConnId, MediaId, RequestId, SetId, SocketId};
use crate::media::command::MediaEvent;
use crate::media::set::MediaSet;
use crate::time::{Epoch, Instant, earliest};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an engine is told once its outputs are drained.
pub(super) enum Answer {
    Resolved(RequestId, Result<Vec<Record>, ResolveError>),
    LocalAddress(RequestId, Result<IpAddr, NoRoute>),
    Lease(RequestId, Result<Lease, NoLease>),
    Media(MediaId, MediaEvent),
    Writable(ConnId),
    Closed(ConnId),
    Failed(ConnId, StreamFault),
}

/// An engine, its media set (made with its first lease) and its deadlines.
pub(super) struct Host {
    id: EngineId,
    engine: Box<dyn Engine + Send>,
    media: Option<MediaSet>,
    epoch: Epoch,
    answers: VecDeque<Answer>,
    deadline: Option<Instant>,
    stopped: bool,
    faults: u32,
}

impl Host {
    pub(super) fn new(id: EngineId, engine: Box<dyn Engine + Send>, epoch: Epoch) -> Self {
        let answers = VecDeque::new();
        Self { id, engine, media: None, epoch, answers, deadline: None, stopped: false, faults: 0 }
    }

    pub(super) fn id(&self) -> EngineId {
        self.id
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn faults(&self) -> u32 {
        self.faults
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.deadline, self.media.as_ref().and_then(MediaSet::poll_timeout))
    }

    pub(super) fn snapshot(&mut self, now: Instant) -> Option<Box<Snapshot>> {
        match self.engine.handle_command(now, Command::Snapshot) {
            Ok(Reply::Snapshot(snapshot)) => Some(snapshot),
            Ok(Reply::Ok | Reply::Call(_)) | Err(_) => None,
        }
    }

    /// Gives the engine something to do; a panic in it is counted and told, and ends nothing else (seam 14).
    pub(super) fn call<R>(&mut self, io: &mut Io, work: impl FnOnce(&mut dyn Engine) -> R) -> Option<R> {
        let engine = &mut *self.engine;
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| work(engine))) {
            return Some(result);
        }
        self.faults += 1;
        io.publish(&ClientEvent::Fault { engine: self.id });
        None
    }

    pub(super) fn packet(&mut self, now: Instant, socket: SocketId, source: SocketAddr, payload: &mut [u8]) {
        if let Some(media) = &mut self.media {
            media.handle_packet(now, socket, source, payload);
        }
    }

    /// The RTP sockets of sessions that are due, to be read before they are served.
    pub(super) fn due_sockets(&self, now: Instant, sockets: &mut Vec<SocketId>) {
        if let Some(media) = &self.media {
            media.due_sockets(now, sockets);
        }
    }

    /// Runs the media set if it is due, and takes what it has to say in any case (packets may have come).
    pub(super) fn media_timeout(&mut self, now: Instant, io: &mut Io) {
        let Some(media) = &mut self.media else { return };
        if media.poll_timeout().is_some_and(|at| at <= now) {
            media.handle_timeout(now);
        }
        self.pump_media(io);
        if !self.answers.is_empty() {
            self.settle(now, io);
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, io: &mut Io) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.call(io, |engine| engine.handle_timeout(now));
            self.settle(now, io);
        }
    }

    /// Gives a session the file or device that was opened for it, or tells the engine that it cannot be had.
    pub(super) fn deliver(&mut self, now: Instant, session: MediaId, delivery: Delivery) {
        match (delivery, &mut self.media) {
            (Delivery::Source(source), Some(media)) => media.attach(now, session, Some(source), None),
            (Delivery::Sink(sink), Some(media)) => media.attach(now, session, None, Some(sink)),
            (Delivery::Event(event), _) => self.answers.push_back(Answer::Media(session, event)),
            (Delivery::Source(_) | Delivery::Sink(_), None) => {}
        }
    }

    fn pump_media(&mut self, io: &mut Io) {
        let Some(media) = &mut self.media else { return };
        while let Some((length, to)) = media.poll_transmit(&mut io.packet) {
            io.send_media(length, to);
        }
        while let Some((session, event)) = media.poll_event() {
            self.answers.push_back(Answer::Media(session, event));
        }
    }

    /// Carries out all outputs and gives all answers, until the engine has nothing more to say.
    pub(super) fn settle(&mut self, now: Instant, io: &mut Io) {
        loop {
            while let Some(output) = self.call(io, |engine| engine.poll_output()) {
                if let Output::Timeout(at) = output {
                    self.deadline = at;
                    break;
                }
                self.carry_out(now, output, io);
            }
            self.pump_media(io);
            let Some(answer) = self.answers.pop_front() else { return };
            self.call(io, |engine| match answer {
                Answer::Resolved(id, answer) => engine.handle_resolved(now, id, answer),
                Answer::LocalAddress(id, answer) => engine.handle_local_address(now, id, answer),
                Answer::Lease(id, answer) => engine.handle_lease(now, id, answer),
                Answer::Media(media, event) => engine.handle_media(now, media, event),
                Answer::Writable(conn) => engine.handle_stream(now, conn, StreamEvent::Writable),
                Answer::Closed(conn) => engine.handle_stream(now, conn, StreamEvent::Closed),
                Answer::Failed(conn, fault) => engine.handle_stream(now, conn, StreamEvent::Failed(fault)),
            });
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output, io: &mut Io) {
        match output {
            Output::Transmit(transmit) => {
                if let Some(answer) = io.transmit(now, self.id, &transmit) {
                    self.answers.push_back(answer);
                }
            }
            Output::Connect { conn, protocol: _, peer, secure } => {
                if let Some(answer) = io.connect(self.id, conn, peer, secure.as_ref()) {
                    self.answers.push_back(answer);
                }
            }
            Output::Close(conn) => {
                if let Some(answer) = io.close(now, self.id, conn) {
                    self.answers.push_back(answer);
                }
            }
            Output::Resolve { id, query } => {
                if let Some(answer) = io.resolver.ask(self.id, id, query) {
                    self.answers.push_back(Answer::Resolved(id, answer));
                }
            }
            Output::LocalAddress { id, peer } => {
                self.answers.push_back(Answer::LocalAddress(id, io.local_address(peer)));
            }
            // One set for each engine: all groups are in it.
            Output::Lease { id, local, group: _ } => {
                let set = self.set();
                self.answers.push_back(Answer::Lease(id, io.lease(self.id, set, local)));
            }
            Output::Release(lease) => io.release(lease),
            Output::Media(media, command) => {
                let epoch = self.epoch;
                let set = SetId(self.id.0);
                let rng = &mut io.rng;
                let sets = self.media.get_or_insert_with(|| MediaSet::new(set, rng.fork(), epoch));
                let deliveries = io.sounds.read(self.id, media, &command);
                sets.handle_command(now, media, command);
                if let Some((socket, when_due)) = sets.reading(media) {
                    io.read_rtp(socket, when_due);
                }
                for delivery in deliveries {
                    self.deliver(now, media, delivery);
                }
            }
            Output::Event(event) => {
                self.stopped |= event == Event::Stopped;
                io.publish(&ClientEvent::Event { engine: self.id, at: now, event });
            }
            Output::Timeout(at) => self.deadline = at,
        }
    }

    fn set(&self) -> SetId {
        SetId(self.id.0)
    }
}
