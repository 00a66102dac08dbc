//! Publishing on schedule, the same way for every transport: a thread that keeps the time, and keep-alive connections
//! of which a free one takes the next due message.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::client::{Failure, Http, Target};
use crate::clock::{Nanos, now};
use crate::pacer::Due;
use crate::payload::Stamp;

/// A sleeping pacer looks up so often whether it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// What became of one message.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Its number.
    pub number: u32,
    /// Its room.
    pub room: u32,
    /// When it was scheduled.
    pub due: Nanos,
    /// When a connection began to send it.
    pub sent: Nanos,
    /// From when a connection was free for it: of the time between `due` and `sent`, what follows this is loadgen's own.
    pub free: Nanos,
    /// The seq it was acked with, and when; or why it was not.
    pub acked: Result<(u64, Nanos), Failure>,
}

/// What the publishers share.
#[derive(Debug, Default)]
struct Desk {
    done: Mutex<Vec<Publication>>,
    sent: AtomicU64,
    stop: AtomicBool,
}

/// The publishers at work.
pub struct Press {
    desk: Arc<Desk>,
    threads: [JoinHandle<()>; 2],
}

/// Where and how to publish.
pub struct Assignment<I> {
    /// One target per connection; the room is each message's own.
    pub targets: Vec<Target>,
    /// Names a room by its number.
    pub room_name: fn(&str, u32) -> String,
    /// The trial's tag, for the names of its rooms.
    pub tag: String,
    /// Bytes of text.
    pub payload: usize,
    /// When the schedule's offsets begin.
    pub start: Nanos,
    /// What is published when.
    pub schedule: I,
}

impl Press {
    /// Connects every publisher, then starts the clock.
    pub fn start<I: Iterator<Item = Due> + Send + 'static>(assignment: Assignment<I>) -> Result<Self> {
        let desk = Arc::<Desk>::default();
        let (sender, receiver) = unbounded_channel();
        let Assignment { targets, room_name, tag, payload, start, schedule } = assignment;
        let paper = Paper { room_name, tag, payload };
        let publishers = std::thread::Builder::new().name("publishers".into()).spawn({
            let desk = Arc::clone(&desk);
            move || publish_all(&targets, paper, receiver, &desk)
        })?;
        let pacer = std::thread::Builder::new().name("pacer".into()).spawn({
            let desk = Arc::clone(&desk);
            move || {
                for due in schedule {
                    let time = start + due.offset;
                    while now() < time && !desk.stop.load(Relaxed) {
                        std::thread::sleep(NAP.min(Duration::from_nanos(time.saturating_sub(now()))));
                    }
                    if desk.stop.load(Relaxed) || sender.send(due_at(due, time)).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { desk, threads: [publishers, pacer] })
    }

    /// The sum over all acked messages of what their rooms weigh.
    pub fn acked_times(&self, weight: impl Fn(u32) -> usize) -> u64 {
        let done = self.desk.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter()
            .filter(|publication| publication.acked.is_ok())
            .map(|publication| weight(publication.room) as u64)
            .sum()
    }

    /// Whether the schedule has ended and everything of it was answered.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Publishes no more, and tells what became of everything that was answered, and how many were sent.
    pub fn finish(self) -> (Vec<Publication>, u64) {
        self.desk.stop.store(true, Relaxed);
        for thread in self.threads {
            // A publisher's panic would be a bug of ours; what was published before it still counts.
            let _ = thread.join();
        }
        let done = std::mem::take(&mut *self.desk.done.lock().unwrap_or_else(PoisonError::into_inner));
        (done, self.desk.sent.load(Relaxed))
    }
}

struct Paper {
    room_name: fn(&str, u32) -> String,
    tag: String,
    payload: usize,
}

fn due_at(due: Due, time: Nanos) -> Stamp {
    Stamp { number: due.number, room: due.room, due: time }
}

fn publish_all(targets: &[Target], paper: Paper, receiver: UnboundedReceiver<Stamp>, desk: &Arc<Desk>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let queue = Arc::new(tokio::sync::Mutex::new(receiver));
        let paper = Arc::new(paper);
        let mut publishers = tokio::task::JoinSet::new();
        for target in targets {
            publishers.spawn(publisher(target.clone(), Arc::clone(&paper), Arc::clone(&queue), Arc::clone(desk)));
        }
        // Stopping ends also those who wait for a server that does not answer.
        let stopped = async {
            while !desk.stop.load(Relaxed) {
                tokio::time::sleep(NAP).await;
            }
        };
        tokio::select! {
            _ = publishers.join_all() => {}
            () = stopped => {}
        }
    });
}

async fn publisher(
    target: Target,
    paper: Arc<Paper>,
    queue: Arc<tokio::sync::Mutex<UnboundedReceiver<Stamp>>>,
    desk: Arc<Desk>,
) {
    let mut http = Http::connect(&target, "").await;
    let mut free = now();
    loop {
        // The lock is the line of free publishers: the first in it takes the next message.
        let Some(stamp) = queue.lock().await.recv().await else { return };
        if desk.stop.load(Relaxed) {
            return;
        }
        desk.sent.fetch_add(1, Relaxed);
        let sent = now();
        let acked = match &mut http {
            Ok(http) => publish(http, &paper, stamp).await,
            Err(failure) => Err(failure.clone()),
        };
        let broken = matches!(acked, Err(Failure::Io(_)));
        let done = Publication { number: stamp.number, room: stamp.room, due: stamp.due, sent, free, acked };
        desk.done.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        if broken {
            http = Http::connect(&target, "").await;
        }
        free = now();
    }
}

async fn publish(http: &mut Http, paper: &Paper, stamp: Stamp) -> Result<(u64, Nanos), Failure> {
    let path = format!("/messages?room={}", (paper.room_name)(&paper.tag, stamp.room));
    // The text is ASCII without anything that JSON escapes.
    let json = format!(r#"{{"from":"loadgen","text":"{}"}}"#, stamp.to_text(paper.payload));
    http.publish(&path, json).await.map(|cursor| (cursor.seq, now()))
}
