//! Whole sessions: from the source of one over the network to the playout of the other, with RTCP, digits and a relay.

use super::allocations;
use bellwire::engine::Lease;
use bellwire::id::{MediaId, SetId, SocketId};
use bellwire::media::codec::CODECS;
use bellwire::media::command::{AudioSink, AudioSource, MediaCommand, MediaEvent, MediaSettings, Route};
use bellwire::media::set::MediaSet;
use bellwire::rng::Rng;
use bellwire::sdp::plan::{
    Direction, DtmfPlan, MediaKind, MediaPlan, NegotiatedCodec, PayloadTypes, Protection, Remote, StreamPlan,
    TransportPlan,
};
use bellwire::time::{Duration, Epoch, Instant};
use std::net::SocketAddr;

fn rtp_of(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 4000))
}

fn rtcp_of(n: u32) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n as u8], 4001))
}

/// Session `n`, with the sockets 2n and 2n+1, towards `peer`.
fn plan(n: u32, peer: u32, codec: &NegotiatedCodec) -> MediaPlan {
    let lease = Lease {
        set: SetId(0),
        rtp: SocketId(2 * n),
        rtcp: SocketId(2 * n + 1),
        rtp_addr: rtp_of(n),
        rtcp_addr: rtcp_of(n),
    };
    let remote = Remote::Signalled { rtp: rtp_of(peer), rtcp: rtcp_of(peer), latch: false };
    MediaPlan {
        transports: vec![TransportPlan { lease, remote, protection: Protection::None, rtcp_mux: false }],
        streams: vec![StreamPlan {
            index: 0,
            transport: 0,
            kind: MediaKind::Audio,
            direction: Direction::SendRecv,
            codec: codec.clone(),
            receive: vec![codec.clone()],
            dtmf: Some(DtmfPlan { pt: PayloadTypes { send: 101, recv: 101 }, clock_rate: codec.clock_rate }),
            ptime: Duration::from_millis(20),
        }],
    }
}

/// Sessions of one set whose datagrams arrive at once.
struct Town {
    set: MediaSet,
    now: Instant,
    figures: u64,
    digits: u64,
    packets: u64,
    reports: u64,
}

impl Town {
    fn new() -> Self {
        let epoch = Epoch::new(Instant::ZERO, Duration::from_secs(1_700_000_000));
        let set = MediaSet::new(SetId(0), Rng::new([7; 32]), epoch);
        Self { set, now: Instant::ZERO + Duration::from_secs(1), figures: 0, digits: 0, packets: 0, reports: 0 }
    }

    fn open(&mut self, n: u32, plan: MediaPlan, route: Route) {
        let settings = MediaSettings::default();
        self.set.handle_command(self.now, MediaId(u64::from(n)), MediaCommand::Open { plan, route, settings });
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        let mut buf = [0; 1500];
        while let Some(at) = self.set.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.set.handle_timeout(self.now);
            while let Some((length, to)) = self.set.poll_transmit(&mut buf) {
                let from = if to.socket.0.is_multiple_of(2) { rtp_of } else { rtcp_of }(to.socket.0 / 2);
                let std::net::IpAddr::V4(ip) = to.to.ip() else { continue };
                let socket = SocketId(2 * u32::from(ip.octets()[3]) + u32::from(to.to.port() % 2));
                self.packets += 1;
                self.reports += u64::from(socket.0 % 2);
                self.set.handle_packet(self.now, socket, from, &mut buf[..length]);
            }
            while let Some((_, event)) = self.set.poll_event() {
                self.figures += u64::from(matches!(event, MediaEvent::Stats(_)));
                self.digits += u64::from(matches!(event, MediaEvent::Digit { .. }));
            }
        }
        self.now = end;
    }
}

/// A relay between 2 and 3 stands between 1 and 4, which send tones and digits to each other.
#[test]
fn sessions_allocate_for_their_figures_and_reports_but_for_no_packet() {
    for spec in CODECS {
        let codec = NegotiatedCodec {
            name: spec.name.to_owned(),
            clock_rate: spec.clock_rate,
            channels: spec.channels,
            pt: PayloadTypes { send: 96, recv: 96 },
            send_fmtp: String::new(),
            recv_fmtp: String::new(),
        };
        let mut town = Town::new();
        let tone = || Route::Local { source: AudioSource::Tone(440.0), sink: AudioSink::None };
        town.open(1, plan(1, 2, &codec), tone());
        town.open(4, plan(4, 3, &codec), tone());
        town.open(2, plan(2, 1, &codec), Route::Relay { peer: MediaId(3) });
        town.open(3, plan(3, 4, &codec), Route::Relay { peer: MediaId(2) });
        let digits = |town: &mut Town| {
            let digits = MediaCommand::SendDtmf { digits: "12".to_owned(), duration: Duration::from_millis(100) };
            town.set.handle_command(town.now, MediaId(1), digits);
        };
        digits(&mut town);
        town.run(12);
        digits(&mut town);
        let (figures, heard, packets, reports) = (town.figures, town.digits, town.packets, town.reports);
        let count = allocations(|| town.run(10));
        let (figures, heard) = (town.figures - figures, town.digits - heard);
        let (packets, reports) = (town.packets - packets, town.reports - reports);
        assert!(packets > 1900 && heard == 2 && figures >= 20, "{}: {packets} {heard} {figures}", spec.name);
        // Figures are a box with the codec's name in it; a report every few seconds is written and read by a library.
        let rare = 2 * figures + 3 * reports;
        assert!(
            count <= rare,
            "{}: {count} allocations, {figures} figures, {reports} reports, {packets} packets",
            spec.name
        );
    }
}
