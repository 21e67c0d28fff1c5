//! Two phones and Kamailio between them, as registrar and record-routing proxy.

use crate::docker::{Container, free_port, rtp_ports};
use crate::judge::{ended_by, heard_speech, heard_tone};
use crate::peers::certificates;
use crate::phone::{Finished, Phone, Setup};
use crate::sound::Sound;
use crate::{Bench, Outcome, Row};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the proxy may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);
const PASSWORD: &str = "kamailio-secret";

/// The proxy.
#[derive(Debug)]
pub(crate) struct Kamailio {
    /// Ends with it.
    _container: Container,
    /// SIP over UDP and TCP.
    sip: u16,
    /// SIP over TLS, with a certificate for `localhost` of this CA.
    tls: u16,
    ca: PathBuf,
}

impl Kamailio {
    /// Starts it on a free port.
    pub(crate) fn start(dir: &Path) -> Result<Self, String> {
        let (sip, tls) = (free_port()?, free_port()?);
        let (ca, _) = certificates(&dir.join("tls"), "localhost")?;
        let options = [
            format!("--volume={}:/opt/bellwire/tls:ro", dir.join("tls").display()),
            format!("--env=SIP_PORT={sip}"),
            format!("--env=TLS_PORT={tls}"),
            "--env=STOP_WITH_STDIN=1".to_owned(),
        ];
        let container = Container::start("kamailio", dir, &options, &[])?;
        container.wait_for("tcp main processing", START)?;
        Ok(Self { _container: container, sip, tls, ca })
    }
}

/// All rows with Kamailio.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (caller, callee) in
        [("udp", "udp"), ("tcp", "tcp"), ("udp", "tcp"), ("tcp", "udp"), ("tls", "tls"), ("tls", "udp"), ("tcp", "tls")]
    {
        let scenario = format!("two phones through it, {caller} to {callee}, record-routed, the callee hangs up");
        rows.push(Row::new("kamailio", scenario, move |b, d| through(b, d, caller, callee)));
    }
    rows.push(Row::new("kamailio", "a call that is redirected to another user", redirected));
    rows.push(Row::new("kamailio", "two phones of one user answer at once", both_answer));
    rows.push(Row::new("kamailio", "an unknown user", unknown));
    for transport in ["udp", "tcp", "tls"] {
        rows.push(Row::new("kamailio", format!("register and unregister, {transport}"), move |b, d| {
            registered(b, d, transport)
        }));
    }
    rows.push(Row::new("kamailio", "wrong password", wrong_password));
    rows
}

fn setup(bench: &Bench, user: &str, transport: &'static str) -> Result<Setup, String> {
    let kamailio = bench.kamailio()?;
    let (server, account_lines) = match transport {
        "tls" => (format!("localhost:{}", kamailio.tls), format!("tls_ca = \"{}\"\n", kamailio.ca.display())),
        _ => (format!("127.0.0.1:{}", kamailio.sip), String::new()),
    };
    let account = Some((server, user.to_owned(), PASSWORD.to_owned()));
    let rtp = rtp_ports(40)?;
    Ok(Setup { account, account_lines, transport: Some(transport), codecs: vec!["pcmu"], rtp, ..Setup::default() })
}

/// A phone that registers and answers by itself, once it is registered.
fn callee(dir: &Path, setup: &Setup, args: &[&str]) -> Result<Phone, String> {
    let listen = [&["listen", "--auto-answer", "--once"], args].concat();
    let mut phone = Phone::start(dir, setup, &listen)?;
    phone.wait_for("registration.ok", Duration::from_secs(10))?;
    Ok(phone)
}

fn through(bench: &Bench, dir: &Path, from: &'static str, to: &'static str) -> Outcome {
    // Each row has users of its own: rows run side by side.
    let (alice, bob) = (format!("alice-{from}-{to}"), format!("bob-{from}-{to}"));
    let (a, b) = (dir.join("a"), dir.join("b"));
    std::fs::create_dir_all(&a).and_then(|()| std::fs::create_dir_all(&b)).map_err(|e| e.to_string())?;
    let (heard_a, heard_b) = (a.join("heard.wav").display().to_string(), b.join("heard.wav").display().to_string());
    let tone = b.join("says.wav").display().to_string();
    Sound::tone(1000.0, 30.0, 8000).write(Path::new(&tone))?;
    let answering = ["--play", &tone, "--record", &heard_b];
    let callee = callee(&b, &setup(bench, &bob, to)?, &answering)?;
    let says = bench.speech_file(dir)?;
    let call = ["call", &bob, "--play", &says, "--record", &heard_a];
    let mut caller = Phone::start(&a, &setup(bench, &alice, from)?, &call)?;
    caller.wait_for("call.answered", Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_secs(12));
    callee.interrupt()?;
    let callee = callee.finish(Duration::from_secs(10))?;
    callee.expect_code(130)?;
    let caller = caller.finish(Duration::from_secs(10))?;
    caller.expect_code(0)?;
    ended_by(&caller, "remote")?;
    ended_by(&callee, "local")?;
    if (from, to) == ("tls", "tls") {
        // Both may send keys, so both do.
        let srtp = |done: &Finished| done.event("call.answered").map(|event| event["audio"]["srtp"].clone());
        let (ours, theirs) = (srtp(&caller)?, srtp(&callee)?);
        if ours.is_null() || theirs.is_null() {
            return Err(format!("the sound is not encrypted: {ours} {theirs}"));
        }
    }
    let there = heard_speech(bench, &Sound::read(Path::new(&heard_b), 0)?, "pcmu")?;
    let back = heard_tone(&Sound::read(Path::new(&heard_a), 0)?, 1000.0, 9.0)?;
    Ok(format!("there {there}; back {back}"))
}

fn redirected(bench: &Bench, dir: &Path) -> Outcome {
    let callee = callee(&dir.join("b"), &setup(bench, "2002", "udp")?, &[])?;
    let call = ["call", "302", "--duration", "1s"];
    let caller = Phone::run(&dir.join("a"), &setup(bench, "2001", "udp")?, &call, Duration::from_secs(20))?;
    caller.expect_code(0)?;
    callee.finish(Duration::from_secs(10))?.expect_code(0)?;
    ended_by(&caller, "local")
}

fn answers(done: &Finished) -> usize {
    done.events.iter().filter(|event| event["event"] == "call.answered").count()
}

fn both_answer(bench: &Bench, dir: &Path) -> Outcome {
    let phones = ["b", "c"].map(|name| callee(&dir.join(name), &setup(bench, "2003", "udp")?, &[]));
    let call = ["call", "2003", "--duration", "2s"];
    let caller = Phone::run(&dir.join("a"), &setup(bench, "2004", "tcp")?, &call, Duration::from_secs(20))?;
    caller.expect_code(0)?;
    if answers(&caller) != 1 {
        return Err(format!("the caller was answered {} times", answers(&caller)));
    }
    let mut lengths = Vec::new();
    for phone in phones {
        let done = phone?.finish(Duration::from_secs(10))?;
        ended_by(&done, "remote")?;
        lengths.push(done.event("call.ended")?["duration_s"].as_f64().unwrap_or(0.0));
    }
    lengths.sort_by(f64::total_cmp);
    match lengths.as_slice() {
        [short, long] if *short < 1.0 && *long > 1.5 => {
            Ok(format!("one talked for {long:.1} s, the other was let go after {short:.1} s"))
        }
        other => Err(format!("the calls lasted {other:?} s")),
    }
}

fn unknown(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &setup(bench, "2005", "udp")?, &["call", "nobody"], Duration::from_secs(20))?;
    done.expect_code(10)?.expect_slug("call.not-found")?;
    Ok("exit code 10, call.not-found".to_owned())
}

fn registered(bench: &Bench, dir: &Path, transport: &'static str) -> Outcome {
    let user = format!("2006-{transport}");
    let done = Phone::run(dir, &setup(bench, &user, transport)?, &["register", "--once"], Duration::from_secs(20))?;
    done.expect_code(0)?;
    done.event("registration.ended")?;
    Ok(format!("{} s", done.event("registration.ok")?["expires"]))
}

fn wrong_password(bench: &Bench, dir: &Path) -> Outcome {
    let mut setup = setup(bench, "2007", "udp")?;
    if let Some((_, _, password)) = &mut setup.account {
        *password = "not this one".to_owned();
    }
    let done = Phone::run(dir, &setup, &["register", "--once"], Duration::from_secs(20))?;
    done.expect_code(4)?.expect_slug("auth.wrong-password")?;
    Ok("exit code 4, auth.wrong-password".to_owned())
}
