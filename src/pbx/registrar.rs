//! The registrar (RFC 3261 §10.3): which contacts an AOR has now, and along which flow each is reached.

use crate::engine::Flow;
use crate::sip::message::{Contacts, HeaderName, NameAddr, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;

/// Contacts of one user (threats B2).
const MAX_CONTACTS: usize = 10;
/// Contacts of all users.
const MAX_BINDINGS: usize = 10_000;
/// Longest contact URI that is stored.
const MAX_URI: usize = 512;
/// Lifetime when the request names none.
const DEFAULT_EXPIRES: Duration = Duration::from_secs(600);
/// A phone that asks for less than an hour and less than the minimum is told so (§10.3 step 7).
const MAX_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// One contact of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    /// Its address as registered: the Request-URI of calls to it.
    pub(super) contact: Uri,
    /// The flow that the REGISTER came on, and that calls take: never the contact's own host (NAT, threats C14).
    pub(super) flow: Flow,
    /// When it ends.
    pub(super) expires: Instant,
    call_id: String,
    cseq: u32,
}

/// A binding that began, was renewed (same contact) or ended (`expires` 0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The user.
    pub(super) user: String,
    /// The contact.
    pub(super) contact: String,
    /// Seconds left.
    pub(super) expires: u32,
}

/// Why a REGISTER changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegisterError {
    /// A Contact or `*` that cannot be.
    #[error("the contacts make no sense")]
    BadContact,
    /// Shorter than the minimum.
    #[error("the interval is too brief")]
    TooBrief,
    /// An older request of the same phone (§10.3 step 6, 7).
    #[error("the request is out of order")]
    OutOfOrder,
    /// More contacts than a user may have.
    #[error("too many contacts")]
    TooMany,
    /// The table is full.
    #[error("too many bindings")]
    Full,
}

impl RegisterError {
    /// What the phone is told.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::BadContact => StatusCode::BAD_REQUEST,
            Self::TooBrief => StatusCode::INTERVAL_TOO_BRIEF,
            Self::OutOfOrder => StatusCode::SERVER_INTERNAL_ERROR,
            Self::TooMany => StatusCode::FORBIDDEN,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// All bindings.
#[derive(Debug)]
pub(super) struct Registrar {
    min_expires: Duration,
    max_expires: Duration,
    bindings: BTreeMap<String, Vec<Binding>>,
}

impl Registrar {
    /// An empty registrar that grants lifetimes between the two.
    pub(super) const fn new(min_expires: Duration, max_expires: Duration) -> Self {
        Self { min_expires, max_expires, bindings: BTreeMap::new() }
    }

    /// Carries out the REGISTER of an authenticated `user` and answers it; all its contacts or none.
    pub(super) fn register(
        &mut self,
        now: Instant,
        user: &str,
        request: &Request,
        flow: Flow,
    ) -> (Response, Vec<Change>) {
        match self.change(now, user, request, flow) {
            Ok(changes) => (self.accepted(now, user, request), changes),
            Err(error) => {
                let mut response = Response::to(request, error.status(), None);
                match error {
                    RegisterError::TooBrief => {
                        response.headers.set(HeaderName::MIN_EXPIRES, self.min_expires.as_secs().to_string());
                    }
                    RegisterError::Full => response.headers.set(HeaderName::RETRY_AFTER, "60"),
                    RegisterError::BadContact | RegisterError::OutOfOrder | RegisterError::TooMany => {}
                }
                (response, Vec::new())
            }
        }
    }

    /// The bindings of a user, newest last.
    pub(super) fn bindings(&self, now: Instant, user: &str) -> Vec<Binding> {
        let bindings = self.bindings.get(user).into_iter().flatten();
        bindings.filter(|binding| binding.expires > now).cloned().collect()
    }

    /// How many bindings there are.
    pub(super) fn count(&self) -> usize {
        self.bindings.values().map(Vec::len).sum()
    }

    /// When the next binding ends.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.bindings.values().flatten().map(|binding| binding.expires).min()
    }

    /// Drops what has ended.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for (user, bindings) in &mut self.bindings {
            bindings.retain(|binding| {
                let lives = binding.expires > now;
                if !lives {
                    changes.push(gone(user, binding));
                }
                lives
            });
        }
        self.bindings.retain(|_, bindings| !bindings.is_empty());
        changes
    }

    fn change(
        &mut self,
        now: Instant,
        user: &str,
        request: &Request,
        flow: Flow,
    ) -> Result<Vec<Change>, RegisterError> {
        let headers = &request.headers;
        let contacts = headers.contacts().map_err(|_| RegisterError::BadContact)?;
        let call_id = headers.call_id().map_err(|_| RegisterError::BadContact)?.to_owned();
        let cseq = headers.cseq().map_err(|_| RegisterError::BadContact)?.seq;
        let others = self.count().saturating_sub(self.bindings.get(user).map_or(0, Vec::len));
        let mut bindings = self.bindings.get(user).cloned().unwrap_or_default();
        bindings.retain(|binding| binding.expires > now);
        let mut changes = Vec::new();
        match contacts {
            Contacts::Star => {
                if headers.expires() != Some(0) {
                    return Err(RegisterError::BadContact);
                }
                for binding in &bindings {
                    binding.check_order(&call_id, cseq)?;
                    changes.push(gone(user, binding));
                }
                bindings.clear();
            }
            Contacts::List(list) => {
                for contact in list {
                    let lifetime = self.lifetime(&contact, headers.expires())?;
                    if !contact.uri.is_sip() || contact.uri.to_string().len() > MAX_URI {
                        return Err(RegisterError::BadContact);
                    }
                    if let Some(at) = bindings.iter().position(|known| known.contact.same_as(&contact.uri)) {
                        let known = bindings.remove(at);
                        known.check_order(&call_id, cseq)?;
                        if lifetime.is_zero() {
                            changes.push(gone(user, &known));
                        }
                    }
                    if lifetime.is_zero() {
                        continue;
                    }
                    changes.push(Change {
                        user: user.to_owned(),
                        contact: contact.uri.to_string(),
                        expires: u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX),
                    });
                    let call_id = call_id.clone();
                    bindings.push(Binding { contact: contact.uri, flow, expires: now + lifetime, call_id, cseq });
                }
            }
        }
        if bindings.len() > MAX_CONTACTS {
            return Err(RegisterError::TooMany);
        }
        if others.saturating_add(bindings.len()) > MAX_BINDINGS {
            return Err(RegisterError::Full);
        }
        if bindings.is_empty() {
            self.bindings.remove(user);
        } else {
            self.bindings.insert(user.to_owned(), bindings);
        }
        Ok(changes)
    }

    /// The lifetime granted to one contact; zero removes it.
    fn lifetime(&self, contact: &NameAddr, header: Option<u32>) -> Result<Duration, RegisterError> {
        // An unreadable value means an hour (§10.2.1.1); ours is cut to the maximum anyway.
        let own = contact.params.get("expires").map(|text| text.parse().unwrap_or(3600_u32));
        let asked = own.or(header).map_or(DEFAULT_EXPIRES, |seconds| Duration::from_secs(seconds.into()));
        if asked.is_zero() {
            return Ok(asked);
        }
        if asked < self.min_expires && asked < MAX_TOO_BRIEF {
            return Err(RegisterError::TooBrief);
        }
        Ok(asked.min(self.max_expires))
    }

    /// 200 with all contacts of the user and the seconds each has left.
    fn accepted(&self, now: Instant, user: &str, request: &Request) -> Response {
        let mut response = Response::to(request, StatusCode::OK, None);
        for binding in self.bindings(now, user) {
            let left = (binding.expires - now).as_secs().to_string();
            let contact = NameAddr::new(binding.contact).with_param("expires", left.as_str());
            response.headers.push(HeaderName::CONTACT, contact.to_string());
        }
        response
    }
}

impl Binding {
    /// A later request of the same phone must have a higher CSeq (§10.3).
    fn check_order(&self, call_id: &str, cseq: u32) -> Result<(), RegisterError> {
        if self.call_id == call_id && cseq <= self.cseq { Err(RegisterError::OutOfOrder) } else { Ok(()) }
    }
}

fn gone(user: &str, binding: &Binding) -> Change {
    Change { user: user.to_owned(), contact: binding.contact.to_string(), expires: 0 }
}
