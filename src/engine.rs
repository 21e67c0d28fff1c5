//! The contract between the sans-IO core and whoever drives it (the mio driver or the test world).
//!
//! ```text
//!   bytes, commands, answers, time ──handle_*──▶ Engine ──poll_output──▶ Output::{Transmit, Connect, …, Timeout}
//! ```
//!
//! An engine never reads a clock, a socket or a random source. After every `handle_*` the driver drains
//! [`Engine::poll_output`] until it returns [`Output::Timeout`], and calls [`Engine::handle_timeout`] once that instant is reached.

pub mod tls;

pub use tls::{PeerCertificate, TlsFault, TlsInfo, TlsPolicy};

use crate::api::{Command, CommandError, Event, Reply};
use crate::id::{ConnId, ListenerId, MediaId, RequestId, SetId, SocketId};
use crate::media::command::{MediaCommand, MediaEvent};
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// How SIP messages travel. WebSocket transports are variants to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// TLS over a stream.
    Tls,
}

impl Protocol {
    /// True when the transport itself repeats lost bytes (no SIP retransmission, RFC 3261 §17).
    pub const fn is_reliable(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// True when nobody on the way can read or change what is sent (RFC 5630: what `sips:` asks for).
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls)
    }

    /// The port of a URI or Via without one (§19.1.2, §18.1.1).
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }

    /// The name in a Via header and, in lower case, in a `transport` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The value of a `transport` parameter, which is also the word in config, options and events.
    pub const fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Where a message came from and where its answer goes (RFC 5626 "flow").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// How it travels.
    pub protocol: Protocol,
    /// Our address on this flow, as the peer sees it on its own link: never unspecified.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// How the driver reaches it.
    pub via: FlowVia,
}

/// The driver's end of a [`Flow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowVia {
    /// A datagram socket.
    Socket(SocketId),
    /// A stream connection.
    Conn(ConnId),
}

/// Bytes to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The whole datagram, or the next piece of the stream.
    pub bytes: Vec<u8>,
    /// Where to. Datagrams leave from `flow.local` (IP_PKTINFO on a wildcard socket).
    pub flow: Flow,
}

/// A datagram socket that the driver has bound for SIP and told the engine about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundSocket {
    /// Its handle.
    pub socket: SocketId,
    /// Its bound address; the IP may be unspecified (0.0.0.0 or ::).
    pub local: SocketAddr,
}

/// A stream listener that the driver has bound for SIP and told the engine about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundListener {
    /// Its handle.
    pub listener: ListenerId,
    /// A stream protocol.
    pub protocol: Protocol,
    /// Its bound address; the IP may be unspecified.
    pub local: SocketAddr,
}

/// What happened on a stream connection.
#[derive(Debug)]
pub enum StreamEvent<'a> {
    /// A peer connected to one of our listeners; the driver chose the handle, its slot at or above [`ConnId::ACCEPTED`].
    Accepted {
        /// Which listener.
        listener: ListenerId,
        /// Our end.
        local: SocketAddr,
        /// Their end.
        peer: SocketAddr,
    },
    /// The far end of a secure connection that we asked for has been reached; its handshake begins.
    Handshaking,
    /// A connection that we asked for is up, or the handshake of one that was accepted on a secure listener is done.
    Connected {
        /// Our end.
        local: SocketAddr,
        /// Of a secure connection: the peer of one that we asked for has been verified as its [`TlsPolicy`] says.
        tls: Option<TlsInfo>,
    },
    /// Bytes arrived.
    Data(&'a [u8]),
    /// All that was queued has been written; more may be sent.
    Writable,
    /// The peer closed it, or [`Output::Close`] was carried out.
    Closed,
    /// It could not be opened or broke.
    Failed(StreamFault),
    /// It is gone since the peer could not be trusted, or because of another fault of its TLS.
    Untrusted {
        /// What is wrong.
        fault: TlsFault,
        /// The certificate that the peer showed, if it came to that.
        certificate: Option<Box<PeerCertificate>>,
    },
}

/// Why a stream connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamFault {
    /// Nothing listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No route or network down.
    Unreachable,
    /// Reset by the peer.
    Reset,
    /// Our write queue was full (256 KiB): the peer does not read.
    Overflow,
    /// TLS failed.
    Tls(TlsFault),
}

/// A question about a name (RFC 3263); SRV and NAPTR are variants to come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Query {
    /// The name, without port.
    pub name: String,
    /// What is asked for.
    pub kind: QueryKind,
}

/// The kind of a [`Query`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueryKind {
    /// A and AAAA together.
    Addr,
}

/// One answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The address.
    pub data: RecordData,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
}

/// What a [`Record`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordData {
    /// An IPv4 or IPv6 address.
    Addr(IpAddr),
}

/// Why a name could not be resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist")]
    NotFound,
    /// No name server answered.
    #[error("no name server answered")]
    Timeout,
    /// The name server failed.
    #[error("the name server failed")]
    Failed,
}

/// Our own address towards a peer cannot be told: no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no route to the address")]
pub struct NoRoute;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An RTP/RTCP socket pair, bound by the driver and handed to the core for one media session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The media set that owns both sockets.
    pub set: SetId,
    /// The RTP socket.
    pub rtp: SocketId,
    /// The RTCP socket.
    pub rtcp: SocketId,
    /// The RTP address to announce: the local IP that was asked for, and the bound port (even).
    pub rtp_addr: SocketAddr,
    /// The RTCP address, RTP's port + 1.
    pub rtcp_addr: SocketAddr,
}

/// No socket pair could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no free RTP port pair")]
pub struct NoLease;

/// What an engine wants done. Drained until [`Output::Timeout`].
#[derive(Debug)]
pub enum Output {
    /// Send bytes.
    Transmit(Transmit),
    /// Open a stream connection; answered by `Connected` or `Failed`.
    Connect {
        /// The handle that the core chose; its slot lies below [`ConnId::ACCEPTED`].
        conn: ConnId,
        /// A stream protocol.
        protocol: Protocol,
        /// Where to.
        peer: SocketAddr,
        /// Of a secure protocol: who has to be there, else the connection must not come up.
        secure: Option<TlsPolicy>,
    },
    /// Close a stream connection after what is queued has been written.
    Close(ConnId),
    /// Resolve a name; answered by [`Engine::handle_resolved`].
    Resolve {
        /// Names the question in its answer.
        id: RequestId,
        /// The question.
        query: Query,
    },
    /// Which local address reaches `peer`? Answered by [`Engine::handle_local_address`].
    LocalAddress {
        /// Names the question in its answer.
        id: RequestId,
        /// The destination.
        peer: SocketAddr,
    },
    /// Bind an RTP/RTCP pair reachable at `local`; answered by [`Engine::handle_lease`].
    Lease {
        /// Names the question in its answer.
        id: RequestId,
        /// The address that the SDP will announce.
        local: IpAddr,
        /// Leases of one group belong to one media set, since packets are relayed between them; the first of them gives
        /// it its own number.
        group: RequestId,
    },
    /// Give a pair back (the media session is closed, or was never opened).
    Release(Lease),
    /// A command for the media set that owns the session.
    Media(MediaId, MediaCommand),
    /// Something the clients of the engine should know.
    Event(Event),
    /// Always last: nothing to do before then (`None`: nothing at all).
    Timeout(Option<Instant>),
}

/// What the driver saw of the host's network: other addresses than before, or a sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkChange {
    /// The addresses that the host has now.
    pub addresses: Vec<IpAddr>,
    /// The host was suspended: whatever was connected may be gone without a word.
    pub resumed: bool,
}

/// The five verbs and the answers to the engine's own questions. The softphone and the PBX implement it.
pub trait Engine {
    /// A datagram arrived on a SIP socket. `local` is the address it was sent to.
    fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        local: SocketAddr,
        source: SocketAddr,
        payload: &[u8],
    );
    /// Something happened on a stream connection.
    fn handle_stream(&mut self, now: Instant, conn: ConnId, event: StreamEvent<'_>);
    /// The answer to [`Output::Resolve`].
    fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>);
    /// The answer to [`Output::LocalAddress`].
    fn handle_local_address(&mut self, now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>);
    /// The answer to [`Output::Lease`].
    fn handle_lease(&mut self, now: Instant, id: RequestId, answer: Result<Lease, NoLease>);
    /// Something happened in a media session.
    fn handle_media(&mut self, now: Instant, media: MediaId, event: MediaEvent);
    /// A client wants something; progress comes as events.
    ///
    /// # Errors
    /// When the command makes no sense now; nothing has changed then.
    fn handle_command(&mut self, now: Instant, command: Command) -> Result<Reply, CommandError>;
    /// The host has other addresses than before, or was suspended.
    fn handle_network_change(&mut self, _now: Instant, _change: &NetworkChange) {}
    /// The instant of the last [`Output::Timeout`] has come (calling it early is harmless).
    fn handle_timeout(&mut self, now: Instant);
    /// The next output; [`Output::Timeout`] ends the drain.
    fn poll_output(&mut self) -> Output;
}
