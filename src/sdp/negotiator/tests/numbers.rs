//! Payload type numbers: whose they are and what they mean.

use super::super::super::plan::DtmfPlan;
use super::*;

#[test]
fn the_answer_keeps_the_order_and_the_numbers_of_the_offer() {
    let lines = "m=audio 5000 RTP/AVP 8 18 0 110\na=rtpmap:110 telephone-event/8000\na=rtpmap:18 G729/8000\n";
    let (reply, plan) = answer(lines, &with(&["pcmu", "pcma"])).expect("G.711 is common");
    assert_eq!(reply.media[0].formats, ["8", "0", "110"]);
    let stream = &plan.streams[0];
    assert_eq!(stream.codec.name, "pcma");
    assert_eq!(stream.receive.iter().map(|codec| codec.name.as_str()).collect::<Vec<_>>(), ["pcma", "pcmu"]);
    assert_eq!(stream.dtmf, Some(DtmfPlan { pt: PayloadTypes { send: 110, recv: 110 }, clock_rate: 8000 }));
}

#[test]
fn a_static_number_needs_no_rtpmap_and_an_rtpmap_overrules_it() {
    let (_, plan) = answer("m=audio 5000 RTP/AVP 9\n", &with(&["g722"])).expect("9 is G.722");
    assert_eq!((plan.streams[0].codec.name.as_str(), plan.streams[0].codec.clock_rate), ("g722", 8000));
    let lines = "m=audio 5000 RTP/AVP 9\na=rtpmap:9 PCMA/8000\n";
    let (_, plan) = answer(lines, &with(&["g722", "pcma"])).expect("9 is PCMA here");
    assert_eq!((plan.streams[0].codec.name.as_str(), plan.streams[0].codec.pt.send), ("pcma", 9));
}

#[test]
#[cfg(feature = "opus")]
fn each_side_may_use_its_own_number_for_a_codec() {
    let capabilities = with(&["opus"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&capabilities)).expect("codecs");
    let lines = "m=audio 5000 RTP/AVP 111 97\na=rtpmap:111 OPUS/48000\na=fmtp:111 maxaveragebitrate=20000\n\
                 a=rtpmap:97 telephone-event/48000\n";
    let plan = ours.handle_answer(parse(lines)).expect("Opus is common");
    let stream = &plan.streams[0];
    assert_eq!(stream.codec.pt, PayloadTypes { send: 111, recv: 96 });
    assert_eq!(stream.codec.send_fmtp, "maxaveragebitrate=20000");
    assert_eq!(stream.codec.recv_fmtp, "minptime=10;useinbandfec=1");
    assert_eq!(stream.dtmf, Some(DtmfPlan { pt: PayloadTypes { send: 97, recv: 102 }, clock_rate: 48_000 }));
}

#[test]
#[cfg(feature = "opus")]
fn an_answer_without_rtpmap_means_what_we_offered_under_that_number() {
    let capabilities = with(&["opus"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&capabilities)).expect("codecs");
    let plan = ours.handle_answer(parse("m=audio 5000 RTP/AVP 96\n")).expect("96 is our Opus");
    assert_eq!(plan.streams[0].codec.name, "opus");
}

#[test]
#[cfg(feature = "opus")]
fn a_number_never_changes_its_meaning_within_a_session() {
    let capabilities = with(&["opus", "pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&capabilities)).expect("codecs"); // 96 is Opus, 101 and 102 are events
    ours.handle_answer(parse("m=audio 5004 RTP/AVP 96\na=rtpmap:96 opus/48000/2\n")).expect("Opus");
    let lines = "m=audio 5004 RTP/AVP 97 96 101\na=rtpmap:97 telephone-event/48000\na=rtpmap:96 PCMU/8000\n\
                 a=rtpmap:101 opus/48000/2\n";
    ours.handle_offer(parse(lines)).expect("nothing waits");
    let (reply, plan) = ours.answer(&wish(&capabilities)).expect("both codecs");
    let numbers: Vec<_> = plan.streams[0].receive.iter().map(|codec| (codec.name.as_str(), codec.pt)).collect();
    assert_eq!(numbers, [("pcmu", PayloadTypes { send: 96, recv: 0 }), ("opus", PayloadTypes { send: 101, recv: 98 })]);
    assert_eq!(reply.media[0].formats, ["97", "0", "98"]);
    let next = ours.offer(&wish(&capabilities)).expect("stable");
    assert_eq!(next.media[0].formats, ["98", "0", "97", "101"]);
}

#[test]
#[cfg(feature = "opus")]
fn a_new_number_is_none_that_the_offer_uses_for_something_else() {
    let capabilities = with(&["opus", "pcmu"]);
    let mut ours = Negotiator::new(1, "-");
    ours.offer(&wish(&with(&["opus"]))).expect("codecs"); // 96 is Opus from now on
    ours.rollback();
    let lines = "m=audio 5004 RTP/AVP 96 0 101\na=rtpmap:96 telephone-event/8000\na=rtpmap:101 opus/48000/2\n";
    ours.handle_offer(parse(lines)).expect("nothing waits");
    let (reply, _) = ours.answer(&wish(&capabilities)).expect("both codecs");
    assert_eq!(reply.media[0].formats, ["97", "0", "101"]);
}

#[test]
fn a_peer_that_uses_up_all_numbers_loses_formats_and_never_gets_one_twice() {
    let capabilities = with(&["pcmu", "pcma"]);
    let mut ours = Negotiator::new(1, "-");
    for number in 0..128 {
        let name = if number % 2 == 0 { "PCMA" } else { "telephone-event" };
        let spare = (number + 1) % 128;
        let lines = format!(
            "m=audio 5004 RTP/AVP {number} {spare}\na=rtpmap:{number} {name}/8000\na=rtpmap:{spare} PCMU/8000\n"
        );
        ours.handle_offer(parse(&lines)).expect("nothing waits");
        let (reply, _) = ours.answer(&wish(&capabilities)).expect("a codec is left");
        let mut formats = reply.media[0].formats.clone();
        formats.sort();
        formats.dedup();
        assert_eq!(formats.len(), reply.media[0].formats.len(), "{reply}");
    }
}
