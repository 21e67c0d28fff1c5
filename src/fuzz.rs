//! Fuzz harnesses as plain functions: any bytes go in, and nothing may panic; the invariants they assert are the ones
//! every reader promises.

mod config;
pub mod engine;
mod media;
mod sdp;
mod srtp;
pub mod town;

pub use config::config;
pub use engine::{softphone, switchboard};
pub use media::{rtcp, rtp};
pub use sdp::sdp;
pub use srtp::srtp;

use crate::sip::message::{Message, ParseErrorKind, Response, StatusCode};
use crate::sip::transport::framer::{self, Frame, FrameError, Framer};

/// A message: what is read is written and read again as the same, every typed view answers, every error is answerable
/// or silent.
pub fn sip_message(input: &[u8]) {
    match Message::parse(input) {
        Ok(message) => {
            let headers = message.headers();
            let _ = (headers.vias(), headers.from(), headers.to(), headers.contacts(), headers.routes());
            let _ = (headers.record_routes(), headers.max_forwards(), headers.expires(), headers.content_type());
            let again = Message::parse(&message.encode());
            assert_eq!(again.as_ref(), Ok(&message), "a message read and written is the same message");
            if let Message::Request(request) = &message {
                let response = Response::to(request, StatusCode::BAD_REQUEST, Some("tag"));
                let response = Message::Response(response);
                assert_eq!(Message::parse(&response.encode()).as_ref(), Ok(&response), "an answer can be read");
            }
        }
        Err(error) => {
            assert_ne!(error.kind, ParseErrorKind::Refused, "what the normaliser lets through can be read");
            assert_eq!(error.status().is_some(), error.partial.is_some(), "an answer needs a request");
            if let (Some(request), Some(status)) = (&error.partial, error.status()) {
                let answer = Response::to(request, status, Some("tag")).encode();
                assert!(answer.starts_with(b"SIP/2.0 "), "an answer begins with its status line");
            }
        }
    }
}

/// A stream: the same frames come out whether it arrives at once or in pieces, the buffer never outgrows its caps, and
/// after an error nothing more is read.
pub fn stream_framer(input: &[u8]) {
    let whole = frames(std::iter::once(input));
    // The pieces are cut where the input itself says, so that every mutation tries other ones.
    let mut rest = input;
    let pieces = std::iter::from_fn(|| {
        let length = usize::from(*rest.first()? % 61) + 1;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        Some(piece)
    });
    assert_eq!(frames(pieces), whole, "the pieces make no difference");
    for frame in &whole.0 {
        if let Frame::Message(message) = frame {
            assert!(message.len() <= framer::MAX_HEAD + framer::MAX_BODY, "no message outgrows its caps");
        }
    }
}

/// True for one input in `n`, told by its bytes: for the dearer half of a harness, so that the cheaper one is quick.
fn one_in(n: u8, input: &[u8]) -> bool {
    input.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)).is_multiple_of(n)
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let (mut framer, mut frames) = (Framer::default(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.poll() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    framer.push(input_after_error());
                    assert_eq!(framer.poll(), Ok(None), "nothing is read after an error");
                    return (frames, Some(error));
                }
            }
        }
    }
    (frames, None)
}

fn input_after_error() -> &'static [u8] {
    b"OPTIONS sip:a@192.0.2.1 SIP/2.0\r\nContent-Length: 0\r\n\r\n"
}
