//! What one worker's clients report, written down as it comes: one book per worker, so nobody waits for another's.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::audit::{Account, Audit, Seen};
use super::histogram::Times;
use crate::client::{Cursor, Delivery, Event, Failure, Gap};
use crate::clock::{Nanos, now};
use crate::outcome::Failures;
use crate::payload::Stamp;

/// How many waits of short polls one worker keeps: enough for any distribution, 16 bytes each.
const MAX_WAITS: usize = 500_000;

/// The measuring window, known once everybody is connected.
pub type Window = Arc<OnceLock<Range<Nanos>>>;

/// A worker's book. `client` counts from 0 within the worker.
#[derive(Debug)]
pub struct Book {
    window: Window,
    /// Latency from the due time, of messages due within the window.
    pub latency: Times,
    /// Requests of polls whose tick was within the window, from that tick.
    pub polls: Times,
    /// Connects, from the first packet to the confirmed cursor.
    pub connects: Times,
    /// How late the worker's own 10 ms ticker was.
    pub lateness: Times,
    /// For messages that polls brought: which, and the tick of the poll.
    pub waits: Vec<(u32, Nanos)>,
    /// All deliveries so far, warm-up included.
    pub deliveries: u64,
    /// Deliveries in each second of the window, by their arrival.
    pub series: Vec<u64>,
    /// Samples below zero: there must be none.
    pub negative: u64,
    /// Failures by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Clients connected now.
    pub connected: usize,
    /// Clients that could not connect at first.
    pub refused: usize,
    /// Connections lost after that.
    pub disconnects: u64,
    /// Deliveries by kind; `owed` and `lost` are known only at the end.
    pub audit: Audit,
    /// What every client has got.
    pub subscribers: Vec<Subscriber>,
}

/// One client in the book.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The number of its room.
    pub room: u32,
    /// What has come, for each incarnation of the room's log it has seen; the last is the current one.
    pub accounts: Vec<(String, Account)>,
}

impl Subscriber {
    /// Where it would resume; `None` before it has connected.
    pub fn cursor(&self) -> Option<Cursor> {
        self.accounts.last().map(|(epoch, account)| Cursor { epoch: epoch.clone(), seq: account.last() })
    }
}

impl Book {
    /// An empty book for clients in these rooms.
    pub fn new(rooms: impl Iterator<Item = u32>, window: Window) -> Self {
        Self {
            window,
            latency: Times::default(),
            polls: Times::default(),
            connects: Times::default(),
            lateness: Times::default(),
            waits: Vec::new(),
            deliveries: 0,
            series: Vec::new(),
            negative: 0,
            failures: BTreeMap::new(),
            connected: 0,
            refused: 0,
            disconnects: 0,
            audit: Audit::default(),
            subscribers: rooms.map(|room| Subscriber { room, accounts: Vec::new() }).collect(),
        }
    }

    /// Books what a client has reported.
    pub fn record(&mut self, client: usize, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Hello(cursor) => self.hello(client, cursor),
                Event::Message(delivery) => self.deliver(client, &delivery),
                Event::Gap(gap) => self.told(client, gap),
                Event::Polled { asked, answered } => {
                    if self.is_in_window(asked) {
                        self.polls.record(answered - asked);
                    }
                }
            }
        }
    }

    /// Books how late the worker's ticker was.
    pub fn tick(&mut self, late: Nanos) {
        // Up to the end of the drain: what is late there is late for messages of the window.
        if self.window.get().is_some_and(|window| now() >= window.start) {
            self.lateness.record(late);
        }
    }

    /// Books a failure.
    pub fn fail(&mut self, failure: &Failure) {
        self.failures.entry(failure.kind()).or_default().add(1, || failure.to_string());
    }

    fn hello(&mut self, client: usize, cursor: Cursor) {
        let accounts = &mut self.subscribers[client].accounts;
        // A client that comes back goes on with its account: if it cannot, a gap says so next.
        if accounts.is_empty() {
            accounts.push((cursor.epoch, Account::open(cursor.seq)));
        }
    }

    fn told(&mut self, client: usize, gap: Gap) {
        let accounts = &mut self.subscribers[client].accounts;
        match accounts.last_mut().filter(|(epoch, _)| *epoch == gap.cursor.epoch) {
            Some((_, account)) => self.audit.gaps += account.told_gap(gap.cursor.seq),
            None => {
                self.audit.gaps += gap.missed.unwrap_or(1);
                accounts.push((gap.cursor.epoch, Account::open(gap.cursor.seq)));
            }
        }
    }

    fn deliver(&mut self, client: usize, delivery: &Delivery) {
        self.deliveries += 1;
        self.plot(delivery.received);
        let subscriber = &mut self.subscribers[client];
        let stamp = Stamp::from_text(&delivery.text).filter(|stamp| stamp.room == subscriber.room);
        let Some((_, account)) = subscriber.accounts.last_mut() else { return };
        match account.see(delivery.seq) {
            Seen::Doubled => {
                self.audit.doubled += 1;
                return;
            }
            Seen::Reordered => self.audit.reordered += 1,
            Seen::InOrder => {}
        }
        let Some(stamp) = stamp else {
            self.audit.corrupt += 1;
            return;
        };
        self.audit.received += 1;
        if self.is_in_window(stamp.due) {
            // Received before it was due: the clock went back, and the books are not to be believed.
            self.negative += u64::from(delivery.received < stamp.due);
            self.latency.record(delivery.received.saturating_sub(stamp.due));
            if let Some(asked) = delivery.asked.filter(|_| self.waits.len() < MAX_WAITS) {
                self.waits.push((stamp.number, asked));
            }
        }
    }

    fn plot(&mut self, received: Nanos) {
        if let Some(window) = self.window.get().filter(|window| window.contains(&received)) {
            let second = ((received - window.start) / 1_000_000_000) as usize;
            self.series.resize(self.series.len().max(second + 1), 0);
            self.series[second] += 1;
        }
    }

    fn is_in_window(&self, time: Nanos) -> bool {
        self.window.get().is_some_and(|window| window.contains(&time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { number: 0, room: 4, due: 1_000 };

    fn book() -> Book {
        let window = Window::default();
        window.set(500..2_000).unwrap();
        let mut book = Book::new([4].into_iter(), window);
        book.record(0, &mut vec![Event::Hello(Cursor { epoch: "abcdefgh".into(), seq: 0 })]);
        book
    }

    fn message(seq: u64, stamp: Stamp) -> Event {
        Event::Message(Delivery { seq, received: 1_501_000, asked: None, text: stamp.to_text(64) })
    }

    #[test]
    fn latency_counts_from_the_due_time_and_only_within_the_window() {
        let mut book = book();
        book.record(0, &mut vec![message(1, STAMP), message(2, Stamp { due: 2_000, ..STAMP })]);
        assert_eq!((book.latency.count(), book.audit.received), (1, 2));
        assert_eq!(book.latency.max().unwrap().as_micros(), 1_500);
    }

    #[test]
    fn another_rooms_message_and_a_broken_text_are_corrupt() {
        let mut book = book();
        let broken = Event::Message(Delivery { seq: 2, received: 0, asked: None, text: "hello".into() });
        book.record(0, &mut vec![message(1, Stamp { room: 5, ..STAMP }), broken]);
        assert_eq!((book.audit.corrupt, book.audit.received), (2, 0));
    }

    #[test]
    fn a_new_epoch_is_a_told_gap_and_starts_a_new_account() {
        let mut book = book();
        let cursor = Cursor { epoch: "zzzzzzzz".into(), seq: 0 };
        let gap = crate::client::Gap { reason: crate::client::GapReason::Epoch, missed: None, cursor: cursor.clone() };
        book.record(0, &mut vec![message(1, STAMP), Event::Gap(gap), message(1, STAMP)]);
        assert_eq!((book.audit.doubled, book.audit.gaps), (0, 1));
        assert_eq!(book.subscribers[0].cursor(), Some(Cursor { seq: 1, ..cursor }));
    }
}
