use super::*;
use crate::result::link::Kept;
use crate::result::outcome::{Connections, Publishing};
use crate::result::turn::Pauses;
use crate::result::usage::Demand;
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

/// A core that was used and robbed for so long, in ms and in hundredths of it.
fn demand(core: usize, busy: u64, stolen: u64) -> Demand {
    Demand {
        core,
        busy_ns: busy * MS,
        stolen_ns: stolen * MS / 100,
    }
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
    ) = (Some(500 * MS), Some(40 * MS));
    outcome.usage.others_ns = Some(0);
    outcome.pauses = Some(Pauses {
        seconds: 1.0,
        cores: vec![Times::default()],
    });
    outcome.usage.demand = [0, 1].map(|core| demand(core, 500, 0)).into();
    outcome.link = Some(kept(1));
    outcome
}

/// Of a link of 50 ms one way, which is so far from its times.
fn kept(ms: u64) -> Kept {
    Kept {
        delay_ms: 50.0,
        off: times(ms),
    }
}

/// A pause of so long.
fn pause(outcome: &mut Outcome, ms: u64) {
    let pauses = outcome.pauses.as_mut().expect("the meter ran");
    pauses.cores[0].record(ms * MS);
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
        |o| (o.connections.connected, o.connections.refused) = (7, 3),
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
        (partly.kind, partly.failed()[0].measured),
        (Kind::GeneratorLimited, Some(1.0))
    );
    let absent = verdict(|o| (o.connections.refused, o.connections.unable) = (3, 1));
    assert_eq!(
        (absent.kind, absent.failed()[0].measured),
        (Kind::GeneratorLimited, Some(1.0))
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
    ("stolen share of the CPU time asked for", Kind::Noisy, |o| {
        o.usage.demand[0] = demand(0, 2, 80);
    }),
    ("time stolen from a core in use", Kind::Noisy, |o| {
        o.usage.demand[1] = demand(1, 500, 300);
    }),
    ("time that a core in use stood still", Kind::Noisy, |o| {
        pause(o, 2);
    }),
    ("loadgen's CPU", Kind::GeneratorLimited, |o| {
        o.usage.loadgen_cpu_ns = Some(900 * MS);
    }),
    ("others on loadgen's cores", Kind::Noisy, |o| {
        o.usage.others_ns = Some(300 * MS);
    }),
    ("loadgen's wait for a core", Kind::Noisy, |o| {
        o.usage.loadgen_queued_ns = Some(250 * MS);
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
        "the emulated link's distance from its own times p99",
        Kind::GeneratorLimited,
        |o| o.link = Some(kept(3)),
    ),
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
        assert!(!verdict.failed()[0].advice.is_empty());
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

#[test]
fn a_check_spoils_the_figures_that_its_cause_can_spoil_and_no_others() {
    use Guard::{Counts, Cpu, Median, Memory, Tail, Traffic};
    let standing = |change: fn(&mut Outcome)| -> Vec<Guard> {
        let verdict = verdict(change);
        let stands = |guard: &Guard| verdict.stands(*guard);
        Guard::ALL.into_iter().filter(stands).collect()
    };
    assert_eq!(standing(|_| {}), Guard::ALL);
    assert_eq!(standing(|o| o.unbalanced = 1), []);
    assert_eq!(standing(|o| o.end = End::Interrupted), []);
    assert_eq!(standing(|o| o.end = End::Broken("gone".into())), []);
    let stolen: fn(&mut Outcome) = |o| o.usage.demand[1] = demand(1, 500, 300);
    assert_eq!(standing(stolen), [Counts, Traffic, Memory, Cpu, Median]);
    let half: fn(&mut Outcome) = |o| o.usage.demand[1] = demand(1, 500, 11_000);
    assert_eq!(standing(half), [Counts, Traffic, Memory, Cpu]);
    let most: fn(&mut Outcome) = |o| o.usage.demand[1] = demand(1, 500, 13_000);
    assert_eq!(standing(most), [Counts, Traffic, Memory]);
    assert_eq!(
        standing(|o| pause(o, 2)),
        [Counts, Traffic, Memory, Cpu, Median]
    );
    assert_eq!(standing(|o| pause(o, 200)), [Counts, Traffic, Memory, Cpu]);
    // Beside such a median nobody notices it.
    assert_eq!(
        standing(|o| {
            pause(o, 2);
            o.latency = times(500);
        }),
        Guard::ALL
    );
    let neighbour: fn(&mut Outcome) = |o| o.usage.others_ns = Some(900 * MS);
    assert_eq!(standing(neighbour), [Counts, Traffic, Memory, Cpu]);
    // A twentieth that came late to the publishers leaves the median where it was, and what a delivery costs.
    assert_eq!(
        standing(|o| o.publishing.paced = 950),
        [Counts, Traffic, Memory, Cpu, Median]
    );
    assert_eq!(
        standing(|o| o.publishing.paced = 850),
        [Counts, Traffic, Memory]
    );
    assert!(standing(|o| o.drift_percent = Some(40.0)).contains(&Tail));
    // What comes together in a held poll's answers is another on a machine that is robbed.
    let mut held = healthy();
    most(&mut held);
    held.variant = Transport::LongPoll.into();
    let verdict = of(&held);
    assert!(verdict.stands(Counts) && verdict.stands(Memory) && !verdict.stands(Traffic));
}

#[test]
fn what_is_exceeded_most_is_said_first_and_what_is_unknown_does_not_pass() {
    let ids = |change: fn(&mut Outcome)| -> Vec<String> {
        let verdict = verdict(change);
        verdict
            .failed()
            .iter()
            .map(|check| check.id.clone())
            .collect()
    };
    assert_eq!(
        ids(|o| {
            o.drift_percent = Some(50.0);
            o.usage.others_ns = Some(900 * MS);
        }),
        ["others_cpu", "drift"],
        "4.5 times, and twice"
    );
    let unknown: fn(&mut Outcome) = |o| {
        (o.usage.others_ns, o.usage.loadgen_queued_ns) = (None, None);
        o.usage.demand.clear();
    };
    assert_eq!(
        ids(unknown),
        ["cpu_steal", "stolen_time", "others_cpu", "loadgen_wait"]
    );
    let verdict = verdict(unknown);
    let said = verdict.failed()[0].to_string();
    assert!(said.contains("is unknown"), "{said}");
}
