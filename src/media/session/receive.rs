//! What arrives at a session: sorted into RTP and RTCP, judged by the source rules, handed to the stream or to the other leg.

use super::super::command::{MediaEvent, Route};
use super::super::packet::{RtpPacket, is_rtcp};
use super::{MediaSession, Turn};
use crate::id::{MediaId, SocketId};
use std::net::SocketAddr;

/// What the set must do with a packet that a session has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) enum Handled {
    /// Nothing more.
    Done,
    /// Pass it on to the other leg.
    Relay {
        /// The other leg.
        peer: MediaId,
        /// RTCP rather than RTP.
        rtcp: bool,
    },
}

impl MediaSession {
    /// A datagram came on one of our sockets.
    pub(in crate::media) fn handle_packet(
        &mut self,
        turn: &mut Turn<'_>,
        socket: SocketId,
        source: SocketAddr,
        bytes: &mut [u8],
    ) -> Handled {
        let Some(transport) = &mut self.transport else { return Handled::Done };
        if transport.is_rtcp(socket) || is_rtcp(bytes) {
            // RTCP on the RTP socket would be multiplexing, which was not agreed.
            let fits = transport.is_rtcp(socket) && is_rtcp(bytes);
            let opened = if fits { transport.open_rtcp(turn.now, source, bytes) } else { None };
            let Some(bytes) = opened.and_then(|length| bytes.get(..length)) else {
                self.refused += 1;
                return Handled::Done;
            };
            // Who pauses or holds without a word still reports: it is not gone.
            self.watch.last_packet = Some(turn.now);
            return self.handle_rtcp(turn, bytes);
        }
        self.handle_rtp(turn, source, bytes)
    }

    fn handle_rtp(&mut self, turn: &mut Turn<'_>, source: SocketAddr, bytes: &mut [u8]) -> Handled {
        let Some(transport) = &mut self.transport else { return Handled::Done };
        let Some((length, proof)) = transport.open_rtp(turn.now, source, bytes) else {
            self.refused += 1;
            return Handled::Done;
        };
        let relays = matches!(self.route, Route::Relay { .. });
        let parse = if relays { RtpPacket::parse_opaque } else { RtpPacket::parse };
        let Some(Ok(packet)) = bytes.get(..length).map(parse) else {
            self.refused += 1;
            return Handled::Done;
        };
        // A relay does not know the types that its two phones agreed on.
        let negotiated = match (&self.stream, &self.route) {
            (Some(stream), _) => stream.incoming.knows(packet.payload_type),
            (None, Route::Relay { .. }) => true,
            (None, Route::Local { .. }) => false,
        };
        if !transport.accepts(turn.now, source, &packet, negotiated, proof) {
            self.refused += 1;
            return Handled::Done;
        }
        if let Some(stream) = &mut self.stream
            && packet.ssrc == stream.out.ssrc
            && !stream.collided
        {
            // RFC 3550 §8.2. Once only: a peer that sends our own packets back would use any other SSRC too.
            stream.collided = true;
            stream.control.send_bye(turn, transport.rtcp_to(), &stream.out, &mut stream.incoming);
            stream.out.change_ssrc(turn.rng);
        }
        self.watch.last_packet = Some(turn.now);
        self.watch.lost_told = false;
        if self.watch.first_packet.is_none() {
            self.watch.first_packet = Some(turn.now);
            turn.events.push_back((self.id, MediaEvent::FirstPacket));
        }
        let Some(stream) = &mut self.stream else {
            self.relayed.received += 1;
            self.relayed.bytes_received += packet.payload.len() as u64;
            return match self.route {
                Route::Relay { peer } => Handled::Relay { peer, rtcp: false },
                Route::Local { .. } => Handled::Done,
            };
        };
        if stream.plan.direction.receives() {
            let (id, now) = (self.id, turn.now);
            if let Some(ringback) = &mut stream.ringback {
                ringback.hear(now);
            }
            stream.incoming.handle_packet(now, &packet, |event| turn.events.push_back((id, event)));
            stream.align(now);
        }
        Handled::Done
    }

    fn handle_rtcp(&mut self, turn: &Turn<'_>, bytes: &[u8]) -> Handled {
        let Some(stream) = &mut self.stream else {
            return match self.route {
                Route::Relay { peer } => Handled::Relay { peer, rtcp: true },
                Route::Local { .. } => Handled::Done,
            };
        };
        match stream.control.handle_packet(turn, bytes, &mut stream.out, &stream.incoming) {
            Ok(Some(bye)) => {
                if let Some(transport) = &mut self.transport {
                    transport.handle_bye(bye);
                }
            }
            Ok(None) => {}
            Err(()) => self.refused += 1,
        }
        Handled::Done
    }
}
