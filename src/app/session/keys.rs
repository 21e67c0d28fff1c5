//! Single keys of a terminal.

use super::{Goal, Session};
use crate::api::Command;
use crate::app::exit::Exit;
use crate::id::CallHandle;

impl Session<'_> {
    pub(super) fn handle_key(&mut self, key: char) {
        if self.typed.is_some() {
            return self.type_target(key);
        }
        let ringing = self.calls.iter().rev().find(|(_, c)| c.incoming && c.answered.is_none()).map(|(call, _)| *call);
        let last = self.talking().or_else(|| self.calls.keys().next_back().copied());
        match key.to_ascii_lowercase() {
            'a' => {
                if let Some(call) = ringing {
                    self.answer(call);
                } else if let Some(call) = self.asked.take() {
                    self.send(Command::AcceptTransfer { call });
                }
            }
            'r' => {
                if let Some(call) = ringing {
                    // Busy would be untrue: the user says no (RFC 3261 §21.6.2).
                    self.send(Command::Reject { call, code: Some(603) });
                } else if let Some(call) = self.asked.take() {
                    self.send(Command::RejectTransfer { call });
                }
            }
            'q' | 'b' => match last {
                Some(call) => {
                    self.send(Command::HangUp { call });
                }
                None => self.stop(Exit::Done),
            },
            'm' => {
                if let Some(call) = self.talking()
                    && let Some(seen) = self.calls.get_mut(&call)
                {
                    seen.view.muted = !seen.view.muted;
                    let on = seen.view.muted;
                    self.send(Command::Mute { call, on });
                    self.paint();
                }
            }
            'h' => {
                if let Some(call) = self.talking()
                    && let Some(seen) = self.calls.get_mut(&call)
                {
                    seen.hold_wanted = !seen.hold_wanted;
                    let hold = seen.hold_wanted;
                    self.send(if hold { Command::Hold { call } } else { Command::Resume { call } });
                }
            }
            'c' => {
                if let Some(call) = self.talking() {
                    self.send(Command::Codecs { call, codecs: Vec::new() });
                }
            }
            'n' => self.switch(),
            't' if self.talking().is_some() => self.ask_target(),
            '0'..='9' | '*' | '#' => {
                if let Some(call) = self.talking() {
                    self.send(Command::Dtmf { call, digits: key.to_string() });
                }
            }
            _ => {}
        }
    }

    /// Goes on with the next call that is up; the one before is held.
    fn switch(&mut self) {
        let up: Vec<_> = self.calls.iter().filter(|(_, c)| c.answered.is_some()).map(|(call, _)| *call).collect();
        let at = self.talking().and_then(|call| up.iter().position(|other| *other == call)).unwrap_or(0);
        let Some(next) = up.get((at + 1) % up.len().max(1)).copied().filter(|_| up.len() > 1) else { return };
        self.current = Some(next);
        self.send(Command::Resume { call: next });
        self.console.progress(&format!("  now      call {next}"));
        self.paint();
    }

    pub(super) fn answer(&mut self, call: CallHandle) {
        let Some(seen) = self.calls.get_mut(&call) else { return };
        seen.answer_at = None;
        let account = seen.account;
        let audio = match &self.goal {
            Goal::Listen { sound, .. } => sound.route(&call.to_string(), account),
            Goal::Call { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
        };
        self.send(Command::Answer { call, audio });
    }
}
