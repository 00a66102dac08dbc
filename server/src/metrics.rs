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
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::App;
use crate::output;
use crate::stats::{Traffic, Transport, tasks};

/// `GET /metrics`.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let mut registry = Registry::with_prefix("workbench");
    registry.register_collector(Box::new(Snapshot(app)));
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to memory cannot fail");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4"), (header::CACHE_CONTROL, "no-store")], text).into_response()
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
        use MetricType::{Counter, Gauge};
        let Self(app) = self;
        let (stats, connections, usage) = (&app.stats, &app.connections, app.rooms.usage());
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        for (name, kind, help, value) in [
            ("accepted", Counter, "connections accepted", get(&connections.accepted)),
            ("refused", Counter, "connections refused, there being as many as there may be", get(&connections.refused)),
            ("slow_closes", Counter, "connections cut because the peer did not read", get(&connections.slow_closes)),
            ("published", Counter, "messages stored", get(&stats.published)),
            ("duplicates", Counter, "messages whose key was stored before", get(&stats.duplicates)),
            ("log_lines_lost", Counter, "lines of the log that could not be written", output::lost()),
            ("connections", Gauge, "connections open, whatever they are used for", connections.open() as u64),
            ("rooms", Gauge, "rooms", usage.rooms as u64),
            ("retained_messages", Gauge, "messages retained in all rooms", usage.messages as u64),
            ("retained_bytes", Gauge, "bytes of messages retained in all rooms", usage.bytes as u64),
            (
                "retention_fullest_percent",
                Gauge,
                "how much of what it may retain the fullest room has, in percent",
                usage.fullest_percent as u64,
            ),
            ("shed", Counter, "messages that went early because memory was short", usage.shed),
            ("memory_refusals", Counter, "things for which there was no memory", app.memory.refused()),
            ("tasks", Gauge, "tasks alive in the runtime", tasks() as u64),
            ("uptime_seconds", Gauge, "time since the start", app.started.elapsed().as_secs()),
        ] {
            tell(&mut out, name, kind, help, "", &[("", value)])?;
        }
        for (name, help, counter) in Traffic::COUNTERS {
            let each = Transport::ALL.map(|(transport, name)| (name, get(counter(stats.of(transport)))));
            tell(&mut out, name, Counter, help, "transport", &each)?;
        }
        let open = Transport::ALL.map(|(transport, name)| (name, stats.of(transport).open()));
        tell(&mut out, "streams", Gauge, "streams and held polls open", "transport", &open)?;
        let pools = app.memory.pools();
        let used = pools.map(|(name, pool)| (name, pool.used() as u64));
        tell(&mut out, "memory_used_bytes", Gauge, "memory in use, by what it is for", "pool", &used)?;
        let limits = pools.map(|(name, pool)| (name, pool.limit() as u64));
        tell(&mut out, "memory_limit_bytes", Gauge, "how much of it there may be (--memory)", "pool", &limits)?;
        let refusals: Vec<(String, u64)> =
            stats.refusals().into_iter().map(|(status, count)| (status.to_string(), count)).collect();
        tell(&mut out, "refusals", Counter, "requests refused, by HTTP status", "status", &refusals)
    }
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
        let labels: &[_] = if label.is_empty() { &[] } else { &[(label, of.as_ref())] };
        let mut one = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => one.encode_counter::<NoLabelSet, _, u64>(value, None)?,
            _ => one.encode_gauge(value)?,
        }
    }
    Ok(())
}
