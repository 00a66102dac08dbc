//! Where a 99th percentile lies: from how its share scatters from set to set. Neither deliveries nor messages of one set are
//! independent of each other; sets are.

use super::statistics::counts;
use crate::result::comparison::{Comparison, Trial};
use crate::result::histogram::Times;
use crate::result::spread::Tail;
use crate::result::variant::Variant;
use crate::result::verdict::Guard;

/// The quantile.
const SHARE: f64 = 0.99;
/// Fewer sets, or messages in all of them, do not bound it.
const SETS: usize = 10;
const MESSAGES: u64 = 1500;

/// Of every row: all sets together in which loadgen did its part, noisy or not.
pub fn tails(comparison: &Comparison) -> Vec<Tail> {
    let of = |&variant: &Variant| {
        let trials = comparison.trials.iter();
        let own = trials.filter(|trial| {
            let is_own = trial.outcome.variant == variant && !trial.control;
            is_own && trial.outcome.latency.count() > 0 && counts(comparison, trial, Guard::Tail)
        });
        tail(variant, &own.collect::<Vec<_>>())
    };
    comparison.variants.iter().filter_map(of).collect()
}

fn tail(variant: Variant, trials: &[&Trial]) -> Option<Tail> {
    let sets: Vec<&Times> = trials.iter().map(|trial| &trial.outcome.latency).collect();
    let messages: u64 = trials
        .iter()
        .map(|trial| trial.outcome.publishing.acked)
        .sum();
    if sets.len() < SETS || messages < MESSAGES {
        return None;
    }
    let all = Times::merged(sets.iter().copied());
    let p99 = all.ms(SHARE)?;
    let beyond: Vec<f64> = sets.iter().map(|set| 1.0 - set.share_within(p99)).collect();
    let n = beyond.len() as f64;
    let mean = beyond.iter().sum::<f64>() / n;
    let variance = beyond.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = student(n - 1.0) * (variance / n).sqrt();
    Some(Tail {
        variant,
        p99_ms: p99,
        from_ms: all.ms((SHARE - error).max(0.0))?,
        // Beyond the last sample nobody knows.
        to_ms: Some(SHARE + error)
            .filter(|share| *share < 1.0)
            .and_then(|share| all.ms(share)),
    })
}

/// Student's t for 95 % on both sides together, to a hundredth from nine degrees of freedom on (Cornish and Fisher's expansion).
pub fn student(freedom: f64) -> f64 {
    const Z: f64 = 1.959_964;
    let (third, fifth) = (Z.powi(3), Z.powi(5));
    Z + (third + Z) / (4.0 * freedom)
        + (5.0 * fifth + 16.0 * third + 3.0 * Z) / (96.0 * freedom.powi(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::begin;
    use crate::judge::verdict;
    use crate::result::comparison::tests::add;
    use crate::result::outcome::tests::empty;
    use crate::result::scenario::tests::scenario;
    use crate::result::variant::Transport;

    /// Sets of 200 messages, an exponential latency with a mean that is drawn for each.
    fn sets(n: usize, random: &mut fastrand::Rng) -> Comparison {
        let variants = vec![Transport::Ws.into()];
        let mut comparison = begin(variants, n, scenario("--seed 1"), String::new());
        for set in 1..=n {
            let mut outcome = empty(Transport::Ws);
            outcome.publishing.acked = 200;
            let mean = 1e6 * (1.0 + random.f64());
            for _ in 0..200 {
                outcome
                    .latency
                    .record((-mean * (1.0 - random.f64()).ln()) as u64);
            }
            let verdict = verdict::of(&outcome);
            add(&mut comparison, set, false, outcome, verdict);
        }
        comparison
    }

    #[test]
    fn the_interval_covers_what_it_says() {
        let mut random = fastrand::Rng::with_seed(5);
        // The quantile of that mixture, from very many of them.
        let [truth] = &tails(&sets(4000, &mut random))[..] else {
            panic!()
        };
        let covers = |_: &usize| {
            let [tail] = &tails(&sets(20, &mut random))[..] else {
                panic!()
            };
            tail.from_ms <= truth.p99_ms && tail.to_ms.is_none_or(|to| truth.p99_ms <= to)
        };
        let covered = (0..200).filter(covers).count();
        assert!((180..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn too_few_sets_or_messages_do_not_bound_it() {
        let mut random = fastrand::Rng::with_seed(6);
        assert_eq!(tails(&sets(9, &mut random)).len(), 0);
        let mut few = sets(10, &mut random);
        assert_eq!(tails(&few).len(), 1);
        few.trials
            .iter_mut()
            .for_each(|trial| trial.outcome.publishing.acked = 149);
        assert_eq!(tails(&few).len(), 0);
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, t) in [(9.0, 2.262), (15.0, 2.131), (30.0, 2.042)] {
            assert!((student(freedom) - t).abs() < 0.01, "{freedom}");
        }
    }
}
