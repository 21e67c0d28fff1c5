//! What an INVITE says of its caller beyond From: asserted identity (RFC 3325), privacy (RFC 3323), who forwarded it
//! (RFC 5806, RFC 7044), how it wants to ring (RFC 3261 §20.4, §20.9), its own words (RFC 7433), and whether it wants to
//! be answered by itself (RFC 5373 and what phones do).

use super::failure::printable;
use crate::api::{CallerInfo, Diverted};
use crate::sip::message::{HeaderName, Headers, NameAddr, Params, Request, Uri};
use crate::time::Duration;

/// Forwardings that are shown.
const MAX_DIVERTED: usize = 8;
/// The longest wait before a call is answered as its caller wishes.
const MAX_DELAY: u64 = 60;

/// What is known of a caller; only from the account's own server (`trusted`) all is believed (threats C11).
pub(super) fn info(request: &Request, trusted: bool) -> CallerInfo {
    let headers = &request.headers;
    let text = |name: &HeaderName| headers.get(name).map(printable);
    let own = CallerInfo { user_to_user: user_to_user(headers), ..CallerInfo::default() };
    if !trusted {
        return own;
    }
    CallerInfo {
        identity: asserted(headers).map(|who| shown(&who)),
        private: is_private(headers),
        diverted: diverted(headers),
        alert_info: text(&HeaderName::ALERT_INFO),
        call_info: text(&HeaderName::CALL_INFO),
        ..own
    }
}

/// The first identity that is asserted.
pub(super) fn asserted(headers: &Headers) -> Option<NameAddr> {
    headers.addresses(&HeaderName::P_ASSERTED_IDENTITY).ok()?.into_iter().next()
}

/// A name and address for people.
pub(super) fn shown(who: &NameAddr) -> String {
    let uri = Uri { headers: None, ..who.uri.clone() };
    match who.display.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => printable(&format!("{name} <{uri}>")),
        None => printable(&uri.to_string()),
    }
}

fn is_private(headers: &Headers) -> bool {
    headers.get(&HeaderName::PRIVACY).is_some_and(|text| {
        text.split([';', ',']).any(|word| ["id", "user", "header"].contains(&word.trim().to_ascii_lowercase().as_str()))
    })
}

/// Who forwarded the call, the latest first: Diversion, else what History-Info says.
fn diverted(headers: &Headers) -> Vec<Diverted> {
    let diversions = headers.addresses(&HeaderName::DIVERSION).unwrap_or_default();
    if !diversions.is_empty() {
        let one = |by: NameAddr| Diverted { reason: by.params.get("reason").map(printable), by: shown(&by) };
        return diversions.into_iter().take(MAX_DIVERTED).map(one).collect();
    }
    // Each entry was the target before the next one, which says why (RFC 7044 §5, RFC 4458).
    let entries = headers.addresses(&HeaderName::HISTORY_INFO).unwrap_or_default();
    let one = |pair: &[NameAddr]| {
        let [by, next] = pair else { return None };
        Some(Diverted { by: shown(by), reason: cause(next).or_else(|| cause(by)).map(str::to_owned) })
    };
    entries.windows(2).filter_map(one).rev().take(MAX_DIVERTED).collect()
}

/// Why an entry of History-Info came about, in the words of Diversion.
fn cause(entry: &NameAddr) -> Option<&'static str> {
    let in_reason = || {
        let reason = entry.uri.fields().find(|(name, _)| *name == HeaderName::REASON)?.1;
        Params::of_header(&reason)?.get("cause").map(str::to_owned)
    };
    let code = entry.uri.params.get("cause").map(str::to_owned).or_else(in_reason)?;
    Some(match code.as_str() {
        "302" => "unconditional",
        "486" | "600" => "user-busy",
        "408" => "no-answer",
        "480" | "603" => "deflection",
        "503" => "unavailable",
        "404" => "unknown",
        _ => "other",
    })
}

/// User-to-User: hexadecimal data that is text is shown as text (RFC 7433 §4.1).
fn user_to_user(headers: &Headers) -> Option<String> {
    let value = headers.get(&HeaderName::USER_TO_USER)?;
    let (data, params) = value.split_once(';').unwrap_or((value, ""));
    let data = data.trim().trim_matches('"');
    let hex = params.to_ascii_lowercase().split(';').any(|param| param.trim() == "encoding=hex");
    let text = if hex || params.is_empty() { from_hex(data) } else { None };
    Some(printable(text.as_deref().unwrap_or(data)))
}

fn from_hex(text: &str) -> Option<String> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| if let [a, b] = pair { Some(a << 4 | b) } else { None }).collect::<Option<_>>()?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// What a User-to-User header of ours says: text as hexadecimal (RFC 7433 §4.1).
pub(super) fn to_user(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len() * 2 + 16);
    for byte in text.bytes() {
        write!(out, "{byte:02x}").expect("writing to a String does not fail");
    }
    out + ";encoding=hex"
}

/// How soon the caller wants to be answered without anybody touching the phone.
pub(super) fn wants_answer(headers: &Headers) -> Option<Duration> {
    let auto = |name: HeaderName| {
        headers
            .get(&name)
            .and_then(|mode| mode.split(';').next())
            .is_some_and(|mode| mode.trim().eq_ignore_ascii_case("auto"))
    };
    if auto(HeaderName::ANSWER_MODE) || auto(HeaderName::PRIV_ANSWER_MODE) {
        return Some(Duration::ZERO);
    }
    let params = |value: &str| {
        value.split_once('>').and_then(|(_, rest)| Params::of_header(rest.trim().trim_start_matches(';')))
    };
    let seconds = |params: &Params, name: &str| params.get(name).and_then(|text| text.parse::<u64>().ok());
    let delayed = |seconds: u64| Duration::from_secs(seconds.min(MAX_DELAY));
    let by_call = headers.get_all(&HeaderName::CALL_INFO).filter_map(params).find_map(|p| seconds(&p, "answer-after"));
    let by_alert = headers.get_all(&HeaderName::ALERT_INFO).filter_map(params).find_map(|p| {
        let wanted = p.get("info").is_some_and(|info| info.eq_ignore_ascii_case("alert-autoanswer"));
        seconds(&p, "answer-after").or_else(|| wanted.then(|| seconds(&p, "delay").unwrap_or(0)))
    });
    by_call.or(by_alert).map(delayed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::Method;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Method::Invite, "sip:a@192.0.2.1".parse().expect("a URI"));
        for (name, value) in headers {
            request.headers.push(HeaderName::new(name), *value);
        }
        request
    }

    #[test]
    fn only_the_own_server_is_believed() {
        let invite = request(&[
            ("P-Asserted-Identity", "\"The Boss\" <sip:1@pbx.example;x=y?z=1>"),
            ("P-Asserted-Identity", "<tel:+1>"),
            ("Privacy", "none;id"),
            ("Diversion", "<sip:bob@pbx.example>;reason=user-busy"),
            ("Diversion", "\"Carol\" <sip:carol@pbx.example>;reason=no-answer;counter=1"),
            ("Alert-Info", "<http://x.example/ring.wav>"),
            ("User-to-User", "48656c6c6f;encoding=hex"),
        ]);
        let stranger = info(&invite, false);
        assert_eq!(stranger, CallerInfo { user_to_user: Some("Hello".into()), ..CallerInfo::default() });
        let known = info(&invite, true);
        assert_eq!(known.identity.as_deref(), Some("The Boss <sip:1@pbx.example;x=y>"));
        assert!(known.private);
        let by: Vec<_> = known.diverted.iter().map(|d| (d.by.as_str(), d.reason.as_deref())).collect();
        let carol = ("Carol <sip:carol@pbx.example>", Some("no-answer"));
        assert_eq!(by, [("sip:bob@pbx.example", Some("user-busy")), carol]);
        assert_eq!(known.alert_info.as_deref(), Some("<http://x.example/ring.wav>"));
    }

    #[test]
    fn history_info_is_read_where_there_is_no_diversion() {
        let invite = request(&[
            ("History-Info", "<sip:bob@x.example?Reason=SIP%3Bcause%3D302>;index=1"),
            ("History-Info", "<sip:carol@x.example;cause=486>;index=1.1"),
            ("History-Info", "<sip:alice@192.0.2.1>;index=1.1.1"),
        ]);
        let by: Vec<_> = info(&invite, true).diverted.into_iter().map(|d| (d.by, d.reason)).collect();
        assert_eq!(by[0], ("sip:carol@x.example;cause=486".into(), Some("user-busy".into())));
        assert_eq!(by[1], ("sip:bob@x.example".into(), Some("user-busy".into())));
    }

    #[test]
    fn text_goes_to_the_far_end_as_hexadecimal_and_comes_back() {
        assert_eq!(to_user("Grüße"), "4772c3bcc39f65;encoding=hex");
        for (value, shown) in [
            (to_user("Grüße").as_str(), "Grüße"),
            ("00ff;encoding=hex", "00ff"),
            ("\"plain words\";encoding=text", "plain words"),
            ("56a390f3d2b7310023a2;encoding=hex;purpose=foo;content=bar", "56a390f3d2b7310023a2"),
            ("zz", "zz"),
        ] {
            assert_eq!(info(&request(&[("User-to-User", value)]), false).user_to_user.as_deref(), Some(shown));
        }
    }

    #[test]
    fn every_usual_wish_to_be_answered_is_understood() {
        for (name, value, seconds) in [
            ("Answer-Mode", "Auto", Some(0)),
            ("Answer-Mode", "Manual", None),
            ("Priv-Answer-Mode", "Auto;require", Some(0)),
            ("Call-Info", "<sip:pbx.example>;answer-after=3", Some(3)),
            ("Call-Info", "<sip:pbx.example>;answer-after=99999", Some(60)),
            ("Call-Info", "<sip:pbx.example>;purpose=icon", None),
            ("Alert-Info", "<http://127.0.0.1>;info=alert-autoanswer;delay=0", Some(0)),
            ("Alert-Info", "<http://127.0.0.1>;answer-after=0", Some(0)),
            ("Alert-Info", "info=alert-autoanswer", None),
            ("Alert-Info", "<http://x.example/bell.wav>", None),
        ] {
            let wanted = wants_answer(&request(&[(name, value)]).headers);
            assert_eq!(wanted, seconds.map(Duration::from_secs), "{name}: {value}");
        }
    }
}
