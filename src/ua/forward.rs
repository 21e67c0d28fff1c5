//! Calls that are sent on (302, RFC 3261 §21.3.3) and calls that answer themselves as their caller wishes (RFC 5373).

use super::account::AccountConfig;
use super::call::{CallCommand, status};
use super::caller;
use super::failure::printable;
use super::line::Line;
use super::screen::Refusal;
use super::target::dial_target;
use super::{Ua, caller::asserted};
use crate::api::Event;
use crate::engine::Flow;
use crate::id::{AccountId, CallHandle};
use crate::sip::message::{HeaderName, NameAddr, Request, Uri};
use crate::time::{Duration, Instant};

/// A call that was forwarded so often goes no further.
const MAX_FORWARDED: usize = 5;

/// Where calls are sent on to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forward {
    /// All of them.
    pub always: Option<String>,
    /// Those that find no free line (`call.max`).
    pub busy: Option<String>,
    /// Those that nobody answers within the ring timeout.
    pub no_answer: Option<String>,
}

/// Why a call is sent on: the words of Diversion (RFC 5806 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Always,
    Busy,
    NoAnswer,
}

impl Why {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "unconditional",
            Self::Busy => "user-busy",
            Self::NoAnswer => "no-answer",
        }
    }
}

impl Forward {
    fn target(&self, why: Why) -> Option<&str> {
        match why {
            Why::Always => self.always.as_deref(),
            Why::Busy => self.busy.as_deref(),
            Why::NoAnswer => self.no_answer.as_deref(),
        }
    }
}

impl Ua {
    /// The 302 that sends a call on, if the config says where to and that leads anywhere else.
    pub(super) fn forwarded(&self, request: &Request, account: Option<AccountId>, why: Why) -> Option<Refusal> {
        let target = self.config.call.forward.target(why)?;
        let headers = &request.headers;
        let before =
            headers.get_all(&HeaderName::DIVERSION).count() + headers.get_all(&HeaderName::HISTORY_INFO).count();
        let config = account.and_then(|id| self.account(id));
        let uri = dial_target(target, config).ok()?;
        if before >= MAX_FORWARDED || self.is_own(&uri) {
            return None;
        }
        let ours = config.map_or_else(|| Uri { headers: None, ..request.uri.clone() }, |config| config.aor.clone());
        let diversion = NameAddr::new(ours).with_param("reason", why.as_str());
        Some(
            Refusal::new(status(302))
                .with(HeaderName::CONTACT, NameAddr::new(uri).to_string())
                .with(HeaderName::DIVERSION, diversion.to_string()),
        )
    }

    /// Tells the clients of a call that never rang here.
    pub(super) fn tell_forwarded(&mut self, request: &Request, refusal: &Refusal) {
        let header =
            |wanted: &HeaderName| refusal.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let contact = header(&HeaderName::CONTACT).and_then(|value| value.parse::<NameAddr>().ok());
        let diversion = header(&HeaderName::DIVERSION).and_then(|value| value.parse::<NameAddr>().ok());
        let (Some(contact), Some(diversion)) = (contact, diversion) else { return };
        let from = request.headers.from().map(|from| caller::shown(&from)).unwrap_or_default();
        let reason = diversion.params.get("reason").unwrap_or_default().to_owned();
        self.emit(Event::CallForwarded { call: None, from, to: printable(&contact.uri.to_string()), reason });
    }

    /// Whether a call has rung in vain for so long that it is sent on.
    pub(super) fn is_to_be_forwarded(&self, now: Instant, call: CallHandle) -> bool {
        let due = |line: &Line| line.forward.as_ref().is_some_and(|(_, at)| *at <= now);
        self.lines.get(&call).is_some_and(|line| line.is_ringing_here() && due(line))
    }

    /// Nobody has answered a call that rings: it is sent on.
    pub(super) fn forward_now(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let Some((refusal, _)) = line.forward.take() else { return };
        let peer = line.about.peer.clone().unwrap_or_default();
        let contact = refusal.headers.iter().find(|(name, _)| *name == HeaderName::CONTACT);
        let to = contact.and_then(|(_, value)| value.parse::<NameAddr>().ok());
        let to = to.map(|to| printable(&to.uri.to_string())).unwrap_or_default();
        let reason = Why::NoAnswer.as_str().to_owned();
        self.emit(Event::CallForwarded { call: Some(call), from: peer, to, reason });
        let redirect = CallCommand::Redirect { headers: refusal.headers };
        let told = self.with_calls(|calls, core| calls.command(now, core, call, redirect));
        if told.is_err() && !self.calls.is_ending(call) {
            self.finish_line(call);
        }
    }

    /// How soon a call is answered by itself since its caller wants that and may: only through the account's own server,
    /// and only whom the account names (threats C11, C16).
    pub(super) fn answers_itself(
        &self,
        request: &Request,
        account: Option<AccountId>,
        flow: &Flow,
    ) -> Option<Duration> {
        let config = account.and_then(|id| self.account(id))?;
        let trusted = self.registrations.get(&account?).is_some_and(|own| own.is_server(flow.peer.ip()));
        let caller = asserted(&request.headers).or_else(|| request.headers.from().ok())?;
        let delay = caller::wants_answer(&request.headers)?;
        (trusted && may_open(config, &caller.uri)).then_some(delay)
    }
}

/// Whether an account lets this caller open its microphone.
fn may_open(config: &AccountConfig, caller: &Uri) -> bool {
    let user = caller.user_unescaped().unwrap_or_default();
    let host = caller.host.as_ref().map(ToString::to_string).unwrap_or_default();
    let names = |entry: &str| {
        let entry = entry.trim_start_matches("sip:");
        entry == "*" || entry == user || entry.eq_ignore_ascii_case(&format!("{user}@{host}"))
    };
    config.auto_answer_from.iter().any(|entry| names(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_callers_that_are_named_open_the_microphone() {
        let uri = |text: &str| text.parse::<Uri>().expect("a URI");
        let mut config = AccountConfig::new("work", uri("sip:1@pbx.example"), uri("sip:pbx.example"));
        assert!(!may_open(&config, &uri("sip:boss@pbx.example")), "nobody by default");
        config.auto_answer_from = vec!["1001".into(), "sip:boss@pbx.example".into()];
        for (caller, may) in [
            ("sip:1001@anywhere.example", true),
            ("sip:boss@PBX.example", true),
            ("sip:boss@other.example", false),
            ("sip:10011@pbx.example", false),
            ("sip:pbx.example", false),
        ] {
            assert_eq!(may_open(&config, &uri(caller)), may, "{caller}");
        }
        config.auto_answer_from = vec!["*".into()];
        assert!(may_open(&config, &uri("sip:anybody@x.example")));
    }
}
