//! The log: the only shared state. A subscriber, of any transport, is a cursor into it plus a wake-up.
//!
//! The log never sees HTTP, never waits for a reader and holds nothing per reader but a seat to be woken in.

mod batch;
mod wake;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Poll;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;

use self::batch::Run;
pub(crate) use self::batch::{Batch, Gap, GapReason};
use self::wake::{Seat, Wake};
use crate::cursor::{After, Cursor, Epoch};
use crate::message::{self, Draft};

/// The most messages one batch holds.
pub(crate) const MAX_BATCH: usize = 1000;
/// The most bytes of encoded messages in a batch of several: readers at as many different places hold a batch each.
const MAX_BATCH_BYTES: usize = 128 * 1024;
/// How many merged ranges a log keeps for readers that come a little later.
const KEPT_RUNS: usize = 4;

/// How much a log retains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// At most so many messages.
    pub(crate) messages: usize,
    /// At most so many bytes of encoded messages (the newest is always retained).
    pub(crate) bytes: usize,
}

/// A publish that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// Where the message stands.
    pub(crate) cursor: Cursor,
    /// The key had been published before: this is the message of that time.
    pub(crate) duplicate: bool,
    /// And that message is another one.
    pub(crate) differs: bool,
}

/// The log is closed: nothing can be appended any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// An append-only room of messages, of which the newest are retained.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Epoch,
    window: Window,
    state: Mutex<State>,
    wake: Arc<Wake>,
}

/// Invariant: `entries[i]` is the message with seq `oldest + i`; `keys` names retained messages only;
/// `bytes` is the sum of the entries' encoded lengths.
#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    oldest: u64,
    bytes: usize,
    keys: HashMap<Box<str>, u64>,
    runs: VecDeque<Arc<Run>>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    encoded: Bytes,
    key: Option<Box<str>>,
}

impl Log {
    /// An empty log of a new epoch.
    pub(crate) fn new(window: Window) -> Arc<Self> {
        let state = Mutex::new(State { oldest: 1, ..State::default() });
        Arc::new(Self { epoch: Epoch::draw(), window, state, wake: Arc::default() })
    }

    /// Stores a message under the next seq and wakes the readers; a key that is still retained stores nothing.
    pub(crate) fn append(&self, draft: &Draft) -> Result<Published, Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        if let Some(&seq) = draft.key.as_ref().and_then(|key| state.keys.get(key)) {
            let first = usize::try_from(seq - state.oldest).ok().and_then(|i| state.entries.get(i));
            let differs = first.is_some_and(|first| !draft.became(seq, &first.encoded));
            return Ok(Published { cursor: self.at(seq), duplicate: true, differs });
        }
        let seq = state.head() + 1;
        let encoded = message::encode(draft, seq, unix_millis());
        if let Some(key) = &draft.key {
            state.keys.insert(key.clone(), seq);
        }
        state.bytes += encoded.len();
        state.entries.push_back(Entry { encoded, key: draft.key.clone() });
        state.trim(self.window);
        drop(state);
        self.wake.all();
        Ok(Published { cursor: self.at(seq), duplicate: false, differs: false })
    }

    /// What comes after a position, at once and possibly nothing.
    pub(crate) fn read(&self, after: After) -> Batch {
        let mut state = self.state.lock();
        let (seq, gap) = self.locate(&state, after);
        Batch::new(self.epoch, gap, state.run(seq))
    }

    /// A reader that can wait for what comes after a position.
    pub(crate) fn subscribe(self: &Arc<Self>, after: After) -> Subscription {
        let seat = self.wake.join();
        let (seq, gap) = self.locate(&self.state.lock(), after);
        Subscription { seat, reader: Reader { log: Arc::clone(self), seq, gap } }
    }

    /// Ends every subscription once it has delivered what is there: how a drain begins.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.all();
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.wake.members()
    }

    pub(crate) fn retained(&self) -> Window {
        let state = self.state.lock();
        Window { messages: state.entries.len(), bytes: state.bytes }
    }

    fn locate(&self, state: &State, after: After) -> (u64, Option<Gap>) {
        match after {
            After::Oldest => (state.oldest - 1, None),
            After::Latest => (state.head(), None),
            After::Cursor(cursor) if cursor.epoch != self.epoch => self.gap(state, GapReason::Epoch, None),
            After::Cursor(cursor) => self.check(state, cursor.seq),
        }
    }

    fn check(&self, state: &State, seq: u64) -> (u64, Option<Gap>) {
        if seq > state.head() {
            self.gap(state, GapReason::Ahead, None)
        } else if seq + 1 < state.oldest {
            self.gap(state, GapReason::Window, Some(state.oldest - 1 - seq))
        } else {
            (seq, None)
        }
    }

    fn gap(&self, state: &State, reason: GapReason, missed: Option<u64>) -> (u64, Option<Gap>) {
        let seq = state.oldest - 1;
        (seq, Some(Gap { reason, missed, cursor: self.at(seq) }))
    }

    fn at(&self, seq: u64) -> Cursor {
        Cursor { epoch: self.epoch, seq }
    }
}

impl State {
    fn head(&self) -> u64 {
        self.oldest + self.entries.len() as u64 - 1
    }

    fn trim(&mut self, window: Window) {
        while self.entries.len() > window.messages || (self.bytes > window.bytes && self.entries.len() > 1) {
            let Some(entry) = self.entries.pop_front() else { return };
            self.oldest += 1;
            self.bytes -= entry.encoded.len();
            if let Some(key) = entry.key {
                self.keys.remove(&key);
            }
        }
    }

    /// The messages after `seq`, as many as fit in a batch; from the kept ranges if somebody has asked for the same
    /// before.
    fn run(&mut self, seq: u64) -> Arc<Run> {
        let head = self.head();
        if let Some(run) = self.runs.iter().find(|run| run.after == seq && (run.end() == head || run.full)) {
            return Arc::clone(run);
        }
        let first = usize::try_from(seq + 1 - self.oldest).expect("a window fits in memory");
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.encoded.len();
            bytes <= MAX_BATCH_BYTES || bytes == entry.encoded.len()
        };
        let messages = self.entries.range(first..).take(MAX_BATCH).take_while(fits);
        let messages: Vec<Bytes> = messages.map(|entry| entry.encoded.clone()).collect();
        let full = seq + (messages.len() as u64) < head;
        let run = Arc::new(Run::new(seq, messages, full));
        self.runs.truncate(KEPT_RUNS - 1);
        self.runs.push_front(Arc::clone(&run));
        run
    }
}

/// A reader that can wait. Dropping it leaves the log.
#[derive(Debug)]
pub(crate) struct Subscription {
    seat: Seat,
    reader: Reader,
}

#[derive(Debug)]
struct Reader {
    log: Arc<Log>,
    seq: u64,
    gap: Option<Gap>,
}

impl Subscription {
    /// Where it stands; after a gap, where reading goes on.
    pub(crate) fn cursor(&self) -> Cursor {
        self.reader.log.at(self.reader.seq)
    }

    /// Waits until there is something (a gap is something); `None` once the log is closed and all was delivered.
    ///
    /// Cancel safe: a batch is returned or nothing has happened.
    pub(crate) async fn next(&mut self) -> Option<Batch> {
        loop {
            // Created before the look: whatever is published after it wakes this reader.
            let woken = self.seat.notified();
            if let Poll::Ready(batch) = self.reader.look() {
                return batch;
            }
            #[cfg(test)]
            tests::found_nothing();
            woken.await;
        }
    }
}

impl Reader {
    fn look(&mut self) -> Poll<Option<Batch>> {
        let mut state = self.log.state.lock();
        let (seq, gap) = match self.gap.take() {
            // Messages may have left the window since the gap was found.
            Some(gap) => {
                let since = state.oldest - 1 - gap.cursor.seq;
                self.log.gap(&state, gap.reason, gap.missed.map(|missed| missed + since))
            }
            None => self.log.check(&state, self.seq),
        };
        if gap.is_some() || seq < state.head() {
            let batch = Batch::new(self.log.epoch, gap, state.run(seq));
            self.seq = batch.cursor.seq;
            return Poll::Ready(Some(batch));
        }
        if state.closed { Poll::Ready(None) } else { Poll::Pending }
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
