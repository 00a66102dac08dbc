//! Long polling: a question that waits at the server, and the next one as soon as it is answered.

use super::poller::Poller;
use super::{After, Client, Event, Failure, Setup};

/// A client that holds a question open.
pub(super) struct LongPoll(Poller);

impl Client for LongPoll {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        Ok(Self(
            Poller::connect("long-poll", Some(setup.hold), setup, after, events).await?,
        ))
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        self.0.setup.until_active().await?;
        self.0.ask(None, events).await
    }

    async fn close(self) {}
}
