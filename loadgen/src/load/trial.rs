//! One trial: the phases of its timeline, one after the other, and what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::client::Setup;
use crate::clock::{Nanos, Window, nanos, now, sleep_until};
use crate::fault;
use crate::load::publishers::{Assignment, Publishers};
use crate::load::settle::{Evidence, settle};
use crate::load::subscribers::{Returned, Subscribers};
use crate::measure::reading::{self, Reading};
use crate::measure::recorder::Recorder;
use crate::pacer::{Cadence, Pacer};
use crate::progress::Progress;
use crate::result::environment::Cores;
use crate::result::outcome::{End, Outcome};
use crate::result::scenario::{Phase, Scenario, room_name};
use crate::result::usage::Usage;
use crate::result::variant::{Headers, Publish, Transport, Variant};
use crate::signals;
use crate::target::Target;

/// Between looks at the state of things.
const LOOK: Duration = Duration::from_millis(10);
/// From connected to a reading of memory: allocators and handshakes come to rest.
const REST: Duration = Duration::from_millis(200);
/// This many subscribers, spread over the order of connecting, read with the kernel's arrival stamps.
const RX_TIMESTAMPED: usize = 64;
/// All subscribers have been without a connection for this long: there is nothing to measure any more.
const DESERTED: Duration = Duration::from_secs(3);
/// In that time each client has lost its connection this often, and nothing was delivered: none keeps one.
const FLAPS: u64 = 3;
/// After an interruption, what was published may still arrive for this long.
const LAST_WAIT: Duration = Duration::from_secs(3);

/// What all trials of a plan have in common.
pub struct Setting<'a> {
    /// The load.
    pub scenario: &'a Scenario,
    /// Which cores are whose.
    pub cores: &'a Cores,
    /// Where progress is shown.
    pub progress: &'a Progress,
}

/// Runs one trial against a server. An error means that it could not begin; whatever happens later is in the outcome.
pub async fn run(variant: Variant, setting: &Setting<'_>, target: &mut Target) -> Result<Outcome> {
    let mut trial = Trial::start(variant, setting, target)?;
    let ended = trial.course().await;
    Ok(trial.finish(ended.err().unwrap_or(End::Completed)).await)
}

struct Trial<'a> {
    variant: Variant,
    scenario: &'a Scenario,
    setting: &'a Setting<'a>,
    target: &'a mut Target,
    window: Window,
    subscribers: Subscribers,
    publishers: Publishers,
    /// When the window begins, in UTC.
    began: String,
    begun: Option<Reading>,
    usage: Usage,
    connected: usize,
    deserted_since: Option<Nanos>,
    look: Look,
}

/// How things stood when they were last looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    at: Nanos,
    disconnects: u64,
    deliveries: u64,
}

impl<'a> Trial<'a> {
    fn start(variant: Variant, setting: &'a Setting<'a>, target: &'a mut Target) -> Result<Self> {
        let scenario = setting.scenario;
        fault::watch(scenario.panic_in);
        // Another one for every trial: a server that has been running may know the rooms of an earlier one.
        let tag: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(6)
            .collect();
        let client = |n| {
            let room = scenario.room_of(n);
            let timestamped = has_rx_timestamps(n, scenario.clients);
            let setup = setup(scenario, target, room_name(&tag, room), n);
            (
                room,
                Setup {
                    timestamped,
                    ..setup
                },
            )
        };
        let window = Window::default();
        let subscribers = Subscribers::start(
            variant.mode,
            (0..scenario.clients).map(client).collect(),
            setting.cores.loadgen.len(),
            &window,
            nanos(scenario.patience()),
            scenario.most_in_a_room(),
        )?;
        let assignment = assignment(variant, scenario, target, tag, &window, &subscribers);
        let publishers = Publishers::start(assignment)?;
        let (host, is_socket) = (target.addr.to_string(), variant.mode.properties().is_socket);
        let sets = [Headers::Browser, Headers::Minimal];
        let usage = Usage {
            request_headers: sets.map(|set| set.bytes(&host, is_socket) as u64),
            minimal: scenario.headers == Headers::Minimal,
            ..Usage::default()
        };
        Ok(Self {
            variant,
            scenario,
            setting,
            target,
            window,
            subscribers,
            publishers,
            began: String::new(),
            begun: None,
            usage,
            connected: 0,
            deserted_since: None,
            look: Look {
                at: now(),
                ..Look::default()
            },
        })
    }

    /// The course of things, phase by phase; an early end is an error that says how it ended.
    async fn course(&mut self) -> Result<(), End> {
        for phase in self.scenario.timeline() {
            self.enter(phase)?;
            let since = now();
            self.wait(phase, |trial| trial.is_over(phase, since))
                .await?;
            self.leave(phase)?;
        }
        Ok(())
    }

    /// What begins with a phase.
    fn enter(&mut self, phase: Phase) -> Result<(), End> {
        match phase {
            Phase::Connect { clients } => self.subscribers.allow(clients),
            Phase::Rest { .. } | Phase::GracePeriod => {}
            Phase::WarmUp => self
                .begin()
                .map_err(|error| End::Broken(format!("{error:#}")))?,
            Phase::Measure => self.begun = Some(self.reading()),
        }
        Ok(())
    }

    /// Whether a phase that began then is over.
    fn is_over(&self, phase: Phase, since: Nanos) -> bool {
        let window = || self.window.get().cloned().unwrap_or_default();
        match phase {
            // Whoever has connected and lost its connection again has connected; a client that has neither connected nor
            // failed by the deadline never will.
            Phase::Connect { clients } => {
                let tried = |recorder: &Recorder| {
                    recorder.connects.count() as usize + recorder.refused + recorder.unable
                };
                self.subscribers.sum(tried) >= clients
                    || now() >= since + nanos(self.subscribers.patience())
            }
            Phase::Rest { .. } => now() >= since + nanos(REST),
            Phase::WarmUp => now() >= window().start,
            Phase::Measure => now() >= window().end,
            Phase::GracePeriod => {
                self.is_all_delivered() || now() >= since + nanos(self.scenario.patience())
            }
        }
    }

    /// What is noted when a phase is over. Memory per connection is read as a slope over the steps of connecting, of idle
    /// ones. Idle is what the transport makes of it: questions are held, polls are asked and answered with nothing.
    fn leave(&mut self, phase: Phase) -> Result<(), End> {
        match phase {
            Phase::Connect { .. } | Phase::WarmUp | Phase::GracePeriod => {}
            Phase::Rest { clients } => {
                let connected = self.subscribers.sum(|recorder| recorder.connected);
                let memory = reading::memory(connected, self.target.memory());
                self.usage.memory.push(memory);
                if clients > 0 && connected == 0 {
                    let has_been = self.subscribers.sum(|recorder| recorder.connects.count()) > 0;
                    let what = if has_been {
                        "keeps its connection"
                    } else {
                        "could connect"
                    };
                    return Err(End::Broken(format!(
                        "no client {what} ({})",
                        self.subscribers.worst_failure()
                    )));
                }
                // Whether all have lost their connection is asked only once all had the time to connect.
                if clients == self.scenario.clients {
                    self.connected = connected;
                }
            }
            Phase::Measure => self.note_usage(),
        }
        Ok(())
    }

    /// Lets the schedule run.
    fn begin(&mut self) -> Result<()> {
        let start = now() + nanos(LOOK);
        let from = start + nanos(self.scenario.warmup());
        let end = from + nanos(self.scenario.duration());
        self.window.get_or_init(|| from..end);
        self.publishers.begin(
            Pacer::new(self.scenario, start).take_while(move |message| message.due < end),
            end,
        )?;
        let until = Duration::from_nanos(from.saturating_sub(now()));
        self.began = humantime::format_rfc3339_millis(SystemTime::now() + until).to_string();
        Ok(())
    }

    fn reading(&self) -> Reading {
        let cores = &self.setting.cores.loadgen;
        Reading::take(
            &self.target.pids,
            cores,
            self.subscribers.traffic(),
            self.subscribers.sum(|recorder| recorder.deliveries),
        )
    }

    fn note_usage(&mut self) {
        if let Some(begun) = self.begun.take() {
            let now = self.reading();
            reading::note(&mut self.usage, &begun, &now, self.setting.cores);
        }
    }

    /// Whether everything published was accepted and has reached everybody.
    fn is_all_delivered(&self) -> bool {
        if !self.publishers.is_finished() {
            return false;
        }
        let expected = self
            .publishers
            .acked_times(|room| self.scenario.population(room));
        expected.is_some_and(|expected| {
            self.subscribers
                .sum(|recorder| recorder.audit.came() + recorder.audit.gaps)
                >= expected
        })
    }

    /// Waits for a condition; ends early if the trial cannot go on.
    async fn wait(&mut self, phase: Phase, done: impl Fn(&Self) -> bool) -> Result<(), End> {
        while !done(self) {
            if signals::received().is_some() {
                return Err(End::Interrupted);
            }
            if let Some(reason) = self.trouble() {
                return Err(End::Broken(reason));
            }
            self.setting.progress.show(phase.name(), || self.status());
            sleep_until(now() + nanos(LOOK)).await;
        }
        Ok(())
    }

    fn trouble(&mut self) -> Option<String> {
        if let Some(reason) = broken_itself()
            .or_else(|| self.target.gone())
            .or_else(|| self.flaps())
        {
            return Some(reason);
        }
        if self.connected == 0 || self.subscribers.sum(|recorder| recorder.connected) > 0 {
            self.deserted_since = None;
            return None;
        }
        let since = *self.deserted_since.get_or_insert_with(now);
        let text = "every client has lost its connection and none could come back";
        (now() - since > nanos(DESERTED)).then(|| format!("{text} for {} s", DESERTED.as_secs()))
    }

    /// Why there is nothing to measure though clients do connect, if none keeps its connection.
    fn flaps(&mut self) -> Option<String> {
        let before = self.look;
        if now() - before.at < nanos(DESERTED) {
            return None;
        }
        let disconnects = self.subscribers.sum(|recorder| recorder.disconnects);
        let deliveries = self.subscribers.sum(|recorder| recorder.deliveries);
        let clients = self.subscribers.sum(|recorder| recorder.connects.count());
        self.look = Look {
            at: now(),
            disconnects,
            deliveries,
        };
        let lost = disconnects - before.disconnects;
        (clients > 0 && lost >= FLAPS * clients && deliveries == before.deliveries).then(|| {
            let (seconds, failure) = (DESERTED.as_secs(), self.subscribers.worst_failure());
            format!(
                "no client keeps its connection: {lost} were lost within {seconds} s ({failure})"
            )
        })
    }

    /// Deliveries so far, and the rest in words.
    fn status(&self) -> (u64, String) {
        // What is younger than an interval has only come to those who asked early.
        let asked = if self.variant.mode == Transport::ShortPoll {
            nanos(self.scenario.interval)
        } else {
            0
        };
        let (connected, latency) = (
            self.subscribers.sum(|recorder| recorder.connected),
            self.subscribers.latency(now().saturating_sub(asked)),
        );
        let mut text = format!("{connected} of {} connected", self.scenario.clients);
        if let (Some(p50), Some(p99)) = (latency.ms(0.5), latency.ms(0.99)) {
            text += &format!(", p50 {p50:.1} ms, p99 {p99:.1} ms");
        }
        (self.subscribers.sum(|recorder| recorder.deliveries), text)
    }

    async fn finish(mut self, end: End) -> Outcome {
        self.note_usage();
        let planned = self.window.get().cloned().unwrap_or_default();
        // What was due after an early end never counted.
        let window = planned.start..planned.end.min(now()).max(planned.start);
        if end == End::Interrupted {
            self.publishers.stop();
            let deadline = now() + nanos(LAST_WAIT);
            while !self.is_all_delivered() && now() < deadline {
                sleep_until(now() + nanos(LOOK)).await;
            }
        }
        let (deadline, connected, began, mut usage) =
            (now(), self.connected, self.began, self.usage);
        usage.server_peak = self.target.peak();
        let publishers = self.publishers.finish();
        let Returned {
            recorders,
            tcp,
            traffic,
            receive_delays,
        } = self.subscribers.finish();
        (usage.tcp, usage.life) = (tcp, traffic);
        // The server is not to blame for what was not done.
        let end = broken_itself().map_or(end, End::Broken);
        let evidence = Evidence {
            end,
            connected,
            window,
            planned,
            began,
            deadline,
            publishers,
            recorders,
            receive_delays,
            usage,
        };
        settle(self.variant, self.scenario, evidence)
    }
}

/// How the publishers of a trial publish.
fn assignment(
    variant: Variant,
    scenario: &Scenario,
    target: &Target,
    tag: String,
    window: &Window,
    subscribers: &Subscribers,
) -> Assignment {
    let is_native = variant.publish == Publish::Native;
    let headers = if is_native {
        scenario.headers
    } else {
        Headers::Minimal
    };
    let setup = setup(scenario, target, String::new(), 0);
    Assignment {
        setup: Setup {
            headers,
            keep_alive: true,
            ..setup
        },
        publishers: scenario.publishers,
        orders: if is_native {
            subscribers.orders()
        } else {
            HashMap::new()
        },
        tag,
        payload: scenario.payload,
        most: scenario.most_in_a_room(),
        window: Window::clone(window),
    }
}

/// What went wrong in loadgen itself, if anything.
fn broken_itself() -> Option<String> {
    fault::first().map(|fault| {
        format!("loadgen broke: {fault}; this is a fault of loadgen, please report it")
    })
}

/// Whether a client is one of those that read with arrival stamps: as many of them in each part of the connect order.
fn has_rx_timestamps(n: usize, clients: usize) -> bool {
    n * RX_TIMESTAMPED / clients != (n + 1) * RX_TIMESTAMPED / clients || clients <= RX_TIMESTAMPED
}

fn setup(scenario: &Scenario, target: &Target, room: String, n: usize) -> Setup {
    let Scenario {
        hold,
        headers,
        keep_alive,
        ..
    } = *scenario;
    let (addr, cadence, dialect) = (
        target.addr,
        Cadence::of(scenario, n),
        Arc::clone(&target.dialect),
    );
    Setup {
        addr,
        dialect,
        room,
        cadence,
        hold,
        headers,
        keep_alive,
        timestamped: false,
        meter: Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_of_many_clients_are_timestamped_in_every_part_of_the_order() {
        let count = |n: std::ops::Range<usize>, clients| {
            n.filter(|&n| has_rx_timestamps(n, clients)).count()
        };
        assert_eq!(
            (count(0..1000, 1000), count(0..30, 30), count(0..65, 65)),
            (64, 30, 64)
        );
        assert_eq!(count(0..500, 1000), 32);
    }
}
