//! Offer/answer of one call leg (RFC 3264; RFC 6337 for which message carries what).
//!
//! ```text
//!               offer()                            handle_offer()
//!   LocalOffer ◀──────── Stable ────────────────────────▶ RemoteOffer
//!        │                ▲  ▲                                │
//!        └─handle_answer()┘  └────────answer()────────────────┘
//!          rollback()                 rollback()
//! ```
//!
//! An error on the way back to `Stable` ends the exchange; the session that was in force before stays in force.
//! Each side's numbers for dynamic payload types never change their meaning within a session (RFC 3264 §8.3.2).

mod keys;
mod matching;
#[cfg(test)]
mod tests;

use super::capabilities::{Capabilities, MediaEncryption, Wish};
use super::crypto::CryptoLine;
use super::error::NegotiationError;
use super::format::{Format, TELEPHONE_EVENT};
use super::plan::{Direction, MediaKind, MediaPlan, Protection, StreamPlan, TransportPlan};
use super::session::{Attribute, Connection, Host, Media, Origin, Sdp, direction_name};
use crate::engine::Lease;
use crate::time::Duration;
use keys::KeyRing;
use matching::{Match, far_end, match_formats};

/// What [`Negotiator`] waits for.
#[derive(Debug, Clone)]
enum State {
    /// Nothing. Holds our offer of the last exchange if it was ours, since an answer may come once more, and changed
    /// (183 with a description, then 200 with another).
    Stable(Option<Box<Offered>>),
    /// The answer to our offer.
    LocalOffer(Box<Offered>),
    /// Our answer to the peer's offer.
    RemoteOffer(Box<Sdp>),
}

/// Our offer with what it was made from.
#[derive(Debug, Clone)]
struct Offered {
    sdp: Sdp,
    /// Index of the audio m-line.
    index: usize,
    formats: Vec<Format>,
    lease: Lease,
    latch: bool,
    ptime: Duration,
    encryption: MediaEncryption,
    crypto: Vec<CryptoLine>,
}

/// The offer/answer state of one call leg.
#[derive(Debug, Clone)]
pub struct Negotiator {
    state: State,
    session_id: u64,
    username: String,
    /// The description sent last, in force or not: versions count from it.
    sent: Option<Sdp>,
    version: u64,
    /// The two descriptions in force.
    local: Option<Sdp>,
    remote: Option<Sdp>,
    /// Index of the audio m-line in force.
    audio: Option<usize>,
    /// Every number that we announced in this session, with its meaning.
    numbers: Vec<Format>,
    keys: KeyRing,
}

impl Negotiator {
    /// A negotiator that writes `o=username session_id 1 …`; a username that is no single word becomes `-`.
    pub fn new(session_id: u64, username: impl Into<String>) -> Self {
        let username = username.into();
        let is_word = !username.is_empty() && username.chars().all(|c| !c.is_whitespace() && !c.is_control());
        Self {
            state: State::Stable(None),
            session_id,
            username: if is_word { username } else { "-".into() },
            sent: None,
            version: 0,
            local: None,
            remote: None,
            audio: None,
            numbers: Vec::new(),
            keys: KeyRing::default(),
        }
    }

    /// Gives it keys for SRTP, made from 32 random bytes.
    #[must_use]
    pub fn with_keys(mut self, seed: [u8; 32]) -> Self {
        self.keys = KeyRing::new(seed);
        self
    }

    /// Offers and answers new keys from now on: for an exchange whose peer may be another than before.
    pub fn renew_keys(&mut self) {
        self.keys.renew();
    }

    /// Whether sound is encrypted by what was agreed last.
    pub const fn is_encrypted(&self) -> bool {
        self.keys.is_in_force()
    }

    /// Our description in force.
    pub const fn local(&self) -> Option<&Sdp> {
        self.local.as_ref()
    }

    /// The peer's description in force.
    pub const fn remote(&self) -> Option<&Sdp> {
        self.remote.as_ref()
    }

    /// Whether an offer of either side waits for its answer.
    pub const fn has_pending_offer(&self) -> bool {
        self.has_local_offer() || self.has_remote_offer()
    }

    /// Whether our offer waits for the peer's answer.
    pub const fn has_local_offer(&self) -> bool {
        matches!(self.state, State::LocalOffer(_))
    }

    /// Whether the peer's offer waits for our answer.
    pub const fn has_remote_offer(&self) -> bool {
        matches!(self.state, State::RemoteOffer(_))
    }

    /// Makes an offer: for a new call one audio stream; later the same m-lines again, those not in use refused.
    ///
    /// # Errors
    /// [`NegotiationError::Pending`] while another offer waits, [`NegotiationError::NothingToOffer`] without codecs.
    pub fn offer(&mut self, wish: &Wish<'_>) -> Result<Sdp, NegotiationError> {
        match self.state {
            State::Stable(_) => {}
            State::LocalOffer(_) | State::RemoteOffer(_) => return Err(NegotiationError::Pending),
        }
        if wish.capabilities.codecs.is_empty() {
            return Err(NegotiationError::NothingToOffer);
        }
        let encryption = self.keys.policy(wish.encryption);
        self.keys.set_address(wish.lease.rtp_addr);
        let (protocol, crypto) = match encryption {
            MediaEncryption::Off => ("RTP/AVP", Vec::new()),
            MediaEncryption::Preferred => ("RTP/AVP", self.keys.lines(&wish.capabilities.suites)),
            MediaEncryption::Required => ("RTP/SAVP", self.keys.lines(&wish.capabilities.suites)),
        };
        if crypto.is_empty() && encryption == MediaEncryption::Required {
            return Err(NegotiationError::NoCommonSuite { theirs: Vec::new() });
        }
        let formats = self.offered_formats(wish.capabilities);
        let stream = stream(protocol, &formats, wish, wish.direction, &crypto);
        let (mut media, index) = match (&self.local, self.audio) {
            (Some(local), Some(index)) => (local.media.iter().map(Media::refused).collect(), index),
            (Some(_), None) | (None, _) => (Vec::new(), 0),
        };
        match media.get_mut(index) {
            Some(slot) => *slot = Media { protocol: slot.protocol.clone(), ..stream },
            None => media.push(stream),
        }
        let sdp = self.finish(media, wish);
        let &Wish { lease, latch, capabilities, direction: _, encryption: _ } = wish;
        let ptime = capabilities.ptime;
        let offered = Offered { sdp: sdp.clone(), index, formats, lease, latch, ptime, encryption, crypto };
        self.state = State::LocalOffer(Box::new(offered));
        Ok(sdp)
    }

    /// Takes the peer's offer; [`Negotiator::answer`] or [`Negotiator::rollback`] must follow.
    ///
    /// # Errors
    /// [`NegotiationError::Glare`] (491) while ours waits, [`NegotiationError::Pending`] (500) while its own waits.
    pub fn handle_offer(&mut self, offer: Sdp) -> Result<(), NegotiationError> {
        match self.state {
            State::Stable(_) => {
                self.state = State::RemoteOffer(Box::new(offer));
                Ok(())
            }
            State::LocalOffer(_) => Err(NegotiationError::Glare),
            State::RemoteOffer(_) => Err(NegotiationError::Pending),
        }
    }

    /// Tells whether the waiting offer could be answered, without answering it: to refuse a call before it rings.
    ///
    /// # Errors
    /// Those of [`Negotiator::answer`].
    pub fn check(&self, wish: &Wish<'_>) -> Result<(), NegotiationError> {
        match &self.state {
            State::RemoteOffer(offer) => self.choose(offer, wish).map(|_| ()),
            State::Stable(_) | State::LocalOffer(_) => Err(NegotiationError::NoOffer),
        }
    }

    /// Answers the waiting offer: the first audio stream that we can serve is accepted, all others refused in place
    /// by port 0; formats keep the peer's order and numbers (RFC 3264 §6.1).
    ///
    /// # Errors
    /// What makes the offer unacceptable; the offer is then gone.
    pub fn answer(&mut self, wish: &Wish<'_>) -> Result<(Sdp, MediaPlan), NegotiationError> {
        let offer = match std::mem::replace(&mut self.state, State::Stable(None)) {
            State::RemoteOffer(offer) => *offer,
            other @ (State::Stable(_) | State::LocalOffer(_)) => {
                self.state = other;
                return Err(NegotiationError::NoOffer);
            }
        };
        let Chosen { index, offered, matches, far, crypto } = self.choose(&offer, wish)?;
        let matches = self.number(matches, &offered);
        if matches.iter().all(|pair| pair.ours.is_event()) {
            return Err(matching::no_common_codec(&offered, &matching::wanted(wish.capabilities)));
        }
        let direction = both(wish.direction, far.direction.reversed());
        let formats: Vec<_> = matches.iter().map(|pair| pair.ours.clone()).collect();
        let (crypto, protection) = match crypto {
            None => (Vec::new(), Protection::None),
            Some(theirs) => {
                let no_keys = || NegotiationError::NoCommonSuite { theirs: Vec::new() };
                self.keys.set_address(wish.lease.rtp_addr);
                let ours = self.keys.answer(&theirs).ok_or_else(no_keys)?;
                (vec![ours.clone()], keys::sdes(&ours, theirs))
            }
        };
        let mut media: Vec<_> = offer.media.iter().map(Media::refused).collect();
        if let Some(slot) = media.get_mut(index) {
            *slot = stream(&slot.protocol, &formats, wish, direction, &crypto);
        }
        let sdp = self.finish(media, wish);
        let terms = Terms { lease: wish.lease, latch: wish.latch, ptime: wish.capabilities.ptime, protection };
        let plan = plan(&sdp, &offer, index, &matches, terms)?;
        self.settle_keys(&plan);
        self.audio = Some(index);
        self.local = Some(sdp.clone());
        self.remote = Some(offer);
        Ok((sdp, plan))
    }

    /// Takes the answer to our offer, or a changed answer to the one that was answered last.
    ///
    /// # Errors
    /// [`NegotiationError::NoOffer`] if we made none, else what makes the answer unusable.
    pub fn handle_answer(&mut self, answer: Sdp) -> Result<MediaPlan, NegotiationError> {
        let offered = match std::mem::replace(&mut self.state, State::Stable(None)) {
            State::LocalOffer(offered) | State::Stable(Some(offered)) => offered,
            other @ (State::Stable(None) | State::RemoteOffer(_)) => {
                self.state = other;
                return Err(NegotiationError::NoOffer);
            }
        };
        let index = offered.index;
        let Some(media) = answer.media.get(index).filter(|media| media.port != 0) else {
            return Err(NegotiationError::Refused);
        };
        if !media.is_open_audio() {
            return Err(NegotiationError::NoAudio { offered: names(&answer) });
        }
        let theirs: Vec<_> = Format::of(media).into_iter().map(|format| named(format, &offered.formats)).collect();
        let matches = matching::pair(&offered.formats, &theirs)?;
        let protection = keys::accept(media, offered.encryption, &offered.crypto)?;
        let terms = Terms { lease: offered.lease, latch: offered.latch, ptime: offered.ptime, protection };
        let plan = plan(&offered.sdp, &answer, index, &matches, terms)?;
        self.settle_keys(&plan);
        self.audio = Some(index);
        self.local = Some(offered.sdp.clone());
        self.remote = Some(answer);
        self.state = State::Stable(Some(offered));
        Ok(plan)
    }

    /// Forgets the waiting offer of either side (it was refused, collided or was cancelled).
    pub fn rollback(&mut self) {
        if self.has_pending_offer() {
            self.state = State::Stable(None);
        }
    }

    fn settle_keys(&mut self, plan: &MediaPlan) {
        if let Some(transport) = plan.transports.first() {
            self.keys.settle(&transport.protection);
        }
    }

    /// Finds the stream and the formats to answer with.
    fn choose(&self, offer: &Sdp, wish: &Wish<'_>) -> Result<Chosen, NegotiationError> {
        let in_use = self.audio.filter(|index| offer.media.get(*index).is_some_and(Media::is_open_audio));
        let policy = self.keys.policy(wish.encryption);
        let suites = &wish.capabilities.suites;
        // Some offer sound twice, encrypted and not: the first that our policy allows, an encrypted one before others.
        let open = offer.media.iter().enumerate().filter(|(index, media)| match in_use {
            Some(in_use) => *index == in_use,
            None => media.is_open_audio(),
        });
        let mut found = Err(NegotiationError::NoAudio { offered: names(offer) });
        for (index, media) in open {
            match (keys::choose(media, policy, suites), &found) {
                (Ok(crypto @ Some(_)), _) => {
                    found = Ok((index, media, crypto));
                    break;
                }
                (Ok(None), Err(_)) => found = Ok((index, media, None)),
                (Err(error), Err(NegotiationError::NoAudio { .. })) => found = Err(error),
                (Ok(None) | Err(_), _) => {}
            }
        }
        let (index, media, crypto) = found?;
        let offered = Format::of(media);
        let matches = match_formats(&offered, wish.capabilities)?;
        let far = far_end(offer, media, wish.lease)?;
        Ok(Chosen { index, offered, matches, far, crypto })
    }

    /// Our formats with their payload types: those of earlier in the session, else assigned, customary or free ones.
    fn offered_formats(&mut self, capabilities: &Capabilities) -> Vec<Format> {
        let mut formats: Vec<Format> = Vec::new();
        for format in matching::wanted(capabilities) {
            let taken: Vec<_> = formats.iter().map(|format| format.pt).collect();
            if let Some(pt) = self.number_for(&format, &taken) {
                formats.push(Format { pt, ..format });
            }
        }
        self.announce(&formats);
        formats
    }

    /// Gives our side of each match its number: the offerer's, unless that means something else to us already.
    fn number(&mut self, matches: Vec<Match>, offered: &[Format]) -> Vec<Match> {
        let mut taken: Vec<_> = offered.iter().map(|format| format.pt).collect();
        let mut numbered = Vec::new();
        for Match { ours, theirs } in matches {
            let has_other_meaning = self.numbers.iter().any(|known| known.pt == theirs.pt && !known.is_same(&ours));
            let pt = if has_other_meaning { self.number_for(&ours, &taken) } else { Some(theirs.pt) };
            if let Some(pt) = pt {
                taken.push(pt);
                numbered.push(Match { ours: Format { pt, ..ours }, theirs });
            }
        }
        let formats: Vec<_> = numbered.iter().map(|pair| pair.ours.clone()).collect();
        self.announce(&formats);
        numbered
    }

    /// The number that `format` has in this session, else its own, else the first free one; none of `taken`.
    /// `None` when a peer has used up all 128 by giving them new meanings again and again.
    fn number_for(&self, format: &Format, taken: &[u8]) -> Option<u8> {
        let is_free = |pt: u8| !taken.contains(&pt) && self.numbers.iter().all(|known| known.pt != pt);
        let known = self.numbers.iter().rev().find(|known| known.is_same(format) && !taken.contains(&known.pt));
        known
            .map(|known| known.pt)
            .or_else(|| Some(format.pt).into_iter().chain(96..=127).chain(35..=63).find(|pt| is_free(*pt)))
    }

    fn announce(&mut self, formats: &[Format]) {
        for format in formats {
            if self.numbers.iter().all(|known| known.pt != format.pt) {
                self.numbers.push(format.clone());
            }
        }
    }

    /// Puts the session part around `media`; the version rises only if something else has changed (RFC 3264 §8).
    fn finish(&mut self, media: Vec<Media>, wish: &Wish<'_>) -> Sdp {
        let ip = wish.lease.rtp_addr.ip();
        let mut sdp = Sdp {
            origin: Origin {
                username: self.username.clone(),
                session_id: self.session_id.to_string(),
                version: self.version.to_string(),
                host: Host::Ip(ip),
            },
            name: "-".into(),
            about: Vec::new(),
            connection: Some(Connection::new(ip)),
            bandwidths: Vec::new(),
            timing: vec!["t=0 0".into()],
            attributes: Vec::new(),
            media,
        };
        if self.sent.as_ref() != Some(&sdp) {
            self.version = self.version.saturating_add(1);
            sdp.origin.version = self.version.to_string();
            self.sent = Some(sdp.clone());
        }
        sdp
    }
}

/// What an offer comes down to.
struct Chosen {
    index: usize,
    offered: Vec<Format>,
    matches: Vec<Match>,
    far: matching::FarEnd,
    /// The peer's line to answer, if sound will be encrypted.
    crypto: Option<CryptoLine>,
}

/// What both sides have agreed on besides formats and addresses.
struct Terms {
    lease: Lease,
    latch: bool,
    ptime: Duration,
    protection: Protection,
}

/// A direction that both wish, each seen from us.
const fn both(ours: Direction, theirs: Direction) -> Direction {
    Direction::from_halves(ours.sends() && theirs.sends(), ours.receives() && theirs.receives())
}

/// The m-lines of `sdp` in a word or two each.
fn names(sdp: &Sdp) -> Vec<String> {
    let name = |media: &Media| match media.port {
        0 => format!("{} {} (port 0)", media.kind, media.protocol),
        _ => format!("{} {}", media.kind, media.protocol),
    };
    sdp.media.iter().map(name).collect()
}

/// An answered format whose rtpmap was left out means what we offered under that number.
fn named(format: Format, offered: &[Format]) -> Format {
    match offered.iter().find(|ours| format.name.is_empty() && ours.pt == format.pt) {
        Some(ours) => Format { fmtp: format.fmtp, ..ours.clone() },
        None => format,
    }
}

/// Our audio m-line.
fn stream(protocol: &str, formats: &[Format], wish: &Wish<'_>, direction: Direction, crypto: &[CryptoLine]) -> Media {
    let mut attributes: Vec<_> = formats.iter().map(|format| Attribute::new("rtpmap", format.rtpmap())).collect();
    for format in formats.iter().filter(|format| !format.fmtp.is_empty()) {
        attributes.push(Attribute::new("fmtp", format!("{} {}", format.pt, format.fmtp)));
    }
    attributes.push(Attribute::new("ptime", wish.capabilities.ptime.as_millis().clamp(1, 200).to_string()));
    let Lease { rtp_addr, rtcp_addr, .. } = wish.lease;
    if rtp_addr.port().checked_add(1) != Some(rtcp_addr.port()) {
        attributes.push(Attribute::new("rtcp", rtcp_addr.port().to_string()));
    }
    attributes.extend(keys::attributes(crypto));
    attributes.push(Attribute::flag(direction_name(direction)));
    Media {
        kind: "audio".into(),
        port: rtp_addr.port(),
        port_count: None,
        protocol: protocol.to_owned(),
        formats: formats.iter().map(|format| format.pt.to_string()).collect(),
        info: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        attributes,
    }
}

/// What the two descriptions mean for media.
fn plan(
    local: &Sdp,
    remote: &Sdp,
    index: usize,
    matches: &[Match],
    terms: Terms,
) -> Result<MediaPlan, NegotiationError> {
    let Terms { lease, latch, ptime, protection } = terms;
    let (Some(ours), Some(theirs)) = (local.media.get(index), remote.media.get(index)) else {
        return Err(NegotiationError::Refused);
    };
    let far = far_end(remote, theirs, lease)?;
    let receive: Vec<_> = matches.iter().filter(|pair| !pair.ours.is_event()).map(Match::codec).collect();
    let Some(codec) = receive.first().cloned() else {
        return Err(matching::no_common_codec(&Format::of(theirs), &Format::of(ours)));
    };
    let stream = StreamPlan {
        index,
        transport: 0,
        kind: MediaKind::Audio,
        direction: both(local.direction_of(ours), far.direction.reversed()),
        dtmf: matching::dtmf(matches, codec.clock_rate),
        ptime: matching::packet_time(theirs, ptime),
        codec,
        receive,
    };
    let transport = TransportPlan { lease, remote: far.remote(latch), protection, rtcp_mux: false };
    Ok(MediaPlan { transports: vec![transport], streams: vec![stream] })
}

/// The DTMF format for `clock_rate` with the sixteen digits of a telephone (RFC 4733 §2.4.1).
fn event_format(clock_rate: u32) -> Format {
    let pt = if clock_rate == 8000 { 101 } else { 102 };
    Format { pt, name: TELEPHONE_EVENT.into(), clock_rate, channels: 1, fmtp: "0-15".into() }
}
