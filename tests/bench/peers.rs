//! The programs that are measured, each started headless on 127.0.0.1 with null or file audio.

use crate::speech;
use std::fmt;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A softphone to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The binary of this build.
    Bellwire,
    /// Another build of it, which the variable `BEFORE` points to, for a comparison in one run.
    Before,
    /// Debian's `baresip-core`.
    Baresip,
    /// What the variable `PJSUA` points to.
    Pjsua,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bellwire => "bellwire",
            Self::Before => "bellwire before",
            Self::Baresip => "baresip",
            Self::Pjsua => "pjsua",
        })
    }
}

/// What it is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Register at this port as `bench` with the password `secret`, then idle.
    Register(u16),
    /// Answer and play a file; record what is heard where that can be done.
    File,
    /// Answer and send back what is heard, through buffer, decoder and encoder.
    Echo,
}

/// How it is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    /// "pcmu", "g722" or "opus".
    pub(crate) codec: &'static str,
    /// `call.max` and `[limits]` as they are by default, instead of none.
    pub(crate) limited: bool,
    /// Of the Opus encoder, where it can be told.
    pub(crate) complexity: u8,
}

impl Setup {
    pub(crate) fn new(mode: Mode, codec: &'static str) -> Self {
        Self { mode, codec, limited: false, complexity: 5 }
    }
}

/// A running program; ends with the value.
pub(crate) struct Peer {
    pub(crate) port: u16,
    /// When it was started.
    pub(crate) started: Instant,
    child: Child,
    _directory: TempDir,
}

/// Where the program is, or why not.
pub(crate) fn find(kind: Kind) -> Result<PathBuf, String> {
    match kind {
        Kind::Bellwire => Ok(PathBuf::from(env!("CARGO_BIN_EXE_bellwire"))),
        Kind::Baresip => {
            in_path("baresip").ok_or_else(|| "no baresip (Debian: apt-get install baresip-core)".to_owned())
        }
        Kind::Before => named("BEFORE"),
        Kind::Pjsua => named("PJSUA"),
    }
}

/// The program that a variable points to.
fn named(variable: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} names no program"))?;
    if path.is_file() { Ok(path) } else { Err(format!("{variable} names no file: {}", path.display())) }
}

/// A program by its name.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A UDP port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    socket.local_addr().expect("it is bound").port()
}

impl Peer {
    /// Starts it; does not wait.
    pub(crate) fn start(kind: Kind, setup: Setup) -> Result<Self, String> {
        let program = find(kind)?;
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let port = free_port();
        let speech = directory.path().join("speech.wav");
        if setup.mode == Mode::File {
            speech::write_wav(&speech, sample_rate(setup.codec));
        }
        let arguments = match kind {
            Kind::Bellwire | Kind::Before => bellwire(directory.path(), port, &speech, setup),
            Kind::Baresip => baresip(directory.path(), port, &speech, setup),
            Kind::Pjsua => pjsua(directory.path(), port, &speech, setup),
        };
        let mut command = Command::new(program);
        command.args(arguments).env("HOME", directory.path()).current_dir(directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = now();
        let child = command.spawn().map_err(|error| format!("{kind}: {error}"))?;
        Ok(Self { port, started, child, _directory: directory })
    }

    /// Starts it and waits until its SIP port is bound.
    pub(crate) fn ready(kind: Kind, setup: Setup) -> Result<Self, String> {
        let mut peer = Self::start(kind, setup)?;
        let wanted = format!(":{:04X} ", peer.port);
        let until = now() + Duration::from_secs(10);
        while now() < until && peer.is_alive() {
            if std::fs::read_to_string("/proc/net/udp").is_ok_and(|sockets| sockets.contains(&wanted)) {
                std::thread::sleep(Duration::from_millis(700));
                return Ok(peer);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{kind} does not open its SIP port"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = kill(pid, Signal::SIGTERM);
        let until = now() + Duration::from_secs(3);
        while now() < until {
            if !self.is_alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn sample_rate(codec: &str) -> u32 {
    match codec {
        "pcmu" => 8_000,
        "g722" => 16_000,
        _ => 48_000,
    }
}

fn write(path: PathBuf, text: &str) {
    std::fs::write(path, text).expect("the temporary directory can be written");
}

fn bellwire(directory: &Path, port: u16, speech: &Path, setup: Setup) -> Vec<String> {
    let (input, output) = match setup.mode {
        Mode::Register(_) => ("none".to_owned(), "none".to_owned()),
        Mode::File => (format!("file:{}", speech.display()), format!("file:{}", directory.join("heard.wav").display())),
        Mode::Echo => ("echo".to_owned(), "none".to_owned()),
    };
    let mut config = format!(
        "[audio]\ninput = \"{input}\"\noutput = \"{output}\"\ncodecs = [\"{}\"]\n[audio.opus]\nbitrate = 24000\ncomplexity = {}\n\
         [network]\nport = {port}\ninterface = \"127.0.0.1\"\nrtp_ports = \"10000-14999\"\n",
        setup.codec, setup.complexity
    );
    if !setup.limited {
        config
            .push_str("[call]\nmax = 0\n[limits]\ninvites_per_source = 0\nringing = 0\nunanswered = 0\ndialogs = 0\n");
    }
    if let Mode::Register(registrar) = setup.mode {
        config.push_str(&format!(
            "[account.bench]\nserver = \"127.0.0.1:{registrar}\"\nuser = \"bench\"\npassword = \"secret\"\n"
        ));
    }
    let file = directory.join("bellwire.toml");
    write(file.clone(), &config);
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600));
    let mut arguments = vec!["--config".to_owned(), file.display().to_string(), "listen".to_owned()];
    if !matches!(setup.mode, Mode::Register(_)) {
        arguments.push("--auto-answer".into());
    }
    arguments
}

fn baresip(directory: &Path, port: u16, speech: &Path, setup: Setup) -> Vec<String> {
    let modules = ["/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules"];
    let modules = modules.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or(modules[0]);
    let rate = sample_rate(setup.codec);
    let source = match setup.mode {
        Mode::File => format!("aufile,{}", speech.display()),
        Mode::Register(_) | Mode::Echo => "aubridge,loop".to_owned(),
    };
    // This version has no player for files: what is heard goes into a bridge that nobody reads.
    let player = if setup.mode == Mode::File { "aubridge,away" } else { "aubridge,loop" };
    let codec = if setup.codec == "pcmu" { "g711" } else { setup.codec };
    let mut config = format!(
        "sip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\nmodule_path {modules}\nrtp_ports 15000-19998\ncall_max_calls 1000\n\
         audio_source {source}\naudio_player {player}\naudio_alert aubridge,alert\nausrc_srate {rate}\nauplay_srate {rate}\n\
         ausrc_channels 1\nauplay_channels 1\naudio_buffer 20-160\njitter_buffer_delay 5-10\nrtp_stats no\n\
         opus_bitrate 24000\nopus_inbandfec yes\nopus_packet_loss 10\nopus_stereo no\nopus_sprop_stereo no\n\
         module {codec}.so\nmodule aubridge.so\nmodule aufile.so\nmodule_app account.so\nmodule_app menu.so\n"
    );
    if setup.mode == Mode::Echo {
        config.push_str("module_app echo.so\n");
    }
    write(directory.join("config"), &config);
    let (server, interval) = match setup.mode {
        Mode::Register(registrar) => (format!(":{registrar}"), 600),
        Mode::File | Mode::Echo => (String::new(), 0),
    };
    let answers = if setup.mode == Mode::File { "auto" } else { "manual" };
    let codec = match setup.codec {
        "pcmu" => "PCMU/8000/1",
        "g722" => "G722/16000/1",
        _ => "opus/48000/2",
    };
    let account = format!(
        "<sip:bench@127.0.0.1{server}>;auth_user=bench;auth_pass=secret;regint={interval};answermode={answers};audio_codecs={codec}\n"
    );
    write(directory.join("accounts"), &account);
    write(directory.join("contacts"), "\n");
    vec!["-f".into(), directory.display().to_string()]
}

fn pjsua(directory: &Path, port: u16, speech: &Path, setup: Setup) -> Vec<String> {
    let rate = sample_rate(setup.codec);
    let mut arguments: Vec<String> = [
        "--no-tcp",
        "--bound-addr=127.0.0.1",
        "--ip-addr=127.0.0.1",
        "--null-audio",
        "--no-vad",
        "--ec-tail=0",
        "--no-tones",
        "--use-timer=0",
        "--rtp-port=20000",
        "--max-calls=255",
        "--log-level=1",
        "--app-log-level=1",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--local-port={port}"));
    arguments.extend([format!("--clock-rate={rate}"), format!("--snd-clock-rate={rate}")]);
    match setup.mode {
        Mode::Register(registrar) => arguments.extend([
            format!("--id=sip:bench@127.0.0.1:{registrar}"),
            format!("--registrar=sip:127.0.0.1:{registrar}"),
            "--realm=*".into(),
            "--username=bench".into(),
            "--password=secret".into(),
        ]),
        Mode::File => arguments.extend([
            "--auto-answer=200".into(),
            format!("--play-file={}", speech.display()),
            "--auto-play".into(),
            format!("--rec-file={}", directory.join("heard.wav").display()),
            "--auto-rec".into(),
        ]),
        Mode::Echo => arguments.extend(["--auto-answer=200".into(), "--auto-loop".into()]),
    }
    arguments
}
