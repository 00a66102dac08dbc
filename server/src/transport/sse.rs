//! Server-sent events: one answer that never ends (HTML standard, section 9.2).
//!
//! The body yields the log's shared bytes as they are; axum's `sse::Event` would encode each for each connection.

use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes};
use futures_util::stream::unfold;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Uri, Version};
use serde_json::json;

use crate::App;
use crate::conn::peer::Endless;
use crate::cursor::{After, Cursor};
use crate::error::ApiError;
use crate::heartbeat::{Beat, Follower};
use crate::message::Format;
use crate::presence::{Present, name};
use crate::query::{Query, position, single};
use crate::rooms::Subscription;
use crate::stats::{Streaming, Transport};

/// How long a browser waits before it connects again, in milliseconds: drawn for each stream, or all would come back at
/// the same moment after a restart.
const RETRY: RangeInclusive<u32> = 500..=1500;
/// One event for each message, its cursor as the event's id.
static EVENTS: Format = Format {
    // `id: EPOCH-SEQ`, `data: ` and the ends of three lines.
    adds: (0, 42),
    write: |cursor, messages, _, out| {
        for (seq, message) in (cursor.seq + 1 - messages.len() as u64..).zip(messages) {
            out.put_slice(format!("id: {}\ndata: ", Cursor { seq, ..cursor }).as_bytes());
            out.put_slice(message);
            out.put_slice(b"\n\n");
        }
    },
};
/// A comment: a sign of life that no listener sees.
const COMMENT: &[u8] = b":\n\n";

/// `GET /sse?room=R&after=C&alive=1&heartbeat=20s`; a browser that reconnects says `Last-Event-ID`, which wins over `after`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    // Empty means that there was no id yet (HTML standard, section 9.2.4).
    let after = match single(&headers, "Last-Event-ID")?.filter(|id| !id.is_empty()) {
        Some(id) => position("Last-Event-ID", &String::from_utf8_lossy(id.as_bytes()))?,
        None => query.after()?,
    };
    let (room, name, heartbeat) = (query.room()?, name(&query)?, query.heartbeat()?);
    let subscription = app.rooms.subscribe(&room, after).await?;
    let cursor = subscription.cursor();
    // A gap comes next if the client stands elsewhere. Its id must be the first: were the connection cut before it, a
    // browser that had taken the hello's would resume behind the gap and never be told.
    let id = match after {
        After::Cursor(seen) if seen != cursor => String::new(),
        _ => format!("id: {cursor}\n"),
    };
    let retry = fastrand::u32(RETRY);
    let hello = format!("retry: {retry}\n{id}event: hello\ndata: {{\"cursor\":\"{cursor}\"}}\n\n");
    let sign = query
        .wants_signs()?
        .then(|| sign(heartbeat.unwrap_or(app.config.heartbeat).as_millis()));
    let hello = hello + sign.as_deref().unwrap_or_default();
    let sign = sign.map_or(Bytes::from_static(COMMENT), Bytes::from);
    let open = Streaming::over(app.stats.of(Transport::Sse));
    let (follower, ready) = (app.heartbeat.follow_at(heartbeat), Some(hello.into()));
    let events = Events {
        _present: app.presence.hold(&room, name, Transport::Sse),
        app,
        _open: open,
        subscription,
        follower,
        ready,
        sign,
    };
    let stream = unfold(events, async |mut events| {
        let bytes = events.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), events))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would collect the events until its buffer is full.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
        // The stream ends with the connection, and the connection with the stream.
        (header::CONNECTION, HeaderValue::from_static("close")),
    ];
    let mut response = (headers, Body::new(StreamBody::new(stream))).into_response();
    // So that hyper does not chunk it; the head that is sent says HTTP/1.1 (`conn` has the reason).
    *response.version_mut() = Version::HTTP_10;
    response.extensions_mut().insert(Endless);
    Ok(response)
}

/// A sign of life for a page, which sees no comment and no ping: it says in how many milliseconds the next one comes.
fn sign(period: u128) -> String {
    format!("event: alive\ndata: {{\"next\":{period}}}\n\n")
}

struct Events {
    app: Arc<App>,
    _open: Streaming,
    _present: Option<Present>,
    subscription: Subscription,
    follower: Follower,
    /// What is to be written before anything else: the hello, or the messages after a gap.
    ready: Option<Bytes>,
    /// What says that the server is there: the comment, or what was asked for instead.
    sign: Bytes,
}

impl Events {
    /// What is to be written next: everything pending in one piece, a gap apart; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.take() {
            return Some(bytes);
        }
        loop {
            tokio::select! {
                batch = self.subscription.next() => {
                    let batch = batch?;
                    // Without memory the stream ends here; the client comes back with the cursor it has.
                    let messages = self.app.encode(&batch, &EVENTS).ok()?;
                    self.app.stats.of(Transport::Sse).delivered(&batch, messages.len());
                    let Some(gap) = batch.gap else { return Some(messages) };
                    self.ready = Some(messages).filter(|messages| !messages.is_empty());
                    return Some(format!("id: {}\nevent: gap\ndata: {}\n\n", gap.cursor, json!(gap)).into());
                }
                beat = self.follower.beat() => if beat == Beat::Alive { return Some(self.sign.clone()) },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::assert_room;

    #[test]
    fn each_event_has_the_cursor_of_its_own_message_and_room_for_it() {
        let cursor: Cursor = "abcdefgh-7".parse().unwrap();
        let messages = [Bytes::from_static(b"{6}"), Bytes::from_static(b"{7}")];
        let events = EVENTS.merge(cursor, &messages, false);
        let expected = "id: abcdefgh-6\ndata: {6}\n\nid: abcdefgh-7\ndata: {7}\n\n";
        assert_eq!(String::from_utf8(events).unwrap(), expected);
        assert_room(&EVENTS);
    }
}
