//! Header names: the ones we know, their compact forms, and which of them are lists (RFC 3261 §7.3.1, §7.3.3, §20).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A header field name in canonical long form (`v` becomes `Via`); comparison ignores case.
#[derive(Debug, Clone)]
pub struct HeaderName(Cow<'static, str>);

/// How often a header may stand in a message and how its value is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// At most once.
    Single,
    /// A comma separates elements; each becomes its own entry.
    List,
    /// Neither is known: kept line by line.
    Free,
}

macro_rules! header_names {
    ($($constant:ident = $name:literal $(/ $compact:literal)? $shape:ident;)*) => {
        impl HeaderName {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $constant: Self = Self(Cow::Borrowed($name));
            )*

            fn lookup(name: &str) -> Option<(&'static str, Shape)> {
                // Names of unlike length are sorted out before their letters are compared.
                $(
                    if name.eq_ignore_ascii_case($name) $(|| name.eq_ignore_ascii_case($compact))? {
                        return Some(($name, Shape::$shape));
                    }
                )*
                None
            }
        }
    };
}

header_names! {
    VIA = "Via" / "v" List;
    FLOW_TIMER = "Flow-Timer" Free;
    FROM = "From" / "f" Single;
    TO = "To" / "t" Single;
    CALL_ID = "Call-ID" / "i" Single;
    CSEQ = "CSeq" Single;
    CONTACT = "Contact" / "m" List;
    MAX_FORWARDS = "Max-Forwards" Single;
    CONTENT_LENGTH = "Content-Length" / "l" Single;
    CONTENT_TYPE = "Content-Type" / "c" Single;
    ROUTE = "Route" List;
    RECORD_ROUTE = "Record-Route" List;
    ALLOW = "Allow" List;
    SUPPORTED = "Supported" / "k" List;
    USER_AGENT = "User-Agent" Free;
    EXPIRES = "Expires" Single;
    MIN_EXPIRES = "Min-Expires" Single;
    REQUIRE = "Require" List;
    PROXY_REQUIRE = "Proxy-Require" List;
    UNSUPPORTED = "Unsupported" List;
    ACCEPT = "Accept" List;
    ACCEPT_ENCODING = "Accept-Encoding" List;
    ACCEPT_LANGUAGE = "Accept-Language" List;
    ALERT_INFO = "Alert-Info" List;
    INFO_PACKAGE = "Info-Package" Single;
    RECV_INFO = "Recv-Info" List;
    ANSWER_MODE = "Answer-Mode" Free;
    PRIV_ANSWER_MODE = "Priv-Answer-Mode" Free;
    USER_TO_USER = "User-to-User" Free;
    ALLOW_EVENTS = "Allow-Events" / "u" List;
    AUTHENTICATION_INFO = "Authentication-Info" Free;
    AUTHORIZATION = "Authorization" Free;
    CALL_INFO = "Call-Info" List;
    CONTENT_DISPOSITION = "Content-Disposition" Single;
    CONTENT_ENCODING = "Content-Encoding" / "e" List;
    CONTENT_LANGUAGE = "Content-Language" List;
    DATE = "Date" Free;
    DIVERSION = "Diversion" List;
    ERROR_INFO = "Error-Info" List;
    EVENT = "Event" / "o" Single;
    HISTORY_INFO = "History-Info" List;
    IN_REPLY_TO = "In-Reply-To" List;
    MIME_VERSION = "MIME-Version" Free;
    MIN_SE = "Min-SE" Single;
    ORGANIZATION = "Organization" Free;
    P_ASSERTED_IDENTITY = "P-Asserted-Identity" List;
    P_PREFERRED_IDENTITY = "P-Preferred-Identity" List;
    PATH = "Path" List;
    PRIORITY = "Priority" Free;
    PRIVACY = "Privacy" Free;
    PROXY_AUTHENTICATE = "Proxy-Authenticate" Free;
    PROXY_AUTHORIZATION = "Proxy-Authorization" Free;
    RACK = "RAck" Single;
    REASON = "Reason" List;
    REFER_SUB = "Refer-Sub" Single;
    REFER_TO = "Refer-To" / "r" Single;
    REFERRED_BY = "Referred-By" / "b" Single;
    REPLACES = "Replaces" Single;
    REPLY_TO = "Reply-To" Free;
    RETRY_AFTER = "Retry-After" Free;
    RSEQ = "RSeq" Single;
    SERVER = "Server" Free;
    SERVICE_ROUTE = "Service-Route" List;
    SESSION_EXPIRES = "Session-Expires" / "x" Single;
    SIP_ETAG = "SIP-ETag" Single;
    SIP_IF_MATCH = "SIP-If-Match" Single;
    SUBJECT = "Subject" / "s" Free;
    SUBSCRIPTION_STATE = "Subscription-State" Single;
    TIMESTAMP = "Timestamp" Free;
    WARNING = "Warning" List;
    WWW_AUTHENTICATE = "WWW-Authenticate" Free;
}

impl HeaderName {
    /// A name as it came, compact or long; an unknown name keeps its spelling.
    pub fn new(name: &str) -> Self {
        Self::with_shape(name).0
    }

    pub(super) fn with_shape(name: &str) -> (Self, Shape) {
        match Self::lookup(name) {
            Some((known, shape)) => (Self(Cow::Borrowed(known)), shape),
            None => {
                // A name of our own making must not break out of its line.
                let kept: String = name.chars().filter(|c| c.is_ascii_graphic() && *c != ':').collect();
                (Self(Cow::Owned(kept)), Shape::Free)
            }
        }
    }

    /// The long form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for HeaderName {}

impl PartialOrd for HeaderName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HeaderName {
    fn cmp(&self, other: &Self) -> Ordering {
        let lower = |name: &Self| name.0.bytes().map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>();
        lower(self).cmp(&lower(other))
    }
}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
