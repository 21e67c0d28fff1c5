//! INFO inside a call (RFC 6086): digits, as some PBXs send them.

use super::calls::Cx;
use super::{Call, CallEvent, State, WrongState, status};
use crate::sip::endpoint::TxnId;
use crate::sip::message::{HeaderName, Method, Request, StatusCode};
use crate::time::{Duration, Instant};
use crate::ua::screen::Refusal;

/// `Signal=5`, `Duration=160`.
pub const DTMF_RELAY: &str = "application/dtmf-relay";
/// The digit alone.
pub const DTMF: &str = "application/dtmf";
/// How long a digit lasts whose sender does not say.
const USUAL: Duration = Duration::from_millis(160);
/// The longest that is believed.
const MOST: u64 = 10_000;
/// What we read.
const ACCEPTED: &str = "application/dtmf-relay, application/dtmf";

/// The digit of a body: `Signal=5` with `Duration=160`, spaces or none (application/dtmf-relay), or the digit alone.
fn digit(kind: &str, body: &[u8]) -> Option<(char, Duration)> {
    let text = std::str::from_utf8(body).ok()?;
    let one = |value: &str| {
        let value = value.trim();
        let digit = match value {
            "10" => '*',
            "11" => '#',
            _ => value.chars().next()?.to_ascii_uppercase(),
        };
        let single = value.chars().count() == 1 || matches!(value, "10" | "11");
        (single && matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D')).then_some(digit)
    };
    if kind.eq_ignore_ascii_case("application/dtmf") {
        return Some((one(text)?, USUAL));
    }
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length = value("Duration").and_then(|text| text.parse::<u64>().ok());
    Some((one(&value("Signal")?)?, length.map_or(USUAL, |ms| Duration::from_millis(ms.min(MOST)))))
}

impl Call {
    /// Tells the peer something in the middle of a call; its answer comes as [`CallEvent::InfoAnswered`].
    pub(super) fn send_info(
        &mut self,
        now: Instant,
        cx: &mut Cx<'_, '_>,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<(), WrongState> {
        let State::Established(session) = &mut self.state else { return Err(self.wrong_state()) };
        let mut request = session.leg.dialog.request(Method::Info);
        request.headers.set(HeaderName::CONTENT_TYPE, kind);
        request.body = body;
        if let Some((request, route)) = session.leg.path(now, cx, request) {
            self.dispatch(now, cx, request, &route);
        }
        Ok(())
    }

    pub(super) fn handle_info_answer(&self, cx: &mut Cx<'_, '_>, request: &Request, status: StatusCode) {
        if request.method == Method::Info && !self.is_over() {
            cx.emit(CallEvent::InfoAnswered { status });
        }
    }

    /// An INFO in our call: one without a body asks whether we are there (RFC 6086 §4.2.2).
    pub(super) fn handle_info(&self, now: Instant, cx: &mut Cx<'_, '_>, txn: TxnId, request: &Request) {
        // Packages have to be agreed on first, and we agree on none.
        if request.headers.has(&HeaderName::new("Info-Package")) {
            let refusal = Refusal::new(status(469)).with(HeaderName::new("Recv-Info"), "");
            cx.refuse(now, txn, request, &refusal, self);
            return;
        }
        if request.body.is_empty() {
            cx.respond(now, txn, request, StatusCode::OK, self);
            return;
        }
        let kind = request.headers.content_type().unwrap_or_default();
        let known = ACCEPTED.split(", ").any(|own| own.eq_ignore_ascii_case(kind));
        if !known {
            let refusal = Refusal::new(status(415)).with(HeaderName::ACCEPT, ACCEPTED);
            cx.refuse(now, txn, request, &refusal, self);
            return;
        }
        match digit(kind, &request.body) {
            Some((digit, duration)) => {
                cx.respond(now, txn, request, StatusCode::OK, self);
                cx.emit(CallEvent::Digit { digit, duration });
            }
            None => cx.respond(now, txn, request, StatusCode::BAD_REQUEST, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_read_in_every_way_they_are_written() {
        let ms = Duration::from_millis;
        for (kind, body, read) in [
            ("application/dtmf-relay", "Signal=5\r\nDuration=250\r\n", Some(('5', ms(250)))),
            ("application/dtmf-relay", "Signal= 5\r\nDuration= 250\r\n", Some(('5', ms(250)))),
            ("Application/DTMF-Relay", "signal = *\nduration = 99999999", Some(('*', ms(10_000)))),
            ("application/dtmf-relay", "Signal=11\r\n", Some(('#', ms(160)))),
            ("application/dtmf-relay", "Signal=b", Some(('B', ms(160)))),
            ("application/dtmf", "7", Some(('7', ms(160)))),
            ("application/dtmf", "#\r\n", Some(('#', ms(160)))),
            ("application/dtmf", "10", Some(('*', ms(160)))),
            ("application/dtmf-relay", "Duration=5", None),
            ("application/dtmf-relay", "Signal=12", None),
            ("application/dtmf-relay", "Signal=", None),
            ("application/dtmf", "x", None),
            ("application/dtmf", "\u{7f}", None),
        ] {
            assert_eq!(digit(kind, body.as_bytes()), read, "{body:?}");
        }
        assert_eq!(digit("application/dtmf", &[0xff]), None);
    }
}
