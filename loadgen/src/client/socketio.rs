//! Socket.IO 5 over Engine.IO 4: over its WebSocket, and over its polling, where a question waits at the server.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;

use hyper::Uri;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio_tungstenite::WebSocketStream;

use super::dialect::{Draft, uri};
use super::path::Path;
use super::protocol::{Gap, Position, lossy, parse};
use super::socket::{open, read, send};
use super::{Acked, After, Answer, Client, Delivery, Event, Failure, Http, Setup, greeted};
use crate::clock::Nanos;

/// Where a session begins.
const PATH: &str = "/socket.io/?EIO=4&transport=";
/// Between the packets of an answer.
const SEPARATOR: u8 = 0x1e;
/// What a message is called.
const MESSAGE: &str = "chat-message";

/// A client with an open WebSocket.
pub(super) struct SocketIo {
    stream: WebSocketStream<Path>,
    session: Session,
}

impl Client for SocketIo {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut stream = open(setup, &format!("{PATH}websocket")).await?;
        send(&mut stream, enter(setup, after)).await?;
        let session = Session::new(setup);
        greeted(Self { stream, session }, events).await
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let Self { stream, session } = self;
        read(stream, |packet, received| {
            session.read(packet, received, events)
        })
        .await
    }

    async fn publish(&mut self, draft: &Draft, answer: Answer) -> Result<(), Failure> {
        let packet = self.session.publish(draft, answer);
        send(&mut self.stream, packet).await
    }

    async fn close(mut self) {
        let _ = send(&mut self.stream, "41".into()).await;
        let _ = self.stream.close(None).await;
    }
}

/// A client that holds a question open.
pub(super) struct SocketIoPolling {
    http: Http,
    uri: Uri,
    setup: Setup,
    session: Session,
}

/// What a session begins with.
#[derive(Deserialize)]
struct Open<'a> {
    #[serde(borrow)]
    sid: Cow<'a, str>,
}

impl Client for SocketIoPolling {
    async fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> Result<Self, Failure> {
        let mut http = Http::connect(setup, "socketio.html").await?;
        let reply = http.get(&uri(&format!("{PATH}polling"))?, None).await?;
        let open = reply.body.strip_prefix(b"0");
        let open = open.ok_or_else(|| unknown(&reply.body))?;
        let Open { sid } = parse(open)?;
        let uri = uri(&format!("{PATH}polling&sid={sid}"))?;
        http.post(&uri, enter(setup, after).into()).await?;
        let (setup, session) = (setup.clone(), Session::new(setup));
        let mut client = Self {
            http,
            uri,
            setup,
            session,
        };
        while events.is_empty() {
            client.ask(events).await?;
        }
        Ok(client)
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        self.setup.until_active().await?;
        self.ask(events).await
    }

    async fn close(self) {}
}

impl SocketIoPolling {
    /// Asks, and answers what asks back.
    async fn ask(&mut self, events: &mut Vec<Event>) -> Result<(), Failure> {
        let reply = self.http.get(&self.uri, None).await?;
        let (received, before) = (self.http.received(), events.len());
        for packet in reply.body.split(|byte| *byte == SEPARATOR) {
            if let Some(answer) = self.session.read(packet, received, events)? {
                self.http.post(&self.uri, answer.into()).await?;
            }
        }
        let is_empty = events.len() == before;
        self.setup
            .meter
            .empties
            .fetch_add(u64::from(is_empty), Relaxed);
        Ok(())
    }
}

/// The packet that enters a room, at a place in it.
fn enter(setup: &Setup, after: &After) -> String {
    let mut auth = json!({ "room": setup.room });
    if let Some(after) = after.text() {
        auth["after"] = after.into();
    }
    format!("40{auth}")
}

/// What a session has in common over both.
struct Session {
    /// The server gives no cursor: to have entered is all there is to know.
    is_foreign: bool,
    /// Who waits for the answer to a publish, in the order in which they were sent; and the number of the first.
    waiting: VecDeque<Answer>,
    first: u64,
}

/// The reason of a refusal, as Socket.IO has it.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// What a publish is answered with.
#[derive(Deserialize)]
struct Answered {
    #[serde(flatten)]
    position: Position,
    error: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    reason: String,
}

/// What comes with a message.
#[derive(Deserialize)]
struct More {
    cursor: super::Cursor,
}

impl Session {
    fn new(setup: &Setup) -> Self {
        Self {
            is_foreign: setup.dialect.is_foreign,
            waiting: VecDeque::new(),
            first: 0,
        }
    }

    /// Reads a packet, and says what is to be answered, if anything is.
    fn read(
        &mut self,
        packet: &[u8],
        received: Nanos,
        events: &mut Vec<Event>,
    ) -> Result<Option<&'static str>, Failure> {
        match packet {
            [b'2'] => return Ok(Some("3")),
            // How the session is set up, and what ends a question that nobody waits for.
            [b'0', ..] | [b'6'] => {}
            [b'1'] => return Err(Failure::Io("the server ended the session".into())),
            [b'4', b'0', ..] if self.is_foreign => events.push(Event::Hello(None)),
            [b'4', b'0', ..] => {}
            [b'4', b'1', ..] => {
                return Err(Failure::Io("the server disconnected the client".into()));
            }
            [b'4', b'2', event @ ..] => events.extend(Self::event(event, received)?),
            [b'4', b'3', answer @ ..] => self.answered(answer, received)?,
            [b'4', b'4', refusal @ ..] => {
                return Err(Failure::Refused(0, parse::<Refusal>(refusal)?.message));
            }
            other => return Err(unknown(other)),
        }
        Ok(None)
    }

    fn event(event: &[u8], received: Nanos) -> Result<Option<Event>, Failure> {
        let parts: Vec<&RawValue> = parse(event)?;
        let part = |i: usize| parts.get(i).map(|part| part.get().as_bytes());
        let name: Cow<'_, str> = parse(part(0).unwrap_or_default())?;
        let first = part(1).unwrap_or_default();
        Ok(match &*name {
            MESSAGE => {
                let text: Cow<'_, str> = parse(first)?;
                let seq = part(2).map(|more| parse::<More>(more).map(|more| more.cursor.seq));
                Some(Event::Message(Delivery {
                    seq: seq.transpose()?,
                    received,
                    asked: None,
                    said: (&*text).into(),
                }))
            }
            "hello" => Some(Event::Hello(parse::<Position>(first)?.cursor)),
            "gap" => Some(Event::Gap(parse::<Gap>(first)?)),
            // It says so before it goes, which ends the connection.
            "closing" => None,
            "refused" => return Err(Failure::Refused(0, parse::<Reason>(first)?.reason)),
            _ => return Err(unknown(event)),
        })
    }

    fn publish(&mut self, draft: &Draft, answer: Answer) -> String {
        let id = self.first + self.waiting.len() as u64;
        self.waiting.push_back(answer);
        format!("42{id}[\"{MESSAGE}\",{}]", draft.json())
    }

    /// Hands the answer to a publish to whoever waits for it: answers come in the order of what they answer.
    fn answered(&mut self, answer: &[u8], received: Nanos) -> Result<(), Failure> {
        let digits = answer
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (id, answer) = answer.split_at(digits);
        let is_next = parse::<u64>(id)? == self.first;
        let waiting = self.waiting.pop_front().filter(|_| is_next);
        let Some(waiting) = waiting else {
            return Err(Failure::Protocol("an ack for nothing".into()));
        };
        self.first += 1;
        let [Answered { position, error }] = parse(answer)?;
        // Whoever waited may be gone, when the trial is at its end.
        let _ = waiting.send(match error {
            Some(Reason { reason }) => Err(Failure::Refused(0, reason)),
            None => Ok(Acked {
                cursor: position.cursor,
                at: received,
            }),
        });
        Ok(())
    }
}

fn unknown(packet: &[u8]) -> Failure {
    Failure::Protocol(format!("a packet of no kind: {}", lossy(packet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(is_foreign: bool) -> Session {
        Session {
            is_foreign,
            waiting: VecDeque::new(),
            first: 0,
        }
    }

    fn read(session: &mut Session, packet: &str) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        session.read(packet.as_bytes(), 5, &mut events)?;
        Ok(events)
    }

    #[test]
    fn packets_are_read_as_the_protocols_have_them() {
        let mut own = session(false);
        let mut none = Vec::new();
        assert_eq!(own.read(b"2", 0, &mut none), Ok(Some("3")));
        for packet in [
            "0{\"sid\":\"a\"}",
            "6",
            "40{\"sid\":\"b\"}",
            "42[\"closing\",{}]",
        ] {
            assert_eq!(read(&mut own, packet), Ok(vec![]), "{packet}");
        }
        assert_eq!(
            read(&mut session(true), "40{\"sid\":\"b\"}"),
            Ok(vec![Event::Hello(None)])
        );
        let message = |seq| {
            vec![Event::Message(Delivery {
                seq,
                received: 5,
                asked: None,
                said: Said::Text("a\"b".into()),
            })]
        };
        let more = "{\"cursor\":\"abcdefgh-7\",\"from\":\"ann\",\"at\":1}";
        let packet = format!("42[\"chat-message\",\"a\\\"b\",{more}]");
        assert_eq!(read(&mut own, &packet), Ok(message(Some(7))));
        assert_eq!(
            read(&mut own, "42[\"chat-message\",\"a\\\"b\"]"),
            Ok(message(None))
        );
        assert_eq!(
            read(&mut own, "44{\"message\":\"no\"}"),
            Err(Failure::Refused(0, "no".into()))
        );
        for packet in [
            "1",
            "41",
            "5",
            "",
            "42",
            "42[]",
            "42[\"else\"]",
            "43",
            "430[]",
            "7x",
        ] {
            assert!(read(&mut own, packet).is_err(), "{packet}");
        }
    }

    #[test]
    fn an_answer_goes_to_the_publish_that_it_answers() {
        let mut session = session(false);
        let draft = Draft {
            text: "hi".into(),
            key: "k".into(),
        };
        let (answer, mut first) = tokio::sync::oneshot::channel();
        assert!(
            session
                .publish(&draft, answer)
                .starts_with("420[\"chat-message\",{")
        );
        let (answer, mut second) = tokio::sync::oneshot::channel();
        assert!(session.publish(&draft, answer).starts_with("421["));
        assert_eq!(
            read(&mut session, "430[{\"cursor\":\"abcdefgh-7\"}]"),
            Ok(vec![])
        );
        let acked = first.try_recv().unwrap().unwrap();
        assert_eq!((acked.cursor.unwrap().seq, acked.at), (7, 5));
        assert_eq!(
            read(&mut session, "431[{\"error\":{\"reason\":\"no\"}}]"),
            Ok(vec![])
        );
        assert_eq!(
            second.try_recv().unwrap(),
            Err(Failure::Refused(0, "no".into()))
        );
        assert!(read(&mut session, "432[{}]").is_err());
    }

    use crate::client::Said;
}
