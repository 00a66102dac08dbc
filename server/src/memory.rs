//! One bound on what the server holds for its clients (`--memory`), divided so that no kind of it can take the place of
//! another: retained messages, ranges merged for readers, messages that have not arrived whole.
//!
//! Whoever holds something counts it with a [`Held`], which gives it back when it is dropped. When messages are short of
//! room ([`Pool::is_short`]) the oldest go; ranges get smaller; what still finds no place is refused. Connections are not
//! counted one by one: [`PER_CONNECTION`] is set aside for as many as there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What one connection may hold without asking, in bytes: hyper's two buffers, a request head of 16 KiB, the tasks, and
/// [`UNCOUNTED`] of what it sends or is sent.
pub(crate) const PER_CONNECTION: usize = 40 * 1024;
/// A connection's part in this that is not counted: an ordinary message, or a small batch.
pub(crate) const UNCOUNTED: usize = 16 * 1024;

/// The memory of one server, by what it is for.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// Retained messages, with their keys: half of it.
    pub(crate) messages: Arc<Pool>,
    /// What is merged for readers and not yet written: a quarter.
    pub(crate) ranges: Arc<Pool>,
    /// What has arrived of messages that are not whole: a quarter.
    pub(crate) arriving: Arc<Pool>,
    refused: Arc<AtomicU64>,
}

impl Memory {
    /// Of this many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let quarter = limit / 4;
        let (messages, refused) = (Pool::new(limit / 2), Arc::default());
        Self {
            messages,
            ranges: Pool::new(quarter),
            arriving: Pool::new(quarter),
            refused,
        }
    }

    /// Each with its name.
    pub(crate) fn pools(&self) -> [(&'static str, &Pool); 3] {
        let Self {
            messages,
            ranges,
            arriving,
            ..
        } = self;
        [
            ("messages", messages),
            ("ranges", ranges),
            ("arriving", arriving),
        ]
    }

    /// Counts something for which there was no room.
    pub(crate) fn refuse(&self) -> Full {
        self.refused.fetch_add(1, Relaxed);
        Full
    }

    /// How often there was no room for something, so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Bytes that are held, whatever for.
    pub(crate) fn used(&self) -> usize {
        self.pools().iter().map(|(_, pool)| pool.used()).sum()
    }
}

/// Memory for one kind of thing. Invariant: `used` is the sum of all that is [`Held`] of it.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: usize,
    used: AtomicUsize,
}

/// There is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pool {
    /// Of this many bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether so little is left that something should go: more than seven eighths are in use.
    pub(crate) fn is_short(&self) -> bool {
        self.used() > self.limit / 8 * 7
    }

    /// Whether this many more fit.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.limit
    }

    /// Counts what somebody is about to hold, if it fits.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Result<Held, Full> {
        let mut held = self.hold(0);
        held.grow(bytes)?;
        Ok(held)
    }

    /// Counts what is held whether or not it fits.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.used.fetch_add(bytes, Relaxed);
        Held {
            pool: Arc::clone(self),
            bytes,
        }
    }
}

/// Bytes that are counted for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held {
    pool: Arc<Pool>,
    bytes: usize,
}

impl Held {
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts this many from now on, whether or not they fit.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.pool.used.fetch_add(bytes, Relaxed);
        self.pool.used.fetch_sub(self.bytes, Relaxed);
        self.bytes = bytes;
    }

    /// Counts at least this many from now on, if they fit.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |used: usize| {
            used.checked_add(more)
                .filter(|&used| used <= self.pool.limit)
        };
        self.pool
            .used
            .fetch_update(Relaxed, Relaxed, fits)
            .map_err(|_| Full)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.bytes, Relaxed);
    }
}

/// Bytes that give back what they are counted for when the last reader has let go of them.
pub(crate) struct Counted {
    bytes: Vec<u8>,
    _held: Held,
}

impl Counted {
    pub(crate) fn new(bytes: Vec<u8>, mut held: Held) -> Self {
        held.set(bytes.capacity());
        Self { bytes, _held: held }
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Returns what the allocator keeps of memory that was given back to it.
///
/// glibc keeps it for the next allocations, of which after an attack there are none.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "glibc's own function, which has no safe wrapper; it takes a number and no pointer"
    )]
    // SAFETY: it may be called at any time from any thread (MT-Safe by its manual page).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped_and_never_beyond_the_limit() {
        let pool = Pool::new(800);
        let mut first = pool.take(300).unwrap();
        assert_eq!((pool.used(), first.bytes()), (300, 300));
        assert_eq!(first.grow(801), Err(Full));
        assert_eq!(pool.used(), 300, "a refusal changes nothing");
        first.grow(800).unwrap();
        assert!(!pool.fits(1) && pool.take(1).is_err() && pool.take(0).is_ok());
        first.grow(10).unwrap();
        assert_eq!(pool.used(), 800, "it does not shrink by growing");
        first.set(100);
        let beyond = pool.hold(900);
        assert_eq!(
            pool.used(),
            1000,
            "what cannot be refused is counted all the same"
        );
        drop(beyond);
        drop(first);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn memory_is_short_above_seven_eighths() {
        let pool = Pool::new(800);
        let mut held = pool.hold(700);
        assert!(!pool.is_short());
        held.set(701);
        assert!(pool.is_short());
    }

    #[test]
    fn merged_bytes_are_counted_as_large_as_they_are_until_the_last_reader_has_gone() {
        let pool = Pool::new(800);
        let mut vec = Vec::with_capacity(64);
        vec.extend_from_slice(b"message");
        let shared = bytes::Bytes::from_owner(Counted::new(vec, pool.hold(7)));
        assert_eq!(pool.used(), 64);
        let reader = shared.slice(2..4);
        drop(shared);
        assert_eq!((&reader[..], pool.used()), (&b"ss"[..], 64));
        drop(reader);
        assert_eq!(pool.used(), 0);
    }
}
