//! The checks of a new request in the order of RFC 3261 §8.2, for whoever answers requests.

use super::call::{ALLOW, Reliable, Rules, SDP, status};
use crate::engine::Protocol;
use crate::sip::message::{EventPackage, HeaderName, Method, Part, Request, Response, Scheme, StatusCode, parts};

/// How a request is refused: the status and the headers that tell the peer why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// Headers that belong to it, such as Allow.
    pub headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    /// A refusal without further headers.
    pub const fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response that says so.
    pub fn response(&self, request: &Request, to_tag: &str) -> Response {
        let mut response = Response::to(request, self.status, Some(to_tag));
        for (name, value) in &self.headers {
            response.headers.set(name.clone(), value.clone());
        }
        response
    }
}

/// The checks of a request outside any dialog: method (405, 501), URI scheme (416), extensions (420), body (415).
///
/// # Errors
/// How to refuse it.
pub fn outside_dialog(request: &Request, rules: &Rules) -> Result<(), Refusal> {
    match &request.method {
        Method::Invite | Method::Options | Method::Ack | Method::Cancel => {}
        Method::Bye | Method::Update | Method::Prack => return Err(Refusal::new(status(481))),
        Method::Notify => return Err(outside_notify(request)),
        // Threats C6: nobody makes us call from outside a call.
        Method::Refer => return Err(Refusal::new(status(403))),
        Method::Register | Method::Info | Method::Message | Method::Subscribe | Method::Publish => {
            return Err(Refusal::new(status(405)).with(HeaderName::ALLOW, ALLOW));
        }
        Method::Other(_) => return Err(Refusal::new(status(501)).with(HeaderName::ALLOW, ALLOW)),
    }
    // Only an INVITE can take the place of a call (RFC 3891 §3).
    if request.method != Method::Invite && request.headers.has(&HeaderName::REPLACES) {
        return Err(Refusal::new(status(400)));
    }
    match request.uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => {}
        Scheme::Other(_) => return Err(Refusal::new(status(416))),
    }
    body_and_extensions(request, rules)
}

/// What an INVITE that begins a call must ask for: reliable provisional responses, where the config requires them (421,
/// §21.4.16), and a session interval that is not too small (422, RFC 4028 §9).
///
/// # Errors
/// How to refuse it.
pub fn invite(request: &Request, rules: &Rules) -> Result<(), Refusal> {
    let able = [HeaderName::SUPPORTED, HeaderName::REQUIRE]
        .iter()
        .any(|name| super::call::lists(&request.headers, name, "100rel"));
    if rules.reliable == Reliable::Required && !able {
        return Err(Refusal::new(status(421)).with(HeaderName::REQUIRE, "100rel"));
    }
    super::call::interval_refusal(rules, request).map_or(Ok(()), Err)
}

/// A NOTIFY that belongs to no subscription (RFC 6665 §4.1.3): 489 for what we never subscribe to, else 481.
fn outside_notify(request: &Request) -> Refusal {
    match EventPackage::of(&request.headers) {
        Some(event) if event.name == "refer" => Refusal::new(status(481)),
        Some(_) | None => Refusal::new(status(489)).with(HeaderName::ALLOW_EVENTS, "refer"),
    }
}

/// A request for a `sips:` URI that came in clear: somebody on its way broke the promise of that URI (RFC 5630 §3.1.3).
///
/// # Errors
/// How to refuse it.
pub fn stays_secure(request: &Request, protocol: Protocol) -> Result<(), Refusal> {
    if request.uri.is_sips() && !protocol.is_secure() {
        return Err(not_secure());
    }
    Ok(())
}

/// There is no secure way for a request for a `sips:` URI (RFC 5630 §5.2, warning 380).
pub fn not_secure() -> Refusal {
    Refusal::new(status(480)).with(HeaderName::WARNING, "380 bellwire \"SIPS Not Allowed\"")
}

/// Extensions that we must but do not know (420, §8.2.2.3), and bodies that we cannot read (415, §8.2.3).
///
/// # Errors
/// How to refuse it.
pub fn body_and_extensions(request: &Request, rules: &Rules) -> Result<(), Refusal> {
    let mut required = request.headers.tokens(&HeaderName::REQUIRE);
    required.retain(|tag| !rules.knows(tag));
    if !required.is_empty() {
        return Err(Refusal::new(status(420)).with(HeaderName::UNSUPPORTED, required.join(", ")));
    }
    if request.body.is_empty() || is_optional(request) {
        return Ok(());
    }
    let encoded = request
        .headers
        .get(&HeaderName::CONTENT_ENCODING)
        .is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity"));
    let readable = match parts(&request.headers, &request.body) {
        Some(parts) => are_readable(&parts),
        None => request.headers.content_type().is_none_or(|kind| kind.eq_ignore_ascii_case(SDP)),
    };
    if encoded || !readable || !is_session(request) {
        return Err(Refusal::new(status(415))
            .with(HeaderName::ACCEPT, ACCEPTED)
            .with(HeaderName::ACCEPT_ENCODING, "identity")
            .with(HeaderName::ACCEPT_LANGUAGE, "en"));
    }
    Ok(())
}

/// The types of the bodies that we read.
pub const ACCEPTED: &str = "application/sdp, multipart/mixed";

/// Whether no part is beyond us that must be understood (RFC 5621 §6, §8): of alternatives one is enough.
fn are_readable(parts: &[Part]) -> bool {
    let known = |part: &Part| part.kind == SDP;
    let spared = parts.iter().any(|part| part.alternative && known(part));
    parts.iter().all(|part| known(part) || part.optional || (part.alternative && spared))
}

/// `Content-Disposition: …;handling=optional` (§20.11): what we cannot read may be left out.
fn is_optional(request: &Request) -> bool {
    disposition(request).is_some_and(|text| text.contains("handling=optional"))
}

fn is_session(request: &Request) -> bool {
    disposition(request).is_none_or(|text| text.split(';').next().is_some_and(|kind| kind.trim() == "session"))
}

fn disposition(request: &Request) -> Option<String> {
    request.headers.get(&HeaderName::CONTENT_DISPOSITION).map(str::to_ascii_lowercase)
}
