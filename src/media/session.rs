//! One media session: a transport, an audio stream each way, and who is at its ends.
//!
//! ```text
//!  network ─▶ source rules ─▶ Incoming (Playout) ─pull tick─▶ sink
//!                                    └──────────────Echo─────▶ Outgoing ─▶ network
//!  source ─send tick─▶ Outgoing (encoder) ─▶ network
//! ```
//! The pull tick lies where [`Playout::next_due`](super::playout::Playout::next_due) wants it, the send tick where the session
//! began; both are multiples of the packet time on a grid that all sessions share. A device that is attached takes the place of a tick.

mod control;
mod ends;
mod incoming;
mod outgoing;
mod receive;
mod ringback;
mod stream;
mod watch;

use super::codec::{CODECS, CodecError, CodecSpec};
use super::command::{AudioSource, MediaEvent, MediaSettings, Route};
use super::outbox::Outbox;
use super::resample::Resampler;
use super::set::{Destination, SoundSink, SoundSource};
use super::transport::MediaTransport;
use crate::id::{MediaId, SocketId};
use crate::rng::Rng;
use crate::sdp::plan::{Direction, MediaPlan, NegotiatedCodec, StreamPlan, TransportPlan};
use crate::time::{Duration, Epoch, Instant, earliest};
use control::Control;
use ends::{Feed, FrameClock, SinkEnd, SourceEnd};
use incoming::Incoming;
use outgoing::Outgoing;
pub(super) use receive::Handled;
use ringback::Ringback;
use std::collections::VecDeque;
use watch::Watch;

/// What a session gets from its set for one turn.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) rng: &'a mut Rng,
    pub(super) epoch: Epoch,
    pub(super) outbox: &'a mut Outbox,
    pub(super) events: &'a mut VecDeque<(MediaId, MediaEvent)>,
}

/// One session of a [`MediaSet`](super::set::MediaSet).
pub(super) struct MediaSession {
    id: MediaId,
    settings: MediaSettings,
    plan: MediaPlan,
    route: Route,
    muted: bool,
    /// The peer's phone rings: that is heard while nothing comes from it.
    ringback: bool,
    transport: Option<MediaTransport>,
    /// `None` for a relay, and when nothing that we can do was agreed.
    stream: Option<Stream>,
    relayed: Relayed,
    refused: u64,
    watch: Watch,
    /// Next housekeeping; every other one tells the figures.
    next_check: Instant,
    checks: u64,
    levels: (Option<f64>, Option<f64>),
}

/// Both halves of an audio stream with their clocks and ends.
struct Stream {
    plan: StreamPlan,
    out: Outgoing,
    incoming: Incoming,
    control: Control,
    feed: Feed,
    sink: Option<SinkEnd>,
    ringback: Option<Ringback>,
    /// Where an echo's rate changes between the codecs of both directions.
    echo: Option<(Resampler, Vec<i16>)>,
    send: SendClock,
    next_pull: Instant,
    /// When the packet before was due, to tell whether packets and ticks have the same period.
    last_due: Option<Instant>,
    /// Our SSRC was once found to be the peer's.
    collided: bool,
    /// Ticks in a row that came late by a step of the grid.
    late_ticks: u32,
    /// How much earlier the timer sends than it would have, so that its ticks are those of pulling.
    ahead: Duration,
    /// Looks at the ticks since they were brought together last.
    pulls: u32,
    /// Of a paced sink: time that may be pulled, and since when it has wanted nothing.
    pull_credit: Duration,
    sated: Duration,
    last_pull: Instant,
}

/// When a frame of the source is sent.
enum SendClock {
    /// With what is pulled: an echo, or no source at all while there are no digits.
    Pulled,
    /// At this instant.
    Timer(Instant),
    /// When the device has one; it is looked at at this instant.
    Device(Instant, FrameClock),
}

/// Counters of a relay.
#[derive(Debug, Clone, Copy, Default)]
struct Relayed {
    sent: u64,
    received: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl MediaSession {
    /// Opens a session.
    pub(super) fn new(
        turn: &mut Turn<'_>,
        id: MediaId,
        plan: &MediaPlan,
        route: Route,
        settings: MediaSettings,
    ) -> Self {
        let now = turn.now;
        let mut session = Self {
            id,
            settings,
            plan: plan.clone(),
            route,
            muted: false,
            ringback: false,
            transport: None,
            stream: None,
            relayed: Relayed::default(),
            refused: 0,
            watch: Watch::new(now),
            next_check: (now + CHECK).round_up(GRID),
            checks: 0,
            levels: (None, None),
        };
        session.set_plan(turn, plan);
        session
    }

    /// Takes over a later plan: what goes on keeps its SSRC and numbers, unless its SRTP key is new, and its jitter buffer.
    pub(super) fn set_plan(&mut self, turn: &mut Turn<'_>, plan: &MediaPlan) {
        let now = turn.now;
        self.plan.clone_from(plan);
        let chosen = plan.streams.iter().find_map(|stream| Some((stream, plan.transports.get(stream.transport)?)));
        let transport = chosen.map(|(_, transport)| transport).or_else(|| plan.transports.first());
        if self.set_transport(now, transport)
            && let Some(stream) = &mut self.stream
        {
            stream.out.change_ssrc(turn.rng);
        }
        let sent = self.stream.as_ref().is_some_and(|stream| stream.plan.direction.sends());
        if let (Some(transport), false) = (&mut self.transport, sent)
            && chosen.is_some_and(|(stream, _)| stream.direction.sends())
        {
            transport.renew(now);
        }
        match (&self.route, chosen) {
            (Route::Relay { .. }, _) | (Route::Local { .. }, None) => self.stream = None,
            (Route::Local { .. }, Some((stream, _))) => {
                let stream = stream.clone();
                if let Err(error) = self.set_stream(turn, stream) {
                    self.stream = None;
                    self.tell(turn, MediaEvent::DeviceFailed { slug: "media.codec".into(), cause: error.to_string() });
                }
            }
        }
        let receives = match &self.stream {
            // Who holds us may send nothing at all; who hears nothing of us tells us nothing by its silence.
            Some(stream) => stream.plan.direction == Direction::SendRecv,
            None => matches!(self.route, Route::Relay { .. }) && chosen.is_none_or(|(s, _)| s.direction.receives()),
        };
        self.watch.listening = match (receives, self.watch.listening) {
            (true, None) => Some(now),
            (true, since) => since,
            (false, _) => None,
        };
    }

    /// Changes source and sink. What stays the same goes on: the driver does not open it again.
    pub(super) fn set_route(&mut self, turn: &mut Turn<'_>, route: Route) {
        let before = std::mem::replace(&mut self.route, route);
        let Route::Local { source, sink } = &self.route else {
            self.stream = None;
            return;
        };
        let Some(stream) = &mut self.stream else {
            let plan = self.plan.clone();
            return self.set_plan(turn, &plan);
        };
        let (same_source, same_sink) = match &before {
            Route::Local { source: old_source, sink: old_sink } => (old_source == source, old_sink == sink),
            Route::Relay { .. } => (false, false),
        };
        if !same_source {
            self.watch.silent_told = false;
            stream.set_feed(turn.now, Feed::of(source, stream.out.spec.sample_rate));
        }
        if !same_sink {
            stream.sink = None;
        }
    }

    /// Gives the ends that the route names.
    pub(super) fn attach(
        &mut self,
        now: Instant,
        source: Option<Box<dyn SoundSource>>,
        sink: Option<Box<dyn SoundSink>>,
    ) {
        let Some(stream) = &mut self.stream else { return };
        if let Some(source) = source {
            let device = matches!(
                &self.route,
                Route::Local { source: AudioSource::Device(_) | AudioSource::DeviceAndFile(..), .. }
            );
            let end = SourceEnd::new(source, stream.out.spec.sample_rate, device);
            stream.set_feed(now, Feed::Attached(end));
        }
        if let Some(sink) = sink {
            stream.sink = Some(SinkEnd::new(sink, stream.incoming.playout.sample_rate()));
        }
    }

    pub(super) fn set_ringback(&mut self, on: bool) {
        self.ringback = on;
        if let Some(stream) = &mut self.stream {
            stream.set_ringback(on);
        }
    }

    pub(super) fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Queues digits.
    pub(super) fn send_dtmf(&mut self, now: Instant, digits: &str, duration: Duration) {
        if let Some(stream) = &mut self.stream
            && stream.out.has_events()
        {
            stream.send_dtmf(now, digits, duration);
            self.watch.digits_told &= !stream.out.dtmf.is_busy();
        }
    }

    /// Says goodbye and gives the last figures.
    pub(super) fn close(&mut self, turn: &mut Turn<'_>) {
        if let (Some(stream), Some(transport)) = (&mut self.stream, &self.transport) {
            stream.control.send_bye(turn, transport.rtcp_to(), &stream.out, &mut stream.incoming);
        }
        let stats = self.stats(turn.now);
        self.tell(turn, MediaEvent::Closed(Box::new(stats)));
    }

    /// The instant of [`Self::poll_timeout`] has come.
    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let to = self.rtp_to(now);
        if let Some(stream) = &mut self.stream {
            let end = stream.handle_ticks(turn, to, self.muted);
            let rtcp_to = self.transport.as_ref().and_then(MediaTransport::rtcp_to);
            stream.control.handle_timeout(turn, rtcp_to, &stream.out, &mut stream.incoming);
            if end {
                self.tell(turn, MediaEvent::SourceEnded);
            }
        }
        if now >= self.next_check {
            self.check(turn);
        }
    }

    /// When [`Self::handle_timeout`] should be called next.
    pub(super) fn poll_timeout(&self) -> Instant {
        let ticks = self
            .stream
            .as_ref()
            .and_then(|stream| earliest(Some(stream.next_pull.min(stream.control.poll_timeout())), stream.send.next()));
        earliest(ticks, Some(self.next_check)).unwrap_or(self.next_check).round_up(GRID)
    }

    /// Its name towards the engines.
    pub(super) fn media(&self) -> MediaId {
        self.id
    }

    /// The sockets of the session.
    pub(super) fn sockets(&self) -> Option<[SocketId; 2]> {
        self.transport.as_ref().map(|transport| [transport.lease().rtp, transport.lease().rtcp])
    }

    /// True while what comes is played here, at times of our own.
    pub(super) fn plays(&self) -> bool {
        self.stream.is_some()
    }

    /// Where a packet of the other leg goes, counted as sent.
    pub(super) fn relay_to(&mut self, rtcp: bool, bytes: usize) -> Option<Destination> {
        let transport = self.transport.as_ref()?;
        if rtcp {
            return transport.rtcp_to();
        }
        let to = transport.rtp_to()?;
        self.relayed.sent += 1;
        self.relayed.bytes_sent += bytes as u64;
        Some(to)
    }

    /// Protects what this turn has put into the outbox.
    pub(super) fn seal(&mut self, outbox: &mut Outbox, from: usize) {
        if let Some(transport) = &mut self.transport {
            transport.seal(outbox, from);
        }
    }

    /// True when a stream that goes on needs a new SSRC.
    fn set_transport(&mut self, now: Instant, plan: Option<&TransportPlan>) -> bool {
        match (&mut self.transport, plan) {
            (Some(transport), Some(plan)) => return transport.set_plan(now, plan),
            (transport, Some(plan)) => *transport = Some(MediaTransport::new(now, plan, self.settings.dscp)),
            (transport, None) => *transport = None,
        }
        false
    }

    fn set_stream(&mut self, turn: &mut Turn<'_>, plan: StreamPlan) -> Result<(), CodecError> {
        let Route::Local { source, .. } = &self.route else { return Ok(()) };
        match &mut self.stream {
            Some(stream) => stream.set_plan(turn.now, plan, &self.settings),
            None => {
                let mut stream = Stream::new(turn, plan, &self.settings, source)?;
                stream.set_ringback(self.ringback);
                self.stream = Some(stream);
                Ok(())
            }
        }
    }

    /// Where sound may be sent to now.
    fn rtp_to(&self, now: Instant) -> Option<Destination> {
        let sends = self.stream.as_ref().is_some_and(|stream| stream.plan.direction.sends());
        let transport = self.transport.as_ref().filter(|transport| sends && transport.is_wanted(now))?;
        transport.rtp_to()
    }

    fn tell(&self, turn: &mut Turn<'_>, event: MediaEvent) {
        turn.events.push_back((self.id, event));
    }
}

/// The row of the codec table for what was negotiated.
fn codec_spec(codec: &NegotiatedCodec) -> Result<&'static CodecSpec, CodecError> {
    CODECS
        .iter()
        .find(|spec| spec.name.eq_ignore_ascii_case(&codec.name) && spec.clock_rate == codec.clock_rate)
        .ok_or(CodecError::Library { call: "looking up the codec", reason: "it is not built in" })
}

/// All deadlines are multiples of it, so that sessions share wake-ups (seam 5).
pub(super) const GRID: Duration = Duration::from_micros(2500);
const CHECK: Duration = Duration::from_millis(500);
