//! Changes, early media and reliable responses across a bridge of the PBX, between two phones that the test plays by hand.

use crate::calls::{answered, ended, incoming};
use crate::kit::hand::{Hand, sdp};
use crate::kit::peer::{Dialog, Stream, body, header, lines, reply, rtp_of, word};
use crate::kit::{NodeId, World};
use crate::registration::{account, registered, users};
use bellwire::api::{Command, Event};
use bellwire::pbx::PbxConfig;
use bellwire::sip::message::{HeaderName, Method};
use bellwire::time::Duration;

const PBX: &str = "10.0.0.100";
const AT_PBX: &str = "10.0.0.100:5060";
const CAROL: &str = "Contact: <sip:carol@10.0.0.3:5060>\r\n";
const DAVE: &str = "Contact: <sip:dave@10.0.0.4:5060>\r\nAllow: INVITE, ACK, BYE, UPDATE, PRACK\r\n";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

struct Hall {
    world: World,
    pbx: NodeId,
    carol: Hand,
    dave: Hand,
}

impl Hall {
    fn new(seed: u64, change: impl FnOnce(&mut PbxConfig)) -> Self {
        let mut world = World::new(seed);
        let mut config = users(&["carol", "dave"]);
        change(&mut config);
        let pbx = world.pbx("pbx", &[PBX], config);
        let mut carol = Hand::new(&mut world, "carol", "10.0.0.3", PBX, "carol-secret");
        let mut dave = Hand::new(&mut world, "dave", "10.0.0.4", PBX, "dave-secret");
        carol.register(&mut world);
        dave.register(&mut world);
        Self { world, pbx, carol, dave }
    }

    /// Carol calls dave with these headers; gives what dave hears.
    fn call(&mut self, headers: &[(HeaderName, &str)], offer: &str) -> String {
        let mut request = self.carol.request(Method::Invite, "dave");
        for (name, value) in headers {
            request.headers.push(name.clone(), *value);
        }
        request.headers.push(HeaderName::CONTENT_TYPE, "application/sdp");
        request.body = offer.into();
        self.carol.ask(&mut self.world, request);
        self.hear(self.dave.node(), "INVITE")
    }

    fn say(&mut self, node: NodeId, text: &str) {
        self.world.say(node, AT_PBX, text);
    }

    #[track_caller]
    fn hear(&mut self, node: NodeId, wanted: &str) -> String {
        loop {
            let (_, text) = self.world.hear(node);
            if word(&text) == wanted {
                return text;
            }
            if word(&text) != "100" {
                self.world.fail(&format!("{wanted} expected, got\n{text}"));
            }
        }
    }

    /// Both talk: carol's and dave's side of their dialogs.
    fn up(&mut self, headers: &[(HeaderName, &str)]) -> (Dialog, Dialog) {
        let invite = self.call(headers, &theirs(1, "sendrecv"));
        let dave = Dialog::of_callee(&invite, "d");
        self.say(self.dave.node(), &reply(&invite, "200 OK", "d", DAVE, &ours(1, "sendrecv")));
        self.hear(self.dave.node(), "ACK");
        let ok = self.hear(self.carol.node(), "200");
        let mut carol = Dialog::of_caller(&ok);
        carol.seq = header(&ok, "CSeq").split(' ').next().and_then(|seq| seq.parse().ok()).expect("a number");
        let ack = carol.ack(carol.seq, "");
        self.say(self.carol.node(), &ack);
        self.world.run_for(secs(1));
        (carol, dave)
    }

    /// Carol hangs up, dave hears it, and nothing is left.
    fn finish(mut self, mut carol: Dialog) {
        let bye = carol.request("BYE", "", "");
        self.say(self.carol.node(), &bye);
        self.hear(self.carol.node(), "200");
        let bye = self.hear(self.dave.node(), "BYE");
        self.say(self.dave.node(), &reply(&bye, "200 OK", "", "", ""));
        self.world.run_for(secs(40));
        assert!(self.world.pbx_of(self.pbx).is_quiet(), "the PBX still holds something");
    }
}

/// Carol's description, and dave's.
fn theirs(version: u32, direction: &str) -> String {
    sdp("10.0.0.3", 4000, "0", direction, version)
}

fn ours(version: u32, direction: &str) -> String {
    sdp("10.0.0.4", 5000, "0", direction, version)
}

fn says(text: &str, direction: &str) -> bool {
    body(text).contains(&format!("a={direction}\r\n")) && body(text).contains("c=IN IP4 10.0.0.100")
}

#[test]
fn early_sound_passes_the_bridge_before_the_answer() {
    for status in ["183 Session Progress", "180 Ringing"] {
        let mut hall = Hall::new(60, |_| {});
        let (carol, dave) = (hall.carol.node(), hall.dave.node());
        let invite = hall.call(&[], &theirs(1, "sendrecv"));
        hall.say(dave, &reply(&invite, status, "d", DAVE, &ours(1, "sendrecv")));
        let early = hall.hear(carol, &status[..3]);
        assert!(says(&early, "sendrecv") && lines(&early, "RSeq").is_empty(), "{early}");
        let mut sound = Stream::new(5000, rtp_of(&invite), 500.0);
        for _ in 0..50 {
            let packet = sound.packet();
            hall.world.say_bytes(dave, 5000, sound.to, packet);
            hall.world.run_for(Duration::from_millis(20));
        }
        assert!(hall.world.packets(carol, 4000).len() > 40, "{status}");
        // Busy after the announcement.
        hall.say(dave, &reply(&invite, "486 Busy Here", "d", "", ""));
        hall.hear(dave, "ACK");
        hall.hear(carol, "486");
    }
}

#[test]
fn reliable_responses_and_early_changes_pass_hop_by_hop() {
    let mut hall = Hall::new(61, |_| {});
    let (carol, dave) = (hall.carol.node(), hall.dave.node());
    let allow = (HeaderName::ALLOW, "INVITE, ACK, BYE, UPDATE, PRACK");
    let invite = hall.call(&[(HeaderName::SUPPORTED, "100rel"), allow], &theirs(1, "sendrecv"));
    assert!(header(&invite, "Supported").contains("100rel"));
    let more = format!("{DAVE}Require: 100rel\r\nRSeq: 77\r\n");
    hall.say(dave, &reply(&invite, "183 Session Progress", "d", &more, &ours(1, "sendrecv")));
    let prack = hall.hear(dave, "PRACK");
    assert!(header(&prack, "RAck").starts_with("77 "));
    hall.say(dave, &reply(&prack, "200 OK", "", "", ""));
    let early = hall.hear(carol, "183");
    assert!(header(&early, "Require") == "100rel" && says(&early, "sendrecv"), "{early}");
    let mut from_carol = Dialog::of_caller(&early);
    let seq = header(&early, "CSeq").split(' ').next().expect("a number").to_owned();
    from_carol.seq = seq.parse().expect("a number");
    let rack = format!("RAck: {} {seq} INVITE\r\n", header(&early, "RSeq"));
    let prack = from_carol.request("PRACK", &rack, "");
    hall.say(carol, &prack);
    hall.hear(carol, "200");
    // Dave changes his early session; carol answers.
    let mut from_dave = Dialog::of_callee(&invite, "d");
    let update = from_dave.request("UPDATE", DAVE, &ours(2, "sendonly"));
    hall.say(dave, &update);
    let passed = hall.hear(carol, "UPDATE");
    assert!(says(&passed, "sendonly"), "{passed}");
    hall.say(carol, &reply(&passed, "200 OK", "", CAROL, &theirs(2, "recvonly")));
    let answer = hall.hear(dave, "200");
    assert!(says(&answer, "recvonly"), "{answer}");
    // And carol hers; dave will not have it.
    for (status, refused) in [("200 OK", false), ("488 Not Acceptable Here", true)] {
        let update = from_carol.request("UPDATE", CAROL, &theirs(3, "sendrecv"));
        hall.say(carol, &update);
        let passed = hall.hear(dave, "UPDATE");
        assert!(says(&passed, "sendrecv"));
        let body = if refused { String::new() } else { ours(3, "sendrecv") };
        hall.say(dave, &reply(&passed, status, "", DAVE, &body));
        hall.hear(carol, &status[..3]);
    }
    // The answer says nothing new to carol, who knows it reliably.
    hall.say(dave, &reply(&invite, "200 OK", "d", DAVE, ""));
    hall.hear(dave, "ACK");
    let ok = hall.hear(carol, "200");
    assert!(body(&ok).is_empty(), "{ok}");
    let ack = from_carol.ack(seq.parse().expect("a number"), "");
    hall.say(carol, &ack);
    hall.world.run_for(secs(1));
    hall.finish(from_carol);
}

#[test]
fn a_hold_by_update_passes_as_a_change_and_its_answer_comes_back() {
    let mut hall = Hall::new(62, |_| {});
    let (carol, dave) = (hall.carol.node(), hall.dave.node());
    let (mut from_carol, mut from_dave) = hall.up(&[]);
    let update = from_carol.request("UPDATE", CAROL, &theirs(2, "sendonly"));
    hall.say(carol, &update);
    let passed = hall.hear(dave, "INVITE");
    assert!(says(&passed, "sendonly"), "{passed}");
    // Whoever changes meanwhile collides here, from either side.
    let other = from_dave.request("UPDATE", DAVE, &ours(2, "sendrecv"));
    hall.say(dave, &other);
    hall.hear(dave, "491");
    hall.say(dave, &reply(&passed, "200 OK", "", DAVE, &ours(2, "recvonly")));
    hall.hear(dave, "ACK");
    assert!(says(&hall.hear(carol, "200"), "recvonly"));
    // One without an offer stays on its leg.
    let update = from_dave.request("UPDATE", DAVE, "");
    hall.say(dave, &update);
    assert!(body(&hall.hear(dave, "200")).is_empty());
    hall.finish(from_carol);
}

#[test]
fn a_refused_change_leaves_both_sides_where_they_were() {
    let mut hall = Hall::new(63, |_| {});
    let (carol, dave) = (hall.carol.node(), hall.dave.node());
    let (mut from_carol, mut from_dave) = hall.up(&[]);
    for status in ["488 Not Acceptable Here", "491 Request Pending", "500 Server Internal Error"] {
        let invite = from_carol.request("INVITE", CAROL, &theirs(2, "sendonly"));
        hall.say(carol, &invite);
        let passed = hall.hear(dave, "INVITE");
        hall.say(dave, &reply(&passed, status, "", "", ""));
        hall.hear(dave, "ACK");
        let refusal = hall.hear(carol, &status[..3]);
        assert_eq!(lines(&refusal, "Retry-After").len(), usize::from(status.starts_with("500")));
        let ack = invite.replace("INVITE", "ACK");
        hall.say(carol, &ack);
    }
    // Asked what holds, the PBX says what held before.
    let invite = from_dave.request("INVITE", DAVE, "");
    hall.say(dave, &invite);
    let offer = hall.hear(dave, "200");
    assert!(says(&offer, "sendrecv"), "{offer}");
    let ack = from_dave.ack(from_dave.seq, &ours(1, "sendrecv"));
    hall.say(dave, &ack);
    hall.world.run_for(secs(1));
    hall.finish(from_carol);
}

#[test]
fn a_change_that_is_cancelled_is_taken_back_on_the_other_side() {
    let mut hall = Hall::new(64, |_| {});
    let (carol, dave) = (hall.carol.node(), hall.dave.node());
    let (mut from_carol, _) = hall.up(&[]);
    let invite = from_carol.request("INVITE", CAROL, &theirs(2, "sendonly"));
    hall.say(carol, &invite);
    let passed = hall.hear(dave, "INVITE");
    let head = invite.split("Contact:").next().expect("a head").replace("INVITE", "CANCEL");
    hall.say(carol, &format!("{head}Content-Length: 0\r\n\r\n"));
    hall.hear(carol, "200");
    hall.hear(carol, "487");
    let ack = invite.replace("INVITE", "ACK");
    hall.say(carol, &ack);
    hall.say(dave, &reply(&passed, "200 OK", "", DAVE, &ours(2, "recvonly")));
    hall.hear(dave, "ACK");
    let again = hall.hear(dave, "INVITE");
    assert!(says(&again, "sendrecv"), "{again}");
    hall.say(dave, &reply(&again, "200 OK", "", DAVE, &ours(3, "sendrecv")));
    hall.hear(dave, "ACK");
    hall.world.run_for(secs(1));
    assert!(hall.world.hear_now(carol).is_none());
    hall.finish(from_carol);
}

#[test]
fn each_leg_has_a_session_timer_of_its_own() {
    let mut hall = Hall::new(65, |config| {
        config.rules.session_expires = 300;
        config.media.media_timeout = None;
    });
    let (carol, dave) = (hall.carol.node(), hall.dave.node());
    let headers = [
        (HeaderName::SUPPORTED, "timer"),
        (HeaderName::SESSION_EXPIRES, "120;refresher=uas"),
        (HeaderName::ALLOW, "INVITE, UPDATE"),
    ];
    // Dave wants none; carol is refreshed at half her interval.
    let (from_carol, _) = hall.up(&headers);
    for _ in 0..3 {
        let before = hall.world.now;
        let update = hall.hear(carol, "UPDATE");
        assert!((58..=61).contains(&(hall.world.now - before).as_secs()));
        assert_eq!(header(&update, "Session-Expires"), "120;refresher=uac");
        let more = format!("{CAROL}Session-Expires: 120;refresher=uac\r\n");
        hall.say(carol, &reply(&update, "200 OK", "", &more, ""));
        if let Some((_, text)) = hall.world.hear_now(dave) {
            hall.world.fail(&format!("dave heard\n{text}"));
        }
    }
    // She is gone: both legs end.
    let _ = from_carol;
    hall.world.run_for(secs(130));
    let bye = hall.hear(dave, "BYE");
    hall.say(dave, &reply(&bye, "200 OK", "", "", ""));
    hall.world.run_for(secs(70));
    assert!(hall.world.pbx_of(hall.pbx).is_quiet());
}

#[test]
fn a_hold_of_ours_passes_the_bridge_to_the_other_phone() {
    let mut world = World::new(66);
    let pbx = world.pbx("pbx", &[PBX], users(&["alice", "bob"]));
    let alice = world.ua("alice", &["10.0.0.1"], account("alice", PBX, "alice-secret"));
    let bob = world.ua("bob", &["10.0.0.2"], account("bob", PBX, "bob-secret"));
    world.run_until(alice, registered);
    world.run_until(bob, registered);
    world.microphone(alice, 440.0);
    let call = world.dial(alice, "sip:bob@10.0.0.100");
    let theirs = incoming(&mut world, bob);
    world.command(bob, Command::Answer { call: theirs, audio: None }).unwrap();
    world.run_until(alice, answered);
    world.run_for(secs(2));
    let held = |ours: bool, other: bool| move |event: &Event| matches!(event, Event::CallChanged { held, held_by_peer, .. } if (*held, *held_by_peer) == (ours, other));
    world.command(alice, Command::Hold { call }).unwrap();
    world.run_until(alice, held(true, false));
    world.run_until(bob, held(false, true));
    world.command(bob, Command::Hold { call: theirs }).unwrap();
    world.run_until(bob, held(true, true));
    world.command(alice, Command::Resume { call }).unwrap();
    world.run_until(alice, held(false, true));
    world.command(bob, Command::Resume { call: theirs }).unwrap();
    world.run_until(alice, held(false, false));
    world.run_for(secs(3));
    assert!(world.heard(bob).snr_db(440.0, 2.0) > 25.0);
    world.command(alice, Command::HangUp { call }).unwrap();
    world.run_until(bob, ended);
    world.run_for(secs(40));
    assert!(world.pbx_of(pbx).is_quiet());
}
