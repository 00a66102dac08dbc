use super::*;
use crate::result::scenario::tests::scenario;
use crate::result::usage::Totals;
use crate::result::variant::Variant;

fn times(count: usize, us: u64) -> Times {
    let mut times = Times::default();
    (0..count).for_each(|_| times.record(us * 1000));
    times
}

/// In ten seconds 100 messages to four subscribers each, of which every one came 1.5 ms after it was due, 1 ms after it
/// was acked; the server spent 100 us on each delivery.
fn outcome(variant: Variant) -> Outcome {
    let mut outcome = Outcome {
        variant,
        ..crate::result::outcome::tests::empty(variant.mode)
    };
    outcome.latency = times(400, 1500);
    outcome.publishing.acks = times(100, 1000);
    outcome.publishing.acked = 100;
    let usage = &mut outcome.usage;
    (usage.seconds, usage.deliveries, usage.server_cpu_ns) = (10.0, 400, Some(40_000_000));
    outcome
}

/// The same where each of 250 requests is answered, 50 of them with nothing.
fn polled(mode: Transport) -> Outcome {
    let mut outcome = outcome(mode.into());
    outcome.realised.base = times(100, 2000);
    // By the schedule: not the same, so that it is seen which of both counts.
    (outcome.realised.polls, outcome.realised.empties) = (240, 60);
    outcome.usage.traffic = Totals {
        requests: 250,
        empties: 50,
        ..Totals::default()
    };
    outcome
}

fn assert_close(what: &str, found: f64, expected: f64) {
    let allowed = 1e-3 * expected.abs().max(1e-3);
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found}, and not {expected}"
    );
}

fn assert_checks(
    outcome: &Outcome,
    scenario: &Scenario,
    expected: &[(&str, f64, f64, Option<f64>)],
) {
    let found = answers(outcome, scenario);
    assert_eq!(
        found
            .iter()
            .map(|answer| answer.what.as_str())
            .collect::<Vec<_>>(),
        expected.iter().map(|row| row.0).collect::<Vec<_>>()
    );
    for (answer, (what, predicted, measured, tolerance)) in found.iter().zip(expected) {
        assert_close(what, answer.predicted, *predicted);
        assert_close(what, answer.measured, *measured);
        assert_eq!(answer.tolerance.is_some(), tolerance.is_some(), "{what}");
        assert_close(
            what,
            answer.tolerance.unwrap_or_default(),
            tolerance.unwrap_or_default(),
        );
    }
}

#[test]
fn an_even_wait_on_a_constant_base_is_a_shifted_uniform() {
    let predicted = Predicted {
        base: vec![5.0; 10],
        width: 100.0,
    };
    assert!(
        (predicted.mean() - 55.0).abs() < 1e-9 && (predicted.quantile(0.9) - 95.0).abs() < 1e-6
    );
    assert!((predicted.spread() - 100.0 / 12_f64.sqrt()).abs() < 1e-9);
    let mut measured = Times::default();
    (0..10_000_u64).for_each(|i| measured.record(5_000_000 + i * 10_000));
    assert!(
        predicted.ks(&measured) < 0.005,
        "{}",
        predicted.ks(&measured)
    );
}

#[test]
fn a_wait_on_an_uneven_base_spreads_by_both() {
    let predicted = Predicted {
        base: vec![1.0, 1.0, 4.0, 6.0],
        width: 12.0,
    };
    assert_close("mean", predicted.mean(), 9.0);
    // The variance of the base is 4.5, that of the wait 12.
    assert_close("spread", predicted.spread(), 16.5_f64.sqrt());
    // Up to 7 came half of those at 1, a quarter of those at 4, a twelfth of those at 6.
    assert_close(
        "share",
        predicted.share_within(7.0),
        (0.5 + 0.5 + 0.25 + 1.0 / 12.0) / 4.0,
    );
    assert_close("none", predicted.share_within(1.0), 0.0);
    assert_close("all", predicted.share_within(18.0), 1.0);
    assert_close("the last", predicted.quantile(1.0), 18.0);
}

#[test]
fn a_check_holds_up_to_its_tolerance_and_what_has_none_is_only_shown() {
    let check = |measured, tolerance| {
        let (id, what) = (String::new(), String::new());
        KnownAnswer {
            id,
            what,
            predicted: 10.0,
            measured,
            tolerance,
        }
        .holds()
    };
    assert_eq!(check(10.5, Some(0.5)), Some(true));
    assert_eq!(check(9.5, Some(0.5)), Some(true));
    assert_eq!(check(10.6, Some(0.5)), Some(false));
    assert_eq!(check(9.4, Some(0.5)), Some(false));
    assert_eq!(check(9.4, None), None);
}

#[test]
fn a_stream_waits_for_those_before_it() {
    let scenario = scenario("--clients 24 --room-size 8 --payload 40");
    let latency = [
        ("latency mean, ms", 1.4, 1.5, None),
        (
            "latency standard deviation, ms",
            0.8 / 12_f64.sqrt(),
            0.0,
            None,
        ),
        ("latency p50, ms", 1.4, 1.5, None),
        // Three eighths should have waited longer than everybody did.
        ("distance of the two distributions, KS", 0.0, 0.375, None),
    ];
    for mode in [
        Transport::Sse,
        Transport::Ws,
        Transport::WsStock,
        Transport::SseStock,
    ] {
        assert_checks(&outcome(mode.into()), &scenario, &latency);
    }
}

#[test]
fn a_short_poll_waits_for_its_turn() {
    let flags = "--clients 24 --room-size 2 --payload 40 --interval 500ms";
    let outcome = polled(Transport::ShortPoll);
    let expected = [
        ("latency mean, ms", 252.0, 1.5, None),
        (
            "latency standard deviation, ms",
            500.0 / 12_f64.sqrt(),
            0.0,
            None,
        ),
        ("latency p50, ms", 252.0, 1.5, None),
        (
            "distance of the two distributions, KS",
            0.0,
            1.0,
            Some(0.05),
        ),
        ("requests per second, N/T", 48.0, 25.0, Some(0.48)),
        ("empty answers, %", 25.0, 20.0, Some(0.5)),
    ];
    assert_checks(&outcome, &scenario(flags), &expected);
}

#[test]
fn a_long_poll_misses_what_comes_between_two_questions() {
    let scenario = scenario("--clients 24 --room-size 4 --payload 40 --rate 500 --hold 2ms");
    let outcome = polled(Transport::LongPoll);
    let cycle = 0.001 + (-0.5_f64).exp() * (1.0 - (-1.0_f64).exp()) / 500.0;
    let gap = Gap::of(&outcome, &scenario);
    assert_close("the gap", gap.length, 0.001);
    assert_close("the cycle", gap.cycle, cycle);
    let found = answers(&outcome, &scenario);
    let of = |what: &str| {
        found
            .iter()
            .find(|answer| answer.what == what)
            .unwrap_or_else(|| panic!("{what}"))
    };
    for (what, predicted, measured) in [
        // Whoever asks again only now has missed it: an exponential distribution with a mean of one message.
        ("timeouts, % of answers", 100.0 * (-1.5_f64).exp(), 20.0),
        ("messages per answer", 500.0 * cycle, 1.6),
    ] {
        assert_close(what, of(what).predicted, predicted);
        assert_close(what, of(what).measured, measured);
    }
    // A share of gap/cycle waits up to the gap of 1 ms more, whoever comes last 0.4 ms.
    let share = 0.001 / cycle;
    let variance = share / 3.0 - (share / 2.0).powi(2) + 0.4_f64.powi(2) / 12.0;
    let near = |what: &str, expected: f64| {
        assert!(
            (of(what).predicted - expected).abs() < 0.005,
            "{what}: {}, and not {expected}",
            of(what).predicted
        );
    };
    near("latency mean, ms", 1.2 + share / 2.0);
    near("latency standard deviation, ms", variance.sqrt());
    assert!(found.len() == 6 && of("latency p50, ms").tolerance.is_none());
}

#[test]
fn who_waits_for_a_long_poll_is_spread_over_all_that_is_published() {
    let scenario = scenario("--clients 24 --room-size 4 --rate 500 --hold 2ms");
    let mut outcome = polled(Transport::LongPoll);
    // The later half of the publishes takes longer.
    outcome.publishing.acks = times(100, 1000);
    outcome.publishing.acks.add(&times(100, 1001));
    let predicted = predicted(
        &outcome,
        &scenario,
        &Gap {
            length: 0.001,
            cycle: 0.002,
        },
    )
    .unwrap();
    let later = |base: &[f64]| base.iter().filter(|&&ms| ms > 1.002).count();
    assert_eq!(predicted.base.len(), POINTS);
    let (first, last) = predicted.base.split_at(POINTS / 2);
    assert!((120..=125).contains(&later(first)) && (120..=125).contains(&later(last)));
}

#[test]
fn nothing_is_predicted_of_what_was_not_measured() {
    let scenario = scenario("");
    assert!(
        answers(
            &crate::result::outcome::tests::empty(Transport::Ws),
            &scenario
        )
        .is_empty()
    );
    let mut outcome = outcome(Transport::Ws.into());
    outcome.usage.server_cpu_ns = None;
    assert!(
        answers(&outcome, &scenario).is_empty(),
        "a server of somebody else's has no cost that is known"
    );
    outcome = polled(Transport::ShortPoll);
    outcome.usage.seconds = 0.0;
    assert!(
        answers(&outcome, &scenario)
            .iter()
            .all(|answer| answer.what != "requests per second, N/T")
    );
}
