//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4).

use super::{Params, Scheme, Uri};
use crate::sip::message::grammar::{unescape, unescape_bytes};

impl Uri {
    /// Compares as RFC 3261 §19.1.4 and, for `tel:`, RFC 3966 §4 say; not transitive, therefore not `Eq`.
    pub fn same_as(&self, other: &Self) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                let same_user = |a: &Option<String>, b: &Option<String>| match (a, b) {
                    (None, None) => true,
                    (Some(a), Some(b)) => a == b || normal_escapes(a) == normal_escapes(b),
                    (Some(_), None) | (None, Some(_)) => false,
                };
                same_user(&self.user, &other.user)
                    && same_user(&self.password, &other.password)
                    && self.host == other.host
                    && self.port == other.port
                    && same_params(&self.params, &other.params)
                    && same_headers(self.headers.as_deref(), other.headers.as_deref())
            }
            Scheme::Tel => {
                let digits = |uri: &Self| -> String {
                    let number = uri.user.as_deref().unwrap_or_default();
                    number.chars().filter(|c| !"-.()".contains(*c)).map(|c| c.to_ascii_lowercase()).collect()
                };
                digits(self) == digits(other) && equal_params(&self.params, &other.params)
            }
            Scheme::Other(_) => self == other,
        }
    }
}

/// One spelling for all that §19.1.4 holds equal: an escaped character that needs no escape is that character.
fn normal_escapes(text: &str) -> Vec<u8> {
    // A reserved character and its escape differ (`%40` against `@`), but the reserved ones cannot stand bare in
    // a parsed user part, so that undoing every escape keeps apart what is apart.
    unescape_bytes(text)
}

fn same_params(a: &Params, b: &Params) -> bool {
    let one_way = |a: &Params, b: &Params| {
        a.iter().all(|(name, value)| {
            if b.has(name) {
                same_value(value, b.get(name))
            } else {
                // These count as different from their default even when they spell it out.
                !["user", "ttl", "method", "maddr", "transport"].iter().any(|one| name.eq_ignore_ascii_case(one))
            }
        })
    };
    one_way(a, b) && one_way(b, a)
}

fn equal_params(a: &Params, b: &Params) -> bool {
    let one_way = |a: &Params, b: &Params| a.iter().all(|(name, value)| b.has(name) && same_value(value, b.get(name)));
    one_way(a, b) && one_way(b, a)
}

fn same_value(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => unescape_bytes(a).eq_ignore_ascii_case(&unescape_bytes(b)),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn same_headers(a: Option<&str>, b: Option<&str>) -> bool {
    let list = |text: Option<&str>| {
        let mut list: Vec<_> = text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (unescape(name).to_ascii_lowercase(), unescape_bytes(value))
            })
            .collect();
        list.sort();
        list
    };
    list(a) == list(b)
}
