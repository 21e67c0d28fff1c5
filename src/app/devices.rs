//! `bellwire devices`: which sound cards there are, and whether one works.

use super::args::{Cli, DeviceKind, DevicesCommand};
use super::console::Console;
use super::exit::Exit;
use super::run::Stop;
use crate::api::Failure;

/// Lists devices, or tries one.
pub(crate) fn command(what: Option<&DevicesCommand>, cli: &Cli, console: &mut Console) -> Result<Exit, Stop> {
    match what {
        None => list(false, console),
        Some(DevicesCommand::List { all }) => list(*all, console),
        Some(DevicesCommand::Test { kind, device, duration }) => {
            let name = match device {
                Some(name) => name.clone(),
                None => configured(*kind, cli, console)?,
            };
            test(*kind, &name, *duration, console)
        }
    }
}

/// The device that the config names for calls.
fn configured(kind: DeviceKind, cli: &Cli, console: &mut Console) -> Result<String, Stop> {
    use crate::media::command::{AudioSink, AudioSource};
    let (config, _) = super::run::config(cli, console)?;
    let (key, name) = match kind {
        DeviceKind::Mic => (
            "audio.input",
            match config.audio.input {
                AudioSource::Device(name) | AudioSource::DeviceAndFile(name, _) => Some(name),
                AudioSource::None
                | AudioSource::Silence
                | AudioSource::Tone(_)
                | AudioSource::Echo
                | AudioSource::File { .. }
                | AudioSource::Builtin(_) => None,
            },
        ),
        DeviceKind::Speaker => (
            "audio.output",
            match config.audio.output {
                AudioSink::Device(name) | AudioSink::DeviceAndFile(name, _) => Some(name),
                AudioSink::None | AudioSink::File(_) => None,
            },
        ),
    };
    name.ok_or_else(|| {
        let failure = Failure::new("usage.argument").with("what", key).with("value", "in the config");
        failure.with("cause", "it is no device; name one with --device").into()
    })
}

#[cfg(not(feature = "audio"))]
mod cards {
    use super::*;

    pub(crate) fn is_microphone(_: &str) -> bool {
        false
    }

    const MISSING: &str = "this program was built without sound cards (feature `audio`)";

    pub(super) fn list(_: bool, console: &mut Console) -> Result<Exit, Stop> {
        console.say(MISSING);
        Ok(Exit::Done)
    }

    pub(super) fn test(kind: DeviceKind, _: &str, _: std::time::Duration, _: &mut Console) -> Result<Exit, Stop> {
        let slug = match kind {
            DeviceKind::Mic => "audio.no-input",
            DeviceKind::Speaker => "audio.no-output",
        };
        Err(Failure::new(slug).with("cause", MISSING).into())
    }
}

#[cfg(feature = "audio")]
mod cards {
    use super::*;
    use crate::app::run::object;
    use crate::device::audio::find;
    use crate::device::audio::stream::quiet_alsa;
    use crate::device::audio::try_out::{self, Heard};
    use crate::device::audio::{DeviceError, Direction};
    use serde_json::json;
    use std::time::Duration;

    /// Whether somebody can speak into what `name` means.
    pub(crate) fn is_microphone(name: &str) -> bool {
        let _quiet = quiet_alsa();
        if name == "default" {
            find::has_microphone()
        } else {
            find::device(name, Direction::Capture, find::Patience::default()).is_ok()
        }
    }

    pub(super) fn list(all: bool, console: &mut Console) -> Result<Exit, Stop> {
        let _quiet = quiet_alsa();
        let (system, shown) = find::list(all);
        for device in &shown {
            console.object(
                "device",
                &object([
                    ("id", json!(device.id)),
                    ("name", json!(device.name)),
                    ("input", device.input.into()),
                    ("output", device.output.into()),
                    ("default_input", device.default.0.into()),
                    ("default_output", device.default.1.into()),
                    ("rate", json!(device.form.map(|f| f.0))),
                    ("channels", json!(device.form.map(|f| f.1))),
                ]),
            );
        }
        if shown.is_empty() {
            console.say(&format!(
                "{system} lists no sound device; calls work all the same, with audio.input = \"file:talk.wav\""
            ));
            return Ok(Exit::Done);
        }
        console.say(&format!("{system}; `*` is what \"default\" means"));
        let width = shown.iter().map(|d| d.id.chars().count()).max().unwrap_or(0).min(48);
        console.say(&format!("  mic speaker  {:<width$}  name", "id"));
        for device in shown {
            let mark = |can: bool, default: bool| match (can, default) {
                (true, true) => "yes*",
                (true, false) => "yes",
                (false, _) => "",
            };
            let form = device.form.map_or_else(String::new, |(rate, channels)| format!(" ({rate} Hz, {channels} ch)"));
            console.say(&format!(
                "  {:<4} {:<7} {:<width$}  {}{form}",
                mark(device.input, device.default.0),
                mark(device.output, device.default.1),
                Console::safe(&device.id),
                Console::safe(&device.name)
            ));
        }
        Ok(Exit::Done)
    }

    pub(super) fn test(kind: DeviceKind, name: &str, duration: Duration, console: &mut Console) -> Result<Exit, Stop> {
        let _quiet = quiet_alsa();
        let duration = duration.clamp(Duration::from_millis(500), Duration::from_secs(600));
        match kind {
            DeviceKind::Mic => microphone(name, duration, console),
            DeviceKind::Speaker => speaker(name, duration, console),
        }
    }

    fn failure(error: DeviceError) -> Stop {
        Failure::new(error.slug).with("cause", error.cause).into()
    }

    fn microphone(name: &str, duration: Duration, console: &mut Console) -> Result<Exit, Stop> {
        let out = &mut *console;
        let heard = try_out::listen(name, duration, |db| out.progress(&format!("  {:>6.1} dBFS {}", db, bar(db))));
        let heard = heard.map_err(failure)?;
        report(Direction::Capture, &heard, console);
        if heard.samples == 0 {
            let cause = format!("{} gave no sound at all in {} s", heard.name, duration.as_secs_f64());
            return Err(Failure::new("audio.no-input").with("cause", cause).into());
        }
        if heard.peak == 0 {
            let failure = Failure::new("media.silent-microphone").with("device", heard.name.as_str());
            return Err(failure.with("seconds", format!("{:.0}", duration.as_secs_f64())).into());
        }
        Ok(Exit::Done)
    }

    fn speaker(name: &str, duration: Duration, console: &mut Console) -> Result<Exit, Stop> {
        console.progress("  you should hear a tone of 440 Hz");
        let played = try_out::play(name, duration).map_err(failure)?;
        report(Direction::Playback, &played, console);
        if played.samples == 0 {
            let cause = format!("{} took no sound in {} s", played.name, duration.as_secs_f64());
            return Err(Failure::new("audio.no-output").with("cause", cause).into());
        }
        Ok(Exit::Done)
    }

    fn report(direction: Direction, heard: &Heard, console: &mut Console) {
        let what = match direction {
            Direction::Capture => "mic",
            Direction::Playback => "speaker",
        };
        console.object(
            "device.test",
            &object([
                ("kind", what.into()),
                ("name", json!(heard.name)),
                ("rate", heard.rate.into()),
                ("period", json!(heard.period)),
                ("samples", heard.samples.into()),
                ("lost", heard.lost.into()),
                ("level_db", json!(heard.level_db)),
                ("peak", heard.peak.into()),
            ]),
        );
        let ms = |samples: u64| samples * 1000 / u64::from(heard.rate.max(1));
        console.say(&format!(
            "  {}: {} Hz, {} samples at once, {} ms of sound, {} ms missing{}",
            Console::safe(&heard.name),
            heard.rate,
            heard.period,
            ms(heard.samples),
            ms(heard.lost),
            heard.level_db.map_or_else(String::new, |db| format!(", level {db:.1} dBFS"))
        ));
    }

    /// Twenty places for 60 dB.
    fn bar(db: f64) -> String {
        let full = ((db + 60.0) / 3.0).round().clamp(0.0, 20.0) as usize;
        "█".repeat(full)
    }
}

pub(crate) use cards::is_microphone;
use cards::{list, test};
