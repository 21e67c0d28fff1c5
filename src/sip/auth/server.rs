//! The server's half: challenges without a table, credentials checked against stored HA1 (RFC 7616 §5, threats B2, B11, D10).
//!
//! A nonce is `time | number | keyed hash(time, number, client address)`: only we can make one, it tells its own age, and
//! nothing is stored until a digest was right. What is stored then is the last nonce count, until the nonce expires.

use super::fields::quoted;
use super::{Algorithm, Fields, FieldsError, Hash, MAX_FIELD, Parts, Protection, ha1, hex, response, same};
use crate::secret::Secret;
use crate::sip::message::{HeaderName, Request, Uri};
use crate::time::{Duration, Instant};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long a nonce is good.
const NONCE_LIFE: Duration = Duration::from_secs(300);
/// Nonces whose count is remembered; beyond it the oldest are forgotten and count as stale.
const MAX_COUNTED: usize = 10_000;

/// What is kept of a user's password: one HA1 per algorithm (as good as the password, for this realm only).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHa1 {
    /// For MD5 challenges.
    pub md5: Option<Secret>,
    /// For SHA-256 challenges.
    pub sha256: Option<Secret>,
    /// For SHA-512-256 challenges.
    pub sha512_256: Option<Secret>,
}

impl StoredHa1 {
    /// Computes all three from a password.
    pub fn from_password(user: &str, realm: &str, password: &Secret) -> Self {
        Self {
            md5: Some(ha1(Hash::Md5, user, realm, password)),
            sha256: Some(ha1(Hash::Sha256, user, realm, password)),
            sha512_256: Some(ha1(Hash::Sha512_256, user, realm, password)),
        }
    }
}

/// Why a request is not let in. All but `Malformed` are answered by the same challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No credentials for our realm.
    #[error("no credentials")]
    Missing,
    /// The credentials were right, but the nonce is too old, already used, or not of this client.
    #[error("the nonce is stale")]
    Stale,
    /// User or password is wrong.
    #[error("wrong user or password")]
    Wrong {
        /// The user that was claimed, known or not.
        user: String,
    },
    /// The credentials cannot be read or are for another URI: 400.
    #[error("malformed credentials")]
    Malformed,
}

/// Challenges and checks for one realm.
#[derive(Debug)]
pub struct DigestServer {
    realm: String,
    key: Secret,
    /// What is offered, preferred first.
    algorithms: Vec<Algorithm>,
    issued: u64,
    counts: BTreeMap<NonceId, u32>,
    forgotten_up_to: Option<NonceId>,
}

/// Time and number of a nonce, which order nonces by age.
type NonceId = (u64, u64);

impl DigestServer {
    /// A server for `realm`; `key` must be random and is never sent.
    pub fn new(realm: &str, key: [u8; 32]) -> Self {
        Self {
            realm: realm.chars().take(MAX_FIELD).collect(),
            key: Secret::new(hex(&key)),
            algorithms: Self::USUAL.to_vec(),
            issued: 0,
            counts: BTreeMap::new(),
            forgotten_up_to: None,
        }
    }

    /// What is offered unless told otherwise. SHA-512-256 would add a challenge that hardly any phone takes, and the
    /// answer to a stranger must stay small (threats B4).
    pub const USUAL: [Algorithm; 2] = [Algorithm::SHA_256, Algorithm::MD5];

    /// Offers and accepts these algorithms only, the preferred one first (RFC 8760 §2.3); none keeps what is usual.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        if !algorithms.is_empty() {
            self.algorithms = algorithms.to_vec();
        }
        self
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The values of the WWW-Authenticate headers for `client`, one for each algorithm (RFC 8760 §2.3: preferred first).
    pub fn challenge(&mut self, now: Instant, client: IpAddr, stale: bool) -> Vec<String> {
        self.issued = self.issued.wrapping_add(1);
        let nonce = self.nonce((now.as_nanos(), self.issued), client);
        let stale = if stale { ", stale=true" } else { "" };
        let value = |algorithm: &Algorithm| {
            let (realm, algorithm) = (quoted(&self.realm), algorithm.as_str());
            format!("Digest realm={realm}, nonce=\"{nonce}\", algorithm={algorithm}, qop=\"auth\"{stale}")
        };
        self.algorithms.iter().map(value).collect()
    }

    /// The user whose credentials `request` carries. Does the same work for known and unknown users.
    ///
    /// # Errors
    /// Says why not; nothing is stored then.
    pub fn verify<'a>(
        &mut self,
        now: Instant,
        client: IpAddr,
        request: &Request,
        lookup: impl FnOnce(&str) -> Option<&'a StoredHa1>,
    ) -> Result<String, Refused> {
        let fields = self.own_credentials(request)?;
        let needed = |name: &str| fields.get(name).ok_or(Refused::Malformed);
        let (user, nonce, uri) = (needed("username")?, needed("nonce")?, needed("uri")?);
        let claimed = needed("response")?;
        if fields.get("userhash").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err(Refused::Malformed); // we never offer it
        }
        if !names_target(uri, request) {
            return Err(Refused::Malformed);
        }
        let algorithm = match fields.get("algorithm") {
            Some(token) => Algorithm::from_token(token).ok_or(Refused::Malformed)?,
            None => Algorithm::MD5,
        };
        let protection = match fields.get("qop") {
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                Some(Protection { nc: needed("nc")?, cnonce: needed("cnonce")?, qop })
            }
            Some(_) => return Err(Refused::Malformed),
            None => None,
        };
        let count = match protection {
            Some(Protection { nc, .. }) if nc.len() == 8 => {
                u32::from_str_radix(nc, 16).map_err(|_| Refused::Malformed)?
            }
            Some(_) => return Err(Refused::Malformed),
            None => 1, // an RFC 2069 client: its nonce is good for one request
        };

        let stored = lookup(user);
        let offered = self.algorithms.iter().any(|own| own.hash == algorithm.hash);
        let secret = match algorithm.hash {
            Hash::Md5 => stored.and_then(|stored| stored.md5.as_ref()),
            Hash::Sha256 => stored.and_then(|stored| stored.sha256.as_ref()),
            Hash::Sha512_256 => stored.and_then(|stored| stored.sha512_256.as_ref()),
        }
        .filter(|_| offered);
        let parts = Parts { algorithm, nonce, protection, method: request.method.as_str(), uri };
        let expected = response(secret.unwrap_or(&self.key), &parts);
        let right = same(&expected, &claimed.to_ascii_lowercase());
        if !right || secret.is_none() {
            return Err(Refused::Wrong { user: user.to_owned() });
        }
        let id = self.own_nonce(nonce, client).ok_or(Refused::Stale)?;
        self.count(now, id, count)?;
        Ok(user.to_owned())
    }

    /// The credentials for our realm, from Authorization or (some clients) Proxy-Authorization.
    fn own_credentials(&self, request: &Request) -> Result<Fields, Refused> {
        let mut malformed = false;
        for name in [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION] {
            for value in request.headers.get_all(&name) {
                match Fields::parse(value) {
                    Ok(fields) if fields.get("realm") == Some(self.realm.as_str()) => return Ok(fields),
                    // Another realm, or another scheme, is for somebody else.
                    Ok(_) | Err(FieldsError::OtherScheme) => {}
                    Err(FieldsError::TooLong | FieldsError::Malformed) => malformed = true,
                }
            }
        }
        Err(if malformed { Refused::Malformed } else { Refused::Missing })
    }

    fn nonce(&self, (time, number): NonceId, client: IpAddr) -> String {
        let head = format!("{time:016x}{number:016x}");
        let mac = self.keyed_hash(&format!("{head} {}", client.to_canonical()));
        format!("{head}{mac}")
    }

    /// Time and number of a nonce that we made for `client`.
    fn own_nonce(&self, nonce: &str, client: IpAddr) -> Option<NonceId> {
        let time = u64::from_str_radix(nonce.get(..16)?, 16).ok()?;
        let number = u64::from_str_radix(nonce.get(16..32)?, 16).ok()?;
        same(&self.nonce((time, number), client), nonce).then_some((time, number))
    }

    /// HMAC-SHA-256 (RFC 2104), cut to 128 bits.
    fn keyed_hash(&self, text: &str) -> String {
        let pad = |with: u8| {
            let mut block = [with; 64];
            for (slot, byte) in block.iter_mut().zip(self.key.expose().bytes()) {
                *slot ^= byte;
            }
            block
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        let mut mac = hex(&outer);
        mac.truncate(32);
        mac
    }

    fn count(&mut self, now: Instant, id: NonceId, count: u32) -> Result<(), Refused> {
        let oldest = (now - NONCE_LIFE).as_nanos();
        while self.counts.first_key_value().is_some_and(|((time, _), _)| *time < oldest) {
            self.counts.pop_first();
        }
        let made = Instant::from_nanos(id.0);
        if made > now || now.since(made) > NONCE_LIFE || self.forgotten_up_to.is_some_and(|forgotten| id <= forgotten) {
            return Err(Refused::Stale);
        }
        let last = self.counts.get(&id).copied().unwrap_or(0);
        if count <= last {
            return Err(Refused::Stale); // replayed, or going back
        }
        self.counts.insert(id, count);
        if self.counts.len() > MAX_COUNTED {
            self.forgotten_up_to = self.counts.pop_first().map(|(id, _)| id);
        }
        Ok(())
    }
}

/// Whether the `uri` of the credentials is that of the request (RFC 7616 §3.4.6).
fn names_target(uri: &str, request: &Request) -> bool {
    uri == request.uri.to_string() || uri.parse::<Uri>().is_ok_and(|uri| uri.same_as(&request.uri))
}
