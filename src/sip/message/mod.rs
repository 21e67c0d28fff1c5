//! SIP messages (RFC 3261 §7, §20): the one facade over `rsip`; nothing else in the program imports it.
//!
//! ```text
//!   wire bytes ──normalize──▶ head that rsip accepts ──rsip──▶ Message { start line, Headers, body bytes }
//! ```
//!
//! Header values are kept as text, one element per list entry (`Via: a, b` becomes two entries, in order), names in
//! canonical long form. Typed views (`via`, `from`, `contacts` …) are made on demand by our own grammar, since rsip's
//! lacks IPv6, several values on a line, SHA-256 and more.

mod encode;
mod event;
mod grammar;
mod header_name;
mod headers;
mod multipart;
mod name_addr;
mod params;
mod parse;
mod refer;
mod rsip_head;
mod status;
mod uri;
mod via;

pub use event::{EventPackage, SIPFRAG, SubscriptionState, fragment_of_status, status_of_fragment};
pub use header_name::HeaderName;
pub use headers::{HeaderError, Headers};
pub use multipart::{Part, parts};
pub use name_addr::{Contact, Contacts, NameAddr, NameAddrError};
pub use params::Params;
pub use parse::{MAX_BYTES, MAX_HEADERS, MAX_LINE, MAX_ROUTES, MAX_VIAS, ParseError, ParseErrorKind};
pub use refer::{ReferTo, Replaces, ReplacesError};
pub use status::StatusCode;
pub use uri::{Host, Scheme, Uri, UriError};
pub use via::{CSeq, CSeqError, Via, ViaError};

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

impl Message {
    /// The headers of either kind.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// The headers of either kind, to change.
    pub fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Self::Request(request) => &mut request.headers,
            Self::Response(response) => &mut response.headers,
        }
    }

    /// The body of either kind.
    pub fn body(&self) -> &[u8] {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Vec::new() }
    }
}

impl Response {
    /// A response without headers and body, with the default reason phrase.
    pub fn new(status: StatusCode) -> Self {
        Self { status, reason: status.reason_phrase().to_owned(), headers: Headers::new(), body: Vec::new() }
    }

    /// A response to a request (§8.2.6, §12.1.1): Via, From, To, Call-ID and CSeq are copied, Record-Route too where a
    /// dialog may come of it, Timestamp into a 100.
    ///
    /// `to_tag` goes into a To that has no tag yet, but never into a 100.
    pub fn to(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let mut response = Self::new(status);
        let routes_due = status != StatusCode::TRYING && status.code() < 300;
        for (name, value) in request.headers.iter() {
            let due = [HeaderName::VIA, HeaderName::FROM, HeaderName::CALL_ID, HeaderName::CSEQ].contains(name)
                || (routes_due && *name == HeaderName::RECORD_ROUTE)
                || (status == StatusCode::TRYING && *name == HeaderName::TIMESTAMP);
            if due {
                response.headers.push(name.clone(), value);
            } else if *name == HeaderName::TO {
                let tag = to_tag.filter(|_| status != StatusCode::TRYING);
                let value = match (value.parse::<NameAddr>(), tag) {
                    // The text is kept as it came, so that no peer compares something we rewrote.
                    (Ok(to), Some(tag)) if to.tag().is_none() => format!("{value};tag={tag}"),
                    _ => value.to_owned(),
                };
                response.headers.push(HeaderName::TO, value);
            }
        }
        response
    }
}
