//! RTCP (RFC 3550 §6) over rtcp-types, of which this is the only importer: reports out, reports and goodbyes in.

mod schedule;

use rtcp_types::prelude::*;
use rtcp_types::{Bye, Compound, Packet, ReceiverReport, ReportBlock, Sdes, SdesChunk, SdesItem, SenderReport};
pub use schedule::{Group, Schedule};

/// What one compound packet of ours says: SR or RR, then SDES with the CNAME, then BYE if we leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    /// Our SSRC.
    pub ssrc: u32,
    /// Present if we sent RTP since the last report (SR instead of RR).
    pub sender: Option<SenderInfo>,
    /// What we received, if anything.
    pub block: Option<Block>,
    /// Our canonical name.
    pub cname: &'a str,
    /// Whether we leave with it.
    pub bye: bool,
}

/// The sender part of a sender report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// 64-bit NTP time.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp: u32,
    /// Packets sent since the SSRC was taken.
    pub packets: u32,
    /// Payload octets sent since then.
    pub octets: u32,
}

/// A report block: how one receiver gets one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The source it is about.
    pub ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub fraction: u8,
    /// Lost in all; negative when duplicates exceed losses.
    pub lost: i32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 if none came.
    pub last_sr: u32,
    /// Delay since then in 1/65536 s.
    pub since_last_sr: u32,
}

/// Something that a received compound packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// `ssrc` sent a sender report.
    Sender {
        /// Who.
        ssrc: u32,
        /// Its times and counts.
        info: SenderInfo,
    },
    /// `from` tells how it receives a source.
    Block {
        /// Who.
        from: u32,
        /// What.
        block: Block,
    },
    /// `ssrc` leaves.
    Bye {
        /// Who.
        ssrc: u32,
    },
}

/// Why a datagram is no RTCP, or a report cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// Wrong version, lengths that do not add up, or it does not begin with a report (RFC 3550 A.2).
    #[error("malformed RTCP")]
    Malformed,
    /// The buffer is too small.
    #[error("the report does not fit")]
    Unwritable,
}

impl Report<'_> {
    /// Writes the compound packet to the start of `buf` and returns its length.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, RtcpError> {
        let mut compound = Compound::builder();
        compound = match self.sender {
            Some(info) => {
                let mut report = SenderReport::builder(self.ssrc)
                    .ntp_timestamp(info.ntp)
                    .rtp_timestamp(info.rtp)
                    .packet_count(info.packets)
                    .octet_count(info.octets);
                if let Some(block) = self.block {
                    report = report.add_report_block(block.builder());
                }
                compound.add_packet(report)
            }
            None => {
                let mut report = ReceiverReport::builder(self.ssrc);
                if let Some(block) = self.block {
                    report = report.add_report_block(block.builder());
                }
                compound.add_packet(report)
            }
        };
        let cname = SdesChunk::builder(self.ssrc).add_item(SdesItem::builder(SdesItem::CNAME, self.cname));
        compound = compound.add_packet(Sdes::builder().add_chunk(cname));
        if self.bye {
            compound = compound.add_packet(Bye::builder().add_source(self.ssrc));
        }
        compound.write_into(buf).map_err(|_| RtcpError::Unwritable)
    }
}

impl Block {
    fn builder(&self) -> rtcp_types::ReportBlockBuilder {
        ReportBlock::builder(self.ssrc)
            .fraction_lost(self.fraction)
            .cumulative_lost((self.lost as u32) & 0xFF_FFFF)
            .extended_sequence_number(self.highest)
            .interarrival_jitter(self.jitter)
            .last_sender_report_timestamp(self.last_sr)
            .delay_since_last_sender_report_timestamp(self.since_last_sr)
    }

    fn read(block: &ReportBlock<'_>) -> Self {
        Self {
            ssrc: block.ssrc(),
            fraction: block.fraction_lost(),
            // The sign is bit 23.
            lost: ((block.cumulative_lost() << 8) as i32) >> 8,
            highest: block.extended_sequence_number(),
            jitter: block.interarrival_jitter(),
            last_sr: block.last_sender_report_timestamp(),
            since_last_sr: block.delay_since_last_sender_report_timestamp(),
        }
    }
}

/// Reads a compound packet and hands each thing that concerns us to `each`; other packet types are skipped by their length.
///
/// # Errors
/// Nothing has been handed over if the lengths do not add up; a bad packet inside ends the reading.
pub fn parse(bytes: &[u8], mut each: impl FnMut(Item)) -> Result<(), RtcpError> {
    // The library checks the version of the first packet only, and reads four bytes from each.
    let compound = Compound::parse(bytes).map_err(|_| RtcpError::Malformed)?;
    for packet in compound {
        match packet.map_err(|_| RtcpError::Malformed)? {
            Packet::Sr(report) => {
                let info = SenderInfo {
                    ntp: report.ntp_timestamp(),
                    rtp: report.rtp_timestamp(),
                    packets: report.packet_count(),
                    octets: report.octet_count(),
                };
                each(Item::Sender { ssrc: report.ssrc(), info });
                report.report_blocks().for_each(|block| {
                    each(Item::Block { from: report.ssrc(), block: Block::read(&block) });
                });
            }
            Packet::Rr(report) => report.report_blocks().for_each(|block| {
                each(Item::Block { from: report.ssrc(), block: Block::read(&block) });
            }),
            Packet::Bye(bye) => bye.ssrcs().for_each(|ssrc| each(Item::Bye { ssrc })),
            Packet::App(_)
            | Packet::Sdes(_)
            | Packet::TransportFeedback(_)
            | Packet::PayloadFeedback(_)
            | Packet::Xr(_)
            | Packet::Unknown(_) => {}
        }
    }
    Ok(())
}

/// Round trip from a report block about us (RFC 3550 §6.4.1): `now` is the NTP time of its arrival.
///
/// `None` if the block answers no sender report, or the numbers make no sense.
pub fn round_trip_ms(now: u64, block: &Block) -> Option<f64> {
    if block.last_sr == 0 {
        return None;
    }
    let arrival = middle(now);
    let trip = arrival.wrapping_sub(block.last_sr).wrapping_sub(block.since_last_sr) as i32;
    // Rounding may make it a hair less than nothing.
    (-TOLERANCE..MOST_TRIP).contains(&trip).then(|| f64::from(trip.max(0)) * 1000.0 / 65_536.0)
}

/// The middle 32 bits of an NTP time: 1/65536 s, wrapping in 18 hours.
pub fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// 5 ms in 1/65536 s.
const TOLERANCE: i32 = 328;
/// 30 s in 1/65536 s.
const MOST_TRIP: i32 = 30 * 65_536;

#[cfg(test)]
mod tests;
