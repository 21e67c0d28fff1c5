//! Wire bytes to messages: the normaliser, the caps and the checks every message has to pass (RFC 3261 §7, §8.2, §18.3).

use super::grammar::{decimal, is_token, split_list, trim};
use super::header_name::Shape;
use super::rsip_head::CleanHead;
use super::{HeaderError, HeaderName, Headers, Message, Method, Request, Response, StatusCode, Uri, UriError};
use std::borrow::Cow;

/// The longest message taken, in bytes.
pub const MAX_BYTES: usize = 65_536;
/// The most header entries taken, list elements counted singly.
pub const MAX_HEADERS: usize = 256;
/// The longest header line taken, folded lines counted together, in bytes.
pub const MAX_LINE: usize = 8_192;
/// The most Via entries taken.
pub const MAX_VIAS: usize = 64;
/// The most Route entries, and the most Record-Route entries, taken.
pub const MAX_ROUTES: usize = 64;

/// A datagram or frame that is no message we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// As much of the request as could be read, when that is enough to answer it; `None` for responses and ACKs.
    pub partial: Option<Box<Request>>,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but line ends, as keep-alives are.
    #[error("the message is empty")]
    Empty,
    /// Over [`MAX_BYTES`].
    #[error("the message is longer than 64 KiB")]
    TooLarge,
    /// Neither a request line nor a status line.
    #[error("the start line is malformed")]
    StartLine,
    /// A protocol version that is not SIP/2.0.
    #[error("the message is not of SIP version 2.0")]
    Version,
    /// A status code outside 100..=699.
    #[error("the status code is out of range")]
    StatusCode,
    /// The request-URI is none.
    #[error("the request-URI is malformed: {0}")]
    RequestUri(UriError),
    /// A header line without a name and a colon.
    #[error("a header line is malformed")]
    HeaderLine,
    /// A control character where none may stand.
    #[error("a control character stands in the headers")]
    ControlCharacter,
    /// A line over [`MAX_LINE`].
    #[error("a header line is longer than 8 KiB")]
    LineTooLong,
    /// More entries than [`MAX_HEADERS`], [`MAX_VIAS`] or [`MAX_ROUTES`].
    #[error("there are too many headers")]
    TooManyHeaders,
    /// No empty line ends the headers.
    #[error("the headers do not end")]
    Unterminated,
    /// A header that may stand once stands twice.
    #[error("there is more than one {0} header")]
    Duplicate(HeaderName),
    /// A header every message needs is missing or makes no sense.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The method in CSeq is not that of the request line.
    #[error("the CSeq method is not the request's")]
    MethodMismatch,
    /// `rsip` does not read what our normaliser made; no input is known that comes to this.
    #[error("the headers cannot be read")]
    Refused,
    /// The body is shorter than Content-Length says.
    #[error("the body is shorter than Content-Length says")]
    BodyTooShort,
}

impl ParseError {
    /// The status code to answer with; `None` when the message is to be dropped in silence.
    pub fn status(&self) -> Option<StatusCode> {
        self.partial.as_ref()?;
        Some(match self.kind {
            ParseErrorKind::Version => StatusCode::VERSION_NOT_SUPPORTED,
            ParseErrorKind::TooLarge => StatusCode::MESSAGE_TOO_LARGE,
            ParseErrorKind::Empty
            | ParseErrorKind::StartLine
            | ParseErrorKind::StatusCode
            | ParseErrorKind::RequestUri(_)
            | ParseErrorKind::HeaderLine
            | ParseErrorKind::ControlCharacter
            | ParseErrorKind::LineTooLong
            | ParseErrorKind::TooManyHeaders
            | ParseErrorKind::Unterminated
            | ParseErrorKind::Duplicate(_)
            | ParseErrorKind::Header(_)
            | ParseErrorKind::MethodMismatch
            | ParseErrorKind::Refused
            | ParseErrorKind::BodyTooShort => StatusCode::BAD_REQUEST,
        })
    }

    /// The reason phrase of an answer: the default one, with what is wrong behind a dash.
    pub fn reason(&self) -> String {
        let status = self.status().unwrap_or(StatusCode::BAD_REQUEST);
        format!("{} - {}", status.reason_phrase(), self.kind)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

impl Message {
    /// Reads one message from a datagram or a frame: line ends before it are skipped, bytes beyond Content-Length are
    /// cut, and fewer than it says are an error (§18.3). Without Content-Length the body is all that follows.
    pub fn parse(wire: &[u8]) -> Result<Self, ParseError> {
        let start = wire.iter().position(|byte| !b"\r\n".contains(byte));
        let Some(wire) = start.and_then(|at| wire.get(at..)) else {
            return Err(ParseError { kind: ParseErrorKind::Empty, partial: None });
        };
        let (wire, oversize) = match wire.get(..MAX_BYTES) {
            Some(cut) if wire.len() > MAX_BYTES => (cut, true),
            _ => (wire, false),
        };
        let mut draft = Draft::default();
        let mut head = CleanHead::default();
        let result = draft.read(wire, &mut head);
        let result = if oversize { Err(ParseErrorKind::TooLarge) } else { result };
        let result = match head.read() {
            Some(headers) => {
                draft.headers = headers;
                result
            }
            None => Err(ParseErrorKind::Refused),
        };
        match result.and_then(|body| draft.check(body)) {
            Ok(message) => Ok(message),
            Err(kind) => Err(ParseError { kind, partial: draft.partial() }),
        }
    }
}

/// What has been read of a message so far.
#[derive(Default)]
struct Draft {
    start: Option<StartLine>,
    method: Option<Method>,
    headers: Headers,
    content_length: Option<String>,
    problem: Option<ParseErrorKind>,
}

enum StartLine {
    Request(Method, Uri),
    Response(StatusCode, String),
}

impl Draft {
    /// Remembers the first thing wrong and reads on, since an answer needs the headers behind it.
    fn note(&mut self, kind: ParseErrorKind) {
        self.problem.get_or_insert(kind);
    }

    /// Reads start line and headers; gives the bytes behind the empty line.
    fn read<'a>(&mut self, wire: &'a [u8], head: &mut CleanHead) -> Result<&'a [u8], ParseErrorKind> {
        let (first, mut rest) = cut_line(wire).unwrap_or((wire, &[]));
        let long = first.len() > MAX_LINE;
        match read_start_line(&text(first), &mut self.method) {
            Ok(_) if long => self.note(ParseErrorKind::LineTooLong),
            Ok(start) => self.start = Some(start),
            Err(kind) => {
                let hopeless = self.method.is_none();
                self.note(kind);
                // A status line that makes no sense, or something that is not SIP at all: nothing to answer.
                if hopeless {
                    return Err(ParseErrorKind::StartLine);
                }
            }
        }
        let mut vias = 0usize;
        let mut routes = 0usize;
        let mut record_routes = 0usize;
        loop {
            let Some((line, after)) = cut_line(rest) else { return Err(ParseErrorKind::Unterminated) };
            rest = after;
            if line.is_empty() {
                return Ok(rest);
            }
            let (line, after) = unfold(line, rest);
            rest = after;
            if line.len() > MAX_LINE {
                self.note(ParseErrorKind::LineTooLong);
                continue;
            }
            let line = text(&line);
            let Some((name, value)) = line.split_once(':') else {
                self.note(ParseErrorKind::HeaderLine);
                continue;
            };
            // Only spaces and tabs may stand between name and colon (§7.3.1).
            let name = name.trim_end_matches([' ', '\t']);
            if !is_token(name) {
                self.note(ParseErrorKind::HeaderLine);
                continue;
            }
            let value = trim(value);
            if has_bad_control(value) {
                self.note(ParseErrorKind::ControlCharacter);
                continue;
            }
            let (name, shape) = HeaderName::with_shape(name);
            if name == HeaderName::CONTENT_LENGTH {
                if self.content_length.replace(value.to_owned()).is_some() {
                    self.note(ParseErrorKind::Duplicate(name));
                }
                continue;
            }
            match shape {
                Shape::Single => {
                    if head.has(&name) {
                        self.note(ParseErrorKind::Duplicate(name.clone()));
                    }
                    head.push(name, value);
                }
                Shape::Free => head.push(name, value),
                Shape::List => {
                    let count = match () {
                        () if name == HeaderName::VIA => &mut vias,
                        () if name == HeaderName::ROUTE => &mut routes,
                        () if name == HeaderName::RECORD_ROUTE => &mut record_routes,
                        () => &mut 0,
                    };
                    let mut empty = true;
                    for element in split_list(value, b',') {
                        empty = false;
                        *count += 1;
                        if *count > MAX_VIAS.min(MAX_ROUTES) || head.len() >= MAX_HEADERS {
                            return Err(ParseErrorKind::TooManyHeaders);
                        }
                        head.push(name.clone(), element);
                    }
                    // An empty Allow or Accept says something, unlike an absent one (§20.1).
                    if empty {
                        head.push(name, "");
                    }
                }
            }
            if head.len() > MAX_HEADERS {
                return Err(ParseErrorKind::TooManyHeaders);
            }
        }
    }

    /// The checks of §8.2 that need no knowledge of who we are.
    fn check(&mut self, body: &[u8]) -> Result<Message, ParseErrorKind> {
        if let Some(kind) = self.problem.take() {
            return Err(kind);
        }
        let body = match &self.content_length {
            None => body,
            Some(text) => {
                let wanted = decimal(text).ok_or_else(|| {
                    HeaderError::malformed(&HeaderName::CONTENT_LENGTH, "a number of bytes is wanted")
                })?;
                let wanted = usize::try_from(wanted).map_err(|_| ParseErrorKind::BodyTooShort)?;
                body.get(..wanted).ok_or(ParseErrorKind::BodyTooShort)?
            }
        };
        let headers = &self.headers;
        headers.via()?;
        headers.from()?;
        headers.to()?;
        headers.call_id()?;
        let cseq = headers.cseq()?;
        match self.start.take().ok_or(ParseErrorKind::StartLine)? {
            StartLine::Request(method, uri) => {
                if cseq.method != method {
                    return Err(ParseErrorKind::MethodMismatch);
                }
                headers.max_forwards()?;
                headers.vias()?;
                headers.contacts()?;
                headers.routes()?;
                headers.record_routes()?;
                let headers = std::mem::take(&mut self.headers);
                Ok(Message::Request(Request { method, uri, headers, body: body.to_vec() }))
            }
            StartLine::Response(status, reason) => {
                let headers = std::mem::take(&mut self.headers);
                Ok(Message::Response(Response { status, reason, headers, body: body.to_vec() }))
            }
        }
    }

    /// What an answer needs: Via, From, To, Call-ID and CSeq of a request that is no ACK.
    fn partial(&mut self) -> Option<Box<Request>> {
        let method = self.method.take()?;
        let headers = std::mem::take(&mut self.headers);
        headers.via().ok()?;
        let usable = [HeaderName::FROM, HeaderName::TO, HeaderName::CALL_ID, HeaderName::CSEQ]
            .iter()
            .all(|name| headers.get(name).is_some_and(|value| !value.is_empty()));
        let ack_by_cseq = headers.get(&HeaderName::CSEQ).is_some_and(|value| value.ends_with("ACK"));
        if !usable || method == Method::Ack || ack_by_cseq {
            return None;
        }
        let uri = match self.start.take() {
            Some(StartLine::Request(_, uri)) => uri,
            Some(StartLine::Response(..)) => return None,
            None => Uri::sip(None, super::Host::Name("invalid".to_owned())),
        };
        Some(Box::new(Request { method, uri, headers, body: Vec::new() }))
    }
}

/// Cuts off one line; its end is CRLF, or LF alone as some peers write.
fn cut_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = bytes.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..)?))
}

/// Joins the continuation lines that follow, each fold becoming one space (§7.3.1).
fn unfold<'a>(line: &'a [u8], mut rest: &'a [u8]) -> (Cow<'a, [u8]>, &'a [u8]) {
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
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}

/// Whether a control character stands outside a quoted pair; tabs are white space (§25.1).
fn has_bad_control(value: &str) -> bool {
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
fn read_start_line(line: &str, method: &mut Option<Method>) -> Result<StartLine, ParseErrorKind> {
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
