//! The REGISTER that we send (RFC 3261 §10.2), and its credentials.

use super::super::account::AccountConfig;
use super::super::call::{ALLOW, Core};
use super::super::login::LoginError;
use super::{MAX_CHALLENGES, Registration};
use crate::engine::Flow;
use crate::sip::endpoint::Route;
use crate::sip::message::{CSeq, HeaderName, Method, NameAddr, Request, Response};

impl Registration {
    pub(super) fn request(
        &mut self,
        core: &mut Core<'_>,
        config: &AccountConfig,
        user_agent: &str,
        route: &Route,
        expires: u32,
    ) -> Request {
        self.seq = self.seq.saturating_add(1);
        let mut registrar = config.registrar.clone();
        registrar.user = None;
        let mut request = Request::new(Method::Register, registrar);
        let contact = match &self.binding {
            Some(binding) if expires == 0 => binding.contact.clone(),
            Some(_) | None => self.contact_for(route),
        };
        let headers = &mut request.headers;
        if let Some(proxy) = &config.proxy {
            let hop = proxy.clone().with_param("lr", None);
            headers.push(HeaderName::ROUTE, NameAddr::new(hop).to_string());
        }
        let aor = NameAddr::new(config.aor.clone());
        headers.push(HeaderName::MAX_FORWARDS, "70");
        headers.push(HeaderName::FROM, aor.clone().with_param("tag", self.tag.as_str()).to_string());
        headers.push(HeaderName::TO, aor.to_string());
        headers.push(HeaderName::CALL_ID, self.call_id.clone());
        headers.push(HeaderName::CSEQ, CSeq { seq: self.seq, method: Method::Register }.to_string());
        headers.push(HeaderName::CONTACT, contact.to_string());
        // With an instance the registrar knows by itself that the new Contact replaces the old one.
        let stale = self.reached.stale.take().filter(|stale| stale.uri != contact.uri);
        if let Some(stale) = stale.filter(|_| self.instance.is_none() && expires > 0) {
            headers.push(HeaderName::CONTACT, stale.with_param("expires", "0").to_string());
        }
        headers.push(HeaderName::EXPIRES, expires.to_string());
        headers.push(HeaderName::SUPPORTED, self.supported(config.gruu));
        headers.push(HeaderName::ALLOW, ALLOW);
        headers.push(HeaderName::USER_AGENT, user_agent);
        if let Some(login) = core.logins.get_mut(&self.account) {
            login.preemptive(&mut request);
        }
        request
    }

    /// Only challenges from the server that the REGISTER went to are answered (threats C8).
    pub(super) fn answer(
        &mut self,
        core: &mut Core<'_>,
        request: &mut Request,
        response: &Response,
        flow: Flow,
        route: &Route,
        challenges: u8,
    ) -> Result<(), LoginError> {
        let Some(login) = core.logins.get_mut(&self.account) else { return Err(LoginError::NoCredentials) };
        let ours = route.targets.first().is_some_and(|target| target.addr == flow.peer);
        if !ours || challenges >= MAX_CHALLENGES {
            return Err(LoginError::Stranger { address: flow.peer });
        }
        login.answer(core.rng, response, request)?;
        self.seq = self.seq.saturating_add(1);
        request.headers.set(HeaderName::CSEQ, CSeq { seq: self.seq, method: Method::Register }.to_string());
        Ok(())
    }
}
