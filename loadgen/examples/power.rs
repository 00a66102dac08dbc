//! Which differences a comparison finds: trials are recorded once, comparisons are drawn from them.
//!
//!     cargo run --release -p loadgen --example power -- record FILE [BLOCKS] [SECONDS]   (about 4 x (SECONDS + 5) s a block)
//!     cargo run --release -p loadgen --example power -- resample FILE
//!
//! A block is four ws trials in random order: the server as it is, its A/A control, and two servers that burn CPU in each
//! delivery, 20 % and 50 % of what a delivery costs (measured first); a trial that is not valid is run once more. A
//! comparison of B blocks is B of the recorded blocks, drawn with replacement, and its controls are those of B others; its
//! statement is the one that `compare` makes. Found is what is said to take more CPU.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use loadgen::console;
use loadgen::cores;
use loadgen::judge::statistics::{Against, judge, ratio_of};
use loadgen::judge::verdict;
use loadgen::load::trial::Setting;
use loadgen::plan::against_own_server;
use loadgen::progress::Progress;
use loadgen::result::effect::{Difference, Figure, NEGLIGIBLE};
use loadgen::result::environment::Cores;
use loadgen::result::scenario::Scenario;
use loadgen::result::variant::Transport;
use loadgen::result::verdict::Guard;

use clap::Parser;

#[derive(Parser)]
enum Command {
    /// Run the trials and keep their CPU per delivery.
    Record {
        file: String,
        #[arg(default_value_t = 30)]
        blocks: usize,
        #[arg(default_value_t = 10)]
        seconds: u64,
    },
    /// Draw comparisons from the recorded trials.
    Resample { file: String },
    /// The server, started by the trials.
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        config: Box<server::Config>,
        #[command(flatten)]
        options: server::Options,
    },
}

const ROWS: [&str; 4] = ["as it is", "its control", "20 % more CPU", "50 % more CPU"];

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Serve { config, options } => return server::run(*config, &options),
        Command::Record {
            file,
            blocks,
            seconds,
        } => loadgen::block_on(record(&file, blocks, seconds)),
        Command::Resample { file } => resample(&file),
    };
    let code = result.map_or_else(
        |error| {
            console::say(&format!("power: {error:#}"));
            ExitCode::from(2)
        },
        |()| ExitCode::SUCCESS,
    );
    console::flush();
    code
}

async fn cpu(scenario: &Scenario, cores: &Cores, burn_us: f64) -> Result<Option<f64>> {
    let progress = Progress::new(true);
    let flags = ["--burn".to_owned(), format!("{:.0}ns", burn_us * 1e3)];
    let setting = Setting {
        scenario,
        cores,
        progress: &progress,
        in_set: false,
        reads_memory: true,
        idle: Vec::new(),
    };
    let (outcome, _) = against_own_server(Transport::Ws.into(), &setting, &flags).await?;
    let stands = verdict::of(&outcome).stands(Guard::Cpu);
    Ok(Figure::Cpu.of(&outcome).filter(|_| stands))
}

async fn record(file: &str, blocks: usize, seconds: u64) -> Result<()> {
    let scenario = Scenario::parse(&format!("--warmup 2s --duration {seconds}s"))?;
    let cores = cores::split();
    cores::pin(&cores.loadgen);
    let mut costs = Vec::new();
    for _ in 0..3 {
        costs.extend(cpu(&scenario, &cores, 0.0).await?);
    }
    let cost = ratio_of(costs)
        .context("no valid trial of three: calm the machine")?
        .median;
    console::say(&format!("a delivery costs {cost:.2} us"));
    let mut lines = String::from("block,row,server_cpu_us\n");
    for block in 1..=blocks {
        let mut order = [0, 1, 2, 3];
        fastrand::shuffle(&mut order);
        for row in order {
            let burn = [0.0, 0.0, 0.2 * cost, 0.5 * cost][row];
            let value = match cpu(&scenario, &cores, burn).await? {
                None => cpu(&scenario, &cores, burn).await?,
                value => value,
            };
            let text = value.map_or("invalid".into(), |value| format!("{value:.4}"));
            console::say(&format!("block {block} of {blocks}, {}: {text}", ROWS[row]));
            lines += &format!("{block},{row},{text}\n");
        }
        fs::write(file, &lines)?;
    }
    Ok(())
}

/// The ratios of a row's trials to those of the server as it is, by block; only blocks in which all are valid.
fn ratios(file: &str) -> Result<Vec<[f64; 4]>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let mut blocks: std::collections::BTreeMap<usize, [Option<f64>; 4]> = Default::default();
    for line in text.lines().skip(1) {
        let [block, row, value] = line.split(',').collect::<Vec<_>>()[..] else {
            bail!("{file}: what is {line:?}?")
        };
        blocks.entry(block.parse()?).or_default()[row.parse::<usize>()?] = value.parse().ok();
    }
    let whole = |block: [Option<f64>; 4]| Some([block[0]?, block[1]?, block[2]?, block[3]?]);
    Ok(blocks
        .into_values()
        .filter_map(whole)
        .map(|block| block.map(|value| value / block[0]))
        .collect())
}

fn resample(file: &str) -> Result<()> {
    let blocks = ratios(file)?;
    if blocks.len() < 10 {
        bail!(
            "{file}: {} whole blocks; at least 10 are needed",
            blocks.len()
        );
    }
    console::print(&format!("{} whole blocks of valid trials\n", blocks.len()))?;
    for (row, name) in ROWS.iter().enumerate().skip(1) {
        let all = ratio_of(blocks.iter().map(|block| block[row]).collect()).context("no blocks")?;
        console::print(&format!(
            "{name}: CPU x {:.3}, {:?}\n",
            all.median, all.interval
        ))?;
    }
    let mut random = fastrand::Rng::with_seed(1);
    let mut found = |row: usize, control: usize, size: usize, times: usize| {
        let mut count = 0;
        for _ in 0..times {
            // Controls of other blocks than those that are judged, as if they had been run beside them.
            let mut one = |row: usize| blocks[random.usize(..blocks.len())][row];
            let sets: Vec<[f64; 3]> = (0..size).map(|_| [one(row), 1.0, one(control)]).collect();
            let again = ratio_of(sets.iter().map(|set| set[2]).collect());
            let judged = Against::of(&sets).zip(again);
            let judged = judged.map(|(against, again)| judge(&against, &again, NEGLIGIBLE));
            // Any difference between the control and it is a false one; a server that takes more CPU must be said to.
            count += usize::from(judged.is_some_and(|it| {
                it == Difference::Higher || (row == control && it == Difference::Lower)
            }));
        }
        count
    };
    for (row, size, times) in [
        (3, 10, 10),
        (3, 10, 1000),
        (2, 10, 1000),
        (2, 30, 10),
        (2, 30, 1000),
    ] {
        console::print(&format!(
            "{}, {size} blocks: found in {} of {times} comparisons\n",
            ROWS[row],
            found(row, 1, size, times)
        ))?;
    }
    for (size, times) in [(10, 40), (30, 40), (10, 1000), (30, 1000)] {
        let called = found(1, 1, size, times);
        console::print(&format!(
            "{}, {size} blocks: called a difference in {called} of {times} comparisons\n",
            ROWS[1]
        ))?;
    }
    Ok(())
}
