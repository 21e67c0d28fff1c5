//! Single keys, the live line and colours in a real terminal: a pseudo-terminal made by `script` (util-linux, on every Debian).

use crate::kit::{BELLWIRE, Done, Home, Pbx, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The binary in a terminal `columns` wide. What it leaves the terminal like is printed behind it.
pub fn terminal(home: &Home, columns: u32, vars: &[(&str, &str)], args: &str) -> Running {
    let line = format!("stty rows 24 cols {columns}; {BELLWIRE} {args}; echo \"exit=$?\"; stty -a");
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]);
    home.settle(&mut command);
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").stdin(Stdio::piped()).envs(vars.iter().copied());
    Running::of(command, &[args])
}

/// Asserts the exit code and that the terminal is as it was.
#[track_caller]
pub fn left(running: Running, code: i32) -> Done {
    let done = running.wait();
    assert!(done.out.contains(&format!("exit={code}\r\n")), "{}", done.out);
    let modes: Vec<&str> = done.out.rsplit("exit=").next().unwrap().split_whitespace().collect();
    for mode in ["icanon", "echo", "isig", "opost"] {
        assert!(modes.contains(&mode), "the terminal lost {mode}: {modes:?}");
    }
    done
}

#[test]
fn a_call_is_answered_muted_dialled_into_and_ended_by_single_keys() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone(&home, "bob");
    let alice = pbx.phone(&home, "alice");
    let mut listener = terminal(&home, 120, &[], &format!("listen -c {bob}"));
    listener.until("  registered bob ");
    let call = home.start(&["call", "bob", "-c", &alice, "--json"]);
    listener.until("a answer  r reject");
    listener.type_in("a");
    listener.until("  answered ");
    call.until("call.answered");
    listener.type_in("5*");
    let digit = call.until("\"digit\":\"5\"");
    assert!(digit.contains("dtmf.received"), "{digit}");
    call.until("\"digit\":\"*\"");
    listener.type_in("m");
    until_painted(&listener, "mic ----");
    listener.type_in("m");
    until_painted(&listener, "mic █");
    listener.type_in("q");
    call.wait().expect(0, &["\"by\":\"remote\""]);
    listener.until("  ended    by you");
    // Nothing is up: q leaves.
    listener.type_in("q");
    left(listener, 0);
}

#[test]
fn a_call_is_held_and_a_second_one_answered_by_single_keys() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone(&home, "bob");
    let (alice, carol) = (pbx.phone(&home, "alice"), pbx.phone(&home, "carol"));
    let mut listener = terminal(&home, 120, &[], &format!("listen -c {bob}"));
    listener.until("  registered bob ");
    let first = home.start(&["call", "bob", "-c", &alice, "--json"]);
    listener.until("a answer  r reject");
    listener.type_in("a");
    first.until("call.answered");
    listener.type_in("h");
    listener.until("  on hold   ");
    let held = first.until("\"held_by_peer\":true");
    assert!(held.contains("call.changed") && held.contains("\"direction\":\"recvonly\""), "{held}");
    until_painted(&listener, "‖ 00:0");
    listener.type_in("h");
    listener.until("  resumed   ");
    first.until("\"held_by_peer\":false");
    // The next codec after Opus.
    listener.type_in("c");
    listener.until("  changed   g722 ");
    first.until_out(|line| line.contains("call.changed") && line.contains("\"codec\":\"g722\""));
    // Call waiting: answering the second one holds the first.
    let second = home.start(&["call", "bob", "-c", &carol, "--json"]);
    listener.until("a answer and hold the other  r reject");
    listener.type_in("a");
    second.until("call.answered");
    listener.until(", call c1");
    listener.type_in("n");
    listener.until("  now      call c1");
    second.until("\"held_by_peer\":true");
    listener.type_in("q");
    first.wait().expect(0, &["\"by\":\"remote\""]);
    listener.type_in("q");
    second.wait().expect(0, &["\"by\":\"remote\""]);
    listener.type_in("q");
    left(listener, 0);
}

/// Waits until the live line shows `text`, whether or not a line end follows.
fn until_painted(running: &Running, text: &str) {
    let end = std::time::Instant::now() + crate::kit::PATIENCE;
    while !running.out().rsplit("\x1b[2K").next().is_some_and(|last| last.contains(text)) {
        assert!(std::time::Instant::now() < end, "no `{text}` in\n{}", running.out());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_call_is_declined_by_r() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone(&home, "bob");
    let alice = pbx.phone(&home, "alice");
    let mut listener = terminal(&home, 120, &[], &format!("listen -c {bob}"));
    listener.until("  registered bob ");
    let call = home.start(&["call", "bob", "-c", &alice]);
    listener.until("a answer  r reject");
    listener.type_in("r");
    call.wait().expect(9, &["bob declined the call (603 Decline)."]);
    // Ctrl-C comes as a key here.
    listener.type_in("\x03");
    let done = left(listener, 130);
    assert!(done.out.contains("  unregistered  work"), "{}", done.out);
}

#[test]
fn ctrl_c_hangs_up_and_puts_the_terminal_back() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let alice = pbx.phone(&home, "alice");
    let mut call = terminal(&home, 100, &[], &format!("call 600 -c {alice}"));
    call.until("  answered ");
    call.type_in("\x03");
    let done = left(call, 130);
    assert!(done.out.contains("  ended    by you after 00:0"), "{}", done.out);
}

/// What the live line of a call looks like after two seconds.
fn live_line(columns: u32, vars: &[(&str, &str)], options: &str) -> String {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let alice = pbx.phone(&home, "alice");
    let call = terminal(&home, columns, vars, &format!("call 600 -c {alice} --duration 3s {options}"));
    let done = left(call, 0);
    let lines: Vec<&str> = done.out.split("\r\x1b[2K").filter(|l| l.starts_with('●')).collect();
    lines.last().map_or_else(String::new, |l| l.split('\r').next().unwrap_or_default().to_owned())
}

#[test]
fn the_live_line_fits_the_terminal() {
    let wide = live_line(120, &[], "");
    for part in ["● 00:0", " opus ", "loss 0.0%", "jitter ", "rtt ", "MOS ", "mic ", "spk ", "m mute  h hold  q end"]
    {
        assert!(wide.contains(part), "no {part} in {wide:?}");
    }
    let usual = live_line(80, &[], "");
    assert!(usual.contains("rtt ") && usual.contains("mic ") && !usual.contains("m mute"), "{usual:?}");
    let narrow = live_line(60, &[], "");
    assert!(narrow.contains("loss ") && narrow.contains("spk ") && !narrow.contains("rtt "), "{narrow:?}");
    assert_eq!(live_line(59, &[], ""), "");
    assert_eq!(live_line(120, &[("TERM", "dumb")], ""), "");
    assert_eq!(live_line(120, &[], "--quiet"), "");
    for (line, width) in [(wide, 120), (usual, 80), (narrow, 60)] {
        assert!(line.chars().count() < width, "{line}");
    }
}

#[test]
fn an_error_in_a_terminal_is_red_unless_no_color_is_set() {
    let home = Home::new();
    let red = left(terminal(&home, 80, &[], "register --once"), 3);
    assert!(red.out.contains("\x1b[1;31merror[config.no-account]\x1b[0m"), "{:?}", red.out);
    let plain = left(terminal(&home, 80, &[("NO_COLOR", "1")], "register --once"), 3);
    assert!(plain.out.contains("error[config.no-account]:") && !plain.out.contains("\x1b[1;31m"), "{:?}", plain.out);
}

#[test]
fn init_asks_two_questions_in_a_terminal() {
    let home = Home::new();
    let mut init = terminal(&home, 80, &[], "config init");
    until_painted(&init, "Your SIP address (user@server): ");
    init.type_in("1001@pbx.example.org\n");
    until_painted(&init, "A command that prints your password [pass show sip/work]: ");
    init.type_in("\n");
    left(init, 0);
    let written = std::fs::read_to_string(home.path(".config/bellwire/config.toml")).unwrap();
    assert_eq!(written, crate::kit::repository("config/minimal.toml"));
}

#[test]
fn a_direct_call_can_be_answered_by_a_key() {
    let home = Home::new();
    let mut listener = terminal(&home, 80, &[], "listen --null-audio --once");
    let ready = listener.until("  listening ");
    let port = ready.split("udp:0.0.0.0:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let call = home.start(&["call", &format!("sip:x@127.0.0.1:{port}"), "--null-audio", "--duration", "1s"]);
    listener.until("a answer  r reject");
    listener.type_in("a");
    call.wait().expect(0, &["  answered "]);
    left(listener, 0);
}

#[test]
fn a_terminal_that_is_gone_leaves_no_thread_waiting_for_keys() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone(&home, "bob");
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("echo pid=$$; exec {BELLWIRE} listen -c {bob} --auto-answer"), "/dev/null"]);
    home.settle(&mut command);
    command.env("TERM", "xterm").env("SHELL", "/bin/sh").stdin(Stdio::piped());
    let listener = Running::of(command, &["listen"]);
    let pid: i32 = listener.until("pid=").trim().trim_start_matches("pid=").parse().unwrap();
    listener.until("  registered bob ");
    let threads = || -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok()).collect()
    };
    assert!(threads().iter().any(|name| name == "keys\n"), "{:?}", threads());
    listener.signal(Signal::SIGKILL);
    let end = std::time::Instant::now() + crate::kit::PATIENCE;
    while threads().iter().any(|name| name == "keys\n") {
        assert!(std::time::Instant::now() < end, "it still reads a terminal that is gone");
        std::thread::sleep(Duration::from_millis(50));
    }
    // It still takes calls.
    let alice = pbx.phone(&home, "alice");
    home.run(&["call", "bob", "-c", &alice, "--duration", "1s"]).expect(0, &["  answered "]);
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}
