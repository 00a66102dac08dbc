//! Settling a trial: publications against deliveries, every worker's book into one outcome.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::client::{Failure, Transport};
use crate::clock::{Nanos, nanos};
use crate::judge::theory::ks_uniform;
use crate::measure::audit::Audit;
use crate::measure::histogram::Times;
use crate::measure::ledger::Ledger;
use crate::measure::recorder::Book;
use crate::outcome::{Connections, End, Outcome, Publishing};
use crate::pacer::Pacer;
use crate::press::Publication;
use crate::scenario::Scenario;

/// All that a trial leaves behind.
pub struct Evidence<'a> {
    /// The transport.
    pub mode: Transport,
    /// The load.
    pub scenario: &'a Scenario,
    /// When the schedule's offsets began.
    pub start: Nanos,
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
}

/// What was acked in one room.
#[derive(Default)]
struct RoomLog {
    head: u64,
    /// seq -> due time.
    due: HashMap<u64, Nanos>,
}

/// Draws up the account.
pub fn settle(evidence: Evidence<'_>, end: End, connected: usize, ledger: Ledger, loadgen_cores: u64) -> Outcome {
    let publishing = publishing(&evidence);
    let logs = logs(&evidence);
    let Evidence { mode, scenario, window, deadline, publications, mut books, .. } = evidence;
    let (mut audit, mut owed, mut failures) = (Audit::default(), 0, BTreeMap::new());
    let (mut latency, mut polls, mut connects, mut lateness) = <(Times, Times, Times, Times)>::default();
    let mut delivered = 0;
    for book in &mut books {
        delivered += book.latency.count();
        owed += charge(book, &logs, &window, deadline);
        audit = audit + book.audit;
        latency.add(&book.latency);
        polls.add(&book.polls);
        connects.add(&book.connects);
        lateness.add(&book.lateness);
        for (failure, n) in &book.failures {
            *failures.entry(failure.clone()).or_default() += n;
        }
    }
    for failure in publications.iter().filter_map(|publication| publication.acked.as_ref().err()) {
        *failures.entry(format!("publishing: {failure}")).or_default() += 1;
    }
    let connections =
        Connections { wanted: scenario.clients, connected, lost: books.iter().map(|book| book.disconnects).sum() };
    let wait_ks = wait_ks(scenario, &publications, &books);
    Outcome {
        mode,
        end,
        connections,
        publishing,
        owed,
        delivered,
        audit,
        latency,
        polls,
        connects,
        lateness,
        wait_ks,
        ledger,
        loadgen_cores,
        failures,
    }
}

fn publishing(evidence: &Evidence<'_>) -> Publishing {
    let Evidence { scenario, start, window, publications, sent, .. } = evidence;
    let due_times = Pacer::new(scenario).map(|due| start + due.offset).take_while(|due| *due < window.end);
    let mut publishing =
        Publishing { scheduled: due_times.filter(|due| window.contains(due)).count() as u64, ..Publishing::default() };
    for publication in publications {
        match &publication.acked {
            Ok((_, at)) if window.contains(&publication.due) => {
                publishing.acked += 1;
                publishing.acks.record(at - publication.due);
            }
            Err(Failure::Refused(..)) => publishing.failed += 1,
            Err(_) => publishing.indeterminate += 1,
            Ok(_) => {}
        }
        if window.contains(&publication.due) {
            publishing.sent += 1;
            publishing.lag.record(publication.sent - publication.due);
            publishing.own_lag.record(publication.sent - publication.due.max(publication.free));
        }
    }
    // Sent and never answered: they may have been stored.
    publishing.indeterminate += sent - publications.len() as u64;
    publishing
}

fn logs(evidence: &Evidence<'_>) -> Vec<RoomLog> {
    let mut logs: Vec<RoomLog> = (0..evidence.scenario.rooms()).map(|_| RoomLog::default()).collect();
    for publication in &evidence.publications {
        if let Ok((seq, _)) = publication.acked {
            let log = &mut logs[publication.room as usize];
            log.head = log.head.max(seq);
            log.due.insert(seq, publication.due);
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
fn wait_ks(scenario: &Scenario, publications: &[Publication], books: &[Book]) -> Option<f64> {
    let acks =
        publications.iter().filter_map(|publication| Some((publication.number, publication.acked.as_ref().ok()?.1)));
    let acks: HashMap<u32, Nanos> = acks.collect();
    let waits = books.iter().flat_map(|book| &book.waits);
    let mut waits: Vec<f64> =
        waits.filter_map(|(number, asked)| Some(*asked as f64 - *acks.get(number)? as f64)).collect();
    ks_uniform(&mut waits, nanos(scenario.interval) as f64)
}
