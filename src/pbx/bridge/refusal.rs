//! What of a refusal crosses a bridge.

use crate::sip::message::StatusCode;
use crate::ua::call::EndCause;

/// A refusal as the caller is told it: what is between us and the callee is none of its business.
pub(super) fn refusal(cause: &EndCause) -> StatusCode {
    match cause {
        EndCause::Rejected { response, .. } => passable(response.status),
        EndCause::HungUp
        | EndCause::Cancelled
        | EndCause::CallerGone
        | EndCause::Refused(_)
        | EndCause::NoAnswer { .. }
        | EndCause::NoRoute(_)
        | EndCause::Unreachable { .. }
        | EndCause::Login { .. }
        | EndCause::NoAck
        | EndCause::SessionExpired { .. }
        | EndCause::Broken(_)
        | EndCause::Fault => StatusCode::TEMPORARILY_UNAVAILABLE,
    }
}

/// Redirections, challenges and transport troubles of one leg do not cross.
pub(super) fn passable(status: StatusCode) -> StatusCode {
    match status.code() {
        300..=399 | 401 | 407 | 408 | 481 | 482 | 483 | 503 => StatusCode::TEMPORARILY_UNAVAILABLE,
        _ => status,
    }
}

/// The refusal to pass on of two (RFC 3261 §16.7 step 6): a 6xx, else the one that says more than 480.
pub(super) fn better(a: StatusCode, b: StatusCode) -> StatusCode {
    let rank = |status: StatusCode| match status.code() {
        600.. => 0,
        480 => 3,
        500.. => 2,
        _ => 1,
    };
    if rank(b) < rank(a) { b } else { a }
}
