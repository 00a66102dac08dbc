//! Whether this process and this machine have room for a load, whatever its single numbers are.

use anyhow::{Result, bail, ensure};

use crate::result::bounds::MAX_PUBLISH_RATE;
use crate::result::scenario::Scenario;

/// Descriptors that are not for clients and publishers.
pub(crate) const SPARE_DESCRIPTORS: u64 = 100;

/// What this process and this machine have to give.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    /// Files that may be open.
    pub files: u64,
    /// Bytes of memory that are free.
    pub memory: u64,
}

impl Capacity {
    /// Looks.
    pub fn here() -> Self {
        use procfs::{Current, Meminfo};
        use rustix::process::{Resource, getrlimit};
        let free = Meminfo::current()
            .ok()
            .and_then(|memory| memory.mem_available);
        Self {
            files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            memory: free.unwrap_or(u64::MAX),
        }
    }
}

/// Bytes of a histogram of times: 23 powers of two of 1024 counts each.
const HISTOGRAM: u64 = 188 * 1024;
/// Bytes that one message takes until the trial is settled: what became of it.
const MESSAGE: u64 = 512;
/// And bytes for each worker that sees it.
const SEEN: u64 = 64;
/// Bytes of a client: its socket's wrapper, its task and its library's buffers.
const CLIENT: u64 = 32 * 1024;
/// And of its connection at a server: most of what an ordinary one takes.
const CONNECTION: u64 = 136 * 1024;

impl Capacity {
    /// How many clients a trial can have beside so many publishers.
    pub fn clients(self, publishers: u64) -> u64 {
        let files = self.files.saturating_sub(SPARE_DESCRIPTORS);
        files.saturating_sub(publishers)
    }
}

/// How many servers, each with all the clients of a load, this process has room for at once.
pub fn servers(scenario: &Scenario, capacity: Capacity) -> usize {
    let each = (scenario.clients + scenario.publishers()) as u64;
    let left = capacity.clients(0);
    let memory = capacity.memory / (each * (CLIENT + CONNECTION));
    usize::try_from(memory.min(left / each)).unwrap_or(usize::MAX)
}

/// Refuses a load that this machine has no room for, whatever its single numbers are; names the flag that is at fault.
pub fn check(scenario: &Scenario, capacity: Capacity) -> Result<()> {
    let (clients, publishers) = (scenario.clients, scenario.publishers());
    let left = capacity.clients(0);
    let files = format!(
        "this process may open {} files (ulimit -n), enough for",
        capacity.files
    );
    ensure!(
        (publishers as u64) < left,
        "--publishers {publishers}: {files} {} publishers",
        left.saturating_sub(1)
    );
    let most = capacity.clients(publishers as u64);
    ensure!(
        clients as u64 <= most,
        "--clients {clients}: {files} {most} clients"
    );
    let rate = scenario.publish_rate();
    ensure!(
        rate <= MAX_PUBLISH_RATE,
        "--rate {}: {rate:.0} messages/s over {} rooms; at most {MAX_PUBLISH_RATE} can be scheduled",
        scenario.rate,
        scenario.rooms()
    );
    let seconds = (scenario.warmup() + scenario.duration()).as_secs_f64();
    let messages = rate * seconds;
    ensure!(
        messages < f64::from(u32::MAX),
        "--rate {}: {messages:.0} messages in {seconds:.0} s; at most {} can be told apart",
        scenario.rate,
        u32::MAX
    );
    // Each worker has a histogram for each second, and twice as many are there when they are brought together.
    let copies = crate::cores::available().len() as u64 + 2;
    let needs = [
        (
            "--duration",
            (scenario.duration().as_secs() + 20) * copies * HISTOGRAM,
            "histograms of every second",
        ),
        (
            "--rate",
            messages as u64 * (MESSAGE + copies * SEEN),
            "what became of every message",
        ),
        ("--clients", clients as u64 * CLIENT, "clients"),
    ];
    let all: u64 = needs.iter().map(|(_, bytes, _)| bytes).sum();
    if all > capacity.memory
        && let Some((flag, bytes, what)) = needs.iter().max_by_key(|(_, bytes, _)| bytes)
    {
        bail!(
            "{flag}: the {what} need {:.1} GiB, the whole load {:.1} GiB, and {:.1} GiB are free; lower {flag}",
            gib(*bytes),
            gib(all),
            gib(capacity.memory)
        );
    }
    Ok(())
}

/// Bytes in GiB.
pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests;
