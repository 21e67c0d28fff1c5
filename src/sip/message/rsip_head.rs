//! The bridge to `rsip`: a cleaned head goes in, its lines come out.
//!
//! `rsip` refuses unknown methods and most URIs that are not `sip:user@host`, folded lines and compact names (each has
//! its test in `tests/wire`). So the normaliser unfolds, expands and splits before, a stand-in takes the place of the
//! start line's method and URI, and what comes back is slices of the cleaned head.

use super::{HeaderName, Headers};
use rsip::message::request::Tokenizer;

/// What stands in for the start line, which our own grammar reads.
const START_LINE: &str = "OPTIONS sip:stand-in@host.invalid SIP/2.0\r\n";

/// A head in the one form `rsip` reads rightly: long names, one element and no fold on a line.
#[derive(Default)]
pub(super) struct CleanHead {
    names: Vec<HeaderName>,
    lines: String,
}

impl CleanHead {
    /// Appends a header line.
    pub(super) fn push(&mut self, name: HeaderName, value: &str) {
        if self.lines.is_empty() {
            self.lines.reserve(1_024);
            self.lines.push_str(START_LINE);
        }
        for part in [name.as_str(), ": ", value, "\r\n"] {
            self.lines.push_str(part);
        }
        self.names.push(name);
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether a header is there.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
    }

    /// The headers as `rsip` finds them; `None` when it finds other lines than were put in.
    pub(super) fn read(mut self) -> Option<Headers> {
        if self.names.is_empty() {
            return Some(Headers::new());
        }
        self.lines.push_str("\r\n");
        let (_, head) = Tokenizer::tokenize(self.lines.as_bytes()).ok()?;
        if head.headers.len() != self.names.len() {
            return None;
        }
        let lines = self.names.into_iter().zip(head.headers);
        lines.map(|(name, line)| Some((name, String::from_utf8(line.value.to_vec()).ok()?))).collect()
    }
}
