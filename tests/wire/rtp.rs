//! What `rtp-rs` and `rtcp-types` leave to their user or get wrong, and what our packets make of the same bytes.

use bellwire::media::packet::{RtpError, RtpPacket, is_rtcp};
use bellwire::media::rtcp::{self, Block, Item, Report, RtcpError};

const HEAD: [u8; 12] = [0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 7];

fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [&HEAD[..], rest].concat();
    bytes[0] = first;
    bytes
}

#[track_caller]
fn refused(bytes: &[u8]) {
    assert_eq!(RtpPacket::parse(bytes), Err(RtpError::Malformed { bytes: bytes.len() }), "{bytes:?}");
}

#[test]
fn padding_is_taken_off_only_where_it_lies_within_the_payload() {
    let whole = packet(0xA0, &[1, 2, 3, 4, 0, 0, 0, 4]);
    assert_eq!(RtpPacket::parse(&whole).map(|packet| packet.payload), Ok(&[1, 2, 3, 4][..]));
    let all = packet(0xA0, &[0, 0, 0, 4]);
    assert_eq!(RtpPacket::parse(&all).map(|packet| packet.payload), Ok(&[][..]));
    refused(&packet(0xA0, &[1, 2, 3, 0]));
    refused(&packet(0xA0, &[1, 2, 3, 5]));
    refused(&packet(0xA0, &[1, 2, 3, 255]));
}

#[test]
fn contributing_sources_and_extensions_that_overrun_are_refused() {
    refused(&packet(0x81, &[]));
    refused(&packet(0x8F, &[0; 59]));
    assert_eq!(RtpPacket::parse(&packet(0x8F, &[0; 60])).map(|packet| packet.payload.len()), Ok(0));
    refused(&packet(0x90, &[0xBE, 0xDE, 0]));
    refused(&packet(0x90, &[0xBE, 0xDE, 0, 1]));
    refused(&packet(0x90, &[0xBE, 0xDE, 0xFF, 0xFF, 1, 2, 3, 4]));
    let empty = packet(0x90, &[0xBE, 0xDE, 0, 0, 9]);
    let read = RtpPacket::parse(&empty).expect("an extension of no words");
    assert_eq!((read.extension, read.payload), (Some((0xBEDE, &[][..])), &[9][..]));
}

#[test]
fn other_versions_and_rtcp_are_told_apart_from_rtp() {
    for first in [0x00, 0x40, 0xC0] {
        refused(&packet(first, &[1]));
    }
    for kind in 192..=223 {
        let mut bytes = packet(0x80, &[]);
        bytes[1] = kind;
        assert!(is_rtcp(&bytes), "{kind}");
        assert_eq!(RtpPacket::parse(&bytes), Err(RtpError::Rtcp), "{kind}");
    }
    for kind in [0, 8, 101, 127, 128, 191, 224, 255] {
        let mut bytes = packet(0x80, &[]);
        bytes[1] = kind;
        let read = RtpPacket::parse(&bytes).expect("RTP");
        assert_eq!((read.payload_type, read.marker), (kind & 0x7F, kind >= 128));
    }
}

#[test]
fn what_cannot_be_written_is_an_error_and_not_a_shorter_packet() {
    let plain =
        RtpPacket { payload_type: 0, marker: false, seq: 1, timestamp: 2, ssrc: 7, extension: None, payload: &[1] };
    let mut buf = [0; 64];
    assert_eq!(plain.write(&mut buf), Ok(13));
    assert_eq!(RtpPacket { payload_type: 128, ..plain }.write(&mut buf), Err(RtpError::Unwritable));
    assert_eq!(RtpPacket { extension: Some((1, &[1, 2, 3])), ..plain }.write(&mut buf), Err(RtpError::Unwritable));
    assert_eq!(plain.write(&mut [0; 12]), Err(RtpError::Unwritable));
}

/// `rtp_rs::Seq` is no total order; whatever orders packets here must be one, wherever the count stands.
#[test]
fn sequence_numbers_are_plain_numbers_outside_the_facade() {
    let mut seqs: Vec<u16> = (0..=u16::MAX).step_by(4_099).collect();
    for payload_seq in &seqs {
        let mut bytes = packet(0x80, &[1]);
        bytes[2..4].copy_from_slice(&payload_seq.to_be_bytes());
        assert_eq!(RtpPacket::parse(&bytes).map(|packet| packet.seq), Ok(*payload_seq));
    }
    seqs.sort_unstable(); // a type whose order is none could panic here
    assert!(seqs.is_sorted());
}

fn items(bytes: &[u8]) -> (Vec<Item>, Result<(), RtcpError>) {
    let mut items = Vec::new();
    let result = rtcp::parse(bytes, |item| items.push(item));
    (items, result)
}

fn receiver_report() -> Vec<u8> {
    let block = Block { ssrc: 9, fraction: 1, lost: -1, highest: 5, jitter: 2, last_sr: 0, since_last_sr: 0 };
    let mut buf = vec![0; 128];
    let report = Report { ssrc: 7, sender: None, block: Some(block), cname: "c", bye: false };
    let length = report.write(&mut buf).expect("it fits");
    buf.truncate(length);
    buf
}

#[test]
fn an_unknown_block_in_a_compound_packet_is_skipped_by_its_length() {
    let unknown: [&[u8]; 3] = [
        &[0x80, 209, 0, 1, 1, 2, 3, 4],                         // a type without a name
        &[0x80, 207, 0, 3, 0, 0, 0, 7, 7, 0, 0, 1, 1, 2, 3, 4], // XR
        &[0x8F, 206, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 0, 0, 0, 0], // REMB
    ];
    for block in unknown {
        let goodbye = [0x81, 203, 0, 1, 0, 0, 0, 7];
        let bytes = [&receiver_report()[..], block, &goodbye].concat();
        let (found, result) = items(&bytes);
        assert_eq!(result, Ok(()), "{block:?}");
        assert_eq!(found.last(), Some(&Item::Bye { ssrc: 7 }), "{block:?}");
    }
}

#[test]
fn lengths_that_do_not_add_up_end_the_reading() {
    let report = receiver_report();
    for cut in 1..report.len() {
        let (found, result) = items(&report[..cut]);
        assert!(result.is_err() || found.is_empty() || cut % 4 == 0, "cut at {cut}: {found:?}");
    }
    let mut long = report.clone();
    long[3] = 0xFF;
    assert_eq!(items(&long), (vec![], Err(RtcpError::Malformed)));
    let mut counted = report;
    counted[0] = 0x9F; // 31 blocks in a packet with one
    assert!(items(&counted).1.is_err());
}

#[test]
fn the_sum_of_losses_has_a_sign() {
    let (found, _) = items(&receiver_report());
    assert!(matches!(found[..], [Item::Block { block: Block { lost: -1, .. }, .. }]), "{found:?}");
}
