//! What the process prints: a thread of its own writes each stream, so that nobody waits for who reads it, and the
//! server goes on when nobody does or a line cannot be written.

use std::io::{self, Write};
use std::panic;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Lines that wait for a slow reader; what comes while they do is lost.
const QUEUED: usize = 1024;
/// The longest line, in bytes; the rest is cut off. With `--log debug` there may be the 16 KiB of a request's target in it.
const LONGEST: usize = 2048;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// A stream that somebody else has set to non-blocking, and that is full, is tried again after this long.
const FULL: Duration = Duration::from_millis(10);

static STDERR: LazyLock<Lines> = LazyLock::new(|| Lines::to(io::stderr()));
static STDOUT: LazyLock<Lines> = LazyLock::new(|| Lines::to(io::stdout()));

/// Puts a line on standard error.
pub(crate) fn say(line: &str) {
    STDERR.say(format!("{line}\n").as_bytes());
}

/// Puts a line on standard output.
pub(crate) fn print(line: &str) {
    STDOUT.say(format!("{line}\n").as_bytes());
}

/// Lines that standard error has lost since the start.
pub(crate) fn lost() -> u64 {
    STDERR.count.lost.load(SeqCst)
}

/// A panic is a line like others: the usual hook would wait for a reader who does not read, with a thread of the
/// runtime.
pub(crate) fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        say(&format!(
            "{} ERROR {}",
            now(),
            info.to_string().replace('\n', " ")
        ));
    }));
}

/// Dropped at the end of the process, however it comes: waits for the last lines, but not for long.
pub(crate) struct Finish;

impl Drop for Finish {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_LINES;
        // The last chance to say how many were lost.
        STDERR.say(b"");
        for lines in [&STDERR, &STDOUT] {
            lines.wait(deadline);
        }
    }
}

/// Writes what is logged to standard error.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The way to a stream. Never waits and never fails.
struct Lines {
    queue: SyncSender<Box<[u8]>>,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    fn to(stream: impl Write + Send + 'static) -> Self {
        let (queue, lines) = sync_channel(QUEUED);
        let count = Arc::<Count>::default();
        let written = Arc::clone(&count);
        // Without a thread, every line is lost and counted.
        let _ = thread::Builder::new()
            .name("lines".into())
            .spawn(move || write_all(&lines, stream, &written));
        Self { queue, count }
    }

    fn say(&self, line: &[u8]) {
        self.count.waiting.fetch_add(1, SeqCst);
        if self.queue.try_send(cut(line)).is_err() {
            self.count.waiting.fetch_sub(1, SeqCst);
            self.count.lost.fetch_add(1, SeqCst);
        }
    }

    fn wait(&self, deadline: Instant) {
        while self.count.waiting.load(SeqCst) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn cut(line: &[u8]) -> Box<[u8]> {
    match line.split_at_checked(LONGEST) {
        Some((beginning, rest)) if !rest.is_empty() => {
            format!("{}…\n", String::from_utf8_lossy(beginning))
                .into_bytes()
                .into()
        }
        _ => line.into(),
    }
}

fn write_all(lines: &Receiver<Box<[u8]>>, stream: impl Write, count: &Count) {
    let mut stream = Stream {
        stream,
        torn: false,
    };
    let mut told = 0;
    for line in lines {
        let lost = count.lost.load(SeqCst);
        if lost > told {
            let notice = format!(
                "{}  WARN lines were lost before this one lost={}\n",
                now(),
                lost - told
            );
            if stream.write(notice.as_bytes()).is_ok() {
                told = lost;
            }
        }
        if stream.write(&line).is_err() {
            count.lost.fetch_add(1, SeqCst);
        }
        count.waiting.fetch_sub(1, SeqCst);
    }
}

struct Stream<S> {
    stream: S,
    /// The last line was written only in part.
    torn: bool,
}

impl<S: Write> Stream<S> {
    /// Writes a whole line, or says that it could not.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn && !line.is_empty() {
            self.write_some(b"\n")?;
            self.torn = false;
        }
        self.write_some(line)
    }

    fn write_some(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let whole = rest.len();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(size) if size > 0 => rest = &rest[size..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
                failed => {
                    self.torn |= rest.len() < whole;
                    return failed.and(Err(io::ErrorKind::WriteZero.into()));
                }
            }
        }
        self.stream.flush()
    }
}

/// The time as it stands before every line of the log.
fn now() -> String {
    let mut time = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

#[cfg(test)]
mod tests;
