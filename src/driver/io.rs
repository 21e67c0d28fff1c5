//! Every socket of the loop, by token, and what is done with them.

use super::client::{Delivery, Subscriber};
use super::datagram::{Datagrams, PAUSE, bind_pair, local_address};
use super::host::Answer;
use super::resolver::Resolver;
use super::sound::Sounds;
use super::stream::{Connection, Listener, Progress, Stage, fault};
use super::tls::{Session, Tls};
use super::{ClientEvent, DriverConfig, EngineId, Trace, Traced};
use crate::engine::{FlowVia, Lease, NoLease, NoRoute, Protocol, StreamFault, TlsPolicy, Transmit};
use crate::id::{ConnId, ListenerId, SetId, SocketId};
use crate::media::set::Destination;
use crate::rng::Rng;
use crate::time::{Instant, earliest};
use mio::{Interest, Registry, Token, Waker};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a token stands for.
pub(super) enum Entry {
    Sip { engine: EngineId, socket: Datagrams },
    Rtp { engine: EngineId, socket: Datagrams, reading: Reading },
    Listener(Listener),
    Stream(Connection),
}

/// When an RTP or RTCP socket is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not yet: its session is not open.
    Closed,
    /// When something comes.
    AtOnce,
    /// When its session is due: what comes wakes nobody.
    WhenDue,
}

/// What has gone wrong without ending anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) receive_errors: u64,
    pub(super) send_errors: u64,
    pub(super) accept_pauses: u64,
}

/// An accepted connection: its handle, our end, their end.
type Accepted = (ConnId, SocketAddr, SocketAddr);

/// Sockets, helpers and clients of the loop.
pub(super) struct Io {
    pub(super) config: DriverConfig,
    registry: Registry,
    /// By token; a token is also the number of its [`SocketId`] or [`ListenerId`], and is never used again.
    pub(super) entries: HashMap<usize, Entry>,
    next_token: usize,
    connections: BTreeMap<(EngineId, ConnId), usize>,
    next_conn: u32,
    pub(super) writable: Vec<usize>,
    /// Listeners and closing connections that are looked at again at a certain time.
    timed: BTreeMap<usize, Instant>,
    port_turn: u32,
    pub(super) resolver: Resolver,
    pub(super) tls: Tls,
    pub(super) sounds: Sounds,
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) trace: Option<Trace>,
    pub(super) counters: Counters,
    pub(super) rng: Rng,
    /// An RTP packet on its way out.
    pub(super) packet: [u8; 1500],
}

impl Io {
    pub(super) fn new(config: DriverConfig, registry: Registry, waker: Arc<Waker>, mut rng: Rng) -> Self {
        Self {
            config,
            registry,
            entries: HashMap::new(),
            next_token: 2, // after the waker and the alarm
            connections: BTreeMap::new(),
            next_conn: 0,
            writable: Vec::new(),
            timed: BTreeMap::new(),
            port_turn: rng.u32() >> 1,
            resolver: Resolver::new(waker.clone()),
            tls: Tls::new(),
            sounds: Sounds::new(waker),
            subscribers: Vec::new(),
            trace: None,
            counters: Counters::default(),
            rng,
            packet: [0; 1500],
        }
    }

    pub(super) fn fresh_token(&mut self) -> usize {
        self.next_token += 1;
        self.next_token - 1
    }

    pub(super) fn insert(&mut self, token: usize, mut entry: Entry) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut entry {
            Entry::Rtp { reading: Reading::Closed | Reading::WhenDue, .. } => {}
            Entry::Sip { socket, .. } | Entry::Rtp { socket, reading: Reading::AtOnce, .. } => {
                self.registry.register(socket.source(), Token(token), Interest::READABLE)?;
            }
            Entry::Listener(listener) => {
                self.registry.register(&mut listener.socket, Token(token), Interest::READABLE)?;
            }
            Entry::Stream(connection) => {
                self.registry.register(&mut connection.stream, Token(token), both)?;
                self.connections.insert((connection.engine, connection.id), token);
            }
        }
        self.entries.insert(token, entry);
        Ok(())
    }

    /// Closes what a token stands for.
    pub(super) fn remove(&mut self, token: usize) {
        self.timed.remove(&token);
        if let Some(Entry::Stream(connection)) = self.entries.remove(&token) {
            self.connections.remove(&(connection.engine, connection.id));
        }
    }

    /// Hands an event to every client.
    pub(super) fn publish(&mut self, event: &ClientEvent) {
        self.subscribers.retain_mut(|subscriber| subscriber.deliver(event.clone()) == Delivery::Done);
    }

    /// Hands an event to one client.
    pub(super) fn tell(&mut self, client: u64, event: ClientEvent) {
        let Some(place) = self.subscribers.iter().position(|subscriber| subscriber.id == client) else { return };
        if self.subscribers.get_mut(place).is_some_and(|subscriber| subscriber.deliver(event) == Delivery::Gone) {
            self.subscribers.swap_remove(place);
        }
    }

    /// Hands over the events of this turn.
    pub(super) fn flush_events(&mut self) {
        self.subscribers.retain_mut(|subscriber| subscriber.flush() == Delivery::Done);
    }

    /// Ends the event channels, so that clients read the end.
    pub(super) fn say_goodbye(&mut self) {
        self.subscribers.clear();
    }

    pub(super) fn show(
        &mut self,
        at: Instant,
        engine: EngineId,
        sent: bool,
        protocol: Protocol,
        (local, peer): (SocketAddr, SocketAddr),
        bytes: &[u8],
    ) {
        if let Some(trace) = &mut self.trace {
            trace(Traced { at, engine, sent, protocol, local, peer, bytes });
        }
    }

    pub(super) fn transmit(&mut self, now: Instant, engine: EngineId, transmit: &Transmit) -> Option<Answer> {
        let flow = &transmit.flow;
        self.show(now, engine, true, flow.protocol, (flow.local, flow.peer), &transmit.bytes);
        match flow.via {
            FlowVia::Socket(SocketId(number)) => {
                let Some(Entry::Sip { engine: owner, socket }) = self.entries.get(&(number as usize)) else {
                    return None;
                };
                // A full or failing socket drops: the transaction repeats it, or times out.
                if *owner != engine || socket.send(&transmit.bytes, Some(flow.local.ip()), flow.peer).is_err() {
                    self.counters.send_errors += 1;
                }
                None
            }
            FlowVia::Conn(conn) => {
                let token = *self.connections.get(&(engine, conn))?;
                let Some(Entry::Stream(connection)) = self.entries.get_mut(&token) else { return None };
                match connection.send(&transmit.bytes) {
                    // Written at once: the engine was never told to wait.
                    Progress::Nothing | Progress::Reached | Progress::Connected(_) | Progress::Over => None,
                    Progress::Drained => Some(Answer::Writable(conn)),
                    Progress::Failed(fault) => {
                        self.remove(token);
                        Some(Answer::Failed(conn, fault))
                    }
                }
            }
        }
    }

    pub(super) fn connect(
        &mut self,
        engine: EngineId,
        conn: ConnId,
        peer: SocketAddr,
        secure: Option<&TlsPolicy>,
    ) -> Option<Answer> {
        if self.connections.contains_key(&(engine, conn)) {
            return None;
        }
        let token = self.fresh_token();
        let from = self.config.interface;
        let session = match secure.map(|policy| self.tls.client(policy)).transpose() {
            Ok(session) => session,
            Err(fault) => return Some(Answer::Failed(conn, StreamFault::Tls(fault))),
        };
        let opened = Connection::open(engine, conn, peer, from, self.config.sip_dscp, session);
        match opened.and_then(|connection| self.insert(token, Entry::Stream(connection))) {
            Ok(()) => None,
            Err(error) => Some(Answer::Failed(conn, fault(&error))),
        }
    }

    pub(super) fn close(&mut self, now: Instant, engine: EngineId, conn: ConnId) -> Option<Answer> {
        let token = *self.connections.get(&(engine, conn))?;
        let Some(Entry::Stream(connection)) = self.entries.get_mut(&token) else { return None };
        match connection.close(now) {
            Progress::Nothing | Progress::Reached | Progress::Connected(_) | Progress::Drained => {
                if let Stage::Closing(until) = connection.stage {
                    self.timed.insert(token, until);
                }
                None
            }
            Progress::Over => {
                self.remove(token);
                Some(Answer::Closed(conn))
            }
            Progress::Failed(fault) => {
                self.remove(token);
                Some(Answer::Failed(conn, fault))
            }
        }
    }

    /// Takes one connection. `None`: nothing more to take now; an inner `None`: this one was gone already.
    pub(super) fn accept(&mut self, now: Instant, token: usize) -> Option<(EngineId, ListenerId, Option<Accepted>)> {
        let Some(Entry::Listener(listener)) = self.entries.get_mut(&token) else { return None };
        if listener.paused.is_some_and(|until| until > now) {
            return None;
        }
        listener.paused = None;
        let (engine, id, tls) = (listener.engine, listener.id, listener.tls.clone());
        match listener.socket.accept() {
            Ok((stream, peer)) => {
                let slot = ConnId::ACCEPTED | self.next_conn;
                self.next_conn = self.next_conn.wrapping_add(1);
                let conn = ConnId { slot, generation: self.next_conn };
                let token = self.fresh_token();
                let session = tls.map(|config| Session::server(config).ok_or(ErrorKind::Other));
                let session = session.transpose().map_err(io::Error::from);
                let accepted = session.and_then(|session| Connection::accepted(engine, conn, stream, peer, session));
                let connection = accepted.and_then(|connection| {
                    let local = connection.local;
                    self.insert(token, Entry::Stream(connection))?;
                    Ok((conn, local, peer))
                });
                Some((engine, id, connection.ok()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) if super::stream::out_of_descriptors(&error) => {
                // The event is spent and nothing would bring it back: look again soon (threats G1).
                self.counters.accept_pauses += 1;
                listener.paused = Some(now + PAUSE);
                self.timed.insert(token, now + PAUSE);
                None
            }
            // The peer went away between its SYN and now.
            Err(_) => Some((engine, id, None)),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timed.values().fold(None, |first, at| earliest(first, Some(*at)))
    }

    /// Ends connections that did not close in time, and returns listeners that may accept again.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<usize> {
        let due: Vec<usize> = self.timed.iter().filter(|(_, at)| **at <= now).map(|(token, _)| *token).collect();
        for token in &due {
            self.timed.remove(token);
            if let Some(Entry::Stream(_)) = self.entries.get(token) {
                self.remove(*token);
            }
        }
        due
    }

    pub(super) fn local_address(&self, peer: SocketAddr) -> Result<IpAddr, NoRoute> {
        match self.config.interface {
            Some(ip) if ip.is_ipv4() == peer.is_ipv4() && !peer.ip().is_loopback() => Ok(ip),
            Some(_) | None => local_address(peer).map_err(|_| NoRoute),
        }
    }

    /// Binds an RTP/RTCP pair for the media set `set` of `engine`.
    pub(super) fn lease(&mut self, engine: EngineId, set: SetId, local: IpAddr) -> Result<Lease, NoLease> {
        let ports = (*self.config.rtp_ports.start(), *self.config.rtp_ports.end());
        let (rtp, rtcp) = bind_pair(local, ports, &mut self.port_turn).ok_or(NoLease)?;
        let (rtp_addr, rtcp_addr) = (rtp.local(), rtcp.local());
        let mut keep = |socket, reading| {
            let token = self.fresh_token();
            self.insert(token, Entry::Rtp { engine, socket, reading }).map_err(|_| NoLease)?;
            Ok(SocketId(u32::try_from(token).unwrap_or(u32::MAX)))
        };
        let rtp = keep(rtp, Reading::Closed)?;
        let rtcp = keep(rtcp, Reading::AtOnce).inspect_err(|NoLease| drop(self.entries.remove(&(rtp.0 as usize))))?;
        Ok(Lease { set, rtp, rtcp, rtp_addr, rtcp_addr })
    }

    pub(super) fn release(&mut self, lease: Lease) {
        for SocketId(number) in [lease.rtp, lease.rtcp] {
            let token = number as usize;
            if matches!(self.entries.get(&token), Some(Entry::Rtp { .. })) {
                self.remove(token);
            }
        }
    }

    /// Begins to read an RTP socket, or changes when that is done. What came before its session was open is thrown away.
    pub(super) fn read_rtp(&mut self, SocketId(number): SocketId, when_due: bool) {
        let token = number as usize;
        let wanted = if when_due { Reading::WhenDue } else { Reading::AtOnce };
        let Some(Entry::Rtp { socket, reading, .. }) = self.entries.get_mut(&token) else { return };
        if *reading == wanted {
            return;
        }
        if *reading == Reading::Closed {
            socket.drain();
        }
        let changed = match (*reading, wanted) {
            (_, Reading::AtOnce) => self.registry.register(socket.source(), Token(token), Interest::READABLE),
            (Reading::AtOnce, _) => self.registry.deregister(socket.source()),
            (Reading::Closed | Reading::WhenDue, _) => Ok(()),
        };
        if changed.is_ok() {
            *reading = wanted;
        }
    }

    /// Sends the first `length` bytes of the packet buffer. What does not go at once is dropped: late sound is worthless.
    pub(super) fn send_media(&mut self, length: usize, to: Destination) {
        let Some(bytes) = self.packet.get(..length) else { return };
        let Some(Entry::Rtp { socket, .. }) = self.entries.get_mut(&(to.socket.0 as usize)) else { return };
        socket.mark(to.dscp);
        if socket.send(bytes, None, to.to).is_err() {
            self.counters.send_errors += 1;
        }
    }
}
