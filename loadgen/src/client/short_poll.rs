//! Short polling: a question on every tick of the client's own grid, answered at once.

use super::poller::Poller;
use super::{After, Client, Event, Failure, Setup};
use crate::clock::{Nanos, now, sleep_until};

/// A client that polls.
pub(super) struct ShortPoll {
    poller: Poller,
    asked: Nanos,
}

impl Client for ShortPoll {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let asked = now();
        Ok(Self {
            poller: Poller::connect("short-poll", None, setup, after, events).await?,
            asked,
        })
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        // From now, or from the last tick if that answer came within it: a tick passed meanwhile is not made up for.
        let tick = self.poller.setup.cadence.tick_after(now().max(self.asked));
        sleep_until(tick).await;
        self.asked = tick;
        self.poller.ask(Some(tick), events).await
    }

    async fn close(self) {}
}
