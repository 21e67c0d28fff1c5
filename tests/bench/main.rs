//! The benches: `make bench` runs all and keeps what they say in `tests/bench/RESULTS.md`; `cargo bench -- ROW…` runs some and keeps nothing.
//!
//! Rows: `messages start accounts one many rate delay`. Only the peers need packages (`baresip-core`, `sip-tester`) or a build (`PJSUA`); without
//! them their rows say NOT RUN, which fails only with `CI=true`. The load is our own (`load.rs`).

#![allow(clippy::print_stdout, reason = "a program without the standard harness: its output is the report")]
#![allow(clippy::expect_used, reason = "a bench that cannot be set up may stop")]

mod accounts;
mod calls;
mod figures;
mod load;
mod micro;
mod peers;
mod process;
mod rate;
mod registrar;
mod report;
mod speech;
mod start;

use peers::{Kind, find};
use report::Report;
use std::process::ExitCode;
use std::time::Duration;

const ROWS: [&str; 7] = ["messages", "start", "accounts", "one", "many", "rate", "delay"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = arguments.iter().find(|argument| !ROWS.contains(&argument.as_str())) {
        eprintln!("there is no row `{unknown}`; there are {}", ROWS.join(", "));
        return ExitCode::from(2);
    }
    let wanted = |row: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == row);
    let load = process::load();
    let raised = process::raise();
    let mut report = Report::new(raised);
    let mut kinds = vec![Kind::Bellwire];
    kinds.extend(find(Kind::Before).map(|_| Kind::Before));
    for kind in [Kind::Baresip, Kind::Pjsua] {
        match find(kind) {
            Ok(_) => kinds.push(kind),
            Err(why) => report.not_run(&format!("rows of {kind}"), &why),
        }
    }
    // Many calls need many sockets.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 8192, 8192);
    if wanted("messages") {
        micro::run(&mut report);
    }
    if wanted("start") {
        start::run(&mut report, &kinds);
    }
    if wanted("accounts") {
        accounts::run(&mut report);
    }
    if wanted("one") {
        calls::one(&mut report, &kinds, Duration::from_secs(40));
    }
    if wanted("many") {
        calls::many(&mut report, &kinds, Duration::from_secs(10));
    }
    if wanted("rate") {
        rate::run(&mut report, &kinds);
    }
    if wanted("delay") {
        calls::delay(&mut report, &kinds);
    }
    let complete = report.is_complete();
    if let Err(error) = report.finish(arguments.is_empty(), load) {
        eprintln!("tests/bench/RESULTS.md: {error}");
        return ExitCode::FAILURE;
    }
    if !complete && std::env::var("CI").is_ok_and(|ci| ci == "true") {
        eprintln!("with CI=true every row must run");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
