//! A simulated distance: what a tapped page asks and is answered is under way for as long as it has chosen.
//!
//! Requests and answers are delayed here, the frames of a WebSocket in `tap/relay`. No packets are lost and the set-up
//! of connections costs nothing: it is round-trip time and nothing else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tower_service::Service as _;

use crate::error::Invalid;
use crate::tap::Tap;

/// The longest round trip a page may ask for, in milliseconds: halfway round the world by satellite.
const LONGEST: u64 = 600;
/// Pieces of an answer that may be under way.
const UNDER_WAY: usize = 64;

/// `distance=200`, in milliseconds.
pub(crate) fn parse(text: &str) -> Result<u64, Invalid> {
    let distance = text.parse().ok().filter(|&distance| distance <= LONGEST);
    let right = format_args!("a whole number of milliseconds up to {LONGEST}");
    distance.ok_or_else(|| Invalid::not("distance", right, text))
}

/// An answer on its way, boxed: only a tapped request pays for it.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Answers a request from far away.
pub(crate) fn between(tap: Arc<Tap>, mut routes: Router, request: Request<Incoming>) -> Answering {
    Box::pin(async move {
        sleep(tap.one_way()).await;
        let (head, body) = routes.call(request).await?.into_parts();
        let due = Instant::now() + tap.one_way();
        // Something that is whole arrives whole; each piece of an endless answer has a way of its own.
        let body = if body.size_hint().exact().is_some() { body } else { piece_by_piece(tap, body) };
        sleep_until(due).await;
        Ok(Response::from_parts(head, body))
    })
}

fn piece_by_piece(tap: Arc<Tap>, mut body: Body) -> Body {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = sender.closed() => return,
                () = tap.cut.notified() => return,
            };
            let Some(Ok(frame)) = frame else { return };
            if sender.send((Instant::now() + tap.one_way(), frame)).await.is_err() {
                return;
            }
        }
    });
    let arriving = unfold(receiver, async |mut receiver| {
        let (due, frame) = receiver.recv().await?;
        sleep_until(due).await;
        Some((Ok::<_, Infallible>(frame), receiver))
    });
    Body::new(StreamBody::new(arriving))
}
