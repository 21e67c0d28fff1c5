//! Stream connections: connect, accept, read, and write through a bounded queue.

use super::EngineId;
use super::tls::{Broken, Session};
use crate::engine::{PeerCertificate, Protocol, StreamFault, TlsFault, TlsInfo};
use crate::id::{ConnId, ListenerId};
use crate::time::{Duration, Instant};
use mio::net::{TcpListener, TcpStream};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Bytes that wait for a peer that does not read; more close the connection.
pub(super) const WRITE_CAP: usize = 256 * 1024;
/// How long a connection that is to be closed may still write what is queued.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// A bound listener.
pub(super) struct Listener {
    pub(super) engine: EngineId,
    pub(super) id: ListenerId,
    pub(super) socket: TcpListener,
    /// What a secure one shows.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Accepting failed (no descriptors left): try again then.
    pub(super) paused: Option<Instant>,
}

impl Listener {
    /// Binds; what is accepted inherits the mark.
    pub(super) fn bind(engine: EngineId, id: ListenerId, addr: SocketAddr, dscp: u8) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_reuse_address(true)?; // a port of connections in TIME_WAIT can be bound again
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        mark(&socket, addr, dscp);
        socket.bind(&addr.into())?;
        socket.listen(128)?;
        Ok(Self { engine, id, socket: TcpListener::from_std(socket.into()), tls: None, paused: None })
    }
}

/// Marks what a socket sends; a system that refuses sends unmarked.
fn mark(socket: &Socket, addr: SocketAddr, dscp: u8) {
    let class = u32::from(dscp) << 2;
    let _ = if addr.is_ipv4() { socket.set_tos_v4(class) } else { socket.set_tclass_v6(class) };
}

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    /// The far end is reached and the TLS handshake runs.
    Handshaking,
    Open,
    /// The core has closed it; what is queued is still written, until then.
    Closing(Instant),
}

/// What a connection has done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Nothing,
    /// The far end is reached, its TLS handshake has begun.
    Reached,
    Connected(SocketAddr),
    /// The queue has run empty.
    Drained,
    /// It is over: forget it.
    Over,
    Failed(StreamFault),
}

/// What reading has given.
pub(super) enum Received {
    /// Nothing more for now.
    Nothing,
    /// So many bytes.
    Data(usize),
    /// The handshake is done.
    Connected(SocketAddr, TlsInfo),
    /// The peer has closed its side.
    Closed,
    Failed(StreamFault),
    Untrusted(TlsFault, Option<Box<PeerCertificate>>),
}

/// One stream connection.
pub(super) struct Connection {
    pub(super) engine: EngineId,
    pub(super) id: ConnId,
    pub(super) stream: TcpStream,
    pub(super) stage: Stage,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    tls: Option<Box<Session>>,
    queue: Vec<u8>,
    written: usize,
}

impl Connection {
    /// Begins to connect, from `from` where that is given (but loopback is only reached from itself).
    pub(super) fn open(
        engine: EngineId,
        id: ConnId,
        peer: SocketAddr,
        from: Option<IpAddr>,
        dscp: u8,
        tls: Option<Session>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking().cloexec(), None)?;
        mark(&socket, peer, dscp);
        if let Some(ip) = from.filter(|ip| ip.is_ipv4() == peer.is_ipv4() && !peer.ip().is_loopback()) {
            socket.bind(&SocketAddr::new(ip, 0).into())?;
        }
        match socket.connect(&peer.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let stream = TcpStream::from_std(socket.into());
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().unwrap_or(peer);
        let tls = tls.map(Box::new);
        Ok(Self { engine, id, stream, stage: Stage::Connecting, local, peer, tls, queue: Vec::new(), written: 0 })
    }

    /// A connection that a listener has accepted.
    pub(super) fn accepted(
        engine: EngineId,
        id: ConnId,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Session>,
    ) -> io::Result<Self> {
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr()?;
        let stage = if tls.is_some() { Stage::Handshaking } else { Stage::Open };
        let tls = tls.map(Box::new);
        Ok(Self { engine, id, stream, stage, local, peer, tls, queue: Vec::new(), written: 0 })
    }

    /// How it travels, for the trace.
    pub(super) fn protocol(&self) -> Protocol {
        if self.tls.is_some() { Protocol::Tls } else { Protocol::Tcp }
    }

    /// Queues bytes and writes what goes.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Progress {
        if matches!(self.stage, Stage::Closing(_)) {
            return Progress::Nothing;
        }
        if self.queue.len() - self.written + bytes.len() > WRITE_CAP {
            return Progress::Failed(StreamFault::Overflow);
        }
        if self.written > 0 {
            self.queue.drain(..self.written);
            self.written = 0;
        }
        match &mut self.tls {
            Some(tls) => tls.seal(bytes, &mut self.queue),
            None => self.queue.extend_from_slice(bytes),
        }
        match self.stage {
            Stage::Connecting | Stage::Handshaking | Stage::Closing(_) => Progress::Nothing,
            Stage::Open => self.write(),
        }
    }

    /// The core wants it closed.
    pub(super) fn close(&mut self, now: Instant) -> Progress {
        if self.stage == Stage::Open && self.say_goodbye() {
            return Progress::Over;
        }
        match self.stage {
            Stage::Closing(_) => Progress::Nothing,
            Stage::Open if self.written < self.queue.len() => {
                self.stage = Stage::Closing(now + LINGER);
                Progress::Nothing
            }
            Stage::Connecting | Stage::Handshaking | Stage::Open => Progress::Over,
        }
    }

    /// The goodbye of TLS goes after all that is queued; true when the connection is gone already.
    fn say_goodbye(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        tls.close(&mut self.queue);
        matches!(self.write(), Progress::Failed(_))
    }

    /// The socket says that it can be written to.
    pub(super) fn writable(&mut self) -> Progress {
        if self.stage == Stage::Connecting {
            match self.stream.take_error() {
                Ok(Some(error)) | Err(error) => return Progress::Failed(fault(&error)),
                Ok(None) => {}
            }
            match self.stream.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotConnected => return Progress::Nothing,
                Err(error) => return Progress::Failed(fault(&error)),
            }
            self.local = self.stream.local_addr().unwrap_or(self.local);
            let progress = match &mut self.tls {
                Some(tls) => {
                    self.stage = Stage::Handshaking;
                    tls.drain(&mut self.queue);
                    Progress::Reached
                }
                None => {
                    self.stage = Stage::Open;
                    Progress::Connected(self.local)
                }
            };
            return match self.write() {
                Progress::Nothing | Progress::Drained => progress,
                ended @ (Progress::Reached | Progress::Connected(_) | Progress::Over | Progress::Failed(_)) => ended,
            };
        }
        self.write()
    }

    fn write(&mut self) -> Progress {
        let waiting = self.written < self.queue.len();
        while let Some(rest) = self.queue.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Progress::Failed(StreamFault::Reset),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Nothing,
                Err(error) => return Progress::Failed(fault(&error)),
            }
        }
        self.queue.clear();
        self.queue.shrink_to(4096);
        self.written = 0;
        match self.stage {
            Stage::Closing(_) => Progress::Over,
            Stage::Open if waiting => Progress::Drained,
            Stage::Connecting | Stage::Handshaking | Stage::Open => Progress::Nothing,
        }
    }

    /// Reads once.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Received {
        if self.tls.is_some() {
            return self.receive_sealed(buffer);
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Received::Closed,
                Ok(length) => return Received::Data(length),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Received::Failed(fault(&error)),
            }
        }
    }

    /// Reads until there is plain text, the handshake is done, or nothing more comes.
    fn receive_sealed(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            let Some(tls) = &mut self.tls else { return Received::Nothing };
            if self.stage != Stage::Handshaking {
                match tls.open(buffer) {
                    Ok(0) => return Received::Closed,
                    Ok(length) => return Received::Data(length),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return Received::Closed, // without a goodbye; SIP messages tell where they end
                }
            }
            match tls.feed(&mut self.stream) {
                Ok(0) if self.stage == Stage::Handshaking => return Received::Untrusted(TlsFault::Closed, None),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if self.stage == Stage::Handshaking => return Received::Untrusted(TlsFault::Closed, None),
                Err(error) => return Received::Failed(fault(&error)),
            }
            let broken = tls.process().err();
            tls.drain(&mut self.queue);
            let (done, info) = (!tls.is_handshaking(), tls.info());
            let written = self.write();
            if let Some(Broken { fault, certificate }) = broken {
                return Received::Untrusted(fault, certificate);
            }
            if let Progress::Failed(fault) = written {
                return Received::Failed(fault);
            }
            if done && self.stage == Stage::Handshaking {
                self.stage = Stage::Open;
                return Received::Connected(self.local, info);
            }
        }
    }
}

/// What a failed system call means for the connection.
#[expect(clippy::wildcard_enum_match_arm, reason = "the system has errors without end")]
pub(super) fn fault(error: &io::Error) -> StreamFault {
    let kind = error.kind();
    match kind {
        ErrorKind::ConnectionRefused => StreamFault::Refused,
        ErrorKind::TimedOut => StreamFault::Timeout,
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied => StreamFault::Unreachable,
        _ => StreamFault::Reset,
    }
}

/// True when the system (or this process) has no descriptor left.
pub(super) fn out_of_descriptors(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}
