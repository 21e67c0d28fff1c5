//! Keys of SRTP in session descriptions: the attribute `a=crypto` (SDES, RFC 4568; suites of RFC 6188 and RFC 7714).
//!
//! ```text
//! a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:4 WSH=64
//!          tag        suite                        key and salt            lifetime MKI  session parameters
//! ```

use crate::rng::Rng;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// How SRTP encrypts and authenticates; named as in `a=crypto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// AES-256 in Galois/counter mode, tag of 128 bits (RFC 7714).
    AeadAes256Gcm,
    /// AES-128 in Galois/counter mode, tag of 128 bits (RFC 7714).
    AeadAes128Gcm,
    /// AES-256 in counter mode, HMAC-SHA1 of 80 bits (RFC 6188).
    AesCm256Sha1Tag80,
    /// AES-128 in counter mode, HMAC-SHA1 of 80 bits: the one that every SRTP has (RFC 4568 §6.2).
    AesCm128Sha1Tag80,
    /// AES-256 in counter mode, HMAC-SHA1 of 32 bits for sound, of 80 for RTCP.
    AesCm256Sha1Tag32,
    /// AES-128 in counter mode, HMAC-SHA1 of 32 bits for sound, of 80 for RTCP.
    AesCm128Sha1Tag32,
}

impl Suite {
    /// All of them, preferred first.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm256Sha1Tag80,
        Self::AesCm128Sha1Tag80,
        Self::AesCm256Sha1Tag32,
        Self::AesCm128Sha1Tag32,
    ];

    /// Its name in `a=crypto`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AesCm256Sha1Tag80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AesCm128Sha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm256Sha1Tag32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AesCm128Sha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        // Some write the AES-256 names in the order of the AES-128 ones.
        let name = match name.to_ascii_uppercase().as_str() {
            "AES_CM_256_HMAC_SHA1_80" => "AES_256_CM_HMAC_SHA1_80".to_owned(),
            "AES_CM_256_HMAC_SHA1_32" => "AES_256_CM_HMAC_SHA1_32".to_owned(),
            name => name.to_owned(),
        };
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// Bytes of the master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AesCm256Sha1Tag80 | Self::AesCm256Sha1Tag32 => 32,
            Self::AeadAes128Gcm | Self::AesCm128Sha1Tag80 | Self::AesCm128Sha1Tag32 => 16,
        }
    }

    /// Bytes of the master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::AesCm256Sha1Tag80 | Self::AesCm128Sha1Tag80 | Self::AesCm256Sha1Tag32 | Self::AesCm128Sha1Tag32 => 14,
        }
    }
}

/// Master key and salt of one direction; wiped on drop, never shown.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey {
    bytes: [u8; MOST],
    key_len: usize,
    salt_len: usize,
}

impl MasterKey {
    /// A key for `suite` from its bytes, the salt behind the key; `None` when their number is not that of the suite.
    pub fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        let (key_len, salt_len) = (suite.key_len(), suite.salt_len());
        let mut bytes = [0; MOST];
        if key_and_salt.len() != key_len + salt_len {
            return None;
        }
        bytes.get_mut(..key_and_salt.len())?.copy_from_slice(key_and_salt);
        Some(Self { bytes, key_len, salt_len })
    }

    /// A fresh key.
    pub fn random(suite: Suite, rng: &mut Rng) -> Self {
        let (key_len, salt_len) = (suite.key_len(), suite.salt_len());
        let mut bytes = rng.bytes::<MOST>();
        bytes[key_len + salt_len..].fill(0);
        Self { bytes, key_len, salt_len }
    }

    /// The key; only for computing with it.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }

    /// The salt; only for computing with it.
    pub fn salt(&self) -> &[u8] {
        &self.bytes[self.key_len..self.key_len + self.salt_len]
    }

    fn encode(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(&self.bytes[..self.key_len + self.salt_len]))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// A master key identifier, which every packet under the key carries (RFC 3711 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    value: u128,
    length: usize,
}

impl Mki {
    /// Its bytes in a packet, 1 to 16.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Never: an identifier has at least one byte.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether these are its bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.length && bytes.iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte)) == self.value
    }
}

/// One `a=crypto` line that we can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptoLine {
    /// Names the line in the answer.
    pub tag: u32,
    /// How.
    pub suite: Suite,
    /// The key of what the line's writer sends.
    pub key: MasterKey,
    /// The identifier that its packets carry.
    pub mki: Option<Mki>,
}

impl CryptoLine {
    /// Reads the value of an `a=crypto` attribute.
    ///
    /// # Errors
    /// Why the line is none of ours. A description may well hold such lines: they are left out (RFC 4568 §5.1.2).
    pub fn parse(value: &str) -> Result<Self, CryptoError> {
        let mut words = value.split_ascii_whitespace();
        let (Some(tag), Some(name), Some(params)) = (words.next(), words.next(), words.next()) else {
            return Err(CryptoError::Malformed);
        };
        let is_tag = tag.len() <= 9 && tag.bytes().all(|byte| byte.is_ascii_digit());
        let tag = tag.parse().ok().filter(|_| is_tag).ok_or(CryptoError::Malformed)?;
        let suite = Suite::by_name(name).ok_or_else(|| CryptoError::Suite(name.chars().take(64).collect()))?;
        // Several keys at once, told apart by their MKI, are more than anybody offers.
        if params.contains(';') {
            return Err(CryptoError::Key);
        }
        let params = params.strip_prefix("inline:").ok_or(CryptoError::Key)?;
        let mut parts = params.split('|');
        let bytes = BASE64.decode(parts.next().unwrap_or_default()).map_err(|_| CryptoError::Key)?;
        let key = MasterKey::new(suite, &Zeroizing::new(bytes)).ok_or(CryptoError::Key)?;
        let mut mki = None;
        for (at, part) in parts.enumerate() {
            match part.split_once(':') {
                Some((value, length)) if mki.is_none() => mki = Some(read_mki(value, length)?),
                // How long the key is good is its sender's business: it stops using it.
                None if at == 0 => check_lifetime(part)?,
                Some(_) | None => return Err(CryptoError::Key),
            }
        }
        words.try_for_each(check_session_parameter)?;
        Ok(Self { tag, suite, key, mki })
    }

    /// Writes the value of the attribute.
    pub fn encode(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite.name(), self.key.encode().as_str())
    }
}

/// Why an `a=crypto` line cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// It lacks a part.
    #[error("the line cannot be read")]
    Malformed,
    /// The suite is none of ours.
    #[error("{0} is not supported")]
    Suite(String),
    /// The key is no `inline:` key of the suite's length, or there are several.
    #[error("the key cannot be used")]
    Key,
    /// The session parameter asks for less protection, or is unknown and must not be ignored (RFC 4568 §6.3).
    #[error("{0} is refused")]
    Parameter(String),
}

/// Keys of one SRTP session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdesKeys {
    /// How both directions are protected.
    pub suite: Suite,
    /// Of what we send.
    pub send: MasterKey,
    /// Of what we receive.
    pub receive: MasterKey,
    /// The identifier in what we receive.
    pub mki: Option<Mki>,
}

fn read_mki(value: &str, length: &str) -> Result<Mki, CryptoError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(value) || !digits(length) {
        return Err(CryptoError::Key);
    }
    let value: u128 = value.parse().map_err(|_| CryptoError::Key)?;
    // RFC 4568 allows 128 bytes; a number of 16 is more than anybody counts to.
    let length: usize = length.parse().ok().filter(|length| (1..=16).contains(length)).ok_or(CryptoError::Key)?;
    let fits = length == 16 || value >> (8 * length) == 0;
    fits.then_some(Mki { value, length }).ok_or(CryptoError::Key)
}

/// `2^20` or a number, within what RFC 3711 §9.2 allows.
fn check_lifetime(text: &str) -> Result<(), CryptoError> {
    let good = match text.strip_prefix("2^") {
        Some(power) => power.parse::<u32>().is_ok_and(|power| power <= 48),
        None => text.parse::<u64>().is_ok_and(|packets| (1..=1 << 48).contains(&packets)),
    };
    good.then_some(()).ok_or(CryptoError::Key)
}

/// RFC 4568 §6.3: what would leave packets open is refused, and so is what we would not obey.
fn check_session_parameter(word: &str) -> Result<(), CryptoError> {
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let ignorable = match name.to_ascii_uppercase().as_str() {
        "WSH" => true,
        "KDR" => value == "0",
        // Only matters with forward error correction, which we do not negotiate.
        "FEC_ORDER" => true,
        _ => name.starts_with('-'),
    };
    ignorable.then_some(()).ok_or_else(|| CryptoError::Parameter(name.chars().take(64).collect()))
}

/// The longest key and salt: AES-256 in counter mode.
const MOST: usize = 32 + 14;
/// Some leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
