//! The log: the only shared state. A subscriber, of any transport, is a cursor into it plus a wake-up.
//!
//! The log never sees HTTP, never waits for a reader and holds nothing per reader but a seat to be woken in.

mod batch;
mod retained;
mod wake;

use std::sync::Arc;
use std::task::Poll;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use self::batch::{Batch, Gap, GapReason};
pub(crate) use self::retained::MAX_BATCH;
use self::retained::{Entry, State, cost};
use self::wake::{Seat, Wake};
use crate::cursor::{After, Cursor, Epoch};
use crate::memory::{Memory, Pool};
use crate::message::{self, Draft};

/// How much a log retains.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// At most this many messages.
    pub(crate) messages: usize,
    /// At most this many bytes of encoded messages (the newest is retained whatever its size).
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

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotStored {
    /// Nothing can be appended any more.
    Closed,
    /// There is no memory for it.
    Full,
}

/// An append-only room of messages, of which the newest are retained.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Epoch,
    retention: Retention,
    ranges: Arc<Pool>,
    state: Mutex<State>,
    wake: Arc<Wake>,
}

impl Log {
    /// An empty log of a new epoch.
    pub(crate) fn new(retention: Retention, memory: &Memory) -> Arc<Self> {
        let (state, ranges) = (
            Mutex::new(State::new(memory.messages.hold(0))),
            Arc::clone(&memory.ranges),
        );
        Arc::new(Self {
            epoch: Epoch::draw(),
            retention,
            ranges,
            state,
            wake: Arc::default(),
        })
    }

    /// Stores a message under the next seq and wakes the readers; a key that is still retained stores nothing.
    pub(crate) fn append(&self, draft: &Draft) -> Result<Published, NotStored> {
        let mut state = self.state.lock();
        if state.sealed {
            return Err(NotStored::Closed);
        }
        if let Some(seq) = draft.key.as_deref().and_then(|key| state.seq_of(key)) {
            let differs = state
                .entry(seq)
                .is_some_and(|first| !draft.became(seq, &first.encoded));
            return Ok(Published {
                cursor: self.at(seq),
                duplicate: true,
                differs,
            });
        }
        if !state
            .held
            .pool()
            .fits(cost(draft.text.len(), draft.key.as_deref()))
        {
            return Err(NotStored::Full);
        }
        let seq = state.head() + 1;
        let encoded = message::encode(draft, seq, unix_millis());
        state.push(Entry {
            encoded,
            key: draft.key.as_deref().map(Arc::from),
        });
        state.trim(1, |state| {
            state.count() > self.retention.messages || state.bytes > self.retention.bytes
        });
        drop(state);
        self.wake.all();
        Ok(Published {
            cursor: self.at(seq),
            duplicate: false,
            differs: false,
        })
    }

    /// What comes after a position, at once and possibly nothing; at most `limit` messages of it.
    pub(crate) fn read(&self, after: After, limit: usize) -> Batch {
        let mut state = self.state.lock();
        let (seq, gap) = self.locate(&state, after);
        Batch::new(self.epoch, gap, state.run(seq, limit, &self.ranges))
    }

    /// A reader that can wait for what comes after a position.
    pub(crate) fn subscribe(self: &Arc<Self>, after: After) -> Subscription {
        let seat = self.wake.join();
        let (seq, gap) = self.locate(&self.state.lock(), after);
        Subscription {
            seat,
            reader: Reader {
                log: Arc::clone(self),
                seq,
                gap,
                limit: MAX_BATCH,
            },
        }
    }

    /// Appends nothing any more: how a drain begins. Returns when the last message came.
    pub(crate) fn seal(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.sealed = true;
        state.appended
    }

    /// Ends every subscription once it has delivered what is there: how a drain ends.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        (state.sealed, state.closed) = (true, true);
        drop(state);
        self.wake.all();
    }

    /// Lets go of the merged ranges that it keeps for readers to come.
    pub(crate) fn forget_ranges(&self) {
        self.state.lock().forget_ranges();
    }

    /// Drops the oldest messages until the rest takes this much memory, all of them if need be. How many went.
    pub(crate) fn shrink(&self, bytes: usize) -> u64 {
        let mut state = self.state.lock();
        let before = state.oldest;
        state.trim(0, |state| state.held.bytes() > bytes);
        if state.oldest > before {
            // What has gone is not to live on in a range.
            state.forget_ranges();
        }
        state.oldest - before
    }

    /// The memory that its messages take.
    pub(crate) fn memory(&self) -> usize {
        self.state.lock().held.bytes()
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.wake.members()
    }

    /// When the last subscriber left, if one ever did.
    pub(crate) fn left(&self) -> Option<Instant> {
        self.wake.left()
    }

    pub(crate) fn retained(&self) -> Retention {
        let state = self.state.lock();
        Retention {
            messages: state.count(),
            bytes: state.bytes,
        }
    }

    fn locate(&self, state: &State, after: After) -> (u64, Option<Gap>) {
        match after {
            After::Oldest => (state.oldest - 1, None),
            After::Latest => (state.head(), None),
            After::Cursor(cursor) if cursor.epoch != self.epoch => {
                self.gap(state, GapReason::Epoch, None)
            }
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
        (
            seq,
            Some(Gap {
                reason,
                missed,
                cursor: self.at(seq),
            }),
        )
    }

    fn at(&self, seq: u64) -> Cursor {
        Cursor {
            epoch: self.epoch,
            seq,
        }
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
    /// The most messages of one batch.
    limit: usize,
}

impl Subscription {
    /// With at most this many messages in a batch.
    pub(crate) fn at_most(mut self, limit: usize) -> Self {
        self.reader.limit = limit;
        self
    }

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
            tests::reached(tests::Moment::FallsAsleep);
            woken.await;
        }
    }
}

impl Reader {
    fn look(&mut self) -> Poll<Option<Batch>> {
        let mut state = self.log.state.lock();
        let (seq, gap) = match self.gap.take() {
            // Messages may have gone since the gap was found.
            Some(gap) => {
                let since = state.oldest - 1 - gap.cursor.seq;
                self.log
                    .gap(&state, gap.reason, gap.missed.map(|missed| missed + since))
            }
            None => self.log.check(&state, self.seq),
        };
        if gap.is_some() || seq < state.head() {
            let batch = Batch::new(
                self.log.epoch,
                gap,
                state.run(seq, self.limit, &self.log.ranges),
            );
            self.seq = batch.cursor.seq;
            return Poll::Ready(Some(batch));
        }
        let is_closed = state.closed;
        drop(state);
        #[cfg(test)]
        tests::reached(tests::Moment::FoundNothing);
        if is_closed {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
