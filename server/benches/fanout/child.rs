//! Processes that are measured: started on a core of their own, watched from outside, ended with the benchmark.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

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
            Self { server, readers } => format!("server on core {server}, readers on core {readers}"),
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
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("its address");
        let addr = line.trim().parse().unwrap_or_else(|_| panic!("{command:?} said {line:?}, not its address"));
        Self { process, addr }
    }

    /// The server of this crate, without heartbeats: the readers answer no ping.
    pub(crate) fn server(cores: &Cores) -> Self {
        Self::server_with(cores, &[])
    }

    pub(crate) fn server_with(cores: &Cores, more: &[&str]) -> Self {
        let program = std::env::var("FANOUT_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_server").into());
        let flags = ["--port", "0", "--print-addr", "--exit-with-stdin", "--heartbeat", "1h"];
        Self::start(cores, Command::new(program).args(flags).args(more))
    }

    /// This program again, in the part of something to compare with.
    pub(crate) fn part(cores: &Cores, part: &str) -> Self {
        Self::start(cores, Command::new(std::env::current_exe().expect("this program")).arg(part))
    }

    /// A program whose address is known beforehand; the caller waits until it listens.
    pub(crate) fn at(cores: &Cores, addr: SocketAddr, command: &mut Command) -> Self {
        Self { process: Self::spawn(cores, command.stdin(Stdio::null()).stdout(Stdio::null())), addr }
    }

    /// Children inherit the core of the thread that starts them.
    fn spawn(cores: &Cores, command: &mut Command) -> Child {
        pin(cores.server);
        let child = command.spawn();
        pin(cores.readers);
        child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
    }

    /// Itself and its children.
    fn processes(&self) -> Vec<u32> {
        let own = self.process.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        std::iter::once(own).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }

    /// CPU time of all its threads so far, in nanoseconds (`/proc/PID/task/*/schedstat`).
    pub(crate) fn cpu(&self) -> u64 {
        let tasks = self.processes().into_iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        let times = tasks.flatten().flatten().filter_map(|task| {
            let line = fs::read_to_string(task.path().join("schedstat")).ok()?;
            line.split(' ').next()?.parse::<u64>().ok()
        });
        times.sum()
    }

    /// Proportional set size and anonymous memory, in bytes (`/proc/PID/smaps_rollup`).
    pub(crate) fn memory(&self) -> Memory {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id())).expect("it runs");
        Memory { pss: kib(&text, "Pss:"), anonymous: kib(&text, "Anonymous:") }
    }

    /// The most it has had resident since it was last asked, in bytes.
    pub(crate) fn peak(&self) -> f64 {
        let pid = self.process.id();
        let peak = kib(&fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs"), "VmHWM:");
        // 5 resets the peak (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("our own child");
        peak
    }
}

/// What a process has in memory, in bytes.
pub(crate) struct Memory {
    pub(crate) pss: f64,
    pub(crate) anonymous: f64,
}

fn kib(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field of proc(5)");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") * 1024.0
}

impl Drop for Measured {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            }
        }
        let _ = self.process.wait();
    }
}
