//! The mio loop around the engines: sockets, clock, resolver, writer thread.
//!
//! ```text
//!   Client ──Command──▶ ┌────────────── Driver ──────────────┐ ──▶ sockets, timer, resolver, devices
//!          ◀──Event──── │ Engine 0 · MediaSet 0 · Engine 1 … │ ◀── readiness
//!                       └────────────────────────────────────┘
//! ```
//!
//! One thread, one `epoll`, one `timerfd` armed with the earliest deadline of everything. In each turn media is served
//! before SIP, and nothing in it waits: names, files and devices are opened by helper threads that start when they are first needed.

#![allow(clippy::disallowed_methods, reason = "the driver is where clocks and threads are")]

pub(crate) mod cards;
mod client;
mod clock;
mod datagram;
mod host;
mod io;
mod network;
mod resolver;
pub(crate) mod sound;
mod stream;
mod tls;
mod turn;

pub use client::{Client, ClientError, ClientEvent, Commander, Ear, Heard, Ticket};
pub use tls::{TlsFileError, TlsSettings};

use crate::api::{Command, CommandError, Reply};
use crate::engine::{BoundListener, BoundSocket, Engine, Protocol};
use crate::time::{Epoch, Instant};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use turn::Loop;

/// One engine of a driver, in the order of [`Driver::add_engine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EngineId(pub u16);

/// What a driver needs to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverConfig {
    /// Ports for RTP (even) and RTCP (odd) pairs; `0..=0` takes any free pair.
    pub rtp_ports: RangeInclusive<u16>,
    /// The address to announce and send from instead of the one the routing table names (`interface` in the config).
    pub interface: Option<IpAddr>,
    /// DSCP of SIP messages, 0..=63 (RFC 4594: 24).
    pub sip_dscp: u8,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self { rtp_ports: 16_384..=32_767, interface: None, sip_dscp: 24 }
    }
}

/// A SIP socket to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// UDP binds a datagram socket, TCP and TLS a listener; TLS after [`Driver::serve_tls`].
    pub protocol: Protocol,
    /// Where; the IP may be unspecified, port 0 takes a free one.
    pub addr: SocketAddr,
}

/// What [`Driver::bind`] bound: to be told to the engine that is to own it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bound {
    /// Datagram sockets, in the order asked for.
    pub sockets: Vec<BoundSocket>,
    /// Listeners, in the order asked for.
    pub listeners: Vec<BoundListener>,
}

/// Why a driver cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A SIP port cannot be bound (in use, not permitted, no such address).
    #[error("{addr} ({}) cannot be bound: {source}", .protocol.as_str())]
    Bind {
        /// UDP or TCP.
        protocol: Protocol,
        /// What was asked for.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The system refuses something that the loop cannot do without.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// An engine panicked so often that it cannot be trusted any more.
    #[error("the engine number {} failed too often", .0.0)]
    Engine(EngineId),
}

/// Bytes on the wire, for `--trace`.
#[derive(Debug, Clone, Copy)]
pub struct Traced<'a> {
    /// When.
    pub at: Instant,
    /// Whose.
    pub engine: EngineId,
    /// True for what we sent.
    pub sent: bool,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// A datagram, or a piece of a stream.
    pub bytes: &'a [u8],
}

/// Receives every SIP byte; must neither block nor fail.
pub type Trace = Box<dyn FnMut(Traced<'_>) + Send>;

/// The loop with its engines, sockets and timers; owns everything that touches the system.
pub struct Driver {
    inner: Loop,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({} engines)", self.inner.engine_count())
    }
}

impl Driver {
    /// Opens the poll, the clock and the command channel; starts no thread.
    ///
    /// # Errors
    /// [`DriverError::System`] when the system refuses.
    pub fn new(config: DriverConfig) -> Result<Self, DriverError> {
        Ok(Self { inner: Loop::new(config)? })
    }

    /// Binds SIP sockets for an engine about to be made; all or none.
    ///
    /// # Errors
    /// [`DriverError::Bind`] names the address that could not be had.
    pub fn bind(&mut self, wanted: &[Bind]) -> Result<Bound, DriverError> {
        self.inner.bind(wanted)
    }

    /// Takes settings for the TLS connections of engines; number 0 is the default and always there.
    ///
    /// # Errors
    /// When a file of them cannot be used.
    pub fn add_tls(&mut self, settings: &TlsSettings) -> Result<crate::id::TlsId, TlsFileError> {
        self.inner.tls_mut().add(settings)
    }

    /// The certificate (with its chain) and its key, both PEM, that TLS listeners bound from now on show.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn serve_tls(&mut self, certificate: &std::path::Path, key: &std::path::Path) -> Result<(), TlsFileError> {
        self.inner.tls_mut().serve(certificate, key)
    }

    /// 32 bytes from the operating system, to seed an engine.
    ///
    /// # Errors
    /// [`DriverError::System`] when the system has no randomness.
    pub fn seed() -> Result<[u8; 32], DriverError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| DriverError::System {
            what: "the system has no random numbers",
            source: std::io::Error::other(error.to_string()),
        })?;
        Ok(seed)
    }

    /// The present: time since this driver was made, suspend included.
    pub fn now(&self) -> Instant {
        self.inner.now()
    }

    /// Turns the driver's time into wall-clock time.
    pub fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    /// Takes over an engine and the sockets that [`Driver::bind`] gave for it.
    pub fn add_engine(&mut self, engine: Box<dyn Engine + Send>, bound: &Bound) -> EngineId {
        self.inner.add_engine(engine, bound)
    }

    /// A new client: it may command every engine and hears every event from now on.
    pub fn client(&mut self) -> Client {
        self.inner.client()
    }

    /// A client whose events go to `ear`, which saves it a thread where it waits for other things too.
    pub fn client_with(&mut self, ear: Box<dyn Ear>) -> Commander {
        self.inner.client_with(ear)
    }

    /// Shows every SIP byte to `trace`.
    pub fn set_trace(&mut self, trace: Trace) {
        self.inner.set_trace(trace);
    }

    /// Gives a command from the driver's own thread, before or between turns.
    ///
    /// # Errors
    /// What the engine says; [`CommandError::NotSupported`] when there is no such engine.
    pub fn command(&mut self, engine: EngineId, command: Command) -> Result<Reply, CommandError> {
        self.inner.command(engine, command)
    }

    /// Carries out what the engines want, waits for the next thing to happen, and hands it to them.
    /// Returns false once every engine has emitted [`Stopped`](crate::api::Event::Stopped) or a client has shut the driver down.
    ///
    /// # Errors
    /// [`DriverError`] when the loop cannot go on.
    pub fn turn(&mut self) -> Result<bool, DriverError> {
        self.inner.turn()
    }

    /// Turns until everything is stopped.
    ///
    /// # Errors
    /// As [`Driver::turn`].
    pub fn run(&mut self) -> Result<(), DriverError> {
        while self.turn()? {}
        Ok(())
    }
}

#[cfg(test)]
mod tests;
