//! The media engine: all sessions of one loop and the sockets leased to them (seam 1). No SIP, no SDP text, no IO.
//!
//! ```text
//!  handle_packet ─▶ socket → session ─▶ source rules ─▶ Playout ─▶ sink
//!  handle_command ─▶ session                              source ─▶ encoder ─▶ poll_transmit
//!  handle_timeout ─▶ sessions that are due (all on one grid of 2.5 ms, so that calls share wake-ups)
//! ```

use super::command::{MediaCommand, MediaEvent};
use crate::id::{MediaId, SetId, SocketId};
use crate::rng::Rng;
use crate::time::{Epoch, Instant};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Where the driver sends a datagram of [`MediaSet::poll_transmit`], and from which socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    /// One of the sockets leased to the set.
    pub socket: SocketId,
    /// The peer's address.
    pub to: SocketAddr,
    /// DSCP for the IP header, 0..=63.
    pub dscp: u8,
}

/// Sound for a session to send: a file, a generated sound, or the reading end of a device's ring.
pub trait SoundSource: Send {
    /// Samples per second; constant.
    fn rate(&self) -> u32;
    /// Fills `out` from the start and returns the samples given. Fewer than asked for means the end, but for a paced source a gap.
    fn read(&mut self, out: &mut [i16]) -> usize;
    /// Samples waiting in the ring of a device, which is then the clock of sending; `None` for a source that gives any amount at any time.
    fn available(&self) -> Option<usize> {
        None
    }
}

/// What takes the sound that a session hears: a file, or the writing end of a device's ring.
pub trait SoundSink: Send {
    /// Samples per second; constant.
    fn rate(&self) -> u32;
    /// Takes all of `pcm`; what does not fit is dropped and counted by the sink.
    fn write(&mut self, pcm: &[i16]);
    /// Samples that the ring of a device lacks to its fill target, which is then the clock of playing; `None` for a sink that
    /// takes any amount at any time.
    fn wanted(&self) -> Option<usize> {
        None
    }
}

/// All media sessions of one loop.
pub struct MediaSet {
    id: SetId,
    #[expect(dead_code, reason = "sessions take from it")]
    rng: Rng,
    #[expect(dead_code, reason = "sender reports need it")]
    epoch: Epoch,
    events: VecDeque<(MediaId, MediaEvent)>,
}

impl MediaSet {
    /// An empty set. `epoch` ties sender reports to wall-clock time.
    pub fn new(id: SetId, rng: Rng, epoch: Epoch) -> Self {
        Self { id, rng, epoch, events: VecDeque::new() }
    }

    /// Its number, as in the leases it owns.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// A datagram arrived on a leased socket. `payload` may be changed in place.
    pub fn handle_packet(&mut self, now: Instant, socket: SocketId, source: SocketAddr, payload: &mut [u8]) {
        let _ = (now, socket, source, payload);
    }

    /// A signalling engine wants something of a session; commands for sessions that are not open are ignored.
    pub fn handle_command(&mut self, now: Instant, media: MediaId, command: MediaCommand) {
        let _ = (now, media, command);
    }

    /// Hands a session the source or sink that its route names (file, built-in sound, device), opened by the driver.
    ///
    /// `None` leaves that side as it is. Until this is called the session sends silence and drops what it hears.
    pub fn attach(
        &mut self,
        now: Instant,
        media: MediaId,
        source: Option<Box<dyn SoundSource>>,
        sink: Option<Box<dyn SoundSink>>,
    ) {
        let _ = (now, media, source, sink);
    }

    /// The instant of [`Self::poll_timeout`] has come (calling it early is harmless).
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Self::handle_timeout`] should be called next; `None`: nothing to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Writes the next datagram to send into `buf` (1500 bytes suffice) and returns its length and destination.
    pub fn poll_transmit(&mut self, buf: &mut [u8]) -> Option<(usize, Destination)> {
        let _ = buf;
        None
    }

    /// The next thing to tell the engine that owns the session.
    pub fn poll_event(&mut self) -> Option<(MediaId, MediaEvent)> {
        self.events.pop_front()
    }

    /// True when no session is open and nothing waits to be fetched.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }
}
