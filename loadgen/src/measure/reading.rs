//! What a process and the machine have used and hold, as `/proc` says at one moment.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use derive_more::{Add, Sum};
use nix::time::ClockId;
use nix::unistd::Pid;
use procfs::process::{Process, SmapsRollup};
use procfs::{Current, Meminfo};

use crate::clock::{Nanos, nanos, now, time_of};
use crate::result::environment::Cores;
use crate::result::usage::{Demand, Memory, Ticks, Totals, Usage};

/// What was read at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    at: Nanos,
    server: Option<Paid>,
    proxy: Option<Paid>,
    /// CPU time of the servers that are to be idle.
    idle: Option<Nanos>,
    loadgen_cpu: Nanos,
    /// By thread of loadgen; nothing if the kernel does not tell.
    queued: HashMap<i32, Queued>,
    /// By core of the machine.
    cores: BTreeMap<usize, CoreTime>,
    traffic: Totals,
    deliveries: u64,
}

/// What a core did not do, or did for others, since the machine started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CoreTime {
    /// It had nothing to do.
    pub idle: Nanos,
    /// The hypervisor gave it to others.
    pub stolen: Nanos,
}

/// By core, from `/proc/stat`: each line by its own name, for a core that is offline has none.
pub fn core_times(stat: &str) -> BTreeMap<usize, CoreTime> {
    let core = |line: &str| {
        let mut words = line.strip_prefix("cpu")?.split(' ');
        let core = words.next()?.parse().ok()?;
        let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal (proc_stat(5)). The busy columns read 15 to 45 % low.
        let &[_, _, _, idle, iowait, _, _, steal, ..] = &ticks[..] else {
            return None;
        };
        let time = CoreTime {
            idle: of_ticks(idle + iowait),
            stolen: of_ticks(steal),
        };
        Some((core, time))
    };
    stat.lines().filter_map(core).collect()
}

impl Reading {
    /// Reads everything now; `server` are its processes, if they are on this machine, `proxy` those of the proxy before it, and
    /// `idle` those of servers that wait for their turn.
    pub fn take(
        server: &[i32],
        proxy: &[i32],
        idle: &[i32],
        traffic: Totals,
        deliveries: u64,
    ) -> Self {
        Self {
            at: now(),
            server: Paid::by_all(server),
            proxy: Paid::by_all(proxy),
            idle: idle.iter().map(|pid| cpu_clock(*pid)).sum(),
            // Of the whole process: the sum over its threads would forget those that have ended.
            loadgen_cpu: time_of(rustix::time::ClockId::ProcessCPUTime),
            queued: queued(),
            cores: core_times(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            traffic,
            deliveries,
        }
    }

    /// What was asked for on each of these cores since another reading; nothing if one of them is not told of.
    fn demand(&self, since: &Self, cores: &[usize]) -> Option<Vec<Demand>> {
        let wall = self.at.saturating_sub(since.at);
        let demand = |&core: &usize| {
            let (from, to) = (since.cores.get(&core)?, self.cores.get(&core)?);
            let stolen = to.stolen.saturating_sub(from.stolen);
            let not = to.idle.saturating_sub(from.idle) + stolen;
            Some(Demand {
                core,
                busy_ns: wall.saturating_sub(not),
                stolen_ns: stolen,
            })
        };
        cores.iter().map(demand).collect()
    }
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
struct Paid {
    cpu: Nanos,
    ticks: Ticks,
    switches: u64,
    in_ticks: bool,
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

/// Reads now what the server, the proxy before it and the kernel hold with this many connections.
pub fn memory(connections: usize, server: Option<Held>, proxy: Option<Held>) -> Memory {
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
        server_pss: server.map(|held| held.pss),
        server_anonymous: server.map(|held| held.anonymous),
        proxy_pss: proxy.map(|held| held.pss),
        kernel: pages * procfs::page_size() + slab,
    }
}

/// What lies between two readings.
pub fn between(from: &Reading, to: &Reading, cores: &Cores) -> Usage {
    let mut usage = Usage {
        seconds: to.at.saturating_sub(from.at) as f64 / 1e9,
        deliveries: to.deliveries.saturating_sub(from.deliveries),
        ..Usage::default()
    };
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
    let proxy = to.proxy.zip(from.proxy);
    usage.proxy_cpu_ns = proxy.map(|(to, from)| to.cpu.saturating_sub(from.cpu));
    usage.in_ticks |= to.proxy.is_some_and(|proxy| proxy.in_ticks);
    let loadgen_cpu = to.loadgen_cpu.saturating_sub(from.loadgen_cpu);
    usage.loadgen_cpu_ns = Some(loadgen_cpu);
    let idle = to.idle.zip(from.idle);
    usage.idle_ns = idle.map(|(to, from)| to.saturating_sub(from));
    // Of those that had anything to do: others, parked beside them in a set, would only hide their waits.
    let both: Vec<Nanos> = to
        .queued
        .iter()
        .filter_map(|(thread, to)| {
            let from = from.queued.get(thread)?;
            (to.ran > from.ran).then(|| to.waited.saturating_sub(from.waited))
        })
        .collect();
    usage.loadgen_threads = both.len() as u64;
    usage.loadgen_queued_ns = (!both.is_empty()).then(|| both.iter().sum());
    usage.loadgen_cores = cores.loadgen.len() as u64;
    let shared = usage
        .serving_ns()
        .filter(|_| cores.server.iter().any(|core| cores.loadgen.contains(core)));
    let busy = |demand: &[Demand]| demand.iter().map(|core| core.busy_ns).sum::<u64>();
    let own = to.demand(from, &cores.loadgen);
    usage.others_ns = own.map(|own| busy(&own).saturating_sub(loadgen_cpu + shared.unwrap_or(0)));
    let all: Vec<usize> = to.cores.keys().copied().collect();
    usage.cores = all.len().max(1) as u64;
    let machine = to.demand(from, &all).filter(|all| !all.is_empty());
    usage.machine_busy_ns = machine.as_deref().map(busy);
    usage.steal_ns = machine.map(|all| all.iter().map(|core| core.stolen_ns).sum());
    usage.demand = to.demand(from, &cores.used()).unwrap_or_default();
    usage.traffic = to.traffic - from.traffic;
    usage
}

/// What a thread has had of a core.
#[derive(Debug, Clone, Copy)]
struct Queued {
    ran: Nanos,
    /// Ready to run, without one.
    waited: Nanos,
}

/// How long each thread of this process has run, and waited for a core.
fn queued() -> HashMap<i32, Queued> {
    let tasks = Process::myself().and_then(|process| process.tasks());
    let tasks = tasks.into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let stat = task.schedstat().ok()?;
            let queued = Queued {
                ran: stat.sum_exec_runtime,
                waited: stat.run_delay,
            };
            Some((task.tid, queued))
        })
        .collect()
}

/// What a process holds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Add, Sum)]
pub struct Held {
    /// Its proportional set size.
    pub pss: u64,
    /// Its anonymous memory.
    pub anonymous: u64,
}

/// What a process holds now.
pub fn held(pid: i32) -> Option<Held> {
    let SmapsRollup { memory_map_rollup } = Process::new(pid).ok()?.smaps_rollup().ok()?;
    let sizes = memory_map_rollup.into_iter().next()?.extension.map;
    Some(Held {
        pss: *sizes.get("Pss")?,
        anonymous: *sizes.get("Anonymous")?,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 100 0 0 1000 0 0 0 10 0 0\ncpu3 5 0 0 2000 50 0 0 0 0 0\nintr 7\n";
    const TO: &str = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 120 0 0 1040 0 0 0 40 0 0\ncpu3 5 0 0 2090 60 0 0 0 0 0\nintr 9\n";

    fn reading(at: Nanos, stat: &str) -> Reading {
        Reading {
            at,
            loadgen_cpu: at / 100,
            queued: HashMap::new(),
            cores: core_times(stat),
            ..Reading::take(&[], &[], &[], Totals::default(), 0)
        }
    }

    /// A second, of which core 0 was idle for 0.4 s and lost 0.3 s, and core 3 was idle all the time.
    fn noted(server: &[usize], loadgen: &[usize]) -> Usage {
        let (from, to) = (reading(0, FROM), reading(1_000_000_000, TO));
        let cores = Cores {
            server: server.to_vec(),
            loadgen: loadgen.to_vec(),
        };
        between(&from, &to, &cores)
    }

    #[test]
    fn cores_go_by_their_own_names_and_what_is_stolen_is_nobodys_work() {
        let usage = noted(&[3], &[0]);
        assert_eq!(usage.machine_busy_ns, Some(300_000_000));
        assert_eq!((usage.steal_ns, usage.cores), (Some(300_000_000), 2));
        // loadgen itself had 10 ms of them.
        assert_eq!(usage.others_ns, Some(290_000_000));
        assert_eq!(
            usage.stolen_percent(),
            Some(50.0),
            "of what core 0 was asked for"
        );
        assert_eq!(noted(&[3], &[3]).stolen_percent(), Some(0.0));
    }

    #[test]
    fn what_nobody_tells_is_unknown() {
        let usage = noted(&[3], &[1]);
        assert_eq!((usage.others_ns, usage.loadgen_queued_ns), (None, None));
        assert_eq!(usage.demand, [], "there is no core 1");
        assert_eq!(core_times("cpu0 1 2 3 4\n"), BTreeMap::new());
    }
}
