//! Event streams: how promptly one comes through, and what becomes of its headers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderName};
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};

use super::connection::{Answer, PATIENCE, Path, end, read};
use super::findings::{End, Fate, Header, Stream, milliseconds};
use super::kept::{AGAIN, Kept, TIMES};
use crate::result::variant::Transport;

/// An event that has not come by then is held back: the path buffers.
const PROMPT: Duration = Duration::from_secs(5);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What has come of a stream so far.
struct Seen {
    body: Incoming,
    text: String,
}

impl Seen {
    /// Reads until this has come; when it had.
    async fn until(&mut self, what: &str, deadline: Instant) -> Option<Instant> {
        while !self.text.contains(what) {
            let frame = timeout_at(deadline, self.body.frame()).await.ok()??.ok()?;
            let bytes = frame.into_data().unwrap_or_default();
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
        Some(Instant::now())
    }
}

/// Opens an event stream: how promptly its hello comes, and a message that is published later.
pub(super) async fn stream(kept: &mut Kept<'_>) -> (Stream, Vec<Header>) {
    let (mut found, asked) = (Stream::default(), Instant::now());
    let Ok(mut http) = kept.path.http().await else {
        return (found, Vec::new());
    };
    let path = kept.path.at("sse", "after=latest&alive=1");
    let accept = [(ACCEPT, "text/event-stream")];
    let ask = http.ask(Method::GET, &path, &accept, String::new());
    let Ok(Ok(response)) = timeout(PROMPT, ask).await else {
        return (found, Vec::new());
    };
    if response.status() != StatusCode::OK {
        found.status = Some(response.status().as_u16());
        return (found, Vec::new());
    }
    let (parts, body) = response.into_parts();
    let answer = Answer {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        body: String::new(),
    };
    let headers = [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ]
    .map(|(name, right)| Header {
        name,
        of: Transport::Sse,
        fate: answer.fate(name, right),
    });
    let mut seen = Seen {
        body,
        text: String::new(),
    };
    let first = seen.until("event: alive", asked + PROMPT).await;
    found.first_ms = first.map(|at| milliseconds(at - asked));
    found.heartbeat_s = heartbeat(&seen.text);
    if first.is_some() {
        found.message_ms = message(kept, &mut seen).await.map(milliseconds);
    }
    (found, headers.into())
}

/// The server's heartbeat: `event: alive`, `data: {"next":20000}`.
fn heartbeat(events: &str) -> Option<f64> {
    let (_, rest) = events.split_once("{\"next\":")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(|ms: f64| ms / 1000.0)
}

/// Publishes until the stream brings one of the messages: how long that one took.
async fn message(kept: &mut Kept<'_>, seen: &mut Seen) -> Option<Duration> {
    let (mut sent, deadline) = (Vec::new(), Instant::now() + PROMPT);
    for nth in 0..TIMES {
        sent.push(Instant::now());
        if !kept.publish(&format!("prompt {nth}")).await {
            return None;
        }
        let wait = if nth + 1 == TIMES {
            deadline
        } else {
            Instant::now() + AGAIN
        };
        if let Some(at) = seen.until("prompt ", wait).await {
            let (_, rest) = seen.text.split_once("prompt ")?;
            let which: usize = rest.get(..1)?.parse().ok()?;
            return Some(at - *sent.get(which)?);
        }
    }
    None
}

/// Whether `Last-Event-ID` arrives: the server refuses one that is none, and names it.
pub(super) async fn last_event_id(path: &Path) -> Option<Header> {
    let mut http = path.http().await.ok()?;
    let asked = async {
        let headers = [(LAST_EVENT_ID, "none")];
        let stream = path.at("sse", "after=latest");
        let response = http
            .ask(Method::GET, &stream, &headers, String::new())
            .await?;
        // A stream has no end: of what is not refused nothing is read.
        if response.status().is_success() {
            return Ok(Fate::Lost);
        }
        let answer = read(response).await?;
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        Ok::<_, End>(match json["error"]["parameter"].as_str() {
            Some("Last-Event-ID") => Fate::Passed,
            _ => Fate::Lost,
        })
    };
    let fate = timeout(PATIENCE, asked).await.ok()?.ok()?;
    Some(Header {
        name: "last-event-id",
        of: Transport::Sse,
        fate,
    })
}

/// What ends a stream's body.
pub(super) async fn piece(body: &mut Incoming) -> Result<Bytes, End> {
    match body.frame().await {
        None => Err(End::Fin),
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => Err(end(&error)),
    }
}
