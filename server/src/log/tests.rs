//! The log against a model that is too simple to be wrong, and the races a model cannot see.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::message::Format;

const WIDE: Window = Window { messages: 8192, bytes: 1 << 20 };
/// Far beyond what the slowest machine needs: whoever is not there by then never comes.
const DEADLINE: Duration = Duration::from_secs(30);

fn draft(text: &str, key: Option<&str>) -> Draft {
    Draft::new("ann".into(), text.into(), key.map(Into::into)).unwrap()
}

/// Asks a subscription once, without waiting.
fn ask(subscription: &mut Subscription) -> Poll<Option<Batch>> {
    pin!(subscription.next()).poll(&mut Context::from_waker(Waker::noop()))
}

/// The payloads of a run of unmasked final text frames.
fn payloads(mut run: &[u8]) -> Vec<&str> {
    let mut payloads = Vec::new();
    while let [0x81, short, rest @ ..] = run {
        let (length, rest) = match short {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        payloads.push(std::str::from_utf8(&rest[..length]).unwrap());
        run = &rest[length..];
    }
    assert!(run.is_empty(), "only whole text frames");
    payloads
}

/// Every message ever published; what is retained is worked out anew each time.
struct Model {
    window: Window,
    epoch: Epoch,
    messages: Vec<(String, Option<String>)>,
    closed: bool,
}

/// A subscriber of the model: where it stands, and the gap it has still to be told.
#[derive(Clone, Copy, Debug)]
struct Standing {
    seq: u64,
    untold: Option<GapReason>,
}

impl Model {
    fn head(&self) -> u64 {
        self.messages.len() as u64
    }

    fn length(&self, seq: u64) -> usize {
        let text = &self.messages[seq as usize - 1].0;
        format!(r#"{{"seq":{seq},"from":"ann","text":"{text}","at":1763900000000}}"#).len()
    }

    /// The oldest seq from which everything up to the head fits the window; the newest always does.
    fn oldest(&self) -> u64 {
        let (mut oldest, mut bytes) = (self.head() + 1, 0);
        while oldest > 1 {
            bytes += self.length(oldest - 1);
            let fits = bytes <= self.window.bytes || oldest == self.head() + 1;
            if !fits || self.head() + 1 - oldest >= self.window.messages as u64 {
                break;
            }
            oldest -= 1;
        }
        oldest
    }

    fn publish(&mut self, text: String, key: Option<String>) -> Result<(u64, bool), Closed> {
        if self.closed {
            return Err(Closed);
        }
        let retained = self.oldest()..=self.head();
        if let Some(seq) = retained.into_iter().find(|&seq| key.is_some() && self.messages[seq as usize - 1].1 == key) {
            return Ok((seq, true));
        }
        self.messages.push((text, key));
        Ok((self.head(), false))
    }

    fn stand(&self, after: After) -> Standing {
        let untold = |reason, seq| Standing { seq, untold: Some(reason) };
        match after {
            After::Oldest => Standing { seq: self.oldest() - 1, untold: None },
            After::Latest => Standing { seq: self.head(), untold: None },
            After::Cursor(Cursor { epoch, seq }) if epoch != self.epoch => untold(GapReason::Epoch, seq),
            After::Cursor(Cursor { seq, .. }) if seq > self.head() => untold(GapReason::Ahead, seq),
            After::Cursor(Cursor { seq, .. }) if seq + 1 < self.oldest() => untold(GapReason::Window, seq),
            After::Cursor(Cursor { seq, .. }) => Standing { seq, untold: None },
        }
    }

    /// Checks a batch to the byte against what a reader who stood there is owed.
    fn check(&self, standing: &mut Standing, batch: &Batch) {
        let before = self.oldest() - 1;
        let fell_off = (standing.seq < before).then_some(GapReason::Window);
        let gap = standing.untold.take().or(fell_off).map(|reason| Gap {
            reason,
            missed: (reason == GapReason::Window).then(|| before - standing.seq),
            cursor: Cursor { epoch: self.epoch, seq: before },
        });
        assert_eq!(batch.gap, gap);
        let after = if gap.is_some() { before } else { standing.seq };
        let end = self.head().min(after + 1000);
        assert_eq!(batch.cursor, Cursor { epoch: self.epoch, seq: end });
        assert_eq!(batch.count() as u64, end - after);

        let frames = batch.encoded(Format::Ws);
        let payloads = payloads(&frames);
        let array = format!(r#"{{"cursor":"{}","messages":[{}]}}"#, batch.cursor, payloads.join(","));
        assert_eq!(batch.encoded(Format::Json), array.as_bytes(), "the same messages in both formats");
        assert_eq!(payloads.len(), batch.count());
        for (seq, payload) in (after + 1..).zip(payloads) {
            let text = &self.messages[seq as usize - 1].0;
            let start = format!(r#"{{"seq":{seq},"from":"ann","text":"{text}","at":"#);
            assert!(payload.starts_with(&start), "{payload} instead of {start}");
            assert_eq!(payload.len(), self.length(seq));
        }
        standing.seq = end;
    }

    fn check_next(&self, standing: &mut Standing, next: Poll<Option<Batch>>) {
        let owed = standing.untold.is_some() || standing.seq < self.head();
        match next {
            Poll::Ready(Some(batch)) => {
                assert!(owed, "nothing is made up");
                self.check(standing, &batch);
            }
            Poll::Ready(None) => assert!(self.closed && !owed, "the end comes after everything was delivered"),
            Poll::Pending => assert!(!self.closed && !owed, "nobody waits for what is there"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Oldest,
    Latest,
    Back(u64),
    Ahead(u64),
    Foreign(u64),
}

#[derive(Clone, Debug)]
enum Step {
    Publish { text: String, key: Option<u8>, times: usize },
    Read(Place),
    Subscribe(Place),
    Next(prop::sample::Index),
    Leave(prop::sample::Index),
    Close,
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Oldest),
        Just(Place::Latest),
        (0..12_u64).prop_map(Place::Back),
        (0..3000_u64).prop_map(Place::Back),
        prop_oneof![1..4_u64, Just(u64::MAX)].prop_map(Place::Ahead),
        prop_oneof![0..40_u64, Just(u64::MAX)].prop_map(Place::Foreign),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let times = prop_oneof![9 => Just(1_usize), 1 => 1..1300_usize];
    let publish = ("[a-z]{0,140}", prop::option::of(0..6_u8), times);
    prop_oneof![
        12 => publish.prop_map(|(text, key, times)| Step::Publish { text, key, times }),
        6 => place().prop_map(Step::Read),
        4 => place().prop_map(Step::Subscribe),
        12 => any::<prop::sample::Index>().prop_map(Step::Next),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => Just(Step::Close),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    let messages = prop_oneof![3 => 1..12_usize, 1 => 900..2500_usize];
    let bytes = prop_oneof![1..1500_usize, Just(1 << 20)];
    (messages, bytes).prop_map(|(messages, bytes)| Window { messages, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_happens_in_whatever_order_the_log_does_as_the_model(
        window in window(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let log = Log::new(window);
        let epoch = log.read(After::Latest).cursor.epoch;
        let mut model = Model { window, epoch, messages: Vec::new(), closed: false };
        let mut readers: Vec<(Subscription, Standing)> = Vec::new();
        for step in steps {
            run(&log, &mut model, &mut readers, step);
            assert_eq!(log.subscribers(), readers.len());
        }
        // However it went, everybody is told everything in the end.
        log.close();
        model.closed = true;
        for (subscription, standing) in &mut readers {
            while let Poll::Ready(Some(batch)) = ask(subscription) {
                model.check(standing, &batch);
            }
            model.check_next(standing, ask(subscription));
        }
    }
}

fn run(log: &Arc<Log>, model: &mut Model, readers: &mut Vec<(Subscription, Standing)>, step: Step) {
    let resolve = |place| match place {
        Place::Oldest => After::Oldest,
        Place::Latest => After::Latest,
        Place::Back(n) => After::Cursor(log.at(model.head().saturating_sub(n))),
        Place::Ahead(n) => After::Cursor(log.at(model.head().saturating_add(n))),
        Place::Foreign(seq) => After::Cursor(Cursor { seq, ..format!("00000000-{seq}").parse().unwrap() }),
    };
    match step {
        Step::Publish { text, key, times } => {
            for _ in 0..times {
                let key = key.map(|key| key.to_string());
                let published = log.append(&draft(&text, key.as_deref()));
                let published = published.map(|published| (published.cursor.seq, published.duplicate));
                let expected = model.publish(text.clone(), key);
                assert_eq!(published, expected);
                if expected.is_ok_and(|(_, duplicate)| duplicate) {
                    break;
                }
            }
        }
        Step::Read(place) => model.check(&mut model.stand(resolve(place)), &log.read(resolve(place))),
        Step::Subscribe(place) => readers.push((log.subscribe(resolve(place)), model.stand(resolve(place)))),
        Step::Next(index) if !readers.is_empty() => {
            let (subscription, standing) = index.get_mut(readers);
            model.check_next(standing, ask(subscription));
        }
        Step::Leave(index) if !readers.is_empty() => drop(readers.swap_remove(index.index(readers.len()))),
        Step::Next(_) | Step::Leave(_) => {}
        Step::Close => {
            log.close();
            model.closed = true;
        }
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
    let log = Log::new(WIDE);
    let mut subscriptions: Vec<Subscription> = (0..200).map(|_| log.subscribe(After::Latest)).collect();
    let alarms: Vec<Arc<Alarm>> = subscriptions.iter().map(|_| Arc::default()).collect();
    let wakers: Vec<Waker> = alarms.iter().map(|alarm| Waker::from(Arc::clone(alarm))).collect();
    let mut sleepers: Vec<_> = subscriptions.iter_mut().map(|subscription| Box::pin(subscription.next())).collect();
    let mut poll = |i: usize| sleepers[i].as_mut().poll(&mut Context::from_waker(&wakers[i]));
    assert!((0..200).all(|i| poll(i).is_pending()));
    log.append(&draft("wake up", None)).unwrap();
    assert!(alarms.iter().all(|alarm| alarm.0.load(Ordering::SeqCst) == 1));
    assert!((0..200).all(|i| matches!(poll(i), Poll::Ready(Some(batch)) if batch.count() == 1)));
    drop(sleepers);

    let mut sleepers: Vec<_> = subscriptions.iter_mut().map(|subscription| Box::pin(subscription.next())).collect();
    let mut poll = |i: usize| sleepers[i].as_mut().poll(&mut Context::from_waker(&wakers[i]));
    assert!((0..200).all(|i| poll(i).is_pending()));
    log.close();
    assert!(alarms.iter().all(|alarm| alarm.0.load(Ordering::SeqCst) == 2));
    assert!((0..200).all(|i| matches!(poll(i), Poll::Ready(None))));
}

/// Each round publishes at the moment the readers, done with the last round, go to sleep.
async fn race(readers: usize, rounds: u64) {
    let log = Log::new(WIDE);
    let (done, mut all_done) = mpsc::channel(readers);
    for _ in 0..readers {
        let (mut subscription, done) = (log.subscribe(After::Oldest), done.clone());
        tokio::spawn(async move {
            let mut seq = 0;
            while let Some(batch) = subscription.next().await {
                assert_eq!((batch.gap, batch.cursor.seq), (None, seq + batch.count() as u64));
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
            let seq = seq.unwrap_or_else(|_| panic!("round {round}: {} of {readers} sleep on", readers - got));
            assert_eq!(seq, Some(round));
        }
    }
    drop(done);
    log.close();
    let end = timeout(DEADLINE, all_done.recv()).await.expect("the end wakes everybody");
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
    let log = Log::new(WIDE);
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let mut subscription = log.subscribe(After::Oldest);
            tokio::spawn(async move {
                let mut seq = 0;
                while let Some(batch) = subscription.next().await {
                    assert_eq!((batch.gap, batch.cursor.seq), (None, seq + batch.count() as u64));
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
                log.append(&draft("now", Some(&format!("{publisher}-{n}")))).unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    // The log stays open: nothing but the last message's own wake-up brings it to a reader.
    for reader in readers {
        let seq = timeout(DEADLINE, reader).await.expect("nobody sleeps over the last message").unwrap();
        assert_eq!(seq, 4000);
    }
}

#[test]
fn a_closed_log_delivers_what_is_there_and_takes_nothing_more() {
    let log = Log::new(WIDE);
    let mut behind = log.subscribe(After::Oldest);
    for _ in 0..1500 {
        log.append(&draft("hi", None)).unwrap();
    }
    log.close();
    assert_eq!(log.append(&draft("too late", None)), Err(Closed));
    let mut late = log.subscribe(After::Oldest);
    for subscription in [&mut behind, &mut late] {
        for count in [1000, 500] {
            assert!(matches!(ask(subscription), Poll::Ready(Some(batch)) if batch.count() == count));
        }
        assert!(matches!(ask(subscription), Poll::Ready(None)));
        assert!(matches!(ask(subscription), Poll::Ready(None)), "and stays at its end");
    }
}

#[test]
fn a_range_is_merged_once_and_shared_by_everybody_who_reads_it() {
    let log = Log::new(WIDE);
    let mut waits = log.subscribe(After::Oldest);
    log.append(&draft("hi", None)).unwrap();
    let Poll::Ready(Some(delivered)) = ask(&mut waits) else { panic!("the message is there") };
    let read = log.read(After::Oldest);
    for format in [Format::Json, Format::Ws] {
        assert_eq!(delivered.encoded(format).as_ptr(), read.encoded(format).as_ptr());
    }
}
