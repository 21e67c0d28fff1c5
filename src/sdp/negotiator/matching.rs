//! Which formats two sides have in common, and where the other side is.

use super::super::capabilities::Capabilities;
use super::super::error::NegotiationError;
use super::super::format::Format;
use super::super::plan::{Direction, DtmfPlan, NegotiatedCodec, PayloadTypes, Remote};
use super::super::session::{Host, Media, Sdp, is_unicast, rtcp_address};
use super::event_format;
use crate::engine::Lease;
use crate::time::Duration;
use std::net::{IpAddr, SocketAddr};

/// One format that both sides have, with each side's number and parameters.
#[derive(Debug, Clone)]
pub(super) struct Match {
    pub(super) ours: Format,
    pub(super) theirs: Format,
}

impl Match {
    /// As the plan says it.
    pub(super) fn codec(&self) -> NegotiatedCodec {
        NegotiatedCodec {
            name: self.ours.name.clone(),
            clock_rate: self.ours.clock_rate,
            channels: self.ours.channels,
            pt: self.numbers(),
            send_fmtp: self.theirs.fmtp.clone(),
            recv_fmtp: self.ours.fmtp.clone(),
        }
    }

    const fn numbers(&self) -> PayloadTypes {
        PayloadTypes { send: self.theirs.pt, recv: self.ours.pt }
    }
}

/// Where the peer is and what it wants, seen from the peer.
pub(super) struct FarEnd {
    pub(super) direction: Direction,
    address: Option<(SocketAddr, SocketAddr)>,
}

impl FarEnd {
    pub(super) const fn remote(&self, latch: bool) -> Remote {
        match self.address {
            Some((rtp, rtcp)) => Remote::Signalled { rtp, rtcp, latch },
            None => Remote::None,
        }
    }
}

/// All formats we could offer: codecs in order, then telephone-event for each of their clock rates (RFC 4733 §2.1).
pub(super) fn wanted(capabilities: &Capabilities) -> Vec<Format> {
    let mut formats: Vec<_> = capabilities
        .codecs
        .iter()
        .map(|spec| Format {
            pt: spec.static_pt.unwrap_or(96),
            name: spec.name.to_owned(),
            clock_rate: spec.clock_rate,
            channels: spec.channels,
            fmtp: capabilities.fmtp_of(spec).to_owned(),
        })
        .collect();
    let mut rates: Vec<u32> = Vec::new();
    for format in formats.iter().filter(|_| capabilities.dtmf) {
        if !rates.contains(&format.clock_rate) {
            rates.push(format.clock_rate);
        }
    }
    formats.extend(rates.into_iter().map(event_format));
    formats
}

/// The formats of an offer that we have too, in the offer's order.
pub(super) fn match_formats(offered: &[Format], capabilities: &Capabilities) -> Result<Vec<Match>, NegotiationError> {
    pair(&wanted(capabilities), offered)
}

/// Pairs the peer's formats with ours, in the peer's order, each of ours once. Of telephone-event only the clock rates
/// of common codecs are kept; if there is none, the peer's first.
pub(super) fn pair(ours: &[Format], theirs: &[Format]) -> Result<Vec<Match>, NegotiationError> {
    let mut matches: Vec<Match> = Vec::new();
    for format in theirs {
        let known = ours.iter().find(|own| suits(own, format));
        if let Some(own) = known
            && matches.iter().all(|pair| !pair.ours.is_same(own))
        {
            matches.push(Match { ours: own.clone(), theirs: format.clone() });
        }
    }
    let rates: Vec<_> = matches.iter().filter(|pair| !pair.ours.is_event()).map(|pair| pair.ours.clock_rate).collect();
    if rates.is_empty() {
        return Err(no_common_codec(theirs, ours));
    }
    let fits = |pair: &Match| rates.contains(&pair.ours.clock_rate);
    let first_event = matches.iter().position(|pair| pair.ours.is_event());
    let any_fits = matches.iter().any(|pair| pair.ours.is_event() && fits(pair));
    let mut index = 0;
    matches.retain(|pair| {
        let keep = !pair.ours.is_event() || fits(pair) || (!any_fits && Some(index) == first_event);
        index += 1;
        keep
    });
    Ok(matches)
}

/// Whether both mean the same. The channels of Opus are always 2 (RFC 7587 §7), so a peer that leaves them out means it.
fn suits(ours: &Format, theirs: &Format) -> bool {
    ours.is_same(theirs) || (ours.name == "opus" && theirs.name == "opus" && ours.clock_rate == theirs.clock_rate)
}

pub(super) fn no_common_codec(theirs: &[Format], ours: &[Format]) -> NegotiationError {
    let names =
        |formats: &[Format]| formats.iter().filter(|format| !format.is_event()).map(ToString::to_string).collect();
    NegotiationError::NoCommonCodec { theirs: names(theirs), ours: names(ours) }
}

/// telephone-event at the clock rate of the codec in use, else at whatever rate there is.
pub(super) fn dtmf(matches: &[Match], clock_rate: u32) -> Option<DtmfPlan> {
    let mut events = matches.iter().filter(|pair| pair.ours.is_event());
    let best = events.clone().find(|pair| pair.ours.clock_rate == clock_rate).or_else(|| events.next())?;
    Some(DtmfPlan { pt: best.numbers(), clock_rate: best.ours.clock_rate })
}

/// The sound per packet to send: what the peer asks for within 1..=200 ms, else `ours`, no more than its `a=maxptime`,
/// in the whole tens from 10 to 60 ms that every codec here can do.
pub(super) fn packet_time(theirs: &Media, ours: Duration) -> Duration {
    let named = |name| {
        let text = theirs.attribute(name)?.trim();
        let whole = text.split('.').next().unwrap_or_default();
        whole.parse::<u64>().ok().filter(|ms| (1..=200).contains(ms))
    };
    let wanted = named("ptime").unwrap_or_else(|| u64::try_from(ours.as_millis()).unwrap_or(20));
    let most = named("maxptime").unwrap_or(200);
    Duration::from_millis((wanted.min(most) / 10 * 10).clamp(10, 60))
}

/// Finds out where the peer receives `media`. The unspecified address is the hold of RFC 2543: it wants nothing then.
pub(super) fn far_end(sdp: &Sdp, media: &Media, lease: Lease) -> Result<FarEnd, NegotiationError> {
    let direction = sdp.direction_of(media);
    let connection = sdp.connection_of(media).ok_or(NegotiationError::NoAddress)?;
    let ip: IpAddr = match &connection.host {
        // An IPv4 address within IPv6 is that IPv4 address (RFC 5118 §4.9).
        Host::Ip(ip) => ip.to_canonical(),
        Host::Name { name, .. } => return Err(NegotiationError::HostName { name: name.clone() }),
    };
    if ip.is_unspecified() {
        let direction = Direction::from_halves(direction.sends(), false);
        return Ok(FarEnd { direction, address: None });
    }
    if !is_unicast(ip) {
        return Err(NegotiationError::NotUnicast { address: ip });
    }
    let ours = lease.rtp_addr.ip();
    if ip.is_ipv4() != ours.is_ipv4() {
        return Err(NegotiationError::Family { theirs: ip, ours });
    }
    let rtp = SocketAddr::new(ip, media.port);
    Ok(FarEnd { direction, address: Some((rtp, rtcp_address(media, rtp))) })
}
