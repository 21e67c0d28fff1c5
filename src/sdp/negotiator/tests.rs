mod keys;
mod numbers;

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
    let (lease, encryption) = (lease("192.0.2.1:4000"), MediaEncryption::Off);
    Wish { capabilities, lease, direction: Direction::SendRecv, latch: false, encryption }
}

fn peers_wish(capabilities: &Capabilities) -> Wish<'_> {
    let (lease, encryption) = (lease("192.0.2.2:6000"), MediaEncryption::Off);
    Wish { capabilities, lease, direction: Direction::SendRecv, latch: true, encryption }
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

#[test]
#[cfg(feature = "opus")]
fn telephone_event_follows_the_clock_rate_of_the_codec_and_else_takes_what_there_is() {
    let events = "a=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/8000\na=rtpmap:98 telephone-event/48000\n";
    let capabilities = with(&["opus", "pcmu"]);
    let rate = |formats: &str| {
        let (reply, plan) =
            answer(&format!("m=audio 5000 RTP/AVP {formats}\n{events}"), &capabilities).expect("a common codec");
        (reply.media[0].formats.join(" "), plan.streams[0].dtmf.map(|dtmf| (dtmf.pt.send, dtmf.clock_rate)))
    };
    assert_eq!(rate("96 97 98"), ("96 98".into(), Some((98, 48_000))));
    assert_eq!(rate("96 0 97 98"), ("96 0 97 98".into(), Some((98, 48_000))));
    assert_eq!(rate("0 97 98"), ("0 97".into(), Some((97, 8000))));
    assert_eq!(rate("96 97"), ("96 97".into(), Some((97, 8000))));
    assert_eq!(rate("96"), ("96".into(), None));
}

#[test]
fn without_dtmf_no_telephone_event_is_offered_or_answered() {
    let capabilities = Capabilities { dtmf: false, ..with(&["pcmu"]) };
    let offer = Negotiator::new(1, "-").offer(&wish(&capabilities)).expect("codecs");
    assert_eq!(offer.media[0].formats, ["0"]);
    let (reply, plan) =
        answer("m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n", &capabilities).expect("PCMU");
    assert_eq!((reply.media[0].formats.as_slice(), plan.streams[0].dtmf), (["0".to_owned()].as_slice(), None));
}

#[test]
fn the_direction_of_an_answer_is_what_both_wish() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    let capabilities = with(&["pcmu"]);
    for (offered, wished, answered) in [
        (SendRecv, SendRecv, SendRecv),
        (SendRecv, SendOnly, SendOnly),
        (SendRecv, RecvOnly, RecvOnly),
        (SendRecv, Inactive, Inactive),
        (SendOnly, SendRecv, RecvOnly),
        (SendOnly, SendOnly, Inactive),
        (SendOnly, RecvOnly, RecvOnly),
        (SendOnly, Inactive, Inactive),
        (RecvOnly, SendRecv, SendOnly),
        (RecvOnly, SendOnly, SendOnly),
        (RecvOnly, RecvOnly, Inactive),
        (RecvOnly, Inactive, Inactive),
        (Inactive, SendRecv, Inactive),
        (Inactive, SendOnly, Inactive),
        (Inactive, RecvOnly, Inactive),
        (Inactive, Inactive, Inactive),
    ] {
        let (mut near, mut far) = (Negotiator::new(1, "-"), Negotiator::new(2, "-"));
        let offer = near.offer(&Wish { direction: offered, ..wish(&capabilities) }).expect("codecs");
        far.handle_offer(offer).expect("nothing waits");
        let (reply, plan) = far.answer(&Wish { direction: wished, ..peers_wish(&capabilities) }).expect("PCMU");
        assert_eq!(plan.streams[0].direction, answered, "{offered:?} {wished:?}");
        assert_eq!(reply.direction_of(&reply.media[0]), answered, "{offered:?} {wished:?}");
        let plan = near.handle_answer(reply).expect("PCMU");
        assert_eq!(plan.streams[0].direction, answered.reversed(), "{offered:?} {wished:?}");
    }
}

#[test]
fn a_direction_of_the_session_holds_for_its_streams_and_gives_way_to_their_own() {
    let capabilities = with(&["pcmu"]);
    let direction = |lines: &str| answer(lines, &capabilities).expect("PCMU").1.streams[0].direction;
    assert_eq!(direction("a=sendonly\nm=audio 5000 RTP/AVP 0\n"), Direction::RecvOnly);
    assert_eq!(direction("a=sendonly\nm=audio 5000 RTP/AVP 0\na=sendrecv\n"), Direction::SendRecv);
}

#[test]
fn the_unspecified_address_is_hold() {
    for host in ["IP4 0.0.0.0", "IP6 ::"] {
        let lines = format!("m=audio 5000 RTP/AVP 0\nc=IN {host}\n");
        let (reply, plan) = answer(&lines, &with(&["pcmu"])).expect("PCMU");
        assert_eq!(plan.transports[0].remote, Remote::None);
        assert_eq!(plan.streams[0].direction, Direction::RecvOnly);
        assert_eq!(reply.direction_of(&reply.media[0]), Direction::RecvOnly);
    }
}

#[test]
fn rtcp_goes_where_the_peer_says_and_else_one_port_up() {
    let rtcp = |port: u16, line: &str| {
        let lines = format!("m=audio {port} RTP/AVP 0\n{line}\n");
        match answer(&lines, &with(&["pcmu"])).expect("PCMU").1.transports[0].remote {
            Remote::Signalled { rtcp, .. } => rtcp.to_string(),
            Remote::None => panic!("an address was given"),
        }
    };
    assert_eq!(rtcp(5000, "a=sendrecv"), "192.0.2.9:5001");
    assert_eq!(rtcp(5000, "a=rtcp:6000"), "192.0.2.9:6000");
    assert_eq!(rtcp(5000, "a=rtcp:6000 IN IP4 192.0.2.77"), "192.0.2.77:6000");
    assert_eq!(rtcp(5000, "a=rtcp:6000 IN IP6 2001:db8::1"), "192.0.2.9:6000");
    for bad in ["a=rtcp:0", "a=rtcp:70000", "a=rtcp:", "a=rtcp"] {
        assert_eq!(rtcp(5000, bad), "192.0.2.9:5001", "{bad}");
    }
    assert_eq!(rtcp(65_535, "a=sendrecv"), "192.0.2.9:65535");
}

#[test]
fn our_own_rtcp_port_is_named_when_it_is_not_the_next_one() {
    let capabilities = with(&["pcmu"]);
    let mut odd = wish(&capabilities);
    odd.lease.rtcp_addr.set_port(4009);
    let offer = Negotiator::new(1, "-").offer(&odd).expect("codecs");
    assert_eq!(offer.media[0].attribute("rtcp"), Some("4009"));
}

#[test]
fn packets_are_as_long_as_the_peer_asks_within_what_codecs_can_do() {
    for (lines, ms) in [
        ("", 20),
        ("a=ptime:30\n", 30),
        ("a=ptime: 40 \n", 40),
        ("a=ptime:20.0\n", 20),
        ("a=ptime:25\n", 20),
        ("a=ptime:1\n", 10),
        ("a=ptime:200\n", 60),
        ("a=ptime:0\n", 20),
        ("a=ptime:201\n", 20),
        ("a=ptime:2147483648\n", 20),
        ("a=ptime:99999999999999999999999\n", 20),
        ("a=ptime:-20\n", 20),
        ("a=ptime:60\na=maxptime:40\n", 40),
        ("a=maxptime:10\n", 10),
        ("a=maxptime:0\n", 20),
    ] {
        let lines = format!("m=audio 5000 RTP/AVP 0\n{lines}");
        let (_, plan) = answer(&lines, &with(&["pcmu"])).expect("PCMU");
        assert_eq!(plan.streams[0].ptime, Duration::from_millis(ms), "{lines}");
    }
}

#[test]
fn streams_that_we_cannot_serve_are_refused_in_their_place() {
    let lines = "m=video 5000 RTP/AVP 99\na=rtpmap:99 VP8/90000\nm=audio 5002 RTP/SAVP 0\na=crypto:1 x y\n\
                 m=audio 0 RTP/AVP 0\nm=audio 5004 RTP/AVP 0\nm=audio 5006 RTP/AVP 8\nm=image 5008 udptl t38\n";
    let (reply, plan) = answer(lines, &with(&["pcmu", "pcma"])).expect("PCMU");
    assert_eq!(
        media_lines(&reply),
        [
            "m=video 0 RTP/AVP 99",
            "m=audio 0 RTP/SAVP 0",
            "m=audio 0 RTP/AVP 0",
            "m=audio 4000 RTP/AVP 0",
            "a=rtpmap:0 PCMU/8000",
            "a=ptime:20",
            "a=sendrecv",
            "m=audio 0 RTP/AVP 8",
            "m=image 0 udptl t38"
        ]
    );
    assert_eq!((plan.streams.len(), plan.streams[0].index), (1, 3));
}

#[test]
fn a_later_offer_of_ours_keeps_the_lines_of_the_session() {
    let capabilities = with(&["pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    ours.handle_offer(parse("m=video 5000 RTP/AVP 99\nm=audio 5004 RTP/AVP 0\n")).expect("nothing waits");
    ours.answer(&wish(&capabilities)).expect("PCMU");
    let offer = ours.offer(&Wish { direction: Direction::SendOnly, ..wish(&capabilities) }).expect("stable");
    assert_eq!(media_lines(&offer)[..2], ["m=video 0 RTP/AVP 99", "m=audio 4000 RTP/AVP 0 101"]);
    let plan = ours.handle_answer(parse("m=video 0 RTP/AVP 99\nm=audio 5004 RTP/AVP 0\na=recvonly\n")).expect("PCMU");
    assert_eq!((plan.streams[0].index, plan.streams[0].direction), (1, Direction::SendOnly));
}

#[test]
fn the_version_rises_only_with_a_change() {
    let capabilities = with(&["pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    let version = |sdp: &Sdp| sdp.origin.version.clone();
    let reply = || parse("m=audio 5004 RTP/AVP 0\n");
    let first = ours.offer(&wish(&capabilities)).expect("codecs");
    ours.handle_answer(reply()).expect("PCMU");
    let again = ours.offer(&wish(&capabilities)).expect("stable");
    assert_eq!((version(&first), &first), ("1".into(), &again));
    ours.handle_answer(reply()).expect("PCMU");
    let hold = Wish { direction: Direction::SendOnly, ..wish(&capabilities) };
    assert_eq!(version(&ours.offer(&hold).expect("stable")), "2");
    ours.rollback();
    assert_eq!(version(&ours.offer(&wish(&capabilities)).expect("stable")), "3");
}

#[test]
fn an_offer_may_come_late_and_be_answered_in_the_ack() {
    let capabilities = with(&["pcmu"]);
    let (mut caller, mut callee) = (Negotiator::new(1, "-"), Negotiator::new(2, "-"));
    let in_200 = callee.offer(&peers_wish(&capabilities)).expect("codecs");
    caller.handle_offer(in_200).expect("nothing waits");
    let (in_ack, _) = caller.answer(&wish(&capabilities)).expect("PCMU");
    assert_eq!(callee.handle_answer(in_ack).expect("PCMU").streams[0].codec.name, "pcmu");
}

#[test]
fn one_offer_at_a_time() {
    let capabilities = with(&["pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    let theirs = || parse("m=audio 5004 RTP/AVP 0\n");
    assert_eq!(ours.handle_answer(theirs()), Err(NegotiationError::NoOffer));
    assert_eq!(ours.answer(&wish(&capabilities)).map(|_| ()), Err(NegotiationError::NoOffer));
    ours.offer(&wish(&capabilities)).expect("stable");
    assert!(ours.has_local_offer());
    assert_eq!(ours.offer(&wish(&capabilities)), Err(NegotiationError::Pending));
    assert_eq!(ours.handle_offer(theirs()), Err(NegotiationError::Glare));
    assert_eq!(NegotiationError::Glare.status(), 491);
    assert!(ours.has_local_offer(), "glare leaves our own offer waiting");
    ours.rollback();
    ours.handle_offer(theirs()).expect("nothing waits");
    assert_eq!(ours.handle_offer(theirs()), Err(NegotiationError::Pending));
    assert_eq!(NegotiationError::Pending.status(), 500);
    assert_eq!(ours.offer(&wish(&capabilities)), Err(NegotiationError::Pending));
    assert_eq!(ours.handle_answer(theirs()), Err(NegotiationError::NoOffer));
    ours.answer(&wish(&capabilities)).expect("PCMU");
    assert!(!ours.has_pending_offer());
}

#[test]
fn the_answer_of_a_183_may_be_replaced_by_that_of_the_200() {
    let capabilities = with(&["pcmu", "pcma"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&capabilities)).expect("codecs");
    let early = ours.handle_answer(parse("m=audio 5004 RTP/AVP 0\n")).expect("PCMU");
    let late = ours.handle_answer(parse("m=audio 7000 RTP/AVP 8\n")).expect("PCMA");
    assert_eq!((early.streams[0].codec.name.as_str(), late.streams[0].codec.name.as_str()), ("pcmu", "pcma"));
}

#[test]
fn a_failed_exchange_leaves_the_session_as_it_was() {
    let capabilities = with(&["pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&capabilities)).expect("codecs");
    ours.handle_answer(parse("m=audio 5004 RTP/AVP 0\n")).expect("PCMU");
    let before = (ours.local().cloned(), ours.remote().cloned());
    ours.handle_offer(parse("m=audio 5004 RTP/AVP 18\n")).expect("nothing waits");
    assert_eq!(ours.check(&wish(&capabilities)).map_err(|error| error.status()), Err(488));
    ours.answer(&wish(&capabilities)).expect_err("G.729 is not ours");
    assert_eq!((ours.local().cloned(), ours.remote().cloned()), before);
    assert!(!ours.has_pending_offer());
    ours.offer(&wish(&capabilities)).expect("stable again");
    assert_eq!(ours.handle_answer(parse("m=audio 0 RTP/AVP 0\n")), Err(NegotiationError::Refused));
    assert_eq!((ours.local().cloned(), ours.remote().cloned()), before);
}

#[test]
fn the_error_says_what_stood_in_the_way() {
    let capabilities = with(&["pcmu", "pcma"]);
    let error = |lines: &str| answer(lines, &capabilities).map(|_| ()).expect_err(lines);
    let none = error("m=audio 5004 RTP/AVP 18 96 97\na=rtpmap:96 opus/48000/2\na=rtpmap:97 telephone-event/8000\n");
    assert_eq!(none.to_string(), "no common codec: the peer has g729/8000, opus/48000/2, we have PCMU/8000, PCMA/8000");
    assert_eq!(none.status(), 488);
    assert_eq!(
        error("m=audio 5004 UDP/TLS/RTP/SAVP 0\nm=video 0 RTP/AVP 99\n").to_string(),
        "no audio stream that we can serve among audio UDP/TLS/RTP/SAVP, video RTP/AVP (port 0)"
    );
    assert_eq!(error("").to_string(), "no audio stream that we can serve among none");
    assert_eq!(
        error("m=audio 5004 RTP/AVP 0\nc=IN IP4 sbc.example.org\n").to_string(),
        "the peer's media address \"sbc.example.org\" is a host name, not an IP address"
    );
    assert_eq!(
        error("m=audio 5004 RTP/AVP 0\nc=IN IP6 2001:db8::9\n").to_string(),
        "the peer's media address 2001:db8::9 is of another IP version than ours, 192.0.2.1"
    );
    assert_eq!(
        error("m=audio 5004 RTP/AVP 0\nc=IN IP4 239.1.1.1/127\n"),
        NegotiationError::NotUnicast { address: [239, 1, 1, 1].into() }
    );
    assert_eq!(error("m=audio 5004 RTP/AVP 128 255 256 x\n").status(), 488);
    let mut bare = parse("m=audio 5004 RTP/AVP 0\n");
    bare.connection = None;
    let mut ours = Negotiator::new(1, "-");
    ours.handle_offer(bare).expect("nothing waits");
    assert_eq!(ours.answer(&wish(&capabilities)).map(|_| ()), Err(NegotiationError::NoAddress));
    let nothing = with(&[]);
    assert_eq!(Negotiator::new(1, "-").offer(&wish(&nothing)), Err(NegotiationError::NothingToOffer));
}

#[test]
#[cfg(feature = "opus")]
fn opus_is_announced_as_the_settings_say() {
    let settings = crate::media::command::MediaSettings { opus_fec: false, opus_dtx: true, ..Default::default() };
    let capabilities = with(&["opus"]).with_settings(&settings);
    let offer = Negotiator::new(1, "-").offer(&wish(&capabilities)).expect("codecs");
    assert_eq!(offer.media[0].attribute("fmtp"), Some("96 minptime=10;useinbandfec=0;usedtx=1"));
}

#[test]
fn a_user_name_that_is_no_word_is_not_written() {
    let capabilities = with(&["pcmu"]);
    for name in ["", "a b", "a\r\nm=audio"] {
        let offer = Negotiator::new(1, name).offer(&wish(&capabilities)).expect("codecs");
        assert_eq!(offer.origin.username, "-", "{name:?}");
    }
}
