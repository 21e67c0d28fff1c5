//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966, RFC 5118 for IPv6).

mod compare;
mod host;

pub use host::Host;

use super::Params;
use super::grammar::{escape, unescape};
use std::fmt;
use std::str::FromStr;

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

impl Scheme {
    /// The scheme without its colon.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Other(name) => name,
        }
    }
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

impl Uri {
    /// A `sip:` URI; characters that may not stand in a user part are escaped.
    pub fn sip<'a>(user: impl Into<Option<&'a str>>, host: impl Into<Host>) -> Self {
        Self {
            scheme: Scheme::Sip,
            user: user.into().map(|user| escape(user, is_user_byte)),
            password: None,
            host: Some(host.into()),
            port: None,
            params: Params::new(),
            headers: None,
        }
    }

    /// The same URI with this port.
    pub fn with_port(mut self, port: impl Into<Option<u16>>) -> Self {
        self.port = port.into();
        self
    }

    /// The same URI with this parameter set.
    pub fn with_param<'a>(mut self, name: &str, value: impl Into<Option<&'a str>>) -> Self {
        self.params.set(name, value);
        self
    }

    /// Whether the scheme is `sips`.
    pub fn is_sips(&self) -> bool {
        self.scheme == Scheme::Sips
    }

    /// Whether the scheme is `sip` or `sips`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The `transport` parameter as it came.
    pub fn transport(&self) -> Option<&str> {
        self.params.get("transport")
    }

    /// The port, or 5061 for `sips:` and `transport=tls`, else 5060 (§19.1.2).
    pub fn port_or_default(&self) -> u16 {
        let secure = self.is_sips() || self.transport().is_some_and(|name| name.eq_ignore_ascii_case("tls"));
        self.port.unwrap_or(if secure { 5061 } else { 5060 })
    }

    /// The user part without its escapes.
    pub fn user_unescaped(&self) -> Option<String> {
        self.user.as_deref().map(unescape)
    }
}

/// What may stand in a user part without an escape (§25.1: unreserved and user-unreserved).
fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte)
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NoScheme)?;
        let starts_with_letter = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        if !starts_with_letter || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
            return Err(UriError::NoScheme);
        }
        if let Some(bad) = rest.chars().find(|c| c.is_control() || matches!(c, ' ' | '<' | '>' | '"')) {
            return Err(UriError::BadCharacter(bad));
        }
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "sip" => Scheme::Sip,
            "sips" => Scheme::Sips,
            "tel" => Scheme::Tel,
            other => Scheme::Other(other.to_owned()),
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => Self::parse_sip(scheme, rest),
            Scheme::Tel => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                if number.is_empty() {
                    return Err(UriError::NoHost);
                }
                Ok(Self { params: Params::parse_uri(params), ..Self::opaque(scheme, number) })
            }
            Scheme::Other(_) if rest.is_empty() => Err(UriError::NoHost),
            Scheme::Other(_) => Ok(Self::opaque(scheme, rest)),
        }
    }
}

impl Uri {
    fn opaque(scheme: Scheme, text: &str) -> Self {
        Self {
            scheme,
            user: Some(text.to_owned()),
            password: None,
            host: None,
            port: None,
            params: Params::new(),
            headers: None,
        }
    }

    fn parse_sip(scheme: Scheme, rest: &str) -> Result<Self, UriError> {
        // A user part may hold `;` and `?`, a host may not hold `@`: the first `@` ends the user part.
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|info| info.split_once(':').ok_or(info)) {
            None => (None, None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
            Some(Err(user)) => (Some(user), None),
        };
        if user == Some("") {
            return Err(UriError::BadCharacter('@'));
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (host_port, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = Host::parse_with_port(host_port)?;
        Ok(Self {
            scheme,
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            host: Some(host),
            port,
            params: Params::parse_uri(params),
            headers: headers.map(str::to_owned),
        })
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme.as_str())?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            if self.host.is_some() {
                f.write_str("@")?;
            }
        }
        if let Some(host) = &self.host {
            write!(f, "{host}")?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.write_uri(f)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}
