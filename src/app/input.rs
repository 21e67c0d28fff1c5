//! Everything that a session waits for, in one channel: what the driver says, signals, keys.

use super::console;
use super::exit::Exit;
use crate::driver::{ClientEvent, Commander, Driver, Ear, Heard};
use crossterm::event::{Event as Term, KeyCode, KeyEventKind, KeyModifiers};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

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
    /// Single keys are read from a terminal.
    pub(crate) keys: bool,
}

/// The driver's end of the channel.
struct FromDriver(SyncSender<Input>);

impl Ear for FromDriver {
    fn hear(&mut self, event: ClientEvent) -> Heard {
        Heard::of(self.0.try_send(Input::Driver(Box::new(event))))
    }

    fn end(&mut self) {
        // Waits for room; the session may be gone already.
        let _ = self.0.send(Input::Stopped);
    }
}

impl Inputs {
    /// Becomes a client of `driver` and starts the threads that wait: one for signals, and one for keys if `keys`.
    pub(crate) fn start(driver: &mut Driver, keys: bool) -> std::io::Result<(Self, Commander)> {
        let (send, queue) = sync_channel(512);
        let commander = driver.client_with(Box::new(FromDriver(send.clone())));
        // SIGHUP is taken so that a terminal that is closed does not end the call (threats F6).
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let sender = send.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let asked_by_key = Arc::clone(&asked);
        spawn("signals", move || {
            for signal in signals.forever() {
                let input = match signal {
                    SIGINT => Input::Interrupt,
                    SIGTERM => Input::Terminate,
                    _ => continue,
                };
                first_or_leave(&sender, &asked, input);
            }
        })?;
        let keys = keys && console::raw();
        if keys {
            spawn("keys", move || read_keys(&send, &asked_by_key))?;
        }
        Ok((Self { queue, keys }, commander))
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(96 * 1024).spawn(run).map(drop)
}

/// The first signal or Ctrl-C is polite; the second one, whichever it is, leaves at once.
fn first_or_leave(send: &SyncSender<Input>, asked: &AtomicBool, input: Input) {
    if asked.swap(true, Ordering::Relaxed) {
        console::restore();
        let exit = if matches!(input, Input::Terminate) { Exit::Terminated } else { Exit::Interrupted };
        std::process::exit(i32::from(exit.code()));
    }
    // A full queue means that the session hangs: the next signal ends it.
    let _ = send.try_send(input);
}

fn read_keys(send: &SyncSender<Input>, asked: &AtomicBool) {
    // An error means that the terminal is gone: the call goes on without keys.
    while let Ok(Some(event)) = next_key() {
        let Term::Key(key) = event else { continue };
        if key.kind == KeyEventKind::Release {
            continue;
        }
        let Some(c) = char_of(key.code) else { continue };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            if c == 'c' {
                first_or_leave(send, asked, Input::Interrupt);
            }
        } else if send.send(Input::Key(c)).is_err() {
            return;
        }
    }
}

/// What a key types; Enter, Esc and Backspace are control characters.
fn char_of(key: KeyCode) -> Option<char> {
    let named = [(KeyCode::Enter, '\n'), (KeyCode::Esc, '\x1b'), (KeyCode::Backspace, '\x08')];
    let control = named.iter().find(|(code, _)| *code == key).map(|(_, c)| *c);
    if let KeyCode::Char(c) = key { Some(c) } else { control }
}

/// Waits for the terminal; `None` when it was hung up. Crossterm's own waiting turns without end on a terminal that is gone.
fn next_key() -> std::io::Result<Option<Term>> {
    let stdin = std::io::stdin();
    loop {
        // What was read with an earlier key comes first.
        if crossterm::event::poll(Duration::ZERO)? {
            return crossterm::event::read().map(Some);
        }
        let mut wait = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wait, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        if wait[0].revents().is_some_and(|events| events.intersects(gone)) {
            return Ok(None);
        }
    }
}
