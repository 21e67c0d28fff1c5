//! Messages to wire bytes (RFC 3261 §7.1, §7.2).

use super::{HeaderName, Headers, Message, Request, Response};
use std::io::Write;

impl Message {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Request(request) => request.encode(),
            Self::Response(response) => response.encode(),
        }
    }
}

impl Request {
    /// The wire form, with the Content-Length of the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        write!(out, "{} {} SIP/2.0\r\n", self.method, self.uri).expect("writing to a Vec does not fail");
        finish(out, &self.headers, &self.body)
    }
}

impl Response {
    /// The wire form, with the Content-Length of the body.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        let reason = self.reason.replace(['\r', '\n'], " ");
        write!(out, "SIP/2.0 {} {reason}\r\n", self.status).expect("writing to a Vec does not fail");
        finish(out, &self.headers, &self.body)
    }
}

fn finish(mut out: Vec<u8>, headers: &Headers, body: &[u8]) -> Vec<u8> {
    for (name, value) in headers.iter().filter(|(name, _)| **name != HeaderName::CONTENT_LENGTH) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write!(out, "Content-Length: {}\r\n\r\n", body.len()).expect("writing to a Vec does not fail");
    out.extend_from_slice(body);
    out
}
