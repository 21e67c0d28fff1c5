//! Everything that a session waits for, in one channel: what the driver says, signals, keys.

use super::console;
use super::exit::Exit;
use crate::driver::{Client, ClientEvent};
use crossterm::event::{Event as Term, KeyCode, KeyEventKind, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Something to react to.
#[derive(Debug)]
pub(crate) enum Input {
    /// From the driver.
    Driver(Box<ClientEvent>),
    /// The driver is gone.
    Stopped,
    /// SIGINT, or Ctrl-C in a terminal.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// A key.
    Key(char),
}

/// The channel and its senders.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) queue: Receiver<Input>,
}

impl Inputs {
    /// Starts the threads that wait: one for `client`, one for signals, and one for keys if `keys`.
    pub(crate) fn start(client: Client, keys: bool) -> std::io::Result<Self> {
        let (send, queue) = sync_channel(256);
        let events = send.clone();
        spawn("events", move || {
            while let Ok(event) = client.recv() {
                if events.send(Input::Driver(Box::new(event))).is_err() {
                    return;
                }
            }
            // The session may be gone already.
            let _ = events.send(Input::Stopped);
        })?;
        // SIGHUP is taken so that a terminal that is closed does not end the call (threats F6).
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let sender = send.clone();
        spawn("signals", move || {
            let mut polite = true;
            for signal in signals.forever() {
                let input = match signal {
                    SIGINT => Input::Interrupt,
                    SIGTERM => Input::Terminate,
                    _ => continue,
                };
                first_or_leave(&sender, &mut polite, input);
            }
        })?;
        if keys && console::raw() {
            spawn("keys", move || read_keys(&send))?;
        }
        Ok(Self { queue })
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(96 * 1024).spawn(run).map(drop)
}

/// The first signal is polite; the second one leaves at once.
fn first_or_leave(send: &SyncSender<Input>, polite: &mut bool, input: Input) {
    if std::mem::take(polite) {
        // A full queue means that the session hangs: the next signal ends it.
        let _ = send.try_send(input);
    } else {
        console::restore();
        std::process::exit(i32::from(Exit::Interrupted.code()));
    }
}

fn read_keys(send: &SyncSender<Input>) {
    let mut polite = true;
    // An error means that the terminal is gone: the call goes on without keys.
    while let Ok(event) = crossterm::event::read() {
        let Term::Key(key) = event else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let KeyCode::Char(c) = key.code else { continue };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            if c == 'c' {
                first_or_leave(send, &mut polite, Input::Interrupt);
            }
        } else if send.send(Input::Key(c)).is_err() {
            return;
        }
    }
}
