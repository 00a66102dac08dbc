//! Settling a trial: publications against deliveries, every worker's book into one outcome.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use crate::client::{Cursor, Failure, Transport};
use crate::clock::{Nanos, nanos};
use crate::judge::theory::ks_uniform;
use crate::measure::histogram::Times;
use crate::measure::ledger::Ledger;
use crate::measure::recorder::Book;
use crate::outcome::{Connections, End, Failures, Outcome, Publishing};
use crate::pacer::Pacer;
use crate::payload::Stamp;
use crate::press::{Pressed, Publication};
use crate::scenario::Scenario;

/// Beyond its interval, a poll may take so long before what it should have brought is missing.
const GRACE: Duration = Duration::from_secs(1);

/// All that a trial leaves behind.
pub struct Evidence {
    /// How it ended.
    pub end: End,
    /// How many clients were connected when the load began.
    pub connected: usize,
    /// Messages due within it count.
    pub window: Range<Nanos>,
    /// When waiting for deliveries ended.
    pub deadline: Nanos,
    /// What the publishers did.
    pub press: Pressed,
    /// What was delivered.
    pub books: Vec<Book>,
    /// What it cost.
    pub ledger: Ledger,
    /// How many cores loadgen had.
    pub loadgen_cores: u64,
}

/// What was accepted in one incarnation of a room's log.
#[derive(Default)]
struct RoomLog {
    head: u64,
    /// seq -> due time.
    due: HashMap<u64, Nanos>,
}

/// What one room owed its subscribers.
#[derive(Default)]
struct RoomBooks {
    /// By epoch: a server that restarts begins another log.
    logs: HashMap<String, RoomLog>,
    /// Due times within the window, of every message that was scheduled.
    scheduled: Vec<Nanos>,
    /// Of those, the ones that no ack came for.
    unaccepted: Vec<Nanos>,
}

/// Draws up the account.
pub fn settle(mode: Transport, scenario: &Scenario, mut evidence: Evidence) -> Outcome {
    let schedule = schedule(scenario, &evidence.window);
    let rooms = rooms(scenario, &evidence, &schedule);
    // Not yet missing is what may still be waiting for the next poll when the trial ends early.
    let overdue = evidence.deadline.saturating_sub(nanos(scenario.interval + GRACE));
    let charged =
        evidence.books.iter_mut().map(|book| charge(book, &rooms, &evidence.window, overdue, evidence.deadline));
    let (owed, undelivered) = charged.fold((0, 0), |(owed, missing), book| (owed + book.0, missing + book.1));
    let books = &evidence.books;
    let merged = |times: fn(&Book) -> &Times| Times::merged(books.iter().map(times));
    let seconds = scenario.duration().as_secs_f64().ceil() as usize;
    Outcome {
        mode,
        connections: Connections {
            wanted: scenario.clients,
            connected: evidence.connected,
            lost: books.iter().map(|book| book.disconnects).sum(),
        },
        publishing: publishing(&evidence, &schedule),
        owed,
        delivered: owed - undelivered,
        audit: books.iter().map(|book| book.audit).sum(),
        latency: merged(|book| &book.latency),
        polls: merged(|book| &book.polls),
        connects: merged(|book| &book.connects),
        lateness: merged(|book| &book.lateness),
        wait_ks: wait_ks(scenario, &evidence),
        loadgen_cores: evidence.loadgen_cores,
        negative: books.iter().map(|book| book.negative).sum(),
        failures: failures(&evidence),
        series: (0..seconds).map(|i| books.iter().filter_map(|book| book.series.get(i)).sum()).collect(),
        ledger: evidence.ledger,
        end: evidence.end,
    }
}

/// The messages due within the window.
fn schedule(scenario: &Scenario, window: &Range<Nanos>) -> Vec<Stamp> {
    let start = window.start.saturating_sub(nanos(scenario.warmup()));
    let due = Pacer::new(scenario, start).take_while(|stamp| stamp.due < window.end);
    due.filter(|stamp| window.contains(&stamp.due)).collect()
}

fn publishing(evidence: &Evidence, schedule: &[Stamp]) -> Publishing {
    let Evidence { window, press, .. } = evidence;
    let paced = schedule.iter().filter(|stamp| u64::from(stamp.number) < press.paced).count() as u64;
    let mut sums = Publishing { scheduled: schedule.len() as u64, paced, ..Publishing::default() };
    for Publication { stamp, sent, free, acked } in &press.publications {
        match acked {
            Ok((_, at)) if window.contains(&stamp.due) => {
                sums.acked += 1;
                sums.acks.record(at - stamp.due);
            }
            Ok(_) => {}
            Err(Failure::Refused(..)) => sums.failed += 1,
            Err(_) => sums.indeterminate += 1,
        }
        if window.contains(&stamp.due) {
            sums.sent += 1;
            sums.lag.record(sent - stamp.due);
            sums.own_lag.record(sent - stamp.due.max(*free));
        }
    }
    // Sent and never answered: they may have been stored.
    sums.indeterminate += press.sent - press.publications.len() as u64;
    sums
}

fn rooms(scenario: &Scenario, evidence: &Evidence, schedule: &[Stamp]) -> Vec<RoomBooks> {
    let mut rooms: Vec<RoomBooks> = (0..scenario.rooms()).map(|_| RoomBooks::default()).collect();
    let mut accepted = HashSet::new();
    for Publication { stamp, acked, .. } in &evidence.press.publications {
        if let Ok((Cursor { epoch, seq }, _)) = acked {
            let log = rooms[stamp.room as usize].logs.entry(epoch.clone()).or_default();
            log.head = log.head.max(*seq);
            log.due.insert(*seq, stamp.due);
            accepted.insert(stamp.number);
        }
    }
    for stamp in schedule {
        let room = &mut rooms[stamp.room as usize];
        room.scheduled.push(stamp.due);
        room.unaccepted.extend((!accepted.contains(&stamp.number)).then_some(stamp.due));
    }
    rooms
}

/// Charges a book with what its subscribers were owed: what never came, whoever is to blame, is a sample at the
/// deadline. Returns how many deliveries of messages due within the window were owed, and how many never came.
fn charge(book: &mut Book, rooms: &[RoomBooks], window: &Range<Nanos>, overdue: Nanos, deadline: Nanos) -> (u64, u64) {
    let (mut owed, mut undelivered) = (0, 0);
    for subscriber in book.subscribers.iter().filter(|subscriber| !subscriber.accounts.is_empty()) {
        let room = &rooms[subscriber.room as usize];
        owed += room.scheduled.len() as u64;
        let mut missing = room.unaccepted.clone();
        for (epoch, RoomLog { head, due }) in &room.logs {
            book.audit.owed += due.len() as u64;
            match subscriber.accounts.iter().find(|(seen, _)| seen == epoch) {
                Some((_, account)) => {
                    // A seq that nobody acked is a publish without an answer: it may be missing.
                    let silent = missing.len();
                    missing.extend(account.missing(*head).filter_map(|seq| due.get(&seq)));
                    book.audit.lost += missing[silent..].iter().filter(|due| **due <= overdue).count() as u64;
                    missing.extend(account.told().filter_map(|seq| due.get(&seq)));
                }
                // It was told that this log is gone before it had seen anything of it.
                None => missing.extend(due.values()),
            }
        }
        for due in missing.into_iter().filter(|due| window.contains(due)) {
            if due <= overdue {
                undelivered += 1;
                book.latency.record(deadline - due);
            } else {
                owed -= 1;
            }
        }
    }
    (owed, undelivered)
}

/// The waits of short polls, from ack to the tick that fetched the message, against U(0, interval).
fn wait_ks(scenario: &Scenario, evidence: &Evidence) -> Option<f64> {
    let acked =
        evidence.press.publications.iter().filter_map(|done| Some((done.stamp.number, done.acked.as_ref().ok()?.1)));
    let acked: HashMap<u32, Nanos> = acked.collect();
    let waits = evidence.books.iter().flat_map(|book| &book.waits);
    let mut waits: Vec<f64> =
        waits.filter_map(|(number, asked)| Some(*asked as f64 - *acked.get(number)? as f64)).collect();
    ks_uniform(&mut waits, nanos(scenario.interval) as f64)
}

fn failures(evidence: &Evidence) -> BTreeMap<String, Failures> {
    let mut all: BTreeMap<String, Failures> = BTreeMap::new();
    for (kind, failures) in evidence.books.iter().flat_map(|book| &book.failures) {
        all.entry(kind.clone()).or_default().add(failures.count, || failures.example.clone());
    }
    for failure in evidence.press.publications.iter().filter_map(|done| done.acked.as_ref().err()) {
        all.entry(format!("publishing: {}", failure.kind())).or_default().add(1, || failure.to_string());
    }
    all
}

#[cfg(test)]
mod tests;
