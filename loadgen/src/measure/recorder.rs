//! What one worker's clients report, written down as it comes: one recorder per worker, so nobody waits for another's.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::{MAX_LOGS, Place, Received, SeenRoom};
use crate::client::{Cursor, Delivery, Event, Failure, Gap, Said};
use crate::clock::{Nanos, Windows, now};
use crate::message_id::MessageId;
use crate::result::audit::Audit;
use crate::result::histogram::Times;
use crate::result::outcome::{Failures, tally};

const SECOND: Nanos = 1_000_000_000;
/// How many waits of short polls one worker keeps: enough for any distribution, 32 bytes each.
const MAX_WAITS: usize = 500_000;
/// How many latencies are kept of one client that is followed by itself, 4 bytes each.
const MAX_SAMPLES: usize = 100_000;
/// What is measured has at least this many parts, so that a stall in some of them leaves the others.
const PARTS: u64 = 20;

/// How many parts a second is divided into, where this much is measured: one, unless that is short.
pub fn parts_per_second(length: Nanos) -> u64 {
    (PARTS * SECOND).div_ceil(length.max(1)).max(1)
}

fn part(parts: &mut Vec<Times>, length: Nanos, at: Nanos) -> &mut Times {
    let i = (at * parts_per_second(length) / SECOND) as usize;
    parts.resize_with(parts.len().max(i + 1), Times::default);
    &mut parts[i]
}

/// A worker's recorder. `client` counts from 0 within the worker.
#[derive(Debug, Default)]
pub struct Recorder {
    windows: Windows,
    /// How much is to be measured in all.
    length: Nanos,
    patience: Nanos,
    /// No log of the trial can have more messages.
    most: u64,
    /// Whether the server has to say where each message stands, as the workbench's do.
    pub needs_positions: bool,
    /// Latency from the due time, of messages due within the windows, by the part of what is measured they were due in.
    pub parts: Vec<Times>,
    /// Requests of polls whose tick was within the window, from that tick.
    pub polls: Times,
    /// Each client's first connect, from the first packet to the confirmed cursor, or until it had failed.
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
    /// Deliveries of what was waited for no longer.
    pub overdue: u64,
    /// When those of them were due that count.
    pub missed: Vec<Nanos>,
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
    /// Those of them that the other side ended, and not the scenario.
    pub cut: u64,
    /// Those that the scenario ended.
    pub planned: u64,
    /// Deliveries that took longer than `behind_after`, in the windows.
    pub behind: u64,
    /// So much more than a second as a client waits by itself.
    pub behind_after: Nanos,
    /// Deliveries by kind; `expected` and `lost` are known only at the end.
    pub audit: Audit,
    /// What every client has got.
    pub subscribers: Vec<Subscriber>,
    /// Which messages have been seen, for each room of these clients.
    pub rooms: Vec<SeenRoom>,
}

/// A message that a poll brought.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Which message.
    pub message: MessageId,
    /// The tick of the poll.
    pub asked: Nanos,
    /// When its answer had been read.
    pub received: Nanos,
}

/// One client in the recorder.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// The number of its room.
    pub room: u32,
    /// When it was first connected, and after which place of the log, if the server has places.
    pub began: Option<(Nanos, Option<Cursor>)>,
    /// What has come.
    pub received: Received,
    /// The incarnations of the room's log it has seen; the last is the current one.
    pub epochs: Vec<String>,
    /// What the server has said it will not deliver, from a place up to the seq after it: how long that is is the server's
    /// word, so nobody walks it.
    told: BTreeMap<Place, u64>,
    /// Where something came that is not what was published there.
    pub spoiled: BTreeSet<Place>,
    /// Its own latencies in the window, in microseconds, if it is one of those that are followed by themselves.
    pub samples: Option<Vec<u32>>,
    /// Where the room stands in [`Recorder::rooms`].
    seen: usize,
    /// The seq of the last message it has got in the current log.
    last: u64,
    /// Where it stood when it last came back; nothing where the server has no places.
    resumed: Option<u64>,
    /// Whether it has ever come back.
    is_back: bool,
    /// Whether a message came that does not say where it stands: then nobody knows from where to resume.
    is_placeless: bool,
}

impl Subscriber {
    fn new(room: u32, seen: usize, is_followed: bool) -> Self {
        Self {
            room,
            began: None,
            received: Received::default(),
            epochs: Vec::new(),
            told: BTreeMap::new(),
            spoiled: BTreeSet::new(),
            samples: is_followed.then(Vec::new),
            seen,
            last: 0,
            resumed: None,
            is_back: false,
            is_placeless: false,
        }
    }

    /// Where it would resume; `None` before it has connected, and where the server has no places.
    pub fn cursor(&self) -> Option<Cursor> {
        let epoch = self.epochs.last().filter(|_| !self.is_placeless)?;
        Some(Cursor {
            epoch: epoch.clone(),
            seq: self.last,
        })
    }

    /// Whether the server has said that it will not deliver what stands there.
    pub fn was_told(&self, place: Place) -> bool {
        self.told
            .range(..=place)
            .next_back()
            .is_some_and(|((log, _), end)| *log == place.0 && place.1 < *end)
    }
}

impl Recorder {
    /// An empty recorder for clients: the room of each, and whether it is followed by itself. What comes later than
    /// `patience` after it was due is late; a log with more than `most` messages is impossible. In all windows together, `length`
    /// is to be measured.
    pub fn new(
        clients: impl Iterator<Item = (u32, bool)>,
        windows: Windows,
        length: Nanos,
        patience: Nanos,
        most: u64,
    ) -> Self {
        let mut rooms: Vec<SeenRoom> = Vec::new();
        let mut places: BTreeMap<u32, usize> = BTreeMap::new();
        let subscriber = |(room, is_followed): (u32, bool)| {
            let seen = *places.entry(room).or_insert_with(|| {
                rooms.push(SeenRoom {
                    room,
                    ..SeenRoom::default()
                });
                rooms.len() - 1
            });
            Subscriber::new(room, seen, is_followed)
        };
        let subscribers: Vec<Subscriber> = clients.map(subscriber).collect();
        Self {
            windows,
            length,
            patience,
            most,
            subscribers,
            rooms,
            ..Self::default()
        }
    }

    /// Notes what a client has reported. An error means that the server said something impossible: what came after it
    /// is not noted.
    pub fn record(&mut self, client: usize, events: &mut Vec<Event>) -> Result<(), Failure> {
        for event in events.drain(..) {
            match event {
                Event::Hello(cursor) => {
                    self.placed("a hello without a cursor", cursor.is_some())?;
                    self.hello(client, cursor)?;
                }
                Event::Message(delivery) => {
                    self.placed("a message without a seq", delivery.seq.is_some())?;
                    self.possible("a message", delivery.seq.unwrap_or(0))?;
                    self.deliver(client, &delivery)?;
                }
                Event::Gap(gap) => self.told(client, gap)?,
                Event::Polled { asked, answered } => {
                    if self.windows.position(asked).is_some() {
                        self.polls.record(answered.saturating_sub(asked));
                    }
                }
            }
        }
        Ok(())
    }

    fn placed(&self, what: &str, is_placed: bool) -> Result<(), Failure> {
        if is_placed || !self.needs_positions {
            return Ok(());
        }
        Err(Failure::Protocol(what.into()))
    }

    /// A trial knows how many messages its rooms can have at most; a server that speaks of more would otherwise decide
    /// how much memory and time recording takes.
    fn possible(&self, what: &str, count: u64) -> Result<(), Failure> {
        let Self { most, .. } = self;
        if count <= *most {
            return Ok(());
        }
        Err(Failure::Protocol(format!(
            "{what} at {count}, in a room that cannot have more than {most} messages"
        )))
    }

    /// How many clients have stood connected, whatever became of it.
    pub fn stood(&self) -> u64 {
        self.connects.count() - (self.refused + self.unable) as u64
    }

    /// Notes how late the worker's ticker was.
    pub fn tick(&mut self, late: Nanos) {
        if self.windows.is_under_way() {
            self.timer_delay.record(late);
        }
    }

    /// Notes a failure.
    pub fn fail(&mut self, failure: &Failure) {
        tally(&mut self.failures, failure.kind(), 1, || {
            failure.to_string()
        });
    }

    /// Notes a delivery of a message due within the window that never came.
    pub fn miss(&mut self, due: Nanos, deadline: Nanos) {
        let at = self.windows.measured(due);
        part(&mut self.parts, self.length, at).record(deadline.saturating_sub(due));
    }

    /// The latencies of messages due in the last second or so before this time.
    pub fn recent(&self, before: Nanos) -> Times {
        let measured = self.windows.measured(before);
        let end = (measured * parts_per_second(self.length) / SECOND) as usize;
        let end = end.min(self.parts.len());
        Times::merged(self.parts[end.saturating_sub(3)..end].iter())
    }

    fn hello(&mut self, client: usize, cursor: Option<Cursor>) -> Result<(), Failure> {
        self.possible("a hello", cursor.as_ref().map_or(0, |cursor| cursor.seq))?;
        let subscriber = &mut self.subscribers[client];
        // A client that comes back goes on where it was: if it cannot, a gap says so next.
        if subscriber.began.is_some() {
            subscriber.is_back = true;
            subscriber.resumed = subscriber.cursor().map(|cursor| cursor.seq);
            return Ok(());
        }
        if let Some(cursor) = &cursor {
            subscriber.epochs.push(cursor.epoch.clone());
            subscriber.last = cursor.seq;
        }
        subscriber.began = Some((now(), cursor));
        Ok(())
    }

    fn told(&mut self, client: usize, gap: Gap) -> Result<(), Failure> {
        let Gap {
            cursor: Cursor { epoch, seq },
            missed,
            ..
        } = gap;
        self.possible("a gap", seq.max(missed.unwrap_or(0)))?;
        let subscriber = &mut self.subscribers[client];
        if subscriber.epochs.last() == Some(&epoch) {
            let told = subscriber.last + 1..(seq + 1).max(subscriber.last + 1);
            self.audit.gaps += told.end - told.start;
            // Back to an earlier place, if that is where the log has its end.
            subscriber.last = seq;
            subscriber
                .told
                .insert((subscriber.epochs.len() - 1, told.start), told.end);
            return Ok(());
        }
        if subscriber.epochs.len() >= MAX_LOGS {
            return Err(Failure::Protocol(format!(
                "a log that began anew more than {MAX_LOGS} times"
            )));
        }
        self.audit.gaps += missed.unwrap_or(1);
        // What else the log had that is gone will not come.
        if let Some(gone) = subscriber.epochs.len().checked_sub(1) {
            let rest = (gone, subscriber.last + 1);
            subscriber.told.insert(rest, u64::MAX);
        }
        subscriber.epochs.push(epoch);
        subscriber
            .told
            .insert((subscriber.epochs.len() - 1, 0), seq + 1);
        (subscriber.last, subscriber.resumed) = (seq, Some(0));
        Ok(())
    }

    fn deliver(&mut self, client: usize, delivery: &Delivery) -> Result<(), Failure> {
        self.deliveries += 1;
        self.plot(delivery.received);
        let most = self.most;
        let subscriber = &mut self.subscribers[client];
        let log = subscriber.epochs.len().checked_sub(1);
        let place = log.zip(delivery.seq);
        let is_new_place = delivery.seq.is_none_or(|seq| seq > subscriber.last);
        subscriber.last = subscriber.last.max(delivery.seq.unwrap_or(0));
        subscriber.is_placeless |= delivery.seq.is_none();
        if place.is_some_and(|place| subscriber.spoiled.contains(&place)) {
            self.again(client, delivery);
            return Ok(());
        }
        let Said::Message(message) = &delivery.said else {
            subscriber.spoiled.extend(place);
            self.audit.corrupt += 1;
            return Ok(());
        };
        if message.room != subscriber.room {
            subscriber.spoiled.extend(place);
            self.audit.wrong_room += 1;
            return Ok(());
        }
        if u64::from(message.number) >= most {
            return self.possible("a message with the number", u64::from(message.number) + 1);
        }
        if subscriber.received.has(message.number) {
            self.again(client, delivery);
            return Ok(());
        }
        self.audit.reordered += u64::from(!is_new_place);
        let at = subscriber
            .epochs
            .last()
            .map(String::as_str)
            .zip(delivery.seq);
        if !self.rooms[subscriber.seen].note(message.number, at, message.due, delivery.received) {
            subscriber.spoiled.extend(place);
            self.audit.unexpected += 1;
            return Ok(());
        }
        subscriber.received.note(message.number);
        self.audit.received += 1;
        self.time(client, message, delivery);
        Ok(())
    }

    /// Notes a delivery that had come already.
    fn again(&mut self, client: usize, delivery: &Delivery) {
        let subscriber = &self.subscribers[client];
        let is_redelivered = match delivery.seq {
            Some(seq) => subscriber.resumed.is_some_and(|resumed| seq <= resumed),
            None => subscriber.is_back,
        };
        if is_redelivered {
            self.audit.redelivered += 1;
        } else {
            self.audit.doubled += 1;
        }
    }

    /// Notes how long a message took.
    fn time(&mut self, client: usize, message: &MessageId, delivery: &Delivery) {
        let latency = delivery.received.saturating_sub(message.due);
        self.audit.late += u64::from(latency > self.patience);
        let (at, deadline) = self.windows.place(message.due);
        let is_overdue = deadline.is_some_and(|deadline| delivery.received > deadline);
        self.overdue += u64::from(is_overdue);
        let Some(at) = at else {
            return;
        };
        if let Some(deadline) = deadline.filter(|_| is_overdue) {
            // Its server was stopped meanwhile: what it took by then is known, and no more.
            self.missed.push(message.due);
            return self.miss(message.due, deadline);
        }
        // Received before it was due: the clock went back, and the notes are not to be believed.
        self.impossible += u64::from(delivery.received < message.due || latency > Times::HIGHEST);
        part(&mut self.parts, self.length, at).record(latency);
        self.behind += u64::from(latency > SECOND + self.behind_after);
        let samples = self.subscribers[client].samples.as_mut();
        if let Some(samples) = samples.filter(|samples| samples.len() < MAX_SAMPLES) {
            samples.push(u32::try_from(latency / 1000).unwrap_or(u32::MAX));
        }
        if let Some(asked) = delivery.asked.filter(|_| self.waits.len() < MAX_WAITS) {
            self.waits.push(Wait {
                message: *message,
                asked,
                received: delivery.received,
            });
        }
    }

    fn plot(&mut self, received: Nanos) {
        if let Some(at) = self.windows.position(received) {
            let second = (at / SECOND) as usize;
            self.series.resize(self.series.len().max(second + 1), 0);
            self.series[second] += 1;
        }
    }
}

#[cfg(test)]
mod tests;
