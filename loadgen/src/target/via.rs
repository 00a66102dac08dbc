//! A proxy before a server: Debian's nginx or haproxy, started for it and ended with it, with a configuration that is recorded.
//!
//! It is the child of a keeper (`keeper`), a process of loadgen's own that ends it when its standard input ends. So no proxy
//! outlives loadgen, however that ends, and also where the proxy was stopped at that moment; and no worker outlives its master.

mod configuration;
mod keeper;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinHandle;

pub use keeper::keep;

use super::launch::{first_line, launch, pass_on};
use crate::capacity::Capacity;
use crate::result::proxy::{Configured, Proxy};
use crate::result::scenario::Scenario;

/// A proxy that starts listens within this time, also on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A proxy before one server. Dropped, it is ended, and that is waited for.
#[derive(Debug)]
pub(super) struct Via {
    /// Which.
    proxy: Proxy,
    /// Where it listens.
    pub(super) addr: SocketAddr,
    /// Its processes, the keeper's apart.
    pub(super) pids: Vec<i32>,
    keeper: Keeper,
    /// Ends when all that it said on standard error has been passed on.
    _said: JoinHandle<()>,
}

/// A keeper. Its input ends with this.
#[derive(Debug)]
struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Via {
    /// Starts one before this server, for so many connections, on these cores.
    pub(super) async fn start(
        proxy: Proxy,
        server: SocketAddr,
        connections: usize,
        cores: &[usize],
    ) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let mut command = Command::new(program);
        command.args(["proxy", &proxy.to_string()]);
        command.args([server.to_string(), connections.to_string()]);
        let what = &proxy.to_string();
        let (child, said) = launch(command, cores, what)?;
        let keeper = Keeper(child);
        let (line, stderr) = said.first(START, what).await?;
        let Some((addr, pids)) = listening(&line) else {
            let reason = first_line(stderr).await;
            let reason = reason.unwrap_or_else(|| format!("its keeper said {line:?}"));
            bail!("{proxy} did not start: {reason}");
        };
        Ok(Self {
            proxy,
            addr,
            pids,
            keeper,
            _said: tokio::spawn(pass_on(stderr)),
        })
    }

    /// Ends it, and waits until its keeper has done so: others are ended meanwhile.
    pub(super) async fn stop(mut self) {
        drop(self.keeper.0.stdin.take());
        while matches!(self.keeper.0.try_wait(), Ok(None)) {
            tokio::time::sleep(super::LOOK).await;
        }
    }

    /// Why it is no longer there, if it is not.
    pub(super) fn gone(&mut self) -> Option<String> {
        let status = self.keeper.0.try_wait().ok()??;
        Some(format!("{} ended by itself ({status})", self.proxy))
    }
}

/// Where a proxy listens and what its processes are, as its keeper says it.
fn listening(line: &str) -> Option<(SocketAddr, Vec<i32>)> {
    let mut words = line.split_whitespace();
    let addr = words.next()?.parse().ok()?;
    let pids: Option<Vec<i32>> = words.map(|pid| pid.parse().ok()).collect();
    Some((addr, pids.filter(|pids| !pids.is_empty())?))
}

/// How many connections a proxy has room for, with those that are made anew before the old ones are noticed gone.
pub(super) fn connections(scenario: &Scenario) -> usize {
    scenario.clients + scenario.publishers() + super::SPARE_CONNECTIONS
}

/// What a report says of the proxy before a load's servers: an error if it is not installed, or has no room for the load.
pub fn look(proxy: Proxy, scenario: &Scenario, capacity: Capacity) -> Result<Configured> {
    let program = find(proxy)?;
    let around = connections(scenario) - scenario.clients;
    let most = (capacity.clients(0) * 2 / 5).saturating_sub(around as u64);
    ensure!(
        configuration::files(connections(scenario)) as u64 <= capacity.clients(0),
        "--clients {} --via {proxy}: each takes two of the {} files that a process may open (ulimit -n), and a fifth of them is \
         a reserve; enough for {most} clients",
        scenario.clients,
        capacity.files
    );
    let places = configuration::Places {
        address: "ADDRESS",
        server: "SERVER",
        folder: "FOLDER",
    };
    let text = configuration::text(proxy, &places, connections(scenario));
    Ok(Configured {
        proxy,
        version: version(proxy, &program)?,
        configuration: text.lines().map(String::from).collect(),
    })
}

/// Where the program is: on the path, or in the `sbin` beside a `bin` of it, which Debian leaves out of most people's.
fn find(proxy: Proxy) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = |bin: &PathBuf| bin.ends_with("bin").then(|| bin.with_file_name("sbin"));
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let sbins: Vec<PathBuf> = folders.iter().filter_map(beside).collect();
    let mut programs = folders
        .iter()
        .chain(&sbins)
        .map(|folder| folder.join(proxy.to_string()));
    let package = match proxy {
        Proxy::Nginx => "nginx-light",
        Proxy::Haproxy => "haproxy",
    };
    programs.find(|program| program.is_file()).with_context(|| {
        format!("--via {proxy}: there is no program {proxy} on the PATH; install it (apt install {package})")
    })
}

/// As `-v` says it: `nginx version: nginx/1.22.1`, `HAProxy version 2.6.12-1+deb12u4 2026/10/17 - ...`.
fn version(proxy: Proxy, program: &Path) -> Result<String> {
    let output = Command::new(program).arg("-v").output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let version = version_in(&said);
    version.with_context(|| format!("{proxy} -v has no version in it: {}", said.trim_end()))
}

fn version_in(said: &str) -> Option<String> {
    let (_, rest) = said.lines().next()?.split_once("version")?;
    let word = rest.trim_start_matches(':').split_whitespace().next()?;
    Some(word.trim_start_matches("nginx/").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_what_a_keeper_says_are_read() {
        let said = [
            "nginx version: nginx/1.22.1\n",
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\nStatus: x",
            "nginx",
        ];
        let versions = said.map(|said| version_in(said).unwrap_or_default());
        assert_eq!(versions, ["1.22.1", "2.6.12-1+deb12u4", ""]);
        let addr: SocketAddr = "127.0.0.2:81".parse().unwrap();
        assert_eq!(listening("127.0.0.2:81 7 8\n"), Some((addr, vec![7, 8])));
        for broken in ["", "127.0.0.2:81\n", "127.0.0.2 7\n", "127.0.0.2:81 x\n"] {
            assert_eq!(listening(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_load_that_needs_more_files_than_a_proxy_may_open_is_refused_with_what_would_be_right() {
        let scenario = Scenario::parse("--clients 5000 --publishers 10").unwrap();
        let capacity = |files| Capacity {
            files,
            memory: u64::MAX,
        };
        let refused = look(Proxy::Nginx, &scenario, capacity(10_000)).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.starts_with("--clients 5000 --via nginx:")
                && refused.contains("enough for 3918 clients"),
            "{refused}"
        );
        let configured = look(Proxy::Haproxy, &scenario, capacity(20_000)).unwrap();
        assert!(configured.version.starts_with(|c: char| c.is_ascii_digit()));
    }
}
