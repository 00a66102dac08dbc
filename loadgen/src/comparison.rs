//! Several trials of one workload, as they are kept: `comparison.json` is all that a report needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::Lane;
use crate::cores::Cores;
use crate::environment::Environment;
use crate::fleet::CONNECTS_PER_SECOND;
use crate::judge::statistics::Effect;
use crate::judge::verdict::Verdict;
use crate::outcome::Outcome;
use crate::scenario::Scenario;

mod saved;

/// The version of the JSON.
pub const SCHEMA: u32 = 3;
/// The file in a result's folder.
pub const FILE: &str = "comparison.json";
/// Fewer blocks carry no interval, so a twin in each of them would be of no use.
const TWINS_FROM: usize = 6;
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
    pub lanes: Vec<Lane>,
    /// How often each of them ran.
    pub blocks: usize,
    /// Whether the baseline ran twice in each block.
    pub twins: bool,
    /// With which load.
    pub scenario: Scenario,
    /// What came out, in the order in which the trials ran: random in each block, from the scenario's seed.
    pub trials: Vec<Trial>,
    /// Every row against the baseline, over the blocks.
    pub effects: Vec<Effect>,
}

/// One trial in a comparison.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// The round it ran in, from 1.
    pub block: usize,
    /// Whether it is the second trial of the baseline in its block.
    pub twin: bool,
    /// When it began, in UTC (RFC 3339).
    pub started: String,
    /// How the server did.
    pub outcome: Outcome,
    /// Whether the measurement may be believed.
    pub verdict: Verdict,
}

impl Comparison {
    /// One that begins now, of trials that each start their own server, on this machine; none has run yet.
    pub fn new(lanes: Vec<Lane>, blocks: usize, mut scenario: Scenario, command: String) -> Self {
        // What the defaults were is kept, not that they were taken.
        (scenario.warmup, scenario.duration) = (Some(scenario.warmup()), Some(scenario.duration()));
        Self {
            schema: SCHEMA,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command,
            environment: Environment::here(Cores::split()),
            target: None,
            lanes,
            blocks,
            twins: blocks >= TWINS_FROM,
            scenario,
            trials: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// How many trials there are to be.
    pub fn planned(&self) -> usize {
        self.blocks * (self.lanes.len() + usize::from(self.twins))
    }

    /// What will run and how long it takes, in a sentence.
    pub fn forecast(&self) -> String {
        let (trials, scenario) = (self.planned(), &self.scenario);
        let ramp = Duration::from_secs_f64(scenario.clients as f64 / CONNECTS_PER_SECOND as f64);
        let each = scenario.warmup() + scenario.duration() + ramp + AROUND;
        let total = each.as_secs_f64() * trials as f64;
        let length = if total < 120.0 { format!("{total:.0} s") } else { format!("{:.0} minutes", total / 60.0) };
        let warmup = scenario.warmup().as_secs_f64();
        match trials {
            1 => format!("One trial of about {length}, the warm-up of {warmup:.0} s included."),
            _ => format!("{trials} trials, about {length} in all, the warm-up of {warmup:.0} s each included."),
        }
    }

    /// How the trials were laid out, and how far that carries, in a sentence or two.
    pub fn design(&self) -> String {
        let server = match &self.target {
            Some(target) => format!("against the running server at {target}"),
            None => "each time against a fresh server".into(),
        };
        let Self { blocks, scenario, .. } = self;
        if *blocks == 1 {
            return format!("One trial each, {server}: it says what happened in this run, no more.");
        }
        let per_block = self.planned() / blocks;
        let mut trials = BTreeMap::new();
        self.trials.iter().for_each(|trial| *trials.entry(trial.block).or_insert(0) += 1);
        let complete = trials.values().filter(|&&trials| trials == per_block).count();
        let (twin, claim) = match self.twins {
            true => (", and the baseline once more as its twin", ""),
            false => ("", " No claim beyond this run."),
        };
        format!(
            "In this run: {complete} of {blocks} blocks, each row once in each block{twin}, in random order (seed {}), \
             {server}; quantiles are of all valid trials together.{claim}",
            scenario.seed
        )
    }

    /// The JSON Schema of the JSON, with the documentation of every field.
    pub fn json_schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self);
        schema.insert("$id".into(), format!("comparison-{SCHEMA}.json").into());
        schema.to_value()
    }

    /// Writes the JSON into a folder, whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let (path, draft) = (folder.join(FILE), folder.join(".comparison.json"));
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let json = serde_json::to_vec_pretty(self)?;
        fs::write(&draft, json)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the JSON of a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let json = fs::read(&path)
            .with_context(|| format!("cannot read {}; expected a folder that loadgen has written", path.display()))?;
        let comparison =
            saved::parse(&json).with_context(|| format!("{} is not a comparison of this version", path.display()))?;
        if comparison.schema != SCHEMA {
            bail!("{} has schema {}, this loadgen reads {SCHEMA}", path.display(), comparison.schema);
        }
        Ok(comparison)
    }
}
