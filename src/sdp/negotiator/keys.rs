//! Keys of one call leg (RFC 4568 §5, §7): which lines are offered, which is answered, when a key is made anew.

use super::super::capabilities::MediaEncryption;
use super::super::crypto::{CryptoLine, MasterKey, SdesKeys, Suite};
use super::super::error::NegotiationError;
use super::super::plan::Protection;
use super::super::session::{Attribute, Media};
use crate::rng::Rng;
use std::fmt;
use std::net::SocketAddr;
use zeroize::Zeroizing;

/// Where keys come from, and those that were announced.
#[derive(Clone, Default)]
pub(super) struct KeyRing {
    /// Makes the next key; without it there are none.
    seed: Option<Zeroizing<[u8; 32]>>,
    /// What we offered or answered with last, by suite: an offer repeats it, so that sound goes on under its key.
    ours: Vec<(Suite, MasterKey)>,
    /// What both sides agreed on.
    in_force: Option<SdesKeys>,
    /// Where our media is since the last offer or answer.
    address: Option<SocketAddr>,
}

impl KeyRing {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed: Some(Zeroizing::new(seed)), ..Self::default() }
    }

    /// The policy as far as there are keys for it. Required stays required: without keys the exchange fails.
    pub(super) fn policy(&self, wish: MediaEncryption) -> MediaEncryption {
        match (wish, &self.seed) {
            (MediaEncryption::Preferred, None) => MediaEncryption::Off,
            (wish, _) => wish,
        }
    }

    /// Every later offer and answer has keys that nobody has seen.
    pub(super) fn renew(&mut self) {
        self.ours.clear();
        self.in_force = None;
    }

    /// Whether both sides have agreed on keys.
    pub(super) const fn is_in_force(&self) -> bool {
        self.in_force.is_some()
    }

    /// Before an offer or answer: our media is at `address`. At another one than before every key is new, for the peer
    /// cannot know whether we still have the counters of the old ones (RFC 4568 §7.1.4).
    pub(super) fn set_address(&mut self, address: SocketAddr) {
        if self.address.replace(address).is_some_and(|before| before != address) {
            self.renew();
        }
    }

    /// The exchange is done. A key of ours that is given up by it never comes back: its counters are gone, and its key
    /// stream would begin again (RFC 3711 §9.1).
    pub(super) fn settle(&mut self, protection: &Protection) {
        let now = match protection {
            Protection::None => None,
            Protection::Sdes(keys) => Some((**keys).clone()),
        };
        if let Some(before) = std::mem::replace(&mut self.in_force, now) {
            self.ours.retain(|(_, key)| *key != before.send);
        }
        if let Some(SdesKeys { suite, send, .. }) = &self.in_force {
            self.ours.retain(|(known, _)| known != suite);
            self.ours.push((*suite, send.clone()));
        }
    }

    /// Lines for an offer, one for each suite.
    pub(super) fn lines(&mut self, suites: &[Suite]) -> Vec<CryptoLine> {
        let mut lines = Vec::new();
        for (tag, suite) in (1..).zip(suites) {
            let known = self.ours.iter().find(|(known, _)| known == suite).map(|(_, key)| key.clone());
            let Some(key) = known.or_else(|| self.fresh(*suite)) else { return Vec::new() };
            lines.push(CryptoLine { tag, suite: *suite, key, mki: None });
        }
        self.ours = lines.iter().map(|line| (line.suite, line.key.clone())).collect();
        lines
    }

    /// Our line to answer `theirs` with. Our key stays if the peer's has: the packets go on as they were. A peer with a
    /// new key may be somebody else (a transfer), who cannot know how far our packets have counted.
    pub(super) fn answer(&mut self, theirs: &CryptoLine) -> Option<CryptoLine> {
        let same = self
            .in_force
            .as_ref()
            .filter(|keys| (keys.suite, &keys.receive, keys.mki) == (theirs.suite, &theirs.key, theirs.mki));
        let key = same.map(|keys| keys.send.clone()).or_else(|| self.fresh(theirs.suite))?;
        Some(CryptoLine { tag: theirs.tag, suite: theirs.suite, key, mki: None })
    }

    fn fresh(&mut self, suite: Suite) -> Option<MasterKey> {
        let seed = self.seed.as_mut()?;
        let mut rng = Rng::new(**seed);
        **seed = rng.bytes();
        Some(MasterKey::random(suite, &mut rng))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing(***)")
    }
}

/// The line of an offered stream to answer: the one we prefer. `None`: in the clear.
///
/// # Errors
/// When the stream cannot be served under this policy.
pub(super) fn choose(
    media: &Media,
    policy: MediaEncryption,
    suites: &[Suite],
) -> Result<Option<CryptoLine>, NegotiationError> {
    let protocol = media.protocol.clone();
    let (lines, faults) = read(media);
    let rank = |line: &CryptoLine| suites.iter().position(|suite| *suite == line.suite);
    let best = lines.into_iter().filter(|line| rank(line).is_some()).min_by_key(rank);
    match (policy, media.is_srtp(), best) {
        (MediaEncryption::Off, true, _) => Err(NegotiationError::EncryptionOff { protocol }),
        (MediaEncryption::Off, false, _) | (MediaEncryption::Preferred, false, None) => Ok(None),
        (MediaEncryption::Preferred | MediaEncryption::Required, _, Some(line)) => Ok(Some(line)),
        (MediaEncryption::Preferred | MediaEncryption::Required, true, None) => {
            Err(NegotiationError::NoCommonSuite { theirs: faults })
        }
        (MediaEncryption::Required, false, None) => Err(NegotiationError::NotEncrypted { protocol }),
    }
}

/// What an answer to `offered` means.
///
/// # Errors
/// When it does not fit the offer, or is in the clear where that is not allowed.
pub(super) fn accept(
    media: &Media,
    policy: MediaEncryption,
    offered: &[CryptoLine],
) -> Result<Protection, NegotiationError> {
    let protocol = media.protocol.clone();
    let (lines, faults) = read(media);
    let pair = lines.into_iter().find_map(|theirs| {
        let ours = offered.iter().find(|ours| (ours.tag, ours.suite) == (theirs.tag, theirs.suite))?;
        Some((ours, theirs))
    });
    let claims = media.is_srtp() || (media.attribute("crypto").is_some() && !offered.is_empty());
    match (policy, pair, claims) {
        (MediaEncryption::Preferred | MediaEncryption::Required, Some((ours, theirs)), _) => Ok(sdes(ours, theirs)),
        (MediaEncryption::Off, _, true) => Err(NegotiationError::EncryptionOff { protocol }),
        (MediaEncryption::Preferred | MediaEncryption::Required, None, true) => {
            Err(NegotiationError::NoCommonSuite { theirs: faults })
        }
        (MediaEncryption::Required, None, false) => Err(NegotiationError::NotEncrypted { protocol }),
        (MediaEncryption::Off | MediaEncryption::Preferred, _, false) => Ok(Protection::None),
    }
}

/// The keys of an exchange.
pub(super) fn sdes(ours: &CryptoLine, theirs: CryptoLine) -> Protection {
    let keys = SdesKeys { suite: ours.suite, send: ours.key.clone(), receive: theirs.key.clone(), mki: theirs.mki };
    Protection::Sdes(Box::new(keys))
}

/// The attributes for these lines.
pub(super) fn attributes(lines: &[CryptoLine]) -> impl Iterator<Item = Attribute> {
    lines.iter().map(|line| Attribute::new("crypto", line.encode()))
}

/// The lines that can be used, and what is wrong with the others.
fn read(media: &Media) -> (Vec<CryptoLine>, Vec<String>) {
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for value in media.attributes_named("crypto").take(MOST) {
        match CryptoLine::parse(value) {
            Ok(line) => lines.push(line),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if lines.is_empty() && faults.is_empty() {
        faults.push("there is no a=crypto line".to_owned());
    }
    (lines, faults)
}

/// Lines that are read of one stream.
const MOST: usize = 32;
