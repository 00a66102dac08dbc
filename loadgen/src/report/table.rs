//! The table of a comparison: a column per transport, a row per figure, the same in every kind of report.

use crate::result::audit::Audit;
use crate::result::effect::LOOPBACK;
use crate::result::ledger::Ledger;
use crate::result::outcome::Outcome;
use crate::result::summary::Summary;
use crate::result::variant::{Lane, Publish};
use crate::result::words::number;

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
        Self { name: name.into(), cells, is_key: false }
    }
}

/// One figure.
pub struct Cell {
    /// The figure as text.
    pub text: String,
    /// Whether it may be relied on: a trial is valid, no message is missing, and enough of them stand behind it.
    pub believable: bool,
    /// Whether it is the best of its row, where one can be told.
    pub best: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, believable: true, best: false }
    }
}

/// A quantile q needs this many messages over 1 - q: with n of them the chance that not one lies beyond it is about
/// e^-5.7, one in 300. Messages, not deliveries: those of one message are not independent.
const MESSAGES: f64 = 5.7;
/// What is printed for something that was not measured.
pub const NONE: &str = "-";

/// Of the measuring window, in the merged trials.
const DELIVERED: &str = "delivered of owed, in the window";
/// Of all trials, and of all that was sent in them.
const LOST: &str = "lost / doubled / reordered, in whole trials";
/// The rows that a terminal shows unasked.
const KEY: [&str; 9] = [
    "latency p50, ms",
    "latency p99, ms",
    DELIVERED,
    LOST,
    "server CPU per delivery, µs",
    "server memory per connection, KiB",
    "bytes to clients per delivery",
    "bytes from clients per delivery, browser's headers",
    "verdict on the measurement",
];

/// How the best of a row is found.
#[derive(Clone, Copy, PartialEq)]
enum Rank {
    None,
    Lowest,
    Cpu,
}

/// How many messages the quantile needs that this share does not exceed.
pub fn messages_needed(share: f64) -> u64 {
    // Less a little, for 1 - 0.9 is not quite 0.1.
    (MESSAGES / (1.0 - share) - 1e-9).ceil() as u64
}

/// The figures of a comparison; the best of a row is marked unless `claims` are made elsewhere, of what has intervals.
pub fn figures(summaries: &[Summary], claims: bool) -> Table {
    let text = |name: &str, believable: fn(&Summary) -> bool, figure: &dyn Fn(&Summary) -> String| {
        let cell = |s| Cell { text: figure(s), believable: believable(s), best: false };
        Row::new(name, summaries.iter().map(cell).collect())
    };
    let figure = |name, rank, figure: &dyn Fn(&Outcome) -> Option<f64>| row(summaries, name, rank, 0.0, figure);
    let sum = |name, sum: &dyn Fn(&Ledger) -> u64| {
        row(summaries, name, Rank::Lowest, 0.0, &|o| o.ledger.per_delivery(sum(&o.ledger)))
    };
    let us = |name, rank, ns: &dyn Fn(&Ledger) -> Option<u64>| {
        row(summaries, name, rank, 0.0, &|o| o.ledger.us(ns(&o.ledger)))
    };
    let quantile = |name, share: f64, needed| {
        let mut row = row(summaries, name, Rank::Lowest, needed, &|o| o.latency.ms(share));
        row.cells.iter_mut().zip(summaries).for_each(|(cell, s)| cell.text += mark_missing(&s.outcome, share));
        row
    };
    let mut rows = vec![
        quantile("latency p50, ms", 0.5, 0.5),
        quantile("latency p90, ms", 0.9, 0.9),
        quantile("latency p99, ms", 0.99, 0.99),
        quantile("latency max, ms", 1.0, 0.99),
        row(summaries, "  arrived but not yet read p99, ms", Rank::None, 0.99, &|o| o.dwell.ms(0.99)),
        text("p50 of single subscribers, 5 to 95 % of them, ms", Summary::is_sound, &single),
        row(summaries, "to the last of the room p50, ms", Rank::Lowest, 0.5, &|o| o.last.ms(0.5)),
        row(summaries, "publish to ack p50, ms", Rank::Lowest, 0.5, &|o| o.publishing.acks.ms(0.5)),
        figure("poll, from its tick to the answer p99, ms", Rank::None, &|o| o.polls.ms(0.99)),
        figure("connect p50, ms", Rank::None, &|o| o.connects.ms(0.5)),
        row(summaries, "bytes up per publish", Rank::Lowest, 0.0, &|o| upward(o)),
        text(DELIVERED, Summary::is_valid, &|s| match s.outcome.owed.saturating_sub(s.outcome.delivered) {
            _ if s.outcome.owed == 0 => NONE.into(),
            0 => format!("all {}", s.outcome.owed),
            _ => format!("{} of {}", s.outcome.delivered, s.outcome.owed),
        }),
        text(LOST, Summary::is_valid, &|s| {
            let audit = s.outcome.audit;
            if audit == Audit::default() {
                return NONE.into();
            }
            format!("{} / {} / {}", audit.lost, audit.doubled, audit.reordered)
        }),
        us("server CPU per delivery, µs", Rank::Cpu, &|l| l.server_cpu_ns),
        us("  in user mode only, µs", Rank::None, &Ledger::user_ns),
        us("loadgen's CPU per delivery, µs", Rank::None, &|l| l.loadgen_cpu_ns),
        us("machine busy per delivery, µs", Rank::None, &|l| l.machine_busy_ns),
        figure("server context switches per delivery", Rank::None, &|o| {
            o.ledger.per_delivery(o.ledger.server_switches?)
        }),
        figure("server memory per connection, KiB", Rank::Lowest, &|o| o.ledger.memory_kib()),
        figure("kernel memory per connection, both ends, KiB", Rank::None, &|o| o.ledger.kernel_kib()),
        figure("server memory at its peak, MiB", Rank::None, &|o| Some(o.ledger.server_peak? as f64 / 1048576.0)),
        sum("bytes to clients per delivery", &|l| l.traffic.bytes_in),
        sum("bytes from clients per delivery, browser's headers", &|l| l.bytes_out()[0]),
        sum("bytes from clients per delivery, lean headers", &|l| l.bytes_out()[1]),
        sum("bytes per delivery on a real link, both ways, modelled", &|l| l.on_a_link().iter().sum::<f64>() as u64),
        sum("requests per delivery", &|l| l.traffic.requests),
        figure("empty answers, % of requests", Rank::None, &empties),
        figure("messages per read or answer", Rank::None, &|o| batch(o)),
        figure("wait against U(0, interval), KS", Rank::None, &|o| o.wait_ks),
        text("verdict on the measurement", Summary::is_whole, &Summary::verdict),
    ];
    // What nobody has a figure for would only be a row of dashes.
    rows.retain(|row| row.cells.iter().any(|cell| cell.text != NONE));
    if summaries.iter().all(|summary| summary.outcome.owed == 0 && summary.outcome.latency.count() == 0) {
        rows.clear();
    }
    rows.iter_mut().for_each(|row| row.is_key = KEY.contains(&row.name.as_str()));
    rows.iter_mut().flat_map(|row| &mut row.cells).for_each(|cell| cell.best &= !claims);
    Table { title: String::new(), head: heads(summaries), rows, foot: String::new() }
}

/// The names of the rows of a comparison, which are the columns of its tables.
pub fn heads(summaries: &[Summary]) -> Vec<String> {
    summaries.iter().map(Summary::head).collect()
}

/// Said beside a quantile of a trial that is decided by deliveries that never came: they count at the end of the wait.
pub fn mark_missing(outcome: &Outcome, share: f64) -> &'static str {
    let missing = outcome.owed.saturating_sub(outcome.delivered) as f64;
    let beyond = (1.0 - share) * outcome.owed as f64;
    if outcome.misses() && missing > 0.0 && missing >= beyond - 1e-6 { " or never" } else { "" }
}

fn row(summaries: &[Summary], name: &str, rank: Rank, quantile: f64, figure: &dyn Fn(&Outcome) -> Option<f64>) -> Row {
    let needed = if quantile > 0.0 { messages_needed(quantile) } else { 0 };
    let believable = |s: &Summary| s.is_sound() && s.outcome.publishing.acked >= needed;
    // A figure that may not be relied on wins nothing, but where it is lower, no other is the lowest; of those that miss
    // nothing, for others have had less to do.
    let is_best = |s: &Summary, value: f64| {
        let others = summaries.iter().filter(|other| other.lane != s.lane && other.is_whole());
        let mut others =
            others.filter_map(|other| Some((other.lane.mode.streams(), figure(&other.outcome)?))).peekable();
        rank != Rank::None
            && others.peek().is_some()
            && others.all(|(streams, other)| {
                value < if rank == Rank::Cpu && streams != s.lane.mode.streams() { other / LOOPBACK } else { other }
            })
    };
    let cell = |s: &Summary| {
        let value = figure(&s.outcome);
        let best = believable(s) && value.is_some_and(|value| is_best(s, value));
        Cell { text: value.map_or(NONE.into(), number), believable: believable(s), best }
    };
    Row::new(name, summaries.iter().map(cell).collect())
}

/// How far subscribers differ from each other: the median latency of each of those that are followed.
fn single(summary: &Summary) -> String {
    let mut medians: Vec<f64> = summary.outcome.followed.iter().map(|one| f64::from(one.p50_us) / 1e3).collect();
    medians.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| medians.get((medians.len() as f64 * share) as usize);
    at(0.05).zip(at(0.95)).map_or(NONE.into(), |(low, high)| format!("{} to {}", number(*low), number(*high)))
}

fn empties(outcome: &Outcome) -> Option<f64> {
    let traffic = outcome.ledger.traffic;
    // Of an answer at the edge of the window, the question may lie before it.
    (traffic.requests > 0).then(|| 100.0 * traffic.empties.min(traffic.requests) as f64 / traffic.requests as f64)
}

/// Bytes that one publish sends; over a subscriber's own socket, all that the subscribers send.
fn upward(outcome: &Outcome) -> Option<f64> {
    let Lane { mode, publish } = outcome.lane;
    let is_own = publish == Publish::Native && mode.is_duplex();
    let (bytes, n) = match is_own {
        true => (outcome.ledger.traffic.bytes_out, outcome.publishing.acked),
        false => (outcome.publishing.bytes_out, outcome.publishing.all),
    };
    (n > 0).then(|| bytes as f64 / n as f64)
}

/// Messages that came together: in one answer of a poll, or in one read of a stream.
fn batch(outcome: &Outcome) -> Option<f64> {
    let traffic = outcome.ledger.traffic;
    let batches = if outcome.lane.mode.streams() { traffic.reads } else { traffic.answers() };
    (batches > 0).then(|| outcome.ledger.deliveries as f64 / batches as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_needs_570_messages() {
        assert_eq!([0.5, 0.9, 0.99].map(messages_needed), [12, 57, 570]);
    }
}
