//! The system under test: a server of our own as a child process, or one that already runs.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use reqwest::Url;
use reqwest::header::{HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use serde::Deserialize;

use crate::client::Transport;
use crate::cores;
use crate::foreign::plain;
use crate::measure::reading::pss;
use crate::scenario::Scenario;

/// The protocol that loadgen speaks.
const PROTOCOL: u32 = 1;
/// A server that has been asked to leave may take so long: its drain has a deadline of 8 s.
const LEAVE: Duration = Duration::from_secs(12);
/// Connections the server may have beyond clients and publishers: who reconnects, before the old one is noticed gone.
const SPARE_CONNECTIONS: usize = 32;
/// A control call may take so long.
const CONTROL: Duration = Duration::from_secs(5);
/// And its answer have so many bytes: `/stats` has a few hundred.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A server to measure.
#[derive(Debug)]
pub struct Sut {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, if it is known to be on this machine.
    pub pid: Option<i32>,
    child: Option<Child>,
}

impl Sut {
    /// Starts `loadgen serve` on a free port and on these cores.
    pub fn start(server_cores: &[usize], scenario: &Scenario, mode: Transport, flags: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let mut command = Command::new(program);
        command.args(["serve", "--port", "0", "--print-addr", "--exit-with-stdin"]);
        command.arg("--max-rooms").arg(scenario.rooms().max(1000).to_string());
        command.arg("--max-connections").arg((scenario.clients + scenario.publishers + SPARE_CONNECTIONS).to_string());
        if mode == Transport::WsStock {
            command.arg("--stock");
        }
        command.args(flags);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C is for loadgen, which then ends its server in good order.
        command.process_group(0);
        let own_cores = cores::available();
        cores::pin(server_cores);
        let child = command.spawn();
        cores::pin(&own_cores);
        let mut child = child.context("cannot start the server")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the server has no standard output")?;
        BufReader::new(stdout).read_line(&mut line).context("cannot read the server's address")?;
        let pid = i32::try_from(child.id()).ok();
        match line.trim().parse() {
            Ok(addr) => Ok(Self { addr, pid, child: Some(child) }),
            Err(_) => {
                let _ = child.kill();
                bail!("the server did not start: it said {line:?} and ended with {}", child.wait()?)
            }
        }
    }

    /// Looks up a server that already runs; says clearly if it is not one of ours.
    pub async fn at(url: &str, allow_remote: bool) -> Result<Self> {
        let addr = resolve(url, allow_remote).await?;
        // A redirect would lead to somebody who was not asked for, on this machine or on another.
        let client = reqwest::Client::builder().timeout(CONTROL).no_proxy().redirect(Policy::none()).build()?;
        let health: Health = get(&client, addr, "healthz").await.map_err(|error| {
            anyhow!("--url {url}: {error}; expected a running server of this workbench (start one with `cargo run --release -p server`)")
        })?;
        if health.protocol != PROTOCOL {
            let (name, protocol) = (plain(&health.name), health.protocol);
            bail!("--url {url}: {name} speaks protocol {protocol}, this loadgen speaks {PROTOCOL}");
        }
        let pid =
            get::<Stats>(&client, addr, "stats").await.ok().map(|stats| stats.pid).filter(|_| addr.ip().is_loopback());
        // A server in a container has a number of its own for its process: then the one of that number is another.
        let pid = pid.filter(|&pid| {
            procfs::process::Process::new(pid)
                .and_then(|process| process.stat())
                .is_ok_and(|stat| ["server", "loadgen"].contains(&stat.comm.as_str()))
        });
        Ok(Self { addr, pid, child: None })
    }

    /// The memory of a server that was started for this trial alone, in bytes; of another it would say nothing.
    pub fn memory(&self) -> Option<u64> {
        self.child.as_ref().and(self.pid).and_then(pss)
    }

    /// Why the server is no longer there, if it is not.
    pub fn gone(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!("the server ended by itself ({status})"))
    }

    /// Asks a server of our own to drain and leave, and waits for it.
    pub fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        drop(child.stdin.take());
        let deadline = Instant::now() + LEAVE;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("the server ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()?;
        bail!("the server did not leave within {} s and was killed", LEAVE.as_secs())
    }
}

impl Drop for Sut {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Deserialize)]
struct Health {
    name: String,
    protocol: u32,
}

#[derive(Deserialize)]
struct Stats {
    pid: i32,
}

async fn resolve(url: &str, allow_remote: bool) -> Result<SocketAddr> {
    let parsed = Url::parse(url)
        .map_err(|error| anyhow!("--url {url}: {error}; expected something like http://127.0.0.1:3000"))?;
    if parsed.scheme() != "http" || parsed.path() != "/" || parsed.query().is_some() {
        bail!("--url {url}: only http://HOST:PORT is accepted");
    }
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| anyhow!("--url {url}: cannot find {host}: {error}"))?;
    let addrs: Vec<SocketAddr> = found.collect();
    if !allow_remote && addrs.iter().any(|addr| !addr.ip().is_loopback()) {
        bail!(
            "--url {url}: {host} is not this machine; a load on somebody else's needs --allow-remote (and their consent)"
        );
    }
    let preferred = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first());
    preferred.copied().ok_or_else(|| anyhow!("--url {url}: {host} has no address"))
}

async fn get<T: serde::de::DeserializeOwned>(client: &reqwest::Client, addr: SocketAddr, path: &str) -> Result<T> {
    let mut response = client.get(format!("http://{addr}/{path}")).send().await.map_err(|error| {
        if error.is_connect() {
            anyhow!("nothing answers there")
        } else {
            anyhow!("no HTTP answer from there ({error})")
        }
    })?;
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION).map_or(&b""[..], HeaderValue::as_bytes);
        let location = String::from_utf8_lossy(location);
        bail!(
            "what answers there sends /{path} on to {} ({status}); give the address of the server itself",
            plain(&location)
        );
    }
    let foreign = || anyhow!("what answers there (/{path} gives {status}) is not a server of this workbench");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| foreign())? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            bail!("/{path} has more than {LARGEST_ANSWER} bytes there, so it is not a server of this workbench");
        }
    }
    serde_json::from_slice(&body).map_err(|_| foreign())
}
