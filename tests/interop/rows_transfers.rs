//! Transfers, pick-up, digits by INFO and identities with Asterisk.

use crate::judge::{ended_by, expect_digits, heard_tone};
use crate::phone::{Finished, Phone, Setup};
use crate::sound::Sound;
use crate::{Bench, Outcome, Row};
use std::path::Path;
use std::time::Duration;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row::new("asterisk", "blind transfer by us, the other one hears the echo", by_us),
        Row::new("asterisk", "blind transfer by us to nobody, the call goes on", to_nobody),
        Row::new("asterisk", "transfer by the PBX (REFER), followed", by_the_pbx),
        Row::new("asterisk", "pick-up of another phone's call by *8", pick_up),
        Row::new("asterisk", "ring group, the other phone is told that it was answered elsewhere", ring_group),
        Row::new("asterisk", "digits by INFO, both ways", digits_by_info),
        Row::new("asterisk", "diversion and asserted identity shown", identities),
    ]
}

fn user(bench: &Bench, number: u16) -> Result<Setup, String> {
    let account = Some((bench.asterisk()?.server(), number.to_string(), format!("md5-{number}")));
    Ok(Setup { account, codecs: vec!["pcmu"], rtp: crate::docker::rtp_ports(40)?, ..Setup::default() })
}

/// The states of our transfer that were told, in order.
fn states(done: &Finished) -> Vec<String> {
    let told = done.events.iter().filter(|event| event["event"] == "call.transfer");
    told.filter_map(|event| event["state"].as_str().map(str::to_owned)).collect()
}

fn expect_last(done: &Finished, wanted: &str) -> Result<String, String> {
    let states = states(done);
    match states.last() {
        Some(last) if last == wanted => Ok(states.join(", ")),
        _ => Err(format!("the transfer should end as {wanted}: {states:?}")),
    }
}

fn by_us(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let heard = b.join("heard.wav");
    let listen = ["listen", "--auto-answer", "--once", "--record", &heard.display().to_string()];
    let setup = Setup { input: Some("tone:1000"), ..user(bench, 1021)? };
    let mut callee = Phone::start(&b, &setup, &listen)?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    let caller = Phone::run(&a, &user(bench, 1020)?, &["call", "1021", "--transfer", "600"], Duration::from_secs(30))?;
    caller.expect_code(0)?;
    let told = expect_last(&caller, "done")?;
    std::thread::sleep(Duration::from_secs(4));
    callee.interrupt()?;
    callee.finish(Duration::from_secs(10))?;
    let back = heard_tone(&Sound::read(&heard, 0)?, 1000.0, 2.5)?;
    Ok(format!("{told}; the other one hears itself: {back}"))
}

fn to_nobody(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let mut callee = Phone::start(&b, &user(bench, 1028)?, &["listen", "--auto-answer", "--once"])?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    let call = ["call", "1028", "--transfer", "999", "--duration", "4s"];
    let caller = Phone::run(&a, &user(bench, 1020)?, &call, Duration::from_secs(30))?;
    caller.expect_code(0)?;
    let told = expect_last(&caller, "failed")?;
    ended_by(&caller, "local")?;
    callee.finish(Duration::from_secs(10))?.expect_code(0)?;
    Ok(told)
}

fn by_the_pbx(bench: &Bench, dir: &Path) -> Outcome {
    let call = ["call", "611", "--set", "call.transfer_policy=allow", "--duration", "40s"];
    let setup = Setup { input: Some("tone:1000"), ..user(bench, 1025)? };
    let mut phone = Phone::start(dir, &setup, &call)?;
    let asked = phone.wait_for("call.transfer-asked", Duration::from_secs(15))?;
    let answered = phone.wait_for("call.transfer-answered", Duration::from_secs(5))?;
    let ended = phone.wait_for("call.ended", Duration::from_secs(15))?;
    std::thread::sleep(Duration::from_secs(2));
    phone.interrupt()?;
    let done = phone.finish(Duration::from_secs(10))?;
    let second = done.events.iter().filter(|event| event["event"] == "call.ended").nth(1);
    let lasted = second.and_then(|event| event["duration_s"].as_f64()).unwrap_or(0.0);
    if answered["new_call"] != "c2" || ended["call"] != "c1" || lasted < 1.5 {
        return Err(format!("asked {asked}, answered {answered}, ended {ended}, then {lasted} s"));
    }
    Ok(format!("{} followed, the old call ended by {}", asked["to"], ended["by"]))
}

fn pick_up(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
    let mut rings = Phone::start(&b, &user(bench, 1023)?, &["listen", "--once"])?;
    rings.wait_for("registration.ok", Duration::from_secs(10))?;
    let caller = Setup { input: Some("tone:1000"), ..user(bench, 1022)? };
    let mut caller = Phone::start(&a, &caller, &["call", "1023"])?;
    rings.wait_for("call.incoming", Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(500));
    std::fs::create_dir_all(&c).map_err(|e| e.to_string())?;
    let heard = c.join("heard.wav");
    let call = ["call", "*8", "--record", &heard.display().to_string(), "--duration", "4s"];
    let picker = Phone::run(&c, &user(bench, 1024)?, &call, Duration::from_secs(20))?;
    picker.expect_code(0)?;
    caller.wait_for("call.answered", Duration::from_secs(5))?;
    caller.finish(Duration::from_secs(10))?.expect_code(0)?;
    // Asterisk 22 cancels with Q.850 cause 16 here, which says nothing of an answer elsewhere.
    let rang = rings.finish(Duration::from_secs(10))?;
    let reason = rang.event("call.ended")?["reason"].clone();
    let tone = heard_tone(&Sound::read(&heard, 0)?, 1000.0, 2.5)?;
    Ok(format!("the one who picked up hears the caller: {tone}; the phone that rang was told {reason}"))
}

fn ring_group(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
    let mut rings = Phone::start(&b, &user(bench, 1025)?, &["listen", "--once"])?;
    let mut answers = Phone::start(&c, &user(bench, 1027)?, &["listen", "--once", "--auto-answer=1s"])?;
    rings.wait_for("registration.ok", Duration::from_secs(10))?;
    answers.wait_for("registration.ok", Duration::from_secs(10))?;
    Phone::run(&a, &user(bench, 1022)?, &["call", "620", "--duration", "1s"], Duration::from_secs(20))?
        .expect_code(0)?;
    answers.finish(Duration::from_secs(10))?.expect_code(0)?;
    let rang = rings.finish(Duration::from_secs(10))?;
    rang.expect_slug("call.answered-elsewhere")?;
    Ok(format!("told {}", rang.event("call.ended")?["reason"]))
}

fn digits_by_info(bench: &Bench, dir: &Path) -> Outcome {
    let done = Phone::run(dir, &user(bench, 1027)?, &["call", "605", "--dtmf", "7*05"], Duration::from_secs(40))?;
    done.expect_code(0)?;
    expect_digits(&done, "7*05")
}

fn identities(bench: &Bench, dir: &Path) -> Outcome {
    let (a, b) = (dir.join("a"), dir.join("b"));
    let mut callee = Phone::start(&b, &user(bench, 1026)?, &["listen", "--auto-answer", "--once"])?;
    callee.wait_for("registration.ok", Duration::from_secs(10))?;
    Phone::run(&a, &user(bench, 1020)?, &["call", "613", "--duration", "1s"], Duration::from_secs(20))?
        .expect_code(0)?;
    let done = callee.finish(Duration::from_secs(10))?;
    let came = done.event("call.incoming")?;
    let (who, by) = (came["identity"].as_str().unwrap_or(""), came["diverted"][0]["by"].as_str().unwrap_or(""));
    let why = came["diverted"][0]["reason"].as_str().unwrap_or("");
    if who.starts_with("Anna <sip:1020@") && by.contains("sip:1555@") && why == "user-busy" {
        return Ok(format!("{who}, diverted by {by}: {why}"));
    }
    Err(format!("{came}"))
}
