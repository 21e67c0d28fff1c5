//! The jitter buffer: received payloads in RTP order, in recycled slots, and the delay that they need.
//!
//! ```text
//!  insert ─▶ extend seq and timestamp ─▶ wild jump? ─▶ one packet on probation, the second one resynchronizes
//!                                      └▶ transit time ─▶ [`TargetDelay`]
//!                                      └▶ ring[seq mod 256] ─▶ first() / remove_first()
//! ```
//! It asks no clock and decodes nothing; [`Playout`](super::playout::Playout) decides when a packet is due.

mod target;

pub(crate) use target::TargetDelay;

use crate::time::{Duration, Instant};

/// How much delay the buffer may trade for completeness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterSettings {
    /// Follow the network (true), or hold the least delay whatever comes (false).
    pub adaptive: bool,
    /// Least delay from a packet's arrival to the end of its playout, its own duration included.
    pub min: Duration,
    /// Most delay aimed at, counted in the same way.
    pub max: Duration,
}

impl Default for JitterSettings {
    fn default() -> Self {
        Self { adaptive: true, min: Duration::from_millis(20), max: Duration::from_secs(2) }
    }
}

/// What became of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It waits for its time.
    Queued,
    /// Its time is over: what it holds has been concealed.
    Late,
    /// Its sequence number is already here or was played.
    Duplicate,
    /// The buffer was full, so the oldest packet went to make room for it.
    Overflow,
    /// It cannot belong here: undecodable, too long, or wildly out of sequence.
    Malformed,
}

/// A queued packet as [`Playout`](super::playout::Playout) sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Extended sequence number.
    pub(crate) seq: i64,
    /// Extended RTP timestamp.
    pub(crate) time: i64,
    /// When it arrived.
    pub(crate) arrived: Instant,
    slot: u8,
    length: u16,
}

/// Where an insertion led, with the news that matter to the playout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// As [`Inserted`] says.
    In(Inserted),
    /// The stream jumped; whatever was queued is gone and this packet is the first of the new timeline.
    Resynchronized,
}

/// Packets in sequence order.
pub(crate) struct JitterBuffer {
    clock_rate: u32,
    ring: Box<[Option<Queued>; SLOTS]>,
    /// Payload bytes, one stretch of [`SLOT_BYTES`] per slot, made for the first packet; untouched ones cost no memory.
    bytes: Box<[u8]>,
    /// Free slots; the last one freed is used first, so that a quiet call stays in few pages.
    free: Vec<u8>,
    /// Sequence number of the first queued packet; meaningless when empty.
    first: i64,
    count: usize,
    /// Everything below was played or given up.
    floor: i64,
    reference: Option<Reference>,
    /// A packet that did not fit the timeline, as (sequence number, transit in ns).
    suspect: Option<(u16, i64)>,
}

/// The newest accepted packet, from which the wrapping fields of the next are extended.
#[derive(Debug, Clone, Copy)]
struct Reference {
    seq: i64,
    time: i64,
    transit: i64,
}

impl Reference {
    /// The number nearest to ours that ends in these 16 bits.
    fn extend_seq(&self, seq: u16) -> i64 {
        self.seq + i64::from(seq.wrapping_sub(self.seq as u16) as i16)
    }

    /// The timestamp nearest to ours that ends in these 32 bits.
    fn extend_time(&self, time: u32) -> i64 {
        self.time + i64::from(time.wrapping_sub(self.time as u32) as i32)
    }
}

impl JitterBuffer {
    /// Makes an empty buffer for a stream whose timestamps count at `clock_rate`.
    pub(crate) fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            ring: Box::new([None; SLOTS]),
            bytes: Box::default(),
            free: (0..=u8::MAX).rev().collect(),
            first: 0,
            count: 0,
            floor: i64::MIN,
            reference: None,
            suspect: None,
        }
    }

    /// Forgets everything; the next packet starts a new timeline.
    pub(crate) fn reset(&mut self) {
        self.clear();
        self.floor = i64::MIN;
        self.reference = None;
        self.suspect = None;
    }

    /// Stores a packet and reports its transit time to `target`.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        seq: u16,
        rtp_time: u32,
        marker: bool,
        payload: &[u8],
        target: &mut TargetDelay,
    ) -> Placed {
        if payload.len() > SLOT_BYTES {
            return Placed::In(Inserted::Malformed);
        }
        let mut resynchronized = false;
        let (seq, time, transit) = match self.extend(now, seq, rtp_time) {
            Some(extended) => extended,
            None if self.confirms_suspect(now, seq, rtp_time) => {
                self.reset();
                target.restart();
                resynchronized = true;
                (i64::from(seq), i64::from(rtp_time), self.transit(now, i64::from(rtp_time)))
            }
            None => return Placed::In(Inserted::Malformed),
        };
        self.suspect = None;
        if marker && self.reference.is_some_and(|reference| transit - reference.transit > FROZEN) {
            // A talk spurt whose timestamps go on where the last one ended: the pause is not delay.
            target.restart();
        }
        if self.reference.is_none_or(|reference| seq > reference.seq) {
            self.reference = Some(Reference { seq, time, transit });
        }
        if self.ring[index(seq)].is_some_and(|queued| queued.seq == seq) {
            return Placed::In(Inserted::Duplicate);
        }
        target.handle_transit(now, transit);
        if seq < self.floor {
            return Placed::In(Inserted::Late);
        }
        let overflow = self.make_room(seq);
        let Some(slot) = self.free.pop() else {
            return Placed::In(Inserted::Overflow); // make_room freed one; kept for safety's sake
        };
        if self.bytes.is_empty() {
            self.bytes = vec![0; SLOTS * SLOT_BYTES].into();
        }
        let start = usize::from(slot) * SLOT_BYTES;
        self.bytes[start..start + payload.len()].copy_from_slice(payload);
        self.ring[index(seq)] = Some(Queued { seq, time, arrived: now, slot, length: payload.len() as u16 });
        if self.count == 0 || seq < self.first {
            self.first = seq;
        }
        self.count += 1;
        match (resynchronized, overflow) {
            (true, _) => Placed::Resynchronized,
            (false, true) => Placed::In(Inserted::Overflow),
            (false, false) => Placed::In(Inserted::Queued),
        }
    }

    /// Notes a packet of the same stream that carries no sound (RFC 4733 events), so that it does not look lost.
    ///
    /// Its timestamp says nothing: all packets of an event bear that of its beginning. Returns its extended sequence
    /// number, unless it is out of line.
    pub(crate) fn note_other(&mut self, seq: u16) -> Option<i64> {
        let reference = self.reference.as_mut()?;
        let seq = reference.extend_seq(seq);
        if (seq - reference.seq).abs() > WILD_SEQ {
            return None;
        }
        reference.seq = reference.seq.max(seq);
        Some(seq)
    }

    /// The queued packet with the lowest sequence number.
    pub(crate) fn first(&self) -> Option<Queued> {
        if self.count == 0 { None } else { self.ring[index(self.first)] }
    }

    /// The payload of a queued packet.
    pub(crate) fn payload(&self, queued: &Queued) -> &[u8] {
        let start = usize::from(queued.slot) * SLOT_BYTES;
        &self.bytes[start..start + usize::from(queued.length)]
    }

    /// Frees the slot of the first packet; whatever has its number or a lower one is late from now on.
    pub(crate) fn remove_first(&mut self) {
        if let Some(queued) = self.first() {
            self.floor = queued.seq + 1;
            self.take(queued);
        }
    }

    /// Sound from the first queued packet to the newest one received.
    pub(crate) fn span(&self) -> Duration {
        let (Some(first), Some(newest)) = (self.first(), self.reference) else { return Duration::ZERO };
        let nanos = self.nominal(newest.time).saturating_sub(self.nominal(first.time));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// Number of queued packets.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Nominal sending time of `time` on a clock of our rate, in ns with an arbitrary origin.
    pub(crate) fn nominal(&self, time: i64) -> i64 {
        let rate = i64::from(self.clock_rate);
        time.div_euclid(rate) * 1_000_000_000 + time.rem_euclid(rate) * 1_000_000_000 / rate
    }

    fn transit(&self, now: Instant, time: i64) -> i64 {
        i64::try_from(now.as_nanos()).unwrap_or(i64::MAX).saturating_sub(self.nominal(time))
    }

    /// Extends both fields and computes the transit time; `None` if they are too far from the timeline.
    fn extend(&self, now: Instant, seq: u16, rtp_time: u32) -> Option<(i64, i64, i64)> {
        let Some(reference) = self.reference else {
            let time = i64::from(rtp_time);
            return Some((i64::from(seq), time, self.transit(now, time)));
        };
        let (seq, time) = (reference.extend_seq(seq), reference.extend_time(rtp_time));
        let transit = self.transit(now, time);
        let tame = (seq - reference.seq).abs() <= WILD_SEQ && (transit - reference.transit).abs() <= WILD_TRANSIT;
        tame.then_some((seq, time, transit))
    }

    /// RFC 3550 A.1: believe a jump when a second packet agrees with it.
    fn confirms_suspect(&mut self, now: Instant, seq: u16, rtp_time: u32) -> bool {
        let transit = self.transit(now, i64::from(rtp_time));
        let agrees = self.suspect.is_some_and(|(before, its_transit)| {
            (1..=16).contains(&seq.wrapping_sub(before)) && (transit - its_transit).abs() <= WILD_TRANSIT
        });
        self.suspect = Some((seq, transit));
        agrees
    }

    /// Frees whatever stands in the way of `seq`; true if a packet had to go.
    fn make_room(&mut self, seq: i64) -> bool {
        let mut overflow = false;
        while let Some(oldest) = self.first() {
            let span = oldest.seq.max(seq) - oldest.seq.min(seq);
            if self.count < SLOTS - 1 && span < SLOTS as i64 {
                break;
            }
            overflow = true;
            self.remove_first();
        }
        overflow
    }

    fn take(&mut self, queued: Queued) {
        self.ring[index(queued.seq)] = None;
        self.free.push(queued.slot);
        self.count -= 1;
        if self.count > 0 {
            // Ends: all queued numbers lie within one turn of the ring.
            while self.ring[index(self.first)].is_none_or(|other| other.seq != self.first) {
                self.first += 1;
            }
        }
    }

    fn clear(&mut self) {
        while let Some(queued) = self.first() {
            self.take(queued);
        }
    }
}

fn index(seq: i64) -> usize {
    seq.rem_euclid(SLOTS as i64) as usize
}

/// Packets at most: over 2.5 s of 10 ms packets.
const SLOTS: usize = 256;
/// The longest payload kept; a datagram on Ethernet holds no more.
const SLOT_BYTES: usize = 1500;
/// A step in sequence numbers that asks for confirmation: more than half the buffer.
const WILD_SEQ: i64 = 128;
/// A step in transit time at a talk spurt that is taken for a clock that stood still in the pause.
const FROZEN: i64 = 200_000_000;
/// A step in transit time that asks for confirmation.
const WILD_TRANSIT: i64 = 3_000_000_000;

#[cfg(test)]
mod tests;
