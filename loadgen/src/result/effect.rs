//! What is said of a row beside the baseline: how large the difference is, and whether it is one.

use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::outcome::Outcome;
use super::variant::Variant;
use super::words::{count, number};

/// A smaller difference is none, whatever the interval says.
pub const NEGLIGIBLE: f64 = 1.05;
/// A server that pushes is billed for part of its clients' work: its CPU and a polled server's are told apart only
/// beyond this ratio.
pub const LOOPBACK: f64 = 1.5;

/// What is compared.
#[derive(Debug, Display, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[display("{}", self.metric().label)]
pub enum Figure {
    /// Median latency.
    P50,
    /// 99th percentile of latency.
    P99,
    /// Server CPU per delivery.
    Cpu,
    /// Busy time of the machine per delivery.
    Machine,
    /// Server memory per connection.
    Memory,
    /// Bytes both ways per delivery.
    Bytes,
}

impl Figure {
    /// All of them, in the order of the reports.
    pub const ALL: [Self; 6] = [
        Self::P50,
        Self::P99,
        Self::Cpu,
        Self::Machine,
        Self::Memory,
        Self::Bytes,
    ];

    /// What it is a comparison of.
    pub fn metric(self) -> &'static Metric {
        Metric::of(match self {
            Self::P50 => "latency_p50_ms",
            Self::P99 => "latency_p99_ms",
            Self::Cpu => "server_cpu_us",
            Self::Machine => "machine_busy_us",
            Self::Memory => "server_memory_kib",
            Self::Bytes => "bytes_both",
        })
    }

    /// Its value in one trial.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        (self.metric().read)(outcome)
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
    /// How many blocks have it in both trials, where it stands.
    pub blocks: usize,
    /// In how many of them it is above 1.
    pub higher: usize,
    /// In how many it is beyond a difference of 5 %, on the median's side of 1.
    #[serde(default)]
    pub beyond: usize,
    /// The median of their ratios.
    pub median: f64,
    /// From and to, with at least 95 % confidence however often one has looked; fewer than 8 blocks have no such interval.
    pub interval: Option<(f64, f64)>,
    /// How like each block's is to the one before, from -1 to 1.
    #[serde(default)]
    pub correlation: Option<f64>,
}

impl Ratio {
    /// Below or above another by more than this factor, all of it.
    pub fn is_beyond(self, factor: f64) -> Option<Difference> {
        match self.interval? {
            (_, high) if high < 1.0 / factor => Some(Difference::Lower),
            (low, _) if low > factor => Some(Difference::Higher),
            _ => None,
        }
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
    /// The interval excludes 1, but the A/A control differs from the baseline, too, or its ratios last from set to set: as much may
    /// be noise.
    Noise,
    /// Beyond noise, but too much of it may be loadgen's own part: of the medians' difference, more than a quarter.
    Own,
    /// Beyond noise, but not beyond what loopback moves from the clients' bill to the server's.
    Loopback,
}

/// One figure of one row against the baseline; of one that goes through a proxy, against the same without it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Effect {
    /// The row.
    pub variant: Variant,
    /// Whether it is the baseline's own control: what differs here is noise.
    pub control: bool,
    /// What is compared.
    pub figure: Figure,
    /// The row's value over the geometric mean of the baseline's and the control's, of each set (or block) that has all; the
    /// control's, and where there is none, over the baseline's; over the value of the row without the proxy.
    #[serde(default)]
    pub ratios: Vec<f64>,
    /// All of them together.
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
            (Some(Difference::Own), _) => "differs, perhaps by loadgen's part",
            (Some(Difference::Loopback), _) => "differs, not attributable over loopback",
            (Some(Difference::Lower), Figure::Cpu) => "less CPU",
            (Some(Difference::Higher), Figure::Cpu) => "more CPU",
            (Some(Difference::Lower), _) => "faster",
            (Some(Difference::Higher), _) => "slower",
        }
    }

    /// The word with the size that goes with it, and how many sets (or blocks: the unit) said so.
    pub fn said(&self, unit: &str) -> String {
        let Ratio {
            blocks,
            beyond,
            interval,
            ..
        } = self.ratio;
        let word = self.word();
        let Some((low, high)) = interval else {
            return word.into();
        };
        let sets = format!("{beyond} of {}", count(blocks as u64, unit));
        match self.difference {
            Some(Difference::Higher) => {
                format!("{word}: at least {} times, {sets}", number(low))
            }
            Some(Difference::Lower) => {
                format!("{word}: at most {} times, {sets}", number(high))
            }
            Some(Difference::NotShown) => {
                let seen = 100.0 * (high.max(1.0 / low) - 1.0);
                format!("{word}, {seen:.0} % would have been")
            }
            _ => word.into(),
        }
    }

    /// The word in at most 20 characters, for a picture.
    pub fn short_word(&self) -> &'static str {
        match self.difference {
            Some(Difference::Slight) => "differs slightly",
            Some(Difference::Loopback) => "not attributable",
            Some(Difference::Own) => "loadgen's part?",
            _ => self.word(),
        }
    }
}
