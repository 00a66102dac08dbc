//! What all polls have in common: a question after the cursor, an answer, the next cursor.

use std::future::pending;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};

use super::protocol::{Answer, parse};
use super::{After, Cursor, Event, Failure, Http, Setup};
use crate::clock::Nanos;

/// A connection that asks one endpoint again and again.
pub(super) struct Poller {
    http: Http,
    transport: &'static str,
    pub(super) setup: Setup,
    /// The question after the cursor, made anew only when it moves.
    question: (Uri, HeaderValue),
    wait: Option<Duration>,
}

impl Poller {
    /// Connects and asks where it stands.
    pub(super) async fn connect(
        transport: &'static str,
        wait: Option<Duration>,
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(setup, &format!("{transport}.html")).await?;
        // Who comes back wants to know at once that it is there, and what it has missed.
        let at_once = wait.filter(|_| matches!(after, After::Cursor(_)));
        let at_once = at_once.map(|_| Duration::ZERO);
        let first = setup
            .dialect
            .subscribe(transport, &setup.room, after, at_once)?;
        let reply = http.get(&first, None).await?;
        let answered = http.received();
        let answer: Answer<'_> = parse(&reply.body)?;
        events.push(Event::Hello(Some(answer.start()?)));
        let cursor = answer.read(answered, None, events);
        let question = question(transport, &cursor, setup, wait)?;
        Ok(Self {
            http,
            transport,
            setup: setup.clone(),
            question,
            wait,
        })
    }

    /// Waits until it is no longer to poll; for ever, if nobody is there to say so.
    pub(super) async fn idle(&mut self) {
        if self.setup.active.wait_for(|active| !active).await.is_err() {
            pending::<()>().await;
        }
    }

    /// Asks once; `tick` is when it was to ask, if that was planned. Returns when the answer had been read.
    pub(super) async fn ask(
        &mut self,
        tick: Option<Nanos>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let reply = self
            .http
            .get(&self.question.0, Some(&self.question.1))
            .await?;
        let answered = self.http.received();
        events.extend(tick.map(|asked| Event::Polled { asked, answered }));
        let before = events.len();
        if reply.status != StatusCode::NOT_MODIFIED {
            let cursor = parse::<Answer<'_>>(&reply.body)?.read(answered, tick, events);
            self.question = question(self.transport, &cursor, &self.setup, self.wait)?;
        }
        let meter = &self.setup.meter;
        let is_empty = events.len() == before;
        meter.empties.fetch_add(u64::from(is_empty), Relaxed);
        Ok(())
    }
}

fn question(
    transport: &str,
    cursor: &Cursor,
    setup: &Setup,
    wait: Option<Duration>,
) -> Result<(Uri, HeaderValue), Failure> {
    let uri =
        setup
            .dialect
            .subscribe(transport, &setup.room, &After::Cursor(cursor.clone()), wait)?;
    let etag = HeaderValue::try_from(format!("\"{cursor}\""))
        .map_err(|error| Failure::Protocol(error.to_string()))?;
    Ok((uri, etag))
}
