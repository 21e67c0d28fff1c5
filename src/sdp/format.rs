//! The RTP formats of an m-line: payload type, rtpmap and fmtp put together (RFC 8866 §6.6, §6.15; RFC 3551 §6).

use super::session::Media;
use std::fmt;

/// The name of the DTMF format (RFC 4733).
pub(super) const TELEPHONE_EVENT: &str = "telephone-event";

/// The payload types that RFC 3551 assigns to sound, as (number, name, clock rate, channels).
const STATIC: &[(u8, &str, u32, u8)] = &[
    (0, "pcmu", 8000, 1),
    (3, "gsm", 8000, 1),
    (4, "g723", 8000, 1),
    (5, "dvi4", 8000, 1),
    (6, "dvi4", 16_000, 1),
    (7, "lpc", 8000, 1),
    (8, "pcma", 8000, 1),
    (9, "g722", 8000, 1),
    (10, "l16", 44_100, 2),
    (11, "l16", 44_100, 1),
    (12, "qcelp", 8000, 1),
    (13, "cn", 8000, 1),
    (14, "mpa", 90_000, 1),
    (15, "g728", 8000, 1),
    (16, "dvi4", 11_025, 1),
    (17, "dvi4", 22_050, 1),
    (18, "g729", 8000, 1),
];

/// One RTP format of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Payload type, 0 to 127.
    pub pt: u8,
    /// Encoding name, lower case; empty if the description does not tell.
    pub name: String,
    /// RTP clock rate in Hz; 0 if the description does not tell.
    pub clock_rate: u32,
    /// Channels; 1 unless told otherwise.
    pub channels: u8,
    /// Its fmtp without the payload type; may be empty.
    pub fmtp: String,
}

impl Format {
    /// The formats of `media` in order. What is no payload type or comes twice is left out.
    pub fn of(media: &Media) -> Vec<Self> {
        let mut formats: Vec<Self> = Vec::new();
        for text in &media.formats {
            let Some(pt) = text.parse::<u8>().ok().filter(|pt| *pt < 128) else { continue };
            if formats.iter().any(|format| format.pt == pt) {
                continue;
            }
            let (name, clock_rate, channels) = media
                .attributes_named("rtpmap")
                .find_map(|value| rtpmap(value, pt))
                .or_else(|| STATIC.iter().find(|row| row.0 == pt).map(|row| (row.1.to_owned(), row.2, row.3)))
                .unwrap_or_else(|| (String::new(), 0, 1));
            let fmtp = media.attributes_named("fmtp").find_map(|value| parameters(value, pt)).unwrap_or_default();
            formats.push(Self { pt, name, clock_rate, channels, fmtp: fmtp.to_owned() });
        }
        formats
    }

    /// Whether both are the same codec, whatever their numbers and parameters.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name && self.clock_rate == other.clock_rate && self.channels == other.channels
    }

    /// Whether this is the DTMF format.
    pub(super) fn is_event(&self) -> bool {
        self.name == TELEPHONE_EVENT
    }

    /// The value of its rtpmap line.
    pub(super) fn rtpmap(&self) -> String {
        format!("{} {}", self.pt, self)
    }
}

impl fmt::Display for Format {
    /// As in rtpmap, with the names of G.711 and G.722 in the capitals of RFC 3551.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => return write!(f, "payload type {}", self.pt),
            name @ ("pcmu" | "pcma" | "g722") => write!(f, "{}", name.to_ascii_uppercase())?,
            name => f.write_str(name)?,
        }
        write!(f, "/{}", self.clock_rate)?;
        if self.channels > 1 { write!(f, "/{}", self.channels) } else { Ok(()) }
    }
}

/// Reads `96 opus/48000/2` if it is about `pt`; a line that cannot be read is as good as none.
fn rtpmap(value: &str, pt: u8) -> Option<(String, u32, u8)> {
    let mut parts = parameters(value, pt)?.split('/').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let clock_rate = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
    let channels = parts.next().map_or(Some(1), |channels| channels.parse().ok())?;
    Some((name, clock_rate, channels))
}

/// What follows the payload type in `value`, if that is `pt`.
fn parameters(value: &str, pt: u8) -> Option<&str> {
    let (number, rest) = value.trim().split_once(|c: char| c.is_ascii_whitespace())?;
    (number.parse() == Ok(pt)).then(|| rest.trim())
}
