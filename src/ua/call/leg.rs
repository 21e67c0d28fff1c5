//! One dialog of a call with the way to its peer (RFC 3261 §12.2.1.1): requests wait here until the way is known.

use super::calls::Cx;
use super::change::Change;
use super::rules::lists;
use super::timer::Timer;
use super::{Call, LegId, State};
use crate::engine::{Flow, Protocol, TlsPolicy};
use crate::sip::dialog::Dialog;
use crate::sip::endpoint::{Endpoint, Route, RouteError, RouteId, TlsWish, Wish};
use crate::sip::message::{HeaderName, Headers, Method, Request, Uri};
use crate::time::Instant;
use std::net::SocketAddr;

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
    /// Whom the secure connection of `flow` led to when the dialog began.
    tls: Option<TlsPolicy>,
    /// The way is asked for because ours has changed.
    moves: bool,
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
    /// Whether a request of this dialog may come along `flow`. A call through the account's server (`pinned`) only takes
    /// requests from there (threats C7), and what goes over a secure transport never goes on in clear: our keys would.
    pub(super) fn takes_from(&self, pinned: bool, flow: &Flow) -> bool {
        let stranger = pinned && self.flow.peer.ip() != flow.peer.ip();
        let downgrade = self.flow.protocol.is_secure() && !flow.protocol.is_secure();
        !stranger && !downgrade
    }

    pub(super) fn new(cx: &Cx<'_, '_>, id: LegId, dialog: Dialog, flow: Flow, stays: bool) -> Self {
        let tls = cx.core.endpoint.tls_of(&flow);
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
            tls,
            moves: false,
            path: Path::Unknown,
        }
    }

    /// Takes what a message of the peer's says of its abilities; one that says nothing changes nothing.
    pub(super) fn note_abilities(&mut self, headers: &Headers) {
        if headers.has(&HeaderName::ALLOW) {
            self.peer.update = lists(headers, &HeaderName::ALLOW, "UPDATE");
        }
    }

    /// The way back along the flow of the last message.
    fn back(&self, endpoint: &Endpoint) -> Route {
        let mut route = endpoint.route_back(&self.flow);
        route.tls = route.tls.or_else(|| self.tls.clone());
        route
    }

    /// What began over TLS stays there. A Contact that is a bare address cannot be in the certificate: whoever shows the
    /// one that the dialog began with is our peer.
    fn wish(&self, uri: &Uri) -> Wish {
        let transport = self.flow.protocol.is_secure().then_some(self.flow.protocol);
        let bare = uri.host.as_ref().is_some_and(|host| host.ip().is_some());
        let policy = self.tls.as_ref();
        let tls = TlsWish {
            settings: policy.map(|policy| policy.settings).unwrap_or_default(),
            name: policy.filter(|_| bare).map(|policy| policy.domain.clone()),
        };
        Wish { transport, tls }
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
            return Some((request, self.back(cx.core.endpoint)));
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
            let route = self.back(cx.core.endpoint);
            self.path = Path::Known { uri: wanted, route: route.clone() };
            return Some((request, route));
        }
        let route = cx.route(now, &wanted, self.wish(&wanted));
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
    ) -> (Vec<(Request, Route)>, Option<SocketAddr>) {
        let Path::Asked { uri, waiting, .. } = std::mem::replace(&mut self.path, Path::Unknown) else {
            return (Vec::new(), None);
        };
        let moved = result.as_ref().ok().map(|route| route.local).filter(|_| std::mem::take(&mut self.moves));
        let route = result.unwrap_or_else(|_| self.back(cx.core.endpoint));
        self.path = Path::Known { uri, route: route.clone() };
        (waiting.into_iter().map(|request| (request, route.clone())).collect(), moved)
    }

    /// Our own address has changed: the way is asked for anew, and the flow of before is none any more.
    pub(super) fn ask_anew(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let uri = self.dialog.route_uri();
        // Who is behind a NAT is still reached where it came from, and not where it says.
        let asked = if self.stays {
            let peer = Uri::sip(None, crate::sip::message::Host::Ip(self.flow.peer.ip()));
            peer.with_port(self.flow.peer.port())
        } else {
            uri.clone()
        };
        let mut wish = self.wish(&asked);
        wish.transport = wish.transport.or_else(|| Some(self.flow.protocol).filter(|_| asked.transport().is_none()));
        let route = cx.route(now, &asked, wish);
        let waiting = match std::mem::replace(&mut self.path, Path::Unknown) {
            Path::Asked { waiting, .. } => waiting,
            Path::Known { .. } | Path::Unknown => Vec::new(),
        };
        self.path = Path::Asked { route, uri, waiting };
        (self.stays, self.moves) = (false, true);
    }
}

/// Whether a request for `uri` may simply go back along `flow`: the same address, or a stream from the same host. A peer that
/// names a transport in clear inside a secure dialog gets no request in clear for that.
fn leads_to(flow: &Flow, uri: &Uri) -> bool {
    let named = |protocol: Protocol| uri.transport().is_some_and(|name| name.eq_ignore_ascii_case(protocol.param()));
    let same_transport = uri.transport().is_none() || named(flow.protocol);
    if flow.protocol.is_secure() && !uri.is_sips() && (named(Protocol::Udp) || named(Protocol::Tcp)) {
        return true;
    }
    let same_host = uri.host.as_ref().and_then(|host| host.ip()) == Some(flow.peer.ip());
    let same_port = uri.port_or_default() == flow.peer.port();
    // `sips:` without a word about the transport is TLS, and only that.
    let same_scheme = if uri.is_sips() { flow.protocol.is_secure() } else { same_transport };
    same_scheme && same_host && (same_port || flow.protocol.is_reliable())
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
        let contact = self.contact(cx.core.endpoint, route.local, route.protocol());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FlowVia;
    use crate::id::ConnId;

    #[test]
    fn a_secure_dialog_stays_on_its_connection_whatever_the_contact_says() {
        let via = FlowVia::Conn(ConnId { slot: 1, generation: 0 });
        let at = |text: &str| text.parse().expect("an address");
        let (local, peer) = (at("192.0.2.1:40000"), at("192.0.2.9:5061"));
        let flow = |protocol| Flow { protocol, local, peer, via };
        for (contact, over_tls, over_tcp) in [
            ("sip:bob@192.0.2.9:5061", true, true),
            ("sip:bob@192.0.2.9:5061;transport=tls", true, false),
            ("sip:bob@192.0.2.9:5060;transport=udp", true, false),
            ("sip:bob@192.0.2.77:5060;transport=tcp", true, false),
            ("sips:bob@192.0.2.9", true, false),
            ("sip:bob@192.0.2.77", false, false),
            ("sips:bob@192.0.2.77", false, false),
        ] {
            let uri: Uri = contact.parse().expect("a URI");
            assert_eq!(leads_to(&flow(Protocol::Tls), &uri), over_tls, "{contact} over TLS");
            assert_eq!(leads_to(&flow(Protocol::Tcp), &uri), over_tcp, "{contact} over TCP");
        }
    }
}
