//! A display name, a URI and parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10).

use super::grammar::{find_outside, is_token, quoted_string, split_list, trim, write_quoted};
use super::{Params, Uri};
use std::fmt;
use std::str::FromStr;

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

impl NameAddr {
    /// A bare URI.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::new() }
    }

    /// The same with a display name.
    pub fn with_display(mut self, display: impl Into<String>) -> Self {
        self.display = Some(display.into());
        self
    }

    /// The same with a parameter set.
    pub fn with_param<'a>(mut self, name: &str, value: impl Into<Option<&'a str>>) -> Self {
        self.params.set(name, value);
        self
    }

    /// The `tag` parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag")
    }

    /// Splits a value into its elements at commas and reads each.
    pub(super) fn parse_list(text: &str) -> impl Iterator<Item = Result<Self, NameAddrError>> {
        split_list(text, b',').map(str::parse)
    }
}

/// Why a text is no name and address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameAddrError {
    /// The URI is none.
    #[error(transparent)]
    Uri(#[from] super::UriError),
    /// A quote or an angle bracket is not closed.
    #[error("a quote or an angle bracket is not closed")]
    Unclosed,
    /// The text before the angle bracket is neither a quoted string nor words.
    #[error("`{0}` is no display name")]
    BadDisplay(String),
    /// Something that is no parameter follows.
    #[error("`{0}` is no parameter")]
    BadParams(String),
    /// A URI that needs angle brackets stands without (§20.10).
    #[error("a URI with a comma or a question mark needs angle brackets")]
    Unenclosed,
}

impl FromStr for NameAddr {
    type Err = NameAddrError;

    fn from_str(text: &str) -> Result<Self, NameAddrError> {
        let text = trim(text);
        let (display, rest) = if text.starts_with('"') {
            let (display, rest) = quoted_string(text).ok_or(NameAddrError::Unclosed)?;
            let rest = trim(rest);
            if !rest.starts_with('<') {
                return Err(NameAddrError::BadDisplay(text.to_owned()));
            }
            (Some(display), rest)
        } else {
            match text.split_once('<') {
                // Any semicolon before the bracket means that the bracket belongs to a parameter.
                Some((words, _)) if !words.contains([';', ':', '@']) => {
                    let display = trim(words);
                    let legal = display.split([' ', '\t']).all(|word| word.is_empty() || is_display_word(word));
                    if !legal {
                        return Err(NameAddrError::BadDisplay(display.to_owned()));
                    }
                    let rest = text.get(words.len()..).unwrap_or_default();
                    ((!display.is_empty()).then(|| display.to_owned()), rest)
                }
                _ => return Self::parse_bare(text),
            }
        };
        let inner = rest.strip_prefix('<').ok_or(NameAddrError::Unclosed)?;
        let (uri, rest) = inner.split_once('>').ok_or(NameAddrError::Unclosed)?;
        Ok(Self { display, uri: trim(uri).parse()?, params: parse_params(rest)? })
    }
}

impl NameAddr {
    /// An address without brackets: a semicolon begins the header's parameters, not the URI's.
    fn parse_bare(text: &str) -> Result<Self, NameAddrError> {
        let end = find_outside(text, |byte| byte == b';').unwrap_or(text.len());
        let (uri, rest) = text.split_at(end);
        let uri = trim(uri);
        if uri.contains(['?', ',']) && uri.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("sip")) {
            return Err(NameAddrError::Unenclosed);
        }
        Ok(Self { display: None, uri: uri.parse()?, params: parse_params(rest)? })
    }
}

/// A word of an unquoted display name; beyond the RFC's tokens, UTF-8 and harmless marks are let in, and the comma,
/// which is no separator in the headers that hold one address (RFC 4475 §3.1.2.15).
fn is_display_word(word: &str) -> bool {
    is_token(word) || !word.chars().any(|c| c.is_control() || "\"<>;:\\".contains(c))
}

fn parse_params(rest: &str) -> Result<Params, NameAddrError> {
    let rest = trim(rest);
    let bad = || NameAddrError::BadParams(rest.to_owned());
    match rest.strip_prefix(';') {
        Some(params) => Params::parse_header(params).ok_or_else(bad),
        None if rest.is_empty() => Ok(Params::new()),
        None => Err(bad()),
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write_quoted(f, display)?;
            f.write_str(" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

impl fmt::Display for Contacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Star => f.write_str("*"),
            Self::List(list) => {
                for (at, contact) in list.iter().enumerate() {
                    write!(f, "{}{contact}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
        }
    }
}
