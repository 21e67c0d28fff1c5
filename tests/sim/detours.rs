//! Calls that do not lead straight to the callee: redirections, challenges, other servers, proxies on the way.

use crate::calls::{answered, ended, phone};
use crate::kit::peer::*;
use crate::kit::{NodeId, World};
use bellwire::api::Event;
use bellwire::secret::Secret;
use bellwire::time::Duration;
use bellwire::ua::account::Credentials;
use bellwire::ua::{AccountConfig, UaConfig};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An account at bob, who plays the server; it does not register.
pub fn with_account() -> UaConfig {
    let uri = |text: &str| text.parse().expect("a URI");
    let mut config = phone();
    let mut account = AccountConfig::new("work", uri("sip:1001@10.0.0.9"), uri("sip:10.0.0.9"));
    account.register = false;
    account.audio = config.default_audio.clone();
    account.credentials =
        Some(Credentials { user: "1001".into(), password: Secret::new("geheim".into()), realm: None });
    config.accounts.push(account);
    config
}

fn moved(invite: &str, contacts: &str) -> String {
    reply(invite, "302 Moved Temporarily", "moved", &format!("Contact: {contacts}\r\n"), "")
}

fn status_and_slug(event: &Event) -> (Option<u16>, String) {
    let Event::CallEnded { code, failure: Some(failure), .. } = event else { panic!("{event:?}") };
    (*code, failure.slug.clone())
}

#[test]
fn a_redirection_is_followed_over_its_contacts_by_q_until_somebody_answers() {
    let (mut scene, call, first) = Scene::dialled(phone());
    scene.say(&moved(
        &first,
        "<sip:low@10.0.0.9>;q=0.1, <mailto:bob@example.org>, <tel:+4930>, <sips:safe@10.0.0.9>, \
         <sip:high@10.0.0.9?Subject=x>;q=0.9, <sip:middle@10.0.0.9>;q=0.5",
    ));
    scene.hear("ACK");
    let mut last = 1;
    for user in ["high", "middle", "low"] {
        let invite = scene.hear("INVITE");
        assert!(invite.starts_with(&format!("INVITE sip:{user}@10.0.0.9 SIP/2.0\r\n")), "{invite}");
        assert_eq!(header(&invite, "To"), "<sip:bob@10.0.0.9>", "the one who was called");
        assert_eq!(header(&invite, "Call-ID"), header(&first, "Call-ID"));
        assert_eq!(header(&invite, "From"), header(&first, "From"));
        last += 1;
        assert_eq!(header(&invite, "CSeq"), format!("{last} INVITE"));
        if user == "low" {
            scene.say(&ok(&invite, "b"));
        } else {
            scene.say(&reply(&invite, "480 Not here", "x", "", ""));
        }
        scene.hear("ACK");
    }
    assert_eq!((scene.count(answered), scene.count(ended)), (1, 0));
    scene.finish(call);
}

#[test]
fn redirections_in_a_circle_or_without_end_are_left() {
    // In a circle.
    let (mut scene, _, invite) = Scene::dialled(phone());
    scene.say(&moved(&invite, "<sip:carol@10.0.0.9>"));
    scene.hear("ACK");
    let invite = scene.hear("INVITE");
    scene.say(&moved(&invite, "<sip:bob@10.0.0.9>, <sip:carol@10.0.0.9>"));
    scene.hear("ACK");
    scene.silent();
    assert_eq!(status_and_slug(&scene.ended()), (Some(302), "call.failed".into()));
    scene.world.assert_quiet();
    // Ever new addresses, many at once.
    let (mut scene, _, mut invite) = Scene::dialled(phone());
    for n in 0..5 {
        let list = (0..50).map(|m| format!("<sip:u{n}x{m}@10.0.0.9>")).collect::<Vec<_>>().join(", ");
        scene.say(&moved(&invite, &list));
        scene.hear("ACK");
        invite = scene.hear("INVITE");
    }
    scene.say(&moved(&invite, "<sip:last@10.0.0.9>"));
    scene.hear("ACK");
    scene.silent();
    scene.ended();
    scene.world.assert_quiet();
}

#[test]
fn a_redirection_without_a_usable_contact_ends_the_call_and_so_does_600_on_the_way() {
    for contacts in ["<tel:+4930>", "*", "<<<", "<sip:bob@10.0.0.9>"] {
        let (mut scene, _, invite) = Scene::dialled(phone());
        scene.say(&moved(&invite, contacts));
        scene.hear("ACK");
        scene.silent();
        assert_eq!(status_and_slug(&scene.ended()), (Some(302), "call.failed".into()), "{contacts}");
        scene.world.assert_quiet();
    }
    for code in ["305 Use Proxy", "380 Alternative Service"] {
        let (mut scene, _, invite) = Scene::dialled(phone());
        scene.say(&reply(&invite, code, "x", "Contact: <sip:carol@10.0.0.9>\r\n", ""));
        scene.hear("ACK");
        scene.silent();
        scene.world.assert_quiet();
    }
    let (mut scene, _, invite) = Scene::dialled(phone());
    scene.say(&moved(&invite, "<sip:c@10.0.0.9>, <sip:d@10.0.0.9>"));
    scene.hear("ACK");
    let invite = scene.hear("INVITE");
    scene.say(&reply(&invite, "600 Busy Everywhere", "x", "", ""));
    scene.hear("ACK");
    scene.silent();
    assert_eq!(status_and_slug(&scene.ended()), (Some(600), "call.busy".into()));
    scene.world.assert_quiet();
}

#[test]
fn a_redirected_call_can_be_cancelled_and_early_media_before_it_leaves_no_socket() {
    let (mut scene, call, invite) = Scene::dialled(phone());
    scene.say(&reply(&invite, "183 Session Progress", "b", CONTACT, &sdp("10.0.0.9", BOB_RTP)));
    scene.world.run_for(secs(1));
    scene.say(&moved(&invite, "<sip:carol@10.0.0.9>"));
    scene.hear("ACK");
    let invite = scene.hear("INVITE");
    scene.say(&reply(&invite, "180 Ringing", "c", CONTACT, ""));
    scene.world.run_for(secs(1));
    scene.hang_up(call);
    let cancel = scene.hear("CANCEL");
    scene.say(&reply(&cancel, "200 OK", "c", "", ""));
    scene.say(&reply(&invite, "487 Request Terminated", "c", "", ""));
    scene.hear("ACK");
    scene.world.assert_quiet();
}

#[test]
fn a_redirection_elsewhere_takes_no_credentials_along() {
    let mut config = with_account();
    config.accounts[0].transport = None;
    let mut scene = Scene::new(config);
    let eve = scene.world.script("eve", "10.0.0.66");
    scene.world.dial(scene.alice, "sip:bob@10.0.0.9");
    let invite = scene.hear("INVITE");
    scene.say(&moved(&invite, "<sip:bob@10.0.0.66>"));
    scene.hear("ACK");
    let (_, stray) = scene.world.hear(eve);
    assert_eq!((word(&stray).as_str(), header(&stray, "Authorization")), ("INVITE", ""));
    let challenge = "WWW-Authenticate: Digest realm=\"work\", nonce=\"n\", qop=\"auth\"\r\n";
    scene.world.say(eve, ALICE, &reply(&stray, "401 Unauthorized", "e", challenge, ""));
    let (_, ack) = scene.world.hear(eve);
    assert_eq!(word(&ack), "ACK");
    assert!(!ack.contains("Authorization"));
    assert_eq!(status_and_slug(&scene.ended()), (Some(401), "auth.no-password".into()));
    scene.world.assert_quiet();
}

#[test]
fn a_server_that_challenges_without_end_is_left_and_the_user_is_told() {
    for (code, name, answer) in [
        ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
        ("407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"),
    ] {
        for stale in ["", ", stale=true"] {
            let (mut scene, _, mut invite) = Scene::dialled(with_account());
            let mut tries = 0;
            loop {
                let challenge = format!("{name}: Digest realm=\"work\", nonce=\"n{tries}\", qop=\"auth\"{stale}\r\n");
                scene.say(&reply(&invite, code, "s", &challenge, ""));
                scene.hear("ACK");
                scene.world.run_for(Duration::from_millis(100));
                let Some((_, next)) = scene.world.hear_now(scene.bob) else { break };
                assert_eq!(word(&next), "INVITE");
                assert!(header(&next, answer).contains("username=\"1001\""), "{next}");
                assert_ne!(header(&next, "CSeq"), header(&invite, "CSeq"));
                assert_eq!(header(&next, "Call-ID"), header(&invite, "Call-ID"));
                invite = next;
                tries += 1;
                assert!(tries <= 3, "{tries} answers to {code}{stale}");
            }
            assert!(tries >= 1);
            let (status, slug) = status_and_slug(&scene.ended());
            assert!(matches!(status, Some(401 | 407)), "{status:?}");
            assert!(slug.starts_with("auth."), "{slug}");
            scene.world.assert_quiet();
        }
    }
}

#[test]
fn a_challenged_call_and_its_bye_carry_credentials_and_go_through() {
    let (mut scene, call, invite) = Scene::dialled(with_account());
    let challenge = "WWW-Authenticate: Digest realm=\"work\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256\r\n";
    scene.say(&reply(&invite, "401 Unauthorized", "s", challenge, ""));
    scene.hear("ACK");
    let invite = scene.hear("INVITE");
    assert!(header(&invite, "Authorization").contains("nc=00000001"));
    // A second realm on the way (a proxy): both answers go along.
    let other = "Proxy-Authenticate: Digest realm=\"elsewhere\", nonce=\"m\", qop=\"auth\"\r\n";
    scene.say(&reply(&invite, "407 Proxy Authentication Required", "s", other, ""));
    scene.hear("ACK");
    // The realm is pinned by the first challenge (threats C8): another one gets nothing.
    assert_eq!(scene.hear_for(secs(1)), [""; 0]);
    scene.ended();
    scene.world.assert_quiet();

    let (mut scene, call2, invite) = Scene::dialled(with_account());
    scene.say(&reply(&invite, "401 Unauthorized", "s", challenge, ""));
    scene.hear("ACK");
    let invite = scene.hear("INVITE");
    scene.say(&ok(&invite, "b"));
    let ack = scene.hear("ACK");
    assert_eq!(header(&ack, "Authorization"), header(&invite, "Authorization"), "§22.1: the ACK repeats them");
    scene.hang_up(call2);
    let bye = scene.hear("BYE");
    scene.say(&reply(&bye, "401 Unauthorized", "", challenge, ""));
    let bye = scene.hear("BYE");
    assert!(header(&bye, "Authorization").contains("username=\"1001\""));
    scene.say(&reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
    let _ = call;
}

/// Alice and two servers under one name.
fn two_servers() -> (World, NodeId, NodeId, NodeId) {
    let mut world = World::new(5);
    let alice = world.ua("alice", &["10.0.0.1"], phone());
    let first = world.script("first", "10.0.0.8");
    let second = world.script("second", "10.0.0.9");
    let ip = |text: &str| text.parse().expect("an address");
    world.name("pair.example", Ok(vec![ip("10.0.0.8"), ip("10.0.0.9")]));
    (world, alice, first, second)
}

#[test]
fn the_next_server_is_tried_after_silence_or_503_with_a_branch_of_its_own() {
    for silent in [true, false] {
        let (mut world, alice, first, second) = two_servers();
        let call = world.dial(alice, "sip:bob@pair.example");
        let (_, invite) = world.hear(first);
        if !silent {
            // Early media first: its sockets must not be lost.
            let early = reply(&invite, "183 Session Progress", "f", CONTACT, &sdp("10.0.0.8", BOB_RTP));
            world.say(first, ALICE, &early);
            world.run_for(secs(1));
            let refusal = reply(&invite, "503 Service Unavailable", "f", "Retry-After: 120\r\n", "");
            world.say(first, ALICE, &refusal);
            let (_, ack) = world.hear(first);
            assert_eq!((word(&ack).as_str(), lines(&ack, "Via")), ("ACK", lines(&invite, "Via")));
        }
        let (_, again) = world.hear(second);
        assert_eq!(word(&again), "INVITE");
        assert_ne!(header(&again, "Via"), header(&invite, "Via"));
        assert_eq!(header(&again, "Call-ID"), header(&invite, "Call-ID"));
        world.say(second, ALICE, &ok(&again, "b"));
        world.run_until(alice, answered);
        world.run_for(secs(1));
        world.command(alice, bellwire::api::Command::HangUp { call }).expect("it is up");
        let mut texts = Vec::new();
        while let Some((_, text)) = world.hear_now(second) {
            texts.push(text);
        }
        world.run_for(Duration::from_millis(10));
        while let Some((_, text)) = world.hear_now(second) {
            texts.push(text);
        }
        let bye = texts.iter().find(|text| word(text) == "BYE").expect("a BYE");
        world.say(second, ALICE, &reply(bye, "200 OK", "", "", ""));
        world.run_until(alice, ended);
        world.assert_quiet();
    }
}

#[test]
fn the_ack_of_a_refusal_goes_to_the_address_of_its_invite() {
    let (mut world, alice, first, second) = two_servers();
    world.dial(alice, "sip:bob@pair.example");
    let (_, invite) = world.hear(first);
    for _ in 0..3 {
        world.say(first, ALICE, &reply(&invite, "486 Busy Here", "f", "", ""));
        let (_, ack) = world.hear(first);
        assert_eq!(word(&ack), "ACK");
    }
    assert!(world.hear_now(second).is_none());
    world.run_until(alice, ended);
    world.assert_quiet();
}

#[test]
fn when_every_server_is_overloaded_each_is_asked_once() {
    let (mut world, alice, first, second) = two_servers();
    world.dial(alice, "sip:bob@pair.example");
    for server in [first, second] {
        let (_, invite) = world.hear(server);
        world.say(server, ALICE, &reply(&invite, "503 Busy", "f", "Retry-After: 5\r\n", ""));
        let (_, ack) = world.hear(server);
        assert_eq!(word(&ack), "ACK");
    }
    let event = world.run_until(alice, ended);
    assert_eq!(status_and_slug(&event), (Some(503), "net.unavailable".into()));
    world.run_for(secs(60));
    assert!(world.hear_now(first).is_none() && world.hear_now(second).is_none(), "nobody is hammered");
    world.assert_quiet();
}

#[test]
fn requests_follow_loose_and_strict_routers_as_they_were_recorded() {
    for (record, target, last) in [
        ("<sip:10.0.0.8;lr;x=1>", "sip:bob@10.0.0.9:5060", "<sip:10.0.0.8;lr;x=1>"),
        ("<sip:10.0.0.8>", "sip:10.0.0.8", "<sip:bob@10.0.0.9:5060>"),
    ] {
        let (mut scene, call, invite) = Scene::dialled(phone());
        let proxy = scene.world.script("proxy", "10.0.0.8");
        let answer =
            reply(&invite, "200 OK", "b", &format!("{CONTACT}Record-Route: {record}\r\n"), &sdp("10.0.0.9", BOB_RTP));
        scene.say(&answer);
        let (_, ack) = scene.world.hear(proxy);
        assert!(ack.starts_with(&format!("ACK {target} ")), "{ack}");
        assert_eq!(header(&ack, "Route"), last);
        scene.hang_up(call);
        let (_, bye) = scene.world.hear(proxy);
        assert!(bye.starts_with(&format!("BYE {target} ")), "{bye}");
        assert_eq!(header(&bye, "Route"), last);
        assert!(scene.world.hear_now(scene.bob).is_none(), "nothing goes past the proxy");
        scene.world.say(proxy, ALICE, &reply(&bye, "200 OK", "", "", ""));
        scene.ended();
        scene.world.assert_quiet();
    }
}

#[test]
fn two_proxies_are_followed_in_reverse_by_the_caller_and_in_order_by_the_callee() {
    let routes = "Record-Route: <sip:10.0.0.8;lr>, <sip:10.0.0.7;lr>\r\n";
    let (mut scene, call, invite_text) = Scene::dialled(phone());
    let near = scene.world.script("near", "10.0.0.7");
    scene.say(&reply(&invite_text, "200 OK", "b", &format!("{CONTACT}{routes}"), &sdp("10.0.0.9", BOB_RTP)));
    let (_, ack) = scene.world.hear(near);
    let hops = |text: &str| lines(text, "Route").join(",").replace("Route: ", "");
    assert_eq!(hops(&ack), "<sip:10.0.0.7;lr>,<sip:10.0.0.8;lr>");
    scene.hang_up(call);
    let (_, bye) = scene.world.hear(near);
    scene.world.say(near, ALICE, &reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();

    let mut scene = Scene::new(phone());
    let near = scene.world.script("near", "10.0.0.8");
    let call = scene.ring(&invite("rr", &sdp("10.0.0.9", BOB_RTP)).replace("Contact: ", &format!("{routes}Contact: ")));
    scene.answer(call);
    let answer = scene.hear("200");
    assert_eq!(
        lines(&answer, "Record-Route").join(",").replace("Record-Route: ", ""),
        "<sip:10.0.0.8;lr>,<sip:10.0.0.7;lr>"
    );
    let ack = Dialog::of_caller(&answer).ack(1, "");
    scene.say(&ack);
    scene.world.run_for(secs(1));
    scene.hang_up(call);
    let (_, bye) = scene.world.hear(near);
    assert_eq!(hops(&bye), "<sip:10.0.0.8;lr>,<sip:10.0.0.7;lr>");
    scene.world.say(near, ALICE, &reply(&bye, "200 OK", "", "", ""));
    scene.ended();
    scene.world.assert_quiet();
}
