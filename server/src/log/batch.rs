//! What one read returns: a range of messages, merged once per format and shared by all who read it.

use std::ptr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;

use crate::cursor::{Cursor, Epoch};
use crate::memory::{Counted, Full, Pool, UNCOUNTED};
use crate::message::Format;

/// Why a reader could not go on from where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GapReason {
    /// The cursor is older than what the log retains.
    Window,
    /// The cursor belongs to another incarnation of the log.
    Epoch,
    /// The cursor is ahead of the log.
    Ahead,
}

/// What a reader is told when messages are missing between its cursor and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    pub(crate) reason: GapReason,
    /// How many messages were missed; known only for [`GapReason::Window`].
    pub(crate) missed: Option<u64>,
    /// Where reading goes on: just before the oldest retained message.
    pub(crate) cursor: Cursor,
}

/// A range's bytes in the first format that asked for them, and a link to those of the next: an entry is written once
/// and then read without a lock, for every reader of a fan-out passes here.
#[derive(Debug, Default)]
struct Merged(OnceLock<Box<(&'static Format, Bytes, Self)>>);

/// A range of messages of one log, encoded at most once per format.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) after: u64,
    pub(super) messages: Vec<Bytes>,
    /// More did not fit: it stays the same whatever is published.
    pub(super) full: bool,
    merged: Merged,
    merging: Mutex<()>,
    pool: Arc<Pool>,
}

impl Run {
    pub(super) fn new(after: u64, messages: Vec<Bytes>, full: bool, pool: &Arc<Pool>) -> Self {
        Self {
            after,
            messages,
            full,
            merged: Merged::default(),
            merging: Mutex::default(),
            pool: Arc::clone(pool),
        }
    }

    pub(super) fn end(&self) -> u64 {
        self.after + self.messages.len() as u64
    }
}

/// What one read returns.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Where the reader stands after it.
    pub(crate) cursor: Cursor,
    /// What was missed before it, if anything was.
    pub(crate) gap: Option<Gap>,
    run: Arc<Run>,
}

impl Batch {
    pub(super) fn new(epoch: Epoch, gap: Option<Gap>, run: Arc<Run>) -> Self {
        Self {
            cursor: Cursor {
                epoch,
                seq: run.end(),
            },
            gap,
            run,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.run.messages.len()
    }

    /// The messages, one by one, as JSON.
    #[cfg(any(test, feature = "faults"))]
    pub(crate) fn messages(&self) -> &[Bytes] {
        &self.run.messages
    }

    /// The messages as one run of bytes, shared with every reader of the same range. Counted until the last of them
    /// has written it; only what is small is merged even if there is no memory left.
    pub(crate) fn encoded(&self, format: &'static Format) -> Result<Bytes, Full> {
        let Run { messages, pool, .. } = &*self.run;
        let mut place = &self.run.merged;
        loop {
            let (of, bytes, next) = match place.0.get() {
                Some(entry) => &**entry,
                None => {
                    // Whoever comes meanwhile waits, and has it from here: memory is taken once.
                    let _turn = self.run.merging.lock();
                    if place.0.get().is_some() {
                        continue;
                    }
                    let size = format.room_for(messages);
                    let held = if size <= UNCOUNTED {
                        pool.hold(size)
                    } else {
                        pool.take(size)?
                    };
                    place.0.get_or_init(|| {
                        let merged = format.merge(self.cursor, messages, self.run.full);
                        let bytes = Bytes::from_owner(Counted::new(merged, held));
                        Box::new((format, bytes, Merged::default()))
                    })
                }
            };
            if ptr::eq(*of, format) {
                return Ok(bytes.clone());
            }
            place = next;
        }
    }

    /// Nothing to say: neither a message nor a gap.
    pub(crate) fn is_nothing(&self) -> bool {
        self.count() == 0 && self.gap.is_none()
    }
}
