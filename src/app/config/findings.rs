//! [`Finding`]: one thing wrong with a config, with its place and, where one is near, what was probably meant.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::ops::Range;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// Said, and then ignored.
    Warning,
}

/// One thing wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name, such as `config.unknown-key`.
    pub slug: &'static str,
    /// The file, option or variable that holds it.
    pub file: String,
    /// Bytes of the file; `None` for an option or variable, or the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub text: String,
    /// What stands below the marked bytes.
    pub label: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// A second place that explains the first.
    pub other: Option<(Range<usize>, String)>,
    /// Line, counted from 1; 0 without a span.
    pub line: usize,
    /// Column in characters, counted from 1; 0 without a span.
    pub col: usize,
}

/// A finding as `config check --json` prints it.
#[derive(Debug, Serialize)]
pub struct FindingJson<'a> {
    schema: u32,
    event: &'static str,
    severity: Severity,
    slug: &'a str,
    file: &'a str,
    line: usize,
    col: usize,
    len: usize,
    text: &'a str,
    suggestion: Option<&'a str>,
}

impl Finding {
    /// Tells line and column from the source.
    pub(crate) fn locate(&mut self, source: &str) {
        let Some(span) = &self.span else { return };
        let before = source.get(..span.start).unwrap_or(source);
        self.line = before.matches('\n').count() + 1;
        self.col = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    }

    /// The finding as one object.
    pub fn json(&self) -> FindingJson<'_> {
        FindingJson {
            schema: 1,
            event: "config.finding",
            severity: self.severity,
            slug: self.slug,
            file: &self.file,
            line: self.line,
            col: self.col,
            len: self.span.as_ref().map_or(0, ExactSizeIterator::len),
            text: &self.text,
            suggestion: self.suggestion.as_deref(),
        }
    }

    /// The finding as a person reads it. `source` is the text of its file.
    pub fn render(&self, source: &str, colour: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        // What stands in a file or variable is quoted in what we say of it.
        let (text, label) = (visible(&self.text), visible(&self.label));
        let title = level.primary_title(text.as_str()).id(self.slug);
        let Some(span) = self.span.clone() else {
            let mut text = renderer.render(&[Group::with_title(title)]);
            text += &format!("\n  --> {}", self.file);
            if !label.is_empty() {
                text += &format!(": {label}");
            }
            return text;
        };
        let mut snippet = Snippet::source(masked(source))
            .path(self.file.as_str())
            .annotation(AnnotationKind::Primary.span(span).label(label.as_str()));
        let other = self.other.as_ref().map(|(range, label)| (range.clone(), visible(label)));
        if let Some((range, label)) = &other {
            snippet = snippet.annotation(AnnotationKind::Context.span(range.clone()).label(label.as_str()));
        }
        renderer.render(&[title.element(snippet)])
    }
}

/// `text` with its control characters written out (threats A14).
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// `source` with every value that may be a password replaced by asterisks, byte for byte, so that places stay the same.
/// Keys are judged by their look: a misspelt `pasword` holds a password too.
fn masked(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        let secret = line.match_indices('=').find(|(at, _)| {
            let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            let before = line[..*at].trim_end_matches([' ', '\t', '"', '\'']);
            is_secret(before.rsplit(|c| !name(c)).next().unwrap_or_default())
        });
        let Some((at, _)) = secret else {
            out += line;
            continue;
        };
        let (shown, hidden) = line.split_at(at + 1);
        out += shown;
        out.extend(hidden.chars().flat_map(|c| {
            let kept = c.is_whitespace();
            std::iter::repeat_n(if kept { c } else { '*' }, if kept { 1 } else { c.len_utf8() })
        }));
    }
    out
}

/// Whether a key of this name holds a secret, and not the way to one.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let way = ["_command", "_env", "_file"].iter().any(|end| key.ends_with(end));
    let looks = ["pass", "pasw", "pwd", "secret", "token"].iter().any(|part| key.contains(part));
    !way && (looks || strsim::jaro_winkler(&key, "password") >= 0.8)
}

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), strsim::jaro_winkler(word, k), k))
        .filter(|(distance, likeness, k)| (*distance <= 2 && *distance < k.len().max(1)) || *likeness >= 0.85)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_whatever_their_key_is_called() {
        for line in [
            "password = \"canary\"",
            "pasword = \"canary\" # canary",
            "passwd=\"canary\"",
            "\"password\" = 'canary'",
            "account.work.password = \"canary",
            "[account]\nwork = { server = \"x\", password = \"canary\" }",
            "passwort = \"cänary-canary\"",
            "pssword = \"canary\"",
        ] {
            let shown = masked(line);
            assert!(!shown.contains("canary"), "{line}: {shown}");
            assert_eq!(shown.len(), line.len());
        }
    }

    #[test]
    fn what_is_no_password_is_shown() {
        for line in
            ["password_command = \"pass show sip/work\"", "pasword_command = \"x\"", "port = 5060", "user = \"a\"\n"]
        {
            assert_eq!(masked(line), line);
        }
    }
}
