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
        let mut snippet = Snippet::source(source)
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

/// The one of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(word, k), strsim::jaro_winkler(word, k), k))
        .filter(|(distance, likeness, k)| (*distance <= 2 && *distance < k.len().max(1)) || *likeness >= 0.85)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, k)| k)
}
