//! What the user changes in a call that is up: hold and resume (RFC 3264 §8.4, RFC 6337 §5.3), one re-INVITE at a time.
//!
//! ```text
//!   None ──the user wants something else──▶ Due ──offer──▶ Asked ──answer──▶ None
//!                                            ▲   491, 500 + Retry-After │ └──refused──▶ None, as it was before
//!                                            └──────────────────────────┘
//! ```
//! An answer to an offer of the peer's says what we want too, so it may make our own offer needless.

use super::Ua;
use super::call::CallCommand;
use super::line::{Line, Stage};
use super::progress::media_of;
use crate::api::{CommandError, Event, Reply};
use crate::engine::Output;
use crate::id::CallHandle;
use crate::media::command::MediaCommand;
use crate::sdp::plan::Direction;
use crate::sip::message::StatusCode;
use crate::time::{Duration, Instant};

/// How soon a change is tried again while one of the peer's is under way.
const BUSY: Duration = Duration::from_millis(100);
/// How often a change that collides is offered before the peer counts as unwilling.
const MAX_TRIES: u8 = 10;

/// The session as the user wants it, and how far the peer knows.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The user wants the peer on hold.
    hold: bool,
    /// Our latest description said so.
    said: bool,
    /// It is so.
    held: bool,
    /// The peer wants us on hold.
    held_by_peer: bool,
    /// The user wants to send silence.
    muted: bool,
    /// What media was told last: nothing of ours may be heard.
    silent: bool,
    /// We have moved: the peer does not know our new address yet.
    moved: bool,
    asking: Asking,
    /// The user wants other codecs, and the peer does not know or has not agreed.
    codecs: bool,
    /// The offer only says again what holds (RFC 4028).
    refreshing: bool,
    tries: u8,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Asking {
    #[default]
    Nothing,
    /// An offer is to go out.
    Due(Instant),
    /// It is out, in this direction.
    Asked(Direction),
}

impl Changes {
    /// The offer that goes out now, whoever asked for it: a stream that the peer holds already becomes inactive (RFC 3264
    /// §8.4). A resumed one is offered both ways; a peer that still holds us says so in its answer.
    pub(super) const fn begin_offer(&mut self) -> Direction {
        let direction = match (self.hold, self.held_by_peer) {
            (false, _) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (true, true) => Direction::Inactive,
        };
        (self.asking, self.said) = (Asking::Asked(direction), self.hold);
        direction
    }

    /// The direction that we answer with, as far as the offer allows it.
    pub(super) const fn answered(&self) -> Direction {
        if self.hold { Direction::SendOnly } else { Direction::SendRecv }
    }

    /// Our answer goes out now.
    pub(super) const fn begin_answer(&mut self) {
        self.said = self.hold;
    }

    /// Our offer came to nothing.
    pub(super) fn withdraw(&mut self) {
        if let Asking::Asked(_) = self.asking {
            self.said = self.held;
            self.asking = self.due(Instant::ZERO);
        }
    }

    /// The session is to be offered again as it is.
    pub(super) fn refresh(&mut self, now: Instant) {
        if self.asking == Asking::Nothing {
            (self.asking, self.refreshing) = (Asking::Due(now), true);
        }
    }

    /// The peer is to be told another address of ours.
    pub(super) const fn move_on(&mut self, now: Instant) {
        (self.moved, self.refreshing) = (true, false);
        self.tries = 0;
        self.asking = Asking::Due(now);
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the user wants the peer on hold, be it so already or not.
    pub(super) const fn wants_hold(&self) -> bool {
        self.hold
    }

    /// An offer is out, or is to go out.
    pub(super) fn is_asking(&self) -> bool {
        self.asking != Asking::Nothing
    }

    /// The user's wishes about this call, for one that takes its place; media has not been told of them.
    pub(super) fn bequeath(&self) -> Self {
        Self { hold: self.hold, muted: self.muted, silent: self.hold || self.muted, ..Self::default() }
    }

    /// A call that is placed by hand begins without hold.
    pub(super) const fn unhold(&mut self) {
        (self.hold, self.silent) = (false, self.muted);
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match self.asking {
            Asking::Due(at) => Some(at),
            Asking::Nothing | Asking::Asked(_) => None,
        }
    }

    /// An exchange has come to its end; `theirs` is the direction that the peer named, seen from it.
    fn settle(&mut self, now: Instant, theirs: Option<Direction>, ours: bool) {
        // Inactive can only be answered by inactive, whether or not the peer still holds us.
        if !ours || self.asking != Asking::Asked(Direction::Inactive) {
            self.held_by_peer = !theirs.is_none_or(Direction::receives);
        }
        // Our answer alone does not resume what an offer that heeds our hold leaves as it is.
        let resumed = ours || theirs.is_none_or(Direction::sends);
        self.held = self.said || (self.held && !resumed);
        self.codecs &= !ours;
        self.moved = false;
        self.asking = self.due(now);
        self.tries = 0;
    }

    const fn due(&self, at: Instant) -> Asking {
        if self.hold == self.held && !self.codecs && !self.moved { Asking::Nothing } else { Asking::Due(at) }
    }
}

impl Line {
    /// The peer's side of a description in force, judged anew. `ours`: the offer was ours.
    pub(super) fn settle_changes(&mut self, now: Instant, ours: bool) {
        let theirs = self.remote_direction();
        if ours {
            self.settle_codecs(true);
        }
        self.changes.settle(now, theirs, ours);
    }
}

impl Ua {
    /// Puts the peer on hold, or takes it back.
    pub(super) fn hold(&mut self, now: Instant, call: CallHandle, on: bool) -> Result<Reply, CommandError> {
        self.talking(call, if on { "held" } else { "resumed" })?;
        if !on {
            self.hold_others(now, call);
        }
        self.keep_held(call);
        self.want_hold(now, call, on);
        if self.lines.get(&call).is_some_and(|line| !line.changes.is_asking()) {
            // A transfer that waits for a hold which the user has taken back waits no longer.
            self.refer_anyway(now, call);
        }
        Ok(Reply::Ok)
    }

    /// One call is active: the others that are up are held.
    pub(super) fn hold_others(&mut self, now: Instant, active: CallHandle) {
        self.hold_all_but(now, active, None);
    }

    /// The same, and `spared` stays as it is.
    pub(super) fn hold_all_but(&mut self, now: Instant, active: CallHandle, spared: Option<CallHandle>) {
        if !self.config.call.hold_others {
            return;
        }
        let up = |line: &Line| matches!(line.stage, Stage::Talking | Stage::Answered);
        let others = self.lines.iter().filter(|(call, line)| **call != active && Some(**call) != spared && up(line));
        let others: Vec<_> = others.map(|(call, _)| *call).collect();
        for call in others {
            self.keep_held(call);
            self.want_hold(now, call, true);
        }
    }

    /// Goes on with other codecs.
    pub(super) fn change_codecs(
        &mut self,
        now: Instant,
        call: CallHandle,
        names: &[String],
    ) -> Result<Reply, CommandError> {
        self.talking(call, "given another codec")?;
        let Some(line) = self.lines.get_mut(&call) else { return Err(CommandError::NoSuchCall(call)) };
        line.choose_codecs(names).map_err(CommandError::BadCodec)?;
        let changes = &mut line.changes;
        (changes.codecs, changes.tries, changes.refreshing) = (true, 0, false);
        if !matches!(changes.asking, Asking::Asked(_)) {
            changes.asking = Asking::Due(now);
        }
        self.offer_change(now, call);
        Ok(Reply::Ok)
    }

    pub(super) fn want_hold(&mut self, now: Instant, call: CallHandle, on: bool) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        if line.changes.hold == on {
            return;
        }
        line.changes.hold = on;
        (line.changes.tries, line.changes.refreshing) = (0, false);
        match line.changes.asking {
            Asking::Asked(_) => {}
            // Nothing, if the user has thought better of it before the peer was told.
            Asking::Nothing | Asking::Due(_) => line.changes.asking = line.changes.due(now),
        }
        self.fit_mute(call);
        self.offer_change(now, call);
    }

    /// Sends silence, or the source again.
    pub(super) fn mute(&mut self, call: CallHandle, on: bool) {
        if let Some(line) = self.lines.get_mut(&call) {
            line.changes.muted = on;
            self.fit_mute(call);
        }
    }

    /// What is held hears nothing of us: silence is sent, so that addresses stay open and the peer sees that we live.
    pub(super) fn fit_mute(&mut self, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        let silent = line.changes.muted || line.changes.hold;
        if std::mem::replace(&mut line.changes.silent, silent) != silent {
            self.out.push_back(Output::Media(media_of(call), MediaCommand::Mute(silent)));
        }
    }

    /// Tells media again that nothing of ours may be heard, where it is not: its session has just been opened.
    pub(super) fn repeat_mute(&mut self, call: CallHandle) {
        if self.lines.get(&call).is_some_and(|line| line.changes.silent) {
            self.out.push_back(Output::Media(media_of(call), MediaCommand::Mute(true)));
        }
    }

    /// Offers what the user wants, if that is due and the call is up.
    pub(super) fn offer_change(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        if !matches!(line.stage, Stage::Talking) || line.changes.deadline().is_none_or(|at| at > now) {
            return;
        }
        // A change of the peer's is under way, or its ACK is: after it.
        let again = Asking::Due(now + BUSY);
        let refreshing = line.changes.refreshing;
        let Some(body) = line.offer_change() else {
            line.changes.asking = again;
            return;
        };
        let told = self.with_calls(|calls, core| calls.command(now, core, call, CallCommand::Offer { body }));
        if told.is_err()
            && let Some(line) = self.lines.get_mut(&call)
        {
            line.roll_back();
            (line.changes.asking, line.changes.refreshing) = (again, refreshing);
        }
    }

    /// The peer has agreed to our change.
    pub(super) fn change_agreed(&mut self, now: Instant, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        line.settle_changes(now, true);
        let refreshed = std::mem::take(&mut line.changes.refreshing);
        self.apply_current_plan(call);
        if !refreshed {
            self.tell_change(call);
        }
        self.offer_change(now, call);
        self.refer_when_held(now, call);
    }

    pub(super) fn tell_change(&mut self, call: CallHandle) {
        let talking = |line: &&Line| matches!(line.stage, Stage::Talking);
        let Some(line) = self.lines.get(&call).filter(talking) else { return };
        let (audio, held, held_by_peer) = (line.audio_info(), line.changes.held, line.changes.held_by_peer);
        self.emit(Event::CallChanged { call, audio, held, held_by_peer });
    }

    /// The peer did not agree: again after a collision, else everything stays as it was, and the user is told.
    pub(super) fn change_refused(
        &mut self,
        now: Instant,
        call: CallHandle,
        status: StatusCode,
        retry_after: Option<Duration>,
    ) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        line.roll_back();
        let changes = &mut line.changes;
        changes.tries = changes.tries.saturating_add(1);
        if let Some(wait) = retry_after.filter(|_| changes.tries < MAX_TRIES) {
            changes.asking = Asking::Due(now + wait);
            return;
        }
        (changes.asking, changes.hold, changes.tries) = (Asking::Nothing, changes.held, 0);
        changes.codecs = false;
        if std::mem::take(&mut changes.refreshing) {
            return;
        }
        line.settle_codecs(false);
        let failure = line.about.change_refused(status);
        self.fit_mute(call);
        self.emit(Event::CallChangeRefused { call, failure });
        self.refer_anyway(now, call);
    }
}
