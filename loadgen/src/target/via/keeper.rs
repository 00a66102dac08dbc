//! The process that keeps a proxy: it starts it, says where it listens, and ends it with all of its workers when its own
//! standard input ends, or a signal does.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};

use super::configuration::{self, Places};
use super::{START, find};
use crate::console;
use crate::result::proxy::Proxy;

/// Clients come from 127.0.0.1, and none of their connections can have been given this address's port meanwhile.
const HOST: &str = "127.0.0.2:0";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// A proxy that was asked to end is killed after this time.
const LEAVE: Duration = Duration::from_secs(2);

/// A folder that goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A proxy, in a group of processes of its own. Dropped, it is ended.
struct Kept(Child);

impl Kept {
    fn group(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Its processes.
    fn pids(&self) -> Vec<i32> {
        let group = self.group().as_raw_nonzero().get();
        let all = procfs::process::all_processes().into_iter().flatten();
        let own = all.filter_map(|process| process.ok()?.stat().ok());
        own.filter(|stat| stat.pgrp == group)
            .map(|stat| stat.pid)
            .collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = kill_process_group(self.group(), Signal::CONT);
        let _ = kill_process(self.group(), Signal::TERM);
        let asked = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if asked.elapsed() > LEAVE {
                let _ = kill_process_group(self.group(), Signal::KILL);
                let _ = self.0.wait();
            }
            sleep(LOOK);
        }
    }
}

/// Keeps a proxy before this server, for so many connections, until standard input ends: says where it listens and what its
/// processes are.
pub fn keep(proxy: Proxy, server: SocketAddr, connections: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let kept = runtime.block_on(until_asked(proxy, server, connections));
    // Who waits for standard input is not waited for.
    runtime.shutdown_background();
    kept
}

async fn until_asked(proxy: Proxy, server: SocketAddr, connections: usize) -> Result<()> {
    let mut ended = signal(SignalKind::child())?;
    let (mut term, mut int, mut hup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let input = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    // In this order, for the folder goes after what uses it.
    let folder = Folder::new(&format!("loadgen-{proxy}-{}", std::process::id()))?;
    let addr = TcpListener::bind(HOST)
        .and_then(|free| free.local_addr())
        .with_context(|| format!("no port is free at {HOST}"))?;
    let mut kept = start(proxy, &folder.0, addr, server, connections)?;
    let pids = listens(proxy, &mut kept, addr).await?;
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    console::print(&format!("{addr} {}\n", pids.join(" ")))?;
    let gone = async {
        loop {
            ended.recv().await;
            if let Ok(Some(status)) = kept.0.try_wait() {
                return status;
            }
        }
    };
    tokio::select! {
        status = gone => bail!(ended_by_itself(proxy, status)),
        _ = input => Ok(()),
        _ = term.recv() => Ok(()),
        _ = int.recv() => Ok(()),
        _ = hup.recv() => Ok(()),
    }
}

fn ended_by_itself(proxy: Proxy, status: ExitStatus) -> String {
    format!("{proxy} ended by itself ({status})")
}

/// Starts it in this folder; what it says on standard error is what this process says.
fn start(
    proxy: Proxy,
    folder: &Path,
    addr: SocketAddr,
    server: SocketAddr,
    connections: usize,
) -> Result<Kept> {
    let places = Places {
        address: &addr.to_string(),
        server: &server.to_string(),
        folder: &folder.to_string_lossy(),
    };
    let file = folder.join("configuration");
    fs::write(&file, configuration::text(proxy, &places, connections))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = Command::new(find(proxy)?);
    match proxy {
        Proxy::Nginx => command
            .args(["-e", "stderr", "-p"])
            .arg(folder)
            .arg("-c")
            .arg(&file),
        Proxy::Haproxy => command.args(["-db", "-q", "-f"]).arg(&file),
    };
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {proxy}"))?;
    Ok(Kept(child))
}

/// Waits until it takes connections, with all of its processes: what they are.
async fn listens(proxy: Proxy, kept: &mut Kept, addr: SocketAddr) -> Result<Vec<i32>> {
    let processes = match proxy {
        Proxy::Nginx => 2,
        Proxy::Haproxy => 1,
    };
    let began = Instant::now();
    while began.elapsed() < START {
        if let Some(status) = kept.0.try_wait()? {
            bail!(ended_by_itself(proxy, status));
        }
        if tokio::net::TcpStream::connect(addr).await.is_ok() {
            let pids = kept.pids();
            if pids.len() == processes {
                return Ok(pids);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!(
        "{proxy} did not listen within {} s, and was ended",
        START.as_secs()
    )
}
