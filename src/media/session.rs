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
mod stream;

use super::codec::{CODECS, CodecError, CodecSpec};
use super::command::{AudioSource, MediaEvent, MediaSettings, MediaStats, Route};
use super::outbox::Outbox;
use super::packet::{RtpPacket, is_rtcp};
use super::resample::Resampler;
use super::set::{Destination, SoundSink, SoundSource};
use super::stats::mos;
use super::transport::MediaTransport;
use crate::id::{MediaId, SocketId};
use crate::rng::Rng;
use crate::sdp::plan::{MediaPlan, NegotiatedCodec, StreamPlan, TransportPlan};
use crate::time::{Duration, Epoch, Instant, earliest};
use control::Control;
use ends::{Feed, FrameClock, SinkEnd, SourceEnd};
use incoming::Incoming;
use outgoing::Outgoing;
use std::collections::VecDeque;
use std::net::SocketAddr;

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
    /// Of a paced sink: time that may be pulled, and since when it has wanted nothing.
    pull_credit: Duration,
    sated: Duration,
    last_pull: Instant,
}

/// When a frame of the source is sent.
enum SendClock {
    /// With what is pulled: an echo, or no source at all.
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

/// What is told once when it happens.
#[derive(Debug, Clone, Copy)]
struct Watch {
    first_packet: Option<Instant>,
    last_packet: Option<Instant>,
    /// Since when the peer is expected to send.
    listening: Option<Instant>,
    no_audio_told: bool,
    lost_told: bool,
    silent_told: bool,
    digits_told: bool,
    last_keep_alive: Instant,
}

/// What the set must do with a packet that a session has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// Nothing more.
    Done,
    /// Pass it on to the other leg.
    Relay {
        /// The other leg.
        peer: MediaId,
        /// RTCP rather than RTP.
        rtcp: bool,
    },
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
        let watch = Watch {
            first_packet: None,
            last_packet: None,
            listening: None,
            no_audio_told: false,
            lost_told: false,
            silent_told: false,
            digits_told: true,
            last_keep_alive: now,
        };
        let mut session = Self {
            id,
            settings,
            plan: plan.clone(),
            route,
            muted: false,
            transport: None,
            stream: None,
            relayed: Relayed::default(),
            refused: 0,
            watch,
            next_check: (now + CHECK).round_up(GRID),
            checks: 0,
            levels: (None, None),
        };
        session.set_plan(turn, plan);
        session
    }

    /// Takes over a later plan: what goes on keeps its SSRC, numbers and jitter buffer.
    pub(super) fn set_plan(&mut self, turn: &mut Turn<'_>, plan: &MediaPlan) {
        let now = turn.now;
        self.plan.clone_from(plan);
        let chosen = plan.streams.iter().find_map(|stream| Some((stream, plan.transports.get(stream.transport)?)));
        let transport = chosen.map(|(_, transport)| transport).or_else(|| plan.transports.first());
        self.set_transport(now, transport);
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
            Some(stream) => stream.plan.direction.receives(),
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
            let device = matches!(&self.route, Route::Local { source: AudioSource::Device(_), .. });
            let end = SourceEnd::new(source, stream.out.spec.sample_rate, device);
            stream.set_feed(now, Feed::Attached(end));
        }
        if let Some(sink) = sink {
            stream.sink = Some(SinkEnd::new(sink, stream.incoming.playout.sample_rate()));
        }
    }

    pub(super) fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Queues digits.
    pub(super) fn send_dtmf(&mut self, digits: &str, duration: Duration) {
        if let Some(stream) = &mut self.stream
            && stream.out.has_events()
        {
            stream.out.dtmf.push(digits, duration);
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

    /// A datagram came on one of our sockets.
    pub(super) fn handle_packet(
        &mut self,
        turn: &mut Turn<'_>,
        socket: SocketId,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Handled {
        let Some(transport) = &mut self.transport else { return Handled::Done };
        if transport.is_rtcp(socket) || is_rtcp(bytes) {
            // RTCP on the RTP socket would be multiplexing, which was not agreed.
            if !transport.is_rtcp(socket) || !is_rtcp(bytes) || !transport.accepts_rtcp(turn.now, source) {
                self.refused += 1;
                return Handled::Done;
            }
            return self.handle_rtcp(turn, bytes);
        }
        self.handle_rtp(turn, source, bytes)
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

    /// The sockets of the session.
    pub(super) fn sockets(&self) -> Option<[SocketId; 2]> {
        self.transport.as_ref().map(|transport| [transport.lease().rtp, transport.lease().rtcp])
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

    /// Figures up to now.
    pub(super) fn stats(&self, now: Instant) -> MediaStats {
        let mut stats = MediaStats {
            refused: self.refused,
            mic_db: self.levels.0,
            speaker_db: self.levels.1,
            ..MediaStats::default()
        };
        let Some(stream) = &self.stream else {
            stats.sent = self.relayed.sent;
            stats.received = self.relayed.received;
            stats.bytes_sent = self.relayed.bytes_sent;
            stats.bytes_received = self.relayed.bytes_received;
            return stats;
        };
        stats.codec = stream.out.spec.name.to_owned();
        stats.rate = stream.out.spec.sample_rate;
        stats.sent = stream.out.packets;
        stats.bytes_sent = stream.out.octets;
        stats.rtt_ms = stream.control.rtt_ms;
        stats.remote_loss = stream.control.remote_loss;
        stream.incoming.fill(&mut stats);
        let heard_for = self.watch.first_packet.map_or(Duration::ZERO, |first| now.since(first));
        let (loss, packets) = stream.incoming.played_over();
        if heard_for >= MOS_AFTER && packets > 0 {
            let delay = stats.rtt_ms.unwrap_or(0.0) / 2.0 + stats.buffer_ms + stream.out.ptime.as_secs_f64() * 1000.0;
            stats.mos = Some(mos(&stats.codec, delay, loss));
        }
        stats
    }

    fn set_transport(&mut self, now: Instant, plan: Option<&TransportPlan>) {
        match (&mut self.transport, plan) {
            (Some(transport), Some(plan)) => transport.set_plan(now, plan),
            (transport, Some(plan)) => *transport = Some(MediaTransport::new(now, plan, self.settings.dscp)),
            (transport, None) => *transport = None,
        }
    }

    fn set_stream(&mut self, turn: &mut Turn<'_>, plan: StreamPlan) -> Result<(), CodecError> {
        let Route::Local { source, .. } = &self.route else { return Ok(()) };
        match &mut self.stream {
            Some(stream) => stream.set_plan(turn.now, plan, &self.settings),
            None => {
                self.stream = Some(Stream::new(turn, plan, &self.settings, source)?);
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

    fn handle_rtp(&mut self, turn: &mut Turn<'_>, source: SocketAddr, bytes: &[u8]) -> Handled {
        let Ok(packet) = RtpPacket::parse(bytes) else {
            self.refused += 1;
            return Handled::Done;
        };
        let Some(transport) = &mut self.transport else { return Handled::Done };
        // A relay does not know the types that its two phones agreed on.
        let negotiated = match (&self.stream, &self.route) {
            (Some(stream), _) => stream.incoming.knows(packet.payload_type),
            (None, Route::Relay { .. }) => true,
            (None, Route::Local { .. }) => false,
        };
        if !transport.accepts_rtp(turn.now, source, &packet, negotiated) {
            self.refused += 1;
            return Handled::Done;
        }
        if let Some(stream) = &mut self.stream
            && packet.ssrc == stream.out.ssrc
            && !stream.collided
        {
            // RFC 3550 §8.2. Once only: a peer that sends our own packets back would use any other SSRC too.
            stream.collided = true;
            stream.control.send_bye(turn, transport.rtcp_to(), &stream.out, &mut stream.incoming);
            stream.out.change_ssrc(turn.rng);
        }
        self.watch.last_packet = Some(turn.now);
        self.watch.lost_told = false;
        if self.watch.first_packet.is_none() {
            self.watch.first_packet = Some(turn.now);
            turn.events.push_back((self.id, MediaEvent::FirstPacket));
        }
        let Some(stream) = &mut self.stream else {
            self.relayed.received += 1;
            self.relayed.bytes_received += packet.payload.len() as u64;
            return match self.route {
                Route::Relay { peer } => Handled::Relay { peer, rtcp: false },
                Route::Local { .. } => Handled::Done,
            };
        };
        if stream.plan.direction.receives() {
            let (id, now) = (self.id, turn.now);
            stream.incoming.handle_packet(now, &packet, |event| turn.events.push_back((id, event)));
            stream.align(now);
        }
        Handled::Done
    }

    fn handle_rtcp(&mut self, turn: &Turn<'_>, bytes: &[u8]) -> Handled {
        let Some(stream) = &mut self.stream else {
            return match self.route {
                Route::Relay { peer } => Handled::Relay { peer, rtcp: true },
                Route::Local { .. } => Handled::Done,
            };
        };
        match stream.control.handle_packet(turn, bytes, &mut stream.out, &stream.incoming) {
            Ok(Some(bye)) => {
                if let Some(transport) = &mut self.transport {
                    transport.handle_bye(bye);
                }
            }
            Ok(None) => {}
            Err(()) => self.refused += 1,
        }
        Handled::Done
    }

    /// Every half second: what has not happened, keep-alives, figures.
    fn check(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.checks += 1;
        self.next_check = (self.next_check + CHECK).max(now).round_up(GRID);
        if let Some(since) = self.watch.listening
            && !self.watch.no_audio_told
            && self.watch.first_packet.is_none()
            && now.since(since) >= NO_AUDIO_AFTER
        {
            self.watch.no_audio_told = true;
            self.tell(turn, MediaEvent::NoIncomingAudio);
        }
        if let (Some(timeout), Some(since)) = (self.settings.media_timeout, self.watch.listening) {
            let last = self.watch.last_packet.map_or(since, |last| last.max(since));
            if !self.watch.lost_told && now.since(last) >= timeout {
                self.watch.lost_told = true;
                self.tell(turn, MediaEvent::RtpLost);
            }
        }
        self.check_stream(turn);
        if self.checks.is_multiple_of(2) {
            if let Some(stream) = &mut self.stream {
                self.levels = (stream.out.level.take_db(), stream.incoming.level.take_db());
            }
            let stats = self.stats(now);
            self.tell(turn, MediaEvent::Stats(Box::new(stats)));
        }
    }

    fn check_stream(&mut self, turn: &mut Turn<'_>) {
        let (id, now) = (self.id, turn.now);
        let silent_path = self.rtp_to(now).is_none();
        let Some(stream) = &mut self.stream else { return };
        stream.incoming.handle_timeout(now, |event| turn.events.push_back((id, event)));
        if !self.watch.digits_told && !stream.out.dtmf.is_busy() {
            self.watch.digits_told = true;
            turn.events.push_back((id, MediaEvent::DtmfSent));
        }
        if let Feed::Attached(end) = &stream.feed
            && end.device
        {
            let silent = end.silent_for() >= SILENT_AFTER;
            if silent && !self.watch.silent_told {
                turn.events.push_back((id, MediaEvent::SilentMicrophone));
            }
            self.watch.silent_told = silent;
        }
        let quiet = silent_path || matches!(stream.feed, Feed::Nothing);
        if !quiet {
            self.watch.last_keep_alive = now;
        } else if now.since(self.watch.last_keep_alive) + CHECK > KEEP_ALIVE
            && let Some(to) = self.transport.as_ref().and_then(MediaTransport::rtp_to)
        {
            self.watch.last_keep_alive = now;
            let mut known = [0; 16];
            let count = known.iter_mut().zip(stream.incoming.payload_types()).map(|(place, pt)| *place = pt).count();
            stream.out.send_keep_alive(to, &known[..count], turn.outbox);
        }
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
const NO_AUDIO_AFTER: Duration = Duration::from_secs(5);
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// RFC 6263.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const MOS_AFTER: Duration = Duration::from_secs(1);
