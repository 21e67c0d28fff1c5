//! The world: any number of phones and PBXs under one virtual clock and one seeded network.
//!
//! `step` takes the earliest of {arrival, node deadline}, moves the clock there, delivers, and drains every output.
//! After every step it checks that the drain ended, that time moved, and that each SIP message sent parses again.
//! The same seed gives the same run, to the byte.

pub mod hand;
pub mod network;
pub mod peer;
pub mod script;
pub mod sound;

use bellwire::api::{Command, CommandError, Event, Reply};
use bellwire::engine::{
    BoundListener, BoundSocket, Engine, Family, Flow, FlowVia, Lease, NetworkChange, NoLease, NoRoute, Output,
    Protocol, Record, RecordData, ResolveError, StreamEvent, StreamFault, TlsFault, TlsInfo, TlsPolicy, Transmit,
};
use bellwire::id::{CallHandle, ConnId, ListenerId, MediaId, RequestId, SetId, SocketId};
use bellwire::media::command::{AudioSink, AudioSource, Builtin, MediaCommand, Route};
use bellwire::media::set::{MediaSet, SoundSink};
use bellwire::pbx::{Pbx, PbxConfig};
use bellwire::rng::Rng;
use bellwire::sip::message::Message;
use bellwire::time::{Duration, Epoch, Instant, earliest};
use bellwire::ua::{Ua, UaConfig};
use network::{Link, Nat, NatKind};
use sound::Heard;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Says which messages are lost.
pub type Fault = Box<dyn FnMut(&Arrow) -> bool>;

pub struct World {
    pub now: Instant,
    pub seed: u64,
    rng: Rng,
    nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    order: u64,
    links: BTreeMap<(usize, usize), Link>,
    names: BTreeMap<String, Result<Vec<IpAddr>, ResolveError>>,
    /// Every SIP message in the order it was sent: time, from, to, first line, whole text.
    pub ladder: Vec<Arrow>,
    /// Drops a SIP message before it reaches the network when it returns true (planted faults).
    pub drop_if: Option<Fault>,
    /// Every stream connection that came up: who opened it, and to where.
    pub connects: Vec<(String, SocketAddr)>,
    stuck: (Instant, u32),
    media: Option<BTreeMap<(SocketAddr, SocketAddr), Vec<u8>>>,
}

#[derive(Clone, Debug)]
pub struct Arrow {
    pub at: Instant,
    pub from: String,
    pub to: SocketAddr,
    pub line: String,
    pub text: String,
}

enum Delivery {
    Datagram { node: usize, to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Stream { node: usize, conn: ConnId, event: PipeEvent },
    Resolved { node: usize, id: RequestId, answer: Result<Vec<Record>, ResolveError> },
}

enum PipeEvent {
    Accepted { listener: ListenerId, local: SocketAddr, peer: SocketAddr },
    Connected { local: SocketAddr, tls: Option<TlsInfo> },
    Untrusted(TlsFault),
    Data(Vec<u8>),
    Closed,
    Failed(StreamFault),
}

enum Host {
    Ua(Box<Ua>),
    Pbx(Box<Pbx>),
    /// A peer that the test plays by hand: raw text in and out.
    Script(VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>),
    Off,
}

impl Host {
    fn engine(&mut self) -> Option<&mut dyn Engine> {
        match self {
            Self::Ua(ua) => Some(&mut **ua),
            Self::Pbx(pbx) => Some(&mut **pbx),
            Self::Script(_) | Self::Off => None,
        }
    }
}

struct Node {
    name: String,
    ips: Vec<IpAddr>,
    host: Host,
    nat: Option<Nat>,
    sip_sockets: Vec<BoundSocket>,
    listeners: Vec<BoundListener>,
    sets: Vec<MediaSet>,
    set_of: BTreeMap<MediaId, usize>,
    /// Media sockets by bound address.
    ports: BTreeMap<SocketAddr, (SocketId, usize)>,
    addr_of: BTreeMap<SocketId, SocketAddr>,
    leased: BTreeSet<SocketId>,
    next_port: u16,
    next_socket: u32,
    next_slot: u32,
    pipes: BTreeMap<ConnId, Pipe>,
    /// The names in the certificate of its TLS listener, or what is wrong with that.
    certificate: Result<Vec<String>, TlsFault>,
    deadline: Option<Instant>,
    heard: BTreeMap<MediaId, Heard>,
    /// What it sends when it is asked for a device or a file, by default a 440 Hz tone.
    microphone_hz: f64,
    events: Vec<(Instant, Event)>,
    read: usize,
}

#[derive(Clone, Copy)]
struct Pipe {
    node: usize,
    conn: ConnId,
    ready_at: Instant,
    stalled: bool,
}

struct Microphone {
    tone: bellwire::media::tones::Tone,
    /// Samples until it ends; `None` never does.
    left: Option<usize>,
}

impl bellwire::media::set::SoundSource for Microphone {
    fn rate(&self) -> u32 {
        16_000
    }
    fn read(&mut self, out: &mut [i16]) -> usize {
        let given = self.left.map_or(out.len(), |left| left.min(out.len()));
        self.left = self.left.map(|left| left - given);
        self.tone.fill(&mut out[..given]);
        given
    }
}

struct Ear(Heard);

impl SoundSink for Ear {
    fn rate(&self) -> u32 {
        self.0.rate
    }
    fn write(&mut self, pcm: &[i16]) {
        self.0.push(pcm);
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let now = Instant::ZERO + Duration::from_secs(1);
        Self {
            now,
            seed,
            rng: Rng::new(bytes),
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            order: 0,
            links: BTreeMap::new(),
            names: BTreeMap::new(),
            ladder: Vec::new(),
            drop_if: None,
            connects: Vec::new(),
            stuck: (now, 0),
            media: None,
        }
    }

    fn add(&mut self, name: &str, ips: &[IpAddr], sets: usize) -> usize {
        let epoch = Epoch::new(Instant::ZERO, Duration::from_secs(1_800_000_000));
        let sets = (0..sets).map(|n| MediaSet::new(SetId(n as u16), self.rng.fork(), epoch)).collect::<Vec<_>>();
        let sip_sockets = ips
            .iter()
            .enumerate()
            .map(|(n, ip)| BoundSocket { socket: SocketId(n as u32), local: SocketAddr::new(*ip, 5060) })
            .collect::<Vec<_>>();
        let listeners = ips
            .iter()
            .enumerate()
            .map(|(n, ip)| BoundListener {
                listener: ListenerId(n as u32),
                protocol: Protocol::Tcp,
                local: SocketAddr::new(*ip, 5060),
            })
            .collect();
        for ip in ips {
            self.names
                .entry(name.to_owned())
                .or_insert_with(|| Ok(Vec::new()))
                .as_mut()
                .expect("just made Ok")
                .push(*ip);
        }
        self.nodes.push(Node {
            name: name.to_owned(),
            ips: ips.to_vec(),
            host: Host::Off,
            nat: None,
            next_socket: sip_sockets.len() as u32,
            sip_sockets,
            listeners,
            sets,
            set_of: BTreeMap::new(),
            ports: BTreeMap::new(),
            addr_of: BTreeMap::new(),
            leased: BTreeSet::new(),
            next_port: 16_384,
            next_slot: 1 << 20,
            pipes: BTreeMap::new(),
            certificate: Ok(Vec::new()),
            deadline: None,
            heard: BTreeMap::new(),
            microphone_hz: 440.0,
            events: Vec::new(),
            read: 0,
        });
        self.nodes.len() - 1
    }

    /// A phone at `ips` (SIP on port 5060, UDP and TCP).
    pub fn ua(&mut self, name: &str, ips: &[&str], config: UaConfig) -> NodeId {
        self.ua_with_sets(name, ips, config, 1)
    }

    /// A phone whose media runs in `sets` media sets, used in turn.
    pub fn ua_with_sets(&mut self, name: &str, ips: &[&str], config: UaConfig, sets: usize) -> NodeId {
        let index = self.add(name, &addresses(ips), sets);
        self.start_ua(index, config)
    }

    /// A phone behind a NAT of its own.
    pub fn ua_behind(&mut self, name: &str, ip: &str, kind: NatKind, outside: &str, config: UaConfig) -> NodeId {
        let index = self.add(name, &addresses(&[ip]), 1);
        self.nat(NodeId(index), kind, outside);
        self.start_ua(index, config)
    }

    fn start_ua(&mut self, index: usize, config: UaConfig) -> NodeId {
        let (sockets, listeners) = (self.nodes[index].sip_sockets.clone(), self.nodes[index].listeners.clone());
        let ua = Ua::new(self.now, config, sockets, listeners, self.rng.bytes());
        self.nodes[index].host = Host::Ua(Box::new(ua));
        self.drain(index);
        NodeId(index)
    }

    /// A phone whose SIP socket is bound to every address, as the real one's is: it has to ask which one leads to a peer.
    pub fn ua_on_any(&mut self, name: &str, ips: &[&str], config: UaConfig) -> NodeId {
        let index = self.add(name, &addresses(ips), 1);
        let node = &mut self.nodes[index];
        let any = |ip: &IpAddr| match ip {
            IpAddr::V4(_) => IpAddr::from([0; 4]),
            IpAddr::V6(_) => IpAddr::from([0; 16]),
        };
        let bound: BTreeSet<IpAddr> = node.ips.iter().map(any).collect();
        node.sip_sockets.retain(|socket| socket.socket.0 < bound.len() as u32);
        node.listeners.retain(|listener| listener.listener.0 < bound.len() as u32);
        for (ip, (socket, listener)) in bound.into_iter().zip(node.sip_sockets.iter_mut().zip(&mut node.listeners)) {
            socket.local.set_ip(ip);
            listener.local.set_ip(ip);
        }
        self.start_ua(index, config)
    }

    /// From now on nobody can open a stream to the node.
    pub fn close_listeners(&mut self, node: NodeId) {
        self.nodes[node.0].listeners.clear();
    }

    /// Breaks every stream connection of the node; both ends hear of it.
    pub fn cut_streams(&mut self, node: NodeId) {
        let now = self.now;
        for (conn, pipe) in std::mem::take(&mut self.nodes[node.0].pipes) {
            self.enqueue(now, Delivery::Stream { node: node.0, conn, event: PipeEvent::Closed });
            self.enqueue(now, Delivery::Stream { node: pipe.node, conn: pipe.conn, event: PipeEvent::Closed });
        }
    }

    /// Swallows what the node's streams carry, without a word to either end.
    pub fn stall_streams(&mut self, node: NodeId) {
        for pipe in self.nodes[node.0].pipes.values_mut() {
            pipe.stalled = true;
        }
        let ends: Vec<_> = self.nodes[node.0].pipes.values().map(|pipe| (pipe.node, pipe.conn)).collect();
        for (other, conn) in ends {
            if let Some(pipe) = self.nodes[other].pipes.get_mut(&conn) {
                pipe.stalled = true;
            }
        }
    }

    /// How many stream connections the node has.
    pub fn streams(&self, node: NodeId) -> usize {
        self.nodes[node.0].pipes.len()
    }

    /// A PBX that takes TLS on port 5061 too, with a certificate for `names`.
    pub fn pbx_with_tls(&mut self, name: &str, ip: &str, names: &[&str], config: PbxConfig) -> NodeId {
        let index = self.add(name, &addresses(&[ip]), 1);
        self.serve_tls(NodeId(index), names);
        let (sockets, listeners) = (self.nodes[index].sip_sockets.clone(), self.nodes[index].listeners.clone());
        let pbx = Pbx::new(self.now, config, sockets, listeners, self.rng.bytes());
        self.nodes[index].host = Host::Pbx(Box::new(pbx));
        self.drain(index);
        NodeId(index)
    }

    /// The node takes TLS on port 5061, with a certificate for `names`. An engine must be told before it starts.
    pub fn serve_tls(&mut self, node: NodeId, names: &[&str]) {
        let node = &mut self.nodes[node.0];
        let local = SocketAddr::new(node.ips[0], 5061);
        node.listeners.push(BoundListener { listener: ListenerId(100), protocol: Protocol::Tls, local });
        node.certificate = Ok(names.iter().map(|name| (*name).to_owned()).collect());
    }

    /// The certificate of the node is for other names from now on, or bad.
    pub fn certificate(&mut self, node: NodeId, certificate: Result<&[&str], TlsFault>) {
        self.nodes[node.0].certificate = certificate.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    }

    /// The stream connections of the node.
    pub fn streams_of(&self, node: NodeId) -> Vec<ConnId> {
        self.nodes[node.0].pipes.keys().copied().collect()
    }

    /// Opens a stream from a script node; what comes on it is heard as datagrams are.
    pub fn open_stream(&mut self, node: NodeId, to: SocketAddr) -> ConnId {
        let index = &mut self.nodes[node.0];
        let conn = ConnId { slot: index.next_slot, generation: 0 };
        index.next_slot += 1;
        self.connect(node.0, conn, (Protocol::Tcp, to), None);
        conn
    }

    /// Writes to a stream of a script node.
    pub fn write_stream(&mut self, node: NodeId, conn: ConnId, bytes: &[u8]) {
        self.write(node.0, conn, bytes);
    }

    /// Whether a stream of a script node is still up.
    pub fn is_open(&self, node: NodeId, conn: ConnId) -> bool {
        self.nodes[node.0].pipes.contains_key(&conn)
    }

    /// How long the NAT of a node remembers a mapping that is not used.
    pub fn nat_expiry(&mut self, node: NodeId, expiry: Duration) {
        if let Some(nat) = &mut self.nodes[node.0].nat {
            nat.expiry = expiry;
        }
    }

    /// Remembers the latest media packet from each address to each.
    pub fn watch_media(&mut self) {
        self.media = Some(BTreeMap::new());
    }

    /// The latest packet from one media address to another, if they are watched.
    pub fn media_seen(&self, from: SocketAddr, to: SocketAddr) -> Option<Vec<u8>> {
        self.media.as_ref().and_then(|media| media.get(&(from, to)).cloned())
    }

    /// A PBX at `ips`.
    pub fn pbx(&mut self, name: &str, ips: &[&str], config: PbxConfig) -> NodeId {
        self.pbx_with_sets(name, ips, config, 1)
    }

    /// A PBX whose media runs in `sets` media sets.
    pub fn pbx_with_sets(&mut self, name: &str, ips: &[&str], config: PbxConfig, sets: usize) -> NodeId {
        let index = self.add(name, &addresses(ips), sets);
        let (sockets, listeners) = (self.nodes[index].sip_sockets.clone(), self.nodes[index].listeners.clone());
        let pbx = Pbx::new(self.now, config, sockets, listeners, self.rng.bytes());
        self.nodes[index].host = Host::Pbx(Box::new(pbx));
        self.drain(index);
        NodeId(index)
    }

    /// A peer whose side the test plays by hand.
    pub fn script(&mut self, name: &str, ip: &str) -> NodeId {
        let index = self.add(name, &addresses(&[ip]), 0);
        self.nodes[index].host = Host::Script(VecDeque::new());
        NodeId(index)
    }

    pub fn microphone(&mut self, node: NodeId, hz: f64) {
        self.nodes[node.0].microphone_hz = hz;
    }

    pub fn link(&mut self, a: NodeId, b: NodeId, link: Link) {
        self.links.insert((a.0.min(b.0), a.0.max(b.0)), link);
    }

    pub fn nat(&mut self, node: NodeId, kind: NatKind, outside: &str) {
        self.nodes[node.0].nat = Some(Nat::new(kind, outside.parse().expect("a test address")));
    }

    pub fn name(&mut self, name: &str, answer: Result<Vec<IpAddr>, ResolveError>) {
        self.names.insert(name.to_owned(), answer);
    }

    /// The node is gone without a word: nothing it says or hears from now on.
    pub fn kill(&mut self, node: NodeId) {
        self.nodes[node.0].host = Host::Off;
        self.nodes[node.0].deadline = None;
        self.nodes[node.0].sets.clear();
    }

    /// The PBX begins anew in the same place and knows nothing of what was.
    pub fn restart_pbx(&mut self, node: NodeId, config: PbxConfig) {
        let (now, seed, rng) = (self.now, self.rng.bytes(), self.rng.fork());
        let node_ref = &mut self.nodes[node.0];
        let (sockets, listeners) = (node_ref.sip_sockets.clone(), node_ref.listeners.clone());
        node_ref.host = Host::Pbx(Box::new(Pbx::new(now, config, sockets, listeners, seed)));
        let epoch = Epoch::new(Instant::ZERO, Duration::from_secs(1_800_000_000));
        node_ref.sets = vec![MediaSet::new(SetId(0), rng, epoch)];
        node_ref.set_of.clear();
        for socket in std::mem::take(&mut node_ref.leased) {
            if let Some(addr) = node_ref.addr_of.remove(&socket) {
                node_ref.ports.remove(&addr);
            }
        }
        for (conn, pipe) in std::mem::take(&mut node_ref.pipes) {
            let _ = conn;
            self.enqueue(now, Delivery::Stream { node: pipe.node, conn: pipe.conn, event: PipeEvent::Closed });
        }
        self.drain(node.0);
    }

    /// The host has these addresses and no others from now on; its phone is told. What came along the old ones is lost.
    pub fn readdress(&mut self, node: NodeId, ips: &[&str]) {
        let addresses = addresses(ips);
        self.nodes[node.0].ips = addresses.clone();
        self.nodes[node.0].pipes.clear();
        self.tell_network(node, NetworkChange { addresses, resumed: false });
    }

    /// The host wakes up after a sleep, in which the world went on without it.
    pub fn wake_up(&mut self, node: NodeId) {
        let addresses = self.nodes[node.0].ips.clone();
        self.tell_network(node, NetworkChange { addresses, resumed: true });
    }

    fn tell_network(&mut self, node: NodeId, change: NetworkChange) {
        let now = self.now;
        if let Some(engine) = self.nodes[node.0].host.engine() {
            engine.handle_network_change(now, &change);
        }
        self.drain(node.0);
    }

    /// The PBX of a node, to look into it.
    pub fn pbx_of(&self, node: NodeId) -> &Pbx {
        match &self.nodes[node.0].host {
            Host::Pbx(pbx) => pbx,
            Host::Ua(_) | Host::Script(_) | Host::Off => self.fail("that node is no PBX"),
        }
    }

    /// The phone of a node, to look into it.
    pub fn ua_of(&self, node: NodeId) -> &Ua {
        match &self.nodes[node.0].host {
            Host::Ua(ua) => ua,
            Host::Pbx(_) | Host::Script(_) | Host::Off => self.fail("that node is no phone"),
        }
    }

    /// A node that is gone gives its addresses back to whoever comes next.
    pub fn rename_away(&mut self, node: NodeId) {
        self.nodes[node.0].ips.clear();
    }

    pub fn command(&mut self, node: NodeId, command: Command) -> Result<Reply, CommandError> {
        let now = self.now;
        let reply = match self.nodes[node.0].host.engine() {
            Some(engine) => engine.handle_command(now, command),
            None => Err(CommandError::NotSupported),
        };
        self.drain(node.0);
        reply
    }

    pub fn dial(&mut self, node: NodeId, target: &str) -> CallHandle {
        match self.command(node, Command::Dial { target: target.to_owned(), account: None, audio: None }) {
            Ok(Reply::Call(call)) => call,
            other => panic!("seed {}: dialling {target} gave {other:?}", self.seed),
        }
    }

    /// All events of the node so far.
    pub fn events(&self, node: NodeId) -> Vec<&Event> {
        self.nodes[node.0].events.iter().map(|(_, event)| event).collect()
    }

    /// The samples that the node's sink of its latest session heard.
    pub fn heard(&self, node: NodeId) -> Heard {
        match self.nodes[node.0].heard.values().next_back() {
            Some(heard) => heard.clone(),
            None => self.fail(&format!("{} never had a sink", self.nodes[node.0].name)),
        }
    }

    pub fn all_heard(&self, node: NodeId) -> Vec<Heard> {
        self.nodes[node.0].heard.values().cloned().collect()
    }

    /// Runs until an event after those already waited for satisfies `wanted`; fails after 5 minutes of virtual time.
    pub fn run_until(&mut self, node: NodeId, mut wanted: impl FnMut(&Event) -> bool) -> Event {
        let limit = self.now + Duration::from_secs(300);
        loop {
            let host = &mut self.nodes[node.0];
            while host.read < host.events.len() {
                host.read += 1;
                if wanted(&host.events[host.read - 1].1) {
                    return host.events[host.read - 1].1.clone();
                }
            }
            if !self.step(limit) {
                self.fail(&format!("{} waited in vain", self.nodes[node.0].name));
            }
        }
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Sends raw text from a script node's port 5060.
    pub fn say(&mut self, node: NodeId, to: &str, text: &str) {
        let from = SocketAddr::new(self.nodes[node.0].ips[0], 5060);
        let to = to.parse().expect("a test address");
        self.send(node.0, from, to, text.as_bytes().to_vec(), false);
    }

    /// Sends raw bytes from any port of a script node.
    pub fn fire(&mut self, node: NodeId, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.send(node.0, from, to, bytes.to_vec(), true);
    }

    /// Everything that has come to the script node, as bytes: source, destination, payload.
    pub fn taken(&mut self, node: NodeId) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        match &mut self.nodes[node.0].host {
            Host::Script(inbox) => inbox.drain(..).collect(),
            Host::Ua(_) | Host::Pbx(_) | Host::Off => panic!("not a script node"),
        }
    }

    /// The NAT of a node forgets all mappings (it was restarted, or they expired).
    pub fn forget_mappings(&mut self, node: NodeId) {
        if let Some(nat) = &mut self.nodes[node.0].nat {
            nat.forget();
        }
    }

    /// Sends any bytes from any port of a script node.
    pub fn say_bytes(&mut self, node: NodeId, port: u16, to: SocketAddr, bytes: Vec<u8>) {
        let from = SocketAddr::new(self.nodes[node.0].ips[0], port);
        self.send(node.0, from, to, bytes, true);
    }

    /// What came to this port of the script node and has not been fetched yet: source, bytes.
    pub fn packets(&mut self, node: NodeId, port: u16) -> Vec<(SocketAddr, Vec<u8>)> {
        let Host::Script(inbox) = &mut self.nodes[node.0].host else { panic!("not a script node") };
        let (taken, left) = std::mem::take(inbox).into_iter().partition::<Vec<_>, _>(|(_, to, _)| to.port() == port);
        *inbox = left.into();
        taken.into_iter().map(|(from, _, bytes)| (from, bytes)).collect()
    }

    /// The next SIP message (to port 5060) that came to the script node: source, text.
    pub fn hear(&mut self, node: NodeId) -> (SocketAddr, String) {
        let limit = self.now + Duration::from_secs(300);
        loop {
            if let Some(heard) = self.hear_now(node) {
                return heard;
            }
            if !self.step(limit) {
                self.fail(&format!("{} heard nothing", self.nodes[node.0].name));
            }
        }
    }

    /// Like `hear`, but only what has already come.
    pub fn hear_now(&mut self, node: NodeId) -> Option<(SocketAddr, String)> {
        match &mut self.nodes[node.0].host {
            Host::Script(inbox) => {
                let at = inbox.iter().position(|(_, to, _)| to.port() == 5060)?;
                let (from, _, bytes) = inbox.remove(at)?;
                Some((from, String::from_utf8_lossy(&bytes).into_owned()))
            }
            Host::Ua(_) | Host::Pbx(_) | Host::Off => panic!("not a script node"),
        }
    }

    /// One step; false when nothing happens before `limit`.
    pub fn step(&mut self, limit: Instant) -> bool {
        let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
        let mut due = arrival;
        for node in &self.nodes {
            due = earliest(due, node.deadline);
            for set in &node.sets {
                due = earliest(due, set.poll_timeout());
            }
        }
        let Some(at) = due.filter(|at| *at <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.now = self.now.max(at);
        let now = self.now;
        if self.stuck.0 == now {
            self.stuck.1 += 1;
            if self.stuck.1 > 20_000 {
                self.fail("time stands still: a deadline is never served");
            }
        } else {
            self.stuck = (now, 0);
        }

        if arrival.is_some_and(|arrival| arrival <= now) {
            let (_, delivery) = self.queue.pop_first().expect("its first key was read above");
            self.deliver(delivery);
            return true;
        }
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let mut touched = false;
            for set in &mut node.sets {
                if set.poll_timeout().is_some_and(|at| at <= now) {
                    set.handle_timeout(now);
                    touched = true;
                }
            }
            if node.deadline.is_some_and(|at| at <= now) {
                if let Some(engine) = node.host.engine() {
                    engine.handle_timeout(now);
                }
                touched = true;
            }
            if touched {
                self.drain(index);
            }
        }
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        let index = match delivery {
            Delivery::Datagram { node: index, to, from, mut bytes } => {
                let node = &mut self.nodes[index];
                if let Some((socket, set)) = node.ports.get(&to).copied() {
                    if let Some(set) = node.sets.get_mut(set) {
                        set.handle_packet(now, socket, from, &mut bytes);
                    }
                } else if let Host::Script(inbox) = &mut node.host {
                    // Keep-alives are no messages.
                    if bytes.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
                        inbox.push_back((from, to, bytes));
                    }
                } else if let Some(bound) = node.sip_sockets.iter().find(|bound| takes(bound.local, to)).copied()
                    && let Some(engine) = node.host.engine()
                {
                    engine.handle_datagram(now, bound.socket, to, from, &bytes);
                }
                index
            }
            Delivery::Stream { node: index, conn, event } => {
                let node = &mut self.nodes[index];
                if matches!(event, PipeEvent::Closed | PipeEvent::Failed(_) | PipeEvent::Untrusted(_)) {
                    node.pipes.remove(&conn);
                }
                if let (Host::Script(inbox), PipeEvent::Data(bytes)) = (&mut node.host, &event) {
                    let nowhere = SocketAddr::from(([0; 4], 0));
                    inbox.push_back((nowhere, nowhere, bytes.clone()));
                }
                if let Some(engine) = node.host.engine() {
                    match event {
                        PipeEvent::Accepted { listener, local, peer } => {
                            engine.handle_stream(now, conn, StreamEvent::Accepted { listener, local, peer });
                        }
                        PipeEvent::Connected { local, tls } => {
                            engine.handle_stream(now, conn, StreamEvent::Connected { local, tls });
                        }
                        PipeEvent::Untrusted(fault) => {
                            engine.handle_stream(now, conn, StreamEvent::Untrusted { fault, certificate: None });
                        }
                        PipeEvent::Data(bytes) => engine.handle_stream(now, conn, StreamEvent::Data(&bytes)),
                        PipeEvent::Closed => engine.handle_stream(now, conn, StreamEvent::Closed),
                        PipeEvent::Failed(fault) => engine.handle_stream(now, conn, StreamEvent::Failed(fault)),
                    }
                }
                index
            }
            Delivery::Resolved { node: index, id, answer } => {
                if let Some(engine) = self.nodes[index].host.engine() {
                    engine.handle_resolved(now, id, answer);
                }
                index
            }
        };
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        for _ in 0..10_000 {
            let mut idle = true;
            let output = match self.nodes[index].host.engine() {
                Some(engine) => engine.poll_output(),
                None => return,
            };
            match output {
                Output::Timeout(at) => self.nodes[index].deadline = at,
                other => {
                    idle = false;
                    self.carry_out(index, other);
                }
            }
            idle &= !self.drain_media(index);
            if idle {
                return;
            }
        }
        self.fail(&format!("{} never stops putting out", self.nodes[index].name));
    }

    fn drain_media(&mut self, index: usize) -> bool {
        let now = self.now;
        let mut busy = false;
        let mut buffer = [0; 1500];
        for set in 0..self.nodes[index].sets.len() {
            while let Some((len, to)) = self.nodes[index].sets[set].poll_transmit(&mut buffer) {
                busy = true;
                if let Some(from) = self.nodes[index].addr_of.get(&to.socket).copied() {
                    assert!(len <= 1472, "seed {}: a media packet of {len} bytes is above the MTU", self.seed);
                    self.send(index, from, to.to, buffer[..len].to_vec(), true);
                }
            }
            while let Some((media, event)) = self.nodes[index].sets[set].poll_event() {
                busy = true;
                if let Some(engine) = self.nodes[index].host.engine() {
                    engine.handle_media(now, media, event);
                }
            }
        }
        busy
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Transmit(transmit) => self.transmit(index, transmit),
            Output::Connect { conn, protocol, peer, secure } => self.connect(index, conn, (protocol, peer), secure),
            Output::Close(conn) => {
                if let Some(pipe) = self.nodes[index].pipes.remove(&conn) {
                    let at = (now + Duration::from_millis(1)).max(pipe.ready_at);
                    self.enqueue(at, Delivery::Stream { node: pipe.node, conn: pipe.conn, event: PipeEvent::Closed });
                    self.enqueue(now, Delivery::Stream { node: index, conn, event: PipeEvent::Closed });
                }
            }
            Output::Resolve { id, query } => {
                let answer = match self.names.get(&query.name) {
                    Some(Ok(addresses)) => {
                        Ok(addresses.iter().map(|ip| Record { data: RecordData::Addr(*ip), ttl: 60 }).collect())
                    }
                    Some(Err(error)) => Err(*error),
                    None => Err(ResolveError::NotFound),
                };
                let delay = if answer == Err(ResolveError::Timeout) { 5_000 } else { 2 };
                self.enqueue(now + Duration::from_millis(delay), Delivery::Resolved { node: index, id, answer });
            }
            Output::LocalAddress { id, peer } => {
                let answer = local_address(&self.nodes[index].ips, peer.ip());
                if let Some(engine) = self.nodes[index].host.engine() {
                    engine.handle_local_address(now, id, answer);
                }
            }
            Output::Lease { id, local, group } => {
                let answer = self.lease(index, local, group);
                if let Some(engine) = self.nodes[index].host.engine() {
                    engine.handle_lease(now, id, answer);
                }
            }
            Output::Release(lease) => {
                let node = &mut self.nodes[index];
                for (socket, addr) in [(lease.rtp, lease.rtp_addr), (lease.rtcp, lease.rtcp_addr)] {
                    if !node.leased.remove(&socket) {
                        let name = node.name.clone();
                        self.fail(&format!("{name} gave {socket} back twice"));
                    }
                    node.ports.remove(&addr);
                    node.addr_of.remove(&socket);
                }
            }
            Output::Media(media, command) => self.media_command(index, media, command),
            Output::Event(event) => self.nodes[index].events.push((now, event)),
            Output::Timeout(_) => {}
        }
    }

    fn lease(&mut self, index: usize, local: IpAddr, group: RequestId) -> Result<Lease, NoLease> {
        let node = &mut self.nodes[index];
        if node.sets.is_empty() || !node.ips.contains(&local) {
            return Err(NoLease);
        }
        let set = group.0 as usize % node.sets.len();
        let mut bind = |port| {
            let socket = SocketId(node.next_socket);
            node.next_socket += 1;
            let addr = SocketAddr::new(local, port);
            node.ports.insert(addr, (socket, set));
            node.addr_of.insert(socket, addr);
            node.leased.insert(socket);
            (socket, addr)
        };
        let (rtp, rtp_addr) = bind(node.next_port);
        let (rtcp, rtcp_addr) = bind(node.next_port + 1);
        node.next_port = if node.next_port > 60_000 { 16_384 } else { node.next_port + 2 };
        Ok(Lease { set: SetId(set as u16), rtp, rtcp, rtp_addr, rtcp_addr })
    }

    fn media_command(&mut self, index: usize, media: MediaId, command: MediaCommand) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let mut route = None;
        match &command {
            MediaCommand::Open { plan, route: to, .. } => {
                let set = plan.transports.first().map_or(0, |transport| usize::from(transport.lease.set.0));
                node.set_of.insert(media, set);
                route = Some(to.clone());
            }
            MediaCommand::Route(to) => route = Some(to.clone()),
            MediaCommand::SetPlan(_)
            | MediaCommand::Mute(_)
            | MediaCommand::Ringback(_)
            | MediaCommand::SendDtmf { .. }
            | MediaCommand::Close => {}
        }
        let Some(set) = node.set_of.get(&media).copied() else { return };
        let Some(set) = node.sets.get_mut(set) else { return };
        set.handle_command(now, media, command);
        let Some(Route::Local { source, sink }) = route else { return };
        let source: Option<Box<dyn bellwire::media::set::SoundSource>> = match source {
            AudioSource::File { path, .. } if path == sound::PANICS => Some(Box::new(sound::Panics::default())),
            AudioSource::File { .. }
            | AudioSource::Builtin(_)
            | AudioSource::Device(_)
            | AudioSource::DeviceAndFile(..) => {
                let tone = bellwire::media::tones::Tone::hz(node.microphone_hz, 16_000);
                // The announcement is four seconds long here.
                let left = (source == AudioSource::Builtin(Builtin::Announcement)).then_some(64_000);
                Some(Box::new(Microphone { tone, left }))
            }
            AudioSource::None | AudioSource::Silence | AudioSource::Tone(_) | AudioSource::Echo => None,
        };
        let sink: Option<Box<dyn SoundSink>> = match sink {
            AudioSink::None => None,
            AudioSink::File(_) | AudioSink::Device(_) | AudioSink::DeviceAndFile(..) => {
                let heard = node.heard.entry(media).or_insert_with(|| Heard::new(16_000)).clone();
                Some(Box::new(Ear(heard)))
            }
        };
        set.attach(now, media, source, sink);
    }

    fn transmit(&mut self, index: usize, transmit: Transmit) {
        let Flow { local, peer, via, .. } = transmit.flow;
        if let Some(arrow) = self.arrow(index, peer, &transmit.bytes) {
            let dropped = self.drop_if.as_mut().is_some_and(|drop_if| drop_if(&arrow));
            self.ladder.push(arrow);
            if dropped {
                return;
            }
        }
        match via {
            FlowVia::Socket(_) => self.send(index, local, peer, transmit.bytes, false),
            FlowVia::Conn(conn) => self.write(index, conn, &transmit.bytes),
        }
    }

    fn arrow(&self, index: usize, to: SocketAddr, bytes: &[u8]) -> Option<Arrow> {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return None; // keep-alive
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Err(error) = Message::parse(bytes) {
            self.fail(&format!("{} sent what does not parse: {error:?}\n{text}", self.nodes[index].name));
        }
        let line = text.lines().next().unwrap_or_default().to_owned();
        Some(Arrow { at: self.now, from: self.nodes[index].name.clone(), to, line, text })
    }

    fn send(&mut self, index: usize, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>, media: bool) {
        let now = self.now;
        let mut target = self.reach(index, to.ip());
        let from = match &mut self.nodes[index].nat {
            Some(nat) => nat.outbound(now, from, to),
            None => from,
        };
        let mut inside = to;
        if target.is_none() {
            target = self.nodes.iter_mut().position(|node| match &mut node.nat {
                Some(nat) if nat.outside == to.ip() => match nat.inbound(now, to, from) {
                    Some(address) => {
                        inside = address;
                        true
                    }
                    None => false,
                },
                Some(_) | None => false,
            });
        }
        let Some(target) = target else { return };
        if let (true, Some(seen)) = (media, &mut self.media) {
            seen.insert((from, to), bytes.clone());
        }
        let link = self.links.get(&(index.min(target), index.max(target))).copied().unwrap_or_default();
        for at in link.arrivals(now, &mut self.rng) {
            self.enqueue(at, Delivery::Datagram { node: target, to: inside, from, bytes: bytes.clone() });
        }
    }

    /// The node that has `ip` for its own, unless a NAT stands before it that is not the sender's as well.
    fn reach(&self, index: usize, ip: IpAddr) -> Option<usize> {
        let outside = |node: &Node| node.nat.as_ref().map(|nat| nat.outside);
        let own = self.nodes.get(index).and_then(outside);
        self.nodes.iter().position(|node| node.ips.contains(&ip) && (node.nat.is_none() || outside(node) == own))
    }

    fn connect(
        &mut self,
        index: usize,
        conn: ConnId,
        (protocol, peer): (Protocol, SocketAddr),
        secure: Option<TlsPolicy>,
    ) {
        let now = self.now;
        let target = self.reach(index, peer.ip());
        let up = |node: &&mut Node| !matches!(node.host, Host::Off);
        let reached = target.and_then(|target| {
            let node = Some(&mut self.nodes[target]).filter(up)?;
            let listener = node.listeners.iter().find(|listener| takes(listener.local, peer))?.listener;
            let theirs = ConnId { slot: node.next_slot, generation: 0 };
            node.next_slot += 1;
            Some((target, listener, theirs))
        });
        let Some((target, listener, theirs)) = reached else {
            let event = match target {
                Some(_) => PipeEvent::Failed(StreamFault::Refused),
                None => PipeEvent::Failed(StreamFault::Unreachable),
            };
            self.enqueue(now + Duration::from_millis(2), Delivery::Stream { node: index, conn, event });
            return;
        };
        let ip = local_address(&self.nodes[index].ips, peer.ip()).unwrap_or(self.nodes[index].ips[0]);
        let local = SocketAddr::new(ip, 40_000 + (self.order % 20_000) as u16);
        let seen = match &mut self.nodes[index].nat {
            Some(nat) => nat.outbound(now, local, peer),
            None => local,
        };
        self.connects.push((self.nodes[index].name.clone(), peer));
        let at = now + Duration::from_millis(2);
        self.nodes[index].pipes.insert(conn, Pipe { node: target, conn: theirs, ready_at: at, stalled: false });
        self.nodes[target].pipes.insert(theirs, Pipe { node: index, conn, ready_at: at, stalled: false });
        let accepted = PipeEvent::Accepted { listener, local: peer, peer: seen };
        self.enqueue(at, Delivery::Stream { node: target, conn: theirs, event: accepted });
        let served = self.nodes[target].listeners.iter().find(|known| known.listener == listener);
        let served = served.map_or(Protocol::Tcp, |served| served.protocol);
        assert_eq!(protocol.is_secure(), secure.is_some(), "seed {}: TLS and its policy go together", self.seed);
        let Some(policy) = secure else {
            self.enqueue(at, Delivery::Stream { node: index, conn, event: PipeEvent::Connected { local, tls: None } });
            return;
        };
        let fault = match &self.nodes[target].certificate {
            _ if !served.is_secure() => Some(TlsFault::NotTls),
            Err(fault) => Some(*fault),
            Ok(names) => (!names.contains(&policy.domain)).then_some(TlsFault::WrongName),
        };
        // One round trip more for the handshake.
        let at = at + Duration::from_millis(2);
        let tls = Some(TlsInfo { version: "TLS 1.3", resumed: false });
        match fault {
            Some(fault) => {
                self.enqueue(at, Delivery::Stream { node: index, conn, event: PipeEvent::Untrusted(fault) });
                self.enqueue(at, Delivery::Stream { node: target, conn: theirs, event: PipeEvent::Closed });
            }
            None => {
                self.enqueue(
                    at,
                    Delivery::Stream { node: target, conn: theirs, event: PipeEvent::Connected { local: peer, tls } },
                );
                self.enqueue(at, Delivery::Stream { node: index, conn, event: PipeEvent::Connected { local, tls } });
            }
        }
    }

    /// A lossless delayed pipe that cuts what it carries at random places, so that every framing fault appears.
    fn write(&mut self, index: usize, conn: ConnId, bytes: &[u8]) {
        let Some(mut pipe) = self.nodes[index].pipes.get(&conn).copied().filter(|pipe| !pipe.stalled) else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut = 1 + self.rng.below(rest.len() as u64) as usize;
            let (piece, after) = rest.split_at(cut);
            pipe.ready_at = pipe.ready_at.max(self.now + Duration::from_millis(1)) + Duration::from_micros(10);
            let event = PipeEvent::Data(piece.to_vec());
            self.enqueue(pipe.ready_at, Delivery::Stream { node: pipe.node, conn: pipe.conn, event });
            rest = after;
        }
        self.nodes[index].pipes.insert(conn, pipe);
    }

    fn enqueue(&mut self, at: Instant, delivery: Delivery) {
        self.order += 1;
        self.queue.insert((at, self.order), delivery);
    }

    /// Everything must be over 64·T1 after the last call: no lease, no transaction, no call, no session.
    pub fn assert_quiet(&mut self) {
        self.run_for(Duration::from_secs(40));
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let quiet = match &node.host {
                Host::Ua(ua) => ua.is_quiet(),
                Host::Pbx(pbx) => pbx.is_quiet(),
                Host::Script(_) | Host::Off => true,
            };
            if !quiet {
                self.fail(&format!("{} still holds a transaction or a call", node.name));
            }
            if !matches!(node.host, Host::Off) && !node.leased.is_empty() {
                self.fail(&format!("{} still holds sockets {:?}", node.name, node.leased));
            }
            if node.sets.iter().any(|set| !set.is_quiet()) {
                self.fail(&format!("{} still holds a media session", node.name));
            }
        }
    }

    /// What a node has sent that begins with this word, in order.
    pub fn sent(&self, node: NodeId, word: &str) -> Vec<&str> {
        let name = &self.nodes[node.0].name;
        let begins = |text: &str| text.split(' ').next() == Some(word);
        self.ladder
            .iter()
            .filter(|arrow| arrow.from == *name && begins(&arrow.text))
            .map(|arrow| &*arrow.text)
            .collect()
    }

    /// First lines of the messages between the nodes, retransmissions folded: `alice INVITE`, `bob 200`.
    pub fn arrows(&self) -> Vec<String> {
        let mut arrows: Vec<String> = Vec::new();
        let mut seen = BTreeSet::new();
        for arrow in &self.ladder {
            if !seen.insert((arrow.from.clone(), arrow.text.clone())) {
                continue;
            }
            let mut words = arrow.line.split(' ');
            let first = words.next().unwrap_or_default();
            let word = if first == "SIP/2.0" { words.next().unwrap_or_default() } else { first };
            arrows.push(format!("{} {word}", arrow.from));
        }
        arrows
    }

    pub fn fail(&self, why: &str) -> ! {
        eprintln!("seed {}, at {:?}: {why}", self.seed, self.now);
        for arrow in &self.ladder[self.ladder.len().saturating_sub(60)..] {
            eprintln!("  {:?} {} -> {}: {}", arrow.at, arrow.from, arrow.to, arrow.line);
        }
        for node in &self.nodes {
            for (at, event) in node.events.iter().rev().take(8).rev() {
                eprintln!("  {at:?} {}: {event:?}", node.name);
            }
        }
        panic!("seed {}: {why}", self.seed);
    }
}

fn addresses(ips: &[&str]) -> Vec<IpAddr> {
    ips.iter().map(|ip| ip.parse().expect("a test address")).collect()
}

/// Whether a socket bound to `bound` takes what is sent to `to`.
fn takes(bound: SocketAddr, to: SocketAddr) -> bool {
    let any = bound.ip().is_unspecified() && Family::of(bound.ip()) == Family::of(to.ip());
    bound.port() == to.port() && (any || bound.ip() == to.ip())
}

/// The route table of a node: the own address that shares the longest prefix with the peer.
fn local_address(own: &[IpAddr], peer: IpAddr) -> Result<IpAddr, NoRoute> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    own.iter()
        .filter(|ip| Family::of(**ip) == Family::of(peer))
        .max_by_key(|ip| (bits(**ip) ^ bits(peer)).leading_zeros())
        .copied()
        .ok_or(NoRoute)
}
