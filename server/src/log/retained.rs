//! What a log retains, what that takes in memory, and the ranges that are merged of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::batch::Run;
use crate::memory::{Held, Pool, UNCOUNTED};

/// The most messages one batch holds.
pub(crate) const MAX_BATCH: usize = 1000;
/// The most bytes of encoded messages in a batch of several: readers at as many different places hold a batch each.
const MAX_BATCH_BYTES: usize = 128 * 1024;
/// The same while memory is short: with what a format adds it is still so small that it need not be counted.
const SMALL_BATCH_BYTES: usize = UNCOUNTED / 2;
/// How many merged ranges a log keeps for readers that come a little later, until [`State::forget_ranges`].
const KEPT_RUNS: usize = 4;
/// What a retained message takes beside its bytes: its entry, twice, for a queue grows by doubling; the count of its
/// readers; what the allocator adds. Counted high: 50,000 tiny messages took 0.7 of what was counted, large ones 1.05.
const ENTRY: usize = 2 * size_of::<Entry>() + 64;
/// What a key takes beside its bytes: its place in the map, which is at least half empty after it has grown, and its
/// allocation.
const KEY: usize = 96;

/// Invariant: `entries[i]` is the message with seq `oldest + i`; `keys` names retained messages only;
/// `bytes` is the sum of the entries' encoded lengths; `held` counts what the entries take with all that belongs to them.
#[derive(Debug)]
pub(super) struct State {
    entries: VecDeque<Entry>,
    pub(super) oldest: u64,
    pub(super) bytes: usize,
    pub(super) held: Held,
    keys: HashMap<Arc<str>, u64>,
    runs: VecDeque<Arc<Run>>,
    /// Nothing can be appended any more.
    pub(super) sealed: bool,
    /// Nobody waits any more.
    pub(super) closed: bool,
    pub(super) appended: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) encoded: Bytes,
    pub(super) key: Option<Arc<str>>,
}

impl Entry {
    /// The memory it takes.
    fn cost(&self) -> usize {
        cost(self.encoded.len(), self.key.as_deref())
    }
}

pub(super) fn cost(encoded: usize, key: Option<&str>) -> usize {
    encoded + ENTRY + key.map_or(0, |key| key.len() + KEY)
}

impl State {
    /// Nothing yet.
    pub(super) fn new(held: Held) -> Self {
        Self {
            entries: VecDeque::new(),
            oldest: 1,
            bytes: 0,
            held,
            keys: HashMap::new(),
            runs: VecDeque::new(),
            sealed: false,
            closed: false,
            appended: None,
        }
    }

    /// How many messages are retained.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The message with this seq, if it is retained.
    pub(super) fn entry(&self, seq: u64) -> Option<&Entry> {
        self.entries
            .get(usize::try_from(seq.checked_sub(self.oldest)?).ok()?)
    }

    /// Where the message with this key stands.
    pub(super) fn seq_of(&self, key: &str) -> Option<u64> {
        self.keys.get(key).copied()
    }

    /// Lets go of the merged ranges that are only kept for readers to come.
    pub(super) fn forget_ranges(&mut self) {
        self.runs.clear();
    }

    pub(super) fn head(&self) -> u64 {
        self.oldest + self.entries.len() as u64 - 1
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if let Some(key) = &entry.key {
            self.keys.insert(Arc::clone(key), self.head() + 1);
        }
        self.bytes += entry.encoded.len();
        self.held.set(self.held.bytes() + entry.cost());
        self.entries.push_back(entry);
        self.appended = Some(Instant::now());
    }

    /// Drops the oldest messages for as long as there is too much; this many of the newest stay.
    pub(super) fn trim(&mut self, keep: usize, is_too_much: impl Fn(&Self) -> bool) {
        while self.entries.len() > keep && is_too_much(self) {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.oldest += 1;
            self.bytes -= entry.encoded.len();
            self.held.set(self.held.bytes() - entry.cost());
            if let Some(key) = entry.key {
                self.keys.remove(&key);
            }
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            let twice = 2 * self.entries.len();
            self.entries.shrink_to(twice);
            self.keys.shrink_to(twice);
        }
    }

    /// The messages after `seq`, as many as fit in a batch and no more than `limit`; from the kept ranges if somebody has
    /// asked for the same before.
    pub(super) fn run(&mut self, seq: u64, limit: usize, ranges: &Arc<Pool>) -> Arc<Run> {
        let head = self.head();
        let is_the_same = |run: &&Arc<Run>| {
            run.after == seq && (run.end() == head || run.full) && run.messages.len() <= limit
        };
        if let Some(run) = self.runs.iter().find(is_the_same) {
            return Arc::clone(run);
        }
        let first =
            usize::try_from(seq + 1 - self.oldest).expect("what is retained fits in memory");
        let most = if ranges.is_short() {
            SMALL_BATCH_BYTES
        } else {
            MAX_BATCH_BYTES
        };
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.encoded.len();
            bytes <= most || bytes == entry.encoded.len()
        };
        let limit = limit.min(MAX_BATCH);
        let messages = self.entries.range(first..).take(limit).take_while(fits);
        let messages: Vec<Bytes> = messages.map(|entry| entry.encoded.clone()).collect();
        let full = seq + (messages.len() as u64) < head;
        let is_cut_short = full && messages.len() == limit && limit < MAX_BATCH;
        let run = Arc::new(Run::new(seq, messages, full, ranges));
        // Others want all that fits.
        if !is_cut_short {
            self.runs.truncate(KEPT_RUNS - 1);
            self.runs.push_front(Arc::clone(&run));
        }
        run
    }
}
