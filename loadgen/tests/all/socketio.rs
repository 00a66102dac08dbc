//! Socket.IO by this server and by the tutorial's own on Node: measured like the rest, and nothing is lost.

use std::path::Path;

use loadgen::comparison::load;

use crate::helper::{Folder, alone, loadgen};

/// Where npm's package is kept for these tests.
const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/cache");

#[test]
fn ours_and_nodes_are_measured_beside_ws_and_lose_nothing() {
    let _turn = alone();
    let folder = Folder::new("socketio");
    let load_of = "compare -m ws,socketio,socketio-polling,socketio-node -c 40 --rate 20 -z 2s --sets 1 --quiet --out";
    let mut command = loadgen(load_of);
    let said = command
        .arg(&folder.0)
        .env("XDG_CACHE_HOME", CACHE)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stderr);
    let result = std::fs::read_dir(&folder.0).unwrap().next();
    let result = result
        .unwrap_or_else(|| panic!("no result; install nodejs and npm (./test.sh does): {said}"));
    let comparison = load(&result.unwrap().path()).unwrap();
    assert_eq!(comparison.trials.len(), 5, "{said}");
    for trial in &comparison.trials {
        let outcome = &trial.outcome;
        let name = outcome.variant;
        assert!(outcome.delivered > 500, "{name}: {}", outcome.delivered);
        assert_eq!(outcome.delivered, outcome.expected, "{name}");
        let audit = outcome.audit;
        assert_eq!(
            (audit.lost, audit.doubled, audit.reordered),
            (0, 0, 0),
            "{name}"
        );
        assert!(outcome.latency.ms(0.5).unwrap() < 500.0, "{name}");
    }
}

#[test]
fn without_node_it_is_said_what_is_missing() {
    let folder = Folder::new("no-node");
    let mut command = loadgen("--mode socketio-node -c 1 -z 1s --quiet");
    command
        .env("PATH", Path::new("/nowhere"))
        .env("XDG_CACHE_HOME", &folder.0);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("needs Node and npm"), "{said}");
}
