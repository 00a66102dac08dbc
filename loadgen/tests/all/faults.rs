//! What a trial says when it ends before its time: the server dies, or somebody presses Ctrl-C.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::helper::{Running, beside};

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
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    assert_eq!(code, 1);
    assert!(trial["outcome"]["end"]["broken"].as_str().unwrap().contains("the server ended by itself"), "{trial}");
    assert!(trial["outcome"]["delivered"].as_u64().unwrap() > 0, "what was measured is kept");
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
    assert_eq!((&trial["outcome"]["end"], &trial["verdict"]["kind"]), (&"interrupted".into(), &"interrupted".into()));
    assert!(trial["outcome"]["delivered"].as_u64().unwrap() > 0);
    assert_eq!(trial["outcome"]["audit"]["lost"], 0, "an interruption loses nothing");
}
