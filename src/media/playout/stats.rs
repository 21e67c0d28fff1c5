//! What a [`Playout`](super::Playout) counts.

use crate::time::Duration;

/// Counters since the start of the stream. Times are in milliseconds of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlayoutStats {
    /// Packets waiting now.
    pub queued: u32,
    /// Packets decoded.
    pub played: u64,
    /// Packets that came after their place was concealed.
    pub late: u64,
    /// Packets whose place was played over without them (late ones are among them).
    pub lost: u64,
    /// Packets received twice.
    pub duplicate: u64,
    /// Packets dropped because the buffer was full.
    pub overflow: u64,
    /// Packets refused: undecodable or out of line.
    pub malformed: u64,
    /// Times that the stream jumped and was picked up anew.
    pub resynchronized: u64,
    /// Sound made up.
    pub concealed_ms: u64,
    /// Sound inserted to gain delay.
    pub expanded_ms: u64,
    /// Sound left out to lose delay.
    pub accelerated_ms: u64,
    /// All sound pulled.
    pub pulled_ms: u64,
    /// Delay now, arrival of the fastest packets to playout.
    pub delay: Duration,
    /// Delay aimed at, on the same scale.
    pub target: Duration,
}

/// The same as counted: in packets and samples.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) played: u64,
    pub(super) late: u64,
    pub(super) lost: u64,
    pub(super) duplicate: u64,
    pub(super) overflow: u64,
    pub(super) malformed: u64,
    pub(super) resynchronized: u64,
    pub(super) concealed: u64,
    pub(super) expanded: u64,
    pub(super) accelerated: u64,
    pub(super) pulled: u64,
}

impl Counters {
    /// The counters with samples turned into milliseconds; what is not counted stays 0.
    pub(super) fn in_ms(&self, sample_rate: u32) -> PlayoutStats {
        let ms = |samples: u64| samples * 1000 / u64::from(sample_rate.max(1));
        PlayoutStats {
            played: self.played,
            late: self.late,
            lost: self.lost,
            duplicate: self.duplicate,
            overflow: self.overflow,
            malformed: self.malformed,
            resynchronized: self.resynchronized,
            concealed_ms: ms(self.concealed),
            expanded_ms: ms(self.expanded),
            accelerated_ms: ms(self.accelerated),
            pulled_ms: ms(self.pulled),
            ..PlayoutStats::default()
        }
    }
}
