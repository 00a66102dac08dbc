//! One slice of a set by itself, and what the machine did meanwhile: what the spread of a comparison is made of.

use std::iter::zip;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::histogram::Times;
use super::variant::Variant;

/// Between two looks of the hiccup meter, in milliseconds: a shorter pause may lie between them.
const LOOK_MS: f64 = 1.0;
/// No shorter pause matters, in milliseconds.
const SHORTEST_MS: f64 = 0.3;
/// Nor one that is shorter than this share of the median latency.
const SHARE_OF_MEDIAN: f64 = 0.2;

/// A slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// The round, from 1.
    pub round: usize,
    /// Its place in the round, from 1.
    pub place: usize,
    /// Who had the slice before it; nothing for the first of a set.
    pub after: Option<Variant>,
    /// Whether the hiccup meter ran.
    pub is_metered: bool,
    /// Median latency, in milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// Server CPU per delivery, in microseconds.
    pub server_cpu_us: Option<f64>,
    /// Context switches of the server per delivery.
    pub server_switches: Option<f64>,
    /// The stolen share of the CPU time asked for, in percent.
    pub stolen_percent: Option<f64>,
    /// CPU time of a fixed piece of work just before it, in microseconds: the mean of the cores in use.
    pub probe_us: Option<f64>,
}

/// What the hiccup meter saw of the cores in use: how late it woke though it asked for nothing. What it waited for behind other
/// processes is not in here: that is in loadgen's wait for a core, and in what others used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pauses {
    /// How long it looked, in seconds, on all cores at once.
    pub seconds: f64,
    /// Every pause of more than 0.1 ms, core by core.
    pub cores: Vec<Times>,
}

impl Pauses {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        let Self { seconds, cores } = other;
        self.seconds += seconds;
        let length = self.cores.len().max(cores.len());
        self.cores.resize_with(length, Times::default);
        zip(&mut self.cores, cores).for_each(|(own, other)| own.add(other));
    }

    /// For how much of the time a core in use stood still for longer than this, in percent, of the core that did so most. A pause that is shorter than the time
    /// between two looks is seen as often as it covers one, and stands for that time.
    pub fn percent(&self, ms: f64) -> f64 {
        let paused = |times: &Times| {
            times
                .inner()
                .iter_recorded()
                .map(|pause| {
                    (
                        pause.value_iterated_to() as f64 / 1e3,
                        pause.count_at_value(),
                    )
                })
                .filter(|(length, _)| *length > ms)
                .map(|(length, count)| length.max(LOOK_MS) * count as f64)
                .fold(0.0, |sum, time| sum + time)
        };
        let paused = self.cores.iter().map(paused).fold(0.0, f64::max);
        100.0 * paused / (self.seconds * 1e3).max(1.0)
    }
}

/// Pauses up to this do not matter beside such a median latency; both in milliseconds.
pub fn negligible_pause(median_ms: f64) -> f64 {
    SHORTEST_MS.max(SHARE_OF_MEDIAN * median_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stand_for_the_time_that_they_cover() {
        let mut pauses = Pauses {
            seconds: 1.0,
            cores: vec![Times::default(); 2],
        };
        for us in [200, 500, 500, 20_000] {
            pauses.cores[1].record(us * 1000);
        }
        pauses.cores[0].record(20_000_000);
        // Two looks of a thousand fell into short ones, and a fiftieth of the second was one long one.
        assert!(
            (pauses.percent(0.3) - 2.2).abs() < 0.01,
            "{}",
            pauses.percent(0.3)
        );
        assert!((pauses.percent(1.0) - 2.0).abs() < 0.01);
        pauses.add(&pauses.clone());
        assert!(
            (pauses.percent(0.3) - 2.2).abs() < 0.01,
            "twice as much of twice the time"
        );
        assert_eq!(Pauses::default().percent(0.0), 0.0);
        assert_eq!(
            (negligible_pause(0.5), negligible_pause(500.0)),
            (0.3, 100.0)
        );
    }
}
