//! The guard against guessed passwords (threats B10): five wrong ones a minute from one source for one user, then silence.

use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Wrong passwords that are evaluated per window.
const MAX_FAILURES: u32 = 5;
/// How long failures count, and at most how long the silence lasts.
const WINDOW: Duration = Duration::from_secs(60);
/// Pairs of source and user that are remembered; the one that failed first is forgotten for a new one.
const MAX_PAIRS: usize = 4096;
/// Longest user name that is remembered as it is.
const MAX_NAME: usize = 64;

/// Counts failures per source and claimed user, so that the right user elsewhere is never shut out.
#[derive(Debug, Default)]
pub(super) struct Guard {
    failures: BTreeMap<(IpAddr, String), Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Guard {
    /// Whether credentials of `user` from `source` may be looked at now.
    pub(super) fn allows(&self, now: Instant, source: IpAddr, user: &str) -> bool {
        self.failures
            .get(&key(source, user))
            .is_none_or(|failures| now.since(failures.since) >= WINDOW || failures.count < MAX_FAILURES)
    }

    /// A wrong password.
    pub(super) fn failed(&mut self, now: Instant, source: IpAddr, user: &str) {
        let key = key(source, user);
        if !self.failures.contains_key(&key) && self.failures.len() >= MAX_PAIRS {
            self.failures.retain(|_, failures| now.since(failures.since) < WINDOW);
            if self.failures.len() >= MAX_PAIRS
                && let Some(oldest) =
                    self.failures.iter().min_by_key(|(_, failures)| failures.since).map(|(key, _)| key.clone())
            {
                self.failures.remove(&oldest);
            }
        }
        let failures = self.failures.entry(key).or_insert(Failures { since: now, count: 0 });
        if now.since(failures.since) >= WINDOW {
            *failures = Failures { since: now, count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// The right password: earlier slips are forgiven.
    pub(super) fn succeeded(&mut self, source: IpAddr, user: &str) {
        self.failures.remove(&key(source, user));
    }
}

fn key(source: IpAddr, user: &str) -> (IpAddr, String) {
    (source.to_canonical(), user.chars().take(MAX_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 9));
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn the_sixth_guess_in_a_minute_is_not_evaluated_and_others_go_on() {
        let mut guard = Guard::default();
        for second in 0..5 {
            assert!(guard.allows(at(second), EVE, "alice"));
            guard.failed(at(second), EVE, "alice");
        }
        assert!(!guard.allows(at(5), EVE, "alice"));
        assert!(guard.allows(at(5), HOME, "alice"));
        assert!(guard.allows(at(5), EVE, "bob"));
        assert!(!guard.allows(at(59), EVE, "alice"));
        assert!(guard.allows(at(60), EVE, "alice"));
    }

    #[test]
    fn ten_thousand_guesses_in_ten_minutes_give_fifty_evaluations() {
        let mut guard = Guard::default();
        let mut evaluated = 0;
        for guess in 0..10_000 {
            let now = Instant::ZERO + Duration::from_millis(60 * guess);
            if guard.allows(now, EVE, "alice") {
                evaluated += 1;
                guard.failed(now, EVE, "alice");
            }
        }
        assert_eq!(evaluated, 50);
    }

    #[test]
    fn the_right_password_forgives_and_the_table_stays_small() {
        let mut guard = Guard::default();
        for _ in 0..4 {
            guard.failed(at(0), HOME, "alice");
        }
        guard.succeeded(HOME, "alice");
        guard.failed(at(1), HOME, "alice");
        assert!(guard.allows(at(1), HOME, "alice"));
        for user in 0..5000 {
            guard.failed(at(2), EVE, &format!("user{user}"));
        }
        assert_eq!(guard.failures.len(), MAX_PAIRS);
    }
}
