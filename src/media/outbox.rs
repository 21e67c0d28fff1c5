//! Datagrams between the turn that makes them and [`MediaSet::poll_transmit`](super::set::MediaSet::poll_transmit), in recycled places.

use super::set::Destination;
use std::collections::VecDeque;

/// A bounded queue that allocates only until it has once been as long as it gets.
#[derive(Default)]
pub(super) struct Outbox {
    queue: VecDeque<Datagram>,
    #[expect(clippy::vec_box, reason = "a buffer moves between the queues by its address")]
    free: Vec<Box<[u8; LONGEST]>>,
    /// Datagrams that found the queue full: late sound is worthless.
    dropped: u64,
}

struct Datagram {
    to: Destination,
    length: usize,
    bytes: Box<[u8; LONGEST]>,
}

impl Outbox {
    /// Queues what `write` puts into the buffer, if it says how long that is; returns the length.
    pub(super) fn push(&mut self, to: Destination, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<usize> {
        if self.queue.len() >= MOST {
            self.dropped += 1;
            return None;
        }
        let mut bytes = self.free.pop().unwrap_or_else(|| Box::new([0; LONGEST]));
        let Some(length) = write(&mut bytes[..]).filter(|&length| length <= LONGEST) else {
            self.free.push(bytes);
            return None;
        };
        self.queue.push_back(Datagram { to, length, bytes });
        Some(length)
    }

    /// Moves the oldest datagram into `buf`; one that does not fit is dropped.
    pub(super) fn pop(&mut self, buf: &mut [u8]) -> Option<(usize, Destination)> {
        while let Some(Datagram { to, length, bytes }) = self.queue.pop_front() {
            let place = buf.get_mut(..length).map(|place| place.copy_from_slice(&bytes[..length]));
            self.free.push(bytes);
            if place.is_some() {
                return Some((length, to));
            }
            self.dropped += 1;
        }
        None
    }

    /// Datagrams that wait.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Changes the datagrams from the place `from` on: `change` gets buffer and length and gives the new length, or
    /// `None` for one that must not be sent.
    pub(super) fn rework(&mut self, from: usize, mut change: impl FnMut(&mut [u8], usize) -> Option<usize>) {
        let mut at = from;
        while let Some(datagram) = self.queue.get_mut(at) {
            match change(&mut datagram.bytes[..], datagram.length) {
                Some(length) => {
                    datagram.length = length;
                    at += 1;
                }
                None => {
                    self.free.extend(self.queue.remove(at).map(|datagram| datagram.bytes));
                    self.dropped += 1;
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// The largest datagram: an Ethernet frame's worth.
const LONGEST: usize = 1500;
/// Datagrams at most: many calls' output of a few turns.
const MOST: usize = 4096;
