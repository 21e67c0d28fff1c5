//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).

use crate::sip::message::{Method, Request, Via};

/// The start of every branch made by RFC 3261 (§8.1.1.7); anything else is matched by the rules of RFC 2543.
const COOKIE: &str = "z9hG4bK";

/// Matching key of a client transaction: our own branch, and the method, since a CANCEL shares its INVITE's branch.
pub(crate) fn client(branch: &str, method: &Method) -> String {
    format!("{branch}\n{method}")
}

/// Matching key of a server transaction for a request treated as `method` (ACK and CANCEL look for an INVITE);
/// `None` when the request lacks what RFC 2543 matching needs.
pub(crate) fn server(request: &Request, via: &Via, method: &Method) -> Option<String> {
    use std::fmt::Write as _;
    let mut key = String::with_capacity(96);
    match via.params.get("branch") {
        Some(branch) if branch.len() > COOKIE.len() && branch.starts_with(COOKIE) => key.push_str(branch),
        _ => {
            // An ACK carries the To tag of our response, so the To tag can take no part (§17.2.3).
            let from = request.headers.from().ok()?;
            let (uri, tag) = (&request.uri, from.tag().unwrap_or_default());
            let call_id = request.headers.call_id().ok()?;
            let seq = request.headers.cseq().ok()?.seq;
            write!(key, "2543\n{uri}\n{tag}\n{call_id}\n{seq}").expect("writing to a string does not fail");
        }
    }
    write!(key, "\n{}:{}\n{method}", via.host, via.port.unwrap_or(5060)).expect("writing to a string does not fail");
    Some(key)
}

/// What two copies of a request that came over different paths have in common (§8.2.2.2); `None` inside a dialog.
pub(crate) fn merged(request: &Request) -> Option<String> {
    if request.headers.to().ok()?.tag().is_some() {
        return None;
    }
    let from = request.headers.from().ok()?;
    let cseq = request.headers.cseq().ok()?;
    Some(format!("{}\n{}\n{} {}", request.headers.call_id().ok()?, from.tag()?, cseq.seq, cseq.method))
}
