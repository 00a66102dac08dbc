//! Ctrl-C, SIGTERM and SIGHUP: the first ends the run in order, a second one ends the program without waiting.
//!
//! A thread of its own listens, so that a signal is answered whatever the rest of the program waits for.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{children, console, cores, folder};

/// The signals, as they are called.
const SIGNALS: [(&str, i32); 3] = [
    ("SIGINT", libc::SIGINT),
    ("SIGTERM", libc::SIGTERM),
    ("SIGHUP", libc::SIGHUP),
];
/// One wish may come as several signals: `timeout` sends one to the process and one to its group, a wrapper passes on
/// what all have got. Nobody presses Ctrl-C twice within this time.
const BURST: Duration = Duration::from_millis(200);
/// The same for SIGHUP: where a terminal is closed, its shell sends one, and the kernel another once the shell is gone.
const HANG_UP: Duration = Duration::from_secs(1);

/// The first signal that has come.
static RECEIVED: LazyLock<watch::Sender<Option<Received>>> =
    LazyLock::new(|| watch::Sender::new(None));

/// A signal that has come.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    name: &'static str,
    number: i32,
    at: Instant,
}

impl Received {
    /// The exit code of what it ended.
    pub fn exit_code(&self) -> u8 {
        u8::try_from(128 + self.number).unwrap_or(u8::MAX)
    }
}

/// What the first signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The run ends and writes what it has: whoever runs it asks [`received`] or waits for [`interruption`].
    EndsTheRun,
    /// The program ends: there is nothing to keep.
    EndsTheProgram,
}

/// An error that is none: a signal has come.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// The signal that ends the run, if one has come.
pub fn received() -> Option<Received> {
    *RECEIVED.borrow()
}

/// Waits for a signal that ends the run.
pub async fn interruption() {
    let _ = RECEIVED.subscribe().wait_for(Option::is_some).await;
}

/// Completes with what comes first: the value, or an error because a signal has come.
pub async fn or_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        result = work => result,
        () = interruption() => Err(Interrupted.into()),
    }
}

/// Listens from now on. A signal that is ignored (`nohup`) stays ignored.
pub fn listen(first: First) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let context = runtime.enter();
    // Its default action is to end the process; listened for, a file that grows too big is an error to be told.
    drop(signal(SignalKind::from_raw(libc::SIGXFSZ)).context("cannot listen for signals")?);
    let ignored = procfs::process::Process::myself()
        .and_then(|own| own.status())
        .map_or(0, |status| status.sigign);
    for (name, number) in SIGNALS
        .into_iter()
        .filter(|(_, number)| ignored & (1 << (number - 1)) == 0)
    {
        let mut stream =
            signal(SignalKind::from_raw(number)).context("cannot listen for signals")?;
        runtime.spawn(async move {
            while stream.recv().await.is_some() {
                arrive(
                    Received {
                        name,
                        number,
                        at: Instant::now(),
                    },
                    first,
                );
            }
        });
    }
    drop(context);
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(move || {
        cores::pin(&cores::split().loadgen);
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok(())
}

fn arrive(signal: Received, first: First) {
    static LAST: Mutex<Option<Received>> = Mutex::new(None);
    let last = LAST.lock().replace(signal);
    match last {
        Some(last) if signal.repeats(&last) => {}
        None if first == First::EndsTheRun => {
            let name = signal.name;
            console::say(&format!(
                "loadgen: {name}: the run ends, what was measured is kept; after a second one nothing is waited for"
            ));
            RECEIVED.send_replace(Some(signal));
        }
        _ => quit(signal),
    }
}

impl Received {
    /// Whether it is the same wish as the one before.
    fn repeats(&self, last: &Self) -> bool {
        let is_hang_up = [self.number, last.number] == [libc::SIGHUP; 2];
        self.at - last.at < if is_hang_up { HANG_UP } else { BURST }
    }
}

/// Ends the program, with everything that it has started.
fn quit(signal: Received) -> ! {
    console::say(&format!("loadgen: {}: quits", signal.name));
    children::kill_all();
    folder::leave();
    console::flush();
    std::process::exit(signal.exit_code().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_in_a_burst_is_one_wish() {
        let first = Received {
            name: "",
            number: libc::SIGHUP,
            at: Instant::now(),
        };
        let then = |number, millis| Received {
            name: "",
            number,
            at: first.at + Duration::from_millis(millis),
        };
        assert!(
            then(libc::SIGHUP, 900).repeats(&first) && then(libc::SIGTERM, 100).repeats(&first)
        );
        assert!(
            !then(libc::SIGHUP, 1100).repeats(&first) && !then(libc::SIGTERM, 300).repeats(&first)
        );
        assert_eq!(
            [1, 2, 15].map(|number| then(number, 0).exit_code()),
            [129, 130, 143]
        );
    }
}
