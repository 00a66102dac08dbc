//! A simulated distance: what a tapped page asks and is answered is under way for as long as it has chosen.
//!
//! Requests and answers are delayed here, the frames of a WebSocket in `relay`. No packets are lost and the set-up
//! of connections costs nothing: it is round-trip time and nothing else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::CONTENT_LENGTH;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tower_service::Service as _;

use crate::tap::{Tap, UNDER_WAY};

/// What a piece costs beside its bytes: many small ones are not to be free.
const PIECE: usize = 128;

/// An answer on its way, boxed: only a tapped request pays for it.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Answers a request from far away.
pub(crate) fn between(tap: Arc<Tap>, mut routes: Router, request: Request<Incoming>) -> Answering {
    Box::pin(async move {
        sleep(tap.one_way()).await;
        let (head, body) = routes.call(request).await?.into_parts();
        let due = Instant::now() + tap.one_way();
        // Something that is whole arrives whole; each piece of an endless answer has a way of its own.
        let whole = head.headers.contains_key(CONTENT_LENGTH) || body.size_hint().exact().is_some();
        let body = if whole {
            body
        } else {
            piece_by_piece(&tap, body)
        };
        sleep_until(due).await;
        Ok(Response::from_parts(head, body))
    })
}

fn piece_by_piece(tap: &Arc<Tap>, mut body: Body) -> Body {
    let (departure, arrival) = road(tap);
    let tap = Arc::clone(tap);
    tokio::spawn(async move {
        let carry = async {
            while let Some(Ok(frame)) = body.frame().await {
                let size = frame.data_ref().map_or(0, Bytes::len);
                if !departure.send(size, frame, tap.one_way()).await {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            // From here on no cut is missed, whatever the answer is waiting for.
            () = tap.cut.notified() => {}
            () = departure.sender.closed() => {}
            () = carry => {}
        }
    });
    let arriving = unfold(arrival, async |mut arrival| {
        Some((Ok::<_, Infallible>(arrival.next().await?), arrival))
    });
    Body::new(StreamBody::new(arriving))
}

/// One direction of a connection of this tap: what departs arrives as late as the distance has it, in its order.
pub(crate) fn road<T>(tap: &Arc<Tap>) -> (Departure<T>, Arrival<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    (
        Departure {
            tap: Arc::clone(tap),
            room,
            sender,
        },
        Arrival {
            receiver,
            last: None,
        },
    )
}

/// The room that something takes on its way, of its connection and of its tap.
type Room = [OwnedSemaphorePermit; 2];

pub(crate) struct Departure<T> {
    tap: Arc<Tap>,
    room: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<(Instant, T, Room)>,
}

pub(crate) struct Arrival<T> {
    receiver: mpsc::UnboundedReceiver<(Instant, T, Room)>,
    /// Of the last thing that arrived: until the next is asked for, somebody is busy with it.
    last: Option<Room>,
}

impl<T> Departure<T> {
    /// Sends something of this many bytes when there is room for it, over a way of this length; false if nobody is there to
    /// take it.
    pub(crate) async fn send(&self, size: usize, thing: T, way: Duration) -> bool {
        let due = Instant::now() + way;
        // What is larger than the whole road goes when there is nothing else on it.
        let size = u32::try_from((size + PIECE).min(UNDER_WAY)).expect("a small constant");
        let take = async |room: &Arc<Semaphore>| {
            Arc::clone(room)
                .acquire_many_owned(size)
                .await
                .expect("never closed")
        };
        let room = [take(&self.room).await, take(&self.tap.under_way).await];
        self.sender.send((due, thing, room)).is_ok()
    }
}

impl<T> Arrival<T> {
    /// What arrives next, when it is due; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.last = None;
        let (due, thing, room) = self.receiver.recv().await?;
        self.last = Some(room);
        sleep_until(due).await;
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use hyper::body::Frame;

    use super::*;
    use crate::tap::{OF_ONE_TAP, Taps};

    /// An answer without end in pieces of this size, and how many of them were taken.
    fn endless(size: usize) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::<AtomicUsize>::default();
        let piece = Bytes::from(vec![b'x'; size]);
        let stream = unfold(Arc::clone(&taken), move |taken| {
            let piece = piece.clone();
            async move {
                taken.fetch_add(1, Relaxed);
                Some((Ok::<_, Infallible>(Frame::data(piece)), taken))
            }
        });
        (Body::new(StreamBody::new(stream)), taken)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_of_an_answer_is_bounded_in_bytes() {
        let settle = || tokio::time::sleep(Duration::from_secs(1));
        for (size, most) in [
            (1, UNDER_WAY / PIECE),
            (1000, UNDER_WAY / 1000),
            (128 * 1024, 1),
        ] {
            let tap = Taps::new(1).open("7").expect("there is room");
            let (body, taken) = endless(size);
            let mut far = piece_by_piece(&tap, body);
            settle().await;
            // One more waits for its room.
            let first = taken.load(Relaxed);
            assert!(
                (most / 2..=most + 1).contains(&first),
                "{first} pieces of {size}"
            );
            far.frame().await.expect("a piece").expect("no error");
            settle().await;
            assert_eq!(
                taken.load(Relaxed),
                first,
                "who has one and asks for no more is still busy with it"
            );
            far.frame().await.expect("a piece").expect("no error");
            settle().await;
            assert_eq!(taken.load(Relaxed), first + 1);
            drop(far);
            settle().await;
            assert_eq!(
                tap.under_way.available_permits(),
                OF_ONE_TAP,
                "all room is given back"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_waits_for_room_is_cut_like_any_other() {
        let tap = Taps::new(1).open("7").expect("there is room");
        let (body, taken) = endless(1000);
        let mut far = piece_by_piece(&tap, body);
        tokio::time::sleep(Duration::from_secs(1)).await;
        tap.cut.notify_waiters();
        let waited = taken.load(Relaxed);
        let mut arrived = 0;
        while far.frame().await.is_some() {
            arrived += 1;
            assert!(arrived <= waited, "it goes on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_for_a_tap_is_bounded_however_many_connections_it_has() {
        let tap = Taps::new(1).open("7").expect("there is room");
        let all: Vec<_> = (0..20)
            .map(|_| {
                let (body, taken) = endless(UNDER_WAY);
                (piece_by_piece(&tap, body), taken)
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let under_way = OF_ONE_TAP - tap.under_way.available_permits();
        assert_eq!(under_way, OF_ONE_TAP);
        // Besides, each holds one piece that waits.
        assert!(all.iter().all(|(_, taken)| taken.load(Relaxed) <= 2));
    }
}
