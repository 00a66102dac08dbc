//! From blocks to a statement: the median of the blocks' ratios, the interval it lies in, and what may be said of it.
//!
//! The unit of repetition is the trial, never the message. Order statistics assume nothing about distributions; the
//! A/A controls (the same transport twice in one block) show what differs although nothing differs.

use crate::result::comparison::Comparison;
use crate::result::effect::{Difference, Effect, Figure, LOOPBACK, NEGLIGIBLE, Ratio, Resolution};

/// The probability with which an interval covers the true median, at least.
const LEVEL: f64 = 0.95;
/// "It could have seen" means: with this probability.
const POWER: f64 = 0.8;

/// The median with its order-statistic interval: exact, whatever the distribution is.
pub fn ratio_of(mut ratios: Vec<f64>) -> Option<Ratio> {
    ratios.sort_unstable_by(f64::total_cmp);
    let (n, middle) = (ratios.len(), ratios.len() / 2);
    let median = match n {
        0 => return None,
        n if n % 2 == 1 => ratios[middle],
        _ => f64::midpoint(ratios[middle - 1], ratios[middle]),
    };
    let higher = ratios.iter().filter(|ratio| **ratio > 1.0).count();
    Some(Ratio {
        blocks: n,
        higher,
        median,
        interval: rank(n).map(|k| (ratios[k - 1], ratios[n - k])),
    })
}

/// Every row against the baseline, in every figure.
pub fn effects(comparison: &Comparison) -> Vec<Effect> {
    let Some(baseline) = comparison.baseline() else {
        return Vec::new();
    };
    let rows = comparison
        .variants
        .iter()
        .filter(|variant| **variant != baseline)
        .map(|&variant| (variant, false));
    // Who drops messages has less to do, and whoever never got one has no latency.
    let is_whole = |variant| {
        comparison
            .trials
            .iter()
            .all(|trial| trial.outcome.variant != variant || !trial.outcome.misses())
    };
    let mut effects = Vec::new();
    for figure in Figure::ALL {
        let ratio = |variant, control| ratio_of(comparison.ratios(variant, control, figure));
        let noise = ratio(baseline, true);
        for (variant, control) in rows.clone().chain([(baseline, true)]) {
            let Some(found) = ratio(variant, control) else {
                continue;
            };
            let is_cross = figure == Figure::Cpu
                && variant.mode.properties().streams != baseline.mode.properties().streams;
            let judged = figure.is_judged()
                && !control
                && [found.interval, noise.and_then(|noise| noise.interval)]
                    .iter()
                    .all(Option::is_some)
                && [variant, baseline].into_iter().all(is_whole);
            let difference =
                judged.then(|| judge(found, noise, if is_cross { LOOPBACK } else { NEGLIGIBLE }));
            effects.push(Effect {
                variant,
                control,
                figure,
                ratio: found,
                difference,
            });
        }
    }
    effects
}

/// What may be said of a ratio beside the A/A control's: its interval is beyond `least`, and apart from the control's;
/// or why it cannot be said.
pub fn judge(found: Ratio, control: Option<Ratio>, least: f64) -> Difference {
    if found.is_beyond(1.0).is_none() {
        Difference::NotShown
    } else if control.is_none_or(|control| found.overlaps(control)) {
        Difference::Noise
    } else if let Some(difference) = found.is_beyond(least) {
        difference
    } else if found.is_beyond(NEGLIGIBLE).is_some() {
        Difference::Loopback
    } else {
        Difference::Slight
    }
}

/// The rank of the lower end of the interval for the median of n: the k-th smallest and the k-th largest enclose it
/// with probability 1 - 2 P(Bin(n, 1/2) < k).
fn rank(n: usize) -> Option<usize> {
    (1..=n / 2)
        .take_while(|&k| 1.0 - 2.0 * binomial_below(k, n, 0.5) >= LEVEL)
        .last()
}

/// P(Bin(n, p) < k).
fn binomial_below(k: usize, n: usize, p: f64) -> f64 {
    let mut term = (1.0 - p).powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = 0.0;
    for i in 0..k {
        sum += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    sum
}

/// The smallest ratio above 1 that `blocks` blocks would have shown with a probability of 80 %, given the ratios of
/// control: comparisons are drawn from these (and from their inverses, for nobody can tell the two apart), and for each
/// it is known how large a difference would have lifted its interval above a negligible difference and the control's interval.
pub fn detectable(control: &[f64], blocks: usize) -> Option<f64> {
    const DRAWS: usize = 500;
    let k = rank(blocks).filter(|_| !control.is_empty())?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut interval = || {
        let draw = |_| {
            let log = control[random.usize(..control.len())].ln();
            if random.bool() { log } else { -log }
        };
        let mut logs: Vec<f64> = (0..blocks).map(draw).collect();
        logs.sort_unstable_by(f64::total_cmp);
        (logs[k - 1], logs[blocks - k])
    };
    let mut needed: Vec<f64> = (0..DRAWS)
        .map(|_| interval().1.max(NEGLIGIBLE.ln()) - interval().0)
        .collect();
    needed.sort_unstable_by(f64::total_cmp);
    Some(needed[(DRAWS as f64 * POWER) as usize].exp())
}

/// The smallest differences that a comparison would have shown, by its own A/A control.
pub fn resolutions(comparison: &Comparison) -> Vec<Resolution> {
    let Some(baseline) = comparison.baseline() else {
        return Vec::new();
    };
    let of = |figure: Figure| {
        let control = comparison.ratios(baseline, true, figure);
        Some(Resolution {
            figure,
            ratio: detectable(&control, control.len())?,
        })
    };
    Figure::ALL
        .into_iter()
        .filter(|figure| figure.is_judged())
        .filter_map(of)
        .collect()
}

#[cfg(test)]
mod tests;
