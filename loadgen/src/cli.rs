//! What the commands take, and what they do with it.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use rustix::process::{Resource, getrlimit};

use crate::client::Transport;
use crate::comparison::{self, Comparison};
use crate::outcome::End;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{self, markdown};
use crate::scenario::Scenario;
use crate::sut::Sut;

/// Descriptors that are not for clients and publishers.
const SPARE_DESCRIPTORS: u64 = 100;

/// Messages per second over all rooms: more than any publisher here has reached.
const MAX_RATE: f64 = 1e6;
/// What a trial takes beside warm-up and window: server, connects, drain.
const AROUND: Duration = Duration::from_millis(2500);
/// The measuring window in each block of a comparison.
const BLOCK: Duration = Duration::from_secs(5);

/// One trial of one transport.
#[derive(Args, Debug)]
pub struct Run {
    /// The transport.
    // An `Option` because a subcommand takes its place; clap still asks for it otherwise.
    #[arg(short, long, value_enum, required = true, help_heading = "Load")]
    mode: Option<Transport>,
    #[command(flatten)]
    scenario: Scenario,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
    /// Write comparison.json and its reports into this folder.
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// Each transport in turn against a fresh server, and a report.
#[derive(Args, Debug)]
pub struct Compare {
    /// The transports, separated by commas [default: all].
    #[arg(short, long, value_enum, value_delimiter = ',', hide_default_value = true, default_values_t = Transport::ALL, help_heading = "Load")]
    mode: Vec<Transport>,
    /// Rounds over all transports, each in random order.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Load")]
    blocks: u16,
    #[command(flatten)]
    scenario: Scenario,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    output: Output,
    /// The folder in which each comparison gets a folder of its own.
    #[arg(short, long, value_name = "DIR", default_value = "results", help_heading = "Output")]
    out: PathBuf,
    /// A name for it, part of its folder's name.
    #[arg(long, default_value = "compare", help_heading = "Output")]
    name: String,
}

/// Renders the reports of a folder again, from its comparison.json alone.
#[derive(Args, Debug)]
pub struct Report {
    /// A folder that compare or run --out has written.
    folder: PathBuf,
}

/// Which server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Target")]
struct Target {
    /// A server that already runs, such as http://127.0.0.1:3000 [default: start one for each trial].
    #[arg(long)]
    url: Option<String>,
    /// Allow a --url that is not this machine.
    #[arg(long)]
    allow_remote: bool,
}

/// What is shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
    /// Print the JSON instead of the table.
    #[arg(long)]
    json: bool,
}

/// How a command ended, and with which exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A mistake in what was asked for: 2.
    Usage,
    /// Ctrl-C: 130.
    Interrupted,
    /// A trial broke or its audit failed: 1.
    Failed,
    /// Done: 0.
    Done,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Interrupted => 130,
        })
    }
}

impl Run {
    /// Runs it. An error is one of usage.
    pub async fn run(self) -> Result<Exit> {
        execute(self.mode.into_iter().collect(), 1, self.scenario, &self.target, &self.output, self.out).await
    }
}

impl Compare {
    /// Runs it. An error is one of usage.
    pub async fn run(self) -> Result<Exit> {
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        anyhow::ensure!(
            self.name.chars().all(safe),
            "--name {:?}: only letters, digits, - and _ are accepted",
            self.name
        );
        let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string().replace(['-', ':'], "");
        let folder = self.out.join(format!("{time}-{}", self.name));
        let duration = self.scenario.duration.or(Some(BLOCK));
        let scenario = Scenario { duration, ..self.scenario };
        execute(self.mode, self.blocks.into(), scenario, &self.target, &self.output, Some(folder)).await
    }
}

impl Report {
    /// Renders again.
    pub fn run(&self) -> Result<Exit> {
        let comparison = Comparison::load(&self.folder)?;
        report::write(&comparison, &self.folder)?;
        eprintln!("The report is in {}", self.folder.join("comparison.html").display());
        Ok(print(&markdown::table(&comparison)).map_or_else(failed, |()| Exit::Done))
    }
}

/// More clients than descriptors is a mistake that is known beforehand.
fn check_descriptors(Scenario { clients, publishers, .. }: &Scenario) -> Result<()> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = limit.saturating_sub(*publishers as u64 + SPARE_DESCRIPTORS);
    let enough = *clients as u64 <= most;
    anyhow::ensure!(
        enough,
        "--clients {clients}: this process may open {limit} files (ulimit -n), enough for {most} clients"
    );
    Ok(())
}

/// A rate that no schedule could keep is a mistake too.
fn check_rate(scenario: &Scenario) -> Result<()> {
    let rate = scenario.publish_rate();
    anyhow::ensure!(
        rate <= MAX_RATE,
        "--rate: {rate:.0} messages/s over all rooms; at most {MAX_RATE} can be scheduled"
    );
    Ok(())
}

async fn execute(
    modes: Vec<Transport>,
    blocks: usize,
    scenario: Scenario,
    target: &Target,
    output: &Output,
    folder: Option<PathBuf>,
) -> Result<Exit> {
    check_descriptors(&scenario)?;
    check_rate(&scenario)?;
    let server = match &target.url {
        Some(url) => Some(Sut::at(url, target.allow_remote).await?),
        None => None,
    };
    if let Some(folder) = &folder {
        let taken = folder.join(comparison::FILE);
        anyhow::ensure!(!taken.exists(), "--out: {} is there already; name another folder", taken.display());
        let failed = || format!("--out: cannot make the folder {}", folder.display());
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let progress = Progress::new(output.quiet);
    let trials = u32::try_from(modes.len() * blocks).unwrap_or(u32::MAX);
    let length = (scenario.warmup() + scenario.duration() + AROUND).saturating_mul(trials);
    progress.say(&format!("{scenario}."));
    progress.say(&format!(
        "{trials} trials of {:.0} s in all, the warm-up of {:.0} s each included.",
        length.as_secs_f64(),
        scenario.warmup().as_secs_f64()
    ));
    let plan = Plan { modes, blocks, scenario, server, folder: folder.clone(), command: command() };
    let (comparison, result) = plan.run(&progress).await;
    let text =
        if output.json { serde_json::to_string_pretty(&comparison)? + "\n" } else { markdown::table(&comparison) };
    let result = result.and(print(&text));
    if let Some(folder) = folder {
        progress.say(&format!("The report is in {}", folder.join("comparison.html").display()));
    }
    Ok(result.map_or_else(failed, |()| exit(&comparison)))
}

/// Something went wrong that no better command would have avoided.
#[expect(clippy::needless_pass_by_value, reason = "where it is called, the error has no other owner")]
fn failed(error: anyhow::Error) -> Exit {
    eprintln!("loadgen: {error:#}");
    Exit::Failed
}

/// Prints on standard output; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

fn exit(comparison: &Comparison) -> Exit {
    if comparison.trials.iter().any(|trial| trial.outcome.end == End::Interrupted) {
        Exit::Interrupted
    } else if comparison.trials.iter().any(|trial| trial.outcome.failure().is_some()) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

/// The command line as a person would type it.
fn command() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    let quote =
        |word: String| if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) };
    let words: Vec<String> = std::env::args().skip(1).map(quote).collect();
    format!("loadgen {}", words.join(" "))
}
