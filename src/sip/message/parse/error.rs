//! What is wrong with a message, and how it is to be answered.

use super::super::{HeaderError, HeaderName, Request, StatusCode, UriError};

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
    /// Over [`MAX_BYTES`](crate::sip::message::MAX_BYTES).
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
    /// A line over [`MAX_LINE`](crate::sip::message::MAX_LINE).
    #[error("a header line is longer than 8 KiB")]
    LineTooLong,
    /// More entries than [`MAX_HEADERS`](crate::sip::message::MAX_HEADERS), `MAX_VIAS` or `MAX_ROUTES`.
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
