//! RTP packets (RFC 3550 §5.1) over rtp-rs, of which this is the only importer.
//!
//! Its `Seq` is no total order (0 and 32768 each precede the other), so it never leaves this file: sequence numbers are
//! plain `u16` here and are extended where they are compared.

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};

/// One RTP packet; header fields by value, payload borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Set on the first packet of a talk spurt or event.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp in units of the payload's clock rate.
    pub timestamp: u32,
    /// The sender's identifier.
    pub ssrc: u32,
    /// Header extension block: its profile number and its words (RFC 3550 §5.3.1).
    pub extension: Option<(u16, &'a [u8])>,
    /// The payload without padding.
    pub payload: &'a [u8],
}

/// Why bytes are no RTP packet, or a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Too short, of another version, or with lengths that point outside.
    #[error("{bytes} bytes are no RTP packet")]
    Malformed {
        /// How many there were.
        bytes: usize,
    },
    /// Second byte 192..=223: an RTCP packet (RFC 5761 §4).
    #[error("an RTCP packet where RTP is expected")]
    Rtcp,
    /// The buffer is too small or a field is out of range.
    #[error("the packet cannot be written")]
    Unwritable,
}

impl<'a> RtpPacket<'a> {
    /// Parses one datagram.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        if is_rtcp(bytes) {
            return Err(RtpError::Rtcp);
        }
        let reader = RtpReader::new(bytes).map_err(|_| RtpError::Malformed { bytes: bytes.len() })?;
        Ok(Self {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            seq: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            extension: reader.extension(),
            payload: reader.payload(),
        })
    }

    /// Parses a datagram whose payload is not for us: it may be encrypted, and its padding with it.
    ///
    /// # Errors
    /// What is no RTP of version 2, or too short for its fixed header. CSRCs and extension count as payload.
    pub fn parse_opaque(bytes: &'a [u8]) -> Result<Self, RtpError> {
        if is_rtcp(bytes) {
            return Err(RtpError::Rtcp);
        }
        let malformed = RtpError::Malformed { bytes: bytes.len() };
        let (&[first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3], payload) =
            bytes.split_first_chunk::<12>().ok_or(malformed)?;
        if first >> 6 != 2 {
            return Err(malformed);
        }
        Ok(Self {
            payload_type: second & 0x7F,
            marker: second & 0x80 != 0,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            extension: None,
            payload,
        })
    }

    /// Writes the packet to the start of `buf` and returns its length.
    pub fn write(&self, buf: &mut [u8]) -> Result<usize, RtpError> {
        let mut builder = RtpPacketBuilder::new()
            .payload_type(self.payload_type)
            .marked(self.marker)
            .sequence(Seq::from(self.seq))
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .payload(self.payload);
        if let Some((profile, words)) = self.extension {
            builder = builder.extension(profile, words);
        }
        builder.build_into(buf).map_err(|_| RtpError::Unwritable)
    }

    /// The elements of the header extension (RFC 8285), one-byte or two-byte form, as (identifier, data).
    pub fn extension_elements(&self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let (profile, mut rest) = self.extension.unwrap_or((0, &[]));
        let form = match profile {
            0xBEDE => Some(Form::OneByte),
            0x1000..=0x100F => Some(Form::TwoByte),
            _ => None,
        };
        std::iter::from_fn(move || next_element(form?, &mut rest))
    }
}

/// True for datagrams whose second byte makes them RTCP (RFC 5761 §4).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    bytes.get(1).is_some_and(|second| (192..=223).contains(second))
}

#[derive(Debug, Clone, Copy)]
enum Form {
    OneByte,
    TwoByte,
}

fn next_element<'a>(form: Form, rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    // A zero byte is padding between elements in both forms (RFC 8285 §4.2, §4.3).
    while let Some((0, tail)) = rest.split_first() {
        *rest = tail;
    }
    let (&first, tail) = rest.split_first()?;
    let (id, length, tail) = match form {
        // Identifier 15 ends the processing (RFC 8285 §4.2).
        Form::OneByte if first >> 4 == 15 => return None,
        Form::OneByte => (first >> 4, usize::from(first & 15) + 1, tail),
        Form::TwoByte => {
            let (&length, tail) = tail.split_first()?;
            (first, usize::from(length), tail)
        }
    };
    let (data, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some((id, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RtpPacket<'static> = RtpPacket {
        payload_type: 0,
        marker: true,
        seq: 0xFFFF,
        timestamp: 0xDEAD_BEEF,
        ssrc: 0x0102_0304,
        extension: None,
        payload: &[9, 8, 7],
    };

    #[test]
    fn a_packet_is_written_as_rfc_3550_draws_it_and_read_back() {
        let mut buf = [0; 64];
        let length = PLAIN.write(&mut buf).expect("it fits");
        assert_eq!(buf[..length], [0x80, 0x80, 0xFF, 0xFF, 0xDE, 0xAD, 0xBE, 0xEF, 1, 2, 3, 4, 9, 8, 7]);
        assert_eq!(RtpPacket::parse(&buf[..length]), Ok(PLAIN));
        assert_eq!(PLAIN.write(&mut buf[..14]), Err(RtpError::Unwritable));
    }

    #[test]
    fn padding_csrc_and_extension_are_taken_off() {
        let bytes =
            [0xB1, 8, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0xBE, 0xDE, 0, 1, 0x10, 0x55, 0, 0, 1, 2, 3, 0, 0, 3];
        let packet = RtpPacket::parse(&bytes).expect("well-formed");
        assert_eq!(packet.payload, [1, 2, 3]);
        assert_eq!(packet.extension_elements().collect::<Vec<_>>(), [(1, &[0x55][..])]);
    }

    #[test]
    fn extension_elements_end_at_15_at_an_overrun_and_in_unknown_profiles() {
        let elements = |profile, words| {
            let packet = RtpPacket { extension: Some((profile, words)), ..PLAIN };
            packet.extension_elements().map(|(id, data)| (id, data.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(elements(0xBEDE, &[0x20, 1, 0, 0xF0, 0x10, 2, 0, 0]), [(2, vec![1])]);
        assert_eq!(elements(0xBEDE, &[0x2F, 1, 2, 3]), []);
        assert_eq!(elements(0x1000, &[5, 0, 0, 6, 2, 7, 8, 0]), [(5, vec![]), (6, vec![7, 8])]);
        assert_eq!(elements(0x1000, &[5, 9, 0, 0]), []);
        assert_eq!(elements(0x1234, &[0x20, 1, 0, 0]), []);
    }

    #[test]
    fn an_opaque_packet_has_its_fixed_header_and_any_padding() {
        let mut buf = [0; 64];
        let length = PLAIN.write(&mut buf).expect("it fits");
        assert_eq!(RtpPacket::parse_opaque(&buf[..length]), Ok(PLAIN));
        buf[0] |= 0x20; // the last byte would be a padding of 7 bytes out of 3
        assert!(RtpPacket::parse(&buf[..length]).is_err());
        assert_eq!(RtpPacket::parse_opaque(&buf[..length]), Ok(PLAIN));
        assert!(RtpPacket::parse_opaque(&buf[..11]).is_err() && RtpPacket::parse_opaque(&[0x40; 12]).is_err());
    }

    #[test]
    fn what_is_not_rtp_is_told_apart() {
        assert_eq!(RtpPacket::parse(&[0x80, 200, 0, 0]), Err(RtpError::Rtcp));
        assert_eq!(RtpPacket::parse(&[]), Err(RtpError::Malformed { bytes: 0 }));
        assert_eq!(RtpPacket::parse(&[0x40; 12]), Err(RtpError::Malformed { bytes: 12 }));
        assert_eq!(RtpPacket::parse(&[0x8F, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]), Err(RtpError::Malformed { bytes: 12 }));
    }

    /// Threats A6: every first byte at every length.
    #[test]
    fn no_length_and_no_first_byte_makes_parsing_panic() {
        let mut bytes = [0x11_u8; 1500];
        for first in 0..=255 {
            bytes[0] = first;
            for length in 0..=bytes.len() {
                bytes[length.saturating_sub(1)] ^= first;
                if let Ok(packet) = RtpPacket::parse(&bytes[..length]) {
                    assert!(packet.payload.len() <= length - 12);
                    assert!(packet.extension_elements().count() <= length);
                }
            }
        }
    }
}
