//! One media transport: addresses, who may send to us (RFC 4961; threats C1, C2, C3), and SRTP. Knows no codec.
//!
//! ```text
//!                 ┌─ packet from the signalled address ──────────────▶ Locked(signalled)
//!  Signalled ─────┤
//!                 └─ 5 packets in a row, one SSRC, from one stranger ▶ Locked(stranger)      only if latching is on, within 5 s
//!  new address in a later SDP: Signalled again
//! ```
//! With SRTP the key says who it is, not the address: nothing is believed before its tag was found right, and an authentic
//! packet that is newer than all before moves the address (a NAT that changed its mind).

use super::outbox::Outbox;
use super::packet::{RtpPacket, is_rtcp};
use super::set::Destination;
use super::srtp::{Counts, Srtp};
use crate::engine::Lease;
use crate::id::SocketId;
use crate::sdp::plan::{Protection, Remote, SdesKeys, Suite, TransportPlan};
use crate::time::{Duration, Instant};
use std::net::{IpAddr, SocketAddr};

/// The far end of a session as the network shows it.
#[derive(Debug)]
pub(super) struct MediaTransport {
    lease: Lease,
    dscp: u8,
    remote: Remote,
    source: Source,
    /// SRTP, if it was agreed.
    srtp: Option<Box<Srtp>>,
    /// The stream that is accepted.
    ssrc: Option<u32>,
    /// Another SSRC from the locked address and the number its next packet must have.
    rival: Option<(u32, u16)>,
    /// When the remote address was taken.
    since: Instant,
    /// When anything was accepted last.
    heard: Option<Instant>,
}

/// Whom we listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Nothing was agreed: nobody.
    Nobody,
    /// Nothing has come yet.
    Signalled { rtp: SocketAddr, rtcp: SocketAddr, trial: Option<Trial> },
    /// Only this address, until a new SDP names another.
    Locked { rtp: SocketAddr, rtcp: SocketAddr, latched: bool },
}

/// A stranger's packets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    from: SocketAddr,
    ssrc: u32,
    next_seq: u16,
    count: u32,
}

impl MediaTransport {
    /// Makes the transport of a plan.
    pub(super) fn new(now: Instant, plan: &TransportPlan, dscp: u8) -> Self {
        Self {
            lease: plan.lease,
            dscp,
            remote: plan.remote,
            source: Source::of(plan.remote),
            srtp: keys_of(plan).map(|keys| Box::new(Srtp::new(keys))),
            ssrc: None,
            rival: None,
            since: now,
            heard: None,
        }
    }

    /// Takes over a later plan. An unchanged address keeps its lock. True when what is sent from now on needs a new SSRC:
    /// see [`Srtp::set_keys`].
    pub(super) fn set_plan(&mut self, now: Instant, plan: &TransportPlan) -> bool {
        self.lease = plan.lease;
        let new_sender = match (&mut self.srtp, keys_of(plan)) {
            (Some(srtp), Some(keys)) => srtp.set_keys(now, keys),
            (srtp, keys) => {
                *srtp = keys.map(|keys| Box::new(Srtp::new(keys)));
                srtp.is_some()
            }
        };
        if plan.remote == self.remote {
            return new_sender;
        }
        // A hold by c=0.0.0.0 and back leaves the peer where it was.
        if plan.remote != Remote::None {
            self.source = Source::of(plan.remote);
            self.rival = None;
            self.since = now;
            self.heard = None;
        }
        self.remote = plan.remote;
        new_sender
    }

    /// Sending begins, or begins again after a hold: the peer gets its time to answer anew.
    pub(super) fn renew(&mut self, now: Instant) {
        self.since = now;
        self.heard = self.heard.map(|_| now);
    }

    /// The sockets.
    pub(super) fn lease(&self) -> Lease {
        self.lease
    }

    /// Opens an RTP packet in place: its clear length, and for SRTP whether it is newer than all before. `None`: refused.
    pub(super) fn open_rtp(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) -> Option<(usize, Proof)> {
        if !self.looks_at(now, from) {
            return None;
        }
        let Some(srtp) = &mut self.srtp else { return Some((bytes.len(), Proof::None)) };
        let opened = srtp.unprotect_rtp(now, bytes).ok()?;
        Some((opened.length, Proof::Authentic { newest: opened.newest }))
    }

    /// Opens an RTCP packet in place, if it may be believed: its clear length.
    pub(super) fn open_rtcp(&mut self, now: Instant, from: SocketAddr, bytes: &mut [u8]) -> Option<usize> {
        let Some(srtp) = &mut self.srtp else { return self.accepts_rtcp(now, from).then_some(bytes.len()) };
        let length = srtp.unprotect_rtcp(now, bytes).ok()?;
        // Authentic from wherever it comes; only who sends sound tells us where to send.
        if !self.accepts_rtcp(now, from) {
            self.heard = Some(now);
        }
        Some(length)
    }

    /// Protects what was put into `outbox` since it held `from` datagrams; what cannot be protected is not sent.
    pub(super) fn seal(&mut self, outbox: &mut Outbox, from: usize) {
        let Some(srtp) = &mut self.srtp else { return };
        outbox.rework(from, |buf, length| {
            if buf.get(..length).is_some_and(is_rtcp) {
                srtp.protect_rtcp(buf, length)
            } else {
                srtp.protect_rtp(buf, length)
            }
        });
    }

    /// How packets are protected, and what became of those that came; `None` without protection.
    pub(super) fn protection(&self) -> Option<(Suite, Counts)> {
        self.srtp.as_ref().map(|srtp| (srtp.keys().suite, srtp.counts()))
    }

    /// Whether an RTP packet may be heard whose sender was proven by its key.
    pub(super) fn accepts(
        &mut self,
        now: Instant,
        from: SocketAddr,
        packet: &RtpPacket<'_>,
        negotiated: bool,
        proof: Proof,
    ) -> bool {
        let Proof::Authentic { newest } = proof else { return self.accepts_rtp(now, from, packet, negotiated) };
        let from = canonical(from);
        let source = match self.source {
            Source::Nobody => return false,
            Source::Signalled { rtp, rtcp, .. } | Source::Locked { rtp, rtcp, latched: false } if rtp == from => {
                Source::Locked { rtp, rtcp, latched: false }
            }
            source @ Source::Locked { rtp, .. } if rtp == from || !newest => source,
            Source::Signalled { rtcp, .. } | Source::Locked { rtcp, .. } => {
                Source::Locked { rtp: from, rtcp, latched: true }
            }
        };
        if negotiated {
            self.lock(now, packet.ssrc, source);
        }
        negotiated
    }

    /// Whether an RTP packet may be heard; `negotiated` says whether its payload type was agreed.
    fn accepts_rtp(&mut self, now: Instant, from: SocketAddr, packet: &RtpPacket<'_>, negotiated: bool) -> bool {
        let from = canonical(from);
        match self.source {
            Source::Nobody => false,
            Source::Signalled { rtp, rtcp, .. } if from == rtp => {
                if !negotiated {
                    return false;
                }
                self.lock(now, packet.ssrc, Source::Locked { rtp, rtcp, latched: false });
                true
            }
            Source::Signalled { rtp, rtcp, trial } => {
                let may_latch = matches!(self.remote, Remote::Signalled { latch: true, .. })
                    && now.since(self.since) <= LATCH_WITHIN;
                if !may_latch || !negotiated {
                    return false;
                }
                let next_seq = packet.seq.wrapping_add(1);
                let count = match trial {
                    Some(trial) if (trial.from, trial.ssrc, trial.next_seq) == (from, packet.ssrc, packet.seq) => {
                        trial.count + 1
                    }
                    Some(_) | None => 1,
                };
                if count < LATCH_AFTER {
                    let trial = Some(Trial { from, ssrc: packet.ssrc, next_seq, count });
                    self.source = Source::Signalled { rtp, rtcp, trial };
                    return false;
                }
                self.lock(now, packet.ssrc, Source::Locked { rtp: from, rtcp, latched: true });
                true
            }
            Source::Locked { rtp, .. } => {
                if from != rtp || !negotiated {
                    return false;
                }
                let known = self.ssrc.is_none_or(|ssrc| ssrc == packet.ssrc);
                if !known && self.rival != Some((packet.ssrc, packet.seq)) {
                    self.rival = Some((packet.ssrc, packet.seq.wrapping_add(1)));
                    return false;
                }
                self.ssrc = Some(packet.ssrc);
                self.rival = None;
                self.heard = Some(now);
                true
            }
        }
    }

    /// Whether an RTCP packet may be believed: from its signalled address, or from the host whose RTP was latched onto.
    fn accepts_rtcp(&mut self, now: Instant, from: SocketAddr) -> bool {
        let from = canonical(from);
        let accepted = match &mut self.source {
            Source::Nobody => false,
            Source::Signalled { rtcp, .. } | Source::Locked { rtcp, latched: false, .. } => from == *rtcp,
            Source::Locked { rtp, rtcp, latched: true } => {
                let known = from.ip() == rtp.ip();
                if known {
                    *rtcp = from;
                }
                known
            }
        };
        if accepted {
            self.heard = Some(now);
        }
        accepted
    }

    /// The accepted source said goodbye: the next one is accepted at once.
    pub(super) fn handle_bye(&mut self, ssrc: u32) {
        if self.ssrc == Some(ssrc) {
            self.ssrc = None;
            self.rival = None;
        }
    }

    /// Where RTP goes; `None` while there is no address.
    pub(super) fn rtp_to(&self) -> Option<Destination> {
        let to = match self.source {
            _ if self.remote == Remote::None => return None,
            Source::Nobody => return None,
            Source::Signalled { rtp, .. } | Source::Locked { rtp, .. } => rtp,
        };
        sendable(to).then_some(Destination { socket: self.lease.rtp, to, dscp: self.dscp })
    }

    /// Where RTCP goes.
    pub(super) fn rtcp_to(&self) -> Option<Destination> {
        let to = match self.source {
            _ if self.remote == Remote::None => return None,
            Source::Nobody => return None,
            Source::Signalled { rtcp, .. } | Source::Locked { rtcp, .. } => rtcp,
        };
        sendable(to).then_some(Destination { socket: self.lease.rtcp, to, dscp: self.dscp })
    }

    /// Whether `socket` is the RTCP socket of the pair.
    pub(super) fn is_rtcp(&self, socket: SocketId) -> bool {
        socket == self.lease.rtcp && socket != self.lease.rtp
    }

    /// False when nothing has come back for so long that the address may be a victim's (threats C3): only keep-alives then.
    ///
    /// That is 10 s for an address that never answered and, as for consent in RFC 7675, 30 s for one that did.
    pub(super) fn is_wanted(&self, now: Instant) -> bool {
        match self.heard {
            None => now.since(self.since) < UNANSWERED_MOST,
            Some(heard) => now.since(heard) < SILENT_MOST,
        }
    }
}

impl MediaTransport {
    /// Whether the tag of a packet is worth computing: strangers are not looked at while the known address sends, so that
    /// a flood from elsewhere costs nothing.
    fn looks_at(&self, now: Instant, from: SocketAddr) -> bool {
        let known = match self.source {
            Source::Nobody => return false,
            Source::Signalled { rtp, .. } | Source::Locked { rtp, .. } => rtp == canonical(from),
        };
        known || self.srtp.is_none() || self.heard.is_none_or(|heard| now.since(heard) >= QUIET)
    }

    fn lock(&mut self, now: Instant, ssrc: u32, source: Source) {
        self.source = source;
        self.ssrc = Some(ssrc);
        self.rival = None;
        self.heard = Some(now);
    }
}

/// What the key has proven about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: there is no key.
    None,
    /// The peer has sent it.
    Authentic {
        /// Later than all before.
        newest: bool,
    },
}

impl Source {
    fn of(remote: Remote) -> Self {
        match remote {
            Remote::None => Self::Nobody,
            Remote::Signalled { rtp, rtcp, .. } => {
                Self::Signalled { rtp: canonical(rtp), rtcp: canonical(rtcp), trial: None }
            }
        }
    }
}

fn keys_of(plan: &TransportPlan) -> Option<&SdesKeys> {
    match &plan.protection {
        Protection::None => None,
        Protection::Sdes(keys) => Some(keys),
    }
}

/// An IPv4 address inside IPv6 is that IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

fn sendable(to: SocketAddr) -> bool {
    to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast()
}

/// Threats C1.
const LATCH_AFTER: u32 = 5;
const LATCH_WITHIN: Duration = Duration::from_secs(5);
/// How long the known address must have been silent before others are asked for the key.
const QUIET: Duration = Duration::from_millis(300);
/// Threats C3.
const UNANSWERED_MOST: Duration = Duration::from_secs(10);
const SILENT_MOST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
