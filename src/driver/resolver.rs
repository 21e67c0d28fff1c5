//! Blocking questions off the loop: `getaddrinfo` on helper threads that start when first needed.

use super::EngineId;
use crate::engine::{Query, QueryKind, Record, RecordData, ResolveError};
use crate::id::RequestId;
use mio::Waker;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};

/// Helper threads at most: one slow name server must not hold up every name.
const THREADS: usize = 4;
/// Questions that wait at most.
const QUEUE: usize = 64;
/// `getaddrinfo` does not tell how long an answer holds.
const TTL: u32 = 60;

pub(super) type Answer = Result<Vec<Record>, ResolveError>;

struct Question {
    engine: EngineId,
    id: RequestId,
    query: Query,
}

/// Whose question, which, and what came of it.
type Answered = (EngineId, RequestId, Answer);

/// The answers that have come in, and the way to ask.
pub(super) struct Resolver {
    waker: Arc<Waker>,
    asked: Option<SyncSender<Question>>,
    questions: Arc<Mutex<Option<Receiver<Question>>>>,
    answers: (Sender<Answered>, Receiver<Answered>),
    threads: usize,
    open: usize,
}

impl Resolver {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { waker, asked: None, questions: Arc::default(), answers: channel(), threads: 0, open: 0 }
    }

    /// Asks; the answer is given at once for a literal address, else it comes from [`Resolver::next`].
    pub(super) fn ask(&mut self, engine: EngineId, id: RequestId, query: Query) -> Option<Answer> {
        let QueryKind::Addr = query.kind;
        if let Some(ip) = literal(&query.name) {
            return Some(Ok(vec![record(ip)]));
        }
        let sender = self.asked.get_or_insert_with(|| {
            let (sender, receiver) = sync_channel(QUEUE);
            if let Ok(mut questions) = self.questions.lock() {
                *questions = Some(receiver);
            }
            sender
        });
        if sender.try_send(Question { engine, id, query }).is_err() {
            return Some(Err(ResolveError::Failed));
        }
        self.open += 1;
        if self.threads < THREADS.min(self.open) && self.start_thread().is_ok() {
            self.threads += 1;
        }
        // Without a single thread nobody would ever answer.
        (self.threads == 0).then_some(Err(ResolveError::Failed))
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let (questions, answers, waker) = (self.questions.clone(), self.answers.0.clone(), self.waker.clone());
        let work = move || {
            loop {
                // The lock is held while waiting: the other helpers wait for the lock instead, which is the same.
                let next = questions.lock().ok().and_then(|questions| questions.as_ref()?.recv().ok());
                let Some(Question { engine, id, query }) = next else { return };
                if answers.send((engine, id, look_up(&query.name))).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("resolver".into()).stack_size(256 * 1024).spawn(work).map(|_| ())
    }

    /// The next answer.
    pub(super) fn next(&mut self) -> Option<Answered> {
        let answer = self.answers.1.try_recv().ok()?;
        self.open = self.open.saturating_sub(1);
        Some(answer)
    }
}

fn literal(name: &str) -> Option<IpAddr> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse().ok()
}

const fn record(ip: IpAddr) -> Record {
    Record { data: RecordData::Addr(ip), ttl: TTL }
}

fn look_up(name: &str) -> Answer {
    match (name, 0).to_socket_addrs() {
        Ok(found) => {
            let mut records: Vec<Record> = Vec::new();
            for address in found.take(64) {
                let found = record(address.ip());
                if !records.contains(&found) {
                    records.push(found);
                }
            }
            if records.is_empty() { Err(ResolveError::NotFound) } else { Ok(records) }
        }
        // The standard library keeps getaddrinfo's code only in its text.
        Err(error) => {
            let text = error.to_string();
            Err(if text.contains("Temporary failure") {
                ResolveError::Timeout
            } else if text.contains("not known") || text.contains("No address associated") {
                ResolveError::NotFound
            } else {
                ResolveError::Failed
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> (mio::Poll, Resolver) {
        let poll = mio::Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        (poll, Resolver::new(Arc::new(waker)))
    }

    fn query(name: &str) -> Query {
        Query { name: name.into(), kind: QueryKind::Addr }
    }

    #[test]
    fn an_address_is_its_own_answer_and_needs_no_thread() {
        let (_poll, mut resolver) = resolver();
        for (name, ip) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("fe80::1", "fe80::1")] {
            let answer = resolver.ask(EngineId(0), RequestId(1), query(name));
            assert_eq!(answer, Some(Ok(vec![record(ip.parse().expect("an address"))])));
        }
        assert_eq!(resolver.threads, 0);
    }

    #[test]
    fn localhost_is_answered_by_a_helper_that_wakes_the_loop() {
        let (mut poll, mut resolver) = resolver();
        assert_eq!(resolver.ask(EngineId(2), RequestId(7), query("localhost")), None);
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(crate::time::Duration::from_secs(10))).expect("polled");
        let (engine, id, answer) = resolver.next().expect("it woke us because there is an answer");
        assert_eq!((engine, id), (EngineId(2), RequestId(7)));
        let loopback = |record: &Record| matches!(record.data, RecordData::Addr(ip) if ip.is_loopback());
        assert!(answer.expect("localhost is known").iter().all(loopback));
    }

    #[test]
    fn a_name_that_cannot_be_is_not_found() {
        assert_eq!(look_up(""), Err(ResolveError::NotFound));
    }
}
