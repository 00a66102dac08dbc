//! The tap: what really went over one page's connections, kept for that page alone and not for long.
//!
//! A page that wants one draws an ID and reads `GET /tap?id=ID`. From then on the requests that name it in their target
//! (`tap=ID`, or `tap=ID.LANE` to be counted apart) are noted as the bytes they are, below hyper. While no page reads a
//! tap, a connection pays one pointer, and for a read of its socket one look at a counter.

mod exchange;
mod frames;
mod secrets;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::{StatusCode, Uri};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

pub(crate) use self::exchange::{Exchange, read};
use self::frames::FrameHead;
pub(crate) use self::frames::Frames;
use crate::App;
use crate::error::{ApiError, Invalid, JSON};
use crate::query::Query;

/// What one tap remembers; beyond it the oldest entry goes.
const ENTRIES: usize = 200;
/// How many of these may be there only because they opened an exchange that is still under way.
const OPENERS: usize = 64;
/// How much of one read, write or frame it shows, in bytes before and after decoding; all of it is counted.
const SHOWN: usize = 2048;
/// The longest round trip a page may ask for, in milliseconds: halfway round the world by satellite.
const LONGEST: u64 = 600;
/// What may be under way in one direction of a connection, in bytes. At the longest distance that is 200 kB a second.
pub(crate) const UNDER_WAY: usize = 64 * 1024;
/// The same for all connections of one tap together: what four of them hold whose peers do not read.
pub(crate) const OF_ONE_TAP: usize = 4 * UNDER_WAY;
/// As many taps as a class has pages: at most 28 MiB with everything above, of which 25 are what is shown; and 16 that
/// are under way (`OF_ONE_TAP`).
pub(crate) const TAPS: usize = 64;
/// What one takes at most, in bytes.
pub(crate) const TAP: usize = ENTRIES * (SHOWN + 256) + OF_ONE_TAP;
/// Ways of one page that are counted apart: the lanes of the race.
const LANES: usize = 8;
/// A tap that nobody has read for this long goes. Browsers wake a hidden page once a minute.
const IDLE: Duration = Duration::from_secs(90);

/// The taps of all pages.
#[derive(Debug)]
pub(crate) struct Taps {
    /// The most there may be.
    most: usize,
    live: AtomicUsize,
    by_id: Mutex<HashMap<Box<str>, Arc<Tap>>>,
}

/// One page's tap. Invariant: only who knows its ID can read it or be noted in it.
#[derive(Debug)]
pub(crate) struct Tap {
    born: Instant,
    /// The simulated round trip of this page, in milliseconds.
    distance: AtomicU64,
    /// Room for what is under way on all its connections, in bytes.
    pub(crate) under_way: Arc<Semaphore>,
    /// Ends its answers without end: how a page shows that its browser brings a stream back.
    pub(crate) cut: Notify,
    notes: Mutex<Notes>,
}

/// Invariant: `openers` are older than `recent`, and at most [`OPENERS`]; both together are at most [`ENTRIES`].
#[derive(Debug)]
struct Notes {
    recent: VecDeque<Entry>,
    /// What opened an exchange under way is not forgotten before what it brought.
    openers: VecDeque<Entry>,
    next: u64,
    exchanges: u64,
    lanes: Vec<(String, Totals)>,
    read: Instant,
    /// Nobody reads it any more: a connection that still knows it notes nothing.
    gone: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Totals {
    requests: u64,
    up: usize,
    down: usize,
}

/// One read or write of a socket, or one frame in it.
#[derive(Debug, Serialize)]
struct Entry {
    n: u64,
    /// Microseconds since the tap's birth.
    at: u64,
    /// Which exchange: a request and its answer, or what a WebSocket carries after its handshake.
    line: u64,
    lane: String,
    up: bool,
    size: u64,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<FrameHead>,
    /// Of a part of a request: whether its exchange is under way.
    #[serde(skip)]
    opens: Option<Arc<AtomicBool>>,
}

impl Taps {
    /// None yet, and never more than this.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            live: AtomicUsize::new(0),
            by_id: Mutex::default(),
        })
    }

    fn any(&self) -> bool {
        self.live.load(Relaxed) > 0
    }

    /// The live tap that a request names, and the lane.
    fn named(&self, query: &str) -> Option<(Arc<Tap>, String)> {
        let (_, name) = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "tap")?;
        let (id, lane) = name.split_once('.').unwrap_or((&name, ""));
        let lane = Some(lane).filter(|lane| lane.len() <= 16)?.to_owned();
        Some((Arc::clone(self.by_id.lock().get(id)?), lane))
    }

    /// The tap of a request, if it has one: for the delay that simulates a distance.
    pub(crate) fn of(&self, uri: &Uri) -> Option<Arc<Tap>> {
        if !self.any() {
            return None;
        }
        self.named(uri.query()?).map(|(tap, _)| tap)
    }

    /// Finds a tap or makes it; one that nobody reads any more goes by itself.
    pub(crate) fn open(self: &Arc<Self>, id: &str) -> Result<Arc<Tap>, ApiError> {
        let mut taps = self.by_id.lock();
        if let Some(tap) = taps.get(id) {
            tap.notes.lock().read = Instant::now();
            return Ok(Arc::clone(tap));
        }
        if taps.len() >= self.most {
            let (most, idle) = (self.most, IDLE.as_secs());
            let reason = format!(
                "there are {most} taps already; close the wire of another page and wait {idle} s"
            );
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        let now = Instant::now();
        let tap = Arc::new(Tap {
            born: now,
            distance: AtomicU64::new(0),
            under_way: Arc::new(Semaphore::new(OF_ONE_TAP)),
            cut: Notify::new(),
            notes: Mutex::new(Notes::new(now)),
        });
        taps.insert(id.into(), Arc::clone(&tap));
        self.live.store(taps.len(), Relaxed);
        tokio::spawn(Arc::clone(self).forget(id.to_owned(), Arc::clone(&tap)));
        Ok(tap)
    }

    async fn forget(self: Arc<Self>, id: String, tap: Arc<Tap>) {
        while let Some(rest) = self.drop_idle(&id, &tap) {
            tokio::time::sleep(rest).await;
        }
    }

    /// Lets a tap go; or how long it may still rest. Both under the lock, for a page may be about to read it.
    fn drop_idle(&self, id: &str, tap: &Tap) -> Option<Duration> {
        let mut taps = self.by_id.lock();
        let mut notes = tap.notes.lock();
        let rest = IDLE.saturating_sub(notes.read.elapsed());
        if !rest.is_zero() {
            return Some(rest);
        }
        taps.remove(id);
        self.live.store(taps.len(), Relaxed);
        tap.distance.store(0, Relaxed);
        (notes.gone, notes.recent, notes.openers) = (true, VecDeque::new(), VecDeque::new());
        None
    }
}

impl Notes {
    fn new(read: Instant) -> Self {
        let (recent, openers) = (VecDeque::new(), VecDeque::new());
        Self {
            recent,
            openers,
            next: 0,
            exchanges: 0,
            lanes: Vec::new(),
            read,
            gone: false,
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.openers.iter().chain(&self.recent)
    }

    /// Each entry moves at most once before it goes, so that a busy tap costs no more than a quiet one.
    fn push(&mut self, entry: Entry) {
        while self.recent.len() + self.openers.len() >= ENTRIES {
            let Some(oldest) = self.recent.pop_front() else {
                break;
            };
            let stays = oldest
                .opens
                .as_ref()
                .is_some_and(|under_way| under_way.load(Relaxed));
            if !stays || self.openers.len() >= OPENERS {
                break;
            }
            self.openers.push_back(oldest);
        }
        self.recent.push_back(entry);
    }

    /// The number of a new exchange, and where its lane is counted; `None` if there are too many lanes.
    fn enter(&mut self, lane: String) -> Option<(u64, usize)> {
        let known = self.lanes.iter().position(|(name, _)| *name == lane);
        if known.is_none() {
            if self.lanes.len() == LANES {
                return None;
            }
            self.lanes.push((lane, Totals::default()));
        }
        let at = known.unwrap_or(self.lanes.len() - 1);
        self.lanes[at].1.requests += 1;
        self.exchanges += 1;
        Some((self.exchanges, at))
    }
}

impl Tap {
    /// How long something is under way between this page and the server, as its distance has it.
    pub(crate) fn one_way(&self) -> Duration {
        Duration::from_millis(self.distance.load(Relaxed)) / 2
    }
}

/// `distance=200`, in milliseconds.
fn distance(text: &str) -> Result<u64, Invalid> {
    let distance = text.parse().ok().filter(|&distance| distance <= LONGEST);
    let right = format_args!("a whole number of milliseconds up to {LONGEST}");
    distance.ok_or_else(|| Invalid::not("distance", right, text))
}

/// `GET /tap?id=ID&after=N&distance=MS`: what was noted from entry N on, and the totals of each lane; with `cut=1` its
/// answers without end are ended.
pub(crate) async fn handle(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let id = query.get("id").unwrap_or_default();
    if id.len() != 32
        || !id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(Invalid::not("id", "32 characters 0-9a-f, drawn at random", &id).into());
    }
    let after = query.get("after").map_or(Ok(0), |text| text.parse::<u64>());
    let after =
        after.map_err(|_| Invalid::new("after", "after must be the next of the answer before"))?;
    let distance = query
        .get("distance")
        .map(|text| distance(&text))
        .transpose()?;
    let cut = query.flag("cut")?;
    let tap = app.taps.open(&id)?;
    if let Some(distance) = distance {
        tap.distance.store(distance, Relaxed);
    }
    if cut {
        tap.cut.notify_waiters();
    }
    let notes = tap.notes.lock();
    let entries: Vec<&Entry> = notes.entries().filter(|entry| entry.n >= after).collect();
    let lanes: HashMap<&str, Totals> = notes
        .lanes
        .iter()
        .map(|(name, totals)| (name.as_str(), *totals))
        .collect();
    let now = u64::try_from(tap.born.elapsed().as_micros()).unwrap_or(u64::MAX);
    let body =
        json!({ "now": now, "next": notes.next, "lanes": lanes, "entries": entries }).to_string();
    Ok((JSON, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tap_that_nobody_reads_goes_and_there_are_never_more_than_so_many() {
        let taps = Taps::new(TAPS);
        (0..TAPS).for_each(|id| drop(taps.open(&id.to_string()).unwrap()));
        assert!(taps.open("one more").is_err());
        tokio::time::sleep(IDLE / 2).await;
        taps.open("7").unwrap();
        tokio::time::sleep(IDLE / 2 + Duration::from_secs(1)).await;
        assert_eq!(taps.live.load(Relaxed), 1);
        assert!(taps.named("tap=7").is_some() && taps.named("tap=8").is_none());
        tokio::time::sleep(IDLE).await;
        assert!(!taps.any());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tap_that_is_read_at_its_last_moment_stays() {
        let taps = Taps::new(TAPS);
        let tap = taps.open("7").unwrap();
        // The task that lets it go is about to, and the page is the first to have the lock.
        tap.notes.lock().read -= IDLE;
        taps.open("7").unwrap();
        assert_eq!(taps.drop_idle("7", &tap), Some(IDLE));
        assert!(taps.named("tap=7").is_some() && !tap.notes.lock().gone);
    }

    #[tokio::test(start_paused = true)]
    async fn what_opened_a_stream_is_not_forgotten_over_what_it_brings() {
        let taps = Taps::new(TAPS);
        let tap = taps.open("7").unwrap();
        let mut exchange = None;
        read(&mut exchange, &taps, b"GET /sse?tap=7 HTTP/1.1\r\n\r\n");
        for _ in 0..3 * ENTRIES {
            exchange.as_mut().unwrap().wrote(&[b"data: {}\n\n"], 10);
        }
        let kept = || {
            let notes = tap.notes.lock();
            let kept: Vec<u64> = notes.entries().map(|entry| entry.n).collect();
            (kept.len(), kept[0], kept[1])
        };
        assert_eq!(kept(), (ENTRIES, 0, 2 * ENTRIES as u64 + 2));
        drop(exchange);
        read(&mut None, &taps, b"GET /sse?tap=7 HTTP/1.1\r\n\r\n");
        assert!(kept().1 > 0, "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn what_opened_streams_takes_the_place_of_at_most_so_many_entries() {
        let taps = Taps::new(TAPS);
        let tap = taps.open("7").unwrap();
        let mut streams: Vec<_> = (0..3 * ENTRIES).map(|_| None).collect();
        for stream in &mut streams {
            read(stream, &taps, b"GET /sse?tap=7 HTTP/1.1\r\n\r\n");
        }
        let wrote = |streams: &mut Vec<Option<Box<Exchange>>>| {
            streams
                .iter_mut()
                .flatten()
                .for_each(|stream| stream.wrote(&[b"data: {}\n\n"], 10));
        };
        wrote(&mut streams);
        let openers = || tap.notes.lock().entries().filter(|entry| entry.up).count();
        assert_eq!(
            (openers(), tap.notes.lock().entries().count()),
            (OPENERS, ENTRIES)
        );
        let in_order = tap
            .notes
            .lock()
            .entries()
            .map(|entry| entry.n)
            .collect::<Vec<_>>();
        assert!(in_order.is_sorted());
        streams.truncate(1);
        assert_eq!(openers(), 1, "the others have ended");
        wrote(&mut streams);
        drop(streams);
        assert_eq!(openers(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tap_that_has_gone_holds_nothing_though_a_connection_still_knows_it() {
        let taps = Taps::new(TAPS);
        let tap = taps.open("7").unwrap();
        let mut exchange = None;
        let held = || {
            let notes = tap.notes.lock();
            (
                notes.entries().count(),
                notes.recent.capacity(),
                notes.lanes[0].1.up,
            )
        };
        read(&mut exchange, &taps, b"GET /sse?tap=7 HTTP/1.1\r\n");
        assert_eq!(held().0, 1);
        tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
        let up = held().2;
        read(&mut exchange, &taps, b"Host: test\r\n");
        exchange
            .as_mut()
            .unwrap()
            .wrote(&[b"HTTP/1.1 200 OK\r\n"], 17);
        drop(exchange);
        assert_eq!(held(), (0, 0, up));
    }
}
