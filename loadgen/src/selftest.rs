//! `loadgen selftest`: a minute and a half that says what this machine may be trusted with, in plain words.

mod machine;

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::capacity::Capacity;
use crate::cli::Exit;
use crate::client::{Cursor, Delivery, Event, Said};
use crate::clock::{Nanos, Windows, now, sleep_until};
use crate::console;
use crate::cores;
use crate::judge::{theory, verdict};
use crate::load::trial::Setting;
use crate::measure::meter::Meter;
use crate::measure::recorder::Recorder;
use crate::message_id::MessageId;
use crate::plan::against_own_server;
use crate::progress::Progress;
use crate::result::audit::Audit;
use crate::result::environment::Cores;
use crate::result::histogram::Times;
use crate::result::outcome::Outcome;
use crate::result::scenario::Scenario;
use crate::result::variant::Transport;
use crate::result::verdict::{Kind, Verdict};

/// Timers are tried for this long, each kind.
const TIMERS: Duration = Duration::from_secs(2);
/// As many clients as are connected at once, if there is room for them.
const CROWD: u64 = 5000;
/// Deliveries per second that are tried, one after the other, until one is too many.
const DELIVERIES: [u32; 3] = [5_000, 20_000, 60_000];
/// Polls per second, likewise.
const POLLS: [u32; 2] = [2_000, 10_000];

/// Whether this machine can be trusted, with how many clients and which rates; takes a minute and a half.
#[derive(Args, Debug)]
pub struct Selftest {
    /// Show no progress.
    #[arg(long)]
    quiet: bool,
}

/// What has been found so far.
struct Findings {
    sound: bool,
    /// Whether some could not be printed.
    unprinted: bool,
}

impl Findings {
    fn tell(&mut self, good: bool, what: &str, text: &str) {
        self.sound &= good;
        self.print(&format!(
            "{} {what:<10} {text}\n",
            if good { "ok  " } else { "BAD " }
        ));
    }

    /// Tells something that is not as one would wish, and no fault: noise.
    fn note(&mut self, what: &str, text: &str) {
        self.print(&format!("note {what:<10} {text}\n"));
    }

    /// Prints it; a failure is said once, and the test goes on.
    fn print(&mut self, text: &str) {
        if let Err(error) = console::print(&console::visible(text))
            && !std::mem::replace(&mut self.unprinted, true)
        {
            console::say(&format!("loadgen: {error:#}"));
        }
    }
}

impl Selftest {
    /// Runs it; exit code 1 if something is not as it has to be.
    pub async fn run(self) -> Result<Exit> {
        let cores = cores::split();
        cores::pin(&cores.loadgen);
        let progress = Progress::new(self.quiet);
        let mut found = Findings {
            sound: true,
            unprinted: false,
        };
        clock(&mut found);
        timers(&mut found).await;
        let room = room(&mut found, &cores, &Scenario::parse("")?);
        audit(&mut found);
        let run = async |mode: Transport, scenario: &Scenario| {
            let setting = Setting::alone(scenario, &cores, &progress);
            Ok::<_, anyhow::Error>(against_own_server(mode.into(), &setting, &[]).await?.0)
        };
        let polling =
            Scenario::parse("--clients 200 --rate 2 --interval 500ms --warmup 1s --duration 6s")?;
        progress.begin("known answer of polling", None);
        let polled = run(Transport::ShortPoll, &polling).await?;
        polls(&mut found, &polling, &polled);
        let crowd = room.min(CROWD);
        let calm = Scenario::parse(&format!(
            "--clients {crowd} --rate 0.2 --warmup 1s --duration 4s"
        ))?;
        progress.begin("a calm socket", None);
        let calm = run(Transport::Ws, &calm).await?;
        socket(&mut found, &calm);
        let mut meter = Meter::start(&cores.used())?;
        machine::pauses(&mut found, &mut meter).await?;
        machine::cpu_time(&mut found, cores.server[0]);
        machine::apart(&mut found, &cores, &mut meter, &progress).await?;
        rates(&mut found, &progress, run).await?;
        progress.clear();
        found.print(if found.sound {
            "This machine can be trusted with that.\n"
        } else {
            "Not everything is as it has to be: what is BAD above comes first.\n"
        });
        Ok(if found.sound && !found.unprinted {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

/// How many deliveries and polls per second are measured soundly.
async fn rates(
    found: &mut Findings,
    progress: &Progress,
    run: impl AsyncFn(Transport, &Scenario) -> Result<Outcome>,
) -> Result<()> {
    for (mode, what, rates) in [
        (
            Transport::Ws,
            "ws deliveries/s in rooms of 20",
            &DELIVERIES[..],
        ),
        (Transport::ShortPoll, "short polls/s", &POLLS),
    ] {
        let mut tried = Vec::new();
        for &rate in rates {
            progress.begin(&format!("{rate} {what}"), None);
            let verdict = verdict::of(&run(mode, &load_of(mode, rate)?).await?);
            let is_noise = matches!(verdict.kind, Kind::Noisy | Kind::NotSteady);
            if verdict.kind != Kind::Valid {
                let said = if is_noise {
                    "could not be told, for noise"
                } else {
                    "are too many"
                };
                progress.say(&format!("     {rate} {what} {said}: {}", why(&verdict)));
            }
            tried.push((rate, verdict.kind));
            if verdict.kind != Kind::Valid && !is_noise {
                break;
            }
        }
        trust(found, what, &tried);
    }
    Ok(())
}

/// The load of this many deliveries per second, or polls.
fn load_of(mode: Transport, rate: u32) -> Result<Scenario> {
    let per_client = f64::from(rate) / 500.0;
    let load = match mode {
        Transport::ShortPoll => format!("--rate 1 --interval {:.0}us", 1e6 / per_client),
        _ => format!("--rate {per_client}"),
    };
    Ok(Scenario::parse(&format!(
        "--clients 500 --warmup 1s --duration 3s {load}"
    ))?)
}

/// Tells up to which rate something is measured soundly; where noise hid it, that it could not be told.
fn trust(found: &mut Findings, what: &str, tried: &[(u32, Kind)]) {
    let trusted = tried.iter().rev().find(|(_, kind)| *kind == Kind::Valid);
    let noise = tried
        .iter()
        .any(|(_, kind)| matches!(kind, Kind::Noisy | Kind::NotSteady));
    let lowest = tried.first().map_or(0, |(rate, _)| *rate);
    let text = match trusted {
        Some((rate, _)) => {
            format!("up to {rate} {what} are measured soundly, with the server on this machine")
        }
        None if noise => format!("{lowest} {what} could not be told from noise; calm the machine"),
        None => format!("{lowest} {what} are too many for loadgen here"),
    };
    if trusted.is_none() && noise {
        found.note("rate", &text);
    } else {
        found.tell(trusted.is_some(), "rate", &text);
    }
}

fn clock(found: &mut Findings) {
    let (mut back, mut previous, begun, mut looks) = (0, now(), now(), 0_u64);
    while now() - begun < 500_000_000 {
        let time = now();
        back += u64::from(time < previous);
        (previous, looks) = (time, looks + 2);
    }
    let cost = 500_000_000 / looks.max(1);
    let text = format!("never goes back, {cost} ns a look");
    found.tell(
        back == 0 && cost < 1000,
        "clock",
        if back == 0 {
            &text
        } else {
            "it goes back: no figure means anything here"
        },
    );
}

/// How late sleeps end: those of a thread, which publish, and those of the runtime, which poll.
async fn timers(found: &mut Findings) {
    let (mut thread, mut runtime) = (Times::default(), Times::default());
    let end = now() + crate::clock::nanos(TIMERS);
    while now() < end {
        let due = now() + 5_000_000;
        std::thread::sleep(Duration::from_millis(5));
        thread.record(now() - due);
    }
    let end = now() + crate::clock::nanos(TIMERS);
    while now() < end {
        let due = now() + 5_000_000;
        sleep_until(due).await;
        runtime.record(now() - due);
    }
    let ms = |times: &Times| times.ms(0.99).unwrap_or(0.0);
    let (thread, runtime) = (ms(&thread), ms(&runtime));
    let good = thread <= 1.0 && runtime <= 5.0;
    let text = format!(
        "99 of 100 sleeps end within {thread:.2} ms (publishers) and {runtime:.2} ms (polls) of their time"
    );
    found.tell(
        good,
        "timers",
        &if good {
            text
        } else {
            text + "; the machine is busy, stop what else runs"
        },
    );
}

/// Cores, descriptors: for how many clients there is room.
fn room(found: &mut Findings, cores: &Cores, load: &Scenario) -> u64 {
    let apart = cores.server != cores.loadgen;
    let text = format!(
        "server on {:?}, loadgen on {:?}",
        cores.server, cores.loadgen
    );
    let shared = "server and loadgen share the only core: latency is of both together";
    found.tell(apart, "cores", if apart { &text } else { shared });
    let (capacity, publishers) = (Capacity::here(), load.publishers() as u64);
    let most = capacity.clients(publishers);
    let together = 6 * (load.clients + load.publishers()) as u64;
    let text = format!(
        "at most {most} at one server; six servers at once, as compare has them, with {} each ({} files may be open)",
        (capacity.clients(0) / 6).saturating_sub(publishers),
        capacity.files
    );
    found.tell(capacity.clients(0) >= together, "clients", &text);
    most
}

/// The audit on deliveries of which it is known what is wrong with them.
fn audit(found: &mut Findings) {
    let expected = Audit {
        received: 993,
        doubled: 3,
        reordered: 2,
        corrupt: 4,
        wrong_room: 2,
        ..Audit::default()
    };
    let mut recorder = Recorder::new(
        [(0, false)].into_iter(),
        Windows::default(),
        0,
        Nanos::MAX,
        1000,
    );
    let mut events = vec![Event::Hello(Some(Cursor {
        epoch: "selftest".into(),
        seq: 0,
    }))];
    let mut message = |seq: u64, said| {
        events.push(Event::Message(Delivery {
            seq: Some(seq),
            received: 1,
            asked: None,
            said,
        }));
    };
    let sent = |seq: u64, room| {
        Said::Message(MessageId {
            number: seq as u32 - 1,
            room,
            due: 0,
        })
    };
    for seq in 1..=1000 {
        match seq {
            100 | 200 | 300 => (0..2).for_each(|_| message(seq, sent(seq, 0))),
            400 | 500 => message(seq + 1, sent(seq + 1, 0)),
            401 | 501 => message(seq - 1, sent(seq - 1, 0)),
            600..=603 => message(seq, Said::Text("not as it was sent".into())),
            700 | 800 => message(seq, sent(seq, 1)),
            900 => {}
            _ => message(seq, sent(seq, 0)),
        }
    }
    let recorded = recorder.record(0, &mut events);
    let missing = recorder.subscribers[0].received.missing(1000).flatten();
    // Numbers from 0, seqs from 1: the four broken ones, the two of another room, and the one that never came.
    let good = recorded.is_ok()
        && recorder.audit == expected
        && missing.eq([599, 600, 601, 602, 699, 799, 899]);
    found.tell(
        good,
        "audit",
        if good {
            "finds exactly what was done to 1000 messages: lost, doubled, reordered, corrupt, in the wrong room"
        } else {
            "does not find what was done: a fault of loadgen"
        },
    );
}

fn why(verdict: &Verdict) -> String {
    verdict.failed().first().map_or_else(
        || verdict.kind.to_string(),
        |check| format!("{}: {check}", verdict.kind),
    )
}

/// The known answer of polling.
fn polls(found: &mut Findings, scenario: &Scenario, outcome: &Outcome) {
    let checks = theory::answers(outcome, scenario);
    let wrong = checks.iter().find(|check| check.holds() == Some(false));
    let text = match (wrong, trouble(outcome)) {
        (Some(check), trouble) => {
            let (what, measured, predicted) = (&check.what, check.measured, check.predicted);
            let trouble = trouble.map_or(String::new(), |trouble| format!("; {trouble}"));
            return found.tell(
                false,
                "polling",
                &format!("{what}: {measured:.3}, theory says {predicted:.3}{trouble}"),
            );
        }
        (None, Some(trouble)) => return found.tell(false, "polling", &trouble),
        (None, None) => format!(
            "as theory has it: waits spread evenly (KS {:.3}), requests and empty answers as computed",
            outcome.wait_ks.unwrap_or(f64::NAN)
        ),
    };
    found.tell(true, "polling", &text);
}

fn socket(found: &mut Findings, outcome: &Outcome) {
    let ms = |share| outcome.latency.ms(share).unwrap_or(0.0);
    let (crowd, expected) = (outcome.connections.connected, outcome.audit.expected);
    let text = format!(
        "{crowd} calm sockets stay open: p50 {:.2} ms, p99 {:.2} ms, nothing lost of {expected}",
        ms(0.5),
        ms(0.99)
    );
    let trouble = trouble(outcome);
    found.tell(trouble.is_none(), "socket", &trouble.unwrap_or(text));
}

/// Why a trial is not to be believed, or what went wrong in it.
fn trouble(outcome: &Outcome) -> Option<String> {
    let verdict = verdict::of(outcome);
    if verdict.kind == Kind::Valid {
        outcome.failure()
    } else {
        Some(why(&verdict))
    }
}
