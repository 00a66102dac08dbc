use super::*;
use crate::result::outcome::{Connections, Publishing};
use crate::result::variant::Transport;

const MS: u64 = 1_000_000;

fn samples(count: usize, ms: u64) -> Times {
    let mut times = Times::default();
    (0..count).for_each(|_| times.record(ms * MS));
    times
}

fn times(ms: u64) -> Times {
    samples(1000, ms)
}

/// Of this many clients that connected.
fn connects(clients: usize) -> Times {
    samples(clients, 1)
}

fn healthy() -> Outcome {
    let publishing = Publishing {
        scheduled: 1000,
        paced: 1000,
        sent: 1000,
        acked: 1000,
        ..Publishing::default()
    };
    let mut outcome = crate::result::outcome::tests::empty(Transport::Ws);
    outcome.connections = Connections {
        wanted: 10,
        connected: 10,
        ..Connections::default()
    };
    outcome.connects = connects(10);
    outcome.publishing = Publishing {
        send_delay: times(0),
        own_send_delay: times(0),
        acks: times(1),
        ..publishing
    };
    (outcome.expected, outcome.delivered) = (10_000, 10_000);
    (outcome.latency, outcome.timer_delay, outcome.receive_delay) = (times(1), times(1), times(0));
    (outcome.wait_ks, outcome.drift_percent) = (Some(0.02), Some(3.0));
    (
        outcome.usage.seconds,
        outcome.usage.cores,
        outcome.usage.loadgen_threads,
    ) = (1.0, 2, 4);
    outcome.usage.loadgen_cores = 1;
    (
        outcome.usage.loadgen_cpu_ns,
        outcome.usage.loadgen_queued_ns,
    ) = (Some(500 * MS), 40 * MS);
    outcome
}

fn verdict(change: impl FnOnce(&mut Outcome)) -> Verdict {
    let mut outcome = healthy();
    change(&mut outcome);
    of(&outcome)
}

#[test]
fn what_the_server_does_badly_leaves_the_verdict_valid() {
    let changes: [fn(&mut Outcome); 9] = [
        |_| {},
        |o| (o.connects, o.connections.connected, o.connections.refused) = (connects(7), 7, 3),
        // All connected, and some of them were cut before the last one had.
        |o| {
            (
                o.connections.connected,
                o.connections.lost,
                o.connections.cut,
            ) = (7, 3, 3);
        },
        |o| (o.connections.lost, o.connections.cut) = (5, 5),
        |o| o.restarts = 1,
        |o| {
            (
                o.usage.life.reconnects,
                o.usage.life.retries,
                o.publishing.retries,
            ) = (9, 9, 9);
        },
        |o| o.latency = times(5_000),
        |o| (o.delivered, o.audit.lost) = (9_000, 1_000),
        |o| (o.publishing.send_delay, o.publishing.sent) = (times(900), 500),
    ];
    for change in changes {
        assert_eq!(verdict(change).kind, Kind::Valid);
    }
}

#[test]
fn whom_the_server_cut_turned_away_or_forgot_is_its_outcome_and_what_loadgen_lost_is_not() {
    let failure = |change: fn(&mut Outcome)| {
        let mut outcome = healthy();
        change(&mut outcome);
        outcome.failure().unwrap_or_default()
    };
    assert_eq!(failure(|_| {}), "");
    assert_eq!(
        failure(|o| (o.connections.connected, o.connections.lost) = (9, 1)),
        "",
        "that is loadgen's"
    );
    let cut = failure(|o| (o.connections.lost, o.connections.cut) = (5, 4));
    assert_eq!(
        cut,
        "the server, or what stands between, ended 4 connections"
    );
    assert_eq!(
        failure(|o| o.connections.refused = 3),
        "the server turned away 3 of 10 clients"
    );
    assert_eq!(
        failure(|o| o.restarts = 1),
        "the log of a room began anew 1 time"
    );
    let both = failure(|o| (o.audit.lost, o.connections.cut) = (2, 1));
    assert!(
        both.starts_with("the audit of the whole trial found 2 lost; the server"),
        "{both}"
    );
    let partly = verdict(|o| (o.connections.lost, o.connections.cut) = (5, 4));
    assert_eq!(
        (partly.kind, partly.failed().unwrap().measured),
        (Kind::GeneratorLimited, 1.0)
    );
    let absent = verdict(|o| (o.connects, o.connections.refused) = (connects(6), 3));
    assert_eq!(
        (absent.kind, absent.failed().unwrap().measured),
        (Kind::GeneratorLimited, 1.0)
    );
}

type Change = fn(&mut Outcome);

/// For every check a change that trips it and no other, and the verdict then.
const CAUSES: &[(&str, Kind, Change)] = &[
    ("windows without a message", Kind::NothingMeasured, |o| {
        (o.publishing.acked, o.wait_ks) = (0, None);
    }),
    ("clients not connected", Kind::GeneratorLimited, |o| {
        o.connects = connects(9);
    }),
    ("connections lost by loadgen", Kind::GeneratorLimited, |o| {
        o.connections.lost = 1;
    }),
    ("CPU steal", Kind::Noisy, |o| o.usage.steal_ns = 30 * MS),
    ("loadgen's CPU", Kind::GeneratorLimited, |o| {
        o.usage.loadgen_cpu_ns = Some(900 * MS);
    }),
    ("others on loadgen's cores", Kind::Noisy, |o| {
        o.usage.others_ns = 300 * MS;
    }),
    ("loadgen's wait for a core", Kind::Noisy, |o| {
        o.usage.loadgen_queued_ns = 250 * MS;
    }),
    ("loadgen's timer delay max", Kind::GeneratorLimited, |o| {
        o.timer_delay.record(200 * MS);
    }),
    ("loadgen's timer delay p99", Kind::GeneratorLimited, |o| {
        o.timer_delay = times(6);
    }),
    ("send delay p99", Kind::GeneratorLimited, |o| {
        o.publishing.own_send_delay = times(4);
    }),
    ("messages the pacer missed", Kind::GeneratorLimited, |o| {
        o.publishing.paced = 980;
    }),
    ("client receive delay p99", Kind::GeneratorLimited, |o| {
        o.receive_delay = times(2);
    }),
    (
        "samples below zero or above an hour",
        Kind::GeneratorLimited,
        |o| o.impossible = 1,
    ),
    (
        "deliveries the audit cannot account for",
        Kind::GeneratorLimited,
        |o| o.unbalanced = 1,
    ),
    ("poll waits from U(0, interval)", Kind::ScheduleOff, |o| {
        o.wait_ks = Some(0.2);
    }),
    ("p50 from half to half", Kind::NotSteady, |o| {
        o.drift_percent = Some(40.0);
    }),
];

#[test]
fn each_check_is_tripped_by_its_own_cause_and_by_no_other() {
    let all: Vec<String> = verdict(|_| {})
        .checks
        .into_iter()
        .map(|check| check.name)
        .collect();
    assert_eq!(
        all,
        CAUSES.iter().map(|(name, ..)| *name).collect::<Vec<_>>(),
        "every check has its cause here"
    );
    for (name, kind, change) in CAUSES {
        let verdict = verdict(change);
        let failed: Vec<&str> = verdict
            .checks
            .iter()
            .filter(|check| !check.holds())
            .map(|check| &*check.name)
            .collect();
        assert_eq!((failed, verdict.kind), (vec![*name], *kind));
        assert!(!verdict.failed().unwrap().advice.is_empty());
    }
}

#[test]
fn an_early_end_has_a_name_of_its_own_and_few_messages_are_uneven() {
    assert_eq!(
        verdict(|o| o.end = End::Interrupted).kind,
        Kind::Interrupted
    );
    assert_eq!(
        verdict(|o| o.end = End::Broken("gone".into())).kind,
        Kind::Broken
    );
    assert_eq!(
        verdict(|o| (o.wait_ks, o.publishing.acked) = (Some(0.2), 60)).kind,
        Kind::Valid
    );
}
