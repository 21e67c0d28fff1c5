//! A few engines on one instant network: whatever they ask for is granted, and what leaves for elsewhere is kept.
//!
//! Small and cheap, so that a harness can build one for each input; media sessions are opened and closed in name only.

use crate::api::{Command, CommandError, Event, Reply};
use crate::engine::{BoundListener, BoundSocket, Engine, Lease, Output, Protocol, ResolveError, StreamEvent};
use crate::engine::{StreamFault, Transmit};
use crate::id::{ConnId, ListenerId, SetId, SocketId};
use crate::media::command::{MediaCommand, MediaEvent};
use crate::pbx::{Pbx, PbxConfig};
use crate::sip::message::Message;
use crate::time::{Duration, Instant};
use crate::ua::{Ua, UaConfig};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The SIP socket of every node.
const SOCKET: SocketId = SocketId(1);
/// More outputs than this without a pause, or timers in a row, are a loop without end.
const MANY: usize = 10_000;

/// What a node runs.
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants are the engines")]
pub enum Host {
    Ua(Box<Ua>),
    Pbx(Box<Pbx>),
}

impl Host {
    fn engine(&mut self) -> &mut dyn Engine {
        match self {
            Self::Ua(ua) => &mut **ua,
            Self::Pbx(pbx) => &mut **pbx,
        }
    }

    /// True when it holds no call, transaction or question.
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Ua(ua) => ua.is_quiet(),
            Self::Pbx(pbx) => pbx.is_quiet(),
        }
    }

    /// The states of its calls.
    pub fn states(&self) -> Vec<String> {
        let snapshot = match self {
            Self::Ua(ua) => ua.snapshot(),
            Self::Pbx(pbx) => pbx.snapshot(),
        };
        snapshot.calls.into_iter().map(|call| call.state).collect()
    }
}

/// One engine and its side of the network.
#[derive(Debug)]
pub struct Node {
    /// The engine.
    pub host: Host,
    /// Its address.
    pub addr: SocketAddr,
    /// What it told its user.
    pub events: Vec<Event>,
    /// Sockets it holds.
    pub leases: usize,
    next_port: u16,
    due: Option<Instant>,
}

/// The nodes and what flies between them.
#[derive(Debug)]
pub struct Town {
    /// The time at all nodes.
    pub now: Instant,
    /// In the order they were added.
    pub nodes: Vec<Node>,
    /// Datagrams and stream pieces for addresses where no node is.
    pub outside: Vec<Transmit>,
    /// Every datagram that reached a node from another one: which node, and the bytes.
    pub log: Vec<(usize, Vec<u8>)>,
    flying: VecDeque<Transmit>,
}

impl Default for Town {
    fn default() -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        Self { now, nodes: Vec::new(), outside: Vec::new(), log: Vec::new(), flying: VecDeque::new() }
    }
}

impl Town {
    /// Adds a softphone and gives its number.
    pub fn ua(&mut self, addr: &str, config: UaConfig) -> usize {
        let (addr, sockets, listeners, seed) = self.bound(addr);
        let ua = Ua::new(self.now, config, sockets, listeners, seed);
        self.add(addr, Host::Ua(Box::new(ua)))
    }

    /// Adds a PBX and gives its number.
    pub fn pbx(&mut self, addr: &str, config: PbxConfig) -> usize {
        let (addr, sockets, listeners, seed) = self.bound(addr);
        let pbx = Pbx::new(self.now, config, sockets, listeners, seed);
        self.add(addr, Host::Pbx(Box::new(pbx)))
    }

    fn bound(&self, addr: &str) -> (SocketAddr, Vec<BoundSocket>, Vec<BoundListener>, [u8; 32]) {
        let local: SocketAddr = addr.parse().expect("a literal address");
        let listener = BoundListener { listener: ListenerId(1), protocol: Protocol::Tcp, local };
        let seed = [u8::try_from(self.nodes.len()).unwrap_or(255).wrapping_add(1); 32];
        (local, vec![BoundSocket { socket: SOCKET, local }], vec![listener], seed)
    }

    fn add(&mut self, addr: SocketAddr, host: Host) -> usize {
        self.nodes.push(Node { host, addr, events: Vec::new(), leases: 0, next_port: 20_000, due: None });
        let node = self.nodes.len() - 1;
        self.settle(node);
        node
    }

    /// A command for a node; whatever follows from it has happened on return.
    ///
    /// # Errors
    /// As the engine says.
    pub fn command(&mut self, node: usize, command: Command) -> Result<Reply, CommandError> {
        let now = self.now;
        let reply = self.nodes[node].host.engine().handle_command(now, command);
        self.settle(node);
        reply
    }

    /// A datagram for a node from any address.
    pub fn datagram(&mut self, node: usize, source: SocketAddr, bytes: &[u8]) {
        let (now, local) = (self.now, self.nodes[node].addr);
        self.nodes[node].host.engine().handle_datagram(now, SOCKET, local, source, bytes);
        self.settle(node);
    }

    /// Something on a stream connection of a node.
    pub fn stream(&mut self, node: usize, conn: ConnId, event: StreamEvent<'_>) {
        let now = self.now;
        self.nodes[node].host.engine().handle_stream(now, conn, event);
        self.settle(node);
    }

    /// A peer connects to a node; gives the connection.
    pub fn accept(&mut self, node: usize, slot: u32, peer: SocketAddr) -> ConnId {
        let conn = ConnId { slot: ConnId::ACCEPTED + slot, generation: 0 };
        let local = self.nodes[node].addr;
        self.stream(node, conn, StreamEvent::Accepted { listener: ListenerId(1), local, peer });
        conn
    }

    /// Lets time pass, timer by timer.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for turn in 0.. {
            let next = self.nodes.iter().enumerate().filter_map(|(at, node)| Some((node.due?, at))).min();
            let Some((due, node)) = next.filter(|(due, _)| *due <= end) else { break };
            assert!(turn < MANY, "the timers do not come to rest");
            self.now = self.now.max(due);
            let now = self.now;
            self.nodes[node].host.engine().handle_timeout(now);
            self.settle(node);
        }
        self.now = end;
    }

    /// Takes what went to addresses where no node is, as messages.
    pub fn take_outside(&mut self) -> Vec<Message> {
        let taken = std::mem::take(&mut self.outside);
        taken.iter().filter_map(|transmit| Message::parse(&transmit.bytes).ok()).collect()
    }

    /// Ends all calls, lets the last transaction die and checks that nothing is left anywhere.
    pub fn assert_comes_to_rest(&mut self) {
        for node in 0..self.nodes.len() {
            self.command(node, Command::Stop).expect("stopping is always possible");
        }
        self.advance(Duration::from_secs(200));
        for node in &self.nodes {
            assert!(node.host.is_quiet(), "{} keeps something: {:#?}", node.addr, node.host);
            assert_eq!(node.leases, 0, "{} keeps sockets", node.addr);
        }
    }

    /// Drains a node and then everybody whom that reaches.
    fn settle(&mut self, node: usize) {
        self.drain(node);
        for turn in 0.. {
            let Some(transmit) = self.flying.pop_front() else { break };
            assert!(turn < MANY, "the nodes talk without end");
            let to = transmit.flow.peer;
            match self.nodes.iter().position(|node| node.addr == to) {
                Some(at) if transmit.flow.protocol == Protocol::Udp => {
                    self.log.push((at, transmit.bytes.clone()));
                    let (now, from) = (self.now, transmit.flow.local);
                    self.nodes[at].host.engine().handle_datagram(now, SOCKET, to, from, &transmit.bytes);
                    self.drain(at);
                }
                Some(_) | None => self.outside.push(transmit),
            }
        }
    }

    fn drain(&mut self, at: usize) {
        let now = self.now;
        let node = &mut self.nodes[at];
        for _ in 0..MANY {
            let engine = node.host.engine();
            match engine.poll_output() {
                Output::Transmit(transmit) => {
                    // An answer to what cannot be read carries what cannot be read.
                    let echo = [&b"SIP/2.0 4"[..], b"SIP/2.0 5"].iter().any(|start| transmit.bytes.starts_with(start));
                    if transmit.bytes != b"\r\n" && !echo {
                        let read = Message::parse(&transmit.bytes);
                        assert!(read.is_ok(), "{read:?}: {}", transmit.bytes.escape_ascii());
                    }
                    self.flying.push_back(transmit);
                }
                Output::Connect { conn, .. } => {
                    engine.handle_stream(now, conn, StreamEvent::Failed(StreamFault::Refused));
                }
                Output::Close(_) => {}
                Output::Resolve { id, .. } => engine.handle_resolved(now, id, Err(ResolveError::NotFound)),
                Output::LocalAddress { id, .. } => engine.handle_local_address(now, id, Ok(node.addr.ip())),
                Output::Lease { id, local, group: _ } => {
                    node.leases += 1;
                    node.next_port = node.next_port.checked_add(2).unwrap_or(20_000);
                    let (rtp, port) = (u32::from(node.next_port), node.next_port);
                    let lease = Lease {
                        set: SetId(0),
                        rtp: SocketId(rtp),
                        rtcp: SocketId(rtp + 1),
                        rtp_addr: SocketAddr::new(local, port),
                        rtcp_addr: SocketAddr::new(local, port + 1),
                    };
                    engine.handle_lease(now, id, Ok(lease));
                }
                Output::Release(_) => node.leases = node.leases.checked_sub(1).expect("given back once"),
                Output::Media(id, MediaCommand::Close) => {
                    engine.handle_media(now, id, MediaEvent::Closed(Box::default()));
                }
                Output::Media(..) => {}
                Output::Event(event) => node.events.push(event),
                Output::Timeout(due) => {
                    node.due = due;
                    return;
                }
            }
        }
        panic!("the outputs of {} do not end", node.addr);
    }
}
