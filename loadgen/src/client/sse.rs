//! Server-sent events: one request whose answer never ends, read event by event.

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::http::io;
use super::protocol::{Message, Position, parse};
use super::{After, Client, Delivery, Event, Failure, Gap, Http, MAX_ANSWER, Setup, greeted};
use crate::clock::Nanos;

/// A client that reads a stream of events.
pub(super) struct Sse {
    body: Incoming,
    /// What has come of an event that is not yet whole.
    rest: Vec<u8>,
    /// Its connection, which lives as long as its sender, and is asked when it was read from.
    http: Http,
}

impl Client for Sse {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(setup, "sse.html").await?;
        let uri = setup.dialect.subscribe("sse", &setup.room, after, None)?;
        let body = http.open(&uri, "text/event-stream").await?;
        greeted(
            Self {
                body,
                rest: Vec::new(),
                http,
            },
            events,
        )
        .await
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let mut frame = self.body.frame().await;
        loop {
            let received = self.http.received();
            let whole = frame
                .ok_or_else(|| Failure::Io("the stream ended".into()))?
                .map_err(|error| io(&error))?;
            self.take(&whole.into_data().unwrap_or_default(), received, events)?;
            // What is already here belongs to the same wake-up.
            match self.body.frame().now_or_never() {
                Some(more) => frame = more,
                None => return Ok(()),
            }
        }
    }

    async fn close(self) {}
}

impl Sse {
    fn take(
        &mut self,
        bytes: &Bytes,
        received: Nanos,
        events: &mut Vec<Event>,
    ) -> Result<(), Failure> {
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = self.rest[begin..]
            .windows(2)
            .position(|pair| pair == b"\n\n")
        {
            let text = std::str::from_utf8(&self.rest[begin..begin + length]);
            let text = text.map_err(|_| Failure::Protocol("an event is not UTF-8".into()))?;
            events.extend(read(text, received)?);
            begin += length + 2;
        }
        self.rest.drain(..begin);
        if self.rest.len() > MAX_ANSWER {
            return Err(Failure::Protocol(format!(
                "an event of more than {MAX_ANSWER} bytes"
            )));
        }
        Ok(())
    }
}

/// Reads one event; `None` for a comment (HTML standard, section 9.2.6).
fn read(text: &str, received: Nanos) -> Result<Option<Event>, Failure> {
    let (mut kind, mut data, mut id) = ("message", None, None);
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value,
            "data" => data = Some(value),
            "id" => id = Some(value),
            _ => {}
        }
    }
    let Some(data) = data.map(str::as_bytes) else {
        return Ok(None);
    };
    let event = match kind {
        "hello" => Event::Hello(parse::<Position>(data)?.cursor),
        "gap" => Event::Gap(parse::<Gap>(data)?),
        _ => parse::<Message<'_>>(data)?.into_event(received, None),
    };
    match &event {
        // A browser resumes from the id: one that is not the message's own would lose or double messages.
        Event::Message(Delivery { seq: Some(seq), .. })
            if !id.is_some_and(|id| id.ends_with(&format!("-{seq}"))) =>
        {
            Err(Failure::Protocol(format!(
                "message {seq} has the id {id:?}"
            )))
        }
        _ => Ok(Some(event)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock::now;
    use crate::pacer::Cadence;
    use crate::result::variant::Headers;

    #[test]
    fn comments_and_retry_are_no_events_and_a_wrong_id_is_noticed() {
        assert_eq!(read(":", 0), Ok(None));
        assert_eq!(read("retry: 1000", 0), Ok(None));
        let message = |id: &str| read(&format!("id: {id}\ndata: {{\"seq\":3,\"text\":\"hi\"}}"), 7);
        assert!(
            matches!(message("abcdefgh-3"), Ok(Some(Event::Message(delivery))) if delivery.received == 7)
        );
        assert!(message("abcdefgh-13").is_err());
        assert!(message("abcdefgh-4").is_err());
    }

    #[tokio::test]
    async fn an_event_is_received_when_its_socket_is_read_however_late_it_is_parsed() {
        const MS: Nanos = 1_000_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let greets = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let hello = "event: hello\ndata: {\"cursor\":\"abcdefgh-0\"}\n\n";
            stream
                .write_all(format!("{head}{hello}").as_bytes())
                .await
                .unwrap();
            stream
        });
        let setup = Setup {
            addr,
            dialect: Arc::default(),
            room: "lobby".into(),
            cadence: Cadence::nth(0, Duration::from_secs(1)),
            hold: Duration::from_secs(1),
            headers: Headers::Minimal,
            keep_alive: true,
            timestamped: false,
            meter: Arc::default(),
        };
        let mut events = Vec::new();
        let mut client = Sse::connect(&setup, &After::Latest, &mut events)
            .await
            .unwrap();
        let mut stream = greets.await.unwrap();
        events.clear();
        let event =
            |seq: u64| format!("id: abcdefgh-{seq}\ndata: {{\"seq\":{seq},\"text\":\"a\"}}\n\n");
        // One in two parts, and one more.
        let (first, second) = (event(1), event(2));
        let (beginning, rest) = first.split_at(10);
        for part in [beginning, rest, &second] {
            let written = now();
            stream.write_all(part.as_bytes()).await.unwrap();
            // Its connection's task has its turn, and whoever waits for the event has not.
            tokio::time::sleep(Duration::from_millis(20)).await;
            std::thread::sleep(Duration::from_millis(50));
            let asked = now();
            let _ = client.next(&mut events).now_or_never();
            if let Some(Event::Message(delivery)) = events.pop() {
                assert!(
                    (written..asked - 50 * MS).contains(&delivery.received),
                    "{part:?}"
                );
                events.clear();
            } else {
                assert_eq!(part, beginning);
            }
        }
    }
}
