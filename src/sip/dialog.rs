//! Dialogs (RFC 3261 §12): the peer relation that Call-ID and two tags name, its CSeq order, remote target and route set.

#[cfg(test)]
mod tests;

use super::message::Contacts;
use super::message::{
    CSeq, HeaderError, HeaderName, Headers, Method, NameAddr, Request, Response, Scheme, StatusCode, Uri,
};

/// The largest CSeq number (RFC 3261 §8.1.1.5).
const MAX_SEQ: u32 = 0x7fff_ffff;
/// Record-Route entries that are taken over.
const MAX_ROUTES: usize = 32;

/// The name of a dialog. An absent tag (RFC 2543 peers) is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag.
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog that a received request belongs to; `None` when it has no To tag or lacks a header.
    pub fn of_request(request: &Request) -> Option<Self> {
        let headers = &request.headers;
        Some(Self {
            call_id: headers.call_id().ok()?.to_owned(),
            local_tag: headers.to().ok()?.tag()?.to_owned(),
            remote_tag: headers.from().ok()?.tag().unwrap_or("").to_owned(),
        })
    }

    /// The dialog that a received response belongs to or makes; `None` when a header is missing.
    pub fn of_response(response: &Response) -> Option<Self> {
        let headers = &response.headers;
        Some(Self {
            call_id: headers.call_id().ok()?.to_owned(),
            local_tag: headers.from().ok()?.tag().unwrap_or("").to_owned(),
            remote_tag: headers.to().ok()?.tag().unwrap_or("").to_owned(),
        })
    }
}

/// Why a message makes no dialog or does not fit in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialogError {
    /// A header that every dialog needs is missing or unreadable.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The request has no single Contact to send to.
    #[error("there is no Contact to send to")]
    NoContact,
    /// Lower CSeq than before (§12.2.2).
    #[error("CSeq {got} came after {last}")]
    OutOfOrder {
        /// The number that came.
        got: u32,
        /// The highest one before.
        last: u32,
    },
}

impl DialogError {
    /// The status that tells the peer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Header(_) | Self::NoContact => StatusCode::BAD_REQUEST,
            Self::OutOfOrder { .. } => StatusCode::SERVER_INTERNAL_ERROR,
        }
    }
}

/// One dialog, seen from us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    id: DialogId,
    local: NameAddr,
    remote: NameAddr,
    local_contact: Option<NameAddr>,
    local_seq: u32,
    remote_seq: Option<u32>,
    target: Uri,
    routes: Vec<NameAddr>,
    secure: bool,
}

impl Dialog {
    /// The dialog that a response to our `request` makes (§12.1.2). A response without Contact leaves the Request-URI as target.
    ///
    /// # Errors
    /// When a needed header is missing.
    pub fn uac(request: &Request, response: &Response) -> Result<Self, DialogError> {
        let (local, remote) = (request.headers.from()?, response.headers.to()?);
        let mut routes = record_routes(&response.headers)?;
        routes.reverse();
        Ok(Self {
            id: DialogId {
                call_id: request.headers.call_id()?.to_owned(),
                local_tag: local.tag().unwrap_or("").to_owned(),
                remote_tag: remote.tag().unwrap_or("").to_owned(),
            },
            local,
            remote,
            local_contact: single_contact(&request.headers),
            local_seq: request.headers.cseq()?.seq,
            remote_seq: None,
            target: single_contact(&response.headers).map_or_else(|| request.uri.clone(), |contact| contact.uri),
            routes,
            secure: request.uri.is_sips(),
        })
    }

    /// The dialog that our answer with `local_tag` to a received `request` makes (§12.1.1).
    ///
    /// # Errors
    /// When a needed header or the Contact is missing: answer with [`DialogError::status`].
    pub fn uas(request: &Request, local_tag: String, local_contact: NameAddr) -> Result<Self, DialogError> {
        let (mut local, remote) = (request.headers.to()?, request.headers.from()?);
        let from = remote.uri.clone();
        local.params.set("tag", local_tag.as_str());
        Ok(Self {
            id: DialogId {
                call_id: request.headers.call_id()?.to_owned(),
                local_tag,
                remote_tag: remote.tag().unwrap_or("").to_owned(),
            },
            local,
            remote,
            local_contact: Some(local_contact),
            local_seq: 0,
            remote_seq: Some(request.headers.cseq()?.seq),
            target: match single_contact(&request.headers) {
                Some(contact) => contact.uri,
                None if is_rfc_2543(request) => from,
                None => return Err(DialogError::NoContact),
            },
            routes: record_routes(&request.headers)?,
            secure: request.uri.is_sips(),
        })
    }

    /// Its name.
    pub const fn id(&self) -> &DialogId {
        &self.id
    }

    /// The peer as its From or To named it.
    pub const fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// Ourselves as the peer knows us.
    pub const fn local(&self) -> &NameAddr {
        &self.local
    }

    /// Our Contact in this dialog.
    pub const fn local_contact(&self) -> Option<&NameAddr> {
        self.local_contact.as_ref()
    }

    /// The remote target: the Contact of the peer.
    pub const fn target(&self) -> &Uri {
        &self.target
    }

    /// The INVITE was sent to a `sips:` URI (§12.1.1): every later hop must be secure too.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The CSeq number of our last request.
    pub const fn local_seq(&self) -> u32 {
        self.local_seq
    }

    /// The next request of ours (§12.2.1.1): route set, tags and the next CSeq; Via and Contact are still missing.
    pub fn request(&mut self, method: Method) -> Request {
        self.local_seq = self.local_seq.saturating_add(1).min(MAX_SEQ);
        self.build(method, self.local_seq)
    }

    /// The ACK for a 2xx to our `invite` (§13.2.2.4): its CSeq number and credentials, this dialog's route set.
    ///
    /// # Errors
    /// When `invite` has no CSeq.
    pub fn ack_for(&self, invite: &Request) -> Result<Request, DialogError> {
        let mut ack = self.build(Method::Ack, invite.headers.cseq()?.seq);
        for name in [HeaderName::AUTHORIZATION, HeaderName::PROXY_AUTHORIZATION] {
            for value in invite.headers.get_all(&name) {
                ack.headers.push(name.clone(), value);
            }
        }
        Ok(ack)
    }

    /// Takes a received request into the dialog (§12.2.2): CSeq must rise, INVITE and UPDATE may move the remote target.
    /// ACK and CANCEL repeat an older number and are not checked.
    ///
    /// # Errors
    /// When the CSeq is not higher than before (500) or unreadable (400).
    pub fn accept(&mut self, request: &Request) -> Result<(), DialogError> {
        if matches!(request.method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let got = request.headers.cseq()?.seq;
        if let Some(last) = self.remote_seq
            && got <= last
        {
            return Err(DialogError::OutOfOrder { got, last });
        }
        self.remote_seq = Some(got);
        if matches!(request.method, Method::Invite | Method::Update)
            && let Some(contact) = single_contact(&request.headers)
        {
            self.target = contact.uri;
        }
        Ok(())
    }

    /// The 2xx that confirms an early dialog computes the route set anew (§13.2.2.4) and moves the target.
    ///
    /// # Errors
    /// When a Record-Route cannot be read.
    pub fn confirm(&mut self, response: &Response) -> Result<(), DialogError> {
        let mut routes = record_routes(&response.headers)?;
        routes.reverse();
        self.routes = routes;
        self.refresh_target(response);
        Ok(())
    }

    /// A 2xx to our re-INVITE or UPDATE moves the remote target (§12.2.1.2).
    pub fn refresh_target(&mut self, response: &Response) {
        if let Some(contact) = single_contact(&response.headers) {
            self.target = contact.uri;
        }
    }

    /// Takes back the move of the remote target by a request that was refused (RFC 6141 §4.7).
    pub fn restore_target(&mut self, target: Uri) {
        self.target = target;
    }

    /// Where the next request goes: the first route, else the remote target.
    pub fn route_uri(&self) -> Uri {
        self.routes.first().map_or_else(|| self.target.clone(), |route| route.uri.clone())
    }

    fn build(&self, method: Method, seq: u32) -> Request {
        let (uri, routes) = match self.routes.split_first() {
            // A strict router (no `lr`) wants itself in the request line and the target last (§12.2.1.1).
            Some((strict, rest)) if !strict.uri.params.has("lr") => {
                let mut uri = strict.uri.clone();
                uri.headers = None;
                uri.params.remove("method");
                let mut routes = rest.to_vec();
                routes.push(NameAddr::new(self.target.clone()));
                (uri, routes)
            }
            Some(_) | None => (self.target.clone(), self.routes.clone()),
        };
        let mut request = Request::new(method.clone(), uri);
        let headers = &mut request.headers;
        for route in routes {
            headers.push(HeaderName::ROUTE, route.to_string());
        }
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::FROM, self.local.to_string());
        headers.push(HeaderName::TO, self.remote.to_string());
        headers.push(HeaderName::CALL_ID, self.id.call_id.clone());
        headers.push(HeaderName::CSEQ, CSeq { seq, method }.to_string());
        request
    }
}

/// The one SIP Contact of a message that makes or moves a dialog.
/// A peer of before RFC 3261 has no magic cookie in its branch, and may leave out the Contact: its From is its target
/// then (RFC 4475 §3.4.1).
fn is_rfc_2543(request: &Request) -> bool {
    !request.headers.has(&HeaderName::CONTACT)
        && request.headers.via().is_ok_and(|via| !via.branch().is_some_and(|branch| branch.starts_with("z9hG4bK")))
}

fn single_contact(headers: &Headers) -> Option<NameAddr> {
    let Ok(Contacts::List(contacts)) = headers.contacts() else { return None };
    contacts.into_iter().find(|contact| matches!(contact.uri.scheme, Scheme::Sip | Scheme::Sips))
}

fn record_routes(headers: &Headers) -> Result<Vec<NameAddr>, HeaderError> {
    let mut routes = headers.record_routes()?;
    routes.truncate(MAX_ROUTES);
    Ok(routes)
}
