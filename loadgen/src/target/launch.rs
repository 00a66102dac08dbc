//! Starts children in groups of their own, and reads what they say: where they listen on standard output, all else on standard
//! error.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::console;
use crate::cores;
use crate::signals;

/// What says where it listens has no more bytes than this.
const ADDRESS: u64 = 100;
/// A child that has ended has said all by then.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);
/// What it says at once: more is cut into lines of this many bytes.
const LINE: u64 = 4096;

/// What a child says.
pub(super) struct Said {
    stdout: pipe::Receiver,
    stderr: BufReader<pipe::Receiver>,
}

/// Starts it on these cores; `what` it is, for people.
pub(super) fn launch(
    mut command: Command,
    server_cores: &[usize],
    what: &str,
) -> Result<(Child, Said)> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A group of its own: Ctrl-C is for loadgen, which then ends its children in good order.
    command.process_group(0);
    let own_cores = cores::available();
    cores::pin(server_cores);
    let child = command.spawn();
    cores::pin(&own_cores);
    let mut child = child.with_context(|| format!("cannot start {what}"))?;
    let (stdout, stderr) = child
        .stdout
        .take()
        .zip(child.stderr.take())
        .with_context(|| format!("{what} has no standard output"))?;
    let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?;
    let stderr = BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stderr))?);
    Ok((child, Said { stdout, stderr }))
}

impl Said {
    /// Its first line on standard output, within this time; what it says on standard error from then on.
    pub(super) async fn first(
        self,
        time: Duration,
        what: &str,
    ) -> Result<(String, BufReader<pipe::Receiver>)> {
        let Self { stdout, stderr } = self;
        let (mut line, mut stdout) = (Vec::new(), BufReader::new(stdout.take(ADDRESS)));
        let reading = async { Ok(timeout(time, stdout.read_until(b'\n', &mut line)).await) };
        match signals::or_interrupted(reading).await? {
            Err(_) => bail!(
                "{what} did not say within {} s where it listens, and was killed",
                time.as_secs_f64()
            ),
            Ok(read) => read.with_context(|| format!("cannot read the address of {what}"))?,
        };
        Ok((String::from_utf8_lossy(&line).into(), stderr))
    }
}

/// Says what a child says, line by line.
pub(super) async fn pass_on(mut stderr: BufReader<pipe::Receiver>) {
    while let Some(line) = next_line(&mut stderr).await {
        console::say(&line);
    }
}

/// Why a child that has ended did not start, in its own words.
pub(super) async fn first_line(mut stderr: BufReader<pipe::Receiver>) -> Option<String> {
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
