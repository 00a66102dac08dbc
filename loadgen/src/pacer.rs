//! n -> due time: which message is published when, from the seed alone, the same for every transport; and which client
//! polls when.

use std::time::Duration;

use crate::clock::{Nanos, nanos};
use crate::message_id::MessageId;
use crate::result::scenario::{Arrivals, GOLDEN, Scenario};

/// An endless schedule: due times come from the clock alone, whatever happens to earlier publishes (open loop).
pub struct Pacer {
    random: fastrand::Rng,
    arrivals: Arrivals,
    rooms: u32,
    start: Nanos,
    /// Mean distance between publishes over all rooms, in nanoseconds.
    gap: f64,
    /// How many messages there have been, in all and in each room.
    count: u32,
    numbers: Vec<u32>,
    offset: f64,
}

impl Pacer {
    /// The schedule of a scenario that begins at `start`.
    pub fn new(scenario: &Scenario, start: Nanos) -> Self {
        let random = fastrand::Rng::with_seed(scenario.seed());
        let rooms = u32::try_from(scenario.rooms()).expect("rooms are fewer than clients");
        let gap = 1e9 / scenario.publish_rate();
        Self {
            random,
            arrivals: scenario.arrivals,
            rooms,
            start,
            gap,
            count: 0,
            numbers: vec![0; scenario.rooms()],
            offset: 0.0,
        }
    }
}

impl Iterator for Pacer {
    type Item = MessageId;

    fn next(&mut self) -> Option<MessageId> {
        let room = match self.arrivals {
            // Independent Poisson processes in R rooms are one of R times the rate with a room drawn for each message.
            Arrivals::Poisson => {
                self.offset += -self.gap * (1.0 - self.random.f64()).ln();
                self.random.u32(..self.rooms)
            }
            Arrivals::Fixed => {
                self.offset += self.gap;
                self.count % self.rooms
            }
        };
        self.count = self.count.checked_add(1)?;
        let number = &mut self.numbers[room as usize];
        let message = MessageId {
            number: *number,
            room,
            due: self.start + self.offset as Nanos,
        };
        *number += 1;
        Some(message)
    }
}

/// When a client polls: on an absolute grid, so that a slow answer does not shift the next poll.
#[derive(Debug, Clone, Copy)]
pub struct Cadence {
    /// The distance between polls.
    pub interval: Duration,
    /// Where the grid lies within the interval.
    pub phase: Duration,
}

impl Cadence {
    /// The grid of the n-th client: multiples of the golden ratio fill the interval evenly, over all clients and
    /// over those of each room.
    pub fn nth(n: usize, interval: Duration) -> Self {
        Self {
            interval,
            phase: interval.mul_f64((n as f64 * GOLDEN).fract()),
        }
    }

    /// When a client of a scenario polls.
    pub fn of(scenario: &Scenario, client: usize) -> Self {
        Self::nth(
            if scenario.in_phase { 0 } else { client },
            scenario.interval,
        )
    }

    /// The first tick after a point in time.
    pub fn tick_after(self, time: Nanos) -> Nanos {
        let (interval, phase) = (nanos(self.interval), nanos(self.phase));
        let passed = (time + interval - phase % interval) / interval;
        passed * interval + phase % interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::scenario::tests::scenario;

    const MS: Nanos = 1_000_000;

    fn schedule(flags: &str, n: usize) -> Vec<MessageId> {
        Pacer::new(&scenario(flags), 0).take(n).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_another() {
        assert_eq!(schedule("--seed 7", 1000), schedule("--seed 7", 1000));
        assert_ne!(schedule("--seed 7", 1000), schedule("--seed 8", 1000));
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_their_rate() {
        // 50 rooms at 2/s: 100/s, so 20,000 messages in 200 s; the sd of that count's time is 1.4 s.
        let due = schedule("--clients 1000 --rate 2", 20_000);
        assert!((due.last().unwrap().due as f64 / 1e9 - 200.0).abs() < 7.0);
        let gaps: Vec<f64> = due
            .windows(2)
            .map(|pair| (pair[1].due - pair[0].due) as f64 / 1e9)
            .collect();
        let longer = gaps.iter().filter(|&&gap| gap > 0.01).count() as f64 / gaps.len() as f64;
        assert!(
            (longer - (-1.0_f64).exp()).abs() < 0.02,
            "P(gap > mean) = 1/e, found {longer}"
        );
        let per_room = due.iter().filter(|due| due.room == 17).count();
        assert!(
            (300..500).contains(&per_room),
            "400 expected, found {per_room}"
        );
    }

    #[test]
    fn fixed_arrivals_serve_the_rooms_in_turn_at_even_distances() {
        let due = schedule("--clients 40 --rate 5 --arrivals fixed", 4);
        assert_eq!(
            due.iter()
                .map(|due| (due.room, due.due / MS))
                .collect::<Vec<_>>(),
            [(0, 100), (1, 200), (0, 300), (1, 400)]
        );
    }

    #[test]
    fn ticks_stay_on_the_grid_whenever_one_asks() {
        let cadence = Cadence {
            interval: Duration::from_millis(250),
            phase: Duration::from_millis(100),
        };
        for (time, tick) in [
            (0, 100),
            (99, 100),
            (100, 350),
            (340, 350),
            (1_000, 1_100),
            (1_099, 1_100),
            (1_100, 1_350),
        ] {
            assert_eq!(cadence.tick_after(time * MS), tick * MS, "after {time} ms");
        }
    }

    #[test]
    fn phases_fill_the_interval_evenly_in_every_room() {
        let interval = Duration::from_secs(1);
        for room in 0..50 {
            let mut phases: Vec<f64> = (room * 20..room * 20 + 20)
                .map(|n| Cadence::nth(n, interval).phase.as_secs_f64())
                .collect();
            phases.sort_by(f64::total_cmp);
            let widest = phases
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .fold(0.0, f64::max);
            assert!(widest < 0.1, "20 phases in 1 s with a hole of {widest} s");
        }
    }
}
