//! What clients want: each command of [`crate::api`] for the softphone.

use super::account::AccountConfig;
use super::call::{Dial, NextHop, secure_hop, status};
use super::failure::About;
use super::line::{Line, Stage};
use super::progress::media_of;
use super::registration::Registration;
use super::requests::Ping;
use super::target::{dial_target, ping_target};
use super::{Life, Ua};
use crate::api::{AudioRoute, Command, CommandError, Event, Reply};
use crate::engine::Output;
use crate::id::{AccountId, CallHandle};
use crate::media::command::MediaCommand;
use crate::sip::endpoint::Wish;
use crate::sip::message::{HeaderName, Host, NameAddr, Uri};
use crate::time::{Duration, Instant};

/// How long each digit sounds.
pub(super) const DIGIT: Duration = Duration::from_millis(160);

/// A call to place.
pub(super) struct Placing {
    pub(super) uri: Uri,
    /// The callee in the words of the user.
    pub(super) shown: String,
    pub(super) account: Option<AccountId>,
    /// Its sound, if it is not the account's.
    pub(super) audio: Option<AudioRoute>,
    /// Further headers of the INVITE.
    pub(super) headers: Vec<(HeaderName, String)>,
    /// The call that it is to take the place of; none is put on hold for it.
    pub(super) instead_of: Option<CallHandle>,
}

impl Ua {
    pub(super) fn command(&mut self, now: Instant, command: Command) -> Result<Reply, CommandError> {
        match command {
            Command::Dial { target, account, audio } => self.dial(now, &target, account, audio).map(Reply::Call),
            Command::Answer { call, audio } => self.answer(now, call, audio),
            Command::Reject { call, code } => self.reject(now, call, code),
            Command::HangUp { call } => {
                self.live(call)?;
                self.hang_up(now, call);
                Ok(Reply::Ok)
            }
            Command::Mute { call, on } => {
                self.talking(call, if on { "muted" } else { "unmuted" })?;
                self.mute(call, on);
                Ok(Reply::Ok)
            }
            Command::Codecs { call, codecs } => self.change_codecs(now, call, &codecs),
            Command::Hold { call } => self.hold(now, call, true),
            Command::Resume { call } => self.hold(now, call, false),
            Command::Dtmf { call, digits } => {
                if let Some(bad) = digits.chars().find(|c| !matches!(c, '0'..='9' | '*' | '#' | 'A'..='D' | ',')) {
                    return Err(CommandError::BadDigit(bad));
                }
                self.talking(call, "sent digits")?;
                if self.digits_by_info(call) {
                    self.send_digits(now, call, &digits, DIGIT);
                    return Ok(Reply::Ok);
                }
                let command = MediaCommand::SendDtmf { digits, duration: DIGIT };
                self.out.push_back(Output::Media(media_of(call), command));
                Ok(Reply::Ok)
            }
            Command::Transfer { call, target } => self.transfer(now, call, &target),
            Command::TransferTo { call, to } => self.transfer_to(now, call, to),
            Command::AcceptTransfer { call } => self.accept_transfer(now, call),
            Command::RejectTransfer { call } => self.reject_transfer(now, call),
            Command::Register { account } => self.for_accounts(account, |ua, id| ua.register(now, id)),
            Command::Unregister { account } => self.for_accounts(account, |ua, id| ua.unregister(now, id)),
            Command::Ping { target } => self.ping(now, target),
            Command::Snapshot => Ok(Reply::Snapshot(Box::new(self.snapshot()))),
            Command::Stop => {
                self.stop(now);
                Ok(Reply::Ok)
            }
        }
    }

    /// How many calls count against `call.max`.
    pub(super) fn live_calls(&self) -> usize {
        self.lines.values().filter(|line| line.is_live()).count()
    }

    fn dial(
        &mut self,
        now: Instant,
        target: &str,
        account: Option<AccountId>,
        audio: Option<AudioRoute>,
    ) -> Result<CallHandle, CommandError> {
        self.room()?;
        let account = self.choose_account(account)?;
        let uri = dial_target(target, account.and_then(|id| self.account(id)))?;
        Ok(self
            .place(now, Placing { uri, shown: shown(target), account, audio, headers: Vec::new(), instead_of: None }))
    }

    /// Whether one more call may be placed.
    pub(super) fn room(&self) -> Result<(), CommandError> {
        if self.life != Life::Running {
            return Err(CommandError::NotSupported);
        }
        let max = self.config.call.max;
        if max != 0 && self.live_calls() >= max {
            return Err(CommandError::TooManyCalls { max });
        }
        Ok(())
    }

    /// Who an account says it is; without one nobody.
    pub(super) fn identity(&self, account: Option<AccountId>) -> NameAddr {
        match account.and_then(|id| self.account(id)) {
            Some(config) => NameAddr { display: config.display_name.clone(), ..NameAddr::new(config.aor.clone()) },
            None => NameAddr::new(Uri::sip("anonymous", Host::Name("anonymous.invalid".to_owned()))),
        }
    }

    /// Places a call.
    pub(super) fn place(&mut self, now: Instant, placing: Placing) -> CallHandle {
        let Placing { uri, shown, account: id, audio, mut headers, instead_of } = placing;
        let mut from = self.identity(id);
        let config = id.and_then(|id| self.account(id));
        let mut about = About { server: host(&uri), peer: Some(shown), ..About::default() };
        let (next_hop, ours) = match config {
            Some(config) => next_hop(config, id.and_then(|id| self.registrations.get(&id)), &uri),
            None => (NextHop::Target, false),
        };
        if let Some(config) = config.filter(|_| ours) {
            about = About { peer: about.peer, ..super::registration::about(config) };
        }
        if self.config.call.privacy {
            // The server knows us by its own header; the callee is told nothing (RFC 3325 §9.3).
            if ours {
                headers.push((HeaderName::P_PREFERRED_IDENTITY, from.to_string()));
            }
            headers.push((HeaderName::PRIVACY, "id".to_owned()));
            from = self.identity(None).with_display("Anonymous");
        }
        if let Some(text) = &self.config.call.user_to_user {
            headers.push((HeaderName::USER_TO_USER, super::caller::to_user(text)));
        }
        let dial = Dial {
            target: uri.clone(),
            to: None,
            from,
            contact_user: id.and_then(|id| self.registrations.get(&id)).map(|r| r.contact_user().to_owned()),
            next_hop,
            transport: config.and_then(|config| config.transport),
            tls: config.map(|config| config.tls.clone()).unwrap_or_default(),
            login: id.filter(|_| ours),
            max_forwards: 70,
            user_agent: self.config.user_agent.clone(),
            answer_timeout: Some(self.config.call.answer_timeout),
            redirects: self.config.call.redirects,
            headers,
            rules: self.config.call.rules,
        };
        let own = config.map_or_else(|| self.config.default_audio.clone(), |config| config.audio.clone());
        let mut line = Line::new(now, &mut self.rng, Stage::Calling, own, about);
        line.account = id;
        line.route = audio.unwrap_or(line.route);
        let call = self.with_calls(|calls, core| calls.dial(now, core, dial));
        self.lines.insert(call, line);
        if instead_of.is_none() {
            self.hold_others(now, call);
        }
        self.emit(Event::CallOutgoing { call, account: id, to: uri.to_string() });
        call
    }

    fn answer(&mut self, now: Instant, call: CallHandle, audio: Option<AudioRoute>) -> Result<Reply, CommandError> {
        self.live(call)?;
        let Some(line) = self.lines.get_mut(&call) else { return Err(CommandError::NoSuchCall(call)) };
        match line.stage {
            Stage::Ringing { .. } => {
                line.route = audio.unwrap_or_else(|| line.route.clone());
                self.hold_others(now, call);
                self.answer_now(now, call);
                Ok(Reply::Ok)
            }
            Stage::Calling | Stage::Arriving { .. } | Stage::Answered | Stage::Talking | Stage::Ending { .. } => {
                Err(wrong_state(call, line, "answered"))
            }
        }
    }

    fn reject(&mut self, now: Instant, call: CallHandle, code: Option<u16>) -> Result<Reply, CommandError> {
        let code = code.unwrap_or(486);
        if !(400..700).contains(&code) {
            return Err(CommandError::BadStatus(code));
        }
        self.live(call)?;
        let Some(line) = self.lines.get(&call) else { return Err(CommandError::NoSuchCall(call)) };
        if !line.is_ringing_here() {
            return Err(wrong_state(call, line, "rejected"));
        }
        self.reject_call(now, call, status(code).code());
        Ok(Reply::Ok)
    }

    fn live(&self, call: CallHandle) -> Result<(), CommandError> {
        match self.lines.get(&call) {
            Some(line) if line.is_live() => Ok(()),
            Some(_) | None => Err(CommandError::NoSuchCall(call)),
        }
    }

    pub(super) fn talking(&self, call: CallHandle, wanted: &str) -> Result<(), CommandError> {
        self.live(call)?;
        match self.lines.get(&call) {
            Some(line) if matches!(line.stage, Stage::Talking) => Ok(()),
            Some(line) => Err(wrong_state(call, line, wanted)),
            None => Err(CommandError::NoSuchCall(call)),
        }
    }

    /// The account that was named, else the first one, else none.
    fn choose_account(&self, account: Option<AccountId>) -> Result<Option<AccountId>, CommandError> {
        match account {
            Some(id) if self.account(id).is_some() => Ok(Some(id)),
            Some(id) => Err(CommandError::NoSuchAccount(id)),
            None => Ok((!self.config.accounts.is_empty()).then_some(AccountId(0))),
        }
    }

    fn for_accounts(
        &mut self,
        account: Option<AccountId>,
        act: impl Fn(&mut Self, AccountId),
    ) -> Result<Reply, CommandError> {
        let ids: Vec<_> = match account {
            Some(id) => vec![self.choose_account(Some(id))?.unwrap_or(id)],
            None => self.registrations.keys().copied().collect(),
        };
        for id in ids {
            act(self, id);
        }
        Ok(Reply::Ok)
    }

    fn ping(&mut self, now: Instant, target: String) -> Result<Reply, CommandError> {
        let id = self.choose_account(None)?;
        let config = id.and_then(|id| self.account(id));
        let uri = ping_target(&target, config)?;
        let registration = id.and_then(|id| self.registrations.get(&id));
        let mut routes = Vec::new();
        let (hop, ours) = match config.map(|config| next_hop(config, registration, &uri)) {
            Some((NextHop::Server(server) | NextHop::Proxy(server), ours)) => (server, ours),
            Some((NextHop::Routes(hops), ours)) => {
                let first = hops.first().map_or_else(|| uri.clone(), |hop| hop.uri.clone());
                routes = hops;
                (first, ours)
            }
            Some((NextHop::Target | NextHop::Route(_), ours)) => (uri.clone(), ours),
            None => (uri.clone(), false),
        };
        let from = config.map_or_else(
            || NameAddr::new(Uri::sip("ping", Host::Name("anonymous.invalid".to_owned()))),
            |config| NameAddr::new(config.aor.clone()),
        );
        // A transport that the URI names is meant for this request (RFC 3261 §19.1.1).
        let (hop, transport) = match uri.transport() {
            Some(_) if routes.is_empty() => (uri.clone(), None),
            Some(_) | None => (hop, config.and_then(|config| config.transport)),
        };
        let hop = if uri.is_sips() { secure_hop(hop) } else { hop };
        let mut tls = config.map(|config| config.tls.clone()).unwrap_or_default();
        tls.name = tls.name.filter(|_| ours);
        let route = self.endpoint.route(now, &hop, Wish { transport, tls });
        let about = About { server: host(&hop), peer: Some(shown(&target)), ..About::default() };
        self.pings.push(Ping::new(target, uri, from, about, id.filter(|_| ours), route).with_routes(routes));
        Ok(Reply::Ok)
    }
}

/// Where requests to `uri` go for this account, and whether that is its own server.
fn next_hop(config: &AccountConfig, registration: Option<&Registration>, uri: &Uri) -> (NextHop, bool) {
    let wanted = registration.map_or(&[][..], Registration::service_route);
    if let Some(first) = wanted.first() {
        // The outbound proxy stays the first hop, unless the registrar names it itself.
        let proxy = config.proxy.as_ref().filter(|proxy| proxy.host != first.uri.host);
        let proxy = proxy.map(|proxy| NameAddr::new(proxy.clone().with_param("lr", None)));
        return (NextHop::Routes(proxy.into_iter().chain(wanted.iter().cloned()).collect()), true);
    }
    if let Some(proxy) = &config.proxy {
        return (NextHop::Proxy(proxy.clone()), true);
    }
    let same_port = |other: &Uri| uri.port.is_none() || uri.port_or_default() == other.port_or_default();
    let ours = [&config.aor, &config.registrar].iter().any(|own| uri.host == own.host && same_port(own));
    if ours { (NextHop::Server(config.registrar.clone()), true) } else { (NextHop::Target, false) }
}

/// Host, and port if one is named: what can be typed again.
pub(super) fn host(uri: &Uri) -> String {
    let host = uri.host.as_ref().map(ToString::to_string).unwrap_or_default();
    uri.port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
}

/// What was typed, as a fact for texts.
pub(super) fn shown(target: &str) -> String {
    super::failure::printable(target.trim())
}

pub(super) fn wrong_state(call: CallHandle, line: &Line, wanted: &str) -> CommandError {
    CommandError::WrongState { call, state: line.state(false).to_owned(), wanted: wanted.to_owned() }
}
