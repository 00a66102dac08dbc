//! What one worker's clients report, written down as it comes: one book per worker, so nobody waits for another's.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::audit::{Account, Seen, SeenLog};
use crate::client::{Cursor, Delivery, Event, Failure, Gap, Said};
use crate::clock::{Nanos, Window, is_under_way};
use crate::result::audit::Audit;
use crate::result::histogram::Times;
use crate::result::outcome::{Failures, tally};

const SECOND: Nanos = 1_000_000_000;
/// How many waits of short polls one worker keeps: enough for any distribution, 24 bytes each.
const MAX_WAITS: usize = 500_000;
/// How many latencies are kept of one client that is followed by itself, 4 bytes each.
const MAX_SAMPLES: usize = 100_000;
/// So many incarnations of its log one client may see: each is a restart of the server.
const MAX_LOGS: usize = 100;
/// A window has at least so many slices, so that a stall in some of them leaves the others.
const SLICES: u64 = 20;

/// How many slices a second of this window is divided into: one, unless the window is short.
pub fn slices_per_second(window: &Range<Nanos>) -> u64 {
    (SLICES * SECOND).div_ceil((window.end - window.start).max(1)).max(1)
}

fn slice<'a>(slices: &'a mut Vec<Times>, window: &Range<Nanos>, due: Nanos) -> &'a mut Times {
    let i = ((due - window.start) * slices_per_second(window) / SECOND) as usize;
    slices.resize_with(slices.len().max(i + 1), Times::default);
    &mut slices[i]
}

/// A worker's book. `client` counts from 0 within the worker.
#[derive(Debug, Default)]
pub struct Book {
    window: Window,
    patience: Nanos,
    /// No log of the trial can have more messages.
    most: u64,
    /// Latency from the due time, of messages due within the window, by the slice they were due in.
    pub slices: Vec<Times>,
    /// Requests of polls whose tick was within the window, from that tick.
    pub polls: Times,
    /// Connects, from the first packet to the confirmed cursor.
    pub connects: Times,
    /// How late the worker's own 10 ms ticker was.
    pub timer_delay: Times,
    /// For messages that polls brought.
    pub waits: Vec<Wait>,
    /// All deliveries so far, warm-up included.
    pub deliveries: u64,
    /// Deliveries in each second of the window, by their arrival.
    pub series: Vec<u64>,
    /// Samples below zero or above an hour: there must be none.
    pub impossible: u64,
    /// Failures by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Clients connected now.
    pub connected: usize,
    /// Clients that the server turned away when they first connected.
    pub refused: usize,
    /// Clients that could not connect at first because of this machine.
    pub unable: usize,
    /// Connections lost after that.
    pub disconnects: u64,
    /// Those of them that the other side ended.
    pub cut: u64,
    /// Deliveries by kind; `expected` and `lost` are known only at the end.
    pub audit: Audit,
    /// What every client has got.
    pub subscribers: Vec<Subscriber>,
    /// Which messages have been seen, for each room of these clients and each incarnation of its log.
    pub logs: Vec<Vec<SeenLog>>,
}

/// A message that a poll brought.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Which message.
    pub number: u32,
    /// The tick of the poll.
    pub asked: Nanos,
    /// When its answer had been read.
    pub received: Nanos,
}

/// One client in the book.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The number of its room.
    pub room: u32,
    /// What has come, for each incarnation of the room's log it has seen; the last is the current one.
    pub accounts: Vec<(String, Account)>,
    /// What came but is not what was published there: the account it belongs to, and its seq.
    pub spoiled: Vec<(usize, u64)>,
    /// Its own latencies in the window, in microseconds, if it is one of those that are followed by themselves.
    pub samples: Option<Vec<u32>>,
    /// Where the room stands in [`Book::logs`].
    log: usize,
    /// Where it stood when it last came back.
    resumed: u64,
}

impl Subscriber {
    /// Where it would resume; `None` before it has connected.
    pub fn cursor(&self) -> Option<Cursor> {
        self.accounts.last().map(|(epoch, account)| Cursor { epoch: epoch.clone(), seq: account.last() })
    }
}

impl Book {
    /// An empty book for clients: the room of each, and whether it is followed by itself. What comes later than
    /// `patience` after it was due is late; a log with more than `most` messages is impossible.
    pub fn new(clients: impl Iterator<Item = (u32, bool)>, window: Window, patience: Nanos, most: u64) -> Self {
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        let subscriber = |(room, followed): (u32, bool)| {
            let next = places.len();
            let log = *places.entry(room).or_insert(next);
            let (accounts, spoiled) = (Vec::new(), Vec::new());
            Subscriber { room, log, resumed: 0, accounts, spoiled, samples: followed.then(Vec::new) }
        };
        let subscribers: Vec<Subscriber> = clients.map(subscriber).collect();
        let logs = places.iter().map(|_| Vec::new()).collect();
        Self { window, patience, most, subscribers, logs, ..Self::default() }
    }

    /// Books what a client has reported. An error means that the server said something impossible: what came after it
    /// is not booked.
    pub fn record(&mut self, client: usize, events: &mut Vec<Event>) -> Result<(), Failure> {
        for event in events.drain(..) {
            match event {
                Event::Hello(cursor) => self.hello(client, cursor)?,
                Event::Message(delivery) => {
                    self.possible("a message", delivery.seq)?;
                    self.deliver(client, &delivery);
                }
                Event::Gap(gap) => self.told(client, gap)?,
                Event::Polled { asked, answered } => {
                    if self.is_in_window(asked) {
                        self.polls.record(answered.saturating_sub(asked));
                    }
                }
            }
        }
        Ok(())
    }

    /// A trial knows how many messages its rooms can have at most; a server that speaks of more would otherwise decide
    /// how much memory and time the books take.
    fn possible(&self, what: &str, count: u64) -> Result<(), Failure> {
        let Self { most, .. } = self;
        if count <= *most {
            return Ok(());
        }
        Err(Failure::Protocol(format!("{what} at {count}, in a room that cannot have more than {most} messages")))
    }

    /// Books how late the worker's ticker was.
    pub fn tick(&mut self, late: Nanos) {
        if is_under_way(&self.window) {
            self.timer_delay.record(late);
        }
    }

    /// Books a failure.
    pub fn fail(&mut self, failure: &Failure) {
        tally(&mut self.failures, failure.kind(), 1, || failure.to_string());
    }

    /// Books a delivery of a message due within the window that never came.
    pub fn miss(&mut self, due: Nanos, deadline: Nanos) {
        if let Some(window) = self.window.get() {
            slice(&mut self.slices, window, due).record(deadline.saturating_sub(due));
        }
    }

    /// The latencies of messages due in the last second or so before this time.
    pub fn recent(&self, before: Nanos) -> Times {
        let Some(window) = self.window.get() else { return Times::default() };
        let end = (before.saturating_sub(window.start) * slices_per_second(window) / SECOND) as usize;
        let end = end.min(self.slices.len());
        Times::merged(self.slices[end.saturating_sub(3)..end].iter())
    }

    fn hello(&mut self, client: usize, cursor: Cursor) -> Result<(), Failure> {
        self.possible("a hello", cursor.seq)?;
        let subscriber = &mut self.subscribers[client];
        // A client that comes back goes on with its account: if it cannot, a gap says so next.
        match subscriber.accounts.last() {
            None => subscriber.accounts.push((cursor.epoch, Account::open(cursor.seq))),
            Some((_, account)) => subscriber.resumed = account.last(),
        }
        Ok(())
    }

    fn told(&mut self, client: usize, gap: Gap) -> Result<(), Failure> {
        self.possible("a gap", gap.cursor.seq.max(gap.missed.unwrap_or(0)))?;
        let subscriber = &mut self.subscribers[client];
        let is_endless = subscriber.accounts.len() >= MAX_LOGS;
        match subscriber.accounts.last_mut().filter(|(epoch, _)| *epoch == gap.cursor.epoch) {
            Some((_, account)) => self.audit.gaps += account.told_gap(gap.cursor.seq),
            None if is_endless => {
                return Err(Failure::Protocol(format!("a log that began anew more than {MAX_LOGS} times")));
            }
            None => {
                self.audit.gaps += gap.missed.unwrap_or(1);
                subscriber.accounts.push((gap.cursor.epoch, Account::open(gap.cursor.seq)));
                subscriber.resumed = 0;
            }
        }
        Ok(())
    }

    fn deliver(&mut self, client: usize, delivery: &Delivery) {
        self.deliveries += 1;
        self.plot(delivery.received);
        let subscriber = &mut self.subscribers[client];
        let place = (subscriber.accounts.len().saturating_sub(1), delivery.seq);
        let Some((epoch, account)) = subscriber.accounts.last_mut() else { return };
        match account.see(delivery.seq) {
            Seen::Doubled if delivery.seq <= subscriber.resumed => return self.audit.redelivered += 1,
            Seen::Doubled => return self.audit.doubled += 1,
            Seen::Reordered => self.audit.reordered += 1,
            Seen::InOrder => {}
        }
        let Said::MessageId(stamp) = &delivery.said else {
            subscriber.spoiled.push(place);
            return self.audit.corrupt += 1;
        };
        if stamp.room != subscriber.room {
            subscriber.spoiled.push(place);
            return self.audit.wrong_room += 1;
        }
        let logs = &mut self.logs[subscriber.log];
        let log = match logs.iter_mut().rposition(|log| log.epoch == *epoch) {
            Some(i) => &mut logs[i],
            None => {
                let (room, epoch, first) = (stamp.room, epoch.clone(), delivery.seq);
                logs.push(SeenLog { room, epoch, first, messages: VecDeque::new() });
                logs.last_mut().expect("one was pushed")
            }
        };
        if !log.note(delivery.seq, stamp.number, delivery.received) {
            subscriber.spoiled.push(place);
            return self.audit.unexpected += 1;
        }
        self.audit.received += 1;
        let latency = delivery.received.saturating_sub(stamp.due);
        self.audit.late += u64::from(latency > self.patience);
        let Some(window) = self.window.get().filter(|window| window.contains(&stamp.due)) else { return };
        // Received before it was due: the clock went back, and the books are not to be believed.
        self.impossible += u64::from(delivery.received < stamp.due || latency > Times::HIGHEST);
        slice(&mut self.slices, window, stamp.due).record(latency);
        if let Some(samples) = subscriber.samples.as_mut().filter(|samples| samples.len() < MAX_SAMPLES) {
            samples.push(u32::try_from(latency / 1000).unwrap_or(u32::MAX));
        }
        if let Some(asked) = delivery.asked.filter(|_| self.waits.len() < MAX_WAITS) {
            self.waits.push(Wait { number: stamp.number, asked, received: delivery.received });
        }
    }

    fn plot(&mut self, received: Nanos) {
        if let Some(window) = self.window.get().filter(|window| window.contains(&received)) {
            let second = ((received - window.start) / SECOND) as usize;
            self.series.resize(self.series.len().max(second + 1), 0);
            self.series[second] += 1;
        }
    }

    fn is_in_window(&self, time: Nanos) -> bool {
        self.window.get().is_some_and(|window| window.contains(&time))
    }
}

#[cfg(test)]
mod tests;
