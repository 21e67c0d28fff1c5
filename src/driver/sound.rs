//! From the names in a [`Route`] to open files and devices; all opening happens on helper threads.

use super::EngineId;
use super::cards::{CardId, Cards};
use crate::device::builtin;
use crate::device::clip::Clip;
use crate::device::record::{Recorder, Writer};
use crate::device::wav::{Sound, WavError};
use crate::id::MediaId;
use crate::media::codec::CODECS;
use crate::media::command::{AudioSink, AudioSource, Builtin, MediaCommand, MediaEvent, Route};
use crate::media::set::{SoundSink, SoundSource};
use crate::sdp::plan::MediaPlan;
use mio::Waker;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant as Wall, SystemTime};

/// Sample rate of a recording when no codec is known.
const RATE: u32 = 16_000;
/// A device that worked is gone: the session keeps what it has.
const LOST: &str = "audio.device-lost";
/// The most silence before a recording, less than its ring holds.
const MOST_PAD: Duration = Duration::from_millis(1500);
/// How long the end of the program waits for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// One wish of one session; a later wish makes it stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) engine: EngineId,
    pub(crate) media: MediaId,
    wish: u64,
}

/// What a helper has opened.
pub(crate) enum Opened {
    Source(Box<dyn SoundSource>),
    #[cfg_attr(not(feature = "audio"), expect(dead_code, reason = "only sound cards are sinks that a helper opens"))]
    Sink(Box<dyn SoundSink>),
    /// It cannot be had, or has stopped working: slug and cause.
    Failed(&'static str, String),
}

/// Whom something was opened for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom {
    /// One session.
    Session(Key),
    /// All sessions that share a sound card.
    Card(CardId),
}

impl From<Key> for Whom {
    fn from(key: Key) -> Self {
        Self::Session(key)
    }
}

impl From<CardId> for Whom {
    fn from(card: CardId) -> Self {
        Self::Card(card)
    }
}

/// Tells the loop what a helper has opened.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    sender: Sender<(Whom, Opened)>,
    waker: Arc<Waker>,
}

impl Report {
    pub(crate) fn send(&self, whom: impl Into<Whom>, opened: Opened) {
        // Without a loop nobody cares.
        if self.sender.send((whom.into(), opened)).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What a session was last told to use.
#[derive(Debug)]
struct Session {
    source: (u64, AudioSource),
    sink: (u64, AudioSink),
    rate: u32,
    /// Where another loudspeaker goes once one is attached together with a recording, which must not begin anew.
    replace: Option<Sender<Box<dyn SoundSink>>>,
    /// A microphone that is recorded is recorded once.
    tapped: bool,
    /// When both of its recordings begin, whenever their devices do.
    begun: Wall,
}

struct FileJob {
    key: Key,
    path: String,
    repeat: bool,
}

/// What is open and being opened, for all sessions of all engines.
pub(super) struct Sounds {
    report: Report,
    opened: Receiver<(Whom, Opened)>,
    /// What a card has for each of its sessions.
    ready: VecDeque<(Key, Opened)>,
    cards: Cards,
    sessions: BTreeMap<(EngineId, MediaId), Session>,
    wishes: u64,
    files: Option<Sender<FileJob>>,
    writer: Option<Writer>,
}

/// Something for a session: to attach, or to tell its engine.
pub(super) enum Delivery {
    Source(Box<dyn SoundSource>),
    Sink(Box<dyn SoundSink>),
    Event(MediaEvent),
}

fn failed(slug: &str, cause: String) -> Delivery {
    Delivery::Event(MediaEvent::DeviceFailed { slug: slug.to_owned(), cause })
}

fn codec_rate(plan: &MediaPlan) -> u32 {
    let name = plan.streams.first().map(|stream| stream.codec.name.as_str());
    let codec = name.and_then(|name| CODECS.iter().find(|codec| codec.name.eq_ignore_ascii_case(name)));
    codec.map_or(RATE, |codec| codec.sample_rate)
}

impl Sounds {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (sender, opened) = channel();
        Self {
            report: Report { sender, waker },
            opened,
            ready: VecDeque::new(),
            cards: Cards::default(),
            sessions: BTreeMap::new(),
            wishes: 0,
            files: None,
            writer: None,
        }
    }

    /// Reads a command on its way to the media set, and opens what it names. What needs no helper is delivered at once.
    pub(super) fn read(&mut self, engine: EngineId, media: MediaId, command: &MediaCommand) -> Vec<Delivery> {
        match command {
            MediaCommand::Open { plan, route, settings: _ } => self.route(engine, media, route, Some(codec_rate(plan))),
            MediaCommand::Route(route) => self.route(engine, media, route, None),
            MediaCommand::Close => {
                self.sessions.remove(&(engine, media));
                Vec::new()
            }
            MediaCommand::SetPlan(_)
            | MediaCommand::Mute(_)
            | MediaCommand::Ringback(_)
            | MediaCommand::SendDtmf { .. } => Vec::new(),
        }
    }

    fn route(&mut self, engine: EngineId, media: MediaId, route: &Route, rate: Option<u32>) -> Vec<Delivery> {
        let Route::Local { source, sink } = route else {
            self.sessions.remove(&(engine, media));
            return Vec::new();
        };
        self.wishes += 2;
        let (hears, says) = (self.wishes, self.wishes + 1);
        let old = self.sessions.remove(&(engine, media));
        let rate = rate.or_else(|| old.as_ref().map(|old| old.rate)).unwrap_or(RATE);
        let mut session = Session {
            source: (says, source.clone()),
            sink: (hears, sink.clone()),
            rate,
            replace: None,
            tapped: false,
            begun: Wall::now(),
        };
        let mut deliveries = Vec::new();
        let key = |wish| Key { engine, media, wish };
        // What stays is not opened again: a recording would begin anew.
        let (old_source, old_sink, replace) =
            old.map_or((None, None, None), |old| (Some(old.source), Some(old.sink), old.replace));
        match old_source.filter(|old| old.1 == *source) {
            Some(same) => session.source = same,
            None => deliveries.extend(self.open_source(key(says), source)),
        }
        match old_sink.filter(|old| old.1 == *sink) {
            Some(same) => (session.sink, session.replace) = (same, replace),
            None => deliveries.extend(self.open_sink(key(hears), sink, rate)),
        }
        self.sessions.insert((engine, media), session);
        deliveries
    }

    fn open_source(&mut self, key: Key, source: &AudioSource) -> Option<Delivery> {
        match source {
            AudioSource::None | AudioSource::Silence | AudioSource::Tone(_) | AudioSource::Echo => None,
            AudioSource::Builtin(which) => {
                Some(Delivery::Source(Box::new(Clip::new(builtin::sound(*which), *which == Builtin::Music))))
            }
            AudioSource::File { path, repeat } => {
                let job = FileJob { key, path: path.clone(), repeat: *repeat };
                let refused = match self.files() {
                    Some(files) => files.send(job).is_err(),
                    None => true,
                };
                refused.then(|| failed("audio.file", format!("{path}: no thread to read it")))
            }
            AudioSource::Device(name) | AudioSource::DeviceAndFile(name, _) => {
                self.open_device(key, name, true);
                None
            }
        }
    }

    fn open_sink(&mut self, key: Key, sink: &AudioSink, rate: u32) -> Option<Delivery> {
        match sink {
            AudioSink::None => None,
            AudioSink::File(path) => Some(match self.record(key, path, rate) {
                Ok(recorder) => Delivery::Sink(Box::new(recorder)),
                Err(error) => failed("audio.file", format!("{path}: {error}")),
            }),
            AudioSink::Device(name) | AudioSink::DeviceAndFile(name, _) => {
                self.open_device(key, name, false);
                None
            }
        }
    }

    fn record(&mut self, key: Key, path: &str, rate: u32) -> std::io::Result<Recorder> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::start()?,
        };
        let report = self.report.clone();
        let notice = Box::new(move |cause| report.send(key, Opened::Failed("audio.file", cause)));
        let recorder = writer.record(PathBuf::from(path), rate, notice);
        self.writer = Some(writer);
        recorder
    }

    /// An end of a sound card comes through the queue, as its failure does: then a file beside it is still recorded.
    fn open_device(&mut self, key: Key, name: &str, capture: bool) {
        let sessions = &self.sessions;
        let is_current = |key: &Key| {
            let session = sessions.get(&(key.engine, key.media));
            session.is_some_and(|session| session.source.0 == key.wish || session.sink.0 == key.wish)
        };
        let Some(card) = self.cards.ask(capture, name, key, &self.report, is_current) else { return };
        if let Err(error) = open_card(&self.report, card, name, capture) {
            self.report.send(card, Opened::Failed("audio.busy", error.to_string()));
        }
    }

    fn files(&mut self) -> Option<&Sender<FileJob>> {
        if self.files.is_none() {
            let (sender, jobs) = channel();
            let report = self.report.clone();
            let reader = std::thread::Builder::new().name("files".into()).stack_size(256 * 1024);
            reader.spawn(move || read_files(&jobs, &report)).ok()?;
            self.files = Some(sender);
        }
        self.files.as_ref()
    }

    /// The next thing that a helper has opened, or failed to.
    pub(super) fn next(&mut self) -> Option<(EngineId, MediaId, Delivery)> {
        loop {
            let (key, opened) = match self.ready.pop_front() {
                Some(next) => next,
                None => match self.opened.try_recv().ok()? {
                    (Whom::Session(key), opened) => (key, opened),
                    (Whom::Card(card), opened) => {
                        self.cards.take(card, opened, &mut self.ready);
                        continue;
                    }
                },
            };
            let Key { engine, media, wish } = key;
            let Some(session) = self.sessions.get_mut(&(engine, media)) else {
                // The call is over; only a recording that went wrong is still of interest.
                if let Opened::Failed("audio.file", cause) = opened {
                    return Some((engine, media, failed("audio.file", cause)));
                }
                continue;
            };
            let (source, sink) = (session.source.0 == wish, session.sink.0 == wish);
            let beside = match &session.sink.1 {
                AudioSink::DeviceAndFile(_, path) if sink => Some((path.clone(), session.rate)),
                AudioSink::DeviceAndFile(..) | AudioSink::None | AudioSink::File(_) | AudioSink::Device(_) => None,
            };
            let opened = match (opened, &session.replace) {
                (Opened::Sink(device), Some(replace)) if sink => {
                    // The session may just have let go of it; then nobody wants the new one either.
                    let _ = replace.send(device);
                    continue;
                }
                (opened, _) => opened,
            };
            let tap = match &session.source.1 {
                AudioSource::DeviceAndFile(_, path) => Some(path.clone()).filter(|_| !session.tapped),
                AudioSource::None
                | AudioSource::Silence
                | AudioSource::Tone(_)
                | AudioSource::Echo
                | AudioSource::File { .. }
                | AudioSource::Builtin(_)
                | AudioSource::Device(_) => None,
            };
            session.tapped |= source && tap.is_some() && matches!(opened, Opened::Source(_));
            // Two recordings can only be compared if they begin together.
            let begun = Some(session.begun);
            let aligned = begun.filter(|_| matches!(session.source.1, AudioSource::DeviceAndFile(..)));
            let delivery = match (opened, beside) {
                (Opened::Source(device), _) if source => match tap.map(|path| self.record(key, &path, device.rate())) {
                    Some(Ok(recorder)) => Delivery::Source(Box::new(Tapped { device, recorder, begun })),
                    Some(Err(error)) => {
                        self.report.send(key, Opened::Failed("audio.file", error.to_string()));
                        Delivery::Source(device)
                    }
                    None => Delivery::Source(device),
                },
                (Opened::Sink(device), Some((path, _))) => match self.record(key, &path, device.rate()) {
                    Ok(recorder) => {
                        let (sender, later) = channel();
                        if let Some(session) = self.sessions.get_mut(&(engine, media)) {
                            session.replace = Some(sender);
                        }
                        Delivery::Sink(Box::new(Both { device, recorder, later, begun: aligned }))
                    }
                    Err(error) => {
                        self.report.send(key, Opened::Failed("audio.file", format!("{path}: {error}")));
                        Delivery::Sink(device)
                    }
                },
                (Opened::Sink(opened), None) if sink => Delivery::Sink(opened),
                // No loudspeaker: what is heard can still be recorded.
                (Opened::Failed(slug, cause), Some((path, rate))) if !["audio.file", LOST].contains(&slug) => {
                    if let Ok(recorder) = self.record(key, &path, rate) {
                        self.report.send(key, Opened::Failed(slug, cause));
                        if let Some(session) = self.sessions.get_mut(&(engine, media)) {
                            session.sink.1 = AudioSink::File(path);
                        }
                        Delivery::Sink(Box::new(recorder))
                    } else {
                        failed(slug, cause)
                    }
                }
                (Opened::Failed(slug, cause), _) if source || sink => failed(slug, cause),
                (Opened::Source(_) | Opened::Sink(_) | Opened::Failed(..), _) => continue, // not wanted any more
            };
            return Some((engine, media, delivery));
        }
    }

    /// Brings all recordings to the disk.
    pub(super) fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish(PATIENCE);
        }
    }
}

#[cfg(feature = "audio")]
fn open_card(report: &Report, card: CardId, name: &str, capture: bool) -> std::io::Result<()> {
    use crate::device::audio::{Direction, open};
    open(report.clone(), card, name, if capture { Direction::Capture } else { Direction::Playback })
}

#[cfg(not(feature = "audio"))]
#[expect(clippy::unnecessary_wraps, reason = "with sound cards it may fail")]
fn open_card(report: &Report, card: CardId, name: &str, capture: bool) -> std::io::Result<()> {
    let slug = if capture { "audio.no-input" } else { "audio.no-output" };
    report.send(card, Opened::Failed(slug, format!("{name}: this program was built without sound cards")));
    Ok(())
}

/// A loudspeaker and a recording of what it plays.
struct Both {
    device: Box<dyn SoundSink>,
    recorder: Recorder,
    /// The same loudspeaker once it is back.
    later: Receiver<Box<dyn SoundSink>>,
    begun: Option<Wall>,
}

impl SoundSink for Both {
    fn rate(&self) -> u32 {
        self.device.rate()
    }

    fn write(&mut self, pcm: &[i16]) {
        if let Ok(device) = self.later.try_recv()
            && device.rate() == self.device.rate()
        {
            self.device = device;
        }
        if let Some(begun) = self.begun.take() {
            pad(&mut self.recorder, begun, 0);
        }
        self.device.write(pcm);
        self.recorder.write(pcm);
    }

    fn wanted(&self) -> Option<usize> {
        self.device.wanted()
    }
}

/// A microphone and a recording of what it gives.
struct Tapped {
    device: Box<dyn SoundSource>,
    recorder: Recorder,
    begun: Option<Wall>,
}

impl SoundSource for Tapped {
    fn rate(&self) -> u32 {
        self.device.rate()
    }

    fn read(&mut self, out: &mut [i16]) -> usize {
        let given = self.device.read(out);
        if let Some(begun) = self.begun.take() {
            // What is read now was said before now.
            let ago = given + self.device.available().unwrap_or(0);
            pad(&mut self.recorder, begun, ago);
        }
        self.recorder.write(&out[..given]);
        given
    }

    fn available(&self) -> Option<usize> {
        self.device.available()
    }
}

/// Silence for the time since `begun` but for `less` samples.
fn pad(recorder: &mut Recorder, begun: Wall, less: usize) {
    let late = begun.elapsed().min(MOST_PAD).as_millis() as usize * recorder.rate() as usize / 1000;
    recorder.write(&vec![0; late.saturating_sub(less)]);
}

/// The reader thread: files that are played by several calls are in memory once.
fn read_files(jobs: &Receiver<FileJob>, report: &Report) {
    let mut kept: BTreeMap<String, (Option<SystemTime>, Weak<Sound>)> = BTreeMap::new();
    while let Ok(FileJob { key, path, repeat }) = jobs.recv() {
        kept.retain(|_, (_, sound)| sound.strong_count() > 0);
        let changed = std::fs::metadata(&path).and_then(|about| about.modified()).ok();
        let still = kept.get(&path).filter(|kept| kept.0 == changed).and_then(|kept| kept.1.upgrade());
        let sound: Result<Arc<Sound>, WavError> = match still {
            Some(sound) => Ok(sound),
            None => Sound::load(Path::new(&path)).map(Arc::new),
        };
        match sound {
            Ok(sound) => {
                kept.insert(path, (changed, Arc::downgrade(&sound)));
                report.send(key, Opened::Source(Box::new(Clip::new(sound, repeat))));
            }
            Err(error) => report.send(key, Opened::Failed("audio.file", format!("{path}: {error}"))),
        }
    }
}
