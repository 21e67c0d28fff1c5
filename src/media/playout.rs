//! Playout: jitter buffer, decoder, concealment and time-stretching behind one `pull` of 10 ms.
//!
//! ```text
//!  insert ─▶ JitterBuffer ─▶ first packet due? ─┬─ yes ─▶ decode ─▶ stretch ─┐
//!                                               ├─ lost ─▶ conceal (FEC) ────┼─▶ sound ring ─▶ pull
//!                                               └─ nothing there ─▶ conceal ─┘
//! ```
//! The delay at which a packet is decoded is compared with what `TargetDelay` wants. Too little of it: a period of
//! sound is doubled; too much: one is dropped; both without a gap. Real gaps (loss, late packets, pauses) are
//! counted in timestamps, so a pause between talk spurts costs nothing and re-times the stream for free.

mod gaps;
mod noise;
mod repair;
mod sound;
mod stats;
mod stretch;

use super::codec::{CodecError, CodecSpec, Decoder};
pub use super::jitter::{Inserted, JitterSettings};
use super::jitter::{JitterBuffer, Placed, Queued, TargetDelay};
use crate::time::{Duration, Instant};
use noise::ComfortNoise;
use repair::Repair;
use sound::Sound;
use stats::Counters;
pub use stats::PlayoutStats;

/// What a pulled block consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// Received sound.
    Decoded,
    /// Sound made up for what did not come in time.
    Concealed,
    /// Nothing: not begun yet, a pause of the sender, or an outage.
    Silence,
}

/// The receiving half of a stream from RTP payload to sound.
pub struct Playout {
    spec: &'static CodecSpec,
    settings: JitterSettings,
    decoder: Box<dyn Decoder>,
    buffer: JitterBuffer,
    target: TargetDelay,
    sound: Sound,
    state: State,
    stats: Counters,
    /// Longest time between two pulls lately, ns: how coarsely packets are taken out.
    pull_step: i64,
    last_pull: Option<Instant>,
    /// Decoding delay of the last packets, ns; the smallest is what can be given up.
    recent: [i64; RECENT],
    recent_at: usize,
    /// Packets decoded since the last change of tempo.
    since_stretch: u32,
    /// Delay of the sound pulled last, ns behind the fastest packet.
    delay: i64,
    /// Duration of the packet decoded last, in samples.
    frame: usize,
    repair: Repair,
    noise: ComfortNoise,
    /// The CN packet that began the pause we are in, or come to once what is queued has been played.
    noise_since: Option<i64>,
    /// How long the pause had lasted when the last CN packet came, in samples.
    noise_renewed: usize,
    /// The last run of packets without sound, first and last.
    others: Option<(i64, i64)>,
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No packet was ever played, or the stream jumped.
    Waiting,
    /// The next packet should have these numbers; `concealed` samples were made up since the last one.
    Playing { next_seq: i64, next_time: i64, concealed: usize },
}

impl Playout {
    /// Makes the playout of a stream coded by `spec` with our own `fmtp`.
    pub fn new(spec: &'static CodecSpec, fmtp: &str, settings: &JitterSettings) -> Result<Self, CodecError> {
        Ok(Self {
            spec,
            settings: *settings,
            decoder: (spec.decoder)(fmtp)?,
            buffer: JitterBuffer::new(spec.clock_rate),
            target: TargetDelay::new(),
            sound: Sound::new(spec.sample_rate as usize),
            state: State::Waiting,
            stats: Counters::default(),
            pull_step: BLOCK_NS,
            last_pull: None,
            recent: [i64::MAX; RECENT],
            recent_at: 0,
            since_stretch: 0,
            delay: 0,
            frame: spec.sample_rate as usize / 50,
            repair: Repair::default(),
            noise: ComfortNoise::new(spec.sample_rate),
            noise_since: None,
            noise_renewed: 0,
            others: None,
        })
    }

    /// Stores a received packet; its payload is copied.
    ///
    /// A pause between talk spurts is recognized by its timestamps; the marker matters only for senders whose
    /// timestamps stand still meanwhile.
    pub fn insert(&mut self, now: Instant, seq: u16, rtp_time: u32, marker: bool, payload: &[u8]) -> Inserted {
        let samples = self.decoder.samples(payload);
        if samples.is_none_or(|samples| samples > self.sound.longest_packet()) {
            self.stats.malformed += 1;
            return Inserted::Malformed;
        }
        let inserted = match self.buffer.insert(now, seq, rtp_time, marker, payload, &mut self.target) {
            Placed::In(inserted) => inserted,
            Placed::Resynchronized => {
                self.stats.resynchronized += 1;
                self.state = State::Waiting;
                self.noise_since = None;
                self.others = None;
                self.forget_recent();
                Inserted::Queued
            }
        };
        while self.buffer.span() > self.settings.max {
            self.buffer.remove_first();
            self.stats.overflow += 1;
        }
        match inserted {
            Inserted::Queued => {}
            Inserted::Late => self.stats.late += 1,
            Inserted::Duplicate => self.stats.duplicate += 1,
            Inserted::Overflow => self.stats.overflow += 1,
            Inserted::Malformed => self.stats.malformed += 1,
        }
        inserted
    }

    /// Fills `out`, which must be 10 ms at the sample rate, with the sound that is due at `now`.
    pub fn pull(&mut self, now: Instant, out: &mut [i16]) -> Pulled {
        self.note_pull(now);
        self.stats.pulled += out.len() as u64;
        let wanted = out.len().min(self.sound.block());
        let mut pulled = Pulled::Decoded;
        while self.sound.ready() < wanted {
            match self.fill(now, wanted) {
                Pulled::Decoded => {}
                made_up @ (Pulled::Concealed | Pulled::Silence) => pulled = made_up,
            }
        }
        self.sound.pull(&mut out[..wanted]);
        out[wanted..].fill(0);
        self.note_delay(now);
        pulled
    }

    /// Forgets the stream (its SSRC changed); the next packet starts a new one.
    pub fn reset(&mut self) {
        self.buffer.reset();
        self.target.restart();
        self.state = State::Waiting;
        self.noise_since = None;
        self.others = None;
        self.forget_recent();
    }

    /// Delay between the arrival of the fastest packets and their playout.
    pub fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay.max(0) as u64)
    }

    /// When the packet that comes next should be decoded to have exactly the delay aimed at; `None` before the first.
    ///
    /// Whoever pulls by a timer of his own may place its ticks there: every other phase costs up to a tick of delay.
    pub fn next_due(&self) -> Option<Instant> {
        let State::Playing { next_time, .. } = self.state else { return None };
        let due = self.buffer.nominal(next_time).saturating_add(self.target.fastest()).saturating_add(self.wanted());
        u64::try_from(due).ok().map(Instant::from_nanos)
    }

    /// Counters since the start of the stream.
    pub fn stats(&self) -> PlayoutStats {
        PlayoutStats {
            queued: self.buffer.len() as u32,
            delay: self.delay(),
            target: Duration::from_nanos(self.wanted().max(0) as u64),
            ..self.stats.in_ms(self.spec.sample_rate)
        }
    }

    /// Samples per second of the pulled sound.
    pub fn sample_rate(&self) -> u32 {
        self.spec.sample_rate
    }

    /// Appends something to the sound: a decoded packet, a substitute, or silence.
    fn fill(&mut self, now: Instant, wanted: usize) -> Pulled {
        let first = self.buffer.first();
        match (self.state, first) {
            (State::Waiting, None) => self.silence(wanted),
            (State::Waiting, Some(first)) => {
                if self.decoding_delay(now, &first) < self.wanted() {
                    return self.silence(wanted);
                }
                self.decode(now, first)
            }
            (State::Playing { .. }, None) => self.starve(wanted),
            (State::Playing { next_seq, next_time, concealed }, Some(first)) => {
                let gap = self.samples_between(next_time, first.time);
                let Ok(missing @ 1..) = usize::try_from(gap.saturating_sub(concealed as i64)) else {
                    return self.decode(now, first);
                };
                let lost = first.seq > next_seq;
                if lost && missing <= self.frame && self.decoder.has_redundancy(self.buffer.payload(&first)) {
                    return self.conceal_before(first, missing);
                }
                // A gap need not be filled to its end if there is delay enough without; but something must be there to
                // lead over into the packet after it.
                if concealed > 0 && self.decoding_delay(now, &first) >= self.wanted() {
                    return self.decode(now, first);
                }
                self.starve(missing.min(wanted))
            }
        }
    }

    fn decode(&mut self, now: Instant, packet: Queued) -> Pulled {
        if let State::Playing { next_seq, .. } = self.state {
            let gap = packet.seq.saturating_sub(next_seq).max(0);
            let others = self.others.map_or(0, |(first, last)| {
                (last.min(packet.seq - 1) - first.max(next_seq) + 1).max(0) // what the gap and the run have in common
            });
            let lost = gap.saturating_sub(others) as u64;
            self.stats.lost += lost;
            self.repair.handle_lost(lost);
        }
        self.noise_since = self.noise_since.filter(|since| *since > packet.seq);
        let delay = self.decoding_delay(now, &packet);
        let payload = self.buffer.payload(&packet);
        self.repair.handle_packet(self.decoder.has_redundancy(payload));
        let nominal = self.decoder.samples(payload).unwrap_or(0);
        let room = self.sound.room();
        let (written, pulled) = match self.decoder.decode(payload, room) {
            Ok(written) => {
                self.stats.played += 1;
                (written, Pulled::Decoded)
            }
            Err(_) => {
                // Its length was checked at insertion, so only the contents can be bad.
                let samples = nominal.min(room.len());
                self.decoder.conceal(None, &mut room[..samples]);
                self.stats.malformed += 1;
                self.stats.concealed += samples as u64;
                (samples, Pulled::Concealed)
            }
        };
        self.sound.end += written;
        self.frame = nominal.max(1);
        self.buffer.remove_first();
        let duration = nominal as u64 * u64::from(self.spec.clock_rate) / u64::from(self.spec.sample_rate);
        self.state =
            State::Playing { next_seq: packet.seq + 1, next_time: packet.time + duration as i64, concealed: 0 };
        self.recent[self.recent_at] = delay;
        self.recent_at = (self.recent_at + 1) % RECENT;
        self.since_stretch = self.since_stretch.saturating_add(1);
        self.stretch(delay);
        pulled
    }

    /// Doubles or drops a period of the sound just decoded if the delay is off its target.
    fn stretch(&mut self, delay: i64) {
        let wanted = self.wanted();
        // Every change of tempo costs quality, so a target that merely wavers is not followed.
        if delay < wanted - wanted / EXPAND_BELOW {
            if let Some(gained) = stretch::expand(&mut self.sound, self.spec.sample_rate as usize) {
                self.stats.expanded += gained as u64;
                self.since_stretch = 0;
            }
            return;
        }
        let ready = self.nanos(self.sound.ready());
        let frame = self.nanos(self.frame);
        let least = self.recent.iter().copied().min().unwrap_or(delay);
        // What is ready beyond this packet counts as delay too: it postpones the next decoding.
        let spare =
            least.saturating_add(ready - frame).saturating_sub(wanted + wanted / ACCELERATE_ABOVE + self.pull_step);
        // Far off the target, sooner is better than smoother.
        let (pause, resemblance) =
            if spare > HURRY { (1, ROUGH) } else { (PACKETS_BETWEEN_STRETCHES, stretch::PERIODIC) };
        if spare <= 0 || self.since_stretch < pause {
            return;
        }
        let most = (i128::from(spare) * i128::from(self.spec.sample_rate) / 1_000_000_000) as usize;
        if let Some(dropped) = stretch::accelerate(&mut self.sound, self.spec.sample_rate as usize, most, resemblance) {
            self.stats.accelerated += dropped as u64;
            self.since_stretch = 0;
            self.forget_recent();
        }
    }

    /// How long after the fastest packet would have come `packet` is taken out at `now`, ns.
    fn decoding_delay(&self, now: Instant, packet: &Queued) -> i64 {
        self.delay_of(now, packet.time)
    }

    fn delay_of(&self, now: Instant, time: i64) -> i64 {
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        now.saturating_sub(self.buffer.nominal(time)).saturating_sub(self.target.fastest())
    }

    /// The decoding delay aimed at, ns.
    fn wanted(&self) -> i64 {
        let frame = Duration::from_nanos(self.nanos(self.frame) as u64);
        let (least, most) = (self.settings.min.saturating_sub(frame), self.settings.max.saturating_sub(frame));
        if !self.settings.adaptive {
            return i64::try_from(least.as_nanos()).unwrap_or(i64::MAX);
        }
        // Redundancy helps only if the packet after the lost one is here in time: that costs a frame of delay.
        let repair = if self.repair.is_worthwhile() { frame } else { Duration::ZERO };
        let wanted = (self.target.wanted() + repair).clamp(least, most.max(least));
        i64::try_from(wanted.as_nanos()).unwrap_or(i64::MAX)
    }

    fn note_pull(&mut self, now: Instant) {
        if let Some(last) = self.last_pull.replace(now) {
            let step = (now.since(last).as_nanos() as i64).min(MOST_PULL_STEP);
            // Rises at once, falls slowly: one late tick in a hundred still counts.
            self.pull_step = step.max(self.pull_step - self.pull_step / 256).max(BLOCK_NS);
        }
    }

    fn note_delay(&mut self, now: Instant) {
        if let State::Playing { next_time, concealed: 0, .. } = self.state {
            self.delay = self.delay_of(now, next_time) + self.nanos(self.sound.ready()) + BLOCK_NS;
        }
    }

    fn forget_recent(&mut self) {
        self.recent = [i64::MAX; RECENT];
    }

    fn nanos(&self, samples: usize) -> i64 {
        (samples as u64 * 1_000_000_000 / u64::from(self.spec.sample_rate)) as i64
    }

    fn samples_between(&self, from: i64, to: i64) -> i64 {
        (to - from).saturating_mul(i64::from(self.spec.sample_rate)) / i64::from(self.spec.clock_rate)
    }
}

const BLOCK_NS: i64 = 10_000_000;
/// Packets over which the smallest decoding delay is sought before giving delay up.
const RECENT: usize = 8;
const PACKETS_BETWEEN_STRETCHES: u32 = 3;
/// Delay in excess, ns, from which it is worked off as fast as speech stays intelligible.
const HURRY: i64 = 100_000_000;
/// Resemblance that is then enough to leave a period out.
const ROUGH: f32 = 0.5;
/// Parts of the target by which the delay may fall short of it or exceed it.
const EXPAND_BELOW: i64 = 10;
const ACCELERATE_ABOVE: i64 = 7;
const MOST_PULL_STEP: i64 = 60_000_000;

#[cfg(test)]
mod tests;
