//! Session keys of SRTP and what is done with them to one packet whose index is known.
//!
//! ```text
//!  counter mode:  header | encrypted | tag                   RTCP: header | encrypted | E, index | tag
//!  GCM:           header | encrypted, tag                    RTCP: header | encrypted, tag | E, index
//! ```

use crate::sdp::plan::{MasterKey, Suite};
use aes::cipher::{InnerIvInit, KeyInit, KeyIvInit, StreamCipher, StreamCipherCore};
use aes::{Aes128, Aes256};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, Nonce, Tag};
use ctr::{Ctr128BE, CtrCore, flavors};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use zeroize::Zeroizing;

/// Master key, salt and suite of one direction.
#[derive(Clone, Copy)]
pub(super) struct Master<'a> {
    pub(super) suite: Suite,
    pub(super) key: &'a MasterKey,
}

/// The keys of one direction.
pub(super) struct SessionKeys {
    pub(super) rtp: Cipher,
    pub(super) rtcp: Cipher,
}

impl SessionKeys {
    /// Derives them (RFC 3711 §4.3; the derivation rate is 0, so they hold as long as the master key).
    pub(super) fn derive(master: Master<'_>) -> Self {
        // RFC 3711 §4.2.1, RFC 4568 §6.2: the tag of RTCP always has 80 bits.
        let tag = match master.suite {
            Suite::AesCm128Sha1Tag32 | Suite::AesCm256Sha1Tag32 => 4,
            Suite::AesCm128Sha1Tag80 | Suite::AesCm256Sha1Tag80 | Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 10,
        };
        Self { rtp: Cipher::derive(master, 0, tag), rtcp: Cipher::derive(master, 3, 10) }
    }
}

/// Encryption and authentication of RTP, or of RTCP.
pub(super) struct Cipher {
    mode: Mode,
    /// 14 bytes in counter mode, 12 in GCM.
    salt: Zeroizing<[u8; 14]>,
    /// Bytes of the tag.
    tag: usize,
}

enum Mode {
    Counter128(Aes128, Hmac<Sha1>),
    Counter256(Aes256, Hmac<Sha1>),
    Gcm128(Aes128Gcm),
    Gcm256(Aes256Gcm),
}

impl Cipher {
    /// `label` is that of the encryption key; authentication key and salt have the two after it.
    fn derive(master: Master<'_>, label: u8, tag: usize) -> Self {
        let mut salt = Zeroizing::new([0; 14]);
        derive(master.key, label + 2, &mut salt[..master.suite.salt_len()]);
        let mac = || {
            let mut key = Zeroizing::new([0; 20]);
            derive(master.key, label + 1, &mut key[..]);
            <Hmac<Sha1> as KeyInit>::new_from_slice(&key[..]).expect("HMAC takes keys of any length")
        };
        let (mut short, mut long) = (Zeroizing::new([0; 16]), Zeroizing::new([0; 32]));
        match master.suite.key_len() {
            16 => derive(master.key, label, &mut short[..]),
            _ => derive(master.key, label, &mut long[..]),
        }
        let (mode, tag) = match master.suite {
            Suite::AesCm128Sha1Tag80 | Suite::AesCm128Sha1Tag32 => {
                (Mode::Counter128(Aes128::new(&(*short).into()), mac()), tag)
            }
            Suite::AesCm256Sha1Tag80 | Suite::AesCm256Sha1Tag32 => {
                (Mode::Counter256(Aes256::new(&(*long).into()), mac()), tag)
            }
            Suite::AeadAes128Gcm => (Mode::Gcm128(Aes128Gcm::new(&(*short).into())), GCM_TAG),
            Suite::AeadAes256Gcm => (Mode::Gcm256(Aes256Gcm::new(&(*long).into())), GCM_TAG),
        };
        Self { mode, salt, tag }
    }

    #[cfg(test)]
    pub(super) fn with_session_keys(suite: Suite, key: &[u8], salt: &[u8]) -> Self {
        let mode = match suite.key_len() {
            16 => Mode::Gcm128(Aes128Gcm::new_from_slice(key).unwrap()),
            _ => Mode::Gcm256(Aes256Gcm::new_from_slice(key).unwrap()),
        };
        let mut all = Zeroizing::new([0; 14]);
        all[..12].copy_from_slice(salt);
        Self { mode, salt: all, tag: GCM_TAG }
    }

    /// Bytes that follow the key identifier in an RTP packet; in GCM the tag is part of what is encrypted.
    pub(super) const fn rtp_trailer(&self) -> usize {
        if self.is_gcm() { 0 } else { self.tag }
    }

    /// Bytes that follow the key identifier in an RTCP packet.
    pub(super) const fn rtcp_trailer(&self) -> usize {
        self.rtp_trailer()
    }

    const fn is_gcm(&self) -> bool {
        matches!(self.mode, Mode::Gcm128(_) | Mode::Gcm256(_))
    }

    /// Protects the RTP packet in the first `length` bytes of `buf`; `header` of them stay readable.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        length: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let sealed = length.checked_add(self.tag)?;
        let (head, rest) = buf.get_mut(..sealed)?.split_at_mut_checked(header)?;
        let (text, tag) = rest.split_at_mut_checked(length.checked_sub(header)?)?;
        match &self.mode {
            Mode::Gcm128(_) | Mode::Gcm256(_) => {
                let made = self.gcm_seal(&self.gcm_iv(ssrc, (index >> 16) as u32, index as u16), head, text)?;
                tag.copy_from_slice(&made);
            }
            Mode::Counter128(_, mac) | Mode::Counter256(_, mac) => {
                self.apply(ssrc, index, text);
                let mut mac = mac.clone();
                mac.update(head);
                mac.update(text);
                mac.update(&((index >> 16) as u32).to_be_bytes());
                tag.copy_from_slice(mac.finalize().into_bytes().get(..self.tag)?);
            }
        }
        Some(sealed)
    }

    /// Opens the RTP packet in the first `length` bytes of `buf` if it is authentic under this index; the clear length.
    pub(super) fn open_rtp(
        &self,
        buf: &mut [u8],
        length: usize,
        header: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let clear = length.checked_sub(self.tag)?;
        let (head, rest) = buf.get_mut(..length)?.split_at_mut_checked(header)?;
        let (text, tag) = rest.split_at_mut_checked(clear.checked_sub(header)?)?;
        match &self.mode {
            Mode::Gcm128(_) | Mode::Gcm256(_) => {
                self.gcm_open(&self.gcm_iv(ssrc, (index >> 16) as u32, index as u16), head, text, tag)?;
            }
            Mode::Counter128(_, mac) | Mode::Counter256(_, mac) => {
                let mut mac = mac.clone();
                mac.update(head);
                mac.update(text);
                mac.update(&((index >> 16) as u32).to_be_bytes());
                mac.verify_truncated_left(tag).ok()?; // in constant time
                self.apply(ssrc, index, text);
            }
        }
        Some(clear)
    }

    /// Protects the RTCP packet in the first `length` bytes of `buf`; eight of them stay readable.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], length: usize, ssrc: u32, index: u32) -> Option<usize> {
        let sealed = length.checked_add(self.tag)?.checked_add(4)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        let (head, rest) = buf.get_mut(..sealed)?.split_at_mut_checked(CONTROL_HEADER)?;
        let (text, end) = rest.split_at_mut_checked(length.checked_sub(CONTROL_HEADER)?)?;
        match &self.mode {
            Mode::Gcm128(_) | Mode::Gcm256(_) => {
                let made = self.gcm_seal(&self.gcm_control_iv(ssrc, index), &authenticated(head, word)?, text)?;
                let (tag, place) = end.split_at_mut_checked(self.tag)?;
                tag.copy_from_slice(&made);
                place.copy_from_slice(&word);
            }
            Mode::Counter128(_, mac) | Mode::Counter256(_, mac) => {
                self.apply(ssrc, index.into(), text);
                let (place, tag) = end.split_at_mut_checked(4)?;
                place.copy_from_slice(&word);
                let mut mac = mac.clone();
                mac.update(head);
                mac.update(text);
                mac.update(place);
                tag.copy_from_slice(mac.finalize().into_bytes().get(..self.tag)?);
            }
        }
        Some(sealed)
    }

    /// The index that an RTCP packet names. One that is not encrypted (E = 0) has none: that was never agreed.
    pub(super) fn rtcp_index(&self, buf: &[u8], length: usize) -> Option<u32> {
        let end = if self.is_gcm() { length } else { length.checked_sub(self.tag)? };
        let word = buf.get(end.checked_sub(4)?..end)?;
        let word = u32::from_be_bytes(word.try_into().ok()?);
        (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
    }

    /// Opens the RTCP packet in the first `length` bytes of `buf` if it is authentic; the clear length.
    pub(super) fn open_rtcp(&self, buf: &mut [u8], length: usize, ssrc: u32, index: u32) -> Option<usize> {
        let clear = length.checked_sub(self.tag)?.checked_sub(4)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        let (head, rest) = buf.get_mut(..length)?.split_at_mut_checked(CONTROL_HEADER)?;
        let (text, end) = rest.split_at_mut_checked(clear.checked_sub(CONTROL_HEADER)?)?;
        match &self.mode {
            Mode::Gcm128(_) | Mode::Gcm256(_) => {
                let tag = end.get(..self.tag)?;
                self.gcm_open(&self.gcm_control_iv(ssrc, index), &authenticated(head, word)?, text, tag)?;
            }
            Mode::Counter128(_, mac) | Mode::Counter256(_, mac) => {
                let (_, tag) = end.split_at_checked(4)?;
                let mut mac = mac.clone();
                mac.update(head);
                mac.update(text);
                mac.update(&word);
                mac.verify_truncated_left(tag).ok()?; // in constant time
                self.apply(ssrc, index.into(), text);
            }
        }
        Some(clear)
    }

    /// The key stream of one packet over its text (RFC 3711 §4.1.1). Packets are far shorter than the counter is.
    fn apply(&self, ssrc: u32, index: u64, text: &mut [u8]) {
        let iv = counter_iv(&self.salt, ssrc, index);
        match &self.mode {
            Mode::Counter128(aes, _) => Counter::inner_iv_init(aes, &iv.into()).apply_keystream_partial(text.into()),
            Mode::Counter256(aes, _) => Counter::inner_iv_init(aes, &iv.into()).apply_keystream_partial(text.into()),
            Mode::Gcm128(_) | Mode::Gcm256(_) => {}
        }
    }

    fn gcm_seal(&self, iv: &[u8; 12], also: &[u8], text: &mut [u8]) -> Option<Tag> {
        let nonce = Nonce::from(*iv);
        match &self.mode {
            Mode::Gcm128(gcm) => gcm.encrypt_inout_detached(&nonce, also, text.into()).ok(),
            Mode::Gcm256(gcm) => gcm.encrypt_inout_detached(&nonce, also, text.into()).ok(),
            Mode::Counter128(..) | Mode::Counter256(..) => None,
        }
    }

    /// Compares the tag in constant time and leaves the text alone unless it is right.
    fn gcm_open(&self, iv: &[u8; 12], also: &[u8], text: &mut [u8], tag: &[u8]) -> Option<()> {
        let nonce = Nonce::from(*iv);
        let tag = Tag::try_from(tag).ok()?;
        match &self.mode {
            Mode::Gcm128(gcm) => gcm.decrypt_inout_detached(&nonce, also, text.into(), &tag).ok(),
            Mode::Gcm256(gcm) => gcm.decrypt_inout_detached(&nonce, also, text.into(), &tag).ok(),
            Mode::Counter128(..) | Mode::Counter256(..) => None,
        }
    }

    /// RFC 7714 §8.1.
    fn gcm_iv(&self, ssrc: u32, roc: u32, seq: u16) -> [u8; 12] {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[6..10].copy_from_slice(&roc.to_be_bytes());
        iv[10..].copy_from_slice(&seq.to_be_bytes());
        self.salted(iv)
    }

    /// RFC 7714 §9.1.
    fn gcm_control_iv(&self, ssrc: u32, index: u32) -> [u8; 12] {
        let mut iv = [0; 12];
        iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..].copy_from_slice(&index.to_be_bytes());
        self.salted(iv)
    }

    fn salted(&self, mut iv: [u8; 12]) -> [u8; 12] {
        iv.iter_mut().zip(self.salt.iter()).for_each(|(byte, salt)| *byte ^= salt);
        iv
    }
}

/// What GCM authenticates of an RTCP packet besides its text: the header and the word with E and index (RFC 7714 §9.2).
fn authenticated(head: &[u8], word: [u8; 4]) -> Option<[u8; CONTROL_HEADER + 4]> {
    let mut also = [0; CONTROL_HEADER + 4];
    let (first, last) = also.split_at_mut(CONTROL_HEADER);
    first.copy_from_slice(head.get(..CONTROL_HEADER)?);
    last.copy_from_slice(&word);
    Some(also)
}

/// (salt · 2¹⁶) XOR (SSRC · 2⁶⁴) XOR (index · 2¹⁶), RFC 3711 §4.1.1.
fn counter_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let number = u128::from(ssrc) << 64 ^ u128::from(index) << 16;
    let mut iv = number.to_be_bytes();
    iv.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    iv
}

/// The pseudo-random function of RFC 3711 §4.3.3 (AES-256 by RFC 6188 §3): `out` is the key with this label. The shorter
/// salt of GCM counts as if zeros followed it (RFC 7714 §11).
pub(super) fn derive(master: &MasterKey, label: u8, out: &mut [u8]) {
    let mut iv = [0; 16];
    iv.iter_mut().zip(master.salt()).for_each(|(byte, salt)| *byte = *salt);
    iv[7] ^= label;
    out.fill(0);
    if let Ok(key) = <[u8; 32]>::try_from(master.key()) {
        Ctr128BE::<Aes256>::new(&key.into(), &iv.into()).apply_keystream(out);
    } else if let Ok(key) = <[u8; 16]>::try_from(master.key()) {
        Ctr128BE::<Aes128>::new(&key.into(), &iv.into()).apply_keystream(out);
    }
}

/// Counter mode with a key schedule that is made already.
type Counter<'a, C> = CtrCore<&'a C, flavors::Ctr128BE>;

const GCM_TAG: usize = 16;
/// The first eight bytes of an RTCP packet stay readable.
const CONTROL_HEADER: usize = 8;
/// The E flag.
const ENCRYPTED: u32 = 1 << 31;
