//! What the server has done so far: the counters, and `GET /stats`, which tells them as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use parking_lot::Mutex;
use serde_json::json;
use strum::{IntoStaticStr, VariantArray};

use crate::App;
use crate::error::JSON;
use crate::memory::Memory;
use crate::output;
use crate::rooms::{Batch, Published};

/// The transports, as far as they are counted.
#[derive(Clone, Copy, Debug, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Transport {
    ShortPoll,
    LongPoll,
    Sse,
    Ws,
    Socketio,
}

impl Transport {
    /// The name it goes by everywhere.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// What went over one transport. On cache lines of its own: another core may be busy with another transport.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Traffic {
    open: AtomicU64,
    deliveries: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    empties: AtomicU64,
    gaps: AtomicU64,
}

/// How a counter of a transport is called, what it counts, and where it is.
pub(crate) type TrafficCounter = (&'static str, &'static str, fn(&Traffic) -> &AtomicU64);

impl Traffic {
    pub(crate) const COUNTERS: [TrafficCounter; 5] = [
        ("deliveries", "messages given to subscribers", |traffic| {
            &traffic.deliveries
        }),
        ("batches", "writes and answers that held them", |traffic| {
            &traffic.batches
        }),
        (
            "bytes",
            "bytes of them, encoded for the transport, without HTTP heads",
            |traffic| &traffic.bytes,
        ),
        ("empties", "answers that held nothing", |traffic| {
            &traffic.empties
        }),
        ("gaps", "gaps told", |traffic| &traffic.gaps),
    ];

    /// Counts what a read returned and how many bytes it was; for an empty one a single addition.
    pub(crate) fn delivered(&self, batch: &Batch, bytes: usize) {
        if batch.is_nothing() {
            self.empties.fetch_add(1, Relaxed);
            return;
        }
        self.batches.fetch_add(1, Relaxed);
        self.deliveries.fetch_add(batch.count() as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        if batch.gap.is_some() {
            self.gaps.fetch_add(1, Relaxed);
        }
    }

    /// How many streams and held polls are open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }
}

/// Counts a stream or a held poll as open for as long as it lives.
pub(crate) struct Streaming(Arc<Traffic>);

impl Streaming {
    pub(crate) fn over(traffic: &Arc<Traffic>) -> Self {
        traffic.open.fetch_add(1, Relaxed);
        Self(Arc::clone(traffic))
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) published: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    traffic: [Arc<Traffic>; Transport::VARIANTS.len()],
    refusals: Mutex<BTreeMap<u16, u64>>,
}

impl Stats {
    pub(crate) fn of(&self, transport: Transport) -> &Arc<Traffic> {
        &self.traffic[transport as usize]
    }

    /// A figure of each transport's traffic, with the transport's name.
    pub(crate) fn each(&self, figure: impl Fn(&Traffic) -> u64) -> Vec<(&'static str, u64)> {
        let transports = Transport::VARIANTS.iter();
        transports
            .map(|&transport| (transport.name(), figure(self.of(transport))))
            .collect()
    }

    /// Whether anybody has polled, ever.
    pub(crate) fn has_polls(&self) -> bool {
        // Of Socket.IO's sessions some may poll.
        let polls = [
            Transport::ShortPoll,
            Transport::LongPoll,
            Transport::Socketio,
        ];
        let polls = polls.map(|transport| self.of(transport));
        polls
            .iter()
            .any(|traffic| traffic.batches.load(Relaxed) + traffic.empties.load(Relaxed) > 0)
    }

    pub(crate) fn published(&self, published: &Published) {
        let counter = if published.duplicate {
            &self.duplicates
        } else {
            &self.published
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a request that was refused.
    pub(crate) fn refusal(&self, status: StatusCode) {
        *self.refusals.lock().entry(status.as_u16()).or_default() += 1;
    }

    /// Requests refused so far, by status.
    pub(crate) fn refusals(&self) -> BTreeMap<u16, u64> {
        self.refusals.lock().clone()
    }
}

/// `GET /stats`.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let (stats, connections) = (&app.stats, &app.connections);
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    let usage = app.rooms.usage();
    let mut body = json!({
        "name": crate::NAME,
        "version": crate::VERSION,
        "pid": std::process::id(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "tasks": tasks(),
        "rooms": usage.rooms,
        "subscribers": usage.subscribers,
        "memory": memory(&app.memory, usage.shed),
        "retained": { "messages": usage.messages, "bytes": usage.bytes, "fullest_percent": usage.fullest_percent },
        "connections": {
            "open": connections.open(), "ws": stats.of(Transport::Ws).open(), "accepted": get(&connections.accepted),
            "refused": get(&connections.refused), "slow_closes": get(&connections.slow_closes),
        },
        "refusals": stats.refusals(),
        "published": get(&stats.published),
        "duplicates": get(&stats.duplicates),
        "log_lines_lost": output::lost(),
    });
    for (name, open) in stats.each(Traffic::open) {
        body["transports"][name]["open"] = open.into();
    }
    for (what, _, counter) in Traffic::COUNTERS {
        let each = stats.each(|traffic| get(counter(traffic)));
        body[what] = each.iter().map(|(_, count)| count).sum::<u64>().into();
        each.iter()
            .for_each(|&(name, count)| body["transports"][name][what] = count.into());
    }
    (JSON, body.to_string()).into_response()
}

fn memory(memory: &Memory, shed: u64) -> serde_json::Value {
    let mut body = json!({ "shed_messages": shed, "refused": memory.refused() });
    for (name, pool) in memory.pools() {
        body[name] = json!({ "used": pool.used(), "limit": pool.limit() });
    }
    body
}

/// Tasks that are alive now.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// `GET /healthz`: who answers here, which one of several, and which protocol it speaks.
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> Response {
    let body = json!({
        "name": crate::NAME,
        "version": crate::VERSION,
        "protocol": crate::PROTOCOL,
        "instance": app.instance,
    });
    (JSON, body.to_string()).into_response()
}
