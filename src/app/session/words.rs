//! Figures and sound in words.

use crate::api::{AudibleTo, AudioInfo, CallerInfo};
use crate::app::console::Console;
use crate::app::status::count;
use crate::media::command::MediaStats;

/// Seconds with two digits.
pub(super) fn seconds(ms: u64) -> String {
    format!("{:.2}", count(ms) / 1000.0)
}

/// What was negotiated.
pub(super) fn sound(audio: Option<&AudioInfo>) -> String {
    let Some(audio) = audio else { return "no sound".into() };
    let channels = if audio.channels == 1 { "mono" } else { "stereo" };
    // RFC 7587: Opus is always announced with two channels; what we send is mono.
    let channels = if audio.codec == "opus" { "mono" } else { channels };
    let remote = audio.remote.as_ref().map_or_else(String::new, |r| format!(", to {}", Console::safe(r)));
    let guard = guard(audio);
    format!("{} {} kHz {channels}, {guard}{remote}", audio.codec, f64::from(audio.rate) / 1000.0)
}

/// Whether it is encrypted, and who could listen all the same.
fn guard(audio: &AudioInfo) -> String {
    let suite = audio.suite.as_deref().unwrap_or_default();
    match audio.audible_to {
        AudibleTo::Anyone => "not encrypted".to_owned(),
        AudibleTo::Signalling => format!("SRTP {suite} (whoever saw the call set up has the keys)"),
        AudibleTo::Server => format!("SRTP {suite} (the server has the keys)"),
    }
}

/// The figures of a call in one line.
pub(crate) fn figures(s: &MediaStats) -> String {
    let total = s.received + s.lost;
    let share = if total == 0 { 0.0 } else { count(s.lost) / count(total) * 100.0 };
    let mos = s.mos.map_or_else(String::new, |mos| format!(", MOS {mos:.1} (est.)"));
    let guard = s.srtp.as_ref().map_or("", |_| ", encrypted");
    let forged = if s.forged == 0 { String::new() } else { format!(", {} forged and dropped", grouped(s.forged)) };
    let [sent, received, lost] = [s.sent, s.received, s.lost].map(grouped);
    format!("sent {sent}, received {received}, lost {lost} ({share:.1}%){mos}{guard}{forged}")
}

/// `2 115`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// What else an incoming call says, line by line.
pub(super) fn about(caller: &CallerInfo) -> Vec<String> {
    let safe = |text: &str| Console::safe(text);
    let identity = caller.identity.iter().map(|who| format!("  known as {}", safe(who)));
    let private = caller.private.then(|| "  private  the caller wants not to be known to others".to_owned());
    let diverted = caller.diverted.iter().map(|by| {
        let why = by.reason.as_deref().map_or_else(String::new, |why| format!(" ({})", safe(&why.replace('-', " "))));
        format!("  diverted by {}{why}", safe(&by.by))
    });
    let said = caller.user_to_user.iter().map(|text| format!("  says     {}", safe(text)));
    identity.chain(private).chain(diverted).chain(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 2115, 1_234_567].map(grouped), ["0", "999", "2 115", "1 234 567"]);
    }
}
