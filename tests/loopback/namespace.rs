//! Network namespaces made by the tests themselves: a host with two interfaces and a peer behind each.
//!
//! ```text
//!   near 10.71.1.2 ──── 10.71.1.1 host 10.72.2.1 ──── 10.72.2.2 far
//! ```
//!
//! This needs root and the `ip` command; without them the tests say NOT RUN, and fail with CI=true.

use crate::calls::assert_tone;
use crate::kit::{BELLWIRE, Home, Running};
use nix::sys::signal::Signal;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Says that a test did not run and why: `make test` shows it at its end, and with CI=true it is a failure.
pub fn not_run(what: &str, why: &str) {
    println!("NOT RUN  {what}: {why}");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-run.txt");
    let open = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    open.and_then(|mut file| writeln!(file, "{what}: {why}")).expect("the folder for test output can be written to");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true {what} must run: {why}");
}

fn ip(args: &str) -> Result<(), String> {
    let done = Command::new("ip").args(args.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("ip {args}: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// Three namespaces; gone when dropped.
struct Net {
    host: String,
    near: String,
    far: String,
}

impl Net {
    fn new() -> Result<Self, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let name = |role| format!("bw{}-{}-{role}", std::process::id(), COUNT.load(Ordering::Relaxed));
        let net = Self { host: name("host"), near: name("near"), far: name("far") };
        COUNT.fetch_add(1, Ordering::Relaxed);
        let Self { host, near, far } = &net;
        for space in [host, near, far] {
            ip(&format!("netns add {space}"))?;
            ip(&format!("-n {space} link set lo up"))?;
        }
        for (peer, link, subnet) in [(near, "v1", "10.71.1"), (far, "v2", "10.72.2")] {
            ip(&format!("-n {host} link add {link} type veth peer name eth0 netns {peer}"))?;
            ip(&format!("-n {host} addr add {subnet}.1/24 dev {link}"))?;
            ip(&format!("-n {peer} addr add {subnet}.2/24 dev eth0"))?;
            ip(&format!("-n {host} link set {link} up"))?;
            ip(&format!("-n {peer} link set eth0 up"))?;
        }
        Ok(net)
    }

    /// Starts the binary in one of the namespaces.
    fn start(home: &Home, space: &str, args: &[&str]) -> Running {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", space, BELLWIRE]).args(args);
        home.settle(&mut command);
        Running::of(command, args)
    }

    /// Shows the marks of all UDP packets that come to a namespace: runs this test program there.
    fn sniff(home: &Home, space: &str, seconds: u32, tcp: bool) -> std::process::Child {
        let mut command = Command::new("ip");
        let own = std::env::current_exe().expect("this program has a path");
        command.args(["netns", "exec", space]).arg(own).args([
            "--ignored",
            "--exact",
            "namespace::sniffer",
            "--nocapture",
        ]);
        home.settle(&mut command);
        if tcp {
            command.env("SNIFF_TCP", "1");
        }
        let child = command.env("SNIFF_SECONDS", seconds.to_string()).stdout(Stdio::piped()).spawn();
        child.expect("the sniffer starts")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for space in [&self.host, &self.near, &self.far] {
            let _ = ip(&format!("netns del {space}")); // it may not have come to be
        }
    }
}

/// No test: what [`Net::sniff`] runs in a namespace. A raw socket gets whole IP packets, header included.
#[test]
#[ignore = "a helper that the tests of this file start"]
fn sniffer() {
    let Some(seconds) = std::env::var("SNIFF_SECONDS").ok().and_then(|text| text.parse().ok()) else { return };
    let tcp = std::env::var_os("SNIFF_TCP").is_some();
    let protocol = if tcp { Protocol::TCP } else { Protocol::UDP };
    let mut socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol)).expect("root may open a raw socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket");
    let (end, mut seen, mut packet) = (Instant::now() + Duration::from_secs(seconds), BTreeSet::new(), [0; 2048]);
    println!("sniffing");
    while Instant::now() < end {
        let Ok(length) = socket.read(&mut packet) else { continue };
        let header = usize::from(packet[0] & 15) * 4;
        if length < header + 8 {
            continue;
        }
        let from = format!("{}.{}.{}.{}", packet[12], packet[13], packet[14], packet[15]);
        let kind = match packet[header + 8] {
            _ if tcp => "tcp",
            0x80..=0xbf if (200..=204).contains(&packet[header + 9]) => "rtcp",
            0x80..=0xbf => "rtp",
            b'A'..=b'Z' => "sip",
            _ => "other",
        };
        if seen.insert((from.clone(), kind, packet[1])) {
            println!("from={from} kind={kind} dscp={}", packet[1] >> 2);
        }
    }
}

fn audio(tone: u32, heard: &str, more: &str) -> String {
    format!("[audio]\ninput = \"tone:{tone}\"\noutput = \"file:{heard}\"\ncodecs = [\"pcmu\"]\n{more}\n")
}

/// Everything that the host sent, message by message.
fn sent(trace: &str) -> Vec<&str> {
    trace.split("\n\n").filter(|block| block.lines().any(|line| line.contains(" sent "))).collect()
}

/// The host named `own` and no other address of its own in what it sent.
#[track_caller]
fn assert_names(trace: &str, own: &str, other: &str) {
    assert!(trace.contains(&format!("c=IN IP4 {own}")), "{trace}");
    for line in trace.lines().map(str::trim) {
        let ours = line.starts_with("Via:") || line.starts_with("Contact:") || line.starts_with("c=");
        assert!(!(ours && line.contains(other)), "{line}");
    }
}

fn with_net(what: &str) -> Option<Net> {
    match Net::new() {
        Ok(net) => Some(net),
        Err(why) => {
            not_run(what, &why);
            None
        }
    }
}

#[test]
fn via_contact_and_description_name_the_interface_of_the_route() {
    let home = Home::alone();
    let Some(net) = with_net("two interfaces in a network namespace") else { return };
    for (space, peer, own, other) in
        [(&net.near, "10.71.1.2", "10.71.1.1", "10.72.2.1"), (&net.far, "10.72.2.2", "10.72.2.1", "10.71.1.1")]
    {
        home.write("peer.toml", &audio(500, "peer.wav", "[network]\nport = 5060"));
        home.write("host.toml", &audio(800, "host.wav", "[network]\nport = 5070"));
        // The host calls.
        let listener = Net::start(&home, space, &["listen", "--auto-answer", "--once", "--json", "-c", "peer.toml"]);
        listener.until("\"event\":\"ready\"");
        for transport in ["", ";transport=tcp"] {
            let target = format!("sip:peer@{peer}{transport}");
            let listener = match transport {
                "" => None,
                _ => {
                    let args = ["listen", "--auto-answer", "--once", "--json", "--port", "5080", "-c", "peer.toml"];
                    let listener = Net::start(&home, space, &args);
                    listener.until("\"event\":\"ready\"");
                    Some(listener)
                }
            };
            let target = if listener.is_some() { target.replace(peer, &format!("{peer}:5080")) } else { target };
            let args = ["call", &target, "--duration", "3s", "--trace", "host.sip", "-c", "host.toml"];
            Net::start(&home, &net.host, &args).wait().expect(0, &[]);
            let trace = std::fs::read_to_string(home.path("host.sip")).unwrap();
            assert_names(&trace, own, other);
            let invite = sent(&trace).into_iter().find(|block| block.contains("INVITE sip:")).expect("an INVITE");
            assert!(invite.contains(&format!(" {own}:5070;")), "Via: {invite}");
            assert!(
                invite.contains(&format!("@{own}:5070")) || invite.contains(&format!("<sip:{own}:5070")),
                "Contact: {invite}"
            );
            std::fs::remove_file(home.path("host.sip")).unwrap();
            if let Some(listener) = listener {
                listener.wait().expect(0, &[]);
            }
            assert_tone(&home.path("host.wav"), 500.0, 1.5);
            assert_tone(&home.path("peer.wav"), 800.0, 1.5);
        }
        listener.wait().expect(0, &[]);

        // The host is called, on all its addresses by one socket.
        let args = ["listen", "--auto-answer", "--once", "--json", "--trace", "host.sip", "-c", "host.toml"];
        let listener = Net::start(&home, &net.host, &args);
        listener.until("\"event\":\"ready\"");
        let args = ["call", &format!("sip:host@{own}:5070"), "--duration", "3s", "-c", "peer.toml"];
        Net::start(&home, space, &args).wait().expect(0, &[]);
        listener.wait().expect(0, &[]);
        let trace = std::fs::read_to_string(home.path("host.sip")).unwrap();
        assert_names(&trace, own, other);
        std::fs::remove_file(home.path("host.sip")).unwrap();
        assert_tone(&home.path("host.wav"), 500.0, 1.5);
    }
}

#[test]
fn a_registration_names_the_interface_towards_its_server() {
    let home = Home::alone();
    let Some(net) = with_net("a registration over one of two interfaces") else { return };
    let pbx = Net::start(&home, &net.far, &["pbx", "--json", "--bind", "10.72.2.2:5060", "--users", "1"]);
    let user = pbx.until("pbx.user");
    let user: serde_json::Value = serde_json::from_str(&user).unwrap();
    let (name, password) = (user["user"].as_str().unwrap(), user["password"].as_str().unwrap());
    let account = format!("[account.far]\nserver = \"10.72.2.2\"\nuser = \"{name}\"\npassword = \"{password}\"\n");
    home.write("host.toml", &(account + &audio(800, "host.wav", "")));
    let phone = Net::start(&home, &net.host, &["register", "--json", "-c", "host.toml"]);
    let ok = phone.until("registration.ok");
    assert!(ok.contains("@10.72.2.1:"), "{ok}");
    let args = ["call", "600", "--duration", "4s", "--json", "--trace", "host.sip", "-c", "host.toml"];
    Net::start(&home, &net.host, &args).wait().expect(0, &["call.answered"]);
    assert_names(&std::fs::read_to_string(home.path("host.sip")).unwrap(), "10.72.2.1", "10.71.1.1");
    assert_tone(&home.path("host.wav"), 800.0, 2.0);
}

#[test]
fn packets_carry_the_marks_that_the_config_asks_for() {
    let home = Home::alone();
    let Some(net) = with_net("DSCP on real packets") else { return };
    for (config, dscp) in [("", 46), ("dscp_audio = 10", 10), ("dscp_audio = 0", 0)] {
        home.write("host.toml", &audio(800, "host.wav", &format!("[network]\n{config}")));
        home.write("peer.toml", &audio(500, "peer.wav", "[network]\nport = 5060"));
        let mut sniffer = Net::sniff(&home, &net.near, 8, false);
        let listener =
            Net::start(&home, &net.near, &["listen", "--auto-answer", "--once", "--json", "-c", "peer.toml"]);
        listener.until("\"event\":\"ready\"");
        let args = ["call", "sip:peer@10.71.1.2", "--duration", "3s", "-c", "host.toml"];
        Net::start(&home, &net.host, &args).wait().expect(0, &[]);
        listener.wait().expect(0, &[]);
        let mut seen = String::new();
        sniffer.stdout.take().expect("a pipe").read_to_string(&mut seen).unwrap();
        assert!(sniffer.wait().unwrap().success(), "{seen}");
        let marks = |kind: &str| -> BTreeSet<String> {
            let lines = seen.lines().filter(|line| line.contains(&format!("from=10.71.1.1 kind={kind} ")));
            lines.filter_map(|line| line.rsplit('=').next().map(str::to_owned)).collect()
        };
        assert_eq!(marks("sip"), BTreeSet::from(["24".to_owned()]), "{seen}");
        assert_eq!(marks("rtp"), BTreeSet::from([dscp.to_string()]), "{config}: {seen}");
        assert!(marks("rtcp").is_subset(&BTreeSet::from([dscp.to_string()])), "{config}: {seen}");
    }
}

#[test]
fn sip_over_tcp_is_marked_at_both_ends() {
    let home = Home::alone();
    let Some(net) = with_net("DSCP on TCP") else { return };
    home.write("host.toml", &audio(800, "host.wav", ""));
    home.write("peer.toml", &audio(500, "peer.wav", "[network]\nport = 5060"));
    let sniffers = [&net.near, &net.host].map(|space| Net::sniff(&home, space, 8, true));
    let listener = Net::start(&home, &net.near, &["listen", "--auto-answer", "--once", "--json", "-c", "peer.toml"]);
    listener.until("\"event\":\"ready\"");
    let args = ["call", "sip:peer@10.71.1.2;transport=tcp", "--duration", "3s", "-c", "host.toml"];
    Net::start(&home, &net.host, &args).wait().expect(0, &[]);
    listener.wait().expect(0, &[]);
    for (mut sniffer, from) in sniffers.into_iter().zip(["10.71.1.1", "10.71.1.2"]) {
        let mut seen = String::new();
        sniffer.stdout.take().expect("a pipe").read_to_string(&mut seen).unwrap();
        assert!(sniffer.wait().unwrap().success(), "{seen}");
        assert!(seen.contains(&format!("from={from} kind=tcp dscp=24")), "{seen}");
    }
}

#[test]
fn an_interface_that_goes_down_for_a_while_ends_no_call() {
    let home = Home::alone();
    let Some(net) = with_net("an interface going down during a call") else { return };
    home.write("host.toml", &audio(800, "host.wav", "[network]\nport = 5070"));
    home.write("peer.toml", &audio(500, "peer.wav", "[network]\nport = 5060"));
    let listener = Net::start(&home, &net.near, &["listen", "--auto-answer", "--once", "--json", "-c", "peer.toml"]);
    listener.until("\"event\":\"ready\"");
    let args = ["call", "sip:peer@10.71.1.2", "--json", "-c", "host.toml"];
    let call = Net::start(&home, &net.host, &args);
    call.until("call.answered");
    std::thread::sleep(Duration::from_secs(2));
    ip(&format!("-n {} link set v1 down", net.host)).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    ip(&format!("-n {} link set v1 up", net.host)).unwrap();
    std::thread::sleep(Duration::from_secs(4));
    call.signal(Signal::SIGINT);
    call.wait().expect(130, &["call.ended"]);
    listener.wait().expect(0, &["call.ended"]);
    // Two seconds before and at least two after, with a hole between them.
    for (file, hz) in [("host.wav", 500.0), ("peer.wav", 800.0)] {
        let heard = crate::sound::Sound::read(&home.path(file), 0).unwrap();
        let seconds = heard.seconds();
        assert!(seconds > 7.0, "{file} ends after {seconds:.1} s");
        for (start, what) in [(0.5, "before"), (seconds - 2.0, "after")] {
            let tone =
                crate::sound::measure_tone(&heard.cut(start, 1.5)).unwrap_or_else(|e| panic!("{file}, {what}: {e}"));
            assert!((tone.hz - hz).abs() < 2.0, "{file}, {what}: {tone:?}");
        }
        let hole = heard.cut(seconds - 6.0, 1.0);
        assert!(hole.level_db() < heard.cut(0.5, 1.0).level_db() - 20.0, "{file}: the interface was not down");
    }
}

#[test]
fn an_interface_that_stays_down_ends_the_call_at_both_ends_with_the_reason() {
    let home = Home::alone();
    let Some(net) = with_net("an interface that stays down") else { return };
    let impatient = "[call]\nmedia_timeout = \"3s\"\n";
    home.write("host.toml", &audio(800, "host.wav", &format!("{impatient}[network]\nport = 5070")));
    home.write("peer.toml", &audio(500, "peer.wav", &format!("{impatient}[network]\nport = 5060")));
    let listener = Net::start(&home, &net.near, &["listen", "--auto-answer", "--once", "--json", "-c", "peer.toml"]);
    listener.until("\"event\":\"ready\"");
    let call = Net::start(&home, &net.host, &["call", "sip:peer@10.71.1.2", "--json", "-c", "host.toml"]);
    call.until("call.answered");
    std::thread::sleep(Duration::from_secs(1));
    ip(&format!("-n {} link set v1 down", net.host)).unwrap();
    call.wait().expect(14, &["media.peer-gone"]);
    listener.wait().expect(14, &["media.peer-gone"]);
}
