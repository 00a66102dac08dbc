//! How many connections there are, and may be: a semaphore is the cap, and the end of a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use tokio::sync::Semaphore;

/// The connections of a server. Invariant: each has one place of `most`, and gives it back when it ends.
#[derive(Debug)]
pub(crate) struct Connections {
    most: u32,
    free: Semaphore,
    /// How many are open: at the end of a drain, who waits for all places holds those that are free.
    open: AtomicUsize,
    pub(crate) accepted: AtomicU64,
    /// Over the cap, or there was no descriptor for it.
    pub(crate) refused: AtomicU64,
    /// Cut because the peer did not read.
    pub(crate) slow_closes: AtomicU64,
}

/// Counts a connection as open for as long as it lives.
pub(crate) struct Open(Arc<Connections>);

impl Connections {
    /// None yet, and at most this many; no more than 2^32 - 1.
    pub(crate) fn new(most: u64) -> Arc<Self> {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let [accepted, refused, slow_closes] = Default::default();
        Arc::new(Self {
            most,
            free: Semaphore::new(most as usize),
            open: AtomicUsize::new(0),
            accepted,
            refused,
            slow_closes,
        })
    }

    /// `None` if there are already as many as there may be.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Open> {
        // An `OwnedSemaphorePermit` would be a second pointer for each connection.
        self.free.try_acquire().ok()?.forget();
        self.open.fetch_add(1, Relaxed);
        Some(Open(Arc::clone(self)))
    }

    /// As many as there may be.
    pub(crate) fn most(&self) -> u64 {
        self.most.into()
    }

    /// How many are open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Waits until everybody has left; nobody else comes in meanwhile.
    pub(crate) async fn all_left(&self) {
        let _all = self.free.acquire_many(self.most).await;
    }
}

impl Open {
    /// Counts that the peer did not read.
    pub(crate) fn cut(&self) {
        self.0.slow_closes.fetch_add(1, Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.free.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_than_there_may_be_and_a_place_is_free_again_when_its_connection_ends()
     {
        let connections = Connections::new(2);
        let (first, second) = (connections.enter().unwrap(), connections.enter().unwrap());
        assert!(connections.enter().is_none());
        assert_eq!(connections.open(), 2, "who was refused is not counted");
        drop(second);
        assert_eq!(connections.open(), 1);
        let third = connections.enter().expect("there is room again");
        drop((first, third));
        assert_eq!(connections.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_with_the_last_connection_and_one_that_was_given_up_takes_no_place() {
        let connections = Connections::new(100);
        connections.all_left().await;
        let [first, second] = [(); 2].map(|()| connections.enter().unwrap());
        let waits = timeout(Duration::from_secs(1), connections.all_left()).await;
        assert!(waits.is_err());
        assert_eq!(
            connections.open(),
            2,
            "those that are still there at the end of a drain"
        );
        let leave = async {
            drop(first);
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(second);
        };
        let begun = tokio::time::Instant::now();
        let look = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(
                connections.open(),
                1,
                "one is left, whoever waits for its place"
            );
        };
        tokio::join!(connections.all_left(), leave, look);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
