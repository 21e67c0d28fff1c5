//! The sending half of a session: frames of sound in, RTP packets out (RFC 3550 §5.1, RFC 4733 for digits).

use super::super::codec::{CodecError, CodecSpec, Encoder, EncoderSettings, OpusSettings};
use super::super::command::MediaSettings;
use super::super::dtmf::DtmfSender;
use super::super::outbox::Outbox;
use super::super::packet::RtpPacket;
use super::super::set::Destination;
use super::super::stats::LevelMeter;
use super::codec_spec;
use crate::rng::Rng;
use crate::sdp::plan::{DtmfPlan, StreamPlan};
use crate::time::{Duration, Instant};

/// Encoder, numbering and counters of what we send.
pub(super) struct Outgoing {
    pub(super) spec: &'static CodecSpec,
    encoder: Box<dyn Encoder>,
    pub(super) payload_type: u8,
    fmtp: String,
    dtmf_type: Option<DtmfPlan>,
    pub(super) ptime: Duration,
    pub(super) ssrc: u32,
    seq: u16,
    /// Timestamp of the next frame.
    timestamp: u32,
    /// Sound of the next packet and how much of it is there.
    frame: Vec<i16>,
    filled: usize,
    payload: Box<[u8; MOST_PAYLOAD]>,
    /// The next packet begins a talk spurt.
    marker: bool,
    pub(super) dtmf: DtmfSender,
    pub(super) level: LevelMeter,
    /// When the last frame was due and its timestamp: the two clocks that a sender report ties together.
    clock: Option<(Instant, u32)>,
    pub(super) packets: u64,
    pub(super) octets: u64,
    /// The counts that belong to this SSRC alone.
    since_ssrc: (u64, u64),
}

impl Outgoing {
    pub(super) fn new(plan: &StreamPlan, settings: &MediaSettings, rng: &mut Rng) -> Result<Self, CodecError> {
        let spec = codec_spec(&plan.codec)?;
        let ptime = ptime_of(plan);
        let encoder = (spec.encoder)(&encoder_settings(plan, settings))?;
        Ok(Self {
            spec,
            encoder,
            payload_type: plan.codec.pt.send,
            fmtp: plan.codec.send_fmtp.clone(),
            dtmf_type: plan.dtmf,
            ptime,
            ssrc: rng.u32(),
            seq: first_seq(rng),
            timestamp: rng.u32(),
            frame: vec![0; frame_samples(spec, ptime)],
            filled: 0,
            payload: Box::new([0; MOST_PAYLOAD]),
            marker: true,
            dtmf: DtmfSender::new(dtmf_rate(plan, spec)),
            level: LevelMeter::default(),
            clock: None,
            packets: 0,
            octets: 0,
            since_ssrc: (0, 0),
        })
    }

    /// Takes over a later plan: SSRC and numbering go on; the encoder only changes if its format does.
    pub(super) fn set_plan(&mut self, plan: &StreamPlan, settings: &MediaSettings) -> Result<(), CodecError> {
        let spec = codec_spec(&plan.codec)?;
        let ptime = ptime_of(plan);
        if spec.name != self.spec.name || ptime != self.ptime || plan.codec.send_fmtp != self.fmtp {
            self.encoder = (spec.encoder)(&encoder_settings(plan, settings))?;
            self.spec = spec;
            self.ptime = ptime;
            self.fmtp.clone_from(&plan.codec.send_fmtp);
            self.frame = vec![0; frame_samples(spec, ptime)];
            self.filled = 0;
            self.marker = true;
        }
        self.payload_type = plan.codec.pt.send;
        if dtmf_rate(plan, spec) != self.dtmf.clock_rate() {
            self.dtmf = DtmfSender::new(dtmf_rate(plan, spec));
        }
        self.dtmf_type = plan.dtmf;
        Ok(())
    }

    /// Lets go of sound that is not a whole frame.
    pub(super) fn start_frame(&mut self) {
        self.filled = 0;
    }

    /// Samples of a whole packet.
    pub(super) fn frame_len(&self) -> usize {
        self.frame.len()
    }

    /// Leaves out frames that would have been sent in `time`: the stream's clock goes on without them.
    pub(super) fn skip(&mut self, time: Duration) {
        let step = u64::from(self.step());
        let frames = (time.as_nanos() / self.ptime.as_nanos().max(1)) as u64;
        self.timestamp = self.timestamp.wrapping_add(frames.wrapping_mul(step) as u32);
        self.marker = true;
    }

    /// Samples that are missing to the next packet.
    pub(super) fn room(&self) -> usize {
        self.frame.len() - self.filled
    }

    /// The place for the samples that are missing; [`Self::send_frame`] follows.
    pub(super) fn frame_rest(&mut self) -> &mut [i16] {
        &mut self.frame[self.filled..]
    }

    /// Adds sound; true once a frame is full and wants to be sent. What exceeds it is lost, so add no more than [`Self::room`].
    pub(super) fn push(&mut self, pcm: &[i16]) -> bool {
        let take = pcm.len().min(self.room());
        self.frame[self.filled..self.filled + take].copy_from_slice(&pcm[..take]);
        self.filled += take;
        self.room() == 0
    }

    /// Sends the frame, which was due at `due`, or the event packet that stands in its place.
    ///
    /// `to` is `None` while nothing may be sent: the clock of the stream goes on all the same.
    pub(super) fn send_frame(&mut self, due: Instant, to: Option<Destination>, muted: bool, outbox: &mut Outbox) {
        self.filled = 0;
        if muted {
            self.frame.fill(0);
        }
        let timestamp = self.timestamp;
        let step = self.step();
        self.timestamp = timestamp.wrapping_add(step);
        self.clock = Some((due, timestamp));
        let Some(to) = to else {
            self.marker = true;
            return;
        };
        self.level.handle(&self.frame);
        if let Some(dtmf) = self.dtmf_type
            && let Some(event) = self.dtmf.next(timestamp, units(self.ptime, dtmf.clock_rate))
        {
            self.send(
                to,
                dtmf.pt.send,
                event.marker,
                event.timestamp,
                event.payload.len(),
                Some(event.payload),
                outbox,
            );
            self.marker = true;
            return;
        }
        match self.encoder.encode(&self.frame, &mut self.payload[..]) {
            // Discontinuous transmission: a pause, after which a talk spurt begins.
            Ok(0) | Err(_) => self.marker = true,
            Ok(length) => {
                let marker = std::mem::take(&mut self.marker);
                self.send(to, self.payload_type, marker, timestamp, length, None, outbox);
            }
        }
    }

    /// Keeps a NAT's mapping open (RFC 6263 §4.6): a packet without payload whose type was not agreed.
    pub(super) fn send_keep_alive(&mut self, to: Destination, negotiated: &[u8], outbox: &mut Outbox) {
        let payload_type = (96..128).rev().find(|pt| !negotiated.contains(pt)).unwrap_or(127);
        let packet = RtpPacket {
            payload_type,
            marker: false,
            seq: self.seq,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            extension: None,
            payload: &[],
        };
        if outbox.push(to, |buf| packet.write(buf).ok()).is_some() {
            self.seq = self.seq.wrapping_add(1);
            self.count(0);
        }
    }

    /// Lets the stream's clock catch up with the time after a pause in sending.
    pub(super) fn resume(&mut self, now: Instant) {
        if let Some((at, timestamp)) = self.clock {
            let passed = self.units(now.since(at));
            let ahead = self.timestamp.wrapping_sub(timestamp);
            if passed > ahead {
                self.timestamp = timestamp.wrapping_add(passed);
            }
        }
        self.filled = 0;
        self.marker = true;
    }

    /// The RTP timestamp of `now`, for sender reports; `None` before the first frame.
    pub(super) fn timestamp_at(&self, now: Instant) -> Option<u32> {
        self.clock.map(|(at, timestamp)| timestamp.wrapping_add(self.units(now.since(at))))
    }

    /// Packets and octets of this SSRC, as sender reports count them.
    pub(super) fn counts(&self) -> (u32, u32) {
        ((self.packets - self.since_ssrc.0) as u32, (self.octets - self.since_ssrc.1) as u32)
    }

    /// Takes another SSRC (RFC 3550 §8.2: somebody else uses ours; or the SRTP key is new).
    pub(super) fn change_ssrc(&mut self, rng: &mut Rng) {
        self.ssrc = rng.u32();
        self.seq = first_seq(rng);
        self.since_ssrc = (self.packets, self.octets);
        self.marker = true;
    }

    /// Tells the encoder what share of its packets gets lost.
    pub(super) fn set_expected_loss(&mut self, loss: f32) {
        self.encoder.set_expected_loss(loss);
    }

    /// Whether digits can be sent as events.
    pub(super) fn has_events(&self) -> bool {
        self.dtmf_type.is_some()
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one packet")]
    fn send(
        &mut self,
        to: Destination,
        payload_type: u8,
        marker: bool,
        timestamp: u32,
        length: usize,
        event: Option<[u8; 4]>,
        outbox: &mut Outbox,
    ) {
        let payload = event.as_ref().map_or(&self.payload[..length], |event| &event[..]);
        let packet =
            RtpPacket { payload_type, marker, seq: self.seq, timestamp, ssrc: self.ssrc, extension: None, payload };
        if outbox.push(to, |buf| packet.write(buf).ok()).is_some() {
            self.count(length);
        }
        self.seq = self.seq.wrapping_add(1);
    }

    fn count(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
    }

    /// Timestamp units of one packet.
    fn step(&self) -> u32 {
        self.units(self.ptime)
    }

    fn units(&self, duration: Duration) -> u32 {
        units(duration, self.spec.clock_rate)
    }
}

/// Below half of its range: a receiver of SRTP that misses the first packets still knows the rollover counter.
fn first_seq(rng: &mut Rng) -> u16 {
    rng.u32() as u16 & 0x7FFF
}

fn units(duration: Duration, clock_rate: u32) -> u32 {
    (duration.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}

/// The clock of events: some peers know telephone-event at 8000 Hz only, whatever the codec's (RFC 4733 §2.1).
fn dtmf_rate(plan: &StreamPlan, spec: &CodecSpec) -> u32 {
    plan.dtmf.map_or(spec.clock_rate, |dtmf| dtmf.clock_rate)
}

/// The codecs take whole tens of milliseconds from 10 to 60.
fn ptime_of(plan: &StreamPlan) -> Duration {
    let tens = (plan.ptime.as_millis() as u64 + 5) / 10;
    Duration::from_millis(if tens == 0 { 20 } else { tens.min(6) * 10 })
}

fn frame_samples(spec: &CodecSpec, ptime: Duration) -> usize {
    spec.sample_rate as usize * ptime.as_millis() as usize / 1000
}

fn encoder_settings(plan: &StreamPlan, settings: &MediaSettings) -> EncoderSettings {
    EncoderSettings {
        fmtp: plan.codec.send_fmtp.clone(),
        ptime: ptime_of(plan),
        opus: OpusSettings {
            bitrate: settings.opus_bitrate,
            complexity: settings.opus_complexity,
            fec: settings.opus_fec,
            dtx: settings.opus_dtx,
            expected_loss: settings.opus_expected_loss,
        },
    }
}

/// The longest payload that fits a datagram with its header.
const MOST_PAYLOAD: usize = 1480;
