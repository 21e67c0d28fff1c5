//! The phone under test: the real `bellwire` binary with a configuration file of its own, its JSON events and its exit code.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What the configuration file of a phone says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Server with port, user, password.
    pub(crate) account: Option<(String, String, String)>,
    /// `udp`, `tcp` or `tls`.
    pub(crate) transport: Option<&'static str>,
    /// More lines for the account.
    pub(crate) account_lines: String,
    /// More lines for `[network]`.
    pub(crate) network_lines: String,
    /// Codec names in order; empty: the defaults.
    pub(crate) codecs: Vec<&'static str>,
    /// SIP port, 0 for any.
    pub(crate) port: u16,
    /// First of 40 RTP ports.
    pub(crate) rtp: u16,
    /// Where its sound comes from without `--play`; nothing: `none`, which sends no packet at all.
    pub(crate) input: Option<&'static str>,
    /// Least delay of the jitter buffer, where the default is not what is tried.
    pub(crate) jitter_min: Option<&'static str>,
    /// `media_encryption`, where the default is not what is tried; keys may then go over UDP and TCP.
    pub(crate) encryption: Option<&'static str>,
    /// SRTP suites in order; empty: the defaults.
    pub(crate) suites: Vec<&'static str>,
}

impl Setup {
    fn toml(&self) -> String {
        let mut text = String::new();
        if let Some((server, user, password)) = &self.account {
            text += &format!("[account.pbx]\nserver = \"{server}\"\nuser = \"{user}\"\npassword = \"{password}\"\n");
            if let Some(transport) = self.transport {
                text += &format!("transport = \"{transport}\"\n");
            }
            text += &self.account_lines;
        }
        text += &format!("[audio]\ninput = \"{}\"\noutput = \"none\"\n", self.input.unwrap_or("none"));
        if let Some(least) = self.jitter_min {
            text += &format!("jitter_min = \"{least}\"\n");
        }
        if !self.codecs.is_empty() {
            text += &format!("codecs = {:?}\n", self.codecs);
        }
        if let Some(encryption) = self.encryption {
            text += &format!("[call]\nmedia_encryption = \"{encryption}\"\nsrtp_keys_in_clear = true\n");
            if !self.suites.is_empty() {
                text += &format!("srtp_suites = {:?}\n", self.suites);
            }
        }
        text += &format!("[network]\nport = {}\nrtp_ports = \"{}-{}\"\n", self.port, self.rtp, self.rtp + 39);
        text + &self.network_lines
    }
}

/// Whether keys can be pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    None,
    Terminal,
}

/// A running phone.
#[derive(Debug)]
pub(crate) struct Phone {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
    started: Instant,
    dir: PathBuf,
}

/// What a phone left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit code, or 128 + signal.
    pub(crate) code: i32,
    /// All JSON events, in order.
    pub(crate) events: Vec<Value>,
    /// From start to end.
    pub(crate) took: Duration,
    dir: PathBuf,
}

impl Phone {
    /// Starts `bellwire ARGS` with `setup` in `dir`; what it prints is kept there.
    pub(crate) fn start(dir: &Path, setup: &Setup, args: &[&str]) -> Result<Self, String> {
        Self::begin(dir, setup, args, Keys::None)
    }

    /// The same in a terminal, made by `script`, so that keys can be pressed; it says text there, no JSON.
    pub(crate) fn start_with_keys(dir: &Path, setup: &Setup, args: &[&str]) -> Result<Self, String> {
        Self::begin(dir, setup, args, Keys::Terminal)
    }

    /// Waits for a line of text with these words, from a phone in a terminal.
    pub(crate) fn wait_for_words(&mut self, words: &str, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line["line"].as_str().is_some_and(|line| line.contains(words)) => return Ok(()),
                Ok(line) => self.seen.push(line),
                Err(_) => return Err(format!("no `{words}` within {limit:?}; {:?}", self.seen.last())),
            }
        }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) -> Result<(), String> {
        let stdin = self.child.stdin.as_mut().ok_or("no terminal")?;
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).map_err(|e| e.to_string())
    }

    fn begin(dir: &Path, setup: &Setup, args: &[&str], keys: Keys) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let config = dir.join("bellwire.toml");
        fs::write(&config, setup.toml()).map_err(|e| e.to_string())?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).map_err(|e| e.to_string())?;
        let stderr = fs::File::create(dir.join("stderr")).map_err(|e| e.to_string())?;
        let trace = dir.join("trace.txt");
        let mut command = match keys {
            Keys::None => program(),
            Keys::Terminal => Command::new("script"),
        };
        match keys {
            Keys::None => {
                command.arg("--config").arg(&config).arg("--json").arg("--trace").arg(&trace).args(args);
                command.stdin(Stdio::null());
            }
            Keys::Terminal => {
                let quoted = |word: &str| format!("'{word}'");
                let words = [env!("CARGO_BIN_EXE_bellwire"), "--config", &config.display().to_string(), "--trace"]
                    .iter()
                    .chain(&[trace.display().to_string().as_str()])
                    .chain(args)
                    .map(|word| quoted(word))
                    .collect::<Vec<_>>();
                command.args(["-qefc", &words.join(" "), "/dev/null"]).env("TERM", "xterm").env("SHELL", "/bin/sh");
                command.stdin(Stdio::piped());
            }
        }
        let mut child = command
            .current_dir(dir)
            .env("HOME", dir)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| format!("bellwire did not start: {e}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (tx, events) = channel();
        let log = dir.join("events.jsonl");
        std::thread::spawn(move || {
            let mut all = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                all += &line;
                all.push('\n');
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|_| serde_json::json!({ "event": "not-json", "line": line }));
                if tx.send(event).is_err() {
                    break;
                }
            }
            // For whoever looks into a failure; the run does not depend on it.
            drop(fs::write(log, all));
        });
        Ok(Self { child, events, seen: Vec::new(), started: Instant::now(), dir: dir.to_owned() })
    }

    /// Runs `bellwire ARGS` to its end.
    pub(crate) fn run(dir: &Path, setup: &Setup, args: &[&str], limit: Duration) -> Result<Finished, String> {
        Self::start(dir, setup, args)?.finish(limit)
    }

    /// Waits for the next event called `name`; those before it are kept.
    pub(crate) fn wait_for(&mut self, name: &str, limit: Duration) -> Result<Value, String> {
        let end = Instant::now() + limit;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.seen.push(event.clone());
                    if event["event"] == name {
                        return Ok(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no {name} within {limit:?}; events: {}", names(&self.seen)));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!(
                        "ended before {name}; events: {}; {}",
                        names(&self.seen),
                        last_words(&self.dir)
                    ));
                }
            }
        }
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).map_err(|e| e.to_string())?;
        kill(Pid::from_raw(pid), Signal::SIGINT).map_err(|e| e.to_string())
    }

    /// Waits for its end; after `limit` it is killed and that is the failure.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Finished, String> {
        use std::os::unix::process::ExitStatusExt;
        let end = Instant::now() + limit;
        // The event pipe closes when the phone ends: waiting on it is waiting for the end.
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "did not end within {limit:?}; events: {}; {}",
                        names(&self.seen),
                        last_words(&self.dir)
                    ));
                }
            }
        }
        let status = self.child.wait().map_err(|e| e.to_string())?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Finished {
            code,
            events: std::mem::take(&mut self.seen),
            took: self.started.elapsed(),
            dir: self.dir.clone(),
        })
    }
}

/// The binary. Where that is allowed it goes before whatever else the machine does: the figures are about sound between two programs, not
/// about how busy the machine is.
fn program() -> Command {
    let binary = env!("CARGO_BIN_EXE_bellwire");
    if !geteuid().is_root() {
        return Command::new(binary);
    }
    let mut command = Command::new("nice");
    command.args(["-n", "-15", binary]);
    command
}

impl Drop for Phone {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Finished {
    /// Fails unless the exit code is `code`.
    pub(crate) fn expect_code(&self, code: i32) -> Result<&Self, String> {
        if self.code == code {
            return Ok(self);
        }
        Err(format!(
            "exit code {} instead of {code}; events: {}; {}",
            self.code,
            names(&self.events),
            last_words(&self.dir)
        ))
    }

    /// The first event called `name`.
    pub(crate) fn event(&self, name: &str) -> Result<&Value, String> {
        self.events
            .iter()
            .find(|e| e["event"] == name)
            .ok_or_else(|| format!("no {name} among: {}", names(&self.events)))
    }

    /// Fails unless it told an error with this slug.
    pub(crate) fn expect_slug(&self, slug: &str) -> Result<&Self, String> {
        let slugs: Vec<_> =
            self.events.iter().filter_map(|e| e["slug"].as_str().or_else(|| e["failure"]["slug"].as_str())).collect();
        if slugs.contains(&slug) {
            return Ok(self);
        }
        Err(format!("told {slugs:?} instead of {slug}; {}", last_words(&self.dir)))
    }

    /// The SIP messages of the call, as they were sent and came.
    pub(crate) fn trace(&self) -> Result<String, String> {
        fs::read_to_string(self.dir.join("trace.txt")).map_err(|e| e.to_string())
    }

    /// All digits that it heard, in order.
    pub(crate) fn digits(&self) -> String {
        self.events.iter().filter(|e| e["event"] == "dtmf.received").filter_map(|e| e["digit"].as_str()).collect()
    }
}

/// How packets were held up in the calls whose events lie in `dir` or below, or nothing: none is ever lost here, and a clean path needs no buffer
/// of more than two packets.
pub(crate) fn held_up(dir: &Path) -> Option<String> {
    let (concealed, buffer) = held_up_by(dir);
    (concealed > 0 || buffer > 40.0)
        .then(|| format!("packets came late: {concealed} ms of sound made up, buffer up to {buffer:.0} ms"))
}

fn held_up_by(dir: &Path) -> (u64, f64) {
    let (mut concealed, mut buffer) = (0, 0.0_f64);
    for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            let below = held_up_by(&path);
            (concealed, buffer) = (concealed + below.0, buffer.max(below.1));
        } else if path.file_name().is_some_and(|name| name == "events.jsonl") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
                buffer = buffer.max(event["audio"]["buffer_ms"].as_f64().unwrap_or(0.0));
                concealed += event["stats"]["concealed_ms"].as_u64().unwrap_or(0);
            }
        }
    }
    (concealed, buffer)
}

fn names(events: &[Value]) -> String {
    let names: Vec<_> =
        events.iter().map(|e| e["event"].as_str().unwrap_or("?")).filter(|n| *n != "media.stats").collect();
    names.join(" ")
}

/// The end of what it wrote to stderr.
fn last_words(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("stderr")).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}
