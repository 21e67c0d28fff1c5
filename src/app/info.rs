//! `version`, `codecs`: what this binary is.

use super::console::Console;
use super::exit::Exit;
use super::run::object;
use crate::media::codec::CODECS;
use serde_json::json;

/// `bellwire version`
pub(crate) fn version(console: &mut Console) -> Exit {
    let features: Vec<&str> = [("audio", cfg!(feature = "audio")), ("opus", cfg!(feature = "opus"))]
        .into_iter()
        .filter(|f| f.1)
        .map(|f| f.0)
        .collect();
    let codecs: Vec<&str> = CODECS.iter().map(|c| c.name).collect();
    if console.json {
        console.object(
            "version",
            &object([
                ("version", env!("CARGO_PKG_VERSION").into()),
                ("features", json!(features)),
                ("codecs", json!(codecs)),
                ("os", std::env::consts::OS.into()),
                ("arch", std::env::consts::ARCH.into()),
                ("debug", cfg!(debug_assertions).into()),
            ]),
        );
    } else {
        console.say(&format!(
            "bellwire {} ({} {}{})\nfeatures: {}\ncodecs:   {}",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            if cfg!(debug_assertions) { ", debug build" } else { "" },
            if features.is_empty() { "none".to_owned() } else { features.join(", ") },
            codecs.join(", ")
        ));
    }
    Exit::Done
}

/// `bellwire codecs`
pub(crate) fn codecs(console: &mut Console) -> Exit {
    console.say("name   payload  clock   sound   channels");
    for codec in CODECS {
        let pt = codec.static_pt.map_or_else(|| "dynamic".to_owned(), |pt| pt.to_string());
        console.object(
            "codec",
            &object([
                ("name", codec.name.into()),
                ("payload_type", json!(codec.static_pt)),
                ("clock_rate", codec.clock_rate.into()),
                ("sample_rate", codec.sample_rate.into()),
                ("channels", codec.channels.into()),
            ]),
        );
        console.say(&format!(
            "{:<6} {pt:<8} {:<7} {:<7} {}",
            codec.name, codec.clock_rate, codec.sample_rate, codec.channels
        ));
    }
    Exit::Done
}
