//! What all polls have in common: a question after the cursor, an answer, the next cursor.

use std::sync::atomic::Ordering::Relaxed;

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};

use super::http::uri;
use super::protocol::{Answer, parse};
use super::{After, Cursor, Event, Failure, Http, Setup};
use crate::clock::Nanos;

/// A connection that asks one endpoint again and again.
pub(super) struct Poller {
    http: Http,
    endpoint: &'static str,
    pub(super) setup: Setup,
    cursor: Cursor,
    /// The question after the cursor, made anew only when it moves.
    question: (Uri, HeaderValue),
    more: String,
}

impl Poller {
    /// Connects and asks where it stands.
    pub(super) async fn connect(
        endpoint: &'static str,
        more: String,
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(setup, &format!("{endpoint}.html")).await?;
        let first = uri(&format!("/{endpoint}{}", after.query(&setup.room)))?;
        let reply = http.get(&first, None).await?;
        let answered = http.received();
        let answer: Answer<'_> = parse(&reply.body)?;
        events.push(Event::Hello(answer.start()?));
        let cursor = answer.read(answered, None, events);
        let question = question(endpoint, &cursor, &setup.room, &more)?;
        Ok(Self { http, endpoint, setup: setup.clone(), cursor, question, more })
    }

    /// Asks once; `tick` is when it was to ask, if that was planned. Returns when the answer had been read.
    pub(super) async fn ask(&mut self, tick: Option<Nanos>, events: &mut Vec<Event>) -> Result<(), Failure> {
        let reply = self.http.get(&self.question.0, Some(&self.question.1)).await?;
        let answered = self.http.received();
        events.extend(tick.map(|asked| Event::Polled { asked, answered }));
        let before = events.len();
        let head = reply.head as u64;
        if reply.status != StatusCode::NOT_MODIFIED {
            self.cursor = parse::<Answer<'_>>(&reply.body)?.read(answered, tick, events);
            self.question = question(self.endpoint, &self.cursor, &self.setup.room, &self.more)?;
        }
        let meter = &self.setup.meter;
        let is_empty = events.len() == before;
        meter.empties.fetch_add(u64::from(is_empty), Relaxed);
        meter.heads[usize::from(is_empty)].fetch_add(head, Relaxed);
        Ok(())
    }
}

fn question(endpoint: &str, cursor: &Cursor, room: &str, more: &str) -> Result<(Uri, HeaderValue), Failure> {
    let uri = uri(&format!("/{endpoint}{}{more}", After::Cursor(cursor.clone()).query(room)))?;
    let etag = HeaderValue::try_from(format!("\"{cursor}\"")).map_err(|error| Failure::Protocol(error.to_string()))?;
    Ok((uri, etag))
}
