//! Session timers (RFC 4028): a call whose peer has vanished ends, though nobody hangs up.

use super::calls::Cx;
use super::change::Change;
use super::leg::Leg;
use super::rules::{Rules, lists};
use super::{Call, CallEvent, EndCause, State, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::message::{HeaderName, Headers, Method, Request, Response};
use crate::time::{Duration, Instant, earliest};
use crate::ua::screen::Refusal;

/// Nobody needs a session that lives longer without a sign of life.
const MOST: u32 = 24 * 3600;
/// How soon a refresh is tried again that did not work.
const AGAIN: Duration = Duration::from_secs(10);

/// The timer of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    seconds: u32,
    /// Whether the refreshes are ours to send.
    ours: bool,
    refresh_at: Option<Instant>,
    /// Without a refresh until then it is over (§10).
    end_at: Instant,
}

/// Who refreshes, seen from the request that Session-Expires stands in or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Uac,
    Uas,
}

impl Timer {
    fn new(now: Instant, seconds: u32, ours: bool) -> Self {
        let interval = Duration::from_secs(seconds.into());
        let before = Duration::from_secs(32).min(interval / 3);
        Self {
            seconds,
            ours,
            refresh_at: ours.then(|| now + interval / 2),
            end_at: now + interval.saturating_sub(before),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.refresh_at, Some(self.end_at))
    }
}

/// Session-Expires, if it can be read: seconds and refresher.
fn session_expires(headers: &Headers) -> Option<(u32, Option<Refresher>)> {
    let text = headers.get(&HeaderName::SESSION_EXPIRES)?;
    let mut parts = text.split(';').map(str::trim);
    let seconds = parts.next()?.parse::<u32>().ok()?.min(MOST);
    let role =
        parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("refresher"));
    let refresher = match role.map(|(_, value)| value.trim().to_ascii_lowercase()).as_deref() {
        Some("uac") => Some(Refresher::Uac),
        Some("uas") => Some(Refresher::Uas),
        Some(_) | None => None,
    };
    Some((seconds, refresher))
}

/// Min-SE in seconds; its parameters mean nothing.
fn min_se(headers: &Headers) -> Option<u32> {
    headers.get(&HeaderName::MIN_SE)?.split(';').next()?.trim().parse::<u32>().ok().map(|seconds| seconds.min(MOST))
}

/// Asks for a session timer in a request of ours: the one in force, else what the rules say.
pub(super) fn ask(rules: &Rules, timer: Option<&Timer>, request: &mut Request) {
    let value = match timer {
        Some(Timer { seconds, ours, .. }) => {
            format!("{};refresher={}", (*seconds).max(rules.min_se), if *ours { "uac" } else { "uas" })
        }
        None if rules.session_expires > 0 => rules.session_expires.max(rules.min_se).to_string(),
        None => return,
    };
    request.headers.set(HeaderName::SESSION_EXPIRES, value);
    if rules.min_se > super::rules::LEAST_MIN_SE {
        request.headers.set(HeaderName::MIN_SE, rules.min_se.to_string());
    }
}

/// An interval that is too small for us (422), if its sender can make it greater (§9).
pub(crate) fn refusal(rules: &Rules, request: &Request) -> Option<Refusal> {
    let (seconds, _) = session_expires(&request.headers)?;
    let able = lists(&request.headers, &HeaderName::SUPPORTED, "timer");
    (able && seconds < rules.min_se)
        .then(|| Refusal::new(status(422)).with(HeaderName::MIN_SE, rules.min_se.to_string()))
}

impl Leg {
    /// Puts the session timer into our 2xx, and starts it (§9): the requester refreshes if it can.
    pub(super) fn grant(&mut self, now: Instant, rules: &Rules, request: &Request, response: &mut Response) {
        let able = lists(&request.headers, &HeaderName::SUPPORTED, "timer");
        let least = min_se(&request.headers).unwrap_or(0).max(rules.min_se);
        let (seconds, refresher) = match session_expires(&request.headers) {
            Some((asked, refresher)) => {
                let wanted =
                    if rules.session_expires > 0 { asked.min(rules.session_expires.max(least)) } else { asked };
                let role = if able { refresher.unwrap_or(Refresher::Uac) } else { refresher.unwrap_or(Refresher::Uas) };
                (wanted.max(rules.min_se), role)
            }
            None if rules.session_expires > 0 => (rules.session_expires.max(least), Refresher::Uas),
            None => {
                self.timer = None;
                return;
            }
        };
        let ours = refresher == Refresher::Uas;
        let name = if ours { "uas" } else { "uac" };
        response.headers.set(HeaderName::SESSION_EXPIRES, format!("{seconds};refresher={name}"));
        if !ours {
            response.headers.push(HeaderName::REQUIRE, "timer");
        }
        self.timer = Some(Timer::new(now, seconds, ours));
    }

    /// Takes what a 2xx to our request says of the session timer, asked for or not (§7.2).
    pub(super) fn take_timer(&mut self, now: Instant, response: &Response) {
        self.timer = session_expires(&response.headers).map(|(seconds, refresher)| {
            Timer::new(now, seconds.max(super::rules::LEAST_MIN_SE), refresher != Some(Refresher::Uas))
        });
    }

    fn refresh_again(&mut self, at: Instant) {
        if let Some(timer) = &mut self.timer
            && timer.ours
        {
            timer.refresh_at = Some(at);
        }
    }
}

impl Call {
    /// Takes the demand of a 422 for a longer interval (§7.3); false if it asks for nothing that we could grant.
    pub(super) fn take_min_se(&mut self, leg: Option<&mut Leg>, response: &Response) -> bool {
        let Some(wanted) = min_se(&response.headers).filter(|wanted| *wanted > self.rules.min_se) else { return false };
        self.rules.min_se = wanted;
        self.rules.session_expires = self.rules.session_expires.max(wanted);
        if let Some(timer) = leg.and_then(|leg| leg.timer.as_mut()) {
            timer.seconds = timer.seconds.max(wanted);
        }
        true
    }

    /// The session timer of the call that is up.
    pub(super) fn handle_session_timer(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Established(session) = &mut self.state else { return };
        let leg = &mut session.leg;
        let Some(timer) = &mut leg.timer else { return };
        if timer.end_at <= now {
            let seconds = timer.seconds;
            self.break_off(now, cx, EndedBy::Fault, EndCause::SessionExpired { seconds });
            return;
        }
        if timer.refresh_at.is_none_or(|at| at > now) {
            return;
        }
        // A change that is under way refreshes too.
        timer.refresh_at = Some(now + AGAIN);
        if !matches!(leg.change, Change::None) {
            return;
        }
        if !leg.peer.update {
            cx.emit(CallEvent::OfferDue);
            return;
        }
        timer.refresh_at = None;
        let mut update = leg.dialog.request(Method::Update);
        ask(&self.rules, leg.timer.as_ref(), &mut update);
        if let Some((update, route)) = leg.path(now, cx, update) {
            self.dispatch(now, cx, update, &route);
        }
    }

    /// A refresh did not reach the peer.
    pub(super) fn refresh_later(&mut self, now: Instant) {
        if let State::Established(session) = &mut self.state {
            session.leg.refresh_again(now + AGAIN);
        }
    }

    /// The final response to an UPDATE without offer, with which we have refreshed the session.
    pub(super) fn handle_refresh_response(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        response: &Response,
        flow: Flow,
    ) {
        match &mut self.state {
            State::Established(session) if response.status.is_success() => {
                session.leg.dialog.refresh_target(response);
                session.leg.note_abilities(&response.headers);
                session.leg.take_timer(now, response);
            }
            State::Established(session) => match response.status.code() {
                408 | 481 => {
                    let cause = EndCause::Rejected { response: Box::new(response.clone()), flow };
                    self.break_off(now, cx, EndedBy::Remote, cause);
                }
                405 | 501 => {
                    session.leg.peer.update = false;
                    session.leg.refresh_again(now);
                }
                422 => {
                    session.leg.refresh_again(now + AGAIN);
                    let State::Established(mut session) = self.take_state() else { return };
                    if self.take_min_se(Some(&mut session.leg), response) {
                        session.leg.refresh_again(now);
                    }
                    self.state = State::Established(session);
                }
                _ => session.leg.refresh_again(now + AGAIN),
            },
            State::Routing { .. }
            | State::Offering { .. }
            | State::Calling(_)
            | State::Incoming(_)
            | State::Answered(_)
            | State::Closing => {}
        }
    }
}
