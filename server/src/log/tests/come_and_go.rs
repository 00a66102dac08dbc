//! Readers that leave and come again while messages are published: whoever waits is woken, in whichever shard it sits.

use fastrand::Rng;

use super::*;

/// More than six shards.
const READERS: usize = 200;

/// As a held poll does it: asks after its place, is answered, leaves, and asks again; tells each place it reaches.
async fn polls(log: Arc<Log>, mut random: Rng, tells: mpsc::Sender<u64>) {
    let mut cursor = log.at(0);
    loop {
        let mut subscription = log.subscribe(After::Cursor(cursor));
        let Some(batch) = subscription.next().await else {
            return;
        };
        assert_eq!(
            (batch.gap, batch.cursor.seq),
            (None, cursor.seq + batch.count() as u64)
        );
        cursor = batch.cursor;
        drop(subscription);
        if random.bool() {
            tokio::task::yield_now().await;
        }
        tells.send(cursor.seq).await.unwrap();
    }
}

/// Waits for a moment, goes without an answer, and comes again, until the log is closed.
async fn passes_by(log: Arc<Log>, mut random: Rng) {
    loop {
        let mut subscriptions: Vec<Subscription> = (0..random.usize(1..2 * wake::SHARD))
            .map(|_| log.subscribe(After::Latest))
            .collect();
        let first = subscriptions[0].next();
        match timeout(Duration::from_micros(random.u64(..2000)), first).await {
            Ok(None) => return,
            Ok(Some(_)) | Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_lost_wake_up_while_readers_leave_and_come_again() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let log = new_log(WIDE);
    let (tells, mut told) = mpsc::channel(READERS);
    for _ in 0..READERS {
        tokio::spawn(polls(Arc::clone(&log), random.fork(), tells.clone()));
    }
    for _ in 0..4 {
        tokio::spawn(passes_by(Arc::clone(&log), random.fork()));
    }
    for round in 1..=500 {
        log.append(&draft("now", None)).unwrap();
        // Nothing else is published meanwhile: whoever was passed over sleeps on.
        for got in 0..READERS {
            let seq = timeout(DEADLINE, told.recv()).await;
            let seq = seq.unwrap_or_else(|_| {
                panic!("round {round}: {} of {READERS} sleep on", READERS - got)
            });
            assert_eq!(seq, Some(round));
        }
    }
    drop(tells);
    log.close();
    let end = timeout(DEADLINE, told.recv())
        .await
        .expect("the end wakes everybody");
    assert_eq!(end, None, "every reader has left");
}
