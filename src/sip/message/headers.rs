//! Header names, the ordered header list and its typed views (RFC 3261 §7.3, §20).

use super::{Host, Method, Uri};

/// A header field name in canonical long form (`v` becomes `Via`); comparison ignores case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(std::borrow::Cow<'static, str>);

/// The headers of a message in order; list headers hold one element per entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    entries: Vec<(HeaderName, String)>,
}

/// `;name=value` parameters in order; names compare without case, values are kept as they came (unquoted on `get`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Params {
    entries: Vec<(String, Option<String>)>,
}

/// One Via (§20.42, RFC 3581).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, … upper case.
    pub transport: String,
    /// sent-by host.
    pub host: Host,
    /// sent-by port.
    pub port: Option<u16>,
    /// branch, received, rport, maddr, ttl and others.
    pub params: Params,
}

/// A display name, a URI and header parameters (From, To, Route, Record-Route, Refer-To …; §20.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name without quotes and escapes.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Parameters outside the angle brackets (`tag`, `expires`, `q` …).
    pub params: Params,
}

/// One contact.
pub type Contact = NameAddr;

/// The Contact headers of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts {
    /// `Contact: *` of an unregistration.
    Star,
    /// Any number of contacts.
    List(Vec<Contact>),
}

/// CSeq (§20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The number, below 2^31 (§8.1.1.5).
    pub seq: u32,
    /// The method.
    pub method: Method,
}
