//! Name -> log: a room is made by the first who publishes, polls or subscribes there, and a rested one goes when the
//! place is needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{ApiError, Invalid};
use crate::log::{Closed, Log, Window};
use crate::message::check_name;

/// The room of a client that names none. It always has a place, and keeps it.
pub(crate) const LOBBY: &str = "lobby";
/// A room is in use until nobody has published, polled or been subscribed for so long: short pollers hold nothing
/// between their polls, and a subscriber whose connection broke comes back.
pub(crate) const REST: Duration = Duration::from_secs(600);

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

impl From<Closed> for ApiError {
    fn from(_: Closed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing down; try again")
    }
}

/// All rooms of a server. Invariant: never more than `max` beside the lobby, and all logs are closed once `closed`.
#[derive(Debug)]
pub(crate) struct Rooms {
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

impl Room {
    /// When it was last in use, if nobody is subscribed.
    fn used(&self) -> Instant {
        self.log.left().map_or(self.touched, |left| left.max(self.touched))
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
    /// The fullest room's share of its window, in percent, by messages or by bytes.
    pub(crate) fullest_percent: usize,
}

impl Rooms {
    /// No rooms yet; at most `max`, each with a log of this window.
    pub(crate) fn new(max: usize, window: Window) -> Self {
        Self { max, window, state: Mutex::default() }
    }

    /// The room's log, made if there is none.
    pub(crate) fn get(&self, name: &RoomName) -> Result<Arc<Log>, ApiError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if let Some(room) = state.rooms.get_mut(name) {
            room.touched = now;
            return Ok(Arc::clone(&room.log));
        }
        if state.closed {
            return Err(Closed.into());
        }
        if state.rooms.len() >= self.max && !name.is_lobby() && !state.evict(now) {
            let reason = format!(
                "there are {} rooms and no more are allowed (--max-rooms); use one of them, or come back when one has rested",
                self.max
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        let log = Log::new(self.window);
        state.rooms.insert(name.clone(), Room { log: Arc::clone(&log), touched: now });
        Ok(log)
    }

    /// How much all rooms together retain, for how many, and how full the fullest is.
    pub(crate) fn usage(&self) -> Usage {
        // The lock is given back before they are asked: publishing waits for it.
        let logs: Vec<Arc<Log>> = self.state.lock().rooms.values().map(|room| Arc::clone(&room.log)).collect();
        let mut usage = Usage { rooms: logs.len(), ..Usage::default() };
        for log in logs {
            let Window { messages, bytes } = log.retained();
            let percent = (messages * 100 / self.window.messages).max(bytes * 100 / self.window.bytes);
            usage.subscribers += log.subscribers();
            usage.messages += messages;
            usage.bytes += bytes;
            usage.fullest_percent = usage.fullest_percent.max(percent);
        }
        usage
    }

    /// Closes every log, and with it every subscription.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.rooms.values().for_each(|room| room.log.close());
    }
}

impl State {
    /// Drops the room that has rested longest, if one has.
    fn evict(&mut self, now: Instant) -> bool {
        let unused = self.rooms.iter().filter(|(name, room)| !name.is_lobby() && room.log.subscribers() == 0);
        let used = unused.map(|(name, room)| (room.used(), name)).filter(|(used, _)| now - *used >= REST);
        let Some(name) = used.min_by_key(|(used, _)| *used).map(|(_, name)| name.clone()) else {
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
        assert!(rooms.get(&name("one more")).is_err());

        tokio::time::advance(REST).await;
        rooms.get(&name("one more")).unwrap();
        assert!(Arc::ptr_eq(&kept, &rooms.get(&name("watched")).unwrap()));
        assert!(rooms.get(&name("rests")).is_err(), "it went, and its place is taken");
        assert_eq!(rooms.usage().rooms, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_whose_subscriber_has_just_left_is_still_in_use() {
        let rooms = Rooms::new(1, Window { messages: 8, bytes: 1024 });
        let log = rooms.get(&name("watched")).unwrap();
        let subscriptions = [log.subscribe(After::Latest), log.subscribe(After::Latest)];
        tokio::time::advance(3 * REST).await;
        drop(subscriptions);
        tokio::time::advance(REST - Duration::from_secs(1)).await;
        assert!(rooms.get(&name("one more")).is_err(), "who was cut off may come back");
        assert!(Arc::ptr_eq(&log, &rooms.get(&name("watched")).unwrap()));
        tokio::time::advance(REST).await;
        rooms.get(&name("one more")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_lobby_always_has_a_place_and_keeps_it() {
        let rooms = Rooms::new(1, Window { messages: 8, bytes: 1024 });
        let _subscription = rooms.get(&name("watched")).unwrap().subscribe(After::Latest);
        let lobby = rooms.get(&name(LOBBY)).unwrap();
        for _ in 0..3 {
            tokio::time::advance(REST).await;
            assert!(rooms.get(&name("one more")).is_err());
        }
        assert!(Arc::ptr_eq(&lobby, &rooms.get(&name(LOBBY)).unwrap()));
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
