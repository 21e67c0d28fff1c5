use super::*;

const BLOCK: Block =
    Block { ssrc: 7, fraction: 3, lost: -2, highest: 70_000, jitter: 12, last_sr: 0x1234_5678, since_last_sr: 65_536 };

fn items(bytes: &[u8]) -> (Vec<Item>, Result<(), RtcpError>) {
    let mut items = Vec::new();
    let result = parse(bytes, |item| items.push(item));
    (items, result)
}

#[test]
fn a_sender_report_with_block_cname_and_bye_is_read_back() {
    let info = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp: 99, packets: 5, octets: 800 };
    let report = Report { ssrc: 1, sender: Some(info), block: Some(BLOCK), cname: "abc", bye: true };
    let mut buf = [0; 200];
    let length = report.write(&mut buf).expect("it fits");
    assert_eq!(length, 28 + 24 + 4 + 12 + 8);
    assert_eq!(buf[52..68], [0x81, 202, 0, 3, 0, 0, 0, 1, 1, 3, b'a', b'b', b'c', 0, 0, 0]);
    let expected = [Item::Sender { ssrc: 1, info }, Item::Block { from: 1, block: BLOCK }, Item::Bye { ssrc: 1 }];
    assert_eq!(items(&buf[..length]), (expected.to_vec(), Ok(())));
    assert_eq!(report.write(&mut buf[..50]), Err(RtcpError::Unwritable));
}

#[test]
fn who_has_sent_nothing_writes_a_receiver_report() {
    let report = Report { ssrc: 1, sender: None, block: Some(BLOCK), cname: "x", bye: false };
    let mut buf = [0; 200];
    let length = report.write(&mut buf).expect("it fits");
    assert_eq!(buf[1], 201);
    assert_eq!(items(&buf[..length]), (vec![Item::Block { from: 1, block: BLOCK }], Ok(())));
}

#[test]
fn the_round_trip_is_what_is_left_without_the_peers_delay() {
    let now = 0x0000_1236_5678_0000_u64 | 0xFFFF_0000_0000_0000;
    let sent = middle(now).wrapping_sub(65_536 + 6554); // 1 s at the peer, 100 ms on the way
    let block = Block { last_sr: sent, since_last_sr: 65_536, ..BLOCK };
    assert!(round_trip_ms(now, &block).is_some_and(|ms| (ms - 100.0).abs() < 0.1));
    assert_eq!(round_trip_ms(now, &Block { last_sr: 0, ..block }), None);
    assert_eq!(round_trip_ms(now, &Block { since_last_sr: 65_536 + 6554 + 20, ..block }), Some(0.0));
    assert_eq!(round_trip_ms(now, &Block { since_last_sr: 65_536 * 3, ..block }), None);
}

/// Threats A7: every packet type and count at every length.
#[test]
fn no_type_count_or_length_makes_parsing_panic() {
    let mut bytes = [0_u8; 256];
    for kind in 192..=223 {
        for count in 0..32 {
            bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i as u8).wrapping_mul(37) ^ count);
            for padding in [0, 0x20] {
                for length in (0..bytes.len()).step_by(1) {
                    bytes[..4].copy_from_slice(&[
                        0x80 | padding | count,
                        kind,
                        0,
                        (length / 4).saturating_sub(1) as u8,
                    ]);
                    let _ = items(&bytes[..length]);
                }
            }
        }
    }
}
