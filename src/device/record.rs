//! Recording to WAV files off the loop: the session writes into a ring, one writer thread empties all rings to the disk.

use super::wav;
use crate::media::set::SoundSink;
use rtrb::{Consumer, Producer, RingBuffer};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant as Wall};

/// Sound that a ring holds; a disk that stalls for longer costs samples.
const RING_SECONDS: usize = 2;
/// How often the rings are emptied.
const ROUND: Duration = Duration::from_millis(250);
/// How often the header is brought up to date, so that a crash leaves a playable file.
const HEADER: Duration = Duration::from_secs(1);
/// Recordings that may be asked for faster than the disk opens files.
const QUEUE: usize = 256;

/// The session's end of a recording.
#[derive(Debug)]
pub struct Recorder {
    rate: u32,
    ring: Producer<i16>,
    dropped: Arc<AtomicU64>,
    writer: SyncSender<Message>,
}

impl SoundSink for Recorder {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn write(&mut self, pcm: &[i16]) {
        let (_, rest) = self.ring.push_partial_slice(pcm);
        if !rest.is_empty() {
            self.dropped.fetch_add(rest.len() as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Full or gone: the writer finds the abandoned ring in its next round.
        let _ = self.writer.try_send(Message::Look);
    }
}

#[derive(Debug)]
enum Message {
    Open(Box<Recording>),
    /// A ring may have been abandoned: do not wait for the next round.
    Look,
    Finish(Sender<()>),
}

/// Told when a recording fails; the argument says why in words.
pub type Notice = Box<dyn FnOnce(String) + Send>;

/// The writer's end of a recording.
struct Recording {
    path: PathBuf,
    rate: u32,
    ring: Consumer<i16>,
    dropped: Arc<AtomicU64>,
    notice: Option<Notice>,
    file: Option<File>,
    written: u64,
    header_due: Wall,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({})", self.path.display())
    }
}

/// The writer thread; started with the first recording.
#[derive(Debug)]
pub struct Writer {
    messages: SyncSender<Message>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (messages, receiver) = sync_channel(QUEUE);
        std::thread::Builder::new().name("writer".into()).stack_size(256 * 1024).spawn(move || work(&receiver))?;
        Ok(Self { messages })
    }

    /// Begins a recording of one channel at `rate`; the file is made by the writer thread, and `notice` told if anything fails.
    ///
    /// # Errors
    /// When the writer has more to do than it can take.
    pub fn record(&self, path: PathBuf, rate: u32, notice: Notice) -> io::Result<Recorder> {
        let (producer, consumer) = RingBuffer::new((rate as usize).saturating_mul(RING_SECONDS));
        let dropped = Arc::new(AtomicU64::new(0));
        let recording = Recording {
            path,
            rate,
            ring: consumer,
            dropped: dropped.clone(),
            notice: Some(notice),
            file: None,
            written: 0,
            header_due: Wall::now(),
        };
        let busy = |_| io::Error::new(io::ErrorKind::WouldBlock, "the disk is too slow");
        self.messages.try_send(Message::Open(Box::new(recording))).map_err(busy)?;
        Ok(Recorder { rate, ring: producer, dropped, writer: self.messages.clone() })
    }

    /// Writes out what is there and closes all files; waits `patience` at most. True when it is done.
    pub fn finish(&self, patience: Duration) -> bool {
        let (done, finished) = channel();
        self.messages.try_send(Message::Finish(done)).is_ok() && finished.recv_timeout(patience).is_ok()
    }
}

fn work(messages: &Receiver<Message>) {
    let mut recordings: Vec<Recording> = Vec::new();
    loop {
        // Nothing to write: sleep until there is.
        let message = if recordings.is_empty() {
            messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            messages.recv_timeout(ROUND)
        };
        match message {
            Ok(Message::Open(recording)) => recordings.push(*recording),
            Ok(Message::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Finish(done)) => {
                recordings.drain(..).for_each(Recording::finish);
                let _ = done.send(()); // nobody may be waiting any more
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                recordings.drain(..).for_each(Recording::finish);
                return;
            }
        }
        let mut place = 0;
        while let Some(recording) = recordings.get_mut(place) {
            let abandoned = recording.ring.is_abandoned(); // before the ring is emptied: nothing can follow then
            let result = recording.write_out();
            if result.is_ok() && !abandoned {
                place += 1;
                continue;
            }
            let mut recording = recordings.swap_remove(place);
            match result {
                Ok(()) => recording.finish(),
                Err(error) => recording.fail(&error),
            }
        }
    }
}

impl Recording {
    fn write_out(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut file = File::create(&self.path)?;
            file.write_all(&wav::header(self.rate, 0))?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let waiting = self.ring.slots();
        if let Ok(chunk) = self.ring.read_chunk(waiting) {
            let (first, second) = chunk.as_slices();
            let bytes: Vec<u8> = first.iter().chain(second).flat_map(|sample| sample.to_le_bytes()).collect();
            file.write_all(&bytes)?;
            chunk.commit_all();
            self.written += waiting as u64;
        }
        if self.header_due.elapsed() >= HEADER {
            self.header_due = Wall::now();
            self.write_header()?;
        }
        Ok(())
    }

    fn write_header(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all_at(&wav::header(self.rate, self.written), 0)
    }

    fn finish(mut self) {
        if let Err(error) = self.write_out().and_then(|()| self.write_header()) {
            self.fail(&error);
            return;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        if dropped > 0
            && let Some(notice) = self.notice.take()
        {
            let lost = dropped * 1000 / u64::from(self.rate.max(1));
            notice(format!("{}: the disk was too slow, {lost} ms are missing", self.path.display()));
        }
    }

    /// Stops with a file that plays as far as it goes (threats F5): the rest of a half-written round is cut off.
    fn fail(&mut self, error: &io::Error) {
        if let Some(file) = &mut self.file {
            let _ = file.set_len(44 + self.written * 2);
        }
        let _ = self.write_header();
        if let Some(notice) = self.notice.take() {
            notice(format!("{}: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::wav::Sound;
    use std::path::Path;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn record(writer: &Writer, path: &Path) -> (Recorder, Receiver<String>) {
        let (sender, notices) = channel();
        let notice = Box::new(move |cause| drop(sender.send(cause)));
        (writer.record(path.to_owned(), 8000, notice).expect("the queue has room"), notices)
    }

    #[test]
    fn what_was_heard_is_in_the_file_once_the_call_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.wav");
        let writer = Writer::start().expect("a thread");
        let (mut recorder, _notices) = record(&writer, &path);
        let heard: Vec<i16> = (0..4000).map(|n| n as i16).collect();
        heard.chunks(160).for_each(|block| recorder.write(block));
        drop(recorder);
        assert!(writer.finish(PATIENCE));
        assert_eq!(Sound::load(&path).expect("a good file"), Sound { rate: 8000, samples: heard });
    }

    #[test]
    fn finishing_closes_recordings_of_calls_that_still_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("call.wav");
        let writer = Writer::start().expect("a thread");
        let (mut recorder, _notices) = record(&writer, &path);
        recorder.write(&[1, 2, 3]);
        assert!(writer.finish(PATIENCE));
        assert_eq!(Sound::load(&path).expect("a good file").samples, [1, 2, 3]);
        recorder.write(&[4]);
    }

    #[test]
    fn a_full_ring_drops_and_the_notice_says_how_much() {
        let folder = tempfile::tempdir().expect("a folder");
        let (messages, receiver) = sync_channel(QUEUE);
        let writer = Writer { messages }; // a writer whose disk has stalled
        let (mut recorder, notices) = record(&writer, &folder.path().join("call.wav"));
        recorder.write(&vec![1; 8000 * RING_SECONDS + 400]);
        drop((recorder, writer));
        work(&receiver); // and goes on again
        let notice = notices.try_recv().expect("something was lost");
        assert!(notice.ends_with("the disk was too slow, 50 ms are missing"), "{notice}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_told_and_does_not_stop_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = Writer::start().expect("a thread");
        let (mut bad, notices) = record(&writer, &folder.path().join("no/such/folder.wav"));
        let good_path = folder.path().join("good.wav");
        let (mut good, _silent) = record(&writer, &good_path);
        bad.write(&[1; 160]);
        good.write(&[5; 160]);
        let notice = notices.recv_timeout(PATIENCE).expect("it failed");
        assert!(notice.contains("folder.wav: No such file"), "{notice}");
        bad.write(&[1; 160]);
        drop(good);
        assert!(writer.finish(PATIENCE));
        assert_eq!(Sound::load(&good_path).expect("a good file").samples.len(), 160);
    }

    #[test]
    fn a_full_disk_ends_the_recording_with_a_notice() {
        let writer = Writer::start().expect("a thread");
        let (mut recorder, notices) = record(&writer, Path::new("/dev/full"));
        recorder.write(&[1; 160]);
        let notice = notices.recv_timeout(PATIENCE).expect("it failed");
        assert!(notice.contains("No space left"), "{notice}");
        recorder.write(&[1; 160]);
    }
}
