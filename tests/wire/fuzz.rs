//! Seeded mutations of sound messages through the fuzz harnesses: no panic, no slow input, no growing memory.

use bellwire::rng::Rng;
use std::time::{Duration, Instant};

const TRIES: u32 = 100_000;

/// Pieces that have broken SIP readers before.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b"\r\n ",
    b"\t",
    b" ",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"\\\"",
    b"@",
    b"?",
    b"=",
    b"%",
    b"%00",
    b"%zz",
    b"[",
    b"]",
    b"[::",
    b":::",
    b"*",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xae",
    b"SIP/2.0",
    b"sip:",
    b"tel:",
    b"urn:x:y",
    b"Content-Length: 4294967296\r\n",
    b"l: -1\r\n",
    b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n",
    b"v: ",
    b"Contact: *\r\n",
    b"CSeq: 1 ACK\r\n",
    b"99999999999999999999",
    b"-1",
    b"transport",
    b";lr",
    b"tag=",
    b";;",
    b",,",
    b"\r\nm=audio 4000 RTP/AVP 0\r\n",
    b"\r\na=rtpmap:0 opus/48000/2\r\n",
    b"\r\na=rtpmap:96 telephone-event/8000\r\n",
    b"\r\nc=IN IP4 0.0.0.0\r\n",
    b"\r\nc=IN IP6 ff02::1/127\r\n",
    b"\r\nr=9223372036854775807d 1h\r\n",
    b"\r\na=ptime:2147483648\r\n",
    b"\r\na=rtcp:0\r\n",
    b"\r\na=fmtp:\r\n",
    b"\r\nb=\r\n",
    b" 255",
    b" 96",
    b"/",
];

/// One message with one to six mutations, now and then crossed with a second one.
fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng, below: usize| usize::try_from(rng.below(below.max(1) as u64)).expect("a small number");
    let mut wire = seeds[pick(rng, seeds.len())].clone();
    for _ in 0..=pick(rng, 5) {
        let at = pick(rng, wire.len() + 1);
        match pick(rng, 8) {
            0 if at < wire.len() => wire[at] ^= 1 << pick(rng, 8),
            1 if at < wire.len() => wire[at] = u8::try_from(pick(rng, 256)).expect("a byte"),
            2 => {
                let end = (at + pick(rng, 24)).min(wire.len());
                wire.drain(at..end);
            }
            3 => {
                let end = (at + pick(rng, 64)).min(wire.len());
                let copy = wire[at..end].to_vec();
                let to = pick(rng, wire.len() + 1);
                wire.splice(to..to, copy);
            }
            4 => wire.truncate(at),
            5 => {
                let other = &seeds[pick(rng, seeds.len())];
                let from = pick(rng, other.len() + 1);
                wire.truncate(at);
                wire.extend_from_slice(&other[from..]);
            }
            _ => {
                let piece = PIECES[pick(rng, PIECES.len())];
                let times = if pick(rng, 40) == 0 { 300 } else { 1 };
                wire.splice(at..at, piece.repeat(times));
            }
        }
    }
    wire
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells of the process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Runs a harness over the mutations of some seeds and holds it to the bounds of time and memory.
fn run(name: &str, harness: fn(&[u8]), seeds: &[Vec<u8>]) {
    let mut rng = Rng::new([7; 32]);
    for seed in seeds {
        harness(seed);
    }
    let before = resident_kib();
    let mut slowest = Duration::ZERO;
    for _ in 0..TRIES {
        let wire = mutate(&mut rng, seeds);
        let start = Instant::now();
        if let Err(panic) = std::panic::catch_unwind(|| harness(&wire)) {
            eprintln!("{name} panics on: {}", wire.escape_ascii());
            std::panic::resume_unwind(panic);
        }
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest <= Duration::from_secs(1), "{name}: one input took {slowest:?}");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown <= 32 * 1024, "{name}: memory grew by {grown} KiB");
}

/// The files of a folder of `tests/data` with one extension, in order of name.
fn seeds(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|file| file.ok().map(|file| file.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

#[test]
fn no_mutated_sip_message_panics_or_is_slow() {
    run("sip_message", bellwire::fuzz::sip_message, &seeds("torture", "sip"));
}

#[test]
fn no_mutated_session_description_panics_or_is_slow() {
    run("sdp", bellwire::fuzz::sdp, &seeds("sdp", "sdp"));
}

#[test]
fn no_mutated_stream_is_cut_differently_in_pieces() {
    let message = |length: usize| {
        let head = "INVITE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nTo: <sip:a@b>\r\n";
        format!("{head}Content-Length: {length}\r\n\r\n{}", "v".repeat(length)).into_bytes()
    };
    let seeds = [[message(0), message(9)].concat(), [b"\r\n\r\n".to_vec(), message(200)].concat(), message(65_536)];
    run("stream_framer", bellwire::fuzz::stream_framer, &seeds);
}
