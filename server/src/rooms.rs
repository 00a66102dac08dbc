//! Name -> log: a room is made by its first use, and a rested one goes when the place is needed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

use crate::error::{ApiError, Invalid};
use crate::log::{Log, Window};
use crate::message::check_name;

/// A room nobody subscribes to is kept so long: short pollers hold nothing between their polls.
pub const REST: Duration = Duration::from_secs(600);

/// The name of a room: 1 to 64 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoomName(Box<str>);

impl RoomName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        check_name("room", name)?;
        Ok(Self(name.into()))
    }
}

/// Why a room cannot be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// There are as many rooms as there may be, and none has rested long enough to go.
    TooManyRooms {
        /// The limit.
        max: usize,
    },
    /// The server is closing down.
    Closing,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRooms { max } => {
                write!(
                    f,
                    "there are {max} rooms and no more are allowed (--max-rooms); use one of them, or come back when one has rested"
                )
            }
            Self::Closing => f.write_str("the server is closing down; try again"),
        }
    }
}

impl From<Unavailable> for ApiError {
    fn from(unavailable: Unavailable) -> Self {
        let status = match unavailable {
            Unavailable::TooManyRooms { .. } => StatusCode::TOO_MANY_REQUESTS,
            Unavailable::Closing => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, unavailable.to_string())
    }
}

/// All rooms of a server. Invariant: never more than `max`, and all logs are closed once `closed`.
#[derive(Debug)]
pub struct Rooms {
    max: usize,
    window: Window,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<RoomName, Room>,
    closed: bool,
}

#[derive(Debug)]
struct Room {
    log: Arc<Log>,
    touched: Instant,
}

/// What is retained of what may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages retained.
    pub messages: usize,
    /// Bytes of encoded messages retained.
    pub bytes: usize,
    /// The fullest room's share of its window, in percent, by messages or by bytes.
    pub fullest_percent: usize,
}

impl Rooms {
    /// No rooms yet; at most `max`, each with a log of this window.
    pub fn new(max: usize, window: Window) -> Self {
        Self { max, window, state: Mutex::default() }
    }

    /// The room's log, made if there is none.
    pub fn get(&self, name: &RoomName) -> Result<Arc<Log>, Unavailable> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = state.rooms.get_mut(name) {
            room.touched = now;
            return Ok(Arc::clone(&room.log));
        }
        if state.closed {
            return Err(Unavailable::Closing);
        }
        if state.rooms.len() >= self.max && !state.evict(now) {
            return Err(Unavailable::TooManyRooms { max: self.max });
        }
        let log = Log::new(self.window);
        state.rooms.insert(name.clone(), Room { log: Arc::clone(&log), touched: now });
        Ok(log)
    }

    /// How many rooms there are.
    pub fn count(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rooms.len()
    }

    /// How many subscribers wait in all rooms together: open streams and held polls.
    pub fn subscribers(&self) -> usize {
        self.logs().iter().map(|log| log.subscribers()).sum()
    }

    /// How much all rooms together retain, and how full the fullest is.
    pub fn usage(&self) -> Usage {
        self.logs().iter().map(|log| log.retained()).fold(Usage::default(), |sum, room| {
            let percent = (room.messages * 100 / self.window.messages).max(room.bytes * 100 / self.window.bytes);
            Usage {
                messages: sum.messages + room.messages,
                bytes: sum.bytes + room.bytes,
                fullest_percent: sum.fullest_percent.max(percent),
            }
        })
    }

    /// All logs, to be asked after the lock is given back: publishing waits for it.
    fn logs(&self) -> Vec<Arc<Log>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.rooms.values().map(|room| Arc::clone(&room.log)).collect()
    }

    /// Closes every log, and with it every subscription.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.rooms.values().for_each(|room| room.log.close());
    }
}

impl State {
    /// Drops the least recently touched room that has rested and has no subscriber.
    fn evict(&mut self, now: Instant) -> bool {
        let rested = self.rooms.iter().filter(|(_, room)| now - room.touched >= REST && room.log.subscribers() == 0);
        let Some(name) = rested.min_by_key(|(_, room)| room.touched).map(|(name, _)| name.clone()) else {
            return false;
        };
        self.rooms.remove(&name);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::After;

    fn name(text: &str) -> RoomName {
        RoomName::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_cap_only_a_rested_room_without_subscriber_goes() {
        let rooms = Rooms::new(2, Window { messages: 8, bytes: 1024 });
        let kept = rooms.get(&name("watched")).unwrap();
        let _subscription = kept.subscribe(After::Latest);
        rooms.get(&name("rests")).unwrap();
        assert!(matches!(rooms.get(&name("one more")), Err(Unavailable::TooManyRooms { max: 2 })));

        tokio::time::advance(REST).await;
        rooms.get(&name("one more")).unwrap();
        assert!(Arc::ptr_eq(&kept, &rooms.get(&name("watched")).unwrap()));
        assert!(rooms.get(&name("rests")).is_err(), "it went, and its place is taken");
        assert_eq!(rooms.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_comes_back_has_another_epoch() {
        let rooms = Rooms::new(1, Window { messages: 8, bytes: 1024 });
        let before = rooms.get(&name("a")).unwrap().read(After::Latest).cursor;
        tokio::time::advance(REST).await;
        rooms.get(&name("b")).unwrap();
        tokio::time::advance(REST).await;
        assert_ne!(before, rooms.get(&name("a")).unwrap().read(After::Latest).cursor);
    }
}
