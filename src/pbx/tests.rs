//! Dialogues with the PBX: phones are written messages, sockets and media sessions are granted by the lab.

mod bridges;
mod doors;
mod extensions;
mod registrations;

use super::requests::ALLOWED;
use super::*;
use crate::id::SetId;
use crate::media::command::{MediaCommand, MediaStats};
use crate::secret::Secret;
use crate::sip::auth::{Credentials, DigestClient};
use crate::sip::message::{CSeq, HeaderName, Message, Method, Request, Response, StatusCode};
use crate::time::Duration;

const PBX: &str = "192.0.2.1:5060";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn code(status: u16) -> StatusCode {
    StatusCode::new(status).expect("a status")
}

/// The PBX with everything around it.
struct Lab {
    pbx: Pbx,
    now: Instant,
    inbox: BTreeMap<SocketAddr, VecDeque<Message>>,
    media: Vec<(MediaId, MediaCommand)>,
    events: Vec<Event>,
    leased: u16,
    released: u16,
    no_leases: bool,
    due: Option<Instant>,
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut PbxConfig)) -> Self {
        let user = |name: &str| PbxUser::new(name, "pbx.example", &Secret::new(format!("{name}-secret")));
        let mut config = PbxConfig {
            realm: "pbx.example".to_owned(),
            users: ["alice", "bob", "carol"].map(user).into(),
            ..PbxConfig::default()
        };
        change(&mut config);
        let now = Instant::ZERO + Duration::from_secs(1000);
        let socket = BoundSocket { socket: SocketId(1), local: addr(PBX) };
        let mut lab = Self {
            pbx: Pbx::new(now, config, vec![socket], Vec::new(), [5; 32]),
            now,
            inbox: BTreeMap::new(),
            media: Vec::new(),
            events: Vec::new(),
            leased: 0,
            released: 0,
            no_leases: false,
            due: None,
        };
        lab.drain();
        lab
    }

    fn send(&mut self, from: SocketAddr, message: &[u8]) {
        self.pbx.handle_datagram(self.now, SocketId(1), addr(PBX), from, message);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.pbx.poll_output() {
                Output::Transmit(transmit) => {
                    let message = Message::parse(&transmit.bytes).expect("the PBX sends SIP");
                    self.inbox.entry(transmit.flow.peer).or_default().push_back(message);
                }
                Output::Lease { id, local, .. } => {
                    let answer = if self.no_leases { Err(NoLease) } else { Ok(self.lease(local)) };
                    self.pbx.handle_lease(self.now, id, answer);
                }
                Output::Release(_) => self.released += 1,
                Output::Media(media, command) => {
                    let closes = command == MediaCommand::Close;
                    self.media.push((media, command));
                    if closes {
                        let stats = Box::new(MediaStats::default());
                        self.pbx.handle_media(self.now, media, MediaEvent::Closed(stats));
                    }
                }
                Output::LocalAddress { id, .. } => {
                    self.pbx.handle_local_address(self.now, id, Ok(addr(PBX).ip()));
                }
                Output::Event(event) => self.events.push(event),
                Output::Connect { .. } | Output::Close(_) | Output::Resolve { .. } => {
                    panic!("the PBX leaves its flows")
                }
                Output::Timeout(due) => {
                    self.due = due;
                    return;
                }
            }
        }
    }

    fn lease(&mut self, local: IpAddr) -> Lease {
        let port = 10_000 + 2 * self.leased;
        self.leased += 1;
        Lease {
            set: SetId(0),
            rtp: SocketId(port.into()),
            rtcp: SocketId(u32::from(port) + 1),
            rtp_addr: SocketAddr::new(local, port),
            rtcp_addr: SocketAddr::new(local, port + 1),
        }
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.due.filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.pbx.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn media(&mut self, media: MediaId, event: MediaEvent) {
        self.pbx.handle_media(self.now, media, event);
        self.drain();
    }

    /// The next message for a phone but 100 Trying.
    fn next(&mut self, phone: &Phone) -> Option<Message> {
        let inbox = self.inbox.entry(phone.addr).or_default();
        inbox.retain(|message| !matches!(message, Message::Response(response) if response.status.code() == 100));
        inbox.pop_front()
    }

    fn response(&mut self, phone: &Phone) -> Response {
        match self.next(phone) {
            Some(Message::Response(response)) => response,
            other => panic!("{} got no response: {other:?}", phone.user),
        }
    }

    fn request(&mut self, phone: &Phone) -> Request {
        match self.next(phone) {
            Some(Message::Request(request)) => request,
            other => panic!("{} got no request: {other:?}", phone.user),
        }
    }

    /// The states of calls that were reported since the last time.
    fn states(&mut self) -> Vec<(String, Option<u16>)> {
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(|event| if let Event::PbxCall { state, code, .. } = event { Some((state, code)) } else { None })
            .collect()
    }

    /// Lets all transactions die and checks that nothing is left.
    fn assert_quiet(&mut self) {
        self.advance(Duration::from_secs(70));
        assert_eq!(self.leased, self.released, "sockets are held");
        assert!(self.pbx.is_quiet());
        assert!(self.pbx.owners.is_empty());
    }
}

/// A phone at an address.
struct Phone {
    user: &'static str,
    addr: SocketAddr,
    rng: Rng,
    digest: DigestClient,
    seq: u32,
}

impl Phone {
    fn new(user: &'static str, at: &str) -> Self {
        Self::with_password(user, at, &format!("{user}-secret"))
    }

    fn with_password(user: &'static str, at: &str, password: &str) -> Self {
        let addr = addr(at);
        let mut seed = [0; 32];
        for (slot, byte) in seed.iter_mut().zip(at.bytes()) {
            *slot = byte;
        }
        let credentials =
            Credentials { user: user.to_owned(), password: Secret::new(password.to_owned()), realm: None };
        Self { user, addr, rng: Rng::new(seed), digest: DigestClient::new(credentials), seq: 0 }
    }

    fn aor(&self) -> String {
        format!("sip:{}@pbx.example", self.user)
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.addr)
    }

    /// A request outside any dialog.
    fn new_request(&mut self, method: Method, target: &str) -> Request {
        self.seq += 1;
        let mut request = Request::new(method.clone(), target.parse().expect("a URI"));
        let to = if method == Method::Register { self.aor() } else { target.to_owned() };
        let via = format!("SIP/2.0/UDP {};rport;branch={}", self.addr, self.rng.branch());
        for (name, value) in [
            (HeaderName::VIA, via),
            (HeaderName::MAX_FORWARDS, "70".to_owned()),
            (HeaderName::FROM, format!("\"{}\" <{}>;tag={}", self.user, self.aor(), self.rng.tag())),
            (HeaderName::TO, format!("<{to}>")),
            (HeaderName::CALL_ID, self.rng.token(64)),
            (HeaderName::CSEQ, CSeq { seq: self.seq, method }.to_string()),
            (HeaderName::CONTACT, self.contact()),
        ] {
            request.headers.push(name, value);
        }
        request
    }

    fn register(&mut self, expires: u32) -> Request {
        let mut request = self.new_request(Method::Register, "sip:pbx.example");
        request.headers.push(HeaderName::EXPIRES, expires.to_string());
        request
    }

    fn invite(&mut self, target: &str) -> Request {
        let mut request = self.new_request(Method::Invite, target);
        request.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
        request.body = OFFER.into();
        request
    }

    /// The same request with credentials for `challenge`.
    fn again(&mut self, mut request: Request, challenge: &Response) -> Request {
        self.digest.authorize(&mut self.rng, challenge, &mut request).expect("the PBX asks what we know");
        self.seq += 1;
        let method = request.method.clone();
        request.headers.set(HeaderName::CSEQ, CSeq { seq: self.seq, method }.to_string());
        let via = format!("SIP/2.0/UDP {};rport;branch={}", self.addr, self.rng.branch());
        request.headers.set(HeaderName::VIA, via);
        request
    }

    /// Sends a request, takes the challenge and sends it again; gives back what was sent last.
    fn ask(&mut self, lab: &mut Lab, request: Request) -> Request {
        lab.send(self.addr, &request.encode());
        let challenge = lab.response(self);
        assert_eq!(challenge.status.code(), 401);
        let request = self.again(request, &challenge);
        lab.send(self.addr, &request.encode());
        request
    }

    /// Registers and says how it went.
    fn registers(&mut self, lab: &mut Lab, expires: u32) -> Response {
        let request = self.register(expires);
        self.ask(lab, request);
        lab.response(self)
    }

    /// Answers a request.
    fn answer(&self, lab: &mut Lab, request: &Request, status: u16, body: &str) {
        let mut response = Response::to(request, code(status), Some(&format!("{}-tag", self.user)));
        response.headers.push(HeaderName::CONTACT, self.contact());
        if !body.is_empty() {
            response.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
            response.body = body.into();
        }
        lab.send(self.addr, &response.encode());
    }

    /// A request inside the dialog that `ok` made with `invite`, or that this phone accepted.
    fn inside(&mut self, dialog: &mut crate::sip::dialog::Dialog, method: Method) -> Request {
        let mut request = dialog.request(method);
        self.stamp(&mut request);
        request
    }

    fn ack(&mut self, lab: &mut Lab, invite: &Request, ok: &Response) -> crate::sip::dialog::Dialog {
        let dialog = crate::sip::dialog::Dialog::uac(invite, ok).expect("a dialog");
        let mut ack = dialog.ack_for(invite).expect("an ACK");
        self.stamp(&mut ack);
        lab.send(self.addr, &ack.encode());
        dialog
    }

    fn stamp(&mut self, request: &mut Request) {
        let via = format!("SIP/2.0/UDP {};rport;branch={}", self.addr, self.rng.branch());
        request.headers.push_front(HeaderName::VIA, via);
        if matches!(request.method, Method::Invite) {
            request.headers.push(HeaderName::CONTACT, self.contact());
        }
    }

    /// The ACK for a failed INVITE: same branch.
    fn ack_failure(&self, lab: &mut Lab, invite: &Request, response: &Response) {
        let mut ack = Request::new(Method::Ack, invite.uri.clone());
        let headers = &mut ack.headers;
        headers.push(HeaderName::VIA, invite.headers.get(&HeaderName::VIA).expect("a Via"));
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::FROM, invite.headers.get(&HeaderName::FROM).expect("From"));
        headers.push(HeaderName::TO, response.headers.get(&HeaderName::TO).expect("To"));
        headers.push(HeaderName::CALL_ID, invite.headers.call_id().expect("Call-ID"));
        let seq = invite.headers.cseq().expect("CSeq").seq;
        headers.push(HeaderName::CSEQ, CSeq { seq, method: Method::Ack }.to_string());
        lab.send(self.addr, &ack.encode());
    }

    fn cancel(&self, lab: &mut Lab, invite: &Request) {
        let mut cancel = Request::new(Method::Cancel, invite.uri.clone());
        let headers = &mut cancel.headers;
        for name in [HeaderName::VIA, HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID] {
            headers.push(name.clone(), invite.headers.get(&name).expect("a header"));
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        let seq = invite.headers.cseq().expect("CSeq").seq;
        headers.push(HeaderName::CSEQ, CSeq { seq, method: Method::Cancel }.to_string());
        lab.send(self.addr, &cancel.encode());
    }
}

fn body(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
