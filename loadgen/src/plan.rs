//! Which trials run in which order, each against a fresh server, and what is written when.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::client::Lane;
use crate::comparison::{Comparison, SCHEMA, Trial};
use crate::cores::{self, Cores};
use crate::environment::Environment;
use crate::judge::statistics;
use crate::judge::verdict::Verdict;
use crate::outcome::{End, Outcome};
use crate::progress::Progress;
use crate::report;
use crate::scenario::Scenario;
use crate::sut::Sut;
use crate::trial::{self, Setting};

/// Trials to run.
pub struct Plan {
    /// The rows.
    pub lanes: Vec<Lane>,
    /// How often each of them runs.
    pub blocks: usize,
    /// Whether the baseline runs twice in each block.
    pub twins: bool,
    /// The load.
    pub scenario: Scenario,
    /// A server that already runs; without one each trial starts its own.
    pub server: Option<Sut>,
    /// More flags for the servers that are started.
    pub server_flags: Vec<String>,
    /// Where the results go, if anywhere.
    pub folder: Option<PathBuf>,
    /// The command that repeats it.
    pub command: String,
}

impl Plan {
    /// Runs them all; what has been measured is written after every trial, and returned even if one could not run.
    pub async fn run(mut self, progress: &Progress) -> (Comparison, Result<()>) {
        let cores = Cores::split();
        let server = if self.server.is_some() { Vec::new() } else { cores.server.clone() };
        let environment = Environment::here(Cores { server, ..cores.clone() });
        cores::pin(&cores.loadgen);
        let mut comparison = Comparison {
            schema: SCHEMA,
            started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            command: self.command.clone(),
            environment,
            target: self.server.as_ref().map(|sut| sut.addr.to_string()),
            lanes: self.lanes.clone(),
            blocks: self.blocks,
            twins: self.twins,
            scenario: self.scenario.clone(),
            trials: Vec::new(),
            effects: Vec::new(),
        };
        let result = self.run_all(&mut comparison, &cores, progress).await;
        progress.clear();
        (comparison, result)
    }

    async fn run_all(&mut self, comparison: &mut Comparison, cores: &Cores, progress: &Progress) -> Result<()> {
        for (block, lane, twin) in self.order() {
            progress.label(&self.label(block, lane));
            // Another schedule in each block, the same for all its transports.
            let seed = self.scenario.seed.wrapping_add(block as u64 - 1);
            let scenario = Scenario { seed, ..self.scenario.clone() };
            let setting = Setting { scenario: &scenario, cores, progress };
            let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let outcome = match &mut self.server {
                Some(sut) => trial::run(lane, &setting, sut).await?,
                None => against_own_server(lane, &setting, &self.server_flags).await?,
            };
            let verdict = Verdict::of(&outcome);
            let ended = outcome.end.clone();
            comparison.trials.push(Trial { block, twin, started, outcome, verdict });
            comparison.effects = statistics::effects(comparison);
            if let Some(folder) = &self.folder {
                write(comparison, folder)?;
            }
            if ended != End::Completed {
                break;
            }
        }
        Ok(())
    }

    /// Every row once in each block, and the twin, in random order: what changes on the machine meanwhile meets them
    /// all.
    fn order(&self) -> Vec<(usize, Lane, bool)> {
        let mut random = fastrand::Rng::with_seed(self.scenario.seed);
        let mut order = Vec::new();
        for block in 1..=self.blocks {
            let twin = statistics::baseline(&self.lanes).filter(|_| self.twins).map(|lane| (block, lane, true));
            let mut trials: Vec<_> = self.lanes.iter().map(|&lane| (block, lane, false)).chain(twin).collect();
            random.shuffle(&mut trials);
            order.extend(trials);
        }
        order
    }

    fn label(&self, block: usize, lane: Lane) -> String {
        if self.blocks == 1 { lane.to_string() } else { format!("block {block} of {}, {lane}", self.blocks) }
    }
}

/// Writes the JSON and everything rendered from it.
fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    comparison.save(folder)?;
    report::write(comparison, folder)
}

/// One trial against a server that is started for it and stopped after it.
pub async fn against_own_server(lane: Lane, setting: &Setting<'_>, flags: &[String]) -> Result<Outcome> {
    let mut sut = Sut::start(&setting.cores.server, setting.scenario, lane.mode, flags)?;
    let outcome = trial::run(lane, setting, &mut sut).await?;
    if outcome.end == End::Completed
        && let Err(error) = sut.stop()
    {
        return Ok(Outcome { end: End::Broken(format!("{error:#}")), ..outcome });
    }
    Ok(outcome)
}
