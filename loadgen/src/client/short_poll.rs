//! Short polling: a request on every tick of the client's own grid, its cursor confirmed with `If-None-Match`.

use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;

use super::protocol::{Answer, parse};
use super::{After, Client, Cursor, Event, Failure, Http, Target};
use crate::clock::{Nanos, now, sleep_until};

/// A client that polls.
pub struct ShortPoll {
    http: Http,
    target: Target,
    cursor: Cursor,
    asked: Nanos,
}

impl Client for ShortPoll {
    async fn connect(target: &Target, after: &After, events: &mut Vec<Event>) -> Result<Self, Failure> {
        let mut http = Http::connect(target, "short-poll.html").await?;
        let asked = now();
        let reply = http.get(&path(&target.room, after), None).await?;
        let answered = now();
        let answer = parse::<Answer<'_>>(&reply.body)?;
        events.push(Event::Hello(answer.start()?));
        let cursor = answer.read(answered, asked, events);
        Ok(Self { http, target: target.clone(), cursor, asked })
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        // From now, or from the last tick if that answer came within it: a tick passed meanwhile is not made up for.
        let tick = self.target.cadence.tick_after(now().max(self.asked));
        sleep_until(tick).await;
        self.asked = tick;
        let path = path(&self.target.room, &After::Cursor(self.cursor.clone()));
        let reply = self.http.get(&path, Some(&self.cursor.to_string())).await?;
        let answered = now();
        events.push(Event::Polled { asked: tick, answered });
        if reply.status == StatusCode::NOT_MODIFIED {
            self.target.meter.empties.fetch_add(1, Relaxed);
            return Ok(());
        }
        let answer = parse::<Answer<'_>>(&reply.body)?;
        if answer.is_empty() {
            self.target.meter.empties.fetch_add(1, Relaxed);
        }
        self.cursor = answer.read(answered, tick, events);
        Ok(())
    }

    async fn close(self) {}
}

fn path(room: &str, after: &After) -> String {
    format!("/short-poll{}", after.query(room))
}
