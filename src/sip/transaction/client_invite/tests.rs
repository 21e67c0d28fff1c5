use super::*;

fn code(code: u16) -> StatusCode {
    StatusCode::new(code).expect("a status code")
}

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn start(reliable: bool) -> (ClientInvite, Timers) {
    let (timers, mut out) = (Timers::default(), Outbox::new());
    let txn = ClientInvite::new(at(0), &timers, reliable, &mut out);
    assert_eq!(out, [Action::Send]);
    (txn, timers)
}

fn receive(txn: &mut ClientInvite, ms: u64, status: u16) -> Outbox {
    let mut out = Outbox::new();
    txn.handle_response(at(ms), &Timers::default(), code(status), &mut out);
    out
}

/// Every wake-up until the machine wants no more, with what it did.
fn run(txn: &mut ClientInvite) -> Vec<(u64, Outbox)> {
    let mut rows = Vec::new();
    while let Some(now) = txn.poll_timeout() {
        let mut out = Outbox::new();
        txn.handle_timeout(now, &mut out);
        rows.push((now.as_nanos() / 1_000_000, out));
    }
    rows
}

#[test]
fn timer_a_doubles_until_timer_b_gives_up_at_64_t1() {
    let (mut txn, _) = start(false);
    let rows = run(&mut txn);
    let times: Vec<u64> = rows.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 15500, 31500, 32000]);
    assert!(rows[..6].iter().all(|(_, out)| out == &[Action::Send]));
    assert_eq!(rows[6].1, [Action::TimedOut, Action::Ended]);
}

#[test]
fn over_a_stream_only_timer_b_runs() {
    let (mut txn, _) = start(true);
    assert_eq!(run(&mut txn), [(32000, vec![Action::TimedOut, Action::Ended])]);
}

#[test]
fn a_provisional_response_stops_both_timers_for_good() {
    let (mut txn, _) = start(false);
    assert_eq!(receive(&mut txn, 100, 100), [Action::Deliver]);
    assert_eq!(txn.poll_timeout(), None);
    assert_eq!(receive(&mut txn, 200, 180), [Action::Deliver]);
    assert_eq!(txn.poll_timeout(), None);
}

#[test]
fn a_failure_is_acknowledged_each_time_and_told_once_until_timer_d() {
    let (mut txn, _) = start(false);
    assert_eq!(receive(&mut txn, 100, 486), [Action::Ack, Action::Deliver]);
    assert_eq!(receive(&mut txn, 600, 486), [Action::Ack]);
    assert_eq!(receive(&mut txn, 700, 200), []);
    assert_eq!(receive(&mut txn, 800, 180), []);
    assert_eq!(run(&mut txn), [(32100, vec![Action::Ended])]);
}

#[test]
fn timer_d_is_zero_over_a_stream() {
    let (mut txn, _) = start(true);
    assert_eq!(receive(&mut txn, 100, 404), [Action::Ack, Action::Deliver, Action::Ended]);
    assert_eq!(txn.poll_timeout(), None);
}

#[test]
fn every_2xx_reaches_the_user_until_timer_m() {
    for reliable in [false, true] {
        let (mut txn, _) = start(reliable);
        assert_eq!(receive(&mut txn, 100, 180), [Action::Deliver]);
        assert_eq!(receive(&mut txn, 1000, 200), [Action::Deliver]);
        assert_eq!(receive(&mut txn, 1500, 200), [Action::Deliver]);
        assert_eq!(receive(&mut txn, 1600, 486), []);
        assert_eq!(receive(&mut txn, 1700, 183), []);
        assert_eq!(run(&mut txn), [(33000, vec![Action::Ended])]);
    }
}

#[test]
fn a_cancelled_invite_fails_when_no_final_response_comes_in_64_t1() {
    let (mut txn, timers) = start(false);
    receive(&mut txn, 100, 180);
    txn.handle_cancel(at(5000), &timers);
    assert_eq!(receive(&mut txn, 6000, 180), [Action::Deliver]);
    txn.handle_cancel(at(7000), &timers);
    assert_eq!(run(&mut txn), [(37000, vec![Action::TimedOut, Action::Ended])]);
}

#[test]
fn a_broken_connection_is_told_only_before_the_final_response() {
    let (mut txn, _) = start(true);
    assert!(txn.handle_transport_error());
    assert!(!txn.handle_transport_error());
    let (mut txn, _) = start(true);
    receive(&mut txn, 100, 200);
    assert!(!txn.handle_transport_error());
}
