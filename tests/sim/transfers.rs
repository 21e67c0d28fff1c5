//! Calls that are handed over: by us to scripted peers and other phones, and to us as a far end wishes.

use crate::calls::{answered, ended, incoming, phone};
use crate::detours::with_account;
use crate::kit::peer::*;
use crate::kit::{NodeId, World};
use bellwire::api::{Command, CommandError, EndedBy, Event, Reply, TransferState};
use bellwire::id::CallHandle;
use bellwire::time::Duration;
use bellwire::ua::{TransferPolicy, UaConfig};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(policy: TransferPolicy) -> UaConfig {
    let mut config = phone();
    config.call.transfer_policy = policy;
    config
}

fn transfer(scene: &mut Scene, call: CallHandle) -> String {
    let target = "sip:carol@10.0.0.3".to_owned();
    scene.world.command(scene.alice, Command::Transfer { call, target }).expect("it is up");
    hold(scene, "a=sendonly");
    scene.hear("REFER")
}

/// Alice changes the direction, and bob agrees.
fn hold(scene: &mut Scene, direction: &str) {
    let change = scene.hear("INVITE");
    assert!(change.contains(direction), "{change}");
    let answer = match direction {
        "a=sendonly" => format!("{}a=recvonly\r\n", sdp("10.0.0.9", BOB_RTP)),
        _ => sdp("10.0.0.9", BOB_RTP),
    };
    scene.say(&reply(&change, "200 OK", "", CONTACT, &later(&answer)));
    scene.hear("ACK");
}

/// Bob tells how it goes.
fn news(dialog: &mut Dialog, state: &str, line: &str) -> String {
    let more = format!("Event: refer\r\nSubscription-State: {state}\r\n{CONTACT}");
    let body = if line.is_empty() { String::new() } else { format!("{line}\r\n") };
    dialog.request("NOTIFY", &more, &body).replace("application/sdp", "message/sipfrag;version=2.0")
}

/// State, status and slug of the next news that alice tells.
fn told(scene: &mut Scene) -> (TransferState, Option<u16>, Option<String>) {
    match scene.world.run_until(scene.alice, |event| matches!(event, Event::Transfer { .. })) {
        Event::Transfer { state, code, failure, .. } => (state, code, failure.map(|failure| failure.slug)),
        other => panic!("{other:?}"),
    }
}

fn accept(scene: &mut Scene, refer: &str) {
    scene.say(&reply(refer, "202 Accepted", "", CONTACT, ""));
    assert_eq!(told(scene), (TransferState::Accepted, None, None));
}

#[test]
fn a_call_that_is_handed_over_ends_when_the_other_one_has_answered() {
    let (mut scene, call, mut bob) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    assert_eq!(header(&refer, "Refer-To"), "<sip:carol@10.0.0.3>");
    assert_eq!(header(&refer, "Referred-By"), "<sip:anonymous@anonymous.invalid>");
    assert_eq!(header(&refer, "Contact"), "<sip:10.0.0.1:5060>");
    assert_eq!(header(&refer, "CSeq"), "3 REFER");
    accept(&mut scene, &refer);
    for (state, line, wanted) in [
        ("active;expires=60", "SIP/2.0 100 Trying", (TransferState::Progress, Some(100), None)),
        ("active;expires=50", "SIP/2.0 180 Ringing", (TransferState::Progress, Some(180), None)),
        ("terminated;reason=noresource", "SIP/2.0 200 OK", (TransferState::Done, Some(200), None)),
    ] {
        scene.say(&news(&mut bob, state, line));
        scene.hear("200");
        assert_eq!(told(&mut scene), wanted);
    }
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    assert!(matches!(scene.ended(), Event::CallEnded { by: EndedBy::Local, failure: None, .. }));
    scene.world.assert_quiet();
}

#[test]
fn a_transfer_that_fails_is_told_and_the_call_goes_on() {
    for (what, line) in [
        ("busy", "SIP/2.0 486 Busy Here"),
        ("declined", "SIP/2.0 603 Declined"),
        ("unreachable", "SIP/2.0 503 Service Unavailable"),
    ] {
        let (mut scene, call, mut bob) = Scene::answered(phone());
        let refer = transfer(&mut scene, call);
        accept(&mut scene, &refer);
        scene.say(&news(&mut bob, "terminated;reason=noresource", line));
        scene.hear("200");
        let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        assert_eq!(told(&mut scene), (TransferState::Failed, code, Some("transfer.failed".into())), "{what}");
        hold(&mut scene, "a=sendrecv");
        // It may be tried again, and the next is told apart from the first.
        let refer = transfer(&mut scene, call);
        scene.say(&reply(&refer, "603 Decline", "", "", ""));
        assert_eq!(told(&mut scene), (TransferState::Failed, Some(603), Some("transfer.refused".into())), "{what}");
        hold(&mut scene, "a=sendrecv");
        scene.finish(call);
    }
}

#[test]
fn a_refused_refer_leaves_the_call_and_a_forgotten_call_ends() {
    for refusal in ["405 Method Not Allowed", "403 Forbidden", "501 Not Implemented", "491 Request Pending"] {
        let (mut scene, call, _) = Scene::answered(phone());
        let refer = transfer(&mut scene, call);
        scene.say(&reply(&refer, refusal, "", "", ""));
        let (state, _, slug) = told(&mut scene);
        assert_eq!((state, slug.as_deref()), (TransferState::Failed, Some("transfer.refused")), "{refusal}");
        hold(&mut scene, "a=sendrecv");
        scene.finish(call);
    }
    let (mut scene, call, _) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    scene.say(&reply(&refer, "481 Call Does Not Exist", "", "", ""));
    assert_eq!(told(&mut scene).0, TransferState::Failed);
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "481 Call Does Not Exist", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn silence_after_the_202_is_told_and_keeps_the_call() {
    let (mut scene, call, mut bob) = Scene::answered(phone());
    let mut sound = Stream::new(BOB_RTP, rtp_of(invites(&scene)[0]), 440.0);
    let refer = transfer(&mut scene, call);
    accept(&mut scene, &refer);
    scene.stream(&mut sound, secs(31));
    let unknown = (TransferState::Unknown, None, Some("transfer.unknown".into()));
    assert_eq!(told(&mut scene), unknown);
    hold(&mut scene, "a=sendrecv");
    // What comes later belongs to nothing any more.
    scene.say(&news(&mut bob, "terminated;reason=noresource", "SIP/2.0 200 OK"));
    scene.hear("481");
    // The same when the news stop on the way.
    let refer = transfer(&mut scene, call);
    accept(&mut scene, &refer);
    scene.say(&news(&mut bob, "active;expires=20", "SIP/2.0 180 Ringing"));
    scene.hear("200");
    assert_eq!(told(&mut scene).0, TransferState::Progress);
    scene.stream(&mut sound, secs(19));
    assert_eq!(told(&mut scene), unknown);
    hold(&mut scene, "a=sendrecv");
    // Or end without a result.
    let refer = transfer(&mut scene, call);
    accept(&mut scene, &refer);
    scene.say(&news(&mut bob, "terminated;reason=giveup", "SIP/2.0 100 Trying"));
    scene.hear("200");
    assert_eq!(told(&mut scene), unknown);
    hold(&mut scene, "a=sendrecv");
    scene.finish(call);
}

/// The INVITEs that alice has sent.
fn invites(scene: &Scene) -> Vec<&str> {
    scene.world.sent(scene.alice, "INVITE")
}

#[test]
fn a_notify_may_come_before_the_202_twice_late_or_wrong() {
    let (mut scene, call, mut bob) = Scene::answered(phone());
    // Out of the blue.
    scene.say(&news(&mut bob, "active", "SIP/2.0 200 OK"));
    scene.hear("481");
    let refer = transfer(&mut scene, call);
    let first = news(&mut bob, "active;expires=60", "SIP/2.0 100 Trying");
    scene.say(&first);
    scene.hear("200");
    assert_eq!(told(&mut scene), (TransferState::Progress, Some(100), None));
    scene.say(&reply(&refer, "202 Accepted", "", CONTACT, ""));
    // A copy gets the same answer and is not told again.
    scene.say(&first);
    scene.hear("200");
    let fragment = "SIP/2.0 180 Ringing";
    for (what, bad, status) in [
        ("another package", news(&mut bob, "active", fragment).replace("Event: refer", "Event: presence"), "489"),
        ("no package", news(&mut bob, "active", fragment).replace("Event: refer\r\n", ""), "489"),
        ("another REFER", news(&mut bob, "active", fragment).replace("Event: refer", "Event: refer;id=99"), "481"),
        ("an extension", news(&mut bob, "active", fragment).replace("Event:", "Require: magic\r\nEvent:"), "420"),
        ("another body", news(&mut bob, "active", fragment).replace("message/sipfrag", "text/plain"), "415"),
        ("no status line", news(&mut bob, "active", "hello"), "400"),
        ("an old number", bob.with_seq("NOTIFY", 1, "Event: refer\r\n", "").replace("z9hG4bK", "z9hG4bKold"), "500"),
    ] {
        scene.say(&bad);
        scene.hear(status);
        assert!(scene.hear_for(Duration::from_millis(100)).is_empty(), "{what}");
    }
    assert_eq!(scene.count(|event| matches!(event, Event::Transfer { .. })), 1);
    // By its number it is this one.
    scene.say(&news(&mut bob, "active;expires=60", fragment).replace("Event: refer", "Event: refer;id=3"));
    scene.hear("200");
    assert_eq!(told(&mut scene), (TransferState::Progress, Some(180), None));
    scene.finish(call);
}

#[test]
fn a_far_end_that_hangs_up_while_it_transfers_may_still_tell_the_result() {
    let (mut scene, call, mut bob) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    accept(&mut scene, &refer);
    scene.say(&bob.request("BYE", "", ""));
    scene.hear("200");
    assert_eq!(told(&mut scene), (TransferState::Unknown, None, None));
    scene.ended();
    scene.say(&news(&mut bob, "terminated;reason=noresource", "SIP/2.0 200 OK"));
    scene.hear("200");
    scene.say(&news(&mut bob, "terminated;reason=noresource", "SIP/2.0 200 OK"));
    scene.hear("481");
    scene.world.assert_quiet();
}

#[test]
fn a_far_end_that_will_not_tell_leaves_the_result_open() {
    let (mut scene, call, _) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    scene.say(&reply(&refer, "202 Accepted", "", &format!("{CONTACT}Refer-Sub: false\r\n"), ""));
    assert_eq!(told(&mut scene), (TransferState::Unknown, None, Some("transfer.unknown".into())));
    hold(&mut scene, "a=sendrecv");
    scene.finish(call);
}

#[test]
fn only_a_call_that_is_up_can_be_handed_over_and_only_once_at_a_time() {
    let (mut scene, call, _) = Scene::dialled(phone());
    let target = || "sip:carol@10.0.0.3".to_owned();
    let early = scene.world.command(scene.alice, Command::Transfer { call, target: target() });
    assert!(matches!(early, Err(CommandError::WrongState { .. })), "{early:?}");
    scene.hang_up(call);
    scene.world.run_for(secs(40));
    let (mut scene, call, _) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    let twice = scene.world.command(scene.alice, Command::Transfer { call, target: target() });
    assert!(matches!(twice, Err(CommandError::WrongState { .. })), "{twice:?}");
    let wrong = scene.world.command(scene.alice, Command::Transfer { call, target: "x y".into() });
    assert!(matches!(wrong, Err(CommandError::BadTarget { .. })), "{wrong:?}");
    let nothing = scene.world.command(scene.alice, Command::AcceptTransfer { call });
    assert!(matches!(nothing, Err(CommandError::NoTransfer(_))), "{nothing:?}");
    scene.say(&reply(&refer, "603 Decline", "", "", ""));
    hold(&mut scene, "a=sendrecv");
    scene.finish(call);
}

/// Bob wants alice to call somebody.
fn refer(dialog: &mut Dialog, to: &str, more: &str) -> String {
    dialog.request("REFER", &format!("Refer-To: {to}\r\n{CONTACT}{more}"), "")
}

/// The fragment of a NOTIFY and whether it is the last; bob has answered it.
fn heard_news(scene: &mut Scene) -> (String, bool) {
    let notify = scene.hear("NOTIFY");
    assert!(header(&notify, "Event").starts_with("refer"), "{notify}");
    assert_eq!(header(&notify, "Content-Type"), "message/sipfrag;version=2.0");
    assert!(!header(&notify, "Contact").is_empty());
    scene.say(&reply(&notify, "200 OK", "", "", ""));
    (body(&notify).trim().to_owned(), header(&notify, "Subscription-State").starts_with("terminated"))
}

fn asked(scene: &mut Scene) -> (String, Option<u64>) {
    match scene.world.run_until(scene.alice, |event| matches!(event, Event::TransferAsked { .. })) {
        Event::TransferAsked { to, waits_s, .. } => (to, waits_s),
        other => panic!("{other:?}"),
    }
}

fn carol(scene: &mut Scene) -> NodeId {
    scene.world.ua("carol", &["10.0.0.3"], phone())
}

#[test]
fn a_wish_of_the_far_end_is_followed_when_the_user_says_so() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    let carol = carol(&mut scene);
    let by = "Referred-By: <sip:bob@10.0.0.9>;cid=\"x\"\r\n";
    scene.say(&refer(&mut bob, "\"Carol\" <sip:carol@10.0.0.3>", by));
    let taken = scene.hear("202");
    assert!(!header(&taken, "Contact").is_empty());
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 100 Trying".into(), false));
    assert_eq!(asked(&mut scene), ("sip:carol@10.0.0.3".into(), Some(30)));
    scene.world.run_for(secs(5));
    assert!(invites(&scene).is_empty(), "nobody is called before the user has agreed");
    scene.world.command(scene.alice, Command::AcceptTransfer { call }).expect("it was asked for");
    let theirs = incoming(&mut scene.world, carol);
    assert_eq!(header(invites(&scene)[0], "Referred-By"), "<sip:bob@10.0.0.9>;cid=\"x\"");
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 180 Ringing".into(), false));
    scene.world.command(carol, Command::Answer { call: theirs, audio: None }).unwrap();
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 200 OK".into(), true));
    scene.say(&bob.request("BYE", "", ""));
    scene.hear("200");
    assert!(matches!(scene.ended(), Event::CallEnded { call: over, .. } if over == call));
    scene.world.command(carol, Command::HangUp { call: theirs }).unwrap();
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_far_end_that_does_not_hang_up_after_the_transfer_is_left() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    let carol = carol(&mut scene);
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    assert_eq!(asked(&mut scene).1, None);
    let theirs = incoming(&mut scene.world, carol);
    heard_news(&mut scene);
    scene.world.command(carol, Command::Answer { call: theirs, audio: None }).unwrap();
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 200 OK".into(), true));
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    assert!(matches!(scene.ended(), Event::CallEnded { call: over, .. } if over == call));
    scene.world.command(carol, Command::HangUp { call: theirs }).unwrap();
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_wish_that_leads_to_nobody_keeps_the_old_call() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    let carol = carol(&mut scene);
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    let theirs = incoming(&mut scene.world, carol);
    heard_news(&mut scene);
    scene.world.command(carol, Command::Reject { call: theirs, code: Some(486) }).unwrap();
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 486 Busy Here".into(), true));
    scene.ended();
    assert!(scene.hear_for(secs(5)).is_empty(), "the old call is kept");
    // The second wish in this dialog has a number of its own.
    scene.say(&refer(&mut bob, "<sip:nobody@10.0.0.77>", ""));
    scene.hear("202");
    let notify = scene.hear("NOTIFY");
    assert_eq!(header(&notify, "Event"), format!("refer;id={}", bob.seq));
    scene.say(&reply(&notify, "481 Call Does Not Exist", "", "", ""));
    // Nobody listens: nothing more is told.
    let heard = scene.hear_for(secs(35));
    assert!(heard.is_empty(), "{heard:?}");
    scene.finish(call);
}

#[test]
fn a_wish_is_declined_by_the_user_by_time_or_by_policy() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    // One at a time.
    scene.say(&refer(&mut bob, "<sip:dave@10.0.0.4>", ""));
    scene.hear("491");
    scene.world.command(scene.alice, Command::RejectTransfer { call }).expect("it was asked for");
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 603 Decline".into(), true));
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 603 Decline".into(), true));
    let declined = |event: &Event| matches!(event, Event::TransferAnswered { accepted: false, new_call: None, .. });
    assert_eq!(scene.count(declined), 2);
    scene.finish(call);

    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Deny));
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("603");
    assert_eq!(scene.count(declined), 1);
    scene.finish(call);
}

#[test]
fn a_far_end_that_asks_and_leaves_is_still_followed() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    let carol = carol(&mut scene);
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    scene.say(&bob.request("BYE", "", ""));
    scene.hear("200");
    scene.ended();
    scene.world.command(scene.alice, Command::AcceptTransfer { call }).expect("the question stands");
    let theirs = incoming(&mut scene.world, carol);
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 180 Ringing".into(), false));
    scene.world.command(carol, Command::Answer { call: theirs, audio: None }).unwrap();
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 200 OK".into(), true));
    scene.world.command(carol, Command::HangUp { call: theirs }).unwrap();
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_far_end_that_wants_no_news_gets_none() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", "Refer-Sub: false\r\nRequire: norefersub\r\n"));
    let taken = scene.hear("202");
    assert_eq!(header(&taken, "Refer-Sub"), "false");
    scene.silent();
    scene.world.command(scene.alice, Command::RejectTransfer { call }).expect("it was asked for");
    scene.silent();
    scene.finish(call);
}

#[test]
fn nobody_makes_us_call_what_we_should_not() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    for (what, to, status) in [
        ("a telephone number", "<tel:+4990012345>", "416"),
        ("a web page", "<https://x.example/>", "416"),
        ("another method", "<sip:carol@10.0.0.3;method=BYE>", "501"),
        ("no address", "carol", "400"),
        ("a broken Replaces", "<sip:carol@10.0.0.3?Replaces=1>", "400"),
    ] {
        scene.say(&refer(&mut bob, to, ""));
        scene.hear(status);
        assert!(scene.hear_for(Duration::from_millis(100)).is_empty(), "{what}");
    }
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", "Refer-To: <sip:dave@10.0.0.4>\r\n"));
    scene.hear("400");
    scene.say(&bob.request("REFER", CONTACT, ""));
    scene.hear("400");
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.3>", "Require: magic\r\n"));
    scene.hear("420");
    // Outside a call, and before it is up.
    let outside =
        refer(&mut bob, "<sip:carol@10.0.0.3>", "").replace(&format!("To: {}", bob.to), "To: <sip:alice@10.0.0.1>");
    scene.say(&outside.replace("Call-ID: ", "Call-ID: other"));
    scene.hear("403");
    for (event, status) in [("refer", "481"), ("message-summary", "489"), ("check-sync", "489")] {
        let notify = news(&mut bob, "active", "SIP/2.0 200 OK").replace("Event: refer", &format!("Event: {event}"));
        let outside = notify.replace(&format!("To: {}", bob.to), "To: <sip:alice@10.0.0.1>");
        scene.say(&outside.replace("Call-ID: ", "Call-ID: other"));
        scene.hear(status);
    }
    assert!(invites(&scene).is_empty());
    // The headers that it wants in our INVITE stay out of it.
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.9:5060?Route=sip%3Aevil&X-Evil=1&From=sip%3Aboss&body=hello>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    let invite = scene.hear("INVITE");
    assert!(!invite.contains("evil") && !invite.contains("X-Evil") && !invite.contains("boss"), "{invite}");
    assert!(invite.starts_with("INVITE sip:carol@10.0.0.9:5060 SIP/2.0\r\n"), "{invite}");
    scene.say(&reply(&invite, "486 Busy Here", "c", "", ""));
    scene.hear("ACK");
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 486 Busy Here".into(), true));
    scene.finish(call);
}

#[test]
fn phones_that_send_us_in_a_circle_are_left_after_four_rounds() {
    let (mut scene, _, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    for round in 1..=5 {
        let branch = format!("z9hG4bK{round}");
        scene.say(&refer(&mut bob, "<sip:bob@10.0.0.9:5060>", "").replace("z9hG4bK", &branch));
        if round == 5 {
            scene.hear("482");
            break;
        }
        scene.hear("202");
        heard_news(&mut scene);
        let invite = scene.hear("INVITE");
        scene.say(&ok(&invite, &format!("r{round}")));
        scene.hear("ACK");
        assert_eq!(heard_news(&mut scene), ("SIP/2.0 200 OK".into(), true));
        scene.say(&bob.request("BYE", "", "").replace("z9hG4bK", &branch));
        scene.hear("200");
        bob = Dialog::of_callee(&invite, &format!("r{round}"));
    }
    let Ok(Reply::Snapshot(snapshot)) = scene.world.command(scene.alice, Command::Snapshot) else { panic!() };
    scene.finish(snapshot.calls[0].call);
}

#[test]
fn three_phones_hand_a_call_over() {
    let mut world = World::new(21);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let bob = world.ua("bob", &["10.0.0.2"], policy(TransferPolicy::Allow));
    let carol = world.ua("carol", &["10.0.0.3"], phone());
    world.microphone(bob, 1000.0);
    world.microphone(carol, 440.0);
    let call = world.dial(alice, "sip:bob@10.0.0.2");
    let at_bob = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: at_bob, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.command(alice, Command::Transfer { call, target: "sip:carol@10.0.0.3".into() }).unwrap();
    let at_carol = incoming(&mut world, carol);
    world.run_until(alice, |event| matches!(event, Event::Transfer { code: Some(180), .. }));
    world.command(carol, Command::Answer { call: at_carol, audio: None }).unwrap();
    let done = |event: &Event| matches!(event, Event::Transfer { state: TransferState::Done, .. });
    world.run_until(alice, done);
    let end = world.run_until(alice, ended);
    assert!(matches!(end, Event::CallEnded { by: EndedBy::Local, failure: None, .. }), "{end:?}");
    world.run_for(secs(5));
    assert!(world.heard(carol).snr_db(1000.0, 2.0) > 25.0, "carol hears bob");
    world.command(carol, Command::HangUp { call: at_carol }).unwrap();
    world.run_until(bob, ended);
    world.assert_quiet();
}

#[test]
fn a_refer_that_is_challenged_is_known_by_its_new_number() {
    let (mut scene, call, invite) = Scene::dialled(with_account());
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    let mut bob = Dialog::of_callee(&invite, "b");
    let refer = transfer(&mut scene, call);
    let challenge = "WWW-Authenticate: Digest realm=\"work\", nonce=\"n\", qop=\"auth\"\r\n";
    scene.say(&reply(&refer, "401 Unauthorized", "", challenge, ""));
    let refer = scene.hear("REFER");
    assert!(header(&refer, "Authorization").contains("username=\"1001\""), "{refer}");
    accept(&mut scene, &refer);
    let number = header(&refer, "CSeq").split(' ').next().expect("a number").to_owned();
    let ringing = news(&mut bob, "active;expires=60", "SIP/2.0 180 Ringing");
    scene.say(&ringing.replace("Event: refer", &format!("Event: refer;id={number}")));
    scene.hear("200");
    assert_eq!(told(&mut scene), (TransferState::Progress, Some(180), None));
    scene.finish(call);
}

#[test]
fn a_challenged_refer_goes_out_again_with_a_number_that_no_other_request_has() {
    let (mut scene, call, invite) = Scene::dialled(with_account());
    scene.say(&ok(&invite, "b"));
    scene.hear("ACK");
    scene.world.run_until(scene.alice, answered);
    let refer = transfer(&mut scene, call);
    // Before the challenge comes, the call goes on.
    scene.world.command(scene.alice, Command::Resume { call }).unwrap();
    let change = scene.hear("INVITE");
    scene.say(&ok(&change, ""));
    scene.hear("ACK");
    let challenge = "WWW-Authenticate: Digest realm=\"work\", nonce=\"n\", qop=\"auth\"\r\n";
    scene.say(&reply(&refer, "401 Unauthorized", "", challenge, ""));
    let refer = scene.hear("REFER");
    let number = |text: &str| header(text, "CSeq").split(' ').next().and_then(|seq| seq.parse::<u32>().ok());
    assert_eq!(number(&refer), number(&change).map(|seq| seq + 1), "{refer}");
    accept(&mut scene, &refer);
    scene.finish(call);
}

#[test]
fn a_hold_that_an_answer_to_the_far_end_brings_about_lets_the_transfer_go_on() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    scene.world.command(scene.alice, Command::Transfer { call, target: "sip:carol@10.0.0.3".into() }).unwrap();
    // Both change the session at once, and bob is the first to try again.
    let ours = scene.hear("INVITE");
    let change = |bob: &mut Dialog| bob.request("INVITE", "", &later(&sdp("10.0.0.9", BOB_RTP)));
    let theirs = change(&mut bob);
    scene.say(&theirs);
    scene.hear("491");
    let refused = bob.ack(bob.seq, "").replace(&format!("a{}", bob.seq), &format!("i{}", bob.seq));
    scene.say(&refused);
    scene.say(&reply(&ours, "491 Request Pending", "", "", ""));
    scene.hear("ACK");
    let theirs = change(&mut bob);
    scene.say(&theirs);
    assert!(body(&scene.hear("200")).contains("a=sendonly\r\n"));
    let ack = bob.ack(bob.seq, "");
    scene.say(&ack);
    let refer = scene.hear("REFER");
    accept(&mut scene, &refer);
    scene.finish(call);
}

#[test]
fn a_transfer_waits_no_longer_for_a_hold_that_the_user_takes_back() {
    let (mut scene, call, mut bob) = Scene::called(phone());
    let theirs = bob.request("INVITE", "", &later(&sdp("10.0.0.9", BOB_RTP)));
    scene.say(&theirs);
    scene.hear("200");
    scene.world.command(scene.alice, Command::Transfer { call, target: "sip:carol@10.0.0.3".into() }).unwrap();
    scene.world.command(scene.alice, Command::Resume { call }).unwrap();
    let refer = scene.hear("REFER");
    let ack = bob.ack(bob.seq, "");
    scene.say(&ack);
    accept(&mut scene, &refer);
    scene.finish(call);
}

#[test]
fn a_transfer_that_fails_takes_back_only_its_own_hold() {
    // The user had asked for one.
    let (mut scene, call, _) = Scene::answered(phone());
    scene.world.command(scene.alice, Command::Hold { call }).unwrap();
    scene.world.command(scene.alice, Command::Transfer { call, target: "sip:carol@10.0.0.3".into() }).unwrap();
    hold(&mut scene, "a=sendonly");
    let refer = scene.hear("REFER");
    scene.say(&reply(&refer, "603 Decline", "", "", ""));
    assert_eq!(told(&mut scene).0, TransferState::Failed);
    scene.silent();
    scene.finish(call);
    // Another call is the active one by now.
    let (mut scene, call, mut bob) = Scene::answered(phone());
    let refer = transfer(&mut scene, call);
    accept(&mut scene, &refer);
    let second = scene.world.dial(scene.alice, "sip:dave@10.0.0.9");
    let invite = scene.hear("INVITE");
    scene.say(&ok(&invite, "d"));
    scene.hear("ACK");
    scene.say(&news(&mut bob, "terminated;reason=noresource", "SIP/2.0 486 Busy Here"));
    scene.hear("200");
    assert_eq!(told(&mut scene).0, TransferState::Failed);
    scene.silent();
    for call in [call, second] {
        scene.hang_up(call);
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
    }
    scene.world.assert_quiet();
}

#[test]
fn a_wish_that_leads_to_a_phone_without_sound_keeps_the_old_call() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.9:5060>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    let invite = scene.hear("INVITE");
    scene.say(&reply(&invite, "200 OK", "c", CONTACT, ""));
    scene.hear("ACK");
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    assert_eq!(heard_news(&mut scene), ("SIP/2.0 480 Temporarily Unavailable".into(), true));
    assert!(scene.hear_for(secs(5)).is_empty(), "the old call is kept");
    scene.finish(call);
}

#[test]
fn a_far_end_that_wants_no_news_gets_none_after_however_long() {
    let mut config = policy(TransferPolicy::Allow);
    (config.call.answer_timeout, config.call.media_timeout) = (secs(600), None);
    let (mut scene, call, mut bob) = Scene::called(config);
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.9:5060>", "Refer-Sub: false\r\n"));
    scene.hear("202");
    let invite = scene.hear("INVITE");
    scene.say(&reply(&invite, "180 Ringing", "c", CONTACT, ""));
    assert_eq!(scene.hear_for(secs(200)), [""; 0]);
    scene.say(&reply(&invite, "486 Busy Here", "c", "", ""));
    scene.hear("ACK");
    scene.silent();
    scene.finish(call);
}

#[test]
fn a_wish_that_the_policy_follows_disturbs_no_other_call_and_opens_no_microphone() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    scene.world.command(scene.alice, Command::Hold { call }).unwrap();
    hold(&mut scene, "a=sendonly");
    let second = scene.world.dial(scene.alice, "sip:dave@10.0.0.9");
    let invite = scene.hear("INVITE");
    scene.say(&ok(&invite, "d"));
    scene.hear("ACK");
    // Who is on hold gets no other ear, and the active call goes on.
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.9:5060>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    let invite = scene.hear("INVITE");
    assert!(invite.starts_with("INVITE sip:carol@") && body(&invite).contains("a=sendonly\r\n"), "{invite}");
    scene.say(&reply(&invite, "180 Ringing", "c", CONTACT, ""));
    heard_news(&mut scene);
    scene.silent();
    scene.say(&reply(&invite, "486 Busy Here", "c", "", ""));
    scene.hear("ACK");
    heard_news(&mut scene);
    for call in [call, second] {
        scene.hang_up(call);
        let bye = scene.hear("BYE");
        scene.say(&reply(&bye, "200 OK", "", "", ""));
    }
    scene.world.assert_quiet();
}

#[test]
fn who_is_muted_is_so_in_the_call_that_a_wish_leads_to() {
    let (mut scene, call, mut bob) = Scene::called(policy(TransferPolicy::Allow));
    scene.world.command(scene.alice, Command::Mute { call, on: true }).unwrap();
    scene.say(&refer(&mut bob, "<sip:carol@10.0.0.9:5060>", ""));
    scene.hear("202");
    heard_news(&mut scene);
    let invite = scene.hear("INVITE");
    let answer = sdp("10.0.0.9", 4100);
    scene.say(&reply(&invite, "200 OK", "c", CONTACT, &answer));
    scene.hear("ACK");
    assert_eq!(heard_news(&mut scene).0, "SIP/2.0 200 OK");
    scene.say(&bob.request("BYE", "", ""));
    scene.hear("200");
    scene.world.run_for(secs(2));
    let packets = scene.world.packets(scene.bob, 4100);
    let silent = |bytes: &Vec<u8>| bytes[12..].iter().all(|byte| matches!(byte, 0xff | 0x7f));
    assert!(packets.len() > 50 && packets.iter().all(|(_, bytes)| silent(bytes)), "{}", packets.len());
    scene.finish(CallHandle(call.0 + 1));
}
