//! The one clock (`CLOCK_BOOTTIME`) and the one timer (`timerfd` on it).

use crate::time::{Epoch, Instant};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn boot_time() -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?))
}

/// Makes [`Instant`]s: nanoseconds since it was made.
pub(super) struct Clock {
    start: Duration,
    epoch: Epoch,
}

impl Clock {
    pub(super) fn new() -> io::Result<Self> {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self { start: boot_time()?, epoch: Epoch::new(Instant::ZERO, unix) })
    }

    pub(super) fn now(&self) -> Instant {
        // The clock was there when it was first read; it cannot go away.
        let since = boot_time().unwrap_or(self.start).saturating_sub(self.start);
        Instant::ZERO + since
    }

    /// How long ago something was that the wall clock saw at `at`; nothing if that lies in the future, as after a step of that clock.
    pub(super) fn age(at: Duration) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(at).min(OLDEST)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

/// What a step of the wall clock can make of an age.
const OLDEST: Duration = Duration::from_secs(1);

/// Becomes readable at the instant it is armed with.
pub(super) struct Alarm {
    timer: TimerFd,
    armed: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self { timer: TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags)?, armed: None })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.timer.as_fd().as_raw_fd()
    }

    /// Arms it anew where that changes anything; a past instant fires at once.
    pub(super) fn set(&mut self, clock: &Clock, at: Option<Instant>) -> io::Result<()> {
        if at == self.armed {
            return Ok(());
        }
        match at {
            Some(instant) => {
                let due = clock.start.saturating_add(Duration::from_nanos(instant.as_nanos()));
                // Beyond what a timespec holds is "never" for us.
                let due = TimeSpec::from(due.min(Duration::from_secs(i32::MAX as u64)));
                self.timer.set(Expiration::OneShot(due), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            None => self.timer.unset()?,
        }
        self.armed = at;
        Ok(())
    }

    /// To be called when it fired: the next [`Alarm::set`] arms it in any case, which also clears its readiness.
    pub(super) fn fired(&mut self) {
        self.armed = None;
    }
}
