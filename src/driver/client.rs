//! The two bounded channels between the loop and its clients (the console, a signal handler, tests).

use super::EngineId;
use crate::api::{Command, CommandError, Event, Reply, Snapshot};
use crate::time::Instant;
use mio::Waker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::Duration;

/// Commands that wait for the loop, of all clients together.
pub(super) const COMMANDS: usize = 64;
/// Events that wait for one client.
pub(super) const EVENTS: usize = 256;

/// Names a command in its [`ClientEvent::Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a client hears.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// Something happened.
    Event {
        /// To which engine.
        engine: EngineId,
        /// When.
        at: Instant,
        /// What.
        event: Event,
    },
    /// The answer to a command that this client sent.
    Reply {
        /// Which one.
        ticket: Ticket,
        /// The answer.
        result: Result<Reply, CommandError>,
    },
    /// This client read too slowly and has missed events: this is the state now.
    Lagged {
        /// Whose state.
        engine: EngineId,
        /// Events and replies that were dropped, for all engines together.
        missed: u64,
        /// The state.
        snapshot: Box<Snapshot>,
    },
    /// An engine panicked while it handled something; it goes on (a bug of ours, exit code 1 territory).
    Fault {
        /// Which one.
        engine: EngineId,
    },
}

/// Why a client cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// 64 commands wait already.
    #[error("the phone is busy: too many commands wait")]
    Busy,
    /// The driver is gone.
    #[error("the phone has stopped")]
    Stopped,
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
}

/// What travels to the loop.
pub(super) enum Request {
    Command { client: u64, ticket: Ticket, engine: EngineId, command: Command },
    ShutDown,
}

/// The sending half of a [`Client`]; as many as wanted, on any thread.
#[derive(Debug, Clone)]
pub struct Commander {
    client: u64,
    requests: SyncSender<Request>,
    waker: Arc<Waker>,
    tickets: Arc<AtomicU64>,
}

impl Commander {
    pub(super) fn new(client: u64, requests: SyncSender<Request>, waker: Arc<Waker>) -> Self {
        Self { client, requests, waker, tickets: Arc::default() }
    }

    /// Sends a command; its answer comes as [`ClientEvent::Reply`].
    ///
    /// # Errors
    /// [`ClientError::Busy`] or [`ClientError::Stopped`]; the command is not carried out then.
    pub fn send(&self, engine: EngineId, command: Command) -> Result<Ticket, ClientError> {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        self.request(Request::Command { client: self.client, ticket, engine, command })?;
        Ok(ticket)
    }

    /// Ends the loop at once: nothing is hung up, nothing unregistered.
    ///
    /// # Errors
    /// As [`Commander::send`].
    pub fn shut_down(&self) -> Result<(), ClientError> {
        self.request(Request::ShutDown)
    }

    fn request(&self, request: Request) -> Result<(), ClientError> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => ClientError::Busy,
            TrySendError::Disconnected(_) => ClientError::Stopped,
        })?;
        // A failed wake means that the loop is gone; its receiver said otherwise a moment ago.
        self.waker.wake().map_err(|_| ClientError::Stopped)
    }
}

/// What became of an event that was offered to an [`Ear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is there.
    Yes,
    /// Too much waits already.
    Full,
    /// Nobody listens any more.
    Gone,
}

/// Where the events of one client go: a channel of its own, or one that carries other things too.
pub trait Ear: Send {
    /// Takes an event at once or not at all; must not block.
    fn hear(&mut self, event: ClientEvent) -> Heard;
    /// Nothing more will come.
    fn end(&mut self) {}
}

impl Ear for SyncSender<ClientEvent> {
    fn hear(&mut self, event: ClientEvent) -> Heard {
        Heard::of(self.try_send(event))
    }
}

impl Heard {
    /// What a bounded channel said.
    pub fn of<T>(sent: Result<(), TrySendError<T>>) -> Self {
        match sent {
            Ok(()) => Self::Yes,
            Err(TrySendError::Full(_)) => Self::Full,
            Err(TrySendError::Disconnected(_)) => Self::Gone,
        }
    }
}

/// One user of the driver.
#[derive(Debug)]
pub struct Client {
    commander: Commander,
    events: Receiver<ClientEvent>,
}

impl Client {
    pub(super) fn channel() -> (SyncSender<ClientEvent>, Receiver<ClientEvent>) {
        sync_channel(EVENTS)
    }

    pub(super) fn new(commander: Commander, events: Receiver<ClientEvent>) -> Self {
        Self { commander, events }
    }

    /// The sending half, for another thread.
    pub fn commander(&self) -> Commander {
        self.commander.clone()
    }

    /// Sends a command; its answer comes as [`ClientEvent::Reply`].
    ///
    /// # Errors
    /// [`ClientError::Busy`] or [`ClientError::Stopped`].
    pub fn send(&self, engine: EngineId, command: Command) -> Result<Ticket, ClientError> {
        self.commander.send(engine, command)
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`ClientError::Stopped`] once the driver is gone and all has been read.
    pub fn recv(&self) -> Result<ClientEvent, ClientError> {
        self.events.recv().map_err(|_| ClientError::Stopped)
    }

    /// Waits for the next event, `patience` at most.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] or [`ClientError::Stopped`].
    pub fn recv_timeout(&self, patience: Duration) -> Result<ClientEvent, ClientError> {
        self.events.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => ClientError::Timeout,
            RecvTimeoutError::Disconnected => ClientError::Stopped,
        })
    }

    /// The next event if one waits.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] when none waits, [`ClientError::Stopped`] once the driver is gone.
    pub fn try_recv(&self) -> Result<ClientEvent, ClientError> {
        self.events.try_recv().map_err(|error| match error {
            TryRecvError::Empty => ClientError::Timeout,
            TryRecvError::Disconnected => ClientError::Stopped,
        })
    }
}

/// The loop's end of one client.
pub(super) struct Subscriber {
    pub(super) id: u64,
    ear: Box<dyn Ear>,
    /// Events of this turn: handed over at its end, so that the client is woken once for all of them.
    pending: Vec<ClientEvent>,
    /// Events dropped since the client last kept up.
    missed: u64,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.flush();
        self.ear.end();
    }
}

/// What became of an event.
#[derive(PartialEq, Eq)]
pub(super) enum Delivery {
    Done,
    /// The client is gone.
    Gone,
}

impl Subscriber {
    pub(super) fn new(id: u64, ear: Box<dyn Ear>) -> Self {
        Self { id, ear, pending: Vec::new(), missed: 0 }
    }

    pub(super) fn is_lagging(&self) -> bool {
        self.missed > 0
    }

    /// Notes an event for [`Subscriber::flush`]; a client that lags gets nothing but [`Subscriber::catch_up`].
    pub(super) fn deliver(&mut self, event: ClientEvent) -> Delivery {
        if self.missed > 0 {
            self.missed += 1;
            return Delivery::Done;
        }
        self.pending.push(event);
        if self.pending.len() < EVENTS { Delivery::Done } else { self.flush() }
    }

    /// Hands over what was noted.
    pub(super) fn flush(&mut self) -> Delivery {
        for event in self.pending.drain(..) {
            if self.missed > 0 {
                self.missed += 1;
                continue;
            }
            match self.ear.hear(event) {
                Heard::Yes => {}
                Heard::Full => self.missed = 1,
                Heard::Gone => return Delivery::Gone,
            }
        }
        Delivery::Done
    }

    /// Gives a lagging client the state of the engines; events flow again once all of them fit.
    pub(super) fn catch_up(&mut self, snapshots: impl IntoIterator<Item = (EngineId, Box<Snapshot>)>) -> Delivery {
        let missed = self.missed;
        for (engine, snapshot) in snapshots {
            match self.ear.hear(ClientEvent::Lagged { engine, missed, snapshot }) {
                Heard::Yes => {}
                Heard::Full => return Delivery::Done,
                Heard::Gone => return Delivery::Gone,
            }
        }
        self.missed = 0;
        Delivery::Done
    }
}
