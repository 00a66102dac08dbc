//! The races that the model (in `model`) cannot see, and what is shared.

mod come_and_go;
mod model;

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::message::Format;

/// Each message a line.
static LINES: Format = Format {
    adds: (0, 1),
    write: |_, messages, _, out| {
        for message in messages {
            out.extend_from_slice(message);
            out.push(b'\n');
        }
    },
};
/// All that a format is told: the cursor, whether there is more, the messages.
static ALL: Format = Format {
    adds: (40, 1),
    write: |cursor, messages, more, out| {
        out.extend_from_slice(format!("{cursor} {more} ").as_bytes());
        out.extend_from_slice(&messages.join(&b","[..]));
    },
};

const WIDE: Retention = Retention {
    messages: 8192,
    bytes: 1 << 20,
};
/// Far beyond what the slowest machine needs: whoever is not there by then never comes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A reader between its look and its sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// It has just seen that there is nothing: the earliest at which something new is not seen.
    FoundNothing,
    /// It has done all that it does before it sleeps.
    FallsAsleep,
}

/// What is to happen, once.
type Happens = Box<dyn FnOnce()>;

thread_local! {
    static WORST_MOMENT: Cell<Option<(Moment, Happens)>> = const { Cell::new(None) };
}

/// A reader of this thread has come so far: whatever a test wants to happen now does.
pub(super) fn reached(moment: Moment) {
    match WORST_MOMENT.take() {
        Some((at, happen)) if at == moment => happen(),
        other => WORST_MOMENT.set(other),
    }
}

/// Has something happen when the next reader of this thread is so far.
fn at(moment: Moment, happen: impl FnOnce() + 'static) {
    WORST_MOMENT.set(Some((moment, Box::new(happen))));
}

fn new_log(retention: Retention) -> Arc<Log> {
    Log::new(retention, &Memory::new(usize::MAX))
}

fn draft(text: &str, key: Option<&str>) -> Draft {
    Draft {
        from: "ann".into(),
        text: text.into(),
        key: key.map(Into::into),
    }
}

/// Asks a subscription once, without waiting.
fn ask(subscription: &mut Subscription) -> Poll<Option<Batch>> {
    pin!(subscription.next()).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn no_lost_wake_up_between_finding_nothing_and_falling_asleep() {
    for (readers, moment) in [1, 200]
        .into_iter()
        .flat_map(|readers| [Moment::FoundNothing, Moment::FallsAsleep].map(|at| (readers, at)))
    {
        let log = new_log(WIDE);
        let mut subscriptions: Vec<Subscription> =
            (0..readers).map(|_| log.subscribe(After::Latest)).collect();
        let publishes = Arc::clone(&log);
        at(moment, move || {
            assert!(publishes.append(&draft("now", None)).is_ok());
        });
        let closes = Arc::clone(&log);
        let last = subscriptions.last_mut().unwrap();
        let got = ask(last);
        assert!(
            matches!(&got, Poll::Ready(Some(batch)) if batch.count() == 1),
            "{readers} readers, {moment:?}: {got:?}"
        );
        at(moment, move || closes.close());
        let end = ask(last);
        assert!(
            matches!(end, Poll::Ready(None)),
            "{readers} readers, {moment:?}: {end:?}"
        );
    }
}

#[derive(Default)]
struct Alarm(AtomicUsize);

impl std::task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_reader_that_sleeps_is_woken_by_a_message_and_by_the_end() {
    let log = new_log(WIDE);
    let mut subscriptions: Vec<Subscription> =
        (0..200).map(|_| log.subscribe(After::Latest)).collect();
    let alarms: Vec<Arc<Alarm>> = subscriptions.iter().map(|_| Arc::default()).collect();
    let wakers: Vec<Waker> = alarms
        .iter()
        .map(|alarm| Waker::from(Arc::clone(alarm)))
        .collect();
    let mut sleepers: Vec<_> = subscriptions
        .iter_mut()
        .map(|subscription| Box::pin(subscription.next()))
        .collect();
    let mut poll = |i: usize| {
        sleepers[i]
            .as_mut()
            .poll(&mut Context::from_waker(&wakers[i]))
    };
    assert!((0..200).all(|i| poll(i).is_pending()));
    log.append(&draft("wake up", None)).unwrap();
    assert!(
        alarms
            .iter()
            .all(|alarm| alarm.0.load(Ordering::SeqCst) == 1)
    );
    assert!((0..200).all(|i| matches!(poll(i), Poll::Ready(Some(batch)) if batch.count() == 1)));
    drop(sleepers);

    let mut sleepers: Vec<_> = subscriptions
        .iter_mut()
        .map(|subscription| Box::pin(subscription.next()))
        .collect();
    let mut poll = |i: usize| {
        sleepers[i]
            .as_mut()
            .poll(&mut Context::from_waker(&wakers[i]))
    };
    assert!((0..200).all(|i| poll(i).is_pending()));
    log.close();
    assert!(
        alarms
            .iter()
            .all(|alarm| alarm.0.load(Ordering::SeqCst) == 2)
    );
    assert!((0..200).all(|i| matches!(poll(i), Poll::Ready(None))));
}

/// Each round publishes at the moment the readers, done with the last round, go to sleep.
async fn race(readers: usize, rounds: u64) {
    let log = new_log(WIDE);
    let (done, mut all_done) = mpsc::channel(readers);
    for _ in 0..readers {
        let (mut subscription, done) = (log.subscribe(After::Oldest), done.clone());
        tokio::spawn(async move {
            let mut seq = 0;
            while let Some(batch) = subscription.next().await {
                assert_eq!(
                    (batch.gap, batch.cursor.seq),
                    (None, seq + batch.count() as u64)
                );
                seq = batch.cursor.seq;
                done.send(seq).await.unwrap();
            }
        });
    }
    for round in 1..=rounds {
        for _ in 0..fastrand::u32(..300) {
            std::hint::spin_loop();
        }
        log.append(&draft("now", None)).unwrap();
        for got in 0..readers {
            let seq = timeout(DEADLINE, all_done.recv()).await;
            let seq = seq.unwrap_or_else(|_| {
                panic!("round {round}: {} of {readers} sleep on", readers - got)
            });
            assert_eq!(seq, Some(round));
        }
    }
    drop(done);
    log.close();
    let end = timeout(DEADLINE, all_done.recv())
        .await
        .expect("the end wakes everybody");
    assert_eq!(end, None, "every reader has left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_wake_up_of_a_single_reader() {
    race(1, 5000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_wake_up_in_the_sharded_sweep() {
    race(200, 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_wake_up_of_a_publish_during_the_sweep() {
    let log = new_log(WIDE);
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let mut subscription = log.subscribe(After::Oldest);
            tokio::spawn(async move {
                let mut seq = 0;
                while let Some(batch) = subscription.next().await {
                    assert_eq!(
                        (batch.gap, batch.cursor.seq),
                        (None, seq + batch.count() as u64)
                    );
                    seq = batch.cursor.seq;
                    if seq == 4000 {
                        break;
                    }
                }
                seq
            })
        })
        .collect();
    for publisher in 0..4 {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for n in 0..1000 {
                log.append(&draft("now", Some(&format!("{publisher}-{n}"))))
                    .unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    // The log stays open: nothing but the last message's own wake-up brings it to a reader.
    for reader in readers {
        let seq = timeout(DEADLINE, reader)
            .await
            .expect("nobody sleeps over the last message")
            .unwrap();
        assert_eq!(seq, 4000);
    }
}

#[tokio::test]
async fn a_sweep_passes_nobody_over_when_a_shard_it_has_done_empties_and_a_reader_joins() {
    let log = new_log(WIDE);
    let mut first: Vec<Subscription> = (0..wake::SHARD)
        .map(|_| log.subscribe(After::Latest))
        .collect();
    let mut others: Vec<Subscription> = (0..4 * wake::SHARD)
        .map(|_| log.subscribe(After::Latest))
        .collect();
    let alarm = Arc::<Alarm>::default();
    let waker = Waker::from(Arc::clone(&alarm));
    assert!(first.iter_mut().all(|reader| ask(reader).is_pending()));
    let mut asleep: Vec<_> = others
        .iter_mut()
        .map(|reader| Box::pin(reader.next()))
        .collect();
    assert!(asleep.iter_mut().all(|reader| {
        reader
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    }));

    log.append(&draft("now", None)).unwrap();
    // One step of the sweep, which does the first shard.
    tokio::task::yield_now().await;
    assert_eq!(
        alarm.0.load(Ordering::SeqCst),
        0,
        "the others are still to come"
    );
    drop(first);
    let _joins = log.subscribe(After::Latest);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(alarm.0.load(Ordering::SeqCst), asleep.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_arrives_during_a_sweep_is_not_kept_until_its_end() {
    const READERS: usize = 10_000;
    let log = new_log(WIDE);
    let served = Arc::new(AtomicUsize::new(0));
    // Each hundredth reader sends something through a socket: as a publish would come.
    let (near, far) = UnixStream::pair().unwrap();
    let near = Arc::new(near);
    for n in 0..READERS {
        let (mut subscription, served, near) = (
            log.subscribe(After::Latest),
            Arc::clone(&served),
            Arc::clone(&near),
        );
        tokio::spawn(async move {
            while subscription.next().await.is_some() {
                let before = served.fetch_add(1, Ordering::Relaxed);
                if n % 100 == 0 {
                    near.try_write(&before.to_le_bytes())
                        .expect("a few bytes fit");
                }
            }
        });
    }
    let sweep = tokio::spawn(async move {
        log.append(&draft("now", None)).unwrap();
        let mut longest = 0;
        for _ in 0..READERS / 100 {
            let mut before = [0; size_of::<usize>()];
            while far.try_read(&mut before).is_err() {
                far.readable().await.unwrap();
            }
            longest = longest.max(served.load(Ordering::Relaxed) - usize::from_le_bytes(before));
        }
        longest
    });
    let longest = timeout(DEADLINE, sweep)
        .await
        .expect("everybody is served")
        .unwrap();
    assert!(
        longest < 500,
        "{longest} of {READERS} readers were served before it"
    );
}

#[test]
fn a_closed_log_delivers_what_is_there_and_takes_nothing_more() {
    let log = new_log(WIDE);
    let mut behind = log.subscribe(After::Oldest);
    for _ in 0..1500 {
        log.append(&draft("hi", None)).unwrap();
    }
    log.close();
    assert_eq!(log.append(&draft("too late", None)), Err(NotStored::Closed));
    let mut late = log.subscribe(After::Oldest);
    for subscription in [&mut behind, &mut late] {
        for count in [1000, 500] {
            assert!(
                matches!(ask(subscription), Poll::Ready(Some(batch)) if batch.count() == count)
            );
        }
        assert!(matches!(ask(subscription), Poll::Ready(None)));
        assert!(
            matches!(ask(subscription), Poll::Ready(None)),
            "and stays at its end"
        );
    }
}

#[test]
fn a_range_is_merged_once_and_shared_by_everybody_who_reads_it() {
    let log = new_log(WIDE);
    let mut waits = log.subscribe(After::Oldest);
    log.append(&draft("hi", None)).unwrap();
    let Poll::Ready(Some(delivered)) = ask(&mut waits) else {
        panic!("the message is there")
    };
    let read = log.read(After::Oldest, MAX_BATCH);
    for format in [&ALL, &LINES] {
        assert_eq!(
            delivered.encoded(format).unwrap().as_ptr(),
            read.encoded(format).unwrap().as_ptr()
        );
    }
}

#[test]
fn while_memory_is_short_batches_are_so_small_that_they_are_merged_all_the_same() {
    let memory = Memory::new(4 << 20);
    let log = Log::new(WIDE, &memory);
    for _ in 0..400 {
        log.append(&draft(&"x".repeat(400), None)).unwrap();
    }
    let bytes = |batch: &Batch| {
        batch
            .messages()
            .iter()
            .map(bytes::Bytes::len)
            .sum::<usize>()
    };
    let plenty = log.read(After::Oldest, MAX_BATCH);
    assert!(
        (100 << 10..=128 << 10).contains(&bytes(&plenty)),
        "{}",
        bytes(&plenty)
    );
    log.forget_ranges();
    let others = memory.ranges.hold(memory.ranges.limit());
    let little = log.read(After::Oldest, MAX_BATCH);
    // Half of what need not be counted is for what a format adds; and no more calls than it takes.
    assert!(
        (7 << 10..=8 << 10).contains(&bytes(&little)),
        "{}",
        bytes(&little)
    );
    for format in [&ALL, &LINES] {
        assert!(little.encoded(format).is_ok() && plenty.encoded(format).is_err());
    }
    drop(others);
    assert!(plenty.encoded(&LINES).is_ok());
}
