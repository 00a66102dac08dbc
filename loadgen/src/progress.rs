//! What one sees while a trial runs: one live line on a terminal, a line now and then elsewhere, nothing if asked.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// The live line is drawn so often.
const LIVE: Duration = Duration::from_millis(200);
/// A line is printed so often, and whenever a phase begins.
const PLAIN: Duration = Duration::from_secs(5);

/// Where progress is shown, and whether somebody has pressed Ctrl-C.
pub struct Progress {
    line: Option<ProgressBar>,
    quiet: bool,
    last: Mutex<Last>,
    interrupted: Arc<AtomicBool>,
}

struct Last {
    label: String,
    phase: &'static str,
    at: Instant,
    deliveries: u64,
}

impl Progress {
    /// On standard error, as it is; a second Ctrl-C ends the process at once.
    pub fn new(quiet: bool) -> Self {
        let live = !quiet && std::io::stderr().is_terminal();
        let interrupted = Arc::<AtomicBool>::default();
        tokio::spawn(listen(Arc::clone(&interrupted)));
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("a constant template");
        let line = live.then(|| ProgressBar::new_spinner().with_style(style));
        Self {
            line,
            quiet,
            last: Mutex::new(Last { label: String::new(), phase: "", at: Instant::now(), deliveries: 0 }),
            interrupted,
        }
    }

    /// Whether the run is to end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Relaxed)
    }

    /// Names the trial that begins.
    pub fn label(&self, label: &str) {
        let mut last = self.last.lock();
        *last = Last { label: label.into(), phase: "", at: Instant::now(), deliveries: 0 };
    }

    /// Shows how things stand, if it is time: how many deliveries there are so far, and the rest in words.
    pub fn show(&self, phase: &'static str, status: impl FnOnce() -> (u64, String)) {
        let mut last = self.last.lock();
        let since = last.at.elapsed();
        let begins = last.phase != phase;
        let pause = if self.line.is_some() { LIVE } else { PLAIN };
        if self.quiet || (since < pause && !begins) {
            return;
        }
        let (deliveries, status) = status();
        let mut text = format!("{}: {phase}, {status}", last.label);
        let more = deliveries.saturating_sub(last.deliveries);
        if !begins && more > 0 {
            text += &format!(", {:.0} deliveries/s", more as f64 / since.as_secs_f64());
        }
        (last.phase, last.at, last.deliveries) = (phase, Instant::now(), deliveries);
        match &self.line {
            Some(line) => {
                line.set_message(text);
                line.tick();
            }
            None => eprintln!("{text}"),
        }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        match &self.line {
            _ if self.quiet => {}
            Some(line) => line.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// The live line goes.
    pub fn clear(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

async fn listen(interrupted: Arc<AtomicBool>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if interrupted.swap(true, Relaxed) {
            std::process::exit(130);
        }
    }
}
