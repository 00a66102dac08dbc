//! What the commands take, and what they do with it.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

use crate::bounds::{self, BLOCKS, Room};
use crate::client::{Lane, Publish, Transport};
use crate::comparison::{self, Comparison};
use crate::outcome::End;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::{self, markdown};
use crate::scenario::Scenario;
use crate::sut::Sut;

/// The measuring window in each block of a quick comparison, and of one that claims something: with the default load
/// that is 650 messages, enough for a p99 of each trial.
const BLOCK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(13)];
/// The warm-up of a comparison that claims something, unless 5 intervals are longer.
const WARMUP: Duration = Duration::from_secs(10);

/// One trial of one transport.
#[derive(Args, Debug)]
pub struct Run {
    /// The transport.
    // An `Option` because a subcommand takes its place; clap still asks for it otherwise.
    #[arg(short, long, value_enum, required = true, help_heading = "Load")]
    mode: Option<Transport>,
    /// Which way messages go up: over publishers' own connections, or as clients of the transport do.
    #[arg(long, value_enum, default_value_t = Publish::Post, help_heading = "Load")]
    publish: Publish,
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
    /// The transports, separated by commas [default: all but ws-stock].
    #[arg(short, long, value_enum, value_delimiter = ',', hide_default_value = true, default_values_t = Transport::ALL, help_heading = "Load")]
    mode: Vec<Transport>,
    /// With `native`, each transport once more with messages that go up as its clients send them.
    #[arg(long, value_enum, default_value_t = Publish::Post, help_heading = "Load")]
    publish: Publish,
    /// Rounds over all transports, 1 to 1000, each in random order; from 6 on with a twin.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = |text: &str| BLOCKS.parse(text), allow_hyphen_values = true, help_heading = "Design")]
    blocks: u16,
    /// 10 blocks of 13 s with a twin: shows +50 % almost always.
    #[arg(long, conflicts_with = "blocks", help_heading = "Design")]
    standard: bool,
    /// 30 blocks of 13 s with a twin: shows +20 % most often.
    #[arg(long, conflicts_with_all = ["blocks", "standard"], help_heading = "Design")]
    thorough: bool,
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
    /// More flags for the servers that are started, such as `--heartbeat 5s`.
    #[arg(
        long,
        value_name = "FLAGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        conflicts_with = "url"
    )]
    server_flags: String,
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
        let lanes = self.mode.into_iter().map(|mode| Lane { mode, publish: self.publish }).collect();
        let comparison = Comparison::new(lanes, 1, self.scenario, command());
        execute(comparison, &self.target, &self.output, self.out).await
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
        let claims = self.standard || self.thorough;
        let duration = self.scenario.duration.or(Some(BLOCK[usize::from(claims)]));
        let longer = claims.then(|| (self.scenario.interval * 5).max(WARMUP));
        let warmup = self.scenario.warmup.or(longer);
        let blocks = match (self.standard, self.thorough) {
            (true, _) => 10,
            (_, true) => 30,
            _ => self.blocks.into(),
        };
        let mut lanes: Vec<Lane> = Vec::new();
        let ways = [Publish::Post, Publish::Native].into_iter().take(1 + usize::from(self.publish == Publish::Native));
        for lane in ways.flat_map(|publish| self.mode.iter().map(move |&mode| Lane { mode, publish })) {
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
        let scenario = Scenario { duration, warmup, ..self.scenario };
        let comparison = Comparison::new(lanes, blocks, scenario, command());
        execute(comparison, &self.target, &self.output, Some(folder)).await
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

/// Prints the JSON Schema of comparison.json.
pub fn schema() -> Result<Exit> {
    let text = serde_json::to_string_pretty(&Comparison::json_schema())? + "\n";
    Ok(print(&text).map_or_else(failed, |()| Exit::Done))
}

async fn execute(comparison: Comparison, target: &Target, output: &Output, folder: Option<PathBuf>) -> Result<Exit> {
    bounds::check(&comparison.scenario, Room::here())?;
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
    progress.say(&format!("{}.", comparison.scenario));
    progress.say(&comparison.forecast());
    let server_flags = target.server_flags.split_whitespace().map(String::from).collect();
    let mut plan = Plan { comparison, server, server_flags, folder };
    let result = plan.run(&progress).await;
    progress.clear();
    let Plan { comparison, folder, .. } = plan;
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
