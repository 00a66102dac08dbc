//! Short polling: a question on every tick of the client's own grid, answered at once.

use std::iter;

use super::poller::Poller;
use super::{After, Cadence, Client, Event, Failure, Setup};
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
        if self.poller.is_behind() {
            self.poller.setup.until_active().await?;
            return self.poller.ask(None, events).await;
        }
        // From now, or from the last tick if that answer came within it: a tick passed meanwhile is not made up for.
        let cadence = self.poller.setup.cadence;
        let tick = loop {
            self.poller.setup.until_active().await?;
            let tick = cadence.tick_after(now().max(self.asked));
            // Who is to be idle meanwhile is told at once, not by a timer in the slice of another.
            tokio::select! {
                () = sleep_until(tick) => break tick,
                () = self.poller.idle() => {}
            }
        };
        self.asked = tick;
        self.poller.ask(Some(tick), events).await?;
        events.extend(missed(cadence, tick, now()));
        Ok(())
    }

    async fn close(self) {}
}

/// The ticks that passed while an answer was waited for, as long as that took: each is a sample, or the polls that a slow
/// server did not get would make it look fast (coordinated omission).
fn missed(cadence: Cadence, asked: Nanos, answered: Nanos) -> impl Iterator<Item = Event> {
    let next = move |tick: &Nanos| Some(cadence.tick_after(*tick));
    let ticks = iter::successors(next(&asked), next);
    ticks
        .take_while(move |tick| *tick <= answered)
        .map(move |asked| Event::Polled { asked, answered })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_tick_behind_a_slow_answer_is_a_sample() {
        let cadence = Cadence {
            interval: Duration::from_nanos(100),
            phase: Duration::from_nanos(7),
        };
        let samples = |answered| -> Vec<Nanos> {
            let event = |event| match event {
                Event::Polled { asked, answered } => answered - asked,
                other => panic!("{other:?}"),
            };
            missed(cadence, 107, answered).map(event).collect()
        };
        assert!(samples(206).is_empty(), "within its interval");
        assert_eq!(samples(420), [213, 113, 13]);
    }
}
