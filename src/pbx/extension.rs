//! A call with the PBX itself (600 to 605): a negotiator of our own, and sound that we make.

use super::plan::Extension;
use super::session::{Desk, Fate};
use crate::engine::{Lease, NoLease};
use crate::id::CallHandle;
use crate::media::command::{AudioSink, AudioSource, Builtin, MediaCommand, MediaEvent, Route};
use crate::sdp::plan::{Direction, MediaPlan};
use crate::sdp::{MediaEncryption, Negotiator, Sdp, Wish};
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};
use crate::ua::call::{CallCommand, CallEvent, OfferId};

/// 605 sends back what it has after this pause.
const READ_BACK_AFTER: Duration = Duration::from_secs(3);
/// Digits that 605 keeps.
const MAX_DIGITS: usize = 64;
/// How long each digit of 605 lasts.
const DIGIT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct ExtensionCall {
    extension: Extension,
    call: CallHandle,
    from: String,
    to: String,
    negotiator: Negotiator,
    waiting: Waiting,
    answered: bool,
    digits: String,
    read_back_at: Option<Instant>,
}

/// What waits for our sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// The peer's offer, for our answer.
    Answer(OfferId),
    /// An INVITE without offer, for ours.
    Offer(OfferId),
}

impl ExtensionCall {
    pub(super) fn new(
        desk: &mut Desk<'_, '_>,
        extension: Extension,
        call: CallHandle,
        from: String,
        to: String,
    ) -> Self {
        desk.report(&from, &to, "ringing", None);
        let negotiator = Negotiator::new(desk.core.rng.u32().into(), "-").with_keys(desk.core.rng.bytes());
        Self {
            extension,
            call,
            from,
            to,
            negotiator,
            waiting: Waiting::Nothing,
            answered: false,
            digits: String::new(),
            read_back_at: None,
        }
    }

    pub(super) fn handle_call(&mut self, desk: &mut Desk<'_, '_>, event: CallEvent) -> Fate {
        match event {
            CallEvent::Offer { id, body, local, .. } => {
                if !self.is_answering(desk) {
                    return Fate::Lives;
                }
                let taken = Sdp::parse(&body)
                    .map_err(|error| error.status())
                    .and_then(|sdp| self.negotiator.handle_offer(sdp).map_err(|error| error.status()));
                match taken {
                    Ok(()) => {
                        self.waiting = Waiting::Answer(id);
                        desk.seats.ask(self.call, local.ip(), None, desk.out);
                        self.go_on(desk);
                    }
                    Err(code) => self.refuse(desk, id, code),
                }
                Fate::Lives
            }
            CallEvent::OfferWanted { id, local } => {
                if self.is_answering(desk) {
                    self.waiting = Waiting::Offer(id);
                    desk.seats.ask(self.call, local.ip(), None, desk.out);
                    self.go_on(desk);
                }
                Fate::Lives
            }
            CallEvent::Answer { body, .. } => {
                let plan = Sdp::parse(&body).ok().and_then(|sdp| self.negotiator.handle_answer(sdp).ok());
                match plan {
                    Some(plan) => {
                        self.play(desk, plan);
                        Fate::Lives
                    }
                    None if self.answered => Fate::Lives,
                    None => {
                        self.stop(desk);
                        Fate::Over
                    }
                }
            }
            // The ACK owed us an answer (RFC 3261 §13.2.2.4).
            CallEvent::Established { .. } if self.negotiator.has_local_offer() => {
                self.stop(desk);
                Fate::Over
            }
            CallEvent::Established { .. } => {
                if !self.answered {
                    self.answered = true;
                    desk.report(&self.from, &self.to, "answered", None);
                }
                Fate::Lives
            }
            CallEvent::Ended(ending) => {
                let (state, code) = if self.answered { ("ended", None) } else { ("refused", ending.cause.status()) };
                desk.report(&self.from, &self.to, state, code);
                desk.leave(self.call);
                Fate::Over
            }
            // A change is over; should it have left our offer unanswered, the session stays as it was.
            CallEvent::OfferRefused { .. } | CallEvent::ChangeDone => {
                self.negotiator.rollback();
                Fate::Lives
            }
            CallEvent::Digit { digit, .. } => {
                self.take_digit(desk, digit);
                Fate::Lives
            }
            CallEvent::OfferDue => {
                self.refresh(desk);
                Fate::Lives
            }
            CallEvent::Routed { .. }
            | CallEvent::InfoAnswered { .. }
            | CallEvent::Declined
            | CallEvent::Moved { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::EarlyEnded { .. }
            | CallEvent::OfferWithdrawn { .. }
            | CallEvent::Referred(_)
            | CallEvent::Refer(_) => Fate::Lives,
        }
    }

    pub(super) fn handle_lease(&mut self, desk: &mut Desk<'_, '_>, answer: Result<Lease, NoLease>) -> Fate {
        match (answer, self.waiting) {
            (Ok(_), _) => self.go_on(desk),
            (Err(NoLease), Waiting::Answer(id) | Waiting::Offer(id)) => self.refuse(desk, id, 503),
            (Err(NoLease), Waiting::Nothing) => {}
        }
        Fate::Lives
    }

    pub(super) fn handle_media(&mut self, desk: &mut Desk<'_, '_>, event: &MediaEvent) -> Fate {
        match event {
            MediaEvent::Digit { digit, .. } => {
                self.take_digit(desk, *digit);
                Fate::Lives
            }
            MediaEvent::SourceEnded if self.extension == Extension::Announcement => {
                self.stop(desk);
                Fate::Over
            }
            MediaEvent::RtpLost | MediaEvent::Broken => {
                self.stop(desk);
                Fate::Over
            }
            MediaEvent::SourceEnded
            | MediaEvent::FirstPacket
            | MediaEvent::DtmfSent
            | MediaEvent::NoIncomingAudio
            | MediaEvent::NotAuthentic { .. }
            | MediaEvent::SilentMicrophone
            | MediaEvent::DeviceFailed { .. }
            | MediaEvent::Stats(_)
            | MediaEvent::Closed(_) => Fate::Lives,
        }
    }

    pub(super) fn handle_timeout(&mut self, desk: &mut Desk<'_, '_>) {
        if self.read_back_at.is_some_and(|at| at <= desk.now) {
            self.read_back(desk);
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.read_back_at
    }

    pub(super) fn stop(&self, desk: &mut Desk<'_, '_>) {
        desk.report(&self.from, &self.to, if self.answered { "ended" } else { "refused" }, None);
        desk.drop_call(self.call);
    }

    /// Busy and no-answer never take an offer.
    fn is_answering(&self, desk: &mut Desk<'_, '_>) -> bool {
        match self.extension {
            Extension::Busy => {
                desk.tell(self.call, CallCommand::Reject { status: StatusCode::BUSY_HERE });
                false
            }
            Extension::NoAnswer => {
                desk.tell(self.call, CallCommand::Progress { status: StatusCode::RINGING, body: None });
                false
            }
            Extension::Echo | Extension::Announcement | Extension::Music | Extension::ReadBack => true,
        }
    }

    fn take_digit(&mut self, desk: &mut Desk<'_, '_>, digit: char) {
        if self.extension != Extension::ReadBack {
            return;
        }
        if digit == '#' {
            self.read_back(desk);
        } else {
            if self.digits.len() < MAX_DIGITS {
                self.digits.push(digit);
            }
            self.read_back_at = Some(desk.now + READ_BACK_AFTER);
        }
    }

    /// The session as it stands is offered again, so that both sides know that it lives.
    fn refresh(&mut self, desk: &mut Desk<'_, '_>) {
        let Some(lease) = desk.seats.lease(self.call) else { return };
        let capabilities = &desk.config.capabilities;
        // Keys may stand beside RTP/AVP as well: what counts is what was agreed (threats D3).
        let encryption = match self.negotiator.is_encrypted() {
            true => MediaEncryption::Required,
            false => MediaEncryption::Off,
        };
        let wish = Wish { capabilities, lease, direction: Direction::SendRecv, latch: true, encryption };
        if let Ok(sdp) = self.negotiator.offer(&wish)
            && !desk.tell(self.call, CallCommand::Offer { body: sdp.encode() })
        {
            self.negotiator.rollback();
        }
    }

    /// Answers what waits, once the sockets are there.
    fn go_on(&mut self, desk: &mut Desk<'_, '_>) {
        let Some(lease) = desk.seats.lease(self.call) else { return };
        let config = desk.config;
        // Whoever offers keys gets an encrypted call; we hand none out unasked, for who else might see them.
        let encryption = match self.waiting {
            Waiting::Answer(_) => MediaEncryption::Preferred,
            Waiting::Offer(_) | Waiting::Nothing => MediaEncryption::Off,
        };
        let capabilities = &config.capabilities;
        let wish = Wish { capabilities, lease, direction: Direction::SendRecv, latch: true, encryption };
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Answer(id) => match self.negotiator.answer(&wish) {
                Ok((sdp, plan)) => {
                    if desk.tell(self.call, CallCommand::Answer { id, body: sdp.encode() }) {
                        self.play(desk, plan);
                    }
                }
                Err(error) => self.refuse(desk, id, error.status()),
            },
            Waiting::Offer(id) => match self.negotiator.offer(&wish) {
                Ok(sdp) => {
                    desk.tell(self.call, CallCommand::Answer { id, body: sdp.encode() });
                }
                Err(error) => self.refuse(desk, id, error.status()),
            },
            Waiting::Nothing => {}
        }
    }

    fn play(&self, desk: &mut Desk<'_, '_>, plan: MediaPlan) {
        let source = match self.extension {
            Extension::Echo => AudioSource::Echo,
            Extension::Announcement => AudioSource::Builtin(Builtin::Announcement),
            Extension::Music => AudioSource::Builtin(Builtin::Music),
            Extension::ReadBack | Extension::Busy | Extension::NoAnswer => AudioSource::Silence,
        };
        let route = Route::Local { source, sink: AudioSink::None };
        desk.seats.run(self.call, plan, route, &desk.config.media, desk.out);
    }

    fn refuse(&mut self, desk: &mut Desk<'_, '_>, id: OfferId, code: u16) {
        self.waiting = Waiting::Nothing;
        self.negotiator.rollback();
        let status = StatusCode::new(code).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
        desk.tell(self.call, CallCommand::Refuse { id, status });
    }

    fn read_back(&mut self, desk: &mut Desk<'_, '_>) {
        self.read_back_at = None;
        let digits = std::mem::take(&mut self.digits);
        if !digits.is_empty() {
            desk.seats.tell(self.call, MediaCommand::SendDtmf { digits, duration: DIGIT }, desk.out);
        }
    }
}
