//! Transfers in the dialog of a call (RFC 3515, RFC 4488, RFC 6665): the REFER that we send and what is heard of it, and
//! the REFER that comes and what its sender is told.
//!
//! ```text
//!   ours:    Refer ─▶ REFER out ──2xx or NOTIFY──▶ watching ──NOTIFY of a final status, or silence──▶ gone
//!   theirs:  REFER ─▶ open ──TakeRefer: 202, NOTIFY 100──▶ running ──ReferStatus of a final one: last NOTIFY──▶ gone
//! ```
//!
//! The subscription outlives the call (RFC 5057 §5.1): a peer that hangs up at once is still told, and still heard.

use super::calls::Cx;
use super::leg::Leg;
use super::{Call, CallEvent, EndCause, ReferNews, Referral, State, WrongState, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::{TxnError, TxnId};
use crate::sip::message::{
    EventPackage, HeaderName, Method, ReferTo, Request, Response, SIPFRAG, StatusCode, SubscriptionState,
    fragment_of_status, status_of_fragment,
};
use crate::time::{Duration, Instant, earliest};
use crate::ua::screen::Refusal;

/// How long a first NOTIFY may take (64·T1, Timer N of RFC 6665 §4.1.2).
const SILENCE: Duration = Duration::from_secs(32);
/// How long a subscription of unknown length is believed in.
const USUAL: u32 = 60;
/// How long we believe in a subscription at most, and how long we grant one, seconds.
const LIFETIME: u32 = 180;

/// The transfers of one call.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    ours: Option<Ours>,
    theirs: Option<Theirs>,
    /// REFERs taken so far: from the second on each is told apart by its number.
    taken: u32,
}

/// Our REFER.
#[derive(Debug)]
struct Ours {
    /// Its CSeq number, by which NOTIFYs may name it.
    seq: u32,
    /// In whose dialog.
    remote_tag: String,
    /// When no news is bad news; `None` while the REFER itself has no answer.
    until: Option<Instant>,
}

/// The peer's REFER.
#[derive(Debug)]
struct Theirs {
    remote_tag: String,
    /// What our NOTIFYs name it by.
    id: Option<u32>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Waits for our owner.
    Open { txn: TxnId, request: Box<Request>, flow: Flow },
    /// Taken: the sender is told how it fares.
    Running { until: Instant, notify: Notify },
}

/// What the sender is being told. One NOTIFY at a time, so that none overtakes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notify {
    /// It wants to hear nothing (RFC 4488).
    Unwanted,
    /// It has answered the last one.
    Idle,
    /// One is out; `next` follows it.
    Out { last: bool, next: Option<StatusCode> },
}

impl Transfers {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let theirs = self.theirs.as_ref().and_then(|theirs| match &theirs.stage {
            Stage::Open { .. } => None,
            Stage::Running { until, .. } => Some(*until),
        });
        earliest(self.ours.as_ref().and_then(|ours| ours.until), theirs)
    }

    /// True when nobody waits for news.
    pub(super) const fn is_idle(&self) -> bool {
        self.ours.is_none() && self.theirs.is_none()
    }

    /// Whether a NOTIFY in this dialog may be about our REFER, although the call is over.
    pub(super) fn watches(&self, remote_tag: &str) -> bool {
        self.ours.as_ref().is_some_and(|ours| ours.remote_tag == remote_tag)
    }
}

impl Call {
    /// Asks the peer to call somebody else (§2.4.1).
    pub(super) fn send_refer(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        to: &str,
        by: &str,
    ) -> Result<(), WrongState> {
        let State::Established(session) = &mut self.state else { return Err(self.wrong_state()) };
        if self.transfers.ours.is_some() {
            return Err(self.wrong_state());
        }
        let mut request = session.leg.dialog.request(Method::Refer);
        request.headers.set(HeaderName::REFER_TO, to);
        request.headers.set(HeaderName::REFERRED_BY, by);
        let seq = session.leg.dialog.local_seq();
        let remote_tag = session.leg.remote_tag().to_owned();
        self.transfers.ours = Some(Ours { seq, remote_tag, until: None });
        if let Some((request, route)) = session.leg.path(now, cx, request) {
            self.dispatch(now, cx, request, &route);
        }
        Ok(())
    }

    /// A REFER inside our dialog: the owner decides.
    pub(super) fn handle_refer(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request, flow: Flow) {
        let required = request.headers.tokens(&HeaderName::REQUIRE);
        let unknown: Vec<_> = required.into_iter().filter(|option| !is_known(option)).collect();
        if !unknown.is_empty() {
            let refusal = Refusal::new(status(420)).with(HeaderName::UNSUPPORTED, unknown.join(", "));
            return cx.refuse(now, txn, &request, &refusal, self);
        }
        if self.transfers.theirs.is_some() {
            return cx.respond(now, txn, &request, status(491), self);
        }
        let code = match ReferTo::of(&request.headers) {
            Err(_) => status(400),
            Ok(refer_to) if refer_to.method != Method::Invite.as_str() => status(501),
            Ok(refer_to) if !refer_to.target.is_sip() => status(416),
            Ok(refer_to) => {
                let by = request.headers.get(&HeaderName::REFERRED_BY).map(str::to_owned);
                let id = request.headers.cseq().ok().map(|cseq| cseq.seq).filter(|_| self.transfers.taken > 0);
                let remote_tag = super::from_tag(&request);
                let stage = Stage::Open { txn, request: Box::new(request), flow };
                self.transfers.theirs = Some(Theirs { remote_tag, id, stage });
                cx.emit(CallEvent::Referred(Box::new(Referral { refer_to, by })));
                return;
            }
        };
        cx.respond(now, txn, &request, code, self);
    }

    /// The owner will do it, or ask somebody first: 202 and the first NOTIFY (§2.4.4).
    pub(super) fn take_refer(&mut self, now: Instant, cx: &mut Cx<'_, '_>) -> Result<(), WrongState> {
        let Some((txn, request, flow)) = self.open_refer() else { return Err(self.wrong_state()) };
        let local = cx.core.endpoint.route_back(&flow).local;
        let contact = self.contact(cx.core.endpoint, local, flow.protocol);
        let mut response = self.respond_to(&request, status(202), &contact);
        let unwanted = request.headers.get(&HeaderName::REFER_SUB).is_some_and(is_false);
        if unwanted {
            response.headers.set(HeaderName::REFER_SUB, "false");
        }
        cx.core.endpoint.respond(now, txn, response);
        cx.forget(txn);
        self.transfers.taken = self.transfers.taken.saturating_add(1);
        let until = now + Duration::from_secs(LIFETIME.into());
        if let Some(theirs) = &mut self.transfers.theirs {
            let notify = if unwanted { Notify::Unwanted } else { Notify::Idle };
            theirs.stage = Stage::Running { until, notify };
        }
        self.tell_referrer(now, cx, StatusCode::TRYING);
        Ok(())
    }

    /// The owner will not do it.
    pub(super) fn refuse_refer(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        code: StatusCode,
    ) -> Result<(), WrongState> {
        let Some((txn, request, _)) = self.open_refer() else { return Err(self.wrong_state()) };
        self.transfers.theirs = None;
        cx.respond(now, txn, &request, code, self);
        Ok(())
    }

    fn open_refer(&self) -> Option<(TxnId, Request, Flow)> {
        match &self.transfers.theirs {
            Some(Theirs { stage: Stage::Open { txn, request, flow }, .. }) => Some((*txn, (**request).clone(), *flow)),
            Some(Theirs { stage: Stage::Running { .. }, .. }) | None => None,
        }
    }

    /// How the call that was asked for fares; a final status is the last word.
    pub(super) fn tell_referrer(&mut self, now: Instant, cx: &mut Cx<'_, '_>, code: StatusCode) {
        let Some(Theirs { stage: Stage::Running { notify, .. }, .. }) = &mut self.transfers.theirs else { return };
        match notify {
            Notify::Unwanted if code.is_final() => self.transfers.theirs = None,
            Notify::Unwanted => {}
            Notify::Idle => {
                *notify = Notify::Out { last: code.is_final(), next: None };
                self.send_notify(now, cx, code);
            }
            Notify::Out { last: true, .. } => {}
            Notify::Out { next, .. } => *next = Some(code),
        }
    }

    fn send_notify(&mut self, now: Instant, cx: &mut Cx<'_, '_>, code: StatusCode) {
        let Some(Theirs { remote_tag, id, stage: Stage::Running { until, .. } }) = &self.transfers.theirs else {
            return;
        };
        let event = id.map_or_else(|| "refer".to_owned(), |id| format!("refer;id={id}"));
        let left = until.since(now).as_secs();
        let state = match code.code() {
            _ if left == 0 => "terminated;reason=timeout".to_owned(),
            200.. => "terminated;reason=noresource".to_owned(),
            _ => format!("active;expires={left}"),
        };
        let legs = match &mut self.state {
            State::Established(session) => Some(&mut session.leg),
            State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Closing => None,
        };
        let Some(leg) = legs.into_iter().chain(&mut self.strays).find(|leg: &&mut Leg| leg.remote_tag() == remote_tag)
        else {
            self.transfers.theirs = None;
            return;
        };
        let mut request = leg.dialog.request(Method::Notify);
        request.headers.set(HeaderName::EVENT, event);
        request.headers.set(HeaderName::SUBSCRIPTION_STATE, state);
        request.headers.set(HeaderName::CONTENT_TYPE, format!("{SIPFRAG};version=2.0"));
        request.body = fragment_of_status(code);
        if let Some((request, route)) = leg.path(now, cx, request) {
            self.dispatch(now, cx, request, &route);
        }
    }

    /// A NOTIFY inside our dialog (RFC 6665 §4.1.3).
    pub(super) fn handle_notify(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, request: &Request) {
        let refusal = match EventPackage::of(&request.headers) {
            Some(event) if event.name == "refer" => self.judge_notify(&event, request),
            Some(_) | None => Some(Refusal::new(status(489)).with(HeaderName::ALLOW_EVENTS, "refer")),
        };
        if let Some(refusal) = refusal {
            return cx.refuse(now, txn, request, &refusal, self);
        }
        cx.respond(now, txn, request, StatusCode::OK, self);
        let state = SubscriptionState::of(&request.headers);
        let said = status_of_fragment(&request.body);
        if let Some(ours) = &mut self.transfers.ours {
            let lasts = state.expires.unwrap_or(USUAL).clamp(1, LIFETIME);
            ours.until = Some(now + Duration::from_secs(lasts.into()));
        }
        let settled = said.as_ref().is_some_and(|(code, _)| code.is_final());
        if state.terminated || settled {
            self.transfers.ours = None;
        }
        match said {
            Some((status, reason)) if settled || !state.terminated => {
                cx.emit(CallEvent::Refer(ReferNews::Status { status, reason }));
            }
            Some(_) | None if state.terminated => cx.emit(CallEvent::Refer(ReferNews::Silence)),
            Some(_) | None => {}
        }
    }

    /// A NOTIFY in a dialog whose call is over.
    pub(super) fn handle_late_notify(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: &Request,
        flow: Flow,
    ) {
        let pinned = self.login.is_some();
        let tag = super::from_tag(request);
        let Some(leg) = self.strays.iter_mut().find(|leg| leg.remote_tag() == tag) else {
            return cx.respond(now, txn, request, status(481), self);
        };
        if pinned && leg.flow.peer.ip() != flow.peer.ip() {
            return cx.respond(now, txn, request, status(403), self);
        }
        match leg.dialog.accept(request) {
            Ok(()) => self.handle_notify(now, cx, txn, request),
            Err(error) => cx.respond(now, txn, request, error.status(), self),
        }
    }

    fn judge_notify(&self, event: &EventPackage, request: &Request) -> Option<Refusal> {
        let Some(ours) = &self.transfers.ours else { return Some(Refusal::new(status(481))) };
        if event.id.as_ref().is_some_and(|id| *id != ours.seq.to_string()) {
            return Some(Refusal::new(status(481)));
        }
        let required = request.headers.tokens(&HeaderName::REQUIRE);
        if !required.is_empty() {
            return Some(Refusal::new(status(420)).with(HeaderName::UNSUPPORTED, required.join(", ")));
        }
        if request.body.is_empty() {
            return None;
        }
        if !request.headers.content_type().is_none_or(|kind| kind.eq_ignore_ascii_case(SIPFRAG)) {
            return Some(Refusal::new(status(415)).with(HeaderName::ACCEPT, SIPFRAG));
        }
        status_of_fragment(&request.body).is_none().then(|| Refusal::new(status(400)))
    }

    /// Our REFER goes out again with credentials: NOTIFYs name it by its new number.
    pub(super) fn renumber_refer(&mut self, request: &Request) {
        if request.method == Method::Refer
            && let (Some(ours), Ok(cseq)) = (&mut self.transfers.ours, request.headers.cseq())
        {
            ours.seq = cseq.seq;
        }
    }

    /// The final response to a REFER or NOTIFY of ours.
    pub(super) fn handle_usage_response(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        request: &Request,
        response: &Response,
        flow: Flow,
    ) {
        if request.method == Method::Refer {
            self.handle_refer_response(now, cx, response, flow);
        } else if request.method == Method::Notify {
            self.handle_notify_response(now, cx, response);
        } else {
            self.handle_info_answer(cx, request, response.status);
        }
    }

    fn handle_refer_response(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response, flow: Flow) {
        let Some(ours) = &mut self.transfers.ours else { return };
        if response.status.is_success() {
            if response.headers.get(&HeaderName::REFER_SUB).is_some_and(is_false) {
                self.transfers.ours = None;
                return cx.emit(CallEvent::Refer(ReferNews::Untold));
            }
            // A NOTIFY that was faster has said more.
            if ours.until.is_none() {
                ours.until = Some(now + SILENCE);
                cx.emit(CallEvent::Refer(ReferNews::Accepted));
            }
            return;
        }
        self.transfers.ours = None;
        cx.emit(CallEvent::Refer(ReferNews::Refused { response: Box::new(response.clone()) }));
        // §12.2.1.2 of RFC 3261: the peer knows nothing of this call.
        if response.status.code() == 481 {
            let cause = EndCause::Rejected { response: Box::new(response.clone()), flow };
            self.break_off(now, cx, EndedBy::Remote, cause);
        }
    }

    fn handle_notify_response(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response) {
        let Some(Theirs { stage: Stage::Running { notify, .. }, .. }) = &mut self.transfers.theirs else { return };
        let Notify::Out { last, next } = *notify else { return };
        if last || !response.status.is_success() {
            // It wants no more, or does not know what we talk about (RFC 6665 §4.2.2).
            self.transfers.theirs = None;
            return;
        }
        *notify = Notify::Idle;
        if let Some(code) = next {
            self.tell_referrer(now, cx, code);
        }
    }

    /// A REFER or NOTIFY of ours found no final response.
    pub(super) fn handle_usage_failed(&mut self, cx: &mut Cx<'_, '_>, request: &Request, error: TxnError) {
        if request.method == Method::Notify {
            self.transfers.theirs = None;
        } else if request.method == Method::Refer && self.transfers.ours.take().is_some() {
            cx.emit(CallEvent::Refer(ReferNews::Unanswered { error }));
        } else {
            self.handle_info_answer(cx, request, error.status());
        }
    }

    pub(super) fn handle_transfer_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        if self.transfers.ours.as_ref().and_then(|ours| ours.until).is_some_and(|until| until <= now) {
            self.transfers.ours = None;
            cx.emit(CallEvent::Refer(ReferNews::Silence));
        }
        if let Some(Theirs { stage: Stage::Running { until, notify }, .. }) = &self.transfers.theirs
            && *until <= now
        {
            // What was granted is over: the last word, and nothing waits for its answer.
            if *notify != Notify::Unwanted {
                self.send_notify(now, cx, StatusCode::TRYING);
            }
            self.transfers.theirs = None;
        }
    }

    /// The call ends: a REFER that nobody has decided on is refused; if `we_left`, nothing more is watched.
    pub(super) fn end_transfers(&mut self, now: Instant, cx: &mut Cx<'_, '_>, we_left: bool) {
        if self.open_refer().is_some() {
            let _ = self.refuse_refer(now, cx, status(480));
        }
        if we_left {
            self.transfers.ours = None;
        }
    }
}

/// Extensions that a REFER may require.
fn is_known(option: &str) -> bool {
    ["norefersub", "replaces"].iter().any(|known| option.eq_ignore_ascii_case(known))
}

/// `Refer-Sub: false` (RFC 4488 §4).
fn is_false(value: &str) -> bool {
    value.split(';').next().is_some_and(|word| word.trim().eq_ignore_ascii_case("false"))
}
