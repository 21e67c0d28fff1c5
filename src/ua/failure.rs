//! From what went wrong to a [`Failure`]: a stable slug and the facts; `app` has the words.

use super::call::{EndCause, Ending, fault_name};
use super::login::{LoginError, realm_of};
use crate::api::{EndedBy, Failure};
use crate::engine::{PeerCertificate, Protocol, ResolveError, StreamFault};
use crate::sdp::NegotiationError;
use crate::sip::auth::AuthError;
use crate::sip::endpoint::{RouteError, TxnError};
use crate::sip::message::{HeaderName, Method, Response, StatusCode};
use std::net::SocketAddr;

/// Who is concerned: facts that every failure of a call or registration carries.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    /// The server or host as it was configured or typed.
    pub(super) server: String,
    /// Name of the account in the config.
    pub(super) account: Option<String>,
    /// User part of the account.
    pub(super) user: Option<String>,
    /// The far end of a call.
    pub(super) peer: Option<String>,
}

impl About {
    fn failure(&self, slug: &str) -> Failure {
        let mut failure = Failure::new(slug).with("server", self.server.as_str());
        for (name, value) in [("account", &self.account), ("user", &self.user), ("peer", &self.peer)] {
            if let Some(value) = value {
                failure = failure.with(name, value.as_str());
            }
        }
        failure
    }

    /// There is no way to the server.
    pub(super) fn no_route(&self, error: &RouteError) -> Failure {
        match error {
            RouteError::Resolve { name, error } => {
                let slug = match error {
                    ResolveError::NotFound | ResolveError::Timeout | ResolveError::Failed => "net.dns",
                };
                self.failure(slug).with("host", name.as_str()).with("cause", error.to_string())
            }
            RouteError::NoRoute(address) | RouteError::NoSocket(address) => {
                self.failure("net.unreachable").with("address", address.to_string()).with("cause", error.to_string())
            }
            RouteError::Connect { target, fault, certificate } => {
                let failure = self.stream_fault(*fault, target.addr, target.protocol);
                match certificate {
                    Some(certificate) => describe(failure, certificate),
                    None => failure,
                }
            }
            RouteError::Unsupported(uri) => self
                .failure("net.unreachable")
                .with("cause", format!("{uri}: this scheme or transport is not supported")),
        }
    }

    /// Silence, or a connection that failed.
    pub(super) fn unreachable(
        &self,
        error: TxnError,
        peer: SocketAddr,
        protocol: Protocol,
        method: &Method,
    ) -> Failure {
        match error {
            TxnError::Transport(fault) => self.stream_fault(fault, peer, protocol),
            TxnError::Timeout => {
                let failure =
                    self.failure("net.timeout").with("address", peer.to_string()).with("transport", protocol.as_str());
                // Timers A and E repeat a request over datagrams until 64·T1 = 32 s (§17.1).
                let requests = match (protocol, method) {
                    (Protocol::Tcp | Protocol::Tls, _) => "1",
                    (Protocol::Udp, Method::Invite) => "7",
                    (Protocol::Udp, _) => "11",
                };
                failure.with("requests", requests).with("seconds", "32")
            }
        }
    }

    /// A connection that could not be opened, or broke.
    fn stream_fault(&self, fault: StreamFault, peer: SocketAddr, protocol: Protocol) -> Failure {
        let slug = match fault {
            StreamFault::Refused => "net.refused",
            StreamFault::Timeout => "net.timeout",
            StreamFault::Unreachable => "net.unreachable",
            StreamFault::Reset | StreamFault::Overflow => "net.lost",
            StreamFault::Tls(fault) => fault.slug(),
        };
        let cause = match fault {
            StreamFault::Tls(fault) => fault.to_string(),
            StreamFault::Refused
            | StreamFault::Timeout
            | StreamFault::Unreachable
            | StreamFault::Reset
            | StreamFault::Overflow => fault_name(fault).to_owned(),
        };
        self.failure(slug).with("address", peer.to_string()).with("transport", protocol.as_str()).with("cause", cause)
    }

    /// A challenge that was not answered, or whose answer was refused.
    pub(super) fn login(&self, error: &LoginError, response: &Response) -> Failure {
        let failure = match error {
            LoginError::NoCredentials | LoginError::Stranger { .. } => self.failure("auth.no-password"),
            LoginError::Digest(AuthError::Rejected { realm, user, algorithm }) => self
                .failure("auth.wrong-password")
                .with("realm", realm.as_str())
                .with("user", user.as_str())
                .with("algorithm", *algorithm),
            LoginError::Digest(AuthError::Unsupported { algorithms }) => {
                self.failure("auth.unsupported").with("algorithm", algorithms.as_str())
            }
            LoginError::Digest(error) => self.failure("auth.unsupported").with("cause", error.to_string()),
        };
        let failure = match realm_of(response) {
            Some(realm) => failure.with("realm", printable(&realm)),
            None => failure,
        };
        failure.with_status(response.status.code(), &printable(&response.reason))
    }

    /// A final response that is no success, to an INVITE.
    pub(super) fn refused_call(&self, response: &Response) -> Failure {
        let code = response.status.code();
        let slug = match code {
            401 | 407 => "auth.wrong-password",
            403 => "auth.forbidden",
            404 | 410 | 484 | 604 => "call.not-found",
            408 => "call.no-answer",
            415 | 488 | 606 => "media.no-common-codec",
            480 => "call.unavailable",
            486 | 600 => "call.busy",
            487 => "call.cancelled",
            503 => "net.unavailable",
            603 | 607 | 608 => "call.declined",
            _ => "call.failed",
        };
        self.status(slug, response)
    }

    /// A final response that is no success, to a change of a call that is up.
    pub(super) fn change_refused(&self, status: StatusCode) -> Failure {
        self.failure("call.change-refused").with_status(status.code(), status.reason_phrase())
    }

    /// A final response that is no success, to a REGISTER.
    pub(super) fn refused_registration(&self, response: &Response) -> Failure {
        let slug = match response.status.code() {
            401 | 407 => "auth.wrong-password",
            403 => "auth.forbidden",
            503 => "net.unavailable",
            _ => "register.failed",
        };
        self.status(slug, response)
    }

    fn status(&self, slug: &str, response: &Response) -> Failure {
        let mut failure = self.failure(slug).with_status(response.status.code(), &printable(&response.reason));
        if let Some(warning) = response.headers.get(&HeaderName::WARNING) {
            failure = failure.with("warning", printable(warning));
        }
        if let Some(seconds) = response.headers.seconds(&HeaderName::RETRY_AFTER) {
            failure = failure.with("retry_after", seconds.to_string());
        }
        if (300..400).contains(&response.status.code())
            && let Ok(contact) = response.headers.contact()
        {
            failure = failure.with("cause", format!(" (it has moved to {})", printable(&contact.uri.to_string())));
        }
        failure
    }

    /// The two descriptions do not go together.
    pub(super) fn no_common_codec(&self, error: &NegotiationError) -> Failure {
        let failure = self.failure("media.no-common-codec").with("cause", error.to_string());
        if let NegotiationError::NoCommonCodec { theirs, ours } = error {
            failure.with("offered", ours.join(", ")).with("answered", theirs.join(", "))
        } else {
            failure
        }
    }

    /// Something about the sound.
    pub(super) fn media(&self, slug: &str) -> Failure {
        self.failure(slug)
    }

    /// The call was accepted without a word about sound.
    pub(super) fn no_answer_in_2xx(&self) -> Failure {
        self.failure("media.no-common-codec").with("cause", "the answer said nothing about sound")
    }

    /// No RTP ports.
    pub(super) fn no_lease(&self) -> Failure {
        self.failure("net.no-rtp-port")
    }

    /// The sound stopped coming.
    pub(super) fn peer_gone(&self, timeout_s: u64) -> Failure {
        self.failure("media.peer-gone").with("timeout", format!("{timeout_s} s"))
    }

    /// A mistake of ours in the call.
    pub(super) fn fault(&self) -> Failure {
        self.failure("call.fault")
    }

    /// The end of a call, when it is not a normal one.
    pub(super) fn ending(&self, ending: &Ending) -> Option<Failure> {
        let failure = match &ending.cause {
            EndCause::HungUp | EndCause::Refused(_) => return None,
            EndCause::CallerGone if ending.reason.as_ref().is_some_and(|reason| reason.elsewhere) => {
                self.failure("call.answered-elsewhere")
            }
            EndCause::Cancelled | EndCause::CallerGone => self.failure("call.cancelled"),
            EndCause::Rejected { response, .. } => self.refused_call(response),
            EndCause::NoAnswer { after } => self.failure("call.no-answer").with("seconds", after.as_secs().to_string()),
            EndCause::NoRoute(error) => self.no_route(error),
            EndCause::Unreachable { peer, protocol, error } => {
                self.unreachable(*error, *peer, *protocol, &Method::Invite)
            }
            EndCause::Login { error, response, .. } => self.login(error, response),
            EndCause::SessionExpired { seconds } => {
                self.failure("call.session-expired").with("seconds", seconds.to_string())
            }
            EndCause::NoAck => self.failure("call.broken").with("cause", "our answer was never acknowledged"),
            EndCause::Broken(cause) => self.failure("call.broken").with("cause", printable(cause)),
            EndCause::Fault => self.fault(),
        };
        Some(match ending.by {
            EndedBy::Local | EndedBy::Remote | EndedBy::Fault => failure,
        })
    }
}

/// Adds what a person needs to judge a certificate that was refused.
fn describe(mut failure: Failure, certificate: &PeerCertificate) -> Failure {
    let names = certificate.names.join(", ");
    let facts = [
        ("names", names.as_str()),
        ("name", certificate.names.first().map_or("", |name| name.trim_start_matches("sip:"))),
        ("subject", &certificate.subject),
        ("issuer", &certificate.issuer),
        ("valid_from", &certificate.valid_from),
        ("valid_until", &certificate.valid_until),
        ("sha256", &certificate.sha256),
    ];
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        failure = failure.with(name, printable(value));
    }
    failure
}

/// Text from the network without control characters, cut to what a line can hold.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
