//! The softphone against a scripted peer and against another softphone, message by message.

mod calling;
mod dialogs;
mod moving;
mod registering;
mod ringing;
mod talking;

use super::*;
use crate::api::{EndedBy, Failure};
use crate::media::command::MediaCommand;
use crate::sip::message::{HeaderName, Message, Method, Request, Response, StatusCode};

pub(super) const HERE: &str = "192.0.2.1:5060";
pub(super) const THERE: &str = "192.0.2.2:5060";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
                     m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

pub(super) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One softphone with everything that it sends, says and asks for.
pub(super) struct Phone {
    pub(super) ua: Ua,
    pub(super) now: Instant,
    local: SocketAddr,
    pub(super) sent: VecDeque<(SocketAddr, Message)>,
    pub(super) events: VecDeque<Event>,
    pub(super) media: Vec<MediaCommand>,
    pub(super) leases: usize,
    pub(super) kept_alive: usize,
    next_port: u16,
    deadline: Option<Instant>,
    pub(super) no_lease: bool,
    /// What every name stands for.
    pub(super) resolved: Vec<IpAddr>,
}

impl Phone {
    pub(super) fn new(config: UaConfig) -> Self {
        Self::at(HERE, config)
    }

    pub(super) fn at(local: &str, config: UaConfig) -> Self {
        let local = addr(local);
        let socket = BoundSocket { socket: SocketId(1), local };
        let now = Instant::ZERO;
        let ua = Ua::new(now, config, vec![socket], Vec::new(), [local.ip().to_string().len() as u8; 32]);
        let mut phone = Self {
            ua,
            now,
            local,
            sent: VecDeque::new(),
            events: VecDeque::new(),
            media: Vec::new(),
            leases: 0,
            kept_alive: 0,
            next_port: 20_000,
            deadline: None,
            no_lease: false,
            resolved: Vec::new(),
        };
        phone.drain();
        phone
    }

    pub(super) fn drain(&mut self) {
        loop {
            match self.ua.poll_output() {
                Output::Transmit(transmit) if transmit.bytes == b"\r\n\r\n" => self.kept_alive += 1,
                Output::Transmit(transmit) => {
                    let message = Message::parse(&transmit.bytes).expect("we send what can be read");
                    self.sent.push_back((transmit.flow.peer, message));
                }
                Output::Connect { .. } | Output::Close(_) => {}
                Output::Resolve { id, .. } => {
                    let record = |ip: &IpAddr| Record { data: crate::engine::RecordData::Addr(*ip), ttl: 0 };
                    let records: Vec<_> = self.resolved.iter().map(record).collect();
                    let answer = if records.is_empty() { Err(ResolveError::NotFound) } else { Ok(records) };
                    self.ua.handle_resolved(self.now, id, answer);
                }
                Output::LocalAddress { id, .. } => {
                    self.ua.handle_local_address(self.now, id, Ok(self.local.ip()));
                }
                Output::Lease { id, local, .. } => {
                    assert_eq!(local, self.local.ip(), "the address that is announced");
                    let answer = if self.no_lease {
                        Err(NoLease)
                    } else {
                        self.leases += 1;
                        self.next_port += 2;
                        Ok(Lease {
                            set: crate::id::SetId(0),
                            rtp: SocketId(u32::from(self.next_port)),
                            rtcp: SocketId(u32::from(self.next_port) + 1),
                            rtp_addr: SocketAddr::new(local, self.next_port),
                            rtcp_addr: SocketAddr::new(local, self.next_port + 1),
                        })
                    };
                    self.ua.handle_lease(self.now, id, answer);
                }
                Output::Release(_) => self.leases -= 1,
                Output::Media(id, command) => {
                    let closed = matches!(command, MediaCommand::Close);
                    self.media.push(command);
                    if closed {
                        self.ua.handle_media(self.now, id, MediaEvent::Closed(Box::default()));
                    }
                }
                Output::Event(event) => self.events.push_back(event),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return;
                }
            }
        }
    }

    pub(super) fn command(&mut self, command: Command) -> Result<Reply, CommandError> {
        let reply = self.ua.handle_command(self.now, command);
        self.drain();
        reply
    }

    pub(super) fn dial(&mut self, target: &str) -> CallHandle {
        match self.command(Command::Dial { target: target.into(), account: None, audio: None }) {
            Ok(Reply::Call(call)) => call,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn receive(&mut self, message: impl Into<Message>) {
        self.receive_from(THERE, message);
    }

    pub(super) fn receive_from(&mut self, source: &str, message: impl Into<Message>) {
        let bytes = message.into().encode();
        self.ua.handle_datagram(self.now, SocketId(1), self.local, addr(source), &bytes);
        self.drain();
    }

    /// Lets time pass, timer by timer.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            match self.deadline {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.ua.handle_timeout(self.now);
                    self.drain();
                }
                Some(_) | None => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the timers do not come to rest");
    }

    #[track_caller]
    pub(super) fn request(&mut self, method: Method) -> Request {
        match self.sent.pop_front() {
            Some((_, Message::Request(request))) if request.method == method => request,
            other => panic!("{method} expected, got {other:#?}"),
        }
    }

    #[track_caller]
    pub(super) fn response(&mut self, code: u16) -> Response {
        match self.sent.pop_front() {
            Some((_, Message::Response(response))) if response.status.code() == code => response,
            other => panic!("{code} expected, got {other:#?}"),
        }
    }

    #[track_caller]
    pub(super) fn silent(&self) {
        assert!(self.sent.is_empty(), "{:#?}", self.sent);
    }

    #[track_caller]
    pub(super) fn event(&mut self) -> Event {
        self.events.pop_front().expect("an event")
    }

    /// How the call ended: by whom, status, slug.
    #[track_caller]
    pub(super) fn ended(&mut self) -> (EndedBy, Option<u16>, Option<Failure>) {
        loop {
            if let Event::CallEnded { by, code, failure, .. } = self.event() {
                return (by, code, failure);
            }
        }
    }

    /// Nothing is left: no call, no transaction, no socket.
    #[track_caller]
    pub(super) fn assert_quiet(&mut self) {
        self.run(Duration::from_secs(70));
        assert!(self.ua.lines.is_empty(), "{:#?}", self.ua.lines);
        assert!(self.ua.calls.is_empty(), "{:#?}", self.ua.calls);
        assert!(self.ua.is_quiet(), "{:#?}", self.ua.endpoint);
        assert_eq!(self.leases, 0, "sockets that were not given back");
    }
}

/// A response of the scripted peer.
pub(super) fn reply(request: &Request, code: u16, tag: &str) -> Response {
    let mut response = Response::to(request, status(code), (!tag.is_empty()).then_some(tag));
    if request.method == Method::Invite && code < 300 {
        response.headers.set(HeaderName::CONTACT, format!("<sip:bob@{THERE}>"));
    }
    response
}

pub(super) fn with_sdp(mut response: Response, sdp: &str) -> Response {
    response.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
    response.body = sdp.as_bytes().to_vec();
    response
}

pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::new(code).expect("a status")
}

/// A request of the scripted peer outside any dialog.
pub(super) fn invite(branch: &str, body: Option<&str>) -> Request {
    let mut request = Request::new(Method::Invite, "sip:alice@192.0.2.1".parse().expect("a URI"));
    let headers = &mut request.headers;
    headers.push(HeaderName::VIA, format!("SIP/2.0/UDP {THERE};branch=z9hG4bK{branch};rport"));
    headers.push(HeaderName::MAX_FORWARDS, "70");
    headers.push(HeaderName::FROM, "\"Bob\" <sip:bob@192.0.2.2>;tag=bob");
    headers.push(HeaderName::TO, "<sip:alice@192.0.2.1>");
    headers.push(HeaderName::CALL_ID, "from-bob");
    headers.push(HeaderName::CSEQ, "1 INVITE");
    headers.push(HeaderName::CONTACT, format!("<sip:bob@{THERE}>"));
    if let Some(body) = body {
        headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
        request.body = body.as_bytes().to_vec();
    }
    request
}

/// A request of the scripted peer inside the dialog that our `answer` (to its INVITE) made.
pub(super) fn inside(method: Method, seq: u32, answer: &Response) -> Request {
    let mut request = Request::new(method.clone(), answer.headers.contact().expect("our contact").uri);
    let headers = &mut request.headers;
    headers.push(HeaderName::VIA, format!("SIP/2.0/UDP {THERE};branch=z9hG4bK{method}{seq};rport"));
    headers.push(HeaderName::MAX_FORWARDS, "70");
    headers.push(HeaderName::FROM, answer.headers.get(&HeaderName::FROM).expect("From"));
    headers.push(HeaderName::TO, answer.headers.get(&HeaderName::TO).expect("To"));
    headers.push(HeaderName::CALL_ID, answer.headers.get(&HeaderName::CALL_ID).expect("Call-ID"));
    headers.push(HeaderName::CSEQ, format!("{seq} {method}"));
    headers.push(HeaderName::CONTACT, format!("<sip:bob@{THERE}>"));
    request
}

/// A request of the scripted peer, the callee, inside the dialog that its 2xx to our `invite` made.
pub(super) fn callee(method: Method, seq: u32, invite: &Request, tag: &str) -> Request {
    let mut request = Request::new(method.clone(), invite.headers.contact().expect("our contact").uri);
    let headers = &mut request.headers;
    headers.push(HeaderName::VIA, format!("SIP/2.0/UDP {THERE};branch=z9hG4bK{method}{seq}c;rport"));
    headers.push(HeaderName::MAX_FORWARDS, "70");
    let to = invite.headers.to().expect("To");
    headers.push(HeaderName::FROM, to.with_param("tag", tag).to_string());
    headers.push(HeaderName::TO, invite.headers.get(&HeaderName::FROM).expect("From"));
    headers.push(HeaderName::CALL_ID, invite.headers.get(&HeaderName::CALL_ID).expect("Call-ID"));
    headers.push(HeaderName::CSEQ, format!("{seq} {method}"));
    headers.push(HeaderName::CONTACT, format!("<sip:bob@{THERE}>"));
    request
}

#[test]
fn two_phones_call_each_other_talk_and_hang_up() {
    let mut alice = Phone::new(UaConfig::default());
    let mut bob = Phone::at(THERE, UaConfig::default());
    let pump = |alice: &mut Phone, bob: &mut Phone| {
        while !alice.sent.is_empty() || !bob.sent.is_empty() {
            while let Some((_, message)) = alice.sent.pop_front() {
                bob.receive_from(HERE, message);
            }
            while let Some((_, message)) = bob.sent.pop_front() {
                alice.receive_from(THERE, message);
            }
        }
    };
    let call = alice.dial("sip:bob@192.0.2.2");
    pump(&mut alice, &mut bob);
    assert!(matches!(bob.event(), Event::CallIncoming { call: CallHandle(1), .. }));
    assert!(matches!(alice.event(), Event::CallOutgoing { .. }));
    assert!(matches!(alice.event(), Event::CallRinging { code: 180, .. }));
    bob.command(Command::Answer { call: CallHandle(1), audio: None }).expect("it rings");
    pump(&mut alice, &mut bob);
    let (Event::CallAnswered { audio: ours, .. }, Event::CallAnswered { audio: theirs, .. }) =
        (alice.event(), bob.event())
    else {
        panic!("answered at both ends");
    };
    assert_eq!(ours.map(|audio| audio.codec), theirs.map(|audio| audio.codec));
    assert!(matches!(alice.media.first(), Some(MediaCommand::Open { .. })));
    assert!(matches!(bob.media.first(), Some(MediaCommand::Open { .. })));
    alice.command(Command::HangUp { call }).expect("it is up");
    pump(&mut alice, &mut bob);
    assert!(matches!(alice.event(), Event::CallEnded { by: EndedBy::Local, failure: None, .. }));
    assert!(matches!(bob.event(), Event::CallEnded { by: EndedBy::Remote, failure: None, .. }));
    alice.assert_quiet();
    bob.assert_quiet();
}
