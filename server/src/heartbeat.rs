//! One heartbeat for all connections, in shards so that they do not all beat at once, but for those that ask for one of
//! their own; and how a drain reaches idle ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// Connections beat in this many groups, spread over the period.
const SHARDS: usize = 32;

/// The server's heartbeat.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    shards: Vec<watch::Sender<Beat>>,
    next: AtomicUsize,
}

/// What a connection hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Time for a sign of life.
    Alive,
    /// The server drains: finish and go.
    Drain,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS)
            .map(|_| watch::Sender::new(Beat::Alive))
            .collect();
        Self {
            shards,
            next: AtomicUsize::new(0),
        }
    }

    /// Beats every shard once a period, for ever.
    pub(crate) async fn run(&self, period: Duration) {
        let shards = u32::try_from(SHARDS).expect("a small constant");
        let mut ticks = interval(period / shards);
        // After a pause of the whole machine, not all beats that were missed at once: nobody could answer in between.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for shard in self.shards.iter().cycle() {
            ticks.tick().await;
            shard.send_replace(Beat::Alive);
        }
    }

    /// Tells everybody that the server drains.
    pub(crate) fn drain(&self) {
        for shard in &self.shards {
            shard.send_replace(Beat::Drain);
        }
    }

    /// A connection's ear.
    pub(crate) fn follow(&self) -> Follower {
        let shard = self.next.fetch_add(1, Ordering::Relaxed) % SHARDS;
        Follower(self.shards[shard].subscribe())
    }

    /// An ear for beats of its own, if a period was asked for. That one is told of no drain: a stream's log ends it.
    pub(crate) fn follow_at(&self, period: Option<Duration>) -> Follower {
        let Some(period) = period else {
            return self.follow();
        };
        let beats = watch::Sender::new(Beat::Alive);
        let follower = Follower(beats.subscribe());
        tokio::spawn(async move {
            let mut ticks = interval_at(Instant::now() + period, period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = beats.closed() => return,
                    _ = ticks.tick() => drop(beats.send_replace(Beat::Alive)),
                }
            }
        });
        follower
    }
}

/// Hears every beat since it was made or last asked. Cancel safe.
#[derive(Debug)]
pub(crate) struct Follower(watch::Receiver<Beat>);

impl Follower {
    /// The next beat, and the ear again: a loop keeps the future over what else it waits for, since to begin listening
    /// anew after each delivery costs.
    pub(crate) async fn next(mut self) -> (Beat, Self) {
        (self.beat().await, self)
    }

    pub(crate) async fn beat(&mut self) -> Beat {
        // The senders live as long as the server; a server that is gone drains.
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => Beat::Drain,
        }
    }

    pub(crate) async fn drain(&mut self) {
        let _ = self.0.wait_for(|beat| *beat == Beat::Drain).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    #[tokio::test(start_paused = true)]
    async fn every_follower_hears_one_beat_a_period_and_not_all_at_once() {
        let heartbeat = Heartbeat::new();
        let start = Instant::now();
        let mut followers: Vec<Follower> = (0..SHARDS).map(|_| heartbeat.follow()).collect();
        let listen = async {
            let mut heard = Vec::new();
            for follower in &mut followers {
                follower.beat().await;
                heard.push(start.elapsed());
            }
            for (follower, first) in followers.iter_mut().zip(&heard) {
                assert_eq!(follower.beat().await, Beat::Alive);
                assert_eq!(start.elapsed() - *first, Duration::from_secs(20));
            }
            heard
        };
        tokio::select! {
            () = heartbeat.run(Duration::from_secs(20)) => unreachable!(),
            heard = listen => assert!(heard.windows(2).all(|pair| pair[0] < pair[1])),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_that_was_asked_for_is_kept_from_the_beginning_on_and_ends_with_who_asked() {
        let (heartbeat, start) = (Heartbeat::new(), Instant::now());
        let mut follower = heartbeat.follow_at(Some(Duration::from_secs(60)));
        for beat in 1..=3 {
            assert_eq!(follower.beat().await, Beat::Alive);
            assert_eq!(start.elapsed(), Duration::from_secs(60 * beat));
        }
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        assert_eq!(tasks(), 1);
        drop(follower);
        tokio::task::yield_now().await;
        assert_eq!(tasks(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_pause_of_the_machine_the_beats_that_were_missed_do_not_come_all_at_once() {
        let (heartbeat, period) = (Heartbeat::new(), Duration::from_secs(20));
        let mut follower = heartbeat.follow();
        let listen = async {
            follower.beat().await;
            advance(10 * period).await;
            follower.beat().await;
            let again = timeout(period / 2, follower.beat()).await;
            assert!(
                again.is_err(),
                "the next but one has its time to be answered in"
            );
        };
        tokio::select! {
            () = heartbeat.run(period) => unreachable!(),
            () = listen => {}
        }
    }
}
