use super::*;
use crate::message_id::MessageId;

const ID: MessageId = MessageId {
    number: 0,
    room: 4,
    due: 1_000,
};

fn recorder() -> Recorder {
    let windows = Windows::default();
    windows.open(500..2_000);
    let mut recorder = Recorder::new([(4, false)].into_iter(), windows, 1_500, 1_000_000, 1_000);
    recorder
        .record(
            0,
            &mut vec![Event::Hello(Some(Cursor {
                epoch: "abcdefgh".into(),
                seq: 0,
            }))],
        )
        .unwrap();
    recorder
}

fn message(seq: u64, id: MessageId) -> Event {
    Event::Message(Delivery {
        seq: Some(seq),
        received: 1_501_000,
        asked: None,
        said: Said::Message(id),
    })
}

#[test]
fn latency_counts_from_the_due_time_and_only_within_the_window() {
    let mut recorder = recorder();
    recorder
        .record(
            0,
            &mut vec![
                message(1, ID),
                message(
                    2,
                    MessageId {
                        number: 1,
                        due: 2_000,
                        ..ID
                    },
                ),
            ],
        )
        .unwrap();
    let latency = Times::merged(recorder.parts.iter());
    assert_eq!(
        (
            latency.count(),
            recorder.audit.received,
            recorder.audit.late
        ),
        (1, 2, 2)
    );
    assert_eq!(latency.max().unwrap().as_micros(), 1_500);
}

#[test]
fn another_rooms_message_and_a_broken_text_have_classes_of_their_own() {
    let mut recorder = recorder();
    let broken = Event::Message(Delivery {
        seq: Some(2),
        received: 0,
        asked: None,
        said: "hello".into(),
    });
    recorder
        .record(
            0,
            &mut vec![message(1, MessageId { room: 5, ..ID }), broken],
        )
        .unwrap();
    assert_eq!(
        (
            recorder.audit.corrupt,
            recorder.audit.wrong_room,
            recorder.audit.received
        ),
        (1, 1, 0)
    );
}

#[test]
fn what_comes_again_after_a_reconnect_is_told_from_what_comes_again_within_a_connection() {
    let mut recorder = recorder();
    let id = |number| MessageId { number, ..ID };
    recorder
        .record(
            0,
            &mut vec![message(1, id(1)), message(1, id(1)), message(2, id(2))],
        )
        .unwrap();
    let hello = Event::Hello(Some(Cursor {
        epoch: "abcdefgh".into(),
        seq: 1,
    }));
    recorder
        .record(
            0,
            &mut vec![
                hello,
                message(2, id(2)),
                message(3, id(3)),
                message(3, id(3)),
            ],
        )
        .unwrap();
    assert_eq!(
        (
            recorder.audit.doubled,
            recorder.audit.redelivered,
            recorder.audit.received
        ),
        (2, 1, 3)
    );
}

#[test]
fn two_subscribers_that_find_a_message_at_different_places_are_noticed() {
    let windows = Windows::default();
    windows.open(500..2_000);
    let mut recorder = Recorder::new(
        [(4, false), (4, true)].into_iter(),
        windows,
        1_500,
        1_000_000,
        1_000,
    );
    for (client, seq) in [(0, 1), (1, 2)] {
        let hello = Event::Hello(Some(Cursor {
            epoch: "abcdefgh".into(),
            seq: 0,
        }));
        recorder
            .record(client, &mut vec![hello, message(seq, ID)])
            .unwrap();
    }
    assert_eq!((recorder.audit.received, recorder.audit.unexpected), (1, 1));
    assert_eq!(
        recorder.rooms[0].messages[0].came, 1,
        "the other one is no delivery of this message"
    );
}

#[test]
fn what_comes_after_its_successor_is_reordered_and_comes_all_the_same() {
    let mut recorder = recorder();
    let at = |seq: u64| {
        message(
            seq,
            MessageId {
                number: seq as u32,
                ..ID
            },
        )
    };
    recorder
        .record(0, &mut vec![at(1), at(5), at(3), at(3), at(4), at(6)])
        .unwrap();
    assert_eq!(
        (
            recorder.audit.received,
            recorder.audit.reordered,
            recorder.audit.doubled
        ),
        (5, 2, 1)
    );
    assert_eq!(recorder.subscribers[0].cursor().unwrap().seq, 6);
}

#[test]
fn what_came_broken_and_comes_again_is_doubled_and_no_further_fault() {
    let mut recorder = recorder();
    let broken = || {
        Event::Message(Delivery {
            seq: Some(1),
            received: 0,
            asked: None,
            said: "hello".into(),
        })
    };
    recorder.record(0, &mut vec![broken(), broken()]).unwrap();
    assert_eq!((recorder.audit.corrupt, recorder.audit.doubled), (1, 1));
}

#[test]
fn who_has_to_say_where_messages_stand_is_held_to_it_and_nobody_resumes_from_a_place_it_does_not_know()
 {
    let delivery = |seq| {
        Event::Message(Delivery {
            seq,
            received: 1_501_000,
            asked: None,
            said: Said::Message(ID),
        })
    };
    for event in [Event::Hello(None), delivery(None)] {
        let mut strict = recorder();
        strict.needs_positions = true;
        let failure = strict.record(0, &mut vec![event]).unwrap_err().to_string();
        assert!(failure.contains("without a"), "{failure}");
    }
    let mut lenient = recorder();
    assert!(lenient.subscribers[0].cursor().is_some());
    lenient.record(0, &mut vec![delivery(None)]).unwrap();
    assert_eq!(lenient.subscribers[0].cursor(), None);
}

#[test]
fn a_new_epoch_is_a_told_gap_and_starts_a_new_account() {
    let mut recorder = recorder();
    let cursor = Cursor {
        epoch: "zzzzzzzz".into(),
        seq: 0,
    };
    let gap = crate::client::Gap {
        reason: crate::client::GapReason::Epoch,
        missed: None,
        cursor: cursor.clone(),
    };
    recorder
        .record(
            0,
            &mut vec![
                message(1, ID),
                Event::Gap(gap),
                message(1, MessageId { number: 1, ..ID }),
            ],
        )
        .unwrap();
    assert_eq!((recorder.audit.doubled, recorder.audit.gaps), (0, 1));
    assert_eq!(
        recorder.subscribers[0].cursor(),
        Some(Cursor { seq: 1, ..cursor })
    );
}

#[test]
fn what_no_log_of_the_trial_can_have_is_a_failure_and_records_nothing() {
    let cursor = |epoch: &str, seq| Cursor {
        epoch: epoch.into(),
        seq,
    };
    let gap = |seq, missed| {
        let reason = crate::client::GapReason::Window;
        Event::Gap(crate::client::Gap {
            reason,
            missed,
            cursor: cursor("abcdefgh", seq),
        })
    };
    let far = 10_000_000_000;
    let impossible = [
        message(far, ID),
        message(1_001, ID),
        gap(far, None),
        gap(5, Some(far)),
        gap(1_001, None),
    ];
    for event in impossible
        .into_iter()
        .chain([Event::Hello(Some(cursor("abcdefgh", far)))])
    {
        let mut recorder = recorder();
        let failure = recorder
            .record(0, &mut vec![event, message(1, ID)])
            .unwrap_err()
            .to_string();
        assert!(
            failure.contains("cannot have more than 1000 messages"),
            "{failure}"
        );
        assert_eq!(
            (
                recorder.audit,
                recorder.deliveries,
                recorder.rooms[0].messages.len()
            ),
            (Audit::default(), 0, 0),
            "{failure}"
        );
    }
    let mut recorder = recorder();
    let numbered = |number| message(1, MessageId { number, ..ID });
    assert!(recorder.record(0, &mut vec![numbered(1_000)]).is_err());
    assert!(recorder.rooms[0].messages.is_empty());
    recorder
        .record(
            0,
            &mut vec![numbered(999), message(1_000, ID), gap(1_000, Some(1_000))],
        )
        .unwrap();
}

#[test]
fn a_server_cannot_begin_its_log_anew_without_end() {
    let mut recorder = recorder();
    let anew = |n: usize| {
        let cursor = Cursor {
            epoch: format!("epoch{n}"),
            seq: 0,
        };
        Event::Gap(crate::client::Gap {
            reason: crate::client::GapReason::Epoch,
            missed: None,
            cursor,
        })
    };
    recorder
        .record(0, &mut (1..MAX_LOGS).map(anew).collect())
        .unwrap();
    assert!(recorder.record(0, &mut vec![anew(MAX_LOGS)]).is_err());
    assert_eq!(recorder.subscribers[0].epochs.len(), MAX_LOGS);
}

#[test]
fn kinds_of_failures_are_bounded_and_none_is_lost() {
    let mut recorder = recorder();
    (0..=u16::MAX).for_each(|code| recorder.fail(&Failure::Closed(code)));
    assert!(recorder.failures.len() < 100, "{}", recorder.failures.len());
    assert_eq!(
        recorder
            .failures
            .values()
            .map(|failures| failures.count)
            .sum::<u64>(),
        65_536
    );
}

#[test]
fn on_a_virtual_clock_delays_come_out_as_they_were_put_in() {
    const MESSAGES: u32 = 2000;
    const EVERY: Nanos = 1_000_000;
    let windows = Windows::default();
    windows.open(0..u64::from(MESSAGES) * EVERY);
    let most = u64::from(MESSAGES);
    let length = most * EVERY;
    let mut recorder = Recorder::new([(4, false)].into_iter(), windows, length, length, most);
    let cursor = Cursor {
        epoch: "abcdefgh".into(),
        seq: 0,
    };
    recorder
        .record(0, &mut vec![Event::Hello(Some(cursor))])
        .unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    // Exponential, with a mean of 5 ms.
    let delays = (0..MESSAGES).map(|_| (-5e6 * (1.0 - random.f64()).ln()) as Nanos);
    let mut delays: Vec<Nanos> = delays.collect();
    for (number, delay) in (0..).zip(&delays) {
        let due = u64::from(number) * EVERY;
        let delivery = Delivery {
            seq: Some(u64::from(number) + 1),
            received: due + delay,
            asked: None,
            said: Said::Message(MessageId {
                number,
                room: 4,
                due,
            }),
        };
        recorder
            .record(0, &mut vec![Event::Message(delivery)])
            .unwrap();
    }
    delays.sort_unstable();
    let found = Times::merged(recorder.parts.iter()).points(delays.len());
    let apart = delays
        .iter()
        .zip(&found)
        .map(|(delay, ms)| (*delay as f64 / 1e6 - ms).abs());
    let w1 = apart.sum::<f64>() / delays.len() as f64;
    assert!(found.len() == delays.len() && w1 <= 0.01, "W1 {w1} ms");
}
