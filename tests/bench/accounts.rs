//! A thousand accounts in one process: how fast they register, and what each costs from then on.

#![allow(clippy::disallowed_methods, reason = "a bench has a clock and threads")]

use crate::figures::short;
use crate::peers::{Kind, find, free_port};
use crate::process;
use crate::report::Report;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const ACCOUNTS: usize = 1000;
const IDLE: Duration = Duration::from_secs(10);

/// A program that is ended with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(directory: &Path, config: &str, text: &str, arguments: &[&str]) -> Result<Running, String> {
    let file = directory.join(config);
    fs::write(&file, text).map_err(|error| error.to_string())?;
    let mut command = Command::new(find(Kind::Bellwire)?);
    command.arg("--config").arg(file).args(arguments).env("HOME", directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map(Running).map_err(|error| error.to_string())
}

/// What a program says that matters here.
enum Said {
    Ready,
    Registered,
    /// So many events were more than it could write in time.
    Missed(usize),
}

/// Waits until the program has told of `count` registrations; returns when it was ready, and when the last of them was told.
fn registrations(running: &mut Running, count: usize) -> Result<(Instant, Instant), String> {
    let out = running.0.stdout.take().ok_or("no output")?;
    let errors = running.0.stderr.take().ok_or("no errors")?;
    let (sender, receiver) = channel();
    // Both read on after the last: a full pipe would hold the program up.
    let told = sender.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if line.contains("\"event\":\"ready\"") {
                let _ = told.send((Said::Ready, Instant::now()));
            } else if line.contains("\"event\":\"registration.ok\"") {
                let _ = told.send((Said::Registered, Instant::now()));
            }
        }
    });
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            let missed = line.trim().strip_suffix(" events were missed").and_then(|number| number.parse().ok());
            if let Some(missed) = missed {
                let _ = sender.send((Said::Missed(missed), Instant::now()));
            }
        }
    });
    let (mut begun, mut registered) = (None, 0);
    while registered < count {
        let (said, at) = receiver
            .recv_timeout(Duration::from_secs(60))
            .map_err(|_| format!("{registered} of {count} registered"))?;
        match said {
            Said::Ready => begun = Some(at),
            Said::Registered => registered += 1,
            Said::Missed(more) => registered += more,
        }
    }
    let end = Instant::now();
    Ok((begun.unwrap_or(end), end))
}

/// A phone with so many accounts, registered; the time that took.
fn phone(directory: &Path, server: u16, accounts: usize) -> Result<(Running, Duration), String> {
    let mut text = "[audio]\ninput = \"none\"\noutput = \"none\"\n".to_owned();
    for n in 0..accounts {
        let _ = write!(
            text,
            "[account.a{n}]\nserver = \"127.0.0.1:{server}\"\nuser = \"u{n}\"\npassword = \"secret-{n}\"\n"
        );
    }
    let mut phone = start(directory, "phone.toml", &text, &["listen", "--json", "--port", "0"])?;
    let (begun, end) = registrations(&mut phone, accounts)?;
    Ok((phone, end - begun))
}

fn measure(report: &mut Report) -> Result<(), String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let port = free_port();
    let mut users = format!("[pbx]\nlisten = \"127.0.0.1:{port}\"\n");
    for n in 0..ACCOUNTS {
        let _ = write!(users, "[pbx.user.u{n}]\npassword = \"secret-{n}\"\n");
    }
    let pbx = start(directory.path(), "pbx.toml", &users, &["pbx"])?;
    std::thread::sleep(Duration::from_secs(2));
    let (one, _) = phone(directory.path(), port, 1)?;
    std::thread::sleep(Duration::from_secs(1));
    let alone = process::private_kib(one.0.id());
    let served = process::sample(pbx.0.id()).cpu;
    // The first phone stays, so that both share the pages of the file.
    let (many, took) = phone(directory.path(), port, ACCOUNTS)?;
    let pbx_cpu = process::sample(pbx.0.id()).cpu - served;
    let phone_cpu = process::sample(many.0.id()).cpu;
    std::thread::sleep(Duration::from_secs(2));
    let before = process::sample(many.0.id());
    std::thread::sleep(IDLE);
    let after = process::sample(many.0.id());
    let each = (process::private_kib(many.0.id()).saturating_sub(alone)) as f64 / (ACCOUNTS - 1) as f64;
    let wakes = (after.switches - before.switches) as f64 / IDLE.as_secs_f64();
    let rate = ACCOUNTS as f64 / took.as_secs_f64();
    let per = |cpu: Duration| cpu.as_secs_f64() * 1000.0 / ACCOUNTS as f64;
    report.table(
        &[
            "accounts",
            "registered after ms",
            "registrations/s",
            "phone CPU ms each, start included",
            "PBX CPU ms each",
            "KiB each",
            "wake-ups/s, idle",
        ],
        &[vec![
            ACCOUNTS.to_string(),
            short(took.as_secs_f64() * 1000.0),
            short(rate),
            short(per(phone_cpu)),
            short(per(pbx_cpu)),
            short(each),
            short(wakes),
        ]],
    );
    report.at_most("a registered account, memory", "KiB", each, 10.0);
    Ok(())
}

pub(crate) fn run(report: &mut Report) {
    report.section(
        "Many accounts",
        "One phone with 1000 accounts at our own PBX, digest each, from the event `ready` to the last `registration.ok`; then 10 s of nothing. \
         Memory is what it has of its own beyond a phone with one account that runs beside it.",
    );
    if let Err(why) = measure(report) {
        report.not_run("a thousand accounts", &why);
    }
}
