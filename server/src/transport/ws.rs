//! WebSocket: after one handshake (RFC 6455), frames both ways on one socket.
//!
//! Messages leave as the log's shared run of frames, in one write for everything pending. tungstenite reads and
//! answers; what it wants to say (pong, close) is collected, so that one place ever writes to the socket, always
//! between frames.

mod arriving;
mod frames;
mod publishing;
mod showing;
mod socket;

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketContext;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::{Error, Message};

use self::arriving::Arriving;
use self::frames::FRAMES;
use self::socket::{Socket, protocol};
use crate::App;
use crate::conn::Conn;
use crate::deadline::Deadline;
use crate::error::ApiError;
use crate::heartbeat::Beat;
use crate::memory::{Held, UNCOUNTED};
use crate::message::MAX_DRAFT;
use crate::presence::{Present, name};
use crate::problems::Problem;
use crate::query::Query;
use crate::rooms::{Batch, RoomName, Subscription};
use crate::stats::{Streaming, Transport};
use crate::upgrade;

/// Built for `tests/autobahn.sh`: what comes in goes back, and nothing else is said. Never in what is shipped.
const ECHO: bool = cfg!(feature = "echo");
/// The largest message taken in, in bytes.
const MAX_MESSAGE: usize = if ECHO { 64 << 20 } else { MAX_DRAFT };
/// Answers to a client that sends without pause are written once they reach this many bytes.
const OUTBOX: usize = 16 * 1024;
/// A peer that sends without pause is read this many bytes of before others have their turn: a flood of empty fragments
/// or pongs would never end by itself.
const TURN: usize = 4096;
/// A connection is given up when this many pings in a row went unanswered.
const MISSED_PINGS: u32 = 2;
const OUT_OF_MEMORY: &str = "the server has no memory left (--memory); try again";
/// tungstenite keeps the buffer of its largest message: after one of this many bytes it gets a new one.
const LARGE: usize = 1024;
/// How long a peer may take to answer a close frame.
const CLOSING: Duration = Duration::from_secs(1);

/// `GET /ws?room=R&after=C&alive=1&heartbeat=20s`.
pub(crate) async fn handle(
    State(app): State<Arc<App>>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let response = upgrade::accept(&request)?;
    let query = Query::of(request.uri());
    let (room, after, signs) = (query.room()?, query.after()?, query.wants_signs()?);
    let (name, heartbeat) = (name(&query)?, query.heartbeat()?);
    let subscription = app.rooms.subscribe(&room, after).await?;
    let upgraded = upgrade::connection(&mut request);
    tokio::spawn(async move {
        let Some((conn, early)) = upgraded.await else {
            return;
        };
        // A task of its own: this one is larger, and ends. By reference: a future that owned it would hold it twice.
        let mut session = Session {
            signs,
            heartbeat,
            _present: app.presence.hold(&room, name, Transport::Ws),
            ..Session::new(app, room, subscription, conn, &early)
        };
        tokio::spawn(async move { session.run().await });
    });
    Ok(response)
}

struct Session {
    app: Arc<App>,
    room: RoomName,
    subscription: Subscription,
    conn: Conn,
    protocol: WebSocketContext,
    /// Whole frames that wait to be written.
    outbox: BytesMut,
    /// The message that is arriving; what it has so far, if that is worth counting; and when it has to be whole.
    arriving: Arriving,
    held: Option<Held>,
    late: Option<Deadline>,
    /// More has been read from the socket than was taken in.
    more: bool,
    missed_pings: u32,
    closing: bool,
    /// With each ping a message, too: a page sees no ping.
    signs: bool,
    /// How often it gets a ping, if it asked.
    heartbeat: Option<Duration>,
    _present: Option<Present>,
}

impl Session {
    fn new(
        app: Arc<App>,
        room: RoomName,
        subscription: Subscription,
        conn: Conn,
        early: &[u8],
    ) -> Self {
        let mut arriving = Arriving::new();
        arriving.pass(early);
        Self {
            conn,
            protocol: protocol(MAX_MESSAGE, early),
            outbox: BytesMut::new(),
            arriving,
            held: None,
            late: None,
            more: false,
            missed_pings: 0,
            closing: false,
            signs: false,
            heartbeat: None,
            _present: None,
            app,
            room,
            subscription,
        }
    }

    async fn run(&mut self) {
        let _open = Streaming::over(self.app.stats.of(Transport::Ws));
        match self.talk().await {
            // Boxed, because every connection would carry the room for this from its beginning.
            Ok(()) => drop(Box::pin(self.take_leave()).await),
            // An error here is the peer's: it went away or did not read.
            Err(error) => self.app.ended(self.peer(), &error),
        }
    }

    async fn talk(&mut self) -> io::Result<()> {
        if !ECHO {
            self.say(&json!({ "hello": { "cursor": self.subscription.cursor() } }));
            self.give_sign();
        }
        self.read().await?;
        let mut beat = pin!(self.app.heartbeat.follow_at(self.heartbeat).next());
        while !self.closing {
            self.flush().await?;
            tokio::select! {
                batch = self.subscription.next() => match batch {
                    Some(batch) => self.send(batch).await?,
                    None => self.close(CloseCode::Restart, "the server restarts"),
                },
                // Not `readable()`: the socket would keep the waker of hyper's last read, and with it that whole task.
                ready = poll_fn(|cx| if self.more { Poll::Ready(Ok(())) } else { self.conn.io.poll_read_ready(cx) }) => {
                    ready?;
                    self.missed_pings = 0;
                    self.read().await?;
                }
                () = elapsed(&mut self.late) => {
                    let most = humantime::format_duration(self.app.config.idle_deadline);
                    self.close(CloseCode::Policy, &format!("a message must be whole within {most}"));
                }
                (heard, follower) = &mut beat => {
                    beat.set(follower.next());
                    if heard == Beat::Alive {
                        self.ping()?;
                        self.give_sign();
                    }
                }
            }
        }
        self.flush().await
    }

    async fn take_leave(&mut self) -> io::Result<()> {
        self.conn.shutdown().await?;
        // Closing with unread bytes would reset the connection, and the close frame with it.
        let until_end = async {
            while self.conn.read(&mut [0; 1024]).await? > 0 {}
            Ok(())
        };
        timeout(CLOSING, until_end).await.unwrap_or(Ok(()))
    }

    async fn flush(&mut self) -> io::Result<()> {
        if !self.outbox.is_empty() {
            self.conn.write_all(&self.outbox).await?;
            // An outbox that once was large is not kept for the connection's life.
            self.outbox = BytesMut::new();
        }
        Ok(())
    }

    /// By value: while it is written, only what is shared is held.
    async fn send(&mut self, batch: Batch) -> io::Result<()> {
        if let Some(gap) = batch.gap {
            self.say(&json!({ "gap": gap }));
            self.flush().await?;
        }
        let Ok(messages) = self.app.encode(&batch, &FRAMES) else {
            // It comes back with the cursor it has, and misses nothing that is still retained.
            self.close(CloseCode::Again, OUT_OF_MEMORY);
            return Ok(());
        };
        self.app
            .stats
            .of(Transport::Ws)
            .delivered(&batch, messages.len());
        drop(batch);
        self.conn.write_all(&messages).await
    }

    /// Takes in what has arrived, until there is no more, or it was enough for one turn, or enough answers wait.
    ///
    /// Boxed: most connections only listen.
    fn read(&mut self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(self.take_in())
    }

    async fn take_in(&mut self) -> io::Result<()> {
        let mut left = TURN;
        self.more = true;
        while !self.closing && self.outbox.len() < OUTBOX {
            let Self {
                conn,
                protocol,
                outbox,
                arriving,
                ..
            } = &mut *self;
            let mut socket = Socket {
                stream: &mut conn.io,
                outbox,
                arriving,
                left: &mut left,
            };
            match protocol.read(&mut socket) {
                Ok(Message::Text(text)) if ECHO => self.append(frames::text(text)),
                Ok(Message::Binary(it)) if ECHO => {
                    self.append(Frame::message(it, OpCode::Data(Data::Binary), true));
                }
                Ok(Message::Text(text)) if text.starts_with("{\"show\":") => {
                    self.show(text.as_bytes());
                }
                Ok(Message::Text(text)) => {
                    let answer = publishing::answer(&self.app, &self.room, text.as_bytes()).await;
                    self.say(&answer);
                }
                Ok(Message::Binary(_)) => self.close(CloseCode::Unsupported, "send text frames"),
                // tungstenite answers a close frame when it is read from once more, and then says so.
                Err(Error::ConnectionClosed) => self.closing = true,
                // It went away without a word, and hears none.
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    self.closing = true;
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.await_the_rest();
                    self.more = false;
                    break;
                }
                Err(Error::Io(error)) => return Err(error),
                Err(Error::Capacity(_)) => {
                    self.close(
                        CloseCode::Size,
                        &format!("a message may have {MAX_MESSAGE} bytes"),
                    );
                }
                Err(Error::Utf8(_)) => self.close(CloseCode::Invalid, "text frames must be UTF-8"),
                Err(_) => self.close(CloseCode::Protocol, "not as RFC 6455 has it"),
            }
        }
        Ok(())
    }

    /// Nothing more has arrived: of a message that is not whole, counts what there is and sets a time for the rest.
    fn await_the_rest(&mut self) {
        if self.arriving.largest() >= LARGE {
            self.protocol = protocol(MAX_MESSAGE, &[]);
        }
        let so_far = self.arriving.so_far();
        match &mut self.held {
            Some(_) if so_far <= UNCOUNTED => self.held = None,
            None if so_far <= UNCOUNTED => {}
            held => {
                let held = held.get_or_insert_with(|| self.app.memory.arriving.hold(0));
                if held.grow(so_far).is_err() {
                    self.app.memory.refuse();
                    self.close(CloseCode::Again, OUT_OF_MEMORY);
                }
            }
        }
        let due = self
            .arriving
            .since()
            .map(|since| since + self.app.config.idle_deadline);
        // The same one goes on: it looks once more, and not once more after each byte that drips in.
        if self.late.as_ref().map(Deadline::time) != due {
            self.late = due.map(Deadline::at);
        }
    }

    /// Sends what a page wants to see.
    fn show(&mut self, asked: &[u8]) {
        match showing::asked(asked) {
            Some(Ok(frames)) => {
                let is_close =
                    |frame: &Frame| frame.header().opcode == OpCode::Control(Control::Close);
                self.closing |= frames.iter().any(is_close);
                frames.into_iter().for_each(|frame| self.append(frame));
            }
            Some(Err(reason)) => self.say(&json!({ "error": { "reason": reason } })),
            None => self.say(&json!({ "error": { "reason": "what can be shown is fragments, ping or {close: CODE}" } })),
        }
    }

    fn say(&mut self, value: &serde_json::Value) {
        self.append(frames::text(value.to_string()));
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.conn.io.peer()
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        match code {
            // A shortage of memory is told once for all.
            CloseCode::Restart | CloseCode::Again => {}
            _ => self.app.problem(Problem::Malformed, self.peer(), reason),
        }
        self.append(Frame::close(Some(CloseFrame {
            code,
            reason: reason.into(),
        })));
        self.closing = true;
    }

    fn ping(&mut self) -> io::Result<()> {
        if self.missed_pings == MISSED_PINGS {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer answers no ping",
            ));
        }
        self.missed_pings += 1;
        self.append(Frame::ping(Bytes::new()));
        Ok(())
    }

    /// A sign of life that a page sees, if it was asked for: it says in how many milliseconds the next one comes.
    fn give_sign(&mut self) {
        if self.signs {
            let period = self.heartbeat.unwrap_or(self.app.config.heartbeat);
            let next = period.as_millis();
            self.say(&json!({ "alive": { "next": u64::try_from(next).unwrap_or(u64::MAX) } }));
        }
    }

    fn append(&mut self, frame: Frame) {
        frames::put(frame, &mut self.outbox);
    }
}

/// Ends when the time has come, if one was set.
async fn elapsed(timer: &mut Option<Deadline>) {
    match timer {
        Some(timer) => timer.await,
        None => pending().await,
    }
}
