//! What the driver and the engines say.

use super::words::{about, figures, seconds, sound};
use super::{AccountNames, GRACE, Goal, Seen, Session, TELL};
use crate::api::{AudioInfo, Command, CommandError, EndedBy, Event, Failure, Reply, Snapshot};
use crate::app::clock;
use crate::app::console::Console;
use crate::app::exit::Exit;
use crate::app::status::clock as minutes;
use crate::app::texts::{self, Facts};
use crate::driver::{ClientEvent, EngineId, Ticket};
use crate::id::{AccountId, CallHandle};
use crate::media::command::MediaStats;
use std::time::Instant;

impl Session<'_> {
    pub(super) fn handle_client(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Event { engine, at, event } => {
                let time = clock::stamp(self.epoch, at);
                let around = self.around(&event);
                let accounts: Vec<String> = self.accounts.iter().map(|a| a.name.clone()).collect();
                let own = self.phone() == Some(engine);
                // The PBX inside `try` is not what the user asked for.
                if own || self.console.verbose > 0 || matches!(event, Event::Stopped) {
                    self.console.event(&event, &time, &accounts, &around);
                }
                if matches!(event, Event::Stopped) {
                    self.handle_stopped(engine);
                } else if own {
                    self.handle_event(event, &around);
                }
            }
            ClientEvent::Reply { ticket, result } => self.handle_reply(ticket, result),
            ClientEvent::Lagged { engine, missed, snapshot } => {
                self.console.remark(&format!("  {missed} events were missed"));
                if self.phone() == Some(engine) {
                    self.catch_up(&snapshot);
                }
            }
            ClientEvent::Fault { .. } => {
                let failure = Failure::new("bug").with("cause", "an engine panicked; it goes on");
                self.console.failure(&failure, &Facts::new(), false);
            }
        }
    }

    pub(super) fn handle_stopped(&mut self, engine: EngineId) {
        self.engines.retain(|e| *e != engine);
        match self.stopping {
            None => self.stopping = Some((Exit::Panic, Instant::now() + GRACE)),
            Some(_) => {
                self.send(Command::Stop);
            }
        }
    }

    pub(super) fn handle_reply(&mut self, ticket: Ticket, result: Result<Reply, CommandError>) {
        match result {
            Ok(Reply::Call(call)) if self.dial_ticket == Some(ticket) => self.dialled = Some(call),
            Ok(Reply::Call(_) | Reply::Ok | Reply::Snapshot(_)) => {}
            Err(error) => {
                let failure = match &error {
                    CommandError::BadTarget { target, reason } => {
                        Failure::new("usage.target").with("target", target).with("cause", reason)
                    }
                    CommandError::TooManyCalls { .. } => Failure::new("call.too-many").with("cause", error.to_string()),
                    CommandError::NoSuchCall(_)
                    | CommandError::NoSuchAccount(_)
                    | CommandError::WrongState { .. }
                    | CommandError::BadDigit(_)
                    | CommandError::BadCodec(_)
                    | CommandError::BadStatus(_)
                    | CommandError::NoTransfer(_)
                    | CommandError::NotSupported => {
                        let what = match self.goal {
                            Goal::Call { .. } => "the call",
                            Goal::Ping { .. } => "the ping",
                            Goal::Listen { .. } | Goal::Register { .. } | Goal::Pbx => "the command",
                        };
                        Failure::new("usage.argument")
                            .with("what", what)
                            .with("value", "done")
                            .with("cause", error.to_string())
                    }
                };
                if self.dial_ticket == Some(ticket) || matches!(self.goal, Goal::Ping { .. }) {
                    self.fail(&failure, &Facts::new());
                } else if self.stopping.is_none() {
                    self.console.remark(&format!("  {error}"));
                }
            }
        }
    }

    /// Events were missed: live calls are taken over, the others are over.
    pub(super) fn catch_up(&mut self, snapshot: &Snapshot) {
        let live: Vec<CallHandle> = snapshot.calls.iter().map(|c| c.call).collect();
        let dead: Vec<CallHandle> = self.calls.keys().copied().filter(|c| !live.contains(c)).collect();
        for call in dead {
            self.calls.remove(&call);
            if self.dialled == Some(call) {
                self.stop(Exit::Done);
            }
        }
        for call in &snapshot.calls {
            if call.incoming && call.state == "incoming" && !self.calls.contains_key(&call.call) {
                self.ring(call.call, call.peer.clone(), None);
            }
        }
    }

    pub(super) fn ring(&mut self, call: CallHandle, peer: String, account: Option<AccountId>) {
        let now = Instant::now();
        let delay = match &self.goal {
            Goal::Listen { auto_answer, .. } => auto_answer.delay(account),
            Goal::Call { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
        };
        let answer_at = delay.map(|delay| now + delay);
        self.calls.insert(call, Seen { answer_at, account, ..Seen::new(peer, true, now) });
    }

    pub(super) fn handle_event(&mut self, event: Event, around: &Facts) {
        match event {
            Event::Registered { account, contact, expires, transport, refreshed } => {
                let contact = format!("{contact} over {}", transport.to_uppercase());
                self.registered(account, &contact, expires, refreshed)
            }
            Event::RegistrationFailed { account, failure, retry_s } => {
                let last = self.stopping.is_none() && self.one_shot();
                let exit = self.console.failure(&failure, around, last);
                if last {
                    self.stop(exit);
                } else if let Some(seconds) = retry_s {
                    self.console.remark(&format!("  {} is tried again in {seconds} s", self.account(account).name));
                }
            }
            Event::Unregistered { account } => {
                let name = self.account(account).name;
                self.console.progress(&format!("  unregistered  {name}"));
            }
            Event::CallOutgoing { call, account, to } => {
                let from = account.map(|a| self.account(a));
                let from = from.map_or_else(String::new, |a| format!(" from {}, account \"{}\"", a.user, a.name));
                self.console.progress(&format!("  calling  {}{from}", Console::safe(&to)));
                self.calls.insert(call, Seen::new(to, false, Instant::now()));
            }
            Event::CallForwarded { call, from, to, reason } => {
                if let Some(seen) = call.and_then(|call| self.calls.get_mut(&call)) {
                    seen.forwarded = true;
                }
                let why = reason.replace('-', " ");
                self.console.progress(&format!(
                    "  forwarded {} to {} ({})",
                    Console::safe(&from),
                    Console::safe(&to),
                    Console::safe(&why)
                ));
            }
            Event::CallIdentity { identity, .. } => {
                self.console.progress(&format!("  with     {}", Console::safe(&identity)));
            }
            Event::CallIncoming { call, account, from, display, caller, .. } => {
                let uri = Console::safe(&from);
                let who = display
                    .filter(|d| !d.is_empty())
                    .map_or_else(|| uri.clone(), |name| format!("{} ({uri})", Console::safe(&name)));
                let keys = match (self.keys, self.talking().is_some()) {
                    (false, _) => "",
                    (true, false) => "   a answer  r reject",
                    (true, true) => "   a answer and hold the other  r reject",
                };
                self.console.progress(&format!("  incoming {who}, call {call}{keys}"));
                for line in about(&caller) {
                    self.console.progress(&line);
                }
                self.ring(call, from, account);
            }
            Event::CallRinging { after_ms, .. } => {
                self.console.progress(&format!("  ringing  {} s", seconds(after_ms)));
            }
            Event::CallAnswered { call, after_ms, audio, .. } => self.answered(call, after_ms, audio),
            Event::CallChanged { call, audio, held, held_by_peer } => {
                let before = self.calls.get_mut(&call).map(|seen| seen.note_hold(held, held_by_peer));
                let word = match (held, held_by_peer) {
                    (true, false) => "on hold",
                    (true, true) => "on hold on both sides",
                    (false, true) => "held by them",
                    (false, false) if before == Some(true) => "resumed",
                    (false, false) => "changed",
                };
                let which = self.which(call);
                self.console.progress(&format!("  {word}   {}{which}", sound(audio.as_ref())));
                if let (Some(seen), Some(audio)) = (self.calls.get_mut(&call), &audio) {
                    seen.view.stats.codec.clone_from(&audio.codec);
                }
                if !held && before == Some(true) {
                    self.current = Some(call);
                }
                self.paint();
            }
            Event::CallChangeRefused { call, failure } => {
                if let Some(seen) = self.calls.get_mut(&call) {
                    seen.hold_wanted = seen.held;
                }
                self.console.failure(&failure, around, false);
            }
            Event::Transfer { to, state, code, failure, .. } => self.transfer_news(&to, state, code, failure, around),
            Event::TransferAsked { call, to, by, attended, waits_s } => {
                self.transfer_asked(call, &to, by, attended, waits_s);
            }
            Event::CallReplaced { call, new_call, account, from, display } => {
                let who = display.filter(|name| !name.is_empty()).unwrap_or_else(|| from.clone());
                self.console.progress(&format!("  replaced by a call with {}", Console::safe(&who)));
                let old = self.calls.get(&call);
                let incoming = old.is_some_and(|seen| seen.incoming);
                let mut seen = Seen { account, moved_here: true, ..Seen::new(from, incoming, Instant::now()) };
                if let Some(old) = old {
                    seen.hold_wanted = old.hold_wanted;
                    seen.view.muted = old.view.muted;
                }
                self.calls.insert(new_call, seen);
                self.moved.insert(call, new_call);
            }
            Event::TransferAnswered { call, accepted, new_call } => self.transfer_answered(call, accepted, new_call),
            Event::CallEnded { call, by, code, failure, reason, duration_ms, stats } => {
                self.ended(call, by, code, failure, reason, duration_ms, stats.map(|s| *s), around);
            }
            Event::DtmfReceived { digit, duration_ms, .. } => {
                self.console.progress(&format!("  digit    {digit} ({duration_ms} ms)"));
            }
            Event::DtmfSent { .. } => {
                if self.console.verbose > 0 {
                    self.console.progress("  digits   sent");
                }
            }
            Event::SourceEnded { .. } => {
                if self.console.verbose > 0 {
                    self.console.progress("  played   to its end");
                }
            }
            Event::Stats { call, audio } => self.figures(call, &audio),
            Event::MediaWarning { call, failure } => {
                if let Some(seen) = self.calls.get_mut(&call).filter(|_| failure.slug == "media.silent-microphone") {
                    seen.view.silent = true;
                }
                self.console.failure(&failure, around, false);
            }
            Event::Pong { result, .. } => self.pong(result, around),
            Event::PbxBinding { user, contact, expires } => {
                let what =
                    if expires > 0 { format!("for {expires} s at {}", Console::safe(&contact)) } else { "gone".into() };
                self.console.progress(&format!("  phone    {} {what}", Console::safe(&user)));
            }
            Event::PbxCall { from, to, state, code } => {
                let code = code.map_or_else(String::new, |c| format!(" ({c})"));
                let (from, to) = (Console::safe(&from), Console::safe(&to));
                self.console.progress(&format!("  call     {from} → {to} {state}{code}"));
            }
            Event::Stopped => {}
        }
    }

    /// Whether a failed registration ends the run.
    pub(super) fn one_shot(&self) -> bool {
        match &self.goal {
            Goal::Register { once, .. } => *once,
            Goal::Call { after_register, .. } => *after_register,
            Goal::Listen { .. } | Goal::Ping { .. } | Goal::Pbx => false,
        }
    }

    pub(super) fn registered(&mut self, account: AccountId, contact: &str, expires: u32, refreshed: bool) {
        let AccountNames { name, user, server, .. } = self.account(account);
        if refreshed {
            if self.console.verbose > 0 {
                self.console.progress(&format!("  registered again  {name}, for {expires} s"));
            }
            return;
        }
        self.console
            .progress(&format!("  registered {user} at {server} for {expires} s, contact {}", Console::safe(contact)));
        self.registered += 1;
        match &self.goal {
            Goal::Register { accounts, once: true } if self.registered >= *accounts => self.stop(Exit::Done),
            Goal::Call { after_register: true, .. } if self.registered == 1 => self.dial(),
            Goal::Call { .. } | Goal::Register { .. } | Goal::Listen { .. } | Goal::Ping { .. } | Goal::Pbx => {}
        }
    }

    pub(super) fn answered(&mut self, call: CallHandle, after_ms: u64, audio: Option<AudioInfo>) {
        self.console.progress(&format!("  answered {} s   {}", seconds(after_ms), sound(audio.as_ref())));
        let (mut digits, mut duration, mut target) = (None, None, None);
        if let Goal::Call { dtmf, duration: limit, transfer, .. } = &self.goal {
            (digits, duration) = (dtmf.clone(), *limit);
            target = transfer.clone().filter(|_| self.dialled.is_none_or(|dialled| dialled == call));
        }
        let now = Instant::now();
        if let Some(seen) = self.calls.get_mut(&call) {
            seen.answered = Some(now);
            // One that takes the place of a call on hold is on hold itself.
            if !seen.hold_wanted {
                self.current = Some(call);
            }
            seen.answer_at = None;
            seen.hang_up_at = duration.map(|d| now + d);
            seen.view.stats.codec = audio.as_ref().map(|a| a.codec.clone()).unwrap_or_default();
        }
        (self.outcome.answered_ms, self.outcome.audio) = (Some(after_ms), audio);
        if let Some(digits) = digits {
            self.send(Command::Dtmf { call, digits });
        }
        if let Some(target) = target {
            self.send(Command::Transfer { call, target });
        }
    }

    pub(super) fn figures(&mut self, call: CallHandle, stats: &MediaStats) {
        self.outcome.rtt_ms = stats.rtt_ms.or(self.outcome.rtt_ms);
        self.outcome.mos = stats.mos.or(self.outcome.mos);
        let Some(seen) = self.calls.get_mut(&call) else { return };
        // Not for ever: it may have been switched on since.
        seen.view.silent &= stats.mic_db.is_none_or(|db| db <= -95.0);
        seen.view.stats = stats.clone();
        let time = seen.answered.map_or(0, |at| at.elapsed().as_secs());
        let due = self.console.verbose > 0 && !self.console.is_live() && seen.told.elapsed() >= TELL;
        if due {
            seen.told = Instant::now();
            self.console.progress(&format!("  {} {}", minutes(time), figures(stats)));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the event")]
    pub(super) fn ended(
        &mut self,
        call: CallHandle,
        by: EndedBy,
        code: Option<u16>,
        failure: Option<Failure>,
        reason: Option<String>,
        duration_ms: Option<u64>,
        stats: Option<MediaStats>,
        around: &Facts,
    ) {
        let seen = self.calls.remove(&call);
        let answered = duration_ms.is_some();
        if let Some(stats) = &stats {
            self.outcome.rtt_ms = stats.rtt_ms.or(self.outcome.rtt_ms);
            self.outcome.mos = stats.mos.or(self.outcome.mos);
        }
        if let Some(ms) = duration_ms {
            let who = match by {
                EndedBy::Local => "by you",
                EndedBy::Remote => "by them",
                EndedBy::Fault => "by a fault",
            };
            let time = format!("{}.{}", minutes(ms / 1000), ms % 1000 / 100);
            let shown = stats.as_ref().map_or_else(String::new, |s| format!("    {}", figures(s)));
            let why = reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", Console::safe(reason)));
            self.console.progress(&format!("  ended    {who} after {time}{why}{shown}"));
        }
        self.outcome.stats = stats;
        let own = match &self.goal {
            Goal::Call { .. } => self.dialled.is_none_or(|dialled| dialled == call),
            Goal::Listen { once, .. } => *once && seen.as_ref().is_none_or(|s| s.incoming || s.moved_here),
            Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => false,
        };
        let last = own && !self.has_moved(call) && self.stopping.is_none();
        let exit = match (failure, code) {
            (Some(failure), _) if seen.as_ref().is_some_and(|s| s.incoming) && failure.slug == "call.cancelled" => {
                // Not a failure of ours: somebody called and gave up.
                self.console.progress(&format!("  missed   {}", around.get("peer").map_or("a call", String::as_str)));
                Some(Exit::NotAnswered)
            }
            (Some(failure), _) => Some(self.console.failure(&failure, around, last)),
            (None, Some(_)) if seen.as_ref().is_some_and(|seen| seen.forwarded) => Some(Exit::NotAnswered),
            (None, Some(code)) if !answered && code >= 300 => {
                let failure = Failure::new(texts::of_status(code)).with_status(code, "");
                Some(self.console.failure(&failure, around, last))
            }
            (None, _) if answered => None,
            (None, _) => Some(Exit::NotAnswered),
        };
        if last {
            self.stop(exit.unwrap_or(Exit::Done));
        }
    }

    pub(super) fn pong(&mut self, result: Result<crate::api::PongInfo, Failure>, around: &Facts) {
        match result {
            Ok(info) => {
                let server = info.server.as_deref().map_or_else(|| "server unknown".into(), Console::safe);
                let codecs =
                    if info.codecs.is_empty() { "not told".to_owned() } else { Console::safe(&info.codecs.join(", ")) };
                self.console.say(&format!(
                    "  answered {} {} in {} ms over {}",
                    info.code,
                    Console::safe(&info.reason),
                    info.rtt_ms,
                    info.transport.to_uppercase()
                ));
                self.console.say(&format!("  server   {server}\n  codecs   {codecs}"));
                if !info.allow.is_empty() {
                    self.console.say(&format!("  allows   {}", Console::safe(&info.allow.join(", "))));
                }
                // Any answer proves that somebody is there; a refusal is told by its code.
                self.stop(if info.code < 300 { Exit::Done } else { Exit::for_status(info.code) });
            }
            Err(failure) => self.fail(&failure, around),
        }
    }
}
