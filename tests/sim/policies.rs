//! What becomes of calls that come: sent on, refused, answered by themselves; and what is told and shown of callers.

use crate::calls::{answered, ended, incoming, phone, with_codecs};
use crate::kit::World;
use crate::kit::peer::*;
use bellwire::api::{CallerInfo, Command, EndedBy, Event};
use bellwire::time::Duration;
use bellwire::ua::{AccountConfig, UaConfig};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A phone whose server bob plays.
fn at_bobs(change: impl FnOnce(&mut UaConfig)) -> UaConfig {
    let uri = |text: &str| text.parse().expect("a URI");
    let mut config = with_codecs(&["pcmu"]);
    let mut account = AccountConfig::new("work", uri("sip:alice@10.0.0.9"), uri("sip:10.0.0.9"));
    account.audio = config.default_audio.clone();
    config.accounts.push(account);
    change(&mut config);
    config
}

/// The same phone, registered.
fn registered(change: impl FnOnce(&mut UaConfig)) -> Scene {
    let mut scene = Scene::new(at_bobs(change));
    let register = scene.hear("REGISTER");
    let contact = format!("{};expires=3600\r\n", lines(&register, "Contact")[0].split(";expires").next().expect("one"));
    scene.say(&reply(&register, "200 OK", "r", &contact, ""));
    scene.world.run_until(scene.alice, |event| matches!(event, Event::Registered { .. }));
    scene
}

/// A call to alice with these further headers.
fn with(id: &str, headers: &str) -> String {
    invite(id, &sdp("10.0.0.9", BOB_RTP)).replacen("CSeq:", &format!("{headers}CSeq:"), 1)
}

fn forwarded(scene: &mut Scene) -> (String, String) {
    match scene.world.run_until(scene.alice, |event| matches!(event, Event::CallForwarded { .. })) {
        Event::CallForwarded { to, reason, .. } => (to, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_are_sent_on_always_when_busy_or_when_nobody_answers() {
    let mut scene = registered(|config| config.call.forward.always = Some("1003".into()));
    scene.say(&with("a", ""));
    let moved = scene.hear("302");
    assert_eq!(header(&moved, "Contact"), "<sip:1003@10.0.0.9>");
    assert_eq!(header(&moved, "Diversion"), "<sip:alice@10.0.0.9>;reason=unconditional");
    assert_eq!(forwarded(&mut scene), ("sip:1003@10.0.0.9".into(), "unconditional".into()));
    assert_eq!(scene.count(|event| matches!(event, Event::CallIncoming { .. })), 0);

    let mut scene = registered(|config| {
        config.call.max = 1;
        config.call.forward.busy = Some("carol@pbx.example".into());
    });
    let call = scene.ring(&with("b1", ""));
    scene.say(&with("b2", ""));
    let moved = scene.hear("302");
    assert_eq!(header(&moved, "Contact"), "<sip:carol@pbx.example>");
    assert_eq!(forwarded(&mut scene).1, "user-busy");
    scene.world.command(scene.alice, Command::Reject { call, code: None }).unwrap();
    scene.hear("486");

    let mut scene = registered(|config| {
        config.call.ring_timeout = secs(20);
        config.call.forward.no_answer = Some("1003".into());
    });
    let call = scene.ring(&with("n", ""));
    let moved = scene.hear("302");
    assert_eq!(header(&moved, "Diversion"), "<sip:alice@10.0.0.9>;reason=no-answer");
    assert_eq!(forwarded(&mut scene).1, "no-answer");
    let end = scene.ended();
    assert!(
        matches!(end, Event::CallEnded { call: over, code: Some(302), failure: None, .. } if over == call),
        "{end:?}"
    );
    // One that is answered in time is not sent on.
    let call = scene.ring(&with("n2", ""));
    scene.answer(call);
    let answer = scene.hear("200");
    let ack = Dialog::of_caller(&answer).ack(1, "");
    scene.say(&ack);
    scene.hear_for(secs(30));
    scene.world.command(scene.alice, Command::Hold { call }).expect("it is still up");
    scene.hear("INVITE");
    assert_eq!(scene.count(|event| matches!(event, Event::CallEnded { .. })), 1);
}

#[test]
fn a_call_that_would_come_back_or_go_round_is_not_sent_on() {
    for (what, target, headers) in [
        ("to ourselves", "alice", String::new()),
        ("round and round", "1003", "Diversion: <sip:x@10.0.0.9>;reason=unconditional\r\n".repeat(5)),
        ("nowhere", "tel:", String::new()),
    ] {
        let mut scene = registered(|config| config.call.forward.always = Some(target.into()));
        let call = scene.ring(&with("r", &headers));
        scene.world.command(scene.alice, Command::Reject { call, code: Some(603) }).unwrap();
        scene.hear("603");
        assert_eq!(scene.count(|event| matches!(event, Event::CallForwarded { .. })), 0, "{what}");
    }
}

#[test]
fn who_must_not_be_disturbed_refuses_by_the_status_of_the_config() {
    for code in [480, 486, 603] {
        let mut scene = registered(|config| {
            config.call.do_not_disturb = true;
            config.call.do_not_disturb_code = code;
        });
        scene.say(&with("d", ""));
        scene.hear(&code.to_string());
        assert_eq!(scene.count(|event| matches!(event, Event::CallIncoming { .. })), 0);
    }
}

#[test]
fn a_call_answers_itself_only_for_callers_that_the_account_names() {
    let wish = "Call-Info: <sip:10.0.0.9>;answer-after=2\r\n";
    let allow = |entries: &'static [&'static str]| {
        move |config: &mut UaConfig| {
            config.accounts[0].auto_answer_from = entries.iter().map(|entry| (*entry).to_owned()).collect();
        }
    };
    let mut scene = registered(allow(&["bob@10.0.0.9"]));
    let call = scene.ring(&with("a", wish));
    let before = scene.world.now;
    let answer = scene.hear("200");
    assert!(scene.world.now.since(before) >= Duration::from_millis(1990));
    let dialog = Dialog::of_caller(&answer);
    let ack = dialog.ack(1, "");
    scene.say(&ack);
    scene.world.run_until(scene.alice, answered);
    scene.hang_up(call);
    scene.hear("BYE");
    for (what, entries, headers) in [
        ("nobody may by default", &[][..], wish),
        ("somebody else may", &["boss"], wish),
        ("the caller does not wish it", &["*"], ""),
        (
            "somebody else is behind that From",
            &["bob"],
            "P-Asserted-Identity: <sip:eve@10.0.0.9>\r\nAnswer-Mode: Auto\r\n",
        ),
    ] {
        let mut scene = registered(allow(entries));
        scene.ring(&with("n", headers));
        scene.world.run_for(secs(5));
        assert_eq!(
            scene.world.sent(scene.alice, "SIP/2.0").iter().filter(|text| word(text) == "200").count(),
            0,
            "{what}"
        );
    }
    // Not from anywhere but the server either.
    let mut config = phone();
    config.call.auto_answer = None;
    let mut scene = Scene::new(config);
    scene.ring(&with("s", "Answer-Mode: Auto\r\n"));
    assert!(scene.hear_for(secs(5)).is_empty());
}

fn caller(scene: &mut Scene, headers: &str) -> CallerInfo {
    scene.say(&with("c", headers));
    match scene.world.run_until(scene.alice, |event| matches!(event, Event::CallIncoming { .. })) {
        Event::CallIncoming { caller, .. } => *caller,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_server_says_of_a_caller_is_shown_and_what_a_stranger_says_is_not() {
    let headers = "P-Asserted-Identity: \"The Boss\" <sip:1@10.0.0.9>\r\nPrivacy: id\r\n\
                   Diversion: <sip:carol@10.0.0.9>;reason=user-busy\r\nUser-to-User: 4869;encoding=hex\r\n\
                   Alert-Info: <http://evil.example/x.wav>\r\n";
    let known = caller(&mut registered(|_| {}), headers);
    assert_eq!(known.identity.as_deref(), Some("The Boss <sip:1@10.0.0.9>"));
    assert!(known.private);
    assert_eq!(
        (known.diverted[0].by.as_str(), known.diverted[0].reason.as_deref()),
        ("sip:carol@10.0.0.9", Some("user-busy"))
    );
    assert_eq!(known.user_to_user.as_deref(), Some("Hi"));
    let stranger = caller(&mut Scene::new(phone()), headers);
    assert_eq!(stranger, CallerInfo { user_to_user: Some("Hi".into()), ..CallerInfo::default() });
}

#[test]
fn a_call_that_another_phone_has_answered_is_not_missed() {
    for (reason, slug) in [
        ("Reason: SIP;cause=200;text=\"Call completed elsewhere\"\r\n", "call.answered-elsewhere"),
        ("Reason: Q.850;cause=26\r\n", "call.answered-elsewhere"),
        ("Reason: SIP;cause=487\r\n", "call.cancelled"),
        ("", "call.cancelled"),
    ] {
        let mut scene = Scene::new(phone());
        let text = invite("e", &sdp("10.0.0.9", BOB_RTP));
        scene.ring(&text);
        let head = text.split("Contact:").next().expect("the head").replace("INVITE", "CANCEL");
        scene.say(&format!("{head}{reason}Content-Length: 0\r\n\r\n"));
        scene.hear("200");
        scene.hear("487");
        let Event::CallEnded { by, failure: Some(failure), .. } = scene.ended() else { panic!("it is over") };
        assert_eq!((by, failure.slug.as_str()), (EndedBy::Remote, slug), "{reason}");
    }
}

#[test]
fn the_words_of_a_bye_are_told() {
    let (mut scene, _, mut bob) = Scene::called(phone());
    scene.say(&bob.request("BYE", "Reason: Q.850;cause=16\r\n", ""));
    scene.hear("200");
    let end = scene.ended();
    assert!(matches!(&end, Event::CallEnded { reason: Some(text), .. } if text == "normal call clearing"), "{end:?}");
    scene.world.assert_quiet();
}

#[test]
fn the_far_end_that_changes_is_told_where_the_server_says_so() {
    let mut scene = Scene::new(at_bobs(|config| config.accounts[0].register = false));
    let call = scene.world.dial(scene.alice, "1002");
    let invite = scene.hear("INVITE");
    let carol = "P-Asserted-Identity: \"Carol\" <sip:1002@10.0.0.9>\r\n";
    scene.say(&reply(&invite, "180 Ringing", "b", &format!("{CONTACT}{carol}"), ""));
    let who = |scene: &mut Scene| match scene
        .world
        .run_until(scene.alice, |event| matches!(event, Event::CallIdentity { .. }))
    {
        Event::CallIdentity { identity, .. } => identity,
        other => panic!("{other:?}"),
    };
    assert_eq!(who(&mut scene), "Carol <sip:1002@10.0.0.9>");
    scene.say(&reply(&invite, "200 OK", "b", &format!("{CONTACT}{carol}"), &sdp("10.0.0.9", BOB_RTP)));
    scene.hear("ACK");
    // A transfer behind the server: the same dialog, somebody else.
    let mut bob = Dialog::of_callee(&invite, "b");
    let dave = "P-Asserted-Identity: <sip:1003@10.0.0.9>\r\n";
    scene.say(&bob.request("INVITE", dave, &later(&sdp("10.0.0.9", BOB_RTP))));
    let answer = scene.hear("200");
    let seq = header(&answer, "CSeq").split(' ').next().and_then(|seq| seq.parse().ok()).expect("a number");
    let ack = bob.ack(seq, "");
    scene.say(&ack);
    assert_eq!(who(&mut scene), "sip:1003@10.0.0.9");
    assert_eq!(scene.count(|event| matches!(event, Event::CallIdentity { .. })), 2, "once each");
    scene.finish(call);
}

#[test]
fn privacy_hides_us_from_the_callee_and_not_from_our_server() {
    let mut scene = Scene::new(at_bobs(|config| {
        config.accounts[0].register = false;
        config.call.privacy = true;
        config.call.user_to_user = Some("order 4711".into());
    }));
    let call = scene.world.dial(scene.alice, "1002");
    let invite = scene.hear("INVITE");
    assert!(header(&invite, "From").starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), "{invite}");
    assert_eq!(header(&invite, "Privacy"), "id");
    assert_eq!(header(&invite, "P-Preferred-Identity"), "<sip:alice@10.0.0.9>");
    assert_eq!(header(&invite, "User-to-User"), "6f726465722034373131;encoding=hex");
    // Elsewhere nobody learns who we are.
    scene.say(&reply(&invite, "302 Moved", "m", "Contact: <sip:x@10.0.0.9:5070>\r\n", ""));
    scene.hear("ACK");
    scene.world.run_for(secs(1));
    let last = scene.world.sent(scene.alice, "INVITE").last().map(|text| (*text).to_owned()).expect("the second");
    assert!(last.starts_with("INVITE sip:x@10.0.0.9:5070") && !last.contains("alice@"), "{last}");
    scene.hang_up(call);
    scene.ended();
}

#[test]
fn a_call_is_sent_on_and_taken_by_the_other_phone() {
    let mut world = World::new(44);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let mut config = phone();
    config.call.forward.always = Some("sip:carol@10.0.0.3".into());
    let bob = world.ua("bob", &["10.0.0.2"], config);
    let carol = world.ua("carol", &["10.0.0.3"], phone());
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let at_carol = incoming(&mut world, carol);
    assert_eq!(world.events(bob).into_iter().filter(|event| matches!(event, Event::CallForwarded { .. })).count(), 1);
    world.command(carol, Command::Answer { call: at_carol, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(carol, ended);
    world.assert_quiet();
}
