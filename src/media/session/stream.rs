//! The clocks of a stream: when sound is pulled, when a frame is sent.

use super::super::codec::CodecError;
use super::super::command::{AudioSource, MediaSettings};
use super::super::resample::Resampler;
use super::super::set::Destination;
use super::super::tones::Tone;
use super::ends::{Feed, FrameClock, SinkEnd, Tick};
use super::incoming::{BLOCK, Incoming};
use super::outgoing::Outgoing;
use super::{Control, GRID, SendClock, Stream, Turn};
use crate::sdp::plan::StreamPlan;
use crate::time::{Duration, Instant};

impl Feed {
    /// What a route names; files, built-in sounds and devices come later by `attach`.
    pub(super) fn of(source: &AudioSource, rate: u32) -> Self {
        match source {
            AudioSource::None => Self::Nothing,
            AudioSource::Silence => Self::Silence,
            AudioSource::Tone(hz) => Self::Tone(*hz, Tone::hz(*hz, rate)),
            AudioSource::Echo => Self::Echo,
            AudioSource::File { .. }
            | AudioSource::Builtin(_)
            | AudioSource::Device(_)
            | AudioSource::DeviceAndFile(..) => Self::Awaited,
        }
    }
}

impl SendClock {
    pub(super) fn next(&self) -> Option<Instant> {
        match self {
            Self::Pulled => None,
            Self::Timer(at) | Self::Device(at, _) => Some(*at),
        }
    }
}

impl Stream {
    pub(super) fn new(
        turn: &mut Turn<'_>,
        plan: StreamPlan,
        settings: &MediaSettings,
        source: &AudioSource,
    ) -> Result<Self, CodecError> {
        let now = turn.now;
        let out = Outgoing::new(&plan, settings, turn.rng)?;
        let incoming = Incoming::new(&plan, settings)?;
        let feed = Feed::of(source, out.spec.sample_rate);
        let mut stream = Self {
            plan,
            out,
            incoming,
            control: Control::new(now, turn.rng),
            feed: Feed::Nothing,
            sink: None,
            ringback: None,
            echo: None,
            send: SendClock::Pulled,
            next_pull: now.round_up(GRID),
            last_due: None,
            collided: false,
            late_ticks: 0,
            ahead: Duration::ZERO,
            pulls: 0,
            pull_credit: MOST_PULL,
            sated: Duration::ZERO,
            last_pull: now,
        };
        stream.fit_rates();
        stream.set_feed(now, feed);
        Ok(stream)
    }

    pub(super) fn set_plan(
        &mut self,
        now: Instant,
        plan: StreamPlan,
        settings: &MediaSettings,
    ) -> Result<(), CodecError> {
        let (rate, ptime) = (self.out.spec.sample_rate, self.out.ptime);
        self.out.set_plan(&plan, settings)?;
        self.incoming.set_plan(&plan)?;
        if plan.direction.sends() && !self.plan.direction.sends() {
            self.out.resume(now);
        }
        self.plan = plan;
        let new_rate = self.out.spec.sample_rate;
        if (rate, ptime) != (new_rate, self.out.ptime) {
            let feed = match std::mem::replace(&mut self.feed, Feed::Silence) {
                Feed::Attached(end) => Feed::Attached(end.with_rate(new_rate)),
                Feed::Tone(hz, _) => Feed::Tone(hz, Tone::hz(hz, new_rate)),
                same @ (Feed::Nothing | Feed::Silence | Feed::Echo | Feed::Awaited) => same,
            };
            self.set_feed(now, feed);
        }
        self.fit_rates();
        Ok(())
    }

    /// Changes the source and with it the clock of sending, without a hole in the packets.
    pub(super) fn set_feed(&mut self, now: Instant, feed: Feed) {
        let next = match &self.send {
            SendClock::Timer(at) if *at > now => *at,
            SendClock::Pulled | SendClock::Timer(_) | SendClock::Device(..) => now.round_up(GRID),
        };
        self.send = match &feed {
            Feed::Nothing | Feed::Echo => SendClock::Pulled,
            Feed::Silence | Feed::Tone(..) | Feed::Awaited => SendClock::Timer(next),
            Feed::Attached(end) => match end.available() {
                None => SendClock::Timer(next),
                Some(_) => SendClock::Device(now.round_up(GRID), FrameClock::new(now, next, self.out.ptime)),
            },
        };
        // Sound of the old source that is not a whole frame is let go.
        self.out.start_frame();
        self.feed = feed;
    }

    /// Queues digits; without a source nothing else runs the clock of sending, so it starts here.
    pub(super) fn send_dtmf(&mut self, now: Instant, digits: &str, duration: Duration) {
        self.out.dtmf.push(digits, duration);
        if matches!((&self.feed, &self.send), (Feed::Nothing, SendClock::Pulled)) && self.out.dtmf.is_busy() {
            self.out.resume(now);
            self.send = SendClock::Timer(now.round_up(GRID));
        }
    }

    /// Places the next pull where the first packet of a new timeline is due.
    pub(super) fn align(&mut self, now: Instant) {
        if self.incoming.playout.next_due().is_some() || self.is_paced() {
            return;
        }
        let playout = self.incoming.playout.stats();
        if playout.queued == 1 {
            self.next_pull = (now + playout.target).round_up(GRID);
            self.last_due = None;
            self.join_ticks(PULL);
        }
    }

    /// A step of the grid now and then, which no jitter buffer notices, after the pull ticks have followed the network.
    fn join_slowly(&mut self) {
        self.pulls += 1;
        if self.pulls >= PULLS_BETWEEN_JOINS && self.incoming.playout.next_due().is_some() {
            self.pulls = 0;
            self.join_ticks(GRID);
        }
    }

    /// Brings the ticks of sending towards those of pulling, by `most`: one wake-up then serves both. They stay less than a packet
    /// ahead of where they would be, so nothing adds up over a call.
    fn join_ticks(&mut self, most: Duration) {
        let SendClock::Timer(at) = &mut self.send else { return };
        if self.out.ptime != PULL {
            return;
        }
        let period = PULL.as_nanos() as u64;
        let early = (at.as_nanos() % period + period - self.next_pull.as_nanos() % period) % period;
        if early == 0 {
            return;
        }
        let (early, late) = (Duration::from_nanos(early), Duration::from_nanos(period - early));
        if self.ahead + early < PULL {
            let step = early.min(most);
            *at = *at - step;
            self.ahead += step;
        } else {
            let step = late.min(most).min(self.ahead);
            *at += step;
            self.ahead -= step;
        }
    }

    /// Does what is due; true if the source has just ended.
    pub(super) fn handle_ticks(&mut self, turn: &mut Turn<'_>, to: Option<Destination>, muted: bool) -> bool {
        let now = turn.now;
        self.fit_rates();
        if self.is_paced() {
            self.pull_paced(turn, to, muted);
        } else {
            // After a stall what was missed is not made up for: late sound is worthless.
            if now.since(self.next_pull) > STALL {
                self.next_pull = now.round_up(GRID);
            }
            while self.next_pull <= now {
                self.pull_tick(turn, to, muted);
            }
            self.join_slowly();
        }
        let mut ended = false;
        while self.send.next().is_some_and(|at| at <= now) {
            ended |= self.send_tick(turn, to, muted);
        }
        ended
    }

    fn pull_tick(&mut self, turn: &mut Turn<'_>, to: Option<Destination>, muted: bool) {
        let tick = self.next_pull;
        let period = match self.feed {
            Feed::Echo => self.out.ptime,
            Feed::Nothing | Feed::Silence | Feed::Tone(..) | Feed::Awaited | Feed::Attached(_) => PULL,
        };
        for _ in 0..period.as_millis() / BLOCK.as_millis() {
            self.pull_block(turn, tick, to, muted);
        }
        self.next_pull = tick + period;
        self.correct_phase(period);
    }

    /// Moves the ticks by one step of the grid if packets come due after them, or long before them.
    fn correct_phase(&mut self, period: Duration) {
        let due = self.incoming.playout.next_due();
        let (Some(due), Some(before)) = (due, std::mem::replace(&mut self.last_due, due)) else { return };
        let period = period.as_nanos() as i64;
        let error = |a: Instant, b: Instant| {
            let wrapped = (a.as_nanos() as i64 - b.as_nanos() as i64).rem_euclid(period);
            if wrapped > period / 2 { wrapped - period } else { wrapped }
        };
        // Packets of another length than ours come due at ever other phases: then there is no right one.
        if error(due, before).abs() > SAME_PERIOD {
            return;
        }
        let late = error(self.next_pull, due);
        let grid = GRID.as_nanos() as i64;
        if late < -PHASE_SLACK {
            self.next_pull += GRID;
            self.late_ticks = 0;
        } else if late > grid + grid / 2 {
            self.late_ticks += 1;
            if self.late_ticks >= LATE_TICKS {
                self.next_pull = self.next_pull - GRID;
                self.late_ticks = 0;
            }
        } else {
            self.late_ticks = 0;
        }
    }

    /// Keeps the ring of a playback device filled, but pulls no more than time allows, and no less (seam 9).
    fn pull_paced(&mut self, turn: &mut Turn<'_>, to: Option<Destination>, muted: bool) {
        let now = turn.now;
        if self.next_pull > now {
            return;
        }
        let passed = now.since(std::mem::replace(&mut self.last_pull, now));
        self.pull_credit = (self.pull_credit + passed + passed / 100).min(MOST_PULL);
        let mut wanted = self.sink.as_ref().and_then(SinkEnd::wanted_blocks).unwrap_or(0);
        if wanted == 0 {
            self.sated = (self.sated + passed).min(STALL * 10);
            // The device has stopped: its sound is thrown away, so that it is fresh when it starts again.
            while self.sated >= STALL + BLOCK {
                self.sated = self.sated.saturating_sub(BLOCK);
                wanted += 1;
            }
        } else {
            self.sated = Duration::ZERO;
        }
        while wanted > 0 && self.pull_credit >= BLOCK {
            self.pull_credit = self.pull_credit.saturating_sub(BLOCK);
            wanted -= 1;
            self.pull_block(turn, now, to, muted);
        }
        let wait = self.sink.as_ref().map_or(BLOCK, SinkEnd::wants_in).clamp(GRID, BLOCK);
        self.next_pull = (now + wait).round_up(GRID);
    }

    fn pull_block(&mut self, turn: &mut Turn<'_>, due: Instant, to: Option<Destination>, muted: bool) {
        let rate = self.incoming.playout.sample_rate();
        let pcm = self.incoming.pull(turn.now);
        if let Some(sink) = &mut self.sink {
            let ringing = self.ringback.as_mut().and_then(|ringback| ringback.next(turn.now, rate, pcm.len()));
            sink.write(ringing.unwrap_or(pcm));
        }
        if !matches!(self.feed, Feed::Echo) {
            return;
        }
        let mut rest = match &mut self.echo {
            None => pcm,
            Some((resampler, converted)) => {
                let made = resampler.process(pcm, converted);
                &converted[..made]
            }
        };
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.out.room()));
            if self.out.push(now) {
                self.out.send_frame(due, to, muted, turn.outbox);
            }
            rest = later;
        }
    }

    /// One look at the source; true if it has just ended.
    fn send_tick(&mut self, turn: &mut Turn<'_>, to: Option<Destination>, muted: bool) -> bool {
        let now = turn.now;
        let ptime = self.out.ptime;
        let frame = self.out.frame_len();
        let rate = self.out.spec.sample_rate;
        let due = match &mut self.send {
            SendClock::Pulled => return false,
            SendClock::Timer(at) => {
                if now.since(*at) > STALL {
                    self.out.skip(now.since(*at));
                    *at = now.round_up(GRID);
                    if *at > now {
                        return false;
                    }
                }
                let due = *at;
                *at = due + ptime;
                due
            }
            SendClock::Device(at, clock) => {
                let Feed::Attached(end) = &mut self.feed else { return false };
                let available = end.available().unwrap_or(0);
                match clock.tick(now, available >= frame) {
                    Tick::Wait => {
                        // Looked at when the frame should be whole, and not much later.
                        let lacking = Duration::from_secs(1) * frame.saturating_sub(available) as u32 / rate;
                        let wait = lacking.max(clock.patience(now)).clamp(GRID, ptime / 2);
                        *at = (now + wait).round_up(GRID);
                        if available > frame * MOST_FRAMES {
                            end.skip_to(frame * KEPT_FRAMES);
                        }
                        return false;
                    }
                    Tick::Silence => {
                        self.out.frame_rest().fill(0);
                        self.out.send_frame(now, to, muted, turn.outbox);
                        return false;
                    }
                    Tick::Device => now,
                }
            }
        };
        let mut ended = false;
        match &mut self.feed {
            // Without a source only digits are sent, and silence between them.
            Feed::Nothing if !self.out.dtmf.is_busy() => {
                self.send = SendClock::Pulled;
                return false;
            }
            Feed::Echo => return false,
            Feed::Nothing | Feed::Silence | Feed::Awaited => self.out.frame_rest().fill(0),
            Feed::Tone(_, tone) => tone.fill(self.out.frame_rest()),
            Feed::Attached(end) => ended = end.read(self.out.frame_rest()),
        }
        self.out.send_frame(due, to, muted, turn.outbox);
        ended
    }

    fn is_paced(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.wanted_blocks().is_some())
    }

    /// Follows the codecs of both directions, which may change with any packet, with the converters between them.
    fn fit_rates(&mut self) {
        let (heard, sent) = (self.incoming.playout.sample_rate(), self.out.spec.sample_rate);
        if self.sink.as_ref().is_some_and(|sink| sink.rate() != heard) {
            self.sink = self.sink.take().map(|sink| sink.with_rate(heard));
        }
        let fits = match &self.echo {
            None => heard == sent,
            Some((resampler, _)) => (resampler.from_rate(), resampler.to_rate()) == (heard, sent),
        };
        if !fits {
            self.echo = if heard == sent { None } else { Resampler::new(heard, sent).ok() }.map(|resampler| {
                let most = resampler.most_output(self.incoming.block_len());
                (resampler, vec![0; most])
            });
        }
    }
}

/// Sound pulled at once for sinks that are no device.
const PULL: Duration = Duration::from_millis(20);
/// The most that a device's ring is filled at once.
const MOST_PULL: Duration = Duration::from_millis(80);
/// A tick later than that is not made up for.
const STALL: Duration = Duration::from_millis(100);
/// By how much the time between two packets' dues may differ from the tick's period, ns.
const SAME_PERIOD: i64 = 3_000_000;
/// How far before its due a packet may be pulled, ns.
const PHASE_SLACK: i64 = 100_000;
/// Ticks that must come late before they are moved.
const LATE_TICKS: u32 = 50;
/// About 3 s: a step then is one packet in 150.
const PULLS_BETWEEN_JOINS: u32 = 300;
/// Frames that a microphone's ring may hold before the oldest go, and how many stay then.
const MOST_FRAMES: usize = 8;
const KEPT_FRAMES: usize = 3;
