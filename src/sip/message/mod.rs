//! SIP messages (RFC 3261 §7, §20): the one facade over `rsip`; nothing else in the program imports it.
//!
//! ```text
//!   wire bytes ──normalize──▶ head that rsip accepts ──rsip──▶ Message { start line, Headers, body bytes }
//! ```
//!
//! Header values are kept as text, one element per list entry (`Via: a, b` becomes two entries, in order), names in
//! canonical long form. Typed views (`via`, `from`, `contacts` …) are made on demand by our own grammar, since rsip's
//! lacks IPv6, several values on a line, SHA-256 and more.

mod headers;
mod uri;

pub use headers::{CSeq, Contact, Contacts, HeaderName, Headers, NameAddr, Params, Via};
pub use uri::{Host, Scheme, Uri, UriError};

use std::fmt;

/// A request method (RFC 3261 §7.1); unknown ones are kept, so that they can be answered 405 or 501.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are the method names")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Info,
    Update,
    Prack,
    Message,
    Notify,
    Subscribe,
    Refer,
    Publish,
    /// Any other token, case kept (methods are case-sensitive).
    Other(String),
}

impl Method {
    /// The token on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Info => "INFO",
            Self::Update => "UPDATE",
            Self::Prack => "PRACK",
            Self::Message => "MESSAGE",
            Self::Notify => "NOTIFY",
            Self::Subscribe => "SUBSCRIBE",
            Self::Refer => "REFER",
            Self::Publish => "PUBLISH",
            Self::Other(token) => token,
        }
    }

    /// Reads a token; never fails, since unknown methods are legal.
    pub fn from_token(token: &str) -> Self {
        match token {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "REGISTER" => Self::Register,
            "OPTIONS" => Self::Options,
            "INFO" => Self::Info,
            "UPDATE" => Self::Update,
            "PRACK" => Self::Prack,
            "MESSAGE" => Self::Message,
            "NOTIFY" => Self::Notify,
            "SUBSCRIBE" => Self::Subscribe,
            "REFER" => Self::Refer,
            "PUBLISH" => Self::Publish,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A response status code, 100..=699.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusCode(u16);

impl StatusCode {
    /// `None` outside 100..=699.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code <= 699 { Some(Self(code)) } else { None }
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// 1xx.
    pub const fn is_provisional(self) -> bool {
        self.0 < 200
    }

    /// 2xx.
    pub const fn is_success(self) -> bool {
        self.0 >= 200 && self.0 < 300
    }

    /// 2xx to 6xx.
    pub const fn is_final(self) -> bool {
        self.0 >= 200
    }
}

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

/// A SIP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The request-URI.
    pub uri: Uri,
    /// All headers but Content-Length, which `encode` writes.
    pub headers: Headers,
    /// The body, any bytes.
    pub body: Vec<u8>,
}

/// A SIP response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The reason phrase as it came (may be empty).
    pub reason: String,
    /// All headers but Content-Length, which `encode` writes.
    pub headers: Headers,
    /// The body, any bytes.
    pub body: Vec<u8>,
}
