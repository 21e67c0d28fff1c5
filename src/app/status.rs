//! The live line of a call, as a function of the terminal's width and the last figures.

use crate::media::command::MediaStats;

/// What the line shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct View {
    /// Seconds since the answer.
    pub seconds: u64,
    /// Figures, as far as there are any.
    pub stats: MediaStats,
    /// We send silence.
    pub muted: bool,
    /// The microphone has given nothing but zeros for a while.
    pub silent: bool,
    /// We hold them, or they us.
    pub held: bool,
}

/// Below this width nothing is repainted.
pub const LEAST_WIDTH: usize = 60;

/// The line for a terminal `width` columns wide; `None` if it is too narrow.
pub fn line(width: usize, view: &View, colour: bool) -> Option<String> {
    if width < LEAST_WIDTH {
        return None;
    }
    let paint = Paint { colour };
    let s = &view.stats;
    let time = format!("{} {}", if view.held { "‖" } else { "●" }, clock(view.seconds));
    let total = s.received + s.lost;
    let loss = if total == 0 { 0.0 } else { count(s.lost) / count(total) * 100.0 };
    let loss = paint.mark(format!("loss {loss:.1}%"), loss >= 1.0, loss >= 5.0);
    let jitter = paint.mark(format!("jitter {:.0} ms", s.jitter_ms), s.jitter_ms >= 30.0, s.jitter_ms >= 60.0);
    let rtt = match s.rtt_ms {
        Some(rtt) => paint.mark(format!("rtt {rtt:.0} ms"), rtt >= 200.0, rtt >= 400.0),
        None => "rtt -".to_owned(),
    };
    let mos = match s.mos {
        Some(mos) => paint.mark(format!("MOS {mos:.1}"), mos < 3.6, mos < 3.1),
        None => "MOS -".to_owned(),
    };
    let mic = match (view.muted, view.silent) {
        (true, _) => "mic ----".to_owned(),
        (false, true) => "mic SILENT?".to_owned(),
        (false, false) => format!("mic {}", bar(s.mic_db)),
    };
    let speaker = format!("spk {}", bar(s.speaker_db));
    let codec = if s.codec.is_empty() { "-" } else { &s.codec };
    // Only what was found authentic is called so: negotiated keys alone are no lock.
    let time = if s.srtp.is_some() { format!("{time} srtp") } else { time };
    let mut parts = match width {
        ..80 => vec![time, loss, jitter, mos, speaker],
        ..86 if s.srtp.is_some() => vec![format!("{time} {codec}"), loss, jitter, mos, mic, speaker],
        _ => vec![format!("{time} {codec}"), loss, jitter, rtt, mos, mic, speaker],
    };
    if width >= 110 {
        parts.push(" m mute  h hold  q end".to_owned());
    }
    Some(parts.join("  "))
}

/// `00:42`, `1:00:42`.
pub fn clock(seconds: u64) -> String {
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m:02}:{s:02}") }
}

/// A whole number for reckoning with.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn count(n: u64) -> f64 {
    n as f64
}

/// Four cells for a level from -60 to 0 dBFS; dots while it is not known.
fn bar(db: Option<f64>) -> String {
    const CELLS: [char; 9] = ['▁', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some(db) = db else { return "····".to_owned() };
    if db <= -95.0 {
        return "0000".to_owned();
    }
    let filled = ((db + 60.0) / 60.0).clamp(0.0, 1.0) * 32.0;
    (0..4)
        .map(|cell| {
            let here = (filled - f64::from(cell) * 8.0).clamp(0.0, 8.0);
            let steps: u8 = (0..=8_u8).rev().find(|n| f64::from(*n) <= here).unwrap_or(0);
            CELLS[usize::from(steps)]
        })
        .collect()
}

struct Paint {
    colour: bool,
}

impl Paint {
    /// `!` and yellow for a bad figure, `!!` and red for a very bad one.
    fn mark(&self, text: String, bad: bool, very: bool) -> String {
        let (sign, on) = match (bad, very) {
            (_, true) => ("!!", "\x1b[31m"),
            (true, false) => ("!", "\x1b[33m"),
            (false, false) => return text,
        };
        if self.colour { format!("{on}{text}{sign}\x1b[0m") } else { format!("{text}{sign}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let stats = MediaStats {
            codec: "opus".into(),
            received: 1000,
            jitter_ms: 3.1,
            rtt_ms: Some(24.0),
            mos: Some(4.41),
            mic_db: Some(-30.0),
            speaker_db: Some(-20.0),
            ..MediaStats::default()
        };
        View { seconds: 42, stats, muted: false, silent: false, held: false }
    }

    #[test]
    fn each_width_shows_what_fits() {
        let full = "● 00:42 opus  loss 0.0%  jitter 3 ms  rtt 24 ms  MOS 4.4  mic ██▁▁  spk ██▅▁";
        assert_eq!(line(110, &view(), false).unwrap(), format!("{full}   m mute  h hold  q end"));
        assert_eq!(line(109, &view(), false).unwrap(), full);
        assert_eq!(line(80, &view(), false).unwrap(), full);
        assert_eq!(line(79, &view(), false).unwrap(), "● 00:42  loss 0.0%  jitter 3 ms  MOS 4.4  spk ██▅▁");
        assert_eq!(line(59, &view(), false), None);
        for width in [60, 79, 80, 109, 110] {
            assert!(line(width, &view(), false).unwrap().chars().count() < width, "{width}");
        }
    }

    #[test]
    fn bad_figures_are_marked_with_signs_and_not_by_colour_alone() {
        let mut bad = view();
        (bad.stats.lost, bad.stats.jitter_ms, bad.stats.rtt_ms, bad.stats.mos) = (10, 60.0, Some(200.0), Some(3.0));
        let plain = line(109, &bad, false).unwrap();
        assert!(plain.contains("loss 1.0%  ") || plain.contains("loss 1.0%!"), "{plain}");
        assert!(
            plain.contains("jitter 60 ms!!") && plain.contains("rtt 200 ms!") && plain.contains("MOS 3.0!!"),
            "{plain}"
        );
        let painted = line(109, &bad, true).unwrap();
        assert!(painted.contains("\x1b[31mMOS 3.0!!\x1b[0m"), "{painted}");
    }

    #[test]
    fn what_was_found_authentic_is_marked_as_encrypted_at_every_width() {
        let mut view = view();
        view.stats.srtp = Some("AEAD_AES_256_GCM".into());
        for width in [60, 79, 80, 85, 86, 109, 110] {
            let line = line(width, &view, false).unwrap();
            assert!(line.starts_with("● 00:42 srtp") && line.chars().count() < width, "{width}: {line}");
        }
    }

    #[test]
    fn unknown_figures_are_not_invented() {
        let line = line(100, &View::default(), false).unwrap();
        assert_eq!(line, "● 00:00 -  loss 0.0%  jitter 0 ms  rtt -  MOS -  mic ····  spk ····");
    }

    #[test]
    fn mute_and_digital_silence_are_told_apart() {
        let mut quiet = view();
        quiet.stats.mic_db = Some(-120.0);
        assert!(line(100, &quiet, false).unwrap().contains("mic 0000"));
        quiet.silent = true;
        assert!(line(100, &quiet, false).unwrap().contains("mic SILENT?"));
        quiet.muted = true;
        assert!(line(100, &quiet, false).unwrap().contains("mic ----"));
    }
}
