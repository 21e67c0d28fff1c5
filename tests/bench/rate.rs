//! Set-up rate under SIPp (Debian: sip-tester): INVITE, 200, ACK, 50 ms, BYE, 200.

use crate::figures::{quantile, short};
use crate::peers::{Kind, Mode, Peer, Setup, free_port, in_path};
use crate::process;
use crate::report::Report;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const STEP: Duration = Duration::from_secs(8);
/// Steps for those without limits, ours and the others'.
const RATES: [u32; 7] = [50, 100, 200, 400, 800, 1200, 1600];

/// Three requests of a caller that never sends sound.
fn scenario() -> String {
    let request = |method: &str, number: u32, uri: &str, tag: &str, body: &str| {
        let body_type = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        format!(
            "<![CDATA[\n{method} {uri} SIP/2.0\nVia: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport\nMax-Forwards: 70\n\
             From: <sip:rate@[local_ip]:[local_port]>;tag=[call_number]\nTo: <sip:bench@[remote_ip]:[remote_port]>{tag}\n\
             Call-ID: [call_id]\nCSeq: {number} {method}\nContact: <sip:rate@[local_ip]:[local_port]>\n{body_type}Content-Length: [len]\n\n{body}]]>"
        )
    };
    let body = "v=0\no=- 1 1 IN IP4 [local_ip]\ns=-\nc=IN IP4 [local_ip]\nt=0 0\nm=audio [media_port] RTP/AVP 0\na=rtpmap:0 PCMU/8000\n";
    let first = request("INVITE", 1, "sip:bench@[remote_ip]:[remote_port]", "", body);
    let ack = request("ACK", 1, "[next_url]", "[peer_tag_param]", "");
    let bye = request("BYE", 2, "[next_url]", "[peer_tag_param]", "");
    format!(
        "<?xml version=\"1.0\"?>\n<scenario name=\"set-up\">\n<send retrans=\"500\" start_rtd=\"1\">{first}</send>\n\
         <recv response=\"100\" optional=\"true\"/>\n<recv response=\"180\" optional=\"true\"/>\n<recv response=\"183\" optional=\"true\"/>\n\
         <recv response=\"200\" rtd=\"1\" rrs=\"true\"/>\n<send>{ack}</send>\n<pause milliseconds=\"50\"/>\n\
         <send retrans=\"500\" start_rtd=\"2\">{bye}</send>\n<recv response=\"200\" rtd=\"2\"/>\n</scenario>\n"
    )
}

/// What a step came to.
struct Step {
    ok: u64,
    failed: u64,
    repeated: u64,
    achieved: f64,
    answer: (f64, f64),
    cpu_ms: f64,
    pass: bool,
}

fn step(kind: Kind, limited: bool, rate: u32) -> Result<Step, String> {
    let mut peer = Peer::ready(kind, Setup { limited, ..Setup::new(Mode::Echo, "pcmu") })?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = directory.path().join("rate.xml");
    std::fs::write(&file, scenario()).map_err(|error| error.to_string())?;
    let calls = u64::from(rate) * STEP.as_secs();
    let before = process::sample(peer.pid());
    let status = Command::new("sipp")
        .args([
            &format!("127.0.0.1:{}", peer.port),
            "-sf",
            "rate.xml",
            "-i",
            "127.0.0.1",
            "-p",
            &free_port().to_string(),
        ])
        .args(["-r", &rate.to_string(), "-m", &calls.to_string(), "-l", "4000", "-nd", "-nostdin", "-mp", "30000"])
        .args(["-trace_stat", "-fd", "1", "-trace_rtt", "-rtt_freq", "1", "-recv_timeout", "8000"])
        .args(["-timeout", &(STEP.as_secs() + 20).to_string(), "-timeout_error"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.map_err(|error| error.to_string())?;
    let after = process::sample(peer.pid());
    let alive = peer.is_alive();
    let (totals, answers) = read(directory.path()).ok_or("SIPp left no figures")?;
    let count = |name: &str| totals.get(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let (ok, failed) = (count("SuccessfulCall(C)") as u64, count("FailedCall(C)") as u64);
    let repeated = count("Retransmissions(C)") as u64;
    Ok(Step {
        ok,
        failed,
        repeated,
        achieved: count("CallRate(C)"),
        answer: (quantile(&answers, 0.5), quantile(&answers, 0.99)),
        cpu_ms: if alive { (after.cpu - before.cpu).as_secs_f64() * 1000.0 / calls as f64 } else { f64::NAN },
        pass: alive && ok == calls && failed == 0 && repeated == 0,
    })
}

/// The last line of SIPp's statistics by name, and the times to 200.
fn read(directory: &Path) -> Option<(HashMap<String, String>, Vec<f64>)> {
    let mut totals = None;
    let mut answers = Vec::new();
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if name.ends_with("_rtt.csv") {
            let fields = text.lines().map(|line| line.split(';').collect::<Vec<_>>());
            answers.extend(fields.filter(|f| f.get(2) == Some(&"1")).filter_map(|f| f.get(1)?.parse::<f64>().ok()));
        } else if name.ends_with("_.csv") {
            let mut lines = text.lines();
            let head: Vec<String> = lines.next()?.split(';').map(str::to_owned).collect();
            let last = lines.next_back()?.split(';').map(str::to_owned);
            totals = Some(head.into_iter().zip(last).collect());
        }
    }
    Some((totals?, answers))
}

/// Steps up until a program fails twice.
pub(crate) fn run(report: &mut Report, kinds: &[Kind]) {
    report.section(
        "Set-up rate under SIPp",
        "8 s a step, calls of 50 ms without sound, echo mode; a step passes when no call failed and nothing was sent again. Without limits means `call.max` and `[limits]` \
         at 0 (baresip: 1000 calls); with the defaults 20 INVITEs a second from one address and 4 calls at once are let in. SIPp's own clock steps by 4 ms here.",
    );
    if in_path("sipp").is_none() {
        report.not_run("set-up rate", "no sipp (Debian: apt-get install sip-tester)");
        return;
    }
    let mut rows = Vec::new();
    let (mut best, mut cpu) = (0.0_f64, f64::NAN);
    let mut runs: Vec<(Kind, bool, &[u32])> = kinds.iter().map(|kind| (*kind, false, &RATES[..])).collect();
    runs.push((Kind::Bellwire, true, &[10, 20]));
    for (kind, limited, rates) in runs {
        let mut missed = 0;
        for &rate in rates {
            let step = match step(kind, limited, rate) {
                Ok(step) => step,
                Err(why) => {
                    report.not_run(&format!("set-up rate of {kind} at {rate}/s"), &why);
                    break;
                }
            };
            rows.push(vec![
                if limited { format!("{kind}, defaults") } else { kind.to_string() },
                rate.to_string(),
                if step.pass { "yes" } else { "no" }.to_owned(),
                step.ok.to_string(),
                step.failed.to_string(),
                step.repeated.to_string(),
                short(step.achieved),
                short(step.answer.0),
                short(step.answer.1),
                short(step.cpu_ms),
            ]);
            if kind == Kind::Bellwire && !limited {
                if step.pass {
                    best = best.max(f64::from(rate));
                }
                if rate == 800 {
                    cpu = step.cpu_ms;
                }
            }
            missed += usize::from(!step.pass);
            if missed == 2 {
                break;
            }
        }
    }
    report.table(
        &["program", "rate/s", "pass", "ok", "failed", "repeated", "achieved/s", "200 p50 ms", "p99 ms", "CPU ms/call"],
        &rows,
    );
    report.at_least("set-ups without retransmission", "per s", best, 800.0);
    report.at_most("CPU of a set-up and its end at 800/s", "ms", cpu, 0.5);
}
