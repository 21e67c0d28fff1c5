//! Every way a call, a registration or a ping can end: the text and the exit code.

use crate::kit::{Home, Pbx, Running};
use crate::peer::{Echo, Peer, Script};
use nix::sys::signal::Signal;

#[test]
fn try_calls_itself_hears_the_echo_and_says_so() {
    let home = Home::alone();
    let done = home.run(&["try", "--null-audio", "--json"]).expect(0, &[]);
    let verdict = done.events("try.verdict").remove(0);
    assert_eq!(verdict["heard"], true, "{verdict}");
    assert!(verdict["likeness"].as_f64().unwrap() >= 0.7, "{verdict}");
    assert!(verdict["level_db"].as_f64().unwrap().abs() <= 6.0, "{verdict}");
    for key in ["codec", "setup_ms", "tx", "rx", "lost", "jitter_ms", "rtt_ms", "delay_ms", "mos"] {
        assert!(!verdict[key].is_null(), "{key} of {verdict}");
    }
}

#[test]
fn try_is_answered_soon_after_its_start_and_reads_like_this() {
    let home = Home::alone();
    let start = std::time::Instant::now();
    let running = home.start(&["try", "--null-audio"]);
    running.until("  answered ");
    let took = start.elapsed();
    println!("start to answered: {} ms (the aim is 2000)", took.as_millis());
    // Bound for a machine that builds and tests other things meanwhile.
    assert!(took.as_secs() < 20, "{took:?}");
    let done = running.wait();
    let rows = ["codec", "set-up time", "packets", "jitter", "round trip", "mouth to ear", "level", "likeness", "MOS"];
    for row in rows {
        assert!(done.out.contains(&format!("\n  {row} ")), "{row}:\n{}", done.out);
    }
    done.expect(0, &["registered you at 127.0.0.1:", "heard: the echo of what was said came back"]);
}

#[test]
fn try_keeps_the_recording_that_was_asked_for() {
    let home = Home::alone();
    home.run(&["try", "--null-audio", "--record", "heard.wav"]).expect(0, &[]);
    let kept = hound::WavReader::open(home.path("heard.wav")).unwrap();
    assert!(kept.duration() / kept.spec().sample_rate >= 4);
}

#[test]
fn a_call_to_the_echo_is_answered_and_ends() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let done = home.run(&["call", "600", "-c", &phone, "--duration", "2s"]);
    done.expect(
        0,
        &["  calling  sip:600@127.0.0.1:", "from alice, account \"work\"", "  answered ", "by you after 00:0"],
    );
}

#[test]
fn what_the_pbx_answers_decides_text_and_exit_code() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let call = |target: &str| home.run(&["call", target, "-c", &phone, "--timeout", "2s"]);
    call("603").expect(8, &["603 is busy (486 Busy Here)."]);
    call("604").expect(7, &["604 did not answer within 2 s."]);
    call("699").expect(10, &["knows no \"699\" (404 Not Found)."]);
    call("bob").expect(7, &["bob is not reachable now (480 ", "not registered, or do-not-disturb"]);
}

#[test]
fn every_refusal_has_its_words_and_its_code() {
    for (status, reason, exit, words) in [
        (603, "Decline", 9, " declined the call (603 Decline)."),
        (607, "Unwanted", 9, " declined the call (607 Unwanted)."),
        (486, "Busy Here", 8, " is busy (486 Busy Here)."),
        (600, "Busy Everywhere", 8, " is busy (600 Busy Everywhere)."),
        (480, "Temporarily Unavailable", 7, " is not reachable now (480 Temporarily Unavailable)"),
        (408, "Request Timeout", 7, " did not answer (408 Request Timeout)."),
        (404, "Not Found", 10, "(404 Not Found)"),
        (410, "Gone", 10, "(410 Gone)"),
        (484, "Address Incomplete", 10, "(484 Address Incomplete)"),
        (604, "Does Not Exist Anywhere", 10, "(604 Does Not Exist Anywhere)"),
        (488, "Not Acceptable Here", 11, "share no audio codec"),
        (415, "Unsupported Media Type", 11, "share no audio codec"),
        (606, "Not Acceptable", 11, "share no audio codec"),
        (403, "Forbidden", 4, "answered 403 Forbidden"),
        (503, "Service Unavailable", 5, "answered 503 Service Unavailable"),
        (500, "Server Internal Error", 16, "answered 500 Server Internal Error"),
        (482, "Loop Detected", 16, "answered 482 Loop Detected"),
    ] {
        let home = Home::new();
        let peer = Peer::start(Script::Answer(status, reason));
        let target = format!("sip:x@{}", peer.addr);
        let done = home.run(&["call", &target, "--null-audio"]);
        assert!(
            done.code == Some(exit) && (done.out.contains(words) || done.err.contains(words)),
            "{status}: exit {:?}, not {exit}, or no `{words}` in\n{}{}",
            done.code,
            done.out,
            done.err
        );
    }
}

#[test]
fn a_wrong_password_is_said_and_exits_with_4() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let wrong = format!("[account.work]\nserver = \"{}\"\nuser = \"alice\"\npassword = \"guess\"\n", pbx.udp);
    home.write("wrong.toml", &wrong);
    for command in
        [&["register", "--once", "-c", "wrong.toml"][..], &["call", "600", "--null-audio", "-c", "wrong.toml"]]
    {
        home.run(command).expect(
            4,
            &[
                "error[auth.wrong-password]: 127.0.0.1:",
                "did not accept the password of alice",
                "  cause: answered 401 Unauthorized again after the password was sent (realm \"bellwire\", SHA-256)",
                "  try:   auth_user = \"…\" in [account.work]",
            ],
        );
    }
}

#[test]
fn an_unknown_host_is_said_and_exits_with_5() {
    let home = Home::new();
    home.write("far.toml", "[account.work]\nserver = \"no-such-host.invalid\"\nuser = \"a\"\npassword = \"b\"\n");
    for command in [
        &["call", "bob@no-such-host.invalid", "--null-audio"][..],
        &["ping", "no-such-host.invalid"],
        &["register", "--once", "-c", "far.toml"],
    ] {
        home.run(command).expect(5, &["error[net.dns]: no address for no-such-host.invalid", "  try:   "]);
    }
}

#[test]
fn a_port_where_nothing_listens_is_said_and_exits_with_5() {
    let home = Home::new();
    // Bound and given back: nothing listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = format!("sip:bob@{free};transport=tcp");
    home.run(&["call", &target, "--null-audio"])
        .expect(5, &["error[net.refused]: ", "is up but nothing listens there"]);
    home.run(&["ping", &free.to_string(), "--transport", "tcp"]).expect(5, &["error[net.refused]", "over TCP"]);
}

#[test]
fn no_common_codec_is_said_by_both_and_exits_with_11() {
    let home = Home::new();
    let listener = home.start(&["listen", "--auto-answer", "--null-audio", "--codecs", "pcmu", "--json"]);
    let target = direct(&listener);
    home.run(&["call", &target, "--null-audio", "--codecs", "g722"]).expect(
        11,
        &[
            "error[media.no-common-codec]: ",
            "and this phone share no audio codec",
            "we offered g722",
            "  try:   audio.codecs = ",
        ],
    );
}

/// The address of a phone that listens, as a URI to call.
pub fn direct(listener: &Running) -> String {
    let ready = listener.until("\"event\":\"ready\"");
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let udp = ready["sip"][0].as_str().unwrap();
    format!("sip:phone@127.0.0.1:{}", udp.rsplit(':').next().unwrap())
}

#[test]
fn a_busy_port_is_said_and_exits_with_13() {
    let home = Home::new();
    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.run(&["listen", "--null-audio", "--port", &port]).expect(
        13,
        &[
            &format!("error[net.port-in-use]: port {port} (UDP) is taken"),
            "  try:   bellwire listen --port 0",
            "port = 0 in [network]",
        ],
    );
    home.run(&["pbx", "--users", "1", "--bind", &format!("127.0.0.1:{port}")]).expect(13, &["error[net.port-in-use]"]);
}

#[test]
fn a_pbx_killed_during_the_call_is_noticed_and_exits_with_14() {
    let home = Home::new();
    for number in ["600", "602"] {
        let pbx = Pbx::start(&home);
        let phone = pbx.phone(&home, "alice");
        let call = home.start(&["call", number, "-c", &phone, "--media-timeout", "2s"]);
        call.until("  answered ");
        std::thread::sleep(std::time::Duration::from_millis(500));
        pbx.running.signal(Signal::SIGKILL);
        call.wait().expect(
            14,
            &[
                "by a fault after 00:0",
                &format!("error[media.peer-gone]: {number} vanished after 00:0"),
                "  cause: no packet for 2 s",
                &format!("  try:   bellwire ping {}", pbx.udp),
            ],
        );
    }
}

#[test]
fn digits_are_sent_and_read_back() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let done = home.run(&["call", "605", "-c", &phone, "--dtmf", "19*#", "--duration", "5s", "--json"]).expect(0, &[]);
    let digits: Vec<String> =
        done.events("dtmf.received").iter().map(|e| e["digit"].as_str().unwrap().to_owned()).collect();
    assert_eq!(digits, ["1", "9", "*"], "605 reads back what came before the #");
}

#[test]
fn a_registration_shows_contact_and_time_and_ends() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let phone = pbx.phone(&home, "alice");
    let done = home.run(&["register", "--once", "-c", &phone]);
    done.expect(0, &["  registered alice at 127.0.0.1:", "for 600 s, contact sip:", "  unregistered  work"]);
    home.run(&["register", "none", "-c", &phone])
        .expect(2, &["error[usage.account]: there is no account \"none\"", "\"work\""]);
    home.run(&["register", "--once"]).expect(3, &["error[config.no-account]", "bellwire config init"]);
}

#[test]
fn a_ping_tells_who_is_there() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    home.run(&["ping", &pbx.udp])
        .expect(0, &["  answered 200 OK in ", "  server   Bellwire-PBX/", "  allows   INVITE"]);
    let phone = pbx.phone(&home, "alice");
    home.run(&["ping", "600", "-c", &phone]).expect(0, &["  answered 200 OK in "]);
    home.run(&["ping", &pbx.tcp, "--transport", "tcp"]).expect(0, &["  answered 200 OK in "]);
    let done = home.run(&["ping", &pbx.udp, "--json"]).expect(0, &[]);
    let pong = done.events("ping").remove(0);
    assert_eq!((&pong["code"], &pong["target"]), (&200.into(), &pbx.udp.as_str().into()));
}

#[test]
fn a_call_over_tcp_is_answered() {
    let home = Home::new();
    let pbx = Pbx::start(&home);
    let text = format!(
        "[account.work]\nserver = \"{}\"\nuser = \"alice\"\npassword = \"{}-alice\"\ntransport = \"tcp\"\n",
        pbx.tcp,
        crate::kit::CANARY
    );
    home.write("tcp.toml", &text);
    let done = home.run(&["call", "600", "--null-audio", "-c", "tcp.toml", "--duration", "1s", "--trace", "tcp.txt"]);
    done.expect(0, &["  answered "]);
    let trace = std::fs::read_to_string(home.path("tcp.txt")).unwrap();
    assert!(trace.contains(" sent TCP ") && !trace.contains(" UDP "), "{trace}");
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_would_be_right() {
    let home = Home::new();
    home.run(&["cal", "600"]).expect(2, &["a similar subcommand exists: 'call'"]);
    home.run(&["call"]).expect(2, &["<TARGET>"]);
    home.run(&["call", "600", "--codec", "pcmu"]).expect(2, &["--codecs"]);
    home.run(&["call", "600"])
        .expect(2, &["error[usage.target]: `600` cannot be called", "a number or name needs an account"]);
    home.run(&["call", "x@y", "--codecs", "pcmx"]).expect(2, &["--codecs: no codec \"pcmx\"; did you mean \"pcmu\"?"]);
    home.run(&["listen", "--port", "99999"]).expect(2, &["--port: must be 0 to 65535"]);
    home.run(&["call", "x@y", "--set", "audio.fram=10ms"])
        .expect(2, &["there is no key `audio.fram`", "did you mean `audio.frame`?"]);
    home.run(&["call", "x@y", "--dtmf", "12x"]).expect(2, &["`x` is no DTMF digit"]);
    home.run(&["call", "x@y", "--duration", "soon"]).expect(2, &["30s"]);
    home.run(&["explain", "auth.wrong-pasword"]).expect(2, &["did you mean auth.wrong-password?"]);
}

#[test]
fn a_sound_file_that_cannot_be_used_is_told_before_anybody_is_called() {
    let home = Home::new();
    home.run(&["call", "x@127.0.0.1", "--play", "none.wav"])
        .expect(12, &["error[usage.file]: none.wav cannot be used for --play", "so nothing was started"]);
    home.write("text.wav", "no sound");
    home.run(&["call", "x@127.0.0.1", "--play", "text.wav"]).expect(12, &["it is no WAV file"]);
    home.run(&["call", "x@127.0.0.1", "--record", "no/folder.wav"]).expect(12, &["there is no folder no"]);
}

#[test]
fn a_call_without_any_sound_from_them_is_told_while_it_goes_on() {
    let home = Home::new();
    let peer = Peer::start(Script::Echo(Echo::OneWay));
    let target = format!("sip:deaf@{}", peer.addr);
    let done = home.run(&["call", &target, "--null-audio", "--duration", "7s", "--json"]).expect(
        0,
        &[
            "warning[media.no-incoming-audio]: you cannot hear ",
            "no audio packet arrived in 5 s",
            "  try:   interface = ",
        ],
    );
    let warning = done.events("media.warning").remove(0);
    assert_eq!(warning["slug"], "media.no-incoming-audio");
    assert!(warning["text"].is_string() && warning["cause"].is_string() && warning["try"][0].is_string(), "{warning}");
}
