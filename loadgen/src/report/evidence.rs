//! The tables behind the figures: rows against the baseline, theory beside measurement, every gate, every trial.

use super::summary::Summary;
use super::table::{Cell, NONE, Row, Table, heads, messages_needed, number};
use crate::comparison::{Comparison, Trial};
use crate::judge::statistics::{Effect, Figure, Ratio, baseline, resolution};
use crate::judge::theory::{self, Check};
use crate::judge::verdict::{Gate, Kind};

/// All of them that have something to show.
pub fn tables(comparison: &Comparison) -> Vec<Table> {
    let summaries = &Summary::of(comparison);
    let all = [against(comparison), theory(comparison, summaries), gates(comparison, summaries), trials(comparison)];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// The ratios of the blocks, and what may be said of them; nothing of a single block.
pub fn against(comparison: &Comparison) -> Table {
    let base = baseline(&comparison.lanes).map(|lane| lane.to_string()).unwrap_or_default();
    let mut columns: Vec<_> =
        comparison.lanes.iter().filter(|lane| lane.to_string() != base).map(|&lane| (lane, false)).collect();
    columns.extend(baseline(&comparison.lanes).filter(|_| comparison.twins).map(|lane| (lane, true)));
    let mut valid = comparison.trials.iter().filter(|trial| trial.verdict.kind == Kind::Valid);
    let tail = valid.all(has_tail);
    let cell = |lane, twin, figure| {
        let is_it = |e: &&Effect| e.lane == lane && e.twin == twin && e.figure == figure;
        let effect = comparison.effects.iter().find(is_it);
        effect.map_or(NONE.to_owned().into(), |effect| Cell {
            believable: tail || figure != Figure::P99,
            ..ratio(effect, comparison.blocks)
        })
    };
    let rows = Figure::ALL.iter().filter(|_| comparison.blocks > 1 && !columns.is_empty());
    let rows = rows.map(|&figure| Row {
        name: figure.to_string(),
        cells: columns.iter().map(|&(lane, twin)| cell(lane, twin, figure)).collect(),
    });
    let seen = |figure| Some(format!("{:.0} % in {figure}", 100.0 * (resolution(comparison, figure)? - 1.0)));
    let seen: Vec<String> = [Figure::P50, Figure::Cpu].into_iter().filter_map(seen).collect();
    let has_interval = comparison.effects.iter().any(|effect| effect.ratio.interval.is_some());
    let mut foot = if comparison.effects.is_empty() {
        "No block has two valid trials that could be compared."
    } else if has_interval {
        "The median of the blocks' ratios, and where it lies with 95 % confidence or more. A word stands only where it was \
            decided beforehand that one would (latency p50, server CPU): if all of the interval is beyond 5 %, and apart from \
            the twin's; over loopback CPU of polls and streams only beyond 1.5."
    } else {
        "The median of the blocks' ratios, and in how many blocks it was so. These are too few for an interval, and so for a \
            claim: --standard has ten, and a twin in each."
    }
    .to_owned();
    if !tail {
        foot += " The p99 is not to be leaned on: too few messages stand behind it in a single trial.";
    }
    if !seen.is_empty() {
        foot += &format!(
            " By the twins, a difference of {} would have been seen in four of five such comparisons.",
            seen.join(" and ")
        );
    }
    let head = columns.iter().map(|(lane, twin)| if *twin { format!("{lane}, its twin") } else { lane.to_string() });
    Table { title: format!("Against {base}, block by block"), head: head.collect(), rows: rows.collect(), foot }
}

fn ratio(effect: &Effect, blocks: usize) -> Cell {
    let word = match effect.word() {
        "" => String::new(),
        word => format!(", {word}"),
    };
    let Ratio { blocks: n, higher, median, interval } = effect.ratio;
    let spread = match interval {
        Some((low, high)) if n == blocks => format!("{} to {}", number(low), number(high)),
        Some((low, high)) => format!("{} to {}, {n} blocks", number(low), number(high)),
        None if median > 1.0 => format!("higher in {higher} of {n}"),
        None => format!("lower in {} of {n}", n.saturating_sub(higher)),
    };
    format!("{} ({spread}){word}", number(median)).into()
}

/// Whether there are enough messages in a trial for its own p99.
fn has_tail(trial: &Trial) -> bool {
    trial.outcome.publishing.acked >= messages_needed(0.99)
}

fn theory(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let all: Vec<Vec<Check>> = summaries.iter().map(|s| theory::checks(&s.outcome, &comparison.scenario)).collect();
    let mut names: Vec<&str> = Vec::new();
    for check in all.iter().flatten() {
        if !names.contains(&check.what) {
            names.push(check.what);
        }
    }
    let cell = |checks: &Vec<Check>, summary: &Summary, name: &str| match checks.iter().find(|check| check.what == name)
    {
        Some(check) => Cell {
            text: format!(
                "{}; {}{}",
                number(check.measured),
                number(check.predicted),
                match check.holds() {
                    Some(true) => " ✓",
                    Some(false) => " differ",
                    None => "",
                }
            ),
            believable: summary.is_valid(),
            best: false,
        },
        None => NONE.to_owned().into(),
    };
    let row = |name: &&str| Row {
        name: (*name).to_owned(),
        cells: all.iter().zip(summaries).map(|(checks, summary)| cell(checks, summary, name)).collect(),
    };
    let foot = "Each cell: measured; predicted. Where theory is near-exact, both agree (✓) or it says that they differ: \
        requests/s and bytes within 1 %, empty answers within half a point, KS of short polls within 0.05. A short poll's \
        latency is the publish path and one request, as measured, and a wait U(0, T); where the server sends, the i-th \
        subscriber waits i times the CPU of a delivery. That is a bound, shown without a tolerance: the publish path is \
        measured to its ack, which comes back after the first deliveries have left, and the CPU of a delivery has that of \
        publishing in it; so what is measured lies below. Agreement with theory validates the clockwork of loadgen, not \
        your network.";
    Table {
        title: "Theory beside measurement".into(),
        head: heads(summaries),
        rows: names.iter().map(row).collect(),
        foot: foot.into(),
    }
}

/// Every gate with the worst figure of all trials of a row.
fn gates(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let of = |summary: &Summary| -> Vec<&Gate> {
        let trials = comparison.trials.iter().filter(|trial| trial.outcome.lane == summary.lane);
        trials.flat_map(|trial| &trial.verdict.gates).collect()
    };
    let all: Vec<Vec<&Gate>> = summaries.iter().map(of).collect();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for gate in all.iter().flatten() {
        if !names.contains(&(&gate.name, &gate.unit)) {
            names.push((&gate.name, &gate.unit));
        }
    }
    let over = |gate: &&&Gate| gate.measured - gate.limit;
    let cell = |gates: &Vec<&Gate>, name: &str| {
        let worst = gates.iter().filter(|gate| gate.name == name).max_by(|a, b| over(a).total_cmp(&over(b)));
        worst.map_or(NONE.to_owned().into(), |gate| Cell {
            text: format!("{} of {}", number(gate.measured), number(gate.limit)),
            believable: gate.holds(),
            best: false,
        })
    };
    let row = |(name, unit): &(&str, &str)| Row {
        name: format!("{name}, {unit}"),
        cells: all.iter().map(|gates| cell(gates, name)).collect(),
    };
    let foot = "The worst trial of each row, of what is the most it may be. \"Arrived but not yet read\" is loadgen's own \
        part of the latency, from the kernel's stamp on the last segment of a read to that read, at 64 subscribers: up to \
        10 % of the p99 or 1 ms, whichever is more, so beside a p99 of about 1 ms it stands in the first table too. \
        \"Lateness\" is that of a ticker of 10 ms on each of loadgen's threads: its timer counts whole milliseconds, so 2 ms \
        are calm; no latency has it in it, for arrivals are stamped when they are read, and publishes leave by another clock.";
    Table {
        title: "May it be believed? Every gate".into(),
        head: heads(summaries),
        rows: names.iter().map(row).collect(),
        foot: foot.into(),
    }
}

/// Every trial with its verdict, in the order in which they ran.
fn trials(comparison: &Comparison) -> Table {
    let row = |(i, trial): (usize, &Trial)| {
        let Trial { block, twin, outcome, verdict, .. } = trial;
        let figure = |figure: Figure| Cell {
            text: figure.of(outcome).map_or(NONE.into(), number),
            believable: verdict.kind == Kind::Valid && (figure != Figure::P99 || has_tail(trial)),
            best: false,
        };
        let why = verdict.failed().filter(|_| verdict.kind != Kind::Valid).map(|gate| format!(" ({})", gate.name));
        Row {
            name: format!("{}. block {block}, {}{}", i + 1, outcome.lane, if *twin { ", twin" } else { "" }),
            cells: vec![
                figure(Figure::P50),
                figure(Figure::P99),
                figure(Figure::Cpu),
                format!("{}{}", verdict.kind, why.unwrap_or_default()).into(),
            ],
        }
    };
    let head = ["p50, ms", "p99, ms", "server CPU, µs", "verdict"].map(String::from).to_vec();
    let rows = comparison.trials.iter().enumerate().map(row).collect();
    Table { title: "Every trial".into(), head, rows, foot: String::new() }
}
