//! `--trace`: every SIP message as text, in the order of the wire, with secrets blanked (threats D8).

use super::escape::clean;
use super::writer::Writer;
use crate::driver::Traced;
use crate::engine::Protocol;
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A piece of a line longer than this is written as it is known so far, blanked.
const LONGEST: usize = 64 * 1024;

/// Turns what the driver shows into text.
#[derive(Debug)]
pub struct Tracer {
    out: Writer,
    epoch: Epoch,
    /// Of stream connections: the last line as far as it has come, so that no secret is split over two pieces.
    partial: BTreeMap<(bool, SocketAddr, SocketAddr), Vec<u8>>,
}

impl Tracer {
    /// Writes to `out`.
    pub fn new(out: Writer, epoch: Epoch) -> Self {
        Self { out, epoch, partial: BTreeMap::new() }
    }

    /// One datagram or piece of a stream.
    pub fn handle(&mut self, traced: Traced<'_>) {
        let time = crate::app::clock::stamp(self.epoch, traced.at);
        let (arrow, word) = if traced.sent { ("──▶", "sent") } else { ("◀──", "received") };
        let head = format!(
            "{time} {word} {} {} {arrow} {} ({} bytes)",
            traced.protocol.as_str(),
            traced.local,
            traced.peer,
            traced.bytes.len()
        );
        let body = match traced.protocol {
            Protocol::Udp => text(traced.bytes),
            Protocol::Tcp | Protocol::Tls => self.stream(&traced),
        };
        self.out.write(format!("{head}\n{body}\n"));
    }

    fn stream(&mut self, traced: &Traced<'_>) -> String {
        let rest = self.partial.entry((traced.sent, traced.local, traced.peer)).or_default();
        rest.extend_from_slice(traced.bytes);
        let whole = match rest.iter().rposition(|b| *b == b'\n') {
            Some(at) => rest.drain(..=at).collect(),
            None if rest.len() > LONGEST => std::mem::take(rest),
            None => Vec::new(),
        };
        text(&whole)
    }
}

/// The message, indented, cleaned and without secrets.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut secret = false;
    for line in String::from_utf8_lossy(bytes).lines() {
        // A folded line belongs to the header before it.
        secret = if line.starts_with([' ', '\t']) { secret } else { is_login(line) };
        let line = if secret { blank_login(line) } else { blank(line) };
        out += "    ";
        out += &clean(&line);
        out.push('\n');
    }
    out
}

fn is_login(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or("").trim();
    name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("proxy-authorization")
}

/// Blanks what proves the password: digests and basic logins.
fn blank_login(line: &str) -> String {
    let mut out = String::new();
    for (n, part) in line.split(',').enumerate() {
        let name = part.split('=').next().unwrap_or("").trim().to_ascii_lowercase();
        let secret = ["response", "cnonce", "rspauth"].iter().any(|s| name.ends_with(s));
        out += if n == 0 { "" } else { "," };
        match part.split_once('=') {
            Some((before, _)) if secret => out += &format!("{before}=\"***\""),
            _ if n == 0 && !part.to_ascii_lowercase().contains("digest") && part.contains(':') => {
                out += &format!("{}: ***", part.split(':').next().unwrap_or(""));
            }
            _ => out += part,
        }
    }
    out
}

/// Blanks keys of SDP and passwords in URIs.
fn blank(line: &str) -> String {
    if let Some((before, _)) = line.split_once("inline:").filter(|_| line.trim_start().starts_with("a=crypto:")) {
        return format!("{before}inline:***");
    }
    if let Some(rest) = line.strip_prefix("k=") {
        return format!("k={}:***", rest.split(':').next().unwrap_or(""));
    }
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("sip:").or_else(|| rest.find("sips:")) {
        let start = at + rest[at..].find(':').map_or(0, |c| c + 1);
        out += &rest[..start];
        rest = &rest[start..];
        let end = rest.find(['>', ' ', ';', ',', '?', '"']).unwrap_or(rest.len());
        let user = rest[..end].rsplit_once('@').map(|(user, _)| user);
        if let Some((name, password)) = user.and_then(|u| u.split_once(':')) {
            out += &format!("{name}:***");
            rest = &rest[name.len() + 1 + password.len()..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proves_a_password_is_blanked() {
        let message = "REGISTER sip:pbx SIP/2.0\r\nTo: <sip:bob:canary-1@pbx>\r\nAuthorization: Digest username=\"bob\", response=\"canary-2\",\r\n cnonce=\"canary-3\", qop=auth\r\nProxy-Authorization: Basic canary-4\r\n\r\na=crypto:1 AES inline:canary-5|2^20\r\nk=clear:canary-6\r\n";
        let shown = text(message.as_bytes());
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("    Authorization: Digest username=\"bob\", response=\"***\",\n"), "{shown}");
        assert!(shown.contains("<sip:bob:***@pbx>") && shown.contains("qop=auth"), "{shown}");
    }

    #[test]
    fn what_is_no_secret_stays() {
        let message =
            "INVITE sip:600@127.0.0.1:5060;transport=udp SIP/2.0\r\nContact: \"a\" <sip:x@[::1]:5060>, <sip:y@h:1>\r\n";
        let shown = text(message.as_bytes());
        assert_eq!(
            shown,
            "    INVITE sip:600@127.0.0.1:5060;transport=udp SIP/2.0\n    Contact: \"a\" <sip:x@[::1]:5060>, <sip:y@h:1>\n"
        );
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(text(b"Subject: \x1b[2J\r\n"), "    Subject: \\u{1b}[2J\n");
    }
}
