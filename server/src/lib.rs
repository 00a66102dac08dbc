//! One chat over several transports, on one shared message log.
//!
//! The log (`log`) is the only shared state: a subscriber, of any transport, is a `cursor::Cursor` into it plus a
//! wake-up. There are no queues per connection. A reader that is slow finds a longer batch when it comes back, and
//! one that fell behind what is retained is told what it missed.
//!
//! The way of a message:
//!
//! 1. `accept` takes the connection (deadlines, the drain) if `connections` has a place for it, and `conn` puts its
//!    writes under a deadline;
//! 2. `publish` checks the `message::Draft` and appends it through `rooms` to the room's log, which gives it a seq,
//!    encodes it once (`message` is the only place that encodes) and wakes the readers, in shards;
//! 3. each transport (`transport/*`, one file each, none knows another) reads the room or subscribes to it, and gets
//!    batches: everything after its cursor, merged once per format and shared by all who stand at the same place. It
//!    writes each with one write.
//!
//! `rooms.append`, `read` and `subscribe` are async and may fail: they are all that transports and publishing see of
//! rooms and logs, and the place where access will be decided.
//!
//! The hot path is the third step, and all it does is one `send` for each subscriber: a publish wakes the readers in
//! steps small enough that tokio looks for I/O between them (`log/wake.rs`); who wakes takes the one run of bytes that
//! all at the same cursor share (`log/batch.rs`), with everything that is pending, so that under load the writes grow
//! and not their number; nobody copies, encodes or starts a timer for a single delivery. `cargo bench -p server` holds
//! it against a bare `write` loop.
//!
//! A drain goes the other way: `heartbeat` tells idle connections, closing the logs ends every subscription once it
//! has delivered what is there.
//!
//! `memory` is the one bound on what all clients together may make the server hold.
//!
//! Around it: `stream` (a socket, or the end of a tap's `relay`), `access` (which hosts it answers for, which pages may),
//! `answer` (a batch as the answer to a poll), `query` and `error` (what is accepted and how a refusal reads), `stats`
//! and `metrics` (what was done), `problems` (what is logged) and `output` (how it is printed), `pages` (the demo pages
//! in `static/`), `tap` and `distance` (what such a page sees of its own connections, and how far away it pretends to
//! be), [`Config`] (the flags).

mod accept;
mod access;
mod answer;
mod config;
mod conn;
mod connections;
mod cursor;
mod deadline;
mod distance;
mod error;
#[cfg(feature = "faults")]
mod faults;
mod heartbeat;
mod log;
mod memory;
mod message;
mod metrics;
mod output;
mod pages;
mod presence;
mod problems;
mod publish;
mod query;
mod relay;
mod rooms;
mod run;
mod stats;
mod stream;
mod tap;
mod transport;
mod upgrade;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use tokio::net::TcpListener;

pub use crate::config::Config;
use crate::connections::Connections;
use crate::error::ApiError;
use crate::heartbeat::Heartbeat;
use crate::memory::{Full, Memory};
use crate::message::Format;
use crate::problems::Problems;
use crate::rooms::{Batch, Rooms};
pub use crate::run::{Options, run};
use crate::stats::Stats;

/// What `/healthz` and `/stats` call this server.
const NAME: &str = "transport-workbench";
/// Its version.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The version of the protocol it speaks.
const PROTOCOL: u32 = 1;

/// What every handler shares.
pub(crate) struct App {
    config: Config,
    rooms: Rooms,
    stats: Stats,
    heartbeat: Heartbeat,
    taps: Arc<tap::Taps>,
    problems: Problems,
    presence: Arc<presence::Presence>,
    memory: Memory,
    hosts: access::Hosts,
    connections: Arc<Connections>,
    #[cfg(feature = "faults")]
    faults: faults::Faults,
    started: Instant,
    /// Drawn at the start: by it a client sees behind a balancer whether the same server answers.
    instance: String,
}

impl App {
    /// A batch as a transport is to write it.
    fn encode(&self, batch: &Batch, format: &'static Format) -> Result<Bytes, Full> {
        #[cfg(feature = "faults")]
        if let Some(bytes) = self.faults.tamper(batch, format) {
            return Ok(bytes);
        }
        self.rooms.encode(batch, format)
    }
}

/// A server that listens and waits to be run.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    addr: SocketAddr,
}

impl Server {
    /// Opens the listening socket. Must be called within a tokio runtime. `InvalidInput`: the flags do not go together.
    pub fn bind(config: Config) -> io::Result<Self> {
        let limits = config.limits(run::descriptor_limit(), run::machine_memory() / 4);
        let limits =
            limits.map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
        let listener = accept::listen(config.addr(), 2 * config.heartbeat, config.unsent)?;
        let addr = listener.local_addr()?;
        let memory = Memory::new(limits.memory);
        let app = App {
            rooms: Rooms::new(config.max_rooms, config.retention(), &memory),
            stats: Stats::default(),
            heartbeat: Heartbeat::new(),
            taps: tap::Taps::new(limits.taps),
            problems: Problems::default(),
            presence: Arc::default(),
            hosts: config.hosts(addr.ip()),
            memory,
            connections: Connections::new(limits.connections),
            #[cfg(feature = "faults")]
            faults: faults::Faults::new(&config.faults),
            started: Instant::now(),
            instance: format!("{:016x}", fastrand::u64(..)),
            config,
        };
        Ok(Self {
            app: Arc::new(app),
            listener,
            addr,
        })
    }

    /// Where it can be reached from this machine: the loopback address if it listens on all.
    pub fn addr(&self) -> SocketAddr {
        config::reachable(self.addr)
    }

    /// What it says of where it listens: a URL to open, and what else there is to know of it.
    fn location(&self) -> String {
        let (given, addr) = (&self.app.config.host.given, self.addr());
        if self.addr.ip().is_unspecified() {
            format!("http://{addr}; it listens on every address of this machine ({given})")
        } else if given.parse::<IpAddr>().is_err() {
            format!("http://{given}:{}; it listens on {addr}", addr.port())
        } else {
            format!("http://{addr}")
        }
    }

    /// Serves until `shutdown` completes, then drains; returns within 10 s of it.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let routes = routes(Arc::clone(&self.app));
        accept::serve(self.app, self.listener, routes, shutdown).await;
    }
}

fn routes(app: Arc<App>) -> Router {
    let routes = transport::routes(&app)
        .route("/messages", post(publish::handle).options(publish::may_i))
        .route("/presence", get(presence::handle))
        .route("/stats", get(stats::handle))
        .route("/tap", get(tap::handle))
        .route("/metrics", get(metrics::handle))
        .route("/healthz", get(stats::healthz))
        .fallback(pages::handle)
        .method_not_allowed_fallback(async || ApiError::wrong_method(None));
    // Only where origins are named: its headers would stand in every answer, and in everybody's bytes per delivery.
    let routes = match app.config.allow_origin.as_slice() {
        [] => routes,
        named => routes.layer(access::cors(named)),
    };
    routes.with_state(app)
}
