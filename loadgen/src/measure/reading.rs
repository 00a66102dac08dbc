//! What a process and the machine have used and hold, as `/proc` says at one moment.

use std::collections::HashMap;
use std::fs;

use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::process::{Process, SmapsRollup};
use procfs::{CpuTime, Current, CurrentSI, KernelStats, Meminfo};

use crate::clock::{Nanos, nanos, now, time_of};
use crate::result::environment::Cores;
use crate::result::usage::{Memory, Ticks, Totals, Usage};

/// What was read at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    at: Nanos,
    server: Option<Paid>,
    loadgen_cpu: Option<Nanos>,
    /// By thread of loadgen.
    queued: HashMap<i32, Nanos>,
    machine_idle: Option<Nanos>,
    /// Of loadgen's cores alone.
    own_idle: Option<Nanos>,
    steal: Option<Nanos>,
    /// Of the machine.
    cores: u64,
    traffic: Totals,
    deliveries: u64,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
struct Paid {
    cpu: Nanos,
    ticks: Ticks,
    switches: u64,
    in_ticks: bool,
}

impl Reading {
    /// Reads everything now; `server` are its processes, if they are on this machine, `cores` are loadgen's.
    pub fn take(server: &[i32], cores: &[usize], traffic: Totals, deliveries: u64) -> Self {
        let stats = KernelStats::current().ok();
        let total = stats.as_ref().map(|stats| &stats.total);
        let idle = |time: &CpuTime| of_ticks(time.idle + time.iowait.unwrap_or(0));
        let own = |stats: &KernelStats| {
            cores
                .iter()
                .map(|&core| stats.cpu_time.get(core).map(idle))
                .sum()
        };
        Self {
            at: now(),
            server: Paid::by_all(server),
            // Of the whole process: the sum over its threads would forget those that have ended.
            loadgen_cpu: Some(time_of(rustix::time::ClockId::ProcessCPUTime)),
            queued: queued(),
            machine_idle: total.map(idle),
            own_idle: stats.as_ref().and_then(own),
            steal: total.and_then(|total| total.steal).map(of_ticks),
            cores: stats
                .as_ref()
                .map_or(1, |stats| stats.cpu_time.len() as u64),
            traffic,
            deliveries,
        }
    }
}

impl Paid {
    /// By several processes together; nothing if there are none, or one of them is gone.
    fn by_all(pids: &[i32]) -> Option<Self> {
        let all: Option<Vec<Self>> = pids.iter().map(|pid| Self::by(*pid)).collect();
        all?.into_iter().reduce(|a, b| Self {
            cpu: a.cpu + b.cpu,
            ticks: a.ticks + b.ticks,
            switches: a.switches + b.switches,
            in_ticks: a.in_ticks || b.in_ticks,
        })
    }

    /// By a process.
    fn by(pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        let stat = process.stat().ok()?;
        let mut switches = 0;
        // A thread may end between the listing and the look.
        for task in process.tasks().ok()?.flatten() {
            let status = task.status().ok();
            let both = status
                .and_then(|s| Some(s.voluntary_ctxt_switches? + s.nonvoluntary_ctxt_switches?));
            switches += both.unwrap_or(0);
        }
        let ticks = Ticks {
            user: stat.utime,
            system: stat.stime,
        };
        let clock = cpu_clock(pid);
        Some(Self {
            cpu: clock.unwrap_or_else(|| of_ticks(stat.utime + stat.stime)),
            ticks,
            switches,
            in_ticks: clock.is_none(),
        })
    }
}

/// The time that the kernel's ticks stand for.
fn of_ticks(ticks: u64) -> Nanos {
    ticks * (1_000_000_000 / procfs::ticks_per_second())
}

/// What a process has used by its own clock: also what threads used that have ended, which a sum over those that live
/// would forget.
fn cpu_clock(pid: i32) -> Option<Nanos> {
    let time = ClockId::pid_cpu_clock_id(Pid::from_raw(pid))
        .ok()?
        .now()
        .ok()?;
    Some(nanos(time.into()))
}

/// Reads now what the server and the kernel hold with this many connections.
pub fn memory(connections: usize, server_pss: Option<u64>) -> Memory {
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = sockets
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .unwrap_or_default();
    let pages: u64 = line
        .rsplit(' ')
        .next()
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    let slab = Meminfo::current().map_or(0, |memory| memory.slab);
    Memory {
        connections,
        server_pss,
        kernel: pages * procfs::page_size() + slab,
    }
}

/// Notes what lies between two readings.
pub fn note(usage: &mut Usage, from: &Reading, to: &Reading, cores: &Cores) {
    let wall = to.at.saturating_sub(from.at);
    let between = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
    usage.seconds = wall as f64 / 1e9;
    usage.deliveries = to.deliveries.saturating_sub(from.deliveries);
    if let (Some(from), Some(to)) = (from.server, to.server) {
        let cpu = to.cpu.saturating_sub(from.cpu);
        let ticks = Ticks {
            user: to.ticks.user.saturating_sub(from.ticks.user),
            system: to.ticks.system.saturating_sub(from.ticks.system),
        };
        usage.server_cpu_ns = Some(cpu);
        usage.server_ticks = Some(ticks);
        usage.server_user_ns = ticks.user_of(cpu);
        usage.server_switches = Some(to.switches.saturating_sub(from.switches));
        usage.in_ticks = to.in_ticks;
    }
    usage.loadgen_cpu_ns = between(from.loadgen_cpu, to.loadgen_cpu);
    let both = to
        .queued
        .iter()
        .filter_map(|(thread, queued)| Some(queued.saturating_sub(*from.queued.get(thread)?)));
    (usage.loadgen_queued_ns, usage.loadgen_threads) =
        both.fold((0, 0), |(sum, n), queued| (sum + queued, n + 1));
    usage.cores = to.cores;
    usage.loadgen_cores = cores.loadgen.len() as u64;
    let shared = usage
        .server_cpu_ns
        .filter(|_| cores.server.iter().any(|core| cores.loadgen.contains(core)));
    let busy = between(from.own_idle, to.own_idle)
        .map_or(0, |idle| (wall * usage.loadgen_cores).saturating_sub(idle));
    usage.others_ns =
        busy.saturating_sub(usage.loadgen_cpu_ns.unwrap_or(busy) + shared.unwrap_or(0));
    // Not the busy columns: they read 15 to 45 % low.
    let idle = between(from.machine_idle, to.machine_idle);
    usage.machine_busy_ns = idle.map(|idle| (wall * usage.cores).saturating_sub(idle));
    usage.steal_ns = between(from.steal, to.steal).unwrap_or(0);
    usage.traffic = to.traffic - from.traffic;
}

/// How long each thread of this process has waited for a core.
fn queued() -> HashMap<i32, Nanos> {
    let tasks = Process::myself().and_then(|process| process.tasks());
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| Some((task.tid, task.schedstat().ok()?.run_delay)))
        .collect()
}

/// Proportional set size of a process, in bytes.
pub fn pss(pid: i32) -> Option<u64> {
    let SmapsRollup { memory_map_rollup } = Process::new(pid).ok()?.smaps_rollup().ok()?;
    memory_map_rollup
        .into_iter()
        .next()?
        .extension
        .map
        .get("Pss")
        .copied()
}

/// The most memory a process ever had, in bytes.
pub fn peak(pid: i32) -> Option<u64> {
    Process::new(pid)
        .ok()?
        .status()
        .ok()?
        .vmhwm
        .map(|kib| kib * 1024)
}
