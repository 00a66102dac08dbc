//! `CLOCK_MONOTONIC` in nanoseconds: the one clock of due times and samples, the same in every process of a machine.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Between the ticks by which a runtime measures its own timer delay.
const TICK: Duration = Duration::from_millis(10);

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanos = u64;

/// When it is measured: in one window of a whole trial, in several of one that is cut into slices. Shared by all who ask, and
/// opened one after the other.
#[derive(Debug, Clone, Default)]
pub struct Windows(Arc<RwLock<All>>);

#[derive(Debug, Default)]
struct All {
    windows: Vec<Range<Nanos>>,
    /// When waiting for what was due in each, or before it, ended.
    deadlines: Vec<Nanos>,
}

impl Windows {
    /// Opens one more, later than all before.
    pub fn open(&self, window: Range<Nanos>) {
        self.0.write().windows.push(window);
    }

    /// What was due in the latest one is waited for no longer.
    pub fn close(&self, deadline: Nanos) {
        self.0.write().deadlines.push(deadline);
    }

    /// When waiting for what was due in each that was closed ended.
    pub fn deadlines(&self) -> Vec<Nanos> {
        self.0.read().deadlines.clone()
    }

    /// Where a due time lies in them, were they put end to end, if it is in one; and when waiting for what was due then ended, if
    /// it has. Asked for every delivery, so under one lock.
    pub fn place(&self, due: Nanos) -> (Option<Nanos>, Option<Nanos>) {
        let All { windows, deadlines } = &*self.0.read();
        let next = windows.partition_point(|window| window.end <= due);
        let is_in = windows
            .get(next)
            .is_some_and(|window| window.contains(&due));
        let at = is_in.then(|| measured(&windows[..=next], due));
        (at, deadlines.get(next).copied())
    }

    /// The latest; an empty one before the first.
    pub fn latest(&self) -> Range<Nanos> {
        self.0.read().windows.last().cloned().unwrap_or_default()
    }

    /// All of them so far.
    pub fn all(&self) -> Vec<Range<Nanos>> {
        self.0.read().windows.clone()
    }

    /// How much of the time up to this one is measured.
    pub fn measured(&self, until: Nanos) -> Nanos {
        measured(&self.0.read().windows, until)
    }

    /// Where a time lies in them, were they put end to end; nothing if it is in none of them.
    pub fn position(&self, time: Nanos) -> Option<Nanos> {
        let windows = &self.0.read().windows;
        let is_in = windows.iter().any(|window| window.contains(&time));
        is_in.then(|| measured(windows, time))
    }

    /// Whether the latest one has begun; the grace period after it counts, for what is late there is late for its messages.
    pub fn is_under_way(&self) -> bool {
        let latest = self.latest();
        !latest.is_empty() && now() >= latest.start
    }
}

fn measured(windows: &[Range<Nanos>], until: Nanos) -> Nanos {
    let length = |window: &Range<Nanos>| until.min(window.end).saturating_sub(window.start);
    windows.iter().map(length).sum()
}

/// Whether there is anything to do: between two slices nothing is to wake a core.
pub type Active = watch::Receiver<bool>;

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

/// For who is never idle.
pub fn always() -> Active {
    watch::channel(true).1
}

/// Ticks every 10 ms while there is anything to do, and tells how late each tick was: the runtime's own timer delay.
pub async fn tick(mut active: Active, mut tell: impl FnMut(Nanos)) {
    let mut ticks = tokio::time::interval(TICK);
    // One pause is one late tick, not one for each tick that it swallowed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        if !*active.borrow() {
            if active.wait_for(|active| *active).await.is_err() {
                return;
            }
            ticks.reset();
        }
        let due = ticks.tick().await;
        tell(nanos(due.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_lie_end_to_end_whatever_is_between_them() {
        let windows = Windows::default();
        assert!(windows.latest().is_empty() && !windows.is_under_way());
        windows.open(100..200);
        windows.open(300..350);
        assert_eq!((windows.latest(), windows.all().len()), (300..350, 2));
        for (time, is_in, measured) in [
            (99, false, 0),
            (150, true, 50),
            (250, false, 100),
            (320, true, 120),
            (400, false, 150),
        ] {
            assert_eq!(windows.measured(time), measured);
            assert_eq!(windows.position(time), is_in.then_some(measured));
        }
        windows.close(220);
        let places = [50, 150, 200, 320].map(|due| windows.place(due));
        assert_eq!(
            places,
            [
                (None, Some(220)),
                (Some(50), Some(220)),
                (None, None),
                (Some(120), None)
            ]
        );
    }
}
