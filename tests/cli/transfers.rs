//! Calls that are handed over between real programs, without any server.

use crate::kit::{Home, Running};

/// A phone that waits for calls, and its address.
fn listener(home: &Home, more: &[&str]) -> (Running, String) {
    let args = ["listen", "--null-audio", "--json", "--auto-answer"];
    let running = home.start(&[&args[..], more].concat());
    let ready = running.until("\"event\":\"ready\"");
    let port = ready.split("udp:0.0.0.0:").nth(1).unwrap().split(['"', ' ']).next().unwrap();
    (running, format!("sip:x@127.0.0.1:{port}"))
}

#[test]
fn a_call_is_handed_over_and_the_two_others_talk() {
    let home = Home::new();
    let (carol, at_carol) = listener(&home, &["--once"]);
    let (bob, at_bob) = listener(&home, &["--once", "--set", "call.transfer_policy=allow"]);
    let alice = home.run(&["call", &at_bob, "--null-audio", "--transfer", &at_carol]);
    let carols = at_carol.trim_start_matches("sip:");
    alice.expect(0, &["they try", &format!("transfer to sip:{carols}: done"), "ended    by you"]);
    bob.until("\"event\":\"call.transfer-answered\",\"t\":");
    carol.until("call.answered");
    std::thread::sleep(std::time::Duration::from_millis(500));
    carol.signal(nix::sys::signal::Signal::SIGINT);
    let done = bob.wait().expect(0, &["\"accepted\":true", "\"new_call\":\"c2\""]);
    let ends: Vec<_> = done.events("call.ended").iter().map(|end| end["call"].clone()).collect();
    assert_eq!(ends, ["c1", "c2"], "the one that was called counts once the first is over");
}

#[test]
fn a_phone_that_cannot_ask_anybody_declines_and_the_call_goes_on() {
    let home = Home::new();
    let (bob, at_bob) = listener(&home, &["--once"]);
    let alice = home.run(&["call", &at_bob, "--null-audio", "--transfer", "sip:x@127.0.0.1:9", "--duration", "2s"]);
    let done = alice.expect(0, &["  ended    by you"]);
    assert!(done.err.contains("error[transfer.failed]"), "{}", done.err);
    bob.wait().expect(0, &["\"accepted\":false"]);
}

#[test]
fn a_transfer_is_typed_in_a_terminal_and_followed_in_another() {
    let home = Home::new();
    let (carol, at_carol) = listener(&home, &["--once"]);
    let mut bob = crate::terminal::terminal(&home, 120, &[], "listen --null-audio --once");
    let ready = bob.until("  listening ");
    let port = ready.split("udp:0.0.0.0:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let mut alice = crate::terminal::terminal(&home, 120, &[], &format!("call sip:x@127.0.0.1:{port} --null-audio"));
    bob.until("a answer  r reject");
    bob.type_in("a");
    alice.until("  answered ");
    alice.type_in(&format!("tx\x7f{at_carol}\r"));
    bob.until("wants you to call");
    bob.type_in("a");
    carol.until("call.answered");
    alice.until(": done");
    crate::terminal::left(alice, 0);
    bob.type_in("q");
    crate::terminal::left(bob, 0);
    carol.wait().expect(0, &["\"by\":\"remote\""]);
}
