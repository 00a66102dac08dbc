//! What every subscriber should have got against what it got, message by message.

use std::collections::VecDeque;
use std::ops::Range;

use crate::clock::Nanos;

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The next one, or a later one.
    InOrder,
    /// One that was skipped before: it came after its successor.
    Reordered,
    /// One that had come already.
    Doubled,
}

/// The account of one subscriber: expected is everything after its first cursor.
///
/// Invariant: what has come is exactly `first..next` less `holes` and less `told`; holes are sorted, not empty, apart.
#[derive(Debug, Clone, Default)]
pub struct Account {
    first: u64,
    next: u64,
    holes: Vec<Range<u64>>,
    told: Vec<Range<u64>>,
}

impl Account {
    /// A subscriber whose confirmed cursor is `seq`.
    pub fn open(seq: u64) -> Self {
        Self { first: seq + 1, next: seq + 1, ..Self::default() }
    }

    /// Books a delivery.
    pub fn see(&mut self, seq: u64) -> Seen {
        if seq >= self.next {
            if seq > self.next {
                self.holes.push(self.next..seq);
            }
            self.next = seq + 1;
            return Seen::InOrder;
        }
        let Some(i) = find(&self.holes, seq) else {
            return Seen::Doubled;
        };
        let hole = self.holes.remove(i);
        let rest = [hole.start..seq, seq + 1..hole.end];
        self.holes.splice(i..i, rest.into_iter().filter(|hole| !hole.is_empty()));
        Seen::Reordered
    }

    /// The server has said that everything up to `seq` is gone; returns how many of the expected ones that are.
    pub fn told_gap(&mut self, seq: u64) -> u64 {
        let told = self.next..self.next.max(seq + 1);
        self.next = told.end;
        let count = told.end - told.start;
        self.told.extend((count > 0).then_some(told));
        count
    }

    /// What the server has said it will not deliver, as ranges: how long they are is the server's word, so nobody
    /// walks them.
    pub fn told(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.told.iter().cloned()
    }

    /// Everything expected up to `head` that never came and was not told as a gap, as ranges that are not empty.
    pub fn missing(&self, head: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let end = self.next..head + 1;
        self.holes.iter().cloned().chain((!end.is_empty()).then_some(end))
    }

    /// Whether a message has come.
    pub fn has(&self, seq: u64) -> bool {
        (self.first..self.next).contains(&seq) && find(&self.holes, seq).is_none() && find(&self.told, seq).is_none()
    }

    /// Whether a message is expected: it follows the first cursor.
    pub fn is_expected(&self, seq: u64) -> bool {
        seq >= self.first
    }

    /// The last message seen.
    pub fn last(&self) -> u64 {
        self.next - 1
    }
}

/// Which of these sorted ranges has a seq in it.
fn find(ranges: &[Range<u64>], seq: u64) -> Option<usize> {
    let i = ranges.partition_point(|range| range.end <= seq);
    ranges.get(i).is_some_and(|range| range.contains(&seq)).then_some(i)
}

/// The number of a message that nobody has seen yet.
pub const UNSEEN: u32 = u32::MAX;

/// What a worker has seen of a log: whoever comes second to a seq must find the same message there.
#[derive(Debug)]
pub struct SeenLog {
    /// The room.
    pub room: u32,
    /// The incarnation.
    pub epoch: String,
    /// The seq of the first message.
    pub first: u64,
    /// The messages, by seq.
    pub messages: VecDeque<SeenMessage>,
}

/// One message in a log.
#[derive(Debug, Clone, Copy)]
pub struct SeenMessage {
    /// Its number in the trial; [`UNSEEN`] if it has not been seen.
    pub number: u32,
    /// How many deliveries of it there were.
    pub came: u32,
    /// When the last of them was.
    pub last: Nanos,
}

impl SeenLog {
    /// Notes a delivery; `false` if another message has been seen at this seq.
    pub fn note(&mut self, seq: u64, number: u32, received: Nanos) -> bool {
        const NONE: SeenMessage = SeenMessage { number: UNSEEN, came: 0, last: 0 };
        for _ in seq..self.first {
            self.messages.push_front(NONE);
        }
        self.first = self.first.min(seq);
        let place = usize::try_from(seq - self.first).expect("a trial fits in memory");
        if place >= self.messages.len() {
            self.messages.resize(place + 1, NONE);
        }
        let message = &mut self.messages[place];
        if message.number == UNSEEN {
            message.number = number;
        }
        let is_same = message.number == number;
        if is_same {
            message.came += 1;
            message.last = message.last.max(received);
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(account: &Account, head: u64) -> Vec<u64> {
        account.missing(head).flatten().collect()
    }

    #[test]
    fn how_long_a_hole_or_a_gap_is_costs_nothing() {
        const FAR: u64 = 1 << 50;
        let mut account = Account::open(0);
        assert_eq!(
            (account.see(1), account.see(FAR), account.see(FAR - 5)),
            (Seen::InOrder, Seen::InOrder, Seen::Reordered)
        );
        assert_eq!(account.told_gap(2 * FAR), FAR);
        assert!(account.has(FAR) && account.has(FAR - 5) && !account.has(FAR - 4) && !account.has(FAR + 1));
        let missing: Vec<Range<u64>> = account.missing(3 * FAR).collect();
        assert_eq!(missing, [2..FAR - 5, FAR - 4..FAR, 2 * FAR + 1..3 * FAR + 1]);
        assert!(account.told().eq(std::iter::once(FAR + 1..2 * FAR + 1)));
    }

    #[test]
    fn messages_seen_backwards_are_all_kept() {
        let mut log = SeenLog { room: 0, epoch: String::new(), first: 100_000, messages: VecDeque::new() };
        assert!((1..=100_000).rev().all(|seq| log.note(seq, seq as u32, 0)));
        assert_eq!((log.first, log.messages.len()), (1, 100_000));
        assert!((1..).zip(&log.messages).all(|(seq, message)| message.number == seq && message.came == 1));
    }

    #[test]
    fn a_clean_run_misses_nothing() {
        let mut account = Account::open(10);
        assert!((11..=20).all(|seq| account.see(seq) == Seen::InOrder));
        assert!(missing(&account, 20).is_empty());
        assert_eq!(missing(&account, 22), [21, 22]);
    }

    #[test]
    fn skipped_doubled_and_late_messages_are_told_apart() {
        let mut account = Account::open(0);
        let seen: Vec<Seen> = [1, 5, 3, 3, 5, 1, 2, 6].into_iter().map(|seq| account.see(seq)).collect();
        use Seen::{Doubled, InOrder, Reordered};
        assert_eq!(seen, [InOrder, InOrder, Reordered, Doubled, Doubled, Doubled, Reordered, InOrder]);
        assert_eq!(missing(&account, 7), [4, 7]);
    }

    #[test]
    fn a_told_gap_is_not_a_loss() {
        let mut account = Account::open(0);
        account.see(1);
        assert_eq!(account.told_gap(5), 4);
        assert_eq!(account.see(6), Seen::InOrder);
        assert!(missing(&account, 6).is_empty());
    }

    #[test]
    fn every_message_dropped_at_random_is_missed_and_no_other() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let (mut account, mut dropped) = (Account::open(0), Vec::new());
            for seq in 1..=100 {
                if random.u8(..10) == 0 { dropped.push(seq) } else { assert_eq!(account.see(seq), Seen::InOrder) }
            }
            assert_eq!(missing(&account, 100), dropped);
        }
    }
}
