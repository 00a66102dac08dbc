use super::*;
use crate::comparison::begin;
use crate::judge::verdict;
use crate::result::comparison::tests::add;
use crate::result::histogram::Times;
use crate::result::variant::Transport;

#[test]
fn so_many_sets_are_needed_as_evidence_of_twenty_to_one_takes() {
    // The table of the method: 8 of 8, 11 of 11, 11 of 12, 13 of 14, 14 of 16, 15 of 17, 17 of 20, 20 of 25, 24 of 30, 30 of 40.
    for (n, k) in [
        (8, 8),
        (11, 11),
        (12, 11),
        (14, 13),
        (16, 14),
        (17, 15),
        (20, 17),
        (25, 20),
        (30, 24),
        (40, 30),
    ] {
        assert_eq!(needed(n), Some(k), "of {n}");
    }
    assert!((0..8).all(|n| needed(n).is_none()));
    assert!(needed(1000).is_some_and(|k| (500..600).contains(&k)));
}

#[test]
fn a_ratio_has_the_interval_that_belongs_to_its_count() {
    let ratio = ratio_of((1..=12).rev().map(f64::from).collect()).unwrap();
    assert_eq!((ratio.median, ratio.interval), (6.5, Some((2.0, 11.0))));
    assert_eq!((ratio.blocks, ratio.higher, ratio.beyond), (12, 11, 11));
    assert!(
        ratio.correlation.is_some_and(|r| r > 0.5),
        "one follows the other"
    );
    let few = ratio_of(vec![0.5, 2.0, 0.9]).unwrap();
    assert_eq!((few.median, few.interval), (0.9, None));
    assert_eq!(
        (few.higher, few.beyond),
        (1, 2),
        "below 1, on the median's side"
    );
}

/// Sets whose ratios to baseline and control lie evenly between two values.
fn against(low: f64, high: f64) -> Against {
    let n = 12;
    // Up and down, so that none is like the one before.
    let place = |i: usize| [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11][i] as f64 / (n - 1) as f64;
    let ratios: Vec<f64> = (0..n).map(|i| low + (high - low) * place(i)).collect();
    let ratio = ratio_of(ratios.clone()).unwrap();
    Against {
        ratios,
        to_both: Some([ratio.median; 2]),
        ratio,
    }
}

#[test]
fn a_difference_needs_its_count_of_sets_beyond_five_percent_against_both_and_a_control_that_is_none()
 {
    let control = against(0.97, 1.03).ratio;
    let judged = |against, least| judge(&against, &control, least);
    assert_eq!(judged(against(1.1, 1.3), NEGLIGIBLE), Difference::Higher);
    assert_eq!(judged(against(0.7, 0.9), NEGLIGIBLE), Difference::Lower);
    assert_eq!(judged(against(0.9, 1.3), NEGLIGIBLE), Difference::NotShown);
    assert_eq!(
        judged(against(1.01, 1.3), NEGLIGIBLE),
        Difference::Slight,
        "some of it is negligible"
    );
    assert_eq!(judged(against(1.1, 1.4), LOOPBACK), Difference::Loopback);
    assert_eq!(judged(against(1.6, 1.9), LOOPBACK), Difference::Higher);
    for one in [0, 1] {
        let mut found = against(1.1, 1.3);
        found.to_both.as_mut().unwrap()[one] = 1.04;
        assert_eq!(
            judged(found, NEGLIGIBLE),
            Difference::Slight,
            "not against one of them"
        );
    }
    for control in [against(1.1, 1.2), against(0.8, 0.9)] {
        let found = judge(&against(1.3, 1.6), &control.ratio, NEGLIGIBLE);
        assert_eq!(found, Difference::Noise, "the control differs as well");
    }
    let mut lasting = against(0.97, 1.03).ratio;
    lasting.correlation = Some(-0.7);
    let found = judge(&against(1.3, 1.6), &lasting, NEGLIGIBLE);
    assert_eq!(
        found,
        Difference::Noise,
        "twelve sets that are not twelve looks"
    );
}

#[test]
fn a_word_says_how_much_at_least_and_no_difference_what_would_have_been_shown() {
    let said = |low, high, difference| {
        let Against { ratios, ratio, .. } = against(low, high);
        let variant = Transport::Sse.into();
        Effect {
            variant,
            control: false,
            figure: Figure::Cpu,
            ratios,
            ratio,
            difference: Some(difference),
        }
        .said("set")
    };
    let higher = said(2.1, 3.2, Difference::Higher);
    assert_eq!(higher, "more CPU: at least 2.20 times, 12 of 12 sets");
    let lower = said(0.3, 0.52, Difference::Lower);
    assert_eq!(lower, "less CPU: at most 0.500 times, 12 of 12 sets");
    let none = said(0.9, 1.2, Difference::NotShown);
    assert_eq!(none, "no difference shown, 17 % would have been");
    for difference in [
        Difference::Slight,
        Difference::Noise,
        Difference::Loopback,
        Difference::Own,
    ] {
        assert!(!said(1.1, 1.4, difference).contains("no difference"));
    }
}

#[test]
fn what_loadgen_itself_may_have_made_has_no_word() {
    let words = |own_ms: u64| -> Vec<Difference> {
        let mut comparison = eight(1, 3);
        for trial in &mut comparison.trials {
            if trial.outcome.variant.mode == Transport::Sse {
                trial.outcome.receive_delay = Times::default();
                trial.outcome.receive_delay.record(own_ms * 1_000_000 + 1);
            }
        }
        let effects = effects(&comparison);
        effects
            .into_iter()
            .filter_map(|effect| effect.difference)
            .collect()
    };
    assert_eq!(words(0), [Difference::Higher]);
    assert_eq!(
        words(1),
        [Difference::Own],
        "1 ms of the 2 ms that they are apart"
    );
}

#[test]
fn a_comparison_is_decided_when_all_that_is_judged_has_a_word() {
    let decided = |sse| {
        let mut comparison = eight(10, sse);
        comparison.effects = effects(&comparison);
        is_decided(&comparison)
    };
    assert!(decided(30) && !decided(10));
}

#[test]
fn it_is_decided_too_where_no_more_sets_would_bring_a_word() {
    let mut comparison = eight(10, 30);
    comparison.effects = effects(&comparison);
    let with = |difference: Option<Difference>, sets: usize, median: f64| {
        let mut comparison = comparison.clone();
        for effect in comparison
            .effects
            .iter_mut()
            .filter(|effect| !effect.control)
        {
            (effect.difference, effect.ratio.blocks, effect.ratio.median) =
                (difference, sets, median);
        }
        is_decided(&comparison)
    };
    for (difference, sets, median, expected) in [
        (Some(Difference::Own), 8, 2.0, true),
        (Some(Difference::Loopback), 8, 1.3, true),
        (Some(Difference::Loopback), 8, 1.6, false),
        (Some(Difference::Slight), 8, 1.1, false),
        (Some(Difference::Noise), 8, 1.1, false),
        (Some(Difference::NotShown), 8, 1.0, false),
        // Messages are missing; or there were too few sets of this row so far.
        (None, 8, 2.0, true),
        (None, 7, 2.0, false),
    ] {
        assert_eq!(
            with(difference, sets, median),
            expected,
            "{difference:?}, {sets}, {median}"
        );
    }
    comparison.effects.clear();
    assert!(
        is_decided(&comparison),
        "nothing is compared, and eight sets are enough"
    );
    comparison.blocks = 7;
    assert!(!is_decided(&comparison));
}

/// Eight blocks of ws, its control and sse, whose latency is as many milliseconds.
fn eight(ws: u64, sse: u64) -> Comparison {
    let variants = vec![Transport::Ws.into(), Transport::Sse.into()];
    let scenario = crate::result::scenario::tests::scenario("--duration 2s");
    let mut comparison = begin(variants, 8, scenario, String::new());
    for block in 1..=8 {
        for (mode, control, ms) in [
            (Transport::Ws, false, ws),
            (Transport::Ws, true, ws),
            (Transport::Sse, false, sse),
        ] {
            let mut outcome = crate::result::outcome::tests::empty(mode);
            (outcome.expected, outcome.delivered) = (100, 100);
            outcome.publishing.acked = 100;
            outcome.latency.record(ms * 1_000_000);
            outcome.publishing.own_send_delay.record(1_000);
            outcome.receive_delay.record(1_000);
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
    assert_eq!(words(&eight(1, 3)), [Difference::Higher]);
    for (trial, what) in [(2, "sse"), (0, "ws"), (1, "the control")] {
        let mut lossy = eight(1, 3);
        lossy.trials[trial].outcome.delivered = 99;
        assert_eq!(words(&lossy), [], "{what}: not delivered");
        let mut lossy = eight(1, 3);
        lossy.trials[trial].outcome.audit.lost = 1;
        assert_eq!(words(&lossy), [], "{what}: lost in the warm-up");
        let mut ended = eight(1, 3);
        ended.trials[trial].outcome.delivered = 99;
        ended.trials[trial].outcome.end = crate::result::outcome::End::Interrupted;
        assert_eq!(
            words(&ended),
            [Difference::Higher],
            "{what}: what was under way when a signal came is not missing"
        );
    }
}

/// The rule at its word, looked at after every set up to thirty: with sets that scatter by 10 %, alike and 50 % apart.
#[test]
fn a_difference_is_found_and_none_is_made_up_though_one_looks_after_every_set() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut normal = move || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    let mut found = |apart: f64| {
        let mut sets: Vec<[f64; 3]> = Vec::new();
        (0..30).any(|_| {
            let [value, base, again] = [apart, 1.0, 1.0].map(|size| size * (0.1 * normal()).exp());
            sets.push([value, base, again]);
            let against = Against::of(&sets).unwrap();
            let control = ratio_of(sets.iter().map(|set| set[2] / set[1]).collect()).unwrap();
            needed(sets.len()).is_some()
                && matches!(
                    judge(&against, &control, NEGLIGIBLE),
                    Difference::Higher | Difference::Lower
                )
        })
    };
    let mut count = |apart| (0..200).filter(|_| found(apart)).count();
    let (alike, apart) = (count(1.0), count(1.5));
    assert!(alike <= 2, "{alike} of 200 that are alike");
    assert!(apart >= 190, "{apart} of 200 that are not");
}
