//! The log: to stderr or a file, through a writer thread, at the level of the config, `-v` or `RUST_LOG`.

use super::config::{Level, Log};
use super::console::Console;
use super::writer::Writer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// Starts the log. On stderr nothing below a warning is written unless `-vv` or `RUST_LOG` ask for it.
pub(crate) fn start(log: &Log, verbose: u8, console: &mut Console) {
    let level = match (verbose, log.level, &log.file) {
        (3.., ..) => LevelFilter::TRACE,
        (2, ..) => LevelFilter::DEBUG,
        (_, Level::Off, _) => LevelFilter::OFF,
        (_, Level::Error, _) => LevelFilter::ERROR,
        (_, Level::Warn, _) | (_, Level::Info, None) => LevelFilter::WARN,
        (_, Level::Info, Some(_)) => LevelFilter::INFO,
        (_, Level::Debug, _) => LevelFilter::DEBUG,
        (_, Level::Trace, _) => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let writer = match &log.file {
        None => console.stderr(),
        Some(path) => {
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            match opened.and_then(|f| Writer::new("log", f)) {
                Ok(writer) => {
                    console.beside(writer.clone());
                    writer
                }
                Err(error) => {
                    console.complain(&format!("{}: {error}; the log goes to stderr\n", path.display()));
                    console.stderr()
                }
            }
        }
    };
    let made = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init();
    if made.is_err() {
        console.complain("a log runs already\n");
    }
}
