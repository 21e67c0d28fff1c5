//! Which sessions share which sound card.

use super::sound::{Key, Opened, Report};
use crate::device::shared::{Card, End, SharedLoudspeaker, SharedMicrophone};
use std::collections::{BTreeMap, VecDeque};

/// Names one opening of a card; the same card opened anew has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CardId(u64);

/// The cards that are open or being opened, by direction (capture is true) and name.
#[derive(Debug, Default)]
pub(super) struct Cards {
    entries: BTreeMap<(bool, String), Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    id: CardId,
    /// `None` while it is being opened.
    card: Option<Card>,
    users: Vec<Key>,
}

impl Cards {
    /// Gives `key` an end of a card that is open, or notes that it waits for one; `Some` names a card that is to be opened.
    ///
    /// `is_current` tells the sessions that still want what they once asked for.
    pub(super) fn ask(
        &mut self,
        capture: bool,
        name: &str,
        key: Key,
        report: &Report,
        is_current: impl Fn(&Key) -> bool,
    ) -> Option<CardId> {
        if let Some(entry) = self.entries.get_mut(&(capture, name.to_owned())) {
            entry.users.retain(is_current);
            let end = entry.card.as_ref().map(Card::join);
            match end {
                // It is being opened.
                None => {
                    entry.users.push(key);
                    return None;
                }
                Some(Some(end)) => {
                    entry.users.push(key);
                    report.send(key, opened(end));
                    return None;
                }
                // The last one has let go of it.
                Some(None) => {}
            }
        }
        self.next += 1;
        let id = CardId(self.next);
        self.entries.insert((capture, name.to_owned()), Entry { id, card: None, users: vec![key] });
        Some(id)
    }

    /// Whoever opened a card has something to say: to each session that uses it.
    pub(super) fn take(&mut self, id: CardId, what: Opened, ready: &mut VecDeque<(Key, Opened)>) {
        // Nobody wants it any more: dropping it closes it.
        let Some((name, entry)) = self.entries.iter_mut().find(|(_, entry)| entry.id == id) else { return };
        match what {
            Opened::Source(microphone) => {
                let first = SharedMicrophone::new(microphone);
                entry.share(first.card(), End::Source(first), ready);
            }
            Opened::Sink(loudspeaker) => {
                let first = SharedLoudspeaker::new(loudspeaker);
                entry.share(first.card(), End::Sink(first), ready);
            }
            Opened::Failed(slug, cause) => {
                ready.extend(entry.users.iter().map(|key| (*key, Opened::Failed(slug, cause.clone()))));
                if entry.card.is_none() {
                    let name = name.clone();
                    self.entries.remove(&name);
                }
            }
        }
    }
}

impl Entry {
    /// An end for each of its users; `first` keeps it open meanwhile.
    fn share(&mut self, card: Card, first: End, ready: &mut VecDeque<(Key, Opened)>) {
        let others = self.users.iter().skip(1).filter_map(|key| Some((*key, opened(card.join()?))));
        let others: Vec<_> = others.collect();
        ready.extend(self.users.first().map(|key| (*key, opened(first))));
        ready.extend(others);
        self.card = Some(card);
    }
}

fn opened(end: End) -> Opened {
    match end {
        End::Source(source) => Opened::Source(Box::new(source)),
        End::Sink(sink) => Opened::Sink(Box::new(sink)),
    }
}
