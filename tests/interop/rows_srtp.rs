//! Encrypted calls (SDES): through Asterisk, and direct with other phones.

use crate::docker::{free_port, rtp_ports, until};
use crate::judge::{heard_speech, heard_speech_at};
use crate::peers::{Guard, Kind, PeerPhone, in_use};
use crate::phone::{Finished, Phone, Setup};
use crate::sound::Sound;
use crate::{Bench, Outcome, Row};
use std::path::Path;
use std::time::Duration;

/// All rows.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    // Debian's Asterisk has no AES-256 and no GCM; Linphone and baresip have.
    for suite in ["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"] {
        rows.push(Row::new("asterisk", format!("echo, SRTP required, {suite}"), move |b, d| {
            echo(b, d, "required", vec![suite], suite)
        }));
    }
    rows.push(Row::new("asterisk", "echo, SRTP preferred by us and required by it", |b, d| {
        echo(b, d, "preferred", Vec::new(), "AES_CM_128_HMAC_SHA1_80")
    }));
    rows.push(Row::new("asterisk", "two phones through it, SRTP required", two_phones));
    rows.push(Row::new("asterisk", "SRTP required by it and off here", refused));
    for kind in [Kind::Linphone, Kind::Baresip] {
        rows.push(Row::new(kind.name(), "we call it, SRTP required", move |b, d| outgoing(b, d, kind)));
        rows.push(Row::new(kind.name(), "it calls us, SRTP required", move |b, d| incoming(b, d, kind)));
    }
    rows
}

/// The suite of an answered call, which must have been found authentic as well.
fn suite(done: &Finished) -> Result<String, String> {
    let agreed = done.event("call.answered")?["audio"]["suite"].as_str().unwrap_or("none").to_owned();
    let stats = &done.event("call.ended")?["stats"];
    // Linphone and baresip send a packet or two to open the way before they encrypt, and Asterisk's RTCP has a tag of
    // 32 bits where RFC 4568 §6.2 wants 80.
    let forged = stats["forged"].as_u64().unwrap_or(u64::MAX);
    if stats["srtp"] != agreed.as_str() || forged > 4 || stats["replayed"] != 0 {
        return Err(format!("{agreed} was agreed on, but: {stats}"));
    }
    Ok(if forged == 0 { agreed } else { format!("{agreed}, {forged} packets dropped") })
}

fn account(bench: &Bench, user: &str) -> Result<Setup, String> {
    let account = Some((bench.asterisk()?.server(), user.to_owned(), format!("md5-{user}")));
    let codecs = vec!["pcmu"];
    Ok(Setup { account, codecs, encryption: Some("required"), rtp: rtp_ports(40)?, ..Setup::default() })
}

fn echo(bench: &Bench, dir: &Path, encryption: &'static str, suites: Vec<&'static str>, expected: &str) -> Outcome {
    let setup = Setup { encryption: Some(encryption), suites, ..account(bench, "1006")? };
    let heard = dir.join("heard.wav");
    let says = bench.speech_file(dir)?;
    let call = ["call", "600", "--play", &says, "--record", &heard.display().to_string(), "--duration", "12s"];
    let done = Phone::run(dir, &setup, &call, Duration::from_secs(40))?;
    done.expect_code(0)?;
    let suite = suite(&done)?;
    if !suite.starts_with(expected) {
        return Err(format!("{suite} instead of {expected}"));
    }
    Ok(format!("{suite}, {}", heard_speech(bench, &Sound::read(&heard, 0)?, "pcmu")?))
}

fn two_phones(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    std::fs::create_dir_all(&a).and_then(|()| std::fs::create_dir_all(&b)).map_err(|e| e.to_string())?;
    let (heard_a, heard_b) = (a.join("heard.wav"), b.join("heard.wav"));
    let says = bench.speech_file(dir)?;
    let listen = ["listen", "--auto-answer", "--once", "--play", &says, "--record", &heard_b.display().to_string()];
    let mut callee = Phone::start(&b, &account(bench, "1007")?, &listen)?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    let call = ["call", "1007", "--play", &says, "--record", &heard_a.display().to_string(), "--duration", "13s"];
    let caller = Phone::run(&a, &account(bench, "1006")?, &call, Duration::from_secs(40))?;
    caller.expect_code(0)?;
    let callee = callee.finish(Duration::from_secs(10))?;
    callee.expect_code(0)?;
    let (first, second) = (suite(&caller)?, suite(&callee)?);
    let a = heard_speech(bench, &Sound::read(&heard_a, 0)?, "pcmu").map_err(|e| format!("the caller heard: {e}"))?;
    let b = heard_speech(bench, &Sound::read(&heard_b, 0)?, "pcmu").map_err(|e| format!("the callee heard: {e}"))?;
    Ok(format!("{first}, {a}; {second}, {b}"))
}

fn refused(bench: &Bench, dir: &Path) -> Outcome {
    let setup = Setup { encryption: Some("off"), ..account(bench, "1006")? };
    let done = Phone::run(dir, &setup, &["call", "600", "--duration", "2s"], Duration::from_secs(20))?;
    done.expect_code(11)?;
    done.expect_slug("media.no-common-codec")?;
    Ok("488 and exit code 11".to_owned())
}

fn outgoing(bench: &Bench, dir: &Path, kind: Kind) -> Outcome {
    let mut peer = PeerPhone::start_with(kind, &dir.join("peer"), "pcmu", &bench.speech, Guard::Required)?;
    let setup = Setup { codecs: vec!["pcmu"], encryption: Some("required"), rtp: rtp_ports(40)?, ..Setup::default() };
    let heard = dir.join("heard.wav");
    let uri = format!("sip:{}@127.0.0.1:{}", kind.name(), peer.port);
    let says = bench.speech_file(dir)?;
    let call = ["call", &uri, "--play", &says, "--record", &heard.display().to_string(), "--duration", "13s"];
    let mut phone = Phone::start(dir, &setup, &call)?;
    peer.in_call()?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    let done = phone.finish(Duration::from_secs(30))?;
    done.expect_code(0)?;
    peer.call_ended()?;
    both_heard(bench, &peer, &heard, &done)
}

fn incoming(bench: &Bench, dir: &Path, kind: Kind) -> Outcome {
    let port = free_port()?;
    let setup =
        Setup { codecs: vec!["pcmu"], encryption: Some("required"), port, rtp: rtp_ports(40)?, ..Setup::default() };
    let heard = dir.join("heard.wav");
    let says = bench.speech_file(dir)?;
    let mut peer = PeerPhone::start_with(kind, &dir.join("peer"), "pcmu", &bench.speech, Guard::Required)?;
    let listen = ["listen", "--auto-answer", "--once", "--play", &says, "--record", &heard.display().to_string()];
    let mut phone = Phone::start(dir, &setup, &listen)?;
    if !until(Duration::from_secs(10), || in_use(port)) {
        return Err(format!("bellwire does not listen on port {port}"));
    }
    peer.call(&format!("sip:bellwire@127.0.0.1:{port}"))?;
    peer.in_call()?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(12_500));
    peer.hang_up()?;
    let done = phone.finish(Duration::from_secs(10))?;
    done.expect_code(0)?;
    both_heard(bench, &peer, &heard, &done)
}

fn both_heard(bench: &Bench, peer: &PeerPhone, heard: &Path, done: &Finished) -> Outcome {
    let suite = suite(done)?;
    let we = heard_speech_at(bench, &Sound::read(heard, 0)?, "pcmu", 0.0).map_err(|e| format!("we heard: {e}"))?;
    let it = heard_speech_at(bench, &peer.heard()?, "pcmu", 0.0).map_err(|e| format!("it heard: {e} (we: {we})"))?;
    Ok(format!("{suite}; we heard {we}; it heard {it}"))
}
