//! Digits that go out as INFO requests (RFC 6086), one after the other.
//!
//! ```text
//!   Dtmf ─▶ queue ──INFO──▶ answered ──pause──▶ next … ─▶ DtmfSent
//!                      └─ 415: once more as plain application/dtmf, from then on
//! ```

use super::Ua;
use super::call::{CallCommand, DTMF, DTMF_RELAY};
use crate::api::Event;
use crate::id::CallHandle;
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// Between two digits.
const PAUSE: Duration = Duration::from_millis(80);
/// What `,` waits, as for digits in the sound.
const COMMA: Duration = Duration::from_millis(500);
/// Digits that wait at most.
const MOST_QUEUED: usize = 64;

/// How digits are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DtmfMode {
    /// As telephone-event where the far end takes that, else as INFO.
    #[default]
    Auto,
    /// As telephone-event only (RFC 4733).
    Rfc4733,
    /// As INFO only (RFC 6086).
    Info,
}

/// The digits of one call that wait.
#[derive(Debug, Default)]
pub(super) struct Digits {
    queue: VecDeque<char>,
    step: Step,
    /// The far end knows the digit alone only.
    plain: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    #[default]
    Idle,
    /// This digit is out.
    Sent(char),
    /// The next one waits until then.
    Pause(Instant),
}

impl Digits {
    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.step {
            Step::Pause(at) => Some(at),
            Step::Idle | Step::Sent(_) => None,
        }
    }
}

impl Ua {
    /// Whether the digits of this call go by INFO.
    pub(super) fn digits_by_info(&self, call: CallHandle) -> bool {
        let Some(line) = self.lines.get(&call) else { return false };
        let stream = line.plan.as_ref().and_then(|plan| plan.streams.first());
        let mode = line.account.and_then(|id| self.account(id)).map_or(DtmfMode::Auto, |account| account.dtmf);
        by_info(mode, stream.is_some_and(|stream| stream.dtmf.is_some()))
    }

    /// Queues digits for INFO.
    pub(super) fn send_digits(&mut self, now: Instant, call: CallHandle, digits: &str, duration: Duration) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let room = MOST_QUEUED.saturating_sub(line.digits.queue.len());
        line.digits.queue.extend(digits.chars().take(room));
        if line.digits.step == Step::Idle {
            self.next_digit(now, call, duration);
        }
    }

    /// The pause after a digit may be over.
    pub(super) fn digit_is_due(&mut self, now: Instant, call: CallHandle) {
        if self.lines.get(&call).and_then(|line| line.digits.deadline()).is_some_and(|at| at <= now) {
            self.next_digit(now, call, super::commands::DIGIT);
        }
    }

    fn next_digit(&mut self, now: Instant, call: CallHandle, duration: Duration) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        match line.digits.queue.pop_front() {
            None => {
                line.digits.step = Step::Idle;
                self.emit(Event::DtmfSent { call });
            }
            Some(',') => line.digits.step = Step::Pause(now + COMMA),
            Some(digit) => {
                line.digits.step = Step::Sent(digit);
                let (kind, body) = match line.digits.plain {
                    true => (DTMF, format!("{digit}\r\n")),
                    false => (DTMF_RELAY, format!("Signal={digit}\r\nDuration={}\r\n", duration.as_millis())),
                };
                let info = CallCommand::Info { kind: kind.to_owned(), body: body.into_bytes() };
                if self.with_calls(|calls, core| calls.command(now, core, call, info)).is_err() {
                    self.drop_digits(call);
                }
            }
        }
    }

    /// The far end has answered our INFO.
    pub(super) fn digit_answered(&mut self, now: Instant, call: CallHandle, status: StatusCode) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let Step::Sent(digit) = line.digits.step else { return };
        if status.is_success() {
            line.digits.step = Step::Pause(now + PAUSE);
        } else if status.code() == 415 && !line.digits.plain {
            line.digits.plain = true;
            line.digits.queue.push_front(digit);
            line.digits.step = Step::Pause(now);
        } else {
            let failure = line.about.media("dtmf.refused").with_status(status.code(), status.reason_phrase());
            self.drop_digits(call);
            self.emit(Event::MediaWarning { call, failure });
        }
    }

    fn drop_digits(&mut self, call: CallHandle) {
        if let Some(line) = self.lines.get_mut(&call) {
            line.digits.queue.clear();
            line.digits.step = Step::Idle;
        }
    }
}

/// Whether this call's digits go as INFO.
const fn by_info(mode: DtmfMode, has_events: bool) -> bool {
    match mode {
        DtmfMode::Auto => !has_events,
        DtmfMode::Rfc4733 => false,
        DtmfMode::Info => true,
    }
}
