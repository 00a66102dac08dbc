//! What is compared: a transport, and what goes with it.

use clap::ValueEnum;
use derive_more::Display;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proxy::Proxy;

/// The transports there are: the flag, the row, its colour and the dispatch come from this one list. New ones come last,
/// and the others keep their colours.
#[derive(
    ValueEnum, Serialize, Deserialize, JsonSchema, Display, Debug, Clone, Copy, PartialEq, Eq, Hash,
)]
#[serde(rename_all = "kebab-case")]
#[display(rename_all = "kebab-case")]
pub enum Transport {
    /// The client asks again and again.
    #[value(aliases = ["polling", "shortpoll", "short-polling"])]
    ShortPoll,
    /// The question waits at the server.
    #[value(aliases = ["longpoll", "long-polling"])]
    LongPoll,
    /// One answer that never ends.
    #[value(aliases = ["eventsource", "event-source"])]
    Sse,
    /// Frames both ways on one socket.
    #[value(alias = "websocket")]
    Ws,
    /// The same by an ordinary server: a library's defaults and a broadcast channel, to compare `ws` with.
    WsStock,
    /// Server-sent events by such a server.
    SseStock,
    /// Socket.IO over its WebSocket.
    #[value(alias = "socket.io")]
    Socketio,
    /// Socket.IO over its polling, where a question waits at the server.
    SocketioPolling,
    /// The tutorial's own server, Socket.IO on Node, over its WebSocket.
    SocketioNode,
}

impl Transport {
    /// Those of the workbench, in the order of the reports; what is only there to compare with is not among them.
    pub fn all() -> impl Iterator<Item = Self> {
        let every = Self::value_variants().iter().copied();
        every.filter(|transport| !transport.properties().is_stock)
    }

    /// Those that are compared where nobody says which.
    pub fn usual() -> impl Iterator<Item = Self> {
        [Self::ShortPoll, Self::LongPoll, Self::Sse, Self::Ws].into_iter()
    }

    /// What it can do: all that others have to know of it.
    pub fn properties(self) -> Properties {
        let poll = Properties {
            streams: false,
            is_socket: false,
            is_duplex: false,
            is_stock: false,
        };
        let stream = Properties {
            streams: true,
            ..poll
        };
        match self {
            Self::ShortPoll | Self::LongPoll | Self::SocketioPolling => poll,
            Self::Sse => stream,
            Self::Ws | Self::Socketio => Properties {
                is_socket: true,
                is_duplex: true,
                ..stream
            },
            Self::WsStock | Self::SocketioNode => Properties {
                is_socket: true,
                is_stock: true,
                ..stream
            },
            Self::SseStock => Properties {
                is_stock: true,
                ..stream
            },
        }
    }
}

/// What a transport can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// Whether one request is enough for all messages; otherwise each answer has to be asked for.
    pub streams: bool,
    /// Whether its handshake is a WebSocket's.
    pub is_socket: bool,
    /// Whether a client can publish over the connection it subscribes with.
    pub is_duplex: bool,
    /// Whether it is an ordinary server's, without resume, that is only there to compare with.
    pub is_stock: bool,
}

/// Which way messages go up.
#[derive(
    ValueEnum, Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Hash,
)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Over connections of publishers' own, with minimal headers and the same for every transport.
    #[default]
    Post,
    /// As a client of the transport would: over its open socket, or with a browser's POST for each message.
    Native,
}

/// A row of a comparison: a transport, which way messages go up, and what stands between.
#[derive(Serialize, Deserialize, JsonSchema, Display, Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[display(
    "{mode}{}{}",
    if *publish == Publish::Native { "-native" } else { "" },
    via.map_or(String::new(), |proxy| format!(" via {proxy}"))
)]
pub struct Variant {
    /// The transport.
    pub mode: Transport,
    /// Which way messages go up.
    #[serde(default)]
    pub publish: Publish,
    /// The proxy that clients and publishers go through, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Proxy>,
}

impl Variant {
    /// The same without a proxy.
    pub fn direct(self) -> Self {
        Self { via: None, ..self }
    }
}

impl From<Transport> for Variant {
    fn from(mode: Transport) -> Self {
        Self {
            mode,
            publish: Publish::Post,
            via: None,
        }
    }
}

/// What a client's requests carry.
#[derive(ValueEnum, Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Headers {
    /// What Chromium sends, and a 200-byte cookie.
    Browser,
    /// Only what the protocol needs.
    #[value(alias = "lean")]
    Minimal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_called_by_all_that_it_is_and_older_files_have_no_proxy() {
        let row = Variant {
            publish: Publish::Native,
            via: Some(Proxy::Haproxy),
            ..Transport::Ws.into()
        };
        assert_eq!(row.to_string(), "ws-native via haproxy");
        let json = r#"{"mode":"ws","publish":"native","via":"haproxy"}"#;
        assert_eq!(serde_json::to_string(&row).unwrap(), json);
        assert_eq!(serde_json::from_str::<Variant>(json).unwrap(), row);
        let direct = r#"{"mode":"ws","publish":"native"}"#;
        assert_eq!(serde_json::to_string(&row.direct()).unwrap(), direct);
        for old in [direct, r#"{"mode":"ws"}"#] {
            let read: Variant = serde_json::from_str(old).unwrap();
            assert_eq!((read.via, read.mode), (None, Transport::Ws));
        }
        assert_eq!(row.direct().to_string(), "ws-native");
        assert!(Proxy::from_str("caddy", true).is_err());
    }
}
