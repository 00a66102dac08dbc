//! What all polls have in common: a question after the cursor, an answer, the next cursor.

use std::future::pending;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};

use super::protocol::{Answer, parse};
use super::{After, Cursor, Event, Failure, Http, Setup};
use crate::clock::Nanos;

/// The most messages that an answer has.
const MOST: u32 = 1000;

/// A connection that asks one endpoint again and again.
///
/// An answer comes whole or not at all, and who fell behind on a path that lets no long one through would never catch up.
/// So who comes to a place, as after a connection that broke, asks for one message first, and for twice as many after each
/// answer, for as long as there are more.
pub(super) struct Poller {
    http: Http,
    transport: &'static str,
    pub(super) setup: Setup,
    /// The question after the cursor, made anew only when it moves.
    question: (Uri, HeaderValue),
    wait: Option<Duration>,
    /// The most messages that it wants next, while it catches up.
    limit: Option<u32>,
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
        let limit = (*after != After::Latest).then_some(1);
        // Who comes back wants to know at once that it is there, and what it has missed.
        let at_once = wait.filter(|_| matches!(after, After::Cursor(_)));
        let at_once = at_once.map(|_| Duration::ZERO);
        let first = setup
            .dialect
            .subscribe(transport, &setup.room, after, at_once, limit)?;
        let reply = http.get(&first, None).await?;
        let answered = http.received();
        let answer: Answer<'_> = parse(&reply.body)?;
        events.push(Event::Hello(Some(answer.start()?)));
        let limit = next(limit, answer.more);
        let cursor = answer.read(answered, None, events);
        let question = question(transport, &cursor, setup, wait, limit)?;
        Ok(Self {
            http,
            transport,
            setup: setup.clone(),
            question,
            wait,
            limit,
        })
    }

    /// Whether there is more to ask for at once.
    pub(super) fn is_behind(&self) -> bool {
        self.limit.is_some()
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
            let answer = parse::<Answer<'_>>(&reply.body)?;
            self.limit = next(self.limit, answer.more);
            let cursor = answer.read(answered, tick, events);
            let Self {
                transport,
                setup,
                wait,
                limit,
                ..
            } = &*self;
            self.question = question(transport, &cursor, setup, *wait, *limit)?;
        }
        let meter = &self.setup.meter;
        let is_empty = events.len() == before;
        meter.empties.fetch_add(u64::from(is_empty), Relaxed);
        Ok(())
    }
}

/// How many messages are wanted after an answer that came whole: no number once all are there.
fn next(limit: Option<u32>, more: bool) -> Option<u32> {
    let twice = limit.filter(|_| more).map(|limit| 2 * limit);
    twice.filter(|twice| *twice < MOST)
}

fn question(
    transport: &str,
    cursor: &Cursor,
    setup: &Setup,
    wait: Option<Duration>,
    limit: Option<u32>,
) -> Result<(Uri, HeaderValue), Failure> {
    let after = After::Cursor(cursor.clone());
    let uri = setup
        .dialect
        .subscribe(transport, &setup.room, &after, wait, limit)?;
    let etag = HeaderValue::try_from(format!("\"{cursor}\""))
        .map_err(|error| Failure::Protocol(error.to_string()))?;
    Ok((uri, etag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_grow_until_there_is_no_more() {
        let all: Vec<u32> =
            std::iter::successors(Some(1), |limit| next(Some(*limit), true)).collect();
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(next(Some(8), false), None);
        assert_eq!(next(None, true), None, "who is there stays there");
    }
}
