//! Emulated links, from outside: what was asked for is what is measured, over every transport; theory holds at a distance.

use std::process::{Child, Stdio};

use futures_util::future::join_all;
use loadgen::client::calibrate;
use loadgen::judge::theory::answers;
use loadgen::result::comparison::Comparison;
use loadgen::result::link::{Calibration, Link};
use loadgen::result::outcome::Outcome;
use loadgen::result::variant::Transport;

use crate::helper::{alone, loadgen};
use crate::others::Others;

/// Once more if it does not hold at once; and up to five times where others were seen on the machine.
fn soon(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
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

fn run(arguments: &str) -> Comparison {
    let output = loadgen(&format!("{arguments} --json --quiet")).output();
    let output = output.expect("loadgen starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a link is as it was asked for: its round trip within 2 % or 1 ms, its rates within 5 %.
fn is_right(link: &Link, measured: &Calibration) -> Result<(), String> {
    // Two ways, each with half of the most jitter in the mean, and a byte in a segment with its headers.
    let sending = |kbit: Option<f64>| kbit.map_or(0.0, |kbit| 8.0 * 53.0 / kbit);
    let sent = sending(link.down_kbit) + sending(link.up_kbit);
    let rtt = link.rtt_ms + link.jitter_ms + sent;
    let rates = [
        (link.down_kbit, measured.down_kbit),
        (link.up_kbit, measured.up_kbit),
    ];
    let is_rate = |(asked, found): (Option<f64>, Option<f64>)| match (asked, found) {
        (Some(asked), Some(found)) => (found / asked - 1.0).abs() <= 0.05,
        (asked, found) => asked.is_none() && found.is_none(),
    };
    let is_trip = (measured.rtt_ms - rtt).abs() <= (0.02 * rtt).max(1.0);
    // A loss is a stall: it takes more time, and lets less through.
    let is_lossy = link.loss_percent > 0.0;
    if is_trip && (is_lossy || rates.into_iter().all(is_rate)) {
        Ok(())
    } else {
        Err(format!("{link}: measured {measured}"))
    }
}

#[test]
fn every_profile_is_as_it_was_asked_for() {
    soon("every profile", || {
        let links: Vec<Link> = Link::profiles().map(|name| name.parse().unwrap()).collect();
        let all = loadgen::block_on(async { Ok(join_all(links.iter().map(calibrate)).await) });
        for (link, measured) in links.iter().zip(all.expect("they are measured")) {
            let measured = measured.map_err(|error| error.to_string())?;
            eprintln!("{link}; measured {measured}");
            is_right(link, &measured)?;
        }
        Ok(())
    });
}

fn mean(outcome: &Outcome) -> f64 {
    outcome.latency.moments().0
}

#[test]
fn at_a_distance_every_transport_takes_a_round_trip_more_and_a_long_poll_its_gap() {
    const RTT: f64 = 200.0;
    const RATE: f64 = 5.0;
    let load =
        "--clients 60 --room-size 2 --rate 5 --interval 300ms --warmup 1s --duration 6s --seed 7";
    // A message is published into the gap between an answer and the next question, and waits for half of that.
    let gap = RTT / 1e3;
    let share = gap / (gap + (-RATE * gap).exp() / RATE);
    let at = |transport: Transport, link: &str| {
        let load = format!("--mode {transport} {load} --link {link} --json --quiet");
        let child = loadgen(&load).stdout(Stdio::piped()).spawn();
        (transport, child.expect("loadgen starts"))
    };
    let end = |(transport, child): (Transport, Child)| {
        let output = child.wait_with_output().unwrap();
        let comparison: Comparison = serde_json::from_slice(&output.stdout).expect("its JSON");
        let outcome = comparison.trials.into_iter().next().unwrap().outcome;
        assert!(outcome.audit.is_clean(), "{transport}: {:?}", outcome.audit);
        outcome
    };
    soon("at a distance", || {
        let near: Vec<_> = Transport::all().map(|mode| at(mode, "none")).collect();
        let far: Vec<_> = Transport::all().map(|mode| at(mode, "rtt=200ms")).collect();
        for (near, far) in near.into_iter().zip(far).collect::<Vec<_>>() {
            let transport = far.0;
            let (near, far) = (end(near), end(far));
            let more = mean(&far) - mean(&near);
            let extra = match transport {
                Transport::LongPoll | Transport::SocketioPolling => share * RTT / 2.0,
                _ => 0.0,
            };
            eprintln!("{transport}: {more:.1} ms more, {extra:.1} of them in the gap");
            let link = far.link.as_ref().expect("a link keeps its times");
            assert!(link.off.count() > 0 && link.delay_ms == RTT / 2.0);
            // Within 5 %, or 2 ms, and twice that here; where a poll falls between two messages moves its mean by 4 ms.
            let slack = match transport {
                Transport::ShortPoll => 14.0,
                _ => (0.1 * extra).max(4.0),
            };
            if (more - RTT - extra).abs() > slack {
                return Err(format!(
                    "{transport}: {more} ms more, and {extra} in the gap"
                ));
            }
        }
        Ok(())
    });
}

#[test]
fn short_polling_over_a_link_is_as_theory_has_it() {
    let load = "--mode short-poll --clients 200 --rate 2 --interval 500ms --warmup 1s --duration 8s --link rtt=60ms";
    soon("short polling at 60 ms", || {
        let comparison = run(load);
        let outcome = &comparison.trials[0].outcome;
        let answers = answers(outcome, &comparison.scenario);
        let differ: Vec<_> = answers
            .iter()
            .filter(|answer| answer.holds() == Some(false))
            .collect();
        if differ.is_empty() {
            Ok(())
        } else {
            Err(format!("{differ:?}"))
        }
    });
}

#[test]
fn a_link_that_is_none_is_a_mistake_that_is_named() {
    for (arguments, says) in [
        ("--mode ws --link 5g", "fast4g"),
        ("--mode ws --link rtt=1h", "rtt must be a time up to 10s"),
        ("--mode ws --link none,fast4g", "one trial has one link"),
        ("--mode ws --cut every=1us", "at least 100ms"),
        (
            "--mode ws --storm at=1h -z 2s",
            "--storm: its time must be within the measuring window of 2s",
        ),
        (
            "--mode ws-stock --server-restart at=1s -z 2s",
            "the server of ws-stock cannot",
        ),
    ] {
        let output = loadgen(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(says), "{arguments}: {said}");
    }
}
