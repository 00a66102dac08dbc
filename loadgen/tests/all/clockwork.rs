//! Known answers: a delay put into the server comes out of the measurement, and polling is as theory has it.

use loadgen::judge::theory::answers;
use loadgen::result::comparison::Comparison;
use loadgen::result::outcome::Outcome;
use loadgen::result::variant::Transport;

use crate::helper::{alone, faulty};
use crate::others::Others;

const POINTS: usize = 1000;
/// What is to be found within 1 ms on a calm machine; twice that here.
const SLACK_MS: f64 = 2.0;

fn run(arguments: &str, server_flags: &str) -> Comparison {
    let mut command = faulty(&format!("{arguments} --json --quiet --server-flags"));
    let output = command.arg(server_flags).output().expect("loadgen starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The latencies of a trial against a server with this delay, as this many quantiles in milliseconds.
fn latencies(transport: Transport, delay: &str) -> Vec<f64> {
    let load = "--clients 40 --rate 50 --interval 50ms --warmup 500ms --duration 4s";
    let comparison = run(
        &format!("--mode {transport} {load}"),
        &format!("--inject-delay {delay}"),
    );
    comparison.trials[0].outcome.latency.points(POINTS)
}

/// The first Wasserstein distance of two samples of one size, each given as its quantiles in order: how far, on
/// average, one has to be moved to be the other.
fn w1(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len().max(1) as f64
}

/// The distribution of a sum of two independent quantities, as this many quantiles.
fn sum_of(a: &[f64], b: &[f64], points: usize) -> Vec<f64> {
    let mut sums: Vec<f64> = a
        .iter()
        .flat_map(|a| b.iter().map(move |b| a + b))
        .collect();
    sums.sort_unstable_by(f64::total_cmp);
    let at = |i: usize| ((i as f64 + 0.5) / points as f64 * sums.len() as f64) as usize;
    (0..points)
        .filter_map(|i| sums.get(at(i)).copied())
        .collect()
}

/// Once more if it does not hold at once; and up to five times where others were seen on the machine.
fn soon(what: &str, holds: impl Fn() -> Result<(), String>) {
    let _turn = alone();
    let mut misses = Vec::new();
    loop {
        let others = Others::watch();
        let Err(miss) = holds() else { return };
        misses.push((miss, others.seen()));
        let calm = misses.iter().filter(|(_, others)| others.is_none()).count();
        assert!(calm < 2 && misses.len() < 5, "{what}: {misses:?}");
    }
}

#[test]
fn an_injected_delay_comes_out_of_every_transport() {
    const MEAN: f64 = 20.0;
    let exponential: Vec<f64> = (0..200)
        .map(|i| -MEAN * (1.0 - (f64::from(i) + 0.5) / 200.0).ln())
        .collect();
    for &transport in Transport::ALL {
        for (flag, injected) in [("20ms", &vec![MEAN]), ("exp:20ms", &exponential)] {
            soon(&format!("{transport}, {flag}"), || {
                let (base, delayed) = (latencies(transport, "0ms"), latencies(transport, flag));
                let distance = w1(&delayed, &sum_of(&base, injected, POINTS));
                eprintln!("{transport}, {flag}: W1 {distance:.3} ms");
                if distance <= SLACK_MS {
                    Ok(())
                } else {
                    Err(format!("{distance} ms"))
                }
            });
        }
    }
}

#[test]
fn short_polling_is_as_theory_has_it() {
    let load =
        "--mode short-poll --clients 200 --rate 2 --interval 500ms --warmup 1s --duration 8s";
    soon("short polling", || {
        let comparison = run(load, "");
        let outcome: &Outcome = &comparison.trials[0].outcome;
        let checks = answers(outcome, &comparison.scenario);
        assert_eq!(
            checks
                .iter()
                .filter(|check| check.tolerance.is_some())
                .count(),
            3,
            "KS, requests, empties"
        );
        let differ: Vec<_> = checks
            .iter()
            .filter(|check| check.holds() == Some(false))
            .collect();
        if differ.is_empty() {
            Ok(())
        } else {
            Err(format!("{differ:?}"))
        }
    });
}

#[test]
fn a_shift_is_its_own_distance_and_sums_have_the_sum_of_the_means() {
    let even: Vec<f64> = (0..100).map(|i| f64::from(i) / 10.0).collect();
    let moved: Vec<f64> = even.iter().map(|x| x + 2.5).collect();
    assert!((w1(&even, &moved) - 2.5).abs() < 1e-9);
    let sums = sum_of(&even, &even, 50);
    assert!((sums.iter().sum::<f64>() / 50.0 - 9.9).abs() < 0.05);
}
