//! One reader for each connection: what it emits of the log, and in which form.

use bytes::BufMut;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::MESSAGE;
use super::emitter::{Emitter, Ended};
use crate::cursor::Cursor;
use crate::heartbeat::Beat;
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

pub(super) struct Reader {
    emitter: Emitter,
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
            subscription,
            _present: present,
        }
    }

    pub(super) async fn run(mut self) {
        let _open = Streaming::over(self.emitter.app.stats.of(Transport::SocketIo));
        // Whoever ended it, the client knows, or is not there to be told.
        let _ = self.read().await;
    }

    async fn read(&mut self) -> Result<(), Ended> {
        let Self {
            emitter,
            subscription,
            ..
        } = self;
        let hello = json!({ "cursor": subscription.cursor() });
        emitter.emit("hello", &hello).await?;
        let mut follower = emitter.app.heartbeat.follow();
        loop {
            tokio::select! {
                batch = subscription.next() => match batch {
                    Some(batch) => send(emitter, &batch).await?,
                    None => {
                        return emitter.emit("closing", &json!({ "reason": "the server restarts" })).await;
                    }
                },
                // A session may have ended before it was said whom to tell.
                beat = follower.beat() => if beat == Beat::Alive && !emitter.socket.connected() {
                    return Err(Ended);
                },
            }
        }
    }
}

async fn send(emitter: &Emitter, batch: &Batch) -> Result<(), Ended> {
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
        let raw = |line| serde_json::from_str::<&RawValue>(line).expect("a line is JSON");
        // Two arguments: a page that knows of one gets the text.
        emitter.emit(MESSAGE, &(raw(text), raw(more))).await?;
    }
    let traffic = emitter.app.stats.of(Transport::SocketIo);
    traffic.delivered(batch, lines.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cursor::Epoch;

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
