//! What a trial says when something goes wrong under it: the server stalls or dies, loadgen itself is held up, Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LOAD: &str = "--mode ws --clients 40 --rate 20 --warmup 500ms --duration 5s --json";

/// A trial under way, in its measuring window.
struct Running {
    loadgen: Child,
}

impl Running {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
        command.args(LOAD.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut loadgen = command.spawn().expect("loadgen starts");
        // The pipe has to stay open for the later lines of progress.
        let mut progress = BufReader::new(loadgen.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("measuring") {
            line.clear();
            assert!(progress.read_line(&mut line).unwrap() > 0, "it ended before it measured");
        }
        std::thread::spawn(move || std::io::copy(&mut progress, &mut std::io::sink()));
        Self { loadgen }
    }

    fn own(&self) -> Pid {
        Pid::from_child(&self.loadgen)
    }

    fn server(&self) -> Pid {
        let id = self.loadgen.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.trim().parse().expect("one child, the server")).unwrap()
    }

    /// The exit code and the only trial of the JSON.
    fn end(self) -> (i32, Value) {
        let output = self.loadgen.wait_with_output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).expect("the JSON, whatever happened");
        (output.status.code().expect("it exits by itself"), json["trials"][0].clone())
    }
}

fn stop_for(process: Pid, time: Duration) {
    kill_process(process, Signal::STOP).unwrap();
    std::thread::sleep(time);
    kill_process(process, Signal::CONT).unwrap();
}

#[test]
fn a_server_that_stalls_is_seen_in_the_latency_and_loses_nothing() {
    let running = Running::start();
    stop_for(running.server(), Duration::from_secs(1));
    let (code, trial) = running.end();
    assert_eq!(code, 0, "a stall is a result: {trial}");
    assert!(trial["outcome"]["latency"]["max_us"].as_u64().unwrap() > 900_000, "{}", trial["outcome"]["latency"]);
    assert_eq!(trial["outcome"]["audit"]["lost"], 0);
    let publishing = &trial["outcome"]["publishing"];
    assert_eq!(publishing["acked"], publishing["scheduled"], "what waited for the stalled server came in the end");
}

#[test]
fn loadgen_held_up_says_so_of_itself() {
    let running = Running::start();
    stop_for(running.own(), Duration::from_millis(300));
    let (code, trial) = running.end();
    assert_eq!(code, 0);
    assert_eq!(trial["verdict"]["kind"], "generator-limited");
}

#[test]
fn a_server_that_dies_ends_the_trial_within_seconds_with_what_it_had() {
    let running = Running::start();
    std::thread::sleep(Duration::from_millis(500));
    let killed = Instant::now();
    kill_process(running.server(), Signal::KILL).unwrap();
    let (code, trial) = running.end();
    assert!(killed.elapsed() < Duration::from_secs(4), "{:?}", killed.elapsed());
    assert_eq!(code, 1);
    assert!(trial["outcome"]["end"]["broken"].as_str().unwrap().contains("the server ended by itself"), "{trial}");
    assert!(trial["outcome"]["delivered"].as_u64().unwrap() > 0, "what was measured is kept");
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_says_interrupted() {
    let running = Running::start();
    std::thread::sleep(Duration::from_millis(500));
    kill_process(running.own(), Signal::INT).unwrap();
    let (code, trial) = running.end();
    assert_eq!(code, 130);
    assert_eq!((&trial["outcome"]["end"], &trial["verdict"]["kind"]), (&"interrupted".into(), &"interrupted".into()));
    assert!(trial["outcome"]["delivered"].as_u64().unwrap() > 0);
    assert_eq!(trial["outcome"]["audit"]["lost"], 0, "an interruption loses nothing");
}
