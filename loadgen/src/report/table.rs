//! The table of a comparison: a column per trial, a row per figure, the same in every kind of report.

use std::time::Duration;

use crate::comparison::Trial;
use crate::judge::verdict::Kind;
use crate::measure::histogram::Times;
use crate::outcome::Outcome;

/// One row: what it is, and a cell per trial.
pub struct Row {
    /// What the figures are, with their unit.
    pub name: &'static str,
    /// The figures.
    pub cells: Vec<Cell>,
}

/// One figure. One that nobody should lean on is shown, but marked.
pub struct Cell {
    /// The figure as text.
    pub text: String,
    /// Whether it may be believed: the trial is valid, and enough messages stand behind it.
    pub believable: bool,
}

/// A quantile is believable with this many messages behind it, over 1 - q: at 5.7 the interval of a quantile is
/// bounded on both sides by samples (95 %, by order statistics).
const MESSAGES: f64 = 5.7;

/// What is printed for something that was not measured.
const NONE: &str = "-";

/// The rows of a comparison.
pub fn rows(trials: &[Trial]) -> Vec<Row> {
    let row = |name, figure: &dyn Fn(&Outcome) -> String| cells(trials, name, figure, 0);
    let quantile = |name, share: f64, needed: f64| {
        let needed = (MESSAGES / (1.0 - needed)).ceil() as u64;
        cells(trials, name, &|outcome| latency(&outcome.latency, share), needed)
    };
    vec![
        quantile("latency p50, ms", 0.5, 0.5),
        quantile("latency p90, ms", 0.9, 0.9),
        quantile("latency p99, ms", 0.99, 0.99),
        quantile("latency max, ms", 1.0, 0.99),
        row("delivered of owed", &|o| format!("{} of {}", o.delivered, o.owed)),
        row("lost / doubled / reordered", &|o| {
            format!("{} / {} / {}", o.audit.lost, o.audit.doubled, o.audit.reordered)
        }),
        row("server CPU per delivery, µs", &|o| {
            number(o.ledger.server_cpu_ns.and_then(|ns| o.ledger.per_delivery(ns / 1000)))
        }),
        row("machine busy per delivery, µs", &|o| {
            number(o.ledger.machine_busy_ns.and_then(|ns| o.ledger.per_delivery(ns / 1000)))
        }),
        row("server memory per connection, KiB", &|o| {
            number(o.ledger.memory_per_connection().map(|bytes| bytes / 1024.0))
        }),
        row("bytes to clients per delivery", &|o| number(o.ledger.per_delivery(o.ledger.traffic.bytes_in))),
        row("bytes from clients per delivery", &|o| number(o.ledger.per_delivery(o.ledger.traffic.bytes_out))),
        row("requests per delivery", &|o| number(o.ledger.per_delivery(o.ledger.traffic.requests))),
        row("empty answers, % of requests", &|o| empties(o)),
        row("wait against U(0, interval), KS", &|o| o.wait_ks.map_or(NONE.into(), |ks| format!("{ks:.3}"))),
        Row {
            name: "verdict on the measurement",
            cells: trials.iter().map(|trial| Cell { text: trial.verdict.kind.to_string(), believable: true }).collect(),
        },
    ]
}

fn cells(trials: &[Trial], name: &'static str, figure: &dyn Fn(&Outcome) -> String, messages: u64) -> Row {
    let cell = |trial: &Trial| Cell {
        text: figure(&trial.outcome),
        believable: trial.verdict.kind == Kind::Valid && trial.outcome.publishing.acked >= messages,
    };
    Row { name, cells: trials.iter().map(cell).collect() }
}

fn latency(times: &Times, share: f64) -> String {
    let time = if share < 1.0 { times.quantile(share) } else { times.max() };
    time.map_or(NONE.into(), ms)
}

/// Milliseconds with three digits.
pub fn ms(time: Duration) -> String {
    number(Some(time.as_secs_f64() * 1e3))
}

fn number(figure: Option<f64>) -> String {
    match figure {
        None => NONE.into(),
        Some(0.0) => "0".into(),
        Some(figure) if figure.abs() < 0.0005 => "<0.001".into(),
        Some(figure) if figure.abs() < 1.0 => format!("{figure:.3}"),
        Some(figure) if figure.abs() < 10.0 => format!("{figure:.2}"),
        Some(figure) if figure.abs() < 100.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.0}"),
    }
}

fn empties(outcome: &Outcome) -> String {
    let traffic = outcome.ledger.traffic;
    if traffic.requests == 0 {
        NONE.into()
    } else {
        number(Some(100.0 * traffic.empties as f64 / traffic.requests as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_never_pretend_to_be_nothing() {
        let found: Vec<String> =
            [0.0, 0.0001, 0.04567, 1.2345, 12.345, 123.45, 12345.0].map(|n| number(Some(n))).into();
        assert_eq!(found, ["0", "<0.001", "0.046", "1.23", "12.3", "123", "12345"]);
        assert_eq!(number(None), "-");
    }
}
