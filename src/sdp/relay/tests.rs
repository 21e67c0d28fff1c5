use super::*;
use crate::id::{SetId, SocketId};

const OFFER: &str = "v=0\r\no=bob 5 6 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\na=ice-lite\r\n\
    m=video 5000 RTP/AVP 99\r\na=rtpmap:99 H264/90000\r\n\
    m=audio 5002 RTP/AVP 18 97 101\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:97 mode=30\r\na=rtcp:5010\r\na=rtcp-mux\r\na=candidate:1 1 UDP 1 10.0.0.1 5002 typ host\r\na=sendonly\r\n";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("a test address")
}

fn lease() -> Lease {
    let (rtp_addr, rtcp_addr) = (addr("192.0.2.1:4000"), addr("192.0.2.1:4001"));
    Lease { set: SetId(0), rtp: SocketId(0), rtcp: SocketId(1), rtp_addr, rtcp_addr }
}

fn parse(text: &str) -> Sdp {
    Sdp::parse(text.as_bytes()).expect("a test description")
}

#[test]
fn a_passed_offer_has_our_addresses_all_formats_and_one_audio_stream() {
    let ours = rewrite_addresses(&parse(OFFER), addr("192.0.2.1:4000"), addr("192.0.2.1:4001"));
    assert_eq!(
        ours.to_string(),
        "v=0\r\no=bob 5 6 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=video 0 RTP/AVP 99\r\n\
         m=audio 4000 RTP/AVP 18 97 101\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:97 mode=30\r\na=sendonly\r\n"
    );
    let apart = rewrite_addresses(&parse(OFFER), addr("192.0.2.1:4000"), addr("192.0.2.1:4005"));
    assert!(apart.to_string().contains("a=rtcp:4005 IN IP4 192.0.2.1\r\n"));
}

#[test]
fn a_hold_by_unspecified_address_crosses_the_bridge() {
    let held = parse(&OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 0.0.0.0"));
    let ours = rewrite_addresses(&held, addr("[2001:db8::1]:4000"), addr("[2001:db8::1]:4001"));
    assert_eq!(ours.connection_of(&ours.media[1]).map(ToString::to_string).as_deref(), Some("IN IP6 ::"));
    assert_eq!(remote_of(&held).expect("audio").address, None);
}

#[test]
fn the_plan_of_a_leg_passes_every_payload_type_of_both_sides() {
    let theirs = parse(OFFER);
    let mut ours = rewrite_addresses(&theirs, lease().rtp_addr, lease().rtcp_addr);
    ours.media[1].formats = vec!["18".into(), "98".into(), "101".into()];
    let plan = relay_plan(&ours, &theirs, lease(), false).expect("audio");
    let stream = &plan.streams[0];
    let numbers: Vec<_> = stream.receive.iter().map(|codec| codec.pt.recv).collect();
    assert_eq!(numbers, [18, 97, 98]);
    assert_eq!(
        (stream.index, stream.codec.name.as_str(), stream.dtmf.map(|dtmf| dtmf.pt.send)),
        (1, "g729", Some(101))
    );
    let (rtp, rtcp) = (addr("198.51.100.7:5002"), addr("198.51.100.7:5010"));
    assert_eq!(plan.transports[0].remote, Remote::Signalled { rtp, rtcp, latch: false });
}

#[test]
fn a_leg_that_only_sends_is_sent_nothing() {
    let theirs = parse(OFFER);
    let ours = parse(&OFFER.replace("a=sendonly", "a=recvonly"));
    let plan = relay_plan(&ours, &theirs, lease(), false).expect("audio");
    assert_eq!(plan.streams[0].direction, Direction::RecvOnly);
}

#[test]
fn what_cannot_be_relayed_says_why() {
    let named = parse(&OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 sbc.example.org"));
    assert_eq!(remote_of(&named), Err(NegotiationError::HostName { name: "sbc.example.org".into() }));
    let secure = parse(&OFFER.replace("m=audio 5002 RTP/AVP", "m=audio 5002 UDP/TLS/RTP/SAVP"));
    let offered = vec!["video RTP/AVP".to_owned(), "audio UDP/TLS/RTP/SAVP".to_owned()];
    assert_eq!(remote_of(&secure), Err(NegotiationError::NoAudio { offered }));
    let multicast = parse(&OFFER.replace("c=IN IP4 198.51.100.7", "c=IN IP4 224.0.0.9"));
    assert_eq!(remote_of(&multicast), Err(NegotiationError::NotUnicast { address: [224, 0, 0, 9].into() }));
}
