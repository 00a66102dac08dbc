//! What the commands take, and what they do with it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use clap::Args;
use hyper::header::{HeaderName, HeaderValue};

use crate::capacity::{self, Capacity};
use crate::client;
use crate::client::dialect::{Dialect, PUBLISH, SUBSCRIBE, check_publish, check_subscribe};
use crate::comparison::{begin, data_file, load};
use crate::console;
use crate::folder::Folder;
use crate::plan::{Limits, Plan, sets};
use crate::progress::Progress;
use crate::report;
use crate::report::markdown::{self, Shown};
use crate::result::bounds::{BLOCKS, BUDGET, SETS};
use crate::result::comparison::Comparison;
use crate::result::disturbance::Disturbance;
use crate::result::files::DATA;
use crate::result::link::Link;
use crate::result::proxy::Proxy;
use crate::result::scenario::Scenario;
use crate::result::variant::{Publish, Transport, Variant};
use crate::target::{Target, via};
use crate::{cores, environment, shell, signals};

/// What a comparison that is gone on with has already.
const SETTINGS: [&str; 26] = [
    "mode",
    "publish",
    "clients",
    "room_size",
    "rate",
    "arrivals",
    "payload",
    "interval",
    "hold",
    "headers",
    "keep_alive",
    "publishers",
    "warmup",
    "duration",
    "seed",
    "whole_trials",
    "url",
    "via",
    "server_flags",
    "out",
    "name",
    "link",
    "cut",
    "storm",
    "server_restart",
    "reconnect",
];
/// Characters of a comparison's name: with the time before it and a number after it, no file system finds it too long.
const NAME: usize = 100;
/// The measuring window in each block of a quick comparison, and of one that claims something: with the default load
/// that is 650 messages, enough for a p99 of each trial.
const BLOCK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(13)];
/// The warm-up of a comparison that claims something, unless 5 intervals are longer.
const WARMUP: Duration = Duration::from_secs(10);
/// What is measured of each variant in a set, and in one of its rounds: from server to server the same figure scatters half as
/// much as from slice to slice, so that more rounds in a set gain less than more sets do.
const SET: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_secs(1);
/// A set of a variant, the baseline, and one more of it.
const SMALLEST: usize = 3;
/// How long sets may go on where nobody says it: 14 of the usual rows, and 12 where each has a row through a proxy beside it.
const BUDGET_DIRECT: Duration = Duration::from_secs(285);
const BUDGET_VIA: Duration = Duration::from_secs(450);

/// One trial of one transport.
#[derive(Args, Debug)]
pub struct Run {
    /// The transport.
    // An `Option` because a subcommand takes its place; clap still asks for it otherwise.
    #[arg(
        short,
        long,
        value_enum,
        ignore_case = true,
        required = true,
        help_heading = "Load"
    )]
    mode: Option<Transport>,
    /// Which way messages go up: over publishers' own connections, or as clients of the transport do.
    #[arg(long, value_enum, default_value_t = Publish::Post, help_heading = "Load")]
    publish: Publish,
    #[command(flatten)]
    scenario: Scenario,
    /// The distance between clients and server, emulated: fast4g, slow4g, 3g, edge, cable, dsl, leo, geo and so on, or
    /// rtt=80ms,jitter=10ms,down=10mbit,up=2mbit,loss=0.5%.
    #[arg(
        long,
        value_name = "LINK",
        allow_hyphen_values = true,
        help_heading = "Distance and disturbance"
    )]
    link: Option<Distances>,
    #[command(flatten)]
    target: TargetFlags,
    #[command(flatten)]
    output: Output,
    /// Write comparison.json and its reports into this folder.
    #[arg(short, long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// Each transport in turn against a fresh server, and a report.
#[derive(Args, Debug)]
pub struct Compare {
    /// The transports, separated by commas [default: short-poll,long-poll,sse,ws].
    #[arg(short, long, value_enum, ignore_case = true, value_delimiter = ',', hide_default_value = true, default_values_t = Transport::usual(), help_heading = "Load")]
    mode: Vec<Transport>,
    /// With `native`, each transport once more with messages that go up as its clients send them.
    #[arg(long, value_enum, default_value_t = Publish::Post, help_heading = "Load")]
    publish: Publish,
    /// So many sets, decided or not, 1 to 1000 [default: until all is decided, or the budget is over].
    #[arg(long, value_name = "N", value_parser = |text: &str| SETS.parse(text), conflicts_with = "url", allow_hyphen_values = true, help_heading = "Design")]
    sets: Option<u16>,
    /// How long it may take, 1s to 1day [default: 4m45s, with --via 7m30s].
    #[arg(long, value_name = "TIME", value_parser = |text: &str| BUDGET.parse(text), conflicts_with_all = ["sets", "url"], allow_hyphen_values = true, help_heading = "Design")]
    budget: Option<Duration>,
    /// Go on with the sets of this folder, with its seed and its settings.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = SETTINGS, help_heading = "Design")]
    resume: Option<PathBuf>,
    /// Each trial whole, one after the other, instead of slices in turns: for peaks, long windows, and a server that runs.
    #[arg(long, conflicts_with_all = ["sets", "budget"], help_heading = "Design")]
    whole_trials: bool,
    /// Rounds over all transports, 1 to 1000, each in an order drawn from the seed; from 8 on with an A/A control [default: 3].
    #[arg(long, value_name = "N", requires = "whole_trials", value_parser = |text: &str| BLOCKS.parse(text), allow_hyphen_values = true, help_heading = "Design")]
    blocks: Option<u16>,
    /// 10 blocks of 13 s with an A/A control.
    #[arg(
        long,
        conflicts_with = "blocks",
        requires = "whole_trials",
        help_heading = "Design"
    )]
    standard: bool,
    /// 30 blocks of 13 s with an A/A control.
    #[arg(long, conflicts_with_all = ["blocks", "standard"], requires = "whole_trials", help_heading = "Design")]
    thorough: bool,
    #[command(flatten)]
    scenario: Scenario,
    /// The distance between clients and server, emulated; of several, such as none,fast4g, a comparison each: fast4g, slow4g,
    /// 3g, edge, cable, dsl, leo, geo and so on, or rtt=80ms,jitter=10ms,down=10mbit,up=2mbit,loss=0.5%.
    #[arg(
        long,
        value_name = "LINK",
        allow_hyphen_values = true,
        help_heading = "Distance and disturbance"
    )]
    link: Option<Distances>,
    #[command(flatten)]
    target: TargetFlags,
    #[command(flatten)]
    output: Output,
    /// The folder in which each comparison gets a folder of its own.
    #[arg(
        short,
        long,
        value_name = "DIR",
        default_value = "results",
        help_heading = "Output"
    )]
    out: PathBuf,
    /// A name for it, part of its folder's name.
    #[arg(long, default_value = "compare", help_heading = "Output")]
    name: String,
}

/// Renders the reports of a result again, from its comparison.json alone.
#[derive(Args, Debug)]
pub struct Report {
    /// A folder that compare or run --out has written, or its comparison.json.
    result: PathBuf,
    /// Print every figure, not only the most important ones.
    #[arg(short, long)]
    verbose: bool,
}

/// Which server.
#[derive(Args, Debug)]
#[command(next_help_heading = "Target")]
struct TargetFlags {
    /// A server that already runs, such as http://127.0.0.1:3000 [default: start one for each trial].
    #[arg(long)]
    url: Option<String>,
    /// Through a proxy (Debian's nginx-light or haproxy) before each server that is started; compare has each row also without it.
    #[arg(long, value_enum, value_name = "PROXY", conflicts_with = "url")]
    via: Option<Proxy>,
    /// Allow a --url that is not this machine.
    #[arg(long)]
    allow_remote: bool,
    /// How the server at --url is spoken to, if it is somebody else's: docs/your-server.md says what it has to do.
    #[arg(long, value_enum, value_name = "DIALECT", requires = "url")]
    dialect: Option<DialectName>,
    /// A process of somebody else's server on this machine, for its CPU and memory; once for each that it has.
    #[arg(long, value_name = "PID", requires = "dialect", value_parser = clap::value_parser!(i32).range(1..))]
    server_pid: Vec<i32>,
    /// A header that every request carries, such as 'Authorization: Bearer TOKEN'; its value is in no report.
    #[arg(
        long,
        value_name = "NAME: VALUE",
        requires = "url",
        allow_hyphen_values = true
    )]
    header: Vec<String>,
    /// The path of a subscription or a poll; what has no value is left out of the query.
    #[arg(long, value_name = "PATH", requires = "dialect", default_value = SUBSCRIBE, value_parser = check_subscribe)]
    subscribe_path: String,
    /// The path of a publish.
    #[arg(long, value_name = "PATH", requires = "dialect", default_value = PUBLISH, value_parser = check_publish)]
    publish_path: String,
    /// More flags for the servers of the workbench that are started, such as `--heartbeat 5s`; a word with a space in it stands in quotes.
    #[arg(
        long,
        value_name = "FLAGS",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true,
        value_parser = Words::parse,
        conflicts_with = "url"
    )]
    server_flags: Words,
}

impl TargetFlags {
    /// The server that runs already, if one is named.
    async fn running(&self) -> Result<Option<Target>> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let dialect = Dialect {
            subscribe: self.subscribe_path.clone(),
            publish: self.publish_path.clone(),
            headers: self
                .header
                .iter()
                .map(|text| header(text))
                .collect::<Result<_>>()?,
            is_foreign: self.dialect.is_some(),
        };
        let target = match self.dialect {
            None => signals::or_interrupted(Target::at(url, self.allow_remote, dialect)).await?,
            Some(DialectName::Workbench) => {
                signals::or_interrupted(Target::foreign(
                    url,
                    self.allow_remote,
                    &self.server_pid,
                    dialect,
                ))
                .await?
            }
        };
        Ok(Some(target))
    }
}

/// The kinds of servers that loadgen can speak to.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum DialectName {
    /// That of the workbench.
    Workbench,
}

/// Reads a header. What is wrong is said without its value, which may be a secret.
fn header(text: &str) -> Result<(HeaderName, HeaderValue)> {
    let right = "expected NAME: VALUE, such as 'Authorization: Bearer TOKEN'";
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| anyhow::anyhow!("--header without a colon; {right}"))?;
    let name = HeaderName::try_from(name.trim())
        .map_err(|_| anyhow::anyhow!("--header has a name that no header can have; {right}"))?;
    let mut value = HeaderValue::try_from(value.trim()).map_err(|_| {
        anyhow::anyhow!("--header {name}: its value is none that a header can have")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Links, one after the other; nothing is none.
#[derive(Debug, Clone)]
struct Distances(Vec<Option<Link>>);

impl FromStr for Distances {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Commas stand between the figures of one link, or between the names of several.
        let links: Vec<&str> = if text.contains('=') {
            vec![text]
        } else {
            text.split(',').collect()
        };
        let read = |text: &str| match text {
            "none" => Ok(None),
            link => link.parse().map(Some),
        };
        links
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Words as a shell would read them.
#[derive(Debug, Clone)]
struct Words(Vec<String>);

impl Words {
    fn parse(text: &str) -> Result<Self, &'static str> {
        shlex::split(text)
            .map(Self)
            .ok_or("a quotation mark is not closed, or the last character is a backslash")
    }
}

/// What is shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
struct Output {
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
    /// Print every figure, not only the most important ones.
    #[arg(short, long)]
    verbose: bool,
    /// Print the JSON instead of the table.
    #[arg(long)]
    json: bool,
}

/// How a command ended, and with which exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A mistake in what was asked for: 2.
    Usage,
    /// A trial broke or its audit failed, or something could not be written: 1.
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
        })
    }
}

impl Run {
    /// Runs it. An error is one of usage.
    pub async fn run(self) -> Result<Exit> {
        let variants = self
            .mode
            .into_iter()
            .map(|mode| Variant {
                mode,
                publish: self.publish,
                via: self.target.via,
            })
            .collect();
        let scenario = match self.link {
            None => self.scenario,
            Some(Distances(links)) => {
                let Ok([link]) = <[Option<Link>; 1]>::try_from(links) else {
                    anyhow::bail!("--link: one trial has one link; compare takes several");
                };
                Scenario {
                    link,
                    ..self.scenario
                }
            }
        };
        let comparison = begin(variants, 1, scenario, command());
        let claim = |trials| {
            self.out
                .as_deref()
                .map(|out| Folder::claim(out, trials))
                .transpose()
        };
        execute(
            comparison,
            Limits::default(),
            &self.target,
            &self.output,
            claim,
        )
        .await
    }
}

impl Compare {
    /// Runs it. An error is one of usage.
    pub async fn run(self) -> Result<Exit> {
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        anyhow::ensure!(
            self.name.chars().all(safe) && (1..=NAME).contains(&self.name.len()),
            "--name {:?}: only letters, digits, - and _ are accepted, 1 to {NAME} of them",
            self.name
        );
        let limits = |comparison: &Comparison| Limits {
            sets: self.sets.map(usize::from),
            budget: self.budget.unwrap_or(budget_of(comparison)),
        };
        if let Some(path) = &self.resume {
            let comparison = resumed(path)?;
            let folder = folder_of(&data_file(path)?);
            let claim = |_| Folder::resume(&folder).map(Some);
            let limits = limits(&comparison);
            return execute(comparison, limits, &self.target, &self.output, claim).await;
        }
        let time = humantime::format_rfc3339_seconds(SystemTime::now())
            .to_string()
            .replace(['-', ':'], "");
        let folder = format!("{time}-{}", self.name);
        let variants = self.variants();
        let distances = self.link.clone().map_or(vec![None], |links| links.0);
        let (several, mut exit) = (distances.len() > 1, Exit::Done);
        for link in distances {
            let name = link.as_ref().map_or("none", |link| &link.name);
            let folder = match several {
                true => format!("{folder}-{name}"),
                false => folder.clone(),
            };
            let scenario = Scenario {
                link: link.clone(),
                ..self.scenario.clone()
            };
            // A server that runs is one: nothing can be beside it. And what is done to connections has its time in one trial.
            let is_whole = self.whole_trials || self.target.url.is_some();
            let comparison = if is_whole || scenario.disturbance.is_any() {
                self.blocks_of(variants.clone(), scenario)
            } else {
                self.sets_of(variants.clone(), scenario)?
            };
            let limits = limits(&comparison);
            let claim = |trials| Folder::claim_new(&self.out, &folder, trials).map(Some);
            let ended = execute(comparison, limits, &self.target, &self.output, claim).await?;
            if ended != Exit::Done {
                exit = ended;
            }
            if signals::received().is_some() {
                break;
            }
        }
        Ok(exit)
    }

    /// The rows, each once: one that goes through a proxy stands beside the same without it.
    fn variants(&self) -> Vec<Variant> {
        let ways = [Publish::Post, Publish::Native]
            .into_iter()
            .take(1 + usize::from(self.publish == Publish::Native));
        let proxies = [None, self.target.via];
        let mut variants: Vec<Variant> = Vec::new();
        for publish in ways {
            for (mode, via) in self
                .mode
                .iter()
                .flat_map(|mode| proxies.map(|via| (mode, via)))
            {
                let mode = *mode;
                let variant = Variant { mode, publish, via };
                if !variants.contains(&variant) {
                    variants.push(variant);
                }
            }
        }
        variants
    }

    /// Whole trials, one after the other.
    fn blocks_of(&self, variants: Vec<Variant>, scenario: Scenario) -> Comparison {
        let claims = self.standard || self.thorough;
        let longer = claims.then(|| (scenario.interval * 5).max(WARMUP));
        let scenario = Scenario {
            duration: scenario.duration.or(Some(BLOCK[usize::from(claims)])),
            warmup: scenario.warmup.or(longer),
            ..scenario
        };
        let blocks = match (self.standard, self.thorough) {
            (true, _) => 10,
            (_, true) => 30,
            _ => self.blocks.unwrap_or(3).into(),
        };
        begin(variants, blocks, scenario, command())
    }

    /// Slices in turns; as many at once as there is room for.
    fn sets_of(&self, variants: Vec<Variant>, mut scenario: Scenario) -> Result<Comparison> {
        let (length, warmup) = (scenario.duration.unwrap_or(SET), scenario.warmup);
        scenario.duration = Some(length);
        let mut comparison = begin(variants, 0, scenario, command());
        // It belongs to the transport.
        comparison.scenario.warmup = warmup;
        let rounds = (length.as_secs_f64() / ROUND.as_secs_f64()).round();
        (comparison.rounds, comparison.control) = (Some(rounds.max(1.0) as usize), true);
        let (all, capacity) = (comparison.variants.len() + 1, Capacity::here());
        let room = capacity::servers(&comparison.scenario, capacity);
        let smallest = SMALLEST + usize::from(self.target.via.is_some());
        anyhow::ensure!(
            room >= all.min(smallest),
            "--clients {}: with as many each, {room} of at least {} servers have room at once ({} files may be open, ulimit \
             -n, and {:.1} GiB are free); compare them one after the other, with --whole-trials",
            comparison.scenario.clients,
            all.min(smallest),
            capacity.files,
            capacity::gib(capacity.memory)
        );
        comparison.together = if room < all { smallest } else { all };
        Ok(comparison)
    }
}

/// How long the sets of a comparison may go on where nobody says it.
fn budget_of(comparison: &Comparison) -> Duration {
    let is_through = |variant: &Variant| variant.via.is_some();
    if comparison.variants.iter().any(is_through) {
        BUDGET_VIA
    } else {
        BUDGET_DIRECT
    }
}

/// The folder that a result's data are in.
fn folder_of(data: &Path) -> PathBuf {
    let folder = data.parent().filter(|path| !path.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).into()
}

/// A comparison that is to be gone on with: on the same machine, by the same loadgen.
fn resumed(path: &Path) -> Result<Comparison> {
    let (data, named) = (data_file(path)?, shell::path(path));
    anyhow::ensure!(
        data.ends_with(DATA),
        "--resume {named}: expected a folder that compare has written, or its {DATA}"
    );
    let comparison = load(&data)?;
    anyhow::ensure!(
        comparison.rounds.is_some(),
        "--resume {named}: it has whole trials; only sets can be gone on with"
    );
    let (then, now) = (&comparison.environment, environment::here(cores::split()));
    for (what, then, now) in [
        ("processor", &then.cpu, &now.cpu),
        ("kernel", &then.kernel, &now.kernel),
        ("version of loadgen", &then.version, &now.version),
        ("profile of loadgen", &then.profile, &now.profile),
        ("compiler", &then.rustc, &now.rustc),
    ] {
        anyhow::ensure!(
            then == now,
            "--resume {named}: its {what} was {then}, this one is {now}; begin anew"
        );
    }
    anyhow::ensure!(
        (then.commit == now.commit) && (then.pinned == now.pinned),
        "--resume {named}: it was measured by another build of loadgen, or on other cores; begin anew"
    );
    Ok(comparison)
}

impl Report {
    /// Renders again.
    pub fn run(&self) -> Result<Exit> {
        let data = data_file(&self.result)?;
        let comparison = load(&data)?;
        let path = folder_of(&data);
        let mut folder = Folder::of_result(&path)?;
        let written = report::render(&comparison).and_then(|files| folder.write(&files));
        if written.is_ok() {
            say_where(&path.join("comparison.html"));
        }
        let printed = console::print(&table(&comparison, self.verbose));
        Ok(written.and(printed).map_or_else(failed, |()| Exit::Done))
    }
}

/// Prints the JSON Schema of comparison.json.
pub fn schema() -> Result<Exit> {
    let text = serde_json::to_string_pretty(&Comparison::json_schema())? + "\n";
    Ok(console::print(&text).map_or_else(failed, |()| Exit::Done))
}

async fn execute(
    mut comparison: Comparison,
    limits: Limits,
    target: &TargetFlags,
    output: &Output,
    claim: impl FnOnce(usize) -> Result<Option<Folder>>,
) -> Result<Exit> {
    capacity::check(&comparison.scenario, Capacity::here())?;
    check_disturbance(&comparison, target)?;
    // There are none where it is gone on with: it has its own.
    let flags = &target.server_flags.0;
    comparison.server_flags.extend_from_slice(flags);
    let stock = comparison
        .variants
        .iter()
        .find(|variant| variant.mode.properties().is_stock);
    if let (Some(stock), Some(url)) = (stock, &target.url) {
        anyhow::bail!(
            "--mode {stock}: its server is started for it, so it cannot be the one at --url {url}"
        );
    }
    look_at_proxy(&mut comparison)?;
    let server = target.running().await?;
    if let Some(target) = &server {
        comparison.target = Some(target.addr.to_string());
        comparison.environment.pinned.server.clear();
    }
    let folder = claim(comparison.planned())?;
    let progress = Progress::new(output.quiet);
    begins(&mut comparison, limits, &progress).await?;
    let mut plan = Plan {
        comparison,
        server,
        limits,
        folder,
        report: None,
    };
    let result = plan.run(&progress).await;
    progress.clear();
    let Plan {
        comparison, report, ..
    } = plan;
    let text = if output.json {
        serde_json::to_string_pretty(&comparison)? + "\n"
    } else if comparison.trials.is_empty() {
        String::new()
    } else {
        table(&comparison, output.verbose)
    };
    let printed = console::print(&text);
    if let Some(report) = report.filter(|_| !output.quiet) {
        say_where(&report);
    }
    let exit = [result, printed]
        .into_iter()
        .filter_map(Result::err)
        .map(failed)
        .last();
    Ok(exit.unwrap_or_else(|| {
        if comparison.has_failed() {
            Exit::Failed
        } else {
            Exit::Done
        }
    }))
}

/// Says what will be measured; a link is measured itself.
async fn begins(comparison: &mut Comparison, limits: Limits, progress: &Progress) -> Result<()> {
    progress.say(&format!("{}.", comparison.workload()));
    if let Some(link) = &comparison.scenario.link {
        let measured = signals::or_interrupted(client::calibrate(link)).await?;
        progress.say(&format!("The link, as measured: {measured}."));
        comparison.calibration = Some(measured);
    }
    progress.say(&match comparison.rounds {
        Some(_) => sets::forecast(comparison, limits),
        None => comparison.forecast(),
    });
    if let Some(proxy) = &comparison.proxy {
        let lines = proxy.configuration.join("\n    ");
        progress.say(&format!("Through {}\n    {lines}", proxy.sentence()));
    }
    comparison
        .cautions()
        .into_iter()
        .for_each(|caution| progress.say(caution));
    Ok(())
}

/// Refuses what is done to a server or at a time that is not there.
fn check_disturbance(comparison: &Comparison, target: &TargetFlags) -> Result<()> {
    let Disturbance {
        storm,
        server_restart,
        ..
    } = comparison.scenario.disturbance;
    let length = comparison.scenario.duration();
    for (flag, at) in [
        ("--storm", storm.map(|storm| storm.at_seconds)),
        (
            "--server-restart",
            server_restart.map(|restart| restart.at_seconds),
        ),
    ] {
        anyhow::ensure!(
            at.is_none_or(|at| at < length.as_secs_f64()),
            "{flag}: its time must be within the measuring window of {}; raise --duration",
            humantime::format_duration(length)
        );
    }
    let stock = |variant: &&Variant| variant.mode.properties().is_stock;
    match (
        server_restart,
        comparison.variants.iter().find(stock),
        &target.url,
    ) {
        (Some(_), Some(stock), _) => {
            anyhow::bail!(
                "--server-restart: the server of {stock} cannot be started on a port that is known"
            )
        }
        (Some(_), _, Some(url)) => {
            anyhow::bail!("--server-restart: the server at {url} was not started by loadgen")
        }
        _ => Ok(()),
    }
}

/// Notes the proxy that rows go through, if any do: one that is gone on with has the same.
fn look_at_proxy(comparison: &mut Comparison) -> Result<()> {
    let Some(proxy) = comparison.variants.iter().find_map(|variant| variant.via) else {
        return Ok(());
    };
    let now = via::look(proxy, &comparison.scenario, Capacity::here())?;
    if let Some(then) = &comparison.proxy {
        anyhow::ensure!(
            *then == now,
            "--resume: it was measured through {proxy} {}, this one is {}, or is configured otherwise; begin anew",
            then.version,
            now.version
        );
    }
    comparison.proxy = Some(now);
    Ok(())
}

/// What standard output shows of a comparison.
fn table(comparison: &Comparison, all: bool) -> String {
    console::visible(&markdown::terminal(
        comparison,
        Shown {
            all,
            width: console::columns(),
        },
    ))
}

fn say_where(report: &Path) {
    console::say(&format!("The report is in {}", shell::path(report)));
}

/// Something went wrong that no better command would have avoided.
#[expect(
    clippy::needless_pass_by_value,
    reason = "where it is called, the error has no other owner"
)]
fn failed(error: anyhow::Error) -> Exit {
    console::say(&format!("loadgen: {error:#}"));
    Exit::Failed
}

/// The command line as a person would type it, but for the values of headers: they may be secrets.
fn command() -> String {
    let (mut words, mut is_header) = (vec!["loadgen".to_owned()], false);
    for word in std::env::args_os().skip(1) {
        let text = word.to_string_lossy();
        let header = text
            .strip_prefix("--header=")
            .or(is_header.then_some(&text));
        let name = header.map(|header| header.split(':').next().unwrap_or_default());
        words.push(match name {
            Some(name) if is_header => shell::quote(format!("{name}: ...").as_ref()),
            Some(name) => shell::quote(format!("--header={name}: ...").as_ref()),
            None => shell::quote(&word),
        });
        is_header = !is_header && text == "--header";
    }
    words.join(" ")
}
