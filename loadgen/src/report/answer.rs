//! The answer in three lines: what came, how late, and at what price. The rest of a report explains them.

use crate::result::comparison::Comparison;
use crate::result::effect::Figure;
use crate::result::outcome::{End, Outcome};
use crate::result::summary::{Missing, Summary};
use crate::result::verdict::Kind;
use crate::result::words::number;

/// The three lines; fewer where nothing was measured.
pub fn lines(comparison: &Comparison, summaries: &[Summary]) -> Vec<String> {
    let figures = [
        ("Latency p50", Figure::P50),
        ("Server CPU per delivery", Figure::Cpu),
    ];
    let has_any = |figure: Figure| {
        summaries
            .iter()
            .any(|summary| figure.of(&summary.outcome).is_some())
    };
    let ranked = figures.into_iter().filter(|(_, figure)| has_any(*figure));
    let ranked =
        ranked.map(|(name, figure)| format!("{name}: {}.", ranking(comparison, summaries, figure)));
    [arrived(comparison, summaries)]
        .into_iter()
        .chain(ranked)
        .collect()
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
    let valid = trials
        .iter()
        .filter(|trial| trial.verdict.kind == Kind::Valid)
        .count();
    match (trials.as_slice(), valid) {
        ([trial], _) => format!("{delivered}; the measurement is {}.", trial.verdict.kind),
        (all, valid) if valid == all.len() => format!("{delivered}; all {valid} trials are valid."),
        (all, valid) => format!(
            "{delivered}; {valid} of {} trials are valid, and only those count.",
            all.len()
        ),
    }
}

/// The rows from the lowest to the highest, each with its word; in brackets, and last, what is not to be relied on.
fn ranking(comparison: &Comparison, summaries: &[Summary], figure: Figure) -> String {
    let mut values: Vec<(&Summary, f64)> = summaries
        .iter()
        .filter_map(|summary| Some((summary, figure.of(&summary.outcome)?)))
        .collect();
    values.sort_by(|(a, x), (b, y)| b.is_sound().cmp(&a.is_sound()).then(x.total_cmp(y)));
    let said = |(summary, value): &(&Summary, f64)| {
        let word = comparison
            .effect(summary.variant, false, figure)
            .filter(|effect| effect.difference.is_some());
        let word = word.map_or(String::new(), |effect| format!(" ({})", effect.word()));
        let value = format!("{} {}", number(*value), figure.metric().unit);
        let value = if summary.is_sound() {
            value
        } else {
            format!("({value})")
        };
        format!("{} {value}{word}", summary.variant)
    };
    values.iter().map(said).collect::<Vec<_>>().join(", ")
}
