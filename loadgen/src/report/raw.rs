//! The raw data in other tools' formats: an interval log for HdrHistogram's, a table of seconds for everybody's.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::result::comparison::{Comparison, Trial};
use crate::result::metric::{METRICS, Metric};
use crate::result::summary::length_of_second;
use crate::result::words::digits;

const SECOND: Duration = Duration::from_secs(1);

/// The window of a trial as it was measured, in seconds.
fn window(comparison: &Comparison, trial: &Trial) -> f64 {
    trial
        .outcome
        .seconds(comparison.scenario.duration().as_secs_f64())
}

/// A tag has no spaces: `ws-via-nginx-1`.
fn tag(trial: &Trial) -> String {
    let tag = format!(
        "{}{}-{}",
        trial.outcome.variant,
        if trial.control { "-control" } else { "" },
        trial.block
    );
    tag.replace(' ', "-")
}

/// Every second's latencies in microseconds, tagged `ROW-BLOCK`; the base time is when the comparison began.
pub fn hlog(comparison: &Comparison) -> Result<String> {
    let (mut out, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
    let began = humantime::parse_rfc3339(&comparison.started)?;
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("latency in microseconds, by the second in which a message was due")
        .with_max_value_divisor(1000.0);
    if comparison.rounds.is_some() {
        builder.add_comment("the slices of a row in a set are put end to end, from the first on");
    }
    builder.with_start_time(began).with_base_time(began);
    let mut log = builder.begin_log_with(&mut out, &mut serializer)?;
    for trial in &comparison.trials {
        let Ok(start) = humantime::parse_rfc3339(&trial.outcome.began) else {
            continue;
        };
        let since = start.duration_since(began).unwrap_or_default();
        let (name, window) = (tag(trial), window(comparison, trial));
        for (second, times) in trial.outcome.intervals.iter().enumerate() {
            let Some(length) = length_of_second(second, window) else {
                break;
            };
            let start = since + SECOND * u32::try_from(second)?;
            log.write_histogram(
                times.inner(),
                start,
                Duration::from_secs_f64(length),
                Tag::new(&name),
            )
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
    }
    Ok(String::from_utf8(out)?)
}

/// A line for each trial, a column for each figure; the ids of those that are not to be trusted in one of its own.
pub fn trials(comparison: &Comparison) -> String {
    let ids = METRICS
        .iter()
        .map(|metric| metric.id)
        .collect::<Vec<_>>()
        .join(",");
    let mut out =
        format!("trial,row,block,control,started,verdict,doubtful,messages_missing,{ids}\n");
    for (number, trial) in (1..).zip(&comparison.trials) {
        let Trial {
            block,
            control,
            started,
            outcome,
            verdict,
            metrics,
            doubtful,
            ..
        } = trial;
        let doubtful: Vec<&str> = doubtful.keys().map(String::as_str).collect();
        let doubtful = doubtful.join(" ");
        let value = |metric: &Metric| {
            metrics
                .get(metric.id)
                .map_or(String::new(), |value| digits(*value))
        };
        let values = METRICS.iter().map(value).collect::<Vec<_>>().join(",");
        let (row, kind, misses) = (outcome.variant, verdict.kind, outcome.misses());
        let _ = writeln!(
            out,
            "{number},{row},{block},{control},{started},{kind},{doubtful},{misses},{values}"
        );
    }
    out
}

/// A line for each second of each trial.
pub fn seconds(comparison: &Comparison) -> String {
    let mut out =
        "trial,row,block,control,verdict,second,length_s,arrived,due,p50_us,p90_us,p99_us,max_us\n"
            .to_owned();
    for (number, trial) in (1..).zip(&comparison.trials) {
        let Trial {
            block,
            control,
            outcome,
            verdict,
            ..
        } = trial;
        for (second, arrived) in outcome.series.iter().enumerate() {
            let Some(length) = length_of_second(second, window(comparison, trial)) else {
                break;
            };
            let times = outcome.intervals.get(second).cloned().unwrap_or_default();
            let us = |share| {
                times
                    .quantile(share)
                    .map_or(String::new(), |time: Duration| time.as_micros().to_string())
            };
            let max = times
                .max()
                .map_or(String::new(), |time| time.as_micros().to_string());
            let _ = writeln!(
                out,
                "{number},{},{block},{control},{},{second},{length:.3},{arrived},{},{},{},{},{max}",
                outcome.variant,
                verdict.kind,
                times.count(),
                us(0.5),
                us(0.9),
                us(0.99),
            );
        }
    }
    out
}
