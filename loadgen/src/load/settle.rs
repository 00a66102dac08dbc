//! Settling a trial: publications against deliveries, every worker's book into one outcome.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use crate::client::{Cursor, Failure};
use crate::clock::{Nanos, nanos};
use crate::load::publishers::{Publication, Published};
use crate::measure::audit::UNSEEN;
use crate::measure::recorder::{Book, slices_per_second};
use crate::message_id::MessageId;
use crate::pacer::Pacer;
use crate::result::audit::Audit;
use crate::result::histogram::Times;
use crate::result::outcome::{Connections, End, Failures, Outcome, Publishing, tally};
use crate::result::scenario::Scenario;
use crate::result::usage::Usage;
use crate::result::variant::Variant;

/// Beyond its interval, a poll may take so long before what it should have brought is missing.
const GRACE: Duration = Duration::from_secs(1);

/// Fewer messages say nothing about whether a trial was steady.
const STEADY_MESSAGES: u64 = 100;

/// All that a trial leaves behind.
pub struct Evidence {
    /// How it ended.
    pub end: End,
    /// How many clients were connected when the load began.
    pub connected: usize,
    /// Messages due within it count: less than was planned, after an early end.
    pub window: Range<Nanos>,
    /// The window as it was planned, by which the books are divided into slices.
    pub planned: Range<Nanos>,
    /// When it began, in UTC.
    pub began: String,
    /// When waiting for deliveries ended.
    pub deadline: Nanos,
    /// What the publishers did.
    pub publishers: Published,
    /// What was delivered.
    pub books: Vec<Book>,
    /// How long what the timestamped clients read had been in the kernel.
    pub receive_delays: Vec<Nanos>,
    /// What it cost.
    pub usage: Usage,
}

/// What was accepted in one incarnation of a room's log.
#[derive(Default)]
struct RoomLog {
    head: u64,
    /// seq -> due time, in order: a range of missing seqs may be longer than anybody wants to walk.
    due: BTreeMap<u64, Nanos>,
    /// Seqs that somebody has seen and nobody acked: publishes without an answer.
    unacked: Vec<u64>,
}

/// What the subscribers of one room were to get.
#[derive(Default)]
struct RoomBooks {
    /// By epoch: a server that restarts begins another log.
    logs: HashMap<String, RoomLog>,
    /// Due times within the window, of every message that was scheduled.
    scheduled: Vec<Nanos>,
    /// Of those, the ones that no ack came for.
    unaccepted: Vec<Nanos>,
    /// When messages were acked.
    acked: Vec<Nanos>,
}

/// Sums over all subscribers.
#[derive(Default)]
struct Charged {
    /// Deliveries expected, of messages due within the window.
    expected: u64,
    /// Those that never came.
    undelivered: u64,
    /// Deliveries that the accounts know of: came as acked, missing, or told.
    accounted: u64,
    /// Due times of messages that somebody did not get.
    incomplete: HashSet<Nanos>,
}

/// Draws up the account.
pub fn settle(variant: Variant, scenario: &Scenario, mut evidence: Evidence) -> Outcome {
    let schedule = schedule(scenario, &evidence.window);
    let rooms = rooms(scenario, &evidence, &schedule);
    let unexpected = unexpected(&evidence);
    let mut charged = Charged::default();
    let mut books = std::mem::take(&mut evidence.books);
    books.iter_mut().for_each(|book| charge(book, &rooms, scenario, &evidence, &mut charged));
    let mut audit: Audit = books.iter().map(|book| book.audit).sum();
    audit.unexpected += unexpected;
    audit.received = audit.received.saturating_sub(unexpected);
    let merged = |times: fn(&Book) -> &Times| Times::merged(books.iter().map(times));
    let slices: Vec<Times> = (0..books.iter().map(|book| book.slices.len()).max().unwrap_or(0))
        .map(|i| Times::merged(books.iter().filter_map(|book| book.slices.get(i))))
        .collect();
    let window_seconds = evidence.window.end.saturating_sub(evidence.window.start) as f64 / 1e9;
    let seconds = window_seconds.ceil() as usize;
    let each = slices_per_second(&evidence.planned) as usize;
    let interval = |i: usize| Times::merged(slices.iter().skip(i * each).take(each));
    let publishing = publishing(&evidence, &schedule);
    let acks = figures::acks(&evidence);
    let mut receive_delay = Times::default();
    evidence.receive_delays.iter().for_each(|&time| receive_delay.record(time));
    Outcome {
        variant,
        window_seconds: Some(window_seconds),
        connections: Connections {
            wanted: scenario.clients,
            connected: evidence.connected,
            refused: books.iter().map(|book| book.refused).sum(),
            lost: books.iter().map(|book| book.disconnects).sum(),
            cut: books.iter().map(|book| book.cut).sum(),
        },
        expected: charged.expected,
        delivered: charged.expected.saturating_sub(charged.undelivered),
        audit,
        latency: Times::merged(slices.iter()),
        intervals: (0..seconds).map(interval).collect(),
        last: figures::last(&books, &evidence, &charged),
        followed: books.iter().flat_map(|book| &book.subscribers).filter_map(figures::followed).collect(),
        polls: merged(|book| &book.polls),
        connects: merged(|book| &book.connects),
        timer_delay: Times::merged(
            books.iter().map(|book| &book.timer_delay).chain([&evidence.publishers.timer_delay]),
        ),
        receive_delay,
        drift_percent: figures::drift(&slices).filter(|_| publishing.acked >= STEADY_MESSAGES),
        wait_ks: figures::wait_ks(scenario, &acks, &books),
        realised: figures::realised(variant, scenario, &evidence, &acks, &books, &rooms),
        restarts: restarts(&books),
        impossible: books.iter().map(|book| book.impossible).sum(),
        unbalanced: audit.came().abs_diff(charged.accounted),
        failures: failures(&evidence, &books),
        series: (0..seconds).map(|i| books.iter().filter_map(|book| book.series.get(i)).sum()).collect(),
        usage: evidence.usage,
        publishing,
        began: evidence.began,
        end: evidence.end,
    }
}

/// The messages due within the window.
fn schedule(scenario: &Scenario, window: &Range<Nanos>) -> Vec<MessageId> {
    let start = window.start.saturating_sub(nanos(scenario.warmup()));
    let due = Pacer::new(scenario, start).take_while(|stamp| stamp.due < window.end);
    due.filter(|stamp| window.contains(&stamp.due)).collect()
}

fn publishing(evidence: &Evidence, schedule: &[MessageId]) -> Publishing {
    let Evidence { window, publishers, .. } = evidence;
    let paced = schedule.iter().filter(|stamp| u64::from(stamp.number) < publishers.in_time).count() as u64;
    let (all, bytes_out, retries) = (publishers.sent, publishers.bytes_out, publishers.retries);
    let mut sums =
        Publishing { scheduled: schedule.len() as u64, paced, all, bytes_out, retries, ..Publishing::default() };
    for Publication { stamp, sent, free, acked } in &publishers.publications {
        match acked {
            Ok((_, at)) if window.contains(&stamp.due) => {
                sums.acked += 1;
                sums.acks.record(at.saturating_sub(stamp.due));
            }
            Ok(_) => {}
            Err(Failure::Refused(..)) => sums.failed += 1,
            Err(_) => sums.indeterminate += 1,
        }
        if window.contains(&stamp.due) {
            sums.sent += 1;
            sums.send_delay.record(sent.saturating_sub(stamp.due));
            sums.own_send_delay.record(sent.saturating_sub(stamp.due.max(*free)));
        }
    }
    // Sent and never answered: they may have been stored.
    sums.indeterminate += publishers.sent.saturating_sub(publishers.publications.len() as u64);
    sums
}

fn rooms(scenario: &Scenario, evidence: &Evidence, schedule: &[MessageId]) -> Vec<RoomBooks> {
    let mut rooms: Vec<RoomBooks> = (0..scenario.rooms()).map(|_| RoomBooks::default()).collect();
    let mut accepted = HashSet::new();
    for Publication { stamp, acked, .. } in &evidence.publishers.publications {
        if let Ok((Cursor { epoch, seq }, at)) = acked {
            let room = &mut rooms[stamp.room as usize];
            let log = room.logs.entry(epoch.clone()).or_default();
            log.head = log.head.max(*seq);
            log.due.insert(*seq, stamp.due);
            room.acked.push(*at);
            accepted.insert(stamp.number);
        }
    }
    for stamp in schedule {
        let room = &mut rooms[stamp.room as usize];
        room.scheduled.push(stamp.due);
        room.unaccepted.extend((!accepted.contains(&stamp.number)).then_some(stamp.due));
    }
    for seen in evidence.books.iter().flat_map(|book| &book.logs).flatten() {
        let log = rooms[seen.room as usize].logs.entry(seen.epoch.clone()).or_default();
        let seqs = (seen.first..).take(seen.messages.len());
        log.unacked.extend(seqs.filter(|seq| !log.due.contains_key(seq)));
    }
    for log in rooms.iter_mut().flat_map(|room| room.logs.values_mut()) {
        log.unacked.sort_unstable();
        log.unacked.dedup();
    }
    rooms
}

/// Deliveries of messages that must not arrive: refused, never sent, or acked in another place than they came in.
fn unexpected(evidence: &Evidence) -> u64 {
    let publications: HashMap<u32, &Publication> =
        evidence.publishers.publications.iter().map(|publication| (publication.stamp.number, publication)).collect();
    let mut count = 0;
    for log in evidence.books.iter().flat_map(|book| &book.logs).flatten() {
        for (seq, message) in (log.first..).zip(&log.messages).filter(|(_, message)| message.number != UNSEEN) {
            let is_expected = match publications.get(&message.number).map(|publication| &publication.acked) {
                Some(Ok((cursor, _))) => cursor.seq == seq && cursor.epoch == log.epoch,
                Some(Err(Failure::Refused(..))) => false,
                Some(Err(_)) => true,
                None => u64::from(message.number) < evidence.publishers.paced,
            };
            count += if is_expected { 0 } else { u64::from(message.came) };
        }
    }
    count
}

/// Charges a book with what its subscribers should have got: what never came, whoever is to blame, is a sample at the
/// deadline.
fn charge(book: &mut Book, rooms: &[RoomBooks], scenario: &Scenario, evidence: &Evidence, charged: &mut Charged) {
    let Evidence { window, deadline, .. } = evidence;
    // Not yet missing is what may still be waiting for the next poll when the trial ends early.
    let overdue = deadline.saturating_sub(nanos(scenario.interval + GRACE));
    let mut missed = Vec::new();
    for subscriber in book.subscribers.iter().filter(|subscriber| !subscriber.accounts.is_empty()) {
        let room = &rooms[subscriber.room as usize];
        charged.expected += room.scheduled.len() as u64;
        let mut missing = room.unaccepted.clone();
        for (epoch, RoomLog { head, due, unacked }) in &room.logs {
            let Some((_, account)) = subscriber.accounts.iter().find(|(seen, _)| seen == epoch) else {
                // It was told that this log is gone before it had seen anything of it.
                book.audit.expected += due.len() as u64;
                missing.extend(due.values());
                continue;
            };
            let expected = due.keys().filter(|seq| account.is_expected(**seq)).count();
            book.audit.expected += expected as u64;
            // A seq that nobody acked is a publish without an answer: it may be missing.
            let silent = missing.len();
            let within = |range| due.range(range).map(|(_, due)| *due);
            missing.extend(account.missing(*head).flat_map(within));
            book.audit.lost += missing[silent..].iter().filter(|due| **due <= overdue).count() as u64;
            missing.extend(account.told().flat_map(within));
            let unasked = unacked.iter().filter(|seq| account.has(**seq)).count();
            charged.accounted += (expected + unasked).saturating_sub(missing.len() - silent) as u64;
            // What came in its place was nothing that anybody could use.
            let spoiled = subscriber.spoiled.iter().filter(|(i, _)| subscriber.accounts[*i].0 == *epoch);
            missing.extend(spoiled.filter_map(|(_, seq)| due.get(seq)));
        }
        for due in missing.into_iter().filter(|due| window.contains(due)) {
            charged.incomplete.insert(due);
            if due <= overdue {
                charged.undelivered += 1;
                missed.push(due);
            } else {
                charged.expected = charged.expected.saturating_sub(1);
            }
        }
    }
    missed.into_iter().for_each(|due| book.miss(due, *deadline));
}

fn failures(evidence: &Evidence, books: &[Book]) -> BTreeMap<String, Failures> {
    let mut all: BTreeMap<String, Failures> = BTreeMap::new();
    for (kind, failures) in books.iter().flat_map(|book| &book.failures) {
        tally(&mut all, kind.clone(), failures.count, || failures.example.clone());
    }
    for failure in evidence.publishers.publications.iter().filter_map(|done| done.acked.as_ref().err()) {
        tally(&mut all, format!("publishing: {}", failure.kind()), 1, || failure.to_string());
    }
    all
}

/// The most that the log of one room began anew.
fn restarts(books: &[Book]) -> u64 {
    let logs = books.iter().flat_map(|book| &book.subscribers).map(|subscriber| subscriber.accounts.len());
    logs.max().unwrap_or(0).saturating_sub(1) as u64
}

mod figures;
#[cfg(test)]
mod tests;
