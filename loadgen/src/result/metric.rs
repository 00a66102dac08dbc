//! Every figure of a trial, defined once: what it is called, its unit, how it is read, how many messages it needs.
//! Tables, CSV and JSON iterate over this list; charts and comparisons look up what they show by its id.

use std::collections::BTreeMap;

use super::outcome::Outcome;
use super::turn::negligible_pause;
use super::variant::{Publish, Variant};
use super::verdict::Guard;

/// A quantile q needs this many messages over 1 - q: with n of them the chance that not one lies beyond it is about
/// e^-5.7, one in 300. Messages, not deliveries: those of one message are not independent.
const MESSAGES: f64 = 5.7;

/// One figure.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in the JSON and in `comparison.csv`, which does not change.
    pub id: &'static str,
    /// Its name for people.
    pub label: &'static str,
    /// Its unit; empty where the label says it.
    pub unit: &'static str,
    /// Which of several is the best.
    pub better: Better,
    /// How much of it is shown.
    pub shown: Shown,
    /// What has to hold for it.
    pub guard: Guard,
    /// Its value in a trial, or in several merged.
    pub read: fn(&Outcome) -> Option<f64>,
    /// The quantile that it is, for which there have to be messages enough.
    pub needs: Option<f64>,
    /// The quantile of the deliveries that it is, which those that never came may decide.
    pub deliveries: Option<f64>,
}

/// Which of several figures is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// None is.
    Neither,
    /// The lowest.
    Lower,
    /// The lowest, where a stream and a poll differ only beyond what loopback moves from one side's bill to the other's.
    LowerOfItsKind,
}

/// How much of a figure is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is in every table.
    First,
    /// It is in the tables of the reports, and in a terminal's for who asks for all.
    Table,
    /// It is in the files alone.
    Files,
}

impl Metric {
    /// Its name with its unit.
    pub fn name(&self) -> String {
        if self.unit.is_empty() {
            self.label.into()
        } else {
            format!("{}, {}", self.label, self.unit)
        }
    }

    /// How many messages have to stand behind it.
    pub fn messages_needed(&self) -> u64 {
        self.needs.map_or(0, messages_needed)
    }

    /// The figure with this id.
    ///
    /// # Panics
    ///
    /// If there is none: ids stand in the program.
    pub fn of(id: &str) -> &'static Self {
        METRICS
            .iter()
            .find(|metric| metric.id == id)
            .expect("an id of the list")
    }

    const fn first(self) -> Self {
        Self {
            shown: Shown::First,
            ..self
        }
    }

    const fn files_only(self) -> Self {
        Self {
            shown: Shown::Files,
            ..self
        }
    }

    const fn lower(self) -> Self {
        Self {
            better: Better::Lower,
            ..self
        }
    }

    const fn lower_of_its_kind(self) -> Self {
        Self {
            better: Better::LowerOfItsKind,
            ..self
        }
    }

    const fn needing(self, share: f64) -> Self {
        Self {
            needs: Some(share),
            ..self
        }
    }

    const fn of_deliveries(self, share: f64) -> Self {
        Self {
            deliveries: Some(share),
            ..self
        }
    }
}

const fn metric(
    id: &'static str,
    label: &'static str,
    unit: &'static str,
    guard: Guard,
    read: fn(&Outcome) -> Option<f64>,
) -> Metric {
    Metric {
        id,
        label,
        unit,
        better: Better::Neither,
        shown: Shown::Table,
        guard,
        read,
        needs: None,
        deliveries: None,
    }
}

/// All of them, in the order of the reports.
pub const METRICS: &[Metric] = &[
    metric("latency_p50_ms", "latency p50", "ms", Guard::Median, |o| {
        o.latency.ms(0.5)
    })
    .lower()
    .first()
    .needing(0.5)
    .of_deliveries(0.5),
    metric("latency_p90_ms", "latency p90", "ms", Guard::Tail, |o| {
        o.latency.ms(0.9)
    })
    .lower()
    .needing(0.9)
    .of_deliveries(0.9),
    metric("latency_p99_ms", "latency p99", "ms", Guard::Tail, |o| {
        o.latency.ms(0.99)
    })
    .lower()
    .first()
    .needing(0.99)
    .of_deliveries(0.99),
    metric(
        "latency_p99_calm_ms",
        "  in the machine's calm parts",
        "ms",
        Guard::Median,
        calm,
    )
    .lower()
    .of_deliveries(0.99),
    metric(
        "pauses_percent",
        "time that a core stood still",
        "%",
        Guard::Counts,
        |o| {
            let median = o.latency.ms(0.5)?;
            Some(o.pauses.as_ref()?.percent(negligible_pause(median)))
        },
    ),
    metric("latency_max_ms", "latency max", "ms", Guard::Tail, |o| {
        o.latency.ms(1.0)
    })
    .lower()
    .needing(0.99)
    .of_deliveries(1.0),
    metric(
        "send_delay_p50_ms",
        "send delay p50",
        "ms",
        Guard::Median,
        |o| o.publishing.own_send_delay.ms(0.5),
    )
    .needing(0.5),
    metric(
        "receive_delay_p50_ms",
        "client receive delay p50",
        "ms",
        Guard::Median,
        |o| o.receive_delay.ms(0.5),
    )
    .needing(0.5),
    metric(
        "receive_delay_p99_ms",
        "client receive delay p99",
        "ms",
        Guard::Tail,
        |o| o.receive_delay.ms(0.99),
    )
    .needing(0.99),
    metric(
        "last_of_room_p50_ms",
        "to the last of the room p50",
        "ms",
        Guard::Median,
        |o| o.last.ms(0.5),
    )
    .lower()
    .needing(0.5),
    metric(
        "publish_to_ack_p50_ms",
        "publish to ack p50",
        "ms",
        Guard::Median,
        |o| o.publishing.acks.ms(0.5),
    )
    .lower()
    .needing(0.5),
    metric(
        "poll_p99_ms",
        "poll, from its tick to the answer p99",
        "ms",
        Guard::Tail,
        |o| o.polls.ms(0.99),
    ),
    metric("connect_p50_ms", "connect p50", "ms", Guard::Median, |o| {
        o.connects.ms(0.5)
    }),
    metric(
        "bytes_up_per_publish",
        "bytes up per publish",
        "",
        Guard::Traffic,
        upward,
    )
    .lower(),
    metric(
        "server_cpu_us",
        "server CPU per delivery",
        "µs",
        Guard::Cpu,
        |o| o.usage.us(o.usage.server_cpu_ns),
    )
    .lower_of_its_kind()
    .first(),
    metric(
        "server_user_cpu_us",
        "  in user mode only",
        "µs",
        Guard::Cpu,
        |o| o.usage.us(o.usage.user_ns()),
    ),
    metric(
        "loadgen_cpu_us",
        "loadgen's CPU per delivery",
        "µs",
        Guard::Cpu,
        |o| o.usage.us(o.usage.loadgen_cpu_ns),
    ),
    metric(
        "machine_busy_us",
        "machine busy per delivery",
        "µs",
        Guard::Cpu,
        |o| o.usage.us(o.usage.machine_busy_ns),
    ),
    metric(
        "server_switches",
        "server context switches per delivery",
        "",
        Guard::Cpu,
        |o| o.usage.per_delivery(o.usage.server_switches?),
    ),
    metric(
        "proxy_cpu_us",
        "proxy CPU per delivery",
        "µs",
        Guard::Cpu,
        |o| o.usage.us(o.usage.proxy_cpu_ns),
    )
    .lower_of_its_kind()
    .first(),
    metric(
        "server_memory_kib",
        "server memory per connection",
        "KiB",
        Guard::Memory,
        |o| o.usage.memory_kib(),
    )
    .lower()
    .first(),
    metric(
        "server_anonymous_kib",
        "  what it allocated (anonymous memory)",
        "KiB",
        Guard::Memory,
        |o| o.usage.anonymous_kib(),
    ),
    metric(
        "kernel_memory_kib",
        "kernel memory per connection, both ends",
        "KiB",
        Guard::Memory,
        |o| o.usage.kernel_kib(),
    ),
    metric(
        "server_peak_mib",
        "server memory at its peak",
        "MiB",
        Guard::Memory,
        |o| Some(o.usage.server_peak? as f64 / 1048576.0),
    ),
    metric(
        "proxy_memory_kib",
        "proxy memory per connection",
        "KiB",
        Guard::Memory,
        |o| o.usage.proxy_kib(),
    )
    .lower()
    .first(),
    metric(
        "proxy_peak_mib",
        "proxy memory at its peak",
        "MiB",
        Guard::Memory,
        |o| Some(o.usage.proxy_peak? as f64 / 1048576.0),
    ),
    metric(
        "bytes_down",
        "bytes to clients per delivery",
        "",
        Guard::Traffic,
        |o| o.usage.per_delivery(o.usage.traffic.bytes_in),
    )
    .lower()
    .first(),
    metric(
        "bytes_up",
        "bytes from clients per delivery, as sent",
        "",
        Guard::Traffic,
        |o| o.usage.per_delivery(o.usage.traffic.bytes_out),
    )
    .files_only(),
    metric(
        "bytes_up_browser",
        "bytes from clients per delivery, browser's headers",
        "",
        Guard::Traffic,
        |o| o.usage.per_delivery(o.usage.bytes_out()[0]),
    )
    .lower()
    .first(),
    metric(
        "bytes_up_minimal",
        "bytes from clients per delivery, minimal headers",
        "",
        Guard::Traffic,
        |o| o.usage.per_delivery(o.usage.bytes_out()[1]),
    )
    .lower(),
    metric(
        "bytes_both",
        "bytes per delivery, both ways",
        "",
        Guard::Traffic,
        |o| {
            o.usage.per_delivery(
                o.usage
                    .traffic
                    .bytes_in
                    .saturating_add(o.usage.traffic.bytes_out),
            )
        },
    )
    .files_only(),
    metric(
        "bytes_link",
        "bytes per delivery on a real link, both ways, modelled",
        "",
        Guard::Traffic,
        |o| {
            o.usage
                .per_delivery(o.usage.on_a_link().iter().sum::<f64>() as u64)
        },
    )
    .lower(),
    metric(
        "requests",
        "requests per delivery",
        "",
        Guard::Traffic,
        |o| o.usage.per_delivery(o.usage.traffic.requests),
    )
    .lower(),
    metric(
        "empty_answers_percent",
        "empty answers",
        "% of requests",
        Guard::Traffic,
        empties,
    ),
    metric(
        "batch",
        "messages per read or answer",
        "",
        Guard::Cpu,
        batch,
    ),
    metric(
        "back_p50_ms",
        "away after a cut p50",
        "ms",
        Guard::Median,
        |o| o.recovery.as_ref()?.back.ms(0.5),
    )
    .lower()
    .first(),
    metric(
        "back_p99_ms",
        "away after a cut p99",
        "ms",
        Guard::Tail,
        |o| o.recovery.as_ref()?.back.ms(0.99),
    )
    .lower()
    .first(),
    metric(
        "back_max_ms",
        "until all were back",
        "ms",
        Guard::Tail,
        |o| o.recovery.as_ref()?.back.ms(1.0),
    )
    .lower()
    .first(),
    metric(
        "away",
        "clients not back at the end",
        "",
        Guard::Counts,
        |o| Some(o.recovery.as_ref()?.away as f64),
    )
    .lower()
    .first(),
    metric(
        "peak_connects",
        "most connects within 100 ms",
        "",
        Guard::Counts,
        |o| Some(o.recovery.as_ref()?.peak_connects as f64),
    )
    .lower(),
    metric(
        "behind_percent",
        "deliveries more than a second late",
        "%",
        Guard::Counts,
        |o| {
            let late = o.recovery.as_ref()?.behind as f64;
            Some(100.0 * late / o.expected.max(1) as f64)
        },
    )
    .lower(),
    metric(
        "poll_wait_ks",
        "wait against U(0, interval)",
        "KS",
        Guard::Median,
        |o| o.wait_ks,
    ),
];

/// Every figure of an outcome that it has, by id.
pub fn values(outcome: &Outcome) -> BTreeMap<String, f64> {
    let value = |metric: &Metric| {
        let value = (metric.read)(outcome).filter(|value| value.is_finite())?;
        Some((metric.id.to_owned(), value))
    };
    METRICS.iter().filter_map(value).collect()
}

/// How many messages the quantile needs that this share does not exceed.
pub fn messages_needed(share: f64) -> u64 {
    // Less a little, for 1 - 0.9 is not quite 0.1.
    (MESSAGES / (1.0 - share) - 1e-9).ceil() as u64
}

fn empties(outcome: &Outcome) -> Option<f64> {
    let traffic = outcome.usage.traffic;
    // Of an answer at the edge of the window, the question may lie before it.
    (traffic.requests > 0)
        .then(|| 100.0 * traffic.empties.min(traffic.requests) as f64 / traffic.requests as f64)
}

/// Bytes that one publish sends; over a subscriber's own socket, all that the subscribers send.
fn upward(outcome: &Outcome) -> Option<f64> {
    let Variant { mode, publish, .. } = outcome.variant;
    let is_own = publish == Publish::Native && mode.properties().is_duplex;
    let (bytes, n) = match is_own {
        true => (outcome.usage.traffic.bytes_out, outcome.publishing.acked),
        false => (outcome.publishing.bytes_out, outcome.publishing.all),
    };
    (n > 0).then(|| bytes as f64 / n as f64)
}

/// The 99th percentile where no core stood still, if messages enough were due there.
fn calm(outcome: &Outcome) -> Option<f64> {
    let share = outcome.calm.count() as f64 / outcome.latency.count().max(1) as f64;
    let messages = outcome.publishing.acked as f64 * share;
    outcome
        .calm
        .ms(0.99)
        .filter(|_| messages >= messages_needed(0.99) as f64)
}

/// Messages that came together: in one answer of a poll, or in one read of a stream.
fn batch(outcome: &Outcome) -> Option<f64> {
    let traffic = outcome.usage.traffic;
    let batches = if outcome.variant.mode.properties().streams {
        traffic.reads
    } else {
        traffic.answers()
    };
    (batches > 0).then(|| outcome.usage.deliveries as f64 / batches as f64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::result::effect::Figure;
    use crate::result::outcome::tests::empty;
    use crate::result::variant::Transport;

    #[test]
    fn the_99th_percentile_needs_570_messages() {
        assert_eq!([0.5, 0.9, 0.99].map(messages_needed), [12, 57, 570]);
    }

    #[test]
    fn every_id_and_every_name_is_there_once_and_ids_are_fit_for_a_head_of_a_column() {
        let ids: BTreeSet<&str> = METRICS.iter().map(|metric| metric.id).collect();
        let names: BTreeSet<String> = METRICS.iter().map(Metric::name).collect();
        assert_eq!((ids.len(), names.len()), (METRICS.len(), METRICS.len()));
        assert!(ids.iter().all(|id| {
            id.bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        }));
        assert!(
            Figure::ALL
                .iter()
                .all(|figure| !figure.metric().label.is_empty())
        );
    }

    /// An outcome with something in every place that a figure is read from.
    fn measured() -> Outcome {
        let mut outcome = empty(Transport::LongPoll);
        let us = |us: u64| {
            let mut times = crate::result::histogram::Times::default();
            times.record(us * 1000);
            times
        };
        (
            outcome.latency,
            outcome.receive_delay,
            outcome.last,
            outcome.polls,
        ) = (us(1000), us(1100), us(1200), us(1300));
        outcome.publishing.own_send_delay = us(900);
        (outcome.publishing.acks, outcome.connects, outcome.wait_ks) =
            (us(1400), us(1500), Some(0.25));
        (outcome.publishing.bytes_out, outcome.publishing.all) = (600, 4);
        let usage = &mut outcome.usage;
        usage.deliveries = 10;
        (usage.server_cpu_ns, usage.loadgen_cpu_ns) = (Some(20_000), Some(30_000));
        (usage.server_user_ns, usage.machine_busy_ns) = (Some(5_000), Some(70_000));
        (usage.server_switches, usage.server_peak) = (Some(40), Some(3 << 20));
        (usage.proxy_cpu_ns, usage.proxy_peak) = (Some(25_000), Some(5 << 20));
        (usage.traffic.bytes_in, usage.traffic.bytes_out) = (800, 900);
        (
            usage.traffic.requests,
            usage.traffic.empties,
            usage.request_headers,
        ) = (8, 3, [50, 20]);
        let memory = |connections: usize, kib: u64| crate::result::usage::Memory {
            connections,
            server_pss: Some(kib << 10),
            server_anonymous: Some(kib << 9),
            proxy_pss: Some(kib << 12),
            kernel: kib << 11,
        };
        usage.memory = vec![
            memory(0, 0),
            memory(25, 75),
            memory(50, 150),
            memory(100, 300),
        ];
        outcome
    }

    /// What is read of `measured`.
    const READ: [(&str, f64); 34] = [
        ("latency_p50_ms", 1.0),
        ("latency_p90_ms", 1.0),
        ("latency_p99_ms", 1.0),
        ("latency_max_ms", 1.0),
        ("send_delay_p50_ms", 0.9),
        ("receive_delay_p50_ms", 1.1),
        ("receive_delay_p99_ms", 1.1),
        ("last_of_room_p50_ms", 1.2),
        ("poll_p99_ms", 1.3),
        ("publish_to_ack_p50_ms", 1.4),
        ("connect_p50_ms", 1.5),
        ("bytes_up_per_publish", 150.0),
        ("server_cpu_us", 2.0),
        ("server_user_cpu_us", 0.5),
        ("loadgen_cpu_us", 3.0),
        ("machine_busy_us", 7.0),
        ("server_switches", 4.0),
        ("proxy_cpu_us", 2.5),
        ("server_memory_kib", 3.0),
        ("server_anonymous_kib", 1.5),
        ("kernel_memory_kib", 6.0),
        ("server_peak_mib", 3.0),
        ("proxy_memory_kib", 12.0),
        ("proxy_peak_mib", 5.0),
        ("bytes_down", 80.0),
        ("bytes_up", 90.0),
        // Measured with a browser's headers; minimal ones are 30 bytes less in each request.
        ("bytes_up_browser", 90.0),
        ("bytes_up_minimal", 66.0),
        ("bytes_both", 170.0),
        ("bytes_link", 170.0),
        ("requests", 0.8),
        ("empty_answers_percent", 37.5),
        ("batch", 2.0),
        ("poll_wait_ks", 0.25),
    ];

    #[test]
    fn each_is_read_from_its_place() {
        let nothing = values(&empty(Transport::LongPoll));
        assert_eq!(nothing, BTreeMap::new(), "nothing was measured");
        let expected: BTreeMap<String, f64> = READ
            .iter()
            .map(|&(id, value)| (id.to_owned(), value))
            .collect();
        assert_eq!(values(&measured()), expected);
    }
}
