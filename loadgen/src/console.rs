//! What people are told: every line on standard error and every text on standard output goes through here.
//!
//! A line on standard error is never waited for: a thread of its own writes it, and what nobody reads is lost and
//! counted. A text on standard output waits for its reader. Neither ends the program, whatever becomes of the stream.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::io::{IsTerminal, stderr, stdout};
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

use crate::cores;

/// Lines that wait for a slow reader; of more the oldest are lost.
const WAITING: usize = 100;
/// The end of the program, or a text on standard output, waits this long for the lines before it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The width of a terminal that does not tell it.
const WIDTH: usize = 80;
/// Goes back to the beginning of a line and clears it.
const ERASE: &str = "\r\x1b[K";

static CONSOLE: LazyLock<Console> = LazyLock::new(|| {
    // Where no thread can be started, nothing is said.
    let _ = std::thread::Builder::new()
        .name("console".into())
        .spawn(|| {
            cores::pin(&cores::split().loadgen);
            CONSOLE.write();
        });
    Console::default()
});

/// Says a line on standard error.
pub fn say(text: &str) {
    CONSOLE.state.lock().push(visible(text));
    CONSOLE.changed.notify_all();
}

/// Whether standard error is a terminal on which a line can be drawn over.
pub fn is_live() -> bool {
    let is_capable =
        || std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    stderr().is_terminal() && is_capable()
}

/// Draws the line at the bottom of a terminal, over its last state; an empty one clears it.
pub fn draw(text: &str) {
    let mut state = CONSOLE.state.lock();
    (state.live, state.stale) = (visible(text), true);
    drop(state);
    CONSOLE.changed.notify_all();
}

/// Waits until everything that was said is written, within reason.
pub fn flush() {
    let (deadline, mut state) = (Instant::now() + PATIENCE, CONSOLE.state.lock());
    while !state.is_idle() {
        if CONSOLE.changed.wait_until(&mut state, deadline).timed_out() {
            return;
        }
    }
}

/// Prints a text on standard output, after everything that was said before; a reader that has seen enough (`| head`)
/// is no error.
pub fn print(text: &str) -> Result<()> {
    // On a terminal the text would begin behind the line that is drawn over.
    draw("");
    flush();
    match write(stdout(), text.as_bytes()) {
        Err(error) if error != Errno::PIPE => Err(error).context("cannot write to standard output"),
        _ => Ok(()),
    }
}

/// A panic is said as everything else is: by default it would wait for whoever does not read standard error.
pub fn take_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        say(&format!(
            "loadgen: a fault of loadgen's own: thread {:?} {panic}",
            thread.name().unwrap_or("?")
        ));
        say_backtrace();
    }));
}

/// Says how it came to this place, if `RUST_BACKTRACE` asks for it.
pub fn say_backtrace() {
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        say(&trace.to_string());
    }
}

/// A text in which nothing steers a terminal: control characters are shown, not obeyed.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[derive(Default)]
struct Console {
    state: Mutex<State>,
    /// There is something to write, or nothing any more.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    /// Lines that nobody read, since the last one that somebody did.
    lost: u64,
    /// The line at the bottom of a terminal.
    live: String,
    /// Whether it has changed since it was drawn.
    stale: bool,
    /// Whether it is on the screen.
    drawn: bool,
    /// Whether something is being written.
    busy: bool,
}

impl State {
    fn push(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > WAITING {
            self.lines.pop_front();
            self.lost += 1;
        }
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && !self.stale && !self.busy
    }

    /// What is to be written next, on a terminal of this width.
    fn next(&mut self, width: impl FnOnce() -> usize) -> Option<String> {
        let erase = if self.drawn { ERASE } else { "" };
        if let Some(line) = self.lines.pop_front() {
            let lost = match self.lost {
                0 => String::new(),
                lost => {
                    format!("loadgen: {lost} lines before this one were lost: nothing took them\n")
                }
            };
            (self.drawn, self.stale) = (false, self.stale || self.drawn);
            return Some(format!("{erase}{lost}{line}\n"));
        }
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        self.drawn = !self.live.is_empty();
        // One column less: some terminals go to the next line after the last one.
        let text: String = self.live.chars().take(width().saturating_sub(1)).collect();
        Some(if self.drawn {
            format!("{ERASE}{text}")
        } else {
            erase.into()
        })
    }
}

impl Console {
    /// The thread that writes.
    fn write(&self) -> ! {
        let mut state = self.state.lock();
        loop {
            let Some(text) = state.next(width) else {
                self.changed.wait(&mut state);
                continue;
            };
            let (is_line, told) = (text.ends_with('\n'), state.lost);
            state.busy = true;
            drop(state);
            let written = write(stderr(), text.as_bytes());
            state = self.state.lock();
            state.busy = false;
            match written {
                Ok(()) if is_line => state.lost -= told,
                Err(_) if is_line => state.lost += 1,
                _ => {}
            }
            self.changed.notify_all();
        }
    }
}

fn width() -> usize {
    columns_of(stderr()).unwrap_or(WIDTH)
}

/// The columns of the terminal that standard output is, if it is one.
pub fn columns() -> Option<usize> {
    columns_of(stdout())
}

fn columns_of(stream: impl AsFd) -> Option<usize> {
    tcgetwinsize(stream)
        .map(|size| size.ws_col.into())
        .ok()
        .filter(|&columns| columns > 0)
}

/// Writes it all, without a buffer or a lock; waits also where another process has made the stream non-blocking.
fn write(stream: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&stream, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nobody_reads_are_lost_from_the_oldest_on_and_counted() {
        let mut state = State::default();
        (0..WAITING + 3).for_each(|i| state.push(format!("line {i}")));
        let first = state.next(|| 80).unwrap();
        assert_eq!(
            first,
            "loadgen: 3 lines before this one were lost: nothing took them\nline 3\n"
        );
        state.lost = 0;
        assert_eq!(state.next(|| 80).unwrap(), "line 4\n");
        (5..WAITING + 3).for_each(|_| drop(state.next(|| 80).unwrap()));
        assert_eq!(state.next(|| 80), None);
    }

    #[test]
    fn a_line_takes_the_place_of_the_one_that_is_drawn_over_and_that_comes_again_below_it() {
        let mut state = State {
            live: "0123456789".into(),
            stale: true,
            ..State::default()
        };
        assert_eq!(state.next(|| 5).unwrap(), "\r\u{1b}[K0123");
        assert_eq!(state.next(|| 5), None);
        state.push("said".into());
        assert_eq!(state.next(|| 5).unwrap(), "\r\u{1b}[Ksaid\n");
        assert_eq!(state.next(|| 80).unwrap(), "\r\u{1b}[K0123456789");
        (state.live, state.stale) = (String::new(), true);
        assert_eq!(state.next(|| 80).unwrap(), ERASE);
        assert!(state.is_idle());
    }

    #[test]
    fn what_comes_from_elsewhere_does_not_steer_the_terminal() {
        assert_eq!(
            visible("a\u{1b}[31m\r\n\tb\u{9b}é"),
            "a\\u{1b}[31m\\r\n\tb\\u{9b}é"
        );
    }
}
