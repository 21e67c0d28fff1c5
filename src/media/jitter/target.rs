//! The delay that the network demands: a quantile of how much later than the fastest packet the others come.
//!
//! Each half second gives one value, the latest of its packets relative to the fastest of the last seconds. The
//! values fill a histogram that forgets; the target is the delay that all but the worst few of them needed.

use crate::time::{Duration, Instant};

/// Learns from transit times which delay to aim at.
pub(crate) struct TargetDelay {
    /// Weight of each [`BUCKET`] of relative delay. New values weigh `grain`, which grows instead of the old ones shrinking.
    histogram: Box<[f32; BUCKETS]>,
    total: f32,
    grain: f32,
    quantile: Duration,
    /// Least transit of each of the last periods, in ns.
    least: [i64; LEAST_PERIODS],
    /// Latest packet of the current period, relative, in ns.
    worst: Option<i64>,
    period_end: Option<Instant>,
}

impl TargetDelay {
    /// Makes an estimator that has seen nothing and asks for no delay.
    pub(crate) fn new() -> Self {
        let mut histogram = Box::new([0.0; BUCKETS]);
        histogram[0] = PRIOR;
        Self {
            histogram,
            total: PRIOR,
            grain: 1.0,
            quantile: Duration::ZERO,
            least: [i64::MAX; LEAST_PERIODS],
            worst: None,
            period_end: None,
        }
    }

    /// Forgets the timeline but not what the network is like.
    pub(crate) fn restart(&mut self) {
        self.least = [i64::MAX; LEAST_PERIODS];
        self.worst = None;
        self.period_end = None;
    }

    /// Takes the transit time (arrival minus nominal sending time, arbitrary origin) of a packet.
    pub(crate) fn handle_transit(&mut self, now: Instant, transit: i64) {
        let end = *self.period_end.get_or_insert(now + PERIOD);
        if now >= end {
            self.end_period();
            self.period_end = Some(now + PERIOD);
        }
        self.least[0] = self.least[0].min(transit);
        let relative = transit - self.fastest();
        let before = self.worst.map(bucket);
        if self.worst.is_none_or(|worst| relative > worst) {
            self.worst = Some(relative);
        }
        if before < self.worst.map(bucket) {
            self.quantile = self.compute_quantile();
        }
    }

    /// Transit time of the fastest packet of the last seconds, the origin of all delays here.
    pub(crate) fn fastest(&self) -> i64 {
        self.least.iter().copied().min().unwrap_or(i64::MAX)
    }

    /// Delay behind the fastest packet that most packets need.
    pub(crate) fn wanted(&self) -> Duration {
        self.quantile
    }

    fn end_period(&mut self) {
        if let Some(worst) = self.worst.take() {
            self.histogram[bucket(worst)] += self.grain;
            self.total += self.grain;
            self.grain /= FORGET;
            if self.grain > 1e6 {
                for weight in self.histogram.iter_mut() {
                    *weight /= self.grain;
                }
                self.total /= self.grain;
                self.grain = 1.0;
            }
            self.quantile = self.compute_quantile();
        }
        self.least.rotate_right(1);
        self.least[0] = i64::MAX;
    }

    /// The quantile of the histogram and of the period that is not over yet, which need not wait to be believed.
    fn compute_quantile(&self) -> Duration {
        let current = self.worst.map(bucket);
        let total = self.total + if current.is_some() { self.grain } else { 0.0 };
        let mut above = total * (1.0 - QUANTILE);
        for (bucket, weight) in self.histogram.iter().enumerate().rev() {
            above -= weight + if current == Some(bucket) { self.grain } else { 0.0 };
            if above < 0.0 {
                return BUCKET * (bucket as u32 + 1);
            }
        }
        Duration::ZERO
    }
}

fn bucket(relative: i64) -> usize {
    ((relative.max(0) / BUCKET.as_nanos() as i64) as usize).min(BUCKETS - 1)
}

/// Width of a histogram bucket.
const BUCKET: Duration = Duration::from_millis(2);
/// Buckets up to 2 s, the greatest delay that can be configured sensibly.
const BUCKETS: usize = 1000;
/// Sound that gives one histogram value.
const PERIOD: Duration = Duration::from_millis(500);
/// Periods over which the fastest packet is sought: long enough to be stable (each step of it moves the whole
/// playout), short enough to follow clock drift (200 ppm are 2 ms in this time).
const LEAST_PERIODS: usize = 20;
/// Share of periods in which no packet should come too late.
const QUANTILE: f32 = 0.96;
/// Weight of a value against the next one: half is forgotten in 20 s.
const FORGET: f32 = 0.983;
/// Weight of the belief that a new network has no jitter: one stall early in a call is not the rule.
const PRIOR: f32 = 6.0;
