//! Cuts a byte stream into messages (RFC 3261 §7.5, §18.3; keep-alive of RFC 5626 §3.5.1).
//!
//! ```text
//!   CRLF* ─▶ head … CRLF CRLF ─▶ Content-Length bytes of body ─▶ next
//! ```

/// Longest line of a head; junk that never ends a line is given up after as much (threats A2).
pub const MAX_LINE: usize = 8 * 1024;
/// Longest head.
pub const MAX_HEAD: usize = 64 * 1024;
/// Longest body; compared with the declared length before anything is kept (threats A3).
pub const MAX_BODY: usize = 64 * 1024;

/// One thing found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Vec<u8>),
    /// The two empty lines of a keep-alive, to be answered by one.
    Ping,
}

/// Why a stream cannot be read on; the connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A line or the head is too long, or the stream is no SIP.
    #[error("the head of a message does not end")]
    EndlessHead,
    /// No Content-Length, two that differ, or one that is no number; holds the head.
    #[error("the length of a message is missing or wrong")]
    BadLength(Vec<u8>),
    /// The body would be longer than [`MAX_BODY`]; holds the head.
    #[error("the body of a message is too long")]
    HugeBody(Vec<u8>),
}

/// What stands where a message should begin.
enum Start {
    /// Anything but an empty line.
    Line,
    /// Two empty lines, now skipped.
    Ping,
    /// Too little to tell.
    Unknown,
}

/// The reading half of one stream connection.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out.
    start: usize,
    /// Bytes from `start` on that hold no end of head.
    scanned: usize,
    /// Start of the line that `scanned` is in, from `start` on.
    line: usize,
    /// Whole length of the message whose head has been read.
    whole: Option<usize>,
    failed: bool,
}

impl Framer {
    /// Takes bytes in, as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// True while part of a message has come; empty lines are none.
    pub fn is_mid_message(&self) -> bool {
        self.buffer.iter().skip(self.start).any(|byte| !b"\r\n".contains(byte))
    }

    /// Takes the single empty line that is all there is: the answer to a keep-alive of ours. Left there, it would make a
    /// keep-alive of the peer's out of the next one.
    pub fn take_line_end(&mut self) -> bool {
        let is_line_end = self.buffer.get(self.start..) == Some(b"\r\n".as_slice());
        if is_line_end {
            self.advance(2);
        }
        is_line_end
    }

    /// The next whole thing; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the stream cannot be read on; later calls give `None`.
    pub fn poll(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.failed {
            return Ok(None);
        }
        let found = self.step();
        if found.is_err() {
            self.failed = true;
            self.buffer = Vec::new();
            self.start = 0;
        }
        found
    }

    fn step(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.whole.is_none() {
            match self.skip_empty_lines() {
                Start::Line => {}
                Start::Ping => return Ok(Some(Frame::Ping)),
                Start::Unknown => return Ok(None),
            }
            let Some(head) = self.find_head()? else { return Ok(None) };
            let start = self.start;
            let head = self.buffer.get(start..start + head).unwrap_or_default();
            match content_length(head) {
                Some(length) if length <= MAX_BODY => self.whole = Some(head.len() + length),
                Some(_) => return Err(FrameError::HugeBody(head.to_vec())),
                None => return Err(FrameError::BadLength(head.to_vec())),
            }
        }
        let Some(whole) = self.whole else { return Ok(None) };
        let Some(message) = self.buffer.get(self.start..self.start + whole) else { return Ok(None) };
        let message = message.to_vec();
        self.advance(whole);
        Ok(Some(Frame::Message(message)))
    }

    fn advance(&mut self, by: usize) {
        self.start += by;
        (self.scanned, self.line, self.whole) = (0, 0, None);
        if self.start >= self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        }
    }

    /// Empty lines before a start line mean nothing (§7.5), but two in a row ask for one in return (RFC 5626 §3.5.1).
    fn skip_empty_lines(&mut self) -> Start {
        while self.scanned == 0 {
            match self.buffer.get(self.start..).unwrap_or_default() {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.advance(4);
                    return Start::Ping;
                }
                // The second empty line of a ping may still be on its way.
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Start::Unknown,
                [b'\r', b'\n', ..] => self.advance(2),
                [b'\n', ..] => self.advance(1),
                _ => break,
            }
        }
        Start::Line
    }

    /// Length of the head with its empty line, once that has come. Each byte is looked at once.
    fn find_head(&mut self) -> Result<Option<usize>, FrameError> {
        let bytes = self.buffer.get(self.start..).unwrap_or_default();
        while let Some(found) = bytes.get(self.scanned..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
            let end = self.scanned + found;
            let line = bytes.get(self.line..end).unwrap_or_default();
            if line.len() > MAX_LINE || end >= MAX_HEAD {
                return Err(FrameError::EndlessHead);
            }
            (self.scanned, self.line) = (end + 1, end + 1);
            if line.is_empty() || line == b"\r" {
                return Ok(Some(end + 1));
            }
        }
        self.scanned = bytes.len();
        if bytes.len().saturating_sub(self.line) > MAX_LINE || bytes.len() > MAX_HEAD {
            return Err(FrameError::EndlessHead);
        }
        Ok(None)
    }
}

/// The one Content-Length of a head; a stream cannot be cut without it (§18.3).
fn content_length(head: &[u8]) -> Option<usize> {
    let mut lines = head.split(|byte| *byte == b'\n').skip(1).peekable();
    let mut length = None;
    while let Some(line) = lines.next() {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if matches!(line.first(), Some(b' ' | b'\t')) {
            continue; // the rest of a folded header, whatever it looks like
        }
        let (name, value) = (line.get(..colon)?.trim_ascii(), line.get(colon + 1..)?);
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let mut digits = value.trim_ascii().to_vec();
        while let Some(folded) = lines.next_if(|next| matches!(next.first(), Some(b' ' | b'\t'))) {
            digits.extend_from_slice(folded.trim_ascii());
        }
        if digits.is_empty() || digits.len() > 12 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = std::str::from_utf8(&digits).ok()?.parse().ok()?;
        // Two lengths would let two readers see two different messages (threats C12).
        if length.replace(number).is_some() {
            return None;
        }
    }
    length
}

#[cfg(test)]
mod tests;
