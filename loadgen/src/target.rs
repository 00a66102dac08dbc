//! What is measured: processes, an address and how they are spoken to. Servers of the workbench and ordinary ones
//! (`stock`, and on Node `tutorial`) are started as child processes, with a proxy before them if one is asked for (`via`); one
//! that already runs is looked up (`running`).

mod launch;
mod running;
pub mod stock;
mod tutorial;
pub mod via;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::launch::{LAST_LINES, first_line, launch, pass_on};
pub(crate) use self::running::resolve;
use self::via::Via;
use crate::children::Process;
use crate::client::dialect::Dialect;
use crate::measure::reading::{Held, held, peak};
use crate::progress::Progress;
use crate::result::comparison::Target as Tried;
use crate::result::scenario::Scenario;
use crate::result::variant::{Transport, Variant};
use crate::signals;

/// A server that starts says where it listens within this time, also on a busy machine.
const START: Duration = Duration::from_secs(20);
/// What it is called.
const SERVER: &str = "the server";
/// A server that has been asked to leave may take this long: its drain has a deadline of 8 s.
const LEAVE: Duration = Duration::from_secs(12);
/// A wait for it that is longer than this is said.
const SLOW: Duration = Duration::from_secs(1);
/// Between two looks whether it has left.
const LOOK: Duration = Duration::from_millis(10);
/// Connections the server may have beyond clients and publishers: who reconnects, before the old one is noticed gone.
const SPARE_CONNECTIONS: usize = 32;
/// A session of polls whose client is gone is noticed when its ping is not answered, seconds later: 25 and 20.
const UNNOTICED: f64 = 45.0;
/// A server to measure.
#[derive(Debug)]
pub struct Target {
    /// Where clients connect to: where it listens, or the proxy before it.
    pub addr: SocketAddr,
    /// Its processes, if they are known and on this machine.
    pub pids: Vec<i32>,
    /// How it is spoken to.
    pub dialect: Arc<Dialect>,
    /// What a report says of it.
    pub tried: Tried,
    /// Where the server itself listens, and with what it was started, but for its port.
    server: SocketAddr,
    flags: Vec<String>,
    /// The proxy before it; ended before the server, so that nothing is under way there any more.
    via: Option<Via>,
    process: Option<Process>,
    /// Ends when all that it said on standard error has been passed on.
    said: Option<JoinHandle<()>>,
}

/// The flags of a server of the workbench for this load, and then these.
fn flags_for(scenario: &Scenario, flags: &[String]) -> Vec<String> {
    let mut connections = via::connections(scenario);
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
    /// Starts a server for this row on a free port and on these cores, and its proxy if it has one: `loadgen serve`, or an
    /// ordinary server.
    pub async fn start(
        server_cores: &[usize],
        scenario: &Scenario,
        variant: Variant,
        flags: &[String],
    ) -> Result<Self> {
        let Variant { mode, via, .. } = variant;
        let server = Self::start_server(server_cores, scenario, mode, flags).await?;
        let Some(proxy) = via else {
            return Ok(server);
        };
        let connections = via::connections(scenario);
        let via = Via::start(proxy, server.addr, connections, server_cores).await?;
        Ok(Self {
            addr: via.addr,
            via: Some(via),
            ..server
        })
    }

    async fn start_server(
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
        let (mut command, port) = (Command::new(program), self.server.port().to_string());
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
    async fn spawn(command: Command, server_cores: &[usize], time: Duration) -> Result<Self> {
        let (child, said) = launch(command, server_cores, SERVER)?;
        let pid = i32::try_from(child.id()).ok();
        let process = Process::new(child);
        let (line, stderr) = said.first(time, SERVER).await?;
        match line.trim().parse() {
            Ok(addr) => {
                let said = Some(tokio::spawn(pass_on(stderr)));
                Ok(Self {
                    addr,
                    pids: pid.into_iter().collect(),
                    dialect: Arc::default(),
                    tried: Tried::Workbench,
                    server: addr,
                    flags: Vec::new(),
                    via: None,
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

    /// The processes of the proxy before it, if there is one.
    pub fn proxy_pids(&self) -> &[i32] {
        self.via.as_ref().map_or(&[], |via| &via.pids)
    }

    /// All processes, those of the proxy too.
    pub fn all_pids(&self) -> Vec<i32> {
        [&self.pids, self.proxy_pids()].concat()
    }

    /// The memory of the proxy, in bytes.
    pub fn proxy_memory(&self) -> Option<Held> {
        sum(self.proxy_pids().iter().map(|pid| held(*pid)))
    }

    /// The most memory its processes ever had, in bytes.
    pub fn proxy_peak(&self) -> Option<u64> {
        sum(self.proxy_pids().iter().map(|pid| peak(*pid)))
    }

    /// Lets a server of our own and its proxy run, or stops them while others have their turn: its heartbeats and deadlines then wake no core.
    /// If loadgen ends meanwhile, it is continued ([`continue_when_alone`]), and finds its standard input ended.
    pub fn set_active(&self, active: bool) {
        let signal = if active { Signal::CONT } else { Signal::STOP };
        let own = self.pids.iter().filter(|_| self.process.is_some());
        for pid in own.chain(self.proxy_pids()) {
            // One that has ended is noticed by `gone`.
            let _ = Pid::from_raw(*pid).map(|pid| kill_process(pid, signal));
        }
    }

    /// Why the server or its proxy is no longer there, if it is not.
    pub fn gone(&mut self) -> Option<String> {
        if let Some(reason) = self.via.as_mut().and_then(Via::gone) {
            return Some(reason);
        }
        let status = self.process.as_ref()?.status().ok()??;
        Some(format!("the server ended by itself ({status})"))
    }

    /// Asks a server of our own to drain and leave, and waits for it; a signal ends the wait, and the server.
    pub async fn stop(mut self, progress: &Progress) -> Result<()> {
        self.set_active(true);
        if let Some(via) = self.via.take() {
            via.stop().await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cores;

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
