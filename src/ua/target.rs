//! What a person types to name somebody: a number, `user@host`, a URI, an address.

use super::account::AccountConfig;
use crate::api::CommandError;
use crate::sip::message::{Host, Scheme, Uri};

/// The Request-URI for what was typed. Numbers and `tel:` belong to the domain of `account`.
///
/// # Errors
/// [`CommandError::BadTarget`] with the reason in words.
pub(super) fn dial_target(text: &str, account: Option<&AccountConfig>) -> Result<Uri, CommandError> {
    let text = text.trim();
    let bad = |reason: &str| CommandError::BadTarget { target: text.to_owned(), reason: reason.to_owned() };
    if text.is_empty() {
        return Err(bad("it is empty"));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) && !is_number(text) {
        return Err(bad("there is a blank in it"));
    }
    if let Some((scheme, _)) = text.split_once(':')
        && ["sip", "sips", "tel"].contains(&scheme.to_ascii_lowercase().as_str())
    {
        let uri: Uri = text.parse().map_err(|error: crate::sip::message::UriError| bad(&error.to_string()))?;
        return match uri.scheme {
            Scheme::Sip | Scheme::Sips => Ok(Uri { headers: None, ..uri }),
            Scheme::Tel => match account {
                Some(account) => Ok(in_domain(uri.user.as_deref().unwrap_or_default(), account)),
                None => Err(bad("a tel: number needs an account")),
            },
            Scheme::Other(_) => Err(bad("this kind of URI cannot be called")),
        };
    }
    if text.contains('@') {
        return format!("sip:{text}").parse().map_err(|error: crate::sip::message::UriError| bad(&error.to_string()));
    }
    if let Some(uri) = address(text) {
        return Ok(uri);
    }
    match account {
        Some(account) => Ok(in_domain(text, account)),
        None => Err(bad("a number or name needs an account; without one, give user@host or an address")),
    }
}

/// Like [`dial_target`], but a bare name is a host.
///
/// # Errors
/// [`CommandError::BadTarget`] with the reason in words.
pub(super) fn ping_target(text: &str, account: Option<&AccountConfig>) -> Result<Uri, CommandError> {
    let text = text.trim();
    let bare = !text.contains('@') && !is_number(text) && !text.to_ascii_lowercase().starts_with("tel:");
    if bare
        && !text.to_ascii_lowercase().starts_with("sip")
        && let Ok(uri) = format!("sip:{text}").parse::<Uri>()
        && uri.host.is_some()
    {
        return Ok(uri);
    }
    dial_target(text, account)
}

fn in_domain(user: &str, account: &AccountConfig) -> Uri {
    let user: String = if is_number(user) {
        user.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')).collect()
    } else {
        user.to_owned()
    };
    let mut uri = account.aor.clone();
    uri.user = None;
    uri.user = Uri::sip(user.as_str(), Host::Name(String::new())).user;
    uri
}

fn is_number(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#' | ' ' | '-' | '.' | '(' | ')' | '/'))
        && text.parse::<std::net::Ipv4Addr>().is_err()
}

/// A literal address with or without port.
fn address(text: &str) -> Option<Uri> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        return Some(Uri::sip(None, Host::Ip(ip)));
    }
    let socket: std::net::SocketAddr = text.parse().ok()?;
    Some(Uri::sip(None, Host::Ip(socket.ip())).with_port(socket.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountConfig {
        let uri = |text: &str| text.parse().expect("a URI");
        AccountConfig::new("work", uri("sip:1001@pbx.example.org"), uri("sip:pbx.example.org"))
    }

    #[test]
    fn whatever_names_a_callee_becomes_a_request_uri() {
        let account = account();
        for (typed, uri) in [
            ("600", "sip:600@pbx.example.org"),
            ("+49 (30) 12-34", "sip:+49301234@pbx.example.org"),
            ("*97#", "sip:*97%23@pbx.example.org"),
            ("bob", "sip:bob@pbx.example.org"),
            ("tel:+4930-1234", "sip:+49301234@pbx.example.org"),
            ("bob@example.com", "sip:bob@example.com"),
            ("sip:bob@example.com:5070;transport=tcp", "sip:bob@example.com:5070;transport=tcp"),
            ("sips:bob@example.com", "sips:bob@example.com"),
            ("192.0.2.7", "sip:192.0.2.7"),
            ("192.0.2.7:5070", "sip:192.0.2.7:5070"),
            ("2001:db8::7", "sip:[2001:db8::7]"),
            ("[2001:db8::7]:5070", "sip:[2001:db8::7]:5070"),
        ] {
            assert_eq!(dial_target(typed, Some(&account)).map(|uri| uri.to_string()), Ok(uri.to_owned()), "{typed}");
        }
    }

    #[test]
    fn what_cannot_be_called_says_why() {
        for (typed, reason) in [
            ("", "it is empty"),
            ("600", "a number or name needs an account; without one, give user@host or an address"),
            ("tel:+1", "a tel: number needs an account"),
            ("bob smith@example.com", "there is a blank in it"),
        ] {
            match dial_target(typed, None) {
                Err(CommandError::BadTarget { reason: said, .. }) => assert_eq!(said, reason, "{typed}"),
                other => panic!("{typed}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_ping_takes_a_bare_host() {
        assert_eq!(ping_target("pbx.example.org", None).map(|uri| uri.to_string()), Ok("sip:pbx.example.org".into()));
        assert_eq!(ping_target("600", Some(&account())).map(|u| u.to_string()), Ok("sip:600@pbx.example.org".into()));
    }
}
