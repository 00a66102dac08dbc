//! A full description of a load: what goes in. Everything here has a flag, a default and a place in the JSON.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Command, FromArgMatches, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{
    CLIENTS, DURATION, HOLD, INTERVAL, PAYLOAD, PUBLISHERS, RATE, ROOM_SIZE, SEED, WARMUP,
};
use super::disturbance::{CutKind, Disturbance};
use super::link::Link;
use super::variant::{Headers, Transport};
use super::words::{count, number};

/// Of its multiples, what follows the point fills the space from 0 to 1 evenly, however many they are.
pub(crate) const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// New connections per second over all workers: a ramp that no backlog of 4096 overflows.
pub const CONNECTS_PER_SECOND: u64 = 2000;

/// The parser of a flag whose values have these bounds.
macro_rules! within {
    ($bounds:expr) => {
        |text: &str| $bounds.parse(text)
    };
}

/// The load of a trial. `--rate` is per second *and room*.
#[derive(Args, Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[command(next_help_heading = "Load")]
pub struct Scenario {
    /// Simulated clients, each with a connection of its own, 1 to 1000000.
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = within!(CLIENTS), allow_hyphen_values = true)]
    pub clients: usize,
    /// Clients that share a room, 1 to 1000000, or `all` for one big room.
    #[arg(
        long,
        value_name = "N|all",
        default_value = "20",
        allow_hyphen_values = true
    )]
    pub room_size: RoomSize,
    /// Messages per second and room, 0.001 to 1000000.
    #[arg(short = 'q', long, value_name = "R", default_value_t = 1.0, value_parser = within!(RATE), allow_hyphen_values = true)]
    pub rate: f64,
    /// How publishes are spread in time.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub arrivals: Arrivals,
    /// Bytes of text in a message, 40 to 65536.
    #[arg(long, value_name = "SIZE", default_value = "128", value_parser = within!(PAYLOAD), allow_hyphen_values = true)]
    pub payload: usize,
    /// How often a short poll asks, 1ms to 10m.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = within!(INTERVAL), allow_hyphen_values = true)]
    #[serde(rename = "interval_seconds", with = "seconds")]
    #[schemars(with = "f64")]
    pub interval: Duration,
    /// How long a long poll waits at the server, 1ms to 1m.
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = within!(HOLD), allow_hyphen_values = true)]
    #[serde(rename = "hold_seconds", with = "seconds")]
    #[schemars(with = "f64")]
    pub hold: Duration,
    /// The request headers of a client: a browser's with a 200-byte cookie, or only what is needed.
    #[arg(long, value_enum, default_value_t = Headers::Browser)]
    pub headers: Headers,
    /// A new connection for each request of a poll.
    #[arg(long = "no-keep-alive", action = clap::ArgAction::SetFalse)]
    pub keep_alive: bool,
    /// Let all clients poll at the same moments, as none should: to see that it is noticed.
    #[arg(long, hide = true)]
    pub in_phase: bool,
    /// Let a part of loadgen panic, to see that it is not blamed on the server.
    #[arg(long, hide = true, value_enum, value_name = "PART")]
    #[serde(skip)]
    pub panic_in: Option<Part>,
    /// Connections that publish, whatever the transport, 1 to 10000.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = within!(PUBLISHERS), allow_hyphen_values = true)]
    pub publishers: usize,
    /// Load before the measuring window, 0s to 1h [default: the longer of 3s and 5 intervals; in sets 200ms before each slice, of short polls an interval].
    #[arg(long, value_name = "TIME", value_parser = within!(WARMUP), allow_hyphen_values = true)]
    #[serde(rename = "warmup_seconds", with = "optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub warmup: Option<Duration>,
    /// Length of the measuring window, 1ms to 1day [default: 12s; in each set 3s, in slices of about 1s; with --whole-trials 5s in each block, 13s of a standard one].
    #[arg(short = 'z', long, value_name = "TIME", value_parser = within!(DURATION), allow_hyphen_values = true)]
    #[serde(rename = "duration_seconds", with = "optional_seconds")]
    #[schemars(with = "Option<f64>")]
    pub duration: Option<Duration>,
    /// Seed of the schedule and of the order of trials, 0 to 18446744073709551615: the same seed publishes the same
    /// messages at the same times [default: drawn, and recorded].
    #[arg(long, value_name = "N", value_parser = within!(SEED), allow_hyphen_values = true)]
    pub seed: Option<u64>,
    /// The distance between clients and server, publishers included.
    #[arg(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What is done to connections and to the server.
    #[command(flatten)]
    #[serde(default)]
    pub disturbance: Disturbance,
}

impl Scenario {
    /// The scenario of these flags, as the command line would take them.
    pub fn parse(flags: &str) -> Result<Self, clap::Error> {
        let command = Self::augment_args(Command::new("loadgen").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(flags.split_whitespace())?)
    }

    /// Checks a scenario that did not come from flags.
    pub fn check(&self) -> Result<()> {
        let Self {
            clients,
            room_size,
            rate,
            payload,
            interval,
            hold,
            publishers,
            warmup,
            duration,
            ..
        } = self;
        CLIENTS.check(*clients)?;
        if let RoomSize::Of(n) = room_size {
            ROOM_SIZE.check(*n)?;
        }
        RATE.check(*rate)?;
        PAYLOAD.check(*payload)?;
        INTERVAL.check(*interval)?;
        HOLD.check(*hold)?;
        PUBLISHERS.check(*publishers)?;
        if let Some(link) = &self.link {
            link.check()?;
        }
        warmup.map_or(Ok(()), |warmup| WARMUP.check(warmup))?;
        duration.map_or(Ok(()), |duration| DURATION.check(duration))
    }

    /// Clients in a full room.
    pub fn room_size(&self) -> usize {
        match self.room_size {
            RoomSize::All => self.clients,
            RoomSize::Of(n) => n.min(self.clients),
        }
    }

    /// How many rooms there are; the last may be smaller.
    pub fn rooms(&self) -> usize {
        self.clients.div_ceil(self.room_size())
    }

    /// The room of a client.
    pub fn room_of(&self, client: usize) -> u32 {
        u32::try_from(client / self.room_size()).expect("clients are fewer than descriptors")
    }

    /// How many clients share a room.
    pub fn population(&self, room: u32) -> usize {
        self.room_size()
            .min(self.clients - room as usize * self.room_size())
    }

    /// The seed: a fixed one where none was drawn.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Load before the window.
    pub fn warmup(&self) -> Duration {
        self.warmup
            .unwrap_or_else(|| (self.interval * 5).max(Duration::from_secs(3)))
    }

    /// Length of the measuring window.
    pub fn duration(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(12))
    }

    /// How long a delivery may take after the last publish before it counts as missing.
    pub fn patience(&self) -> Duration {
        let usual = (self.interval + Duration::from_secs(2)).max(Duration::from_secs(5));
        let trips = self
            .link
            .as_ref()
            .map_or(Duration::ZERO, |link| 4 * link.rtt());
        usual + trips + self.away()
    }

    /// From an answer of the server to where its next question reaches it, over the link: both ways, in the mean.
    pub fn trip(&self) -> Duration {
        let link = self.link.as_ref();
        link.map_or(Duration::ZERO, |link| {
            link.rtt() + Duration::from_secs_f64(link.jitter_ms / 1e3)
        })
    }

    /// How long a client may be away that is cut on purpose: it finds out, waits, and tries twice.
    pub fn away(&self) -> Duration {
        let Disturbance { cut, reconnect, .. } = &self.disturbance;
        if !self.disturbance.is_any() {
            return Duration::ZERO;
        }
        let silent = cut.filter(|cut| cut.kind == CutKind::Silence);
        let silent = silent.map_or(0.0, |cut| cut.patience_seconds);
        reconnect.wait(0, 1.0) + reconnect.wait(1, 1.0) + Duration::from_secs_f64(silent)
    }

    /// Connections that publish: enough for the messages that are under way over a link at once, twice over.
    pub fn publishers(&self) -> usize {
        let trips = self.link.as_ref().map_or(Duration::ZERO, Link::rtt);
        let under_way = 2.0 * self.publish_rate() * trips.as_secs_f64();
        self.publishers.max(under_way.ceil() as usize)
    }

    /// More messages than any room of a trial can have: ten standard deviations above the mean of its schedule, and
    /// twice that, for a server that does not know keys may store one twice.
    pub fn most_in_a_room(&self) -> u64 {
        let mean = self.rate * (self.warmup() + self.duration()).as_secs_f64();
        (2.0 * (mean + 10.0 * mean.sqrt() + 50.0)) as u64
    }

    /// The phases before any load, in their order. Clients connect in steps where memory is read, for it is a slope.
    pub fn gathering(&self, in_steps: bool) -> Vec<Phase> {
        let mut steps = if in_steps {
            vec![0, self.clients / 4, self.clients / 2, self.clients]
        } else {
            vec![self.clients]
        };
        steps.dedup();
        let connecting = steps
            .into_iter()
            .flat_map(|clients| [Phase::Connect { clients }, Phase::Rest { clients }]);
        connecting.collect()
    }

    /// The phases from the first load on, in their order.
    pub fn loading(&self) -> Vec<Phase> {
        let restart = self.disturbance.server_restart;
        let until = restart.map(|restart| Duration::from_secs_f64(restart.at_seconds));
        let mut phases = vec![Phase::WarmUp];
        if until.is_some() {
            phases.extend([Phase::Measure { until }, Phase::Restart]);
        }
        phases.extend([Phase::Measure { until: None }, Phase::GracePeriod]);
        phases
    }

    /// Messages per second over all rooms.
    pub fn publish_rate(&self) -> f64 {
        self.rate * self.rooms() as f64
    }
}

impl Scenario {
    /// The workload in one sentence, of what these transports do with it.
    pub fn sentence(&self, modes: &[Transport]) -> String {
        let deliveries = self.rate * self.clients as f64;
        let messages = if self.rate == 1.0 {
            "one message".to_owned()
        } else {
            format!("{} messages", self.rate)
        };
        let each = if deliveries == 1.0 {
            "delivery/s"
        } else {
            "deliveries/s"
        };
        let mut text = format!(
            "{} in {}, {messages} of {} bytes per second and room ({} {each})",
            count(self.clients as u64, "client"),
            self.rooms_in_words(),
            self.payload,
            number(deliveries),
        );
        let time = |time| humantime::format_duration(time).to_string();
        if modes.contains(&Transport::ShortPoll) {
            text += &format!(", short polls every {}", time(self.interval));
        }
        if modes.contains(&Transport::LongPoll) {
            text += &format!(", long polls held for {}", time(self.hold));
        }
        if !self.keep_alive && modes.iter().any(|mode| !mode.properties().streams) {
            text += ", a new connection for each poll";
        }
        if let Some(link) = &self.link {
            text += &format!(", over an emulated link ({link})");
        }
        text += &format!(", measured for {}", time(self.duration()));
        if self.disturbance.is_any() {
            text += &format!("; {}", self.disturbance);
        }
        text
    }

    fn rooms_in_words(&self) -> String {
        let (rooms, size) = (self.rooms(), self.room_size());
        match (rooms, self.clients % size) {
            (1, _) => "one room".into(),
            (_, 0) => format!("{rooms} rooms of {size}"),
            (_, rest) => format!("{rooms} rooms, {} of {size} and one of {rest}", rooms - 1),
        }
    }
}

/// The name of a room of a trial, for publishers and subscribers alike.
pub fn room_name(tag: &str, room: u32) -> String {
    format!("lg-{tag}-{room}")
}

/// How many clients share a room.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RoomSize {
    /// Everybody.
    All,
    /// This many.
    Of(usize),
}

impl FromStr for RoomSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            Ok(Self::All)
        } else {
            ROOM_SIZE
                .parse(text)
                .map(Self::Of)
                .map_err(|error| error + ", or all")
        }
    }
}

/// A phase of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Until this many clients in all have tried to connect.
    Connect {
        /// How many.
        clients: usize,
    },
    /// Allocators and handshakes come to rest; then memory is read.
    Rest {
        /// How many clients may be connected.
        clients: usize,
    },
    /// Load that does not count.
    WarmUp,
    /// Load that counts, until so much of it has passed, or all.
    Measure {
        /// If it is not all.
        until: Option<Duration>,
    },
    /// The server is killed, and started again.
    Restart,
    /// What was published may still arrive.
    GracePeriod,
}

impl Phase {
    /// What progress calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect { .. } | Self::Rest { .. } => "connecting",
            Self::WarmUp => "warm-up",
            Self::Measure { .. } => "measuring",
            Self::Restart => "server restart",
            Self::GracePeriod => "grace period",
        }
    }
}

/// A part of loadgen that a test can make panic.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A simulated client, in its measuring window or before.
    Client,
    /// A connection that publishes.
    Publisher,
    /// The thread that keeps the schedule.
    Pacer,
    /// A worker's ticker, a task that nobody waits for.
    Ticker,
}

/// How publishes are spread in time.
#[derive(ValueEnum, Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Independent of each other, as people are.
    Poisson,
    /// At even distances.
    Fixed,
}

mod seconds {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?)
            .map_err(serde::de::Error::custom)
    }
}

mod optional_seconds {
    use super::{Deserialize, Duration, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(deserializer)?;
        seconds
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The scenario of these flags.
    pub(crate) fn scenario(flags: &str) -> Scenario {
        Scenario::parse(flags).unwrap()
    }

    #[test]
    fn rooms_hold_every_client_once_and_the_last_may_be_smaller() {
        let scenario = scenario("--clients 45 --room-size 20");
        assert_eq!(scenario.rooms(), 3);
        let found: Vec<usize> = (0..3)
            .map(|room| {
                (0..45)
                    .filter(|&client| scenario.room_of(client) == room)
                    .count()
            })
            .collect();
        assert_eq!(found, [20, 20, 5]);
        assert_eq!(
            (0..3)
                .map(|room| scenario.population(room))
                .collect::<Vec<_>>(),
            found
        );
        assert_eq!(
            super::tests::scenario("--clients 45 --room-size all").rooms(),
            1
        );
    }

    #[test]
    fn the_sentence_counts_as_people_do_and_tells_of_no_transport_that_does_not_run() {
        let sentence = |flags: &str, modes: &[Transport]| scenario(flags).sentence(modes);
        let ws = [Transport::Ws];
        assert_eq!(
            sentence("--clients 1 --rate 0.02", &ws),
            "1 client in one room, 0.02 messages of 128 bytes per second and room (0.020 deliveries/s), measured for 12s"
        );
        let rooms = |flags: &str| {
            sentence(flags, &ws)
                .split(',')
                .take(2)
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(
            rooms("--clients 40 --room-size 7"),
            "40 clients in 6 rooms, 5 of 7 and one of 5"
        );
        assert!(
            rooms("--clients 40 --room-size 20")
                .starts_with("40 clients in 2 rooms of 20, one message")
        );
        let all = sentence("--no-keep-alive", &Transport::all().collect::<Vec<_>>());
        for (about, mode) in [
            ("short polls every 1s", Transport::ShortPoll),
            ("long polls held", Transport::LongPoll),
        ] {
            assert!(
                all.contains(about) && sentence("", &[mode]).contains(about),
                "{all}"
            );
            assert!(
                !sentence("--no-keep-alive", &[Transport::Sse, Transport::Ws]).contains("poll")
            );
        }
        assert!(all.contains("a new connection for each poll"));
    }

    #[test]
    fn a_scenario_reads_back_from_its_json() {
        for flags in [
            "",
            "--room-size all --warmup 500ms --interval 250ms --payload 1KiB --arrivals fixed",
        ] {
            let scenario = scenario(flags);
            let json = serde_json::to_string(&scenario).unwrap();
            assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), scenario);
        }
    }
}
