//! From blocks to a statement: the median of the blocks' ratios, the interval it lies in, and what may be said of it.
//!
//! The unit of repetition is the trial, never the message. Order statistics assume nothing about distributions; the
//! twins (the same transport twice in one block) show what differs although nothing differs.

use std::collections::BTreeMap;

use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::{Lane, Transport};
use crate::comparison::{Comparison, Trial};
use crate::judge::verdict::Kind;
use crate::outcome::Outcome;

/// The probability with which an interval covers the true median, at least.
const LEVEL: f64 = 0.95;
/// A smaller difference is none, whatever the interval says.
const TRIFLE: f64 = 1.05;
/// A server that pushes is billed for part of its clients' work: its CPU and a polled server's are told apart only
/// beyond this ratio.
pub const LOOPBACK: f64 = 1.5;
/// "It could have seen" means: with this probability.
const POWER: f64 = 0.8;

/// What is compared.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// Median latency.
    #[display("latency p50")]
    P50,
    /// 99th percentile of latency.
    #[display("latency p99")]
    P99,
    /// Server CPU per delivery.
    #[display("server CPU per delivery")]
    Cpu,
    /// Busy time of the machine per delivery.
    #[display("machine busy per delivery")]
    Machine,
    /// Server memory per connection.
    #[display("server memory per connection")]
    Memory,
    /// Bytes both ways per delivery.
    #[display("bytes per delivery, both ways")]
    Bytes,
}

impl Figure {
    /// All of them, in the order of the reports.
    pub const ALL: [Self; 6] = [Self::P50, Self::P99, Self::Cpu, Self::Machine, Self::Memory, Self::Bytes];

    /// Its value in one trial.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        let (ledger, latency) = (&outcome.ledger, &outcome.latency);
        match self {
            Self::P50 => latency.ms(0.5),
            Self::P99 => latency.ms(0.99),
            Self::Cpu => ledger.us(ledger.server_cpu_ns),
            Self::Machine => ledger.us(ledger.machine_busy_ns),
            Self::Memory => ledger.memory_kib(),
            Self::Bytes => ledger.per_delivery(ledger.traffic.bytes_in + ledger.traffic.bytes_out),
        }
    }

    /// Whether a difference in it is given a word: for two figures fixed beforehand, lest one be found by looking long
    /// enough.
    fn is_judged(self) -> bool {
        matches!(self, Self::P50 | Self::Cpu)
    }
}

/// A ratio over several blocks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// How many blocks have both trials, valid.
    pub blocks: usize,
    /// In how many of them it is above 1.
    pub higher: usize,
    /// The median of their ratios.
    pub median: f64,
    /// From and to, with at least 95 % confidence; fewer than 6 blocks have no such interval.
    pub interval: Option<(f64, f64)>,
}

impl Ratio {
    /// The median with its order-statistic interval: exact, whatever the distribution is.
    pub fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.sort_unstable_by(f64::total_cmp);
        let (n, middle) = (ratios.len(), ratios.len() / 2);
        let median = match n {
            0 => return None,
            n if n % 2 == 1 => ratios[middle],
            _ => f64::midpoint(ratios[middle - 1], ratios[middle]),
        };
        let higher = ratios.iter().filter(|ratio| **ratio > 1.0).count();
        Some(Self { blocks: n, higher, median, interval: rank(n).map(|k| (ratios[k - 1], ratios[n - k])) })
    }

    /// Below or above another by more than this factor, all of it.
    fn is_beyond(self, factor: f64) -> Option<Difference> {
        match self.interval? {
            (_, high) if high < 1.0 / factor => Some(Difference::Lower),
            (low, _) if low > factor => Some(Difference::Higher),
            _ => None,
        }
    }

    fn overlaps(self, other: Self) -> bool {
        let apart = |(a, b), (c, d)| b < c || d < a;
        !self.interval.zip(other.interval).is_some_and(|(own, others)| apart(own, others))
    }
}

/// What may be said of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Lower than the baseline: faster, or cheaper.
    Lower,
    /// Higher: slower, or dearer.
    Higher,
    /// These blocks do not show one.
    NotShown,
}

/// One figure of one row against the baseline.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// The row.
    pub lane: Lane,
    /// Whether it is the baseline's own twin: what differs here is noise.
    pub twin: bool,
    /// What is compared.
    pub figure: Figure,
    /// The row's value over the baseline's.
    pub ratio: Ratio,
    /// What may be said; nothing of a figure that is only shown, or without enough blocks.
    pub difference: Option<Difference>,
}

impl Effect {
    /// The word for it: "faster", "dearer", "no difference shown"; empty where nothing may be said.
    pub fn word(&self) -> &'static str {
        match (self.difference, self.figure) {
            (None, _) => "",
            (Some(Difference::NotShown), _) => "no difference shown",
            (Some(Difference::Lower), Figure::Cpu) => "cheaper",
            (Some(Difference::Higher), Figure::Cpu) => "dearer",
            (Some(Difference::Lower), _) => "faster",
            (Some(Difference::Higher), _) => "slower",
        }
    }
}

/// The row that all others are compared with: ws, or the first.
pub fn baseline(lanes: &[Lane]) -> Option<Lane> {
    let ws = lanes.iter().find(|lane| **lane == Transport::Ws.into());
    ws.or(lanes.first()).copied()
}

/// Every row against the baseline, in every figure.
pub fn effects(comparison: &Comparison) -> Vec<Effect> {
    let Some(baseline) = baseline(&comparison.lanes) else { return Vec::new() };
    let rows = comparison.lanes.iter().filter(|lane| **lane != baseline).map(|&lane| (lane, false));
    let mut effects = Vec::new();
    for figure in Figure::ALL {
        let ratio = |lane, twin| Ratio::of(ratios(comparison, baseline, lane, twin, figure));
        let noise = ratio(baseline, true);
        for (lane, twin) in rows.clone().chain([(baseline, true)]) {
            let Some(found) = ratio(lane, twin) else { continue };
            let is_cross = figure == Figure::Cpu && lane.mode.streams() != baseline.mode.streams();
            let judged =
                figure.is_judged() && !twin && found.interval.is_some() && noise.is_some_and(|n| n.interval.is_some());
            let difference = judged.then(|| judge(found, noise, if is_cross { LOOPBACK } else { TRIFLE }));
            effects.push(Effect { lane, twin, figure, ratio: found, difference });
        }
    }
    effects
}

/// What may be said of a ratio beside the twins': its interval excludes a trifle, and lies apart from theirs.
pub fn judge(found: Ratio, twins: Option<Ratio>, trifle: f64) -> Difference {
    let apart = twins.is_some_and(|twins| !found.overlaps(twins));
    found.is_beyond(trifle).filter(|_| apart).unwrap_or(Difference::NotShown)
}

/// The ratios of the blocks in which both trials are valid.
pub fn ratios(comparison: &Comparison, baseline: Lane, lane: Lane, twin: bool, figure: Figure) -> Vec<f64> {
    let values = |lane: Lane, twin| {
        let is_it = move |trial: &&Trial| trial.outcome.lane == lane && trial.twin == twin;
        let valid = move |trial: &&Trial| is_it(trial) && trial.verdict.kind == Kind::Valid;
        let value = move |trial: &Trial| Some((trial.block, figure.of(&trial.outcome).filter(|value| *value > 0.0)?));
        comparison.trials.iter().filter(valid).filter_map(value)
    };
    // By block, and no loop over as many blocks as there are said to be.
    let base: BTreeMap<usize, f64> = values(baseline, false).collect();
    let ratios: BTreeMap<usize, f64> =
        values(lane, twin).filter_map(|(block, value)| Some((block, value / base.get(&block)?))).collect();
    ratios.into_values().collect()
}

/// The rank of the lower end of the interval for the median of n: the k-th smallest and the k-th largest enclose it
/// with probability 1 - 2 P(Bin(n, 1/2) < k).
fn rank(n: usize) -> Option<usize> {
    (1..=n / 2).take_while(|&k| 1.0 - 2.0 * binomial_below(k, n, 0.5) >= LEVEL).last()
}

/// P(Bin(n, p) < k).
fn binomial_below(k: usize, n: usize, p: f64) -> f64 {
    let mut term = (1.0 - p).powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for i in 0..k {
        sum += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    sum
}

/// The smallest ratio above 1 that `blocks` blocks would have shown with a probability of 80 %, given the ratios of
/// twins: comparisons are drawn from these (and from their inverses, for nobody can tell twins apart), and for each
/// it is known how large a difference would have lifted its interval above a trifle and the twins' interval.
pub fn detectable(twins: &[f64], blocks: usize) -> Option<f64> {
    const DRAWS: usize = 500;
    let k = rank(blocks).filter(|_| !twins.is_empty())?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut interval = || {
        let draw = |_| {
            let log = twins[random.usize(..twins.len())].ln();
            if random.bool() { log } else { -log }
        };
        let mut logs: Vec<f64> = (0..blocks).map(draw).collect();
        logs.sort_unstable_by(f64::total_cmp);
        (logs[k - 1], logs[blocks - k])
    };
    let mut needed: Vec<f64> = (0..DRAWS).map(|_| interval().1.max(TRIFLE.ln()) - interval().0).collect();
    needed.sort_unstable_by(f64::total_cmp);
    Some(needed[(DRAWS as f64 * POWER) as usize].exp())
}

/// The same from a comparison's own twins.
pub fn resolution(comparison: &Comparison, figure: Figure) -> Option<f64> {
    let baseline = baseline(&comparison.lanes)?;
    let twins = ratios(comparison, baseline, baseline, true, figure);
    detectable(&twins, twins.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_ten_is_from_the_second_to_the_ninth_and_of_thirty_from_the_tenth_to_the_twenty_first() {
        assert_eq!([5, 6, 10, 30].map(rank), [None, Some(1), Some(2), Some(10)]);
        let ratio = Ratio::of((1..=10).rev().map(f64::from).collect()).unwrap();
        assert_eq!((ratio.median, ratio.interval), (5.5, Some((2.0, 9.0))));
        let few = Ratio { blocks: 3, higher: 2, median: 2.0, interval: None };
        assert_eq!(Ratio::of(vec![1.0, 2.0, 4.0]).unwrap(), few);
    }

    #[test]
    fn a_difference_needs_an_interval_beyond_a_trifle_and_apart_from_the_twins() {
        let ratio = |low, high| Ratio { blocks: 10, higher: 5, median: 1.0, interval: Some((low, high)) };
        let judged = |found, twins| judge(found, twins, TRIFLE);
        assert_eq!(judged(ratio(1.1, 1.3), Some(ratio(0.95, 1.04))), Difference::Higher);
        assert_eq!(judged(ratio(0.7, 0.9), Some(ratio(0.95, 1.04))), Difference::Lower);
        assert_eq!(judged(ratio(1.01, 1.3), Some(ratio(0.95, 1.0))), Difference::NotShown, "a trifle");
        assert_eq!(judged(ratio(1.1, 1.3), Some(ratio(0.9, 1.2))), Difference::NotShown, "as the twins differ");
        assert_eq!(judged(ratio(1.1, 1.3), None), Difference::NotShown, "without twins nobody knows the noise");
        assert_eq!(judge(ratio(1.1, 1.4), Some(ratio(0.95, 1.04)), LOOPBACK), Difference::NotShown, "loopback's bill");
    }

    /// The design at its word: with blocks that scatter by 10 %, and by as much as is said to be detectable.
    #[test]
    fn what_is_called_detectable_is_found_in_four_of_five_comparisons_and_twins_are_not() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut normal = move || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let twins: Vec<f64> = (0..300).map(|_| (0.1 * normal()).exp()).collect();
        for blocks in [10, 30] {
            let mut found = |ratio: f64| {
                let mut draw =
                    |ratio: f64| Ratio::of((0..blocks).map(|_| ratio * (0.1 * normal()).exp()).collect()).unwrap();
                (0..400).filter(|_| judge(draw(ratio), Some(draw(1.0)), TRIFLE) == Difference::Higher).count()
            };
            let size = detectable(&twins, blocks).unwrap();
            let share = found(size) as f64 / 400.0;
            assert!((0.65..0.92).contains(&share), "{blocks} blocks found {size} in {share}");
            assert!(found(1.0) <= 2, "{blocks} blocks of twins");
        }
    }

    #[test]
    fn binomial_sums_are_right() {
        assert!((binomial_below(2, 10, 0.5) - 11.0 / 1024.0).abs() < 1e-12);
        assert!((binomial_below(3, 3, 0.3) - (1.0 - 0.027)).abs() < 1e-12);
    }
}
