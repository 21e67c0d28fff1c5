use super::*;
use crate::media::command::{AudioSink, AudioSource};
use crate::media::packet::{RtpPacket, is_rtcp};
use crate::media::tones;
use crate::sdp::plan::{
    Direction, DtmfPlan, MediaKind, NegotiatedCodec, PayloadTypes, Protection, Remote, StreamPlan, TransportPlan,
};
use crate::time::Duration;
use std::sync::mpsc::{Receiver, Sender, channel};

mod calls;
mod devices;
mod peers;

/// Sessions in one or more sets on a network that delays by half a millisecond; session `n` has sockets 2n and 2n+1 on 10.0.0.n.
struct Net {
    sets: Vec<MediaSet>,
    now: Instant,
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    count: u64,
    /// Everything that was sent, also to nobody.
    sent: Vec<(Instant, Destination, Vec<u8>)>,
    events: Vec<(Instant, u64, MediaEvent)>,
    delay: Duration,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn rtp_of(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 4000))
}

fn rtcp_of(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 4001))
}

fn codec(name: &str, pt: u8) -> NegotiatedCodec {
    let clock_rate = if name == "opus" { 48_000 } else { 8000 };
    NegotiatedCodec {
        name: name.into(),
        clock_rate,
        channels: 1,
        pt: PayloadTypes { send: pt, recv: pt },
        send_fmtp: String::new(),
        recv_fmtp: String::new(),
    }
}

/// The plan of session `n` towards `peer`.
fn plan(n: u64, peer: u64, codecs: &[NegotiatedCodec]) -> MediaPlan {
    let codec = codecs.first().expect("one at least").clone();
    let dtmf = DtmfPlan { pt: PayloadTypes { send: 101, recv: 101 }, clock_rate: codec.clock_rate };
    MediaPlan {
        transports: vec![TransportPlan {
            lease: crate::engine::Lease {
                set: SetId(0),
                rtp: SocketId(2 * n as u32),
                rtcp: SocketId(2 * n as u32 + 1),
                rtp_addr: rtp_of(n),
                rtcp_addr: rtcp_of(n),
            },
            remote: Remote::Signalled { rtp: rtp_of(peer), rtcp: rtcp_of(peer), latch: false },
            protection: Protection::None,
            rtcp_mux: false,
        }],
        streams: vec![StreamPlan {
            index: 0,
            transport: 0,
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            codec,
            receive: codecs.to_vec(),
            dtmf: Some(dtmf),
            ptime: ms(20),
        }],
    }
}

fn pcmu() -> Vec<NegotiatedCodec> {
    vec![codec("pcmu", 0), codec("pcma", 8)]
}

fn local(source: AudioSource) -> Route {
    Route::Local { source, sink: AudioSink::None }
}

impl Net {
    fn new(sets: usize) -> Self {
        let epoch = Epoch::new(Instant::ZERO, Duration::from_secs(1_700_000_000));
        let sets = (0..sets).map(|n| MediaSet::new(SetId(n as u16), Rng::new([n as u8 + 1; 32]), epoch)).collect();
        let now = Instant::ZERO + ms(1000);
        Self {
            sets,
            now,
            flying: BTreeMap::new(),
            count: 0,
            sent: vec![],
            events: vec![],
            delay: Duration::from_micros(500),
        }
    }

    fn set_of(&mut self, n: u64) -> &mut MediaSet {
        let count = self.sets.len();
        &mut self.sets[n as usize % count]
    }

    fn command(&mut self, n: u64, command: MediaCommand) {
        let now = self.now;
        self.set_of(n).handle_command(now, MediaId(n), command);
        self.drain();
    }

    fn open(&mut self, n: u64, plan: MediaPlan, route: Route) {
        self.command(n, MediaCommand::Open { plan, route, settings: MediaSettings::default() });
    }

    /// Puts a datagram on the network.
    fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.count += 1;
        self.flying.insert((self.now + self.delay, self.count), (from, to, bytes));
    }

    fn rtp(&mut self, n: u64, from: SocketAddr, packet: &RtpPacket<'_>) {
        let mut bytes = vec![0; 200];
        let length = packet.write(&mut bytes).expect("it fits");
        bytes.truncate(length);
        self.inject(from, rtp_of(n), bytes);
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timeout = self.sets.iter().filter_map(MediaSet::poll_timeout).min();
            let arrival = self.flying.first_key_value().map(|(key, _)| key.0);
            let next = [timeout, arrival].into_iter().flatten().min().filter(|&next| next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, mut bytes) = entry.remove();
                let n = match to.ip() {
                    std::net::IpAddr::V4(ip) => u64::from(ip.octets()[3]),
                    std::net::IpAddr::V6(_) => continue,
                };
                let socket = SocketId(2 * n as u32 + u32::from(to.port() % 2));
                let now = self.now;
                self.set_of(n).handle_packet(now, socket, from, &mut bytes);
            }
            for set in &mut self.sets {
                set.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        let mut buf = [0; 1500];
        for n in 0..self.sets.len() {
            while let Some((length, to)) = self.sets[n].poll_transmit(&mut buf) {
                self.sent.push((self.now, to, buf[..length].to_vec()));
                let from = SocketAddr::from(([10, 0, 0, (to.socket.0 / 2) as u8], 4000 + (to.socket.0 % 2) as u16));
                self.inject(from, to.to, buf[..length].to_vec());
            }
            while let Some((id, event)) = self.sets[n].poll_event() {
                self.events.push((self.now, id.0, event));
            }
        }
    }

    /// RTP that session `n` sent: when and what (sequence number, timestamp, type, marker, payload length).
    fn rtp_from(&self, n: u64) -> Vec<(Instant, u16, u32, u8, bool, usize)> {
        let of = |(at, to, bytes): &(Instant, Destination, Vec<u8>)| {
            let packet = RtpPacket::parse(bytes).ok().filter(|_| to.socket.0 == 2 * n as u32)?;
            Some((*at, packet.seq, packet.timestamp, packet.payload_type, packet.marker, packet.payload.len()))
        };
        self.sent.iter().filter_map(of).collect()
    }

    /// Events of session `n` but the figures.
    fn told(&self, n: u64) -> Vec<&MediaEvent> {
        let told = |(_, id, event): &&(Instant, u64, MediaEvent)| *id == n && !matches!(event, MediaEvent::Stats(_));
        self.events.iter().filter(told).map(|(_, _, event)| event).collect()
    }

    fn stats(&mut self, n: u64) -> MediaStats {
        let now = self.now;
        self.set_of(n).stats(now, MediaId(n)).expect("the session is open")
    }

    /// Attaches a sink and returns where its sound comes out.
    fn listen(&mut self, n: u64, rate: u32) -> Receiver<Vec<i16>> {
        let (sender, receiver) = channel();
        let now = self.now;
        self.set_of(n).attach(now, MediaId(n), None, Some(Box::new(Tape(rate, sender))));
        receiver
    }

    fn play(&mut self, n: u64, rate: u32, pcm: Vec<i16>) {
        let now = self.now;
        self.set_of(n).attach(now, MediaId(n), Some(Box::new(Clip(rate, pcm.into()))), None);
    }
}

struct Tape(u32, Sender<Vec<i16>>);

impl SoundSink for Tape {
    fn rate(&self) -> u32 {
        self.0
    }
    fn write(&mut self, pcm: &[i16]) {
        self.1.send(pcm.to_vec()).ok();
    }
}

struct Clip(u32, VecDeque<i16>);

impl SoundSource for Clip {
    fn rate(&self) -> u32 {
        self.0
    }
    fn read(&mut self, out: &mut [i16]) -> usize {
        let given = out.len().min(self.1.len());
        out.iter_mut().zip(self.1.drain(..given)).for_each(|(place, sample)| *place = sample);
        given
    }
}

fn heard(tape: &Receiver<Vec<i16>>) -> Vec<i16> {
    tape.try_iter().flatten().collect()
}
