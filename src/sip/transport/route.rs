//! Routes: where a request goes and which of our addresses it comes from (RFC 3261 §8.1.2, RFC 3263 §4).

use crate::engine::{Flow, PeerCertificate, Protocol, ResolveError, StreamFault, TlsPolicy};
use crate::id::TlsId;
use crate::sip::message::Uri;
use std::net::SocketAddr;

/// Names one question to `Endpoint::route`; its answer is `EndpointEvent::Routed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// One place that a request may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// How messages travel.
    pub protocol: Protocol,
    /// Address and port.
    pub addr: SocketAddr,
}

/// What is wanted of a way besides that it leads to its URI.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    /// Over this transport, unless the URI asks for a secure one: TLS never becomes clear.
    pub transport: Option<Protocol>,
    /// How secure connections are judged.
    pub tls: TlsWish,
}

/// How the far end of a secure connection is judged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsWish {
    /// The driver's settings.
    pub settings: TlsId,
    /// The name that the certificate must be for, instead of the host of the URI.
    pub name: Option<String>,
}

impl From<Option<Protocol>> for Wish {
    fn from(transport: Option<Protocol>) -> Self {
        Self { transport, tls: TlsWish::default() }
    }
}

/// A chosen target, our own address towards it, and the targets left to try (RFC 3263 §4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The target that requests on this route go to, followed by those to fall over to; never empty.
    pub targets: Vec<Target>,
    /// Our address for Via, Contact and, by its IP, SDP: never unspecified.
    pub local: SocketAddr,
    /// The flow to use; `None` when a stream connection has yet to be opened.
    pub flow: Option<Flow>,
    /// Whom secure targets must lead to, for a connection that has to be opened again.
    pub tls: Option<TlsPolicy>,
}

impl Route {
    /// The transport of the chosen target.
    pub fn protocol(&self) -> Protocol {
        self.targets.first().map_or(Protocol::Udp, |target| target.protocol)
    }
}

/// Why there is no way to a URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The URI has no host, or a scheme or transport that is not spoken here.
    #[error("{0:?} cannot be reached: its scheme or transport is not supported")]
    Unsupported(Box<Uri>),
    /// The name of the host gives no address.
    #[error("{name}: {error}")]
    Resolve {
        /// The name asked for.
        name: String,
        /// What the resolver said.
        error: ResolveError,
    },
    /// The system knows no way to the address.
    #[error("no route to {0}")]
    NoRoute(SocketAddr),
    /// No socket of ours speaks the address's family and transport.
    #[error("no local socket can reach {0}")]
    NoSocket(SocketAddr),
    /// No connection could be opened to any target; what happened at the last one.
    #[error("no connection to {}: {fault:?}", .target.addr)]
    Connect {
        /// The target.
        target: Target,
        /// Why not.
        fault: StreamFault,
        /// The certificate that was refused.
        certificate: Option<Box<PeerCertificate>>,
    },
}
