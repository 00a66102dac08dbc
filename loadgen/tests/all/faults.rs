//! What a trial says of a server that dies or stops for a while, and what it keeps when somebody presses Ctrl-C.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::helper::{Running, beside, stop_for};

/// Longer than the test takes.
const LOAD: &str = "--mode ws --clients 40 --rate 20 --warmup 500ms --duration 30s";
/// Until something has been measured.
const SOME: Duration = Duration::from_secs(1);

#[test]
fn a_server_that_dies_ends_the_trial_within_seconds_with_what_it_had() {
    let _turn = beside();
    let running = Running::start(LOAD);
    std::thread::sleep(SOME);
    let killed = Instant::now();
    kill_process(running.server(), Signal::KILL).unwrap();
    let (code, trial) = running.end();
    assert!(
        killed.elapsed() < Duration::from_secs(10),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(code, 1);
    assert!(
        trial["outcome"]["end"]["broken"]
            .as_str()
            .unwrap()
            .contains("the server ended by itself"),
        "{trial}"
    );
    assert!(
        trial["outcome"]["delivered"].as_u64().unwrap() > 0,
        "what was measured is kept"
    );
}

#[test]
fn a_server_that_stops_for_a_second_is_seen_in_the_latencies_of_every_transport() {
    let _turn = beside();
    let trials = ["short-poll", "long-poll", "sse", "ws"].map(|mode| {
        std::thread::spawn(move || {
            let load = "--clients 20 --rate 20 --interval 100ms --warmup 500ms --duration 5s";
            let running = Running::start(&format!("--mode {mode} {load}"));
            stop_for(running.server(), Duration::from_secs(1));
            (mode, running.end().1)
        })
    });
    for (mode, trial) in trials.map(|trial| trial.join().unwrap()) {
        let latency = &trial["outcome"]["latency"];
        let [p50, p99, max] =
            ["p50_us", "p99_us", "max_us"].map(|name| latency[name].as_u64().unwrap());
        // A fifth of all messages were due meanwhile; the last of each second waits least.
        assert!(
            p99 > 500_000 && max > 700_000 && p50 < p99 / 2,
            "{mode}: {latency}"
        );
    }
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_says_interrupted() {
    let _turn = beside();
    // A shell without job control starts what is in the background with SIGINT ignored, tests as well.
    let running = Running::start_in(&["env", "--default-signal=INT"], LOAD);
    std::thread::sleep(SOME);
    kill_process(running.own(), Signal::INT).unwrap();
    let (code, trial) = running.end();
    assert_eq!(code, 130);
    assert_eq!(
        (&trial["outcome"]["end"], &trial["verdict"]["kind"]),
        (&"interrupted".into(), &"interrupted".into())
    );
    assert!(trial["outcome"]["delivered"].as_u64().unwrap() > 0);
    assert_eq!(
        trial["outcome"]["audit"]["lost"], 0,
        "an interruption loses nothing"
    );
}
