//! One reader for each connection: what it emits of the log, and in which form.

use std::time::Duration;

use bytes::BufMut;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::emitter::{Emitter, Ended};
use super::{MESSAGE, QUEUE};
use crate::cursor::Cursor;
use crate::heartbeat::Beat;
use crate::memory::{Full, Held, Memory, UNCOUNTED};
use crate::message::Format;
use crate::presence::Present;
use crate::rooms::{Batch, Subscription};
use crate::stats::{Streaming, Transport};

/// For each message two lines, both JSON: its text, and what else there is to say of it.
static LINES: Format = Format {
    // `cursor` and an epoch for `seq`, two ends of lines; but no `text`.
    adds: (0, 12),
    write: |cursor, messages, _, out| {
        for message in messages {
            let Parts {
                seq,
                from,
                text,
                at,
            } = serde_json::from_slice(message).expect("the server has encoded it");
            let cursor = Cursor { seq, ..cursor };
            out.put_slice(text.get().as_bytes());
            let more = format!("\n{{\"cursor\":\"{cursor}\",\"from\":{from},\"at\":{at}}}\n");
            out.put_slice(more.as_bytes());
        }
    },
};

/// A message as it is stored, none of it decoded.
#[derive(Deserialize)]
struct Parts<'a> {
    seq: u64,
    #[serde(borrow)]
    from: &'a RawValue,
    #[serde(borrow)]
    text: &'a RawValue,
    at: u64,
}

/// What may wait in the library, which says nothing of it: no more than the newest packets that its queue has room for, and
/// none for longer than a session lives without an answer to a ping.
struct Unsent {
    /// In bytes: of the packets before, and of the newest; how many those are, and since when.
    before: usize,
    newest: usize,
    count: usize,
    since: Instant,
    held: Option<Held>,
}

impl Unsent {
    fn new() -> Self {
        Self {
            before: 0,
            newest: 0,
            count: 0,
            since: Instant::now(),
            held: None,
        }
    }

    /// Counts a packet that is about to be emitted, if there is room for it.
    fn count(&mut self, bytes: usize, memory: &Memory, life: Duration) -> Result<(), Full> {
        self.forget(life);
        if self.count == QUEUE {
            self.turn();
        }
        (self.newest, self.count) = (self.newest + bytes, self.count + 1);
        let sum = self.before + self.newest;
        if sum <= UNCOUNTED {
            self.held = None;
            return Ok(());
        }
        let held = self.held.get_or_insert_with(|| memory.ranges.hold(0));
        held.grow(sum).map_err(|Full| memory.refuse())?;
        held.set(sum);
        Ok(())
    }

    /// Lets go of what has left by now, or never will.
    fn forget(&mut self, life: Duration) {
        if self.since.elapsed() > life {
            self.turn();
            if self.before <= UNCOUNTED {
                self.held = None;
            }
        }
    }

    fn turn(&mut self) {
        (self.before, self.newest, self.count) = (self.newest, 0, 0);
        self.since = Instant::now();
    }
}

pub(super) struct Reader {
    emitter: Emitter,
    unsent: Unsent,
    subscription: Subscription,
    _present: Option<Present>,
}

impl Reader {
    pub(super) fn new(
        emitter: Emitter,
        subscription: Subscription,
        present: Option<Present>,
    ) -> Self {
        Self {
            emitter,
            unsent: Unsent::new(),
            subscription,
            _present: present,
        }
    }

    pub(super) async fn run(mut self) {
        let _open = Streaming::over(self.emitter.app.stats.of(Transport::Socketio));
        // Whoever ended it, the client knows, or is not there to be told.
        let _ = self.read().await;
    }

    async fn read(&mut self) -> Result<(), Ended> {
        let Self {
            emitter,
            unsent,
            subscription,
            ..
        } = self;
        let life = 2 * emitter.app.config.heartbeat;
        let hello = json!({ "cursor": subscription.cursor() });
        emitter.emit("hello", &hello).await?;
        let mut follower = emitter.app.heartbeat.follow();
        loop {
            tokio::select! {
                batch = subscription.next() => match batch {
                    Some(batch) => send(emitter, unsent, &batch, life).await?,
                    None => {
                        return emitter.emit("closing", &json!({ "reason": "the server restarts" })).await;
                    }
                },
                // A session may have ended before it was said whom to tell.
                beat = follower.beat() => if beat == Beat::Alive {
                    unsent.forget(life);
                    if !emitter.socket.connected() {
                        return Err(Ended);
                    }
                },
            }
        }
    }
}

async fn send(
    emitter: &Emitter,
    unsent: &mut Unsent,
    batch: &Batch,
    life: Duration,
) -> Result<(), Ended> {
    if let Some(gap) = batch.gap {
        emitter.emit("gap", &gap).await?;
    }
    let Ok(lines) = emitter.app.encode(batch, &LINES) else {
        // Its client may come back with the cursor it has, and misses nothing that is still retained.
        emitter.disconnect().await;
        return Err(Ended);
    };
    let mut pairs = std::str::from_utf8(&lines).expect("JSON is UTF-8").lines();
    while let (Some(text), Some(more)) = (pairs.next(), pairs.next()) {
        let memory = &emitter.app.memory;
        if unsent.count(text.len() + more.len(), memory, life).is_err() {
            emitter.disconnect().await;
            return Err(Ended);
        }
        let raw = |line| serde_json::from_str::<&RawValue>(line).expect("a line is JSON");
        // Two arguments: a page that knows of one gets the text.
        emitter.emit(MESSAGE, &(raw(text), raw(more))).await?;
    }
    let traffic = emitter.app.stats.of(Transport::Socketio);
    traffic.delivered(batch, lines.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cursor::Epoch;

    #[tokio::test(start_paused = true)]
    async fn what_may_wait_in_the_library_is_counted_until_it_has_left_or_never_will() {
        let (memory, life) = (Memory::new(4 * 1024 * 1024), Duration::from_secs(40));
        let mut unsent = Unsent::new();
        unsent.count(UNCOUNTED, &memory, life).unwrap();
        assert_eq!(memory.ranges.used(), 0, "an ordinary message");
        unsent.count(1000, &memory, life).unwrap();
        assert_eq!(memory.ranges.used(), UNCOUNTED + 1000);
        // Those that the queue cannot have any more are not counted, or it would be twice as much.
        for _ in 0..4 * QUEUE {
            unsent.count(1000, &memory, life).unwrap();
        }
        let used = memory.ranges.used();
        assert!((QUEUE * 1000..=2 * QUEUE * 1000).contains(&used), "{used}");
        let full = (0..).find(|_| unsent.count(400_000, &memory, life).is_err());
        assert_eq!(full, Some(2), "a quarter of the memory is for it");
        for _ in 0..2 {
            tokio::time::advance(life + Duration::from_secs(1)).await;
            unsent.forget(life);
        }
        assert_eq!(memory.ranges.used(), 0);
    }

    #[test]
    fn each_message_is_two_lines_of_json_and_there_is_room_for_them() {
        let cursor: Cursor = "abcdefgh-7".parse().unwrap();
        let message = |seq: u64, text: &str| {
            Bytes::from(format!(
                r#"{{"seq":{seq},"from":"ann","text":"{text}","at":5}}"#
            ))
        };
        let lines = LINES.merge(cursor, &[message(6, "a\\n"), message(7, "b")], false);
        let more = |seq| format!(r#"{{"cursor":"abcdefgh-{seq}","from":"ann","at":5}}"#);
        let expected = format!("\"a\\n\"\n{}\n\"b\"\n{}\n", more(6), more(7));
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let last = Cursor {
            epoch: Epoch::draw(),
            seq: u64::MAX,
        };
        let messages = [message(u64::MAX, "")];
        assert!(LINES.merge(last, &messages, false).len() <= LINES.room_for(&messages));
    }
}
