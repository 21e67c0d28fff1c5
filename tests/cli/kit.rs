//! Running the binary as a user would: a home of its own, output collected while it runs, every wait bounded.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// The binary under test.
pub const BELLWIRE: &str = env!("CARGO_BIN_EXE_bellwire");
/// A generous bound for everything that takes a second or two; no result depends on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Tests that judge sound run alone; the others beside each other. A processor that is short of time is heard.
static QUIET: RwLock<()> = RwLock::new(());

enum Company {
    Others { _guard: RwLockReadGuard<'static, ()> },
    Nobody { _guard: RwLockWriteGuard<'static, ()> },
}

/// A folder that is home, config and working folder of the programs of one test. A test has one at a time.
pub struct Home {
    dir: tempfile::TempDir,
    _company: Company,
}

impl Home {
    pub fn new() -> Self {
        let guard = QUIET.read().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir().expect("a folder"), _company: Company::Others { _guard: guard } }
    }

    /// For a test that judges sound: no other test of this program runs meanwhile.
    pub fn alone() -> Self {
        let guard = QUIET.write().unwrap_or_else(PoisonError::into_inner);
        Self { dir: tempfile::tempdir().expect("a folder"), _company: Company::Nobody { _guard: guard } }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that only its owner can read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        path
    }

    /// The binary with arguments, not yet started: nothing of the tester's environment reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BELLWIRE);
        command.args(args);
        self.settle(&mut command);
        command
    }

    /// Gives a command this home and nothing else.
    pub fn settle(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args), args)
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.start(args).wait()
    }
}

/// A PBX of ours on ports of its own, and the config of a phone for it.
pub struct Pbx {
    pub running: Running,
    pub udp: String,
    pub tcp: String,
}

/// The passwords of the users of [`Pbx`]; no output may ever hold one.
pub const CANARY: &str = "canary-7Qx2";

impl Pbx {
    pub fn start(home: &Home) -> Self {
        Self::with(home, "")
    }

    /// With more lines in its config.
    pub fn with(home: &Home, more: &str) -> Self {
        let users =
            ["alice", "bob", "carol"].map(|n| format!("[pbx.user.{n}]\npassword = \"{CANARY}-{n}\"\n")).concat();
        home.write("pbx.toml", &format!("[pbx]\nlisten = \"127.0.0.1:0\"\n{users}{more}"));
        let running = home.start(&["pbx", "--config", "pbx.toml", "--json"]);
        let ready = running.until_out(|line| line.contains("\"event\":\"ready\""));
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
        let all = ready["sip"].as_array().expect("addresses");
        let of = |kind: &str| {
            let found = all.iter().filter_map(|a| a.as_str()?.strip_prefix(kind)).next();
            found.expect("an address").to_owned()
        };
        Self { udp: of("udp:"), tcp: of("tcp:"), running }
    }

    /// Writes the config of a user of this PBX and returns its name.
    pub fn phone(&self, home: &Home, user: &str) -> String {
        self.phone_with(home, user, "input = \"tone:440\"\noutput = \"none\"\n", "")
    }

    /// With these lines in `[audio]` and behind it.
    pub fn phone_with(&self, home: &Home, user: &str, audio: &str, more: &str) -> String {
        let name = format!("{user}.toml");
        let account = format!("server = \"{}\"\nuser = \"{user}\"\npassword = \"{CANARY}-{user}\"\n", self.udp);
        let network = "[network]\ninterface = \"127.0.0.1\"\n";
        home.write(&name, &format!("[account.work]\n{account}[audio]\n{audio}{network}{more}"));
        name
    }
}

/// A program that runs; killed when it is dropped.
pub struct Running {
    child: Child,
    name: String,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Done {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Running {
    /// Starts a command; stdout and stderr are collected.
    pub fn of(mut command: Command, args: &[&str]) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (out, err) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let readers = vec![
            collect(child.stdout.take().expect("a pipe"), &out),
            collect(child.stderr.take().expect("a pipe"), &err),
        ];
        Self { child, name: args.join(" "), out, err, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().expect("a lock")).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().expect("a lock")).into_owned()
    }

    /// The first line of stdout, whole, that satisfies `wanted`.
    pub fn until_out(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let out = self.out();
            let whole = out.rfind('\n').map_or("", |at| &out[..at]);
            if let Some(line) = whole.lines().find(|line| wanted(line)) {
                return line.to_owned();
            }
            assert!(Instant::now() < end, "`{}` did not say it:\n{out}\n{}", self.name, self.err());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `text` stands in stdout.
    pub fn until(&self, text: &str) -> String {
        self.until_out(|line| line.contains(text))
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    /// Writes to its stdin, which must be a pipe.
    pub fn type_in(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Done {
        let end = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < end, "`{}` does not end:\n{}\n{}", self.name, self.out(), self.err());
            std::thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        Done { code: status.code(), out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, or ended now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    /// Asserts the exit code and that `texts` stand in the output.
    #[track_caller]
    pub fn expect(self, code: i32, texts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        for text in texts {
            let there = self.out.contains(text) || self.err.contains(text);
            assert!(there, "no `{text}` in stdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }

    /// The objects of `--json` with this name.
    pub fn events(&self, name: &str) -> Vec<serde_json::Value> {
        events(&self.out).into_iter().filter(|e| e["event"] == name).collect()
    }
}

/// Every line of `--json`.
pub fn events(out: &str) -> Vec<serde_json::Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> std::thread::JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            into.lock().expect("a lock").extend_from_slice(&piece[..length]);
        }
    })
}

/// The blocks of a document between fences that begin with `kind`.
pub fn blocks(document: &str, kind: &str) -> Vec<String> {
    let (mut all, mut open) = (Vec::new(), None::<String>);
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(tag)) => open = Some(if tag == kind { String::new() } else { "\0".to_owned() }),
            (Some(_), Some(_)) => all.extend(open.take().filter(|text| !text.starts_with('\0'))),
            (Some(text), None) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    all
}

/// A file of the repository.
pub fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
