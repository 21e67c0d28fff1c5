//! A registrar for one user: challenges, verifies the digest (MD5 with or without qop), and tells when it has accepted.

use crate::peers::now;
use md5::{Digest, Md5};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const NONCE: &str = "5b2c8f1d90aa47e3";

/// Listens on a port of its own.
pub(crate) struct Registrar {
    socket: UdpSocket,
}

impl Registrar {
    pub(crate) fn new() -> std::io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |local| local.port())
    }

    /// Serves until a REGISTER was accepted, and tells when; `None` after `patience`.
    pub(crate) fn serve(&self, patience: Duration) -> Option<Instant> {
        let until = now() + patience;
        let mut buffer = [0; 8192];
        while now() < until {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with("REGISTER ") && self.answer(&text, from) {
                return Some(now());
            }
        }
        None
    }

    /// Answers a REGISTER; true if it was accepted.
    fn answer(&self, text: &str, from: SocketAddr) -> bool {
        let line = |name: &str| {
            text.lines().find(|line| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name)))
        };
        let accepted = line("authorization").is_some_and(verified);
        let mut reply = String::from(if accepted { "SIP/2.0 200 OK\r\n" } else { "SIP/2.0 401 Unauthorized\r\n" });
        for name in ["via", "from", "to", "call-id", "cseq"] {
            let value = line(name).unwrap_or_default();
            reply.push_str(value);
            reply.push_str(if name == "to" && !value.contains("tag=") { ";tag=r\r\n" } else { "\r\n" });
        }
        if accepted {
            reply.push_str(&format!("{}\r\nExpires: 600\r\n", line("contact").unwrap_or_default()));
        } else {
            reply.push_str(&format!(
                "WWW-Authenticate: Digest realm=\"bench\", nonce=\"{NONCE}\", algorithm=MD5, qop=\"auth\"\r\n"
            ));
        }
        reply.push_str("Content-Length: 0\r\n\r\n");
        let _ = self.socket.send_to(reply.as_bytes(), from);
        accepted
    }
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 7616 §3.4 with MD5.
fn verified(line: &str) -> bool {
    let Some((_, fields)) = line.split_once("Digest") else { return false };
    let fields: HashMap<String, String> = fields
        .split(',')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
        .collect();
    let get = |name: &str| fields.get(name).map_or("", String::as_str);
    let secret = md5("bench:bench:secret");
    let request = md5(&format!("REGISTER:{}", get("uri")));
    let expected = match get("qop") {
        "" => md5(&format!("{secret}:{NONCE}:{request}")),
        qop => md5(&format!("{secret}:{NONCE}:{}:{}:{qop}:{request}", get("nc"), get("cnonce"))),
    };
    get("nonce") == NONCE && get("response") == expected
}
