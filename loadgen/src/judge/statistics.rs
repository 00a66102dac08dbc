//! From blocks to a statement: the median of the blocks' ratios, the interval it lies in, and what may be said of it.
//!
//! The unit of repetition is the trial, never the message. Order statistics assume nothing about distributions; the
//! A/A controls (the same transport twice in one block) show what differs although nothing differs.

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

    /// Whether a difference in it is given a word: for two figures fixed beforehand, so that none is found just by looking
    /// long enough.
    pub fn is_judged(self) -> bool {
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
    /// Lower than the baseline: faster, or less CPU.
    Lower,
    /// Higher: slower, or more CPU.
    Higher,
    /// The interval has 1 in it. In older files also whatever else has no word of its own.
    NotShown,
    /// The interval excludes 1, but not everything within 5 % of it.
    Slight,
    /// The interval excludes 1, and overlaps that of the A/A control: as much may be noise.
    Noise,
    /// Beyond noise, but not beyond what loopback moves from the clients' bill to the server's.
    Loopback,
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
    /// What may be said; nothing of a figure that is only shown, without enough blocks, or where messages are missing.
    pub difference: Option<Difference>,
}

impl Effect {
    /// The word for it: "faster", "more CPU", "no difference shown"; empty where nothing may be said.
    pub fn word(&self) -> &'static str {
        match (self.difference, self.figure) {
            (None, _) => "",
            (Some(Difference::NotShown), _) => "no difference shown",
            (Some(Difference::Slight), _) => "differs, perhaps by less than 5 %",
            (Some(Difference::Noise), _) => "within the noise",
            (Some(Difference::Loopback), _) => "differs, not attributable over loopback",
            (Some(Difference::Lower), Figure::Cpu) => "less CPU",
            (Some(Difference::Higher), Figure::Cpu) => "more CPU",
            (Some(Difference::Lower), _) => "faster",
            (Some(Difference::Higher), _) => "slower",
        }
    }

    /// The same in at most 20 characters, for a picture.
    pub fn short_word(&self) -> &'static str {
        match self.difference {
            Some(Difference::Slight) => "differs slightly",
            Some(Difference::Loopback) => "not attributable",
            _ => self.word(),
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
    // Who drops messages has less to do, and whoever never got one has no latency.
    let is_whole = |lane| comparison.trials.iter().all(|trial| trial.outcome.lane != lane || !trial.outcome.misses());
    let mut effects = Vec::new();
    for figure in Figure::ALL {
        let ratio = |lane, twin| Ratio::of(ratios(comparison, baseline, lane, twin, figure));
        let noise = ratio(baseline, true);
        for (lane, twin) in rows.clone().chain([(baseline, true)]) {
            let Some(found) = ratio(lane, twin) else { continue };
            let is_cross = figure == Figure::Cpu && lane.mode.streams() != baseline.mode.streams();
            let judged = figure.is_judged()
                && !twin
                && [found.interval, noise.and_then(|noise| noise.interval)].iter().all(Option::is_some)
                && [lane, baseline].into_iter().all(is_whole);
            let difference = judged.then(|| judge(found, noise, if is_cross { LOOPBACK } else { TRIFLE }));
            effects.push(Effect { lane, twin, figure, ratio: found, difference });
        }
    }
    effects
}

/// What may be said of a ratio beside the A/A control's: its interval is beyond `least`, and apart from the control's;
/// or why it cannot be said.
pub fn judge(found: Ratio, twins: Option<Ratio>, least: f64) -> Difference {
    if found.is_beyond(1.0).is_none() {
        Difference::NotShown
    } else if twins.is_none_or(|twins| found.overlaps(twins)) {
        Difference::Noise
    } else if let Some(difference) = found.is_beyond(least) {
        difference
    } else if found.is_beyond(TRIFLE).is_some() {
        Difference::Loopback
    } else {
        Difference::Slight
    }
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
mod tests;
