//! A registered phone that the test plays by hand: digest and dialogs are done for it, every message is its own choice.

use super::script::Server;
use super::{NodeId, World};
use bellwire::rng::Rng;
use bellwire::secret::Secret;
use bellwire::sip::auth::{Credentials, DigestClient};
use bellwire::sip::dialog::Dialog;
use bellwire::sip::message::{CSeq, HeaderName, Message, Method, Request, Response};

/// A phone at `ip`:5060 with a user of the PBX.
pub struct Hand {
    pub server: Server,
    pub user: &'static str,
    ip: &'static str,
    pbx: &'static str,
    rng: Rng,
    digest: DigestClient,
    seq: u32,
}

impl Hand {
    pub fn new(world: &mut World, user: &'static str, ip: &'static str, pbx: &'static str, password: &str) -> Self {
        let server = Server::new(world, user, ip);
        let mut seed = [7; 32];
        for (slot, byte) in seed.iter_mut().zip(ip.bytes()) {
            *slot = byte;
        }
        let password = Secret::new(password.to_owned());
        let digest = DigestClient::new(Credentials { user: user.to_owned(), password, realm: None });
        Self { server, user, ip, pbx, rng: Rng::new(seed), digest, seq: 0 }
    }

    pub fn node(&self) -> NodeId {
        self.server.0
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{}:5060>", self.user, self.ip)
    }

    fn stamp(&mut self, request: &mut Request) {
        let via = format!("SIP/2.0/UDP {}:5060;rport;branch={}", self.ip, self.rng.branch());
        request.headers.remove(&HeaderName::VIA);
        request.headers.push_front(HeaderName::VIA, via);
    }

    /// A request outside any dialog; `to` is the user called, or the own for REGISTER.
    pub fn request(&mut self, method: Method, to: &str) -> Request {
        self.seq += 1;
        let uri = match method {
            Method::Register => format!("sip:{}", self.pbx),
            _ => format!("sip:{to}@{}", self.pbx),
        };
        let mut request = Request::new(method.clone(), uri.parse().expect("a URI"));
        let aor = format!("sip:{}@{}", self.user, self.pbx);
        for (name, value) in [
            (HeaderName::MAX_FORWARDS, "70".to_owned()),
            (HeaderName::FROM, format!("<{aor}>;tag={}", self.rng.tag())),
            (HeaderName::TO, format!("<sip:{to}@{}>", self.pbx)),
            (HeaderName::CALL_ID, self.rng.token(64)),
            (HeaderName::CSEQ, CSeq { seq: self.seq, method }.to_string()),
            (HeaderName::CONTACT, self.contact()),
        ] {
            request.headers.push(name, value);
        }
        self.stamp(&mut request);
        request
    }

    pub fn send(&self, world: &mut World, message: impl Into<Message>) {
        let text = String::from_utf8(message.into().encode()).expect("we write text");
        world.say(self.server.0, &format!("{}:5060", self.pbx), &text);
    }

    /// The next response but 100; a request is a fault of the test.
    pub fn response(&self, world: &mut World) -> Response {
        loop {
            let (_, text) = world.hear(self.server.0);
            match Message::parse(text.as_bytes()) {
                Ok(Message::Response(response)) if response.status.code() == 100 => {}
                Ok(Message::Response(response)) => return response,
                Err(_) if !text.contains("SIP/2.0") => {} // sound for another port
                other => world.fail(&format!("{} expected a response, got {other:?}", self.user)),
            }
        }
    }

    /// Sends, takes the challenge, sends again with credentials; gives back what was sent last.
    pub fn ask(&mut self, world: &mut World, mut request: Request) -> Request {
        self.send(world, request.clone());
        let challenge = self.response(world);
        assert_eq!(challenge.status.code(), 401, "{challenge:?}");
        if request.method == Method::Invite {
            self.acknowledge_failure(world, &request, &challenge);
        }
        self.digest.authorize(&mut self.rng, &challenge, &mut request).expect("a challenge that we can answer");
        self.seq += 1;
        let method = request.method.clone();
        request.headers.set(HeaderName::CSEQ, CSeq { seq: self.seq, method }.to_string());
        self.stamp(&mut request);
        self.send(world, request.clone());
        request
    }

    /// Answers the challenge among what was heard, right or wrong.
    pub fn guess(
        &mut self,
        world: &mut World,
        mut request: Request,
        heard: &[(std::net::SocketAddr, std::net::SocketAddr, Vec<u8>)],
    ) {
        let challenge = heard.iter().find_map(|(_, _, bytes)| match Message::parse(bytes) {
            Ok(Message::Response(response)) if response.status.code() == 401 => Some(response),
            Ok(_) | Err(_) => None,
        });
        let challenge = challenge.expect("a challenge");
        self.digest.authorize(&mut self.rng, &challenge, &mut request).expect("a challenge that we can answer");
        self.stamp(&mut request);
        self.send(world, request);
    }

    /// Registers for an hour.
    pub fn register(&mut self, world: &mut World) {
        let mut request = self.request(Method::Register, self.user);
        request.headers.push(HeaderName::EXPIRES, "3600");
        self.ask(world, request);
        assert_eq!(self.response(world).status.code(), 200);
    }

    /// Calls `to`, with an offer or without.
    pub fn invite(&mut self, world: &mut World, to: &str, sdp: Option<&str>) -> Request {
        let mut request = self.request(Method::Invite, to);
        if let Some(sdp) = sdp {
            request.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
            request.body = sdp.into();
        }
        self.ask(world, request)
    }

    /// The ACK for a 2xx, with an answer if there was an offer in it; gives back the dialog.
    pub fn acknowledge(&mut self, world: &mut World, invite: &Request, ok: &Response, sdp: Option<&str>) -> Dialog {
        let dialog = Dialog::uac(invite, ok).expect("a dialog");
        let mut ack = dialog.ack_for(invite).expect("an ACK");
        if let Some(sdp) = sdp {
            ack.headers.set(HeaderName::CONTENT_TYPE, "application/sdp");
            ack.body = sdp.into();
        }
        self.stamp(&mut ack);
        self.send(world, ack);
        dialog
    }

    /// A request inside a dialog.
    pub fn inside(&mut self, world: &mut World, dialog: &mut Dialog, method: Method, sdp: Option<&str>) -> Request {
        let mut request = dialog.request(method.clone());
        if method == Method::Invite {
            request.headers.push(HeaderName::CONTACT, self.contact());
        }
        if let Some(sdp) = sdp {
            request.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
            request.body = sdp.into();
        }
        self.stamp(&mut request);
        self.send(world, request.clone());
        request
    }

    fn acknowledge_failure(&self, world: &mut World, invite: &Request, response: &Response) {
        let mut ack = Request::new(Method::Ack, invite.uri.clone());
        for name in [HeaderName::VIA, HeaderName::FROM, HeaderName::CALL_ID] {
            ack.headers.push(name.clone(), invite.headers.get(&name).expect("we wrote it"));
        }
        ack.headers.push(HeaderName::TO, response.headers.get(&HeaderName::TO).expect("a To"));
        let seq = invite.headers.cseq().expect("a CSeq").seq;
        ack.headers.push(HeaderName::CSEQ, CSeq { seq, method: Method::Ack }.to_string());
        ack.headers.push(HeaderName::MAX_FORWARDS, "70");
        self.send(world, ack);
    }
}

/// A description with one audio line.
pub fn sdp(ip: &str, port: u16, formats: &str, direction: &str, version: u32) -> String {
    format!(
        "v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\na={direction}\r\n"
    )
}
