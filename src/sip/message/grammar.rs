//! The lexical pieces the header grammars share (RFC 3261 §25.1): tokens, quoted strings, lists, escapes.

/// Whether a byte may stand in a `token`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Whether the text is a non-empty `token`.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Trims spaces and tabs, the only white space left after unfolding.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Splits at `separator` outside quoted strings and angle brackets; elements are trimmed, empty ones left out.
pub(super) fn split_list(text: &str, separator: u8) -> Split<'_> {
    Split { rest: Some(text), separator }
}

/// The iterator of [`split_list`].
pub(super) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let rest = self.rest?;
            let (element, tail) = match find_outside(rest, |byte| byte == self.separator) {
                Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
                None => (rest, None),
            };
            self.rest = tail;
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    }
}

/// The first position, outside quoted strings and angle brackets, of an ASCII byte that `wanted` accepts.
///
/// An opening quote counts only where a quoted string may begin, so that the apostrophes and stray quotes inside a
/// bracketed URI do not hide what follows.
pub(super) fn find_outside(text: &str, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut bracketed = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            match byte {
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if bracketed {
            bracketed = byte != b'>';
        } else if wanted(byte) {
            return Some(at);
        } else if byte == b'"' {
            quoted = true;
        } else if byte == b'<' {
            bracketed = true;
        }
    }
    None
}

/// Reads a quoted string at the very start of `text`: the content without escapes, and what follows the closing quote.
pub(super) fn quoted_string(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut content = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((content, inner.get(at + 1..)?)),
            '\\' => content.push(chars.next()?.1),
            other => content.push(other),
        }
    }
    None
}

/// Writes text as a quoted string.
pub(super) fn write_quoted(out: &mut impl std::fmt::Write, text: &str) -> std::fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        if c == '"' || c == '\\' || c.is_ascii_control() {
            out.write_char('\\')?;
        }
        // A line end cannot stand in a header, not even behind a backslash.
        out.write_char(if c == '\r' || c == '\n' { ' ' } else { c })?;
    }
    out.write_char('"')
}

/// Reads a decimal number of digits only.
pub(super) fn decimal(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

/// Undoes `%XX` escapes; what is no escape stays, bytes that are not UTF-8 become the replacement character.
pub(super) fn unescape(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    String::from_utf8_lossy(&unescape_bytes(text)).into_owned()
}

/// Undoes `%XX` escapes into bytes.
pub(super) fn unescape_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    bytes
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Writes text, escaping as `%XX` every byte that `allowed` refuses.
pub(super) fn escape(text: &str, allowed: impl Fn(u8) -> bool) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() && allowed(byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String does not fail");
        }
    }
    out
}
