//! DTMF as named telephone events (RFC 4733 §2.5), sending and receiving.
//!
//! ```text
//!  sending:  Idle ─digit─▶ Tone ─long enough: E─▶ Ending (E twice more) ─▶ Gap ─▶ Idle
//!                └─ `,` ─▶ Gap
//! ```

use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// Turns queued digits into event packets, one per packet time, in place of sound.
#[derive(Debug, Clone)]
pub(super) struct DtmfSender {
    clock_rate: u32,
    queue: VecDeque<(char, Duration)>,
    state: State,
}

/// Where the sender stands. Durations are in timestamp units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// `begun` is the timestamp of the current segment, `sent` its length so far, `left` what is to come.
    Tone {
        event: u8,
        begun: u32,
        sent: u32,
        left: u32,
        fresh: bool,
    },
    Ending {
        event: u8,
        begun: u32,
        sent: u32,
        repeats: u8,
    },
    /// Sound flows again until this much is over.
    Gap {
        left: u32,
    },
}

/// What to send instead of a packet of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EventPacket {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: [u8; 4],
}

impl DtmfSender {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate, queue: VecDeque::new(), state: State::Idle }
    }

    /// The clock of the durations.
    pub(super) const fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// Queues digits; anything that is neither a key nor a pause is left out, and so is what exceeds the queue.
    pub(super) fn push(&mut self, digits: &str, duration: Duration) {
        let duration = duration.clamp(SHORTEST, LONGEST);
        for digit in digits.chars().map(|digit| digit.to_ascii_uppercase()) {
            if self.queue.len() < MOST_QUEUED && (digit == ',' || event_of(digit).is_some()) {
                self.queue.push_back((digit, duration));
            }
        }
    }

    /// True while digits wait or sound.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.state != State::Idle
    }

    /// Called once per packet time with the timestamp of the sound that is due and the packet's length at our own clock
    /// (which may differ from that of the timestamps); `None`: send the sound.
    ///
    /// No sound is sent while an event lasts or its end is repeated, so their times never overlap.
    pub(super) fn next(&mut self, timestamp: u32, step: u32) -> Option<EventPacket> {
        if self.state == State::Idle {
            self.begin(timestamp);
        }
        match self.state {
            State::Idle => None,
            State::Gap { left } => {
                self.state = if left > step { State::Gap { left: left - step } } else { State::Idle };
                None
            }
            State::Tone { event, mut begun, mut sent, left, fresh } => {
                if sent + step > u32::from(u16::MAX) {
                    // §2.5.1.3: a long event goes on in a new segment that begins where the last one stops.
                    begun = timestamp;
                    sent = 0;
                }
                sent += step;
                let left = left.saturating_sub(step);
                let end = left == 0;
                self.state = if end {
                    State::Ending { event, begun, sent, repeats: REPEATS }
                } else {
                    State::Tone { event, begun, sent, left, fresh: false }
                };
                Some(packet(event, begun, sent, end, fresh))
            }
            State::Ending { event, begun, sent, repeats } => {
                self.state = match repeats {
                    0 | 1 => State::Gap { left: self.units(BETWEEN) },
                    _ => State::Ending { event, begun, sent, repeats: repeats - 1 },
                };
                Some(packet(event, begun, sent, true, false))
            }
        }
    }

    fn begin(&mut self, timestamp: u32) {
        let Some((digit, duration)) = self.queue.pop_front() else { return };
        self.state = match event_of(digit) {
            Some(event) => {
                State::Tone { event, begun: timestamp, sent: 0, left: self.units(duration).max(1), fresh: true }
            }
            None => State::Gap { left: self.units(PAUSE) },
        };
    }

    fn units(&self, duration: Duration) -> u32 {
        (duration.as_millis() as u64 * u64::from(self.clock_rate) / 1000) as u32
    }
}

fn packet(event: u8, timestamp: u32, duration: u32, end: bool, marker: bool) -> EventPacket {
    let [high, low] = (duration.min(u32::from(u16::MAX)) as u16).to_be_bytes();
    EventPacket { timestamp, marker, payload: [event, if end { 0x80 | VOLUME } else { VOLUME }, high, low] }
}

/// Finds the digits in received event packets; each is told once, whatever is lost or repeated.
#[derive(Debug, Clone)]
pub(super) struct DtmfReceiver {
    clock_rate: u32,
    current: Option<Event>,
    /// Timestamp of the last event that was told: it and everything before it is over.
    told: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Event {
    digit: char,
    /// Timestamp of the current segment: the key of the event (§2.5.2.3 warns against any other).
    begun: u32,
    /// Length of the segments before it.
    before: u64,
    duration: u16,
    last: Instant,
}

impl DtmfReceiver {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), current: None, told: None }
    }

    /// Durations count at this clock from now on.
    pub(super) fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate.max(1);
    }

    /// Forgets the stream (its SSRC changed).
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.clock_rate);
    }

    /// Takes an event packet; `tell` gets each digit that has ended.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        mut tell: impl FnMut(char, Duration),
    ) {
        let Some(&[event, flags, high, low]) = payload.first_chunk::<4>() else { return };
        let Some(digit) = digit_of(event) else { return };
        let (end, duration) = (flags & 0x80 != 0, u16::from_be_bytes([high, low]));
        if self.told.is_some_and(|told| is_not_after(timestamp, told)) {
            return;
        }
        let mut before = 0;
        match &mut self.current {
            Some(current) if current.begun == timestamp => {
                current.duration = current.duration.max(duration);
                current.last = now;
                if end {
                    self.finish(&mut tell);
                }
                return;
            }
            Some(current) if is_not_after(timestamp, current.begun) => return,
            Some(current) => {
                let goes_on = current.digit == digit
                    && !marker
                    && current.duration >= LONG_SEGMENT
                    && timestamp.wrapping_sub(current.begun) <= u32::from(u16::MAX) + 1;
                if goes_on {
                    before = current.before + u64::from(timestamp.wrapping_sub(current.begun));
                } else {
                    self.finish(&mut tell); // all three of its end packets were lost
                }
            }
            None => {}
        }
        self.current = Some(Event { digit, begun: timestamp, before, duration, last: now });
        if end {
            self.finish(&mut tell);
        }
    }

    /// Ends an event of which nothing was heard for a while.
    pub(super) fn handle_timeout(&mut self, now: Instant, mut tell: impl FnMut(char, Duration)) {
        if self.current.is_some_and(|current| now.since(current.last) >= GIVE_UP) {
            self.finish(&mut tell);
        }
    }

    fn finish(&mut self, tell: &mut impl FnMut(char, Duration)) {
        let Some(current) = self.current.take() else { return };
        self.told = Some(current.begun);
        let units = current.before + u64::from(current.duration);
        tell(current.digit, Duration::from_millis(units * 1000 / u64::from(self.clock_rate)));
    }
}

fn is_not_after(timestamp: u32, other: u32) -> bool {
    timestamp.wrapping_sub(other) as i32 <= 0
}

/// RFC 4733 §3.2, table 3.
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

fn event_of(digit: char) -> Option<u8> {
    KEYS.iter().position(|&key| key == digit).map(|event| event as u8)
}

fn digit_of(event: u8) -> Option<char> {
    KEYS.get(usize::from(event)).copied()
}

/// -10 dBm0.
const VOLUME: u8 = 10;
/// The end is sent three times (§2.5.1.4).
const REPEATS: u8 = 2;
/// Rest between two digits.
const BETWEEN: Duration = Duration::from_millis(60);
/// What `,` stands for.
const PAUSE: Duration = Duration::from_millis(500);
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(10);
const MOST_QUEUED: usize = 256;
/// Silence after which an event without end packet is taken for over.
const GIVE_UP: Duration = Duration::from_millis(400);
/// A segment this long may be followed by another of the same event.
const LONG_SEGMENT: u16 = 0xC000;

#[cfg(test)]
mod tests;
