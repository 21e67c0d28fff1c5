//! Names that the words for a failure may need.

use super::{AccountNames, Goal, Session};
use crate::api::Event;
use crate::app::console::Console;
use crate::app::status::clock as minutes;
use crate::app::texts::Facts;
use crate::id::AccountId;

impl Session<'_> {
    /// Names that the words for a failure may need.
    pub(super) fn around(&self, event: &Event) -> Facts {
        let account = match event {
            Event::Registered { account, .. }
            | Event::RegistrationFailed { account, .. }
            | Event::Unregistered { account } => Some(*account),
            Event::CallOutgoing { .. }
            | Event::CallIncoming { .. }
            | Event::CallRinging { .. }
            | Event::CallAnswered { .. }
            | Event::CallChanged { .. }
            | Event::CallChangeRefused { .. }
            | Event::Transfer { .. }
            | Event::TransferAsked { .. }
            | Event::TransferAnswered { .. }
            | Event::CallReplaced { .. }
            | Event::CallForwarded { .. }
            | Event::CallIdentity { .. }
            | Event::CallEnded { .. }
            | Event::DtmfReceived { .. }
            | Event::DtmfSent { .. }
            | Event::SourceEnded { .. }
            | Event::Stats { .. }
            | Event::MediaWarning { .. }
            | Event::Pong { .. }
            | Event::PbxBinding { .. }
            | Event::PbxCall { .. }
            | Event::Stopped => match &self.goal {
                Goal::Call { account, .. } => account.or(Some(AccountId(0))),
                Goal::Listen { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
            },
        };
        let mut facts = Facts::new();
        let names = account.and_then(|a| usize::try_from(a.0).ok()).and_then(|n| self.accounts.get(n));
        if let Some(names) = names {
            facts.insert("account".into(), names.name.clone());
            facts.insert("user".into(), names.user.clone());
            facts.insert("server".into(), names.server.clone());
        }
        if let Event::CallEnded { call, .. }
        | Event::MediaWarning { call, .. }
        | Event::CallChangeRefused { call, .. }
        | Event::Transfer { call, .. } = event
            && let Some(seen) = self.calls.get(call)
        {
            facts.insert("peer".into(), Console::safe(&seen.peer));
            if let Some(at) = seen.answered {
                facts.insert("after".into(), format!(" after {}", minutes(at.elapsed().as_secs())));
            }
        }
        if let (Goal::Call { target, .. } | Goal::Ping { target }, None) = (&self.goal, facts.get("peer")) {
            facts.insert("peer".into(), Console::safe(target));
        }
        if let (Goal::Call { target, .. }, true) = (&self.goal, matches!(event, Event::CallEnded { .. })) {
            facts.insert("peer".into(), Console::safe(target));
        }
        if !facts.contains_key("server")
            && let Goal::Ping { target } | Goal::Call { target, .. } = &self.goal
        {
            facts.insert("server".into(), Console::safe(target));
        }
        facts
    }

    pub(super) fn account(&self, id: AccountId) -> AccountNames {
        usize::try_from(id.0).ok().and_then(|n| self.accounts.get(n)).cloned().unwrap_or_default()
    }
}
