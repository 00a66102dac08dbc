//! `GET /metrics`: the counters of [`crate::stats`] for Prometheus, in its text format.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};
use prometheus_client::registry::Registry;

use crate::App;
use crate::output;
use crate::stats::{Traffic, tasks};

/// `GET /metrics`.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let mut registry = Registry::with_prefix("workbench");
    registry.register_collector(Box::new(Snapshot(app)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to memory cannot fail");
    (
        [
            (header::CONTENT_TYPE, "text/plain; version=0.0.4"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        text,
    )
        .into_response()
}

/// Reads everything when it is asked: what is counted needs no handle in the registry.
struct Snapshot(Arc<App>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_connections(&mut out)?;
        self.of_rooms(&mut out)?;
        self.of_transports(&mut out)?;
        self.of_memory(&mut out)
    }
}

impl Snapshot {
    fn of_connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = &self.0.connections;
        let mut count =
            |name, help, counter: &AtomicU64| one(out, name, Counter, help, get(counter));
        count("accepted", "connections accepted", &connections.accepted)?;
        count(
            "refused",
            "connections refused, there being as many as there may be",
            &connections.refused,
        )?;
        count(
            "slow_closes",
            "connections cut because the peer did not read",
            &connections.slow_closes,
        )?;
        let open = connections.open() as u64;
        one(
            out,
            "connections",
            Gauge,
            "connections open, whatever they are used for",
            open,
        )?;
        one(
            out,
            "tasks",
            Gauge,
            "tasks alive in the runtime",
            tasks() as u64,
        )?;
        one(
            out,
            "uptime_seconds",
            Gauge,
            "time since the start",
            self.0.started.elapsed().as_secs(),
        )?;
        one(
            out,
            "log_lines_lost",
            Counter,
            "lines of the log that could not be written",
            output::lost(),
        )
    }

    fn of_rooms(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const FULLEST: &str = "how much of what it may retain the fullest room has, in percent";
        let (stats, usage) = (&self.0.stats, self.0.rooms.usage());
        one(
            out,
            "published",
            Counter,
            "messages stored",
            get(&stats.published),
        )?;
        one(
            out,
            "duplicates",
            Counter,
            "messages whose key was stored before",
            get(&stats.duplicates),
        )?;
        one(out, "rooms", Gauge, "rooms", usage.rooms as u64)?;
        one(
            out,
            "retained_messages",
            Gauge,
            "messages retained in all rooms",
            usage.messages as u64,
        )?;
        one(
            out,
            "retained_bytes",
            Gauge,
            "bytes of messages retained in all rooms",
            usage.bytes as u64,
        )?;
        one(
            out,
            "retention_fullest_percent",
            Gauge,
            FULLEST,
            usage.fullest_percent as u64,
        )?;
        one(
            out,
            "shed",
            Counter,
            "messages that went early because memory was short",
            usage.shed,
        )
    }

    fn of_transports(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let stats = &self.0.stats;
        for (name, help, counter) in Traffic::COUNTERS {
            let each = stats.each(|traffic| get(counter(traffic)));
            tell(out, name, Counter, help, "transport", &each)?;
        }
        let open = stats.each(Traffic::open);
        tell(
            out,
            "streams",
            Gauge,
            "streams and held polls open",
            "transport",
            &open,
        )?;
        let refusals = stats
            .refusals()
            .into_iter()
            .map(|(status, count)| (status.to_string(), count));
        let refusals: Vec<(String, u64)> = refusals.collect();
        tell(
            out,
            "refusals",
            Counter,
            "requests refused, by HTTP status",
            "status",
            &refusals,
        )
    }

    fn of_memory(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let memory = &self.0.memory;
        let used = memory
            .pools()
            .map(|(name, pool)| (name, pool.used() as u64));
        tell(
            out,
            "memory_used_bytes",
            Gauge,
            "memory in use, by what it is for",
            "pool",
            &used,
        )?;
        let limits = memory
            .pools()
            .map(|(name, pool)| (name, pool.limit() as u64));
        tell(
            out,
            "memory_limit_bytes",
            Gauge,
            "how much of it there may be (--memory)",
            "pool",
            &limits,
        )?;
        one(
            out,
            "memory_refusals",
            Counter,
            "things for which there was no memory",
            memory.refused(),
        )
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// One metric without a label.
fn one(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    kind: MetricType,
    help: &str,
    value: u64,
) -> fmt::Result {
    tell(out, name, kind, help, "", &[("", value)])
}

/// One metric, for each value of its label if it has one.
fn tell(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    kind: MetricType,
    help: &str,
    label: &str,
    values: &[(impl AsRef<str>, u64)],
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, kind)?;
    for (of, value) in values {
        let labels: &[_] = if label.is_empty() {
            &[]
        } else {
            &[(label, of.as_ref())]
        };
        let mut one = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => one.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            _ => one.encode_gauge(value)?,
        }
    }
    Ok(())
}
