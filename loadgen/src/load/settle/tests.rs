use super::figures::drift;
use super::*;
use crate::client::{Delivery, Event, Said};
use crate::clock::Windows;
use crate::pacer::Pacer;
use crate::result::scenario::tests::scenario;
use crate::result::variant::Transport;

const SECOND: Nanos = 1_000_000_000;
const EPOCH: &str = "abcdefgh";
/// Of the window.
const LENGTH: Nanos = 10 * SECOND + 1;

fn cursor(seq: u64) -> Cursor {
    Cursor {
        epoch: EPOCH.into(),
        seq,
    }
}

fn acked(cursor: Cursor, at: Nanos) -> Acked {
    Acked {
        cursor: Some(cursor),
        at,
    }
}

fn delivery(seq: Option<u64>, message: MessageId) -> Event {
    Event::Message(Delivery {
        seq,
        received: message.due + 1,
        asked: None,
        said: Said::Message(message),
    })
}

/// For the two clients of a trial.
fn recorder_of_both(windows: Windows) -> Recorder {
    let clients = [(0, true), (0, false)].into_iter();
    Recorder::new(clients, windows, LENGTH, 5 * SECOND, 1_000)
}

/// A trial of two clients in one room with a window of ten seconds and ten messages in it, all accepted; `fate`
/// says what becomes of each message at each client.
fn trial(fate: impl Fn(usize, u64) -> bool) -> (Scenario, Evidence) {
    let scenario = scenario(
        "--clients 2 --room-size all --rate 1 --arrivals fixed --warmup 0s --duration 10s",
    );
    let windows = Windows::default();
    windows.open(0..LENGTH);
    let schedule: Vec<MessageId> = Pacer::new(&scenario, 0).take(10).collect();
    let mut recorder = recorder_of_both(windows.clone());
    for client in 0..2 {
        recorder
            .record(client, &mut vec![Event::Hello(Some(cursor(0)))])
            .unwrap();
        for (seq, message) in (1..).zip(&schedule).filter(|(seq, _)| fate(client, *seq)) {
            recorder
                .record(client, &mut vec![delivery(Some(seq), *message)])
                .unwrap();
        }
    }
    let publication = |(seq, message): (u64, MessageId)| Publication {
        message,
        sent: message.due,
        free: 0,
        acked: Ok(acked(cursor(seq), message.due)),
    };
    let publications = (1..).zip(schedule.clone()).map(publication).collect();
    let scheduled = |message: MessageId| Scheduled {
        message,
        handed: Some(message.due),
    };
    let publishers = Published {
        schedule: schedule.into_iter().map(scheduled).collect(),
        publications,
        sent: 10,
        ..Published::default()
    };
    let evidence = Evidence {
        end: End::Completed,
        connected: 2,
        windows: windows.all(),
        length: LENGTH,
        began: String::new(),
        deadlines: vec![20 * SECOND],
        publishers,
        recorders: vec![recorder],
        link: None,
        recovery: None,
        receive_delays: Vec::new(),
        usage: Usage::default(),
        notes: Vec::new(),
    };
    (scenario, evidence)
}

fn windows_of(evidence: &Evidence) -> Windows {
    let windows = Windows::default();
    let all = evidence.windows.iter().cloned();
    all.for_each(|window| windows.open(window));
    windows
}

fn settled(trial: (Scenario, Evidence)) -> Outcome {
    settle(Transport::Ws.into(), &trial.0, trial.1)
}

#[test]
fn what_came_is_delivered_and_nothing_is_missing() {
    let outcome = settled(trial(|_, _| true));
    assert_eq!(
        (
            outcome.expected,
            outcome.delivered,
            outcome.audit.expected,
            outcome.audit.lost
        ),
        (20, 20, 20, 0)
    );
    assert_eq!(outcome.latency.count(), 20);
    assert_eq!(
        (
            outcome.last.count(),
            outcome.followed.len(),
            outcome.followed[0].count
        ),
        (10, 1, 10)
    );
    assert_eq!(outcome.unbalanced, 0);
}

#[test]
fn what_came_broken_is_no_delivery_but_a_sample_at_the_deadline() {
    let mut trial = trial(|client, seq| client == 0 || seq < 10);
    let broken = Delivery {
        seq: Some(10),
        received: 10 * SECOND,
        asked: None,
        said: "not as it was sent".into(),
    };
    trial.1.recorders[0]
        .record(1, &mut vec![Event::Message(broken)])
        .unwrap();
    let outcome = settled(trial);
    assert_eq!(
        (outcome.expected, outcome.delivered, outcome.latency.count()),
        (20, 19, 20)
    );
    assert_eq!(
        (
            outcome.audit.corrupt,
            outcome.audit.lost,
            outcome.unbalanced
        ),
        (1, 0, 0)
    );
    assert_eq!(
        outcome.latency.max().unwrap().as_secs(),
        10,
        "due after 10 s, the grace period ended after 20 s"
    );
}

#[test]
fn what_never_came_is_lost_and_a_sample_at_the_deadline() {
    let outcome = settled(trial(|client, seq| client == 0 || seq != 4));
    assert_eq!(
        (outcome.expected, outcome.delivered, outcome.audit.lost),
        (20, 19, 1)
    );
    // The fourth message was due after 4 s; the grace period ended after 20 s.
    assert_eq!(outcome.latency.max().unwrap().as_secs(), 16);
    assert_eq!(outcome.latency.count(), 20);
    assert_eq!(
        outcome.last.max().unwrap().as_secs(),
        16,
        "its last subscriber never got it"
    );
    assert_eq!(outcome.unbalanced, 0);
}

#[test]
fn what_was_told_as_a_gap_is_not_lost_but_late() {
    let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
    let gap = crate::client::Gap {
        reason: crate::client::GapReason::Window,
        missed: Some(2),
        cursor: cursor(10),
    };
    for client in 0..2 {
        evidence.recorders[0]
            .record(client, &mut vec![Event::Gap(gap.clone())])
            .unwrap();
    }
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (outcome.delivered, outcome.audit.lost, outcome.audit.gaps),
        (16, 0, 4)
    );
    assert_eq!(outcome.latency.max().unwrap().as_secs(), 11);
}

#[test]
fn what_the_server_never_accepted_was_expected_all_the_same() {
    let (scenario, mut evidence) = trial(|_, seq| seq != 10);
    evidence.publishers.publications[9].acked = Err(Failure::Refused(429, "full".into()));
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (
            outcome.expected,
            outcome.delivered,
            outcome.audit.expected,
            outcome.audit.lost
        ),
        (20, 18, 18, 0)
    );
    assert_eq!(
        (
            outcome.publishing.failed,
            outcome.latency.max().unwrap().as_secs()
        ),
        (1, 10)
    );
}

#[test]
fn what_may_still_wait_for_the_next_poll_when_the_trial_ends_early_is_not_missing() {
    let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
    evidence.deadlines = vec![10 * SECOND + SECOND / 2];
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (outcome.expected, outcome.delivered, outcome.audit.lost),
        (16, 16, 0)
    );
}

#[test]
fn a_log_that_began_anew_keeps_its_own_account() {
    let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
    let anew = Cursor {
        epoch: "zzzzzzzz".into(),
        seq: 0,
    };
    let gap = crate::client::Gap {
        reason: crate::client::GapReason::Epoch,
        missed: None,
        cursor: anew.clone(),
    };
    for (seq, publication) in (1..).zip(&mut evidence.publishers.publications[8..]) {
        publication.acked = Ok(acked(
            Cursor {
                seq,
                ..anew.clone()
            },
            publication.message.due,
        ));
        for client in 0..2 {
            let mut events = vec![delivery(Some(seq), publication.message)];
            if seq == 1 {
                events.insert(0, Event::Gap(gap.clone()));
            }
            evidence.recorders[0].record(client, &mut events).unwrap();
        }
    }
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (outcome.delivered, outcome.audit.lost, outcome.audit.doubled),
        (20, 0, 0)
    );
    assert_eq!(outcome.restarts, 1);
}

#[test]
fn after_an_early_end_every_second_is_its_own_and_there_are_no_more_than_there_were() {
    // A message is due after each second; the window ends in the third.
    let (scenario, mut evidence) = trial(|_, seq| seq <= 2);
    let end = 2 * SECOND + SECOND / 2;
    (evidence.windows[0].end, evidence.deadlines[0]) = (end, end);
    let outcome = settled((scenario, evidence));
    assert_eq!(outcome.window_seconds, Some(2.5));
    assert_eq!(
        outcome
            .intervals
            .iter()
            .map(Times::count)
            .collect::<Vec<_>>(),
        [0, 2, 2]
    );
    assert_eq!(outcome.series, [0, 2, 2]);
    assert_eq!((outcome.restarts, outcome.audit.lost), (0, 0));

    let (scenario, mut evidence) = trial(|_, _| false);
    evidence.windows[0].end = 0;
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (
            outcome.window_seconds,
            outcome.intervals.len(),
            outcome.series.len()
        ),
        (Some(0.0), 0, 0)
    );
}

#[test]
fn an_ack_for_a_place_far_away_takes_no_time_and_what_came_elsewhere_is_unexpected() {
    let (scenario, mut evidence) = trial(|_, seq| seq != 4);
    evidence.publishers.publications[2].acked = Ok(acked(cursor(1 << 52), 3 * SECOND));
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (
            outcome.expected,
            outcome.delivered,
            outcome.audit.lost,
            outcome.audit.unexpected
        ),
        (20, 18, 2, 2)
    );
}

#[test]
fn who_ended_the_connections_is_kept_apart() {
    let (scenario, mut evidence) = trial(|_, _| true);
    let recorder = &mut evidence.recorders[0];
    (
        recorder.disconnects,
        recorder.cut,
        recorder.refused,
        recorder.unable,
    ) = (5, 3, 2, 7);
    (evidence.publishers.retries, evidence.usage.life.reconnects) = (4, 9);
    let Outcome {
        connections,
        publishing,
        ..
    } = settled((scenario, evidence));
    assert_eq!(
        (
            connections.lost,
            connections.cut,
            connections.refused,
            publishing.retries
        ),
        (5, 3, 2, 4)
    );
}

#[test]
fn what_was_refused_and_came_all_the_same_is_unexpected_and_what_has_no_answer_may_come() {
    let (scenario, mut evidence) = trial(|_, _| true);
    evidence.publishers.publications[3].acked = Err(Failure::Refused(429, "full".into()));
    evidence.publishers.publications[4].acked = Err(Failure::Io("reset".into()));
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (
            outcome.audit.unexpected,
            outcome.audit.received,
            outcome.audit.lost
        ),
        (2, 18, 0)
    );
    assert_eq!(
        (
            outcome.publishing.failed,
            outcome.publishing.indeterminate,
            outcome.unbalanced
        ),
        (1, 1, 0)
    );
}

#[test]
fn what_came_in_another_place_than_it_was_acked_in_is_unexpected() {
    let elsewhere = |cursor: Cursor| {
        let (scenario, mut evidence) = trial(|_, _| true);
        let at = evidence.publishers.publications[9].message.due;
        evidence.publishers.publications[9].acked = Ok(acked(cursor, at));
        settled((scenario, evidence)).audit.unexpected
    };
    assert_eq!(elsewhere(cursor(10)), 0, "there it came");
    assert_eq!(elsewhere(cursor(11)), 2, "at both clients");
    assert_eq!(
        elsewhere(Cursor {
            epoch: "zzzzzzzz".into(),
            seq: 10
        }),
        2
    );
}

/// All that was published was acked when it was due, by a server that has no places.
fn ack_without_places(evidence: &mut Evidence) {
    for publication in &mut evidence.publishers.publications {
        publication.acked = Ok(Acked {
            cursor: None,
            at: publication.message.due,
        });
    }
}

#[test]
fn what_came_of_a_server_without_places_is_known_by_the_ids_of_messages() {
    let (scenario, mut evidence) = trial(|_, _| false);
    let mut recorder = recorder_of_both(windows_of(&evidence));
    ack_without_places(&mut evidence);
    for publication in &mut evidence.publishers.publications {
        publication.sent = Nanos::MAX;
    }
    let messages: Vec<MessageId> = evidence
        .publishers
        .publications
        .iter()
        .map(|done| done.message)
        .collect();
    for (client, lacks) in [(0, 3), (1, 10)] {
        recorder
            .record(client, &mut vec![Event::Hello(None)])
            .unwrap();
        // In another order than they were due: who has no places says nothing of an order.
        let came = messages
            .iter()
            .rev()
            .filter(|message| message.number != lacks);
        recorder
            .record(
                client,
                &mut came.map(|message| delivery(None, *message)).collect(),
            )
            .unwrap();
        recorder
            .record(client, &mut vec![delivery(None, messages[5])])
            .unwrap();
    }
    recorder
        .record(
            1,
            &mut vec![Event::Hello(None), delivery(None, messages[6])],
        )
        .unwrap();
    evidence.recorders = vec![recorder];
    let Outcome {
        expected,
        delivered,
        audit,
        unbalanced,
        ..
    } = settled((scenario, evidence));
    assert_eq!(
        (
            expected,
            delivered,
            audit.expected,
            audit.received,
            audit.lost
        ),
        (20, 19, 20, 19, 1)
    );
    assert_eq!(
        (
            audit.doubled,
            audit.redelivered,
            audit.reordered,
            audit.unexpected,
            unbalanced
        ),
        (2, 1, 0, 0, 0)
    );
}

#[test]
fn what_was_published_before_a_subscriber_was_there_is_not_missed() {
    let (scenario, mut evidence) = trial(|client, seq| client == 0 || seq > 4);
    evidence.recorders[0].subscribers[1].began = Some((0, Some(cursor(4))));
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (outcome.expected, outcome.delivered, outcome.audit.lost),
        (16, 16, 0)
    );
    let (scenario, mut evidence) = trial(|client, seq| client == 0 || seq > 4);
    ack_without_places(&mut evidence);
    evidence.recorders[0].subscribers[1].began = Some((4 * SECOND + 1, None));
    let outcome = settled((scenario, evidence));
    assert_eq!(
        (outcome.expected, outcome.delivered, outcome.audit.lost),
        (16, 16, 0)
    );
}

#[test]
fn two_messages_at_one_place_and_one_of_another_trial_are_unexpected() {
    let (scenario, mut evidence) = trial(|_, _| true);
    // Two messages without an answer, which both subscribers found at the place of the second.
    for number in [3, 4] {
        evidence.publishers.publications[number].acked = Err(Failure::Io("reset".into()));
        evidence.recorders[0].rooms[0].messages[number].place = Some((0, 5));
    }
    assert_eq!(settled((scenario, evidence)).audit.unexpected, 2);
    let (scenario, mut evidence) = trial(|_, _| true);
    evidence.recorders[0].rooms[0].messages[3].due += 1;
    assert_eq!(settled((scenario, evidence)).audit.unexpected, 2);
}

#[test]
fn a_delivery_that_the_recorder_missed_leaves_the_recorders_unbalanced() {
    let (scenario, mut evidence) = trial(|_, _| true);
    evidence.recorders[0].audit.received -= 1;
    assert_eq!(settled((scenario, evidence)).unbalanced, 1);
}

#[test]
fn a_drift_is_seen_and_a_stall_is_none() {
    let slices = |latency: &dyn Fn(usize, u64) -> u64| -> Vec<Times> {
        let slice = |i| {
            let mut times = Times::default();
            (0..50).for_each(|n| times.record(latency(i, n) * 10_000));
            times
        };
        (0..20).map(slice).collect()
    };
    assert!(drift(&slices(&|_, n| 50 + n)).unwrap() < 1.0);
    assert!(
        drift(&slices(&|i, n| 50 + n + 4 * i as u64)).unwrap() > 25.0,
        "it grows all the time"
    );
    let stall = |i, n| {
        if (2..6).contains(&i) {
            5000 - n * 50
        } else {
            50 + n
        }
    };
    assert!(
        drift(&slices(&stall)).unwrap() < 1.0,
        "a second out of five"
    );
}

#[test]
fn slices_are_told_one_by_one_with_the_pauses_in_them_and_their_calm_parts() {
    let (scenario, mut evidence) = trial(|_, _| true);
    evidence.windows = vec![0..5 * SECOND, 5 * SECOND..LENGTH];
    evidence.deadlines = vec![20 * SECOND; 2];
    let pause = |core, at, length| Pause { core, at, length };
    let note = |round, pauses| Note {
        round,
        place: 1,
        after: None,
        probe: Some(3_000_000),
        pauses,
    };
    let long = pause(0, 2_900_000_000, 200_000_000);
    let (short, later) = (pause(1, SECOND, 200_000), pause(1, 7 * SECOND, SECOND));
    let used = Usage {
        deliveries: 8,
        server_cpu_ns: Some(80_000),
        ..Usage::default()
    };
    evidence.notes = vec![
        (note(1, Some(vec![long, short, later])), used),
        (note(2, None), Usage::default()),
    ];
    let outcome = settled((scenario, evidence));
    let turns: Vec<_> = outcome
        .turns
        .iter()
        .map(|turn| (turn.round, turn.is_metered))
        .collect();
    assert_eq!(turns, [(1, true), (2, false)]);
    assert_eq!(
        (outcome.turns[0].server_cpu_us, outcome.turns[0].probe_us),
        (Some(10.0), Some(3000.0))
    );
    let pauses = outcome.pauses.unwrap();
    assert_eq!(
        (pauses.seconds, pauses.cores.len()),
        (5.0, 2),
        "what was later is not in it"
    );
    assert!(
        (pauses.percent(0.3) - 4.0).abs() < 0.01,
        "{}",
        pauses.percent(0.3)
    );
    // Four messages were due in that slice, to two clients, and one of them beside the long pause.
    assert_eq!((outcome.calm.count(), outcome.latency.count()), (6, 20));
}

#[test]
fn what_comes_after_its_own_grace_period_is_a_sample_at_its_end_and_missing() {
    let (scenario, mut evidence) = trial(|client, seq| client == 0 || seq < 10);
    let windows = windows_of(&evidence);
    windows.close(20 * SECOND);
    let message = evidence.publishers.publications[9].message;
    let mut recorder = recorder_of_both(windows);
    recorder
        .record(1, &mut vec![Event::Hello(Some(cursor(0)))])
        .unwrap();
    // While its server was stopped, a minute went by.
    let late = Delivery {
        seq: Some(10),
        received: 80 * SECOND,
        asked: None,
        said: Said::Message(message),
    };
    recorder.record(1, &mut vec![Event::Message(late)]).unwrap();
    assert_eq!((recorder.overdue, recorder.audit.received), (1, 1));
    evidence.recorders = vec![recorder];
    let outcome = settled((scenario, evidence));
    assert_eq!(outcome.audit.lost, 9, "the others never came");
    assert_eq!((outcome.expected, outcome.delivered), (10, 0));
    assert_eq!(outcome.latency.ms(1.0).map(f64::round), Some(19_005.0));
}
