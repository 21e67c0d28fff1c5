//! Session descriptions and what is negotiated with them.

use crate::engine::Lease;
use crate::id::{SetId, SocketId};
use crate::sdp::plan::{Direction, MediaPlan};
use crate::sdp::{Capabilities, Negotiator, Sdp, Wish, relay_plan, rewrite_addresses};

/// A session description: what is read is written and read again as the same; as first offer, as later offer, as
/// answer and over a bridge it gives a plan that holds together or an error, and an error leaves the session alone.
pub fn sdp(input: &[u8]) {
    let body = match Sdp::parse(input) {
        Ok(body) => body,
        Err(error) => {
            assert!(matches!(error.status(), 400 | 488), "a bad body is refused by one of two codes");
            return;
        }
    };
    let wire = body.encode();
    if wire.len() <= 65_536 {
        assert_eq!(Sdp::parse(&wire).as_ref(), Ok(&body), "a description read and written is the same description");
    }
    let capabilities = Capabilities::default();
    let host = if wire.len().is_multiple_of(2) { "192.0.2.1" } else { "2001:db8::1" };
    let address = |port| (host.parse::<std::net::IpAddr>().expect("a literal address"), port).into();
    let (rtp_addr, rtcp_addr) = (address(4000), address(4001));
    let lease = Lease { set: SetId(0), rtp: SocketId(0), rtcp: SocketId(1), rtp_addr, rtcp_addr };
    let encryption = crate::sdp::MediaEncryption::Preferred;
    let wish = Wish { capabilities: &capabilities, lease, direction: Direction::SendRecv, latch: true, encryption };
    let mut negotiator = Negotiator::new(1, "-").with_keys([7; 32]);
    negotiator.handle_offer(body.clone()).expect("nothing waits at first");
    answer_to(&body, &mut negotiator, &wish);
    let before = (negotiator.local().cloned(), negotiator.remote().cloned());
    let offer = negotiator.offer(&wish).expect("nothing waits after an answer or an error");
    match negotiator.handle_answer(body.clone()) {
        Ok(plan) => check_plan(&plan),
        Err(_) => assert_eq!((negotiator.local().cloned(), negotiator.remote().cloned()), before),
    }
    assert!(offer.media.iter().filter(|media| media.port != 0).count() == 1, "one stream is offered");
    negotiator.handle_offer(body.clone()).expect("nothing waits after an answer or an error");
    answer_to(&body, &mut negotiator, &wish);
    let passed = rewrite_addresses(&body, rtp_addr, rtcp_addr);
    assert_eq!(passed.media.len(), body.media.len(), "a bridge keeps the m-lines");
    if let Ok(plan) = relay_plan(&passed, &body, lease, false) {
        check_plan(&plan);
    }
}

/// Answers the waiting offer and checks the answer against it.
fn answer_to(offer: &Sdp, negotiator: &mut Negotiator, wish: &Wish<'_>) {
    let before = (negotiator.local().cloned(), negotiator.remote().cloned());
    let can = negotiator.check(wish).is_ok();
    match negotiator.answer(wish) {
        Ok((answer, plan)) => {
            assert!(can, "a check says what the answer will be");
            check_plan(&plan);
            assert_eq!(Sdp::parse(&answer.encode()).as_ref(), Ok(&answer), "our own answer can be read");
            assert_eq!(answer.media.len(), offer.media.len(), "an answer has the m-lines of its offer");
            let open: Vec<_> = answer.media.iter().filter(|media| media.port != 0).collect();
            assert_eq!(open.len(), 1, "one stream is accepted");
            let mut formats = open.first().map(|media| media.formats.clone()).unwrap_or_default();
            formats.sort();
            formats.dedup();
            assert_eq!(open.first().map(|media| media.formats.len()), Some(formats.len()), "no number comes twice");
        }
        Err(error) => {
            assert!(matches!(error.status(), 488), "an offer in turn is refused by 488");
            assert_eq!((negotiator.local().cloned(), negotiator.remote().cloned()), before);
        }
    }
    assert!(!negotiator.has_pending_offer(), "the exchange is over");
}

fn check_plan(plan: &MediaPlan) {
    for stream in &plan.streams {
        assert!(plan.transports.get(stream.transport).is_some(), "every stream has its transport");
        assert!(stream.receive.contains(&stream.codec), "what we send we can receive");
        assert!((10..=60).contains(&stream.ptime.as_millis()), "packets have a length that codecs can do");
        let numbers = stream.receive.iter().map(|codec| codec.pt).chain(stream.dtmf.map(|dtmf| dtmf.pt));
        assert!(numbers.into_iter().all(|pt| pt.send < 128 && pt.recv < 128), "payload types have seven bits");
    }
}
