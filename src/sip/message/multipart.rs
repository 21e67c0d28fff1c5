//! Bodies of several parts (RFC 2046 §5.1, RFC 5621).

use super::{HeaderName, Headers};

/// Parts that are looked at, and how deep they may be nested.
const MAX_PARTS: usize = 16;
const MAX_DEPTH: usize = 3;

/// One part that is no multipart itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its Content-Type without parameters; that of plain text when it names none.
    pub kind: String,
    /// `handling=optional` stands in its Content-Disposition: who does not know it may leave it out (RFC 5621 §6).
    pub optional: bool,
    /// It is one of several ways to say the same.
    pub alternative: bool,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// The parts of a body whose type is `multipart/…`; `None` if it is no such body, or cannot be taken apart.
pub fn parts(headers: &Headers, body: &[u8]) -> Option<Vec<Part>> {
    let text = headers.get(&HeaderName::CONTENT_TYPE)?;
    let mut found = Vec::new();
    take_apart(text, body, false, 0, &mut found)?;
    Some(found)
}

fn take_apart(kind: &str, body: &[u8], alternative: bool, depth: usize, found: &mut Vec<Part>) -> Option<()> {
    let (essence, params) = kind.split_once(';').unwrap_or((kind, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("multipart/")?;
    let alternative = alternative || subtype == "alternative";
    let marker = format!("--{}", boundary(params)?);
    if depth >= MAX_DEPTH {
        return None;
    }
    for piece in pieces(body, marker.as_bytes())? {
        let (head, content) = split_head(piece);
        let value =
            |name: &str| head.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let kind = value("content-type").unwrap_or("text/plain");
        if kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
            take_apart(kind, content, alternative, depth + 1, found)?;
            continue;
        }
        if found.len() >= MAX_PARTS {
            return None;
        }
        let optional = value("content-disposition")
            .is_some_and(|text| text.to_ascii_lowercase().replace(' ', "").contains("handling=optional"));
        let kind = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
        found.push(Part { kind, optional, alternative, body: content.to_vec() });
    }
    Some(())
}

/// The `boundary` parameter, quoted or not.
fn boundary(params: &str) -> Option<&str> {
    let at = params.to_ascii_lowercase().find("boundary=")? + "boundary=".len();
    let rest = params.get(at..)?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split([';', ' ', '\t']).next()?,
    };
    (1..=70).contains(&value.len()).then_some(value)
}

/// What stands between the markers; `None` without a closing one.
fn pieces<'a>(body: &'a [u8], marker: &[u8]) -> Option<Vec<&'a [u8]>> {
    let mut all = Vec::new();
    let mut begin: Option<usize> = None;
    let mut at = 0;
    while at <= body.len() {
        let line_end = body[at..].iter().position(|byte| *byte == b'\n').map_or(body.len(), |n| at + n);
        let line = &body[at..line_end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(rest) = line.strip_prefix(marker) {
            let closing = rest.starts_with(b"--");
            if closing || rest.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                if let Some(begin) = begin {
                    // The line end before a marker belongs to the marker.
                    let piece = body.get(begin..at).unwrap_or_default();
                    let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
                    all.push(piece.strip_suffix(b"\r").unwrap_or(piece));
                }
                if closing {
                    return Some(all);
                }
                begin = Some((line_end + 1).min(body.len()));
                if all.len() > MAX_PARTS {
                    return None;
                }
            }
        }
        at = line_end + 1;
    }
    None
}

/// The header lines of a part, and what follows the empty line.
fn split_head(piece: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let mut head = Vec::new();
    let mut rest = piece;
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return (head, if rest.is_empty() || rest == b"\r" { &[] } else { rest });
        };
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        if line.is_empty() {
            return (head, after);
        }
        match line.split_once(':') {
            Some((name, value)) if head.len() < 32 => head.push((name.trim().to_owned(), value.trim().to_owned())),
            Some(_) => {}
            // No header: the part has none, and begins at once.
            None => return (head, rest),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, body: &str) -> Option<Vec<Part>> {
        let mut headers = Headers::new();
        headers.set(HeaderName::CONTENT_TYPE, kind);
        parts(&headers, body.as_bytes())
    }

    fn part(kind: &str, optional: bool, alternative: bool, body: &str) -> Part {
        Part { kind: kind.into(), optional, alternative, body: body.into() }
    }

    #[test]
    fn parts_are_taken_apart_with_their_types_and_what_may_be_left_out() {
        let body = "preamble\r\n--a b\r\nContent-Type: application/sdp; x=1\r\n\r\nv=0\r\ns=-\r\n\r\n--a b\r\n\
                    Content-Type: application/ISUP;version=x\r\nContent-Disposition: signal; handling = optional\r\n\r\n\
                    \u{1}\r\n--a b  \r\n\r\nplain\r\n--a b--\r\nepilogue";
        let all = read("Multipart/Mixed; charset=x; boundary=\"a b\"", body).unwrap();
        assert_eq!(
            all,
            [
                part("application/sdp", false, false, "v=0\r\ns=-\r\n"),
                part("application/isup", true, false, "\u{1}"),
                part("text/plain", false, false, "plain"),
            ]
        );
    }

    #[test]
    fn what_is_nested_is_found_and_bare_line_feeds_do() {
        let body = "--o\nContent-Type: multipart/alternative; boundary=i\n\n--i\nContent-Type: text/html\n\n<p>\n\
                    --i\nContent-Type: application/sdp\n\nv=0\n--i--\n--o--";
        let all = read("multipart/mixed;boundary=o", body).unwrap();
        assert_eq!(all, [part("text/html", false, true, "<p>"), part("application/sdp", false, true, "v=0")]);
    }

    #[test]
    fn what_is_no_multipart_or_too_much_of_one_is_none() {
        assert_eq!(read("application/sdp", "v=0"), None);
        assert_eq!(read("multipart/mixed", "--a\r\n\r\nx\r\n--a--"), None);
        assert_eq!(read("multipart/mixed;boundary=a", "--a\r\n\r\nnever closed"), None);
        assert_eq!(read("multipart/mixed;boundary=a", ""), None);
        assert_eq!(read("multipart/mixed;boundary=\"\"", "--\r\n\r\n----"), None);
        let many = "--a\r\n\r\nx\r\n".repeat(40) + "--a--";
        assert_eq!(read("multipart/mixed;boundary=a", &many), None);
        let kind = "multipart/mixed;boundary=a";
        let deep = format!("--a\r\nContent-Type: {kind}\r\n\r\n").repeat(9);
        assert_eq!(read(kind, &deep), None);
    }
}
