//! Whether redundancy in the packets is worth a frame of delay: it is while they carry it and some are lost.

/// Running shares of lost and of redundant packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Repair {
    lost: f32,
    redundant: f32,
    worthwhile: bool,
}

impl Repair {
    /// Counts packets that never came.
    pub(super) fn handle_lost(&mut self, packets: u64) {
        for _ in 0..packets.min(BURST) {
            self.lost += (1.0 - self.lost) / MEMORY;
        }
    }

    /// Counts a packet that came.
    pub(super) fn handle_packet(&mut self, has_redundancy: bool) {
        self.lost -= self.lost / MEMORY;
        let redundant = if has_redundancy { 1.0 } else { 0.0 };
        self.redundant += (redundant - self.redundant) / SHORT_MEMORY;
        let worth = if self.worthwhile { STOP_LOSS } else { START_LOSS };
        self.worthwhile = self.redundant > LEAST_REDUNDANCY && self.lost > worth;
    }

    /// True while the packet after a lost one should be waited for.
    pub(super) fn is_worthwhile(&self) -> bool {
        self.worthwhile
    }
}

/// Packets over which loss is averaged: 10 s of 20 ms.
const MEMORY: f32 = 500.0;
const SHORT_MEMORY: f32 = 64.0;
/// Lost packets in a row that count: an outage says little about loss.
const BURST: u64 = 8;
const START_LOSS: f32 = 0.01;
const STOP_LOSS: f32 = 0.0025;
const LEAST_REDUNDANCY: f32 = 0.25;
