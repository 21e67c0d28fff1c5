//! What a NOTIFY says: Event and Subscription-State (RFC 6665 §8.2), and the status line of a `message/sipfrag` body
//! (RFC 3420).

use super::grammar::{decimal, is_token, trim};
use super::{HeaderName, Headers, Params, StatusCode};

/// The type of a body that is a piece of a SIP message.
pub const SIPFRAG: &str = "message/sipfrag";

/// Which package a subscription is about, and which one of several in a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPackage {
    /// `refer`, `message-summary` …
    pub name: String,
    /// Tells subscriptions of one dialog apart.
    pub id: Option<String>,
}

impl EventPackage {
    /// The Event header; `None` when there is none that can be read.
    pub fn of(headers: &Headers) -> Option<Self> {
        let text = headers.get(&HeaderName::EVENT)?;
        let (name, params) = text.split_once(';').unwrap_or((text, ""));
        let name = trim(name);
        let id = Params::parse_header(params).and_then(|params| params.get("id").map(str::to_owned));
        is_token(name).then(|| Self { name: name.to_ascii_lowercase(), id })
    }
}

/// Whether more will come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionState {
    /// It is over: this was the last NOTIFY.
    pub terminated: bool,
    /// Seconds that it still lasts.
    pub expires: Option<u32>,
    /// Why it is over.
    pub reason: Option<String>,
}

impl SubscriptionState {
    /// The Subscription-State header; phones of before RFC 3265 have none, and what is not known goes on.
    pub fn of(headers: &Headers) -> Self {
        let Some(text) = headers.get(&HeaderName::SUBSCRIPTION_STATE) else { return Self::default() };
        let (state, params) = text.split_once(';').unwrap_or((text, ""));
        let params = Params::parse_header(params).unwrap_or_default();
        let seconds = |text: &str| decimal(text).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        Self {
            terminated: trim(state).eq_ignore_ascii_case("terminated"),
            expires: params.get("expires").and_then(seconds),
            reason: params.get("reason").map(str::to_ascii_lowercase),
        }
    }
}

/// The status line that a `message/sipfrag` body begins with.
pub fn status_of_fragment(body: &[u8]) -> Option<(StatusCode, String)> {
    let line = body.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    if !version.eq_ignore_ascii_case("SIP/2.0") {
        return None;
    }
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = Some(code).filter(|code| code.len() == 3).and_then(decimal)?;
    Some((StatusCode::new(u16::try_from(code).ok()?)?, reason.to_owned()))
}

/// A `message/sipfrag` body that says how a request fares.
pub fn fragment_of_status(status: StatusCode) -> Vec<u8> {
    format!("SIP/2.0 {status} {}\r\n", status.reason_phrase()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_is_read_by_its_first_line() {
        let read = |text: &str| status_of_fragment(text.as_bytes()).map(|(status, reason)| (status.code(), reason));
        assert_eq!(read("SIP/2.0 180 Ringing\r\n"), Some((180, "Ringing".into())));
        assert_eq!(read("SIP/2.0 486 Busy Here\r\nTo: <sip:c@x>\r\n\r\n"), Some((486, "Busy Here".into())));
        assert_eq!(read("SIP/2.0 200"), Some((200, String::new())));
        for broken in
            ["", "\r\nSIP/2.0 200 OK", "SIP/2.0 99 No", "SIP/2.0 abc No", "INVITE sip:a@b SIP/2.0", "SIP/1.0 200 OK"]
        {
            assert_eq!(read(broken), None, "{broken:?}");
        }
        assert_eq!(fragment_of_status(StatusCode::RINGING), b"SIP/2.0 180 Ringing\r\n");
    }

    #[test]
    fn event_and_state_are_read_with_their_parameters() {
        let mut headers = Headers::new();
        headers.push(HeaderName::EVENT, "Refer;id=93809823");
        headers.push(HeaderName::SUBSCRIPTION_STATE, "terminated;reason=noresource;retry-after=5");
        let event = EventPackage::of(&headers).expect("an event");
        assert_eq!((event.name.as_str(), event.id.as_deref()), ("refer", Some("93809823")));
        let state = SubscriptionState::of(&headers);
        assert_eq!((state.terminated, state.reason.as_deref()), (true, Some("noresource")));
        headers.set(HeaderName::SUBSCRIPTION_STATE, "active;expires=99999999999");
        assert_eq!(SubscriptionState::of(&headers).expires, Some(u32::MAX));
        assert_eq!(SubscriptionState::of(&Headers::new()), SubscriptionState::default());
        headers.set(HeaderName::EVENT, "two words");
        assert_eq!(EventPackage::of(&headers), None);
    }
}
