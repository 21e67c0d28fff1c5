//! A PulseAudio daemon of the test's own, with null sinks.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sound keeps time only on a machine that has some: one such test runs at once.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test with sound runs.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program at real-time priority where that is permitted, so that other work on the machine does not make gaps.
pub(crate) fn urgent(program: &str) -> Command {
    let permitted = Command::new("chrt").args(["-r", "10", "true"]).stderr(Stdio::null()).status();
    if permitted.is_ok_and(|status| status.success()) {
        let mut command = Command::new("chrt");
        command.args(["-r", "10", program]);
        command
    } else {
        Command::new(program)
    }
}

/// The daemon and its folder; both go with it.
pub(crate) struct Pulse {
    folder: tempfile::TempDir,
    daemon: Child,
    keepers: Vec<Helper>,
    _turn: MutexGuard<'static, ()>,
}

/// A process that is ended by its id when it goes out of scope.
pub(crate) struct Helper(pub(crate) Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pulse {
    /// Starts a daemon with a null sink for each of `sinks`; `None`, with a line that says so, where none is installed.
    pub(crate) fn start(test: &str, sinks: &[&str]) -> Option<Self> {
        for tool in ["pulseaudio", "pactl", "pacat"] {
            if !std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|p| p.join(tool).exists()))
            {
                not_run(test, &format!("{tool} is not installed (apt-get install pulseaudio pulseaudio-utils)"));
                return None;
            }
        }
        let turn = turn();
        let folder = tempfile::tempdir().expect("a folder");
        let daemon = launch(&folder);
        let mut pulse = Self { folder, daemon, keepers: Vec::new(), _turn: turn };
        pulse.wait_until_ready();
        for sink in sinks {
            pulse.load(&format!("module-null-sink sink_name={sink} rate=48000 channels=1"), sink);
        }
        Some(pulse)
    }

    /// The daemon dies, and everything that is connected to it.
    pub(crate) fn die(&mut self) {
        self.keepers.clear();
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }

    /// Another daemon takes the place of the one that died.
    pub(crate) fn live_again(&mut self) {
        let _ = std::fs::remove_file(socket(&self.folder));
        self.daemon = launch(&self.folder);
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        while !self.control(&["info"]).0 {
            assert!(start.elapsed() < Duration::from_secs(20), "the daemon does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Loads a module that makes `sink`, and waits until the sink moves sound in small steps; returns the module's number.
    ///
    /// A null sink that nobody uses is two seconds ahead of time; silence that is played on it all the while prevents that.
    pub(crate) fn load(&mut self, module: &str, sink: &str) -> String {
        let words: Vec<&str> = std::iter::once("load-module").chain(module.split_whitespace()).collect();
        let (loaded, number) = self.control(&words);
        assert!(loaded, "{module}: {}", self.log());
        let mut keeper = self.pacat(&["--playback", &format!("--device={sink}")], 1);
        let zeros = std::fs::File::open("/dev/zero").expect("it is there");
        self.keepers.push(Helper(keeper.stdin(zeros).spawn().expect("it is installed")));
        // The daemon does not hand its priority on to its threads.
        let id = self.daemon.id().to_string();
        let _ = Command::new("chrt").args(["-a", "-r", "-p", "10", &id]).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(2200));
        number
    }

    /// What makes a program use this daemon and nothing else.
    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        environment(&self.folder)
    }

    /// Runs `pactl`; whether it worked, and what it printed.
    pub(crate) fn control(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new("pactl").args(args).envs(self.environment()).output().expect("it is installed");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Records a source from now on, 48 kHz, one channel, into a file of the folder.
    pub(crate) fn record(&self, source: &str, channels: u16) -> (Helper, PathBuf) {
        let path = self.folder.path().join(format!("{source}.raw"));
        let file = std::fs::File::create(&path).expect("a file");
        let child = self.pacat(&["--record", &format!("--device={source}")], channels).stdout(file).spawn();
        (Helper(child.expect("it is installed")), path)
    }

    /// Plays what is written to the pipe on a sink.
    pub(crate) fn play(&self, sink: &str) -> (Helper, ChildStdin) {
        let mut command = self.pacat(&["--playback", &format!("--device={sink}")], 1);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it is installed");
        let pipe = child.stdin.take().expect("it was asked for");
        (Helper(child), pipe)
    }

    fn pacat(&self, args: &[&str], channels: u16) -> Command {
        let mut command = urgent("pacat");
        command.args(args).args(["--raw", "--format=s16le", "--rate=48000", "--latency-msec=10"]);
        command.arg(format!("--channels={channels}")).envs(self.environment());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn launch(folder: &tempfile::TempDir) -> Child {
    let mut command = urgent("pulseaudio");
    command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-L"]);
    command.arg(format!("module-native-protocol-unix auth-anonymous=1 socket={}", socket(folder).display()));
    command.envs(environment(folder));
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it is installed")
}

/// Says that a test did not run and why: `make test` shows it at its end, and with CI=true it is a failure.
fn not_run(what: &str, why: &str) {
    println!("NOT RUN  {what}: {why}");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-run.txt");
    let open = std::fs::OpenOptions::new().create(true).append(true).open(&file);
    open.and_then(|mut file| writeln!(file, "{what}: {why}")).expect("the folder for test output can be written to");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true {what} must run: {why}");
}

fn socket(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("native")
}

fn environment(folder: &tempfile::TempDir) -> Vec<(&'static str, PathBuf)> {
    let place = folder.path().to_owned();
    vec![
        ("HOME", place.clone()),
        ("XDG_RUNTIME_DIR", place.clone()),
        ("PULSE_RUNTIME_PATH", place),
        ("PULSE_SERVER", PathBuf::from(format!("unix:{}", socket(folder).display()))),
    ]
}
