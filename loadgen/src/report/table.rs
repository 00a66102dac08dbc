//! The table of a comparison: a column per transport, a row per figure, the same in every kind of report.

use crate::result::audit::Audit;
use crate::result::effect::LOOPBACK;
use crate::result::metric::{Better, METRICS, Metric, Shown};
use crate::result::outcome::Outcome;
use crate::result::summary::Summary;
use crate::result::verdict::Guard;
use crate::result::words::{digits, number};

/// A table: its columns, and a row for each figure.
pub struct Table {
    /// What it shows; nothing for the one that needs no title.
    pub title: String,
    /// The columns.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
    /// What has to be said below it.
    pub foot: String,
}

/// One row: what it is, and a cell per column.
pub struct Row {
    /// What the figures are, with their unit.
    pub name: String,
    /// The figures.
    pub cells: Vec<Cell>,
    /// Whether it is one of the few that a terminal shows unasked.
    pub is_key: bool,
}

impl Row {
    /// A row beside the most important ones.
    pub fn new(name: impl Into<String>, cells: Vec<Cell>) -> Self {
        Self {
            name: name.into(),
            cells,
            is_key: false,
        }
    }
}

/// One figure.
pub struct Cell {
    /// The figure as a number, if it is one.
    pub value: Option<f64>,
    /// The figure as text.
    pub text: String,
    /// Whether it may be relied on: it stands in a trial, no message is missing, and enough of them stand behind it.
    pub believable: bool,
    /// Whether it is the best of its row, where one can be told.
    pub best: bool,
}

impl Cell {
    /// The figure for other programs, if it is a number.
    pub fn number(&self) -> Option<String> {
        self.value.map(digits)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            value: None,
            text,
            believable: true,
            best: false,
        }
    }
}

/// What is printed for something that was not measured.
pub const NONE: &str = "-";

/// Of the measuring window, in the merged trials.
const DELIVERED: &str = "delivered of expected, in the window";
/// Of all trials, and of all that was sent in them.
const LOST: &str = "lost / doubled / reordered, in whole trials";

/// The figures of a comparison; the best of a row is marked unless `claims` are made elsewhere, of what has intervals.
pub fn figures(summaries: &[Summary], claims: bool) -> Table {
    let text = |name: &str, believable: fn(&Summary) -> bool, figure: fn(&Summary) -> String| {
        let cell = |s| Cell {
            value: None,
            text: figure(s),
            believable: believable(s),
            best: false,
        };
        Row::new(name, summaries.iter().map(cell).collect())
    };
    let mut rows = Vec::new();
    for metric in METRICS.iter().filter(|metric| metric.shown != Shown::Files) {
        rows.push(row(summaries, metric));
        match metric.id {
            "receive_delay_p99_ms" => {
                rows.push(text(
                    "p50 of single subscribers, 5 to 95 % of them, ms",
                    |summary| summary.is_sound(Guard::Median),
                    single,
                ));
            }
            "bytes_up_per_publish" => {
                rows.push(Row {
                    is_key: true,
                    ..text(
                        DELIVERED,
                        |summary| summary.stands(Guard::Counts),
                        delivered,
                    )
                });
                rows.push(Row {
                    is_key: true,
                    ..text(LOST, |summary| summary.stands(Guard::Counts), lost)
                });
            }
            _ => {}
        }
    }
    rows.push(Row {
        is_key: true,
        ..text(
            "verdict on the measurement",
            Summary::is_whole,
            Summary::verdict,
        )
    });
    // What nobody has a figure for would only be a row of dashes.
    rows.retain(|row| row.cells.iter().any(|cell| cell.text != NONE));
    let is_empty = |summary: &Summary| {
        let outcome = summary.outcome(Guard::Counts);
        outcome.expected == 0 && outcome.latency.count() == 0
    };
    if summaries.iter().all(is_empty) {
        rows.clear();
    }
    rows.iter_mut()
        .flat_map(|row| &mut row.cells)
        .for_each(|cell| cell.best &= !claims);
    Table {
        title: String::new(),
        head: heads(summaries),
        rows,
        foot: String::new(),
    }
}

fn delivered(summary: &Summary) -> String {
    let Outcome {
        expected,
        delivered,
        ..
    } = *summary.outcome(Guard::Counts);
    match expected.saturating_sub(delivered) {
        _ if expected == 0 => NONE.into(),
        0 => format!("all {expected}"),
        _ => format!("{delivered} of {expected}"),
    }
}

fn lost(summary: &Summary) -> String {
    let audit = summary.outcome(Guard::Counts).audit;
    if audit == Audit::default() {
        return NONE.into();
    }
    format!("{} / {} / {}", audit.lost, audit.doubled, audit.reordered)
}

/// The names of the rows of a comparison, which are the columns of its tables.
pub fn heads(summaries: &[Summary]) -> Vec<String> {
    summaries.iter().map(Summary::head).collect()
}

/// Said beside a quantile of a trial that is decided by deliveries that never came: they count at the end of the wait.
pub fn mark_missing(outcome: &Outcome, share: f64) -> &'static str {
    let missing = outcome.expected.saturating_sub(outcome.delivered) as f64;
    let beyond = (1.0 - share) * outcome.expected as f64;
    if outcome.misses() && missing > 0.0 && missing >= beyond - 1e-6 {
        " or never"
    } else {
        ""
    }
}

/// One figure of every row of a comparison.
fn row(summaries: &[Summary], metric: &Metric) -> Row {
    let needed = metric.messages_needed();
    let believable = |s: &Summary| {
        s.is_sound(metric.guard) && s.outcome(metric.guard).publishing.acked >= needed
    };
    // A figure that may not be relied on wins nothing, but where it is lower, no other is the lowest; of those that miss
    // nothing, for others have had less to do.
    let is_best = |s: &Summary, value: f64| {
        let others = summaries
            .iter()
            .filter(|other| other.variant != s.variant && other.is_whole());
        let others = others.filter_map(|other| {
            Some((
                other.variant.mode.properties().streams,
                other.value(metric)?,
            ))
        });
        let mut others = others.peekable();
        metric.better != Better::Neither
            && others.peek().is_some()
            && others.all(|(streams, other)| {
                let is_apart = metric.better == Better::LowerOfItsKind
                    && streams != s.variant.mode.properties().streams;
                value < if is_apart { other / LOOPBACK } else { other }
            })
    };
    let cell = |s: &Summary| {
        let value = s.value(metric);
        let best = believable(s) && value.is_some_and(|value| is_best(s, value));
        let mark = metric
            .deliveries
            .map_or("", |share| mark_missing(s.outcome(metric.guard), share));
        let text = value.map_or(NONE.into(), number) + mark;
        Cell {
            value,
            text,
            believable: believable(s),
            best,
        }
    };
    let cells = summaries.iter().map(cell).collect();
    Row {
        is_key: metric.shown == Shown::First,
        ..Row::new(metric.name(), cells)
    }
}

/// How far subscribers differ from each other: the median latency of each of those that are followed.
fn single(summary: &Summary) -> String {
    let mut medians: Vec<f64> = summary
        .outcome(Guard::Median)
        .followed
        .iter()
        .map(|one| f64::from(one.p50_us) / 1e3)
        .collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| medians.get((medians.len() as f64 * share) as usize);
    at(0.05).zip(at(0.95)).map_or(NONE.into(), |(low, high)| {
        format!("{} to {}", number(*low), number(*high))
    })
}
