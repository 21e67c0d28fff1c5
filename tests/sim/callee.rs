//! Calls that we place to peers that answer wrongly, twice, late or not at all.

use crate::calls::phone;
use crate::kit::network::Link;
use crate::kit::peer::*;
use bellwire::api::{Command, EndedBy, Event};
use bellwire::time::Duration;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn answered(event: &Event) -> bool {
    matches!(event, Event::CallAnswered { .. })
}

/// By whom, status and slug.
fn end(event: Event) -> (EndedBy, Option<u16>, Option<String>) {
    let Event::CallEnded { by, code, failure, .. } = event else { panic!("{event:?} is no end") };
    (by, code, failure.map(|failure| failure.slug))
}

#[test]
fn an_answer_to_nothing_we_asked_is_dropped_and_the_right_one_is_taken() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    let right = ok(&invite, "b");
    let branch = header(&invite, "Via").split("branch=").nth(1).expect("ours").split(';').next().expect("a branch");
    let second_via = right.replacen("Via: ", "Via: SIP/2.0/UDP 10.0.0.7;branch=z9hG4bKx\r\nVia: ", 1);
    for wrong in [
        right.replace(branch, "z9hG4bKsomebodyelses"),
        right.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        right.replace("CSeq: 1 INVITE", "CSeq: 1 OPTIONS"),
        second_via,
        right.replace("SIP/2.0 200", "SIP/2.0 999"),
        right.replace("SIP/2.0 200", "SIP/3.0 200"),
    ] {
        scene.say(&wrong);
        let heard = scene.hear_for(Duration::from_millis(50));
        assert!(heard.is_empty(), "{heard:?} for\n{wrong}");
        assert_eq!(scene.count(answered), 0, "{wrong}");
    }
    scene.say(&right);
    scene.hear("ACK");
    assert_eq!(scene.count(answered), 1);
    scene.finish(call);
}

#[test]
fn a_second_200_with_another_description_is_acknowledged_and_changes_nothing() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&ok(&invite, "b"));
    let ack = scene.hear("ACK");
    assert_eq!(header(&ack, "CSeq"), "1 ACK");
    scene.world.run_for(secs(1));
    scene.say(&ok(&invite, "b").replace("m=audio 4000", "m=audio 5000"));
    scene.hear("ACK");
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, 4000).len() > 90, "the sound goes on");
    assert!(scene.world.packets(scene.bob, 5000).is_empty(), "and nowhere else");
    assert_eq!(scene.count(answered), 1);
    scene.finish(call);
}

#[test]
fn a_repeated_200_is_acknowledged_each_time_even_after_the_hang_up() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.world.link(scene.alice, scene.bob, Link::default().latency_ms(10));
    let answer = ok(&invite, "b");
    scene.say(&answer);
    // The ACK is lost seven times.
    for wait in [500, 1000, 2000, 4000, 4000, 4000] {
        let ack = scene.hear("ACK");
        assert!(ack.starts_with("ACK sip:bob@10.0.0.9:5060 "), "{ack}");
        scene.world.run_for(Duration::from_millis(wait));
        scene.say(&answer);
    }
    scene.hear("ACK");
    scene.hang_up(call);
    let bye = scene.hear("BYE");
    scene.say(&answer);
    scene.hear("ACK");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    assert_eq!(end(scene.ended()), (EndedBy::Local, None, None));
    scene.world.assert_quiet();
}

#[test]
fn an_unusable_200_is_acknowledged_and_ended_and_says_why() {
    let good = sdp("10.0.0.9", 4000);
    for (what, body, slug) in [
        ("nothing", String::new(), "media.no-common-codec"),
        ("no description", "hello".to_owned(), "call.broken"),
        ("no media", good.split("m=audio").next().expect("the session part").to_owned(), "media.no-common-codec"),
        ("only what we do not know", good.replace("0 101", "18").replace("0 PCMU", "18 G729"), "media.no-common-codec"),
        ("what was not offered", good.replace("m=audio 4000 RTP/AVP", "m=video 4000 RTP/AVP"), "media.no-common-codec"),
        ("another protocol", good.replace("RTP/AVP", "UDP/TLS/RTP/SAVP"), "media.no-common-codec"),
        ("an encrypted one", good.replace("RTP/AVP", "RTP/SAVP"), "tls.srtp-keys"),
        ("a refusal", good.replace("m=audio 4000", "m=audio 0"), "media.no-common-codec"),
    ] {
        let (mut scene, _, invite) = Scene::dialled(phone());
        scene.say(&reply(&invite, "200 OK", "b", CONTACT, &body));
        scene.hear("ACK");
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
        let (by, _, why) = end(scene.ended());
        assert_eq!((by, why.as_deref()), (EndedBy::Fault, Some(slug)), "{what}");
        assert_eq!(scene.count(answered), 0, "{what}");
        scene.world.assert_quiet();
    }
}

#[test]
fn an_answer_of_the_wrong_body_type_counts_as_none() {
    let (mut scene, _, invite) = Scene::dialled(phone());
    scene.say(&ok(&invite, "b").replace("application/sdp", "text/plain"));
    scene.hear("ACK");
    scene.hear("BYE");
    scene.ended();
    // Nobody answers the BYE either.
    scene.world.run_for(secs(40));
    scene.world.assert_quiet();
}

#[test]
fn huge_and_broken_messages_do_not_disturb_the_call() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    let right = ok(&invite, "b");
    let long = format!("X-Long: {}\r\n", "x".repeat(9_000));
    let many = "X-Many: 1\r\n".repeat(1_000);
    for wrong in [
        right.replace("Content-Type", &format!("{long}Content-Type")),
        right.replace("Content-Type", &format!("{many}Content-Type")),
        right.replace("Content-Length: ", "Content-Length: 99"),
        right.replace("To: ", "T: <sip:x@10.0.0.9>;tag=x\r\nTo: "),
        right[..right.len() / 2].to_owned(),
        "SIP/2.0 200 OK\r\n\r\n".to_owned(),
        "\0".repeat(2_000),
        format!("SIP/2.0 200 {}\r\n\r\n", "OK".repeat(20_000)),
    ] {
        scene.say(&wrong);
        assert_eq!(scene.hear_for(Duration::from_millis(10)), [""; 0], "{:.300}", wrong);
    }
    assert_eq!(scene.count(answered), 0);
    scene.say(&right);
    scene.hear("ACK");
    scene.finish(call);
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    // The 200 leaves before, with and after the CANCEL is heard; the CANCEL is answered 200, 481 or not at all.
    for early_ms in [0, 15, 30, 45] {
        for verdict in ["200 OK", "481 Call/Transaction Does Not Exist", ""] {
            let (mut scene, call, invite) = Scene::dialled(phone());
            scene.world.link(scene.alice, scene.bob, Link::default().latency_ms(20));
            scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
            scene.world.run_for(secs(1));
            scene.hang_up(call);
            scene.world.run_for(Duration::from_millis(early_ms));
            scene.say(&ok(&invite, "b"));
            let cancel = scene.hear("CANCEL");
            if !verdict.is_empty() {
                scene.say(&reply(&cancel, verdict, "b", "", ""));
            }
            let mut heard = Vec::new();
            for _ in 0..2 {
                let text = loop {
                    let (_, text) = scene.world.hear(scene.bob);
                    if word(&text) != "CANCEL" {
                        break text;
                    }
                };
                heard.push(word(&text));
                if word(&text) == "BYE" {
                    scene.say(&reply(&text, "200 OK", "", "", ""));
                }
            }
            assert_eq!(heard, ["ACK", "BYE"], "{early_ms} ms, {verdict}");
            assert_eq!(scene.count(answered), 0, "the user has left");
            scene.world.assert_quiet();
        }
    }
}

#[test]
fn cancel_waits_for_the_first_provisional_response_and_the_487_is_acknowledged() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.hang_up(call);
    let heard = scene.hear_for(secs(3));
    assert!(heard.iter().all(|word| word == "INVITE"), "{heard:?}");
    scene.say(&reply(&invite, "100 Trying", "", "", ""));
    let cancel = scene.hear("CANCEL");
    let top = |text: &str| lines(text, "Via")[0].to_owned();
    assert_eq!(top(&cancel), top(&invite), "the CANCEL bears the branch of its INVITE");
    assert_eq!(
        cancel.lines().next().map(|line| line.replace("CANCEL", "INVITE")),
        invite.lines().next().map(str::to_owned)
    );
    scene.say(&reply(&cancel, "200 OK", "b", "", ""));
    let refusal = reply(&invite, "487 Request Terminated", "b", "", "");
    scene.say(&refusal);
    let ack = scene.hear("ACK");
    assert_eq!(top(&ack), top(&invite));
    // The ACK is lost: the refusal comes again, and so does the ACK.
    scene.say(&refusal);
    scene.hear("ACK");
    scene.world.assert_quiet();
}

#[test]
fn a_peer_that_never_answers_the_cancelled_invite_holds_nobody() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
    scene.world.run_for(secs(1));
    scene.hang_up(call);
    scene.world.run_for(secs(70));
    scene.world.assert_quiet();
}

#[test]
fn forks_have_early_dialogs_of_their_own_and_only_the_first_200_is_kept() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    let early = |tag, port| reply(&invite, "183 Session Progress", tag, CONTACT, &sdp("10.0.0.9", port));
    for (tag, port) in [("one", 4100), ("two", 4200), ("three", 4300)] {
        scene.say(&early(tag, port));
    }
    scene.world.run_for(secs(2));
    for port in [4100, 4200, 4300] {
        assert!(scene.world.packets(scene.bob, port).is_empty(), "nothing of ours is sent before the answer");
    }
    // The second one answers without a description: its early one holds.
    scene.say(&reply(&invite, "200 OK", "two", CONTACT, ""));
    let ack = scene.hear("ACK");
    assert!(header(&ack, "To").ends_with(";tag=two"), "{ack}");
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, 4200).len() > 45);
    // The third one answers too, and again.
    let other = reply(&invite, "200 OK", "three", CONTACT, &sdp("10.0.0.9", 4300));
    scene.say(&other);
    let ack = scene.hear("ACK");
    let bye = scene.hear("BYE");
    assert!(header(&ack, "To").ends_with(";tag=three") && header(&bye, "To").ends_with(";tag=three"));
    scene.say(&other);
    scene.hear("ACK");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, 4200).len() > 45, "the call that stands is untouched");
    assert!(scene.world.packets(scene.bob, 4300).is_empty());
    assert_eq!(scene.count(answered), 1);
    scene.finish(call);
}

#[test]
fn a_storm_of_provisional_responses_leaves_the_call_answerable() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    for n in 0..2_000 {
        let (status, sdp) = match n % 4 {
            0 => ("183 Session Progress", sdp("10.0.0.9", 6000 + n)),
            1 => ("180 Ringing", String::new()),
            2 => ("199 Early Dialog Terminated", String::new()),
            _ => ("181 Call Is Being Forwarded", sdp("not an address", 1)),
        };
        scene.say(&reply(&invite, status, &format!("t{n}"), CONTACT, &sdp));
    }
    scene.world.run_for(secs(1));
    scene.say(&ok(&invite, "a tag that is new".replace(' ', "-").as_str()));
    scene.hear("ACK");
    scene.world.run_for(secs(1));
    assert!(scene.world.packets(scene.bob, 4000).len() > 45);
    scene.finish(call);
}

#[test]
fn early_media_is_heard_but_the_microphone_stays_shut_until_the_answer() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "183 Session Progress", "b", CONTACT, &sdp("10.0.0.9", BOB_RTP)));
    let mut sound = Stream::new(BOB_RTP, rtp_of(&invite), 425.0);
    scene.stream(&mut sound, secs(3));
    // 180 after the 183 changes nothing.
    scene.say(&reply(&invite, "180 Ringing", "b", CONTACT, ""));
    scene.stream(&mut sound, secs(3));
    assert!(scene.world.heard(scene.alice).snr_db(425.0, 2.0) > 25.0);
    let rtp = scene.world.packets(scene.bob, BOB_RTP);
    assert!(rtp.is_empty(), "{} packets left before the answer", rtp.len());
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.stream(&mut sound, secs(2));
    assert!(scene.world.packets(scene.bob, BOB_RTP).len() > 90);
    scene.finish(call);
}

#[test]
fn endless_trying_ends_with_the_answer_timeout_and_a_cancel() {
    let mut config = phone();
    config.call.answer_timeout = secs(30);
    let (mut scene, _, invite) = Scene::dialled(config);
    for _ in 0..30 {
        scene.say(&reply(&invite, "100 Trying", "", "", ""));
        scene.world.run_for(secs(1));
    }
    let (by, _, why) = end(scene.ended());
    assert_eq!((by, why.as_deref()), (EndedBy::Local, Some("call.no-answer")));
    scene.hear("CANCEL");
    for _ in 0..40 {
        scene.say(&reply(&invite, "100 Trying", "", "", ""));
        scene.world.run_for(secs(1));
    }
    scene.world.run_for(secs(30));
    scene.world.assert_quiet();
}

#[test]
fn every_refusal_ends_the_call_and_is_acknowledged_as_long_as_it_is_repeated() {
    for code in (400..=699).filter(|code| ![401, 407].contains(code)) {
        let (mut scene, _, invite) = Scene::dialled(phone());
        let refusal = reply(&invite, &format!("{code} No"), "b", "", "");
        scene.say(&refusal);
        scene.hear("ACK");
        let (by, status, why) = end(scene.ended());
        assert_eq!((by, status), (EndedBy::Remote, Some(code)));
        assert!(why.is_some(), "{code} has a reason");
        scene.say(&refusal);
        let ack = scene.hear("ACK");
        assert_eq!(lines(&ack, "Via"), lines(&invite, "Via"), "the branch of the INVITE");
        assert!(header(&ack, "To").ends_with(";tag=b"));
        scene.world.assert_quiet();
    }
}

#[test]
fn a_challenge_without_an_account_ends_the_call() {
    for (code, name) in [(401, "WWW-Authenticate"), (407, "Proxy-Authenticate")] {
        let (mut scene, _, invite) = Scene::dialled(phone());
        let challenge = format!("{name}: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n");
        scene.say(&reply(&invite, &format!("{code} Who are you"), "b", &challenge, ""));
        scene.hear("ACK");
        let (_, status, why) = end(scene.ended());
        assert_eq!((status, why.as_deref()), (Some(code), Some("auth.no-password")));
        scene.world.assert_quiet();
    }
}

#[test]
fn a_bye_before_our_ack_ends_the_call() {
    let (mut scene, _, invite) = Scene::dialled(phone());
    scene.world.link(scene.alice, scene.bob, Link::default().latency_ms(50));
    scene.say(&ok(&invite, "b"));
    let bye = Dialog::of_callee(&invite, "b").request("BYE", "", "");
    scene.say(&bye);
    scene.hear("ACK");
    scene.hear("200");
    assert_eq!(end(scene.ended()), (EndedBy::Remote, None, None));
    scene.world.assert_quiet();
}

#[test]
fn a_200_without_contact_is_acknowledged_where_the_invite_went() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "200 OK", "b", "", &sdp("10.0.0.9", 4000)));
    let ack = scene.hear("ACK");
    assert!(ack.starts_with("ACK sip:bob@10.0.0.9 "), "{ack}");
    scene.finish(call);
}

#[test]
fn a_bye_that_nobody_answers_or_refuses_ends_the_call_all_the_same() {
    for refusal in ["", "481 Gone", "408 Timeout", "500 Broken", "401 Who are you"] {
        let (mut scene, call, _) = Scene::answered(phone());
        scene.hang_up(call);
        let bye = scene.hear("BYE");
        if !refusal.is_empty() {
            scene.say(&reply(&bye, refusal, "", "", ""));
        }
        assert_eq!(end(scene.ended()), (EndedBy::Local, None, None), "{refusal}");
        scene.world.run_for(secs(40));
        scene.world.assert_quiet();
    }
}

#[test]
fn bye_from_both_sides_at_once_ends_in_two_200s() {
    let (mut scene, call, mut dialog) = Scene::answered(phone());
    scene.world.link(scene.alice, scene.bob, Link::default().latency_ms(50));
    scene.say(&dialog.request("BYE", "", ""));
    scene.hang_up(call);
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    let heard = scene.hear_for(secs(2));
    assert!(heard == ["200"] || heard == ["481"], "{heard:?}");
    assert_eq!(scene.count(|event| matches!(event, Event::CallEnded { .. })), 1);
    scene.world.assert_quiet();
}

#[test]
fn a_dial_to_ourselves_is_a_call_like_any_other() {
    let (mut scene, _, _) = Scene::dialled(phone());
    let call = scene.world.dial(scene.alice, "sip:alice@10.0.0.1");
    let event = scene.world.run_until(scene.alice, |event| matches!(event, Event::CallIncoming { .. }));
    let Event::CallIncoming { call: theirs, .. } = event else { unreachable!("just matched") };
    scene.world.command(scene.alice, Command::Answer { call: theirs, audio: None }).expect("it rings");
    scene.world.run_for(secs(2));
    assert_eq!(scene.count(answered), 2);
    scene.hang_up(call);
    scene.world.run_for(secs(40));
    assert_eq!(scene.count(|event| matches!(event, Event::CallEnded { .. })), 3);
    scene.world.assert_quiet();
}
