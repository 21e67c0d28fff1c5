//! The way to a URI: name, targets, our own address (RFC 3261 §8.1.2, RFC 3263 §4).
//!
//! ```text
//!   URI ─▶ name ── Resolve ─▶ targets ── LocalAddress of the first ─▶ Routed
//!     └─ address ───────────────▲ │ no route: the next one
//!                               └─┘
//! ```

use super::{Endpoint, EndpointEvent, EndpointOutput, Route, RouteError, RouteId, Target};
use crate::engine::{Family, Flow, FlowVia, NoRoute, Protocol, Query, QueryKind, Record, ResolveError};
use crate::id::RequestId;
use crate::sip::message::{Host, Scheme, Uri};
use crate::sip::transport::via::DEFAULT_PORT;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// A route whose name is being resolved.
#[derive(Debug)]
pub(super) struct Waiting {
    id: RouteId,
    protocol: Protocol,
    port: u16,
}

/// A route whose local address is asked for.
#[derive(Debug)]
pub(super) struct Locating {
    id: RouteId,
    targets: Vec<Target>,
}

impl Endpoint {
    /// Asks for the way to `uri` (over `transport`, else what the URI says, else UDP); [`EndpointEvent::Routed`] answers.
    pub fn route(&mut self, now: Instant, uri: &Uri, transport: Option<Protocol>) -> RouteId {
        let id = RouteId(self.fresh());
        let Some((protocol, host)) = wanted(uri, transport) else {
            self.routed(id, Err(RouteError::Unsupported(Box::new(uri.clone()))));
            return id;
        };
        let port = uri.port.unwrap_or(DEFAULT_PORT);
        match host {
            Host::Ip(ip) => self.locate(id, vec![Target { protocol, addr: SocketAddr::new(ip, port) }]),
            Host::Name(name) => {
                if let Some(known) = self.resolver.known(now, &name) {
                    let targets = targets(known, protocol, port);
                    self.locate(id, targets);
                    return id;
                }
                let question = RequestId(self.fresh());
                if self.resolver.wait(question, &name, Waiting { id, protocol, port }) {
                    let query = Query { name, kind: QueryKind::Addr };
                    self.out.push_back(EndpointOutput::Resolve { id: question, query });
                }
            }
        }
        id
    }

    /// Asks for the route to the next target of `route` after the first one failed; `None` when there is none left.
    pub fn next_target(&mut self, _now: Instant, route: &Route) -> Option<RouteId> {
        let rest = route.targets.get(1..).filter(|rest| !rest.is_empty())?.to_vec();
        let id = RouteId(self.fresh());
        self.locate(id, rest);
        Some(id)
    }

    /// The route back along a flow that a request or response came in on (a registration's, a call's).
    pub fn route_back(&self, flow: &Flow) -> Route {
        let target = Target { protocol: flow.protocol, addr: flow.peer };
        let local = match flow.protocol {
            Protocol::Udp => flow.local,
            Protocol::Tcp => self.advertised(flow.protocol, flow.local.ip()),
        };
        Route { targets: vec![target], local, flow: Some(*flow) }
    }

    /// The answer to [`EndpointOutput::Resolve`].
    pub fn handle_resolved(&mut self, now: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        let (records, error) = match answer {
            Ok(records) => (records, ResolveError::NotFound),
            Err(error) => (Vec::new(), error),
        };
        let Some((name, addresses, waiting)) = self.resolver.answer(now, id, &records) else { return };
        for Waiting { id, protocol, port } in waiting {
            if addresses.is_empty() {
                self.routed(id, Err(RouteError::Resolve { name: name.clone(), error }));
            } else {
                self.locate(id, targets(&addresses, protocol, port));
            }
        }
    }

    /// The answer to [`EndpointOutput::LocalAddress`].
    pub fn handle_local_address(&mut self, _now: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        let Some(Locating { id, mut targets }) = self.locating.remove(&id) else { return };
        let Some(target) = targets.first().copied() else { return };
        match answer {
            Ok(ip) => self.finish(id, targets, ip),
            Err(NoRoute) if targets.len() > 1 => {
                targets.remove(0);
                self.locate(id, targets);
            }
            Err(NoRoute) => self.routed(id, Err(RouteError::NoRoute(target.addr))),
        }
    }

    /// Finds out which of our addresses reaches the first target that we have a socket for.
    fn locate(&mut self, id: RouteId, mut targets: Vec<Target>) {
        let Some(first) = targets.first().copied() else { return };
        let Some(usable) = targets.iter().position(|target| self.can_reach(target)) else {
            self.routed(id, Err(RouteError::NoSocket(first.addr)));
            return;
        };
        targets.drain(..usable);
        let Some(target) = targets.first().copied() else { return };
        if let Some(ip) = self.certain_local(&target) {
            self.finish(id, targets, ip);
            return;
        }
        let question = RequestId(self.fresh());
        self.locating.insert(question, Locating { id, targets });
        self.out.push_back(EndpointOutput::LocalAddress { id: question, peer: target.addr });
    }

    /// Streams need no socket of ours, but one of the same family says that the family is in use at all.
    fn can_reach(&self, target: &Target) -> bool {
        let family = Family::of(target.addr.ip());
        let mut locals = self.sockets.iter().map(|bound| bound.local).filter(|_| target.protocol == Protocol::Udp);
        target.protocol == Protocol::Tcp || locals.any(|local| Family::of(local.ip()) == family)
    }

    /// Our address towards a target when there is no choice: one bound socket, or a connection that is up.
    fn certain_local(&self, target: &Target) -> Option<IpAddr> {
        let family = Family::of(target.addr.ip());
        match target.protocol {
            Protocol::Udp => {
                let mut same = self.sockets.iter().filter(|bound| Family::of(bound.local.ip()) == family);
                let only = same.next().filter(|_| same.next().is_none())?;
                Some(only.local.ip()).filter(|ip| !ip.is_unspecified())
            }
            Protocol::Tcp => {
                let conn = self.connections.find(target.protocol, target.addr)?;
                self.flow_of(conn).map(|flow| flow.local.ip())
            }
        }
    }

    fn finish(&mut self, id: RouteId, targets: Vec<Target>, ip: IpAddr) {
        let Some(target) = targets.first().copied() else { return };
        let (local, flow) = match target.protocol {
            Protocol::Udp => match self.datagram_flow(target.addr, ip) {
                Some(flow) => (flow.local, Some(flow)),
                None => return self.routed(id, Err(RouteError::NoSocket(target.addr))),
            },
            Protocol::Tcp => {
                let conn = self.connections.find(target.protocol, target.addr);
                (self.advertised(target.protocol, ip), conn.and_then(|conn| self.flow_of(conn)))
            }
        };
        self.routed(id, Ok(Route { targets, local, flow }));
    }

    /// The flow of datagrams to `peer` from the socket bound to `ip`, else from one bound to every address.
    fn datagram_flow(&self, peer: SocketAddr, ip: IpAddr) -> Option<Flow> {
        let family = Family::of(peer.ip());
        let same = || self.sockets.iter().filter(|bound| Family::of(bound.local.ip()) == family);
        let bound = same()
            .find(|bound| bound.local.ip() == ip)
            .or_else(|| same().find(|bound| bound.local.ip().is_unspecified()))
            .or_else(|| same().next())?;
        let ip = if bound.local.ip().is_unspecified() { ip } else { bound.local.ip() };
        let local = SocketAddr::new(ip, bound.local.port());
        Some(Flow { protocol: Protocol::Udp, local, peer, via: FlowVia::Socket(bound.socket) })
    }

    /// The address that a peer can reach us at over a stream: that of a listener, else of a datagram socket.
    pub(super) fn advertised(&self, protocol: Protocol, ip: IpAddr) -> SocketAddr {
        let reachable = |local: &SocketAddr| {
            Family::of(local.ip()) == Family::of(ip) && (local.ip() == ip || local.ip().is_unspecified())
        };
        let listeners = self.listeners.iter().filter(|bound| bound.protocol == protocol).map(|bound| bound.local);
        let mut locals = listeners.chain(self.sockets.iter().map(|bound| bound.local));
        SocketAddr::new(ip, locals.find(reachable).map_or(DEFAULT_PORT, |local| local.port()))
    }

    /// The flow that a request on `route` takes, opening a connection if need be.
    pub(super) fn flow_for(&mut self, now: Instant, route: &Route) -> Flow {
        let peer = route.targets.first().map_or(route.local, |target| target.addr);
        match (route.flow, route.protocol()) {
            (Some(flow), Protocol::Udp) => flow,
            (Some(Flow { via: FlowVia::Conn(conn), .. }), Protocol::Tcp) if self.connections.get(conn).is_some() => {
                self.flow_of(conn).unwrap_or(Flow {
                    protocol: Protocol::Tcp,
                    local: route.local,
                    peer,
                    via: FlowVia::Conn(conn),
                })
            }
            (Some(_) | None, Protocol::Tcp) => self.connect(now, Protocol::Tcp, peer, route.local),
            (None, Protocol::Udp) => self.datagram_flow(peer, route.local.ip()).unwrap_or_else(|| Flow {
                protocol: Protocol::Udp,
                local: route.local,
                peer,
                via: FlowVia::Socket(self.sockets.first().map_or(crate::id::SocketId(0), |bound| bound.socket)),
            }),
        }
    }

    fn routed(&mut self, id: RouteId, result: Result<Route, RouteError>) {
        self.event(EndpointEvent::Routed { id, result });
    }
}

/// Transport and host that a URI asks for; `None` when we do not speak them.
fn wanted(uri: &Uri, transport: Option<Protocol>) -> Option<(Protocol, Host)> {
    if uri.scheme != Scheme::Sip {
        return None;
    }
    let named = match uri.transport() {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("udp") => Some(Protocol::Udp),
        Some(name) if name.eq_ignore_ascii_case("tcp") => Some(Protocol::Tcp),
        Some(_) => return None,
    };
    let host = match uri.params.get("maddr") {
        Some(maddr) => maddr.parse().map_or_else(|_| Host::Name(maddr.to_ascii_lowercase()), Host::Ip),
        None => uri.host.clone()?,
    };
    Some((transport.or(named).unwrap_or(Protocol::Udp), host))
}

fn targets(addresses: &[IpAddr], protocol: Protocol, port: u16) -> Vec<Target> {
    addresses.iter().map(|ip| Target { protocol, addr: SocketAddr::new(*ip, port) }).collect()
}
