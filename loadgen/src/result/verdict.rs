//! May a measurement be believed? What is said of it, and why.

use std::fmt;

use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which figures of a measurement may be believed, and what decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Valid where all may be, or why not, by the check that is exceeded most.
    pub kind: Kind,
    /// Every check, with its figure and its limit.
    pub checks: Vec<Check>,
}

/// Figures that the same things spoil.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// What came of what was expected, and the audit.
    #[display("deliveries")]
    Counts,
    /// Bytes and requests: of a held poll they depend on what comes together, as its CPU does.
    #[display("bytes and requests")]
    Traffic,
    /// Memory.
    #[display("memory")]
    Memory,
    /// CPU time, and what comes together.
    #[display("CPU")]
    Cpu,
    /// Medians of times.
    #[display("p50")]
    Median,
    /// What is rare: p90, p99, the maximum.
    #[display("p99")]
    Tail,
}

impl Guard {
    /// All of them, from what little spoils to what much does.
    pub const ALL: [Self; 6] = [
        Self::Counts,
        Self::Traffic,
        Self::Memory,
        Self::Cpu,
        Self::Median,
        Self::Tail,
    ];
}

/// A verdict in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[display(rename_all = "kebab-case")]
pub enum Kind {
    /// It may be believed.
    Valid,
    /// loadgen could not keep up.
    GeneratorLimited,
    /// The machine was busy with something else.
    Noisy,
    /// It was not the same at the end as at the beginning.
    NotSteady,
    /// Polls and publishes were not independent of each other.
    ScheduleOff,
    /// There was nothing to measure.
    NothingMeasured,
    /// Somebody stopped it before its time.
    Interrupted,
    /// The server went away before its time, or loadgen broke.
    Broken,
}

/// One condition that a believable measurement fulfils.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name in the JSON, which does not change.
    #[serde(default)]
    pub id: String,
    /// What was measured.
    pub name: String,
    /// The figure; unknown where this machine does not tell.
    pub measured: Option<f64>,
    /// The most it may be.
    pub limit: f64,
    /// The unit of both.
    pub unit: String,
    /// What a failed check makes of the verdict.
    pub kind: Kind,
    /// Which figures it says nothing of any more, where it is failed.
    #[serde(default)]
    pub spoils: Vec<Guard>,
    /// What one can do about it.
    pub advice: String,
}

impl Check {
    /// How many times its limit it is.
    pub fn excess(&self) -> f64 {
        match self.measured {
            Some(measured) if measured <= self.limit => {
                measured / self.limit.max(f64::MIN_POSITIVE)
            }
            Some(measured) if self.limit > 0.0 => measured / self.limit,
            _ => f64::INFINITY,
        }
    }

    /// Whether the measurement passes it: what is unknown does not.
    pub fn holds(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.limit)
    }
}

impl Verdict {
    /// The checks that do not hold, the one that is exceeded most first; of equal ones, causes before what follows from them.
    pub fn failed(&self) -> Vec<&Check> {
        let mut failed: Vec<&Check> = self.checks.iter().filter(|check| !check.holds()).collect();
        failed.sort_by(|a, b| b.excess().total_cmp(&a.excess()));
        failed
    }

    /// Whether such figures may be believed.
    pub fn stands(&self, guard: Guard) -> bool {
        let is_whole = !matches!(self.kind, Kind::Interrupted | Kind::Broken);
        is_whole && self.spoiling(guard).next().is_none()
    }

    /// The failed checks that spoil such figures.
    pub fn spoiling(&self, guard: Guard) -> impl Iterator<Item = &Check> {
        let failed = self.checks.iter().filter(|check| !check.holds());
        failed.filter(move |check| check.spoils.contains(&guard))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id: _,
            name,
            measured,
            limit,
            unit,
            advice,
            kind,
            spoils: _,
        } = self;
        if *kind == Kind::NothingMeasured {
            return write!(f, "no message was accepted in the window: {advice}");
        }
        let text = |figure: f64| {
            let text = format!("{figure:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        let limit = text(*limit);
        match measured {
            Some(measured) => write!(
                f,
                "{name} was {} {unit}, more than {limit} {unit}: {advice}",
                text(*measured)
            ),
            None => write!(
                f,
                "{name} is unknown, and may be more than {limit} {unit}: the kernel does not tell"
            ),
        }
    }
}
