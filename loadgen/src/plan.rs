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
    /// The transports, in order.
    pub modes: Vec<Transport>,
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
    /// Runs them all; what has been measured is written after every trial.
    pub async fn run(mut self, progress: &Progress) -> Result<Comparison> {
        let cores = Cores::split();
        let environment = Environment { pinned: cores.clone(), ..Environment::here() };
        cores::pin(&cores.loadgen);
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let Self { scenario, command, .. } = &self;
        let mut comparison = Comparison {
            schema: SCHEMA,
            started,
            command: command.clone(),
            environment,
            scenario: scenario.clone(),
            trials: Vec::new(),
        };
        for mode in self.modes {
            let setting = Setting { scenario: &self.scenario, cores: &cores, progress };
            let outcome = match &mut self.server {
                Some(sut) => trial::run(mode, &setting, sut).await?,
                None => against_own_server(mode, &setting).await?,
            };
            let verdict = Verdict::of(&outcome);
            let ended = outcome.end.clone();
            comparison.trials.push(Trial { outcome, verdict });
            if let Some(folder) = &self.folder {
                write(&comparison, folder)?;
            }
            if ended != End::Completed {
                break;
            }
        }
        progress.clear();
        Ok(comparison)
    }
}

/// Writes the JSON and everything rendered from it.
pub fn write(comparison: &Comparison, folder: &Path) -> Result<()> {
    comparison.save(folder)?;
    report::write(comparison, folder)
}

async fn against_own_server(mode: Transport, setting: &Setting<'_>) -> Result<Outcome> {
    let mut sut = Sut::start(&setting.cores.server, setting.scenario.rooms())?;
    let outcome = trial::run(mode, setting, &mut sut).await?;
    if outcome.end == End::Completed
        && let Err(error) = sut.stop()
    {
        return Ok(Outcome { end: End::Broken(format!("{error:#}")), ..outcome });
    }
    Ok(outcome)
}
