//! SIGINT and SIGTERM: polite the first time, at once the second time.

use crate::kit::{Home, Pbx};
use crate::peer::{Peer, Script};
use nix::sys::signal::Signal;

#[test]
fn a_signal_hangs_up_unregisters_and_is_told_by_the_exit_code() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let home = Home::new();
        let pbx = Pbx::start(&home);
        let bob = pbx.phone(&home, "bob");
        let alice = pbx.phone(&home, "alice");
        let listener = home.start(&["listen", "--auto-answer", "-c", &bob]);
        listener.until("  registered bob ");
        let call = home.start(&["call", "bob", "-c", &alice]);
        call.until("  answered ");
        call.signal(signal);
        call.wait().expect(code, &["  ended    by you after 00:0"]);
        // The other side got a BYE, not a silence.
        listener.until("  ended    by them after 00:0");
        listener.signal(signal);
        listener.wait().expect(code, &["  unregistered  work"]);
        pbx.running.until_out(|l| l.contains("pbx.binding") && l.contains("\"expires\":0"));
        pbx.running.signal(signal);
        pbx.running.wait().expect(code, &[]);
    }
}

#[test]
fn a_signal_while_it_rings_cancels_the_call() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let alice = pbx.phone(&home, "alice");
    let call = home.start(&["call", "604", "-c", &alice, "--trace", "t.txt"]);
    call.until("  ringing ");
    call.signal(Signal::SIGINT);
    call.wait().expect(130, &[]);
    let trace = std::fs::read_to_string(home.path("t.txt")).unwrap();
    assert!(trace.contains("    CANCEL sip:604@") && trace.contains("SIP/2.0 487 "), "{trace}");
}

#[test]
fn a_second_signal_leaves_at_once() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let home = Home::new();
        // Nobody answers the CANCEL: the polite end would take its two seconds.
        let peer = Peer::start(Script::Mute);
        let call = home.start(&["call", &format!("sip:x@{}", peer.addr), "--null-audio", "--trace", "t.txt"]);
        call.until("  calling ");
        call.signal(signal);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let start = std::time::Instant::now();
        call.signal(signal);
        call.wait().expect(code, &[]);
        println!("{signal}: left after {} ms", start.elapsed().as_millis());
        assert!(start.elapsed().as_millis() < 1200, "it waited for the polite end");
    }
}

#[test]
fn a_terminal_that_is_closed_does_not_end_the_call() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let alice = pbx.phone(&home, "alice");
    let call = home.start(&["call", "600", "-c", &alice, "--duration", "2s"]);
    call.until("  answered ");
    call.signal(Signal::SIGHUP);
    call.wait().expect(0, &["by you after 00:02"]);
}
