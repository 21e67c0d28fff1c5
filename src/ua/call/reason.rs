//! Why a far end ends a call, in its own words: the Reason header (RFC 3326).

use crate::sip::message::{HeaderName, Headers, Params};
use crate::ua::failure::printable;

/// A Reason, or several of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub text: String,
    /// Somebody else has answered: nobody has missed this call.
    pub elsewhere: bool,
}

impl Reason {
    /// What a message says; `None` when it says nothing.
    pub fn of(headers: &Headers) -> Option<Self> {
        headers.get_all(&HeaderName::REASON).take(4).filter_map(one).reduce(|first, next| Self {
            elsewhere: first.elsewhere || next.elsewhere,
            text: format!("{}; {}", first.text, next.text),
        })
    }
}

fn one(value: &str) -> Option<Reason> {
    let (protocol, params) = value.split_once(';').unwrap_or((value, ""));
    let (protocol, params) = (protocol.trim(), Params::of_header(params)?);
    let cause = params.get("cause").and_then(|code| code.parse::<u16>().ok());
    let said = params.get("text").filter(|text| !text.trim().is_empty()).map(printable);
    let q850 = protocol.eq_ignore_ascii_case("Q.850");
    // RFC 3326 §3.2; 26 is "non-selected user clearing".
    let elsewhere = (protocol.eq_ignore_ascii_case("SIP") && cause == Some(200))
        || (q850 && cause == Some(26))
        || said.as_deref().is_some_and(|text| text.to_ascii_lowercase().contains("elsewhere"));
    let name = || cause.filter(|_| q850).and_then(q850_name).map(str::to_owned);
    let number = || cause.map(|cause| format!("{} {cause}", printable(protocol)));
    let text = said.or_else(name).or_else(number)?;
    Some(Reason { text, elsewhere })
}

/// The usual causes of Q.850 in words.
fn q850_name(cause: u16) -> Option<&'static str> {
    Some(match cause {
        1 => "unallocated number",
        3 => "no route to destination",
        16 => "normal call clearing",
        17 => "user busy",
        18 => "no user responding",
        19 => "no answer",
        20 => "subscriber absent",
        21 => "call rejected",
        22 => "number changed",
        26 => "answered elsewhere",
        27 => "destination out of order",
        28 => "invalid number format",
        31 => "normal, unspecified",
        34 => "no circuit available",
        38 => "network out of order",
        41 => "temporary failure",
        42 => "switching equipment congestion",
        44 => "requested circuit not available",
        58 => "bearer capability not available",
        88 => "incompatible destination",
        102 => "recovery on timer expiry",
        127 => "interworking, unspecified",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<(String, bool)> {
        let mut headers = Headers::new();
        for value in values {
            headers.push(HeaderName::REASON, *value);
        }
        Reason::of(&headers).map(|reason| (reason.text, reason.elsewhere))
    }

    #[test]
    fn causes_and_texts_are_put_into_words() {
        for (values, text, elsewhere) in [
            (&["SIP;cause=200;text=\"Call completed elsewhere\""][..], "Call completed elsewhere", true),
            (&["SIP ;cause=200"], "SIP 200", true),
            (&["Q.850;cause=26"], "answered elsewhere", true),
            (&["Q.850;cause=16"], "normal call clearing", false),
            (&["Q.850;cause=17;text=\"Besetzt\""], "Besetzt", false),
            (&["Q.850;cause=99"], "Q.850 99", false),
            (&["SIP;cause=486", "Q.850;cause=17"], "SIP 486; user busy", false),
            (&["SIP;text=\"\\u{7}bell\""], "u{7}bell", false),
        ] {
            assert_eq!(read(values), Some((text.to_owned(), elsewhere)), "{values:?}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["SIP", "Q.850;cause=many", "x;=;"]), None);
    }
}
