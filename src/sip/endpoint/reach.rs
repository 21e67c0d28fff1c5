//! How others reach us: what a registrar has told about a Contact of ours (RFC 3581, RFC 5627).

use super::Endpoint;
use crate::engine::{NetworkChange, Protocol, StreamFault};
use crate::sip::message::Uri;
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// What is known beyond our own view of a Contact; found by its user part, which nobody else has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Our own address over a transport, and the one that the server sees instead (a NAT's).
    pub seen: Option<(Protocol, SocketAddr, SocketAddr)>,
    /// The public GRUU: an address of this phone that the server routes from anywhere.
    pub gruu: Option<Uri>,
}

impl Endpoint {
    /// Sets what is known of the Contact with this user part.
    pub fn set_reach(&mut self, user: &str, reach: Reach) {
        if reach == Reach::default() {
            self.reaches.remove(user);
        } else {
            self.reaches.insert(user.to_owned(), reach);
        }
    }

    /// What is known of the Contact with this user part.
    pub fn reach(&self, user: &str) -> Option<&Reach> {
        self.reaches.get(user)
    }

    /// The host has these addresses now. Connections from others are lost, and after a sleep all that we opened are: their
    /// other end may have forgotten them.
    pub fn handle_network_change(&mut self, now: Instant, change: &NetworkChange) {
        let addresses: &[IpAddr] = if change.resumed { &[] } else { &change.addresses };
        for conn in self.connections.without(addresses) {
            self.close(now, conn, StreamFault::Unreachable);
        }
    }

    /// The address to announce in place of `local`.
    pub fn seen_as(&self, user: Option<&str>, protocol: Protocol, local: SocketAddr) -> SocketAddr {
        match user.and_then(|user| self.reach(user)?.seen) {
            Some((over, own, seen)) if (over, own) == (protocol, local) => seen,
            Some(_) | None => local,
        }
    }
}
