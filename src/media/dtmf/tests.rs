use super::*;

fn at(ms: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(ms)
}

/// Everything that is sent for `digits`, one entry per packet of 20 ms; `None` is sound.
fn sent(digits: &str, ms: u64, clock_rate: u32, most: usize) -> Vec<Option<EventPacket>> {
    let mut sender = DtmfSender::new(clock_rate);
    sender.push(digits, Duration::from_millis(ms));
    let step = clock_rate / 50;
    let mut packets = Vec::new();
    for turn in 0..most as u32 {
        if !sender.is_busy() {
            break;
        }
        packets.push(sender.next(1000 + turn * step, step));
    }
    packets
}

fn received(packets: &[(u64, u32, bool, [u8; 4])]) -> Vec<(char, u64)> {
    let mut receiver = DtmfReceiver::new(8000);
    let mut digits = Vec::new();
    for &(ms, timestamp, marker, payload) in packets {
        receiver.handle_timeout(at(ms), |digit, held| digits.push((digit, held.as_millis() as u64)));
        receiver.handle(at(ms), timestamp, marker, &payload, |digit, held| {
            digits.push((digit, held.as_millis() as u64));
        });
    }
    receiver.handle_timeout(at(1_000_000), |digit, held| digits.push((digit, held.as_millis() as u64)));
    digits
}

#[test]
fn a_digit_is_one_timestamp_growing_durations_and_three_ends() {
    let packets: Vec<_> = sent("5", 60, 8000, 100).into_iter().flatten().collect();
    let expected = [
        (true, [5, 10, 0, 160]),
        (false, [5, 10, 1, 64]),
        (false, [5, 0x8A, 1, 224]),
        (false, [5, 0x8A, 1, 224]),
        (false, [5, 0x8A, 1, 224]),
    ];
    assert_eq!(packets.iter().map(|packet| (packet.marker, packet.payload)).collect::<Vec<_>>(), expected);
    assert!(packets.iter().all(|packet| packet.timestamp == 1000));
}

#[test]
fn between_two_digits_there_is_sound_and_the_second_has_its_own_timestamp() {
    let packets = sent("1#", 40, 8000, 100);
    let starts: Vec<_> = packets.iter().flatten().filter(|packet| packet.marker).collect();
    assert_eq!(starts.iter().map(|packet| packet.payload[0]).collect::<Vec<_>>(), [1, 11]);
    let place = |packet: &EventPacket| packets.iter().position(|other| other.as_ref() == Some(packet));
    // Two packets of tone, two more ends, 60 ms of sound.
    assert_eq!((place(starts[0]), place(starts[1])), (Some(0), Some(7)));
    assert_eq!(packets[4..7], [None, None, None]);
    assert_eq!(starts[1].timestamp, 1000 + 7 * 160);
}

#[test]
fn a_comma_is_half_a_second_of_sound() {
    let packets = sent(",0", 40, 8000, 100);
    assert_eq!(packets.iter().position(Option::is_some), Some(25));
}

#[test]
fn only_keys_and_pauses_are_queued() {
    let mut sender = DtmfSender::new(8000);
    sender.push("x-é", Duration::from_millis(100));
    assert!(!sender.is_busy());
    sender.push("d", Duration::ZERO);
    assert_eq!(sender.next(0, 160).map(|packet| packet.payload[0]), Some(15));
}

#[test]
fn an_event_longer_than_16_bits_goes_on_in_a_new_segment_and_is_read_as_one() {
    let packets: Vec<_> = sent("9", 3000, 48_000, 1000).into_iter().flatten().collect();
    let segments: Vec<u32> =
        packets.iter().filter(|packet| packet.payload[2..] == [3, 192]).map(|p| p.timestamp).collect();
    assert_eq!(segments, [1000, 1000 + 65_280, 1000 + 130_560]);
    assert_eq!(packets.iter().filter(|packet| packet.marker).count(), 1);
    let mut receiver = DtmfReceiver::new(48_000);
    let mut digits = Vec::new();
    for packet in &packets {
        receiver
            .handle(at(0), packet.timestamp, packet.marker, &packet.payload, |digit, held| digits.push((digit, held)));
    }
    assert_eq!(digits, [('9', Duration::from_secs(3))]);
}

#[test]
fn a_digit_is_told_once_at_its_first_end() {
    let digit = [
        (0, 500, true, [3, 10, 0, 160]),
        (20, 500, false, [3, 10, 1, 64]),
        (40, 500, false, [3, 0x8A, 1, 224]),
        (40, 500, false, [3, 0x8A, 1, 224]),
        (60, 500, false, [3, 10, 1, 64]), // reordered
        (900, 500, false, [3, 0x8A, 1, 224]),
    ];
    assert_eq!(received(&digit), [('3', 60)]);
}

#[test]
fn the_same_digit_twice_is_told_twice_even_if_all_ends_of_the_first_are_lost() {
    let digits = [
        (0, 500, true, [3, 10, 0, 160]),
        (20, 500, false, [3, 10, 1, 64]),
        (200, 2100, true, [3, 10, 0, 160]),
        (220, 2100, false, [3, 0x8A, 1, 64]),
    ];
    assert_eq!(received(&digits), [('3', 40), ('3', 40)]);
}

#[test]
fn an_event_without_end_is_told_after_a_while_and_not_again_by_a_late_end() {
    let digits = [(0, 500, true, [7, 10, 0, 160]), (600, 500, false, [7, 0x8A, 1, 64])];
    assert_eq!(received(&digits), [('7', 20)]);
}

#[test]
fn only_the_end_packet_is_enough_and_timestamps_may_wrap() {
    let digits = [(0, u32::MAX - 10, false, [1, 0x8A, 3, 32]), (300, 100, false, [2, 0x8A, 3, 32])];
    assert_eq!(received(&digits), [('1', 100), ('2', 100)]);
}

#[test]
fn short_payloads_and_other_events_are_nothing() {
    let mut receiver = DtmfReceiver::new(8000);
    for payload in [&[1, 0x80, 0][..], &[16, 0x80, 0, 1], &[255, 0x80, 0, 1], &[]] {
        receiver.handle(at(0), 5, true, payload, |digit, _| panic!("told {digit}"));
    }
}

#[test]
fn durations_count_at_the_clock_of_the_event_though_the_timestamps_count_at_another() {
    // telephone-event/8000 beside Opus: 20 ms are 160 units of the one and 960 of the other.
    let mut sender = DtmfSender::new(8000);
    sender.push("1", Duration::from_secs(10));
    let packets: Vec<_> = (0..505_u32).filter_map(|turn| sender.next(turn * 960, 160)).collect();
    let duration = |packet: &EventPacket| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
    assert_eq!((packets[0].timestamp, duration(&packets[0])), (0, 160));
    assert_eq!((packets[1].timestamp, duration(&packets[1])), (0, 320));
    // 409 packets fill a segment; the next one begins at the time of the sound that it stands for.
    assert_eq!(duration(&packets[408]), 65_440);
    assert_eq!((packets[409].timestamp, duration(&packets[409])), (409 * 960, 160));
}
