//! What a client sends: published one after the other, in the order in which it came. The library runs a task for each event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, Event, SocketRef, TryData};
use socketioxide::handler::{FromMessageParts, Value as Raw};
use socketioxide::socket::Socket;

use super::MESSAGE;
use super::emitter::Emitter;
use crate::App;
use crate::error::{ApiError, Invalid};
use crate::memory::{Held, Pool, UNCOUNTED};
use crate::message::Draft;
use crate::publish::{self, publish};
use crate::rooms::RoomName;

/// What a refusal is called, if no acknowledgement was asked for.
const REFUSED: &str = "refused";
/// Events of a client that may wait, and bytes of them: whoever sends more before it has had the answers is refused.
const MOST: usize = 256;
const MOST_BYTES: usize = 1024 * 1024;
const RIGHT: &str = "chat-message must be a text, or {from?, text, key?}";

/// Who has asked, and whether it wants to be answered.
struct Asked {
    socket: Arc<Socket>,
    id: Option<i64>,
}

impl FromMessageParts<LocalAdapter> for Asked {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket>,
        _: &mut Raw,
        id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self {
            socket: Arc::clone(socket),
            id: *id,
        })
    }
}

impl Asked {
    /// To be answered with: one is used up by an attempt.
    fn ack(&self) -> AckSender {
        let nothing = &mut Raw::Str("".into(), None);
        match AckSender::from_message_parts(&self.socket, nothing, &self.id) {
            Ok(ack) => ack,
        }
    }
}

/// Of one client.
pub(super) struct Inbox {
    app: Arc<App>,
    room: RoomName,
    /// Who publishes here, if a message does not say.
    from: Box<str>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Asked, Result<Value, Invalid>)>,
    /// Of the data that wait; counted if they are worth it.
    bytes: usize,
    held: Option<Held>,
    /// A task is at it.
    is_busy: bool,
}

impl Queue {
    /// Counts so many bytes more, if there is room for them.
    fn count(&mut self, bytes: usize, pool: &Arc<Pool>) -> bool {
        let sum = self.bytes + bytes;
        let mut grow = || self.held.get_or_insert_with(|| pool.hold(0)).grow(sum);
        let fits = sum <= UNCOUNTED || sum <= MOST_BYTES && grow().is_ok();
        if fits {
            self.bytes = sum;
        }
        fits
    }
}

/// About so many bytes; what is refused has none.
fn size(data: &Result<Value, Invalid>) -> usize {
    match data {
        Ok(Value::String(text)) => text.len(),
        Ok(other) => other.to_string().len(),
        Err(_) => 0,
    }
}

impl Inbox {
    pub(super) fn new(app: &Arc<App>, room: &RoomName, name: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            app: Arc::clone(app),
            room: room.clone(),
            from: name.unwrap_or("anonymous").into(),
            queue: Mutex::default(),
        })
    }

    /// Takes in what this client sends from now on.
    pub(super) fn open(self: Arc<Self>, socket: &SocketRef) {
        let (known, unknown) = (Arc::clone(&self), self);
        // Both do what they do before the library has made a task of them, and so in its order.
        socket.on(
            MESSAGE,
            move |TryData(data): TryData<Value>, asked: Asked| {
                let data = data.map_err(|error| Invalid::new(MESSAGE, format!("{RIGHT}: {error}")));
                known.take(asked, data);
                ready(())
            },
        );
        socket.on_fallback(move |Event(event): Event, asked: Asked| {
            unknown.take(asked, Err(Invalid::not("event", MESSAGE, &event)));
            ready(())
        });
    }

    fn take(self: &Arc<Self>, asked: Asked, data: Result<Value, Invalid>) {
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= 2 * MOST {
            // It floods. If there is no room to say so, its session ends as that of one that does not read.
            let _ = asked.socket.disconnect();
            return;
        }
        let bytes = size(&data);
        let data = if queue.waiting.len() < MOST && queue.count(bytes, &self.app.memory.arriving) {
            data
        } else {
            let reason = "too much of this client waits already; send on when it is answered";
            Err(Invalid::new(MESSAGE, reason))
        };
        queue.waiting.push_back((asked, data));
        if !std::mem::replace(&mut queue.is_busy, true) {
            tokio::spawn(Arc::clone(self).work());
        }
    }

    async fn work(self: Arc<Self>) {
        while let Some((asked, data)) = self.next() {
            let answer = self.publish(data).await;
            let emitter =
                Emitter::new(Arc::clone(&self.app), SocketRef::from(asked.socket.clone()));
            // Whom it does not reach has gone, or does not read.
            let told = match (answer, asked.id) {
                (Ok(answer), _) => emitter.send(|| asked.ack().send(&answer)).await,
                (Err(error), None) => emitter.emit(REFUSED, &error).await,
                (Err(error), Some(_)) => {
                    let answer = json!({ "error": error });
                    emitter.send(|| asked.ack().send(&answer)).await
                }
            };
            if told.is_err() {
                *self.queue.lock() = Queue::default();
                return;
            }
        }
    }

    fn next(&self) -> Option<(Asked, Result<Value, Invalid>)> {
        let mut queue = self.queue.lock();
        let next = queue.waiting.pop_front();
        queue.is_busy = next.is_some();
        match &next {
            Some((_, data)) => queue.bytes -= size(data),
            None => queue.held = None,
        }
        next
    }

    /// Publishes a text, or `{from?, text, key?}`.
    async fn publish(&self, data: Result<Value, Invalid>) -> Result<Value, ApiError> {
        let draft = match data? {
            Value::String(text) => Draft {
                from: self.from.as_ref().into(),
                text,
                key: None,
            }
            .check()?,
            Value::Object(mut fields) => {
                fields
                    .entry("from")
                    .or_insert_with(|| self.from.as_ref().into());
                Draft::from_json(Value::Object(fields).to_string().as_bytes())?
            }
            _ => return Err(Invalid::new(MESSAGE, RIGHT).into()),
        };
        let published = publish(&self.app, &self.room, &draft).await?;
        Ok(publish::answer(&published))
    }
}
