//! The dial plan: what a Request-URI means here. Nothing leads outside (threats C14).

use crate::sip::message::{Host, Uri};
use std::net::SocketAddr;

/// The built-in extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extension {
    /// 600: what is heard is sent back.
    Echo,
    /// 601: an announcement, then the PBX hangs up.
    Announcement,
    /// 602: music without end.
    Music,
    /// 603: 486 Busy Here.
    Busy,
    /// 604: rings for ever.
    NoAnswer,
    /// 605: digits are sent back after `#` or 3 s.
    ReadBack,
}

impl Extension {
    /// Which extension has this number.
    pub(super) fn from_number(number: &str) -> Option<Self> {
        match number {
            "600" => Some(Self::Echo),
            "601" => Some(Self::Announcement),
            "602" => Some(Self::Music),
            "603" => Some(Self::Busy),
            "604" => Some(Self::NoAnswer),
            "605" => Some(Self::ReadBack),
            _ => None,
        }
    }
}

/// What a Request-URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// A number of the PBX itself.
    Extension(Extension),
    /// A user that may exist.
    User(String),
    /// The PBX, without user part.
    Pbx,
    /// Another domain or scheme: 403.
    Foreign,
}

/// The names of the domain that is served.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    names: Vec<String>,
    extensions: bool,
}

impl Domain {
    /// A domain of these names, with or without extensions.
    pub(super) fn new(names: impl IntoIterator<Item = String>, extensions: bool) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect(), extensions }
    }

    /// Whether `uri` is at one of our names, or at the address that the request came to.
    pub(super) fn serves(&self, uri: &Uri, local: SocketAddr) -> bool {
        if !uri.is_sip() || uri.params.has("maddr") {
            return false;
        }
        match &uri.host {
            Some(Host::Ip(ip)) => *ip == local.ip() || self.names.contains(&ip.to_string()),
            Some(Host::Name(name)) => self.names.contains(name) || (name == "localhost" && local.ip().is_loopback()),
            None => false,
        }
    }

    /// What a request for `uri` that came to `local` is about.
    pub(super) fn destination(&self, uri: &Uri, local: SocketAddr) -> Destination {
        if !self.serves(uri, local) {
            return Destination::Foreign;
        }
        let Some(user) = uri.user_unescaped() else { return Destination::Pbx };
        match Extension::from_number(&user) {
            Some(extension) if self.extensions => Destination::Extension(extension),
            Some(_) | None => Destination::User(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(uri: &str) -> Destination {
        let domain = Domain::new(["PBX.example".to_owned()], true);
        domain.destination(&uri.parse().expect("a URI"), "192.0.2.1:5060".parse().expect("an address"))
    }

    #[test]
    fn numbers_names_and_the_pbx_itself_are_told_apart() {
        assert_eq!(lead("sip:600@pbx.example"), Destination::Extension(Extension::Echo));
        assert_eq!(lead("sip:605@192.0.2.1:5070"), Destination::Extension(Extension::ReadBack));
        assert_eq!(lead("sip:606@pbx.example"), Destination::User("606".to_owned()));
        assert_eq!(lead("sip:al%69ce@PBX.EXAMPLE;transport=tcp"), Destination::User("alice".to_owned()));
        assert_eq!(lead("sip:pbx.example"), Destination::Pbx);
    }

    #[test]
    fn nothing_leads_outside() {
        for uri in [
            "sip:600@other.example",
            "sip:600@192.0.2.2",
            "sip:600@0.0.0.0",
            "sip:600@[::ffff:192.0.2.1]",
            "sip:600@pbx.example;maddr=198.51.100.1",
            "sip:600@localhost",
            "tel:600",
        ] {
            assert_eq!(lead(uri), Destination::Foreign, "{uri}");
        }
    }

    #[test]
    fn without_extensions_their_numbers_are_names() {
        let domain = Domain::new(["pbx.example".to_owned()], false);
        let local = "127.0.0.1:5060".parse().expect("an address");
        let uri = "sip:600@localhost".parse().expect("a URI");
        assert_eq!(domain.destination(&uri, local), Destination::User("600".to_owned()));
    }
}
