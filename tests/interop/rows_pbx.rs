//! What is tried with Asterisk.

use crate::judge::{ended_by, expect_codec, expect_digits, heard_speech, heard_tone, heard_tone_over};
use crate::peers::Asterisk;
use crate::phone::{Phone, Setup};
use crate::sound::Sound;
use crate::{Bench, Outcome, Row};
use std::path::Path;
use std::time::Duration;

/// All rows with Asterisk, the long ones first.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for codec in ["opus", "g722", "pcmu", "pcma"] {
        rows.push(Row::new("asterisk", format!("echo, speech, {codec}"), move |b, d| echo_speech(b, d, codec, "udp")));
    }
    rows.push(Row::new("asterisk", "echo, speech, pcmu, over TCP", |b, d| echo_speech(b, d, "pcmu", "tcp")));
    rows.push(Row::new("asterisk", "playback of speech, the PBX hangs up", playback));
    rows.push(Row::new("asterisk", "two phones through it", two_phones));
    rows.push(Row::new("asterisk", "hold and resume by the PBX", hold));
    rows.push(Row::new("asterisk", "hold and resume by us", hold_by_us));
    rows.push(Row::new("asterisk", "100rel required, session timer of 90 s", timed));
    rows.push(Row::new("asterisk", "early media, then busy", early_busy));
    rows.push(Row::new("asterisk", "direct media between two phones", direct_media));
    for codec in ["opus", "g722", "pcmu", "pcma"] {
        rows.push(Row::new("asterisk", format!("echo, tone, {codec}"), move |b, d| {
            echo_tone(b, d, codec, 1000.0, 25.0)
        }));
    }
    // What no telephone band lets through: the codec is wideband from end to end. G.722 has two bits a sample over 4 kHz: there a clean
    // sine of 5 kHz has 22 dB in any coder of it (spandsp's gives 22.2 dB encoded and decoded in memory).
    for (codec, snr) in [("opus", 25.0), ("g722", 20.0)] {
        rows.push(Row::new("asterisk", format!("echo, tone of 5 kHz, {codec}"), move |b, d| {
            echo_tone(b, d, codec, 5000.0, snr)
        }));
    }
    rows.push(Row::new("asterisk", "digits received", digits_received));
    rows.push(Row::new("asterisk", "digits sent and read back", digits_back));
    rows.push(Row::new("asterisk", "caller hangs up", caller_hangs_up));
    rows.push(Row::new("asterisk", "PBX hangs up", pbx_hangs_up));
    rows.push(Row::new("asterisk", "busy", |b, d| refused(b, d, &["call", "603"], 8)));
    rows.push(Row::new("asterisk", "no common codec", no_common_codec));
    rows.push(Row::new("asterisk", "no answer, told by the PBX", |b, d| refused(b, d, &["call", "607"], 7)));
    rows.push(Row::new("asterisk", "no answer, our own time-out", |b, d| {
        refused(b, d, &["call", "604", "--timeout", "3s"], 7)
    }));
    rows.push(Row::new("asterisk", "cancel while it rings", cancel));
    rows.push(Row::new("asterisk", "register, MD5", |b, d| register(b, d, "1004", "md5-1004", "udp")));
    rows.push(Row::new("asterisk", "register, SHA-256", |b, d| register(b, d, "1003", "sha256-1003", "udp")));
    rows.push(Row::new("asterisk", "register, MD5, over TCP", |b, d| register(b, d, "1004", "md5-1004", "tcp")));
    rows.push(Row::new("asterisk", "wrong password, MD5", |b, d| wrong_password(b, d, "1001")));
    rows.push(Row::new("asterisk", "wrong password, SHA-256", |b, d| wrong_password(b, d, "1003")));
    rows.push(Row::new("asterisk", "echo, speech, pcmu, over TLS", tls_echo));
    rows.push(Row::new("asterisk", "register, MD5, over TLS", tls_register));
    rows.push(Row::new("asterisk", "TLS, a pinned certificate", |b, d| {
        tls_refused(b, d, "localhost", Trust::Pin, None)
    }));
    rows.push(Row::new("asterisk", "TLS, unknown CA", |b, d| {
        tls_refused(b, d, "localhost", Trust::System, Some("tls.untrusted"))
    }));
    rows.push(Row::new("asterisk", "TLS, a certificate for another name", |b, d| {
        tls_refused(b, d, "127.0.0.1", Trust::Ca, Some("tls.name-mismatch"))
    }));
    rows.push(Row::new("asterisk", "TLS to the port in clear", tls_to_clear));
    rows.push(Row::new("asterisk", "unknown server", unknown_server));
    for transport in ["udp", "tcp"] {
        rows.push(Row::new("asterisk", format!("the PBX is killed in a call, {transport}"), move |_, d| {
            pbx_killed(d, transport)
        }));
    }
    rows.push(Row::new("asterisk", "we hang up after the PBX was killed", |_, d| hang_up_to_nobody(d)));
    rows
}

/// The configuration of user 1001, or of another.
fn setup(bench: &Bench, user: &str, password: &str) -> Result<Setup, String> {
    let account = Some((bench.asterisk()?.server(), user.to_owned(), password.to_owned()));
    Ok(Setup { account, rtp: crate::docker::rtp_ports(40)?, ..Setup::default() })
}

fn user_1001(bench: &Bench) -> Result<Setup, String> {
    setup(bench, "1001", "md5-1001")
}

fn echo_speech(bench: &Bench, dir: &Path, codec: &'static str, transport: &'static str) -> Outcome {
    let setup = Setup { codecs: vec![codec], transport: Some(transport), ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let says = bench.speech_file(dir)?;
    let call = ["call", "600", "--play", &says, "--record", &heard.display().to_string(), "--duration", "12s"];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(40))?;
    done.expect_code(0)?;
    expect_codec(&done, codec)?;
    heard_speech(bench, &Sound::read(&heard, 0)?, codec)
}

/// Whom a phone trusts.
#[derive(Clone, Copy)]
enum Trust {
    System,
    Ca,
    Pin,
}

/// The configuration of user 1001 over TLS to `host`.
fn over_tls(bench: &Bench, host: &str, trust: Trust) -> Result<Setup, String> {
    let asterisk = bench.asterisk()?;
    let account = Some((format!("{host}:{}", asterisk.tls), "1001".to_owned(), "md5-1001".to_owned()));
    let account_lines = match trust {
        Trust::System => String::new(),
        Trust::Ca => format!("tls_ca = \"{}\"\n", asterisk.ca.display()),
        Trust::Pin => format!("tls_pin = \"sha256:{}\"\n", fingerprint(&asterisk.certificate)?),
    };
    Ok(Setup { account, account_lines, transport: Some("tls"), ..user_1001(bench)? })
}

fn fingerprint(pem: &Path) -> Result<String, String> {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let text = std::fs::read_to_string(pem).map_err(|e| e.to_string())?;
    let inner: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(inner).map_err(|e| e.to_string())?;
    Ok(Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn tls_echo(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcmu"], ..over_tls(bench, "localhost", Trust::Ca)? };
    let heard = dir.join("heard.wav");
    let says = bench.speech_file(dir)?;
    let call = ["call", "600", "--play", &says, "--record", &heard.display().to_string(), "--duration", "12s"];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(40))?;
    done.expect_code(0)?;
    in_tls_only(dir)?;
    heard_speech(bench, &Sound::read(&heard, 0)?, "pcmu")
}

/// Every message of the trace travelled over TLS.
fn in_tls_only(dir: &Path) -> Result<(), String> {
    let trace = std::fs::read_to_string(dir.join("trace.txt")).map_err(|e| e.to_string())?;
    let moved = |line: &&str| line.contains(" sent ") || line.contains(" received ");
    match trace.lines().filter(moved).find(|line| line.contains("──") && !line.contains(" TLS ")) {
        Some(line) => Err(format!("in clear: {line}")),
        None if trace.contains(" TLS ") => Ok(()),
        None => Err("the trace is empty".to_owned()),
    }
}

fn tls_register(bench: &Bench, dir: &Path) -> Outcome {
    let setup = over_tls(bench, "localhost", Trust::Ca)?;
    let done = Phone::run(dir, &setup, &["register", "--once"], Duration::from_secs(20))?;
    done.expect_code(0)?;
    in_tls_only(dir)?;
    Ok(format!("registered after {:.2} s in all", done.took.as_secs_f64()))
}

fn tls_refused(bench: &Bench, dir: &Path, host: &str, trust: Trust, slug: Option<&str>) -> Outcome {
    let setup = over_tls(bench, host, trust)?;
    let done = Phone::run(dir, &setup, &["register", "--once"], Duration::from_secs(20))?;
    let Some(slug) = slug else {
        done.expect_code(0)?;
        return Ok("registered".to_owned());
    };
    done.expect_code(6)?;
    let told = done.events.iter().any(|event| event.to_string().contains(slug));
    if told { Ok(format!("exit code 6, {slug}")) } else { Err(format!("no {slug} in {:?}", done.events)) }
}

fn tls_to_clear(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { transport: Some("tls"), ..user_1001(bench)? };
    let done = Phone::run(dir, &setup, &["register", "--once"], Duration::from_secs(40))?;
    let told = |slug: &str| done.events.iter().any(|event| event.to_string().contains(slug));
    match (done.code, ["tls.not-tls", "tls.closed", "tls.timeout"].into_iter().find(|slug| told(slug))) {
        (5 | 6, Some(slug)) => Ok(format!("exit code {}, {slug}", done.code)),
        (code, _) => Err(format!("exit code {code}, {:?}", done.events)),
    }
}

/// With a deeper jitter buffer than the default's: one packet that a busy machine delays is no fault of either side, but to conceal it in the
/// middle of a sine costs more than all else together (Opus needs a third of a second to have it right again). Speech is judged with the default.
fn echo_tone(bench: &Bench, dir: &Path, codec: &'static str, hz: f64, snr: f64) -> Outcome {
    let setup = Setup { codecs: vec![codec], jitter_min: Some("60ms"), ..user_1001(bench)? };
    let (says, heard) = (dir.join("says.wav"), dir.join("heard.wav"));
    Sound::tone(hz, 5.0, 48_000).write(&says)?;
    let call = [
        "call",
        "600",
        "--play",
        &says.display().to_string(),
        "--record",
        &heard.display().to_string(),
        "--duration",
        "5s",
    ];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(30))?;
    done.expect_code(0)?;
    expect_codec(&done, codec)?;
    heard_tone_over(&Sound::read(&heard, 0)?, hz, snr, 3.5)
}

fn playback(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["g722"], ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let done =
        Phone::run(dir, &setup, &["call", "601", "--record", &heard.display().to_string()], Duration::from_secs(40))?;
    done.expect_code(0)?;
    ended_by(&done, "remote")?;
    heard_speech(bench, &Sound::read(&heard, 0)?, "g722")
}

fn two_phones(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let callee_setup = Setup { codecs: vec!["pcmu"], ..setup(bench, "1002", "md5-1002")? };
    let caller_setup = Setup { codecs: vec!["pcmu"], ..user_1001(bench)? };
    std::fs::create_dir_all(&a).and_then(|()| std::fs::create_dir_all(&b)).map_err(|e| e.to_string())?;
    let says = bench.speech_file(dir)?;
    let tone = b.join("says.wav");
    Sound::tone(1000.0, 30.0, 8000).write(&tone)?;
    let (heard_a, heard_b) = (a.join("heard.wav"), b.join("heard.wav"));
    let listen = [
        "listen",
        "--auto-answer",
        "--once",
        "--play",
        &tone.display().to_string(),
        "--record",
        &heard_b.display().to_string(),
    ];
    let mut callee = Phone::start(&b, &callee_setup, &listen)?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    let call = ["call", "1002", "--play", &says, "--record", &heard_a.display().to_string(), "--duration", "12s"];
    let caller = Phone::run(&a, &caller_setup, &call, Duration::from_secs(40))?;
    caller.expect_code(0)?;
    let callee = callee.finish(Duration::from_secs(10))?;
    callee.expect_code(0)?;
    ended_by(&caller, "local")?;
    ended_by(&callee, "remote")?;
    let there = heard_speech(bench, &Sound::read(&heard_b, 0)?, "pcmu")?;
    let back = heard_tone(&Sound::read(&heard_a, 0)?, 1000.0, 9.0)?;
    Ok(format!("callee heard {there}; caller heard {back}"))
}

/// Held for two seconds, resumed, then a tone: while held nothing is sent, afterwards all is as before.
fn hold(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcmu"], input: Some("tone:440"), ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let mut phone = Phone::start(dir, &setup, &["call", "609", "--record", &heard.display().to_string()])?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    let pbx = bench.asterisk()?;
    let channel = pbx.held_channel()?;
    pbx.ari("POST", &format!("channels/{channel}/hold"))?;
    changed(&mut phone, true)?;
    let at_hold = pbx.packets_from_phone(&channel)?;
    std::thread::sleep(Duration::from_secs(2));
    let sent = pbx.packets_from_phone(&channel)?.saturating_sub(at_hold);
    pbx.ari("DELETE", &format!("channels/{channel}/hold"))?;
    changed(&mut phone, false)?;
    let at_resume = pbx.packets_from_phone(&channel)?;
    std::thread::sleep(Duration::from_secs(1));
    let resumed = pbx.packets_from_phone(&channel)?.saturating_sub(at_resume);
    pbx.ari("POST", &format!("channels/{channel}/continue"))?;
    let done = phone.finish(Duration::from_secs(15))?;
    done.expect_code(0)?;
    if sent > 5 || resumed < 40 {
        return Err(format!("{sent} packets sent in 2 s on hold, {resumed} in 1 s after it"));
    }
    let tone = heard_tone(&Sound::read(&heard, 0)?, 1000.0, 2.0)?;
    Ok(format!("{sent} packets sent while held, {resumed} in the second after; then {tone}"))
}

/// We hold by a key: the PBX agrees, we hear nothing of its tone, and after the resume we hear it again.
fn hold_by_us(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcmu"], input: Some("tone:440"), ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let call = ["call", "602", "--record", &heard.display().to_string()];
    let mut phone = Phone::start_with_keys(dir, &setup, &call)?;
    phone.wait_for_words("  answered ", Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_secs(2));
    for words in ["  on hold   ", "  resumed   ", "  on hold   ", "  resumed   "] {
        phone.press("h")?;
        phone.wait_for_words(words, Duration::from_secs(5))?;
        std::thread::sleep(Duration::from_secs(2));
    }
    phone.press("q")?;
    let done = phone.finish(Duration::from_secs(15))?;
    done.expect_code(0)?;
    let sound = Sound::read(&heard, 0)?;
    let tone = heard_tone(&sound.cut(sound.seconds() - 2.2, 2.0), 1000.0, 1.5)?;
    let quiet = sound.cut(2.8, 1.0).level_db();
    if quiet > -60.0 {
        return Err(format!("heard {quiet:.0} dBFS on hold"));
    }
    Ok(format!("held and resumed twice; silence on hold, then {tone}"))
}

/// The PBX wants its ringing acknowledged, and a sign of life every 45 s.
fn timed(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcmu"], input: Some("tone:440"), ..setup(bench, "1011", "md5-1011")? };
    let call = ["call", "614", "--duration", "60s", "--set", "call.session_timer=90s"];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(90))?;
    done.expect_code(0)?;
    ended_by(&done, "local")?;
    let trace = done.trace()?;
    let count = |text: &str| trace.matches(text).count();
    let (pracks, refreshes) = (count("\n    PRACK sip:"), count("\n    UPDATE sip:"));
    let expires = count("\n    Session-Expires: 90;refresher=uac");
    if pracks == 0 || expires < 3 || refreshes == 0 {
        return Err(format!(
            "{pracks} PRACKs, Session-Expires: 90 {expires} times, {refreshes} refreshes in the trace"
        ));
    }
    Ok(format!("{pracks} PRACK, refreshed after 45 s, {} s of call", done.took.as_secs()))
}

/// An announcement before the call is refused: it is heard, and the refusal told.
fn early_busy(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcmu"], ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let call = ["call", "610", "--record", &heard.display().to_string()];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(40))?;
    done.expect_code(8)?.expect_slug("call.busy")?;
    heard_speech(bench, &Sound::read(&heard, 0)?, "pcmu").map(|figures| format!("announcement {figures}, then busy"))
}

/// The PBX takes itself out of the way of the sound by re-INVITEs right after the answer.
fn direct_media(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let callee_setup = Setup { codecs: vec!["pcmu"], input: Some("tone:1000"), ..setup(bench, "1013", "md5-1013")? };
    let caller_setup = Setup { codecs: vec!["pcmu"], ..setup(bench, "1012", "md5-1012")? };
    let heard = dir.join("heard.wav");
    let mut callee = Phone::start(&b, &callee_setup, &["listen", "--auto-answer", "--once"])?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    let call = ["call", "1013", "--record", &heard.display().to_string(), "--duration", "6s"];
    let mut caller = Phone::start(&a, &caller_setup, &call)?;
    let changed = caller.wait_for("call.changed", Duration::from_secs(10))?;
    let callee_ports = callee_setup.rtp..callee_setup.rtp + 40;
    let remote = changed["audio"]["remote"].as_str().unwrap_or_default().to_owned();
    let port = remote.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let caller = caller.finish(Duration::from_secs(20))?;
    caller.expect_code(0)?;
    callee.finish(Duration::from_secs(10))?.expect_code(0)?;
    if !port.is_some_and(|port| callee_ports.contains(&port)) {
        return Err(format!("sound goes to {remote}, not to the other phone's {callee_ports:?}"));
    }
    let sound = Sound::read(&heard, 0)?;
    let tone = heard_tone(&sound.cut(sound.seconds() - 4.2, 4.0), 1000.0, 3.0)?;
    Ok(format!("sound straight to {remote}; {tone}"))
}

/// Waits for the re-INVITE of the peer to be told.
fn changed(phone: &mut Phone, held: bool) -> Result<(), String> {
    let event = phone.wait_for("call.changed", Duration::from_secs(5))?;
    if event["held_by_peer"] == held { Ok(()) } else { Err(format!("held_by_peer should be {held}: {event}")) }
}

fn digits_received(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &user_1001(bench)?, &["call", "606"], Duration::from_secs(30))?;
    done.expect_code(0)?;
    expect_digits(&done, "0123456789*#ABCD")
}

fn digits_back(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &user_1001(bench)?, &["call", "605", "--dtmf", "7*05"], Duration::from_secs(40))?;
    done.expect_code(0)?;
    expect_digits(&done, "7*05")
}

fn caller_hangs_up(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &user_1001(bench)?, &["call", "602", "--duration", "2s"], Duration::from_secs(20))?;
    done.expect_code(0)?;
    ended_by(&done, "local")
}

fn pbx_hangs_up(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { codecs: vec!["pcma"], ..user_1001(bench)? };
    let heard = dir.join("heard.wav");
    let done =
        Phone::run(dir, &setup, &["call", "608", "--record", &heard.display().to_string()], Duration::from_secs(20))?;
    done.expect_code(0)?;
    ended_by(&done, "remote")?;
    heard_tone(&Sound::read(&heard, 0)?, 1000.0, 2.2)
}

fn refused(bench: &Bench, dir: &Path, args: &[&str], code: i32) -> Outcome {
    let done = Phone::run(dir, &user_1001(bench)?, args, Duration::from_secs(20))?;
    done.expect_code(code)?;
    Ok(format!("exit code {code} after {:.1} s", done.took.as_secs_f64()))
}

fn cancel(bench: &Bench, dir: &Path) -> Outcome {
    let mut phone = Phone::start(dir, &user_1001(bench)?, &["call", "604"])?;
    phone.wait_for("call.ringing", Duration::from_secs(10))?;
    phone.interrupt()?;
    let done = phone.finish(Duration::from_secs(5))?;
    done.expect_code(130)?;
    // Only a CANCEL ends it at the PBX before its minute is over.
    bench.asterisk()?.wait_for("Spawn extension (phones, 604, 2) exited non-zero", Duration::from_secs(5))?;
    Ok("CANCEL seen by the PBX, exit code 130".to_owned())
}

fn register(bench: &Bench, dir: &Path, user: &str, password: &str, transport: &'static str) -> Outcome {
    let setup = Setup { transport: Some(transport), ..setup(bench, user, password)? };
    let done = Phone::run(dir, &setup, &["register", "--once"], Duration::from_secs(20))?;
    done.expect_code(0)?;
    done.event("registration.ok")?;
    bench.asterisk()?.wait_for(&format!("to AOR '{user}' with expiration"), Duration::from_secs(5))?;
    Ok(format!("registered after {:.2} s in all", done.took.as_secs_f64()))
}

fn wrong_password(bench: &Bench, dir: &Path, user: &str) -> Outcome {
    let done = Phone::run(dir, &setup(bench, user, "not this one")?, &["register", "--once"], Duration::from_secs(20))?;
    done.expect_code(4)?.expect_slug("auth.wrong-password")?;
    Ok("exit code 4, auth.wrong-password".to_owned())
}

fn unknown_server(bench: &Bench, dir: &Path) -> Outcome {
    let named = |server: String| {
        user_1001(bench).map(|s| Setup { account: Some((server, "1001".to_owned(), "md5-1001".to_owned())), ..s })
    };
    let done = Phone::run(
        &dir.join("name"),
        &named("no-such-host.invalid".to_owned())?,
        &["register", "--once"],
        Duration::from_secs(40),
    )?;
    done.expect_code(5)?.expect_slug("net.dns")?;
    let closed = Setup { transport: Some("tcp"), ..named(format!("127.0.0.1:{}", crate::docker::free_port()?))? };
    let done = Phone::run(&dir.join("closed"), &closed, &["register", "--once"], Duration::from_secs(40))?;
    done.expect_code(5)?.expect_slug("net.refused")?;
    Ok("exit code 5: net.dns for a name, net.refused for a closed port".to_owned())
}

fn no_common_codec(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &setup(bench, "1005", "md5-1005")?, &["call", "600"], Duration::from_secs(20))?;
    done.expect_code(11)?.expect_slug("media.no-common-codec")?;
    Ok("exit code 11, media.no-common-codec".to_owned())
}

/// A PBX of its own, which may be killed, and a user of it.
fn mortal_pbx(dir: &Path, transport: &'static str) -> Result<(Asterisk, Setup), String> {
    let pbx = Asterisk::start(&dir.join("pbx"))?;
    let setup = Setup {
        account: Some((pbx.server(), "1001".to_owned(), "md5-1001".to_owned())),
        rtp: crate::docker::rtp_ports(40)?,
        transport: Some(transport),
        codecs: vec!["pcmu"],
        input: Some("tone:440"),
        ..Setup::default()
    };
    Ok((pbx, setup))
}

/// A call that ends as usual although nobody is left to answer the BYE.
fn hang_up_to_nobody(dir: &Path) -> Outcome {
    let (mut pbx, setup) = mortal_pbx(dir, "udp")?;
    let mut phone = Phone::start(dir, &setup, &["call", "602", "--duration", "5s"])?;
    phone.wait_for("media.stats", Duration::from_secs(10))?;
    pbx.kill()?;
    let done = phone.finish(Duration::from_secs(45))?;
    done.expect_code(0)?;
    let (told, took) = (ended_by(&done, "local")?, done.took.as_secs_f64());
    if took > 15.0 {
        Err(format!("ran for {took:.1} s"))
    } else {
        Ok(format!("{told}, exit code 0 {took:.1} s after the start"))
    }
}

/// The whole PBX vanishes, as in a power cut: the call ends by itself, soon, with the right words and exit code.
fn pbx_killed(dir: &Path, transport: &'static str) -> Outcome {
    let (mut pbx, setup) = mortal_pbx(dir, transport)?;
    let mut phone = Phone::start(dir, &setup, &["call", "602", "--media-timeout", "3s"])?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    // Sound has come, so what follows is its loss.
    phone.wait_for("media.stats", Duration::from_secs(5))?;
    phone.wait_for("media.stats", Duration::from_secs(5))?;
    let killed = std::time::Instant::now();
    pbx.kill()?;
    let done = phone.finish(Duration::from_secs(45))?;
    let after = killed.elapsed().as_secs_f64();
    done.expect_code(14)?.expect_slug("media.peer-gone")?;
    if after > 10.0 {
        return Err(format!("ended {after:.1} s after the PBX; the time-out is 3 s"));
    }
    Ok(format!("exit code 14, media.peer-gone, {after:.1} s after the PBX with a time-out of 3 s"))
}
