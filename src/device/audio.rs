//! Sound cards through cpal (the only importer): opening, watching over and closing them, each on a thread of its own.
//!
//! The thread of a stream opens it, hands the session its end of the ring ([`ring`]), and then waits: for the
//! session to let go, for the sound system to report a fault, or for the callback to fall silent. A device that is lost is
//! told and tried again until the session lets go; what is attached meanwhile is silence. A stream that cannot keep up with
//! the short pieces that make for little delay is opened again with longer ones.

pub mod find;
pub mod stream;
pub mod try_out;

use self::find::Patience;
use super::ring::{self, Counters, Loudspeaker, Microphone, Release};
use crate::driver::cards::CardId;
use crate::driver::sound::{Opened, Report};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant as Wall};

/// Which way sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A microphone.
    Capture,
    /// A loudspeaker.
    Playback,
}

/// What the thread of a stream waits for.
#[derive(Debug)]
pub enum Message {
    /// The session has let go of its end.
    Released,
    /// The sound system gave up on the stream, for this reason.
    Fault(String),
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct DeviceError {
    /// The error's name in the table of texts.
    pub slug: &'static str,
    /// The fact, in words.
    pub cause: String,
}

/// A stream that runs.
pub struct Open {
    stream: cpal::Stream,
    counters: Arc<Counters>,
    rate: u32,
    name: String,
}

/// Begins to open a device for the sessions that share it; `report` tells how that ends.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn open(report: Report, card: CardId, name: &str, direction: Direction) -> std::io::Result<()> {
    let name = name.to_owned();
    let thread = match direction {
        Direction::Capture => "microphone",
        Direction::Playback => "loudspeaker",
    };
    let builder = std::thread::Builder::new().name(thread.into()).stack_size(STACK);
    builder.spawn(move || serve(&report, card, &name, direction)).map(drop)
}

fn serve(report: &Report, card: CardId, name: &str, direction: Direction) {
    let _quiet = stream::quiet_alsa();
    let (sender, inbox) = channel();
    let mut patience = Patience::default();
    // Whether the session has an end already, of a stream that is gone.
    let mut again = false;
    loop {
        let begun = match direction {
            Direction::Capture => {
                microphone(name, patience, &sender).map(|(open, end)| (open, Opened::Source(Box::new(end))))
            }
            Direction::Playback => {
                speaker(name, patience, &sender).map(|(open, end)| (open, Opened::Sink(Box::new(end))))
            }
        };
        match begun {
            Ok((open, opened)) => {
                report.send(card, opened);
                if again {
                    // The end of the stream before is let go of in favour of the new one.
                    is_released(&inbox, AGAIN);
                }
                again = true;
                let finding = watch(&open, &inbox, patience.more());
                let device = open.name.clone();
                put_away(open);
                match finding {
                    Finding::Released => return,
                    Finding::Slow(more) => {
                        patience = more;
                        continue;
                    }
                    Finding::Lost(cause) => {
                        report.send(card, Opened::Failed("audio.device-lost", format!("{device}: {cause}")));
                    }
                }
            }
            Err(error) if !again => return report.send(card, Opened::Failed(error.slug, error.cause)),
            Err(_) => {}
        }
        if is_released(&inbox, AGAIN) {
            return;
        }
    }
}

/// Closes a stream on a thread of its own: a sound server that died may leave that hanging.
fn put_away(open: Open) {
    // Without another thread it is closed here and now, by dropping the closure.
    let _ = std::thread::Builder::new().name("close".into()).stack_size(STACK).spawn(move || drop(open));
}

/// Whether an end is let go of within `patience`; faults of a stream that is closed by now do not matter.
fn is_released(inbox: &Receiver<Message>, patience: Duration) -> bool {
    let until = Wall::now() + patience;
    loop {
        match inbox.recv_timeout(until.saturating_duration_since(Wall::now())) {
            Ok(Message::Released) | Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
            Ok(Message::Fault(_)) => {}
        }
    }
}

/// Opens and starts a microphone.
///
/// # Errors
/// [`DeviceError`] says why it cannot be had.
pub fn microphone(
    name: &str,
    patience: Patience,
    messages: &Sender<Message>,
) -> Result<(Open, Microphone), DeviceError> {
    let found = find::device(name, Direction::Capture, patience)?;
    let (rate, channels) = (found.config.sample_rate, usize::from(found.config.channels));
    let (callback, microphone, counters) = ring::capture(rate, channels, release(messages));
    let stream = stream::capture(&found, callback, messages.clone())?;
    Ok((Open { stream, counters, rate, name: found.name }, microphone))
}

/// Opens and starts a loudspeaker.
///
/// # Errors
/// [`DeviceError`] says why it cannot be had.
pub fn speaker(name: &str, patience: Patience, messages: &Sender<Message>) -> Result<(Open, Loudspeaker), DeviceError> {
    let found = find::device(name, Direction::Playback, patience)?;
    let (rate, channels) = (found.config.sample_rate, usize::from(found.config.channels));
    let (callback, speaker, counters) = ring::playback(rate, channels, release(messages));
    let stream = stream::playback(&found, callback, messages.clone())?;
    Ok((Open { stream, counters, rate, name: found.name }, speaker))
}

fn release(messages: &Sender<Message>) -> Release {
    let messages = messages.clone();
    Box::new(move || {
        // The thread may be gone already.
        let _ = messages.send(Message::Released);
    })
}

impl Open {
    /// What its callback has done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Frames that the sound system moves at once, if it tells.
    pub fn period(&self) -> Option<u32> {
        cpal::traits::StreamTrait::buffer_size(&self.stream).ok()
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open({}, {:?})", self.name, self.counters)
    }
}

/// Why a stream is watched no longer.
enum Finding {
    /// The session has let go.
    Released,
    /// It moves less sound than time passes: it is to be opened again so.
    Slow(Patience),
    /// It is gone, and why.
    Lost(String),
}

/// Watches over a stream until something must be done; `more` is what a slow one is opened with, if anything.
fn watch(open: &Open, inbox: &Receiver<Message>, more: Option<Patience>) -> Finding {
    let (mut calls, mut moved) = (open.counters.calls(), Wall::now());
    // The first looks do not count: streams start when they please.
    let (mut looks, mut at, mut samples) = (0, Wall::now(), 0);
    loop {
        match inbox.recv_timeout(LOOK) {
            Ok(Message::Released) | Err(RecvTimeoutError::Disconnected) => return Finding::Released,
            Ok(Message::Fault(cause)) => return Finding::Lost(cause),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = open.counters.calls();
        if now != calls {
            (calls, moved) = (now, Wall::now());
        } else if moved.elapsed() >= DEAD {
            return Finding::Lost(format!("no sound moved for {} s", DEAD.as_secs()));
        }
        let before = std::mem::replace(&mut samples, open.counters.samples());
        let time = std::mem::replace(&mut at, Wall::now()).elapsed();
        let due = time.as_secs_f64() * f64::from(open.rate);
        looks += 1;
        if looks > 2
            && ((samples - before) as f64) < due * SLOW
            && samples > before
            && let Some(more) = more
        {
            return Finding::Slow(more);
        }
    }
}

/// Enough for alsa-lib, which reads its configuration recursively.
const STACK: usize = 512 * 1024;
/// How often a lost device is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// A stream that moves less than this share of the time that passes loses sound.
const SLOW: f64 = 0.98;
/// How often a callback is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A callback that was not called for so long belongs to a device that is gone.
const DEAD: Duration = Duration::from_secs(3);
