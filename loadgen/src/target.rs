//! What is measured: processes, an address and how they are spoken to. Servers of the workbench and ordinary ones
//! (`stock`, and on Node `tutorial`) are started as child processes; one that already runs is looked up (`running`).

mod running;
pub mod stock;
mod tutorial;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::children::Process;
use crate::client::dialect::Dialect;
use crate::console;
use crate::cores;
use crate::measure::reading::{Held, held, peak};
use crate::progress::Progress;
use crate::result::comparison::Target as Tried;
use crate::result::scenario::Scenario;
use crate::result::variant::Transport;
use crate::signals;

/// A server that starts says where it listens within this time, also on a busy machine.
const START: Duration = Duration::from_secs(20);
/// An address is not longer than this many bytes.
const ADDRESS: u64 = 100;
/// A server that has been asked to leave may take this long: its drain has a deadline of 8 s.
const LEAVE: Duration = Duration::from_secs(12);
/// A wait for it that is longer than this is said.
const SLOW: Duration = Duration::from_secs(1);
/// A server that has ended has said all by then.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What it says at once: more is cut into lines of this many bytes.
const LINE: u64 = 4096;
/// Between two looks whether it has left.
const LOOK: Duration = Duration::from_millis(10);
/// Connections the server may have beyond clients and publishers: who reconnects, before the old one is noticed gone.
const SPARE_CONNECTIONS: usize = 32;
/// A session of polls whose client is gone is noticed when its ping is not answered, seconds later: 25 and 20.
const UNNOTICED: f64 = 45.0;
/// A server to measure.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its processes, if they are known and on this machine.
    pub pids: Vec<i32>,
    /// How it is spoken to.
    pub dialect: Arc<Dialect>,
    /// What a report says of it.
    pub tried: Tried,
    /// With what a server of the workbench was started, but for its port.
    flags: Vec<String>,
    process: Option<Process>,
    /// Ends when all that it said on standard error has been passed on.
    said: Option<JoinHandle<()>>,
}

/// The flags of a server of the workbench for this load, and then these.
fn flags_for(scenario: &Scenario, flags: &[String]) -> Vec<String> {
    let mut connections = scenario.clients + scenario.publishers() + SPARE_CONNECTIONS;
    if scenario.disturbance.is_any() {
        // Who comes back is there before the server knows that it was gone.
        let every = scenario
            .disturbance
            .cut
            .map_or(UNNOTICED, |cut| cut.every_seconds);
        connections += (scenario.clients as f64 * (1.0 + UNNOTICED / every)) as usize;
    }
    let all = format!(
        "--print-addr --exit-with-stdin --max-rooms {} --max-connections {connections}",
        scenario.rooms().max(1000)
    );
    all.split(' ')
        .map(String::from)
        .chain(flags.iter().cloned())
        .collect()
}

impl Target {
    /// Starts a server for this transport on a free port and on these cores: `loadgen serve`, or an ordinary one.
    pub async fn start(
        server_cores: &[usize],
        scenario: &Scenario,
        mode: Transport,
        flags: &[String],
    ) -> Result<Self> {
        if mode == Transport::SocketioNode {
            let target = Self::spawn(tutorial::command()?, server_cores, START).await?;
            let dialect = Dialect {
                is_foreign: true,
                ..Dialect::default()
            };
            return Ok(Self {
                tried: Tried::Stock,
                dialect: Arc::new(dialect),
                ..target
            });
        }
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let mut command = Command::new(program);
        if mode.properties().is_stock {
            command.arg("stock");
            let target = Self::spawn(command, server_cores, START).await?;
            return Ok(Self {
                tried: Tried::Stock,
                ..target
            });
        }
        command.args(["serve", "--port", "0"]);
        let flags = flags_for(scenario, flags);
        command.args(&flags);
        let target = Self::spawn(command, server_cores, START).await?;
        Ok(Self { flags, ..target })
    }

    /// Kills a server of the workbench without a word, and starts it again on the same port.
    pub async fn restart(&mut self, server_cores: &[usize]) -> Result<()> {
        let process = self.process.take();
        let process = process.context("a server that was not started here cannot be restarted")?;
        process.kill()?;
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let (mut command, port) = (Command::new(program), self.addr.port().to_string());
        command.args(["serve", "--port", &port]).args(&self.flags);
        let Self {
            pids,
            process,
            said,
            ..
        } = Self::spawn(command, server_cores, START).await?;
        (self.pids, self.process, self.said) = (pids, process, said);
        Ok(())
    }

    /// Starts this server, which prints its address within the time.
    async fn spawn(mut command: Command, server_cores: &[usize], time: Duration) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: Ctrl-C is for loadgen, which then ends its server in good order.
        command.process_group(0);
        let own_cores = cores::available();
        cores::pin(server_cores);
        let child = command.spawn();
        cores::pin(&own_cores);
        let mut child = child.context("cannot start the server")?;
        let (stdout, stderr, pid) = (
            child.stdout.take(),
            child.stderr.take(),
            i32::try_from(child.id()).ok(),
        );
        let process = Process::new(child);
        let (stdout, stderr) = stdout
            .zip(stderr)
            .context("the server has no standard output")?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        let stderr = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?);
        let (mut line, mut stdout) = (Vec::new(), BufReader::new(stdout.take(ADDRESS)));
        let reading = async { Ok(timeout(time, stdout.read_until(b'\n', &mut line)).await) };
        match signals::or_interrupted(reading).await? {
            Err(_) => bail!(
                "the server did not say within {} s where it listens, and was killed",
                time.as_secs_f64()
            ),
            Ok(read) => read.context("cannot read the server's address")?,
        };
        let line = String::from_utf8_lossy(&line);
        match line.trim().parse() {
            Ok(addr) => {
                let said = Some(tokio::spawn(pass_on(stderr)));
                Ok(Self {
                    addr,
                    pids: pid.into_iter().collect(),
                    dialect: Arc::default(),
                    tried: Tried::Workbench,
                    flags: Vec::new(),
                    process: Some(process),
                    said,
                })
            }
            Err(_) => {
                let status = process.kill()?;
                let reason = first_line(stderr)
                    .await
                    .unwrap_or_else(|| format!("it said {line:?}"));
                bail!("the server did not start: {reason} (it ended with {status})")
            }
        }
    }

    /// The memory of a server that was started for this trial alone, or whose processes were named, in bytes; of another it
    /// would say nothing.
    pub fn memory(&self) -> Option<Held> {
        let is_known = self.process.is_some() || matches!(self.tried, Tried::Foreign(_));
        sum(self.pids.iter().filter(|_| is_known).map(|pid| held(*pid)))
    }

    /// The most memory its processes ever had, in bytes.
    pub fn peak(&self) -> Option<u64> {
        sum(self.pids.iter().map(|pid| peak(*pid)))
    }

    /// Lets a server of our own run, or stops it while others have their turn: its heartbeats and deadlines then wake no core.
    /// If loadgen ends meanwhile, it is continued ([`continue_when_alone`]), and finds its standard input ended.
    pub fn set_active(&self, active: bool) {
        let signal = if active { Signal::CONT } else { Signal::STOP };
        for pid in self.pids.iter().filter(|_| self.process.is_some()) {
            // One that has ended is noticed by `gone`.
            let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, signal));
        }
    }

    /// Why the server is no longer there, if it is not.
    pub fn gone(&mut self) -> Option<String> {
        let status = self.process.as_ref()?.status().ok()??;
        Some(format!("the server ended by itself ({status})"))
    }

    /// Asks a server of our own to drain and leave, and waits for it; a signal ends the wait, and the server.
    pub async fn stop(mut self, progress: &Progress) -> Result<()> {
        self.set_active(true);
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        process.end_input();
        let (asked, mut is_slow) = (Instant::now(), false);
        while asked.elapsed() < LEAVE {
            if let Some(status) = process.status()? {
                if let Some(said) = self.said.take() {
                    let _ = timeout(LAST_LINES, said).await;
                }
                ensure!(status.success(), "the server ended with {status}");
                return Ok(());
            }
            if signals::received().is_some() {
                return process.kill().map(drop).context("cannot end the server");
            }
            if !is_slow && asked.elapsed() > SLOW {
                is_slow = true;
                progress.say("waiting for the server to end what is under way");
            }
            tokio::time::sleep(LOOK).await;
        }
        process.kill()?;
        bail!(
            "the server did not leave within {} s and was killed",
            LEAVE.as_secs()
        )
    }
}

/// For a server that loadgen has started: if loadgen ends while this is stopped, it goes on, to find its standard input ended.
pub fn continue_when_alone() {
    // Where the kernel does not know of it, a group that is stopped and has lost its parent is ended all the same.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::CONT));
}

/// Of all processes together; nothing if there are none, or one of them does not say.
fn sum<T: std::iter::Sum>(figures: impl Iterator<Item = Option<T>>) -> Option<T> {
    let mut figures = figures.peekable();
    figures.peek()?;
    figures.sum()
}

/// Says what a server says, line by line.
async fn pass_on(mut stderr: BufReader<pipe::Receiver>) {
    while let Some(line) = next_line(&mut stderr).await {
        console::say(&line);
    }
}

/// Why a server that has ended did not start, in its own words.
async fn first_line(mut stderr: BufReader<pipe::Receiver>) -> Option<String> {
    let line = timeout(LAST_LINES, next_line(&mut stderr)).await.ok()??;
    Some(
        line.trim_start_matches("error: ")
            .trim_start_matches("server: ")
            .into(),
    )
}

async fn next_line(stderr: &mut BufReader<pipe::Receiver>) -> Option<String> {
    let mut line = Vec::new();
    let size = stderr.take(LINE).read_until(b'\n', &mut line).await.ok()?;
    (size > 0).then(|| String::from_utf8_lossy(&line).trim_end().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_does_not_say_where_it_listens_is_killed_and_said_to_be_so() {
        for (script, says) in [
            ("read line", "did not say within 1 s where it listens"),
            ("exec cat /dev/zero", "\\0\" (it ended with signal: 9"),
            ("echo here; exit 3", "it said \"here\\n\" (it ended with"),
            (
                "echo 'error: what is --bogus\nUsage' >&2; exit 2",
                "did not start: what is --bogus (it ended with exit status: 2)",
            ),
            (
                "exec >&-; read line",
                "it said \"\" (it ended with signal: 9",
            ),
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let error = Target::spawn(command, &cores::available(), Duration::from_secs(1))
                .await
                .unwrap_err();
            assert!(error.to_string().contains(says), "{script}: {error}");
        }
    }
}
