//! The load: a SIP caller with an RTP source and sink for each call, on one thread. Arrivals are stamped by the kernel, so that a
//! busy generator falsifies neither gaps nor delays; how late it sent is kept.

use crate::peers::now;
use crate::speech::{Frames, WINDOW};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Sound in one packet.
const PTIME: Duration = Duration::from_millis(20);
/// An INVITE without final response for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Packets whose sending time is kept.
const KEPT: usize = 4096;

/// What a call came to.
pub(crate) struct Call {
    target: SocketAddr,
    frames: Arc<Frames>,
    state: State,
    started: Instant,
    repeat: (Instant, Duration),
    /// INVITE to 200, by kernel stamp.
    pub(crate) answered_ms: Option<f64>,
    invited: Duration,
    to: String,
    contact: String,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    remote: Option<SocketAddr>,
    next_send: Instant,
    sent: u64,
    /// When each of the last packets was sent, by the wall clock.
    sendings: VecDeque<Duration>,
    number: usize,
    last: Option<(u16, Duration)>,
    first_seq: Option<u16>,
    /// In the window: packets received, gaps between neighbours less a frame (ms), delays (ms).
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) gaps: Vec<f64>,
    pub(crate) delays: Vec<f64>,
    /// Packets whose sound was not found in what was sent.
    pub(crate) strange: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Inviting,
    Talking,
    Leaving,
    Over,
    Failed,
}

/// Many calls.
pub(crate) struct Load {
    poll: Poll,
    sip: UdpSocket,
    local: SocketAddr,
    pub(crate) calls: Vec<Call>,
    measuring: bool,
    /// Requests sent again.
    pub(crate) repeated: u64,
    /// The most that a packet left after its time in the window.
    pub(crate) latest: Duration,
    /// Send no RTP at all.
    silent: bool,
    run: u64,
}

#[allow(clippy::disallowed_methods, reason = "kernel stamps are in wall-clock time")]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn socket(poll: &Poll, token: usize) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20);
    poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(token), Interest::READABLE)?;
    Ok(socket)
}

/// The next datagram and when it arrived.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, Option<SocketAddr>, Duration)> {
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT).ok()?;
    let mut stamp = None;
    for control in message.cmsgs().ok()? {
        if let ControlMessageOwned::ScmTimestampns(at) = control {
            stamp = Some(Duration::from(at));
        }
    }
    let from = message.address.and_then(|from| from.as_sockaddr_in().map(|from| SocketAddr::V4((*from).into())));
    Some((message.bytes, from, stamp.unwrap_or_else(wall)))
}

impl Load {
    pub(crate) fn new() -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let sip = socket(&poll, 0)?;
        let _ = socket2::SockRef::from(&sip).set_recv_buffer_size(8 << 20);
        let local = sip.local_addr()?;
        let run = wall().as_nanos() as u64;
        Ok(Self {
            poll,
            sip,
            local,
            calls: Vec::new(),
            measuring: false,
            repeated: 0,
            latest: Duration::ZERO,
            silent: false,
            run,
        })
    }

    /// Adds `count` calls to the SIP port `port`.
    pub(crate) fn add(&mut self, port: u16, frames: &Arc<Frames>, count: usize) -> std::io::Result<()> {
        for _ in 0..count {
            let number = self.calls.len();
            let rtp = socket(&self.poll, 1 + 2 * number)?;
            let rtcp = socket(&self.poll, 2 + 2 * number)?;
            let at = now();
            self.calls.push(Call {
                target: SocketAddr::from(([127, 0, 0, 1], port)),
                frames: frames.clone(),
                state: State::Waiting,
                started: at,
                repeat: (at, Duration::ZERO),
                answered_ms: None,
                invited: Duration::ZERO,
                to: String::new(),
                contact: String::new(),
                rtp,
                rtcp,
                remote: None,
                next_send: at,
                sent: 0,
                sendings: VecDeque::with_capacity(KEPT),
                number,
                last: None,
                first_seq: None,
                received: 0,
                lost: 0,
                gaps: Vec::new(),
                delays: Vec::new(),
                strange: 0,
            });
        }
        Ok(())
    }

    /// Sets up all calls, `rate` a second; true when all are up.
    pub(crate) fn set_up(&mut self, rate: f64) -> bool {
        let begin = now();
        loop {
            let due = (begin.elapsed().as_secs_f64() * rate) as usize + 1;
            for place in 0..self.calls.len().min(due) {
                if self.calls[place].state == State::Waiting {
                    self.invite(place, true);
                    self.calls[place].state = State::Inviting;
                }
            }
            self.turn();
            if self.calls.iter().all(|call| !matches!(call.state, State::Waiting | State::Inviting)) {
                return self.calls.iter().all(|call| call.state == State::Talking);
            }
        }
    }

    /// Lets the calls go on for `time`.
    pub(crate) fn talk(&mut self, time: Duration) {
        let until = now() + time;
        while now() < until {
            self.turn();
        }
    }

    /// Begins to count.
    pub(crate) fn start_window(&mut self) {
        self.measuring = true;
        self.latest = Duration::ZERO;
        for call in &mut self.calls {
            call.first_seq = None;
            call.last = None;
        }
    }

    /// Stops counting and hangs up; true when every BYE was answered.
    pub(crate) fn hang_up(&mut self) -> bool {
        self.measuring = false;
        for place in 0..self.calls.len() {
            if self.calls[place].state == State::Talking {
                self.calls[place].state = State::Leaving;
                self.in_dialog(place, "BYE", 2);
                self.calls[place].repeat = (now() + Duration::from_millis(500), Duration::from_millis(500));
            }
            if place % 20 == 19 {
                self.turn();
            }
        }
        let until = now() + Duration::from_secs(5);
        while now() < until && self.calls.iter().any(|call| call.state == State::Leaving) {
            self.turn();
        }
        self.calls.iter().all(|call| call.state == State::Over)
    }

    /// How many calls talk.
    pub(crate) fn up(&self) -> usize {
        self.calls.iter().filter(|call| call.state == State::Talking).count()
    }

    fn turn(&mut self) {
        let at = now();
        let mut next = at + Duration::from_millis(2);
        let many = self.calls.len() > 20;
        for place in 0..self.calls.len() {
            match self.calls[place].state {
                State::Talking if !self.silent => {
                    while self.calls[place].next_send <= at {
                        let late = at - self.calls[place].next_send;
                        if self.measuring {
                            self.latest = self.latest.max(late);
                        }
                        self.calls[place].send_frame();
                        self.calls[place].next_send += PTIME;
                    }
                    next = next.min(self.calls[place].next_send);
                }
                State::Inviting | State::Leaving => self.repeat(place, at),
                State::Talking | State::Waiting | State::Over | State::Failed => {}
            }
        }
        // Many calls share a tick; one call is sent on time.
        let sleep = next.saturating_duration_since(now());
        std::thread::sleep(if many { sleep.max(Duration::from_micros(500)) } else { sleep });
        let mut events = Events::with_capacity(1024);
        if self.poll.poll(&mut events, Some(Duration::ZERO)).is_err() {
            return;
        }
        let mut buffer = [0; 4096];
        for event in &events {
            match event.token().0 {
                0 => {
                    while let Some((length, from, at)) = receive(&self.sip, &mut buffer) {
                        self.handle_sip(&buffer[..length], from, at);
                    }
                }
                token => {
                    let (place, rtcp) = ((token - 1) / 2, token % 2 == 0);
                    let measuring = self.measuring;
                    let call = &mut self.calls[place];
                    loop {
                        let socket = if rtcp { &call.rtcp } else { &call.rtp };
                        let Some((length, _, at)) = receive(socket, &mut buffer) else { break };
                        if !rtcp && measuring {
                            call.handle_rtp(&buffer[..length], at);
                        }
                    }
                }
            }
        }
    }

    fn repeat(&mut self, place: usize, at: Instant) {
        let call = &mut self.calls[place];
        if at.duration_since(call.started) > PATIENCE && call.state == State::Inviting {
            call.state = State::Failed;
        }
        if at < call.repeat.0 {
            return;
        }
        call.repeat = (at + call.repeat.1 * 2, call.repeat.1 * 2);
        let inviting = call.state == State::Inviting;
        self.repeated += 1;
        if inviting { self.invite(place, false) } else { self.in_dialog(place, "BYE", 2) }
    }

    fn invite(&mut self, place: usize, first: bool) {
        let (local, run) = (self.local, self.run);
        let call = &mut self.calls[place];
        if first {
            call.started = now();
            call.invited = wall();
            call.repeat = (call.started + Duration::from_millis(500), Duration::from_millis(500));
        }
        let (rtp, rtcp) = (call.rtp.local_addr(), call.rtcp.local_addr());
        let (Ok(rtp), Ok(rtcp)) = (rtp, rtcp) else { return };
        let frames = &call.frames;
        let fmtp = if frames.fmtp.is_empty() {
            String::new()
        } else {
            format!("a=fmtp:{} {}\r\n", frames.payload_type, frames.fmtp)
        };
        let body = format!(
            "v=0\r\no=load {run} 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP {}\r\na=rtpmap:{} {}\r\n{fmtp}a=rtcp:{}\r\na=ptime:20\r\na=sendrecv\r\n",
            rtp.port(),
            frames.payload_type,
            frames.payload_type,
            frames.rtpmap,
            rtcp.port()
        );
        let target = call.target;
        let text = format!(
            "INVITE sip:bench@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKi{run}x{place};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:load@{local}>;tag=l{place}\r\nTo: <sip:bench@{target}>\r\nCall-ID: {run}x{place}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:load@{local}>\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = self.sip.send_to(text.as_bytes(), target);
    }

    fn in_dialog(&self, place: usize, method: &str, number: u32) {
        let (local, run, call) = (self.local, self.run, &self.calls[place]);
        let (contact, to, target) = (&call.contact, &call.to, call.target);
        let text = format!(
            "{method} {contact} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{run}x{place};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:load@{local}>;tag=l{place}\r\nTo: {to}\r\nCall-ID: {run}x{place}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = self.sip.send_to(text.as_bytes(), target);
    }

    fn handle_sip(&mut self, bytes: &[u8], from: Option<SocketAddr>, at: Duration) {
        let text = String::from_utf8_lossy(bytes);
        let Some(code) = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok()) else {
            if let Some(from) = from {
                self.handle_request(&text, from);
            }
            return;
        };
        let id = header(&text, "call-id", "i");
        let Some(place) = id.strip_prefix(&format!("{}x", self.run)).and_then(|place| place.parse::<usize>().ok())
        else {
            return;
        };
        let Some(call) = self.calls.get_mut(place) else { return };
        let invite = header(&text, "cseq", "cseq").ends_with("INVITE");
        match (invite, code) {
            (true, 100..=199) => call.repeat.0 = now() + PATIENCE * 2,
            (true, 200..=299) => {
                if call.state == State::Inviting {
                    call.to = header(&text, "to", "t").to_owned();
                    let contact = header(&text, "contact", "m");
                    let inside = contact.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    call.contact = inside.map_or(contact, |(uri, _)| uri).to_owned();
                    call.answered_ms = Some(at.saturating_sub(call.invited).as_secs_f64() * 1000.0);
                    call.remote = media(&text);
                    call.state = State::Talking;
                    // Spread over the frame, as calls of strangers would be.
                    call.next_send = now() + PTIME.mul_f64((place as f64 * 0.618).fract());
                }
                self.in_dialog(place, "ACK", 1);
            }
            (true, _) => {
                self.in_dialog(place, "ACK", 1);
                self.calls[place].state = State::Failed;
            }
            (false, 200..) => {
                if call.state == State::Leaving {
                    call.state = State::Over;
                }
            }
            (false, _) => {}
        }
    }

    /// Anything the peer asks is answered 200; a BYE ends the call.
    fn handle_request(&mut self, text: &str, from: SocketAddr) {
        if text.starts_with("ACK ") || !text.contains("SIP/2.0") {
            return;
        }
        let mut reply = String::from("SIP/2.0 200 OK\r\n");
        for line in text.lines().take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if ["via", "v", "from", "f", "to", "t", "call-id", "i", "cseq"].contains(&name.as_str()) {
                reply.push_str(line);
                reply.push_str("\r\n");
            }
        }
        reply.push_str("Content-Length: 0\r\n\r\n");
        let _ = self.sip.send_to(reply.as_bytes(), from);
        if text.starts_with("BYE ") {
            let id = header(text, "call-id", "i");
            let place = id.strip_prefix(&format!("{}x", self.run)).and_then(|place| place.parse::<usize>().ok());
            if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
                call.state = State::Over;
            }
        }
    }
}

impl Call {
    fn send_frame(&mut self) {
        let Some(remote) = self.remote else { return };
        let frames = &self.frames;
        let payload = &frames.payloads[self.sent as usize % frames.payloads.len()];
        let mut packet = [0; 1500];
        packet[0] = 0x80;
        packet[1] = frames.payload_type | if self.sent == 0 { 0x80 } else { 0 };
        packet[2..4].copy_from_slice(&(self.sent as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(self.sent as u32).wrapping_mul(frames.step).to_be_bytes());
        packet[8..12].copy_from_slice(&(0x5000_0000 + self.number as u32).to_be_bytes());
        packet[12..12 + payload.len()].copy_from_slice(payload);
        if self.sendings.len() == KEPT {
            self.sendings.pop_front();
        }
        self.sendings.push_back(wall());
        let _ = self.rtp.send_to(&packet[..12 + payload.len()], remote);
        self.sent += 1;
    }

    fn handle_rtp(&mut self, bytes: &[u8], at: Duration) {
        // RTCP on the same port, and what is no RTP.
        if bytes.len() < 12 || bytes[0] >> 6 != 2 || (200..=207).contains(&bytes[1]) {
            return;
        }
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        self.received += 1;
        if let Some((before, then)) = self.last {
            match seq.wrapping_sub(before) {
                1 => self.gaps.push((at.as_secs_f64() - then.as_secs_f64() - PTIME.as_secs_f64()).abs() * 1000.0),
                missing @ 2..=1000 => self.lost += u64::from(missing) - 1,
                _ => {}
            }
        }
        self.first_seq.get_or_insert(seq);
        self.last = Some((seq, at));
        self.find_delay(&bytes[12..], at);
    }

    /// Finds the sound in what was sent, and when that was: a reflector would have no delay.
    fn find_delay(&mut self, payload: &[u8], at: Duration) {
        if self.frames.places.is_empty() {
            return;
        }
        let found = (0..payload.len().saturating_sub(WINDOW - 1)).step_by(8).find_map(|offset| {
            let window: [u8; WINDOW] = payload.get(offset..offset + WINDOW)?.try_into().ok()?;
            Some((self.frames.places.get(&window)?, offset))
        });
        let Some((&place, offset)) = found else {
            self.strange += 1;
            return;
        };
        // The first sample of the payload, as a place in the stream; its frame was sent last in the newest turn of the clip.
        let (length, frame) = (self.frames.payloads.len(), 160);
        let begin = place as i64 - offset as i64;
        let number = begin.div_euclid(frame);
        let within = begin.rem_euclid(frame);
        let newest = self.sent as i64 - 1;
        let turns = (newest - number).div_euclid(length as i64);
        let sent = number + turns * length as i64;
        let oldest = self.sent as i64 - self.sendings.len() as i64;
        let Some(sending) = usize::try_from(sent - oldest).ok().and_then(|place| self.sendings.get(place)) else {
            return;
        };
        let delay = at.as_secs_f64() - sending.as_secs_f64() - within as f64 / 8000.0;
        self.delays.push(delay * 1000.0);
    }
}

fn header<'a>(text: &'a str, long: &str, compact: &str) -> &'a str {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        (name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(compact)).then_some(value.trim())
    });
    value.unwrap_or_default()
}

/// Where the body says that sound should go.
fn media(text: &str) -> Option<SocketAddr> {
    let body = text.split_once("\r\n\r\n")?.1;
    let port = body.lines().find_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()?.parse::<u16>().ok())?;
    let host = body.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?;
    let ip: std::net::Ipv4Addr = host.split('/').next()?.trim().parse().ok()?;
    // Traffic stays here whatever the body says.
    Some(SocketAddr::from((if ip.is_loopback() { ip } else { std::net::Ipv4Addr::LOCALHOST }, port)))
}
