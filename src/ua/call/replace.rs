//! A call that takes the place of another one (RFC 3891): how ours are named for that, and which one a header names.

use super::{Call, Calls, State};
use crate::engine::Flow;
use crate::id::CallHandle;
use crate::sip::message::{Replaces, Uri};

/// What a Replaces header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// A call that is up.
    Up(CallHandle),
    /// A call of ours that rings at the far end.
    Ringing(CallHandle),
    /// One that is over, or about to be: 603 (§3).
    Over,
    /// One that may not be taken over from where the request comes: 403.
    Foreign,
    /// None: 481; so does a call that rings here, which its caller may still cancel (§3).
    Nothing,
}

impl Calls {
    /// The call that somebody wants to take over; the tags are ours and the peer's as RFC 3891 §3 swaps them.
    pub fn replaced(&self, replaces: &Replaces, flow: &Flow) -> Replaced {
        let Some((handle, call)) = self.of_tag(&replaces.call_id, &replaces.to_tag) else { return Replaced::Nothing };
        call.replaced(handle, &replaces.from_tag, flow)
    }
}

impl Call {
    /// What names this call to whoever has its other end, and where that one is reached.
    pub fn replaces(&self) -> Option<(Uri, Replaces)> {
        let State::Established(session) = &self.state else { return None };
        let dialog = &session.leg.dialog;
        // A peer of before RFC 3261 has no tag (§6.1).
        let tag = |tag: &str| if tag.is_empty() { "0".to_owned() } else { tag.to_owned() };
        let replaces = Replaces {
            call_id: self.call_id.clone(),
            to_tag: tag(&dialog.id().remote_tag),
            from_tag: tag(&self.local_tag),
            early_only: false,
        };
        Some((dialog.target().clone(), replaces))
    }

    fn replaced(&self, handle: CallHandle, from_tag: &str, flow: &Flow) -> Replaced {
        let same = |tag: &str| tag == from_tag || (tag.is_empty() && from_tag == "0");
        let (leg, found) = match &self.state {
            State::Established(session) => (Some(&session.leg), Replaced::Up(handle)),
            State::Answered(answered) if answered.is_leaving() => (Some(&answered.leg), Replaced::Over),
            State::Answered(answered) => (Some(&answered.leg), Replaced::Up(handle)),
            State::Calling(calling) => {
                (calling.early.values().find(|leg| same(leg.remote_tag())), Replaced::Ringing(handle))
            }
            State::Routing { .. } | State::Offering { .. } | State::Incoming(_) | State::Closing => {
                (None, Replaced::Over)
            }
        };
        match leg.filter(|leg| same(leg.remote_tag())) {
            // Threats C7: a call through the account's server is only touched from there.
            Some(leg) if self.login.is_some() && leg.flow.peer.ip() != flow.peer.ip() => Replaced::Foreign,
            Some(_) => found,
            None if self.strays.iter().any(|leg| same(leg.remote_tag())) => Replaced::Over,
            None => Replaced::Nothing,
        }
    }
}
