//! The client's half: answers 401 and 407, remembers nonces, never repeats a refused password (RFC 3261 §22.2, §22.3).

use super::fields::quoted;
use super::{Algorithm, Fields, Hash, Parts, Protection, ha1, response};
use crate::rng::Rng;
use crate::secret::Secret;
use crate::sip::message::{HeaderName, Request, Response};
use std::collections::BTreeMap;

/// How often in a row a server may call our nonce stale before we stop.
const MAX_STALE: u8 = 3;
/// Realms remembered per account.
const MAX_REALMS: usize = 8;

/// User name and password, for one realm or for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name of the digest.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Only answer challenges of this realm; `None` answers any.
    pub realm: Option<String>,
}

/// Why a challenge is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A 401 or 407 without a challenge.
    #[error("the server asked for credentials without saying how")]
    NoChallenge,
    /// No challenge that we can compute.
    #[error("the server only offers authentication that is unknown here ({algorithms})")]
    Unsupported {
        /// The algorithms or schemes it named.
        algorithms: String,
    },
    /// The credentials are for another realm.
    #[error("the server asks for realm `{realm}`, the credentials are for another one")]
    OtherRealm {
        /// The realm it named.
        realm: String,
    },
    /// Our answer was refused: the user or the password is wrong.
    #[error("the server refused user `{user}` in realm `{realm}`")]
    Rejected {
        /// The realm.
        realm: String,
        /// Who we said we are.
        user: String,
        /// What the answer was computed with.
        algorithm: &'static str,
    },
    /// A weaker algorithm than this realm asked for before: somebody may be in between.
    #[error("realm `{realm}` now asks for {now}, it had asked for {before}")]
    WeakerThanBefore {
        /// The realm.
        realm: String,
        /// Then.
        before: &'static str,
        /// Now.
        now: &'static str,
    },
}

/// The digest state of one account: the last challenge of each realm, with its nonce count.
#[derive(Debug)]
pub struct DigestClient {
    credentials: Credentials,
    /// Boxed, since a map makes room for many where most accounts have one.
    sessions: BTreeMap<(Asker, String), Box<Session>>,
}

/// Who asks: the server itself (401) or a proxy on the way (407).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Asker {
    Server,
    Proxy,
}

impl Asker {
    const BOTH: [Self; 2] = [Self::Server, Self::Proxy];

    fn challenge(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::WWW_AUTHENTICATE,
            Self::Proxy => HeaderName::PROXY_AUTHENTICATE,
        }
    }

    fn credentials(self) -> HeaderName {
        match self {
            Self::Server => HeaderName::AUTHORIZATION,
            Self::Proxy => HeaderName::PROXY_AUTHORIZATION,
        }
    }
}

#[derive(Debug)]
struct Session {
    challenge: Challenge,
    cnonce: String,
    uses: u32,
    stale_in_a_row: u8,
    /// The server has refused the password: it is not shown again unasked.
    refused: bool,
}

#[derive(Debug, Clone)]
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    named: bool, // whether the server spelt the algorithm: we answer as it asked
    qop: bool,
    stale: bool,
}

impl DigestClient {
    /// A client that has seen no challenge yet.
    pub const fn new(credentials: Credentials) -> Self {
        Self { credentials, sessions: BTreeMap::new() }
    }

    /// Answers the challenges of `challenged` (a 401 or 407 to `request`) by adding credentials to `request`.
    /// CSeq and branch are the caller's to renew.
    ///
    /// # Errors
    /// When there is nothing that can be answered, or the answer was refused already; `request` is unchanged then.
    pub fn authorize(&mut self, rng: &mut Rng, challenged: &Response, request: &mut Request) -> Result<(), AuthError> {
        let mut answered = Vec::new();
        let mut failure = None;
        for asker in Asker::BOTH {
            for challenge in choose(challenged, asker, &mut failure) {
                match self.take(rng, asker, challenge, request) {
                    Ok(key) => answered.push(key),
                    Err(error @ AuthError::OtherRealm { .. }) => failure = Some(error),
                    Err(error) => return Err(error),
                }
            }
        }
        if answered.is_empty() {
            return Err(failure.unwrap_or(AuthError::NoChallenge));
        }
        // Several proxies on the way ask one after the other, and each wants to see its own again (§22.3).
        let kept = self.shown_in(request).into_iter().filter(|key| !answered.contains(key)).collect::<Vec<_>>();
        for asker in Asker::BOTH {
            if answered.iter().chain(&kept).any(|(who, _)| *who == asker) {
                request.headers.remove(&asker.credentials());
            }
        }
        for key in kept.iter().chain(&answered) {
            self.add_credentials(key, request);
        }
        Ok(())
    }

    /// The realms whose credentials a request carries, as far as we know them.
    fn shown_in(&self, request: &Request) -> Vec<(Asker, String)> {
        let mut shown = Vec::new();
        for asker in Asker::BOTH {
            for value in request.headers.get_all(&asker.credentials()) {
                let realm = Fields::parse(value).ok().and_then(|fields| fields.get("realm").map(str::to_owned));
                let key = realm.map(|realm| (asker, realm));
                shown.extend(key.filter(|key| self.sessions.get(key).is_some_and(|session| !session.refused)));
            }
        }
        shown
    }

    /// Adds credentials for every realm that has challenged us, so that the server need not ask again.
    pub fn preemptive(&mut self, request: &mut Request) {
        for asker in Asker::BOTH {
            request.headers.remove(&asker.credentials());
        }
        let welcome = self.sessions.iter().filter(|(_, session)| !session.refused);
        for key in welcome.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.add_credentials(&key, request);
        }
    }

    /// The user name that is sent.
    pub fn user(&self) -> &str {
        &self.credentials.user
    }

    fn take(
        &mut self,
        rng: &mut Rng,
        asker: Asker,
        challenge: Challenge,
        request: &Request,
    ) -> Result<(Asker, String), AuthError> {
        let realm = challenge.realm.clone();
        if self.credentials.realm.as_ref().is_some_and(|own| *own != realm) {
            return Err(AuthError::OtherRealm { realm });
        }
        let key = (asker, realm.clone());
        let rejected = AuthError::Rejected {
            realm: realm.clone(),
            user: self.credentials.user.clone(),
            algorithm: challenge.algorithm.as_str(),
        };
        let mut stale_in_a_row = 0;
        if let Some(session) = self.sessions.get_mut(&key) {
            if challenge.algorithm.hash < session.challenge.algorithm.hash {
                let (before, now) = (session.challenge.algorithm.as_str(), challenge.algorithm.as_str());
                return Err(AuthError::WeakerThanBefore { realm, before, now });
            }
            if let Some(sent) = sent_credentials(request, asker, &realm) {
                // An answer to a fresh challenge is final; a nonce used before may have expired without `stale`.
                let fresh = sent.get("nonce") == Some(session.challenge.nonce.as_str()) && session.uses <= 1;
                let same_nonce = sent.get("nonce") == Some(challenge.nonce.as_str());
                if challenge.stale {
                    // A nonce that has served before went stale with time; one that never served says that none will.
                    stale_in_a_row = if fresh { session.stale_in_a_row.saturating_add(1) } else { 1 };
                }
                let final_word = if challenge.stale { same_nonce } else { fresh || same_nonce };
                if final_word || stale_in_a_row > MAX_STALE {
                    session.refused = true;
                    return Err(rejected);
                }
            }
        } else if self.sessions.len() >= MAX_REALMS {
            self.sessions.pop_first();
        }
        let session = Session { challenge, cnonce: rng.token(96), uses: 0, stale_in_a_row, refused: false };
        self.sessions.insert(key.clone(), Box::new(session));
        Ok(key)
    }

    fn add_credentials(&mut self, key: &(Asker, String), request: &mut Request) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.uses = session.uses.saturating_add(1);
        let challenge = &session.challenge;
        let nc = format!("{:08x}", session.uses);
        let uri = request.uri.to_string();
        let secret =
            ha1(challenge.algorithm.hash, &self.credentials.user, &challenge.realm, &self.credentials.password);
        let protection = challenge.qop.then_some(Protection { nc: &nc, cnonce: &session.cnonce, qop: "auth" });
        let digest = response(
            &secret,
            &Parts {
                algorithm: challenge.algorithm,
                nonce: &challenge.nonce,
                protection,
                method: request.method.as_str(),
                uri: &uri,
            },
        );
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{digest}\"",
            quoted(&self.credentials.user),
            quoted(&challenge.realm),
            quoted(&challenge.nonce),
            quoted(&uri),
        );
        if challenge.named {
            value.push_str(", algorithm=");
            value.push_str(challenge.algorithm.as_str());
        }
        if challenge.qop {
            value.push_str(&format!(", cnonce={}, qop=auth, nc={nc}", quoted(&session.cnonce)));
        }
        if let Some(opaque) = &challenge.opaque {
            value.push_str(", opaque=");
            value.push_str(&quoted(opaque));
        }
        request.headers.push(key.0.credentials(), value);
    }
}

/// The strongest known challenge of each realm; between equals the first one listed.
fn choose(challenged: &Response, asker: Asker, failure: &mut Option<AuthError>) -> Vec<Challenge> {
    let mut chosen: Vec<Challenge> = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    for value in challenged.headers.get_all(&asker.challenge()) {
        match read_challenge(value) {
            Ok(challenge) => match chosen.iter_mut().find(|other| other.realm == challenge.realm) {
                Some(other) if strength(&challenge) > strength(other) => *other = challenge,
                Some(_) => {}
                None => chosen.push(challenge),
            },
            Err(name) => unknown.push(name),
        }
    }
    if chosen.is_empty() && !unknown.is_empty() {
        *failure = Some(AuthError::Unsupported { algorithms: unknown.join(", ") });
    }
    chosen
}

fn strength(challenge: &Challenge) -> (Hash, bool) {
    (challenge.algorithm.hash, challenge.qop)
}

/// A challenge that we can answer, or the name of what we cannot.
fn read_challenge(value: &str) -> Result<Challenge, String> {
    let scheme = || value.split_whitespace().next().unwrap_or("?").chars().take(40).collect::<String>();
    let fields = Fields::parse(value).map_err(|_| scheme())?;
    let (Some(realm), Some(nonce)) = (fields.get("realm"), fields.get("nonce")) else { return Err(scheme()) };
    let named = fields.get("algorithm");
    let algorithm = match named {
        Some(token) => Algorithm::from_token(token).ok_or_else(|| token.to_owned())?,
        None => Algorithm::MD5,
    };
    let qop = match fields.get("qop") {
        Some(list) => {
            if !list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")) {
                return Err(format!("qop={list}"));
            }
            true
        }
        None if algorithm.session => return Err(format!("{} without qop", algorithm.as_str())),
        None => false,
    };
    Ok(Challenge {
        realm: realm.to_owned(),
        nonce: nonce.to_owned(),
        opaque: fields.get("opaque").map(str::to_owned),
        algorithm,
        named: named.is_some(),
        qop,
        stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
    })
}

fn sent_credentials(request: &Request, asker: Asker, realm: &str) -> Option<Fields> {
    request
        .headers
        .get_all(&asker.credentials())
        .filter_map(|value| Fields::parse(value).ok())
        .find(|fields| fields.get("realm") == Some(realm))
}
