//! Configuration files.

use crate::app::config::{Loaded, Overrides, Severity, Source};
use std::path::PathBuf;

/// A configuration file: any text gives a config or findings, each with a place that is in the file and a text without
/// control characters; what is accepted once is accepted again with the same meaning, alone and above another file.
pub fn config(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let source =
        || Source { file: "a.toml".into(), text: text.clone(), dir: PathBuf::from("/nowhere"), exposed: false };
    let loaded = Loaded::read(vec![source()], &Overrides::default());
    let errors = loaded.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    assert_eq!(loaded.config.is_none(), errors > 0, "a config with one error starts nothing");
    for finding in &loaded.findings {
        if let Some(span) = &finding.span {
            assert!(span.end <= text.len() && span.start <= span.end, "{span:?} lies in the file");
            let lines = text.matches('\n').count() + 1;
            assert!((1..=lines).contains(&finding.line) && finding.col >= 1, "{}:{}", finding.line, finding.col);
        }
        assert!(!finding.text.is_empty() && !finding.slug.is_empty(), "{finding:?} says something");
        serde_json::to_string(&finding.json()).expect("a finding can be told as JSON");
    }
    if !super::one_in(4, input) {
        return;
    }
    let rendered = loaded.render(false);
    assert_eq!(rendered.is_empty(), loaded.findings.is_empty(), "every finding is told");
    assert!(
        !rendered.chars().any(|c| c.is_control() && c != '\n' && c != '\t'),
        "no control character reaches the terminal: {rendered:?}"
    );
    if let Some(config) = &loaded.config {
        let again = Loaded::read(vec![source()], &Overrides::default());
        assert_eq!(again.config.as_ref(), Some(config), "the same file means the same");
        let below = Source { file: "b.toml".into(), text: "[call]\nmax = 3\n".into(), ..source() };
        assert!(Loaded::read(vec![source(), below], &Overrides::default()).config.is_some(), "a good file stays good");
    }
}
