//! Calls that are sent on, and what goes along with a call, between real programs.

use crate::kit::{Home, Running};

fn listener(home: &Home, more: &[&str]) -> (Running, String) {
    let running = home.start(&[&["listen", "--null-audio", "--json"][..], more].concat());
    let ready = running.until("\"event\":\"ready\"");
    let port = ready.split("udp:0.0.0.0:").nth(1).unwrap().split(['"', ' ']).next().unwrap();
    (running, format!("sip:x@127.0.0.1:{port}"))
}

#[test]
fn a_call_is_sent_on_and_text_goes_along_with_it() {
    let home = Home::new();
    let (carol, at_carol) = listener(&home, &["--auto-answer", "--once"]);
    let set = format!("call.forward_always={at_carol}");
    let (bob, at_bob) = listener(&home, &["--set", &set]);
    let call = home.run(&["call", &at_bob, "--null-audio", "--uui", "order 4711", "--duration", "1s"]);
    call.expect(0, &["  answered "]);
    let sent = bob.until("call.forwarded");
    assert!(
        sent.contains("\"reason\":\"unconditional\"") && sent.contains(at_carol.trim_start_matches("sip:")),
        "{sent}"
    );
    let came = carol.wait().expect(0, &[]).events("call.incoming");
    assert_eq!(came[0]["user_to_user"], "order 4711");
    assert!(came[0]["identity"].is_null(), "a stranger is not believed");
    bob.signal(nix::sys::signal::Signal::SIGINT);
    let _ = bob.wait();
    home.run(&["call", &at_bob, "--null-audio", "--set", "call.redirects=21"]).expect(2, &["call.redirects"]);
}

#[test]
fn privacy_sends_no_name() {
    let home = Home::new();
    let (carol, at_carol) = listener(&home, &["--auto-answer", "--once"]);
    home.run(&["call", &at_carol, "--null-audio", "--privacy", "--duration", "1s"]).expect(0, &[]);
    let came = carol.wait().expect(0, &[]).events("call.incoming");
    assert_eq!(
        (came[0]["from"].as_str(), came[0]["display"].as_str()),
        (Some("sip:anonymous@anonymous.invalid"), Some("Anonymous"))
    );
}
