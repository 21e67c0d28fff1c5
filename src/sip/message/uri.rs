//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966, RFC 5118 for IPv6).

use super::Params;
use std::net::IpAddr;

/// A URI in a request line or a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uri {
    /// sip, sips, tel or another scheme.
    pub scheme: Scheme,
    /// The user part, escapes kept as they came; for `tel:` the number, for other schemes everything after the colon.
    pub user: Option<String>,
    /// The password part; deprecated, kept for comparison only.
    pub password: Option<String>,
    /// The host; `None` for `tel:` and other schemes.
    pub host: Option<Host>,
    /// The port, when given.
    pub port: Option<u16>,
    /// Parameters behind the host, in order.
    pub params: Params,
    /// Headers behind `?`, without the question mark.
    pub headers: Option<String>,
}

/// The scheme of a [`Uri`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other scheme, lower case.
    Other(String),
}

/// The host of a [`Uri`] or a Via.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address (IPv6 in brackets on the wire).
    Ip(IpAddr),
    /// A name, lower case.
    Name(String),
}

/// Why a URI is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// No colon, or nothing before it.
    #[error("a URI needs a scheme such as `sip:`")]
    NoScheme,
    /// Nothing where the host should be.
    #[error("the URI has no host")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error("`{0}` is no host name or address")]
    BadHost(String),
    /// The port is no number in 0..=65535.
    #[error("`{0}` is no port")]
    BadPort(String),
    /// A character that must be escaped.
    #[error("`{0}` may not stand in a URI")]
    BadCharacter(char),
}
