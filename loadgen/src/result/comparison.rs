//! Several trials of one workload, as they are kept: `comparison.json` is all that a report needs.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::effect::{Effect, Figure};
use super::environment::{Cores, Environment};
use super::known::KnownAnswers;
use super::link::Calibration;
use super::metric::{self, METRICS};
use super::outcome::Outcome;
use super::proxy::Configured;
use super::scenario::{CONNECTS_PER_SECOND, Scenario};
use super::spread::{Components, Contrast, Tail};
use super::variant::{Transport, Variant};
use super::verdict::{Guard, Verdict};
use super::words::count;

/// The version of the JSON.
pub const SCHEMA: u32 = 4;
/// What a trial takes beside connects, warm-up and window: server, drain.
const AROUND: Duration = Duration::from_secs(3);

/// A comparison, or a single run.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// [`SCHEMA`] at the time of writing.
    pub schema: u32,
    /// When it began, in UTC (RFC 3339).
    pub started: String,
    /// The command that repeats it.
    pub command: String,
    /// On what.
    pub environment: Environment,
    /// The running server it was measured against; without one, each trial started its own.
    pub target: Option<String>,
    /// The rows: transports, and which way their messages went up.
    pub variants: Vec<Variant>,
    /// How often each of them ran: blocks of whole trials, or sets.
    pub blocks: usize,
    /// In how many slices each of a set is measured, in turns, with all servers up at once; none where trials are whole, one
    /// after the other.
    #[serde(default)]
    pub rounds: Option<usize>,
    /// Whether the baseline ran twice in each block.
    pub control: bool,
    /// How many servers of a set are up at once: all, or where there is no room for so many, one, the baseline and one more of it.
    #[serde(default)]
    pub together: usize,
    /// More flags for the servers that were started.
    #[serde(default)]
    pub server_flags: Vec<String>,
    /// The proxy of the rows that go through one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Configured>,
    /// With which load.
    pub scenario: Scenario,
    /// What came out, in the order in which the trials ran: drawn from the scenario's seed, and balanced over the blocks.
    pub trials: Vec<Trial>,
    /// What the emulated link did, measured before the first trial.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// Every row against the baseline, and through a proxy against the same without it, over the blocks.
    pub effects: Vec<Effect>,
    /// How the baseline scatters, though it is the same server twice.
    #[serde(default)]
    pub components: Vec<Components>,
    /// Where the 99th percentiles lie, of the machine as it was.
    #[serde(default)]
    pub tails: Vec<Tail>,
    /// What the control cannot see.
    #[serde(default)]
    pub contrasts: Vec<Contrast>,
    /// Theory beside measurement.
    #[serde(default)]
    pub known_answers: Vec<KnownAnswers>,
}

/// What a trial was run against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A server of the workbench that was started for it.
    Workbench,
    /// An ordinary server that was started for it.
    Stock,
    /// A server of the workbench that was running, at this address.
    Running(String),
    /// A server of somebody else's that was running, at this address.
    Foreign(String),
}

/// One trial in a comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// The round it ran in, from 1.
    pub block: usize,
    /// Whether it is the second trial of the baseline in its block.
    pub control: bool,
    /// With which load: that of the comparison, with a seed of its own.
    pub scenario: Scenario,
    /// What it was run against.
    pub target: Target,
    /// When it began, in UTC (RFC 3339).
    pub started: String,
    /// How the server did.
    pub outcome: Outcome,
    /// Whether the measurement may be believed.
    pub verdict: Verdict,
    /// Every figure that it has, by its id: computed from the outcome.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Those of them that do not stand, by id, each with the ids of the checks that spoil it; none are named where the trial
    /// was ended early.
    #[serde(default)]
    pub doubtful: BTreeMap<String, Vec<String>>,
}

impl Trial {
    /// A trial with what came out of it.
    pub fn new(
        block: usize,
        control: bool,
        scenario: Scenario,
        target: Target,
        started: String,
        outcome: Outcome,
        verdict: Verdict,
    ) -> Self {
        let mut trial = Self {
            block,
            control,
            scenario,
            target,
            started,
            outcome,
            verdict,
            metrics: BTreeMap::new(),
            doubtful: BTreeMap::new(),
        };
        trial.derive();
        trial
    }

    /// Computes anew what follows from its outcome and its verdict.
    pub fn derive(&mut self) {
        self.metrics = metric::values(&self.outcome);
        let checks = |guard: Guard| {
            let spoiling = self.verdict.spoiling(guard);
            spoiling.map(|check| check.id.clone()).collect()
        };
        let doubted = METRICS.iter().filter(|metric| {
            self.metrics.contains_key(metric.id) && !self.verdict.stands(metric.guard)
        });
        self.doubtful = doubted
            .map(|metric| (metric.id.to_owned(), checks(metric.guard)))
            .collect();
    }

    /// What it is a trial of: the row, or the control beside it.
    pub fn name(&self) -> String {
        row_name(self.outcome.variant, self.control)
    }
}

/// A row as people are told of it, or its A/A control.
pub fn row_name(variant: Variant, control: bool) -> String {
    format!("{variant}{}", if control { ", A/A control" } else { "" })
}

impl Comparison {
    /// How many trials there are to be.
    pub fn planned(&self) -> usize {
        self.blocks * (self.variants.len() + usize::from(self.control))
    }

    /// The row that all others are compared with: ws, or the first.
    pub fn baseline(&self) -> Option<Variant> {
        let ws = self
            .variants
            .iter()
            .find(|variant| **variant == Transport::Ws.into());
        ws.or(self.variants.first()).copied()
    }

    /// The row that goes the same way without the proxy, if this one has one.
    pub fn direct(&self, variant: Variant) -> Option<Variant> {
        let direct = variant.direct();
        (variant.via.is_some() && self.variants.contains(&direct)).then_some(direct)
    }

    /// What a row is compared with: the same without the proxy, so that what the proxy costs is seen, or the baseline.
    pub fn base_of(&self, variant: Variant) -> Option<Variant> {
        self.direct(variant).or(self.baseline())
    }

    /// How a row compares with what it is compared with in a figure, or the control with the baseline.
    pub fn effect(&self, variant: Variant, control: bool, figure: Figure) -> Option<&Effect> {
        self.effects.iter().find(|effect| {
            effect.variant == variant && effect.control == control && effect.figure == figure
        })
    }

    /// The day on which it began.
    pub fn day(&self) -> &str {
        self.started.split('T').next().unwrap_or_default()
    }

    /// The workload in a sentence.
    pub fn workload(&self) -> String {
        let modes: Vec<Transport> = self.variants.iter().map(|variant| variant.mode).collect();
        let sentence = self.scenario.sentence(&modes);
        match self.rounds {
            Some(_) => format!("{sentence} in each set"),
            None => sentence,
        }
    }

    /// How long one trial takes, about.
    pub fn length_of_trial(&self) -> Duration {
        let ramp =
            Duration::from_secs_f64(self.scenario.clients as f64 / CONNECTS_PER_SECOND as f64);
        self.scenario.warmup() + self.scenario.duration() + ramp + AROUND
    }

    /// What will run and how long it takes, in a sentence.
    pub fn forecast(&self) -> String {
        let trials = self.planned();
        let total = self.length_of_trial().as_secs_f64() * trials as f64;
        let length = if total < 120.0 {
            format!("{total:.0} s")
        } else {
            format!("{:.0} minutes", total / 60.0)
        };
        let warmup = self.scenario.warmup().as_secs_f64();
        match trials {
            1 => format!("One trial of about {length}, the warm-up of {warmup:.0} s included."),
            _ => format!(
                "{trials} trials, about {length} in all, the warm-up of {warmup:.0} s each included."
            ),
        }
    }

    /// What one should know before it runs.
    pub fn cautions(&self) -> Vec<&'static str> {
        let Cores { server, loadgen } = &self.environment.pinned;
        let polls = self
            .variants
            .iter()
            .any(|variant| !variant.mode.properties().streams);
        let cautions = [
            (server != loadgen && self.environment.are_siblings() == Some(true)).then_some(
                "Caution: the server's core and loadgen's are threads of one physical core, and slow each other down; CPU per \
                 delivery is that of a shared core.",
            ),
            (server == loadgen).then_some(
                "Caution: there is one core for both sides; loadgen and the server take time from each other, and the figures \
                 are those of both. Give it two cores or more.",
            ),
            (!self.scenario.keep_alive && !polls).then_some(
                "Caution: --no-keep-alive is about polls, and changes nothing here: a stream keeps its connection.",
            ),
        ];
        cautions.into_iter().flatten().collect()
    }

    /// Whether one of its trials has failed, or misses a message.
    pub fn has_failed(&self) -> bool {
        self.trials
            .iter()
            .any(|trial| trial.outcome.failure().is_some() || trial.outcome.misses())
    }

    /// What a ratio is of.
    pub fn unit(&self) -> &'static str {
        if self.rounds.is_some() {
            "set"
        } else {
            "block"
        }
    }

    /// How the trials were laid out, and how far that carries, in a sentence or two.
    pub fn design(&self) -> String {
        let server = match &self.target {
            Some(target) => format!("against the running server at {target}"),
            None => "each time against a fresh server".into(),
        };
        let Self {
            blocks, scenario, ..
        } = self;
        if let Some(rounds) = self.rounds {
            let sets = count(*blocks as u64, "set");
            let few = if *blocks < 8 {
                " Fewer than eight sets carry no word."
            } else {
                ""
            };
            let rows = if self.together < self.variants.len() + 1 {
                "a server of one row in its turn, the baseline and one more of it, the A/A control (there is no room for all)"
            } else {
                "a server of each row and one more of the baseline, the A/A control"
            };
            return format!(
                "{sets}: {rows}, all connected at once, and each with \
                 a slice of the load in {rounds} rounds (short polls in one, longer), in an order drawn from the seed {}. \
                 Quantiles are of all slices together.{few}",
                scenario.seed()
            );
        }
        if *blocks == 1 {
            return format!(
                "One trial each, {server}: it says what happened in this run, no more."
            );
        }
        let per_block = self.planned() / blocks;
        let mut trials = BTreeMap::new();
        self.trials
            .iter()
            .for_each(|trial| *trials.entry(trial.block).or_insert(0) += 1);
        let complete = trials
            .values()
            .filter(|&&trials| trials == per_block)
            .count();
        let (control, claim) = match self.control {
            true => (", and the baseline once more as the A/A control", ""),
            false => ("", " No claim beyond this run."),
        };
        format!(
            "In this run: {complete} of {blocks} blocks, each row once in each block{control}, in an order drawn from the seed {}, \
             {server}; quantiles are of all valid trials together.{claim}",
            scenario.seed()
        )
    }

    /// The JSON Schema of the JSON, with the documentation of every field.
    pub fn json_schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self);
        schema.insert("$id".into(), format!("comparison-{SCHEMA}.json").into());
        schema.to_value()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Adds a trial against a server of the workbench, with the comparison's own load.
    pub(crate) fn add(
        comparison: &mut Comparison,
        block: usize,
        control: bool,
        outcome: Outcome,
        verdict: Verdict,
    ) {
        let scenario = comparison.scenario.clone();
        let target = Target::Workbench;
        let started = String::new();
        let trial = Trial::new(block, control, scenario, target, started, outcome, verdict);
        comparison.trials.push(trial);
    }
}
