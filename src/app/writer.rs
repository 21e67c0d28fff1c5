//! [`Writer`]: stdout and stderr behind a thread and a bounded queue, so that a stalled reader delays nobody (threats F6).
//!
//! What does not fit is dropped and counted; a closed pipe ends the writing and nothing else.

use std::io::Write;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Pieces that may wait.
const QUEUE: usize = 1024;
/// Pause after the queue ran empty.
const NAP: Duration = Duration::from_millis(2);

/// One output of the process.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: SyncSender<String>,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    /// Pieces handed over and not yet written.
    waiting: usize,
    /// Pieces dropped since the last that was written.
    lost: u64,
    /// The other end is gone.
    closed: bool,
}

impl Writer {
    /// Starts a thread that writes to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(name: &str, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        Self::start(name, out, Duration::ZERO)
    }

    /// Starts a thread that writes to `out` and is woken at most every 2 ms, however many lines there are: for what is flushed at the end.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn gathering(name: &str, out: impl Write + Send + 'static) -> std::io::Result<Self> {
        Self::start(name, out, NAP)
    }

    fn start(name: &str, out: impl Write + Send + 'static, nap: Duration) -> std::io::Result<Self> {
        let (queue, pieces) = sync_channel(QUEUE);
        let state = Arc::<(Mutex<State>, Condvar)>::default();
        let shared = Arc::clone(&state);
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(64 * 1024)
            .spawn(move || write_all(&pieces, out, &shared, nap))?;
        Ok(Self { queue, state })
    }

    /// Queues `text` as it is; drops it when the queue is full or the reader is gone. Never waits.
    pub fn write(&self, text: impl Into<String>) {
        let mut state = lock(&self.state.0);
        if state.closed {
            return;
        }
        if self.queue.try_send(text.into()).is_ok() {
            state.waiting += 1;
        } else {
            state.lost += 1;
        }
    }

    /// Queues `text` and a line end.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n"));
    }

    /// Waits until all is written, `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut state = lock(&self.state.0);
        while state.waiting > 0 && !state.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.state.1.wait_timeout(state, left).map_or_else(|e| e.into_inner().0, |(guard, _)| guard);
        }
    }

    /// True once the other end is gone.
    pub fn is_closed(&self) -> bool {
        lock(&self.state.0).closed
    }
}

impl Write for Writer {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Self::write(self, String::from_utf8_lossy(buf));
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_all(pieces: &Receiver<String>, mut out: impl Write, state: &(Mutex<State>, Condvar), nap: Duration) {
    let mut pause = Duration::ZERO;
    while let Ok(piece) = next(pieces, std::mem::replace(&mut pause, nap)) {
        let lost = std::mem::take(&mut lock(&state.0).lost);
        let mut result = out.write_all(piece.as_bytes());
        if lost > 0 && result.is_ok() && piece.ends_with('\n') && !piece.starts_with('{') {
            result = out.write_all(format!("… {lost} lines were lost here: nobody read them\n").as_bytes());
        }
        let result = result.and_then(|()| out.flush());
        let mut state_now = lock(&state.0);
        state_now.waiting = state_now.waiting.saturating_sub(1);
        // A full disk may have room again; a reader that is gone does not come back.
        state_now.closed = result.is_err_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
        state.1.notify_all();
        if state_now.closed {
            return;
        }
    }
}

/// The next piece. A moment passes before this thread asks to be woken for it: who writes a thousand lines a second must not wake it
/// a thousand times.
fn next(pieces: &Receiver<String>, pause: Duration) -> Result<String, RecvError> {
    match pieces.try_recv() {
        Ok(piece) => return Ok(piece),
        Err(TryRecvError::Empty) if !pause.is_zero() => std::thread::sleep(pause),
        Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
    }
    pieces.recv()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    struct Stalled(Receiver<()>, Sender<String>);

    impl Write for Stalled {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.recv().map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            self.1.send(String::from_utf8_lossy(buf).into_owned()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
            Ok(buf.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_delays_nobody_and_is_told_what_it_missed() {
        let (go, gate) = channel();
        let (out, got) = channel();
        let writer = Writer::new("test", Stalled(gate, out)).unwrap();
        for n in 0..QUEUE + 500 {
            writer.line(&n.to_string());
        }
        for _ in 0..QUEUE + 3 {
            go.send(()).unwrap();
        }
        writer.flush(Duration::from_secs(5));
        let text: Vec<String> = got.try_iter().collect();
        assert_eq!(text[0], "0\n");
        assert!(text.iter().any(|l| l.contains("lines were lost here")), "{:?}", text.last());
        assert!(text.len() <= QUEUE + 3);
    }

    #[test]
    fn a_reader_that_is_gone_ends_the_writing_only() {
        let (go, gate) = channel::<()>();
        let (out, _) = channel();
        drop(go);
        let writer = Writer::new("test", Stalled(gate, out)).unwrap();
        writer.line("nobody hears this");
        writer.flush(Duration::from_secs(5));
        assert!(writer.is_closed());
        writer.line("nor this");
    }
}
