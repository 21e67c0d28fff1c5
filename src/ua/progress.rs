//! What happens in a call, made into sound and into events for the clients.

use super::Ua;
use super::call::{CallCommand, CallEvent, Ending, LegId, OfferId, status};
use super::line::{CLOSING, DigitPath, Line, Offer, Signalling, Sound, Stage, millis};
use crate::api::{EndedBy, Event, Failure};
use crate::engine::Output;
use crate::engine::Protocol;
use crate::id::{CallHandle, MediaId};
use crate::media::command::MediaCommand;
use crate::time::Instant;

impl Ua {
    pub(super) fn handle_call_event(&mut self, now: Instant, call: CallHandle, event: CallEvent) {
        let secure = self.calls.get(call).is_some_and(super::call::Call::is_secure);
        // That it is up is only told once its answer can be used.
        if !matches!(event, CallEvent::Established { .. }) {
            self.note_for_referrer(now, call, &event);
        }
        self.tell_identity(call);
        // The offer of an incoming call comes before its line, which is made with it.
        let Some(line) = self.lines.get_mut(&call) else { return };
        // A line that gives its call up only waits for the end.
        if !line.is_live() || (line.verdict.is_some() && !matches!(event, CallEvent::Ended(_))) {
            return;
        }
        if matches!(event, CallEvent::Routed { .. } | CallEvent::Offer { .. } | CallEvent::OfferWanted { .. }) {
            line.set_signalling(if secure { Signalling::Secure } else { Signalling::Clear });
        }
        match event {
            CallEvent::Moved { local } => self.move_sound(call, local.ip()),
            CallEvent::Declined => {
                line.insist();
                self.offer_now(now, call);
            }
            CallEvent::Routed { local, protocol, .. } => {
                line.transport = Some(protocol);
                line.forget_forks();
                self.want_lease(now, call, local.ip());
            }
            CallEvent::Offer { id, body, local, leg } => match &mut line.stage {
                Stage::Calling => self.answer_early_change(now, call, id, leg, &body),
                Stage::Arriving { offer, .. } => {
                    *offer = Offer { id, body: Some(body) };
                    self.want_lease(now, call, local.ip());
                }
                Stage::Ringing { .. } | Stage::Answered | Stage::Talking | Stage::Ending { .. } => {
                    self.answer_change(now, call, id, Some(&body))
                }
            },
            CallEvent::OfferWanted { id, local } => match &mut line.stage {
                Stage::Arriving { offer, .. } => {
                    *offer = Offer { id, body: None };
                    self.want_lease(now, call, local.ip());
                }
                Stage::Calling | Stage::Ringing { .. } | Stage::Answered | Stage::Talking | Stage::Ending { .. } => {
                    self.answer_change(now, call, id, None)
                }
            },
            CallEvent::Answer { leg, body, early: true } => {
                if let Some(plan) = line.early_answer(leg, &body) {
                    self.apply_plan(call, plan);
                }
            }
            CallEvent::Answer { body, early: false, .. } => match line.final_answer(&body) {
                Ok(()) if matches!(line.stage, Stage::Talking) && !line.offered_late => self.change_agreed(now, call),
                Ok(()) => {
                    if matches!(line.stage, Stage::Talking) {
                        line.settle_changes(now, true);
                    }
                    // Nothing sounds before somebody has answered (threats C16); ours is told next that it is up.
                    if matches!(line.stage, Stage::Answered | Stage::Talking) {
                        self.apply_current_plan(call);
                    }
                }
                Err(error) => {
                    let failure = line.about.unusable(&error);
                    line.roll_back();
                    self.give_up(now, call, failure);
                }
            },
            CallEvent::Digit { digit, duration } => {
                if line.is_new_digit(now, digit, DigitPath::Info) {
                    self.emit(Event::DtmfReceived { call, digit, duration_ms: millis(duration) });
                }
            }
            // It was answered in the same turn.
            CallEvent::OfferWithdrawn { .. } => {}
            CallEvent::EarlyEnded { leg } => {
                if let Some(plan) = line.end_fork(leg) {
                    self.apply_plan(call, plan);
                }
            }
            CallEvent::Ringing { status, .. } => {
                if status.code() == 180 {
                    self.ring_back(call);
                }
                let Some(line) = self.lines.get(&call) else { return };
                let after_ms = millis(now.since(line.since));
                self.emit(Event::CallRinging { call, code: status.code(), after_ms });
            }
            CallEvent::Established { leg } => {
                if line.settle(leg) {
                    line.stage = Stage::Talking;
                    line.answered_at = Some(now);
                    line.settle_changes(now, !line.incoming || line.offered_late);
                    line.offered_late = false;
                    let (after_ms, audio) = (millis(now.since(line.since)), line.audio_info());
                    let transport = line.transport.map_or("", Protocol::param).to_owned();
                    self.apply_current_plan(call);
                    self.repeat_mute(call);
                    self.emit(Event::CallAnswered { call, after_ms, audio, transport });
                    if self.lines.get(&call).is_some_and(|line| line.changes.is_held()) {
                        self.tell_change(call);
                    }
                    self.note_for_referrer(now, call, &CallEvent::Established { leg });
                    self.offer_change(now, call);
                    self.warn_of_keys(call);
                } else {
                    let failure = line.about.no_answer_in_2xx();
                    self.give_up(now, call, failure);
                }
            }
            CallEvent::OfferRefused { status, retry_after } => self.change_refused(now, call, status, retry_after),
            CallEvent::OfferDue => {
                line.changes.refresh(now);
                self.offer_change(now, call);
            }
            // The offer of our INVITE goes on beside the changes of early dialogs.
            CallEvent::ChangeDone if matches!(line.stage, Stage::Calling) => {}
            CallEvent::ChangeDone => {
                line.roll_back();
                self.tell_change(call);
                self.offer_change(now, call);
                // The peer's own change may have put it on hold.
                self.refer_when_held(now, call);
            }
            CallEvent::InfoAnswered { status } => self.digit_answered(now, call, status),
            CallEvent::Referred(referral) => self.handle_referred(now, call, *referral),
            CallEvent::Refer(news) => self.handle_refer_news(now, call, news),
            CallEvent::Ended(ending) => self.handle_ended(now, call, &ending),
        }
    }

    /// The peer changes the session: hold, resume, another address (§14.2).
    fn answer_change(&mut self, now: Instant, call: CallHandle, id: OfferId, body: Option<&[u8]>) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let answer = match body {
            Some(body) => line.take_offer(body).and_then(|()| line.answer()),
            None => line.offer_anew().inspect(|_| line.offered_late = true),
        };
        let command = match answer {
            Ok(body) => CallCommand::Answer { id, body },
            Err(error) => {
                line.roll_back();
                CallCommand::Refuse { id, status: status(error.status()) }
            }
        };
        let accepted = matches!(command, CallCommand::Answer { .. });
        let told = self.with_calls(|calls, core| calls.command(now, core, call, command));
        if told.is_err()
            && let Some(line) = self.lines.get_mut(&call)
        {
            line.roll_back();
        }
        if accepted && told.is_ok() && body.is_some() {
            if let Some(line) = self.lines.get_mut(&call) {
                line.settle_changes(now, false);
                if line.is_ringing_here() {
                    return;
                }
            }
            self.apply_current_plan(call);
        }
    }

    /// A callee who rings changes what may be heard of it.
    fn answer_early_change(&mut self, now: Instant, call: CallHandle, id: OfferId, leg: LegId, body: &[u8]) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let (command, heard) = match line.answer_fork(leg, body) {
            Ok((body, plan)) => (CallCommand::Answer { id, body }, plan),
            Err(error) => (CallCommand::Refuse { id, status: status(error.status()) }, None),
        };
        let told = self.with_calls(|calls, core| calls.command(now, core, call, command));
        if let Some(plan) = heard.filter(|_| told.is_ok()) {
            self.apply_plan(call, plan);
        }
    }

    /// The far end is somebody else than our clients know (RFC 5876): a colleague has picked up, or a call was transferred.
    fn tell_identity(&mut self, call: CallHandle) {
        let Some(who) = self.calls.get(call).and_then(super::call::Call::identity).map(super::caller::shown) else {
            return;
        };
        let Some(line) = self.lines.get_mut(&call) else { return };
        if line.identity.as_ref() != Some(&who) {
            line.identity = Some(who.clone());
            self.emit(Event::CallIdentity { call, identity: who });
        }
    }

    /// Ends a call for a reason of ours that the user should hear.
    pub(super) fn give_up(&mut self, now: Instant, call: CallHandle, failure: Failure) {
        if let Some(line) = self.lines.get_mut(&call) {
            line.verdict.get_or_insert((EndedBy::Fault, failure));
        }
        self.hang_up(now, call);
    }

    /// CANCEL, BYE or a refusal, whatever the state asks for.
    pub(super) fn hang_up(&mut self, now: Instant, call: CallHandle) {
        let told = self.with_calls(|calls, core| calls.command(now, core, call, CallCommand::HangUp));
        // A call that was dropped has nothing more to say; one that is ending says so itself.
        if told.is_err() && !self.calls.is_ending(call) {
            self.finish_line(call);
        }
    }

    /// Asks for the sockets of an address, unless they are here from a try before.
    fn want_lease(&mut self, now: Instant, call: CallHandle, local: std::net::IpAddr) {
        let id = self.fresh_request();
        let Some(line) = self.lines.get_mut(&call) else { return };
        line.roll_back();
        match line.lease() {
            Some(lease) if lease.rtp_addr.ip() == local => return self.offer_now(now, call),
            // Another server over another interface: the address is made anew.
            Some(lease) => {
                if matches!(line.sound, Sound::Open(_)) {
                    self.out.push_back(Output::Media(media_of(call), MediaCommand::Close));
                }
                self.out.push_back(Output::Release(lease));
            }
            None => {}
        }
        line.sound = Sound::Asked { id };
        line.group = Some(id);
        self.out.push_back(Output::Lease { id, local, group: id });
    }

    fn handle_ended(&mut self, now: Instant, call: CallHandle, ending: &Ending) {
        let code = ending.cause.status().map(|status| status.code());
        self.end_move(call);
        self.forget_moving(call);
        let replaced = self.was_replaced(call);
        let Some(line) = self.lines.get_mut(&call) else { return };
        let (by, failure) = match line.verdict.take() {
            Some((by, failure)) => (by, Some(failure)),
            None => (ending.by, line.about.ending(ending).map(|failure| line.with_offer(failure))),
        };
        let reason = ending.reason.as_ref().map(|reason| reason.text.clone());
        let (by, code, failure) = if replaced { (EndedBy::Remote, None, None) } else { (by, code, failure) };
        let event = Box::new(line.ended(now, call, by, code, failure, reason));
        line.stage = Stage::Ending { event };
        match line.sound {
            Sound::Open(lease) => {
                line.sound = Sound::Closing { lease, until: now + CLOSING };
                self.out.push_back(Output::Media(media_of(call), MediaCommand::Close));
            }
            Sound::None | Sound::Asked { .. } | Sound::Leased(_) | Sound::Closing { .. } => self.finish_line(call),
        }
    }

    /// Gives the sockets back and tells the end.
    pub(super) fn finish_line(&mut self, call: CallHandle) {
        self.forget_moving(call);
        let Some(mut line) = self.lines.remove(&call) else { return };
        if let Some(lease) = line.lease() {
            if matches!(line.sound, Sound::Open(_)) {
                self.out.push_back(Output::Media(media_of(call), MediaCommand::Close));
            }
            self.out.push_back(Output::Release(lease));
        }
        let stats = line.stats.take();
        let event = match line.stage {
            Stage::Ending { event } => *event,
            Stage::Calling | Stage::Arriving { .. } | Stage::Ringing { .. } | Stage::Answered | Stage::Talking => {
                Event::CallEnded {
                    call,
                    by: EndedBy::Local,
                    code: None,
                    failure: None,
                    reason: None,
                    duration_ms: None,
                    stats: None,
                }
            }
        };
        let mut event = event;
        if let Event::CallEnded { stats: last, .. } = &mut event {
            *last = stats;
        }
        self.emit(event);
    }

    pub(super) fn handle_line_timeouts(&mut self, now: Instant) {
        let due: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.deadline().is_some_and(|at| at <= now))
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            self.guarded(now, call, |ua| match ua.lines.get(&call).map(Line::is_live) {
                Some(true) => {
                    if ua.is_to_be_forwarded(now, call) {
                        return ua.forward_now(now, call);
                    }
                    ua.answer_now(now, call);
                    ua.offer_change(now, call);
                    ua.digit_is_due(now, call);
                }
                Some(false) => ua.finish_line(call),
                None => {}
            });
        }
    }
}

/// The media session of a call; one each, and handles are never reused.
pub(super) fn media_of(call: CallHandle) -> MediaId {
    MediaId(u64::from(call.0))
}

/// The call of a media session.
pub(super) fn call_of(media: MediaId) -> Option<CallHandle> {
    u32::try_from(media.0).ok().map(CallHandle)
}
