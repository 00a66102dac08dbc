//! Which trials run in which order, alone or in sets, each against a fresh server, and what is written when.

pub mod order;
pub mod sets;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use self::order::{Blocks, Planned};
use self::sets::Set;
use crate::console;
use crate::cores;
use crate::folder::Folder;
use crate::judge::{self, statistics, verdict};
use crate::load::trial::{self, Setting};
use crate::measure::meter::Meter;
use crate::progress::Progress;
use crate::report;
use crate::result::bounds::SETS;
use crate::result::comparison::{Comparison, Target as Tried, Trial, row_name};
use crate::result::environment::Cores;
use crate::result::files::DATA;
use crate::result::outcome::{End, Outcome};
use crate::result::scenario::Scenario;
use crate::result::variant::Variant;
use crate::signals::{self, Interrupted};
use crate::target::Target;

/// How far sets go: until all is decided, and no further than this.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// So many sets, decided or not.
    pub sets: Option<usize>,
    /// So long.
    pub budget: Duration,
}

/// Trials to run.
pub struct Plan {
    /// Which, and what has come of them so far.
    pub comparison: Comparison,
    /// A server that already runs; without one each trial starts its own.
    pub server: Option<Target>,
    /// How far sets go.
    pub limits: Limits,
    /// Where the results go, if anywhere.
    pub folder: Option<Folder>,
    /// The report, if it is written and has every trial so far.
    pub report: Option<PathBuf>,
}

impl Plan {
    /// Runs them all; what has been measured is in the comparison, and written after every trial, even if a later one
    /// cannot run. An error is of a trial that could not run, or of the last time that something was written.
    pub async fn run(&mut self, progress: &Progress) -> Result<()> {
        let cores = &cores::split();
        cores::pin(&cores.loadgen);
        if let Some(rounds) = self.comparison.rounds {
            return self.run_sets(rounds, cores, progress).await;
        }
        let (order, began) = (Blocks::of(&self.comparison), Instant::now());
        let (planned, mut written) = (self.comparison.planned(), Ok(()));
        while let Some(next) = order.next(&self.comparison.trials) {
            if signals::received().is_some() {
                break;
            }
            let done = self.comparison.trials.len();
            let expected = self.comparison.length_of_trial();
            let left = left(done, planned, began.elapsed(), expected);
            let name = row_name(next.variant, next.control);
            progress.begin(&label(done + 1, planned, &name), Some(left));
            let trial = match self.try_one(next, cores, progress).await {
                Err(error) if error.is::<Interrupted>() => break,
                other => other?,
            };
            let goes_on = trial.outcome.end == End::Completed && done + 1 < planned;
            self.comparison.trials.push(trial);
            judge::compare(&mut self.comparison);
            written = self.write();
            // A disk that is full may have room again later, and measuring goes on: the table needs no disk.
            if let (Err(error), true) = (&written, goes_on) {
                console::say(&format!(
                    "loadgen: {error:#}; tried again after the next trial"
                ));
            }
            if !goes_on {
                break;
            }
        }
        written
    }

    /// Runs sets until all is decided, or as far as they may go.
    async fn run_sets(&mut self, rounds: usize, cores: &Cores, progress: &Progress) -> Result<()> {
        let (began, before) = (Instant::now(), self.comparison.blocks);
        let (budget, mut written) = (self.limits.budget, Ok(()));
        if self.limits.sets.is_none() && statistics::is_decided(&self.comparison) {
            progress.say("All is decided already; --sets N goes on all the same.");
        }
        let mut meter = meter(cores, progress);
        loop {
            let (done, elapsed) = (self.comparison.blocks - before, began.elapsed());
            let is_full = self.comparison.blocks >= SETS.to.into();
            let is_over = is_full
                || match self.limits.sets {
                    Some(sets) => self.comparison.blocks >= sets,
                    // With another one as long as the others it would take longer.
                    None => done > 0 && elapsed + elapsed.div_f64(done as f64) > budget,
                };
            let is_decided = self.limits.sets.is_none() && statistics::is_decided(&self.comparison);
            if is_over || is_decided || signals::received().is_some() {
                break;
            }
            let number = self.comparison.blocks + 1;
            let left = (done > 0).then(|| match self.limits.sets {
                Some(sets) => elapsed.mul_f64((sets - done - before) as f64 / done as f64),
                None => budget.saturating_sub(elapsed),
            });
            progress.begin(&format!("set {number}"), left);
            let mut set = Set {
                number,
                cores,
                progress,
                meter: meter.as_mut(),
            };
            let trials = match sets::run(&self.comparison, rounds, &mut set).await {
                Ok(Some(trials)) => trials,
                Ok(None) => break,
                Err(error) if error.is::<Interrupted>() => break,
                Err(error) => return Err(error),
            };
            let goes_on = trials
                .iter()
                .all(|trial| trial.outcome.end == End::Completed);
            self.comparison.blocks = number;
            self.comparison.trials.extend(trials);
            judge::compare(&mut self.comparison);
            written = self.write();
            if let (Err(error), true) = (&written, goes_on) {
                console::say(&format!(
                    "loadgen: {error:#}; tried again after the next set"
                ));
            }
            if !goes_on {
                break;
            }
        }
        written
    }

    /// Runs one of them.
    async fn try_one(
        &mut self,
        next: Planned,
        cores: &Cores,
        progress: &Progress,
    ) -> Result<Trial> {
        let Planned {
            block,
            variant,
            control,
            seed,
        } = next;
        let scenario = Scenario {
            seed: Some(seed),
            ..self.comparison.scenario.clone()
        };
        let setting = Setting::alone(&scenario, cores, progress);
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let (outcome, target) = match &mut self.server {
            Some(target) => (
                trial::run(variant, &setting, target).await?,
                target.tried.clone(),
            ),
            None => against_own_server(variant, &setting, &self.comparison.server_flags).await?,
        };
        let verdict = verdict::of(&outcome);
        Ok(Trial::new(
            block, control, scenario, target, started, outcome, verdict,
        ))
    }

    /// Writes what there is, if it is to be written.
    fn write(&mut self) -> Result<()> {
        let Some(folder) = &mut self.folder else {
            return Ok(());
        };
        let written = write(&self.comparison, folder);
        self.report = written
            .is_ok()
            .then(|| folder.path().join("comparison.html"));
        written
    }
}

/// The hiccup meter on the cores in use; without it, less is known of the machine, and all else goes on.
fn meter(cores: &Cores, progress: &Progress) -> Option<Meter> {
    match Meter::start(&cores.used()) {
        Ok(meter) => Some(meter),
        Err(error) => {
            progress.say(&format!(
                "{error:#}: nothing is known of the machine's pauses"
            ));
            None
        }
    }
}

/// Writes the data, and then every kind of report: where there is room for the data alone, they are kept.
fn write(comparison: &Comparison, folder: &mut Folder) -> Result<()> {
    folder.write(&[(DATA, serde_json::to_string(comparison)?)])?;
    folder.write(&report::render(comparison)?)
}

/// Which trial it is, of how many.
fn label(n: usize, trials: usize, name: &str) -> String {
    if trials == 1 {
        name.into()
    } else {
        format!("trial {n} of {trials}, {name}")
    }
}

/// How long the trials take that are not done: as long as those that are, or as long as is expected.
fn left(done: usize, trials: usize, elapsed: Duration, expected: Duration) -> Duration {
    let each = if done > 0 {
        elapsed.div_f64(done as f64)
    } else {
        expected
    };
    each.mul_f64((trials - done) as f64)
}

/// One trial against a server that is started for it and stopped after it.
pub async fn against_own_server(
    variant: Variant,
    setting: &Setting<'_>,
    flags: &[String],
) -> Result<(Outcome, Tried)> {
    let mut target = Target::start(&setting.cores.server, setting.scenario, variant, flags).await?;
    let outcome = trial::run(variant, setting, &mut target).await?;
    let tried = target.tried.clone();
    if outcome.end == End::Completed
        && let Err(error) = target.stop(setting.progress).await
    {
        return Ok((
            Outcome {
                end: End::Broken(format!("{error:#}")),
                ..outcome
            },
            tried,
        ));
    }
    Ok((outcome, tried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_told_by_its_number_and_what_is_left_by_what_the_others_took() {
        let second = Duration::from_secs(1);
        assert_eq!(label(1, 1, "ws"), "ws");
        assert_eq!(
            label(3, 12, "ws, A/A control"),
            "trial 3 of 12, ws, A/A control"
        );
        assert_eq!(
            left(0, 12, second, 9 * second),
            108 * second,
            "nothing is known yet"
        );
        assert_eq!(left(2, 12, 20 * second, 9 * second), 100 * second);
    }
}
