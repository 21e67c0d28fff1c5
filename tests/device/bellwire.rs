//! The real binary.

use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) errors: String,
}

impl Run {
    /// The last event of a name.
    pub(crate) fn event(&self, name: &str) -> &Value {
        let found = self.events.iter().rev().find(|event| event["event"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// All warnings about sound.
    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.events.iter().filter(|e| e["event"] == "media.warning").filter_map(|e| e["slug"].as_str()).collect()
    }
}

/// Starts it with `--json` and without any config; `environment` is all it has besides PATH.
pub(crate) fn start<K: AsRef<OsStr>, V: AsRef<OsStr>>(args: &[&str], environment: &[(K, V)]) -> Child {
    let binary = env!("CARGO_BIN_EXE_bellwire");
    let paced = environment.iter().any(|(name, _)| name.as_ref() == "PULSE_SERVER");
    // ALSA's null device must not be urgent: it never waits.
    let mut command = if paced { crate::pulse::urgent(binary) } else { Command::new(binary) };
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in environment {
        command.env(name, value);
    }
    command.args(args).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary is built")
}

/// Waits for the end, which must come within `patience`.
pub(crate) fn end(child: Child, patience: Duration) -> Run {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = receiver.recv_timeout(patience) else {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).status();
        panic!("it did not end within {patience:?}");
    };
    let output = output.expect("it ran");
    let text = String::from_utf8_lossy(&output.stdout);
    let events = text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    Run { code: output.status.code(), events, errors: String::from_utf8_lossy(&output.stderr).into_owned() }
}

/// Runs it to its end.
pub(crate) fn run<K: AsRef<OsStr>, V: AsRef<OsStr>>(args: &[&str], environment: &[(K, V)], patience: Duration) -> Run {
    end(start(args, environment), patience)
}

/// An environment without any sound server, in which ALSA has this configuration.
pub(crate) fn alsa(folder: &Path, config: &str) -> Vec<(&'static str, std::path::PathBuf)> {
    let file = folder.join("alsa.conf");
    std::fs::write(&file, config).expect("a file");
    vec![("HOME", folder.to_owned()), ("XDG_RUNTIME_DIR", folder.to_owned()), ("ALSA_CONFIG_PATH", file)]
}

/// Sleeps until `condition` holds.
pub(crate) fn wait_for(what: &str, patience: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < patience, "{what}: not within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
