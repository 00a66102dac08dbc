//! What came out of a trial: how the server did, and everything the verdict needs. The reports read nothing else.

use std::collections::BTreeMap;

use derive_more::Add;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::Audit;
use super::histogram::Times;
use super::link::Kept;
use super::recovery::Recovery;
use super::turn::{Pauses, Turn};
use super::usage::Usage;
use super::variant::Variant;
use super::words::count;

/// One trial's result.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The transport, and which way its messages went up.
    #[serde(flatten)]
    pub variant: Variant,
    /// How the trial ended.
    pub end: End,
    /// When the measuring window began, in UTC (RFC 3339); nothing of a trial that did not get so far.
    pub began: String,
    /// How long the measuring window was, in seconds: less than planned after an early end. Unknown in older files,
    /// whose windows are as long as the scenario says.
    #[serde(default)]
    pub window_seconds: Option<f64>,
    /// The subscribers' connections.
    pub connections: Connections,
    /// What was published.
    pub publishing: Publishing,
    /// Every message scheduled in the window, times its subscribers.
    pub expected: u64,
    /// Those that came before the end of the grace period; what is missing was lost, told as a gap, or never accepted.
    pub delivered: u64,
    /// Every delivery of the trial, warm-up included.
    pub audit: Audit,
    /// Delivery latency from the due time, in the window; one that never came counts at the end of the grace period.
    pub latency: Times,
    /// The same in parts: of the messages due in each second of the window.
    pub intervals: Vec<Times>,
    /// From the due time of a message to its last subscriber.
    pub last: Times,
    /// Of up to 64 subscribers, spread over the order in which they connected, each by itself.
    pub followed: Vec<Followed>,
    /// Poll requests from their tick to the whole answer, in the window; a tick that passed behind a slow answer counts to
    /// the end of that answer.
    pub polls: Times,
    /// Each client's first connect, to the confirmed cursor, or until it had failed.
    pub connects: Times,
    /// Timer delay of loadgen's own tickers, in the window.
    pub timer_delay: Times,
    /// How long what those 64 read had been in the kernel of this machine, in the window.
    pub receive_delay: Times,
    /// By how many percent the medians of both halves of the window differ; with at least 100 messages.
    pub drift_percent: Option<f64>,
    /// For a transport that polls: the largest distance of the waits' distribution from U(0, interval).
    pub wait_ks: Option<f64>,
    /// Deliveries in each second of the window, by their arrival.
    pub series: Vec<u64>,
    /// What it cost.
    pub usage: Usage,
    /// What theory needs of the schedule as it was kept.
    pub realised: Realised,
    /// How often the log of a room began anew: the server restarted, or threw a room in use away.
    #[serde(default)]
    pub restarts: u64,
    /// Its slices one by one, if it was part of a set.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// What the hiccup meter saw in those of them in which it ran.
    #[serde(default)]
    pub pauses: Option<Pauses>,
    /// Latency in the calm parts of those: where no core in use stood still.
    #[serde(default)]
    pub calm: Times,
    /// How well the emulated link kept its own times, if there was one.
    #[serde(default)]
    pub link: Option<Kept>,
    /// How clients came back, where connections are cut on purpose.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// Failures by kind.
    pub failures: BTreeMap<String, Failures>,
    /// Samples below zero or above an hour: there must be none.
    pub impossible: u64,
    /// By how much the audit does not balance: expected = delivered + missing + told, summed over all subscribers.
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
}

/// Failures of one kind.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the first of them said.
    pub example: String,
}

/// More kinds are counted together: a server decides how many there are.
const MAX_KINDS: usize = 50;

/// Counts failures of a kind.
pub fn tally(
    all: &mut BTreeMap<String, Failures>,
    kind: String,
    count: u64,
    example: impl FnOnce() -> String,
) {
    let is_known = all.len() < MAX_KINDS || all.contains_key(&kind);
    let kind = if is_known {
        kind
    } else {
        "other failures".into()
    };
    all.entry(kind).or_default().add(count, example);
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
    /// The server went away, or could not be reached, or loadgen itself broke; in words.
    Broken(String),
}

/// The subscribers' connections.
#[derive(Debug, Clone, Copy, Default, Add, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// As many as were to be.
    pub wanted: usize,
    /// As many as were when the load began: one that was cut before and had not come back is not among them.
    pub connected: usize,
    /// Those that the server turned away, or did not answer, when they first connected; what is missing beside them is
    /// loadgen's.
    #[serde(default)]
    pub refused: usize,
    /// Those that could not connect because of loadgen's machine.
    #[serde(default)]
    pub unable: usize,
    /// Connections lost after they first stood, over the whole trial.
    pub lost: u64,
    /// Those of them that the server, or what stands between, ended, and not the scenario.
    #[serde(default)]
    pub cut: u64,
    /// Those that the scenario ended.
    #[serde(default)]
    pub planned: u64,
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
    /// Publishes that met the server's close of an idle connection and were sent again, with the same key, over the
    /// whole trial; each counts as one publish.
    #[serde(default)]
    pub retries: u64,
    /// Bytes that the publishers' own connections sent for them, over the whole trial.
    pub bytes_out: u64,
    /// From due to sent, of messages due within the window.
    pub send_delay: Times,
    /// The part of it in which a connection was free: loadgen's own.
    pub own_send_delay: Times,
    /// From due to acked: the publish path.
    pub acks: Times,
}

impl Outcome {
    /// Adds another trial of the same transport: counts are summed, histograms merged, never percentiles averaged.
    pub fn merge(&mut self, other: &Self) {
        if self.end == End::Completed {
            self.end = other.end.clone();
        }
        self.window_seconds = self
            .window_seconds
            .zip(other.window_seconds)
            .map(|(a, b)| a.max(b));
        self.connections = self.connections + other.connections;
        self.publishing.merge(&other.publishing);
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.audit = self.audit + other.audit;
        self.latency.add(&other.latency);
        let length = self.intervals.len().max(other.intervals.len());
        self.intervals.resize_with(length, Times::default);
        self.intervals
            .iter_mut()
            .zip(&other.intervals)
            .for_each(|(sum, times)| sum.add(times));
        self.last.add(&other.last);
        self.followed.extend(&other.followed);
        self.receive_delay.add(&other.receive_delay);
        self.realised.base.add(&other.realised.base);
        self.realised.polls += other.realised.polls;
        self.realised.empties += other.realised.empties;
        self.polls.add(&other.polls);
        self.connects.add(&other.connects);
        self.timer_delay.add(&other.timer_delay);
        // The worst: a known answer that fails once has failed.
        self.wait_ks = self.wait_ks.zip(other.wait_ks).map(|(a, b)| a.max(b));
        self.series
            .resize(self.series.len().max(other.series.len()), 0);
        self.series
            .iter_mut()
            .zip(&other.series)
            .for_each(|(sum, n)| *sum += n);
        self.turns.extend(other.turns.iter().cloned());
        match (&mut self.pauses, &other.pauses) {
            (Some(own), Some(other)) => own.add(other),
            (own, other) => *own = own.take().or(other.clone()),
        }
        self.calm.add(&other.calm);
        match (&mut self.link, &other.link) {
            (Some(own), Some(other)) => own.off.add(&other.off),
            (own, other) => *own = own.take().or(other.clone()),
        }
        match (&mut self.recovery, &other.recovery) {
            (Some(own), Some(other)) => own.merge(other),
            (own, other) => *own = own.take().or(other.clone()),
        }
        self.usage.add(&other.usage);
        self.restarts += other.restarts;
        self.impossible += other.impossible;
        self.unbalanced += other.unbalanced;
        for (kind, failures) in &other.failures {
            tally(&mut self.failures, kind.clone(), failures.count, || {
                failures.example.clone()
            });
        }
    }

    /// Why this trial counts as failed: it broke, its audit is not clean, or the server did not keep its clients.
    pub fn failure(&self) -> Option<String> {
        if let End::Broken(reason) = &self.end {
            return Some(reason.clone());
        }
        let Connections {
            wanted,
            refused,
            cut,
            ..
        } = self.connections;
        let none = self.end == End::Completed
            && self.publishing.acked == 0
            && self.publishing.scheduled > 0;
        let reasons = [
            none.then(|| "the server accepted no message".into()),
            (!self.audit.is_clean())
                .then(|| format!("the audit of the whole trial found {}", self.audit.faults())),
            (refused > 0).then(|| {
                format!(
                    "the server turned away {refused} of {}",
                    count(wanted as u64, "client")
                )
            }),
            (cut > 0).then(|| {
                format!(
                    "the server, or what stands between, ended {}",
                    count(cut, "connection")
                )
            }),
            (self.restarts > 0).then(|| {
                format!(
                    "the log of a room began anew {}",
                    count(self.restarts, "time")
                )
            }),
        ];
        let reasons: Vec<String> = reasons.into_iter().flatten().collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Whether a delivery is missing: one that was expected in the window, or lost anywhere in the trial. What was under way
    /// when a signal ended the trial is not.
    pub fn misses(&self) -> bool {
        self.end != End::Interrupted && (self.delivered < self.expected || self.audit.lost > 0)
    }

    /// How long the measuring window was, in seconds, where the scenario planned this many.
    pub fn seconds(&self, planned: f64) -> f64 {
        self.window_seconds.unwrap_or(planned)
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
        self.retries += other.retries;
        self.bytes_out += other.bytes_out;
        self.send_delay.add(&other.send_delay);
        self.own_send_delay.add(&other.own_send_delay);
        self.acks.add(&other.acks);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::result::usage::Demand;
    use crate::result::variant::Transport;

    /// Of a machine on which nobody else was.
    fn calm() -> Usage {
        Usage {
            loadgen_cpu_ns: Some(0),
            others_ns: Some(0),
            loadgen_queued_ns: Some(0),
            demand: vec![Demand {
                core: 0,
                busy_ns: 0,
                stolen_ns: 0,
            }],
            ..Usage::default()
        }
    }

    /// An outcome in which nothing has happened.
    pub(crate) fn empty(mode: Transport) -> Outcome {
        Outcome {
            variant: mode.into(),
            end: End::Completed,
            began: String::new(),
            window_seconds: None,
            connections: Connections::default(),
            publishing: Publishing::default(),
            expected: 0,
            delivered: 0,
            audit: Audit::default(),
            latency: Times::default(),
            intervals: Vec::new(),
            last: Times::default(),
            followed: Vec::new(),
            polls: Times::default(),
            connects: Times::default(),
            timer_delay: Times::default(),
            receive_delay: Times::default(),
            drift_percent: None,
            wait_ks: None,
            series: Vec::new(),
            turns: Vec::new(),
            pauses: None,
            calm: Times::default(),
            usage: calm(),
            realised: Realised::default(),
            restarts: 0,
            link: None,
            recovery: None,
            failures: BTreeMap::new(),
            impossible: 0,
            unbalanced: 0,
        }
    }
}
