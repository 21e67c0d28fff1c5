//! When RTCP is sent (RFC 3550 §6.3), for a session of two members and any number of strangers.

use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// The timer of one member. Group sizes matter only when a conference mixer passes other members through.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// When the last report was sent (`tp`).
    last: Instant,
    /// When the next is due (`tn`).
    next: Instant,
    /// No report was sent yet: half the least interval.
    initial: bool,
    /// Average size of compound packets with their IP and UDP headers, octets.
    average_size: f64,
}

/// What the schedule needs to know of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Members, ourselves included.
    pub members: u32,
    /// Those of them that send RTP.
    pub senders: u32,
    /// Whether we do.
    pub we_send: bool,
    /// Bandwidth for RTCP, octets per second: 5 % of the session's.
    pub bandwidth: u32,
}

impl Schedule {
    /// Starts the timer (§6.3.2).
    pub fn new(now: Instant, rng: &mut Rng, group: Group) -> Self {
        let mut schedule = Self { last: now, next: now, initial: true, average_size: FIRST_SIZE };
        schedule.next = now + schedule.interval(rng, group);
        schedule
    }

    /// A compound packet of `octets` (without headers below RTCP) came or went (§6.3.3).
    pub fn handle_size(&mut self, octets: usize) {
        self.average_size += (octets as f64 + UDP_IP - self.average_size) / 16.0;
    }

    /// The timer ran out: true if a report is due now, false if reconsideration put it off (§6.3.6).
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut Rng, group: Group) -> bool {
        if now < self.next {
            return false;
        }
        let due = self.last + self.interval(rng, group);
        if due > now {
            self.next = due;
            return false;
        }
        self.last = now;
        self.initial = false;
        self.next = now + self.interval(rng, group);
        true
    }

    /// When the timer runs out.
    pub fn poll_timeout(&self) -> Instant {
        self.next
    }

    /// §6.3.1, with the randomization that spreads reports over 0.5 to 1.5 intervals and the factor that makes up for it.
    fn interval(&self, rng: &mut Rng, group: Group) -> Duration {
        let members = f64::from(group.members.max(1));
        let senders = f64::from(group.senders);
        let bandwidth = f64::from(group.bandwidth.max(1));
        let (bandwidth, n) = if senders > 0.0 && senders < members * 0.25 {
            if group.we_send { (bandwidth * 0.25, senders) } else { (bandwidth * 0.75, members - senders) }
        } else {
            (bandwidth, members)
        };
        let least = if self.initial { LEAST / 2.0 } else { LEAST };
        let calculated = (self.average_size * n / bandwidth).max(least);
        Duration::from_secs_f64((calculated * (rng.unit() + 0.5) / COMPENSATION).min(3600.0))
    }
}

/// §6.2: the least interval, seconds.
const LEAST: f64 = 5.0;
/// e - 3/2, §6.3.1.
const COMPENSATION: f64 = 1.218_28;
const UDP_IP: f64 = 28.0;
/// A sender report with one block and a CNAME.
const FIRST_SIZE: f64 = 84.0 + UDP_IP;

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Group = Group { members: 2, senders: 2, we_send: true, bandwidth: 500 };

    #[test]
    fn a_call_reports_first_after_1_to_3_s_and_then_every_2_to_6_s() {
        let mut rng = Rng::new([1; 32]);
        for _ in 0..200 {
            let start = Instant::ZERO + Duration::from_secs(7);
            let mut schedule = Schedule::new(start, &mut rng, CALL);
            let mut sent = Vec::new();
            for _ in 0..40 {
                let now = schedule.poll_timeout();
                if schedule.handle_timeout(now, &mut rng, CALL) {
                    sent.push(now);
                }
            }
            let first = sent[0].since(start).as_secs_f64();
            assert!((1.0..=3.1).contains(&first), "{first}");
            for pair in sent.windows(2) {
                let step = pair[1].since(pair[0]).as_secs_f64();
                assert!((2.0..=6.2).contains(&step), "{step}");
            }
        }
    }

    #[test]
    fn a_crowd_reports_less_often_and_a_grown_one_is_reconsidered() {
        let mut rng = Rng::new([2; 32]);
        let crowd = Group { members: 1000, senders: 1, we_send: false, bandwidth: 500 };
        let mut schedule = Schedule::new(Instant::ZERO, &mut rng, CALL);
        let now = schedule.poll_timeout();
        assert!(!schedule.handle_timeout(now, &mut rng, crowd), "put off: the interval has become minutes");
        assert!(schedule.poll_timeout() > now + Duration::from_secs(60));
    }

    #[test]
    fn it_is_never_due_before_its_time() {
        let mut rng = Rng::new([3; 32]);
        let mut schedule = Schedule::new(Instant::ZERO, &mut rng, CALL);
        let before = schedule.poll_timeout() - Duration::from_nanos(1);
        assert!(!schedule.handle_timeout(before, &mut rng, CALL));
    }
}
