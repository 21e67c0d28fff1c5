//! Calls that have moved (RFC 3261 §8.1.3.4): the contacts of a 3xx are tried one after the other.

use super::calls::Cx;
use super::{Call, Dial, NextHop, State};
use crate::sip::message::{Contacts, HeaderName, NameAddr, Response, Scheme, Uri};
use crate::time::Instant;
use std::collections::VecDeque;

/// Contacts of one 3xx that are looked at.
const MAX_CONTACTS: usize = 10;

/// Where a call was placed to, and where it may still go.
#[derive(Debug)]
pub(super) struct Redirects {
    /// Further contacts that may be tried, over all redirections (loops end here at the latest).
    left: u8,
    /// Where we have been: nobody is asked twice.
    tried: Vec<Uri>,
    waiting: VecDeque<Uri>,
}

impl Redirects {
    pub(super) const fn none() -> Self {
        Self { left: 0, tried: Vec::new(), waiting: VecDeque::new() }
    }

    pub(super) fn new(dial: &Dial) -> Self {
        Self { left: dial.redirects, tried: vec![dial.target.clone()], waiting: VecDeque::new() }
    }

    /// Takes the contacts of a 3xx, before those that wait already; those of higher `q` first (§20.10).
    fn add(&mut self, response: &Response) {
        let Ok(Contacts::List(mut contacts)) = response.headers.contacts() else { return };
        contacts.truncate(MAX_CONTACTS);
        contacts.sort_by_key(|contact| std::cmp::Reverse(preference(contact)));
        let mut fresh: Vec<Uri> = Vec::new();
        for contact in contacts {
            // Headers that a stranger wants in our request, and its method, are left out (§19.1.5).
            let mut uri = Uri { headers: None, ..contact.uri };
            uri.params.remove("method");
            let known = self.tried.iter().chain(&self.waiting).chain(&fresh).any(|known| known.same_as(&uri));
            // From a secure address nobody is led to one in clear (RFC 5630 §3.4.2).
            let secure = self.tried.first().is_some_and(Uri::is_sips);
            let callable = uri.scheme == Scheme::Sips || (uri.scheme == Scheme::Sip && !secure);
            if callable && !known {
                fresh.push(uri);
            }
        }
        fresh.into_iter().rev().for_each(|uri| self.waiting.push_front(uri));
    }

    fn next(&mut self) -> Option<Uri> {
        self.left = self.left.checked_sub(1)?;
        let uri = self.waiting.pop_front()?;
        self.tried.push(uri.clone());
        Some(uri)
    }
}

/// `q` in thousandths; 1000 for a contact without.
fn preference(contact: &NameAddr) -> u32 {
    let Some(text) = contact.params.get("q") else { return 1000 };
    let q = text.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
    (q * 1000.0) as u32
}

impl Call {
    /// Takes the contacts of a 300, 301 or 302. Another proxy (305) or service (380) is nobody's that we were told to call.
    pub(super) fn note_redirection(&mut self, response: &Response) {
        if matches!(response.status.code(), 300..=302) {
            self.redirects.add(response);
        }
    }

    /// Whether a redirection named contacts that were not tried.
    pub(super) fn has_contacts(&self) -> bool {
        !self.redirects.waiting.is_empty()
    }

    /// Places the call that rings nowhere to the next contact; false, and over for it, when there is none.
    pub(super) fn try_contact(&mut self, now: Instant, cx: &mut Cx<'_, '_>) -> bool {
        match self.take_state() {
            State::Calling(calling) => self.place_anew(now, cx, calling.dial, calling.since),
            state @ (State::Routing { .. }
            | State::Offering { .. }
            | State::Incoming(_)
            | State::Answered(_)
            | State::Established(_)
            | State::Closing) => {
                self.state = state;
                false
            }
        }
    }

    /// The INVITE for the next contact: same Call-ID, To and tag, next CSeq; false when there is none.
    pub(super) fn place_anew(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        mut dial: Box<Dial>,
        since: Instant,
    ) -> bool {
        if matches!(dial.next_hop, NextHop::Route(_)) {
            return false;
        }
        let Some(target) = self.redirects.next() else { return false };
        let to = NameAddr::new(dial.target.clone());
        dial.to.get_or_insert(to);
        let at_home = target.host == dial.target.host && target.port_or_default() == dial.target.port_or_default();
        if matches!(dial.next_hop, NextHop::Server(_)) && !at_home {
            // Elsewhere nobody may ask for our password (threats C8).
            dial.next_hop = NextHop::Target;
            dial.login = None;
            dial.headers.retain(|(name, _)| *name != HeaderName::P_PREFERRED_IDENTITY);
            self.login = None;
            self.trusted.clear();
        }
        dial.target = target;
        self.ask_way(now, cx, dial, since);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::message::StatusCode;

    fn moved(contacts: &[&str]) -> Response {
        let mut response = Response::new(StatusCode::MOVED_TEMPORARILY);
        for contact in contacts {
            response.headers.push(HeaderName::CONTACT, *contact);
        }
        response
    }

    fn all(redirects: &mut Redirects) -> Vec<String> {
        std::iter::from_fn(|| redirects.next()).map(|uri| uri.to_string()).collect()
    }

    #[test]
    fn contacts_are_tried_by_preference_each_once_and_only_those_we_can_call() {
        let mut redirects = Redirects { left: 9, ..Redirects::none() };
        redirects.tried.push("sip:b@192.0.2.2".parse().expect("a URI"));
        redirects.add(&moved(&[
            "<sip:low@x.example>;q=0.1",
            "<sip:first@x.example;method=INVITE?Replaces=1>",
            "<sip:half@x.example>;q=0.5",
            "<sip:b@192.0.2.2>",
            "<sip:low@x.example>",
            "<sips:safe@x.example>",
            "<tel:+49>",
        ]));
        let order = ["sip:first@x.example", "sip:low@x.example", "sips:safe@x.example", "sip:half@x.example"];
        assert_eq!(all(&mut redirects), order);
    }

    #[test]
    fn contacts_of_a_contact_come_before_the_others_and_the_number_is_limited() {
        let mut redirects = Redirects { left: 3, ..Redirects::none() };
        redirects.add(&moved(&["<sip:a@x.example>", "<sip:b@x.example>"]));
        assert_eq!(redirects.next().map(|uri| uri.to_string()).as_deref(), Some("sip:a@x.example"));
        redirects.add(&moved(&["<sip:c@x.example>", "<sip:d@x.example>", "<sip:a@x.example>"]));
        assert_eq!(all(&mut redirects), ["sip:c@x.example", "sip:d@x.example"]);
    }
}
