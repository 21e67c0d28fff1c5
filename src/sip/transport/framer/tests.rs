use super::*;
use crate::rng::Rng;

fn message(n: usize, body: usize) -> Vec<u8> {
    let name = ["Content-Length", "l", "CONTENT-LENGTH ", "L "][n % 4];
    let fold = if n.is_multiple_of(5) { "\r\n " } else { "" };
    let mut wire = format!("OPTIONS sip:{n}@192.0.2.1 SIP/2.0\r\nX: {n}\r\n{name}:{fold} {body}\r\n\r\n").into_bytes();
    wire.extend((0..body).map(|i| b"\r\nCL: 9"[(i + n) % 7]));
    wire
}

/// 200 messages with bodies that look like heads, keep-alives and stray line ends between them.
fn stream() -> (Vec<u8>, Vec<Frame>) {
    let (mut wire, mut frames) = (Vec::new(), Vec::new());
    for n in 0..200 {
        if n % 7 == 3 {
            wire.extend_from_slice(b"\r\n\r\n");
            frames.push(Frame::Ping);
        }
        if n % 7 == 5 {
            wire.extend_from_slice(b"\r\n");
        }
        let message = message(n, n % 23);
        wire.extend_from_slice(&message);
        frames.push(Frame::Message(message));
    }
    (wire, frames)
}

fn feed<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, FrameError> {
    let (mut framer, mut frames) = (Framer::default(), Vec::new());
    for chunk in chunks {
        framer.push(chunk);
        while let Some(frame) = framer.poll()? {
            frames.push(frame);
        }
    }
    assert!(!framer.is_mid_message());
    Ok(frames)
}

#[test]
fn the_same_messages_come_out_wherever_the_stream_is_split_in_two() {
    let (wire, frames) = stream();
    for at in 0..=wire.len() {
        let (first, second) = wire.split_at(at);
        assert!(feed([first, second]).as_ref() == Ok(&frames), "split at {at}");
    }
}

#[test]
fn the_same_messages_come_out_in_any_chunks() {
    let (wire, frames) = stream();
    assert!(feed(wire.chunks(1)).as_ref() == Ok(&frames));
    let mut rng = Rng::new([5; 32]);
    for round in 0..1000 {
        let longest = 1 + rng.below(2000);
        let (mut rest, mut chunks) = (wire.as_slice(), Vec::new());
        while !rest.is_empty() {
            let at = usize::try_from(1 + rng.below(longest)).expect("small").min(rest.len());
            let (chunk, after) = rest.split_at(at);
            chunks.push(chunk);
            rest = after;
        }
        assert!(feed(chunks).as_ref() == Ok(&frames), "round {round}");
    }
}

fn failure(head: &str) -> Option<FrameError> {
    feed([format!("OPTIONS sip:a@b SIP/2.0\r\n{head}\r\n\r\n").as_bytes()]).err()
}

#[test]
fn a_length_that_is_missing_doubled_or_no_number_ends_the_stream() {
    for head in ["X: 1", "l: -1", "l: +1", "l: 1x", "l:", "l: 0x10", "l: 1\r\nContent-Length: 1", "l: 9999999999999"] {
        assert!(matches!(failure(head), Some(FrameError::BadLength(_))), "{head}");
    }
}

#[test]
fn a_declared_body_over_64_kib_is_refused_before_it_is_kept() {
    for length in ["65537", "2147483648", "4294967295", "999999999999"] {
        assert!(matches!(failure(&format!("l: {length}")), Some(FrameError::HugeBody(_))), "{length}");
    }
    let mut wire = message(1, 0);
    wire.splice(.., b"OPTIONS sip:a@b SIP/2.0\r\nl: 65536\r\n\r\n".iter().copied());
    wire.resize(wire.len() + 65_536, b'x');
    assert_eq!(feed([wire.as_slice()]), Ok(vec![Frame::Message(wire.clone())]));
}

#[test]
fn a_head_or_a_line_without_end_is_given_up() {
    assert_eq!(feed([[b'x'; MAX_LINE + 1].as_slice()]), Err(FrameError::EndlessHead));
    let lines = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(3000);
    assert_eq!(feed([lines.as_bytes()]), Err(FrameError::EndlessHead));
}

#[test]
fn after_a_failure_nothing_more_comes_out() {
    let mut framer = Framer::default();
    framer.push(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n");
    assert!(framer.poll().is_err());
    framer.push(&message(1, 3));
    assert_eq!(framer.poll(), Ok(None));
    assert!(!framer.is_mid_message());
}

#[test]
fn empty_lines_are_no_message_under_way() {
    let mut framer = Framer::default();
    for part in ["\r", "\n", "\r"] {
        framer.push(part.as_bytes());
        assert_eq!(framer.poll(), Ok(None));
        assert!(!framer.is_mid_message());
    }
    framer.push(b"\nO");
    assert_eq!(framer.poll(), Ok(Some(Frame::Ping)));
    assert!(framer.is_mid_message());
}
