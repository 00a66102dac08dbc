//! Publishing on schedule, the same way for every transport: a thread that keeps the time, and keep-alive connections
//! of which a free one takes the next due message.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::dialect::Draft;
use crate::client::{Acked, Failure, Publisher, Setup};
use crate::clock::{Nanos, Window, is_under_way, now, tick};
use crate::fault;
use crate::load::subscribers::Order;
use crate::message_id::MessageId;
use crate::result::histogram::Times;
use crate::result::scenario::{Part, room_name};

/// Who sleeps looks up this often whether it is to stop.
const NAP: Duration = Duration::from_millis(50);

/// A publish over a subscriber's connection that is not acked within this time has no answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What became of one message.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Which, where to, and when it was due.
    pub message: MessageId,
    /// When a connection began to send it.
    pub sent: Nanos,
    /// From when that connection was free: of the time from due to sent, what follows this is loadgen's own.
    pub free: Nanos,
    /// Where it was stored, and when the ack came; or why it was not.
    pub acked: Result<Acked, Failure>,
}

/// What the publishers did in a trial.
#[derive(Debug, Default)]
pub struct Published {
    /// Every message that was answered, or whose connection broke.
    pub publications: Vec<Publication>,
    /// How many messages were sent in all.
    pub sent: u64,
    /// How many the pacer handed over, from the first on.
    pub paced: u64,
    /// How many of them before the schedule's end.
    pub in_time: u64,
    /// Timer delay of the publishers' own ticker, in the window.
    pub timer_delay: Times,
    /// Publishes that met the close of an idle connection and were sent again.
    pub retries: u64,
    /// Bytes sent over the publishers' own connections.
    pub bytes_out: u64,
}

/// How to publish.
pub struct Assignment {
    /// Where; the room is each message's own.
    pub setup: Setup,
    /// Over this many connections.
    pub publishers: usize,
    /// Or over a subscriber's own connection, by room, where there is one.
    pub orders: HashMap<u32, UnboundedSender<Order>>,
    /// The trial's tag, for the names of its rooms.
    pub tag: String,
    /// Bytes of text.
    pub payload: usize,
    /// No room of the trial can have more messages.
    pub most: u64,
    /// The measuring window.
    pub window: Window,
}

/// The publishers at work.
pub struct Publishers {
    desk: Arc<Desk>,
    queue: Option<UnboundedSender<MessageId>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the publishers share.
struct Desk {
    assignment: Assignment,
    /// The lock is the line of free publishers: the first in it takes the next message.
    queue: tokio::sync::Mutex<UnboundedReceiver<MessageId>>,
    done: Mutex<Vec<Publication>>,
    timer_delay: Mutex<Times>,
    sent: AtomicU64,
    paced: AtomicU64,
    in_time: AtomicU64,
    /// Threads that have not done their work.
    working: AtomicU64,
    stop: AtomicBool,
}

impl Publishers {
    /// Connects the publishers: before the clients, who might leave them no port.
    pub fn start(assignment: Assignment) -> Result<Self> {
        let (sender, receiver) = unbounded_channel();
        let desk = Arc::new(Desk {
            assignment,
            queue: receiver.into(),
            done: Mutex::default(),
            timer_delay: Mutex::default(),
            sent: AtomicU64::default(),
            paced: AtomicU64::default(),
            in_time: AtomicU64::default(),
            working: AtomicU64::new(1),
            stop: AtomicBool::default(),
        });
        let publishing = Arc::clone(&desk);
        let thread = std::thread::Builder::new().name("publishers".into());
        let publishers = thread.spawn(move || {
            Arc::clone(&publishing).publish_all();
            publishing.rest();
        })?;
        Ok(Self {
            desk,
            queue: Some(sender),
            threads: vec![publishers],
        })
    }

    /// Starts the clock of a schedule, all of which is due before `end`.
    pub fn begin(
        &mut self,
        schedule: impl Iterator<Item = MessageId> + Send + 'static,
        end: Nanos,
    ) -> Result<()> {
        let Some(queue) = self.queue.take() else {
            return Ok(());
        };
        let (desk, thread) = (
            Arc::clone(&self.desk),
            std::thread::Builder::new().name("pacer".into()),
        );
        self.desk.working.fetch_add(1, Relaxed);
        self.threads.push(thread.spawn(move || {
            desk.pace(schedule, end, &queue);
            // Without it, the publishers end.
            drop(queue);
            desk.rest();
        })?);
        Ok(())
    }

    /// The sum over all messages of what their rooms weigh; `None` if one was not acked, so that nobody knows.
    pub fn acked_times(&self, weight: impl Fn(u32) -> usize) -> Option<u64> {
        let done = self.desk.done.lock();
        done.iter()
            .map(|done| {
                done.acked
                    .as_ref()
                    .ok()
                    .map(|_| weight(done.message.room) as u64)
            })
            .sum()
    }

    /// Publishes no more; what is under way may still be answered.
    pub fn stop(&self) {
        self.desk.stop.store(true, Relaxed);
    }

    /// Whether the schedule has ended and everything of it was answered.
    pub fn is_finished(&self) -> bool {
        self.desk.working.load(Relaxed) == 0
    }

    /// Publishes no more, and tells what was done.
    pub fn finish(self) -> Published {
        self.stop();
        // What was published before a panic still counts.
        self.threads
            .into_iter()
            .for_each(|thread| fault::joined("publishers", &thread.join()));
        let Desk {
            done,
            timer_delay,
            sent,
            paced,
            in_time,
            assignment,
            ..
        } = &*self.desk;
        Published {
            publications: std::mem::take(&mut *done.lock()),
            sent: sent.load(Relaxed),
            paced: paced.load(Relaxed),
            in_time: in_time.load(Relaxed),
            timer_delay: std::mem::take(&mut *timer_delay.lock()),
            retries: assignment.setup.meter.totals().retries,
            bytes_out: assignment.setup.meter.totals().bytes_out,
        }
    }
}

impl Desk {
    /// A thread has done its work; it stays until all is over, so that its waits for a core are in the last reading.
    fn rest(&self) {
        self.working.fetch_sub(1, Relaxed);
        while !self.stop.load(Relaxed) {
            std::thread::sleep(NAP);
        }
    }

    /// Hands over each message when it is due.
    fn pace(
        &self,
        schedule: impl Iterator<Item = MessageId>,
        end: Nanos,
        queue: &UnboundedSender<MessageId>,
    ) {
        for message in schedule {
            fault::provoke(Part::Pacer);
            while now() < message.due && !self.stop.load(Relaxed) {
                std::thread::sleep(
                    NAP.min(Duration::from_nanos(message.due.saturating_sub(now()))),
                );
            }
            if self.stop.load(Relaxed) || queue.send(message).is_err() {
                return;
            }
            self.paced.fetch_add(1, Relaxed);
            self.in_time.fetch_add(u64::from(now() < end), Relaxed);
        }
    }

    fn publish_all(self: Arc<Self>) {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                return fault::note(format!("the publishers' runtime cannot start: {error}"));
            }
        };
        runtime.block_on(async {
            let desk = Arc::clone(&self);
            tokio::spawn(tick(move |late| {
                if is_under_way(&desk.assignment.window) {
                    desk.timer_delay.lock().record(late);
                }
            }));
            let publisher = |_| Arc::clone(&self).publisher();
            let mut publishers: JoinSet<()> =
                (0..self.assignment.publishers).map(publisher).collect();
            // Stopping ends also those who wait for a server that does not answer.
            let stopped = async {
                while !self.stop.load(Relaxed) {
                    tokio::time::sleep(NAP).await;
                }
            };
            tokio::select! {
                // A panic is noted where it happens; the others go on until the trial is ended for it.
                () = async { while publishers.join_next().await.is_some() {} } => {}
                () = stopped => {}
            }
        });
    }

    async fn publisher(self: Arc<Self>) {
        let mut own = Publisher::connect(&self.assignment.setup).await;
        let mut free = now();
        loop {
            let Some(message) = self.queue.lock().await.recv().await else {
                return;
            };
            fault::provoke(Part::Publisher);
            self.sent.fetch_add(1, Relaxed);
            let (sent, draft) = (now(), self.draft(message));
            let acked = match self.assignment.orders.get(&message.room) {
                Some(subscriber) => order(subscriber, draft).await,
                None => {
                    own.publish(&room_name(&self.assignment.tag, message.room), &draft)
                        .await
                }
            };
            let acked = acked.and_then(|acked| self.possible(acked));
            self.done.lock().push(Publication {
                message,
                sent,
                free,
                acked,
            });
            free = now();
        }
    }

    /// Refuses an ack for a position that no room of the trial can have.
    fn possible(&self, acked: Acked) -> Result<Acked, Failure> {
        let most = self.assignment.most;
        if acked.cursor.is_none() && !self.assignment.setup.dialect.is_foreign {
            return Err(Failure::Protocol("an ack without a cursor".into()));
        }
        match acked
            .cursor
            .as_ref()
            .map(|cursor| cursor.seq)
            .filter(|seq| !(1..=most).contains(seq))
        {
            None => Ok(acked),
            Some(seq) => Err(Failure::Protocol(format!(
                "an ack for message {seq}, in a room that cannot have more than {most}"
            ))),
        }
    }

    fn draft(&self, message: MessageId) -> Draft {
        Draft {
            text: message.to_text(self.assignment.payload),
            key: format!("{:08x}", message.number),
        }
    }
}

/// Publishes over a subscriber's own connection.
async fn order(subscriber: &UnboundedSender<Order>, draft: Draft) -> Result<Acked, Failure> {
    let (answer, answered) = oneshot::channel();
    let gone = || Failure::Io("the subscriber that publishes has lost its connection".into());
    subscriber.send((draft, answer)).map_err(|_| gone())?;
    match timeout(ANSWER, answered).await {
        Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
        Err(_) => Err(Failure::Io("no ack within 10 s".into())),
    }
}
