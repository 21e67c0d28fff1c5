//! Whom to call instead, and which call that takes over: Refer-To (RFC 3515 §2.1) and Replaces (RFC 3891 §6.1).

use super::grammar::{escape, trim, unescape};
use super::{HeaderError, HeaderName, Headers, NameAddr, Params, Uri};
use std::fmt;
use std::str::FromStr;

/// Names the dialog that a call takes the place of, as the one who is asked to give it up knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of whoever gets this header.
    pub to_tag: String,
    /// The tag of the peer of that one.
    pub from_tag: String,
    /// Only while that dialog is early (`early-only`).
    pub early_only: bool,
}

/// Why a text is no Replaces header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplacesError {
    /// No Call-ID, or parameters that are none.
    #[error("it names no dialog")]
    Malformed,
    /// Not exactly one `to-tag` and one `from-tag`.
    #[error("it needs one to-tag and one from-tag")]
    Tags,
}

impl FromStr for Replaces {
    type Err = ReplacesError;

    fn from_str(text: &str) -> Result<Self, ReplacesError> {
        // Escapes in a URI may hide what no header can hold.
        if text.contains(|c: char| c.is_control() && c != '\t') {
            return Err(ReplacesError::Malformed);
        }
        let (call_id, rest) = text.split_once(';').ok_or(ReplacesError::Tags)?;
        let call_id = trim(call_id);
        if call_id.is_empty() || call_id.contains([' ', '\t', ',']) {
            return Err(ReplacesError::Malformed);
        }
        let params = Params::parse_header(rest).ok_or(ReplacesError::Malformed)?;
        let one = |wanted: &str| {
            let mut found = params.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
            match (found.next(), found.next()) {
                (Some((_, Some(tag))), None) if !tag.is_empty() => Ok(tag.to_owned()),
                _ => Err(ReplacesError::Tags),
            }
        };
        Ok(Self {
            call_id: call_id.to_owned(),
            to_tag: one("to-tag")?,
            from_tag: one("from-tag")?,
            early_only: params.has("early-only"),
        })
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};to-tag={};from-tag={}", self.call_id, self.to_tag, self.from_tag)?;
        if self.early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

/// What a REFER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferTo {
    /// Whom to call: without the headers and the method that the sender wanted in our request (§19.1.5 of RFC 3261).
    pub target: Uri,
    /// The method of the request that is asked for; `INVITE` unless said.
    pub method: String,
    /// The call to take over.
    pub replaces: Option<Replaces>,
}

impl ReferTo {
    /// The one Refer-To of a REFER.
    ///
    /// # Errors
    /// When there is none, more than one, or it cannot be read: the answer is 400 (RFC 3515 §2.4.2).
    pub fn of(headers: &Headers) -> Result<Self, HeaderError> {
        let name = HeaderName::REFER_TO;
        if headers.get_all(&name).count() > 1 {
            return Err(HeaderError::malformed(&name, "there must be one"));
        }
        let NameAddr { uri, .. } = headers.name_addr(&name)?;
        let replaces = uri
            .fields()
            .find(|(field, _)| *field == HeaderName::REPLACES)
            .map(|(_, value)| value.parse())
            .transpose()
            .map_err(|error: ReplacesError| HeaderError::malformed(&name, error))?;
        let method = uri.params.get("method").unwrap_or("INVITE").to_owned();
        let mut target = Uri { headers: None, ..uri };
        target.params.remove("method");
        Ok(Self { target, method, replaces })
    }
}

impl Uri {
    /// The headers behind `?` with their escapes undone (RFC 3261 §19.1.1).
    pub fn fields(&self) -> impl Iterator<Item = (HeaderName, String)> {
        let text = self.headers.as_deref().unwrap_or_default();
        text.split('&').filter_map(|field| {
            let (name, value) = field.split_once('=')?;
            Some((HeaderName::new(&unescape(name)), unescape(value)))
        })
    }

    /// The same URI with one header behind `?`, escaped.
    #[must_use]
    pub fn with_field(self, name: &HeaderName, value: &str) -> Self {
        let field = format!("{name}={}", escape(value, is_field_byte));
        let headers = match self.headers {
            Some(before) => format!("{before}&{field}"),
            None => field,
        };
        Self { headers: Some(headers), ..self }
    }
}

/// What may stand in a header of a URI without an escape (§25.1: unreserved and hnv-unreserved).
fn is_field_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refer_to(value: &str) -> Result<ReferTo, HeaderError> {
        let mut headers = Headers::new();
        headers.push(HeaderName::REFER_TO, value);
        ReferTo::of(&headers)
    }

    #[test]
    fn replaces_in_a_refer_to_is_escaped_and_read_back() {
        let replaces = Replaces {
            call_id: "a84b4c76e66710@pc33.atlanta.example".into(),
            to_tag: "7743".into(),
            from_tag: "6472".into(),
            early_only: false,
        };
        let uri: Uri = "sip:carol@10.0.0.3:5060".parse().expect("a URI");
        let to = NameAddr::new(uri.clone().with_field(&HeaderName::REPLACES, &replaces.to_string()));
        let text = "<sip:carol@10.0.0.3:5060?Replaces=a84b4c76e66710%40pc33.atlanta.example%3Bto-tag%3D7743%3Bfrom-tag%3D6472>";
        assert_eq!(to.to_string(), text);
        let read = refer_to(text).expect("our own");
        assert_eq!((read.target, read.method.as_str(), read.replaces), (uri, "INVITE", Some(replaces)));
    }

    #[test]
    fn what_a_stranger_wants_in_our_request_is_left_out() {
        let read =
            refer_to("\"Carol\" <sip:carol@x.example;method=BYE;lr?Route=sip%3Aevil&From=sip%3Aboss&body=hello>");
        let read = read.expect("it can be read");
        assert_eq!((read.target.to_string().as_str(), read.method.as_str()), ("sip:carol@x.example;lr", "BYE"));
        assert_eq!(read.replaces, None);
    }

    #[test]
    fn a_refer_to_that_is_missing_doubled_or_broken_is_refused() {
        assert!(ReferTo::of(&Headers::new()).is_err());
        for broken in ["", "carol", "<sip:carol@x.example", "<sip:carol@x.example?Replaces=only-a-call-id>"] {
            assert!(refer_to(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn replaces_needs_a_call_id_and_each_tag_once() {
        let read = |text: &str| text.parse::<Replaces>();
        let plain = read("98732@sip.example ; from-tag=r33th4x0r ; to-tag=ff87ff;early-only").expect("RFC 3891 §6.1");
        assert_eq!((plain.to_tag.as_str(), plain.from_tag.as_str(), plain.early_only), ("ff87ff", "r33th4x0r", true));
        for (text, error) in [
            ("1@x", ReplacesError::Tags),
            ("1@x;to-tag=a", ReplacesError::Tags),
            ("1@x;to-tag=a;from-tag=", ReplacesError::Tags),
            ("1@x;to-tag=a;from-tag=b;to-tag=c", ReplacesError::Tags),
            (";to-tag=a;from-tag=b", ReplacesError::Malformed),
            ("1@x, 2@x;to-tag=a;from-tag=b", ReplacesError::Malformed),
            ("1@x;to-tag=\"a;from-tag=b", ReplacesError::Malformed),
            ("1@x\r\nFrom:<sip:boss@x>;to-tag=a;from-tag=b", ReplacesError::Malformed),
            ("1@x;to-tag=\"a\0\";from-tag=b", ReplacesError::Malformed),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }
}
