//! Which trial comes next. An order is a value that is asked after each trial, and is given all that have been.

use crate::result::comparison::{Comparison, Trial};
use crate::result::variant::Variant;

/// What a trial is to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The round it runs in, from 1.
    pub block: usize,
    /// The row.
    pub variant: Variant,
    /// Whether it is the A/A control: the baseline once more.
    pub control: bool,
    /// The seed of its schedule: another one in each block, the same for all variants of it.
    pub seed: u64,
}

/// Every row once in each block, and the control, in a balanced order that the seed draws: what changes on the machine
/// meanwhile meets them all, and what one leaves behind for the next.
///
/// Every second block runs the one before it backwards, so that of any two rows each is as often before the other as
/// after it, where the number of blocks is even. Over a whole square (as many pairs of blocks as half the rows if their
/// number is even, as all of them if it is odd) each row also stands as often at each place, and within the blocks follows
/// each other row as often (E. J. Williams, 1949). Between the two blocks of a pair the same row runs twice in succession.
#[derive(Debug)]
pub struct Blocks(Vec<Planned>);

impl Blocks {
    /// Those of a comparison.
    pub fn of(comparison: &Comparison) -> Self {
        let Comparison {
            blocks, scenario, ..
        } = comparison;
        let rows = rows(comparison);
        let orders = Orders::new(rows.len(), scenario.seed());
        let block = |(block, order): (usize, Vec<usize>)| {
            let rows = &rows;
            let seed = scenario.seed().wrapping_add(block as u64 - 1);
            order.into_iter().map(move |i| Planned {
                block,
                variant: rows[i].0,
                control: rows[i].1,
                seed,
            })
        };
        Self((1..=*blocks).zip(orders).flat_map(block).collect())
    }

    /// What to try after these; `None` when all has been tried.
    pub fn next(&self, done: &[Trial]) -> Option<Planned> {
        self.0.get(done.len()).copied()
    }
}

/// All rows of a comparison, and the control.
pub(super) fn rows(comparison: &Comparison) -> Vec<(Variant, bool)> {
    let rows = comparison.variants.iter().map(|&variant| (variant, false));
    let baseline = comparison.baseline().filter(|_| comparison.control);
    rows.chain(baseline.map(|variant| (variant, true)))
        .collect()
}

/// Endless orders of `n` things: pairs of a row of a Williams square and the same backwards.
pub(super) struct Orders {
    n: usize,
    random: fastrand::Rng,
    waiting: Vec<Vec<usize>>,
}

impl Orders {
    pub(super) fn new(n: usize, seed: u64) -> Self {
        Self {
            n,
            random: fastrand::Rng::with_seed(seed),
            waiting: Vec::new(),
        }
    }

    /// Draws a square: which thing has which number, which rows come when, and which of two first.
    fn square(&mut self) -> Vec<Vec<usize>> {
        let Self { n, random, .. } = self;
        let n = *n;
        let mut names: Vec<usize> = (0..n).collect();
        random.shuffle(&mut names);
        // 0, 1, n-1, 2, n-2 and so on; the other rows are this one, moved on. Of an even number no two steps are equal, and
        // half of the rows are the other half backwards; of an odd number a row and its reverse together have each step
        // twice.
        let zigzag = |i: usize| {
            if i % 2 == 1 {
                i.div_ceil(2)
            } else {
                (n - i / 2) % n
            }
        };
        let pairs = if n % 2 == 0 { n / 2 } else { n };
        let mut shifts: Vec<usize> = (0..pairs).collect();
        random.shuffle(&mut shifts);
        let mut rows = Vec::new();
        for shift in shifts {
            let forth: Vec<usize> = (0..n).map(|i| names[(zigzag(i) + shift) % n]).collect();
            let back = forth.iter().rev().copied().collect();
            rows.extend(if random.bool() {
                [forth, back]
            } else {
                [back, forth]
            });
        }
        rows
    }
}

impl Iterator for Orders {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        if self.waiting.is_empty() {
            self.waiting = self.square();
            self.waiting.reverse();
        }
        self.waiting.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::comparison::begin;
    use crate::result::scenario::tests::scenario;
    use crate::result::variant::Transport;

    /// How often each thing was found.
    fn counts<T: Ord>(things: impl IntoIterator<Item = T>) -> BTreeMap<T, usize> {
        let mut counts = BTreeMap::new();
        things
            .into_iter()
            .for_each(|thing| *counts.entry(thing).or_default() += 1);
        counts
    }

    #[test]
    fn each_stands_at_each_place_and_follows_each_other_equally_often() {
        for n in 1..9 {
            let square = if n % 2 == 0 { n } else { 2 * n };
            for seed in 0..20 {
                let orders: Vec<Vec<usize>> = Orders::new(n, seed).take(3 * square).collect();
                for square in orders.chunks(square) {
                    let each = square.len() / n;
                    let places = counts(
                        square
                            .iter()
                            .flat_map(|order| order.iter().copied().enumerate()),
                    );
                    assert!(
                        places.len() == n * n && places.values().all(|&count| count == each),
                        "{square:?}"
                    );
                    let follows = counts(
                        square
                            .iter()
                            .flat_map(|order| order.windows(2).map(|two| (two[0], two[1]))),
                    );
                    assert!(
                        follows.len() == n * (n - 1)
                            && follows.values().all(|&count| count == each),
                        "{square:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn after_every_second_block_each_was_as_often_before_the_other_as_after_it() {
        for (n, seed) in [(2, 1), (5, 2), (6, 3)] {
            let orders: Vec<Vec<usize>> = Orders::new(n, seed).take(10).collect();
            for pair in orders.chunks(2) {
                assert!(pair[0].iter().eq(pair[1].iter().rev()), "{pair:?}");
            }
        }
        // And which of two is first in the first block is drawn.
        let first = (0..200)
            .filter(|&seed| Orders::new(2, seed).next().unwrap()[0] == 0)
            .count();
        assert!((70..130).contains(&first), "{first} of 200");
    }

    fn blocks(seed: &str) -> Blocks {
        let variants = Transport::all().map(Variant::from).collect();
        Blocks::of(&begin(variants, 8, scenario(seed), String::new()))
    }

    #[test]
    fn each_row_and_the_control_run_once_in_each_block_in_an_order_that_the_seed_draws() {
        let (drawn, again, other) = (
            blocks("--seed 7").0,
            blocks("--seed 7").0,
            blocks("--seed 8").0,
        );
        assert_eq!(drawn, again);
        assert_ne!(drawn, other);
        assert!(
            drawn.is_sorted_by_key(|what| what.block),
            "one block after the other"
        );
        let mut rows: Vec<(Variant, bool)> =
            Transport::all().map(|mode| (mode.into(), false)).collect();
        rows.push((Transport::Ws.into(), true));
        for block in 1..=8 {
            let found: Vec<_> = drawn
                .iter()
                .filter(|what| what.block == block)
                .map(|w| (w.variant, w.control))
                .collect();
            assert!(
                found.len() == rows.len() && rows.iter().all(|row| found.contains(row)),
                "{found:?}"
            );
        }
        assert_eq!(drawn.len(), 8 * rows.len());
    }

    #[test]
    fn without_a_seed_one_is_drawn_and_kept_and_the_command_that_repeats_it_has_it() {
        let draw = || {
            begin(
                vec![Transport::Ws.into()],
                1,
                scenario(""),
                "loadgen compare".into(),
            )
        };
        let drawn: Vec<Comparison> = (0..4).map(|_| draw()).collect();
        for comparison in &drawn {
            assert_eq!(
                comparison.command,
                format!("loadgen compare --seed {}", comparison.scenario.seed())
            );
        }
        assert!(
            drawn
                .iter()
                .any(|one| one.scenario.seed != drawn[0].scenario.seed)
        );
        let told = begin(
            vec![Transport::Ws.into()],
            1,
            scenario("--seed 5"),
            "loadgen compare --seed 5".into(),
        );
        assert_eq!(
            (told.scenario.seed(), told.command.as_str()),
            (5, "loadgen compare --seed 5")
        );
    }
}
