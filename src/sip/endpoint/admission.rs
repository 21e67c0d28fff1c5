//! A token bucket of new INVITEs for each source address (threats B1).

use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Sources remembered at once; beyond that, unknown ones wait until others have been quiet for a second.
const MAX_SOURCES: usize = 8192;

/// For each source, when its bucket will be full again: a bucket of one second's worth (GCRA).
#[derive(Debug, Default)]
pub(super) struct Admission {
    full_at: BTreeMap<IpAddr, Instant>,
}

impl Admission {
    /// Whether `source` may have one more of `rate` a second; 0 is no limit.
    pub(super) fn admit(&mut self, now: Instant, source: IpAddr, rate: u32) -> bool {
        let second = Duration::from_secs(1);
        let Some(token) = second.checked_div(rate) else { return true };
        if self.full_at.len() >= MAX_SOURCES && !self.full_at.contains_key(&source) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_SOURCES {
                return false;
            }
        }
        let full_at = self.full_at.get(&source).map_or(now, |full_at| now.max(*full_at));
        if (full_at - now) + token > second {
            return false;
        }
        self.full_at.insert(source, full_at + token);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_a_second_s_worth_at_once_and_then_its_rate() {
        let (mut admission, now) = (Admission::default(), Instant::ZERO);
        let [a, b] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        assert_eq!((0..100).filter(|_| admission.admit(now, a, 20)).count(), 20);
        assert!(admission.admit(now, b, 20));
        assert!(!admission.admit(now + Duration::from_millis(49), a, 20));
        assert!(admission.admit(now + Duration::from_millis(50), a, 20));
        assert_eq!((0..100).filter(|_| admission.admit(now + Duration::from_secs(9), a, 20)).count(), 20);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut admission = Admission::default();
        assert!((0..100_000).all(|_| admission.admit(Instant::ZERO, IpAddr::from([192, 0, 2, 1]), 0)));
    }
}
