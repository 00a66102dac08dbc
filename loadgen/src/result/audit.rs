//! How complete: what every subscriber was expected against what it got, in sums.

use derive_more::{Add, Sum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sums over all subscribers and the whole trial, warm-up included.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Add, Sum, Serialize, Deserialize, JsonSchema,
)]
pub struct Audit {
    /// Acked messages times their subscribers.
    pub expected: u64,
    /// Different ones that came.
    pub received: u64,
    /// Expected, not told as a gap, and never came.
    pub lost: u64,
    /// Came again within one connection.
    pub doubled: u64,
    /// Came again after a reconnect.
    pub redelivered: u64,
    /// Came after their successor.
    pub reordered: u64,
    /// Came later than anybody waits for, but came.
    pub late: u64,
    /// Came though the publish was refused, or in the place of another message.
    pub unexpected: u64,
    /// Came with a text that is not as it was published.
    pub corrupt: u64,
    /// Came in another room than it was published in.
    pub wrong_room: u64,
    /// Told as gaps.
    pub gaps: u64,
}

impl Audit {
    /// Every message came to everybody, once, in order, as it was sent.
    pub fn is_clean(&self) -> bool {
        self.classes().iter().all(|(n, _)| *n == 0)
    }

    /// Different ones that came, whatever was wrong with them.
    pub fn came(&self) -> u64 {
        self.received + self.unexpected + self.corrupt + self.wrong_room
    }

    /// What is wrong, in words; empty if nothing is.
    pub fn faults(&self) -> String {
        let found: Vec<String> = self
            .classes()
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        found.join(", ")
    }

    /// What must not happen, and how often it did.
    fn classes(&self) -> [(u64, &'static str); 7] {
        let Self {
            lost,
            doubled,
            redelivered,
            reordered,
            unexpected,
            corrupt,
            wrong_room,
            ..
        } = *self;
        [
            (lost, "lost"),
            (doubled, "doubled"),
            (redelivered, "delivered again after a reconnect"),
            (reordered, "reordered"),
            (unexpected, "unexpected"),
            (corrupt, "corrupt"),
            (wrong_room, "in the wrong room"),
        ]
    }
}
