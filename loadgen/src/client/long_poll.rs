//! Long polling: a question that waits at the server, and the next one as soon as it is answered.

use super::poller::Poller;
use super::{After, Client, Event, Failure, Target};

/// A client that holds a question open.
pub struct LongPoll {
    poller: Poller,
    wait: String,
}

impl Client for LongPoll {
    async fn connect(target: &Target, after: &After, events: &mut Vec<Event>) -> Result<Self, Failure> {
        let wait = format!("&wait={}ms", target.hold.as_millis());
        Ok(Self { poller: Poller::connect("long-poll", target, after, events).await?, wait })
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        self.poller.ask(&self.wait, None, events).await
    }

    async fn close(self) {}
}
