//! The dialogs that our INVITE makes (RFC 3261 §13.2.2): early ones, the one that wins, those that come too late.

use super::calls::Cx;
use super::leg::Leg;
use super::outgoing::{Phase, sdp_of};
use super::session::Session;
use super::{Call, CallEvent, EndCause, State};
use crate::api::EndedBy;
use crate::engine::Flow;
use crate::sip::dialog::Dialog;
use crate::sip::message::{Method, Response};
use crate::time::Instant;

/// Forks of one INVITE that we follow.
const MAX_FORKS: usize = 16;

impl Call {
    pub(super) fn handle_progress(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: &Response, flow: Flow) {
        self.note_identity(&response.headers, None);
        let State::Calling(calling) = &mut self.state else { return };
        let Some(invite) = &self.invite else { return };
        let tag = remote_tag(response);
        // RFC 6228: this callee will not answer, others may.
        if response.status.code() == 199 {
            if let Some(leg) = calling.early.remove(&tag) {
                cx.emit(CallEvent::EarlyEnded { leg: leg.id });
            }
            return;
        }
        let full = calling.early.len() >= MAX_FORKS;
        let mut leg = match calling.early.remove(&tag) {
            Some(leg) => leg,
            None => {
                let Ok(dialog) = Dialog::uac(&invite.request, response) else { return };
                if full {
                    return;
                }
                let id = super::LegId(self.next_leg);
                self.next_leg = self.next_leg.wrapping_add(1);
                Leg::new(cx, id, dialog, flow, self.stay_on_flow)
            }
        };
        leg.note_abilities(&response.headers);
        let answered = leg.exchanged;
        let fresh = self.acknowledge_progress(now, cx, &mut leg, response);
        let id = leg.id;
        if let State::Calling(calling) = &mut self.state {
            calling.early.insert(tag, leg);
        }
        if !fresh {
            return;
        }
        let leg = id;
        // What follows a reliable answer is no answer (RFC 6337 §3.1.1).
        if let Some(body) = sdp_of(&response.headers, &response.body).filter(|_| !answered) {
            cx.emit(CallEvent::Answer { leg, body, early: true });
        }
        cx.emit(CallEvent::Ringing { leg, status: response.status });
    }

    /// A 2xx: the first one makes the call, others are acknowledged and ended (§13.2.2.4).
    pub(super) fn handle_success(&mut self, now: Instant, cx: &mut Cx<'_, '_>, response: Response, flow: Flow) {
        let tag = remote_tag(&response);
        self.note_identity(&response.headers, None);
        if let Some(invite) = &mut self.invite {
            invite.phase = Phase::Answered;
        }
        if let State::Established(session) = &mut self.state
            && session.leg.remote_tag() == tag
        {
            // A change may have been acknowledged since: this ACK is for the INVITE that made the call.
            let ack = self.invite.as_ref().and_then(|invite| {
                let seq = invite.request.headers.cseq().ok()?.seq;
                session.leg.ack_of(seq).or_else(|| session.leg.dialog.ack_for(&invite.request).ok())
            });
            if let Some((ack, route)) = ack.and_then(|ack| session.leg.path(now, cx, ack)) {
                self.dispatch(now, cx, ack, &route);
            }
            return;
        }
        if let Some(at) = self.strays.iter().position(|leg| leg.remote_tag() == tag) {
            let mut leg = self.strays.swap_remove(at);
            if let Some(ack) = leg.ack.clone() {
                self.send_on(now, cx, &mut leg, ack);
            }
            self.strays.push(leg);
            return;
        }
        let wanted = matches!(self.state, State::Calling(_));
        match self.confirm(cx, &tag, &response, flow) {
            Ok(mut leg) => {
                if let Some(ack) = leg.ack.clone() {
                    self.send_on(now, cx, &mut leg, ack);
                }
                if wanted {
                    let (id, answered) = (leg.id, leg.exchanged);
                    leg.note_abilities(&response.headers);
                    leg.take_timer(now, &response);
                    self.state = State::Established(Box::new(Session::new(leg)));
                    if let Some(body) = sdp_of(&response.headers, &response.body).filter(|_| !answered) {
                        cx.emit(CallEvent::Answer { leg: id, body, early: false });
                    }
                    cx.emit(CallEvent::Established { leg: id });
                } else if self.strays.len() < MAX_FORKS {
                    let bye = leg.dialog.request(Method::Bye);
                    self.send_on(now, cx, &mut leg, bye);
                    self.strays.push(leg);
                }
            }
            Err(error) if wanted => self.end(cx, EndedBy::Fault, EndCause::Broken(error)),
            Err(_) => {}
        }
    }

    /// The dialog of a 2xx with its ACK; the other early dialogs are forgotten.
    fn confirm(&mut self, cx: &Cx<'_, '_>, tag: &str, response: &Response, flow: Flow) -> Result<Leg, String> {
        let invite = self.invite.as_ref().ok_or("the INVITE is forgotten")?;
        let early = match &mut self.state {
            State::Calling(calling) => calling.early.remove(tag),
            State::Routing { .. }
            | State::Offering { .. }
            | State::Incoming(_)
            | State::Answered(_)
            | State::Established(_)
            | State::Closing => None,
        };
        let mut leg = match early {
            Some(mut leg) => {
                leg.dialog.confirm(response).map_err(|error| error.to_string())?;
                leg.flow = flow;
                leg
            }
            None => {
                let dialog = Dialog::uac(&invite.request, response).map_err(|error| error.to_string())?;
                let id = super::LegId(self.next_leg);
                self.next_leg = self.next_leg.wrapping_add(1);
                Leg::new(cx, id, dialog, flow, self.stay_on_flow)
            }
        };
        leg.ack = Some(leg.dialog.ack_for(&invite.request).map_err(|error| error.to_string())?);
        Ok(leg)
    }
}

/// The peer's tag; an RFC 2543 peer has none.
fn remote_tag(response: &Response) -> String {
    response.headers.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default()
}
