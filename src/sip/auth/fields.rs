//! The `Digest name=value, …` grammar of challenges and credentials (RFC 3261 §25.1, RFC 7616 §3.3, §3.4).

use super::MAX_FIELD;
use std::collections::BTreeMap;

/// Longest header value that is looked at.
const MAX_VALUE: usize = 4096;

/// The named values of one challenge or one set of credentials; names in lower case, values unquoted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    values: BTreeMap<String, String>,
}

/// Why a challenge or credentials cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// A scheme other than Digest.
    #[error("the authentication scheme is not Digest")]
    OtherScheme,
    /// Longer than the caps.
    #[error("a value is too long")]
    TooLong,
    /// Not `name=value, …`, or a name twice.
    #[error("the digest values cannot be read")]
    Malformed,
}

impl Fields {
    /// Reads a header value.
    ///
    /// # Errors
    /// When it is another scheme, too long, or no list of `name=value`.
    pub fn parse(value: &str) -> Result<Self, FieldsError> {
        if value.len() > MAX_VALUE {
            return Err(FieldsError::TooLong);
        }
        let value = value.trim();
        let (scheme, list) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("digest") {
            return Err(FieldsError::OtherScheme);
        }
        if list.is_empty() {
            return Err(FieldsError::Malformed);
        }
        let mut values = BTreeMap::new();
        let mut rest = list.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or(FieldsError::Malformed)?;
            let name = name.trim().to_ascii_lowercase();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!%*+`'~".contains(&b)) {
                return Err(FieldsError::Malformed);
            }
            let (text, after) = scan_value(after.trim_start())?;
            if text.len() > MAX_FIELD {
                return Err(FieldsError::TooLong);
            }
            if values.insert(name, text).is_some() {
                return Err(FieldsError::Malformed);
            }
            rest = match after.trim_start().strip_prefix(',') {
                Some(next) => next.trim_start_matches([',', ' ', '\t', '\r', '\n']),
                None if after.trim().is_empty() => "",
                None => return Err(FieldsError::Malformed),
            };
        }
        Ok(Self { values })
    }

    /// The value of `name` (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

fn scan_value(text: &str) -> Result<(String, &str), FieldsError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, quoted.get(at.saturating_add(1)..).unwrap_or(""))),
            '\\' => value.push(chars.next().ok_or(FieldsError::Malformed)?.1),
            c => value.push(c),
        }
    }
    Err(FieldsError::Malformed)
}

/// Writes `text` as a quoted-string; control characters cannot stand in one and are dropped.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}
