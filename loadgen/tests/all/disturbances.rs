//! Connections cut on purpose, and a server that is killed: over every transport nothing is lost, and what is told is told.

use std::collections::HashMap;
use std::process::{Child, Stdio};

use loadgen::result::comparison::Comparison;
use loadgen::result::outcome::Outcome;
use loadgen::result::variant::Transport;

use crate::helper::{beside, loadgen};

/// A trial of each transport, all at once: whether they end well is looked at here, not by their exit codes.
fn trials(arguments: &str) -> Vec<Outcome> {
    let start = |mode: Transport| {
        let mut command = loadgen(&format!("--mode {mode} {arguments} --json --quiet"));
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("loadgen starts")
    };
    let started: Vec<Child> = Transport::all().map(start).collect();
    let end = |child: Child| {
        let output = child.wait_with_output().unwrap();
        let comparison: Comparison = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        comparison.trials.into_iter().next().unwrap().outcome
    };
    started.into_iter().map(end).collect()
}

/// That all were back, and that nothing was lost in silence, came twice, or out of order.
fn is_sound(outcome: &Outcome) {
    let (recovery, name) = (outcome.recovery.as_ref().unwrap(), outcome.variant);
    eprintln!(
        "{name}: {} lost, {} on purpose, back {:?}, peak {} connects, {} behind; {:?}",
        recovery.lost,
        recovery.planned,
        [0.5, 0.99, 1.0].map(|share| recovery.back.ms(share)),
        recovery.peak_connects,
        recovery.behind,
        outcome.audit
    );
    assert!(outcome.audit.is_clean(), "{name}: {:?}", outcome.audit);
    assert_eq!(recovery.away, 0, "{name}");
    assert_eq!(outcome.failure(), None, "{name}");
}

#[test]
fn cuts_of_every_kind_lose_nothing() {
    let _turn = beside();
    for kind in ["rst", "fin", "silence,patience=500ms"] {
        let cut = format!("--cut every=1s,kind={kind} --reconnect fixed=100ms");
        let load = "--clients 60 --rate 10 --interval 200ms --warmup 500ms --duration 3s";
        for outcome in &trials(&format!("{load} {cut}")) {
            is_sound(outcome);
            let recovery = outcome.recovery.as_ref().unwrap();
            // 180 in the mean, but for the time that they are away.
            assert!(recovery.planned > 40, "{}: {recovery:?}", outcome.variant);
            assert_eq!(outcome.delivered, outcome.expected, "{}", outcome.variant);
            if kind.starts_with("silence") {
                let shortest = recovery.back.ms(0.0).unwrap();
                assert!(shortest >= 499.0, "{}: {shortest}", outcome.variant);
            }
        }
    }
}

#[test]
fn a_storm_with_jitter_is_spread_and_one_without_is_a_crowd() {
    let _turn = beside();
    let load = "--clients 300 --rate 1 --interval 500ms --warmup 500ms --duration 4s --storm at=1s";
    let peaks = |reconnect: &str| -> HashMap<Transport, u64> {
        let outcomes = trials(&format!("{load} --reconnect {reconnect}"));
        let peak = |outcome: &Outcome| {
            is_sound(outcome);
            let recovery = outcome.recovery.as_ref().unwrap();
            assert_eq!(recovery.planned, 300, "{}", outcome.variant);
            (outcome.variant.mode, recovery.peak_connects)
        };
        outcomes.iter().map(peak).collect()
    };
    let (spread, crowd) = (peaks("jitter"), peaks("none"));
    // A short poll comes back when its next question is due, whatever it was told.
    for mode in Transport::all().filter(|mode| *mode != Transport::ShortPoll) {
        let (spread, crowd) = (spread[&mode], crowd[&mode]);
        assert!(
            2 * spread < crowd,
            "{mode}: {spread} with jitter, {crowd} without"
        );
    }
}

#[test]
fn a_storm_may_meet_a_share_of_the_clients() {
    let _turn = beside();
    let load = "--clients 200 --rate 1 --warmup 200ms --duration 2s --storm at=500ms,share=25%";
    for outcome in trials(&format!("{load} --interval 300ms")) {
        is_sound(&outcome);
        let planned = outcome.recovery.unwrap().planned;
        assert!((40..=60).contains(&planned), "{planned}");
    }
}

#[test]
fn a_server_that_is_killed_is_told_of_and_its_clients_come_back() {
    let _turn = beside();
    let load = "--clients 60 --rate 5 --interval 200ms --warmup 500ms --duration 5s --server-restart at=2s";
    for outcome in &trials(load) {
        is_sound(outcome);
        let name = outcome.variant;
        assert!(outcome.audit.gaps > 0, "{name}: nothing was told");
        assert_eq!(outcome.connections.cut, 0, "{name}");
        let late = outcome.series.iter().rev().take(2).sum::<u64>();
        assert!(late > 0, "{name}: nothing came afterwards");
        assert!(outcome.usage.server_cpu_ns.is_some(), "{name}");
    }
}
