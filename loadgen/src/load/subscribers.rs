//! The simulated clients: threads with a share of them each, a recorder per thread, and the clients' ways through a trial.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::dialect::Draft;
use crate::client::{self, After, Answer, Client, Event, Failure, Line, Meter, Setup, Visitor};
use crate::clock::{Active, Nanos, Windows, nanos, now, sleep_until, tick};
use crate::fault;
use crate::measure::recorder::Recorder;
use crate::result::disturbance::{CutKind, Disturbance};
use crate::result::histogram::Times;
use crate::result::recovery::Recovery;
use crate::result::scenario::{CONNECTS_PER_SECOND, GOLDEN, Part};
use crate::result::usage::{Tcp, Totals};
use crate::result::variant::Transport;

/// The distance between two of them.
const RAMP: Nanos = 1_000_000_000 / CONNECTS_PER_SECOND;
/// A client that is not connected after this long is not connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Clients may take this long to leave.
const LEAVE: Duration = Duration::from_secs(2);

/// Where the subscribers are in their trial: this many may connect, until it is time to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Gather(u64),
    Leave,
}

/// A message to be published over a subscriber's own connection.
pub type Order = (Draft, Answer);

/// What clients have to know of the trial that they are in.
#[derive(Debug, Clone)]
pub struct Course {
    /// When it is measured.
    pub windows: Windows,
    /// Whether there is anything to do.
    pub active: Active,
    /// How much is to be measured in all.
    pub length: Nanos,
    /// A delivery is late after this long.
    pub patience: Nanos,
    /// No room can have more messages.
    pub most: u64,
    /// What is done to connections.
    pub disturbance: Disturbance,
    /// The window of the load, which disturbances are timed by; empty before there is any.
    pub load: watch::Receiver<Range<Nanos>>,
}

/// What a worker shares with the trial.
#[derive(Debug)]
struct Shared {
    recorder: Mutex<Recorder>,
    meter: Arc<Meter>,
}

/// One client's place in the ramp, its room and where it goes.
struct Place {
    ramp: u64,
    room: u32,
    setup: Setup,
    orders: Option<UnboundedReceiver<Order>>,
}

/// All clients of a trial.
pub struct Subscribers {
    workers: Vec<(Arc<Shared>, JoinHandle<()>)>,
    phase: watch::Sender<Phase>,
    /// For each room, the way to the subscriber that publishes there, if subscribers do.
    orders: HashMap<u32, UnboundedSender<Order>>,
}

impl Subscribers {
    /// Starts `workers` threads, which wait until they may connect their share of the clients: for each the number of
    /// its room, and where it goes.
    pub fn start(
        transport: Transport,
        clients: Vec<(u32, Setup)>,
        workers: usize,
        course: &Course,
    ) -> Result<Self> {
        let phase = watch::Sender::new(Phase::Gather(0));
        let mut shares: Vec<Vec<Place>> = (0..workers).map(|_| Vec::new()).collect();
        let mut orders = HashMap::new();
        for (i, (room, setup)) in clients.into_iter().enumerate() {
            let (sender, receiver) = unbounded_channel();
            let is_first = transport.properties().is_duplex && !orders.contains_key(&room);
            let orders = is_first
                .then(|| orders.insert(room, sender))
                .map(|_| receiver);
            shares[i % workers].push(Place {
                ramp: i as u64,
                room,
                setup,
                orders,
            });
        }
        let workers = shares.into_iter().enumerate().map(|(i, share)| {
            let clients = share
                .iter()
                .map(|place| (place.room, place.setup.timestamped));
            let needs_positions = share.iter().all(|place| !place.setup.dialect.is_foreign);
            let Course {
                windows,
                active,
                length,
                patience,
                most,
                disturbance,
                load,
            } = course.clone();
            let mut recorder = Recorder::new(clients, windows.clone(), length, patience, most);
            recorder.needs_positions = needs_positions;
            recorder.behind_after = if transport.properties().streams {
                0
            } else {
                share
                    .first()
                    .map_or(0, |place| nanos(place.setup.cadence.interval))
            };
            let recorder = Mutex::new(recorder);
            let shared = Arc::new(Shared {
                recorder,
                meter: Arc::new(Meter::new(windows)),
            });
            let (phase, theirs, gap) = (
                phase.subscribe(),
                Arc::clone(&shared),
                RAMP * workers as u64,
            );
            let thread = std::thread::Builder::new().name(format!("clients-{i}"));
            let worker = Worker {
                share,
                gap,
                shared: theirs,
                phase,
                active,
                disturbance,
                load,
            };
            Ok((
                shared,
                thread.spawn(move || client::visit(transport, worker))?,
            ))
        });
        Ok(Self {
            workers: workers.collect::<Result<_>>()?,
            phase,
            orders,
        })
    }

    /// Lets this many of the clients connect.
    pub fn allow(&self, clients: usize) {
        self.phase.send_replace(Phase::Gather(clients as u64));
    }

    /// The ways to the subscribers that publish, by room.
    pub fn orders(&self) -> HashMap<u32, UnboundedSender<Order>> {
        self.orders.clone()
    }

    /// How long it may take until everybody has connected or failed to.
    pub fn patience(&self) -> Duration {
        let clients = self.sum(|recorder| recorder.subscribers.len() as u64);
        Duration::from_secs(clients / CONNECTS_PER_SECOND) + CONNECT_TIMEOUT * 2
    }

    /// What most often went wrong, in words.
    pub fn worst_failure(&self) -> String {
        let recorders = self
            .workers
            .iter()
            .map(|(shared, _)| shared.recorder.lock());
        let failures =
            recorders.flat_map(|recorder| recorder.failures.values().cloned().collect::<Vec<_>>());
        failures
            .max_by_key(|failures| failures.count)
            .map_or("no answer".into(), |failures| failures.example)
    }

    /// A sum over all recorders.
    pub fn sum<T: std::iter::Sum>(&self, figure: impl Fn(&Recorder) -> T) -> T {
        self.workers
            .iter()
            .map(|(shared, _)| figure(&shared.recorder.lock()))
            .sum()
    }

    /// The latencies of messages due in the last second or so before this time.
    pub fn latency(&self, before: Nanos) -> Times {
        let latencies: Vec<Times> = self
            .workers
            .iter()
            .map(|(shared, _)| shared.recorder.lock().recent(before))
            .collect();
        Times::merged(latencies.iter())
    }

    /// Whether everybody is back whose connection ended, where connections are cut on purpose.
    pub fn are_back(&self) -> bool {
        self.workers
            .iter()
            .all(|(shared, _)| shared.meter.are_back())
    }

    /// All traffic so far.
    pub fn traffic(&self) -> Totals {
        self.workers
            .iter()
            .map(|(shared, _)| shared.meter.totals())
            .sum()
    }

    /// Lets everybody leave and hands over what is known.
    pub fn finish(self) -> Returned {
        self.phase.send_replace(Phase::Leave);
        let (mut returned, mut attempts) = (Returned::default(), BTreeMap::<u64, u64>::new());
        for (shared, thread) in self.workers {
            // What was noted before a panic still counts.
            fault::joined("worker", &thread.join());
            let recorder = std::mem::take(&mut *shared.recorder.lock());
            returned.recovery.behind += recorder.behind;
            returned.recorders.push(recorder);
            returned.tcp = returned.tcp + shared.meter.closed();
            returned.traffic = returned.traffic + shared.meter.totals();
            returned
                .receive_delays
                .extend(shared.meter.take_receive_delays());
            returned.link_delay.add(&shared.meter.take_link_delays());
            let (recovery, tried) = shared.meter.take_recovery();
            returned.recovery.merge(&recovery);
            for (tenth, count) in tried {
                *attempts.entry(tenth).or_default() += count;
            }
        }
        returned.recovery.peak_connects = attempts.into_values().max().unwrap_or(0);
        returned
    }
}

/// What the subscribers leave behind.
#[derive(Debug, Default)]
pub struct Returned {
    /// What was delivered.
    pub recorders: Vec<Recorder>,
    /// What the kernel counted, over the whole life of the connections.
    pub tcp: Tcp,
    /// What the sockets' wrappers counted, over the same time.
    pub traffic: Totals,
    /// How long what was read had been in the kernel.
    pub receive_delays: Vec<Nanos>,
    /// How far from its time the emulated link let each piece through.
    pub link_delay: Times,
    /// How clients that lost their connections came back.
    pub recovery: Recovery,
}

/// A worker's thread, with its share of the clients, the time between two connects, and what it shares with the trial.
struct Worker {
    share: Vec<Place>,
    gap: Nanos,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
    active: Active,
    disturbance: Disturbance,
    load: watch::Receiver<Range<Nanos>>,
}

impl Visitor for Worker {
    type Output = ();

    fn visit<C: Client>(self) {
        work::<C>(self);
    }
}

/// What a worker does: a runtime of its own, the ramp, the ticker, the end.
fn work<C: Client>(worker: Worker) {
    let Worker {
        share,
        gap,
        shared,
        phase,
        active,
        disturbance,
        load,
    } = worker;
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fault::note(format!("the runtime of a worker cannot start: {error}")),
    };
    runtime.block_on(async {
        let ticked = Arc::clone(&shared);
        let ticker = tokio::spawn(tick(active, move |late| {
            fault::provoke(Part::Ticker);
            ticked.recorder.lock().tick(late);
        }));
        let (mut clients, mut aborts, mut next) = (JoinSet::new(), Vec::new(), now());
        for (
            client,
            Place {
                ramp,
                mut setup,
                orders,
                ..
            },
        ) in share.into_iter().enumerate()
        {
            let may = |phase: &Phase| !matches!(phase, Phase::Gather(clients) if *clients <= ramp);
            if phase
                .clone()
                .wait_for(may)
                .await
                .map_or(true, |phase| *phase == Phase::Leave)
            {
                break;
            }
            next = now().max(next + gap);
            sleep_until(next).await;
            setup.meter = Arc::clone(&shared.meter);
            let (abort, registration) = AbortHandle::new_pair();
            aborts.push(abort);
            let trouble = Trouble {
                ramp,
                disturbance,
                load: load.clone(),
            };
            clients.spawn(live::<C>(
                client,
                setup,
                orders,
                trouble,
                Arc::clone(&shared),
                registration,
            ));
        }
        let _ = phase.clone().wait_for(|phase| *phase == Phase::Leave).await;
        ticker.abort();
        aborts.iter().for_each(AbortHandle::abort);
        // Whoever takes longer is left alone; a panic is noted where it happens.
        let _ = timeout(LEAVE, async {
            while clients.join_next().await.is_some() {}
        })
        .await;
    });
}

/// One client's life: connect, take what comes, reconnect if the connection is lost, leave.
async fn live<C: Client>(
    client: usize,
    setup: Setup,
    mut orders: Option<UnboundedReceiver<Order>>,
    trouble: Trouble,
    shared: Arc<Shared>,
    registration: AbortRegistration,
) {
    let mut current: Option<C> = None;
    let mut active = setup.active.clone();
    let line = setup.line.clone();
    let reconnect = trouble.disturbance.reconnect;
    let life = async {
        let began = now();
        match connect(client, &setup, &shared).await {
            Ok(connected) => current = Some(connected),
            Err(failure) => {
                let mut recorder = shared.recorder.lock();
                recorder.connects.record(now() - began);
                return *if failure.is_own() {
                    &mut recorder.unable
                } else {
                    &mut recorder.refused
                } += 1;
            }
        }
        shared.recorder.lock().connects.record(now() - began);
        let mut since = now();
        loop {
            let Err(failure) = stay(client, &mut current, &mut orders, &shared).await else {
                return;
            };
            let is_planned =
                line.as_ref().is_some_and(|line| line.is_cut()) || trouble.has_restarted(since);
            {
                let mut recorder = shared.recorder.lock();
                if is_planned {
                    recorder.planned += 1;
                } else {
                    recorder.fail(&failure);
                    recorder.cut += u64::from(!failure.is_own());
                }
                recorder.disconnects += 1;
                recorder.connected -= 1;
            }
            current = None;
            for failed in 0.. {
                if current.is_some() {
                    break;
                }
                tokio::time::sleep(reconnect.wait(failed, fastrand::f64())).await;
                // While others have their turn, the server would not answer.
                if active.wait_for(|active| *active).await.is_err() {
                    return;
                }
                current = connect(client, &setup, &shared).await.ok();
            }
            since = now();
        }
    };
    let life = async {
        tokio::select! {
            () = life => {}
            () = disturbed(line.as_deref(), &trouble, &shared.meter) => {}
        }
    };
    // Abortable asks a flag of its own at each wake-up; a channel would ask a lock that all clients share.
    let _ = Abortable::new(life, registration).await;
    if line.is_some_and(|line| line.is_away()) {
        shared.meter.away();
    }
    if let Some(connected) = current {
        connected.close().await;
    }
}

/// What is done to a client: by its place in the order of connecting it is known whether a storm meets it.
struct Trouble {
    ramp: u64,
    disturbance: Disturbance,
    load: watch::Receiver<Range<Nanos>>,
}

impl Trouble {
    /// When something of the scenario happens that has a time.
    fn at(load: &Range<Nanos>, seconds: f64) -> Nanos {
        load.start + nanos(Duration::from_secs_f64(seconds))
    }

    /// Whether the server was killed since then.
    fn has_restarted(&self, since: Nanos) -> bool {
        let load = self.load.borrow().clone();
        self.disturbance.server_restart.is_some_and(|restart| {
            let at = Self::at(&load, restart.at_seconds);
            !load.is_empty() && since < at && at <= now()
        })
    }

    /// When a storm meets it, if one does.
    fn storm(&self, load: &Range<Nanos>) -> Option<Nanos> {
        let storm = self.disturbance.storm?;
        let is_met = (self.ramp as f64 * GOLDEN).fract() < storm.share_percent / 100.0;
        is_met.then(|| Self::at(load, storm.at_seconds))
    }
}

/// Cuts a client's line whenever the scenario says so, until its load ends; returns never.
async fn disturbed(line: Option<&Line>, trouble: &Trouble, meter: &Meter) {
    let mut load = trouble.load.clone();
    let load = load.wait_for(|load| !load.is_empty()).await;
    let load = load.map(|load| load.clone());
    let (Some(line), Ok(load)) = (line, load) else {
        return pending().await;
    };
    let (mut storm, cut) = (trouble.storm(&load), trouble.disturbance.cut);
    loop {
        let next = cut.map(|cut| {
            let apart = -(1.0 - fastrand::f64()).ln() * cut.every_seconds;
            now().max(load.start) + nanos(Duration::from_secs_f64(apart))
        });
        let is_storm = storm.is_some_and(|storm| next.is_none_or(|next| storm <= next));
        let at = if is_storm { storm.take() } else { next };
        let Some(at) = at.filter(|at| *at < load.end) else {
            return pending().await;
        };
        sleep_until(at).await;
        let cut = cut.filter(|_| !is_storm);
        let kind = cut.map_or(CutKind::Rst, |cut| cut.kind);
        if line.cut(kind) {
            meter.planned();
        }
        if let Some(cut) = cut.filter(|_| kind == CutKind::Silence) {
            tokio::time::sleep(Duration::from_secs_f64(cut.patience_seconds)).await;
            line.give_up();
        }
    }
}

/// Connects, or resumes where it stood, and notes how that went.
async fn connect<C: Client>(client: usize, setup: &Setup, shared: &Shared) -> Result<C, Failure> {
    let after = shared.recorder.lock().subscribers[client]
        .cursor()
        .map_or(After::Latest, After::Cursor);
    let mut events = Vec::new();
    let result = timeout(CONNECT_TIMEOUT, C::connect(setup, &after, &mut events)).await;
    let mut recorder = shared.recorder.lock();
    let result = result.unwrap_or_else(|_| Err(Failure::Io("no answer within 10 s".into())));
    let result =
        result.and_then(|connected| recorder.record(client, &mut events).map(|()| connected));
    match &result {
        Ok(_) => recorder.connected += 1,
        Err(failure) => recorder.fail(failure),
    }
    result
}

async fn stay<C: Client>(
    client: usize,
    current: &mut Option<C>,
    orders: &mut Option<UnboundedReceiver<Order>>,
    shared: &Shared,
) -> Result<(), Failure> {
    let Some(connected) = current else {
        return Ok(());
    };
    let mut events: Vec<Event> = Vec::new();
    loop {
        let result = match orders {
            None => connected.next(&mut events).await,
            // A socket's `next` waits at one place only, between frames, so it can be left there.
            Some(orders) => tokio::select! {
                result = connected.next(&mut events) => result,
                Some((draft, answer)) = orders.recv() => connected.publish(&draft, answer).await,
            },
        };
        if !events.is_empty() {
            shared.recorder.lock().record(client, &mut events)?;
            fault::provoke(Part::Client);
        }
        result?;
    }
}
