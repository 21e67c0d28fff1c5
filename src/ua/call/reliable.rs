//! Provisional responses that are acknowledged by PRACK (RFC 3262), on both sides.

use super::answered::T1;
use super::calls::Cx;
use super::change::Change;
use super::incoming::Incoming;
use super::leg::Leg;
use super::outgoing::sdp_of;
use super::rules::{Reliable, lists};
use super::{Call, CallEvent, EndCause, SDP, State, status};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Headers, Method, Request, Response, StatusCode};
use crate::time::{Duration, Instant};
use crate::ua::screen;
use std::collections::VecDeque;

/// Reliable responses that wait for the PRACK of the one before.
const MAX_QUEUE: usize = 8;

/// Our reliable provisional responses to one INVITE.
#[derive(Debug, Default)]
pub(super) struct Provisionals {
    /// RSeq of the next one; 0 before the first.
    next: u32,
    waiting: Option<Unacknowledged>,
    queue: VecDeque<(StatusCode, Option<Vec<u8>>)>,
    /// The 2xx that waits for the PRACK of a description (§3).
    answer: Option<Vec<u8>>,
}

/// One that is repeated until its PRACK comes.
#[derive(Debug)]
struct Unacknowledged {
    response: Response,
    session: bool,
    interval: Duration,
    next_at: Instant,
    give_up_at: Instant,
}

/// RAck (§7.2): RSeq, CSeq number and method of the response that is acknowledged.
fn rack(headers: &Headers) -> Option<(u32, u32)> {
    let mut words = headers.get(&HeaderName::RACK)?.split_ascii_whitespace();
    let numbers = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next()? == "INVITE").then_some(numbers)
}

/// RSeq of a response that wants a PRACK.
fn rseq(response: &Response) -> Option<u32> {
    lists(&response.headers, &HeaderName::REQUIRE, "100rel")
        .then(|| response.headers.get(&HeaderName::RSEQ)?.trim().parse().ok().filter(|rseq| *rseq > 0))
        .flatten()
}

impl Provisionals {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.next_at.min(waiting.give_up_at))
    }

    /// Whether a 2xx has to wait.
    pub(super) fn holds_session(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.session)
    }

    pub(super) fn keep_answer(&mut self, body: Vec<u8>) {
        self.answer = Some(body);
    }
}

impl Call {
    /// Whether every provisional response of this incoming call is reliable: then the first one carries our offer if the
    /// INVITE had none (RFC 3262 §5).
    pub fn is_strict(&self) -> bool {
        matches!(&self.state, State::Incoming(incoming) if self.must_be_reliable(incoming))
    }

    /// Whether the caller has its answer already, in a reliable provisional response.
    pub fn has_early_answer(&self) -> bool {
        matches!(&self.state, State::Incoming(incoming) if incoming.leg.exchanged)
    }

    fn must_be_reliable(&self, incoming: &Incoming) -> bool {
        let headers = &incoming.request.headers;
        lists(headers, &HeaderName::REQUIRE, "100rel")
            || (self.rules.reliable == Reliable::Required && lists(headers, &HeaderName::SUPPORTED, "100rel"))
    }

    /// Whether a provisional response goes out reliably.
    pub(super) fn is_reliable(&self, incoming: &Incoming, with_session: bool) -> bool {
        let able = lists(&incoming.request.headers, &HeaderName::SUPPORTED, "100rel");
        let wanted = with_session && able && self.rules.reliable != Reliable::Off;
        self.must_be_reliable(incoming) || wanted
    }

    /// Sends a provisional response reliably, or keeps it until the one before is acknowledged.
    pub(super) fn send_reliably(&mut self, now: Instant, cx: &mut Cx<'_, '_>, code: StatusCode, body: Option<Vec<u8>>) {
        let State::Incoming(incoming) = &mut self.state else { return };
        let provisionals = &mut incoming.provisionals;
        if provisionals.waiting.is_some() {
            if provisionals.queue.len() < MAX_QUEUE {
                provisionals.queue.push_back((code, body));
            }
            return;
        }
        if provisionals.next == 0 {
            provisionals.next = 1 + cx.core.rng.u32() % 0x3fff_ffff;
        }
        let rseq = provisionals.next;
        provisionals.next += 1;
        let State::Incoming(incoming) = &self.state else { return };
        let mut response = self.respond_to(&incoming.request, code, &incoming.contact);
        self.describe(&mut response);
        response.headers.push(HeaderName::REQUIRE, "100rel");
        response.headers.set(HeaderName::RSEQ, rseq.to_string());
        let session = body.is_some();
        if let Some(body) = body {
            response.headers.set(HeaderName::CONTENT_TYPE, SDP);
            response.body = body;
        }
        cx.core.endpoint.respond(now, incoming.txn, response.clone());
        let State::Incoming(incoming) = &mut self.state else { return };
        let seq = incoming.request.headers.cseq().map_or(0, |cseq| cseq.seq);
        incoming.leg.unacknowledged = Some((rseq, seq));
        // The answer is given; an offer of ours waits for the PRACK.
        incoming.leg.exchanged |= session && !incoming.late;
        incoming.offered |= session && incoming.late;
        incoming.progress = None;
        incoming.provisionals.waiting =
            Some(Unacknowledged { response, session, interval: T1, next_at: now + T1, give_up_at: now + 64 * T1 });
    }

    /// A reliable response goes out again, or nobody acknowledged it: the INVITE is refused (§3).
    pub(super) fn handle_prack_timeout(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Incoming(incoming) = &mut self.state else { return };
        let Some(waiting) = &mut incoming.provisionals.waiting else { return };
        if waiting.give_up_at <= now {
            if let State::Incoming(incoming) = self.take_state() {
                self.refuse_invite(now, cx, &incoming, status(504));
                self.end(cx, EndedBy::Fault, EndCause::NoAck);
            }
        } else if waiting.next_at <= now {
            waiting.interval *= 2;
            waiting.next_at = now + waiting.interval;
            let (txn, response) = (incoming.txn, waiting.response.clone());
            cx.core.endpoint.respond(now, txn, response);
        }
    }

    /// A PRACK came: it acknowledges the reliable response that is open, and may bring an answer or a new offer (§3, §5).
    pub(super) fn handle_prack(&mut self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, request: Request) {
        if let Err(refusal) = screen::body_and_extensions(&request, &self.rules) {
            cx.refuse(now, txn, &request, &refusal, self);
            return;
        }
        let (leg, owed) = match &mut self.state {
            State::Incoming(incoming) => {
                let owed = incoming.offered && !incoming.leg.exchanged;
                (&mut incoming.leg, owed)
            }
            State::Answered(answered) => (&mut answered.leg, false),
            State::Established(session) => (&mut session.leg, false),
            State::Routing { .. } | State::Offering { .. } | State::Calling(_) | State::Closing => return,
        };
        let acknowledged = rack(&request.headers);
        if acknowledged.is_none() || acknowledged != leg.unacknowledged {
            let code = if acknowledged.is_none() { StatusCode::BAD_REQUEST } else { status(481) };
            cx.respond(now, txn, &request, code, self);
            return;
        }
        leg.unacknowledged = None;
        let body = sdp_of(&request.headers, &request.body);
        let (id, target) = (leg.id, leg.dialog.target().clone());
        let offered = body.is_some() && !owed && leg.exchanged && matches!(leg.change, Change::None);
        leg.exchanged |= body.is_some() && owed;
        if let State::Incoming(incoming) = &mut self.state {
            incoming.provisionals.waiting = None;
        }
        match body {
            Some(body) if offered => self.take_offer(cx, txn, request, body, target),
            Some(body) if owed => {
                cx.respond(now, txn, &request, StatusCode::OK, self);
                cx.emit(CallEvent::Answer { leg: id, body, early: false });
            }
            // An offer before the answer to the first one breaks the rules; the response is acknowledged all the same.
            Some(_) => cx.respond(now, txn, &request, StatusCode::NOT_ACCEPTABLE_HERE, self),
            None => cx.respond(now, txn, &request, StatusCode::OK, self),
        }
        self.send_next(now, cx);
    }

    /// What has waited for a PRACK: the 2xx first.
    fn send_next(&mut self, now: Instant, cx: &mut Cx<'_, '_>) {
        let State::Incoming(incoming) = &mut self.state else { return };
        let (id, provisionals) = (incoming.offer, &mut incoming.provisionals);
        if let Some(body) = provisionals.answer.take() {
            provisionals.queue.clear();
            let _ = self.send_answer(now, cx, id, body);
        } else if let Some((code, body)) = provisionals.queue.pop_front() {
            self.send_reliably(now, cx, code, body);
        }
    }

    /// A provisional response of the peer's: false if it is a copy, or comes before one that is missing (§4). The PRACK
    /// of a good one goes out at once.
    pub(super) fn acknowledge_progress(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        leg: &mut Leg,
        response: &Response,
    ) -> bool {
        let (Some(rseq), Ok(cseq)) = (rseq(response), response.headers.cseq()) else { return true };
        if leg.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
            return false;
        }
        leg.rseq = Some(rseq);
        leg.exchanged |= sdp_of(&response.headers, &response.body).is_some();
        let mut prack = leg.dialog.request(Method::Prack);
        prack.headers.set(HeaderName::RACK, format!("{rseq} {} INVITE", cseq.seq));
        self.send_on(now, cx, leg, prack);
        true
    }

    /// A request inside the early dialog of a call that we place.
    #[expect(clippy::wildcard_enum_match_arm, reason = "methods are an open set")]
    pub(super) fn handle_in_early(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        txn: TxnId,
        request: Request,
        flow: Flow,
    ) {
        if request.method == Method::Update {
            self.handle_update(now, cx, txn, request, flow);
            return;
        }
        let code = match &request.method {
            Method::Bye | Method::Options => StatusCode::OK,
            // The callee has our offer, and may not change it this way (§14.1).
            Method::Invite => status(491),
            Method::Prack => status(481),
            method => super::session::refusal_of(method).unwrap_or_else(|| status(481)),
        };
        cx.respond(now, txn, &request, code, self);
    }
}
