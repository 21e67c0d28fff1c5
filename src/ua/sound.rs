//! Sockets and media sessions of the lines.

use super::Ua;
use super::call::{CallCommand, status};
use super::line::{DigitPath, Line, Moving, OfferError, Sound, Stage};
use super::progress::media_of;
use crate::api::{AudibleTo, AudioRoute, Event, Failure};
use crate::engine::{Lease, NoLease, Output};
use crate::id::{CallHandle, RequestId};
use crate::media::command::{AudioSink, AudioSource, MediaCommand, MediaEvent, Route};
use crate::sdp::NegotiationError;
use crate::sdp::plan::MediaPlan;
use crate::time::Instant;

impl Ua {
    pub(super) fn take_lease(&mut self, now: Instant, id: RequestId, answer: Result<Lease, NoLease>) {
        let asked = |line: &Line| matches!(line.sound, Sound::Asked { id: asked, .. } if asked == id);
        let moving = |line: &Line| line.moving == Moving::Asked { id };
        if let Some(call) = self.lines.iter().find(|(_, line)| moving(line)).map(|(call, _)| *call) {
            return self.guarded(now, call, |ua| ua.use_new_lease(now, call, answer));
        }
        let Some(call) = self.lines.iter().find(|(_, line)| asked(line)).map(|(call, _)| *call) else {
            // The call is over meanwhile.
            if let Ok(lease) = answer {
                self.out.push_back(Output::Release(lease));
            }
            return;
        };
        self.guarded(now, call, |ua| ua.use_lease(now, call, answer));
    }

    fn use_lease(&mut self, now: Instant, call: CallHandle, answer: Result<Lease, NoLease>) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let Ok(lease) = answer else {
            line.sound = Sound::None;
            let failure = line.about.no_lease();
            if line.is_ringing_here() {
                line.verdict = Some((crate::api::EndedBy::Fault, failure));
                self.reject_call(now, call, 500);
            } else {
                self.give_up(now, call, failure);
            }
            return;
        };
        line.sound = Sound::Leased(lease);
        match &line.stage {
            Stage::Calling => self.offer_now(now, call),
            Stage::Arriving { .. } => self.ring(now, call),
            Stage::Ringing { .. } | Stage::Answered | Stage::Talking | Stage::Ending { .. } => {}
        }
    }

    /// Makes the offer of an outgoing call.
    pub(super) fn offer_now(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        match line.offer() {
            Ok(body) => {
                let offer =
                    if line.may_insist() { CallCommand::TryOffer { body } } else { CallCommand::Offer { body } };
                let _ = self.with_calls(|calls, core| calls.command(now, core, call, offer));
            }
            Err(error) => {
                let failure = line.about.unusable(&error);
                self.give_up(now, call, failure);
            }
        }
    }

    /// The sockets of an incoming call are there: what it offers can be judged, and it rings.
    fn ring(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let Stage::Arriving { offer, from, display, to } = &line.stage else { return };
        let late = offer.body.is_none();
        let (offer, from, display, to) = (offer.clone(), from.clone(), display.clone(), to.clone());
        if let Some(body) = &offer.body
            && let Err(error) = line.take_offer(body)
        {
            line.verdict = Some((crate::api::EndedBy::Local, line.about.unusable(&error)));
            self.reject_call(now, call, error.status());
            return;
        }
        let auto = match line.account {
            Some(account) => self.account(account).and_then(|account| account.auto_answer),
            None => self.config.call.auto_answer,
        };
        let auto = match (auto, self.lines.get(&call).and_then(|line| line.opens)) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        if self.replaces_one(call) {
            let Some(line) = self.lines.get_mut(&call) else { return };
            line.stage = Stage::Ringing { offer, answer_at: None };
            return self.replace_now(now, call, from, display);
        }
        let Some(line) = self.lines.get_mut(&call) else { return };
        line.stage = Stage::Ringing { offer, answer_at: auto.map(|after| now + after) };
        let (account, caller) = (line.account, line.caller.clone());
        line.identity.clone_from(&caller.identity);
        self.emit(Event::CallIncoming { call, account, from, display, to, caller });
        if auto.is_some_and(|after| after.is_zero()) {
            self.answer_now(now, call);
            return;
        }
        // Where provisional responses must be reliable, the first one makes the offer that the INVITE did not.
        let strict = self.calls.get(call).is_some_and(super::call::Call::is_strict);
        let Some(line) = self.lines.get_mut(&call) else { return };
        let body = if late && strict { line.offer().ok() } else { None };
        line.offered_early = body.is_some();
        let ringing = CallCommand::Progress { status: status(180), body };
        let _ = self.with_calls(|calls, core| calls.command(now, core, call, ringing));
    }

    /// Answers a ringing call with what its sockets and codecs allow.
    pub(super) fn answer_now(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let Stage::Ringing { offer, .. } = &line.stage else { return };
        let (id, late) = (offer.id, offer.body.is_none());
        let answer = match (late, line.offered_early) {
            // The offer is out, and its answer here or on the way.
            (true, true) => Ok(Vec::new()),
            (true, false) => line.offer(),
            (false, _) => line.answer(),
        };
        match answer {
            Ok(body) => {
                line.stage = Stage::Answered;
                line.offered_late = late;
                let agreed = !late || line.is_agreed();
                let answer = CallCommand::Answer { id, body };
                let told = self.with_calls(|calls, core| calls.command(now, core, call, answer));
                if told.is_ok() && agreed {
                    self.apply_current_plan(call);
                }
            }
            Err(error) => {
                line.verdict = Some((crate::api::EndedBy::Local, line.about.unusable(&error)));
                self.reject_call(now, call, error.status());
            }
        }
    }

    pub(super) fn reject_call(&mut self, now: Instant, call: CallHandle, code: u16) {
        let reject = CallCommand::Reject { status: status(code) };
        let told = self.with_calls(|calls, core| calls.command(now, core, call, reject));
        if told.is_err() && !self.calls.is_ending(call) {
            self.finish_line(call);
        }
    }

    pub(super) fn apply_current_plan(&mut self, call: CallHandle) {
        if let Some(plan) = self.lines.get(&call).and_then(|line| line.plan.clone()) {
            self.apply_plan(call, plan);
        }
    }

    /// Opens the session, or changes it.
    pub(super) fn apply_plan(&mut self, call: CallHandle, plan: MediaPlan) {
        let timeout = self.config.call.media_timeout;
        let Some(line) = self.lines.get_mut(&call) else { return };
        let command = match line.sound {
            Sound::Leased(lease) => {
                line.sound = Sound::Open(lease);
                line.sourceless = matches!(line.stage, Stage::Calling);
                let source = if line.sourceless { AudioSource::None } else { line.route.source.clone() };
                let route = Route::Local { source, sink: line.route.sink.clone() };
                let mut settings = line.audio.settings.clone();
                settings.media_timeout = timeout;
                MediaCommand::Open { plan, route, settings }
            }
            Sound::Open(old) => {
                // The peer knows our new address now: the sockets of the old one go.
                let new = plan.transports.first().map(|transport| transport.lease);
                if let (Moving::Leased(lease), Some(_)) = (line.moving, new.filter(|new| *new != old)) {
                    (line.sound, line.moving) = (Sound::Open(lease), Moving::No);
                    self.out.push_back(Output::Media(media_of(call), MediaCommand::SetPlan(plan)));
                    self.out.push_back(Output::Release(old));
                    return;
                }
                MediaCommand::SetPlan(plan)
            }
            Sound::None | Sound::Asked { .. } | Sound::Closing { .. } => return,
        };
        let up = !matches!(line.stage, Stage::Calling);
        // What we say begins with the answer: a file would have been half over.
        let source = (up && std::mem::take(&mut line.sourceless)).then(|| line.route.clone());
        let silenced = up && std::mem::take(&mut line.ringback);
        let route = source.map(|AudioRoute { source, sink }| MediaCommand::Route(Route::Local { source, sink }));
        let silence = silenced.then_some(MediaCommand::Ringback(false));
        let commands = silence.into_iter().chain(route).chain([command]);
        self.out.extend(commands.map(|command| Output::Media(media_of(call), command)));
    }

    /// The callee's phone rings: somebody who listens hears that, until the callee's own sound comes (RFC 3960 §3.2).
    pub(super) fn ring_back(&mut self, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let heard = matches!(line.route.sink, AudioSink::Device(_) | AudioSink::DeviceAndFile(..));
        if !heard || std::mem::replace(&mut line.ringback, true) {
            return;
        }
        if matches!(line.sound, Sound::Leased(_))
            && let Some(plan) = line.idle_plan()
        {
            self.apply_plan(call, plan);
        }
        self.out.push_back(Output::Media(media_of(call), MediaCommand::Ringback(true)));
    }

    /// Says so when the keys of a call were readable on the way (threats D4).
    pub(super) fn warn_of_keys(&mut self, call: CallHandle) {
        let Some(line) = self.lines.get(&call) else { return };
        if line.audible_to() == AudibleTo::Signalling {
            let failure = line.about.media("tls.srtp-clear-keys");
            self.emit(Event::MediaWarning { call, failure });
        }
    }

    pub(super) fn take_media(&mut self, now: Instant, call: CallHandle, event: MediaEvent) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        if let MediaEvent::Closed(stats) = event {
            line.stats = Some(stats);
            if line.is_live() {
                // New sockets may have been asked for since.
                if !matches!(line.sound, Sound::Asked { .. } | Sound::Leased(_)) {
                    line.sound = Sound::None;
                }
            } else {
                self.finish_line(call);
            }
            return;
        }
        if !line.is_live() {
            return;
        }
        if let MediaEvent::Digit { digit, .. } = event
            && !line.is_new_digit(now, digit, DigitPath::Media)
        {
            return;
        }
        let about = &line.about;
        let event = match event {
            MediaEvent::FirstPacket | MediaEvent::Closed(_) => return,
            MediaEvent::Digit { digit, duration } => {
                Event::DtmfReceived { call, digit, duration_ms: super::line::millis(duration) }
            }
            MediaEvent::DtmfSent => Event::DtmfSent { call },
            MediaEvent::SourceEnded => Event::SourceEnded { call },
            // Figures are of calls that are up.
            MediaEvent::Stats(_) if matches!(line.stage, Stage::Calling) => return,
            MediaEvent::Stats(audio) => {
                line.stats = Some(audio.clone());
                Event::Stats { call, audio }
            }
            MediaEvent::NoIncomingAudio => {
                let mut failure = about.media("media.no-incoming-audio");
                if let Some(lease) = line.lease() {
                    failure = failure.with("local", lease.rtp_addr.to_string());
                }
                if let Some(remote) = line.audio_info().and_then(|info| info.remote) {
                    failure = failure.with("remote", remote);
                }
                Event::MediaWarning { call, failure }
            }
            MediaEvent::NotAuthentic { packets } => {
                let failure = about.media("media.srtp-forged").with("packets", packets.to_string());
                Event::MediaWarning { call, failure }
            }
            MediaEvent::SilentMicrophone => {
                let failure = about.media("media.silent-microphone");
                let failure = match &line.route.source {
                    AudioSource::Device(name) | AudioSource::DeviceAndFile(name, _) => {
                        failure.with("device", name.as_str())
                    }
                    AudioSource::None
                    | AudioSource::Silence
                    | AudioSource::Tone(_)
                    | AudioSource::Echo
                    | AudioSource::File { .. }
                    | AudioSource::Builtin(_) => failure,
                };
                Event::MediaWarning { call, failure }
            }
            MediaEvent::DeviceFailed { slug, cause } => {
                Event::MediaWarning { call, failure: Failure::new(&slug).with("cause", cause) }
            }
            MediaEvent::Broken => {
                let failure = about.fault();
                self.give_up(now, call, failure);
                return;
            }
            MediaEvent::RtpLost => {
                let seconds = self.config.call.media_timeout.map_or(0, |timeout| timeout.as_secs());
                let failure = about.peer_gone(seconds);
                self.give_up(now, call, failure);
                return;
            }
        };
        self.emit(event);
    }
}

impl super::failure::About {
    /// A description that cannot be used.
    pub(super) fn unusable(&self, error: &OfferError) -> Failure {
        match error {
            OfferError::Negotiation(error) => match error {
                NegotiationError::NotEncrypted { .. } => self.cannot("tls.srtp-required", error),
                NegotiationError::EncryptionOff { .. } => self.cannot("tls.srtp-off", error),
                NegotiationError::NoCommonSuite { .. } => self.cannot("tls.srtp-suite", error),
                NegotiationError::NoAudio { .. }
                | NegotiationError::NoCommonCodec { .. }
                | NegotiationError::Refused
                | NegotiationError::NoAddress
                | NegotiationError::HostName { .. }
                | NegotiationError::NotUnicast { .. }
                | NegotiationError::Family { .. }
                | NegotiationError::Glare
                | NegotiationError::Pending
                | NegotiationError::NoOffer
                | NegotiationError::NothingToOffer => self.no_common_codec(error),
            },
            OfferError::KeysInClear => self.media("tls.srtp-keys"),
            OfferError::Sdp(error) => self.media("call.broken").with("cause", error.to_string()),
            OfferError::NoSockets => self.no_lease(),
        }
    }

    fn cannot(&self, slug: &str, error: &NegotiationError) -> Failure {
        self.media(slug).with("cause", super::failure::printable(&error.to_string()))
    }
}
