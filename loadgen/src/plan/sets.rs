//! A set: one server of each variant and one more of the baseline, all connected at once and idle; in rounds each has a
//! slice of the load, in an order that is drawn anew for every set. Slices that lie beside each other see the same
//! neighbours, so what the machine does meanwhile meets all variants alike (duet benchmarking, Bulej et al., 2020).

use std::iter::zip;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use futures_util::future::join_all;

use super::Limits;
use super::order::{Orders, rows};
use crate::judge::verdict;
use crate::load::settle::Note;
use crate::load::trial::{Setting, Slice, Trial as Running};
use crate::measure::meter::Meter;
use crate::progress::Progress;
use crate::result::comparison::{Comparison, Trial};
use crate::result::environment::Cores;
use crate::result::outcome::{End, Outcome};
use crate::result::scenario::{CONNECTS_PER_SECOND, Scenario};
use crate::result::variant::{Transport, Variant};
use crate::result::words::count;
use crate::target::Target;

/// The shortest warm-up of a slice.
const WARMUP: Duration = Duration::from_millis(200);
/// A short poll is measured for so many of its intervals at least: in a part of one, only some clients ask.
const INTERVALS: f64 = 2.0;

/// Below so many sets there is no word.
pub const FEWEST: usize = 8;
/// Memory of idle connections is a slope of four readings: the sets that it is read in are enough for it.
const WITH_MEMORY: usize = 2;
/// Of a server: its start, a rest, its end.
const AROUND: Duration = Duration::from_millis(700);
/// Of a proxy, beside its server.
const PROXY: Duration = Duration::from_millis(150);
/// After a slice, until all that is late has come.
const LATE: Duration = Duration::from_millis(50);

/// A row of a set, and what is special about its server.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub variant: Variant,
    /// Whether it is one more of the baseline.
    pub control: bool,
    /// More flags for its server.
    pub flags: Vec<String>,
}

/// One server of a set, and the slices it has, by round.
struct Member {
    /// Which of the rows it is.
    place: usize,
    row: Row,
    scenario: Scenario,
    slices: Vec<Option<Slice>>,
}

impl Member {
    fn has_one_slice(&self) -> bool {
        self.slices.iter().flatten().count() == 1
    }
}

/// What all members of a set have in common.
pub struct Set<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// Which cores are whose.
    pub cores: &'a Cores,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// The hiccup meter, if it could be started.
    pub meter: Option<&'a mut Meter>,
}

/// Runs a set of a comparison; nothing comes of one that a signal ended.
pub async fn run(
    comparison: &Comparison,
    rounds: usize,
    set: &mut Set<'_>,
) -> Result<Option<Vec<Trial>>> {
    let reads_memory = set.number <= WITH_MEMORY * turns(comparison);
    let rows = of_set(comparison, set.number);
    run_rows(&comparison.scenario, rows, rounds, reads_memory, set).await
}

/// Runs a set of any rows: a trial of each, in their order.
pub async fn run_rows(
    scenario: &Scenario,
    rows: Vec<Row>,
    rounds: usize,
    reads_memory: bool,
    set: &mut Set<'_>,
) -> Result<Option<Vec<Trial>>> {
    let seed = seed_of(&[scenario.seed(), set.number as u64]);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut members = members(scenario, rows, rounds, seed);
    // Which of the two equal servers started first is drawn, too.
    random.shuffle(&mut members);
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut targets = Vec::new();
    for member in &members {
        let Row { variant, flags, .. } = &member.row;
        let (cores, flags) = (&set.cores.server, in_turns(flags));
        targets.push(Target::start(cores, &member.scenario, *variant, &flags).await?);
    }
    let pids: Vec<Vec<i32>> = targets.iter().map(Target::all_pids).collect();
    let setting = |i: usize| Setting {
        scenario: &members[i].scenario,
        cores: set.cores,
        progress: set.progress,
        in_set: true,
        reads_memory,
        idle: [&pids[..i], &pids[i + 1..]].concat().concat(),
    };
    let settings: Vec<Setting<'_>> = (0..members.len()).map(setting).collect();
    let mut running = Vec::new();
    for ((member, setting), target) in zip(zip(&members, &settings), &mut targets) {
        running.push(Running::start(member.row.variant, setting, target)?);
    }
    let orders = Orders::new(members.len(), random.u64(..));
    let rounds: Vec<Vec<usize>> = orders.take(rounds).collect();
    let metered = half(rounds.len(), &mut random);
    let meter = &mut set.meter;
    let ended = go_through(&members, &mut running, &rounds, meter, &metered).await;
    let mut outcomes = Vec::new();
    for (i, running) in running.into_iter().enumerate() {
        let end = match &ended {
            Ok(()) => End::Completed,
            Err((broken, end)) if *broken == i => end.clone(),
            // Its slices are not those that were planned.
            Err(_) => End::Interrupted,
        };
        outcomes.push(running.finish(end).await);
    }
    if matches!(ended, Err((_, End::Interrupted))) {
        return Ok(None);
    }
    let (number, progress) = (set.number, set.progress);
    let ends = zip(zip(members, outcomes), targets).map(async |((member, outcome), target)| {
        let tried = target.tried.clone();
        let outcome = stopped(outcome, target, progress).await;
        let verdict = verdict::of(&outcome);
        let Member {
            place,
            row: Row { control, .. },
            scenario,
            ..
        } = member;
        let trial = Trial::new(
            number,
            control,
            scenario,
            tried,
            started.clone(),
            outcome,
            verdict,
        );
        (place, trial)
    });
    let mut trials = join_all(ends).await;
    trials.sort_by_key(|(place, _)| *place);
    Ok(Some(trials.into_iter().map(|(_, trial)| trial).collect()))
}

/// Connects all, one after the other, and then goes through the rounds; an early end is told with whose it was.
async fn go_through(
    members: &[Member],
    running: &mut [Running<'_>],
    rounds: &[Vec<usize>],
    meter: &mut Option<&mut Meter>,
    metered: &[bool],
) -> Result<(), (usize, End)> {
    for (i, running) in running.iter_mut().enumerate() {
        running.connect().await.map_err(|end| (i, end))?;
    }
    let mut after = None;
    for (round, order) in rounds.iter().enumerate() {
        for (place, &i) in order.iter().enumerate() {
            let Some(slice) = members[i].slices[round] else {
                continue;
            };
            let probe = match meter {
                Some(meter) => meter.work().await.ok(),
                None => None,
            };
            let looks = match meter {
                // A single slice, always: a trial of which nothing is known could not be trusted.
                Some(meter) if metered[round] || members[i].has_one_slice() => {
                    meter.look().await.is_ok()
                }
                _ => false,
            };
            let ended = running[i].slice(slice).await;
            let pauses = match meter {
                Some(meter) if looks => meter.tell().await.ok(),
                _ => None,
            };
            let (round, place) = (round + 1, place + 1);
            running[i].note(Note {
                round,
                place,
                after,
                probe,
                pauses,
            });
            after = Some(members[i].row.variant);
            ended.map_err(|end| (i, end))?;
        }
    }
    Ok(())
}

/// Half of the rounds, drawn; of an odd number one more or one less, but one at least.
fn half(rounds: usize, random: &mut fastrand::Rng) -> Vec<bool> {
    let metered = ((rounds + usize::from(random.bool())) / 2).max(1);
    let mut half: Vec<bool> = (0..rounds).map(|round| round < metered).collect();
    random.shuffle(&mut half);
    half
}

/// What came of a member, once its server has left.
async fn stopped(outcome: Outcome, target: Target, progress: &Progress) -> Outcome {
    let is_completed = outcome.end == End::Completed;
    match target.stop(progress).await {
        Err(error) if is_completed => Outcome {
            end: End::Broken(format!("{error:#}")),
            ..outcome
        },
        _ => outcome,
    }
}

/// The servers of a set, each with a load of its own.
fn members(scenario: &Scenario, rows: Vec<Row>, rounds: usize, seed: u64) -> Vec<Member> {
    let length = scenario.duration().div_f64(rounds as f64);
    let mut random = fastrand::Rng::with_seed(seed);
    let member = |(place, row): (usize, Row)| {
        let polls = row.variant.mode == Transport::ShortPoll;
        // One slice in a set is enough for it, and long.
        let only = polls.then(|| random.usize(..rounds));
        let interval = scenario.interval;
        let length = if polls {
            let intervals = (length.as_secs_f64() / interval.as_secs_f64()).ceil();
            interval.mul_f64(intervals.max(INTERVALS))
        } else {
            length
        };
        let longer = if polls { interval } else { Duration::ZERO };
        let warmup = scenario.warmup.unwrap_or(WARMUP.max(longer));
        let slice = |round: usize| {
            only.is_none_or(|only| only == round).then(|| Slice {
                // The same for all variants of a round.
                seed: seed_of(&[seed, round as u64]),
                warmup,
                length,
            })
        };
        let slices: Vec<Option<Slice>> = (0..rounds).map(slice).collect();
        let sum = |time: fn(&Slice) -> Duration| slices.iter().flatten().map(time).sum();
        let scenario = Scenario {
            duration: Some(sum(|slice| slice.length)),
            warmup: Some(sum(|slice| slice.warmup)),
            seed: Some(seed),
            ..scenario.clone()
        };
        Member {
            place,
            row,
            scenario,
            slices,
        }
    };
    rows.into_iter().enumerate().map(member).collect()
}

/// The flags of servers that are stopped while others have their turn, from these: one that beat as usual would find, when it
/// runs again, that a ping from before was not answered in time.
fn in_turns(flags: &[String]) -> Vec<String> {
    let given = flags.iter().any(|flag| flag.starts_with("--heartbeat"));
    let seldom = ["--heartbeat", "1h"].map(String::from);
    let own = seldom.into_iter().filter(|_| !given);
    own.chain(flags.iter().cloned()).collect()
}

/// The rows that are in a set: all of them, or where there is no room for so many, each in its turn beside the baseline and
/// the control, and one that goes through a proxy beside the same without it.
fn of_set(comparison: &Comparison, number: usize) -> Vec<Row> {
    let row = |(variant, control): (Variant, bool)| Row {
        variant,
        control,
        flags: comparison.server_flags.clone(),
    };
    let all = rows(comparison);
    let all: Vec<Row> = all.into_iter().map(row).collect();
    if comparison.together >= all.len() {
        return all;
    }
    let baseline = comparison.baseline();
    let takers = takers(comparison);
    let turn = takers.get((number - 1) % takers.len().max(1)).copied();
    let is_base = |row: &&Row| Some(row.variant) == baseline;
    let is_next = |row: &&Row| {
        turn.is_some() && [Some(row.variant), comparison.direct(row.variant)].contains(&turn)
    };
    let next = all.iter().filter(is_next);
    all.iter().filter(is_base).chain(next).cloned().collect()
}

/// Those that take turns where not all are up at once: a row that goes through a proxy has its turn with the same without it,
/// but for the baseline's, which has one of its own.
fn takers(comparison: &Comparison) -> Vec<Variant> {
    let baseline = comparison.baseline();
    let others = comparison.variants.iter().copied();
    let takes = |variant: &Variant| {
        let direct = comparison.direct(*variant);
        Some(*variant) != baseline && (direct.is_none() || direct == baseline)
    };
    others.filter(takes).collect()
}

/// In how many sets each row has been in one at least.
fn turns(comparison: &Comparison) -> usize {
    let all = rows(comparison).len();
    if comparison.together >= all {
        1
    } else {
        takers(comparison).len().max(1)
    }
}

/// How long a set takes, about: servers, connects, rests, slices, what is late.
fn length(comparison: &Comparison, rounds: usize) -> Duration {
    let member = |member: &Member| {
        let connects = member.scenario.clients as f64 / CONNECTS_PER_SECOND as f64;
        let slices = member.slices.iter().flatten();
        let polls = member.row.variant.mode == Transport::ShortPoll;
        let late = if polls {
            member.scenario.interval
        } else {
            LATE
        };
        let slices: Duration = slices.map(|slice| slice.warmup + slice.length + late).sum();
        let around = match member.row.variant.via {
            Some(_) => AROUND + PROXY,
            None => AROUND,
        };
        around + Duration::from_secs_f64(connects) + slices
    };
    let members = members(&comparison.scenario, of_set(comparison, 1), rounds, 1);
    members.iter().map(member).sum()
}

/// What will be done and how long it takes, in a sentence or two.
pub fn forecast(comparison: &Comparison, limits: Limits) -> String {
    let rounds = comparison.rounds.unwrap_or(1);
    let length = length(comparison, rounds);
    let set = format!(
        "Sets of {} servers at once, {} each, of which each has a slice of the load in turns.",
        of_set(comparison, 1).len(),
        about(length)
    );
    match limits.sets {
        Some(sets) => format!("{set} {sets} of them: {}.", about(length * sets as u32)),
        None => {
            let fit = (limits.budget.as_secs_f64() / length.as_secs_f64()) as usize;
            // Where not all are up at once, each has its turn.
            let turns = turns(comparison);
            let few = if fit < FEWEST * turns {
                let enough = about(length * (FEWEST * turns) as u32 + length);
                format!(
                    " That is too short for a word, which takes {FEWEST} sets: --budget {enough}."
                )
                .replace("--budget about ", "--budget of about ")
            } else {
                String::new()
            };
            format!(
                "{set} As many as it takes until all is decided, for {} at most: {fit} of them.{few}",
                about(limits.budget)
            )
        }
    }
}

/// A time as people say it.
fn about(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..100.0 => format!("about {}", count(seconds.round() as u64, "second")),
        ..5400.0 => format!("about {}", count((seconds / 60.0).round() as u64, "minute")),
        _ => format!("about {:.1} hours", seconds / 3600.0),
    }
}

/// A seed of several numbers: neighbours have nothing in common.
fn seed_of(numbers: &[u64]) -> u64 {
    let step = |seed: u64, number: &u64| fastrand::Rng::with_seed(seed ^ number).u64(..);
    numbers.iter().fold(0x5EED, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::begin;
    use crate::result::proxy::Proxy;
    use crate::result::scenario::tests::scenario;

    fn comparison(flags: &str) -> Comparison {
        use Transport::{LongPoll, ShortPoll, Sse, Ws};
        let variants = [ShortPoll, LongPoll, Sse, Ws].map(Variant::from).into();
        let mut comparison = begin(variants, 1, scenario(flags), String::new());
        (comparison.control, comparison.rounds) = (true, Some(3));
        (comparison.together, comparison.scenario.warmup) = (5, None);
        comparison
    }

    #[test]
    fn every_variant_and_the_control_has_its_slices_and_the_same_schedule_in_a_round() {
        let comparison = comparison("--duration 3s --seed 5 --interval 700ms");
        let members = members(&comparison.scenario, of_set(&comparison, 1), 3, 9);
        let names: Vec<(Variant, bool)> = members
            .iter()
            .map(|m| (m.row.variant, m.row.control))
            .collect();
        assert_eq!(names, rows(&comparison));
        assert_eq!(
            names
                .iter()
                .filter(|(variant, _)| *variant == Transport::Ws.into())
                .count(),
            2
        );
        for member in &members {
            let slices: Vec<Slice> = member.slices.iter().copied().flatten().collect();
            let sum: Duration = slices.iter().map(|slice| slice.length).sum();
            assert_eq!(member.scenario.duration(), sum);
            if member.row.variant.mode == Transport::ShortPoll {
                // Whole intervals, at least two.
                assert_eq!((slices.len(), sum), (1, Duration::from_millis(1400)));
                assert_eq!(slices[0].warmup, Duration::from_millis(700));
            } else {
                assert_eq!((slices.len(), sum), (3, Duration::from_secs(3)));
                assert_eq!(slices[0].warmup, WARMUP);
            }
            for (round, slice) in member.slices.iter().enumerate() {
                let same = slice.is_none_or(|slice| slice.seed == seed_of(&[9, round as u64]));
                assert!(same, "round {round}");
            }
        }
    }

    #[test]
    fn a_server_that_is_stopped_in_between_pings_seldom_unless_it_is_told_otherwise() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(String::from).collect() };
        let retain = words("--retain-messages 9");
        let both = [words("--heartbeat 1h"), retain.clone()].concat();
        assert_eq!(in_turns(&retain), both);
        for own in ["--heartbeat 5s", "--heartbeat=5s"].map(words) {
            assert_eq!(in_turns(&own), own);
        }
    }

    #[test]
    fn an_interval_is_the_short_polls_own_affair() {
        let comparison = comparison("--duration 3s --interval 30s");
        for member in members(&comparison.scenario, of_set(&comparison, 1), 3, 1) {
            let polls = member.row.variant.mode == Transport::ShortPoll;
            let expected = Duration::from_secs(if polls { 60 } else { 3 });
            assert_eq!(member.scenario.duration(), expected);
        }
    }

    #[test]
    fn where_there_is_no_room_for_all_each_has_its_turn_beside_the_baseline_and_the_control() {
        let mut comparison = comparison("--duration 3s");
        comparison.together = 4;
        let ws = Variant::from(Transport::Ws);
        let turn = |number| {
            let set = of_set(&comparison, number);
            let both: Vec<_> = set[..2]
                .iter()
                .map(|row| (row.variant, row.control))
                .collect();
            assert_eq!(both, [(ws, false), (ws, true)], "both of the baseline");
            (set.len(), set[2].variant.mode)
        };
        let turns: Vec<(usize, Transport)> = (1..=4).map(turn).collect();
        use Transport::{LongPoll, ShortPoll, Sse};
        assert_eq!(
            turns,
            [(3, ShortPoll), (3, LongPoll), (3, Sse), (3, ShortPoll)]
        );
    }

    #[test]
    fn where_there_is_no_room_for_all_a_row_through_a_proxy_has_its_turn_with_the_same_without_it()
    {
        use Transport::{Sse, Ws};
        let mut comparison = comparison("--duration 3s");
        let through = |mode: Transport| Variant {
            via: Some(Proxy::Nginx),
            ..mode.into()
        };
        comparison.variants = vec![Sse.into(), through(Sse), Ws.into(), through(Ws)];
        comparison.together = 4;
        let turn = |number| {
            let rows = of_set(&comparison, number).into_iter();
            rows.map(|row| row.variant).collect::<Vec<_>>()
        };
        let (sse, ws) = (
            vec![Ws.into(), Ws.into(), Sse.into(), through(Sse)],
            vec![Ws.into(), Ws.into(), through(Ws)],
        );
        assert_eq!([1, 2, 3].map(turn), [sse.clone(), ws, sse]);
        assert_eq!(turns(&comparison), 2);
    }

    #[test]
    fn a_time_is_said_as_people_say_it() {
        let said = [25, 99, 240, 7200].map(|s| about(Duration::from_secs(s)));
        assert_eq!(
            said,
            [
                "about 25 seconds",
                "about 99 seconds",
                "about 4 minutes",
                "about 2.0 hours"
            ]
        );
    }

    #[test]
    fn sets_and_rounds_have_seeds_of_their_own() {
        let mut seeds: Vec<u64> = (0..100)
            .flat_map(|set| (0..3).map(move |r| seed_of(&[1, set, r])))
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 300);
    }
}
