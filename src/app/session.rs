//! [`Session`]: one run of the program as a client of its engines: what it wants, what it shows, and how it ends.
//!
//! ```text
//!   Working ──goal reached, failed, or first signal──▶ Stopping(exit) ──every engine stopped, or 2 s──▶ exit
//! ```

use super::clock;
use super::console::Console;
use super::exit::Exit;
use super::input::{Input, Inputs};
use super::status::{View, clock as minutes, count};
use super::texts::{self, Facts};
use crate::api::{AudioInfo, AudioRoute, Command, CommandError, EndedBy, Event, Failure, Reply, Snapshot};
use crate::driver::{ClientEvent, Commander, EngineId, Ticket};
use crate::id::{AccountId, CallHandle};
use crate::media::command::{AudioSink, AudioSource, MediaStats};
use crate::time::Epoch;
use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long a polite end may take.
const GRACE: Duration = Duration::from_secs(2);
/// How often the live line is repainted.
const REPAINT: Duration = Duration::from_millis(500);
/// How often `-v` tells the figures where there is no live line.
const TELL: Duration = Duration::from_secs(10);

/// What the run is for.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// One call.
    Call {
        target: String,
        account: Option<AccountId>,
        sound: Sound,
        dtmf: Option<String>,
        duration: Option<Duration>,
        /// Register first (`try`).
        after_register: bool,
    },
    /// Calls of others.
    Listen { sound: Sound, auto_answer: Option<Duration>, once: bool },
    /// A registration.
    Register { accounts: usize, once: bool },
    /// OPTIONS.
    Ping { target: String },
    /// The PBX alone.
    Pbx,
}

/// Source and sink of each call; `{call}` in a file name becomes the call's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sound {
    pub(crate) source: Option<AudioSource>,
    pub(crate) sink: Option<AudioSink>,
    /// The account's own, for what is not said here.
    pub(crate) base: Option<AudioRoute>,
}

impl Sound {
    /// Whether calls need a route of their own.
    pub(crate) fn is_own(&self) -> bool {
        self.source.is_some() || self.sink.is_some() || self.base.as_ref().is_some_and(|b| has_name(&b.sink))
    }

    fn route(&self, call: &str) -> Option<AudioRoute> {
        let base = self.base.clone().filter(|_| self.is_own())?;
        let source = self.source.clone().unwrap_or(base.source);
        let sink = match self.sink.clone().unwrap_or(base.sink) {
            AudioSink::File(path) => AudioSink::File(path.replace("{call}", call)),
            AudioSink::DeviceAndFile(device, path) => AudioSink::DeviceAndFile(device, path.replace("{call}", call)),
            other @ (AudioSink::None | AudioSink::Device(_)) => other,
        };
        Some(AudioRoute { source, sink })
    }
}

fn has_name(sink: &AudioSink) -> bool {
    match sink {
        AudioSink::File(path) | AudioSink::DeviceAndFile(_, path) => path.contains("{call}"),
        AudioSink::None | AudioSink::Device(_) => false,
    }
}

/// What the last call of a run was like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) answered_ms: Option<u64>,
    pub(crate) audio: Option<AudioInfo>,
    pub(crate) stats: Option<MediaStats>,
    /// The last figures that were known, which `stats` may lack.
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) mos: Option<f64>,
}

/// One call as the session knows it.
#[derive(Debug, Clone)]
struct Seen {
    peer: String,
    incoming: bool,
    answered: Option<Instant>,
    view: View,
    /// Our own answer is due.
    answer_at: Option<Instant>,
    /// We end it.
    hang_up_at: Option<Instant>,
    told: Instant,
}

/// Names around the failures of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccountNames {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) server: String,
}

/// One run.
pub(crate) struct Session<'a> {
    pub(crate) console: &'a mut Console,
    pub(crate) commander: Commander,
    pub(crate) epoch: Epoch,
    /// The phone first, then the PBX if there is one; stopped in this order.
    pub(crate) engines: Vec<EngineId>,
    pub(crate) accounts: Vec<AccountNames>,
    pub(crate) goal: Goal,
    pub(crate) outcome: Outcome,
    calls: BTreeMap<CallHandle, Seen>,
    dialled: Option<CallHandle>,
    dial_ticket: Option<Ticket>,
    registered: usize,
    stopping: Option<(Exit, Instant)>,
    repaint_at: Instant,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        console: &'a mut Console,
        commander: Commander,
        epoch: Epoch,
        engines: Vec<EngineId>,
        accounts: Vec<AccountNames>,
        goal: Goal,
    ) -> Self {
        Self {
            console,
            commander,
            epoch,
            engines,
            accounts,
            goal,
            outcome: Outcome::default(),
            calls: BTreeMap::new(),
            dialled: None,
            dial_ticket: None,
            registered: 0,
            stopping: None,
            repaint_at: Instant::now(),
        }
    }

    /// Works until the goal is reached or the run is ended.
    pub(crate) fn run(&mut self, inputs: &Inputs) -> Exit {
        self.start();
        loop {
            let now = Instant::now();
            self.handle_deadlines(now);
            if let Some((exit, until)) = self.stopping
                && (self.engines.is_empty() || now >= until)
            {
                self.console.clear();
                // It is gone when all engines have stopped.
                let _ = self.commander.shut_down();
                return exit;
            }
            let input = match self.deadline() {
                Some(at) => inputs.queue.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => inputs.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match input {
                Ok(Input::Driver(event)) => self.handle_client(*event),
                Ok(Input::Interrupt) => self.stop(Exit::Interrupted),
                Ok(Input::Terminate) => {
                    let exit = if matches!(self.goal, Goal::Pbx) { Exit::Done } else { Exit::Terminated };
                    self.stop(exit);
                }
                Ok(Input::Key(key)) => self.handle_key(key),
                Ok(Input::Stopped) | Err(RecvTimeoutError::Disconnected) => {
                    self.console.clear();
                    return self.stopping.map_or(Exit::Panic, |(exit, _)| exit);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn phone(&self) -> Option<EngineId> {
        self.engines.first().copied()
    }

    fn send(&mut self, command: Command) -> Option<Ticket> {
        let engine = self.phone()?;
        match self.commander.send(engine, command) {
            Ok(ticket) => Some(ticket),
            Err(error) => {
                self.console.remark(&format!("  {error}"));
                None
            }
        }
    }

    fn start(&mut self) {
        match self.goal.clone() {
            Goal::Call { after_register: false, .. } => self.dial(),
            Goal::Ping { target } => {
                self.send(Command::Ping { target });
            }
            Goal::Call { .. } | Goal::Listen { .. } | Goal::Register { .. } | Goal::Pbx => {}
        }
    }

    fn dial(&mut self) {
        let Goal::Call { target, account, sound, .. } = &self.goal else { return };
        // The first call of an engine is c1.
        let command = Command::Dial { target: target.clone(), account: *account, audio: sound.route("c1") };
        self.dial_ticket = self.send(command);
    }

    /// Begins the end: hangs up, unregisters, and leaves with `exit`.
    fn stop(&mut self, exit: Exit) {
        if self.stopping.is_none() {
            self.stopping = Some((exit, Instant::now() + GRACE));
            self.send(Command::Stop);
        }
    }

    fn fail(&mut self, failure: &Failure, around: &Facts) {
        let exit = self.console.failure(failure, around, true);
        self.stop(exit);
    }

    // Deadlines.

    fn deadline(&self) -> Option<Instant> {
        let calls = self.calls.values().flat_map(|c| [c.answer_at, c.hang_up_at].into_iter().flatten());
        let paint = (self.console.is_live() && self.talking().is_some()).then_some(self.repaint_at);
        calls.chain(paint).chain(self.stopping.map(|(_, until)| until)).min()
    }

    fn handle_deadlines(&mut self, now: Instant) {
        let due: Vec<CallHandle> = self
            .calls
            .iter()
            .filter(|(_, c)| c.hang_up_at.is_some_and(|at| at <= now))
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            if let Some(seen) = self.calls.get_mut(&call) {
                seen.hang_up_at = None;
            }
            self.send(Command::HangUp { call });
        }
        let due: Vec<CallHandle> =
            self.calls.iter().filter(|(_, c)| c.answer_at.is_some_and(|at| at <= now)).map(|(call, _)| *call).collect();
        for call in due {
            self.answer(call);
        }
        if now >= self.repaint_at && self.console.is_live() {
            self.repaint_at = now + REPAINT;
            self.paint();
        }
    }

    fn talking(&self) -> Option<CallHandle> {
        self.calls.iter().rev().find(|(_, c)| c.answered.is_some()).map(|(call, _)| *call)
    }

    fn paint(&mut self) {
        let Some(call) = self.talking() else { return };
        if let Some(seen) = self.calls.get_mut(&call) {
            seen.view.seconds = seen.answered.map_or(0, |at| at.elapsed().as_secs());
            self.console.paint(&seen.view);
        }
    }

    // Keys.

    fn handle_key(&mut self, key: char) {
        let ringing = self.calls.iter().rev().find(|(_, c)| c.incoming && c.answered.is_none()).map(|(call, _)| *call);
        let last = self.calls.keys().next_back().copied();
        match key.to_ascii_lowercase() {
            'a' => {
                if let Some(call) = ringing {
                    self.answer(call);
                }
            }
            'r' => {
                if let Some(call) = ringing {
                    self.send(Command::Reject { call, code: None });
                }
            }
            'q' | 'b' => match last {
                Some(call) => {
                    self.send(Command::HangUp { call });
                }
                None => self.stop(Exit::Done),
            },
            'm' => {
                if let Some(call) = self.talking()
                    && let Some(seen) = self.calls.get_mut(&call)
                {
                    seen.view.muted = !seen.view.muted;
                    let on = seen.view.muted;
                    self.send(Command::Mute { call, on });
                    self.paint();
                }
            }
            '0'..='9' | '*' | '#' => {
                if let Some(call) = self.talking() {
                    self.send(Command::Dtmf { call, digits: key.to_string() });
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, call: CallHandle) {
        let Some(seen) = self.calls.get_mut(&call) else { return };
        seen.answer_at = None;
        let audio = match &self.goal {
            Goal::Listen { sound, .. } => sound.route(&call.to_string()),
            Goal::Call { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
        };
        self.send(Command::Answer { call, audio });
    }

    // What the driver says.

    fn handle_client(&mut self, event: ClientEvent) {
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

    fn handle_stopped(&mut self, engine: EngineId) {
        self.engines.retain(|e| *e != engine);
        match self.stopping {
            None => self.stopping = Some((Exit::Panic, Instant::now() + GRACE)),
            Some(_) => {
                self.send(Command::Stop);
            }
        }
    }

    fn handle_reply(&mut self, ticket: Ticket, result: Result<Reply, CommandError>) {
        match result {
            Ok(Reply::Call(call)) if self.dial_ticket == Some(ticket) => self.dialled = Some(call),
            Ok(Reply::Call(_) | Reply::Ok | Reply::Snapshot(_)) => {}
            Err(error) => {
                let failure = match &error {
                    CommandError::BadTarget { target, reason } => {
                        Failure::new("usage.target").with("target", target).with("cause", reason)
                    }
                    CommandError::TooManyCalls { .. } => Failure::new("call.too-many").with("cause", error.to_string()),
                    _ => {
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
    fn catch_up(&mut self, snapshot: &Snapshot) {
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
                self.ring(call.call, call.peer.clone());
            }
        }
    }

    /// Names that the words for a failure may need.
    fn around(&self, event: &Event) -> Facts {
        let account = match event {
            Event::Registered { account, .. }
            | Event::RegistrationFailed { account, .. }
            | Event::Unregistered { account } => Some(*account),
            _ => match &self.goal {
                Goal::Call { account, .. } => account.or(Some(AccountId(0))),
                Goal::Listen { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
            },
        };
        let mut facts = Facts::new();
        let names = account.and_then(|a| usize::try_from(a.0).ok()).and_then(|n| self.accounts.get(n));
        if let Some(names) = names {
            facts.insert("account".into(), names.name.clone());
            facts.insert("user".into(), names.user.clone());
            facts.insert("server".into(), names.server.clone());
        }
        if let Event::CallEnded { call, .. } | Event::MediaWarning { call, .. } = event
            && let Some(seen) = self.calls.get(call)
        {
            facts.insert("peer".into(), Console::safe(&seen.peer));
            if let Some(at) = seen.answered {
                facts.insert("after".into(), format!(" after {}", minutes(at.elapsed().as_secs())));
            }
        }
        if let (Goal::Call { target, .. } | Goal::Ping { target }, None) = (&self.goal, facts.get("peer")) {
            facts.insert("peer".into(), Console::safe(target));
        }
        if let (Goal::Call { target, .. }, true) = (&self.goal, matches!(event, Event::CallEnded { .. })) {
            facts.insert("peer".into(), Console::safe(target));
        }
        if !facts.contains_key("server")
            && let Goal::Ping { target } | Goal::Call { target, .. } = &self.goal
        {
            facts.insert("server".into(), Console::safe(target));
        }
        facts
    }

    fn ring(&mut self, call: CallHandle, peer: String) {
        let now = Instant::now();
        let answer_at = match &self.goal {
            Goal::Listen { auto_answer: Some(delay), .. } => Some(now + *delay),
            Goal::Listen { .. } | Goal::Call { .. } | Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => None,
        };
        self.calls.insert(call, Seen { answer_at, ..Seen::new(peer, true, now) });
    }

    fn handle_event(&mut self, event: Event, around: &Facts) {
        match event {
            Event::Registered { account, contact, expires, refreshed } => {
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
            Event::CallIncoming { call, from, display, .. } => {
                let name = display.map_or_else(String::new, |d| format!("{} ", Console::safe(&d)));
                let keys = if self.console.is_live() { "   a answer  r reject" } else { "" };
                self.console.progress(&format!("  incoming {call} {name}({}){keys}", Console::safe(&from)));
                self.ring(call, from);
            }
            Event::CallRinging { after_ms, .. } => {
                self.console.progress(&format!("  ringing  {} s", seconds(after_ms)));
            }
            Event::CallAnswered { call, after_ms, audio } => self.answered(call, after_ms, audio),
            Event::CallChanged { call, audio, held_by_peer } => {
                if let Some(seen) = self.calls.get_mut(&call) {
                    seen.view.held = held_by_peer;
                }
                let word = if held_by_peer { "held by them" } else { "changed" };
                self.console.progress(&format!("  {word}   {}", sound(audio.as_ref())));
            }
            Event::CallEnded { call, by, code, failure, duration_ms, stats } => {
                self.ended(call, by, code, failure, duration_ms, stats.map(|s| *s), around);
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
            Event::MediaWarning { failure, .. } => {
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
    fn one_shot(&self) -> bool {
        match &self.goal {
            Goal::Register { once, .. } => *once,
            Goal::Call { after_register, .. } => *after_register,
            Goal::Listen { .. } | Goal::Ping { .. } | Goal::Pbx => false,
        }
    }

    fn account(&self, id: AccountId) -> AccountNames {
        usize::try_from(id.0).ok().and_then(|n| self.accounts.get(n)).cloned().unwrap_or_default()
    }

    fn registered(&mut self, account: AccountId, contact: &str, expires: u32, refreshed: bool) {
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

    fn answered(&mut self, call: CallHandle, after_ms: u64, audio: Option<AudioInfo>) {
        self.console.progress(&format!("  answered {} s   {}", seconds(after_ms), sound(audio.as_ref())));
        let (mut digits, mut duration) = (None, None);
        if let Goal::Call { dtmf, duration: limit, .. } = &self.goal {
            (digits, duration) = (dtmf.clone(), *limit);
        }
        let now = Instant::now();
        if let Some(seen) = self.calls.get_mut(&call) {
            seen.answered = Some(now);
            seen.answer_at = None;
            seen.hang_up_at = duration.map(|d| now + d);
            seen.view.stats.codec = audio.as_ref().map(|a| a.codec.clone()).unwrap_or_default();
        }
        (self.outcome.answered_ms, self.outcome.audio) = (Some(after_ms), audio);
        if let Some(digits) = digits {
            self.send(Command::Dtmf { call, digits });
        }
    }

    fn figures(&mut self, call: CallHandle, stats: &MediaStats) {
        self.outcome.rtt_ms = stats.rtt_ms.or(self.outcome.rtt_ms);
        self.outcome.mos = stats.mos.or(self.outcome.mos);
        let Some(seen) = self.calls.get_mut(&call) else { return };
        seen.view.stats = stats.clone();
        let time = seen.answered.map_or(0, |at| at.elapsed().as_secs());
        let due = self.console.verbose > 0 && !self.console.is_live() && seen.told.elapsed() >= TELL;
        if due {
            seen.told = Instant::now();
            self.console.progress(&format!("  {} {}", minutes(time), figures(stats)));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the event")]
    fn ended(
        &mut self,
        call: CallHandle,
        by: EndedBy,
        code: Option<u16>,
        failure: Option<Failure>,
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
            self.console.progress(&format!("  ended    {who} after {time}{shown}"));
        }
        self.outcome.stats = stats;
        let own = match &self.goal {
            Goal::Call { .. } => self.dialled.is_none_or(|dialled| dialled == call),
            Goal::Listen { once, .. } => *once && seen.is_none_or(|s| s.incoming),
            Goal::Register { .. } | Goal::Ping { .. } | Goal::Pbx => false,
        };
        let last = own && self.stopping.is_none();
        let exit = match (failure, code) {
            (Some(failure), _) => Some(self.console.failure(&failure, around, last)),
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

    fn pong(&mut self, result: Result<crate::api::PongInfo, Failure>, around: &Facts) {
        match result {
            Ok(info) => {
                let server = info.server.as_deref().map_or_else(|| "server unknown".into(), Console::safe);
                let codecs =
                    if info.codecs.is_empty() { "not told".to_owned() } else { Console::safe(&info.codecs.join(", ")) };
                self.console.say(&format!(
                    "  answered {} {} in {} ms",
                    info.code,
                    Console::safe(&info.reason),
                    info.rtt_ms
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

impl Seen {
    fn new(peer: String, incoming: bool, now: Instant) -> Self {
        Self { peer, incoming, answered: None, view: View::default(), answer_at: None, hang_up_at: None, told: now }
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.2}", count(ms) / 1000.0)
}

fn sound(audio: Option<&AudioInfo>) -> String {
    let Some(audio) = audio else { return "no sound".into() };
    let channels = if audio.channels == 1 { "mono" } else { "stereo" };
    // RFC 7587: Opus is always announced with two channels; what we send is mono.
    let channels = if audio.codec == "opus" { "mono" } else { channels };
    let remote = audio.remote.as_ref().map_or_else(String::new, |r| format!(", to {}", Console::safe(r)));
    let guard = audio.srtp.as_deref().unwrap_or("not encrypted");
    format!("{} {} kHz {channels}, {guard}{remote}", audio.codec, f64::from(audio.rate) / 1000.0)
}

/// The figures of a call in one line.
pub(crate) fn figures(s: &MediaStats) -> String {
    let total = s.received + s.lost;
    let share = if total == 0 { 0.0 } else { count(s.lost) / count(total) * 100.0 };
    let mos = s.mos.map_or_else(String::new, |mos| format!(", MOS {mos:.1} (est.)"));
    format!("sent {}, received {}, lost {} ({share:.1}%){mos}", grouped(s.sent), grouped(s.received), grouped(s.lost))
}

/// `2 115`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!([0, 999, 2115, 1_234_567].map(grouped), ["0", "999", "2 115", "1 234 567"]);
    }

    #[test]
    fn each_call_has_a_file_of_its_own() {
        let sound = Sound {
            source: None,
            sink: Some(AudioSink::File("rec/{call}.wav".into())),
            base: Some(AudioRoute { source: AudioSource::Echo, sink: AudioSink::None }),
        };
        let route = sound.route("c7").unwrap();
        assert_eq!(route.sink, AudioSink::File("rec/c7.wav".into()));
        assert_eq!(route.source, AudioSource::Echo);
    }

    #[test]
    fn calls_without_wishes_take_the_sound_of_their_account() {
        let base = Some(AudioRoute { source: AudioSource::Echo, sink: AudioSink::None });
        assert_eq!(Sound { source: None, sink: None, base }.route("c1"), None);
    }
}
