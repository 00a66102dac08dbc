//! Server-sent events: one request whose answer never ends, read event by event.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::http::io;
use super::protocol::{Message, Position, parse};
use super::{After, Client, Cursor, Event, Failure, Gap, Http, MAX_ANSWER, Setup, greeted};
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
        let uri = setup
            .dialect
            .subscribe("sse", &setup.room, after, None, None)?;
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
        // An end that came in two parts begins with the last byte of the first.
        let mut from = self.rest.len().saturating_sub(1);
        if bytes.contains(&b'\r') {
            // JSON has none, so these are ends of lines.
            self.rest
                .extend(bytes.iter().filter(|byte| **byte != b'\r'));
        } else {
            self.rest.extend_from_slice(bytes);
        }
        let mut begin = 0;
        while let Some(found) = self.rest[from..]
            .windows(2)
            .position(|pair| pair == b"\n\n")
        {
            let length = from + found - begin;
            let text = std::str::from_utf8(&self.rest[begin..begin + length]);
            let text = text.map_err(|_| Failure::Protocol("an event is not UTF-8".into()))?;
            events.extend(read(text, received)?);
            begin += length + 2;
            from = begin;
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

/// Reads one event; `None` for a comment, and for an event that nobody knows (HTML standard, section 9.2.6).
fn read(text: &str, received: Nanos) -> Result<Option<Event>, Failure> {
    let (mut kind, mut data, mut id) = ("message", None::<Cow<'_, str>>, None);
    for line in text.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => kind = value,
            "data" => {
                data =
                    Some(data.map_or(value.into(), |before| format!("{before}\n{value}").into()));
            }
            "id" => id = Some(value),
            _ => {}
        }
    }
    let Some(data) = data else {
        return Ok(None);
    };
    let data = data.as_bytes();
    match kind {
        "hello" => Ok(Some(Event::Hello(parse::<Position>(data)?.cursor))),
        "gap" => Ok(Some(Event::Gap(parse::<Gap>(data)?))),
        "message" => message(parse(data)?, id, received).map(Some),
        _ => Ok(None),
    }
}

/// A message and its id, from which a browser resumes: one that is not the message's own would lose or double messages.
fn message(message: Message<'_>, id: Option<&str>, received: Nanos) -> Result<Event, Failure> {
    let cursor = id.map(Cursor::try_from).and_then(Result::ok);
    let is_own = |seq| cursor.as_ref().is_some_and(|cursor| cursor.seq == seq);
    match message.seq {
        Some(seq) if !is_own(seq) => {
            let text = format!("message {seq} has the id {id:?}");
            Err(Failure::Protocol(text))
        }
        seq => {
            let seq = seq.or(cursor.map(|cursor| cursor.seq));
            Ok(Message { seq, ..message }.into_event(received, None))
        }
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
        assert_eq!(read("event: ping\ndata: {}", 0), Ok(None));
        let seq = |text: &str| match read(text, 0) {
            Ok(Some(Event::Message(delivery))) => delivery.seq,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            seq("id: abcdefgh-5\ndata: {\ndata: \"text\":\"a\"}"),
            Some(5)
        );
        assert_eq!(seq("data: {\"text\":\"a\"}"), None);
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
            active: crate::clock::always(),
            addr,
            dialect: Arc::default(),
            room: "lobby".into(),
            cadence: Cadence::nth(0, Duration::from_secs(1)),
            hold: Duration::from_secs(1),
            headers: Headers::Minimal,
            keep_alive: true,
            timestamped: false,
            meter: Arc::default(),
            link: None,
            line: None,
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
