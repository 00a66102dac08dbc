//! The simulated clients: threads with a share of them each, a book per thread, and the clients' ways through a trial.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{After, Client, Event, Failure, Meter, Target, Totals, Transport};
use crate::clock::{Nanos, now, sleep_until};
use crate::measure::histogram::Times;
use crate::measure::recorder::{Book, Window};
use crate::with_client;

/// New connections per second over all workers: a ramp that no backlog of 4096 overflows.
const CONNECTS_PER_SECOND: u64 = 2000;
/// A client that is not connected after so long is not connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The ticker by which each worker measures its own lateness.
const TICK: Duration = Duration::from_millis(10);
/// A lost connection is made again after a random share of this.
const RECONNECT: Duration = Duration::from_secs(1);
/// Clients may take so long to take leave.
const LEAVE: Duration = Duration::from_secs(2);

/// Where the fleet is in its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Connecting; whoever has connected is idle.
    Gather,
    /// Polling, waiting and reading.
    Run,
    /// Time to take leave.
    Leave,
}

/// What a worker shares with the trial.
#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    meter: Arc<Meter>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's place in the ramp, its room and where it goes.
struct Place {
    ramp: u64,
    room: u32,
    target: Target,
}

/// All clients of a trial.
pub struct Fleet {
    workers: Vec<(Arc<Shared>, JoinHandle<()>)>,
    phase: watch::Sender<Phase>,
}

impl Fleet {
    /// Starts `workers` threads, which begin to connect their share of the clients: for each the number of its room,
    /// and where it goes.
    pub fn start(transport: Transport, clients: Vec<(u32, Target)>, workers: usize, window: &Window) -> Result<Self> {
        let phase = watch::Sender::new(Phase::Gather);
        let mut shares: Vec<Vec<Place>> = (0..workers).map(|_| Vec::new()).collect();
        for (i, (room, target)) in clients.into_iter().enumerate() {
            shares[i % workers].push(Place { ramp: i as u64, room, target });
        }
        let start = now();
        let workers = shares.into_iter().enumerate().map(|(i, share)| {
            let rooms = share.iter().map(|place| place.room);
            let shared = Arc::new(Shared { book: Mutex::new(Book::new(rooms, window.clone())), meter: Arc::default() });
            let (phase, theirs) = (phase.subscribe(), Arc::clone(&shared));
            let thread = std::thread::Builder::new().name(format!("clients-{i}"));
            let thread = with_client!(transport, C => thread.spawn(move || work::<C>(share, start, &theirs, &phase)))?;
            Ok((shared, thread))
        });
        Ok(Self { workers: workers.collect::<Result<_>>()?, phase })
    }

    /// How long it may take until everybody has connected or failed to.
    pub fn patience(&self) -> Duration {
        let clients = self.sum(|book| book.subscribers.len() as u64);
        Duration::from_secs(clients / CONNECTS_PER_SECOND) + CONNECT_TIMEOUT * 2
    }

    /// What most often went wrong, in words.
    pub fn worst_failure(&self) -> String {
        let books = self.workers.iter().map(|(shared, _)| shared.book());
        let failures = books.flat_map(|book| book.failures.values().cloned().collect::<Vec<_>>());
        failures.max_by_key(|failures| failures.count).map_or("no answer".into(), |failures| failures.example)
    }

    /// Everybody is connected: begin.
    pub fn run(&self) {
        self.phase.send_replace(Phase::Run);
    }

    /// A sum over all books.
    pub fn sum<T: std::iter::Sum>(&self, figure: impl Fn(&Book) -> T) -> T {
        self.workers.iter().map(|(shared, _)| figure(&shared.book())).sum()
    }

    /// The books' latencies so far, merged.
    pub fn latency(&self) -> Times {
        let latencies: Vec<Times> = self.workers.iter().map(|(shared, _)| shared.book().latency.clone()).collect();
        Times::merged(latencies.iter())
    }

    /// All traffic so far.
    pub fn traffic(&self) -> Totals {
        self.workers.iter().map(|(shared, _)| shared.meter.totals()).sum()
    }

    /// Lets everybody take leave and hands over the books.
    pub fn finish(self) -> Vec<Book> {
        self.phase.send_replace(Phase::Leave);
        let books = self.workers.into_iter().map(|(shared, thread)| {
            // A worker's panic would be a bug of ours; what was booked before it still counts.
            let _ = thread.join();
            let empty = Book::new(std::iter::empty(), Window::default());
            std::mem::replace(&mut *shared.book(), empty)
        });
        books.collect()
    }
}

/// A worker's thread: a runtime of its own, the ramp, the ticker, the end.
fn work<C: Client>(share: Vec<Place>, start: Nanos, shared: &Arc<Shared>, phase: &watch::Receiver<Phase>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let ticker = tokio::spawn(tick(Arc::clone(shared)));
        let (mut clients, mut aborts) = (JoinSet::new(), Vec::new());
        for (client, Place { ramp, mut target, .. }) in share.into_iter().enumerate() {
            if *phase.borrow() == Phase::Leave {
                break;
            }
            sleep_until(start + ramp * 1_000_000_000 / CONNECTS_PER_SECOND).await;
            target.meter = Arc::clone(&shared.meter);
            let (abort, registration) = AbortHandle::new_pair();
            aborts.push(abort);
            clients.spawn(live::<C>(client, target, Arc::clone(shared), phase.clone(), registration));
        }
        let _ = phase.clone().wait_for(|phase| *phase == Phase::Leave).await;
        ticker.abort();
        aborts.iter().for_each(AbortHandle::abort);
        let _ = timeout(LEAVE, clients.join_all()).await;
    });
}

async fn tick(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        let due = ticks.tick().await;
        let late = due.elapsed();
        shared.book().tick(crate::clock::nanos(late));
    }
}

/// One client's life: connect, wait for the start, take what comes, reconnect if the connection is lost, take leave.
async fn live<C: Client>(
    client: usize,
    target: Target,
    shared: Arc<Shared>,
    mut phase: watch::Receiver<Phase>,
    registration: AbortRegistration,
) {
    let mut current: Option<C> = None;
    let life = async {
        let began = now();
        match connect::<C>(client, &target, &shared).await {
            Ok(connected) => {
                current = Some(connected);
                let mut book = shared.book();
                book.connects.record(now() - began);
                book.connected += 1;
            }
            Err(failure) => {
                let mut book = shared.book();
                book.fail(&failure);
                book.refused += 1;
                return;
            }
        }
        let _ = phase.wait_for(|phase| *phase != Phase::Gather).await;
        loop {
            let Err(failure) = stay(client, &mut current, &shared).await else { return };
            {
                let mut book = shared.book();
                book.fail(&failure);
                book.disconnects += 1;
                book.connected -= 1;
            }
            current = None;
            while current.is_none() {
                tokio::time::sleep(RECONNECT.mul_f64(fastrand::f64())).await;
                let again = connect::<C>(client, &target, &shared).await;
                current = again.map_err(|failure| shared.book().fail(&failure)).ok();
            }
            shared.book().connected += 1;
        }
    };
    // Abortable asks a flag of its own at each wake-up; a channel would ask a lock that all clients share.
    let _ = Abortable::new(life, registration).await;
    if let Some(connected) = current {
        connected.close().await;
    }
}

/// Connects, or resumes where the account stands.
async fn connect<C: Client>(client: usize, target: &Target, shared: &Shared) -> Result<C, Failure> {
    let after = shared.book().subscribers[client].cursor().map_or(After::Latest, After::Cursor);
    let mut events = Vec::new();
    let connected = timeout(CONNECT_TIMEOUT, C::connect(target, &after, &mut events));
    let connected = connected.await.unwrap_or_else(|_| Err(Failure::Io("no answer within 10 s".into())))?;
    shared.book().record(client, &mut events);
    Ok(connected)
}

async fn stay<C: Client>(client: usize, current: &mut Option<C>, shared: &Shared) -> Result<(), Failure> {
    let Some(connected) = current else { return Ok(()) };
    let mut events: Vec<Event> = Vec::new();
    loop {
        let result = connected.next(&mut events).await;
        if !events.is_empty() {
            shared.book().record(client, &mut events);
        }
        result?;
    }
}
