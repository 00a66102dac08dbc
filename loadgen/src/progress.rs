//! What one sees while a trial runs: a line now and then, on a terminal also one that is drawn over; nothing if asked.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::console;

/// The line at the bottom of a terminal is drawn this often.
const LIVE: Duration = Duration::from_millis(200);
/// A line is said this often, and whenever a phase begins: the same ones on every kind of terminal, and on none.
const PLAIN: Duration = Duration::from_secs(5);

/// Where progress is shown.
pub struct Progress {
    live: bool,
    quiet: bool,
    began: Instant,
    last: Mutex<Last>,
}

struct Last {
    label: String,
    /// When all trials will have ended, if that is known.
    ends: Option<Instant>,
    phase: &'static str,
    said: Shown,
    drawn: Shown,
}

/// When something was shown, and how many deliveries there were then.
#[derive(Clone, Copy)]
struct Shown {
    at: Instant,
    deliveries: u64,
}

impl Shown {
    fn now(deliveries: u64) -> Self {
        Self {
            at: Instant::now(),
            deliveries,
        }
    }

    /// The rate since then, if anything came.
    fn rate(self, deliveries: u64) -> String {
        match deliveries.saturating_sub(self.deliveries) {
            0 => String::new(),
            more => format!(
                ", {:.0} deliveries/s",
                more as f64 / self.at.elapsed().as_secs_f64()
            ),
        }
    }
}

impl Last {
    fn new(label: &str, left: Option<Duration>) -> Self {
        let ends = left.map(|left| Instant::now() + left);
        Self {
            label: label.into(),
            ends,
            phase: "",
            said: Shown::now(0),
            drawn: Shown::now(0),
        }
    }
}

impl Progress {
    /// On standard error, as it is.
    pub fn new(quiet: bool) -> Self {
        let last = Mutex::new(Last::new("", None));
        Self {
            live: !quiet && console::is_live(),
            quiet,
            began: Instant::now(),
            last,
        }
    }

    /// Names the trial that begins, and says how long all that are left take with it, if that is known.
    pub fn begin(&self, label: &str, left: Option<Duration>) {
        *self.last.lock() = Last::new(label, left);
    }

    /// Shows how things stand, if it is time: how many deliveries there are so far, and the rest in words.
    pub fn show(&self, phase: &'static str, status: impl FnOnce() -> (u64, String)) {
        let mut last = self.last.lock();
        let begins = last.phase != phase;
        let is_due = begins || last.said.at.elapsed() >= PLAIN;
        let is_drawn = self.live && (begins || last.drawn.at.elapsed() >= LIVE);
        if self.quiet || !(is_due || is_drawn) {
            return;
        }
        let (deliveries, status) = status();
        let left = last
            .ends
            .map(|ends| clock(ends.saturating_duration_since(Instant::now())));
        let left = left.map_or(String::new(), |left| format!(", {left} left"));
        let time = format!("{}{left}", clock(self.began.elapsed()));
        let text = |since: Shown| {
            let rate = if begins {
                String::new()
            } else {
                since.rate(deliveries)
            };
            format!("{} ({time}): {phase}, {status}{rate}", last.label)
        };
        let (said, drawn) = (text(last.said), text(last.drawn));
        last.phase = phase;
        if is_due {
            last.said = Shown::now(deliveries);
            console::say(&said);
        }
        if is_drawn {
            last.drawn = Shown::now(deliveries);
            console::draw(&drawn);
        }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            console::say(text);
        }
    }

    /// The line at the bottom of a terminal goes.
    pub fn clear(&self) {
        if self.live {
            console::draw("");
        }
    }
}

/// A time in minutes and seconds, with hours where there are some.
fn clock(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}:{seconds:02}"),
        (hours, minutes) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_a_clock_does() {
        for (seconds, text) in [
            (0, "0:00"),
            (65, "1:05"),
            (3600, "1:00:00"),
            (36_725, "10:12:05"),
        ] {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }
}
