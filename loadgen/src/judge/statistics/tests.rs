use super::*;
use crate::comparison::begin;
use crate::judge::verdict;
use crate::result::comparison::tests::add;
use crate::result::variant::Transport;

#[test]
fn the_interval_of_ten_is_from_the_second_to_the_ninth_and_of_thirty_from_the_tenth_to_the_twenty_first()
 {
    assert_eq!([5, 6, 10, 30].map(rank), [None, Some(1), Some(2), Some(10)]);
    let ratio = ratio_of((1..=10).rev().map(f64::from).collect()).unwrap();
    assert_eq!((ratio.median, ratio.interval), (5.5, Some((2.0, 9.0))));
    let few = Ratio {
        blocks: 3,
        higher: 2,
        median: 2.0,
        interval: None,
    };
    assert_eq!(ratio_of(vec![1.0, 2.0, 4.0]).unwrap(), few);
}

#[test]
fn a_difference_needs_an_interval_beyond_a_negligible_difference_and_apart_from_the_control_and_what_is_none_says_why()
 {
    let ratio = |low, high| Ratio {
        blocks: 10,
        higher: 5,
        median: 1.0,
        interval: Some((low, high)),
    };
    let control = Some(ratio(0.95, 1.04));
    let judged = |found, control| judge(found, control, NEGLIGIBLE);
    assert_eq!(judged(ratio(1.1, 1.3), control), Difference::Higher);
    assert_eq!(judged(ratio(0.7, 0.9), control), Difference::Lower);
    assert_eq!(
        judged(ratio(0.9, 1.3), control),
        Difference::NotShown,
        "1 is in it"
    );
    assert_eq!(
        judged(ratio(1.01, 1.3), Some(ratio(0.95, 1.0))),
        Difference::Slight,
        "a negligible difference"
    );
    assert_eq!(
        judged(ratio(1.1, 1.3), Some(ratio(0.9, 1.2))),
        Difference::Noise,
        "as the control differs"
    );
    assert_eq!(
        judged(ratio(1.1, 1.3), None),
        Difference::Noise,
        "without a control nobody knows the noise"
    );
    assert_eq!(
        judge(ratio(1.1, 1.4), control, LOOPBACK),
        Difference::Loopback,
        "loopback's bill"
    );
    assert_eq!(
        judge(ratio(1.6, 1.9), control, LOOPBACK),
        Difference::Higher
    );
    let word = |difference| {
        let variant = Transport::Sse.into();
        Effect {
            variant,
            control: false,
            figure: Figure::Cpu,
            ratio: ratio(1.1, 1.4),
            difference: Some(difference),
        }
        .word()
    };
    for difference in [Difference::Slight, Difference::Noise, Difference::Loopback] {
        assert!(
            !word(difference).contains("no difference"),
            "{difference:?} has an interval that excludes 1"
        );
    }
}

/// Six blocks of ws, its control and sse, whose latency is as many milliseconds.
fn six(ws: u64, sse: u64) -> Comparison {
    let variants = vec![Transport::Ws.into(), Transport::Sse.into()];
    let scenario = crate::result::scenario::tests::scenario("--duration 2s");
    let mut comparison = begin(variants, 6, scenario, String::new());
    for block in 1..=6 {
        for (mode, control, ms) in [
            (Transport::Ws, false, ws),
            (Transport::Ws, true, ws),
            (Transport::Sse, false, sse),
        ] {
            let mut outcome = crate::result::outcome::tests::empty(mode);
            (outcome.expected, outcome.delivered) = (100, 100);
            outcome.publishing.acked = 100;
            outcome.latency.record(ms * 1_000_000);
            let verdict = verdict::of(&outcome);
            add(&mut comparison, block, control, outcome, verdict);
        }
    }
    comparison
}

#[test]
fn who_misses_a_message_is_left_out_of_every_word_and_a_baseline_that_does_takes_all_words_with_it()
{
    let words = |comparison: &Comparison| -> Vec<Difference> {
        effects(comparison)
            .into_iter()
            .filter_map(|effect| effect.difference)
            .collect()
    };
    assert_eq!(words(&six(1, 3)), [Difference::Higher]);
    for (trial, what) in [(2, "sse"), (0, "ws"), (1, "the control")] {
        let mut lossy = six(1, 3);
        lossy.trials[trial].outcome.delivered = 99;
        assert_eq!(words(&lossy), [], "{what}: not delivered");
        let mut lossy = six(1, 3);
        lossy.trials[trial].outcome.audit.lost = 1;
        assert_eq!(words(&lossy), [], "{what}: lost in the warm-up");
        let mut ended = six(1, 3);
        ended.trials[trial].outcome.delivered = 99;
        ended.trials[trial].outcome.end = crate::result::outcome::End::Interrupted;
        assert_eq!(
            words(&ended),
            [Difference::Higher],
            "{what}: what was under way when a signal came is not missing"
        );
    }
}

/// The design at its word: with blocks that scatter by 10 %, and by as much as is said to be detectable.
#[test]
fn what_is_called_detectable_is_found_in_four_of_five_comparisons_and_control_are_not() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut normal = move || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    let control: Vec<f64> = (0..300).map(|_| (0.1 * normal()).exp()).collect();
    for blocks in [10, 30] {
        let mut found = |ratio: f64| {
            let mut draw = |ratio: f64| {
                ratio_of(
                    (0..blocks)
                        .map(|_| ratio * (0.1 * normal()).exp())
                        .collect(),
                )
                .unwrap()
            };
            (0..400)
                .filter(|_| judge(draw(ratio), Some(draw(1.0)), NEGLIGIBLE) == Difference::Higher)
                .count()
        };
        let size = detectable(&control, blocks).unwrap();
        let share = found(size) as f64 / 400.0;
        assert!(
            (0.65..0.92).contains(&share),
            "{blocks} blocks found {size} in {share}"
        );
        assert!(found(1.0) <= 2, "{blocks} blocks without a difference");
    }
}

#[test]
fn binomial_sums_are_right() {
    assert!((binomial_below(2, 10, 0.5) - 11.0 / 1024.0).abs() < 1e-12);
    assert!((binomial_below(3, 3, 0.3) - (1.0 - 0.027)).abs() < 1e-12);
}
