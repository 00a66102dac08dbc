//! Long polling: a question that waits at the server, and the next one as soon as it is answered.

use super::poller::Poller;
use super::{After, Client, Event, Failure, Setup};

/// A client that holds a question open.
pub struct LongPoll(Poller);

impl Client for LongPoll {
    async fn connect(setup: &Setup, after: &After, events: &mut Vec<Event>) -> Result<Self, Failure> {
        let wait = format!("&wait={}ms", setup.hold.as_millis());
        Ok(Self(Poller::connect("long-poll", wait, setup, after, events).await?))
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        self.0.ask(None, events).await
    }

    async fn close(self) {}
}
