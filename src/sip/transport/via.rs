//! The Via of received requests and of our own (RFC 3261 §18.2, RFC 3581).

use crate::engine::Protocol;
use crate::sip::message::{HeaderName, Host, Request, Via};
use std::net::SocketAddr;

/// Puts our Via on top of a request.
pub(crate) fn push(request: &mut Request, protocol: Protocol, local: SocketAddr, branch: &str) {
    let host = Host::Ip(local.ip());
    let via = format!("SIP/2.0/{} {host}:{};rport;branch={branch}", protocol.as_str(), local.port());
    request.headers.push_front(HeaderName::VIA, via);
}

/// Notes in the top Via where a request really came from (§18.2.1, RFC 3581 §4).
pub(crate) fn stamp(request: &mut Request, via: &mut Via, source: SocketAddr) {
    let asked = via.params.has("rport");
    if asked {
        via.params.set("rport", source.port().to_string().as_str());
    }
    let foreign = via.host != Host::Ip(source.ip());
    if asked || foreign {
        via.params.set("received", source.ip().to_string().as_str());
        request.headers.pop_front(&HeaderName::VIA);
        request.headers.push_front(HeaderName::VIA, via.to_string());
    }
}

/// Where a datagram response goes: always to the source IP, which a forged Via cannot change; `maddr` is not obeyed for
/// that reason. The port is the source's if the client asked by `rport`, else that of sent-by (§18.2.2, RFC 3581 §4).
pub(crate) fn reply_to(via: &Via, source: SocketAddr) -> SocketAddr {
    let port = || via.port.unwrap_or(Protocol::Udp.default_port());
    if via.params.has("rport") { source } else { SocketAddr::new(source.ip(), port()) }
}
