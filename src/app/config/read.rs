//! Reading TOML by asking for keys: what is asked for is what is known, so that no list of keys can fall behind.
//!
//! A `Reader` looks a key up in the overrides (options, `BELLWIRE_*`) and then in each file, best first. Whatever a file holds
//! that nobody asked for is a finding; reading never stops at the first one.

use super::findings::{Finding, Severity, nearest};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One file.
#[derive(Debug)]
pub(crate) struct Layer<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    pub(crate) root: Spanned<DeTable<'a>>,
}

/// A value from an option or a variable, by dotted key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<String, (String, String)>);

impl Overrides {
    /// Sets `key` to `value`, a TOML value or plain text, because `origin` says so.
    pub fn set(&mut self, key: &str, value: impl Into<String>, origin: &str) {
        self.0.insert(key.to_owned(), (value.into(), origin.to_owned()));
    }

    /// Adds `more`, which wins over what is there.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// True when nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, key: &str) -> Option<(&str, &str)> {
        self.0.get(key).map(|(value, origin)| (value.as_str(), origin.as_str()))
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the layer; `None` for an override.
    layer: Option<usize>,
    span: Range<usize>,
    origin: String,
}

impl Place {
    /// Which file.
    pub(crate) fn layer(&self) -> Option<usize> {
        self.layer
    }

    /// `file:line`, an option or a variable.
    pub(crate) fn origin(&self) -> String {
        self.origin.clone()
    }
}

/// A key that was asked for, its value as TOML, and which source won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// Its value as TOML; `None` if it has none.
    pub value: Option<String>,
    /// `default`, `file:line`, an option or a variable.
    pub origin: String,
}

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) slug: &'static str,
    pub(crate) label: String,
    pub(crate) suggestion: Option<String>,
}

impl Bad {
    pub(crate) fn value(label: impl Into<String>) -> Self {
        Self { slug: "config.value", label: label.into(), suggestion: None }
    }

    pub(crate) fn kind(wanted: &str, got: &DeValue<'_>) -> Self {
        Self { slug: "config.type", label: format!("expected {wanted}, found {}", kind(got)), suggestion: None }
    }

    pub(crate) fn not_built(label: impl Into<String>) -> Self {
        Self { slug: "config.not-built", label: label.into(), suggestion: None }
    }
}

pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What was found and what was asked for.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    layers: &'a [Layer<'a>],
    overrides: &'a Overrides,
    /// Whether settings are kept for `config show`.
    noting: bool,
    pub(crate) findings: Vec<Finding>,
    pub(crate) settings: Vec<Setting>,
    /// Table path (with `*` for a free name) and key, of every key ever asked for.
    pub(crate) known: Vec<(String, &'static str)>,
    /// What is in `known` already: tables with free names ask for the same keys each.
    noted: BTreeSet<(String, &'static str)>,
    /// Where the lines of each layer begin.
    lines: Vec<Vec<usize>>,
    /// Keys that nobody asked for, judged at the end when all known keys are known.
    unknown: Vec<(usize, Range<usize>, String, String, String)>,
}

/// One table in all files.
#[derive(Debug, Clone)]
pub(crate) struct Table<'a> {
    /// As in the file, `account.work`.
    pub(crate) path: String,
    /// As in [`Reader::known`], `account.*`.
    shape: String,
    views: Vec<(usize, &'a DeTable<'a>)>,
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(layers: &'a [Layer<'a>], overrides: &'a Overrides, noting: bool) -> Self {
        let begins = |layer: &Layer<'_>| layer.text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self {
            layers,
            overrides,
            noting,
            findings: Vec::new(),
            settings: Vec::new(),
            known: Vec::new(),
            noted: BTreeSet::new(),
            lines: layers.iter().map(begins).collect(),
            unknown: Vec::new(),
        }
    }

    fn note_known(&mut self, shape: &str, key: &'static str) {
        let entry = (shape.to_owned(), key);
        if self.noted.insert(entry.clone()) {
            self.known.push(entry);
        }
    }

    pub(crate) fn root(&self) -> Table<'a> {
        let views = self.layers.iter().enumerate().map(|(i, l)| (i, l.root.get_ref())).collect();
        Table { path: String::new(), shape: String::new(), views, asked: Vec::new() }
    }

    /// The table `name` inside `table`, empty if there is none.
    pub(crate) fn table(&mut self, table: &mut Table<'a>, name: &'static str) -> Table<'a> {
        table.asked.push(name);
        self.note_known(&table.shape, name);
        let shape = join(&table.shape, name);
        self.inner(table, name, shape)
    }

    /// The tables with free names inside `table`, in the order of the files.
    pub(crate) fn named(&mut self, table: &Table<'a>) -> Vec<(String, Table<'a>)> {
        let mut names: Vec<(usize, usize, String)> = Vec::new();
        for (layer, view) in &table.views {
            for (key, _) in *view {
                let name: &str = key.get_ref();
                if !names.iter().any(|(_, _, n)| n == name) {
                    names.push((*layer, key.span().start, name.to_owned()));
                }
            }
        }
        names.sort();
        names
            .into_iter()
            .map(|(_, _, name)| {
                let shape = join(&table.shape, "*");
                let inner = self.inner(table, &name, shape);
                (name, inner)
            })
            .collect()
    }

    fn inner(&mut self, table: &Table<'a>, name: &str, shape: String) -> Table<'a> {
        let mut views = Vec::new();
        for (layer, view) in &table.views {
            let Some((_, value)) = view.iter().find(|(k, _)| *k.get_ref() == name) else { continue };
            match value.get_ref() {
                DeValue::Table(inner) => views.push((*layer, inner)),
                other @ (DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)) => {
                    let bad = Bad::kind("a table", other);
                    let place = self.place(*layer, value.span());
                    self.refuse(&join(&table.path, name), &place, bad);
                }
            }
        }
        Table { path: join(&table.path, name), shape, views, asked: Vec::new() }
    }

    fn place(&self, layer: usize, span: Range<usize>) -> Place {
        let l = &self.layers[layer];
        let line = self.lines[layer].partition_point(|begin| *begin <= span.start) + 1;
        Place { layer: Some(layer), span, origin: format!("{}:{line}", l.file) }
    }

    /// Asks for `key`; `read` makes a value of it. `None`: not set, or refused (and told).
    pub(crate) fn get<T>(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Bad>,
    ) -> Option<(T, Place)> {
        let full = join(&table.path, key);
        if !table.asked.contains(&key) {
            table.asked.push(key);
            self.note_known(&table.shape, key);
        }
        if let Some((text, origin)) = self.overrides.get(&full) {
            let place = Place { layer: None, span: 0..0, origin: origin.to_owned() };
            let value = DeValue::parse(text)
                .map_or_else(|_| DeValue::String(std::borrow::Cow::Borrowed(text)), Spanned::into_inner);
            // `--record 1234` and `--output 5` are text although they look like numbers.
            let result = read(&value).or_else(|bad| {
                if bad.slug == "config.type" { read(&DeValue::String(text.into())).map_err(|_| bad) } else { Err(bad) }
            });
            return match result {
                Ok(value) => Some((value, place)),
                Err(bad) => {
                    self.refuse(&full, &place, bad);
                    None
                }
            };
        }
        // All files are read so that all findings are told; the first one counts.
        let mut won = None;
        for (layer, view) in table.views.clone() {
            let Some((_, value)) = view.iter().find(|(k, _)| *k.get_ref() == key) else { continue };
            let place = self.place(layer, value.span());
            match read(value.get_ref()) {
                Ok(value) => won = won.or(Some((value, place))),
                Err(bad) => self.refuse(&full, &place, bad),
            }
        }
        won
    }

    /// Asks for `key` and notes its value, for `config show`.
    pub(crate) fn value<T>(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        default: T,
        read: impl Fn(&DeValue<'_>) -> Result<T, Bad>,
        show: impl Fn(&T) -> Option<String>,
    ) -> T {
        let found = self.get(table, key, read);
        let (value, origin) =
            found.map_or_else(|| (default, "default".to_owned()), |(value, place)| (value, place.origin));
        if self.noting {
            self.note(table, key, show(&value), origin);
        }
        value
    }

    /// Notes a value for `config show`.
    pub(crate) fn note(&mut self, table: &Table<'a>, key: &str, value: Option<String>, origin: String) {
        if self.noting {
            self.settings.push(Setting { key: join(&table.path, key), value, origin });
        }
    }

    /// Refuses `key`, whatever its value: what it would do is not built.
    pub(crate) fn not_built(&mut self, table: &mut Table<'a>, key: &'static str, instead: &str) {
        table.asked.push(key);
        let full = join(&table.path, key);
        for (layer, view) in table.views.clone() {
            if let Some((k, _)) = view.iter().find(|(k, _)| *k.get_ref() == key) {
                let place = self.place(layer, k.span());
                self.refuse(&full, &place, Bad::not_built(format!("this version cannot do that yet{instead}")));
            }
        }
    }

    /// Tells that `key` holds something that cannot be.
    pub(crate) fn refuse(&mut self, key: &str, place: &Place, bad: Bad) {
        let text = match bad.slug {
            "config.type" => format!("`{key}` has the wrong type"),
            "config.not-built" => format!("`{key}` is not built yet"),
            _ => format!("`{key}` cannot have this value"),
        };
        self.tell(Severity::Error, bad.slug, place, text, bad.label, bad.suggestion, None);
    }

    /// Adds a finding at `place`.
    #[expect(clippy::too_many_arguments, reason = "the parts of a finding")]
    pub(crate) fn tell(
        &mut self,
        severity: Severity,
        slug: &'static str,
        place: &Place,
        text: String,
        label: String,
        suggestion: Option<String>,
        other: Option<(&Place, String)>,
    ) {
        let other = other.filter(|(p, _)| p.layer == place.layer).map(|(p, label)| (p.span.clone(), label));
        let (file, span) = match place.layer {
            Some(layer) => (self.layers[layer].file.to_owned(), Some(place.span.clone())),
            None => (place.origin.clone(), None),
        };
        let mut finding = Finding { severity, slug, file, span, text, label, suggestion, other, line: 0, col: 0 };
        if let Some(layer) = place.layer {
            finding.locate(self.layers[layer].text);
        }
        self.findings.push(finding);
    }

    /// The place of a table's header, for findings about what it lacks.
    pub(crate) fn place_of(&self, parent: &Table<'a>, name: &str) -> Place {
        for (layer, view) in &parent.views {
            if let Some((k, _)) = view.iter().find(|(k, _)| *k.get_ref() == name) {
                return self.place(*layer, k.span());
            }
        }
        Place { layer: None, span: 0..0, origin: join(&parent.path, name) }
    }

    /// Notes every key of `table` that nobody asked for.
    pub(crate) fn finish(&mut self, table: Table<'a>) {
        for (layer, view) in &table.views {
            for (key, _) in *view {
                let name: &str = key.get_ref();
                if !table.asked.contains(&name) {
                    let at = (*layer, key.span(), table.path.clone(), table.shape.clone(), name.to_owned());
                    self.unknown.push(at);
                }
            }
        }
    }

    /// Turns the keys that nobody asked for into findings.
    pub(crate) fn judge_unknown(&mut self) {
        self.judge_overrides();
        for (layer, span, path, shape, name) in std::mem::take(&mut self.unknown) {
            let place = self.place(layer, span);
            let table = if path.is_empty() { "the top level".to_owned() } else { format!("[{path}]") };
            let own = self.known.iter().filter(|(s, _)| *s == shape).map(|(_, k)| *k);
            let near = nearest(&name, own).map(str::to_owned);
            if near.is_none() {
                let elsewhere = self.known.iter().find(|(s, k)| *s != shape && *k == name && !s.is_empty());
                if let Some((s, k)) = elsewhere.cloned() {
                    let text = format!("`{k}` belongs in [{s}]");
                    let label = format!("move it below [{s}]");
                    self.tell(Severity::Error, "config.wrong-table", &place, text, label, Some(join(&s, k)), None);
                    continue;
                }
            }
            let label = near.as_ref().map_or_else(|| "unknown".to_owned(), |n| format!("did you mean `{n}`?"));
            let text = format!("`{name}` is no key of {table}");
            self.tell(Severity::Error, "config.unknown-key", &place, text, label, near, None);
        }
    }
}

impl Reader<'_> {
    /// Overrides that set no key there is. Those of variables are made for known keys only.
    fn judge_overrides(&mut self) {
        if self.overrides.is_empty() {
            return;
        }
        let known: Vec<String> = self
            .known
            .iter()
            .map(|(shape, key)| join(shape, key))
            .chain(self.settings.iter().map(|s| s.key.clone()))
            .collect();
        for (key, (_, origin)) in &self.overrides.0 {
            if known.iter().any(|k| k == key) {
                continue;
            }
            let place = Place { layer: None, span: 0..0, origin: origin.clone() };
            let near = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
            let label = near
                .as_ref()
                .map_or_else(|| "see `bellwire config show`".to_owned(), |n| format!("did you mean `{n}`?"));
            let text = format!("there is no key `{key}`");
            self.tell(Severity::Error, "config.unknown-key", &place, text, label, near, None);
        }
    }
}

/// A dotted key.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
