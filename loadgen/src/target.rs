//! The system under test: a server of our own as a child process, or one that already runs.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::Url;
use reqwest::header::{HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::children::Process;
use crate::console;
use crate::cores;
use crate::foreign::plain;
use crate::measure::reading::pss;
use crate::progress::Progress;
use crate::result::scenario::Scenario;
use crate::result::variant::Transport;
use crate::signals;

/// The protocol that loadgen speaks.
const PROTOCOL: u32 = 1;
/// A server that starts says where it listens within this time, also on a busy machine.
const START: Duration = Duration::from_secs(20);
/// An address is not longer than this many bytes.
const ADDRESS: u64 = 100;
/// A server that has been asked to leave may take so long: its drain has a deadline of 8 s.
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
/// A control call may take so long.
const CONTROL: Duration = Duration::from_secs(5);
/// And its answer have so many bytes: `/stats` has a few hundred.
const LARGEST_ANSWER: usize = 64 * 1024;

/// A server to measure.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its process, if it is known to be on this machine.
    pub pid: Option<i32>,
    process: Option<Process>,
    /// Ends when all that it said on standard error has been passed on.
    said: Option<JoinHandle<()>>,
}

/// The flags of a server for this load, and then these.
fn flags_for(scenario: &Scenario, mode: Transport, flags: &[String]) -> Vec<String> {
    let connections = scenario.clients + scenario.publishers + SPARE_CONNECTIONS;
    let mut all = format!(
        "--port 0 --print-addr --exit-with-stdin --max-rooms {} --max-connections {connections}",
        scenario.rooms().max(1000)
    );
    if mode == Transport::WsStock {
        all += " --stock";
    }
    all.split(' ').map(String::from).chain(flags.iter().cloned()).collect()
}

impl Target {
    /// Starts `loadgen serve` on a free port and on these cores.
    pub async fn start(server_cores: &[usize], scenario: &Scenario, mode: Transport, flags: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let mut command = Command::new(program);
        command.arg("serve").args(flags_for(scenario, mode, flags));
        Self::spawn(command, server_cores, START).await
    }

    /// Starts this server, which prints its address within the time.
    async fn spawn(mut command: Command, server_cores: &[usize], time: Duration) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C is for loadgen, which then ends its server in good order.
        command.process_group(0);
        let own_cores = cores::available();
        cores::pin(server_cores);
        let child = command.spawn();
        cores::pin(&own_cores);
        let mut child = child.context("cannot start the server")?;
        let (stdout, stderr, pid) = (child.stdout.take(), child.stderr.take(), i32::try_from(child.id()).ok());
        let process = Process::new(child);
        let (stdout, stderr) = stdout.zip(stderr).context("the server has no standard output")?;
        let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
        let stderr = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?);
        let (mut line, mut stdout) = (Vec::new(), BufReader::new(stdout.take(ADDRESS)));
        let reading = async { Ok(timeout(time, stdout.read_until(b'\n', &mut line)).await) };
        match signals::or_interrupted(reading).await? {
            Err(_) => bail!("the server did not say within {} s where it listens, and was killed", time.as_secs_f64()),
            Ok(read) => read.context("cannot read the server's address")?,
        };
        let line = String::from_utf8_lossy(&line);
        match line.trim().parse() {
            Ok(addr) => {
                let said = Some(tokio::spawn(pass_on(stderr)));
                Ok(Self { addr, pid, process: Some(process), said })
            }
            Err(_) => {
                let status = process.kill()?;
                let reason = first_line(stderr).await.unwrap_or_else(|| format!("it said {line:?}"));
                bail!("the server did not start: {reason} (it ended with {status})")
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
        Ok(Self { addr, pid, process: None, said: None })
    }

    /// The memory of a server that was started for this trial alone, in bytes; of another it would say nothing.
    pub fn memory(&self) -> Option<u64> {
        self.process.as_ref().and(self.pid).and_then(pss)
    }

    /// Why the server is no longer there, if it is not.
    pub fn gone(&mut self) -> Option<String> {
        let status = self.process.as_ref()?.status().ok()??;
        Some(format!("the server ended by itself ({status})"))
    }

    /// Asks a server of our own to drain and leave, and waits for it; a signal ends the wait, and the server.
    pub async fn stop(mut self, progress: &Progress) -> Result<()> {
        let Some(process) = self.process.take() else { return Ok(()) };
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
        bail!("the server did not leave within {} s and was killed", LEAVE.as_secs())
    }
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
    Some(line.trim_start_matches("error: ").trim_start_matches("server: ").into())
}

async fn next_line(stderr: &mut BufReader<pipe::Receiver>) -> Option<String> {
    let mut line = Vec::new();
    let size = stderr.take(LINE).read_until(b'\n', &mut line).await.ok()?;
    (size > 0).then(|| String::from_utf8_lossy(&line).trim_end().into())
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
    // A password is never told again, and the command that a report keeps has none.
    ensure!(!url.contains('@'), "--url: only http://HOST:PORT is accepted; no name or password is sent to a server");
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
            ("exec >&-; read line", "it said \"\" (it ended with signal: 9"),
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let error = Target::spawn(command, &cores::available(), Duration::from_secs(1)).await.unwrap_err();
            assert!(error.to_string().contains(says), "{script}: {error}");
        }
    }
}
