//! Through nginx and haproxy, as Debian ships them: nothing is lost, what they cost is measured, and none is left behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use loadgen::comparison::load;
use loadgen::result::comparison::Comparison;
use loadgen::result::outcome::End;
use loadgen::result::proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};

use crate::helper::{Folder, Watched, alone, beside, is_alive, loadgen, loadgen_by, within};

const BOTH: [Proxy; 2] = [Proxy::Nginx, Proxy::Haproxy];
/// The signals are as they are after a login.
const PLAIN: &str = r#"exec env --default-signal=INT,TERM,HUP "$0" "$@""#;

/// The result of a comparison through this proxy, and what it said.
fn compared(proxy: Proxy, flags: &str) -> (Comparison, String, String) {
    let folder = Folder::new(&format!("via-{proxy}"));
    let load_of = format!("compare --via {proxy} --sets 1 {flags} --out");
    let output = loadgen(&load_of).arg(&folder.0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = fs::read_dir(&folder.0).unwrap().next();
    let result = result.unwrap_or_else(|| {
        panic!("no result; install nginx-light and haproxy (./test.sh does): {said}")
    });
    let result = result.unwrap().path();
    let report = fs::read_to_string(result.join("comparison.md")).unwrap();
    (load(&result).unwrap(), said, report)
}

#[test]
fn every_row_delivers_everything_through_either_proxy_and_what_that_costs_is_measured() {
    let _turn = alone();
    for proxy in BOTH {
        let (comparison, said, report) = compared(
            proxy,
            "-m short-poll,long-poll,sse,ws,sse-stock -c 100 --rate 5 -z 2s",
        );
        assert_eq!(comparison.trials.len(), 11, "{said}");
        for trial in &comparison.trials {
            let (outcome, name) = (&trial.outcome, trial.name());
            assert!(outcome.delivered > 300, "{name}: {}", outcome.delivered);
            assert_eq!(outcome.delivered, outcome.expected, "{name}");
            assert_eq!(outcome.failure(), None, "{name}");
            assert_eq!(
                (outcome.connections.connected, outcome.connections.lost),
                (100, 0)
            );
            let through = outcome.variant.via;
            assert!(through.is_none() || through == Some(proxy));
            // Each is there, and more than nothing, or in no row without a proxy.
            for id in ["proxy_cpu_us", "proxy_peak_mib"] {
                let value = trial.metrics.get(id).copied();
                assert_eq!(
                    value.is_some_and(|value| value > 0.0),
                    through.is_some(),
                    "{name}"
                );
                assert_eq!(value.is_some(), through.is_some(), "{name}");
            }
            let memory = outcome.usage.memory.last().unwrap();
            assert_eq!(
                memory.proxy_pss.is_some_and(|pss| pss > 100_000),
                through.is_some()
            );
            // An answer in chunks would be held back for 200 ms.
            let streams = outcome.variant.mode.properties().streams;
            let p50 = outcome.latency.ms(0.5).unwrap();
            assert!(!streams || p50 < 150.0, "{name}: {p50} ms");
        }
        let configured = comparison.proxy.as_ref().unwrap();
        assert_eq!(configured.proxy, proxy);
        assert!(configured.version.starts_with(|c: char| c.is_ascii_digit()));
        // 100 clients, 16 publishers, 32 more; where both sides are counted, with a reserve.
        let line = match proxy {
            Proxy::Nginx => "    worker_connections 370;",
            Proxy::Haproxy => "    maxconn 148",
        };
        assert!(configured.configuration.iter().any(|own| own == line));
        assert!(said.contains(line) && report.contains(line), "{said}");
        let version = format!("{proxy} {}", configured.version);
        assert!(
            said.contains(&version) && report.contains(&version),
            "{said}"
        );
        assert!(
            report.contains(&format!("## What {proxy} costs")),
            "{report}"
        );
    }
}

#[test]
fn what_is_missing_or_cannot_be_is_said_with_what_would_be_right() {
    let _turn = beside();
    let folder = Folder::new("via-missing");
    for (flags, says) in [
        ("-m ws --via nginx", "install it (apt install nginx-light)"),
        ("compare --via haproxy", "install it (apt install haproxy)"),
        (
            "-m ws --via nginx --url http://127.0.0.1:9",
            "cannot be used with",
        ),
        ("-m ws --via caddy", "[possible values: nginx, haproxy]"),
    ] {
        let mut command = loadgen(flags);
        command
            .current_dir(&folder.0)
            .env("PATH", Path::new("/nowhere/bin"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(said.contains(says), "{flags}: {said}");
    }
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        r#"ulimit -n 1000; exec "$0" "$@""#,
        crate::helper::program(),
    ]);
    limited.args("-m ws --via nginx -c 500".split(' '));
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--clients 500 --via nginx: each takes two of the 1000 files"),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        0,
        "and nothing is written"
    );
}

/// All processes below one of this number.
fn below(parent: Pid) -> Vec<Pid> {
    let id = parent.as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let children = children.unwrap_or_default();
    let children = children
        .split_whitespace()
        .filter_map(|id| Pid::from_raw(id.parse().ok()?));
    children
        .flat_map(|child| [vec![child], below(child)].concat())
        .collect()
}

fn state(process: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    Some(stat.rsplit(") ").next()?.split(' ').next()?.to_owned())
}

fn is_of(process: Pid, name: &str) -> bool {
    let path = format!("/proc/{}/comm", process.as_raw_nonzero());
    fs::read_to_string(path).is_ok_and(|comm| comm.trim() == name)
}

/// The folders of proxies that these keepers have made.
fn folders(proxy: Proxy, all: &[Pid]) -> usize {
    let folder = |pid: &Pid| format!("loadgen-{proxy}-{}", pid.as_raw_nonzero());
    let there = |pid: &&Pid| std::env::temp_dir().join(folder(pid)).exists();
    all.iter().filter(there).count()
}

#[test]
fn no_proxy_outlives_a_loadgen_that_is_ended_or_killed_also_while_others_have_their_turn() {
    let _turn = beside();
    for (proxy, signal, processes) in [
        (Proxy::Nginx, Signal::INT, 4),
        (Proxy::Nginx, Signal::KILL, 4),
        (Proxy::Haproxy, Signal::KILL, 2),
    ] {
        let folder = Folder::new("via-ended");
        let load = format!(
            "compare -m ws,sse --via {proxy} -c 4 --room-size 4 --rate 20 -z 60s --quiet --out {}",
            folder.0.display()
        );
        let mut command = loadgen_by(PLAIN, &load);
        command.stdout(Stdio::null());
        let mut running = Watched::start(command);
        let own = Pid::from_child(&running.child);
        let name = proxy.to_string();
        // Two servers have a proxy each; while one of them, or one without, has its turn, the others are stopped with theirs.
        let all = within(Duration::from_secs(60), "proxies, stopped", || {
            let all = below(own);
            let proxies: Vec<Pid> = all
                .iter()
                .copied()
                .filter(|pid| is_of(*pid, &name))
                .collect();
            let stopped = proxies
                .iter()
                .filter(|pid| state(**pid).as_deref() == Some("T"));
            (proxies.len() == processes && stopped.count() >= processes / 2).then_some(all)
        });
        assert_eq!(folders(proxy, &all), 2);
        running.signal(signal);
        if signal == Signal::INT {
            assert_eq!(running.end().0, Some(130), "{}", running.said());
        }
        for process in &all {
            within(Duration::from_secs(20), "the end of each", || {
                (!is_alive(*process)).then_some(())
            });
        }
        assert_eq!(folders(proxy, &all), 0, "and its folder went with it");
    }
}

#[test]
fn a_proxy_that_ends_by_itself_ends_the_trial_with_its_name() {
    let _turn = beside();
    let folder = Folder::new("via-gone");
    let out = folder.0.join("out");
    let load_of = "-m ws --via nginx -c 4 --room-size 4 --rate 20 -z 60s --out";
    let mut command = loadgen_by(PLAIN, &format!("{load_of} {}", out.display()));
    command.stdout(Stdio::null());
    let mut running = Watched::start(command);
    running.hears("measuring");
    let own = Pid::from_child(&running.child);
    let is_master = |pid: &Pid| is_of(*pid, "nginx") && below(*pid).len() == 1;
    let master = below(own).into_iter().find(is_master).unwrap();
    kill_process(master, Signal::TERM).unwrap();
    assert_eq!(running.end().0, Some(1), "{}", running.said());
    let comparison = load(&out).unwrap();
    let end = &comparison.trials[0].outcome.end;
    assert!(
        matches!(end, End::Broken(reason) if reason.starts_with("nginx ended by itself")),
        "{end:?}"
    );
}
