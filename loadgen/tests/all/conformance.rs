//! One script per property, run for every transport there is.

use std::pin::Pin;
use std::time::Duration;

use loadgen::client::{
    After, Client, Cursor, Delivery, Event, Failure, Gap, GapReason, Http, Repeat, Said, Setup,
    Visitor, visit,
};
use loadgen::result::variant::Transport;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::helper::{TestServer, beside, setup};

/// No property takes long; one that hangs is to say so.
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs a property for every transport.
macro_rules! for_every_transport {
    ($($property:ident: $flags:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            // Taken where it may block; held to the end.
            let _turn = tokio::task::block_in_place(beside);
            for transport in Transport::all() {
                let room = Room::open($flags, transport).await;
                struct Property(Room);
                impl Visitor for Property {
                    type Output = Pin<Box<dyn Future<Output = ()> + Send>>;
                    fn visit<C: Client>(self) -> Self::Output {
                        Box::pin(properties::$property::<C>(self.0))
                    }
                }
                let run = timeout(DEADLINE, visit(transport, Property(room))).await;
                assert!(run.is_ok(), "{transport}: not done within {DEADLINE:?}");
            }
        }
    )*};
}

for_every_transport! {
    messages_come_in_order_and_once: "";
    a_resumed_client_gets_exactly_the_rest: "";
    a_waiting_reader_gets_the_next_message: "";
    a_repeated_key_is_stored_once: "";
    a_cursor_past_the_window_is_told_how_many_it_missed: "--retain-messages 10";
    a_cursor_ahead_of_the_log_is_told: "";
    a_cursor_of_another_epoch_is_told: "";
    latest_begins_at_the_head: "";
    closing_delivers_what_is_there_and_ends_the_stream: "";
    a_peer_that_never_reads_is_dropped_and_delays_nobody: "--write-deadline 500ms";
}

/// A room of a running server.
struct Room {
    server: TestServer,
    transport: Transport,
    setup: Setup,
    publisher: Http,
}

impl Room {
    async fn open(flags: &str, transport: Transport) -> Self {
        let server = TestServer::start(flags);
        let setup = setup(server.addr, "conformance");
        let publisher = Http::connect(&setup, "").await.unwrap();
        Self {
            server,
            transport,
            setup,
            publisher,
        }
    }

    async fn publish(&mut self, text: &str) -> Cursor {
        self.post(&format!(r#"{{"from":"test","text":"{text}"}}"#))
            .await
    }

    async fn post(&mut self, draft: &str) -> Cursor {
        let path = "/messages?room=conformance".parse().unwrap();
        self.publisher
            .publish(path, draft.into(), Repeat::Never)
            .await
            .unwrap()
            .unwrap()
    }

    async fn subscribe<C: Client>(&self, after: After) -> Reader<C> {
        let mut events = Vec::new();
        let client = C::connect(&self.setup, &after, &mut events).await.unwrap();
        assert!(
            matches!(events[0], Event::Hello(_)),
            "first the hello: {events:?}"
        );
        Reader {
            client,
            events,
            read: 0,
            end: None,
        }
    }
}

/// A client and everything that it has reported.
struct Reader<C> {
    client: C,
    events: Vec<Event>,
    read: usize,
    end: Option<Failure>,
}

impl<C: Client> Reader<C> {
    /// The next message or gap.
    async fn next(&mut self) -> Result<Event, Failure> {
        loop {
            while let Some(event) = self.events.get(self.read) {
                self.read += 1;
                if matches!(event, Event::Message(_) | Event::Gap(_)) {
                    return Ok(event.clone());
                }
            }
            // What came before the end comes first.
            if let Some(end) = self.end.take() {
                return Err(end);
            }
            self.end = self.client.next(&mut self.events).await.err();
        }
    }

    async fn texts(&mut self, n: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..n {
            texts.push(self.message().await.1);
        }
        texts
    }

    async fn message(&mut self) -> (u64, String) {
        match self.next().await.unwrap() {
            Event::Message(Delivery {
                seq: Some(seq),
                said: Said::Text(text),
                ..
            }) => (seq, text),
            other => panic!("a message was expected, {other:?} came"),
        }
    }

    async fn gap(&mut self) -> Gap {
        match self.next().await.unwrap() {
            Event::Gap(gap) => gap,
            other => panic!("a gap was expected, {other:?} came"),
        }
    }

    fn hello(&self) -> &Cursor {
        match &self.events[0] {
            Event::Hello(Some(cursor)) => cursor,
            other => panic!("the hello was expected, {other:?} came"),
        }
    }
}

mod properties {
    use super::*;

    pub(super) async fn messages_come_in_order_and_once<C: Client>(mut room: Room) {
        let mut early = room.subscribe::<C>(After::Oldest).await;
        let mut sent = Vec::new();
        for i in 0..300 {
            sent.push(format!("message {i}"));
            room.publish(&sent[i]).await;
        }
        let mut late = room.subscribe::<C>(After::Oldest).await;
        assert_eq!(late.hello().seq, 0);
        for reader in [&mut early, &mut late] {
            for (i, text) in sent.iter().enumerate() {
                assert_eq!(reader.message().await, (i as u64 + 1, text.clone()));
            }
        }
        room.publish("the end").await;
        assert_eq!(
            early.texts(1).await,
            ["the end"],
            "and nothing before it came twice"
        );
    }

    pub(super) async fn a_resumed_client_gets_exactly_the_rest<C: Client>(mut room: Room) {
        let mut cursor = room.publish("0").await;
        for i in 0..20 {
            room.publish(&format!("{i} a")).await;
            let mut reader = room.subscribe::<C>(After::Cursor(cursor.clone())).await;
            assert_eq!(reader.hello(), &cursor);
            room.publish(&format!("{i} b")).await;
            assert_eq!(reader.texts(2).await, [format!("{i} a"), format!("{i} b")]);
            drop(reader);
            cursor = Cursor {
                seq: cursor.seq + 2,
                ..cursor
            };
        }
    }

    pub(super) async fn a_waiting_reader_gets_the_next_message<C: Client>(mut room: Room) {
        let mut reader = room.subscribe::<C>(After::Latest).await;
        for round in 0..1000 {
            let text = format!("round {round}");
            // At once, so that the publish falls anywhere between the reader's look and its sleep.
            let (_, texts) = tokio::join!(room.publish(&text), reader.texts(1));
            assert_eq!(texts, [text]);
        }
    }

    pub(super) async fn a_repeated_key_is_stored_once<C: Client>(mut room: Room) {
        let mut reader = room.subscribe::<C>(After::Oldest).await;
        let first = room
            .post(r#"{"from":"test","text":"once","key":"k-1"}"#)
            .await;
        let again = room
            .post(r#"{"from":"test","text":"ignored","key":"k-1"}"#)
            .await;
        assert_eq!(first, again);
        room.publish("next").await;
        assert_eq!(reader.texts(2).await, ["once", "next"]);
    }

    pub(super) async fn a_cursor_past_the_window_is_told_how_many_it_missed<C: Client>(
        mut room: Room,
    ) {
        let cursor = room.publish("0").await;
        for i in 1..=30 {
            room.publish(&i.to_string()).await;
        }
        let mut reader = room.subscribe::<C>(After::Cursor(cursor.clone())).await;
        // 31 messages, 10 retained: 22 to 31. After message 1, 20 are missed.
        let expected = Gap {
            reason: GapReason::Window,
            missed: Some(20),
            cursor: Cursor { seq: 21, ..cursor },
        };
        assert_eq!(reader.gap().await, expected);
        assert_eq!(reader.message().await, (22, "21".into()));
    }

    pub(super) async fn a_cursor_ahead_of_the_log_is_told<C: Client>(mut room: Room) {
        let cursor = room.publish("only").await;
        let mut reader = room
            .subscribe::<C>(After::Cursor(Cursor {
                seq: 1_000,
                ..cursor.clone()
            }))
            .await;
        assert_eq!(
            reader.gap().await,
            Gap {
                reason: GapReason::Ahead,
                missed: None,
                cursor: Cursor { seq: 0, ..cursor }
            }
        );
        assert_eq!(reader.texts(1).await, ["only"]);
    }

    pub(super) async fn a_cursor_of_another_epoch_is_told<C: Client>(mut room: Room) {
        let cursor = room.publish("only").await;
        let foreign = Cursor {
            epoch: "00000000".into(),
            seq: 1,
        };
        let mut reader = room.subscribe::<C>(After::Cursor(foreign)).await;
        assert_eq!(
            reader.gap().await,
            Gap {
                reason: GapReason::Epoch,
                missed: None,
                cursor: Cursor { seq: 0, ..cursor }
            }
        );
        assert_eq!(reader.texts(1).await, ["only"]);
    }

    pub(super) async fn latest_begins_at_the_head<C: Client>(mut room: Room) {
        let head = room.publish("before").await;
        let mut reader = room.subscribe::<C>(After::Latest).await;
        assert_eq!(reader.hello(), &head);
        room.publish("after").await;
        assert_eq!(reader.message().await, (2, "after".into()));
    }

    pub(super) async fn closing_delivers_what_is_there_and_ends_the_stream<C: Client>(
        mut room: Room,
    ) {
        let mut reader = room.subscribe::<C>(After::Latest).await;
        room.publish("the last").await;
        if room.transport.properties().streams {
            // Everything acked is delivered before the end; who asks for each answer may find a closed door.
            room.server.stop().await;
            assert_eq!(reader.texts(1).await, ["the last"]);
        } else {
            assert_eq!(reader.texts(1).await, ["the last"]);
            room.server.stop().await;
        }
        let end = reader.next().await.unwrap_err();
        assert!(
            matches!(end, Failure::Closed(1012) | Failure::Io(_)),
            "{end:?}"
        );
    }

    pub(super) async fn a_peer_that_never_reads_is_dropped_and_delays_nobody<C: Client>(
        mut room: Room,
    ) {
        let mut reader = room.subscribe::<C>(After::Latest).await;
        let mut deaf = TcpStream::connect(room.setup.addr).await.unwrap();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
        let transport = room.transport;
        let is_socket = transport.properties().is_socket;
        let upgrade = if is_socket { upgrade } else { "" };
        let path = match transport {
            // It asks for nothing, so it has no connection to be cut.
            Transport::SocketioPolling => return,
            Transport::Socketio => "socket.io/?EIO=4&transport=websocket".into(),
            other => format!("{other}?room=conformance"),
        };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n");
        if transport == Transport::Socketio {
            deaf.write_all(request.as_bytes()).await.unwrap();
            let enter = br#"40{"room":"conformance"}"#;
            let head = [0x81, 0x80 | enter.len() as u8, 0, 0, 0, 0];
            tokio::time::sleep(Duration::from_millis(100)).await;
            deaf.write_all(&[&head, &enter[..]].concat()).await.unwrap();
        }
        let text = "x".repeat(60_000);
        // What the kernel's buffers take is no proof: 12 MB is more than they have.
        for i in 0..200 {
            // A poll is answered once, so it has to be repeated.
            if (i == 0 && transport != Transport::Socketio || !transport.properties().streams)
                && deaf.try_write(request.as_bytes()).is_err()
            {
                break;
            }
            room.publish(&text).await;
            assert_eq!(reader.texts(1).await.len(), 1);
        }
        // Nothing that it says meanwhile is a reason: a ping, or the beginning of another request.
        let harmless: &[u8] = if is_socket {
            &[0x89, 0x80, 0, 0, 0, 0]
        } else {
            b"G"
        };
        let cut = async {
            while deaf.write_all(harmless).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), cut)
            .await
            .expect("the peer that never reads is cut");
        room.publish("still here").await;
        assert_eq!(reader.texts(1).await, ["still here"]);
    }
}
