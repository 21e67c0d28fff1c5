//! Digest authentication (RFC 7616, RFC 8760, RFC 3261 §22): the arithmetic that client and server share.
//!
//! ```text
//!   request ──▶ server: no credentials ──▶ 401 + challenges (stateless: the nonce carries its own proof)
//!   challenges ──▶ client: strongest one it knows ──▶ request + Authorization ──▶ server: user or refusal
//! ```

mod client;
mod fields;
mod server;
#[cfg(test)]
mod tests;

pub use client::{AuthError, Credentials, DigestClient};
pub use fields::{Fields, FieldsError};
pub use server::{DigestServer, Refused, StoredHa1};

use crate::secret::Secret;
use md5::Md5;
use sha2::{Sha256, Sha512_256};
use std::fmt::Write as _;

/// Longest realm, nonce, opaque or user name that is looked at (threats D10: lengths are capped before use).
pub const MAX_FIELD: usize = 512;

/// The hash of a digest algorithm; a later one is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5 (RFC 2617); still what most registrars ask for.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512_256,
}

impl Hash {
    /// The hash of the parts joined by colons, in lower-case hex.
    pub fn hex(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hex(&joined::<Md5>(parts)),
            Self::Sha256 => hex(&joined::<Sha256>(parts)),
            Self::Sha512_256 => hex(&joined::<Sha512_256>(parts)),
        }
    }
}

fn joined<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = D::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest.finalize().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// A digest algorithm by its registered name (RFC 7616 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm {
    /// What is computed.
    pub hash: Hash,
    /// `-sess`: HA1 also covers nonce and cnonce.
    pub session: bool,
}

impl Algorithm {
    /// MD5, which an absent `algorithm` means.
    pub const MD5: Self = Self { hash: Hash::Md5, session: false };
    /// SHA-256.
    pub const SHA_256: Self = Self { hash: Hash::Sha256, session: false };
    /// SHA-512-256.
    pub const SHA_512_256: Self = Self { hash: Hash::Sha512_256, session: false };

    /// Reads a name without regard to case; `None` for an unknown one.
    pub fn from_token(token: &str) -> Option<Self> {
        let lower = token.to_ascii_lowercase();
        let (name, session) = match lower.strip_suffix("-sess") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let hash = match name {
            "md5" => Hash::Md5,
            "sha-256" => Hash::Sha256,
            "sha-512-256" => Hash::Sha512_256,
            _ => return None,
        };
        Some(Self { hash, session })
    }

    /// The registered name.
    pub const fn as_str(self) -> &'static str {
        match (self.hash, self.session) {
            (Hash::Md5, false) => "MD5",
            (Hash::Md5, true) => "MD5-sess",
            (Hash::Sha256, false) => "SHA-256",
            (Hash::Sha256, true) => "SHA-256-sess",
            (Hash::Sha512_256, false) => "SHA-512-256",
            (Hash::Sha512_256, true) => "SHA-512-256-sess",
        }
    }
}

/// What an HA1 is made of: hash(user:realm:password). As good as the password itself for this realm.
pub fn ha1(hash: Hash, user: &str, realm: &str, password: &Secret) -> Secret {
    Secret::new(hash.hex(&[user.as_bytes(), realm.as_bytes(), password.expose().as_bytes()]))
}

/// All that goes into a `response` value besides the HA1 (RFC 7616 §3.4.1).
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The server's nonce.
    pub nonce: &'a str,
    /// The client's part, when `qop` is used.
    pub protection: Option<Protection<'a>>,
    /// The method of the request.
    pub method: &'a str,
    /// The `uri` value, exactly as sent.
    pub uri: &'a str,
}

/// The values that come with `qop=auth`.
#[derive(Debug, Clone, Copy)]
pub struct Protection<'a> {
    /// Nonce count, eight hex digits.
    pub nc: &'a str,
    /// The client's nonce.
    pub cnonce: &'a str,
    /// `auth`.
    pub qop: &'a str,
}

/// The `response` value for a stored HA1 of hash(user:realm:password).
pub fn response(ha1: &Secret, parts: &Parts<'_>) -> String {
    let hash = parts.algorithm.hash;
    let cnonce = parts.protection.map_or("", |protection| protection.cnonce);
    let ha1 = if parts.algorithm.session {
        Secret::new(hash.hex(&[ha1.expose().as_bytes(), parts.nonce.as_bytes(), cnonce.as_bytes()]))
    } else {
        ha1.clone()
    };
    let ha2 = hash.hex(&[parts.method.as_bytes(), parts.uri.as_bytes()]);
    match parts.protection {
        Some(protection) => hash.hex(&[
            ha1.expose().as_bytes(),
            parts.nonce.as_bytes(),
            protection.nc.as_bytes(),
            protection.cnonce.as_bytes(),
            protection.qop.as_bytes(),
            ha2.as_bytes(),
        ]),
        None => hash.hex(&[ha1.expose().as_bytes(), parts.nonce.as_bytes(), ha2.as_bytes()]),
    }
}

/// Compares without telling by its duration where the first difference is.
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    a.len() == b.len() && std::hint::black_box(a.iter().zip(b).fold(0, |diff, (x, y)| diff | (x ^ y))) == 0
}
