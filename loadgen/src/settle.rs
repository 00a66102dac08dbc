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
                    let silent = account.missing(*head).filter_map(|seq| due.get(&seq));
                    let silent: Vec<Nanos> = silent.copied().filter(|due| *due <= overdue).collect();
                    book.audit.lost += silent.len() as u64;
                    missing.extend(silent);
                    missing
                        .extend(account.missing(*head).filter_map(|seq| due.get(&seq)).filter(|due| **due > overdue));
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
mod tests {
    use super::*;
    use crate::client::{Delivery, Event};
    use crate::measure::recorder::Window;
    use crate::scenario::tests::scenario;

    const SECOND: Nanos = 1_000_000_000;
    const EPOCH: &str = "abcdefgh";

    fn cursor(seq: u64) -> Cursor {
        Cursor { epoch: EPOCH.into(), seq }
    }

    /// A trial of two clients in one room with a window of ten seconds and ten messages in it, all accepted; `fate`
    /// says what becomes of each message at each client.
    fn trial(fate: impl Fn(usize, u64) -> bool) -> (Scenario, Evidence) {
        let scenario = scenario("--clients 2 --room-size all --rate 1 --arrivals fixed --warmup 0s --duration 10s");
        let window = Window::default();
        let range = window.get_or_init(|| 0..10 * SECOND + 1).clone();
        let schedule: Vec<Stamp> = Pacer::new(&scenario, 0).take(10).collect();
        let mut book = Book::new([0, 0].into_iter(), window);
        for client in 0..2 {
            book.record(client, &mut vec![Event::Hello(cursor(0))]);
            for (seq, stamp) in (1..).zip(&schedule).filter(|(seq, _)| fate(client, *seq)) {
                let delivery = Delivery { seq, received: stamp.due + 1, asked: None, text: stamp.to_text(64) };
                book.record(client, &mut vec![Event::Message(delivery)]);
            }
        }
        let publication = |(seq, stamp): (u64, Stamp)| Publication {
            stamp,
            sent: stamp.due,
            free: 0,
            acked: Ok((cursor(seq), stamp.due)),
        };
        let publications = (1..).zip(schedule).map(publication).collect();
        let press = Pressed { publications, sent: 10, paced: 10 };
        let (end, ledger, deadline) = (End::Completed, Ledger::default(), 20 * SECOND);
        let evidence =
            Evidence { end, connected: 2, window: range, deadline, press, books: vec![book], ledger, loadgen_cores: 1 };
        (scenario, evidence)
    }

    fn settled(trial: (Scenario, Evidence)) -> Outcome {
        settle(Transport::Ws, &trial.0, trial.1)
    }

    #[test]
    fn what_came_is_delivered_and_nothing_is_missing() {
        let outcome = settled(trial(|_, _| true));
        assert_eq!((outcome.owed, outcome.delivered, outcome.audit.owed, outcome.audit.lost), (20, 20, 20, 0));
        assert_eq!(outcome.latency.count(), 20);
    }

    #[test]
    fn what_never_came_is_lost_and_a_sample_at_the_deadline() {
        let outcome = settled(trial(|client, seq| client == 0 || seq != 4));
        assert_eq!((outcome.owed, outcome.delivered, outcome.audit.lost), (20, 19, 1));
        // The fourth message was due after 4 s; the drain ended after 20 s.
        assert_eq!(outcome.latency.max().unwrap().as_secs(), 16);
        assert_eq!(outcome.latency.count(), 20);
    }

    #[test]
    fn what_was_told_as_a_gap_is_not_lost_but_late() {
        let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
        let gap = crate::client::Gap { reason: crate::client::GapReason::Window, missed: Some(2), cursor: cursor(10) };
        for client in 0..2 {
            evidence.books[0].record(client, &mut vec![Event::Gap(gap.clone())]);
        }
        let outcome = settled((scenario, evidence));
        assert_eq!((outcome.delivered, outcome.audit.lost, outcome.audit.gaps), (16, 0, 4));
        assert_eq!(outcome.latency.max().unwrap().as_secs(), 11);
    }

    #[test]
    fn what_the_server_never_accepted_was_owed_all_the_same() {
        let (scenario, mut evidence) = trial(|_, seq| seq != 10);
        evidence.press.publications[9].acked = Err(Failure::Refused(429, "full".into()));
        let outcome = settled((scenario, evidence));
        assert_eq!((outcome.owed, outcome.delivered, outcome.audit.owed, outcome.audit.lost), (20, 18, 18, 0));
        assert_eq!((outcome.publishing.failed, outcome.latency.max().unwrap().as_secs()), (1, 10));
    }

    #[test]
    fn what_may_still_wait_for_the_next_poll_when_the_trial_ends_early_is_not_missing() {
        let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
        evidence.deadline = 10 * SECOND + SECOND / 2;
        let outcome = settled((scenario, evidence));
        assert_eq!((outcome.owed, outcome.delivered, outcome.audit.lost), (16, 16, 0));
    }

    #[test]
    fn a_log_that_began_anew_keeps_its_own_account() {
        let (scenario, mut evidence) = trial(|_, seq| seq <= 8);
        let anew = Cursor { epoch: "zzzzzzzz".into(), seq: 0 };
        let gap = crate::client::Gap { reason: crate::client::GapReason::Epoch, missed: None, cursor: anew.clone() };
        for (seq, publication) in (1..).zip(&mut evidence.press.publications[8..]) {
            publication.acked = Ok((Cursor { seq, ..anew.clone() }, publication.stamp.due));
            for client in 0..2 {
                let (received, text) = (publication.stamp.due + 1, publication.stamp.to_text(64));
                let delivery = Event::Message(Delivery { seq, received, asked: None, text });
                let mut events = vec![delivery];
                if seq == 1 {
                    events.insert(0, Event::Gap(gap.clone()));
                }
                evidence.books[0].record(client, &mut events);
            }
        }
        let outcome = settled((scenario, evidence));
        assert_eq!((outcome.delivered, outcome.audit.lost, outcome.audit.doubled), (20, 0, 0));
    }
}
