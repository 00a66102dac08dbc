//! What is done to connections and to the server during a load, on purpose: part of the scenario, at times of its timeline.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest of its times: a day, as the longest measuring window.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The shortest time between two cuts of a client, in the mean: below it, it would do nothing but connect.
const SHORTEST: Duration = Duration::from_millis(100);
/// A client waits for a silent server for two of its heartbeats, of 20 s each by default.
const GIVES_UP: Duration = Duration::from_secs(40);

/// What is done to connections and to the server. Times are from the beginning of the measuring window.
#[derive(Args, Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, Default, PartialEq)]
#[command(next_help_heading = "Distance and disturbance")]
pub struct Disturbance {
    /// Cut each client's connection again and again, at random moments this far apart in the mean; `kind` is rst, fin or
    /// silence, after which a client waits for 40s, or as long as `patience` says.
    #[arg(
        long,
        value_name = "every=TIME[,kind=KIND]",
        allow_hyphen_values = true
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
    /// Cut this share of the clients, all at the same moment.
    #[arg(long, value_name = "at=TIME[,share=100%]", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storm: Option<Storm>,
    /// Kill the server without a word, and start it again on the same port.
    #[arg(long, value_name = "at=TIME", allow_hyphen_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_restart: Option<Restart>,
    /// When a client that lost its connection comes back: jitter (a random share of 1s, which doubles up to 30s as long as it
    /// fails), none (at once), or fixed=TIME.
    #[arg(long, value_name = "HOW", default_value_t, allow_hyphen_values = true)]
    #[serde(default)]
    pub reconnect: Reconnect,
}

impl Disturbance {
    /// Whether anything is disturbed.
    pub fn is_any(&self) -> bool {
        self.cut.is_some() || self.storm.is_some() || self.server_restart.is_some()
    }
}

/// How a connection ends that is cut.
#[derive(
    ValueEnum, Serialize, Deserialize, JsonSchema, Display, Debug, Clone, Copy, PartialEq, Eq,
)]
#[serde(rename_all = "lowercase")]
#[display(rename_all = "lowercase")]
pub enum CutKind {
    /// By a reset, to both sides.
    Rst,
    /// By an end of the stream.
    Fin,
    /// Nothing comes any more, and nobody says so.
    Silence,
}

/// Cuts of each client at random.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// In the mean, in seconds; distances are exponential.
    pub every_seconds: f64,
    /// How.
    pub kind: CutKind,
    /// For how long a client waits for a connection that is silent, in seconds.
    pub patience_seconds: f64,
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Parts::of(text, &["every", "kind", "patience"])?;
        let every = parts.time("every")?.filter(|every| *every >= SHORTEST);
        let every = every.ok_or("it needs every=TIME, at least 100ms, such as every=30s")?;
        let kind = match parts.take("kind") {
            None => CutKind::Rst,
            Some(kind) => CutKind::from_str(kind, true)
                .map_err(|_| format!("kind must be rst, fin or silence; found {kind}"))?,
        };
        let patience = parts.time("patience")?.unwrap_or(GIVES_UP);
        Ok(Self {
            every_seconds: every.as_secs_f64(),
            kind,
            patience_seconds: patience.as_secs_f64(),
        })
    }
}

/// Many cut at once.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq)]
pub struct Storm {
    /// When, in seconds.
    pub at_seconds: f64,
    /// Of the clients, in percent.
    pub share_percent: f64,
}

impl FromStr for Storm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Parts::of(text, &["at", "share"])?;
        let at = parts.time("at")?;
        let at = at.ok_or("it needs at=TIME, such as at=10s")?;
        Ok(Self {
            at_seconds: at.as_secs_f64(),
            share_percent: parts.take("share").map_or(Ok(100.0), share)?,
        })
    }
}

/// The server killed and started.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq)]
pub struct Restart {
    /// When, in seconds.
    pub at_seconds: f64,
}

impl FromStr for Restart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = Parts::of(text, &["at"])?.time("at")?;
        let at = at.ok_or("it needs at=TIME, such as at=10s")?;
        Ok(Self {
            at_seconds: at.as_secs_f64(),
        })
    }
}

/// When a client that has lost its connection comes back.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Reconnect {
    /// After a random share of a second, which doubles as long as it fails (full jitter).
    #[default]
    Jitter,
    /// At once.
    None,
    /// After so many seconds.
    Fixed(f64),
}

/// The first wait is a share of this, and none is longer than the other.
const JITTER: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// Who comes back at once and fails would do nothing else.
const BREATH: Duration = Duration::from_millis(10);

impl Reconnect {
    /// How long to wait after so many attempts that failed; `random` is from 0 to 1.
    pub fn wait(self, failed: u32, random: f64) -> Duration {
        match self {
            Self::Jitter => {
                let [first, most] = JITTER;
                let longest = first.saturating_mul(1 << failed.min(10)).min(most);
                longest.mul_f64(random)
            }
            Self::None if failed == 0 => Duration::ZERO,
            Self::None => BREATH,
            Self::Fixed(seconds) => Duration::from_secs_f64(seconds),
        }
    }
}

impl FromStr for Reconnect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jitter" => return Ok(Self::Jitter),
            "none" => return Ok(Self::None),
            _ => {}
        }
        let right = || format!("it is jitter, none or fixed=TIME, such as fixed=2s; found {text}");
        let fixed = Parts::of(text, &["fixed"])
            .map_err(|_| right())?
            .time("fixed")?;
        Ok(Self::Fixed(fixed.ok_or_else(right)?.as_secs_f64()))
    }
}

impl fmt::Display for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jitter => write!(f, "jitter"),
            Self::None => write!(f, "none"),
            Self::Fixed(seconds) => write!(f, "fixed={}", in_words(*seconds)),
        }
    }
}

impl fmt::Display for Disturbance {
    /// In a sentence's parts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(Cut {
            every_seconds,
            kind,
            ..
        }) = self.cut
        {
            let how = match kind {
                CutKind::Rst => "reset",
                CutKind::Fin => "ended",
                CutKind::Silence => "silenced",
            };
            let every = in_words(every_seconds);
            parts.push(format!("each connection {how} every {every} in the mean"));
        }
        if let Some(Storm {
            at_seconds,
            share_percent,
        }) = self.storm
        {
            let at = in_words(at_seconds);
            parts.push(format!("{share_percent} % of the clients cut after {at}"));
        }
        if let Some(Restart { at_seconds }) = self.server_restart {
            let at = in_words(at_seconds);
            parts.push(format!("the server killed and started again after {at}"));
        }
        let again = match self.reconnect {
            Reconnect::Jitter => "a random share of 1s (full jitter up to 30s)".to_owned(),
            Reconnect::None => "no wait".into(),
            Reconnect::Fixed(seconds) => in_words(seconds),
        };
        write!(
            f,
            "{}; who lost its connection comes back after {again}",
            parts.join(", ")
        )
    }
}

fn in_words(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs_f64(seconds)).to_string()
}

/// `key=value` pairs between commas.
struct Parts<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Parts<'a> {
    /// Reads them; each key is one of these, once.
    fn of(text: &'a str, keys: &[&str]) -> Result<Self, String> {
        let mut parts: Vec<(&str, &str)> = Vec::new();
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            if !keys.contains(&key) {
                return Err(format!("{key:?} is none of {}", keys.join(", ")));
            }
            if parts.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key} stands there twice"));
            }
            parts.push((key, value));
        }
        Ok(Self(parts))
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(other, _)| *other == key);
        found.map(|(_, value)| *value)
    }

    fn time(&mut self, key: &str) -> Result<Option<Duration>, String> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let time = humantime::parse_duration(value).ok();
        let time = time.filter(|time| *time <= LONGEST);
        let wrong = || format!("{key} must be a time up to 1day, such as 10s; found {value}");
        time.map(Some).ok_or_else(wrong)
    }
}

/// In percent.
fn share(value: &str) -> Result<f64, String> {
    let percent = value
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.ok_or_else(|| format!("share must be above 0% and at most 100%; found {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_what_is_wrong_is_named() {
        let cut: Cut = "every=15s".parse().unwrap();
        let own = Cut {
            every_seconds: 15.0,
            kind: CutKind::Rst,
            patience_seconds: 40.0,
        };
        assert_eq!(cut, own);
        let silent: Cut = "kind=silence,every=5s,patience=2s".parse().unwrap();
        assert_eq!(
            (silent.kind, silent.patience_seconds),
            (CutKind::Silence, 2.0)
        );
        let storm: Storm = "at=10s,share=5%".parse().unwrap();
        assert_eq!((storm.at_seconds, storm.share_percent), (10.0, 5.0));
        assert_eq!("at=1m".parse::<Restart>().unwrap().at_seconds, 60.0);
        let error = |text: &str| {
            [
                text.parse::<Cut>().unwrap_err(),
                text.parse::<Storm>().unwrap_err(),
                text.parse::<Restart>().unwrap_err(),
                text.parse::<Reconnect>().unwrap_err(),
            ]
        };
        assert_eq!(error("on")[0], "\"on\" is none of every, kind, patience");
        assert_eq!(
            error("every=1ms")[0],
            "it needs every=TIME, at least 100ms, such as every=30s"
        );
        let kind = "every=1s,kind=axe".parse::<Cut>().unwrap_err();
        assert_eq!(kind, "kind must be rst, fin or silence; found axe");
        assert_eq!(error("at=1s,at=2s")[1], "at stands there twice");
        let share = "at=1s,share=0%".parse::<Storm>().unwrap_err();
        assert_eq!(share, "share must be above 0% and at most 100%; found 0%");
        assert_eq!(
            error("at=9days")[2],
            "at must be a time up to 1day, such as 10s; found 9days"
        );
        assert!(error("soon")[3].ends_with("found soon"));
    }

    #[test]
    fn waits_double_up_to_thirty_seconds_and_are_a_share_of_that() {
        let jitter = Reconnect::Jitter;
        let waits = [0, 1, 4, 5, 99].map(|failed| jitter.wait(failed, 1.0).as_secs());
        assert_eq!(waits, [1, 2, 16, 30, 30]);
        assert_eq!(jitter.wait(0, 0.25), Duration::from_millis(250));
        assert_eq!(Reconnect::None.wait(0, 0.5), Duration::ZERO);
        assert_eq!(Reconnect::None.wait(1, 0.5), BREATH);
        let fixed: Reconnect = "fixed=2s".parse().unwrap();
        assert_eq!(
            (fixed.wait(9, 0.5).as_secs(), fixed.to_string()),
            (2, "fixed=2s".into())
        );
    }

    #[test]
    fn it_is_told_in_words() {
        let all = Disturbance {
            cut: "every=30s,kind=fin".parse().ok(),
            storm: "at=10s".parse().ok(),
            server_restart: "at=20s".parse().ok(),
            reconnect: Reconnect::Fixed(2.0),
        };
        let said = "each connection ended every 30s in the mean, 100 % of the clients cut after 10s, the server killed and \
                    started again after 20s; who lost its connection comes back after 2s";
        assert_eq!(all.to_string(), said);
        assert!(all.is_any() && !Disturbance::default().is_any());
    }
}
