//! Looks up a server that already runs, and says clearly if it is not what it should be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail, ensure};
use procfs::process::Process;
use reqwest::Url;
use reqwest::header::{HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Target;
use crate::client::dialect::Dialect;
use crate::foreign::plain;
use crate::result::comparison::Target as Tried;

/// The protocol that loadgen speaks.
const PROTOCOL: u32 = 1;
/// A control call may take this long.
const CONTROL: Duration = Duration::from_secs(5);
/// And its answer have this many bytes: `/stats` has a few hundred.
const LARGEST_ANSWER: usize = 64 * 1024;

impl Target {
    /// Looks up a server of the workbench.
    pub async fn at(url: &str, allow_remote: bool, dialect: Dialect) -> Result<Self> {
        let addr = resolve("--url", url, allow_remote).await?;
        // A redirect would lead to somebody who was not asked for, on this machine or on another.
        let client = reqwest::Client::builder()
            .timeout(CONTROL)
            .no_proxy()
            .redirect(Policy::none());
        let client = client.default_headers(dialect.headers.clone()).build()?;
        let health: Health = get(&client, addr, "healthz").await.map_err(|error| {
            anyhow!(
                "--url {url}: {error}; expected a running server of this workbench (start one with `cargo run \
                 --release -p server`), or, for another server that speaks its protocol, --dialect workbench as well"
            )
        })?;
        if health.protocol != PROTOCOL {
            let (name, protocol) = (plain(&health.name), health.protocol);
            bail!("--url {url}: {name} speaks protocol {protocol}, this loadgen speaks {PROTOCOL}");
        }
        let stats = get::<Stats>(&client, addr, "stats").await.ok();
        let pid = stats
            .map(|stats| stats.pid)
            .filter(|_| addr.ip().is_loopback());
        // A server in a container has a number of its own for its process: then the one of that number is another.
        let is_ours = |pid: &i32| {
            command_of(*pid).is_some_and(|name| ["server", "loadgen"].contains(&name.as_str()))
        };
        Ok(Self::running(
            addr,
            pid.filter(is_ours).into_iter().collect(),
            dialect,
            Tried::Running(addr.to_string()),
        ))
    }

    /// Takes a server of somebody else's at its word: that it speaks this dialect, and that these are its processes.
    pub async fn foreign(
        url: &str,
        allow_remote: bool,
        pids: &[i32],
        dialect: Dialect,
    ) -> Result<Self> {
        let addr = resolve("--url", url, allow_remote).await?;
        let mut pids = pids.to_vec();
        pids.sort_unstable();
        pids.dedup();
        for pid in &pids {
            ensure!(
                command_of(*pid).is_some(),
                "--server-pid {pid}: there is no such process on this machine"
            );
        }
        match timeout(CONTROL, TcpStream::connect(addr)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => bail!("--url {url}: nothing answers there ({error})"),
            Err(_) => bail!(
                "--url {url}: nothing answers there within {} s",
                CONTROL.as_secs()
            ),
        }
        Ok(Self::running(
            addr,
            pids,
            dialect,
            Tried::Foreign(addr.to_string()),
        ))
    }

    fn running(addr: SocketAddr, pids: Vec<i32>, dialect: Dialect, tried: Tried) -> Self {
        Self {
            addr,
            pids,
            dialect: Arc::new(dialect),
            tried,
            server: addr,
            flags: Vec::new(),
            via: None,
            process: None,
            said: None,
        }
    }
}

/// The name of a process, if there is one of this number.
fn command_of(pid: i32) -> Option<String> {
    Some(Process::new(pid).ok()?.stat().ok()?.comm)
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

/// The address of a URL that was given with this flag or to this command; of another machine only if that is allowed.
pub(crate) async fn resolve(flag: &str, url: &str, allow_remote: bool) -> Result<SocketAddr> {
    // A password is never told again, and the command that a report keeps has none.
    ensure!(
        !url.contains('@'),
        "{flag}: only http://HOST:PORT is accepted; no name or password is sent to a server"
    );
    let parsed = Url::parse(url).map_err(|error| {
        anyhow!("{flag} {url}: {error}; expected something like http://127.0.0.1:3000")
    })?;
    if parsed.scheme() != "http" || parsed.path() != "/" || parsed.query().is_some() {
        bail!("{flag} {url}: only http://HOST:PORT is accepted");
    }
    let host = parsed
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']']);
    let port = parsed.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| anyhow!("{flag} {url}: cannot find {host}: {error}"))?;
    let addrs: Vec<SocketAddr> = found.collect();
    if !allow_remote && addrs.iter().any(|addr| !addr.ip().is_loopback()) {
        bail!(
            "{flag} {url}: {host} is not this machine; somebody else's needs --allow-remote (and their consent)"
        );
    }
    let preferred = addrs.iter().find(|addr| addr.is_ipv4()).or(addrs.first());
    preferred
        .copied()
        .ok_or_else(|| anyhow!("{flag} {url}: {host} has no address"))
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &reqwest::Client,
    addr: SocketAddr,
    path: &str,
) -> Result<T> {
    let mut response = client
        .get(format!("http://{addr}/{path}"))
        .send()
        .await
        .map_err(|error| {
            if error.is_connect() {
                anyhow!("nothing answers there")
            } else {
                anyhow!("no HTTP answer from there ({error})")
            }
        })?;
    let status = response.status();
    if status.is_redirection() {
        let location = response
            .headers()
            .get(LOCATION)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let location = String::from_utf8_lossy(location);
        bail!(
            "what answers there sends /{path} on to {} ({status}); give the address of the server itself",
            plain(&location)
        );
    }
    let foreign =
        || anyhow!("what answers there (/{path} gives {status}) is not a server of this workbench");
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| foreign())? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            bail!(
                "/{path} has more than {LARGEST_ANSWER} bytes there, so it is not a server of this workbench"
            );
        }
    }
    serde_json::from_slice(&body).map_err(|_| foreign())
}
