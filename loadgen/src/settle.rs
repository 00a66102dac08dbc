//! Settling a trial: publications against deliveries, every worker's book into one outcome.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::client::{Failure, Transport};
use crate::clock::{Nanos, nanos};
use crate::judge::theory::ks_uniform;
use crate::measure::histogram::Times;
use crate::measure::ledger::Ledger;
use crate::measure::recorder::Book;
use crate::outcome::{Connections, End, Outcome, Publishing};
use crate::pacer::Pacer;
use crate::press::Publication;
use crate::scenario::Scenario;

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
    /// What was published and answered.
    pub publications: Vec<Publication>,
    /// How many messages were sent in all.
    pub sent: u64,
    /// What was delivered.
    pub books: Vec<Book>,
    /// What it cost.
    pub ledger: Ledger,
    /// How many cores loadgen had.
    pub loadgen_cores: u64,
}

/// What was acked in one room.
#[derive(Default)]
struct RoomLog {
    head: u64,
    /// seq -> due time.
    due: HashMap<u64, Nanos>,
}

/// Draws up the account.
pub fn settle(mode: Transport, scenario: &Scenario, mut evidence: Evidence) -> Outcome {
    let logs = logs(scenario, &evidence.publications);
    let delivered = evidence.books.iter().map(|book| book.latency.count()).sum();
    let charge = |book| charge(book, &logs, &evidence.window, evidence.deadline);
    let owed = evidence.books.iter_mut().map(charge).sum();
    let books = &evidence.books;
    let merged = |times: fn(&Book) -> &Times| Times::merged(books.iter().map(times));
    let seconds = scenario.duration().as_secs() as usize;
    let series = (0..seconds).map(|i| books.iter().filter_map(|book| book.series.get(i)).sum()).collect();
    Outcome {
        mode,
        connections: Connections {
            wanted: scenario.clients,
            connected: evidence.connected,
            lost: books.iter().map(|book| book.disconnects).sum(),
        },
        publishing: publishing(scenario, &evidence),
        owed,
        delivered,
        audit: books.iter().map(|book| book.audit).sum(),
        latency: merged(|book| &book.latency),
        polls: merged(|book| &book.polls),
        connects: merged(|book| &book.connects),
        lateness: merged(|book| &book.lateness),
        wait_ks: wait_ks(scenario, &evidence),
        loadgen_cores: evidence.loadgen_cores,
        failures: failures(&evidence),
        series,
        ledger: evidence.ledger,
        end: evidence.end,
    }
}

fn publishing(scenario: &Scenario, evidence: &Evidence) -> Publishing {
    let Evidence { window, publications, sent, .. } = evidence;
    let start = window.start.saturating_sub(nanos(scenario.warmup()));
    let due = Pacer::new(scenario, start).map(|stamp| stamp.due).take_while(|due| *due < window.end);
    let mut sums =
        Publishing { scheduled: due.filter(|due| window.contains(due)).count() as u64, ..Publishing::default() };
    for Publication { stamp, sent, free, acked } in publications {
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
    sums.indeterminate += sent - publications.len() as u64;
    sums
}

fn logs(scenario: &Scenario, publications: &[Publication]) -> Vec<RoomLog> {
    let mut logs: Vec<RoomLog> = (0..scenario.rooms()).map(|_| RoomLog::default()).collect();
    for Publication { stamp, acked, .. } in publications {
        if let Ok((seq, _)) = *acked {
            let log = &mut logs[stamp.room as usize];
            log.head = log.head.max(seq);
            log.due.insert(seq, stamp.due);
        }
    }
    logs
}

/// Charges a book with what its subscribers were owed; what is missing becomes a sample at the deadline. Returns the
/// deliveries owed of messages due within the window.
fn charge(book: &mut Book, logs: &[RoomLog], window: &Range<Nanos>, deadline: Nanos) -> u64 {
    let mut owed = 0;
    for subscriber in book.subscribers.iter().filter(|subscriber| subscriber.cursor().is_some()) {
        let log = &logs[subscriber.room as usize];
        book.audit.owed += log.due.len() as u64;
        owed += log.due.values().filter(|due| window.contains(due)).count() as u64;
        // A seq that nobody acked is a publish without an answer: it may be missing.
        for due in subscriber.account.missing(log.head).filter_map(|seq| log.due.get(&seq)) {
            book.audit.lost += 1;
            if window.contains(due) {
                book.latency.record(deadline.saturating_sub(*due));
            }
        }
    }
    owed
}

/// The waits of short polls, from ack to the tick that fetched the message, against U(0, interval).
fn wait_ks(scenario: &Scenario, evidence: &Evidence) -> Option<f64> {
    let acked = evidence.publications.iter().filter_map(|done| Some((done.stamp.number, done.acked.as_ref().ok()?.1)));
    let acked: HashMap<u32, Nanos> = acked.collect();
    let waits = evidence.books.iter().flat_map(|book| &book.waits);
    let mut waits: Vec<f64> =
        waits.filter_map(|(number, asked)| Some(*asked as f64 - *acked.get(number)? as f64)).collect();
    ks_uniform(&mut waits, nanos(scenario.interval) as f64)
}

fn failures(evidence: &Evidence) -> BTreeMap<String, u64> {
    let subscribing = evidence.books.iter().flat_map(|book| book.failures.clone());
    let failed = evidence.publications.iter().filter_map(|done| done.acked.as_ref().err());
    let publishing = failed.map(|failure| (format!("publishing: {failure}"), 1));
    subscribing.chain(publishing).fold(BTreeMap::new(), |mut all, (failure, n)| {
        *all.entry(failure).or_default() += n;
        all
    })
}
