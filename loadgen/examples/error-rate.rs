//! How often comparisons are wrong, and what they find: measured on this machine, set by set, and kept in a file.
//!
//!     cargo run --release -p loadgen --example error-rate -- alike FILE [--sets N] [--disturbed]
//!     cargo run --release -p loadgen --example error-rate -- costly FILE [--sets N] [--disturbed]
//!     cargo run --release -p loadgen --example error-rate -- gain FILE [--sets N] [--disturbed]
//!     cargo run --release -p loadgen --example error-rate -- crowding FILE [--sets N] [--disturbed]
//!     cargo run --release -p loadgen --example error-rate -- table FILE
//!     cargo run --release -p loadgen --example error-rate -- decided FILE [RESULT]
//!
//! `alike` measures sets of six servers that are the same: whatever is told apart there is a false word. They are two disjoint
//! comparisons of a row, a baseline and a control. `costly` measures sets of the server as it is, its control, and two that burn
//! CPU in each delivery, 20 % and 50 % of what a delivery costs (measured first). `gain` measures in turns a set of two servers that
//! are the same and a block of two whole trials: how far each lies apart, and how long it took; `crowding` a set of two alone and one beside all other transports. All append to the file, and go on
//! where it ends. `--disturbed` runs a neighbour beside them: bursts of 10 ms to 2 s on every core, and a level between 0 and 30 % that is
//! drawn anew every 30 to 120 s. `table` makes comparisons of what is in the file, by the rule that `compare` has, looked at
//! after every set: a quick one is eight sets, a long one thirty. `decided` appends which words a comparison has, and prints how
//! many of those in the file have each (`loadgen/tests/decides.sh` makes them).

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use loadgen::clock::{nanos, now};
use loadgen::comparison::load;
use loadgen::console;
use loadgen::cores;
use loadgen::judge::statistics::{Against, judge, ratio_of};
use loadgen::load::trial::Setting;
use loadgen::measure::meter::{self, Meter};
use loadgen::plan::against_own_server;
use loadgen::plan::sets::{Row, Set, run_rows};
use loadgen::progress::Progress;
use loadgen::result::comparison::Trial;
use loadgen::result::effect::{Difference, Figure, NEGLIGIBLE};
use loadgen::result::environment::Cores;
use loadgen::result::outcome::Outcome;
use loadgen::result::scenario::Scenario;
use loadgen::result::variant::Transport;

/// Rounds of a set, as `compare` has them.
const ROUNDS: usize = 2;
/// Sets of a quick comparison, and of a long one.
const QUICK: usize = 8;
const LONG: usize = 30;
/// So often the servers that are alike are given other parts, set by set.
const PERMUTATIONS: usize = 2000;
/// Servers that are alike, in a set.
const ALIKE: usize = 6;
/// What each server of a costly set burns, in percent of what a delivery costs.
const BURNT: [u64; 4] = [0, 0, 20, 50];
/// The rows of a crowded set: the same server twice, beside all others.
const CROWD: [Transport; 6] = {
    use Transport::{LongPoll, ShortPoll, Sse, Ws, WsStock};
    [Ws, Ws, LongPoll, ShortPoll, Sse, WsStock]
};
const HEAD: &str = "kind,condition,set,server,latency_p50_ms,server_cpu_us,seconds\n";

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Wish,
}

#[derive(Subcommand)]
enum Wish {
    /// Measure servers that are the same.
    Alike(Measured),
    /// Measure servers that cost more.
    Costly(Measured),
    /// Measure the same server twice, in sets and in blocks of whole trials.
    Gain(Measured),
    /// Measure the same server twice, alone and beside all others.
    Crowding(Measured),
    /// What the comparisons of a file say.
    Table { file: String },
    /// Which words comparisons have: of one more, if there is one, and of all in the file.
    Decided {
        file: String,
        result: Option<PathBuf>,
    },
    /// The neighbour, until standard input ends.
    Disturb,
    /// The server, started by the sets.
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        config: Box<server::Config>,
        #[command(flatten)]
        options: server::Options,
    },
    /// The hiccup meter, started by the sets.
    #[command(hide = true)]
    Meter { cores: Vec<usize> },
}

#[derive(clap::Args)]
struct Measured {
    /// What was measured is appended to it.
    file: String,
    /// So many sets in all, those in the file included.
    #[arg(long, default_value_t = 400)]
    sets: usize,
    /// Beside a neighbour.
    #[arg(long)]
    disturbed: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Wish::Serve { config, options } => return server::run(*config, &options),
        Wish::Meter { cores } => meter::run(&cores),
        Wish::Disturb => disturb(),
        Wish::Alike(wish) => loadgen::block_on(measure("alike", wish)),
        Wish::Costly(wish) => loadgen::block_on(measure("costly", wish)),
        Wish::Gain(wish) => loadgen::block_on(measure("gain", wish)),
        Wish::Crowding(wish) => loadgen::block_on(measure("crowding", wish)),
        Wish::Table { file } => table(&file),
        Wish::Decided { file, result } => decided(&file, result.as_deref()),
    };
    let code = done.map_or_else(
        |error| {
            console::say(&format!("error-rate: {error:#}"));
            ExitCode::from(2)
        },
        |()| ExitCode::SUCCESS,
    );
    console::flush();
    code
}

/// Runs sets, and appends what each of its servers took.
async fn measure(kind: &str, wish: Measured) -> Result<()> {
    let Measured {
        file,
        sets,
        disturbed,
    } = wish;
    let condition = if disturbed { "disturbed" } else { "calm" };
    let cores = cores::split();
    let _neighbour = disturbed.then(Neighbour::start).transpose()?;
    cores::pin(&cores.loadgen);
    let (progress, mut meter) = (Progress::new(true), Meter::start(&cores.used())?);
    let mut set = Set {
        number: 1,
        cores: &cores,
        progress: &progress,
        meter: Some(&mut meter),
    };
    let done = read(&file)?
        .get(&(kind.to_owned(), condition.to_owned()))
        .map_or(0, Vec::len);
    let burnt = match kind {
        "alike" => vec![0; ALIKE],
        "costly" => BURNT.to_vec(),
        _ => vec![0; 2],
    };
    let cost = if kind == "costly" {
        cost(&mut set).await?
    } else {
        0.0
    };
    // After a set that was torn by an early end, too.
    let mut number = last(&file)?;
    for _ in done..sets {
        number += 1;
        let rows = burnt
            .iter()
            .map(|percent| row(Transport::Ws, cost * *percent as f64 / 100.0));
        let Some(mut all) = values(&mut set, rows.collect()).await? else {
            return Ok(());
        };
        match kind {
            "gain" => all.extend(block(&cores, &progress).await?),
            "crowding" => {
                let rows = CROWD.map(|mode| row(mode, 0.0)).into();
                let Some(crowded) = values(&mut set, rows).await? else {
                    return Ok(());
                };
                all.extend(&crowded[..2]);
            }
            _ => {}
        }
        let line = |(server, [p50, cpu, seconds]): (usize, &[f64; 3])| {
            format!("{kind},{condition},{number},{server},{p50:.4},{cpu:.3},{seconds:.1}\n")
        };
        let lines: String = all.iter().enumerate().map(line).collect();
        let is_new = !fs::exists(&file)?;
        let mut out = OpenOptions::new().append(true).create(true).open(&file)?;
        out.write_all(format!("{}{lines}", if is_new { HEAD } else { "" }).as_bytes())?;
        console::say(&format!("{kind}, {condition}: set {number}, {sets} in all"));
    }
    Ok(())
}

/// A server that burns so many microseconds in each delivery.
fn row(mode: Transport, burn_us: f64) -> Row {
    let flags = [String::from("--burn"), format!("{:.0}ns", burn_us * 1e3)];
    Row {
        variant: mode.into(),
        control: false,
        flags: flags.into_iter().filter(|_| burn_us > 0.0).collect(),
    }
}

/// What each row of a set took.
async fn values(set: &mut Set<'_>, rows: Vec<Row>) -> Result<Option<Values>> {
    // Another schedule each time, whatever the file had when this began.
    let scenario = Scenario::parse(&format!(
        "--duration 2s --seed {}",
        fastrand::u64(..1 << 40)
    ))?;
    let scenario = Scenario {
        warmup: None,
        ..scenario
    };
    let began = Instant::now();
    let Some(trials) = run_rows(&scenario, rows, ROUNDS, false, set).await? else {
        return Ok(None);
    };
    let seconds = began.elapsed().as_secs_f64();
    let of = |trial: &Trial| value(&trial.outcome, seconds);
    trials.iter().map(of).collect::<Result<_>>().map(Some)
}

fn value(outcome: &Outcome, seconds: f64) -> Result<[f64; 3]> {
    let figure = |figure: Figure| {
        figure
            .of(outcome)
            .with_context(|| format!("no {figure}: {:?}", outcome.end))
    };
    Ok([figure(Figure::P50)?, figure(Figure::Cpu)?, seconds])
}

/// A block of two whole trials of the same server, as `compare --whole-trials` has them.
async fn block(cores: &Cores, progress: &Progress) -> Result<Values> {
    let (began, mut outcomes) = (Instant::now(), Vec::new());
    // The same for all trials of a block.
    let seed = fastrand::u64(..1 << 40);
    for _ in 0..2 {
        let scenario = Scenario::parse(&format!("--duration 5s --seed {seed}"))?;
        let setting = Setting::alone(&scenario, cores, progress);
        outcomes.push(
            against_own_server(Transport::Ws.into(), &setting, &[])
                .await?
                .0,
        );
    }
    let seconds = began.elapsed().as_secs_f64();
    outcomes
        .iter()
        .map(|outcome| value(outcome, seconds))
        .collect()
}

/// What a delivery costs, in microseconds.
async fn cost(set: &mut Set<'_>) -> Result<f64> {
    let values = values(set, vec![row(Transport::Ws, 0.0); 3])
        .await?
        .context("it was interrupted")?;
    let cost =
        ratio_of(values.iter().map(|value| value[1]).collect()).context("nothing was measured")?;
    console::say(&format!("a delivery costs {:.2} us", cost.median));
    Ok(cost.median)
}

/// What the servers of a set took, each its median latency in ms, and its CPU per delivery in microseconds; and how many seconds
/// all of it did.
type Values = Vec<[f64; 3]>;
/// The sets by kind and condition.
type Sets = BTreeMap<(String, String), Vec<Values>>;

fn read(file: &str) -> Result<Sets> {
    let mut all: BTreeMap<(String, String), BTreeMap<usize, Values>> = BTreeMap::new();
    let text = text_of(file)?;
    for line in text.lines().skip(1) {
        let [kind, condition, set, _, p50, cpu, seconds] = line.split(',').collect::<Vec<_>>()[..]
        else {
            bail!("{file}: what is {line:?}?")
        };
        let sets = all.entry((kind.into(), condition.into())).or_default();
        let values = [p50.parse()?, cpu.parse()?, seconds.parse()?];
        sets.entry(set.parse()?).or_default().push(values);
    }
    // Two in a set, and two in a block: as many as the others.
    let whole = |kind: &str| if kind == "alike" { ALIKE } else { BURNT.len() };
    let sets = all.into_iter().map(|((kind, condition), sets)| {
        let servers = whole(&kind);
        let sets = sets
            .into_values()
            .filter(|set| set.len() == servers)
            .collect();
        ((kind, condition), sets)
    });
    Ok(sets.collect())
}

/// What a file has; nothing if there is none yet.
fn text_of(file: &str) -> Result<String> {
    Ok(if fs::exists(file)? {
        fs::read_to_string(file)?
    } else {
        String::new()
    })
}

/// The highest number that any set of the file has.
fn last(file: &str) -> Result<usize> {
    let text = text_of(file)?;
    let number = |line: &str| line.split(',').nth(2)?.parse().ok();
    Ok(text.lines().filter_map(number).max().unwrap_or(0))
}

const DECIDED: &str = "run,sets,row,figure,word,beyond,of,ratio,from,to\n";

/// Appends what a comparison says of its rows, and prints of how many in the file it is decided.
fn decided(file: &str, result: Option<&Path>) -> Result<()> {
    let mut text = text_of(file)?;
    if text.is_empty() {
        text += DECIDED;
    }
    if let Some(result) = result {
        let comparison = load(result)?;
        let run = text
            .lines()
            .last()
            .and_then(|line| line.split(',').next()?.parse().ok());
        let (run, sets) = (run.unwrap_or(0) + 1, comparison.blocks);
        for effect in comparison
            .effects
            .iter()
            .filter(|effect| effect.figure.is_judged())
        {
            let (row, figure, ratio) = (effect.variant, effect.figure, &effect.ratio);
            let row = if effect.control {
                "control".into()
            } else {
                row.to_string()
            };
            let (from, to) = ratio.interval.unwrap_or((f64::NAN, f64::NAN));
            let (beyond, of, median) = (ratio.beyond, ratio.blocks, ratio.median);
            let word = if effect.control { "-" } else { effect.word() }.replace(',', ";");
            text += &format!(
                "{run},{sets},{row},{figure},{word},{beyond},{of},{median:.3},{from:.3},{to:.3}\n"
            );
        }
        fs::write(file, &text)?;
    }
    let mut words: BTreeMap<(&str, &str), BTreeMap<&str, usize>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let [_, _, row, figure, word, ..] = line.split(',').collect::<Vec<_>>()[..] else {
            bail!("{file}: what is {line:?}?")
        };
        let of_row = words.entry((row, figure)).or_default();
        *of_row
            .entry(if word.is_empty() { "no word" } else { word })
            .or_default() += 1;
    }
    for ((row, figure), words) in words.iter().filter(|((row, _), _)| *row != "control") {
        let words: Vec<String> = words
            .iter()
            .map(|(word, n)| format!("{word}: {n}"))
            .collect();
        console::print(&format!("| {row} | {figure} | {} |\n", words.join("; ")))?;
    }
    Ok(())
}

/// Whether a comparison of these sets is decided, looked at after every one from the eighth on: each set has the row, the
/// baseline and the control.
fn called(sets: &[[f64; 3]]) -> Option<Difference> {
    (QUICK..=sets.len()).find_map(|n| {
        let sets = &sets[..n];
        let control = ratio_of(sets.iter().map(|set| set[2] / set[1]).collect())?;
        let difference = judge(&Against::of(sets)?, &control, NEGLIGIBLE);
        matches!(difference, Difference::Lower | Difference::Higher).then_some(difference)
    })
}

/// With 95 % confidence, no more than this share is found in the long run: exact, from the binomial distribution.
fn upper(found: usize, of: usize) -> f64 {
    let tail = |p: f64| {
        let mut term = (1.0 - p).powi(of as i32);
        let mut sum = term;
        for k in 0..found {
            term *= (of - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        *(if tail(middle) > 0.05 {
            &mut low
        } else {
            &mut high
        }) = middle;
    }
    high
}

fn table(file: &str) -> Result<()> {
    let all = read(file)?;
    if all.is_empty() {
        bail!("{file} has no sets");
    }
    console::print(
        "| | sets in each | comparisons | called different | 95 % confidence |\n|---|---|---|---|---|\n",
    )?;
    for ((kind, condition), sets) in &all {
        let lines = match kind.as_str() {
            "alike" => of_alike(sets),
            "costly" => of_costly(sets),
            _ => continue,
        };
        for Line {
            what,
            size,
            found,
            of,
            is_false,
        } in lines
        {
            let bound = match (of, is_false) {
                (0, _) => "-".into(),
                // Of the same sets again and again: no independent looks.
                (PERMUTATIONS, _) => "-".into(),
                (_, true) => format!("at most {:.1} %", 100.0 * upper(found, of)),
                (_, false) => format!("at least {:.0} %", 100.0 * (1.0 - upper(of - found, of))),
            };
            console::print(&format!(
                "| {what}, {condition} | {size} | {of} | {found} | {bound} |\n"
            ))?;
        }
    }
    for ((_, condition), pairs) in all.iter().filter(|((kind, _), _)| kind == "crowding") {
        for (f, figure) in FIGURES.iter().enumerate() {
            let (ratio, low, high) = drawn(pairs, |pairs| {
                let log =
                    |pair: &&Values| (pair[2][f] * pair[3][f] / pair[0][f] / pair[1][f]).ln() / 2.0;
                (pairs.iter().map(log).sum::<f64>() / pairs.len() as f64).exp()
            });
            console::print(&format!(
                "\n{figure}, {condition}: beside all others it is {ratio:.3} times what it is alone ({low:.3} to {high:.3}, {} pairs of sets)\n",
                pairs.len()
            ))?;
        }
    }
    for ((_, condition), pairs) in all.iter().filter(|((kind, _), _)| kind == "gain") {
        for (f, figure) in FIGURES.iter().enumerate() {
            let (gain, low, high) = gain(pairs, f);
            console::print(&format!(
                "\n{figure}, {condition}: variance times machine time of blocks is {gain:.1} times that of sets ({low:.1} to {high:.1}, {} \
                 of each)\n",
                pairs.len()
            ))?;
        }
    }
    Ok(())
}

/// How many times the variance of the same server against itself, times the time that it takes, is larger in blocks of whole
/// trials than in sets; and where that lies with 95 % confidence, by drawing the pairs anew.
fn gain(pairs: &[Values], f: usize) -> (f64, f64, f64) {
    let of = |pairs: &[&Values]| {
        let product = |from: usize| {
            let n = pairs.len() as f64;
            let squares = pairs
                .iter()
                .map(|pair| (pair[from][f] / pair[from + 1][f]).ln().powi(2));
            let seconds = pairs.iter().map(|pair| pair[from][2]);
            squares.sum::<f64>() / n * (seconds.sum::<f64>() / n)
        };
        product(2) / product(0)
    };
    drawn(pairs, of)
}

/// A figure of all pairs, and where it lies with 95 % confidence, by drawing them anew.
fn drawn(pairs: &[Values], of: impl Fn(&[&Values]) -> f64) -> (f64, f64, f64) {
    let mut random = fastrand::Rng::with_seed(1);
    let drawn = (0..PERMUTATIONS).map(|_| {
        let pair = |_| &pairs[random.usize(..pairs.len())];
        of(&(0..pairs.len()).map(pair).collect::<Vec<_>>())
    });
    let mut drawn: Vec<f64> = drawn.collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| drawn[(share * PERMUTATIONS as f64) as usize];
    (of(&pairs.iter().collect::<Vec<_>>()), at(0.025), at(0.975))
}

/// A line of the table: so many of the comparisons were called different, falsely or rightly.
struct Line {
    what: String,
    size: usize,
    found: usize,
    of: usize,
    is_false: bool,
}

const FIGURES: [&str; 2] = ["latency p50", "server CPU"];

/// False words of disjoint comparisons of servers that are alike; and of all the others that the same sets allow.
fn of_alike(sets: &[Values]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut random = fastrand::Rng::with_seed(1);
    for (f, figure) in FIGURES.iter().enumerate() {
        for size in [QUICK, LONG] {
            let triples = sets.chunks_exact(size).flat_map(|sets| {
                let of = |from: usize| -> Vec<[f64; 3]> {
                    sets.iter()
                        .map(|set| [set[from][f], set[from + 1][f], set[from + 2][f]])
                        .collect()
                };
                [of(0), of(3)]
            });
            let called: Vec<bool> = triples.map(|sets| called(&sets).is_some()).collect();
            lines.push(Line {
                what: format!("the same server, {figure}"),
                size,
                found: called.iter().filter(|called| **called).count(),
                of: called.len(),
                is_false: true,
            });
        }
        if sets.len() < QUICK {
            continue;
        }
        let permuted = (0..PERMUTATIONS).filter(|_| {
            let from = random.usize(..=sets.len() - QUICK);
            let sets = sets[from..from + QUICK].iter().map(|set| {
                let mut servers: Vec<usize> = (0..ALIKE).collect();
                random.shuffle(&mut servers);
                [set[servers[0]][f], set[servers[1]][f], set[servers[2]][f]]
            });
            called(&sets.collect::<Vec<_>>()).is_some()
        });
        lines.push(Line {
            what: format!("the same server, {figure}, parts drawn anew"),
            size: QUICK,
            found: permuted.count(),
            of: PERMUTATIONS,
            is_false: true,
        });
    }
    lines
}

/// What is found of servers that cost more.
fn of_costly(sets: &[Values]) -> Vec<Line> {
    let line = |(server, size): (usize, usize)| {
        let comparison = |sets: &[Values]| -> Vec<[f64; 3]> {
            sets.iter()
                .map(|set| [set[server][1], set[0][1], set[1][1]])
                .collect()
        };
        let all = sets
            .chunks_exact(size)
            .map(|sets| called(&comparison(sets)));
        let called: Vec<bool> = all
            .map(|called| called == Some(Difference::Higher))
            .collect();
        Line {
            what: format!("{} % more CPU", BURNT[server]),
            size,
            found: called.iter().filter(|called| **called).count(),
            of: called.len(),
            is_false: false,
        }
    };
    [(3, QUICK), (2, QUICK), (2, LONG)].map(line).into()
}

/// The neighbour's own process.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("disturb").stdin(Stdio::piped());
        Ok(Self(command.spawn().context("cannot start the neighbour")?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes time of every core, until standard input ends.
fn disturb() -> Result<()> {
    for core in cores::available() {
        thread::spawn(move || disturb_core(core));
    }
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

/// A level that is drawn anew now and then, in periods of 10 ms, and bursts.
fn disturb_core(core: usize) -> ! {
    const PERIOD: Duration = Duration::from_millis(10);
    cores::pin(&[core]);
    let mut random = fastrand::Rng::new();
    let second = |seconds: f64| nanos(Duration::from_secs_f64(seconds));
    let (mut level, mut redrawn, mut burst) = (0.0, 0, now() + second(1.0));
    let spin = |until: u64| {
        while now() < until {
            std::hint::spin_loop();
        }
    };
    loop {
        if now() >= redrawn {
            level = 0.3 * random.f64();
            redrawn = now() + second(30.0 + 90.0 * random.f64());
        }
        if now() >= burst {
            // From 10 ms to 2 s, each length as likely as one twice as long.
            spin(now() + second(0.01 * 200_f64.powf(random.f64())));
            burst = now() + second(-5.0 * (1.0 - random.f64()).ln());
        }
        spin(now() + second(level * PERIOD.as_secs_f64()));
        thread::sleep(PERIOD.mul_f64(1.0 - level));
    }
}
