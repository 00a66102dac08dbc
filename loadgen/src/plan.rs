//! Which trials run in which order, each against a fresh server, and what is written when.

pub mod order;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use self::order::{Blocks, Planned};
use crate::console;
use crate::cores;
use crate::folder::Folder;
use crate::judge::{self, verdict};
use crate::load::trial::{self, Setting};
use crate::progress::Progress;
use crate::report;
use crate::result::comparison::{Comparison, Target as Tried, Trial, row_name};
use crate::result::files::DATA;
use crate::result::outcome::{End, Outcome};
use crate::result::scenario::Scenario;
use crate::result::variant::Variant;
use crate::signals::{self, Interrupted};
use crate::target::Target;

/// Trials to run.
pub struct Plan {
    /// Which, and what has come of them so far.
    pub comparison: Comparison,
    /// A server that already runs; without one each trial starts its own.
    pub server: Option<Target>,
    /// More flags for the servers that are started.
    pub server_flags: Vec<String>,
    /// Where the results go, if anywhere.
    pub folder: Option<Folder>,
    /// The report, if it is written and has every trial so far.
    pub report: Option<PathBuf>,
}

impl Plan {
    /// Runs them all; what has been measured is in the comparison, and written after every trial, even if a later one
    /// cannot run. An error is of a trial that could not run, or of the last time that something was written.
    pub async fn run(&mut self, progress: &Progress) -> Result<()> {
        let Self {
            comparison,
            server,
            server_flags,
            folder,
            report,
        } = self;
        let cores = &cores::split();
        cores::pin(&cores.loadgen);
        let (order, began, mut written) = (Blocks::of(comparison), Instant::now(), Ok(()));
        let planned = comparison.planned();
        while let Some(Planned {
            block,
            variant,
            control,
            seed,
        }) = order.next(&comparison.trials)
        {
            if signals::received().is_some() {
                break;
            }
            let done = comparison.trials.len();
            let left = left(done, planned, began.elapsed(), comparison.length_of_trial());
            progress.begin(
                &label(done + 1, planned, &row_name(variant, control)),
                Some(left),
            );
            let scenario = &Scenario {
                seed: Some(seed),
                ..comparison.scenario.clone()
            };
            let setting = Setting {
                scenario,
                cores,
                progress,
            };
            let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
            let ran = match server {
                Some(target) => trial::run(variant, &setting, target)
                    .await
                    .map(|outcome| (outcome, target.tried.clone())),
                None => against_own_server(variant, &setting, server_flags).await,
            };
            let (outcome, target) = match ran {
                Err(error) if error.is::<Interrupted>() => break,
                other => other?,
            };
            let verdict = verdict::of(&outcome);
            let goes_on = outcome.end == End::Completed && done + 1 < planned;
            let trial = Trial::new(block, control, started, outcome, verdict);
            comparison.trials.push(Trial {
                scenario: Some(scenario.clone()),
                target: Some(target),
                ..trial
            });
            judge::compare(comparison);
            if let Some(folder) = folder {
                written = write(comparison, folder);
                *report = written
                    .is_ok()
                    .then(|| folder.path().join("comparison.html"));
                // A disk that is full may have room again later, and measuring goes on: the table needs no disk.
                if let (Err(error), true) = (&written, goes_on) {
                    console::say(&format!(
                        "loadgen: {error:#}; tried again after the next trial"
                    ));
                }
            }
            if !goes_on {
                break;
            }
        }
        written
    }
}

/// Writes the data, and then every kind of report: where there is room for the data alone, they are kept.
fn write(comparison: &Comparison, folder: &mut Folder) -> Result<()> {
    folder.write(&[(DATA, serde_json::to_string_pretty(comparison)?)])?;
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
    let mut target =
        Target::start(&setting.cores.server, setting.scenario, variant.mode, flags).await?;
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
