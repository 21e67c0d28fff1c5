//! Single keys of a terminal.

use super::{Goal, Session};
use crate::api::Command;
use crate::app::exit::Exit;
use crate::id::CallHandle;

impl Session<'_> {
    pub(super) fn handle_key(&mut self, key: char) {
        let ringing = self.calls.iter().rev().find(|(_, c)| c.incoming && c.answered.is_none()).map(|(call, _)| *call);
        let last = self.calls.keys().next_back().copied();
        match key.to_ascii_lowercase() {
            'a' => {
                if let Some(call) = ringing {
                    self.answer(call);
                }
            }
            'r' => {
                if let Some(call) = ringing {
                    // Busy would be untrue: the user says no (RFC 3261 §21.6.2).
                    self.send(Command::Reject { call, code: Some(603) });
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
            '0'..='9' | '*' | '#' => {
                if let Some(call) = self.talking() {
                    self.send(Command::Dtmf { call, digits: key.to_string() });
                }
            }
            _ => {}
        }
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
