//! The audit at its word: a server that drops, doubles, swaps and corrupts exactly this many deliveries.

use loadgen::result::comparison::Comparison;
use loadgen::result::variant::Transport;

use crate::helper::{beside, faulty};

/// Enough messages for batches of several, which a swap needs: the server works slowly.
const LOAD: &str = "--clients 20 --room-size all --rate 100 --interval 50ms --warmup 300ms --duration 2s --json --quiet";

fn run(transport: Transport, faults: &str) -> (i32, Comparison) {
    let output = faulty(&format!("--mode {transport} {LOAD}"))
        .arg("--server-flags")
        .arg(format!("--burn 200us {faults}"))
        .output()
        .expect("loadgen starts");
    let comparison = serde_json::from_slice(&output.stdout);
    (
        output.status.code().unwrap(),
        comparison.unwrap_or_else(|error| panic!("{error}: {output:?}")),
    )
}

#[test]
fn exactly_what_the_server_did_is_what_the_audit_finds() {
    let _turn = beside();
    for transport in Transport::all() {
        for [drop, double, swap, corrupt] in [[1, 3, 2, 5], [7, 4, 1, 9]] {
            let faults = format!(
                "--fault-drop {drop} --fault-double {double} --fault-swap {swap} --fault-corrupt {corrupt}"
            );
            let (code, comparison) = run(transport, &faults);
            let outcome = &comparison.trials[0].outcome;
            let audit = outcome.audit;
            let found = [audit.lost, audit.doubled, audit.reordered, audit.corrupt];
            assert_eq!(
                found,
                [drop, double, swap, corrupt],
                "{transport} with {faults}: {audit:?}"
            );
            assert_eq!(
                (audit.redelivered, audit.unexpected, audit.wrong_room),
                (0, 0, 0),
                "{transport} with {faults}"
            );
            assert_eq!(outcome.unbalanced, 0, "{transport} with {faults}");
            assert_eq!(
                outcome.latency.count(),
                outcome.expected,
                "a sample for everything expected, {transport} with {faults}"
            );
            assert_eq!(code, 1, "a fault fails the run, {transport} with {faults}");
        }
    }
}
