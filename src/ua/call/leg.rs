//! One dialog of a call with the way to its peer (RFC 3261 §12.2.1.1): requests wait here until the way is known.

use super::calls::Cx;
use super::change::Change;
use super::rules::lists;
use super::timer::Timer;
use super::{Call, LegId, State};
use crate::engine::{Flow, Protocol};
use crate::sip::dialog::Dialog;
use crate::sip::endpoint::{Route, RouteError, RouteId};
use crate::sip::message::{HeaderName, Headers, Method, Request, Uri};
use crate::time::Instant;

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) dialog: Dialog,
    /// Where its last message came from: the way back when nothing better is known.
    pub(super) flow: Flow,
    /// Our ACK, for a 2xx that comes again.
    pub(super) ack: Option<Request>,
    /// The change that is under way.
    pub(super) change: Change,
    /// The offer of the INVITE has its answer: others may follow.
    pub(super) exchanged: bool,
    pub(super) peer: Abilities,
    /// The session timer, once agreed.
    pub(super) timer: Option<Timer>,
    /// RSeq of the peer's latest reliable provisional response.
    pub(super) rseq: Option<u32>,
    /// Ours that waits for its PRACK: RSeq and CSeq number.
    pub(super) unacknowledged: Option<(u32, u32)>,
    /// Always the way back along `flow`.
    stays: bool,
    path: Path,
}

/// What the peer says that it can.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Abilities {
    /// UPDATE stands in its Allow.
    pub(super) update: bool,
}

#[derive(Debug)]
enum Path {
    Unknown,
    Asked { route: RouteId, uri: Uri, waiting: Vec<Request> },
    Known { uri: Uri, route: Route },
}

impl Leg {
    pub(super) const fn new(id: LegId, dialog: Dialog, flow: Flow, stays: bool) -> Self {
        Self {
            id,
            dialog,
            flow,
            ack: None,
            change: Change::None,
            exchanged: false,
            peer: Abilities { update: false },
            timer: None,
            rseq: None,
            unacknowledged: None,
            stays,
            path: Path::Unknown,
        }
    }

    /// Takes what a message of the peer's says of its abilities; one that says nothing changes nothing.
    pub(super) fn note_abilities(&mut self, headers: &Headers) {
        if headers.has(&HeaderName::ALLOW) {
            self.peer.update = lists(headers, &HeaderName::ALLOW, "UPDATE");
        }
    }

    pub(super) fn remote_tag(&self) -> &str {
        &self.dialog.id().remote_tag
    }

    /// Our ACK for the INVITE with this CSeq number, if we keep it.
    pub(super) fn ack_of(&self, seq: u32) -> Option<Request> {
        self.ack.clone().filter(|ack| ack.headers.cseq().is_ok_and(|cseq| cseq.seq == seq))
    }

    /// True when no request waits for the way.
    pub(super) const fn is_idle(&self) -> bool {
        !matches!(self.path, Path::Asked { .. })
    }

    pub(super) fn is_asking(&self, id: RouteId) -> bool {
        matches!(&self.path, Path::Asked { route, .. } if *route == id)
    }

    /// The way for `request`; when it has to be asked for, the request is kept and `None` returned.
    pub(super) fn path(&mut self, now: Instant, cx: &mut Cx<'_, '_>, request: Request) -> Option<(Request, Route)> {
        if self.stays {
            return Some((request, cx.core.endpoint.route_back(&self.flow)));
        }
        let wanted = self.dialog.route_uri();
        match &mut self.path {
            Path::Known { uri, route } if *uri == wanted => return Some((request, route.clone())),
            Path::Asked { uri, waiting, .. } if *uri == wanted => {
                waiting.push(request);
                return None;
            }
            Path::Known { .. } | Path::Asked { .. } | Path::Unknown => {}
        }
        if leads_to(&self.flow, &wanted) {
            let route = cx.core.endpoint.route_back(&self.flow);
            self.path = Path::Known { uri: wanted, route: route.clone() };
            return Some((request, route));
        }
        let route = cx.route(now, &wanted, None);
        let mut waiting = match std::mem::replace(&mut self.path, Path::Unknown) {
            Path::Asked { waiting, .. } => waiting,
            Path::Known { .. } | Path::Unknown => Vec::new(),
        };
        waiting.push(request);
        self.path = Path::Asked { route, uri: wanted, waiting };
        None
    }

    /// The answer to the question; gives back what waited for it. Without a way the peer's last flow is used.
    pub(super) fn handle_routed(
        &mut self,
        cx: &Cx<'_, '_>,
        result: Result<Route, RouteError>,
    ) -> Vec<(Request, Route)> {
        let Path::Asked { uri, waiting, .. } = std::mem::replace(&mut self.path, Path::Unknown) else {
            return Vec::new();
        };
        let route = result.unwrap_or_else(|_| cx.core.endpoint.route_back(&self.flow));
        self.path = Path::Known { uri, route: route.clone() };
        waiting.into_iter().map(|request| (request, route.clone())).collect()
    }
}

/// Whether a request for `uri` may simply go back along `flow`: the same address, or a stream from the same host.
fn leads_to(flow: &Flow, uri: &Uri) -> bool {
    let same_transport = uri.transport().is_none_or(|transport| transport.eq_ignore_ascii_case(flow.protocol.as_str()));
    let same_host = uri.host.as_ref().and_then(|host| host.ip()) == Some(flow.peer.ip());
    let same_port = uri.port_or_default() == flow.peer.port();
    same_transport && same_host && (same_port || flow.protocol == Protocol::Tcp)
}

impl Call {
    /// Sends a request of `leg`, or leaves it waiting there.
    pub(super) fn send_on(&mut self, now: Instant, cx: &mut Cx<'_, '_>, leg: &mut Leg, request: Request) {
        if let Some((request, route)) = leg.path(now, cx, request) {
            self.dispatch(now, cx, request, &route);
        }
    }

    /// Sends a request whose way is known.
    #[expect(clippy::wildcard_enum_match_arm, reason = "methods are an open set")]
    pub(super) fn dispatch(&mut self, now: Instant, cx: &mut Cx<'_, '_>, mut request: Request, route: &Route) {
        let user = self.contact_user.as_deref();
        let contact = super::reachable(cx.core.endpoint, user, route.local, route.protocol());
        match request.method {
            Method::Ack => cx.core.endpoint.send_ack(now, request, route),
            // The call has ended while this change waited for its way.
            Method::Invite if !matches!(self.state, State::Established(_)) => {}
            Method::Update if request.body.is_empty() => {
                self.decorate(&mut request, Some(&contact));
                self.ask(now, cx, request, route);
            }
            Method::Invite | Method::Update => {
                self.decorate(&mut request, Some(&contact));
                let txn = cx.request(now, &request, route);
                self.change_is_out(txn, request, route.clone());
            }
            // They make or use a subscription: the peer learns where to send its own requests (RFC 6665 §3).
            Method::Refer | Method::Notify => {
                self.decorate(&mut request, Some(&contact));
                self.ask(now, cx, request, route);
            }
            _ => {
                self.decorate(&mut request, None);
                if let Some(reason) = self.reason.as_deref().filter(|_| request.method == Method::Bye) {
                    request.headers.set(HeaderName::REASON, reason);
                }
                self.ask(now, cx, request, route);
            }
        }
    }

    fn ask(&mut self, now: Instant, cx: &mut Cx<'_, '_>, request: Request, route: &Route) {
        let txn = cx.request(now, &request, route);
        self.byes.insert(txn, super::session::Bye { request, route: route.clone(), tries: 0 });
    }
}
