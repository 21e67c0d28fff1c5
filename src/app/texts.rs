//! From slug and facts to what a person reads: what failed, the one fact behind it, and what to try; and the exit code.

mod table;
#[cfg(test)]
mod tests;

use super::escape::clean;
use super::exit::Exit;
use crate::api::Failure;
use std::collections::BTreeMap;
pub use table::TEXTS;

/// Everything there is to say about one slug. `{name|otherwise}` stands for a fact or for words where there is none.
#[derive(Debug)]
pub struct Text {
    /// Stable name.
    pub slug: &'static str,
    /// The exit code when this ends the program.
    pub exit: Exit,
    /// How it is shown.
    pub kind: Kind,
    /// What failed.
    pub what: &'static str,
    /// The one fact; may be empty for a [`Kind::Result`].
    pub cause: &'static str,
    /// What to try.
    pub tries: &'static [Try],
    /// The long page of `bellwire explain`.
    pub page: &'static str,
}

/// How a text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ends what was asked for.
    Error,
    /// The call goes on.
    Warning,
    /// An answer like any other (busy, declined): one line.
    Result,
}

/// Something to try.
#[derive(Debug)]
pub enum Try {
    /// A command to paste, and a remark.
    Command(&'static str, &'static str),
    /// A line of the config, the table it belongs in, and a remark.
    Key(&'static str, &'static str, &'static str),
    /// Words.
    Words(&'static str),
}

/// Facts by name, cleaned for showing.
pub type Facts = BTreeMap<String, String>;

/// The text of a slug; `None` if there is none.
pub fn text(slug: &str) -> Option<&'static Text> {
    TEXTS.iter().find(|t| t.slug == slug)
}

/// The text for a failure: that of its slug, else that of its status.
pub fn of(failure: &Failure) -> &'static Text {
    text(&failure.slug)
        .or_else(|| text(of_status(failure.code?)))
        .unwrap_or_else(|| text("call.failed").expect("the table has the text for everything else"))
}

/// The slug that a SIP status stands for when nothing more is known.
pub fn of_status(code: u16) -> &'static str {
    match Exit::for_status(code) {
        Exit::LoginRefused => "auth.forbidden",
        Exit::NotReached => "net.unavailable",
        Exit::NotAnswered => "call.no-answer",
        Exit::Busy => "call.busy",
        Exit::Declined => "call.declined",
        Exit::NoSuchNumber => "call.not-found",
        Exit::NoCommonMedia => "media.no-common-codec",
        Exit::Encryption
        | Exit::OtherSip
        | Exit::Done
        | Exit::Bug
        | Exit::Usage
        | Exit::Config
        | Exit::Device
        | Exit::Port
        | Exit::Media
        | Exit::Panic
        | Exit::Interrupted
        | Exit::Terminated => "call.failed",
    }
}

/// The exit code of a failure: its slug's, else that of its status.
pub fn exit(failure: &Failure) -> Exit {
    match (text(&failure.slug), failure.code) {
        (Some(text), _) if text.exit != Exit::OtherSip => text.exit,
        (_, Some(code)) => Exit::for_status(code),
        (Some(text), None) => text.exit,
        (None, None) => Exit::OtherSip,
    }
}

/// The facts of a failure, over those of `around`.
pub fn facts(failure: &Failure, around: &Facts) -> Facts {
    let mut facts = around.clone();
    facts.extend(failure.facts.iter().map(|(k, v)| (k.clone(), clean(v))));
    if let Some(code) = failure.code {
        facts.insert("code".into(), code.to_string());
        let reason = clean(failure.reason.as_deref().unwrap_or_default());
        facts.insert("said".into(), format!("{code} {reason}; "));
        facts.insert("status".into(), format!(" ({})", format!("{code} {reason}").trim_end()));
        facts.insert("reason".into(), reason);
    } else if let Some(answered) = facts.get("answered") {
        facts.insert("theirs".into(), format!(", they have only {answered}"));
    } else if let Some(seconds) = facts.get("seconds") {
        // Nobody else said so: our own patience ended.
        facts.insert("within".into(), format!(" within {seconds} s"));
    }
    facts
}

/// Fills `{name|otherwise}`.
pub fn fill(template: &str, facts: &Facts) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inner, after)) = after.split_once('}') else { break };
        out += before;
        let (name, otherwise) = inner.split_once('|').unwrap_or((inner, "?"));
        out += facts.get(name).map_or(otherwise, String::as_str);
        rest = after;
    }
    out + rest
}

/// What a person sees of one failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The slug.
    pub slug: String,
    /// How it is shown.
    pub kind: Kind,
    /// What failed.
    pub what: String,
    /// The one fact.
    pub cause: String,
    /// Lines to try.
    pub tries: Vec<String>,
    /// The exit code when this ends the program.
    pub exit: Exit,
}

/// Puts a failure into words.
pub fn show(failure: &Failure, around: &Facts) -> Shown {
    let text = of(failure);
    let facts = facts(failure, around);
    let tries = text.tries.iter().map(|t| match t {
        Try::Command(command, remark) => remarked(fill(command, &facts), remark),
        Try::Key("", line, remark) => remarked(fill(line, &facts), remark),
        Try::Key(table, line, remark) => {
            remarked(format!("{} in [{}]", fill(line, &facts), fill(table, &facts)), remark)
        }
        Try::Words(words) => fill(words, &facts),
    });
    Shown {
        slug: failure.slug.clone(),
        kind: text.kind,
        what: fill(text.what, &facts),
        cause: fill(text.cause, &facts),
        tries: tries.collect(),
        exit: exit(failure),
    }
}

fn remarked(line: String, remark: &str) -> String {
    if remark.is_empty() { line } else { format!("{line}    {remark}") }
}

impl Shown {
    /// As lines for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let (word, on) = match self.kind {
            Kind::Error => ("error", "\x1b[1;31m"),
            Kind::Warning => ("warning", "\x1b[1;33m"),
            Kind::Result => return format!("{}\n", self.what),
        };
        let (on, off) = if colour { (on, "\x1b[0m") } else { ("", "") };
        let mut out = format!("{on}{word}[{}]{off}: {}\n", self.slug, self.what);
        if !self.cause.is_empty() {
            out += &format!("  cause: {}\n", self.cause);
        }
        for (n, line) in self.tries.iter().enumerate() {
            out += &format!("  {} {line}\n", if n == 0 { "try:  " } else { "      " });
        }
        out
    }
}

/// The slug that `what` was probably meant to be.
pub fn nearest(what: &str) -> Option<&'static str> {
    super::config::findings::nearest(what, TEXTS.iter().map(|t| t.slug))
}

/// The long page for a slug or a SIP code; `None` if nothing is known of it.
pub fn explain(what: &str) -> Option<String> {
    if let Some(text) = text(what) {
        return Some(page(text));
    }
    let code: u16 = what.parse().ok().filter(|c| (100..=699).contains(c))?;
    let reason = crate::sip::message::StatusCode::new(code).map(|c| c.reason_phrase()).unwrap_or_default();
    let mut out = format!("SIP {code} {reason}\n\n");
    out += match code {
        100..=199 => "Provisional: the request is being worked on; a final answer follows.\n",
        200..=299 => "It worked.\n",
        300..=399 => "The one you called is to be reached somewhere else.\n",
        _ => "",
    };
    if code >= 400 {
        let exit = Exit::for_status(code);
        out += &format!("bellwire exits with {} ({}).\n\n", exit.code(), exit.meaning());
        if let Some(text) = text(of_status(code)) {
            out += &page(text);
        }
    }
    Some(out)
}

fn page(text: &Text) -> String {
    let none = Facts::new();
    let mut out = format!("{}\n\n{}\n", text.slug, text.page);
    for (n, t) in text.tries.iter().enumerate() {
        let line = match t {
            Try::Command(command, remark) => remarked(fill(command, &none), remark),
            Try::Key("", line, remark) => remarked(fill(line, &none), remark),
            Try::Key(table, line, remark) => {
                remarked(format!("{} in [{}]", fill(line, &none), fill(table, &none)), remark)
            }
            Try::Words(words) => fill(words, &none),
        };
        out += &format!("{}  {line}\n", if n == 0 { "\nTry:\n" } else { "" });
    }
    out + &format!("\nExit code {}: {}.\n", text.exit.code(), text.exit.meaning())
}
