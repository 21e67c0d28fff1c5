//! Names to addresses: the cache and the questions under way (RFC 3263 §4.2, A and AAAA only for now).

use crate::engine::{Record, RecordData};
use crate::id::RequestId;
use crate::time::{Duration, Instant};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names remembered at once.
const MAX_NAMES: usize = 256;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
/// Longest time an answer is kept, whatever it says.
const MAX_TTL: Duration = Duration::from_secs(3600);

/// Answers kept, and who waits for which question.
#[derive(Debug)]
pub(crate) struct Resolver<W> {
    answers: BTreeMap<String, (Instant, Vec<IpAddr>)>,
    asked: BTreeMap<RequestId, (String, Vec<W>)>,
}

impl<W> Default for Resolver<W> {
    fn default() -> Self {
        Self { answers: BTreeMap::new(), asked: BTreeMap::new() }
    }
}

impl<W> Resolver<W> {
    /// The addresses of `name`, if an answer has not run out.
    pub(crate) fn known(&self, now: Instant, name: &str) -> Option<&[IpAddr]> {
        let (until, addresses) = self.answers.get(name)?;
        (*until > now).then_some(addresses)
    }

    /// Notes that `who` waits for `name`; true when the question has to be asked, under `id`.
    pub(crate) fn wait(&mut self, id: RequestId, name: &str, who: W) -> bool {
        if let Some((_, waiting)) = self.asked.values_mut().find(|(asked, _)| asked == name) {
            waiting.push(who);
            return false;
        }
        self.asked.insert(id, (name.to_owned(), vec![who]));
        true
    }

    /// Takes the answer to a question; gives the name, its addresses and who waited.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        id: RequestId,
        records: &[Record],
    ) -> Option<(String, Vec<IpAddr>, Vec<W>)> {
        let (name, waiting) = self.asked.remove(&id)?;
        let mut addresses = Vec::new();
        for record in records.iter().take(MAX_ADDRESSES) {
            let RecordData::Addr(ip) = record.data;
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        let ttl = records.iter().map(|record| Duration::from_secs(record.ttl.into())).min().unwrap_or_default();
        if ttl > Duration::ZERO && !addresses.is_empty() {
            self.answers.retain(|_, (until, _)| *until > now);
            if self.answers.len() < MAX_NAMES {
                self.answers.insert(name.clone(), (now + ttl.min(MAX_TTL), addresses.clone()));
            }
        }
        Some((name, addresses, waiting))
    }

    /// True when no question is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.asked.is_empty()
    }
}
