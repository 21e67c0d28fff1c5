use super::*;

fn ms(n: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(n)
}

struct Stream {
    buffer: JitterBuffer,
    target: TargetDelay,
}

impl Stream {
    fn new() -> Self {
        Self { buffer: JitterBuffer::new(8000), target: TargetDelay::new() }
    }

    /// Packet `seq` of 20 ms with timestamp `seq * 160`, arriving at `at` ms; its payload is its number.
    fn packet(&mut self, at: u64, seq: u16) -> Placed {
        self.at(at, seq, u32::from(seq).wrapping_mul(160))
    }

    fn at(&mut self, at: u64, seq: u16, time: u32) -> Placed {
        self.buffer.insert(ms(at), seq, time, false, &seq.to_be_bytes(), &mut self.target)
    }

    /// Takes the first packet out and returns its payload as a number.
    fn take(&mut self) -> Option<u16> {
        let first = self.buffer.first()?;
        let payload = self.buffer.payload(&first).try_into().expect("two bytes went in");
        self.buffer.remove_first();
        Some(u16::from_be_bytes(payload))
    }
}

const QUEUED: Placed = Placed::In(Inserted::Queued);
const LATE: Placed = Placed::In(Inserted::Late);
const DUPLICATE: Placed = Placed::In(Inserted::Duplicate);
const OVERFLOW: Placed = Placed::In(Inserted::Overflow);
const MALFORMED: Placed = Placed::In(Inserted::Malformed);

#[test]
fn packets_leave_in_sequence_order_however_they_come() {
    let mut stream = Stream::new();
    for seq in [5, 3, 4, 8, 6] {
        assert_eq!(stream.packet(100 + u64::from(seq), seq), QUEUED);
    }
    assert_eq!(stream.packet(110, 4), DUPLICATE);
    assert_eq!((stream.take(), stream.take(), stream.take(), stream.take()), (Some(3), Some(4), Some(5), Some(6)));
    assert_eq!(stream.packet(120, 5), LATE);
    assert_eq!(stream.packet(121, 7), QUEUED);
    assert_eq!((stream.take(), stream.take(), stream.take()), (Some(7), Some(8), None));
    assert_eq!(stream.packet(122, 7), LATE);
}

#[test]
fn the_wrap_of_the_sequence_number_and_of_the_timestamp_goes_unnoticed() {
    let mut stream = Stream::new();
    for i in 0..6_u16 {
        let (seq, time) = (65_533_u16.wrapping_add(i), (u32::MAX - 320).wrapping_add(u32::from(i) * 160));
        assert_eq!(stream.at(100 + 20 * u64::from(i), seq, time), QUEUED);
    }
    let taken: Vec<_> = std::iter::from_fn(|| stream.take()).collect();
    assert_eq!(taken, [65_533, 65_534, 65_535, 0, 1, 2]);
    assert!(stream.target.wanted() < Duration::from_millis(3), "{:?}", stream.target.wanted());
}

#[test]
fn one_wild_packet_is_refused_and_a_second_one_starts_a_new_timeline() {
    let mut stream = Stream::new();
    for seq in 0..5 {
        assert_eq!(stream.packet(20 * u64::from(seq), seq), QUEUED);
    }
    assert_eq!(stream.at(100, 5, 0x8000_0000), MALFORMED); // timestamp jump
    assert_eq!(stream.packet(120, 6), QUEUED); // and the stream goes on
    assert_eq!(stream.at(140, 30_000, 7 * 160), MALFORMED); // sequence jump
    assert_eq!(stream.at(160, 30_001, 8 * 160), Placed::Resynchronized);
    assert_eq!(stream.at(180, 30_002, 9 * 160), QUEUED);
    assert_eq!((stream.take(), stream.take(), stream.take()), (Some(30_001), Some(30_002), None));
}

#[test]
fn a_buffer_that_nobody_empties_drops_its_oldest_packets() {
    let mut stream = Stream::new();
    for seq in 0..255 {
        assert_eq!(stream.packet(20 * u64::from(seq), seq), QUEUED);
    }
    assert_eq!(stream.packet(5100, 255), OVERFLOW);
    assert_eq!(stream.buffer.len(), 255);
    assert_eq!(stream.take(), Some(1));
}

#[test]
fn a_payload_longer_than_any_datagram_is_refused() {
    let mut stream = Stream::new();
    assert_eq!(stream.buffer.insert(ms(0), 1, 0, false, &[0; 1501], &mut stream.target), MALFORMED);
    assert_eq!(stream.buffer.len(), 0);
}

#[test]
fn the_target_is_what_the_latest_packets_needed() {
    let mut stream = Stream::new();
    for i in 0..1000_u16 {
        // Every 20th packet is 50 ms late.
        stream.packet(100 + 20 * u64::from(i) + if i % 20 == 7 { 50 } else { 0 }, i);
        stream.take();
    }
    assert_eq!(stream.target.wanted(), Duration::from_millis(52));
}

#[test]
fn one_stall_in_a_minute_does_not_raise_the_target_for_good() {
    let mut stream = Stream::new();
    for i in 0..3000_u16 {
        stream.packet(100 + 20 * u64::from(i) + if i == 1500 { 200 } else { 0 }, i);
        stream.take();
    }
    assert_eq!(stream.target.wanted(), Duration::from_millis(2));
}

#[test]
fn clock_drift_is_not_taken_for_jitter() {
    let mut stream = Stream::new();
    for i in 0..6000_u64 {
        // The sender's clock is 200 ppm slow.
        stream.at(100 + (20 * i) + (20 * i) / 5000, i as u16, i as u32 * 160);
        stream.take();
    }
    assert!(stream.target.wanted() <= Duration::from_millis(4), "{:?}", stream.target.wanted());
}
