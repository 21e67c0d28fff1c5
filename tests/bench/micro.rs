//! In this process, on CPU time: parsing and writing SIP and SDP, transactions between two endpoints.

use crate::figures::{median, short};
use crate::report::Report;
use bellwire::engine::{BoundSocket, FlowVia};
use bellwire::id::SocketId;
use bellwire::rng::Rng;
use bellwire::sdp::Sdp;
use bellwire::sip::endpoint::{Endpoint, EndpointEvent, EndpointOutput, Limits};
use bellwire::sip::message::{HeaderName, Message, Method, Request, Response, StatusCode};
use bellwire::time::{Duration, Instant};
use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::net::SocketAddr;

const ROUNDS: usize = 5;

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Into::into).unwrap_or_default()
}

/// How often `work` can be done in a CPU second: the median of some rounds.
fn rate(times: usize, mut work: impl FnMut()) -> f64 {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let begin = cpu();
        for _ in 0..times {
            work();
        }
        rates.push(times as f64 / (cpu() - begin).as_secs_f64());
    }
    median(&rates)
}

const SDP: &str = "v=0\no=alice 2890844526 2890844526 IN IP4 192.0.2.10\ns=-\nc=IN IP4 192.0.2.10\nt=0 0\n\
m=audio 49170 RTP/AVP 96 9 0 8 101\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1\na=rtpmap:9 G722/8000\n\
a=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\na=rtcp:49171\na=sendrecv\n";

const INVITE: &str = "INVITE sip:bob@192.0.2.4:5060;transport=udp SIP/2.0\n\
Via: SIP/2.0/UDP proxy.example.com:5060;branch=z9hG4bK77ef4c2312983.1;rport\n\
Via: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bKnashds8;rport=5062;received=192.0.2.10\n\
Max-Forwards: 69\nRecord-Route: <sip:proxy.example.com;lr>\n\
From: \"Alice Example\" <sip:alice@example.com>;tag=1928301774\nTo: Bob <sip:bob@example.com>\n\
Call-ID: a84b4c76e66710@pc33.example.com\nCSeq: 314159 INVITE\nContact: <sip:alice@192.0.2.10:5062;ob>\n\
Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO\nSupported: replaces, timer\nUser-Agent: Example 1.0\n\
Content-Type: application/sdp\n";

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// The rates of all of these.
pub(crate) fn run(report: &mut Report) {
    report.section(
        "Messages and transactions",
        "One thread of the bench process, CPU time, median of 5 rounds. The INVITE has 15 headers and an SDP of 16 lines.",
    );
    let sdp = crlf(SDP);
    let wire = format!("{}Content-Length: {}\r\n\r\n{sdp}", crlf(INVITE), sdp.len());
    let message = Message::parse(wire.as_bytes()).expect("a legal message");
    let description = Sdp::parse(sdp.as_bytes()).expect("a legal description");
    let mut rows = Vec::new();
    let mut row = |what: &str, rate: f64| {
        rows.push(vec![what.to_owned(), short(rate), format!("{:.2}", 1e6 / rate)]);
    };
    row(
        &format!("SIP parse, INVITE of {} bytes", wire.len()),
        rate(20_000, || drop(black_box(Message::parse(wire.as_bytes())))),
    );
    row("SIP serialise, the same", rate(50_000, || drop(black_box(message.encode()))));
    row(&format!("SDP parse, {} bytes", sdp.len()), rate(20_000, || drop(black_box(Sdp::parse(sdp.as_bytes())))));
    row("SDP serialise, the same", rate(50_000, || drop(black_box(description.encode()))));
    row("transactions, OPTIONS and 200, endpoint to endpoint", transactions(Method::Options));
    row("transactions, INVITE, 180, 200 and ACK", transactions(Method::Invite));
    report.table(&["what", "per CPU second", "µs each"], &rows);
}

/// Two endpoints that hand each other their datagrams.
struct Pair {
    ends: [Endpoint; 2],
    addresses: [SocketAddr; 2],
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let addresses: [SocketAddr; 2] =
            ["192.0.2.1:5060", "192.0.2.2:5060"].map(|text| text.parse().expect("an address"));
        let ends = [0, 1].map(|which| {
            let socket = BoundSocket { socket: SocketId(1), local: addresses[which] };
            Endpoint::new(Instant::ZERO, Rng::new([which as u8; 32]), vec![socket], Vec::new(), Limits::NONE)
        });
        Self { ends, addresses, now: Instant::ZERO }
    }

    /// Everything one end wants: datagrams are handed over, events go to `told`.
    fn pump(&mut self, which: usize, mut told: impl FnMut(&mut Endpoint, Instant, EndpointEvent)) {
        while let Some(output) = self.ends[which].poll_output() {
            match output {
                EndpointOutput::Transmit(transmit) => {
                    let FlowVia::Socket(_) = transmit.flow.via else { continue };
                    let (here, there) = (self.addresses[which], self.addresses[1 - which]);
                    self.ends[1 - which].handle_datagram(self.now, SocketId(1), there, here, &transmit.bytes);
                }
                EndpointOutput::Event(event) => told(&mut self.ends[which], self.now, event),
                EndpointOutput::Connect { .. }
                | EndpointOutput::Close(_)
                | EndpointOutput::Resolve { .. }
                | EndpointOutput::LocalAddress { .. } => {}
            }
        }
    }
}

/// Whole client and server transactions per CPU second of both ends together, timers included.
fn transactions(method: Method) -> f64 {
    let mut pair = Pair::new();
    let uri = "sip:bob@192.0.2.2:5060".parse().expect("a URI");
    let mut route = None;
    pair.ends[0].route(pair.now, &uri, None);
    pair.pump(0, |_, _, event| {
        if let EndpointEvent::Routed { result, .. } = event {
            route = result.ok();
        }
    });
    let route = route.expect("an address needs no question");
    let mut number = 0_u32;
    let mut completed = 0;
    let asked = 20_000;
    let figure = rate(asked, || {
        number += 1;
        let mut request = Request::new(method.clone(), uri.clone());
        let headers = [
            (HeaderName::FROM, format!("<sip:alice@192.0.2.1>;tag={number}")),
            (HeaderName::TO, "<sip:bob@192.0.2.2>".to_owned()),
            (HeaderName::CALL_ID, format!("{number}@192.0.2.1")),
            (HeaderName::CSEQ, format!("1 {method}")),
            (HeaderName::CONTACT, "<sip:alice@192.0.2.1:5060>".to_owned()),
            (HeaderName::MAX_FORWARDS, "70".to_owned()),
        ];
        for (name, value) in headers {
            request.headers.push(name, value);
        }
        pair.ends[0].request(pair.now, request, &route);
        pair.pump(0, |_, _, _| {});
        pair.pump(1, |end, now, event| {
            if let EndpointEvent::Request { txn, request, .. } = event {
                if request.method == Method::Invite {
                    end.respond(now, txn, Response::to(&request, StatusCode::RINGING, Some("b")));
                }
                end.respond(now, txn, Response::to(&request, StatusCode::OK, Some("b")));
            }
        });
        let mut acks = Vec::new();
        pair.pump(0, |_, _, event| {
            if let EndpointEvent::Response { response, .. } = event
                && response.status == StatusCode::OK
            {
                completed += 1;
                acks.push(response);
            }
        });
        for response in acks.into_iter().filter(|_| method == Method::Invite) {
            let mut ack = Request::new(Method::Ack, uri.clone());
            for (name, value) in response.headers.iter().filter(|(name, _)| **name != HeaderName::VIA) {
                ack.headers.push(name.clone(), value);
            }
            pair.ends[0].send_ack(pair.now, ack, &route);
            pair.pump(0, |_, _, _| {});
            pair.pump(1, |_, _, _| {});
        }
        // A thousand a second by the endpoints' clock: timers run off as they would.
        pair.now += Duration::from_millis(1);
        for which in [0, 1] {
            if pair.ends[which].poll_timeout().is_some_and(|at| at <= pair.now) {
                let now = pair.now;
                pair.ends[which].handle_timeout(now);
                pair.pump(which, |_, _, _| {});
            }
        }
    });
    assert_eq!(completed, asked * ROUNDS, "every transaction must have its 200");
    figure
}
