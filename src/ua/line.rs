//! [`Line`]: a call as the user of the phone sees it: its sound, its negotiators, its figures.
//!
//! ```text
//!   Sound:  None ─lease─▶ Asked ─▶ Leased ─Open─▶ Open ─Close─▶ Closing ─Closed─▶ None
//! ```

mod encryption;

use super::account::AudioConfig;
use super::call::{LegId, OfferId};
use super::changes::Changes;
use super::digits::Digits;
use super::failure::About;
use super::screen::Refusal;
use crate::api::{AudioInfo, AudioRoute, CallerInfo, EndedBy, Event, Failure};
use crate::engine::{Lease, Protocol};
use crate::id::{AccountId, CallHandle, RequestId};
use crate::media::codec::{self, CodecSpec};
use crate::media::command::MediaStats;
use crate::rng::Rng;
use crate::sdp::plan::{
    Direction, MediaKind, MediaPlan, NegotiatedCodec, PayloadTypes, Protection, Remote, StreamPlan, TransportPlan,
};
use crate::sdp::{Capabilities, MediaEncryption, NegotiationError, Negotiator, Sdp, SdpError, Wish, remote_of};
use crate::time::{Duration, Instant, earliest};
pub(super) use encryption::Signalling;
use std::collections::BTreeMap;

/// How long the last figures of a media session are waited for.
pub(super) const CLOSING: Duration = Duration::from_millis(500);

/// One call of the phone.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) account: Option<AccountId>,
    /// Whom its failures are about.
    pub(super) about: About,
    pub(super) incoming: bool,
    /// How its signalling travels, once that is known.
    pub(super) transport: Option<Protocol>,
    pub(super) since: Instant,
    pub(super) answered_at: Option<Instant>,
    pub(super) route: AudioRoute,
    pub(super) audio: AudioConfig,
    pub(super) sound: Sound,
    /// Sockets for the address that we have moved to.
    pub(super) moving: Moving,
    /// Whose media set the sockets belong to.
    pub(super) group: Option<RequestId>,
    pub(super) stage: Stage,
    pub(super) changes: Changes,
    /// Our offer went out in a 2xx: its answer comes with the ACK.
    pub(super) offered_late: bool,
    /// Our offer went out while it rings, and its answer comes with the PRACK.
    pub(super) offered_early: bool,
    negotiator: Negotiator,
    forks: BTreeMap<LegId, Fork>,
    signalling: Signalling,
    /// What we offered in the clear with keys beside it was refused: now nothing but SRTP is offered.
    insists: bool,
    /// The fork whose early sound is heard.
    listened: Option<LegId>,
    /// The session is open without our source, which waits for the answer.
    pub(super) sourceless: bool,
    pub(super) ringback: bool,
    /// The latest digit, when and how it came.
    last_digit: Option<(char, Instant, DigitPath)>,
    /// The codecs that the user has chosen for this call; empty: all.
    chosen: Vec<&'static CodecSpec>,
    /// Those that the peer has agreed to.
    agreed: Vec<&'static CodecSpec>,
    pub(super) plan: Option<MediaPlan>,
    /// When the user is told that we ended it: why, if it was not the user.
    pub(super) verdict: Option<(EndedBy, Failure)>,
    pub(super) stats: Option<Box<MediaStats>>,
    /// Digits that go by INFO.
    pub(super) digits: Digits,
    /// What its INVITE says of an incoming call's caller beyond From.
    pub(super) caller: Box<CallerInfo>,
    /// Who the far end is, as its server says, and as our clients know.
    pub(super) identity: Option<String>,
    /// Answered by itself after so long, since its caller wishes that and may.
    pub(super) opens: Option<Duration>,
    /// How it is sent on when nobody has answered by then.
    pub(super) forward: Option<(Refusal, Instant)>,
}

/// How a digit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DigitPath {
    /// As telephone-event.
    Media,
    /// By INFO.
    Info,
}

/// Some peers send each digit both ways: one that comes the other way so soon is the same.
const SAME_DIGIT: Duration = Duration::from_millis(600);

/// Sockets and session of a line.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sound {
    None,
    Asked { id: RequestId },
    Leased(Lease),
    Open(Lease),
    Closing { lease: Lease, until: Instant },
}

/// Sockets that the peer does not know of yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moving {
    No,
    Asked { id: RequestId },
    Leased(Lease),
}

/// What the line waits for.
#[derive(Debug)]
pub(super) enum Stage {
    /// Outgoing: the way, the sockets, the answer.
    Calling,
    /// Incoming: the sockets, then somebody to answer.
    Arriving { offer: Offer, from: String, display: Option<String>, to: String },
    /// Incoming: it rings.
    Ringing { offer: Offer, answer_at: Option<Instant> },
    /// Answered by us, not acknowledged.
    Answered,
    /// Both sides talk.
    Talking,
    /// Over; the last figures are missing.
    Ending { event: Box<Event> },
}

/// What an incoming INVITE brought.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) id: OfferId,
    /// `None`: the offer is ours to make, in the 2xx.
    pub(super) body: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Fork {
    negotiator: Negotiator,
    plan: MediaPlan,
}

/// Why a description cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OfferError {
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error("there are no sockets for sound")]
    NoSockets,
    #[error("the keys would be readable on the way")]
    KeysInClear,
}

impl OfferError {
    pub(super) const fn status(&self) -> u16 {
        match self {
            Self::Sdp(error) => error.status(),
            Self::Negotiation(error) => error.status(),
            Self::NoSockets => 500,
            Self::KeysInClear => 488,
        }
    }
}

impl Line {
    pub(super) fn new(now: Instant, rng: &mut Rng, stage: Stage, audio: AudioConfig, about: About) -> Self {
        let session_id = rng.u64() & (i64::MAX as u64);
        Self {
            account: None,
            about,
            incoming: matches!(stage, Stage::Arriving { .. }),
            transport: None,
            since: now,
            answered_at: None,
            route: audio.route.clone(),
            audio,
            sound: Sound::None,
            moving: Moving::No,
            group: None,
            stage,
            changes: Changes::default(),
            offered_late: false,
            offered_early: false,
            negotiator: Negotiator::new(session_id, "-").with_keys(rng.bytes()),
            forks: BTreeMap::new(),
            signalling: Signalling::Clear,
            insists: false,
            listened: None,
            sourceless: false,
            ringback: false,
            last_digit: None,
            chosen: Vec::new(),
            agreed: Vec::new(),
            plan: None,
            verdict: None,
            stats: None,
            digits: Digits::default(),
            caller: Box::default(),
            identity: None,
            opens: None,
            forward: None,
        }
    }

    pub(super) const fn lease(&self) -> Option<Lease> {
        if let Moving::Leased(lease) = self.moving {
            return Some(lease);
        }
        match self.sound {
            Sound::Leased(lease) | Sound::Open(lease) | Sound::Closing { lease, .. } => Some(lease),
            Sound::None | Sound::Asked { .. } => None,
        }
    }

    /// True until its end has been told, or is about to be.
    pub(super) const fn is_live(&self) -> bool {
        !matches!(self.stage, Stage::Ending { .. })
    }

    pub(super) const fn is_ringing_here(&self) -> bool {
        matches!(self.stage, Stage::Arriving { .. } | Stage::Ringing { .. })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.stage, &self.sound) {
            (Stage::Ringing { answer_at, .. }, _) => earliest(*answer_at, self.forward.as_ref().map(|(_, at)| *at)),
            (Stage::Ending { .. }, Sound::Closing { until, .. }) => Some(*until),
            (Stage::Talking, _) => earliest(self.changes.deadline(), self.digits.deadline()),
            (Stage::Calling | Stage::Arriving { .. } | Stage::Answered | Stage::Ending { .. }, _) => None,
        }
    }

    /// A call that failed for want of a codec says which ones we offered.
    pub(super) fn with_offer(&self, failure: Failure) -> Failure {
        if failure.slug != "media.no-common-codec" || failure.facts.contains_key("offered") {
            return failure;
        }
        // Most likely what they do not like is that it is encrypted.
        if self.audio.encryption == MediaEncryption::Required {
            return Failure { slug: "tls.srtp-required".to_owned(), ..failure };
        }
        let names: Vec<_> = self.audio.capabilities.codecs.iter().map(|codec| codec.name).collect();
        failure.with("offered", names.join(", "))
    }

    fn wish(capabilities: &Capabilities, lease: Lease, direction: Direction, encryption: MediaEncryption) -> Wish<'_> {
        Wish { capabilities, lease, direction, latch: true, encryption }
    }

    /// Whether this digit is another one than the latest, which may come by two ways.
    pub(super) fn is_new_digit(&mut self, now: Instant, digit: char, path: DigitPath) -> bool {
        let same =
            |(last, at, way): (char, Instant, DigitPath)| last == digit && way != path && now.since(at) < SAME_DIGIT;
        let new = !self.last_digit.is_some_and(same);
        self.last_digit = Some((digit, now, path));
        new
    }

    /// The codecs of these names that this call may use; none named: the one after the codec in use.
    pub(super) fn choose_codecs(&mut self, names: &[String]) -> Result<(), String> {
        let all = &self.audio.capabilities.codecs;
        let named = |name: &String| {
            let found = all.iter().copied().find(|spec| spec.name.eq_ignore_ascii_case(name));
            found.ok_or_else(|| name.clone())
        };
        let chosen: Vec<_> = names.iter().map(named).collect::<Result<_, _>>()?;
        self.chosen = match (chosen.is_empty(), self.audio_info()) {
            (false, _) | (true, None) => chosen,
            (true, Some(info)) => {
                let at = all.iter().position(|spec| spec.name == info.codec).map_or(0, |at| at + 1);
                all.get(at % all.len().max(1)).copied().into_iter().collect()
            }
        };
        Ok(())
    }

    /// The chosen codecs are agreed, or not.
    pub(super) fn settle_codecs(&mut self, agreed: bool) {
        if agreed {
            self.agreed.clone_from(&self.chosen);
        } else {
            self.chosen.clone_from(&self.agreed);
        }
    }

    /// Our offer, for an INVITE or a 2xx without one.
    pub(super) fn offer(&mut self) -> Result<Vec<u8>, OfferError> {
        let lease = self.lease().ok_or(OfferError::NoSockets)?;
        if self.negotiator.has_pending_offer() {
            self.negotiator.rollback();
        }
        let encryption = self.offered_encryption()?;
        let direction = self.changes.begin_offer();
        let mut capabilities = self.audio.capabilities.clone();
        if !self.chosen.is_empty() {
            capabilities.codecs.clone_from(&self.chosen);
        }
        Ok(self.negotiator.offer(&Self::wish(&capabilities, lease, direction, encryption))?.encode())
    }

    /// Our offer where the peer asks for one inside the call: it may speak for somebody else by now.
    pub(super) fn offer_anew(&mut self) -> Result<Vec<u8>, OfferError> {
        self.negotiator.renew_keys();
        self.offer()
    }

    /// Our offer of what the user has changed, unless another exchange is under way.
    pub(super) fn offer_change(&mut self) -> Option<Vec<u8>> {
        if self.negotiator.has_pending_offer() {
            return None;
        }
        self.offer().ok()
    }

    /// What the peer's description in force says of its direction, seen from the peer; the address 0.0.0.0 wants nothing.
    pub(super) fn remote_direction(&self) -> Option<Direction> {
        let remote = remote_of(self.negotiator.remote()?).ok()?;
        Some(match remote.address {
            Some(_) => remote.direction,
            None => Direction::from_halves(remote.direction.sends(), false),
        })
    }

    /// Whether the caller's offer has anything for us; nothing is settled yet.
    pub(super) fn take_offer(&mut self, body: &[u8]) -> Result<(), OfferError> {
        let lease = self.lease().ok_or(OfferError::NoSockets)?;
        self.negotiator.handle_offer(Sdp::parse(body)?)?;
        let checked = self.encryption().and_then(|encryption| {
            let wish = Self::wish(&self.audio.capabilities, lease, self.changes.answered(), encryption);
            self.negotiator.check(&wish).map_err(|error| self.judged(error))
        });
        if checked.is_err() {
            self.negotiator.rollback();
        }
        checked
    }

    /// The answer to the offer taken before; the plan is the new one from now on.
    pub(super) fn answer(&mut self) -> Result<Vec<u8>, OfferError> {
        let lease = self.lease().ok_or(OfferError::NoSockets)?;
        let wish = Self::wish(&self.audio.capabilities, lease, self.changes.answered(), self.encryption()?);
        let answered = self.negotiator.answer(&wish);
        let (sdp, plan) = answered.map_err(|error| self.judged(error))?;
        self.plan = Some(plan);
        self.changes.begin_answer();
        Ok(sdp.encode())
    }

    /// A fork's early answer: what may be heard of it, if it is the one that is listened to. Nothing of ours is sent before
    /// the call is answered (threats C16).
    pub(super) fn early_answer(&mut self, leg: LegId, body: &[u8]) -> Option<MediaPlan> {
        if self.forks.contains_key(&leg) || self.forks.len() >= 16 {
            return None;
        }
        let mut negotiator = self.negotiator.clone();
        let plan = negotiator.handle_answer(Sdp::parse(body).ok()?).ok()?;
        self.forks.insert(leg, Fork { negotiator, plan: plan.clone() });
        let listened = *self.listened.get_or_insert(leg) == leg;
        listened.then(|| listening(plan))
    }

    /// A fork is over: what is heard now, if that changes. The next one that has sound, or nothing.
    pub(super) fn end_fork(&mut self, leg: LegId) -> Option<MediaPlan> {
        self.forks.remove(&leg);
        if self.listened != Some(leg) {
            return None;
        }
        let next = self.forks.iter().next();
        self.listened = next.map(|(leg, _)| *leg);
        next.map(|(_, fork)| listening(fork.plan.clone())).or_else(|| self.idle_plan())
    }

    /// A session that neither sends nor hears: for the tones that we make ourselves.
    pub(super) fn idle_plan(&self) -> Option<MediaPlan> {
        let spec = self.audio.capabilities.codecs.first()?;
        let pt = spec.static_pt.unwrap_or(96);
        let codec = NegotiatedCodec {
            name: spec.name.to_owned(),
            clock_rate: spec.clock_rate,
            channels: spec.channels,
            pt: PayloadTypes { send: pt, recv: pt },
            send_fmtp: String::new(),
            recv_fmtp: String::new(),
        };
        let stream = StreamPlan {
            index: 0,
            transport: 0,
            kind: MediaKind::Audio,
            direction: Direction::Inactive,
            receive: vec![codec.clone()],
            codec,
            dtmf: None,
            ptime: self.audio.capabilities.ptime,
        };
        let transport =
            TransportPlan { lease: self.lease()?, remote: Remote::None, protection: Protection::None, rtcp_mux: false };
        Some(MediaPlan { transports: vec![transport], streams: vec![stream] })
    }

    /// The answer that counts. A second description in the 2xx outdoes an early one.
    pub(super) fn final_answer(&mut self, body: &[u8]) -> Result<(), OfferError> {
        let plan = self.negotiator.handle_answer(Sdp::parse(body)?).map_err(|error| self.judged(error))?;
        self.plan = Some(plan);
        Ok(())
    }

    /// The call is up with this leg: what its early answer said holds if the 2xx brought none.
    pub(super) fn settle(&mut self, leg: LegId) -> bool {
        if self.negotiator.has_local_offer()
            && let Some(fork) = self.forks.remove(&leg)
        {
            self.negotiator = fork.negotiator;
            self.plan = Some(fork.plan);
        }
        self.forks.clear();
        self.plan.is_some() && !self.negotiator.has_local_offer()
    }

    /// Whether an offer has its answer, and none waits.
    pub(super) const fn is_agreed(&self) -> bool {
        self.plan.is_some() && !self.negotiator.has_pending_offer()
    }

    /// The callee changes its early session (RFC 3311): our answer, and what may be heard now.
    pub(super) fn answer_fork(&mut self, leg: LegId, body: &[u8]) -> Result<(Vec<u8>, Option<MediaPlan>), OfferError> {
        let lease = self.lease().ok_or(OfferError::NoSockets)?;
        let wish = Self::wish(&self.audio.capabilities, lease, self.changes.answered(), self.encryption()?);
        let Some(fork) = self.forks.get_mut(&leg) else { return Err(NegotiationError::NoOffer.into()) };
        let mut negotiator = fork.negotiator.clone();
        negotiator.handle_offer(Sdp::parse(body)?)?;
        let (sdp, plan) = negotiator.answer(&wish)?;
        *fork = Fork { negotiator, plan: plan.clone() };
        let heard = (self.listened == Some(leg)).then(|| listening(plan));
        Ok((sdp.encode(), heard))
    }

    /// The call is placed anew: what early dialogs said holds no longer.
    pub(super) fn forget_forks(&mut self) {
        self.forks.clear();
        self.listened = None;
    }

    /// The offer under way came to nothing.
    pub(super) fn roll_back(&mut self) {
        if self.negotiator.has_pending_offer() {
            self.negotiator.rollback();
        }
        self.offered_late = false;
        self.changes.withdraw();
    }

    /// What holds now, for people.
    pub(super) fn audio_info(&self) -> Option<AudioInfo> {
        let plan = self.plan.as_ref()?;
        let stream = plan.streams.first()?;
        let remote = plan.transports.get(stream.transport).and_then(|transport| match transport.remote {
            Remote::Signalled { rtp, .. } => Some(rtp.to_string()),
            Remote::None => None,
        });
        let rate = codec::by_name(&stream.codec.name).map_or(stream.codec.clock_rate, |spec| spec.sample_rate);
        Some(AudioInfo {
            codec: stream.codec.name.clone(),
            rate,
            channels: stream.codec.channels,
            srtp: self.suite().map(|_| "sdes".to_owned()),
            suite: self.suite().map(|suite| suite.name().to_owned()),
            audible_to: self.audible_to(),
            direction: stream.direction,
            remote,
        })
    }

    /// The state in a word for the snapshot.
    pub(super) const fn state(&self, ringing_there: bool) -> &'static str {
        match self.stage {
            Stage::Calling if ringing_there => "ringing",
            Stage::Calling => "calling",
            Stage::Arriving { .. } | Stage::Ringing { .. } => "incoming",
            Stage::Talking if self.changes.is_held() => "held",
            Stage::Answered | Stage::Talking => "talking",
            Stage::Ending { .. } => "ending",
        }
    }

    pub(super) fn ended(
        &self,
        now: Instant,
        call: CallHandle,
        by: EndedBy,
        code: Option<u16>,
        failure: Option<Failure>,
        reason: Option<String>,
    ) -> Event {
        Event::CallEnded {
            call,
            by,
            code,
            failure,
            reason,
            duration_ms: self.answered_at.map(|at| millis(now.since(at))),
            stats: self.stats.clone(),
        }
    }
}

/// What may be heard of a plan; nothing of ours is sent before the call is answered (threats C16).
fn listening(mut plan: MediaPlan) -> MediaPlan {
    for stream in &mut plan.streams {
        stream.direction = Direction::from_halves(false, stream.direction.receives());
    }
    plan
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
