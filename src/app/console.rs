//! [`Console`]: what a person or a program reads. Answers go to stdout, errors and the live line to stderr, both through a [`Writer`].

use super::args::{Colour, Global};
use super::clock;
use super::escape::clean;
use super::json;
use super::status::{View, line};
use super::texts::{self, Facts, Kind};
use super::writer::Writer;
use crate::api::{Event, Failure};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the terminal is in raw mode now: line ends need a carriage return then, and it must be put back before we leave.
static RAW: AtomicBool = AtomicBool::new(false);

/// Both outputs and how to write to them.
#[derive(Debug)]
pub(crate) struct Console {
    out: Writer,
    err: Writer,
    /// One JSON object a line instead of text.
    pub(crate) json: bool,
    /// Only results and errors.
    pub(crate) quiet: bool,
    /// `-v`, counted.
    pub(crate) verbose: u8,
    colour_out: bool,
    colour_err: bool,
    live: bool,
    /// A live line stands on the last row.
    painted: bool,
    /// Files that are written beside: the log, the trace.
    files: RefCell<Vec<Writer>>,
}

impl Console {
    /// Opens both outputs.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn new(global: &Global) -> std::io::Result<Self> {
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let (out_tty, err_tty) = (out.is_terminal(), err.is_terminal());
        Ok(Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            colour_out: coloured(global.color, out_tty),
            colour_err: coloured(global.color, err_tty),
            live: err_tty && !global.quiet && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
            painted: false,
            files: RefCell::default(),
            out: Writer::gathering("stdout", out)?,
            err: Writer::new("stderr", err)?,
        })
    }

    /// Whether errors are coloured.
    pub(crate) fn colour(&self) -> bool {
        self.colour_err
    }

    /// The writer of stderr, for the log.
    pub(crate) fn stderr(&self) -> Writer {
        self.err.clone()
    }

    /// A file that has to be on the disk before the program ends.
    pub(crate) fn beside(&self, file: Writer) {
        self.files.borrow_mut().push(file);
    }

    /// Waits until all is written, `patience` at most for each.
    pub(crate) fn flush(&self, patience: Duration) {
        self.out.flush(patience);
        self.err.flush(patience);
        for file in self.files.borrow().iter() {
            file.flush(patience);
        }
    }

    /// Text for stdout; nothing with `--json`.
    pub(crate) fn say(&mut self, text: &str) {
        if !self.json {
            self.wipe();
            self.out.write(ends(text) + &ends("\n"));
        }
    }

    /// Text for stdout that `--quiet` drops.
    pub(crate) fn progress(&mut self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Raw text for stdout, whatever the mode.
    pub(crate) fn print(&mut self, text: &str) {
        self.wipe();
        self.out.write(ends(text));
    }

    /// A remark for stderr.
    pub(crate) fn remark(&mut self, text: &str) {
        if !self.quiet {
            self.wipe();
            self.err.write(ends(text) + &ends("\n"));
        }
    }

    /// Text for stderr that nothing drops.
    pub(crate) fn complain(&mut self, text: &str) {
        self.wipe();
        self.err.write(ends(text));
    }

    /// An object of our own for `--json`.
    pub(crate) fn object(&self, name: &str, rest: &Map<String, Value>) {
        if self.json {
            self.out.line(&json::line(name, &clock::now(), rest));
        }
    }

    /// An engine's event for `--json`.
    pub(crate) fn event(&self, event: &Event, time: &str, accounts: &[String], around: &Facts) {
        if self.json {
            self.out.line(&json::event(event, time, accounts, around));
        }
    }

    /// A failure: on stderr in words (results on stdout); with `--json` and `last` also as an `error` object. Returns its exit code.
    pub(crate) fn failure(&mut self, failure: &Failure, around: &Facts, last: bool) -> super::exit::Exit {
        let shown = texts::show(failure, around);
        if shown.kind == Kind::Result {
            self.say(&shown.what);
        } else {
            self.complain(&shown.render(self.colour_err));
        }
        if last && self.json {
            self.out.line(&json::error(&shown, failure, &clock::now()));
        }
        shown.exit
    }

    /// Paints or repaints the live line, if there is a terminal wide enough.
    pub(crate) fn paint(&mut self, view: &View) {
        if !self.live {
            return;
        }
        let width = crossterm::terminal::size().map_or(0, |(columns, _)| usize::from(columns));
        if let Some(text) = line(width, view, self.colour_err) {
            self.err.write(format!("\r\x1b[2K{text}"));
            self.painted = true;
        }
    }

    /// Whether live lines are painted at all.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.painted) {
            self.err.write("\r\x1b[2K");
            // Both outputs are one terminal: the wipe must come before the text.
            if self.colour_out || self.live {
                self.err.flush(Duration::from_millis(50));
            }
        }
    }

    /// Removes the live line.
    pub(crate) fn clear(&mut self) {
        self.wipe();
    }

    /// A prompt; the caller reads the answer.
    pub(crate) fn prompt(&self, text: &str) {
        self.err.write(text);
        self.err.flush(Duration::from_secs(1));
    }

    /// Foreign text, safe to show.
    pub(crate) fn safe(text: &str) -> String {
        clean(text)
    }
}

fn ends(text: &str) -> String {
    if RAW.load(Ordering::Relaxed) { text.replace('\n', "\r\n") } else { text.to_owned() }
}

/// Whether an output is coloured: the option first, then NO_COLOR, CLICOLOR_FORCE, TERM and what it is.
fn coloured(wish: Colour, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    match wish {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if set("NO_COLOR") => false,
        Colour::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|v| v != "0" && !v.is_empty()) => true,
        Colour::Auto => terminal && std::env::var_os("TERM").is_none_or(|t| t != "dumb"),
    }
}

/// Puts the terminal into raw mode, so that single keys come at once; undone by [`restore`].
pub(crate) fn raw() -> bool {
    let on = std::io::stdin().is_terminal()
        && std::io::stderr().is_terminal()
        && crossterm::terminal::enable_raw_mode().is_ok();
    RAW.store(on, Ordering::Relaxed);
    on
}

/// Puts the terminal back as it was; harmless when nothing was changed.
pub(crate) fn restore() {
    if RAW.swap(false, Ordering::Relaxed) {
        // There is nobody to tell.
        let _ = crossterm::terminal::disable_raw_mode();
    }
}
