//! Interoperability: the real `bellwire` binary against Asterisk, Linphone and baresip in containers, with the sound checked.
//!
//! `cargo test --test interop` runs every row and writes the matrix in `interop/README.md`; `cargo test --test interop -- WORD…` runs the rows whose
//! name has one of the words and writes nothing. Without Docker, or without the image of its peer, a row says NOT RUN, which fails only with
//! `CI=true`.
//!
//! Nothing gets lost on the loopback interface. If packets come too late there, this machine was too busy to carry them, and the sound suffers
//! without fault of either phone: such a row, if it fails, is tried again by itself, twice at most, and the matrix tells.

#![allow(clippy::disallowed_methods, reason = "this drives real programs in real time")]
#![allow(clippy::print_stdout, reason = "a test program without the standard harness: its output is the report")]

mod docker;
mod judge;
mod peers;
mod phone;
mod report;
mod rows_pbx;
mod rows_phones;
mod rows_proxy;
mod rows_srtp;
mod rows_transfers;
mod sound;

use peers::Asterisk;
use rows_proxy::Kamailio;
use sound::{Band, Sound};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The measured figures, or what went wrong.
pub(crate) type Outcome = Result<String, String>;

/// At most so many rows at once: real-time sound needs the processor.
const AT_ONCE: usize = 3;

/// How often a row is tried whose sound suffered from packets that came late.
const ATTEMPTS: usize = 3;

/// What a row does, in a directory of its own.
type Run = Box<dyn Fn(&Bench, &Path) -> Outcome + Send + Sync>;

/// One scenario with one peer.
pub(crate) struct Row {
    peer: &'static str,
    scenario: String,
    run: Run,
}

impl Row {
    pub(crate) fn new(
        peer: &'static str,
        scenario: impl Into<String>,
        run: impl Fn(&Bench, &Path) -> Outcome + Send + Sync + 'static,
    ) -> Self {
        Self { peer, scenario: scenario.into(), run: Box::new(run) }
    }
}

/// What all rows share.
pub(crate) struct Bench {
    asterisk: Result<Asterisk, String>,
    kamailio: Result<Kamailio, String>,
    /// What is said in the calls.
    pub(crate) speech: Sound,
}

impl Bench {
    /// The PBX, or why it is not there.
    pub(crate) fn asterisk(&self) -> Result<&Asterisk, String> {
        self.asterisk.as_ref().map_err(Clone::clone)
    }

    /// The proxy, or why it is not there.
    pub(crate) fn kamailio(&self) -> Result<&Kamailio, String> {
        self.kamailio.as_ref().map_err(Clone::clone)
    }

    /// The speech as a file for `--play`, silence behind it so that it is said once.
    pub(crate) fn speech_file(&self, dir: &Path) -> Result<String, String> {
        let file = dir.join("speech.wav");
        self.speech.padded(0.0, 20.0).write(&file)?;
        Ok(file.display().to_string())
    }
}

/// Which PESQ a codec is judged by, and the least it must reach.
pub(crate) fn codec_band(codec: &str) -> (Band, f64) {
    match codec {
        "opus" | "g722" => (Band::Wide, 3.8),
        _ => (Band::Narrow, 3.5),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let chosen = |row: &Row| {
        words.is_empty() || words.iter().any(|w| row.peer.contains(w.as_str()) || row.scenario.contains(w.as_str()))
    };
    let rows: Vec<Row> = rows_pbx::rows()
        .into_iter()
        .chain(rows_proxy::rows())
        .chain(rows_srtp::rows())
        .chain(rows_transfers::rows())
        .chain(rows_phones::rows())
        .filter(chosen)
        .collect();
    if std::env::args().any(|a| a == "--list") {
        for row in &rows {
            println!("{}: {}: test", row.peer, row.scenario);
        }
        return ExitCode::SUCCESS;
    }
    if let Some(why) = docker::unavailable() {
        for row in &rows {
            println!("NOT RUN  {:9} {}  ({why})", row.peer, row.scenario);
        }
        println!("interop: {} rows NOT RUN: {why}", rows.len());
        tell_not_run(&format!("interoperability, all {} rows: {why}", rows.len()));
        return if must_run() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    match run(&rows, words.is_empty()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("interop: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a row that cannot run is a failure.
fn must_run() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// For the summary that `tests/run` prints.
fn tell_not_run(line: &str) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("not-run.txt");
    let opened = fs::OpenOptions::new().create(true).append(true).open(file);
    if let Err(e) = opened.and_then(|mut file| writeln!(file, "{line}")) {
        println!("interop: {e}");
    }
}

/// Runs the rows; true when all are green.
fn run(rows: &[Row], whole: bool) -> Result<bool, String> {
    let started = Instant::now();
    let top = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop");
    if top.exists() {
        fs::remove_dir_all(&top).map_err(|e| format!("{}: {e}", top.display()))?;
    }
    let mut versions = BTreeMap::new();
    for (peer, suite) in docker::PEERS {
        if rows.iter().any(|r| r.peer == peer) {
            versions.insert(peer, docker::build(peer, suite));
        }
    }
    let (rows, missing): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| versions.get(row.peer).is_some_and(Result::is_ok));
    for row in &missing {
        println!("NOT RUN  {:9} {}", row.peer, row.scenario);
    }
    for (peer, why) in versions.iter().filter_map(|(peer, version)| Some((peer, version.as_ref().err()?))) {
        println!("interop: no image of {peer}: {why}");
        tell_not_run(&format!("interoperability with {peer}: no image: {why}"));
    }
    let needed = |peer| match versions.get(peer) {
        Some(Ok(_)) => Ok(top.join(peer)),
        Some(Err(why)) => Err(why.clone()),
        None => Err("not needed".to_owned()),
    };
    let asterisk = needed("asterisk").and_then(|dir| Asterisk::start(&dir));
    let kamailio = needed("kamailio").and_then(|dir| Kamailio::start(&dir));
    // Its last half second is a pause. Judged without it, a call that ends with the speech loses nothing by the packets still in the buffer.
    let speech = Sound::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/assets/speech.wav"), 0)?.cut(0.0, 10.5);
    let bench = Bench { asterisk, kamailio, speech };
    println!("interop: peers ready after {:.0} s", started.elapsed().as_secs_f64());

    let next = Mutex::new(rows.iter().enumerate());
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((n, row)) = next.lock().ok().and_then(|mut rest| rest.next()) else { return };
                    let outcome = one(&bench, row, &top.join(slug(row)));
                    if let Ok(mut all) = outcomes.lock() {
                        all.insert(n, outcome);
                    }
                }
            });
        }
    });
    let mut outcomes: Vec<Outcome> = outcomes.into_inner().map_err(|e| e.to_string())?.into_values().collect();
    for (row, outcome) in rows.iter().zip(&mut outcomes) {
        let mut dir = top.join(slug(row));
        for attempt in 2..=ATTEMPTS {
            let Some(why) = outcome.as_ref().err().and_then(|_| phone::held_up(&dir)) else { break };
            println!("again    {:9} {}: {why}", row.peer, row.scenario);
            dir = top.join(format!("{}-{attempt}", slug(row)));
            *outcome = one(&bench, row, &dir).map(|figures| format!("{figures} (attempt {attempt}; before, {why})"));
        }
    }
    let failed = outcomes.iter().filter(|o| o.is_err()).count();
    println!("interop: {} rows, {failed} failed, {:.0} s", rows.len(), started.elapsed().as_secs_f64());
    if whole && missing.is_empty() {
        report::write_matrix(&rows, &outcomes, &versions)?;
    }
    Ok(failed == 0 && outcomes.len() == rows.len() && (missing.is_empty() || !must_run()))
}

fn one(bench: &Bench, row: &Row, dir: &Path) -> Outcome {
    let started = Instant::now();
    let ready = fs::create_dir_all(dir).map_err(|e| e.to_string());
    let outcome = ready.and_then(|()| (row.run)(bench, dir));
    let (word, text) = match &outcome {
        Ok(figures) => ("ok    ", figures),
        Err(why) => ("FAILED", why),
    };
    println!("{word}  {:9} {}: {text}  [{:.1} s]", row.peer, row.scenario, Duration::as_secs_f64(&started.elapsed()));
    outcome
}

/// A directory name for a row.
fn slug(row: &Row) -> String {
    format!("{} {}", row.peer, row.scenario).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}
