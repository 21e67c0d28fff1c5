//! A peer that the test plays by hand: what it says is made from the text that it heard, so that any part can be wrong.

use super::{NodeId, World};
use bellwire::api::{Command, Event};
use bellwire::id::CallHandle;
use bellwire::media::codec::{self, EncoderSettings};
use bellwire::media::packet::RtpPacket;
use bellwire::media::tones::Tone;
use bellwire::time::Duration;
use bellwire::ua::UaConfig;

/// The phone under test and the peer, where SIP and RTP of the peer come from.
pub const ALICE: &str = "10.0.0.1:5060";
pub const BOB: &str = "10.0.0.9:5060";
pub const BOB_RTP: u16 = 4000;

/// One phone and one scripted peer on a clean link.
pub struct Scene {
    pub world: World,
    pub alice: NodeId,
    pub bob: NodeId,
}

impl Scene {
    pub fn new(config: UaConfig) -> Self {
        let mut world = World::new(77);
        let alice = world.ua("alice", &["10.0.0.1"], config);
        let bob = world.script("bob", "10.0.0.9");
        Self { world, alice, bob }
    }

    /// Alice dials bob, who has heard the INVITE.
    pub fn dialled(config: UaConfig) -> (Self, CallHandle, String) {
        let mut scene = Self::new(config);
        let call = scene.world.dial(scene.alice, "sip:bob@10.0.0.9");
        let invite = scene.hear("INVITE");
        (scene, call, invite)
    }

    /// Alice has called bob, who answered with tag `b`; gives bob's side of the dialog.
    pub fn answered(config: UaConfig) -> (Self, CallHandle, Dialog) {
        let (mut scene, call, invite) = Self::dialled(config);
        scene.say(&ok(&invite, "b"));
        scene.hear("ACK");
        scene.world.run_until(scene.alice, |event| matches!(event, Event::CallAnswered { .. }));
        (scene, call, Dialog::of_callee(&invite, "b"))
    }

    /// Bob has called alice, who answered, and has acknowledged; gives bob's side of the dialog.
    pub fn called(config: UaConfig) -> (Self, CallHandle, Dialog) {
        let mut scene = Self::new(config);
        let call = scene.ring(&invite("in", &sdp("10.0.0.9", BOB_RTP)));
        scene.answer(call);
        let answer = scene.hear("200");
        let dialog = Dialog::of_caller(&answer);
        let ack = dialog.ack(1, "");
        scene.say(&ack);
        scene.world.run_until(scene.alice, |event| matches!(event, Event::CallAnswered { .. }));
        (scene, call, dialog)
    }

    /// Sends this INVITE, and alice rings.
    pub fn ring(&mut self, invite: &str) -> CallHandle {
        self.say(invite);
        let event = self.world.run_until(self.alice, |event| matches!(event, Event::CallIncoming { .. }));
        let Event::CallIncoming { call, .. } = event else { unreachable!("just matched") };
        self.hear("180");
        call
    }

    pub fn answer(&mut self, call: CallHandle) {
        self.world.command(self.alice, Command::Answer { call, audio: None }).expect("it rings");
    }

    pub fn hang_up(&mut self, call: CallHandle) {
        self.world.command(self.alice, Command::HangUp { call }).expect("it is live");
    }

    pub fn say(&mut self, text: &str) {
        self.world.say(self.bob, ALICE, text);
    }

    /// The next SIP message to bob, which must be this method or status. 100 is passed over.
    #[track_caller]
    pub fn hear(&mut self, wanted: &str) -> String {
        loop {
            let (_, text) = self.world.hear(self.bob);
            let word = word(&text);
            if word == wanted {
                return text;
            }
            if word != "100" {
                self.world.fail(&format!("{wanted} expected, bob heard\n{text}"));
            }
        }
    }

    /// Everything that bob hears meanwhile: methods and statuses.
    pub fn hear_for(&mut self, time: Duration) -> Vec<String> {
        self.world.run_for(time);
        std::iter::from_fn(|| self.world.hear_now(self.bob)).map(|(_, text)| word(&text)).collect()
    }

    /// Nothing comes to bob for a second.
    #[track_caller]
    pub fn silent(&mut self) {
        let heard = self.hear_for(Duration::from_secs(1));
        assert!(heard.is_empty(), "bob heard {heard:?}");
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.world.events(self.alice).into_iter().filter(|event| wanted(event)).count()
    }

    /// The end of alice's (latest) call.
    #[track_caller]
    pub fn ended(&mut self) -> Event {
        self.world.run_until(self.alice, |event| matches!(event, Event::CallEnded { .. }))
    }

    /// Alice hangs up an established call; bob agrees.
    #[track_caller]
    pub fn finish(&mut self, call: CallHandle) {
        self.hang_up(call);
        let bye = self.hear("BYE");
        self.say(&reply(&bye, "200 OK", "", "", ""));
        self.ended();
        self.world.assert_quiet();
    }

    /// Bob's sound for so long: packets of 20 ms from this stream. Gives how many of alice's arrived per port meanwhile.
    pub fn stream(&mut self, sound: &mut Stream, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            let packet = sound.packet();
            self.world.say_bytes(self.bob, sound.from, sound.to, packet);
            self.world.run_for(Duration::from_millis(20));
        }
    }
}

/// Method or status of a message.
pub fn word(text: &str) -> String {
    let mut words = text.split(' ');
    let first = words.next().unwrap_or_default();
    (if first == "SIP/2.0" { words.next().unwrap_or_default() } else { first }).to_owned()
}

/// The lines of a header in the order they came, with their name.
pub fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let named = |line: &&str| line.split(':').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(name));
    head.lines().skip(1).filter(named).collect()
}

/// The value of the first header of this name; empty without one.
pub fn header<'a>(text: &'a str, name: &str) -> &'a str {
    lines(text, name).first().and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
}

pub fn body(text: &str) -> &str {
    text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The address in angle brackets.
pub fn uri_of(value: &str) -> &str {
    let from = value.find('<').map_or(0, |at| at + 1);
    value[from..].split(['>', ';']).next().unwrap_or_default()
}

/// Where the SDP of a message says that RTP is to go.
pub fn rtp_of(text: &str) -> std::net::SocketAddr {
    let line =
        |start: &str| body(text).lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default().to_owned();
    let ip = line("c=IN IP4 ").parse().expect("an address in c=");
    let port = line("m=audio ").split(' ').next().unwrap_or_default().parse().expect("a port in m=");
    std::net::SocketAddr::new(ip, port)
}

/// A description with PCMU and digits.
pub fn sdp(ip: &str, port: u16) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
         a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
}

/// The same a version later.
pub fn later(sdp: &str) -> String {
    sdp.replace("o=- 1 1 ", "o=- 1 2 ")
}

fn sized(head: String, more: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!("{head}{more}{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A response to what was heard. `more` are whole header lines.
pub fn reply(request: &str, status: &str, tag: &str, more: &str, body: &str) -> String {
    let mut head = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
        for line in lines(request, name) {
            head += line;
            if name == "To" && !tag.is_empty() && !line.contains(";tag=") {
                head += &format!(";tag={tag}");
            }
            head += "\r\n";
        }
    }
    sized(head, more, body)
}

/// 200 with bob's Contact and description.
pub fn ok(invite: &str, tag: &str) -> String {
    reply(invite, "200 OK", tag, CONTACT, &sdp("10.0.0.9", BOB_RTP))
}

pub const CONTACT: &str = "Contact: <sip:bob@10.0.0.9:5060>\r\n";

/// An INVITE of bob's, without offer if `sdp` is empty.
pub fn invite(id: &str, sdp: &str) -> String {
    let head = format!(
        "INVITE sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch=z9hG4bK{id};rport\r\nMax-Forwards: 70\r\n\
         From: \"Bob\" <sip:bob@10.0.0.9>;tag=bob\r\nTo: <sip:alice@10.0.0.1>\r\nCall-ID: {id}@10.0.0.9\r\n\
         CSeq: 1 INVITE\r\n"
    );
    sized(head, CONTACT, sdp)
}

/// Bob's side of a dialog.
#[derive(Clone)]
pub struct Dialog {
    pub uri: String,
    pub from: String,
    pub to: String,
    pub call_id: String,
    pub seq: u32,
}

impl Dialog {
    /// Bob was called and answered with this tag.
    pub fn of_callee(invite: &str, tag: &str) -> Self {
        Self {
            uri: uri_of(header(invite, "Contact")).to_owned(),
            from: format!("{};tag={tag}", header(invite, "To")),
            to: header(invite, "From").to_owned(),
            call_id: header(invite, "Call-ID").to_owned(),
            seq: 0,
        }
    }

    /// Bob called, and this is alice's answer.
    pub fn of_caller(answer: &str) -> Self {
        Self {
            uri: uri_of(header(answer, "Contact")).to_owned(),
            from: header(answer, "From").to_owned(),
            to: header(answer, "To").to_owned(),
            call_id: header(answer, "Call-ID").to_owned(),
            seq: 1,
        }
    }

    /// The next request.
    pub fn request(&mut self, method: &str, more: &str, body: &str) -> String {
        self.seq += 1;
        self.with_seq(method, self.seq, more, body)
    }

    pub fn ack(&self, seq: u32, body: &str) -> String {
        self.with_seq("ACK", seq, "", body)
    }

    pub fn with_seq(&self, method: &str, seq: u32, more: &str, body: &str) -> String {
        let Self { uri, from, to, call_id, .. } = self;
        // One branch for an INVITE, its CANCEL and the ACK of its refusal, another for the ACK of a 2xx.
        let kind = match method {
            "INVITE" => 'i',
            "ACK" => 'a',
            _ => 'r',
        };
        let branch = format!("z9hG4bK{}{kind}{seq}{}", call_id.len(), from.len());
        let head = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {BOB};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {seq} {method}\r\n"
        );
        let more = if matches!(method, "INVITE" | "UPDATE") && !more.contains("Contact:") {
            format!("{CONTACT}{more}")
        } else {
            more.into()
        };
        sized(head, &more, body)
    }
}

/// A sender of PCMU.
pub struct Stream {
    pub from: u16,
    pub to: std::net::SocketAddr,
    pub ssrc: u32,
    pub seq: u16,
    pub time: u32,
    pub payload_type: u8,
    tone: Tone,
    encoder: Box<dyn codec::Encoder>,
}

impl Stream {
    /// From bob's port to where alice's description says.
    pub fn new(from: u16, to: std::net::SocketAddr, hz: f64) -> Self {
        let pcmu = codec::by_name("pcmu").expect("a built-in codec");
        let encoder = (pcmu.encoder)(&EncoderSettings::default()).expect("PCMU needs nothing");
        Self { from, to, ssrc: 0x0b0b, seq: 65_500, time: 7, payload_type: 0, tone: Tone::hz(hz, 8000), encoder }
    }

    pub fn packet(&mut self) -> Vec<u8> {
        let (mut pcm, mut payload, mut wire) = ([0; 160], [0; 160], [0; 200]);
        self.tone.fill(&mut pcm);
        self.encoder.encode(&pcm, &mut payload).expect("20 ms fit");
        let packet = RtpPacket {
            payload_type: self.payload_type,
            marker: false,
            seq: self.seq,
            timestamp: self.time,
            ssrc: self.ssrc,
            extension: None,
            payload: &payload,
        };
        let len = packet.write(&mut wire).expect("it fits");
        self.seq = self.seq.wrapping_add(1);
        self.time = self.time.wrapping_add(160);
        wire[..len].to_vec()
    }
}
