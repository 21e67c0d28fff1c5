use super::*;
use crate::time::Duration;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn answer(txn: &mut ServerNonInvite, ms: u64, status: u16) -> Outbox {
    let mut out = Outbox::new();
    txn.respond(at(ms), &Timers::default(), StatusCode::new(status).expect("a status code"), &mut out);
    out
}

fn again(txn: &ServerNonInvite) -> Outbox {
    let mut out = Outbox::new();
    txn.handle_request(&mut out);
    out
}

fn run(txn: &mut ServerNonInvite) -> Vec<(u64, Outbox)> {
    let mut rows = Vec::new();
    while let Some(now) = txn.poll_timeout() {
        let mut out = Outbox::new();
        txn.handle_timeout(now, &mut out);
        rows.push((now.as_nanos() / 1_000_000, out));
    }
    rows
}

#[test]
fn copies_get_the_response_again_until_timer_j() {
    let mut txn = ServerNonInvite::new(at(0), &Timers::default(), false);
    assert_eq!(again(&txn), []);
    assert_eq!(answer(&mut txn, 10, 200), [Action::Send]);
    assert_eq!(again(&txn), [Action::Send]);
    assert_eq!(answer(&mut txn, 20, 500), []);
    assert_eq!(run(&mut txn), [(32010, vec![Action::Ended])]);
    assert_eq!(again(&txn), []);
}

#[test]
fn timer_j_is_zero_over_a_stream() {
    let mut txn = ServerNonInvite::new(at(0), &Timers::default(), true);
    assert_eq!(answer(&mut txn, 10, 200), [Action::Send, Action::Ended]);
}

#[test]
fn a_request_that_nobody_answers_is_forgotten_in_silence() {
    let mut txn = ServerNonInvite::new(at(0), &Timers::default(), false);
    assert_eq!(answer(&mut txn, 10, 183), [Action::Send]);
    assert_eq!(again(&txn), [Action::Send]);
    assert_eq!(run(&mut txn), [(32000, vec![Action::Ended])]);
    assert_eq!(answer(&mut txn, 33000, 200), []);
}
