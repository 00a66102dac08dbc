//! The distance between clients and their server, where a link is emulated: its delay, rates and losses.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::histogram::Times;

/// A link, the same for each connection over it: no two share its rate.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
pub struct Link {
    /// As it was asked for: a profile, or its figures.
    pub name: String,
    /// Both ways together.
    pub rtt_ms: f64,
    /// At most so much more delay, one way; drawn evenly for each piece, which never overtakes another.
    pub jitter_ms: f64,
    /// To the client, in kbit/s; as fast as it goes without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_kbit: Option<f64>,
    /// From the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_kbit: Option<f64>,
    /// Of segments, in percent.
    pub loss_percent: f64,
}

/// How well a link kept its own times.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
pub struct Kept {
    /// One way, in milliseconds.
    pub delay_ms: f64,
    /// How far from its time each piece was let through, in the measuring window.
    pub off: Times,
}

impl Kept {
    /// How far 99 of 100 pieces may be from their times, in milliseconds: ours.
    pub fn limit_ms(&self) -> f64 {
        (0.02 * self.delay_ms).max(1.5)
    }
}

/// What a link does, measured with nothing else on it.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// The median of several, of one byte each.
    pub rtt_ms: f64,
    /// Of bytes on the wire, headers included, in kbit/s.
    pub down_kbit: Option<f64>,
    /// The same.
    pub up_kbit: Option<f64>,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RTT {:.1} ms", self.rtt_ms)?;
        for (rate, way) in [(self.down_kbit, "down"), (self.up_kbit, "up")] {
            if let Some(kbit) = rate {
                write!(f, ", {:.3} Mbit/s {way}", kbit / 1e3)?;
            }
        }
        Ok(())
    }
}

/// What a profile is called, its RTT in ms, its rates down and up in kbit/s, its losses in percent; and whose figures these are.
type Profile = (&'static str, f64, f64, f64, f64, &'static str);

const PROFILES: [Profile; 10] = [
    ("cable", 28., 5_000., 1_000., 0., "WebPageTest"),
    ("dsl", 50., 1_500., 384., 0., "WebPageTest"),
    ("fast4g", 60., 9_000., 1_500., 0., "Chrome DevTools"),
    (
        "slow4g",
        150.,
        1_600.,
        750.,
        0.,
        "Chrome DevTools, Lighthouse",
    ),
    ("3g", 300., 1_600., 768., 0., "WebPageTest"),
    ("slow3g", 400., 500., 500., 0., "Chrome DevTools"),
    ("edge", 840., 240., 200., 0., "WebPageTest"),
    (
        "edge-lossy",
        840.,
        240.,
        200.,
        1.,
        "Facebook's Augmented Traffic Control",
    ),
    (
        "leo",
        50.,
        100_000.,
        10_000.,
        0.,
        "UCLouvain via APNIC; the rates are ours",
    ),
    (
        "geo",
        600.,
        100_000.,
        10_000.,
        0.,
        "APNIC; the rates are ours",
    ),
];

/// Of round trips and of jitter, in milliseconds.
const TIMES: RangeInclusive<f64> = 0.0..=1e4;
/// Of a link, in kbit/s.
const RATES: RangeInclusive<f64> = 8.0..=1e7;
/// Of segments, in percent: of more, the stalls would double beyond any trial.
const LOSSES: RangeInclusive<f64> = 0.0..=50.0;

impl Link {
    /// What the links are called whose figures are known.
    pub fn profiles() -> impl Iterator<Item = &'static str> {
        PROFILES.iter().map(|profile| profile.0)
    }

    /// One way.
    pub fn delay(&self) -> Duration {
        Duration::from_secs_f64(self.rtt_ms / 2e3)
    }

    /// Both ways together.
    pub fn rtt(&self) -> Duration {
        2 * self.delay()
    }

    /// Checks one that did not come from a flag.
    pub fn check(&self) -> Result<()> {
        let Self {
            name,
            rtt_ms,
            jitter_ms,
            down_kbit,
            up_kbit,
            loss_percent,
        } = self;
        let is_sound = [rtt_ms, jitter_ms].iter().all(|ms| TIMES.contains(*ms))
            && down_kbit
                .iter()
                .chain(up_kbit)
                .all(|kbit| RATES.contains(kbit))
            && LOSSES.contains(loss_percent);
        ensure!(is_sound, "the link {name} is none that can be emulated");
        Ok(())
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(&(name, rtt_ms, down, up, loss_percent, _)) =
            PROFILES.iter().find(|profile| profile.0 == text)
        {
            return Ok(Self {
                name: name.into(),
                rtt_ms,
                jitter_ms: 0.,
                down_kbit: Some(down),
                up_kbit: Some(up),
                loss_percent,
            });
        }
        if !text.contains('=') {
            let names: Vec<_> = Self::profiles().collect();
            return Err(format!(
                "a link is one of {}, or figures such as rtt=80ms,jitter=10ms,down=10mbit,up=2mbit,loss=0.5%; found {text}",
                names.join(", ")
            ));
        }
        let mut link = Self {
            name: text.into(),
            rtt_ms: 0.,
            jitter_ms: 0.,
            down_kbit: None,
            up_kbit: None,
            loss_percent: 0.,
        };
        for part in text.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "rtt" => link.rtt_ms = time(key, value)?,
                "jitter" => link.jitter_ms = time(key, value)?,
                "down" => link.down_kbit = Some(rate(key, value)?),
                "up" => link.up_kbit = Some(rate(key, value)?),
                "loss" => link.loss_percent = percent(key, value)?,
                _ => return Err(format!("{key} is none of rtt, jitter, down, up, loss")),
            }
        }
        Ok(link)
    }
}

/// In milliseconds.
fn time(key: &str, value: &str) -> Result<f64, String> {
    let time = humantime::parse_duration(value).ok();
    let ms = time.map(|time| time.as_secs_f64() * 1e3);
    ms.filter(|ms| TIMES.contains(ms))
        .ok_or_else(|| format!("{key} must be a time up to 10s, such as 80ms; found {value}"))
}

/// In kbit/s.
fn rate(key: &str, value: &str) -> Result<f64, String> {
    let units = [("kbit", 1.), ("mbit", 1e3), ("gbit", 1e6)];
    let rate = units.iter().find_map(|(unit, factor)| {
        let number: f64 = value.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    });
    let rate = rate.filter(|rate| RATES.contains(rate));
    rate.ok_or_else(|| {
        format!("{key} must be a rate from 8kbit to 10gbit, such as 10mbit; found {value}")
    })
}

fn percent(key: &str, value: &str) -> Result<f64, String> {
    let percent = value
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    let percent = percent.filter(|percent| LOSSES.contains(percent));
    percent.ok_or_else(|| format!("{key} must be a share up to 50%, such as 0.5%; found {value}"))
}

impl fmt::Display for Link {
    /// The figures beside the name: a name alone means another link in each tool.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.contains('=') {
            write!(f, "{}: ", self.name)?;
        }
        write!(f, "RTT {} ms", self.rtt_ms)?;
        if self.jitter_ms > 0. {
            write!(f, ", jitter {} ms", self.jitter_ms)?;
        }
        for (rate, way) in [(self.down_kbit, "down"), (self.up_kbit, "up")] {
            if let Some(rate) = rate {
                write!(f, ", {} Mbit/s {way}", rate / 1e3)?;
            }
        }
        if self.loss_percent > 0. {
            write!(f, ", {} % lost", self.loss_percent)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_and_figures_are_read_and_what_is_wrong_is_named() {
        let fast: Link = "fast4g".parse().unwrap();
        assert_eq!(
            fast.to_string(),
            "fast4g: RTT 60 ms, 9 Mbit/s down, 1.5 Mbit/s up"
        );
        assert_eq!(fast.delay(), Duration::from_millis(30));
        let own: Link = "rtt=80ms,jitter=10ms,down=10mbit,up=2mbit,loss=0.5%"
            .parse()
            .unwrap();
        let said = "RTT 80 ms, jitter 10 ms, 10 Mbit/s down, 2 Mbit/s up, 0.5 % lost";
        assert_eq!(own.to_string(), said);
        for (wrong, says) in [
            ("5g", "fast4g"),
            ("rtt=1h", "up to 10s"),
            ("rtt=80", "such as 80ms"),
            ("down=0mbit", "from 8kbit"),
            ("up=NaNmbit", "from 8kbit"),
            ("loss=60%", "up to 50%"),
            ("delay=1ms", "none of rtt"),
        ] {
            let error = wrong.parse::<Link>().unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
