//! Start → registered, and what a registered phone costs while nothing happens.

use crate::figures::{median, quantile, short};
use crate::peers::{Kind, Mode, Peer, Setup, find};
use crate::process;
use crate::registrar::Registrar;
use crate::report::Report;
use std::time::Duration;

const ROUNDS: usize = 9;
const IDLE: Duration = Duration::from_secs(15);

/// Milliseconds from exec to the accepted REGISTER, and the running program.
fn start(kind: Kind) -> Result<(f64, Peer), String> {
    let registrar = Registrar::new().map_err(|error| error.to_string())?;
    let peer = Peer::start(kind, Setup::new(Mode::Register(registrar.port()), "pcmu"))?;
    let accepted = registrar.serve(Duration::from_secs(10)).ok_or_else(|| format!("{kind} did not register"))?;
    Ok(((accepted - peer.started).as_secs_f64() * 1000.0, peer))
}

pub(crate) fn run(report: &mut Report, kinds: &[Kind]) {
    report.section(
        "Start and idle",
        "From exec to the answer to the REGISTER with a right digest (our own registrar on loopback), the programs in turn, first round not counted; \
         then 15 s of nothing. Private memory is what `smaps_rollup` calls so: clean pages of files that no other process has mapped at the \
         moment are in it, which a second copy takes out. Wake-ups are context switches of all threads.",
    );
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    let mut broken = vec![false; kinds.len()];
    for round in 0..=ROUNDS {
        for (place, kind) in kinds.iter().enumerate().filter(|(place, _)| !broken[*place]).collect::<Vec<_>>() {
            match start(*kind) {
                Ok((time, _)) if round > 0 => times[place].push(time),
                Ok(_) => {}
                Err(why) => {
                    report.not_run(&format!("start of {kind}"), &why);
                    broken[place] = true;
                }
            }
        }
    }
    let mut rows = Vec::new();
    let mut idle_of_ours = (f64::NAN, f64::NAN, f64::NAN);
    for (place, kind) in kinds.iter().enumerate().filter(|(place, _)| !broken[*place]) {
        let Ok((_, peer)) = start(*kind) else { continue };
        std::thread::sleep(Duration::from_secs(2));
        let before = process::sample(peer.pid());
        std::thread::sleep(IDLE);
        let after = process::sample(peer.pid());
        let private = process::private_kib(peer.pid());
        let wakes = (after.switches - before.switches) as f64 / IDLE.as_secs_f64();
        // Pages of files that a second copy has too are nobody's own.
        let twin = start(*kind);
        std::thread::sleep(Duration::from_secs(1));
        let shared = process::private_kib(peer.pid());
        drop(twin);
        let cpu = (after.cpu - before.cpu).as_secs_f64() * 1000.0 / IDLE.as_secs_f64();
        if *kind == Kind::Bellwire {
            idle_of_ours = (private as f64 / 1024.0, shared as f64 / 1024.0, wakes);
        }
        let size = find(*kind).ok().and_then(|file| std::fs::metadata(file).ok()).map_or(0, |file| file.len() / 1024);
        rows.push(vec![
            kind.to_string(),
            short(median(&times[place])),
            short(quantile(&times[place], 0.0)),
            short(quantile(&times[place], 1.0)),
            private.to_string(),
            shared.to_string(),
            short(wakes),
            short(cpu),
            process::threads(peer.pid()).to_string(),
            size.to_string(),
        ]);
    }
    report.table(
        &[
            "program",
            "start ms, median",
            "min",
            "max",
            "private KiB",
            "beside a second copy",
            "wake-ups/s",
            "idle CPU ms/s",
            "threads",
            "file KiB",
        ],
        &rows,
    );
    let of =
        |wanted: Kind| kinds.iter().position(|kind| *kind == wanted).map_or(f64::NAN, |place| median(&times[place]));
    report.at_most("start → registered", "ms", of(Kind::Bellwire), 15.0);
    if !of(Kind::Baresip).is_nan() {
        report.at_most("start → registered, as a share of baresip's", "x", of(Kind::Bellwire) / of(Kind::Baresip), 1.0);
    }
    report.at_most("idle, private memory, the program's own file pages counted", "MiB", idle_of_ours.0, 3.0);
    report.at_most("idle, private memory beside a second copy, which shares them", "MiB", idle_of_ours.1, 3.0);
    report.at_most("idle, wake-ups", "per s", idle_of_ours.2, 2.0);
}
