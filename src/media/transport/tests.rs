use super::*;
use crate::id::SetId;

const PEER: &str = "192.0.2.1:4000";
const STRANGER: &str = "203.0.113.9:5000";

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn plan(peer: &str, latch: bool) -> TransportPlan {
    let rtp = address(peer);
    let local = address("192.0.2.2:4000");
    TransportPlan {
        lease: Lease {
            set: SetId(0),
            rtp: SocketId(1),
            rtcp: SocketId(2),
            rtp_addr: local,
            rtcp_addr: SocketAddr::new(local.ip(), 4001),
        },
        remote: Remote::Signalled { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1), latch },
        protection: Protection::None,
        rtcp_mux: false,
    }
}

fn packet(ssrc: u32, seq: u16) -> RtpPacket<'static> {
    RtpPacket { payload_type: 0, marker: false, seq, timestamp: 0, ssrc, extension: None, payload: &[] }
}

fn goes_to(transport: &MediaTransport) -> String {
    transport.rtp_to().map_or_else(String::new, |to| to.to.to_string())
}

#[test]
fn only_the_signalled_address_is_heard() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, false), 46);
    for seq in 0..100 {
        assert!(!transport.accepts_rtp(at(20), address(STRANGER), &packet(1, seq), true));
        assert!(!transport.accepts_rtp(at(20), address("192.0.2.1:4002"), &packet(1, seq), true), "another port");
    }
    assert!(!transport.accepts_rtp(at(20), address(PEER), &packet(1, 0), false), "a type that was not agreed");
    assert!(transport.accepts_rtp(at(20), address(PEER), &packet(1, 1), true));
    assert!(transport.accepts_rtp(at(20), address("[::ffff:192.0.2.1]:4000"), &packet(1, 2), true), "the same address");
    assert_eq!(goes_to(&transport), PEER);
}

#[test]
fn five_packets_in_a_row_latch_once_and_for_all() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, true), 46);
    let heard: Vec<bool> =
        (10..16).map(|seq| transport.accepts_rtp(at(20), address(STRANGER), &packet(1, seq), true)).collect();
    assert_eq!(heard, [false, false, false, false, true, true]);
    assert_eq!(goes_to(&transport), STRANGER);
    assert!(!transport.accepts_rtp(at(40), address(PEER), &packet(1, 16), true), "locked until a new SDP");
    transport.set_plan(at(50), &plan("192.0.2.7:4000", true));
    assert_eq!(goes_to(&transport), "192.0.2.7:4000");
    assert!(transport.accepts_rtp(at(60), address("192.0.2.7:4000"), &packet(9, 1), true));
}

#[test]
fn a_gap_another_ssrc_or_five_seconds_spoil_the_latching() {
    for (numbers, ssrcs, start) in
        [([1, 2, 3, 4, 6], [1; 5], 20), ([1, 2, 3, 4, 5], [1, 1, 1, 1, 2], 20), ([1, 2, 3, 4, 5], [1; 5], 5001)]
    {
        let mut transport = MediaTransport::new(at(0), &plan(PEER, true), 46);
        for (seq, ssrc) in numbers.into_iter().zip(ssrcs) {
            assert!(!transport.accepts_rtp(at(start), address(STRANGER), &packet(ssrc, seq), true));
        }
        assert_eq!(goes_to(&transport), PEER);
    }
}

#[test]
fn no_stranger_latches_once_the_signalled_address_has_spoken() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, true), 46);
    assert!(transport.accepts_rtp(at(10), address(PEER), &packet(1, 1), true));
    for seq in 0..50 {
        assert!(!transport.accepts_rtp(at(20), address(STRANGER), &packet(1, seq), true));
    }
    assert_eq!(goes_to(&transport), PEER);
}

#[test]
fn a_new_ssrc_from_the_locked_address_needs_two_packets_in_a_row() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, false), 46);
    let mut heard = |ssrc, seq| transport.accepts_rtp(at(10), address(PEER), &packet(ssrc, seq), true);
    assert!(heard(1, 100));
    assert!(!heard(2, 7));
    assert!(heard(1, 101), "the old one still counts");
    assert!(!heard(2, 9));
    assert!(!heard(2, 11));
    assert!(heard(2, 12));
    assert!(!heard(1, 102));
}

#[test]
fn rtcp_comes_from_its_own_address_or_from_the_latched_host() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, true), 46);
    assert!(!transport.accepts_rtcp(at(1), address(STRANGER)));
    assert!(transport.accepts_rtcp(at(1), address("192.0.2.1:4001")));
    for seq in 0..5 {
        transport.accepts_rtp(at(20), address(STRANGER), &packet(1, seq), true);
    }
    assert!(transport.accepts_rtcp(at(30), address("203.0.113.9:6001")));
    assert_eq!(transport.rtcp_to().map(|to| to.to), Some(address("203.0.113.9:6001")));
}

#[test]
fn an_address_that_never_answers_is_wanted_for_10_s_only() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, false), 46);
    assert!(transport.is_wanted(at(9_999)));
    assert!(!transport.is_wanted(at(10_000)));
    assert!(transport.accepts_rtp(at(11_000), address(PEER), &packet(1, 1), true));
    assert!(transport.is_wanted(at(40_999)));
    assert!(!transport.is_wanted(at(41_000)));
}

#[test]
fn a_hold_without_address_sends_nothing_and_keeps_the_lock() {
    let mut transport = MediaTransport::new(at(0), &plan(PEER, false), 46);
    assert!(transport.accepts_rtp(at(10), address(PEER), &packet(1, 1), true));
    transport.set_plan(at(20), &TransportPlan { remote: Remote::None, ..plan(PEER, false) });
    assert_eq!(transport.rtp_to(), None);
    transport.set_plan(at(30), &plan(PEER, false));
    assert_eq!(goes_to(&transport), PEER);
}

#[test]
fn nothing_is_sent_to_unspecified_or_multicast_addresses() {
    for peer in ["0.0.0.0:4000", "224.0.0.1:4000", "[::]:4000", "[ff02::1]:4000"] {
        let transport = MediaTransport::new(at(0), &plan(peer, false), 46);
        assert_eq!((transport.rtp_to(), transport.rtcp_to()), (None, None), "{peer}");
    }
}
