//! Lines: where they end, how they are folded, and the two kinds of start line (RFC 3261 §7.1, §7.2, §7.3.1).

use super::super::grammar::{decimal, is_token};
use super::super::{Method, StatusCode, Uri};
use super::{MAX_LINE, ParseErrorKind};
use std::borrow::Cow;

/// The first line of a message.
pub(super) enum StartLine {
    Request(Method, Uri),
    Response(StatusCode, String),
}

/// Cuts off one line; its end is CRLF, or LF alone as some peers write.
pub(super) fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..)?))
}

/// Joins the continuation lines that follow, each fold becoming one space (§7.3.1).
pub(super) fn unfold<'a>(line: &'a [u8], mut rest: &'a [u8]) -> (Cow<'a, [u8]>, &'a [u8]) {
    let mut line = Cow::Borrowed(line);
    while rest.first().is_some_and(|byte| b" \t".contains(byte)) {
        let Some((more, after)) = cut_line(rest) else { break };
        let joined = line.to_mut();
        if joined.len() <= MAX_LINE {
            joined.push(b' ');
            joined.extend_from_slice(more.trim_ascii_start());
        }
        rest = after;
    }
    (line, rest)
}

/// The text of a line; a line that is not UTF-8 is read as Latin-1.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Whether a control character stands outside a quoted pair; tabs are white space (§25.1).
pub(super) fn has_bad_control(value: &str) -> bool {
    if !value.bytes().any(|byte| byte.is_ascii_control()) {
        return false;
    }
    let mut quoted = false;
    let mut escaped = false;
    for byte in value.bytes() {
        if escaped {
            escaped = false;
            if matches!(byte, b'\r' | b'\n') {
                return true;
            }
        } else if byte == b'\\' && quoted {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else if byte.is_ascii_control() && byte != b'\t' {
            return true;
        }
    }
    false
}

/// Reads a request line or a status line; `method` is set as soon as the line is known to be a request's.
pub(super) fn read_start_line(line: &str, method: &mut Option<Method>) -> Result<StartLine, ParseErrorKind> {
    if line.len() >= 4 && line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
        return read_status_line(line);
    }
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(ParseErrorKind::StartLine);
    }
    // White space at the end is let pass (RFC 4475 §3.1.2.10); more than one space between the parts is not.
    let line = line.trim_end_matches(' ');
    let (token, rest) = line.split_once(' ').ok_or(ParseErrorKind::StartLine)?;
    let (uri, version) = rest.rsplit_once(' ').ok_or(ParseErrorKind::StartLine)?;
    if !is_token(token) || !is_version(version) {
        return Err(ParseErrorKind::StartLine);
    }
    let known = method.insert(Method::from_token(token)).clone();
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseErrorKind::Version);
    }
    if uri.contains(' ') {
        return Err(ParseErrorKind::StartLine);
    }
    let uri = uri.parse().map_err(ParseErrorKind::RequestUri)?;
    Ok(StartLine::Request(known, uri))
}

fn read_status_line(line: &str) -> Result<StartLine, ParseErrorKind> {
    let (version, rest) = line.split_once(' ').ok_or(ParseErrorKind::StartLine)?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return Err(ParseErrorKind::Version);
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = decimal(code)
        .filter(|_| code.len() == 3)
        .and_then(|code| u16::try_from(code).ok())
        .and_then(StatusCode::new)
        .ok_or(ParseErrorKind::StatusCode)?;
    if reason.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(ParseErrorKind::ControlCharacter);
    }
    Ok(StartLine::Response(status, reason.to_owned()))
}

fn is_version(text: &str) -> bool {
    let Some(number) = text.get(..4).filter(|start| start.eq_ignore_ascii_case("SIP/")).and_then(|_| text.get(4..))
    else {
        return false;
    };
    matches!(number.split_once('.'), Some((major, minor)) if decimal(major).is_some() && decimal(minor).is_some())
}
