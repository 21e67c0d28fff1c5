//! Our own time: a number of nanoseconds that only the driver (or the test world) advances.
//!
//! [`Instant`] is a plain `u64`, so it can be written down, replayed and started near a wrap of
//! any counter derived from it. The driver takes it from `CLOCK_BOOTTIME`, which goes on during suspend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};
pub use std::time::Duration;

/// Nanoseconds since the driver's start. Arithmetic saturates: time never panics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's start.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the driver's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the driver's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Rounds up to the next multiple of `grid` nanoseconds, so that many timers share one wake-up.
    #[must_use]
    pub fn round_up(self, grid: Duration) -> Self {
        let grid = nanos(grid).max(1);
        Self(self.0.div_ceil(grid).saturating_mul(grid))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, after: Duration) {
        *self = *self + after;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(before)))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The one place where an [`Instant`] becomes wall-clock time (NTP stamps, dates, log lines).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    instant: Instant,
    unix: Duration,
}

impl Epoch {
    /// Says that `instant` was `unix` after 1970-01-01T00:00:00Z.
    pub const fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// Time since 1970-01-01T00:00:00Z.
    pub fn unix(&self, now: Instant) -> Duration {
        if now >= self.instant {
            self.unix.saturating_add(now - self.instant)
        } else {
            self.unix.saturating_sub(self.instant - now)
        }
    }

    /// The 64-bit NTP timestamp of `now` (RFC 3550 §4): seconds since 1900 and a binary fraction.
    pub fn ntp(&self, now: Instant) -> u64 {
        const FROM_1900_TO_1970: u64 = 2_208_988_800;
        let unix = self.unix(now);
        let seconds = unix.as_secs().wrapping_add(FROM_1900_TO_1970);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        (seconds << 32) | fraction
    }
}

/// Deadlines of many machines, keyed by a small copyable key (seam 6: never by a string).
#[derive(Debug, Clone)]
pub struct Deadlines<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the deadline of `key`; `None` removes it. Call it after every input of a machine.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns one key whose deadline is not after `now`, earliest first.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }

    /// True when nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// How many keys are scheduled.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// The earlier of two optional deadlines.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(n)
    }

    #[test]
    fn deadlines_come_back_in_time_order_and_only_once() {
        let mut deadlines = Deadlines::new();
        deadlines.set(1, Some(ms(30)));
        deadlines.set(2, Some(ms(10)));
        deadlines.set(3, Some(ms(20)));
        deadlines.set(3, None);
        deadlines.set(1, Some(ms(5)));

        assert_eq!(deadlines.next(), Some(ms(5)));
        assert_eq!(deadlines.pop_expired(ms(4)), None);
        assert_eq!(deadlines.pop_expired(ms(10)), Some(1));
        assert_eq!(deadlines.pop_expired(ms(10)), Some(2));
        assert_eq!(deadlines.pop_expired(ms(99)), None);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn ntp_of_the_unix_epoch_is_2208988800_seconds() {
        let epoch = Epoch::new(Instant::ZERO, Duration::from_millis(500));
        assert_eq!(epoch.ntp(Instant::ZERO), (2_208_988_800 << 32) | 0x8000_0000);
    }

    #[test]
    fn rounding_to_the_grid_never_goes_back() {
        let grid = Duration::from_micros(2500);
        assert_eq!(ms(5).round_up(grid), ms(5));
        assert_eq!((ms(5) + Duration::from_nanos(1)).round_up(grid), Instant::from_nanos(7_500_000));
        assert_eq!(Instant::from_nanos(u64::MAX).round_up(grid).as_nanos(), u64::MAX);
    }
}
