//! The server as a process of its own, seen through `/proc`: what it holds, what it says, how it ends.

use std::fs;
use std::ops::Deref;
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::helper::{Api, RAW_HOST};
use crate::raw::PATIENCE;

/// A running server; it goes with the test, however that ends.
pub(crate) struct Program {
    child: Child,
    api: Api,
}

impl Deref for Program {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

/// The folder of the binaries that are shipped, if they are to be tested.
pub(crate) static SHIPPED: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("SHIPPED").ok());

/// The binary: as it is shipped, or as it was built with these tests.
pub(crate) fn program() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| match &*SHIPPED {
        Some(folder) => format!("{folder}/server"),
        None => env!("CARGO_BIN_EXE_server").into(),
    });
    &PROGRAM
}

/// The real binary, with what it says kept for [`output`].
pub(crate) fn binary(flags: &str) -> Command {
    let mut command = Command::new(program());
    command
        .args(RAW_HOST.split_whitespace())
        .args(flags.split_whitespace());
    piped(command)
}

/// The same at this limit of descriptors.
pub(crate) fn binary_of(descriptors: u32, flags: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!(r#"ulimit -n {descriptors} && exec "$0" {RAW_HOST} {flags}"#);
    command.args(["-c", &script, program()]);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command
        .kill_on_drop(true)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts it and reads the line with its address.
pub(crate) async fn started(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
    timeout(PATIENCE, stdout.read_line(&mut line))
        .await
        .expect("it says where it listens")
        .unwrap();
    (child, line)
}

pub(crate) async fn output(child: Child) -> Output {
    timeout(PATIENCE, child.wait_with_output())
        .await
        .expect("it ends")
        .unwrap()
}

pub(crate) fn signal(child: &Child, name: Signal) {
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id.try_into().ok()?))
        .expect("it runs");
    kill_process(pid, name).unwrap();
}

impl Program {
    /// On a free port, unless the flags name one.
    pub(crate) async fn start(flags: &str) -> Self {
        let port = if flags.contains("--port") {
            ""
        } else {
            "--port 0"
        };
        Self::run(binary(&format!("{port} --print-addr {flags}"))).await
    }

    /// Any command that becomes a server and prints its address.
    pub(crate) async fn run(mut command: Command) -> Self {
        let (child, line) = started(&mut command).await;
        Self {
            child,
            api: Api::at(line.trim().parse().expect("an address")),
        }
    }

    /// Memory it has now, in KiB, or had at most (`VmHWM`).
    pub(crate) fn memory(&self, which: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(which)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .expect("a number of kB")
    }

    /// The share of memory that is its own (PSS), in bytes.
    pub(crate) fn pss(&self) -> u64 {
        let rollup = fs::read_to_string(self.proc("smaps_rollup")).expect("it runs");
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok())
            .expect("a number of kB");
        kib * 1024
    }

    /// Descriptors it has open.
    pub(crate) fn descriptors(&self) -> u64 {
        fs::read_dir(self.proc("fd")).expect("it runs").count() as u64
    }

    /// Bytes that the kernel holds for its peers, also for connections it has closed.
    pub(crate) fn unsent(&self) -> u64 {
        self.send_queues().iter().sum()
    }

    /// Waits until this many of its peers take nothing more.
    pub(crate) async fn until_stuck(&self, peers: usize) {
        let stuck = async {
            while self
                .send_queues()
                .iter()
                .filter(|&&bytes| bytes > 0)
                .count()
                < peers
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, stuck).await.expect("they do not read");
    }

    fn send_queues(&self) -> Vec<u64> {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("this is Linux");
        let port = format!(":{:04X}", self.addr.port());
        let of_ours = sockets
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of_ours = of_ours.filter(|fields| fields[1].ends_with(&port));
        of_ours
            .map(|fields| u64::from_str_radix(fields[4].split(':').next().unwrap(), 16).unwrap())
            .collect()
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id().expect("it runs"))
    }

    /// Stops it as a debugger or a closed lid would, until it is resumed.
    pub(crate) fn pause(&self) {
        signal(&self.child, Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        signal(&self.child, Signal::CONT);
    }

    /// Waits for the next line on standard error. Byte by byte: what comes after it is not touched.
    pub(crate) async fn line(&mut self) -> String {
        let (mut line, stderr) = (Vec::new(), self.child.stderr.as_mut().unwrap());
        let read = async {
            while line.last() != Some(&b'\n') {
                line.push(stderr.read_u8().await.expect("it runs"));
            }
        };
        timeout(PATIENCE, read).await.expect("it says something");
        String::from_utf8(line).expect("UTF-8")
    }

    /// Drains it; what it said on standard error.
    pub(crate) async fn end(self) -> String {
        signal(&self.child, Signal::TERM);
        let output = output(self.child).await;
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }
}
