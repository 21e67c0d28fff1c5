//! Watches the host's addresses (rtnetlink) and its sleep (the two clocks drift apart).

use crate::engine::NetworkChange;
use crate::time::Instant;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use nix::time::{ClockId, clock_gettime};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Links, IPv4 and IPv6 addresses (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// A change comes as many messages: what holds then is looked at when they have ended.
const SETTLED: Duration = Duration::from_millis(300);
/// A sleep of less breaks nothing.
const SLEEP: Duration = Duration::from_secs(5);

/// The watcher.
pub(super) struct Network {
    /// None where the system gives no such socket: then only a sleep is noticed.
    socket: Option<OwnedFd>,
    addresses: Vec<IpAddr>,
    look_at: Option<Instant>,
    slept: Duration,
}

impl Network {
    pub(super) fn new(registry: &Registry, token: Token) -> Self {
        let socket = open()
            .filter(|socket| registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE).is_ok());
        Self { socket, addresses: addresses(), look_at: None, slept: slept() }
    }

    /// Something happened to an interface.
    pub(super) fn handle_ready(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = [0; 8192];
        // An overrun says that much has happened: what holds now is read anyway.
        while recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
        self.look_at.get_or_insert(now + SETTLED);
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// What has changed since the last time, if it is time to look.
    pub(super) fn poll(&mut self, now: Instant) -> Option<NetworkChange> {
        let before = std::mem::replace(&mut self.slept, slept());
        let resumed = self.slept.saturating_sub(before) > SLEEP;
        if !resumed && self.look_at.is_none_or(|at| at > now) {
            return None;
        }
        self.look_at = None;
        let before = std::mem::replace(&mut self.addresses, addresses());
        (resumed || before != self.addresses).then(|| NetworkChange { addresses: self.addresses.clone(), resumed })
    }
}

fn open() -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).ok()?;
    bind(made.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).ok()?;
    Some(made)
}

/// The addresses of all interfaces that are up, in order.
fn addresses() -> Vec<IpAddr> {
    let up = |address: &nix::ifaddrs::InterfaceAddress| address.flags.contains(InterfaceFlags::IFF_UP);
    let mut all: Vec<IpAddr> = getifaddrs()
        .into_iter()
        .flatten()
        .filter(up)
        .filter_map(|address| {
            let address = address.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// How long the host has slept since it was started.
fn slept() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    // In this order: time that passes between the two is no sleep.
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_always_there_and_nothing_has_changed_at_first() {
        assert!(addresses().contains(&IpAddr::from([127, 0, 0, 1])));
        let poll = mio::Poll::new().unwrap();
        let mut network = Network::new(poll.registry(), Token(2));
        let now = Instant::ZERO;
        assert_eq!(network.poll(now), None);
        network.handle_ready(now);
        assert_eq!(network.deadline(), Some(now + SETTLED));
        assert_eq!(network.poll(now + SETTLED), None, "it looked, and all was as before");
        network.addresses.push(IpAddr::from([192, 0, 2, 1]));
        network.handle_ready(now);
        let change = network.poll(now + SETTLED).unwrap();
        assert!(!change.resumed && !change.addresses.contains(&IpAddr::from([192, 0, 2, 1])));
        network.slept = network.slept.saturating_sub(Duration::from_secs(60));
        if network.slept > Duration::ZERO || slept() > Duration::from_secs(60) {
            assert!(network.poll(now).unwrap().resumed);
        }
    }
}
