//! Running the server as a process: signals, the descriptor limit, where it listens.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::{Config, Server, output, problems};

/// Flags of the process, as against those of the server in it.
#[derive(Args, Debug, Clone)]
pub struct Options {
    /// Print the address to connect to, alone on a line, on standard output.
    #[arg(long)]
    pub(crate) print_addr: bool,
    /// Leave when standard input ends: how a server started by loadgen never outlives it.
    #[arg(long, hide = true)]
    pub(crate) exit_with_stdin: bool,
    /// What goes to standard error: off, error, warn, info or debug, which has every request that was refused.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub(crate) log: LevelFilter,
}

/// Runs a server until Ctrl-C, `SIGTERM` or `SIGHUP`: exit code 0 after a drain, 2 if it cannot listen.
pub fn run(config: Config, options: &Options) -> ExitCode {
    let _finish = output::Finish;
    output::catch_panics();
    raise_descriptor_limit();
    problems::start(options.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    runtime.block_on(async {
        let addr = config.addr();
        let server = match Server::bind(config) {
            Ok(server) => server,
            Err(error) if error.kind() == ErrorKind::InvalidInput => return fail(&error.to_string()),
            Err(error) => return fail(&format!("cannot listen on {addr}: {error}; choose another address with --host and --port (0 takes a free port)")),
        };
        let stop = stop(options.exit_with_stdin);
        if options.print_addr {
            output::print(&server.addr().to_string());
        } else {
            output::say(&format!("server: the demo pages are at {}", server.location()));
        }
        server.serve(stop).await;
        ExitCode::SUCCESS
    })
}

fn fail(reason: &str) -> ExitCode {
    output::say(&format!("server: {reason}"));
    ExitCode::from(2)
}

/// Listens for the signals from the call on, not from the first poll: whoever has read the address may send one.
fn stop(with_stdin: bool) -> impl Future<Output = ()> {
    let mut interrupt = signal(SignalKind::interrupt()).expect("signals can be listened for");
    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened for");
    // Under `nohup` the end of the terminal is to be ignored.
    let mut hangup = (!ignores_hangup())
        .then(|| signal(SignalKind::hangup()).expect("signals can be listened for"));
    let mut hung_up = async move || match &mut hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    };
    async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hung_up() => {}
            () = end_of_stdin(), if with_stdin => {}
        }
    }
}

/// Whether whoever started this process has it ignore `SIGHUP`.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // The lowest bit is signal 1.
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

async fn end_of_stdin() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    // A thread of its own: tokio's standard input would keep the runtime from ending.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = sender.send(());
    });
    let _ = receiver.await;
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The memory of this machine, or what a container leaves of it, in bytes.
pub(crate) fn machine_memory() -> usize {
    let info = rustix::system::sysinfo();
    let all = info.totalram.saturating_mul(info.mem_unit.into());
    // Control groups, version 2; "max" is no number.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    usize::try_from(limit.map_or(all, |limit: u64| limit.min(all))).unwrap_or(usize::MAX)
}
