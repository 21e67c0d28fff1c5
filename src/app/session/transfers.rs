//! Calls that are handed over: what is told about it, and the target that is typed.

use super::Session;
use crate::api::{Command, Failure, TransferState};
use crate::app::console::Console;
use crate::app::texts::Facts;
use crate::id::CallHandle;

/// The longest target that can be typed.
const MAX_TYPED: usize = 200;

impl Session<'_> {
    pub(super) fn transfer_news(
        &mut self,
        to: &str,
        state: TransferState,
        code: Option<u16>,
        failure: Option<Failure>,
        around: &Facts,
    ) {
        let to = Console::safe(to);
        if let Some(failure) = failure {
            self.console.failure(&failure, around, false);
            return;
        }
        let text = match (state, code) {
            (TransferState::Accepted, _) => format!("  transfer to {to}: they try"),
            (TransferState::Progress, Some(180..=199)) => format!("  transfer to {to}: it rings"),
            (TransferState::Progress, _) => return,
            (TransferState::Done, _) => format!("  transfer to {to}: done"),
            (TransferState::Failed | TransferState::Unknown, _) => format!("  transfer to {to}: no result was told"),
        };
        self.console.progress(&text);
    }

    pub(super) fn transfer_asked(
        &mut self,
        call: CallHandle,
        to: &str,
        by: Option<String>,
        attended: bool,
        waits_s: Option<u64>,
    ) {
        let who = self.calls.get(&call).map(|seen| Console::safe(&seen.peer)).or(by).unwrap_or_default();
        let who = if who.is_empty() { "the other side".to_owned() } else { Console::safe(&who) };
        let how = if attended { "take over a call with" } else { "call" };
        let waits = waits_s.is_some();
        let keys = if waits && self.keys { "   a accept  r decline" } else { "" };
        self.console.progress(&format!("  transfer {who} wants you to {how} {}{keys}", Console::safe(to)));
        if waits && self.keys {
            self.asked = Some(call);
        } else if waits {
            self.console.remark("  nobody can be asked here: --set call.transfer_policy=\"allow\" follows transfers");
            self.send(Command::RejectTransfer { call });
        }
    }

    pub(super) fn transfer_answered(&mut self, call: CallHandle, accepted: bool, new_call: Option<CallHandle>) {
        self.asked = self.asked.filter(|asked| *asked != call);
        if let Some(new) = new_call {
            self.moved.insert(call, new);
            let muted = self.calls.get(&call).is_some_and(|seen| seen.view.muted);
            if let Some(seen) = self.calls.get_mut(&new) {
                seen.moved_here = true;
                seen.view.muted = muted;
            }
        }
        if !accepted {
            self.console.progress("  transfer declined");
        }
    }

    /// Whether a call that is over goes on as another one, which then counts for it.
    pub(super) fn has_moved(&mut self, call: CallHandle) -> bool {
        // One that was tried in vain leaves the old call as it is.
        let tried = self.moved.iter().find(|(_, new)| **new == call).map(|(old, _)| *old);
        if let Some(old) = tried {
            self.moved.remove(&old);
            if self.calls.contains_key(&old) {
                return true;
            }
        }
        let Some(new) = self.moved.remove(&call).filter(|new| self.calls.contains_key(new)) else { return false };
        if self.dialled == Some(call) {
            self.dialled = Some(new);
        }
        true
    }

    /// The next keys are whom to hand the call over to.
    pub(super) fn ask_target(&mut self) {
        self.typed = Some(String::new());
        self.show_typed();
    }

    pub(super) fn type_target(&mut self, key: char) {
        let Some(text) = &mut self.typed else { return };
        match key {
            '\n' => {
                let target = self.typed.take().unwrap_or_default();
                self.console.prompt("\r\x1b[2K");
                return self.hand_over(target);
            }
            '\x1b' => {
                self.typed = None;
                self.console.prompt("\r\x1b[2K");
                return;
            }
            '\x08' => {
                text.pop();
            }
            key if !key.is_control() && text.len() < MAX_TYPED => text.push(key),
            _ => {}
        }
        self.show_typed();
    }

    /// What was typed is another call (`c1`) or somebody who is in none of ours.
    fn hand_over(&mut self, target: String) {
        let Some(call) = self.talking().filter(|_| !target.trim().is_empty()) else { return };
        let named = |other: &&CallHandle| **other != call && other.to_string() == target.trim();
        match self.calls.iter().filter(|(_, seen)| seen.answered.is_some()).map(|(other, _)| other).find(named).copied()
        {
            Some(to) => self.send(Command::TransferTo { call, to }),
            None => self.send(Command::Transfer { call, target }),
        };
    }

    fn show_typed(&self) {
        let Some(text) = &self.typed else { return };
        self.console.prompt(&format!("\r\x1b[2K  transfer to: {text}"));
    }
}
