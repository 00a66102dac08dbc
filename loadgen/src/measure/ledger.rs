//! At what price: CPU, memory, bytes and requests, from `/proc` and the clients' sockets, on Linux without root.

use procfs::process::{Process, SmapsRollup};
use procfs::{CurrentSI, KernelStats};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};

use crate::client::Totals;
use crate::clock::{Nanos, now, time_of};

/// What was read at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Nanos,
    server_cpu: Option<Nanos>,
    loadgen_cpu: Option<Nanos>,
    machine_idle: Option<Nanos>,
    traffic: Totals,
    deliveries: u64,
}

impl Reading {
    /// Reads everything now; `server` is its process, if it is on this machine.
    pub fn take(server: Option<i32>, traffic: Totals, deliveries: u64) -> Self {
        Self {
            at: now(),
            server_cpu: server.and_then(cpu),
            // Of the whole process: the sum over its threads would forget those that have ended.
            loadgen_cpu: Some(time_of(ClockId::ProcessCPUTime)),
            machine_idle: machine_idle(),
            traffic,
            deliveries,
        }
    }
}

/// What happened between two readings, and the memory of idle connections.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Ledger {
    /// Wall time between the readings, in seconds.
    pub seconds: f64,
    /// Deliveries received between them.
    pub deliveries: u64,
    /// CPU time of the server, user and system, in nanoseconds.
    pub server_cpu_ns: Option<u64>,
    /// CPU time of loadgen.
    pub loadgen_cpu_ns: Option<u64>,
    /// Time the machine's cores were not idle.
    pub machine_busy_ns: Option<u64>,
    /// Traffic of the subscribers.
    pub traffic: Totals,
    /// Proportional set size of the server before anybody connected, in bytes.
    pub server_pss_empty: Option<u64>,
    /// The same with everybody connected and idle.
    pub server_pss_idle: Option<u64>,
    /// How many connections that were.
    pub idle_connections: u64,
}

impl Ledger {
    /// Books what lies between two readings.
    pub fn book(&mut self, from: &Reading, to: &Reading) {
        let wall = to.at - from.at;
        let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
        self.seconds = wall as f64 / 1e9;
        self.deliveries = to.deliveries - from.deliveries;
        self.server_cpu_ns = between(from.server_cpu, to.server_cpu);
        self.loadgen_cpu_ns = between(from.loadgen_cpu, to.loadgen_cpu);
        // Not the busy columns: they read 15 to 45 % low.
        let idle = between(from.machine_idle, to.machine_idle);
        self.machine_busy_ns = idle.map(|idle| (wall * cores()).saturating_sub(idle));
        self.traffic = to.traffic - from.traffic;
    }

    /// Adds another trial's.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: &mut Option<u64>, b: Option<u64>| *a = a.zip(b).map(|(a, b)| a + b);
        self.seconds += other.seconds;
        self.deliveries += other.deliveries;
        sum(&mut self.server_cpu_ns, other.server_cpu_ns);
        sum(&mut self.loadgen_cpu_ns, other.loadgen_cpu_ns);
        sum(&mut self.machine_busy_ns, other.machine_busy_ns);
        sum(&mut self.server_pss_empty, other.server_pss_empty);
        sum(&mut self.server_pss_idle, other.server_pss_idle);
        self.traffic = self.traffic + other.traffic;
        self.idle_connections += other.idle_connections;
    }

    /// A sum per delivery.
    pub fn per_delivery(&self, sum: u64) -> Option<f64> {
        (self.deliveries > 0).then(|| sum as f64 / self.deliveries as f64)
    }

    /// Server CPU per delivery, user and system, in microseconds.
    pub fn server_us(&self) -> Option<f64> {
        Some(self.per_delivery(self.server_cpu_ns?)? / 1e3)
    }

    /// Time of the machine's cores per delivery, in microseconds.
    pub fn machine_us(&self) -> Option<f64> {
        Some(self.per_delivery(self.machine_busy_ns?)? / 1e3)
    }

    /// Server memory per idle connection, in KiB.
    pub fn memory_kib(&self) -> Option<f64> {
        let grown = self.server_pss_idle?.saturating_sub(self.server_pss_empty?) as f64 / 1024.0;
        (self.idle_connections > 0).then(|| grown / self.idle_connections as f64)
    }
}

/// CPU time of a process: the sum over its threads, in nanoseconds.
fn cpu(pid: i32) -> Option<Nanos> {
    let tasks = Process::new(pid).ok()?.tasks().ok()?;
    // A thread may end between the listing and the look; a kernel without these figures has them for none.
    let times: Vec<Nanos> = tasks.flatten().filter_map(|task| Some(task.schedstat().ok()?.sum_exec_runtime)).collect();
    (!times.is_empty()).then(|| times.iter().sum())
}

fn machine_idle() -> Option<Nanos> {
    let total = KernelStats::current().ok()?.total;
    Some((total.idle + total.iowait.unwrap_or(0)) * (1_000_000_000 / procfs::ticks_per_second()))
}

/// How many cores the machine has.
pub fn cores() -> u64 {
    KernelStats::current().map_or(1, |stats| stats.cpu_time.len() as u64)
}

/// Proportional set size of a process, in bytes.
pub fn pss(pid: i32) -> Option<u64> {
    let SmapsRollup { memory_map_rollup } = Process::new(pid).ok()?.smaps_rollup().ok()?;
    memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()
}
