//! Calls with sound: CPU of one per codec, many at once, and the delay inside the process.

use crate::figures::{median, quantile, short};
use crate::load::Load;
use crate::peers::{Kind, Mode, Peer, Setup, now};
use crate::process;
use crate::report::Report;
use crate::speech;
use std::time::Duration;

/// What pjsua 2.17-dev and Debian's baresip 1.0 needed for one call, in CPU seconds a minute, side by side on the machine that the goals
/// were written on; where pjsua is missing, baresip of the same run tells how fast this one is.
const REFERENCE: [(&str, f64, f64); 3] = [("pcmu", 0.556, 0.64), ("g722", 0.73, 0.73), ("opus", 1.587, 2.129)];

/// One program in one run: CPU seconds a minute, p99 of the pacing error in ms, packets a second, and packets lost.
struct Figures {
    name: String,
    cpu: f64,
    pacing: f64,
    rate: f64,
    lost: u64,
    runs: f64,
}

/// All programs side by side with one call each.
fn side_by_side(setups: &[(String, Kind, Setup)], time: Duration) -> Result<Vec<Figures>, String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut load = Load::new().map_err(fail)?;
    let mut peers = Vec::new();
    for (_, kind, setup) in setups {
        let peer = Peer::ready(*kind, *setup)?;
        load.add(peer.port, &speech::frames(setup.codec), 1).map_err(fail)?;
        peers.push(peer);
    }
    if !load.set_up(5.0) {
        return Err(format!("{} of {} calls are up", load.up(), peers.len()));
    }
    load.talk(Duration::from_secs(3));
    let before: Vec<_> = peers.iter().map(|peer| process::sample(peer.pid())).collect();
    load.start_window();
    let begin = now();
    load.talk(time);
    let seconds = begin.elapsed().as_secs_f64();
    let after: Vec<_> = peers.iter().map(|peer| process::sample(peer.pid())).collect();
    load.hang_up();
    let figures =
        setups.iter().zip(&load.calls).zip(before.iter().zip(&after)).map(|(((name, _, _), call), (a, b))| Figures {
            name: name.clone(),
            cpu: (b.cpu - a.cpu).as_secs_f64() * 60.0 / seconds,
            pacing: quantile(&call.gaps, 0.99),
            rate: call.received as f64 / seconds,
            lost: call.lost,
            runs: (b.switches - a.switches) as f64 / seconds,
        });
    Ok(figures.collect())
}

/// CPU of one call, per codec.
pub(crate) fn one(report: &mut Report, kinds: &[Kind], time: Duration) {
    let seconds = time.as_secs();
    report.section(
        "One call",
        &format!(
            "File in; what is heard into a file (bellwire, pjsua) or away (baresip). All programs side by side, {seconds} s, CPU from schedstat. \
             Opus: 24 kbit/s, FEC on; baresip's complexity is 10, pjsua's 5, ours as named."
        ),
    );
    let mut rows = Vec::new();
    for (codec, pjsua_then, baresip_then) in REFERENCE {
        let mut setups: Vec<_> =
            kinds.iter().map(|kind| (kind.to_string(), *kind, Setup::new(Mode::File, codec))).collect();
        if codec == "opus" {
            let full = Setup { complexity: 10, ..Setup::new(Mode::File, codec) };
            setups[0].0 = "bellwire, complexity 5".into();
            setups.push(("bellwire, complexity 10".into(), Kind::Bellwire, full));
        }
        let figures = match side_by_side(&setups, time) {
            Ok(figures) => figures,
            Err(why) => {
                report.not_run(&format!("one call, {codec}"), &why);
                continue;
            }
        };
        for figure in &figures {
            rows.push(vec![
                figure.name.clone(),
                codec.to_owned(),
                short(figure.cpu),
                short(figure.runs),
                short(figure.pacing),
                short(figure.rate),
                figure.lost.to_string(),
            ]);
        }
        let of = |name: &str| figures.iter().find(|figure| figure.name == name).map(|figure| figure.cpu);
        let ours = figures[0].cpu;
        let share = match codec {
            "pcmu" => 0.5,
            "g722" => 0.6,
            _ => 0.75,
        };
        let what = format!("one {codec} call, CPU");
        match (of("pjsua"), of("baresip")) {
            (Some(pjsua), _) => report.at_most(&format!("{what} as a share of pjsua's"), "x", ours / pjsua, share),
            (None, Some(baresip)) => {
                let pjsua = pjsua_then * baresip / baresip_then;
                report.at_most(
                    &format!(
                        "{what} as a share of pjsua's (which by baresip's {} s/min here would be {})",
                        short(baresip),
                        short(pjsua)
                    ),
                    "x",
                    ours / pjsua,
                    share,
                );
            }
            (None, None) => report.at_most(
                &format!("{what} (pjsua on the reference machine: {pjsua_then})"),
                "s/min",
                ours,
                share * pjsua_then,
            ),
        }
        if codec == "pcmu" {
            report.at_most("pacing of one PCMU call, p99 of |gap - 20 ms|", "ms", figures[0].pacing, 1.0);
        }
    }
    report.table(&["program", "codec", "CPU s/min", "switches/s", "pacing p99 ms", "packets/s", "lost"], &rows);
}

/// Many echo calls on one process.
pub(crate) fn many(report: &mut Report, kinds: &[Kind], time: Duration) {
    report.section(
        "Many calls on one process",
        &format!(
            "PCMU, echo through buffer, decoder and encoder; calls set up at 25/s, {} s each step, the programs one after the other. It passes with every call up, under \
             0.1 % of packets lost, 49.5 packets/s in each call and p99 of the pacing error under 5 ms.",
            time.as_secs()
        ),
    );
    let mut rows = Vec::new();
    let mut ours = f64::NAN;
    for count in [10, 50, 100, 250] {
        for kind in kinds {
            match step(*kind, count, time) {
                Ok((row, cpu)) => {
                    rows.push(row);
                    if *kind == Kind::Bellwire && count == 250 {
                        ours = cpu;
                    }
                }
                Err(why) => report.not_run(&format!("{count} calls on {kind}"), &why),
            }
        }
    }
    report.table(
        &[
            "program",
            "calls",
            "up",
            "pass",
            "lost %",
            "packets/s/call",
            "pacing p50",
            "p99 ms",
            "CPU ms/call-s",
            "private KiB",
            "threads",
            "load late ms",
        ],
        &rows,
    );
    report.at_most("250 PCMU calls, CPU per call and second", "ms", ours, 0.5);
}

fn step(kind: Kind, count: usize, time: Duration) -> Result<(Vec<String>, f64), String> {
    let fail = |error: std::io::Error| error.to_string();
    let mut peer = Peer::ready(kind, Setup::new(Mode::Echo, "pcmu"))?;
    let mut load = Load::new().map_err(fail)?;
    load.add(peer.port, &speech::frames("pcmu"), count).map_err(fail)?;
    load.set_up(25.0);
    load.talk(Duration::from_secs(3));
    let up = load.up();
    let before = process::sample(peer.pid());
    load.start_window();
    let begin = now();
    load.talk(time);
    let seconds = begin.elapsed().as_secs_f64();
    let after = process::sample(peer.pid());
    let (private, threads) = (process::private_kib(peer.pid()), process::threads(peer.pid()));
    let still = load.up();
    let late = load.latest;
    load.hang_up();
    if !peer.is_alive() {
        return Err("it died".into());
    }
    let gaps: Vec<f64> = load.calls.iter().flat_map(|call| call.gaps.iter().copied()).collect();
    let received: u64 = load.calls.iter().map(|call| call.received).sum();
    let lost: u64 = load.calls.iter().map(|call| call.lost).sum();
    let lost = 100.0 * lost as f64 / (received + lost).max(1) as f64;
    let rates = load.calls.iter().map(|call| call.received as f64 / seconds);
    let slowest = rates.fold(f64::INFINITY, f64::min);
    let cpu = (after.cpu - before.cpu).as_secs_f64() * 1000.0 / seconds / up.max(1) as f64;
    let pacing = quantile(&gaps, 0.99);
    let pass = up == count && still == count && lost < 0.1 && slowest > 49.5 && pacing < 5.0;
    let row = vec![
        kind.to_string(),
        count.to_string(),
        up.to_string(),
        if pass { "yes" } else { "no" }.to_owned(),
        short(lost),
        short(received as f64 / seconds / count as f64),
        short(median(&gaps)),
        short(pacing),
        short(cpu),
        private.to_string(),
        threads.to_string(),
        short(late.as_secs_f64() * 1000.0),
    ];
    Ok((row, cpu))
}

/// What the echo calls with one program brought: delays of all packets, their medians by round, times to the answer, pacing errors (all in
/// ms), and packets that were not found in what was sent.
#[derive(Debug, Clone, Default)]
struct Heard {
    delays: Vec<f64>,
    rounds: Vec<f64>,
    answers: Vec<f64>,
    gaps: Vec<f64>,
    strange: u64,
}

/// RTP in → RTP out.
pub(crate) fn delay(report: &mut Report, kinds: &[Kind]) {
    const ROUNDS: usize = 5;
    let time = Duration::from_secs(8);
    report.section(
        "RTP in → RTP out",
        "A clean PCMU echo call of 8 s, 5 rounds in turn. From the sending of the packet that holds a sample to the arrival (kernel stamp) of the one that \
         brings it back, less the sample's place in each packet: a reflector would show 0. Packets are found again by their sound. Rounds differ by the phase of the call.",
    );
    let mut rows = Vec::new();
    let mut all: Vec<Heard> = vec![Heard::default(); kinds.len()];
    for _ in 0..ROUNDS {
        for (place, kind) in kinds.iter().enumerate() {
            let result = Peer::ready(*kind, Setup::new(Mode::Echo, "pcmu")).and_then(|peer| {
                let mut load = Load::new().map_err(|error| error.to_string())?;
                load.add(peer.port, &speech::frames("pcmu"), 1).map_err(|error| error.to_string())?;
                if !load.set_up(10.0) {
                    return Err("no call".to_owned());
                }
                load.talk(Duration::from_millis(1500));
                load.start_window();
                load.talk(time);
                load.hang_up();
                load.calls.pop().ok_or_else(|| "no call".to_owned())
            });
            match result {
                Ok(call) => {
                    let of = &mut all[place];
                    of.rounds.push(median(&call.delays));
                    of.delays.extend(call.delays);
                    of.answers.extend(call.answered_ms);
                    of.gaps.extend(call.gaps);
                    of.strange += call.strange;
                }
                Err(why) => report.not_run(&format!("delay of {kind}"), &why),
            }
        }
    }
    for (kind, Heard { delays, rounds, answers, gaps, strange }) in kinds.iter().zip(&all) {
        rows.push(vec![
            kind.to_string(),
            short(median(delays)),
            short(quantile(delays, 0.99)),
            rounds.iter().map(|round| short(*round)).collect::<Vec<_>>().join(" "),
            short(median(answers)),
            short(quantile(gaps, 0.99)),
            format!("{} of {}", delays.len(), delays.len() as u64 + strange),
        ]);
    }
    report.table(
        &["program", "median ms", "p99 ms", "medians of rounds", "INVITE → 200 ms", "pacing p99 ms", "packets found"],
        &rows,
    );
    report.at_most("echo of a clean PCMU call, median", "ms", median(&all[0].delays), 18.0);
    report.at_most("echo of a clean PCMU call, p99", "ms", quantile(&all[0].delays, 0.99), 30.0);
    report.at_most("pacing of the echo, p99", "ms", quantile(&all[0].gaps, 0.99), 1.0);
}
