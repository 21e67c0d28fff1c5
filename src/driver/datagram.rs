//! Datagram sockets: SIP sockets that know which of our addresses a request came to, and RTP/RTCP sockets.

use crate::time::Duration;
use mio::net::UdpSocket;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

/// Datagrams taken from one socket before the others have their turn.
pub(super) const FAIR: usize = 64;
/// The largest datagram there is.
pub(super) const DATAGRAM: usize = 65_535;
/// Bytes of requests that may wait: about 1,500 INVITEs.
const BURST: usize = 4 << 20;
/// How long a socket that gives errors is left alone.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// A bound UDP socket.
pub(super) struct Datagrams {
    socket: UdpSocket,
    local: SocketAddr,
    /// Bound to an unspecified address: each datagram tells where it came to.
    wildcard: bool,
    control: Vec<u8>,
    /// The kernel tells when each datagram arrived.
    stamped: bool,
    dscp: u8,
}

impl Datagrams {
    /// Binds `addr`. An IPv6 socket carries IPv6 alone, so that `0.0.0.0` and `::` can share a port.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking().cloexec(), None)?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&addr.into())?;
        let wildcard = addr.ip().is_unspecified();
        if wildcard {
            match addr {
                SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        let socket = UdpSocket::from_std(socket.into());
        let local = socket.local_addr()?;
        let control = if wildcard { nix::cmsg_space!(in_pktinfo, in6_pktinfo) } else { Vec::new() };
        Ok(Self { socket, local, wildcard, control, stamped: false, dscp: 0 })
    }

    /// Asks for room for a burst of requests: what does not fit is lost until it is sent again. The system may give less.
    pub(super) fn widen(&self) {
        let _ = socket2::SockRef::from(&self.socket).set_recv_buffer_size(BURST);
        // Beyond the system's usual limit where we may.
        let _ = setsockopt(&self.socket, sockopt::RcvBufForce, &BURST);
    }

    /// Lets the kernel note when each datagram arrives, for [`Datagrams::receive_stamped`]. Not for wildcard sockets.
    fn stamp(&mut self) -> io::Result<()> {
        setsockopt(&self.socket, sockopt::ReceiveTimestampns, &true)?;
        self.control = nix::cmsg_space!(TimeSpec);
        self.stamped = true;
        Ok(())
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn source(&mut self) -> &mut UdpSocket {
        &mut self.socket
    }

    /// Marks what is sent from now on; a system that refuses sends unmarked.
    pub(super) fn mark(&mut self, dscp: u8) {
        if self.dscp == dscp {
            return;
        }
        self.dscp = dscp;
        let class = u32::from(dscp & 0x3f) << 2;
        let socket = socket2::SockRef::from(&self.socket);
        let _ = if self.local.is_ipv4() { socket.set_tos_v4(class) } else { socket.set_tclass_v6(class) };
    }

    /// The next datagram: its length, its source, and our address it was sent to.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, SocketAddr)> {
        if !self.wildcard {
            let (length, source) = self.socket.recv_from(buffer)?;
            return Ok((length, source, self.local));
        }
        let fd = self.socket.as_raw_fd();
        let (local, control) = (self.local, &mut self.control);
        self.socket.try_io(|| {
            let mut slices = [IoSliceMut::new(buffer)];
            let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), MsgFlags::MSG_DONTWAIT)?;
            let source = message.address.as_ref().and_then(address).ok_or(Errno::EAFNOSUPPORT)?;
            let to = message.cmsgs()?.find_map(|control| destination(&control)).unwrap_or_else(|| local.ip());
            Ok((message.bytes, source, SocketAddr::new(to, local.port())))
        })
    }

    /// The next datagram of a stamped socket: its length, its source, and when it arrived by the wall clock, if that is known.
    pub(super) fn receive_stamped(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Option<Duration>)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let control = if self.stamped { Some(&mut self.control[..]) } else { None };
        let message =
            recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, control, MsgFlags::MSG_DONTWAIT)?;
        let source = message.address.as_ref().and_then(address).ok_or(Errno::EAFNOSUPPORT)?;
        let mut arrived = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(at) = control {
                arrived = Some(at.into());
            }
        }
        Ok((message.bytes, source, arrived))
    }

    /// Throws away what waits.
    pub(super) fn drain(&self) {
        let mut buffer = [0; 64];
        for _ in 0..FAIR {
            if self.socket.recv_from(&mut buffer).is_err() {
                return;
            }
        }
    }

    /// Sends one datagram, from `from` where the socket is bound to any address.
    pub(super) fn send(&self, bytes: &[u8], from: Option<IpAddr>, to: SocketAddr) -> io::Result<()> {
        let Some(from) = from.filter(|from| self.wildcard && !from.is_unspecified()) else {
            return self.socket.send_to(bytes, to).map(|_| ());
        };
        let fd = self.socket.as_raw_fd();
        let slices = [IoSlice::new(bytes)];
        let to = SockaddrStorage::from(to);
        self.socket.try_io(|| {
            match from {
                IpAddr::V4(ip) => {
                    let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: raw_v4(ip), ipi_addr: raw_v4(ip) };
                    sendmsg(fd, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))?
                }
                IpAddr::V6(ip) => {
                    let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                    sendmsg(fd, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))?
                }
            };
            Ok(())
        })
    }
}

fn raw_v4(ip: Ipv4Addr) -> in_addr {
    in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

fn destination(control: &ControlMessageOwned) -> Option<IpAddr> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
        return Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
    }
    if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
        return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
    }
    None
}

/// Our address towards `peer`: what a connected socket is given by the routing table. Sends nothing.
pub(super) fn local_address(peer: SocketAddr) -> io::Result<IpAddr> {
    let any = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let probe = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Port 0 cannot be connected to.
    probe.connect(SocketAddr::new(peer.ip(), peer.port().max(1)))?;
    Ok(probe.local_addr()?.ip())
}

/// Binds an RTP/RTCP pair at `ip`: an even port of the range and the next one. `turn` says where in the range to begin, so
/// that a port just given back is the last to be taken again (late packets of the old call must not reach a new one).
pub(super) fn bind_pair(ip: IpAddr, ports: (u16, u16), turn: &mut u32) -> Option<(Datagrams, Datagrams)> {
    let pair = |port: u16| {
        let mut rtp = Datagrams::bind(SocketAddr::new(ip, port)).ok()?;
        rtp.stamp().ok()?;
        let rtcp = Datagrams::bind(SocketAddr::new(ip, port.checked_add(1)?)).ok()?;
        Some((rtp, rtcp))
    };
    let first = ports.0.max(1).next_multiple_of(2);
    if ports.1 == 0 {
        // Any free pair: let the system choose, and look whether its neighbour is free too.
        return (0..64).find_map(|_| {
            let free = Datagrams::bind(SocketAddr::new(ip, 0)).ok()?.local().port() & !1;
            pair(free)
        });
    }
    let pairs = (u32::from(ports.1) + 1).saturating_sub(u32::from(first)) / 2;
    for _ in 0..pairs {
        let port = first + u16::try_from(*turn % pairs * 2).ok()?;
        *turn = turn.wrapping_add(1);
        if let Some(pair) = pair(port) {
            return Some(pair);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(datagrams: &mut Datagrams, buffer: &mut [u8]) -> (usize, SocketAddr, SocketAddr) {
        let fd = socket2::SockRef::from(&datagrams.socket).try_clone().expect("a second handle");
        fd.set_nonblocking(false).expect("a blocking handle");
        fd.set_read_timeout(Some(Duration::from_secs(2))).expect("a patient handle");
        let mut peek = [std::mem::MaybeUninit::uninit(); 1];
        let _ = fd.peek(&mut peek);
        fd.set_nonblocking(true).expect("as before");
        datagrams.receive(buffer).expect("a datagram has come")
    }

    fn replies_from_the_address_that_was_asked(any: &str, ours: &str, theirs: &str) {
        let mut wildcard = Datagrams::bind(any.parse().expect("an address")).expect("any address can be bound");
        let mut peer = Datagrams::bind(theirs.parse().expect("an address")).expect("loopback can be bound");
        let ours = SocketAddr::new(ours.parse().expect("an address"), wildcard.local().port());
        peer.send(b"ping", None, ours).expect("sent");

        let mut buffer = [0; 100];
        assert_eq!(wait(&mut wildcard, &mut buffer), (4, peer.local(), ours));
        wildcard.send(b"pong", Some(ours.ip()), peer.local()).expect("sent");
        assert_eq!(wait(&mut peer, &mut buffer), (4, ours, peer.local()));
    }

    #[test]
    fn a_wildcard_socket_replies_from_the_address_that_was_asked() {
        replies_from_the_address_that_was_asked("0.0.0.0:0", "127.0.0.7", "127.0.0.9:0");
        replies_from_the_address_that_was_asked("[::]:0", "::1", "[::1]:0");
    }

    #[test]
    fn a_pair_is_even_and_its_neighbour_and_is_free_again_when_dropped() {
        let ip = "127.0.0.1".parse().expect("an address");
        let free = bind_pair(ip, (0, 0), &mut 0).expect("some pair is free").0.local().port();
        let range = (free, free + 1);
        let (rtp, rtcp) = bind_pair(ip, range, &mut 0).expect("the pair is free");
        assert_eq!((rtp.local().port() % 2, rtcp.local().port()), (0, rtp.local().port() + 1));
        assert!(bind_pair(ip, range, &mut 0).is_none(), "the only pair is taken");
        drop((rtp, rtcp));
        assert!(bind_pair(ip, range, &mut 0).is_some());
    }

    #[test]
    fn pairs_are_taken_in_turn_so_that_a_port_rests() {
        let ip = "127.0.0.1".parse().expect("an address");
        let mut turn = 0;
        let first = bind_pair(ip, (41_000, 41_039), &mut turn).expect("one of twenty is free").0.local().port();
        let second = bind_pair(ip, (41_000, 41_039), &mut turn).expect("one of twenty is free").0.local().port();
        assert!(second > first, "{first} was taken again at once");
    }

    #[test]
    fn our_address_towards_loopback_is_loopback() {
        assert_eq!(local_address("127.0.0.1:5060".parse().expect("an address")).ok(), "127.0.0.1".parse().ok());
        assert_eq!(local_address("[::1]:5060".parse().expect("an address")).ok(), "::1".parse().ok());
    }
}
