//! Built for `tests/socketio.sh` in the place of the chat: what comes in goes back, through the same mount. Nothing that is
//! shipped has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::socket::DisconnectReason;
use engineioxide::{Socket, Str};
use rmpv::Value;
use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef, TryData};
use socketioxide::service::SocketIoService;

use crate::App;

/// As the suites have them.
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);
const MAX_PAYLOAD: u64 = 1_000_000;

#[cfg(not(feature = "echo-engine"))]
pub(super) type Sessions = SocketIoService<Router>;
#[cfg(feature = "echo-engine")]
pub(super) type Sessions = EngineIoService<Echo, Router>;

pub(super) fn sessions(_: &Arc<App>) -> (Sessions, SocketIo) {
    let (service, io) = SocketIo::builder()
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .max_payload(MAX_PAYLOAD)
        .build_with_inner_svc(Router::new());
    for namespace in ["/", "/custom"] {
        io.ns(namespace, enter);
    }
    #[cfg(feature = "echo-engine")]
    let service = {
        drop::<SocketIoService<Router>>(service);
        engine()
    };
    (service, io)
}

#[cfg(feature = "echo-engine")]
fn engine() -> Sessions {
    let config = EngineIoConfig::builder()
        .req_path("/engine.io")
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .max_payload(MAX_PAYLOAD)
        .build();
    EngineIoService::with_config_inner(Router::new(), Arc::new(Echo), config)
}

/// All that comes with an event, however much that is: the library takes a tuple for several arguments.
struct Arguments(Vec<Value>);

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for value in &self.0 {
            tuple.serialize_element(value)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(0, Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Arguments;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("arguments")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Arguments, A::Error> {
        let mut arguments = Vec::new();
        while let Some(value) = given.next_element()? {
            arguments.push(value);
        }
        Ok(Arguments(arguments))
    }
}

/// What Socket.IO's suite asks a namespace.
async fn enter(socket: SocketRef, TryData(auth): TryData<Value>) {
    let auth = auth.unwrap_or(Value::Map(Vec::new()));
    let _ = socket.emit("auth", &auth);
    socket.on(
        "message",
        async |socket: SocketRef, Data(given): Data<Arguments>| {
            let _ = socket.emit("message-back", &given);
        },
    );
    socket.on(
        "message-with-ack",
        async |Data(given): Data<Arguments>, ack: AckSender| {
            let _ = ack.send(&given);
        },
    );
}

/// What Engine.IO's suite asks.
#[derive(Debug)]
pub(super) struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}

    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        let _ = socket.emit(message);
    }

    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<()>>) {
        let _ = socket.emit_binary(data);
    }
}
