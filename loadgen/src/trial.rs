//! One trial: connect everybody, warm up, measure, drain, audit.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::client::{Cadence, Headers, Meter, Target, Transport};
use crate::clock::{Nanos, nanos, now, sleep_until};
use crate::cores::Cores;
use crate::fleet::{Berth, Fleet};
use crate::measure::ledger::{Ledger, Reading, pss};
use crate::measure::recorder::Window;
use crate::outcome::{End, Outcome};
use crate::pacer::Pacer;
use crate::press::{Assignment, Press};
use crate::progress::{Progress, Status};
use crate::scenario::Scenario;
use crate::settle::{Evidence, settle};
use crate::sut::Sut;

/// Between looks at the state of things.
const LOOK: Duration = Duration::from_millis(10);
/// From connected to the memory reading: allocators and handshakes come to rest.
const REST: Duration = Duration::from_millis(500);
/// The whole fleet has lost its connections for so long: there is nothing to measure any more.
const DESERTED: Duration = Duration::from_secs(3);
/// After an interruption, what was published may still arrive for so long.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Descriptors that are not for clients and publishers.
const SPARE_DESCRIPTORS: u64 = 100;

/// Runs one trial against a server. An error means that it could not begin; whatever happens later is in the outcome.
pub async fn run(
    mode: Transport,
    scenario: &Scenario,
    sut: &mut Sut,
    cores: &Cores,
    progress: &Progress,
) -> Result<Outcome> {
    check_descriptors(scenario)?;
    let mut trial = Trial::start(mode, scenario, sut, cores, progress)?;
    let ended = trial.course().await;
    Ok(trial.finish(ended).await)
}

/// More clients than descriptors is a mistake that is known beforehand.
pub fn check_descriptors(scenario: &Scenario) -> Result<()> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = (scenario.clients + scenario.publishers) as u64 + SPARE_DESCRIPTORS;
    if needed > limit {
        let most = limit.saturating_sub(scenario.publishers as u64 + SPARE_DESCRIPTORS);
        bail!(
            "--clients {}: this process may open {limit} files, which is enough for {most} clients",
            scenario.clients
        );
    }
    Ok(())
}

struct Trial<'a> {
    mode: Transport,
    scenario: &'a Scenario,
    sut: &'a mut Sut,
    progress: &'a Progress,
    tag: String,
    window: Window,
    fleet: Fleet,
    press: Option<Press>,
    ledger: Ledger,
    begun: Option<Reading>,
    connected: usize,
    cores: u64,
    deserted_since: Option<Nanos>,
}

/// The name of a room of a trial.
fn room_name(tag: &str, room: u32) -> String {
    format!("lg-{tag}-{room}")
}

impl<'a> Trial<'a> {
    fn start(
        mode: Transport,
        scenario: &'a Scenario,
        sut: &'a mut Sut,
        cores: &Cores,
        progress: &'a Progress,
    ) -> Result<Self> {
        // Another one for every trial: a server that has been running may know the rooms of an earlier one.
        let tag: String = std::iter::repeat_with(fastrand::alphanumeric).take(6).collect();
        let berth = |client| {
            let room = u32::try_from(scenario.room_of(client)).expect("rooms are fewer than clients");
            let cadence = Cadence::nth(client, scenario.interval);
            let target = Target {
                addr: sut.addr,
                room: room_name(&tag, room),
                cadence,
                headers: scenario.headers,
                meter: Arc::default(),
            };
            Berth { room, target }
        };
        let window = Window::default();
        let ledger = Ledger { server_pss_empty: sut.pid.and_then(pss), ..Ledger::default() };
        let fleet = Fleet::start(mode, (0..scenario.clients).map(berth).collect(), cores.loadgen.len(), &window)?;
        let cores = cores.loadgen.len() as u64;
        Ok(Self {
            mode,
            scenario,
            sut,
            progress,
            tag,
            window,
            fleet,
            press: None,
            ledger,
            begun: None,
            connected: 0,
            cores,
            deserted_since: None,
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
        self.wait("connecting", |trial| trial.fleet.sum(|book| book.connected + book.refused) == wanted).await?;
        let rested = now() + nanos(REST);
        self.wait("connected", |_| now() >= rested).await?;
        self.connected = self.fleet.sum(|book| book.connected);
        if self.connected == 0 {
            return Err(End::Broken("no client could connect".into()));
        }
        self.ledger.server_pss_idle = self.sut.pid.and_then(pss);
        self.ledger.idle_connections = self.connected as u64;
        Ok(())
    }

    /// Lets the clients and the schedule run.
    fn begin(&mut self) -> Result<Range<Nanos>> {
        let start = now() + nanos(LOOK);
        let from = start + nanos(self.scenario.warmup());
        let window = from..from + nanos(self.scenario.duration);
        self.window.get_or_init(|| window.clone());
        self.fleet.run();
        let meter = Arc::<Meter>::default();
        let target = Target {
            addr: self.sut.addr,
            room: String::new(),
            cadence: Cadence::nth(0, self.scenario.interval),
            headers: Headers::Lean,
            meter,
        };
        let length = window.end - start;
        self.press = Some(Press::start(Assignment {
            targets: vec![target; self.scenario.publishers],
            room_name,
            tag: self.tag.clone(),
            payload: self.scenario.payload,
            start,
            schedule: Pacer::new(self.scenario).take_while(move |due| due.offset < length),
        })?);
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

    /// Whether everything published was answered and has reached everybody.
    fn is_all_delivered(&self) -> bool {
        let Some(press) = self.press.as_ref().filter(|press| press.is_finished()) else { return false };
        let owed = press.acked_times(|room| self.scenario.population(room as usize));
        self.fleet.sum(|book| book.audit.received + book.audit.corrupt + book.audit.gaps) >= owed
    }

    /// Waits for a condition; ends early if the trial cannot go on.
    async fn wait(&mut self, phase: &'static str, done: impl Fn(&Self) -> bool) -> Result<(), End> {
        while !done(self) {
            if self.progress.is_interrupted() {
                return Err(End::Interrupted);
            }
            if let Some(reason) = self.trouble() {
                return Err(End::Broken(reason));
            }
            self.progress.show(self.mode, phase, || self.status());
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
        (now() - since > nanos(DESERTED))
            .then(|| format!("every client has lost its connection and none came back for {} s", DESERTED.as_secs()))
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

    async fn finish(mut self, ended: Result<(), End>) -> Outcome {
        self.book();
        let end = ended.err().unwrap_or(End::Completed);
        let planned = self.window.get().cloned().unwrap_or_default();
        // What was due after an early end was never owed.
        let window = planned.start..planned.end.min(now());
        let (publications, sent) = self.press.take().map(Press::finish).unwrap_or_default();
        if end == End::Interrupted {
            sleep_until(now() + nanos(LAST_WAIT)).await;
        }
        let deadline = now();
        let evidence = Evidence {
            mode: self.mode,
            scenario: self.scenario,
            start: planned.start.saturating_sub(nanos(self.scenario.warmup())),
            window,
            deadline,
            publications,
            sent,
            books: self.fleet.finish(),
        };
        settle(evidence, end, self.connected, self.ledger, self.cores)
    }
}
