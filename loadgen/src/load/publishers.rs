//! Publishing on schedules, the same way for every transport: a thread that keeps the time, and keep-alive connections
//! of which a free one takes the next due message.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::dialect::Draft;
use crate::client::{Acked, Failure, Publisher, Setup};
use crate::clock::{Active, Nanos, Windows, now, tick};
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

/// A message of a schedule, as it was kept.
#[derive(Debug, Clone, Copy)]
pub struct Scheduled {
    /// Which, where to, and when it was due.
    pub message: MessageId,
    /// When the pacer handed it over, whether or not a publisher was free; nothing if it was stopped before.
    pub handed: Option<Nanos>,
}

/// What the publishers did in a trial.
#[derive(Debug, Default)]
pub struct Published {
    /// Every message that was due, in the order of its time.
    pub schedule: Vec<Scheduled>,
    /// Every message that was answered, or whose connection broke.
    pub publications: Vec<Publication>,
    /// How many messages were sent in all.
    pub sent: u64,
    /// Timer delay of the publishers' own ticker, in the windows.
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
    /// The measuring windows.
    pub windows: Windows,
    /// Whether there is anything to do.
    pub active: Active,
}

/// Messages in the order of their time.
type Schedule = Box<dyn Iterator<Item = MessageId> + Send>;

/// The publishers at work.
pub struct Publishers {
    desk: Arc<Desk>,
    /// The way of schedules to the pacer.
    schedules: Option<Sender<Schedule>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// What the publishers share.
struct Desk {
    assignment: Assignment,
    /// The lock is the line of free publishers: the first in it takes the next message.
    queue: tokio::sync::Mutex<UnboundedReceiver<MessageId>>,
    schedule: Mutex<Vec<Scheduled>>,
    done: Mutex<Vec<Publication>>,
    timer_delay: Mutex<Times>,
    sent: AtomicU64,
    /// Schedules that are not through.
    pacing: AtomicU64,
    stop: watch::Receiver<bool>,
}

impl Publishers {
    /// Connects the publishers: before the clients, who might leave them no port.
    pub fn start(assignment: Assignment) -> Result<Self> {
        let (sender, receiver) = unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let desk = Arc::new(Desk {
            assignment,
            queue: receiver.into(),
            schedule: Mutex::default(),
            done: Mutex::default(),
            timer_delay: Mutex::default(),
            sent: AtomicU64::default(),
            pacing: AtomicU64::default(),
            stop: stopped,
        });
        let (publishing, pacing) = (Arc::clone(&desk), Arc::clone(&desk));
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let publishers = thread("publishers").spawn(move || publishing.publish_all())?;
        let (schedules, receiver) = channel();
        // They stay until all is over, so that their waits for a core are in the last reading.
        let pacer = thread("pacer").spawn(move || pacing.pace_all(&receiver, &sender))?;
        Ok(Self {
            desk,
            schedules: Some(schedules),
            stop,
            threads: vec![publishers, pacer],
        })
    }

    /// Starts the clock of a schedule.
    pub fn begin(&self, schedule: impl Iterator<Item = MessageId> + Send + 'static) {
        if let Some(schedules) = &self.schedules {
            self.desk.pacing.fetch_add(1, Relaxed);
            // Whether the pacer is there to take it is seen when the threads are joined.
            let _ = schedules.send(Box::new(schedule));
        }
    }

    /// How many publishes were answered so far.
    pub fn answered(&self) -> usize {
        self.desk.done.lock().len()
    }

    /// The sum over all publishes after the first so many of what their rooms weigh; `None` if one was not acked, so that
    /// nobody knows.
    pub fn acked_times(&self, after: usize, weight: impl Fn(u32) -> usize) -> Option<u64> {
        let done = self.desk.done.lock();
        done[after.min(done.len())..]
            .iter()
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
        self.stop.send_replace(true);
    }

    /// Whether the schedules have ended and everything of them was answered.
    pub fn is_finished(&self) -> bool {
        let desk = &self.desk;
        let handed = || {
            let schedule = desk.schedule.lock();
            schedule.iter().filter(|one| one.handed.is_some()).count()
        };
        desk.pacing.load(Relaxed) == 0 && (desk.is_stopped() || desk.done.lock().len() >= handed())
    }

    /// Publishes no more, and tells what was done.
    pub fn finish(mut self) -> Published {
        self.stop();
        self.schedules = None;
        // What was published before a panic still counts.
        self.threads
            .into_iter()
            .for_each(|thread| fault::joined("publishers", &thread.join()));
        let Desk {
            schedule,
            done,
            timer_delay,
            sent,
            assignment,
            ..
        } = &*self.desk;
        Published {
            schedule: std::mem::take(&mut *schedule.lock()),
            publications: std::mem::take(&mut *done.lock()),
            sent: sent.load(Relaxed),
            timer_delay: std::mem::take(&mut *timer_delay.lock()),
            retries: assignment.setup.meter.totals().retries,
            bytes_out: assignment.setup.meter.totals().bytes_out,
        }
    }
}

impl Desk {
    fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Keeps one schedule after the other.
    fn pace_all(&self, schedules: &Receiver<Schedule>, queue: &UnboundedSender<MessageId>) {
        // By default the kernel may let a sleeper wake 50 us late, a tenth of what is to be measured. Of this thread alone.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let mut numbers = HashMap::new();
        for schedule in schedules {
            self.pace(schedule, &mut numbers, queue);
            self.pacing.fetch_sub(1, Relaxed);
        }
    }

    /// Hands over each message when it is due; the messages of a room are numbered from its first schedule on.
    fn pace(
        &self,
        schedule: Schedule,
        numbers: &mut HashMap<u32, u32>,
        queue: &UnboundedSender<MessageId>,
    ) {
        for mut message in schedule {
            let number = numbers.entry(message.room).or_default();
            message.number = *number;
            *number += 1;
            fault::provoke(Part::Pacer);
            while now() < message.due && !self.is_stopped() {
                std::thread::sleep(
                    NAP.min(Duration::from_nanos(message.due.saturating_sub(now()))),
                );
            }
            let is_over = self.is_stopped();
            // What was due before the end was to be sent.
            if is_over && now() < message.due {
                return;
            }
            let handed = (!is_over && queue.send(message).is_ok()).then(now);
            self.schedule.lock().push(Scheduled { message, handed });
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
            tokio::spawn(tick(self.assignment.active.clone(), move |late| {
                if desk.assignment.windows.is_under_way() {
                    desk.timer_delay.lock().record(late);
                }
            }));
            let publisher = |_| Arc::clone(&self).publisher();
            let mut publishers: JoinSet<()> =
                (0..self.assignment.publishers).map(publisher).collect();
            // Stopping ends also those who wait for a server that does not answer.
            let mut stopped = self.stop.clone();
            tokio::select! {
                // A panic is noted where it happens; the others go on until the trial is ended for it.
                () = async { while publishers.join_next().await.is_some() {} } => {}
                _ = stopped.wait_for(|stop| *stop) => {}
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
