//! From sets (or blocks of whole trials) to a statement: the median of their ratios, the interval it lies in, and what may be
//! said of it, looked at after every one of them.
//!
//! The unit of repetition is the set, never the message. Nothing is assumed about distributions; the A/A control (the same
//! server twice in each set) shows what differs although nothing differs.

use std::collections::BTreeMap;

use crate::result::comparison::{Comparison, Trial};
use crate::result::effect::{Difference, Effect, Figure, LOOPBACK, NEGLIGIBLE, Ratio};
use crate::result::metric::Metric;
use crate::result::variant::Variant;
use crate::result::verdict::{Check, Guard, Kind};

/// How many times likelier a count of sets has to be if most lie beyond a negligible difference than if half do, for a word:
/// by Ville's inequality, a comparison without a difference ever comes so far with a probability of one in twice as many, a side.
const EVIDENCE: f64 = 20.0;
/// Of the difference of two medians, so much may be that of loadgen's own part in them.
const OWN_PART: f64 = 0.25;

/// Of this many sets, how many have to lie beyond a negligible difference, on one side, before that may be said: however often
/// one looks, a word without a difference comes with a probability of 1/40 a side at most. Below 8 sets no number is enough.
///
/// The likelihood of k of n under a uniform prior, over that of a fair coin: 2^n B(k + 1, n - k + 1). Half of that prior is on
/// the other side, which is why 20 stands for 1/40.
pub fn needed(n: usize) -> Option<usize> {
    let evidence = |k: usize| {
        // B(k + 1, n - k + 1) = 1 / ((n + 1) (n over k)), as a product that no factor overflows.
        let over = (0..n - k).map(|i| (n - i) as f64 / (n - k - i) as f64 / 2.0);
        let halves = 0.5_f64.powi(i32::try_from(k).unwrap_or(i32::MAX));
        1.0 / ((n + 1) as f64 * over.product::<f64>() * halves)
    };
    (n / 2 + 1..=n).find(|k| evidence(*k) >= EVIDENCE)
}

/// The median with the interval that belongs to the same count: a word and an interval cannot disagree.
pub fn ratio_of(mut ratios: Vec<f64>) -> Option<Ratio> {
    let (n, middle) = (ratios.len(), ratios.len() / 2);
    let correlation = lag_one(&ratios);
    ratios.sort_unstable_by(f64::total_cmp);
    let median = match n {
        0 => return None,
        n if n % 2 == 1 => ratios[middle],
        _ => f64::midpoint(ratios[middle - 1], ratios[middle]),
    };
    let count = |is: fn(f64) -> bool| ratios.iter().filter(|ratio| is(**ratio)).count();
    Some(Ratio {
        blocks: n,
        higher: count(|ratio| ratio > 1.0),
        beyond: if median > 1.0 {
            count(|ratio| ratio > NEGLIGIBLE)
        } else {
            count(|ratio| ratio < 1.0 / NEGLIGIBLE)
        },
        median,
        interval: needed(n).map(|k| (ratios[n - k], ratios[k - 1])),
        correlation,
    })
}

/// How like each value is to the one before it, from -1 to 1.
fn lag_one(ratios: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let apart: Vec<f64> = logs.iter().map(|log| log - mean).collect();
    let squares: f64 = apart.iter().map(|x| x * x).sum();
    let products: f64 = apart.windows(2).map(|pair| pair[0] * pair[1]).sum();
    (squares > 0.0).then(|| products / squares)
}

/// Every row against the baseline, and through a proxy against the same without it, in every figure.
pub fn effects(comparison: &Comparison) -> Vec<Effect> {
    let Some(baseline) = comparison.baseline() else {
        return Vec::new();
    };
    let rows = comparison
        .variants
        .iter()
        .filter(|variant| **variant != baseline)
        .map(|&variant| (variant, false));
    let rows: Vec<(Variant, bool)> = rows.chain([(baseline, true)]).collect();
    let of_figure = |figure: Figure| {
        let values = Values::of(comparison, figure);
        let effect = move |&(variant, control): &(Variant, bool)| {
            let base = comparison.base_of(variant)?;
            let against = values.against(variant, control, base)?;
            let difference = if control {
                None
            } else {
                judged(comparison, figure, &values, &against, variant)
            };
            Some(Effect {
                variant,
                control,
                figure,
                ratio: against.ratio,
                difference,
                ratios: against.ratios,
            })
        };
        rows.iter().filter_map(effect).collect::<Vec<_>>()
    };
    Figure::ALL.into_iter().flat_map(of_figure).collect()
}

/// What may be said of a row; nothing of figures that are only shown, without enough sets and a control in each, and where
/// messages are missing.
fn judged(
    comparison: &Comparison,
    figure: Figure,
    values: &Values,
    against: &Against,
    variant: Variant,
) -> Option<Difference> {
    let (baseline, base) = (comparison.baseline()?, comparison.base_of(variant)?);
    // Who drops messages has less to do, and whoever never got one has no latency.
    let is_whole = |variant: &Variant| {
        let mut trials = comparison.trials.iter();
        trials.all(|trial| trial.outcome.variant != *variant || !trial.outcome.misses())
    };
    let control = values.against(baseline, true, baseline)?;
    let can_be = figure.is_judged()
        && against.ratio.interval.is_some()
        && control.ratio.interval.is_some()
        && [variant, base].iter().all(is_whole);
    let is_cross = figure == Figure::Cpu
        && variant.mode.properties().streams != base.mode.properties().streams;
    let least = if is_cross { LOOPBACK } else { NEGLIGIBLE };
    let difference = can_be.then(|| judge(against, &control.ratio, least))?;
    let is_own = figure == Figure::P50 && is_loadgens(comparison, variant, base);
    Some(match difference {
        Difference::Lower | Difference::Higher if is_own => Difference::Own,
        difference => difference,
    })
}

/// Whether too much of a difference in latency is loadgen's own, or may be, for all that is known: its part in each median is
/// sending and reading.
fn is_loadgens(comparison: &Comparison, variant: Variant, base: Variant) -> bool {
    let median = |variant: Variant, id: &str| {
        let metric = Metric::of(id);
        let own = comparison.trials.iter().filter(|trial| {
            trial.outcome.variant == variant
                && !trial.control
                && counts(comparison, trial, metric.guard)
        });
        let values = own.filter_map(|trial| (metric.read)(&trial.outcome));
        Some(ratio_of(values.collect())?.median)
    };
    let apart = |id: &str| Some(median(variant, id)? - median(base, id)?);
    let own = apart("send_delay_p50_ms").zip(apart("receive_delay_p50_ms"));
    let all = apart("latency_p50_ms");
    own.zip(all)
        .is_none_or(|((send, receive), all)| (send + receive).abs() > OWN_PART * all.abs())
}

/// A row beside the baseline.
pub struct Against {
    /// To the geometric mean of the baseline and the control, where there is one; of the control, to the baseline; by set.
    pub ratios: Vec<f64>,
    /// All of them together.
    pub ratio: Ratio,
    /// The medians of the ratios to the baseline and to the control alone.
    pub to_both: Option<[f64; 2]>,
}

impl Against {
    /// A row's values, each with the baseline's and the control's of the same set.
    pub fn of(sets: &[[f64; 3]]) -> Option<Self> {
        let ratios = |to: fn(&[f64; 3]) -> f64| -> Vec<f64> {
            sets.iter().map(|set| set[0] / to(set)).collect()
        };
        let median = |to| Some(ratio_of(ratios(to))?.median);
        let to_mean = ratios(|set| (set[1] * set[2]).sqrt());
        Some(Self {
            ratio: ratio_of(to_mean.clone())?,
            ratios: to_mean,
            to_both: Some([median(|set| set[1])?, median(|set| set[2])?]),
        })
    }
}

/// Whether a figure of a trial counts in ratios. In those of a set, what the machine did meanwhile met the others, too, and how
/// far it scatters the control shows; what loadgen could not do, or did wrong, it did to one of them.
pub(super) fn counts(comparison: &Comparison, trial: &Trial, guard: Guard) -> bool {
    let verdict = &trial.verdict;
    if comparison.rounds.is_none() {
        return verdict.stands(guard);
    }
    let is_the_machines = |check: &Check| matches!(check.kind, Kind::Noisy | Kind::NotSteady);
    let is_whole = !matches!(verdict.kind, Kind::Interrupted | Kind::Broken);
    is_whole && verdict.spoiling(guard).all(is_the_machines)
}

/// A figure in all trials in which it stands: by row, and by set.
struct Values(Vec<((Variant, bool), BTreeMap<usize, f64>)>);

impl Values {
    fn of(comparison: &Comparison, figure: Figure) -> Self {
        let mut rows: Vec<((Variant, bool), BTreeMap<usize, f64>)> = Vec::new();
        for trial in &comparison.trials {
            let row = (trial.outcome.variant, trial.control);
            let value = figure.of(&trial.outcome).filter(|value| *value > 0.0);
            let value = value.filter(|_| counts(comparison, trial, figure.metric().guard));
            let Some(value) = value else { continue };
            match rows.iter_mut().find(|(of, _)| *of == row) {
                Some((_, values)) => {
                    values.insert(trial.block, value);
                }
                None => rows.push((row, BTreeMap::from([(trial.block, value)]))),
            }
        }
        Self(rows)
    }

    fn row(&self, variant: Variant, control: bool) -> Option<&BTreeMap<usize, f64>> {
        let (_, values) = self.0.iter().find(|(of, _)| *of == (variant, control))?;
        Some(values)
    }

    /// A row, or the control, beside the one that it is compared with, of which only the baseline is there twice.
    fn against(&self, variant: Variant, control: bool, base: Variant) -> Option<Against> {
        let (base, again) = (self.row(base, false)?, self.row(base, true));
        let row = self.row(variant, control)?;
        let Some(again) = again.filter(|_| !control) else {
            let ratio = |(set, value): (&usize, &f64)| Some(value / base.get(set)?);
            let ratios: Vec<f64> = row.iter().filter_map(ratio).collect();
            return Some(Against {
                ratio: ratio_of(ratios.clone())?,
                ratios,
                to_both: None,
            });
        };
        let set = |(set, value): (&usize, &f64)| Some([*value, *base.get(set)?, *again.get(set)?]);
        Against::of(&row.iter().filter_map(set).collect::<Vec<_>>())
    }
}

/// What may be said of a row that is compared with baseline and control, beyond a least difference; or why nothing can.
pub fn judge(against: &Against, control: &Ratio, least: f64) -> Difference {
    let Against { ratio, to_both, .. } = against;
    let found = |factor: f64| {
        let of_both = to_both.unwrap_or([ratio.median; 2]);
        match ratio.is_beyond(factor)? {
            Difference::Higher if of_both.iter().all(|median| *median > factor) => {
                Some(Difference::Higher)
            }
            Difference::Lower if of_both.iter().all(|median| *median < 1.0 / factor) => {
                Some(Difference::Lower)
            }
            _ => None,
        }
    };
    // What lasts from set to set is not that many independent looks.
    let persists = control
        .correlation
        .is_some_and(|r| r.abs() > 2.0 / (control.blocks as f64).sqrt());
    if ratio.is_beyond(1.0).is_none() {
        Difference::NotShown
    } else if persists || control.is_beyond(NEGLIGIBLE).is_some() {
        Difference::Noise
    } else if let Some(difference) = found(least) {
        difference
    } else if found(NEGLIGIBLE).is_some() {
        Difference::Loopback
    } else {
        Difference::Slight
    }
}

/// Whether all that may have a word has one, or can have none: more sets would change nothing.
pub fn is_decided(comparison: &Comparison) -> bool {
    let mut judged = comparison
        .effects
        .iter()
        .filter(|effect| !effect.control && effect.figure.is_judged());
    let is_open = |effect: &Effect| match effect.difference {
        Some(Difference::Higher | Difference::Lower | Difference::Own) => false,
        Some(Difference::Loopback) => effect.ratio.median.max(1.0 / effect.ratio.median) > LOOPBACK,
        Some(Difference::NotShown | Difference::Slight | Difference::Noise) => true,
        // With sets enough and no word, there is none: messages are missing.
        None => needed(effect.ratio.blocks).is_none(),
    };
    needed(comparison.blocks).is_some() && !judged.any(is_open)
}

#[cfg(test)]
mod tests;
