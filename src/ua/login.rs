//! The credentials of one account and whom they may be shown to (RFC 3261 §22, threats C8, C9).

use crate::rng::Rng;
use crate::sip::auth::{AuthError, Credentials, DigestClient};
use crate::sip::message::{HeaderName, Request, Response};
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

/// The digest state of an account. It is only asked for challenges that came from the account's own server.
#[derive(Debug)]
pub struct Login {
    client: DigestClient,
    /// The realm that the server named first; others are refused from then on.
    realm: Option<String>,
}

impl Login {
    /// A login that has seen no challenge yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { realm: credentials.realm.clone(), client: DigestClient::new(credentials) }
    }

    /// Adds credentials to `request`, which `response` challenged.
    ///
    /// # Errors
    /// When the challenge must not or cannot be answered; `request` is unchanged then.
    pub fn answer(&mut self, rng: &mut Rng, response: &Response, request: &mut Request) -> Result<(), LoginError> {
        let realm = realm_of(response);
        if let (Some(own), Some(asked)) = (&self.realm, &realm)
            && own != asked
        {
            return Err(AuthError::OtherRealm { realm: asked.clone() }.into());
        }
        self.client.authorize(rng, response, request)?;
        self.realm = self.realm.take().or(realm);
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
    let start = value.to_ascii_lowercase().find("realm=")? + "realm=".len();
    let rest = value.get(start..)?.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().map(str::to_owned),
        None => rest.split([',', ' ']).next().map(str::to_owned),
    }
}
