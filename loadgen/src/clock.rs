//! `CLOCK_MONOTONIC` in nanoseconds: the one clock of due times and samples, the same in every process of a machine.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::MissedTickBehavior;

/// Between the ticks by which a runtime measures its own timer delay.
const TICK: Duration = Duration::from_millis(10);

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanos = u64;

/// The measuring window, known once everybody is connected.
pub type Window = Arc<OnceLock<Range<Nanos>>>;

/// Whether the window has begun; the grace period after it counts, for what is late there is late for messages of the window.
pub fn is_under_way(window: &Window) -> bool {
    window.get().is_some_and(|window| now() >= window.start)
}

/// Now.
pub fn now() -> Nanos {
    time_of(ClockId::Monotonic)
}

/// The time of another clock.
pub fn time_of(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A duration in nanoseconds.
pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps on tokio's timer, which ticks every millisecond and is never early.
pub async fn sleep_until(time: Nanos) {
    tokio::time::sleep(Duration::from_nanos(time.saturating_sub(now()))).await;
}

/// Ticks every 10 ms for as long as it is left alone, and tells how late each tick was: the runtime's own timer delay.
pub async fn tick(mut tell: impl FnMut(Nanos)) {
    let mut ticks = tokio::time::interval(TICK);
    // One pause is one late tick, not one for each tick that it swallowed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = ticks.tick().await;
        tell(nanos(due.elapsed()));
    }
}
