//! Wire bytes to messages: the normaliser, the caps and the checks every message has to pass (RFC 3261 §7, §8.2, §18.3).

mod error;
mod line;

pub use error::{ParseError, ParseErrorKind};

use super::grammar::{decimal, is_token, split_list, trim};
use super::header_name::Shape;
use super::rsip_head::CleanHead;
use super::{HeaderError, HeaderName, Headers, Message, Method, Request, Response, Uri};
use line::{StartLine, cut_line, has_bad_control, read_start_line, text, unfold};

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
