//! Parameters behind semicolons, of headers and of URIs (RFC 3261 §7.3.1, §19.1.1).

use super::grammar::{is_token, is_token_byte, quoted_string, split_list, trim, unescape, write_quoted};
use std::fmt;

/// `;name=value` parameters in order; names compare without case, values are read without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Params {
    entries: Vec<Param>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Param {
    name: String,
    value: Option<String>,
    quoted: bool,
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a parameter without quotes and escapes; `None` when it is absent or has no value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name)?.value.as_deref()
    }

    /// Whether the parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Sets a parameter in its place, or appends it; the value is quoted on the wire when it has to be.
    pub fn set<'a>(&mut self, name: &str, value: impl Into<Option<&'a str>>) {
        let value = value.into().map(str::to_owned);
        let quoted = value.as_deref().is_some_and(needs_quotes);
        match self.entries.iter_mut().find(|param| param.name.eq_ignore_ascii_case(name)) {
            Some(param) => {
                param.value = value;
                param.quoted = quoted;
            }
            None => self.entries.push(Param { name: name.to_owned(), value, quoted }),
        }
    }

    /// Removes a parameter and says whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|param| !param.name.eq_ignore_ascii_case(name));
        self.entries.len() < before
    }

    /// The parameters in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.entries.iter().map(|param| (param.name.as_str(), param.value.as_deref()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Param> {
        self.entries.iter().find(|param| param.name.eq_ignore_ascii_case(name))
    }

    /// The parameters of a header that is not read elsewhere: the text after its first semicolon. `None` when they are none.
    pub fn of_header(text: &str) -> Option<Self> {
        Self::parse_header(text)
    }

    /// Reads the parameters of a header, the text after the first semicolon.
    pub(super) fn parse_header(text: &str) -> Option<Self> {
        let mut entries = Vec::new();
        for element in split_list(text, b';') {
            let (name, value) = match element.split_once('=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (element, None),
            };
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return None;
            }
            let (value, quoted) = match value {
                Some(value) if value.starts_with('"') => {
                    let (content, rest) = quoted_string(value)?;
                    if !trim(rest).is_empty() {
                        return None;
                    }
                    (Some(content), true)
                }
                Some(value) if value.contains(['"', ' ', '\t', '\\', '<']) => return None,
                Some(value) => (Some(value.to_owned()), false),
                None => (None, false),
            };
            entries.push(Param { name: name.to_owned(), value, quoted });
        }
        Some(Self { entries })
    }

    /// Reads the parameters of a URI, the text after the first semicolon; values are kept as they came, a name spelt
    /// with escapes is the name (`%6C%72` is `lr`).
    pub(super) fn parse_uri(text: &str) -> Self {
        let plain_name = |name: &str| {
            let plain = unescape(name);
            if is_token(&plain) && !plain.contains('%') { plain } else { name.to_owned() }
        };
        let entries = text
            .split(';')
            .filter(|element| !element.is_empty())
            .map(|element| match element.split_once('=') {
                Some((name, value)) => Param { name: plain_name(name), value: Some(value.to_owned()), quoted: false },
                None => Param { name: plain_name(element), value: None, quoted: false },
            })
            .collect();
        Self { entries }
    }

    /// Writes the parameters of a URI, where what may not stand is escaped instead of quoted.
    pub(super) fn write_uri(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for param in &self.entries {
            f.write_str(";")?;
            write_escaped(f, &param.name)?;
            if let Some(value) = &param.value {
                f.write_str("=")?;
                write_escaped(f, value)?;
            }
        }
        Ok(())
    }
}

/// Header parameters, each with its semicolon.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for param in &self.entries {
            write!(f, ";{}", param.name)?;
            match &param.value {
                Some(value) if param.quoted => {
                    f.write_str("=")?;
                    write_quoted(f, value)?;
                }
                Some(value) => write!(f, "={value}")?,
                None => {}
            }
        }
        Ok(())
    }
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty() || !value.bytes().all(|byte| is_token_byte(byte) || b"[]:/&$()@?".contains(&byte))
}

fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_ascii_control() || matches!(c, ' ' | '"' | '<' | '>' | ';' | '?') {
            write!(f, "%{:02X}", u32::from(c))?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}
