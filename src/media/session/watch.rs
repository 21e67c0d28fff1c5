//! What a session notices by itself: silence from the peer or the microphone, and its figures.

use super::super::command::{MediaEvent, MediaStats};
use super::super::stats::mos;
use super::super::transport::MediaTransport;
use super::ends::Feed;
use super::{CHECK, GRID, MediaSession, Turn};
use crate::time::{Duration, Instant};

/// What is told once when it happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) first_packet: Option<Instant>,
    pub(super) last_packet: Option<Instant>,
    /// Since when the peer is expected to send.
    pub(super) listening: Option<Instant>,
    pub(super) no_audio_told: bool,
    pub(super) lost_told: bool,
    pub(super) silent_told: bool,
    pub(super) digits_told: bool,
    pub(super) last_keep_alive: Instant,
}

impl Watch {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            first_packet: None,
            last_packet: None,
            listening: None,
            no_audio_told: false,
            lost_told: false,
            silent_told: false,
            digits_told: true,
            last_keep_alive: now,
        }
    }
}

impl MediaSession {
    /// Figures up to now.
    pub(in crate::media) fn stats(&self, now: Instant) -> MediaStats {
        let mut stats = MediaStats {
            refused: self.refused,
            mic_db: self.levels.0,
            speaker_db: self.levels.1,
            ..MediaStats::default()
        };
        if let Some((suite, counts)) = self.transport.as_ref().and_then(MediaTransport::protection) {
            stats.srtp = (counts.authentic > 0).then(|| suite.name().to_owned());
            stats.forged = counts.forged;
            stats.replayed = counts.replayed;
        }
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

    /// Every half second: what has not happened, keep-alives, figures.
    pub(super) fn check(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        self.checks += 1;
        self.next_check = (self.next_check + CHECK).max(now).round_up(GRID);
        if let Some(since) = self.watch.listening
            && !self.watch.no_audio_told
            && self.watch.first_packet.is_none()
            && now.since(since) >= NO_AUDIO_AFTER
        {
            self.watch.no_audio_told = true;
            let forged =
                self.transport.as_ref().and_then(MediaTransport::protection).map_or(0, |(_, counts)| counts.forged);
            self.tell(
                turn,
                if forged > 0 { MediaEvent::NotAuthentic { packets: forged } } else { MediaEvent::NoIncomingAudio },
            );
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
}

const NO_AUDIO_AFTER: Duration = Duration::from_secs(5);
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// RFC 6263.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const MOS_AFTER: Duration = Duration::from_secs(1);
