//! Every fuzz harness on seeded mutations, each in a process of its own: no panic, no hang, no input that takes over a
//! second, no more than 32 MiB of growth. Floods are held to the same bounds.
//!
//! ```text
//!   cargo test --release --test fuzz_run              all of them
//!   cargo test --release --test fuzz_run -- rtp       those whose name holds "rtp"
//!   FUZZ_TRIES=1000000 FUZZ_SEED=5 cargo test …       more, or others
//! ```

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "a test program says how it went, in real time, and picks one case of many"
)]

mod corpus;
mod floods;
mod mutate;

use mutate::{Kind, Mutator};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Most processor time for one input.
const SLOWEST: Duration = Duration::from_secs(1);
/// Most growth of the resident memory, peak included, KiB.
const GROWTH: u64 = 32 * 1024;
/// One input may keep a whole harness waiting so long before it counts as hanging: the machine may be busy.
const HANG: Duration = Duration::from_secs(60);

/// One row: a harness, what it is given, and how often.
struct Harness {
    name: &'static str,
    run: fn(&[u8]),
    corpus: fn() -> Vec<Vec<u8>>,
    kind: Kind,
    tries: u64,
}

const HARNESSES: &[Harness] = &[
    Harness {
        name: "sip_message",
        run: bellwire::fuzz::sip_message,
        corpus: corpus::sip_messages,
        kind: Kind::Message,
        tries: 100_000,
    },
    Harness {
        name: "stream_framer",
        run: bellwire::fuzz::stream_framer,
        corpus: corpus::streams,
        kind: Kind::Message,
        tries: 100_000,
    },
    Harness {
        name: "sdp",
        run: bellwire::fuzz::sdp,
        corpus: corpus::descriptions,
        kind: Kind::Message,
        tries: 100_000,
    },
    Harness { name: "rtp", run: bellwire::fuzz::rtp, corpus: corpus::rtp, kind: Kind::Packet, tries: 100_000 },
    Harness { name: "srtp", run: bellwire::fuzz::srtp, corpus: corpus::srtp, kind: Kind::Packet, tries: 20_000 },
    Harness { name: "rtcp", run: bellwire::fuzz::rtcp, corpus: corpus::rtcp, kind: Kind::Packet, tries: 100_000 },
    Harness {
        name: "config",
        run: bellwire::fuzz::config,
        corpus: corpus::configs,
        kind: Kind::Config,
        tries: 100_000,
    },
    // Whole engines with a call in progress.
    Harness {
        name: "softphone",
        run: bellwire::fuzz::softphone,
        corpus: corpus::sip_messages,
        kind: Kind::Message,
        tries: 4_000,
    },
    Harness {
        name: "switchboard",
        run: bellwire::fuzz::switchboard,
        corpus: corpus::sip_messages,
        kind: Kind::Message,
        tries: 4_000,
    },
];

/// What the runner itself must find: faults planted in it.
const PLANTED: &[Harness] = &[
    Harness { name: "planted panic", run: panics, corpus: corpus::streams, kind: Kind::Message, tries: 3_000 },
    Harness { name: "planted slowness", run: dawdles, corpus: corpus::streams, kind: Kind::Message, tries: 3_000 },
    Harness { name: "planted leak", run: leaks, corpus: corpus::streams, kind: Kind::Message, tries: 3_000 },
];

/// True once, long after the corpus itself has been read.
fn is_time() -> bool {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    CALLS.fetch_add(1, Ordering::Relaxed) == 1_000
}

fn panics(_: &[u8]) {
    assert!(!is_time(), "planted");
}

fn dawdles(_: &[u8]) {
    if is_time() {
        let start = processor_time();
        while processor_time() - start <= SLOWEST {}
    }
}

fn leaks(input: &[u8]) {
    static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    KEPT.lock().expect("no panic before").push(vec![input.first().copied().unwrap_or(1); 64 * 1024]);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, name] = &arguments[..]
        && first == "--harness"
    {
        return child(name);
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &&str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let floods = floods::FLOODS.iter().map(|(name, _)| *name);
    let sound: Vec<_> = HARNESSES.iter().map(|harness| harness.name).chain(floods).filter(wanted).collect();
    let planted: Vec<_> = PLANTED.iter().map(|harness| harness.name).filter(wanted).collect();
    let queue = Mutex::new(sound.iter().map(|name| (*name, true)).chain(planted.iter().map(|name| (*name, false))));
    let failed = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no panic holds it").next();
                    let Some((name, sound)) = next else { break };
                    if !judge(name, sound) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    if failed.into_inner() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs one harness in a process of its own and says how it went.
fn judge(name: &str, sound: bool) -> bool {
    let program = std::env::current_exe().expect("Linux tells the path");
    let output = Command::new(program).args(["--harness", name]).output().expect("it can start itself");
    let passed = output.status.success();
    match (passed, sound) {
        (true, true) => print!("ok      {}", String::from_utf8_lossy(&output.stdout)),
        (false, false) => println!("ok      {name}: found, as it must be"),
        (true, false) => println!("FAILED  {name}: the fault planted in it was not found"),
        (false, true) => {
            println!("FAILED  {name}: {}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    passed == sound
}

fn child(name: &str) -> ExitCode {
    // Cheap copies of a panic's place are wanted, a backtrace for each is not.
    let found = HARNESSES.iter().chain(PLANTED).find(|harness| harness.name == name);
    let outcome = match (found, floods::FLOODS.iter().find(|(flood, _)| *flood == name)) {
        (Some(harness), _) => run(harness),
        (None, Some((_, flood))) => {
            let before = resident("VmRSS:");
            let said = flood();
            grown(before).map(|growth| format!("{said}, memory grew by {growth} KiB"))
        }
        (None, None) => Err("there is no such harness".to_owned()),
    };
    match outcome {
        Ok(said) => {
            println!("{name}: {said}");
            ExitCode::SUCCESS
        }
        Err(fault) => {
            println!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn run(harness: &Harness) -> Result<String, String> {
    let corpus = (harness.corpus)();
    let planted = PLANTED.iter().any(|planted| planted.name == harness.name);
    let wanted = setting("FUZZ_TRIES").filter(|_| !planted);
    let tries = wanted.map_or(harness.tries, |tries| (tries * harness.tries / 100_000).max(1));
    let seed = setting("FUZZ_SEED").unwrap_or(1);
    let mut mutator = Mutator::new(seed, harness.kind, &corpus);
    for input in &corpus {
        (harness.run)(input);
    }
    static TURN: AtomicU64 = AtomicU64::new(0);
    static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    std::thread::spawn(|| watch(&TURN, &INPUT));
    let before = resident("VmRSS:");
    let start = processor_time();
    let mut slowest = Duration::ZERO;
    for turn in 0..tries {
        let input = mutator.draw();
        TURN.store(turn + 1, Ordering::Relaxed);
        {
            let mut shown = INPUT.lock().expect("no panic holds it");
            shown.clear();
            shown.extend_from_slice(&input);
        }
        let begun = processor_time();
        if std::panic::catch_unwind(|| (harness.run)(&input)).is_err() {
            return Err(format!("panics on input {turn} of seed {seed}: {}", input.escape_ascii()));
        }
        let took = processor_time() - begun;
        if took > SLOWEST {
            return Err(format!("input {turn} of seed {seed} takes {took:?}: {}", input.escape_ascii()));
        }
        slowest = slowest.max(took);
    }
    let growth = grown(before)?;
    let took = processor_time() - start;
    Ok(format!("{tries} inputs in {took:.1?} of processor, slowest {slowest:.1?}, memory grew by {growth} KiB"))
}

/// Ends the process when an input does not come to an end.
fn watch(turn: &AtomicU64, input: &Mutex<Vec<u8>>) {
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = turn.load(Ordering::Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if seen > 0 && since.elapsed() > HANG {
            let input = input.lock().expect("no panic holds it");
            println!("hangs on input {}: {}", seen - 1, input.escape_ascii());
            std::process::exit(1);
        }
    }
}

/// The processor time of this thread, which a busy machine does not lengthen.
fn processor_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    Duration::from(time)
}

/// A line of `/proc/self/status`, KiB.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of the process");
    let found = status.lines().find(|found| found.starts_with(line)).expect("the line is there");
    found.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// How far the peak has risen above `before`.
fn grown(before: u64) -> Result<u64, String> {
    let growth = resident("VmHWM:").saturating_sub(before);
    if growth <= GROWTH { Ok(growth) } else { Err(format!("memory grew by {growth} KiB")) }
}
