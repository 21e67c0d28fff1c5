//! What goes where: JSON, traces, secrets, stalled readers, full disks.

use crate::kit::{CANARY, Home, Pbx, Running};
use nix::sys::signal::Signal;
use std::process::Stdio;

#[test]
fn json_is_one_object_a_line_with_schema_event_and_time_first() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let done = home.run(&["call", "600", "-c", &phone, "--duration", "3s", "--json"]).expect(0, &[]);
    for line in done.out.lines() {
        assert!(line.starts_with("{\"schema\":1,\"event\":\""), "{line}");
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        let time = event["t"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
    let outgoing = done.events("call.outgoing").remove(0);
    assert_eq!((&outgoing["call"], &outgoing["account"]), (&"c1".into(), &"work".into()));
    assert!(outgoing["to"].as_str().unwrap().starts_with("sip:600@127.0.0.1:"));
    let answered = done.events("call.answered").remove(0);
    assert_eq!(answered["audio"]["codec"], "opus");
    assert_eq!(answered["audio"]["srtp"], serde_json::Value::Null);
    assert!(answered["after_ms"].is_u64());
    let stats = done.events("media.stats").remove(0)["audio"].clone();
    for key in ["rx", "tx", "lost", "late", "jitter_ms", "rtt_ms", "mos", "mic_db", "spk_db"] {
        assert!(stats.get(key).is_some(), "{key} is missing, not null: {stats}");
    }
    let ended = done.events("call.ended").remove(0);
    assert_eq!((&ended["by"], &ended["call"]), (&"local".into(), &"c1".into()));
    assert!(ended["duration_s"].as_f64().unwrap() >= 2.9, "{ended}");
    assert_eq!(done.err, "");
}

#[test]
fn a_failure_is_an_error_object_with_its_words() {
    let home = Home::new();
    let done = home.run(&["call", "a@no-such-host.invalid", "--null-audio", "--json"]).expect(5, &[]);
    let error = done.events("error").remove(0);
    assert_eq!((&error["slug"], &error["exit"]), (&"net.dns".into(), &5.into()));
    assert!(error["text"].as_str().unwrap().contains("no-such-host.invalid"));
    assert!(error["cause"].is_string() && error["try"][0].is_string(), "{error}");
}

#[test]
fn every_list_is_objects_with_json() {
    let home = Home::new();
    for (args, event) in [
        (&["version"][..], "version"),
        (&["codecs"], "codec"),
        (&["config", "show"], "config.setting"),
        (&["config", "path"], "config.path"),
    ] {
        let done = home.run(&[args, &["--json"]].concat()).expect(0, &[]);
        assert!(!done.events(event).is_empty() && done.events(event).len() == done.out.lines().count(), "{}", done.out);
    }
}

#[test]
fn the_trace_is_the_ladder_and_holds_no_secret() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    home.run(&["call", "600", "-c", &phone, "--duration", "1s", "--trace", "trace.txt"]).expect(0, &[]);
    let trace = std::fs::read_to_string(home.path("trace.txt")).unwrap();
    let ladder: Vec<&str> = trace
        .lines()
        .filter(|l| l.starts_with("    SIP/2.0 ") || l.starts_with("    ") && l.ends_with(" SIP/2.0"))
        .map(|l| l.trim().trim_start_matches("SIP/2.0 ").split(' ').next().unwrap())
        .filter(|word| *word != "100")
        .collect();
    assert_eq!(ladder, ["INVITE", "401", "ACK", "INVITE", "200", "ACK", "BYE", "200"], "{trace}");
    assert!(trace.contains("Authorization: Digest ") && trace.contains("response=\"***\""), "{trace}");
    assert!(trace.contains(" sent UDP 127.0.0.1:") && trace.contains("──▶"), "{trace}");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(home.path("trace.txt")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn no_output_holds_a_password_or_what_proves_one() {
    let home = Home::new();
    let pbx_config = Pbx::start(&home);
    drop(pbx_config.running);
    let pbx = home.start(&["pbx", "-c", "pbx.toml", "-vvv", "--trace", "-"]);
    let ready = pbx.until("  pbx   udp:");
    let udp = ready.split("udp:").nth(1).unwrap().split(' ').next().unwrap();
    let account = |password: &str| {
        format!(
            "[account.work]\nserver = \"{udp}\"\nuser = \"alice\"\npassword = \"{password}\"\n[audio]\ninput = \"none\"\noutput = \"none\"\n"
        )
    };
    home.write("good.toml", &account(&format!("{CANARY}-alice")));
    home.write("bad.toml", &account(&format!("{CANARY}-wrong")));
    let mut all = String::new();
    for (args, exit) in [
        (&["call", "600", "--duration", "2s", "-c", "good.toml"][..], 0),
        (&["register", "--once", "-c", "good.toml"], 0),
        (&["call", "600", "-c", "bad.toml"], 4),
        (&["register", "--once", "-c", "bad.toml"], 4),
        (&["config", "show", "--origin", "-c", "good.toml"], 0),
        (&["config", "check", "-c", "bad.toml"], 0),
        (&["ping", udp, "-c", "good.toml"], 0),
    ] {
        for more in [&["-vvv", "--trace", "-"][..], &["--json", "-vvv", "--trace", "t.txt", "--log", "l.txt"]] {
            let done = home.run(&[args, more].concat()).expect(exit, &[]);
            all += &format!("{}{}", done.out, done.err);
            for file in ["t.txt", "l.txt"] {
                all += &std::fs::read_to_string(home.path(file)).unwrap_or_default();
            }
        }
    }
    pbx.signal(Signal::SIGTERM);
    let done = pbx.wait().expect(143, &[]);
    all += &format!("{}{}", done.out, done.err);
    assert!(all.len() > 20_000, "only {} bytes of output", all.len());
    assert!(all.contains("INVITE sip:600@") && all.contains("response=\"***\""));
    assert!(!all.contains(CANARY), "a password is in the output");
    // What a digest proves: 32 or 64 hexadecimal digits behind response=.
    for piece in all.split("response=").skip(1) {
        let value: String = piece.trim_start_matches(['"', '\\']).chars().take_while(char::is_ascii_hexdigit).collect();
        assert!(value.len() < 16, "a digest is in the output: {value}");
    }
}

#[test]
fn a_reader_that_stalls_delays_no_packet_and_ends_no_call() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    // Everything is said, on both outputs, into pipes of 64 KiB that nobody reads.
    let mut command =
        home.command(&["call", "600", "-c", &phone, "--duration", "5s", "--json", "-vvv", "--trace", "-"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let end = std::time::Instant::now() + crate::kit::PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(std::time::Instant::now() < end, "it hangs on a pipe that nobody reads");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
    // The PBX saw the whole call: it was answered and ended by a BYE, five seconds of packets long.
    let log = pbx.running.until_out(|l| l.contains("pbx.call") && l.contains("\"ended\""));
    assert!(log.contains("alice"), "{log}");
}

#[test]
fn a_pipe_that_is_full_from_the_start_loses_no_call_and_no_packet() {
    let home = Home::alone();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone_with(&home, "bob", "input = \"echo\"\noutput = \"none\"\n", "");
    let listener = home.start(&["listen", "--auto-answer", "-c", &bob, "--json"]);
    listener.until("registration.ok");
    let phone = pbx.phone(&home, "alice");
    let (reader, writer) = std::io::pipe().unwrap();
    fill(&writer);
    let mut command = home.command(&["call", "bob", "-c", &phone, "--duration", "4s", "-vvv"]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let ended = listener.until("call.ended");
    let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
    let stats = &ended["stats"];
    assert_eq!(ended["by"], "remote", "{ended}");
    assert!(stats["rx"].as_u64().unwrap() >= 150, "{stats}");
    assert_eq!(stats["lost"], 0, "{stats}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(reader);
}

/// Writes until the pipe takes no more.
fn fill(pipe: &std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(pipe, &[b'x'; 4096]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

#[test]
fn a_full_disk_is_told_and_loses_no_call() {
    let home = Home::alone();
    let pbx = Pbx::start(&home);
    let bob = pbx.phone_with(&home, "bob", "input = \"echo\"\noutput = \"none\"\n", "");
    let listener = home.start(&["listen", "--auto-answer", "-c", &bob, "--json"]);
    listener.until("registration.ok");
    let phone = pbx.phone(&home, "alice");
    std::os::unix::fs::symlink("/dev/full", home.path("full.wav")).unwrap();
    let args = [
        "call",
        "bob",
        "-c",
        &phone,
        "--duration",
        "4s",
        "--record",
        "full.wav",
        "--trace",
        "/dev/full",
        "--log",
        "/dev/full",
    ];
    let done = home.run(&args);
    done.expect(
        0,
        &[
            "warning[audio.file]: a sound file cannot be used, the call goes on without it",
            "full.wav",
            "by you after 00:04",
        ],
    );
    let ended: serde_json::Value = serde_json::from_str(&listener.until("call.ended")).unwrap();
    assert!(ended["stats"]["rx"].as_u64().unwrap() >= 150 && ended["stats"]["lost"] == 0, "{ended}");
}

#[test]
fn a_closed_pipe_ends_no_call() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let mut command = home.command(&["call", "600", "-c", &phone, "--duration", "2s", "-v"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    pbx.running.until_out(|l| l.contains("pbx.call") && l.contains("\"ended\""));
}

#[test]
fn stdout_is_the_answer_and_quiet_leaves_only_that() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let done = home.run(&["call", "603", "-q", "-c", &phone]).expect(8, &[]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("603 is busy (486 Busy Here).   try later\n", ""));
    let done = home.run(&["call", "600", "-q", "-c", &phone, "--duration", "1s"]).expect(0, &[]);
    assert_eq!((done.out.as_str(), done.err.as_str()), ("", ""));
}

#[test]
fn colours_follow_option_and_environment() {
    let home = Home::new();
    let shown = |args: &[&str], vars: &[(&str, &str)]| {
        let mut command = home.command(&[&["register", "--once"], args].concat());
        command.envs(vars.iter().copied());
        Running::of(command, args).wait().expect(3, &[]).err
    };
    assert!(!shown(&[], &[]).contains('\x1b'));
    assert!(shown(&["--color", "always"], &[("NO_COLOR", "1")]).contains("\x1b[1;31merror"));
    assert!(shown(&[], &[("CLICOLOR_FORCE", "1")]).contains('\x1b'));
    assert!(!shown(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).contains('\x1b'));
    assert!(!shown(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]).contains('\x1b'));
}
