//! What is read from a file is somebody's word: its numbers and its sizes are checked before anything is computed from
//! them, and its texts are made plain.

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::foreign::{plain, spelled};
use crate::judge;
use crate::result::bounds::BLOCKS;
use crate::result::comparison::Comparison;
use crate::result::scenario::Scenario;

/// What all trials together may add up to, so that no sum of several counters overflows.
const LARGEST_SUM: u64 = 1 << 58;
/// Slices of a variant in a set: a day of them.
const MOST_ROUNDS: usize = 24 * 3600;
/// Variants: each transport, with each way up, without a proxy and through one.
const MOST_VARIANTS: usize = 36;
/// Numbers that no sum is made of, and which may be as large as they can, or below zero.
const ANY_SIZE: [&str; 3] = ["seed", "descriptors", "correlation"];

/// Reads a comparison from its JSON.
pub(super) fn parse(json: &[u8]) -> Result<Comparison> {
    let mut value: Value = serde_json::from_slice(json)?;
    let trials = value
        .get("trials")
        .and_then(Value::as_array)
        .map_or(1, |trials| trials.len().max(1)) as u64;
    sound(&mut value, "", (LARGEST_SUM / trials) as f64)?;
    let mut comparison: Comparison = serde_json::from_value(value)?;
    check(&comparison)?;
    judge_again(&mut comparison);
    Ok(comparison)
}

/// What follows from the trials is computed from them, not believed: no report may say one thing in its figures and
/// another in its words.
fn judge_again(comparison: &mut Comparison) {
    for trial in &mut comparison.trials {
        trial.verdict = judge::verdict::of(&trial.outcome);
        trial.derive();
    }
    judge::compare(comparison);
}

/// Makes every text plain; refuses a number that is below zero or so large that it could not be added up.
fn sound(value: &mut Value, name: &str, largest: f64) -> Result<()> {
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => {
            let is_in = number
                .as_f64()
                .is_some_and(|number| (0.0..=largest).contains(&number));
            ensure!(
                is_in || ANY_SIZE.contains(&name),
                "{} is {number}; it must be from 0 to {largest:.0}",
                plain(name)
            );
            Ok(())
        }
        Value::String(text) => {
            *text = spelled(text).into_owned();
            Ok(())
        }
        Value::Array(values) => values
            .iter_mut()
            .try_for_each(|value| sound(value, name, largest)),
        Value::Object(fields) => {
            let names: Vec<String> = fields
                .keys()
                .filter(|name| spelled(name) != **name)
                .cloned()
                .collect();
            for name in names {
                let field = fields.remove(&name).unwrap_or_default();
                fields.insert(spelled(&name).into_owned(), field);
            }
            fields
                .iter_mut()
                .try_for_each(|(name, field)| sound(field, name, largest))
        }
    }
}

/// Refuses what is no result of a plan, whatever its single numbers are.
fn check(comparison: &Comparison) -> Result<()> {
    let Comparison {
        variants,
        blocks,
        trials,
        scenario,
        ..
    } = comparison;
    let range = usize::from(BLOCKS.from)..=usize::from(BLOCKS.to);
    ensure!(
        range.contains(blocks) || comparison.rounds.is_some() && trials.is_empty(),
        "blocks is {blocks}; it must be from {BLOCKS}"
    );
    ensure!(
        (1..=MOST_VARIANTS).contains(&variants.len()),
        "variants are {}; there must be 1 to {MOST_VARIANTS}",
        variants.len()
    );
    scenario.check()?;
    ensure!(
        comparison
            .rounds
            .is_none_or(|rounds| (1..=MOST_ROUNDS).contains(&rounds)),
        "rounds must be from 1 to {MOST_ROUNDS}"
    );
    let planned = comparison.planned();
    ensure!(
        trials.len() <= planned,
        "trials are {}; {blocks} blocks have at most {planned}",
        trials.len()
    );
    for (number, trial) in (1..).zip(trials) {
        let seconds = trial.scenario.duration().as_secs_f64().ceil() as usize;
        let outcome = &trial.outcome;
        ensure!(
            (1..=*blocks).contains(&trial.block),
            "trial {number} has block {}, of {blocks}",
            trial.block
        );
        ensure!(
            variants.contains(&outcome.variant),
            "trial {number} is of {}, which is no variant",
            outcome.variant
        );
        let own = Scenario {
            seed: scenario.seed,
            // In sets they belong to the transport.
            warmup: scenario.warmup,
            duration: scenario.duration,
            ..trial.scenario.clone()
        };
        ensure!(
            own == *scenario,
            "trial {number} has another load than its comparison"
        );
        for (what, length) in [
            ("intervals", outcome.intervals.len()),
            ("series", outcome.series.len()),
        ] {
            ensure!(
                length <= seconds + 1,
                "trial {number} has {length} {what}, its window {seconds} s"
            );
        }
        if outcome
            .window_seconds
            .is_some_and(|window| window > seconds as f64 + 1.0)
        {
            bail!("trial {number} has a longer window than the {seconds} s of the scenario");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::comparison::tests::add;
    use crate::result::effect::Figure;
    use crate::result::scenario::tests::scenario;
    use crate::result::variant::Transport;
    use crate::result::verdict::Kind;

    fn comparison() -> Value {
        let variants = vec![Transport::Ws.into(), Transport::Sse.into()];
        let mut comparison = crate::comparison::begin(
            variants,
            3,
            scenario("--duration 2s"),
            "loadgen compare".into(),
        );
        for (block, mode) in [(1, Transport::Ws), (1, Transport::Sse), (2, Transport::Ws)] {
            let outcome = crate::result::outcome::tests::empty(mode);
            let verdict = judge::verdict::of(&outcome);
            add(&mut comparison, block, false, outcome, verdict);
        }
        serde_json::to_value(comparison).unwrap()
    }

    fn read(value: &Value) -> Result<Comparison> {
        parse(&serde_json::to_vec(value).unwrap())
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&comparison()).unwrap().trials.len(), 3);
        let mut most = comparison();
        (most["scenario"]["seed"], most["environment"]["descriptors"]) =
            (u64::MAX.into(), u64::MAX.into());
        assert_eq!(read(&most).unwrap().scenario.seed, Some(u64::MAX));
    }

    #[test]
    fn what_follows_from_the_trials_is_computed_again() {
        let mut value = comparison();
        for (trial, mode, ns) in [(0, "ws", 1_000_000), (1, "sse", 3_000_000)] {
            let outcome = &mut value["trials"][trial]["outcome"];
            assert_eq!(outcome["mode"], mode);
            let mut times = crate::result::histogram::Times::default();
            times.record(ns);
            outcome["latency"] = serde_json::to_value(times).unwrap();
            outcome["publishing"]["acked"] = 1.into();
        }
        let before = read(&value).unwrap();
        let ratio = |comparison: &Comparison| {
            comparison
                .effects
                .iter()
                .find(|effect| effect.figure == Figure::P50)
                .unwrap()
                .ratio
                .median
        };
        assert!(
            (ratio(&before) - 3.0).abs() < 0.01 && before.trials[0].verdict.kind == Kind::Valid
        );
        // As stored, with the two rows' outcomes in each other's place, and a verdict that its checks do not give.
        let mut swapped = serde_json::to_value(&before).unwrap();
        swapped["trials"][0]["outcome"]["mode"] = "sse".into();
        swapped["trials"][1]["outcome"]["mode"] = "ws".into();
        swapped["trials"][0]["verdict"]["kind"] = "noisy".into();
        let after = read(&swapped).unwrap();
        assert!(
            (ratio(&after) - 1.0 / 3.0).abs() < 0.01,
            "{:?}",
            after.effects
        );
        assert_eq!(after.trials[0].verdict.kind, Kind::Valid);
    }

    #[test]
    fn a_number_that_cannot_be_is_refused_by_its_name() {
        let changes: [(&str, Value, &str); 15] = [
            (
                "/blocks",
                1_000_000_000_000_000_u64.into(),
                "blocks is 1000000000000000; it must be from 1 to 1000",
            ),
            ("/blocks", 0.into(), "blocks is 0"),
            (
                "/blocks",
                u64::MAX.into(),
                "blocks is 18446744073709551615; it must be from 0",
            ),
            ("/blocks", 1.into(), "trials are 3; 1 blocks have at most 2"),
            ("/variants", Value::Array(Vec::new()), "variants are 0"),
            ("/scenario/clients", 0.into(), "clients is 0"),
            ("/scenario/interval_seconds", 0.into(), "interval is 0s"),
            ("/scenario/duration_seconds", 1e9.into(), "duration is"),
            (
                "/trials/0/scenario/clients",
                7.into(),
                "trial 1 has another load than its comparison",
            ),
            ("/trials/1/block", 4.into(), "trial 2 has block 4, of 3"),
            (
                "/trials/2/outcome/mode",
                "long-poll".into(),
                "trial 3 is of long-poll",
            ),
            (
                "/trials/0/outcome/expected",
                u64::MAX.into(),
                "expected is 18446744073709551615",
            ),
            (
                "/trials/0/outcome/usage/seconds",
                (-1.0).into(),
                "seconds is -1.0",
            ),
            (
                "/trials/0/outcome/series",
                vec![1; 4].into(),
                "trial 1 has 4 series, its window 2 s",
            ),
            (
                "/trials/0/outcome/window_seconds",
                9.into(),
                "longer window than the 2 s",
            ),
        ];
        for (place, new, says) in changes {
            let mut value = comparison();
            *value
                .pointer_mut(place)
                .unwrap_or_else(|| panic!("{place}")) = new;
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(says), "{place}: {error}");
        }
    }

    #[test]
    fn rows_through_a_proxy_are_read_with_how_it_was_configured() {
        let mut value = comparison();
        assert!(read(&value).unwrap().proxy.is_none(), "of an older file");
        let through = serde_json::json!({ "mode": "ws", "publish": "post", "via": "nginx" });
        value["variants"][1] = through;
        value["trials"][1]["outcome"]["mode"] = "ws".into();
        value["trials"][1]["outcome"]["via"] = "nginx".into();
        let configuration = ["events {", "    worker_connections 9;", "}"];
        value["proxy"] = serde_json::json!({
            "proxy": "nginx", "version": "1.22.1", "configuration": configuration
        });
        let comparison = read(&value).unwrap();
        assert_eq!(
            comparison.proxy.as_ref().unwrap().configuration,
            configuration
        );
        let row = comparison.trials[1].outcome.variant;
        assert_eq!(
            (row.to_string(), comparison.base_of(row)),
            ("ws via nginx".into(), Some(Transport::Ws.into()))
        );
        value["trials"][1]["outcome"]["via"] = "haproxy".into();
        let error = read(&value).unwrap_err().to_string();
        assert!(
            error.contains("ws via haproxy, which is no variant"),
            "{error}"
        );
    }

    #[test]
    fn a_text_that_would_act_on_a_terminal_is_spelled_out() {
        let mut value = comparison();
        value["command"] = "loadgen \u{1b}[2J\u{9b}31m".into();
        value["environment"]["cpu"] = "a\nb".into();
        value["trials"][0]["outcome"]["failures"] =
            serde_json::json!({ "\u{1b}]0;title\u{7}": { "count": 1, "example": "\u{202e}gpj" } });
        let comparison = read(&value).unwrap();
        assert_eq!(comparison.command, r"loadgen \u{1b}[2J\u{9b}31m");
        assert_eq!(comparison.environment.cpu, r"a\u{a}b");
        let (kind, failures) = comparison.trials[0]
            .outcome
            .failures
            .first_key_value()
            .unwrap();
        assert_eq!(
            (kind.as_str(), failures.example.as_str()),
            (r"\u{1b}]0;title\u{7}", r"\u{202e}gpj")
        );
    }
}
