//! Which trials run in which order, each against a fresh server, and what is written when.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::client::Transport;
use crate::comparison::{Comparison, SCHEMA, Trial};
use crate::cores::{self, Cores};
use crate::environment::Environment;
use crate::judge::verdict::Verdict;
use crate::outcome::{End, Outcome};
use crate::progress::Progress;
use crate::report;
use crate::scenario::Scenario;
use crate::sut::Sut;
use crate::trial::{self, Setting};

/// Trials to run.
pub struct Plan {
    /// The transports.
    pub modes: Vec<Transport>,
    /// How often each of them runs.
    pub blocks: usize,
    /// The load.
    pub scenario: Scenario,
    /// A server that already runs; without one each trial starts its own.
    pub server: Option<Sut>,
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
            modes: self.modes.clone(),
            blocks: self.blocks,
            scenario: self.scenario.clone(),
            trials: Vec::new(),
        };
        let result = self.run_all(&mut comparison, &cores, progress).await;
        progress.clear();
        (comparison, result)
    }

    async fn run_all(&mut self, comparison: &mut Comparison, cores: &Cores, progress: &Progress) -> Result<()> {
        for (block, mode) in self.order() {
            progress.label(&self.label(block, mode));
            // Another schedule in each block, the same for all its transports.
            let seed = self.scenario.seed.wrapping_add(block as u64 - 1);
            let scenario = Scenario { seed, ..self.scenario.clone() };
            let setting = Setting { scenario: &scenario, cores, progress };
            let outcome = match &mut self.server {
                Some(sut) => trial::run(mode, &setting, sut).await?,
                None => against_own_server(mode, &setting).await?,
            };
            let verdict = Verdict::of(&outcome);
            let ended = outcome.end.clone();
            comparison.trials.push(Trial { block, outcome, verdict });
            if let Some(folder) = &self.folder {
                write(comparison, folder)?;
            }
            if ended != End::Completed {
                break;
            }
        }
        Ok(())
    }

    /// Every transport once in each block, in random order: what changes on the machine meanwhile meets them all.
    fn order(&self) -> Vec<(usize, Transport)> {
        let mut random = fastrand::Rng::with_seed(self.scenario.seed);
        let mut order = Vec::new();
        for block in 1..=self.blocks {
            let mut modes = self.modes.clone();
            random.shuffle(&mut modes);
            order.extend(modes.into_iter().map(|mode| (block, mode)));
        }
        order
    }

    fn label(&self, block: usize, mode: Transport) -> String {
        if self.blocks == 1 { mode.to_string() } else { format!("block {block} of {}, {mode}", self.blocks) }
    }
}

/// Writes the JSON and everything rendered from it.
fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    comparison.save(folder)?;
    report::write(comparison, folder)
}

async fn against_own_server(mode: Transport, setting: &Setting<'_>) -> Result<Outcome> {
    let mut sut = Sut::start(&setting.cores.server, setting.scenario)?;
    let outcome = trial::run(mode, setting, &mut sut).await?;
    if outcome.end == End::Completed
        && let Err(error) = sut.stop()
    {
        return Ok(Outcome { end: End::Broken(format!("{error:#}")), ..outcome });
    }
    Ok(outcome)
}
