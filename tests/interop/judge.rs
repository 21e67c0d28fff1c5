//! What was heard and told, judged.

use crate::phone::Finished;
use crate::sound::{Band, Sound, measure_tone, speech};
use crate::{Bench, Outcome, codec_band};

/// PESQ of the speech in `heard` at or over what the codec must keep, its level within 6 dB of what was said.
pub(crate) fn heard_speech(bench: &Bench, heard: &Sound, codec: &str) -> Outcome {
    heard_speech_at(bench, heard, codec, 0.0)
}

/// The same where the other end's codec is known to shift the level by `shift` dB.
pub(crate) fn heard_speech_at(bench: &Bench, heard: &Sound, codec: &str, shift: f64) -> Outcome {
    let (band, least) = codec_band(codec);
    let (mos, at) = speech(&bench.speech, heard, band)?;
    let kind = match band {
        Band::Narrow => "narrowband",
        Band::Wide => "wideband",
    };
    let louder = heard.cut(at.lag, bench.speech.seconds()).level_db() - bench.speech.level_db();
    let figures = format!("PESQ {mos:.2} {kind}, correlation {:.2}, level {louder:+.1} dB", at.correlation);
    if mos >= least && (louder - shift).abs() <= 6.0 {
        Ok(figures)
    } else {
        Err(format!("{figures}; should be {least}, within 6 dB of {shift:+} dB"))
    }
}

/// A tone of `hz` for at least `seconds`, SNR ≥ 25 dB, gaps ≤ 1 %.
pub(crate) fn heard_tone(heard: &Sound, hz: f64, seconds: f64) -> Outcome {
    heard_tone_over(heard, hz, 25.0, seconds)
}

/// The same with another least SNR.
pub(crate) fn heard_tone_over(heard: &Sound, hz: f64, snr_db: f64, seconds: f64) -> Outcome {
    let tone = measure_tone(heard)?;
    let figures =
        format!("{:.1} Hz, SNR {:.1} dB, gaps {:.1} %, {:.1} s", tone.hz, tone.snr_db, tone.gaps * 100.0, tone.seconds);
    let good = (tone.hz - hz).abs() < 1.0 && tone.snr_db >= snr_db && tone.gaps <= 0.01 && tone.seconds >= seconds;
    if good { Ok(figures) } else { Err(format!("{figures}; should be {hz} Hz, {snr_db} dB, 1 %, {seconds} s")) }
}

/// Fails unless the call was answered with this codec.
pub(crate) fn expect_codec(done: &Finished, codec: &str) -> Result<(), String> {
    let told = done.event("call.answered")?["audio"]["codec"].as_str().unwrap_or("none").to_ascii_lowercase();
    if told == codec { Ok(()) } else { Err(format!("codec {told} instead of {codec}")) }
}

/// Who ended the call, as told.
pub(crate) fn ended_by(done: &Finished, who: &str) -> Outcome {
    let ended = done.event("call.ended")?;
    if ended["by"] == who {
        Ok(format!("call.ended by {who} after {:.1} s", seconds_of(ended)))
    } else {
        Err(format!("ended by {}", ended["by"]))
    }
}

/// How long the call was up, as told.
fn seconds_of(ended: &serde_json::Value) -> f64 {
    ended["duration_s"].as_f64().or_else(|| ended["duration_ms"].as_f64().map(|ms| ms / 1000.0)).unwrap_or(0.0)
}

/// Fails unless just these digits were heard.
pub(crate) fn expect_digits(done: &Finished, digits: &str) -> Outcome {
    let heard = done.digits();
    if heard == digits { Ok(format!("heard {heard}")) } else { Err(format!("heard {heard:?} instead of {digits}")) }
}
