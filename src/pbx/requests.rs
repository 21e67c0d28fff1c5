//! Requests from outside any dialog: questions, registrations and new calls (RFC 3261 §8.2, §10.3, §11.2, §13.3).

use super::bridge::{Bridge, Invitation};
use super::door::Entry;
use super::extension::ExtensionCall;
use super::plan::{Destination, Extension};
use super::registrar::Binding;
use super::session::{Session, SessionId};
use super::{Pbx, Stopping};
use crate::engine::Flow;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Host, Method, NameAddr, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};
use crate::ua::call::{Accept, Core, SDP};
use crate::ua::screen;
use std::collections::BTreeMap;

/// What the PBX allows outside a dialog.
pub(super) const ALLOWED: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REGISTER";
/// 604 rings for so long at most, so that a caller who has vanished takes no place for ever.
const RING_LIMIT: Duration = Duration::from_secs(3600);
/// Hops that an INVITE without Max-Forwards may take.
const MAX_FORWARDS: u8 = 70;
/// When a caller who found all places taken may try again, seconds.
const RETRY_AFTER: &str = "5";

impl Pbx {
    /// A request outside any dialog.
    pub(super) fn handle_request(&mut self, now: Instant, txn: TxnId, request: Request, flow: Flow) {
        let destination = self.domain.destination(&request.uri, flow.local);
        // A phone may ask whether we are there without a name; all else needs one (threats C13).
        if request.method == Method::Options && destination == Destination::Pbx {
            let response = self.response(&request, StatusCode::OK);
            self.endpoint.respond_statelessly(now, txn, capable(response));
            return;
        }
        match self.door.check(now, &mut self.rng, &request, &flow, &self.domain) {
            Entry::Silence => self.endpoint.ignore(txn),
            Entry::Refused(mut response) => {
                response.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
                self.endpoint.respond_statelessly(now, txn, *response);
            }
            Entry::User(user) => {
                if let Some(response) = self.admit(now, txn, &request, flow, &user, destination) {
                    self.endpoint.respond(now, txn, response);
                }
            }
        }
    }

    /// A request of a user: gives back its response, unless it has become a call.
    fn admit(
        &mut self,
        now: Instant,
        txn: TxnId,
        request: &Request,
        flow: Flow,
        user: &str,
        destination: Destination,
    ) -> Option<Response> {
        let domain = &self.domain;
        let routed_elsewhere = match request.headers.routes() {
            Ok(routes) => routes.iter().any(|route| !domain.serves(&route.uri, flow.local)),
            Err(_) => true,
        };
        if destination == Destination::Foreign || routed_elsewhere {
            return Some(self.response(request, StatusCode::FORBIDDEN));
        }
        match (&request.method, destination) {
            (Method::Register, _) => Some(self.register(now, request, flow, user)),
            (Method::Options, Destination::User(name)) if !self.door.knows(&name) => {
                Some(self.response(request, StatusCode::NOT_FOUND))
            }
            (Method::Options, _) => Some(capable(self.response(request, StatusCode::OK))),
            (Method::Invite, destination) => self.invite(now, txn, request, flow, user, destination),
            (Method::Bye | Method::Notify | Method::Update | Method::Prack, _) => {
                Some(self.response(request, StatusCode::CALL_DOES_NOT_EXIST))
            }
            (Method::Other(_), _) => Some(self.refused(request, StatusCode::NOT_IMPLEMENTED)),
            (
                Method::Ack
                | Method::Cancel
                | Method::Info
                | Method::Message
                | Method::Subscribe
                | Method::Refer
                | Method::Publish,
                _,
            ) => Some(self.refused(request, StatusCode::METHOD_NOT_ALLOWED)),
        }
    }

    fn register(&mut self, now: Instant, request: &Request, flow: Flow, user: &str) -> Response {
        let required = request.headers.tokens(&HeaderName::REQUIRE);
        if !required.is_empty() {
            let mut response = self.response(request, StatusCode::BAD_EXTENSION);
            response.headers.set(HeaderName::UNSUPPORTED, required.join(", "));
            return response;
        }
        let (response, changes) = self.registrar.register(now, user, request, flow);
        self.report(changes);
        let mut tagged = Response::to(request, response.status, Some(&self.rng.tag()));
        for (name, value) in response.headers.iter().filter(|(name, _)| !tagged.headers.has(name)).collect::<Vec<_>>() {
            tagged.headers.push(name.clone(), value);
        }
        tagged.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
        tagged
    }

    fn invite(
        &mut self,
        now: Instant,
        txn: TxnId,
        request: &Request,
        flow: Flow,
        user: &str,
        destination: Destination,
    ) -> Option<Response> {
        if let Err(refusal) = screen::outside_dialog(request, &self.config.rules)
            .and_then(|()| screen::stays_secure(request, flow.protocol))
            .and_then(|()| screen::invite(request, &self.config.rules))
        {
            return Some(refusal.response(request, &self.rng.tag()));
        }
        let hops = match request.headers.max_forwards() {
            Ok(hops) => hops.unwrap_or(MAX_FORWARDS),
            Err(_) => return Some(self.response(request, StatusCode::BAD_REQUEST)),
        };
        // The extensions are where it wanted to go; to a user's phone there is one hop more (§16.3 step 3).
        if hops == 0 && matches!(destination, Destination::User(_)) {
            return Some(self.response(request, StatusCode::TOO_MANY_HOPS));
        }
        let full = self.config.max_calls > 0 && self.sessions.len() >= self.config.max_calls;
        if full || self.stopping != Stopping::No {
            let mut response = self.response(request, StatusCode::SERVICE_UNAVAILABLE);
            response.headers.set(HeaderName::RETRY_AFTER, RETRY_AFTER);
            return Some(response);
        }
        let called = request.uri.user_unescaped().unwrap_or_default();
        let plan = match destination {
            Destination::Extension(extension) => Leads::Extension(extension),
            Destination::User(name) if self.door.knows(&name) => {
                let mut bindings = self.registrar.bindings(now, &name);
                if bindings.is_empty() {
                    return Some(self.response(request, StatusCode::TEMPORARILY_UNAVAILABLE));
                }
                bindings.retain(|binding| !request.uri.is_sips() || binding.flow.protocol.is_secure());
                if bindings.is_empty() {
                    return Some(screen::not_secure().response(request, &self.rng.tag()));
                }
                Leads::User(Box::new(self.invitation(request, user, name, hops, bindings)))
            }
            Destination::User(_) | Destination::Pbx | Destination::Foreign => {
                return Some(self.response(request, StatusCode::NOT_FOUND));
            }
        };
        let accept = Accept {
            contact_user: Some(called.clone()),
            login: None,
            user_agent: self.config.user_agent.clone(),
            ring_timeout: Some(RING_LIMIT),
            stay_on_flow: true,
            rules: self.config.rules,
        };
        let mut logins = BTreeMap::new();
        let mut core = Core { endpoint: &mut self.endpoint, rng: &mut self.rng, logins: &mut logins };
        let call = match self.calls.incoming(now, &mut core, txn, request.clone(), flow, accept) {
            Ok(call) => call,
            Err(status) => return Some(self.response(request, status)),
        };
        self.next_session = self.next_session.wrapping_add(1);
        let id = SessionId(self.next_session);
        self.owners.insert(call, id);
        let user = user.to_owned();
        let session = self.at_desk(now, |desk| match plan {
            Leads::Extension(extension) => {
                Session::Extension(Box::new(ExtensionCall::new(desk, extension, call, user, called)))
            }
            Leads::User(invitation) => Session::Bridge(Box::new(Bridge::new(desk, id, call, *invitation))),
        });
        self.sessions.insert(id, session);
        None
    }

    /// The headers of the forks are made anew; only the display name of the caller is taken over (threats C12).
    fn invitation(
        &self,
        request: &Request,
        user: &str,
        callee: String,
        hops: u8,
        bindings: Vec<Binding>,
    ) -> Invitation {
        let from = request.headers.from().ok();
        let host = from.as_ref().and_then(|from| from.uri.host.clone());
        let host = host.unwrap_or_else(|| Host::Name(self.config.realm.clone()));
        let display = from.and_then(|from| from.display);
        let aor = |user: &Option<String>| Uri { user: user.clone(), ..Uri::sip(None, host.clone()) };
        let caller_user = request.headers.from().ok().and_then(|from| from.uri.user);
        let from = NameAddr::new(aor(&caller_user));
        Invitation {
            from: match display {
                Some(display) => from.with_display(display),
                None => from,
            },
            to: NameAddr::new(aor(&request.uri.user)),
            caller: user.to_owned(),
            callee,
            max_forwards: hops.saturating_sub(1),
            bindings,
        }
    }

    fn response(&mut self, request: &Request, status: StatusCode) -> Response {
        let mut response = Response::to(request, status, Some(&self.rng.tag()));
        response.headers.set(HeaderName::SERVER, self.config.user_agent.clone());
        response
    }

    fn refused(&mut self, request: &Request, status: StatusCode) -> Response {
        let mut response = self.response(request, status);
        response.headers.set(HeaderName::ALLOW, ALLOWED);
        response
    }
}

/// Where an INVITE leads.
enum Leads {
    Extension(Extension),
    User(Box<Invitation>),
}

/// Says what the PBX can do (§11.2).
fn capable(mut response: Response) -> Response {
    response.headers.set(HeaderName::ALLOW, ALLOWED);
    response.headers.set(HeaderName::ACCEPT, SDP);
    response
}
