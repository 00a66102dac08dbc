//! What every subscriber should have got against what it got, message by message, by the id in its text.

use std::ops::Range;

use crate::clock::Nanos;

/// Which messages of its room one subscriber has got, by their number in the room.
///
/// Invariant: what has come is exactly `0..next` less `holes`; holes are sorted, not empty, apart.
#[derive(Debug, Clone, Default)]
pub struct Received {
    next: u32,
    holes: Vec<Range<u32>>,
}

impl Received {
    /// Notes a message.
    pub fn note(&mut self, number: u32) {
        if number >= self.next {
            if number > self.next {
                self.holes.push(self.next..number);
            }
            self.next = number + 1;
        } else if let Some(i) = self.hole(number) {
            let hole = self.holes[i].clone();
            let rest = [hole.start..number, number + 1..hole.end];
            self.holes
                .splice(i..=i, rest.into_iter().filter(|hole| !hole.is_empty()));
        }
    }

    /// Whether a message has come.
    pub fn has(&self, number: u32) -> bool {
        number < self.next && self.hole(number).is_none()
    }

    /// Which hole a message is missing in.
    fn hole(&self, number: u32) -> Option<usize> {
        let i = self.holes.partition_point(|hole| hole.end <= number);
        self.holes
            .get(i)
            .is_some_and(|hole| hole.contains(&number))
            .then_some(i)
    }

    /// The messages before `end` that never came, as ranges that are not empty.
    pub fn missing(&self, end: u32) -> impl Iterator<Item = Range<u32>> + '_ {
        let rest = self.next..end;
        let holes = self
            .holes
            .iter()
            .map(move |hole| hole.start.min(end)..hole.end.min(end));
        holes.chain([rest]).filter(|range| !range.is_empty())
    }

    /// How many have come.
    pub fn count(&self) -> u64 {
        let holes = self
            .holes
            .iter()
            .map(|hole| u64::from(hole.end - hole.start));
        u64::from(self.next) - holes.sum::<u64>()
    }
}

/// Where the server says that a message stands in a room's log: the number of the log's incarnation among those that were
/// seen, and the seq.
pub type Place = (usize, u64);

/// More incarnations of its log no room has: each is a restart of the server.
pub const MAX_LOGS: usize = 100;

/// What a worker has seen of a room: whoever comes second to a message must find it at the same place.
#[derive(Debug, Default)]
pub struct SeenRoom {
    /// The room.
    pub room: u32,
    /// The incarnations of its log.
    pub epochs: Vec<String>,
    /// The messages, by their number in the room.
    pub messages: Vec<SeenMessage>,
}

/// One message in a room.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeenMessage {
    /// Where it stands, if it was seen and the server says so.
    pub place: Option<Place>,
    /// When it was due, by its text.
    pub due: Nanos,
    /// How many deliveries of it there were.
    pub came: u32,
    /// When the last of them was.
    pub last: Nanos,
}

impl SeenRoom {
    /// Notes a delivery; `false` if the message has been seen at another place, or said otherwise.
    pub fn note(
        &mut self,
        number: u32,
        at: Option<(&str, u64)>,
        due: Nanos,
        received: Nanos,
    ) -> bool {
        let place = at.map(|(epoch, seq)| (self.epoch(epoch), seq));
        let index = number as usize;
        if index >= self.messages.len() {
            self.messages.resize(index + 1, SeenMessage::default());
        }
        let message = &mut self.messages[index];
        if message.came == 0 {
            *message = SeenMessage {
                place,
                due,
                ..SeenMessage::default()
            };
        }
        let is_same = message.place == place && message.due == due;
        if is_same {
            message.came += 1;
            message.last = message.last.max(received);
        }
        is_same
    }

    fn epoch(&mut self, epoch: &str) -> usize {
        let known = self.epochs.iter().rposition(|known| known == epoch);
        known.unwrap_or_else(|| {
            // Whoever begins anew without end has all further ones counted as the last.
            if self.epochs.len() < MAX_LOGS {
                self.epochs.push(epoch.to_owned());
            }
            self.epochs.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(received: &Received, end: u32) -> Vec<u32> {
        received.missing(end).flatten().collect()
    }

    #[test]
    fn how_long_a_hole_is_costs_nothing() {
        const FAR: u32 = 4_000_000_000;
        let mut received = Received::default();
        [0, FAR, FAR - 5]
            .into_iter()
            .for_each(|number| received.note(number));
        let holes: Vec<Range<u32>> = received.missing(FAR + 10).collect();
        assert_eq!(holes, [1..FAR - 5, FAR - 4..FAR, FAR + 1..FAR + 10]);
        assert_eq!(received.count(), 3);
    }

    #[test]
    fn messages_seen_backwards_are_all_kept() {
        let mut room = SeenRoom::default();
        assert!((0..100_000).rev().all(|number| room.note(
            number,
            Some(("a", u64::from(number) + 1)),
            0,
            0
        )));
        assert_eq!(room.messages.len(), 100_000);
        assert!(
            (1..)
                .zip(&room.messages)
                .all(|(seq, message)| message.place == Some((0, seq)) && message.came == 1)
        );
    }

    #[test]
    fn what_stands_elsewhere_or_was_due_at_another_time_is_not_the_same() {
        let mut room = SeenRoom::default();
        assert!(room.note(3, Some(("a", 4)), 10, 20));
        assert!(!room.note(3, Some(("a", 5)), 10, 20));
        assert!(!room.note(3, Some(("b", 4)), 10, 20));
        assert!(!room.note(3, Some(("a", 4)), 11, 20));
        assert!(!room.note(3, None, 10, 20));
        assert!(room.note(3, Some(("a", 4)), 10, 15));
        assert_eq!((room.messages[3].came, room.messages[3].last), (2, 20));
        assert!(room.note(0, None, 5, 6) && room.note(0, None, 5, 7));
    }

    #[test]
    fn skipped_and_doubled_messages_are_told_apart() {
        let mut received = Received::default();
        let had: Vec<bool> = [0, 4, 2, 2, 4, 0, 1, 5]
            .into_iter()
            .map(|number| {
                let had = received.has(number);
                received.note(number);
                had
            })
            .collect();
        assert_eq!(had, [false, false, false, true, true, true, false, false]);
        assert_eq!(missing(&received, 7), [3, 6]);
        assert_eq!(received.count(), 5);
    }

    #[test]
    fn every_message_dropped_at_random_is_missed_and_no_other() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let (mut received, mut numbers): (_, Vec<u32>) =
                (Received::default(), (0..100).collect());
            random.shuffle(&mut numbers);
            let mut dropped = numbers.split_off(90);
            numbers.iter().for_each(|number| received.note(*number));
            dropped.sort_unstable();
            assert_eq!(missing(&received, 100), dropped);
            assert_eq!(received.count(), 90);
        }
    }
}
