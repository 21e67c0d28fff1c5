//! Reads a session description: a normaliser in front of the crate sdp-rs, which nothing else imports.
//!
//! sdp-rs wants its lines complete and in strict order, and silently stops at the first that is not; its typed layer
//! refuses host names and whole bodies for one bad attribute, prints rtpmap channels wrong and panics on large numbers
//! in `r=`. So the lines are sorted into their order here, missing ones are added, `t=`, `r=`, `z=` and the
//! descriptive lines never reach it, and only its tokenizers are used.

use super::error::SdpError;
use super::session::{Attribute, Connection, Host, Media, Origin, Sdp};
use sdp_rs::tokenizers::{connection, key_optvalue, media_description, origin, session_description};

#[cfg(test)]
mod tests;

/// The longest body that is read, in bytes.
const MAX_BYTES: usize = 65_536;
/// The most m= lines (threats A5).
const MAX_MEDIA: usize = 32;
/// The most formats of one m= line (threats A5).
const MAX_FORMATS: usize = 64;

/// The lines of one section (the session, or one m= line), sorted by their letter.
#[derive(Default)]
struct Section<'a> {
    head: Vec<String>,
    origin: Option<&'a str>,
    name: Option<&'a str>,
    info: Option<&'a str>,
    about: Vec<String>,
    connections: Vec<String>,
    bandwidths: Vec<&'a str>,
    timing: Vec<String>,
    attributes: Vec<&'a str>,
}

impl Sdp {
    /// Reads a session description, forgiving what can be understood all the same: any line ends, a missing last one,
    /// lines out of order, missing s= and t= lines, lines with unknown letters (dropped), k= lines (dropped).
    ///
    /// # Errors
    /// [`SdpError`] for a body without v= or o= line, with an unreadable o=, c= or m= line, or beyond the limits
    /// (64 KiB, 32 m-lines, 64 formats each).
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        if body.len() > MAX_BYTES {
            return Err(SdpError::TooLong { bytes: body.len(), most: MAX_BYTES });
        }
        let mut text = String::from_utf8_lossy(body);
        if text.contains(is_stray) {
            text = text.replace(is_stray, " ").into();
        }
        let sections = sort(&text)?;
        let (normal, media) = normalise(&sections)?;
        let (rest, tokens) =
            session_description::Tokenizer::tokenize(&normal).map_err(|_| malformed(normal.as_str()))?;
        if !rest.is_empty() || tokens.media_descriptions.len() != media.len() {
            return Err(malformed(rest));
        }
        let [session, ..] = sections.as_slice() else { return Err(SdpError::Missing { letter: 'v' }) };
        Ok(Self {
            origin: read_origin(&tokens.origin),
            name: session.name.filter(|name| !name.is_empty()).unwrap_or("-").to_owned(),
            about: session.info.iter().map(|info| format!("i={info}")).chain(session.about.iter().cloned()).collect(),
            connection: tokens.connection.as_ref().map(read_connection).transpose()?,
            bandwidths: session.bandwidths.iter().map(|&line| line.to_owned()).collect(),
            timing: if session.timing.is_empty() { vec!["t=0 0".into()] } else { session.timing.clone() },
            attributes: tokens.attributes.iter().filter_map(read_attribute).collect(),
            media: tokens
                .media_descriptions
                .iter()
                .zip(media)
                .map(|(tokens, section)| read_media(tokens, section))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Control characters have no business here but to end lines; in a message to the user they would do harm.
fn is_stray(c: char) -> bool {
    c.is_control() && c != '\r' && c != '\n'
}

/// Splits the body into its sections, the session first.
fn sort(text: &str) -> Result<Vec<Section<'_>>, SdpError> {
    let mut sections = vec![Section::default()];
    let mut media = 0;
    for line in text.split(['\r', '\n']) {
        let line = line.trim_ascii_end();
        let mut letters = line.chars();
        let (Some(letter), Some('=')) = (letters.next(), letters.next()) else { continue };
        let value = letters.as_str();
        if letter == 'm' {
            media += 1;
            if media <= MAX_MEDIA {
                sections.push(Section { head: vec![squeeze(value)], ..Section::default() });
            }
        }
        let Some(section) = sections.last_mut() else { continue };
        match letter {
            'v' => section.head.push(squeeze(value)),
            'o' => section.origin = section.origin.or(Some(value)),
            's' => section.name = section.name.or(Some(value)),
            'i' => section.info = section.info.or(Some(value)),
            'u' | 'e' | 'p' => section.about.push(line.to_owned()),
            'c' => section.connections.push(squeeze(value)),
            'b' => section.bandwidths.push(value),
            't' | 'r' | 'z' => section.timing.push(line.to_owned()),
            'a' => section.attributes.push(value),
            _ => {} // m= was taken above; k= is obsolete (RFC 8866 §5.12) and no key should be passed on
        }
    }
    if media > MAX_MEDIA {
        return Err(SdpError::TooMany { what: "media lines", count: media, most: MAX_MEDIA });
    }
    Ok(sections)
}

/// Writes what sdp-rs is to read, in its order, and returns the media sections beside it.
fn normalise<'a>(sections: &'a [Section<'a>]) -> Result<(String, &'a [Section<'a>]), SdpError> {
    let [session, media @ ..] = sections else { return Err(SdpError::Missing { letter: 'v' }) };
    if session.head.is_empty() {
        return Err(SdpError::Missing { letter: 'v' });
    }
    let origin = session.origin.ok_or(SdpError::Missing { letter: 'o' })?;
    let mut text = format!("v=0\r\no={}\r\ns=-\r\n", words(origin, 6, 'o')?);
    if let Some(connection) = session.connections.first() {
        text.push_str(&format!("c={}\r\n", words(connection, 3, 'c')?));
    }
    text.push_str("t=0 0\r\n");
    for attribute in &session.attributes {
        text.push_str(&format!("a={attribute}\r\n"));
    }
    for section in media {
        for head in &section.head {
            // Some peers refuse a stream with a line that ends at the protocol.
            let ends_early = head.split(' ').count() == 3 && head.split(' ').nth(1) == Some("0");
            let head = if ends_early { format!("{head} 0") } else { head.clone() };
            let formats = head.split(' ').count().saturating_sub(3);
            if formats > MAX_FORMATS {
                return Err(SdpError::TooMany { what: "formats", count: formats, most: MAX_FORMATS });
            }
            if formats == 0 {
                return Err(SdpError::Malformed { letter: 'm', line: cut(&head) });
            }
            text.push_str(&format!("m={head}\r\n"));
        }
        for connection in &section.connections {
            text.push_str(&format!("c={}\r\n", words(connection, 3, 'c')?));
        }
        for attribute in &section.attributes {
            text.push_str(&format!("a={attribute}\r\n"));
        }
    }
    Ok((text, media))
}

/// One space between words, none at the ends.
fn squeeze(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first `count` words of a line that must have so many.
fn words(value: &str, count: usize, letter: char) -> Result<String, SdpError> {
    let words: Vec<_> = value.split_ascii_whitespace().take(count).collect();
    if words.len() < count {
        return Err(SdpError::Malformed { letter, line: cut(value) });
    }
    Ok(words.join(" "))
}

fn cut(line: &str) -> String {
    line.chars().take(120).collect()
}

fn malformed(text: &str) -> SdpError {
    let line = text.lines().next().unwrap_or_default();
    SdpError::Malformed { letter: line.chars().next().unwrap_or('v'), line: cut(line.get(2..).unwrap_or_default()) }
}

fn read_host(family: &str, host: &str) -> Host {
    host.parse().map_or_else(|_| Host::Name { family: family.to_owned(), name: host.to_owned() }, Host::Ip)
}

fn read_origin(tokens: &origin::Tokenizer<'_>) -> Origin {
    Origin {
        username: tokens.username.to_owned(),
        session_id: tokens.sess_id.to_owned(),
        version: tokens.sess_version.to_owned(),
        host: read_host(tokens.addrtype, tokens.unicast_address),
    }
}

fn read_connection(tokens: &connection::Tokenizer<'_>) -> Result<Connection, SdpError> {
    let address = &tokens.connection_address;
    if address.base.is_empty() {
        return Err(SdpError::Malformed { letter: 'c', line: String::new() });
    }
    let suffix = match (address.ttl, address.numaddr) {
        (Some(ttl), Some(count)) => Some(format!("{ttl}/{count}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    };
    Ok(Connection { host: read_host(tokens.addrtype, address.base), suffix })
}

fn read_attribute(tokens: &key_optvalue::Tokenizer<'_, 'a'>) -> Option<Attribute> {
    let name = tokens.key.trim_ascii();
    (!name.is_empty())
        .then(|| Attribute { name: name.to_owned(), value: tokens.value.map(|value| value.trim_ascii().to_owned()) })
}

fn read_media(tokens: &media_description::Tokenizer<'_>, section: &Section<'_>) -> Result<Media, SdpError> {
    let head = &tokens.media;
    let bad = || SdpError::Malformed { letter: 'm', line: cut(section.head.first().map_or("", String::as_str)) };
    Ok(Media {
        kind: head.media.to_owned(),
        port: head.port.port.parse().map_err(|_| bad())?,
        port_count: head.port.num_of_ports.map(str::parse).transpose().map_err(|_| bad())?,
        protocol: head.proto.to_owned(),
        formats: head.fmt.split(' ').map(str::to_owned).collect(),
        info: section.info.map(str::to_owned),
        connections: tokens.connections.iter().map(read_connection).collect::<Result<_, _>>()?,
        bandwidths: section.bandwidths.iter().map(|&line| line.to_owned()).collect(),
        attributes: tokens.attributes.iter().filter_map(read_attribute).collect(),
    })
}
