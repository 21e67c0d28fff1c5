//! Tables and goals, printed as they come and kept in `tests/bench/RESULTS.md`.

use crate::figures::short;
use crate::process;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// What the benches have found.
pub(crate) struct Report {
    body: String,
    goals: Vec<String>,
    not_run: Vec<String>,
    /// Whether all of it ran before other work.
    raised: bool,
}

impl Report {
    pub(crate) fn new(raised: bool) -> Self {
        Self { body: String::new(), goals: Vec::new(), not_run: Vec::new(), raised }
    }

    fn put(&mut self, text: &str) {
        println!("{text}");
        self.body.push_str(text);
        self.body.push('\n');
    }

    /// Begins a section; says how busy the machine is.
    pub(crate) fn section(&mut self, title: &str, how: &str) {
        let load = process::load();
        self.put(&format!("\n## {title}\n\n{how} Load average at its start: {load:.1}.\n"));
    }

    /// A table.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let mut text = format!("| {} |\n|{}", head.join(" | "), "---|".repeat(head.len()));
        for row in rows {
            let _ = write!(text, "\n| {} |", row.join(" | "));
        }
        self.put(&text);
    }

    /// A figure that should be `most` at most.
    pub(crate) fn at_most(&mut self, what: &str, unit: &str, value: f64, most: f64) {
        self.goal(what, unit, value, most, value <= most, "≤");
    }

    /// A figure that should be `least` at least.
    pub(crate) fn at_least(&mut self, what: &str, unit: &str, value: f64, least: f64) {
        self.goal(what, unit, value, least, value >= least, "≥");
    }

    fn goal(&mut self, what: &str, unit: &str, value: f64, goal: f64, met: bool, sign: &str) {
        let verdict = match (value.is_nan(), met) {
            (true, _) => "**not measured**".to_owned(),
            (false, true) => "met".to_owned(),
            (false, false) => format!("**missed by {} %**", short(((value / goal - 1.0) * 100.0).abs())),
        };
        let line = format!("| {what} | {} {unit} | {sign} {} {unit} | {verdict} |", short(value), short(goal));
        println!("goal: {line}");
        self.goals.push(line);
    }

    /// A row that cannot run, and why.
    pub(crate) fn not_run(&mut self, what: &str, why: &str) {
        println!("NOT RUN  {what}: {why}");
        self.not_run.push(format!("- NOT RUN {what}: {why}"));
    }

    /// Whether every row ran.
    pub(crate) fn is_complete(&self) -> bool {
        self.not_run.is_empty()
    }

    /// Prints the goals and keeps everything, if `keep`.
    pub(crate) fn finish(self, keep: bool, load_before: f64) -> std::io::Result<()> {
        let mut text = String::from(
            "# Results of `make bench`\n\nWritten by the run itself; do not edit. What each row does is said in its section, how in `tests/bench/*.rs`.\n\n",
        );
        let _ = writeln!(
            text,
            "Machine: {}; load average {load_before:.1} before, {:.1} after the run. Load, bellwire and peers ran at {}.\nThe machine is shared with other work: CPU time and ratios of one run count, wall-clock figures carry its noise.\n",
            process::machine(),
            process::load(),
            if self.raised { "nice -15, before that work" } else { "normal priority" }
        );
        text.push_str("## Goals\n\n| figure | measured | goal | verdict |\n|---|---|---|---|\n");
        text.push_str(&self.goals.join("\n"));
        text.push('\n');
        if !self.not_run.is_empty() {
            let _ = write!(text, "\n{}\n", self.not_run.join("\n"));
        }
        println!("\n{text}");
        text.push_str(&self.body);
        if keep {
            let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bench/RESULTS.md");
            fs::write(&file, text)?;
            println!("kept in tests/bench/RESULTS.md");
        }
        Ok(())
    }
}
