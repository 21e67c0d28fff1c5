//! Images and containers. Everything runs with host networking on 127.0.0.1 and ends with the tests.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// The peers, each with an image of its own.
pub(crate) const PEERS: [(&str, &str); 4] =
    [("asterisk", "sid"), ("linphone", "trixie"), ("baresip", "sid"), ("kamailio", "sid")];

/// Why no container can run here, or nothing.
pub(crate) fn unavailable() -> Option<String> {
    let answer = Command::new("docker").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match answer {
        Err(_) => Some("docker is not installed".to_owned()),
        Ok(status) if !status.success() => Some("the docker daemon does not answer".to_owned()),
        Ok(_) => None,
    }
}

/// Builds the image of `peer` (the base image as well) unless it is there, and says which version of the peer is inside.
pub(crate) fn build(peer: &str, suite: &str) -> Result<String, String> {
    let image = image(peer)?;
    if said(Command::new("docker").args(["image", "inspect", &image])).is_err() {
        said(Command::new(interop().join("base-image")).arg(suite))?;
        said(Command::new("docker").args(["build", "--network", "host", "--tag", &image]).arg(interop().join(peer)))?;
    }
    let package = match peer {
        "linphone" => "linphone-cli",
        "baresip" => "baresip-core",
        other => other,
    };
    let version = said(Command::new("docker").args([
        "run",
        "--rm",
        "--entrypoint",
        "dpkg-query",
        &image,
        "-W",
        "-f",
        "${Version}",
        package,
    ]))?;
    // "1:22.10.1+dfsg+~cs6…-1" is Asterisk 22.10.1.
    let upstream = version.split_once(':').map_or(version.as_str(), |(_, v)| v);
    Ok(upstream.split(['+', '-', '~']).next().unwrap_or(upstream).to_owned())
}

fn interop() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// The name of the image of `peer`, its tag made of all that it is built from: what is there under this name need not be built again.
fn image(peer: &str) -> Result<String, String> {
    fn take(hash: &mut Sha256, dir: &Path) -> std::io::Result<()> {
        let mut entries = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for path in entries {
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            if path.is_dir() {
                take(hash, &path)?;
            } else {
                let text = fs::read(&path)?;
                hash.update(text.len().to_be_bytes());
                hash.update(text);
            }
        }
        Ok(())
    }
    let mut hash = Sha256::new();
    take(&mut hash, &interop().join(peer)).map_err(|e| format!("interop/{peer}: {e}"))?;
    let tag: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("bellwire-interop-{peer}:{tag}"))
}

/// Standard output of a command that must succeed, or the end of what it said.
fn said(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.trim().lines().collect();
    Err(format!("{:?}: {}", command.get_program(), lines[lines.len().saturating_sub(3)..].join(" | ")))
}

/// A running container; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    child: Child,
    stdin: Option<ChildStdin>,
    name: String,
    log: PathBuf,
}

impl Container {
    /// Starts `docker run OPTIONS image ARGS`, standard input connected, what it prints kept in `dir`.
    pub(crate) fn start(peer: &str, dir: &Path, options: &[String], args: &[&str]) -> Result<Self, String> {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let name = format!("bellwire-interop-{peer}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let log = dir.join("log");
        let out = File::create(&log).map_err(|e| e.to_string())?;
        let err = out.try_clone().map_err(|e| e.to_string())?;
        let mut child = Command::new("docker")
            .args(["run", "--rm", "--init", "--interactive", "--network", "host", "--name", &name])
            // Real-time sound first, when the machine has other work as well.
            .args(["--cpu-shares", "8192"])
            .args(options)
            .arg(image(peer)?)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("docker: {e}"))?;
        let stdin = child.stdin.take();
        Ok(Self { child, stdin, name, log })
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<(), String> {
        let stdin = self.stdin.as_mut().ok_or("no standard input")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|e| format!("{}: {e}", self.name))
    }

    /// Ends it from one moment to the next, as a crash does: nobody is told.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        said(Command::new("docker").args(["kill", &self.name]))?;
        self.child.wait().map(drop).map_err(|e| e.to_string())
    }

    /// All that it has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Result<(), String> {
        let seen = until(limit, || self.log().contains(text));
        if seen { Ok(()) } else { Err(format!("{} did not say {text:?} within {limit:?}", self.name)) }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(
            Command::new("docker")
                .args(["rm", "--force", &self.name])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status(),
        );
        drop(self.child.wait());
    }
}

/// Looks every 20 ms whether `done` holds, for at most `limit`. (Other programs: there is nothing to be woken by.)
pub(crate) fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nothing uses on 127.0.0.1, neither UDP nor TCP.
pub(crate) fn free_port() -> Result<u16, String> {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        let port = udp.local_addr().map_err(|e| e.to_string())?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}

/// The first of `count` UDP ports for RTP that are free now; each call gives others.
pub(crate) fn rtp_ports(count: u16) -> Result<u16, String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Below the ephemeral range, so that no port 0 lands there; begin anywhere, for runs side by side.
    let base = 12_000 + u16::try_from(std::process::id() % 80).unwrap_or(0) * 200;
    for _ in 0..200 {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = 10_000 + (base + offset) % 20_000;
        let free = (first..first + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
        if free && first.is_multiple_of(2) {
            return Ok(first);
        }
    }
    Err(format!("no {count} free ports for RTP"))
}
