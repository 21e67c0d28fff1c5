//! The credentials of one account and whom they may be shown to (RFC 3261 §22, threats C8, C9).

use crate::rng::Rng;
use crate::sip::auth::{AuthError, Credentials, DigestClient, Fields};
use crate::sip::message::{HeaderName, Method, Request, Response};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Why a challenge is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// There is no password for this.
    #[error("no password is configured")]
    NoCredentials,
    /// The challenge came from elsewhere than the account's own server.
    #[error("{address} asks for a password and is not the account's server")]
    Stranger {
        /// Where it came from.
        address: SocketAddr,
    },
    /// Digest refused.
    #[error(transparent)]
    Digest(#[from] AuthError),
}

/// Realms that the servers of one account may have.
const MAX_REALMS: usize = 8;

/// The digest state of an account. It is only asked for challenges that came from the account's own server.
#[derive(Debug)]
pub struct Login {
    client: DigestClient,
    /// The realms that the account's servers (a registrar, and a proxy before it) have named; empty before the first.
    realms: BTreeSet<String>,
}

impl Login {
    /// A login that has seen no challenge yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { realms: credentials.realm.iter().cloned().collect(), client: DigestClient::new(credentials) }
    }

    /// Adds credentials to `request`, which `response` challenged. New realms are only learned from a REGISTER, or when
    /// none is known: whoever else asks under a name of its own gets nothing.
    ///
    /// # Errors
    /// When the challenge must not or cannot be answered; `request` is unchanged then.
    pub fn answer(&mut self, rng: &mut Rng, response: &Response, request: &mut Request) -> Result<(), LoginError> {
        let learns = self.realms.is_empty() || (request.method == Method::Register && self.realms.len() < MAX_REALMS);
        let mut welcome = response.clone();
        let mut foreign = None;
        for name in [HeaderName::WWW_AUTHENTICATE, HeaderName::PROXY_AUTHENTICATE] {
            welcome.headers.remove(&name);
            for value in response.headers.get_all(&name) {
                match realm_in(value) {
                    Some(realm) if !learns && !self.realms.contains(&realm) => foreign = foreign.or(Some(realm)),
                    Some(_) | None => welcome.headers.push(name.clone(), value),
                }
            }
        }
        if let (Some(realm), None) = (foreign, realm_of(&welcome)) {
            return Err(AuthError::OtherRealm { realm }.into());
        }
        self.client.authorize(rng, &welcome, request)?;
        self.realms.extend(realms_of(&welcome));
        Ok(())
    }

    /// Adds credentials for what the server is known to ask.
    pub fn preemptive(&mut self, request: &mut Request) {
        self.client.preemptive(request);
    }

    /// The user name that is sent.
    pub fn user(&self) -> &str {
        self.client.user()
    }
}

/// The realm of the first challenge.
pub fn realm_of(response: &Response) -> Option<String> {
    let headers = &response.headers;
    let value = headers.get(&HeaderName::WWW_AUTHENTICATE).or_else(|| headers.get(&HeaderName::PROXY_AUTHENTICATE))?;
    realm_in(value)
}

fn realms_of(response: &Response) -> Vec<String> {
    let names = [HeaderName::WWW_AUTHENTICATE, HeaderName::PROXY_AUTHENTICATE];
    names.iter().flat_map(|name| response.headers.get_all(name)).filter_map(realm_in).collect()
}

fn realm_in(challenge: &str) -> Option<String> {
    if let Ok(fields) = Fields::parse(challenge) {
        return fields.get("realm").map(str::to_owned);
    }
    // Not digest, or not to be understood: the name is only for people.
    let start = challenge.to_ascii_lowercase().find("realm=")? + "realm=".len();
    let rest = challenge.get(start..)?.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().map(str::to_owned),
        None => rest.split([',', ' ']).next().map(str::to_owned),
    }
}
