//! What all polls have in common: a question after the cursor, an answer, the next cursor.

use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;

use super::protocol::{Answer, parse};
use super::{After, Cursor, Event, Failure, Http, Target};
use crate::clock::{Nanos, now};

/// A connection that asks one endpoint again and again.
pub(super) struct Poller {
    http: Http,
    endpoint: &'static str,
    pub(super) target: Target,
    cursor: Cursor,
}

impl Poller {
    /// Connects and asks where it stands.
    pub(super) async fn connect(
        endpoint: &'static str,
        target: &Target,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(target, &format!("{endpoint}.html")).await?;
        let reply = http.get(&format!("/{endpoint}{}", after.query(&target.room)), None).await?;
        let answered = now();
        let answer: Answer<'_> = parse(&reply.body)?;
        events.push(Event::Hello(answer.start()?));
        let cursor = answer.read(answered, None, events);
        Ok(Self { http, endpoint, target: target.clone(), cursor })
    }

    /// Asks once; `tick` is when it was to ask, if that was planned. Returns when the answer had been read.
    pub(super) async fn ask(
        &mut self,
        more: &str,
        tick: Option<Nanos>,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        let after = After::Cursor(self.cursor.clone()).query(&self.target.room);
        let path = format!("/{}{after}{more}", self.endpoint);
        let reply = self.http.get(&path, Some(&self.cursor.to_string())).await?;
        let answered = now();
        events.extend(tick.map(|asked| Event::Polled { asked, answered }));
        let before = events.len();
        let head = reply.head as u64;
        if reply.status != StatusCode::NOT_MODIFIED {
            self.cursor = parse::<Answer<'_>>(&reply.body)?.read(answered, tick, events);
        }
        let meter = &self.target.meter;
        let is_empty = events.len() == before;
        meter.empties.fetch_add(u64::from(is_empty), Relaxed);
        meter.heads[usize::from(is_empty)].fetch_add(head, Relaxed);
        Ok(())
    }
}
