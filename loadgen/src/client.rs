//! What a simulated client is: [`Client`] for what differs between transports.

mod calibration;
pub mod dialect;
mod headers;
mod http;
mod link;
mod long_poll;
mod path;
mod poller;
mod protocol;
mod publisher;
mod short_poll;
mod socket;
mod socketio;
mod sse;
mod tcp_info;
mod wire;
mod ws;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use derive_more::Display;
use tokio::sync::oneshot;

pub use self::calibration::calibrate;
use self::dialect::{Dialect, Draft};
pub use self::http::{Http, Repeat};
pub use self::path::Line;
pub use self::protocol::{After, Cursor, Gap, GapReason};
pub use self::publisher::Publisher;
pub use self::wire::Meter;
use crate::clock::{Active, Nanos};
use crate::foreign::plain;
use crate::message_id::MessageId;
pub use crate::pacer::Cadence;
use crate::result::link::Link;
use crate::result::variant::{Headers, Transport};

/// No answer, event or frame of the protocol is longer: a message takes at most 388 KiB, a batch 128 KiB and a message.
const MAX_ANSWER: usize = 1024 * 1024;

/// What can be done with the client of any transport.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<C: Client>(self) -> Self::Output;
}

/// Does something with the client of a transport: the one place that knows which client is whose.
pub fn visit<V: Visitor>(transport: Transport, visitor: V) -> V::Output {
    match transport {
        Transport::ShortPoll => visitor.visit::<short_poll::ShortPoll>(),
        Transport::LongPoll => visitor.visit::<long_poll::LongPoll>(),
        Transport::Sse | Transport::SseStock => visitor.visit::<sse::Sse>(),
        Transport::Ws | Transport::WsStock => visitor.visit::<ws::Ws>(),
        Transport::Socketio | Transport::SocketioNode => visitor.visit::<socketio::SocketIo>(),
        Transport::SocketioPolling => visitor.visit::<socketio::SocketIoPolling>(),
    }
}

/// One subscriber, of any transport, with a connection of its own.
pub trait Client: Sized + Send + 'static {
    /// Connects and learns where it stands: the first event is [`Event::Hello`].
    fn connect(
        setup: &Setup,
        after: &After,
        events: &mut Vec<Event>,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Polls, waits or reads as its transport does, and appends what came: possibly nothing, and before an error too.
    fn next(&mut self, events: &mut Vec<Event>)
    -> impl Future<Output = Result<(), Failure>> + Send;

    /// Publishes over its own connection, if its transport can; what becomes of it is told to `answer`.
    fn publish(
        &mut self,
        draft: &Draft,
        answer: Answer,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (draft, answer);
        async { Err(Failure::Protocol("this transport has no way up".into())) }
    }

    /// Leaves as its transport does.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Reads a stream until something has come: the hello first, and with it what was sent in the same breath.
async fn greeted<C: Client>(mut client: C, events: &mut Vec<Event>) -> Result<C, Failure> {
    while events.is_empty() {
        client.next(events).await?;
    }
    match &events[0] {
        Event::Hello(_) => Ok(client),
        other => Err(Failure::Protocol(format!(
            "{other:?} came first and not the hello"
        ))),
    }
}

/// Where it is told what became of a publish.
pub type Answer = oneshot::Sender<Result<Acked, Failure>>;

/// That a message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// Where it stands, if the server says so.
    pub cursor: Option<Cursor>,
    /// When the answer was read.
    pub at: Nanos,
}

/// Where a client goes and how it behaves there.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The server.
    pub addr: SocketAddr,
    /// How it is spoken to.
    pub dialect: Arc<Dialect>,
    /// The room.
    pub room: String,
    /// When it polls, if it does.
    pub cadence: Cadence,
    /// How long it lets a question wait, if it does.
    pub hold: Duration,
    /// What its requests carry.
    pub headers: Headers,
    /// Whether it is to poll now, if it polls.
    pub active: Active,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
    /// Whether it reads with the kernel's receive timestamps.
    pub timestamped: bool,
    /// Where its traffic is counted.
    pub meter: Arc<Meter>,
    /// What is between it and the server, where a link is emulated.
    pub link: Option<Arc<Link>>,
    /// By what its connections are cut, if they may be.
    pub line: Option<Arc<Line>>,
}

impl Setup {
    /// Waits until it is to poll. An error: it never will be.
    async fn until_active(&mut self) -> Result<(), Failure> {
        let over = |_| Failure::Own("the trial is over".into());
        self.active.wait_for(|active| *active).await.map_err(over)?;
        Ok(())
    }
}

/// What a client reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Connected; what follows comes after this cursor, if the server has any.
    Hello(Option<Cursor>),
    /// A message arrived.
    Message(Delivery),
    /// The server says that messages are missing here.
    Gap(Gap),
    /// A poll was answered, with or without messages (they follow).
    Polled {
        /// The tick it was to be sent at.
        asked: Nanos,
        /// When the whole answer had been read.
        answered: Nanos,
    },
}

/// One message at one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its position in the room's log, if the server says so.
    pub seq: Option<u64>,
    /// When the last of it was read from the socket: before whoever waits for it has its turn, and before anything is
    /// parsed. The same place for every transport.
    pub received: Nanos,
    /// The tick of the poll that brought it, if one did.
    pub asked: Option<Nanos>,
    /// What it says.
    pub said: Said,
}

/// The text of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// One of a load's messages, as it was sent: the checksum holds.
    Message(MessageId),
    /// Anything else.
    Text(String),
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        MessageId::from_text(text).map_or_else(|| Self::Text(text.into()), Self::Message)
    }
}

/// Why a client's connection ended, or was never made.
///
/// Who ended it decides who is to blame: [`Failure::Own`] is loadgen's machine, everything else the server or what stands
/// between. What a server said is foreign text, so it is only ever shown through `Display`.
#[derive(Display, Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// This machine could not: no port, no file or no memory was left.
    #[display("this machine: {_0}")]
    Own(String),
    /// The network or the peer ended it.
    #[display("connection: {}", plain(_0))]
    Io(String),
    /// The server refused.
    #[display("refused with {_0}: {}", plain(_1))]
    Refused(u16, String),
    /// The server said something that the protocol does not have.
    #[display("protocol: {}", plain(_0))]
    Protocol(String),
    /// The server closed a WebSocket with this code.
    #[display("closed with {_0}")]
    Closed(u16),
}

impl Failure {
    /// Whether loadgen or its machine is to blame, and not the server.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// What failures are counted by: what differs from one to the next is left out.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(status, _) => format!("refused with {status}"),
            Self::Protocol(_) => "protocol".into(),
            other => other.to_string(),
        }
    }
}

impl std::error::Error for Failure {}
