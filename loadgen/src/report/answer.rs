//! The answer in three lines: what came, how late, and at what price; and as many for what a proxy costs. The rest of a report
//! explains them.

use crate::result::comparison::{Comparison, Trial};
use crate::result::effect::Figure;
use crate::result::metric::Metric;
use crate::result::outcome::{End, Outcome};
use crate::result::summary::{Missing, Summary};
use crate::result::verdict::Guard;
use crate::result::words::number;

/// The lines; fewer where nothing was measured.
pub fn lines(comparison: &Comparison, summaries: &[Summary]) -> Vec<String> {
    let figures = [
        ("Latency p50", Figure::P50.metric(), Some(Figure::P50)),
        (
            "Server CPU per delivery",
            Figure::Cpu.metric(),
            Some(Figure::Cpu),
        ),
        ("Proxy CPU per delivery", Metric::of("proxy_cpu_us"), None),
    ];
    // What goes through a proxy is compared with the same without it, not with the rows beside it.
    let has_direct = |summary: &&Summary| comparison.direct(summary.variant).is_some();
    let (through, own): (Vec<&Summary>, Vec<&Summary>) = summaries.iter().partition(has_direct);
    let mut lines = vec![arrived(comparison, summaries)];
    for (rows, against) in [(own, ""), (through, ", against the same without the proxy")] {
        for (name, metric, figure) in figures {
            let ranking = ranking(comparison, &rows, metric, figure);
            if !ranking.is_empty() {
                let against = figure.map_or("", |_| against);
                lines.push(format!("{name}{against}: {ranking}."));
            }
        }
    }
    lines
}

/// What came of what was expected, and how many trials may be believed.
fn arrived(comparison: &Comparison, summaries: &[Summary]) -> String {
    let trials = &comparison.trials;
    let control = Missing::of(trials.iter().filter(|trial| trial.control));
    let rows = summaries
        .iter()
        .map(|summary| (summary.variant.to_string(), summary.missing));
    let incomplete: Vec<String> = rows
        .chain([("the A/A control".into(), control)])
        .filter(|(_, missing)| missing.trials > 0)
        .map(|(name, missing)| match missing.undelivered {
            0 => format!("{name} lost {} outside the measuring window", missing.lost),
            undelivered => format!(
                "{name} misses {undelivered} of {} deliveries",
                missing.expected
            ),
        })
        .collect();
    let ended = |is: fn(&End) -> bool| trials.iter().find(|trial| is(&trial.outcome.end));
    let broken = ended(|end| matches!(end, End::Broken(_)));
    let failed = broken.or(trials
        .iter()
        .find(|trial| trial.outcome.failure().is_some()));
    let failed = failed.and_then(|trial| {
        Some(format!(
            "FAILED, {}: {}",
            trial.name(),
            trial.outcome.failure()?
        ))
    });
    let count = |figure: fn(&Outcome) -> u64| {
        trials
            .iter()
            .map(|trial| figure(&trial.outcome))
            .sum::<u64>()
    };
    let (expected, delivered) = (
        count(|outcome| outcome.expected),
        count(|outcome| outcome.delivered),
    );
    let delivered = match failed {
        Some(failed) if broken.is_some() || incomplete.is_empty() => failed,
        _ if !incomplete.is_empty() => format!("INCOMPLETE: {}", incomplete.join(", ")),
        // What was under way is neither missing nor there.
        _ if ended(|end| *end == End::Interrupted).is_some() => {
            format!("ENDED EARLY: {delivered} of {expected} deliveries had come by then")
        }
        _ if expected == 0 => "No message was expected by anybody".into(),
        _ => "Every message reached every subscriber".into(),
    };
    format!("{delivered}; {}.", trusted(trials))
}

/// Which figures may be believed, and in how many trials.
fn trusted(trials: &[Trial]) -> String {
    let stand = |guard: Guard| {
        let standing = trials.iter().filter(|trial| trial.verdict.stands(guard));
        (guard, standing.count())
    };
    let partly: Vec<(Guard, usize)> = Guard::ALL
        .into_iter()
        .map(stand)
        .filter(|(_, standing)| *standing < trials.len())
        .collect();
    let all = trials.len();
    match (trials, &partly[..]) {
        ([trial], []) => format!("the measurement is {}", trial.verdict.kind),
        (_, []) => format!("every figure of all {all} trials can be trusted"),
        ([trial], partly) if partly.len() == Guard::ALL.len() => {
            format!("the measurement is {}", trial.verdict.kind)
        }
        ([trial], partly) => {
            let names: Vec<String> = partly.iter().map(|(guard, _)| guard.to_string()).collect();
            let kind = trial.verdict.kind;
            format!(
                "the measurement is {kind} in {}, and stands in the rest",
                names.join(", ")
            )
        }
        (_, partly) => {
            let found = |(guard, standing): &(Guard, usize)| format!("{guard} in {standing}");
            let found: Vec<String> = partly.iter().map(found).collect();
            let rest = if partly.len() == Guard::ALL.len() {
                ""
            } else {
                ", the rest in all"
            };
            format!(
                "of {all} trials can be trusted, and count: {}{rest}",
                found.join(", ")
            )
        }
    }
}

/// The rows from the lowest to the highest, each with its word if the figure has words; in brackets, and last, what is not to be
/// relied on.
fn ranking(
    comparison: &Comparison,
    summaries: &[&Summary],
    metric: &Metric,
    figure: Option<Figure>,
) -> String {
    let mut values: Vec<(&Summary, f64)> = summaries
        .iter()
        .filter_map(|summary| Some((*summary, summary.value(metric)?)))
        .collect();
    let is_sound = |summary: &Summary| summary.is_sound(metric.guard);
    values.sort_by(|(a, x), (b, y)| is_sound(b).cmp(&is_sound(a)).then(x.total_cmp(y)));
    let said = |(summary, value): &(&Summary, f64)| {
        let word = figure
            .and_then(|figure| comparison.effect(summary.variant, false, figure))
            .filter(|effect| effect.difference.is_some());
        let word = word.map_or(String::new(), |effect| {
            format!(" ({})", effect.said(comparison.unit()))
        });
        let value = format!("{} {}", number(*value), metric.unit);
        let value = if is_sound(summary) {
            value
        } else {
            format!("({value})")
        };
        format!("{} {value}{word}", summary.variant)
    };
    values.iter().map(said).collect::<Vec<_>>().join(", ")
}
