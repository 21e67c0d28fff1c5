//! Via (RFC 3261 §20.42, RFC 3581) and CSeq (§20.16).

use super::grammar::{decimal, find_outside, is_token, trim};
use super::{Host, Method, Params};
use std::fmt;
use std::str::FromStr;

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

/// CSeq (§20.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// The number, below 2^31 (§8.1.1.5).
    pub seq: u32,
    /// The method.
    pub method: Method,
}

/// Why a Via or a CSeq is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViaError {
    /// The protocol is not of the form `SIP/2.0/transport`.
    #[error("a Via begins with SIP/2.0/transport")]
    BadProtocol,
    /// The sent-by is no host and port.
    #[error(transparent)]
    SentBy(#[from] super::UriError),
    /// Something that is no parameter follows.
    #[error("`{0}` is no parameter")]
    BadParams(String),
}

impl Via {
    /// A Via of our own.
    pub fn new(transport: &str, host: impl Into<Host>, port: impl Into<Option<u16>>) -> Self {
        Self { transport: transport.to_ascii_uppercase(), host: host.into(), port: port.into(), params: Params::new() }
    }

    /// The `branch` parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// The `received` address; brackets round an IPv6 address are allowed though RFC 3261 has none (RFC 5118 §4.5).
    pub fn received(&self) -> Option<std::net::IpAddr> {
        let text = self.params.get("received")?;
        text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// The `rport` value, when it has one.
    pub fn rport(&self) -> Option<u16> {
        decimal(self.params.get("rport")?).and_then(|port| u16::try_from(port).ok())
    }
}

impl FromStr for Via {
    type Err = ViaError;

    fn from_str(text: &str) -> Result<Self, ViaError> {
        let end = find_outside(text, |byte| byte == b';').unwrap_or(text.len());
        let (head, rest) = text.split_at(end);
        // White space may stand round both slashes, and has to stand before the sent-by.
        let mut parts = head.splitn(3, '/');
        let (Some(name), Some(version), Some(tail)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ViaError::BadProtocol);
        };
        let tail = trim(tail);
        let (transport, sent_by) = tail.split_once([' ', '\t']).ok_or(ViaError::BadProtocol)?;
        let version = trim(version);
        let version_ok = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !trim(name).eq_ignore_ascii_case("SIP") || !version_ok || !is_token(transport) {
            return Err(ViaError::BadProtocol);
        }
        // `host : port` with white space is legal too.
        let sent_by: std::borrow::Cow<'_, str> = match trim(sent_by) {
            plain if !plain.contains([' ', '\t']) => plain.into(),
            spaced => {
                let (host, port) = spaced.rsplit_once(':').ok_or(ViaError::BadProtocol)?;
                format!("{}:{}", trim(host), trim(port)).into()
            }
        };
        let (host, port) = Host::parse_with_port(&sent_by)?;
        let params = match rest.strip_prefix(';') {
            Some(params) => Params::parse_header(params).ok_or_else(|| ViaError::BadParams(params.to_owned()))?,
            None => Params::new(),
        };
        Ok(Self { transport: transport.to_ascii_uppercase(), host, port, params })
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

impl FromStr for CSeq {
    type Err = CSeqError;

    fn from_str(text: &str) -> Result<Self, CSeqError> {
        let (seq, method) = trim(text).split_once([' ', '\t']).ok_or(CSeqError)?;
        let method = trim(method);
        let seq = decimal(seq).and_then(|seq| u32::try_from(seq).ok()).filter(|seq| *seq < 1 << 31).ok_or(CSeqError)?;
        if is_token(method) { Ok(Self { seq, method: Method::from_token(method) }) } else { Err(CSeqError) }
    }
}

/// A CSeq that is not a number below 2^31 and a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a CSeq is a number below 2^31 and a method")]
pub struct CSeqError;

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.seq, self.method)
    }
}
