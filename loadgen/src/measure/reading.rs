//! What a process and the machine have used and hold, as `/proc` says at one moment.

use std::collections::HashMap;
use std::fs;

use procfs::process::{Process, SmapsRollup};
use procfs::{CpuTime, Current, CurrentSI, KernelStats, Meminfo};
use rustix::time::ClockId;

use super::ledger::{Memory, Ticks};
use crate::client::Totals;
use crate::clock::{Nanos, now, time_of};

/// What was read at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(super) at: Nanos,
    pub(super) server: Option<Paid>,
    pub(super) loadgen_cpu: Option<Nanos>,
    /// By thread of loadgen.
    pub(super) queued: HashMap<i32, Nanos>,
    pub(super) machine_idle: Option<Nanos>,
    /// Of loadgen's cores alone.
    pub(super) own_idle: Option<Nanos>,
    pub(super) steal: Option<Nanos>,
    /// Of the machine.
    pub(super) cores: u64,
    pub(super) traffic: Totals,
    pub(super) deliveries: u64,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paid {
    pub(super) cpu: Nanos,
    pub(super) ticks: Ticks,
    pub(super) switches: u64,
    pub(super) in_ticks: bool,
}

impl Reading {
    /// Reads everything now; `server` is its process, if it is on this machine, `cores` are loadgen's.
    pub fn take(server: Option<i32>, cores: &[usize], traffic: Totals, deliveries: u64) -> Self {
        let stats = KernelStats::current().ok();
        let total = stats.as_ref().map(|stats| &stats.total);
        let ticks = |ticks: u64| ticks * (1_000_000_000 / procfs::ticks_per_second());
        let idle = |time: &CpuTime| ticks(time.idle + time.iowait.unwrap_or(0));
        let own = |stats: &KernelStats| cores.iter().map(|&core| stats.cpu_time.get(core).map(idle)).sum();
        Self {
            at: now(),
            server: server.and_then(Paid::by),
            // Of the whole process: the sum over its threads would forget those that have ended.
            loadgen_cpu: Some(time_of(ClockId::ProcessCPUTime)),
            queued: queued(),
            machine_idle: total.map(idle),
            own_idle: stats.as_ref().and_then(own),
            steal: total.and_then(|total| total.steal).map(ticks),
            cores: stats.as_ref().map_or(1, |stats| stats.cpu_time.len() as u64),
            traffic,
            deliveries,
        }
    }
}

impl Paid {
    /// By a process: the sum over its threads.
    fn by(pid: i32) -> Option<Self> {
        let process = Process::new(pid).ok()?;
        let stat = process.stat().ok()?;
        let (mut cpu, mut switches) = (0, 0);
        // A thread may end between the listing and the look.
        for task in process.tasks().ok()?.flatten() {
            cpu += task.schedstat().map_or(0, |stat| stat.sum_exec_runtime);
            let status = task.status().ok();
            let both = status.and_then(|s| Some(s.voluntary_ctxt_switches? + s.nonvoluntary_ctxt_switches?));
            switches += both.unwrap_or(0);
        }
        let ticks = Ticks { user: stat.utime, system: stat.stime };
        let in_ticks = cpu == 0;
        if in_ticks {
            cpu = (stat.utime + stat.stime) * (1_000_000_000 / procfs::ticks_per_second());
        }
        Some(Self { cpu, ticks, switches, in_ticks })
    }
}

impl Memory {
    /// Reads it now.
    pub fn read(connections: usize, server_pss: Option<u64>) -> Self {
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let line = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
        let pages: u64 = line.rsplit(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let slab = Meminfo::current().map_or(0, |memory| memory.slab);
        Self { connections, server_pss, kernel: pages * procfs::page_size() + slab }
    }
}

/// How long each thread of this process has waited for a core.
fn queued() -> HashMap<i32, Nanos> {
    let tasks = Process::myself().and_then(|process| process.tasks());
    let tasks = tasks.into_iter().flatten().flatten();
    tasks.filter_map(|task| Some((task.tid, task.schedstat().ok()?.run_delay))).collect()
}

/// Proportional set size of a process, in bytes.
pub fn pss(pid: i32) -> Option<u64> {
    let SmapsRollup { memory_map_rollup } = Process::new(pid).ok()?.smaps_rollup().ok()?;
    memory_map_rollup.into_iter().next()?.extension.map.get("Pss").copied()
}

/// The most memory a process ever had, in bytes.
pub fn peak(pid: i32) -> Option<u64> {
    Process::new(pid).ok()?.status().ok()?.vmhwm.map(|kib| kib * 1024)
}
