//! What the server has done so far, as `GET /stats` tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header;
use serde_json::json;

use crate::App;
use crate::log::{Batch, Published};

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) sockets: AtomicU64,
    pub(crate) slow_closes: AtomicU64,
    published: AtomicU64,
    duplicates: AtomicU64,
    deliveries: AtomicU64,
    batches: AtomicU64,
    empties: AtomicU64,
    gaps: AtomicU64,
}

impl Stats {
    pub(crate) fn published(&self, published: &Published) {
        let counter = if published.duplicate { &self.duplicates } else { &self.published };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn delivered(&self, batch: &Batch) {
        if batch.is_nothing() {
            self.empties.fetch_add(1, Relaxed);
            return;
        }
        self.batches.fetch_add(1, Relaxed);
        self.deliveries.fetch_add(batch.count() as u64, Relaxed);
        self.gaps.fetch_add(u64::from(batch.gap.is_some()), Relaxed);
    }
}

/// `GET /stats`.
pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let stats = &app.stats;
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    let body = json!({
        "name": crate::NAME,
        "version": crate::VERSION,
        "pid": std::process::id(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "rooms": app.rooms.count(),
        "subscribers": app.rooms.subscribers(),
        "connections": {
            "open": get(&stats.open), "ws": get(&stats.sockets), "accepted": get(&stats.accepted),
            "refused": get(&stats.refused), "slow_closes": get(&stats.slow_closes),
        },
        "published": get(&stats.published),
        "duplicates": get(&stats.duplicates),
        "deliveries": get(&stats.deliveries),
        "batches": get(&stats.batches),
        "empties": get(&stats.empties),
        "gaps": get(&stats.gaps),
    });
    json_response(&body)
}

/// `GET /healthz`: who answers here, and which protocol it speaks.
pub(crate) async fn healthz() -> Response {
    json_response(&json!({ "name": crate::NAME, "version": crate::VERSION, "protocol": crate::PROTOCOL }))
}

fn json_response(body: &serde_json::Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (headers, body.to_string()).into_response()
}
