//! Events as JSON lines: `schema` first, names instead of numbers, the words for every failure.

use super::escape::clean;
use super::texts::{self, Facts, Shown};
use crate::api::{Event, Failure};
use serde_json::{Map, Value, json};

/// One object on one line: `schema`, `event`, `t`, then the rest.
pub fn line(name: &str, time: &str, rest: &Map<String, Value>) -> String {
    let mut out = format!("{{\"schema\":1,\"event\":{},\"t\":{}", Value::from(name), Value::from(time));
    for (key, value) in rest {
        out += &format!(",{}:{value}", Value::from(key.as_str()));
    }
    out + "}"
}

/// An engine's event. `account` names accounts by number.
pub fn event(event: &Event, time: &str, accounts: &[String], around: &Facts) -> String {
    let Ok(Value::Object(mut map)) = serde_json::to_value(event) else { return line("unknown", time, &Map::new()) };
    let name = map.remove("event").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    for key in ["call", "new_call"] {
        if let Some(n) = map.get(key).and_then(Value::as_u64) {
            map.insert(key.into(), format!("c{n}").into());
        }
    }
    if let Some(n) = map.get("account").and_then(Value::as_u64) {
        let known = usize::try_from(n).ok().and_then(|n| accounts.get(n));
        map.insert("account".into(), known.map_or(Value::Null, |name| name.as_str().into()));
    }
    for key in ["stats", "audio"] {
        if let Some(Value::Object(stats)) = map.get_mut(key).filter(|v| v.get("received").is_some()) {
            for (from, to) in [("received", "rx"), ("sent", "tx"), ("speaker_db", "spk_db")] {
                if let Some(value) = stats.remove(from) {
                    stats.insert(to.into(), value);
                }
            }
        }
    }
    if let Some(ms) = map.remove("duration_ms") {
        let seconds = ms.as_u64().map(|ms| std::time::Duration::from_millis(ms).as_secs_f64());
        map.insert("duration_s".into(), json!(seconds));
    }
    let failure = map.remove("failure").and_then(|f| serde_json::from_value::<Failure>(f).ok());
    if let Some(failure) = failure {
        words(&mut map, &texts::show(&failure, around), &failure);
    }
    if let Some(Value::Object(result)) = map.remove("result") {
        match (result.get("Ok"), result.get("Err").cloned().and_then(|f| serde_json::from_value::<Failure>(f).ok())) {
            (Some(Value::Object(info)), _) => map.extend(info.clone()),
            (_, Some(failure)) => words(&mut map, &texts::show(&failure, around), &failure),
            _ => {}
        }
    }
    for value in map.values_mut() {
        scrub(value);
    }
    line(&name, time, &map)
}

/// An error that ends the program.
pub fn error(shown: &Shown, failure: &Failure, time: &str) -> String {
    let mut map = Map::new();
    words(&mut map, shown, failure);
    map.insert("exit".into(), shown.exit.code().into());
    line("error", time, &map)
}

fn words(map: &mut Map<String, Value>, shown: &Shown, failure: &Failure) {
    map.insert("slug".into(), shown.slug.as_str().into());
    map.insert("text".into(), shown.what.as_str().into());
    map.insert("cause".into(), shown.cause.as_str().into());
    map.insert("try".into(), json!(shown.tries));
    if let Some(code) = failure.code {
        map.insert("code".into(), code.into());
    }
}

/// Foreign text is made safe to show.
fn scrub(value: &mut Value) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(map) => map.values_mut().for_each(scrub),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EndedBy;
    use crate::id::{AccountId, CallHandle};
    use crate::media::command::MediaStats;

    #[test]
    fn an_outgoing_call_names_its_call_and_account() {
        let sent = Event::CallOutgoing { call: CallHandle(1), account: Some(AccountId(0)), to: "sip:600@pbx".into() };
        assert_eq!(
            event(&sent, "T", &["work".into()], &Facts::new()),
            r#"{"schema":1,"event":"call.outgoing","t":"T","account":"work","call":"c1","to":"sip:600@pbx"}"#
        );
    }

    #[test]
    fn a_failed_call_carries_slug_words_and_code() {
        let ended = Event::CallEnded {
            call: CallHandle(2),
            by: EndedBy::Remote,
            code: Some(486),
            failure: Some(Failure::new("call.busy").with_status(486, "Busy Here")),
            reason: None,
            duration_ms: None,
            stats: None,
        };
        let value: Value = serde_json::from_str(&event(&ended, "T", &[], &Facts::new())).unwrap();
        assert_eq!(value["slug"], "call.busy");
        assert_eq!(value["code"], 486);
        assert_eq!(value["by"], "remote");
        assert_eq!(value["duration_s"], Value::Null);
        assert_eq!(value["text"], "the other side is busy (486 Busy Here).   try later");
    }

    #[test]
    fn figures_have_their_short_names_and_unknown_ones_are_null() {
        let stats = MediaStats { received: 500, sent: 501, ..MediaStats::default() };
        let value: Value = serde_json::from_str(&event(
            &Event::Stats { call: CallHandle(1), audio: Box::new(stats) },
            "T",
            &[],
            &Facts::new(),
        ))
        .unwrap();
        assert_eq!((&value["audio"]["rx"], &value["audio"]["tx"]), (&json!(500), &json!(501)));
        assert!(value["audio"].as_object().unwrap().contains_key("mos") && value["audio"]["mos"].is_null());
    }

    #[test]
    fn hostile_names_leave_no_control_character_and_valid_json() {
        let hostile = Event::CallIncoming {
            call: CallHandle(1),
            account: None,
            from: "sip:x\u{1b}[2J@y".into(),
            display: Some(format!("\u{202e}{}\r\n", "A".repeat(65_536))),
            to: "sip:me".into(),
            caller: Box::default(),
        };
        let text = event(&hostile, "T", &[], &Facts::new());
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() < 1000 && text.chars().all(|c| !c.is_control() && c != '\u{202e}'));
        assert_eq!(value["from"], "sip:x\\u{1b}[2J@y");
    }
}
