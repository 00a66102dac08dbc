//! What came out of a trial: how the server did, and everything the verdict needs. The reports read nothing else.

use std::collections::BTreeMap;

use derive_more::Add;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::Lane;
use crate::measure::audit::Audit;
use crate::measure::histogram::Times;
use crate::measure::ledger::Ledger;

/// One trial's result.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The transport, and which way its messages went up.
    #[serde(flatten)]
    pub lane: Lane,
    /// How the trial ended.
    pub end: End,
    /// When the measuring window began, in UTC (RFC 3339); nothing of a trial that did not get so far.
    pub began: String,
    /// The subscribers' connections.
    pub connections: Connections,
    /// What was published.
    pub publishing: Publishing,
    /// Every message scheduled in the window, times its subscribers.
    pub owed: u64,
    /// Those that came before the end of the drain; what is missing was lost, told as a gap, or never accepted.
    pub delivered: u64,
    /// Every delivery of the trial, warm-up included.
    pub audit: Audit,
    /// Delivery latency from the due time, in the window; one that never came counts at the end of the drain.
    pub latency: Times,
    /// The same in parts: of the messages due in each second of the window.
    pub intervals: Vec<Times>,
    /// From the due time of a message to its last subscriber.
    pub last: Times,
    /// Of up to 64 subscribers, spread over the order in which they connected, each by itself.
    pub followed: Vec<Followed>,
    /// Poll requests from their tick to the whole answer, in the window.
    pub polls: Times,
    /// Connects, to the confirmed cursor.
    pub connects: Times,
    /// Lateness of loadgen's own tickers, in the window.
    pub lateness: Times,
    /// How long what those 64 read had been in the kernel of this machine, in the window.
    pub dwell: Times,
    /// By how many percent the medians of both halves of the window differ; with at least 100 messages.
    pub drift_percent: Option<f64>,
    /// For a transport that polls: the largest distance of the waits' distribution from U(0, interval).
    pub wait_ks: Option<f64>,
    /// Deliveries in each second of the window, by their arrival.
    pub series: Vec<u64>,
    /// What it cost.
    pub ledger: Ledger,
    /// What theory needs of the schedule as it was kept.
    pub realised: Realised,
    /// Failures by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Samples below zero or above an hour: there must be none.
    pub impossible: u64,
    /// By how much the audit's books do not balance: owed = delivered + missing + told, summed over all subscribers.
    pub unbalanced: u64,
}

/// One subscriber by itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Followed {
    /// How many deliveries.
    pub count: u64,
    /// Their median latency, in microseconds.
    pub p50_us: u32,
    /// Their 99th percentile.
    pub p99_us: u32,
}

/// What theory needs of the schedule as it was kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Realised {
    /// Of messages that polls brought: the publish path and the request that brought it, without the wait between.
    pub base: Times,
    /// Polls due in the window.
    pub polls: u64,
    /// Those of them that found nothing, by the schedule and the phases.
    pub empties: u64,
    /// The sum over acked messages due in the window of the digits of their seq.
    pub seq_digits: u64,
}

/// Failures of one kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
}

impl Failures {
    /// Counts more of them.
    pub fn add(&mut self, count: u64, example: impl FnOnce() -> String) {
        if self.count == 0 {
            self.example = example();
        }
        self.count += count;
    }
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// As planned.
    Completed,
    /// A signal ended it: Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
    /// The server went away, or could not be reached; in words.
    Broken(String),
}

/// The subscribers' connections.
#[derive(Debug, Clone, Copy, Default, Add, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// As many as were to be.
    pub wanted: usize,
    /// As many as were when the load began.
    pub connected: usize,
    /// Connections lost after that.
    pub lost: u64,
}

/// The publishers' side.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Publishing {
    /// Messages due within the window.
    pub scheduled: u64,
    /// Those whose time the pacer kept: handed to the publishers, whether or not one was free.
    pub paced: u64,
    /// Those that were sent.
    pub sent: u64,
    /// Those that were acked.
    pub acked: u64,
    /// Refused by the server, over the whole trial.
    pub failed: u64,
    /// Sent without an answer, over the whole trial: they may have been stored.
    pub indeterminate: u64,
    /// All that were sent, over the whole trial.
    pub all: u64,
    /// Bytes that the publishers' own connections sent for them, over the whole trial.
    pub bytes_out: u64,
    /// From due to sent, of messages due within the window.
    pub lag: Times,
    /// The part of it in which a connection was free: loadgen's own lateness.
    pub own_lag: Times,
    /// From due to acked: the publish path.
    pub acks: Times,
}

impl Outcome {
    /// Adds another trial of the same transport: counts are summed, histograms merged, never percentiles averaged.
    pub fn merge(&mut self, other: &Self) {
        if self.end == End::Completed {
            self.end = other.end.clone();
        }
        self.connections = self.connections + other.connections;
        self.publishing.merge(&other.publishing);
        self.owed += other.owed;
        self.delivered += other.delivered;
        self.audit = self.audit + other.audit;
        self.latency.add(&other.latency);
        self.intervals.iter_mut().zip(&other.intervals).for_each(|(sum, times)| sum.add(times));
        self.last.add(&other.last);
        self.followed.extend(&other.followed);
        self.dwell.add(&other.dwell);
        self.realised.base.add(&other.realised.base);
        self.realised.polls += other.realised.polls;
        self.realised.empties += other.realised.empties;
        self.realised.seq_digits += other.realised.seq_digits;
        self.polls.add(&other.polls);
        self.connects.add(&other.connects);
        self.lateness.add(&other.lateness);
        // The worst: a known answer that fails once has failed.
        self.wait_ks = self.wait_ks.zip(other.wait_ks).map(|(a, b)| a.max(b));
        self.series.iter_mut().zip(&other.series).for_each(|(sum, n)| *sum += n);
        self.ledger.add(&other.ledger);
        self.impossible += other.impossible;
        self.unbalanced += other.unbalanced;
        for (kind, failures) in &other.failures {
            self.failures.entry(kind.clone()).or_default().add(failures.count, || failures.example.clone());
        }
    }

    /// Why this trial counts as failed: it broke, or its audit is not clean.
    pub fn failure(&self) -> Option<String> {
        match &self.end {
            End::Broken(reason) => Some(reason.clone()),
            End::Completed if self.publishing.acked == 0 && self.publishing.scheduled > 0 => {
                Some("the server accepted no message".into())
            }
            _ if !self.audit.is_clean() => Some(format!("the audit found {}", self.audit.faults())),
            _ => None,
        }
    }
}

impl Publishing {
    fn merge(&mut self, other: &Self) {
        self.scheduled += other.scheduled;
        self.paced += other.paced;
        self.sent += other.sent;
        self.acked += other.acked;
        self.failed += other.failed;
        self.indeterminate += other.indeterminate;
        self.all += other.all;
        self.bytes_out += other.bytes_out;
        self.lag.add(&other.lag);
        self.own_lag.add(&other.own_lag);
        self.acks.add(&other.acks);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::client::Transport;

    /// An outcome in which nothing has happened.
    pub(crate) fn empty(mode: Transport) -> Outcome {
        Outcome {
            lane: mode.into(),
            end: End::Completed,
            began: String::new(),
            connections: Connections::default(),
            publishing: Publishing::default(),
            owed: 0,
            delivered: 0,
            audit: Audit::default(),
            latency: Times::default(),
            intervals: Vec::new(),
            last: Times::default(),
            followed: Vec::new(),
            polls: Times::default(),
            connects: Times::default(),
            lateness: Times::default(),
            dwell: Times::default(),
            drift_percent: None,
            wait_ks: None,
            series: Vec::new(),
            ledger: Ledger::default(),
            realised: Realised::default(),
            failures: BTreeMap::new(),
            impossible: 0,
            unbalanced: 0,
        }
    }
}
