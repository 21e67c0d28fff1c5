//! The host of a URI or a Via: a name or an address (RFC 3261 §25.1, RFC 5118).

use super::UriError;
use crate::sip::message::grammar::decimal;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The host of a [`Uri`](super::Uri) or a Via.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A literal address (IPv6 in brackets on the wire).
    Ip(IpAddr),
    /// A name, lower case.
    Name(String),
}

impl Host {
    /// The literal address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }

    /// Reads `host[:port]`.
    pub(in crate::sip::message) fn parse_with_port(text: &str) -> Result<(Self, Option<u16>), UriError> {
        let (host, port) = if text.starts_with('[') {
            let close = text.find(']').ok_or_else(|| UriError::BadHost(text.to_owned()))?;
            let (host, rest) = text.split_at(close + 1);
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(UriError::BadHost(text.to_owned())),
            }
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => return Err(UriError::BadHost(text.to_owned())),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            Some(port) => Some(
                decimal(port)
                    .and_then(|number| u16::try_from(number).ok())
                    .ok_or_else(|| UriError::BadPort(port.to_owned()))?,
            ),
            None => None,
        };
        Ok((host.parse()?, port))
    }
}

impl FromStr for Host {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.is_empty() {
            return Err(UriError::NoHost);
        }
        let bad = || UriError::BadHost(text.to_owned());
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(bad)?;
            // The grammar of RFC 3261 wrongly lets three colons stand before an embedded IPv4 address (RFC 5118 §4.10).
            let address = inner
                .parse::<Ipv6Addr>()
                .or_else(|error| if inner.contains('.') { inner.replacen(":::", "::", 1).parse() } else { Err(error) });
            return address.map(|ip| Self::Ip(ip.into())).map_err(|_| bad());
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        let legal = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        // A last label of digits only would be an IPv4 address in one of its odd spellings.
        let last = text.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        if !legal || text.len() > 255 || !last.bytes().any(|byte| !byte.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address.ip())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}
