//! The log against a model that is too simple to be wrong: any operations, in any order.

use proptest::prelude::*;

use super::{new_log, *};

/// Every message ever published; what is retained is worked out anew each time.
struct Model {
    retention: Retention,
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

    /// The oldest seq from which everything up to the head is retained; the newest always does.
    fn oldest(&self) -> u64 {
        let (mut oldest, mut bytes) = (self.head() + 1, 0);
        while oldest > 1 {
            bytes += self.length(oldest - 1);
            let fits = bytes <= self.retention.bytes || oldest == self.head() + 1;
            if !fits || self.head() + 1 - oldest >= self.retention.messages as u64 {
                break;
            }
            oldest -= 1;
        }
        oldest
    }

    fn publish(&mut self, text: String, key: Option<String>) -> Result<(u64, bool), NotStored> {
        if self.closed {
            return Err(NotStored::Closed);
        }
        let retained = self.oldest()..=self.head();
        if let Some(seq) = retained
            .into_iter()
            .find(|&seq| key.is_some() && self.messages[seq as usize - 1].1 == key)
        {
            return Ok((seq, true));
        }
        self.messages.push((text, key));
        Ok((self.head(), false))
    }

    fn stand(&self, after: After) -> Standing {
        let untold = |reason, seq| Standing {
            seq,
            untold: Some(reason),
        };
        match after {
            After::Oldest => Standing {
                seq: self.oldest() - 1,
                untold: None,
            },
            After::Latest => Standing {
                seq: self.head(),
                untold: None,
            },
            After::Cursor(Cursor { epoch, seq }) if epoch != self.epoch => {
                untold(GapReason::Epoch, seq)
            }
            After::Cursor(Cursor { seq, .. }) if seq > self.head() => untold(GapReason::Ahead, seq),
            After::Cursor(Cursor { seq, .. }) if seq + 1 < self.oldest() => {
                untold(GapReason::Window, seq)
            }
            After::Cursor(Cursor { seq, .. }) => Standing { seq, untold: None },
        }
    }

    /// A batch has 1000 messages at most, or as few as are wanted, and 128 KiB unless a single message has more.
    fn end_of_batch(&self, after: u64, limit: usize) -> u64 {
        let mut bytes = 0;
        let fits = |&seq: &u64| {
            let (text, _) = &self.messages[usize::try_from(seq).unwrap() - 1];
            let size = crate::message::encode(&draft(text, None), seq, 1_763_900_000_000).len();
            bytes += size;
            bytes <= 128 * 1024 || bytes == size
        };
        (after + 1..=self.head())
            .take(limit.min(1000))
            .take_while(fits)
            .last()
            .unwrap_or(after)
    }

    /// Checks a batch to the byte against what a reader who stood there, and wants so many at most, is to get.
    fn check(&self, standing: &mut Standing, limit: usize, batch: &Batch) {
        let before = self.oldest() - 1;
        let fell_off = (standing.seq < before).then_some(GapReason::Window);
        let gap = standing.untold.take().or(fell_off).map(|reason| Gap {
            reason,
            missed: (reason == GapReason::Window).then(|| before - standing.seq),
            cursor: Cursor {
                epoch: self.epoch,
                seq: before,
            },
        });
        assert_eq!(batch.gap, gap);
        let after = if gap.is_some() { before } else { standing.seq };
        let end = self.end_of_batch(after, limit);
        assert_eq!(
            batch.cursor,
            Cursor {
                epoch: self.epoch,
                seq: end
            }
        );
        assert_eq!(batch.count() as u64, end - after);

        let lines = batch.encoded(&LINES).unwrap();
        let payloads: Vec<&str> = std::str::from_utf8(&lines).unwrap().lines().collect();
        let more = end < self.head();
        assert_eq!(
            batch.encoded(&ALL).unwrap(),
            format!("{} {more} {}", batch.cursor, payloads.join(",")),
            "the same messages in both formats"
        );
        assert_eq!(payloads.len(), batch.count());
        for (seq, payload) in (after + 1..).zip(payloads) {
            let text = &self.messages[seq as usize - 1].0;
            let start = format!(r#"{{"seq":{seq},"from":"ann","text":"{text}","at":"#);
            assert!(payload.starts_with(&start), "{payload} instead of {start}");
            assert_eq!(payload.len(), self.length(seq));
        }
        standing.seq = end;
    }

    fn check_next(&self, standing: &mut Standing, limit: usize, next: Poll<Option<Batch>>) {
        let expected = standing.untold.is_some() || standing.seq < self.head();
        match next {
            Poll::Ready(Some(batch)) => {
                assert!(expected, "nothing is made up");
                self.check(standing, limit, &batch);
            }
            Poll::Ready(None) => assert!(
                self.closed && !expected,
                "the end comes after everything was delivered"
            ),
            Poll::Pending => assert!(!self.closed && !expected, "nobody waits for what is there"),
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
    Publish {
        text: String,
        key: Option<u8>,
        times: usize,
    },
    Read(Place, usize),
    Subscribe(Place, usize),
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

fn limit() -> impl Strategy<Value = usize> {
    prop_oneof![Just(MAX_BATCH), 1..8_usize, 1..=MAX_BATCH]
}

fn step() -> impl Strategy<Value = Step> {
    let times = prop_oneof![9 => Just(1_usize), 1 => 1..1300_usize, 1 => Just(1300)];
    let publish = ("[a-z]{0,140}", prop::option::of(0..6_u8), times);
    prop_oneof![
        12 => publish.prop_map(|(text, key, times)| Step::Publish { text, key, times }),
        6 => (place(), limit()).prop_map(|(place, limit)| Step::Read(place, limit)),
        4 => (place(), limit()).prop_map(|(place, limit)| Step::Subscribe(place, limit)),
        12 => any::<prop::sample::Index>().prop_map(Step::Next),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        1 => Just(Step::Close),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    let messages = prop_oneof![3 => 1..12_usize, 1 => 900..2500_usize];
    let bytes = prop_oneof![1..1500_usize, Just(1 << 20)];
    (messages, bytes).prop_map(|(messages, bytes)| Retention { messages, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn whatever_happens_in_whatever_order_the_log_does_as_the_model(
        retention in retention(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let log = new_log(retention);
        let epoch = log.read(After::Latest, MAX_BATCH).cursor.epoch;
        let mut model = Model { retention, epoch, messages: Vec::new(), closed: false };
        let mut readers: Vec<(Subscription, Standing, usize)> = Vec::new();
        for step in steps {
            run(&log, &mut model, &mut readers, step);
            assert_eq!(log.subscribers(), readers.len());
        }
        // However it went, everybody is told everything in the end.
        log.close();
        model.closed = true;
        for (subscription, standing, limit) in &mut readers {
            while let Poll::Ready(Some(batch)) = ask(subscription) {
                model.check(standing, *limit, &batch);
            }
            model.check_next(standing, *limit, ask(subscription));
        }
    }
}

fn run(
    log: &Arc<Log>,
    model: &mut Model,
    readers: &mut Vec<(Subscription, Standing, usize)>,
    step: Step,
) {
    let resolve = |place| match place {
        Place::Oldest => After::Oldest,
        Place::Latest => After::Latest,
        Place::Back(n) => After::Cursor(log.at(model.head().saturating_sub(n))),
        Place::Ahead(n) => After::Cursor(log.at(model.head().saturating_add(n))),
        Place::Foreign(seq) => After::Cursor(Cursor {
            seq,
            ..format!("00000000-{seq}").parse().unwrap()
        }),
    };
    match step {
        Step::Publish { text, key, times } => {
            for _ in 0..times {
                let key = key.map(|key| key.to_string());
                let published = log.append(&draft(&text, key.as_deref()));
                let published =
                    published.map(|published| (published.cursor.seq, published.duplicate));
                let expected = model.publish(text.clone(), key);
                assert_eq!(published, expected);
                if expected.is_ok_and(|(_, duplicate)| duplicate) {
                    break;
                }
            }
        }
        Step::Read(place, limit) => {
            let batch = log.read(resolve(place), limit);
            model.check(&mut model.stand(resolve(place)), limit, &batch);
        }
        Step::Subscribe(place, limit) => {
            let subscription = log.subscribe(resolve(place)).at_most(limit);
            readers.push((subscription, model.stand(resolve(place)), limit));
        }
        Step::Next(index) if !readers.is_empty() => {
            let (subscription, standing, limit) = index.get_mut(readers);
            model.check_next(standing, *limit, ask(subscription));
        }
        Step::Leave(index) if !readers.is_empty() => {
            drop(readers.swap_remove(index.index(readers.len())));
        }
        Step::Next(_) | Step::Leave(_) => {}
        Step::Close => {
            log.close();
            model.closed = true;
        }
    }
}
