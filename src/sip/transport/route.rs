//! Routes: where a request goes and which of our addresses it comes from (RFC 3261 §8.1.2, RFC 3263 §4).

use crate::engine::{Flow, Protocol, ResolveError};
use crate::sip::message::Uri;
use std::net::SocketAddr;

/// Names one question to `Endpoint::route`; its answer is `EndpointEvent::Routed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// One place that a request may be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Address and port.
    pub addr: SocketAddr,
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
}
