//! Settling a trial: publications against deliveries, every worker's recorder into one outcome.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use crate::client::{Acked, Cursor, Failure};
use crate::clock::{Nanos, nanos};
use crate::load::publishers::{Publication, Published, Scheduled};
use crate::measure::meter::Pause;
use crate::measure::recorder::{Recorder, Subscriber, parts_per_second};
use crate::message_id::MessageId;
use crate::result::audit::Audit;
use crate::result::histogram::Times;
use crate::result::link::Kept;
use crate::result::outcome::{Connections, End, Failures, Outcome, Publishing, tally};
use crate::result::recovery::Recovery;
use crate::result::scenario::Scenario;
use crate::result::usage::Usage;
use crate::result::variant::Variant;

/// Beyond its interval, a poll may take this long before what it should have brought is missing.
const GRACE: Duration = Duration::from_secs(1);

/// Fewer messages say nothing about whether a trial was steady.
const STEADY_MESSAGES: u64 = 100;

/// All that a trial leaves behind.
pub struct Evidence {
    /// How it ended.
    pub end: End,
    /// How many clients were connected when the load began.
    pub connected: usize,
    /// Messages due within them count: less than was planned, after an early end.
    pub windows: Vec<Range<Nanos>>,
    /// How much was to be measured in all, by which the recorders are divided into parts.
    pub length: Nanos,
    /// When it began, in UTC.
    pub began: String,
    /// When waiting for what was due in each of them, or before it, ended.
    pub deadlines: Vec<Nanos>,
    /// What the publishers did.
    pub publishers: Published,
    /// What was delivered.
    pub recorders: Vec<Recorder>,
    /// How long what the timestamped clients read had been in the kernel.
    pub receive_delays: Vec<Nanos>,
    /// How well the emulated link kept its times, if there was one.
    pub link: Option<Kept>,
    /// How clients came back, where connections are cut on purpose.
    pub recovery: Option<Recovery>,
    /// What it cost.
    pub usage: Usage,
    /// Of a set: where each slice lay, and what it cost by itself.
    pub notes: Vec<(Note, Usage)>,
}

/// Where a slice lay in its set, and what the machine did meanwhile.
#[derive(Debug, Clone)]
pub struct Note {
    /// The round, from 1.
    pub round: usize,
    /// Its place in that, from 1.
    pub place: usize,
    /// Who had the slice before it.
    pub after: Option<Variant>,
    /// CPU time of a fixed piece of work before it.
    pub probe: Option<Nanos>,
    /// Pauses of the cores in use, if the hiccup meter ran.
    pub pauses: Option<Vec<Pause>>,
}

impl Evidence {
    /// The window that a time lies in.
    fn window(&self, time: Nanos) -> Option<&Range<Nanos>> {
        self.windows.iter().find(|window| window.contains(&time))
    }

    fn is_measured(&self, time: Nanos) -> bool {
        self.window(time).is_some()
    }

    /// When waiting for what was due then ended.
    fn deadline(&self, due: Nanos) -> Nanos {
        let window = self.windows.partition_point(|window| window.end <= due);
        let deadline = self.deadlines.get(window).or(self.deadlines.last());
        deadline.copied().unwrap_or(0)
    }
}

/// A message that was accepted.
struct Accepted {
    due: Nanos,
    sent: Nanos,
    cursor: Option<Cursor>,
}

/// What the subscribers of one room were to get.
#[derive(Default)]
struct RoomRecord {
    /// When each message of the room that the pacer handed over was due, by its number.
    due: Vec<Nanos>,
    /// Those that were accepted, by their number.
    accepted: BTreeMap<u32, Accepted>,
    /// Due times within the window, of every message that was scheduled.
    scheduled: Vec<Nanos>,
    /// Of those, the ones that no ack came for: who got one all the same has it.
    unaccepted: Vec<MessageId>,
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
    /// Messages that came, as each subscriber knows of them.
    accounted: u64,
    /// Due times of messages that somebody did not get.
    incomplete: HashSet<Nanos>,
}

/// Brings both sides together.
pub fn settle(variant: Variant, scenario: &Scenario, mut evidence: Evidence) -> Outcome {
    let rooms = rooms(scenario, &evidence);
    let mut charged = Charged::default();
    let mut recorders = std::mem::take(&mut evidence.recorders);
    for recorder in &mut recorders {
        charge(recorder, &rooms, scenario, &evidence, &mut charged);
    }
    let all = All(&recorders);
    let mut audit: Audit = all.sum(|recorder| recorder.audit);
    let unbalanced = audit.received.abs_diff(charged.accounted);
    let unexpected = unexpected(&rooms, &evidence, &recorders);
    audit.unexpected += unexpected;
    audit.received = audit.received.saturating_sub(unexpected);
    let parts = all.parts();
    let windows = evidence.windows.iter();
    let measured: Nanos = windows.map(|window| window.end - window.start).sum();
    let window_seconds = measured as f64 / 1e9;
    let seconds = window_seconds.ceil() as usize;
    let each = parts_per_second(evidence.length) as usize;
    let interval = |i: usize| Times::merged(parts.iter().skip(i * each).take(each));
    let publishing = publishing(&evidence);
    let acks = figures::acks(&evidence);
    let latency = Times::merged(parts.iter());
    let slices = slices::Slices::of(&evidence, &parts);
    let mut receive_delay = Times::default();
    let delays = evidence.receive_delays.iter();
    delays.for_each(|&time| receive_delay.record(time));
    let mut timer_delay = all.merged(|recorder| &recorder.timer_delay);
    timer_delay.add(&evidence.publishers.timer_delay);
    let of_second = |i: usize| recorders.iter().filter_map(move |one| one.series.get(i));
    let second = |i: usize| of_second(i).sum();
    let subscribers = recorders.iter().flat_map(|recorder| &recorder.subscribers);
    Outcome {
        variant,
        window_seconds: Some(window_seconds),
        connections: all.connections(scenario.clients, evidence.connected),
        expected: charged.expected,
        delivered: charged.expected.saturating_sub(charged.undelivered),
        audit,
        turns: slices.turns(),
        pauses: slices.pauses(),
        calm: slices.calm(&latency),
        latency,
        intervals: (0..seconds).map(interval).collect(),
        last: figures::last(&recorders, &evidence, &charged),
        followed: subscribers.filter_map(figures::followed).collect(),
        polls: all.merged(|recorder| &recorder.polls),
        connects: all.merged(|recorder| &recorder.connects),
        timer_delay,
        receive_delay,
        drift_percent: figures::drift(&parts).filter(|_| publishing.acked >= STEADY_MESSAGES),
        wait_ks: figures::wait_ks(scenario, &acks, &recorders),
        realised: figures::realised(variant, scenario, &evidence, &acks, &recorders, &rooms),
        restarts: restarts(&recorders, scenario),
        link: evidence.link.take(),
        recovery: evidence.recovery.take(),
        impossible: all.sum(|recorder| recorder.impossible),
        unbalanced,
        failures: failures(&evidence, &recorders),
        series: (0..seconds).map(second).collect(),
        usage: evidence.usage,
        publishing,
        began: evidence.began,
        end: evidence.end,
    }
}

/// What all workers have recorded, together.
struct All<'a>(&'a [Recorder]);

impl All<'_> {
    fn sum<T: std::iter::Sum>(&self, figure: impl Fn(&Recorder) -> T) -> T {
        self.0.iter().map(figure).sum()
    }

    fn merged(&self, times: fn(&Recorder) -> &Times) -> Times {
        Times::merged(self.0.iter().map(times))
    }

    fn parts(&self) -> Vec<Times> {
        let counts = self.0.iter().map(|recorder| recorder.parts.len());
        let part = |i: usize| {
            self.0
                .iter()
                .filter_map(move |recorder| recorder.parts.get(i))
        };
        (0..counts.max().unwrap_or(0))
            .map(|i| Times::merged(part(i)))
            .collect()
    }

    fn connections(&self, wanted: usize, connected: usize) -> Connections {
        Connections {
            wanted,
            connected,
            refused: self.sum(|recorder| recorder.refused),
            unable: self.sum(|recorder| recorder.unable),
            lost: self.sum(|recorder| recorder.disconnects),
            cut: self.sum(|recorder| recorder.cut),
            planned: self.sum(|recorder| recorder.planned),
        }
    }
}

fn publishing(evidence: &Evidence) -> Publishing {
    let publishers = &evidence.publishers;
    let (all, bytes_out, retries) = (publishers.sent, publishers.bytes_out, publishers.retries);
    let mut sums = Publishing {
        all,
        bytes_out,
        retries,
        ..Publishing::default()
    };
    for Scheduled { message, handed } in &publishers.schedule {
        if let Some(window) = evidence.window(message.due) {
            sums.scheduled += 1;
            sums.paced += u64::from(handed.is_some_and(|handed| handed < window.end));
        }
    }
    for Publication {
        message,
        sent,
        free,
        acked,
    } in &publishers.publications
    {
        match acked {
            Ok(Acked { at, .. }) if evidence.is_measured(message.due) => {
                sums.acked += 1;
                sums.acks.record(at.saturating_sub(message.due));
            }
            Ok(_) => {}
            Err(Failure::Refused(..)) => sums.failed += 1,
            Err(_) => sums.indeterminate += 1,
        }
        if evidence.is_measured(message.due) {
            sums.sent += 1;
            sums.send_delay.record(sent.saturating_sub(message.due));
            sums.own_send_delay
                .record(sent.saturating_sub(message.due.max(*free)));
        }
    }
    // Sent and never answered: they may have been stored.
    sums.indeterminate += publishers
        .sent
        .saturating_sub(publishers.publications.len() as u64);
    sums
}

fn rooms(scenario: &Scenario, evidence: &Evidence) -> Vec<RoomRecord> {
    let mut rooms: Vec<RoomRecord> = (0..scenario.rooms())
        .map(|_| RoomRecord::default())
        .collect();
    let schedule = &evidence.publishers.schedule;
    for Scheduled { message, .. } in schedule.iter().filter(|one| one.handed.is_some()) {
        rooms[message.room as usize].due.push(message.due);
    }
    for Publication {
        message,
        sent,
        acked,
        ..
    } in &evidence.publishers.publications
    {
        if let Ok(Acked { cursor, at }) = acked {
            let room = &mut rooms[message.room as usize];
            let accepted = Accepted {
                due: message.due,
                sent: *sent,
                cursor: cursor.clone(),
            };
            room.accepted.insert(message.number, accepted);
            room.acked.push(*at);
        }
    }
    let unplaced = rooms
        .iter()
        .any(|room| room.accepted.values().any(|one| one.cursor.is_none()));
    if unplaced {
        place_by_what_was_seen(&mut rooms, &evidence.recorders);
    }
    let measured = schedule
        .iter()
        .filter(|one| evidence.is_measured(one.message.due));
    for Scheduled { message, .. } in measured {
        let room = &mut rooms[message.room as usize];
        room.scheduled.push(message.due);
        if !room.accepted.contains_key(&message.number) {
            room.unaccepted.push(*message);
        }
    }
    rooms
}

/// Where a publisher was not told where its message stands, subscribers may know.
fn place_by_what_was_seen(rooms: &mut [RoomRecord], recorders: &[Recorder]) {
    for seen in recorders.iter().flat_map(|recorder| &recorder.rooms) {
        let accepted = &mut rooms[seen.room as usize].accepted;
        for (number, message) in (0..).zip(&seen.messages) {
            if let (Some((log, seq)), Some(one)) = (message.place, accepted.get_mut(&number)) {
                let epoch = seen.epochs[log].clone();
                one.cursor.get_or_insert(Cursor { epoch, seq });
            }
        }
    }
}

/// Deliveries of messages that must not arrive: refused, never sent, due at another time, in the place of another, or in
/// another place than the publisher was told.
fn unexpected(rooms: &[RoomRecord], evidence: &Evidence, recorders: &[Recorder]) -> u64 {
    let publications = evidence.publishers.publications.iter();
    let acked: HashMap<(u32, u32), &Result<Acked, Failure>> = publications
        .map(|done| (done.message.key(), &done.acked))
        .collect();
    let mut taken: HashMap<(u32, &str, u64), u32> = HashMap::new();
    let mut count = 0;
    for room in recorders.iter().flat_map(|recorder| &recorder.rooms) {
        let due = &rooms[room.room as usize].due;
        for (number, message) in (0..)
            .zip(&room.messages)
            .filter(|(_, message)| message.came > 0)
        {
            let id = (room.room, number);
            let place = message
                .place
                .map(|(epoch, seq)| (room.epochs[epoch].as_str(), seq));
            let is_alone = place.is_none_or(|(epoch, seq)| {
                *taken.entry((room.room, epoch, seq)).or_insert(number) == number
            });
            let is_expected = match acked.get(&id) {
                Some(Ok(Acked {
                    cursor: Some(cursor),
                    ..
                })) => place.is_none_or(|place| place == (cursor.epoch.as_str(), cursor.seq)),
                Some(Ok(_)) | None => true,
                Some(Err(failure)) => !matches!(failure, Failure::Refused(..)),
            };
            let is_due = due.get(number as usize) == Some(&message.due);
            count += if is_alone && is_expected && is_due {
                0
            } else {
                u64::from(message.came)
            };
        }
    }
    count
}

/// What became of an accepted message at a subscriber that never got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It was published before the subscriber was there.
    Earlier,
    /// The server has said that it will not come, or something else came in its place, which counts by itself.
    Explained,
    /// Nobody knows.
    Silent,
}

fn fate(subscriber: &Subscriber, message: &Accepted) -> Fate {
    let is_earlier = match (&subscriber.began, &message.cursor) {
        (None, _) => false,
        (Some((_, Some(first))), Some(cursor)) => {
            first.epoch == cursor.epoch && cursor.seq <= first.seq
        }
        (Some((began, _)), _) => message.sent < *began,
    };
    if is_earlier {
        return Fate::Earlier;
    }
    let Some(Cursor { epoch, seq }) = &message.cursor else {
        return Fate::Silent;
    };
    let Some(log) = subscriber.epochs.iter().position(|seen| seen == epoch) else {
        // It was told that this log is gone before it had seen anything of it; or the server gives no places to it.
        return if subscriber.epochs.is_empty() {
            Fate::Silent
        } else {
            Fate::Explained
        };
    };
    let place = (log, *seq);
    if subscriber.was_told(place) || subscriber.spoiled.contains(&place) {
        Fate::Explained
    } else {
        Fate::Silent
    }
}

/// Charges a recorder with what its subscribers should have got: what never came, whoever is to blame, is a sample at the
/// deadline.
fn charge(
    recorder: &mut Recorder,
    rooms: &[RoomRecord],
    scenario: &Scenario,
    evidence: &Evidence,
    charged: &mut Charged,
) {
    // Not yet missing is what may still be waiting for the next poll when the trial ends early.
    let patience = nanos(scenario.interval + GRACE);
    let is_overdue = |due: Nanos| due + patience <= evidence.deadline(due);
    let mut missed = Vec::new();
    charged.undelivered += recorder.missed.len() as u64;
    charged.incomplete.extend(&recorder.missed);
    for subscriber in recorder
        .subscribers
        .iter()
        .filter(|subscriber| subscriber.began.is_some())
    {
        let room = &rooms[subscriber.room as usize];
        charged.expected += room.scheduled.len() as u64;
        charged.accounted += subscriber.received.count();
        recorder.audit.expected += room.accepted.len() as u64;
        let unaccepted = room.unaccepted.iter();
        let mut missing: Vec<Nanos> = unaccepted
            .filter(|message| !subscriber.received.has(message.number))
            .map(|message| message.due)
            .collect();
        for message in subscriber
            .received
            .missing(room.due.len() as u32)
            .flat_map(|range| room.accepted.range(range))
        {
            match fate(subscriber, message.1) {
                Fate::Earlier => {
                    recorder.audit.expected -= 1;
                    charged.expected -= u64::from(evidence.is_measured(message.1.due));
                    continue;
                }
                Fate::Silent => recorder.audit.lost += u64::from(is_overdue(message.1.due)),
                Fate::Explained => {}
            }
            missing.push(message.1.due);
        }
        for due in missing.into_iter().filter(|due| evidence.is_measured(*due)) {
            charged.incomplete.insert(due);
            if is_overdue(due) {
                charged.undelivered += 1;
                missed.push(due);
            } else {
                charged.expected = charged.expected.saturating_sub(1);
            }
        }
    }
    for due in missed {
        recorder.miss(due, evidence.deadline(due));
    }
}

fn failures(evidence: &Evidence, recorders: &[Recorder]) -> BTreeMap<String, Failures> {
    let mut all: BTreeMap<String, Failures> = BTreeMap::new();
    for (kind, failures) in recorders.iter().flat_map(|recorder| &recorder.failures) {
        tally(&mut all, kind.clone(), failures.count, || {
            failures.example.clone()
        });
    }
    for failure in evidence
        .publishers
        .publications
        .iter()
        .filter_map(|done| done.acked.as_ref().err())
    {
        tally(
            &mut all,
            format!("publishing: {}", failure.kind()),
            1,
            || failure.to_string(),
        );
    }
    all
}

/// The most that the log of one room began anew, but for a server that was killed on purpose.
fn restarts(recorders: &[Recorder], scenario: &Scenario) -> u64 {
    let logs = recorders
        .iter()
        .flat_map(|recorder| &recorder.subscribers)
        .map(|subscriber| subscriber.epochs.len());
    let planned = usize::from(scenario.disturbance.server_restart.is_some());
    logs.max().unwrap_or(0).saturating_sub(1 + planned) as u64
}

mod figures;
mod slices;
#[cfg(test)]
mod tests;
