//! The timers of RFC 3261 §17 with other values than the RFC's.

use bellwire::engine::{BoundSocket, Flow, FlowVia, Protocol};
use bellwire::id::SocketId;
use bellwire::rng::Rng;
use bellwire::sip::endpoint::{Endpoint, EndpointEvent, EndpointOutput, Limits, Timers};
use bellwire::sip::message::{HeaderName, Method, Request};
use bellwire::time::{Duration, Instant};

/// When a request goes out again and when it is given up, ms.
fn timetable(timers: Timers, method: Method) -> (Vec<u128>, u128) {
    let local = "10.0.0.1:5060".parse().expect("an address");
    let socket = BoundSocket { socket: SocketId(0), local };
    let mut endpoint =
        Endpoint::new(Instant::ZERO, Rng::new([1; 32]), vec![socket], Vec::new(), Limits::NONE).with_timers(timers);
    let peer = "10.0.0.2:5060".parse().expect("an address");
    let route = endpoint.route_back(&Flow { protocol: Protocol::Udp, local, peer, via: FlowVia::Socket(SocketId(0)) });
    let mut request = Request::new(method.clone(), "sip:b@10.0.0.2".parse().expect("a URI"));
    for (name, value) in [
        (HeaderName::MAX_FORWARDS, "70"),
        (HeaderName::FROM, "<sip:a@10.0.0.1>;tag=a"),
        (HeaderName::TO, "<sip:b@10.0.0.2>"),
        (HeaderName::CALL_ID, "c"),
    ] {
        request.headers.push(name, value);
    }
    request.headers.push(HeaderName::CSEQ, format!("1 {method}"));
    endpoint.request(Instant::ZERO, request, &route);
    let (mut sent, mut now) = (Vec::new(), Instant::ZERO);
    for _ in 0..100 {
        while let Some(output) = endpoint.poll_output() {
            match output {
                EndpointOutput::Transmit(_) => sent.push((now - Instant::ZERO).as_millis()),
                EndpointOutput::Event(EndpointEvent::Failed { .. }) => {
                    return (sent, (now - Instant::ZERO).as_millis());
                }
                other => panic!("{other:?}"),
            }
        }
        now = endpoint.poll_timeout().expect("it waits for something");
        endpoint.handle_timeout(now);
    }
    panic!("it never ends");
}

#[test]
fn timers_follow_t1_t2_and_t4_as_they_are_set() {
    let timers = |t1, t2| Timers {
        t1: Duration::from_millis(t1),
        t2: Duration::from_millis(t2),
        t4: Duration::from_millis(5000),
    };
    assert_eq!(timetable(timers(100, 400), Method::Invite), (vec![0, 100, 300, 700, 1500, 3100, 6300], 6400));
    let (sent, end) = timetable(timers(100, 400), Method::Options);
    assert_eq!((&sent[..6], end), (&[0, 100, 300, 700, 1100, 1500][..], 6400));
    let (sent, end) = timetable(timers(1000, 4000), Method::Options);
    assert_eq!((&sent[..5], end), (&[0, 1000, 3000, 7000, 11_000][..], 64_000));
}
