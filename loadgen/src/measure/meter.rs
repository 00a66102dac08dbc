//! The hiccup meter: a process of its own that sleeps for a millisecond again and again on each core in use and notes how
//! late it wakes, by which the machine's own pauses are told (after jHiccup). Between slices it does a fixed piece of
//! work, whose CPU time tells how fast the cores are just then: what steal does not show of caches, frequencies, neighbours.

use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use procfs::process::Process as Proc;
use rustix::thread::{ClockId, gettid};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::children::Process;
use crate::clock::{Nanos, now, time_of};
use crate::console;
use crate::cores;
use crate::result::histogram::Times;
use crate::signals::{self, Interrupted};

/// Between two looks.
const LOOK: Nanos = 1_000_000;
/// A shorter pause is not noted.
const SHORTEST: Nanos = 100_000;
/// What the fixed piece of work is made of.
const ROUND_TRIPS: usize = 200;
const ROUNDS: u64 = 400_000;
/// An answer takes no longer than this, also on a busy machine.
const ANSWER: Duration = Duration::from_secs(5);

/// A pause of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Of which core.
    pub core: usize,
    /// When it was to wake.
    pub at: Nanos,
    /// How late it was.
    pub length: Nanos,
}

/// What a parent asks for, a line each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Wish {
    /// Begin to look.
    Look,
    /// End that, and tell what was seen.
    Tell,
    /// Do the work, and tell how long it took.
    Work,
}

/// What is told of a [`Wish`].
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Looking,
    Pauses(Vec<Pause>),
    Work(Vec<Nanos>),
}

/// The meter's own process: does what standard input asks for until that ends.
pub fn run(cores: &[usize]) -> Result<()> {
    static LOOKS: AtomicBool = AtomicBool::new(false);
    let mut looking: Vec<JoinHandle<Vec<Pause>>> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let told = match serde_json::from_str(&line?)? {
            Wish::Look => {
                LOOKS.store(true, Relaxed);
                let look = |&core: &usize| thread::spawn(move || look(core, &LOOKS));
                looking.extend(cores.iter().map(look));
                Told::Looking
            }
            Wish::Tell => {
                LOOKS.store(false, Relaxed);
                let seen = looking.drain(..).filter_map(|thread| thread.join().ok());
                Told::Pauses(seen.flatten().collect())
            }
            Wish::Work => {
                let work = |&core: &usize| thread::spawn(move || work(core));
                let all: Vec<JoinHandle<Result<Nanos>>> = cores.iter().map(work).collect();
                let done = all.into_iter().map(|thread| match thread.join() {
                    Ok(done) => done,
                    Err(_) => bail!("a thread of the meter broke"),
                });
                Told::Work(done.collect::<Result<_>>()?)
            }
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &told)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

/// Sleeps on a core until told to stop. What it waits for behind other processes of this machine is no pause of the core.
fn look(core: usize, goes_on: &AtomicBool) -> Vec<Pause> {
    cores::pin(&[core]);
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let own =
        Proc::myself().and_then(|process| process.task_from_tid(gettid().as_raw_nonzero().get()));
    let queued = || {
        own.as_ref()
            .ok()?
            .schedstat()
            .ok()
            .map(|stat| stat.run_delay)
    };
    let (mut pauses, mut waited) = (Vec::new(), queued());
    while goes_on.load(Relaxed) {
        let due = now() + LOOK;
        thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        let (late, until) = (now().saturating_sub(due), queued());
        let behind = until
            .zip(waited)
            .map_or(0, |(to, from)| to.saturating_sub(from));
        waited = until;
        let length = late.saturating_sub(behind);
        if length >= SHORTEST {
            pauses.push(Pause {
                core,
                at: due,
                length,
            });
        }
    }
    pauses
}

/// Round trips over loopback and some arithmetic: what they take of a core's time.
fn work(core: usize) -> Result<Nanos> {
    cores::pin(&[core]);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    let (mut bytes, begun) = ([0; 128], time_of(ClockId::ThreadCPUTime));
    for _ in 0..ROUND_TRIPS {
        near.write_all(&bytes)?;
        far.read_exact(&mut bytes)?;
    }
    let sum = (0..ROUNDS).fold(1_u64, |sum, n| sum.rotate_left(5) ^ n.wrapping_mul(sum | 1));
    ensure!(std::hint::black_box(sum) != 0, "arithmetic failed");
    Ok(time_of(ClockId::ThreadCPUTime).saturating_sub(begun))
}

/// The pauses of each core.
pub fn by_core(pauses: &[Pause]) -> Vec<Times> {
    let mut cores: BTreeMap<usize, Times> = BTreeMap::new();
    for pause in pauses {
        cores.entry(pause.core).or_default().record(pause.length);
    }
    cores.into_values().collect()
}

/// A meter that was started.
pub struct Meter {
    process: Process,
    /// What it would answer now nobody knows.
    is_given_up: bool,
    wishes: pipe::Sender,
    answers: BufReader<pipe::Receiver>,
}

impl Meter {
    /// Starts one for these cores.
    pub fn start(cores: &[usize]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find the loadgen binary")?;
        let mut command = Command::new(program);
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        command.arg("meter").args(list);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for loadgen; this one ends with its standard input.
        command.process_group(0);
        let mut child = command.spawn().context("cannot start the hiccup meter")?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let process = Process::new(child);
        let (stdin, stdout) = pipes.context("the hiccup meter has no pipes")?;
        Ok(Self {
            process,
            is_given_up: false,
            wishes: pipe::Sender::from_owned_fd(OwnedFd::from(stdin))?,
            answers: BufReader::new(pipe::Receiver::from_owned_fd(OwnedFd::from(stdout))?),
        })
    }

    /// An error: it is given up, and nothing is asked of it again.
    async fn ask(&mut self, wish: Wish) -> Result<Told> {
        ensure!(!self.is_given_up, "the hiccup meter was given up");
        let told = signals::or_interrupted(self.answer(wish)).await;
        if let Err(error) = &told {
            self.is_given_up = true;
            let _ = self.process.kill();
            if !error.is::<Interrupted>() {
                console::say(&format!(
                    "loadgen: {error:#}: from now on nothing is known of the machine's pauses"
                ));
            }
        }
        told
    }

    async fn answer(&mut self, wish: Wish) -> Result<Told> {
        let asked = async {
            let line = serde_json::to_string(&wish)? + "\n";
            self.wishes.write_all(line.as_bytes()).await?;
            let mut line = String::new();
            self.answers.read_line(&mut line).await?;
            Ok(serde_json::from_str(&line)?)
        };
        timeout(ANSWER, asked)
            .await
            .context("the hiccup meter does not answer")?
    }

    /// Begins to look.
    pub async fn look(&mut self) -> Result<()> {
        match self.ask(Wish::Look).await? {
            Told::Looking => Ok(()),
            other => bail!("the hiccup meter told {other:?}"),
        }
    }

    /// Ends that: what was seen, on all cores.
    pub async fn tell(&mut self) -> Result<Vec<Pause>> {
        match self.ask(Wish::Tell).await? {
            Told::Pauses(pauses) => Ok(pauses),
            other => bail!("the hiccup meter told {other:?}"),
        }
    }

    /// The fixed piece of work: its CPU time, the mean over the cores.
    pub async fn work(&mut self) -> Result<Nanos> {
        match self.ask(Wish::Work).await? {
            Told::Work(times) => Ok(times.iter().sum::<Nanos>() / times.len().max(1) as u64),
            other => bail!("the hiccup meter told {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sleeper_waits_for_behind_others_is_no_pause_of_its_core() {
        let core = cores::available()[0];
        let goes_on = AtomicBool::new(true);
        let pauses = thread::scope(|scope| {
            let sleeper = scope.spawn(|| look(core, &goes_on));
            let other = scope.spawn(|| {
                cores::pin(&[core]);
                let end = now() + 300_000_000;
                while now() < end {
                    std::hint::spin_loop();
                }
            });
            other.join().unwrap();
            goes_on.store(false, Relaxed);
            sleeper.join().unwrap()
        });
        let long: Nanos = pauses.iter().map(|pause| pause.length).sum();
        assert!(long < 150_000_000, "{pauses:?}");
    }

    #[test]
    fn the_fixed_piece_of_work_takes_some_time_and_not_long() {
        let time = work(cores::available()[0]).unwrap();
        assert!((100_000..500_000_000).contains(&time), "{time}");
    }
}
