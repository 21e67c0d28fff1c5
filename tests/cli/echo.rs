//! Whether an echo counts as heard: the real binary calls a scripted echo, and the recording is judged as `try` judges its own.

use crate::kit::{Home, PATIENCE};
use crate::peer::{Echo, Peer, Script};
use bellwire::app::verdict::{RATE, compare};
use bellwire::device::wav::Sound;

/// Calls the echo, says the built-in speech and judges what came back.
fn heard(echo: Echo) -> Result<(), String> {
    let home = Home::alone();
    let peer = Peer::start(Script::Echo(echo));
    let speech = concat!(env!("CARGO_MANIFEST_DIR"), "/src/assets/speech.wav");
    let target = format!("sip:echo@{}", peer.addr);
    let mut args = vec!["call", &target, "--null-audio", "--codecs", "pcmu", "--play", speech];
    args.extend(["--record", "heard.wav", "--duration", "6s"]);
    let start = std::time::Instant::now();
    home.run(&args).expect(0, &["  answered "]);
    assert!(start.elapsed() < PATIENCE);
    let said = at_rate(&Sound::load(std::path::Path::new(speech)).map_err(|e| e.to_string())?);
    let heard = at_rate(&Sound::load(&home.path("heard.wav")).map_err(|e| e.to_string())?);
    let length = said.len().min(heard.len());
    compare(&said[..length], &heard).and_then(|found| found.judge())
}

/// Mean of neighbours: enough for 16 kHz and 48 kHz speech that went through 8 kHz anyway.
fn at_rate(sound: &Sound) -> Vec<i16> {
    let by = usize::try_from(sound.rate / RATE).unwrap();
    let mean = |c: &[i16]| {
        i16::try_from(c.iter().map(|s| i32::from(*s)).sum::<i32>() / i32::try_from(c.len()).unwrap()).unwrap()
    };
    sound.samples.chunks(by).map(mean).collect()
}

#[test]
fn a_true_echo_is_heard() {
    assert_eq!(heard(Echo::Clean), Ok(()));
}

#[test]
fn a_silent_echo_is_not_heard() {
    assert_eq!(heard(Echo::Silent), Err("nothing but silence was heard".into()));
}

#[test]
fn a_scrambled_echo_is_not_heard() {
    let why = heard(Echo::Scrambled).unwrap_err();
    assert!(why.contains("resembles what was said by"), "{why}");
}

#[test]
fn an_echo_three_seconds_late_is_not_heard() {
    assert!(heard(Echo::Late).is_err());
}

#[test]
fn a_one_way_call_is_not_heard() {
    assert!(heard(Echo::OneWay).is_err());
}
