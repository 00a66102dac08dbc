//! One trial: the phases of its timeline, one after the other, and what came of it.

use std::collections::HashMap;
use std::iter::zip;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use tokio::sync::watch;

use crate::client::Setup;
use crate::clock::{Nanos, Windows, nanos, now, sleep_until};
use crate::fault;
use crate::load::publishers::{Assignment, Publishers};
use crate::load::settle::{Evidence, Note, settle};
use crate::load::subscribers::{Course, Returned, Subscribers};
use crate::measure::reading::{self, Reading};
use crate::measure::recorder::Recorder;
use crate::pacer::{Cadence, Pacer};
use crate::progress::Progress;
use crate::result::environment::Cores;
use crate::result::link::Kept;
use crate::result::outcome::{End, Outcome};
use crate::result::scenario::{Phase, Scenario, room_name};
use crate::result::usage::{Memory, Usage};
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
    /// Whether it is one of several that take turns: then its phases are not worth a line each.
    pub in_set: bool,
    /// Whether memory is read as the clients connect, in steps.
    pub reads_memory: bool,
    /// Servers that are idle meanwhile.
    pub idle: Vec<i32>,
}

impl<'a> Setting<'a> {
    /// Of a trial that is alone.
    pub fn alone(scenario: &'a Scenario, cores: &'a Cores, progress: &'a Progress) -> Self {
        Self {
            scenario,
            cores,
            progress,
            in_set: false,
            reads_memory: true,
            idle: Vec::new(),
        }
    }
}

/// Load that counts, and the load before it that does not.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Of its schedule.
    pub seed: u64,
    /// Before it counts.
    pub warmup: Duration,
    /// That counts.
    pub length: Duration,
}

/// Runs one trial against a server. An error means that it could not begin; whatever happens later is in the outcome.
pub async fn run(variant: Variant, setting: &Setting<'_>, target: &mut Target) -> Result<Outcome> {
    let scenario = setting.scenario;
    let whole = Slice {
        seed: scenario.seed(),
        warmup: scenario.warmup(),
        length: scenario.duration(),
    };
    let mut trial = Trial::start(variant, setting, target)?;
    let ended = async {
        trial.connect().await?;
        trial.slice(whole).await
    };
    let ended = ended.await;
    Ok(trial.finish(ended.err().unwrap_or(End::Completed)).await)
}

/// A trial under way.
pub struct Trial<'a> {
    variant: Variant,
    scenario: &'a Scenario,
    setting: &'a Setting<'a>,
    target: &'a mut Target,
    windows: Windows,
    active: watch::Sender<bool>,
    /// The window of the load that is under way: disturbances are timed by it.
    load: watch::Sender<Range<Nanos>>,
    subscribers: Subscribers,
    publishers: Publishers,
    /// When the first window begins, in UTC.
    began: String,
    begun: Option<Reading>,
    /// What was used in each of the windows so far.
    used: Vec<Usage>,
    notes: Vec<Note>,
    memory: Vec<Memory>,
    /// Deliveries that came of earlier slices, and how many publishes were answered there: what is missing is waited for no
    /// more.
    settled: Settled,
    connected: usize,
    deserted_since: Option<Nanos>,
    look: Look,
}

/// What earlier slices left.
#[derive(Debug, Clone, Copy, Default)]
struct Settled {
    came: u64,
    answered: usize,
}

/// How things stood when they were last looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    at: Nanos,
    disconnects: u64,
    deliveries: u64,
}

impl<'a> Trial<'a> {
    /// Starts its threads; nobody connects yet.
    pub fn start(
        variant: Variant,
        setting: &'a Setting<'a>,
        target: &'a mut Target,
    ) -> Result<Self> {
        let scenario = setting.scenario;
        fault::watch(scenario.panic_in);
        // Another one for every trial: a server that has been running may know the rooms of an earlier one.
        let tag: String = std::iter::repeat_with(fastrand::alphanumeric)
            .take(6)
            .collect();
        let (active, load) = (watch::Sender::new(false), watch::Sender::new(0..0));
        let course = Course {
            windows: Windows::default(),
            active: active.subscribe(),
            length: nanos(scenario.duration()),
            patience: nanos(scenario.patience()),
            most: scenario.most_in_a_room(),
            disturbance: scenario.disturbance,
            load: load.subscribe(),
        };
        let client = |n| {
            let room = scenario.room_of(n);
            let timestamped = has_rx_timestamps(n, scenario.clients);
            let setup = setup(scenario, target, room_name(&tag, room), n, &course);
            (
                room,
                Setup {
                    timestamped,
                    line: scenario.disturbance.is_any().then(Arc::default),
                    ..setup
                },
            )
        };
        let clients = (0..scenario.clients).map(client).collect();
        let workers = setting.cores.loadgen.len();
        let subscribers = Subscribers::start(variant.mode, clients, workers, &course)?;
        let publishers = Publishers::start(assignment(
            variant,
            scenario,
            target,
            &tag,
            &course,
            &subscribers,
        ))?;
        Ok(Self {
            variant,
            scenario,
            setting,
            target,
            windows: course.windows,
            active,
            load,
            subscribers,
            publishers,
            began: String::new(),
            begun: None,
            used: Vec::new(),
            notes: Vec::new(),
            memory: Vec::new(),
            settled: Settled::default(),
            connected: 0,
            deserted_since: None,
            look: Look {
                at: now(),
                ..Look::default()
            },
        })
    }

    /// Whether its clients are to poll and its tickers to tick. In a set, nothing of it is to wake a core between slices, the
    /// server's heartbeats and deadlines included.
    fn set_active(&self, active: bool) {
        self.active.send_replace(active);
        if self.setting.in_set {
            self.target.set_active(active);
        }
    }

    /// Connects everybody, in steps.
    pub async fn connect(&mut self) -> Result<(), End> {
        // Idle is what the transport makes of it: for memory, questions are held.
        self.active.send_replace(self.setting.reads_memory);
        for phase in self.scenario.gathering(self.setting.reads_memory) {
            self.go_through(phase).await?;
        }
        self.set_active(false);
        Ok(())
    }

    /// Notes where the slice lay that was the latest.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Has load for a while, and waits until it has arrived.
    pub async fn slice(&mut self, slice: Slice) -> Result<(), End> {
        self.set_active(true);
        self.measure(slice).await?;
        self.set_active(false);
        Ok(())
    }

    async fn measure(&mut self, slice: Slice) -> Result<(), End> {
        self.begin(slice);
        for phase in self.scenario.loading() {
            self.go_through(phase).await?;
        }
        self.windows.close(now());
        self.settled = Settled {
            came: self.came(),
            answered: self.publishers.answered(),
        };
        Ok(())
    }

    /// Those that came, or were told as gaps.
    fn came(&self) -> u64 {
        self.subscribers
            .sum(|recorder| recorder.audit.came() + recorder.audit.gaps - recorder.overdue)
    }

    /// Goes through a phase; an early end is an error that says how it ended.
    async fn go_through(&mut self, phase: Phase) -> Result<(), End> {
        match phase {
            Phase::Connect { clients } => self.subscribers.allow(clients),
            Phase::Measure { .. } => self.begun = Some(self.reading()),
            Phase::Restart => self.restart().await?,
            Phase::Rest { .. } | Phase::WarmUp | Phase::GracePeriod => {}
        }
        let since = now();
        self.wait(phase, |trial| trial.is_over(phase, since))
            .await?;
        self.end(phase)
    }

    /// Whether a phase that began then is over.
    fn is_over(&self, phase: Phase, since: Nanos) -> bool {
        match phase {
            // Whoever has connected and lost its connection again has connected; a client that has neither connected nor
            // failed by the deadline never will.
            Phase::Connect { clients } => {
                let tried = |recorder: &Recorder| recorder.connects.count() as usize;
                self.subscribers.sum(tried) >= clients
                    || now() >= since + nanos(self.subscribers.patience())
            }
            Phase::Rest { .. } => now() >= since + nanos(REST),
            Phase::WarmUp => now() >= self.windows.latest().start,
            Phase::Measure { until: None } => now() >= self.windows.latest().end,
            Phase::Measure { until: Some(until) } => {
                let Range { start, end } = self.windows.latest();
                now() >= end.min(start + nanos(until))
            }
            Phase::Restart => true,
            Phase::GracePeriod => {
                (self.is_all_delivered() && self.subscribers.are_back())
                    || now() >= since + nanos(self.scenario.patience())
            }
        }
    }

    /// What is noted when a phase is over. Memory per connection is read as a slope over the steps of connecting, of idle
    /// ones. Idle is what the transport makes of it: questions are held, polls are asked and answered with nothing.
    fn end(&mut self, phase: Phase) -> Result<(), End> {
        match phase {
            Phase::Connect { .. } | Phase::WarmUp | Phase::Restart | Phase::GracePeriod => {}
            Phase::Rest { clients } => {
                let connected = self.subscribers.sum(|recorder| recorder.connected);
                if self.setting.reads_memory {
                    let (server, proxy) = (self.target.memory(), self.target.proxy_memory());
                    let memory = reading::memory(connected, server, proxy);
                    self.memory.push(memory);
                }
                if clients > 0 && connected == 0 {
                    let has_been = self.subscribers.sum(Recorder::stood) > 0;
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
            Phase::Measure { .. } => self.note_usage(),
        }
        Ok(())
    }

    /// Lets a schedule run.
    fn begin(&mut self, slice: Slice) {
        let start = now() + nanos(LOOK);
        let from = start + nanos(slice.warmup);
        let end = from + nanos(slice.length);
        self.windows.open(from..end);
        self.load.send_replace(from..end);
        let scenario = Scenario {
            seed: Some(slice.seed),
            ..self.scenario.clone()
        };
        let schedule = Pacer::new(&scenario, start);
        self.publishers
            .begin(schedule.take_while(move |message| message.due < end));
        if self.began.is_empty() {
            let until = Duration::from_nanos(from.saturating_sub(now()));
            self.began = humantime::format_rfc3339_millis(SystemTime::now() + until).to_string();
        }
    }

    /// Kills the server and starts it again: what the old one used was noted.
    async fn restart(&mut self) -> Result<(), End> {
        let restarted = self.target.restart(&self.setting.cores.server).await;
        restarted.map_err(|error| match error.is::<signals::Interrupted>() {
            true => End::Interrupted,
            false => End::Broken(format!("{error:#}")),
        })
    }

    fn reading(&self) -> Reading {
        Reading::take(
            &self.target.pids,
            self.target.proxy_pids(),
            &self.setting.idle,
            self.subscribers.traffic(),
            self.subscribers.sum(|recorder| recorder.deliveries),
        )
    }

    fn note_usage(&mut self) {
        if let Some(begun) = self.begun.take() {
            let used = reading::between(&begun, &self.reading(), self.setting.cores);
            self.used.push(used);
        }
    }

    /// Whether everything published was accepted and has reached everybody.
    fn is_all_delivered(&self) -> bool {
        if !self.publishers.is_finished() {
            return false;
        }
        let Settled { came, answered } = self.settled;
        let population = |room| self.scenario.population(room);
        let expected = self.publishers.acked_times(answered, population);
        expected.is_some_and(|expected| self.came() - came >= expected)
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
            let name = match phase {
                Phase::WarmUp | Phase::Measure { .. } | Phase::GracePeriod
                    if self.setting.in_set =>
                {
                    "in turns"
                }
                phase => phase.name(),
            };
            self.setting.progress.show(name, || self.status());
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
        let patience = DESERTED + self.scenario.away();
        let text = "every client has lost its connection and none could come back";
        (now() - since > nanos(patience)).then(|| format!("{text} for {} s", patience.as_secs()))
    }

    /// Why there is nothing to measure though clients do connect, if none keeps its connection.
    fn flaps(&mut self) -> Option<String> {
        let before = self.look;
        if now() - before.at < nanos(DESERTED) {
            return None;
        }
        let disconnects = self.subscribers.sum(|recorder| recorder.disconnects);
        let deliveries = self.subscribers.sum(|recorder| recorder.deliveries);
        let clients = self.subscribers.sum(Recorder::stood);
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
        if self.setting.in_set {
            text = format!("{}, {text}", self.variant);
        }
        if let (Some(p50), Some(p99)) = (latency.ms(0.5), latency.ms(0.99)) {
            text += &format!(", p50 {p50:.1} ms, p99 {p99:.1} ms");
        }
        (self.subscribers.sum(|recorder| recorder.deliveries), text)
    }

    /// Lets everybody leave, and tells what came of it.
    pub async fn finish(mut self, end: End) -> Outcome {
        self.target.set_active(true);
        self.note_usage();
        // What was due after an early end never counted.
        let cut = now();
        let until = |window: Range<Nanos>| window.start..window.end.min(cut).max(window.start);
        let windows: Vec<Range<Nanos>> = self.windows.all().into_iter().map(until).collect();
        if end == End::Interrupted {
            self.publishers.stop();
        }
        // Of a set that was interrupted nothing is kept.
        if end == End::Interrupted && !self.setting.in_set {
            let deadline = now() + nanos(LAST_WAIT);
            while !self.is_all_delivered() && now() < deadline {
                sleep_until(now() + nanos(LOOK)).await;
            }
        }
        let (connected, began) = (self.connected, self.began);
        let mut deadlines = self.windows.deadlines();
        deadlines.resize(windows.len(), now());
        let host = self.target.addr.to_string();
        let is_socket = self.variant.mode.properties().is_socket;
        let headers = [Headers::Browser, Headers::Minimal];
        let notes = zip(self.notes, self.used.iter().cloned()).collect();
        let used = self.used.into_iter().reduce(|mut sum, used| {
            sum.add(&used);
            sum
        });
        let mut usage = Usage {
            request_headers: headers.map(|set| set.bytes(&host, is_socket) as u64),
            minimal: self.scenario.headers == Headers::Minimal,
            memory: self.memory,
            server_peak: self.target.peak(),
            proxy_peak: self.target.proxy_peak(),
            ..used.unwrap_or_default()
        };
        let publishers = self.publishers.finish();
        let Returned {
            recorders,
            tcp,
            traffic,
            receive_delays,
            link_delay,
            recovery,
        } = self.subscribers.finish();
        (usage.tcp, usage.life) = (tcp, traffic);
        // The server is not to blame for what was not done.
        let end = broken_itself().map_or(end, End::Broken);
        let evidence = Evidence {
            end,
            connected,
            windows,
            length: nanos(self.scenario.duration()),
            began,
            deadlines,
            publishers,
            recorders,
            receive_delays,
            link: self.scenario.link.as_ref().map(|link| Kept {
                delay_ms: link.rtt_ms / 2.0,
                off: link_delay,
            }),
            recovery: self.scenario.disturbance.is_any().then_some(recovery),
            usage,
            notes,
        };
        settle(self.variant, self.scenario, evidence)
    }
}

/// How the publishers of a trial publish.
fn assignment(
    variant: Variant,
    scenario: &Scenario,
    target: &Target,
    tag: &str,
    course: &Course,
    subscribers: &Subscribers,
) -> Assignment {
    let is_native = variant.publish == Publish::Native;
    let headers = if is_native {
        scenario.headers
    } else {
        Headers::Minimal
    };
    let setup = setup(scenario, target, String::new(), 0, course);
    let Course {
        windows,
        active,
        most,
        ..
    } = course.clone();
    Assignment {
        setup: Setup {
            headers,
            keep_alive: true,
            ..setup
        },
        publishers: scenario.publishers(),
        orders: if is_native {
            subscribers.orders()
        } else {
            HashMap::new()
        },
        tag: tag.into(),
        payload: scenario.payload,
        most,
        windows,
        active,
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

fn setup(scenario: &Scenario, target: &Target, room: String, n: usize, course: &Course) -> Setup {
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
        active: course.active.clone(),
        keep_alive,
        timestamped: false,
        meter: Arc::default(),
        link: scenario.link.clone().map(Arc::new),
        line: None,
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
