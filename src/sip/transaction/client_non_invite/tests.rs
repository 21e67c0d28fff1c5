use super::*;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn start(reliable: bool) -> ClientNonInvite {
    let mut out = Outbox::new();
    let txn = ClientNonInvite::new(at(0), &Timers::default(), reliable, &mut out);
    assert_eq!(out, [Action::Send]);
    txn
}

fn receive(txn: &mut ClientNonInvite, ms: u64, status: u16) -> Outbox {
    let mut out = Outbox::new();
    txn.handle_response(at(ms), &Timers::default(), StatusCode::new(status).expect("a status code"), &mut out);
    out
}

fn run(txn: &mut ClientNonInvite) -> Vec<(u64, Outbox)> {
    let mut rows = Vec::new();
    while let Some(now) = txn.poll_timeout() {
        let mut out = Outbox::new();
        txn.handle_timeout(now, &Timers::default(), &mut out);
        rows.push((now.as_nanos() / 1_000_000, out));
    }
    rows
}

#[test]
fn timer_e_backs_off_to_t2_and_timer_f_gives_up_at_64_t1() {
    let rows = run(&mut start(false));
    let times: Vec<u64> = rows.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000]);
    assert!(rows[..10].iter().all(|(_, out)| out == &[Action::Send]));
    assert_eq!(rows[10].1, [Action::TimedOut, Action::Ended]);
}

#[test]
fn over_a_stream_only_timer_f_runs() {
    assert_eq!(run(&mut start(true)), [(32000, vec![Action::TimedOut, Action::Ended])]);
}

#[test]
fn after_a_provisional_response_timer_e_runs_every_t2() {
    let mut txn = start(false);
    assert_eq!(receive(&mut txn, 100, 183), [Action::Deliver]);
    let times: Vec<u64> = run(&mut txn).iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500, 32000]);
}

#[test]
fn a_final_response_is_told_once_and_its_copies_are_absorbed_until_timer_k() {
    let mut txn = start(false);
    assert_eq!(receive(&mut txn, 100, 200), [Action::Deliver]);
    assert_eq!(receive(&mut txn, 600, 200), []);
    assert_eq!(run(&mut txn), [(5100, vec![Action::Ended])]);
}

#[test]
fn timer_k_is_zero_over_a_stream() {
    let mut txn = start(true);
    assert_eq!(receive(&mut txn, 100, 401), [Action::Deliver, Action::Ended]);
    assert_eq!(txn.poll_timeout(), None);
    assert!(!txn.handle_transport_error());
}
