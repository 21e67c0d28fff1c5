//! Reception statistics (RFC 3550 appendices A.1, A.3 and A.8), sound levels and the E-model estimate of quality.

use crate::time::Instant;

/// What was received of one synchronization source, for receiver reports.
#[derive(Debug, Clone)]
pub struct Reception {
    clock_rate: u32,
    base: u32,
    highest: u16,
    cycles: u32,
    /// Packets since `base`.
    received: u64,
    /// Packets lost before the last restart of numbering.
    lost_before: u64,
    received_before: u64,
    /// A sequence number far off: the next one after it means the sender restarted.
    suspect: Option<u16>,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<i64>,
    /// In timestamp units.
    jitter: f64,
}

impl Reception {
    /// Starts with the first packet of a source.
    pub fn new(clock_rate: u32, seq: u16) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            base: u32::from(seq),
            highest: seq,
            cycles: 0,
            received: 0,
            lost_before: 0,
            received_before: 0,
            suspect: None,
            expected_prior: 0,
            received_prior: 0,
            transit: None,
            jitter: 0.0,
        }
    }

    /// Counts a packet (A.1); false if its number is so far off that it is not believed yet.
    pub fn handle_seq(&mut self, seq: u16) -> bool {
        let step = seq.wrapping_sub(self.highest);
        if step < MAX_DROPOUT {
            if seq < self.highest {
                self.cycles = self.cycles.wrapping_add(1 << 16);
            }
            self.highest = seq;
        } else if step <= u16::MAX - MAX_MISORDER {
            if self.suspect != Some(seq) {
                self.suspect = Some(seq.wrapping_add(1));
                return false;
            }
            self.restart(seq);
        }
        self.suspect = None;
        self.received += 1;
        true
    }

    /// The timestamps count at another clock from now on (RFC 7160 §4): the jitter is the same time in other units, and
    /// no transit time is compared across the change.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        let clock_rate = clock_rate.max(1);
        if clock_rate != self.clock_rate {
            self.jitter *= f64::from(clock_rate) / f64::from(self.clock_rate);
            self.clock_rate = clock_rate;
            self.transit = None;
        }
    }

    /// Notes when a packet of sound arrived (A.8).
    pub fn handle_arrival(&mut self, now: Instant, timestamp: u32) {
        let rate = i128::from(self.clock_rate);
        let arrival = (i128::from(now.as_nanos()) * rate / 1_000_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            // Wraps like the timestamps do.
            let step = f64::from(transit.wrapping_sub(before) as i32).abs();
            // A talk spurt after a stopped clock, or a restart, is not jitter.
            if step < f64::from(self.clock_rate) * 3.0 {
                self.jitter += (step - self.jitter) / 16.0;
            }
        }
    }

    /// Packets received.
    pub fn received(&self) -> u64 {
        self.received_before + self.received
    }

    /// Packets lost, duplicates counted against them; never negative here.
    pub fn lost(&self) -> u64 {
        self.lost_before + self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter in milliseconds.
    pub fn jitter_ms(&self) -> f64 {
        self.jitter * 1000.0 / f64::from(self.clock_rate)
    }

    /// Interarrival jitter in timestamp units.
    pub fn jitter(&self) -> u32 {
        self.jitter as u32
    }

    /// Extended highest sequence number.
    pub fn highest(&self) -> u32 {
        self.cycles.wrapping_add(u32::from(self.highest))
    }

    /// Cumulative number lost for a report block (A.3): 24 bits, signed.
    pub fn cumulative_lost(&self) -> i32 {
        let lost = self.lost_before as i64 + self.expected() as i64 - self.received as i64;
        lost.clamp(-0x80_0000, 0x7F_FFFF) as i32
    }

    /// Fraction lost since the last call, in 256ths (A.3).
    pub fn take_fraction_lost(&mut self) -> u8 {
        let expected = self.expected().saturating_sub(self.expected_prior);
        let received = self.received.saturating_sub(self.received_prior);
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8
    }

    fn expected(&self) -> u64 {
        u64::from(self.highest().wrapping_sub(self.base)) + 1
    }

    fn restart(&mut self, seq: u16) {
        self.lost_before = self.lost();
        self.received_before += self.received;
        self.base = u32::from(seq);
        self.highest = seq;
        self.cycles = 0;
        self.received = 0;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.transit = None;
    }
}

/// Level of a second of sound, without keeping it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelMeter {
    energy: u64,
    samples: u64,
}

impl LevelMeter {
    /// Adds a piece.
    pub fn handle(&mut self, pcm: &[i16]) {
        let energy: u64 = pcm.iter().map(|&sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
        self.energy = self.energy.saturating_add(energy);
        self.samples += pcm.len() as u64;
    }

    /// RMS level in dBFS since the last call (-96 for silence); `None` if there was no sound at all.
    pub fn take_db(&mut self) -> Option<f64> {
        let Self { energy, samples } = std::mem::take(self);
        if samples == 0 {
            return None;
        }
        let power = energy as f64 / samples as f64 / 32_768.0_f64.powi(2);
        Some((10.0 * power.log10()).max(-96.0))
    }
}

/// Estimates the mean opinion score by the E-model (ITU-T G.107) from mouth-to-ear delay and the share of sound lost.
///
/// The narrow-band model rates nothing above G.711, so the wide-band codecs have no equipment impairment in it; what differs is
/// how well they hide losses.
pub fn mos(codec: &str, delay_ms: f64, loss: f64) -> f64 {
    let (impairment, robustness) = IMPAIRMENTS
        .iter()
        .find(|(name, ..)| codec.eq_ignore_ascii_case(name))
        .map_or((0.0, 10.0), |&(_, impairment, robustness)| (impairment, robustness));
    let beyond = delay_ms - 177.3;
    let delay = 0.024 * delay_ms + if beyond > 0.0 { 0.11 * beyond } else { 0.0 };
    let loss = loss.clamp(0.0, 1.0) * 100.0;
    let equipment = impairment + (95.0 - impairment) * loss / (loss + robustness);
    let rating = (93.2 - delay - equipment).clamp(0.0, 100.0);
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

/// Codec, equipment impairment Ie and packet-loss robustness Bpl (ITU-T G.113 appendix I for G.711 with concealment).
const IMPAIRMENTS: &[(&str, f64, f64)] =
    &[("pcmu", 0.0, 25.1), ("pcma", 0.0, 25.1), ("g722", 0.0, 13.0), ("opus", 0.0, 20.0)];
/// RFC 3550 A.1.
const MAX_DROPOUT: u16 = 3000;
const MAX_MISORDER: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    #[test]
    fn sequence_numbers_wrap_without_loss() {
        let mut reception = Reception::new(8000, 65_534);
        for seq in [65_534, 65_535, 0, 1, 2] {
            assert!(reception.handle_seq(seq));
        }
        assert_eq!((reception.received(), reception.lost()), (5, 0));
        assert_eq!(reception.highest(), 65_536 + 2);
    }

    #[test]
    fn loss_is_counted_as_a_3_says_and_duplicates_make_it_negative_only_in_the_report() {
        let mut reception = Reception::new(8000, 10);
        for seq in [10, 11, 13, 14] {
            reception.handle_seq(seq);
        }
        assert_eq!((reception.lost(), reception.cumulative_lost(), reception.take_fraction_lost()), (1, 1, 51));
        for seq in [14, 14] {
            reception.handle_seq(seq);
        }
        assert_eq!((reception.lost(), reception.cumulative_lost(), reception.take_fraction_lost()), (0, -1, 0));
    }

    #[test]
    fn a_late_packet_after_the_wrap_does_not_count_a_cycle_back() {
        let mut reception = Reception::new(8000, 65_535);
        for seq in [65_535, 1, 0] {
            reception.handle_seq(seq);
        }
        assert_eq!((reception.received(), reception.lost(), reception.highest()), (3, 0, 65_537));
    }

    #[test]
    fn a_jump_is_believed_at_the_second_packet() {
        let mut reception = Reception::new(8000, 0);
        assert!(reception.handle_seq(0));
        assert!(!reception.handle_seq(30_000));
        assert!(reception.handle_seq(30_001));
        assert_eq!((reception.received(), reception.lost()), (2, 0));
    }

    #[test]
    fn jitter_is_smoothed_by_a_sixteenth_and_survives_the_timestamp_wrap() {
        let mut reception = Reception::new(8000, 0);
        let start = u32::MAX - 159;
        for packet in 0..4_u32 {
            let late = if packet == 2 { 16 } else { 0 };
            let now = Instant::ZERO + Duration::from_millis(u64::from(packet) * 20 + late);
            reception.handle_arrival(now, start.wrapping_add(packet * 160));
        }
        // 16 ms are 128 units: 128/16 = 8, then 8 + (128 - 8)/16 = 15.5.
        assert_eq!(reception.jitter(), 15);
        assert!((reception.jitter_ms() - 15.5 / 8.0).abs() < 1e-9);
    }

    #[test]
    fn jitter_stays_the_same_time_when_the_clock_changes() {
        let mut reception = Reception::new(8000, 0);
        for (packet, late) in [(0, 0), (1, 16), (2, 0)] {
            reception.handle_arrival(Instant::ZERO + Duration::from_millis(packet * 20 + late), packet as u32 * 160);
        }
        let before = reception.jitter_ms();
        assert!(before > 1.0);
        reception.set_clock_rate(48_000);
        assert!((reception.jitter_ms() - before).abs() < 1e-9);
        // 20 ms are 960 units now: packets in time let the jitter fall.
        for packet in 3..20_u64 {
            reception.handle_arrival(Instant::ZERO + Duration::from_millis(packet * 20), packet as u32 * 960);
        }
        assert!(reception.jitter_ms() < before / 2.0, "{}", reception.jitter_ms());
    }

    #[test]
    fn the_e_model_gives_the_known_values() {
        assert!((mos("pcmu", 0.0, 0.0) - 4.41).abs() < 0.01);
        assert!((mos("pcmu", 150.0, 0.0) - 4.32).abs() < 0.02, "{}", mos("pcmu", 150.0, 0.0));
        assert!(mos("pcmu", 50.0, 0.05) < 3.9);
        assert!(mos("pcmu", 400.0, 0.0) < mos("pcmu", 200.0, 0.0));
        assert!(mos("opus", 1e6, 1.0) >= 1.0);
    }

    #[test]
    fn levels_are_of_the_last_interval_and_unknown_without_sound() {
        let mut meter = LevelMeter::default();
        assert_eq!(meter.take_db(), None);
        meter.handle(&[16_384, -16_384]);
        assert!(meter.take_db().is_some_and(|db| (db + 6.02).abs() < 0.01));
        meter.handle(&[0; 10]);
        assert_eq!(meter.take_db(), Some(-96.0));
    }
}
