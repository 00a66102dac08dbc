//! What the machine does to comparisons: how long it pauses, whether CPU time has stolen time in it, and how far two servers
//! that are the same lie apart.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use procfs::process::Process;
use rustix::thread::{ClockId, gettid};

use super::Findings;
use crate::clock::{nanos, now, time_of};
use crate::cores;
use crate::measure::meter::{Meter, by_core};
use crate::measure::reading::core_times;
use crate::plan::sets::{FEWEST, Row, Set, run_rows};
use crate::progress::Progress;
use crate::result::comparison::Trial;
use crate::result::effect::{Figure, NEGLIGIBLE};
use crate::result::environment::Cores;
use crate::result::histogram::Times;
use crate::result::scenario::Scenario;
use crate::result::turn::{Pauses, negligible_pause};
use crate::result::variant::Transport;
use crate::result::words::number;

/// The meter looks for this long.
const LOOK: Duration = Duration::from_secs(4);
/// A core is kept busy for this long.
const SPIN: Duration = Duration::from_secs(2);
/// Less stolen time than this shows nothing.
const ENOUGH_STOLEN: u64 = 30_000_000;
/// Sets of two servers that are the same, and the rounds of each.
const SETS: usize = 4;
const ROUNDS: usize = 2;
/// Eight sets of eight lie beyond 5 % four times in five if each does with this many standard deviations to spare.
const TO_SPARE: f64 = 1.9;

/// How long and how often the cores in use stand still, though nothing is asked of them.
pub(super) async fn pauses(found: &mut Findings, meter: &mut Meter) -> Result<()> {
    meter.look().await?;
    tokio::time::sleep(LOOK).await;
    let pauses = Pauses {
        seconds: LOOK.as_secs_f64(),
        cores: by_core(&meter.tell().await?),
    };
    let share = pauses.percent(negligible_pause(0.0));
    let longest = Times::merged(pauses.cores.iter()).ms(1.0).unwrap_or(0.0);
    let text = format!(
        "the cores stand still for {} ms at worst, and for {} % of the time: a p99 below that {}",
        number(longest),
        number(share),
        if share > 0.1 {
            "is the machine's"
        } else {
            "can be measured"
        }
    );
    if share > 0.1 {
        found.note("pauses", &text);
    } else {
        found.tell(true, "pauses", &text);
    }
    Ok(())
}

/// Whether the kernel charges a task for time that the hypervisor gave to others.
pub(super) fn cpu_time(found: &mut Findings, core: usize) {
    let spin = move || {
        cores::pin(&[core]);
        let stolen = || {
            let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
            core_times(&stat).get(&core).map(|time| time.stolen)
        };
        let used = || time_of(ClockId::ThreadCPUTime);
        let own = Process::myself()
            .and_then(|process| process.task_from_tid(gettid().as_raw_nonzero().get()));
        let queued = || Some(own.as_ref().ok()?.schedstat().ok()?.run_delay);
        let (begun, paid, before, waited) = (now(), used(), stolen()?, queued()?);
        while now() < begun + nanos(SPIN) {
            std::hint::spin_loop();
        }
        // What it waited for behind others was nobody's theft.
        let wall = (now() - begun).saturating_sub(queued()?.saturating_sub(waited));
        Some((wall, used() - paid, stolen()?.saturating_sub(before)))
    };
    let Some((wall, paid, stolen)) = thread::spawn(spin).join().ok().flatten() else {
        return found.tell(
            false,
            "cpu time",
            "the kernel does not tell what was stolen",
        );
    };
    let share = 100.0 * stolen as f64 / wall as f64;
    let (is_free, text) = charged(wall, paid, stolen);
    found.tell(is_free, "cpu time", &format!("{text} ({share:.1} % of it)"));
}

/// What was paid of a time, some of which was stolen: whether that is free of it, as far as it can be seen.
fn charged(wall: u64, paid: u64, stolen: u64) -> (bool, &'static str) {
    if stolen < ENOUGH_STOLEN {
        (
            true,
            "next to nothing was stolen from a busy core, so that nothing can be charged with it",
        )
    } else if paid + stolen / 2 < wall {
        (
            true,
            "what was stolen from a busy core is charged to nobody",
        )
    } else {
        (
            false,
            "what was stolen from a busy core is charged to who was on it: CPU figures have it in them",
        )
    }
}

/// Which difference `compare` would tell from noise, by how far two servers that are the same lie apart here.
pub(super) async fn apart(
    found: &mut Findings,
    cores: &Cores,
    meter: &mut Meter,
    progress: &Progress,
) -> Result<()> {
    let scenario = Scenario::parse("--clients 500 --duration 2s")?;
    let scenario = Scenario {
        warmup: None,
        ..scenario
    };
    let row = Row {
        variant: Transport::Ws.into(),
        control: false,
        flags: Vec::new(),
    };
    let mut pairs = Vec::new();
    for number in 1..=SETS {
        progress.begin(
            &format!("the same server twice, set {number} of {SETS}"),
            None,
        );
        let mut set = Set {
            number,
            cores,
            progress,
            meter: Some(meter),
        };
        let rows = vec![row.clone(), row.clone()];
        match run_rows(&scenario, rows, ROUNDS, false, &mut set).await? {
            Some(trials) => pairs.push(trials),
            None => return Ok(()),
        }
    }
    let of = |figure: Figure| {
        let ratio = |pair: &Vec<Trial>| {
            let [first, second] = &pair[..] else {
                return None;
            };
            Some(figure.of(&first.outcome)? / figure.of(&second.outcome)?)
        };
        let ratios: Vec<f64> = pairs.iter().filter_map(ratio).collect();
        (!ratios.is_empty()).then(|| told_apart(&ratios))
    };
    let text = match (of(Figure::Cpu), of(Figure::P50)) {
        (Some(cpu), Some(p50)) => format!(
            "{FEWEST} sets, four minutes of compare, tell a difference of about {:.0} % in server CPU and {:.0} % in latency p50; \
             more sets a smaller one",
            100.0 * (cpu - 1.0),
            100.0 * (p50 - 1.0)
        ),
        _ => "the same server twice could not be measured".into(),
    };
    found.tell(of(Figure::Cpu).is_some(), "apart", &text);
    Ok(())
}

/// From ratios of servers that are the same, the least ratio that eight sets of eight show, four times in five. A row is
/// compared with the mean of two such servers, which scatters less than one.
fn told_apart(ratios: &[f64]) -> f64 {
    let squares: f64 = ratios.iter().map(|ratio| ratio.ln().powi(2)).sum();
    let scatter = (squares / ratios.len() as f64).sqrt();
    NEGLIGIBLE * (TO_SPARE * scatter * 0.75_f64.sqrt()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_charged_or_not_or_cannot_be_seen() {
        let ms = 1_000_000;
        let is_free = |paid, stolen| charged(2000 * ms, paid * ms, stolen * ms);
        assert!(is_free(1800, 200).0 && is_free(1800, 200).1.contains("to nobody"));
        assert!(!is_free(1995, 200).0);
        assert!(is_free(1995, 3).0 && is_free(1995, 3).1.contains("next to nothing"));
    }

    #[test]
    fn the_further_the_same_server_lies_apart_the_more_it_takes() {
        assert!((told_apart(&[1.0, 1.0]) - 1.05).abs() < 1e-9);
        let (calm, noisy) = (told_apart(&[1.03, 0.97]), told_apart(&[1.2, 0.8]));
        assert!(
            (1.09..1.12).contains(&calm) && (1.3..1.6).contains(&noisy),
            "{calm} {noisy}"
        );
    }
}
