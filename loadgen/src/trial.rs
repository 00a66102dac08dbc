//! One trial: connect everybody, warm up, measure, drain, audit.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::client::{Cadence, Headers, Target, Transport};
use crate::clock::{Nanos, nanos, now, sleep_until};
use crate::cores::Cores;
use crate::fleet::Fleet;
use crate::measure::ledger::{Ledger, Reading};
use crate::measure::recorder::Window;
use crate::outcome::{End, Outcome};
use crate::pacer::Pacer;
use crate::press::{Assignment, Press};
use crate::progress::{Progress, Status};
use crate::scenario::{Scenario, room_name};
use crate::settle::{Evidence, settle};
use crate::sut::Sut;

/// Between looks at the state of things.
const LOOK: Duration = Duration::from_millis(10);
/// From connected to the memory reading: allocators and handshakes come to rest.
const REST: Duration = Duration::from_millis(500);
/// The whole fleet has lost its connections for so long: there is nothing to measure any more.
const DESERTED: Duration = Duration::from_secs(3);
/// After an interruption, what was published may still arrive for so long.
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
pub async fn run(mode: Transport, setting: &Setting<'_>, sut: &mut Sut) -> Result<Outcome> {
    let mut trial = Trial::start(mode, setting, sut)?;
    let ended = trial.course().await;
    Ok(trial.finish(ended.err().unwrap_or(End::Completed)).await)
}

struct Trial<'a> {
    mode: Transport,
    scenario: &'a Scenario,
    setting: &'a Setting<'a>,
    sut: &'a mut Sut,
    tag: String,
    window: Window,
    fleet: Fleet,
    press: Option<Press>,
    begun: Option<Reading>,
    ledger: Ledger,
    connected: usize,
    deserted_since: Option<Nanos>,
}

impl<'a> Trial<'a> {
    fn start(mode: Transport, setting: &'a Setting<'a>, sut: &'a mut Sut) -> Result<Self> {
        let (scenario, workers) = (setting.scenario, setting.cores.loadgen.len());
        // Another one for every trial: a server that has been running may know the rooms of an earlier one.
        let tag: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        let client = |n| {
            let room = scenario.room_of(n);
            (room, target(scenario, sut, room_name(&tag, room), Cadence::nth(n, scenario.interval)))
        };
        let window = Window::default();
        let ledger = Ledger { server_pss_empty: sut.memory(), ..Ledger::default() };
        let fleet = Fleet::start(mode, (0..scenario.clients).map(client).collect(), workers, &window)?;
        let (press, begun, deserted_since) = (None, None, None);
        Ok(Self {
            mode,
            scenario,
            setting,
            sut,
            tag,
            window,
            fleet,
            press,
            begun,
            ledger,
            connected: 0,
            deserted_since,
        })
    }

    /// The course of things; an early end is an error that says how it ended.
    async fn course(&mut self) -> Result<(), End> {
        self.connect().await?;
        let window = self.begin().map_err(|error| End::Broken(format!("{error:#}")))?;
        self.wait("warm-up", |_| now() >= window.start).await?;
        self.begun = Some(self.reading());
        self.wait("measuring", |_| now() >= window.end).await?;
        self.book();
        let deadline = now() + nanos(self.scenario.patience());
        self.wait("drain", |trial| trial.is_all_delivered() || now() >= deadline).await
    }

    async fn connect(&mut self) -> Result<(), End> {
        let wanted = self.scenario.clients;
        // A client that has neither connected nor failed by then never will.
        let deadline = now() + nanos(self.fleet.patience());
        let settled = |trial: &Self| trial.fleet.sum(|book| book.connected + book.refused) == wanted;
        self.wait("connecting", |trial| settled(trial) || now() >= deadline).await?;
        self.connected = self.fleet.sum(|book| book.connected);
        if self.connected == 0 {
            return Err(End::Broken(format!("no client could connect ({})", self.fleet.worst_failure())));
        }
        // Idle, each as its transport is: questions are held, polls are asked and answered with nothing.
        self.fleet.run();
        let rested = now() + nanos(REST);
        self.wait("connected", |_| now() >= rested).await?;
        self.ledger.server_pss_idle = self.sut.memory();
        self.ledger.idle_connections = self.connected as u64;
        Ok(())
    }

    /// Lets the clients and the schedule run.
    fn begin(&mut self) -> Result<Range<Nanos>> {
        let Scenario { publishers, payload, interval, .. } = *self.scenario;
        let start = now() + nanos(LOOK);
        let from = start + nanos(self.scenario.warmup());
        let window = from..from + nanos(self.scenario.duration());
        self.window.get_or_init(|| window.clone());
        let target = target(self.scenario, self.sut, String::new(), Cadence::nth(0, interval));
        let target = Target { headers: Headers::Lean, ..target };
        let assignment = Assignment { target, publishers, tag: self.tag.clone(), payload };
        let end = window.end;
        let schedule = Pacer::new(self.scenario, start).take_while(move |stamp| stamp.due < end);
        self.press = Some(Press::start(assignment, schedule)?);
        Ok(window)
    }

    fn reading(&self) -> Reading {
        Reading::take(self.sut.pid, self.fleet.traffic(), self.fleet.sum(|book| book.deliveries))
    }

    fn book(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.ledger.book(&begun, &self.reading());
        }
    }

    /// Whether everything published was accepted and has reached everybody.
    fn is_all_delivered(&self) -> bool {
        let Some(press) = self.press.as_ref().filter(|press| press.is_finished()) else { return false };
        let owed = press.acked_times(|room| self.scenario.population(room));
        owed.is_some_and(|owed| {
            self.fleet.sum(|book| book.audit.received + book.audit.corrupt + book.audit.gaps) >= owed
        })
    }

    /// Waits for a condition; ends early if the trial cannot go on.
    async fn wait(&mut self, phase: &'static str, done: impl Fn(&Self) -> bool) -> Result<(), End> {
        while !done(self) {
            if self.setting.progress.is_interrupted() {
                return Err(End::Interrupted);
            }
            if let Some(reason) = self.trouble() {
                return Err(End::Broken(reason));
            }
            self.setting.progress.show(phase, || self.status());
            sleep_until(now() + nanos(LOOK)).await;
        }
        Ok(())
    }

    fn trouble(&mut self) -> Option<String> {
        if let Some(reason) = self.sut.gone() {
            return Some(reason);
        }
        if self.connected == 0 || self.fleet.sum(|book| book.connected) > 0 {
            self.deserted_since = None;
            return None;
        }
        let since = *self.deserted_since.get_or_insert_with(now);
        let text = "every client has lost its connection and none could come back";
        (now() - since > nanos(DESERTED)).then(|| format!("{text} for {} s", DESERTED.as_secs()))
    }

    fn status(&self) -> Status {
        let latency = self.fleet.latency();
        Status {
            connected: self.fleet.sum(|book| book.connected),
            wanted: self.scenario.clients,
            deliveries: self.fleet.sum(|book| book.deliveries),
            p50: latency.quantile(0.5),
            p99: latency.quantile(0.99),
        }
    }

    async fn finish(mut self, end: End) -> Outcome {
        self.book();
        let planned = self.window.get().cloned().unwrap_or_default();
        // What was due after an early end was never owed.
        let window = planned.start..planned.end.min(now()).max(planned.start);
        if let (End::Interrupted, Some(press)) = (&end, &self.press) {
            press.stop();
            let deadline = now() + nanos(LAST_WAIT);
            while !self.is_all_delivered() && now() < deadline {
                sleep_until(now() + nanos(LOOK)).await;
            }
        }
        let press = self.press.take().map(Press::finish).unwrap_or_default();
        let (deadline, connected, ledger) = (now(), self.connected, self.ledger);
        let (books, loadgen_cores) = (self.fleet.finish(), self.setting.cores.loadgen.len() as u64);
        let evidence = Evidence { end, connected, window, deadline, press, books, ledger, loadgen_cores };
        settle(self.mode, self.scenario, evidence)
    }
}

fn target(scenario: &Scenario, sut: &Sut, room: String, cadence: Cadence) -> Target {
    let Scenario { hold, headers, .. } = *scenario;
    Target { addr: sut.addr, room, cadence, hold, headers, meter: Arc::default() }
}
