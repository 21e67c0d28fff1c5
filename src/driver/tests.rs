//! The loop with engines made for the purpose, over real sockets on loopback.

use super::*;
use crate::api::{Event, Snapshot};
use crate::engine::{
    Flow, FlowVia, Lease, NoLease, NoRoute, Output, Query, QueryKind, Record, ResolveError, StreamEvent, StreamFault,
    Transmit,
};
use crate::id::{ConnId, MediaId, RequestId, SocketId};
use crate::media::command::MediaEvent;
use crate::time::Duration;
use std::collections::VecDeque;
use std::net::UdpSocket;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What an engine was told, in words.
pub(super) type Heard = String;
pub(super) type Reaction = Box<dyn FnMut(&mut VecDeque<Output>, &Heard) + Send>;

/// Notes everything down and reacts as the test says.
pub(super) struct Scribe {
    heard: Sender<Heard>,
    pub(super) outputs: VecDeque<Output>,
    reaction: Reaction,
    timeout: Option<Instant>,
}

impl Scribe {
    fn note(&mut self, heard: Heard) {
        (self.reaction)(&mut self.outputs, &heard);
        let _ = self.heard.send(heard);
    }
}

impl Engine for Scribe {
    fn handle_datagram(&mut self, _: Instant, _: SocketId, local: SocketAddr, _: SocketAddr, payload: &[u8]) {
        self.note(format!("datagram to {}: {}", local.ip(), String::from_utf8_lossy(payload)));
    }

    fn handle_stream(&mut self, _: Instant, conn: ConnId, event: StreamEvent<'_>) {
        let slot = conn.slot;
        self.note(match event {
            StreamEvent::Accepted { .. } => format!("accepted {slot:x}"),
            StreamEvent::Handshaking => "handshaking".into(),
            StreamEvent::Connected { local, tls: None } => format!("connected {slot:x} from {}", local.ip()),
            StreamEvent::Connected { local, tls: Some(tls) } => {
                format!("secured {slot:x} from {} by {}", local.ip(), tls.version)
            }
            StreamEvent::Untrusted { fault, .. } => format!("untrusted {fault:?}"),
            StreamEvent::Data(bytes) => format!("data {}", String::from_utf8_lossy(bytes)),
            StreamEvent::Writable => "writable".into(),
            StreamEvent::Closed => "closed".into(),
            StreamEvent::Failed(fault) => format!("failed {fault:?}"),
        });
    }

    fn handle_resolved(&mut self, _: Instant, id: RequestId, answer: Result<Vec<Record>, ResolveError>) {
        self.note(format!("resolved {id}: {:?}", answer.map(|records| records.len())));
    }

    fn handle_local_address(&mut self, _: Instant, id: RequestId, answer: Result<IpAddr, NoRoute>) {
        self.note(format!("local {id}: {answer:?}"));
    }

    fn handle_lease(&mut self, _: Instant, id: RequestId, answer: Result<Lease, NoLease>) {
        self.note(match answer {
            Ok(lease) => format!("lease {id}: {}", lease.rtp_addr),
            Err(NoLease) => format!("no lease {id}"),
        });
    }

    fn handle_media(&mut self, _: Instant, media: MediaId, event: MediaEvent) {
        self.note(format!("{media}: {event:?}"));
    }

    fn handle_command(&mut self, _: Instant, command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::Snapshot => return Ok(Reply::Snapshot(Box::default())),
            Command::Ping { target } => self.note(format!("ping {target}")),
            Command::Stop => self.outputs.push_back(Output::Event(Event::Stopped)),
            other => panic!("planned panic at {other:?}"),
        }
        Ok(Reply::Ok)
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.timeout.is_some_and(|at| at <= now) {
            self.timeout = None;
            self.note("timeout".into());
        }
    }

    fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(self.timeout))
    }
}

pub(super) fn scribe(
    reaction: impl FnMut(&mut VecDeque<Output>, &Heard) + Send + 'static,
) -> (Box<Scribe>, Receiver<Heard>) {
    let (sender, heard) = channel();
    let outputs = VecDeque::new();
    (Box::new(Scribe { heard: sender, outputs, reaction: Box::new(reaction), timeout: None }), heard)
}

pub(super) fn driver() -> Driver {
    Driver::new(DriverConfig { rtp_ports: 0..=0, ..DriverConfig::default() }).expect("a driver")
}

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Turns until the engine has heard so many things. A watchdog ends a test that would wait for ever.
pub(super) fn hear(driver: &mut Driver, heard: &Receiver<Heard>, count: usize) -> Vec<Heard> {
    let watchdog = driver.client().commander();
    let (done, finished) = channel::<()>();
    let guard = std::thread::spawn(move || {
        if finished.recv_timeout(Duration::from_secs(10)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = watchdog.shut_down();
        }
    });
    let _ = driver.command(EngineId(0), Command::Snapshot); // carries out what the engines wanted from the start
    let mut all: Vec<_> = heard.try_iter().collect();
    while all.len() < count && driver.turn().expect("the loop goes on") {
        all.extend(heard.try_iter());
    }
    drop(done);
    guard.join().expect("the watchdog does not panic");
    assert!(all.len() >= count, "waited in vain, heard {all:?}");
    all
}

#[test]
fn a_datagram_is_answered_from_the_address_it_came_to() {
    let mut driver = driver();
    let bound = driver.bind(&[Bind { protocol: Protocol::Udp, addr: at("0.0.0.0:0") }]).expect("bound");
    let local = SocketAddr::new(at("127.0.0.5:1").ip(), bound.sockets[0].local.port());
    let peer = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let flow = Flow {
        protocol: Protocol::Udp,
        local,
        peer: peer.local_addr().expect("bound"),
        via: FlowVia::Socket(bound.sockets[0].socket),
    };
    let (engine, heard) = scribe(move |outputs, _| {
        outputs.push_back(Output::Transmit(Transmit { bytes: b"answer".to_vec(), flow }));
    });
    driver.add_engine(engine, &bound);
    peer.send_to(b"question", local).expect("sent");

    assert_eq!(hear(&mut driver, &heard, 1), ["datagram to 127.0.0.5: question"]);
    driver.command(EngineId(0), Command::Snapshot).expect("settles the outputs");
    let mut buffer = [0; 100];
    let (length, source) = peer.recv_from(&mut buffer).expect("answered");
    assert_eq!((&buffer[..length], source), (&b"answer"[..], local));
}

#[test]
fn a_burst_over_the_fair_share_is_read_to_its_end() {
    let mut driver = driver();
    let bound = driver.bind(&[Bind { protocol: Protocol::Udp, addr: at("127.0.0.1:0") }]).expect("bound");
    let (engine, heard) = scribe(|_, _| ());
    driver.add_engine(engine, &bound);
    let peer = UdpSocket::bind("127.0.0.1:0").expect("bound");
    for n in 0..150 {
        peer.send_to(format!("{n}").as_bytes(), bound.sockets[0].local).expect("sent");
    }
    let all = hear(&mut driver, &heard, 150);
    assert!(all.iter().enumerate().all(|(n, heard)| *heard == format!("datagram to 127.0.0.1: {n}")), "{all:?}");
}

#[test]
fn an_engine_is_called_when_its_time_has_come_and_not_before() {
    let mut driver = driver();
    let (mut engine, heard) = scribe(|_, _| ());
    let due = driver.now() + Duration::from_millis(30);
    engine.timeout = Some(due);
    driver.add_engine(engine, &Bound::default());
    assert_eq!(hear(&mut driver, &heard, 1), ["timeout"]);
    let late = driver.now() - due;
    // A bound for a machine that builds other things meanwhile.
    assert!(driver.now() >= due && late < Duration::from_secs(2), "{late:?} late");
}

#[test]
fn an_idle_loop_does_not_wake_up() {
    let mut driver = driver();
    let (mut engine, heard) = scribe(|_, _| ());
    engine.timeout = Some(driver.now() + Duration::from_millis(300));
    driver.add_engine(engine, &Bound::default());
    let mut turns = 0;
    while heard.try_recv().is_err() {
        driver.turn().expect("the loop goes on");
        turns += 1;
    }
    assert!(turns <= 2, "{turns} turns to one timeout");
}

#[test]
fn questions_are_answered() {
    let mut driver = driver();
    let (mut engine, heard) = scribe(|_, _| ());
    let id = RequestId;
    let query = |name: &str| Query { name: name.into(), kind: QueryKind::Addr };
    engine.outputs.extend([
        Output::Resolve { id: id(1), query: query("localhost") },
        Output::Resolve { id: id(2), query: query("127.0.0.1") },
        Output::LocalAddress { id: id(3), peer: at("127.0.0.1:5060") },
    ]);
    driver.add_engine(engine, &Bound::default());
    let all = hear(&mut driver, &heard, 3);
    assert_eq!(all[..2], ["resolved q2: Ok(1)", "local q3: Ok(127.0.0.1)"]);
    assert!(all[2].starts_with("resolved q1: Ok("), "{all:?}");
}

#[test]
fn a_released_pair_is_free_again() {
    let mut driver = driver();
    let (sender, leases) = channel();
    let (mut engine, heard) = scribe(move |_, heard| drop(sender.send(heard.clone())));
    engine.outputs.push_back(Output::Lease { id: RequestId(1), local: at("127.0.0.1:1").ip(), group: RequestId(1) });
    driver.add_engine(engine, &Bound::default());
    hear(&mut driver, &heard, 1);
    let lease = leases.recv().expect("answered");
    let port: u16 = lease.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_eq!(port % 2, 0);
    UdpSocket::bind(("127.0.0.1", port)).expect_err("the RTP port is taken");
    UdpSocket::bind(("127.0.0.1", port + 1)).expect_err("the RTCP port is taken");

    let number = |rtp: u32| SocketId(rtp);
    let (rtp_addr, rtcp_addr) = (at(&format!("127.0.0.1:{port}")), at(&format!("127.0.0.1:{}", port + 1)));
    // The first two tokens of a driver without SIP sockets.
    let lease = Lease { set: crate::id::SetId(0), rtp: number(2), rtcp: number(3), rtp_addr, rtcp_addr };
    driver.inner.io_mut().release(lease);
    UdpSocket::bind(("127.0.0.1", port)).expect("free again");
    UdpSocket::bind(("127.0.0.1", port + 1)).expect("free again");
}

#[test]
fn a_listener_on_any_port_takes_the_number_of_the_datagram_socket_if_it_is_free() {
    let any = at("127.0.0.1:0");
    let both = [Protocol::Udp, Protocol::Tcp].map(|protocol| Bind { protocol, addr: any });
    // Another program may hold the number for TCP: then any other will do, so one success of several counts.
    let same = (0..5).any(|_| {
        let bound = driver().bind(&both).expect("any port");
        bound.sockets[0].local == bound.listeners[0].local
    });
    assert!(same);
}

#[test]
fn a_taken_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let _keep = UdpSocket::bind(taken).expect("bound again");
    let error = driver().bind(&[Bind { protocol: Protocol::Udp, addr: taken }]).expect_err("it is taken");
    assert!(matches!(error, DriverError::Bind { addr, ref source, .. }
        if addr == taken && source.kind() == std::io::ErrorKind::AddrInUse));
}

pub(super) const CALLER: ConnId = ConnId { slot: 7, generation: 0 };

/// A driver with two engines and a TCP connection from the first to the second.
fn connected(
    mut client: impl FnMut(&mut VecDeque<Output>, &Heard, Flow) + Send + 'static,
    server: impl FnMut(&mut VecDeque<Output>, &Heard) + Send + 'static,
) -> (Driver, Receiver<Heard>, Receiver<Heard>) {
    let mut driver = driver();
    let bound = driver.bind(&[Bind { protocol: Protocol::Tcp, addr: at("[::1]:0") }]).expect("bound");
    let peer = bound.listeners[0].local;
    let flow = Flow { protocol: Protocol::Tcp, local: at("[::1]:1"), peer, via: FlowVia::Conn(CALLER) };
    let (mut engine, one) = scribe(move |outputs, heard| client(outputs, heard, flow));
    engine.outputs.push_back(Output::Connect { conn: CALLER, protocol: Protocol::Tcp, peer, secure: None });
    driver.add_engine(engine, &Bound::default());
    let (engine, two) = scribe(server);
    driver.add_engine(engine, &bound);
    (driver, one, two)
}

#[test]
fn a_stream_carries_bytes_and_its_end() {
    let (mut driver, one, two) = connected(
        |outputs, heard, flow| {
            if heard.starts_with("connected") {
                outputs.push_back(Output::Transmit(Transmit { bytes: b"hello".to_vec(), flow }));
                outputs.push_back(Output::Close(CALLER));
            }
        },
        |_, _| (),
    );
    assert_eq!(hear(&mut driver, &one, 3), ["connected 7 from ::1", "writable", "closed"]);
    assert_eq!(hear(&mut driver, &two, 3), ["accepted 80000000", "data hello", "closed"]);
}

#[test]
fn a_refused_connection_fails_as_refused() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("bound");
    let mut driver = driver();
    let (mut engine, heard) = scribe(|_, _| ());
    engine.outputs.push_back(Output::Connect { conn: CALLER, protocol: Protocol::Tcp, peer: nobody, secure: None });
    driver.add_engine(engine, &Bound::default());
    assert_eq!(hear(&mut driver, &heard, 1), [format!("failed {:?}", StreamFault::Refused)]);
}

#[test]
fn a_peer_that_does_not_read_costs_256_kib_at_most() {
    let lazy = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let peer = lazy.local_addr().expect("bound");
    let flow = Flow { protocol: Protocol::Tcp, local: at("127.0.0.1:1"), peer, via: FlowVia::Conn(CALLER) };
    let mut driver = driver();
    let (mut engine, heard) = scribe(move |outputs, heard| {
        if heard.starts_with("connected") {
            // The system's own buffers take some megabytes before ours fills.
            let piece = || Output::Transmit(Transmit { bytes: vec![b'x'; 65_536], flow });
            outputs.extend(std::iter::repeat_with(piece).take(400));
        }
    });
    engine.outputs.push_back(Output::Connect { conn: CALLER, protocol: Protocol::Tcp, peer, secure: None });
    driver.add_engine(engine, &Bound::default());
    let all = hear(&mut driver, &heard, 2);
    let last = hear_until(&mut driver, &heard, all, "failed");
    assert_eq!(last, format!("failed {:?}", StreamFault::Overflow));
}

pub(super) fn hear_until(driver: &mut Driver, heard: &Receiver<Heard>, mut all: Vec<Heard>, start: &str) -> Heard {
    loop {
        if let Some(found) = all.iter().find(|heard| heard.starts_with(start)) {
            return found.clone();
        }
        all = hear(driver, heard, 1);
    }
}

#[test]
fn a_panic_in_one_engine_is_told_and_the_other_goes_on() {
    let mut driver = driver();
    let (first, _heard) = scribe(|_, _| ());
    let (second, heard) = scribe(|_, _| ());
    let (first, second) = (driver.add_engine(first, &Bound::default()), driver.add_engine(second, &Bound::default()));
    let client = driver.client();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ())); // the planned one is not shown
    let reply = driver.command(first, Command::Register { account: None });
    std::panic::set_hook(hook);
    assert_eq!(reply, Err(CommandError::NotSupported));
    assert_eq!(client.try_recv(), Ok(ClientEvent::Fault { engine: first }));

    client.send(second, Command::Ping { target: "x".into() }).expect("sent");
    assert_eq!(hear(&mut driver, &heard, 1), ["ping x"]);
    client.send(first, Command::Snapshot).expect("sent");
    driver.turn().expect("the loop goes on");
    let replies: Vec<_> = std::iter::from_fn(|| client.try_recv().ok()).collect();
    assert!(
        matches!(
            replies[..],
            [
                ClientEvent::Reply { result: Ok(Reply::Ok), .. },
                ClientEvent::Reply { result: Ok(Reply::Snapshot(_)), .. }
            ]
        ),
        "{replies:?}"
    );
}

#[test]
fn the_65th_waiting_command_is_refused_as_busy() {
    let mut driver = driver();
    let (engine, heard) = scribe(|_, _| ());
    let id = driver.add_engine(engine, &Bound::default());
    let client = driver.client();
    let ping = || client.send(id, Command::Ping { target: "x".into() });
    for _ in 0..64 {
        ping().expect("room for 64");
    }
    assert_eq!(ping(), Err(ClientError::Busy));
    assert_eq!(hear(&mut driver, &heard, 64).len(), 64);
    ping().expect("room again");
}

#[test]
fn a_client_that_does_not_read_gets_the_state_instead_of_the_events() {
    let mut driver = driver();
    let (engine, _heard) = scribe(|outputs, _| {
        outputs.push_back(Output::Event(Event::PbxBinding { user: "a".into(), contact: "b".into(), expires: 0 }));
    });
    let id = driver.add_engine(engine, &Bound::default());
    let client = driver.client();
    for _ in 0..300 {
        driver.command(id, Command::Ping { target: "x".into() }).expect("pinged");
    }
    let first: Vec<_> = std::iter::from_fn(|| client.try_recv().ok()).collect();
    assert_eq!(first.len(), 256);
    assert!(first.iter().all(|event| matches!(event, ClientEvent::Event { .. })));

    client.send(id, Command::Ping { target: "y".into() }).expect("sent"); // anything that turns the loop
    driver.turn().expect("the loop goes on");
    assert_eq!(
        client.try_recv(),
        Ok(ClientEvent::Lagged { engine: id, missed: 44, snapshot: Box::<Snapshot>::default() })
    );
    assert!(matches!(client.try_recv(), Ok(ClientEvent::Event { .. })), "events flow again");
}

#[test]
fn the_loop_ends_when_every_engine_has_stopped_and_clients_read_the_end() {
    let mut driver = driver();
    let ids: Vec<_> = (0..2).map(|_| driver.add_engine(scribe(|_, _| ()).0, &Bound::default())).collect();
    let client = driver.client();
    for id in ids {
        client.send(id, Command::Stop).expect("sent");
    }
    driver.run().expect("it ends");
    let events: Vec<_> = std::iter::from_fn(|| client.recv().ok()).collect();
    let stopped = |event: &&ClientEvent| matches!(event, ClientEvent::Event { event: Event::Stopped, .. });
    assert_eq!(events.iter().filter(stopped).count(), 2);
    assert_eq!(client.recv(), Err(ClientError::Stopped));
}

#[test]
fn another_thread_can_end_the_loop_at_once() {
    let mut driver = driver();
    driver.add_engine(scribe(|_, _| ()).0, &Bound::default());
    let commander = driver.client().commander();
    let ender = std::thread::spawn(move || commander.shut_down());
    driver.run().expect("it ends");
    assert_eq!(ender.join().expect("no panic"), Ok(()));
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_a_good_one_is_not() {
    use crate::media::command::{AudioSink, AudioSource, MediaCommand, Route};
    let mut driver = driver();
    let (mut engine, heard) = scribe(|_, _| ());
    let source = AudioSource::File { path: "/no/such/file.wav".into(), repeat: false };
    let route = Route::Local { source, sink: AudioSink::None };
    engine.outputs.push_back(Output::Media(MediaId(4), MediaCommand::Route(route)));
    driver.add_engine(engine, &Bound::default());
    let all = hear(&mut driver, &heard, 1);
    assert!(all[0].starts_with("m4: DeviceFailed { slug: \"audio.file\""), "{all:?}");
    assert!(all[0].contains("/no/such/file.wav: No such file"), "{all:?}");
}
