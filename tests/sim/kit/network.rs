//! The seeded network between the nodes: delay, loss, duplication, reordering, partitions and NATs (RFC 4787).

use bellwire::rng::Rng;
use bellwire::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// What happens to datagrams on their way. Applies to both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub latency: Duration,
    /// Up to this much is added, uniformly: packets overtake each other.
    pub jitter: Duration,
    pub loss: f64,
    pub duplicate: f64,
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self { latency: Duration::from_millis(1), jitter: Duration::ZERO, loss: 0.0, duplicate: 0.0, cut: false }
    }
}

impl Link {
    pub fn latency_ms(mut self, ms: u64) -> Self {
        self.latency = Duration::from_millis(ms);
        self
    }
    pub fn jitter_ms(mut self, ms: u64) -> Self {
        self.jitter = Duration::from_millis(ms);
        self
    }
    pub fn loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }
    pub fn duplicate(mut self, share: f64) -> Self {
        self.duplicate = share;
        self
    }
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// When the copies of one datagram arrive: none when it is lost, two when it is duplicated.
    pub fn arrivals(&self, now: Instant, rng: &mut Rng) -> Vec<Instant> {
        if self.cut || rng.unit() < self.loss {
            return Vec::new();
        }
        let copies = if rng.unit() < self.duplicate { 2 } else { 1 };
        (0..copies)
            .map(|_| now + self.latency + Duration::from_nanos(rng.below(self.jitter.as_nanos() as u64 + 1)))
            .collect()
    }
}

/// Which outside address an inside one gets, and who may send to it (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// One mapping for all destinations, open to everybody.
    FullCone,
    /// One mapping, open to addresses that were sent to.
    AddressRestricted,
    /// One mapping, open to address and port pairs that were sent to.
    PortRestricted,
    /// A mapping per destination, open to that destination only.
    Symmetric,
}

/// One NAT in front of one node.
#[derive(Debug)]
pub struct Nat {
    pub kind: NatKind,
    pub outside: IpAddr,
    pub expiry: Duration,
    next_port: u16,
    mappings: Vec<Mapping>,
}

#[derive(Debug)]
struct Mapping {
    inside: SocketAddr,
    outside: SocketAddr,
    peers: BTreeMap<SocketAddr, Instant>,
    used: Instant,
}

impl Nat {
    pub fn new(kind: NatKind, outside: IpAddr) -> Self {
        Self { kind, outside, expiry: Duration::from_secs(60), next_port: 61_000, mappings: Vec::new() }
    }

    /// Loses all mappings; new ones get other ports.
    pub fn forget(&mut self) {
        self.mappings.clear();
    }

    /// The outside source address of a datagram from `inside` to `peer`.
    pub fn outbound(&mut self, now: Instant, inside: SocketAddr, peer: SocketAddr) -> SocketAddr {
        let (kind, expiry) = (self.kind, self.expiry);
        self.mappings.retain(|m| now - m.used < expiry);
        let found = self
            .mappings
            .iter_mut()
            .find(|m| m.inside == inside && (kind != NatKind::Symmetric || m.peers.contains_key(&peer)));
        let mapping = match found {
            Some(mapping) => mapping,
            None => {
                let outside = SocketAddr::new(self.outside, self.next_port);
                self.next_port += 1;
                self.mappings.push(Mapping { inside, outside, peers: BTreeMap::new(), used: now });
                self.mappings.last_mut().expect("pushed in the line above")
            }
        };
        mapping.used = now;
        mapping.peers.insert(peer, now);
        mapping.outside
    }

    /// The inside address for a datagram from `peer` to `outside`, if the filter lets it in.
    pub fn inbound(&self, now: Instant, outside: SocketAddr, peer: SocketAddr) -> Option<SocketAddr> {
        let (kind, expiry) = (self.kind, self.expiry);
        let mapping = self.mappings.iter().find(|m| m.outside == outside && now - m.used < expiry)?;
        let open = match kind {
            NatKind::FullCone => true,
            NatKind::AddressRestricted => mapping.peers.keys().any(|known| known.ip() == peer.ip()),
            NatKind::PortRestricted | NatKind::Symmetric => mapping.peers.contains_key(&peer),
        };
        open.then_some(mapping.inside)
    }
}
