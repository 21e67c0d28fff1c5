//! The kinds of values that config keys take: durations, port ranges, sound sources and sinks, names out of a set.

use super::findings::nearest;
use super::read::{Bad, Place, Reader, Table};
use crate::media::command::{AudioSink, AudioSource};
use crate::time::Duration;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// Text with quotes, as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Bad> {
    value.as_str().ok_or_else(|| Bad::kind("text in quotes", value))
}

pub(crate) fn filled(value: &DeValue<'_>) -> Result<String, Bad> {
    let text = text(value)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(Bad::value("may not be empty or hold control characters"));
    }
    Ok(text.to_owned())
}

pub(crate) fn whole(value: &DeValue<'_>) -> Result<i64, Bad> {
    let DeValue::Integer(number) = value else { return Err(Bad::kind("a whole number", value)) };
    i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
        .map_err(|_| Bad::value("this number is too large"))
}

/// `20ms`, `1.5s`, `10m`, `2h`, `1d`.
pub fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.trim().parse().ok()?;
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

/// A duration as the config writes it.
pub(crate) fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    match ms {
        0 => "0s".to_owned(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 && ms > 120_000 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// Reads a sound source: `default`, a device, `none`, `silence`, `echo`, `tone:HZ`, `file:X.wav`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn source(text: &str) -> Result<AudioSource, String> {
    match text.split_once(':') {
        Some(("tone", hz)) => match hz.parse::<f64>() {
            Ok(hz) if (20.0..=20_000.0).contains(&hz) => Ok(AudioSource::Tone(hz)),
            _ => Err("a tone has 20 to 20000 Hz, such as \"tone:440\"".into()),
        },
        Some(("file", path)) if !path.is_empty() => Ok(AudioSource::File { path: path.to_owned(), repeat: true }),
        Some(("file", _)) => Err("name the file: \"file:talk.wav\"".into()),
        _ => match text {
            "none" => Ok(AudioSource::None),
            "silence" => Ok(AudioSource::Silence),
            "echo" => Ok(AudioSource::Echo),
            "" => Err("may not be empty".into()),
            device => Ok(AudioSource::Device(device.to_owned())),
        },
    }
}

/// Reads a sound sink: `default`, a device, `none`, `file:X.wav`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn sink(text: &str) -> Result<AudioSink, String> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(AudioSink::File(path.to_owned())),
        Some(("file", _)) => Err("name the file: \"file:heard.wav\"".into()),
        Some(("tone", _)) => Err("a tone is an input only".into()),
        _ => match text {
            "none" => Ok(AudioSink::None),
            "echo" => Err("echo is an input only".into()),
            "" => Err("may not be empty".into()),
            device => Ok(AudioSink::Device(device.to_owned())),
        },
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn flag(&mut self, table: &mut Table<'a>, key: &'static str, default: bool) -> bool {
        let read = |v: &DeValue<'_>| v.as_bool().ok_or_else(|| Bad::kind("true or false", v));
        self.value(table, key, default, read, |v| Some(v.to_string()))
    }

    pub(crate) fn number(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        default: i64,
        range: RangeInclusive<i64>,
    ) -> i64 {
        let read = |v: &DeValue<'_>| {
            let number = whole(v)?;
            if range.contains(&number) {
                return Ok(number);
            }
            Err(Bad::value(format!("must be {} to {}", range.start(), range.end())))
        };
        self.value(table, key, default, read, |v| Some(v.to_string()))
    }

    pub(crate) fn optional(&mut self, table: &mut Table<'a>, key: &'static str) -> Option<String> {
        self.value(table, key, None, |v| filled(v).map(Some), |v| v.as_deref().map(quoted))
    }

    /// A duration within `least..=most`, with the place it was set at.
    pub(crate) fn span(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        default: Duration,
        (least, most): (Duration, Duration),
    ) -> (Duration, Option<Place>) {
        let read = |v: &DeValue<'_>| {
            let text = text(v)?;
            let Some(span) = duration(text) else {
                return Err(Bad::value("a number and ms, s, m or h, such as \"20ms\" or \"10m\""));
            };
            if (least..=most).contains(&span) {
                return Ok(span);
            }
            Err(Bad::value(format!("must be {} to {}", show_duration(least), show_duration(most))))
        };
        let found = self.get(table, key, read);
        let (value, place) = found.map_or((default, None), |(v, p)| (v, Some(p)));
        let origin = place.as_ref().map_or_else(|| "default".to_owned(), Place::origin);
        self.note(table, key, Some(quoted(&show_duration(value))), origin);
        (value, place)
    }

    /// One of the words in `built`; those in `later` are known but not built.
    pub(crate) fn choice<T: Copy + PartialEq>(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        default: T,
        built: &[(&'static str, T)],
        later: &[&'static str],
    ) -> T {
        let read = |v: &DeValue<'_>| {
            let text = text(v)?;
            if let Some((_, value)) = built.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            if later.contains(&text) {
                let words: Vec<_> = built.iter().map(|(w, _)| *w).collect();
                return Err(Bad::not_built(format!("this version knows only {}", words.join(", "))));
            }
            let words = built.iter().map(|(w, _)| *w);
            let suggestion = nearest(text, words.clone()).map(str::to_owned);
            let all = words.collect::<Vec<_>>().join(", ");
            let label = match &suggestion {
                Some(word) => format!("did you mean \"{word}\"? one of {all}"),
                None => format!("one of {all}"),
            };
            Err(Bad { slug: "config.value", label, suggestion })
        };
        let show = |v: &T| built.iter().find(|(_, b)| b == v).map(|(word, _)| quoted(word));
        self.value(table, key, default, read, show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_only() {
        assert_eq!(duration("20ms"), Some(Duration::from_millis(20)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        for bad in ["20", "", "ms", "-1s", "1 fortnight", "1e400s", "NaNs", "infs"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_come_back_as_they_are_written() {
        for text in ["0s", "20ms", "60s", "120s", "10m", "1h", "25s"] {
            assert_eq!(duration(text).map(show_duration).as_deref(), Some(text));
        }
    }

    #[test]
    fn sources_and_sinks_are_told_apart() {
        assert_eq!(source("tone:440"), Ok(AudioSource::Tone(440.0)));
        assert_eq!(source("file:a.wav"), Ok(AudioSource::File { path: "a.wav".into(), repeat: true }));
        assert_eq!(source("hw:1,0"), Ok(AudioSource::Device("hw:1,0".into())));
        assert!(source("tone:x").is_err() && source("file:").is_err() && source("").is_err());
        assert_eq!(sink("file:b.wav"), Ok(AudioSink::File("b.wav".into())));
        assert!(sink("echo").is_err() && sink("tone:1").is_err());
    }
}
