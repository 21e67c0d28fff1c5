use super::*;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

fn answer(txn: &mut ServerInvite, ms: u64, status: u16) -> Outbox {
    let mut out = Outbox::new();
    txn.respond(at(ms), &Timers::default(), StatusCode::new(status).expect("a status code"), &mut out);
    out
}

fn again(txn: &ServerInvite) -> Outbox {
    let mut out = Outbox::new();
    txn.handle_request(&mut out);
    out
}

fn ack(txn: &mut ServerInvite, ms: u64) -> Outbox {
    let mut out = Outbox::new();
    txn.handle_ack(at(ms), &Timers::default(), &mut out);
    out
}

fn run(txn: &mut ServerInvite) -> Vec<(u64, Outbox)> {
    let mut rows = Vec::new();
    while let Some(now) = txn.poll_timeout() {
        let mut out = Outbox::new();
        txn.handle_timeout(now, &Timers::default(), &mut out);
        rows.push((now.as_nanos() / 1_000_000, out));
    }
    rows
}

#[test]
fn trying_leaves_after_200_ms_and_then_answers_each_copy() {
    let mut txn = ServerInvite::new(at(0), false);
    assert_eq!(again(&txn), []);
    assert_eq!(run(&mut txn), [(200, vec![Action::Trying])]);
    assert_eq!(again(&txn), [Action::Send]);
}

#[test]
fn an_early_answer_makes_trying_needless() {
    let mut txn = ServerInvite::new(at(0), false);
    assert_eq!(answer(&mut txn, 50, 180), [Action::Send]);
    assert_eq!(txn.poll_timeout(), None);
    assert_eq!(again(&txn), [Action::Send]);
}

#[test]
fn timer_g_repeats_a_refusal_until_timer_h() {
    let mut txn = ServerInvite::new(at(0), false);
    assert_eq!(answer(&mut txn, 0, 486), [Action::Send]);
    let rows = run(&mut txn);
    let times: Vec<u64> = rows.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500, 32000]);
    assert_eq!(rows[10].1, [Action::Ended]);
}

#[test]
fn over_a_stream_only_timer_h_runs() {
    let mut txn = ServerInvite::new(at(0), true);
    assert_eq!(answer(&mut txn, 10, 486), [Action::Send]);
    assert_eq!(run(&mut txn), [(32010, vec![Action::Ended])]);
}

#[test]
fn the_ack_of_a_refusal_is_absorbed_until_timer_i() {
    let mut txn = ServerInvite::new(at(0), false);
    answer(&mut txn, 0, 486);
    assert_eq!(again(&txn), [Action::Send]);
    assert_eq!(ack(&mut txn, 100), []);
    assert_eq!(again(&txn), []);
    assert_eq!(ack(&mut txn, 200), []);
    assert_eq!(answer(&mut txn, 300, 200), []);
    assert_eq!(run(&mut txn), [(5100, vec![Action::Ended])]);
}

#[test]
fn timer_i_is_zero_over_a_stream() {
    let mut txn = ServerInvite::new(at(0), true);
    answer(&mut txn, 0, 486);
    assert_eq!(ack(&mut txn, 100), [Action::Ended]);
}

#[test]
fn after_a_2xx_copies_are_absorbed_and_acks_handed_on_until_timer_l() {
    for reliable in [false, true] {
        let mut txn = ServerInvite::new(at(0), reliable);
        assert_eq!(answer(&mut txn, 1000, 200), [Action::Send]);
        assert_eq!(again(&txn), []);
        assert_eq!(answer(&mut txn, 1500, 200), [Action::Send]);
        assert_eq!(answer(&mut txn, 1600, 486), []);
        assert_eq!(ack(&mut txn, 1700), [Action::Deliver]);
        assert_eq!(run(&mut txn), [(33000, vec![Action::Ended])]);
    }
}

#[test]
fn an_ack_before_any_final_response_means_nothing() {
    let mut txn = ServerInvite::new(at(0), false);
    assert_eq!(ack(&mut txn, 10), []);
    assert!(txn.is_proceeding());
}
