//! May a measurement be believed? What is said of it, and why.

use std::fmt;

use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a measurement may be believed, and what decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The verdict in a word.
    pub kind: Kind,
    /// Every check, with its figure and its limit.
    pub checks: Vec<Check>,
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
    /// The figure.
    pub measured: f64,
    /// The most it may be.
    pub limit: f64,
    /// The unit of both.
    pub unit: String,
    /// What a failed check makes of the verdict.
    pub kind: Kind,
    /// What one can do about it.
    pub advice: String,
}

impl Check {
    /// Whether the measurement passes it.
    pub fn holds(&self) -> bool {
        self.measured <= self.limit
    }
}

impl Verdict {
    /// The first check that does not hold: it decides, for causes stand before what follows from them.
    pub fn failed(&self) -> Option<&Check> {
        self.checks.iter().find(|check| !check.holds())
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
        } = self;
        if *kind == Kind::NothingMeasured {
            return write!(f, "no message was accepted in the window: {advice}");
        }
        let text = |figure: f64| {
            let text = format!("{figure:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        write!(
            f,
            "{name} was {} {unit}, more than {} {unit}: {advice}",
            text(*measured),
            text(*limit)
        )
    }
}
