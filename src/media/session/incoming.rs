//! The receiving half of a session: RTP packets in, sound out, and what there is to tell about them.

use super::super::codec::{CodecError, CodecSpec};
use super::super::command::{MediaEvent, MediaSettings, MediaStats};
use super::super::dtmf::DtmfReceiver;
use super::super::packet::RtpPacket;
use super::super::playout::{JitterSettings, Playout};
use super::super::stats::{LevelMeter, Reception};
use super::codec_spec;
use crate::sdp::plan::StreamPlan;
use crate::time::{Duration, Instant};

/// Playout, counters and digits of what we receive.
pub(super) struct Incoming {
    formats: Vec<Format>,
    dtmf_type: Option<u8>,
    jitter: JitterSettings,
    /// Index into `formats` of what `playout` decodes.
    current: usize,
    /// Another format that one packet had: the second one in a row switches.
    other: Option<usize>,
    pub(super) playout: Playout,
    ssrc: Option<u32>,
    pub(super) reception: Option<Reception>,
    /// Counts of sources before this one.
    before: Before,
    dtmf: DtmfReceiver,
    pub(super) level: LevelMeter,
    block: Vec<i16>,
    pub(super) packets: u64,
    pub(super) octets: u64,
}

/// One thing that may arrive.
#[derive(Debug, Clone)]
struct Format {
    payload_type: u8,
    spec: &'static CodecSpec,
    fmtp: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Before {
    lost: u64,
    late: u64,
    duplicate: u64,
    concealed_ms: u64,
    played: u64,
    not_played: u64,
}

impl Incoming {
    pub(super) fn new(plan: &StreamPlan, settings: &MediaSettings) -> Result<Self, CodecError> {
        let formats = formats_of(plan)?;
        let jitter =
            JitterSettings { adaptive: settings.jitter_adaptive, min: settings.jitter_min, max: settings.jitter_max };
        let first = formats.first().ok_or(CodecError::Malformed { bytes: 0 })?;
        let playout = Playout::new(first.spec, &first.fmtp, &jitter)?;
        let dtmf_rate = plan.dtmf.map_or(first.spec.clock_rate, |dtmf| dtmf.clock_rate);
        Ok(Self {
            block: vec![0; playout.sample_rate() as usize / 100],
            formats,
            dtmf_type: plan.dtmf.map(|dtmf| dtmf.pt.recv),
            jitter,
            current: 0,
            other: None,
            playout,
            ssrc: None,
            reception: None,
            before: Before::default(),
            dtmf: DtmfReceiver::new(dtmf_rate),
            level: LevelMeter::default(),
            packets: 0,
            octets: 0,
        })
    }

    /// Takes over a later plan; the jitter buffer goes on if its format is still there.
    pub(super) fn set_plan(&mut self, plan: &StreamPlan) -> Result<(), CodecError> {
        let formats = formats_of(plan)?;
        let now = self.formats.get(self.current).cloned();
        self.dtmf_type = plan.dtmf.map(|dtmf| dtmf.pt.recv);
        if let Some(dtmf) = plan.dtmf {
            self.dtmf.set_clock_rate(dtmf.clock_rate);
        }
        self.other = None;
        // The same codec under another number is the same stream.
        let same = |format: &Format| {
            now.as_ref().is_some_and(|now| (now.spec.name, &now.fmtp) == (format.spec.name, &format.fmtp))
        };
        match formats.iter().position(same) {
            Some(place) => {
                self.current = place;
                self.formats = formats;
            }
            None => {
                self.formats = formats;
                self.switch(0)?;
            }
        }
        Ok(())
    }

    /// Whether a payload type is one that we may get. Comfort noise (13) needs no agreement to be harmless.
    pub(super) fn knows(&self, payload_type: u8) -> bool {
        self.dtmf_type == Some(payload_type)
            || payload_type == COMFORT_NOISE
            || self.formats.iter().any(|format| format.payload_type == payload_type)
    }

    /// All payload types that were agreed.
    pub(super) fn payload_types(&self) -> impl Iterator<Item = u8> {
        self.formats.iter().map(|format| format.payload_type).chain(self.dtmf_type)
    }

    /// Takes an accepted packet.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &RtpPacket<'_>, mut tell: impl FnMut(MediaEvent)) {
        if self.ssrc.replace(packet.ssrc).is_some_and(|before| before != packet.ssrc) {
            self.new_source();
        }
        self.packets += 1;
        self.octets += packet.payload.len() as u64;
        let clock_rate = self.formats.get(self.current).map_or(8000, |format| format.spec.clock_rate);
        let reception = self.reception.get_or_insert_with(|| Reception::new(clock_rate, packet.seq));
        reception.handle_seq(packet.seq);
        if self.dtmf_type == Some(packet.payload_type) {
            self.playout.insert_other(packet.seq);
            self.dtmf.handle(now, packet.timestamp, packet.marker, packet.payload, |digit, duration| {
                tell(MediaEvent::Digit { digit, duration });
            });
            return;
        }
        let Some(format) = self.formats.iter().position(|format| format.payload_type == packet.payload_type) else {
            // The static type of comfort noise counts at 8000 Hz; beside another clock its times would mean nothing.
            if packet.payload_type == COMFORT_NOISE && clock_rate == 8000 {
                self.playout.insert_noise(packet.seq, packet.payload);
            } else {
                self.playout.insert_other(packet.seq);
            }
            return;
        };
        if format != self.current {
            let sure = self.other.replace(format) == Some(format);
            if !sure || self.switch(format).is_err() {
                self.playout.insert_other(packet.seq);
                return;
            }
        }
        self.other = None;
        let clock_rate = self.formats.get(self.current).map_or(clock_rate, |format| format.spec.clock_rate);
        if let Some(reception) = &mut self.reception {
            reception.set_clock_rate(clock_rate);
            reception.handle_arrival(now, packet.timestamp);
        }
        self.playout.insert(now, packet.seq, packet.timestamp, packet.marker, packet.payload);
    }

    /// Ends digits whose end was lost.
    pub(super) fn handle_timeout(&mut self, now: Instant, mut tell: impl FnMut(MediaEvent)) {
        self.dtmf.handle_timeout(now, |digit, duration| tell(MediaEvent::Digit { digit, duration }));
    }

    /// The next 10 ms of sound.
    pub(super) fn pull(&mut self, now: Instant) -> &[i16] {
        self.playout.pull(now, &mut self.block);
        self.level.handle(&self.block);
        &self.block
    }

    /// Samples of a block.
    pub(super) fn block_len(&self) -> usize {
        self.block.len()
    }

    /// The source that is heard.
    pub(super) fn ssrc(&self) -> Option<u32> {
        self.ssrc
    }

    /// Writes the receiving figures.
    pub(super) fn fill(&self, stats: &mut MediaStats) {
        let playout = self.playout.stats();
        stats.received = self.packets;
        stats.bytes_received = self.octets;
        stats.lost = self.before.lost + self.reception.as_ref().map_or(0, Reception::lost);
        stats.jitter_ms = self.reception.as_ref().map_or(0.0, Reception::jitter_ms);
        stats.late = self.before.late + playout.late;
        stats.duplicate = self.before.duplicate + playout.duplicate;
        stats.concealed_ms = self.before.concealed_ms + playout.concealed_ms;
        stats.buffer_ms = playout.delay.as_secs_f64() * 1000.0;
    }

    /// The share of packets whose place was played over, and how many packets that is known from.
    pub(super) fn played_over(&self) -> (f64, u64) {
        let playout = self.playout.stats();
        let lost = self.before.not_played + playout.lost;
        let all = lost + self.before.played + playout.played;
        (lost as f64 / all.max(1) as f64, all)
    }

    fn new_source(&mut self) {
        if let Some(reception) = self.reception.take() {
            self.before.lost += reception.lost();
        }
        self.playout.reset();
        self.dtmf.reset();
        self.other = None;
    }

    fn switch(&mut self, format: usize) -> Result<(), CodecError> {
        let Some(to) = self.formats.get(format) else { return Err(CodecError::Malformed { bytes: 0 }) };
        let playout = Playout::new(to.spec, &to.fmtp, &self.jitter)?;
        let old = std::mem::replace(&mut self.playout, playout).stats();
        self.before.late += old.late;
        self.before.duplicate += old.duplicate;
        self.before.concealed_ms += old.concealed_ms;
        self.before.played += old.played;
        self.before.not_played += old.lost;
        self.block = vec![0; self.playout.sample_rate() as usize / 100];
        self.current = format;
        self.other = None;
        Ok(())
    }
}

fn formats_of(plan: &StreamPlan) -> Result<Vec<Format>, CodecError> {
    let mut formats = Vec::new();
    for codec in std::iter::once(&plan.codec).chain(&plan.receive) {
        if formats.iter().any(|format: &Format| format.payload_type == codec.pt.recv) {
            continue;
        }
        // What else was agreed but cannot be decoded here is refused like any unknown type.
        if let Ok(spec) = codec_spec(codec) {
            formats.push(Format { payload_type: codec.pt.recv, spec, fmtp: codec.recv_fmtp.clone() });
        }
    }
    if formats.is_empty() { Err(CodecError::Malformed { bytes: 0 }) } else { Ok(formats) }
}

/// How long a block is.
pub(super) const BLOCK: Duration = Duration::from_millis(10);
/// RFC 3389.
const COMFORT_NOISE: u8 = 13;
