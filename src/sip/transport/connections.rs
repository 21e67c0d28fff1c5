//! The table of stream connections: reuse, limits and timers (RFC 3261 §18, RFC 5923 in spirit, threats B6).
//!
//! ```text
//!   request ─▶ Opening ── Connected ─▶ Open ◀── Accepted
//!                 │ Failed, 10 s        │ Closed, Failed, bad frame, idle, evicted
//!                 └──────────▶ gone ◀───┘
//! ```

use super::framer::Framer;
use crate::engine::{Protocol, StreamFault, TlsFault, TlsPolicy};
use crate::id::ConnId;
use crate::time::{Deadlines, Duration, Instant};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Strangers' connections at once; the oldest gives way to a new one.
pub const MAX_STRANGERS: usize = 64;
/// Strangers' connections at once from one address.
pub const MAX_STRANGERS_PER_ADDRESS: usize = 8;
/// Accepted connections at once, with those on which something was granted; the one least lately used gives way.
pub const MAX_ACCEPTED: usize = 512;
/// Handshakes of accepted connections at once; the oldest gives way (threats B7).
pub const MAX_HANDSHAKES: usize = 16;
/// Bytes that may wait for a connection to open.
const MAX_WAITING: usize = 64 * 1024;
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(32);
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// RFC 5626 §4.4.1.
const PONG_WITHIN: Duration = Duration::from_secs(10);
const STRANGER_IDLE: Duration = Duration::from_secs(900);
/// Longer than the usual hour between two registrations, which a connection has to outlive.
const IDLE: Duration = Duration::from_secs(4000);

/// One stream connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) peer: SocketAddr,
    /// Whom a secure connection of ours leads to: it serves that name only, whoever else lives at the address.
    pub(crate) tls: Option<TlsPolicy>,
    pub(crate) state: State,
    pub(crate) framer: Framer,
    trust: Trust,
    opened_at: Instant,
    used_at: Instant,
    message_since: Option<Instant>,
    /// When our keep-alive left that nothing has followed yet.
    pinged_at: Option<Instant>,
    /// The peer has answered a keep-alive as RFC 5626 says. Who never does (many servers) is not gone for that.
    answers_pings: bool,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Asked for, or accepted with its handshake to come; these messages leave once it is up.
    Opening { waiting: Vec<Vec<u8>>, reached: bool },
    /// Up; our end of it.
    Open { local: SocketAddr },
}

/// How long a connection may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Accepted, no whole message yet.
    Silent,
    /// Accepted, has sent a message.
    Stranger,
    /// Ours, or one on which a request was granted.
    Known,
}

impl Connection {
    fn deadline(&self) -> Instant {
        let idle = match self.trust {
            _ if matches!(self.state, State::Opening { .. }) => self.opened_at + OPEN_WITHIN,
            Trust::Silent => self.opened_at + FIRST_MESSAGE_WITHIN,
            Trust::Stranger => self.used_at + STRANGER_IDLE,
            Trust::Known => self.used_at + IDLE,
        };
        let message = self.message_since.map_or(idle, |since| idle.min(since + MESSAGE_WITHIN));
        self.pinged_at.filter(|_| self.answers_pings).map_or(message, |at| message.min(at + PONG_WITHIN))
    }
}

/// What a connection can be used for again.
type Destination = (Protocol, SocketAddr, Option<TlsPolicy>);

/// All connections of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: BTreeMap<ConnId, Connection>,
    by_peer: BTreeMap<Destination, ConnId>,
    deadlines: Deadlines<ConnId>,
    opened: u64,
    /// How many of `table` were accepted.
    accepted: usize,
}

impl Connections {
    /// A connection to `peer` that lives or is being opened; a secure one only if it was opened for the same name under the
    /// same settings.
    pub(crate) fn find(&self, protocol: Protocol, peer: SocketAddr, tls: Option<&TlsPolicy>) -> Option<ConnId> {
        self.by_peer.get(&(protocol, peer, tls.cloned())).copied()
    }

    /// The connections whose local end is not among `addresses`; those that are being opened count as fine.
    pub(crate) fn without(&self, addresses: &[IpAddr]) -> Vec<ConnId> {
        let gone = |connection: &Connection| match connection.state {
            State::Open { local } => !addresses.contains(&local.ip().to_canonical()),
            State::Opening { .. } => false,
        };
        self.table.iter().filter(|(_, connection)| gone(connection)).map(|(conn, _)| *conn).collect()
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Connection> {
        self.table.get(&conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.table.get_mut(&conn)
    }

    /// Notes a connection that the driver is asked to open.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        protocol: Protocol,
        peer: SocketAddr,
        tls: Option<TlsPolicy>,
    ) -> ConnId {
        let slots = u64::from(ConnId::ACCEPTED);
        let slot = u32::try_from(self.opened % slots).expect("below 2^31");
        let generation = u32::try_from(self.opened / slots).unwrap_or(u32::MAX);
        self.opened += 1;
        let conn = ConnId { slot, generation };
        let state = State::Opening { waiting: Vec::new(), reached: false };
        self.insert(now, conn, (protocol, peer, tls), state, Trust::Known);
        conn
    }

    /// Notes an accepted connection and names the ones that have to go for it.
    #[must_use]
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        conn: ConnId,
        protocol: Protocol,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Vec<ConnId> {
        let state = match protocol.is_secure() {
            true => State::Opening { waiting: Vec::new(), reached: true },
            false => State::Open { local },
        };
        self.insert(now, conn, (protocol, peer, None), state, Trust::Silent);
        let mut evicted = Vec::new();
        let (all, same) = (self.strangers(None), self.strangers(Some(peer.ip())));
        let shaking = |(_, conn): &&(Instant, ConnId)| {
            matches!(self.get(*conn), Some(Connection { state: State::Opening { .. }, .. }))
        };
        if all.iter().filter(shaking).count() > MAX_HANDSHAKES {
            evicted.extend(all.iter().find(shaking).map(|(_, conn)| *conn));
        } else if same.len() > MAX_STRANGERS_PER_ADDRESS {
            evicted.extend(same.first().map(|(_, conn)| *conn));
        } else if all.len() > MAX_STRANGERS {
            evicted.extend(all.first().map(|(_, conn)| *conn));
        } else if self.accepted > MAX_ACCEPTED {
            let accepted = self.table.iter().filter(|(other, _)| other.slot >= ConnId::ACCEPTED && **other != conn);
            evicted.extend(accepted.min_by_key(|(_, connection)| connection.used_at).map(|(conn, _)| *conn));
        }
        evicted
    }

    /// Connections that have earned nothing yet, oldest first.
    fn strangers(&self, ip: Option<IpAddr>) -> Vec<(Instant, ConnId)> {
        let strangers = self.table.iter().filter(|(_, connection)| {
            connection.trust != Trust::Known && ip.is_none_or(|ip| connection.peer.ip() == ip)
        });
        let mut strangers: Vec<_> = strangers.map(|(conn, connection)| (connection.opened_at, *conn)).collect();
        strangers.sort_unstable();
        strangers
    }

    fn insert(&mut self, now: Instant, conn: ConnId, destination: Destination, state: State, trust: Trust) {
        let (protocol, peer, tls) = destination.clone();
        let connection = Connection {
            protocol,
            peer,
            tls,
            state,
            framer: Framer::default(),
            trust,
            opened_at: now,
            used_at: now,
            message_since: None,
            pinged_at: None,
            answers_pings: false,
        };
        self.deadlines.set(conn, Some(connection.deadline()));
        let before = self.table.insert(conn, connection);
        self.accepted += usize::from(before.is_none() && conn.slot >= ConnId::ACCEPTED);
        self.by_peer.insert(destination, conn);
    }

    /// The far end of a secure connection was reached: what may still fail is the handshake.
    pub(crate) fn reached(&mut self, conn: ConnId) {
        if let Some(State::Opening { reached, .. }) = self.table.get_mut(&conn).map(|connection| &mut connection.state)
        {
            *reached = true;
        }
    }

    /// What it means that the time of a connection is over.
    pub(crate) fn expiry(&self, conn: ConnId) -> StreamFault {
        match self.get(conn).map(|connection| (&connection.state, connection.protocol.is_secure())) {
            Some((State::Opening { reached: true, .. }, true)) => StreamFault::Tls(TlsFault::Timeout),
            Some(_) | None => StreamFault::Timeout,
        }
    }

    /// The connection is up; gives what waited for it.
    pub(crate) fn connected(&mut self, now: Instant, conn: ConnId, local: SocketAddr) -> Vec<Vec<u8>> {
        let Some(connection) = self.table.get_mut(&conn) else { return Vec::new() };
        connection.used_at = now;
        let before = std::mem::replace(&mut connection.state, State::Open { local });
        self.deadlines.set(conn, Some(connection.deadline()));
        match before {
            State::Opening { waiting, .. } => waiting,
            State::Open { .. } => Vec::new(),
        }
    }

    /// Bytes came and all whole messages and keep-alives have been taken out.
    pub(crate) fn fed(&mut self, now: Instant, conn: ConnId, messages: usize, pings: usize) {
        let Some(connection) = self.table.get_mut(&conn) else { return };
        connection.used_at = now;
        let news = messages > 0 || pings > 0 || connection.framer.is_mid_message();
        if connection.pinged_at.is_some() && !news && connection.framer.take_line_end() {
            (connection.pinged_at, connection.answers_pings) = (None, true);
        } else if news {
            connection.pinged_at = None;
        }
        if messages > 0 && connection.trust == Trust::Silent {
            connection.trust = Trust::Stranger;
        }
        connection.message_since = match connection.message_since {
            _ if !connection.framer.is_mid_message() => None,
            Some(since) if messages == 0 => Some(since),
            Some(_) | None => Some(now),
        };
        self.deadlines.set(conn, Some(connection.deadline()));
    }

    /// A keep-alive leaves: something has to come back in time, from a peer that is known to answer.
    pub(crate) fn ping(&mut self, now: Instant, conn: ConnId) {
        if let Some(connection) = self.table.get_mut(&conn) {
            connection.used_at = now;
            connection.pinged_at = connection.pinged_at.or(Some(now));
            self.deadlines.set(conn, Some(connection.deadline()));
        }
    }

    /// A request on this connection was granted: it is a stranger's no longer.
    pub(crate) fn trust(&mut self, conn: ConnId) {
        if let Some(connection) = self.table.get_mut(&conn) {
            connection.trust = Trust::Known;
            self.deadlines.set(conn, Some(connection.deadline()));
        }
    }

    /// Keeps a message until the connection is up; false when too much waits already.
    pub(crate) fn wait(&mut self, conn: ConnId, bytes: Vec<u8>) -> bool {
        match self.table.get_mut(&conn).map(|connection| &mut connection.state) {
            Some(State::Opening { waiting, .. }) => {
                let held: usize = waiting.iter().map(Vec::len).sum();
                let fits = held + bytes.len() <= MAX_WAITING;
                if fits {
                    waiting.push(bytes);
                }
                fits
            }
            Some(State::Open { .. }) | None => false,
        }
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<Connection> {
        let connection = self.table.remove(&conn)?;
        self.accepted -= usize::from(conn.slot >= ConnId::ACCEPTED);
        self.deadlines.set(conn, None);
        let destination = (connection.protocol, connection.peer, connection.tls.clone());
        if self.by_peer.get(&destination) == Some(&conn) {
            self.by_peer.remove(&destination);
        }
        Some(connection)
    }

    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<ConnId> {
        self.deadlines.pop_expired(now)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// True when no connection is half open.
    pub(crate) fn is_quiet(&self) -> bool {
        self.table.values().all(|connection| matches!(connection.state, State::Open { .. }))
    }

    /// How many connections live or are being opened.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}
