//! Calls that are handed over (RFC 3515, RFC 5589): by us, and to us as the far end wishes.
//!
//! ```text
//!   Transfer ─▶ REFER ─▶ news ─┬─ 2xx ─▶ Done, and our call ends
//!                              └─ else ─▶ Failed or Unknown, and it goes on
//!   REFER ─▶ policy ─┬─ ask ─▶ Question ─ Accept ─▶ a new call; its news go to the referrer ─ 2xx ─▶ the old one ends
//!                    ├─ allow ───────────────────▶ (the same)
//!                    └─ deny ─▶ 603
//! ```

use super::account::TransferPolicy;
use super::call::{CallCommand, CallEvent, ReferNews, Referral, Replaced, status};
use super::commands::{Placing, shown, wrong_state};
use super::failure::{About, printable};
use super::line::Stage;
use super::target::dial_target;
use super::{Life, Ua};
use crate::api::{AudioRoute, CommandError, Event, Failure, Reply, TransferState};
use crate::engine::Flow;
use crate::id::{AccountId, CallHandle};
use crate::media::command::AudioSink;
use crate::sip::message::{HeaderName, NameAddr, Replaces, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant, earliest};
use std::collections::{BTreeMap, BTreeSet};

/// How long the user may think about a transfer.
const QUESTION: Duration = Duration::from_secs(30);
/// How long a far end that has handed its call over may take to hang up.
const LEAVING: Duration = Duration::from_secs(3);
/// Transfers in a row that a call follows: a circle of phones ends here.
const MAX_DEPTH: u8 = 4;
/// The longest Referred-By that is passed on.
const MAX_REFERRED_BY: usize = 512;

/// The transfers under way.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Calls that we hand over, and to whom.
    ours: BTreeMap<CallHandle, String>,
    /// Their Refer-To, while the far end is being put on hold (RFC 5589 §6.1).
    waiting: BTreeMap<CallHandle, String>,
    /// Calls that are held for a transfer only.
    held: BTreeSet<CallHandle>,
    /// Wishes that wait for the user, by the call whose far end has them.
    questions: BTreeMap<CallHandle, Question>,
    /// Calls placed for a wish, and the call whose far end hears of them.
    placed: BTreeMap<CallHandle, CallHandle>,
    /// Calls that have moved: we hang up if the far end does not.
    leaving: BTreeMap<CallHandle, Instant>,
    /// Calls that come in the place of another one.
    heirs: BTreeMap<CallHandle, CallHandle>,
    /// Calls whose place was taken.
    replaced: BTreeSet<CallHandle>,
    /// Other calls that end when one is handed over to their far end.
    joined: BTreeMap<CallHandle, CallHandle>,
    /// How many transfers led to a call.
    depth: BTreeMap<CallHandle, u8>,
}

/// A far end's wish. Its call may be over when the user decides.
#[derive(Debug)]
struct Question {
    referral: Referral,
    uri: Uri,
    account: Option<AccountId>,
    audio: AudioRoute,
    depth: u8,
    until: Instant,
}

impl Moves {
    pub(super) fn is_idle(&self) -> bool {
        self.questions.is_empty() && self.placed.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let questions = self.questions.values().map(|question| Some(question.until));
        questions.chain(self.leaving.values().map(|at| Some(*at))).fold(None, earliest)
    }
}

impl Ua {
    /// Hands `call` over to whoever was typed.
    pub(super) fn transfer(&mut self, now: Instant, call: CallHandle, target: &str) -> Result<Reply, CommandError> {
        self.talking(call, "transferred")?;
        let account = self.lines.get(&call).and_then(|line| line.account);
        let uri = dial_target(target, account.and_then(|id| self.account(id)))?;
        self.refer(now, call, &NameAddr::new(uri), shown(target))
    }

    /// Hands `call` over to the far end of `other`: both of ours end when that works (RFC 5589 §7).
    pub(super) fn transfer_to(
        &mut self,
        now: Instant,
        call: CallHandle,
        other: CallHandle,
    ) -> Result<Reply, CommandError> {
        self.talking(call, "transferred")?;
        self.talking(other, "given the call")?;
        if call == other {
            return Err(CommandError::NoSuchCall(other));
        }
        let Some((target, replaces)) = self.calls.get(other).and_then(super::call::Call::replaces) else {
            return Err(CommandError::NoSuchCall(other));
        };
        let named = self.lines.get(&other).and_then(|line| line.about.peer.clone());
        let to = NameAddr::new(target.with_field(&HeaderName::REPLACES, &replaces.to_string()));
        let reply = self.refer(now, call, &to, named.unwrap_or_default())?;
        self.moves.joined.insert(call, other);
        Ok(reply)
    }

    fn refer(&mut self, now: Instant, call: CallHandle, to: &NameAddr, named: String) -> Result<Reply, CommandError> {
        let Some(line) = self.lines.get(&call) else { return Err(CommandError::NoSuchCall(call)) };
        if self.moves.ours.contains_key(&call) {
            return Err(wrong_state(call, line, "transferred twice at once"));
        }
        let (held, wanted) = (line.changes.is_held(), line.changes.wants_hold());
        self.moves.ours.insert(call, named);
        self.moves.waiting.insert(call, to.to_string());
        if held {
            self.refer_anyway(now, call);
        } else if !wanted {
            self.moves.held.insert(call);
            self.want_hold(now, call, true);
        }
        Ok(Reply::Ok)
    }

    /// What the user does with a call, or another active one: a transfer that fails leaves its hold alone.
    pub(super) fn keep_held(&mut self, call: CallHandle) {
        self.moves.held.remove(&call);
    }

    /// The far end of a call that is to be handed over may be on hold now: the REFER goes out.
    pub(super) fn refer_when_held(&mut self, now: Instant, call: CallHandle) {
        // Or the user has thought better of the hold.
        if self.lines.get(&call).is_some_and(|line| line.changes.is_held() || !line.changes.wants_hold()) {
            self.refer_anyway(now, call);
        }
    }

    /// The REFER goes out, whether or not the far end could be put on hold.
    pub(super) fn refer_anyway(&mut self, now: Instant, call: CallHandle) {
        let Some(to) = self.moves.waiting.remove(&call) else { return };
        let account = self.lines.get(&call).and_then(|line| line.account);
        let by = NameAddr::new(self.identity(account).uri).to_string();
        // It is up, and no other transfer of it is under way: nothing is left that could refuse this.
        let _ = self.with_calls(|calls, core| calls.command(now, core, call, CallCommand::Refer { to, by }));
    }

    /// The far end says how our transfer fares.
    pub(super) fn handle_refer_news(&mut self, now: Instant, call: CallHandle, news: ReferNews) {
        let Some(to) = self.moves.ours.get(&call).cloned() else { return };
        let Some(line) = self.lines.get(&call) else { return };
        let about = &line.about;
        let (state, code, failure) = match news {
            ReferNews::Accepted => (TransferState::Accepted, None, None),
            ReferNews::Status { status, .. } if status.is_provisional() => {
                (TransferState::Progress, Some(status.code()), None)
            }
            ReferNews::Status { status, .. } if status.is_success() => (TransferState::Done, Some(status.code()), None),
            ReferNews::Status { status, reason } => {
                (TransferState::Failed, Some(status.code()), Some(about.transfer_failed(&to, status, &reason)))
            }
            ReferNews::Refused { response } => {
                (TransferState::Failed, Some(response.status.code()), Some(about.transfer_refused(&to, &response)))
            }
            ReferNews::Unanswered { error } => {
                let failure = about.media("transfer.refused").with("to", &to).with("cause", error.to_string());
                (TransferState::Failed, Some(error.status().code()), Some(failure))
            }
            ReferNews::Untold | ReferNews::Silence => {
                (TransferState::Unknown, None, Some(about.media("transfer.unknown").with("to", &to)))
            }
        };
        let mut joined = None;
        if !matches!(state, TransferState::Accepted | TransferState::Progress) {
            self.moves.ours.remove(&call);
            joined = self.moves.joined.remove(&call);
        }
        self.emit(Event::Transfer { call, to, state, code, failure });
        if matches!(state, TransferState::Failed | TransferState::Unknown) && self.moves.held.remove(&call) {
            self.want_hold(now, call, false);
        }
        if state == TransferState::Done {
            self.hang_up(now, call);
            if let Some(other) = joined.filter(|other| self.lines.get(other).is_some_and(|line| line.is_live())) {
                self.moves.leaving.insert(other, now + LEAVING);
            }
        }
    }

    /// The far end wants us to call somebody else.
    pub(super) fn handle_referred(&mut self, now: Instant, call: CallHandle, referral: Referral) {
        let Some(line) = self.lines.get(&call) else { return };
        let (account, audio) = (line.account, without_file(&line.route));
        let depth = self.moves.depth.get(&call).copied().unwrap_or(0).saturating_add(1);
        let to = printable(&referral.refer_to.target.to_string());
        let by = referral.by.as_deref().map(printable);
        let policy = self.config.call.transfer_policy;
        let verdict = self.judge(&referral, account, depth);
        let waits_s = (verdict.is_ok() && policy == TransferPolicy::Ask).then(|| QUESTION.as_secs());
        let attended = referral.refer_to.replaces.is_some();
        self.emit(Event::TransferAsked { call, to, by, attended, waits_s });
        let uri = match verdict {
            Ok(uri) => uri,
            Err(code) => {
                let refuse = CallCommand::RefuseRefer { status: status(code) };
                let _ = self.with_calls(|calls, core| calls.command(now, core, call, refuse));
                return self.emit(Event::TransferAnswered { call, accepted: false, new_call: None });
            }
        };
        let _ = self.with_calls(|calls, core| calls.command(now, core, call, CallCommand::TakeRefer));
        let question = Question { referral, uri, account, audio, depth, until: now + QUESTION };
        match policy {
            TransferPolicy::Ask => drop(self.moves.questions.insert(call, question)),
            TransferPolicy::Allow | TransferPolicy::Deny => {
                self.follow(now, call, question);
            }
        }
    }

    /// Whom to call for a referral, or the status that refuses it (threats C6).
    fn judge(&self, referral: &Referral, account: Option<AccountId>, depth: u8) -> Result<Uri, u16> {
        let target = &referral.refer_to.target;
        if self.life != Life::Running {
            return Err(480);
        }
        if self.config.call.transfer_policy == TransferPolicy::Deny {
            return Err(603);
        }
        if depth > MAX_DEPTH || self.is_own(target) {
            return Err(482);
        }
        dial_target(&target.to_string(), account.and_then(|id| self.account(id))).map_err(|_| 416)
    }

    /// Whether a URI names ourselves.
    pub(super) fn is_own(&self, uri: &Uri) -> bool {
        let aor = |own: &Uri| own.user_unescaped() == uri.user_unescaped() && own.host == uri.host;
        let contact = |own: &str| uri.user_unescaped().as_deref() == Some(own);
        self.config.accounts.iter().any(|account| aor(&account.aor))
            || self.registrations.values().any(|registration| contact(registration.contact_user()))
    }

    pub(super) fn accept_transfer(&mut self, now: Instant, call: CallHandle) -> Result<Reply, CommandError> {
        if !self.moves.questions.contains_key(&call) {
            return Err(CommandError::NoTransfer(call));
        }
        self.room()?;
        if let Some(question) = self.moves.questions.remove(&call)
            && let Some(new) = self.follow(now, call, question)
        {
            // By hand: this is the active call now. The old one ends, or goes on as it is.
            if let Some(line) = self.lines.get_mut(&new) {
                line.changes.unhold();
            }
            self.hold_all_but(now, new, Some(call));
        }
        Ok(Reply::Ok)
    }

    pub(super) fn reject_transfer(&mut self, now: Instant, call: CallHandle) -> Result<Reply, CommandError> {
        match self.moves.questions.remove(&call) {
            Some(_) => {
                self.decline(now, call, StatusCode::DECLINE);
                Ok(Reply::Ok)
            }
            None => Err(CommandError::NoTransfer(call)),
        }
    }

    fn decline(&mut self, now: Instant, call: CallHandle, status: StatusCode) {
        self.tell_far_end(now, call, status);
        self.emit(Event::TransferAnswered { call, accepted: false, new_call: None });
    }

    fn tell_far_end(&mut self, now: Instant, call: CallHandle, status: StatusCode) {
        // It may have gone, or not want to hear it.
        let _ = self.with_calls(|calls, core| calls.command(now, core, call, CallCommand::ReferStatus { status }));
    }

    /// Places the call that the far end wants.
    fn follow(&mut self, now: Instant, old: CallHandle, question: Question) -> Option<CallHandle> {
        if self.room().is_err() {
            self.decline(now, old, StatusCode::BUSY_HERE);
            return None;
        }
        let Question { referral, uri, account, audio, depth, .. } = question;
        let mut headers = Vec::new();
        if let Some(by) = referral.by.filter(|by| by.len() <= MAX_REFERRED_BY) {
            headers.push((HeaderName::REFERRED_BY, by));
        }
        if let Some(replaces) = referral.refer_to.replaces {
            headers.push((HeaderName::REQUIRE, "replaces".to_owned()));
            headers.push((HeaderName::REPLACES, replaces.to_string()));
        }
        let named = printable(&uri.to_string());
        let placing = Placing { uri, shown: named, account, audio: Some(audio), headers, instead_of: Some(old) };
        let new = self.place(now, placing);
        self.bequeath(old, new);
        self.moves.placed.insert(new, old);
        self.moves.depth.insert(new, depth);
        self.emit(Event::TransferAnswered { call: old, accepted: true, new_call: Some(new) });
        Some(new)
    }

    /// Whoever is on hold or muted is so in the call that takes the place of theirs: nobody there says otherwise
    /// (threats C16).
    fn bequeath(&mut self, old: CallHandle, new: CallHandle) {
        if let Some(changes) = self.lines.get(&old).map(|line| line.changes.bequeath())
            && let Some(line) = self.lines.get_mut(&new)
        {
            line.changes = changes;
        }
    }

    /// News of a call that was placed for a far end go to it.
    pub(super) fn note_for_referrer(&mut self, now: Instant, new: CallHandle, event: &CallEvent) {
        let Some(old) = self.moves.placed.get(&new).copied() else { return };
        let code = match event {
            CallEvent::Ringing { status, .. } => *status,
            CallEvent::Established { .. } => StatusCode::OK,
            CallEvent::Ended(ending) => ending
                .cause
                .status()
                .filter(|status| status.code() >= 300)
                .unwrap_or(StatusCode::TEMPORARILY_UNAVAILABLE),
            CallEvent::Routed { .. }
            | CallEvent::Digit { .. }
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Declined
            | CallEvent::Moved { .. }
            | CallEvent::Offer { .. }
            | CallEvent::OfferWanted { .. }
            | CallEvent::Answer { .. }
            | CallEvent::OfferRefused { .. }
            | CallEvent::OfferDue
            | CallEvent::EarlyEnded { .. }
            | CallEvent::OfferWithdrawn { .. }
            | CallEvent::ChangeDone
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => return,
        };
        self.tell_far_end(now, old, code);
        if code.is_final() {
            self.moves.placed.remove(&new);
        }
        if code.is_success() && self.lines.get(&old).is_some_and(|line| line.is_live()) {
            self.moves.leaving.insert(old, now + LEAVING);
        }
    }

    pub(super) fn handle_move_timeouts(&mut self, now: Instant) {
        let questions = self.moves.questions.iter().filter(|(_, question)| question.until <= now);
        for call in questions.map(|(call, _)| *call).collect::<Vec<_>>() {
            self.moves.questions.remove(&call);
            self.decline(now, call, StatusCode::DECLINE);
        }
        let leaving = self.moves.leaving.iter().filter(|(_, at)| **at <= now);
        for call in leaving.map(|(call, _)| *call).collect::<Vec<_>>() {
            self.moves.leaving.remove(&call);
            self.hang_up(now, call);
        }
    }

    /// The phone stops: nobody will decide.
    pub(super) fn drop_questions(&mut self, now: Instant) {
        for call in std::mem::take(&mut self.moves.questions).into_keys() {
            self.decline(now, call, StatusCode::TEMPORARILY_UNAVAILABLE);
        }
    }

    /// The call that an INVITE wants to take over (RFC 3891 §3), or the status that refuses it.
    pub(super) fn named(&self, invite: &Request, flow: &Flow) -> Result<Option<CallHandle>, u16> {
        let mut values = invite.headers.get_all(&HeaderName::REPLACES);
        let replaces = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.parse::<Replaces>().map_err(|_| 400_u16)?,
            (Some(_), Some(_)) => return Err(400),
        };
        let found = self.calls.replaced(&replaces, flow);
        let mine =
            |call: CallHandle| self.lines.get(&call).is_some_and(|line| line.is_live()).then_some(call).ok_or(603);
        match found {
            Replaced::Nothing => Err(481),
            Replaced::Foreign => Err(403),
            Replaced::Over => Err(603),
            Replaced::Up(_) if replaces.early_only => Err(486),
            Replaced::Up(_) | Replaced::Ringing(_) if self.config.call.transfer_policy == TransferPolicy::Deny => {
                Err(603)
            }
            Replaced::Up(call) | Replaced::Ringing(call) => mine(call).map(Some),
        }
    }

    /// The call that has come takes the place of `old` as soon as it can be answered.
    pub(super) fn take_over(&mut self, call: CallHandle, old: CallHandle) {
        self.moves.heirs.insert(call, old);
        let route = self.lines.get(&old).map(|line| without_file(&line.route));
        if let (Some(line), Some(route)) = (self.lines.get_mut(&call), route) {
            line.route = route;
        }
    }

    pub(super) fn replaces_one(&self, call: CallHandle) -> bool {
        self.moves.heirs.contains_key(&call)
    }

    /// Answers a call in the place of another one, which ends.
    pub(super) fn replace_now(&mut self, now: Instant, call: CallHandle, from: String, display: Option<String>) {
        let Some(old) = self.moves.heirs.remove(&call) else { return };
        if !self.lines.get(&old).is_some_and(|line| line.is_live()) {
            return self.reject_call(now, call, 603);
        }
        let account = self.lines.get(&call).and_then(|line| line.account);
        self.bequeath(old, call);
        self.answer_now(now, call);
        if !self.lines.get(&call).is_some_and(|line| matches!(line.stage, Stage::Answered)) {
            // It could not be answered: the old one goes on (RFC 3891 §3).
            return;
        }
        self.repeat_mute(call);
        self.emit(Event::CallReplaced { call: old, new_call: call, account, from, display });
        self.moves.replaced.insert(old);
        let leave = CallCommand::Leave { reason: "SIP;cause=200;text=\"Replaced by another call\"".to_owned() };
        let told = self.with_calls(|calls, core| calls.command(now, core, old, leave));
        if told.is_err() && !self.calls.is_ending(old) {
            self.finish_line(old);
        }
    }

    /// Whether a call ended since another one took its place.
    pub(super) fn was_replaced(&mut self, call: CallHandle) -> bool {
        self.moves.replaced.remove(&call)
    }

    /// A call is over: what it was handed over to is not heard of any more.
    pub(super) fn end_move(&mut self, call: CallHandle) {
        self.moves.leaving.remove(&call);
        self.moves.waiting.remove(&call);
        self.moves.held.remove(&call);
        self.moves.heirs.remove(&call);
        self.moves.joined.remove(&call);
        self.moves.depth.remove(&call);
        if let Some(to) = self.moves.ours.remove(&call) {
            self.emit(Event::Transfer { call, to, state: TransferState::Unknown, code: None, failure: None });
        }
    }
}

/// The sound of a call for the one that takes its place: two cannot write one file.
fn without_file(route: &AudioRoute) -> AudioRoute {
    let sink = match &route.sink {
        AudioSink::DeviceAndFile(device, _) => AudioSink::Device(device.clone()),
        AudioSink::File(_) => AudioSink::None,
        other @ (AudioSink::None | AudioSink::Device(_)) => other.clone(),
    };
    AudioRoute { source: route.source.clone(), sink }
}

impl About {
    /// The far end will not call anybody else.
    fn transfer_refused(&self, to: &str, response: &Response) -> Failure {
        let code = response.status.code();
        let cause = match code {
            405 | 501 => "its phone or server knows no transfers",
            401 | 403 | 407 => "its phone or server does not allow it",
            603 => "they declined it",
            _ => "its phone or server did not take it",
        };
        self.media("transfer.refused")
            .with("to", to)
            .with("cause", cause)
            .with_status(code, &printable(&response.reason))
    }

    /// The far end tried, and the other one did not answer.
    fn transfer_failed(&self, to: &str, status: StatusCode, reason: &str) -> Failure {
        let reason = if reason.is_empty() { status.reason_phrase() } else { reason };
        self.media("transfer.failed").with("to", to).with_status(status.code(), &printable(reason))
    }
}
