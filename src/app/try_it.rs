//! `bellwire try`: a PBX and a phone in one process, real sockets between them, one call to the echo, and a verdict.

use super::args::{Cli, Try};
use super::config::{Account, Config, Loaded, PasswordSource};
use super::console::Console;
use super::exit::Exit;
use super::run::{Phone, Stop, object, ready, refusal, tell};
use super::session::{AccountNames, Goal, Outcome, Sound, figures};
use super::verdict::{Heard, RATE, compare};
use super::{log, pbx, setup};
use crate::api::{AudioRoute, Failure};
use crate::device::builtin;
use crate::device::wav::Sound as Wav;
use crate::driver::Bind;
use crate::engine::Protocol;
use crate::media::command::{AudioSink, AudioSource, Builtin};
use crate::media::resample::Resampler;
use crate::media::tones::level_db;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The echo of the PBX.
const ECHO: &str = "600";
/// A quiet room, dBFS.
const QUIET_DB: f64 = -50.0;
/// The only user of the PBX.
const USER: &str = "you";

/// Runs the try and judges it.
pub(crate) fn run(options: &Try, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    let mut loaded = Loaded::read(Vec::new(), &cli.overrides());
    tell(&loaded, console);
    let Some(mut config) = loaded.config.take() else { return Err(Stop::Told(refusal(&loaded))) };
    log::start(&config.log, cli.global.verbose, console);
    config.network.interface = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    config.pbx.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if let Some(microphone) = microphone(&config).filter(|_| !options.speech) {
        console.progress("  speak into the microphone: you hear yourself a moment later");
        let exit = attempt(Some(&microphone), options, cli, &config, console)?;
        if let Some(exit) = exit {
            return Ok(exit);
        }
        console.progress("\n  too little was said to judge by; once more with recorded speech\n");
    }
    // Without a microphone there is always something to judge by.
    Ok(attempt(None, options, cli, &config, console)?.unwrap_or(Exit::Media))
}

/// The microphone to speak into, where there is one.
fn microphone(config: &Config) -> Option<String> {
    match &config.audio.input {
        AudioSource::Device(name) | AudioSource::DeviceAndFile(name, _) => {
            super::devices::is_microphone(name).then(|| name.clone())
        }
        AudioSource::None
        | AudioSource::Silence
        | AudioSource::Tone(_)
        | AudioSource::Echo
        | AudioSource::File { .. }
        | AudioSource::Builtin(_) => None,
    }
}

/// One call and its verdict; `None` when too little was said into the microphone.
fn attempt(
    microphone: Option<&str>,
    options: &Try,
    cli: &Cli,
    config: &Config,
    console: &mut Console,
) -> Result<Option<Exit>, Stop> {
    let mut config = config.clone();
    let bug = |what: String| Failure::new("bug").with("cause", what);
    let password = setup::random_password().map_err(|e| bug(e.to_string()))?;
    let mut phone = Phone::new(&config, &cli.global, console)?;
    let users = [(USER.to_owned(), password.clone())];
    // The phone comes first: it is what the user commands; the PBX listens before it starts all the same.
    let listen = Bind { protocol: Protocol::Udp, addr: config.pbx.listen };
    let at = pbx::add(&mut phone, pbx::engine_config(&config, &users)?, &[listen])?;
    let pbx_engine = std::mem::take(&mut phone.engines);
    let server = at.sockets.first().map(|s| s.local.to_string()).unwrap_or_default();
    config.accounts = vec![account(&server, password, &config)];
    let bound = phone.bind(&setup::binds(&config))?;
    phone.add_ua(setup::ua(&config)?, &bound)?;
    phone.engines.extend(pbx_engine);

    let place = Place::new(options.record.as_deref()).map_err(|e| bug(format!("no place for the recording: {e}")))?;
    let file = place.file.display().to_string();
    let (source, sink) = match (microphone, &config.audio.output) {
        (None, _) => (AudioSource::Builtin(Builtin::Speech), AudioSink::File(file)),
        (Some(name), output) => {
            let sink = match output {
                AudioSink::Device(speaker) | AudioSink::DeviceAndFile(speaker, _) => {
                    AudioSink::DeviceAndFile(speaker.clone(), file)
                }
                AudioSink::None | AudioSink::File(_) => AudioSink::File(file),
            };
            (AudioSource::DeviceAndFile(name.to_owned(), place.said.display().to_string()), sink)
        }
    };
    let sound = Sound {
        source: Some(source),
        sink: Some(sink),
        base: Some(AudioRoute { source: AudioSource::Silence, sink: AudioSink::None }),
        accounts: Vec::new(),
    };
    ready(console, "pbx", &at);
    let goal = Goal::Call {
        target: ECHO.into(),
        account: None,
        sound,
        dtmf: None,
        transfer: None,
        duration: Some(options.duration),
        after_register: true,
    };
    let names = vec![AccountNames { name: "try".into(), user: USER.into(), server }];
    let (exit, outcome) = phone.run(console, names, goal)?;
    if exit != Exit::Done {
        return Ok(Some(exit));
    }
    let said = match microphone {
        None => at_rate(&builtin::sound(Builtin::Speech)),
        Some(_) => match Wav::load(&place.said) {
            Ok(said) => at_rate(&said),
            Err(_) => return Ok(None), // the microphone did not open after all, and that was told
        },
    };
    if microphone.is_some() && !is_speech(&said) {
        return Ok(None);
    }
    Ok(Some(judge(&said, &outcome, &place.file, console)))
}

/// Whether there are three seconds that are louder than a quiet room.
fn is_speech(said: &[i16]) -> bool {
    let second = RATE as usize;
    let loud = |piece: &[i16]| piece.len() == 3 * second && level_db(piece) > QUIET_DB;
    (0..said.len()).step_by(second / 4).any(|start| said.get(start..start + 3 * second).is_some_and(loud))
}

fn account(server: &str, password: crate::secret::Secret, config: &Config) -> Account {
    Account {
        name: "try".into(),
        server: server.into(),
        user: USER.into(),
        domain: None,
        display_name: None,
        auth_user: None,
        password: Some(PasswordSource::Inline(password)),
        register: true,
        expires: std::time::Duration::from_secs(600),
        transport: super::config::Transport::Udp,
        tls: super::config::Tls::default(),
        proxy: None,
        auto_answer: None,
        auto_answer_from: Vec::new(),
        dtmf: crate::ua::DtmfMode::Auto,
        audio: config.audio.clone(),
        encryption: config.call.encryption,
        contact_rewrite: true,
        outbound: true,
        gruu: false,
    }
}

/// Where the recordings are: a folder of our own that goes away again, but for the file that was asked for.
struct Place {
    file: PathBuf,
    /// What was said into the microphone.
    said: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn new(kept: Option<&Path>) -> std::io::Result<Self> {
        let name = setup::random_password()?;
        let folder = std::env::temp_dir().join(format!("bellwire-try-{}", name.expose()));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let file = kept.map_or_else(|| folder.join("heard.wav"), Path::to_owned);
        Ok(Self { file, said: folder.join("said.wav"), folder })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn judge(said: &[i16], outcome: &Outcome, file: &Path, console: &mut Console) -> Exit {
    let heard = Wav::load(file).map_err(|e| format!("the recording cannot be read: {e}")).map(|wav| at_rate(&wav));
    let found = heard.and_then(|heard| {
        // What was said after the recording ended cannot have been heard.
        let length = said.len().min(heard.len());
        compare(&said[..length], &heard)
    });
    table(outcome, found.as_ref().ok(), console);
    let verdict = found.as_ref().map_err(Clone::clone).and_then(Heard::judge);
    console.object(
        "try.verdict",
        &object([
            ("heard", verdict.is_ok().into()),
            ("codec", json!(outcome.audio.as_ref().map(|a| &a.codec))),
            ("setup_ms", json!(outcome.answered_ms)),
            ("tx", json!(outcome.stats.as_ref().map(|s| s.sent))),
            ("rx", json!(outcome.stats.as_ref().map(|s| s.received))),
            ("lost", json!(outcome.stats.as_ref().map(|s| s.lost))),
            ("jitter_ms", json!(outcome.stats.as_ref().map(|s| s.jitter_ms))),
            ("rtt_ms", json!(outcome.rtt_ms)),
            ("delay_ms", json!(found.as_ref().ok().map(|h| h.delay_ms))),
            ("likeness", json!(found.as_ref().ok().map(|h| h.likeness))),
            ("level_db", json!(found.as_ref().ok().map(|h| h.level_db))),
            ("mos", json!(outcome.mos)),
        ]),
    );
    match verdict {
        Ok(()) => {
            console.say("\n  heard: the echo of what was said came back. Your phone works.");
            Exit::Done
        }
        Err(cause) => {
            let failure = Failure::new("media.not-heard").with("cause", cause);
            console.failure(&failure, &super::texts::Facts::new(), true)
        }
    }
}

fn table(outcome: &Outcome, heard: Option<&Heard>, console: &mut Console) {
    let ms = |value: Option<f64>| value.map_or_else(|| "not known".to_owned(), |v| format!("{v:.1} ms"));
    let audio = outcome.audio.as_ref();
    let stats = outcome.stats.as_ref();
    let rows = [
        ("codec", audio.map_or_else(|| "none".to_owned(), |a| format!("{} {} Hz", a.codec, a.rate))),
        (
            "set-up time",
            outcome.answered_ms.map_or_else(
                || "not answered".to_owned(),
                |v| if v == 0 { "less than 1 ms".to_owned() } else { format!("{v} ms") },
            ),
        ),
        ("packets", stats.map_or_else(|| "none".to_owned(), figures)),
        ("jitter", ms(stats.map(|s| s.jitter_ms))),
        ("round trip", ms(outcome.rtt_ms)),
        (
            "mouth to ear",
            heard.map_or_else(|| "not known".to_owned(), |h| format!("{:.0} ms, there and back", h.delay_ms)),
        ),
        (
            "level",
            heard.map_or_else(|| "not known".to_owned(), |h| format!("{:+.1} dB against what was said", h.level_db)),
        ),
        ("likeness", heard.map_or_else(|| "not known".to_owned(), |h| format!("{:.2}", h.likeness))),
        ("MOS", outcome.mos.map_or_else(|| "not known".to_owned(), |m| format!("{m:.1} (estimated from the network)"))),
    ];
    for (name, value) in rows {
        console.say(&format!("  {name:<13} {value}"));
    }
}

/// The sound at the rate at which it is compared.
fn at_rate(sound: &Wav) -> Vec<i16> {
    let Ok(mut resampler) = Resampler::new(sound.rate, RATE) else { return Vec::new() };
    let mut out = vec![0; resampler.most_output(sound.samples.len())];
    let length = resampler.process(&sound.samples, &mut out);
    out.truncate(length);
    out
}
