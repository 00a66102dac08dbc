//! A client of any transport that reads a room on and on: each message once, in order, wherever its connections break.

use std::time::Duration;

use loadgen::client::{After, Client, Cursor, Delivery, Event, GapReason, Setup};
use tokio::time::timeout;

/// Where a client stands.
#[derive(Default)]
pub(crate) struct Reader {
    epoch: String,
    pub(crate) seq: u64,
    /// How often it was told that the room has started anew.
    pub(crate) told: usize,
}

impl Reader {
    fn after(&self) -> After {
        match self.seq {
            0 => After::Oldest,
            seq => After::Cursor(Cursor {
                epoch: self.epoch.clone(),
                seq,
            }),
        }
    }

    /// Connects where it stands; nothing if that breaks, or is not done in time.
    pub(crate) async fn connect<C: Client>(&mut self, setup: &Setup, most: Duration) -> Option<C> {
        let mut events = Vec::new();
        let connecting = timeout(most, C::connect(setup, &self.after(), &mut events)).await;
        // What came before the end counts.
        self.take(&mut events);
        connecting.ok()?.ok()
    }

    /// Takes what comes next; whether it may go on.
    pub(crate) async fn read<C: Client>(&mut self, client: &mut C, most: Duration) -> bool {
        let mut events = Vec::new();
        let next = timeout(most, client.next(&mut events)).await;
        self.take(&mut events);
        matches!(next, Ok(Ok(())))
    }

    fn take(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                // Who stands somewhere stays there until it is told of a gap: the connection may break before that.
                Event::Hello(Some(cursor)) if self.seq == 0 => self.epoch = cursor.epoch,
                Event::Message(Delivery { seq: Some(seq), .. }) => {
                    assert_eq!(seq, self.seq + 1, "each once, in order");
                    self.seq = seq;
                }
                Event::Gap(gap) if gap.reason == GapReason::Epoch => {
                    (self.epoch, self.seq) = (gap.cursor.epoch, gap.cursor.seq);
                    self.told += 1;
                }
                Event::Gap(gap) => panic!("nothing was dropped: {gap:?}"),
                _ => {}
            }
        }
    }
}
