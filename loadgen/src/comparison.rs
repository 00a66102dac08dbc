//! Several trials of one workload, as they are kept: `comparison.json` is all that a report needs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::client::Transport;
use crate::environment::Environment;
use crate::judge::verdict::Verdict;
use crate::outcome::Outcome;
use crate::scenario::Scenario;

/// The version of the JSON.
pub const SCHEMA: u32 = 1;
/// The file in a result's folder.
pub const FILE: &str = "comparison.json";

/// A comparison, or a single run.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// The transports.
    pub modes: Vec<Transport>,
    /// How often each transport ran.
    pub blocks: usize,
    /// With which load.
    pub scenario: Scenario,
    /// What came out, in the order in which the trials ran: random in each block, from the scenario's seed.
    pub trials: Vec<Trial>,
}

/// One trial in a comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trial {
    /// The round it ran in, from 1.
    pub block: usize,
    /// How the server did.
    pub outcome: Outcome,
    /// Whether the measurement may be believed.
    pub verdict: Verdict,
}

impl Comparison {
    /// How the trials were laid out, and how far that carries, in a sentence or two.
    pub fn design(&self) -> String {
        let server = match &self.target {
            Some(target) => format!("against the running server at {target}"),
            None => "each time against a fresh server".into(),
        };
        if self.blocks == 1 {
            return format!("One trial each, {server}: it says what happened in this run, no more.");
        }
        let trials = |block| self.trials.iter().filter(|trial| trial.block == block).count();
        let complete = (1..=self.blocks).filter(|&block| trials(block) == self.modes.len()).count();
        format!(
            "In this run: {complete} of {} blocks, each transport once in each block in random order (seed {}), {server}; \
             quantiles are of all valid trials together. No claim beyond this run.",
            self.blocks, self.scenario.seed
        )
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
        let comparison: Self = serde_json::from_slice(&json)
            .with_context(|| format!("{} is not a comparison of this version", path.display()))?;
        if comparison.schema != SCHEMA {
            bail!("{} has schema {}, this loadgen reads {SCHEMA}", path.display(), comparison.schema);
        }
        Ok(comparison)
    }
}
