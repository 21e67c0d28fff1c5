//! The loop itself: dispatch what is ready to the engines, and carry out what they want.

use super::client::{Client, Commander, Delivery, Ear, Request, Subscriber};
use super::clock::{Alarm, Clock};
use super::datagram::{DATAGRAM, Datagrams, FAIR};
use super::host::Host;
use super::io::{Entry, Io, Reading};
use super::network::Network;
use super::stream::{Listener, Progress, Received, Stage};
use super::{Bind, Bound, ClientEvent, Driver, DriverConfig, DriverError, EngineId, Trace};
use crate::api::{Command, CommandError, Reply};
use crate::engine::{BoundListener, BoundSocket, Engine, Protocol, StreamEvent};
use crate::id::{ListenerId, SocketId};
use crate::rng::Rng;
use crate::time::{Epoch, Instant, earliest};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

const WAKER: Token = Token(0);
const ALARM: Token = Token(1);
const NETWORK: Token = Token(usize::MAX);
/// Panics of one engine before the driver gives up on it.
const FAULTS: u32 = 100;

/// What a [`Driver`] consists of.
pub(super) struct Loop {
    poll: Poll,
    events: Events,
    clock: Clock,
    alarm: Alarm,
    waker: Arc<Waker>,
    requests: (SyncSender<Request>, Receiver<Request>),
    next_client: u64,
    hosts: Vec<Host>,
    io: Io,
    network: Network,
    /// Sockets with more to read than their share of the last turn.
    ready: Vec<usize>,
    buffer: Vec<u8>,
    /// RTP sockets whose sessions are due; kept for its memory only.
    due: Vec<SocketId>,
    shut_down: bool,
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> DriverError {
    move |source| DriverError::System { what, source }
}

impl Loop {
    pub(super) fn new(config: DriverConfig) -> Result<Self, DriverError> {
        let poll = Poll::new().map_err(system("the system gives no epoll"))?;
        let clock = Clock::new().map_err(system("the system has no boot clock"))?;
        let alarm = Alarm::new().map_err(system("the system gives no timerfd"))?;
        let registry = poll.registry().try_clone().map_err(system("the system gives no epoll"))?;
        registry
            .register(&mut SourceFd(&alarm.fd()), ALARM, Interest::READABLE)
            .map_err(system("the timer cannot be watched"))?;
        let waker = Arc::new(Waker::new(&registry, WAKER).map_err(system("the system gives no eventfd"))?);
        let rng = Rng::new(Driver::seed()?);
        let network = Network::new(&registry, NETWORK);
        Ok(Self {
            network,
            poll,
            events: Events::with_capacity(256),
            clock,
            alarm,
            requests: sync_channel(super::client::COMMANDS),
            next_client: 0,
            hosts: Vec::new(),
            io: Io::new(config, registry, waker.clone(), rng),
            waker,
            ready: Vec::new(),
            buffer: vec![0; DATAGRAM],
            due: Vec::new(),
            shut_down: false,
        })
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.clock.epoch()
    }

    #[cfg(test)]
    pub(super) fn io_mut(&mut self) -> &mut Io {
        &mut self.io
    }

    pub(super) fn tls_mut(&mut self) -> &mut super::tls::Tls {
        &mut self.io.tls
    }

    pub(super) fn engine_count(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn set_trace(&mut self, trace: Trace) {
        self.io.trace = Some(trace);
    }

    pub(super) fn bind(&mut self, wanted: &[Bind]) -> Result<Bound, DriverError> {
        // The engine to come; add_engine takes them over.
        let engine = EngineId(u16::try_from(self.hosts.len()).unwrap_or(u16::MAX));
        let mut bound = Bound::default();
        for &Bind { protocol, addr } in wanted {
            let failed = |source| DriverError::Bind { protocol, addr, source };
            let token = self.io.fresh_token();
            let number = u32::try_from(token).unwrap_or(u32::MAX);
            let entry = match protocol {
                Protocol::Udp => {
                    let mut socket = Datagrams::bind(addr).map_err(failed)?;
                    socket.mark(self.io.config.sip_dscp);
                    socket.widen();
                    bound.sockets.push(BoundSocket { socket: SocketId(number), local: socket.local() });
                    Entry::Sip { engine, socket }
                }
                Protocol::Tcp | Protocol::Tls => {
                    // Any port: rather the one that the datagram socket got, so that one number reaches us both ways.
                    let mut same = bound.sockets.iter().map(|bound| bound.local);
                    let same = same.rfind(|local| !protocol.is_secure() && addr.port() == 0 && local.ip() == addr.ip());
                    let (id, dscp) = (ListenerId(number), self.io.config.sip_dscp);
                    let mut listener = match same.map(|addr| Listener::bind(engine, id, addr, dscp)) {
                        Some(Ok(listener)) => listener,
                        Some(Err(_)) | None => Listener::bind(engine, id, addr, dscp).map_err(failed)?,
                    };
                    if protocol.is_secure() {
                        let none = || failed(std::io::Error::other("there is no certificate to show"));
                        listener.tls = Some(self.io.tls.server().ok_or_else(none)?);
                    }
                    let local = listener.socket.local_addr().map_err(failed)?;
                    bound.listeners.push(BoundListener { listener: listener.id, protocol, local });
                    Entry::Listener(listener)
                }
            };
            self.io.insert(token, entry).map_err(failed)?;
        }
        Ok(bound)
    }

    pub(super) fn add_engine(&mut self, engine: Box<dyn Engine + Send>, bound: &Bound) -> EngineId {
        let id = EngineId(u16::try_from(self.hosts.len()).unwrap_or(u16::MAX));
        let sockets = bound.sockets.iter().map(|bound| bound.socket.0);
        for number in sockets.chain(bound.listeners.iter().map(|bound| bound.listener.0)) {
            match self.io.entries.get_mut(&(number as usize)) {
                Some(Entry::Sip { engine, .. }) => *engine = id,
                Some(Entry::Listener(listener)) => listener.engine = id,
                Some(Entry::Rtp { .. } | Entry::Stream(_)) | None => {}
            }
        }
        self.hosts.push(Host::new(id, engine, self.clock.epoch()));
        id
    }

    pub(super) fn client(&mut self) -> Client {
        let (sender, events) = Client::channel();
        Client::new(self.client_with(Box::new(sender)), events)
    }

    pub(super) fn client_with(&mut self, ear: Box<dyn Ear>) -> Commander {
        self.next_client += 1;
        self.io.subscribers.push(Subscriber::new(self.next_client, ear));
        Commander::new(self.next_client, self.requests.0.clone(), self.waker.clone())
    }

    pub(super) fn command(&mut self, engine: EngineId, command: Command) -> Result<Reply, CommandError> {
        let now = self.clock.now();
        let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return Err(CommandError::NotSupported) };
        let reply = host.call(&mut self.io, |engine| engine.handle_command(now, command));
        host.settle(now, &mut self.io);
        self.io.flush_events();
        reply.unwrap_or(Err(CommandError::NotSupported))
    }

    pub(super) fn turn(&mut self) -> Result<bool, DriverError> {
        // Clients must not wait for a loop that does not go on.
        self.step().inspect_err(|_| self.io.say_goodbye())
    }

    fn step(&mut self) -> Result<bool, DriverError> {
        let now = self.clock.now();
        self.settle(now)?;
        if self.shut_down || (!self.hosts.is_empty() && self.hosts.iter().all(Host::is_stopped)) {
            self.io.say_goodbye();
            return Ok(false);
        }
        self.wait()?;
        let now = self.clock.now();
        self.dispatch(now);
        self.io.flush_events();
        Ok(true)
    }

    /// Carries out all that the engines and media sets want.
    fn settle(&mut self, now: Instant) -> Result<(), DriverError> {
        for host in &mut self.hosts {
            host.settle(now, &mut self.io);
            if host.faults() > FAULTS {
                return Err(DriverError::Engine(host.id()));
            }
        }
        self.io.flush_events();
        self.serve_lagging(now);
        Ok(())
    }

    fn serve_lagging(&mut self, now: Instant) {
        if !self.io.subscribers.iter().any(Subscriber::is_lagging) {
            return;
        }
        let hosts = &mut self.hosts;
        let snapshot = |host: &mut Host| Some((host.id(), host.snapshot(now)?));
        let snapshots: Vec<_> = hosts.iter_mut().filter_map(snapshot).collect();
        self.io.subscribers.retain_mut(|subscriber| {
            !subscriber.is_lagging() || subscriber.catch_up(snapshots.iter().cloned()) == Delivery::Done
        });
    }

    fn wait(&mut self) -> Result<(), DriverError> {
        let own = earliest(self.io.deadline(), self.network.deadline());
        let deadline = self.hosts.iter().fold(own, |at, host| earliest(at, host.deadline()));
        self.alarm.set(&self.clock, deadline).map_err(system("the timer cannot be set"))?;
        let patience = if self.ready.is_empty() { None } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, patience) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            Err(error) => Err(system("waiting for events failed")(error)),
        }
    }

    /// Media first, then SIP, then what clients and helpers have sent.
    fn dispatch(&mut self, now: Instant) {
        let mut woken = false;
        let mut ready = std::mem::take(&mut self.ready);
        for event in &self.events {
            match event.token() {
                WAKER => woken = true,
                ALARM => self.alarm.fired(),
                NETWORK => self.network.handle_ready(now),
                Token(token) => {
                    let flags =
                        (event.is_readable() || event.is_read_closed() || event.is_error(), event.is_writable());
                    match self.io.entries.get_mut(&token) {
                        Some(Entry::Stream(_)) if flags.1 => self.io.writable.push(token),
                        Some(Entry::Stream(_) | Entry::Sip { .. } | Entry::Rtp { .. } | Entry::Listener(_)) | None => {}
                    }
                    if flags.0 && !ready.contains(&token) {
                        ready.push(token);
                    }
                }
            }
        }
        for &token in &ready {
            if matches!(self.io.entries.get(&token), Some(Entry::Rtp { .. })) {
                self.read_media(now, token);
            }
        }
        self.read_due(now);
        for host in &mut self.hosts {
            host.media_timeout(now, &mut self.io);
        }
        for token in std::mem::take(&mut self.io.writable) {
            self.write_stream(now, token);
        }
        for token in ready {
            match self.io.entries.get(&token) {
                Some(Entry::Sip { .. }) => self.read_sip(now, token),
                Some(Entry::Stream(_)) => self.read_stream(now, token),
                Some(Entry::Listener(_)) => self.accept(now, token),
                Some(Entry::Rtp { .. }) | None => {}
            }
        }
        if woken {
            self.serve_requests();
            self.serve_helpers(now);
        }
        for token in self.io.expire(now) {
            self.accept(now, token);
        }
        if let Some(change) = self.network.poll(now) {
            for host in &mut self.hosts {
                host.call(&mut self.io, |engine| engine.handle_network_change(now, &change));
                host.settle(now, &mut self.io);
            }
        }
        for host in &mut self.hosts {
            host.timeout(now, &mut self.io);
        }
    }

    fn read_media(&mut self, now: Instant, token: usize) {
        for _ in 0..FAIR {
            let Some(Entry::Rtp { engine, socket, .. }) = self.io.entries.get_mut(&token) else { return };
            let received = socket.receive(&mut self.buffer);
            let engine = *engine;
            match received {
                Ok((length, source, _)) => {
                    let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return };
                    let id = SocketId(u32::try_from(token).unwrap_or(u32::MAX));
                    host.packet(now, id, source, &mut self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // ICMP errors of earlier datagrams: there may be more to read.
                Err(_) => self.io.counters.receive_errors += 1,
            }
        }
        self.ready.push(token);
    }

    /// Reads the RTP sockets of the sessions that are due: nobody was woken for what they hold.
    fn read_due(&mut self, now: Instant) {
        for host in &mut self.hosts {
            host.due_sockets(now, &mut self.due);
            for id in self.due.drain(..) {
                let Some(Entry::Rtp { socket, reading: Reading::WhenDue, .. }) =
                    self.io.entries.get_mut(&(id.0 as usize))
                else {
                    continue;
                };
                for _ in 0..FAIR {
                    match socket.receive_stamped(&mut self.buffer) {
                        Ok((length, source, arrived)) => {
                            let arrived = now - arrived.map_or(Duration::ZERO, Clock::age);
                            host.packet(arrived, id, source, &mut self.buffer[..length]);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        // ICMP errors of earlier datagrams: there may be more to read.
                        Err(_) => self.io.counters.receive_errors += 1,
                    }
                }
            }
        }
    }

    fn read_sip(&mut self, now: Instant, token: usize) {
        for _ in 0..FAIR {
            let Some(Entry::Sip { engine, socket }) = self.io.entries.get_mut(&token) else { return };
            let received = socket.receive(&mut self.buffer);
            let engine = *engine;
            match received {
                Ok((length, source, local)) => {
                    let bytes = &self.buffer[..length];
                    self.io.show(now, engine, false, Protocol::Udp, (local, source), bytes);
                    let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return };
                    let id = SocketId(u32::try_from(token).unwrap_or(u32::MAX));
                    host.call(&mut self.io, |engine| engine.handle_datagram(now, id, local, source, bytes));
                    host.settle(now, &mut self.io);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.io.counters.receive_errors += 1,
            }
        }
        self.ready.push(token);
    }

    fn read_stream(&mut self, now: Instant, token: usize) {
        for _ in 0..FAIR {
            let Some(Entry::Stream(connection)) = self.io.entries.get_mut(&token) else { return };
            if connection.stage == Stage::Connecting {
                return; // writable tells what became of it
            }
            let (engine, id) = (connection.engine, connection.id);
            let closing = matches!(connection.stage, Stage::Closing(_));
            let (local, peer) = (connection.local, connection.peer);
            let protocol = connection.protocol();
            let event = match connection.receive(&mut self.buffer) {
                Received::Nothing => return,
                Received::Data(_) if closing => continue, // nobody listens any more
                Received::Data(length) => {
                    let bytes = &self.buffer[..length];
                    self.io.show(now, engine, false, protocol, (local, peer), bytes);
                    StreamEvent::Data(bytes)
                }
                Received::Connected(local, tls) => StreamEvent::Connected { local, tls: Some(tls) },
                Received::Closed => StreamEvent::Closed,
                Received::Failed(fault) => StreamEvent::Failed(fault),
                Received::Untrusted(fault, certificate) => StreamEvent::Untrusted { fault, certificate },
            };
            let over = !matches!(event, StreamEvent::Data(_) | StreamEvent::Connected { .. });
            if over {
                self.io.remove(token);
            }
            let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return };
            host.call(&mut self.io, |engine| engine.handle_stream(now, id, event));
            host.settle(now, &mut self.io);
            if over {
                return;
            }
        }
        self.ready.push(token);
    }

    fn write_stream(&mut self, now: Instant, token: usize) {
        let Some(Entry::Stream(connection)) = self.io.entries.get_mut(&token) else { return };
        let (engine, id) = (connection.engine, connection.id);
        let event = match connection.writable() {
            Progress::Nothing => return,
            Progress::Reached => {
                self.ready.push(token);
                StreamEvent::Handshaking
            }
            Progress::Connected(local) => {
                // What came together with the handshake has no event of its own any more.
                self.ready.push(token);
                StreamEvent::Connected { local, tls: None }
            }
            Progress::Drained => StreamEvent::Writable,
            Progress::Over => {
                self.io.remove(token);
                StreamEvent::Closed
            }
            Progress::Failed(fault) => {
                self.io.remove(token);
                StreamEvent::Failed(fault)
            }
        };
        let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return };
        host.call(&mut self.io, |engine| engine.handle_stream(now, id, event));
        host.settle(now, &mut self.io);
    }

    fn accept(&mut self, now: Instant, token: usize) {
        for _ in 0..FAIR {
            let Some((engine, listener, accepted)) = self.io.accept(now, token) else { return };
            let Some((id, local, peer)) = accepted else { continue };
            let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { return };
            host.call(&mut self.io, |engine| {
                engine.handle_stream(now, id, StreamEvent::Accepted { listener, local, peer });
            });
            host.settle(now, &mut self.io);
        }
        self.ready.push(token);
    }

    fn serve_requests(&mut self) {
        // The channel is bounded, but clients may refill it meanwhile.
        for _ in 0..super::client::COMMANDS {
            let Ok(request) = self.requests.1.try_recv() else { return };
            match request {
                Request::ShutDown => self.shut_down = true,
                Request::Command { client, ticket, engine, command } => {
                    let result = self.command(engine, command);
                    self.io.tell(client, ClientEvent::Reply { ticket, result });
                }
            }
        }
        // Once more, with the sockets in between; a failed wake means that nobody waits.
        let _ = self.waker.wake();
    }

    fn serve_helpers(&mut self, now: Instant) {
        while let Some((engine, id, answer)) = self.io.resolver.next() {
            let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { continue };
            host.call(&mut self.io, |engine| engine.handle_resolved(now, id, answer));
            host.settle(now, &mut self.io);
        }
        while let Some((engine, media, delivery)) = self.io.sounds.next() {
            let Some(host) = self.hosts.get_mut(usize::from(engine.0)) else { continue };
            host.deliver(now, media, delivery);
            host.settle(now, &mut self.io);
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Sessions first: with them go their ends of the recordings.
        self.hosts.clear();
        self.io.sounds.finish();
    }
}
