//! Descriptions passed through a bridge that relays RTP undecoded: addresses rewritten, formats and keys kept.

use super::error::NegotiationError;
use super::format::Format;
use super::plan::{
    Direction, DtmfPlan, MediaKind, MediaPlan, NegotiatedCodec, PayloadTypes, Protection, Remote, StreamPlan,
    TransportPlan,
};
use super::session::{Attribute, Connection, Host, Media, Sdp, is_unicast, rtcp_address};
use crate::engine::Lease;
use crate::time::Duration;
use std::net::{IpAddr, SocketAddr};

#[cfg(test)]
mod tests;

/// Attributes that name addresses or keys of one link and must not cross a bridge (ICE, DTLS, RFC 5761). The keys of
/// `a=crypto` do cross it: packets are passed as they are, so the phones encrypt to each other.
const OF_ONE_LINK: &[&str] = &[
    "candidate",
    "remote-candidates",
    "end-of-candidates",
    "ice-ufrag",
    "ice-pwd",
    "ice-options",
    "ice-lite",
    "ice-mismatch",
    "ice-pacing",
    "rtcp",
    "rtcp-mux",
    "rtcp-mux-only",
    "fingerprint",
    "setup",
    "connection",
    "tls-id",
    "group",
];

/// The audio stream of a description as a bridge sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteMedia {
    /// Index of its m-line.
    pub index: usize,
    /// RTP and RTCP destination; `None` for the hold of RFC 2543.
    pub address: Option<(SocketAddr, SocketAddr)>,
    /// Seen from whoever wrote the description.
    pub direction: Direction,
    /// All its formats, known to us or not.
    pub formats: Vec<Format>,
}

/// Puts our addresses in place of the peer's: the first open audio m-line stays with all its formats, every other is
/// refused by port 0. An m-line order of the peer is kept, so the result fits the offer it answers.
#[must_use]
pub fn rewrite_addresses(sdp: &Sdp, rtp: SocketAddr, rtcp: SocketAddr) -> Sdp {
    let audio = sdp.audio();
    let passes = |attribute: &&Attribute| !OF_ONE_LINK.contains(&attribute.name.as_str());
    let media = sdp.media.iter().enumerate().map(|(index, media)| {
        if Some(index) != audio {
            return media.refused();
        }
        let mut attributes: Vec<_> = media.attributes.iter().filter(passes).cloned().collect();
        if rtp.port().checked_add(1) != Some(rtcp.port()) || rtp.ip() != rtcp.ip() {
            attributes.push(Attribute::new("rtcp", format!("{} {}", rtcp.port(), Host::Ip(rtcp.ip()))));
        }
        // The hold of RFC 2543 stays visible to the other leg.
        let is_hold = sdp.connection_of(media).is_some_and(|c| matches!(c.host, Host::Ip(ip) if ip.is_unspecified()));
        let connections = if is_hold { vec![Connection::new(unspecified(rtp))] } else { Vec::new() };
        Media { port: rtp.port(), port_count: None, connections, attributes, ..media.clone() }
    });
    let mut rewritten = Sdp {
        connection: Some(Connection::new(rtp.ip())),
        attributes: sdp.attributes.iter().filter(passes).cloned().collect(),
        media: media.collect(),
        ..sdp.clone()
    };
    rewritten.origin.host = Host::Ip(rtp.ip());
    rewritten
}

const fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Reads where the writer of `sdp` wants its sound and in which formats.
///
/// # Errors
/// [`NegotiationError`] if there is no audio stream over RTP, or no usable address for it.
pub fn remote_of(sdp: &Sdp) -> Result<RemoteMedia, NegotiationError> {
    let Some((index, media)) = sdp.audio().and_then(|index| sdp.media.get(index).map(|media| (index, media))) else {
        let offered = sdp.media.iter().map(|media| format!("{} {}", media.kind, media.protocol)).collect();
        return Err(NegotiationError::NoAudio { offered });
    };
    let ip = match sdp.connection_of(media).map(|connection| &connection.host) {
        None => return Err(NegotiationError::NoAddress),
        Some(Host::Name { name, .. }) => return Err(NegotiationError::HostName { name: name.clone() }),
        Some(Host::Ip(ip)) => ip.to_canonical(),
    };
    if !ip.is_unspecified() && !is_unicast(ip) {
        return Err(NegotiationError::NotUnicast { address: ip });
    }
    let rtp = SocketAddr::new(ip, media.port);
    let address = (!ip.is_unspecified()).then(|| (rtp, rtcp_address(media, rtp)));
    Ok(RemoteMedia { index, address, direction: sdp.direction_of(media), formats: Format::of(media) })
}

/// The plan of one leg of a bridge: `local` is what this leg's peer was sent, `remote` what it sent itself, `lease`
/// the leg's sockets. Every payload type of either description is passed, with `send` = `recv`.
///
/// # Errors
/// [`NegotiationError`] if `remote` has no audio stream that can be relayed.
pub fn relay_plan(local: &Sdp, remote: &Sdp, lease: Lease, latch: bool) -> Result<MediaPlan, NegotiationError> {
    let RemoteMedia { index, address, direction, formats } = remote_of(remote)?;
    if let Some((rtp, _)) = address
        && rtp.is_ipv4() != lease.rtp_addr.is_ipv4()
    {
        return Err(NegotiationError::Family { theirs: rtp.ip(), ours: lease.rtp_addr.ip() });
    }
    let ours = local.media.get(index);
    let mut all = formats;
    for format in ours.map(Format::of).unwrap_or_default() {
        if all.iter().all(|known| known.pt != format.pt) {
            all.push(format);
        }
    }
    let receive: Vec<_> = all.iter().filter(|format| !format.is_event()).map(passed).collect();
    let Some(codec) = receive.first().cloned() else {
        return Err(NegotiationError::NoCommonCodec { theirs: Vec::new(), ours: Vec::new() });
    };
    let event = all.iter().filter(|format| format.is_event());
    let event = event.clone().find(|format| format.clock_rate == codec.clock_rate).or_else(|| event.clone().next());
    let wanted = ours.map_or(Direction::SendRecv, |media| local.direction_of(media));
    let theirs = direction.reversed();
    let sends = wanted.sends() && theirs.sends() && address.is_some();
    let stream = StreamPlan {
        index,
        transport: 0,
        kind: MediaKind::Audio,
        direction: Direction::from_halves(sends, wanted.receives() && theirs.receives()),
        dtmf: event.map(|event| DtmfPlan { pt: same(event.pt), clock_rate: event.clock_rate }),
        ptime: Duration::from_millis(20), // a relay sends what it gets
        codec,
        receive,
    };
    let remote = address.map_or(Remote::None, |(rtp, rtcp)| Remote::Signalled { rtp, rtcp, latch });
    let transport = TransportPlan { lease, remote, protection: Protection::None, rtcp_mux: false };
    Ok(MediaPlan { transports: vec![transport], streams: vec![stream] })
}

const fn same(pt: u8) -> PayloadTypes {
    PayloadTypes { send: pt, recv: pt }
}

fn passed(format: &Format) -> NegotiatedCodec {
    NegotiatedCodec {
        name: format.name.clone(),
        clock_rate: format.clock_rate,
        channels: format.channels,
        pt: same(format.pt),
        send_fmtp: format.fmtp.clone(),
        recv_fmtp: format.fmtp.clone(),
    }
}
