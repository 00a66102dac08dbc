//! Append, read, subscribe: all that transports and publishing see of rooms and logs.
//!
//! They are async and may fail, although memory answers at once: here access will be decided, and here a log that is
//! stored or shared will be waited for.
//!
//! A room is made by the first who publishes, polls or subscribes there, and goes when it has rested; when memory is
//! short, what can be missed goes from all of them.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cursor::After;
use crate::error::{ApiError, Invalid};
pub(crate) use crate::log::{Batch, Gap, MAX_BATCH, Published, Retention, Subscription};
use crate::log::{Log, NotStored};
use crate::memory::{Full, Memory};
use crate::message::{Draft, Format, check_name};

/// The room of a client that names none. It always has a place, and keeps it.
pub(crate) const LOBBY: &str = "lobby";
/// A room is in use until nobody has published, polled or been subscribed for this long: short pollers hold nothing
/// between their polls, and a subscriber whose connection broke comes back.
pub(crate) const REST: Duration = Duration::from_secs(600);
/// The same for as long as messages had to go lately because memory was short.
const SHORT_REST: Duration = Duration::from_secs(20);
/// How long "lately" is.
const LATELY: Duration = Duration::from_secs(60);

/// The name of a room: 1 to 64 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoomName(Box<str>);

impl RoomName {
    pub(crate) fn new(name: &str) -> Result<Self, Invalid> {
        check_name("room", name)?;
        Ok(Self(name.into()))
    }

    fn is_lobby(&self) -> bool {
        &*self.0 == LOBBY
    }
}

impl Borrow<str> for RoomName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<NotStored> for ApiError {
    fn from(reason: NotStored) -> Self {
        match reason {
            NotStored::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the server is closing down; try again",
            ),
            NotStored::Full => Full.into(),
        }
    }
}

impl From<Full> for ApiError {
    fn from(_: Full) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server has no memory left (--memory); try again",
        )
    }
}

/// All rooms of a server. Invariant: never more than `max` beside the lobby, and all logs are sealed once `sealed`.
#[derive(Debug)]
pub(crate) struct Rooms {
    max: usize,
    retention: Retention,
    memory: Memory,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomName, Room>,
    sealed: bool,
    /// When memory was last short.
    shed: Option<Instant>,
    /// How many messages went for that.
    gone: u64,
}

#[derive(Debug)]
struct Room {
    log: Arc<Log>,
    touched: Instant,
}

impl Room {
    /// When it was last in use, if nobody is subscribed.
    fn used(&self) -> Instant {
        self.log
            .left()
            .map_or(self.touched, |left| left.max(self.touched))
    }
}

/// How all rooms together are used: who waits, and what they retain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) rooms: usize,
    /// Open streams and held polls.
    pub(crate) subscribers: usize,
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// How much of what it may retain the fullest room has, in percent, by messages or by bytes.
    pub(crate) fullest_percent: usize,
    /// Messages that went before their time because memory was short.
    pub(crate) shed: u64,
}

impl Rooms {
    /// No rooms yet; at most `max`, each with a log that retains this much.
    pub(crate) fn new(max: usize, retention: Retention, memory: &Memory) -> Self {
        Self {
            max,
            retention,
            memory: memory.clone(),
            state: Mutex::default(),
        }
    }

    /// Appends to a room. Not cancel safe: a message whose sender stopped waiting may have been stored; its key tells.
    pub(crate) async fn append(
        &self,
        name: &RoomName,
        draft: &Draft,
    ) -> Result<Published, ApiError> {
        if self.memory.messages.is_short() {
            self.shed();
        }
        let published = self.get(name)?.append(draft);
        if published == Err(NotStored::Full) {
            self.memory.refuse();
        }
        Ok(published?)
    }

    /// What comes after a position in a room, at once and possibly nothing; at most `limit` messages of it.
    pub(crate) async fn read(
        &self,
        name: &RoomName,
        after: After,
        limit: usize,
    ) -> Result<Batch, ApiError> {
        Ok(self.get(name)?.read(after, limit))
    }

    /// A reader of a room that can wait for what comes after a position.
    pub(crate) async fn subscribe(
        &self,
        name: &RoomName,
        after: After,
    ) -> Result<Subscription, ApiError> {
        Ok(self.get(name)?.subscribe(after))
    }

    /// A batch as it goes over the wire; if there is no memory for it, once more after those are gone that are only kept
    /// for readers to come.
    pub(crate) fn encode(&self, batch: &Batch, format: &'static Format) -> Result<Bytes, Full> {
        batch.encoded(format).or_else(|Full| {
            let logs = self.state.lock().logs();
            logs.iter().for_each(|log| log.forget_ranges());
            batch.encoded(format).map_err(|Full| self.memory.refuse())
        })
    }

    /// The room's log, made if there is none; to ask for it is to use the room.
    fn get(&self, name: &RoomName) -> Result<Arc<Log>, ApiError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(room) = state.rooms.get_mut(name) {
            room.touched = now;
            return Ok(Arc::clone(&room.log));
        }
        if state.sealed {
            return Err(NotStored::Closed.into());
        }
        if !name.is_lobby() && state.beside_lobby() >= self.max && !state.evict(now) {
            let most = self.max;
            let reason = format!(
                "there are {most} rooms already, as many as there may be (--max-rooms); use one of them, or try again when one has not been used for 10 minutes"
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        let log = Log::new(self.retention, &self.memory);
        state.rooms.insert(
            name.clone(),
            Room {
                log: Arc::clone(&log),
                touched: now,
            },
        );
        Ok(log)
    }

    /// How much all rooms together retain, for how many, and how full the fullest is.
    pub(crate) fn usage(&self) -> Usage {
        // The lock is given back before they are asked: publishing waits for it.
        let (logs, shed) = {
            let state = self.state.lock();
            (state.logs(), state.gone)
        };
        let mut usage = Usage {
            rooms: logs.len(),
            shed,
            ..Usage::default()
        };
        for log in logs {
            let Retention { messages, bytes } = log.retained();
            let percent =
                (messages * 100 / self.retention.messages).max(bytes * 100 / self.retention.bytes);
            usage.subscribers += log.subscribers();
            usage.messages += messages;
            usage.bytes += bytes;
            usage.fullest_percent = usage.fullest_percent.max(percent);
        }
        usage
    }

    /// Makes room for messages: the oldest go from the rooms that hold most, until a quarter is free.
    fn shed(&self) {
        let now = Instant::now();
        let logs = {
            let mut state = self.state.lock();
            state.shed = Some(now);
            state.logs()
        };
        let costs: Vec<usize> = logs.iter().map(|log| log.memory()).collect();
        let pool = &self.memory.messages;
        let over = pool.used().saturating_sub(pool.limit() / 4 * 3);
        let share = share(&costs, costs.iter().sum::<usize>().saturating_sub(over));
        let gone: u64 = logs.iter().map(|log| log.shrink(share)).sum();
        self.state.lock().gone += gone;
    }

    /// What is done every second: merged ranges go that are kept for readers to come, and rooms that have rested. Returns
    /// how many messages had to go so far because memory was short.
    pub(crate) fn tidy(&self) -> u64 {
        let now = Instant::now();
        let mut state = self.state.lock();
        let rest = if state.shed.is_some_and(|shed| now - shed < LATELY) {
            SHORT_REST
        } else {
            REST
        };
        let is_used = |room: &Room| room.log.subscribers() > 0 || now - room.used() < rest;
        state
            .rooms
            .retain(|name, room| name.is_lobby() || is_used(room));
        let (logs, gone) = (state.logs(), state.gone);
        drop(state);
        logs.iter().for_each(|log| log.forget_ranges());
        gone
    }

    /// Nothing is appended any more; returns when the last message came.
    pub(crate) fn seal(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.sealed = true;
        state
            .rooms
            .values()
            .filter_map(|room| room.log.seal())
            .max()
    }

    /// Closes every log, and with it every subscription.
    pub(crate) fn close(&self) {
        self.seal();
        self.state
            .lock()
            .rooms
            .values()
            .for_each(|room| room.log.close());
    }
}

/// The most that each may keep, so that all together keep no more than this: who has less than that loses nothing.
fn share(costs: &[usize], together: usize) -> usize {
    let mut costs = costs.to_vec();
    costs.sort_unstable();
    let mut left = together;
    for (i, &cost) in costs.iter().enumerate() {
        let share = left / (costs.len() - i);
        if cost > share {
            return share;
        }
        left -= cost;
    }
    usize::MAX
}

impl State {
    fn beside_lobby(&self) -> usize {
        self.rooms.len() - usize::from(self.rooms.contains_key(LOBBY))
    }

    fn logs(&self) -> Vec<Arc<Log>> {
        self.rooms
            .values()
            .map(|room| Arc::clone(&room.log))
            .collect()
    }

    /// Drops the room that has rested longest, if one has.
    fn evict(&mut self, now: Instant) -> bool {
        let unused = self
            .rooms
            .iter()
            .filter(|(name, room)| !name.is_lobby() && room.log.subscribers() == 0);
        let used = unused
            .map(|(name, room)| (room.used(), name))
            .filter(|(used, _)| now - *used >= REST);
        let Some(name) = used
            .min_by_key(|(used, _)| *used)
            .map(|(_, name)| name.clone())
        else {
            return false;
        };
        self.rooms.remove(&name);
        true
    }
}

#[cfg(test)]
mod tests;
