//! Waking the readers of a log in shards, so that a publish never queues behind a sweep over thousands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Readers woken together before the sweep yields to whatever else is ready to run.
///
/// Fewer than the 61 polls after which tokio looks for I/O and lets the sweep go on: with more, the run queue would
/// grow with every shard until it spills into the global queue, where a publish waits for the end of the sweep.
pub(super) const SHARD: usize = 32;

const IDLE: u8 = 0;
const SWEEPING: u8 = 1;
const AGAIN: u8 = 2;

/// Everybody who may wait on one log.
///
/// Invariant: after [`Wake::all`] returns, every reader that was waiting is woken, at once or by the sweep.
#[derive(Debug, Default)]
pub(super) struct Wake {
    shards: Mutex<Vec<Arc<Shard>>>,
    sweep: AtomicU8,
}

#[derive(Debug, Default)]
struct Shard {
    notify: Notify,
    members: AtomicUsize,
    /// When the last of them left.
    left: Mutex<Option<Instant>>,
}

impl Wake {
    /// A place to wait, for one reader.
    pub(super) fn join(&self) -> Seat {
        let mut shards = self.shards.lock();
        // Empty ones at the end go, and only there: a sweep goes by their number.
        while shards
            .last()
            .is_some_and(|shard| shard.members.load(Ordering::Relaxed) == 0)
        {
            shards.pop();
        }
        let free = shards
            .iter()
            .rev()
            .find(|shard| shard.members.load(Ordering::Relaxed) < SHARD);
        let shard = free.cloned().unwrap_or_else(|| {
            let shard = Arc::<Shard>::default();
            shards.push(Arc::clone(&shard));
            shard
        });
        shard.members.fetch_add(1, Ordering::Relaxed);
        Seat(shard)
    }

    /// How many readers there are.
    pub(super) fn members(&self) -> usize {
        let shards = self.shards.lock();
        shards
            .iter()
            .map(|shard| shard.members.load(Ordering::Relaxed))
            .sum()
    }

    /// When the last reader left, if one ever did. Shards that are forgotten are older than one that is there.
    pub(super) fn left(&self) -> Option<Instant> {
        self.shards
            .lock()
            .iter()
            .filter_map(|shard| *shard.left.lock())
            .max()
    }

    /// Wakes all: a single shard at once, more of them in a task of their own, which yields between shards.
    pub(super) fn all(self: &Arc<Self>) {
        let first_is_all = self.shard(1).is_none();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !first_is_all => {
                if self.sweep.swap(AGAIN, Ordering::AcqRel) == IDLE {
                    runtime.spawn(Arc::clone(self).run_sweep());
                }
            }
            _ => (0..)
                .map_while(|i| self.shard(i))
                .for_each(|shard| shard.notify.notify_waiters()),
        }
    }

    async fn run_sweep(self: Arc<Self>) {
        loop {
            // Not a store: it takes the place of AGAIN, and what was appended before that is to be seen.
            self.sweep.swap(SWEEPING, Ordering::AcqRel);
            let mut i = 0;
            while let Some(shard) = self.shard(i) {
                shard.notify.notify_waiters();
                tokio::task::yield_now().await;
                i += 1;
            }
            // A publish during the sweep has set AGAIN: its readers may sit in a shard already passed.
            if self
                .sweep
                .compare_exchange(SWEEPING, IDLE, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return;
            }
        }
    }

    fn shard(&self, i: usize) -> Option<Arc<Shard>> {
        self.shards.lock().get(i).cloned()
    }
}

/// One reader's place in a shard.
#[derive(Debug)]
pub(super) struct Seat(Arc<Shard>);

impl Seat {
    /// Must be created *before* the reader looks whether there is something: from then on no wake-up is lost.
    pub(super) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.notify.notified()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // First, so that a shard without members has its time.
        *self.0.left.lock() = Some(Instant::now());
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}
