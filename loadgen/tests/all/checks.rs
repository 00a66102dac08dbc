//! Negative controls: what spoils a measurement trips the check that is meant for it and no other.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use loadgen::comparison::load;
use loadgen::cores::{self, pin};
use loadgen::result::comparison::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::helper::{Folder, Running, Watched, alone, failing, loadgen, stop_for};
use crate::others::Others;

/// What others on the machine can trip, and what only follows from that.
const NOISE: [&str; 10] = [
    "stolen share of the CPU time asked for",
    "time stolen from a core in use",
    "others on loadgen's cores",
    "loadgen's wait for a core",
    "loadgen's timer delay p99",
    "loadgen's timer delay max",
    "send delay p99",
    "messages the pacer missed",
    "client receive delay p99",
    "p50 from half to half",
];

/// The control trips this check and no other, and so has this verdict.
fn trips(check: &str, kind: &str, control: impl Fn() -> Value) {
    tripped_are(&[check], || {
        let trial = control();
        let failing = failing(&trial);
        if failing == [check] {
            assert_eq!(trial["verdict"]["kind"], kind);
        }
        failing
    });
}

/// The control trips no check.
fn trips_nothing(control: impl Fn() -> Value) {
    tripped_are(&[], || failing(&control()));
}

/// In two attempts of three exactly these checks are tripped; and where others were seen on the machine, which loadgen is
/// not asked, what follows from them may be tripped too.
fn tripped_are(checks: &[&str], attempt: impl Fn() -> Vec<String>) {
    let _turn = alone();
    let mut misses = Vec::new();
    let mut hits = 0;
    while hits < 2 {
        let others = Others::watch();
        let tripped = attempt();
        let others = others.seen();
        let is_told = |name: &&String| {
            checks.contains(&&***name) || others.is_none() || !NOISE.contains(&&***name)
        };
        if tripped.iter().filter(is_told).eq(checks) {
            hits += 1;
            continue;
        }
        misses.push((tripped, others));
        assert!(
            misses.len() < 2,
            "to be tripped: {checks:?}; in two attempts of {} were: {misses:?}",
            hits + 2
        );
    }
}

#[test]
fn polls_in_phase_with_the_publishes() {
    let load = "--mode short-poll --in-phase --arrivals fixed --clients 20 --room-size all --rate 20 --interval 50ms";
    trips("poll waits from U(0, interval)", "schedule-off", || {
        Running::start(&format!("{load} --warmup 500ms --duration 4s"))
            .end()
            .1
    });
}

#[test]
fn loadgen_stopped_for_200_ms() {
    // Long enough that what happened meanwhile is less than the hundredth that the other checks look at.
    trips("loadgen's timer delay max", "generator-limited", || {
        let load =
            "--mode ws --clients 40 --rate 20 --arrivals fixed --warmup 500ms --duration 30s";
        let running = Running::start(load);
        stop_for(running.own(), Duration::from_millis(200));
        running.end().1
    });
}

#[test]
fn a_hog_on_loadgens_core() {
    trips("others on loadgen's cores", "noisy", || {
        let _hogs = Hogs::start();
        Running::start("--mode ws --clients 200 --rate 20 --warmup 500ms --duration 5s")
            .end()
            .1
    });
}

/// One on each of loadgen's cores, for as long as this lives.
struct Hogs {
    over: Arc<AtomicBool>,
    hogs: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let hogs = cores::split().loadgen.into_iter().map(|core| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                pin(&[core]);
                // A polite one, that leaves the core to loadgen at once: then this check is the only one to tell.
                let _ = rustix::process::nice(19);
                while !over.load(Relaxed) {}
            })
        });
        let hogs = hogs.collect();
        Self { over, hogs }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.hogs.drain(..).for_each(|hog| hog.join().unwrap());
    }
}

#[test]
fn fifty_one_ports_for_more_connections_than_that() {
    trips("clients not connected", "generator-limited", || {
        let load = "--mode ws --clients 50 --publishers 8 --rate 20 --warmup 500ms --duration 4s";
        let script = "ip link set lo up && echo 40000 40050 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
        Running::start_in(
            &[
                "unshare",
                "--net",
                "--map-root-user",
                "sh",
                "-c",
                script,
                "sh",
            ],
            load,
        )
        .end()
        .1
    });
}

#[test]
fn a_server_that_stops_or_is_slow_is_no_fault_of_the_measurement() {
    trips_nothing(|| {
        let running =
            Running::start("--mode ws --clients 40 --rate 20 --warmup 500ms --duration 10s");
        stop_for(running.server(), Duration::from_secs(1));
        let (code, trial) = running.end();
        assert_eq!(code, 0, "a stall is a result: {trial}");
        assert!(
            trial["outcome"]["latency"]["max_us"].as_u64().unwrap() > 700_000,
            "{}",
            trial["outcome"]["latency"]
        );
        trial
    });
    trips_nothing(|| {
        let load = "--mode sse --clients 40 --rate 20 --warmup 1s --duration 5s";
        let trial = Running::start_faulty(load, "--burn 300us").end().1;
        let (p50, cores) = (
            trial["outcome"]["latency"]["p50_us"].as_u64().unwrap(),
            cores::split().server.len(),
        );
        assert!(
            p50 > 2_000 / cores as u64,
            "20 subscribers of 0.3 ms each, on {cores} cores: {p50} us"
        );
        trial
    });
}

/// What the hiccup meter saw of a small set, in percent of the time, and whether its check holds, for each of both servers; with
/// this done to the meter again and again.
fn pauses(to_meter: impl Fn(Pid)) -> Vec<(f64, bool)> {
    let folder = Folder::new("pauses");
    let set = "compare -m ws -c 40 --rate 20 -z 3s --sets 1 --quiet --out";
    let mut command = loadgen(set);
    command.arg(&folder.0).stdout(Stdio::null());
    let mut running = Watched::start(command);
    while running.child.try_wait().unwrap().is_none() {
        running.children("meter").into_iter().for_each(&to_meter);
        std::thread::sleep(Duration::from_millis(300));
    }
    let result = std::fs::read_dir(&folder.0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let comparison = load(&result.path()).unwrap();
    let seen = |trial: &Trial| {
        let check = trial
            .verdict
            .checks
            .iter()
            .find(|check| check.id == "pauses");
        let check = check.expect("the meter ran in a round of three at least");
        (check.measured.unwrap(), check.holds())
    };
    comparison.trials.iter().map(seen).collect()
}

#[test]
fn a_core_that_stands_still_for_100_ms_again_and_again() {
    let _turn = alone();
    let calm = pauses(|_| {});
    let halting = pauses(|meter| {
        // It may have ended meanwhile.
        let _ = kill_process(meter, Signal::STOP);
        std::thread::sleep(Duration::from_millis(100));
        let _ = kill_process(meter, Signal::CONT);
    });
    assert_eq!((calm.len(), halting.len()), (2, 2));
    for ((calm, _), (halting, holds)) in calm.iter().zip(&halting) {
        // A quarter of the time at most, on both cores; less where this test itself waits for its turn.
        assert!((10.0..120.0).contains(halting) && !holds, "{halting} %");
        assert!(5.0 * calm < *halting, "{calm} % against {halting} %");
    }
}
