//! What goes wrong with connections, one line each on standard error: at most one of a kind in ten seconds, then how
//! many more.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::warn;

use crate::App;
use crate::output;

/// What is said of a kind of problem within this time: its first case, and at the end how many there were besides.
const PERIOD: Duration = Duration::from_secs(10);

/// This many characters of a detail are shown: it may be anything that a peer sent, and of any length.
const SHOWN: usize = 100;

/// The kinds of problems.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Problem {
    /// No descriptor is left, or no memory.
    Accept,
    /// A peer that is there no more, or does not read.
    Cut,
    /// A page of another origin.
    Foreign,
    /// One more than `--max-connections`.
    Full,
    /// Neither HTTP nor RFC 6455, or too big.
    Malformed,
    /// More than `--memory`: counted where it happens, told once a second.
    Memory,
}

impl Problem {
    const ALL: [Self; 6] = [
        Self::Accept,
        Self::Cut,
        Self::Foreign,
        Self::Full,
        Self::Malformed,
        Self::Memory,
    ];
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "a connection could not be accepted",
            Self::Cut => "a peer was cut",
            Self::Foreign => "a foreign page was refused",
            Self::Full => "a connection was refused, for there are as many as there may be",
            Self::Malformed => "a connection was closed for what it sent",
            Self::Memory => "memory was short (--memory)",
        })
    }
}

/// How many of each kind there were since its last line. Zero: the next one gets a line.
#[derive(Debug, Default)]
pub(crate) struct Problems([AtomicU64; Problem::ALL.len()]);

impl Problems {
    /// Says how many were kept back, of one kind.
    fn sum_up(&self, problem: Problem) {
        let more = self.0[problem as usize].swap(0, Relaxed).saturating_sub(1);
        if more > 0 {
            warn!(more, "{problem}");
        }
    }

    /// The same of every kind, when there is no time left to wait for the end of a period.
    pub(crate) fn end(&self) {
        Problem::ALL
            .iter()
            .for_each(|&problem| self.sum_up(problem));
    }
}

impl App {
    /// Tells one problem, of which the detail is escaped.
    pub(crate) fn problem(
        self: &Arc<Self>,
        problem: Problem,
        peer: Option<SocketAddr>,
        detail: &str,
    ) {
        if self.problems.0[problem as usize].fetch_add(1, Relaxed) > 0 {
            return;
        }
        let detail: String = detail.chars().take(SHOWN).collect();
        warn!(
            peer = peer.map(tracing::field::display),
            detail, "{problem}"
        );
        let app = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(PERIOD).await;
            app.problems.sum_up(problem);
        });
    }

    /// How a connection ended, if that is worth a line: a peer that merely went away is none.
    pub(crate) fn ended(self: &Arc<Self>, peer: Option<SocketAddr>, error: &(dyn Error + 'static)) {
        let cause = error.source().unwrap_or(error);
        if cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        {
            self.problem(Problem::Cut, peer, &cause.to_string());
        } else if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            self.problem(Problem::Malformed, peer, &error.to_string());
        }
    }
}

/// Lines from this level on go to standard error.
pub(crate) fn start(level: LevelFilter) {
    // A second server in one process writes to the same place.
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false);
    let _ = lines
        .log_internal_errors(false)
        .with_writer(|| output::Log)
        .try_init();
}
