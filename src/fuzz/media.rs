//! RTP and RTCP: single packets, and a media session that gets them in the middle of its sound.

use crate::engine::Lease;
use crate::id::{MediaId, SetId, SocketId};
use crate::media::command::{AudioSink, AudioSource, MediaCommand, MediaSettings, Route};
use crate::media::packet::RtpPacket;
use crate::media::rtcp::{self, Item, Report};
use crate::media::set::{MediaSet, SoundSink};
use crate::rng::Rng;
use crate::sdp::plan::{
    Direction, DtmfPlan, MediaKind, MediaPlan, NegotiatedCodec, PayloadTypes, Protection, Remote, StreamPlan,
    TransportPlan,
};
use crate::time::{Duration, Epoch, Instant};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SESSION: MediaId = MediaId(1);
const FRAME: Duration = Duration::from_millis(20);
/// Frames of clean sound after the input; what it did must be over by then.
const CLEAN_FRAMES: u16 = 20;

/// Packets of RTP, each behind its length in two bytes: what is read is written and read again as the same, and a session
/// that gets them (one input in four goes to one) plays clean sound again within 400 ms.
pub fn rtp(input: &[u8]) {
    for bytes in split(input) {
        let Ok(packet) = RtpPacket::parse(bytes) else { continue };
        assert!(packet.payload.len() + 12 <= bytes.len(), "a payload lies within its packet");
        let held: usize = packet.extension_elements().map(|(_, data)| data.len()).sum();
        assert!(held <= bytes.len(), "extension elements lie within their packet");
        let mut buf = vec![0; bytes.len() + 16];
        let length = packet.write(&mut buf).expect("what was read can be written");
        assert_eq!(RtpPacket::parse(&buf[..length]), Ok(packet), "a packet read and written is the same packet");
    }
    if super::one_in(4, input) {
        let mut phone = Phone::new();
        for bytes in split(input) {
            phone.hear(phone.peer, bytes);
        }
        phone.assert_hears();
    }
}

/// Compound packets of RTCP, each behind its length: read twice they say the same, what they say is bounded by their
/// length, and nothing in them stops the sound of a session (one input in four) or makes its figures absurd.
pub fn rtcp(input: &[u8]) {
    let mut phone = super::one_in(4, input).then(Phone::new);
    for bytes in split(input) {
        let (first, second) = (items(bytes), items(bytes));
        assert_eq!(first, second, "a packet says the same each time");
        assert!(first.len() * 4 <= bytes.len(), "nothing is said in no bytes");
        for item in first {
            if let Item::Block { block, .. } = item {
                let trip = rtcp::round_trip_ms(0x1234_5678_9ABC_DEF0, &block);
                assert!(trip.is_none_or(|ms| (0.0..=30_000.0).contains(&ms)), "a round trip makes sense: {trip:?}");
                let report = Report { ssrc: 1, sender: None, block: Some(block), cname: "c", bye: false };
                let mut buf = [0; 128];
                let length = report.write(&mut buf).expect("a block can be written");
                assert_eq!(items(&buf[..length]), [Item::Block { from: 1, block }], "a block comes through");
            }
        }
        if let Some(phone) = &mut phone {
            phone.hear_control(bytes);
        }
    }
    if let Some(mut phone) = phone {
        phone.assert_hears();
    }
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let _ = rtcp::parse(bytes, |item| items.push(item)); // what came before an error counts too
    items
}

/// The pieces of an input, at most 32; a length that points outside takes all that is left.
pub(super) fn split(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (piece, after) = after.split_at(length);
        rest = after;
        Some(piece)
    })
    .take(32)
}

/// A session in the middle of a call, with a peer that has been heard.
struct Phone {
    set: MediaSet,
    now: Instant,
    peer: SocketAddr,
    peer_control: SocketAddr,
    loud: Arc<AtomicU64>,
    seq: u16,
    ssrc: u32,
    sent: usize,
    start: Instant,
}

/// Counts loud samples.
struct Ear(Arc<AtomicU64>);

impl SoundSink for Ear {
    fn rate(&self) -> u32 {
        8000
    }
    fn write(&mut self, pcm: &[i16]) {
        let loud = pcm.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
        self.0.fetch_add(loud as u64, Ordering::Relaxed);
    }
}

impl Phone {
    fn new() -> Self {
        let start = Instant::ZERO + Duration::from_secs(1000);
        let [peer, peer_control] = [4000, 4001].map(|port| SocketAddr::from(([192, 0, 2, 2], port)));
        let mut set = MediaSet::new(SetId(0), Rng::new([3; 32]), Epoch::new(start, Duration::from_secs(1_800_000_000)));
        let route = Route::Local { source: AudioSource::Echo, sink: AudioSink::None };
        let settings = MediaSettings::default();
        set.handle_command(start, SESSION, MediaCommand::Open { plan: plan(peer, peer_control), route, settings });
        let loud = Arc::new(AtomicU64::new(0));
        set.attach(start, SESSION, None, Some(Box::new(Ear(Arc::clone(&loud)))));
        let mut phone = Self { set, now: start, peer, peer_control, loud, seq: 100, ssrc: 7, sent: 0, start };
        (0..3).for_each(|_| phone.hear_clean());
        phone
    }

    fn hear(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.set.handle_packet(self.now, SocketId(2), from, &mut bytes.to_vec());
        self.advance(FRAME);
    }

    fn hear_control(&mut self, bytes: &[u8]) {
        self.set.handle_packet(self.now, SocketId(3), self.peer_control, &mut bytes.to_vec());
        self.advance(FRAME);
    }

    /// A frame of a square wave of 500 Hz.
    fn hear_clean(&mut self) {
        let payload: [u8; 160] = std::array::from_fn(|at| if at % 16 < 8 { 0x10 } else { 0x90 });
        let packet = RtpPacket {
            payload_type: 0,
            marker: false,
            seq: self.seq,
            timestamp: u32::from(self.seq).wrapping_mul(160),
            ssrc: self.ssrc,
            extension: None,
            payload: &payload,
        };
        self.seq = self.seq.wrapping_add(1);
        let mut buf = [0; 200];
        let length = packet.write(&mut buf).expect("a plain packet");
        self.hear(self.peer, &buf[..length]);
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for turn in 0.. {
            assert!(turn < 1000, "the timers do not come to rest");
            let Some(due) = self.set.poll_timeout().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.set.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    fn drain(&mut self) {
        let mut buf = [0; 1500];
        while let Some((_, to)) = self.set.poll_transmit(&mut buf) {
            assert!([self.peer, self.peer_control].contains(&to.to), "nothing goes to a stranger: {}", to.to);
            self.sent += 1;
        }
        while self.set.poll_event().is_some() {}
    }

    /// A new stream from the peer's own address is heard, whatever came before it.
    fn assert_hears(&mut self) {
        (self.ssrc, self.seq) = (0x00C0_FFEE, 40_000);
        for _ in 0..CLEAN_FRAMES / 2 {
            self.hear_clean();
        }
        let before = self.loud.swap(0, Ordering::Relaxed);
        for _ in 0..CLEAN_FRAMES / 2 {
            self.hear_clean();
        }
        let heard = self.loud.load(Ordering::Relaxed);
        assert!(heard >= 800, "the sound is back: {before} loud samples, then {heard}");
        let stats = self.set.stats(self.now, SESSION).expect("the session is open");
        assert!(stats.buffer_ms <= 2_000.0, "the buffer is bounded: {} ms", stats.buffer_ms);
        assert!(stats.jitter_ms.is_finite() && stats.rtt_ms.is_none_or(f64::is_finite), "{stats:?}");
        assert!(stats.mos.is_none_or(|mos| (1.0..=5.0).contains(&mos)), "{stats:?}");
        assert!(stats.remote_loss.is_none_or(|loss| (0.0..=1.0).contains(&loss)), "{stats:?}");
        let seconds = (self.now - self.start).as_secs_f64();
        assert!(self.sent as f64 <= 51.0 * seconds + 5.0, "{} packets in {seconds} s", self.sent);
        self.set.handle_command(self.now, SESSION, MediaCommand::Close);
        self.drain();
        assert!(self.set.is_quiet(), "nothing is left of a closed session");
    }
}

fn plan(peer: SocketAddr, peer_control: SocketAddr) -> MediaPlan {
    let codec = |name: &str, clock_rate, pt| NegotiatedCodec {
        name: name.to_owned(),
        clock_rate,
        channels: 1,
        pt: PayloadTypes { send: pt, recv: pt },
        send_fmtp: String::new(),
        recv_fmtp: String::new(),
    };
    let [rtp_addr, rtcp_addr] = [4000, 4001].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
    let lease = Lease { set: SetId(0), rtp: SocketId(2), rtcp: SocketId(3), rtp_addr, rtcp_addr };
    MediaPlan {
        transports: vec![TransportPlan {
            lease,
            remote: Remote::Signalled { rtp: peer, rtcp: peer_control, latch: true },
            protection: Protection::None,
            rtcp_mux: false,
        }],
        streams: vec![StreamPlan {
            index: 0,
            transport: 0,
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            codec: codec("pcmu", 8000, 0),
            receive: vec![
                codec("pcmu", 8000, 0),
                codec("pcma", 8000, 8),
                codec("g722", 8000, 9),
                codec("opus", 48_000, 96),
            ],
            dtmf: Some(DtmfPlan { pt: PayloadTypes { send: 101, recv: 101 }, clock_rate: 8000 }),
            ptime: FRAME,
        }],
    }
}
