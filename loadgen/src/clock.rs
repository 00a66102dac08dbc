//! `CLOCK_MONOTONIC` in nanoseconds: the one clock of due times and samples, the same in every process of a machine.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanos = u64;

/// The measuring window, known once everybody is connected.
pub type Window = Arc<OnceLock<Range<Nanos>>>;

/// Now.
pub fn now() -> Nanos {
    time_of(ClockId::Monotonic)
}

/// The time of another clock.
pub fn time_of(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A duration in nanoseconds.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps on tokio's timer, which ticks every millisecond and is never early.
pub async fn sleep_until(time: Nanos) {
    tokio::time::sleep(Duration::from_nanos(time.saturating_sub(now()))).await;
}
