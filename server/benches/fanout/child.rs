//! Processes that are measured: started on a core of their own, watched from outside, ended with the benchmark.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use procfs::process::{ClearRefs, Process, SmapsRollup};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The core of whatever is measured, and that of the readers; the same one where there is only one.
pub(crate) struct Cores {
    server: usize,
    readers: usize,
}

impl Cores {
    /// Takes two of those this process may use, and keeps the readers on theirs from now on.
    pub(crate) fn take() -> Self {
        let allowed = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let server = cores.next().unwrap_or(0);
        let readers = cores.next().unwrap_or(server);
        pin(readers);
        Self { server, readers }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self { server, readers } if server == readers => {
                format!("one core ({server}) for both: not to be compared")
            }
            Self { server, readers } => {
                format!("server on core {server}, readers on core {readers}")
            }
        }
    }
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    let _ = sched_setaffinity(None, &set);
}

/// A process under measurement.
pub(crate) struct Measured {
    process: Child,
    pub(crate) addr: SocketAddr,
}

impl Measured {
    /// Starts a program that prints the address it listens on.
    pub(crate) fn start(cores: &Cores, command: &mut Command) -> Self {
        let mut process = Self::spawn(cores, command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its address");
        let addr = line
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{command:?} said {line:?}, not its address"));
        Self { process, addr }
    }

    /// The server of this crate, without heartbeats: the readers answer no ping.
    pub(crate) fn server(cores: &Cores) -> Self {
        Self::server_with(cores, &[])
    }

    pub(crate) fn server_with(cores: &Cores, more: &[&str]) -> Self {
        let program =
            std::env::var("FANOUT_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_server").into());
        let flags = [
            "--port",
            "0",
            "--print-addr",
            "--exit-with-stdin",
            "--heartbeat",
            "1h",
        ];
        Self::start(cores, Command::new(program).args(flags).args(more))
    }

    /// This program again, in the part of something to compare with.
    pub(crate) fn part(cores: &Cores, part: &str) -> Self {
        Self::start(
            cores,
            Command::new(std::env::current_exe().expect("this program")).arg(part),
        )
    }

    /// A program whose address is known beforehand; the caller waits until it listens.
    pub(crate) fn at(cores: &Cores, addr: SocketAddr, command: &mut Command) -> Self {
        Self {
            process: Self::spawn(cores, command.stdin(Stdio::null()).stdout(Stdio::null())),
            addr,
        }
    }

    /// Children inherit the core of the thread that starts them.
    fn spawn(cores: &Cores, command: &mut Command) -> Child {
        pin(cores.server);
        let child = command.spawn();
        pin(cores.readers);
        child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    fn own(&self) -> Process {
        process_of(self.process.id()).expect("it runs")
    }

    /// Itself and its children.
    fn processes(&self) -> impl Iterator<Item = Process> {
        let own = self.own();
        let children = own
            .task_main_thread()
            .and_then(|task| task.children())
            .unwrap_or_default();
        std::iter::once(own).chain(children.into_iter().filter_map(process_of))
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        let tasks = self
            .processes()
            .filter_map(|process| process.tasks().ok())
            .flatten()
            .flatten();
        tasks
            .filter_map(|task| Some(task.schedstat().ok()?.sum_exec_runtime))
            .sum()
    }

    pub(crate) fn memory(&self) -> Memory {
        let SmapsRollup { memory_map_rollup } = self.own().smaps_rollup().expect("it runs");
        let sizes = memory_map_rollup
            .into_iter()
            .next()
            .expect("one, for everything")
            .extension
            .map;
        Memory {
            pss: sizes["Pss"] as f64,
            anonymous: sizes["Anonymous"] as f64,
        }
    }

    /// The most it has had resident since it was last asked, in bytes.
    pub(crate) fn peak(&self) -> f64 {
        let own = self.own();
        let kib = own
            .status()
            .expect("it runs")
            .vmhwm
            .expect("a field of proc(5)");
        own.clear_refs(ClearRefs::PeakRSS).expect("our own child");
        kib as f64 * 1024.0
    }
}

/// What a process has in memory, in bytes: its proportional set size, and what is in no file.
pub(crate) struct Memory {
    pub(crate) pss: f64,
    pub(crate) anonymous: f64,
}

fn process_of(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

impl Drop for Measured {
    fn drop(&mut self) {
        for pid in self
            .processes()
            .filter_map(|process| Pid::from_raw(process.pid))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
    }
}
