//! Fuzz harnesses as plain functions: any bytes go in, and nothing may panic; the invariants they assert are the ones
//! every reader promises.

use crate::sip::message::{Message, ParseErrorKind, Response, StatusCode};

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
