//! The range of every number of a scenario: for the flags, and for what a JSON file says.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};

/// Messages per second over all rooms: more than any publisher here has reached.
pub const MAX_PUBLISH_RATE: f64 = 1e6;

/// Clients: more than one address has ports for, several times over.
pub const CLIENTS: Bounds<usize> = Bounds {
    name: "clients",
    from: 1,
    to: 1_000_000,
    kind: whole(),
};
/// Clients of one room.
pub const ROOM_SIZE: Bounds<usize> = Bounds {
    name: "room-size",
    ..CLIENTS
};
/// Messages per second and room: from one in a quarter of an hour.
pub const RATE: Bounds<f64> = Bounds {
    name: "rate",
    from: 0.001,
    to: MAX_PUBLISH_RATE,
    kind: NUMBER,
};
/// Bytes of a text: what the audit needs, and the most that the protocol allows.
pub const PAYLOAD: Bounds<usize> = Bounds {
    name: "payload",
    from: 40,
    to: 64 * 1024,
    kind: SIZE,
};
/// Between polls: with the default warm-up of 5 intervals, no more than the longest warm-up.
pub const INTERVAL: Bounds<Duration> = Bounds {
    name: "interval",
    from: Duration::from_millis(1),
    to: Duration::from_secs(600),
    kind: TIME,
};
/// How long a long poll is held: the server's own range.
pub const HOLD: Bounds<Duration> = Bounds {
    name: "hold",
    from: Duration::from_millis(1),
    to: Duration::from_secs(60),
    kind: TIME,
};
/// Connections that publish: more bring nothing.
pub const PUBLISHERS: Bounds<usize> = Bounds {
    name: "publishers",
    from: 1,
    to: 10_000,
    kind: whole(),
};
/// Load before the measuring window.
pub const WARMUP: Bounds<Duration> = Bounds {
    name: "warmup",
    from: Duration::ZERO,
    to: Duration::from_secs(3600),
    kind: TIME,
};
/// The measuring window.
pub const DURATION: Bounds<Duration> = Bounds {
    name: "duration",
    from: Duration::from_millis(1),
    to: Duration::from_secs(24 * 3600),
    kind: TIME,
};
/// The seed: any number that fits.
pub const SEED: Bounds<u64> = Bounds {
    name: "seed",
    from: 0,
    to: u64::MAX,
    kind: whole(),
};
/// Blocks: beyond 1074, 2 to the power of minus their number is zero in floating point, and with it every interval.
pub const BLOCKS: Bounds<u16> = Bounds {
    name: "blocks",
    from: 1,
    to: 1000,
    kind: whole(),
};

/// Sets of slices: as many.
pub const SETS: Bounds<u16> = Bounds {
    name: "sets",
    from: 1,
    to: 1000,
    kind: whole(),
};
/// How long a comparison may take.
pub const BUDGET: Bounds<Duration> = Bounds {
    name: "budget",
    from: Duration::from_secs(1),
    to: Duration::from_secs(24 * 3600),
    kind: TIME,
};

/// The longest silence that a probe tries: a server can be asked for ten minutes of it.
pub const UP_TO: Bounds<Duration> = Bounds {
    name: "up-to",
    from: Duration::from_secs(1),
    to: Duration::from_secs(540),
    kind: TIME,
};
/// The heartbeats that a probe asks for: the server's own range.
pub const HEARTBEAT: Bounds<Duration> = Bounds {
    name: "heartbeats",
    from: Duration::from_secs(1),
    to: Duration::from_secs(600),
    kind: TIME,
};

/// How numbers of one kind are read and written.
#[derive(Debug, Clone, Copy)]
pub struct Kind<T> {
    what: &'static str,
    example: &'static str,
    read: fn(&str) -> Option<T>,
    show: fn(T) -> String,
}

const fn whole<T: FromStr + ToString>() -> Kind<T> {
    Kind {
        what: "a whole number",
        example: "",
        read: |text| text.parse().ok(),
        show: |n| n.to_string(),
    }
}

const NUMBER: Kind<f64> = Kind {
    what: "a number",
    example: "",
    read: |text| text.parse().ok(),
    show: |x| x.to_string(),
};
const SIZE: Kind<usize> = Kind {
    what: "a size",
    example: ", such as 128 or 1KiB",
    read: size,
    show: |bytes| bytes.to_string(),
};
const TIME: Kind<Duration> = Kind {
    what: "a time",
    example: ", such as 500ms, 25s or 2m",
    read: |text| humantime::parse_duration(text).ok(),
    show: |time| humantime::format_duration(time).to_string(),
};

fn size(text: &str) -> Option<usize> {
    usize::try_from(parse_size::parse_size(text).ok()?).ok()
}

/// A range, both ends included, and the flag that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<T: 'static> {
    /// The flag's long name.
    pub name: &'static str,
    /// The least.
    pub from: T,
    /// The most.
    pub to: T,
    kind: Kind<T>,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    /// Reads what a flag was given.
    pub fn parse(&self, text: &str) -> Result<T, String> {
        (self.kind.read)(text)
            .filter(|&value| self.holds(value))
            .ok_or_else(|| self.right())
    }

    /// Checks a value that did not come from a flag.
    pub fn check(&self, value: T) -> Result<()> {
        ensure!(
            self.holds(value),
            "{} is {}; it {}",
            self.name,
            (self.kind.show)(value),
            self.right()
        );
        Ok(())
    }

    // Not a number is in no range.
    fn holds(&self, value: T) -> bool {
        value >= self.from && value <= self.to
    }

    fn right(&self) -> String {
        format!(
            "must be {} from {self}{}",
            self.kind.what, self.kind.example
        )
    }
}

impl<T: Copy> fmt::Display for Bounds<T> {
    /// Both ends, as `--help` and every refusal have them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = self.kind.show;
        write!(f, "{} to {}", show(self.from), show(self.to))
    }
}
