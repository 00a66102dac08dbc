use super::*;
use crate::comparison::begin;
use crate::judge::verdict;
use crate::result::comparison::tests::add;
use crate::result::outcome::tests::empty;
use crate::result::scenario::tests::scenario;
use crate::result::variant::Transport;

const ROUNDS: usize = 4;

/// A normal deviate.
fn normal(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// Sets in which server, round and slice scatter by so much, and the slices of one kind cost more by a factor.
fn sets(n: usize, scatter: [f64; 3], factor: f64) -> Comparison {
    let variants = vec![Transport::Ws.into(), Transport::LongPoll.into()];
    let mut comparison = begin(variants, n, scenario("--seed 1"), String::new());
    let mut random = fastrand::Rng::with_seed(7);
    for set in 1..=n {
        let rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| scatter[1] * normal(&mut random))
            .collect();
        let metered: Vec<bool> = (0..ROUNDS).map(|_| random.bool()).collect();
        for control in [false, true] {
            let server = scatter[0] * normal(&mut random);
            let mut outcome = empty(Transport::Ws);
            for (i, round) in rounds.iter().enumerate() {
                let is_metered = metered[i];
                let slice = scatter[2] * normal(&mut random);
                let cost = if is_metered { factor } else { 1.0 };
                outcome.turns.push(Turn {
                    round: i + 1,
                    place: 1,
                    after: (i > 0).then(|| [Transport::Sse, Transport::LongPoll][i % 2].into()),
                    is_metered,
                    latency_p50_ms: None,
                    server_cpu_us: Some(30.0 * cost * (server + round + slice).exp()),
                    server_switches: Some(if i > 1 { 0.2 } else { 0.1 }),
                    stolen_percent: Some(i as f64),
                    probe_us: None,
                });
            }
            let verdict = verdict::of(&outcome);
            add(&mut comparison, set, control, outcome, verdict);
        }
    }
    comparison
}

#[test]
fn what_scatters_by_server_by_round_and_by_slice_is_told_apart() {
    for scatter in [[0.1, 0.0, 0.02], [0.0, 0.1, 0.02], [0.02, 0.02, 0.1]] {
        let found = components(&sets(400, scatter, 1.0));
        let [found] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((&*found.metric, found.sets), ("server_cpu_us", 400));
        let found = [
            found.instance_percent,
            found.round_percent,
            found.slice_percent,
        ];
        for (found, put_in) in found.into_iter().zip(scatter) {
            assert!(
                (found - 100.0 * put_in).abs() < 1.5,
                "{found} of {scatter:?}"
            );
        }
    }
}

#[test]
fn what_is_done_to_some_slices_and_not_to_others_is_seen() {
    for factor in [1.0, 1.1] {
        let all = contrasts(&sets(100, [0.1, 0.1, 0.05], factor));
        let of = |id: &str| all.iter().find(|contrast| contrast.id == id).unwrap();
        let (meter, carry) = (of("meter"), of("carry_over"));
        assert!((meter.ratio / factor - 1.0).abs() < 0.03, "{meter:?}");
        assert!(
            meter.interval.0 < factor && factor < meter.interval.1,
            "{meter:?}"
        );
        assert!(
            carry.interval.0 < 1.0 && 1.0 < carry.interval.1,
            "{carry:?}"
        );
        let disturbed = of("disturbed");
        assert!(
            (disturbed.ratio - 2.0).abs() < 1e-9 && disturbed.sets == 100,
            "{disturbed:?}"
        );
    }
}

#[test]
fn few_sets_tell_nothing() {
    let few = sets(3, [0.1, 0.1, 0.1], 2.0);
    assert_eq!((components(&few), contrasts(&few)), (vec![], vec![]));
}
