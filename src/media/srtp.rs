//! SRTP and SRTCP (RFC 3711; AES-256 by RFC 6188, GCM by RFC 7714): packets are protected and opened in place, without allocation.
//!
//! ```text
//!  ours:   RTP ─ index = ROC·2¹⁶ + number ─▶ encrypt ─▶ tag ─▶ network
//!  theirs: network ─▶ guess index ─▶ replay window ─▶ tag ─▶ only now is anything believed or kept ─▶ decrypt ─▶ RTP
//! ```
//! A context of its own for each SSRC holds rollover counter (ROC) and replay windows; it is made by the first packet
//! whose tag is right, never by one that merely arrives.

mod cipher;
mod window;

use crate::sdp::plan::{Mki, SdesKeys};
use crate::time::{Duration, Instant};
use cipher::{Master, SessionKeys};
use std::fmt;
use window::Window;

/// Protection of one transport, both ways.
pub struct Srtp {
    keys: SdesKeys,
    sender: Sender,
    receiver: Receiver,
    /// The peer's keys before these, for packets that were on their way when they changed.
    before: Option<(Receiver, Instant)>,
    counts: Counts,
}

/// What became of received packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Their tag was right.
    pub authentic: u64,
    /// Their tag was wrong, or they were no SRTP at all.
    pub forged: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
}

/// Why a packet is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not authentic, or not even SRTP.
    Forged,
    /// Came before.
    Replayed,
}

/// An opened RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of the clear packet, which starts where the other did.
    pub length: usize,
    /// No later packet of its source has been seen.
    pub newest: bool,
}

impl Srtp {
    /// Both directions from their start.
    pub fn new(keys: &SdesKeys) -> Self {
        Self {
            sender: Sender::new(Master { suite: keys.suite, key: &keys.send }),
            receiver: Receiver::new(Master { suite: keys.suite, key: &keys.receive }, keys.mki),
            keys: keys.clone(),
            before: None,
            counts: Counts::default(),
        }
    }

    /// Takes over the keys of a later exchange. A direction whose key stays goes on where it is, ROC and all; a new key
    /// starts at ROC 0. True when the sending key is new: what is sent from now on must have a new SSRC. The key may
    /// have been used before, and then its key stream would repeat (RFC 3711 §9.1); and of the ROC of an SSRC that stays
    /// some think that it goes on (§3.3.1), others that it starts anew.
    pub fn set_keys(&mut self, now: Instant, keys: &SdesKeys) -> bool {
        let same_suite = keys.suite == self.keys.suite;
        let new_sender = !same_suite || keys.send != self.keys.send;
        if new_sender {
            self.sender = Sender::new(Master { suite: keys.suite, key: &keys.send });
        }
        if !same_suite || keys.receive != self.keys.receive {
            let receiver = Receiver::new(Master { suite: keys.suite, key: &keys.receive }, keys.mki);
            let before = std::mem::replace(&mut self.receiver, receiver);
            self.before = Some((before, now + OLD_KEYS));
        }
        // No tag covers the identifier: another one is no reason to forget what has come under the key.
        self.receiver.mki = keys.mki;
        self.keys = keys.clone();
        new_sender
    }

    /// How packets are protected.
    pub const fn keys(&self) -> &SdesKeys {
        &self.keys
    }

    /// What became of what came.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Protects the first `length` bytes of `buf`, an RTP packet; the new length, or `None` when it must not be sent:
    /// it does not fit, or the key is used up.
    pub fn protect_rtp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        self.sender.protect_rtp(buf, length)
    }

    /// Protects the first `length` bytes of `buf`, an RTCP packet.
    pub fn protect_rtcp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        self.sender.protect_rtcp(buf, length)
    }

    /// Opens an RTP packet in place.
    ///
    /// # Errors
    /// When it is not authentic or came before; nothing has changed then, in the packet neither.
    pub fn unprotect_rtp(&mut self, now: Instant, packet: &mut [u8]) -> Result<Opened, Refused> {
        let result = self.open(now, packet, Receiver::unprotect_rtp);
        self.count(result)
    }

    /// Opens an RTCP packet in place; its clear length.
    ///
    /// # Errors
    /// As for RTP.
    pub fn unprotect_rtcp(&mut self, now: Instant, packet: &mut [u8]) -> Result<usize, Refused> {
        let result = self.open(now, packet, Receiver::unprotect_rtcp);
        self.count(result)
    }

    fn open<T>(
        &mut self,
        now: Instant,
        packet: &mut [u8],
        with: fn(&mut Receiver, &mut [u8]) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let refused = match with(&mut self.receiver, packet) {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        match &mut self.before {
            Some((_, until)) if *until <= now => self.before = None,
            Some((before, _)) => return with(before, packet),
            None => {}
        }
        Err(refused)
    }

    fn count<T>(&mut self, result: Result<T, Refused>) -> Result<T, Refused> {
        match result {
            Ok(_) => self.counts.authentic += 1,
            Err(Refused::Forged) => self.counts.forged += 1,
            Err(Refused::Replayed) => self.counts.replayed += 1,
        }
        result
    }
}

impl fmt::Debug for Srtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srtp").field("suite", &self.keys.suite).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The sending half: our key, and where each SSRC of ours is.
struct Sender {
    keys: SessionKeys,
    streams: Vec<Sent>,
}

struct Sent {
    ssrc: u32,
    /// Of the packet sent last.
    index: Option<u64>,
    /// Of the RTCP packet sent next.
    control: u32,
}

impl Sender {
    fn new(master: Master<'_>) -> Self {
        Self { keys: SessionKeys::derive(master), streams: Vec::with_capacity(MOST_OURS) }
    }

    fn protect_rtp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        let header = Header::of(buf.get(..length)?)?;
        let place = self.stream(header.ssrc)?;
        let stream = self.streams.get_mut(place)?;
        let seq = u64::from(header.seq);
        // We count upwards: a lower number is a turn of the counter.
        let index = match stream.index {
            None => seq,
            Some(last) if seq > last & 0xFFFF => last & !0xFFFF | seq,
            Some(last) => (last & !0xFFFF) + (1 << 16) + seq,
        };
        if index >= RTP_MOST {
            return None;
        }
        let length = self.keys.rtp.seal_rtp(buf, length, header.length, header.ssrc, index)?;
        stream.index = Some(index);
        Some(length)
    }

    fn protect_rtcp(&mut self, buf: &mut [u8], length: usize) -> Option<usize> {
        let ssrc = control_ssrc(buf.get(..length)?)?;
        let place = self.stream(ssrc)?;
        let stream = self.streams.get_mut(place)?;
        if stream.control >= RTCP_MOST {
            return None;
        }
        let length = self.keys.rtcp.seal_rtcp(buf, length, ssrc, stream.control)?;
        stream.control += 1;
        Some(length)
    }

    fn stream(&mut self, ssrc: u32) -> Option<usize> {
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        if known.is_none() && self.streams.len() < MOST_OURS {
            self.streams.push(Sent { ssrc, index: None, control: 1 });
            return Some(self.streams.len() - 1);
        }
        known
    }
}

/// The receiving half: the peer's key, and where each of its SSRCs is.
struct Receiver {
    keys: SessionKeys,
    mki: Option<Mki>,
    streams: Vec<Received>,
    /// Packets in a row that nothing opened: the next one is tried with another ROC besides the likely one.
    misses: u64,
}

struct Received {
    ssrc: u32,
    sound: Window,
    control: Window,
}

impl Receiver {
    fn new(master: Master<'_>, mki: Option<Mki>) -> Self {
        Self { keys: SessionKeys::derive(master), mki, streams: Vec::with_capacity(4), misses: 0 }
    }

    fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<Opened, Refused> {
        self.without_mki(packet, self.keys.rtp.rtp_trailer(), Self::open_rtp)
    }

    fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Refused> {
        self.without_mki(packet, self.keys.rtcp.rtcp_trailer(), Self::open_rtcp)
    }

    /// Opens the first `length` bytes of `packet`.
    fn open_rtp(&mut self, packet: &mut [u8], length: usize) -> Result<Opened, Refused> {
        let header = Header::of(packet).ok_or(Refused::Forged)?;
        let known = self.streams.iter().position(|stream| stream.ssrc == header.ssrc);
        let window = known.and_then(|at| self.streams.get(at)).map_or_else(Window::default, |stream| stream.sound);
        let likely = window.guess(header.seq);
        // Who joins late, or was away for half a turn of the counter, does not know the ROC: each packet that fails tries
        // one more (RFC 3711 §3.3.1 leaves open how it is learnt).
        let other = likely.saturating_add((1 + self.misses % OTHER_ROCS) << 16);
        let mut refused = Refused::Forged;
        for index in [likely, other] {
            if index >= RTP_MOST || !window.is_new(index) {
                refused = Refused::Replayed;
                continue;
            }
            let Some(length) = self.keys.rtp.open_rtp(packet, length, header.length, header.ssrc, index) else {
                refused = Refused::Forged;
                continue;
            };
            self.misses = 0;
            let newest = window.is_newest(index);
            self.stream(known, header.ssrc).ok_or(Refused::Forged)?.sound.note(index);
            return Ok(Opened { length, newest });
        }
        // A copy of what came before is told by its likely index.
        if !window.is_new(likely) {
            refused = Refused::Replayed;
        }
        if refused == Refused::Forged {
            self.misses = self.misses.wrapping_add(1);
        }
        Err(refused)
    }

    fn open_rtcp(&mut self, packet: &mut [u8], length: usize) -> Result<usize, Refused> {
        let ssrc = control_ssrc(packet).ok_or(Refused::Forged)?;
        let index = self.keys.rtcp.rtcp_index(packet, length).ok_or(Refused::Forged)?;
        let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        let window = known.and_then(|at| self.streams.get(at)).map_or_else(Window::default, |stream| stream.control);
        if !window.is_new(index.into()) {
            return Err(Refused::Replayed);
        }
        let length = self.keys.rtcp.open_rtcp(packet, length, ssrc, index).ok_or(Refused::Forged)?;
        self.stream(known, ssrc).ok_or(Refused::Forged)?.control.note(index.into());
        Ok(length)
    }

    /// The context of an SSRC, made if there is room: only for packets that are authentic.
    fn stream(&mut self, known: Option<usize>, ssrc: u32) -> Option<&mut Received> {
        if known.is_none() && self.streams.len() < MOST_THEIRS {
            self.streams.push(Received { ssrc, sound: Window::default(), control: Window::default() });
            return self.streams.last_mut();
        }
        self.streams.get_mut(known?)
    }

    /// Opens a packet without its key identifier, which stands before the `trailer` bytes that end it (RFC 3711 §3.1)
    /// and goes behind them; back to its place if the packet is not opened.
    fn without_mki<T>(
        &mut self,
        packet: &mut [u8],
        trailer: usize,
        open: fn(&mut Self, &mut [u8], usize) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let Some(mki) = self.mki else { return open(self, packet, packet.len()) };
        let length = packet.len().checked_sub(mki.len()).ok_or(Refused::Forged)?;
        let at = length.checked_sub(trailer).ok_or(Refused::Forged)?;
        if !packet.get(at..at + mki.len()).is_some_and(|bytes| mki.is(bytes)) {
            return Err(Refused::Forged);
        }
        packet[at..].rotate_left(mki.len());
        let opened = open(self, packet, length);
        if opened.is_err() {
            packet[at..].rotate_right(mki.len());
        }
        opened
    }
}

/// What SRTP needs of an RTP header.
struct Header {
    seq: u16,
    ssrc: u32,
    /// With CSRCs and extension: what stays readable.
    length: usize,
}

impl Header {
    fn of(packet: &[u8]) -> Option<Self> {
        let (fixed, _) = packet.split_first_chunk::<12>()?;
        let [first, _, seq_high, seq_low, _, _, _, _, ssrc @ ..] = *fixed;
        if first >> 6 != 2 {
            return None;
        }
        let mut length = 12 + 4 * usize::from(first & 0x0F);
        if first & 0x10 != 0 {
            let words = packet.get(length + 2..length + 4)?;
            length += 4 + 4 * usize::from(u16::from_be_bytes(words.try_into().ok()?));
        }
        let seq = u16::from_be_bytes([seq_high, seq_low]);
        (length <= packet.len()).then_some(Self { seq, ssrc: u32::from_be_bytes(ssrc), length })
    }
}

/// The SSRC of an RTCP packet: of its first part (RFC 3711 §3.4).
fn control_ssrc(packet: &[u8]) -> Option<u32> {
    let (fixed, _) = packet.split_first_chunk::<8>()?;
    let [first, _, _, _, ssrc @ ..] = *fixed;
    (first >> 6 == 2).then(|| u32::from_be_bytes(ssrc))
}

/// Packets under one key (RFC 3711 §9.2).
const RTP_MOST: u64 = 1 << 48;
const RTCP_MOST: u32 = 1 << 31;
/// SSRCs of a peer under one key; further ones are not heard. Forgetting one instead would open it to replay.
const MOST_THEIRS: usize = 64;
/// SSRCs of ours: it changes at most once in a session.
const MOST_OURS: usize = 4;
/// How many more turns of the counter are tried for a source whose ROC is not known: 5.8 hours of sound each 20 ms.
const OTHER_ROCS: u64 = 16;
/// How long packets under the keys before are still taken.
const OLD_KEYS: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
