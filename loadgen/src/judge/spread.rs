//! How the baseline scatters though it is the same server twice: by instance, by round, by slice; and by what was done to some
//! of its slices and not to others.

use std::collections::BTreeMap;

use super::tail::student;
use crate::result::comparison::{Comparison, Trial};
use crate::result::spread::{Components, Contrast};
use crate::result::turn::Turn;
use crate::result::variant::Variant;

/// Fewer say nothing of how they scatter.
const ENOUGH: usize = 8;
/// A slice is disturbed if more than this was stolen of the CPU time asked for, in percent.
const DISTURBED: f64 = 1.0;

/// A figure of a slice, by the id of its metric.
type Read = fn(&Turn) -> Option<f64>;

const P50: (&str, Read) = ("latency_p50_ms", |turn| turn.latency_p50_ms);
const CPU: (&str, Read) = ("server_cpu_us", |turn| turn.server_cpu_us);
const SWITCHES: (&str, Read) = ("server_switches", |turn| turn.server_switches);

/// Trials of the baseline and its control.
fn of_baseline(comparison: &Comparison) -> impl Iterator<Item = &Trial> {
    let baseline = comparison.baseline();
    let trials = comparison.trials.iter();
    trials.filter(move |trial| Some(trial.outcome.variant) == baseline)
}

/// The logarithm of a figure, which has none below zero.
fn log(read: Read, turn: &Turn) -> Option<f64> {
    read(turn).filter(|value| *value > 0.0).map(f64::ln)
}

/// The parts of which the baseline's scatter is made, where there are sets enough.
pub fn components(comparison: &Comparison) -> Vec<Components> {
    [P50, CPU]
        .into_iter()
        .filter_map(|(metric, read)| of_figure(comparison, metric, read))
        .collect()
}

/// Two servers in the same rounds of a set: a two-way table, over all sets that have it whole.
fn of_figure(comparison: &Comparison, metric: &str, read: Read) -> Option<Components> {
    let mut sets: BTreeMap<usize, Vec<BTreeMap<usize, f64>>> = BTreeMap::new();
    for trial in of_baseline(comparison) {
        let turns = trial.outcome.turns.iter();
        let rounds = turns.filter_map(|turn| Some((turn.round, log(read, turn)?)));
        sets.entry(trial.block).or_default().push(rounds.collect());
    }
    let (mut tables, mut rounds) = (0_usize, 0);
    let (mut of_instances, mut of_rounds, mut of_rest) = (0.0, 0.0, 0.0);
    for servers in sets.values() {
        let [first, second] = &servers[..] else {
            continue;
        };
        if first.len() < 2 || !first.keys().eq(second.keys()) {
            continue;
        }
        let pairs: Vec<[f64; 2]> = first
            .values()
            .zip(second.values())
            .map(|(a, b)| [*a, *b])
            .collect();
        let n = pairs.len() as f64;
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / n;
        let (a, b) = (
            mean(&mut pairs.iter().map(|pair| pair[0])),
            mean(&mut pairs.iter().map(|pair| pair[1])),
        );
        let all = f64::midpoint(a, b);
        for [x, y] in &pairs {
            let round = f64::midpoint(*x, *y);
            of_rounds += 2.0 * (round - all).powi(2);
            of_rest += (x - a - round + all).powi(2) + (y - b - round + all).powi(2);
        }
        of_instances += n * ((a - all).powi(2) + (b - all).powi(2));
        tables += 1;
        rounds += pairs.len();
    }
    if tables < ENOUGH {
        return None;
    }
    let freedom = (rounds - tables) as f64;
    let (instance, round, rest) = (
        of_instances / tables as f64,
        of_rounds / freedom,
        of_rest / freedom,
    );
    let percent = |variance: f64| 100.0 * variance.max(0.0).sqrt();
    Some(Components {
        metric: metric.into(),
        sets: tables,
        instance_percent: percent((instance - rest) / (rounds as f64 / tables as f64)),
        round_percent: percent((round - rest) / 2.0),
        slice_percent: percent(rest),
    })
}

/// What the control cannot see: whether it matters who was before, whether the meter disturbs, and whether a disturbed machine
/// makes the server wake up more often or less.
pub fn contrasts(comparison: &Comparison) -> Vec<Contrast> {
    let polls = |variant: &Variant| !variant.mode.properties().streams;
    let after = |turn: &Turn| turn.after.as_ref().map(polls);
    let metered = |turn: &Turn| Some(turn.is_metered);
    let disturbed = |turn: &Turn| Some(turn.stolen_percent? > DISTURBED);
    let of =
        |id: &str, what: &str, kind: &dyn Fn(&Turn) -> Option<bool>, figures: &[(&str, Read)]| {
            let figures = figures.iter();
            let contrast = |(metric, read): &(&str, Read)| {
                let (sets, ratio, interval) = contrast(comparison, *read, kind)?;
                Some(Contrast {
                    id: id.into(),
                    what: what.into(),
                    metric: (*metric).into(),
                    sets,
                    ratio,
                    interval,
                })
            };
            figures.filter_map(contrast).collect::<Vec<_>>()
        };
    [
        of(
            "carry_over",
            "after a poll's slice, over after a stream's",
            &after,
            &[P50, CPU],
        ),
        of(
            "meter",
            "with the hiccup meter, over without",
            &metered,
            &[P50, CPU],
        ),
        of(
            "disturbed",
            "disturbed slices, over calm ones",
            &disturbed,
            &[SWITCHES],
        ),
    ]
    .concat()
}

/// Slices of one kind over those of the other, set by set: the ratio, and where it lies.
fn contrast(
    comparison: &Comparison,
    read: Read,
    kind: &dyn Fn(&Turn) -> Option<bool>,
) -> Option<(usize, f64, (f64, f64))> {
    let difference = |trial: &Trial| {
        let mean = |of: bool| {
            let turns = trial
                .outcome
                .turns
                .iter()
                .filter(|turn| kind(turn) == Some(of));
            let logs: Vec<f64> = turns.filter_map(|turn| log(read, turn)).collect();
            (!logs.is_empty()).then(|| logs.iter().sum::<f64>() / logs.len() as f64)
        };
        Some(mean(true)? - mean(false)?)
    };
    // Both servers of a set had the same rounds: they are one look.
    let mut sets: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for trial in of_baseline(comparison) {
        sets.entry(trial.block)
            .or_default()
            .extend(difference(trial));
    }
    let of_set =
        |set: &Vec<f64>| (!set.is_empty()).then(|| set.iter().sum::<f64>() / set.len() as f64);
    let all: Vec<f64> = sets.values().filter_map(of_set).collect();
    let n = all.len() as f64;
    if all.len() < ENOUGH {
        return None;
    }
    let mean = all.iter().sum::<f64>() / n;
    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = student(n - 1.0) * (variance / n).sqrt();
    Some((
        all.len(),
        mean.exp(),
        ((mean - error).exp(), (mean + error).exp()),
    ))
}

#[cfg(test)]
mod tests;
