//! Who may come in: digest for everything but questions to the PBX itself, then whose name may be used (threats B10, B11, C13).

use super::config::PbxConfig;
use super::guard::Guard;
use super::plan::Domain;
use crate::engine::Flow;
use crate::rng::Rng;
use crate::sip::auth::{DigestServer, Fields, Refused, StoredHa1};
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode};
use crate::time::Instant;
use std::collections::BTreeMap;

/// What becomes of a request from outside any dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is from this user.
    User(String),
    /// Answered once, without keeping anything.
    Refused(Box<Response>),
    /// Not answered at all.
    Silence,
}

/// Digest, guard and users.
#[derive(Debug)]
pub(super) struct Door {
    digest: DigestServer,
    guard: Guard,
    users: BTreeMap<String, StoredHa1>,
}

impl Door {
    pub(super) fn new(rng: &mut Rng, config: &PbxConfig) -> Self {
        let users = config.users.iter().map(|user| (user.name.clone(), user.ha1.clone())).collect();
        Self {
            digest: DigestServer::new(&config.realm, rng.bytes()).with_algorithms(&config.algorithms),
            guard: Guard::default(),
            users,
        }
    }

    /// Whether there is such a user. Only for those who have come in.
    pub(super) fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Checks the credentials and that the user speaks for itself.
    pub(super) fn check(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        request: &Request,
        flow: &Flow,
        domain: &Domain,
    ) -> Entry {
        let source = flow.peer.ip();
        let claimed = claimed_user(request, self.digest.realm());
        if claimed.as_ref().is_some_and(|user| !self.guard.allows(now, source, user)) {
            return Entry::Silence;
        }
        let users = &self.users;
        match self.digest.verify(now, source, request, |user| users.get(user)) {
            Ok(user) => {
                self.guard.succeeded(source, &user);
                if is_own_name(request, &user, flow, domain) {
                    Entry::User(user)
                } else {
                    refused(Response::to(request, StatusCode::FORBIDDEN, Some(&rng.tag())))
                }
            }
            Err(Refused::Malformed) => refused(Response::to(request, StatusCode::BAD_REQUEST, Some(&rng.tag()))),
            Err(refusal) => {
                if let Refused::Wrong { user } = &refusal {
                    self.guard.failed(now, source, user);
                }
                let mut response = Response::to(request, StatusCode::UNAUTHORIZED, Some(&rng.tag()));
                for value in self.digest.challenge(now, source, refusal == Refused::Stale) {
                    response.headers.push(HeaderName::WWW_AUTHENTICATE, value);
                }
                refused(response)
            }
        }
    }
}

fn refused(response: Response) -> Entry {
    Entry::Refused(Box::new(response))
}

/// The user that the credentials for our realm name.
fn claimed_user(request: &Request, realm: &str) -> Option<String> {
    [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION]
        .iter()
        .flat_map(|name| request.headers.get_all(name))
        .filter_map(|value| Fields::parse(value).ok())
        .find(|fields| fields.get("realm") == Some(realm))
        .and_then(|fields| fields.get("username").map(str::to_owned))
}

/// From must be the user's own AOR, for REGISTER To as well (§10.3 step 4).
fn is_own_name(request: &Request, user: &str, flow: &Flow, domain: &Domain) -> bool {
    let own = |uri: &crate::sip::message::Uri| {
        domain.serves(uri, flow.local) && uri.user_unescaped().as_deref() == Some(user)
    };
    request.headers.from().is_ok_and(|from| own(&from.uri))
        && (request.method != Method::Register || request.headers.to().is_ok_and(|to| own(&to.uri)))
}
