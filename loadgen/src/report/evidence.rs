//! The tables behind the figures: rows against the baseline, theory beside measurement, every check, every trial.

use super::table::{Cell, NONE, Row, Table, heads, mark_missing};
use crate::result::comparison::{Comparison, Trial, row_name};
use crate::result::effect::{Effect, Figure, Ratio};
use crate::result::known::KnownAnswer;
use crate::result::metric::{Metric, messages_needed};
use crate::result::spread::{Components, Contrast, Tail};
use crate::result::summary::Summary;
use crate::result::variant::Variant;
use crate::result::verdict::{Check, Guard};
use crate::result::words::{count, number};

/// All of them that have something to show.
pub fn tables(comparison: &Comparison, summaries: &[Summary]) -> Vec<Table> {
    let all = [
        against(comparison, summaries),
        through(comparison, summaries),
        tails(comparison),
        spread(comparison),
        contrasts(comparison),
        theory(comparison, summaries),
        checks(comparison, summaries),
        trials(comparison),
    ];
    all.into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

/// The ratios of the blocks, and what may be said of them; nothing where no block has any.
pub fn against(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let base = comparison.baseline();
    let rows = comparison
        .variants
        .iter()
        .filter(|variant| Some(**variant) != base && comparison.direct(**variant).is_none())
        .map(|&variant| (variant, false));
    let control = base
        .filter(|_| comparison.control)
        .map(|variant| (variant, true));
    let base = base.map_or(String::new(), |variant| variant.to_string());
    ratios(
        format!("Against {base}, {unit} by {unit}", unit = comparison.unit()),
        &with_figures(rows.chain(control).collect(), comparison),
        comparison,
        summaries,
    )
}

/// What the proxy costs: the ratios of the rows that go through it to the same without it, and its own figures.
pub fn through(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let rows = comparison.variants.iter().map(|&variant| (variant, false));
    let rows = rows.filter(|(variant, _)| comparison.direct(*variant).is_some());
    let rows = with_figures(rows.collect(), comparison);
    let proxy = rows.first().and_then(|(variant, _)| variant.via);
    let proxy = proxy.map_or(String::new(), |proxy| proxy.to_string());
    let mut table = ratios(
        format!(
            "What {proxy} costs: against the same without it, {unit} by {unit}",
            unit = comparison.unit()
        ),
        &rows,
        comparison,
        summaries,
    );
    let figures = [
        ("latency_p50_ms", Told::More),
        ("server_cpu_us", Told::More),
        ("proxy_cpu_us", Told::Whole),
        ("proxy_memory_kib", Told::Whole),
        ("bytes_both", Told::More),
    ];
    let figures = figures.map(|(id, told)| {
        let cell = |&(variant, _): &(Variant, bool)| {
            let cell = of_proxy(variant, comparison, summaries, Metric::of(id), told);
            cell.unwrap_or_else(|| NONE.to_owned().into())
        };
        Row {
            is_key: true,
            ..Row::new(Metric::of(id).name(), rows.iter().map(cell).collect())
        }
    });
    let is_told = |row: &Row| row.cells.iter().any(|cell| cell.text != NONE);
    table.rows.extend(figures.into_iter().filter(is_told));
    table.foot = "As above, but each against the same row without the proxy, which is one server but for the baseline. The last \
        rows, with units, are of all trials together, and no ratios."
        .into();
    table
}

/// How a figure is told of a row that goes through a proxy.
#[derive(Clone, Copy)]
enum Told {
    /// By how much it is more than without the proxy.
    More,
    /// As it is.
    Whole,
}

/// A figure of a row that goes through a proxy.
fn of_proxy(
    variant: Variant,
    comparison: &Comparison,
    summaries: &[Summary],
    metric: &Metric,
    told: Told,
) -> Option<Cell> {
    let summary = |variant| summaries.iter().find(|summary| summary.variant == variant);
    let (own, direct) = (summary(variant)?, summary(comparison.direct(variant)?)?);
    let value = own.value(metric)?;
    let (value, text) = match told {
        Told::Whole => (value, number(value)),
        Told::More => {
            let more = value - direct.value(metric)?;
            let word = if more < 0.0 { "less" } else { "more" };
            (more, format!("{} {word}", number(more.abs())))
        }
    };
    Some(Cell {
        value: Some(value),
        believable: [own, direct].iter().all(|row| row.is_sound(metric.guard)),
        ..text.into()
    })
}

/// Those of some rows that are compared with another in any figure.
fn with_figures(rows: Vec<(Variant, bool)>, comparison: &Comparison) -> Vec<(Variant, bool)> {
    let has_figures = |(variant, control): &(Variant, bool)| {
        comparison
            .effects
            .iter()
            .any(|e| e.variant == *variant && e.control == *control)
    };
    rows.into_iter().filter(has_figures).collect()
}

/// Ratios of these rows to those that they are compared with.
fn ratios(
    title: String,
    columns: &[(Variant, bool)],
    comparison: &Comparison,
    summaries: &[Summary],
) -> Table {
    let tail = comparison
        .trials
        .iter()
        .filter(|trial| trial.verdict.stands(Guard::Tail))
        .all(has_tail);
    let summary = |variant| summaries.iter().find(|summary| summary.variant == variant);
    let is_whole = |variant| summary(variant).is_none_or(Summary::is_whole);
    let cell = |variant, control, figure| {
        comparison
            .effect(variant, control, figure)
            .map_or(NONE.to_owned().into(), |effect| Cell {
                believable: (tail || figure != Figure::P99)
                    && is_whole(variant)
                    && comparison.base_of(variant).is_none_or(is_whole),
                ..ratio(effect, comparison)
            })
    };
    let has_ratios = comparison.blocks > 1 && !columns.is_empty();
    let figures = Figure::ALL.iter().filter(|_| has_ratios);
    let figures = figures.filter(|figure| {
        comparison
            .effects
            .iter()
            .any(|effect| effect.figure == **figure)
    });
    let row = |&figure: &Figure| Row {
        is_key: figure.is_judged(),
        ..Row::new(
            figure.to_string(),
            columns
                .iter()
                .map(|&(variant, control)| cell(variant, control, figure))
                .collect(),
        )
    };
    let head = |&(variant, control): &(Variant, bool)| match summary(variant).filter(|_| !control) {
        Some(summary) => summary.head(),
        None => row_name(variant, control),
    };
    Table {
        title,
        head: columns.iter().map(head).collect(),
        rows: figures.map(row).collect(),
        foot: foot(comparison, tail),
    }
}

/// What the words beside the ratios mean.
fn foot(comparison: &Comparison, tail: bool) -> String {
    let has_interval = comparison
        .effects
        .iter()
        .any(|effect| effect.ratio.interval.is_some());
    let mut foot = if has_interval {
        "Each is the median of the sets' ratios to baseline and control (their geometric mean), and where it lies with 95 % \
            confidence or more, however often one has looked. Only latency p50 and server CPU have a word, as was decided \
            beforehand: slower, faster, more CPU or less CPU where so many sets lie beyond 5 % that without a difference it \
            would come to that once in forty comparisons at most, a side; and with what would have been shown, where nothing was. \
            Otherwise: within the noise (the control differs from the baseline, too); differs, perhaps by less than 5 %; differs, \
            perhaps by loadgen's part (its own sending and reading); or differs, not attributable over loopback (CPU of \
            polls against streams, within a factor of 1.5: as much may be the clients' part)."
    } else {
        "The median of the ratios, and in how many sets it was so. These are too few for an interval, and so for a claim: \
            that takes eight, and an A/A control in each."
    }
    .to_owned();
    if comparison.trials.iter().any(|trial| trial.outcome.misses()) {
        foot +=
            " A row that misses messages has no word, and none stands beside a baseline that does.";
    }
    if !tail {
        foot += " The p99 is in brackets: too few messages stand behind it in a single trial.";
    }
    foot
}

fn ratio(effect: &Effect, comparison: &Comparison) -> Cell {
    let said = match effect.said(comparison.unit()) {
        said if said.is_empty() => said,
        said => format!(", {said}"),
    };
    let Ratio {
        blocks: n,
        higher,
        median,
        interval,
        ..
    } = effect.ratio;
    let spread = match interval {
        Some((low, high)) if n == comparison.blocks => {
            format!("{} to {}", number(low), number(high))
        }
        Some((low, high)) => {
            let n = count(n as u64, comparison.unit());
            format!("{} to {}, {n}", number(low), number(high))
        }
        None if median > 1.0 => format!("higher in {higher} of {n}"),
        None => format!("lower in {} of {n}", n.saturating_sub(higher)),
    };
    Cell {
        value: Some(median),
        ..format!("{} ({spread}){said}", number(median)).into()
    }
}

/// Where the 99th percentiles lie.
fn tails(comparison: &Comparison) -> Table {
    let cell = |value: Option<f64>| Cell {
        value,
        ..value.map_or("open".into(), number).into()
    };
    let row = |tail: &Tail| {
        let cells = [Some(tail.p99_ms), Some(tail.from_ms), tail.to_ms].map(cell);
        Row::new(tail.variant.to_string(), cells.into())
    };
    Table {
        title: "Where the p99 lies, in ms".into(),
        head: ["p99", "from", "to"].map(String::from).into(),
        rows: comparison.tails.iter().map(row).collect(),
        foot: "Of all sets in which loadgen did its part, noisy or not, with 95 % confidence, by how much of each set lies beyond it; open where that passes the \
            longest latency. On a machine that pauses it is the machine's, too: a p99 has no word."
            .into(),
    }
}

/// How the baseline scatters though it is the same server twice.
fn spread(comparison: &Comparison) -> Table {
    let row = |components: &Components| {
        let parts = [
            components.instance_percent,
            components.round_percent,
            components.slice_percent,
        ];
        let cell = |percent: f64| Cell {
            value: Some(percent),
            ..number(percent).into()
        };
        Row::new(Metric::of(&components.metric).label, parts.map(cell).into())
    };
    let sets = comparison.components.first().map_or(0, |one| one.sets);
    let foot = format!(
        "Standard deviations of the baseline and its control in {}: from one server to another, from one round to the next in \
         both alike, and from slice to slice. What rows of a set share, the rounds, does not spoil their comparison; more \
         rounds in a set help against the last, more sets against the first, too.",
        count(sets as u64, "set")
    );
    Table {
        title: "How far the same server scatters, in %".into(),
        head: ["server", "round", "slice"].map(String::from).into(),
        rows: comparison.components.iter().map(row).collect(),
        foot,
    }
}

/// What the control cannot see.
fn contrasts(comparison: &Comparison) -> Table {
    let row = |contrast: &Contrast| {
        let Contrast {
            ratio,
            interval: (low, high),
            sets,
            ..
        } = contrast;
        let text = format!("{} ({} to {})", number(*ratio), number(*low), number(*high));
        let cells = vec![
            Cell {
                value: Some(*ratio),
                ..text.into()
            },
            Cell {
                value: Some(*sets as f64),
                ..sets.to_string().into()
            },
        ];
        let label = Metric::of(&contrast.metric).label;
        Row::new(format!("{}: {label}", contrast.what), cells)
    };
    let foot = "Slices of the baseline and its control, some of which were treated otherwise, set by set; with \
        95 % confidence. What lies within 3 % of 1 does not matter. If the server wakes up more often or less on the disturbed \
        machine, what a delivery costs is that of the disturbed machine.";
    Table {
        title: "What the control cannot see".into(),
        head: ["ratio", "sets"].map(String::from).into(),
        rows: comparison.contrasts.iter().map(row).collect(),
        foot: foot.into(),
    }
}

/// Whether there are enough messages in a trial for its own p99.
fn has_tail(trial: &Trial) -> bool {
    trial.outcome.publishing.acked >= messages_needed(0.99)
}

fn theory(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let of = |summary: &Summary| -> &[KnownAnswer] {
        let known = comparison
            .known_answers
            .iter()
            .find(|known| known.variant == summary.variant);
        known.map_or(&[], |known| &known.answers)
    };
    let all: Vec<&[KnownAnswer]> = summaries.iter().map(of).collect();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for answer in all.iter().copied().flatten() {
        if !names.iter().any(|(id, _)| *id == answer.id) {
            names.push((&answer.id, &answer.what));
        }
    }
    let cell = |answers: &[KnownAnswer], summary: &Summary, id: &str| match answers
        .iter()
        .find(|answer| answer.id == id)
    {
        Some(answer) => Cell {
            value: Some(answer.measured),
            text: format!(
                "{}; {}{}",
                number(answer.measured),
                number(answer.predicted),
                match answer.holds() {
                    Some(true) => ", agree",
                    Some(false) => ", DIFFER",
                    None => "",
                }
            ),
            believable: summary.is_sound(Guard::Median),
            best: false,
        },
        None => NONE.to_owned().into(),
    };
    let row = |(id, name): &(&str, &str)| {
        Row::new(
            *name,
            all.iter()
                .zip(summaries)
                .map(|(answers, summary)| cell(answers, summary, id))
                .collect(),
        )
    };
    let foot = "Each cell: measured; predicted. Where theory is near-exact, it says whether both agree: \
        requests/s within 1 %, empty answers within half a point, KS of short polls within 0.05. A short poll's \
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

/// Every check with the worst figure of all trials of a row.
fn checks(comparison: &Comparison, summaries: &[Summary]) -> Table {
    let of = |summary: &Summary| -> Vec<&Check> {
        let trials = comparison
            .trials
            .iter()
            .filter(|trial| trial.outcome.variant == summary.variant);
        trials.flat_map(|trial| &trial.verdict.checks).collect()
    };
    let all: Vec<Vec<&Check>> = summaries.iter().map(of).collect();
    let mut kinds: Vec<&Check> = Vec::new();
    for check in all.iter().flatten() {
        if !kinds.iter().any(|kind| kind.id == check.id) {
            kinds.push(check);
        }
    }
    let cell = |checks: &Vec<&Check>, id: &str| {
        let worst = checks
            .iter()
            .filter(|check| check.id == id)
            .max_by(|a, b| a.excess().total_cmp(&b.excess()));
        worst.map_or(NONE.to_owned().into(), |check| {
            let exceeds = if check.holds() { "" } else { ", EXCEEDED" };
            let measured = check.measured.map_or("unknown".into(), number);
            let text = format!("{measured} of {}{exceeds}", number(check.limit));
            Cell {
                value: check.measured,
                ..text.into()
            }
        })
    };
    let row = |Check { id, name, unit, .. }: &&Check| {
        Row::new(
            format!("{name}, {unit}"),
            all.iter().map(|checks| cell(checks, id)).collect(),
        )
    };
    let foot = "The worst trial of each row, of what is the most it may be. The client receive delay is loadgen's own \
        part of the latency, from the kernel's stamp on the last segment of a read to that read, at 64 subscribers: up to \
        10 % of the p99 or 1 ms, whichever is more, so beside a p99 of about 1 ms it stands in the first table too. \
        \"Timer delay\" is that of a ticker of 10 ms on each of loadgen's threads: its timer counts whole milliseconds, so 2 ms \
        are calm; no latency has it in it, for arrivals are timestamped when they are read, and publishes leave by another clock.";
    Table {
        title: "May it be believed? Every check".into(),
        head: heads(summaries),
        rows: kinds.iter().map(row).collect(),
        foot: foot.into(),
    }
}

/// Every trial with its verdict, in the order in which they ran.
fn trials(comparison: &Comparison) -> Table {
    let unit = comparison.unit();
    let row = |(i, trial): (usize, &Trial)| {
        let Trial {
            block,
            outcome,
            verdict,
            ..
        } = trial;
        let stands = |guard| verdict.stands(guard) && !outcome.misses();
        let figure = |figure: Figure, mark: &str| {
            let value = figure.of(outcome);
            let text = value.map_or(NONE.into(), |value| number(value) + mark);
            Cell {
                value,
                text,
                believable: stands(figure.metric().guard)
                    && (figure != Figure::P99 || has_tail(trial)),
                best: false,
            }
        };
        let why: Vec<&str> = verdict.failed().iter().map(|check| &*check.name).collect();
        let why = match &why[..] {
            [] => String::new(),
            why => format!(" ({})", why.join(", ")),
        };
        let missing = if outcome.misses() {
            "; messages missing"
        } else {
            ""
        };
        let cells = vec![
            figure(Figure::P50, mark_missing(outcome, 0.5)),
            figure(Figure::P99, mark_missing(outcome, 0.99)),
            figure(Figure::Cpu, ""),
            format!("{}{why}{missing}", verdict.kind).into(),
        ];
        Row::new(
            format!("{}. {unit} {block}, {}", i + 1, trial.name()),
            cells,
        )
    };
    let head = ["p50, ms", "p99, ms", "server CPU, µs", "verdict"]
        .map(String::from)
        .to_vec();
    let rows = comparison.trials.iter().enumerate().map(row).collect();
    Table {
        title: "Every trial".into(),
        head,
        rows,
        foot: String::new(),
    }
}
