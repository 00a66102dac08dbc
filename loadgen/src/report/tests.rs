use std::collections::BTreeMap;

use super::markdown::Shown;
use super::*;
use crate::comparison::begin;
use crate::judge::{self, theory, verdict};
use crate::result::comparison::tests::add;
use crate::result::histogram::Times;
use crate::result::outcome::{End, Failures, Followed, Outcome};
use crate::result::proxy::Proxy;
use crate::result::scenario::Scenario;
use crate::result::summary::Summary;
use crate::result::usage::{Demand, Memory, Ticks, Totals};
use crate::result::variant::{Publish, Transport, Variant};
use crate::result::verdict::{Guard, Kind, Verdict};

mod told;

/// What a file with so few trials may hold: see `comparison/saved.rs`.
const LARGEST: u64 = 1 << 53;

struct Draw(fastrand::Rng);

impl Draw {
    /// Nothing, few, some or more than there ever are.
    fn count(&mut self) -> u64 {
        match self.0.u8(..8) {
            0..3 => 0,
            3 => 1,
            4..6 => self.0.u64(..1_000),
            6 => self.0.u64(..1_000_000_000),
            _ => LARGEST,
        }
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.bool().then(|| draw(self))
    }

    fn times(&mut self) -> Times {
        let mut times = Times::default();
        // Mostly short ones: to read a quantile takes as long as the time is.
        let longest = self
            .0
            .choice([1_000, 10_000_000, 10_000_000, u64::MAX])
            .unwrap();
        (0..self.0.usize(..4)).for_each(|_| times.record(self.count().min(longest)));
        times
    }

    fn several<T>(&mut self, draw: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(..4)).map(|_| draw(self)).collect()
    }

    fn totals(&mut self) -> Totals {
        Totals {
            bytes_in: self.count(),
            bytes_out: self.count(),
            reads: self.count(),
            writes: self.count(),
            segments_in: self.count(),
            segments_out: self.count(),
            requests: self.count(),
            reconnects: self.count(),
            retries: self.count(),
            empties: self.count(),
        }
    }

    fn outcome(&mut self, variant: Variant) -> Outcome {
        let mut outcome = Outcome {
            variant,
            ..crate::result::outcome::tests::empty(variant.mode)
        };
        let ends = [
            End::Completed,
            End::Completed,
            End::Interrupted,
            End::Broken("gone".into()),
        ];
        outcome.end = self.0.choice(ends).unwrap();
        outcome.began = self
            .0
            .choice(["", "2026-11-26T00:36:44.986Z"])
            .unwrap()
            .into();
        outcome.window_seconds = self.maybe(|draw| draw.0.f64() * 4.0);
        let connections = &mut outcome.connections;
        (connections.wanted, connections.connected) =
            (self.count() as usize, self.count() as usize);
        (connections.refused, connections.lost, connections.cut) =
            (self.count() as usize, self.count(), self.count());
        let publishing = &mut outcome.publishing;
        (publishing.scheduled, publishing.paced, publishing.sent) =
            (self.count(), self.count(), self.count());
        (
            publishing.acked,
            publishing.failed,
            publishing.indeterminate,
        ) = (self.count(), self.count(), self.count());
        (publishing.all, publishing.retries, publishing.bytes_out) =
            (self.count(), self.count(), self.count());
        (
            publishing.send_delay,
            publishing.own_send_delay,
            publishing.acks,
        ) = (self.times(), self.times(), self.times());
        (outcome.expected, outcome.delivered) = (self.count(), self.count());
        let audit = &mut outcome.audit;
        (audit.expected, audit.received, audit.lost, audit.doubled) =
            (self.count(), self.count(), self.count(), self.count());
        (audit.gaps, audit.late, audit.reordered, audit.corrupt) =
            (self.count(), self.count(), self.count(), self.count());
        (outcome.latency, outcome.last, outcome.polls) = (self.times(), self.times(), self.times());
        (outcome.connects, outcome.timer_delay, outcome.receive_delay) =
            (self.times(), self.times(), self.times());
        (outcome.intervals, outcome.series) =
            (self.several(Self::times), self.several(Self::count));
        outcome.followed = self.several(|draw| Followed {
            count: draw.count(),
            p50_us: draw.0.u32(..),
            p99_us: 0,
        });
        outcome.drift_percent = self.maybe(|draw| draw.0.f64() * 1e9);
        outcome.wait_ks = self.maybe(|draw| draw.0.f64());
        outcome.realised.base = self.times();
        (outcome.realised.polls, outcome.realised.empties) = (self.count(), self.count());
        (outcome.restarts, outcome.impossible, outcome.unbalanced) =
            (self.count(), self.count(), self.count());
        outcome.failures = BTreeMap::from([(
            "kind".to_owned(),
            Failures {
                count: self.count(),
                example: "x".into(),
            },
        )]);
        self.usage(&mut outcome);
        outcome
    }

    fn usage(&mut self, outcome: &mut Outcome) {
        let usage = &mut outcome.usage;
        usage.seconds = if self.0.bool() {
            0.0
        } else {
            self.0.f64() * 1e5
        };
        usage.deliveries = self.count();
        (usage.steal_ns, usage.others_ns) = (self.maybe(Self::count), self.maybe(Self::count));
        usage.demand = self.several(|draw| Demand {
            core: draw.count() as usize,
            busy_ns: draw.count(),
            stolen_ns: draw.count(),
        });
        (usage.server_cpu_ns, usage.server_user_ns) =
            (self.maybe(Self::count), self.maybe(Self::count));
        usage.server_ticks = self.maybe(|draw| Ticks {
            user: draw.count(),
            system: draw.count(),
        });
        (usage.server_switches, usage.loadgen_cpu_ns) =
            (self.maybe(Self::count), self.maybe(Self::count));
        (usage.machine_busy_ns, usage.server_peak) =
            (self.maybe(Self::count), self.maybe(Self::count));
        (usage.proxy_cpu_ns, usage.proxy_peak) = (self.maybe(Self::count), self.maybe(Self::count));
        (usage.loadgen_queued_ns, usage.loadgen_threads) = (self.maybe(Self::count), self.count());
        (usage.cores, usage.loadgen_cores, usage.minimal) =
            (self.count(), self.count(), self.0.bool());
        (usage.traffic, usage.life) = (self.totals(), self.totals());
        (usage.tcp.bare_segments_in, usage.tcp.bare_segments_out) = (self.count(), self.count());
        usage.request_headers = [self.count(), self.count()];
        usage.memory = self.several(|draw| Memory {
            connections: draw.count() as usize,
            server_pss: draw.maybe(Self::count),
            server_anonymous: draw.maybe(Self::count),
            proxy_pss: draw.maybe(Self::count),
            kernel: draw.count(),
        });
    }

    fn comparison(&mut self) -> Comparison {
        let modes = [
            Transport::ShortPoll,
            Transport::LongPoll,
            Transport::Sse,
            Transport::Ws,
        ];
        let mut variants: Vec<Variant> = modes
            .into_iter()
            .filter(|_| self.0.bool())
            .map(Variant::from)
            .collect();
        variants.push(Variant {
            mode: Transport::Ws,
            publish: Publish::Native,
            via: None,
        });
        variants.push(Variant {
            via: Some(Proxy::Nginx),
            ..Transport::Ws.into()
        });
        let flags = self
            .0
            .choice([
                "--duration 2500ms",
                "--duration 1ms --interval 10m --rate 0.001",
            ])
            .unwrap();
        let blocks = self.0.choice([1, 1, 2, 6]).unwrap();
        let mut comparison = begin(
            variants.clone(),
            blocks,
            Scenario::parse(flags).unwrap(),
            String::new(),
        );
        for block in 1..=blocks {
            for variant in variants
                .iter()
                .filter(|_| self.0.u8(..4) > 0)
                .copied()
                .collect::<Vec<_>>()
            {
                let outcome = self.outcome(variant);
                let mut verdict = verdict::of(&outcome);
                if self.0.bool() {
                    (verdict.kind, verdict.checks) = (Kind::Valid, Vec::new());
                }
                add(
                    &mut comparison,
                    block,
                    self.0.u8(..4) == 0,
                    outcome,
                    verdict,
                );
            }
        }
        judge::compare(&mut comparison);
        comparison
    }
}

#[test]
fn what_went_wrong_counts_also_in_trials_that_are_not_valid() {
    let variant = Variant::from(Transport::Ws);
    let scenario = Scenario::parse("--duration 1s").unwrap();
    let mut comparison = begin(vec![variant], 2, scenario, String::new());
    for (block, kind, lost) in [(1, Kind::Valid, 1), (2, Kind::Noisy, 3)] {
        let mut outcome = Draw(fastrand::Rng::with_seed(block)).outcome(variant);
        outcome.audit.lost = lost;
        let checks = match kind {
            Kind::Valid => Vec::new(),
            _ => verdict::of(&outcome).checks,
        };
        let verdict = Verdict { kind, checks };
        let block = block as usize;
        add(&mut comparison, block, false, outcome, verdict);
    }
    let [summary] = &Summary::of(&comparison)[..] else {
        panic!("one row")
    };
    let counted = (summary.merged(Guard::Tail), summary.outcome(Guard::Tail));
    assert_eq!((counted.0, counted.1.audit.lost), (1, 4));
}

fn tables(comparison: &Comparison) -> Vec<table::Table> {
    let summaries = Summary::of(comparison);
    let figures = table::figures(&summaries, comparison.control);
    evidence::tables(comparison, &summaries)
        .into_iter()
        .chain([figures])
        .collect()
}

/// Whether a text has a number in it that is none.
fn is_nonsense(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| ["NaN", "inf", "infinity"].contains(&word))
}

#[test]
fn whatever_was_counted_every_report_renders_and_no_figure_is_nonsense() {
    for seed in 0..25 {
        let mut draw = Draw(fastrand::Rng::with_seed(seed));
        let comparison = draw.comparison();
        for trial in &comparison.trials {
            for answer in theory::answers(&trial.outcome, &comparison.scenario) {
                assert!(
                    answer.measured.is_finite() && answer.predicted.is_finite(),
                    "seed {seed}: {answer:?}"
                );
            }
        }
        for table in tables(&comparison) {
            for (row, cell) in table
                .rows
                .iter()
                .flat_map(|row| row.cells.iter().map(move |cell| (row, cell)))
            {
                let digit = |pair: &[u8]| pair[0] == b'-' && pair[1].is_ascii_digit();
                let is_below = cell.text.as_bytes().windows(2).any(digit);
                assert!(
                    !is_below && !is_nonsense(&cell.text),
                    "seed {seed}, {}: {}",
                    row.name,
                    cell.text
                );
            }
        }
        let texts = [
            markdown::terminal(&comparison, Shown::default()),
            markdown::render(&comparison),
            html::render(&comparison).unwrap(),
            raw::seconds(&comparison),
        ];
        let charts = chart::all(&comparison).into_iter().map(|(_, svg)| svg);
        for text in texts
            .into_iter()
            .chain([raw::hlog(&comparison).unwrap()])
            .chain(charts)
        {
            let place = text.lines().find(|line| is_nonsense(line));
            assert_eq!(place, None, "seed {seed}");
        }
    }
}

/// A comparison of one trial, as a window of this length was measured in it.
fn windowed(planned: &str, measured: Option<f64>, seconds: usize) -> Comparison {
    let scenario = Scenario::parse(&format!("--duration {planned}")).unwrap();
    let mut comparison = begin(vec![Transport::Ws.into()], 1, scenario, String::new());
    comparison.started = "2026-11-26T00:36:33Z".into();
    let mut outcome = crate::result::outcome::tests::empty(Transport::Ws);
    outcome.began = "2026-11-26T00:36:44.500Z".into();
    outcome.window_seconds = measured;
    let mut times = Times::default();
    times.record(1_000_000);
    (outcome.intervals, outcome.series) = (vec![times; seconds], vec![1; seconds]);
    let verdict = verdict::of(&outcome);
    add(&mut comparison, 1, false, outcome, verdict);
    comparison
}

#[test]
fn the_last_second_of_a_window_is_as_long_as_it_was() {
    for (planned, measured, lengths) in [
        ("2500ms", Some(2.5), &["1.000", "1.000", "0.500"][..]),
        ("2500ms", None, &["1.000", "1.000", "0.500"]),
        ("30s", Some(1.25), &["1.000", "0.250"]),
        ("2s", Some(2.0), &["1.000", "1.000"]),
        ("30s", Some(0.0), &[]),
    ] {
        let comparison = windowed(planned, measured, lengths.len());
        let hlog = raw::hlog(&comparison).unwrap();
        let found: Vec<(String, String)> = hlog
            .lines()
            .filter_map(|line| line.strip_prefix("Tag=ws-1,"))
            .map(|line| line.split(',').map(String::from).collect::<Vec<_>>())
            .map(|fields| (fields[0].clone(), fields[1].clone()))
            .collect();
        let expected: Vec<(String, String)> = lengths
            .iter()
            .enumerate()
            .map(|(i, length)| (format!("{}.500", 11 + i), (*length).to_owned()))
            .collect();
        assert_eq!(found, expected, "{planned} {measured:?}: {hlog}");
        let csv = raw::seconds(&comparison);
        let column = csv
            .lines()
            .next()
            .unwrap()
            .split(',')
            .position(|name| name == "length_s")
            .unwrap();
        let csv: Vec<&str> = csv
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').nth(column))
            .collect();
        assert_eq!(csv, lengths);
    }
}
