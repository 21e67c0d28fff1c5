//! Ends that vanish without a word: each of the others notices, says so, and ends.

use crate::calls::{Pbx, silent};
use crate::kit::{Home, Running};
use nix::sys::signal::Signal;

/// 1002 calls 1001 through the PBX; both give up after 2 s without sound.
fn talking(home: &Home, pbx: &Pbx) -> (Running, Running) {
    let impatient = "[call]\nmedia_timeout = \"2s\"\n";
    let callee = pbx.phone(home, 0, &format!("{}\n{impatient}", silent(500.0, "callee.wav")), "");
    let caller = pbx.phone(home, 1, &format!("{}\n{impatient}", silent(800.0, "caller.wav")), "");
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", &callee]);
    listener.until("registration.ok");
    let call = home.start(&["call", "1001", "--json", "-c", &caller]);
    call.until("call.answered");
    listener.until("call.answered");
    std::thread::sleep(std::time::Duration::from_millis(700)); // sound flows both ways
    (listener, call)
}

#[test]
fn a_callee_that_is_killed_is_noticed_by_the_caller() {
    let home = Home::new();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let (listener, call) = talking(&home, &pbx);
    listener.signal(Signal::SIGKILL);
    call.wait().expect(14, &["media.peer-gone"]);
    pbx.running.until_out(|line| line.contains("pbx.call") && line.contains("\"state\":\"ended\""));
}

#[test]
fn a_caller_that_is_killed_is_noticed_by_the_callee() {
    let home = Home::new();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let (listener, call) = talking(&home, &pbx);
    call.signal(Signal::SIGKILL);
    listener.wait().expect(14, &["media.peer-gone"]);
    pbx.running.until_out(|line| line.contains("pbx.call") && line.contains("\"state\":\"ended\""));
}

#[test]
fn a_pbx_that_is_killed_is_noticed_by_both() {
    let home = Home::new();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let (listener, call) = talking(&home, &pbx);
    pbx.running.signal(Signal::SIGKILL);
    call.wait().expect(14, &["media.peer-gone"]);
    listener.wait().expect(14, &["media.peer-gone"]);
}

#[test]
fn a_phone_that_is_told_to_leave_says_goodbye_and_leaves_no_binding() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let home = Home::new();
        let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
        let (listener, call) = talking(&home, &pbx);
        listener.signal(signal);
        let code = if signal == Signal::SIGINT { 130 } else { 143 };
        listener.wait().expect(code, &[]);
        call.wait().expect(0, &["call.ended"]);
        // The caller never registered: one binding was made, and it is taken back.
        pbx.running
            .until_out(|line| line.contains("pbx.binding") && line.contains("1001") && line.contains("\"expires\":0"));
    }
}

#[test]
fn a_pbx_that_is_told_to_leave_hangs_up_its_calls() {
    let home = Home::new();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let (listener, call) = talking(&home, &pbx);
    pbx.running.signal(Signal::SIGTERM);
    call.wait().expect(0, &["call.ended"]);
    listener.wait().expect(0, &["call.ended"]);
    pbx.running.wait().expect(143, &[]);
}
