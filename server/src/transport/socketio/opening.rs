//! What the mount knows of a session, from its first request on; the library keeps it with the session, for its life.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use socketioxide::SocketIo;
use socketioxide::socket::Sid;
use tokio::time::Instant;

use super::QUEUE;
use crate::connections::Open;
use crate::query::Query;

/// Places of a queue that are the library's own: a session ends for want of one for its ping, and an upgrade waits for one.
const KEPT: usize = 4;

pub(super) struct Opening {
    /// From when on the library pings.
    pub(super) time: Instant,
    /// The place that the session has.
    _place: Option<Open>,
    /// Packets emitted since the newest poll began, which took what was there: no more than so many wait.
    waiting: AtomicUsize,
}

impl Opening {
    pub(super) fn new(place: Option<Open>) -> Arc<Self> {
        Arc::new(Self {
            time: Instant::now(),
            _place: place,
            waiting: AtomicUsize::new(0),
        })
    }

    /// Of the session that is asked for, once its client is in a room: before that, nothing is emitted.
    pub(super) fn of(query: &Query<'_>, io: &SocketIo) -> Option<Arc<Self>> {
        let sid: Sid = query.get("sid")?.parse().ok()?;
        let socket = io.get_socket(sid)?;
        socket.req_parts().extensions.get().cloned()
    }

    /// A poll begins.
    pub(super) fn is_polled(&self) {
        self.waiting.store(0, Relaxed);
    }

    /// A packet was emitted.
    pub(super) fn is_emitted(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// Whether as much waits for a poll as may.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.load(Relaxed) >= QUEUE - KEPT
    }
}
