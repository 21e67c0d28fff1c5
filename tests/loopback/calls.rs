//! Many calls at once through the PBX and to one phone; TCP and IPv6 on real sockets.

use crate::kit::{Home, Running};
use crate::sound::{Sound, measure_tone};
use std::path::Path;

/// A PBX with users 1001, 1002 … whose passwords it made itself.
pub struct Pbx {
    pub running: Running,
    pub udp: String,
    pub tcp: String,
    passwords: Vec<(String, String)>,
}

impl Pbx {
    pub fn start(home: &Home, bind: &str, users: usize, more: &[&str]) -> Self {
        let count = users.to_string();
        let args = [&["pbx", "--json", "--bind", bind, "--users", &count], more].concat();
        let running = home.start(&args);
        let last = format!("\"user\":\"{}\"", 1000 + users);
        running.until_out(|line| line.contains("pbx.user") && line.contains(&last));
        let events = crate::kit::events(&running.out());
        let ready = events.iter().find(|event| event["event"] == "ready").expect("it is ready");
        let of = |kind: &str| {
            let all = ready["sip"].as_array().expect("addresses");
            all.iter().find_map(|a| a.as_str()?.strip_prefix(kind)).expect("an address").to_owned()
        };
        let text = |event: &serde_json::Value, key: &str| event[key].as_str().expect("text").to_owned();
        let made = events.iter().filter(|event| event["event"] == "pbx.user");
        let passwords = made.map(|event| (text(event, "user"), text(event, "password"))).collect();
        Self { udp: of("udp:"), tcp: of("tcp:"), passwords, running }
    }

    /// Writes the config of the user number `n`, from 0.
    pub fn phone(&self, home: &Home, n: usize, audio: &str, more: &str) -> String {
        let (user, password) = &self.passwords[n];
        let name = format!("{user}.toml");
        let server = if more.contains("tcp") { &self.tcp } else { &self.udp };
        home.write(
            &name,
            &format!(
                "[account.work]\nserver = \"{server}\"\nuser = \"{user}\"\npassword = \"{password}\"\n{more}\n[audio]\n{audio}\n"
            ),
        );
        name
    }
}

/// What every phone here is told: no device, one codec.
pub fn silent(tone: f64, heard: &str) -> String {
    format!("input = \"tone:{tone}\"\noutput = \"file:{heard}\"\ncodecs = [\"pcmu\"]")
}

/// Which share of a recording may be gaps: hardly any, unless more wants to run than there are processors. Twenty programs
/// that pace packets cannot be on time then, and what is missing says nothing about them.
fn most_gaps() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|figure| figure.parse().ok()).unwrap_or(0.0);
    let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    println!("load {load} on {processors} processors");
    if load > processors { 0.5 } else { 0.05 }
}

/// The tone in a recording: right frequency, long enough, hardly a gap.
#[track_caller]
pub fn assert_tone(path: &Path, hz: f64, seconds: f64) {
    let heard = Sound::read(path, 0).unwrap_or_else(|e| panic!("{e}"));
    let tone = measure_tone(&heard).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    println!("{}: {tone:?}", path.display());
    assert!((tone.hz - hz).abs() < 2.0, "{}: {} Hz instead of {hz}", path.display(), tone.hz);
    assert!(tone.seconds >= seconds, "{}: only {:.1} s", path.display(), tone.seconds);
    assert!(tone.gaps <= most_gaps(), "{}: {:.1} % gaps", path.display(), tone.gaps * 100.0);
}

fn ready_port(running: &Running, kind: &str) -> u16 {
    let ready = running.until("\"event\":\"ready\"");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let all = ready["sip"].as_array().expect("addresses");
    let found = all.iter().find_map(|a| a.as_str()?.strip_prefix(kind)).expect("an address");
    found.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[test]
fn ten_calls_run_at_once_through_the_pbx_and_each_hears_its_own_partner() {
    let home = Home::alone();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 20, &[]);
    let callee = |n: usize| 400.0 + 50.0 * n as f64;
    let caller = |n: usize| 1000.0 + 50.0 * n as f64;
    let listeners: Vec<Running> = (0..10)
        .map(|n| {
            let config = pbx.phone(&home, n, &silent(callee(n), &format!("callee{n}.wav")), "");
            home.start(&["listen", "--auto-answer", "--once", "--json", "-c", &config])
        })
        .collect();
    for listener in &listeners {
        listener.until("registration.ok");
    }
    let callers: Vec<Running> = (0..10)
        .map(|n| {
            let config = pbx.phone(&home, 10 + n, &silent(caller(n), &format!("caller{n}.wav")), "");
            home.start(&["call", &(1001 + n).to_string(), "--json", "--duration", "6s", "-c", &config])
        })
        .collect();
    for caller in &callers {
        caller.until("call.answered");
    }
    // All ten are up at the same time: the first of them lasts six seconds.
    let up = pbx.running.until_out(|line| line.contains("pbx.call"));
    assert!(!up.is_empty());
    for running in callers.into_iter().chain(listeners) {
        running.wait().expect(0, &["call.ended"]);
    }
    for n in 0..10 {
        assert_tone(&home.path(&format!("callee{n}.wav")), caller(n), 3.0);
        assert_tone(&home.path(&format!("caller{n}.wav")), callee(n), 3.0);
    }
    let states = crate::kit::events(&pbx.running.out());
    let of = |state: &str| states.iter().filter(|e| e["event"] == "pbx.call" && e["state"] == state).count();
    assert_eq!((of("answered"), of("ended"), of("refused")), (10, 10, 0));
}

#[test]
fn one_phone_serves_ten_calls_at_once_with_a_recorder_each() {
    let home = Home::alone();
    std::fs::create_dir(home.path("heard")).unwrap();
    home.write(
        "many.toml",
        &format!(
            "[audio]\n{}\n[call]\nmax = 10\n[limits]\nringing = 0\n",
            "input = \"tone:2000\"\noutput = \"none\"\ncodecs = [\"pcmu\"]"
        ),
    );
    let listener =
        home.start(&["listen", "--auto-answer", "--json", "--record", "heard/{call}.wav", "-c", "many.toml"]);
    let port = ready_port(&listener, "udp:0.0.0.0:");
    let tone = |n: usize| 400.0 + 60.0 * n as f64;
    let callers: Vec<Running> = (0..10)
        .map(|n| {
            let name = format!("caller{n}.toml");
            home.write(&name, &format!("[audio]\n{}\n", silent(tone(n), &format!("caller{n}.wav"))));
            home.start(&["call", &format!("sip:x@127.0.0.1:{port}"), "--json", "--duration", "6s", "-c", &name])
        })
        .collect();
    for caller in callers {
        caller.wait().expect(0, &["call.answered", "call.ended"]);
    }
    listener.signal(nix::sys::signal::Signal::SIGINT);
    listener.wait().expect(130, &[]);
    let mut found: Vec<f64> = std::fs::read_dir(home.path("heard"))
        .unwrap()
        .map(|entry| measure_tone(&Sound::read(&entry.unwrap().path(), 0).unwrap()).unwrap().hz.round())
        .collect();
    found.sort_by(f64::total_cmp);
    let expected: Vec<f64> = (0..10).map(tone).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 2.0, "{found} Hz where {expected} was sent");
    }
    for n in 0..10 {
        assert_tone(&home.path(&format!("caller{n}.wav")), 2000.0, 3.0);
    }
}

#[test]
fn calls_run_over_tcp_through_the_pbx_and_straight() {
    let home = Home::alone();
    let pbx = Pbx::start(&home, "127.0.0.1:0", 2, &[]);
    let tcp = "transport = \"tcp\"";
    let callee = pbx.phone(&home, 0, &silent(500.0, "callee.wav"), tcp);
    let caller = pbx.phone(&home, 1, &silent(800.0, "caller.wav"), tcp);
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "--trace", "callee.sip", "-c", &callee]);
    listener.until("registration.ok");
    let call = ["call", "1001", "--duration", "4s", "--json", "--trace", "caller.sip", "-c", &caller];
    home.run(&call).expect(0, &["call.answered"]);
    listener.wait().expect(0, &[]);
    assert_tone(&home.path("callee.wav"), 800.0, 2.0);
    assert_tone(&home.path("caller.wav"), 500.0, 2.0);
    for side in ["callee.sip", "caller.sip"] {
        let trace = std::fs::read_to_string(home.path(side)).unwrap();
        assert!(trace.contains("Via: SIP/2.0/TCP") && !trace.contains("Via: SIP/2.0/UDP"), "{trace}");
    }

    home.write("direct.toml", &format!("[audio]\n{}\n", silent(700.0, "direct.wav")));
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", "direct.toml"]);
    let port = ready_port(&listener, "tcp:0.0.0.0:");
    home.write("far.toml", &format!("[audio]\n{}\n", silent(900.0, "far.wav")));
    let target = format!("sip:x@127.0.0.1:{port};transport=tcp");
    home.run(&["call", &target, "--duration", "4s", "-c", "far.toml"]).expect(0, &[]);
    listener.wait().expect(0, &[]);
    assert_tone(&home.path("direct.wav"), 900.0, 2.0);
    assert_tone(&home.path("far.wav"), 700.0, 2.0);
}

#[test]
fn calls_run_over_ipv6_through_the_pbx_and_straight() {
    let home = Home::alone();
    if let Err(reason) = std::net::UdpSocket::bind("[::1]:0") {
        return crate::namespace::not_run("calls over IPv6 on loopback", &format!("there is no ::1 here: {reason}"));
    }
    let pbx = Pbx::start(&home, "[::1]:0", 2, &[]);
    let callee = pbx.phone(&home, 0, &silent(500.0, "callee.wav"), "");
    let caller = pbx.phone(&home, 1, &silent(800.0, "caller.wav"), "");
    let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", &callee]);
    listener.until("registration.ok");
    let call = ["call", "1001", "--duration", "4s", "--json", "--trace", "caller.sip", "-c", &caller];
    home.run(&call).expect(0, &["call.answered"]);
    listener.wait().expect(0, &[]);
    assert_tone(&home.path("callee.wav"), 800.0, 2.0);
    assert_tone(&home.path("caller.wav"), 500.0, 2.0);
    let trace = std::fs::read_to_string(home.path("caller.sip")).unwrap();
    assert!(trace.contains("Via: SIP/2.0/UDP [::1]:") && trace.contains("c=IN IP6 ::1"), "{trace}");

    home.write("direct.toml", &format!("[audio]\n{}\n", silent(700.0, "direct.wav")));
    for (transport, kind) in [("", "udp:[::]:"), (";transport=tcp", "tcp:[::]:")] {
        let listener = home.start(&["listen", "--auto-answer", "--once", "--json", "-c", "direct.toml"]);
        let port = ready_port(&listener, kind);
        home.write("far.toml", &format!("[audio]\n{}\n", silent(900.0, "far.wav")));
        let target = format!("sip:x@[::1]:{port}{transport}");
        home.run(&["call", &target, "--duration", "4s", "-c", "far.toml"]).expect(0, &[]);
        listener.wait().expect(0, &[]);
        assert_tone(&home.path("direct.wav"), 900.0, 2.0);
        assert_tone(&home.path("far.wav"), 700.0, 2.0);
    }
}
