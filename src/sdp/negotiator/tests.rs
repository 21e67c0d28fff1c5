use super::super::plan::{PayloadTypes, Remote};
use super::*;
use crate::id::{SetId, SocketId};
use crate::media::codec::by_name;
use std::net::SocketAddr;

fn lease(text: &str) -> Lease {
    let rtp_addr: SocketAddr = text.parse().expect("a test address");
    let rtcp_addr = SocketAddr::new(rtp_addr.ip(), rtp_addr.port() + 1);
    Lease { set: SetId(0), rtp: SocketId(0), rtcp: SocketId(1), rtp_addr, rtcp_addr }
}

fn with(codecs: &[&str]) -> Capabilities {
    let codecs = codecs.iter().map(|name| by_name(name).expect("a codec of the table")).collect();
    Capabilities::new(codecs, true, Duration::from_millis(20))
}

fn wish(capabilities: &Capabilities) -> Wish<'_> {
    Wish { capabilities, lease: lease("192.0.2.1:4000"), direction: Direction::SendRecv, latch: false }
}

fn peers_wish(capabilities: &Capabilities) -> Wish<'_> {
    Wish { capabilities, lease: lease("192.0.2.2:6000"), direction: Direction::SendRecv, latch: true }
}

fn parse(lines: &str) -> Sdp {
    let text = format!("v=0\no=- 7 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\n{lines}");
    Sdp::parse(text.as_bytes()).expect("a test description")
}

/// Lets a fresh negotiator answer `lines`.
fn answer(lines: &str, capabilities: &Capabilities) -> Result<(Sdp, MediaPlan), NegotiationError> {
    let mut negotiator = Negotiator::new(1, "-");
    negotiator.handle_offer(parse(lines)).expect("nothing waits");
    negotiator.answer(&wish(capabilities))
}

/// The m= and a= lines of a description.
fn media_lines(sdp: &Sdp) -> Vec<String> {
    let text = sdp.to_string();
    text.lines().filter(|line| line.starts_with("m=") || line.starts_with("a=")).map(str::to_owned).collect()
}

#[test]
#[cfg(feature = "opus")]
fn an_offer_lists_every_codec_in_order_and_telephone_event_for_each_clock_rate() {
    let capabilities = Capabilities::default();
    let offer = Negotiator::new(42, "alice").offer(&wish(&capabilities)).expect("codecs");
    assert_eq!(
        offer.to_string(),
        "v=0\r\no=alice 42 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=audio 4000 RTP/AVP 96 9 0 8 102 101\r\n\
         a=rtpmap:96 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:102 telephone-event/48000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:96 minptime=10;useinbandfec=1\r\na=fmtp:102 0-15\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
}

#[test]
fn two_negotiators_agree_on_codec_direction_and_addresses() {
    let (ours, theirs) = (with(&["pcmu", "pcma"]), with(&["g722", "pcma"]));
    let (mut a, mut b) = (Negotiator::new(1, "a"), Negotiator::new(2, "b"));
    let offer = a.offer(&wish(&ours)).expect("codecs");
    b.handle_offer(Sdp::parse(&offer.encode()).expect("our own writing")).expect("nothing waits");
    let (reply, far) = b.answer(&peers_wish(&theirs)).expect("PCMA is common");
    let near = a.handle_answer(Sdp::parse(&reply.encode()).expect("our own writing")).expect("PCMA is common");
    assert_eq!(
        media_lines(&reply),
        [
            "m=audio 6000 RTP/AVP 8 101",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-15",
            "a=ptime:20",
            "a=sendrecv"
        ]
    );
    assert_eq!(near.streams, far.streams);
    assert_eq!(near.streams[0].codec.pt, PayloadTypes { send: 8, recv: 8 });
    let signalled = |rtp: &str, rtcp: &str, latch| Remote::Signalled {
        rtp: rtp.parse().expect("a test address"),
        rtcp: rtcp.parse().expect("a test address"),
        latch,
    };
    assert_eq!(near.transports[0].remote, signalled("192.0.2.2:6000", "192.0.2.2:6001", false));
    assert_eq!(far.transports[0].remote, signalled("192.0.2.1:4000", "192.0.2.1:4001", true));
    assert!(!a.has_pending_offer() && !b.has_pending_offer());
}
