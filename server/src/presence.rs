//! Who is here, and over what: of subscribers that gave a name, which nobody checks. Apart from the log.
//!
//! Who holds a stream is here until it ends: a connection whose peer vanishes ends within three heartbeats. Who polls is here
//! for two of its intervals and its hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Uri;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use crate::App;
use crate::error::{ApiError, Invalid, JSON};
use crate::message::check_name;
use crate::query::Query;
use crate::rooms::RoomName;
use crate::stats::Transport;

/// Names of a room, and of all rooms together: who comes then is not noted.
const IN_A_ROOM: usize = 1000;
const IN_ALL: usize = 20_000;
/// Who has asked once is expected to ask again within this time.
const FIRST: Duration = Duration::from_secs(10);
/// And who asks seldom, within this.
const LONGEST: Duration = Duration::from_secs(60);

/// All who are here.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    rooms: Mutex<Rooms>,
}

#[derive(Debug, Default)]
struct Rooms {
    rooms: HashMap<RoomName, BTreeMap<Who, Stay>>,
    count: usize,
}

/// A name, and what it is here over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    name: Box<str>,
    over: &'static str,
}

/// For how long somebody is here.
#[derive(Debug, Default)]
struct Stay {
    /// Streams that are open.
    streams: usize,
    /// The latest question, and until when another is expected.
    asked: Option<(Instant, Instant)>,
}

impl Stay {
    fn is_over(&self, now: Instant) -> bool {
        self.streams == 0 && self.asked.is_none_or(|(_, until)| until <= now)
    }
}

impl Rooms {
    /// The stay of somebody who comes, if there is a place.
    fn of(&mut self, room: &RoomName, who: Who) -> Option<&mut Stay> {
        let here = self.rooms.get(room);
        let is_new = here.is_none_or(|here| !here.contains_key(&who));
        let is_full = here.is_some_and(|here| here.len() >= IN_A_ROOM) || self.count >= IN_ALL;
        if is_new && is_full {
            return None;
        }
        self.count += usize::from(is_new);
        let here = self.rooms.entry(room.clone()).or_default();
        Some(here.entry(who).or_default())
    }

    fn tidy(&mut self, now: Instant) {
        self.rooms.retain(|_, here| {
            here.retain(|_, stay| !stay.is_over(now));
            !here.is_empty()
        });
        self.count = self.rooms.values().map(BTreeMap::len).sum();
    }
}

/// Somebody with a stream, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Present(Box<(Arc<Presence>, RoomName, Who)>);

impl Drop for Present {
    fn drop(&mut self) {
        let (presence, room, who) = &*self.0;
        let mut rooms = presence.rooms.lock();
        let Some(here) = rooms.rooms.get_mut(room) else {
            return;
        };
        let Some(stay) = here.get_mut(who) else {
            return;
        };
        stay.streams -= 1;
        if stay.is_over(Instant::now()) {
            here.remove(who);
            rooms.count -= 1;
        }
    }
}

impl Presence {
    /// Notes somebody who holds a stream, if there is a name.
    pub(crate) fn hold(
        self: &Arc<Self>,
        room: &RoomName,
        name: Option<Box<str>>,
        over: Transport,
    ) -> Option<Present> {
        let name = name?;
        let over = over.name();
        let who = Who { name, over };
        self.rooms.lock().of(room, who.clone())?.streams += 1;
        Some(Present(Box::new((Arc::clone(self), room.clone(), who))))
    }

    /// Notes somebody who asks, and may be answered as late as this, if there is a name.
    pub(crate) fn ask(
        &self,
        room: &RoomName,
        name: Option<Box<str>>,
        over: Transport,
        hold: Duration,
    ) {
        let Some(name) = name else { return };
        let (now, over) = (Instant::now(), over.name());
        let mut rooms = self.rooms.lock();
        if let Some(stay) = rooms.of(room, Who { name, over }) {
            let interval = stay.asked.filter(|(_, until)| *until > now);
            let interval = interval.map_or(FIRST, |(before, _)| now - before);
            let patience = 2 * interval.clamp(Duration::from_secs(1), LONGEST / 2);
            stay.asked = Some((now, now + hold + patience));
        }
    }

    /// Forgets who is gone: what is done every second.
    pub(crate) fn tidy(&self) {
        self.rooms.lock().tidy(Instant::now());
    }

    fn of(&self, room: &RoomName) -> Vec<Who> {
        let (now, rooms) = (Instant::now(), self.rooms.lock());
        let here = rooms.rooms.get(room).into_iter().flatten();
        let here = here.filter(|(_, stay)| !stay.is_over(now));
        here.map(|(who, _)| who.clone()).collect()
    }
}

/// `name=N` of a query, if it is there.
pub(crate) fn name(query: &Query<'_>) -> Result<Option<Box<str>>, Invalid> {
    named(query.get("name").as_deref())
}

/// A name that somebody gives: 1 to 64 characters, no control characters.
pub(crate) fn named(name: Option<&str>) -> Result<Option<Box<str>>, Invalid> {
    name.map_or(Ok(()), |name| check_name("name", name))?;
    Ok(name.map(Into::into))
}

/// `GET /presence?room=R`: `{"present":[{"name","transport"}]}`.
pub(crate) async fn handle(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, ApiError> {
    let room = Query::of(&uri).room()?;
    let present = app.presence.of(&room);
    let present = present
        .iter()
        .map(|Who { name, over }| json!({ "name": name, "transport": over }));
    let body = json!({ "present": present.collect::<Vec<_>>() });
    Ok((JSON, body.to_string()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn room() -> RoomName {
        RoomName::new("a").unwrap()
    }

    fn names(presence: &Presence) -> Vec<String> {
        let all = presence.of(&room());
        all.iter()
            .map(|who| format!("{} {}", who.name, who.over))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_a_stream_is_here_until_the_last_of_them_ends() {
        let presence = Arc::<Presence>::default();
        let hold = |name: &str, over| presence.hold(&room(), Some(name.into()), over);
        let (first, second) = (hold("ann", Transport::Ws), hold("ann", Transport::Ws));
        let third = hold("ann", Transport::Sse);
        assert!(presence.hold(&room(), None, Transport::Ws).is_none());
        assert_eq!(names(&presence), ["ann sse", "ann ws"]);
        drop((first, third));
        advance(Duration::from_secs(3600)).await;
        assert_eq!(names(&presence), ["ann ws"]);
        drop(second);
        assert_eq!(names(&presence), [""; 0]);
        presence.tidy();
        assert!(presence.rooms.lock().rooms.is_empty());
        assert_eq!(presence.rooms.lock().count, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_polls_is_here_for_two_intervals_and_a_hold() {
        let presence = Arc::<Presence>::default();
        let hold = Duration::from_secs(25);
        let ask = |hold| presence.ask(&room(), Some("ann".into()), Transport::LongPoll, hold);
        ask(hold);
        advance(Duration::from_secs(3)).await;
        ask(hold);
        advance(hold + Duration::from_millis(5900)).await;
        assert_eq!(names(&presence), ["ann long-poll"]);
        advance(Duration::from_millis(200)).await;
        assert_eq!(names(&presence), [""; 0]);
        // Whoever asks once a day is no longer expected after a minute.
        ask(Duration::ZERO);
        advance(2 * FIRST + Duration::from_millis(1)).await;
        assert_eq!(names(&presence), [""; 0]);
        ask(Duration::ZERO);
        advance(Duration::from_secs(15)).await;
        ask(Duration::ZERO);
        advance(LONGEST / 2 - Duration::from_millis(1)).await;
        assert_eq!(names(&presence).len(), 1);
        advance(Duration::from_millis(2)).await;
        assert_eq!(names(&presence).len(), 0);
    }

    #[tokio::test]
    async fn names_are_bounded() {
        let presence = Arc::<Presence>::default();
        let hold = |n: usize| presence.hold(&room(), Some(n.to_string().into()), Transport::Ws);
        let held: Vec<_> = (0..IN_A_ROOM).map(hold).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(hold(IN_A_ROOM).is_none(), "no place");
        assert!(hold(0).is_some(), "the same name");
        drop(held);
        assert!(hold(IN_A_ROOM).is_some());
    }
}
