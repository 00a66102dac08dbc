//! The tables behind the figures: rows against the baseline, theory beside measurement, every gate, every trial.

use super::table::{Cell, NONE, Row, Table, heads, mark_missing};
use crate::result::comparison::{Comparison, Trial, row_name};
use crate::result::effect::{Effect, Figure, Ratio, Resolution};
use crate::result::known::Check;
use crate::result::metric::messages_needed;
use crate::result::summary::Summary;
use crate::result::variant::Lane;
use crate::result::verdict::{Gate, Kind};
use crate::result::words::number;

/// All of them that have something to show.
pub fn tables(comparison: &Comparison, summaries: &[Summary]) -> Vec<Table> {
    let all = [
        against(comparison, summaries),
        theory(comparison, summaries),
        gates(comparison, summaries),
        trials(comparison),
    ];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// The ratios of the blocks, and what may be said of them; nothing where no block has any.
pub fn against(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let base = comparison.baseline();
    let rows = comparison.lanes.iter().filter(|lane| Some(**lane) != base).map(|&lane| (lane, false));
    let control = base.filter(|_| comparison.twins).map(|lane| (lane, true));
    let has_figures =
        |(lane, twin): &(Lane, bool)| comparison.effects.iter().any(|e| e.lane == *lane && e.twin == *twin);
    let columns: Vec<_> = rows.chain(control).filter(has_figures).collect();
    let tail = comparison.trials.iter().filter(|trial| trial.verdict.kind == Kind::Valid).all(has_tail);
    let summary = |lane| summaries.iter().find(|summary| summary.lane == lane);
    let is_whole = |lane| summary(lane).is_none_or(Summary::is_whole);
    let cell = |lane, twin, figure| {
        comparison.effect(lane, twin, figure).map_or(NONE.to_owned().into(), |effect| Cell {
            believable: (tail || figure != Figure::P99) && is_whole(lane) && base.is_none_or(is_whole),
            ..ratio(effect, comparison.blocks)
        })
    };
    let figures = Figure::ALL.iter().filter(|_| comparison.blocks > 1);
    let figures = figures.filter(|figure| comparison.effects.iter().any(|effect| effect.figure == **figure));
    let row = |&figure: &Figure| Row {
        is_key: figure.is_judged(),
        ..Row::new(figure.to_string(), columns.iter().map(|&(lane, twin)| cell(lane, twin, figure)).collect())
    };
    let head = |&(lane, twin): &(Lane, bool)| match summary(lane).filter(|_| !twin) {
        Some(summary) => summary.head(),
        None => row_name(lane, twin),
    };
    Table {
        title: format!("Against {}, block by block", base.map(|lane| lane.to_string()).unwrap_or_default()),
        head: columns.iter().map(head).collect(),
        rows: figures.map(row).collect(),
        foot: foot(comparison, tail),
    }
}

/// What the words beside the ratios mean, and what they could have shown.
fn foot(comparison: &Comparison, tail: bool) -> String {
    let seen = |seen: &Resolution| format!("{:.0} % in {}", 100.0 * (seen.ratio - 1.0), seen.figure);
    let seen: Vec<String> = comparison.resolutions.iter().map(seen).collect();
    let has_interval = comparison.effects.iter().any(|effect| effect.ratio.interval.is_some());
    let mut foot = if has_interval {
        "The median of the blocks' ratios, and where it lies with 95 % confidence or more. Only latency p50 and server CPU \
            have a word, as was decided beforehand: slower, faster, more CPU or less CPU where all of the interval is beyond 5 % \
            and apart from that of the A/A control. Otherwise: no difference shown (1 is in the interval); within the noise \
            (the control's interval overlaps it); differs, perhaps by less than 5 %; or differs, not attributable over \
            loopback (CPU of polls against streams, within a factor of 1.5: as much may be the clients' part)."
    } else {
        "The median of the blocks' ratios, and in how many blocks it was so. These are too few for an interval, and so for a \
            claim: --standard has ten, and an A/A control in each."
    }
    .to_owned();
    if comparison.trials.iter().any(|trial| trial.outcome.misses()) {
        foot += " A row that misses messages has no word, and none stands beside a baseline that does.";
    }
    if !tail {
        foot += " The p99 is in brackets: too few messages stand behind it in a single trial.";
    }
    if !seen.is_empty() {
        foot += &format!(
            " By the A/A control, a difference of {} would have been seen in four of five such comparisons.",
            seen.join(" and ")
        );
    }
    foot
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
    Cell { value: Some(median), ..format!("{} ({spread}){word}", number(median)).into() }
}

/// Whether there are enough messages in a trial for its own p99.
fn has_tail(trial: &Trial) -> bool {
    trial.outcome.publishing.acked >= messages_needed(0.99)
}

fn theory(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let of = |summary: &Summary| -> &[Check] {
        let known = comparison.known_answers.iter().find(|known| known.lane == summary.lane);
        known.map_or(&[], |known| &known.checks)
    };
    let all: Vec<&[Check]> = summaries.iter().map(of).collect();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for check in all.iter().copied().flatten() {
        if !names.iter().any(|(id, _)| *id == check.id) {
            names.push((&check.id, &check.what));
        }
    }
    let cell = |checks: &[Check], summary: &Summary, id: &str| match checks.iter().find(|check| check.id == id) {
        Some(check) => Cell {
            value: Some(check.measured),
            text: format!(
                "{}; {}{}",
                number(check.measured),
                number(check.predicted),
                match check.holds() {
                    Some(true) => ", agree",
                    Some(false) => ", DIFFER",
                    None => "",
                }
            ),
            believable: summary.is_sound(),
            best: false,
        },
        None => NONE.to_owned().into(),
    };
    let row = |(id, name): &(&str, &str)| {
        Row::new(*name, all.iter().zip(summaries).map(|(checks, summary)| cell(checks, summary, id)).collect())
    };
    let foot = "Each cell: measured; predicted. Where theory is near-exact, it says whether both agree: \
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
    let mut kinds: Vec<&Gate> = Vec::new();
    for gate in all.iter().flatten() {
        if !kinds.iter().any(|kind| kind.id == gate.id) {
            kinds.push(gate);
        }
    }
    let over = |gate: &&&Gate| gate.measured - gate.limit;
    let cell = |gates: &Vec<&Gate>, id: &str| {
        let worst = gates.iter().filter(|gate| gate.id == id).max_by(|a, b| over(a).total_cmp(&over(b)));
        worst.map_or(NONE.to_owned().into(), |gate| {
            let exceeds = if gate.holds() { "" } else { ", EXCEEDED" };
            let text = format!("{} of {}{exceeds}", number(gate.measured), number(gate.limit));
            Cell { value: Some(gate.measured), ..text.into() }
        })
    };
    let row = |Gate { id, name, unit, .. }: &&Gate| {
        Row::new(format!("{name}, {unit}"), all.iter().map(|gates| cell(gates, id)).collect())
    };
    let foot = "The worst trial of each row, of what is the most it may be. The client receive delay is loadgen's own \
        part of the latency, from the kernel's stamp on the last segment of a read to that read, at 64 subscribers: up to \
        10 % of the p99 or 1 ms, whichever is more, so beside a p99 of about 1 ms it stands in the first table too. \
        \"Lateness\" is that of a ticker of 10 ms on each of loadgen's threads: its timer counts whole milliseconds, so 2 ms \
        are calm; no latency has it in it, for arrivals are stamped when they are read, and publishes leave by another clock.";
    Table {
        title: "May it be believed? Every gate".into(),
        head: heads(summaries),
        rows: kinds.iter().map(row).collect(),
        foot: foot.into(),
    }
}

/// Every trial with its verdict, in the order in which they ran.
fn trials(comparison: &Comparison) -> Table {
    let row = |(i, trial): (usize, &Trial)| {
        let Trial { block, outcome, verdict, .. } = trial;
        let is_sound = verdict.kind == Kind::Valid && !outcome.misses();
        let figure = |figure: Figure, mark: &str| {
            let value = figure.of(outcome);
            let text = value.map_or(NONE.into(), |value| number(value) + mark);
            Cell { value, text, believable: is_sound && (figure != Figure::P99 || has_tail(trial)), best: false }
        };
        let why = verdict.failed().filter(|_| verdict.kind != Kind::Valid).map(|gate| format!(" ({})", gate.name));
        let missing = if outcome.misses() { "; messages missing" } else { "" };
        let cells = vec![
            figure(Figure::P50, mark_missing(outcome, 0.5)),
            figure(Figure::P99, mark_missing(outcome, 0.99)),
            figure(Figure::Cpu, ""),
            format!("{}{}{missing}", verdict.kind, why.unwrap_or_default()).into(),
        ];
        Row::new(format!("{}. block {block}, {}", i + 1, trial.name()), cells)
    };
    let head = ["p50, ms", "p99, ms", "server CPU, µs", "verdict"].map(String::from).to_vec();
    let rows = comparison.trials.iter().enumerate().map(row).collect();
    Table { title: "Every trial".into(), head, rows, foot: String::new() }
}
