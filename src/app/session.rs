//! [`Session`]: one run of the program as a client of its engines: what it wants, what it shows, and how it ends.
//!
//! ```text
//!   Working ──goal reached, failed, or first signal──▶ Stopping(exit) ──every engine stopped, or 2 s──▶ exit
//! ```

mod events;
mod facts;
mod goal;
mod keys;
mod transfers;
mod words;

use super::console::Console;
use super::exit::Exit;
use super::input::{Input, Inputs};
use super::status::View;
use super::texts::Facts;
use crate::api::{Command, Failure};
use crate::driver::{Commander, EngineId, Ticket};
use crate::id::{AccountId, CallHandle};
use crate::time::Epoch;
pub(crate) use goal::{AccountNames, AutoAnswer, Goal, Outcome, Sound};
use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
pub(crate) use words::figures;

/// How long a polite end may take.
const GRACE: Duration = Duration::from_secs(2);
/// How often the live line is repainted.
const REPAINT: Duration = Duration::from_millis(500);
/// How much longer `try` waits for the first reports of both sides.
const REPORT: Duration = Duration::from_secs(6);
/// How often `-v` tells the figures where there is no live line.
const TELL: Duration = Duration::from_secs(10);

/// One call as the session knows it.
#[derive(Debug, Clone)]
struct Seen {
    peer: String,
    account: Option<AccountId>,
    incoming: bool,
    answered: Option<Instant>,
    /// We hold it.
    held: bool,
    /// We hold it, or have asked for that.
    hold_wanted: bool,
    view: View,
    /// Our own answer is due.
    answer_at: Option<Instant>,
    /// We end it.
    hang_up_at: Option<Instant>,
    told: Instant,
    /// It was placed in place of another one, as the far end of that one wished.
    moved_here: bool,
    /// It was sent on to somebody else.
    forwarded: bool,
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
    /// The call that keys are about.
    current: Option<CallHandle>,
    dial_ticket: Option<Ticket>,
    registered: usize,
    stopping: Option<(Exit, Instant)>,
    repaint_at: Instant,
    /// Single keys are read.
    keys: bool,
    /// What is being typed, to hand a call over.
    typed: Option<String>,
    /// The call whose far end wants a transfer and waits for the user.
    asked: Option<CallHandle>,
    /// Calls that go on as another one.
    moved: BTreeMap<CallHandle, CallHandle>,
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
            current: None,
            dial_ticket: None,
            registered: 0,
            stopping: None,
            repaint_at: Instant::now(),
            keys: false,
            typed: None,
            asked: None,
            moved: BTreeMap::new(),
        }
    }

    /// Works until the goal is reached or the run is ended.
    pub(crate) fn run(&mut self, inputs: &Inputs) -> Exit {
        self.keys = inputs.keys;
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
                Ok(Input::Terminate) => self.stop(Exit::Terminated),
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
        let command = Command::Dial { target: target.clone(), account: *account, audio: sound.route("c1", *account) };
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
            let wait = self.waits_for_rtcp(call, now);
            if let Some(seen) = self.calls.get_mut(&call) {
                seen.hang_up_at = wait.then(|| now + REPAINT);
            }
            if !wait {
                self.send(Command::HangUp { call });
            }
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

    /// `try` tells the round trip, which is known once both sides have reported: up to 8 s after the start (RFC 3550 §6.2).
    fn waits_for_rtcp(&self, call: CallHandle, now: Instant) -> bool {
        let Goal::Call { after_register: true, duration: Some(duration), .. } = self.goal else { return false };
        let answered = self.calls.get(&call).and_then(|seen| seen.answered);
        self.outcome.rtt_ms.is_none() && answered.is_some_and(|at| now < at + duration + REPORT)
    }

    /// The call that keys are about: the one that was answered or resumed last, else any that is up.
    fn talking(&self) -> Option<CallHandle> {
        let up = |call: &CallHandle| self.calls.get(call).is_some_and(|seen| seen.answered.is_some());
        self.current.filter(up).or_else(|| self.calls.keys().rev().copied().find(up))
    }

    /// Names a call where there are several.
    fn which(&self, call: CallHandle) -> String {
        if self.calls.len() > 1 { format!(", call {call}") } else { String::new() }
    }

    fn paint(&mut self) {
        if self.typed.is_some() {
            return;
        }
        let Some(call) = self.talking() else { return };
        if let Some(seen) = self.calls.get_mut(&call) {
            seen.view.seconds = seen.answered.map_or(0, |at| at.elapsed().as_secs());
            self.console.paint(&seen.view);
        }
    }
}

impl Seen {
    /// Takes over what holds now; whether it was on hold before, on either side.
    fn note_hold(&mut self, held: bool, held_by_peer: bool) -> bool {
        let before = self.view.held;
        (self.held, self.hold_wanted, self.view.held) = (held, held, held || held_by_peer);
        before
    }

    fn new(peer: String, incoming: bool, now: Instant) -> Self {
        Self {
            peer,
            account: None,
            incoming,
            answered: None,
            held: false,
            hold_wanted: false,
            view: View::default(),
            answer_at: None,
            hang_up_at: None,
            told: now,
            moved_here: false,
            forwarded: false,
        }
    }
}
